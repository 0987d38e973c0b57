// TarWriter: trees as one POSIX tar (pax) stream: owners, modes, times (nanoseconds), hard links,
// symbolic links, device nodes, FIFOs, extended attributes that are content. Entries of a directory
// come sorted, so that the same tree gives the same bytes. Sockets are left out, as in every tar;
// holes are zeros, unless they are kept. No link is followed, and nothing is opened by more than
// one name.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

struct stat;

namespace gantry {
class TarWriter {
 public:
  // Gets pieces of some 256 KiB; its first error ends the walk and is returned.
  using Sink = std::function<Result<void>(std::string_view)>;
  struct Options {
    // The files of what is mounted below, too (but for those that a kernel makes: proc, sysfs,
    // cgroups, terminals); else its mount point alone.
    bool enters_mounts = true;
    bool takes_devices = true;  // else they are left out
    // As GNU tar's pax format 1.0 has them, which GNU tar, libarchive and Go read.
    bool keeps_holes = false;
    // Of an overlay's upper directory: what it takes away as an OCI layer says it (".wh.NAME"). The
    // caller may read trusted attributes.
    bool is_layer = false;
    // Asked for each entry; what it says yes to is left out.
    std::function<bool(int directory, const std::string& name, const std::string& path,
                       const struct ::stat& status)>
        leaves_out = {};
    // Before a file's content: whether there is room for that many bytes (holes are zeros here).
    std::function<Result<void>(uint64_t size)> require_room = {};
  };
  explicit TarWriter(Sink sink) : TarWriter(std::move(sink), Options()) {}
  TarWriter(Sink sink, Options options);

  // The entry `name` of the directory and all below it, as `path` in the archive.
  Result<void> add(int directory, const std::string& name, const std::string& path);
  // All in the directory, `prefix` before each name ("" or "a/b/").
  Result<void> add_contents(int directory, const std::string& prefix);
  // A file of ours: mode 0644, no owner, no time.
  Result<void> add_bytes(const std::string& path, std::string_view bytes);
  // The end of the archive. Nothing may be added afterwards.
  Result<void> finish();
  // Sockets, and devices that are not taken.
  uint64_t left_out() const { return left_out_; }

 private:
  struct Extent {
    uint64_t start, size;
  };
  static std::vector<Extent> data_of(int fd, const struct ::stat& status);
  Result<UniqueFd> add_entry(int directory, const std::string& name, const std::string& path);
  Result<UniqueFd> add_directory(int directory, const std::string& name, const std::string& path,
                                 const struct ::stat& status);
  Result<void> add_other(int directory, const std::string& name, const std::string& path,
                         const struct ::stat& status);
  Result<void> add_marker(const std::string& path, const struct ::stat& status);
  Result<void> add_file(int directory, const std::string& name, const std::string& path);
  Result<void> header(const std::string& path, const struct ::stat& status, char type,
                      const std::string& link, std::string pax);
  Result<void> add_sparse(int fd, const std::string& path, const struct ::stat& status,
                          const std::vector<Extent>& data);
  // Of the file, from there on; zeros where it has become shorter.
  Result<void> content(int fd, uint64_t start, uint64_t size);
  Result<void> pad(uint64_t size);
  Result<void> flush();

  Sink sink_;
  Options options_;
  std::string buffer_;
  size_t depth_ = 0;
  uint64_t left_out_ = 0;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // the first name of each linked file
};
}  // namespace gantry
