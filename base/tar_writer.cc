#include "base/tar_writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <vector>

#include "base/sys.h"
#include "base/unique_fd.h"

namespace gantry {
namespace {
constexpr size_t kBlock = 512;
constexpr size_t kFlush = 256u << 10;
constexpr size_t kMostMade = 16u << 20;       // of a file that the kernel makes as it is read
constexpr size_t kMostDepth = 1000;           // one descriptor a level
constexpr uint64_t kOctalLimit = 1ull << 33;  // what fits into a size field
constexpr uint64_t kIdLimit = 1ull << 21;     // and into an owner field
constexpr size_t kMostLayerPath = 4095;       // what is read of an image's layer

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

// A time before 1970 is counted down from the next whole second.
std::string decimal(const timespec& time) {
  int64_t seconds = time.tv_sec, nanoseconds = time.tv_nsec;
  const bool is_negative = seconds < 0;
  if (is_negative && nanoseconds != 0) {
    seconds += 1;
    nanoseconds = 1'000'000'000 - nanoseconds;
  }
  const std::string fraction = cat(1'000'000'000 + nanoseconds).substr(1);
  return cat(is_negative && seconds == 0 ? "-" : "", seconds, ".", fraction);
}

void append_block(std::string& out, const std::string& name, const std::string& link,
                  const struct ::stat& status, char type, uint64_t size) {
  Header head = {};
  std::memcpy(head.name, name.data(), std::min(name.size(), sizeof head.name - 1));
  std::memcpy(head.link, link.data(), std::min(link.size(), sizeof head.link - 1));
  put_octal(head.mode, status.st_mode & 07777);
  put_octal(head.uid, status.st_uid < kIdLimit ? status.st_uid : 0);
  put_octal(head.gid, status.st_gid < kIdLimit ? status.st_gid : 0);
  put_octal(head.size, size < kOctalLimit ? size : 0);
  put_octal(head.mtime,
            status.st_mtim.tv_sec > 0 ? static_cast<uint64_t>(status.st_mtim.tv_sec) : 0);
  head.type = type;
  std::memcpy(head.magic, "ustar", 6);
  std::memcpy(head.version, "00", 2);
  put_octal(head.major, type == '3' || type == '4' ? major(status.st_rdev) : 0);
  put_octal(head.minor, type == '3' || type == '4' ? minor(status.st_rdev) : 0);
  std::memset(head.checksum, ' ', sizeof head.checksum);
  unsigned sum = 0;
  for (size_t i = 0; i < kBlock; ++i) sum += reinterpret_cast<const unsigned char*>(&head)[i];
  put_octal(*reinterpret_cast<char(*)[7]>(head.checksum), sum);
  out.append(reinterpret_cast<const char*>(&head), kBlock);
}

// Everything else is policy of a kernel (trusted, security labels, overlayfs' own).
bool is_content(std::string_view attribute) {
  return attribute.starts_with("user.") || attribute == "security.capability" ||
         attribute.starts_with("system.posix_acl_");
}

// In SCHILY's spelling, which every reader knows.
Result<std::string> attributes(int fd) {
  std::vector<char> names(64u << 10), value(64u << 10);
  const ssize_t total = ::flistxattr(fd, names.data(), names.size());
  if (total < 0) {
    if (errno == ENOTSUP) return std::string();
    return Error::from_errno(errno, "list its extended attributes");
  }
  std::string pax;
  for (const char* at = names.data(); at < names.data() + total; at += std::strlen(at) + 1) {
    if (!is_content(at)) continue;
    const ssize_t n = ::fgetxattr(fd, at, value.data(), value.size());
    if (n >= 0) append_pax(pax, cat("SCHILY.xattr.", at), {value.data(), static_cast<size_t>(n)});
  }
  return pax;
}

Result<std::string> target_of(int directory, const std::string& name) {
  char target[PATH_MAX];
  const ssize_t n = ::readlinkat(directory, name.c_str(), target, sizeof target);
  if (n < 0) return Error::from_errno(errno, "read the link");
  return std::string(target, static_cast<size_t>(n));
}

constexpr std::string_view kWhiteout = ".wh.", kOpaque = ".wh..wh..opq";

bool is_whiteout(const struct ::stat& status) {
  return S_ISCHR(status.st_mode) && status.st_rdev == makedev(0, 0);
}

Result<void> require_no_whiteout_name(std::string_view name) {
  if (!name.starts_with(kWhiteout)) return {};
  return Error(Errc::unsupported,
               cat("an image cannot have a file of that name: in its layers `", kWhiteout,
                   "NAME` says that NAME was removed. Rename it or remove it, and commit again"));
}

bool has_attribute(int fd, const char* name, std::string_view value) {
  char there[2];
  const ssize_t n = ::fgetxattr(fd, name, there, sizeof there);
  return n == static_cast<ssize_t>(value.size()) && value == std::string_view(there, value.size());
}

// What overlayfs keeps elsewhere: with redirect_dir, metacopy.
Result<void> require_whole(int fd) {
  for (const char* name : {"trusted.overlay.redirect", "trusted.overlay.metacopy"}) {
    if (::fgetxattr(fd, name, nullptr, 0) < 0) continue;
    return Error(Errc::unsupported, cat("it is not whole in the layer (", name, ")"));
  }
  return {};
}

// For an error: what is "./a/b" in the archive is /a/b to whoever looks for it.
std::string shown(std::string_view path) {
  constexpr size_t kMost = 400, kKept = 100;
  if (path == "." || path.starts_with("./")) path.remove_prefix(1);
  if (path.empty()) return "/";
  return path.size() <= kMost ? std::string(path) : cat(path.substr(0, kKept), "…");
}

bool is_made_by_the_kernel(int directory) {
  struct ::statfs fs;
  if (::fstatfs(directory, &fs) != 0) return true;
  constexpr long kKinds[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
                             DEVPTS_SUPER_MAGIC};
  return std::ranges::find(kKinds, fs.f_type) != std::end(kKinds);
}

// Between two looks at a name, both before anything of it is written.
bool has_changed(const Error& error) {
  return error.is_errno(ENOENT) || error.is_errno(ELOOP) || error.is_errno(ENOTDIR) ||
         error.is(Errc::conflict);
}

Result<std::vector<std::string>> sorted_names(int directory) {
  // fdopendir takes over what it is given.
  UniqueFd copy = GANTRY_TRY(sys::open_at(directory, ".", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), ::closedir);
  if (!stream) return Error::from_errno(errno, "read the directory");
  (void)copy.release();
  std::vector<std::string> names;
  while (const dirent* item = ::readdir(stream.get())) {
    const std::string_view name = item->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}
}  // namespace

TarWriter::TarWriter(Sink sink, Options options) : sink_(std::move(sink)), options_(options) {}

Result<void> TarWriter::flush() {
  const Result<void> result = sink_(buffer_);
  buffer_.clear();
  return result;
}

Result<void> TarWriter::pad(uint64_t size) {
  buffer_.append((kBlock - size % kBlock) % kBlock, '\0');
  return buffer_.size() >= kFlush ? flush() : Result<void>();
}

Result<void> TarWriter::finish() {
  buffer_.append(2 * kBlock, '\0');
  return flush();
}

Result<void> TarWriter::add_bytes(const std::string& path, std::string_view bytes) {
  struct ::stat status = {};
  status.st_mode = S_IFREG | 0644;
  status.st_size = static_cast<off_t>(bytes.size());
  GANTRY_TRY(header(path, status, '0', {}, {}));
  buffer_ += bytes;
  return pad(bytes.size());
}

Result<void> TarWriter::header(const std::string& path, const struct ::stat& status, char type,
                               const std::string& link, std::string pax) {
  if (options_.is_layer && path.size() > kMostLayerPath) {
    return Error(Errc::unsupported,
                 cat("its path has ", path.size(), " bytes, and one in an image has at most ",
                     kMostLayerPath, ": remove it, or move it up, and commit again"));
  }
  const uint64_t size = type == '0' ? static_cast<uint64_t>(status.st_size) : 0;
  if (path.size() >= sizeof(Header::name)) append_pax(pax, "path", path);
  if (link.size() >= sizeof(Header::link)) append_pax(pax, "linkpath", link);
  if (size >= kOctalLimit) append_pax(pax, "size", cat(size));
  if (status.st_uid >= kIdLimit) append_pax(pax, "uid", cat(status.st_uid));
  if (status.st_gid >= kIdLimit) append_pax(pax, "gid", cat(status.st_gid));
  if (status.st_mtim.tv_nsec != 0 || status.st_mtim.tv_sec < 0) {
    append_pax(pax, "mtime", decimal(status.st_mtim));
  }
  if (!pax.empty()) {
    append_block(buffer_, cat("pax/", path.substr(0, 80)), {}, status, 'x', pax.size());
    buffer_ += pax;
    GANTRY_TRY(pad(pax.size()));
  }
  append_block(buffer_, path, link, status, type, size);
  return {};
}

Result<void> TarWriter::content(int fd, uint64_t start, uint64_t size) {
  uint64_t left = size;
  std::vector<char> bytes(128u << 10);
  while (left > 0) {
    const ssize_t n = ::pread(fd, bytes.data(), std::min<uint64_t>(left, bytes.size()),
                              static_cast<off_t>(start + size - left));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read");
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
  return {};
}

// Where a file has data; nothing where it has no holes, or too many of them to be worth it.
std::vector<TarWriter::Extent> TarWriter::data_of(int fd, const struct ::stat& status) {
  constexpr size_t kMost = 10'000;
  const auto size = static_cast<uint64_t>(status.st_size);
  if (static_cast<uint64_t>(status.st_blocks) * 512 >= size) return {};
  std::vector<Extent> out;
  for (uint64_t at = 0; at < size;) {
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    const off_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
    if (hole <= data || out.size() == kMost) return {};
    const auto start = static_cast<uint64_t>(data);
    at = std::min(static_cast<uint64_t>(hole), size);
    out.push_back({start, at - start});
  }
  if (out.size() == 1 && out[0].size == size) return {};
  // A map ends where the file does.
  if (out.empty() || out.back().start + out.back().size < size) out.push_back({size, 0});
  return out;
}

Result<void> TarWriter::add_sparse(int fd, const std::string& path, const struct ::stat& status,
                                   const std::vector<Extent>& data) {
  std::string map = cat(data.size(), "\n");
  uint64_t bytes = 0;
  for (const Extent& extent : data) {
    map += cat(extent.start, "\n", extent.size, "\n");
    bytes += extent.size;
  }
  map.append((kBlock - map.size() % kBlock) % kBlock, '\0');
  std::string pax = GANTRY_TRY(attributes(fd));
  append_pax(pax, "GNU.sparse.major", "1");
  append_pax(pax, "GNU.sparse.minor", "0");
  append_pax(pax, "GNU.sparse.name", path);
  append_pax(pax, "GNU.sparse.realsize", cat(status.st_size));
  struct ::stat stored = status;
  stored.st_size = static_cast<off_t>(map.size() + bytes);
  GANTRY_TRY(header("GNUSparseFile.0", stored, '0', {}, std::move(pax)));
  buffer_ += map;
  for (const Extent& extent : data) GANTRY_TRY(content(fd, extent.start, extent.size));
  return pad(bytes);
}

Result<void> TarWriter::add_file(int directory, const std::string& name, const std::string& path) {
  const UniqueFd file =
      GANTRY_TRY(sys::open_at(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  // Another one may have its name by now.
  struct ::stat opened;
  if (::fstat(file.get(), &opened) != 0 || !S_ISREG(opened.st_mode)) {
    return Error(Errc::conflict, "it was replaced while it was read");
  }
  // KERNEL: files of proc and sysfs have a content, and the size 0.
  if (options_.is_layer) GANTRY_TRY(require_whole(file.get()));
  std::string made;
  if (opened.st_size == 0 && is_made_by_the_kernel(file.get())) {
    made = GANTRY_TRY(sys::read_all(file.get(), kMostMade));
    opened.st_size = static_cast<off_t>(made.size());
  }
  if (options_.require_room) {
    GANTRY_TRY(options_.require_room(static_cast<uint64_t>(opened.st_size)));
  }
  if (options_.keeps_holes && made.empty()) {
    const std::vector<Extent> data = data_of(file.get(), opened);
    if (!data.empty()) return add_sparse(file.get(), path, opened, data);
  }
  GANTRY_TRY(header(path, opened, '0', {}, GANTRY_TRY(attributes(file.get()))));
  if (!made.empty()) {
    buffer_ += made;
    return pad(made.size());
  }
  const auto size = static_cast<uint64_t>(opened.st_size);
  GANTRY_TRY(content(file.get(), 0, size));
  return pad(size);
}

Result<void> TarWriter::add_marker(const std::string& path, const struct ::stat& status) {
  struct ::stat marker = status;
  marker.st_mode = S_IFREG | 0600;
  marker.st_size = 0;
  return header(path, marker, '0', {}, {});
}

Result<UniqueFd> TarWriter::add_directory(int directory, const std::string& name,
                                          const std::string& path, const struct ::stat& status) {
  if (options_.is_layer) GANTRY_TRY(require_no_whiteout_name(name));
  UniqueFd child =
      GANTRY_TRY(sys::open_at(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  GANTRY_TRY(header(path + "/", status, '5', {}, GANTRY_TRY(attributes(child.get()))));
  if (options_.is_layer) {
    GANTRY_TRY(require_whole(child.get()));
    if (has_attribute(child.get(), "trusted.overlay.opaque", "y")) {
      GANTRY_TRY(add_marker(cat(path, "/", kOpaque), status));
    }
  }
  struct ::stat parent;
  const bool is_mount = ::fstat(directory, &parent) == 0 && parent.st_dev != status.st_dev;
  if (is_mount && (!options_.enters_mounts || is_made_by_the_kernel(child.get()))) {
    return UniqueFd();
  }
  return child;
}

Result<void> TarWriter::add(int directory, const std::string& name, const std::string& path) {
  const Result<UniqueFd> inside = add_entry(directory, name, path);
  if (!inside) return Error(inside.error()).context(shown(path));
  return *inside ? add_contents(inside->get(), path + "/") : Result<void>();
}

// The descriptor of a directory whose contents are to be added.
Result<UniqueFd> TarWriter::add_entry(int directory, const std::string& name,
                                      const std::string& path) {
  const struct ::stat status =
      GANTRY_TRY(sys::stat_at(directory, name.c_str(), AT_SYMLINK_NOFOLLOW));
  if (options_.leaves_out && options_.leaves_out(directory, name, path, status)) return UniqueFd();
  if (S_ISDIR(status.st_mode)) return add_directory(directory, name, path, status);
  GANTRY_TRY(add_other(directory, name, path, status));
  return UniqueFd();
}

Result<void> TarWriter::add_other(int directory, const std::string& name, const std::string& path,
                                  const struct ::stat& status) {
  if (options_.is_layer && is_whiteout(status)) {
    const size_t start = path.size() - name.size();
    return add_marker(cat(path.substr(0, start), kWhiteout, name), status);
  }
  const bool is_device = S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
  if (S_ISSOCK(status.st_mode) || (is_device && !options_.takes_devices)) {
    ++left_out_;
    return {};
  }
  if (options_.is_layer) GANTRY_TRY(require_no_whiteout_name(name));
  if (status.st_nlink > 1) {
    const auto [it, is_first] = linked_.try_emplace({status.st_dev, status.st_ino}, path);
    if (!is_first) return header(path, status, '1', it->second, {});
  }
  switch (status.st_mode & S_IFMT) {
    case S_IFLNK:
      return header(path, status, '2', GANTRY_TRY(target_of(directory, name)), {});
    case S_IFCHR:
      return header(path, status, '3', {}, {});
    case S_IFBLK:
      return header(path, status, '4', {}, {});
    case S_IFIFO:
      return header(path, status, '6', {}, {});
    default:
      return add_file(directory, name, path);
  }
}

Result<void> TarWriter::add_contents(int directory, const std::string& prefix) {
  if (depth_ == kMostDepth)
    return Error(Errc::exhausted, cat(shown(prefix), ": nested too deeply"));
  const std::vector<std::string> names = GANTRY_TRY(sorted_names(directory).context(shown(prefix)));
  ++depth_;
  Result<void> added;
  for (const std::string& name : names) {
    added = add(directory, name, prefix + name);
    // Somebody is at work there: what went is not in the archive.
    if (!added && has_changed(added.error())) added = Result<void>();
    if (!added) break;
  }
  --depth_;
  return added;
}
}  // namespace gantry
