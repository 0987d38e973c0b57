#include "executor/cli/help.h"

#include <gtest/gtest.h>

#include <set>

#include "executor/cli/command.h"

namespace gantry::cli {
namespace {
TEST(Help, EveryCommandIsListedExplainedAndShown) {
  const std::string overview = overview_help();
  for (const CommandInfo& info : commands()) {
    if (info.hidden) continue;
    EXPECT_NE(overview.find(cat("\n  ", info.name, " ")), std::string::npos) << info.name;
    const std::string help = command_help(info);
    EXPECT_TRUE(help.starts_with(cat("Usage: gantry ", info.name))) << info.name;
    EXPECT_NE(help.find("\nExamples:\n"), std::string::npos) << info.name;
    EXPECT_FALSE(info.summary.ends_with('.')) << info.name;
  }
}

TEST(Help, NoFlagIsDeclaredTwice) {
  for (const CommandInfo& info : commands()) {
    Flags flags;
    const auto command = info.make();
    command->declare(flags);
    std::set<std::string_view> names = {"socket", "runtime-dir", "here", "json", "help"};
    std::set<char> letters = {'h'};
    for (const Flag& flag : flags.all()) {
      EXPECT_TRUE(names.insert(flag.name).second) << info.name << " --" << flag.name;
      if (flag.letter != 0) {
        EXPECT_TRUE(letters.insert(flag.letter).second) << info.name << " -" << flag.letter;
      }
    }
  }
}

TEST(Help, NoLineIsTooWide) {
  for (const CommandInfo& info : commands()) {
    const std::string help = command_help(info);
    for (size_t from = 0; from < help.size();) {
      const size_t end = std::min(help.find('\n', from), help.size());
      EXPECT_LE(end - from, 110u) << help.substr(from, end - from);
      from = end + 1;
    }
  }
}
}  // namespace
}  // namespace gantry::cli
