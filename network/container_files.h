// The texts of /etc/hosts, /etc/hostname and /etc/resolv.conf of a container. Pure, but for
// host_resolver_text() and host_nameservers(), which read the host's files.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/types/container_spec.h"
#include "base/result.h"
#include "network/ipv4.h"

namespace gantry {
struct HostsRequest {
  std::string hostname;
  std::optional<Ipv4> address;  // on a bridge
  std::optional<Ipv4> gateway;  // what "host-gateway" means
  std::vector<std::pair<std::string, std::string>> extra_hosts;
};
// Errc::invalid names the wrong field of network.extra_hosts or hostname.
Result<std::string> hosts_text(const HostsRequest& request);
// The host's own file with the extra lines (network mode host).
Result<std::string> host_mode_hosts_text(std::string_view host_text, const HostsRequest& request);

// A hostname as the kernel and every parser of hosts files takes it. Errc::invalid.
Result<void> check_hostname(std::string_view hostname);

// For a network namespace of its own: servers on the host's loopback and IPv6 servers cannot be
// reached from there and are left out; `servers`, where given, replace them all. Search domains
// and options are kept. Errc::invalid names network.dns_servers.
Result<std::string> resolver_text(std::string_view host_text,
                                  const std::vector<std::string>& servers);
// Network mode host: as it is, but for `servers`.
Result<std::string> host_mode_resolver_text(std::string_view host_text,
                                            const std::vector<std::string>& servers);

// The host's resolv.conf; where that only names a stub on loopback, the one with the real servers
// (systemd-resolved's). Empty without any.
std::string host_resolver_text();
std::vector<std::string> nameservers_of(std::string_view resolver_text);
std::vector<std::string> host_nameservers();
}  // namespace gantry
