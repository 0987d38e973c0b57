// A layer being written, seen on top of the finished layers below it, in overlayfs' own format.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/path_at.h"
#include "base/result.h"

namespace gantry::worker {
bool is_whiteout(const struct ::stat& st);  // a character device 0:0
bool is_opaque(int directory_fd);

// Splits on '/', drops "" and ".", and lets ".." go up at most to the root.
std::vector<std::string> clean_components(std::string_view path);
std::string join(const std::vector<std::string>& components);

class LayerView {
 public:
  // layers: top first; the first one is being written.
  explicit LayerView(std::vector<DirFd> layers) : layers_(std::move(layers)) {}
  const DirFd& top() const { return layers_[0]; }
  const DirFd& layer(size_t index) const { return layers_[index]; }
  size_t layers() const { return layers_.size(); }
  bool has_lower() const { return layers_.size() > 1; }
  void hide_lower() { layers_.erase(layers_.begin() + 1, layers_.end()); }

  struct Found {
    UniqueFd fd;  // O_PATH
    struct ::stat st;
    size_t layer;  // 0: the top
  };
  enum class Start { top, below_top };
  // What is at a path without symlinks in it (the last part is not followed).
  Result<std::optional<Found>> find(const std::string& path, Start start = Start::top) const;

  // The same place as a path without symlinks: they are followed inside the root, the last part
  // not. A part that does not exist stands for a directory to be made.
  Result<std::string> resolve_parent(std::vector<std::string> components) const;

 private:
  Result<bool> hides_below(size_t layer, const std::string& path) const;
  std::vector<DirFd> layers_;
};
}  // namespace gantry::worker
