#include "provisioner/layout_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <set>

#include "base/atomic_file.h"
#include "base/directory.h"
#include "base/failpoint.h"
#include "base/record_file.h"
#include "base/sys.h"
#include "fetcher/image_fields.h"

namespace gantry {
namespace {
constexpr size_t kMostRefusedName = 200;
constexpr std::string_view kLayoutFile = R"({"imageLayoutVersion":"1.0.0"})";

Result<std::vector<std::string>> visible_names_in(int directory) {
  std::vector<std::string> names = GANTRY_TRY(names_in(directory, "."));
  std::erase_if(names, [](const std::string& name) { return name.starts_with('.'); });
  return names;
}

std::string index_of(const std::map<std::string, std::shared_ptr<const CatalogEntry>>& entries) {
  oci::Index index;
  for (const auto& [hex, entry] : entries) {
    oci::Descriptor descriptor{entry->manifest_type,
                               entry->info.digest,
                               entry->manifest_size,
                               {},
                               oci::Platform{"linux", std::string(oci::host_architecture()), ""}};
    for (const std::string& name : entry->info.references) {
      descriptor.annotations["org.opencontainers.image.ref.name"] = name;
      index.manifests.push_back(descriptor);
    }
    if (entry->info.references.empty()) index.manifests.push_back(descriptor);
  }
  return oci::write_index(index);
}

std::map<std::string, std::string, std::less<>> names_of(
    const std::map<std::string, std::shared_ptr<const CatalogEntry>>& entries) {
  std::map<std::string, std::string, std::less<>> out;
  for (const auto& [hex, entry] : entries) {
    for (const std::string& name : entry->info.references) out[name] = hex;
  }
  return out;
}
}  // namespace

LayoutStore::LayoutStore(asio::any_io_executor executor, WorkerClient& worker, Trash& trash,
                         LayerStore& layers, std::string data_dir, StoreLimits limits)
    : worker_(worker),
      trash_(trash),
      layers_(layers),
      data_dir_(std::move(data_dir)),
      limits_(limits),
      turns_(std::move(executor), 1) {}

Result<void> LayoutStore::load() {
  GANTRY_TRY(sys::ensure_directories(cat(data_dir_, "/images/blobs/sha256"), 0700));
  GANTRY_TRY(sys::ensure_directories(cat(data_dir_, "/catalog"), 0700));
  images_fd_ = GANTRY_TRY(sys::open(cat(data_dir_, "/images"), O_RDONLY | O_DIRECTORY));
  blobs_fd_ = GANTRY_TRY(sys::open(cat(data_dir_, "/images/blobs/sha256"), O_RDONLY | O_DIRECTORY));
  catalog_fd_ = GANTRY_TRY(sys::open(cat(data_dir_, "/catalog"), O_RDONLY | O_DIRECTORY));
  GANTRY_TRY(remove_temporaries(images_fd_.get()));
  GANTRY_TRY(remove_temporaries(catalog_fd_.get()));
  for (const std::string& name : GANTRY_TRY(visible_names_in(catalog_fd_.get()))) {
    if (name.size() != 64) continue;  // quarantined earlier
    auto record = read_record(catalog_fd_.get(), name.c_str());
    auto entry = record ? decode_entry(*record) : Result<CatalogEntry>(std::move(record).error());
    if (entry && entry->info.digest.hex() == name) {
      entries_[name] = std::make_shared<CatalogEntry>(std::move(*entry));
    } else if (!entry && !is_damage(entry.error())) {
      return std::move(entry).error();
    } else {
      GANTRY_TRY(quarantine_record(catalog_fd_.get(), name));
    }
  }
  names_ = names_of(entries_);
  if (::faccessat(images_fd_.get(), "oci-layout", F_OK, 0) != 0) {
    GANTRY_TRY(write_file_atomically(images_fd_.get(), "oci-layout", kLayoutFile,
                                     Durability::memory, 0644));
  }
  // Derived, so written anew: a killed executor may have changed a record and not the index.
  write_file_atomically(images_fd_.get(), "index.json", index_of(entries_), Durability::memory,
                        0644)
      .ignore("for other tools; a full disk must not keep an executor from starting");
  return {};
}

Result<const CatalogEntry*> LayoutStore::find(const ImageRef& reference) const {
  if (auto name = names_.find(reference.to_string()); name != names_.end()) {
    return entries_.at(name->second).get();
  }
  const std::string_view digits = reference.digits();
  const CatalogEntry* found = nullptr;
  for (const auto& [hex, entry] : entries_) {
    if (digits.empty()) break;
    if (!hex.starts_with(digits) && !entry->info.id.hex().starts_with(digits)) continue;
    if (found != nullptr && found != entry.get()) {
      return Error(Errc::conflict, cat("image '", reference.to_string(),
                                       "': several images begin so, give more digits"));
    }
    found = entry.get();
  }
  if (found == nullptr) {
    return Error(Errc::not_found, cat("no image '", reference.to_string(),
                                      "': import it with `gantry import`, or see "
                                      "`gantry images`"));
  }
  return found;
}

Result<ImageInfo> LayoutStore::get(const ImageRef& reference) const {
  return GANTRY_TRY(find(reference))->info;
}

Result<ImageInfo> LayoutStore::find_by_prefix(std::string_view digits) const {
  auto it = entries_.lower_bound(std::string(digits));
  if (it == entries_.end() || !it->first.starts_with(digits)) {
    return Error(Errc::not_found, cat("no image sha256:", digits));
  }
  return it->second->info;
}

std::vector<ImageInfo> LayoutStore::list() const {
  std::vector<ImageInfo> out;
  for (const auto& [hex, entry] : entries_) out.push_back(entry->info);
  return out;
}

Result<ImageContent> LayoutStore::content(const ImageRef& reference) const {
  const CatalogEntry* entry = GANTRY_TRY(find(reference));
  ImageContent out{.info = entry->info, .config = {}, .layers = entry->layers};
  const UniqueFd blob = GANTRY_TRY(open_blob(entry->info.id, ""));
  out.config = GANTRY_TRY(sys::read_all(blob.get(), oci::kMaxConfigBytes));
  return out;
}

Co<Result<void>> LayoutStore::tag(ImageRef image, ImageRef name) {
  if (name.name().empty() || !name.digest().empty()) {
    co_return Error(Errc::invalid, cat("image '", name.to_string(),
                                       "': an image is given a name and a tag, not a digest"));
  }
  auto guard = GANTRY_CO_TRY(co_await turns_.take());
  const std::string hex = GANTRY_CO_TRY(find(image))->info.digest.hex();
  Entries next = entries_;
  for (auto& [key, entry] : next) {
    std::set<std::string> names(entry->info.references.begin(), entry->info.references.end());
    const bool changes =
        key == hex ? names.insert(name.to_string()).second : names.erase(name.to_string()) > 0;
    if (!changes) continue;
    CatalogEntry changed = *entry;
    changed.info.references.assign(names.begin(), names.end());
    entry = std::make_shared<CatalogEntry>(std::move(changed));
  }
  co_return co_await publish(std::move(next));
}

Result<bool> LayoutStore::is_last_name(const ImageRef& reference) const {
  const CatalogEntry* entry = GANTRY_TRY(find(reference));
  return !names_.contains(reference.to_string()) || entry->info.references.size() <= 1;
}

Result<SnapshotParent> LayoutStore::parent(const ImageInfo& image) const {
  const CatalogEntry& entry = *entries_.at(image.digest.hex());
  for (const oci::Digest& chain : entry.chains) {
    if (!layers_.has(chain)) return Error(Errc::busy, "layers are not unpacked");
  }
  return layers_.parent_of(entry.chains);
}

Result<UniqueFd> LayoutStore::open_blob(const oci::Digest& digest,
                                        const std::string& staged) const {
  if (!staged.empty()) {
    auto fd = sys::open(cat(staged, "/", digest.hex()), O_RDONLY | O_NOFOLLOW);
    if (fd || !fd.error().is_errno(ENOENT)) return fd;
  }
  return sys::open_at(blobs_fd_.get(), digest.hex().c_str(), O_RDONLY | O_NOFOLLOW)
      .context("blob ", digest.to_string());
}

// Preconditions: the lock is held.
Co<Result<void>> LayoutStore::unpack_missing(std::shared_ptr<const CatalogEntry> entry,
                                             std::string staged) {
  std::vector<oci::Digest> below;
  for (size_t i = 0; i < entry->chains.size(); ++i) {
    const oci::Digest& chain = entry->chains[i];
    if (!layers_.has(chain)) {
      UniqueFd blob = GANTRY_CO_TRY(open_blob(entry->layers[i].first, staged));
      GANTRY_CO_TRY(co_await layers_.unpack(chain, below, entry->info.config->diff_ids[i],
                                            std::move(blob), limits_.unpack));
    }
    below.push_back(chain);
  }
  co_return Result<void>();
}

Co<Result<void>> LayoutStore::ensure_layers(oci::Digest image) {
  auto guard = GANTRY_CO_TRY(co_await turns_.take());
  auto it = entries_.find(image.hex());
  if (it == entries_.end()) {
    co_return Error(Errc::not_found, cat("no image ", image.to_string()));
  }
  co_return co_await unpack_missing(it->second, "");
}

namespace {
// What an image is to be called; nothing of an empty text.
Result<std::optional<ImageRef>> new_name(const std::string& text) {
  if (text.empty()) return std::optional<ImageRef>();
  ImageRef reference = GANTRY_TRY(ImageRef::parse(text));
  if (reference.name().empty() || !reference.digest().empty()) {
    return Error(Errc::invalid, cat("image '", text.substr(0, 100),
                                    "': an image is given a name and a tag, not a digest"));
  }
  return std::optional(std::move(reference));
}
}  // namespace

Co<Result<std::vector<ImageInfo>>> LayoutStore::ingest(UniqueFd stream, std::string name,
                                                       std::optional<oci::ImageConfig> config,
                                                       IngestOnly only) {
  std::optional<ImageRef> reference = GANTRY_CO_TRY(new_name(name));
  WorkerRequest request;
  request.job = "ingest";
  request.fields.add_number("max_bytes", limits_.unpack.max_bytes);
  request.fields.add_number("stall", limits_.stall.count());
  if (only == IngestOnly::images) request.fields.add("images_only", "");
  if (config) {
    Fields fields;
    add_image_config(fields, *config);
    request.fields.add("config", fields.encode());
  }
  request.input = std::move(stream);
  request.limit = limits_.unpack.limit;
  const auto run = [this](WorkerRequest job) { return worker_.run(std::move(job)); };
  auto done = co_await stage(std::move(request), run, {std::move(reference), {}});
  if (!done) co_return std::move(done).error().context("import");
  co_return done;
}

Co<Result<std::vector<ImageInfo>>> LayoutStore::stage(WorkerRequest request, RunJob run,
                                                      Naming naming) {
  std::string staged = cat(data_dir_, "/staging/import.", ::getpid(), ".", next_++);
  GANTRY_CO_TRY(sys::mkdir_at(AT_FDCWD, staged.c_str(), 0700));
  Result<std::vector<ImageInfo>> done = Error(Errc::cancelled, "cancelled");
  auto directory = sys::open(staged, O_PATH | O_DIRECTORY);
  if (directory) {
    request.fds.insert(request.fds.begin(), std::move(*directory));
    auto answer = co_await run(std::move(request));
    GANTRY_FAILPOINT("image.after_ingest");
    if (answer) {
      done = co_await admit(std::move(*answer), staged, std::move(naming));
    } else {
      done = std::move(answer).error();
    }
  } else {
    done = std::move(directory).error();
  }
  trash_.discard(AT_FDCWD, staged).ignore("recover() removes what stays in staging");
  co_return done;
}

const CatalogEntry* LayoutStore::made_for(std::string_view request_id) const {
  if (request_id.empty()) return nullptr;
  const auto found = std::ranges::find_if(
      entries_, [&](const auto& item) { return item.second->request_id == request_id; });
  return found == entries_.end() ? nullptr : found->second.get();
}

Co<Result<ImageInfo>> LayoutStore::commit(CommitRequest in, RunJob run) {
  if (const CatalogEntry* made = made_for(in.request_id)) co_return made->info;
  std::optional<ImageRef> name = GANTRY_CO_TRY(new_name(in.name));
  const CatalogEntry* base = GANTRY_CO_TRY(find(in.base));
  WorkerRequest request;
  request.job = "commit";
  request.limit = limits_.unpack.limit;
  request.fields.add_number("max_bytes", limits_.unpack.max_bytes);
  const UniqueFd manifest = GANTRY_CO_TRY(open_blob(base->info.digest, ""));
  request.fields.add("manifest",
                     GANTRY_CO_TRY(sys::read_all(manifest.get(), oci::kMaxManifestBytes)));
  const UniqueFd config = GANTRY_CO_TRY(open_blob(base->info.id, ""));
  request.fields.add("config", GANTRY_CO_TRY(sys::read_all(config.get(), oci::kMaxConfigBytes)));
  add_image_changes(request.fields, in.changes);
  for (const std::string& place : in.places) request.fields.add("place", place);
  request.fields.add("created_by", in.created_by);
  request.fields.add("author", in.author);
  request.fields.add("comment", in.comment);
  request.fds.push_back(GANTRY_CO_TRY(sys::open(in.upper, O_PATH | O_DIRECTORY | O_NOFOLLOW)));
  auto made = GANTRY_CO_TRY(co_await stage(std::move(request), std::move(run),
                                           {std::move(name), std::move(in.request_id)}));
  co_return std::move(made.front());
}

Co<Result<void>> LayoutStore::save(std::vector<ImageRef> references, UniqueFd output) {
  WorkerRequest request;
  request.job = "save";
  request.limit = limits_.save;
  request.fields.add("layout", kLayoutFile);
  for (const ImageRef& reference : references) {
    const CatalogEntry* entry = GANTRY_CO_TRY(find(reference));
    Fields image;
    image.add("manifest", entry->info.digest.to_string());
    image.add("type", entry->manifest_type);
    image.add_number("size", entry->manifest_size);
    if (names_.contains(reference.to_string())) image.add("name", reference.to_string());
    request.fields.add("image", image.encode());
  }
  request.fds.push_back(GANTRY_CO_TRY(sys::duplicate(blobs_fd_.get())));
  request.fds.push_back(std::move(output));
  GANTRY_CO_TRY(co_await worker_.run(std::move(request)));
  co_return Result<void>();
}

Co<Result<std::vector<ImageInfo>>> LayoutStore::admit(Fields answer, std::string staged,
                                                      Naming naming) {
  const std::optional<ImageRef>& name = naming.name;
  std::vector<CatalogEntry> images;
  for (const std::string& image : answer.all("image")) {
    images.push_back(GANTRY_CO_TRY(decode_entry(image)));
  }
  if (images.empty()) co_return Error(Errc::invalid, "it holds no image");
  if (name && images.size() != 1) {
    co_return Error(Errc::invalid,
                    cat("it holds ", images.size(), " images, which cannot all be named ",
                        name->to_string(), ": leave the name out"));
  }
  auto guard = GANTRY_CO_TRY(co_await turns_.take());
  // Its first asking may have come to its end meanwhile.
  if (const CatalogEntry* made = made_for(naming.request_id)) co_return std::vector{made->info};
  Entries next = entries_;
  std::vector<ImageInfo> out;
  for (CatalogEntry& image : images) {
    std::set<std::string> references;
    std::vector<std::string> refused;
    if (name) {
      references.insert(name->to_string());
    } else {
      for (const std::string& text : image.info.references) {
        // A name that is none is the archive's problem, not the image's.
        auto parsed = ImageRef::parse(text);
        if (parsed && parsed->digest().empty()) {
          references.insert(parsed->to_string());
        } else {
          refused.push_back(text.substr(0, kMostRefusedName));
        }
      }
    }
    const std::vector<std::string> given(references.begin(), references.end());
    image.info.imported_ns = sys::realtime_ns();
    image.request_id = naming.request_id;
    auto known = next.find(image.info.digest.hex());
    if (known != next.end()) {
      image.info.imported_ns = known->second->info.imported_ns;
      references.insert(known->second->info.references.begin(),
                        known->second->info.references.end());
    }
    // A name is one image's: the one that had it keeps its digest.
    for (auto& [hex, other] : next) {
      CatalogEntry changed = *other;
      size_t gone = std::erase_if(changed.info.references,
                                  [&](const std::string& r) { return references.contains(r); });
      if (gone > 0) other = std::make_shared<CatalogEntry>(std::move(changed));
    }
    image.info.references.assign(references.begin(), references.end());
    auto entry = std::make_shared<CatalogEntry>(std::move(image));
    // What it stands on may have been removed since the job began.
    for (const auto& [digest, size] : entry->layers) {
      GANTRY_CO_TRY(open_blob(digest, staged));
    }
    GANTRY_CO_TRY(co_await unpack_missing(entry, staged));
    out.push_back(entry->info);
    if (!given.empty()) out.back().references = given;
    out.back().refused_names = std::move(refused);
    next[entry->info.digest.hex()] = std::move(entry);
  }
  auto blobs = answer.all("blob");
  GANTRY_CO_TRY(co_await offload([this, staged, blobs] { return move_blobs(staged, blobs); }));
  GANTRY_FAILPOINT_CO_TRY("image.before_commit");
  GANTRY_CO_TRY(co_await publish(std::move(next)));
  GANTRY_FAILPOINT("image.after_commit");
  co_return out;
}

// On the offload pool. The worker has synced the files; the rename is made durable here.
Result<void> LayoutStore::move_blobs(const std::string& staged,
                                     const std::vector<std::string>& names) const {
  UniqueFd from = GANTRY_TRY(sys::open(staged, O_RDONLY | O_DIRECTORY));
  for (const std::string& name : names) {
    if (!oci::Digest::parse("sha256:" + name)) return Error(Errc::corrupt, "a blob's name");
    if (::faccessat(blobs_fd_.get(), name.c_str(), F_OK, 0) == 0) continue;
    if (::renameat(from.get(), name.c_str(), blobs_fd_.get(), name.c_str()) != 0) {
      return Error::from_errno(errno, cat("store blob ", name));
    }
  }
  if (::fsync(blobs_fd_.get()) != 0) return Error::from_errno(errno, "sync the blobs");
  return {};
}

// On the offload pool.
Result<void> LayoutStore::write_catalog(const Entries& before, const Entries& next) const {
  for (const auto& [hex, entry] : next) {
    auto old = before.find(hex);
    if (old != before.end() && old->second == entry) continue;
    GANTRY_TRY(write_record(catalog_fd_.get(), hex, encode_entry(*entry), Durability::disk));
  }
  for (const auto& [hex, entry] : before) {
    if (next.contains(hex)) continue;
    if (::unlinkat(catalog_fd_.get(), hex.c_str(), 0) != 0 && errno != ENOENT) {
      return Error::from_errno(errno, cat("remove the record of image ", hex));
    }
  }
  return write_file_atomically(images_fd_.get(), "index.json", index_of(next), Durability::disk,
                               0644);
}

// Preconditions: the lock is held. Everybody sees the change once it is on disk.
Co<Result<void>> LayoutStore::publish(Entries next) {
  GANTRY_CO_TRY(
      co_await offload([this, before = entries_, next] { return write_catalog(before, next); }));
  entries_ = std::move(next);
  names_ = names_of(entries_);
  co_return Result<void>();
}

Co<Result<void>> LayoutStore::remove(ImageRef reference) {
  auto guard = GANTRY_CO_TRY(co_await turns_.take());
  const CatalogEntry* entry = GANTRY_CO_TRY(find(reference));
  std::string hex = entry->info.digest.hex();
  Entries next = entries_;
  if (GANTRY_CO_TRY(is_last_name(reference))) {
    next.erase(hex);
  } else {
    CatalogEntry changed = *entry;
    std::erase(changed.info.references, reference.to_string());
    next[hex] = std::make_shared<CatalogEntry>(std::move(changed));
  }
  GANTRY_CO_TRY(co_await publish(std::move(next)));
  co_return remove_unneeded(entries_);
}

// Preconditions: the lock is held, so no import is between its blobs and its record.
Result<void> LayoutStore::remove_unneeded(const Entries& next) {
  std::set<std::string> blobs;
  std::vector<oci::Digest> chains;
  for (const auto& [hex, entry] : next) {
    blobs.insert({hex, entry->info.id.hex()});
    for (const auto& [digest, size] : entry->layers) blobs.insert(digest.hex());
    chains.insert(chains.end(), entry->chains.begin(), entry->chains.end());
  }
  for (const std::string& name : GANTRY_TRY(visible_names_in(blobs_fd_.get()))) {
    if (!blobs.contains(name)) GANTRY_TRY(trash_.discard(blobs_fd_.get(), name));
  }
  return layers_.keep_only(chains);
}
}  // namespace gantry
