#include "network/container_files.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
HostsRequest request(std::string hostname) { return {std::move(hostname), {}, {}, {}}; }

TEST(HostsText, NamesTheContainerByItsAddress) {
  HostsRequest wanted = request("web.example.org");
  wanted.address = *Ipv4::parse("10.89.0.7");
  wanted.gateway = *Ipv4::parse("10.89.0.1");
  wanted.extra_hosts = {{"db", "192.0.2.9"}, {"v6", "2001:db8::1"}, {"up", "host-gateway"}};
  auto text = hosts_text(wanted);
  ASSERT_TRUE(text);
  for (const char* line : {"127.0.0.1\tlocalhost\n", "10.89.0.7\tweb.example.org web\n",
                           "192.0.2.9\tdb\n", "2001:db8::1\tv6\n", "10.89.0.1\tup\n",
                           "10.89.0.1\thost.containers.internal host.docker.internal\n"}) {
    EXPECT_NE(text->find(line), std::string::npos) << line << *text;
  }
}

TEST(HostsText, WithoutANetworkTheOwnNameStillResolves) {
  auto text = hosts_text(request("box"));
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("127.0.1.1\tbox\n"), std::string::npos);
}

TEST(HostsText, NothingUnexpectedGetsIntoTheFile) {
  for (const char* name : {"", "a b", "a\n1.2.3.4 evil", "a;b", "a{b"}) {
    auto text = hosts_text(request(name));
    ASSERT_FALSE(text) << name;
    EXPECT_TRUE(text.error().is(Errc::invalid));
    HostsRequest extra = request("box");
    extra.extra_hosts = {{name, "192.0.2.1"}};
    auto other = hosts_text(extra);
    ASSERT_FALSE(other) << name;
    EXPECT_NE(other.error().to_string().find("network.extra_hosts"), std::string::npos);
  }
  for (const char* address : {"", "1.2.3", "1.2.3.4\nx", "fe80::1%eth0", "host-gateway"}) {
    HostsRequest extra = request("box");  // no gateway
    extra.extra_hosts = {{"db", address}};
    EXPECT_FALSE(hosts_text(extra)) << address;
  }
}

TEST(HostModeHostsText, IsTheHostsFileWithTheExtraLines) {
  HostsRequest wanted = request("box");
  wanted.extra_hosts = {{"db", "192.0.2.9"}};
  EXPECT_EQ(*host_mode_hosts_text("127.0.0.1 localhost", wanted),
            "127.0.0.1 localhost\n192.0.2.9\tdb\n");
}

constexpr std::string_view kHost =
    "# a comment\nsearch example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n"
    "nameserver 2001:db8::53\noptions ndots:2 edns0\nnameserver nonsense\n";

TEST(ResolverText, LeavesOutServersThatCannotBeReached) {
  EXPECT_EQ(*resolver_text(kHost, {}),
            "search example.org\noptions ndots:2 edns0\nnameserver 192.0.2.53\n");
}

TEST(ResolverText, GivenServersReplaceTheHosts) {
  EXPECT_EQ(*resolver_text(kHost, {"192.0.2.1", "2001:db8::1"}),
            "search example.org\noptions ndots:2 edns0\nnameserver 192.0.2.1\n"
            "nameserver 2001:db8::1\n");
}

TEST(ResolverText, SaysSoWhenNoServerIsLeft) {
  auto text = resolver_text("nameserver ::1\nnameserver 127.0.0.1\n", {});
  ASSERT_TRUE(text);
  EXPECT_TRUE(text->starts_with("# ")) << *text;
  EXPECT_TRUE(nameservers_of(*text).empty());
  EXPECT_TRUE(resolver_text("", {}));
}

TEST(ResolverText, WrongServersNameTheField) {
  for (const char* server : {"", "dns.example.org", "1.2.3.4\noptions rotate"}) {
    auto text = resolver_text(kHost, {server});
    ASSERT_FALSE(text) << server;
    EXPECT_NE(text.error().to_string().find("network.dns_servers"), std::string::npos);
  }
}

TEST(HostModeResolverText, IsTheHostsOwn) {
  EXPECT_EQ(*host_mode_resolver_text(kHost, {}), kHost);
  EXPECT_EQ(nameservers_of(*host_mode_resolver_text(kHost, {"192.0.2.1"})),
            std::vector<std::string>{"192.0.2.1"});
}

TEST(CheckHostname, TakesUpTo64Characters) {
  EXPECT_TRUE(check_hostname(std::string(64, 'a')));
  EXPECT_FALSE(check_hostname(std::string(65, 'a')));
}
}  // namespace
}  // namespace gantry
