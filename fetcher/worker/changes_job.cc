// What an overlay's upper directory changes in the layers below it, as lines: A, C or D, the path,
// NUL. Sorted by path; of what was removed only the topmost name.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "base/directory.h"
#include "base/sys.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"
#include "fetcher/worker/layer_view.h"
#include "fetcher/worker/places.h"

namespace gantry::worker {
namespace {
constexpr uint64_t kMostBytes = 64u << 20;  // of the answer; the executor holds it
constexpr size_t kMostDepth = 1000;
constexpr size_t kFlush = 64u << 10;
// CAP_SYS_ADMIN is for trusted.overlay.*; the calls it is feared for are not on the list.
constexpr uint64_t kLook = cap_bit(CAP_DAC_READ_SEARCH) | cap_bit(CAP_SYS_ADMIN);

// Somebody is at work there: what went is not listed.
bool has_changed(const Error& error) {
  return error.is_errno(ENOENT) || error.is_errno(ELOOP) || error.is_errno(ENOTDIR);
}

bool has_same_owner_and_mode(const struct ::stat& a, const struct ::stat& b) {
  return a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid;
}
bool has_same_time(const struct ::stat& a, const struct ::stat& b) {
  return a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

class Changes {
 public:
  // `places`: where the launch mounts something. What it has made for that is nobody's change.
  Changes(const LayerView& view, std::set<std::string> places, int output)
      : view_(view), places_(std::move(places)), output_(output) {}
  Result<void> run() {
    const UniqueFd root = GANTRY_TRY(view_.top().open_beneath("", O_RDONLY | O_DIRECTORY));
    GANTRY_TRY(walk(root.get(), "", {.is_below = true, .is_opaque = is_opaque(root.get())}));
    return flush();
  }

 private:
  struct Place {
    bool is_below;   // a directory of that path is in the layers below
    bool is_opaque;  // and nothing of it shines through
  };
  Result<void> walk(int directory, const std::string& path, Place place);
  Result<void> look_at(int directory, const std::string& name, const std::string& path,
                       Place place);
  Result<void> look_into(int directory, const std::string& name, const std::string& path,
                         const std::optional<LayerView::Found>& below, const struct ::stat& st,
                         Place place);
  // The names in the layers below, whiteouts and what they take away left out.
  Result<std::vector<std::string>> names_below(const std::string& path) const;
  Result<std::optional<LayerView::Found>> find_below(const std::string& path) const;
  Result<void> tell(char kind, const std::string& path);
  Result<void> flush();

  bool leads_to_a_place(const std::string& path) const {
    const std::string below = path + "/";
    const auto next = places_.lower_bound(below);
    return next != places_.end() && next->starts_with(below);
  }

  const LayerView& view_;
  const std::set<std::string> places_;
  const int output_;
  std::string buffer_;
  uint64_t told_ = 0;
  size_t depth_ = 0;
  // Directories from the root down that count when something in them does: as they were, or made on
  // the way to a place.
  std::vector<std::pair<char, std::string>> pending_;
};

Result<void> Changes::flush() {
  const Result<void> written = sys::write_all(output_, buffer_);
  buffer_.clear();
  return written;
}

Result<void> Changes::tell(char kind, const std::string& path) {
  for (const auto& [pending, parent] : std::exchange(pending_, {})) {
    GANTRY_TRY(tell(pending, parent));
  }
  buffer_ += kind;
  buffer_ += '/';
  buffer_ += path;
  buffer_ += '\0';
  told_ += path.size() + 3;
  if (told_ > kMostBytes) {
    return Error(Errc::exhausted,
                 "more has changed than can be listed; `gantry export` gives all files");
  }
  return buffer_.size() < kFlush ? Result<void>() : flush();
}

Result<std::optional<LayerView::Found>> Changes::find_below(const std::string& path) const {
  auto found = view_.find(path, LayerView::Start::below_top);
  // No layer was unpacked with such a path.
  if (!found && found.error().is_errno(ENAMETOOLONG)) return std::optional<LayerView::Found>();
  return found;
}

Result<std::vector<std::string>> Changes::names_below(const std::string& path) const {
  std::set<std::string> all;
  for (size_t i = 1; i < view_.layers(); ++i) {
    auto directory = view_.layer(i).open_beneath(path, O_RDONLY | O_DIRECTORY);
    if (!directory) continue;
    for (std::string& name : GANTRY_TRY(names_in(directory->get(), "."))) {
      all.insert(std::move(name));
    }
  }
  std::vector<std::string> out;
  for (const std::string& name : all) {
    if (GANTRY_TRY(find_below(path.empty() ? name : cat(path, "/", name)))) out.push_back(name);
  }
  return out;
}

Result<void> Changes::walk(int directory, const std::string& path, Place place) {
  if (depth_ == kMostDepth) return Error(Errc::exhausted, cat("/", path, ": nested too deeply"));
  std::vector<std::string> names = GANTRY_TRY(names_in(directory, "."));
  std::map<std::string, bool> gone;  // by name: only the layers below have it
  for (std::string& name : names) gone.emplace(std::move(name), false);
  if (place.is_below && place.is_opaque) {
    for (std::string& name : GANTRY_TRY(names_below(path))) gone.try_emplace(std::move(name), true);
  }
  ++depth_;
  Result<void> looked;
  for (const auto& [name, is_gone] : gone) {
    const std::string inner = path.empty() ? name : cat(path, "/", name);
    looked = is_gone ? tell('D', inner) : look_at(directory, name, inner, place);
    if (!looked && has_changed(looked.error())) looked = Result<void>();
    if (!looked) break;
  }
  --depth_;
  return looked;
}

Result<void> Changes::look_at(int directory, const std::string& name, const std::string& path,
                              Place place) {
  const struct ::stat st = GANTRY_TRY(sys::stat_at(directory, name.c_str(), AT_SYMLINK_NOFOLLOW));
  std::optional<LayerView::Found> below;
  if (place.is_below) below = GANTRY_TRY(find_below(path));
  if (is_whiteout(st)) return below ? tell('D', path) : Result<void>();
  if (!below && places_.contains(path) && is_placeholder(directory, name, st)) return {};
  if (S_ISDIR(st.st_mode)) return look_into(directory, name, path, below, st, place);
  return tell(below ? 'C' : 'A', path);
}

Result<void> Changes::look_into(int directory, const std::string& name, const std::string& path,
                                const std::optional<LayerView::Found>& below,
                                const struct ::stat& st, Place place) {
  const UniqueFd child =
      GANTRY_TRY(sys::open_at(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  // Its content is elsewhere: what is here would be told wrongly.
  if (::fgetxattr(child.get(), "trusted.overlay.redirect", nullptr, 0) >= 0) {
    return Error(Errc::unsupported, cat("/", path, " was renamed by an overlay with redirect_dir"));
  }
  const bool is_opaque_here = place.is_opaque || is_opaque(child.get());
  const bool was_directory = below && S_ISDIR(below->st.st_mode);
  const size_t before = pending_.size();
  // The launch changes the times of those it makes something in.
  const bool is_way = leads_to_a_place(path);
  if (was_directory && !is_opaque_here && has_same_owner_and_mode(st, below->st) &&
      (is_way || has_same_time(st, below->st))) {
    pending_.emplace_back('C', path);
  } else if (!below && is_way) {
    pending_.emplace_back('A', path);
  } else {
    GANTRY_TRY(tell(below ? 'C' : 'A', path));
  }
  Result<void> walked = walk(child.get(), path, {was_directory, is_opaque_here});
  if (pending_.size() > before) pending_.resize(before);
  return walked;
}
}  // namespace

Result<Fields> changes_job(const Job& job) {
  if (job.fds.size() < 3) return Error(Errc::invalid, "no layers");
  const UniqueFd output(job.fds.back());
  std::vector<DirFd> layers;
  for (size_t i = 0; i + 1 < job.fds.size(); ++i) {
    layers.emplace_back(UniqueFd(GANTRY_TRY(detach_read_only(job.fds[i]))));
  }
  GANTRY_TRY(enter_root(job.fds[0], Below::own_file_system));
  // The way back to the host's mounts. lint: allow close, because they came to us as numbers
  for (size_t i = 0; i + 1 < job.fds.size(); ++i) ::close(job.fds[i]);
  GANTRY_TRY(leave_network());
  GANTRY_TRY(limit({.open_files = 8192}));
  GANTRY_TRY(keep_capabilities(kLook));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));
  const LayerView view(std::move(layers));
  GANTRY_TRY(Changes(view, places_of(job.request), output.get()).run());
  return Fields();
}
}  // namespace gantry::worker
