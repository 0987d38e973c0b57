#include "base/sys.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace gantry {
namespace {
TEST(Messages, CarryDescriptorsCloseOnExec) {
  auto pair = sys::seqpacket_pair();
  ASSERT_TRUE(pair);
  auto pipe = sys::pipe();
  ASSERT_TRUE(pipe);
  int fds[] = {pipe->read.get(), pipe->write.get()};
  ASSERT_TRUE(sys::send_message(pair->first.get(), "hello", fds));
  auto got = sys::receive_message(pair->second.get(), 64);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes, "hello");
  ASSERT_EQ(got->fds.size(), 2u);
  for (const UniqueFd& fd : got->fds) EXPECT_TRUE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
  ASSERT_TRUE(sys::send_message(pair->first.get(), "longer than eight", {}));
  EXPECT_FALSE(sys::receive_message(pair->second.get(), 8));
}
TEST(SealedMemfd, CannotBeChanged) {
  auto fd = sys::sealed_memfd("t", std::as_bytes(std::span("plan", 4)));
  ASSERT_TRUE(fd);
  EXPECT_LT(::write(fd->get(), "x", 1), 0);
  EXPECT_NE(::ftruncate(fd->get(), 0), 0);
  EXPECT_EQ(::mmap(nullptr, 4, PROT_WRITE, MAP_SHARED, fd->get(), 0), MAP_FAILED);
}
TEST(ReadAll, RefusesMoreThanItsCap) {
  EXPECT_FALSE(sys::read_file("/proc/kallsyms", 1000));
  auto zero = sys::open("/dev/zero", O_RDONLY);
  ASSERT_TRUE(zero);
  auto r = sys::read_all(zero->get(), 1 << 20);
  ASSERT_FALSE(r);
  EXPECT_TRUE(r.error().is(Errc::exhausted));
}
TEST(ListenUnix, ReplacesAStaleSocketAtomically) {
  std::string path = cat("/tmp/gantry-sys-", ::getpid(), ".sock");
  {
    auto first = sys::listen_unix(path, SOCK_STREAM, 0600, 1);
    ASSERT_TRUE(first);
  }
  EXPECT_FALSE(sys::connect_unix(path, SOCK_STREAM));
  auto second = sys::listen_unix(path, SOCK_STREAM, 0600, 1);
  ASSERT_TRUE(second);
  EXPECT_TRUE(sys::connect_unix(path, SOCK_STREAM));
  ::unlink(path.c_str());
  EXPECT_FALSE(sys::connect_unix(std::string(200, 'x'), SOCK_STREAM));
}
}  // namespace
}  // namespace gantry
