// LayerWriter: tar entries into a directory tree, as an OCI layer (oci.md §6.2) or as plain files.
//
// Nothing is ever written outside the root: parents are resolved by us, symlinks included, and then
// opened by the kernel without following any (openat2 BENEATH, NO_SYMLINKS, NO_XDEV); metadata is
// set through descriptors; a name that exists is removed, never opened.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "fetcher/worker/layer_view.h"
#include "fetcher/worker/tar_reader.h"

namespace gantry::worker {
struct WriteLimits {
  uint64_t max_entries = 2'000'000;
  uint64_t max_file = 1ull << 40;   // logical size, holes included
  uint64_t max_bytes = 1ull << 40;  // of all files' data together
};
enum class WriteAs {
  layer,   // owners, devices, extended attributes, whiteouts
  copies,  // as layer, but ".wh.x" is a name like any other, and a directory and something else do
           // not replace each other
  plain_files,  // of the calling user: no owners, no special bits, no devices, no whiteouts
};

class LayerWriter {
 public:
  // layers: top first; the first is written to, the others are what it will stand on.
  LayerWriter(std::vector<DirFd> layers, WriteAs as, WriteLimits limits);

  // Errors name the entry.
  Result<void> apply(const TarEntry& entry, TarReader& reader);
  // Sets the times of directories. Nothing may be applied afterwards.
  Result<void> finish();

  uint64_t entries() const { return entries_; }
  uint64_t bytes() const { return bytes_; }
  // The layer hides everything below it: those under it are not to be mounted.
  bool is_root_opaque() const { return root_opaque_; }

 private:
  struct Place {  // where an entry goes
    int parent;   // descriptor, owned by directories_
    std::string parent_path;
    std::string name;
    std::string path() const { return parent_path.empty() ? name : parent_path + "/" + name; }
  };
  Result<void> place(const TarEntry& entry, TarReader& reader);
  Result<Place> locate(std::vector<std::string> components);
  Result<int> open_directory(const std::string& path);
  Result<UniqueFd> make_parent(int parent, const std::string& parent_path, const std::string& name);
  Result<void> clear_the_way(const Place& where);

  Result<void> write_root(const TarEntry& entry);
  Result<void> write_directory(const TarEntry& entry, const Place& where);
  Result<void> write_file(const TarEntry& entry, const Place& where, TarReader& reader);
  Result<void> write_symlink(const TarEntry& entry, const Place& where);
  Result<void> write_hardlink(const TarEntry& entry, const Place& where);
  Result<void> write_node(const TarEntry& entry, const Place& where);
  Result<void> write_whiteout(std::vector<std::string> components);
  Result<void> copy_up(const LayerView::Found& from, const Place& where);
  Result<void> set_opaque(int directory, const std::string& path);
  Result<void> set_metadata(int fd, const TarEntry& entry);

  LayerView view_;
  WriteAs as_;
  WriteLimits limits_;
  uint64_t entries_ = 0, bytes_ = 0;
  bool root_opaque_ = false;
  std::unordered_map<std::string, UniqueFd> directories_;  // open ones, by path; bounded
  struct Times {
    std::string path;
    timespec mtime;
  };
  std::vector<Times> directory_times_;  // set at the end: writing into a directory changes them
};
}  // namespace gantry::worker
