// gantry-tls HOST PORT CA CERT KEY: TLS to an executor on another machine, for one connection of
// the command line (remote.h). At fd 0 is that one's end of a socket pair: a line first, "ok" or
// what is wrong, then what is said is passed on both ways. CA, CERT, KEY: files, or empty.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/unique_fd.h"

namespace gantry {
namespace {
constexpr int kLocal = 0;
constexpr int64_t kLimitNs = 15'000'000'000;  // until the handshake is done

std::string openssl_error() {
  char text[256];
  const unsigned long code = ::ERR_get_error();
  if (code == 0) return "the other end closed the connection";
  ::ERR_error_string_n(code, text, sizeof text);
  const char* reason = ::ERR_reason_error_string(code);
  return reason == nullptr ? text : reason;
}

int milliseconds_left(int64_t deadline) {
  return static_cast<int>(std::max<int64_t>(0, (deadline - sys::monotonic_ns()) / 1'000'000));
}

Result<UniqueFd> connect_to(const addrinfo& address, int64_t deadline) {
  UniqueFd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno(errno, "make a socket");
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return Error::from_errno(errno, "connect");
    pollfd wait = {fd.get(), POLLOUT, 0};
    if (::poll(&wait, 1, milliseconds_left(deadline)) != 1) {
      return Error::from_errno(ETIMEDOUT, "connect");
    }
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return Error::from_errno(error, "connect");
  }
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

Result<UniqueFd> connect_to(const char* host, const char* port, int64_t deadline) {
  addrinfo wanted = {};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int code = ::getaddrinfo(host, port, &wanted, &list); code != 0) {
    return Error(Errc::not_found, cat("look up the name: ", ::gai_strerror(code)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(list, &::freeaddrinfo);
  Result<UniqueFd> last = Error(Errc::not_found, "the name has no address");
  for (const addrinfo* one = list; one != nullptr && !last; one = one->ai_next) {
    last = connect_to(*one, deadline);
  }
  return last;
}

// Its certificate has to be for this name, or this address.
bool expect_name(SSL* ssl, const char* host) {
  in6_addr ignored;
  if (::inet_pton(AF_INET, host, &ignored) == 1 || ::inet_pton(AF_INET6, host, &ignored) == 1) {
    return ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl), host) == 1;
  }
  return ::SSL_set_tlsext_host_name(ssl, host) == 1 && ::SSL_set1_host(ssl, host) == 1;
}

Result<SSL*> prepare(int fd, const char* host, const char* ca, const char* cert, const char* key) {
  SSL_CTX* context = ::SSL_CTX_new(::TLS_client_method());
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  ::SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // OpenSSL would ask for a passphrase at the terminal.
  ::SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
  const bool has_ca = *ca == '\0' ? ::SSL_CTX_set_default_verify_paths(context) == 1
                                  : ::SSL_CTX_load_verify_locations(context, ca, nullptr) == 1;
  if (!has_ca) return Error(Errc::invalid, cat("--tls-ca ", ca, ": ", openssl_error()));
  if (*cert != '\0' && ::SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
    return Error(Errc::invalid, cat("--tls-cert ", cert, ": ", openssl_error()));
  }
  if (*key != '\0' && ::SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    return Error(Errc::invalid, cat("--tls-key ", key, ": ", openssl_error()));
  }
  SSL* ssl = ::SSL_new(context);
  if (ssl == nullptr || !expect_name(ssl, host) || ::SSL_set_fd(ssl, fd) != 1) {
    return Error(Errc::exhausted, openssl_error());
  }
  return ssl;
}

// What SSL waits for: POLLIN, POLLOUT; 0: it has failed.
short wanted_by(SSL* ssl, int result) {
  switch (::SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
      return POLLIN;
    case SSL_ERROR_WANT_WRITE:
      return POLLOUT;
    default:
      return 0;
  }
}

Result<void> shake_hands(SSL* ssl, int fd, int64_t deadline) {
  for (;;) {
    const int result = ::SSL_connect(ssl);
    if (result == 1) return {};
    const short wanted = wanted_by(ssl, result);
    if (wanted == 0) {
      const long verdict = ::SSL_get_verify_result(ssl);
      return Error(Errc::refused,
                   cat("TLS: ", verdict == X509_V_OK ? openssl_error()
                                                     : ::X509_verify_cert_error_string(verdict)));
    }
    pollfd wait = {fd, wanted, 0};
    if (::poll(&wait, 1, milliseconds_left(deadline)) == 0) {
      return Error(Errc::timed_out, "TLS: the other end does not answer");
    }
  }
}

struct Flow {
  std::array<char, 64u << 10> bytes;
  size_t begin = 0, end = 0;
  bool is_empty() const { return begin == end; }
  size_t size() const { return end - begin; }
  const char* data() const { return bytes.data() + begin; }
  void filled(size_t n) { begin = 0, end = n; }
  void fill(const std::string& text) { filled(text.copy(bytes.data(), bytes.size())); }
};

// Since TLS 1.3 a certificate of ours is judged after the handshake is over for us. Said as a
// gateway says it; "" where the connection just ended.
std::string refused_certificate() {
  const unsigned long code = ::ERR_peek_error();
  if (code == 0 || ERR_GET_REASON(code) <= SSL_AD_REASON_OFFSET) return {};
  const std::string text =
      cat("TLS: the other end does not take this certificate (--tls-cert): ", openssl_error());
  return cat("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: ", text.size(),
             "\r\nConnection: close\r\n\r\n", text);
}

bool again() { return errno == EAGAIN || errno == EINTR; }

// Until either end is closed.
void pass_on(SSL* ssl, int fd) {
  static Flow up, down;
  bool up_ends = false, down_ends = false, is_heard = false;
  for (;;) {
    int local = 0, remote = 0;  // what poll(2) is to wait for
    if (up.is_empty() && !up_ends) {
      const ssize_t n = ::read(kLocal, up.bytes.data(), up.bytes.size());
      if (n > 0) up.filled(static_cast<size_t>(n));
      up_ends = n == 0 || (n < 0 && !again());
      if (n < 0) local |= POLLIN;
    }
    if (!up.is_empty()) {
      const int n = ::SSL_write(ssl, up.data(), static_cast<int>(up.size()));
      if (n > 0) {
        up.begin += static_cast<size_t>(n);
        continue;
      }
      remote |= wanted_by(ssl, n);
      if (remote == 0) return;
    }
    if (up_ends && up.is_empty()) break;
    if (down.is_empty() && !down_ends) {
      const int n = ::SSL_read(ssl, down.bytes.data(), static_cast<int>(down.bytes.size()));
      if (n > 0) down.filled(static_cast<size_t>(n));
      const short wanted = n > 0 ? short{0} : wanted_by(ssl, n);
      down_ends = n <= 0 && wanted == 0;
      if (down_ends && !is_heard) down.fill(refused_certificate());
      is_heard = is_heard || n > 0;
      remote |= wanted;
    }
    if (!down.is_empty()) {
      const ssize_t n = ::write(kLocal, down.data(), down.size());
      if (n > 0) {
        down.begin += static_cast<size_t>(n);
        continue;
      }
      if (!again()) return;
      local |= POLLOUT;
    }
    if (down_ends && down.is_empty()) break;
    // One that is not waited for would still tell that it is closed.
    std::array<pollfd, 2> wait = {pollfd{local == 0 ? -1 : kLocal, static_cast<short>(local), 0},
                                  pollfd{remote == 0 ? -1 : fd, static_cast<short>(remote), 0}};
    ::poll(wait.data(), wait.size(), -1);
  }
  ::SSL_shutdown(ssl);
}

Result<void> run(char** words) {
  const int64_t deadline = sys::monotonic_ns() + kLimitNs;
  const UniqueFd fd = GANTRY_TRY(connect_to(words[1], words[2], deadline));
  SSL* ssl = GANTRY_TRY(prepare(fd.get(), words[1], words[3], words[4], words[5]));
  GANTRY_TRY(shake_hands(ssl, fd.get(), deadline));
  GANTRY_TRY(sys::write_all(kLocal, "ok\n"));
  ::fcntl(kLocal, F_SETFL, O_NONBLOCK);
  pass_on(ssl, fd.get());
  return {};
}
}  // namespace
}  // namespace gantry

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  ::signal(SIGPIPE, SIG_IGN);
  const gantry::Result<void> done = gantry::run(argv);
  if (done) return 0;
  gantry::sys::write_all(gantry::kLocal, done.error().to_string() + "\n")
      .ignore("nobody else to tell");
  return 1;
}
