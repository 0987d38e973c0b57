// gantry checkpoint, restore. Asked again after an executor's death, what its predecessor has
// carried through counts.
#include <algorithm>

#include "base/sys.h"
#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
// Its details; null when nobody knows it any more.
JsonDocument inspect(Session& session, const std::string& container) {
  Result<JsonDocument> answer =
      session.call(container_call("GANTRY_INSPECT", "gantry_inspect", container));
  return answer ? std::move(*answer) : JsonDocument();
}

class Checkpoint final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add(0, "name", "NAME", &name_, "of the checkpoint (default: made up)");
    flags.toggle(0, "leave-running", &leave_running_, "the container goes on afterwards");
    flags.toggle(0, "tcp-established", &tcp_, "with its open TCP connections");
    flags.toggle(0, "file-locks", &locks_, "with its file locks");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "one container"));
    // A name of ours tells whether a predecessor of the executor has made it.
    if (name_.empty()) name_ = cat(words[0], "-", sys::realtime_ns() / 1'000'000);
    JsonWriter json;
    json.open().text("type", "GANTRY_CHECKPOINT").open("gantry_checkpoint");
    json.open("container_id").text("value", words[0]).close().text("name", name_);
    if (leave_running_) json.boolean("leave_running", true);
    if (tcp_) json.boolean("tcp_established", true);
    if (locks_) json.boolean("file_locks", true);
    const Result<JsonDocument> called = session.call(json.close().close().take());
    if (!called && session.has_asked_again() && is_made(session, words[0])) {
      write_out(session.json() ? JsonWriter().open().text("checkpoint", name_).close().line()
                               : name_ + "\n");
      return 0;
    }
    if (!called) return Error(called.error().code(), explain_missing(called.error(), words[0]));
    if (session.json()) {
      write_json_member(*called, "gantry_checkpoint");
      return 0;
    }
    write_out(text_of(*called, "gantry_checkpoint.checkpoint") + "\n");
    return 0;
  }

 private:
  bool is_made(Session& session, const std::string& container) const {
    const JsonDocument details = inspect(session, container);
    const auto names = list_of(details, "gantry_inspect.checkpoints");
    return std::ranges::any_of(names, [&](const Json* name) { return name->GetString() == name_; });
  }

  std::string name_;
  bool leave_running_ = false, tcp_ = false, locks_ = false;
};

class Restore final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add(0, "from", "CHECKPOINT", &checkpoint_,
              "a checkpoint by name (default: the container's newest); a wrong one lists those "
              "there are");
    flags.toggle(0, "tcp-established", &tcp_, "with its open TCP connections");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "one container"));
    JsonWriter json;
    json.open().text("type", "GANTRY_RESTORE").open("gantry_restore");
    json.text("checkpoint", checkpoint_.empty() ? words[0] : checkpoint_);
    json.open("container_id").text("value", words[0]).close();
    if (tcp_) json.boolean("tcp_established", true);
    const Result<JsonDocument> called = session.call(json.close().close().take());
    JsonDocument restored(rapidjson::kObjectType);
    auto& allocator = restored.GetAllocator();
    if (called) {
      const Json* answer = find(*called, "gantry_restore");
      if (answer != nullptr) restored.CopyFrom(*answer, allocator);
    } else {
      const JsonDocument details =
          session.has_asked_again() ? inspect(session, words[0]) : JsonDocument();
      if (text_of(details, "gantry_inspect.container.state") != "running") return called.error();
      const Json* id = find(details, "gantry_inspect.container.container_id");
      if (id != nullptr) restored.AddMember("container_id", Json(*id, allocator), allocator);
    }
    if (session.json()) {
      add_id(restored, restored, allocator);
      write_json(restored);
    } else {
      write_out(words[0] + "\n");
    }
    return 0;
  }

 private:
  std::string checkpoint_;
  bool tcp_ = false;
};
}  // namespace

std::unique_ptr<Command> make_checkpoint() { return make_command<Checkpoint>(); }
std::unique_ptr<Command> make_restore() { return make_command<Restore>(); }
}  // namespace gantry::cli
