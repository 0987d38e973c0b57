#include "provisioner/image_ref.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
std::string parsed(std::string_view text) {
  auto ref = ImageRef::parse(text);
  return ref ? ref->to_string() : "error: " + ref.error().to_string();
}

TEST(ImageRef, TheShortNameAndDockersLongOneAreTheSame) {
  EXPECT_EQ(parsed("busybox"), "busybox:latest");
  EXPECT_EQ(parsed("docker.io/library/busybox"), "busybox:latest");
  EXPECT_EQ(parsed("docker.io/bitnami/redis:7.2"), "bitnami/redis:7.2");
  EXPECT_EQ(parsed("localhost:5000/a/b:V_1.x-y"), "localhost:5000/a/b:V_1.x-y");
  EXPECT_EQ(parsed("a__b/c--d.e"), "a__b/c--d.e:latest");
}

TEST(ImageRef, ADigestIsKeptAsSuch) {
  std::string hex(64, 'a');
  EXPECT_EQ(parsed("sha256:" + hex), "sha256:" + hex);
  EXPECT_EQ(parsed("web@sha256:" + hex), "web@sha256:" + hex);
  EXPECT_EQ(parsed("sha256:0123456789ab"), "sha256:0123456789ab");
}

TEST(ImageRef, ANameOfHexDigitsMayBeMeantAsADigest) {
  EXPECT_EQ(ImageRef::parse("0123456789ab")->digits(), "0123456789ab");
  EXPECT_EQ(ImageRef::parse("sha256:0123456789ab")->digits(), "0123456789ab");
  for (std::string name : {"0123456789a", "0123456789ab:1", "busybox", "a/0123456789ab"}) {
    EXPECT_EQ(ImageRef::parse(name)->digits(), "") << name;
  }
}

TEST(ImageRef, WhatIsNoNameIsRefused) {
  for (std::string bad :
       {"", "A", "a//b", "/a", "a/", "../a", "a/../b", "a b", "a:", "a:-x", "a_", "a___b", ".a",
        "sha256:xyz", "sha256:0123", "a@md5:0123456789ab", "a\nb", "UPPER/x", "a:b:c"}) {
    EXPECT_TRUE(parsed(bad).starts_with("error: ")) << bad << " → " << parsed(bad);
  }
  EXPECT_TRUE(parsed(std::string(256, 'a')).starts_with("error: "));
  EXPECT_TRUE(parsed("a:" + std::string(129, 'a')).starts_with("error: "));
}
}  // namespace
}  // namespace gantry
