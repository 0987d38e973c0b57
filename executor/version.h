// The product's version, once.
#pragma once

namespace gantry {
inline constexpr const char* kVersion = "0.1.0";
}
