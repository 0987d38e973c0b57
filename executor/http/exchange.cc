#include "executor/http/exchange.h"

#include <strings.h>

#include <algorithm>

#include "base/str.h"

namespace gantry::http {
std::string client_of(const Peer& peer) {
  if (peer.credentials) return cat(peer.credentials->pid);
  return peer.address.substr(0, peer.address.rfind(':'));
}

const std::string* Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key.size() == name.size() && ::strncasecmp(key.data(), name.data(), name.size()) == 0) {
      return &value;
    }
  }
  return nullptr;
}

std::string_view reason_phrase(unsigned status) {
  static constexpr std::pair<unsigned, std::string_view> kPhrases[] = {
      {100, "Continue"},
      {200, "OK"},
      {202, "Accepted"},
      {307, "Temporary Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {406, "Not Acceptable"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {413, "Payload Too Large"},
      {415, "Unsupported Media Type"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {503, "Service Unavailable"},
  };
  const auto* found = std::find_if(std::begin(kPhrases), std::end(kPhrases),
                                   [&](const auto& entry) { return entry.first == status; });
  return found == std::end(kPhrases) ? std::string_view("Unknown") : found->second;
}
}  // namespace gantry::http
