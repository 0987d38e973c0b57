#include "executor/container_output.h"

#include <algorithm>
#include <utility>

#include "base/path_at.h"
#include "base/scope.h"
#include "base/sys.h"
#include "launcher/log_files.h"

namespace gantry {
namespace {
constexpr size_t kChunk = 64u << 10;
constexpr uint64_t kMostSaid = 64u << 20;  // of a file that was handed over

Co<void> watch_growth(LogClient& logs, ContainerPtr container, LogSizes& known, Event& wake) {
  while (!co_await is_cancelled()) {
    Result<LogSizes> sizes = co_await logs.wait_growth(container->id.hash(), known);
    if (sizes) known = *sizes;
    if (sizes) container->has_output_ended = sizes->out_ended && sizes->err_ended;
    if (sizes) break;
    // A logger that was restarted is asked again.
    co_await sleep_for(std::chrono::milliseconds(20));
  }
  wake.notify();
}

bool has_all(const Container& container) {
  return container.outcome && container.output != Container::Output::late;
}

// Until it has ended, or its disk begins or ceases to take its output.
Co<void> watch_end(ContainerPtr container, int known_stall, Event& wake) {
  while (!has_all(*container) && container->stall_error == known_stall &&
         !co_await is_cancelled()) {
    co_await container->changed.wait();
  }
  wake.notify();
}
}  // namespace

ContainerOutput::ContainerOutput(std::string sandbox, LogClient& logs, ContainerPtr container,
                                 OutputOptions options, asio::any_io_executor executor)
    : sandbox_(std::move(sandbox)),
      logs_(logs),
      container_(std::move(container)),
      options_(options),
      streams_{{OutputChunk::Source::out, options.stdout_wanted, OutputFile(sandbox_, kLogNames[0]),
                options.stdout_offset.value_or(0), options.is_whole || options.stdout_offset},
               {OutputChunk::Source::err, options.stderr_wanted, OutputFile(sandbox_, kLogNames[1]),
                options.stderr_offset.value_or(0), options.is_whole || options.stderr_offset}},
      executor_(std::move(executor)) {
  ++container_->readers;
  container_->awaits_reader = false;
  container_->changed.notify();
}

ContainerOutput::~ContainerOutput() {
  --container_->readers;
  container_->changed.notify();
  if (container_->parent) container_->parent->changed.notify();
}

Co<Result<void>> ContainerOutput::open() {
  if (!options_.from_start && !container_->outcome) {
    // What is in the pipes now was written before the request.
    (co_await logs_.flush(container_->id.hash())).ignore("then it begins a little earlier");
  }
  for (Stream& stream : streams_) {
    if (stream.wanted) GANTRY_CO_TRY(place(stream));
  }
  if (options_.from_start && options_.tail_lines) GANTRY_CO_TRY(place_tail());
  co_return Result<void>();
}

// Each stream begins at its own last lines, and of both together there are more than were asked
// for: the oldest are left out.
Result<void> ContainerOutput::place_tail() {
  if (!streams_[0].wanted || !streams_[1].wanted) return {};
  uint64_t ends[2], lines = 0;
  for (int i : {0, 1}) {
    Stream& stream = streams_[i];
    const bool has_begun = GANTRY_TRY(stream.file.seek(UINT64_MAX)).has_value();
    ends[i] = has_begun ? std::min(GANTRY_TRY(stream.file.end()), stream.end) : 0;
    lines += GANTRY_TRY(pass_lines(stream, ends[i], ends[i], UINT64_MAX)).lines;
  }
  const bool has_times = refresh_times().has_value();
  while (lines > *options_.tail_lines) {
    const bool is_left[] = {streams_[0].offset < ends[0], streams_[1].offset < ends[1]};
    int which = is_left[0] ? 0 : 1;
    uint64_t until = ends[which];
    if (is_left[0] && is_left[1] && has_times) {
      which = times_.older(streams_[0].offset, streams_[1].offset);
      const Stream &older = streams_[which], &newer = streams_[1 - which];
      const uint64_t length = times_.length_before(which, older.offset, newer.offset);
      until = length < ends[which] - older.offset ? older.offset + length : ends[which];
    }
    Stream& stream = streams_[which];
    const Lines passed =
        GANTRY_TRY(pass_lines(stream, until, ends[which], lines - *options_.tail_lines));
    if (passed.end == stream.offset) break;  // what is there was rotated away meanwhile
    lines -= passed.lines;
    stream.offset = passed.end;
  }
  return {};
}

// Whole lines from the stream's offset on: `most`, or as many as begin before `until`. What is
// there ends at `end`, with or without a newline.
Result<ContainerOutput::Lines> ContainerOutput::pass_lines(Stream& stream, uint64_t until,
                                                           uint64_t end, uint64_t most) {
  Lines out{.lines = 0, .end = stream.offset};
  bool in_line = false;
  while (out.end < end && out.lines < most && (out.end < until || in_line)) {
    const uint64_t at = GANTRY_TRY(stream.file.seek(out.end)).value_or(end);
    const uint64_t here = at < end ? std::min(GANTRY_TRY(stream.file.end()), end) : at;
    if (at >= here) break;
    out.end = at;
    const std::string block =
        GANTRY_TRY(stream.file.read(at, std::min<uint64_t>(kChunk, here - at)));
    if (block.empty()) break;
    for (const char c : block) {
      ++out.end;
      in_line = c != '\n';
      if (in_line) continue;
      ++out.lines;
      if (out.lines == most || out.end >= until) return out;
    }
  }
  if (in_line) ++out.lines;
  return out;
}

std::array<int, 2> ContainerOutput::hand_over() {
  std::array<int, 2> out = {-1, -1};
  for (int i : {0, 1}) {
    Stream& stream = streams_[i];
    if (!stream.wanted || stream.file.descriptor() < 0 || stream.file.begin() != 0) continue;
    auto handed = sys::duplicate(stream.file.descriptor());
    if (!handed) continue;  // then its bytes are sent
    stream.handed = std::move(*handed);
    out[static_cast<size_t>(i)] = stream.handed.get();
  }
  return out;
}

bool ContainerOutput::needs_times() const {
  return options_.since_ns || options_.until_ns || options_.timestamps;
}

Result<void> ContainerOutput::place(Stream& stream) {
  const bool has_begun = GANTRY_TRY(stream.file.seek(UINT64_MAX)).has_value();
  if (!options_.from_start || !has_begun) stream.is_whole = true;
  if (!has_begun) return {};
  const uint64_t size = GANTRY_TRY(stream.file.end());
  const int index = stream.which == OutputChunk::Source::out ? 0 : 1;
  if (needs_times()) GANTRY_TRY(refresh_times());
  if (options_.until_ns) stream.end = times_.offset_at(index, *options_.until_ns, size);
  if (!options_.from_start) {
    stream.offset = size;
    return {};
  }
  if (options_.tail_lines) {
    stream.offset =
        GANTRY_TRY(start_of_tail(stream, std::min(size, stream.end), *options_.tail_lines));
  }
  if (options_.since_ns) {
    stream.offset = std::max(stream.offset, times_.offset_at(index, *options_.since_ns, size));
  }
  return {};
}

Result<uint64_t> ContainerOutput::start_of_tail(Stream& stream, uint64_t size,
                                                uint64_t lines) const {
  uint64_t end = size;
  uint64_t newlines = 0;
  if (lines == 0) return size;
  while (end > 0) {
    const uint64_t last = GANTRY_TRY(stream.file.seek(end - 1)).value_or(end);
    if (last >= end) return end;  // the rest is no longer there
    const uint64_t begin = std::max(end > kChunk ? end - kChunk : 0, stream.file.begin());
    const std::string block = GANTRY_TRY(stream.file.read(begin, end - begin));
    for (uint64_t i = block.size(); i-- > 0;) {
      // The newline that ends the last line does not begin another.
      if (block[i] == '\n' && begin + i + 1 != size && ++newlines == lines) return begin + i + 1;
    }
    end = begin;
  }
  return 0;
}

Result<uint64_t> ContainerOutput::unread(Stream& stream) {
  if (!stream.wanted) return 0;
  const std::optional<uint64_t> at = GANTRY_TRY(stream.file.seek(stream.offset));
  if (!at) return 0;
  if (stream.is_whole) stream.missed += *at - stream.offset;
  stream.offset = *at;
  const uint64_t end = std::min(GANTRY_TRY(stream.file.end()), stream.end);
  return end > stream.offset ? end - stream.offset : 0;
}

Result<void> ContainerOutput::refresh_times() {
  return times_.refresh(GANTRY_TRY(DirFd::open(sandbox_)));
}

// What the logger said last was all that there will ever be.
bool ContainerOutput::is_read_to_its_end() const {
  return container_->has_output_ended && known_.out_ended && known_.err_ended &&
         known_.out <= streams_[0].offset && known_.err <= streams_[1].offset;
}

Result<std::optional<OutputChunk>> ContainerOutput::read_some() {
  if (is_read_to_its_end()) return std::optional<OutputChunk>();
  // ORDER: sizes first: an entry of the index is written before the bytes it is about.
  const uint64_t out = GANTRY_TRY(unread(streams_[0])), err = GANTRY_TRY(unread(streams_[1]));
  if (out == 0 && err == 0) return std::optional<OutputChunk>();
  if (options_.timestamps) GANTRY_TRY(refresh_times());
  if (err == 0) return read_stream(streams_[0], out);
  if (out == 0) return read_stream(streams_[1], err);
  // There is no index, or it was removed with its container.
  if (!refresh_times()) {
    turn_ = 1 - turn_;
    return read_stream(streams_[turn_], turn_ == 0 ? out : err);
  }
  const int which = times_.older(streams_[0].offset, streams_[1].offset);
  const uint64_t earlier =
      times_.length_before(which, streams_[which].offset, streams_[1 - which].offset);
  return read_stream(streams_[which], std::min(earlier, which == 0 ? out : err));
}

Result<std::optional<OutputChunk>> ContainerOutput::read_stream(Stream& stream, uint64_t most) {
  std::optional<int64_t> time_ns;
  const int index = stream.which == OutputChunk::Source::out ? 0 : 1;
  if (options_.timestamps) {
    const OutputTimes::Span span = times_.span_at(index, stream.offset);
    most = std::min(most, span.end - stream.offset);
    time_ns = span.time_ns;
  }
  const bool is_said = stream.handed && stream.file.is_same_as(stream.handed.get());
  const uint64_t wanted = std::min<uint64_t>(is_said ? kMostSaid : kChunk, most);
  std::string bytes;
  if (!is_said) bytes = GANTRY_TRY(stream.file.read(stream.offset, wanted));
  if (bytes.empty() && !is_said) return std::optional<OutputChunk>();
  const uint64_t count = is_said ? wanted : bytes.size();
  OutputChunk chunk{stream.which, std::move(bytes), time_ns, std::nullopt};
  if (is_said) chunk.length = count;
  if (options_.offsets || is_said) chunk.offset = stream.offset;
  chunk.missed = std::exchange(stream.missed, 0);
  stream.is_whole = true;
  stream.offset += count;
  times_.forget(index, stream.offset);
  return std::optional(std::move(chunk));
}

Co<Result<std::optional<OutputChunk>>> ContainerOutput::next() {
  for (;;) {
    // ORDER: asked before reading; an outcome is set only after all output is in the files.
    const bool ended = has_all(*container_);
    auto chunk = GANTRY_CO_TRY(read_some());
    if (chunk || ended || !options_.follow) co_return chunk;
    const int stall = std::exchange(told_stall_, container_->stall_error);
    if (options_.says_waits && told_stall_ != stall && told_stall_ != 0) {
      OutputChunk wait;
      wait.waits = Error::from_errno(told_stall_, sandbox_).to_string();
      co_return std::optional(std::move(wait));
    }
    const bool woken = co_await wait_for_more();
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the reader went away");
    if (!woken) co_return std::optional(OutputChunk{});
  }
}

Co<bool> ContainerOutput::wait_for_more() {
  // What is not wanted is only known to be there, and so is what nobody can read any more.
  known_.out = std::max(known_.out, streams_[0].offset);
  known_.err = std::max(known_.err, streams_[1].offset);
  Event wake(executor_);
  Scope watches(executor_);
  // Where it has closed both, only its end is left to wait for.
  if (!known_.out_ended || !known_.err_ended) {
    watches.spawn(watch_growth(logs_, container_, known_, wake));
  }
  watches.spawn(watch_end(container_, told_stall_, wake));
  const bool woken = co_await wake.wait(options_.heartbeat);
  co_await watches.close();
  co_return woken;
}
}  // namespace gantry
