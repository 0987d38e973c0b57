// The fetcher against a real http server on loopback (python3 -m http.server's class, with
// redirects).
#include <signal.h>

#include <thread>

#include "fetcher/fetcher.h"
#include "fetcher/tree_jobs.h"
#include "tests/integration/provisioner/rig.h"

namespace gantry::test {
namespace {
constexpr const char* kServer = R"(
import http.server, sys, time
class H(http.server.SimpleHTTPRequestHandler):
  def do_GET(self):
    open('log', 'a').write(self.path + '\n')
    if self.path.startswith('/to?'):
      self.send_response(302); self.send_header('Location', self.path[4:]); self.end_headers()
    elif self.path == '/loop':
      self.send_response(302); self.send_header('Location', '/loop'); self.end_headers()
    elif self.path == '/slow':
      self.send_response(200); self.send_header('Content-Length', '100'); self.end_headers()
      self.wfile.write(b'x'); self.wfile.flush(); time.sleep(60)
    elif self.path == '/cut':
      self.send_response(200); self.send_header('Content-Length', '100'); self.end_headers()
      self.wfile.write(b'x')
    else: super().do_GET()
  def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
open('port.tmp', 'w').write(str(s.server_port))
import os; os.rename('port.tmp', 'port')
s.serve_forever()
)";

FetchUri uri_of(std::string uri, std::string output = "", std::optional<std::string> sha256 = {}) {
  return {std::move(uri), std::move(sha256), false, false, std::move(output)};
}

class Fetch : public Rig {
 public:
  void SetUp() override {
    Rig::SetUp();
    std::filesystem::create_directory(path("www"));
    std::filesystem::create_directory(path("sandbox"));
    ASSERT_EQ(::chmod(dir_.c_str(), 0755), 0);
    ASSERT_EQ(::chown(path("sandbox").c_str(), 1234, 1234), 0);
    write("server.py", kServer);
    write("www/a", "hello\n");
    server_ = ::fork();
    if (server_ == 0) {
      if (::chdir(path("www").c_str()) != 0) ::_exit(1);
      ::execlp("python3", "python3", path("server.py").c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; i < 600 && !std::filesystem::exists(path("www/port")); ++i) ::usleep(50000);
    url_ = cat("http://127.0.0.1:", output(cat("cat ", path("www/port"))));
    options_.cache_dir = path("cache");
    open();
  }
  void TearDown() override {
    fetcher_.reset();
    ::kill(server_, SIGKILL);
    ::waitpid(server_, nullptr, 0);
    Rig::TearDown();
  }
  void open() {
    fetcher_.emplace(loop_.get_executor(), *worker_, options_);
    ASSERT_TRUE(run(fetcher_->recover()));
  }
  Result<void> fetch(std::vector<FetchUri> uris, uid_t uid = 1234) {
    auto sandbox = sys::open(path("sandbox"), O_RDONLY | O_DIRECTORY);
    return run(fetcher_->fetch(std::move(uris), std::move(*sandbox), uid, uid));
  }
  std::string fails(FetchUri uri, uid_t uid = 1234) {
    auto done = fetch({std::move(uri)}, uid);
    EXPECT_EQ(output(cat("ls -A ", path("sandbox"))), "") << "a failed fetch leaves nothing";
    return done ? "success" : done.error().to_string();
  }
  size_t requests() {
    return static_cast<size_t>(
        std::stoul(output(cat("cat ", path("www/log"), " 2>/dev/null | wc -l"))));
  }
  std::string sha(const std::string& file) {
    return output(cat("sha256sum ", path(file), " | cut -c1-64 | tr -d '\\n'"));
  }

  pid_t server_ = -1;
  std::string url_;
  FetcherOptions options_;
  std::optional<Fetcher> fetcher_;
};

TEST_F(Fetch, HttpAndFileArriveAsTheUsersOwn) {
  write("local", "local\n");
  ASSERT_EQ(::chmod(path("local").c_str(), 0644), 0);
  auto done = fetch({{url_ + "/a", sha("www/a"), true, false, ""},
                     {"file://" + path("local"), sha("local"), false, false, "renamed"},
                     {url_ + "/to?/a", std::nullopt, false, false, "redirected"}});
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(output(cat("cd ", path("sandbox"), "; stat -c '%n %a %u' *; cat a renamed redirected")),
            "a 755 1234\nredirected 644 1234\nrenamed 644 1234\nhello\nlocal\nhello\n");
}

TEST_F(Fetch, WhatTheUserMayNotReadIsNotFetched) {
  write("secret", "s");
  ASSERT_EQ(::chmod(path("secret").c_str(), 0600), 0);
  EXPECT_NE(fails(uri_of("file://" + path("secret"))).find("ermission denied"), std::string::npos);
  EXPECT_NE(fails(uri_of("file:///etc/shadow")).find("ermission denied"), std::string::npos);
  ASSERT_EQ(shell(cat("mkfifo ", path("fifo"))), 0);
  EXPECT_NE(fails(uri_of("file://" + path("fifo"))).find("not a regular file"), std::string::npos);
  EXPECT_NE(fails(uri_of("file:///dev/zero")).find("not a regular file"), std::string::npos);
  EXPECT_NE(fails(uri_of(url_ + "/a"), 4321).find("not writable"), std::string::npos);
}

TEST_F(Fetch, WrongContentAndHostileServersAreRefused) {
  EXPECT_NE(fails(uri_of(url_ + "/a", "", std::string(64, '0'))).find("its sha256 is"),
            std::string::npos);
  EXPECT_NE(
      fails(uri_of("file://" + path("www/a"), "", std::string(64, '0'))).find("its sha256 is"),
      std::string::npos);
  EXPECT_NE(fails(uri_of(url_ + "/missing")).find("HTTP status 404"), std::string::npos);
  EXPECT_NE(fails(uri_of(url_ + "/to?file:///etc/passwd", "x")).find("only http and https"),
            std::string::npos);
  EXPECT_NE(fails(uri_of(url_ + "/to?http://169.254.169.254/meta", "x")).find("link-local"),
            std::string::npos);
  EXPECT_NE(fails(uri_of("http://169.254.169.254/meta")).find("link-local"), std::string::npos);
  EXPECT_NE(fails(uri_of(url_ + "/loop")).find("redirects"), std::string::npos);
  EXPECT_NE(fails(uri_of(url_ + "/cut")), "success");
  EXPECT_NE(fails(uri_of("http://127.0.0.1:1/x")), "success");
  EXPECT_NE(fails(uri_of("ftp://127.0.0.1/x")).find("only file"), std::string::npos);
  options_.max_file = 3;
  open();
  EXPECT_NE(fails(uri_of(url_ + "/a")).find("larger than 3"), std::string::npos);
  options_.max_file = 1 << 20;
  options_.stall = std::chrono::seconds(1);
  open();
  EXPECT_NE(fails(uri_of(url_ + "/slow")), "success");
}

TEST_F(Fetch, OneDownloadPerDigestSharedAndKept) {
  FetchUri uri{url_ + "/a", sha("www/a"), false, false, ""};
  Scope scope(loop_.get_executor());
  int good = 0;
  for (int i = 0; i < 5; ++i) {
    scope.spawn([](Fetch* self, FetchUri u, int n, int* out) -> Co<void> {
      u.output_file = cat("f", n);
      auto sandbox = sys::open(self->path("sandbox"), O_RDONLY | O_DIRECTORY);
      std::vector<FetchUri> uris;
      uris.push_back(std::move(u));
      if (co_await self->fetcher_->fetch(std::move(uris), std::move(*sandbox), 1234, 1234)) ++*out;
    }(this, uri, i, &good));
  }
  run_void(scope.join());
  EXPECT_EQ(good, 5);
  EXPECT_EQ(requests(), 1u);
  write("cache/.tmp.1.left", "half");
  open();  // a new executor
  ASSERT_TRUE(fetch({uri}));
  EXPECT_EQ(requests(), 1u);
  EXPECT_FALSE(std::filesystem::exists(path("cache/.tmp.1.left")));
  EXPECT_EQ(output(cat("cat ", path("sandbox/f4"))), "hello\n");
}

TEST_F(Fetch, ArchivesAreUnpackedInsideAsTheUser) {
  ASSERT_EQ(shell(cat("cd ", dir_,
                      "; mkdir t; echo x >t/f; chmod 4755 t/f; mkdir t/d; for z in gz xz zst; do "
                      "tar -C t -acf www/x.tar.$z .; done; python3 -c \"import tarfile,io; "
                      "t=tarfile.open('www/evil.tar','w'); "
                      "i=tarfile.TarInfo('../../escaped'); t.addfile(i, io.BytesIO(b''));"
                      "l=tarfile.TarInfo('l'); l.type=b'2'; l.linkname='/tmp'; t.addfile(l);"
                      "i=tarfile.TarInfo('l/through'); t.addfile(i, io.BytesIO(b''))\"")),
            0);
  for (const char* z : {"gz", "xz", "zst"}) {
    auto done = fetch({{cat(url_, "/x.tar.", z), std::nullopt, false, true, ""}});
    ASSERT_TRUE(done) << z << done.error().to_string();
    EXPECT_EQ(output(cat("cd ", path("sandbox"), "; stat -c '%a %u' f; rm -r f d")), "755 1234\n")
        << z;
  }
  ASSERT_TRUE(fetch({{url_ + "/evil.tar", std::nullopt, false, true, ""}}));
  EXPECT_FALSE(std::filesystem::exists("/tmp/through"));
  EXPECT_FALSE(std::filesystem::exists(path("escaped")));
  EXPECT_TRUE(std::filesystem::exists(path("sandbox/escaped")));
  EXPECT_TRUE(std::filesystem::exists(path("sandbox/tmp/through")));
}

TEST_F(Fetch, CancellingEndsTheWorkerAtOnce) {
  Scope scope(loop_.get_executor());
  std::optional<Result<void>> result;
  scope.spawn([](Fetch* self, std::optional<Result<void>>* out) -> Co<void> {
    auto sandbox = sys::open(self->path("sandbox"), O_RDONLY | O_DIRECTORY);
    std::vector<FetchUri> uris;
    uris.push_back(uri_of(self->url_ + "/slow"));
    *out = co_await self->fetcher_->fetch(std::move(uris), std::move(*sandbox), 1234, 1234);
  }(this, &result));
  run_void(sleep_for(std::chrono::milliseconds(500)));
  int64_t start = sys::monotonic_ns();
  run_void(scope.close());
  EXPECT_LT(sys::monotonic_ns() - start, 3'000'000'000);
  ASSERT_TRUE(result && !*result);
  EXPECT_TRUE(result->error().is(Errc::cancelled)) << result->error().to_string();
}

class Worker : public Rig {};

TEST_F(Worker, ADeadlineKillsItAndItIsConfined) {
  // An ingest that waits for its stream is looked at from outside.
  auto pipe = *sys::pipe();
  std::filesystem::create_directory(path("staging"));
  WorkerRequest request;
  request.job = "ingest";
  request.fields.add_number("max_bytes", 1000000);
  request.fields.add_number("stall", 60);
  request.input = std::move(pipe.read);
  request.fds.push_back(*sys::open(path("staging"), O_PATH | O_DIRECTORY));
  request.limit = std::chrono::seconds(3);
  std::string seen;
  std::thread looker([&] {
    ::usleep(1500000);
    seen = output(cat("p=$(pgrep -P ", ::getpid(),
                      " gantry-worker); cd /proc/$p && "
                      "grep -E '^(Seccomp|CapEff|CapBnd|NoNewPrivs):' status | tr -d '\\t'; "
                      "ls fd | tr '\\n' ' '; readlink ns/net | grep -v $(readlink "
                      "/proc/self/ns/net) >/dev/null && echo own-net; "
                      "tr '\\0' '\\n' <environ | wc -l; wc -l <mountinfo"));
  });
  auto done = run(worker_->run(std::move(request)));
  looker.join();
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().is(Errc::timed_out)) << done.error().to_string();
  // The run time of a sanitizer makes calls of its own, so there is no filter with one.
  const char* filter =
      __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ? "0" : "2";
  EXPECT_EQ(seen, cat("CapEff:0000000000000000\nCapBnd:0000000000000000\nNoNewPrivs:1\nSeccomp:",
                      filter, "\n0 1 2 3 4 5 own-net\n0\n1\n"))
      << "fds: null, null, null, socket, staging, spool";
}

TEST_F(Worker, TreesAreRemovedAtAnyDepthButNeverAcrossAMount) {
  ASSERT_EQ(shell(cat("cd ", dir_, "; mkdir p keep; echo k >keep/f; mkdir -p p/t/a/b; ln -s ", dir_,
                      "/keep p/t/link; "
                      "ln keep/f p/t/hard; mkfifo p/t/fifo; mkdir -m 000 p/t/closed; "
                      "python3 -c \"import os; os.chdir('p/t')\nfor i in range(5000): "
                      "os.mkdir('d'); os.chdir('d')\"")),
            0);
  auto size = run(measure_tree(*worker_, path("p"), "nothing"));
  EXPECT_FALSE(size);
  ASSERT_TRUE(run(remove_tree(*worker_, path("p"), "t")));
  ASSERT_TRUE(run(remove_tree(*worker_, path("p"), "t")));
  EXPECT_EQ(output(cat("ls -A ", path("p"), "; cat ", path("keep/f"))), "k\n");
  ASSERT_EQ(shell(cat("cd ", dir_, "; mkdir -p p/m/x; mount -t tmpfs none p/m/x; echo z >p/m/x/z")),
            0);
  auto busy = run(remove_tree(*worker_, path("p"), "m"));
  EXPECT_EQ(output(cat("cat ", path("p/m/x/z"))), "z\n");
  ASSERT_TRUE(run(unmount(*worker_, path("p/m/x"))));
  ASSERT_TRUE(run(unmount(*worker_, path("p/m/x"))));
  ASSERT_FALSE(busy);
  EXPECT_TRUE(busy.error().is(Errc::busy)) << busy.error().to_string();
  ASSERT_TRUE(run(remove_tree(*worker_, path("p"), "m")));
  ASSERT_EQ(shell(cat("cd ", dir_, "/p; mkdir s; head -c 100000 /dev/zero >s/f; ln s/f s/g")), 0);
  size = run(measure_tree(*worker_, path("p"), "s"));
  ASSERT_TRUE(size);
  EXPECT_EQ(size->inodes, 2u);
  EXPECT_GE(size->bytes, 100000u);
  EXPECT_LT(size->bytes, 150000u);
}

TEST_F(Worker, OneThatDiesIsReportedWithItsSignal) {
  auto pipe = *sys::pipe();
  std::filesystem::create_directory(path("staging"));
  WorkerRequest request;
  request.job = "ingest";
  request.fields.add_number("max_bytes", 1000000);
  request.fields.add_number("stall", 60);
  request.input = std::move(pipe.read);
  request.fds.push_back(*sys::open(path("staging"), O_PATH | O_DIRECTORY));
  std::thread killer([&] {
    ::usleep(1000000);
    // What its own filter sends.
    (void)shell(cat("kill -SYS $(pgrep -P ", ::getpid(), " gantry-worker)"));
  });
  auto done = run(worker_->run(std::move(request)));
  killer.join();
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().is(Errc::corrupt));
  EXPECT_NE(done.error().to_string().find("signal 31"), std::string::npos)
      << done.error().to_string();
  WorkerRequest nonsense;
  nonsense.job = "no-such-job";
  EXPECT_FALSE(run(worker_->run(std::move(nonsense))));
}
}  // namespace
}  // namespace gantry::test
