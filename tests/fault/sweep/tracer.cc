// sweep_tracer: counts the system calls of all threads of a process, and at the n-th kills the
// process, or lets that call fail. Not its children: they are not traced.
//
//   sweep_tracer REPORT attach PID ACTION
//     From now on; REPORT gets "attached" when it counts.
//   sweep_tracer REPORT run FROM ACTION PROGRAM [ARG…]
//     Becomes PROGRAM. From its first call about a path that begins with FROM.
//   ACTION: count, kill N, or fail N CHOICE: which of the errors that the call can have.
//
// REPORT, a file, gets a line "hit CALL …" when it happens, and "counted N" at the end, which is
// the process's or SIGTERM. `fail` counts calls that can plausibly fail (faults.h).
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include <dirent.h>

#include "tests/fault/sweep/faults.h"

namespace gantry::sweep {
namespace {
constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
constexpr int kSyscallStop = SIGTRAP | 0x80;

volatile sig_atomic_t is_ending = 0;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(2);
}

struct Plan {
  enum class Action { count, kill, fail } action = Action::count;
  long at = 0;
  int choice = 0;
};

class Tracer {
 public:
  Tracer(pid_t process, Plan plan, FILE* report)
      : process_(process), plan_(plan), report_(report) {}

  void attach() {
    // Twice without a new one: threads that a traced one makes are traced from birth.
    for (bool found = true; found;) found = seize_threads();
    report("%s\n", "attached");
  }

  // To be traced from its exec on, and counted from a call about a path that begins with `from`.
  void attach_before_exec(const char* from) {
    if (::ptrace(PTRACE_SEIZE, process_, nullptr, kOptions) != 0) fail("seize");
    from_ = from;
  }

  void follow() {
    for (;;) {
      int status;
      const pid_t thread = ::waitpid(-1, &status, __WALL);
      if (thread < 0 && errno == ECHILD) break;
      if (thread < 0 && errno != EINTR) fail("waitpid");
      if (is_ending && failing_ == 0) break;
      if (thread > 0 && WIFSTOPPED(status)) stopped(thread, status);
    }
    report("counted %ld\n", count_);
  }

 private:
  template <typename... Args>
  void report(const char* format, Args... args) {
    std::fprintf(report_, format, args...);
    std::fflush(report_);
  }

  bool seize_threads() {
    bool found = false;
    const std::string folder = "/proc/" + std::to_string(process_) + "/task";
    DIR* dir = ::opendir(folder.c_str());
    if (dir == nullptr) fail(folder.c_str());
    while (dirent* entry = ::readdir(dir)) {
      const pid_t thread = std::atoi(entry->d_name);
      if (thread == 0 || !threads_.insert(thread).second) continue;
      found = true;
      // A thread that is one's own already, or has ended.
      if (::ptrace(PTRACE_SEIZE, thread, nullptr, kOptions) != 0) continue;
      ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    }
    ::closedir(dir);
    return found;
  }

  void stopped(pid_t thread, int status) {
    const int signal = WSTOPSIG(status);
    const int event = status >> 16;
    if (signal == kSyscallStop) return resume(thread, at_call(thread) ? 0 : -1);
    resume(thread, event == 0 ? signal : 0);
  }

  // Nothing more is asked of it: it runs at its own speed.
  void resume(pid_t thread, int signal) {
    if (signal < 0) return;
    ::ptrace(is_done_ && failing_ == 0 ? PTRACE_CONT : PTRACE_SYSCALL, thread, nullptr, signal);
  }

  // False when there is nobody to be resumed.
  bool at_call(pid_t thread) {
    __ptrace_syscall_info info{};
    if (::ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0) return false;
    if (info.op == PTRACE_SYSCALL_INFO_EXIT && thread == failing_) {
      finish_failing(thread);
    } else if (info.op == PTRACE_SYSCALL_INFO_ENTRY && !is_done_ && counts(thread, info) &&
               ++count_ == plan_.at) {
      return act(thread, info);
    }
    return true;
  }

  bool counts(pid_t thread, const __ptrace_syscall_info& info) {
    if (!from_.empty() && !subject(thread, info).starts_with(from_)) return false;
    from_.clear();
    if (plan_.action != Plan::Action::fail) return true;
    const long number = static_cast<long>(info.entry.nr);
    const uint64_t second = info.entry.args[1];
    if (number == SYS_fcntl) return second == F_DUPFD_CLOEXEC || second == F_DUPFD;
    if (number == SYS_epoll_ctl) return second == 1;  // EPOLL_CTL_ADD
    // A counter of the kernel's: reading and writing it do not fail.
    return find_fault(number) != nullptr && !subject(thread, info).starts_with("anon_inode:[event");
  }

  bool act(pid_t thread, const __ptrace_syscall_info& info) {
    is_done_ = true;
    const Fault* fault = find_fault(static_cast<long>(info.entry.nr));
    const std::string name = fault != nullptr ? fault->name : std::to_string(info.entry.nr);
    const std::string about = subject(thread, info);
    if (plan_.action == Plan::Action::kill) {
      report("hit %s %s\n", name.c_str(), about.c_str());
      ::kill(process_, SIGKILL);
      return false;
    }
    int kinds = 0;
    while (kinds < 3 && fault->errnos[kinds] != 0) ++kinds;
    errno_ = fault->errnos[plan_.choice % kinds];
    report("hit %s %s %s\n", name.c_str(), ::strerrorname_np(errno_), about.c_str());
    failing_ = thread;
    if (info.entry.nr != SYS_close) set_register(thread, offsetof(user_regs_struct, orig_rax), -1);
    return true;
  }

  void finish_failing(pid_t thread) {
    set_register(thread, offsetof(user_regs_struct, rax), -errno_);
    failing_ = 0;
  }

  static void set_register(pid_t thread, size_t offset, long value) {
    if (::ptrace(PTRACE_POKEUSER, thread, offset, value) != 0) fail("set a register");
  }

  std::string subject(pid_t thread, const __ptrace_syscall_info& info) const {
    const Fault* fault = find_fault(static_cast<long>(info.entry.nr));
    if (fault == nullptr || fault->subject == Subject::none) return "";
    if (fault->subject == Subject::fd) return target_of(thread, info.entry.args[0]);
    return text_at(thread, info.entry.args[fault->subject == Subject::path_at ? 1 : 0]);
  }

  static std::string target_of(pid_t thread, uint64_t fd) {
    char target[512];
    const std::string link =
        "/proc/" + std::to_string(thread) + "/fd/" + std::to_string(static_cast<int>(fd));
    const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
    return size < 0 ? "" : std::string(target, static_cast<size_t>(size));
  }

  static std::string text_at(pid_t thread, uint64_t address) {
    char text[512] = {};
    // To the end of the page: what follows may not be mapped.
    const size_t size = std::min(sizeof text - 1, 4096 - address % 4096);
    iovec ours{text, size}, theirs{reinterpret_cast<void*>(address), size};
    return ::process_vm_readv(thread, &ours, 1, &theirs, 1, 0) <= 0 ? "" : text;
  }

  const pid_t process_;
  const Plan plan_;
  FILE* const report_;
  std::set<pid_t> threads_;
  std::string from_;  // what the count waits for
  bool is_done_ = false;
  pid_t failing_ = 0;  // the thread whose call is being made to fail
  int errno_ = 0;
  long count_ = 0;
};

Plan parse_plan(char**& words) {
  const std::string action = *words++;
  if (action == "count") return {};
  if (action == "kill") return {Plan::Action::kill, std::atol(*words++)};
  if (action != "fail") std::exit(2);
  const long at = std::atol(*words++);
  return {Plan::Action::fail, at, std::atoi(*words++)};
}

// Again and again, because a signal just before a wait does not end it.
void end_on_signal() {
  struct sigaction action{};  // no SA_RESTART: it ends a wait
  action.sa_handler = [](int) {
    is_ending = 1;
    const itimerval soon{.it_interval = {}, .it_value = {0, 10'000}};
    ::setitimer(ITIMER_REAL, &soon, nullptr);
  };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGALRM, &action, nullptr);
}

// The caller becomes the program, and a process that is nobody's child the tracer.
int run(FILE* report, char** words) {
  const char* from = *words++;
  const Plan plan = parse_plan(words);
  const pid_t traced = ::getpid();
  int ready[2];
  if (::pipe(ready) != 0) fail("pipe");
  const pid_t middle = ::fork();
  if (middle == 0) {
    if (::fork() != 0) ::_exit(0);
    end_on_signal();
    Tracer tracer(traced, plan, report);
    tracer.attach_before_exec(from);
    ::close(ready[1]);
    ::close(ready[0]);
    tracer.follow();
    return 0;
  }
  ::waitpid(middle, nullptr, 0);
  ::close(ready[1]);
  char byte;
  while (::read(ready[0], &byte, 1) < 0 && errno == EINTR) {
  }
  ::close(ready[0]);
  ::execv(words[0], words);
  fail(words[0]);
}
}  // namespace

int main(int count, char** words) {
  if (count < 4) return 2;
  FILE* report = std::fopen(words[1], "we");
  if (report == nullptr) fail(words[1]);
  if (std::strcmp(words[2], "run") == 0) return run(report, words + 3);
  const pid_t process = std::atoi(words[3]);
  words += 4;
  end_on_signal();
  Tracer tracer(process, parse_plan(words), report);
  tracer.attach();
  tracer.follow();
  return 0;
}
}  // namespace gantry::sweep

int main(int count, char** words) { return gantry::sweep::main(count, words); }
