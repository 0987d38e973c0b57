#include "containerizer/container.h"

namespace gantry {
void Container::transition(ContainerState to) {
  GANTRY_CHECK(is_legal(state_, to));
  state_ = to;
  changed.notify();
}
}  // namespace gantry
