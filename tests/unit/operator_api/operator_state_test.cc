// Mesos' agent calls: this host's facts, frameworks and tasks, in both encodings.
#include "api/proto/agent.pb.h"
#include "api/wire/json.h"
#include "tests/unit/operator_api/fixture.h"

namespace gantry {
namespace {
using wire::agent::Call;
using wire::agent::Response;

class OperatorStateTest : public OperatorApiTest {
 protected:
  // In protobuf both ways, said as JSON.
  std::string ask_in_protobuf(Call::Type type) {
    Call call;
    call.set_type(type);
    const std::string answer = ask(call.SerializeAsString(), "application/x-protobuf",
                                   "Accept: application/x-protobuf\r\n");
    Response response;
    EXPECT_TRUE(response.ParseFromString(answer.substr(answer.find("\r\n\r\n") + 4))) << answer;
    return wire::to_json(response);
  }
  void expect_both(Call::Type type, const std::string& json) {
    EXPECT_EQ(ask(cat(R"({"type":")", Call::Type_Name(type), "\"}")), ok(json));
    EXPECT_EQ(ask_in_protobuf(type), json);
  }
  // As a framework of the captures; its TaskInfo has what Mesos' agent shows of a task.
  void serve_a_framework() {
    wire::FrameworkInfo framework;
    framework.set_user("root");
    framework.set_name("wire");
    framework.set_failover_timeout(60);
    framework.add_roles("*");
    FrameworkSpec spec{.id = "f-0001", .name = "wire", .user = "root"};
    spec.raw = framework.SerializeAsString();
    agent_.known_frameworks.current = {spec};
    wire::TaskInfo info;
    info.set_name("n");
    info.mutable_task_id()->set_value("t");
    info.mutable_agent_id()->set_value("id-S0");
    info.mutable_command()->set_value("sleep 1000; exit 7");
    info.mutable_command()->set_user("daemon");
    auto* cpus = info.add_resources();
    cpus->set_name("cpus");
    cpus->set_type(wire::Value::SCALAR);
    cpus->mutable_scalar()->set_value(0.5);
    TaskFacts task{.framework_id = "f-0001", .id = "t", .agent_id = "id-S0"};
    task.raw = info.SerializeAsString();
    task.state = TaskState::running;
    task.forwarded.state = TaskState::running;
    task.forwarded.uuid = std::string(16, '\0');
    task.statuses = {{.task_id = "t",
                      .state = TaskState::running,
                      .message = {},
                      .reason = {},
                      .uuid = std::string(16, '\0'),
                      .timestamp = 2.5,
                      .agent_id = "id-S0",
                      .executor_id = "t",
                      .container_id = "c",
                      .executor_pid = 7}};
    agent_.known_tasks.launched = {task};
  }
};

constexpr const char* kTask =
    R"({"name":"n","task_id":{"value":"t"},"framework_id":{"value":"f-0001"},"agent_id":{"value":"id-S0"},"state":"TASK_RUNNING","resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5},"allocation_info":{"role":"*"}}],"statuses":[{"task_id":{"value":"t"},"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","agent_id":{"value":"id-S0"},"executor_id":{"value":"t"},"timestamp":2.5,"uuid":"AAAAAAAAAAAAAAAAAAAAAA==","container_status":{"container_id":{"value":"c"},"executor_pid":7}}],"status_update_state":"TASK_RUNNING","status_update_uuid":"AAAAAAAAAAAAAAAAAAAAAA==","user":"daemon"})";
constexpr const char* kFramework =
    R"({"framework_info":{"user":"root","name":"wire","id":{"value":"f-0001"},"failover_timeout":60.0,"checkpoint":false,"roles":["*"]}})";
constexpr const char* kExecutor =
    R"x({"executor_info":{"executor_id":{"value":"t"},"framework_id":{"value":"f-0001"},"command":{"shell":true,"value":"sleep 1000; exit 7","user":"daemon"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5},"allocation_info":{"role":"*"}}],"name":"Command Executor (Task: t) (Command: sh -c 'sleep 1000; ...')","source":"t"}})x";

TEST_F(OperatorStateTest, TheAgentIsSaidAsInTheCapture) {
  expect_both(
      Call::GET_AGENT,
      R"({"type":"GET_AGENT","get_agent":{"agent_info":{"hostname":"host","port":15051,"resources":[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":32000}]}},{"name":"cpus","type":"SCALAR","scalar":{"value":400.0}},{"name":"mem","type":"SCALAR","scalar":{"value":40000.0}},{"name":"disk","type":"SCALAR","scalar":{"value":20000.0}}],"id":{"value":"id-S0"}}}})");
}
TEST_F(OperatorStateTest, FlagsAndTheLoggingLevel) {
  expect_both(
      Call::GET_FLAGS,
      R"({"type":"GET_FLAGS","get_flags":{"flags":[{"name":"data_dir","value":"/d"},{"name":"listen_insecure","value":""}]}})");
  EXPECT_EQ(
      ask(R"({"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":2,"duration":{"nanoseconds":1000000000}}})"),
      ok_empty());
  expect_both(Call::GET_LOGGING_LEVEL,
              R"({"type":"GET_LOGGING_LEVEL","get_logging_level":{"level":2}})");
  EXPECT_EQ(on_loop([&] { return agent_.level_for; }), std::chrono::seconds(1));
  EXPECT_EQ(on_loop([&] { return backend_.audited; }),
            std::vector<std::string>{"SET_LOGGING_LEVEL  200"});
  EXPECT_EQ(
      ask(R"({"type":"SET_LOGGING_LEVEL"})"),
      refused(400, "Failed to validate agent::Call: Expecting 'set_logging_level' to be present"));
}
TEST_F(OperatorStateTest, ALoggingLevelThatIsNoneIsRefusedByName) {
  const auto set = [&](std::string_view level, std::string_view nanoseconds) {
    return ask(cat(R"({"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":)", level,
                   R"(,"duration":{"nanoseconds":)", nanoseconds, "}}}"));
  };
  for (const char* level : {"4", "4294967295"}) {
    EXPECT_EQ(
        set(level, "1000000000"),
        refused(400, "Failed to validate agent::Call: set_logging_level.level: must be 0 to 3"));
  }
  for (const char* duration : {"0", "-1", "9000000000000000000"}) {
    EXPECT_EQ(set("1", duration),
              refused(400,
                      "Failed to validate agent::Call: set_logging_level.duration: must be more "
                      "than nothing, and a year at most"));
  }
  EXPECT_EQ(set("3", "1000000000"), ok_empty());
}
TEST_F(OperatorStateTest, WhereNothingIsTheListsAreAbsent) {
  for (Call::Type type :
       {Call::GET_FRAMEWORKS, Call::GET_EXECUTORS, Call::GET_TASKS, Call::GET_OPERATIONS}) {
    const std::string& name = Call::Type_Name(type);
    std::string field = name;
    for (char& c : field) c = static_cast<char>(::tolower(static_cast<unsigned char>(c)));
    expect_both(type, cat(R"({"type":")", name, R"(",")", field, R"(":{}})"));
  }
  expect_both(
      Call::GET_STATE,
      R"({"type":"GET_STATE","get_state":{"get_tasks":{},"get_executors":{},"get_frameworks":{}}})");
}
TEST_F(OperatorStateTest, FrameworksExecutorsAndTasksAsMesosShowsThem) {
  on_loop([&] { serve_a_framework(); });
  const std::string tasks = cat(R"({"launched_tasks":[)", kTask, "]}");
  const std::string executors = cat(R"({"executors":[)", kExecutor, "]}");
  const std::string frameworks = cat(R"({"frameworks":[)", kFramework, "]}");
  expect_both(Call::GET_TASKS, cat(R"({"type":"GET_TASKS","get_tasks":)", tasks, "}"));
  expect_both(Call::GET_EXECUTORS,
              cat(R"({"type":"GET_EXECUTORS","get_executors":)", executors, "}"));
  expect_both(Call::GET_FRAMEWORKS,
              cat(R"({"type":"GET_FRAMEWORKS","get_frameworks":)", frameworks, "}"));
  expect_both(Call::GET_STATE,
              cat(R"({"type":"GET_STATE","get_state":{"get_tasks":)", tasks, R"(,"get_executors":)",
                  executors, R"(,"get_frameworks":)", frameworks, "}}"));
}
TEST_F(OperatorStateTest, TasksAreSortedIntoMesosLists) {
  on_loop([&] {
    serve_a_framework();
    AgentTasks& tasks = agent_.known_tasks;
    tasks.terminated = tasks.completed = tasks.queued = tasks.launched;
    agent_.known_frameworks.completed = agent_.known_frameworks.current;
  });
  EXPECT_EQ(ask(R"({"type":"GET_TASKS"})"),
            ok(cat(R"({"type":"GET_TASKS","get_tasks":{"queued_tasks":[)", kTask,
                   R"(],"launched_tasks":[)", kTask, R"(],"terminated_tasks":[)", kTask,
                   R"(],"completed_tasks":[)", kTask, "]}}")));
  EXPECT_EQ(ask(R"({"type":"GET_FRAMEWORKS"})"),
            ok(cat(R"({"type":"GET_FRAMEWORKS","get_frameworks":{"frameworks":[)", kFramework,
                   R"(],"completed_frameworks":[)", kFramework, "]}}")));
}
}  // namespace
}  // namespace gantry
