#include "executor/audit_log.h"

#include <glog/logging.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "base/hide_secrets.h"
#include "base/sys.h"

namespace gantry {
namespace {
std::string say_lost(uint64_t lines) {
  return cat("{\"time_ns\":", sys::realtime_ns(), ",\"lost_lines\":", lines, "}\n");
}
}  // namespace

Result<AuditLog> AuditLog::open(const std::string& data_dir, FileLimits limits) {
  RotatingFile file(data_dir + "/audit.log", limits, say_lost);
  GANTRY_TRY(file.open());
  return AuditLog(std::move(file));
}

void AuditLog::write(const http::Peer& peer, const OperatorBackend::AuditLine& line) {
  rapidjson::StringBuffer text;
  rapidjson::Writer<rapidjson::StringBuffer> json(text);
  json.StartObject();
  json.Key("time_ns");
  json.Int64(sys::realtime_ns());
  if (peer.credentials) {
    json.Key("uid");
    json.Uint(peer.credentials->uid);
    json.Key("pid");
    json.Int(peer.credentials->pid);
  } else {
    json.Key("address");
    json.String(peer.address.c_str());
    if (!peer.certificate.empty()) {
      json.Key("certificate");
      json.String(peer.certificate.c_str());
    }
  }
  json.Key("call");
  json.String(line.call.c_str());
  if (!line.id.empty()) {
    json.Key("id");
    json.String(line.id.c_str());
  }
  json.Key("status");
  json.Uint(line.status);
  if (!line.error.empty()) {
    json.Key("error");
    json.String(hide_secrets(line.error, TextIs::log).substr(0, 500).c_str());
  }
  json.EndObject();
  text.Put('\n');
  const uint64_t lost = file_.lost();
  if (const int error = file_.write_line({text.GetString(), text.GetSize()}); error != 0) {
    ++lost_;
    if (lost == 0) {
      LOG(ERROR) << "audit.log: lines are lost: " << Error::from_errno(error, "write").to_string();
    }
  } else if (lost != 0) {
    LOG(ERROR) << "audit.log goes on: " << lost << " lines were lost";
  }
}
}  // namespace gantry
