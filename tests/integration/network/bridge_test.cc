// Who reaches whom, and what is left afterwards.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/sys.h"
#include "tests/integration/network/world.h"

namespace gantry::testing {
namespace {
using Protocol = PortMapping::Protocol;

class Bridge : public World {};

TEST_F(Bridge, ContainersReachEachOtherTheGatewayAndOutside) {
  auto network = make_network();
  Space a, b;
  std::string address_a = join(*network, "a", a).address.to_string();
  std::string address_b = join(*network, "b", b).address.to_string();
  // The first packet of all: nothing may be lost on a link that has just come up.
  EXPECT_LT(ping(a.net(), address_b), 50);
  EXPECT_GE(ping(a.net(), address_b), 0);
  EXPECT_GE(ping(b.net(), address_a), 0);
  EXPECT_GE(ping(a.net(), "10.89.0.1"), 0);
  EXPECT_GE(ping(-1, address_a), 0);
  // Outside knows no route to 10.89.0.0/16: an answer means masquerade.
  EXPECT_GE(ping(a.net(), "192.0.2.2"), 0);
  auto listener = tcp_listener(outside_->net(), 7000);
  ASSERT_EQ(tcp_connect(a.net(), "192.0.2.2", 7000).error, 0);
  EXPECT_EQ(accepted_from(listener), "192.0.2.1");
  leave(*network, "a");
  leave(*network, "b");
}

TEST_F(Bridge, APublishedPortIsReachedFromEverywhereItShouldBe) {
  auto network = make_network();
  Space server, client;
  NetworkLease lease = join(*network, "server", server, {{8080, 80, Protocol::tcp, ""}});
  NetworkLease other = join(*network, "client", client);
  auto listener = tcp_listener(server.net(), 80);
  struct Case {
    const char* from;
    int net;
    std::string to;
    std::string seen_as;
  };
  for (const Case& c : std::vector<Case>{
           {"outside", outside_->net(), "192.0.2.1", "192.0.2.2"},
           {"the host by its address", -1, "192.0.2.1", "10.89.0.1"},
           {"the host by 127.0.0.1", -1, "127.0.0.1", "10.89.0.1"},
           {"the host by the gateway", -1, "10.89.0.1", "10.89.0.1"},
           {"another container", client.net(), "10.89.0.1", "10.89.0.1"},
           {"another container by the host's address", client.net(), "192.0.2.1", "10.89.0.1"},
           {"the container itself", server.net(), "192.0.2.1", "10.89.0.1"}}) {
    EXPECT_EQ(tcp_connect(c.net, c.to, 8080).error, 0) << c.from;
    EXPECT_EQ(accepted_from(listener), c.seen_as) << c.from;
  }
  leave(*network, "server");
  // Refused at once, not a timeout.
  EXPECT_EQ(tcp_connect(outside_->net(), "192.0.2.1", 8080).error, ECONNREFUSED);
  EXPECT_EQ(tcp_connect(-1, "127.0.0.1", 8080).error, ECONNREFUSED);
  leave(*network, "client");
}

TEST_F(Bridge, APortPublishedOnLoopbackIsNotReachedFromElsewhere) {
  auto network = make_network();
  Space server;
  join(*network, "server", server, {{8080, 80, Protocol::tcp, "127.0.0.1"}});
  auto listener = tcp_listener(server.net(), 80);
  EXPECT_EQ(tcp_connect(-1, "127.0.0.1", 8080).error, 0);
  EXPECT_EQ(tcp_connect(outside_->net(), "192.0.2.1", 8080).error, ECONNREFUSED);
  // Nor by a packet for 127.0.0.1 that comes in from outside (CVE-2020-8558).
  shell(
      "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via 192.0.2.1; "
      "sysctl -qw net.ipv4.conf.all.route_localnet=1",
      outside_->net());
  EXPECT_NE(tcp_connect(outside_->net(), "127.0.0.1", 8080).error, 0);
  leave(*network, "server");
}

TEST_F(Bridge, AContainerDoesNotReachTheHostsLoopback) {
  auto network = make_network();
  Space a;
  join(*network, "a", a);
  auto listener = tcp_listener(-1, 7100, "127.0.0.1");
  // As root of the container with CAP_NET_ADMIN would: loopback by way of the gateway.
  shell(
      "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via 10.89.0.1; "
      "sysctl -qw net.ipv4.conf.all.route_localnet=1",
      a.net());
  EXPECT_EQ(tcp_connect(a.net(), "127.0.0.1", 7100).error, ETIMEDOUT);
  leave(*network, "a");
}

TEST_F(Bridge, OutsideDoesNotReachContainersDirectly) {
  auto network = make_network();
  Space a;
  std::string address = join(*network, "a", a).address.to_string();
  auto listener = tcp_listener(a.net(), 80);
  shell("ip route add 10.89.0.0/16 via 192.0.2.1", outside_->net());
  EXPECT_EQ(tcp_connect(outside_->net(), address, 80).error, ETIMEDOUT);
  EXPECT_EQ(tcp_connect(-1, address, 80).error, 0);  // the host does
  leave(*network, "a");
}

TEST_F(Bridge, PublishedUdpAnswersAlsoAClientThatSentTooEarly) {
  auto network = make_network();
  Space server;
  auto client = udp_socket(outside_->net(), "192.0.2.2", 5000);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(5353);
  to.sin_addr.s_addr = htonl(0xc0000201);
  auto send = [&] {
    ::sendto(client.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
  };
  send();  // now tracked as not translated
  Space first;
  join(*network, "first", first, {{5353, 53, Protocol::udp, ""}});
  auto service = udp_socket(first.net(), "0.0.0.0", 53);
  // The refusal of the first packet may still be waiting on the socket.
  char byte;
  ::recv(client.get(), &byte, 1, MSG_DONTWAIT);
  send();
  pollfd entry{service.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 1000), 1);
  // The next container of the same port gets the packets, not the one that has gone.
  leave(*network, "first");
  join(*network, "server", server, {{5353, 53, Protocol::udp, ""}});
  auto next = udp_socket(server.net(), "0.0.0.0", 53);
  send();
  entry.fd = next.get();
  EXPECT_EQ(::poll(&entry, 1, 1000), 1);
  leave(*network, "server");
}

TEST_F(Bridge, AContainerSeesItsAddressRouteAndSafeSysctls) {
  auto network = make_network();
  Space a;
  NetworkLease lease = join(*network, "a", a);
  std::string links = shell("ip -o addr show eth0; ip route", a.net());
  EXPECT_NE(links.find("inet " + lease.address.to_string() + "/16"), std::string::npos) << links;
  EXPECT_NE(links.find("default via 10.89.0.1"), std::string::npos) << links;
  EXPECT_EQ(links.find("inet6"), std::string::npos) << links;
  EXPECT_EQ(shell("sysctl -n net.ipv4.conf.eth0.forwarding net.ipv6.conf.eth0.accept_ra "
                  "net.ipv4.ip_unprivileged_port_start",
                  a.net()),
            "0\n0\n0\n");
  EXPECT_EQ(
      shell("ip -6 -o addr show dev gantry0; ip -6 -o addr show dev " + link_name("", id_of("a"))),
      "");
  leave(*network, "a");
}

TEST_F(Bridge, TheMtuIsTheUplinks) {
  shell("ip link set up0 mtu 1400");
  auto network = make_network();
  Space a;
  join(*network, "a", a);
  EXPECT_EQ(shell("cat /proc/sys/net/ipv6/conf/eth0/mtu", a.net()), "1400\n");
  leave(*network, "a");
}

TEST_F(Bridge, CountersAreTheContainersView) {
  auto network = make_network();
  Space a;
  join(*network, "a", a);
  auto before = *loop_.run(network->counters(id_of("a")));
  auto sender = udp_socket(a.net(), "0.0.0.0", 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  to.sin_addr.s_addr = htonl(0xc0000202);
  std::string payload(1000, 'x');
  for (int i = 0; i < 10; ++i) {
    ::sendto(sender.get(), payload.data(), payload.size(), 0, reinterpret_cast<sockaddr*>(&to),
             sizeof to);
  }
  auto after = *loop_.run(network->counters(id_of("a")));
  EXPECT_GE(after.sent - before.sent, 10'000u);
  EXPECT_LT(after.received - before.received, 10'000u);
  leave(*network, "a");
}

TEST_F(Bridge, NothingIsLeftWhenTheLastContainerAndTheNetworkAreGone) {
  std::string before = host_state();
  {
    auto network = make_network();
    Space a, b;
    join(*network, "a", a, {{8080, 80, Protocol::tcp, ""}, {8053, 53, Protocol::udp, ""}});
    join(*network, "b", b, {{8081, 80, Protocol::tcp, "127.0.0.1"}});
    EXPECT_NE(host_state(), before);
    a.kill();
    leave(*network, "a");  // the namespace took the link along
    leave(*network, "b");  // still alive: the link is removed
    leave(*network, "b");  // again: fine
    leave(*network, "never-heard-of");
    EXPECT_EQ(network->members(), 0u);
    ASSERT_TRUE(loop_.run(network->close()));
    EXPECT_EQ(host_state(), before);
  }
  EXPECT_EQ(host_state(), before);
}

TEST_F(Bridge, ExhaustionIsTypedAndTenTimesThePoolLeaksNothing) {
  auto network = make_network("10.77.0.0/29");
  for (int round = 0; round < 50; ++round) {
    Space space;
    std::string id = "c" + std::to_string(round);
    join(*network, id, space);
    space.kill();
    leave(*network, id);
  }
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(loop_.run(network->reserve(id_of("full" + std::to_string(i)), {})));
  }
  auto none = loop_.run(network->reserve(id_of("one-too-many"), {}));
  ASSERT_FALSE(none);
  EXPECT_TRUE(none.error().is(Errc::exhausted));
  for (int i = 0; i < 5; ++i) leave(*network, "full" + std::to_string(i));
  EXPECT_EQ(network->members(), 0u);
}

TEST_F(Bridge, AConfiguredSubnetThatOverlapsNamesWhatIsInTheWay) {
  auto network = make_network("192.0.2.0/25");
  auto lease = loop_.run(network->reserve(id_of("a"), {}));
  ASSERT_FALSE(lease);
  EXPECT_TRUE(lease.error().is(Errc::conflict));
  EXPECT_NE(lease.error().to_string().find("192.0.2.1/24"), std::string::npos)
      << lease.error().to_string();
}

TEST_F(Bridge, WithoutAConfiguredSubnetAFreeOneIsChosen) {
  shell("ip route add 10.89.7.0/24 via 192.0.2.2; ip route add 10.90.0.0/15 via 192.0.2.2 table 7");
  auto network = make_network("");
  auto lease = loop_.run(network->reserve(id_of("a"), {}));
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->subnet.to_string(), "10.92.0.0/16");
  leave(*network, "a");
  shell("ip route flush table 7");
}
}  // namespace
}  // namespace gantry::testing
