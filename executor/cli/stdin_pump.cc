#include "executor/cli/stdin_pump.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "executor/cli/json.h"

namespace gantry::cli {
namespace {
std::string chunk(std::string_view bytes) {
  char size[20];
  const auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
  return cat(std::string_view(size, static_cast<size_t>(end - size)), "\r\n", bytes, "\r\n");
}

std::string data_record(std::string_view bytes) {
  JsonWriter json;
  json.open().text("type", "ATTACH_CONTAINER_INPUT").open("attach_container_input");
  json.text("type", "PROCESS_IO").open("process_io").text("type", "DATA").open("data");
  json.text("type", "STDIN").text("data", encode_base64(bytes));
  return json.close().close().close().close().take();
}

bool is_ready(int fd, short events) {
  pollfd one = {fd, events, 0};
  return ::poll(&one, 1, 0) == 1;
}
}  // namespace

Result<StdinPump> StdinPump::open(Connection connection, const std::string& container_id) {
  StdinPump pump(std::move(connection));
  GANTRY_TRY(pump.connection_.send_streaming({"/api/v1",
                                              {{"Content-Type", "application/recordio"},
                                               {"Message-Content-Type", "application/json"},
                                               {"Accept", "application/json"}},
                                              {}}));
  JsonWriter json;
  json.open().text("type", "ATTACH_CONTAINER_INPUT").open("attach_container_input");
  json.text("type", "CONTAINER_ID").open("container_id").text("value", container_id).close();
  pump.queue(json.close().close().take());
  return pump;
}

void StdinPump::queue(const std::string& record) { pending_ += chunk(frame_record(record)); }

std::vector<pollfd> StdinPump::wanted() const {
  const short events = static_cast<short>(POLLIN | (pending_.empty() ? 0 : POLLOUT));
  std::vector<pollfd> out = {{connection_.fd(), events, 0}};
  if (pending_.empty() && !at_end_) out.push_back({STDIN_FILENO, POLLIN, 0});
  return out;
}

bool StdinPump::flush() {
  while (!pending_.empty()) {
    const ssize_t n =
        ::send(connection_.fd(), pending_.data(), pending_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    pending_.erase(0, static_cast<size_t>(n));
  }
  return true;
}

bool StdinPump::step() {
  // An answer before we are done: the container ended, or somebody else is attached.
  if (is_ready(connection_.fd(), POLLIN)) {
    const Result<bool> fed = connection_.feed();
    if (!fed || !*fed || connection_.is_complete()) return false;
  }
  if (pending_.empty() && !at_end_ && is_ready(STDIN_FILENO, POLLIN)) {
    std::array<char, 48u << 10> bytes;
    const ssize_t n = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    // Zero bytes say end-of-file, to us and to the container.
    queue(data_record({bytes.data(), static_cast<size_t>(n < 0 ? 0 : n)}));
    if (n <= 0) {
      at_end_ = true;
      pending_ += chunk({});
    }
  }
  return flush();
}
}  // namespace gantry::cli
