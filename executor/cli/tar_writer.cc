#include "executor/cli/tar_writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "base/sys.h"
#include "base/unique_fd.h"

namespace gantry::cli {
namespace {
constexpr size_t kBlock = 512;
constexpr uint64_t kOctalLimit = 1ull << 33;  // what fits into a size field
constexpr uint64_t kIdLimit = 1ull << 21;     // and into an owner field

struct Header {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100],
      magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], padding[12];
};
static_assert(sizeof(Header) == kBlock);

template <size_t N>
void put_octal(char (&field)[N], uint64_t value) {
  field[N - 1] = '\0';
  for (size_t i = N - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
}

// "LENGTH KEY=VALUE\n", where LENGTH counts itself.
void append_pax(std::string& out, std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (cat(length).size() + rest != length) ++length;
  out += cat(length, " ", key, "=", value, "\n");
}

class Writer {
 public:
  explicit Writer(const TarSink& sink) : sink_(sink) {}
  Result<void> directory(int fd, const std::string& path);
  Result<void> finish() {
    buffer_.append(2 * kBlock, '\0');
    return flush();
  }

 private:
  Result<void> entry(int dir_fd, const std::string& name, const std::string& path);
  Result<void> header(const std::string& path, const struct ::stat& status, char type,
                      const std::string& link, std::string pax);
  Result<void> content(int fd, const std::string& path, uint64_t size);
  Result<std::string> attributes(int dir_fd, const std::string& name, const std::string& path);
  Result<void> pad(uint64_t size) {
    buffer_.append((kBlock - size % kBlock) % kBlock, '\0');
    return buffer_.size() >= kFlush ? flush() : Result<void>();
  }
  Result<void> flush() {
    const Result<void> result = sink_(buffer_);
    buffer_.clear();
    return result;
  }

  static constexpr size_t kFlush = 256u << 10;
  const TarSink& sink_;
  std::string buffer_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // the first name of each linked file
};

Result<void> Writer::header(const std::string& path, const struct ::stat& status, char type,
                            const std::string& link, std::string pax) {
  const uint64_t size = type == '0' ? static_cast<uint64_t>(status.st_size) : 0;
  if (path.size() >= sizeof(Header::name)) append_pax(pax, "path", path);
  if (link.size() >= sizeof(Header::link)) append_pax(pax, "linkpath", link);
  if (size >= kOctalLimit) append_pax(pax, "size", cat(size));
  if (status.st_uid >= kIdLimit) append_pax(pax, "uid", cat(status.st_uid));
  if (status.st_gid >= kIdLimit) append_pax(pax, "gid", cat(status.st_gid));
  const auto add = [&](char kind, const std::string& name, uint64_t bytes) {
    Header head = {};
    std::memcpy(head.name, name.data(), std::min(name.size(), sizeof head.name - 1));
    std::memcpy(head.link, link.data(), std::min(link.size(), sizeof head.link - 1));
    put_octal(head.mode, status.st_mode & 07777);
    put_octal(head.uid, status.st_uid < kIdLimit ? status.st_uid : 0);
    put_octal(head.gid, status.st_gid < kIdLimit ? status.st_gid : 0);
    put_octal(head.size, bytes < kOctalLimit ? bytes : 0);
    put_octal(head.mtime,
              status.st_mtim.tv_sec > 0 ? static_cast<uint64_t>(status.st_mtim.tv_sec) : 0);
    head.type = kind;
    std::memcpy(head.magic, "ustar", 6);
    std::memcpy(head.version, "00", 2);
    put_octal(head.major, type == '3' || type == '4' ? major(status.st_rdev) : 0);
    put_octal(head.minor, type == '3' || type == '4' ? minor(status.st_rdev) : 0);
    std::memset(head.checksum, ' ', sizeof head.checksum);
    unsigned sum = 0;
    for (size_t i = 0; i < kBlock; ++i) sum += reinterpret_cast<const unsigned char*>(&head)[i];
    put_octal(*reinterpret_cast<char(*)[7]>(head.checksum), sum);
    buffer_.append(reinterpret_cast<const char*>(&head), kBlock);
  };
  if (!pax.empty()) {
    add('x', cat("pax/", path.substr(0, 80)), pax.size());
    buffer_ += pax;
    GANTRY_TRY(pad(pax.size()));
  }
  add(type, path, size);
  return {};
}

Result<void> Writer::content(int fd, const std::string& path, uint64_t size) {
  uint64_t left = size;
  std::vector<char> bytes(128u << 10);
  while (left > 0) {
    const ssize_t n = ::read(fd, bytes.data(), std::min<uint64_t>(left, bytes.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, cat("read ", path));
    if (n == 0) break;
    buffer_.append(bytes.data(), static_cast<size_t>(n));
    left -= static_cast<uint64_t>(n);
    if (buffer_.size() >= kFlush) GANTRY_TRY(flush());
  }
  // The header has promised so many bytes: a file that shrank meanwhile is filled up.
  for (; left > 0; left -= std::min<uint64_t>(left, kFlush)) {
    buffer_.append(std::min<uint64_t>(left, kFlush), '\0');
    GANTRY_TRY(flush());
  }
  return pad(size);
}

// pax records of the extended attributes, in SCHILY's spelling that every reader knows.
Result<std::string> Writer::attributes(int dir_fd, const std::string& name,
                                       const std::string& path) {
  // KERNEL: xattr calls take no directory descriptor before Linux 6.13; /proc names the file and
  // l… does not follow the last link.
  const std::string file = cat("/proc/self/fd/", dir_fd, "/", name);
  std::vector<char> names(64u << 10);
  const ssize_t total = ::llistxattr(file.c_str(), names.data(), names.size());
  if (total < 0) {
    if (errno == ENOTSUP) return std::string();
    return Error::from_errno(errno, cat("list extended attributes of ", path));
  }
  std::string pax;
  std::vector<char> value(64u << 10);
  for (const char* at = names.data(); at < names.data() + total; at += std::strlen(at) + 1) {
    const ssize_t n = ::lgetxattr(file.c_str(), at, value.data(), value.size());
    if (n < 0) continue;
    append_pax(pax, cat("SCHILY.xattr.", at), {value.data(), static_cast<size_t>(n)});
  }
  return pax;
}

Result<void> Writer::entry(int dir_fd, const std::string& name, const std::string& path) {
  const struct ::stat status = GANTRY_TRY(sys::stat_at(dir_fd, name.c_str(), AT_SYMLINK_NOFOLLOW));
  if (S_ISSOCK(status.st_mode)) return {};
  std::string pax = GANTRY_TRY(attributes(dir_fd, name, path));
  if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
    const auto [it, is_first] = linked_.try_emplace({status.st_dev, status.st_ino}, path);
    if (!is_first) return header(path, status, '1', it->second, {});
  }
  switch (status.st_mode & S_IFMT) {
    case S_IFDIR: {
      GANTRY_TRY(header(path + "/", status, '5', {}, std::move(pax)));
      const UniqueFd child =
          GANTRY_TRY(sys::open_at(dir_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      return directory(child.get(), path + "/");
    }
    case S_IFLNK: {
      char target[PATH_MAX];
      const ssize_t n = ::readlinkat(dir_fd, name.c_str(), target, sizeof target);
      if (n < 0) return Error::from_errno(errno, cat("read the link ", path));
      return header(path, status, '2', std::string(target, static_cast<size_t>(n)), std::move(pax));
    }
    case S_IFCHR:
      return header(path, status, '3', {}, std::move(pax));
    case S_IFBLK:
      return header(path, status, '4', {}, std::move(pax));
    case S_IFIFO:
      return header(path, status, '6', {}, std::move(pax));
    default: {
      const UniqueFd file =
          GANTRY_TRY(sys::open_at(dir_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
      GANTRY_TRY(header(path, status, '0', {}, std::move(pax)));
      return content(file.get(), path, static_cast<uint64_t>(status.st_size));
    }
  }
}

Result<void> Writer::directory(int fd, const std::string& path) {
  std::vector<std::string> names;
  {
    // fdopendir takes over what it is given.
    UniqueFd copy = GANTRY_TRY(sys::open_at(fd, ".", O_RDONLY | O_DIRECTORY));
    std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.release()), ::closedir);
    if (!stream) return Error::from_errno(errno, cat("read the directory ", path));
    while (const dirent* item = ::readdir(stream.get())) {
      const std::string_view name = item->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
  }
  std::ranges::sort(names);
  for (const std::string& name : names) {
    GANTRY_TRY(entry(fd, name, path + name).context(path + name));
  }
  return {};
}
}  // namespace

Result<void> write_tar(const std::string& directory, const TarSink& sink) {
  const UniqueFd root = GANTRY_TRY(sys::open(directory, O_RDONLY | O_DIRECTORY));
  Writer writer(sink);
  GANTRY_TRY(writer.directory(root.get(), ""));
  return writer.finish();
}
}  // namespace gantry::cli
