#include "api/wire/json.h"
#include "api/wire/recordio.h"
#include "tests/unit/operator_api/fixture.h"

namespace gantry {
namespace {
constexpr std::string_view kStreamHead =
    "HTTP/1.1 200 OK\r\nDate: D\r\nMessage-Content-Type: application/json\r\n"
    "Content-Type: application/recordio\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string chunk(std::string_view json) {
  const std::string record = wire::encode_record(json);
  char size[20];
  return cat(std::string_view(size, std::to_chars(size, size + 20, record.size(), 16).ptr), "\r\n",
             record, "\r\n");
}
std::string post_streaming(std::string_view body) {
  return cat(
      "POST /api/v1 HTTP/1.1\r\nContent-Type: application/json\r\n"
      "Accept: application/recordio\r\nMessage-Accept: application/json\r\n"
      "Connection: close\r\nContent-Length: ",
      body.size(), "\r\n\r\n", body);
}
std::string attach(std::string_view id, std::string_view more = "") {
  return post_streaming(cat(
      R"({"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":{"value":")",
      id, "\"}", more, "}}"));
}
constexpr std::string_view kOut = R"({"type":"DATA","data":{"type":"STDOUT","data":"b3V0Cg=="}})";
constexpr std::string_view kErr = R"({"type":"DATA","data":{"type":"STDERR","data":"ZXJyCg=="}})";

class OperatorStreams : public OperatorApiTest {
 protected:
  static std::string input_record(std::string_view input) {
    return wire::encode_record(
        cat(R"({"type":"ATTACH_CONTAINER_INPUT","attach_container_input":)", input, "}"));
  }
  static std::string input_of(std::string_view id) {
    return input_record(cat(R"({"type":"CONTAINER_ID","container_id":{"value":")", id, "\"}}"));
  }
  static std::string stdin_record(std::string_view bytes) {
    return input_record(
        cat(R"({"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":")",
            wire::to_base64(bytes), "\"}}}"));
  }
  std::string ask_input(std::string_view body) {
    return ask(body, "application/recordio", "Message-Content-Type: application/json\r\n");
  }
};

TEST_F(OperatorStreams, SendsOutputAsMesosDoes) {
  launch("c");
  http::Client client = server_.client();
  client.send(attach("c", R"(,"gantry_output":{"from_start":true})"));
  EXPECT_EQ(client.until(kErr.substr(20)), cat(kStreamHead, chunk(kOut), chunk(kErr)));
  on_loop([&] {
    backend_.at("c").output.push_back({OutputChunk::Source::out, "more", {}});
    backend_.changed.notify();
  });
  EXPECT_EQ(client.until("bW9yZQ==\"}}\r\n"),
            chunk(R"({"type":"DATA","data":{"type":"STDOUT","data":"bW9yZQ=="}})"));
  on_loop([&] { backend_.finish(ContainerId::parse("c").value(), {}); });
  EXPECT_EQ(client.all(), "0\r\n\r\n");
}
TEST_F(OperatorStreams, AQuietStreamIsKeptAliveByHeartbeats) {
  launch("c");
  http::Client client = server_.client();
  client.send(attach("c"));
  client.until("\r\n\r\n");
  on_loop([&] {
    backend_.at("c").output.emplace_back();
    backend_.changed.notify();
  });
  EXPECT_EQ(
      client.until("}\r\n"),
      chunk(
          R"({"type":"CONTROL","control":{"type":"HEARTBEAT","heartbeat":{"interval":{"nanoseconds":30000000000}}}})"));
}
TEST_F(OperatorStreams, SendsOnlyWhatIsAskedFor) {
  launch("c");
  const std::string text =
      server_.client()
          .send(attach("c", R"(,"gantry_output":{"from_start":true,"follow":false,
      "no_stdout":true,"timestamps":true})"))
          .all();
  EXPECT_EQ(
      text,
      cat(kStreamHead,
          chunk(
              R"({"type":"DATA","data":{"type":"STDERR","data":"ZXJyCg==","gantry_time":{"nanoseconds":2}}})"),
          "0\r\n\r\n"));
}
TEST_F(OperatorStreams, OutputOfNobodyIsNotFound) {
  EXPECT_EQ(server_.client().send(attach("nope")).all(),
            refused(404, "Container nope cannot be found"));
}
TEST_F(OperatorStreams, AnOutputWhoseClientGoesIsLetGo) {
  launch("c");
  http::Client client = server_.client();
  client.send(attach("c"));
  EXPECT_TRUE(soon([&] { return backend_.streams == 1; }));
  client.close();
  EXPECT_TRUE(soon([&] { return backend_.streams == 0; }));
  EXPECT_EQ(on_loop([&] { return backend_.at("c").state; }), ContainerState::running);
}
TEST_F(OperatorStreams, RunIsLaunchOutputAndExitInOneStream) {
  http::Client client = server_.client();
  client.send(post_streaming(
      R"({"type":"GANTRY_RUN","gantry_run":{"launch":{"container_id":{"value":"r"},"gantry_spec":{"args":["x"]}}}})"));
  EXPECT_EQ(client.until(kErr.substr(20)),
            cat(kStreamHead, chunk(R"({"type":"CONTROL","control":{"type":"GANTRY_STARTED"}})"),
                chunk(kOut), chunk(kErr)));
  on_loop([&] {
    backend_.finish(ContainerId::parse("r").value(), ExitOutcome::from_wait_status(3 << 8));
  });
  EXPECT_EQ(
      client.all(),
      cat(chunk(
              R"({"type":"CONTROL","control":{"type":"GANTRY_EXIT","gantry_exit":{"kind":"EXITED","code":3,"shell_status":3}}})"),
          "0\r\n\r\n"));
}
TEST_F(OperatorStreams, ARunThatFailsIsAnOrdinaryAnswer) {
  EXPECT_EQ(
      server_.client()
          .send(post_streaming(
              R"({"type":"GANTRY_RUN","gantry_run":{"launch":{"container_id":{"value":"r"},"gantry_spec":{"args":["fail:exec"]}}}})"))
          .all(),
      refused(400, "launch r: exec /bin/nope: No such file or directory",
              "Gantry-Exit-Status: 127\r\n"));
  EXPECT_EQ(
      server_.client()
          .send(post_streaming(
              R"({"type":"GANTRY_RUN","gantry_run":{"launch":{"container_id":{"value":"r"},"gantry_spec":{"args":["x"],"cwd":"y"}}}})"))
          .all(),
      refused(400,
              "Failed to validate agent::Call: gantry_run.launch.gantry_spec.cwd: must be "
              "an absolute path"));
  launch("r");
  EXPECT_EQ(
      server_.client()
          .send(post_streaming(
              R"({"type":"GANTRY_RUN","gantry_run":{"launch":{"container_id":{"value":"r"},"gantry_spec":{"args":["x"]}}}})"))
          .all(),
      refused(409, "Container r exists already"));
}
TEST_F(OperatorStreams, ASessionEndsWithItsConnection) {
  launch("p");
  http::Client client = server_.client();
  client.send(post_streaming(
      R"({"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{"container_id":{"value":"s","parent":{"value":"p"}},"command":{"value":"sh"}}})"));
  EXPECT_EQ(client.until(kErr.substr(20)), cat(kStreamHead, chunk(kOut), chunk(kErr)));
  client.close();
  EXPECT_TRUE(soon([&] { return backend_.signals == std::vector<int>{9}; }));
}
TEST_F(OperatorStreams, InputGoesToTheContainerInOrder) {
  launch("c");
  const std::string resize = input_record(
      R"({"type":"PROCESS_IO","process_io":{"type":"CONTROL","control":{"type":"TTY_INFO","tty_info":{"window_size":{"rows":40,"columns":100}}}}})");
  const std::string heartbeat = input_record(
      R"({"type":"PROCESS_IO","process_io":{"type":"CONTROL","control":{"type":"HEARTBEAT","heartbeat":{"interval":{"nanoseconds":1}}}}})");
  EXPECT_EQ(ask_input(input_of("c") + resize + stdin_record("hel") + heartbeat +
                      stdin_record("lo\n") + stdin_record("")),
            ok_empty());
  on_loop([&] {
    EXPECT_EQ(backend_.at("c").input, "hello\n");
    EXPECT_TRUE(backend_.at("c").input_closed);
    EXPECT_EQ(backend_.at("c").rows, 40);
    EXPECT_EQ(backend_.at("c").columns, 100);
    EXPECT_FALSE(backend_.at("c").input_attached);
  });
}
TEST_F(OperatorStreams, InputAsAMesosClientSendsIt) {
  // mesos-wire's operator-sessions capture, record by record.
  launch("dbg3");
  const std::string body =
      wire::encode_record(
          R"({"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID","container_id":{"value":"dbg3"}}})") +
      wire::encode_record(
          R"({"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"CONTROL","control":{"type":"TTY_INFO","tty_info":{"window_size":{"rows":40,"columns":100}}}}}})") +
      wire::encode_record(
          R"({"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":"aGVsbG8K"}}}})");
  EXPECT_EQ(ask_input(body), ok_empty());
  on_loop([&] {
    EXPECT_EQ(backend_.at("dbg3").input, "hello\n");
    EXPECT_FALSE(backend_.at("dbg3").input_closed);
    EXPECT_EQ(backend_.at("dbg3").columns, 100);
  });
}
TEST_F(OperatorStreams, InputArrivesWhileTheStreamIsOpen) {
  launch("c");
  http::Client client = server_.client();
  auto send = [&](std::string_view bytes) {
    char size[20];
    client.send(cat(std::string_view(size, std::to_chars(size, size + 20, bytes.size(), 16).ptr),
                    "\r\n", bytes, "\r\n"));
  };
  client.send(
      "POST /api/v1 HTTP/1.1\r\nContent-Type: application/recordio\r\n"
      "Message-Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  send(input_of("c"));
  send(stdin_record("one"));
  EXPECT_TRUE(soon([&] { return backend_.at("c").input == "one"; }));
  EXPECT_EQ(ask_input(input_of("c")), refused(409, "another input is attached"));
  for (char c : stdin_record("two")) send(std::string_view(&c, 1));
  EXPECT_TRUE(soon([&] { return backend_.at("c").input == "onetwo"; }));
  client.send("0\r\n\r\n");
  EXPECT_EQ(client.at_least(1), ok_empty());
}
TEST_F(OperatorStreams, InputsThatMakeNoSenseAreRefused) {
  launch("c");
  auto refusal_of = [&](std::string_view body) {
    const std::string text = ask_input(body);
    return text.substr(text.find("\r\n\r\n") + 4);
  };
  EXPECT_EQ(refusal_of(input_of("nope")), "Container nope cannot be found");
  EXPECT_EQ(refusal_of(""),
            "Failed to validate agent::Call: Received EOF while reading request body");
  EXPECT_EQ(refusal_of("x\n"),
            "Failed to validate agent::Call: recordio: a record does not begin with its length");
  EXPECT_EQ(refusal_of("99999999999\n"),
            "recordio: a record of 99999999999 bytes, at most 16777216 are accepted");
  EXPECT_EQ(refusal_of(wire::encode_record("{")).substr(0, 32), "Failed to parse body into JSON: ");
  EXPECT_EQ(refusal_of(wire::encode_record(R"({"type":"GET_HEALTH"})")),
            "Streaming request is not supported for GET_HEALTH");
  EXPECT_EQ(refusal_of(stdin_record("x")),
            "Failed to validate agent::Call: Expecting 'attach_container_input.container_id' to be "
            "present");
  EXPECT_EQ(refusal_of(input_of("c") + input_of("c")),
            "Failed to validate agent::Call: attach_container_input.type: every record after the "
            "first must be PROCESS_IO");
  EXPECT_EQ(refusal_of(input_of("c") + "50\n{"),
            "Failed to validate agent::Call: recordio: the stream ends inside a record");
  EXPECT_EQ(ask(input_of("c"), "application/recordio"),
            refused(400, "Expecting 'Message-Content-Type' to be set for streaming requests"));
  EXPECT_FALSE(on_loop([&] { return backend_.at("c").input_attached; }));
}
}  // namespace
}  // namespace gantry
