// What happens to containers, for whoever wants to be told.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gantry {
class Container;

using EventAttributes = std::vector<std::pair<std::string, std::string>>;

// Called on the loop when it has happened; must not wait. Actions are docker's words: create,
// start, die, kill, stop, pause, unpause, oom, health_status, rename, update, checkpoint, restore,
// destroy; of a nested container exec_create, exec_start, exec_die.
using ContainerObserver = std::function<void(const Container& container, std::string_view action,
                                             EventAttributes attributes)>;
}  // namespace gantry
