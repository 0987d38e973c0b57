// OperatorBackend: what the operator API asks of the daemon, in value types. The daemon implements
// it; tests use one in memory. All input is validated before it gets here.
//
// How Errors become answers: invalid 400, not_found 404, already_exists, busy and conflict 409,
// exhausted and cancelled 503, unsupported 501, anything else 500; the body is Error::to_string().
//
// A ContainerId of a call other than launch may also be a container's name or the unique beginning
// of an id: names are resolved first (architecture §4 Ids). Calls of a client that goes away are
// carried through, except wait, attach_output and attach_input, whose chain is cancelled.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/oci/commit.h"
#include "api/oci/image.h"
#include "api/types/container_id.h"
#include "api/types/container_spec.h"
#include "api/types/container_state.h"
#include "api/types/exit_outcome.h"
#include "base/co.h"
#include "executor/http/exchange.h"
#include "launcher/isolator.h"

namespace gantry {

// ---- Answers ---------------------------------------------------------------------------------

struct ContainerSummary {
  ContainerId id;
  std::string name;
  ContainerState state = ContainerState::creating;
  std::string image, image_digest;  // as asked for; as found
  std::vector<std::string> command;
  pid_t pid = 0;                                            // 0: none
  int64_t created_ns = 0, started_ns = 0, finished_ns = 0;  // since the epoch; 0: not yet
  std::optional<ExitOutcome> outcome;
  std::vector<std::string> ip_addresses;
  std::vector<PortMapping> ports;
  std::map<std::string, std::string> labels;
  std::string hostname;
  std::string framework_id, executor_id, task_id;  // of a framework's task
  uint32_t restarts = 0;
  bool restart_due = false;      // it has ended, and is about to run again
  std::optional<Health> health;  // its log: in ContainerDetails only
};
struct ContainerDetails {
  ContainerSummary summary;
  std::string request_bytes;  // ContainerSpec::request_bytes
  std::vector<std::pair<std::string, std::chrono::microseconds>> phases;  // of the last launch
  std::chrono::microseconds total{0};                                     // from request to exec
  std::string sandbox, rootfs, record_directory, log_directory;           // host paths
  std::vector<std::string> cgroups;                                       // host paths
  std::vector<std::string> isolators;
  std::vector<std::string> checkpoints;  // names, oldest first
};
struct ContainerUsage {
  ContainerId id;
  std::string name;
  Usage usage;
};
struct ImageSummary {
  std::vector<std::string> references;
  std::string digest;
  Bytes size = 0;
  int64_t created_ns = 0;
  std::string platform;
  uint32_t layers = 0;
  std::vector<std::string> refused_names = {};  // of an import: what no image can be called
};
struct WrittenSpace {  // by a container into its root
  ContainerId id;
  Bytes bytes = 0;
  uint64_t inodes = 0;
};
struct ImageDetails {
  ImageSummary summary;
  std::string config;                                 // the image's JSON
  std::vector<std::pair<std::string, Bytes>> layers;  // digest and size of each blob, bottom first
};
struct RemovedImages {
  std::vector<std::string> untagged, deleted;
  Bytes freed = 0;
};
struct CheckpointAnswer {
  std::string name, path;
  Bytes size = 0;
  std::chrono::microseconds frozen{0}, total{0};
  std::vector<std::pair<std::string, std::chrono::microseconds>> steps = {};
};
struct RestoreAnswer {
  ContainerId id;
  std::chrono::microseconds total{0};
  std::vector<std::pair<std::string, std::chrono::microseconds>> steps = {};
};
struct Finding {
  enum class Verdict { ok, degraded, missing } verdict = Verdict::ok;
  std::string feature, detail, remedy;
};
struct FilePiece {
  uint64_t size = 0;  // of the whole file; of output: of all that came
  std::string data;
  uint64_t begin = 0;  // what is before was removed
};
struct FileEntry {
  std::string path;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  uint32_t mode = 0, nlink = 1;
  std::string user, group;
};
struct VersionFacts {
  std::string version, build_date, git_sha;
  double build_time = 0;
};

// ---- Requests --------------------------------------------------------------------------------

struct OutputOptions {
  bool from_start = false;             // false: only what comes from now on
  bool is_whole = false;               // what is no longer there is missed
  bool follow = true;                  // false: end at what is there now
  std::optional<uint64_t> tail_lines;  // with from_start: only the last ones
  std::optional<int64_t> since_ns;     // with from_start
  std::optional<int64_t> until_ns;     // ends there
  // With from_start: bytes to leave out.
  std::optional<uint64_t> stdout_offset, stderr_offset;
  bool stdout_wanted = true, stderr_wanted = true;
  bool says_waits = false;                   // chunks of OutputChunk::waits
  bool timestamps = false, offsets = false;  // fill in OutputChunk's
  std::optional<Duration> heartbeat;         // an empty chunk whenever nothing came for so long
};
struct OutputChunk {
  enum class Source { out, err } source = Source::out;
  std::string data;  // empty: a heartbeat
  std::optional<int64_t> time_ns;
  std::optional<uint64_t> offset{};  // of its first byte in the stream
  std::string waits{};               // without data: why nothing comes now
  uint64_t missed = 0;               // bytes before it that were removed before they could be sent
  // Without data: so many bytes from `offset` on in the file of OutputStream::hand_over().
  uint64_t length = 0;
};
// The output of a container, as it comes.
class OutputStream {
 public:
  virtual ~OutputStream() = default;
  // The next piece, nullopt at the end (the container has ended and all was sent; or not follow).
  // A cancelled chain ends it too.
  virtual Co<Result<std::optional<OutputChunk>>> next() = 0;
  // Of stdout and stderr the file that begins with the stream, where it is at hand (else -1): its
  // bytes are from now on only said, with their `length`, for somebody else to read.
  virtual std::array<int, 2> hand_over() { return {-1, -1}; }
};
// The input of a container; one at a time (Errc::conflict).
class InputSink {
 public:
  virtual ~InputSink() = default;
  // A container that does not read is waited for as long as somebody is there to write.
  virtual Co<Result<void>> write(std::string bytes, std::function<bool()> is_client_gone) = 0;
  virtual Co<Result<void>> close() = 0;  // end-of-file for the container
  virtual Co<Result<void>> resize(uint16_t rows, uint16_t columns) = 0;
  // What write() writes to, for a client on this host to write to itself; -1: nothing to hand over.
  virtual int descriptor() const = 0;
};

struct ImportOptions {
  std::string reference;  // empty: the archive's own names
  enum class Format { automatic, oci_layout, docker_archive, rootfs, images };
  Format format = Format::automatic;
  std::optional<oci::ImageConfig> config;  // of a root file system
};
struct CommitOptions {
  std::string reference;  // empty: it has no name
  std::string author, comment;
  bool pause = true;
  oci::ImageChanges changes;
  std::string request_id;  // empty: none
};
struct CheckpointOptions {
  std::string name;  // empty: made up
  bool leave_running = false, tcp_established = false, file_locks = false;
};
struct RestoreOptions {
  std::string checkpoint;
  std::optional<ContainerId> id;  // absent: under its own
  std::string name;
  bool tcp_established = false;
};

// A path of a container's root; see GantryCopyOut and GantryCopyIn.
struct CopyOptions {
  std::string path;
  bool one_file_system = false, no_devices = false, sparse = false;  // out
  bool contents = false, owners = false;                             // in
};
struct CopiedIn {
  uint64_t entries = 0, bytes = 0;
};
// What a container changed in its image's files: 'A', 'C' or 'D'.
struct FileChange {
  char kind = 'C';
  std::string path;  // any bytes
};
// A tar as it comes.
class TarStream {
 public:
  virtual ~TarStream() = default;
  // The next bytes; empty at the end. The first call fails with whatever is wrong with the path.
  virtual Co<Result<std::string>> next() = 0;
  // At the end: the device nodes and sockets that are not in it.
  virtual uint64_t left_out() const = 0;
  // Last call, at the end or before it.
  virtual Co<Result<void>> close() = 0;
};

// Something that happened; or, to a reader of events, what to know about its stream.
struct HostEvent {
  enum class Kind { event, heartbeat, cut_off, ended } kind = Kind::event;
  int64_t time_ns = 0;       // since the epoch; each is later than the one before
  std::string type, action;  // "container", "start"
  std::string id, name;      // of an image: digest and reference
  std::vector<std::pair<std::string, std::string>> attributes;
  std::string message;  // of cut_off, ended
};
struct EventOptions {
  std::optional<int64_t> since_ns, until_ns;  // no since: from now on; no until: for ever
  std::vector<std::string> types, actions, containers, images;  // none: any
  Duration heartbeat = std::chrono::seconds(30);
};
class EventStream {
 public:
  virtual ~EventStream() = default;
  // nullopt: at `until`, or after cut_off or ended. Errc::cancelled: the executor is leaving.
  virtual Co<Result<std::optional<HostEvent>>> next() = 0;
};

enum class LaunchAnswer { started, already_there };
enum class Force { no, yes };
enum class Readers { none, come };

class OperatorBackend {
 public:
  virtual ~OperatorBackend() = default;

  // Answers when the command has been exec'd.
  virtual Co<Result<LaunchAnswer>> launch(ContainerId id, ContainerSpec spec) = 0;
  // Answers when it can be started, and will be known after a reboot.
  virtual Co<Result<LaunchAnswer>> create(ContainerId id, ContainerSpec spec) = 0;
  // Keeps answering until REMOVE. No deadline.
  virtual Co<Result<ExitOutcome>> wait(ContainerId id) = 0;
  virtual Co<Result<void>> kill(ContainerId id, int signal) = 0;
  virtual Co<Result<ExitOutcome>> stop(ContainerId id, std::optional<std::chrono::seconds> grace,
                                       std::optional<int> signal) = 0;
  // A created one runs, an exited one again. Errc::busy while it runs.
  // Readers::come: one that removes itself waits for them, for a while. `after_end_ns`: of
  // Containerizer::start().
  virtual Co<Result<void>> start(ContainerId id, Readers readers,
                                 std::optional<int64_t> after_end_ns) = 0;
  // `wanted`: what it shall be, of which limits, restart policy and name may be others than now.
  virtual Co<Result<void>> update(ContainerId id, ContainerSpec wanted) = 0;
  virtual Co<Result<void>> pause(ContainerId id) = 0;
  virtual Co<Result<void>> resume(ContainerId id) = 0;
  virtual Co<Result<void>> remove(ContainerId id, Force force) = 0;

  virtual Co<Result<std::vector<ContainerSummary>>> list() = 0;
  virtual Co<Result<ContainerDetails>> inspect(ContainerId id) = 0;
  // No ids: every live container. One that ended meanwhile is left out.
  virtual Co<Result<std::vector<ContainerUsage>>> usage(std::vector<ContainerId> ids) = 0;

  // Virtual paths: /containers/ID/… in a container's sandbox. At most `length` bytes from `offset`;
  // an offset past the end is no error.
  virtual Co<Result<FilePiece>> read_file(std::string path, uint64_t offset, uint64_t length) = 0;
  virtual Co<Result<std::vector<FileEntry>>> list_files(std::string path) = 0;

  virtual Co<Result<std::unique_ptr<OutputStream>>> attach_output(ContainerId id,
                                                                  OutputOptions options) = 0;
  virtual Co<Result<std::unique_ptr<InputSink>>> attach_input(ContainerId id) = 0;
  virtual Co<Result<std::unique_ptr<EventStream>>> events(EventOptions options) = 0;

  virtual Co<Result<std::vector<ImageSummary>>> images() = 0;
  // Reads `body` to its end, or fails before.
  virtual Co<Result<std::vector<ImageSummary>>> import(ImportOptions options,
                                                       http::BodyStream& body) = 0;
  virtual Co<Result<RemovedImages>> remove_image(std::string reference, Force force) = 0;
  virtual Co<Result<void>> tag_image(std::string reference, std::string tag) = 0;
  virtual Co<Result<ImageDetails>> inspect_image(std::string reference) = 0;
  virtual Co<Result<std::unique_ptr<TarStream>>> save_images(
      std::vector<std::string> references) = 0;
  virtual Co<Result<ImageSummary>> commit(ContainerId id, CommitOptions options) = 0;
  // Images no container uses and `excluded` does not name.
  virtual Co<Result<RemovedImages>> prune_images(std::vector<std::string> excluded) = 0;

  virtual Co<Result<CheckpointAnswer>> checkpoint(ContainerId id, CheckpointOptions options) = 0;
  virtual Co<Result<RestoreAnswer>> restore(RestoreOptions options) = 0;

  virtual Co<Result<std::unique_ptr<TarStream>>> copy_out(ContainerId id, CopyOptions options) = 0;
  // Reads `body` to its end, or fails before.
  virtual Co<Result<CopiedIn>> copy_in(ContainerId id, CopyOptions options,
                                       http::BodyStream& body) = 0;

  virtual Co<Result<std::vector<FileChange>>> diff(ContainerId id) = 0;
  // Of all whose root is a layer of their own.
  virtual Co<Result<std::vector<WrittenSpace>>> disk_usage() = 0;

  virtual Co<Result<std::vector<Finding>>> doctor() = 0;
  // Ends the executor, the launcher and the logger once the answer is sent. Errc::busy while
  // containers run.
  virtual Co<Result<void>> shutdown() = 0;
  // Becomes `program`, a gantry-executor of any build, once the answer is sent. Errc::invalid when
  // it does not run here or does not accept the configuration.
  virtual Co<Result<void>> upgrade(std::string program) = 0;

  virtual bool is_healthy() = 0;
  virtual VersionFacts version() = 0;
  // Name and value, Mesos' names where it has them ("containerizer/mesos/…").
  virtual std::vector<std::pair<std::string, double>> metrics() = 0;

  // One line for the audit log, once per call that changes something.
  struct AuditLine {
    std::string call;   // "LAUNCH_CONTAINER"
    std::string id;     // of a container or image; empty: none
    unsigned status;    // the HTTP status answered
    std::string error;  // empty: none
  };
  virtual void audit(const http::Peer& peer, const AuditLine& line) = 0;
};
}  // namespace gantry
