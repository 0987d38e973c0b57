// Fetcher: URIs into a container's sandbox, before it starts.
//
// file:// and http(s)://. The work is gantry-worker's, running as the container's user: a file that
// user cannot read is not fetched. With a sha256 the content is checked before it appears under its
// name, and http downloads are shared: one download per digest at a time, kept in the cache
// directory. Redirects from https to http and to link-local addresses are refused.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/types/container_spec.h"
#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "fetcher/worker_client.h"

namespace gantry {
struct FetcherOptions {
  std::string cache_dir;                      // absolute, ours; made when missing
  Bytes max_file = 64ull << 30;               // larger downloads fail
  Bytes max_cache = 4ull << 30;               // least recently used content goes first
  Duration limit = std::chrono::minutes(60);  // per URI
  std::chrono::seconds stall{60};             // no byte for so long: failed
};

class Fetcher {
 public:
  Fetcher(asio::any_io_executor executor, WorkerClient& worker, FetcherOptions options);
  ~Fetcher();

  // Makes the cache directory, forgets half-made files of an earlier executor. Call once, first.
  Co<Result<void>> recover();

  // Fetches all, one after the other; stops at the first failure and names it. Cancellable.
  // Preconditions: `sandbox` is a directory that uid may write to (the containerizer owns it).
  Co<Result<void>> fetch(std::vector<FetchUri> uris, UniqueFd sandbox, uid_t uid, gid_t gid);

 private:
  struct Download;
  Co<Result<void>> fetch_one(const FetchUri* uri, int sandbox, uid_t uid, gid_t gid);
  Co<Result<UniqueFd>> cached(std::string uri, std::string sha256, uid_t uid, gid_t gid);
  Co<Result<void>> download(std::string uri, std::string sha256, uid_t uid, gid_t gid);
  Co<Result<Fields>> run(Fields fields, UniqueFd input, std::vector<UniqueFd> fds);
  void trim_cache();

  asio::any_io_executor executor_;
  WorkerClient& worker_;
  FetcherOptions options_;
  UniqueFd cache_;
  std::map<std::string, std::shared_ptr<Download>> downloads_;  // by sha256, in flight
  uint64_t next_ = 0;
};

// The name a URI gets in the sandbox: output_file, else the last part of the path. Errc::invalid
// for an empty one, "." , "..", or one with a slash; and for URIs of another scheme.
Result<std::string> sandbox_name(const FetchUri& uri);
}  // namespace gantry
