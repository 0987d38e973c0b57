// A data directory of its own, a worker client and a loop; tears everything down and says what
// stayed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "base/co.h"
#include "base/scope.h"
#include "base/sealed_program.h"
#include "base/sys.h"
#include "fetcher/worker_client.h"
#include "provisioner/provisioner.h"

namespace gantry::test {
inline std::string worker_program() {
  // Tests live in build/PRESET/tests, programs in build/PRESET/bin.
  auto self = std::filesystem::read_symlink("/proc/self/exe");
  return (self.parent_path().parent_path() / "bin" / "gantry-worker").string();
}

class Rig : public ::testing::Test {
 public:
  void SetUp() override {
    char name[] = "/tmp/gantry-prov-test.XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    worker_.emplace(loop_.get_executor(), WorkerOptions{*seal_program(worker_program())});
  }
  void TearDown() override {
    worker_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
    EXPECT_FALSE(std::filesystem::exists(dir_)) << ignored.message();
    int status;
    EXPECT_EQ(::waitpid(-1, &status, WNOHANG), -1) << "a worker is left";
  }

  // Runs one coroutine to its end as a child of a Scope, as everything in the executor is.
  template <class T>
  T run(Co<T> task) {
    std::optional<T> out;
    Scope scope(loop_.get_executor());
    scope.spawn(store(std::move(task), &out));
    loop_.restart();
    while (!out) loop_.run_one();
    loop_.restart();
    loop_.poll();
    return std::move(*out);
  }
  void run_void(Co<void> task) { (void)run(wrap(std::move(task))); }
  template <class T>
  static Co<void> store(Co<T> task, std::optional<T>* out) {
    out->emplace(co_await std::move(task));
  }
  static Co<bool> wrap(Co<void> task) {
    co_await std::move(task);
    co_return true;
  }

  std::string path(std::string_view name) const { return cat(dir_, "/", name); }
  static int shell(const std::string& command) {
    return std::system(cat("set -e; ", command).c_str());  // test helper, never product code
  }
  static std::string output(const std::string& command) {
    std::string out;
    FILE* pipe = ::popen(command.c_str(), "re");
    char buffer[4096];
    for (size_t n; (n = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
    ::pclose(pipe);
    return out;
  }
  void write(std::string_view name, std::string_view bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
  }

  std::string dir_;
  asio::io_context loop_;
  std::optional<WorkerClient> worker_;
};

class ProvisionerRig : public Rig {
 public:
  void SetUp() override {
    Rig::SetUp();
    open();
  }
  void TearDown() override {
    if (provisioner_) {
      run_void(provisioner_->close());
      EXPECT_EQ(output(cat("ls -A ", path("data/staging"), " ", path("data/trash"),
                           " | grep -v : | grep .")),
                "")
          << "left in staging or trash";
    }
    provisioner_.reset();
    Rig::TearDown();
  }
  void open(ProvisionerOptions::Backend backend = ProvisionerOptions::Backend::automatic) {
    ProvisionerOptions options;
    options.data_dir = path("data");
    options.backend = backend;
    options.import = limits_;
    auto opened = open_provisioner(loop_.get_executor(), *worker_, options);
    ASSERT_TRUE(opened) << opened.error().to_string();
    provisioner_ = std::move(*opened);
    auto recovered = run(provisioner_->recover(live_));
    ASSERT_TRUE(recovered) << recovered.error().to_string();
  }
  // Closes and opens again: what a new executor sees.
  void reopen() {
    run_void(provisioner_->close());
    provisioner_.reset();
    open();
  }
  Result<std::vector<ImageInfo>> import_file(const std::string& file, std::string name = "") {
    auto fd = sys::open(file, O_RDONLY);
    if (!fd) return std::move(fd).error();
    return run(
        provisioner_->import(std::move(*fd), std::move(name), std::nullopt, IngestOnly::anything));
  }
  Result<ProvisionedImage> provision(const char* id, const char* image) {
    return run(provisioner_->provision(*ContainerId::parse(id), *ImageRef::parse(image)));
  }
  // Mounts what was provisioned in a namespace of its own, runs the command there, returns what it
  // printed. $R is the root.
  std::string look(const Rootfs& rootfs, const std::string& command) {
    std::string mount;
    if (rootfs.kind == Rootfs::Kind::overlay) {
      std::string lower;
      for (const std::string& layer : rootfs.lowers) lower += cat(lower.empty() ? "" : ":", layer);
      mount =
          cat("mount -t overlay overlay -o lowerdir=", lower,
              rootfs.upper.empty() ? "" : cat(",upperdir=", rootfs.upper, ",workdir=", rootfs.work),
              " $R");
    } else {
      mount = cat("mount --bind ", rootfs.directory, " $R");
    }
    std::string root = path("look");
    std::filesystem::create_directory(root);
    write("look.sh", cat("R=", root, "; export R; ", mount, " || exit 9\n", command, "\n"));
    return output(cat("unshare -m sh ", path("look.sh"), " 2>&1"));
  }

  ImportLimits limits_;
  std::set<std::string> live_;
  std::unique_ptr<Provisioner> provisioner_;
};
}  // namespace gantry::test
