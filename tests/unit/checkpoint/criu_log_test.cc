// CRIU's log as one sentence for people.
#include "checkpoint/criu_log.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
TEST(CriuLog, TheFirstRealErrorIsTheReason) {
  EXPECT_EQ(explain_criu_log("(00.1) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for "
                             "self: Operation not permitted\n"
                             "(00.2) Warn  (criu/x.c:2): never mind\n"
                             "(00.3) Error (criu/y.c:3): Cannot do this\n"
                             "(00.4) Error (criu/cr-dump.c:4): Dumping FAILED.\n"),
            "criu: Cannot do this");
}

TEST(CriuLog, WhatPeopleCanDoSomethingAboutIsSaid) {
  std::string text = explain_criu_log(
      "(00.3) Error (criu/sk-inet.c:188): inet: Connected TCP socket, consider using "
      "--tcp-established option.\n");
  EXPECT_TRUE(text.starts_with("an established TCP connection is open"));
  text = explain_criu_log(
      "(00.3) Error (criu/bfd.c:1): Something first\n"
      "(00.4) Error (criu/image.c:2): Can't write: No space left on device\n");
  EXPECT_TRUE(text.starts_with("the disk is full"));
}

TEST(CriuLog, NothingIsNoReason) {
  for (const char* log : {"", "\n\n", "(00.1) fine\n", "Error", "Error ("}) {
    EXPECT_FALSE(explain_criu_log(log).empty());
    EXPECT_EQ(criu_log_tail(log, 0), "");
  }
  EXPECT_EQ(explain_criu_log(""), "criu gave no reason");
}

TEST(CriuLog, TheTailIsTheLastErrors) {
  constexpr char kLog[] =
      "(1) Error (a.c:1): one\n(2) Error (b.c:2): two\n(3) well\n(4) Error (c.c:3): three\n";
  EXPECT_EQ(criu_log_tail(kLog, 2), "two; three");
  EXPECT_EQ(criu_log_tail(kLog, 9), "one; two; three");
}
}  // namespace
}  // namespace gantry
