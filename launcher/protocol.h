// What executor, gantry-launcher and gantry-logger say to each other: one SEQPACKET message each,
// little-endian structs, versioned; and the launcher's table, which the executor maps read-only.
//
// RUNTIME/launcher.sock: the executor's requests, answered by `request`; exits are pushed.
// RUNTIME/logger.sock: the executor's questions about output, and the launcher's entries.
// A receiver ignores nothing: an unknown type or version is answered with EPROTO. kHello and
// kUpgrade are understood in every version: with them an executor replaces an older launcher.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gantry {
inline constexpr uint32_t kProtocolMagic = 0x314c5447;  // "GTL1"
inline constexpr uint16_t kProtocolVersion = 2;
inline constexpr size_t kKeyBytes = 64;            // with the final NUL
inline constexpr size_t kLogDirectoryBytes = 320;  // with the final NUL
inline constexpr uint32_t kTableSlots = 65536;
inline constexpr uint32_t kNoSlot = ~0u;

enum class MessageType : uint16_t {
  // Executor -> launcher
  kHello = 1,  // answered with kDone, ops = OpKind::kCount, text = what was built, and a
               // read-only fd of the table
  kLaunch,     // fds: plan memfd, the plan's, then those of `flags`; kDone with the pidfd
  kForget,     // an exited child's slot
  kOpenStdin,  // kDone with the fd
  kCloseStdin,
  kShutdown,  // EBUSY with live children
  // Launcher -> executor
  kDone,
  kExited,  // slot: its record is in the table
  kRescan,  // exits were dropped for want of room: look at the whole table
  // Launcher -> logger
  kLauncherHello,  // answered with kHeld for each entry and kHeldEnd with the listening socket
  kAdd,            // slot, key, log directory, fds of `flags`; once more after a restart
  kDropStdin,      // slot
  kRemove,         // slot
  kStop,
  // Logger -> launcher
  kHeld,
  kHeldEnd,
  kDrained,  // slot: both pipes are at their end and closed
  // Executor -> logger, answered with kSizes
  kFlush,  // what is in the pipes now is in the files when this is answered
  kWatch,  // answered when a size differs from sizes[] or an end came
  kSizes,
  // Executor -> launcher: `pid`, a child it did not launch, becomes a slot's; answered as kLaunch.
  // (CRIU restores a process as its sibling.)
  kAdopt,
  // Executor -> launcher: the running child in `slot`, launched without io, gets `key` and io.
  kAssign,
  // Executor -> launcher: become the program in the first descriptor (a sealed memfd), with the
  // logger in the second; `key` is what they are called (kHello's text). Answered by the new one.
  kUpgrade,
  // Executor -> launcher: the master of the terminal of the child with this key, which has no io.
  kGiveTerminal,
  // Logger -> executor, unasked: `text` is a key, `error` why its output waits (its disk is full);
  // 0: it goes on.
  kStalled,
};

struct MessageHead {
  uint32_t magic = kProtocolMagic;
  uint16_t version = kProtocolVersion;
  MessageType type{};
  uint64_t request = 0;  // chosen by the asker, repeated in the answer
};

enum IoFlags : uint32_t {
  kIoStdout = 1,
  kIoStderr = 2,
  kIoStdin = 4,
  kIoTerminal = 8,  // no pipes: stdout and stdin are a terminal's master
};
// kAdopt: it has not exec'd yet, and will.
inline constexpr uint32_t kIsToExec = 16;
// kSizes: there is more, for which the disk has no room now.
inline constexpr uint32_t kHasNoRoom = 32;

// Everything that is asked. `key` names a container's process (LaunchBackend::launch).
struct Request {
  MessageHead head;
  uint32_t slot = kNoSlot;
  uint32_t flags = 0;  // IoFlags: which descriptors follow, in this order; kIsToExec
  // kWatch: what is known. With a log directory: LogLimits' bytes and files.
  uint64_t sizes[2] = {};
  int32_t pid = 0;  // kAdopt
  uint32_t reserved = 0;
  char key[kKeyBytes] = {};
  char log_directory[kLogDirectoryBytes] = {};
};

// Everything that is answered or pushed.
struct Answer {
  MessageHead head;
  int32_t error = 0;  // errno; 0: success
  uint32_t slot = kNoSlot;
  int32_t pid = 0;
  uint32_t ops = 0;    // kHello: how many op kinds this launcher knows
  uint32_t flags = 0;  // kSizes: IoFlags of the pipes that have ended
  uint32_t reserved = 0;
  uint64_t start_time = 0;
  uint64_t sizes[2] = {};
  char text[64] = {};  // what is wrong, for people
};

// ---- The table
// -----------------------------------------------------------------------------------

enum class SlotState : uint32_t {
  kFree = 0,
  kReserved,  // between the request and the clone
  kRunning,   // a child of this launcher
  kOrphan,    // of a launcher that died: watched by pidfd
  kExited,    // wait_status … are true
  kLost,      // it ended and nobody can know how
};

// kNeverExeced: it ended as the clone it began as. kAdopted: by kAdopt; such a one runs without,
// unless it was said that it is to exec.
enum SlotFlags : uint32_t { kNeverExeced = 1, kAdopted = 2 };

struct Slot {
  SlotState state = SlotState::kFree;  // written last (release), read first (acquire)
  int32_t pid = 0;
  uint64_t start_time = 0;  // field 22 of /proc/PID/stat
  int64_t exit_time_ns = 0;
  int32_t wait_status = 0;
  uint32_t generation = 0;  // counts the uses of this slot
  uint64_t user_us = 0, system_us = 0, max_rss_kib = 0;
  uint32_t io = 0;             // IoFlags the child was given
  uint32_t flags = 0;          // SlotFlags
  uint64_t log_max_bytes = 0;  // LogLimits
  uint32_t log_max_files = 0;
  uint32_t reserved[13] = {};
  char key[kKeyBytes] = {};
  char log_directory[kLogDirectoryBytes] = {};
};
static_assert(sizeof(Slot) == 512);

struct TableHeader {
  uint32_t magic = kProtocolMagic;
  uint32_t version = kProtocolVersion;
  uint32_t slots = kTableSlots;
  int32_t launcher_pid = 0;
  uint32_t high_water = 0;  // slots behind it have never been used
  uint32_t running = 0;
  char boot_id[40] = {};
  char reserved[4032] = {};
};
static_assert(sizeof(TableHeader) == 4096);
inline constexpr size_t kTableBytes = sizeof(TableHeader) + size_t{kTableSlots} * sizeof(Slot);

inline constexpr char kLauncherSocket[] = "launcher.sock";
inline constexpr char kLoggerSocket[] = "logger.sock";
inline constexpr char kTableFile[] = "launcher.table";
inline constexpr char kLauncherLock[] = "launcher.lock";
// Exit code of a gantry-launcher that found another one alive in its runtime directory.
inline constexpr int kExitAlreadyRunning = 3;
}  // namespace gantry
