#include "fetcher/worker/download.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <optional>

#include "base/hide_secrets.h"

namespace gantry::worker {
namespace {
constexpr int kMaxRedirects = 10;

struct Transfer {
  const std::function<Result<void>(std::string_view)>& sink;
  CURL* handle;
  std::optional<Error> sink_error;
  bool refused_address = false;
};

size_t on_data(char* data, size_t, size_t size, void* self) {
  auto* transfer = static_cast<Transfer*>(self);
  long status = 0;
  ::curl_easy_getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &status);
  if (status >= 300) return size;  // the body of a redirect or of an error
  auto done = transfer->sink({data, size});
  if (done) return size;
  transfer->sink_error = std::move(done).error();
  return 0;
}

curl_socket_t on_open_socket(void* self, curlsocktype, curl_sockaddr* address) {
  if (is_forbidden_address(&address->addr)) {
    static_cast<Transfer*>(self)->refused_address = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

bool is_https(std::string_view url) { return url.starts_with("https://"); }

struct Global {
  Global() { ::curl_global_init(CURL_GLOBAL_DEFAULT); }
  ~Global() { ::curl_global_cleanup(); }
};

// The redirect's target, or empty when the content has come.
Result<std::string> transfer_once(const std::string& url, std::chrono::seconds stall,
                                  const std::function<Result<void>(std::string_view)>& sink) {
  std::unique_ptr<CURL, void (*)(CURL*)> curl(::curl_easy_init(), &::curl_easy_cleanup);
  if (!curl) return Error(Errc::exhausted, "libcurl cannot start");
  Transfer transfer{sink, curl.get(), std::nullopt, false};
  char text[CURL_ERROR_SIZE] = "";
  auto set = [&](auto option, auto value) { ::curl_easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, 15L);
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall.count()));
  set(CURLOPT_USERAGENT, "gantry");
  set(CURLOPT_ERRORBUFFER, static_cast<char*>(text));
  set(CURLOPT_WRITEFUNCTION, &on_data);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_OPENSOCKETFUNCTION, &on_open_socket);
  set(CURLOPT_OPENSOCKETDATA, &transfer);
  CURLcode code = ::curl_easy_perform(curl.get());
  if (transfer.sink_error) return *transfer.sink_error;
  if (transfer.refused_address) {
    return Error(Errc::invalid, "it leads to a link-local address, which is refused");
  }
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return Error(Errc::timed_out, text[0] != '\0' ? text : ::curl_easy_strerror(code));
  }
  if (code != CURLE_OK) {
    return Error(Errc::corrupt, text[0] != '\0' ? text : ::curl_easy_strerror(code));
  }
  long status = 0;
  ::curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  char* next = nullptr;
  ::curl_easy_getinfo(curl.get(), CURLINFO_REDIRECT_URL, &next);
  if (status >= 300 && status < 400 && next != nullptr) return std::string(next);
  if (status == 404 || status == 410) return Error(Errc::not_found, cat("HTTP status ", status));
  if (status != 200) return Error(Errc::invalid, cat("HTTP status ", status));
  return std::string();
}
}  // namespace

bool is_forbidden_address(const sockaddr* address) {
  auto is_v4_link_local = [](const uint8_t* bytes) { return bytes[0] == 169 && bytes[1] == 254; };
  if (address->sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, address, sizeof in);
    return is_v4_link_local(reinterpret_cast<const uint8_t*>(&in.sin_addr));
  }
  if (address->sa_family != AF_INET6) return false;
  sockaddr_in6 in6;
  std::memcpy(&in6, address, sizeof in6);
  const uint8_t* bytes = in6.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) return is_v4_link_local(bytes + 12);
  constexpr uint8_t kMetadata[16] = {0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0,    0,
                                     0,    0,    0,    0,    0, 0, 0x02, 0x54};
  return IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr) || std::memcmp(bytes, kMetadata, 16) == 0;
}

Result<void> download(std::string url, std::chrono::seconds stall,
                      const std::function<Result<void>(std::string_view)>& sink) {
  Global global;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    std::string next = GANTRY_TRY(transfer_once(url, stall, sink));
    if (next.empty()) return {};
    if (!next.starts_with("http://") && !is_https(next)) {
      return Error(Errc::invalid, cat("redirected to ", hide_uri_secrets(next).substr(0, 200),
                                      ": only http and https are followed"));
    }
    if (is_https(url) && !is_https(next)) {
      return Error(Errc::invalid, cat("redirected from https to ",
                                      hide_uri_secrets(next).substr(0, 200), ", which is refused"));
    }
    url = std::move(next);
  }
  return Error(Errc::invalid, cat("more than ", kMaxRedirects, " redirects"));
}
}  // namespace gantry::worker
