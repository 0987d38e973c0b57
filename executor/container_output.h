// A container's output as a stream of chunks: what is in the files of its sandbox, then what comes,
// until the container has ended. A slow reader costs the container nothing: the files are the
// buffer.
//
// Threads: loop only. Lifetime: one reader; ends with its client.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/co.h"
#include "containerizer/containerizer.h"
#include "executor/operator_backend.h"
#include "executor/output_file.h"
#include "executor/output_times.h"
#include "launcher/log_client.h"

namespace gantry {
class ContainerOutput final : public OutputStream {
 public:
  ContainerOutput(std::string sandbox, LogClient& logs, ContainerPtr container,
                  OutputOptions options, asio::any_io_executor executor);
  ~ContainerOutput() override;

  // Where each stream begins. Call once, first.
  Co<Result<void>> open();
  // A chunk has at most 64 KiB.
  Co<Result<std::optional<OutputChunk>>> next() override;
  std::array<int, 2> hand_over() override;

 private:
  struct Stream {
    OutputChunk::Source which;
    bool wanted;
    OutputFile file;
    uint64_t offset = 0;
    bool is_whole = false;      // what is no longer there before `offset` is missed
    uint64_t missed = 0;        // bytes that were, and are not said yet
    uint64_t end = UINT64_MAX;  // what comes later is not wanted
    UniqueFd handed{};          // somebody else reads this file
  };
  bool is_read_to_its_end() const;
  // Where both streams have something, what came first: by the index, to its hundredth of a second.
  Result<std::optional<OutputChunk>> read_some();
  Result<std::optional<OutputChunk>> read_stream(Stream& stream, uint64_t most);
  Result<void> refresh_times();
  // Bytes that can be read now.
  Result<uint64_t> unread(Stream& stream);
  // Where a stream that is there begins and ends.
  Result<void> place(Stream& stream);
  bool needs_times() const;
  // Where both begin, of whose last lines together so many are wanted.
  Result<void> place_tail();
  struct Lines {
    uint64_t lines;
    uint64_t end;
  };
  static Result<Lines> pass_lines(Stream& stream, uint64_t until, uint64_t end, uint64_t most);
  Result<uint64_t> start_of_tail(Stream& stream, uint64_t size, uint64_t lines) const;
  // Until there may be more to read, or the container has ended, or the reader is cancelled. False
  // when it is time for a heartbeat.
  Co<bool> wait_for_more();

  std::string sandbox_;
  LogClient& logs_;
  ContainerPtr container_;
  OutputOptions options_;
  Stream streams_[2];
  asio::any_io_executor executor_;
  OutputTimes times_;
  int turn_ = 0;    // without an index: whose turn it is, so that neither starves the other
  LogSizes known_;  // as the logger said last; at least what has been read
  int told_stall_ = 0;
};
}  // namespace gantry
