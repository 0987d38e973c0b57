// How a container's run ended: the run's result, never an Error.
#pragma once

#include <sys/wait.h>

#include <string>

namespace gantry {
struct ExitOutcome {
  enum class Kind {
    exited,     // by itself, with `code`
    signalled,  // by signal `code`
    limited,    // reached the limit of `resource`, and ended with the raw wait status `code`;
                // `reason` is a sentence
    lost,       // nobody saw how it ended; `reason` says why, and nothing is guessed
    failed,     // never ran: the launch failed; `reason` is the error's sentence
  } kind = Kind::exited;
  int code = 0;
  bool core_dumped = false;
  std::string reason;
  std::string resource{};  // of limited: "memory", "disk"

  static ExitOutcome from_wait_status(int status) {
    ExitOutcome out;
    if (WIFSIGNALED(status)) {
      out = {Kind::signalled, WTERMSIG(status), WCOREDUMP(status) != 0, {}};
    } else {
      out = {Kind::exited, WEXITSTATUS(status), false, {}};
    }
    return out;
  }
  // Raw wait(2) status, Mesos' exit_status: exit 7 is 1792, SIGKILL is 9. Meaningless for lost and
  // failed.
  int wait_status() const { return kind == Kind::exited ? code << 8 : code; }
  // docker's: code, 128 + signal; 125 for lost and failed.
  int shell_status() const {
    switch (kind) {
      case Kind::exited:
        return code;
      case Kind::signalled:
        return 128 + code;
      case Kind::limited:
        return WIFSIGNALED(code) ? 128 + WTERMSIG(code) : WEXITSTATUS(code);
      default:
        return 125;
    }
  }
};
}  // namespace gantry
