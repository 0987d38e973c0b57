// What a worker that a tenant's bytes have taken over may answer: fields, an error, an image's
// configuration. What decodes encodes the same again.
#include "fetcher/image_fields.h"
#include "fetcher/worker_message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto fields = Fields::decode(bytes);
  if (!fields) return 0;
  if (fields->encode() != bytes) __builtin_trap();
  check_error(*fields).ignore("any answer is fine");
  auto config = image_config_from(*fields);
  if (!config) return 0;
  Fields again;
  add_image_config(again, *config);
  if (!image_config_from(again)) __builtin_trap();
  return 0;
}
