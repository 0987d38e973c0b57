// Daemon: the root object. What the APIs ask is answered here from the rooms below.
//
// Threads: loop only. Built by wiring.cc, which owns the rooms it refers to.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/scope.h"
#include "checkpoint/container_checkpoint.h"
#include "containerizer/containerizer.h"
#include "executor/audit_log.h"
#include "executor/config.h"
#include "executor/event_log.h"
#include "executor/launch_counts.h"
#include "executor/operator_backend.h"
#include "executor/successor.h"

namespace gantry {
class NetworkIsolator;

class Daemon final : public OperatorBackend {
 public:
  Daemon(const Config& config, StartedAs started_as, Containerizer& containerizer,
         Provisioner& provisioner, ContainerCheckpoints& checkpoints,
         const NetworkIsolator& network, LogClient& logs, AuditLog& audit_log,
         LaunchCounts& launches, EventLog& events, asio::any_io_executor executor);

  // Completes when a SHUTDOWN was accepted, a signal asked for the end, (on demand) nothing was
  // asked and nothing ran for the idle time, or another build shall take over in place.
  enum class End { shutdown, idle, signalled, upgraded };
  Co<End> wait_end();
  void ask_end(End reason);
  // What people know a container by: its name, else the beginning of an id that was made up.
  static std::string called(const Container& container);

  // Of End::upgraded.
  const std::string& successor() const { return successor_; }

  Co<Result<LaunchAnswer>> launch(ContainerId id, ContainerSpec spec) override;
  Co<Result<LaunchAnswer>> create(ContainerId id, ContainerSpec spec) override;
  Co<Result<ExitOutcome>> wait(ContainerId id) override;
  Co<Result<void>> kill(ContainerId id, int signal) override;
  Co<Result<ExitOutcome>> stop(ContainerId id, std::optional<std::chrono::seconds> grace,
                               std::optional<int> signal) override;
  Co<Result<void>> start(ContainerId id, Readers readers,
                         std::optional<int64_t> after_end_ns) override;
  Co<Result<void>> update(ContainerId id, ContainerSpec wanted) override;
  Co<Result<void>> pause(ContainerId id) override;
  Co<Result<void>> resume(ContainerId id) override;
  Co<Result<void>> remove(ContainerId id, Force force) override;
  Co<Result<std::vector<ContainerSummary>>> list() override;
  Co<Result<ContainerDetails>> inspect(ContainerId id) override;
  Co<Result<std::vector<ContainerUsage>>> usage(std::vector<ContainerId> ids) override;
  Co<Result<FilePiece>> read_file(std::string path, uint64_t offset, uint64_t length) override;
  Co<Result<std::vector<FileEntry>>> list_files(std::string path) override;
  Co<Result<std::unique_ptr<OutputStream>>> attach_output(ContainerId id,
                                                          OutputOptions options) override;
  Co<Result<std::unique_ptr<InputSink>>> attach_input(ContainerId id) override;
  Co<Result<std::unique_ptr<EventStream>>> events(EventOptions options) override;
  Co<Result<std::vector<ImageSummary>>> images() override;
  Co<Result<std::vector<ImageSummary>>> import(ImportOptions options,
                                               http::BodyStream& body) override;
  Co<Result<RemovedImages>> remove_image(std::string reference, Force force) override;
  Co<Result<void>> tag_image(std::string reference, std::string tag) override;
  Co<Result<ImageDetails>> inspect_image(std::string reference) override;
  Co<Result<std::unique_ptr<TarStream>>> save_images(std::vector<std::string> references) override;
  Co<Result<ImageSummary>> commit(ContainerId id, CommitOptions options) override;
  Co<Result<RemovedImages>> prune_images(std::vector<std::string> excluded) override;
  Co<Result<CheckpointAnswer>> checkpoint(ContainerId id, CheckpointOptions options) override;
  Co<Result<RestoreAnswer>> restore(RestoreOptions options) override;
  Co<Result<std::unique_ptr<TarStream>>> copy_out(ContainerId id, CopyOptions options) override;
  Co<Result<CopiedIn>> copy_in(ContainerId id, CopyOptions options,
                               http::BodyStream& body) override;
  Co<Result<std::vector<FileChange>>> diff(ContainerId id) override;
  Co<Result<std::vector<WrittenSpace>>> disk_usage() override;
  Co<Result<std::vector<Finding>>> doctor() override;
  Co<Result<void>> shutdown() override;
  Co<Result<void>> upgrade(std::string program) override;
  bool is_healthy() override;
  VersionFacts version() override;
  std::vector<std::pair<std::string, double>> metrics() override;
  void audit(const http::Peer& peer, const AuditLine& line) override;

 private:
  // A container by id, name or unique beginning of an id.
  Result<ContainerPtr> resolve(const ContainerId& id) const;
  ContainerSummary summarize(const Container& container) const;
  // Where the launch has made what it mounts something over.
  static std::vector<std::string> mounted_places(const Container& container);
  Co<Result<Fields>> run_commit(ContainerPtr container, bool pauses, WorkerRequest request);
  Co<Finding> examine_criu();
  bool is_idle() const;
  Error in_names(Error error, const ImageRef& reference, const ImageInfo& image) const;
  void tell_image(std::string_view action, std::string digest, std::string reference);

  const Config& config_;
  const StartedAs started_as_;
  Containerizer& containerizer_;
  Provisioner& provisioner_;
  ContainerCheckpoints& checkpoints_;
  const NetworkIsolator& network_;
  LogClient& logs_;
  AuditLog& audit_log_;
  asio::any_io_executor executor_;
  std::set<std::string> inputs_;  // ids whose input is attached
  std::optional<End> end_;
  std::string successor_;
  Event end_changed_;
  int64_t last_request_ns_;
  LaunchCounts& launches_;
  EventLog& events_;
};
}  // namespace gantry
