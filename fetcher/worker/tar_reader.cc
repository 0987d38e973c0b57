#include "fetcher/worker/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>

namespace gantry::worker {
namespace {
constexpr size_t kMaxXattrBytes = 64u << 10;

Result<EntryType> type_of(archive_entry* e) {
  if (::archive_entry_hardlink(e) != nullptr || ::archive_entry_hardlink_utf8(e) != nullptr) {
    return EntryType::hardlink;
  }
  switch (::archive_entry_filetype(e)) {
    case AE_IFREG:
      return EntryType::file;
    case AE_IFDIR:
      return EntryType::directory;
    case AE_IFLNK:
      return EntryType::symlink;
    case AE_IFCHR:
      return EntryType::character;
    case AE_IFBLK:
      return EntryType::block;
    case AE_IFIFO:
      return EntryType::fifo;
    default:
      return EntryType::other;  // sockets: tar leaves them out, and so do we
  }
}

std::string either(const char* local, const char* utf8) {
  return local != nullptr ? local : utf8 != nullptr ? utf8 : "";
}

Result<void> check_name(const std::string& name, std::string_view what) {
  if (name.size() > 4095) return Error(Errc::invalid, cat(what, " is longer than 4095 bytes"));
  size_t start = 0;
  while (start < name.size()) {
    size_t end = std::min(name.find('/', start), name.size());
    if (end - start > 255) return Error(Errc::invalid, cat(what, " has a part of over 255 bytes"));
    start = end + 1;
  }
  return {};
}

Result<uint32_t> id_of(int64_t value, const char* what) {
  if (value < 0 || value >= std::numeric_limits<uint32_t>::max()) {
    return Error(Errc::invalid, cat(what, " ", value, " is out of range"));
  }
  return static_cast<uint32_t>(value);
}

Result<void> take_xattrs(archive_entry* e, TarEntry& out) {
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0, total = 0;
  ::archive_entry_xattr_reset(e);
  while (::archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
    if (name == nullptr) continue;
    total += size;
    if (total > kMaxXattrBytes) {
      return Error(Errc::exhausted, "extended attributes of more than 64 KiB");
    }
    out.xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
  return {};
}
}  // namespace

struct TarCallbacks {
  static la_ssize_t read(archive* a, void* self, const void** buffer) {
    auto* reader = static_cast<TarReader*>(self);
    auto piece = reader->from_.next();
    if (!piece) {
      ::archive_set_error(a, EIO, "%s", piece.error().to_string().c_str());
      reader->input_error_ = std::move(piece).error();
      return ARCHIVE_FATAL;
    }
    *buffer = piece->data();
    return static_cast<la_ssize_t>(piece->size());
  }
};

TarReader::TarReader(Input& from, Filters filters) : from_(from), archive_(::archive_read_new()) {
  ::archive_read_support_format_tar(archive_);
  if (filters == Filters::common) {
    ::archive_read_support_filter_gzip(archive_);
    ::archive_read_support_filter_bzip2(archive_);
    ::archive_read_support_filter_xz(archive_);
    ::archive_read_support_filter_zstd(archive_);
  }
}

TarReader::~TarReader() { ::archive_read_free(archive_); }

Error TarReader::failure(std::string_view doing) {
  if (input_error_) return *input_error_;
  const char* text = ::archive_error_string(archive_);
  return Error(Errc::corrupt, cat(doing, ": ", text == nullptr ? "damaged archive" : text));
}

Result<std::optional<TarEntry>> TarReader::next() {
  if (!opened_) {
    if (::archive_read_open2(archive_, this, nullptr, &TarCallbacks::read, nullptr, nullptr) !=
        ARCHIVE_OK) {
      return failure("not a tar archive");
    }
    opened_ = true;
  }
  archive_entry* e = nullptr;
  int code = ::archive_read_next_header(archive_, &e);
  if (code == ARCHIVE_EOF) return std::optional<TarEntry>();
  // A warning is about the conversion of names, which are taken as bytes.
  if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return failure("tar");
  TarEntry out;
  out.type = GANTRY_TRY(type_of(e));
  out.path = either(::archive_entry_pathname(e), ::archive_entry_pathname_utf8(e));
  if (out.type == EntryType::hardlink) {
    out.link = either(::archive_entry_hardlink(e), ::archive_entry_hardlink_utf8(e));
  } else if (out.type == EntryType::symlink) {
    out.link = either(::archive_entry_symlink(e), ::archive_entry_symlink_utf8(e));
  }
  GANTRY_TRY(check_name(out.path, "a name in the archive"));
  GANTRY_TRY(check_name(out.link, "a link's target in the archive"));
  out.mode = ::archive_entry_perm(e) & 07777;
  out.uid = GANTRY_TRY(id_of(::archive_entry_uid(e), "user id").context(out.path));
  out.gid = GANTRY_TRY(id_of(::archive_entry_gid(e), "group id").context(out.path));
  if (int64_t size = ::archive_entry_size(e); size >= 0) {
    out.size = static_cast<uint64_t>(size);
  } else {
    return Error(Errc::invalid, cat(out.path, ": negative size"));
  }
  out.mtime = {::archive_entry_mtime(e), ::archive_entry_mtime_nsec(e)};
  out.major = static_cast<uint32_t>(::archive_entry_rdevmajor(e));
  out.minor = static_cast<uint32_t>(::archive_entry_rdevminor(e));
  GANTRY_TRY(take_xattrs(e, out).context(out.path));
  return std::optional(std::move(out));
}

Result<void> TarReader::read_data(
    const std::function<Result<void>(uint64_t, std::string_view)>& sink) {
  for (;;) {
    const void* data = nullptr;
    size_t size = 0;
    int64_t offset = 0;
    int code = ::archive_read_data_block(archive_, &data, &size, &offset);
    if (code == ARCHIVE_EOF) return {};
    if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return failure("tar");
    if (offset < 0) return Error(Errc::corrupt, "tar: data at a negative offset");
    if (size == 0) continue;
    GANTRY_TRY(sink(static_cast<uint64_t>(offset),
                    std::string_view(static_cast<const char*>(data), size)));
  }
}

Result<void> TarReader::drain() {
  for (;;) {
    if (GANTRY_TRY(from_.next()).empty()) return {};
  }
}
}  // namespace gantry::worker
