#include "containerizer/signals.h"

#include <csignal>
#include <cstring>
#include <string>

namespace gantry {
Result<int> parse_signal(std::string_view text) {
  Error bad(Errc::invalid, cat("signal: '", text,
                               "' is no signal; legal: a name (TERM, SIGTERM, "
                               "RTMIN+3) or a number from 1 to ",
                               SIGRTMAX));
  int number = 0;
  if (parse_number(text, number)) {
    if (number >= 1 && number <= SIGRTMAX) return number;
    return bad;
  }
  std::string name(text);
  for (char& c : name) c = static_cast<char>(::toupper(static_cast<unsigned char>(c)));
  if (name.starts_with("SIG")) name.erase(0, 3);
  if (name.starts_with("RTMIN")) {
    if (name.size() == 5) return SIGRTMIN;
    if (name[5] == '+' && parse_number(std::string_view(name).substr(6), number) && number >= 0 &&
        SIGRTMIN + number <= SIGRTMAX) {
      return SIGRTMIN + number;
    }
    return bad;
  }
  if (name == "RTMAX") return SIGRTMAX;
  for (int n = 1; n < NSIG; ++n) {
    const char* abbreviation = ::sigabbrev_np(n);
    if (abbreviation != nullptr && name == abbreviation) return n;
  }
  if (name == "IOT") return SIGABRT;
  if (name == "CLD") return SIGCHLD;
  return bad;
}
}  // namespace gantry
