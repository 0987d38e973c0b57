#include <gtest/gtest.h>

#include "network/network.h"

namespace gantry {
namespace {
NetworkLease example() {
  NetworkLease lease{*Ipv4::parse("10.89.0.7"), *Ipv4Subnet::parse("10.89.0.0/16"), {}};
  lease.ports.push_back({8080, 80, PortMapping::Protocol::tcp, ""});
  lease.ports.push_back({53, 5353, PortMapping::Protocol::udp, "127.0.0.1"});
  return lease;
}

TEST(NetworkLease, ComesBackFromItsRecordAsItWas) {
  std::string text = to_record(example());
  EXPECT_EQ(text, "10.89.0.7 10.89.0.0/16 tcp,,8080,80 udp,127.0.0.1,53,5353");
  auto back = parse_lease(text);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, example());
  EXPECT_EQ(back->ports[1].host_ip, "127.0.0.1");
}

TEST(NetworkLease, DamagedRecordsAreCorruptNotFatal) {
  std::string whole = to_record(example());
  for (const std::string& text :
       {std::string(), std::string("10.89.0.7"), std::string("10.90.0.7 10.89.0.0/16"),
        whole + " x", whole + " tcp,,70000,80", whole + " sctp,,1,1", whole + ",9"}) {
    auto lease = parse_lease(text);
    ASSERT_FALSE(lease) << text;
    EXPECT_TRUE(lease.error().is(Errc::corrupt)) << text;
  }
}
}  // namespace
}  // namespace gantry
