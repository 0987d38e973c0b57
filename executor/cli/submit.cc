// gantry submit: a framework of one task on the scheduler API.
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/sys.h"
#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/cli/task_file.h"

namespace gantry::cli {
namespace {
HttpRequest scheduler_request(std::string body, const std::string& stream_id) {
  HttpRequest out{"/api/v1/scheduler",
                  {{"Content-Type", "application/json"}, {"Accept", "application/json"}},
                  std::move(body)};
  if (!stream_id.empty()) out.headers.emplace_back("Mesos-Stream-Id", stream_id);
  return out;
}

bool is_terminal_state(std::string_view state) {
  for (const std::string_view other :
       {"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE"}) {
    if (state == other) return false;
  }
  return true;
}

// One stream of records: events, or a task's output.
struct Stream {
  Connection connection;
  RecordReader records;
};

class Submission {
 public:
  Submission(Session& session, JsonDocument task) : session_(session), task_(std::move(task)) {}
  Result<int> run();

 private:
  Result<void> watch_signals();
  Result<void> subscribe();
  Result<void> loop();
  Result<void> wait_for_something();
  Result<void> read_events();
  Result<void> handle_event(const Json& event);
  Result<void> handle_offers(const Json& event);
  Result<void> handle_update(const Json& status);
  Result<void> accept(const Json& offer);
  Result<void> attach(const std::string& container_id);
  Result<void> print_output();
  // Everything the task still has to say; its end is known, so the stream ends.
  Result<void> finish_output();
  void report_state(const Json& status, const std::string& state) const;
  // A call on the second connection; anything but 202 is an error.
  Result<void> call(const std::string& body);

  Session& session_;
  JsonDocument task_;
  UniqueFd signals_;
  std::optional<Stream> events_, output_;
  std::optional<Connection> calls_;
  std::string framework_id_, stream_id_, agent_id_, final_state_;
  bool launched_ = false, attached_ = false, killed_ = false, told_shortage_ = false;
  std::array<uint64_t, 2> printed_ = {};  // bytes of stdout and stderr, over all attachments
  std::array<uint64_t, 2> seen_ = {};     // in this attachment
};

Result<void> Submission::watch_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return Error::from_errno(errno, "signalfd");
  return {};
}

Result<void> Submission::subscribe() {
  events_.reset();
  calls_.reset();
  JsonWriter json;
  json.open();
  if (!framework_id_.empty()) json.open("framework_id").text("value", framework_id_).close();
  json.text("type", "SUBSCRIBE").open("subscribe").open("framework_info");
  json.text("user", "root").text("name", "gantry submit");
  if (!framework_id_.empty()) json.open("id").text("value", framework_id_).close();
  json.open_list("roles").item("*").close_list();
  json.boolean("checkpoint", true).number("failover_timeout", 60);
  json.open_list("capabilities");
  for (const std::string_view name : {"MULTI_ROLE", "PARTITION_AWARE", "TASK_KILLING_STATE"}) {
    json.open().text("type", name).close();
  }
  json.close_list();
  Connection connection = GANTRY_TRY(session_.connect());
  GANTRY_TRY(connection.send(
      Connection::format(scheduler_request(json.close().close().close().take(), {}))));
  const HttpHead head = GANTRY_TRY(connection.receive_head());
  if (head.status != 200) return refusal(GANTRY_TRY(connection.receive()));
  stream_id_ = head.header("Mesos-Stream-Id");
  events_.emplace(Stream{std::move(connection), {}});
  return {};
}

Result<void> Submission::call(const std::string& body) {
  const std::string bytes = Connection::format(scheduler_request(body, stream_id_));
  if (!calls_) calls_.emplace(GANTRY_TRY(session_.connect_to_running()));
  GANTRY_TRY(calls_->send(bytes));
  const HttpResponse response = GANTRY_TRY(calls_->receive());
  if (response.head.status / 100 != 2) return refusal(response);
  return {};
}

Result<void> Submission::accept(const Json& offer) {
  auto& memory = task_.GetAllocator();
  agent_id_ = text_of(offer, "agent_id.value");
  Json agent(rapidjson::kObjectType);
  agent.AddMember("value", Json(agent_id_.c_str(), memory), memory);
  task_.RemoveMember("agent_id");
  task_.AddMember("agent_id", agent, memory);
  JsonWriter json;
  json.open().open("framework_id").text("value", framework_id_).close();
  json.text("type", "ACCEPT").open("accept");
  json.open_list("offer_ids").open().text("value", text_of(offer, "id.value")).close();
  json.close_list().open_list("operations").open().text("type", "LAUNCH").open("launch");
  json.open_list("task_infos").element(task_).close_list().close().close().close_list();
  launched_ = true;
  return call(json.close().close().take());
}

Result<void> Submission::handle_offers(const Json& event) {
  for (const Json* offer : list_of(event, "offers.offers")) {
    const std::string missing = launched_ ? "launched" : shortage(task_, *offer);
    if (missing.empty()) {
      GANTRY_TRY(accept(*offer));
      continue;
    }
    if (!launched_ && !std::exchange(told_shortage_, true)) {
      write_error(cat("waiting: this host offers less than the task needs (", missing, ")"));
    }
    JsonWriter json;
    json.open().open("framework_id").text("value", framework_id_).close();
    json.text("type", "DECLINE").open("decline").open_list("offer_ids").open();
    json.text("value", text_of(*offer, "id.value")).close().close_list();
    GANTRY_TRY(call(json.close().close().take()));
  }
  return {};
}

void Submission::report_state(const Json& status, const std::string& state) const {
  if (session_.json()) {
    sys::write_all(STDERR_FILENO, to_text(status) + "\n").ignore("nobody else to tell");
    return;
  }
  const std::string reason = text_of(status, "reason");
  std::string text = cat(text_of(status, "task_id.value"), " ", state);
  if (!reason.empty()) text += cat(" ", reason);
  if (const std::string message = text_of(status, "message"); !message.empty()) {
    text += cat(": ", message);
  }
  write_error(text);
}

Result<void> Submission::handle_update(const Json& status) {
  const std::string state = text_of(status, "state");
  report_state(status, state);
  const std::string container_id = text_of(status, "container_status.container_id.value");
  // Output first: once a terminal update is acknowledged, the container may be cleaned up.
  if (!container_id.empty() && !attached_ && state != "TASK_STAGING" && state != "TASK_STARTING") {
    const Result<void> attached = attach(container_id);
    if (!attached) write_error(cat("no output: ", attached.error().to_string()));
  }
  if (is_terminal_state(state)) final_state_ = state;
  if (const std::string uuid = text_of(status, "uuid"); !uuid.empty()) {
    JsonWriter json;
    json.open().open("framework_id").text("value", framework_id_).close();
    json.text("type", "ACKNOWLEDGE").open("acknowledge").open("agent_id");
    json.text("value", text_of(status, "agent_id.value")).close().open("task_id");
    json.text("value", text_of(status, "task_id.value")).close().text("uuid", uuid);
    if (!final_state_.empty()) {
      GANTRY_TRY(finish_output());
    }
    GANTRY_TRY(call(json.close().close().take()));
  }
  return {};
}

Result<void> Submission::handle_event(const Json& event) {
  const std::string type = text_of(event, "type");
  if (type == "SUBSCRIBED") {
    const bool again = !framework_id_.empty();
    framework_id_ = text_of(event, "subscribed.framework_id.value");
    if (!again || !launched_) return {};
    JsonWriter json;
    json.open().open("framework_id").text("value", framework_id_).close();
    json.text("type", "RECONCILE").open("reconcile").open_list("tasks").open();
    json.open("task_id").text("value", text_of(task_, "task_id.value")).close();
    json.open("agent_id").text("value", agent_id_).close().close().close_list();
    return call(json.close().close().take());
  }
  if (type == "OFFERS") return handle_offers(event);
  if (type == "UPDATE") {
    const Json* status = find(event, "update.status");
    return status == nullptr ? Result<void>() : handle_update(*status);
  }
  if (type == "ERROR") return Error(Errc::refused, text_of(event, "error.message"));
  return {};
}

Result<void> Submission::attach(const std::string& container_id) {
  JsonWriter json;
  json.open().text("type", "ATTACH_CONTAINER_OUTPUT").open("attach_container_output");
  json.open("container_id").text("value", container_id).close();
  json.open("gantry_output").boolean("from_start", true).boolean("follow", true).close();
  Connection connection = GANTRY_TRY(session_.connect_to_running());
  GANTRY_TRY(connection.send(Connection::format({"/api/v1",
                                                 {{"Content-Type", "application/json"},
                                                  {"Accept", "application/recordio"},
                                                  {"Message-Accept", "application/json"}},
                                                 json.close().close().take()})));
  const HttpHead head = GANTRY_TRY(connection.receive_head());
  if (head.status != 200) return refusal(GANTRY_TRY(connection.receive()));
  output_.emplace(Stream{std::move(connection), {}});
  seen_ = {};
  attached_ = true;
  // What came in one piece with the head is here already: no poll() would tell of it.
  return print_output();
}

Result<void> Submission::print_output() {
  output_->records.add(output_->connection.take_body());
  while (const std::optional<std::string> text = GANTRY_TRY(output_->records.next())) {
    const JsonDocument record = GANTRY_TRY(parse_json(*text, "a record of the task's output"));
    if (text_of(record, "type") != "DATA") continue;
    const size_t which = text_of(record, "data.type") == "STDERR" ? 1 : 0;
    const std::string bytes = GANTRY_TRY(decode_base64(text_of(record, "data.data")));
    // After attaching again the beginning comes once more.
    const uint64_t known = printed_[which] - std::min(printed_[which], seen_[which]);
    const size_t skip = static_cast<size_t>(std::min<uint64_t>(known, bytes.size()));
    seen_[which] += bytes.size();
    printed_[which] = std::max(printed_[which], seen_[which]);
    GANTRY_TRY(sys::write_all(which == 0 ? STDOUT_FILENO : STDERR_FILENO,
                              std::string_view(bytes).substr(skip)));
  }
  if (output_->connection.is_complete()) output_.reset();
  return {};
}

Result<void> Submission::finish_output() {
  while (output_) {
    GANTRY_TRY(print_output());
    if (output_ && !GANTRY_TRY(output_->connection.feed())) output_.reset();
  }
  return {};
}

Result<void> Submission::read_events() {
  events_->records.add(events_->connection.take_body());
  while (const std::optional<std::string> text = GANTRY_TRY(events_->records.next())) {
    const JsonDocument event = GANTRY_TRY(parse_json(*text, "an event"));
    GANTRY_TRY(handle_event(event));
    if (!final_state_.empty()) break;
  }
  if (final_state_.empty() && events_->connection.is_complete()) {
    return Error(Errc::cancelled, "the executor ended the stream");
  }
  return {};
}

Result<void> Submission::wait_for_something() {
  std::array<pollfd, 3> fds = {{{events_->connection.fd(), POLLIN, 0},
                                {signals_.get(), POLLIN, 0},
                                {output_ ? output_->connection.fd() : -1, POLLIN, 0}}};
  if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
    return Error::from_errno(errno, "poll");
  }
  signalfd_siginfo info;
  if (fds[1].revents != 0 && ::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (std::exchange(killed_, true) || !launched_) return Error(Errc::refused, "interrupted");
    write_error("killing the task; once more to leave at once");
    JsonWriter json;
    json.open().open("framework_id").text("value", framework_id_).close();
    json.text("type", "KILL").open("kill").open("task_id");
    json.text("value", text_of(task_, "task_id.value")).close().open("agent_id");
    GANTRY_TRY(call(json.text("value", agent_id_).close().close().close().take()));
  }
  if (fds[2].revents != 0) {
    if (!GANTRY_TRY(output_->connection.feed())) {
      output_.reset();
      attached_ = false;
    } else {
      GANTRY_TRY(print_output());
    }
  }
  if (fds[0].revents != 0 && !GANTRY_TRY(events_->connection.feed())) {
    return Error(Errc::cancelled, "the executor closed the connection");
  }
  return {};
}

Result<void> Submission::loop() {
  GANTRY_TRY(subscribe());
  while (final_state_.empty()) {
    GANTRY_TRY(read_events());
    if (final_state_.empty()) GANTRY_TRY(wait_for_something());
  }
  return {};
}

Result<int> Submission::run() {
  GANTRY_TRY(watch_signals());
  Result<void> result = loop();
  for (int attempt = 0; !result && result.error().is(Errc::cancelled) && attempt < 10; ++attempt) {
    ::poll(nullptr, 0, 200);
    attached_ = attached_ && output_.has_value();
    result = loop();
  }
  if (!framework_id_.empty()) {
    JsonWriter json;
    json.open().open("framework_id").text("value", framework_id_).close();
    json.text("type", "TEARDOWN");
    call(json.close().take()).ignore("the executor tears down a framework that stays away, too");
  }
  if (!result) return std::move(result).error();
  return final_state_ == "TASK_FINISHED" ? 0 : 1;
}

class Submit final : public Command {
 public:
  void declare(Flags&) override {}
  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "one TASK.json, or - for stdin"));
    const std::string text = words[0] == "-" ? GANTRY_TRY(sys::read_all(STDIN_FILENO))
                                             : GANTRY_TRY(sys::read_file(words[0]));
    JsonDocument task = GANTRY_TRY(parse_task(text, sys::random_hex(6)).context(words[0]));
    return Submission(session, std::move(task)).run();
  }
};
}  // namespace

std::unique_ptr<Command> make_submit() { return make_command<Submit>(); }
}  // namespace gantry::cli
