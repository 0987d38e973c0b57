#include "executor/cli/foreground.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/sys.h"
#include "executor/cli/command.h"
#include "executor/cli/complaint.h"
#include "executor/cli/print.h"
#include "executor/cli/stdin_pump.h"

namespace gantry::cli {
namespace {
constexpr int kBrokenPipeStatus = 128 + SIGPIPE;
// So many SIGINT or SIGTERM and the container is killed: pid 1 of a container ignores those it has
// no handler for.
constexpr int kImpatience = 3;
// What an executor that does not answer is waited for, per signal that is passed on.
constexpr int kAnswerLimitMs = 2'000;
// So long after a signal somebody wants to know what became of it.
constexpr int64_t kPatienceNs = 1'000'000'000;
// So often in a row an executor may go away before it has sent us a byte.
constexpr int kMostFruitless = 10;
// So often, a fiftieth of a second apart, it is looked whether a container that ended runs again.
constexpr int kMostLooks = 50;

HttpRequest stream_request(std::string body) {
  return {"/api/v1",
          {{"Content-Type", "application/json"},
           {"Accept", "application/recordio"},
           {"Message-Accept", "application/json"}},
          std::move(body)};
}

// Where one of the container's streams goes.
struct Sink {
  int fd;
  uint64_t offset = 0;  // bytes of the stream seen so far: where to go on
  bool broken = false;  // the reader went away
  // A write to a pipe or terminal must not block longer than we want: one page fits when poll says.
  size_t piece = 4096;
};

class Foreground {
 public:
  Foreground(Session& session, ContainerRef container, const ForegroundOptions& options)
      : session_(session), container_(std::move(container)), options_(options) {}
  Result<int> run(const std::string& request);
  Result<int> attach_to_running(const std::function<Result<void>()>& begin);

 private:
  Result<int> see_to_the_end(const std::string& request, Result<void> result);
  Result<void> prepare();
  // One stream of ProcessIO, to its end or its refusal. Errc::cancelled: it broke off.
  Result<void> attach();
  Result<void> follow(const std::string& request);
  // The executor went away. Containers do not: its successor knows this one, or never got it.
  Result<void> go_on(const std::string& request);
  Result<void> on_started();
  Result<void> wait_for_something();
  Result<void> drain_records();
  bool is_over() const { return exit_ || (stdin_ && stdin_->is_detached()); }
  Result<void> handle_record(const std::string& text);
  Result<void> deliver(Sink& sink, std::string_view bytes);
  Result<void> give_up(const Sink& sink, int error);
  Result<void> handle_signals();
  Result<void> handle_interruption(int number);
  void pass_on(int number);
  void send_signal(int number);
  bool deliver_signal(int number);
  int milliseconds_to_remark() const;
  void remark();
  void say_what_goes_on(int status);
  std::string attach_request() const;
  Result<uint64_t> output_size(std::string_view stream);
  int detach();
  int finish();

  Session& session_;
  std::string request_;  // that launches it; empty: it runs already
  const ContainerRef container_;
  const ForegroundOptions options_;
  UniqueFd signals_;
  std::optional<Connection> connection_;
  std::optional<StdinPump> stdin_;
  RawTerminal terminal_;  // ours, while the container has it
  RecordReader records_;
  std::array<Sink, 2> sinks_ = {Sink{STDOUT_FILENO}, Sink{STDERR_FILENO}};
  bool started_ = false;
  bool attaching_ = false;    // to one that runs, as opposed to launching it
  bool is_attached_ = false;  // we did not launch it
  bool is_heard_ = false;     // the current stream has begun
  std::optional<JsonDocument> exit_;
  std::optional<HttpResponse> refused_;
  int interruptions_ = 0;
  int last_signal_ = 0;
  int64_t remark_due_ns_ = 0;  // 0: none
  std::vector<int> unsent_;    // signals that found no executor
};

Result<void> Foreground::prepare() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::sigaddset(&set, number);
  if (options_.terminal) ::sigaddset(&set, SIGWINCH);
  if (options_.terminal && options_.stdin_attached) {
    ::sigaddset(&set, SIGTSTP);
    ::sigaddset(&set, SIGCONT);
  }
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return Error::from_errno(errno, "signalfd");
  for (Sink& sink : sinks_) {
    struct ::stat status = {};
    if (::fstat(sink.fd, &status) == 0 && S_ISREG(status.st_mode)) sink.piece = 1u << 20;
  }
  return {};
}

std::string Foreground::attach_request() const {
  JsonWriter json;
  json.open().text("type", "ATTACH_CONTAINER_OUTPUT").open("attach_container_output");
  write_container_id(json, container_);
  json.open("gantry_output").boolean("from_start", true).boolean("report_exit", true);
  json.integer("stdout_offset", static_cast<int64_t>(sinks_[0].offset));
  json.integer("stderr_offset", static_cast<int64_t>(sinks_[1].offset)).close();
  return json.close().close().take();
}

void Foreground::send_signal(int number) {
  if (!deliver_signal(number)) unsent_.push_back(number);
}

bool Foreground::deliver_signal(int number) {
  JsonWriter json;
  json.open().text("type", "KILL_CONTAINER").open("kill_container");
  write_container_id(json, container_);
  json.integer("signal", number).close();
  // Its own connection: ours is busy with the stream.
  Result<Connection> connection = session_.connect_to_running();
  if (!connection) return false;
  const Result<void> sent = connection->send(Connection::format(api_request(json.close().take())));
  pollfd answered = {connection->fd(), POLLIN, 0};
  return sent && ::poll(&answered, 1, kAnswerLimitMs) == 1 && connection->receive();
}

Result<void> Foreground::handle_signals() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    const int number = static_cast<int>(info.ssi_signo);
    switch (number) {
      case SIGWINCH:
        if (stdin_) stdin_->resize();
        break;
      case SIGTSTP:
        terminal_.restore();
        ::raise(SIGSTOP);
        break;
      case SIGCONT:
        if (stdin_) GANTRY_TRY(terminal_.enter());
        if (stdin_) stdin_->resize();
        break;
      case SIGINT:
      case SIGTERM:
        GANTRY_TRY(handle_interruption(number));
        break;
      default:
        pass_on(number);
    }
  }
  return {};
}

// Before it runs there is nobody to handle a signal: the launch is given up.
void Foreground::pass_on(int number) { send_signal(started_ ? number : SIGKILL); }

Result<void> Foreground::handle_interruption(int number) {
  ++interruptions_;
  if (interruptions_ > kImpatience) {
    return Error(Errc::refused,
                 "it was killed, and has not ended yet: left alone. `gantry ps -a` shows what "
                 "becomes of it");
  }
  if (interruptions_ == kImpatience) {
    write_error("asked three times: killing the container");
    number = SIGKILL;
  } else {
    last_signal_ = number;
    remark_due_ns_ = sys::monotonic_ns() + kPatienceNs;
  }
  pass_on(number);
  return {};
}

// For poll(2); -1: nothing is to be said.
int Foreground::milliseconds_to_remark() const {
  if (remark_due_ns_ == 0) return -1;
  return static_cast<int>(std::max<int64_t>(remark_due_ns_ - sys::monotonic_ns(), 0) / 1'000'000) +
         1;
}

// Once after each signal that has not ended it within a second.
void Foreground::remark() {
  if (remark_due_ns_ == 0 || sys::monotonic_ns() < remark_due_ns_) return;
  remark_due_ns_ = 0;
  if (options_.json || options_.terminal || interruptions_ >= kImpatience) return;
  write_error(
      cat(signal_name(last_signal_), " was sent, and the container still runs; ",
          interruptions_ + 1 == kImpatience ? "once more kills it" : "twice more kills it"));
}

// `gantry run … | head`: nobody reads on, so the pipeline ends, as SIGPIPE ends any command. So
// does what we began and have no room for; a closed stderr is nobody's loss.
Result<void> Foreground::give_up(const Sink& sink, int error) {
  const bool is_stdout = sink.fd == STDOUT_FILENO;
  // Not one whose terminal hung up (EIO): it may be attached to again.
  const bool has_no_room = error == ENOSPC || error == EDQUOT || error == EFBIG || error == EBADF;
  if (is_stdout && (error == EPIPE || (has_no_room && !is_attached_))) send_signal(SIGKILL);
  if (error == EIO && options_.terminal) return {};  // stdin tells
  if (error == EPIPE || (error == EBADF && !is_stdout)) return {};
  return Error::from_errno(error, "write the container's output");
}

// Writes without becoming deaf: a full pipe keeps us here, a signal is forwarded all the same.
Result<void> Foreground::deliver(Sink& sink, std::string_view bytes) {
  sink.offset += bytes.size();
  while (!bytes.empty() && !sink.broken) {
    std::array<pollfd, 2> fds = {{{sink.fd, POLLOUT, 0}, {signals_.get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
      return Error::from_errno(errno, "poll");
    }
    if (fds[1].revents != 0) GANTRY_TRY(handle_signals());
    if (fds[0].revents == 0) continue;
    const ssize_t n = ::write(sink.fd, bytes.data(), std::min(bytes.size(), sink.piece));
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno != EINTR && errno != EAGAIN) {
      sink.broken = true;
      GANTRY_TRY(give_up(sink, errno));
    }
  }
  return {};
}

// It runs, and this executor answers for it.
Result<void> Foreground::on_started() {
  const bool is_first = !std::exchange(started_, true);
  if (is_first && options_.on_started) GANTRY_TRY(options_.on_started());
  for (const int number : std::exchange(unsent_, {})) send_signal(number);
  if (!options_.stdin_attached && !options_.terminal) return {};
  if (options_.terminal && options_.stdin_attached) GANTRY_TRY(terminal_.enter());
  if (!stdin_) {
    stdin_.emplace(container_,
                   !options_.terminal        ? StdinPump::Kind::pipe
                   : options_.stdin_attached ? StdinPump::Kind::terminal
                                             : StdinPump::Kind::sizes,
                   DetachKeys(options_.detach_keys));
  }
  if (stdin_->is_done()) return {};
  Result<Connection> connection = session_.connect_to_running();
  // Gone since it answered: the next one is asked.
  if (!connection && connection.error().is(Errc::not_found)) {
    return Error(Errc::cancelled, connection.error().to_string());
  }
  return stdin_->attach(GANTRY_TRY(std::move(connection)));
}

Result<void> Foreground::handle_record(const std::string& text) {
  JsonDocument record = GANTRY_TRY(parse_json(text, "a record of the container's output"));
  const std::string type = text_of(record, "type");
  if (type == "DATA") {
    const bool is_stderr = text_of(record, "data.type") == "STDERR";
    Sink& sink = sinks_[is_stderr ? 1 : 0];
    if (const int64_t missed = integer_of(record, "data.gantry_missed"); missed != 0) {
      sink.offset += static_cast<uint64_t>(missed);
      write_missed(missed, is_stderr ? "stderr" : "stdout");
    }
    return deliver(sink, GANTRY_TRY(decode_base64(text_of(record, "data.data"))));
  }
  const std::string control = text_of(record, "control.type");
  if (control == "GANTRY_STARTED") {
    return on_started();
  } else if (control == "GANTRY_EXIT") {
    exit_.emplace(std::move(record));
  } else if (control == "GANTRY_WAITS") {
    write_wait(text_of(record, "control.gantry_reason"));
  }
  return {};
}

Result<void> Foreground::drain_records() {
  records_.add(connection_->take_body());
  while (!exit_) {
    const std::optional<std::string> record = GANTRY_TRY(records_.next());
    if (!record) break;
    GANTRY_TRY(handle_record(*record));
  }
  return {};
}

Result<void> Foreground::wait_for_something() {
  std::array<pollfd, 5> fds = {{{connection_->fd(), POLLIN, 0}, {signals_.get(), POLLIN, 0}}};
  nfds_t count = 2;
  if (stdin_ && !stdin_->is_done()) {
    for (const pollfd& wanted : stdin_->wanted()) fds[count++] = wanted;
  }
  if (::poll(fds.data(), count, milliseconds_to_remark()) < 0) {
    if (errno == EINTR) return {};
    return Error::from_errno(errno, "poll");
  }
  remark();
  if (fds[1].revents != 0) GANTRY_TRY(handle_signals());
  if (stdin_ && !stdin_->is_done()) stdin_->step();
  if (stdin_ && stdin_->is_refused() && is_attached_) {
    return Error(Errc::busy, "somebody else has the container's stdin; --no-stdin only looks on");
  }
  if (fds[0].revents == 0) return {};
  if (!GANTRY_TRY(connection_->feed())) {
    return Error(Errc::cancelled, "the executor closed the connection");
  }
  return {};
}

Result<void> Foreground::follow(const std::string& request) {
  connection_.emplace(GANTRY_TRY(session_.connect()));
  records_ = RecordReader();
  refused_.reset();
  is_heard_ = false;
  GANTRY_TRY(connection_->send(Connection::format(stream_request(request))));
  while (!is_over()) {
    const HttpHead* head = connection_->head();
    if (head != nullptr && head->status != 200) {
      Result<HttpResponse> response = connection_->receive();
      if (!response) return Error(Errc::cancelled, response.error().to_string());
      refused_ = std::move(*response);
      return {};
    }
    if (head != nullptr && !std::exchange(is_heard_, true) && attaching_) GANTRY_TRY(on_started());
    if (head != nullptr) GANTRY_TRY(drain_records());
    if (is_over()) break;
    if (connection_->is_complete()) return Error(Errc::cancelled, "the executor ended the stream");
    GANTRY_TRY(wait_for_something());
  }
  return {};
}

Result<void> Foreground::attach() {
  attaching_ = true;
  Result<void> followed = follow(attach_request());
  attaching_ = false;
  return followed;
}

Result<void> Foreground::go_on(const std::string& request) {
  if (started_) return attach();
  GANTRY_TRY(follow(request));
  if (!refused_ || refused_->head.status != 409) return {};
  // It had been launched before the executor died; or somebody else has its name.
  const HttpResponse conflict = *refused_;
  GANTRY_TRY(attach());
  if (refused_) refused_ = conflict;
  return {};
}

int Foreground::detach() {
  terminal_.restore();
  const std::string id = container_.parent.empty() ? container_.id : container_.parent;
  const std::string name = options_.name.empty() ? short_id(id) : options_.name;
  write_error(container_.parent.empty() ? cat("detached; `gantry attach ", name, "` comes back")
                                        : cat("detached; the command goes on in ", name));
  return 0;
}

int Foreground::finish() {
  terminal_.restore();
  if (!exit_ && !refused_) return detach();
  if (refused_ && started_) {
    write_error("how the container ended is not known: it was removed while no executor answered");
    return kLaunchFailureStatus;
  }
  if (refused_) return report_launch_failure(session_, *refused_, request_);
  const Json& exit = *find(*exit_, "control");
  const std::string kind = text_of(exit, "gantry_exit.kind");
  const std::string reason = text_of(exit, "gantry_exit.reason");
  const int status = static_cast<int>(integer_of(exit, "gantry_exit.shell_status", 125));
  if (options_.json) {
    JsonWriter json;
    json.open().text("id", container_.id).integer("status", status);
    if (const Json* details = find(exit, "gantry_exit")) json.value("exit", *details);
    sys::write_all(STDERR_FILENO, json.close().line()).ignore("nobody else to tell");
  } else if (kind == "LIMITED") {
    const bool is_memory = reason.starts_with("memory");
    write_error(
        cat("the container was ended: ", reason, is_memory ? ". Give it more with --memory" : ""));
  } else if (kind == "LOST" || kind == "FAILED") {
    write_error(kind == "LOST" ? cat("how the container ended is not known: ", reason) : reason);
  }
  if (!options_.json) say_what_goes_on(status);
  return sinks_[0].broken ? kBrokenPipeStatus : status;
}

// This run has ended, and we with it; the container may run again.
void Foreground::say_what_goes_on(int status) {
  if (options_.restart.empty()) return;
  if (options_.restart.starts_with("on-failure") && status == 0) return;
  Result<JsonDocument> answer = JsonDocument();
  // Its end is known a moment before it is decided what follows.
  for (int tries = 0;; ++tries) {
    answer = session_.call(container_call("GANTRY_INSPECT", "gantry_inspect", container_.id));
    if (!answer) return;
    const std::string state = text_of(*answer, "gantry_inspect.container.state");
    const bool goes_on = (state != "exited" && state != "destroying") ||
                         flag_of(*answer, "gantry_inspect.container.restart_due");
    if (goes_on) break;
    if (tries == kMostLooks) return;  // somebody stopped it
    ::poll(nullptr, 0, 20);
  }
  const std::string chosen = text_of(*answer, "gantry_inspect.container.name");
  const std::string name = chosen.empty() ? short_id(container_.id) : chosen;
  write_error(cat("it runs again in the background, as --restart ", options_.restart,
                  " says: `gantry logs -f ", name, "` shows it, `gantry stop ", name, "` ends it"));
}

// How much of a stream is there now.
Result<uint64_t> Foreground::output_size(std::string_view stream) {
  JsonWriter json;
  json.open().text("type", "READ_FILE").open("read_file");
  json.text("path", cat("/containers/", container_.id, "/", stream));
  json.integer("offset", 0).integer("length", 0).close();
  Result<JsonDocument> answer = session_.call(json.close().take());
  if (answer) return static_cast<uint64_t>(integer_of(*answer, "read_file.size"));
  // Made at the first byte.
  if (answer.error().is(Errc::not_found)) return uint64_t{0};
  return std::move(answer).error();
}

Result<int> Foreground::attach_to_running(const std::function<Result<void>()>& begin) {
  GANTRY_TRY(prepare());
  sinks_[0].offset = GANTRY_TRY(output_size("stdout"));
  sinks_[1].offset = GANTRY_TRY(output_size("stderr"));
  if (begin) GANTRY_TRY(begin());
  started_ = is_attached_ = true;
  return see_to_the_end({}, attach());
}

Result<int> Foreground::run(const std::string& request) {
  GANTRY_TRY(prepare());
  request_ = request;
  return see_to_the_end(request, follow(request));
}

Result<int> Foreground::see_to_the_end(const std::string& request, Result<void> result) {
  for (int fruitless = 0; !result && fruitless < kMostFruitless; ++fruitless) {
    if (!result.error().is(Errc::cancelled)) break;
    // A killed executor's socket may still take a connection, and drop it.
    if (fruitless > 0) ::poll(nullptr, 0, 100);
    result = go_on(request);
    if (is_heard_) fruitless = 0;
  }
  if (!result) return std::move(result).error();
  return finish();
}
}  // namespace

Result<int> attach_in_foreground(Session& session, const ContainerRef& container,
                                 const ForegroundOptions& options,
                                 const std::function<Result<void>()>& begin) {
  return Foreground(session, container, options).attach_to_running(begin);
}

Result<void> check_terminal(bool is_interactive) {
  if (!is_interactive || ::isatty(STDIN_FILENO) != 0) return {};
  return usage_error(
      "-t lends this terminal to the command, and stdin is none; -i alone passes it on");
}

Result<int> run_in_foreground(Session& session, const ContainerRef& container,
                              const std::string& request, const ForegroundOptions& options) {
  return Foreground(session, container, options).run(request);
}
}  // namespace gantry::cli
