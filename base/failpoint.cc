#include "base/failpoint.h"

#include <csignal>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <set>
#include <unistd.h>

// The linker makes these for a section whose name is a C identifier; weak: a program may have none.
extern "C" {
extern const char* const __start_gantry_failpoints[] __attribute__((weak));
extern const char* const __stop_gantry_failpoints[] __attribute__((weak));
}

namespace gantry::failpoint {
bool any_armed = false;

namespace {
enum class Action { off, kill, error, sleep };
struct Term {
  long remaining;  // -1: for ever
  Action action;
  int argument;
};
std::mutex mutex;
std::map<std::string, std::vector<Term>, std::less<>> armed;

Result<Term> parse_term(std::string_view text) {
  Term term{-1, Action::off, 0};
  if (size_t star = text.find('*'); star != std::string_view::npos) {
    if (!parse_number(text.substr(0, star), term.remaining)) {
      return Error(Errc::invalid,
                   cat("--failpoints: '", text, "': the count before * is a number"));
    }
    text.remove_prefix(star + 1);
  }
  std::string_view name = text.substr(0, text.find('('));
  if (name.size() != text.size()) {
    if (text.back() != ')' ||
        !parse_number(text.substr(name.size() + 1, text.size() - name.size() - 2), term.argument)) {
      return Error(Errc::invalid,
                   cat("--failpoints: '", text, "': the argument is a number in ()"));
    }
  }
  if (name == "off") {
    term.action = Action::off;
  } else if (name == "kill") {
    term.action = Action::kill;
  } else if (name == "error") {
    term.action = Action::error;
  } else if (name == "sleep") {
    term.action = Action::sleep;
  } else {
    return Error(Errc::invalid, cat("--failpoints: '", text,
                                    "' is no action; legal: off, kill, error(ERRNO), "
                                    "sleep(MS), each after an optional COUNT*"));
  }
  return term;
}
}  // namespace

Result<void> arm(std::string_view specification) {
  std::lock_guard lock(mutex);
  while (!specification.empty()) {
    std::string_view one = specification.substr(0, specification.find(','));
    specification.remove_prefix(std::min(specification.size(), one.size() + 1));
    size_t equals = one.find('=');
    if (equals == std::string_view::npos) {
      return Error(Errc::invalid, cat("--failpoints: '", one, "' is not NAME=ACTION"));
    }
    std::string_view actions = one.substr(equals + 1);
    std::vector<Term> terms;
    for (;;) {
      size_t arrow = actions.find("->");
      terms.push_back(GANTRY_TRY(parse_term(actions.substr(0, arrow))));
      if (arrow == std::string_view::npos) break;
      actions.remove_prefix(arrow + 2);
    }
    armed[std::string(one.substr(0, equals))] = std::move(terms);
  }
  any_armed = !armed.empty();
  return {};
}

Result<void> hit(const char* name) {
  Term now{0, Action::off, 0};
  {
    std::lock_guard lock(mutex);
    auto it = armed.find(std::string_view(name));
    if (it == armed.end()) return {};
    for (Term& term : it->second) {
      if (term.remaining == 0) continue;
      if (term.remaining > 0) --term.remaining;
      now = term;
      break;
    }
  }
  switch (now.action) {
    case Action::off:
      break;
    case Action::kill:
      ::kill(::getpid(), SIGKILL);
      for (;;) ::pause();
    case Action::error:
      return Error::from_errno(now.argument, cat("failpoint ", name));
    case Action::sleep: {
      timespec t{now.argument / 1000, (now.argument % 1000) * 1'000'000L};
      while (::nanosleep(&t, &t) != 0 && errno == EINTR) {
      }
      break;
    }
  }
  return {};
}

std::vector<std::string> list_failpoints() {
  std::set<std::string> names(__start_gantry_failpoints, __stop_gantry_failpoints);
  return {names.begin(), names.end()};
}
}  // namespace gantry::failpoint
