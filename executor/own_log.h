// OwnLog: the executor's own log, for glog: to stderr, or to a file that rotates.
//
// A line has no control characters, whoever's words are in it. What is said again within a minute
// is counted, and said once more with its number when the minute is over. What cannot be written is
// lost, and counted: nothing waits for the log's disk or reader.
//
// Threads: any (glog's rule); watch() and stop_watch(): the loop's.
#pragma once

#include <glog/logging.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "executor/rotating_file.h"

namespace gantry {
struct OwnLogOptions {
  std::string file;  // empty: stderr
  FileLimits limits = {};
};

class OwnLog final : public google::LogSink {
 public:
  static Result<std::unique_ptr<OwnLog>> open(OwnLogOptions options);
  ~OwnLog() override;

  using google::LogSink::send;
  void send(google::LogSeverity severity, const char* full_filename, const char* base_filename,
            int line, const google::LogMessageTime& time, const char* message,
            size_t size) override;
  // Also to stderr, where a file is the log.
  void copy_to_stderr(bool copy);

  // Called, in whatever thread and under a lock, when something was counted and not said:
  // say_repeated() is due after kWindowNs.
  void on_counted(std::function<void()> wake);
  // What was counted, where its time is over, or, at the end, all of it. True: something is not due
  // yet.
  enum class Which { due, all };
  bool say_repeated(Which which);
  static constexpr int64_t kWindowNs = 60'000'000'000;

 private:
  struct Said {
    std::string prefix, text;  // of the last time
    int64_t since_ns;
    uint64_t again;  // not said
  };
  explicit OwnLog(const OwnLogOptions& options);
  void write_line(const std::string& line);
  void say_repeated(Said& said);

  std::mutex mutex_;
  RotatingFile file_;
  bool copies_ = false;
  std::list<Said> said_;  // the oldest first
  std::function<void()> wake_;
};
}  // namespace gantry
