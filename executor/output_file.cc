#include "executor/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/sys.h"
#include "launcher/log_files.h"

namespace gantry {
namespace {
struct Piece {
  UniqueFd file;
  uint64_t begin = 0, size = 0;
};

// nullopt: none, or one that the logger is about to make.
Result<std::optional<Piece>> open_piece(const DirFd& sandbox, const std::string& name) {
  // A FIFO that was put there does not hold us up.
  auto file = sandbox.open_beneath(name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
  if (!file && file.error().is_errno(ENOENT)) return std::optional<Piece>();
  if (!file) return std::move(file).error();
  struct ::stat st;
  if (::fstat(file->get(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return Error(Errc::corrupt, cat(name, " in the sandbox is not a file"));
  }
  Piece piece{std::move(*file), 0, static_cast<uint64_t>(st.st_size)};
  const bool is_begun = ::fgetxattr(piece.file.get(), kLogBeginAttribute, &piece.begin,
                                    sizeof piece.begin) == sizeof piece.begin;
  if (!is_begun) piece.begin = 0;
  if (!is_begun && piece.size == 0) return std::optional<Piece>();
  return std::optional(std::move(piece));
}
}  // namespace

OutputFile::OutputFile(std::string sandbox, const char* name)
    : sandbox_(std::move(sandbox)), name_(name) {}

Result<std::optional<uint64_t>> OutputFile::seek(uint64_t position) {
  if (file_ && position >= begin_) {
    if (position < GANTRY_TRY(end()) || is_current()) return std::optional(position);
  }
  return locate(position);
}

Result<uint64_t> OutputFile::end() const {
  struct ::stat st;
  if (::fstat(file_.get(), &st) != 0) return Error::from_errno(errno, cat("look at ", name_));
  return begin_ + static_cast<uint64_t>(st.st_size);
}

Result<std::string> OutputFile::read(uint64_t position, size_t most) const {
  std::string bytes(most, '\0');
  const ssize_t n = ::pread(file_.get(), bytes.data(), most, static_cast<off_t>(position - begin_));
  if (n < 0) return Error::from_errno(errno, cat("read ", name_));
  bytes.resize(static_cast<size_t>(n));
  return bytes;
}

bool OutputFile::is_same_as(int descriptor) const {
  struct ::stat ours, other;
  return ::fstat(file_.get(), &ours) == 0 && ::fstat(descriptor, &other) == 0 &&
         ours.st_ino == other.st_ino && ours.st_dev == other.st_dev;
}

bool OutputFile::is_current() const {
  auto sandbox = DirFd::open(sandbox_);
  if (!sandbox) return true;  // removed while we follow: nothing more comes
  struct ::stat ours, current;
  return ::fstat(file_.get(), &ours) == 0 &&
         ::fstatat(sandbox->get(), name_, &current, AT_SYMLINK_NOFOLLOW) == 0 &&
         ours.st_ino == current.st_ino && ours.st_dev == current.st_dev;
}

// ORDER: from the newest on. Files only ever move to older names, so none is missed by a look that
// a rotation overtakes.
Result<std::optional<uint64_t>> OutputFile::locate(uint64_t position) {
  auto sandbox = DirFd::open(sandbox_);
  if (!sandbox && sandbox.error().is_errno(ENOENT)) return std::optional<uint64_t>();
  if (!sandbox) return std::move(sandbox).error();
  std::optional<Piece> found;
  uint32_t missing = 0;
  for (uint32_t i = 0; i < kMostLogFiles && missing <= kMostMissingNames; ++i) {
    auto piece = open_piece(*sandbox, i == 0 ? std::string(name_) : cat(name_, ".", i));
    if (!piece && i == 0) return std::move(piece).error();
    if (!piece || !*piece) {
      if (i > 0) ++missing;
      continue;
    }
    missing = 0;
    const bool is_at_hand = (*piece)->begin <= position;
    // What lies between it and the newer one was taken from its file.
    if (is_at_hand && found && position >= (*piece)->begin + (*piece)->size) break;
    found = std::move(*piece);
    if (is_at_hand) break;
  }
  if (!found) return std::optional<uint64_t>();
  file_ = std::move(found->file);
  begin_ = found->begin;
  return std::optional(std::max(position, begin_));
}
}  // namespace gantry
