// What earlier versions said on their wires (golden/VERSION/wire, of record.py), read by today's
// launcher, logger and plan decoder.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>

#include "launcher/protocol.h"
#include "tests/compat/wire_text.h"
#include "tests/integration/launcher/rig.h"

namespace gantry::test {
namespace {
namespace fs = std::filesystem;
constexpr int kAnswerMs = 5000;

std::vector<fs::path> versions() {
  std::vector<fs::path> out(fs::directory_iterator(GANTRY_GOLDEN), {});
  std::ranges::sort(out);
  return out;
}

std::vector<fs::path> messages(const fs::path& version) {
  std::vector<fs::path> out(fs::directory_iterator(version / "wire"), {});
  std::ranges::sort(out);
  return out;
}

std::string read(const fs::path& path) { return sys::read_file(path.string()).value(); }

// A difference is a struct with another layout, or a number with another meaning: what is new goes
// to the end, or to where there was nothing.
TEST(Wire, EverySortOfBytesSaysWhatItSaid) {
  for (const fs::path& version : versions()) {
    std::string said;
    for (const fs::path& path : messages(version)) {
      said += cat("== ", path.filename().string(), "\n",
                  wire_text(path.filename().string(), read(path)));
    }
    const fs::path expected = version / "wire.txt";
    if (::getenv("GANTRY_COMPAT_WRITE") != nullptr) std::ofstream(expected) << said;
    EXPECT_EQ(said, read(expected)) << version;
  }
}

// Old bytes to today's processes.
class OldClient : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = rig.run(rig.launcher->start_or_connect(rig.config()));
    ASSERT_TRUE(started) << started.error().to_string();
  }
  Result<Answer> ask(const char* socket_name, const std::string& bytes) {
    UniqueFd socket = GANTRY_TRY(
        sys::connect_unix(cat(rig.config().runtime_dir, "/", socket_name), SOCK_SEQPACKET));
    GANTRY_TRY(sys::send_message(socket.get(), bytes, {}));
    pollfd ready = {socket.get(), POLLIN, 0};
    Answer answer;
    if (::poll(&ready, 1, kAnswerMs) != 1 ||
        ::recv(socket.get(), &answer, sizeof answer, 0) != static_cast<ssize_t>(sizeof answer)) {
      return Error(Errc::timed_out, "no answer");
    }
    return answer;
  }
  Rig rig;
};

bool is_one_of(MessageType type, std::initializer_list<MessageType> list) {
  return std::ranges::find(list, type) != list.end();
}

TEST_F(OldClient, IsUnderstoodByLauncherAndLogger) {
  using enum MessageType;
  size_t asked = 0;
  for (const fs::path& version : versions()) {
    for (const fs::path& path : messages(version)) {
      const std::string bytes = read(path);
      Request request;
      if (bytes.size() != sizeof request || path.filename().string().find("request") != 0) continue;
      std::memcpy(&request, bytes.data(), sizeof request);
      const bool to_launcher =
          is_one_of(request.head.type, {kHello, kLaunch, kForget, kOpenStdin, kCloseStdin, kAdopt,
                                        kAssign, kGiveTerminal, kUpgrade});
      const bool to_logger = is_one_of(request.head.type, {kFlush, kWatch});
      if (!to_launcher && !to_logger) continue;
      // Without what it asks about or the descriptors that came with it: refused, but understood.
      Result<Answer> answer = ask(to_launcher ? kLauncherSocket : kLoggerSocket, bytes);
      ASSERT_TRUE(answer) << path << ": " << answer.error().to_string();
      EXPECT_EQ(answer->head.request, request.head.request) << path;
      EXPECT_NE(answer->error, EPROTO) << path << ": " << answer->text;
      ++asked;
    }
  }
  EXPECT_GE(asked, 10 * versions().size());
}
}  // namespace
}  // namespace gantry::test
