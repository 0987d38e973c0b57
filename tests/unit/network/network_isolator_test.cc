// The isolator's own part (modes, files, records, plan) over a network in memory; the real network
// is tests/integration/network.
#include "network/network_isolator.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>

#include "base/str.h"
#include "base/sys.h"

namespace gantry {
namespace {
class MemoryNetwork final : public Network {
 public:
  Co<Result<NetworkLease>> reserve(ContainerId id, std::vector<PortMapping> ports) override {
    if (members.size() >= 2) co_return Error(Errc::exhausted, "full");
    NetworkLease lease{{0x0a590002u + uint32_t(members.size())},
                       *Ipv4Subnet::parse("10.89.0.0/16"),
                       std::move(ports)};
    members.emplace(id, lease);
    co_return lease;
  }
  Co<Result<void>> attach(ContainerId, ProcessIdentity, int) override { co_return Result<void>(); }
  Co<Result<void>> detach(ContainerId id) override {
    ++detached;
    members.erase(id);
    co_return Result<void>();
  }
  Co<Result<void>> recover(std::vector<std::pair<ContainerId, NetworkLease>> known) override {
    members.insert(known.begin(), known.end());
    co_return Result<void>();
  }
  Co<Result<LinkCounters>> counters(ContainerId) override { co_return LinkCounters{7, 9}; }
  Co<Result<void>> maintain() override { co_return Result<void>(); }
  Co<Result<void>> close() override { co_return Result<void>(); }

  std::map<ContainerId, NetworkLease> members;
  int detached = 0;
};

class NetworkIsolatorTest : public ::testing::Test {
 protected:
  NetworkIsolatorTest() {
    char name[] = "/tmp/gantry-network-XXXXXX";
    directory_ = ::mkdtemp(name);
    restart();
  }
  ~NetworkIsolatorTest() override {
    for (const char* file : {"hosts", "hostname", "resolv.conf"}) {
      ::unlink(cat(directory_, "/", file).c_str());
    }
    ::rmdir(directory_.c_str());
  }
  void restart() {
    auto network = std::make_unique<MemoryNetwork>();
    network_ = network.get();
    isolator_ = std::make_unique<NetworkIsolator>(std::move(network));
  }
  template <class T>
  T run(Co<T> task) {
    std::optional<T> out;
    asio::io_context loop;
    asio::co_spawn(
        loop,
        [](Co<T> inner, std::optional<T>& slot) -> Co<void> {
          slot.emplace(co_await std::move(inner));
        }(std::move(task), out),
        [](std::exception_ptr e) {
          if (e) std::rethrow_exception(e);
        });
    loop.run();
    return std::move(*out);
  }
  LaunchContext context(Rootfs::Kind root = Rootfs::Kind::directory) {
    LaunchContext out{id_, id_.directory_name(), spec_, {}, {}, "", directory_, "box"};
    out.rootfs.kind = root;
    out.rootfs.directory = "/nowhere";
    return out;
  }
  Result<void> prepare(Rootfs::Kind root = Rootfs::Kind::directory) {
    builder_ = LaunchPlan::Builder();
    LaunchContext now = context(root);
    return run(isolator_->prepare(now, builder_));
  }
  // "SOURCE TARGET" of every bind of the plan.
  std::vector<std::string> binds() {
    builder_.set_args({"/bin/true"});
    Op exec;
    exec.kind = OpKind::kExec;
    exec.s1 = builder_.str("/bin/true");
    builder_.add(Stage::exec, exec);
    plan_ = std::make_unique<LaunchPlan>(*std::move(builder_).seal());
    std::vector<std::string> out;
    for (const Op& op : plan_->ops()) {
      if (op.kind == OpKind::kBind) out.push_back(std::string(plan_->string(op.s2)));
    }
    return out;
  }
  std::string file(const char* name) {
    return sys::read_file(cat(directory_, "/", name)).value_or("missing");
  }

  ContainerId id_ = *ContainerId::parse("c1");
  ContainerSpec spec_{.root = DirectoryRoot{"/nowhere"}};
  std::string directory_;
  MemoryNetwork* network_ = nullptr;
  std::unique_ptr<NetworkIsolator> isolator_;
  LaunchPlan::Builder builder_;
  std::unique_ptr<LaunchPlan> plan_;
};

using Mode = NetworkSpec::Mode;

TEST_F(NetworkIsolatorTest, ModeNoneGetsFilesAndNoLink) {
  ASSERT_TRUE(prepare());
  EXPECT_EQ(binds(), (std::vector<std::string>{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}));
  EXPECT_EQ(file("hostname"), "box\n");
  EXPECT_NE(file("hosts").find("127.0.1.1\tbox"), std::string::npos);
  EXPECT_TRUE(network_->members.empty());
  EXPECT_FALSE(isolator_->watches(id_));
  Usage usage;
  ASSERT_TRUE(run(isolator_->usage(id_, usage)));
  EXPECT_FALSE(usage.net_received.has_value());
}

TEST_F(NetworkIsolatorTest, ModeBridgeNamesTheAddressAndCounts) {
  spec_.network.mode = Mode::bridge;
  spec_.network.ports = {{8080, 80, PortMapping::Protocol::tcp, ""}};
  ASSERT_TRUE(prepare());
  EXPECT_NE(file("hosts").find("10.89.0.2\tbox"), std::string::npos);
  EXPECT_TRUE(isolator_->watches(id_));
  Usage usage;
  ASSERT_TRUE(run(isolator_->usage(id_, usage)));
  EXPECT_EQ(usage.net_received, 7u);
  EXPECT_EQ(usage.net_sent, 9u);
}

TEST_F(NetworkIsolatorTest, ModeHostHasTheHostsFiles) {
  spec_.network.mode = Mode::host;
  ASSERT_TRUE(prepare());
  EXPECT_EQ(file("resolv.conf"), sys::read_file("/etc/resolv.conf").value_or(""));
}

TEST_F(NetworkIsolatorTest, TheHostsRootIsNeverBoundOver) {
  ASSERT_TRUE(prepare(Rootfs::Kind::host));
  EXPECT_TRUE(binds().empty());
  EXPECT_EQ(file("hosts"), "missing");
}

TEST_F(NetworkIsolatorTest, TheUsersOwnMountOnAFileWins) {
  MountSpec mount;
  mount.source = "/srv/hosts";
  mount.destination = "/etc/hosts";
  spec_.mounts = {mount};
  ASSERT_TRUE(prepare());
  EXPECT_EQ(binds(), (std::vector<std::string>{"/etc/hostname", "/etc/resolv.conf"}));
}

TEST_F(NetworkIsolatorTest, NothingIsMadeInAUsersEtc) {
  MountSpec mount;
  mount.source = "/srv/etc";
  mount.destination = "/etc/";
  spec_.mounts = {mount};
  ASSERT_TRUE(prepare());
  ASSERT_EQ(binds().size(), 3u);
  for (const Op& op : plan_->ops()) {
    if (op.kind != OpKind::kBind) continue;
    EXPECT_EQ(op.b & kBindMakeFile, 0u);
    EXPECT_NE(op.flags & kOpOptional, 0);
  }
}

TEST_F(NetworkIsolatorTest, WhatCannotBeIsRefusedNamingTheField) {
  spec_.network.ports = {{8080, 80, PortMapping::Protocol::tcp, ""}};
  auto ports = prepare();
  ASSERT_FALSE(ports);
  EXPECT_NE(ports.error().to_string().find("network.ports"), std::string::npos);
  ASSERT_TRUE(run(isolator_->cleanup(id_)));
  spec_.network.mode = Mode::bridge;
  spec_.namespaces.network.kind = NamespaceChoice::Kind::host;
  auto host = prepare();
  ASSERT_FALSE(host);
  EXPECT_NE(host.error().to_string().find("network.mode"), std::string::npos);
}

TEST_F(NetworkIsolatorTest, AFailedPrepareIsCleanedUpCompletely) {
  spec_.network.mode = Mode::bridge;
  spec_.network.dns_servers = {"not an address"};
  ASSERT_FALSE(prepare());
  ASSERT_TRUE(run(isolator_->cleanup(id_)));
  EXPECT_TRUE(network_->members.empty());
  EXPECT_EQ(isolator_->record(id_), "");
}

TEST_F(NetworkIsolatorTest, ANewExecutorKnowsTheSameFromTheRecord) {
  spec_.network.mode = Mode::bridge;
  spec_.network.ports = {{8080, 80, PortMapping::Protocol::udp, "127.0.0.1"}};
  ASSERT_TRUE(prepare());
  std::string record = isolator_->record(id_);
  restart();
  ASSERT_TRUE(run(isolator_->recover({{id_, "c1", {}, record, &spec_}})));
  EXPECT_EQ(isolator_->record(id_), record);
  ASSERT_EQ(network_->members.size(), 1u);
  EXPECT_TRUE(isolator_->watches(id_));
  // Cleanup frees the link and the files, once and again.
  ASSERT_TRUE(run(isolator_->cleanup(id_)));
  EXPECT_EQ(file("hosts"), "missing");
  EXPECT_TRUE(network_->members.empty());
  ASSERT_TRUE(run(isolator_->cleanup(id_)));
  EXPECT_EQ(network_->detached, 2);
}

TEST_F(NetworkIsolatorTest, ADamagedRecordHarmsOnlyItsOwner) {
  ContainerId other = *ContainerId::parse("c2");
  ASSERT_TRUE(
      run(isolator_->recover({{id_, "c1", {}, "bridge nonsense\n", &spec_},
                              {other, "c2", {}, "bridge 10.89.0.9 10.89.0.0/16\n", &spec_}})));
  EXPECT_EQ(network_->members.size(), 1u);
  EXPECT_TRUE(network_->members.contains(other));
}
}  // namespace
}  // namespace gantry
