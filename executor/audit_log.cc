#include "executor/audit_log.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "base/sys.h"

namespace gantry {
Result<AuditLog> AuditLog::open(const std::string& data_dir, FileLimits limits) {
  RotatingFile file(data_dir + "/audit.log", limits);
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
    json.String(line.error.substr(0, 500).c_str());
  }
  json.EndObject();
  text.Put('\n');
  file_.make_room(text.GetSize());
  sys::write_all(file_.fd(), {text.GetString(), text.GetSize()})
      .ignore("a full disk must not stop kills and removals");
  file_.wrote(text.GetSize());
}
}  // namespace gantry
