#include "fetcher/tree_jobs.h"

#include <fcntl.h>

#include "base/sys.h"

namespace gantry {
namespace {
Result<WorkerRequest> tree_request(std::string_view job, const std::string& parent,
                                   const std::string& name, Duration limit) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    return Error(Errc::invalid, cat(job, ": '", name, "' is not the name of one directory entry"));
  }
  WorkerRequest request;
  request.job = job;
  request.fields.add("name", name);
  request.fds.push_back(GANTRY_TRY(sys::open(parent, O_PATH | O_DIRECTORY | O_NOFOLLOW)));
  request.limit = limit;
  return request;
}
}  // namespace

Co<Result<void>> remove_tree(WorkerClient& worker, std::string parent, std::string name,
                             Duration limit) {
  auto request = tree_request("remove", parent, name, limit);
  if (!request) {
    if (request.error().is_errno(ENOENT)) co_return Result<void>();
    co_return std::move(request).error();
  }
  auto done = co_await worker.run(std::move(*request));
  if (!done) co_return std::move(done).error().context("remove ", parent, "/", name);
  co_return Result<void>();
}

Co<Result<TreeUsage>> measure_tree(WorkerClient& worker, std::string parent, std::string name,
                                   Duration limit) {
  auto request = GANTRY_CO_TRY(tree_request("measure", parent, name, limit));
  auto done = co_await worker.run(std::move(request));
  if (!done) co_return std::move(done).error().context("measure ", parent, "/", name);
  TreeUsage usage;
  usage.bytes = GANTRY_CO_TRY(done->number<uint64_t>("bytes"));
  usage.inodes = GANTRY_CO_TRY(done->number<uint64_t>("inodes"));
  co_return usage;
}

Co<Result<void>> unmount(WorkerClient& worker, std::string path, Duration limit) {
  WorkerRequest request;
  request.job = "unmount";
  request.fields.add("path", path);
  request.limit = limit;
  auto done = co_await worker.run(std::move(request));
  if (!done) co_return std::move(done).error().context("unmount ", path);
  co_return Result<void>();
}
}  // namespace gantry
