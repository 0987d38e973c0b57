// CriuSession: one `criu swrk` process and the RPC conversation with it.
//
// Role: starts CRIU as a child of the launcher (so that a process restored as CRIU's sibling is the
// launcher's child), sends one request, answers its notifications, ends it. Lifetime: one
// operation; close() must run before destruction. Threads: loop only. Failure: CRIU's death is
// end-of-file on the socket. Crash of ours: the same for CRIU, which then undoes what it began and
// leaves; the next executor waits for that (containerizer/recovery.cc).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/criu/rpc.pb.h"
#include "base/co.h"
#include "base/result.h"
#include "launcher/launch_backend.h"

namespace gantry {
class CriuSession {
 public:
  struct Settings {
    std::string program;                                 // absolute path
    std::string key;                                     // of the launcher's table
    std::string path = "/usr/sbin:/usr/bin:/sbin:/bin";  // where it looks for tar
    // Our death does not let it go on: it waits for an answer until it is killed, by the next
    // executor or by the death of its parent, the launcher. Else it meets an end-of-file.
    bool outwaits_us = false;
  };
  // A descriptor CRIU inherits; the number it will have is first_inherited() + its index.
  using Inherited = std::vector<UniqueFd>;
  static int first_inherited();

  // `plan`: the ops CRIU's process needs before exec (cgroups, /run, root); may be empty. It has a
  // mount namespace of its own.
  static Co<Result<std::unique_ptr<CriuSession>>> start(LaunchBackend& backend, Settings settings,
                                                        LaunchPlan::Builder plan,
                                                        Inherited inherited);
  CriuSession(const CriuSession&) = delete;
  CriuSession& operator=(const CriuSession&) = delete;
  ~CriuSession();

  struct Notice {
    std::string script;  // "post-dump"
    pid_t pid = 0;
  };
  // An error makes CRIU give up where it can; call() then answers with that error.
  using OnNotice = std::function<Co<Result<void>>(Notice)>;

  // Sends the request and answers notifications until the answer comes. Errc::conflict: CRIU said
  // no, or died; its log has the reason. Errc::timed_out.
  Co<Result<criu::Answer>> call(criu::Request request, OnNotice on_notice,
                                std::chrono::steady_clock::time_point deadline);
  // Asked while CRIU is silent: true ends the call with Errc::conflict. Outlives the calls.
  void set_hopeless(std::function<bool()> is_hopeless) { is_hopeless_ = std::move(is_hopeless); }
  // Brings the deadline of the call under way forward.
  void must_end_within(Duration limit);
  pid_t pid() const { return process_.pid(); }

  // Ends the conversation and waits for the process; killed when it does not leave in time.
  Co<Result<void>> close(Duration limit);

 private:
  CriuSession(LaunchBackend& backend, std::string key, UniqueFd socket, ProcessRef process);
  Result<void> send(const criu::Request& request);
  Co<Result<criu::Answer>> receive();
  Co<Result<void>> wait_for_answer();

  LaunchBackend& backend_;
  std::string key_;
  UniqueFd socket_;
  ProcessRef process_;
  std::string last_notice_;
  std::chrono::steady_clock::time_point deadline_;
  std::function<bool()> is_hopeless_;
  bool is_closed_ = false;
};
}  // namespace gantry
