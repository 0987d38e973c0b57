// main() of every GoogleTest program. With GANTRY_NO_SKIP=1 (tools/test sets it) a skipped test is
// a failure: there everything is installed and we are root, so that a skip is a hole in the tests.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

namespace {
class FailSkipped final : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo& test) override {
    if (test.result()->Skipped()) {
      ADD_FAILURE() << test.test_suite_name() << "." << test.name() << " was skipped";
    }
  }
};
}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const char* no_skip = std::getenv("GANTRY_NO_SKIP");
  if (no_skip != nullptr && std::strcmp(no_skip, "1") == 0) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    // ORDER: before the printer, which shall see the failure.
    testing::TestEventListener* printer = listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailSkipped);
    listeners.Append(printer);
  }
  return RUN_ALL_TESTS();
}
