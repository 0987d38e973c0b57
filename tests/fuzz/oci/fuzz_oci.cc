// Image documents: no input crashes, and what parses is within its limits.
#include <cstdint>
#include <cstdlib>

#include "api/oci/image.h"

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
  parse_docker_manifest(text).ignore("any answer is fine");
  check_layout_file(text).ignore("any answer is fine");
  return 0;
}
