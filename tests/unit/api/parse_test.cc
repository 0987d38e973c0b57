#include "api/wire/parse.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "api/wire/json.h"

namespace gantry::wire {
namespace {
const Field kLaunch("launch_container");

// A launch from the members of its JSON object after container_id.
agent::Call::LaunchContainer launch(std::string_view members) {
  agent::Call::LaunchContainer out;
  const std::string json =
      cat(R"({"container_id":{"value":"c1"})", members.empty() ? "" : ",", members, "}");
  const auto result = from_json(json, out);
  EXPECT_TRUE(result) << (result ? "" : result.error().to_string()) << json;
  return out;
}
ContainerSpec parsed(std::string_view members) {
  auto spec = parse_launch(kLaunch, launch(members));
  EXPECT_TRUE(spec) << (spec ? "" : spec.error().to_string());
  return spec ? std::move(spec).value() : ContainerSpec{};
}
std::string error_of(std::string_view members) {
  auto spec = parse_launch(kLaunch, launch(members));
  return spec ? "no error" : spec.error().to_string();
}
std::string spec_error(std::string_view gantry_members) {
  const std::string error = error_of(cat(R"("gantry_spec":{"args":["x"])",
                                         gantry_members.empty() ? "" : ",", gantry_members, "}"));
  constexpr std::string_view kPrefix = "launch_container.gantry_spec.";
  return error.starts_with(kPrefix) ? error.substr(kPrefix.size()) : error;
}
ContainerSpec spec_of(std::string_view gantry_members) {
  return parsed(cat(R"("gantry_spec":{"args":["x"])", gantry_members.empty() ? "" : ",",
                    gantry_members, "}"));
}
std::string id_error(std::string_view json) {
  ContainerID in;
  EXPECT_TRUE(from_json(json, in)) << json;
  auto id = parse_container_id(kLaunch / "container_id", in);
  return id ? "no error" : id.error().to_string();
}

TEST(ParseId, TakesWhatMesosTakesAndUsesItsWords) {
  EXPECT_EQ(id_error(R"({"value":"a/b"})"),
            "'launch_container.container_id' is invalid: 'a/b' contains invalid characters");
  EXPECT_EQ(id_error(R"({"value":""})"),
            "'launch_container.container_id' is invalid: ID must not be empty");
  EXPECT_EQ(id_error(R"({"value":".."})"),
            "'launch_container.container_id' is invalid: '..' is disallowed");
  for (const char* bad : {"a.b", "a\\\\b", "a\\nb", "a\\u0000b", "a/../b", "\\u007f"}) {
    EXPECT_NE(id_error(cat(R"({"value":")", bad, "\"}")).find("contains invalid characters"),
              std::string::npos)
        << bad;
  }
  EXPECT_EQ(id_error(cat(R"({"value":")", std::string(242, 'x'), "\"}")), "no error");
  EXPECT_EQ(
      id_error(cat(R"({"value":")", std::string(243, 'x'), "\"}")),
      "'launch_container.container_id' is invalid: ID must not be greater than 242 characters");
  EXPECT_EQ(id_error(R"({"value":"x","parent":{"value":"a/b"}})"),
            "'launch_container.container_id' is invalid: 'a/b' contains invalid characters");
}
TEST(ParseId, KeepsParentsInTheirOrder) {
  ContainerID in;
  EXPECT_TRUE(from_json(R"({"value":"c","parent":{"value":"b","parent":{"value":"a"}}})", in));
  const ContainerId id = parse_container_id(kLaunch, in).value();
  EXPECT_EQ(id.to_string(), "a.b.c");
  EXPECT_EQ(to_wire(id).SerializeAsString(), in.SerializeAsString());
  ContainerID deep;
  ContainerID* at = &deep;
  for (int i = 0; i < 90; ++i) {
    at->set_value("x");
    at = at->mutable_parent();
  }
  at->set_value("x");
  EXPECT_NE(parse_container_id(kLaunch, deep).error().to_string().find("more than 32 parents"),
            std::string::npos);
}

TEST(ParseLaunch, ACommandOfMesosMeansWhatItMeansThere) {
  ContainerSpec spec = parsed(R"("command":{"value":"echo hi","user":"nobody","environment":
      {"variables":[{"name":"A","value":"1"},{"name":"B","type":"SECRET","secret":
      {"type":"VALUE","value":{"data":"eA=="}}}]}})");
  EXPECT_EQ(spec.process.args, (std::vector<std::string>{"/bin/sh", "-c", "echo hi"}));
  EXPECT_TRUE(spec.process.entrypoint && spec.process.entrypoint->empty());
  EXPECT_EQ(spec.process.user.text, "nobody");
  EXPECT_EQ(spec.process.env, (std::vector<std::string>{"A=1", "B=x"}));
  EXPECT_TRUE(std::holds_alternative<HostRoot>(spec.root));
  EXPECT_EQ(spec.network.mode, NetworkSpec::Mode::host);
  EXPECT_EQ(spec.namespaces.network.kind, NamespaceChoice::Kind::host);
  EXPECT_EQ(spec.sandbox_mount, "");

  spec = parsed(R"("command":{"shell":false,"value":"/bin/ls","arguments":["ls","-l"]},
      "container":{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"bb:1"}}}})");
  EXPECT_EQ(spec.process.args, (std::vector<std::string>{"/bin/ls", "-l"}));
  EXPECT_EQ(std::get<ImageRoot>(spec.root).reference, "bb:1");
  EXPECT_EQ(spec.sandbox_mount, "/mnt/mesos/sandbox");

  spec = parsed(R"("command":{"shell":false,"arguments":["-l"]},
      "container":{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"bb"}}}})");
  EXPECT_EQ(spec.process.args, (std::vector<std::string>{"-l"}));
  EXPECT_FALSE(spec.process.entrypoint);
}
TEST(ParseLaunch, ResourcesAreRequestsAndLimitsAreLimits) {
  ContainerSpec spec = parsed(R"("command":{"value":"x"},"resources":[
      {"name":"cpus","type":"SCALAR","scalar":{"value":0.5}},
      {"name":"mem","type":"SCALAR","scalar":{"value":64}},
      {"name":"disk","type":"SCALAR","scalar":{"value":4}}])");
  EXPECT_EQ(spec.resources.cpu_shares, 512);
  EXPECT_FALSE(spec.resources.cpu_quota);
  EXPECT_EQ(spec.resources.memory_limit, 64u << 20);
  EXPECT_EQ(spec.resources.memory_reservation, 64u << 20);
  spec = parsed(R"("command":{"value":"x"},"resources":[
      {"name":"mem","type":"SCALAR","scalar":{"value":512}}],
      "limits":{"cpus":{"value":1.5},"mem":{"value":"Infinity"}})");
  EXPECT_EQ(spec.resources.cpu_quota, std::chrono::microseconds(150'000));
  EXPECT_FALSE(spec.resources.memory_limit);
  EXPECT_EQ(spec.resources.memory_reservation, 512u << 20);
}
TEST(ParseLaunch, TakesVolumesNetworksRlimitsAndTerminals) {
  const ContainerSpec spec = parsed(R"("command":{"value":"x"},"container":{"type":"MESOS",
      "hostname":"web-1","volumes":[{"mode":"RO","container_path":"/data","host_path":"/srv"},
      {"mode":"RW","container_path":"rel","source":{"type":"HOST_PATH","host_path":{"path":"/x",
      "mount_propagation":{"mode":"BIDIRECTIONAL"}}}}],
      "network_infos":[{"name":"bridge","port_mappings":[{"host_port":8080,"container_port":80}]}],
      "rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE","hard":100,"soft":50},{"type":"RLMT_CORE"}]},
      "linux_info":{"shm_size":64,"effective_capabilities":{"capabilities":["CHOWN","BPF"]}},
      "tty_info":{"window_size":{"rows":40,"columns":100}}})");
  EXPECT_EQ(spec.hostname, "web-1");
  ASSERT_EQ(spec.mounts.size(), 3u);
  EXPECT_TRUE(spec.mounts[0].read_only);
  EXPECT_EQ(spec.mounts[1].destination, "/mnt/mesos/sandbox/rel");
  EXPECT_EQ(spec.mounts[1].propagation, Propagation::rshared);
  EXPECT_EQ(spec.mounts[2].destination, "/dev/shm");
  EXPECT_EQ(spec.network.mode, NetworkSpec::Mode::bridge);
  ASSERT_EQ(spec.network.ports.size(), 1u);
  ASSERT_EQ(spec.process.rlimits.size(), 2u);
  EXPECT_EQ(spec.process.rlimits[0].soft, 50u);
  EXPECT_EQ(spec.process.rlimits[1].hard, RLIM_INFINITY);
  EXPECT_EQ(spec.security.capabilities.effective, uint64_t{1} | uint64_t{1} << 39);
  EXPECT_EQ(spec.security.capabilities.bounding, spec.security.capabilities.effective);
  EXPECT_TRUE(spec.process.terminal);
  EXPECT_EQ(spec.process.columns, 100);
}
TEST(ParseLaunch, NamesTheFieldOfEveryMistake) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "launch_container.command: required where there is no image to say what to run"},
      {R"("command":{})", "launch_container.command.value: required where shell is true"},
      {R"("command":{"value":"x","arguments":["y"]})",
       "launch_container.command.arguments: have no meaning where shell is true"},
      {R"("command":{"shell":false,"value":""})",
       "launch_container.command.value: must not be empty"},
      {R"("command":{"value":"a\u0000b"})", "launch_container.command.value: must not contain NUL"},
      {cat(R"("command":{"value":")", std::string(1 << 20, 'x'), "\"}"),
       "launch_container.command.value: has 1048576 bytes, at most 131071 are accepted"},
      {R"("command":{"value":"x","user":"-1"})",
       "launch_container.command.user: has a user that is neither a number nor a name "
       "([A-Za-z_][A-Za-z0-9_.-]*)"},
      {R"("command":{"value":"x","environment":{"variables":[{"name":"A=B","value":"c"}]}})",
       "launch_container.command.environment.variables[0].name: must not contain '='"},
      {R"("command":{"value":"x","environment":{"variables":[{"name":"HOME","value":"/\nroot::0"}]}})",
       "launch_container.command.environment.variables[0]: HOME must not contain control "
       "characters"},
      {R"("command":{"value":"x","environment":{"variables":[{"name":"","value":"c"}]}})",
       "launch_container.command.environment.variables[0]: must be NAME=VALUE"},
      {R"("command":{"value":"x","uris":[{"value":"ftp://x/y"}]})",
       "launch_container.command.uris: must begin with file:///, http:// or https://"},
      {R"("command":{"value":"x","uris":[{"value":"http://x/y","output_file":"../z"}]})",
       "launch_container.command.uris[0].output_file: must not contain '..'"},
      {R"("command":{"value":"x"},"container":{"type":"DOCKER","docker":{"image":"x"}})",
       "The provided ContainerInfo is not supported"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","hostname":"a\nb"})",
       "launch_container.container.hostname: must be 1 to 64 of A-Z a-z 0-9 . _ -, beginning with "
       "a "
       "letter or digit"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","volumes":[{"mode":"RW",
          "container_path":"/proc/sys","host_path":"/srv"}]})",
       "launch_container.container.volumes[0].container_path: must not be in /proc"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","volumes":[{"mode":"RW",
          "container_path":"../x","host_path":"/srv"}]})",
       "launch_container.container.volumes[0].container_path: must not contain '..'"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","volumes":[{"mode":"RW",
          "container_path":"/x","source":{"type":"SECRET"}}]})",
       "launch_container.container.volumes[0]: only host_path and a source of type HOST_PATH are "
       "supported, and one of them"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","linux_info":{"share_cgroups":true}})",
       "launch_container.container.linux_info.share_cgroups: must not be true for a top-level "
       "container"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","linux_info":{"seccomp":{}}})",
       "launch_container.container.linux_info.seccomp: needs either profile_name or unconfined"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","rlimit_info":{"rlimits":[
          {"type":"RLMT_NOFILE","hard":1,"soft":2}]}})",
       "launch_container.container.rlimit_info.rlimits[0].soft: must not be above hard"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","network_infos":[{"port_mappings":[
          {"host_port":70000,"container_port":80}]}]})",
       "launch_container.container.network_infos[0].port_mappings[0].host_port: must be 1 to "
       "65535"},
      {R"("command":{"value":"x"},"resources":[{"name":"cpus","type":"SCALAR","scalar":
          {"value":-1}}])",
       "launch_container.resources[0].scalar: must be above 0 and at most 8192"},
      {R"("command":{"value":"x"},"resources":[{"name":"mem","type":"SCALAR","scalar":
          {"value":"NaN"}}])",
       "launch_container.resources[0].scalar: must be above 0 and at most 1e+12"},
      {R"("command":{"value":"x"},"resources":[{"name":"mem","type":"SCALAR","scalar":{"value":64},
          "role":"dev"}])",
       "launch_container.resources[0]: must be unreserved"},
      {R"("command":{"value":"x"},"limits":{"disk":{"value":1}})",
       "launch_container.limits: only cpus and mem have limits"},
      {R"("command":{"value":"x"},"gantry_spec":{},"container":{"type":"MESOS","gantry_spec":{}})",
       "launch_container.container.gantry_spec: excludes gantry_spec of the launch itself"},
  };
  for (const auto& [members, expected] : cases) EXPECT_EQ(error_of(members), expected);
}

TEST(ParseGantry, TheDefaultsAreTheSafeOnes) {
  const ContainerSpec spec = spec_of(R"("image":"bb:latest")");
  EXPECT_EQ(std::get<ImageRoot>(spec.root).reference, "bb:latest");
  EXPECT_EQ(spec.network.mode, NetworkSpec::Mode::none);
  EXPECT_EQ(spec.security.capabilities.effective, default_capabilities().effective);
  EXPECT_EQ(spec.security.capabilities.inheritable, 0u);
  EXPECT_TRUE(spec.security.no_new_privileges);
  EXPECT_TRUE(spec.security.masked_paths);
  EXPECT_EQ(spec.security.seccomp.mode, SeccompSpec::Mode::default_profile);
  EXPECT_EQ(spec.process.umask, 022u);
  EXPECT_EQ(spec.stop_timeout.count(), 10);
  EXPECT_FALSE(spec.process.entrypoint);
  EXPECT_EQ(spec.sandbox_mount, "");
}
TEST(ParseGantry, CapabilitiesAreAddedAndDroppedAsDockerDoes) {
  const uint64_t base = default_capabilities().effective;
  const uint64_t net_admin = uint64_t{1} << 12, chown = 1;
  auto of = [](std::string_view members) { return spec_of(members).security.capabilities; };
  EXPECT_EQ(of(R"("cap_add":["NET_ADMIN"],"cap_drop":["cap_chown"])").effective,
            (base | net_admin) & ~chown);
  EXPECT_EQ(of(R"("cap_drop":["ALL"])").bounding, 0u);
  EXPECT_EQ(of(R"("cap_drop":["ALL"],"cap_add":["CAP_NET_ADMIN"])").permitted, net_admin);
  EXPECT_EQ(of(R"("cap_add":["ALL"],"cap_drop":["CHOWN"])").effective,
            ((uint64_t{1} << 41) - 1) & ~chown);
  EXPECT_EQ(of(R"("cap_add":["ALL"])").inheritable, 0u);
  EXPECT_EQ(
      of(R"("capabilities":{"permitted":["CHOWN"],"inheritable":["CHOWN"],"ambient":["CHOWN"]})")
          .ambient,
      chown);
}
TEST(ParseGantry, UsersAreNamesOrNumbersOf32Bits) {
  for (const char* good : {"0", "1000", "2147483648", "4294967294", "0:0", "1:users", "nobody",
                           "www-data:www-data", "_x", "svc$"}) {
    EXPECT_EQ(spec_error(cat(R"("user":")", good, "\"")), "no error") << good;
  }
  for (const char* bad :
       {"-1", "4294967295", "4294967296", "0x0", "00", " 0", "root:", ":0", "", "a b", "a:b:c",
        "a\\nb", "1:4294967296", "../x", "99999999999999999999"}) {
    EXPECT_TRUE(spec_error(cat(R"("user":")", bad, "\"")).starts_with("user: ")) << bad;
  }
}
TEST(ParseGantry, SysctlsConcernTheContainersOwnNamespaces) {
  EXPECT_EQ(spec_error(R"("sysctls":{"net.core.somaxconn":"1024","kernel.shmmax":"1",
                        "fs.mqueue.msg_max":"5"})"),
            "no error");
  for (const char* bad : {"kernel.core_pattern", "vm.swappiness", "net..core", "../kernel.shmmax",
                          "kernel.shm_rmid_forced+kernel.core_pattern", "kernel.hostname"}) {
    EXPECT_TRUE(spec_error(cat(R"("sysctls":{")", bad, R"(":"1"})")).starts_with("sysctls: "))
        << bad;
  }
  EXPECT_EQ(spec_error(R"("sysctls":{"net.core.somaxconn":"1"},"network":{"mode":"HOST"})"),
            "sysctls: 'net.core.somaxconn' would change the host: the container has the host's or "
            "another container's network");
  EXPECT_EQ(
      spec_error(R"("sysctls":{"kernel.sem":"1"},"namespaces":{"ipc":{"kind":"HOST"}})"),
      "sysctls: 'kernel.sem' would change the host: the container has no IPC namespace of its "
      "own");
  EXPECT_EQ(spec_error(R"("sysctls":{"kernel.sem":"1\n2"})"),
            "sysctls: must not contain control characters");
}
TEST(ParseGantry, NamesTheFieldOfEveryMistake) {
  const std::pair<std::string, std::string> cases[] = {
      {R"("name":"a.b")", "name: must be 1 to 128 of A-Z a-z 0-9 _ -, not beginning with _ or -"},
      {R"("name":"-x")", "name: must be 1 to 128 of A-Z a-z 0-9 _ -, not beginning with _ or -"},
      {R"("image":"../x")", "image: must be NAME[:TAG], NAME@sha256:DIGEST or sha256:DIGEST"},
      {R"("image":"a/../b")", "image: must be NAME[:TAG], NAME@sha256:DIGEST or sha256:DIGEST"},
      {R"("image":"a","rootfs":"/b")",
       "launch_container.gantry_spec: give one of image, rootfs and container.mesos.image"},
      {R"("rootfs":"b")", "rootfs: must be an absolute path"},
      {R"("rootfs":"/a/../b")", "rootfs: must not contain '..'"},
      {R"("rootfs":"//")", "rootfs: must not be the host's root directory"},
      {R"("cwd":"/proc/self/fd/7")", "cwd: must not be in /proc"},
      {R"("cwd":"x")", "cwd: must be an absolute path"},
      {cat(R"("cwd":"/)", std::string(4096, 'x'), "\""),
       "cwd: has 4097 bytes, at most 4095 are accepted"},
      {R"("env":["A\u0000=b"])", "env[0]: must not contain NUL"},
      {R"("env":["A=1","x"])", "env[1]: must be NAME=VALUE"},
      {R"("env":["A\nB=1"])", "env[0]: must not have control characters in its name"},
      {R"("cgroup_parent":"/a")",
       "cgroup_parent: must be a path like web or web/front below the executor's ROOT/parents, of "
       "at "
       "most 8 names of at most 64 of A-Z a-z 0-9 . _ - each, none of them . or .."},
      {R"("hostname":"a b")",
       "hostname: must be 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"},
      {R"("hostname":"a","namespaces":{"uts":{"kind":"HOST"}})",
       "hostname: would change the host: there is no UTS namespace of its own"},
      {R"("window_size":{"rows":70000,"columns":1})",
       "window_size: rows and columns are at most 65535"},
      {R"("ulimits":[{"name":"NOFILE","soft":1}])",
       "ulimits[0].name: is no resource of getrlimit(2), like nofile or core"},
      {R"("ulimits":[{"name":"nofile","soft":2,"hard":1}])",
       "ulimits[0].soft: must not be above hard"},
      {R"("ulimits":[{"name":"nofile","soft":-2}])",
       "ulimits[0].soft: must be at least 0, or -1 (unlimited)"},
      {R"("ulimits":[{"name":"core","soft":1},{"name":"core","soft":1}])",
       "ulimits[1].name: is given twice"},
      {R"("oom_score_adj":1001)", "oom_score_adj: must be -1000 to 1000"},
      {R"("umask":512)", "umask: must be at most 0777 (511)"},
      {R"("cap_add":["SYS_MAGIC"])", "cap_add[0]: 'SYS_MAGIC' is no capability of capabilities(7)"},
      {R"("capabilities":{"effective":["CHOWN"]})",
       "capabilities.effective: must be a subset of permitted"},
      {R"("capabilities":{"ambient":["CHOWN"],"permitted":["CHOWN"]})",
       "capabilities.ambient: must be a subset of permitted and of inheritable"},
      {R"("capabilities":{},"cap_add":["CHOWN"])", "capabilities: excludes cap_add and cap_drop"},
      {R"("seccomp":{"mode":"PROFILE"})",
       "seccomp.profile_json: goes together with the mode PROFILE, and only with it"},
      {R"("seccomp":{"mode":"UNCONFINED","profile_json":"{}"})",
       "seccomp.profile_json: goes together with the mode PROFILE, and only with it"},
      {R"("seccomp":{"mode":"UNKNOWN"})", "seccomp.mode: must be DEFAULT, UNCONFINED or PROFILE"},
      {R"("resources":{"cpus":0})", "resources.cpus: must be 0.01 to 8192"},
      {R"("resources":{"cpus":"NaN"})", "resources.cpus: must be 0.01 to 8192"},
      {R"("resources":{"cpus":1,"cpu_quota_us":1000})", "resources.cpus: excludes cpu_quota_us"},
      {R"("resources":{"cpu_shares":1})", "resources.cpu_shares: must be 2 to 262144"},
      {R"("resources":{"cpuset_cpus":"3-1"})", "resources.cpuset_cpus: must be a list like 0-1,3"},
      {R"("resources":{"cpuset_cpus":"0,"})", "resources.cpuset_cpus: must be a list like 0-1,3"},
      {R"("resources":{"memory_limit_bytes":4096})",
       "resources.memory_limit_bytes: must be 6291456 (6 MiB) to 4611686018427387904 bytes"},
      {R"("resources":{"memory_limit_bytes":18446744073709551615})",
       "resources.memory_limit_bytes: must be 6291456 (6 MiB) to 4611686018427387904 bytes"},
      {R"("resources":{"memory_swap_bytes":1})",
       "resources.memory_swap_bytes: needs memory_limit_bytes"},
      {R"("resources":{"memory_limit_bytes":67108864,"memory_swap_bytes":1})",
       "resources.memory_swap_bytes: counts memory and swap: -1 (unlimited), or at least "
       "memory_limit_bytes"},
      {R"("resources":{"pids_limit":0})",
       "resources.pids_limit: must be 1 to 4194304, or -1 (unlimited)"},
      {R"("resources":{"blkio_weight":9})", "resources.blkio_weight: must be 10 to 1000"},
      {R"("resources":{"device_rules":[{"type":"x","access":"r"}]})",
       "resources.device_rules[0].type: must be a, b or c"},
      {R"("resources":{"device_rules":[{"type":"c","access":"q"}]})",
       "resources.device_rules[0].access: must be of the letters r, w and m"},
      {R"("mounts":[{"source":"x","destination":"/y"}])",
       "mounts[0].source: must be an absolute path"},
      {R"("mounts":[{"source":"/x","destination":"/"}])",
       "mounts[0].destination: must not be the root directory"},
      {R"("mounts":[{"source":"/x","destination":"//./proc/self"}])",
       "mounts[0].destination: must not be in /proc"},
      {R"("mounts":[{"source":"/x","destination":"/a"},{"source":"/y","destination":"/a"}])",
       "mounts: two have the destination /a"},
      {R"("mounts":[{"type":"TMPFS","destination":"/a","size_bytes":0}])",
       "mounts[0].size_bytes: must be above 0"},
      {R"("mounts":[{"type":"TMPFS","source":"/x","destination":"/a"}])",
       "mounts[0].source: has no meaning for TMPFS"},
      {R"("devices":[{"path":"/etc/x","type":"c","major_number":1,"minor_number":3}])",
       "devices[0].path: must be a file below /dev"},
      {R"("devices":[{"path":"/dev/x","type":"c","major_number":5000,"minor_number":3}])",
       "devices[0].major_number: must be at most 4095"},
      {R"("uris":[{"uri":"http://x/y","sha256":"abc"}])",
       "uris[0].sha256: must be 64 lower-case hex digits"},
      {R"("uris":[{"uri":"file://etc/passwd"}])",
       "launch_container.command.uris: must begin with file:///, http:// or https://"},
      {R"("namespaces":{"network":{"kind":"JOIN"}})",
       "namespaces.network.path: must be an absolute path"},
      {R"("namespaces":{"mount":{"kind":"HOST"}})",
       "namespaces.mount.kind: must be PRIVATE or JOIN: mounts are never the host's"},
      {R"("namespaces":{"network":{"kind":"HOST"}},"network":{"mode":"BRIDGE"})",
       "namespaces.network: must be PRIVATE with the network mode BRIDGE"},
      {R"("network":{"ports":[{"host_port":80,"container_port":80}]})",
       "network.ports: need the mode BRIDGE"},
      {R"("network":{"mode":"BRIDGE","ports":[{"host_port":65536,"container_port":80}]})",
       "network.ports[0].host_port: must be 0 to 65535"},
      {R"("network":{"mode":"BRIDGE","ports":[{"host_port":80,"container_port":80},
          {"host_port":80,"container_port":81}]})",
       "network.ports: two publish port 80"},
      {R"("network":{"dns_servers":["1.2.3.4\n"]})",
       "network.dns_servers[0]: must be an IPv4 or IPv6 address"},
      {R"("network":{"extra_hosts":[{"name":"a b","address":"::1"}]})",
       "network.extra_hosts[0].name: must be 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter "
       "or digit"},
      {R"("labels":{"":"x"})", "labels: must not have an empty key"},
      {R"("labels":{"a\nb":"x"})", "labels: must not contain control characters"},
      {R"("stop_signal":"SIGNOPE")",
       "stop_signal: is no signal; legal: TERM, SIGTERM, RTMIN+3, 15"},
      {R"("stop_signal":"0")", "stop_signal: is no signal; legal: TERM, SIGTERM, RTMIN+3, 15"},
      {R"("log":{"max_size_bytes":1023})", "log.max_size_bytes: must be 0, or at least 1024"},
      {R"("log":{"max_files":0})", "log.max_files: must be from 1 to 1000"},
      {R"("log":{"max_files":1001})", "log.max_files: must be from 1 to 1000"},
      {R"("health":{"args":["a"],"shell":"b"})", "health.shell: excludes args"},
      {R"("health":{"shell":""})", "health.shell: must not be empty"},
      {R"("health":{"args":[""]})", "health.args[0]: the program's name must not be empty"},
      {R"("health":{"args":["a"],"interval_ms":0})",
       "health.interval_ms: must be from 1 to a year (31536000000)"},
      {R"("health":{"args":["a"],"start_period_ms":31536000001})",
       "health.start_period_ms: must be from 0 to a year (31536000000)"},
      {R"("health":{"args":["a"],"retries":0})", "health.retries: must be 1 to 1000000"},
      {R"("health":{"off":true,"retries":1})", "health.off: excludes everything else"},
      {R"("remove_on_exit":true,"health":{"args":["a"],"on_failure":"RESTART"})",
       "health.on_failure: RESTART excludes remove_on_exit: what is removed cannot run again"},
      {R"("health":{"retries":1})",
       "health.args: required where there is no image that has a check"},
      {R"("stop_timeout_seconds":4000000000)",
       "stop_timeout_seconds: must be at most a year (31536000)"},
  };
  for (const auto& [members, expected] : cases) EXPECT_EQ(spec_error(members), expected) << members;
}
TEST(ParseGantry, ListsHaveAnEnd) {
  std::string env = R"("env":["A=1")";
  for (int i = 0; i < 5000; ++i) env += R"(,"A=1")";
  EXPECT_EQ(spec_error(env + "]"), "env: has 5001 entries, at most 4096 are accepted");
  std::string args = R"("gantry_spec":{"args":["x")";
  for (int i = 0; i < 20; ++i) args += cat(",\"", std::string(100'000, 'a'), "\"");
  EXPECT_EQ(error_of(args + "]}"),
            "launch_container: arguments and environment have 2000022 bytes, at most 1048576 are "
            "accepted");
}

constexpr std::string_view kEverything = R"("gantry_spec":{"name":"web","image":"bb:1",
    "args":["-v","x y"],"entrypoint":{"args":["/bin/e"]},"env":["A=1","B=two\nlines"],"cwd":"/srv",
    "user":"1:users","additional_groups":["wheel","7"],"tty":true,
    "window_size":{"rows":50,"columns":132},"open_stdin":true,
    "ulimits":[{"name":"nofile","soft":1,"hard":2},{"name":"core","soft":-1}],"oom_score_adj":-5,
    "umask":63,"cap_add":["NET_ADMIN"],"seccomp":{"mode":"PROFILE","profile_json":"{}"},
    "no_new_privileges":false,"read_only":true,"masked_paths":false,
    "sysctls":{"net.core.somaxconn":"9"},
    "resources":{"cpu_shares":3,"cpus":1.25,"cpuset_cpus":"0-1","cpuset_mems":"0",
    "memory_limit_bytes":67108864,"memory_reservation_bytes":33554432,"memory_swap_bytes":-1,
    "pids_limit":7,"blkio_weight":100,
    "read_bps":[{"major_number":8,"minor_number":1,"rate":5}],
    "device_rules":[{"type":"c","major_number":10,"access":"rw","allow":false}]},
    "mounts":[{"source":"/a","destination":"/b","read_only":true,"recursive":false,"nosuid":true,
    "propagation":"SLAVE"},{"type":"TMPFS","destination":"/t","size_bytes":4096,"mode":1023},
    {"type":"VOLUME","destination":"/v"}],
    "devices":[{"path":"/dev/fuse","type":"c","major_number":10,"minor_number":229,"mode":432,
    "uid":1,"gid":2}],"uris":[{"uri":"http://h/x","sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "executable":true,"output_file":"y"}],"sandbox_mount":"/mnt/mesos/sandbox",
    "namespaces":{"ipc":{"kind":"JOIN","path":"/proc/1/ns/ipc"},"pid":{"kind":"HOST"}},
    "network":{"mode":"BRIDGE","ports":[{"host_port":8080,"container_port":80,"protocol":"udp",
    "host_ip":"127.0.0.1"}],"dns_servers":["::1"],"extra_hosts":[{"name":"db","address":"10.0.0.1"}]},
    "hostname":"h","labels":{"k":"v"},"stop_signal":"HUP","stop_timeout_seconds":3,
    "remove_on_exit":true,"cgroup_parent":"web/a.b_c-1","log":{"max_size_bytes":4096,"max_files":5},
    "health":{"shell":"true","interval_ms":1,"timeout_ms":2,"start_period_ms":0,"start_interval_ms":4,
    "retries":5,"on_failure":"KILL"}})";

// Every field of a spec that went through to_launch and parse_launch, as the JSON of its launch.
TEST(ToLaunch, SaysEverythingASpecSays) {
  for (std::string_view members :
       {kEverything, std::string_view(R"("command":{"value":"x"})"),
        std::string_view(R"("gantry_spec":{"rootfs":"/r","args":["x"]})")}) {
    const ContainerSpec spec = parsed(members);
    const ContainerId id = ContainerId::parse("c1").value();
    const auto first = to_launch(id, spec);
    auto again = parse_launch(kLaunch, first);
    ASSERT_TRUE(again) << again.error().to_string();
    EXPECT_EQ(to_json(to_launch(id, *again)), to_json(first));
  }
  const ContainerSpec spec = parsed(kEverything);
  EXPECT_EQ(spec.resources.cpu_quota, std::chrono::microseconds(125'000));
  EXPECT_EQ(spec.mounts[1].mode, 01777u);
  EXPECT_EQ(spec.devices[0].gid, 2u);
  EXPECT_EQ(spec.process.rlimits[1].soft, RLIM_INFINITY);
  EXPECT_EQ(spec.namespaces.ipc.path, "/proc/1/ns/ipc");
  EXPECT_EQ(spec.network.ports[0].protocol, PortMapping::Protocol::udp);
  EXPECT_FALSE(spec.resources.device_rules[0].minor);
  EXPECT_EQ(spec.uris[0].output_file, "y");
  EXPECT_EQ(spec.cgroup_parent, "web/a.b_c-1");
}
TEST(ToLaunch, TheRequestsBytesGiveTheSameSpecAgain) {
  const ContainerSpec spec = parsed(kEverything);
  auto again = parse_request_bytes(spec.request_bytes);
  ASSERT_TRUE(again);
  const ContainerId id = ContainerId::parse("c1").value();
  EXPECT_EQ(to_json(to_launch(id, *again)), to_json(to_launch(id, spec)));
  EXPECT_EQ(again->request_bytes, spec.request_bytes);
  EXPECT_TRUE(parse_request_bytes("\xff").error().is(Errc::corrupt));
}
TEST(LaunchOfTask, TakesWhatTheTaskSaysAndTheFrameworksUser) {
  TaskInfo task;
  ASSERT_TRUE(from_json(R"({"name":"t","task_id":{"value":"t"},"agent_id":{"value":"a"},
      "resources":[{"name":"mem","type":"SCALAR","scalar":{"value":64}}],
      "command":{"value":"true"},"limits":{"cpus":{"value":1}}})",
                        task));
  const ContainerId id = ContainerId::generate();
  auto spec = parse_launch(Field("task"), launch_of_task(task, id, "nobody"));
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->process.user.text, "nobody");
  EXPECT_EQ(spec->resources.memory_limit, 64u << 20);
  EXPECT_EQ(spec->resources.cpu_quota, std::chrono::microseconds(100'000));
  task.mutable_command()->set_user("root");
  EXPECT_EQ(launch_of_task(task, id, "nobody").command().user(), "root");
}
TEST(Field, PathsAreReadAsJson) {
  const Field mounts = kLaunch / "mounts";
  EXPECT_EQ((mounts[2] / "source").path(), "launch_container.mounts[2].source");
}
}  // namespace
}  // namespace gantry::wire
