// What people read: tables, sizes, ages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "executor/cli/json.h"

namespace gantry::cli {
// Columns as wide as their widest cell, two spaces between; the last one is not padded. On a
// terminal too narrow for that empty columns are left out and the widest cells cut, or each gets a
// line of its own.
class Table {
 public:
  // `cut`: the columns that may be cut; without it all but the first, which is what a container or
  // image is called by.
  explicit Table(std::vector<std::string> header,
                 std::optional<std::vector<std::string_view>> cut = {})
      : cut_(std::move(cut)) {
    rows_.push_back(std::move(header));
  }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void write() const;                        // to stdout
  std::string format(size_t columns) const;  // 0: any number

 private:
  std::string format_as_lines() const;
  bool may_be_cut(size_t column) const;
  bool is_empty(size_t column) const;  // but for its header
  std::vector<std::vector<std::string>> rows_;
  std::optional<std::vector<std::string_view>> cut_;
};

void write_out(std::string_view text);  // to stdout
// The caller has closed it; what stands in its place takes everything.
void note_closed_stdout();
bool was_stdout_closed();
bool has_escapes(int fd);  // a terminal that understands escape sequences
// A log was rotated away before it could be read.
void write_missed(int64_t bytes, std::string_view stream);
// Why no more output comes for the time being.
void write_wait(std::string_view reason);
void write_error(std::string_view text);  // "gantry: TEXT" and a newline, to stderr
void write_json(const Json& value);       // indented on a terminal, else on one line
// A member of an answer by its path; {} where there is none.
void write_json_member(const Json& answer, std::string_view path);
std::string format_bytes(double bytes);     // "12.3 MiB"
std::string format_age(double seconds);     // "5 minutes"
std::string format_percent(double value);   // "12.5%"
std::string short_id(std::string_view id);  // 12 characters of a made-up id; a chosen one whole
std::string one_line(std::string_view text, size_t width);
double now_seconds();

// "512m", "1.5g", "64KiB" as bytes; "500ms", "10s", "2m" as seconds.
Result<uint64_t> parse_bytes(std::string_view flag, std::string_view text);
Result<double> parse_seconds(std::string_view flag, std::string_view text);
Result<double> parse_decimal(std::string_view flag, std::string_view text);
// "TERM", "SIGTERM", "15".
Result<int> parse_signal(std::string_view text);
std::string signal_name(int number);  // "SIGTERM"
}  // namespace gantry::cli
