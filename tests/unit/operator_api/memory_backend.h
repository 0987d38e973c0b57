// An OperatorBackend that keeps everything in memory: real enough that each call's effect can be
// seen through the API. Loop only.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "executor/operator_backend.h"

namespace gantry {
class MemoryBackend final : public OperatorBackend {
 public:
  explicit MemoryBackend(asio::any_io_executor executor) : changed(std::move(executor)) {}

  struct Held {
    ContainerSpec spec;
    ContainerState state = ContainerState::running;
    std::optional<ExitOutcome> outcome;
    std::vector<OutputChunk> output;
    std::string input;
    bool input_closed = false, input_attached = false;
    uint16_t rows = 0, columns = 0;
  };

  // The command of a launch decides its fate: "fail:…" is an error of the launch; everything else
  // runs until kill(), stop() or finish().
  Co<Result<LaunchAnswer>> launch(ContainerId id, ContainerSpec spec) override {
    ++held_launches;
    while (holds_launches) co_await changed.wait();
    --held_launches;
    if (containers.contains(id)) co_return LaunchAnswer::already_there;
    if (id.parent() != nullptr && !containers.contains(*id.parent())) {
      co_return Error(Errc::not_found, "no such parent");
    }
    for (const auto& [other, held] : containers) {
      if (!spec.name.empty() && held.spec.name == spec.name) {
        co_return Error(Errc::already_exists,
                        cat("the name ", spec.name, " belongs to container ", other.to_string()));
      }
    }
    const std::string command = spec.process.args.empty() ? "" : spec.process.args.back();
    if (command == "fail:image") co_return Error(Errc::not_found, "image 'x' is not in the store");
    if (command == "fail:exec") {
      co_return Error::from_errno(ENOENT, "exec /bin/nope").context("launch ", id.to_string());
    }
    if (command == "fail:mount") co_return Error::from_errno(EACCES, "mount /a on /b");
    if (command == "fail:device") co_return Error(Errc::unsupported, "no devices here");
    Held held;
    held.output = {{OutputChunk::Source::out, "out\n", 1}, {OutputChunk::Source::err, "err\n", 2}};
    held.spec = std::move(spec);
    containers.emplace(std::move(id), std::move(held));
    co_return LaunchAnswer::started;
  }
  Co<Result<LaunchAnswer>> create(ContainerId id, ContainerSpec spec) override {
    const LaunchAnswer answer = GANTRY_CO_TRY(co_await launch(id, std::move(spec)));
    containers.at(id).state = ContainerState::created;
    co_return answer;
  }
  Co<Result<ExitOutcome>> wait(ContainerId id) override {
    ++waiting;
    while (true) {
      Held* held = find(id);
      if (held == nullptr || held->outcome || co_await is_cancelled()) break;
      co_await changed.wait();
    }
    --waiting;
    Held* held = find(id);
    if (held == nullptr) co_return Error(Errc::not_found, "no such container");
    if (!held->outcome) co_return Error(Errc::cancelled, "cancelled");
    co_return *held->outcome;
  }
  Co<Result<void>> kill(ContainerId id, int signal) override {
    Held* held = find(id);
    if (held == nullptr || held->outcome) co_return Error(Errc::not_found, "no such container");
    signals.push_back(signal);
    if (signal == 9 || signal == 15) finish(id, ExitOutcome::from_wait_status(signal));
    co_return Result<void>();
  }
  Co<Result<ExitOutcome>> stop(ContainerId id, std::optional<std::chrono::seconds> grace,
                               std::optional<int> signal) override {
    if (find(id) == nullptr) co_return Error(Errc::not_found, cat("no container ", id.value()));
    signals.push_back(signal.value_or(15));
    last_grace = grace;
    finish(id, ExitOutcome::from_wait_status(signal.value_or(15)));
    co_return *find(id)->outcome;
  }
  Co<Result<void>> start(ContainerId id, Readers, std::optional<int64_t>) override {
    Held* held = find(id);
    if (held == nullptr) co_return Error(Errc::not_found, "no such container");
    if (!held->outcome) co_return Error(Errc::busy, "it runs");
    held->outcome.reset();
    held->state = ContainerState::running;
    co_return Result<void>();
  }
  Co<Result<void>> update(ContainerId id, ContainerSpec wanted) override {
    Held* held = find(id);
    if (held == nullptr) co_return Error(Errc::not_found, "no such container");
    held->spec = std::move(wanted);
    co_return Result<void>();
  }
  Co<Result<void>> pause(ContainerId id) override {
    co_return change(id, ContainerState::running, ContainerState::paused);
  }
  Co<Result<void>> resume(ContainerId id) override {
    co_return change(id, ContainerState::paused, ContainerState::running);
  }
  Co<Result<void>> remove(ContainerId id, Force force) override {
    Held* held = find(id);
    if (held == nullptr) co_return Error(Errc::not_found, "no such container");
    if (!held->outcome && force == Force::no) {
      co_return Error(Errc::busy, cat("container ", id.to_string(), " is running: stop it first"));
    }
    containers.erase(id);
    changed.notify();
    co_return Result<void>();
  }
  Co<Result<std::vector<ContainerSummary>>> list() override {
    std::vector<ContainerSummary> out;
    for (const auto& [id, held] : containers) out.push_back(summary(id, held));
    co_return out;
  }
  Co<Result<ContainerDetails>> inspect(ContainerId id) override {
    Held* held = find(id);
    if (held == nullptr) co_return Error(Errc::not_found, cat("no container ", id.value()));
    ContainerDetails out{.summary = summary(id, *held),
                         .request_bytes = held->spec.request_bytes,
                         .phases = {{"clone", std::chrono::microseconds(70)},
                                    {"exec", std::chrono::microseconds(900)}},
                         .total = std::chrono::microseconds(1500),
                         .sandbox = "/s",
                         .rootfs = "/r",
                         .record_directory = "/d",
                         .log_directory = "/l",
                         .cgroups = {"/c"},
                         .isolators = {"pids"}};
    co_return out;
  }
  Co<Result<std::vector<ContainerUsage>>> usage(std::vector<ContainerId> ids) override {
    std::vector<ContainerUsage> out;
    for (const auto& [id, held] : containers) {
      if (held.outcome) continue;
      if (!ids.empty() && std::find(ids.begin(), ids.end(), id) == ids.end()) continue;
      Usage usage;
      usage.cpu_user_us = 1'500'000;
      usage.memory_current = 4096;
      usage.pids_current = 3;
      out.push_back({id, held.spec.name, usage});
    }
    co_return out;
  }
  Co<Result<FilePiece>> read_file(std::string path, uint64_t offset, uint64_t length) override {
    if (path != "/containers/c/stdout") co_return Error(Errc::not_found, cat("no file ", path));
    co_return FilePiece{file.size(), offset >= file.size() ? "" : file.substr(offset, length)};
  }
  Co<Result<std::vector<FileEntry>>> list_files(std::string path) override {
    co_return std::vector<FileEntry>{
        {cat(path, "/stdout"), 5, 7'000'000'000, 0100644, 1, "root", "root"}};
  }
  Co<Result<std::unique_ptr<OutputStream>>> attach_output(ContainerId id,
                                                          OutputOptions options) override {
    if (find(id) == nullptr) co_return Error(Errc::not_found, "no such container");
    co_return std::unique_ptr<OutputStream>(new Stream(*this, id, options));
  }
  Co<Result<std::unique_ptr<EventStream>>> events(EventOptions) override {
    co_return Error(Errc::unsupported, "no events here");
  }
  Co<Result<std::unique_ptr<InputSink>>> attach_input(ContainerId id) override {
    Held* held = find(id);
    if (held == nullptr) co_return Error(Errc::not_found, "no such container");
    if (held->input_attached) co_return Error(Errc::conflict, "another input is attached");
    held->input_attached = true;
    co_return std::unique_ptr<InputSink>(new Sink(*this, id));
  }
  Co<Result<std::vector<ImageSummary>>> images() override { co_return stored; }
  Co<Result<std::vector<ImageSummary>>> import(ImportOptions options,
                                               http::BodyStream& body) override {
    Bytes size = 0;
    while (true) {
      const std::string_view piece = GANTRY_CO_TRY(co_await body.read());
      if (piece.empty()) break;
      size += piece.size();
    }
    if (size == 0) co_return Error(Errc::invalid, "the archive is empty");
    imported = options;
    stored.push_back({.references = {options.reference},
                      .digest = "sha256:00",
                      .size = size,
                      .created_ns = 5,
                      .platform = "linux/amd64",
                      .layers = 1});
    co_return std::vector<ImageSummary>{stored.back()};
  }
  Co<Result<RemovedImages>> remove_image(std::string reference, Force) override {
    auto it = std::find_if(stored.begin(), stored.end(), [&](const ImageSummary& image) {
      return image.references[0] == reference;
    });
    if (it == stored.end()) co_return Error(Errc::not_found, cat("no image ", reference));
    stored.erase(it);
    co_return RemovedImages{{reference}, {"sha256:00"}, 7};
  }
  Co<Result<void>> tag_image(std::string reference, std::string tag) override {
    tags.emplace_back(std::move(reference), std::move(tag));
    co_return Result<void>();
  }
  Co<Result<ImageDetails>> inspect_image(std::string reference) override {
    co_return ImageDetails{.summary = {.references = {reference}, .digest = "sha256:01"},
                           .config = "{}",
                           .layers = {{"sha256:02", 3}}};
  }
  std::vector<std::pair<std::string, std::string>> tags;
  Co<Result<RemovedImages>> prune_images(std::vector<std::string> excluded) override {
    pruned_but = std::move(excluded);
    co_return RemovedImages{};
  }
  Co<Result<CheckpointAnswer>> checkpoint(ContainerId id, CheckpointOptions options) override {
    if (find(id) == nullptr) co_return Error(Errc::not_found, cat("no container ", id.value()));
    co_return CheckpointAnswer{options.name, "/p", 9, std::chrono::microseconds(3),
                               std::chrono::microseconds(4)};
  }
  Co<Result<std::unique_ptr<TarStream>>> copy_out(ContainerId, CopyOptions) override {
    co_return Error(Errc::unsupported, "no files here");
  }
  Co<Result<std::vector<FileChange>>> diff(ContainerId) override {
    co_return std::vector<FileChange>{{'C', "/etc"}, {'A', "/etc/\xff"}, {'D', "/tmp"}};
  }
  Co<Result<std::vector<WrittenSpace>>> disk_usage() override {
    co_return std::vector<WrittenSpace>{{ContainerId::parse("c").value(), 4096, 2}};
  }
  Co<Result<std::unique_ptr<TarStream>>> save_images(std::vector<std::string>) override {
    co_return Error(Errc::unsupported, "no files here");
  }
  Co<Result<ImageSummary>> commit(ContainerId, CommitOptions options) override {
    committed = std::move(options);
    co_return ImageSummary{.references = {committed.reference}, .digest = "sha256:03"};
  }
  CommitOptions committed;
  Co<Result<CopiedIn>> copy_in(ContainerId, CopyOptions, http::BodyStream&) override {
    co_return Error(Errc::unsupported, "no files here");
  }
  Co<Result<RestoreAnswer>> restore(RestoreOptions options) override {
    co_return RestoreAnswer{options.id ? *options.id : ContainerId::parse("c").value(),
                            std::chrono::microseconds(8)};
  }
  Co<Result<std::vector<Finding>>> doctor() override {
    co_return std::vector<Finding>{{Finding::Verdict::ok, "cgroup v2", "mounted", ""},
                                   {Finding::Verdict::missing, "criu", "", "install criu"}};
  }
  Co<Result<void>> upgrade(std::string program) override {
    successor = std::move(program);
    co_return Result<void>();
  }
  std::string successor;
  Co<Result<void>> shutdown() override {
    for (const auto& [id, held] : containers) {
      if (!held.outcome) co_return Error(Errc::busy, "1 container runs: stop it first");
    }
    is_shut_down = true;
    co_return Result<void>();
  }
  bool is_healthy() override { return healthy; }
  VersionFacts version() override { return {"0.1.0", "2026-11-24", "abc", 1795462500.0}; }
  std::vector<std::pair<std::string, double>> metrics() override {
    return {{"containerizer/mesos/container_destroy_errors", 0}, {"executor/uptime_secs", 1.5}};
  }
  void audit(const http::Peer&, const AuditLine& line) override {
    audited.push_back(cat(line.call, " ", line.id, " ", line.status,
                          line.error.empty() ? "" : cat(" ", line.error)));
  }

  void finish(const ContainerId& id, ExitOutcome outcome) {
    Held& held = *find(id);
    held.outcome = std::move(outcome);
    held.state = ContainerState::exited;
    changed.notify();
  }
  Held* find(const ContainerId& id) {
    auto it = containers.find(id);
    return it == containers.end() ? nullptr : &it->second;
  }
  Held& at(const char* id) { return *find(ContainerId::parse(id).value()); }

  std::map<ContainerId, Held> containers;
  Event changed;
  std::vector<int> signals;
  std::optional<std::chrono::seconds> last_grace;
  std::string file = "hello";
  std::vector<ImageSummary> stored;
  ImportOptions imported;
  std::vector<std::string> pruned_but;
  std::vector<std::string> audited;
  bool healthy = true, is_shut_down = false;
  int waiting = 0, streams = 0;
  bool holds_launches = false;
  size_t held_launches = 0;

 private:
  class Stream final : public OutputStream {
   public:
    Stream(MemoryBackend& backend, ContainerId id, OutputOptions options)
        : backend_(backend), id_(std::move(id)), options_(options) {
      ++backend_.streams;
      if (!options_.from_start) at_ = backend_.find(id_)->output.size();
    }
    ~Stream() override { --backend_.streams; }
    Co<Result<std::optional<OutputChunk>>> next() override {
      while (true) {
        Held* held = backend_.find(id_);
        if (held != nullptr && at_ < held->output.size()) {
          OutputChunk chunk = held->output[at_++];
          const bool err = chunk.source == OutputChunk::Source::err;
          if (!(err ? options_.stderr_wanted : options_.stdout_wanted)) continue;
          if (!options_.timestamps) chunk.time_ns.reset();
          co_return std::optional(std::move(chunk));
        }
        if (held == nullptr || held->outcome || !options_.follow || co_await is_cancelled()) {
          co_return std::optional<OutputChunk>();
        }
        if (!co_await backend_.changed.wait(options_.heartbeat)) {
          co_return std::optional(OutputChunk{});
        }
      }
    }

   private:
    MemoryBackend& backend_;
    ContainerId id_;
    OutputOptions options_;
    size_t at_ = 0;
  };
  class Sink final : public InputSink {
   public:
    Sink(MemoryBackend& backend, ContainerId id) : backend_(backend), id_(std::move(id)) {}
    ~Sink() override {
      if (Held* held = backend_.find(id_)) held->input_attached = false;
    }
    Co<Result<void>> write(std::string bytes, std::function<bool()>) override {
      backend_.find(id_)->input += bytes;
      co_return Result<void>();
    }
    Co<Result<void>> close() override {
      backend_.find(id_)->input_closed = true;
      co_return Result<void>();
    }
    Co<Result<void>> resize(uint16_t rows, uint16_t columns) override {
      backend_.find(id_)->rows = rows;
      backend_.find(id_)->columns = columns;
      co_return Result<void>();
    }
    int descriptor() const override { return -1; }

   private:
    MemoryBackend& backend_;
    ContainerId id_;
  };

  ContainerSummary summary(const ContainerId& id, const Held& held) {
    ContainerSummary out{.id = id};
    out.name = held.spec.name;
    out.state = held.state;
    out.command = held.spec.process.args;
    out.pid = held.outcome ? 0 : 42;
    out.created_ns = 1;
    out.started_ns = 2;
    out.outcome = held.outcome;
    out.labels = held.spec.labels;
    return out;
  }
  Result<void> change(const ContainerId& id, ContainerState from, ContainerState to) {
    Held* held = find(id);
    if (held == nullptr) return Error(Errc::not_found, cat("no container ", id.value()));
    if (held->state != from) {
      return Error(Errc::busy, cat("container ", id.value(), " is ", to_string(held->state)));
    }
    held->state = to;
    return {};
  }
};
}  // namespace gantry
