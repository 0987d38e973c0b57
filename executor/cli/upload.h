// A tar as the body of a call (GANTRY_IMPORT, GANTRY_COPY_IN), with progress on a terminal.
#pragma once

#include <string_view>

#include "executor/cli/http_client.h"
#include "executor/cli/progress.h"

namespace gantry::cli {
// The head of such a call. `call`: its JSON.
HttpRequest tar_request(std::string call);

class Upload {
 public:
  // `doing`: "importing".
  Upload(Connection& connection, std::string_view doing, bool is_quiet = false)
      : connection_(connection), progress_(doing, "sent", is_quiet) {}
  // Errc::cancelled when the executor has answered before the end: its answer says why.
  Result<void> send(std::string_view bytes);
  Result<void> send_file(int fd);
  // The end of the body, where `sent` is all of it, and the answer. What went wrong here counts
  // unless the executor has answered before the end.
  Result<HttpResponse> finish(Result<void> sent);

 private:
  Connection& connection_;
  Progress progress_;
};
}  // namespace gantry::cli
