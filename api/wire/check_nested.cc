// What can be asked of a nested container: the rest it shares with its parent.
#include <algorithm>

#include "api/wire/spec_parser.h"

namespace gantry::wire {
namespace {
Result<void> only(const Field& field, const google::protobuf::Message& message,
                  std::initializer_list<std::string_view> allowed) {
  std::vector<const google::protobuf::FieldDescriptor*> given;
  message.GetReflection()->ListFields(message, &given);
  for (const auto* one : given) {
    if (std::ranges::find(allowed, std::string_view(one->name())) != allowed.end()) continue;
    return Error(Errc::unsupported, cat((field / one->name()).path(),
                                        ": a nested container shares its parent's; leave it out"));
  }
  return {};
}
}  // namespace

Result<void> check_nested(const Field& field, const agent::Call::LaunchContainer& in) {
  static constexpr std::initializer_list<std::string_view> kSpec = {"args",
                                                                    "env",
                                                                    "cwd",
                                                                    "user",
                                                                    "additional_groups",
                                                                    "cap_add",
                                                                    "seccomp",
                                                                    "no_new_privileges",
                                                                    "tty",
                                                                    "open_stdin",
                                                                    "labels",
                                                                    "window_size",
                                                                    "remove_on_exit",
                                                                    "stop_timeout_seconds",
                                                                    "stop_signal"};
  GANTRY_TRY(only(field, in, {"container_id", "command", "container", "gantry_spec"}));
  GANTRY_TRY(only(field / "command", in.command(),
                  {"value", "shell", "arguments", "environment", "user"}));
  const Field container = field / "container";
  GANTRY_TRY(
      only(container, in.container(), {"type", "mesos", "linux_info", "tty_info", "gantry_spec"}));
  GANTRY_TRY(only(container / "mesos", in.container().mesos(), {}));
  GANTRY_TRY(only(container / "linux_info", in.container().linux_info(), {"share_cgroups"}));
  GANTRY_TRY(only(field / "gantry_spec", in.gantry_spec(), kSpec));
  return only(container / "gantry_spec", in.container().gantry_spec(), kSpec);
}
}  // namespace gantry::wire
