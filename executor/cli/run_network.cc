#include "executor/cli/run_network.h"

#include <algorithm>

#include "executor/cli/request_words.h"

namespace gantry::cli {
namespace {
struct PortRange {
  uint16_t first = 0, last = 0;
  int length() const { return last - first; }
};

// 80, or 8000-8010.
Result<PortRange> parse_range(const std::string& word, std::string_view text) {
  PortRange out;
  const auto parts = cut(text, '-');
  if (!parse_number(parts ? parts->key : text, out.first) ||
      !parse_number(parts ? parts->value : text, out.last) || out.first == 0) {
    return usage_error(cat("-p ", word, ": ports are numbers from 1 to 65535"));
  }
  if (out.last < out.first) return usage_error(cat("-p ", word, ": ", text, " is no range"));
  return out;
}

// [[IP:]HOST:]CONTAINER[/tcp|/udp]; each of the two may be a range, as long as the other. HOST may
// be 0 or empty: free ports.
Result<void> write_port(JsonWriter& json, const std::string& word) {
  std::string_view rest = word;
  std::string_view protocol = "tcp";
  if (const auto parts = cut(rest, '/')) {
    rest = parts->key;
    protocol = parts->value;
  }
  if (protocol != "tcp" && protocol != "udp") {
    return usage_error(cat("-p ", word, ": the protocol is tcp or udp"));
  }
  const size_t last = rest.rfind(':');
  std::string_view host = last == rest.npos ? std::string_view() : rest.substr(0, last);
  std::string_view address;
  if (const size_t colon = host.rfind(':'); colon != host.npos) {
    address = host.substr(0, colon);
    host = host.substr(colon + 1);
    if (address.starts_with('[') && address.ends_with(']')) {
      address = address.substr(1, address.size() - 2);
    }
  }
  const bool is_free = host.empty() || host == "0";
  PortRange outside;
  if (!is_free) outside = GANTRY_TRY(parse_range(word, host));
  const PortRange inside = GANTRY_TRY(parse_range(word, rest.substr(last + 1)));
  if (is_free) outside = inside;
  if (outside.length() != inside.length()) {
    return usage_error(cat("-p ", word, ": the two ranges have to be of the same length"));
  }
  for (int i = 0; i <= outside.length(); ++i) {
    json.open().integer("host_port", is_free ? 0 : outside.first + i);
    json.integer("container_port", inside.first + i).text("protocol", protocol);
    if (!address.empty()) json.text("host_ip", address);
    json.close();
  }
  return {};
}
}  // namespace

Result<void> write_network(JsonWriter& json, const RunOptions& options) {
  // A published port says which network is meant.
  std::string mode = options.network;
  if (mode.empty()) mode = options.ports.empty() ? "none" : "bridge";
  if (mode.starts_with("container:")) {
    return usage_error(cat("--network ", mode,
                           ": each container has a network of its own; a further command in "
                           "that one's is `gantry exec ",
                           std::string_view(mode).substr(10), " COMMAND`"));
  }
  if (mode != "none" && mode != "host" && mode != "bridge") {
    return usage_error(cat("--network is none, host or bridge, not \"", mode, "\""));
  }
  if (!options.ports.empty() && mode != "bridge") {
    return usage_error(cat("-p publishes ports of --network bridge, not of ", mode));
  }
  std::ranges::transform(mode, mode.begin(), [](char c) { return static_cast<char>(c - 32); });
  json.open("network").text("mode", mode);
  if (!options.ports.empty()) {
    json.open_list("ports");
    for (const std::string& word : options.ports) GANTRY_TRY(write_port(json, word));
    json.close_list();
  }
  write_strings(json, "dns_servers", options.dns);
  if (!options.hosts.empty()) {
    json.open_list("extra_hosts");
    for (const std::string& word : options.hosts) {
      const auto parts = cut(word, ':');
      if (!parts) return usage_error(cat("--add-host ", word, ": write NAME:ADDRESS"));
      json.open().text("name", parts->key).text("address", parts->value).close();
    }
    json.close_list();
  }
  json.close();
  return {};
}
}  // namespace gantry::cli
