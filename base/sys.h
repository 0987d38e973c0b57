// System calls as Results. Every descriptor made here is close-on-exec; EINTR is retried where the
// call allows it. Errors name the object.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry::sys {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Result<Pipe> pipe(int flags = 0);  // O_CLOEXEC is added
// Two connected SEQPACKET sockets, close-on-exec.
Result<std::pair<UniqueFd, UniqueFd>> message_sockets();

// dir_fd: a directory descriptor, or AT_FDCWD with an absolute path.
Result<UniqueFd> open_at(int dir_fd, const char* path, int flags, mode_t mode = 0);
inline Result<UniqueFd> open(const std::string& path, int flags, mode_t mode = 0) {
  return open_at(-100 /* AT_FDCWD */, path.c_str(), flags, mode);
}
Result<UniqueFd> duplicate(int fd);

Result<void> write_all(int fd, std::string_view bytes);
// Reads to end of file; more than `cap` bytes is Errc::exhausted.
Result<std::string> read_all(int fd, size_t cap = 16u << 20);
Result<std::string> read_file_at(int dir_fd, const char* path, size_t cap = 16u << 20);
inline Result<std::string> read_file(const std::string& path, size_t cap = 16u << 20) {
  return read_file_at(-100, path.c_str(), cap);
}
// One open + one write + close, for kernel files (cgroup, proc, sys). Never creates.
Result<void> write_file_at(int dir_fd, const char* path, std::string_view bytes);
inline Result<void> write_file(const std::string& path, std::string_view bytes) {
  return write_file_at(-100, path.c_str(), bytes);
}
Result<void> mkdir_at(int dir_fd, const char* path, mode_t mode);
// mkdir, and an existing directory is success. Missing parents too with `ensure_directories`.
Result<void> ensure_directory_at(int dir_fd, const char* path, mode_t mode);
Result<void> ensure_directories(const std::string& absolute_path, mode_t mode);
Result<struct ::stat> stat_at(int dir_fd, const char* path, int flags = 0);

// A memfd holding exactly `bytes`, sealed against every change.
Result<UniqueFd> sealed_memfd(const char* name, std::span<const std::byte> bytes);

// Message passing with descriptors over AF_UNIX SOCK_SEQPACKET. At most 250 fds a message.
Result<void> send_message(int socket, std::string_view bytes, std::span<const int> fds);
struct Message {
  std::string bytes;
  std::vector<UniqueFd> fds;  // received close-on-exec
};
// An empty `bytes` without fds is end-of-file. EAGAIN comes back as an errno Error.
Result<Message> receive_message(int socket, size_t max_bytes);
Result<std::pair<UniqueFd, UniqueFd>> seqpacket_pair();
Result<UniqueFd> connect_unix(const std::string& path, int type);
// Binds and listens; an existing socket file of the same name is replaced atomically.
Result<UniqueFd> listen_unix(const std::string& path, int type, mode_t mode, int backlog);

Result<UniqueFd> pidfd_open(pid_t pid);
Result<void> pidfd_send_signal(int pidfd, int signal);
// True when the process has ended (POLLIN on the pidfd).
bool pidfd_ended(int pidfd);
// Raw wait status by PIDFD_GET_INFO (Linux >= 6.15), only after the parent has reaped.
// Errc::unsupported on older kernels; Errc::busy while there is no exit information yet.
Result<int> pidfd_exit_status(int pidfd);

// Random text of 2*bytes hex digits from getrandom(2).
std::string random_hex(size_t bytes);
std::string to_hex(std::span<const std::byte> bytes);
// Nanoseconds of CLOCK_MONOTONIC / CLOCK_REALTIME.
int64_t monotonic_ns();
int64_t realtime_ns();
}  // namespace gantry::sys
