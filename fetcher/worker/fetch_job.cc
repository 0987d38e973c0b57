#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "api/oci/digest.h"
#include "base/path_at.h"
#include "base/sys.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/download.h"
#include "fetcher/worker/input.h"
#include "fetcher/worker/jobs.h"

namespace gantry::worker {
namespace {
// What the resolver and TLS read; a fetch reads nothing else of the host.
const std::vector<std::string> kResolverFiles = {"/etc/resolv.conf",
                                                 "/etc/hosts",
                                                 "/etc/host.conf",
                                                 "/etc/nsswitch.conf",
                                                 "/etc/gai.conf",
                                                 "/etc/services",
                                                 "/etc/ssl",
                                                 "/etc/ld.so.cache",
                                                 "/usr/lib/ssl",
                                                 "/usr/share/ca-certificates",
                                                 "/usr/local/share/ca-certificates",
                                                 "/lib",
                                                 "/lib64",
                                                 "/usr/lib",
                                                 "/usr/lib64",
                                                 "/run/systemd/resolve",
                                                 "/dev/urandom",
                                                 "/dev/null"};

// Where the bytes go: a file given by descriptor, or a new one in a directory that appears under
// its name when it is whole.
class Target {
 public:
  static Result<Target> open(const Fields& request, int fd);
  Result<void> write(std::string_view piece) {
    hasher_.update(piece);
    size_ += piece.size();
    if (size_ > max_bytes_) {
      return Error(Errc::exhausted, cat("it is larger than ", max_bytes_, " bytes"));
    }
    return sys::write_all(fd_, piece);
  }
  Result<void> finish(const Fields& request);
  void abandon() {
    if (!temporary_.empty()) ::unlinkat(directory_, temporary_.c_str(), 0);
  }

 private:
  int fd_ = -1, directory_ = -1;
  UniqueFd owned_;
  std::string temporary_;
  oci::Hasher hasher_;
  uint64_t size_ = 0, max_bytes_ = 0;
};

Result<Target> Target::open(const Fields& request, int fd) {
  Target out;
  out.max_bytes_ = GANTRY_TRY(request.number<uint64_t>("max_bytes"));
  if (!request.has("name")) {
    out.fd_ = fd;
    return out;
  }
  out.directory_ = fd;
  out.temporary_ = cat(".gantry-fetch.", sys::random_hex(8));
  auto made =
      sys::open_at(fd, out.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (!made) return std::move(made).error().context("the sandbox is not writable for the user");
  out.owned_ = std::move(*made);
  out.fd_ = out.owned_.get();
  return out;
}

Result<void> Target::finish(const Fields& request) {
  std::string got = hasher_.finish().hex();
  if (request.has("sha256") && got != request.get("sha256")) {
    return Error(Errc::corrupt,
                 cat("its sha256 is ", got, ", but ", request.get("sha256"), " was asked for"));
  }
  if (directory_ < 0) return {};
  mode_t mode = request.get("executable") == "1" ? 0755 : 0644;
  if (::fchmod(fd_, mode) != 0) return Error::from_errno(errno, "chmod");
  std::string name(request.get("name"));
  if (::renameat(directory_, temporary_.c_str(), directory_, name.c_str()) != 0) {
    return Error::from_errno(errno, cat("put ", name, " into the sandbox"));
  }
  temporary_.clear();
  return {};
}

Result<void> copy_file(int source, Target& target, std::chrono::seconds stall) {
  FdInput input(source, {1ull << 62, stall});
  for (;;) {
    std::string_view piece = GANTRY_TRY(input.next());
    if (piece.empty()) return {};
    GANTRY_TRY(target.write(piece));
  }
}

// A regular file that the user may read; looked at before it is opened, so never a device or a
// fifo.
Result<UniqueFd> open_source(const std::string& path) {
  UniqueFd found = GANTRY_TRY(sys::open(path, O_PATH));
  struct ::stat st;
  if (::fstat(found.get(), &st) != 0) return Error::from_errno(errno, cat("stat ", path));
  if (!S_ISREG(st.st_mode)) return Error(Errc::invalid, cat(path, " is not a regular file"));
  auto opened = sys::open(cat("/proc/self/fd/", found.get()), O_RDONLY | O_NONBLOCK);
  if (!opened) return Error::from_errno(opened.error().code().value(), cat("open ", path));
  return opened;
}
}  // namespace

Result<Fields> fetch_job(const Job& job) {
  const Fields& request = job.request;
  uid_t uid = GANTRY_TRY(request.number<uid_t>("uid"));
  gid_t gid = GANTRY_TRY(request.number<gid_t>("gid"));
  std::chrono::seconds stall(GANTRY_TRY(request.number<int64_t>("stall")));
  std::string uri(request.get("uri"));
  GANTRY_TRY(limit({}));
  GANTRY_TRY(become(uid, gid));
  bool is_http = uri.starts_with("http://") || uri.starts_with("https://");
  UniqueFd source;
  if (uri.starts_with("file://")) source = GANTRY_TRY(open_source(uri.substr(7)));
  bool into_directory = request.has("name");
  GANTRY_TRY(restrict_files(is_http ? kResolverFiles : std::vector<std::string>(),
                            into_directory ? job.fds.at(0) : -1));
  GANTRY_TRY(restrict_system_calls(is_http ? SystemCalls::network : SystemCalls::files));

  Target target = GANTRY_TRY(Target::open(request, job.fds.at(0)));
  auto done = [&]() -> Result<void> {
    if (is_http) {
      GANTRY_TRY(download(uri, stall, [&](std::string_view piece) { return target.write(piece); }));
    } else {
      GANTRY_TRY(copy_file(source ? source.get() : STDIN_FILENO, target, stall));
    }
    return target.finish(request);
  }();
  if (!done) {
    target.abandon();
    return std::move(done).error();
  }
  return Fields();
}
}  // namespace gantry::worker
