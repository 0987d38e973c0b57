// Image documents: no input crashes, and what parses is within its limits.
#include <cstdint>
#include <cstdlib>

#include "api/oci/commit.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry::oci;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto config = parse_image_config(text);
  if (config && config->diff_ids.size() > kMaxLayers) std::abort();
  auto manifest = parse_manifest(text);
  auto index = parse_index(text);
  // Nothing may be read as both (CVE-2021-41190).
  if (manifest && index) std::abort();
  if (manifest && !parse_manifest(write_manifest(*manifest))) std::abort();
  if (index) choose_platform(*index).ignore("any answer is fine");
  auto archive = parse_docker_manifest(text);
  if (archive && !parse_docker_manifest(write_docker_manifest(*archive))) std::abort();
  const Digest digest = Digest::of("a layer");
  ImageChanges changes;
  changes.cmd = {"a"};
  changes.env = {"A=1"};
  changes.exposed_ports = changes.volumes = {"x"};
  changes.labels = {{"l", "v"}};
  auto committed = commit_config(text, changes, {digest, "", "", "", ""});
  if (committed && parse_image_config(*committed)->diff_ids.back() != digest) std::abort();
  auto two = commit_manifest(text, {"c", digest, 1, {}, {}}, {"l", digest, 1, {}, {}});
  if (two && two->layers.size() < 2) std::abort();
  check_layout_file(text).ignore("any answer is fine");
  return 0;
}
