// A container's writable layer as an image's further layer: the blobs of the new image, in a
// staging directory.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "api/oci/commit.h"
#include "base/sys.h"
#include "base/tar_writer.h"
#include "fetcher/image_fields.h"
#include "fetcher/worker/archive_images.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"
#include "fetcher/worker/places.h"

namespace gantry::worker {
namespace {
// CAP_SYS_ADMIN is for trusted.overlay.*; the calls it is feared for are not on the list.
constexpr uint64_t kCommit =
    cap_bit(CAP_DAC_READ_SEARCH) | cap_bit(CAP_DAC_OVERRIDE) | cap_bit(CAP_SYS_ADMIN);
// What is left to the host whatever a container made: a file may be all holes.
constexpr uint64_t kKeptFree = 64u << 20;

std::string now_as_text() {
  const time_t now = ::time(nullptr);
  tm utc = {};
  ::gmtime_r(&now, &utc);
  char text[40];
  return {text, ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

Result<void> require_room(int staging, uint64_t bytes) {
  struct ::statfs fs;
  if (::fstatfs(staging, &fs) != 0) return Error::from_errno(errno, "look for room");
  const uint64_t free = fs.f_bavail * static_cast<uint64_t>(fs.f_bsize);
  if (bytes + kKeptFree <= free) return {};
  const auto mib = [](uint64_t size) { return cat((size + (1u << 20) - 1) >> 20, " MiB"); };
  return Error(Errc::exhausted,
               cat("takes ", mib(bytes),
                   " in the layer, where holes are zeros, and the disk of "
                   "images has ",
                   mib(free), " left, of which ", mib(kKeptFree),
                   " stay free: make room (`gantry prune --images`), or remove it"));
}

Result<Blob> write_layer(int upper, int root, const std::set<std::string>& places,
                         uint64_t max_bytes, Staging& staging) {
  return staging.add([&](const auto& sink) -> Result<void> {
    uint64_t written = 0;
    const auto bounded = [&](std::string_view bytes) -> Result<void> {
      written += bytes.size();
      if (written > max_bytes) {
        return Error(Errc::exhausted, cat("the layer would have more than ", max_bytes, " bytes"));
      }
      return sink(bytes);
    };
    TarWriter tar(bounded,
                  {.enters_mounts = false,
                   .is_layer = true,
                   .leaves_out =
                       [&places](int directory, const std::string& name, const std::string& path,
                                 const struct ::stat& status) {
                         return path.starts_with("./") && places.contains(path.substr(2)) &&
                                is_placeholder(directory, name, status);
                       },
                   .require_room = [root](uint64_t size) { return require_room(root, size); }});
    GANTRY_TRY(tar.add(upper, ".", "."));
    return tar.finish();
  });
}

Result<StoredImage> make_image(const Fields& request, Blob layer, Staging& staging) {
  const oci::CommittedLayer committed{
      layer.digest, now_as_text(), std::string(request.get("created_by")),
      std::string(request.get("author")), std::string(request.get("comment"))};
  const std::string config =
      GANTRY_TRY(oci::commit_config(request.get("config"), image_changes_from(request), committed));
  Blob config_blob = GANTRY_TRY(staging.add_bytes(config));
  const oci::Manifest manifest = GANTRY_TRY(oci::commit_manifest(
      request.get("manifest"),
      {std::string(oci::media::kConfig), config_blob.digest, config_blob.size, {}, {}},
      {std::string(oci::media::kLayer), layer.digest, layer.size, {}, {}}));
  Blob blob = GANTRY_TRY(staging.add_bytes(oci::write_manifest(manifest)));
  StoredImage out{{},
                  std::move(blob),
                  std::move(config_blob),
                  manifest.media_type,
                  {},
                  GANTRY_TRY(oci::parse_image_config(config))};
  // Those below are in the store already.
  for (const oci::Descriptor& below : manifest.layers) {
    out.layers.push_back({{}, below.digest, below.size});
  }
  return out;
}
}  // namespace

Result<Fields> commit_job(const Job& job) {
  if (job.fds.size() != 2) return Error(Errc::invalid, "no layer");
  const auto max_bytes = GANTRY_TRY(job.request.number<uint64_t>("max_bytes"));
  const UniqueFd upper(GANTRY_TRY(detach_read_only(job.fds[1])));
  GANTRY_TRY(enter_root(job.fds[0], Below::own_file_system));
  // The way back to the host's mounts. lint: allow close, because they came to us as numbers
  for (int fd : job.fds) ::close(fd);
  GANTRY_TRY(leave_network());
  GANTRY_TRY(limit({.open_files = 8192}));
  const UniqueFd root = GANTRY_TRY(sys::open("/", O_RDONLY | O_DIRECTORY));
  GANTRY_TRY(keep_capabilities(kCommit));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  Staging staging(root.get());
  const Blob layer =
      GANTRY_TRY(write_layer(upper.get(), root.get(), places_of(job.request), max_bytes, staging));
  const StoredImage image = GANTRY_TRY(make_image(job.request, layer, staging));
  Fields answer;
  for (const Blob* blob : {&layer, &image.config_blob, &image.manifest}) {
    GANTRY_TRY(staging.keep(*blob));
    answer.add("blob", blob->digest.hex());
  }
  answer.add("image", describe(image).encode());
  return answer;
}
}  // namespace gantry::worker
