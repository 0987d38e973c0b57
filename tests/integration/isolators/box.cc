#include "tests/integration/isolators/box.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "base/sys.h"
#include "tests/integration/isolators/cgroup_test_root.h"

namespace gantry::test {
namespace {
using namespace std::chrono_literals;

std::string fresh_directory(const char* name) {
  std::string path = cat(std::filesystem::temp_directory_path().string(), "/", name, ".XXXXXX");
  GANTRY_CHECK(::mkdtemp(path.data()) != nullptr);
  ::chmod(path.c_str(), 0755);  // containers of other users look into it
  return path;
}

// Everything the tests of one program share.
struct World {
  asio::io_context loop;
  std::string directory = fresh_directory("gantry-isolators-test");
  std::string root = directory + "/root";
  std::string cgroup_root = cat("/gantry-isol-test-", ::getpid());
  std::unique_ptr<RemoteLauncher> launcher;
  std::unique_ptr<ContainerCgroups> cgroups;
  std::vector<std::unique_ptr<Isolator>> isolators;
};
World* world = nullptr;

void make_root(const std::string& path) {
  for (const char* name : {"bin", "proc", "dev", "sys", "tmp", "etc", "root"}) {
    std::filesystem::create_directories(path + "/" + name);
  }
  ::chmod((path + "/tmp").c_str(), 01777);
  std::filesystem::copy_file("/bin/busybox", path + "/bin/busybox");
  std::filesystem::copy_file(GANTRY_PROBE_BINARY, path + "/bin/probe");
  std::filesystem::create_symlink("busybox", path + "/bin/sh");
}

// Reads to the end of file on a thread of its own: a full pipe must not stop the container.
struct Reader {
  explicit Reader(UniqueFd fd)
      : thread([this, f = std::move(fd)] {
          if (auto all = sys::read_all(f.get())) text = std::move(*all);
        }) {}
  ~Reader() {
    if (thread.joinable()) thread.join();
  }
  std::string text;
  std::thread thread;
};
}  // namespace

asio::io_context& BoxTest::loop() { return world->loop; }
ContainerCgroups& BoxTest::cgroups() { return *world->cgroups; }
const std::string& BoxTest::busybox_root() { return world->root; }

Isolator& BoxTest::isolator(std::string_view name) {
  for (const auto& isolator : world->isolators) {
    if (isolator->name() == name) return *isolator;
  }
  std::abort();
}

void BoxTest::SetUpTestSuite() {
  world = new World;
  make_root(world->root);
  ::mkdir((world->directory + "/run").c_str(), 0700);
  world->launcher = std::make_unique<RemoteLauncher>(world->loop.get_executor());
  ok(test::run(world->loop,
               world->launcher->start_or_connect({.runtime_dir = world->directory + "/run",
                                                  .launcher_binary = GANTRY_LAUNCHER_BINARY,
                                                  .logger_binary = GANTRY_LOGGER_BINARY,
                                                  .cgroup_root = world->cgroup_root})));
  world->cgroups = ok(ContainerCgroups::open(world->loop.get_executor(), ok(CgroupLayout::detect()),
                                             default_cgroup_options(world->cgroup_root)));
  world->isolators = make_default_isolators(world->loop.get_executor(), *world->cgroups);
  for (auto& isolator : world->isolators) ok(test::run(world->loop, isolator->recover({})));
}

void BoxTest::TearDownTestSuite() {
  ok(test::run(world->loop, world->launcher->shutdown()));
  world->launcher.reset();
  world->isolators.clear();
  ok(test::run(world->loop, world->cgroups->close()));
  world->cgroups.reset();
  std::filesystem::remove_all(world->directory);
  const CgroupLayout layout = ok(CgroupLayout::detect());
  for (const CgroupHierarchy& hierarchy : layout.hierarchies()) {
    EXPECT_NE(::access((hierarchy.path + world->cgroup_root).c_str(), F_OK), 0) << hierarchy.path;
  }
  delete world;
  world = nullptr;
}

void BoxTest::TearDown() {
  // Others on this machine mount too: only what is of ours counts.
  const std::string mounts = ok(sys::read_file("/proc/self/mountinfo"));
  EXPECT_EQ(mounts.find(world->directory), std::string::npos) << mounts;
  for (const std::string& root : own_roots_) {
    EXPECT_EQ(mounts.find(root), std::string::npos) << mounts;
  }
  EXPECT_TRUE(ok(cgroups().orphans({})).empty());
  EXPECT_TRUE(ok(test::run(loop(), world->launcher->recover())).empty());
  for (const std::string& root : own_roots_) std::filesystem::remove_all(root);
}

ContainerSpec BoxTest::shell(std::string script) {
  ContainerSpec spec;
  spec.root = DirectoryRoot{busybox_root()};
  spec.process.args = {"/bin/busybox", "sh", "-c", std::move(script)};
  spec.process.cwd = "/";
  return spec;
}

std::string BoxTest::own_root() {
  own_roots_.push_back(fresh_directory("gantry-own-root"));
  make_root(own_roots_.back());
  return own_roots_.back();
}

Co<Result<void>> BoxTest::launch(const LaunchContext& context, UniqueFd output, BoxResult& result,
                                 std::optional<ProcessRef>& process) {
  (void)result;
  LaunchPlan::Builder plan;
  for (auto& isolator : world->isolators) {
    GANTRY_CO_TRY((co_await isolator->prepare(context, plan)).context(isolator->name()));
  }
  const int null = plan.fd(GANTRY_CO_TRY(sys::open("/dev/null", O_RDONLY)));
  const int out = plan.fd(std::move(output));
  for (uint64_t number = 0; number < 3; ++number) {
    plan.add(Stage::begin,
             {.kind = OpKind::kDuplicate, .fd = number == 0 ? null : out, .a = number});
  }
  auto signal = GANTRY_CO_TRY(sys::pipe());
  plan.add(Stage::wait, {.kind = OpKind::kBarrier, .fd = plan.fd(std::move(signal.read))});
  const ProcessSpec& command = context.spec.process;
  plan.add(Stage::credentials, {.kind = OpKind::kChdir, .s1 = plan.str(command.cwd)});
  plan.set_args(command.args);
  plan.set_env({"PATH=/bin", "HOME=/root"});
  plan.add(Stage::exec, {.kind = OpKind::kExec, .s1 = plan.str(command.args[0])});
  LaunchPlan sealed = GANTRY_CO_TRY(std::move(plan).seal());
  LaunchedChild child =
      GANTRY_CO_TRY(co_await world->launcher->launch(context.id.hash(), sealed, {}));
  process.emplace(std::move(child.process));
  for (auto& isolator : world->isolators) {
    GANTRY_CO_TRY((co_await isolator->isolate(context, *process)).context(isolator->name()));
  }
  const auto give_signal = [&](uint32_t) -> Co<Result<void>> {
    GANTRY_CO_TRY(world->cgroups->verify_membership(context.id, process->pid()));
    co_return sys::write_all(signal.write.get(), "s");
  };
  co_return co_await wait_exec(sealed, child.report_pipe.get(), 10s, give_signal);
}

namespace {
Co<void> watch_memory(Isolator& isolator, ContainerId id, std::optional<Limitation>& found,
                      ContainerCgroups& cgroups) {
  auto limit = co_await isolator.watch(id);
  if (!limit) co_return;
  found = std::move(*limit);
  (co_await cgroups.kill_all(id)).ignore("the test's wait reports it");
}
}  // namespace

Co<BoxResult> BoxTest::live(
    ContainerSpec spec, std::optional<Rootfs> root,
    std::function<Co<void>(const ContainerId&, const ProcessRef&)> meanwhile) {
  BoxResult result;
  const ContainerId id = ContainerId::generate();
  Rootfs rootfs = root.value_or(Rootfs());
  if (!root) {
    if (const auto* directory = std::get_if<DirectoryRoot>(&spec.root)) {
      rootfs.kind = Rootfs::Kind::directory;
      rootfs.directory = directory->path;
    }
  }
  Credentials credentials;
  if (uint32_t uid = 0; parse_number(spec.process.user.text, uid)) {
    credentials.uid = credentials.gid = uid;
    credentials.groups = {uid + 1};
  }
  const LaunchContext context{.id = id,
                              .cgroup_name = id.directory_name(),
                              .spec = spec,
                              .credentials = credentials,
                              .rootfs = rootfs,
                              .sandbox = world->directory,
                              .runtime_dir = world->directory + "/run",
                              .hostname = spec.hostname.empty() ? "box" : spec.hostname,
                              .staging_dir = world->directory + "/staging"};
  ok(sys::ensure_directory_at(AT_FDCWD, context.staging_dir.c_str(), 0700));
  auto pipe = ok(sys::pipe());
  Reader reader(std::move(pipe.read));
  std::optional<ProcessRef> process;
  auto launched = co_await launch(context, std::move(pipe.write), result, process);
  if (!launched) result.error = launched.error().to_string();
  Scope watches(loop().get_executor());
  Isolator& memory = isolator("memory");
  if (launched && memory.watches(id)) {
    watches.spawn(watch_memory(memory, id, result.limitation, cgroups()));
  }
  if (launched && meanwhile) co_await meanwhile(id, *process);
  if (process) {
    if (!launched) process->signal(SIGKILL).ignore("it may be gone");
    auto exit = co_await world->launcher->wait_exit(id.hash());
    EXPECT_TRUE(exit.has_value());
    if (exit) result.wait_status = exit->wait_status;
    (co_await world->launcher->forget(id.hash())).ignore("");
  }
  for (auto& isolator : world->isolators) {
    if (launched) {
      ok(co_await isolator->usage(id, result.usage));
      auto limit = co_await isolator->limitation_at_exit(id);
      if (limit && !result.limitation) result.limitation = std::move(limit);
    }
  }
  co_await watches.close();
  for (size_t i = world->isolators.size(); i-- > 0;) {
    ok(co_await world->isolators[i]->cleanup(id));
  }
  reader.thread.join();
  result.out = std::move(reader.text);
  co_return result;
}

BoxResult BoxTest::run(ContainerSpec spec, std::optional<Rootfs> root) {
  return run(std::move(spec), std::move(root), {});
}

BoxResult BoxTest::run(ContainerSpec spec, std::optional<Rootfs> root,
                       std::function<Co<void>(const ContainerId&, const ProcessRef&)> meanwhile) {
  return test::run(loop(), live(std::move(spec), std::move(root), std::move(meanwhile)));
}

std::string BoxTest::output_of(ContainerSpec spec) {
  BoxResult result = run(std::move(spec));
  EXPECT_EQ(result.error, "");
  EXPECT_EQ(result.exit_code(), 0) << "wait status " << result.wait_status << ": " << result.out;
  return result.out;
}
}  // namespace gantry::test
