#include "provisioner/layer_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <set>

#include "base/directory.h"
#include "base/failpoint.h"
#include "base/record_file.h"
#include "base/sys.h"

namespace gantry {
namespace {
Result<void> sync_directory(const std::string& path) {
  UniqueFd fd = GANTRY_TRY(sys::open(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return Error::from_errno(errno, cat("sync ", path));
  return {};
}
}  // namespace

std::vector<oci::Digest> LayerStore::chains_of(const std::vector<oci::Digest>& diff_ids) {
  std::vector<oci::Digest> out;
  for (const oci::Digest& id : diff_ids) {
    out.push_back(out.empty() ? id : oci::chain_id(out.back(), id));
  }
  return out;
}

Result<LayerStore::Layer> LayerStore::read_layer(const std::string& name) const {
  std::string facts_path = cat(name, "/facts"), root_path = cat(name, "/fs");
  std::string record = GANTRY_TRY(read_record(directory_fd_.get(), facts_path.c_str()));
  Fields facts = GANTRY_TRY(Fields::decode(record));
  struct ::stat st =
      GANTRY_TRY(sys::stat_at(directory_fd_.get(), root_path.c_str(), AT_SYMLINK_NOFOLLOW));
  return Layer{facts.get("root_opaque") == "1", st.st_mode & 07777u, st.st_uid, st.st_gid};
}

Result<void> LayerStore::load() {
  directory_fd_ = GANTRY_TRY(sys::open(directory_, O_RDONLY | O_DIRECTORY));
  for (const std::string& name : GANTRY_TRY(names_in(directory_fd_.get(), "."))) {
    auto layer = read_layer(name);
    if (layer) {
      layers_[name] = *layer;
    } else if (is_damage(layer.error()) || layer.error().is_errno(ENOENT)) {
      // It is unpacked again from its blob when it is needed.
      GANTRY_TRY(trash_.discard(directory_fd_.get(), name));
    } else {
      return std::move(layer).error();
    }
  }
  return {};
}

SnapshotParent LayerStore::parent_of(const std::vector<oci::Digest>& chains) const {
  SnapshotParent out;
  for (auto it = chains.rbegin(); it != chains.rend(); ++it) {
    std::string name = name_of(*it);
    auto found = layers_.find(name);
    GANTRY_CHECK(found != layers_.end());
    const Layer& layer = found->second;
    if (out.layers.empty()) {
      out.root_mode = layer.mode;
      out.root_uid = layer.uid;
      out.root_gid = layer.gid;
    }
    out.layers.push_back(cat(directory_, "/", name, "/fs"));
    if (layer.hides_below) break;
  }
  return out;
}

Co<Result<void>> LayerStore::unpack(oci::Digest chain, std::vector<oci::Digest> below,
                                    oci::Digest diff_id, UniqueFd blob, UnpackLimits limits) {
  std::string staged = cat(staging_, "/layer.", ::getpid(), ".", next_++);
  WorkerRequest request;
  request.job = "unpack";
  request.fields.add("diff_id", diff_id.to_string());
  request.fields.add_number("max_bytes", limits.max_bytes);
  request.fields.add_number("max_entries", limits.max_entries);
  request.input = std::move(blob);
  request.limit = limits.limit;
  auto prepared = [&]() -> Result<void> {
    GANTRY_TRY(sys::mkdir_at(AT_FDCWD, staged.c_str(), 0700));
    GANTRY_TRY(sys::mkdir_at(AT_FDCWD, cat(staged, "/fs").c_str(), 0700));
    request.fds.push_back(GANTRY_TRY(sys::open(cat(staged, "/fs"), O_PATH | O_DIRECTORY)));
    if (!below.empty()) {
      for (const std::string& layer : parent_of(below).layers) {
        request.fds.push_back(GANTRY_TRY(sys::open(layer, O_PATH | O_DIRECTORY)));
      }
    }
    return {};
  }();
  Result<Fields> facts = prepared ? co_await worker_.run(std::move(request)) : prepared.error();
  Result<void> done;
  if (facts) {
    GANTRY_FAILPOINT("image.after_unpack");
    std::string name = name_of(chain);
    done = co_await offload(
        [this, staged, name, facts = *facts] { return commit(staged, name, facts); });
    if (done) {
      auto layer = read_layer(name);
      if (layer) {
        layers_[name] = *layer;
      } else {
        done = std::move(layer).error();
      }
    }
  } else {
    done = std::move(facts).error();
  }
  if (!done) {
    trash_.discard(AT_FDCWD, staged).ignore("recover() removes what stays in staging");
    co_return std::move(done).error().context("layer ", diff_id.to_string());
  }
  co_return Result<void>();
}

// On the offload pool: touches no state of the loop.
Result<void> LayerStore::commit(const std::string& staged, const std::string& name,
                                const Fields& facts) {
  UniqueFd fd = GANTRY_TRY(sys::open(staged, O_RDONLY | O_DIRECTORY));
  GANTRY_TRY(write_record(fd.get(), "facts", facts.encode(), Durability::disk));
  std::string target = cat(directory_, "/", name);
  if (::rename(staged.c_str(), target.c_str()) != 0) {
    return Error::from_errno(errno, cat("commit ", target));
  }
  return sync_directory(directory_);
}

Result<void> LayerStore::keep_only(const std::vector<oci::Digest>& chains) {
  std::set<std::string> kept;
  for (const oci::Digest& chain : chains) kept.insert(name_of(chain));
  for (auto it = layers_.begin(); it != layers_.end();) {
    if (kept.contains(it->first)) {
      ++it;
      continue;
    }
    GANTRY_TRY(trash_.discard(directory_fd_.get(), it->first));
    it = layers_.erase(it);
  }
  return {};
}
}  // namespace gantry
