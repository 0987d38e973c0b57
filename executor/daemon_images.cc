// The Daemon's calls about images.
#include <fcntl.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/sys.h"
#include "executor/body_pipe.h"
#include "executor/daemon.h"

namespace gantry {
namespace {
ImageSummary summarize_image(const ImageInfo& image) {
  ImageSummary out{.references = image.references,
                   .digest = image.digest.to_string(),
                   .size = image.size,
                   .created_ns = image.imported_ns};
  if (image.config) {
    out.platform = cat(image.config->os, "/", image.config->architecture);
    out.layers = static_cast<uint32_t>(image.config->diff_ids.size());
  }
  return out;
}
}  // namespace

Co<Result<std::vector<ImageSummary>>> Daemon::images() {
  std::vector<ImageSummary> out;
  for (const ImageInfo& image : provisioner_.images()) out.push_back(summarize_image(image));
  co_return out;
}

Co<Result<std::vector<ImageSummary>>> Daemon::import(ImportOptions options,
                                                     http::BodyStream& body) {
  std::vector<ImageInfo> images = GANTRY_CO_TRY(co_await feed_body<std::vector<ImageInfo>>(
      body, executor_, [this, &options](UniqueFd stream) {
        return provisioner_.import(std::move(stream), std::move(options.reference),
                                   std::move(options.config));
      }));
  std::vector<ImageSummary> out;
  for (const ImageInfo& image : images) out.push_back(summarize_image(image));
  co_return out;
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
  GANTRY_CO_TRY(co_await provisioner_.remove_image(parsed));
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

Co<Result<void>> Daemon::tag_image(std::string reference, std::string tag) {
  ImageRef from = GANTRY_CO_TRY(ImageRef::parse(reference));
  ImageRef to = GANTRY_CO_TRY(ImageRef::parse(tag));
  co_return co_await provisioner_.tag_image(std::move(from), std::move(to));
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
    out.deleted.push_back(digest);
    out.freed += image.size;
    out.untagged.insert(out.untagged.end(), image.references.begin(), image.references.end());
  }
  co_return out;
}
}  // namespace gantry
