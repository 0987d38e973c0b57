// gantry logs
#include <poll.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <utility>

#include "base/sys.h"
#include "base/utf8.h"
#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"
#include "executor/cli/time_words.h"

namespace gantry::cli {
namespace {
// So often in a row an executor may go away before it has answered.
constexpr int kMostFruitless = 10;

std::string with_times(std::string_view bytes, std::string_view time, bool& in_line) {
  std::string out;
  while (!bytes.empty()) {
    if (!in_line) out += time;
    const size_t line = std::min(bytes.find('\n'), bytes.size() - 1) + 1;
    out += bytes.substr(0, line);
    in_line = bytes[line - 1] != '\n';
    bytes.remove_prefix(line);
  }
  return out;
}

// So many bytes of a file to `to`, without a copy of ours where the kernel can.
Result<void> copy_range(int file, int64_t offset, uint64_t count, int to) {
  off_t at = offset;
  bool can_send = true;
  std::string bytes;
  while (count != 0) {
    const size_t most = std::min<uint64_t>(count, can_send ? 1u << 30 : 256u << 10);
    ssize_t n = 0;
    if (can_send) {
      n = ::sendfile(to, file, &at, most);
      can_send = n >= 0 || errno == EINTR || errno == EPIPE;
      if (!can_send) continue;
    } else {
      bytes.resize(most);
      n = ::pread(file, bytes.data(), most, at);
      if (n > 0) GANTRY_TRY(sys::write_all(to, {bytes.data(), static_cast<size_t>(n)}));
      if (n > 0) at += n;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "write");
    if (n == 0) return Error(Errc::corrupt, "the log's file became shorter");
    count -= static_cast<uint64_t>(n);
  }
  return {};
}

class Logs final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('f', "follow", &follow_, "go on until the container ends");
    flags.add('n', "tail", "LINES", &tail_, "only the last lines");
    flags.add(0, "since", "TIME", &since_,
              "only what came since: 10m (ago), a date such as 2026-11-28T10:00:00Z, or seconds of "
              "the epoch");
    flags.add(0, "until", "TIME", &until_, "only what came before; written the same way");
    flags.toggle('t', "timestamps", &timestamps_, "begin each line with the time it came at");
    flags.toggle(0, "no-stdout", &no_stdout_, "leave out stdout");
    flags.toggle(0, "no-stderr", &no_stderr_, "leave out stderr");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "one container"));
    if (follow_ && !until_.empty()) {
      return usage_error("--until ends the log, and -f goes on: give one of them");
    }
    if (no_stdout_ && no_stderr_) {
      return usage_error("--no-stdout and --no-stderr together leave nothing: give one of them");
    }
    GANTRY_TRY(read_values());
    for (int fruitless = 0;; ++fruitless) {
      is_heard_ = false;
      Result<int> read = read_log(session, words[0]);
      if (read || !read.error().is(Errc::cancelled)) return read;
      // The next executor goes on at the byte where this one was.
      if (is_heard_) fruitless = 0;
      if (fruitless == kMostFruitless || tail_lines_ == 0u) {
        return Error(Errc::refused, "the executor ended before the log did; ask again");
      }
      if (fruitless > 0) ::poll(nullptr, 0, 100);
    }
  }

 private:
  Result<void> read_values() {
    if (!tail_.empty() && tail_ != "all") {
      uint64_t lines = 0;
      if (!parse_number(tail_, lines)) {
        return usage_error(cat("--tail is a number of lines or \"all\", not \"", tail_, "\""));
      }
      tail_lines_ = lines;
    }
    if (!since_.empty()) since_ns_ = GANTRY_TRY(parse_time("--since", since_));
    if (!until_.empty()) until_ns_ = GANTRY_TRY(parse_time("--until", until_));
    if (since_ns_ && until_ns_ && *since_ns_ >= *until_ns_) {
      return usage_error(cat("--since ", since_, " is not before --until ", until_,
                             ": nothing lies between them"));
    }
    return {};
  }

  // Errc::cancelled: the executor went away.
  Result<int> read_log(Session& session, const std::string& container) {
    Connection connection = GANTRY_TRY(session.connect());
    HttpRequest asked = {"/api/v1",
                         {{"Content-Type", "application/json"},
                          {"Accept", "application/recordio"},
                          {"Message-Accept", "application/json"}},
                         request(container)};
    if (!timestamps_ && !session.json()) asked.headers.emplace_back(kHandOver, "yes");
    GANTRY_TRY(connection.send(Connection::format(asked)));
    HttpHead head = GANTRY_TRY(connection.receive_head());
    for (size_t i = 0; head.status == 100 && i < 2; ++i) {
      files_[i] = connection.take_descriptor();
      connection.next();
      head = GANTRY_TRY(connection.receive_head());
    }
    if (head.status != 200) {
      const Error error = refusal(GANTRY_TRY(connection.receive()), request(container));
      return Error(error.code(), explain_missing(error, container));
    }
    is_heard_ = true;
    RecordReader records;
    for (;;) {
      records.add(connection.take_body());
      while (const std::optional<std::string> record = GANTRY_TRY(records.next())) {
        GANTRY_TRY(print(session, *record));
      }
      if (connection.is_complete()) break;
      const bool fed = GANTRY_TRY(no_stdout_ ? connection.feed() : feed_while_read(connection));
      if (!fed) return Error(Errc::cancelled, "the executor went away");
    }
    print_rest(pieces_[0], "stdout");
    print_rest(pieces_[1], "stderr");
    return 0;
  }

  std::string request(const std::string& container) const {
    JsonWriter json;
    json.open().text("type", "ATTACH_CONTAINER_OUTPUT").open("attach_container_output");
    json.open("container_id").text("value", container).close();
    json.open("gantry_output").boolean("from_start", true).boolean("follow", follow_);
    json.boolean("offsets", true);
    if (next_[0] || next_[1]) {
      json.integer("stdout_offset", next_[0].value_or(0));
      json.integer("stderr_offset", next_[1].value_or(0));
    } else if (tail_lines_) {
      json.integer("tail_lines", static_cast<int64_t>(*tail_lines_));
    }
    if (since_ns_) json.open("since").integer("nanoseconds", *since_ns_).close();
    if (until_ns_) json.open("until").integer("nanoseconds", *until_ns_).close();
    if (no_stdout_) json.boolean("no_stdout", true);
    if (no_stderr_) json.boolean("no_stderr", true);
    if (timestamps_) json.boolean("timestamps", true);
    return json.close().close().close().take();
  }

  Result<void> print(const Session& session, const std::string& text) {
    const JsonDocument record = GANTRY_TRY(parse_json(text, "a record of the log"));
    if (text_of(record, "control.type") == "GANTRY_WAITS") {
      write_wait(text_of(record, "control.gantry_reason"));
    }
    if (text_of(record, "type") != "DATA") return {};
    const bool is_stderr = text_of(record, "data.type") == "STDERR";
    std::string bytes = GANTRY_TRY(decode_base64(text_of(record, "data.data")));
    const int64_t offset = integer_of(record, "data.gantry_offset");
    const int64_t length = integer_of(record, "data.gantry_length");  // in place of bytes
    next_[is_stderr ? 1 : 0] = offset + length + static_cast<int64_t>(bytes.size());
    const std::string_view stream = is_stderr ? "stderr" : "stdout";
    const int64_t missed = integer_of(record, "data.gantry_missed");
    const int64_t time = integer_of(record, "data.gantry_time.nanoseconds");
    if (session.json()) {
      print_json(pieces_[is_stderr ? 1 : 0], stream, bytes, time, missed);
      return {};
    }
    if (missed != 0) write_missed(missed, stream);
    if (timestamps_) {
      bytes = with_times(bytes, cat(timestamp(time), " "), in_line_[is_stderr ? 1 : 0]);
    }
    const int to = is_stderr ? STDERR_FILENO : STDOUT_FILENO;
    if (length == 0) return sys::write_all(to, bytes);
    return copy_range(files_[is_stderr ? 1 : 0].get(), offset, static_cast<uint64_t>(length), to);
  }

  struct Piece {
    std::string begun;  // a character whose other bytes may come
    int64_t time = 0;   // its
  };

  static void print_json(Piece& piece, std::string_view stream, std::string_view bytes,
                         int64_t time, int64_t missed) {
    if (missed != 0) print_rest(piece, stream);
    const std::string all = std::exchange(piece.begun, {}) + std::string(bytes);
    const size_t whole = all.size() - incomplete_utf8(all);
    piece = {all.substr(whole), time};
    if (whole != 0 || missed != 0) print_line(stream, all.substr(0, whole), time, missed);
  }

  static void print_rest(Piece& piece, std::string_view stream) {
    if (!piece.begun.empty()) print_line(stream, piece.begun, piece.time, 0);
    piece.begun.clear();
  }

  static void print_line(std::string_view stream, std::string_view text, int64_t time,
                         int64_t missed) {
    JsonWriter json;
    json.open().text("stream", stream).text("text", text);
    if (missed != 0) json.integer("missed", missed);
    if (time != 0) json.integer("time_ns", time);
    write_out(json.close().line());
  }

  bool follow_ = false, timestamps_ = false, no_stdout_ = false, no_stderr_ = false;
  std::string tail_, since_, until_;
  std::optional<uint64_t> tail_lines_;
  std::optional<int64_t> since_ns_, until_ns_;
  std::optional<int64_t> next_[2];  // of stdout, stderr: the offset of what was not printed yet
  Piece pieces_[2];                 // of stdout, stderr; with --json
  UniqueFd files_[2];               // of stdout, stderr: where the executor handed them over
  bool in_line_[2] = {};            // the last piece ended within a line
  bool is_heard_ = false;           // the executor of now has answered
};
}  // namespace

std::unique_ptr<Command> make_logs() { return make_command<Logs>(); }
}  // namespace gantry::cli
