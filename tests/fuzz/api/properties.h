// What must hold for every message that was accepted. A failed one aborts, for the fuzzer to see.
#pragma once

#include "api/wire/json.h"
#include "api/wire/parse.h"
#include "base/result.h"

namespace gantry::fuzz {
// Printing is stable: once printed and read, it prints the same.
template <class M>
void check_prints(const M& message) {
  const std::string once = wire::to_json(message);
  M again;
  // Names of unknown containers and the like are data, but text that is no UTF-8 is replaced, and
  // two map keys may become the same by that.
  if (!wire::from_json(once, again)) return;
  M third;
  GANTRY_CHECK(wire::from_json(wire::to_json(again), third));
  GANTRY_CHECK(wire::to_json(third) == wire::to_json(again));
}

inline void check_launch(const wire::agent::Call::LaunchContainer& launch) {
  const auto spec = wire::parse_launch(wire::Field("launch_container"), launch);
  if (!spec) {
    GANTRY_CHECK(!spec.error().to_string().empty());
    return;
  }
  GANTRY_CHECK(wire::parse_request_bytes(spec->request_bytes));
  const ContainerId id = ContainerId::parse("c").value();
  const auto said = wire::to_launch(id, *spec);
  const auto again = wire::parse_launch(wire::Field("again"), said);
  GANTRY_CHECK(again);
  GANTRY_CHECK(wire::to_json(wire::to_launch(id, *again)) == wire::to_json(said));
}

inline void check_call(const wire::agent::Call& call) {
  check_prints(call);
  if (call.has_launch_container()) check_launch(call.launch_container());
  if (call.has_gantry_run()) check_launch(call.gantry_run().launch());
  if (call.has_wait_container()) {
    const wire::Field field("wait_container");
    const auto id = wire::parse_container_id(field, call.wait_container().container_id());
    if (id)
      GANTRY_CHECK(wire::to_wire(*id).value() == call.wait_container().container_id().value());
  }
}
}  // namespace gantry::fuzz
