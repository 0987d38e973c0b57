#include "containerizer/container_record.h"

#include "api/records/container_record.pb.h"

namespace gantry {
namespace {
constexpr std::pair<ExitOutcome::Kind, std::string_view> kExitKinds[] = {
    {ExitOutcome::Kind::exited, "exited"},   {ExitOutcome::Kind::signalled, "signalled"},
    {ExitOutcome::Kind::limited, "limited"}, {ExitOutcome::Kind::lost, "lost"},
    {ExitOutcome::Kind::failed, "failed"},
};
constexpr std::pair<Rootfs::Kind, std::string_view> kRootKinds[] = {
    {Rootfs::Kind::host, "host"},
    {Rootfs::Kind::directory, "directory"},
    {Rootfs::Kind::overlay, "overlay"},
};

template <class Table, class Kind>
std::string name_of(const Table& table, Kind kind) {
  for (auto& [value, name] : table) {
    if (value == kind) return std::string(name);
  }
  check_failed("every kind has a name", __FILE__, __LINE__);
}
template <class Kind, size_t N>
Result<Kind> kind_of(const std::pair<Kind, std::string_view> (&table)[N], std::string_view text) {
  for (auto& [value, name] : table) {
    if (name == text) return value;
  }
  return Error(Errc::corrupt, cat("record: unknown kind '", text, "'"));
}

void write_root(const Rootfs& root, records::Root& out) {
  out.set_kind(name_of(kRootKinds, root.kind));
  out.set_directory(root.directory);
  for (const std::string& lower : root.lowers) out.add_lowers(lower);
  out.set_upper(root.upper);
  out.set_work(root.work);
  out.set_snapshot_key(root.snapshot_key);
}

void write_exit(const ExitOutcome& outcome, int64_t time_ns, records::Exit& out) {
  out.set_kind(name_of(kExitKinds, outcome.kind));
  out.set_code(outcome.code);
  out.set_core_dumped(outcome.core_dumped);
  out.set_reason(outcome.reason);
  out.set_resource(outcome.resource);
  out.set_time_ns(time_ns);
}

std::string credentials_text(const Credentials& who) {
  return cat(who.uid, ":", who.gid, ":", who.home);
}

Credentials parse_credentials(std::string_view text) {
  Credentials who;
  size_t first = text.find(':');
  size_t second = text.find(':', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos ||
      !parse_number(text.substr(0, first), who.uid) ||
      !parse_number(text.substr(first + 1, second - first - 1), who.gid)) {
    return {};
  }
  who.home = text.substr(second + 1);
  return who;
}
}  // namespace

std::string serialize_record(const Container& container,
                             const std::map<std::string, std::string>& isolators) {
  records::Container out;
  out.set_id(container.id.value());
  if (container.id.parent() != nullptr) out.set_parent(container.id.parent()->to_string());
  out.set_state(std::string(to_string(container.state())));
  out.set_request(container.spec->request_bytes);
  out.set_created_ns(container.created_ns);
  if (container.started_ns != 0) out.set_started_ns(container.started_ns);
  if (container.process) {
    const ProcessIdentity& identity = container.process->identity();
    out.mutable_process()->set_pid(identity.pid);
    out.mutable_process()->set_start_time(identity.start_time);
    out.mutable_process()->set_boot_id(identity.boot_id);
  }
  if (container.outcome) {
    write_exit(*container.outcome, container.exited_ns, *out.mutable_exit());
  } else if (container.former_outcome) {
    write_exit(*container.former_outcome, container.former_exited_ns, *out.mutable_exit());
  }
  write_root(container.rootfs, *out.mutable_root());
  out.set_image_digest(container.image_digest);
  out.set_hostname(container.hostname);
  out.set_resolved_user(credentials_text(container.credentials));
  for (gid_t group : container.credentials.groups) out.add_resolved_groups(group);
  if (container.spec->is_session) out.set_is_session(true);
  if (container.restarts != 0) out.set_restarts(container.restarts);
  if (container.was_stopped) out.set_was_stopped(true);
  if (container.ran_before) out.set_ran_before(true);
  if (container.restart_wanted) out.set_restart_wanted(true);
  if (container.was_created) out.set_was_created(true);
  for (auto& [name, bytes] : isolators) (*out.mutable_isolators())[name] = bytes;
  for (const PhaseTime& phase : container.phases) {
    records::Phase* p = out.add_phases();
    p->set_name(phase.name);
    p->set_microseconds(phase.duration.count());
  }
  return out.SerializeAsString();
}

Result<ContainerRecord> parse_record(std::string_view bytes) {
  records::Container in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Error(Errc::corrupt, "record: does not parse");
  }
  const std::string path = in.has_parent() ? cat(in.parent(), ".", in.id()) : in.id();
  ContainerId id = GANTRY_TRY(ContainerId::parse_path(path));
  ContainerRecord out{.id = std::move(id),
                      .state = GANTRY_TRY(parse_container_state(in.state())),
                      .request_bytes = in.request(),
                      .created_ns = in.created_ns(),
                      .started_ns = in.started_ns(),
                      .exited_ns = in.exit().time_ns(),
                      .process = {},
                      .outcome = {},
                      .rootfs = {},
                      .credentials = parse_credentials(in.resolved_user()),
                      .image_digest = in.image_digest(),
                      .hostname = in.hostname(),
                      .isolators = {in.isolators().begin(), in.isolators().end()},
                      .phases = {},
                      .is_session = in.is_session(),
                      .restarts = in.restarts(),
                      .was_stopped = in.was_stopped(),
                      .ran_before = in.ran_before(),
                      .restart_wanted = in.restart_wanted(),
                      .was_created = in.was_created()};
  out.credentials.groups.assign(in.resolved_groups().begin(), in.resolved_groups().end());
  if (in.has_process()) {
    out.process =
        ProcessIdentity{in.process().pid(), in.process().start_time(), in.process().boot_id()};
  }
  if (in.has_exit()) {
    out.outcome = ExitOutcome{GANTRY_TRY(kind_of(kExitKinds, in.exit().kind())), in.exit().code(),
                              in.exit().core_dumped(), in.exit().reason(), in.exit().resource()};
  }
  out.rootfs.kind = GANTRY_TRY(kind_of(kRootKinds, in.root().kind()));
  out.rootfs.directory = in.root().directory();
  out.rootfs.lowers = {in.root().lowers().begin(), in.root().lowers().end()};
  out.rootfs.upper = in.root().upper();
  out.rootfs.work = in.root().work();
  out.rootfs.snapshot_key = in.root().snapshot_key();
  for (const records::Phase& phase : in.phases()) {
    out.phases.push_back({phase.name(), std::chrono::microseconds(phase.microseconds())});
  }
  return out;
}
}  // namespace gantry
