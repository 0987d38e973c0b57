#include "network/port_reservations.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace gantry {
namespace {
using Protocol = PortMapping::Protocol;

UniqueFd bind_to(uint16_t port, int type, bool listens) {
  UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  int on = 1;
  if (listens) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_ANY);
  name.sin_port = htons(port);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) return {};
  if (listens && ::listen(fd.get(), 1) != 0) return {};
  return fd;
}

// One that was free a moment ago.
uint16_t some_port() {
  UniqueFd fd = bind_to(0, SOCK_STREAM, false);
  sockaddr_in name{};
  socklen_t size = sizeof name;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size);
  return ntohs(name.sin_port);
}

PortMapping mapping(uint16_t port, Protocol protocol = Protocol::tcp, std::string ip = "") {
  return {port, 80, protocol, std::move(ip)};
}

TEST(PortReservations, HoldsThePortAgainstEverybodyUntilReleased) {
  PortReservations ports;
  uint16_t port = some_port();
  ASSERT_TRUE(ports.reserve("web", {mapping(port)}));
  EXPECT_FALSE(bind_to(port, SOCK_STREAM, true).valid());
  ports.release("web");
  EXPECT_TRUE(bind_to(port, SOCK_STREAM, true).valid());
}

TEST(PortReservations, NamesThePortThatAnotherProcessHas) {
  PortReservations ports;
  uint16_t port = some_port();
  UniqueFd other = bind_to(port, SOCK_STREAM, true);
  ASSERT_TRUE(other.valid());
  auto result = ports.reserve("web", {mapping(port)});
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is(Errc::conflict));
  EXPECT_NE(result.error().to_string().find("another process"), std::string::npos);
  EXPECT_NE(result.error().to_string().find(std::to_string(port)), std::string::npos);
}

TEST(PortReservations, NamesTheContainerThatHasThePort) {
  PortReservations ports;
  uint16_t port = some_port();
  ASSERT_TRUE(ports.reserve("web", {mapping(port)}));
  auto result = ports.reserve("api", {mapping(port, Protocol::tcp, "127.0.0.1")});
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is(Errc::conflict));
  EXPECT_NE(result.error().to_string().find("container web"), std::string::npos);
}

TEST(PortReservations, NamesAContainerAsPeopleDo) {
  PortReservations ports([](const std::string& owner) { return owner + " the Great"; });
  const uint16_t port = some_port();
  ASSERT_TRUE(ports.reserve("web", {mapping(port)}));
  const auto result = ports.reserve("api", {mapping(port)});
  EXPECT_NE(result.error().to_string().find("container web the Great; "), std::string::npos);
}

TEST(PortReservations, ChoosesFreePortsAndHoldsThem) {
  PortReservations ports;
  auto first = ports.reserve("web", {mapping(0), mapping(0)});
  ASSERT_TRUE(first);
  EXPECT_NE((*first)[0].host_port, 0);
  EXPECT_NE((*first)[0].host_port, (*first)[1].host_port);
  EXPECT_FALSE(ports.reserve("api", {mapping((*first)[0].host_port)}));
  ports.release("web");
  EXPECT_TRUE(ports.reserve("api", {mapping((*first)[0].host_port)}));
}

TEST(PortReservations, SameNumberWithOtherProtocolOrOtherAddressIsNoConflict) {
  PortReservations ports;
  uint16_t port = some_port();
  EXPECT_TRUE(ports.reserve("a", {mapping(port, Protocol::tcp, "127.0.0.1")}));
  EXPECT_TRUE(ports.reserve("b", {mapping(port, Protocol::tcp, "127.0.0.2")}));
  EXPECT_TRUE(ports.reserve("c", {mapping(port, Protocol::udp)}));
  EXPECT_FALSE(ports.reserve("d", {mapping(port)}));
}

TEST(PortReservations, IsAllOrNothing) {
  PortReservations ports;
  uint16_t first = some_port();
  auto result = ports.reserve("web", {mapping(first), mapping(first)});
  ASSERT_FALSE(result);
  EXPECT_EQ(ports.size(), 0u);
  EXPECT_TRUE(bind_to(first, SOCK_STREAM, true).valid());
}

TEST(PortReservations, BadMappingsNameTheField) {
  PortReservations ports;
  PortMapping no_container_port{8080, 0, Protocol::tcp, ""};
  for (const PortMapping& bad :
       {no_container_port, mapping(8080, Protocol::tcp, "localhost"),
        mapping(8080, Protocol::tcp, "::1"), mapping(8080, Protocol::tcp, "203.0.113.9")}) {
    auto result = ports.reserve("web", {bad});
    ASSERT_FALSE(result);
    EXPECT_TRUE(result.error().is(Errc::invalid)) << result.error().to_string();
    EXPECT_NE(result.error().to_string().find("network.ports"), std::string::npos);
  }
}

TEST(PortReservations, AdoptKeepsWhatAnotherTookMeanwhileAndSaysSo) {
  PortReservations ports;
  uint16_t taken = some_port(), free = some_port();
  UniqueFd other = bind_to(taken, SOCK_STREAM, true);
  auto without = ports.adopt("web", {mapping(taken), mapping(free)});
  ASSERT_EQ(without.size(), 1u);
  EXPECT_EQ(without[0].host_port, taken);
  EXPECT_EQ(ports.size(), 2u);
  EXPECT_FALSE(ports.reserve("api", {mapping(taken)}));
}
}  // namespace
}  // namespace gantry
