// The states of a container and the one table of legal edges (architecture §3).
#pragma once

#include <string_view>

#include "base/result.h"

namespace gantry {
//   Created ──start──▶ Creating ◀──start/restart────────────────── Exited ──▶ Removed
//      ▲                   │                                          ▲
//      └───────────── Provisioning                                    │
//                          │                                          │
//                          ▼                                          │
//                      Preparing ─▶ Launching ─▶ Running ⇄ Paused     │
//   Restoring ────────────────────────────────▶ Running ⇄ Checkpointing
//   every state that owns kernel objects ──▶ Destroying ──────────────┘
enum class ContainerState {
  creating,      // the record is written, nothing else
  created,       // `gantry create`: its files are there, no kernel objects yet
  provisioning,  // image and sandbox
  preparing,     // isolators, cgroups, plan
  launching,     // cloned, not yet exec'd
  restoring,     // CRIU is making it
  running,
  paused,
  checkpointing,
  destroying,
  exited,   // kernel objects gone; record, logs and writable layer kept
  removed,  // gone; never stored
};
std::string_view to_string(ContainerState state);
Result<ContainerState> parse_container_state(std::string_view text);
bool is_legal(ContainerState from, ContainerState to);
// The states in which a process of the container may exist.
bool is_live(ContainerState state);
}  // namespace gantry
