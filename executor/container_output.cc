#include "executor/container_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/path_at.h"
#include "base/scope.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr size_t kChunk = 64u << 10;

const char* file_name(OutputChunk::Source source) {
  return source == OutputChunk::Source::out ? "stdout" : "stderr";
}

Co<void> watch_growth(LogClient& logs, std::string key, LogSizes& known, Event& wake) {
  while (!co_await is_cancelled()) {
    Result<LogSizes> sizes = co_await logs.wait_growth(key, known);
    if (sizes) known = *sizes;
    if (sizes) break;
    // A logger that was restarted is asked again.
    co_await sleep_for(std::chrono::milliseconds(20));
  }
  wake.notify();
}

Co<void> watch_end(ContainerPtr container, Event& wake) {
  while (!container->outcome && !co_await is_cancelled()) co_await container->changed.wait();
  wake.notify();
}
}  // namespace

ContainerOutput::ContainerOutput(std::string sandbox, LogClient& logs, ContainerPtr container,
                                 OutputOptions options, asio::any_io_executor executor)
    : sandbox_(std::move(sandbox)),
      logs_(logs),
      container_(std::move(container)),
      options_(options),
      streams_{{OutputChunk::Source::out, options.stdout_wanted, {}, options.stdout_offset},
               {OutputChunk::Source::err, options.stderr_wanted, {}, options.stderr_offset}},
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

Result<bool> ContainerOutput::open_file(Stream& stream) const {
  if (stream.file) return true;
  auto dir = DirFd::open(sandbox_);
  if (!dir) {
    // Removed while we follow: what was not opened by then is not there to be read.
    if (dir.error().is_errno(ENOENT)) return false;
    return std::move(dir).error();
  }
  // Tenants may own the sandbox: no link is followed, and a FIFO put there does not hold us up.
  auto file = dir->open_beneath(file_name(stream.which), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (!file) {
    if (file.error().is_errno(ENOENT)) return false;
    return std::move(file).error();
  }
  struct ::stat st;
  if (::fstat(file->get(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return Error(Errc::corrupt, cat(file_name(stream.which), " in the sandbox is not a file"));
  }
  stream.file = std::move(*file);
  return true;
}

Co<Result<void>> ContainerOutput::open() {
  if (!options_.from_start && !container_->outcome) {
    // What is in the pipes now was written before the request.
    (co_await logs_.flush(container_->id.hash())).ignore("then it begins a little earlier");
  }
  for (Stream& stream : streams_) {
    if (stream.wanted && GANTRY_CO_TRY(open_file(stream))) GANTRY_CO_TRY(place(stream));
  }
  co_return Result<void>();
}

bool ContainerOutput::needs_times() const {
  return options_.since_ns || options_.until_ns || options_.timestamps;
}

Result<void> ContainerOutput::place(Stream& stream) {
  struct ::stat st;
  if (::fstat(stream.file.get(), &st) != 0) return Error::from_errno(errno, "look at a log");
  const uint64_t size = static_cast<uint64_t>(st.st_size);
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
  std::string block(kChunk, '\0');
  uint64_t end = size;
  uint64_t newlines = 0;
  while (end > 0) {
    uint64_t begin = end > kChunk ? end - kChunk : 0;
    ssize_t n = ::pread(stream.file.get(), block.data(), end - begin, static_cast<off_t>(begin));
    if (n < 0) return Error::from_errno(errno, "read a log");
    for (uint64_t i = static_cast<uint64_t>(n); i-- > 0;) {
      // The newline that ends the last line does not begin another.
      if (block[i] == '\n' && begin + i + 1 != size && ++newlines == lines) return begin + i + 1;
    }
    if (lines == 0) return size;
    end = begin;
  }
  return 0;
}

Result<uint64_t> ContainerOutput::unread(Stream& stream) {
  if (!stream.wanted || !GANTRY_TRY(open_file(stream))) return 0;
  struct ::stat st;
  if (::fstat(stream.file.get(), &st) != 0) return Error::from_errno(errno, "look at a log");
  const uint64_t end = std::min(static_cast<uint64_t>(st.st_size), stream.end);
  return end > stream.offset ? end - stream.offset : 0;
}

Result<void> ContainerOutput::refresh_times() {
  return times_.refresh(GANTRY_TRY(DirFd::open(sandbox_)));
}

Result<std::optional<OutputChunk>> ContainerOutput::read_some() {
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
  const uint64_t wanted = std::min<uint64_t>(kChunk, most);
  std::string bytes(wanted, '\0');
  ssize_t n = ::pread(stream.file.get(), bytes.data(), wanted, static_cast<off_t>(stream.offset));
  if (n < 0) return Error::from_errno(errno, cat("read ", file_name(stream.which)));
  if (n == 0) return std::optional<OutputChunk>();
  bytes.resize(static_cast<size_t>(n));
  OutputChunk chunk{stream.which, std::move(bytes), time_ns, std::nullopt};
  if (options_.offsets) chunk.offset = stream.offset;
  stream.offset += static_cast<uint64_t>(n);
  times_.forget(index, stream.offset);
  return std::optional(std::move(chunk));
}

Co<Result<std::optional<OutputChunk>>> ContainerOutput::next() {
  for (;;) {
    // ORDER: asked before reading; an outcome is set only after all output is in the files.
    bool ended = container_->outcome.has_value();
    auto chunk = GANTRY_CO_TRY(read_some());
    if (chunk || ended || !options_.follow) co_return chunk;
    const bool woken = co_await wait_for_more();
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the reader went away");
    if (!woken) co_return std::optional(OutputChunk{});
  }
}

Co<bool> ContainerOutput::wait_for_more() {
  // What is not wanted is only known to be there.
  if (streams_[0].wanted) known_.out = streams_[0].offset;
  if (streams_[1].wanted) known_.err = streams_[1].offset;
  Event wake(executor_);
  Scope watches(executor_);
  // Where it has closed both, only its end is left to wait for.
  if (!known_.out_ended || !known_.err_ended) {
    watches.spawn(watch_growth(logs_, container_->id.hash(), known_, wake));
  }
  watches.spawn(watch_end(container_, wake));
  const bool woken = co_await wake.wait(options_.heartbeat);
  co_await watches.close();
  co_return woken;
}
}  // namespace gantry
