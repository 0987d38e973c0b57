// A tar as the body of a call (GANTRY_IMPORT, GANTRY_COPY_IN), with progress on a terminal.
#pragma once

#include <cstdint>
#include <string_view>

#include "executor/cli/http_client.h"

namespace gantry::cli {
// The head of such a call. `call`: its JSON.
HttpRequest tar_request(std::string call);

class Upload {
 public:
  // `doing`: "importing".
  Upload(Connection& connection, std::string_view doing, bool is_quiet = false)
      : connection_(connection), doing_(doing), is_quiet_(is_quiet) {}
  // Errc::cancelled when the executor has answered before the end: its answer says why.
  Result<void> send(std::string_view bytes);
  Result<void> send_file(int fd);
  void clear_progress();

 private:
  void show_progress();
  Connection& connection_;
  const std::string_view doing_;
  const bool is_quiet_;
  uint64_t sent_ = 0;
  int64_t shown_at_ = 0;
};
}  // namespace gantry::cli
