#include "executor/cli/remote.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/sys.h"
#include "executor/cli/command.h"
#include "executor/cli/on_demand.h"

namespace gantry::cli {
namespace {
struct Endpoint {
  std::string host, port;
};

Result<Endpoint> parse_url(std::string_view url) {
  constexpr std::string_view kScheme = "https://";
  const Error bad = usage_error(cat("--host (GANTRY_HOST) is https://NAME:PORT, not \"", url,
                                    "\"; there is no way in without TLS"));
  if (!url.starts_with(kScheme)) return bad;
  std::string_view rest = url.substr(kScheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const size_t colon = rest.rfind(':');
  uint16_t port = 0;
  if (colon == rest.npos || !parse_number(rest.substr(colon + 1), port) || port == 0) return bad;
  Endpoint out{std::string(rest.substr(0, colon)), std::string(rest.substr(colon + 1))};
  if (out.host.starts_with('[') && out.host.ends_with(']')) {
    out.host = out.host.substr(1, out.host.size() - 2);
  } else if (out.host.find(':') != out.host.npos) {
    return bad;
  }
  const bool is_plain = out.host.find_first_of("/@?#%[] \t\r\n") == out.host.npos;
  return is_plain && !out.host.empty() ? Result<Endpoint>(std::move(out)) : bad;
}

Result<std::string> read_token(const std::string& path) {
  const UniqueFd file = GANTRY_TRY(sys::open(path, O_RDONLY).context("--token-file"));
  struct ::stat st;
  if (::fstat(file.get(), &st) == 0 && (st.st_mode & 077) != 0) {
    return Error(Errc::refused,
                 cat("--token-file ", path, ": others can use it: chmod 600 ", path));
  }
  std::string token = GANTRY_TRY(sys::read_all(file.get(), 64u << 10));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  for (const char c : token) {
    if (c <= ' ' || c >= 0x7f) {
      return Error(Errc::refused,
                   cat("--token-file ", path, ": a token is one line without spaces"));
    }
  }
  return token;
}

// Not our child: nobody has to wait for it. It ends when the connection does.
Result<UniqueFd> start_relay(const Remote& remote, const Endpoint& endpoint) {
  std::array<int, 2> pair;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return Error::from_errno(errno, "make a socket pair");
  }
  UniqueFd ours(pair[0]), theirs(pair[1]);
  std::array<std::string, 6> words = {sibling_program("gantry-tls"),
                                      endpoint.host,
                                      endpoint.port,
                                      remote.ca,
                                      remote.certificate,
                                      remote.key};
  std::array<char*, words.size() + 1> argv = {};
  for (size_t i = 0; i < words.size(); ++i) argv[i] = words[i].data();
  const pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno(errno, "fork");
  if (pid == 0) {
    // Signals of this terminal are the command's to handle.
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    ::dup2(theirs.get(), STDIN_FILENO);
    // lint: allow cloexec, because they are its standard streams
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
    ::close_range(3, ~0u, 0);
    ::execvp(argv[0], argv.data());
    ::dprintf(STDIN_FILENO, "exec %s: %s\n", argv[0], ::strerror(errno));
    ::_exit(127);
  }
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return ours;
}

// "ok", or why not.
Result<std::string> read_line(int fd) {
  std::string line;
  for (char c = 0; line.size() < 4096;) {
    const ssize_t n = ::read(fd, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "hear from gantry-tls");
    if (n == 0) return Error(Errc::refused, "gantry-tls ended without a word");
    if (c == '\n') break;
    line += c;
  }
  return line;
}
}  // namespace

Result<void> prepare_remote(const Remote& remote) {
  GANTRY_TRY(parse_url(remote.url));
  if (remote.certificate.empty() != remote.key.empty()) {
    return usage_error("--tls-cert and --tls-key belong together: give both");
  }
  if (!remote.token_file.empty()) {
    Connection::say_in_every_request("Authorization",
                                     cat("Bearer ", GANTRY_TRY(read_token(remote.token_file))));
  }
  return {};
}

Result<Connection> connect_remote(const Remote& remote) {
  const Endpoint endpoint = GANTRY_TRY(parse_url(remote.url));
  UniqueFd socket = GANTRY_TRY(start_relay(remote, endpoint));
  const std::string said = GANTRY_TRY(read_line(socket.get()).context(remote.url));
  if (said != "ok") return Error(Errc::refused, cat(remote.url, ": ", said));
  return Connection(std::move(socket));
}
}  // namespace gantry::cli
