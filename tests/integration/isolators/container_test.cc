// The walls of a default container, seen from inside.
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "base/cgroup_fs.h"
#include "base/sys.h"
#include "tests/integration/isolators/box.h"
#include "tests/integration/isolators/cgroup_test_root.h"

namespace gantry {
namespace {
using test::BoxResult;
using test::BoxTest;

bool has_line(const std::string& text, std::string_view line) {
  for (std::string_view candidate : split(text, '\n')) {
    if (candidate == line) return true;
  }
  return false;
}
#define EXPECT_LINE(text, line) EXPECT_TRUE(has_line(text, line)) << (line) << "\nin\n" << (text)
#define EXPECT_NO_LINE(text, line) \
  EXPECT_FALSE(has_line(text, line)) << (line) << "\nin\n" << (text)

TEST_F(BoxTest, PostureOfADefaultContainer) {
  const std::string out =
      output_of(shell("busybox cat /proc/self/status; busybox id; echo umask=$(umask); busybox cat "
                      "/proc/self/oom_score_adj /proc/self/personality; echo pid=$$; busybox cut "
                      "-d ' ' -f 18,19 /proc/self/stat"));
  EXPECT_LINE(out, "CapInh:\t0000000000000000");
  EXPECT_LINE(out, "CapPrm:\t00000000a80405fb");
  EXPECT_LINE(out, "CapEff:\t00000000a80405fb");
  EXPECT_LINE(out, "CapBnd:\t00000000a80405fb");
  EXPECT_LINE(out, "CapAmb:\t0000000000000000");
  EXPECT_LINE(out, "NoNewPrivs:\t1");
  EXPECT_LINE(out, "Seccomp:\t2");
  EXPECT_LINE(out, "Seccomp_filters:\t1");
  EXPECT_LINE(out, "SigBlk:\t0000000000000000");
  EXPECT_LINE(out, "SigIgn:\t0000000000000000");
  EXPECT_LINE(out, "Groups:\t ");
  EXPECT_LINE(out, "uid=0 gid=0");
  EXPECT_LINE(out, "umask=0022");
  EXPECT_LINE(out, "00000000");  // personality
  EXPECT_LINE(out, "pid=1");
  EXPECT_LINE(out, "0");     // oom_score_adj
  EXPECT_LINE(out, "20 0");  // priority, nice
}

TEST_F(BoxTest, AnotherUserHasNoCapabilitiesAndItsOwnGroups) {
  ContainerSpec spec = shell("busybox id; busybox cat /proc/self/status; echo x > /file; echo $?");
  spec.process.user.text = "1000";
  const std::string out = output_of(spec);
  EXPECT_LINE(out, "uid=1000 gid=1000 groups=1001");
  EXPECT_LINE(out, "CapEff:\t0000000000000000");
  EXPECT_LINE(out, "CapPrm:\t0000000000000000");
  EXPECT_LINE(out, "CapInh:\t0000000000000000");
}

TEST_F(BoxTest, EveryNamespaceIsItsOwn) {
  const std::string out = output_of(
      shell("for n in pid mnt uts ipc net cgroup; do busybox readlink /proc/self/ns/$n; done; "
            "busybox hostname; busybox ip addr show lo; busybox cat /proc/self/cgroup"));
  for (const char* name : {"pid", "mnt", "uts", "ipc", "net", "cgroup"}) {
    const std::string ours = std::filesystem::read_symlink(cat("/proc/self/ns/", name)).string();
    EXPECT_NO_LINE(out, ours);
  }
  EXPECT_LINE(out, "box");
  EXPECT_NE(out.find("LOOPBACK,UP"), std::string::npos) << out;
  // The cgroup namespace was made after the last move: every path is its root.
  for (std::string_view line : split(out, '\n')) {
    if (std::regex_match(std::string(line), std::regex("[0-9]+:[^ ]*:/.*"))) {
      EXPECT_TRUE(line.ends_with(":/")) << line;
    }
  }
}

TEST_F(BoxTest, HostNamespacesAreTheHostsWhenAskedFor) {
  ContainerSpec spec =
      shell("for n in pid ipc net uts; do busybox readlink /proc/self/ns/$n; done");
  for (auto* choice : {&spec.namespaces.pid, &spec.namespaces.ipc, &spec.namespaces.uts}) {
    choice->kind = NamespaceChoice::Kind::host;
  }
  spec.network.mode = NetworkSpec::Mode::host;
  const std::string out = output_of(spec);
  for (const char* name : {"pid", "ipc", "net", "uts"}) {
    EXPECT_LINE(out, std::filesystem::read_symlink(cat("/proc/self/ns/", name)).string());
  }
}

TEST_F(BoxTest, JoinsTheNamespacesOfAnother) {
  BoxResult inner;
  const BoxResult outer = run(
      shell("busybox hostname; busybox readlink /proc/self/ns/net; busybox sleep 1"), std::nullopt,
      [&](const ContainerId&, const ProcessRef& process) -> Co<void> {
        // A shell of its own: a second loop cannot run inside this one.
        for (const char* name : {"uts", "net", "pid"}) {
          inner.out += std::filesystem::read_symlink(cat("/proc/", process.pid(), "/ns/", name));
          inner.out += '\n';
        }
        co_return;
      });
  EXPECT_LINE(outer.out, "box");
  EXPECT_LINE(outer.out, std::string(split(inner.out, '\n')[1]));

  ContainerSpec joins = shell("busybox readlink /proc/self/ns/net");
  joins.namespaces.network = {.kind = NamespaceChoice::Kind::join, .path = "/proc/self/ns/net"};
  EXPECT_LINE(output_of(joins), std::filesystem::read_symlink("/proc/self/ns/net").string());
  joins.namespaces.network.path = "/proc/self/ns/uts";
  EXPECT_NE(run(joins).error.find("namespaces.net"), std::string::npos);
  joins.namespaces.network.path = "/etc/passwd";
  EXPECT_NE(run(joins).error.find("is no namespace"), std::string::npos);
}

TEST_F(BoxTest, SystemCallsAnswerAsTheProfileSays) {
  ContainerSpec spec = shell("");
  spec.process.args = {"/bin/probe", "calls"};
  const std::string out = output_of(spec);
  EXPECT_EQ(out,
            "clone3=38\nsocket_inet=0\nsocket_alg=1\nsocket_alg_high=1\nsocket_vsock=1\n"
            "unshare_user=1\nclone_newuser=1\nmount=1\nkeyctl=1\nbpf=1\nio_uring_setup=1\n"
            "userfaultfd=1\nptrace=3\npersonality_query=0\npersonality_aslr=1\nnewest=38\n"
            "tomorrow=38\nx32_getpid=38\ngetpid=0\n");
  spec.security.seccomp.mode = SeccompSpec::Mode::unconfined;
  EXPECT_NE(output_of(spec).find("personality_aslr=0\n"), std::string::npos)
      << "the test must be able to see a difference";
}

TEST_F(BoxTest, FilterIsLoadedAlsoWithoutNoNewPrivileges) {
  ContainerSpec spec = shell("busybox cat /proc/self/status; probe calls");
  spec.security.no_new_privileges = false;
  spec.process.user.text = "1000";
  const std::string out = output_of(spec);
  EXPECT_LINE(out, "NoNewPrivs:\t0");
  EXPECT_LINE(out, "Seccomp:\t2");
  EXPECT_LINE(out, "keyctl=1");
}

TEST_F(BoxTest, OwnProfileIsUsedAndABadOneStopsTheLaunch) {
  ContainerSpec spec = shell("busybox mkdir /tmp/x; busybox ls /");
  spec.security.seccomp = {.mode = SeccompSpec::Mode::profile,
                           .profile_json = R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
      [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]})"};
  EXPECT_NE(output_of(spec).find("No space left"), std::string::npos);
  spec.security.seccomp.profile_json = "";
  EXPECT_NE(run(spec).error.find("seccomp profile"), std::string::npos);
}

TEST_F(BoxTest, DevicesAreTheOnesOfTheListOnly) {
  const std::string out = output_of(
      shell("cd /dev; busybox ls -1; "
            "probe mknod /tmp/mem c 1 1; probe open /tmp/mem r; "
            "probe mknod /tmp/sda b 8 0; probe open /tmp/sda r; "
            "probe mknod /tmp/fuse c 10 229; probe open /tmp/fuse rw; "
            "probe mknod /tmp/tun c 10 200; probe open /tmp/tun rw; busybox rm /tmp/*; "
            "probe open /dev/null w; probe open /dev/zero r; probe open /dev/full w; "
            "probe open /dev/urandom r; probe open /dev/ptmx rw; echo hello > /dev/stderr"));
  for (const char* name : {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm",
                           "mqueue", "fd", "stdin", "stdout", "stderr"}) {
    EXPECT_LINE(out, name);
  }
  EXPECT_LINE(out, "hello");
  EXPECT_EQ(std::count(out.begin(), out.end(), '='), 13);
  size_t at = 0, refused = 0, granted = 0;
  while ((at = out.find("open=", at)) != std::string::npos) {
    out.compare(at, 6, "open=1") == 0 ? ++refused : ++granted;
    at += 5;
  }
  EXPECT_EQ(refused, 4u) << out;
  EXPECT_EQ(granted, 5u) << out;
}

TEST_F(BoxTest, AnAskedForDeviceIsMadeAndMayBeOpened) {
  ContainerSpec spec =
      shell("busybox stat -c '%t:%T %a' /dev/sub/fuse; probe open /dev/sub/fuse r");
  spec.devices.push_back(
      {.path = "/dev/sub/fuse", .type = 'c', .major = 10, .minor = 229, .mode = 0640});
  BoxResult result = run(spec);
  // The parent is made too.
  EXPECT_EQ(result.error, "");
  EXPECT_LINE(result.out, "a:e5 640");
  // 19: a kernel without the driver; 1 would be the device list.
  EXPECT_TRUE(has_line(result.out, "open=0") || has_line(result.out, "open=19")) << result.out;
  spec.devices[0].path = "/etc/fuse";
  EXPECT_NE(run(spec).error.find("below /dev"), std::string::npos);
}

TEST_F(BoxTest, ProcAndSysAreMaskedAndReadOnly) {
  const std::string out = output_of(
      shell("for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do "
            "  [ -e $f ] && echo size$(busybox cat $f | busybox wc -c); done; "
            "for d in /proc/scsi /proc/acpi /sys/firmware /sys/devices/virtual/powercap; do "
            "  [ -d $d ] && echo dir$(busybox ls $d | busybox wc -l); done; "
            "echo x > /proc/sys/kernel/core_pattern; echo w1=$?; echo h > /proc/sysrq-trigger; "
            "echo w2=$?;"
            "echo 0 > /sys/kernel/mm/transparent_hugepage/enabled; echo w3=$?; "
            "busybox mkdir /proc/kcore/x /sys/firmware/x; "
            "busybox grep -c . /proc/mounts; busybox cat /proc/mounts"));
  for (std::string_view line : split(out, '\n')) {
    if (line.starts_with("size")) EXPECT_EQ(line, "size0");
    if (line.starts_with("dir")) EXPECT_EQ(line, "dir0");
  }
  EXPECT_LINE(out, "w1=1");
  EXPECT_LINE(out, "w2=1");
  EXPECT_LINE(out, "w3=1");
  EXPECT_EQ(out.find("cgroup"), std::string::npos) << "no cgroup file system is in reach";
  EXPECT_NE(out.find("sysfs /sys sysfs ro,nosuid,nodev,noexec"), std::string::npos) << out;
  EXPECT_NE(out.find("proc /proc proc rw,nosuid,nodev,noexec"), std::string::npos) << out;
}

TEST_F(BoxTest, ReadOnlyRootTakesNoWritesButTmpfsDoes) {
  ContainerSpec spec = shell(
      "echo x > /file; echo root=$?; echo x > /scratch/file; echo scratch=$?; echo x > "
      "/dev/shm/x; echo shm=$?; busybox df -k /scratch | busybox tail -1; busybox stat -c %a "
      "/scratch");
  spec.security.read_only_root = true;
  MountSpec tmpfs;
  tmpfs.type = MountSpec::Type::tmpfs;
  tmpfs.destination = "/tmp";
  tmpfs.size = 1 << 20;
  tmpfs.mode = 0700;
  std::string root = own_root();
  std::filesystem::create_directory(root + "/scratch");
  tmpfs.destination = "/scratch";
  spec.mounts = {tmpfs};
  spec.root = DirectoryRoot{root};
  const std::string out = output_of(spec);
  EXPECT_LINE(out, "root=1");
  EXPECT_LINE(out, "scratch=0");
  EXPECT_LINE(out, "shm=0");
  EXPECT_LINE(out, "700");
  EXPECT_NE(out.find(" 1024 "), std::string::npos) << out;
  EXPECT_FALSE(std::filesystem::exists(root + "/scratch/file"));
}

TEST_F(BoxTest, VolumesAreBoundWithTheirOptionsAndInOrder) {
  const std::string source = own_root();
  std::ofstream(source + "/greeting") << "hello\n";
  ContainerSpec spec = shell(
      "busybox cat /data/greeting /single; echo x > /data/w; echo w=$?; echo x > /data/deep/y; "
      "echo deep=$?; busybox grep ' /data ' /proc/mounts");
  spec.root = DirectoryRoot{own_root()};
  MountSpec data, file, deep;
  deep.type = MountSpec::Type::tmpfs;
  deep.destination = "/data/tmp";  // named first, mounted after its parent
  data.source = source;
  data.destination = "/data";
  data.read_only = data.nosuid = data.nodev = data.noexec = true;
  file.source = source + "/greeting";
  file.destination = "/single";
  spec.mounts = {deep, data, file};
  spec.process.args[3] += "; echo x > /data/tmp/y; echo tmp=$?";
  const std::string out = output_of(spec);
  EXPECT_EQ(out.find("hello\nhello\n"), 0u) << out;
  EXPECT_LINE(out, "w=1");
  EXPECT_LINE(out, "deep=1");
  EXPECT_LINE(out, "tmp=0");
  EXPECT_NE(out.find("ro,nosuid,nodev,noexec"), std::string::npos) << out;
  EXPECT_FALSE(std::filesystem::exists(source + "/w"));

  data.source = "/nowhere/at/all";
  spec.mounts = {data};
  const std::string error = run(spec).error;
  EXPECT_NE(error.find("/nowhere/at/all"), std::string::npos) << error;
}

TEST_F(BoxTest, HostileRootsAreRefusedAndWriteNothingOutside) {
  const std::string canary = own_root();
  std::filesystem::remove_all(canary + "/bin");
  for (const char* name : {"proc", "sys", "dev"}) {
    const std::string root = own_root();
    std::filesystem::remove(root + "/" + name);
    std::filesystem::create_symlink(std::filesystem::relative(canary, root), root + "/" + name);
    ContainerSpec spec = shell("true");
    spec.root = DirectoryRoot{root};
    const BoxResult result = run(spec);
    EXPECT_NE(result.error.find(name), std::string::npos) << result.error;
    std::filesystem::remove(root + "/" + name);
    std::ofstream(root + "/" + name) << "a file";
    EXPECT_NE(run(spec).error.find(name), std::string::npos) << name;
  }
  // /etc and a volume's target lead out: they stay inside.
  const std::string root = own_root();
  std::filesystem::remove(root + "/etc");
  std::filesystem::create_symlink(canary, root + "/etc");
  std::filesystem::create_symlink("/proc", root + "/data");
  ContainerSpec spec =
      shell("busybox cat /proc/1/comm; echo x > /proc/sys/kernel/core_pattern; echo $?");
  spec.root = DirectoryRoot{root};
  MountSpec volume;
  volume.source = canary;
  volume.destination = "/data";
  spec.mounts = {volume};
  const BoxResult result = run(spec);
  EXPECT_LINE(result.out, "busybox") << "/proc is the real one, whatever a link said";
  EXPECT_LINE(result.out, "1");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(canary), {}), 6) << "bin was removed";
}

TEST_F(BoxTest, SysctlsOfItsNamespacesAreSet) {
  ContainerSpec spec = shell(
      "busybox cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni "
      "/proc/sys/net/ipv4/ping_group_range");
  spec.security.sysctls = {
      {"net.ipv4.ip_forward", "1"}, {"kernel/shmmni", "77"}, {"net.ipv4.ping_group_range", "0 10"}};
  EXPECT_EQ(output_of(spec), "1\n77\n0\t10\n");
  spec.security.sysctls = {{"net.ipv4.no_such_thing", "1"}};
  const std::string error = run(spec).error;
  EXPECT_NE(error.find("net/ipv4/no_such_thing"), std::string::npos) << error;
}

TEST_F(BoxTest, UlimitsAreSetAndDefaultsDoNotComeFromUs) {
  ContainerSpec spec =
      shell("ulimit -n; ulimit -c; ulimit -s; ulimit -Hn; busybox cat /proc/self/limits");
  std::string out = output_of(spec);
  EXPECT_EQ(out.find("1024\n0\n8192\n"), 0u) << out;
  spec.process.rlimits = {{RLIMIT_NOFILE, 77, 99}, {RLIMIT_CORE, 4096, 8192}};
  out = output_of(spec);
  EXPECT_EQ(out.find("77\n"), 0u) << out;
  EXPECT_NE(out.find("Max core file size        4096                 8192"), std::string::npos)
      << out;
  spec.process.rlimits = {{RLIMIT_NOFILE, 1u << 30, 1u << 30}};
  EXPECT_NE(run(spec).error.find("nofile"), std::string::npos) << run(spec).error;
}

TEST_F(BoxTest, CapabilitiesAreExactlyThoseAskedFor) {
  ContainerSpec spec = shell("busybox grep Cap /proc/self/status");
  spec.security.capabilities = {.bounding = 0x402,
                                .effective = 0x2,
                                .permitted = 0x402,
                                .inheritable = 0x400,
                                .ambient = 0x400};
  spec.process.user.text = "1000";
  const std::string out = output_of(spec);
  EXPECT_LINE(out, "CapInh:\t0000000000000400");
  EXPECT_LINE(out, "CapPrm:\t0000000000000400");
  EXPECT_LINE(out, "CapEff:\t0000000000000400");
  EXPECT_LINE(out, "CapBnd:\t0000000000000402");
  EXPECT_LINE(out, "CapAmb:\t0000000000000400");
  spec.security.capabilities.ambient = 0x1;
  EXPECT_NE(run(spec).error.find("capabilities.ambient"), std::string::npos);
  spec.security.capabilities = {.bounding = uint64_t{1} << 45};
  EXPECT_NE(run(spec).error.find("lacks CAP_45"), std::string::npos) << run(spec).error;
}

TEST_F(BoxTest, HostRootTaskHasAllTheOtherWalls) {
  ContainerSpec spec;
  spec.root = HostRoot{};
  spec.process.cwd = "/";
  spec.process.args = {"/bin/sh", "-c",
                       "echo pid=$$; ls /proc | grep -c '^[0-9]'; cat /proc/self/status; "
                       "echo x > /proc/sys/kernel/core_pattern || echo refused; "
                       "mkdir /sys/fs/cgroup/pids/hostile || echo no cgroup"};
  const std::string out = output_of(spec);
  EXPECT_LINE(out, "pid=1");
  EXPECT_LINE(out, "CapEff:\t00000000a80405fb");
  EXPECT_LINE(out, "Seccomp:\t2");
  EXPECT_LINE(out, "refused");
  EXPECT_LINE(out, "no cgroup");
  spec.security.read_only_root = true;
  EXPECT_NE(run(spec).error.find("read_only_root"), std::string::npos);
}

TEST_F(BoxTest, OnlyThreeDescriptorsAreOpen) {
  const std::string out = output_of(shell("busybox ls /proc/self/fd"));
  EXPECT_EQ(out, "0\n1\n2\n3\n") << "3 is the directory that is listed";
}

TEST_F(BoxTest, MissingCommandFailsByName) {
  ContainerSpec spec = shell("");
  spec.process.args = {"/bin/nothing"};
  const std::string error = run(spec).error;
  EXPECT_NE(error.find("/bin/nothing"), std::string::npos) << error;
}
}  // namespace
}  // namespace gantry
