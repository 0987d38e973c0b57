#include "provisioner/provisioner.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "base/failpoint.h"
#include "base/sys.h"
#include "provisioner/backends.h"
#include "provisioner/layout_store.h"

namespace gantry {
namespace {
constexpr size_t kImageDigits = 24;
constexpr auto kLookupLimit = std::chrono::seconds(20);

// A snapshot's key is NAME.IMAGE: who uses it (a ContainerId's name has no '.') and the first
// digits of the image it stands on, so that a listing of the disk says both.
std::string prefix_of(const ContainerId& id) {
  return cat(id.parent() == nullptr ? id.directory_name() : id.hash(), ".");
}
std::string image_of(const std::string& key) {
  size_t dot = key.rfind('.');
  return dot == std::string::npos ? std::string() : key.substr(dot + 1);
}

bool is_root(const UserSpec& user) {
  return (user.text.empty() || user.text == "0" || user.text == "0:0") &&
         user.additional_groups.empty();
}

class LocalProvisioner final : public Provisioner {
 public:
  LocalProvisioner(asio::any_io_executor executor, WorkerClient& worker, ProvisionerOptions options)
      : data_dir_(options.data_dir),
        worker_(worker),
        trash_(executor, worker, path("trash")),
        layers_(worker, trash_, path("layers"), path("staging")),
        store_(executor, worker, trash_, layers_, data_dir_,
               {{options.import.max_bytes, options.import.max_entries, options.import.limit},
                options.import.stall}) {}

  Result<void> open(ProvisionerOptions::Backend backend);

  Co<Result<ProvisionedImage>> provision(ContainerId id, ImageRef image) override;
  Co<Result<void>> remove(ContainerId id) override;
  Co<Result<void>> remove(std::string snapshot_key) override;
  Co<Result<std::vector<MountSpec>>> prepare_volumes(std::string snapshot_key,
                                                     std::vector<MountSpec> mounts) override;
  Co<Result<TreeUsage>> usage(std::string snapshot_key) override {
    return backend_->usage(std::move(snapshot_key));
  }
  std::vector<ImageInfo> images() const override { return store_.list(); }
  Result<ImageInfo> image(const ImageRef& reference) const override {
    return store_.get(reference);
  }
  Co<Result<std::vector<ImageInfo>>> import(UniqueFd stream, std::string name,
                                            std::optional<oci::ImageConfig> config,
                                            IngestOnly only) override {
    return store_.ingest(std::move(stream), std::move(name), std::move(config), only);
  }
  Co<Result<ImageInfo>> commit_image(CommitRequest request, RunJob run) override {
    return store_.commit(std::move(request), std::move(run));
  }
  Co<Result<void>> save_images(std::vector<ImageRef> references, UniqueFd output) override {
    return store_.save(std::move(references), std::move(output));
  }
  Result<ImageContent> image_content(const ImageRef& reference) const override {
    return store_.content(reference);
  }
  Co<Result<void>> tag_image(ImageRef image, ImageRef name) override {
    return store_.tag(std::move(image), std::move(name));
  }
  Co<Result<void>> remove_image(ImageRef reference) override;
  Co<Result<Credentials>> resolve_user(Rootfs rootfs, UserSpec user) override;
  Co<Result<void>> recover(std::set<std::string> live) override;
  Co<void> close() override { return trash_.close(); }

 private:
  struct Snapshot {
    bool is_fresh;  // nothing has run in it yet: its user database is the image's
  };
  std::string path(std::string_view name) const { return cat(data_dir_, "/", name); }
  // The snapshot of a container, if it has one.
  std::map<std::string, Snapshot>::iterator find(const ContainerId& id) {
    std::string prefix = prefix_of(id);
    auto it = snapshots_.lower_bound(prefix);
    return it != snapshots_.end() && it->first.starts_with(prefix) ? it : snapshots_.end();
  }
  Co<Result<SnapshotParent>> parent_of(ImageInfo image);
  Co<Result<Credentials>> look_up_user(Rootfs rootfs, UserSpec user);
  Co<Result<void>> fill_volumes(std::vector<std::string> targets, std::vector<std::string> paths,
                                Rootfs rootfs);

  std::string data_dir_;
  WorkerClient& worker_;
  Trash trash_;
  LayerStore layers_;
  LayoutStore store_;
  std::unique_ptr<SnapshotBackend> backend_;
  std::map<std::string, Snapshot> snapshots_;
  // Users found in images as they were imported: "IMAGE user" → credentials.
  std::map<std::string, Credentials> users_;
};

// How a worker is told what root to look into.
void add_root(Fields& fields, const Rootfs& rootfs) {
  if (rootfs.kind == Rootfs::Kind::overlay) {
    if (!rootfs.upper.empty()) fields.add("layer", rootfs.upper);
    for (const std::string& layer : rootfs.lowers) fields.add("layer", layer);
  } else {
    fields.add("directory", rootfs.kind == Rootfs::Kind::host ? "/" : rootfs.directory);
  }
}

// Whether a failed probe says that this host has no overlays: a full disk or a lack of memory does
// not, and the snapshots of former executors are overlays.
bool says_unsupported(const Error& error) {
  const int answers[] = {ENODEV, ENOSYS, EINVAL, EPERM, EACCES, EOPNOTSUPP};
  return std::ranges::any_of(answers, [&](int answer) { return error.is_errno(answer); });
}

Result<void> LocalProvisioner::open(ProvisionerOptions::Backend backend) {
  GANTRY_TRY(sys::ensure_directories(data_dir_, 0700));
  for (const char* name : {"layers", "roots", "work", "volumes", "staging", "trash", "empty"}) {
    GANTRY_TRY(sys::ensure_directory_at(AT_FDCWD, path(name).c_str(), 0700));
  }
  GANTRY_TRY(trash_.open());
  GANTRY_TRY(layers_.load());
  GANTRY_TRY(store_.load());
  BackendDirectories directories{path("roots"), path("work"), path("staging"), path("empty")};
  if (backend == ProvisionerOptions::Backend::automatic) {
    const Result<void> probed = probe_overlay(directories);
    backend = probed || !says_unsupported(probed.error()) ? ProvisionerOptions::Backend::overlay
                                                          : ProvisionerOptions::Backend::copy;
  }
  backend_ = backend == ProvisionerOptions::Backend::overlay
                 ? make_overlay_backend(worker_, trash_, std::move(directories))
                 : make_copy_backend(worker_, trash_, std::move(directories));
  return {};
}

Co<Result<SnapshotParent>> LocalProvisioner::parent_of(ImageInfo image) {
  auto parent = store_.parent(image);
  if (parent || !parent.error().is(Errc::busy)) co_return parent;
  GANTRY_CO_TRY(co_await store_.ensure_layers(image.digest));
  co_return store_.parent(image);
}

Co<Result<ProvisionedImage>> LocalProvisioner::provision(ContainerId id, ImageRef reference) {
  auto existing = find(id);
  bool exists = existing != snapshots_.end();
  // A container keeps the image it began with, also when its name has moved on.
  ImageInfo image = GANTRY_CO_TRY(exists ? store_.find_by_prefix(image_of(existing->first))
                                         : store_.get(reference));
  std::string key =
      exists ? existing->first : prefix_of(id) + image.digest.hex().substr(0, kImageDigits);
  // ORDER: from here on the image is in use; remove_image() looks at this map.
  snapshots_[key] = {!exists};
  auto parent = co_await parent_of(image);
  Result<Rootfs> rootfs = parent ? exists ? co_await backend_->open(key, std::move(*parent))
                                          : co_await backend_->prepare(key, std::move(*parent))
                                 : std::move(parent).error();
  if (!rootfs) {
    if (!exists) snapshots_.erase(key);
    co_return std::move(rootfs).error().context("image ", reference.to_string());
  }
  GANTRY_FAILPOINT("snapshot.after_prepare");
  co_return ProvisionedImage{std::move(*rootfs), image.config, image.digest.to_string()};
}

Co<Result<void>> LocalProvisioner::remove(ContainerId id) {
  auto it = find(id);
  if (it == snapshots_.end()) co_return Result<void>();
  co_return co_await remove(it->first);
}

Co<Result<void>> LocalProvisioner::remove(std::string key) {
  if (key.empty()) co_return Result<void>();
  // ORDER: the snapshot last: by it the next executor finds the container's volumes.
  GANTRY_CO_TRY(trash_.discard(AT_FDCWD, path("volumes/") + key));
  GANTRY_CO_TRY(co_await backend_->remove(key));
  GANTRY_FAILPOINT("snapshot.after_remove");
  snapshots_.erase(key);
  co_return Result<void>();
}

Co<Result<void>> LocalProvisioner::remove_image(ImageRef reference) {
  ImageInfo image = GANTRY_CO_TRY(store_.get(reference));
  if (GANTRY_CO_TRY(store_.is_last_name(reference))) {
    std::string digits = image.digest.hex().substr(0, kImageDigits);
    for (const auto& [key, snapshot] : snapshots_) {
      if (image_of(key) != digits) continue;
      co_return Error(Errc::busy,
                      cat("image ", reference.to_string(), " is used by container ",
                          key.substr(0, key.rfind('.')), ": remove that container first"));
    }
    std::erase_if(users_, [&](const auto& item) { return item.first.starts_with(digits); });
  }
  co_return co_await store_.remove(reference);
}

Co<Result<Credentials>> LocalProvisioner::resolve_user(Rootfs rootfs, UserSpec user) {
  if (is_root(user)) co_return Credentials();
  auto it = snapshots_.find(rootfs.snapshot_key);
  if (it == snapshots_.end() || !it->second.is_fresh) {
    co_return co_await look_up_user(std::move(rootfs), std::move(user));
  }
  std::string question = cat(image_of(it->first), " ", user.text);
  for (const std::string& group : user.additional_groups) question += cat("\n", group);
  // Once a command has run in it, the root's own database counts, not the image's.
  it->second.is_fresh = false;
  if (auto known = users_.find(question); known != users_.end()) co_return known->second;
  Credentials found = GANTRY_CO_TRY(co_await look_up_user(std::move(rootfs), std::move(user)));
  if (users_.size() < 10'000) users_.emplace(std::move(question), found);
  co_return found;
}

Co<Result<Credentials>> LocalProvisioner::look_up_user(Rootfs rootfs, UserSpec user) {
  WorkerRequest request;
  request.job = "user";
  request.limit = kLookupLimit;
  add_root(request.fields, rootfs);
  request.fields.add("user", user.text);
  for (const std::string& group : user.additional_groups) request.fields.add("group", group);
  const std::string where = rootfs.kind == Rootfs::Kind::directory ? rootfs.directory : "";
  Result<Fields> looked = co_await worker_.run(std::move(request));
  if (!looked && looked.error().is(Errc::timed_out)) {
    co_return std::move(looked).error().context("look for the user in ", where,
                                                ", which does not answer");
  }
  const Fields answer = GANTRY_CO_TRY(std::move(looked));
  Credentials out;
  out.uid = GANTRY_CO_TRY(answer.number<uid_t>("uid"));
  out.gid = GANTRY_CO_TRY(answer.number<gid_t>("gid"));
  out.home = answer.get("home");
  for (const std::string& text : answer.all("gid.more")) {
    gid_t gid = 0;
    if (!parse_number(text, gid)) co_return Error(Errc::corrupt, "gantry-worker's answer: gid");
    out.groups.push_back(gid);
  }
  co_return out;
}

Co<Result<std::vector<MountSpec>>> LocalProvisioner::prepare_volumes(
    std::string key, std::vector<MountSpec> mounts) {
  auto is_open = [](const MountSpec& m) {
    return m.type == MountSpec::Type::volume && m.source.empty();
  };
  if (std::ranges::none_of(mounts, is_open)) co_return mounts;
  auto snapshot = snapshots_.find(key);
  if (snapshot == snapshots_.end()) {
    co_return Error(Errc::unsupported, "a volume without a source needs a container with an image");
  }
  std::string base = path("volumes/") + key;
  GANTRY_CO_TRY(sys::ensure_directory_at(AT_FDCWD, base.c_str(), 0700));
  std::vector<std::string> targets, paths;
  size_t number = 0;
  for (MountSpec& mount : mounts) {
    if (!is_open(mount)) continue;
    mount.source = cat(base, "/", number++);
    if (::mkdir(mount.source.c_str(), 0700) == 0) {
      targets.push_back(mount.source);
      paths.push_back(mount.destination);
    } else if (errno != EEXIST) {  // it exists when the container starts again: kept as it is
      co_return Error::from_errno(errno, cat("make the volume for ", mount.destination));
    }
  }
  if (targets.empty()) co_return mounts;
  ImageInfo image = GANTRY_CO_TRY(store_.find_by_prefix(image_of(key)));
  SnapshotParent parent = GANTRY_CO_TRY(co_await parent_of(image));
  Rootfs rootfs = GANTRY_CO_TRY(co_await backend_->open(key, std::move(parent)));
  auto filled = co_await fill_volumes(targets, std::move(paths), std::move(rootfs));
  if (!filled) {
    // Half-filled ones must not be taken for good when the container starts again.
    for (const std::string& target : targets) {
      trash_.discard(AT_FDCWD, target).ignore("removed with the snapshot at the latest");
    }
    co_return std::move(filled).error().context("volumes of ", key);
  }
  co_return mounts;
}

Co<Result<void>> LocalProvisioner::fill_volumes(std::vector<std::string> targets,
                                                std::vector<std::string> paths, Rootfs rootfs) {
  // A worker takes some hundred descriptors, and an image may declare any number of volumes.
  constexpr size_t kAtOnce = 100;
  for (size_t first = 0; first < targets.size(); first += kAtOnce) {
    WorkerRequest request;
    request.job = "volumes";
    request.limit = std::chrono::minutes(30);
    for (size_t i = first; i < std::min(first + kAtOnce, targets.size()); ++i) {
      request.fds.push_back(GANTRY_CO_TRY(sys::open(targets[i], O_PATH | O_DIRECTORY)));
      request.fields.add("path", paths[i]);
    }
    add_root(request.fields, rootfs);
    GANTRY_CO_TRY(co_await worker_.run(std::move(request)));
  }
  co_return Result<void>();
}

Co<Result<void>> LocalProvisioner::recover(std::set<std::string> live) {
  // What does not go (immutable, a mount point, a directory that cannot be read) stays until the
  // next time, and is said.
  Result<void> all_gone;
  auto note = [&all_gone](Result<void> gone) {
    if (!gone) all_gone = std::move(gone);
  };
  auto names_in = [&](const char* directory) {
    auto names = list_directory(path(directory));
    if (!names) note(names.error());
    return names ? *std::move(names) : std::vector<std::string>();
  };
  for (const std::string& name : names_in("staging")) {
    note(trash_.discard(AT_FDCWD, cat(path("staging"), "/", name)));
  }
  for (const std::string& key : GANTRY_CO_TRY(backend_->list())) {
    if (live.contains(key)) {
      snapshots_[key] = {false};
    } else {
      note(co_await backend_->remove(key));
    }
  }
  for (const std::string& key : names_in("volumes")) {
    if (!live.contains(key)) note(trash_.discard(AT_FDCWD, cat(path("volumes"), "/", key)));
  }
  note(store_.collect_garbage());
  if (!names_in("trash").empty()) trash_.schedule();
  co_return all_gone;
}
}  // namespace

Result<std::unique_ptr<Provisioner>> open_provisioner(asio::any_io_executor executor,
                                                      WorkerClient& worker,
                                                      ProvisionerOptions options) {
  auto backend = options.backend;
  std::string where = options.data_dir;
  auto out = std::make_unique<LocalProvisioner>(std::move(executor), worker, std::move(options));
  GANTRY_TRY(out->open(backend).context("open the image store in ", where));
  return std::unique_ptr<Provisioner>(std::move(out));
}
}  // namespace gantry
