#include "api/types/container_state.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
using S = ContainerState;
const S kAll[] = {S::creating,      S::created,    S::provisioning, S::preparing,
                  S::launching,     S::restoring,  S::running,      S::paused,
                  S::checkpointing, S::destroying, S::exited,       S::removed};

TEST(ContainerState, NamesRoundTrip) {
  for (S state : kAll) EXPECT_EQ(*parse_container_state(to_string(state)), state);
  EXPECT_FALSE(parse_container_state("zombie"));
}
TEST(ContainerState, EveryLiveStateCanBeDestroyedAndOnlyEndedOnesRemoved) {
  for (S state : kAll) {
    bool ends =
        state == S::exited || state == S::removed || state == S::created || state == S::destroying;
    EXPECT_EQ(is_legal(state, S::destroying), !ends) << to_string(state);
    EXPECT_EQ(is_legal(state, S::removed), state == S::exited || state == S::created)
        << to_string(state);
    EXPECT_FALSE(is_legal(S::removed, state));
    EXPECT_FALSE(is_legal(state, state));
  }
}
TEST(ContainerState, ALaunchCannotSkipItsSteps) {
  EXPECT_FALSE(is_legal(S::creating, S::running));
  EXPECT_FALSE(is_legal(S::provisioning, S::launching));
  EXPECT_FALSE(is_legal(S::exited, S::running));
  EXPECT_TRUE(is_legal(S::exited, S::creating));
  EXPECT_TRUE(is_legal(S::provisioning, S::created));
  EXPECT_TRUE(is_legal(S::created, S::creating));
  EXPECT_TRUE(is_legal(S::launching, S::preparing));
  EXPECT_FALSE(is_legal(S::running, S::preparing));
}
}  // namespace
}  // namespace gantry
