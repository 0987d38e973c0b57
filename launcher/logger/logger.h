// gantry-logger: copies the output of every container of a node from pipes to files.
//
// Role: the only writer of a sandbox's `stdout` and `stderr`. Lifetime: started by gantry-launcher,
// restarted by it when it dies, outlives it when the launcher dies. One thread, one epoll loop,
// fixed tables. Failure: a full disk stalls the containers that write to it and nobody else; a
// sandbox that is gone discards. What is lost when it is killed: nothing; the pipes are the
// launcher's too, and splice moves bytes from pipe to file in one step.
//
// A terminal is read and written instead (KERNEL: splice needs a pipe): at most 4 KiB of it can be
// lost. Files are made at the first byte and continue at their size, at this process's own offset
// (KERNEL: splice refuses O_APPEND files). One that reaches its limit is followed by another, from
// the end of a line on (launcher/log_files.h). Beside them is an index of when what came
// (launcher/log_times.h).
#pragma once

#include "launcher/logger/line_cut.h"
#include "launcher/node/key_index.h"
#include "launcher/node/wire.h"

namespace gantry::logger {
inline constexpr int kMaxClients = 64;
inline constexpr uint32_t kMaxWatches = 4096;
inline constexpr size_t kTurnBytes = 256u << 10;  // a container's share of one turn
inline constexpr size_t kPipeBytes = 64u << 10;   // KERNEL: pipe(7), what a pipe holds at first
inline constexpr int kWidePipeBytes = 256 << 10;  // that of a container which fills it
inline constexpr int64_t kToldSeconds = 60;       // a full disk is said again after so long
inline constexpr size_t kTerminalBytes = 4096;    // KERNEL: a terminal gives no more at a time

// What a file answers when it takes nothing now, but may later.
bool is_full(int error);
// Nobody finds it by its name any more.
bool is_removed(int file);

// One direction of a container's output.
struct Stream {
  int pipe = -1;            // -1: at its end, or never given
  int file = -1;            // opened at the first byte
  bool is_stalled = false;  // the file takes nothing now; tried again by the timer
  bool is_told = false;     // that it is stalled
  int stall_error = 0;
  int64_t told_s = 0;
  bool is_discarding = false;  // there is no file to write to
  bool size_known = false;
  bool is_given = false;
  bool is_wide = false;
  bool stays_whole = false;  // its file system or its owner lets no file be rotated
  uint64_t size = 0;         // of the stream: the position of its next byte
  uint64_t begin = 0;        // the position of the file's first byte
  int64_t noted_ns = 0;      // the time of its last entry in the index
};

struct Entry {
  bool is_used = false;
  bool drained_unsent = false;
  bool is_terminal = false;
  uint32_t held = 0, held_from = 0;  // of a terminal: what was read and is not yet in the file
  int in = -1;                       // the launcher's stdin end, kept against its death
  int times = -1;                    // the index, opened with the first file; -2: there can be none
  uint64_t times_trim_at = 0;  // so large, it is looked through at a rotation; 0: not yet known
  uint64_t max_bytes = 0;      // of one file; 0: any number
  uint32_t max_files = 1;
  uint32_t watches = 0;  // first of its watches + 1
  Stream streams[2];
  char key[kKeyBytes] = {};
  char directory[kLogDirectoryBytes] = {};
};

struct Watch {
  uint32_t client = 0;  // index + 1; 0: free
  uint32_t next = 0;
  uint64_t request = 0;
};

class Logger {
 public:
  // nullptr, or what failed.
  const char* open(int launcher, int listening);
  int serve();

 private:
  enum Source : uint32_t { kListen, kLauncher, kClient, kPipe };

  // logger.cc
  void watch_fd(int fd, Source source, uint32_t index);
  void dispatch(uint32_t source, uint32_t index);
  void accept_client();
  void read_client(uint32_t index);
  void drop_client(uint32_t index);
  void read_launcher();
  void launcher_lost();
  void take_launcher(uint32_t client);
  void add(const Request& request, node::Received& received);
  void remove(uint32_t slot);
  void drop_stdin(uint32_t slot);
  uint32_t find(const char* key) const;

  // output.cc
  void start_stream(uint32_t slot, int which, int pipe);
  void end_stream(uint32_t slot, int which);
  // Moves at most `limit` bytes. True when something changed (bytes or the end).
  bool drain(uint32_t slot, int which, size_t limit);
  void drain_watched(uint32_t slot, int which);
  bool drain_terminal(uint32_t slot, size_t limit);
  // 0, or -errno when the file takes nothing now.
  int write_held(uint32_t slot);
  // A place for the next bytes, or there is to be none: 1. 0: there are no bytes. Or -errno.
  int ensure_file(Entry& entry, int which);
  int open_file(Entry& entry, int which);
  void close_file(Stream& stream);
  void discard(Stream& stream);
  ssize_t move_bytes(Stream& stream, size_t limit);
  void widen(Stream& stream);
  void stall(uint32_t slot, int which, int error);
  void tell_flowing(uint32_t slot, int which);
  void learn_size(Entry& entry, int which);
  void retry_stalled();
  void tell_drained(uint32_t slot);

  // rotation.cc
  // How many of the next bytes, at most `most`, the file may take; it may be another afterwards.
  // -errno when there is no room for that one.
  ssize_t take_from_pipe(Entry& entry, int which, size_t most);
  ssize_t take_from_memory(Entry& entry, int which, const char* bytes, size_t count);
  ssize_t take(Entry& entry, int which, const LineEnds& ends);
  LineEnds look_into_pipe(int pipe, size_t count, uint64_t room);
  // 0, or -errno when there is no room.
  int rotate(Entry& entry, int which);

  // times.cc
  // True once every hundredth of a second.
  bool note_time(Entry& entry, int which);
  void close_times(Entry& entry);
  void trim_times(Entry& entry, int directory);

  // questions.cc
  // To everyone who is connected, or who comes; what finds no room is not sent again.
  void tell_stalled(const Entry& entry, int error);
  void tell_stalls(int client);
  void answer_flush(uint32_t client, const Request& request);
  void answer_watch(uint32_t client, const Request& request);
  void send_sizes(uint32_t client, uint64_t request, const Entry& entry);
  void send_error(uint32_t client, uint64_t request, int error);
  void changed(uint32_t slot);
  void drop_watches_of(uint32_t client);

  struct Tables {
    node::SlotIndex by_key;
    Entry entries[kTableSlots];
    Watch watches[kMaxWatches];
    alignas(16) char buffer[64 * 1024];
    char held[kTableSlots][kTerminalBytes];  // touched by terminals only
  };
  Tables* tables_ = nullptr;
  int epoll_ = -1, launcher_ = -1, listen_ = -1;
  int scratch_[2] = {-1, -1};  // a pipe, to look at what is in others; empty in between
  int clients_[kMaxClients];
  uint32_t high_water_ = 0;
  uint32_t open_pipes_ = 0;
  uint32_t stalled_ = 0;  // streams and unsent messages that wait for the timer
  bool stopping_ = false;
};
}  // namespace gantry::logger
