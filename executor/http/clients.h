// Inside of the HTTP server: what each client holds of it, so that one that takes too much can be
// told from the others. Not a public header.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace gantry::http {
// A client is named by client_of() (exchange.h).
class Clients {
 public:
  Clients(size_t bytes, size_t bytes_each) : most_(bytes), most_each_(bytes_each) {}

  void connected(const std::string& client) { ++all_[client].connections; }
  void disconnected(const std::string& client);
  size_t connections(const std::string& client) const;

  // Memory for what a connected client sends or does not read. False: it has too much already.
  bool hold(const std::string& client, size_t bytes);
  void release(const std::string& client, size_t bytes);

 private:
  struct Held {
    size_t connections = 0, bytes = 0;
  };
  const size_t most_, most_each_;
  size_t bytes_ = 0;
  std::map<std::string, Held> all_;
};
}  // namespace gantry::http
