// One run of the program: the options every command has, the connection to the executor (started
// on demand), calls and names.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "executor/cli/http_client.h"
#include "executor/cli/json.h"
#include "executor/cli/remote.h"

namespace gantry::cli {
// Where an executor is, from flags, then GANTRY_…, then the defaults.
struct Location {
  std::optional<Remote> remote;  // on another machine; then the rest says nothing
  std::string runtime_dir;       // /run/gantry
  std::string socket;            // RUNTIME_DIR/gantry.sock
  bool here = false;             // start one on demand even outside pid 1's namespaces
  const std::string& name() const { return remote ? remote->url : socket; }
};

struct GlobalOptions {
  std::optional<std::string> socket, runtime_dir;
  std::optional<std::string> host, tls_ca, tls_cert, tls_key, token_file;
  bool here = false;
  bool json = false;
  bool help = false;
  Location location() const;
  // Refuses flags that exclude each other, and a --host that is none; from now on every request
  // says the token, where there is one.
  Result<void> prepare() const;

 private:
  std::optional<Remote> remote() const;
};

// The answer to a call that was refused: the HTTP status and the executor's sentence.
Error refusal(const HttpResponse& response);
// The same, with the container called as `call` does, by its name or by the beginning of its id.
Error refusal(const HttpResponse& response, std::string_view call);

// An older executor refused a call because it does not have this field: it can be asked without.
bool lacks_field(const Error& refusal, std::string_view field);

// The one sentence about a container that is not there.
std::string no_container(std::string_view name);
// Without the name of the call that was refused.
std::string in_plain_words(std::string text);
// An error's sentence; for a container that is not there, with the way to find those that are.
std::string explain_missing(const Error& error, const std::string& container);

class Session {
 public:
  explicit Session(const GlobalOptions& options) : options_(options) {}
  bool json() const { return options_.json; }
  Location location() const { return options_.location(); }
  // For what is not done over a network: descriptors, paths and processes of this machine.
  Result<void> need_local(std::string_view what) const;

  // A fresh connection; where nobody listens, an executor is started first.
  Result<Connection> connect();
  // For commands that end an executor: never starts one. Errc::not_found when none listens.
  Result<Connection> connect_to_running();

  // POST /api/v1 with a JSON body; the parsed answer (null where it is empty). Anything but 2xx is
  // an error with the executor's own sentence. Asked again when the executor went away before it
  // answered (one that is leaving on demand), so calls must be idempotent or fresh.
  Result<JsonDocument> call(const std::string& body);
  // The same on a connection made for it, for calls that wait (WAIT_CONTAINER).
  Result<HttpResponse> exchange(const std::string& body);
  // The last call was asked again: its first asking may have been carried through without an
  // answer.
  bool has_asked_again() const { return has_asked_again_; }

 private:
  Result<void> ensure_connected();
  GlobalOptions options_;
  std::optional<Connection> connection_;
  bool has_asked_again_ = false;
};

// A container in a request; with a parent: one that was launched in that.
struct ContainerRef {
  std::string id;
  std::string parent;  // empty: a top-level one
};
void write_container_id(JsonWriter& json, const ContainerRef& container);

HttpRequest api_request(std::string body);
// Connection::feed() for what goes to stdout: a reader that goes away ends us while we wait, as
// SIGPIPE ends who writes.
Result<bool> feed_while_read(Connection& connection);
// `container` is an id, a name or the beginning of an id: the executor resolves it.
// {"type":TYPE,MEMBER:{"container_id":{"value":ID}}}
std::string container_call(std::string_view type, std::string_view member,
                           std::string_view container);
}  // namespace gantry::cli
