// A cgroup root of a test's own, gone afterwards, and a loop to run coroutines on.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "base/cgroup_fs.h"
#include "base/sys.h"
#include "isolators/container_cgroups.h"

namespace gantry::test {
// Runs one coroutine to its end.
template <class T>
T run(asio::io_context& loop, Co<T> task) {
  std::optional<T> out;
  asio::co_spawn(
      loop,
      [](Co<T> inner, std::optional<T>& to) -> Co<void> { to.emplace(co_await std::move(inner)); }(
                                                std::move(task), out),
      [](std::exception_ptr e) {
        if (e) std::rethrow_exception(e);
      });
  loop.restart();
  while (!out.has_value() && loop.run_one() > 0) {
  }
  return std::move(*out);
}
inline void run(asio::io_context& loop, Co<void> task) {
  run(loop, [](Co<void> inner) -> Co<bool> {
    co_await std::move(inner);
    co_return true;
  }(std::move(task)));
}

template <class T>
T ok(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().to_string();
    std::abort();
  }
  return std::move(result).value();
}
inline void ok(Result<void> result) {
  ASSERT_TRUE(result.has_value()) << result.error().to_string();
}

class CgroupTest : public ::testing::Test {
 protected:
  std::unique_ptr<ContainerCgroups> open_cgroups(CgroupOptions options) {
    return open_cgroups(ok(CgroupLayout::detect()), std::move(options));
  }
  std::unique_ptr<ContainerCgroups> open_cgroups(CgroupLayout layout, CgroupOptions options) {
    layout_ = layout;
    options.root = root_;
    return ok(ContainerCgroups::open(loop_.get_executor(), std::move(layout), std::move(options)));
  }
  void close(ContainerCgroups& cgroups) { ok(run(loop_, cgroups.close())); }

  void TearDown() override {
    const CgroupLayout layout = ok(CgroupLayout::detect());
    for (const CgroupHierarchy& hierarchy : layout.hierarchies()) {
      const std::string path = hierarchy.path + root_;
      EXPECT_NE(::access(path.c_str(), F_OK), 0) << path << " is left behind";
      const UniqueFd mount = ok(sys::open(hierarchy.path, O_PATH | O_DIRECTORY));
      cgroup::try_remove_tree_at(mount.get(), root_.substr(1)).ignore("reported above");
    }
  }

  asio::io_context loop_;
  CgroupLayout layout_;
  std::string root_ = cat("/gantry-isol-test-", ::getpid());
};
}  // namespace gantry::test
