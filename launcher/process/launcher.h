// gantry-launcher: parent of every container of a node, and keeper of the few descriptors that
// must outlive the executor.
//
// Role: clones children from sealed plans, records exits, keeps pipes. No policy. Lifetime: from
// the first executor of a runtime directory to a shutdown without children. One thread, one epoll
// loop, no allocation: tables of fixed size. Failure: a bad request is answered, never fatal. After
// its death the next launcher takes the table over: what still runs is watched by pidfd (kOrphan),
// and the logger hands the kept descriptors back.
#pragma once

#include <signal.h>

#include "launcher/child/plan_view.h"
#include "launcher/node/wire.h"
#include "launcher/process/table.h"

namespace gantry::launcher {
// Descriptors that are kept live from here on, so that a child can drop them with one close_range
// and the launch's own get the low numbers. So do our sockets: a child that hangs would keep them
// open after our death, and whoever connects then waits for an answer.
inline constexpr int kKeptBase = 256;
inline constexpr int kMaxClients = 16;
// From so many containers on a child is spared the copies of their descriptors (clone_child).
inline constexpr uint32_t kManySlots = 128;

struct Options {
  const char* runtime_dir = nullptr;
  const char* cgroup_root = "/gantry";
  const char* build = "";  // what the starter calls this program
  int logger_binary = -1;  // sealed memfd
  int lock = -1;           // launcher.lock, held
};

class Launcher {
 public:
  explicit Launcher(const Options& options) : options_(options) {}
  // Everything that may fail before the first request. nullptr, or what failed (errno says why).
  const char* open(int runtime_dir);
  // The same in a process that was the launcher before its exec.
  const char* open_again(int runtime_dir, int handover);
  // Serves until a shutdown; returns the exit code.
  int serve();

 private:
  struct Client {
    int fd = -1;
    bool missed_exits = false;  // its socket was full
  };
  // What epoll hands back: the kind in the upper half, an index in the lower.
  enum Source : uint32_t { kListen, kSignal, kClient, kLogger, kOrphanExit };
  enum PendingFlags : uint32_t { kPendingAdd = 1, kPendingRemove = 2, kPendingDropStdin = 4 };

  // launcher.cc
  const char* open_loop();
  void watch(int fd, Source source, uint32_t index, uint32_t events);
  void dispatch(uint32_t source, uint32_t index, uint32_t events);
  void accept_client();
  void read_client(uint32_t index);
  void drop_client(uint32_t index);
  void handle(uint32_t index, Request& request, node::Received& received);
  void hello(uint32_t index, const Request& request);
  void forget(uint32_t index, const Request& request);
  void open_stdin(uint32_t index, const Request& request);
  void close_stdin(uint32_t index, const Request& request);
  void shut_down(uint32_t index, const Request& request);
  void answer(uint32_t index, const Request& request, int error, const char* text = nullptr);
  void send_answer(uint32_t index, const Answer& answer, const int* fds, int fd_count);
  static bool has_room(int fd);
  void push_exit(uint32_t slot);

  // launch.cc
  void launch(uint32_t index, Request& request, node::Received& received);
  const char* check_launch(const Request& request, const node::Received& received, int* error);
  int clone_child(const child::PlanView& plan, const int* fds, int* pidfd, uint64_t* start_time);
  void wait_parted(int pid);
  void adopt(uint32_t index, Request& request, node::Received& received);
  void assign(uint32_t index, Request& request, node::Received& received);
  void give_terminal(uint32_t index, const Request& request, node::Received& received);
  // A slot with the descriptors to be kept, from `first` of the received on; kNoSlot when answered.
  uint32_t take_slot(uint32_t index, const Request& request, node::Received& received, int first);
  // Keeps them for the slot; false when answered.
  bool keep_io(uint32_t index, const Request& request, node::Received& received, int first,
               uint32_t slot);
  void answer_running(uint32_t index, const Request& request, uint32_t slot, int pidfd);
  int move_up(int fd);       // to kKeptBase or above; the original is closed
  static int raise(int fd);  // the same; it stays (or invalid) where that cannot be

  // upgrade.cc
  void upgrade(uint32_t index, const Request& request, node::Received& received);
  int write_handover(uint32_t index, const Request& request);
  void keep_over_exec(bool is_kept);

  // exits.cc
  void reap();
  void record_exit(uint32_t slot, const siginfo_t& info, const void* usage);
  void adopt_orphans();
  void look_at_orphan(uint32_t slot);
  int64_t next_retry_ns() const;
  void retry_orphans();

  // logger_link.cc
  void start_logger();
  void connect_logger();
  void read_logger();
  void logger_lost();
  void restart_logger();
  void tell_logger(uint32_t slot, uint32_t what);
  bool send_pending(uint32_t slot);
  void send_all_pending();
  void close_kept(uint32_t slot);
  void held(const Request& request, node::Received& received);

  Options options_;
  Table table_;
  int epoll_ = -1;
  int listen_ = -1;
  int signals_ = -1;
  int own_pidfd_ = -1;
  int own_pid_namespace_ = -1;
  uint32_t* parted_ = nullptr;  // shared with the child: it has descriptors of its own by now
  int logger_listen_ = -1;
  int logger_ = -1;
  int logger_pid_ = 0;  // 0: not our child (taken over)
  int64_t logger_started_ns_[2] = {-2'000'000'000, -2'000'000'000};
  uint32_t pending_count_ = 0;  // slots with something to tell the logger
  uint32_t retry_count_ = 0;    // orphans whose status is awaited
  bool can_clone_into_cgroup_ = true;
  bool stopping_ = false;
  char logger_socket_path_[108] = {};
  Client clients_[kMaxClients];
};

int64_t monotonic_ns();
uint64_t read_start_time(int pid);  // field 22 of /proc/PID/stat; 0: no such process
}  // namespace gantry::launcher
