// Where a log is cut, and its files after a death between any two steps. Needs root: trusted
// attributes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>

#include "base/str.h"
#include "base/sys.h"
#include "launcher/logger/line_cut.h"
#include "launcher/logger/log_file.h"

namespace gantry::logger {
namespace {
struct Cut {
  std::string waiting;
  uint64_t size, limit;
  bool is_at_line_start;
  uint64_t expected;
};

uint64_t cut_of(const Cut& c, size_t piece) {
  LineEnds ends;
  ends.room = room_in(c.size, c.limit);
  for (size_t i = 0; i < c.waiting.size(); i += piece) {
    ends.look(c.waiting.data() + i, std::min(piece, c.waiting.size() - i));
  }
  return cut(ends, c.size, c.limit, c.is_at_line_start);
}

TEST(LineCut, TakesWholeLinesAsFarAsThereAreAny) {
  const std::string large(200'000, 'x');
  const Cut cases[] = {
      {"one\ntwo\nthree\n", 0, 9, true, 8},       // to the end of the last line that fits
      {"one\ntwo\n", 92, 100, false, 8},          // exactly full
      {"one\ntwo\n", 97, 100, true, 0},           // none fits: the next file
      {"one\ntwo\n", 97, 100, false, 4},          // a line that was begun is ended
      {"one\ntwo\n", 100, 100, true, 0},          // full
      {"e\ntwo\n", 100, 100, false, 2},           // full within a line
      {large, 0, 100, true, 100 + kMostBeyond},   // one long line, from its beginning
      {large, 90, 100, true, 0},                  // the same after others
      {large, 90, 100, false, 10 + kMostBeyond},  // the same, begun
      {large, 100 + kMostBeyond, 100, false, 0},  // cut there
      {"x" + large, 90 + kMostBeyond, 100, false, 10},
  };
  for (const Cut& c : cases) {
    for (const size_t piece : {size_t{1}, size_t{3}, c.waiting.size()}) {
      if (piece < 3 && c.waiting.size() > 1000) continue;
      EXPECT_EQ(cut_of(c, piece), c.expected)
          << c.waiting.substr(0, 20) << " in " << piece << ", " << c.size << " of " << c.limit;
    }
  }
}

// Lines of eight bytes, five in a file, three files kept.
constexpr uint64_t kLine = 8, kLimit = 5 * kLine, kTotal = 6 * kLimit + kLine;
constexpr uint32_t kFiles = 3;

std::string line_at(uint64_t position) {
  std::string number = cat(position / kLine);
  return std::string(kLine - 1 - number.size(), '0') + number + "\n";
}

// What a logger does, from where the files on disk say on.
int write_all(const char* path) {
  const int directory = open_directory(path);
  LogFile file, next;
  if (directory < 0 || open_log(directory, "stdout", 0, &file) != 0) return 1;
  for (uint64_t position = file.begin + file.size; position < kTotal; position += kLine) {
    if (file.size + kLine > kLimit) {
      if (rotate_log(directory, "stdout", kFiles, position, &next) != 0) return 2;
      close(file.fd);
      file = next;
    }
    const std::string line = line_at(position);
    if (pwrite(file.fd, line.data(), kLine, static_cast<off_t>(file.size)) != kLine) return 3;
    file.size += kLine;
  }
  return 0;
}

// Killed at its `stop`th look from outside, one before and one after every system call. False when
// it ended before.
bool write_and_die(const std::string& path, int stop) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    ::_exit(write_all(path.c_str()));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_EXITKILL);
  for (int i = 0; i < stop; ++i) {
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      return false;
    }
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  return true;
}

// By where they begin, as a reader finds them.
std::map<uint64_t, std::string> files_of(const std::string& path) {
  std::map<uint64_t, std::string> files;
  for (const char* name : {"stdout", "stdout.1", "stdout.2", "stdout.3"}) {
    auto text = sys::read_file(cat(path, "/", name));
    if (!text) continue;
    LogFile file;
    const int directory = open_directory(path.c_str());
    EXPECT_EQ(open_log(directory, name, 0, &file), 0);
    close(directory);
    close(file.fd);
    if (!text->empty()) files[file.begin] = *text;
  }
  return files;
}

uint64_t check(const std::string& path) {
  const auto files = files_of(path);
  if (files.empty()) return 0;
  uint64_t position = files.begin()->first, kept = 0;
  for (const auto& [begin, text] : files) {
    EXPECT_EQ(begin, position);
    for (uint64_t i = 0; i < text.size(); i += kLine, position += kLine) {
      EXPECT_EQ(text.substr(i, kLine), line_at(position));
    }
    kept += text.size();
  }
  EXPECT_GE(kept, std::min(position, (kFiles - 1) * kLimit)) << "no more than one file may go";
  return position;
}

TEST(LogRotation, ADeathAtAnySystemCallLosesNothing) {
  char place[] = "/tmp/gantry-rotation-XXXXXX";
  ASSERT_NE(::mkdtemp(place), nullptr);
  int stop = 1;
  for (bool is_killed = true; is_killed && !HasFailure(); ++stop) {
    const std::string path = cat(place, "/", stop);
    std::filesystem::create_directory(path);
    is_killed = write_and_die(path, stop);
    check(path);
    ASSERT_EQ(write_all(path.c_str()), 0);
    EXPECT_EQ(check(path), kTotal) << "killed at stop " << stop;
    EXPECT_EQ(files_of(path).size(), kFiles);
    EXPECT_FALSE(std::filesystem::exists(cat(path, "/.stdout.next")));
  }
  EXPECT_GT(stop, 100);
  std::filesystem::remove_all(place);
}

TEST(LogRotation, WhatIsNotOursIsLeftAlone) {
  char place[] = "/tmp/gantry-rotation-XXXXXX";
  ASSERT_NE(::mkdtemp(place), nullptr);
  const std::string canary = cat(place, "/canary"), log = cat(place, "/stdout");
  ASSERT_TRUE(sys::open(canary, O_CREAT | O_WRONLY, 0600));
  const int directory = open_directory(place);
  LogFile file;
  ASSERT_EQ(::symlink(canary.c_str(), log.c_str()), 0);
  EXPECT_EQ(open_log(directory, "stdout", 0, &file), -ELOOP);
  ::unlink(log.c_str());
  ASSERT_EQ(::link(canary.c_str(), log.c_str()), 0);
  EXPECT_EQ(open_log(directory, "stdout", 0, &file), -EINVAL);
  ::unlink(log.c_str());
  ASSERT_EQ(::mkfifo(log.c_str(), 0600), 0);
  EXPECT_EQ(open_log(directory, "stdout", 0, &file), -EINVAL);
  ::unlink(log.c_str());
  ASSERT_EQ(::chown(canary.c_str(), 1000, 1000), 0);
  EXPECT_EQ(open_log(directory, "canary", 0, &file), -EINVAL);
  close(directory);
  std::filesystem::remove_all(place);
}
}  // namespace
}  // namespace gantry::logger
