// Failpoints: named places where a test makes the process die, fail or wait. In every build; armed
// only by `--failpoints` (a list `name=action[,name=action…]`), one relaxed load when not.
//
// Actions: `kill` (SIGKILL to itself), `error(ERRNO)`, `sleep(MILLISECONDS)`, `off`; each with an
// optional count, `2*off->kill`: pass twice, then die. `list_failpoints` names all that are linked
// in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gantry::failpoint {
extern bool any_armed;  // set before threads start
Result<void> arm(std::string_view specification);
Result<void> hit(const char* name);
std::vector<std::string> list_failpoints();
}  // namespace gantry::failpoint

// Records the name in the program's table and acts when armed. An `error` action makes the
// enclosing function return that error with GANTRY_FAILPOINT_TRY; with GANTRY_FAILPOINT it is
// ignored.
#define GANTRY_FAILPOINT_NAMED(name)                                                  \
  ({                                                                                  \
    static const char* const gantry_failpoint_name_                                   \
        __attribute__((section("gantry_failpoints"), used)) = name;                   \
    ::gantry::failpoint::any_armed ? ::gantry::failpoint::hit(gantry_failpoint_name_) \
                                   : ::gantry::Result<void>();                        \
  })
#define GANTRY_FAILPOINT(name) GANTRY_FAILPOINT_NAMED(name).ignore("kill and sleep only")
#define GANTRY_FAILPOINT_TRY(name) GANTRY_TRY(GANTRY_FAILPOINT_NAMED(name))
#define GANTRY_FAILPOINT_CO_TRY(name) GANTRY_CO_TRY(GANTRY_FAILPOINT_NAMED(name))
