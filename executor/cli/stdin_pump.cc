#include "executor/cli/stdin_pump.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "executor/cli/json.h"

namespace gantry::cli {
namespace {
constexpr size_t kPiece = 64u << 10;

std::string first_record(const ContainerRef& container) {
  JsonWriter json;
  json.open().text("type", "ATTACH_CONTAINER_INPUT").open("attach_container_input");
  json.text("type", "CONTAINER_ID");
  write_container_id(json, container);
  json.boolean("gantry_hand_over", true);
  return frame_record(json.close().close().take());
}

std::string end_record() {
  JsonWriter json;
  json.open().text("type", "ATTACH_CONTAINER_INPUT").open("attach_container_input");
  json.text("type", "PROCESS_IO").open("process_io").text("type", "DATA").open("data");
  json.text("type", "STDIN").text("data", "").close();
  return frame_record(json.close().close().close().take());
}

std::string size_record() {
  const WindowSize size = window_size();
  JsonWriter json;
  json.open().text("type", "ATTACH_CONTAINER_INPUT").open("attach_container_input");
  json.text("type", "PROCESS_IO").open("process_io").text("type", "CONTROL").open("control");
  json.text("type", "TTY_INFO").open("tty_info").open("window_size");
  json.integer("rows", size.rows).integer("columns", size.columns).close().close().close();
  return frame_record(json.close().close().close().take());
}

short events_now(int fd, short events) {
  pollfd one = {fd, events, 0};
  return ::poll(&one, 1, 0) == 1 ? one.revents : short{0};
}
}  // namespace

Result<void> StdinPump::attach(Connection connection) {
  GANTRY_TRY(connection.send_streaming({"/api/v1",
                                        {{"Content-Type", "application/recordio"},
                                         {"Message-Content-Type", "application/json"},
                                         {"Accept", "application/json"}},
                                        {}}));
  GANTRY_TRY(connection.send_chunk(first_record(container_)));
  connection_.emplace(std::move(connection));
  if (has_ended_pipe_) say_end();
  if (kind_ != Kind::pipe) resize();
  return {};
}

void StdinPump::resize() {
  if (connection_ && kind_ != Kind::pipe) {
    connection_->send_chunk(size_record()).ignore("said again to the next executor");
  }
}

std::vector<pollfd> StdinPump::wanted() const {
  std::vector<pollfd> out;
  if (connection_) out.push_back({connection_->fd(), POLLIN, 0});
  // Without POLLOUT a pipe still tells that nobody reads any more; a terminal, over and over.
  if (pipe_ && (kind_ == Kind::pipe || !pending_.empty())) {
    out.push_back({pipe_.get(), static_cast<short>(pending_.empty() ? 0 : POLLOUT), 0});
  }
  if (pipe_ && pending_.empty() && !at_end_) out.push_back({STDIN_FILENO, POLLIN, 0});
  return out;
}

void StdinPump::step() {
  if (connection_ && events_now(connection_->fd(), POLLIN) != 0) read_answer();
  if (!pipe_) return;
  if ((events_now(pipe_.get(), POLLOUT) & POLLERR) != 0) {
    is_done_ = true;
    return;
  }
  if (pending_.empty() && !at_end_ && events_now(STDIN_FILENO, POLLIN) != 0) read_stdin();
  write_pipe();
  if (!at_end_ || !pending_.empty() || kind_ != Kind::pipe) return;
  pipe_.reset();
  has_ended_pipe_ = true;
  if (connection_) say_end();
}

void StdinPump::read_answer() {
  const Result<bool> fed = connection_->feed();
  while (fed && connection_->is_complete()) {
    if (connection_->head()->status != 100) {
      is_done_ = true;  // all was said, or the container takes no input (404, 409)
      is_refused_ = connection_->head()->status == 409;
      return;
    }
    UniqueFd handed = connection_->take_descriptor();
    if (!has_ended_pipe_ && !pipe_) pipe_ = std::move(handed);
    connection_->next();
    if (!connection_->parse()) break;
  }
  if (!fed || !*fed) connection_.reset();
}

void StdinPump::read_stdin() {
  std::array<char, kPiece> bytes;
  const ssize_t n = ::read(STDIN_FILENO, bytes.data(), bytes.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n <= 0) {
    at_end_ = true;
    is_detached_ = kind_ == Kind::terminal;  // it hung up
    return;
  }
  if (kind_ == Kind::pipe) {
    pending_.assign(bytes.data(), static_cast<size_t>(n));
  } else if (std::optional<std::string> rest =
                 keys_.pass(std::string_view(bytes.data(), static_cast<size_t>(n)))) {
    pending_ = std::move(*rest);
  } else {
    is_detached_ = true;
  }
}

// The executor has made the pipe non-blocking.
void StdinPump::write_pipe() {
  while (!pending_.empty()) {
    const ssize_t n = ::write(pipe_.get(), pending_.data(), pending_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      is_done_ = errno != EAGAIN;
      return;
    }
    pending_.erase(0, static_cast<size_t>(n));
  }
}

// A broken connection is attached again, and then it is said again.
void StdinPump::say_end() {
  const Result<void> said = connection_->send_chunk(end_record());
  if (said) connection_->send_chunk({}).ignore("the answer tells");
}
}  // namespace gantry::cli
