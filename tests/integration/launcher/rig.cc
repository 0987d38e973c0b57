#include "tests/integration/launcher/rig.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>

#include "launcher/log_client.h"

namespace gantry::test {
namespace {
std::string fresh_directory(const char* name) {
  std::string path = cat(std::filesystem::temp_directory_path().string(), "/", name, ".XXXXXX");
  GANTRY_CHECK(::mkdtemp(path.data()) != nullptr);
  return path;
}

struct BusyboxRoot {
  std::string path = fresh_directory("gantry-busybox");
  BusyboxRoot() {
    for (const char* directory : {"bin", "proc", "dev", "sys", "tmp", "etc", "root"}) {
      std::filesystem::create_directories(cat(path, "/", directory));
    }
    std::filesystem::copy_file("/bin/busybox", cat(path, "/bin/busybox"));
    for (const char* applet :
         {"true",     "false", "sh",  "cat", "echo", "sleep", "ls",   "id",   "mount",    "ip",
          "hostname", "pwd",   "seq", "wc",  "cut",  "umask", "kill", "stat", "readlink", "grep"}) {
      std::filesystem::create_symlink("busybox", cat(path, "/bin/", applet));
    }
  }
  ~BusyboxRoot() { std::filesystem::remove_all(path); }
};
}  // namespace

const std::string& busybox_root() {
  static BusyboxRoot root;
  return root.path;
}

Rig::Rig()
    : directory(fresh_directory("gantry-launcher-test")),
      cgroup_root(cat("/gantry-launcher-test-", ::getpid())),
      launcher(std::make_unique<RemoteLauncher>(loop.get_executor())) {
  ::mkdir(cat(directory, "/run").c_str(), 0700);
}

Rig::~Rig() {
  if (launcher) {
    auto ended = run(launcher->shutdown());
    EXPECT_TRUE(ended) << ended.error().to_string();
  }
  launcher.reset();
  std::filesystem::remove_all(directory);
}

RemoteLauncher::Config Rig::config() const {
  return {.runtime_dir = cat(directory, "/run"),
          .launcher_binary = GANTRY_LAUNCHER_BINARY,
          .logger_binary = GANTRY_LOGGER_BINARY,
          .cgroup_root = cgroup_root};
}

PlanSetup plain_plan(const std::vector<std::string>& args) {
  PlanSetup out;
  auto& b = out.builder;
  auto pipe = sys::pipe();
  GANTRY_CHECK(pipe.has_value());
  out.signal_write = std::move(pipe->write);
  b.add(Stage::begin, {.kind = OpKind::kParentDeathSignal, .a = SIGKILL});
  b.add(Stage::begin, {.kind = OpKind::kSetsid});
  int32_t null = b.fd(std::move(*sys::open("/dev/null", O_RDWR)));
  for (uint64_t i = 0; i < 3; ++i) {
    b.add(Stage::begin, {.kind = OpKind::kDuplicate, .fd = null, .a = i});
  }
  b.add(Stage::wait, {.kind = OpKind::kWaitSignal, .fd = b.fd(std::move(pipe->read))});
  b.add(Stage::exec, {.kind = OpKind::kCloseRange, .a = 3});
  b.add(Stage::exec, {.kind = OpKind::kParentDeathSignal, .a = 0});
  b.set_args(args);
  b.set_env({"PATH=/bin", "HOME=/root"});
  b.add(Stage::exec, {.kind = OpKind::kExec, .s1 = b.str(args[0])});
  return out;
}

void add_container(LaunchPlan::Builder& b, const std::string& root) {
  using namespace std::string_literals;
  b.add_clone_flags(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET);
  b.add(Stage::namespaces, {.kind = OpKind::kUnshare, .a = CLONE_NEWCGROUP});
  b.add(Stage::namespaces, {.kind = OpKind::kLoopbackUp});
  b.add(Stage::namespaces, {.kind = OpKind::kHostname, .s1 = b.str("rig")});
  b.add(Stage::process, {.kind = OpKind::kOomScoreAdj, .a = 0});
  b.add(Stage::root, {.kind = OpKind::kPropagation, .s1 = b.str("/"), .a = MS_REC | MS_PRIVATE});
  b.add(Stage::root, {.kind = OpKind::kRootBind, .s1 = b.str(root)});
  auto mount = [&](const char* type, const char* target, const std::string& options, uint64_t attr,
                   uint64_t mode = 0) {
    std::string list = options + '\0';
    b.add(Stage::mounts, {.kind = OpKind::kMountFs,
                          .s1 = b.str(type),
                          .s2 = b.str(target),
                          .s3 = b.blob(list.data(), list.size()),
                          .a = attr,
                          .b = mode});
  };
  const uint64_t plain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  mount("proc", "/proc", "", plain);
  mount("tmpfs", "/dev",
        "mode\0"
        "755\0size\0"
        "65536k\0"s,
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME);
  mount("devpts", "/dev/pts",
        "newinstance\0\0ptmxmode\0"
        "0666\0mode\0"
        "0620\0gid\0"
        "5\0"s,
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0755);
  mount("tmpfs", "/dev/shm",
        "mode\0"
        "1777\0size\0"
        "65536k\0"s,
        plain, 01777);
  mount("mqueue", "/dev/mqueue", "", plain, 01777);
  mount("sysfs", "/sys", "", plain | MOUNT_ATTR_RDONLY);
  const std::pair<const char*, uint64_t> nodes[] = {
      {"/dev/null", makedev(1, 3)},   {"/dev/zero", makedev(1, 5)},
      {"/dev/full", makedev(1, 7)},   {"/dev/tty", makedev(5, 0)},
      {"/dev/random", makedev(1, 8)}, {"/dev/urandom", makedev(1, 9)}};
  for (const auto& [path, device] : nodes) {
    b.add(Stage::mounts,
          {.kind = OpKind::kMakeNode, .s1 = b.str(path), .a = S_IFCHR | 0666, .b = device});
  }
  const std::pair<const char*, const char*> links[] = {{"/proc/self/fd", "/dev/fd"},
                                                       {"/proc/self/fd/0", "/dev/stdin"},
                                                       {"/proc/self/fd/1", "/dev/stdout"},
                                                       {"/proc/self/fd/2", "/dev/stderr"},
                                                       {"pts/ptmx", "/dev/ptmx"}};
  for (const auto& [text, path] : links) {
    b.add(Stage::mounts, {.kind = OpKind::kSymlink, .s1 = b.str(text), .s2 = b.str(path)});
  }
  b.add(Stage::pivot, {.kind = OpKind::kPivotRoot});
  for (const char* path :
       {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}) {
    b.add(Stage::readonly, {.kind = OpKind::kReadonlyPath, .s1 = b.str(path)});
  }
  for (const char* path :
       {"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
        "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}) {
    b.add(Stage::readonly, {.kind = OpKind::kMaskPath, .s1 = b.str(path)});
  }
  b.add(Stage::limits, {.kind = OpKind::kUmask, .a = 022});
  b.add(Stage::credentials, {.kind = OpKind::kChdir, .s1 = b.str("/")});
  b.add(Stage::lockdown, {.kind = OpKind::kNoNewPrivileges});
}

Co<Result<ExitRecord>> run_to_end(RemoteLauncher& launcher, std::string key, PlanSetup setup) {
  LaunchPlan plan = GANTRY_CO_TRY(std::move(setup.builder).seal());
  LaunchedChild child = GANTRY_CO_TRY(co_await launcher.launch(key, plan, {}));
  GANTRY_CO_TRY(sys::write_all(setup.signal_write.get(), "!"));
  GANTRY_CO_TRY(co_await wait_exec(plan, child.report_pipe.get(), std::chrono::seconds(20)));
  ExitRecord exit = GANTRY_CO_TRY(co_await launcher.wait_exit(key));
  GANTRY_CO_TRY(co_await launcher.forget(key));
  co_return exit;
}

Running start(Rig& rig, const std::string& key, const std::vector<std::string>& args,
              WithStdin with_stdin) {
  Running out;
  out.log_directory = cat(rig.directory, "/", key);
  ::mkdir(out.log_directory.c_str(), 0700);
  PlanSetup setup = plain_plan(args);
  add_container(setup.builder, busybox_root());
  LaunchIo io;
  io.log_directory = out.log_directory;
  auto& b = setup.builder;
  auto stdio = [&](uint64_t number, UniqueFd fd) {
    b.add(Stage::begin, {.kind = OpKind::kDuplicate, .fd = b.fd(std::move(fd)), .a = number});
  };
  auto out_pipe = sys::pipe(), err_pipe = sys::pipe();
  GANTRY_CHECK(out_pipe && err_pipe);
  stdio(1, std::move(out_pipe->write));
  stdio(2, std::move(err_pipe->write));
  io.stdout_read = std::move(out_pipe->read);
  io.stderr_read = std::move(err_pipe->read);
  if (with_stdin == WithStdin::yes) {
    auto in_pipe = sys::pipe();
    GANTRY_CHECK(in_pipe.has_value());
    stdio(0, std::move(in_pipe->read));
    io.stdin_write = std::move(in_pipe->write);
  }
  auto plan = std::move(b).seal();
  GANTRY_CHECK(plan.has_value());
  auto child = rig.run(rig.launcher->launch(key, *plan, std::move(io)));
  EXPECT_TRUE(child) << child.error().to_string();
  EXPECT_TRUE(sys::write_all(setup.signal_write.get(), "!"));
  auto started = rig.run(wait_exec(*plan, child->report_pipe.get(), std::chrono::seconds(20)));
  EXPECT_TRUE(started) << started.error().to_string();
  out.child = std::move(*child);
  return out;
}

void end(Rig& rig, Running& running, const std::string& key) {
  EXPECT_TRUE(running.child->process.signal(SIGKILL));
  EXPECT_TRUE(rig.run(rig.launcher->wait_exit(key)));
  EXPECT_TRUE(rig.run(rig.launcher->forget(key)));
}

std::string output_of(Rig& rig, const std::string& key, const std::vector<std::string>& args) {
  Running running = start(rig, key, args);
  EXPECT_TRUE(rig.run(rig.launcher->wait_exit(key)));
  LogClient logs(rig.loop.get_executor(), rig.config().runtime_dir);
  EXPECT_TRUE(rig.run(logs.flush(key)));
  auto close = [](LogClient& l) -> Co<bool> {
    co_await l.close();
    co_return true;
  };
  rig.run(close(logs));
  EXPECT_TRUE(rig.run(rig.launcher->forget(key)));
  auto text = sys::read_file(cat(running.log_directory, "/stdout"));
  return text ? *text : std::string();
}

size_t count_of(const std::string& directory) {
  auto entries = std::filesystem::directory_iterator(directory);
  return static_cast<size_t>(std::distance(begin(entries), std::filesystem::directory_iterator()));
}

long resident_kib(pid_t pid) {
  auto text = sys::read_file(cat("/proc/", pid, "/status"));
  if (!text) return 0;
  const size_t at = text->find("RssAnon:");
  return at == std::string::npos ? 0 : std::strtol(text->c_str() + at + 8, nullptr, 10);
}

pid_t child_of(pid_t parent, const std::string& exe) {
  auto text = sys::read_file(cat("/proc/", parent, "/task/", parent, "/children"));
  if (!text) return 0;
  for (const char* at = text->c_str(); *at != '\0';) {
    char* after = nullptr;
    const pid_t pid = static_cast<pid_t>(std::strtol(at, &after, 10));
    if (after == at) break;
    at = after;
    std::error_code ignored;
    const auto path = std::filesystem::read_symlink(cat("/proc/", pid, "/exe"), ignored).string();
    if (path.find(exe) != std::string::npos) return pid;
  }
  return 0;
}
}  // namespace gantry::test
