#include <gtest/gtest.h>

#include "api/wire/json.h"
#include "api/wire/parse.h"

namespace gantry::wire {
namespace {
TEST(ParseLaunch, ANestedContainerSaysOnlyWhatIsItsOwn) {
  auto nested = [](std::string_view members) {
    agent::Call::LaunchContainer in;
    const std::string id = R"({"container_id":{"value":"c","parent":{"value":"p"}},)";
    EXPECT_TRUE(from_json(cat(id, members, "}"), in)) << members;
    auto spec = parse_launch(Field("launch_container"), in);
    return spec ? "no error" : spec.error().to_string();
  };
  EXPECT_EQ(nested(R"("command":{"value":"x","user":"u"},"container":{"type":"MESOS","mesos":{},
      "linux_info":{"share_cgroups":true},"tty_info":{"window_size":{"rows":1,"columns":2}}})"),
            "no error");
  EXPECT_EQ(nested(R"("gantry_spec":{"args":["x"],"env":["A=1"],"cwd":"/","user":"1","tty":true,
      "window_size":{"rows":1,"columns":2},"open_stdin":true,"remove_on_exit":true})"),
            "no error");
  EXPECT_EQ(nested(R"("gantry_spec":{"args":["x"],"cap_add":["ALL"],"no_new_privileges":false,
      "seccomp":{"mode":"UNCONFINED"}})"),
            "no error");
  const std::pair<std::string_view, std::string_view> refused[] = {
      {R"("command":{"value":"x","uris":[{"value":"http://a/b"}]})", "command.uris"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","hostname":"h"})",
       "container.hostname"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","mesos":{"image":{"type":"DOCKER",
          "docker":{"name":"i"}}}})",
       "container.mesos.image"},
      {R"("command":{"value":"x"},"container":{"type":"MESOS","linux_info":{
          "effective_capabilities":{}}})",
       "container.linux_info.effective_capabilities"},
      {R"("command":{"value":"x"},"limits":{"mem":{"value":1}})", "limits"},
      {R"("gantry_spec":{"args":["x"],"cap_drop":["ALL"]})", "gantry_spec.cap_drop"},
      {R"("gantry_spec":{"args":["x"],"sysctls":{"a":"b"}})", "gantry_spec.sysctls"},
      {R"("gantry_spec":{"args":["x"],"masked_paths":false})", "gantry_spec.masked_paths"},
  };
  for (const auto& [members, field] : refused) {
    EXPECT_EQ(nested(members), cat("launch_container.", field,
                                   ": a nested container shares its parent's; leave it out"));
  }
}
}  // namespace
}  // namespace gantry::wire
