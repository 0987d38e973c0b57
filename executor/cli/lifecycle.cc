// gantry wait, kill, stop, pause, resume, rm: one call per container, all are tried, the first
// failure is the exit status.
#include <poll.h>

#include <csignal>
#include <functional>

#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
constexpr int kEndLimitMs = 10'000;
using Explain = std::function<std::string(const Error& error, const std::string& word)>;

// Runs `action` for each container named; failures are printed and do not stop the others.
int for_each_container(const std::vector<std::string>& words,
                       const std::function<Result<void>(const std::string& word)>& action,
                       const Explain& explain = explain_missing) {
  int status = 0;
  for (const std::string& word : words) {
    const Result<void> result = action(word);
    if (result) continue;
    write_error(explain(result.error(), word));
    status = status_of(result.error());
  }
  return status;
}

class Wait final : public Command {
 public:
  void declare(Flags&) override {}
  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, ~0u, "a container"));
    return for_each_container(words, [&](const std::string& word) -> Result<void> {
      const JsonDocument answer =
          GANTRY_TRY(session.call(container_call("WAIT_CONTAINER", "wait_container", word)));
      const Json* exit = find(answer, "wait_container.gantry_exit");
      int64_t status = 125;
      if (exit != nullptr) {
        status = integer_of(*exit, "shell_status", 125);
      } else if (find(answer, "wait_container.exit_status") != nullptr) {
        const int64_t raw = integer_of(answer, "wait_container.exit_status");
        status = (raw & 127) != 0 ? 128 + (raw & 127) : (raw >> 8 & 255);
      }
      if (session.json()) {
        JsonWriter json;
        json.open().text("container", word).integer("status", status);
        if (exit != nullptr) {
          json.value("exit", *exit);
        } else {
          // Ordinary ends come as the raw wait status alone, as Mesos says it.
          const int64_t raw = integer_of(answer, "wait_container.exit_status");
          json.open("exit").text("kind", (raw & 127) != 0 ? "SIGNALLED" : "EXITED");
          json.integer("code", (raw & 127) != 0 ? raw & 127 : raw >> 8 & 255);
          json.integer("shell_status", status).close();
        }
        write_out(json.close().line());
      } else {
        write_out(cat(status, "\n"));
      }
      return {};
    });
  }
};

// The commands that say nothing but the container's name when they have worked.
class Simple : public Command {
 public:
  void declare(Flags&) override {}
  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, ~0u, "a container"));
    GANTRY_TRY(check());
    return for_each_container(
        words,
        [&](const std::string& word) -> Result<void> {
          Result<JsonDocument> called = session.call(request(word));
          const bool is_done = called || (session.has_asked_again() && says_done(called.error()));
          if (!is_done) return std::move(called).error();
          const JsonDocument answer = called ? std::move(*called) : JsonDocument();
          after(session, word);
          if (!session.json()) {
            write_out(word + "\n");
            return {};
          }
          JsonWriter json;
          json.open().text("container", word);
          add_result(json, answer);
          write_out(json.close().line());
          return {};
        },
        [this](const Error& error, const std::string& word) { return explain(error, word); });
  }

 protected:
  virtual Result<void> check() { return {}; }
  virtual std::string request(const std::string& word) const = 0;
  // Asked again after an executor's death: the refusal says that its predecessor has done it.
  virtual bool says_done(const Error&) const { return false; }
  virtual void after(Session&, const std::string&) const {}
  virtual void add_result(JsonWriter&, const Json&) const {}
  virtual std::string explain(const Error& error, const std::string& word) const {
    return explain_missing(error, word);
  }
};

class Kill final : public Simple {
 public:
  void declare(Flags& flags) override {
    flags.add('s', "signal", "SIGNAL", &signal_, "a name or number (default KILL)");
  }

 protected:
  Result<void> check() override {
    number_ = GANTRY_TRY(parse_signal(signal_).context("--signal"));
    return {};
  }
  std::string request(const std::string& word) const override {
    JsonWriter json;
    json.open().text("type", "KILL_CONTAINER").open("kill_container");
    json.open("container_id").text("value", word).close().integer("signal", number_);
    return json.close().close().take();
  }
  // As docker's: `gantry kill web && gantry rm web`. One that hangs in the kernel is not awaited.
  void after(Session& session, const std::string& word) const override {
    Result<Connection> connection = session.connect_to_running();
    if (number_ != SIGKILL || !connection) return;
    const std::string wait = container_call("WAIT_CONTAINER", "wait_container", word);
    if (!connection->send(Connection::format(api_request(wait)))) return;
    pollfd answered = {connection->fd(), POLLIN, 0};
    ::poll(&answered, 1, kEndLimitMs);
  }
  // The executor answers the same for one that has ended, as Mesos does.
  std::string explain(const Error& error, const std::string& word) const override {
    if (!error.is(Errc::not_found)) return error.to_string();
    return cat("no container \"", word, "\" runs. 'gantry ps -a' lists those there are");
  }

 private:
  std::string signal_ = "KILL";
  int number_ = 9;
};

class Stop final : public Simple {
 public:
  void declare(Flags& flags) override {
    flags.add('t', "time", "SECONDS", &time_,
              "how long to wait before SIGKILL (default: the container's --stop-timeout, else 10)");
    flags.add('s', "signal", "SIGNAL", &signal_, "instead of the container's stop signal");
    static constexpr ForeignFlag kForeign[] = {{"timeout", "time", {}}};
    flags.know_foreign(kForeign);
  }

 protected:
  Result<void> check() override {
    if (!signal_.empty()) GANTRY_TRY(parse_signal(signal_).context("--signal"));
    if (!time_.empty() && !parse_number(time_, seconds_)) {
      return usage_error(cat("--time is a number of seconds, not \"", time_, "\""));
    }
    return {};
  }
  std::string request(const std::string& word) const override {
    JsonWriter json;
    json.open().text("type", "GANTRY_STOP").open("gantry_stop");
    json.open("container_id").text("value", word).close();
    if (!time_.empty()) json.integer("timeout_seconds", seconds_);
    if (!signal_.empty()) json.text("signal", signal_);
    return json.close().close().take();
  }
  void add_result(JsonWriter& json, const Json& answer) const override {
    if (const Json* exit = find(answer, "gantry_stop.exit")) json.value("exit", *exit);
  }

 private:
  std::string time_, signal_;
  uint32_t seconds_ = 0;
};

class Pause final : public Simple {
 protected:
  std::string request(const std::string& word) const override {
    return container_call("GANTRY_PAUSE", "gantry_pause", word);
  }
  bool says_done(const Error& error) const override { return error.is(Errc::busy); }
};

class Resume final : public Simple {
 protected:
  std::string request(const std::string& word) const override {
    return container_call("GANTRY_RESUME", "gantry_resume", word);
  }
  bool says_done(const Error& error) const override { return error.is(Errc::busy); }
};

class Rm final : public Simple {
 public:
  void declare(Flags& flags) override {
    flags.toggle('f', "force", &force_, "end a running one first, with SIGKILL");
  }

 protected:
  std::string request(const std::string& word) const override {
    JsonWriter json;
    json.open().text("type", "REMOVE_CONTAINER").open("remove_container");
    json.open("container_id").text("value", word).close();
    if (force_) json.boolean("gantry_force", true);
    return json.close().close().take();
  }
  bool says_done(const Error& error) const override { return error.is(Errc::not_found); }

 private:
  bool force_ = false;
};
}  // namespace

std::unique_ptr<Command> make_wait() { return make_command<Wait>(); }
std::unique_ptr<Command> make_kill() { return make_command<Kill>(); }
std::unique_ptr<Command> make_stop() { return make_command<Stop>(); }
std::unique_ptr<Command> make_pause() { return make_command<Pause>(); }
std::unique_ptr<Command> make_resume() { return make_command<Resume>(); }
std::unique_ptr<Command> make_rm() { return make_command<Rm>(); }
}  // namespace gantry::cli
