// The audit log: DATA/audit.log, one line of JSON per call that changes something: time, uid, pid,
// call, id, status, error. Written with one write(2) each, so a killed executor loses none; rotates
// as the executor's own log does.
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

 private:
  explicit AuditLog(RotatingFile file) : file_(std::move(file)) {}
  RotatingFile file_;
};
}  // namespace gantry
