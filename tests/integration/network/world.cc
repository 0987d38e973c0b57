#include "tests/integration/network/world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/sys.h"
#include "network/net_namespace.h"

namespace gantry::testing {
namespace {
// Before any thread is there: threads inherit the namespace.
class OwnNetwork : public ::testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "needs root (CAP_SYS_ADMIN)";
    shell("ip link set lo up; sysctl -qw net.ipv4.ping_group_range='0 2147483647'");
  }
};
[[maybe_unused]] const auto* const kOwnNetwork =
    ::testing::AddGlobalTestEnvironment(new OwnNetwork);

sockaddr_in name_of(const std::string& address, uint16_t port) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &name.sin_addr);
  return name;
}

UniqueFd socket_in(int net, int type, int protocol = 0) {
  auto make = [&]() -> Result<UniqueFd> {
    return UniqueFd(::socket(AF_INET, type | SOCK_CLOEXEC, protocol));
  };
  auto made = net < 0 ? make() : in_net_namespace(net, make);
  EXPECT_TRUE(made && made->valid());
  return made ? std::move(*made) : UniqueFd();
}

bool wait_for(int fd, short events, std::chrono::milliseconds limit) {
  pollfd entry{fd, events, 0};
  return ::poll(&entry, 1, static_cast<int>(limit.count())) == 1;
}
}  // namespace

namespace {
// Loopback up, one byte, then nothing: the whole life of a stand-in. System calls only: the parent
// has threads. Descriptors of other spaces would keep their namespaces alive.
[[noreturn]] void stand_in(int ready) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(ready, 0);
  ::close_range(3, ~0u, 0);
  if (::unshare(CLONE_NEWNET) != 0) ::_exit(1);
  int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  ::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP;
  if (::ioctl(fd, SIOCSIFFLAGS, &request) != 0) ::_exit(2);
  ::close(fd);
  if (::write(0, "x", 1) != 1) ::_exit(3);
  ::close(0);
  while (true) ::pause();
}
}  // namespace

Space::Space() {
  auto ready = *sys::pipe();
  pid_ = ::fork();
  if (pid_ == 0) stand_in(ready.write.get());
  ready.write.reset();
  char byte;
  EXPECT_EQ(::read(ready.read.get(), &byte, 1), 1);
  pidfd_ = *sys::pidfd_open(pid_);
  net_ = *open_net_namespace(pidfd_.get(), pid_);
}

Space::~Space() { kill(); }

void Space::kill() {
  net_.reset();
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::string shell(const std::string& command, int net) {
  auto pipe = *sys::pipe();
  pid_t pid = ::fork();
  if (pid == 0) {
    if (net >= 0 && ::setns(net, CLONE_NEWNET) != 0) ::_exit(99);
    ::dup2(pipe.write.get(), 1);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(98);
  }
  pipe.write.reset();
  std::string out = sys::read_all(pipe.read.get()).value_or("");
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0) << command << "\n" << out;
  return out;
}

std::string host_state() {
  // Neither indexes nor states: what is there, not how it got there.
  return shell(
      "ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/:.*//' | sort; ip -4 route; "
      "nft list ruleset");
}

UniqueFd udp_socket(int net, const std::string& address, uint16_t port) {
  UniqueFd fd = socket_in(net, SOCK_DGRAM);
  auto name = name_of(address, port);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  return fd;
}

UniqueFd tcp_listener(int net, uint16_t port, const std::string& address) {
  UniqueFd fd = socket_in(net, SOCK_STREAM);
  int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  auto name = name_of(address, port);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  EXPECT_EQ(::listen(fd.get(), 16), 0);
  return fd;
}

Connection tcp_connect(int net, const std::string& address, uint16_t port,
                       std::chrono::milliseconds limit) {
  Connection out{0, socket_in(net, SOCK_STREAM | SOCK_NONBLOCK)};
  auto name = name_of(address, port);
  if (::connect(out.socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0) return out;
  if (errno != EINPROGRESS) {
    out.error = errno;
    return out;
  }
  if (!wait_for(out.socket.get(), POLLOUT, limit)) {
    out.error = ETIMEDOUT;
    return out;
  }
  socklen_t size = sizeof out.error;
  ::getsockopt(out.socket.get(), SOL_SOCKET, SO_ERROR, &out.error, &size);
  return out;
}

std::string accepted_from(const UniqueFd& listener) {
  if (!wait_for(listener.get(), POLLIN, std::chrono::milliseconds(1000))) return "";
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  UniqueFd socket(
      ::accept4(listener.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
  char text[INET_ADDRSTRLEN];
  return ::inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text);
}

double ping(int net, const std::string& address, std::chrono::milliseconds limit) {
  UniqueFd fd = socket_in(net, SOCK_DGRAM, IPPROTO_ICMP);
  icmphdr request{};
  request.type = ICMP_ECHO;
  auto name = name_of(address, 0);
  auto begin = std::chrono::steady_clock::now();
  if (::sendto(fd.get(), &request, sizeof request, 0, reinterpret_cast<sockaddr*>(&name),
               sizeof name) < 0) {
    return -1;
  }
  if (!wait_for(fd.get(), POLLIN, limit)) return -1;
  char answer[64];
  auto* header = reinterpret_cast<icmphdr*>(answer);
  if (::recv(fd.get(), answer, sizeof answer, 0) < ssize_t(sizeof *header)) return -1;
  if (header->type != ICMP_ECHOREPLY) return -1;
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

World::World() : outside_(std::make_unique<Space>()) {
  shell("ip link add up0 type veth peer name up1 netns " + std::to_string(outside_->pid()) +
        " && ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up"
        " && ip route add default via 192.0.2.2");
  shell("ip addr add 192.0.2.2/24 dev up1 && ip link set up1 up", outside_->net());
}

World::~World() {
  shell("ip link del up0");
  outside_.reset();
  shell("sysctl -qw net.ipv4.ip_forward=0");
}

std::unique_ptr<BridgeNetwork> World::make_network(std::string subnet) {
  BridgeOptions options;
  if (!subnet.empty()) options.subnet = *Ipv4Subnet::parse(subnet);
  return std::make_unique<BridgeNetwork>(loop_.context().get_executor(), options);
}

NetworkLease World::join(BridgeNetwork& network, const std::string& id, const Space& space,
                         std::vector<PortMapping> ports) {
  auto lease = loop_.run(network.reserve(id_of(id), std::move(ports)));
  EXPECT_TRUE(lease) << lease.error().to_string();
  if (!lease) return {};
  auto attached = loop_.run(network.attach(id_of(id), space.identity(), space.pidfd()));
  EXPECT_TRUE(attached) << attached.error().to_string();
  return *lease;
}

void World::leave(BridgeNetwork& network, const std::string& id) {
  auto left = loop_.run(network.detach(id_of(id)));
  EXPECT_TRUE(left) << left.error().to_string();
}
}  // namespace gantry::testing
