#include "executor/cli/time_words.h"

#include <cmath>
#include <ctime>
#include <optional>

#include "base/sys.h"
#include "executor/cli/command.h"
#include "executor/cli/print.h"

namespace gantry::cli {
namespace {
// "2026-11-28T10:00:00.5Z", with an offset, or without (local time); the date alone: its midnight.
std::optional<int64_t> parse_date(const std::string& text) {
  struct tm parts = {};
  parts.tm_isdst = -1;
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%d", &parts);
  if (rest == nullptr) return std::nullopt;
  if (*rest == 'T' || *rest == ' ') rest = ::strptime(rest + 1, "%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  int64_t fraction_ns = 0;
  if (*rest == '.') {
    int64_t unit = 100'000'000;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) {
      fraction_ns += (*rest - '0') * unit;
    }
  }
  int64_t seconds = 0;
  if (*rest == '\0') {
    seconds = ::mktime(&parts);
  } else {
    struct tm zone = {};
    rest = ::strptime(rest, "%z", &zone);
    if (rest == nullptr || *rest != '\0') return std::nullopt;
    seconds = ::timegm(&parts) - zone.tm_gmtoff;
  }
  int64_t out = 0;
  if (__builtin_mul_overflow(seconds, int64_t{1'000'000'000}, &out) ||
      __builtin_add_overflow(out, fraction_ns, &out)) {
    return std::nullopt;
  }
  return out;
}

// Up to the year 2262, as far as nanoseconds in 64 bits go.
Result<int64_t> nanoseconds(std::string_view flag, std::string_view text, double seconds) {
  constexpr double kMostSeconds = 9.2e9;
  if (std::abs(seconds) <= kMostSeconds) return static_cast<int64_t>(seconds * 1e9);
  return usage_error(cat(flag, " is at most 9200000000 seconds, not \"", text, "\""));
}
}  // namespace

Result<int64_t> parse_time(std::string_view flag, std::string_view text) {
  if (const std::optional<int64_t> date = parse_date(std::string(text))) return *date;
  const bool is_epoch = text.starts_with('@');
  if (is_epoch || text.find_first_not_of("0123456789.") == text.npos) {
    const double seconds = GANTRY_TRY(parse_decimal(flag, text.substr(is_epoch ? 1 : 0)));
    return nanoseconds(flag, text, seconds);
  }
  const Result<double> ago = parse_seconds(flag, text);
  if (!ago) {
    return usage_error(cat(flag,
                           " is how long ago, like 10m or 2h, or a date before 2262, like "
                           "2026-11-28T10:00:00Z, not \"",
                           text, "\""));
  }
  return sys::realtime_ns() - GANTRY_TRY(nanoseconds(flag, text, *ago));
}

std::string timestamp(int64_t nanoseconds) {
  const time_t seconds = nanoseconds / 1'000'000'000;
  struct tm parts = {};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  const size_t n = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string fraction = cat(nanoseconds % 1'000'000'000);
  fraction.insert(0, 9 - fraction.size(), '0');
  return cat(std::string_view(text, n), ".", fraction, "Z");
}
}  // namespace gantry::cli
