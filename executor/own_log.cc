#include "executor/own_log.h"

#include <unistd.h>

#include <algorithm>

#include "base/printable.h"
#include "base/str.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr size_t kMostRemembered = 128;
// A pipe takes a line of this size whole, or says that it cannot.
constexpr size_t kMostLine = 4096;

std::string say_lost(uint64_t lines) {
  return cat("… ", lines, " lines could not be written here\n");
}
}  // namespace

OwnLog::OwnLog(const OwnLogOptions& options) : file_(options.file, options.limits, say_lost) {}

Result<std::unique_ptr<OwnLog>> OwnLog::open(OwnLogOptions options) {
  std::unique_ptr<OwnLog> log(new OwnLog(options));
  if (!options.file.empty()) {
    const Result<void> opened = log->file_.open();
    // Where the disk has no room for it, it is said on stderr.
    if (!opened && !opened.error().is_errno(ENOSPC) && !opened.error().is_errno(EDQUOT)) {
      return opened.error();
    }
  }
  google::AddLogSink(log.get());
  return log;
}

OwnLog::~OwnLog() {
  google::RemoveLogSink(this);
  say_repeated(Which::all);
}

void OwnLog::write_line(const std::string& line) {
  (void)file_.write_line(line);
  if (copies_ && file_.is_open()) (void)write_without_waiting(STDERR_FILENO, line);
}

void OwnLog::say_repeated(Said& said) {
  if (said.again == 0) return;
  const uint64_t count = std::exchange(said.again, 0);
  write_line(cat(said.prefix, said.text,
                 count == 1 ? cat(" … once more") : cat(" … repeated ", count, " times"), "\n"));
}

bool OwnLog::say_repeated(Which which) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int64_t now = sys::monotonic_ns();
  bool is_left = false;
  for (auto it = said_.begin(); it != said_.end();) {
    if (which == Which::due && now - it->since_ns < kWindowNs) {
      is_left = is_left || it->again != 0;
      ++it;
    } else if (it->again == 0) {
      it = said_.erase(it);
    } else {
      say_repeated(*it);
      it->since_ns = now;
      ++it;
    }
  }
  return is_left;
}

void OwnLog::send(google::LogSeverity severity, const char* /*full_filename*/,
                  const char* base_filename, int line, const google::LogMessageTime& time,
                  const char* message, size_t size) {
  const std::string text = printable({message, std::min(size, kMostLine / 2)});
  // With an empty message it is what glog writes before each.
  std::string prefix = google::LogSink::ToString(severity, base_filename, line, time, "", 0);
  prefix.resize(std::min(prefix.size(), size_t{200}));
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto same = std::ranges::find(said_, text, &Said::text);
  if (same != said_.end() && sys::monotonic_ns() - same->since_ns < kWindowNs) {
    same->prefix = std::move(prefix);
    if (++same->again == 1 && wake_) wake_();
    return;
  }
  if (same != said_.end()) {
    say_repeated(*same);
    said_.erase(same);
  }
  if (said_.size() == kMostRemembered) {
    say_repeated(said_.front());
    said_.pop_front();
  }
  write_line(cat(prefix, text, "\n"));
  said_.push_back(
      {.prefix = std::move(prefix), .text = text, .since_ns = sys::monotonic_ns(), .again = 0});
}

void OwnLog::copy_to_stderr(bool copy) {
  const std::lock_guard<std::mutex> lock(mutex_);
  copies_ = copy;
}

void OwnLog::on_counted(std::function<void()> wake) {
  const std::lock_guard<std::mutex> lock(mutex_);
  wake_ = std::move(wake);
}
}  // namespace gantry
