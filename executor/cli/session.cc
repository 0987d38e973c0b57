#include "executor/cli/session.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "executor/cli/command.h"
#include "executor/cli/on_demand.h"

namespace gantry::cli {
namespace {
constexpr int kMostAttempts = 10;

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  char here[4096];
  return ::getcwd(here, sizeof here) == nullptr ? path : cat(here, "/", path);
}
}  // namespace

std::optional<Remote> GlobalOptions::remote() const {
  const bool is_here = socket || runtime_dir || here;
  const std::string url = host.value_or(is_here ? std::string() : environment("GANTRY_HOST"));
  if (url.empty()) return std::nullopt;
  return Remote{.url = url,
                .ca = tls_ca.value_or(environment("GANTRY_TLS_CA")),
                .certificate = tls_cert.value_or(environment("GANTRY_TLS_CERT")),
                .key = tls_key.value_or(environment("GANTRY_TLS_KEY")),
                .token_file = token_file.value_or(environment("GANTRY_TOKEN_FILE"))};
}

Result<void> GlobalOptions::prepare() const {
  const std::optional<Remote> there = remote();
  if (host && (socket || runtime_dir || here)) {
    return usage_error(
        "--host is another machine; --socket, --runtime-dir and --here are this one: give one of "
        "them");
  }
  if (!there && (tls_ca || tls_cert || tls_key || token_file)) {
    return usage_error(
        "--tls-ca, --tls-cert, --tls-key and --token-file are for --host: give it too");
  }
  return there ? prepare_remote(*there) : Result<void>();
}

Location GlobalOptions::location() const {
  Location out;
  out.remote = remote();
  out.here = here;
  out.runtime_dir = runtime_dir.value_or(environment("GANTRY_RUNTIME_DIR"));
  // A runtime directory given by hand brings its own socket; GANTRY_SOCKET is for the default one.
  out.socket = socket ? *socket : (runtime_dir ? std::string() : environment("GANTRY_SOCKET"));
  if (out.runtime_dir.empty()) {
    // `--socket X` alone: an executor started for it keeps its other files beside it.
    const std::string at = out.socket.empty() ? std::string() : absolute(out.socket);
    out.runtime_dir = at.empty() ? "/run/gantry" : at.substr(0, at.rfind('/'));
  }
  out.runtime_dir = absolute(out.runtime_dir);
  out.socket = out.socket.empty() ? cat(out.runtime_dir, "/gantry.sock") : absolute(out.socket);
  return out;
}

namespace {
// "gantry_copy_out.path: must be …": which call it was says nothing to a person. A launch's fields
// are told in its flags (complaint.h).
void drop_call(std::string& text) {
  const size_t end = text.find_first_of(" :");
  const size_t dot = text.find('.');
  if (!text.starts_with("gantry_") || dot >= end || text.find("gantry_spec") < end) return;
  text.erase(0, dot + 1);
}

// "'gantry_stop.container_id' is invalid: 'a/b' contains …"
void drop_id_field(std::string& text) {
  constexpr std::string_view kIs = "container_id' is invalid: ";
  const size_t at = text.find(kIs);
  if (text.starts_with('\'') && at != text.npos && at < text.find(' ')) {
    text.replace(0, at + kIs.size(), "no name or id of a container: ");
  }
}
}  // namespace

std::string in_plain_words(std::string text) {
  drop_call(text);
  drop_id_field(text);
  return text;
}

Error refusal(const HttpResponse& response) {
  std::string text = response.body;
  while (text.ends_with('\n')) text.pop_back();
  // Mesos' introduction, for whoever writes calls by hand.
  constexpr std::string_view kIntroduction = "Failed to validate agent::Call: ";
  const bool is_wrong = text.starts_with(kIntroduction);
  if (is_wrong) text.erase(0, kIntroduction.size());
  if (text.empty())
    text = cat("the executor answered ", response.head.status, " ", response.head.reason);
  constexpr std::string_view kAbsent = "no container '";
  if (text.starts_with(kAbsent) && text.find('\'', kAbsent.size()) == text.size() - 1) {
    text = no_container(text.substr(kAbsent.size(), text.size() - kAbsent.size() - 1));
  }
  if (is_wrong && response.head.status == 400) return usage_error(text);
  switch (response.head.status) {
    case 404:
      return {Errc::not_found, text};
    case 409:
      return {Errc::busy, text};
    case 501:
      return {Errc::unsupported, text};
    default:
      return {Errc::refused, text};
  }
}

namespace {
// The container that a call of ours is about; of a command in one the latter.
std::string_view container_of(std::string_view call) {
  constexpr std::string_view kBefore = R"("container_id":{"value":")";
  constexpr std::string_view kParent = R"(","parent":{"value":")";
  const size_t at = call.find(kBefore);
  if (at == call.npos) return {};
  call.remove_prefix(at + kBefore.size());
  const std::string_view name = call.substr(0, call.find('"'));
  call.remove_prefix(name.size());
  if (!call.starts_with(kParent)) return name;
  call.remove_prefix(kParent.size());
  return call.substr(0, call.find('"'));
}

// The executor calls containers by their ids.
std::string as_asked(std::string text, std::string_view name) {
  constexpr std::string_view kBefore = "container '";
  constexpr size_t kDigits = 32;
  for (size_t at = text.find(kBefore); at != text.npos; at = text.find(kBefore, at)) {
    at += kBefore.size();
    const size_t end = text.find_first_not_of("0123456789abcdef", at);
    if (end == at + kDigits && text[end] == '\'') text.replace(at, kDigits, name);
  }
  return text;
}
}  // namespace

Error refusal(const HttpResponse& response, std::string_view call) {
  Error error = refusal(response);
  const std::string_view name = container_of(call);
  if (name.empty()) return error;
  return {error.code(), as_asked(error.to_string(), name)};
}

bool lacks_field(const Error& refusal, std::string_view field) {
  return refusal.to_string().find(cat("has no field '", field, "'")) != std::string::npos;
}

std::string no_container(std::string_view name) {
  return cat("no container \"", name, "\". 'gantry ps -a' lists those there are");
}

std::string explain_missing(const Error& error, const std::string& container) {
  return error.is(Errc::not_found) ? no_container(container) : in_plain_words(error.to_string());
}

Result<bool> feed_while_read(Connection& connection) {
  pollfd watched[] = {{connection.fd(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
  while (::poll(watched, 2, -1) < 0 && errno == EINTR) {
  }
  if (watched[0].revents == 0 && (watched[1].revents & (POLLERR | POLLHUP)) != 0) ::raise(SIGPIPE);
  return connection.feed();
}

HttpRequest api_request(std::string body) {
  return {"/api/v1",
          {{"Content-Type", "application/json"}, {"Accept", "application/json"}},
          std::move(body)};
}

void write_container_id(JsonWriter& json, const ContainerRef& container) {
  json.open("container_id").text("value", container.id);
  if (!container.parent.empty()) json.open("parent").text("value", container.parent).close();
  json.close();
}

std::string container_call(std::string_view type, std::string_view member, std::string_view id) {
  JsonWriter json;
  json.open().text("type", type).open(member).open("container_id").text("value", id);
  return json.close().close().close().take();
}

Result<void> Session::need_local(std::string_view what) const {
  const std::optional<Remote> remote = location().remote;
  if (!remote) return {};
  return usage_error(
      cat(what, ": only on the executor's own machine, not by way of ", remote->url));
}

Result<Connection> Session::connect() { return connect_or_start(location()); }

Result<Connection> Session::connect_to_running() {
  Result<Connection> connection = connect_as_permitted(location());
  if (!connection &&
      (connection.error().is_errno(ENOENT) || connection.error().is_errno(ECONNREFUSED))) {
    return Error(Errc::not_found, cat("no executor listens on ", location().name()));
  }
  return connection;
}

Result<void> Session::ensure_connected() {
  if (!connection_) connection_.emplace(GANTRY_TRY(connect()));
  return {};
}

Result<HttpResponse> Session::exchange(const std::string& body) {
  const std::string bytes = Connection::format(api_request(body));
  for (int attempt = 0;; ++attempt) {
    GANTRY_TRY(ensure_connected());
    has_asked_again_ = attempt > 0;
    const Result<void> sent = connection_->send(bytes);
    Result<HttpResponse> response =
        sent ? connection_->receive() : Result<HttpResponse>(sent.error());
    if (response) return response;
    connection_.reset();
    // An on-demand executor may leave just as we come; its successor gets the same request.
    if (!response.error().is(Errc::cancelled) || attempt == kMostAttempts) return response;
    // A killed executor's socket may still take a connection, and drop it.
    if (attempt > 0) ::poll(nullptr, 0, 100);
  }
}

Result<JsonDocument> Session::call(const std::string& body) {
  const HttpResponse response = GANTRY_TRY(exchange(body));
  if (response.head.status / 100 != 2) return refusal(response, body);
  if (response.body.empty()) return JsonDocument();
  return parse_json(response.body, "the executor's answer");
}
}  // namespace gantry::cli
