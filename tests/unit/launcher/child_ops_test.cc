// Every op of the child made to fail: the report names index, kind and errno, and neither a
// process nor a descriptor is left. First each by injection, then by what the kernel itself
// refuses.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <cstring>
#include <filesystem>

#include "base/sys.h"
#include "launcher/child/child.h"
#include "launcher/plan.h"

namespace gantry {
namespace {
struct Outcome {
  std::optional<ChildReport> report;
  int status = 0;
};

size_t open_fds() {
  auto entries = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(entries), std::filesystem::directory_iterator()));
}

// Clones a child for the plan as the launcher does, in namespaces that keep the host unharmed.
Outcome run_child(LaunchPlan& plan, int32_t inject_op = -1, int32_t inject_errno = 0) {
  const std::string bytes = *sys::read_file(cat("/proc/self/fd/", plan.memfd()));
  std::vector<uint64_t> copy(bytes.size() / 8 + 1);
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  child::Start start;
  GANTRY_CHECK(child::check_plan(copy.data(), bytes.size(), &start.plan) == nullptr);
  std::vector<int> fds;
  for (const UniqueFd& fd : plan.fds()) fds.push_back(fd.get());
  start.fds = fds.data();
  start.reset_signals = true;
  start.inject_op = inject_op;
  start.inject_errno = inject_errno;
  const pid_t pid = static_cast<pid_t>(
      ::syscall(SYS_clone, SIGCHLD | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET,
                nullptr, nullptr, nullptr, nullptr));
  GANTRY_CHECK(pid >= 0);
  if (pid == 0) child::run(start);
  plan.close_fds();
  UniqueFd report_pipe = plan.take_report_pipe();
  Outcome out;
  ChildReport report;
  if (::read(report_pipe.get(), &report, sizeof report) == sizeof report) out.report = report;
  GANTRY_CHECK(::waitpid(pid, &out.status, 0) == pid);
  return out;
}

LaunchPlan sealed(LaunchPlan::Builder b) {
  b.set_args({"true"});
  b.set_env({"PATH=/bin:/usr/bin"});
  b.add(Stage::exec, {.kind = OpKind::kExec, .s1 = b.str("true")});
  auto plan = std::move(b).seal();
  GANTRY_CHECK(plan.has_value());
  return std::move(*plan);
}

void private_root(LaunchPlan::Builder& b, const std::string& root) {
  b.add(Stage::root, {.kind = OpKind::kPropagation, .s1 = b.str("/"), .a = MS_REC | MS_PRIVATE});
  b.add(Stage::root, {.kind = OpKind::kRootBind, .s1 = b.str(root)});
}

class ChildOps : public ::testing::Test {
 protected:
  void SetUp() override {
    GANTRY_CHECK(::mkdtemp(root.data()) != nullptr);
    for (const char* name : {"/proc", "/dev", "/etc", "/real"}) {
      std::filesystem::create_directory(cat(root, name));
    }
    std::filesystem::create_directory_symlink("/real", cat(root, "/link"));
    fds_before = open_fds();
  }
  void TearDown() override {
    EXPECT_EQ(open_fds(), fds_before);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process is left";
    std::filesystem::remove_all(root);
  }
  // The op, alone behind a private root, fails in the kernel with this errno.
  void expect_failure(const std::function<Op(LaunchPlan::Builder&)>& make, int error,
                      bool with_root = true) {
    LaunchPlan::Builder b;
    if (with_root) private_root(b, root);
    b.add(Stage::mounts, make(b));
    const uint32_t index = with_root ? 2 : 0;
    LaunchPlan plan = sealed(std::move(b));
    const std::string what = plan.describe(index);
    const OpKind kind = plan.ops()[index].kind;
    const Outcome out = run_child(plan);
    ASSERT_TRUE(out.report) << what << ": no report, status " << out.status;
    EXPECT_EQ(out.report->op_index, index) << what << ": errno " << out.report->error;
    EXPECT_EQ(out.report->kind, static_cast<uint16_t>(kind)) << what;
    EXPECT_EQ(out.report->error, error) << what << " at " << out.report->aux;
    EXPECT_EQ(WEXITSTATUS(out.status), child::kExitFailed) << what;
  }
  std::string root = "/tmp/gantry-child-ops.XXXXXX";
  size_t fds_before = 0;
};

// A plan of one op of every kind that stays within the validator's rules, and kExec.
LaunchPlan plan_of(OpKind kind) {
  LaunchPlan::Builder b;
  UniqueFd null = std::move(*sys::open("/dev/null", O_RDWR));
  Op op{.kind = kind, .s1 = b.str("x"), .s2 = b.str("y")};
  if (kind != OpKind::kRootBind && kind != OpKind::kBind) op.fd = b.fd(std::move(null));
  const uint64_t eight = 0;
  if (kind == OpKind::kGroups || kind == OpKind::kSeccomp || kind == OpKind::kAffinity) {
    op.s1 = b.blob(&eight, 8);
    op.b = 8;
  }
  if (kind == OpKind::kRootOverlay) {
    op.s1 = b.blob("/a\0", 4);
    op.s2 = 0;
  }
  if (kind == OpKind::kMountFs) op.s3 = b.blob("", 1);
  if (kind != OpKind::kExec) b.add(Stage::begin, op);
  return sealed(std::move(b));
}

TEST_F(ChildOps, EveryKindReportsAnInjectedFailure) {
  for (uint16_t k = 1; k < static_cast<uint16_t>(OpKind::kCount); ++k) {
    LaunchPlan plan = plan_of(static_cast<OpKind>(k));
    const std::string what = plan.describe(0);
    const Outcome out = run_child(plan, 0, 1000 + k);
    ASSERT_TRUE(out.report) << what;
    EXPECT_EQ(out.report->op_index, 0u) << what;
    EXPECT_EQ(out.report->kind, k) << what;
    EXPECT_EQ(out.report->error, 1000 + k) << what;
    EXPECT_EQ(out.report->is_barrier, 0) << what;
    EXPECT_EQ(WEXITSTATUS(out.status), child::kExitFailed) << what;
  }
}

TEST_F(ChildOps, AnOptionalOpMayFail) {
  LaunchPlan::Builder b;
  b.add(Stage::begin, {.kind = OpKind::kNice, .flags = kOpOptional, .a = 5});
  LaunchPlan plan = sealed(std::move(b));
  const Outcome out = run_child(plan, 0, EPERM);
  EXPECT_FALSE(out.report);
  EXPECT_EQ(out.status, 0);
}

TEST_F(ChildOps, WhatTheKernelRefusesIsNamed) {
  using B = LaunchPlan::Builder;
  auto null_fd = [](B& b) { return b.fd(std::move(*sys::open("/dev/null", O_RDONLY))); };
  expect_failure([](B&) { return Op{.kind = OpKind::kControllingTty}; }, ENOTTY, false);
  expect_failure([](B&) { return Op{.kind = OpKind::kParentDeathSignal, .a = 999}; }, EINVAL);
  expect_failure(
      [](B& b) {
        const uint64_t none = 0;
        return Op{.kind = OpKind::kAffinity, .s1 = b.blob(&none, 8), .b = 8};
      },
      EINVAL);
  expect_failure([](B&) { return Op{.kind = OpKind::kOomScoreAdj, .a = 5000}; }, EINVAL, false);
  expect_failure([](B&) { return Op{.kind = OpKind::kNice, .a = 400}; }, EINVAL, false);
  expect_failure([](B&) { return Op{.kind = OpKind::kRlimit, .a = RLIMIT_CORE, .b = 2, .c = 1}; },
                 EINVAL);
  expect_failure([&](B& b) { return Op{.kind = OpKind::kJoinCgroup, .fd = null_fd(b)}; }, EBADF);
  expect_failure([](B&) { return Op{.kind = OpKind::kUnshare, .a = 1}; }, EINVAL);
  expect_failure(
      [&](B& b) { return Op{.kind = OpKind::kSetns, .fd = null_fd(b), .a = CLONE_NEWNET}; },
      EINVAL);
  expect_failure(
      [](B& b) { return Op{.kind = OpKind::kHostname, .s1 = b.str(std::string(100, 'x'))}; },
      EINVAL);
  expect_failure(
      [](B& b) { return Op{.kind = OpKind::kSysctl, .s1 = b.str("no/such"), .s2 = b.str("1")}; },
      ENOENT);
  expect_failure(
      [](B& b) {
        return Op{.kind = OpKind::kSysctl, .s1 = b.str("../self/comm"), .s2 = b.str("1")};
      },
      EXDEV);
  expect_failure([](B&) { return Op{.kind = OpKind::kMapIds}; }, ENOSYS);
  expect_failure([](B& b) { return Op{.kind = OpKind::kRootBind, .s1 = b.str("/no/such")}; },
                 ENOENT, false);
  expect_failure(
      [](B& b) { return Op{.kind = OpKind::kRootOverlay, .s1 = b.blob("/no/such\0", 10)}; }, ENOENT,
      false);
  expect_failure([](B&) { return Op{.kind = OpKind::kPivotRoot}; }, EINVAL, false);
  expect_failure([](B& b) { return Op{.kind = OpKind::kChdir, .s1 = b.str("/nowhere")}; }, ENOENT);
  expect_failure([](B&) { return Op{.kind = OpKind::kCapabilities, .a = ~uint64_t{0}}; }, EPERM);
  expect_failure([](B&) { return Op{.kind = OpKind::kAmbient, .a = 1}; }, EPERM);
  expect_failure(
      [](B& b) {
        const uint64_t junk = ~uint64_t{0};
        return Op{.kind = OpKind::kSeccomp, .s1 = b.blob(&junk, 8), .b = 8};
      },
      EINVAL);
}

TEST_F(ChildOps, AForkGoesOnInAnotherChildOfTheParent) {
  for (const bool is_told : {true, false}) {
    LaunchPlan::Builder b;
    sys::Pipe go = std::move(*sys::pipe());
    b.add(Stage::begin, {.kind = OpKind::kFork, .fd = b.fd(std::move(go.read))});
    LaunchPlan plan = sealed(std::move(b));
    const Outcome out = run_child(plan);
    ASSERT_TRUE(out.report);
    EXPECT_EQ(out.report->is_barrier, 1);
    EXPECT_EQ(out.status, 0);
    ASSERT_NE(out.report->aux & kForkBarrier, 0u);
    const pid_t pid = static_cast<pid_t>(out.report->aux & ~kForkBarrier);
    EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0) << "it did not wait";
    if (is_told) ASSERT_EQ(::write(go.write.get(), "g", 1), 1);
    go.write.reset();
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(WEXITSTATUS(status), is_told ? 0 : child::kExitNoSignal);
  }
}

TEST_F(ChildOps, OnlyADevptsOfItsOwnMakesATerminal) {
  namespace fs = std::filesystem;
  auto terminal = [](LaunchPlan::Builder& b) {
    return Op{.kind = OpKind::kTerminal, .fd = b.fd(std::move(*sys::open("/dev/null", O_RDWR)))};
  };
  expect_failure(terminal, ENOENT);
  fs::create_directory(cat(root, "/dev/pts"));
  UniqueFd(std::move(*sys::open(cat(root, "/dev/pts/ptmx"), O_CREAT | O_WRONLY, 0600)));
  expect_failure(terminal, EXDEV);
  fs::remove(cat(root, "/dev/pts/ptmx"));
  ASSERT_EQ(::mknod(cat(root, "/dev/pts/ptmx").c_str(), S_IFCHR | 0666, makedev(5, 2)), 0);
  expect_failure(terminal, EXDEV);
  fs::remove_all(cat(root, "/dev/pts"));
  fs::create_directory_symlink("/real", cat(root, "/dev/pts"));
  expect_failure(terminal, ELOOP);
}

TEST_F(ChildOps, MountsThatCannotBeAreNamed) {
  using B = LaunchPlan::Builder;
  auto mount = [](B& b, const char* type, const char* target, std::string options) {
    options += '\0';
    return Op{.kind = OpKind::kMountFs,
              .s1 = b.str(type),
              .s2 = b.str(target),
              .s3 = b.blob(options.data(), options.size())};
  };
  expect_failure([&](B& b) { return mount(b, "no-such-fs", "/dev", ""); }, ENODEV);
  expect_failure([&](B& b) { return mount(b, "tmpfs", "/nowhere", ""); }, ENOENT);
  expect_failure(
      [&](B& b) {
        using namespace std::string_literals;
        return mount(b, "tmpfs", "/dev", "no-such-option\0x\0"s);
      },
      EINVAL);
  // CVE-2019-19921: proc only on an ordinary directory.
  expect_failure([&](B& b) { return mount(b, "proc", "/link", ""); }, ELOOP);
  expect_failure(
      [](B& b) {
        return Op{.kind = OpKind::kBind, .s1 = b.str("/no/such/source"), .s2 = b.str("/etc")};
      },
      ENOENT);
  expect_failure(
      [](B& b) { return Op{.kind = OpKind::kBind, .s1 = b.str("/tmp"), .s2 = b.str("/nowhere")}; },
      ENOENT);
  expect_failure(
      [](B& b) {
        return Op{.kind = OpKind::kMakeNode, .s1 = b.str("/etc"), .a = S_IFCHR, .b = 259};
      },
      EEXIST);
  expect_failure(
      [](B& b) { return Op{.kind = OpKind::kSymlink, .s1 = b.str("x"), .s2 = b.str("/etc")}; },
      EEXIST);
  expect_failure(
      [](B& b) {
        return Op{
            .kind = OpKind::kWriteFile, .s1 = b.str("/no/file"), .s2 = b.blob("x", 1), .b = 1};
      },
      ENOENT);
  expect_failure([](B& b) { return Op{.kind = OpKind::kMkdir, .s1 = b.str("/a/../b")}; }, EINVAL);
}

TEST_F(ChildOps, PathsNeverLeaveTheRoot) {
  std::filesystem::remove(cat(root, "/link"));
  const std::string canary = cat(root, "-canary");
  std::filesystem::create_directory(canary);
  std::filesystem::create_directory_symlink(cat("../../../..", canary), cat(root, "/link"));
  std::filesystem::create_directory_symlink(canary, cat(root, "/absolute"));
  LaunchPlan::Builder b;
  private_root(b, root);
  for (const char* path : {"/link/made", "/absolute/made"}) {
    b.add(Stage::mounts,
          {.kind = OpKind::kMkdir, .flags = kOpOptional, .s1 = b.str(path), .a = 0755});
    b.add(Stage::files, {.kind = OpKind::kWriteFile,
                         .flags = kOpOptional,
                         .s1 = b.str(cat(path, ".txt")),
                         .s2 = b.blob("x", 1),
                         .b = 1});
    b.add(Stage::mounts, {.kind = OpKind::kMakeNode,
                          .flags = kOpOptional,
                          .s1 = b.str(cat(path, ".node")),
                          .a = S_IFCHR | 0600,
                          .b = 259});
  }
  LaunchPlan plan = sealed(std::move(b));
  const Outcome out = run_child(plan);
  EXPECT_EQ(out.status, 0);
  EXPECT_TRUE(std::filesystem::is_empty(canary));
  std::filesystem::remove_all(canary);
}

TEST_F(ChildOps, WriteFileReplacesALinkAndNeverWritesThroughIt) {
  const std::string canary = cat(root, "/etc/original");
  std::filesystem::create_symlink("original", cat(root, "/etc/hosts"));
  {
    ASSERT_TRUE(sys::open(canary, O_CREAT | O_WRONLY, 0600));
  }
  std::filesystem::create_hard_link(canary, cat(root, "/etc/hard"));
  LaunchPlan::Builder b;
  private_root(b, root);
  for (const char* path : {"/etc/hosts", "/etc/hard"}) {
    b.add(Stage::files,
          {.kind = OpKind::kWriteFile, .s1 = b.str(path), .s2 = b.blob("new", 3), .b = 3});
  }
  LaunchPlan plan = sealed(std::move(b));
  EXPECT_EQ(run_child(plan).status, 0);
  EXPECT_EQ(std::filesystem::file_size(canary), 0u);
  EXPECT_EQ(*sys::read_file(cat(root, "/etc/hosts")), "new");
  EXPECT_EQ(*sys::read_file(cat(root, "/etc/hard")), "new");
}

TEST_F(ChildOps, DirectoriesAreMadeWithParentsModeAndOwner) {
  LaunchPlan::Builder b;
  private_root(b, root);
  b.add(Stage::mounts,
        {.kind = OpKind::kMkdir, .s1 = b.str("/etc/a/b"), .a = 01777, .b = uint64_t{5} << 32 | 6});
  LaunchPlan plan = sealed(std::move(b));
  EXPECT_EQ(run_child(plan).status, 0);
  auto made = sys::stat_at(AT_FDCWD, cat(root, "/etc/a/b").c_str());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->st_mode & 07777, 01777u);
  EXPECT_EQ(made->st_uid, 5u);
  EXPECT_EQ(made->st_gid, 6u);
  auto parent = sys::stat_at(AT_FDCWD, cat(root, "/etc/a").c_str());
  ASSERT_TRUE(parent);
  EXPECT_EQ(parent->st_mode & 07777, 0755u);
  EXPECT_EQ(parent->st_uid, 0u);
}

TEST_F(ChildOps, ATinyFileLimitDoesNotDisturbTheOpsBehindIt) {
  LaunchPlan::Builder b;
  b.add(Stage::limits, {.kind = OpKind::kRlimit, .a = RLIMIT_NOFILE, .b = 8, .c = 8});
  b.add(Stage::credentials, {.kind = OpKind::kChdir, .s1 = b.str("/etc")});
  b.set_args({"sh"});
  b.set_env({"PATH=/bin:/usr/bin"});
  b.set_args({"sh", "-c", "test $(ulimit -n) = 8 && test $PWD = /etc"});
  b.add(Stage::exec, {.kind = OpKind::kExec, .s1 = b.str("sh")});
  auto plan = std::move(b).seal();
  ASSERT_TRUE(plan);
  const Outcome out = run_child(*plan);
  EXPECT_FALSE(out.report);
  EXPECT_EQ(out.status, 0);
}

TEST_F(ChildOps, TheCommandIsNotFoundThroughADescriptorOfOurs) {
  // CVE-2024-21626: a directory of the host's that is open while the command is looked up.
  LaunchPlan::Builder b;
  const int32_t slot = b.fd(std::move(*sys::open("/", O_PATH | O_DIRECTORY)));
  auto probe = sys::duplicate(0);
  ASSERT_TRUE(probe);
  b.set_args({"true"});
  std::string path;
  for (const char* candidate : {"/usr/bin/true", "/bin/true"}) {
    if (std::filesystem::exists(candidate)) path = candidate;
  }
  // The slot's number in the child is its number here.
  const int number = probe->get() - 1;
  ASSERT_GE(slot, 0);
  b.add(Stage::exec, {.kind = OpKind::kExec, .s1 = b.str(cat("/proc/self/fd/", number, path))});
  auto plan = std::move(b).seal();
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->fds()[0].get(), number);
  const Outcome out = run_child(*plan);
  ASSERT_TRUE(out.report) << "it ran";
  EXPECT_EQ(out.report->error, ENOENT);
}

TEST_F(ChildOps, ExecSearchesThePathOfTheCommandsEnvironment) {
  LaunchPlan::Builder b;
  b.set_args({"gantry-no-such-command"});
  b.set_env({"PATH=/bin"});
  b.add(Stage::exec, {.kind = OpKind::kExec, .s1 = b.str("gantry-no-such-command")});
  auto plan = std::move(b).seal();
  ASSERT_TRUE(plan);
  const Outcome out = run_child(*plan);
  ASSERT_TRUE(out.report);
  EXPECT_EQ(out.report->error, ENOENT);
  EXPECT_EQ(out.report->kind, static_cast<uint16_t>(OpKind::kExec));
}
}  // namespace
}  // namespace gantry
