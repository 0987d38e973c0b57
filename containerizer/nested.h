// Nested containers: launched in another one, whose namespaces, root, limits and walls they share
// (docs/adr/0015).
#pragma once

#include "containerizer/container.h"

namespace gantry {
// What a nested container is, given what was asked for and what its parent is: a command, its
// streams and its life are its own; environment, directory and user are its parent's unless asked
// otherwise; all else is its parent's.
ContainerSpec nested_spec(ContainerSpec asked, const ContainerSpec& parent);

// The top-level container that it is in; itself when it is one.
const Container& outermost(const Container& container);
}  // namespace gantry
