#include "executor/operator_api.h"

#include "api/proto/agent.pb.h"
#include "api/wire/json.h"
#include "tests/unit/operator_api/fixture.h"

namespace gantry {
namespace {
using wire::agent::Call;

TEST_F(OperatorApiTest, AnswersWhatAMesosAgentAnswers) {
  // Requests and answers of mesos-wire's operator-api capture, dates and facts of the host aside.
  EXPECT_EQ(ask(R"({"type":"GET_HEALTH"})"),
            ok(R"({"type":"GET_HEALTH","get_health":{"healthy":true}})"));
  EXPECT_EQ(
      ask(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"op-parent"},"command":{"value":"echo hi; sleep 1000"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":512}}],"container":{"type":"MESOS","mesos":{}}}})"),
      ok_empty());
  EXPECT_EQ(
      ask(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"op-parent"},"command":{"value":"sleep 1000"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":512}}]}})"),
      "HTTP/1.1 202 Accepted\r\nDate: D\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(
      ask(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"n1","parent":{"value":"op-parent"}},"command":{"value":"echo nested; exit 7"}}})"),
      ok_empty());
  const std::string wait =
      R"({"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"n1","parent":{"value":"op-parent"}}}})";
  on_loop([&] {
    const ContainerId parent = ContainerId::parse("op-parent").value();
    backend_.finish(ContainerId::parse("n1", parent).value(),
                    ExitOutcome::from_wait_status(7 << 8));
  });
  EXPECT_EQ(ask(wait), ok(R"({"type":"WAIT_CONTAINER","wait_container":{"exit_status":1792}})"));
  EXPECT_EQ(ask(wait), ok(R"({"type":"WAIT_CONTAINER","wait_container":{"exit_status":1792}})"));
  const std::string remove =
      R"({"type":"REMOVE_CONTAINER","remove_container":{"container_id":{"value":"n1","parent":{"value":"op-parent"}}}})";
  EXPECT_EQ(ask(remove), ok_empty());
  EXPECT_EQ(ask(remove), ok_empty());
  EXPECT_EQ(
      ask(R"({"type":"KILL_CONTAINER","kill_container":{"container_id":{"value":"op-parent"}}})"),
      ok_empty());
  EXPECT_EQ(
      ask(R"({"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"op-parent"}}})"),
      ok(R"({"type":"WAIT_CONTAINER","wait_container":{"exit_status":9}})"));
  EXPECT_EQ(ask(R"({"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"nope"}}})"),
            refused(404, "Container nope cannot be found"));
  EXPECT_EQ(ask(R"({"type":"KILL_CONTAINER","kill_container":{"container_id":{"value":"nope"}}})"),
            refused(404, "Container 'nope' cannot be found (or is already killed)"));
  EXPECT_EQ(
      ask(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"x","parent":{"value":"nope"}},"command":{"value":"true"}}})"),
      refused(400, "Parent container nope does not exist"));
  EXPECT_EQ(
      ask(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"a/b"},"command":{"value":"true"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":512}}]}})"),
      refused(400,
              "Failed to validate agent::Call: 'launch_container.container_id' is invalid: 'a/b' "
              "contains invalid characters"));
  EXPECT_EQ(ask(R"({"type":"NOSUCH"})"),
            refused(400, "Failed to validate agent::Call: Expecting 'type' to be present"));
  EXPECT_EQ(
      ask(R"({"type":"LAUNCH_CONTAINER"})"),
      refused(400, "Failed to validate agent::Call: Expecting 'launch_container' to be present"));
  EXPECT_EQ(ask(R"({"type":"GET_HEALTH"})", "text/plain"),
            refused(415,
                    "Expecting 'Content-Type' of application/json or application/x-protobuf or "
                    "application/recordio"));
  EXPECT_EQ(
      ask(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"lim"},"command":{"value":"sleep 1000"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":512}}],"limits":{"mem":{"value":256},"cpus":{"value":0.5}}}})"),
      ok_empty());
  EXPECT_EQ(
      ask(R"({"type":"GET_METRICS","get_metrics":{"timeout":{"nanoseconds":5000000000}}})"),
      ok(R"({"type":"GET_METRICS","get_metrics":{"metrics":[{"name":"containerizer/mesos/container_destroy_errors","value":0.0},{"name":"executor/uptime_secs","value":1.5}]}})"));
}
TEST_F(OperatorApiTest, SaysItsVersion) {
  EXPECT_EQ(
      ask(R"({"type":"GET_VERSION"})"),
      ok(R"({"type":"GET_VERSION","get_version":{"version_info":{"version":"0.1.0","build_date":"2026-11-24","build_time":1795462500.0,"git_sha":"abc"}}})"));
}
TEST_F(OperatorApiTest, RefusesWhatIsNoCall) {
  EXPECT_EQ(ask(R"({"type":)"),
            refused(400, "Failed to parse body into JSON: Invalid value. at line 1, column 9"));
  EXPECT_EQ(
      ask(""),
      refused(400, "Failed to parse body into JSON: The document is empty. at line 1, column 1"));
  EXPECT_EQ(ask(R"({"wait_container":{"container_id":{}}})"),
            refused(400,
                    "Failed to convert JSON into Call protobuf: wait_container.container_id.value: "
                    "required but missing"));
  EXPECT_EQ(
      ask("\xff\xff", "application/x-protobuf"),
      refused(400, "Failed to parse body into Call protobuf: not a protobuf message of this type"));
  EXPECT_EQ(ask(std::string(100'000, '[')),
            refused(400, "Failed to convert JSON into Call protobuf: expected an object"));
  EXPECT_EQ(ask(R"({"type":"GET_RESOURCE_PROVIDERS"})"),
            refused(501, "The call GET_RESOURCE_PROVIDERS is not implemented"));
  EXPECT_EQ(ask(R"({"type":"ADD_RESOURCE_PROVIDER_CONFIG"})"),
            refused(501, "The call ADD_RESOURCE_PROVIDER_CONFIG is not implemented"));
}
TEST_F(OperatorApiTest, NegotiatesAsMesosDoes) {
  const std::string get = "GET /api/v1 HTTP/1.1\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(server_.client().send(get).all(),
            refused(405, "Expecting one of { 'POST' }, but received 'GET'", "Allow: POST\r\n"));
  const std::string untyped =
      "POST /api/v1 HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
  EXPECT_EQ(server_.client().send(untyped).all(),
            refused(400, "Expecting 'Content-Type' to be present"));
  const std::string health = R"({"type":"GET_HEALTH"})";
  const std::string json = "application/json";
  for (const char* accept : {"", "Accept: */*\r\n", "Accept: application/*\r\n",
                             "Accept: text/html, application/json;q=0.5\r\n"}) {
    EXPECT_EQ(ask(health, "Application/JSON; charset=utf-8", accept),
              ok(R"({"type":"GET_HEALTH","get_health":{"healthy":true}})"))
        << accept;
  }
  for (const char* accept : {"Accept: text/html\r\n", "Accept: application/json;q=0\r\n"}) {
    EXPECT_EQ(ask(health, json, accept),
              refused(406,
                      "Expecting 'Accept' to allow application/json or application/x-protobuf or "
                      "application/recordio"));
  }
  EXPECT_EQ(
      ask(health, json, "Accept: application/recordio\r\nMessage-Accept: text/html\r\n"),
      refused(406,
              "Expecting 'Message-Accept' to allow application/json or application/x-protobuf"));
  EXPECT_EQ(ask(health, json, "Accept: application/recordio\r\nMessage-Accept: */*\r\n"),
            refused(406, "Streaming response is not supported for GET_HEALTH"));
  EXPECT_EQ(
      ask(health, json, "Message-Content-Type: application/json\r\n"),
      refused(415, "'Message-Content-Type' is not expected to be set for non-streaming requests"));
  EXPECT_EQ(ask(R"({"type":"ATTACH_CONTAINER_INPUT"})"),
            refused(415,
                    "Expecting 'Content-Type' of application/recordio for "
                    "ATTACH_CONTAINER_INPUT"));
  EXPECT_EQ(
      ask(R"({"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":{"value":"c"}}})"),
      refused(406, "Expecting 'Accept' to allow application/recordio for ATTACH_CONTAINER_OUTPUT"));
}
TEST_F(OperatorApiTest, SpeaksProtobufBothWaysAndMixed) {
  Call call;
  call.set_type(Call::GET_HEALTH);
  const std::string protobuf = "application/x-protobuf";
  wire::agent::Response expected;
  expected.set_type(wire::agent::Response::GET_HEALTH);
  expected.mutable_get_health()->set_healthy(true);
  const std::string answer =
      ask(call.SerializeAsString(), protobuf, "Accept: application/x-protobuf\r\n");
  EXPECT_EQ(answer,
            cat("HTTP/1.1 200 OK\r\nDate: D\r\nContent-Type: application/x-protobuf\r\n"
                "Content-Length: ",
                expected.SerializeAsString().size(), "\r\n\r\n", expected.SerializeAsString()));
  EXPECT_EQ(ask(call.SerializeAsString(), protobuf),
            ok(R"({"type":"GET_HEALTH","get_health":{"healthy":true}})"));
  EXPECT_NE(
      ask(R"({"type":"GET_HEALTH"})", "application/json", "Accept: application/x-protobuf\r\n")
          .find(expected.SerializeAsString()),
      std::string::npos);
}
TEST_F(OperatorApiTest, AFailedLaunchSaysWhyAndWhatAShellWouldSay) {
  auto launch_of = [&](std::string_view command) {
    return ask(
        cat(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"f"},)",
            R"("command":{"value":")", command, "\"}}}"));
  };
  EXPECT_EQ(launch_of("fail:exec"),
            refused(400, "launch f: exec /bin/nope: No such file or directory",
                    "Gantry-Exit-Status: 127\r\n"));
  EXPECT_EQ(launch_of("fail:image"),
            refused(400, "image 'x' is not in the store", "Gantry-Exit-Status: 125\r\n"));
  EXPECT_EQ(launch_of("fail:mount"),
            refused(400, "mount /a on /b: Permission denied", "Gantry-Exit-Status: 125\r\n"));
  EXPECT_EQ(launch_of("fail:device"),
            refused(501, "no devices here", "Gantry-Exit-Status: 125\r\n"));
  EXPECT_EQ(exit_status_of_failed_launch(Error::from_errno(EACCES, "exec /etc: x")), 125);
  EXPECT_EQ(exit_status_of_failed_launch(Error::from_errno(EACCES, "exec /etc")), 126);
  EXPECT_TRUE(on_loop([&] { return backend_.containers.empty(); }));
  EXPECT_EQ(on_loop([&] { return backend_.audited[0]; }),
            "LAUNCH_CONTAINER f 400 launch f: exec /bin/nope: No such file or directory");
}
TEST_F(OperatorApiTest, AClientsLaunchesWaitBehindItsOwn) {
  on_loop([&] { backend_.holds_launches = true; });
  std::vector<http::Client> clients;
  const auto begin = [&](size_t number) {
    const std::string body =
        cat(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"c)", number,
            R"("},"command":{"value":"x"}}})");
    clients.push_back(server_.client());
    clients.back().send(
        cat("POST /api/v1 HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
            "Content-Length: ",
            body.size(), "\r\n\r\n", body));
  };
  constexpr size_t kAll = PendingLaunches::kMostEach + 20;
  for (size_t i = 0; i < kAll; ++i) begin(i);
  EXPECT_TRUE(soon([&] { return server_.server().active_request_count() == kAll; }));
  EXPECT_EQ(on_loop([&] { return backend_.held_launches; }), PendingLaunches::kMostEach);
  clients.pop_back();  // carried through whoever is left
  on_loop([&] {
    backend_.holds_launches = false;
    backend_.changed.notify();
  });
  for (http::Client& client : clients) EXPECT_EQ(client.all(), ok_empty());
  EXPECT_TRUE(soon([&] { return backend_.containers.size() == kAll; }));
  launch("later");
}
TEST_F(OperatorApiTest, ANameThatIsTakenIsAConflict) {
  const std::string launch =
      R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"ID"},"gantry_spec":{"name":"web","args":["x"]}}})";
  auto with_id = [&](const char* id) {
    std::string out = launch;
    return out.replace(out.find("ID\""), 2, id);
  };
  EXPECT_EQ(ask(with_id("a")), ok_empty());
  EXPECT_EQ(ask(with_id("b")),
            refused(409, "the name web belongs to container a", "Gantry-Exit-Status: 125\r\n"));
}
TEST_F(OperatorApiTest, WaitAnswersWhenTheContainerEnds) {
  launch("c");
  http::Client client = server_.client();
  const std::string body =
      R"({"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"c"}}})";
  client.send(cat("POST /api/v1 HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: ",
                  body.size(), "\r\n\r\n", body));
  EXPECT_TRUE(soon([&] { return backend_.waiting == 1; }));
  EXPECT_TRUE(client.is_quiet(20));
  on_loop([&] {
    backend_.finish(ContainerId::parse("c").value(),
                    {ExitOutcome::Kind::limited, 9, false, "64 MiB reached", "memory"});
  });
  EXPECT_EQ(
      client.at_least(1),
      ok(R"({"type":"WAIT_CONTAINER","wait_container":{"exit_status":9,"state":"TASK_FAILED","reason":"REASON_CONTAINER_LIMITATION_MEMORY","message":"64 MiB reached","gantry_exit":{"kind":"LIMITED","code":9,"reason":"64 MiB reached","shell_status":137}}})"));
}
TEST_F(OperatorApiTest, AWaiterThatGoesAwayIsForgotten) {
  launch("c");
  http::Client client = server_.client();
  const std::string body =
      R"({"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"c"}}})";
  client.send(cat("POST /api/v1 HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: ",
                  body.size(), "\r\n\r\n", body));
  EXPECT_TRUE(soon([&] { return backend_.waiting == 1; }));
  client.close();
  // The backend looks again whenever anything changes; the waiter is woken by the cancellation.
  EXPECT_TRUE(soon([&] { return backend_.waiting == 0; }));
}
TEST_F(OperatorApiTest, KillTakesSignalsAndRefusesNonsense) {
  launch("c");
  auto kill = [&](std::string_view signal) {
    return ask(
        cat(R"({"type":"KILL_CONTAINER","kill_container":{"container_id":{"value":"c"},"signal":)",
            signal, "}}"));
  };
  EXPECT_EQ(kill("10"), ok_empty());
  EXPECT_EQ(kill("0"),
            refused(400, "Failed to validate agent::Call: signal: must be 1 to 64, not 0"));
  EXPECT_EQ(kill("-9"),
            refused(400, "Failed to validate agent::Call: signal: must be 1 to 64, not -9"));
  EXPECT_EQ(on_loop([&] { return backend_.signals; }), std::vector<int>{10});
}
TEST_F(OperatorApiTest, PausesResumesAndStops) {
  launch("c");
  auto call = [&](std::string_view type, std::string_view field, std::string_view more = "") {
    return ask(cat(R"({"type":")", type, R"(",")", field, R"(":{"container_id":{"value":"c"})",
                   more, "}}"));
  };
  EXPECT_EQ(call("GANTRY_RESUME", "gantry_resume"), refused(409, "container c is running"));
  EXPECT_EQ(call("GANTRY_PAUSE", "gantry_pause"), ok_empty());
  EXPECT_EQ(call("GANTRY_RESUME", "gantry_resume"), ok_empty());
  EXPECT_EQ(call("REMOVE_CONTAINER", "remove_container"),
            refused(409, "container c is running: stop it first"));
  EXPECT_EQ(
      call("GANTRY_STOP", "gantry_stop", R"(,"timeout_seconds":3,"signal":"SIGINT")"),
      ok(R"({"type":"GANTRY_STOP","gantry_stop":{"exit":{"kind":"SIGNALLED","code":2,"shell_status":130}}})"));
  EXPECT_EQ(on_loop([&] { return backend_.last_grace; }), std::chrono::seconds(3));
  EXPECT_EQ(call("GANTRY_STOP", "gantry_stop", R"(,"signal":"SIGNOPE")"),
            refused(400,
                    "Failed to validate agent::Call: gantry_stop.signal: is no signal; legal: "
                    "TERM, SIGTERM, RTMIN+3, 15"));
  EXPECT_EQ(call("REMOVE_CONTAINER", "remove_container"), ok_empty());
  EXPECT_EQ(call("REMOVE_CONTAINER", "remove_container"),
            refused(404, "Container c cannot be found"));
  EXPECT_EQ(on_loop([&] { return backend_.audited; }).size(), 9u);  // what changes, refusals too
}
TEST_F(OperatorApiTest, ListsInspectsAndMeasures) {
  EXPECT_EQ(
      ask(R"({"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"c"},"gantry_spec":{"name":"web","args":["x"],"labels":{"a":"b"}}}})"),
      ok_empty());
  const std::string summary =
      R"({"container_id":{"value":"c"},"name":"web","state":"running","command":["x"],"pid":42,"created":{"nanoseconds":1},"started":{"nanoseconds":2},"labels":{"a":"b"}})";
  EXPECT_EQ(ask(R"({"type":"GANTRY_LIST"})"),
            ok(cat(R"({"type":"GANTRY_LIST","gantry_list":{"containers":[)", summary, "]}}")));
  const std::string details =
      ask(R"({"type":"GANTRY_INSPECT","gantry_inspect":{"container_id":{"value":"c"}}})");
  EXPECT_NE(details.find(summary), std::string::npos) << details;
  EXPECT_NE(
      details.find(
          R"("phases":[{"name":"clone","microseconds":70},{"name":"exec","microseconds":900}],"total_microseconds":1500,"sandbox":"/s","rootfs":"/r","cgroups":["/c"],"record":"/d","isolators":["pids"],"log_directory":"/l")"),
      std::string::npos)
      << details;
  EXPECT_NE(details.find(R"("launch":{"container_id":{"value":"c"},"gantry_spec":{"name":"web")"),
            std::string::npos);
  const std::string stats =
      ask(R"({"type":"GANTRY_STATS","gantry_stats":{"container_ids":[{"value":"c"}]}})");
  EXPECT_NE(stats.find(R"("threads":3,"cpus_user_time_secs":1.5,"mem_total_bytes":4096}}]}})"),
            std::string::npos)
      << stats;
  const std::string containers =
      ask(R"({"type":"GET_CONTAINERS","get_containers":{"show_standalone":true}})");
  EXPECT_NE(
      containers.find(
          R"({"container_id":{"value":"c"},"container_status":{"container_id":{"value":"c"},"executor_pid":42},"resource_statistics":{"timestamp":)"),
      std::string::npos)
      << containers;
  EXPECT_EQ(ask(R"({"type":"GET_CONTAINERS"})"),
            ok(R"({"type":"GET_CONTAINERS","get_containers":{}})"));
  on_loop([&] { backend_.finish(ContainerId::parse("c").value(), {}); });
  EXPECT_EQ(ask(R"({"type":"GANTRY_LIST","gantry_list":{"all":false}})"),
            ok(R"({"type":"GANTRY_LIST","gantry_list":{}})"));
  EXPECT_NE(ask(R"({"type":"GANTRY_LIST"})")
                .find(R"("exit":{"kind":"EXITED","code":0,"shell_status":0})"),
            std::string::npos);
}
TEST_F(OperatorApiTest, ReadsFilesPieceByPiece) {
  auto read = [&](std::string_view path, std::string_view more) {
    return ask(cat(R"({"type":"READ_FILE","read_file":{"path":")", path, "\",", more, "}}"));
  };
  EXPECT_EQ(read("/containers/c/stdout", R"("offset":1,"length":3)"),
            ok(R"({"type":"READ_FILE","read_file":{"size":5,"data":"ZWxs"}})"));
  EXPECT_EQ(read("/containers/c/stdout", R"("offset":99)"),
            ok(R"({"type":"READ_FILE","read_file":{"size":5,"data":""}})"));
  EXPECT_EQ(read("/containers/d/stdout", R"("offset":0)"),
            refused(404, "no file /containers/d/stdout"));
  EXPECT_EQ(read("/containers/../../etc/shadow", R"("offset":0)"),
            refused(400, "Failed to validate agent::Call: read_file.path: must not contain '..'"));
  EXPECT_EQ(read("/x", R"("offset":-1)"),
            refused(400,
                    "Failed to convert JSON into Call protobuf: read_file.offset: expected an "
                    "integer >= 0 in its range"));
  on_loop([&] { backend_.file = std::string(200'000, 'x'); });
  const std::string big = read("/containers/c/stdout", R"("offset":0,"length":1000000)");
  EXPECT_NE(
      big.find(cat(R"("size":200000,"data":")", wire::to_base64(std::string(65536, 'x')), "\"}}")),
      std::string::npos);
  EXPECT_EQ(
      ask(R"({"type":"LIST_FILES","list_files":{"path":"/containers/c"}})"),
      ok(R"({"type":"LIST_FILES","list_files":{"file_infos":[{"path":"/containers/c/stdout","nlink":1,"size":5,"mtime":{"nanoseconds":7000000000},"mode":33188,"uid":"root","gid":"root"}]}})"));
}
TEST_F(OperatorApiTest, ImportsListsAndRemovesImages) {
  auto import = [&](std::string_view call, std::string_view tar) {
    return ask(tar, "application/x-tar", cat("Gantry-Call: ", call, "\r\n"));
  };
  const std::string image =
      R"({"references":["bb:1"],"digest":"sha256:00","size_bytes":3000000,"created":{"nanoseconds":5},"platform":"linux/amd64","layers":1})";
  EXPECT_EQ(
      import(
          R"({"type":"GANTRY_IMPORT","gantry_import":{"reference":"bb:1","format":"ROOTFS","cmd":["sh"],"env":["A=1"]}})",
          std::string(3'000'000, 't')),
      ok(cat(R"({"type":"GANTRY_IMPORT","gantry_import":{"images":[)", image, "]}}")));
  EXPECT_EQ(on_loop([&] { return backend_.imported.format; }), ImportOptions::Format::rootfs);
  EXPECT_EQ(on_loop([&] { return backend_.imported.config->cmd; }), std::vector<std::string>{"sh"});
  EXPECT_EQ(ask(R"({"type":"GANTRY_IMAGES"})"),
            ok(cat(R"({"type":"GANTRY_IMAGES","gantry_images":{"images":[)", image, "]}}")));
  EXPECT_NE(
      import(R"({"type":"GANTRY_IMPORT","gantry_import":{}})", "").find("the archive is empty"),
      std::string::npos);
  const std::string removal =
      R"({"type":"GANTRY_REMOVE_IMAGE","gantry_remove_image":{"reference":"bb:1"}})";
  EXPECT_EQ(
      ask(removal),
      ok(R"({"type":"GANTRY_REMOVE_IMAGE","gantry_remove_image":{"untagged":["bb:1"],"deleted":["sha256:00"],"freed_bytes":7}})"));
  EXPECT_EQ(ask(removal), refused(404, "no image bb:1"));
  EXPECT_EQ(
      ask(R"({"type":"PRUNE_IMAGES","prune_images":{"excluded_images":[{"type":"DOCKER","docker":{"name":"keep"}}]}})"),
      ok_empty());
  EXPECT_EQ(on_loop([&] { return backend_.pruned_but; }), std::vector<std::string>{"keep"});
}
TEST_F(OperatorApiTest, ListsWhatContainersChangedAndTake) {
  EXPECT_EQ(ask(R"({"type":"GANTRY_DIFF","gantry_diff":{"container_id":{"value":"c"}}})"),
            ok("{\"type\":\"GANTRY_DIFF\",\"gantry_diff\":{\"changes\":[{\"kind\":\"CHANGED\","
               "\"path\":\"/etc\"},"
               "{\"kind\":\"ADDED\",\"path\":\"/etc/"
               "\xef\xbf\xbd\"},{\"kind\":\"DELETED\",\"path\":\"/tmp\"}]}}"));
  EXPECT_EQ(
      ask(R"({"type":"GANTRY_DISK_USAGE"})"),
      ok(R"({"type":"GANTRY_DISK_USAGE","gantry_disk_usage":{"containers":[{"container_id":{"value":"c"},"written_bytes":4096,"written_inodes":2}]}})"));
}

TEST_F(OperatorApiTest, CommitsWithChanges) {
  const auto commit = [&](std::string_view more) {
    return ask(cat(R"({"type":"GANTRY_COMMIT","gantry_commit":{"container_id":{"value":"c"},)",
                   more, "}}"));
  };
  EXPECT_EQ(
      commit(
          R"("reference":"made:1","author":"me","comment":"why","pause":false,"changes":{"cmd":{"words":[]},"env":["A=1"],"exposed_ports":["80/tcp"],"labels":{"l":"v"},"user":"7:8"})"),
      ok(R"({"type":"GANTRY_COMMIT","gantry_commit":{"image":{"references":["made:1"],"digest":"sha256:03","size_bytes":0,"layers":0}}})"));
  const CommitOptions got = on_loop([&] { return backend_.committed; });
  EXPECT_EQ(cat(got.author, got.comment, got.pause ? "1" : "0"), "mewhy0");
  EXPECT_EQ(got.changes.cmd, std::vector<std::string>());
  EXPECT_FALSE(got.changes.entrypoint);
  EXPECT_EQ(got.changes.user, "7:8");
  for (const std::string_view wrong :
       {R"("reference":"../x")", R"("changes":{"env":["A"]})",
        R"("changes":{"exposed_ports":["0"]})", R"("changes":{"exposed_ports":["80/ip"]})",
        R"("changes":{"exposed_ports":["9-8/udp"]})", R"("changes":{"labels":{"":"v"}})",
        R"("changes":{"cwd":"here"})", R"("changes":{"user":":"})",
        R"("changes":{"stop_signal":"NOPE"})", R"("changes":{"volumes":["/proc/x"]})"}) {
    EXPECT_NE(commit(wrong).find("400 Bad Request"), std::string::npos) << wrong;
  }
  EXPECT_NE(ask(R"({"type":"GANTRY_SAVE_IMAGES","gantry_save_images":{}})")
                .find("gantry_save_images.references: must not be empty"),
            std::string::npos);
}

TEST_F(OperatorApiTest, RefusesImportsThatSayNothingSensible) {
  auto text = [&](std::string_view more) { return ask("tar", "application/x-tar", more); };
  EXPECT_NE(text("").find("Expecting 'Gantry-Call' to be present"), std::string::npos);
  EXPECT_NE(text("Gantry-Call: {\r\n").find("Gantry-Call: Failed to parse body into JSON"),
            std::string::npos);
  EXPECT_NE(text("Gantry-Call: {\"type\":\"GET_HEALTH\"}\r\n").find("415 Unsupported Media Type"),
            std::string::npos);
  EXPECT_NE(text(R"(Gantry-Call: {"type":"GANTRY_IMPORT","gantry_import":{"reference":"../x"}})"
                 "\r\n")
                .find("gantry_import.reference: must be NAME[:TAG]"),
            std::string::npos);
  EXPECT_NE(ask(R"({"type":"GANTRY_IMPORT"})").find("application/x-tar"), std::string::npos);
}
TEST_F(OperatorApiTest, ChecksPointsRestoresAndLooksAtTheHost) {
  launch("c");
  EXPECT_EQ(
      ask(R"({"type":"GANTRY_CHECKPOINT","gantry_checkpoint":{"container_id":{"value":"c"},"name":"k1"}})"),
      ok(R"({"type":"GANTRY_CHECKPOINT","gantry_checkpoint":{"checkpoint":"k1","size_bytes":9,"path":"/p","frozen_microseconds":3,"total_microseconds":4}})"));
  EXPECT_EQ(
      ask(R"({"type":"GANTRY_CHECKPOINT","gantry_checkpoint":{"container_id":{"value":"c"},"name":"../k"}})"),
      refused(400,
              "Failed to validate agent::Call: gantry_checkpoint.name: must be 1 to 128 of A-Z "
              "a-z 0-9 _ -, not beginning with _ or -"));
  EXPECT_EQ(
      ask(R"({"type":"GANTRY_RESTORE","gantry_restore":{"checkpoint":"k1","container_id":{"value":"d"}}})"),
      ok(R"({"type":"GANTRY_RESTORE","gantry_restore":{"container_id":{"value":"d"},"total_microseconds":8}})"));
  EXPECT_NE(ask(R"({"type":"GANTRY_RESTORE","gantry_restore":{"checkpoint":"a/b"}})")
                .find("contains invalid characters"),
            std::string::npos);
  EXPECT_EQ(
      ask(R"({"type":"GANTRY_DOCTOR"})"),
      ok(R"({"type":"GANTRY_DOCTOR","gantry_doctor":{"findings":[{"feature":"cgroup v2","verdict":"OK","detail":"mounted"},{"feature":"criu","verdict":"MISSING","remedy":"install criu"}]}})"));
}
TEST_F(OperatorApiTest, ShutsDownOnlyWhenNothingRuns) {
  launch("c");
  EXPECT_EQ(ask(R"({"type":"GANTRY_SHUTDOWN"})"), refused(409, "1 container runs: stop it first"));
  on_loop([&] { backend_.finish(ContainerId::parse("c").value(), {}); });
  EXPECT_EQ(ask(R"({"type":"GANTRY_SHUTDOWN","gantry_shutdown":{}})"), ok_empty());
  EXPECT_TRUE(on_loop([&] { return backend_.is_shut_down; }));
}
TEST_F(OperatorApiTest, HealthAndMetricsArePlainGets) {
  auto get = [&](std::string_view path) {
    return server_.client().send(cat("GET ", path, " HTTP/1.1\r\nConnection: close\r\n\r\n")).all();
  };
  EXPECT_EQ(get("/health"), refused(200, "healthy\n"));
  on_loop([&] { backend_.healthy = false; });
  EXPECT_EQ(get("/health"), refused(503, "not healthy\n"));
  EXPECT_NE(get("/metrics").find("gantry_build_info{version=\"0.1.0\"} 1\n"), std::string::npos);
  EXPECT_EQ(get("/nowhere"), refused(404, "There is nothing at /nowhere"));
}
}  // namespace
}  // namespace gantry
