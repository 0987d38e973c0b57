#include "executor/cli/http_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/sys.h"

namespace gantry::cli {
namespace {
// A connection whose other end is ours.
struct Pair {
  Connection client;
  UniqueFd server;
};
Pair make_pair() {
  int fds[2];
  GANTRY_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  return {Connection(UniqueFd(fds[0])), UniqueFd(fds[1])};
}

TEST(Connection, PipelinedAnswersComeApart) {
  Pair pair = make_pair();
  // In the words of Mesos (reference captures), two answers and the head of a third at once.
  ASSERT_TRUE(sys::write_all(pair.server.get(),
                             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                             "HTTP/1.1 200 OK\r\nContent-Type: application/recordio\r\n"
                             "Transfer-Encoding: chunked\r\n\r\n"
                             "3d\r\n58\n{\"type\":\"DATA\",\"data\":{\"type\":\"STDOUT\",\"data\":"
                             "\"b3V0Cg==\"}}\r\n0\r\n\r\n"
                             "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngo"));
  const auto first = pair.client.receive();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->head.status, 200u);
  EXPECT_TRUE(first->body.empty());

  const auto head = pair.client.receive_head();
  ASSERT_TRUE(head);
  EXPECT_EQ(head->header("content-type"), "application/recordio");
  const auto second = pair.client.receive();
  ASSERT_TRUE(second);
  RecordReader records;
  records.add(second->body);
  const auto record = records.next();
  ASSERT_TRUE(record && record->has_value());
  EXPECT_EQ((*record)->size(), 58u);

  ASSERT_TRUE(sys::write_all(pair.server.get(), "ne"));
  const auto third = pair.client.receive();
  ASSERT_TRUE(third);
  EXPECT_EQ(third->head.status, 404u);
  EXPECT_EQ(third->body, "gone");
}

TEST(Connection, AChunkMayComeByteByByte) {
  Pair pair = make_pair();
  const std::string_view answer =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
  std::string body;
  for (const char c : answer) {
    ASSERT_TRUE(sys::write_all(pair.server.get(), std::string_view(&c, 1)));
    ASSERT_TRUE(pair.client.feed());
    body += pair.client.take_body();
  }
  EXPECT_TRUE(pair.client.is_complete());
  EXPECT_EQ(body, "hello!");
}

TEST(Connection, NoAnswerIsToldFromHalfAnAnswer) {
  Pair silent = make_pair();
  silent.server.reset();
  EXPECT_TRUE(silent.client.receive().error().is(Errc::cancelled));

  Pair half = make_pair();
  ASSERT_TRUE(
      sys::write_all(half.server.get(), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"));
  half.server.reset();
  EXPECT_TRUE(half.client.receive().error().is(Errc::corrupt));
}

TEST(Connection, AGoneExecutorIsAnErrorNotASignal) {
  Pair pair = make_pair();
  pair.server.reset();
  EXPECT_TRUE(pair.client.send("POST").error().is(Errc::cancelled));
}

TEST(Connection, NonsenseIsRefused) {
  Pair pair = make_pair();
  ASSERT_TRUE(sys::write_all(pair.server.get(), "SSH-2.0-OpenSSH_9.2\r\n\r\n"));
  EXPECT_TRUE(pair.client.receive().error().is(Errc::corrupt));
}

TEST(Connection, ARequestIsWholeOnTheWire) {
  EXPECT_EQ(Connection::format({"/api/v1", {{"Accept", "application/json"}}, "{}"}),
            "POST /api/v1 HTTP/1.1\r\nHost: gantry\r\nAccept: application/json\r\n"
            "Content-Length: 2\r\n\r\n{}");
}

TEST(RecordReader, RecordsAreCutAnywhere) {
  RecordReader records;
  const std::string bytes = frame_record("one") + frame_record("") + frame_record("three");
  std::vector<std::string> out;
  for (const char c : bytes) {
    records.add({&c, 1});
    for (;;) {
      auto record = records.next();
      ASSERT_TRUE(record);
      if (!*record) break;
      out.push_back(**record);
    }
  }
  EXPECT_EQ(out, (std::vector<std::string>{"one", "", "three"}));
}

TEST(RecordReader, ALengthMustBeANumber) {
  for (const char* bytes : {"x\nabc", "-1\n", "99999999999999999999999", "1e3\n"}) {
    RecordReader records;
    records.add(bytes);
    EXPECT_FALSE(records.next()) << bytes;
  }
}
}  // namespace
}  // namespace gantry::cli
