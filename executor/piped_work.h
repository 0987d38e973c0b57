// What somebody writes into a pipe, for the API to send on as it comes.
#pragma once

#include <string>

#include "base/scope.h"
#include "executor/body_pipe.h"
#include "executor/operator_backend.h"

namespace gantry {
class PipedWork final : public TarStream {
 public:
  // `work` has the other end, and says at its end whether what it wrote is whole, and what it left
  // out.
  PipedWork(Co<Result<uint64_t>> work, UniqueFd pipe, const asio::any_io_executor& executor)
      : pipe_(std::move(pipe)), work_(executor), scope_(executor) {
    scope_.spawn(run_beside(std::move(work), work_));
  }
  Co<Result<std::string>> next() override;
  uint64_t left_out() const override { return left_out_; }
  Co<Result<void>> close() override;

 private:
  UniqueFd pipe_;
  Beside<uint64_t> work_;
  uint64_t left_out_ = 0;
  Scope scope_;
};
}  // namespace gantry
