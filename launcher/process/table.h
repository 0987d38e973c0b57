// The launcher's table: 65,536 slots in RUNTIME/launcher.table, mapped shared; executors map it
// read-only, so that exit records outlive the launcher. What only the launcher needs (kept
// descriptors, indexes) is private memory that its children do not get.
#pragma once

#include "launcher/node/key_index.h"
#include "launcher/protocol.h"

namespace gantry::launcher {
// Descriptors kept for a slot; -1: none.
struct Kept {
  int out, err, in;
  int pidfd;               // of an orphan
  int64_t retry_until_ns;  // an orphan whose exit status is awaited; 0: not ended yet
  uint32_t pending;        // PendingFlags: what the logger has not been told for want of room
};

class Table {
 public:
  Table() = default;
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  ~Table();
  // Whose table is found: a dead launcher's, whose children are orphans, or our own from before an
  // exec, whose children are still ours.
  enum class Former { died, became_this };
  // Opens or makes the table. A table of this boot is taken over. Returns nullptr or what failed
  // (errno says why).
  const char* open(int runtime_dir, Former former);

  Slot& slot(uint32_t i) { return slots_[i]; }
  Kept& kept(uint32_t i) { return private_->kept[i]; }
  uint32_t high_water() const { return header_->high_water; }
  uint32_t running() const { return header_->running; }
  int read_only_fd() const { return read_only_fd_; }

  // kNoSlot when there is none.
  uint32_t find(const char* key) const;
  uint32_t find_pid(int32_t pid) const;
  // A slot for `key`, state kReserved; kNoSlot when the table, or the file system it is on, is full
  // (is_full() tells them apart). The key is not in use.
  uint32_t reserve(const char* key);
  bool is_full() const { return free_count_ == 0 && header_->high_water == kTableSlots; }
  void set_running(uint32_t i, int32_t pid, uint64_t start_time, SlotState state);
  // Before kExited or kLost is stored: the pid no longer finds the slot.
  void set_ended(uint32_t i, SlotState state);
  // Another key for a slot in use; the key is not in use.
  void rename(uint32_t i, const char* key);
  void release(uint32_t i);

 private:
  struct Private {
    node::SlotIndex by_key, by_pid;
    Kept kept[kTableSlots];
    uint32_t free_list[kTableSlots];
  };
  void take_over(Former former);
  bool back(uint32_t slots);

  TableHeader* header_ = nullptr;
  Slot* slots_ = nullptr;
  Private* private_ = nullptr;
  uint32_t free_count_ = 0;
  int fd_ = -1;
  size_t backed_ = 0;  // bytes of the file that have their blocks
  int read_only_fd_ = -1;
};

// Executors read the table while it is written: the state says which of the rest is meant.
inline SlotState load(const Slot& slot) {
  return static_cast<SlotState>(
      __atomic_load_n(reinterpret_cast<const uint32_t*>(&slot.state), __ATOMIC_ACQUIRE));
}
inline void store(Slot& slot, SlotState state) {
  __atomic_store_n(reinterpret_cast<uint32_t*>(&slot.state), static_cast<uint32_t>(state),
                   __ATOMIC_RELEASE);
}
}  // namespace gantry::launcher
