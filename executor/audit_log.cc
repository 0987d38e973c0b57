#include "executor/audit_log.h"

#include <fcntl.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "base/sys.h"

namespace gantry {
Result<AuditLog> AuditLog::open(const std::string& data_dir) {
  return AuditLog(GANTRY_TRY(
      sys::open(data_dir + "/audit.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600)));
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
  sys::write_all(file_.get(), {text.GetString(), text.GetSize()})
      .ignore("a full disk must not stop kills and removals");
}
}  // namespace gantry
