#include "executor/container_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path_at.h"
#include "base/scope.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr size_t kChunk = 64u << 10;

const char* file_name(OutputChunk::Source source) {
  return source == OutputChunk::Source::out ? "stdout" : "stderr";
}

Co<void> watch_growth(LogClient& logs, std::string key, LogSizes known, Event& wake) {
  while (!co_await is_cancelled()) {
    Result<LogSizes> sizes = co_await logs.wait_growth(key, known);
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
      streams_{{OutputChunk::Source::out, options.stdout_wanted, {}, 0},
               {OutputChunk::Source::err, options.stderr_wanted, {}, 0}},
      executor_(std::move(executor)) {
  ++container_->readers;
}

ContainerOutput::~ContainerOutput() {
  --container_->readers;
  container_->changed.notify();
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
    if (!stream.wanted || !GANTRY_CO_TRY(open_file(stream))) continue;
    struct ::stat st;
    if (::fstat(stream.file.get(), &st) != 0) co_return Error::from_errno(errno, "look at a log");
    uint64_t size = static_cast<uint64_t>(st.st_size);
    if (!options_.from_start) {
      stream.offset = size;
    } else if (options_.tail_lines) {
      stream.offset = GANTRY_CO_TRY(start_of_tail(stream, size, *options_.tail_lines));
    }
  }
  co_return Result<void>();
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

Result<std::optional<OutputChunk>> ContainerOutput::read_some() {
  turn_ = !turn_;
  for (int i = 0; i < 2; ++i) {
    Stream& stream = streams_[(i == 0) == turn_ ? 0 : 1];
    if (!stream.wanted || !GANTRY_TRY(open_file(stream))) continue;
    std::string bytes(kChunk, '\0');
    ssize_t n = ::pread(stream.file.get(), bytes.data(), kChunk, static_cast<off_t>(stream.offset));
    if (n < 0) return Error::from_errno(errno, cat("read ", file_name(stream.which)));
    if (n == 0) continue;
    bytes.resize(static_cast<size_t>(n));
    stream.offset += static_cast<uint64_t>(n);
    return std::optional(OutputChunk{stream.which, std::move(bytes), std::nullopt});
  }
  return std::optional<OutputChunk>();
}

Co<Result<std::optional<OutputChunk>>> ContainerOutput::next() {
  for (;;) {
    // ORDER: asked before reading; an outcome is set only after all output is in the files.
    bool ended = container_->outcome.has_value();
    auto chunk = GANTRY_CO_TRY(read_some());
    if (chunk || ended || !options_.follow) co_return chunk;
    co_await wait_for_more();
    if (co_await is_cancelled()) co_return Error(Errc::cancelled, "the reader went away");
  }
}

Co<void> ContainerOutput::wait_for_more() {
  LogSizes known{};
  known.out = streams_[0].offset;
  known.err = streams_[1].offset;
  Event wake(executor_);
  Scope watches(executor_);
  watches.spawn(watch_growth(logs_, container_->id.hash(), known, wake));
  watches.spawn(watch_end(container_, wake));
  co_await wake.wait();
  co_await watches.close();
}
}  // namespace gantry
