#include "fetcher/worker/layer_view.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <deque>

#include "base/sys.h"

namespace gantry::worker {
bool is_whiteout(const struct ::stat& st) {
  return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

bool is_opaque(int directory_fd) {
  char value[2];
  return ::fgetxattr(directory_fd, "trusted.overlay.opaque", value, sizeof value) == 1 &&
         value[0] == 'y';
}

std::vector<std::string> clean_components(std::string_view path) {
  std::vector<std::string> out;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    std::string_view part = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!out.empty()) out.pop_back();
    } else {
      out.emplace_back(part);
    }
  }
  return out;
}

std::string join(const std::vector<std::string>& components) {
  std::string out;
  for (const std::string& component : components) {
    if (!out.empty()) out += '/';
    out += component;
  }
  return out;
}

// Whether `layer` decides that nothing of `path` shines through from below: a whiteout, a
// non-directory, or an opaque directory on the way.
Result<bool> LayerView::hides_below(size_t layer, const std::string& path) const {
  for (size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    auto fd = layers_[layer].open_beneath(path.substr(0, end), O_PATH | O_NOFOLLOW);
    if (!fd) return !fd.error().is_errno(ENOENT);
    struct ::stat st;
    if (::fstat(fd->get(), &st) != 0) return Error::from_errno(errno, "stat");
    if (!S_ISDIR(st.st_mode)) return true;
    auto readable = layers_[layer].open_beneath(path.substr(0, end), O_RDONLY | O_DIRECTORY);
    if (readable && is_opaque(readable->get())) return true;
  }
  return false;
}

Result<std::optional<LayerView::Found>> LayerView::find(const std::string& path,
                                                        Start start) const {
  for (size_t i = start == Start::top ? 0 : 1; i < layers_.size(); ++i) {
    auto fd = layers_[i].open_beneath(path, O_PATH | O_NOFOLLOW);
    if (fd) {
      Found found{std::move(*fd), {}, i};
      if (::fstat(found.fd.get(), &found.st) != 0) return Error::from_errno(errno, "stat");
      if (is_whiteout(found.st)) return std::optional<Found>();
      return std::optional(std::move(found));
    }
    if (!fd.error().is_errno(ENOENT) && !fd.error().is_errno(ENOTDIR) &&
        !fd.error().is_errno(ELOOP)) {
      return std::move(fd).error();
    }
    if (GANTRY_TRY(hides_below(i, path))) return std::optional<Found>();
  }
  return std::optional<Found>();
}

Result<std::string> LayerView::resolve_parent(std::vector<std::string> components) const {
  std::deque<std::string> rest(components.begin(), components.end());
  std::vector<std::string> done;
  int links = 0;
  while (!rest.empty()) {
    done.push_back(std::move(rest.front()));
    rest.pop_front();
    std::string path = join(done);
    auto found = GANTRY_TRY(find(path));
    if (!found || S_ISDIR(found->st.st_mode)) continue;
    if (!S_ISLNK(found->st.st_mode)) {
      return Error(Errc::invalid, cat("/", path, " is not a directory"));
    }
    if (++links > 40) return Error(Errc::invalid, cat("/", path, ": too many symbolic links"));
    char target[4096];
    ssize_t size = ::readlinkat(found->fd.get(), "", target, sizeof target);
    if (size < 0) return Error::from_errno(errno, cat("read the link /", path));
    done.pop_back();
    std::string_view text(target, static_cast<size_t>(size));
    // Cleaned together with where it stands: ".." goes up lexically, as all parts so far are real.
    std::string base = text.starts_with('/') ? std::string() : join(done) + "/";
    std::vector<std::string> next = clean_components(base + std::string(text));
    done.clear();
    rest.insert(rest.begin(), next.begin(), next.end());
  }
  return join(done);
}
}  // namespace gantry::worker
