// What the executor and its clients know of each other before they talk.
#pragma once

namespace gantry {
inline constexpr const char* kVersion = "0.1.0";
// gantry-executor's exit status where another one serves the runtime directory already.
inline constexpr int kAnotherServes = 3;
// The same, and `gantry`'s, where flags or settings are wrong.
inline constexpr int kWrongSettings = 125;
}  // namespace gantry
