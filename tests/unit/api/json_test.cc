#include "api/wire/json.h"

#include <cmath>
#include <gtest/gtest.h>

#include <fstream>

#include "api/proto/agent.pb.h"
#include "api/proto/executor.pb.h"
#include "api/proto/scheduler.pb.h"

namespace gantry::wire {
namespace {
std::vector<std::string> lines_of(const std::string& name) {
  std::ifstream in(cat(GANTRY_TEST_DATA, "/", name));
  std::vector<std::string> out;
  for (std::string line; std::getline(in, line);) out.push_back(line);
  EXPECT_FALSE(out.empty()) << name;
  return out;
}

template <class M>
M parsed(std::string_view json) {
  M out;
  const auto result = from_json(json, out);
  EXPECT_TRUE(result) << (result ? "" : result.error().to_string()) << "\n" << json;
  return out;
}
template <class M>
std::string error_of(std::string_view json) {
  M out;
  const auto result = from_json(json, out);
  return result ? "no error" : result.error().to_string();
}

// What Mesos sent, parsed and printed again: the same bytes.
template <class M>
void expect_same_bytes(const std::string& file) {
  for (const std::string& line : lines_of(file)) EXPECT_EQ(to_json(parsed<M>(line)), line);
}
// What Mesos' clients sent: it parses, and survives protobuf and JSON (which adds the defaults).
template <class M>
void expect_round_trip(const std::string& file) {
  for (const std::string& line : lines_of(file)) {
    const M first = parsed<M>(line);
    EXPECT_EQ(to_json(parsed<M>(to_json(first))), to_json(first)) << line;
    M second;
    EXPECT_TRUE(from_binary(first.SerializeAsString(), second)) << line;
    EXPECT_EQ(to_json(second), to_json(first));
  }
}

TEST(Json, PrintsOperatorResponsesAsMesos) {
  expect_same_bytes<agent::Response>("operator-responses.jsonl");
}
TEST(Json, PrintsProcessIoAsMesos) { expect_same_bytes<agent::ProcessIO>("process-io.jsonl"); }
TEST(Json, PrintsSchedulerEventsAsMesos) {
  expect_same_bytes<scheduler::Event>("scheduler-events.jsonl");
}
TEST(Json, PrintsExecutorEventsAsMesos) {
  expect_same_bytes<executor::Event>("executor-events.jsonl");
}
TEST(Json, ReadsTheCallsOfMesosClients) {
  expect_round_trip<agent::Call>("operator-calls.jsonl");
  expect_round_trip<scheduler::Call>("scheduler-calls.jsonl");
  expect_round_trip<executor::Call>("executor-calls.jsonl");
}

TEST(Json, AnUnknownTypeIsAnAbsentOne) {
  EXPECT_FALSE(parsed<agent::Call>(R"({"type":"NOSUCH"})").has_type());
}
TEST(Json, IgnoresUnknownFieldsWhateverTheyHold) {
  const auto call = parsed<agent::Call>(
      R"({"a":1,"b":{"c":[{"d":null},[1,"x"]]},"type":"GET_HEALTH","e":[[],{}],"f":true})");
  EXPECT_EQ(call.type(), agent::Call::GET_HEALTH);
}
TEST(Json, NullIsAbsent) {
  const auto call = parsed<agent::Call>(
      R"({"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"x","parent":null}}})");
  EXPECT_FALSE(call.wait_container().container_id().has_parent());
}
TEST(Json, TakesWhateverIsANumber) {
  EXPECT_EQ(parsed<Metric>(R"({"name":"x","value":7})").value(), 7);
  EXPECT_EQ(parsed<Metric>(R"({"name":"x","value":"Infinity"})").value(), HUGE_VAL);
  EXPECT_EQ(parsed<Metric>(R"({"name":"x","value":"-Infinity"})").value(), -HUGE_VAL);
  EXPECT_EQ(parsed<TimeInfo>(R"({"nanoseconds":5e3})").nanoseconds(), 5000);
  EXPECT_EQ(parsed<TimeInfo>(R"({"nanoseconds":"-5"})").nanoseconds(), -5);
  EXPECT_EQ(parsed<TimeInfo>(R"({"nanoseconds":9223372036854775807})").nanoseconds(), INT64_MAX);
  const auto range = parsed<Value::Range>(R"({"begin":18446744073709551615,"end":0})");
  EXPECT_EQ(range.begin(), UINT64_MAX);
  EXPECT_EQ(to_json(range), R"({"begin":18446744073709551615,"end":0})");
}
TEST(Json, RefusesNumbersThatDoNotFit) {
  EXPECT_EQ(error_of<Port>(R"({"number":4294967296})"),
            "number: expected an integer >= 0 in its range");
  EXPECT_EQ(error_of<Port>(R"({"number":-1})"), "number: expected an integer >= 0 in its range");
  EXPECT_EQ(error_of<Port>(R"({"number":1.5})"), "number: expected an integer >= 0 in its range");
  EXPECT_EQ(error_of<TimeInfo>(R"({"nanoseconds":9223372036854775808})"),
            "nanoseconds: expected an integer in its range");
  EXPECT_EQ(error_of<TimeInfo>(R"({"nanoseconds":1e300})"),
            "nanoseconds: expected an integer in its range");
  EXPECT_EQ(error_of<TimeInfo>(R"({"nanoseconds":"0x10"})"),
            "nanoseconds: expected an integer in its range");
}
TEST(Json, PrintsInfinityAndReadsItBack) {
  Metric metric;
  metric.set_name("x");
  metric.set_value(HUGE_VAL);
  EXPECT_EQ(to_json(metric), R"({"name":"x","value":"Infinity"})");
  EXPECT_EQ(parsed<Metric>(to_json(metric)).value(), HUGE_VAL);
}
TEST(Json, MapsAreObjectsInTheOrderOfTheirKeys) {
  const auto launch = parsed<agent::Call::LaunchContainer>(
      R"({"container_id":{"value":"x"},"limits":{"mem":{"value":256},"cpus":{"value":"Infinity"}}})");
  EXPECT_EQ(launch.limits().at("mem").value(), 256);
  EXPECT_EQ(
      to_json(launch),
      R"({"container_id":{"value":"x"},"limits":{"cpus":{"value":"Infinity"},"mem":{"value":256.0}}})");
  const auto spec = parsed<GantrySpec>(R"({"labels":{"b":"2","a":"1"}})");
  EXPECT_EQ(spec.labels().at("a"), "1");
}
TEST(Json, PrintsDefaultsThatAreNotDeprecated) {
  EXPECT_EQ(to_json(CommandInfo()), R"({"shell":true})");
  Resource resource;
  resource.set_name("cpus");
  resource.set_type(Value::SCALAR);
  EXPECT_EQ(to_json(resource), R"({"name":"cpus","type":"SCALAR"})");  // role is deprecated
}
TEST(Json, ErrorsNameThePathOfTheField) {
  using Call = agent::Call;
  EXPECT_EQ(
      error_of<Call>(R"({"launch_container":{"command":{"uris":[{"value":"a"},{"value":7}]}}})"),
      "launch_container.command.uris[1].value: expected a string");
  EXPECT_EQ(error_of<Call>(R"({"launch_container":{"limits":{"mem":{"value":"big"}}}})"),
            "launch_container.limits[\"mem\"].value: expected a number");
  EXPECT_EQ(error_of<Call>(R"({"launch_container":{"command":"x"}})"),
            "launch_container.command: expected an object");
  EXPECT_EQ(error_of<Call>(R"({"launch_container":{"resources":{}}})"),
            "launch_container.resources: expected an array of objects");
  EXPECT_EQ(error_of<Call>(R"({"wait_container":{"container_id":{"value":["x"]}}})"),
            "wait_container.container_id.value: expected a string, found an array");
  EXPECT_EQ(error_of<Call>(R"({"wait_container":{"container_id":{}}})"),
            "wait_container.container_id.value: required but missing");
  EXPECT_EQ(error_of<Call>(R"({"type":7})"), "type: expected one of its names as a string");
  EXPECT_EQ(error_of<TaskStatus>(R"({"uuid":"***="})"),
            "uuid: not base64 (standard alphabet, with padding)");
  EXPECT_EQ(error_of<Call>("[]"), "expected an object");
  EXPECT_EQ(error_of<Call>("7"), "expected an object");
}
TEST(Json, AFieldGivenTwiceIsAnError) {
  EXPECT_EQ(error_of<agent::Call>(R"({"type":"GET_HEALTH","type":"GET_VERSION"})"),
            "type: is given twice");
  EXPECT_EQ(error_of<agent::Call>(
                R"({"wait_container":{"container_id":{"value":"a"}},"wait_container":{}})"),
            "wait_container: is given twice");
}
TEST(Json, OurOwnMessagesTakeNoUnknownFieldsAndNames) {
  EXPECT_EQ(error_of<agent::Call>(R"({"launch_container":{"gantry_spec":{"seccomp2":{}}}})"),
            "launch_container.gantry_spec: has no field 'seccomp2' in this version of gantry");
  EXPECT_EQ(error_of<GantrySpec>(R"({"network":{"mode":"BRIGDE"}})"),
            "network.mode: 'BRIGDE' is not a value of it");
  agent::Call::LaunchContainer launch;
  launch.mutable_container_id()->set_value("x");
  launch.mutable_gantry_spec()->mutable_unknown_fields()->AddVarint(9, 1);
  agent::Call::LaunchContainer out;
  EXPECT_EQ(from_binary(launch.SerializeAsString(), out).error().to_string(),
            "gantry_spec.field number 9: unknown in this version of gantry");
}
TEST(Json, SaysWhereItStopsBeingJson) {
  EXPECT_EQ(error_of<agent::Call>(R"({"type":)"), "Invalid value. at line 1, column 9");
  EXPECT_EQ(error_of<agent::Call>("{\n \"type\" \"x\"}"),
            "Missing a colon after a name of object member. at line 2, column 9");
  EXPECT_EQ(error_of<agent::Call>("{} {}"),
            "The document root must not be followed by other values. at line 1, column 4");
  EXPECT_EQ(error_of<agent::Call>(std::string_view("{}\0{}", 5)),
            "something follows the object at line 1, column 3");
  EXPECT_EQ(error_of<agent::Call>(""), "The document is empty. at line 1, column 1");
  EXPECT_EQ(error_of<agent::Call>("{\"type\":\"\xff\"}"),
            "Invalid encoding in string. at line 1, column 10");
}
TEST(Json, DeepNestingEndsAtTheCap) {
  std::string deep = R"({"x":)";
  for (int i = 0; i < 1'000'000; ++i) deep += '[';
  EXPECT_EQ(error_of<agent::Call>(deep), "is nested deeper than 64");
  std::string parents = R"({"value":"a")";
  for (int i = 0; i < 100'000; ++i) parents += R"(,"parent":{"value":"a")";
  EXPECT_NE(error_of<ContainerID>(parents).find("is nested deeper than 64"), std::string::npos);
}
TEST(Json, AMegabyteOfStringIsKeptWhole) {
  const std::string big(1 << 20, 'x');
  const auto call = parsed<CommandInfo>(cat(R"({"value":")", big, "\"}"));
  EXPECT_EQ(call.value(), big);
}
TEST(Json, TextThatIsNotUtf8IsPrintedWithReplacements) {
  Label label;
  label.set_key(
      "a\xff"
      "b\xc3\xa9");
  EXPECT_EQ(to_json(label),
            "{\"key\":\"a\xef\xbf\xbd"
            "b\xc3\xa9\"}");
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}
TEST(Base64, RoundTripsEveryLength) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(from_base64(to_base64(bytes)).value(), bytes);
    bytes.push_back(static_cast<char>(i * 7));
  }
  EXPECT_EQ(to_base64("x\n"), "eAo=");
}
TEST(Base64, RefusesWhatIsNotOfTheAlphabet) {
  for (const char* bad : {"a", "ab=", "a===", "====", "a=bc", "ab\nc", "ab-_", "=abc"}) {
    EXPECT_FALSE(from_base64(bad)) << bad;
  }
}
TEST(Binary, RefusesGarbageAndNamesMissingFields) {
  agent::Call call;
  EXPECT_EQ(from_binary("\xff\xff\xff", call).error().to_string(),
            "not a protobuf message of this type");
  agent::Call partial;
  partial.mutable_wait_container()->mutable_container_id();
  EXPECT_EQ(from_binary(partial.SerializePartialAsString(), call).error().to_string(),
            "wait_container.container_id.value: required but missing");
}
}  // namespace
}  // namespace gantry::wire
