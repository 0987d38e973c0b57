// What a task may do: read from /proc/PID/status, and compared before a restored one may run.
#include "checkpoint/task_state.h"

#include <gtest/gtest.h>
#include <linux/capability.h>

namespace gantry {
namespace {
constexpr char kStatus[] =
    "Name:\tsh\nPPid:\t12\nUid:\t1000\t1000\t1000\t1000\nGid:\t5\t5\t5\t5\nGroups:\t5 7 \n"
    "NSpid:\t4711\t3\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000400\n"
    "CapEff:\t0000000000000400\nCapBnd:\t00000000800405fb\nCapAmb:\t0000000000000000\n"
    "NoNewPrivs:\t1\nSeccomp:\t2\n";

TEST(TaskStatus, IsReadWithThePidOfItsOwnNamespace) {
  Result<TaskState> state = parse_task_status(kStatus);
  ASSERT_TRUE(state) << state.error().to_string();
  EXPECT_EQ(state->pid, 3);
  EXPECT_EQ(state->parent, 12);
  EXPECT_EQ(state->uids, "1000 1000 1000 1000");
  EXPECT_EQ(state->gids, "5 5 5 5");
  EXPECT_EQ(state->groups, "5 7");
  EXPECT_EQ(state->effective, 0x400u);
  EXPECT_EQ(state->bounding, 0x800405fbu);
  EXPECT_TRUE(state->no_new_privileges);
  EXPECT_EQ(state->seccomp, 2);
}

TEST(TaskStatus, AZombieIsOne) {
  EXPECT_FALSE(parse_task_status(kStatus)->is_zombie);
  EXPECT_TRUE(parse_task_status(cat("State:\tZ (zombie)\n", kStatus))->is_zombie);
  EXPECT_FALSE(parse_task_status(cat("State:\tS (sleeping)\n", kStatus))->is_zombie);
}

TEST(TaskStatus, EveryMissingFieldIsNamed) {
  for (const char* name : {"NSpid", "PPid", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff",
                           "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"}) {
    std::string text = kStatus;
    size_t at = text.find(cat(name, ":"));
    text.replace(at, 1, "x");
    Result<TaskState> state = parse_task_status(text);
    ASSERT_FALSE(state) << name;
    EXPECT_NE(state.error().to_string().find(name), std::string::npos);
  }
}

TEST(TaskStatus, OurOwnIsReadable) { EXPECT_TRUE(read_task_state(::getpid())); }

// A root container with the default rights, and one of a plain user.
class CheckTask : public ::testing::Test {
 protected:
  CheckTask() {
    root_task.pid = user_task.pid = 1;
    root_task.uids = root_task.gids = "0 0 0 0";
    root_task.permitted = root_task.effective = root_task.bounding = security.capabilities.bounding;
    user_task.uids = "1000 1000 1000 1000";
    user_task.gids = "100 100 100 100";
    user_task.bounding = security.capabilities.bounding;
    for (TaskState* task : {&root_task, &user_task}) {
      task->no_new_privileges = true;
      task->seccomp = 2;
    }
    user.uid = 1000;
    user.gid = 100;
  }
  bool refused(const TaskState& restored, const TaskState& dumped, const Credentials& who) {
    return !check_task(restored, {dumped}, security, who);
  }
  SecuritySpec security;  // the default
  Credentials root, user;
  TaskState root_task, user_task;
};

TEST_F(CheckTask, TheSameIsAllowedAndLessToo) {
  EXPECT_FALSE(refused(root_task, root_task, root));
  EXPECT_FALSE(refused(user_task, user_task, user));
  TaskState less = root_task;
  less.permitted = less.effective = less.bounding = 0;
  EXPECT_FALSE(refused(less, root_task, root));
}

TEST_F(CheckTask, ATaskThatWasNotThereIsRefused) {
  TaskState other = root_task;
  other.pid = 2;
  EXPECT_TRUE(refused(other, root_task, root));
}

TEST_F(CheckTask, AnythingThatTheDumpedTaskHadNotIsRefused) {
  for (uint64_t TaskState::* set :
       {&TaskState::effective, &TaskState::permitted, &TaskState::inheritable, &TaskState::bounding,
        &TaskState::ambient}) {
    TaskState more = root_task;
    more.*set |= 1u << CAP_SYS_MODULE;
    EXPECT_TRUE(refused(more, root_task, root));
  }
  for (std::string TaskState::* ids : {&TaskState::uids, &TaskState::gids, &TaskState::groups}) {
    TaskState other = root_task;
    other.*ids = "7 7 7 7";
    EXPECT_TRUE(refused(other, root_task, root));
  }
  TaskState free = root_task;
  free.no_new_privileges = false;
  EXPECT_TRUE(refused(free, root_task, root));
  TaskState unfiltered = root_task;
  unfiltered.seccomp = 0;
  EXPECT_TRUE(refused(unfiltered, root_task, root));
}

// The record says the same as the forged images.
TEST_F(CheckTask, WhatTheRequestDoesNotAllowIsRefusedThoughTheRecordSaysIt) {
  for (uint64_t TaskState::* set :
       {&TaskState::effective, &TaskState::permitted, &TaskState::inheritable, &TaskState::bounding,
        &TaskState::ambient}) {
    TaskState more = root_task;
    more.*set |= 1u << CAP_SYS_MODULE;
    EXPECT_TRUE(refused(more, more, root));
  }
  TaskState free = root_task;
  free.no_new_privileges = false;
  EXPECT_TRUE(refused(free, free, root));
  TaskState unfiltered = root_task;
  unfiltered.seccomp = 0;
  EXPECT_TRUE(refused(unfiltered, unfiltered, root));
  security.seccomp.mode = SeccompSpec::Mode::unconfined;
  EXPECT_FALSE(refused(unfiltered, unfiltered, root));
}

TEST_F(CheckTask, AUserWhoCannotBecomeAnotherIsNotRestoredAsOne) {
  TaskState other = user_task;
  other.uids = "0 0 0 0";
  EXPECT_TRUE(refused(other, other, user));
  other = user_task;
  other.gids = "100 0 100 100";
  EXPECT_TRUE(refused(other, other, user));
  TaskState mighty = user_task;
  mighty.permitted = mighty.effective = 1u << CAP_SETUID;
  EXPECT_TRUE(refused(mighty, mighty, user));
}

TEST_F(CheckTask, AUserWhoCanBecomeAnotherMayHaveDone) {
  TaskState other = user_task;
  other.uids = "33 33 33 33";
  EXPECT_FALSE(refused(other, other, root));  // root has CAP_SETUID
  security.no_new_privileges = false;         // a set-uid program
  EXPECT_FALSE(refused(other, other, user));
  security.no_new_privileges = true;
  security.capabilities.ambient = 1u << CAP_SETUID;
  EXPECT_FALSE(refused(other, other, user));
}
}  // namespace
}  // namespace gantry
