// What every Isolator must do, whatever it isolates. A typed suite: instantiate it with a type that
// has `static std::unique_ptr<Isolator> make(asio::any_io_executor, ContainerCgroups&)`.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "isolators/default_isolators.h"
#include "tests/integration/isolators/cgroup_test_root.h"

namespace gantry::test {
template <class Maker>
class IsolatorSuite : public CgroupTest {
 protected:
  void SetUp() override {
    CgroupOptions options = default_cgroup_options(root_);
    options.pool_size = 0;
    cgroups_ = open_cgroups(options);
    isolator_ = Maker::make(loop_.get_executor(), *cgroups_);
    spec_.root = DirectoryRoot{"/"};
    spec_.process.args = {"true"};
  }
  void TearDown() override {
    isolator_.reset();
    ok(run(loop_, cgroups_->close()));
    CgroupTest::TearDown();
  }
  LaunchContext context(const ContainerId& id) {
    Rootfs rootfs;
    rootfs.kind = Rootfs::Kind::directory;
    rootfs.directory = "/";
    return {.id = id,
            .cgroup_name = id.directory_name(),
            .spec = spec_,
            .credentials = {},
            .rootfs = rootfs,
            .sandbox = "/",
            .runtime_dir = "/",
            .hostname = "box"};
  }
  // The controllers write into what `cgroups` has made.
  void with_cgroups(const ContainerId& id) {
    if (isolator_->name() == "cgroups") return;
    LaunchPlan::Builder plan;
    ok(cgroups_->create(ContainerCgroups::name_of(id), plan));
  }
  void without_cgroups(const ContainerId& id) {
    ok(run(loop_, cgroups_->destroy(ContainerCgroups::name_of(id), std::chrono::seconds(5))));
  }
  Result<void> prepare(const ContainerId& id) {
    LaunchPlan::Builder plan;
    const LaunchContext c = context(id);
    return run(loop_, isolator_->prepare(c, plan));
  }

  std::unique_ptr<ContainerCgroups> cgroups_;
  std::unique_ptr<Isolator> isolator_;
  ContainerSpec spec_;
};
TYPED_TEST_SUITE_P(IsolatorSuite);

TYPED_TEST_P(IsolatorSuite, HasANameOfItsOwn) {
  EXPECT_FALSE(this->isolator_->name().empty());
  EXPECT_EQ(this->isolator_->name().find(' '), std::string_view::npos);
}

TYPED_TEST_P(IsolatorSuite, CleanupAcceptsUnknownIdsAndIsIdempotent) {
  const ContainerId id = ContainerId::generate();
  ok(run(this->loop_, this->isolator_->cleanup(id)));
  this->with_cgroups(id);
  ok(this->prepare(id));
  ok(run(this->loop_, this->isolator_->cleanup(id)));
  ok(run(this->loop_, this->isolator_->cleanup(id)));
  this->without_cgroups(id);
  EXPECT_TRUE(ok(this->cgroups_->orphans({})).empty());
}

TYPED_TEST_P(IsolatorSuite, OneCanBePreparedAgainAfterItsEnd) {
  const ContainerId id = ContainerId::generate();
  for (int round = 0; round < 3; ++round) {
    this->with_cgroups(id);
    ok(this->prepare(id));
    ok(run(this->loop_, this->isolator_->cleanup(id)));
    this->without_cgroups(id);
  }
}

TYPED_TEST_P(IsolatorSuite, UsageAndUpdateOfALiveOneSucceed) {
  const ContainerId id = ContainerId::generate();
  this->with_cgroups(id);
  ok(this->prepare(id));
  Usage usage;
  ok(run(this->loop_, this->isolator_->usage(id, usage)));
  ok(run(this->loop_, this->isolator_->update(id, ResourceSpec())));
  EXPECT_FALSE(run(this->loop_, this->isolator_->limitation_at_exit(id)).has_value());
  ok(run(this->loop_, this->isolator_->cleanup(id)));
  this->without_cgroups(id);
}

TYPED_TEST_P(IsolatorSuite, RecoversNothingAndThenAContainerItNeverSaw) {
  ok(run(this->loop_, this->isolator_->recover({})));
  const ContainerId id = ContainerId::generate();
  RecoveredContainer known{.id = id,
                           .cgroup_name = id.directory_name(),
                           .process = {},
                           .isolator_record = this->isolator_->record(id),
                           .spec = &this->spec_};
  ok(run(this->loop_, this->isolator_->recover({known})));
  ok(run(this->loop_, this->isolator_->cleanup(id)));
}

REGISTER_TYPED_TEST_SUITE_P(IsolatorSuite, HasANameOfItsOwn,
                            CleanupAcceptsUnknownIdsAndIsIdempotent,
                            OneCanBePreparedAgainAfterItsEnd, UsageAndUpdateOfALiveOneSucceed,
                            RecoversNothingAndThenAContainerItNeverSaw);
}  // namespace gantry::test
