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
#include <string>
#include <vector>

#include "base/co.h"
#include "base/result.h"
#include "base/turns.h"
#include "base/unique_fd.h"
#include "fetcher/worker_message.h"

namespace gantry {
struct WorkerOptions {
  UniqueFd program;         // gantry-worker, sealed
  size_t max_workers = 16;  // at a time; more wait their turn
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

 private:
  struct Child;
  Result<Child> spawn(const WorkerRequest& request);
  Co<Result<Fields>> converse(int socket, std::string request, Duration limit);
  Co<int> reap(Child child, bool kill_first);
  void sweep();

  WorkerOptions options_;
  Turns turns_;
  std::vector<pid_t> abandoned_;  // killed, but stuck in the kernel; reaped when they let go
};
}  // namespace gantry
