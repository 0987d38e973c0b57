// What is compressed with xz or bzip2, uncompressed by libarchive.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "fetcher/worker/input.h"

struct archive;

namespace gantry::worker {
class ArchiveFilter final : public Input {
 public:
  using Source = std::function<Result<std::string_view>()>;
  explicit ArchiveFilter(Source from);
  ArchiveFilter(const ArchiveFilter&) = delete;
  ~ArchiveFilter() override;
  Result<std::string_view> next() override;

 private:
  friend struct ArchiveFilterCallbacks;
  Error failure();

  Source from_;
  archive* archive_;
  enum class At { start, data, end } at_ = At::start;
  std::optional<Error> input_error_;
  std::string buffer_;
};
}  // namespace gantry::worker
