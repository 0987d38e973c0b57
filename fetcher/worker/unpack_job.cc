#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/sys.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"
#include "fetcher/worker/layer_writer.h"

namespace gantry::worker {
namespace {
// CAP_SYS_ADMIN is for trusted.overlay.opaque; the calls it is feared for are not on the list.
constexpr uint64_t kUnpack = cap_bit(CAP_CHOWN) | cap_bit(CAP_DAC_OVERRIDE) | cap_bit(CAP_FOWNER) |
                             cap_bit(CAP_FSETID) | cap_bit(CAP_MKNOD) | cap_bit(CAP_SETFCAP) |
                             cap_bit(CAP_SYS_ADMIN);

// The root directory's looks, should the archive not say: those of the layer below, else 0755.
Result<void> set_root_metadata(const std::vector<DirFd>& layers) {
  struct ::stat like{};
  like.st_mode = 0755;
  if (layers.size() > 1 && ::fstat(layers[1].get(), &like) != 0) {
    return Error::from_errno(errno, "stat a layer");
  }
  UniqueFd root = GANTRY_TRY(layers[0].open_beneath("", O_RDONLY | O_DIRECTORY));
  if (::fchown(root.get(), like.st_uid, like.st_gid) != 0 ||
      ::fchmod(root.get(), like.st_mode & 07777) != 0) {
    return Error::from_errno(errno, "set up the layer's root");
  }
  return {};
}

Result<void> apply_all(Input& from, LayerWriter& writer, Filters filters) {
  TarReader reader(from, filters);
  while (auto entry = GANTRY_TRY(reader.next())) GANTRY_TRY(writer.apply(*entry, reader));
  GANTRY_TRY(reader.drain());
  return writer.finish();
}
}  // namespace

Result<Fields> unpack_job(const Job& job) {
  const Fields& request = job.request;
  std::vector<UniqueFd> lower;
  for (size_t i = 1; i < job.fds.size(); ++i) {
    lower.emplace_back(GANTRY_TRY(detach_read_only(job.fds[i])));
  }
  GANTRY_TRY(enter_root(job.fds.at(0), Below::own_file_system));
  GANTRY_TRY(leave_network());
  GANTRY_TRY(limit({}));
  std::vector<DirFd> layers;
  layers.push_back(GANTRY_TRY(DirFd::open("/")));
  for (UniqueFd& fd : lower) layers.emplace_back(std::move(fd));
  // The way back to the host's mounts. lint: allow close, because they came to us as numbers
  for (int fd : job.fds) ::close(fd);
  GANTRY_TRY(keep_capabilities(kUnpack));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));

  GANTRY_TRY(set_root_metadata(layers));
  InputLimits limits;
  limits.max_bytes = GANTRY_TRY(request.number<uint64_t>("max_bytes"));
  FdInput raw(STDIN_FILENO, limits);
  Inflater inflated(raw, limits.max_bytes);
  WriteLimits write_limits;
  write_limits.max_entries = GANTRY_TRY(request.number<uint64_t>("max_entries"));
  write_limits.max_bytes = limits.max_bytes;
  LayerWriter writer(std::move(layers), WriteAs::layer, write_limits);
  GANTRY_TRY(apply_all(inflated, writer, Filters::none));
  if (std::string got = inflated.digest().to_string(); got != request.get("diff_id")) {
    return Error(Errc::corrupt, cat("the layer's content is ", got, ", but the image says ",
                                    request.get("diff_id")));
  }
  // Once for all files; the caller marks the layer as finished afterwards.
  UniqueFd root = GANTRY_TRY(sys::open("/", O_RDONLY | O_DIRECTORY));
  if (::syncfs(root.get()) != 0) return Error::from_errno(errno, "sync the layer");
  Fields answer;
  answer.add_number("entries", writer.entries());
  answer.add_number("bytes", writer.bytes());
  answer.add("root_opaque", writer.is_root_opaque() ? "1" : "0");
  return answer;
}

Result<Fields> extract_job(const Job& job) {
  const Fields& request = job.request;
  uid_t uid = GANTRY_TRY(request.number<uid_t>("uid"));
  gid_t gid = GANTRY_TRY(request.number<gid_t>("gid"));
  GANTRY_TRY(enter_root(job.fds.at(0), Below::own_file_system));
  GANTRY_TRY(leave_network());
  GANTRY_TRY(limit({}));
  ::close(job.fds[0]);  // lint: allow close, because it was handed to this process as a number
  GANTRY_TRY(become(uid, gid));
  std::vector<DirFd> sandbox;
  sandbox.push_back(GANTRY_TRY(DirFd::open("/")));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  UniqueFd archive =
      GANTRY_TRY(sandbox[0].open_beneath(request.get("name"), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  InputLimits limits;
  WriteLimits write_limits;
  limits.max_bytes = write_limits.max_bytes = write_limits.max_file =
      GANTRY_TRY(request.number<uint64_t>("max_bytes"));
  FdInput raw(archive.get(), limits);
  LayerWriter writer(std::move(sandbox), WriteAs::plain_files, write_limits);
  GANTRY_TRY(apply_all(raw, writer, Filters::common).context("extract ", request.get("name")));
  return Fields();
}
}  // namespace gantry::worker
