#include "executor/output_times.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "launcher/log_times.h"

namespace gantry {
Result<void> OutputTimes::refresh(const DirFd& sandbox) {
  auto file = sandbox.open_beneath(kTimesFile, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (!file && file.error().is_errno(ENOENT)) {
    return Error(Errc::unsupported, "this container's output has no index of times");
  }
  if (!file) return std::move(file).error();
  struct ::stat st;
  if (::fstat(file->get(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return Error(Errc::corrupt, cat(kTimesFile, " in the sandbox is not a file"));
  }
  // The logger replaces it by a shorter one when what it is about has been removed.
  struct ::stat known;
  if (!file_ || ::fstat(file_.get(), &known) != 0 || known.st_ino != st.st_ino ||
      known.st_dev != st.st_dev) {
    file_ = std::move(*file);
    bytes_ = 0;
  }
  std::array<LogTime, 4096> read;
  for (;;) {
    const ssize_t n = ::pread(file_.get(), read.data(), sizeof read, static_cast<off_t>(bytes_));
    if (n < 0) return Error::from_errno(errno, cat("read ", kTimesFile));
    const size_t count = static_cast<size_t>(n) / sizeof(LogTime);
    if (count == 0) return {};
    bytes_ += count * sizeof(LogTime);
    for (size_t i = 0; i < count; ++i) {
      auto& entries = entries_[read[i].place & 1];
      const uint64_t offset = read[i].place >> 1;
      if (!entries.empty() && entries.back().offset > offset) continue;
      if (!entries.empty() && entries.back().offset == offset) entries.pop_back();
      if (offset <= passed_[read[i].place & 1]) entries.clear();
      entries.push_back({read[i].time_ns, offset});
    }
  }
}

uint64_t OutputTimes::offset_at(int stream, int64_t time_ns, uint64_t size) const {
  for (const Entry& entry : entries_[stream]) {
    if (entry.time_ns >= time_ns) return std::min(entry.offset, size);
  }
  return size;
}

OutputTimes::Span OutputTimes::span_at(int stream, uint64_t offset) const {
  const auto& entries = entries_[stream];
  const auto next = std::ranges::upper_bound(entries, offset, {}, &Entry::offset);
  Span span{std::nullopt, next == entries.end() ? UINT64_MAX : next->offset};
  if (next != entries.begin()) span.time_ns = std::prev(next)->time_ns;
  return span;
}

int OutputTimes::older(uint64_t out_offset, uint64_t err_offset) const {
  return span_at(1, err_offset).time_ns < span_at(0, out_offset).time_ns ? 1 : 0;
}

uint64_t OutputTimes::length_before(int stream, uint64_t offset, uint64_t other_offset) const {
  const std::optional<int64_t> other = span_at(1 - stream, other_offset).time_ns;
  uint64_t end = offset;
  while (end != UINT64_MAX) {
    const Span span = span_at(stream, end);
    if (end != offset && span.time_ns > other) break;
    end = span.end;
  }
  return end - offset;
}

void OutputTimes::forget(int stream, uint64_t offset) {
  constexpr size_t kMany = 1024;  // so that it costs little for each
  passed_[stream] = offset;
  auto& entries = entries_[stream];
  if (entries.size() < kMany) return;
  const auto next = std::ranges::upper_bound(entries, offset, {}, &Entry::offset);
  if (static_cast<size_t>(next - entries.begin()) > kMany) entries.erase(entries.begin(), next - 1);
}
}  // namespace gantry
