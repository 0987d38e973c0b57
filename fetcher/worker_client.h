// WorkerClient: starts gantry-worker, one process per operation, and waits for its answer.
//
// A worker is a child of the executor: spawned with the descriptors it is given and no other, an
// empty environment and its own working directory; killed when its deadline passes, when the
// waiting coroutine is cancelled, and (PDEATHSIG) when the executor dies. What it may do is its own
// matter (fetcher/worker/confine.h): each job drops everything it does not need before it reads a
// byte. Threads: loop only. Recovery: none needed, a worker never outlives its executor.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "base/scope.h"
#include "base/turns.h"
#include "base/unique_fd.h"
#include "fetcher/worker_message.h"

namespace gantry {
struct WorkerOptions {
  UniqueFd program;         // gantry-worker, sealed
  size_t max_workers = 16;  // of each job at a time; more wait their turn
};

struct WorkerRequest {
  std::string job;  // "unpack", "remove" …: fetcher/worker/jobs.h
  Fields fields;
  UniqueFd input;             // becomes stdin; invalid: /dev/null
  std::vector<UniqueFd> fds;  // become descriptors 4, 5, … in order
  Duration limit = std::chrono::seconds(60);
};

class WorkerClient {
 public:
  WorkerClient(asio::any_io_executor executor, WorkerOptions options);
  WorkerClient(const WorkerClient&) = delete;
  WorkerClient& operator=(const WorkerClient&) = delete;
  ~WorkerClient();

  // The job's result. Fails with the job's own error; Errc::timed_out after `limit` (waiting for a
  // turn included); Errc::cancelled; Errc::corrupt when the worker died or answered nonsense.
  Co<Result<Fields>> run(WorkerRequest request);
  // Waits no longer for killed ones that are stuck in the kernel.
  Co<void> close() { co_await stuck_.close(); }

 private:
  struct Child;
  Result<Child> spawn(const WorkerRequest& request);
  Co<Result<Fields>> converse(int socket, std::string request, Duration limit);
  Co<int> reap(Child child, bool kill_first);
  Co<void> reap_later(Child child);

  WorkerOptions options_;
  std::map<std::string, Turns, std::less<>> turns_;  // by job
  Scope stuck_;  // killed, but stuck in the kernel; reaped when they let go
};
}  // namespace gantry
