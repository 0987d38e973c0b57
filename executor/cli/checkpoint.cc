// gantry checkpoint, restore
#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
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
    JsonWriter json;
    json.open().text("type", "GANTRY_CHECKPOINT").open("gantry_checkpoint");
    json.open("container_id").text("value", words[0]).close();
    if (!name_.empty()) json.text("name", name_);
    if (leave_running_) json.boolean("leave_running", true);
    if (tcp_) json.boolean("tcp_established", true);
    if (locks_) json.boolean("file_locks", true);
    const Result<JsonDocument> called = session.call(json.close().close().take());
    if (!called) return Error(called.error().code(), explain_missing(called.error(), words[0]));
    const JsonDocument& answer = *called;
    if (session.json()) {
      write_json_member(answer, "gantry_checkpoint");
      return 0;
    }
    write_out(text_of(answer, "gantry_checkpoint.checkpoint") + "\n");
    return 0;
  }

 private:
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
    if (!called) return explain(called.error(), words[0]);
    const JsonDocument& answer = *called;
    if (session.json()) {
      if (const Json* restored = find(answer, "gantry_restore")) {
        JsonDocument copy;
        copy.CopyFrom(*restored, copy.GetAllocator());
        add_id(copy, *restored, copy.GetAllocator());
        write_json(copy);
      }
    } else {
      write_out(words[0] + "\n");
    }
    return 0;
  }

 private:
  // What is not there may also be the checkpoint: then the executor says which there are.
  static Error explain(const Error& error, const std::string& container) {
    const bool is_container = error.to_string().starts_with("no container ");
    return {error.code(), is_container ? explain_missing(error, container) : error.to_string()};
  }

  std::string checkpoint_;
  bool tcp_ = false;
};
}  // namespace

std::unique_ptr<Command> make_checkpoint() { return make_command<Checkpoint>(); }
std::unique_ptr<Command> make_restore() { return make_command<Restore>(); }
}  // namespace gantry::cli
