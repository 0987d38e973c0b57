// `gantry commit --change`: instructions of a Dockerfile that say something about an image.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "executor/cli/json.h"

namespace gantry::cli {
class ImageChanges {
 public:
  // "CMD [\"a\", \"b\"]", "CMD a b" (for /bin/sh -c), "ENV A=1 B='2 3'" …; an error names it and
  // says what is legal.
  Result<void> add(std::string_view instruction);
  // As the member `changes` of a request.
  void write(JsonWriter& json) const;

 private:
  using Words = std::vector<std::string>;
  std::optional<Words> entrypoint_, cmd_;
  Words ports_, volumes_;
  std::map<std::string, std::string> env_, labels_;
  std::optional<std::string> user_, cwd_, stop_signal_;
};
}  // namespace gantry::cli
