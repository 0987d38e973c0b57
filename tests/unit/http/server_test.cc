#include "executor/http/server.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>

#include "tests/unit/http/client.h"

namespace gantry::http {
namespace {
constexpr size_t kBig = 3'000'000;

// /echo gives the body back; /wait waits until the client goes or release(); /stream sends chunks;
// /sum reads a streamed body; /work is not disturbed by a client that goes.
class TestHandler final : public Handler {
 public:
  Co<Response> handle(Exchange& exchange) override {
    const Request& request = exchange.request();
    ++requests;
    if (request.path == "/echo") {
      co_return Response{200, "text/plain", request.method + " " + request.body, {}};
    }
    if (request.path == "/big") co_return Response{200, "text/plain", std::string(kBig, 'b'), {}};
    if (request.path == "/peer") {
      const auto& credentials = exchange.peer().credentials;
      co_return Response::text(200, credentials ? cat(credentials->uid, ":", credentials->pid)
                                                : exchange.peer().address);
    }
    if (request.path == "/wait") {
      exchange.cancel_when_closed();
      while (!released && !co_await is_cancelled())
        co_await sleep_for(std::chrono::milliseconds(5));
      if (co_await is_cancelled()) ++cancelled;
      co_return Response::text(200, "waited");
    }
    if (request.path == "/work") {
      for (int i = 0; i < 10; ++i) co_await sleep_for(std::chrono::milliseconds(10));
      if (!co_await is_cancelled()) ++finished;
      co_return Response::text(200, "worked");
    }
    if (request.path == "/stream") co_return co_await stream(exchange);
    if (request.path == "/sum") co_return co_await sum(exchange);
    if (request.path == "/ignore") co_return Response::text(400, "not wanted");
    co_return Response::text(404, "no");
  }

  std::atomic<int> requests = 0, cancelled = 0, finished = 0;
  std::atomic<bool> released = false;

 private:
  Co<Response> stream(Exchange& exchange) {
    auto stream = co_await exchange.start_stream({200, "application/json", {}, {{"X-Id", "7"}}});
    if (!stream) co_return Response{};
    for (int i = 0; !released; ++i) {
      if (co_await is_cancelled() || !co_await (*stream)->write(cat("piece ", i, "\n"))) {
        ++cancelled;
        co_return Response{};
      }
      if (exchange.request().target == "/stream?3" && i == 2) break;
      co_await sleep_for(std::chrono::milliseconds(5));
    }
    (co_await (*stream)->finish()).ignore("the test looks at the bytes");
    co_return Response{};
  }
  Co<Response> sum(Exchange& exchange) {
    uint64_t bytes = 0;
    if (exchange.body_stream() == nullptr) co_return Response::text(500, "no stream");
    while (true) {
      auto piece = co_await exchange.body_stream()->read();
      if (!piece) co_return Response::text(400, piece.error().to_string());
      if (piece->empty()) break;
      bytes += piece->size();
    }
    co_return Response::text(200, cat(bytes, " bytes"));
  }
};

std::string get(std::string_view path, std::string_view more = "") {
  return cat("GET ", path, " HTTP/1.1\r\nHost: x\r\n", more, "\r\n");
}
std::string post(std::string_view path, std::string_view body, std::string_view more = "") {
  return cat("POST ", path, " HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(), "\r\n", more,
             "\r\n", body);
}
std::string ok(std::string_view body) {
  return cat("HTTP/1.1 200 OK\r\nDate: D\r\nContent-Type: text/plain\r\nContent-Length: ",
             body.size(), "\r\n\r\n", body);
}
std::string refused(unsigned status, std::string_view phrase, std::string_view body) {
  return cat("HTTP/1.1 ", status, " ", phrase,
             "\r\nDate: D\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
             "Content-Length: ",
             body.size(), "\r\n\r\n", body);
}
template <class Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

class HttpServer : public testing::Test {
 protected:
  TestHandler handler_;
};

TEST_F(HttpServer, AnswersOneRequestAfterAnotherOnAConnection) {
  ServerThread server(handler_);
  Client client = server.client();
  for (int i = 0; i < 3; ++i) {
    const std::string expected = ok(cat("POST ", i));
    EXPECT_EQ(client.send(post("/echo", cat(i))).at_least(expected.size()), expected);
  }
}
TEST_F(HttpServer, PipelinedRequestsAreAnsweredInOrder) {
  ServerThread server(handler_);
  Client client = server.client();
  std::string requests, answers;
  for (int i = 0; i < 50; ++i) {
    requests += post("/echo", cat("n", i));
    answers += ok(cat("POST n", i));
  }
  client.send(requests);
  std::string got;
  while (got.size() < answers.size()) got += client.at_least(1);
  EXPECT_EQ(got, answers);
}
TEST_F(HttpServer, PipelinedBehindOneThatWaits) {
  ServerThread server(handler_);
  Client client = server.client();
  client.send(get("/wait")).send(post("/echo", "next"));
  EXPECT_TRUE(client.is_quiet(50));
  handler_.released = true;
  const std::string text = client.until("POST next");
  EXPECT_LT(text.find("waited"), text.find("POST next"));
}
TEST_F(HttpServer, TakesARequestByteByByte) {
  ServerThread server(handler_);
  Client client = server.client();
  for (char c : post("/echo", "slow")) client.send(std::string_view(&c, 1));
  EXPECT_EQ(client.at_least(10), ok("POST slow"));
}
TEST_F(HttpServer, ClosesWhenTheClientAsksForIt) {
  ServerThread server(handler_);
  EXPECT_EQ(server.client().send(post("/echo", "x", "Connection: close\r\n")).all(), ok("POST x"));
  EXPECT_EQ(server.client().send("POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\nx").all(),
            ok("POST x"));
}
TEST_F(HttpServer, ReadsChunkedBodies) {
  ServerThread server(handler_);
  const std::string request =
      "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "3\r\nabc\r\n1;ext=1\r\nd\r\n0\r\nTrailer: x\r\n\r\n";
  EXPECT_EQ(server.client().send(request).all(), ok("POST abcd"));
  Client slow = server.client();
  for (char c : request) slow.send(std::string_view(&c, 1));
  EXPECT_EQ(slow.all(), ok("POST abcd"));
}
TEST_F(HttpServer, KeepsNoEndlessFraming) {
  ServerThread server(handler_);
  const std::string head = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string much(1u << 20, 'a');
  for (const std::string& endless : {std::string("0\r\nTrailer: "), std::string("1;ext=\""),
                                     std::string("3\r\nabc\r\n0\r\nA: b\r\nB: ")}) {
    const std::string answer = server.client().send(head + endless + much).all();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << endless << answer.substr(0, 100);
  }
}
TEST_F(HttpServer, ReadsBigBodiesBothWays) {
  ServerThread server(handler_);
  const std::string big(5'000'000, 'x');
  EXPECT_EQ(server.client().send(post("/echo", big, "Connection: close\r\n")).all(),
            ok("POST " + big));
  std::string chunked =
      "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
  for (int i = 0; i < 50; ++i) chunked += "186a0\r\n" + std::string(100'000, 'x') + "\r\n";
  Client client = server.client();
  std::thread sender([&] { client.send(chunked + "0\r\n\r\n"); });
  EXPECT_EQ(client.all(), ok("POST " + big));
  sender.join();
}
TEST_F(HttpServer, SaysContinueOnlyWhenItIsWaitedFor) {
  ServerThread server(handler_);
  Client client = server.client();
  client.send("POST /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.at_least(1), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(client.send("hi").at_least(1), ok("POST hi"));
  EXPECT_EQ(client.send(post("/echo", "ho", "Expect: 100-continue\r\n")).at_least(1),
            ok("POST ho"));
}
TEST_F(HttpServer, RefusesABodyThatIsTooBigBeforeItComes) {
  ServerThread server(handler_, {.body_bytes = 100});
  EXPECT_EQ(server.client()
                .send("POST /echo HTTP/1.1\r\nContent-Length: 101\r\nExpect: 100-continue\r\n\r\n")
                .until("accepted"),
            refused(413, "Payload Too Large", "The body has 101 bytes, at most 100 are accepted"));
  EXPECT_EQ(server.client()
                .send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" +
                      std::string(0x65, 'x') + "\r\n0\r\n\r\n")
                .until("more than 100 bytes"),
            refused(413, "Payload Too Large", "The body has more than 100 bytes"));
}
TEST_F(HttpServer, RefusesWhatIsNotHttp) {
  ServerThread server(handler_);
  for (const std::string bad :
       {"GET  /x HTTP/1.1\r\n\r\n", "hello\r\n\r\n", "GET /x HTTP/9.9\r\n\r\n",
        "GET /x HTTP/1.1\r\nno colon\r\n\r\n", "GET /\x01 HTTP/1.1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST /echo HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    Client client = server.client();
    client.send(bad);
    client.half_close();
    EXPECT_EQ(client.all().substr(0, 24), "HTTP/1.1 400 Bad Request") << bad;
  }
  EXPECT_EQ(handler_.requests, 0);
  EXPECT_EQ(
      server.client().send(get("/x", "A: " + std::string(70'000, 'a') + "\r\n")).until("bytes"),
      refused(431, "Request Header Fields Too Large",
              "The head of a request has at most 65536 bytes"));
}
TEST_F(HttpServer, AStreamedBodyHasNoLimit) {
  ServerThread server(handler_, {.body_bytes = 1000});
  const std::string tar = "Content-Type: application/x-tar\r\nConnection: close\r\n";
  Client client = server.client();
  const std::string big(3'000'000, 'x');
  std::thread sender([&] { client.send(post("/sum", big, tar)); });
  const std::string text = client.all();
  sender.join();
  EXPECT_NE(text.find("3000000 bytes"), std::string::npos) << text;
  const std::string chunked = "POST /sum HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + tar +
                              "\r\n" + "5\r\nabcde\r\n5\r\nabcde\r\n0\r\n\r\n";
  EXPECT_NE(server.client().send(chunked).all().find("10 bytes"), std::string::npos);
  EXPECT_NE(server.client().send(post("/sum", "", tar)).all().find("0 bytes"), std::string::npos);
}
TEST_F(HttpServer, AStreamedBodyThatBreaksOffIsAnError) {
  ServerThread server(handler_);
  Client client = server.client();
  client.send(
      "POST /sum HTTP/1.1\r\nContent-Type: application/x-tar\r\nContent-Length: 10\r\n\r\nabc");
  client.half_close();
  EXPECT_EQ(client.all(), "");  // nobody is left to be answered
  EXPECT_TRUE(soon([&] { return server.connections() == 0; }));
}
TEST_F(HttpServer, AnAnswerBeforeTheBodyClosesTheConnection) {
  ServerThread server(handler_);
  Client client = server.client();
  const std::string tar = "Content-Type: application/x-tar\r\n";
  std::thread sender([&] { client.send(post("/ignore", std::string(500'000, 'x'), tar)); });
  EXPECT_EQ(client.until("not wanted"), refused(400, "Bad Request", "not wanted"));
  sender.join();
}
TEST_F(HttpServer, StreamsChunks) {
  ServerThread server(handler_);
  Client client = server.client();
  const std::string expected =
      "HTTP/1.1 200 OK\r\nDate: D\r\nX-Id: 7\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n"
      "8\r\npiece 0\n\r\n8\r\npiece 1\n\r\n8\r\npiece 2\n\r\n0\r\n\r\n";
  EXPECT_EQ(client.send(get("/stream?3")).until("0\r\n\r\n"), expected);
  // The connection goes on.
  EXPECT_EQ(client.send(post("/echo", "x")).at_least(1), ok("POST x"));
  EXPECT_EQ(server.client().send("GET /stream?3 HTTP/1.0\r\n\r\n").all(),
            "HTTP/1.1 200 OK\r\nDate: D\r\nX-Id: 7\r\nContent-Type: application/json\r\n\r\n"
            "piece 0\npiece 1\npiece 2\n");
}
TEST_F(HttpServer, NoticesAClientThatGoesAwayWhileItStreamsOrWaits) {
  ServerThread server(handler_);
  for (const char* path : {"/stream", "/wait"}) {
    Client client = server.client();
    client.send(get(path));
    EXPECT_TRUE(soon([&] { return server.active_requests() == 1; }));
    const int before = handler_.cancelled;
    client.close();
    EXPECT_TRUE(soon([&] { return handler_.cancelled == before + 1; })) << path;
    EXPECT_TRUE(soon([&] { return server.connections() == 0; }));
  }
}
TEST_F(HttpServer, ARequestIsCarriedThroughWhenItsClientGoes) {
  ServerThread server(handler_);
  Client client = server.client();
  client.send(get("/work"));
  EXPECT_TRUE(soon([&] { return server.active_requests() == 1; }));
  client.close();
  EXPECT_TRUE(soon([&] { return handler_.finished == 1; }));
}
TEST_F(HttpServer, KnowsWhoAsks) {
  ServerThread server(handler_, {}, true);
  EXPECT_NE(server.client()
                .send(get("/peer", "Connection: close\r\n"))
                .all()
                .find(cat("\r\n\r\n", ::getuid(), ":", ::getpid())),
            std::string::npos);
  EXPECT_NE(
      server.tcp_client().send(get("/peer", "Connection: close\r\n")).all().find("127.0.0.1:"),
      std::string::npos);
}
TEST_F(HttpServer, SlowClientsRunIntoTheirDeadlines) {
  using std::chrono::milliseconds;
  ServerThread server(
      handler_,
      {.header = milliseconds(100), .body = milliseconds(100), .idle = milliseconds(300)});
  EXPECT_EQ(server.client().send("GET /ec").until("slowly"),
            refused(408, "Request Timeout", "The request came too slowly"));
  EXPECT_EQ(
      server.client().send("POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").until("slowly"),
      refused(408, "Request Timeout", "The body came too slowly"));
  EXPECT_EQ(server.client().all(), "");  // idle: closed without a word
  Client dripping = server.client();
  for (int i = 0; i < 40 && dripping.is_quiet(10); ++i) dripping.send("G");
  EXPECT_EQ(dripping.until("slowly").substr(0, 28), "HTTP/1.1 408 Request Timeout");
}
TEST_F(HttpServer, AClientTooManyIsToldSo) {
  ServerThread server(handler_, {.connections = 2});
  Client one = server.client();
  Client two = server.client();
  one.send(get("/wait"));
  two.send(get("/wait"));
  EXPECT_TRUE(soon([&] { return server.active_requests() == 2; }));
  EXPECT_EQ(server.client().until("connections"),
            refused(503, "Service Unavailable", "Too many connections"));
  one.close();
  EXPECT_TRUE(soon([&] { return server.connections() == 1; }));
  EXPECT_EQ(server.client().send(post("/echo", "3")).at_least(1), ok("POST 3"));
}
TEST_F(HttpServer, AClientTooManyTakesThePlaceOfTheOneThatIsIdleLongest) {
  ServerThread server(handler_, {.connections = 3});
  Client busy = server.client();
  busy.send(get("/wait"));
  EXPECT_TRUE(soon([&] { return server.active_requests() == 1; }));
  Client one = server.client();
  one.send(post("/echo", "1")).at_least(1);
  Client two = server.client();
  two.send(post("/echo", "2")).at_least(1);
  EXPECT_EQ(server.client().send(post("/echo", "3")).at_least(1), ok("POST 3"));
  EXPECT_EQ(one.all(), "");
  EXPECT_EQ(two.send(post("/echo", "4")).at_least(1), ok("POST 4"));
  handler_.released = true;
  EXPECT_NE(busy.at_least(1).find("waited"), std::string::npos);
}
TEST_F(HttpServer, AGreedyClientMakesRoomForOthersAndForItself) {
  ServerThread server(handler_, {.connections = 8}, true);
  // The process (unix) takes all of them: six wait, one sends slowly, one is idle.
  std::vector<Client> waits;
  for (int i = 0; i < 6; ++i) {
    waits.push_back(server.client());
    waits.back().send(get("/wait"));
  }
  EXPECT_TRUE(soon([&] { return server.active_requests() == 6; }));
  Client slow = server.client();
  slow.send("POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc");
  Client idle = server.client();
  EXPECT_EQ(idle.send(post("/echo", "1")).at_least(1), ok("POST 1"));
  // Another one (TCP's address) comes: first the idle one goes, then who waits for its client.
  Client first = server.tcp_client();
  EXPECT_EQ(first.send(post("/echo", "2")).at_least(1), ok("POST 2"));
  EXPECT_EQ(idle.all(), "");
  Client second = server.tcp_client();
  second.send(get("/stream")).until("piece 0");
  EXPECT_NE(slow.all().find("408 Request Timeout"), std::string::npos);
  // The greedy one gets no more by pressing on: it is told so, and nobody else loses anything.
  EXPECT_EQ(server.client().until("connections"),
            refused(503, "Service Unavailable", "Too many connections"));
  EXPECT_EQ(first.send(post("/echo", "3")).at_least(1), ok("POST 3"));
  EXPECT_NE(second.some(), "");
  EXPECT_TRUE(soon([&] { return server.active_requests() == 7; }));
  EXPECT_GE(server.on_loop_get([&] { return server.server().refused_count(); }), 3u);
}
TEST_F(HttpServer, AClientHoldsOnlySoMuchMemory) {
  ServerThread server(handler_, {.held_bytes = 9u << 20, .held_bytes_each = 5u << 20}, true);
  const std::string head =
      "POST /echo HTTP/1.1\r\nContent-Length: 4000000\r\nExpect: 100-continue\r\n\r\n";
  Client first = server.client(), second = server.client(), other = server.tcp_client();
  EXPECT_NE(first.send(head).until("\r\n\r\n").find("100 Continue"), std::string::npos);
  EXPECT_EQ(second.send(head).until("at once"),
            refused(503, "Service Unavailable",
                    "This client has too much on its way; send less at once"));
  Client chunked = server.client();
  chunked.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1E8480\r\n");
  EXPECT_NE(chunked.send(std::string(2'000'000, 'x')).until("at once").find("503"),
            std::string::npos);
  // Small ones are none of this; another client has a share of its own; what ended is given back.
  EXPECT_EQ(server.client().send(post("/echo", "1")).at_least(1), ok("POST 1"));
  EXPECT_NE(other.send(head).until("\r\n\r\n").find("100 Continue"), std::string::npos);
  first.close();
  const std::string body(2'000'000, 'z');
  EXPECT_TRUE(soon([&] {
    return server.client().send(post("/echo", body)).at_least(body.size()) ==
           ok(cat("POST ", body));
  }));
}
TEST_F(HttpServer, OfAnswersThatAreNotReadOneTooManyIsCutOff) {
  ServerThread server(handler_, {.held_bytes_each = 4u << 20});
  Client first = server.client(), second = server.client();
  first.send(get("/big"));
  EXPECT_TRUE(soon([&] { return handler_.requests == 1; }));
  second.send(get("/big"));
  EXPECT_TRUE(soon([&] { return server.connections() == 1; }));
  EXPECT_LT(second.all().size(), kBig);
  EXPECT_EQ(first.at_least(kBig), ok(std::string(kBig, 'b')));
  EXPECT_EQ(first.send(get("/big")).at_least(kBig), ok(std::string(kBig, 'b')));
}
TEST_F(HttpServer, DrainLetsRequestsEndAndIdleOnesGo) {
  ServerThread server(handler_);
  Client idle = server.client();
  idle.send(post("/echo", "x")).at_least(1);
  Client busy = server.client();
  busy.send(get("/work"));
  EXPECT_TRUE(soon([&] { return handler_.requests == 2; }));
  server.on_loop(server.server().drain(std::chrono::seconds(5)));
  EXPECT_EQ(idle.all(), "");
  EXPECT_NE(busy.all().find("Connection: close\r\nContent-Length: 6\r\n\r\nworked"),
            std::string::npos);
}
TEST_F(HttpServer, DrainEndsStreamsAndWaitsAtOnce) {
  ServerThread server(handler_);
  Client stream = server.client(), wait = server.client();
  stream.send(get("/stream")).until("piece 0");
  wait.send(get("/wait"));
  EXPECT_TRUE(soon([&] { return server.active_requests() == 2; }));
  const auto from = std::chrono::steady_clock::now();
  server.on_loop(server.server().drain(std::chrono::seconds(5)));
  EXPECT_LT(std::chrono::steady_clock::now() - from, std::chrono::seconds(2));
  EXPECT_EQ(wait.all(), "");  // nothing: it asks again
  const std::string rest = stream.all();
  EXPECT_FALSE(rest.ends_with("0\r\n\r\n"));  // the client sees that it is not whole
}
TEST_F(HttpServer, AThousandConnectionsLeaveNothingOpen) {
  ServerThread server(handler_);
  server.client().send(post("/echo", "x", "Connection: close\r\n")).all();
  auto count_fds = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  EXPECT_TRUE(soon([&] { return server.connections() == 0; }));
  const auto before = count_fds();
  for (int i = 0; i < 1000; ++i) {
    Client client = server.client();
    client.send(post("/echo", "x", "Connection: close\r\n"));
    if (i % 3 == 0) continue;  // gone before the answer
    EXPECT_EQ(client.all(), ok("POST x"));
  }
  // No connections: the last one, gone already, may not have been accepted yet.
  EXPECT_TRUE(soon([&] { return server.connections() == 0 && count_fds() == before; }));
}

// A certificate that it has signed itself, and its key.
TlsFiles make_certificate(const std::string& directory) {
  TlsFiles files{
      .certificate = directory + "/cert.pem", .key = directory + "/key.pem", .client_ca = {}};
  EVP_PKEY* key = ::EVP_EC_gen("P-256");
  X509* certificate = ::X509_new();
  ::ASN1_INTEGER_set(::X509_get_serialNumber(certificate), 1);
  ::X509_gmtime_adj(::X509_getm_notBefore(certificate), -3600);
  ::X509_gmtime_adj(::X509_getm_notAfter(certificate), 3600);
  ::X509_set_pubkey(certificate, key);
  ::X509_sign(certificate, key, ::EVP_sha256());
  const auto write = [](const std::string& path, auto put) {
    FILE* file = ::fopen(path.c_str(), "we");
    put(file);
    ::fclose(file);
    ::chmod(path.c_str(), 0600);
  };
  write(files.certificate, [&](FILE* file) { ::PEM_write_X509(file, certificate); });
  write(files.key, [&](FILE* file) {
    ::PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
  ::X509_free(certificate);
  ::EVP_PKEY_free(key);
  return files;
}

TEST(TlsServer, WhoDoesNotShakeHandsIsAConnectionUntilItIsCutOff) {
  char directory[] = "/tmp/gantry-tls-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  auto tls = TlsContext::open(make_certificate(directory));
  ASSERT_TRUE(tls) << tls.error().to_string();
  TestHandler handler;
  ServerThread thread(handler, {.handshake = std::chrono::milliseconds(300)}, true, tls->get());
  Client silent = thread.tcp_client();
  EXPECT_TRUE(soon([&] { return thread.connections() == 1; }));
  EXPECT_EQ(silent.all(), "");
  Client plain = thread.tcp_client();
  plain.send("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(plain.all().find("HTTP/"), std::string::npos);
  EXPECT_TRUE(soon([&] { return thread.connections() == 0; }));
  EXPECT_EQ(thread.on_loop_get([&] { return thread.server().failed_handshakes(); }), 2u);
  EXPECT_EQ(handler.requests, 0);
  thread.stop();
  std::filesystem::remove_all(directory);
}
}  // namespace
}  // namespace gantry::http
