// Blobs on their way into the content store: files in one directory, hashed while they are written.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "api/oci/digest.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace gantry::worker {
struct Blob {
  std::string file;  // name in the staging directory
  oci::Digest digest;
  uint64_t size;
};

class Staging {
 public:
  explicit Staging(int directory) : directory_(directory) {}  // borrowed

  using Fill = std::function<Result<void>(const std::function<Result<void>(std::string_view)>&)>;
  // A blob of what `fill` hands to its sink.
  Result<Blob> add(const Fill& fill);
  Result<Blob> add_bytes(std::string_view bytes);
  // An empty file under a name of its own, for content whose digest the caller computes.
  Result<UniqueFd> create(std::string* name);
  void forget(const std::string& name);

  // By content; nullptr when no blob has that digest.
  const Blob* find(const oci::Digest& digest) const;
  void learn(const Blob& blob) { by_digest_.insert_or_assign(blob.digest.hex(), blob); }
  // The whole content; Errc::exhausted above `cap`.
  Result<std::string> read(const Blob& blob, size_t cap) const;
  // The first bytes, at most `count`.
  Result<std::string> head(const Blob& blob, size_t count) const;
  // On disk, and named by its digest from now on.
  Result<void> keep(const Blob& blob);

 private:
  int directory_;
  uint64_t next_ = 0;
  std::map<std::string, Blob> by_digest_;
};
}  // namespace gantry::worker
