#include "executor/http/clients.h"

#include "base/result.h"

namespace gantry::http {
void Clients::disconnected(const std::string& client) {
  const auto it = all_.find(client);
  GANTRY_CHECK(it != all_.end() && it->second.connections > 0);
  if (--it->second.connections != 0) return;
  GANTRY_CHECK(it->second.bytes == 0);
  all_.erase(it);
}

size_t Clients::connections(const std::string& client) const {
  const auto it = all_.find(client);
  return it == all_.end() ? 0 : it->second.connections;
}

bool Clients::hold(const std::string& client, size_t bytes) {
  Held& held = all_[client];
  if (bytes > most_each_ - held.bytes || bytes > most_ - bytes_) return false;
  held.bytes += bytes;
  bytes_ += bytes;
  return true;
}

void Clients::release(const std::string& client, size_t bytes) {
  if (bytes == 0) return;
  Held& held = all_[client];
  GANTRY_CHECK(held.bytes >= bytes);
  held.bytes -= bytes;
  bytes_ -= bytes;
}
}  // namespace gantry::http
