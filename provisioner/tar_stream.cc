#include "provisioner/tar_stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/sys.h"

namespace gantry {
namespace {
using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;
using Sink = std::function<Result<void>(std::string_view)>;
constexpr size_t kBlock = 512;
constexpr size_t kMaxDepth = 4000;

Error failed(std::string what) { return Error::from_errno(errno, std::move(what)); }

// POSIX.1-1988 header; what does not fit goes into a pax header before it.
struct Header {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
  char magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};
static_assert(sizeof(Header) == kBlock);

template <size_t N>
bool put_octal(char (&field)[N], uint64_t value) {
  for (size_t i = N - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
  return value == 0;
}

// "LENGTH key=value\n", where LENGTH counts itself.
std::string pax_record(std::string_view key, std::string_view value) {
  size_t rest = key.size() + value.size() + 3, length = rest + 1;
  while (cat(length).size() + rest != length) length = cat(length).size() + rest;
  return cat(length, " ", key, "=", value, "\n");
}

class TarWriter {
 public:
  TarWriter(int top, const Sink& sink) : top_(top), sink_(sink) {}
  Result<void> run();

 private:
  struct Level {
    Dir dir;
    std::string path;
  };
  Result<void> entry(int parent, const char* name, const std::string& path,
                     const struct ::stat& st);
  Result<void> header(const std::string& path, const struct ::stat& st, char type, uint64_t size,
                      const std::string& link, std::string pax);
  Result<void> file(int fd, uint64_t size, const std::string& path);
  Result<std::string> xattrs(int fd) const;
  Result<void> block(const Header& header) {
    return sink_({reinterpret_cast<const char*>(&header), kBlock});
  }
  Result<void> pad(uint64_t size) {
    static const char zeros[kBlock] = {};
    return size % kBlock == 0 ? Result<void>() : sink_({zeros, kBlock - size % kBlock});
  }

  int top_;
  const Sink& sink_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;
};

void seal(Header& h) {
  std::memcpy(h.magic, "ustar", 6);
  std::memcpy(h.version, "00", 2);
  std::memset(h.checksum, ' ', sizeof h.checksum);
  unsigned sum = 0;
  for (size_t i = 0; i < kBlock; ++i) sum += reinterpret_cast<const unsigned char*>(&h)[i];
  char digits[7];
  put_octal(digits, sum);
  std::memcpy(h.checksum, digits, 6);
  h.checksum[6] = '\0';
}

Result<void> TarWriter::header(const std::string& path, const struct ::stat& st, char type,
                               uint64_t size, const std::string& link, std::string pax) {
  Header h{};
  if (path.size() > sizeof h.name) pax += pax_record("path", path);
  if (link.size() > sizeof h.link) pax += pax_record("linkpath", link);
  std::memcpy(h.name, path.data(), std::min(path.size(), sizeof h.name));
  std::memcpy(h.link, link.data(), std::min(link.size(), sizeof h.link));
  put_octal(h.mode, st.st_mode & 07777);
  if (!put_octal(h.uid, st.st_uid)) pax += pax_record("uid", cat(st.st_uid));
  if (!put_octal(h.gid, st.st_gid)) pax += pax_record("gid", cat(st.st_gid));
  if (!put_octal(h.size, size)) pax += pax_record("size", cat(size));
  bool whole =
      st.st_mtim.tv_sec >= 0 && put_octal(h.mtime, static_cast<uint64_t>(st.st_mtim.tv_sec));
  if (!whole || st.st_mtim.tv_nsec != 0) {
    // A time before 1970 is counted down from the next whole second.
    int64_t seconds = st.st_mtim.tv_sec, nanos = st.st_mtim.tv_nsec;
    bool negative = seconds < 0;
    if (negative && nanos != 0) {
      seconds += 1;
      nanos = 1'000'000'000 - nanos;
    }
    std::string fraction = cat(1'000'000'000 + nanos).substr(1);
    pax += pax_record("mtime", cat(negative && seconds == 0 ? "-" : "", seconds, ".", fraction));
  }
  put_octal(h.major, major(st.st_rdev));
  put_octal(h.minor, minor(st.st_rdev));
  h.type = type;
  if (!pax.empty()) {
    Header x{};
    std::memcpy(x.name, "././@PaxHeader", 14);
    put_octal(x.mode, 0644);
    put_octal(x.size, pax.size());
    x.type = 'x';
    seal(x);
    GANTRY_TRY(block(x));
    GANTRY_TRY(sink_(pax));
    GANTRY_TRY(pad(pax.size()));
  }
  seal(h);
  return block(h);
}

Result<std::string> TarWriter::xattrs(int fd) const {
  std::string names(64u << 10, '\0'), value(64u << 10, '\0'), out;
  ssize_t size = ::flistxattr(fd, names.data(), names.size());
  if (size < 0 && errno != EOPNOTSUPP) return failed("list attributes");
  names.resize(size < 0 ? 0 : static_cast<size_t>(size));
  for (size_t at = 0; at < names.size();) {
    std::string name(names.c_str() + at);
    at += name.size() + 1;
    bool wanted = name.starts_with("user.") || name == "security.capability" ||
                  name.starts_with("system.posix_acl_");
    if (!wanted) continue;
    ssize_t length = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (length < 0) return failed(cat("read the attribute ", name));
    out += pax_record(cat("SCHILY.xattr.", name), {value.data(), static_cast<size_t>(length)});
  }
  return out;
}

Result<void> TarWriter::file(int fd, uint64_t size, const std::string& path) {
  std::string buffer(std::min<uint64_t>(size, 1u << 20), '\0');
  uint64_t left = size;
  while (left > 0) {
    ssize_t n = ::read(fd, buffer.data(), std::min<uint64_t>(left, buffer.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(cat("read ", path));
    if (n == 0) return Error(Errc::conflict, cat(path, " became shorter while it was read"));
    GANTRY_TRY(sink_({buffer.data(), static_cast<size_t>(n)}));
    left -= static_cast<uint64_t>(n);
  }
  return pad(size);
}

Result<void> TarWriter::entry(int parent, const char* name, const std::string& path,
                              const struct ::stat& st) {
  if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
    auto [it, is_first] = linked_.emplace(std::pair(st.st_dev, st.st_ino), path);
    if (!is_first) return header(path, st, '1', 0, it->second, "");
  }
  switch (st.st_mode & S_IFMT) {
    case S_IFREG: {
      UniqueFd fd =
          GANTRY_TRY(sys::open_at(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).context(path));
      auto size = static_cast<uint64_t>(st.st_size);
      GANTRY_TRY(header(path, st, '0', size, "", GANTRY_TRY(xattrs(fd.get()).context(path))));
      return file(fd.get(), size, path);
    }
    case S_IFDIR: {
      UniqueFd fd =
          GANTRY_TRY(sys::open_at(parent, name, O_RDONLY | O_NOFOLLOW | O_DIRECTORY).context(path));
      return header(path, st, '5', 0, "", GANTRY_TRY(xattrs(fd.get()).context(path)));
    }
    case S_IFLNK: {
      std::string target(4096, '\0');
      ssize_t n = ::readlinkat(parent, name, target.data(), target.size());
      if (n < 0) return failed(cat("read the link ", path));
      target.resize(static_cast<size_t>(n));
      return header(path, st, '2', 0, target, "");
    }
    case S_IFCHR:
      return header(path, st, '3', 0, "", "");
    case S_IFBLK:
      return header(path, st, '4', 0, "", "");
    case S_IFIFO:
      return header(path, st, '6', 0, "", "");
    default:
      return {};  // sockets
  }
}

Result<void> TarWriter::run() {
  struct ::stat top;
  if (::fstat(top_, &top) != 0) return failed("stat the directory");
  GANTRY_TRY(entry(top_, ".", "./", top));
  std::vector<Level> levels;
  auto enter = [&](int parent, const char* name, std::string path) -> Result<void> {
    UniqueFd fd =
        GANTRY_TRY(sys::open_at(parent, name, O_RDONLY | O_NOFOLLOW | O_DIRECTORY).context(path));
    Level level{Dir(::fdopendir(fd.get()), &::closedir), std::move(path)};
    if (!level.dir) return failed("read a directory");
    (void)fd.release();
    levels.push_back(std::move(level));
    return {};
  };
  GANTRY_TRY(enter(top_, ".", "./"));
  while (!levels.empty()) {
    dirent* found = ::readdir(levels.back().dir.get());
    if (found == nullptr) {
      levels.pop_back();
      continue;
    }
    std::string name = found->d_name;
    if (name == "." || name == "..") continue;
    int parent = ::dirfd(levels.back().dir.get());
    std::string path = levels.back().path + name;
    struct ::stat st = GANTRY_TRY(sys::stat_at(parent, name.c_str(), AT_SYMLINK_NOFOLLOW));
    if (S_ISDIR(st.st_mode)) path += '/';
    GANTRY_TRY(entry(parent, name.c_str(), path, st));
    if (!S_ISDIR(st.st_mode) || st.st_dev != top.st_dev) continue;
    if (levels.size() >= kMaxDepth) return Error(Errc::exhausted, cat(path, ": nested too deeply"));
    GANTRY_TRY(enter(parent, name.c_str(), std::move(path)));
  }
  const std::string end(2 * kBlock, '\0');
  return sink_(end);
}
}  // namespace

Result<void> write_tar_of_directory(int directory_fd,
                                    const std::function<Result<void>(std::string_view)>& sink) {
  return TarWriter(directory_fd, sink).run();
}
}  // namespace gantry
