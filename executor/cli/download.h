// A tar that a call answers with, as it comes, and where it goes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "executor/cli/session.h"

namespace gantry::cli {
// How many entries a tar cannot have or was not to: sockets, device nodes. Errc::cancelled when it
// breaks off: what came then is not whole.
Result<uint64_t> receive_tar(Session& session, const std::string& call,
                             const std::function<Result<void>(std::string_view)>& sink);

// Of one that broke off: also what there is of it.
Error and_then(const Error& error, std::string_view what);

// A file that is there whole or not at all; a device or pipe is written to as it is.
class OutputFile {
 public:
  // Empty path: stdout. A usage error where that is a terminal.
  static Result<OutputFile> open(const std::string& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();
  Result<void> write(std::string_view bytes);
  Result<void> commit();

 private:
  OutputFile(std::string path, std::string aside, UniqueFd file)
      : path_(std::move(path)), aside_(std::move(aside)), file_(std::move(file)) {}
  std::string path_, aside_;  // aside: what it is called until it is whole; empty: written directly
  UniqueFd file_;
};

// The answer to `call`, into OutputFile::open(path), with progress where that is a file.
Result<void> save_tar(Session& session, const std::string& call, const std::string& path,
                      std::string_view doing);
}  // namespace gantry::cli
