#include "launcher/process/table.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace gantry::launcher {
namespace {
bool read_boot_id(char* out, size_t size) {
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, out, size - 1);
  close(fd);
  if (n < 36) return false;
  out[36] = '\0';
  return true;
}
}  // namespace

Table::~Table() {
  if (header_ != nullptr) munmap(header_, kTableBytes);
  if (private_ != nullptr) munmap(private_, sizeof(Private));
  close(fd_);
  close(read_only_fd_);
}

const char* Table::open(int runtime_dir, Former former) {
  char boot_id[64];
  if (!read_boot_id(boot_id, sizeof boot_id)) return "read the boot id";
  int fd = openat(runtime_dir, kTableFile, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return "open the table";
  struct stat st;
  if (fstat(fd, &st) != 0) return "look at the table";
  bool is_old = false;
  TableHeader old;
  if (st.st_size == static_cast<off_t>(kTableBytes) &&
      pread(fd, &old, sizeof old, 0) == static_cast<ssize_t>(sizeof old)) {
    is_old = old.magic == kProtocolMagic && old.version == kProtocolVersion &&
             old.slots == kTableSlots && old.high_water <= kTableSlots &&
             strncmp(old.boot_id, boot_id, sizeof old.boot_id) == 0;
  }
  if (!is_old) {
    // A new file: an executor may still read the old one's records.
    close(fd);
    unlinkat(runtime_dir, kTableFile, 0);
    fd = openat(runtime_dir, kTableFile, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return "make the table";
    if (ftruncate(fd, static_cast<off_t>(kTableBytes)) != 0) return "size the table";
  }
  void* mapped = mmap(nullptr, kTableBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return "map the table";
  fd_ = fd;
  if (!back(is_old ? old.high_water : 0)) return "make room for the table";
  read_only_fd_ = openat(runtime_dir, kTableFile, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (read_only_fd_ < 0) return "open the table again";
  void* own = mmap(nullptr, sizeof(Private), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (own == MAP_FAILED) return "map the indexes";
  // Children neither see the table nor pay for copying its page tables.
  madvise(mapped, kTableBytes, MADV_DONTFORK);
  madvise(own, sizeof(Private), MADV_DONTFORK);
  header_ = static_cast<TableHeader*>(mapped);
  slots_ = reinterpret_cast<Slot*>(static_cast<char*>(mapped) + sizeof(TableHeader));
  private_ = static_cast<Private*>(own);
  if (is_old) {
    take_over(former);
  } else {
    *header_ = TableHeader();
    strcpy(header_->boot_id, boot_id);
  }
  header_->launcher_pid = getpid();
  return nullptr;
}

// KERNEL: a store to a page that the file system has no room for is SIGBUS, the launcher's death:
// what is going to be written gets its blocks first, some more each time.
bool Table::back(uint32_t slots) {
  constexpr size_t kMore = 64 << 10;
  const size_t wanted = sizeof(TableHeader) + slots * sizeof(Slot);
  if (wanted <= backed_) return true;
  const size_t more = wanted + kMore < kTableBytes ? wanted + kMore : kTableBytes;
  const size_t ends[] = {more, wanted};
  for (size_t end : ends) {
    if (fallocate(fd_, 0, 0, static_cast<off_t>(end)) == 0 || errno == EOPNOTSUPP) {
      backed_ = end;
      return true;
    }
  }
  return false;
}

void Table::take_over(Former former) {
  header_->running = 0;
  for (uint32_t i = 0; i < header_->high_water; ++i) {
    Slot& s = slots_[i];
    kept(i) = {-1, -1, -1, -1, 0, 0};
    s.key[sizeof s.key - 1] = '\0';
    s.log_directory[sizeof s.log_directory - 1] = '\0';
    switch (s.state) {
      case SlotState::kRunning:
      case SlotState::kOrphan:
        private_->by_key.insert(node::hash_of(s.key), i);
        set_running(i, s.pid, s.start_time, former == Former::died ? SlotState::kOrphan : s.state);
        break;
      case SlotState::kExited:
      case SlotState::kLost:
        private_->by_key.insert(node::hash_of(s.key), i);
        break;
      default:
        // Reserved: the launcher died at the clone, and its child with it (PR_SET_PDEATHSIG).
        s.state = SlotState::kFree;
        private_->free_list[free_count_++] = i;
        break;
    }
  }
}

uint32_t Table::find(const char* key) const {
  return private_->by_key.find(node::hash_of(key),
                               [&](uint32_t i) { return strcmp(slots_[i].key, key) == 0; });
}

uint32_t Table::find_pid(int32_t pid) const {
  return private_->by_pid.find(node::hash_of(pid),
                               [&](uint32_t i) { return slots_[i].pid == pid; });
}

uint32_t Table::reserve(const char* key) {
  uint32_t i;
  if (free_count_ > 0) {
    i = private_->free_list[--free_count_];
  } else if (header_->high_water < kTableSlots && back(header_->high_water + 1)) {
    i = header_->high_water;
  } else {
    return kNoSlot;
  }
  Slot& s = slots_[i];
  const uint32_t generation = s.generation + 1;
  s = Slot();
  s.generation = generation;
  strcpy(s.key, key);
  // What the logger has not yet heard of the slot's last user stays to be said first.
  kept(i) = {-1, -1, -1, -1, 0, kept(i).pending};
  store(s, SlotState::kReserved);
  if (i == header_->high_water) header_->high_water = i + 1;
  private_->by_key.insert(node::hash_of(s.key), i);
  return i;
}

void Table::set_running(uint32_t i, int32_t pid, uint64_t start_time, SlotState state) {
  Slot& s = slots_[i];
  s.pid = pid;
  s.start_time = start_time;
  private_->by_pid.insert(node::hash_of(pid), i);
  store(s, state);
  ++header_->running;
}

void Table::set_ended(uint32_t i, SlotState state) {
  private_->by_pid.remove(node::hash_of(slots_[i].pid), i);
  store(slots_[i], state);
  --header_->running;
}

void Table::rename(uint32_t i, const char* key) {
  private_->by_key.remove(node::hash_of(slots_[i].key), i);
  strcpy(slots_[i].key, key);
  private_->by_key.insert(node::hash_of(key), i);
}

void Table::release(uint32_t i) {
  private_->by_key.remove(node::hash_of(slots_[i].key), i);
  store(slots_[i], SlotState::kFree);
  private_->free_list[free_count_++] = i;
}
}  // namespace gantry::launcher
