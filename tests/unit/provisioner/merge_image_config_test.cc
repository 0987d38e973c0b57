#include "provisioner/merge_image_config.h"

#include <gtest/gtest.h>

namespace gantry {
namespace {
using Strings = std::vector<std::string>;

struct Merge : ::testing::Test {
  Merge() {
    image.entrypoint = {"/entry", "-x"};
    image.cmd = {"serve"};
    image.env = {"PATH=/image", "A=1"};
    image.user = "web";
    image.working_dir = "/srv/./app/";
    image.stop_signal = "SIGQUIT";
    image.volumes = {"/data", "/log/"};
    image.labels = {{"gantry.reserved", "evil"}};
  }
  Result<void> merge() { return merge_image_config(spec, image); }
  ContainerSpec spec;
  oci::ImageConfig image;
};

TEST_F(Merge, AnEmptySpecTakesEverything) {
  ASSERT_TRUE(merge());
  EXPECT_EQ(spec.process.args, (Strings{"/entry", "-x", "serve"}));
  EXPECT_EQ(spec.process.env, (Strings{"PATH=/image", "A=1"}));
  EXPECT_EQ(spec.process.cwd, "/srv/app");
  EXPECT_EQ(spec.process.user.text, "web");
  EXPECT_EQ(spec.stop_signal, "SIGQUIT");
  ASSERT_EQ(spec.mounts.size(), 2u);
  EXPECT_EQ(spec.mounts[1].destination, "/log");
  EXPECT_EQ(spec.mounts[1].type, MountSpec::Type::volume);
  EXPECT_TRUE(spec.labels.empty()) << "an image's labels are never a container's";
}

TEST_F(Merge, ArgumentsReplaceCmdAndAnEntrypointReplacesBoth) {
  spec.process.args = {"other"};
  ASSERT_TRUE(merge());
  EXPECT_EQ(spec.process.args, (Strings{"/entry", "-x", "other"}));
  spec = {};
  spec.process.entrypoint = Strings{"/bin/sh"};
  ASSERT_TRUE(merge());
  EXPECT_EQ(spec.process.args, Strings{"/bin/sh"}) << "the image's cmd was for its own entrypoint";
  spec = {};
  spec.process.entrypoint = Strings{};
  spec.process.args = {"/bin/true"};
  ASSERT_TRUE(merge());
  EXPECT_EQ(spec.process.args, Strings{"/bin/true"});
}

TEST_F(Merge, AHealthCheckIsTheSpecsWhereItSaysSomethingElseTheImages) {
  image.health = {.test = {"CMD-SHELL", "test -e /ok"}, .interval_ns = 1, .retries = 9};
  ASSERT_TRUE(merge());
  ASSERT_TRUE(spec.health && spec.health->is_on());
  EXPECT_EQ(spec.health->args, (Strings{"/bin/sh", "-c", "test -e /ok"}));
  EXPECT_EQ(spec.health->interval, std::chrono::milliseconds(100));  // at most ten times a second
  EXPECT_EQ(spec.health->retries, 9u);
  EXPECT_FALSE(spec.health->timeout);
  spec = {};
  spec.health = {.args = {"own"}, .retries = 2};
  ASSERT_TRUE(merge());
  EXPECT_EQ(spec.health->args, Strings{"own"});
  EXPECT_EQ(spec.health->retries, 2u);
  spec = {};
  spec.health = {.is_off = true};
  ASSERT_TRUE(merge());
  EXPECT_FALSE(spec.health->is_on());
  image.health.test = {"NONE"};
  spec = {};
  ASSERT_TRUE(merge());
  EXPECT_FALSE(spec.health);
  spec = {};
  spec.health = {.retries = 2};
  EXPECT_FALSE(merge());
  image.health.test = {"HTTP", "x"};
  spec = {};
  EXPECT_NE(merge().error().to_string().find("config.Healthcheck.Test: 'HTTP'"), std::string::npos);
}

TEST_F(Merge, TheSpecWinsAndPathHasADefault) {
  image.env = {"A=1", "B=2"};
  spec.process.env = {"B=3", "C=4", "C=5"};
  spec.process.cwd = "/own";
  spec.process.user.text = "7";
  spec.stop_signal = "SIGINT";
  spec.mounts.push_back({});
  spec.mounts[0].destination = "/data";
  ASSERT_TRUE(merge());
  EXPECT_EQ(spec.process.env,
            (Strings{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1",
                     "B=3", "C=5"}));
  EXPECT_EQ(spec.process.cwd, "/own");
  EXPECT_EQ(spec.process.user.text, "7");
  EXPECT_EQ(spec.stop_signal, "SIGINT");
  EXPECT_EQ(spec.mounts.size(), 2u);
}

TEST_F(Merge, HostileValuesNameTheirField) {
  auto refused = [&](auto change, const char* field) {
    ContainerSpec s;
    oci::ImageConfig i = image;
    change(i);
    auto done = merge_image_config(s, i);
    ASSERT_FALSE(done) << field;
    EXPECT_NE(done.error().to_string().find(field), std::string::npos) << done.error().to_string();
  };
  refused([](auto& i) { i.working_dir = "/a/../../etc"; }, "WorkingDir");
  refused([](auto& i) { i.working_dir = std::string(5000, 'x'); }, "WorkingDir");
  refused([](auto& i) { i.volumes = {"/../../etc"}; }, "Volumes");
  refused([](auto& i) { i.volumes = {"/"}; }, "Volumes");
  refused([](auto& i) { i.user = "a\nroot:x:0:0"; }, "User");
  refused([](auto& i) { i.stop_signal = "A\n"; }, "StopSignal");
  refused([](auto& i) { i.env = {"NOVALUE"}; }, "Env");
  refused([](auto& i) { i.env = {"=x"}; }, "Env");
  refused([](auto& i) { i.entrypoint.clear(), i.cmd.clear(); }, "no command");
}
}  // namespace
}  // namespace gantry
