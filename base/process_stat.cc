#include "base/process_stat.h"

#include "base/sys.h"

namespace gantry {
Result<ProcessStat> process_stat(pid_t pid) {
  std::string text = GANTRY_TRY(sys::read_file(cat("/proc/", pid, "/stat"), 4096));
  ProcessStat out;
  int numbers = 0;
  // Field 2 is the command name in parentheses and may hold anything: count from the last ')'.
  size_t at = text.find(' ', text.rfind(')'));
  for (int field = 3; at != std::string::npos && field <= 22; ++field) {
    const size_t end = text.find(' ', at + 1);
    const std::string_view word = std::string_view(text).substr(at + 1, end - at - 1);
    numbers += field == 9 && parse_number(word, out.flags);
    numbers += field == 22 && parse_number(word, out.start_time);
    at = end;
  }
  if (numbers != 2) return Error(Errc::corrupt, cat("/proc/", pid, "/stat is not as proc(5) says"));
  return out;
}
}  // namespace gantry
