// The entries of a tar (ustar, pax, GNU), read by libarchive with nothing but its tar reader.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "fetcher/worker/input.h"

struct archive;

namespace gantry::worker {
enum class EntryType { file, directory, symlink, hardlink, character, block, fifo, other };

struct TarEntry {
  EntryType type = EntryType::file;
  std::string path;  // as in the archive
  std::string link;  // target of a symlink or hardlink
  mode_t mode = 0;   // permission bits with setuid, setgid, sticky
  uid_t uid = 0;
  gid_t gid = 0;
  uint64_t size = 0;
  timespec mtime{};
  uint32_t major = 0, minor = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

// Image layers are decompressed by Inflater, which bounds and hashes them; an archive for a sandbox
// may also be compressed with bzip2 or xz, by libarchive.
enum class Filters { none, common };

class TarReader {
 public:
  // `from` outlives the reader.
  explicit TarReader(Input& from, Filters filters = Filters::none);
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;
  ~TarReader();

  // The next entry; empty at the end of the archive. Names are checked for length (4096; a part
  // 255) and NUL, ids for range, xattrs for size (64 KiB).
  Result<std::optional<TarEntry>> next();
  // The data of the current entry as pieces at ascending offsets; what lies between is a hole.
  Result<void> read_data(const std::function<Result<void>(uint64_t, std::string_view)>& sink);
  // Reads what follows the end of the archive, so that digests cover every byte.
  Result<void> drain();

 private:
  friend struct TarCallbacks;
  Error failure(std::string_view doing);
  Input& from_;
  archive* archive_;
  bool opened_ = false;
  std::optional<Error> input_error_;
};
}  // namespace gantry::worker
