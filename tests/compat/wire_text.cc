#include "tests/compat/wire_text.h"

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "base/str.h"
#include "launcher/child/plan_view.h"
#include "launcher/process/handover.h"
#include "launcher/protocol.h"

namespace gantry::test {
namespace {
#define NAMED(type, name) {type::name, #name}
// A number that means something else than it did shows as another name.
constexpr std::pair<MessageType, const char*> kTypes[] = {
    NAMED(MessageType, kHello),      NAMED(MessageType, kLaunch),
    NAMED(MessageType, kForget),     NAMED(MessageType, kOpenStdin),
    NAMED(MessageType, kCloseStdin), NAMED(MessageType, kShutdown),
    NAMED(MessageType, kDone),       NAMED(MessageType, kExited),
    NAMED(MessageType, kRescan),     NAMED(MessageType, kLauncherHello),
    NAMED(MessageType, kAdd),        NAMED(MessageType, kDropStdin),
    NAMED(MessageType, kRemove),     NAMED(MessageType, kStop),
    NAMED(MessageType, kHeld),       NAMED(MessageType, kHeldEnd),
    NAMED(MessageType, kDrained),    NAMED(MessageType, kFlush),
    NAMED(MessageType, kWatch),      NAMED(MessageType, kSizes),
    NAMED(MessageType, kAdopt),      NAMED(MessageType, kAssign),
    NAMED(MessageType, kUpgrade),    NAMED(MessageType, kGiveTerminal),
};
constexpr std::pair<SlotState, const char*> kStates[] = {
    NAMED(SlotState, kFree),   NAMED(SlotState, kReserved), NAMED(SlotState, kRunning),
    NAMED(SlotState, kOrphan), NAMED(SlotState, kExited),   NAMED(SlotState, kLost),
};
constexpr std::pair<OpKind, const char*> kKinds[] = {
    NAMED(OpKind, kNone),
    NAMED(OpKind, kWaitSignal),
    NAMED(OpKind, kBarrier),
    NAMED(OpKind, kNextPlan),
    NAMED(OpKind, kExec),
    NAMED(OpKind, kSetsid),
    NAMED(OpKind, kControllingTty),
    NAMED(OpKind, kParentDeathSignal),
    NAMED(OpKind, kDuplicate),
    NAMED(OpKind, kCloseRange),
    NAMED(OpKind, kUmask),
    NAMED(OpKind, kNice),
    NAMED(OpKind, kScheduler),
    NAMED(OpKind, kAffinity),
    NAMED(OpKind, kOomScoreAdj),
    NAMED(OpKind, kSessionKeyring),
    NAMED(OpKind, kPersonality),
    NAMED(OpKind, kRlimit),
    NAMED(OpKind, kJoinCgroup),
    NAMED(OpKind, kUnshare),
    NAMED(OpKind, kSetns),
    NAMED(OpKind, kLoopbackUp),
    NAMED(OpKind, kHostname),
    NAMED(OpKind, kDomainname),
    NAMED(OpKind, kSysctl),
    NAMED(OpKind, kMapIds),
    NAMED(OpKind, kPropagation),
    NAMED(OpKind, kRootBind),
    NAMED(OpKind, kRootOverlay),
    NAMED(OpKind, kRootHost),
    NAMED(OpKind, kStagingArea),
    NAMED(OpKind, kMoveStaged),
    NAMED(OpKind, kMountFs),
    NAMED(OpKind, kBind),
    NAMED(OpKind, kMkdir),
    NAMED(OpKind, kMakeNode),
    NAMED(OpKind, kSymlink),
    NAMED(OpKind, kWriteFile),
    NAMED(OpKind, kPivotRoot),
    NAMED(OpKind, kMaskPath),
    NAMED(OpKind, kReadonlyPath),
    NAMED(OpKind, kReadonlyRoot),
    NAMED(OpKind, kChdir),
    NAMED(OpKind, kGroups),
    NAMED(OpKind, kGid),
    NAMED(OpKind, kUid),
    NAMED(OpKind, kBoundingSet),
    NAMED(OpKind, kCapabilities),
    NAMED(OpKind, kAmbient),
    NAMED(OpKind, kNoNewPrivileges),
    NAMED(OpKind, kSeccomp),
    NAMED(OpKind, kTerminal),
    NAMED(OpKind, kFork),
};
#undef NAMED

template <class Kind, size_t N>
std::string name_of(const std::pair<Kind, const char*> (&table)[N], Kind kind) {
  for (const auto& [value, name] : table) {
    if (value == kind) return name;
  }
  return cat("unknown ", static_cast<int>(kind));
}

// One line for each field that is not zero: a later version's fields change nothing here.
class Text {
 public:
  Text& field(const char* name, int64_t value) {
    if (value != 0) out_ += cat("  ", name, " ", value, "\n");
    return *this;
  }
  Text& field(const char* name, const std::string& value) {
    if (!value.empty()) out_ += cat("  ", name, " '", printable(value), "'\n");
    return *this;
  }
  template <size_t N>
  Text& field(const char* name, const char (&value)[N]) {
    return field(name, std::string(value, ::strnlen(value, N)));
  }
  Text& line(const std::string& text) {
    out_ += text + "\n";
    return *this;
  }
  std::string take() { return std::move(out_); }

 private:
  static std::string printable(const std::string& value) {
    std::string out;
    for (const char c : value) out += c >= ' ' && c < 0x7f ? c : '?';
    return out;
  }
  std::string out_;
};

template <class T>
T struct_at(const std::string& bytes, size_t at) {
  T out;
  if (at + sizeof out > bytes.size()) return T();
  std::memcpy(&out, bytes.data() + at, sizeof out);
  return out;
}

void head(Text& text, const MessageHead& head) {
  text.line(name_of(kTypes, head.type))
      .field("magic", head.magic)
      .field("version", head.version)
      .field("request", static_cast<int64_t>(head.request));
}

std::string text_of(const Request& r) {
  Text text;
  head(text, r.head);
  text.field("slot", static_cast<int32_t>(r.slot))
      .field("flags", r.flags)
      .field("sizes[0]", static_cast<int64_t>(r.sizes[0]))
      .field("sizes[1]", static_cast<int64_t>(r.sizes[1]))
      .field("pid", r.pid)
      .field("key", r.key)
      .field("log_directory", r.log_directory);
  return text.take();
}

std::string text_of(const Answer& a) {
  Text text;
  head(text, a.head);
  text.field("error", a.error)
      .field("slot", static_cast<int32_t>(a.slot))
      .field("pid", a.pid)
      .field("ops", a.ops)
      .field("flags", a.flags)
      .field("start_time", static_cast<int64_t>(a.start_time))
      .field("sizes[0]", static_cast<int64_t>(a.sizes[0]))
      .field("sizes[1]", static_cast<int64_t>(a.sizes[1]))
      .field("text", a.text);
  return text.take();
}

std::string table_text(const std::string& bytes) {
  Text text;
  const auto header = struct_at<TableHeader>(bytes, 0);
  text.line("table")
      .field("magic", header.magic)
      .field("version", header.version)
      .field("slots", header.slots)
      .field("launcher_pid", header.launcher_pid)
      .field("high_water", header.high_water)
      .field("running", header.running)
      .field("boot_id", header.boot_id);
  for (size_t at = sizeof header; at + sizeof(Slot) <= bytes.size(); at += sizeof(Slot)) {
    const auto slot = struct_at<Slot>(bytes, at);
    text.line(name_of(kStates, slot.state))
        .field("pid", slot.pid)
        .field("start_time", static_cast<int64_t>(slot.start_time))
        .field("exit_time_ns", slot.exit_time_ns)
        .field("wait_status", slot.wait_status)
        .field("generation", slot.generation)
        .field("user_us", static_cast<int64_t>(slot.user_us))
        .field("system_us", static_cast<int64_t>(slot.system_us))
        .field("max_rss_kib", static_cast<int64_t>(slot.max_rss_kib))
        .field("io", slot.io)
        .field("flags", slot.flags)
        .field("key", slot.key)
        .field("log_directory", slot.log_directory);
  }
  return text.take();
}

// As Launcher::open_again reads it: both structs may be longer or shorter than ours.
std::string handover_text(const std::string& bytes) {
  Text text;
  const auto sizes = struct_at<std::array<uint32_t, 4>>(bytes, 0);
  launcher::HandoverHeader header;
  std::memcpy(&header, bytes.data(), std::min<size_t>(sizes[1], sizeof header));
  text.line("handover")
      .field("magic", header.magic)
      .field("request", static_cast<int64_t>(header.request))
      .field("client", header.client)
      .field("lock", header.lock)
      .field("listen", header.listen)
      .field("logger_listen", header.logger_listen)
      .field("logger", header.logger)
      .field("logger_pid", header.logger_pid);
  for (const auto& client : header.clients) {
    if (client.fd >= 0) text.field("client.fd", client.fd).field("missed", client.missed_exits);
  }
  for (uint32_t i = 0; i < sizes[3]; ++i) {
    launcher::HandoverEntry entry;
    std::memcpy(&entry, bytes.data() + sizes[1] + size_t{i} * sizes[2],
                std::min<size_t>(sizes[2], sizeof entry));
    text.line("entry")
        .field("slot", entry.slot)
        .field("pending", entry.pending)
        .field("out", entry.out)
        .field("err", entry.err)
        .field("in", entry.in)
        .field("pidfd", entry.pidfd)
        .field("retry_until_ns", entry.retry_until_ns);
  }
  return text.take();
}

std::string plan_text(const std::string& bytes) {
  Text text;
  std::vector<uint64_t> aligned((bytes.size() + 7) / 8);
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  child::PlanView plan;
  if (const char* wrong = child::check_plan(aligned.data(), bytes.size(), &plan)) return wrong;
  const PlanHeader& h = *plan.header;
  text.line("plan")
      .field("fd_count", h.fd_count)
      .field("cgroup_fd", h.cgroup_fd)
      .field("clone_flags", static_cast<int64_t>(h.clone_flags))
      .field("report_fd", h.report_fd)
      .field("pid_namespace_fd", h.pid_namespace_fd);
  for (uint32_t i = 0; i < h.argc; ++i)
    text.field("arg", std::string(plan.text(static_cast<uint32_t>(plan.argv[i]))));
  for (uint32_t i = 0; i < h.envc; ++i)
    text.field("env", std::string(plan.text(static_cast<uint32_t>(plan.envp[i]))));
  for (uint32_t i = 0; i < h.op_count; ++i) {
    const Op& op = plan.ops[i];
    text.line(name_of(kKinds, op.kind))
        .field("flags", op.flags)
        .field("fd", op.fd)
        .field("s1", std::string(plan.text(op.s1)))
        .field("s2", std::string(plan.text(op.s2)))
        .field("s3", std::string(plan.text(op.s3)))
        .field("a", static_cast<int64_t>(op.a))
        .field("b", static_cast<int64_t>(op.b))
        .field("c", static_cast<int64_t>(op.c));
  }
  return text.take();
}
}  // namespace

std::string wire_text(const std::string& name, const std::string& bytes) {
  if (name.starts_with("plan-")) return plan_text(bytes);
  if (name.starts_with("handover")) return handover_text(bytes);
  if (name.starts_with("table")) return table_text(bytes);
  const bool is_request = name.starts_with("request-");
  const size_t size = is_request ? sizeof(Request) : sizeof(Answer);
  if (bytes.size() != size) return cat("has ", bytes.size(), " bytes, not ", size, "\n");
  return is_request ? text_of(struct_at<Request>(bytes, 0)) : text_of(struct_at<Answer>(bytes, 0));
}
}  // namespace gantry::test
