// The audit log: DATA/audit.log, one line of JSON per call that changes something: time, uid, pid,
// call, id, status, error. Written with one write(2) each, so a killed executor loses none.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "executor/operator_backend.h"

namespace gantry {
class AuditLog {
 public:
  static Result<AuditLog> open(const std::string& data_dir);
  void write(const http::Peer& peer, const OperatorBackend::AuditLine& line);

 private:
  explicit AuditLog(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};
}  // namespace gantry
