// What a launcher hands to the program that it becomes: a memfd with one header and an entry for
// each slot that keeps anything. Descriptors are named by number: exec keeps them.
//
// Fields are appended, never changed: a reader takes what both know, the rest is its default.
#pragma once

#include <cstdint>

#include "launcher/process/launcher.h"

namespace gantry::launcher {
inline constexpr uint32_t kHandoverMagic = 0x314f4847;  // "GHO1"

struct HandoverHeader {
  uint32_t magic = kHandoverMagic;
  uint32_t header_bytes = sizeof(HandoverHeader);
  uint32_t entry_bytes = 0;
  uint32_t entries = 0;
  uint64_t request = 0;  // the asker's, answered by the new program
  uint32_t client = 0;   // the asker
  int32_t lock = -1;
  int32_t listen = -1;
  int32_t logger_listen = -1;
  int32_t logger = -1;
  int32_t logger_pid = 0;
  struct {
    int32_t fd = -1;
    uint32_t missed_exits = 0;
  } clients[kMaxClients];
};

struct HandoverEntry {
  uint32_t slot = kNoSlot;
  uint32_t pending = 0;
  int32_t out = -1, err = -1, in = -1;
  int32_t pidfd = -1;
  int64_t retry_until_ns = 0;
};
}  // namespace gantry::launcher
