#include "base/sys.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <ctime>
#include <cstring>

#include "base/pidfd_info.h"

namespace gantry::sys {
namespace {
Error failed(std::string what) { return Error::from_errno(errno, std::move(what)); }

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error(Errc::invalid, cat("socket path ", path, " is longer than 107 bytes"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}
}  // namespace

Result<Pipe> pipe(int flags) {
  int fds[2];
  if (::pipe2(fds, flags | O_CLOEXEC) != 0) return failed("make a pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<UniqueFd> open_at(int dir_fd, const char* path, int flags, mode_t mode) {
  int fd;
  do {
    fd = ::openat(dir_fd, path, flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return failed(cat("open ", path));
  return UniqueFd(fd);
}

Result<UniqueFd> duplicate(int fd) {
  int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return failed("duplicate a descriptor");
  return UniqueFd(copy);
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return failed("write");
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<std::string> read_all(int fd, size_t cap) {
  std::string out;
  size_t used = 0;
  for (;;) {
    if (out.size() - used < 4096) out.resize(out.empty() ? 4096 : out.size() * 2);
    ssize_t n = ::read(fd, out.data() + used, out.size() - used);
    if (n < 0) {
      if (errno == EINTR) continue;
      return failed("read");
    }
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (used > cap) return Error(Errc::exhausted, cat("file is larger than ", cap, " bytes"));
  }
  out.resize(used);
  return out;
}

Result<std::string> read_file_at(int dir_fd, const char* path, size_t cap) {
  UniqueFd fd = GANTRY_TRY(open_at(dir_fd, path, O_RDONLY));
  return read_all(fd.get(), cap).context("read ", path);
}

Result<void> write_file_at(int dir_fd, const char* path, std::string_view bytes) {
  UniqueFd fd = GANTRY_TRY(open_at(dir_fd, path, O_WRONLY));
  return write_all(fd.get(), bytes).context("write '", bytes, "' to ", path);
}

Result<void> mkdir_at(int dir_fd, const char* path, mode_t mode) {
  if (::mkdirat(dir_fd, path, mode) != 0) return failed(cat("make directory ", path));
  return {};
}

Result<void> ensure_directory_at(int dir_fd, const char* path, mode_t mode) {
  if (::mkdirat(dir_fd, path, mode) == 0) return {};
  int error = errno;
  struct ::stat st;
  if (error == EEXIST && ::fstatat(dir_fd, path, &st, 0) == 0 && S_ISDIR(st.st_mode)) return {};
  return Error::from_errno(error, cat("make directory ", path));
}

Result<void> ensure_directories(const std::string& absolute_path, mode_t mode) {
  for (size_t at = 1; at != std::string::npos;) {
    at = absolute_path.find('/', at);
    std::string prefix = absolute_path.substr(0, at);
    GANTRY_TRY(
        ensure_directory_at(AT_FDCWD, prefix.c_str(), at == std::string::npos ? mode : 0755));
    if (at != std::string::npos) ++at;
  }
  return {};
}

Result<struct ::stat> stat_at(int dir_fd, const char* path, int flags) {
  struct ::stat st;
  if (::fstatat(dir_fd, path, &st, flags) != 0) return failed(cat("stat ", path));
  return st;
}

Result<UniqueFd> sealed_memfd(const char* name, std::span<const std::byte> bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return failed("make a memfd");
  GANTRY_TRY(write_all(fd.get(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) !=
      0) {
    return failed("seal a memfd");
  }
  return fd;
}

Result<std::pair<UniqueFd, UniqueFd>> message_sockets() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return failed("make a pair of sockets");
  }
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Result<void> send_message(int socket, std::string_view bytes, std::span<const int> fds) {
  iovec iov{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 250)];
  if (!fds.empty()) {
    GANTRY_CHECK(fds.size() <= 250);
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  ssize_t n;
  do {
    n = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return failed("send a message");
  return {};
}

Result<Message> receive_message(int socket, size_t max_bytes) {
  Message message;
  message.bytes.resize(max_bytes);
  iovec iov{message.bytes.data(), max_bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)];
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return failed("receive a message");
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      message.fds.emplace_back(fd);
    }
  }
  if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
    return Error(Errc::corrupt, "a message was larger than its protocol allows");
  }
  message.bytes.resize(static_cast<size_t>(n));
  return message;
}

Result<std::pair<UniqueFd, UniqueFd>> seqpacket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
    return failed("make a socket pair");
  }
  return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Result<UniqueFd> connect_unix(const std::string& path, int type) {
  sockaddr_un address = GANTRY_TRY(unix_address(path));
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return failed("make a socket");
  int rc;
  do {
    rc = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return failed(cat("connect to ", path));
  return fd;
}

Result<UniqueFd> listen_unix(const std::string& path, int type, mode_t mode, int backlog) {
  // Bound under a private name and renamed, so that a client never meets a socket nobody listens
  // on.
  std::string temporary = cat(path, ".", ::getpid());
  sockaddr_un address = GANTRY_TRY(unix_address(temporary));
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return failed("make a socket");
  ::unlink(temporary.c_str());
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return failed(cat("bind ", temporary));
  }
  if (::chmod(temporary.c_str(), mode) != 0 || ::listen(fd.get(), backlog) != 0 ||
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    Error error = failed(cat("listen on ", path));
    ::unlink(temporary.c_str());
    return error;
  }
  return fd;
}

Result<UniqueFd> pidfd_open(pid_t pid) {
  int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return failed(cat("open a pidfd of process ", pid));
  return UniqueFd(fd);
}

Result<void> pidfd_send_signal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) != 0) {
    return failed(cat("send signal ", signal));
  }
  return {};
}

bool pidfd_ended(int pidfd) {
  pollfd p{pidfd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

Result<int> pidfd_exit_status(int pidfd) {
  PidfdInfo info{};
  info.mask = kPidfdInfoExit;
  if (::ioctl(pidfd, kPidfdGetInfo, &info) != 0) {
    if (errno == ENOTTY || errno == EINVAL) {
      return Error(Errc::unsupported, "this kernel keeps no exit status in a pidfd (Linux < 6.15)");
    }
    return failed("ask a pidfd for its exit status");
  }
  if (!(info.mask & kPidfdInfoExit)) return Error(Errc::busy, "no exit information yet");
  return info.exit_code;
}

std::string to_hex(std::span<const std::byte> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (std::byte b : bytes) {
    out += kDigits[static_cast<unsigned>(b) >> 4];
    out += kDigits[static_cast<unsigned>(b) & 15];
  }
  return out;
}

std::string random_hex(size_t bytes) {
  std::vector<std::byte> raw(bytes);
  GANTRY_CHECK(::getrandom(raw.data(), bytes, 0) == static_cast<ssize_t>(bytes));
  return to_hex(raw);
}

namespace {
int64_t now_ns(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}
}  // namespace
int64_t monotonic_ns() { return now_ns(CLOCK_MONOTONIC); }
int64_t realtime_ns() { return now_ns(CLOCK_REALTIME); }
}  // namespace gantry::sys
