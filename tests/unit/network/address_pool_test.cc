#include "network/address_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace gantry {
namespace {
Ipv4Subnet small() { return *Ipv4Subnet::parse("10.1.2.8/29"); }  // .10 … .14 are to give

TEST(AddressPool, NeverGivesNetworkGatewayOrBroadcast) {
  AddressPool pool(small());
  EXPECT_EQ(pool.capacity(), 5u);
  std::set<std::string> given;
  for (size_t i = 0; i < pool.capacity(); ++i) given.insert(pool.lease()->to_string());
  EXPECT_EQ(given, (std::set<std::string>{"10.1.2.10", "10.1.2.11", "10.1.2.12", "10.1.2.13",
                                          "10.1.2.14"}));
}

TEST(AddressPool, ExhaustionIsATypedErrorWithTheCounts) {
  AddressPool pool(small());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(pool.lease());
  auto none = pool.lease();
  ASSERT_FALSE(none);
  EXPECT_TRUE(none.error().is(Errc::exhausted));
  EXPECT_NE(none.error().to_string().find("all 5 of 10.1.2.8/29"), std::string::npos);
}

TEST(AddressPool, TenTimesItsSizeLeaksNothing) {
  AddressPool pool(small());
  for (size_t i = 0; i < 10 * pool.capacity(); ++i) {
    auto address = pool.lease();
    ASSERT_TRUE(address) << i;
    pool.release(*address);
  }
  EXPECT_EQ(pool.leased(), 0u);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(pool.lease());
}

TEST(AddressPool, GivesTheLongestReturnedAddressFirst) {
  AddressPool pool(small());
  std::vector<Ipv4> all;
  for (int i = 0; i < 5; ++i) all.push_back(*pool.lease());
  pool.release(all[3]);
  pool.release(all[0]);
  EXPECT_EQ(*pool.lease(), all[3]);
  EXPECT_EQ(*pool.lease(), all[0]);
}

TEST(AddressPool, AnUnusedAddressIsPreferredToAReturnedOne) {
  AddressPool pool(small());
  Ipv4 first = *pool.lease();
  pool.release(first);
  EXPECT_NE(*pool.lease(), first);
}

TEST(AddressPool, AFormerAddressIsGivenAgainUnlessSomebodyHasIt) {
  AddressPool pool(small());
  const Ipv4 first = *pool.lease();
  pool.release(first);
  EXPECT_EQ(*pool.lease(first), first);
  const Ipv4 second = *pool.lease(first);
  EXPECT_NE(second, first);
  pool.release(first);
  EXPECT_EQ(*pool.lease(first), first);
  for (int i = 0; i < 3; ++i) EXPECT_NE(*pool.lease(), first);
  EXPECT_FALSE(pool.lease());
}

TEST(AddressPool, AdoptedAddressesAreNotGivenAgain) {
  AddressPool pool(small());
  ASSERT_TRUE(pool.adopt(Ipv4{small().base.value + 3}));
  std::set<Ipv4> given;
  for (int i = 0; i < 4; ++i) given.insert(*pool.lease());
  EXPECT_FALSE(given.contains(Ipv4{small().base.value + 3}));
  EXPECT_FALSE(pool.lease());
  pool.release(Ipv4{small().base.value + 3});
  EXPECT_EQ(pool.lease()->value, small().base.value + 3);
}

TEST(AddressPool, AdoptRefusesWhatIsTakenOrNotItsOwn) {
  AddressPool pool(small());
  Ipv4 address = *pool.lease();
  EXPECT_TRUE(pool.adopt(address).error().is(Errc::conflict));
  for (uint32_t offset : {0u, 1u, 7u, 8u}) {
    EXPECT_TRUE(pool.adopt(Ipv4{small().base.value + offset}).error().is(Errc::invalid)) << offset;
  }
}

TEST(AddressPool, ReleasingTwiceGivesTheAddressOnce) {
  AddressPool pool(small());
  Ipv4 address = *pool.lease();
  pool.release(address);
  pool.release(address);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(pool.lease()) << i;
  EXPECT_FALSE(pool.lease());
}
}  // namespace
}  // namespace gantry
