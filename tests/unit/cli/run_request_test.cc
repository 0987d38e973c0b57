#include "executor/cli/run_request.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "executor/cli/command.h"
#include "executor/cli/json.h"

namespace gantry::cli {
namespace {
// What `gantry run WORDS` would send, or the error.
Result<JsonDocument> request(const std::vector<std::string>& words) {
  RunOptions options;
  Flags flags;
  options.declare(flags);
  const auto rest = flags.parse(words);
  if (!rest) return rest.error();
  const auto body = run_request(options, "id1", *rest);
  if (!body) return body.error();
  return parse_json(*body, "the request");
}

std::string spec(const std::vector<std::string>& words, std::string_view path) {
  const auto document = request(words);
  if (!document) return cat("error: ", document.error().to_string());
  const Json* value = find(*document, cat("gantry_run.launch.gantry_spec.", path));
  return value == nullptr ? "absent" : to_text(*value);
}

TEST(RunRequest, TheWholeLine) {
  const auto document = request({"--name", "web", "-e", "A=1", "--rm", "-w", "/srv", "-u",
                                 "1000:1000", "nginx", "nginx", "-g", "daemon off;"});
  ASSERT_TRUE(document);
  EXPECT_EQ(text_of(*document, "type"), "GANTRY_RUN");
  EXPECT_EQ(text_of(*document, "gantry_run.launch.container_id.value"), "id1");
  const Json& all = *find(*document, "gantry_run.launch.gantry_spec");
  EXPECT_EQ(to_text(all),
            R"({"name":"web","image":"nginx","args":["nginx","-g","daemon off;"],"env":["A=1"],)"
            R"("cwd":"/srv","user":"1000:1000","resources":{},"network":{"mode":"NONE"},)"
            R"("remove_on_exit":true})");
}

TEST(RunRequest, DetachedIsAPlainLaunch) {
  const auto document = request({"-d", "nginx"});
  ASSERT_TRUE(document);
  EXPECT_EQ(text_of(*document, "type"), "LAUNCH_CONTAINER");
  EXPECT_EQ(text_of(*document, "launch_container.gantry_spec.image"), "nginx");
}

TEST(RunRequest, LogOptionsAreDockers) {
  const std::string both = R"({"max_size_bytes":10485760,"max_files":3})";
  EXPECT_EQ(spec({"--log-opt", "max-size=10m,max-file=3", "x"}, "log"), both);
  EXPECT_EQ(spec({"--log-opt", "max-file=3", "--log-opt", "max-size=10m", "x"}, "log"), both);
  EXPECT_EQ(spec({"--log-opt", "max-size=-1", "x"}, "log"), R"({"max_size_bytes":0})");
  EXPECT_EQ(spec({"x"}, "log"), "absent");
  const std::string wrong = spec({"--log-opt", "tag=x", "x"}, "log");
  EXPECT_TRUE(wrong.ends_with("--log-opt tag=x: known are max-size=SIZE and max-file=NUMBER"))
      << wrong;
}

TEST(RunRequest, RelativePathsBecomeAbsolute) {
  char here[4096];
  ASSERT_NE(::getcwd(here, sizeof here), nullptr);
  EXPECT_EQ(spec({"-v", "./src:/src:ro", "x"}, "mounts"),
            cat(R"([{"type":"BIND","source":")", here,
                R"(/src","destination":"/src","read_only":true}])"));
  EXPECT_EQ(spec({"--rootfs", "r", "ls"}, "rootfs"), cat("\"", here, "/r\""));
  EXPECT_EQ(spec({"--rootfs", ".", "ls"}, "rootfs"), cat("\"", here, "\""));
}

TEST(RunRequest, VolumesAndTmpfs) {
  EXPECT_EQ(spec({"-v", "/a:/b:rslave,nosuid,bind", "x"}, "mounts"),
            R"([{"type":"BIND","source":"/a","destination":"/b","propagation":"RSLAVE",)"
            R"("nosuid":true,"recursive":false}])");
  EXPECT_EQ(spec({"-v", "data:/b", "x"}, "mounts"),
            R"([{"type":"VOLUME","source":"data","destination":"/b"}])");
  EXPECT_EQ(spec({"--tmpfs", "/t:size=64m,mode=1777,noexec", "x"}, "mounts"),
            R"([{"type":"TMPFS","destination":"/t","size_bytes":67108864,"mode":1023,)"
            R"("noexec":true}])");
}

TEST(RunRequest, Limits) {
  EXPECT_EQ(spec({"-m", "64m", "--cpus", "0.5", "--pids", "100", "--cpuset", "0-1", "--memory-swap",
                  "-1", "x"},
                 "resources"),
            R"({"cpus":0.5,"cpuset_cpus":"0-1","memory_limit_bytes":67108864,)"
            R"("memory_swap_bytes":-1,"pids_limit":100})");
  EXPECT_EQ(spec({"--ulimit", "nofile=1024:2048", "--ulimit", "core=unlimited", "x"}, "ulimits"),
            R"([{"name":"nofile","soft":1024,"hard":2048},{"name":"core","soft":-1}])");
}

TEST(RunRequest, Ports) {
  EXPECT_EQ(spec({"-p", "127.0.0.1:8080:80", "-p", "53:53/udp", "x"}, "network"),
            R"({"mode":"BRIDGE","ports":[{"host_port":8080,"container_port":80,"protocol":"tcp",)"
            R"("host_ip":"127.0.0.1"},{"host_port":53,"container_port":53,"protocol":"udp"}]})");
  EXPECT_EQ(spec({"-p", "90-91:80-81", "x"}, "network"),
            R"({"mode":"BRIDGE","ports":[{"host_port":90,"container_port":80,"protocol":"tcp"},)"
            R"({"host_port":91,"container_port":81,"protocol":"tcp"}]})");
  EXPECT_EQ(spec({"-p", "65534-65535:1-2", "x"}, "network"),
            R"({"mode":"BRIDGE","ports":[{"host_port":65534,"container_port":1,"protocol":"tcp"},)"
            R"({"host_port":65535,"container_port":2,"protocol":"tcp"}]})");
  EXPECT_EQ(spec({"-p", "80", "-p", "127.0.0.1::80/udp", "x"}, "network"),
            R"({"mode":"BRIDGE","ports":[{"host_port":0,"container_port":80,"protocol":"tcp"},)"
            R"({"host_port":0,"container_port":80,"protocol":"udp","host_ip":"127.0.0.1"}]})");
}

TEST(RunRequest, Uris) {
  EXPECT_EQ(spec({"--uri", "http://h/f.tar#sha256=ab&extract&name=x", "x"}, "uris"),
            R"([{"uri":"http://h/f.tar","sha256":"ab","extract":true,"output_file":"x"}])");
  EXPECT_EQ(spec({"--uri", "/etc/hosts", "x"}, "uris"), R"([{"uri":"file:///etc/hosts"}])");
}

TEST(RunRequest, EntrypointAndRights) {
  EXPECT_EQ(spec({"--entrypoint", "", "x"}, "entrypoint"), R"({"args":[]})");
  EXPECT_EQ(spec({"--entrypoint", "/bin/sh", "x"}, "entrypoint"), R"({"args":["/bin/sh"]})");
  EXPECT_EQ(spec({"--rootfs", "/r", "--entrypoint", "/bin/sh", "-c", "id"}, "args"),
            "error: unknown flag -c");
  EXPECT_EQ(spec({"--rootfs", "/r", "--entrypoint", "/bin/sh", "--", "-c", "id"}, "args"),
            R"(["/bin/sh","-c","id"])");
  EXPECT_EQ(spec({"--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "x"}, "cap_drop"), R"(["ALL"])");
  EXPECT_EQ(spec({"--security-opt", "seccomp=unconfined", "x"}, "seccomp"),
            R"({"mode":"UNCONFINED"})");
  EXPECT_EQ(spec({"--read-only", "x"}, "read_only"), "true");
}

TEST(RunRequest, HealthChecks) {
  EXPECT_EQ(spec({"x"}, "health"), "absent");
  EXPECT_EQ(spec({"--no-healthcheck", "x"}, "health"), R"({"off":true})");
  EXPECT_EQ(spec({"--health-cmd", "curl -f localhost", "--health-interval", "1m30s",
                  "--health-timeout", "500ms", "--health-retries", "2", "--health-start-period",
                  "0s", "--health-start-interval", "0", "--health-on-failure", "kill", "x"},
                 "health"),
            R"({"shell":"curl -f localhost","interval_ms":90000,"timeout_ms":500,)"
            R"("start_period_ms":0,"retries":2,"on_failure":"KILL"})");
}

TEST(RunRequest, VariablesPassedOnByName) {
  ::setenv("GANTRY_TEST_VARIABLE", "here", 1);
  ::unsetenv("GANTRY_TEST_ABSENT");
  EXPECT_EQ(spec({"-e", "GANTRY_TEST_VARIABLE", "-e", "GANTRY_TEST_ABSENT", "x"}, "env"),
            R"(["GANTRY_TEST_VARIABLE=here"])");
}

TEST(RunRequest, MistakesNameTheFlag) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "needs an IMAGE"},
      {{"--rootfs", "/r"}, "needs a COMMAND"},
      {{"-m", "lots", "x"}, "--memory is a size like 64m or 1.5g, not \"lots\""},
      {{"--cpus", "two", "x"}, "--cpus is a number, not \"two\""},
      {{"--pids", "1.5", "x"}, "--pids is a whole number"},
      {{"-p", "0", "x"}, "ports are numbers from 1 to 65535"},
      {{"-p", "90-91:80", "x"}, "-p 90-91:80: the two ranges have to be of the same length"},
      {{"-p", "91-90:81-80", "x"}, "-p 91-90:81-80: 91-90 is no range"},
      {{"-p", "1:80/sctp", "x"}, "the protocol is tcp or udp"},
      {{"-p", "1:80", "--network", "host", "x"}, "-p publishes ports of --network bridge"},
      {{"--network", "mars", "x"}, "--network is none, host or bridge"},
      {{"-v", "/a:b", "x"}, "must begin with a slash"},
      {{"-v", "/a:/b:zz", "x"}, "unknown option \"zz\""},
      {{"--tmpfs", "/t:mode=9", "x"}, "mode is octal"},
      {{"--ulimit", "nofile", "x"}, "write NAME=SOFT[:HARD]"},
      {{"--uri", "http://h/#md5=1", "x"}, "after # only sha256=HEX"},
      {{"-e", "=x", "x"}, "has no name"},
      {{"--stop-signal", "NOPE", "x"}, "is not a signal"},
      {{"--security-opt", "x", "x"}, "known are seccomp=unconfined"},
      {{"--health-interval", "soon", "x"}, "--health-interval is a time like 500ms, 10s or 1m30s"},
      {{"--health-timeout", "9000h", "x"}, "--health-timeout is at most a year"},
      {{"--health-timeout", "0.1ms", "x"}, "--health-timeout is at least 1ms"},
      {{"--health-retries", "-1", "x"}, "--health-retries is a whole number"},
      {{"--health-on-failure", "die", "x"}, "--health-on-failure is none, kill, restart or stop"},
  };
  for (const auto& [words, text] : cases) {
    const auto result = request(words);
    ASSERT_FALSE(result) << text;
    EXPECT_TRUE(is_usage_error(result.error()));
    EXPECT_NE(result.error().to_string().find(text), std::string::npos)
        << result.error().to_string();
  }
}
}  // namespace
}  // namespace gantry::cli
