// "copying: 12.3 MiB", on a terminal, over and over in one line.
#pragma once

#include <cstdint>
#include <string_view>

namespace gantry::cli {
class Progress {
 public:
  // `doing`: "importing"; `done`: "sent".
  Progress(std::string_view doing, std::string_view done, bool is_quiet)
      : doing_(doing), done_(done), is_quiet_(is_quiet) {}
  void add(uint64_t bytes);
  void clear() const;

 private:
  const std::string_view doing_, done_;
  const bool is_quiet_;
  uint64_t bytes_ = 0;
  int64_t shown_at_ = 0;
};
}  // namespace gantry::cli
