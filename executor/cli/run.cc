// gantry run
#include <fcntl.h>
#include <unistd.h>

#include <functional>

#include "base/sys.h"
#include "executor/cli/command_list.h"
#include "executor/cli/complaint.h"
#include "executor/cli/foreground.h"
#include "executor/cli/print.h"
#include "executor/cli/run_checks.h"
#include "executor/cli/run_request.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
#if defined(__aarch64__)
constexpr std::string_view kPlatform = "linux/arm64";
#else
constexpr std::string_view kPlatform = "linux/amd64";
#endif

constexpr ForeignFlag kForeignFlags[] = {
    {"net", "network", {}},
    {"pids-limit", "pids", {}},
    {"cpuset-cpus", "cpuset", {}},
    {"P", {}, "name each port: -p HOST:CONTAINER"},
    {"publish-all", {}, "name each port: -p CONTAINER"},
    {"gpus", {}, "name each device: --device /dev/dri/card0"},
    {"expose", {}, "every port is open to the host; -p HOST:CONTAINER publishes one"},
    {"log-driver", {}, "`gantry logs` reads the output, and so do files in the sandbox"},
    {"pid", {}, "each container has a process namespace of its own"},
    {"ipc", {}, "each container has an IPC namespace of its own"},
    {"uts", {}, "each container has a host name of its own: --hostname NAME"},
    {"userns", {}, "there are no user namespaces yet: -u USER runs it as somebody else"},
    {"ip", {}, "the bridge chooses the address; `gantry ps` shows it"},
    {"link", {}, "write --add-host NAME:ADDRESS; `gantry ps` shows the address"},
    {"platform", {}, "an image is for this host's processor", kPlatform},
    // Of `gantry create`.
    {"d", {}, "nothing runs yet: `gantry start` runs it, and `gantry start -a` stays with it"},
    {"detach", {}, "nothing runs yet: `gantry start` runs it, and `gantry start -a` stays with it"},
};
}  // namespace

void RunOptions::declare(Flags& flags) {
  flags.section("How it runs");
  flags.toggle('d', "detach", &detach, "do not wait: print the id and return");
  flags.add(0, "detach-keys", "KEYS", &detach_keys, kDetachKeysHelp);
  flags.add(0, "pidfile", "FILE", &pidfile,
            "a new file for the pid, on the host, of its first process");
  declare_common(flags);
}

void RunOptions::declare_common(Flags& flags) {
  flags.stop_at_first_argument();
  flags.know_foreign(kForeignFlags);
  flags.section("How it runs");
  flags.toggle('i', "interactive", &interactive, "pass on stdin; without it stdin is /dev/null");
  flags.toggle('t', "tty", &terminal,
               "with a terminal; -it lends it this one (ctrl-p ctrl-q leaves it running)");
  flags.toggle(0, "rm", &remove, "remove the container when it has ended");
  flags.add(
      0, "restart", "POLICY", &restart,
      "run it again when it ends: no, on-failure[:TIMES], always (until `gantry stop`, and after "
      "a reboot), unless-stopped");
  flags.add(0, "log-opt", "max-size=SIZE,max-file=N", &log_options,
            "begin a new log file at so many bytes (at least 1k), and keep N of them (default: as "
            "the executor is set, which is one file of any size)");
  flags.add(0, "name", "NAME", &name, "a name, unique among containers");
  flags.add(0, "cidfile", "FILE", &cidfile, "a new file for the id");
  flags.add('l', "label", "KEY=VALUE", &labels, "a label; data only");
  flags.add(
      0, "pull", "WHEN", &pull,
      "missing or never, which are the same: an image comes into the store by `gantry import`");
  flags.add(0, "stop-signal", "SIGNAL", &stop_signal,
            "what `gantry stop` sends first (default: the image's, else SIGTERM)");
  flags.add(0, "stop-timeout", "SECONDS", &stop_timeout,
            "how long `gantry stop` waits before SIGKILL (default 10)");
  declare_health(flags);
  flags.section("The process");
  flags.add('e', "env", "NAME=VALUE", &env, "a variable; NAME alone passes on the value here");
  flags.add(0, "env-file", "FILE", &env_files, "variables, one a line; # begins a comment");
  flags.add('w', "workdir", "DIR", &workdir,
            "the working directory (default: the image's, else /)");
  flags.add('u', "user", "USER[:GROUP]", &user,
            "names or numbers (default: the image's, else root)");
  flags.add(0, "group-add", "GROUP", &groups, "a further group");
  flags.add(0, "entrypoint", "PROGRAM", &entrypoint,
            "instead of the image's entrypoint; empty: none");
  flags.add(0, "hostname", "NAME", &hostname, "the host name inside (default: from the id)");
  flags.toggle(0, "init", &init, "gantry-init as PID 1: reaps orphans, forwards signals");
  flags.add(0, "ulimit", "NAME=SOFT[:HARD]", &ulimits, "a limit of the process, e.g. nofile=1024");
  flags.add(0, "oom-score-adj", "N", &oom_score_adj, "-1000 to 1000");
  flags.section("Files");
  flags.add('v', "volume", "SOURCE:PLACE[:ro]", &volumes,
            "a directory or file of the host; PLACE alone: a volume that goes with the container; "
            "options: ro, nosuid, nodev, noexec, bind, and the propagation");
  flags.add(0, "tmpfs", "PLACE[:size=64m]", &tmpfs, "an empty file system in memory");
  flags.add(0, "mount", "KEY=VALUE,...", &mounts,
            "the same in Docker's long form: type=bind|volume|tmpfs, source, target, readonly, "
            "bind-propagation, tmpfs-size, tmpfs-mode");
  flags.add(0, "shm-size", "SIZE", &shm_size, "the size of /dev/shm (64m)");
  flags.add(0, "rootfs", "DIR", &rootfs, "a directory as root file system instead of an image");
  flags.toggle(0, "read-only", &read_only, "the root file system cannot be written");
  flags.add(0, "uri", "URI#sha256=HEX", &uris,
            "fetch a file (file, http, https) into the sandbox, /mnt/mesos/sandbox inside; more "
            "after &: extract, executable, name=FILE");
  declare_limits(flags);
  flags.add(
      0, "cgroup-parent", "NAME", &cgroup_parent,
      "its cgroup is below ROOT/parents/NAME, e.g. web or web/front: limits that are set there "
      "hold for all containers in it together");
  flags.section("Network");
  flags.add(0, "network", "MODE", &network,
            "none (loopback only, the default), host, or bridge (the default with -p)");
  flags.add('p', "publish", "[[IP:]HOST:]CONT[/udp]", &ports,
            "a port of the host that leads into the container; 8000-8010:80-90 are as many");
  flags.add(0, "dns", "ADDRESS", &dns, "a name server");
  flags.add(0, "add-host", "NAME:ADDRESS", &hosts, "a line of /etc/hosts");
  flags.section("Rights");
  flags.add(0, "cap-add", "CAPABILITY", &cap_add, "a further capability, e.g. NET_ADMIN, or ALL");
  flags.add(0, "cap-drop", "CAPABILITY", &cap_drop, "one capability less, or ALL");
  flags.add(0, "security-opt", "OPTION", &security,
            "seccomp=unconfined, seccomp=FILE (Docker's format), no-new-privileges=false, "
            "systempaths=unconfined; apparmor=unconfined and label=disable, as is always so");
  flags.add(
      0, "device", "PATH[:PLACE][:rwm]", &devices,
      "a device of the host, e.g. /dev/fuse; PLACE: its path inside; rwm: to read, write, make "
      "(all)");
  flags.add(0, "device-cgroup-rule", "TYPE MAJOR:MINOR ACCESS", &device_rules,
            "allow devices by number, e.g. 'c 10:* rw'");
  flags.toggle(0, "privileged", &privileged,
               "every capability that can be had here, every device, no seccomp, nothing masked");
  flags.add(0, "sysctl", "KEY=VALUE", &sysctls, "a kernel setting of its namespaces");
}

void RunOptions::declare_limits(Flags& flags) {
  flags.section("Limits");
  flags.add('m', "memory", "SIZE", &memory, "memory, e.g. 64m or 1.5g; more ends the container");
  flags.add(0, "memory-reservation", "SIZE", &memory_reservation,
            "what it keeps when the host is short");
  flags.add(0, "memory-swap", "SIZE", &memory_swap, "memory and swap together; -1: unlimited");
  flags.add(0, "cpus", "N", &cpus, "CPUs, e.g. 0.5");
  flags.add(0, "cpu-shares", "N", &cpu_shares, "weight against others, 2 to 262144 (1024)");
  flags.add(0, "cpuset", "CPUS", &cpuset, "only these CPUs, e.g. 0-1,3");
  flags.add(0, "cpuset-mems", "NODES", &cpuset_mems, "only these memory nodes");
  flags.add(0, "pids", "N", &pids, "processes and threads; -1: unlimited");
  flags.add(0, "blkio-weight", "N", &blkio_weight, "share of disk time, 10 to 1000");
  flags.add(0, "device-read-bps", "DEVICE:SIZE", &read_bps,
            "bytes a second read from a disk, e.g. /dev/sda:10m");
  flags.add(0, "device-write-bps", "DEVICE:SIZE", &write_bps, "bytes a second written to it");
  flags.add(0, "device-read-iops", "DEVICE:N", &read_iops, "reads of a disk a second");
  flags.add(0, "device-write-iops", "DEVICE:N", &write_iops, "writes to it a second");
}

namespace {
// A file of --cidfile or --pidfile: new, and gone again unless what it is about was started.
class NewFile {
 public:
  static Result<NewFile> make(std::string_view flag, const std::string& path) {
    NewFile out(flag, path);
    if (path.empty()) return out;
    out.fd_ = GANTRY_TRY(sys::open(path, O_WRONLY | O_CREAT | O_EXCL, 0644).context(flag));
    return out;
  }
  NewFile(NewFile&&) = default;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile() {
    if (fd_ && !is_kept_) ::unlink(path_.c_str());
  }
  explicit operator bool() const { return static_cast<bool>(fd_); }
  Result<void> write(std::string_view text) {
    if (!fd_) return {};
    return sys::write_all(fd_.get(), text).context(flag_, " ", path_);
  }
  void keep() { is_kept_ = true; }

 private:
  NewFile(std::string_view flag, const std::string& path) : flag_(flag), path_(path) {}
  std::string_view flag_;
  std::string path_;
  UniqueFd fd_;
  bool is_kept_ = false;
};

void print_id(const Session& session, const std::string& id, const std::string& name) {
  if (session.json()) {
    JsonWriter json;
    json.open().text("id", id);
    if (!name.empty()) json.text("name", name);
    write_out(json.close().line());
  } else {
    write_out(id + "\n");
  }
}

class Run final : public Command {
 public:
  void declare(Flags& flags) override { options_.declare(flags); }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(check_together(options_));
    GANTRY_TRY(check_locality(session, options_));
    if (options_.terminal && !options_.detach) GANTRY_TRY(check_terminal(options_.interactive));
    const std::string id = sys::random_hex(16);
    const std::string request = GANTRY_TRY(run_request(options_, id, words));
    keys_ = GANTRY_TRY(parse_detach_keys(options_.detach_keys.value_or(kDetachKeys)));
    NewFile id_file = GANTRY_TRY(NewFile::make("--cidfile", options_.cidfile));
    NewFile pid_file = GANTRY_TRY(NewFile::make("--pidfile", options_.pidfile));
    GANTRY_TRY(id_file.write(id));
    return launch(session, id, request, [&] {
      id_file.keep();
      pid_file.keep();
      return pid_file ? write_pid(session, id, pid_file) : Result<void>();
    });
  }

 private:
  static Result<void> write_pid(Session& session, const std::string& id, NewFile& file) {
    const Result<JsonDocument> answer =
        session.call(container_call("GANTRY_INSPECT", "gantry_inspect", id));
    const int64_t pid = answer ? integer_of(*answer, "gantry_inspect.container.pid") : 0;
    // It has ended already; an empty file says so.
    return pid == 0 ? Result<void>() : file.write(cat(pid));
  }

  Result<int> launch(Session& session, const std::string& id, const std::string& request,
                     const std::function<Result<void>()>& on_started) {
    if (!options_.detach) {
      return run_in_foreground(session, {.id = id, .parent = {}}, request,
                               {.stdin_attached = options_.interactive,
                                .terminal = options_.terminal,
                                .detach_keys = keys_,
                                .json = session.json(),
                                .restart = options_.restart == "no" ? "" : options_.restart,
                                .name = options_.name,
                                .on_started = on_started});
    }
    const HttpResponse response = GANTRY_TRY(session.exchange(request));
    if (response.head.status / 100 != 2) return report_launch_failure(session, response, request);
    GANTRY_TRY(on_started());
    print_id(session, id, options_.name);
    return 0;
  }

  RunOptions options_;
  std::string keys_;
};

class Create final : public Command {
 public:
  void declare(Flags& flags) override { options_.declare_common(flags); }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(check_together(options_));
    options_.create_only = true;
    const std::string id = sys::random_hex(16);
    const std::string request = GANTRY_TRY(run_request(options_, id, words));
    NewFile id_file = GANTRY_TRY(NewFile::make("--cidfile", options_.cidfile));
    GANTRY_TRY(id_file.write(id));
    const HttpResponse response = GANTRY_TRY(session.exchange(request));
    if (response.head.status / 100 != 2) return report_launch_failure(session, response, request);
    id_file.keep();
    print_id(session, id, options_.name);
    return 0;
  }

 private:
  RunOptions options_;
};
}  // namespace

std::unique_ptr<Command> make_create() { return make_command<Create>(); }
std::unique_ptr<Command> make_run() { return make_command<Run>(); }
}  // namespace gantry::cli
