#include "executor/cli/print.h"

#include <gtest/gtest.h>

#include <csignal>

namespace gantry::cli {
namespace {
TEST(Print, SizesBothWays) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(64.0 * 1024 * 1024), "64.0 MiB");
  for (const auto& [text, bytes] :
       std::vector<std::pair<std::string, uint64_t>>{{"0", 0},
                                                     {"4096", 4096},
                                                     {"1k", 1024},
                                                     {"64m", 64u << 20},
                                                     {"64M", 64u << 20},
                                                     {"64MiB", 64u << 20},
                                                     {"64mb", 64u << 20},
                                                     {"1.5g", 3ull << 29},
                                                     {"2T", 2ull << 40}}) {
    EXPECT_EQ(parse_bytes("--memory", text).value_or(uint64_t{99}), bytes) << text;
  }
  for (const char* text : {"", "m", "-1", "1x", "1mx", "1e400g", "nan", "0x10", "99999999t"}) {
    EXPECT_FALSE(parse_bytes("--memory", text)) << text;
  }
}

TEST(Print, TimesAndAges) {
  EXPECT_EQ(parse_seconds("--since", "10").value_or(0), 10);
  EXPECT_EQ(parse_seconds("--since", "500ms").value_or(0), 0.5);
  EXPECT_EQ(parse_seconds("--since", "2m").value_or(0), 120);
  EXPECT_FALSE(parse_seconds("--since", "2 parsecs"));
  EXPECT_EQ(format_age(0.2), "less than a second");
  EXPECT_EQ(format_age(1), "1 second");
  EXPECT_EQ(format_age(7300), "2 hours");
}

TEST(Print, ATableFitsItsTerminal) {
  Table table({"ID", "NAME", "COMMAND"});
  table.add({"0123456789ab", "a-name-of-some-length", "sh -c 'while :; do sleep 1; done'"});
  EXPECT_EQ(table.format(0),
            "ID            NAME                   COMMAND\n"
            "0123456789ab  a-name-of-some-length  sh -c 'while :; do sleep 1; done'\n");
  EXPECT_EQ(table.format(200), table.format(0));
  EXPECT_EQ(table.format(40),
            "ID            NAME          COMMAND\n"
            "0123456789ab  a-name-of-s…  sh -c 'whil…\n");
  EXPECT_EQ(table.format(20),
            "ID: 0123456789ab\n"
            "NAME: a-name-of-some-length\n"
            "COMMAND: sh -c 'while :; do sleep 1; done'\n");
}

TEST(Print, OnlyColumnsThatMayBeCutAreCut) {
  Table table({"ID", "COMMAND", "STATE"}, std::vector<std::string_view>{"COMMAND"});
  table.add({"0123456789ab", "sh -c 'exec sleep 1000'", "running for 5 minutes (unhealthy)"});
  EXPECT_EQ(table.format(57),
            "ID            COMMAND   STATE\n"
            "0123456789ab  sh -c '…  running for 5 minutes (unhealthy)\n");
  EXPECT_EQ(table.format(56),
            "ID: 0123456789ab\n"
            "COMMAND: sh -c 'exec sleep 1000'\n"
            "STATE: running for 5 minutes (unhealthy)\n");
  Table gaps({"ID", "PORTS", "NAME"});
  gaps.add({"0123456789ab", "", "web"});
  EXPECT_EQ(gaps.format(25), "ID            PORTS  NAME\n0123456789ab         web\n");
  EXPECT_EQ(gaps.format(24), "ID            NAME\n0123456789ab  web\n");
  Table numbers({"ID", "MEMORY"}, std::vector<std::string_view>{});
  numbers.add({"web", "1.00 MiB / 64.0 MiB"});
  EXPECT_EQ(numbers.format(23), "ID: web\nMEMORY: 1.00 MiB / 64.0 MiB\n");
}

TEST(Print, SignalsByNameAndNumber) {
  EXPECT_EQ(parse_signal("TERM").value_or(0), SIGTERM);
  EXPECT_EQ(parse_signal("sigkill").value_or(0), SIGKILL);
  EXPECT_EQ(parse_signal("15").value_or(0), 15);
  EXPECT_EQ(parse_signal("RTMIN+2").value_or(0), SIGRTMIN + 2);
  for (const char* text : {"", "0", "65", "-1", "SIGNOPE", "9x"}) {
    EXPECT_FALSE(parse_signal(text)) << text;
  }
  EXPECT_EQ(signal_name(9), "SIGKILL");
}

TEST(Print, OnlyMadeUpIdsAreShortened) {
  EXPECT_EQ(short_id("0123456789abcdef0123456789abcdef"), "0123456789ab");
  EXPECT_EQ(short_id("my-very-long-container-id"), "my-very-long-container-id");
}

TEST(Print, OneLineHasNoControlCharacters) {
  EXPECT_EQ(one_line("sh -c 'a\nb\033[31m'", 40), "sh -c 'a b [31m'");
  EXPECT_EQ(one_line("abcdef", 4), "abc…");
}
}  // namespace
}  // namespace gantry::cli
