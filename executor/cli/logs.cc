// gantry logs
#include <unistd.h>

#include <ctime>

#include "base/sys.h"
#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
// "10m" before now, or seconds since the epoch with "@".
Result<int64_t> parse_since(std::string_view text) {
  if (text.starts_with('@')) {
    return static_cast<int64_t>(GANTRY_TRY(parse_decimal("--since", text.substr(1))) * 1e9);
  }
  const double ago = GANTRY_TRY(parse_seconds("--since", text));
  return sys::realtime_ns() - static_cast<int64_t>(ago * 1e9);
}

std::string timestamp(int64_t nanoseconds) {
  const time_t seconds = nanoseconds / 1'000'000'000;
  struct tm parts = {};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  const size_t n = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string fraction = cat(nanoseconds % 1'000'000'000);
  fraction.insert(0, 9 - fraction.size(), '0');
  return cat(std::string_view(text, n), ".", fraction, "Z ");
}

class Logs final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('f', "follow", &follow_, "go on until the container ends");
    flags.add('n', "tail", "LINES", &tail_, "only the last lines");
    flags.add(0, "since", "TIME", &since_,
              "only newer than e.g. 10m ago, or @SECONDS of the epoch");
    flags.toggle('t', "timestamps", &timestamps_, "begin each piece with its time");
    flags.toggle(0, "no-stdout", &no_stdout_, "leave out stdout");
    flags.toggle(0, "no-stderr", &no_stderr_, "leave out stderr");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "one container"));
    Connection connection = GANTRY_TRY(session.connect());
    const std::string body = GANTRY_TRY(request(words[0]));
    GANTRY_TRY(connection.send(Connection::format({"/api/v1",
                                                   {{"Content-Type", "application/json"},
                                                    {"Accept", "application/recordio"},
                                                    {"Message-Accept", "application/json"}},
                                                   body})));
    const HttpHead head = GANTRY_TRY(connection.receive_head());
    if (head.status != 200) {
      const Error error = refusal(GANTRY_TRY(connection.receive()));
      return Error(error.code(), explain_missing(error, words[0]));
    }
    RecordReader records;
    for (;;) {
      records.add(connection.take_body());
      while (const std::optional<std::string> record = GANTRY_TRY(records.next())) {
        GANTRY_TRY(print(session, *record));
      }
      if (connection.is_complete()) return 0;
      if (!GANTRY_TRY(connection.feed())) {
        return Error(Errc::refused, "the executor ended before the log did; ask again");
      }
    }
  }

 private:
  Result<std::string> request(const std::string& container) const {
    JsonWriter json;
    json.open().text("type", "ATTACH_CONTAINER_OUTPUT").open("attach_container_output");
    json.open("container_id").text("value", container).close();
    json.open("gantry_output").boolean("from_start", true).boolean("follow", follow_);
    if (!tail_.empty() && tail_ != "all") {
      uint64_t lines = 0;
      if (!parse_number(tail_, lines)) {
        return usage_error(cat("--tail is a number of lines or \"all\", not \"", tail_, "\""));
      }
      json.integer("tail_lines", static_cast<int64_t>(lines));
    }
    if (!since_.empty()) {
      json.open("since").integer("nanoseconds", GANTRY_TRY(parse_since(since_))).close();
    }
    if (no_stdout_) json.boolean("no_stdout", true);
    if (no_stderr_) json.boolean("no_stderr", true);
    if (timestamps_) json.boolean("timestamps", true);
    return json.close().close().close().take();
  }

  Result<void> print(const Session& session, const std::string& text) const {
    const JsonDocument record = GANTRY_TRY(parse_json(text, "a record of the log"));
    if (text_of(record, "type") != "DATA") return {};
    const bool is_stderr = text_of(record, "data.type") == "STDERR";
    std::string bytes = GANTRY_TRY(decode_base64(text_of(record, "data.data")));
    if (session.json()) {
      JsonWriter json;
      json.open().text("stream", is_stderr ? "stderr" : "stdout").text("text", bytes);
      const int64_t time = integer_of(record, "data.gantry_time.nanoseconds");
      if (time != 0) json.integer("time_ns", time);
      write_out(json.close().take() + "\n");
      return {};
    }
    if (timestamps_) bytes.insert(0, timestamp(integer_of(record, "data.gantry_time.nanoseconds")));
    return sys::write_all(is_stderr ? STDERR_FILENO : STDOUT_FILENO, bytes);
  }

  bool follow_ = false, timestamps_ = false, no_stdout_ = false, no_stderr_ = false;
  std::string tail_, since_;
};
}  // namespace

std::unique_ptr<Command> make_logs() { return make_command<Logs>(); }
}  // namespace gantry::cli
