// The cgroups between ROOT/parents and the containers that share them (`--cgroup-parent NAME`):
//
//   ROOT/parents/NAME[/NAME…]   for whoever sets limits that hold for all below
//   ROOT/parents/NAME/@ID       a container; no parent's name has an '@'
//
// One that a launch found missing is made with the sticky bit, which mkdir(2) sets with it: dying
// at any moment leaves none without. It goes when nothing is in it any more; those without the bit
// are somebody else's, with the limits they set, and stay.
//
// Paths are relative to ROOT's descriptor. Threads: any.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace gantry::cgroup_parents {
Result<void> ensure(int root_fd, const std::string& path);
// Does nothing where it is not ours, or others are in it.
void remove_unused(int root_fd, const std::string& path);

struct Found {
  std::vector<std::string> parents;  // those above others first
  std::vector<std::string> containers;
};
Result<Found> find(int root_fd);
}  // namespace gantry::cgroup_parents
