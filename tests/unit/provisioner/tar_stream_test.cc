// What the client sends, read back by GNU tar.
#include "provisioner/tar_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "base/sys.h"

namespace gantry {
namespace {
struct TarStream : ::testing::Test {
  void SetUp() override {
    char name[] = "/tmp/gantry-tar-test.XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir = name;
    std::filesystem::create_directories(dir + "/in/sub");
    std::filesystem::create_directories(dir + "/out");
  }
  void TearDown() override { std::filesystem::remove_all(dir); }
  int shell(const std::string& command) const {
    return std::system(cat("cd ", dir, " && set -e; ", command).c_str());
  }
  Result<void> pack() const {
    UniqueFd in = GANTRY_TRY(sys::open(dir + "/in", O_RDONLY | O_DIRECTORY));
    UniqueFd out = GANTRY_TRY(sys::open(dir + "/a.tar", O_WRONLY | O_CREAT | O_TRUNC, 0600));
    return write_tar_of_directory(
        in.get(), [&](std::string_view piece) { return sys::write_all(out.get(), piece); });
  }
  std::string dir;
};

TEST_F(TarStream, GnuTarUnpacksTheSameTree) {
  std::string part(200, 'n');
  ASSERT_EQ(
      shell(cat("cd in; echo one >sub/f; ln sub/f link; ln -s ", std::string(150, 't'),
                " soft; mkfifo fifo; mkdir -p ", part, "/", part, "; echo deep >", part, "/", part,
                "/f; chmod 6755 sub/f; touch -d '1999-01-02 03:04:05.000000007' sub; "
                "head -c 1000 /dev/urandom >odd; setfattr -n user.k -v v odd; : >empty")),
      0);
  ASSERT_TRUE(pack());
  ASSERT_EQ(shell("tar --xattrs -xpf a.tar -C out && diff -r --no-dereference in/sub out/sub && "
                  "cmp in/odd out/odd && "
                  "[ $(stat -c %h out/link) = 2 ] && [ -p out/fifo ] && "
                  "[ $(readlink out/soft) = $(readlink in/soft) ] && "
                  "[ $(stat -c %a out/sub/f) = 6755 ] && [ $(stat -c %.9Y out/sub) = $(stat -c "
                  "%.9Y in/sub) ] && "
                  "[ $(getfattr --only-values -n user.k out/odd) = v ] && "
                  "[ $(find in | wc -l) = $(find out | wc -l) ]"),
            0);
}

TEST_F(TarStream, AFailingSinkEndsTheWalk) {
  ASSERT_EQ(shell("seq 1 100000 >in/f"), 0);
  UniqueFd in = *sys::open(dir + "/in", O_RDONLY | O_DIRECTORY);
  int calls = 0;
  auto done = write_tar_of_directory(in.get(), [&](std::string_view) -> Result<void> {
    if (++calls == 3) return Error(Errc::cancelled, "enough");
    return {};
  });
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().is(Errc::cancelled));
  EXPECT_EQ(calls, 3);
}
}  // namespace
}  // namespace gantry
