#include "tests/conformance/snapshot_backend_suite.h"

namespace gantry::test {
namespace {
using Broken = std::vector<std::string>;

TEST_F(SnapshotBackendSuite, OverlayKeepsEveryPromise) {
  EXPECT_EQ(broken_promises(&make_overlay_backend), Broken{});
}

TEST_F(SnapshotBackendSuite, CopyKeepsEveryPromise) {
  EXPECT_EQ(broken_promises(&make_copy_backend), Broken{});
}

TEST_F(SnapshotBackendSuite, OverlayCanBeProbedHere) {
  auto probed = probe_overlay({path("roots"), path("work"), path("staging"), path("empty")});
  EXPECT_TRUE(probed) << probed.error().to_string();
}

// Hands out the top layer itself, takes any key, forgets what it removed: wrong on purpose.
class WrongBackend final : public SnapshotBackend {
 public:
  explicit WrongBackend(std::string roots) : roots_(std::move(roots)) {}
  std::string_view name() const override { return "wrong"; }
  Co<Result<Rootfs>> prepare(std::string key, SnapshotParent parent) override {
    Rootfs out;
    out.kind = Rootfs::Kind::directory;
    out.directory = parent.layers.front();
    out.snapshot_key = key;
    keys_.push_back(key);
    co_return out;
  }
  Co<Result<Rootfs>> open(std::string key, SnapshotParent parent) override {
    return prepare(std::move(key), std::move(parent));
  }
  Co<Result<Rootfs>> view(std::string key, SnapshotParent parent) override {
    return prepare(std::move(key), std::move(parent));
  }
  Co<Result<void>> remove(std::string) override { co_return Result<void>(); }
  Co<Result<TreeUsage>> usage(std::string) override { co_return TreeUsage{}; }
  Result<std::vector<std::string>> list() override { return keys_; }

 private:
  std::string roots_;
  std::vector<std::string> keys_;
};

TEST_F(SnapshotBackendSuite, TheSuiteBites) {
  Broken broken = broken_promises(
      [](WorkerClient&, Trash&, BackendDirectories d) -> std::unique_ptr<SnapshotBackend> {
        return std::make_unique<WrongBackend>(d.roots);
      });
  auto has = [&](std::string_view what) {
    return std::ranges::any_of(broken, [&](const std::string& b) { return b.starts_with(what); });
  };
  for (const char* what : {"the layers merge", "a taken key", "snapshots do not see each other",
                           "layers never change", "a view cannot write", "usage of nothing",
                           "opening nothing", "bad keys", "nothing is listed"}) {
    EXPECT_TRUE(has(what)) << what;
  }
}
}  // namespace
}  // namespace gantry::test
