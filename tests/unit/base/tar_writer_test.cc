#include "base/tar_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "base/path_at.h"
#include "base/sys.h"

namespace gantry {
namespace {
class TarWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/gantry-tar-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    ASSERT_EQ(::mkdir((base_ + "/in").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir((base_ + "/out").c_str(), 0755), 0);
  }
  void TearDown() override { ASSERT_TRUE(remove_tree_at(AT_FDCWD, base_)); }
  void write_file(const std::string& name, std::string_view bytes) {
    auto fd = sys::open(base_ + "/in/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_TRUE(fd);
    ASSERT_TRUE(sys::write_all(fd->get(), bytes));
  }
  Result<void> write_tar(const TarWriter::Sink& sink, TarWriter::Options options = {}) {
    const UniqueFd directory = GANTRY_TRY(sys::open(base_ + "/in", O_RDONLY | O_DIRECTORY));
    TarWriter tar(sink, std::move(options));
    GANTRY_TRY(tar.add_contents(directory.get(), ""));
    return tar.finish();
  }
  // GNU tar unpacks what we wrote: a reader that is not ours.
  void round_trip(TarWriter::Options options = {}) {
    auto archive = sys::open(base_ + "/x.tar", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_TRUE(archive);
    const auto written =
        write_tar([&](std::string_view bytes) { return sys::write_all(archive->get(), bytes); },
                  std::move(options));
    ASSERT_TRUE(written) << written.error().to_string();
    const std::string command =
        cat("tar --xattrs --xattrs-include='*' -C ", base_, "/out -xpf ", base_, "/x.tar");
    ASSERT_EQ(::system(command.c_str()), 0);
  }
  struct ::stat look(const std::string& name) {
    struct ::stat status = {};
    EXPECT_EQ(::lstat((base_ + "/out/" + name).c_str(), &status), 0) << name;
    return status;
  }
  std::string base_;
};

TEST_F(TarWriterTest, GnuTarReadsIt) {
  const std::string long_name(180, 'n');
  write_file("plain", "hello\n");
  write_file(long_name, "x");
  write_file("odd\nname", "x");
  write_file("large", std::string(700'000, 'z'));
  ASSERT_EQ(::chmod((base_ + "/in/plain").c_str(), 04751), 0);
  const timespec times[2] = {{1, 2}, {-5, 7}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (base_ + "/in/plain").c_str(), times, 0), 0);
  ASSERT_EQ(::link((base_ + "/in/plain").c_str(), (base_ + "/in/second").c_str()), 0);
  ASSERT_EQ(::symlink(std::string(150, 't').c_str(), (base_ + "/in/link").c_str()), 0);
  ASSERT_EQ(::mkdir((base_ + "/in/dir").c_str(), 01777), 0);
  ASSERT_EQ(::chmod((base_ + "/in/dir").c_str(), 01777), 0);
  ASSERT_EQ(::mkfifo((base_ + "/in/dir/fifo").c_str(), 0600), 0);
  const bool is_root = ::geteuid() == 0;
  if (is_root) {
    ASSERT_EQ(::chown((base_ + "/in/large").c_str(), 4'000'000'000u, 1234), 0);
    ASSERT_EQ(::setxattr((base_ + "/in/large").c_str(), "user.k", "v\0w", 3, 0), 0);
  }
  round_trip();
  EXPECT_EQ(sys::read_file(base_ + "/out/plain").value_or(std::string()), "hello\n");
  EXPECT_EQ(look("plain").st_mode & 07777, 04751u);
  EXPECT_EQ(look("plain").st_mtim.tv_sec, -5);
  EXPECT_EQ(look("plain").st_mtim.tv_nsec, 7);
  EXPECT_EQ(look("plain").st_ino, look("second").st_ino);
  EXPECT_EQ(look(long_name).st_size, 1);
  EXPECT_EQ(look("odd\nname").st_size, 1);
  EXPECT_EQ(look("large").st_size, 700'000);
  EXPECT_EQ(look("link").st_size, 150);
  EXPECT_EQ(look("dir").st_mode & 07777, 01777u);
  EXPECT_TRUE(S_ISFIFO(look("dir/fifo").st_mode));
  if (is_root) {
    EXPECT_EQ(look("large").st_uid, 4'000'000'000u);
    EXPECT_EQ(look("large").st_gid, 1234u);
    std::array<char, 8> value;
    EXPECT_EQ(::getxattr((base_ + "/out/large").c_str(), "user.k", value.data(), value.size()), 3);
  }
}

TEST_F(TarWriterTest, TheSameTreeGivesTheSameBytes) {
  for (const char* name : {"b", "a", "c"}) write_file(name, name);
  std::string first, second;
  ASSERT_TRUE(write_tar([&](std::string_view bytes) {
    first += bytes;
    return Result<void>();
  }));
  ASSERT_TRUE(write_tar([&](std::string_view bytes) {
    second += bytes;
    return Result<void>();
  }));
  EXPECT_EQ(first, second);
  EXPECT_EQ(first.size() % 512, 0u);
}

// The names in a tar, each by the header that has it.
std::vector<std::string> names_of(const std::string& tar) {
  std::vector<std::string> out;
  for (size_t at = 0; at < tar.size() && tar[at] != '\0';) {
    if (tar[at + 156] != 'x') out.emplace_back(tar.c_str() + at);
    at += 512 + (std::strtoull(tar.c_str() + at + 124, nullptr, 8) + 511) / 512 * 512;
  }
  return out;
}

TEST_F(TarWriterTest, AnOverlaysUpperDirectoryIsALayer) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: device nodes and trusted attributes";
  ASSERT_EQ(::mkdir((base_ + "/in/dir").c_str(), 0755), 0);
  ASSERT_EQ(::mknod((base_ + "/in/dir/gone").c_str(), S_IFCHR, makedev(0, 0)), 0);
  write_file("dir/left", "x");
  ASSERT_EQ(::setxattr((base_ + "/in/dir").c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  std::string tar;
  const auto sink = [&](std::string_view bytes) {
    tar += bytes;
    return Result<void>();
  };
  ASSERT_TRUE(write_tar(sink, {.is_layer = true}));
  EXPECT_EQ(names_of(tar),
            (std::vector<std::string>{"dir/", "dir/.wh..wh..opq", "dir/.wh.gone", "dir/left"}));
  // Nothing of the attributes that say so.
  EXPECT_EQ(tar.find("overlay"), tar.npos);
  tar.clear();
  const auto without_left = [](int, const std::string&, const std::string& path,
                               const struct ::stat&) { return path == "dir/left"; };
  ASSERT_TRUE(write_tar(sink, {.is_layer = true, .leaves_out = without_left}));
  EXPECT_EQ(names_of(tar).size(), 3u);
  const auto no_room = [](uint64_t size) {
    return size > 0 ? Result<void>(Error(Errc::exhausted, "no room")) : Result<void>();
  };
  const auto refused = write_tar(sink, {.require_room = no_room});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().to_string(), "dir/left: no room");
  write_file(".wh.odd", "x");
  EXPECT_FALSE(write_tar(sink, {.is_layer = true}));
  ASSERT_EQ(::unlink((base_ + "/in/.wh.odd").c_str()), 0);
  ASSERT_EQ(::setxattr((base_ + "/in/dir").c_str(), "trusted.overlay.redirect", "/x", 2, 0), 0);
  EXPECT_FALSE(write_tar(sink, {.is_layer = true}));
}

TEST_F(TarWriterTest, WhatNoImageCanHaveIsSaidOfTheFile) {
  const auto sink = [](std::string_view) { return Result<void>(); };
  const auto refused = [&](const std::string& prefix) {
    const UniqueFd directory = sys::open(base_ + "/in", O_RDONLY | O_DIRECTORY).value();
    TarWriter tar(sink, {.is_layer = true});
    const Result<void> added = prefix.empty() ? tar.add(directory.get(), ".", ".")
                                              : tar.add_contents(directory.get(), prefix);
    return added ? std::string() : added.error().to_string();
  };
  ASSERT_EQ(::mkdir((base_ + "/in/dir").c_str(), 0755), 0);
  write_file("dir/.wh.odd", "x");
  EXPECT_EQ(refused("").find("/dir/.wh.odd: an image cannot have a file of that name"), 0u);
  ASSERT_EQ(::unlink((base_ + "/in/dir/.wh.odd").c_str()), 0);
  write_file("dir/file", "x");
  const std::string above(4095 - sizeof "dir/file", 'a');
  EXPECT_EQ(refused(above + "/"), "");
  const std::string said = refused(above + "b/");
  EXPECT_EQ(said.find(above.substr(0, 100) + "…: its path has 4096 bytes, and one in an image"), 0u)
      << said;
}

TEST_F(TarWriterTest, HolesStayHoles) {
  const UniqueFd file = sys::open(base_ + "/in/file", O_WRONLY | O_CREAT, 0644).value();
  for (const off_t at : {0, 5'000'000, 10'000'000}) {
    ASSERT_EQ(::pwrite(file.get(), "data", 4, at), 4);
  }
  ASSERT_EQ(::ftruncate(file.get(), 20'000'000), 0);
  write_file("empty", "");
  ASSERT_EQ(::truncate((base_ + "/in/empty").c_str(), 9'000'000), 0);
  write_file("full", std::string(100'000, 'x'));
  round_trip({.keeps_holes = true});
  EXPECT_EQ(::system(cat("diff -r ", base_, "/in ", base_, "/out").c_str()), 0);
  EXPECT_LT(look("file").st_blocks, 100);
  EXPECT_LT(look("empty").st_blocks, 100);
  struct ::stat archive = {};
  ASSERT_EQ(::stat((base_ + "/x.tar").c_str(), &archive), 0);
  EXPECT_LT(archive.st_size, 200'000);
}

TEST_F(TarWriterTest, AReaderThatGivesUpEndsIt) {
  write_file("large", std::string(2'000'000, 'z'));
  int calls = 0;
  const auto written = write_tar([&](std::string_view) {
    ++calls;
    return Result<void>(Error(Errc::cancelled, "enough"));
  });
  ASSERT_FALSE(written);
  EXPECT_TRUE(written.error().is(Errc::cancelled));
  EXPECT_EQ(calls, 1);
}
}  // namespace
}  // namespace gantry
