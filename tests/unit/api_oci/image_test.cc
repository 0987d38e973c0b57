#include "api/oci/commit.h"
#include "api/oci/image.h"

#include <gtest/gtest.h>

namespace gantry::oci {
namespace {
const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string manifest_with(const std::string& more, const std::string& digest = kDigest) {
  return R"({"schemaVersion":2,"config":{"mediaType":"c","digest":")" + kDigest +
         R"(","size":3},"layers":[{"mediaType":"l","digest":")" + digest + R"(","size":4}])" +
         more + "}";
}
std::string config_with(const std::string& more) {
  return R"({"os":"linux","rootfs":{"type":"layers","diff_ids":[")" + kDigest + R"("]})" + more +
         "}";
}
template <class T>
std::string error_of(const Result<T>& result) {
  return result ? "no error" : result.error().to_string();
}

TEST(OciConfig, IsReadAsWritten) {
  auto got = parse_image_config(config_with(
      R"(,"architecture":"amd64","config":{"Entrypoint":["/e"],"Cmd":"one","Env":["A=1"],"User":"7:8","WorkingDir":"/w",)"
      R"("StopSignal":"SIGQUIT","Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},"Labels":{"k":"v"},"Healthcheck":{"Test":["CMD-SHELL","t"],"Interval":5,"Retries":2},"Unknown":{"x":[1]}})"));
  ASSERT_TRUE(got) << error_of(got);
  EXPECT_EQ(got->entrypoint, std::vector<std::string>{"/e"});
  EXPECT_EQ(got->cmd, std::vector<std::string>{"one"});
  EXPECT_EQ(got->volumes, std::vector<std::string>{"/v"});
  EXPECT_EQ(got->exposed_ports, std::vector<std::string>{"80/tcp"});
  EXPECT_EQ(got->labels.at("k"), "v");
  EXPECT_EQ(got->health, (HealthCheck{.test = {"CMD-SHELL", "t"}, .interval_ns = 5, .retries = 2}));
  EXPECT_EQ(got->diff_ids.at(0).to_string(), kDigest);
  // null is the same as absent
  EXPECT_TRUE(parse_image_config(
      config_with(R"(,"config":{"Cmd":null,"Env":null,"Volumes":null,"Labels":null})")));
  EXPECT_TRUE(parse_image_config(config_with(R"(,"config":null)")));
}

TEST(OciConfig, ErrorsNameTheField) {
  EXPECT_EQ(error_of(parse_image_config(config_with(R"(,"config":{"Env":["A=1",5]})"))),
            "image config: config.Env[1] is not a string");
  EXPECT_EQ(error_of(parse_image_config(config_with(R"(,"config":{"User":"a\u0000b"})"))),
            "image config: config.User contains a NUL character");
  EXPECT_EQ(error_of(parse_image_config(config_with(R"(,"os":"x")"))),
            "image config: os appears twice");
  EXPECT_EQ(
      error_of(parse_image_config(config_with(R"(,"config":{"Healthcheck":{"Timeout":-1}})"))),
      "image config: config.Healthcheck.Timeout is not a number from 0 to 2^64-1");
  EXPECT_NE(error_of(parse_image_config("{}")).find("rootfs"), std::string::npos);
  EXPECT_NE(error_of(parse_image_config(R"({"rootfs":{"type":"other"}})")).find("'other'"),
            std::string::npos);
  EXPECT_EQ(error_of(parse_docker_manifest("[]")), "manifest.json: names no image");
  EXPECT_EQ(error_of(parse_docker_manifest(R"([{"Config":"c"}])")),
            "manifest.json: [0] has no layer");
  EXPECT_NE(error_of(parse_image_config("[]")).find("not a JSON object"), std::string::npos);
  EXPECT_NE(error_of(parse_image_config("{")).find("at byte"), std::string::npos);
}

TEST(OciManifest, AmbiguousOrForeignDocumentsAreRefused) {
  EXPECT_TRUE(parse_manifest(manifest_with("")));
  EXPECT_FALSE(parse_manifest(manifest_with(R"(,"manifests":[])")));  // CVE-2021-41190
  EXPECT_FALSE(
      parse_manifest(manifest_with(R"(,"mediaType":"application/vnd.oci.image.index.v1+json")")));
  EXPECT_FALSE(parse_index(manifest_with(R"(,"manifests":[])")));
  EXPECT_FALSE(parse_manifest(R"({"schemaVersion":1})"));
  std::string layers;
  for (size_t i = 0; i < 200; ++i)
    layers += (i ? "," : "") + (R"({"digest":")" + kDigest + R"(","size":1})");
  EXPECT_NE(error_of(parse_manifest(R"({"schemaVersion":2,"config":{"digest":")" + kDigest +
                                    R"("},"layers":[)" + layers + "]}"))
                .find("more than 127"),
            std::string::npos);
}

TEST(OciManifest, OnlyRealDigestsPass) {
  for (const std::string& bad : std::vector<std::string>{
           "sha256:../../x", "sha256:" + std::string(64, 'A'), "sha256:abc",
           "md5:" + std::string(32, 'a'), "sha512:" + std::string(128, 'a'), std::string("")}) {
    EXPECT_FALSE(parse_manifest(manifest_with("", bad))) << bad;
  }
}

TEST(OciManifest, DepthAndSizeAreBounded) {
  EXPECT_NE(error_of(parse_manifest(std::string(1'000'000, '['))).find("nested deeper"),
            std::string::npos);
  EXPECT_NE(error_of(parse_manifest(std::string(kMaxManifestBytes + 1, ' '))).find("larger than"),
            std::string::npos);
}

TEST(OciIndex, ThePlatformIsChosenInOrder) {
  auto entry = [](const std::string& platform, char digit) {
    return R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:)" +
           std::string(64, digit) + R"(","size":1)" + platform + "}";
  };
  auto of = [](const std::string& os, const std::string& arch) {
    return R"(,"platform":{"os":")" + os + R"(","architecture":")" + arch + R"("})";
  };
  auto choose = [](const std::string& entries) -> std::string {
    auto index = parse_index(R"({"schemaVersion":2,"manifests":[)" + entries + "]}");
    if (!index) return error_of(index);
    auto chosen = choose_platform(*index);
    return chosen ? chosen->digest.hex().substr(0, 1) : error_of(chosen);
  };
  std::string us(host_architecture());
  EXPECT_EQ(choose(entry(of("unknown", "unknown"), '0') + "," + entry(of("linux", "s390x"), '1') +
                   "," + entry(of("linux", us), '2') + "," + entry(of("linux", us), '3')),
            "2");
  EXPECT_EQ(choose(entry("", '4') + "," + entry(of("linux", us), '5')), "5")
      << "without platform: last";
  EXPECT_EQ(choose(entry("", '6')), "6");
  EXPECT_EQ(choose(R"({"mediaType":"text/plain","digest":"nonsense"},)" + entry("", '7')), "7")
      << "unknown types are skipped";
  EXPECT_NE(choose(entry(of("unknown", "unknown"), '8')).find("no image for linux/"),
            std::string::npos);
}

TEST(Digest, ChainIdsAsTheSpecificationSays) {
  Digest a = Digest::of("a"), b = Digest::of("b");
  EXPECT_EQ(Digest::of("").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(chain_id(a, b), Digest::of(a.to_string() + " " + b.to_string()));
  Hasher hasher;
  hasher.update("a");
  EXPECT_EQ(hasher.finish(), a);
  hasher.update("b");
  EXPECT_EQ(hasher.finish(), b);
}

TEST(Write, WhatIsWrittenIsReadBack) {
  auto manifest = parse_manifest(manifest_with(""));
  ASSERT_TRUE(manifest);
  auto again = parse_manifest(write_manifest(*manifest));
  ASSERT_TRUE(again) << error_of(again);
  EXPECT_EQ(again->layers[0].size, 4u);
  ImageConfig config;
  config.entrypoint = {"/bin/e"};
  config.cmd = {"quote\"and\nnewline"};
  config.env = {"A=1", "B="};
  config.user = "u:g";
  config.working_dir = "/srv";
  config.stop_signal = "SIGQUIT";
  config.volumes = {"/data", "/log"};
  config.exposed_ports = {"80/tcp"};
  config.labels = {{"a", "1"}, {"b", ""}};
  config.health = {.test = {"CMD", "x", "y"}, .timeout_ns = 7};
  config.diff_ids = {Digest::of("x")};
  auto back = parse_image_config(write_image_config(config));
  ASSERT_TRUE(back) << error_of(back);
  EXPECT_EQ(back->entrypoint, config.entrypoint);
  EXPECT_EQ(back->cmd, config.cmd);
  EXPECT_EQ(back->env, config.env);
  EXPECT_EQ(back->user, config.user);
  EXPECT_EQ(back->working_dir, config.working_dir);
  EXPECT_EQ(back->stop_signal, config.stop_signal);
  EXPECT_EQ(back->health, config.health);
  EXPECT_EQ(back->volumes, config.volumes);
  EXPECT_EQ(back->exposed_ports, config.exposed_ports);
  EXPECT_EQ(back->labels, config.labels);
  EXPECT_EQ(back->architecture, host_architecture());
}

// ---- One more layer --------------------------------------------------------------------------

const Digest kLayer = Digest::of("layer");

std::string committed(const std::string& base, const ImageChanges& changes = {}) {
  auto got = commit_config(base, changes, {kLayer, "2026-01-02T03:04:05Z", "make", "me", "why"});
  return got ? *got : error_of(got);
}

TEST(OciCommit, WhatIsNotChangedStays) {
  EXPECT_EQ(
      committed(config_with(R"(,"x":[1],"config":{"Cmd":["a"],"Shell":["s"]})")),
      R"({"os":"linux","rootfs":{"type":"layers","diff_ids":[")" + kDigest + R"(",")" +
          kLayer.to_string() +
          R"("]},"x":[1],"config":{"Cmd":["a"],"Shell":["s"]},)"
          R"("created":"2026-01-02T03:04:05Z","author":"me","history":[{},)"
          R"({"created":"2026-01-02T03:04:05Z","created_by":"make","author":"me","comment":"why"}]})");
}

TEST(OciCommit, ListsAndMapsAreAddedTo) {
  ImageChanges changes;
  changes.entrypoint = {"/e"};
  changes.env = {"A=2", "B=3"};
  changes.labels = {{"l", "2"}, {"m", "3"}};
  changes.exposed_ports = {"80/tcp"};
  changes.user = "7";
  const auto got = parse_image_config(committed(
      config_with(
          R"(,"config":{"Cmd":["a"],"Env":["A=1","AA=1"],"Labels":{"l":"1"},"Volumes":null})"),
      changes));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->entrypoint, std::vector<std::string>{"/e"});
  EXPECT_TRUE(got->cmd.empty());
  EXPECT_EQ(got->env, (std::vector<std::string>{"A=2", "AA=1", "B=3"}));
  EXPECT_EQ(got->labels.at("l") + got->labels.at("m"), "23");
  EXPECT_EQ(got->exposed_ports, std::vector<std::string>{"80/tcp"});
  EXPECT_EQ(got->user, "7");
}

TEST(OciCommit, StepsOfTheHistoryStandForLayersInOrder) {
  const std::string got =
      committed(config_with(R"(,"history":[{"created_by":"a"},{"empty_layer":true}])"));
  EXPECT_NE(got.find(R"("history":[{"created_by":"a"},{"empty_layer":true},{"created":)"),
            std::string::npos)
      << got;
}

TEST(OciCommit, NoMoreLayersThanAnImageCanHave) {
  std::string ids = "\"" + kDigest + "\"";
  for (size_t i = 1; i < kMaxLayers; ++i) ids += ",\"" + kDigest + "\"";
  EXPECT_NE(committed(R"({"rootfs":{"type":"layers","diff_ids":[)" + ids + "]}}")
                .find("the image has 127 layers"),
            std::string::npos);
}

TEST(OciCommit, AManifestOfDockersBecomesOneOfOcis) {
  const auto got = commit_manifest(manifest_with(""), {"c2", kLayer, 1, {}, {}},
                                   {std::string(media::kLayer), kLayer, 2, {}, {}});
  ASSERT_TRUE(got) << error_of(got);
  EXPECT_EQ(got->media_type, media::kManifest);
  EXPECT_EQ(got->config.digest, kLayer);
  ASSERT_EQ(got->layers.size(), 2u);
  EXPECT_EQ(got->layers[0].media_type, media::kLayer);
  EXPECT_EQ(got->layers[1].digest, kLayer);
}
}  // namespace
}  // namespace gantry::oci
