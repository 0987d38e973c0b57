// An executor on another machine: https://NAME:PORT, by TLS.
//
// This program stays static and small: gantry-tls, a process of its own for each connection, speaks
// TLS and passes on what is said at one end of a socket pair.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "executor/cli/http_client.h"

namespace gantry::cli {
struct Remote {
  std::string url;                               // https://NAME:PORT
  std::string ca, certificate, key, token_file;  // files; empty: none
};

// What is wrong with it, by the flags' names; nothing is connected. From now on every request of
// this program says the token, where there is one.
Result<void> prepare_remote(const Remote& remote);
Result<Connection> connect_remote(const Remote& remote);
}  // namespace gantry::cli
