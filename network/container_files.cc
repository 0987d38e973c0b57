#include "network/container_files.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/str.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr size_t kMaxFileBytes = 64u << 10;
constexpr std::string_view kLocalhost =
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n";

bool is_address(std::string_view text) {
  char buffer[sizeof(in6_addr)];
  std::string terminated(text.substr(0, text.find('%')));
  return ::inet_pton(AF_INET, terminated.c_str(), buffer) == 1 ||
         ::inet_pton(AF_INET6, terminated.c_str(), buffer) == 1;
}

bool is_loopback(std::string_view address) {
  return address.starts_with("127.") || address == "::1" || address == "0.0.0.0";
}
bool is_v6(std::string_view address) { return address.find(':') != std::string_view::npos; }

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

// The words of a line; a '#' or ';' at its beginning makes it a comment: no words.
std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  if (line.starts_with('#') || line.starts_with(';')) return words;
  size_t at = 0;
  while ((at = line.find_first_not_of(" \t\r", at)) != std::string_view::npos) {
    size_t end = std::min(line.find_first_of(" \t\r", at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

template <class Each>
void for_each_line(std::string_view text, Each each) {
  while (!text.empty()) {
    size_t end = text.find('\n');
    each(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
}

Result<std::string> extra_lines(const HostsRequest& request) {
  std::string out;
  for (const auto& [name, address] : request.extra_hosts) {
    if (!is_name(name)) {
      return Error(Errc::invalid, cat("network.extra_hosts: \"", name, "\" is not a host name"));
    }
    bool is_gateway = address == "host-gateway";
    if (is_gateway && !request.gateway) {
      return Error(Errc::invalid, cat("network.extra_hosts: ", name,
                                      ": host-gateway needs network mode bridge or host"));
    }
    if (!is_gateway && (!is_address(address) || address.find('%') != std::string::npos)) {
      return Error(Errc::invalid, cat("network.extra_hosts: ", name, ": \"", address,
                                      "\" is not an IP address (or host-gateway)"));
    }
    out += cat(is_gateway ? request.gateway->to_string() : address, '\t', name, '\n');
  }
  return out;
}

Result<std::string> server_lines(const std::vector<std::string>& servers) {
  std::string out;
  for (const std::string& server : servers) {
    if (!is_address(server)) {
      return Error(Errc::invalid,
                   cat("network.dns_servers: \"", server, "\" is not an IP address"));
    }
    out += cat("nameserver ", server, '\n');
  }
  return out;
}

// Every line but the nameservers', as it is.
std::string other_lines(std::string_view host_text) {
  std::string out;
  for_each_line(host_text, [&](std::string_view line) {
    auto words = words_of(line);
    if (!words.empty() && words[0] != "nameserver") out += cat(line, '\n');
  });
  return out;
}
}  // namespace

Result<void> check_hostname(std::string_view hostname) {
  if (is_name(hostname) && hostname.size() <= 64) return Result<void>();
  return Error(Errc::invalid, cat("hostname: \"", hostname.substr(0, 80),
                                  "\" is not 1 to 64 of letters, digits, '-', '_' and '.'"));
}

Result<std::string> hosts_text(const HostsRequest& request) {
  GANTRY_TRY(check_hostname(request.hostname));
  std::string out(kLocalhost);
  // Without a network the name still resolves, as on a Debian machine without one.
  out += cat(request.address ? request.address->to_string() : "127.0.1.1", '\t', request.hostname);
  size_t dot = request.hostname.find('.');
  if (dot != std::string::npos && dot != 0) out += cat(' ', request.hostname.substr(0, dot));
  out += '\n';
  if (request.gateway) {
    out += cat(request.gateway->to_string(), "\thost.containers.internal host.docker.internal\n");
  }
  return out + GANTRY_TRY(extra_lines(request));
}

Result<std::string> host_mode_hosts_text(std::string_view host_text, const HostsRequest& request) {
  std::string out(host_text.empty() ? kLocalhost : host_text);
  if (out.back() != '\n') out += '\n';
  return out + GANTRY_TRY(extra_lines(request));
}

std::vector<std::string> nameservers_of(std::string_view text) {
  std::vector<std::string> servers;
  for_each_line(text, [&](std::string_view line) {
    auto words = words_of(line);
    if (words.size() >= 2 && words[0] == "nameserver" && is_address(words[1])) {
      servers.emplace_back(words[1]);
    }
  });
  return servers;
}

Result<std::string> resolver_text(std::string_view host_text,
                                  const std::vector<std::string>& servers) {
  std::string out = other_lines(host_text);
  if (!servers.empty()) return out + GANTRY_TRY(server_lines(servers));
  bool is_any_left = false;
  for (const std::string& server : nameservers_of(host_text)) {
    if (is_loopback(server) || is_v6(server)) continue;
    out += cat("nameserver ", server, '\n');
    is_any_left = true;
  }
  if (!is_any_left) out += "# the host has no name server that can be reached from here\n";
  return out;
}

Result<std::string> host_mode_resolver_text(std::string_view host_text,
                                            const std::vector<std::string>& servers) {
  if (servers.empty()) return std::string(host_text);
  return other_lines(host_text) + GANTRY_TRY(server_lines(servers));
}

std::string host_resolver_text() {
  std::string text = sys::read_file("/etc/resolv.conf", kMaxFileBytes).value_or("");
  auto servers = nameservers_of(text);
  if (!servers.empty() && !std::ranges::all_of(servers, is_loopback)) return text;
  auto real = sys::read_file("/run/systemd/resolve/resolv.conf", kMaxFileBytes);
  return real ? std::move(*real) : text;
}

std::vector<std::string> host_nameservers() { return nameservers_of(host_resolver_text()); }
}  // namespace gantry
