// The audit log: DATA/audit.log, one line of JSON per call that changes something: time, uid, pid,
// call, id, status, error. Written with one write(2) each, so a killed executor loses none; rotates
// as the executor's own log does. What a full disk does not take stops no kill and no removal: it
// is lost, which is counted, logged, and said in the audit log when it goes on.
#pragma once

#include <string>

#include "base/result.h"
#include "executor/operator_backend.h"
#include "executor/rotating_file.h"

namespace gantry {
class AuditLog {
 public:
  static Result<AuditLog> open(const std::string& data_dir, FileLimits limits);
  void write(const http::Peer& peer, const OperatorBackend::AuditLine& line);
  uint64_t lost() const { return lost_; }  // lines of this executor

 private:
  explicit AuditLog(RotatingFile file) : file_(std::move(file)) {}
  RotatingFile file_;
  uint64_t lost_ = 0;
};
}  // namespace gantry
