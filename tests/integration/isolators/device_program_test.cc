// The v2 device program, loaded and attached for real: this kernel checks it on a hybrid host too.
#include "isolators/device_program.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolators/cgroup_controllers.h"
#include "tests/integration/isolators/cgroup_test_root.h"

namespace gantry {
namespace {
using test::ok;

class DeviceProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const CgroupLayout layout = ok(CgroupLayout::detect());
    if (layout.unified() == nullptr) GTEST_SKIP() << "needs a mounted cgroup2";
    path_ = cat(layout.unified()->path, "/gantry-isol-test-devices-", ::getpid());
    ASSERT_EQ(::mkdir(path_.c_str(), 0755), 0);
    directory_ = ok(sys::open(path_, O_RDONLY | O_DIRECTORY));
  }
  void TearDown() override {
    if (path_.empty()) return;
    directory_.reset();
    EXPECT_EQ(::rmdir(path_.c_str()), 0);
  }
  // errno of opening the device in a process of that cgroup; 0 when it may.
  int open_inside(const char* device, int flags) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      const int procs = ::open((path_ + "/cgroup.procs").c_str(), O_WRONLY);
      if (::write(procs, "0", 1) != 1) ::_exit(200);
      const int fd = ::open(device, flags | O_NONBLOCK);
      ::_exit(fd >= 0 ? 0 : errno);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
  }

  std::string path_;
  UniqueFd directory_;
};

TEST_F(DeviceProgramTest, DefaultRulesOpenTheirDevicesAndNoOthers) {
  ASSERT_EQ(open_inside("/dev/full", O_RDWR), 0) << "before: anything goes";
  const DeviceProgram program = ok(DeviceProgram::load(DevicesIsolator::default_rules()));
  ok(program.attach(directory_.get()));
  for (const char* device :
       {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx"}) {
    EXPECT_EQ(open_inside(device, O_RDWR), 0) << device;
  }
  for (const char* device : {"/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/net/tun", "/dev/vda"}) {
    if (::access(device, F_OK) == 0) {
      EXPECT_EQ(open_inside(device, O_RDONLY), EPERM) << device;
    }
  }
}

TEST_F(DeviceProgramTest, ALaterRuleWinsAndAccessIsLookedAt) {
  ok(ok(DeviceProgram::load({{'a', {}, {}, "rwm", true},
                             {'c', 1, 5, "w", false},
                             {'c', 1, 7, "rwm", false},
                             {'c', 1, 7, "r", true}}))
         .attach(directory_.get()));
  EXPECT_EQ(open_inside("/dev/null", O_RDWR), 0);
  EXPECT_EQ(open_inside("/dev/zero", O_RDONLY), 0);
  EXPECT_EQ(open_inside("/dev/zero", O_WRONLY), EPERM);
  EXPECT_EQ(open_inside("/dev/zero", O_RDWR), EPERM);
  EXPECT_EQ(open_inside("/dev/full", O_RDONLY), 0);
  EXPECT_EQ(open_inside("/dev/full", O_WRONLY), EPERM);
}

TEST_F(DeviceProgramTest, NoRulesAllowNothing) {
  ok(ok(DeviceProgram::load({})).attach(directory_.get()));
  EXPECT_EQ(open_inside("/dev/null", O_RDONLY), EPERM);
}
}  // namespace
}  // namespace gantry
