// --format: a line of text with {{.Names}} in it, as docker's.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executor/cli/json.h"
#include "executor/cli/print.h"

namespace gantry::cli {
// Replaces each {{.NAME}} by what `value_of` says (NAME without the dot; "json NAME" asks for
// JSON), and \t and \n. An error names --format.
using ValueOf = std::function<Result<std::string>(std::string_view name)>;
Result<std::string> fill_in(std::string_view format, const ValueOf& value_of);

// The same with a row's cells, by their names; one that is not there lists those that are.
using Cells = std::vector<std::pair<std::string_view, std::string>>;
Result<std::string> fill_in(std::string_view format, const Cells& cells);

// The same with members of an object by their paths, {{.container.state}}: text as it is, else
// JSON, and "<no value>" where there is none.
Result<std::string> fill_in(std::string_view format, const Json& object);

// What a command lists: a table, or with a --format a line for each row.
class Listing {
 public:
  Listing(std::vector<std::string> header, std::string_view format,
          std::optional<std::vector<std::string_view>> cut = {})
      : table_(std::move(header), std::move(cut)), format_(format) {}
  Result<void> add(const Cells& cells);
  void write() const;  // to stdout, what add() did not write

 private:
  Table table_;
  std::string_view format_;  // empty: a table
};

// Whether such cells, or members of an object, can fill it in: known before anything is asked.
// docker's "table …" is refused, "json" is the command's own matter.
Result<void> check_format(std::string_view format, const Cells& cells);
// What docker calls a member, and what it is here, without the dots; all below it where theirs ends
// with a dot.
using ForeignName = std::pair<std::string_view, std::string_view>;
Result<void> check_format(std::string_view format, std::span<const ForeignName> foreign = {});
}  // namespace gantry::cli
