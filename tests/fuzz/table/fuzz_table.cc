// The launcher's table as an earlier launcher, or a flipped bit, has left it: taken over, searched,
// and used on, without a step outside.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>

#include "launcher/process/table.h"
#include "tests/fuzz/scratch.h"

namespace {
using namespace gantry;
using namespace gantry::launcher;

std::string boot_id() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

// A table of this boot: a header with what is chosen of it, and slots of the input's bytes.
std::string table_of(const uint8_t* data, size_t size) {
  TableHeader header;
  std::strcpy(header.boot_id, boot_id().c_str());
  const size_t slots = size / sizeof(Slot);
  header.high_water = static_cast<uint32_t>(slots) + (size > 0 ? data[size - 1] % 3 : 0);
  std::string out(reinterpret_cast<const char*>(&header), sizeof header);
  return out.append(reinterpret_cast<const char*>(data), slots * sizeof(Slot));
}

void use(Table& table) {
  for (uint32_t i = 0; i < table.high_water(); ++i) {
    const uint32_t found = table.find(table.slot(i).key);
    if (found != kNoSlot && found >= table.high_water()) __builtin_trap();
    (void)table.find_pid(table.slot(i).pid);
  }
  if (table.find("new") != kNoSlot) return;
  const uint32_t slot = table.reserve("new");
  if (slot == kNoSlot || table.find("new") != slot) __builtin_trap();
  table.set_running(slot, 1 << 22, 1, SlotState::kRunning);
  table.set_ended(slot, SlotState::kExited);
  table.release(slot);
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Scratch scratch(kTableFile);
  const int dir = ::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY);
  const int file = ::openat(dir, kTableFile, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const std::string bytes = table_of(data, std::min(size, size_t{64} * sizeof(Slot)));
  if (::write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) ||
      ::ftruncate(file, static_cast<off_t>(kTableBytes)) != 0) {
    std::abort();
  }
  ::close(file);
  {
    Table table;
    const auto former =
        size > 0 && data[0] % 2 == 1 ? Table::Former::died : Table::Former::became_this;
    if (table.open(dir, former) == nullptr) use(table);
  }
  ::close(dir);
  return 0;
}
