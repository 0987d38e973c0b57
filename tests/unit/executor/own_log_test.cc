#include "executor/own_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace gantry {
namespace {
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class OwnLogTest : public ::testing::Test {
 protected:
  OwnLogTest() {
    std::string name = "/tmp/gantry-own-log-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    top_ = name;
    FLAGS_stderrthreshold = google::FATAL;
    for (auto severity : {google::INFO, google::WARNING, google::ERROR}) {
      google::SetLogDestination(severity, "");
    }
  }
  ~OwnLogTest() override {
    log_.reset();
    std::filesystem::remove_all(top_);
  }
  void open(uint64_t max_size = 0, int max_files = 1) {
    auto log = OwnLog::open({file(), {max_size, max_files}});
    ASSERT_TRUE(log) << log.error().to_string();
    log_ = std::move(log).value();
  }
  std::string file() const { return top_ + "/log"; }
  static std::vector<std::string> lines(const std::string& path) {
    std::ifstream in(path);
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
  }

  std::string top_;
  std::unique_ptr<OwnLog> log_;
};

TEST_F(OwnLogTest, WhatIsSaidAgainIsCountedAndSaidOnceMore) {
  open();
  int woken = 0;
  log_->on_counted([&] { ++woken; });
  for (int i = 0; i < 58; ++i) LOG(WARNING) << "the disk is full";
  LOG(WARNING) << "another";
  EXPECT_THAT(lines(file()), SizeIs(2));
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE(log_->say_repeated(OwnLog::Which::due));  // not yet
  EXPECT_THAT(lines(file()), SizeIs(2));
  log_->say_repeated(OwnLog::Which::all);
  ASSERT_THAT(lines(file()), SizeIs(3));
  EXPECT_THAT(lines(file())[2], EndsWith("the disk is full … repeated 57 times"));
  EXPECT_EQ(lines(file())[2][0], 'W');
  log_->say_repeated(OwnLog::Which::all);
  EXPECT_THAT(lines(file()), SizeIs(3));
}

TEST_F(OwnLogTest, WhatWasCountedIsSaidAtTheEnd) {
  open();
  LOG(INFO) << "twice";
  LOG(INFO) << "twice";
  log_.reset();
  ASSERT_THAT(lines(file()), SizeIs(2));
  EXPECT_THAT(lines(file())[1], EndsWith("twice … once more"));
}

TEST_F(OwnLogTest, NobodyElseBeginsALine) {
  open();
  LOG(INFO) << "a name: x\nI1128 forged\r\x1b[2J\x7f\tend";
  ASSERT_THAT(lines(file()), SizeIs(1));
  EXPECT_THAT(lines(file())[0], EndsWith("a name: x\\nI1128 forged\\x0d\\x1b[2J\\x7f\\x09end"));
}

TEST_F(OwnLogTest, ItGoesOnInANewFileAndKeepsSoMany) {
  open(1000, 3);
  for (int i = 0; i < 100; ++i) LOG(INFO) << "line " << i;
  for (const std::string& name : {file(), file() + ".1", file() + ".2"}) {
    EXPECT_LE(std::filesystem::file_size(name), 1000u);
    EXPECT_GT(lines(name).size(), 0u);
  }
  EXPECT_FALSE(std::filesystem::exists(file() + ".3"));
  EXPECT_THAT(lines(file()).back(), EndsWith("line 99"));
  log_.reset();
  open(1000, 1);
  for (int i = 0; i < 100; ++i) LOG(INFO) << "more " << i;
  EXPECT_LE(std::filesystem::file_size(file()), 1000u);
}

TEST_F(OwnLogTest, NoLineIsGluedToAPartOfOne) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  ::fcntl(ends[1], F_SETPIPE_SZ, 8192);
  const int saved = ::dup(STDERR_FILENO);
  RotatingFile out("", {}, [](uint64_t lines) { return cat(lines, " lost\n"); });
  ::dup2(ends[1], STDERR_FILENO);
  const std::string part = std::string(10000, 'x') + "\n";
  const int error = out.write_line(part);
  std::string text(20000, '\0');
  const ssize_t taken = ::read(ends[0], text.data(), text.size());
  const int again = out.write_line("next\n");
  const ssize_t rest = ::read(ends[0], text.data(), text.size());
  ::dup2(saved, STDERR_FILENO);
  for (const int fd : {ends[0], ends[1], saved}) ::close(fd);
  EXPECT_EQ(error, ENOSPC);
  EXPECT_EQ(taken, 8192);
  EXPECT_EQ(again, 0);
  EXPECT_EQ(text.substr(0, static_cast<size_t>(rest)), "\n1 lost\nnext\n");
}

TEST_F(OwnLogTest, WhatAFullDiskDoesNotTakeIsLostAndCounted) {
  if (::mount("gantry-test", top_.c_str(), "tmpfs", 0, "size=16k") != 0) {
    GTEST_SKIP() << "needs root";
  }
  open();
  LOG(INFO) << "before" << std::string(100, '.');
  std::ofstream(top_ + "/ballast") << std::string(64u << 10, 'x');
  for (int i = 0; i < 200; ++i) LOG(INFO) << "line " << i << std::string(100, '.');
  std::filesystem::remove(top_ + "/ballast");
  LOG(INFO) << "room again";
  const auto said = lines(file());
  // Each is whole.
  for (size_t i = 0; i + 2 < said.size(); ++i)
    EXPECT_THAT(said[i], EndsWith(std::string(100, '.')));
  ASSERT_GE(said.size(), 2u);
  EXPECT_THAT(said[said.size() - 2], HasSubstr("lines could not be written here"));
  EXPECT_THAT(said.back(), EndsWith("room again"));
  log_.reset();
  ::umount2(top_.c_str(), MNT_DETACH);
}
}  // namespace
}  // namespace gantry
