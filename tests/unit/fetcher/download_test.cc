#include "fetcher/worker/download.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstring>

#include "fetcher/fetcher.h"

namespace gantry {
namespace {
bool forbidden(const char* text) {
  sockaddr_storage address{};
  if (std::strchr(text, ':') != nullptr) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&address);
    in6->sin6_family = AF_INET6;
    EXPECT_EQ(::inet_pton(AF_INET6, text, &in6->sin6_addr), 1) << text;
  } else {
    auto* in = reinterpret_cast<sockaddr_in*>(&address);
    in->sin_family = AF_INET;
    EXPECT_EQ(::inet_pton(AF_INET, text, &in->sin_addr), 1) << text;
  }
  return worker::is_forbidden_address(reinterpret_cast<sockaddr*>(&address));
}

TEST(Download, NoConnectionToMetadataServices) {
  for (auto bad :
       {"169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254"}) {
    EXPECT_TRUE(forbidden(bad)) << bad;
  }
  for (auto good : {"127.0.0.1", "10.0.0.1", "169.253.1.1", "::1", "2001:db8::1", "fd00::1",
                    "::ffff:127.0.0.1"}) {
    EXPECT_FALSE(forbidden(good)) << good;
  }
}

std::string name_of(std::string uri, std::string output = "") {
  FetchUri u;
  u.uri = std::move(uri);
  u.output_file = std::move(output);
  auto name = sandbox_name(u);
  return name ? *name : "error";
}

TEST(Download, TheNameInTheSandboxIsOnePlainFile) {
  EXPECT_EQ(name_of("http://h/a/b.tar.gz?x=/y#z"), "b.tar.gz");
  EXPECT_EQ(name_of("https://h/a%20b"), "a b");
  EXPECT_EQ(name_of("file:///srv/x"), "x");
  EXPECT_EQ(name_of("http://h/a", "other"), "other");
  for (auto bad : {"http://h/", "http://h", "http://h/..", "http://h/a%2fb", "http://h/%00x",
                   "ftp://h/x", "file://h/x", "x", "http://h/a b", "gopher://h/x"}) {
    EXPECT_EQ(name_of(bad), "error") << bad;
  }
  EXPECT_EQ(name_of("http://h/a", "../x"), "error");
  EXPECT_EQ(name_of("http://h/a", std::string(256, 'x')), "error");
}
}  // namespace
}  // namespace gantry
