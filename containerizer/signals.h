// Signal names as people and images write them: "TERM", "SIGTERM", "15", "RTMIN+3".
#pragma once

#include <string_view>

#include "base/result.h"

namespace gantry {
Result<int> parse_signal(std::string_view text);
}
