// gantry-worker JOB PARENT-PID LAST-FD: one operation on bytes or trees that a tenant wrote.
// Started by the executor only (fetcher/worker_client.h); request and answer on descriptor 3.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <clocale>
#include <cstring>
#include <string>

#include "base/str.h"
#include "base/sys.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"

namespace gantry::worker {
namespace {
constexpr int kSocket = 3;

struct Entry {
  const char* name;
  Result<Fields> (*run)(const Job&);
};
constexpr Entry kJobs[] = {
    {"ingest", ingest_job},   {"unpack", unpack_job},   {"copy", copy_job},
    {"remove", remove_job},   {"empty", empty_job},     {"measure", measure_job},
    {"user", user_job},       {"unmount", unmount_job}, {"extract", extract_job},
    {"volumes", volumes_job}, {"fetch", fetch_job},     {"collect", collect_job},
    {"place", place_job},     {"changes", changes_job}, {"commit", commit_job},
    {"save", save_job},
};

Result<std::string> receive(size_t size) {
  std::string out(size, '\0');
  for (size_t used = 0; used < size;) {
    ssize_t n = ::recv(kSocket, out.data() + used, size - used, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error(Errc::corrupt, "no whole request");
    used += static_cast<size_t>(n);
  }
  return out;
}

Result<Fields> receive_request() {
  uint32_t size = 0;
  std::string head = GANTRY_TRY(receive(sizeof size));
  std::memcpy(&size, head.data(), sizeof size);
  if (size > kMaxWorkerMessage) return Error(Errc::corrupt, "the request is too long");
  return Fields::decode(GANTRY_TRY(receive(size)));
}

Result<Fields> run(const std::string& name, int last_fd) {
  Fields request = GANTRY_TRY(receive_request());
  Job job{request, {}};
  for (int fd = kSocket + 1; fd <= last_fd; ++fd) job.fds.push_back(fd);
  for (const Entry& entry : kJobs) {
    if (name == entry.name) return entry.run(job);
  }
  return Error(Errc::unsupported, cat("unknown job ", name));
}

int main_of_worker(int argc, char** argv) {
  ::prctl(PR_SET_NAME, "gantry-worker");  // KERNEL: exec of a descriptor's path names it by number
  int parent = 0, last_fd = 0;
  if (argc != 4 || !parse_number(argv[2], parent) || !parse_number(argv[3], last_fd)) return 64;
  // File names are bytes to us; libarchive converts pax headers through the locale.
  ::setlocale(LC_CTYPE, "C.UTF-8");
  Fields answer;
  auto done = harden(parent, last_fd);
  if (done) {
    auto result = run(argv[1], last_fd);
    if (result) {
      answer = std::move(*result);
    } else {
      add_error(answer, result.error());
    }
  } else {
    add_error(answer, done.error());
  }
  std::string body = answer.encode();
  auto size = static_cast<uint32_t>(body.size());
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += body;
  return sys::write_all(kSocket, frame) ? 0 : 1;
}
}  // namespace
}  // namespace gantry::worker

int main(int argc, char** argv) { return gantry::worker::main_of_worker(argc, argv); }
