// What others do to us, what dies in between, and many times over.
#include <dirent.h>
#include <malloc.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>

#include "base/scope.h"
#include "base/sys.h"
#include "tests/integration/network/world.h"

namespace gantry::testing {
namespace {
using Protocol = PortMapping::Protocol;
using std::chrono::milliseconds;

class BridgeFaults : public World {
 protected:
  // Whether `check` becomes true within a second, while the loop goes on.
  template <class Check>
  bool within_a_second(Check check) {
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < end) {
      if (check()) return true;
      loop_.context().restart();
      loop_.context().run_for(milliseconds(20));
    }
    return check();
  }
};

Co<void> ignore_end(Co<Result<void>> task) { (co_await std::move(task)).ignore("cancelled"); }
Co<bool> close_scope(Scope& scope) {
  co_await scope.close();
  co_return true;
}

std::string link_of(const std::string& id) { return link_name("", *ContainerId::parse(id)); }

TEST_F(BridgeFaults, AStaleLinkOfTheSameNameIsReplaced) {
  auto network = make_network();
  Space old_owner, owner;
  join(*network, "a", old_owner);
  // A second executor's memory knows nothing of it.
  auto next = make_network();
  join(*next, "a", owner);
  EXPECT_GE(ping(owner.net(), "10.89.0.1"), 0);
  leave(*next, "a");
  leave(*network, "a");
}

TEST_F(BridgeFaults, AForeignLinkOfTheSameNameIsLeftAloneAndNamed) {
  auto network = make_network();
  Space a;
  shell("ip link add " + link_of("a") + " type veth peer name foreign0");
  ASSERT_TRUE(loop_.run(network->reserve(id_of("a"), {{8080, 80, Protocol::tcp, ""}})));
  auto attached = loop_.run(network->attach(id_of("a"), a.identity(), a.pidfd()));
  ASSERT_FALSE(attached);
  EXPECT_TRUE(attached.error().is(Errc::conflict));
  EXPECT_NE(attached.error().to_string().find(link_of("a")), std::string::npos);
  leave(*network, "a");
  EXPECT_NE(shell("ip -o link").find("foreign0"), std::string::npos);
  shell("ip link del foreign0");
  EXPECT_EQ(shell("nft list ruleset").find("8080"), std::string::npos);
}

TEST_F(BridgeFaults, AForeignLinkOfTheBridgesNameIsLeftAloneAndNamed) {
  shell("ip link add gantry0 type bridge");
  auto network = make_network();
  Space a;
  ASSERT_TRUE(loop_.run(network->reserve(id_of("a"), {})));
  auto attached = loop_.run(network->attach(id_of("a"), a.identity(), a.pidfd()));
  ASSERT_FALSE(attached);
  EXPECT_TRUE(attached.error().is(Errc::conflict));
  leave(*network, "a");
  EXPECT_TRUE(loop_.run(network->close()));
  EXPECT_NE(shell("ip -o link").find("gantry0"), std::string::npos);
  shell("ip link del gantry0");
}

TEST_F(BridgeFaults, AProcessThatHasEndedOrSharesTheHostsNetworkIsRefused) {
  auto network = make_network();
  ASSERT_TRUE(loop_.run(network->reserve(id_of("a"), {})));
  UniqueFd self = *sys::pidfd_open(::getpid());
  auto attached = loop_.run(network->attach(id_of("a"), {::getpid(), 0, ""}, self.get()));
  ASSERT_FALSE(attached);
  EXPECT_TRUE(attached.error().is(Errc::invalid));
  Space gone;
  ProcessIdentity identity = gone.identity();
  gone.kill();
  attached = loop_.run(network->attach(id_of("a"), identity, gone.pidfd()));
  ASSERT_FALSE(attached);
  EXPECT_TRUE(attached.error().is(Errc::not_found)) << attached.error().to_string();
  leave(*network, "a");
}

TEST_F(BridgeFaults, ADeletedBridgeComesBackAtTheNextAttachWithEveryContainerOnIt) {
  auto network = make_network();
  Space a, b;
  std::string address_a = join(*network, "a", a).address.to_string();
  shell("ip link del gantry0");
  EXPECT_LT(ping(a.net(), "10.89.0.1", milliseconds(100)), 0);
  join(*network, "b", b);
  EXPECT_GE(ping(b.net(), address_a), 0);
  EXPECT_GE(ping(a.net(), "192.0.2.2"), 0);
  leave(*network, "a");
  leave(*network, "b");
}

TEST_F(BridgeFaults, FlushedRulesComeBackAtTheNextAttachWithEveryPort) {
  auto network = make_network();
  Space a, b;
  join(*network, "a", a, {{8080, 80, Protocol::tcp, ""}});
  auto listener = tcp_listener(a.net(), 80);
  shell("nft flush ruleset");
  EXPECT_NE(tcp_connect(outside_->net(), "192.0.2.1", 8080).error, 0);
  join(*network, "b", b);
  EXPECT_EQ(tcp_connect(outside_->net(), "192.0.2.1", 8080).error, 0);
  leave(*network, "a");
  leave(*network, "b");
}

TEST_F(BridgeFaults, MaintainedRulesAndBridgeAreBackWithinASecond) {
  auto network = make_network();
  Space a;
  std::string address = join(*network, "a", a, {{8080, 80, Protocol::tcp, ""}}).address.to_string();
  auto listener = tcp_listener(a.net(), 80);
  Scope scope(loop_.context().get_executor());
  // Two: one leads, the other takes over.
  scope.spawn(ignore_end(network->maintain()));
  scope.spawn(ignore_end(network->maintain()));
  loop_.context().restart();
  loop_.context().run_for(milliseconds(50));
  std::string rules = shell("nft -s list ruleset");
  for (const char* damage : {"nft flush ruleset", "nft delete table inet gantry",
                             "nft flush chain inet gantry forward", "nft flush ruleset"}) {
    shell(damage);
    EXPECT_TRUE(within_a_second([&] { return shell("nft -s list ruleset") == rules; })) << damage;
  }
  for (const char* damage : {"ip link del gantry0", "ip link set gantry0 down"}) {
    shell(damage);
    EXPECT_TRUE(within_a_second([&] { return ping(-1, address, milliseconds(50)) >= 0; }))
        << damage;
  }
  EXPECT_EQ(tcp_connect(outside_->net(), "192.0.2.1", 8080).error, 0);
  EXPECT_TRUE(loop_.run(close_scope(scope)));
  leave(*network, "a");
}

TEST_F(BridgeFaults, ANewExecutorAdoptsTheKnownAndRemovesTheRest) {
  std::string before = host_state();
  Space known, orphan;
  NetworkLease lease;
  {
    // Died with SIGKILL: no destructor. The members keep it from tidying up.
    auto network = make_network();
    lease = join(*network, "known", known, {{8080, 80, Protocol::tcp, ""}});
    join(*network, "orphan", orphan, {{8081, 80, Protocol::tcp, ""}});
  }
  auto listener = tcp_listener(known.net(), 80);
  auto network = make_network("");
  ASSERT_TRUE(loop_.run(network->recover({{id_of("known"), lease}})));
  EXPECT_EQ(tcp_connect(outside_->net(), "192.0.2.1", 8080).error, 0);
  EXPECT_EQ(shell("ip -o link").find(link_of("orphan")), std::string::npos);
  EXPECT_EQ(shell("nft list ruleset").find("8081"), std::string::npos);
  // Its address and port are taken, the orphan's are free again.
  EXPECT_FALSE(loop_.run(network->reserve(id_of("x"), {{8080, 80, Protocol::tcp, ""}})));
  auto next = loop_.run(network->reserve(id_of("x"), {{8081, 80, Protocol::tcp, ""}}));
  ASSERT_TRUE(next);
  EXPECT_NE(next->address, lease.address);
  EXPECT_EQ(next->subnet, lease.subnet);
  leave(*network, "x");
  leave(*network, "known");
  ASSERT_TRUE(loop_.run(network->close()));
  EXPECT_EQ(host_state(), before);
}

TEST_F(BridgeFaults, ANewExecutorWithoutContainersRemovesEverything) {
  std::string before = host_state();
  Space orphan;
  {
    auto network = make_network();
    join(*network, "orphan", orphan, {{8081, 80, Protocol::tcp, ""}});
  }
  auto network = make_network();
  ASSERT_TRUE(loop_.run(network->recover({})));
  EXPECT_EQ(host_state(), before);
}

TEST_F(BridgeFaults, ExecutorsOfOneHostLeaveEachOthersContainersAlone) {
  BridgeOptions options;
  options.instance = "0abc12";
  BridgeNetwork first(loop_.context().get_executor(), options);
  Space a, b, other_a;
  join(first, "a", a, {{8080, 80, Protocol::tcp, ""}});
  auto second = make_network("");
  ASSERT_TRUE(loop_.run(second->recover({})));
  NetworkLease lease = join(*second, "b", b);
  join(*second, "a", other_a);
  EXPECT_FALSE(lease.subnet.overlaps(first.lease(id_of("a"))->subnet));
  EXPECT_GE(ping(a.net(), "192.0.2.2"), 0);
  EXPECT_GE(ping(b.net(), "192.0.2.2"), 0);
  // Two networks: no way from one to the other but by published ports.
  EXPECT_LT(ping(b.net(), first.lease(id_of("a"))->address.to_string(), milliseconds(200)), 0);
  auto listener = tcp_listener(a.net(), 80);
  EXPECT_EQ(tcp_connect(b.net(), "192.0.2.1", 8080).error, 0);
  leave(first, "a");
  EXPECT_GE(ping(other_a.net(), "192.0.2.2"), 0);
  leave(*second, "a");
  leave(*second, "b");
}

size_t open_descriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  size_t count = 0;
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

TEST_F(BridgeFaults, AThousandAttachesLeaveNothingAndAreFast) {
  using Ms = std::chrono::duration<double, std::milli>;
  auto now = [] { return std::chrono::steady_clock::now(); };
  auto network = make_network();
  // One that stays, so that the bridge does.
  Space resident;
  join(*network, "resident", resident, {{8079, 80, Protocol::tcp, ""}});
  // Wall time is the machine's mood too; the processor time of all our threads is not.
  auto cpu_now = [] {
    timespec time;
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return double(time.tv_sec) * 1e3 + double(time.tv_nsec) / 1e6;
  };
  std::vector<double> attach_ms, attach_cpu_ms, detach_ms;
  size_t fds = 0, bytes = 0;
  std::string state;
  constexpr int kRounds = 100, kTogether = 10;
  for (int round = 0; round < kRounds; ++round) {
    if (round == 10) {
      fds = open_descriptors();
      bytes = ::mallinfo2().uordblks;
      state = host_state();
    }
    std::vector<std::unique_ptr<Space>> spaces;
    for (uint16_t i = 0; i < kTogether; ++i) {
      auto& space = *spaces.emplace_back(std::make_unique<Space>());
      space.forget_net();
      ContainerId id = id_of("c" + std::to_string(i));
      PortMapping port{uint16_t(8080 + i), 80, Protocol::tcp, ""};
      auto begin = now();
      double cpu_begin = cpu_now();
      ASSERT_TRUE(loop_.run(network->reserve(id, {port})));
      auto attached = loop_.run(network->attach(id, space.identity(), space.pidfd()));
      ASSERT_TRUE(attached) << attached.error().to_string();
      attach_ms.push_back(Ms(now() - begin).count());
      attach_cpu_ms.push_back(cpu_now() - cpu_begin);
    }
    spaces.clear();
    auto begin = now();
    for (int i = 0; i < kTogether; ++i) leave(*network, "c" + std::to_string(i));
    detach_ms.push_back(Ms(now() - begin).count() / kTogether);
  }
  EXPECT_EQ(open_descriptors(), fds);
  EXPECT_EQ(host_state(), state);
  // The pool remembers 900 more returned addresses, 4 bytes each.
  EXPECT_LT(::mallinfo2().uordblks, bytes + (64u << 10));
  for (auto* times : {&attach_ms, &attach_cpu_ms, &detach_ms}) std::ranges::sort(*times);
  std::printf(
      "attach with a published port: median %.2f ms, p99 %.2f ms (processor %.2f ms); "
      "detach, ten at a time: median %.2f ms each\n",
      attach_ms[500], attach_ms[990], attach_cpu_ms[500], detach_ms[50]);
  leave(*network, "resident");
}
}  // namespace
}  // namespace gantry::testing
