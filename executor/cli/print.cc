#include "executor/cli/print.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "base/sys.h"

namespace gantry::cli {
namespace {
bool is_stdout_closed = false;
}  // namespace

void note_closed_stdout() { is_stdout_closed = true; }
bool was_stdout_closed() { return is_stdout_closed; }

void write_out(std::string_view text) {
  // A reader that has gone ends us by SIGPIPE, as it ends any command.
  const Result<void> written = sys::write_all(STDOUT_FILENO, text);
  if (written) return;
  write_error(cat("stdout: ", written.error().to_string()));
  ::_exit(1);
}

void write_missed(int64_t bytes, std::string_view stream) {
  write_error(
      cat(bytes, " bytes of ", stream,
          " were rotated away before they could be read (--log-opt sets how much is kept)"));
}

void write_wait(std::string_view reason) {
  write_error(cat("the output waits for room on its disk: ", reason,
                  "; `gantry rm` or `gantry prune` makes some"));
}

namespace {
// No word of a megabyte, if somebody gave us one.
std::string shorten_words(std::string_view text) {
  constexpr size_t kMost = 1000, kKept = 100;
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    out += word.size() <= kMost ? word : word.substr(0, kKept);
    if (word.size() > kMost) out += cat("… (", word.size(), " characters)");
    out += text.substr(end, 1);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}
}  // namespace

void write_error(std::string_view text) {
  sys::write_all(STDERR_FILENO, cat("gantry: ", shorten_words(text), "\n"))
      .ignore("nobody else to tell");
}

void write_json(const Json& value) {
  write_out(cat(::isatty(STDOUT_FILENO) ? to_pretty_text(value) : to_text(value), "\n"));
}

void write_json_member(const Json& answer, std::string_view path) {
  const Json* member = find(answer, path);
  if (member != nullptr) {
    write_json(*member);
  } else {
    write_out("{}\n");
  }
}

namespace {
bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// What a terminal shows of UTF-8, if each character is as wide as the next.
size_t width_of(std::string_view text) {
  return text.size() - static_cast<size_t>(std::ranges::count_if(text, continues_character));
}
}  // namespace

void Table::write() const {
  winsize size = {};
  const bool is_known = ::isatty(STDOUT_FILENO) != 0 &&
                        ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0;
  write_out(format(is_known ? size.ws_col : 0));
}

bool Table::may_be_cut(size_t column) const {
  return cut_ ? std::ranges::find(*cut_, rows_[0][column]) != cut_->end() : column != 0;
}

bool Table::is_empty(size_t column) const {
  return std::all_of(rows_.begin() + 1, rows_.end(),
                     [column](const auto& row) { return row[column].empty(); });
}

std::string Table::format(size_t columns) const {
  constexpr size_t kGap = 2;
  constexpr size_t kNarrowest = 8;  // what is cut shorter says nothing
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  size_t total = kGap * (widths.size() - 1);
  for (const size_t width : widths) total += width;
  for (size_t i = 0; columns != 0 && total > columns && i < widths.size(); ++i) {
    if (!is_empty(i)) continue;
    total -= widths[i] + kGap;
    widths[i] = 0;
  }
  for (; columns != 0 && total > columns; --total) {
    size_t* widest = nullptr;
    for (size_t i = 0; i < widths.size(); ++i) {
      if (may_be_cut(i) && (widest == nullptr || widths[i] > *widest)) widest = &widths[i];
    }
    if (widest == nullptr || *widest <= kNarrowest) return format_as_lines();
    --*widest;
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (widths[i] == 0) continue;
      const std::string cell = width_of(row[i]) > widths[i] ? one_line(row[i], widths[i]) : row[i];
      line += cell;
      line.append(i + 1 < row.size() ? widths[i] - width_of(cell) + kGap : 0, ' ');
    }
    while (line.ends_with(' ')) line.pop_back();
    out += line + "\n";
  }
  return out;
}

// Where not even cut columns fit beside each other: each cell on a line of its own.
std::string Table::format_as_lines() const {
  std::string out;
  for (size_t i = 1; i < rows_.size(); ++i) {
    if (i > 1) out += "\n";
    for (size_t j = 0; j < rows_[i].size(); ++j) {
      if (!rows_[i][j].empty()) out += cat(rows_[0][j], ": ", rows_[i][j], "\n");
    }
  }
  return out;
}

bool has_escapes(int fd) {
  const char* const terminal = ::getenv("TERM");
  return ::isatty(fd) != 0 && terminal != nullptr && *terminal != '\0' &&
         std::string_view(terminal) != "dumb";
}

std::string format_bytes(double bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  char text[32];
  ::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : (bytes < 10 ? "%.2f %s" : "%.1f %s"), bytes,
             kUnits[unit]);
  return text;
}

std::string format_age(double seconds) {
  struct Unit {
    double seconds;
    const char* name;
  };
  static constexpr std::array<Unit, 4> kUnits = {
      {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}}};
  for (const Unit& unit : kUnits) {
    const auto count = static_cast<int64_t>(seconds / unit.seconds);
    if (count >= 1) return cat(count, " ", unit.name, count == 1 ? "" : "s");
  }
  return "less than a second";
}

std::string format_percent(double value) {
  char text[32];
  ::snprintf(text, sizeof text, "%.1f%%", value);
  return text;
}

std::string short_id(std::string_view id) {
  const bool is_ours =
      id.size() == 32 && id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  return std::string(is_ours ? id.substr(0, 12) : id);
}

std::string one_line(std::string_view text, size_t width) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  if (width_of(out) <= width) return out;
  size_t end = 0;
  for (size_t shown = 0; end < out.size(); ++end) {
    if (!continues_character(out[end]) && ++shown == width) break;
  }
  return out.substr(0, end) + "…";
}

double now_seconds() { return static_cast<double>(sys::realtime_ns()) / 1e9; }

Result<double> parse_decimal(std::string_view flag, std::string_view text) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) {
    return Error(Errc::invalid, cat(flag, " is a number, not \"", text, "\""));
  }
  return value;
}

Result<uint64_t> parse_bytes(std::string_view flag, std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string unit(text.substr(digits));
  std::ranges::transform(unit, unit.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  static constexpr std::array<std::string_view, 5> kUnits = {"b", "k", "m", "g", "t"};
  size_t power = 0;
  if (!unit.empty()) {
    power = static_cast<size_t>(std::ranges::find(kUnits, std::string_view(unit).substr(0, 1)) -
                                kUnits.begin());
    const std::string_view rest = std::string_view(unit).substr(1);
    if (power == kUnits.size() || (!rest.empty() && rest != "b" && rest != "ib")) power = 99;
  }
  Result<double> number = parse_decimal(flag, text.substr(0, digits));
  if (power == 99 || digits == 0 || !number) {
    return Error(Errc::invalid, cat(flag, " is a size like 64m or 1.5g, not \"", text, "\""));
  }
  const double bytes = *number * std::pow(1024.0, static_cast<double>(power));
  if (bytes >= 9.2e18) return Error(Errc::invalid, cat(flag, " is too large: ", text));
  return static_cast<uint64_t>(bytes);
}

Result<double> parse_seconds(std::string_view flag, std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view unit = text.substr(digits);
  const double factor = unit.empty() || unit == "s" ? 1
                        : unit == "ms"              ? 0.001
                        : unit == "m"               ? 60
                        : unit == "h"               ? 3600
                                                    : -1;
  Result<double> number = parse_decimal(flag, text.substr(0, digits));
  if (factor < 0 || !number) {
    return Error(Errc::invalid,
                 cat(flag, " is a time like 10, 500ms, 2m or 1h, not \"", text, "\""));
  }
  return *number * factor;
}

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  if (name != nullptr) return cat("SIG", name);
  if (number >= SIGRTMIN && number <= SIGRTMAX) return cat("SIGRTMIN+", number - SIGRTMIN);
  return cat("signal ", number);
}

Result<int> parse_signal(std::string_view text) {
  int number = 0;
  if (parse_number(text, number) && number >= 1 && number <= SIGRTMAX) return number;
  std::string name(text);
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  });
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int i = 1; i < NSIG; ++i) {
    const char* known = ::sigabbrev_np(i);
    if (known != nullptr && name == known) return i;
  }
  if (name == "RTMIN") return SIGRTMIN;
  if (name == "RTMAX") return SIGRTMAX;
  if (name.starts_with("RTMIN+") && parse_number(std::string_view(name).substr(6), number) &&
      number >= 0 && SIGRTMIN + number <= SIGRTMAX) {
    return SIGRTMIN + number;
  }
  return Error(Errc::invalid, cat("\"", text,
                                  "\" is not a signal. Names: TERM, KILL, HUP, INT, "
                                  "USR1 …, or a number from 1 to ",
                                  SIGRTMAX));
}
}  // namespace gantry::cli
