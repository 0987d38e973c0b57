// Images of the store as one tar: an OCI image layout, with the manifest.json that `docker load`
// reads.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "api/oci/image.h"
#include "base/sys.h"
#include "base/tar_writer.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"

namespace gantry::worker {
namespace {
constexpr std::string_view kBlobs = "blobs/sha256/";

Result<std::string> read_blob(int blobs, const oci::Digest& digest, size_t cap) {
  return sys::read_file_at(blobs, digest.hex().c_str(), cap).context("blob ", digest.to_string());
}

Result<oci::DockerArchiveImage> as_docker(const oci::Manifest& manifest,
                                          std::vector<std::string> names) {
  oci::DockerArchiveImage out{cat(kBlobs, manifest.config.digest.hex()), std::move(names), {}};
  for (const oci::Descriptor& layer : manifest.layers) {
    out.layer_paths.push_back(cat(kBlobs, layer.digest.hex()));
  }
  return out;
}

class Save {
 public:
  Save(int blobs, int output)
      : blobs_(blobs),
        tar_([output](std::string_view bytes) { return sys::write_all(output, bytes); }) {}
  // `image`: Fields of one image: "manifest" (digest), "type", "size", "name" (any number).
  Result<void> add(const Fields& image);
  Result<void> run(std::string_view layout);

 private:
  const int blobs_;
  TarWriter tar_;
  oci::Index index_;
  std::vector<oci::DockerArchiveImage> docker_;
  std::set<std::string> files_;  // names of blobs
};

Result<void> Save::add(const Fields& image) {
  const oci::Digest digest = GANTRY_TRY(oci::Digest::parse(image.get("manifest")));
  const oci::Manifest manifest = GANTRY_TRY(
      oci::parse_manifest(GANTRY_TRY(read_blob(blobs_, digest, oci::kMaxManifestBytes))));
  const std::vector<std::string> names = image.all("name");
  oci::Descriptor descriptor{std::string(image.get("type")),
                             digest,
                             0,
                             {},
                             oci::Platform{"linux", std::string(oci::host_architecture()), ""}};
  descriptor.size = GANTRY_TRY(image.number<uint64_t>("size"));
  for (const std::string& name : names) {
    descriptor.annotations["org.opencontainers.image.ref.name"] = name;
    index_.manifests.push_back(descriptor);
  }
  if (names.empty()) index_.manifests.push_back(descriptor);
  docker_.push_back(GANTRY_TRY(as_docker(manifest, names)));
  files_.insert({digest.hex(), manifest.config.digest.hex()});
  for (const oci::Descriptor& layer : manifest.layers) files_.insert(layer.digest.hex());
  return {};
}

Result<void> Save::run(std::string_view layout) {
  GANTRY_TRY(tar_.add_bytes("oci-layout", layout));
  GANTRY_TRY(tar_.add_bytes("index.json", oci::write_index(index_)));
  GANTRY_TRY(tar_.add_bytes("manifest.json", oci::write_docker_manifest(docker_)));
  for (const std::string& name : files_) {
    GANTRY_TRY(tar_.add(blobs_, name, cat(kBlobs, name)));
  }
  return tar_.finish();
}
}  // namespace

Result<Fields> save_job(const Job& job) {
  if (job.fds.size() != 2) return Error(Errc::invalid, "no output");
  const UniqueFd output(job.fds[1]);
  GANTRY_TRY(enter_root(job.fds[0], Below::own_file_system));
  ::close(job.fds[0]);  // lint: allow close, because it was handed to this process as a number
  GANTRY_TRY(leave_network());
  GANTRY_TRY(limit({}));
  const UniqueFd blobs = GANTRY_TRY(sys::open("/", O_RDONLY | O_DIRECTORY));
  GANTRY_TRY(keep_capabilities(0));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  Save save(blobs.get(), output.get());
  for (const std::string& image : job.request.all("image")) {
    GANTRY_TRY(save.add(GANTRY_TRY(Fields::decode(image))));
  }
  GANTRY_TRY(save.run(job.request.get("layout")));
  return Fields();
}
}  // namespace gantry::worker
