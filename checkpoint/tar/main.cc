// gantry-criu-tar: `tar`, as CRIU calls it to save a container's tmpfs and to fill it again:
//
//   tar --create --gzip … --directory /proc/self/fd/0 .    the tree is stdin, the archive stdout
//   tar --extract --gzip … --directory DIRECTORY           the archive is stdin
//
// CRIU does so for every tmpfs, /dev among them, and each time a dynamic tar starts a shell which
// starts gzip, while the container stands still. A tree of a few nodes, links and small files is
// written here at once, as an archive that the host's tar could read as well (gzip, stored), and
// unpacked here. Any other tree or archive, and any other call, is the host's tar's: nothing is
// written before that is decided.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace {
constexpr int kMaxEntries = 1000;
constexpr int kMaxDepth = 16;
constexpr uint64_t kMaxBytes = 1 << 20;
constexpr size_t kMaxName = 100;  // of a header without extensions
constexpr uint32_t kMaxId = 07777777;
constexpr unsigned char kGzipHeader[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};

// A gzip file of stored blocks (RFC 1951 3.2.4, RFC 1952).
class Output {
 public:
  Output() {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) != 0 ? 0xedb88320 : 0);
      table_[i] = value;
    }
    write_out(kGzipHeader, sizeof kGzipHeader);
  }
  void add(const void* data, size_t size) {
    const unsigned char* bytes = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < size; ++i) {
      crc_ = crc_ >> 8 ^ table_[(crc_ ^ bytes[i]) & 0xff];
      block_[used_++] = bytes[i];
      if (used_ == sizeof block_) flush(false);
    }
    total_ += static_cast<uint32_t>(size);
  }
  void add_zeros(size_t count) {
    static constexpr char kZeros[512] = {};
    for (; count > 0; count -= count < 512 ? count : 512) add(kZeros, count < 512 ? count : 512);
  }
  bool finish() {
    flush(true);
    const uint32_t crc = ~crc_;
    const unsigned char trailer[8] = {byte(crc, 0),    byte(crc, 1),    byte(crc, 2),
                                      byte(crc, 3),    byte(total_, 0), byte(total_, 1),
                                      byte(total_, 2), byte(total_, 3)};
    write_out(trailer, sizeof trailer);
    return is_good_;
  }

 private:
  static unsigned char byte(uint32_t value, int number) {
    return static_cast<unsigned char>(value >> (8 * number));
  }
  void flush(bool is_last) {
    const uint32_t size = static_cast<uint32_t>(used_);
    const unsigned char head[5] = {
        is_last ? static_cast<unsigned char>(1) : static_cast<unsigned char>(0), byte(size, 0),
        byte(size, 1), byte(~size, 0), byte(~size, 1)};
    write_out(head, sizeof head);
    write_out(block_, used_);
    used_ = 0;
  }
  void write_out(const unsigned char* bytes, size_t size) {
    while (size > 0 && is_good_) {
      const ssize_t written = write(STDOUT_FILENO, bytes, size);
      if (written <= 0) is_good_ = false;
      if (written <= 0) return;
      bytes += written;
      size -= static_cast<size_t>(written);
    }
  }

  uint32_t table_[256];
  uint32_t crc_ = ~0u, total_ = 0;
  unsigned char block_[65535];
  size_t used_ = 0;
  bool is_good_ = true;
};

struct Header {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
  char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
static_assert(sizeof(Header) == 512);

void octal(char* field, size_t size, uint64_t value) {
  snprintf(field, size, "%0*lo", static_cast<int>(size) - 1, value);
}

char type_of(mode_t mode) {
  if (S_ISREG(mode)) return '0';
  if (S_ISLNK(mode)) return '2';
  if (S_ISCHR(mode)) return '3';
  if (S_ISBLK(mode)) return '4';
  if (S_ISDIR(mode)) return '5';
  if (S_ISFIFO(mode)) return '6';
  return 0;
}

bool fill(Header& header, const char* path, const struct stat& st, int parent, const char* name) {
  memset(&header, 0, sizeof header);
  header.type = type_of(st.st_mode);
  const bool is_directory = S_ISDIR(st.st_mode);
  if (header.type == 0 || strlen(path) + (is_directory ? 1 : 0) >= kMaxName) return false;
  if (st.st_uid > kMaxId || st.st_gid > kMaxId || st.st_mtim.tv_sec < 0) return false;
  if (!is_directory && st.st_nlink != 1) return false;
  snprintf(header.name, sizeof header.name, "%s%s", path, is_directory ? "/" : "");
  octal(header.mode, sizeof header.mode, st.st_mode & 07777);
  octal(header.uid, sizeof header.uid, st.st_uid);
  octal(header.gid, sizeof header.gid, st.st_gid);
  octal(header.size, sizeof header.size,
        S_ISREG(st.st_mode) ? static_cast<uint64_t>(st.st_size) : 0);
  octal(header.mtime, sizeof header.mtime, static_cast<uint64_t>(st.st_mtim.tv_sec));
  if (S_ISLNK(st.st_mode)) {
    const ssize_t length = readlinkat(parent, name, header.link, sizeof header.link);
    if (length < 0 || length >= static_cast<ssize_t>(sizeof header.link)) return false;
  }
  octal(header.major, sizeof header.major,
        S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? major(st.st_rdev) : 0);
  octal(header.minor, sizeof header.minor,
        S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? minor(st.st_rdev) : 0);
  memcpy(header.magic, "ustar", 6);
  memcpy(header.version, "00", 2);
  memset(header.checksum, ' ', sizeof header.checksum);
  unsigned sum = 0;
  for (size_t i = 0; i < sizeof header; ++i) sum += reinterpret_cast<unsigned char*>(&header)[i];
  snprintf(header.checksum, sizeof header.checksum, "%06o", sum);
  header.checksum[7] = ' ';
  return true;
}

// Walks the tree, once to look (no output) and once to write. The tasks are frozen: it stays.
class Walk {
 public:
  explicit Walk(Output* output) : output_(output) {}
  bool run(int top) {
    struct stat st;
    if (fstat(top, &st) != 0) return false;
    device_ = st.st_dev;
    return one(AT_FDCWD, "/proc/self/fd/0", ".", st, 0);
  }

 private:
  bool one(int parent, const char* name, const char* path, const struct stat& st, int depth) {
    Header header;
    if (++entries_ > kMaxEntries || !fill(header, path, st, parent, name)) return false;
    if (output_ != nullptr) output_->add(&header, sizeof header);
    if (S_ISREG(st.st_mode)) return contents(parent, name, st);
    if (!S_ISDIR(st.st_mode) || st.st_dev != device_) return true;
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    DIR* directory = fdopendir(fd);
    const bool good = directory != nullptr && flistxattr(fd, nullptr, 0) <= 0 &&
                      depth < kMaxDepth && children(directory, path, depth);
    if (directory != nullptr) closedir(directory);
    return good;
  }

  bool children(DIR* directory, const char* path, int depth) {
    while (dirent* entry = readdir(directory)) {
      if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
      char inner[kMaxName];
      struct stat st;
      const int length = snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
      if (length >= static_cast<int>(sizeof inner) ||
          fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
          !one(dirfd(directory), entry->d_name, inner, st, depth + 1)) {
        return false;
      }
    }
    return true;
  }

  bool contents(int parent, const char* name, const struct stat& st) {
    bytes_ += static_cast<uint64_t>(st.st_size);
    const int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = bytes_ <= kMaxBytes && flistxattr(fd, nullptr, 0) <= 0;
    uint64_t left = static_cast<uint64_t>(st.st_size);
    while (good && output_ != nullptr && left > 0) {
      char buffer[16384];
      const ssize_t got = read(fd, buffer, left < sizeof buffer ? left : sizeof buffer);
      good = got > 0;
      if (!good) break;
      output_->add(buffer, static_cast<size_t>(got));
      left -= static_cast<uint64_t>(got);
    }
    if (output_ != nullptr) output_->add_zeros((512 - st.st_size % 512) % 512);
    close(fd);
    return good;
  }

  Output* output_;
  dev_t device_ = 0;
  int entries_ = 0;
  uint64_t bytes_ = 0;
};

// Reads back what Output wrote, and nothing else: false for any other gzip file.
class Input {
 public:
  // Looks at the head without taking it.
  static bool is_ours(int fd) {
    unsigned char head[sizeof kGzipHeader + 1];
    const off_t at = lseek(fd, 0, SEEK_CUR);
    return at >= 0 && pread(fd, head, sizeof head, at) == static_cast<ssize_t>(sizeof head) &&
           memcmp(head, kGzipHeader, sizeof kGzipHeader) == 0 && head[sizeof kGzipHeader] <= 1;
  }
  bool open() {
    unsigned char head[sizeof kGzipHeader];
    return take(head, sizeof head);
  }
  bool get(void* data, size_t size) {
    unsigned char* out = static_cast<unsigned char*>(data);
    while (size > 0) {
      if (left_ == 0 && !next_block()) return false;
      const size_t part = size < left_ ? size : left_;
      if (!take(out, part)) return false;
      out += part;
      size -= part;
      left_ -= part;
    }
    return true;
  }

 private:
  bool next_block() {
    unsigned char head[5];
    if (is_last_ || !take(head, sizeof head) || head[0] > 1) return false;
    is_last_ = head[0] == 1;
    left_ = static_cast<size_t>(head[1] | head[2] << 8);
    return left_ == static_cast<size_t>((head[3] | head[4] << 8) ^ 0xffff);
  }
  static bool take(unsigned char* out, size_t size) {
    while (size > 0) {
      const ssize_t got = read(STDIN_FILENO, out, size);
      if (got <= 0) return false;
      out += got;
      size -= static_cast<size_t>(got);
    }
    return true;
  }
  size_t left_ = 0;
  bool is_last_ = false;
};

// Unpacks into an empty directory of ours. A path that is not below it, or goes through a link, is
// refused; the images' digests were checked, this is the second wall.
class Unpack {
 public:
  explicit Unpack(int top) : top_(top) {}
  bool run() {
    if (!input_.open()) return false;
    for (;;) {
      Header header;
      if (!input_.get(&header, sizeof header)) return false;
      if (header.name[0] == '\0') return stamp_directories();  // zeros and a checksum follow
      header.name[sizeof header.name - 1] = header.link[sizeof header.link - 1] = '\0';
      if (!remember(header) || !one(header)) return false;
    }
  }

 private:
  static uint64_t number(const char* field) { return strtoull(field, nullptr, 8); }

  // The directory an entry is in; its last component in `name`. -1: none of ours.
  int parent_of(char* path, const char** name) const {
    if (strncmp(path, "./", 2) != 0) return -1;
    char* slash = strrchr(path, '/');
    if (slash[1] == '\0') {  // a directory
      *slash = '\0';
      slash = strrchr(path, '/');
    }
    *name = slash == nullptr ? "." : slash + 1;
    if (slash == nullptr) return fcntl(top_, F_DUPFD_CLOEXEC, 3);
    *slash = '\0';
    open_how how{};
    how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    return static_cast<int>(syscall(SYS_openat2, top_, path, &how, sizeof how));
  }

  bool one(Header& header) {
    const char* name = nullptr;
    const int parent = parent_of(header.name, &name);
    if (parent < 0) return false;
    const bool good =
        strcmp(name, "..") != 0 && make(header, parent, name) && dress(header, parent, name);
    close(parent);
    return good;
  }

  bool make(const Header& header, int parent, const char* name) {
    const dev_t device = makedev(number(header.major), number(header.minor));
    switch (header.type) {
      case '0':
        return file(header, parent, name);
      case '2':
        return symlinkat(header.link, parent, name) == 0;
      case '3':
        return mknodat(parent, name, S_IFCHR | 0600, device) == 0;
      case '4':
        return mknodat(parent, name, S_IFBLK | 0600, device) == 0;
      case '5':
        return strcmp(name, ".") == 0 || mkdirat(parent, name, 0700) == 0;
      case '6':
        return mknodat(parent, name, S_IFIFO | 0600, 0) == 0;
      default:
        return false;
    }
  }

  bool file(const Header& header, int parent, const char* name) {
    const int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    bool good = true;
    const uint64_t size = number(header.size);
    for (uint64_t left = (size + 511) / 512 * 512, kept = size; good && left > 0;) {
      char buffer[16384];
      const size_t part = left < sizeof buffer ? left : sizeof buffer;
      const size_t keep = kept < part ? kept : part;
      good = input_.get(buffer, part) && write(fd, buffer, keep) == static_cast<ssize_t>(keep);
      left -= part;
      kept -= keep;
    }
    close(fd);
    return good;
  }

  // ORDER: the owner before the mode, whose set-id bits a change of owner clears.
  static bool dress(const Header& header, int parent, const char* name) {
    if (fchownat(parent, name, static_cast<uid_t>(number(header.uid)),
                 static_cast<gid_t>(number(header.gid)), AT_SYMLINK_NOFOLLOW) != 0) {
      return false;
    }
    if (header.type != '2' &&
        fchmodat(parent, name, static_cast<mode_t>(number(header.mode)), 0) != 0) {
      return false;
    }
    return stamp(parent, name, static_cast<time_t>(number(header.mtime)));
  }

  static bool stamp(int parent, const char* name, time_t modified) {
    const timespec times[2] = {{0, UTIME_NOW}, {modified, 0}};
    return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) == 0;
  }

  // What is made in a directory changes its time: these are set last.
  bool remember(const Header& header) {
    if (header.type != '5') return true;
    if (directory_count_ == kMaxEntries) return false;
    Directory& directory = directories_[directory_count_++];
    memcpy(directory.name, header.name, sizeof directory.name);
    directory.modified = static_cast<time_t>(number(header.mtime));
    return true;
  }
  bool stamp_directories() {
    while (directory_count_ > 0) {
      Directory& directory = directories_[--directory_count_];
      const char* name = nullptr;
      const int parent = parent_of(directory.name, &name);
      if (parent < 0 || !stamp(parent, name, directory.modified)) return false;
      close(parent);
    }
    return true;
  }

  struct Directory {
    char name[kMaxName];
    time_t modified;
  };
  int top_;
  Input input_;
  Directory directories_[kMaxEntries];
  int directory_count_ = 0;
};

bool is_dump(int argc, char** argv) {
  return argc > 3 && strcmp(argv[1], "--create") == 0 && strcmp(argv[argc - 1], ".") == 0 &&
         strcmp(argv[argc - 2], "/proc/self/fd/0") == 0;
}

bool is_restore(int argc, char** argv) {
  return argc > 3 && strcmp(argv[1], "--extract") == 0 &&
         strcmp(argv[argc - 2], "--directory") == 0 && Input::is_ours(STDIN_FILENO);
}
}  // namespace

int main(int argc, char** argv) {
  if (is_dump(argc, argv) && Walk(nullptr).run(STDIN_FILENO)) {
    static Output output;
    if (!Walk(&output).run(STDIN_FILENO)) return 2;
    output.add_zeros(1024);
    return output.finish() ? 0 : 2;
  }
  if (is_restore(argc, argv)) {
    const int top = open(argv[argc - 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    umask(0);
    static Unpack unpack(top);
    return top >= 0 && unpack.run() ? 0 : 2;
  }
  execv("/usr/bin/tar", argv);
  execv("/bin/tar", argv);
  perror("tar");
  return 127;
}
