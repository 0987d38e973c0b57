#include "network/ipv4.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
TEST(Ipv4, ReadsAndPrintsDottedQuads) {
  auto address = Ipv4::parse("10.89.0.2");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->value, 0x0a590002u);
  EXPECT_EQ(address->to_string(), "10.89.0.2");
}

TEST(Ipv4, RefusesWhatIsNotADottedQuad) {
  for (const char* text : {"", "10.89.0", "10.89.0.256", "10.89.0.2 ", "::1", "010.1.1.1", "a"}) {
    auto address = Ipv4::parse(text);
    ASSERT_FALSE(address) << text;
    EXPECT_TRUE(address.error().is(Errc::invalid)) << text;
  }
}

TEST(Ipv4Subnet, KnowsItsParts) {
  auto subnet = Ipv4Subnet::parse("10.89.0.0/16");
  ASSERT_TRUE(subnet);
  EXPECT_EQ(subnet->gateway().to_string(), "10.89.0.1");
  EXPECT_EQ(subnet->broadcast().to_string(), "10.89.255.255");
  EXPECT_TRUE(subnet->contains(Ipv4{0x0a59ffff}));
  EXPECT_FALSE(subnet->contains(Ipv4{0x0a5a0000}));
}

TEST(Ipv4Subnet, SaysWhichSubnetWasMeantWhenHostBitsAreSet) {
  auto subnet = Ipv4Subnet::parse("10.89.1.7/24");
  ASSERT_FALSE(subnet);
  EXPECT_NE(subnet.error().to_string().find("10.89.1.0/24"), std::string::npos);
  for (const char* text : {"10.89.0.0", "10.89.0.0/", "10.89.0.0/33", "10.89.0.0/-1", "x/8"}) {
    EXPECT_FALSE(Ipv4Subnet::parse(text)) << text;
  }
}

TEST(Ipv4Subnet, OverlapsInBothDirectionsAndNotBeside) {
  auto wide = *Ipv4Subnet::parse("10.0.0.0/8");
  auto narrow = *Ipv4Subnet::parse("10.89.3.0/24");
  auto beside = *Ipv4Subnet::parse("10.89.4.0/24");
  auto all = *Ipv4Subnet::parse("0.0.0.0/0");
  EXPECT_TRUE(wide.overlaps(narrow));
  EXPECT_TRUE(narrow.overlaps(wide));
  EXPECT_FALSE(narrow.overlaps(beside));
  EXPECT_TRUE(all.overlaps(beside));
}

TEST(MacOf, IsLocalUnicastAndDifferentPerAddress) {
  MacAddress mac = mac_of(Ipv4{0x0a590002});
  EXPECT_EQ(mac[0] & 3, 2);  // locally administered, unicast
  EXPECT_EQ(mac, mac_of(Ipv4{0x0a590002}));
  EXPECT_NE(mac, mac_of(Ipv4{0x0a590003}));
}
}  // namespace
}  // namespace gantry
