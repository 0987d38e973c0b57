#include "executor/cli/task_file.h"

#include <gtest/gtest.h>

namespace gantry::cli {
namespace {
TEST(TaskFile, FillsInWhatIsMissing) {
  const auto task = parse_task(R"({"command":{"value":"true"}})", "abc");
  ASSERT_TRUE(task);
  EXPECT_EQ(text_of(*task, "task_id.value"), "submit-abc");
  EXPECT_EQ(text_of(*task, "name"), "submit-abc");
  EXPECT_EQ(scalar_resources(*task).at("cpus"), 0.1);
  EXPECT_EQ(scalar_resources(*task).at("mem"), 64);
}

TEST(TaskFile, KeepsWhatIsGiven) {
  const auto task = parse_task(
      R"({"name":"n","task_id":{"value":"t"},"command":{"value":"true"},"labels":{"labels":[]},)"
      R"("resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":2}}]})",
      "abc");
  ASSERT_TRUE(task);
  EXPECT_EQ(text_of(*task, "task_id.value"), "t");
  EXPECT_EQ(scalar_resources(*task).size(), 1u);
  EXPECT_NE(find(*task, "labels.labels"), nullptr);
}

TEST(TaskFile, MistakesAreExplained) {
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"[]", "not a JSON object"},
           {"{}", "exactly one of command and executor"},
           {R"({"command":{},"executor":{}})", "exactly one of command and executor"},
           {R"({"command":{},"task_id":"t"})", "task_id has no value"},
           {"{", "not JSON"}}) {
    const auto task = parse_task(text, "abc");
    ASSERT_FALSE(task) << text;
    EXPECT_NE(task.error().to_string().find(message), std::string::npos)
        << task.error().to_string();
  }
}

TEST(TaskFile, ShortagesAreNamed) {
  const auto task = parse_task(R"({"command":{"value":"true"}})", "abc");
  ASSERT_TRUE(task);
  const auto offer =
      parse_json(R"({"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.05}},)"
                 R"({"name":"cpus","type":"SCALAR","scalar":{"value":0.05}},)"
                 R"({"name":"mem","type":"SCALAR","scalar":{"value":32}}]})",
                 "the offer");
  ASSERT_TRUE(offer);
  EXPECT_EQ(shortage(*task, *offer), "mem 64 of 32");
}
}  // namespace
}  // namespace gantry::cli
