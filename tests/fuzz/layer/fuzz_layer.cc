// A layer's stream, compressed or not, into a directory: nothing appears beside it.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>

#include "base/path_at.h"
#include "base/sys.h"
#include "fetcher/worker/layer_writer.h"
#include "fetcher/worker/tree.h"

namespace {
using namespace gantry;
using namespace gantry::worker;

class Bytes final : public Input {
 public:
  explicit Bytes(std::string_view view) : view_(view) {}
  Result<std::string_view> next() override { return std::exchange(view_, {}); }

 private:
  std::string_view view_;
};

Result<void> unpack(std::string_view bytes, const std::string& top) {
  std::vector<DirFd> layers;
  layers.push_back(GANTRY_TRY(DirFd::open(top + "/in")));
  layers.push_back(GANTRY_TRY(DirFd::open(top + "/below")));
  Bytes raw(bytes);
  Inflater inflated(raw, 1 << 20);
  TarReader reader(inflated);
  // Owners and devices need root; without it the same code runs with plain files.
  WriteAs as = ::geteuid() == 0 ? WriteAs::layer : WriteAs::plain_files;
  LayerWriter writer(std::move(layers), as, {.max_entries = 200, .max_file = 1 << 20});
  while (auto entry = GANTRY_TRY(reader.next())) GANTRY_TRY(writer.apply(*entry, reader));
  return writer.finish();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  char name[] = "/tmp/gantry-fuzz-layer.XXXXXX";
  if (::mkdtemp(name) == nullptr) std::abort();
  std::string top = name;
  for (const char* sub : {"/in", "/below", "/below/d"}) ::mkdir((top + sub).c_str(), 0755);
  unpack({reinterpret_cast<const char*>(data), size}, top).ignore("any answer is fine");
  // A directory with anything beside the two we made cannot be removed so.
  auto fd = sys::open(top, O_PATH | O_DIRECTORY);
  if (!fd || !remove_tree(fd->get(), "in") || !remove_tree(fd->get(), "below") ||
      ::rmdir(top.c_str()) != 0) {
    std::abort();
  }
  return 0;
}
