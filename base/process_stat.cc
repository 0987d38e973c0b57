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
    if (field == 3 && !word.empty()) out.state = word[0];
    numbers += field == 9 && parse_number(word, out.flags);
    numbers += field == 22 && parse_number(word, out.start_time);
    at = end;
  }
  if (numbers != 2) return Error(Errc::corrupt, cat("/proc/", pid, "/stat is not as proc(5) says"));
  return out;
}

std::string describe_wait(pid_t pid) {
  const Result<ProcessStat> stat = process_stat(pid);
  if (!stat || (stat->state != 'D' && stat->state != 'S')) return {};
  // KERNEL: unlike /proc/PID/syscall and stack, it takes no lock that the process may hold.
  const std::string place = sys::read_file(cat("/proc/", pid, "/wchan"), 256).value_or("");
  const bool is_told = !place.empty() && place != "0";
  return cat(stat->state == 'D' ? " is stuck in the kernel" : " waits in the kernel",
             is_told ? cat(" (", place, ")") : "");
}
}  // namespace gantry
