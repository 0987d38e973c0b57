// The Daemon's calls about images.
#include <fcntl.h>
#include <unistd.h>

#include "api/wire/json.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "executor/body_pipe.h"
#include "executor/daemon.h"
#include "executor/piped_work.h"

namespace gantry {
namespace {
ImageSummary summarize_image(const ImageInfo& image) {
  ImageSummary out{.references = image.references,
                   .digest = image.digest.to_string(),
                   .size = image.size,
                   .created_ns = image.imported_ns,
                   .refused_names = image.refused_names};
  if (image.config) {
    out.platform = cat(image.config->os, "/", image.config->architecture);
    out.layers = static_cast<uint32_t>(image.config->diff_ids.size());
  }
  return out;
}

// For the image's history.
std::string command_of(const Container& container) {
  constexpr size_t kMost = 4096;
  std::string out;
  for (const std::string& word : container.spec->process.args) {
    out += cat(out.empty() ? "" : " ", std::string_view(word).substr(0, kMost));
    if (out.size() > kMost) break;
  }
  return wire::to_valid_utf8(out.substr(0, kMost));
}
}  // namespace

void Daemon::tell_image(std::string_view action, std::string digest, std::string reference) {
  events_.add({.type = "image",
               .action = std::string(action),
               .id = std::move(digest),
               .name = std::move(reference),
               .attributes = {},
               .message = {}});
}

Co<Result<std::vector<ImageSummary>>> Daemon::images() {
  std::vector<ImageSummary> out;
  for (const ImageInfo& image : provisioner_.images()) out.push_back(summarize_image(image));
  co_return out;
}

Co<Result<std::vector<ImageSummary>>> Daemon::import(ImportOptions options,
                                                     http::BodyStream& body) {
  std::vector<ImageInfo> images = GANTRY_CO_TRY(co_await feed_body<std::vector<ImageInfo>>(
      body, executor_, [this, &options](UniqueFd stream) {
        return provisioner_.import(
            std::move(stream), std::move(options.reference), std::move(options.config),
            options.format == ImportOptions::Format::images ? IngestOnly::images
                                                            : IngestOnly::anything);
      }));
  std::vector<ImageSummary> out;
  for (const ImageInfo& image : images) {
    out.push_back(summarize_image(image));
    tell_image("import", image.digest.to_string(),
               image.references.empty() ? "" : image.references.front());
  }
  co_return out;
}

// The provisioner knows a container by its id only.
Error Daemon::in_names(Error error, const ImageRef& reference, const ImageInfo& image) const {
  if (!error.is(Errc::busy)) return error;
  for (const ContainerPtr& container : containerizer_.list()) {
    if (container->parent || container->image_digest != image.digest.to_string()) continue;
    return {Errc::busy, cat("image ", reference.to_string(), " is used by container ",
                            called(*container), ": remove that container first")};
  }
  return error;
}

Co<Result<RemovedImages>> Daemon::remove_image(std::string reference, Force force) {
  ImageRef parsed = GANTRY_CO_TRY(ImageRef::parse(reference));
  ImageInfo image = GANTRY_CO_TRY(provisioner_.image(parsed));
  if (force == Force::yes) {
    for (const ContainerPtr& container : containerizer_.list()) {
      if (container->image_digest == image.digest.to_string() && container->outcome) {
        GANTRY_CO_TRY(co_await containerizer_.remove(container->id, Containerizer::Force::no));
      }
    }
  }
  Result<void> removed = co_await provisioner_.remove_image(parsed);
  if (!removed) co_return in_names(std::move(removed).error(), parsed, image);
  tell_image("remove", image.digest.to_string(), reference);
  RemovedImages out;
  if (provisioner_.image(GANTRY_CO_TRY(ImageRef::parse(image.digest.to_string())))) {
    out.untagged.push_back(parsed.to_string());
    co_return out;
  }
  out.untagged = image.references;
  out.deleted.push_back(image.digest.to_string());
  out.freed = image.size;
  co_return out;
}

namespace {
Co<Result<uint64_t>> with_all(Co<Result<void>> work) {
  GANTRY_CO_TRY(co_await std::move(work));
  co_return uint64_t{0};
}
}  // namespace

Co<Result<std::unique_ptr<TarStream>>> Daemon::save_images(std::vector<std::string> references) {
  std::vector<ImageRef> parsed;
  for (const std::string& reference : references) {
    parsed.push_back(GANTRY_CO_TRY(ImageRef::parse(reference)));
    GANTRY_CO_TRY(provisioner_.image(parsed.back()));
  }
  sys::Pipe pipe = GANTRY_CO_TRY(open_transfer_pipe(OwnEnd::read));
  co_return std::make_unique<PipedWork>(
      with_all(provisioner_.save_images(std::move(parsed), std::move(pipe.write))),
      std::move(pipe.read), executor_);
}

// Freezing is for as long as its files are read, not while the image is stored.
Co<Result<Fields>> Daemon::run_commit(ContainerPtr container, bool pauses, WorkerRequest request) {
  if (pauses) GANTRY_CO_TRY(co_await containerizer_.hold_still(container));
  Result<Fields> done = co_await containerizer_.run_on_files(container, std::move(request));
  GANTRY_FAILPOINT("commit.before_resume");
  if (pauses) {
    Result<void> goes_on = co_await containerizer_.let_go(container);
    if (!goes_on && done) co_return std::move(goes_on).error();
  }
  co_return done;
}

Co<Result<ImageSummary>> Daemon::commit(ContainerId id, CommitOptions options) {
  ContainerPtr container = GANTRY_CO_TRY(resolve(id));
  if (container->rootfs.kind != Rootfs::Kind::overlay || container->rootfs.upper.empty()) {
    co_return Error(Errc::unsupported,
                    cat("container '", container->id.to_string(),
                        "' has no layer of its own over an image; `gantry export ", id.to_string(),
                        " | gantry import - NAME` makes an image of its files"));
  }
  CommitRequest request{.base = GANTRY_CO_TRY(ImageRef::parse(container->image_digest)),
                        .upper = container->rootfs.upper,
                        .name = std::move(options.reference),
                        .places = mounted_places(*container),
                        .changes = std::move(options.changes),
                        .created_by = command_of(*container),
                        .author = std::move(options.author),
                        .comment = std::move(options.comment),
                        .request_id = std::move(options.request_id)};
  const auto run = [this, container, pauses = options.pause](WorkerRequest job) {
    return run_commit(container, pauses, std::move(job));
  };
  const ImageInfo image =
      GANTRY_CO_TRY(co_await provisioner_.commit_image(std::move(request), run));
  tell_image("commit", image.digest.to_string(),
             image.references.empty() ? "" : image.references.front());
  co_return summarize_image(image);
}

Co<Result<std::vector<WrittenSpace>>> Daemon::disk_usage() {
  std::vector<WrittenSpace> out;
  for (const ContainerPtr& container : containerizer_.list()) {
    if (container->parent || container->rootfs.snapshot_key.empty()) continue;
    auto usage = co_await provisioner_.usage(container->rootfs.snapshot_key);
    // It was removed meanwhile.
    if (!usage && usage.error().is(Errc::not_found)) continue;
    const TreeUsage found = GANTRY_CO_TRY(std::move(usage));
    out.push_back({container->id, found.bytes, found.inodes});
  }
  co_return out;
}

Co<Result<void>> Daemon::tag_image(std::string reference, std::string tag) {
  ImageRef from = GANTRY_CO_TRY(ImageRef::parse(reference));
  ImageRef to = GANTRY_CO_TRY(ImageRef::parse(tag));
  const ImageInfo image = GANTRY_CO_TRY(provisioner_.image(from));
  GANTRY_CO_TRY(co_await provisioner_.tag_image(std::move(from), std::move(to)));
  tell_image("tag", image.digest.to_string(), tag);
  co_return Result<void>();
}

Co<Result<ImageDetails>> Daemon::inspect_image(std::string reference) {
  ImageRef parsed = GANTRY_CO_TRY(ImageRef::parse(reference));
  ImageContent content = GANTRY_CO_TRY(provisioner_.image_content(parsed));
  ImageDetails out{.summary = summarize_image(content.info), .config = std::move(content.config)};
  for (const auto& [digest, size] : content.layers)
    out.layers.emplace_back(digest.to_string(), size);
  co_return out;
}

Co<Result<RemovedImages>> Daemon::prune_images(std::vector<std::string> excluded) {
  std::set<std::string> keep;
  for (const std::string& reference : excluded) {
    ImageRef parsed = GANTRY_CO_TRY(ImageRef::parse(reference));
    if (auto image = provisioner_.image(parsed)) keep.insert(image->digest.to_string());
  }
  for (const ContainerPtr& container : containerizer_.list()) {
    keep.insert(container->image_digest);
  }
  RemovedImages out;
  for (const ImageInfo& image : provisioner_.images()) {
    std::string digest = image.digest.to_string();
    if (keep.contains(digest)) continue;
    ImageRef reference = GANTRY_CO_TRY(ImageRef::parse(digest));
    GANTRY_CO_TRY(co_await provisioner_.remove_image(reference));
    tell_image("remove", digest, image.references.empty() ? "" : image.references.front());
    out.deleted.push_back(digest);
    out.freed += image.size;
    out.untagged.insert(out.untagged.end(), image.references.begin(), image.references.end());
  }
  co_return out;
}
}  // namespace gantry
