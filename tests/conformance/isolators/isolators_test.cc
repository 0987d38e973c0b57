// Every default isolator against the suite, and the suite against one that is wrong on purpose.
#include <gtest/gtest-spi.h>

#include "tests/conformance/isolator_suite.h"

namespace gantry::test {
namespace {
template <size_t index>
struct Nth {
  static std::unique_ptr<Isolator> make(asio::any_io_executor executor, ContainerCgroups& cgroups) {
    auto all = make_default_isolators(executor, cgroups);
    return std::move(all.at(index));
  }
};
using All = ::testing::Types<Nth<0>, Nth<1>, Nth<2>, Nth<3>, Nth<4>, Nth<5>, Nth<6>, Nth<7>, Nth<8>,
                             Nth<9>, Nth<10>, Nth<11>, Nth<12>, Nth<13>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Default, IsolatorSuite, All);

TEST(IsolatorSuite, CoversAllDefaultIsolators) {
  asio::io_context loop;
  auto layout = ok(CgroupLayout::detect());
  auto cgroups = ok(ContainerCgroups::open(loop.get_executor(), layout,
                                           {.root = cat("/gantry-isol-test-", ::getpid(), "c")}));
  const auto all = make_default_isolators(loop.get_executor(), *cgroups);
  EXPECT_EQ(all.size(), 14u);
  std::set<std::string_view> names;
  for (const auto& isolator : all) EXPECT_TRUE(names.insert(isolator->name()).second);
  ok(run(loop, cgroups->close()));
}

// A cleanup that is wrong: the suite must see it.
class Forgetful final : public Isolator {
 public:
  std::string_view name() const override { return "forgetful"; }
  Co<Result<void>> prepare(const LaunchContext&, LaunchPlan::Builder&) override {
    if (prepared_) co_return Error(Errc::already_exists, "still there");
    prepared_ = true;
    co_return Result<void>();
  }

 private:
  bool prepared_ = false;
};

TEST(IsolatorSuite, SeesACleanupThatForgets) {
  asio::io_context loop;
  Forgetful isolator;
  ContainerSpec spec;
  const ContainerId id = ContainerId::generate();
  const LaunchContext context{.id = id,
                              .cgroup_name = "",
                              .spec = spec,
                              .credentials = {},
                              .rootfs = {},
                              .sandbox = "",
                              .runtime_dir = "",
                              .hostname = ""};
  LaunchPlan::Builder plan;
  ok(run(loop, isolator.prepare(context, plan)));
  ok(run(loop, isolator.cleanup(id)));
  EXPECT_FALSE(run(loop, isolator.prepare(context, plan)).has_value());
}
}  // namespace
}  // namespace gantry::test
