#include "containerizer/refusals.h"

namespace gantry {
namespace {
// What `gantry ps` shows of an id.
constexpr size_t kShortId = 12;
}  // namespace

Result<void> require_kept(const Container& container) {
  if (!container.removing) return {};
  return Error(Errc::busy, cat("container '", container.id.to_string(), "' is being removed"));
}

Result<void> require_startable(const Container& container) {
  GANTRY_TRY(require_kept(container));
  const bool is_at_rest =
      container.state() == ContainerState::exited || container.state() == ContainerState::created;
  if (!container.parent && is_at_rest) return {};
  return Error(Errc::busy,
               cat("container '", container.id.to_string(), "' is ", to_string(container.state()),
                   ", only a created or an exited one can be started"));
}

Result<void> require_no_id(const std::vector<std::shared_ptr<Container>>& all,
                           std::string_view name, const ContainerId& own) {
  for (const auto& other : all) {
    const std::string& id = other->id.value();
    const bool is_meant = name.size() >= kShortId ? id.starts_with(name) : id == name;
    if (!is_meant || other->id == own || other->parent) continue;
    return Error(Errc::conflict, cat("name: '", name, "' is what container ", id,
                                     " is called by; choose another one"));
  }
  return {};
}
}  // namespace gantry
