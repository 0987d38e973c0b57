// Raw system calls: the result or -errno, no errno variable, no cancellation point, no lock.
#pragma once

#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>

namespace gantry::child {
#if defined(__x86_64__)
inline int64_t raw_syscall(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e,
                           int64_t f) {
  int64_t result;
  register int64_t r10 asm("r10") = d;
  register int64_t r8 asm("r8") = e;
  register int64_t r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
inline int64_t raw_syscall(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e,
                           int64_t f) {
  register int64_t x8 asm("x8") = number;
  register int64_t x0 asm("x0") = a;
  register int64_t x1 asm("x1") = b;
  register int64_t x2 asm("x2") = c;
  register int64_t x3 asm("x3") = d;
  register int64_t x4 asm("x4") = e;
  register int64_t x5 asm("x5") = f;
  asm volatile("svc 0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
}
#else
#error "add this machine's system call instruction"
#endif

namespace raw_internal {
template <class T>
int64_t word(T value) {
  return static_cast<int64_t>(value);
}
template <class T>
int64_t word(T* value) {
  return reinterpret_cast<int64_t>(value);
}
inline int64_t word(decltype(nullptr)) { return 0; }
}  // namespace raw_internal

template <class... Args>
int64_t raw(int64_t number, Args... args) {
  static_assert(sizeof...(Args) <= 6);
  const int64_t words[6] = {raw_internal::word(args)...};
  return raw_syscall(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

// Every signal's default action.
inline void reset_signals() {
  struct {
    void* handler = nullptr;  // SIG_DFL
    unsigned long flags = 0;
    void* restorer = nullptr;
    uint64_t mask = 0;
  } action;
  // SIGKILL and SIGSTOP answer EINVAL, which is right.
  for (int number = 1; number <= 64; ++number) {
    raw(SYS_rt_sigaction, number, &action, nullptr, sizeof(uint64_t));
  }
}

// A descriptor of the child's. All are close-on-exec, and everything is closed in one call before
// the exec, so that a close of its own would only be one more system call (1 µs each on the
// reference host, 60 of them in an ordinary launch). Only plans with hundreds of mounts close as
// they go.
class RawFd {
 public:
  static constexpr int kCloseFrom = 192;
  explicit RawFd(int64_t fd) : fd_(static_cast<int>(fd)) {}
  RawFd(const RawFd&) = delete;
  RawFd& operator=(const RawFd&) = delete;
  ~RawFd() { reset(-1); }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int error() const { return -fd_; }  // when not ok()
  void reset(int64_t fd) {
    if (fd_ >= kCloseFrom) raw(SYS_close, fd_);
    fd_ = static_cast<int>(fd);
  }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

inline size_t length(const char* text) {
  size_t n = 0;
  while (text[n] != '\0') ++n;
  return n;
}
inline bool same(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}
}  // namespace gantry::child
