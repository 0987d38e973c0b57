#include "executor/cli/flags.h"

#include <gtest/gtest.h>

namespace gantry::cli {
namespace {
struct Options {
  bool detach = false, interactive = false;
  std::string name;
  std::optional<std::string> entrypoint;
  std::vector<std::string> env;
};

Flags declare(Options& options) {
  Flags flags;
  flags.toggle('d', "detach", &options.detach, "");
  flags.toggle('i', "interactive", &options.interactive, "");
  flags.add(0, "name", "NAME", &options.name, "");
  flags.add(0, "entrypoint", "PROGRAM", &options.entrypoint, "");
  flags.add('e', "env", "NAME=VALUE", &options.env, "");
  return flags;
}

using Words = std::vector<std::string>;

TEST(Flags, EverySpellingOfAValue) {
  Options options;
  const Flags flags = declare(options);
  const auto rest = flags.parse(
      {"--name", "web", "-e", "A=1", "-eB=2", "-e=C=3", "--env=D=4", "--env", "E=", "x"});
  ASSERT_TRUE(rest);
  EXPECT_EQ(*rest, Words{"x"});
  EXPECT_EQ(options.name, "web");
  EXPECT_EQ(options.env, (Words{"A=1", "B=2", "C=3", "D=4", "E="}));
}

TEST(Flags, TheValueOfSomeMayBeAbsent) {
  std::optional<std::string> file;
  Flags flags;
  flags.add(0, "bundle", "[FILE]", &file, "");
  EXPECT_EQ(flags.parse({"--bundle", "x"}).value(), Words{"x"});
  EXPECT_EQ(file, "");
  EXPECT_TRUE(flags.parse({"--bundle=x"}).value().empty());
  EXPECT_EQ(file, "x");
}

TEST(Flags, SwitchesJoinAndTakeABoolean) {
  Options options;
  const Flags flags = declare(options);
  ASSERT_TRUE(flags.parse({"-di", "--detach=false"}));
  EXPECT_FALSE(options.detach);
  EXPECT_TRUE(options.interactive);
  EXPECT_FALSE(flags.parse({"--detach=perhaps"}));
}

TEST(Flags, TheContainersOwnFlagsAreNotOurs) {
  Options options;
  Flags flags = declare(options);
  flags.stop_at_first_argument();
  const auto rest = flags.parse({"-d", "image", "ls", "-d", "--name", "--", "x"});
  ASSERT_TRUE(rest);
  EXPECT_EQ(*rest, (Words{"image", "ls", "-d", "--name", "--", "x"}));
  EXPECT_TRUE(options.name.empty());
}

TEST(Flags, TwoDashesEndTheFlags) {
  Options options;
  const auto rest = declare(options).parse({"--", "-d", "--name"});
  ASSERT_TRUE(rest);
  EXPECT_EQ(*rest, (Words{"-d", "--name"}));
}

TEST(Flags, EmptyIsNotTheSameAsAbsent) {
  Options options;
  const Flags flags = declare(options);
  ASSERT_TRUE(flags.parse({}));
  EXPECT_FALSE(options.entrypoint.has_value());
  ASSERT_TRUE(flags.parse({"--entrypoint", ""}));
  EXPECT_EQ(options.entrypoint, "");
}

TEST(Flags, MistakesAreNamed) {
  Options options;
  const Flags flags = declare(options);
  const auto message = [&](const Words& words) {
    const auto result = flags.parse(words);
    return result ? std::string("parsed") : result.error().to_string();
  };
  EXPECT_EQ(message({"--nmae", "x"}), "unknown flag --nmae (did you mean --name?)");
  EXPECT_EQ(message({"--zzzzzz"}), "unknown flag --zzzzzz");
  EXPECT_EQ(message({"--name"}), "--name needs a value: NAME");
  EXPECT_EQ(message({"-e"}), "-e needs a value: NAME=VALUE");
  EXPECT_EQ(message({"-dx"}), "unknown flag -x in -dx");
  EXPECT_EQ(message({"--name", "a", "--name=b"}),
            "--name is given twice, as \"a\" and as \"b\": give one of them");
  EXPECT_EQ(message({"--name", "a", "--name", "a"}), "parsed");
}

TEST(Flags, ForeignOnesThatAskForWhatIsAlwaysSoAreTaken) {
  static constexpr ForeignFlag kForeign[] = {{"v", {}, "always so", "true"},
                                             {"volumes", {}, "always so", "true"},
                                             {"platform", {}, "this one", "linux/amd64"}};
  Options options;
  Flags flags = declare(options);
  flags.know_foreign(kForeign);
  const auto message = [&](const Words& words) {
    const auto result = flags.parse(words);
    return result ? std::string("parsed") : result.error().to_string();
  };
  EXPECT_EQ(message({"-v", "--volumes", "--volumes=true", "-dv", "-vd"}), "parsed");
  EXPECT_EQ(message({"--platform", "linux/amd64", "--platform=linux/amd64"}), "parsed");
  EXPECT_EQ(message({"--volumes=false"}), "there is no --volumes here: always so");
  EXPECT_EQ(message({"--platform", "linux/arm"}), "there is no --platform here: this one");
}

TEST(Flags, UnknownOnesPassOnWhereWanted) {
  Options options;
  Flags flags = declare(options);
  flags.pass_unknown();
  const auto rest = flags.parse({"--data-dir", "/x", "--name", "n", "-q"});
  ASSERT_TRUE(rest);
  EXPECT_EQ(*rest, (Words{"--data-dir", "/x", "-q"}));
  EXPECT_EQ(options.name, "n");
}

TEST(Nearest, NearWordsOnly) {
  EXPECT_EQ(nearest("inspcet", {"images", "inspect"}), "inspect");
  EXPECT_EQ(nearest("insp", {"images", "inspect"}), "inspect");
  EXPECT_EQ(nearest("psx", {"ps", "rm"}), "ps");
  EXPECT_EQ(nearest("quux", {"images", "inspect"}), "");
}
}  // namespace
}  // namespace gantry::cli
