#include "fetcher/worker/staging.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/sys.h"

namespace gantry::worker {
Result<UniqueFd> Staging::create(std::string* name) {
  *name = cat("blob.", next_++);
  return sys::open_at(directory_, name->c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

void Staging::forget(const std::string& name) { ::unlinkat(directory_, name.c_str(), 0); }

Result<Blob> Staging::add(const Fill& fill) {
  std::string name;
  UniqueFd fd = GANTRY_TRY(create(&name));
  oci::Hasher hasher;
  uint64_t size = 0;
  GANTRY_TRY(fill([&](std::string_view piece) -> Result<void> {
    hasher.update(piece);
    size += piece.size();
    return sys::write_all(fd.get(), piece).context("store a blob");
  }));
  Blob blob{std::move(name), hasher.finish(), size};
  if (find(blob.digest) != nullptr) {
    forget(blob.file);  // the same content twice
    return *find(blob.digest);
  }
  learn(blob);
  return blob;
}

Result<Blob> Staging::add_bytes(std::string_view bytes) {
  return add([bytes](const auto& sink) { return sink(bytes); });
}

const Blob* Staging::find(const oci::Digest& digest) const {
  auto it = by_digest_.find(digest.hex());
  return it == by_digest_.end() ? nullptr : &it->second;
}

Result<std::string> Staging::read(const Blob& blob, size_t cap) const {
  if (blob.size > cap) return Error(Errc::exhausted, cat("larger than ", cap, " bytes"));
  return sys::read_file_at(directory_, blob.file.c_str(), cap);
}

Result<std::string> Staging::head(const Blob& blob, size_t count) const {
  UniqueFd fd = GANTRY_TRY(sys::open_at(directory_, blob.file.c_str(), O_RDONLY | O_NOFOLLOW));
  std::string out(count, '\0');
  ssize_t n = ::pread(fd.get(), out.data(), count, 0);
  if (n < 0) return Error::from_errno(errno, "read a blob");
  out.resize(static_cast<size_t>(n));
  return out;
}

Result<void> Staging::keep(const Blob& blob) {
  if (::faccessat(directory_, blob.digest.hex().c_str(), F_OK, 0) == 0) return {};
  UniqueFd fd = GANTRY_TRY(sys::open_at(directory_, blob.file.c_str(), O_RDONLY | O_NOFOLLOW));
  if (::fsync(fd.get()) != 0) return Error::from_errno(errno, "sync a blob");
  if (::renameat(directory_, blob.file.c_str(), directory_, blob.digest.hex().c_str()) != 0) {
    return Error::from_errno(errno, "name a blob");
  }
  return {};
}
}  // namespace gantry::worker
