#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <set>

#include "base/sys.h"
#include "fetcher/worker/archive_images.h"
#include "fetcher/worker/confine.h"
#include "fetcher/worker/jobs.h"
#include "fetcher/worker/layer_view.h"
#include "fetcher/worker/tar_reader.h"

namespace gantry::worker {
namespace {
constexpr size_t kMaxMembers = 50'000;

bool is_hex64(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// What one entry says about the archive it is in.
enum class Verdict { root_file_system, image_archive, either };
Verdict judge(const TarEntry& entry, const std::vector<std::string>& path) {
  bool is_directory = entry.type == EntryType::directory;
  if (path.empty()) return Verdict::either;
  std::string_view top = path[0];
  if (top == "blobs") {
    if (is_directory && path.size() <= 2) return Verdict::either;
    bool blob = path.size() == 3 && path[1] == "sha256" && is_hex64(path[2]);
    return blob ? Verdict::image_archive : Verdict::root_file_system;
  }
  if (is_hex64(top)) {  // docker save before 25: ID/layer.tar, ID/VERSION, ID/json
    if (path.size() == 2 && path[1] == "layer.tar") return Verdict::image_archive;
    return Verdict::either;
  }
  if (path.size() > 1) return Verdict::root_file_system;
  if (top == "oci-layout" && !is_directory) return Verdict::image_archive;
  if (top == "index.json" || top == "manifest.json" || top == "repositories") {
    return is_directory ? Verdict::root_file_system : Verdict::either;
  }
  if (top.starts_with("sha256:") && is_hex64(top.substr(7))) return Verdict::either;  // crane's
  if (top.ends_with(".json") && is_hex64(top.substr(0, top.size() - 5))) return Verdict::either;
  // skopeo's docker-archive: HEX.tar; crane's: HEX.tar.gz
  for (const std::string_view suffix : {".tar", ".tar.gz"}) {
    if (top.ends_with(suffix) && is_hex64(top.substr(0, top.size() - suffix.size()))) {
      return Verdict::image_archive;
    }
  }
  return Verdict::root_file_system;
}

class Ingest {
 public:
  // `config`: of a root file system; absent: none was given.
  enum class Takes { anything, images };
  Ingest(int directory, InputLimits limits, std::optional<oci::ImageConfig> config, Takes takes)
      : config_(std::move(config)),
        takes_(takes),
        staging_(directory),
        members_(staging_),
        raw_(STDIN_FILENO, limits),
        inflated_(raw_, limits.max_bytes),
        reader_(inflated_) {}

  Result<std::vector<StoredImage>> run();
  Staging& staging() { return staging_; }

 private:
  Result<void> take(const TarEntry& entry, const std::string& path);
  void drop_spool() {
    raw_.set_tee(-1);
    inflated_.set_tee(-1);
    staging_.forget(spool_);
  }
  Result<std::vector<StoredImage>> finish_archive();
  Result<std::vector<StoredImage>> finish_root();

  std::optional<oci::ImageConfig> config_;
  const Takes takes_;
  Staging staging_;
  ArchiveMembers members_;
  FdInput raw_;
  Inflater inflated_;
  TarReader reader_;
  std::string spool_;
  UniqueFd spool_fd_;
};

Result<void> Ingest::take(const TarEntry& entry, const std::string& path) {
  if (members_.size() > kMaxMembers) return Error(Errc::exhausted, "too many files in the archive");
  if (entry.type == EntryType::symlink || entry.type == EntryType::hardlink) {
    // docker save stored equal layers as links to one of them.
    members_.add_link(path, entry.type == EntryType::symlink, entry.link);
    return {};
  }
  if (entry.type != EntryType::file) return {};
  uint64_t at = 0;
  Blob blob = GANTRY_TRY(
      staging_
          .add([&](const auto& sink) {
            return reader_.read_data([&](uint64_t offset, std::string_view data) -> Result<void> {
              if (offset != at) return Error(Errc::invalid, "an image's blob is a sparse file");
              at += data.size();
              return sink(data);
            });
          })
          .context(path.substr(0, 200)));
  members_.add_file(path, std::move(blob));
  return {};
}

Result<std::vector<StoredImage>> Ingest::run() {
  // While it may still be a root file system, the stream itself is what will be stored.
  spool_fd_ = GANTRY_TRY(staging_.create(&spool_));
  raw_.set_tee(spool_fd_.get());
  // No layer can be compressed so: then what is in it is stored.
  if (GANTRY_TRY(inflated_.detect()) == Compression::other) {
    raw_.set_tee(-1);
    if (::ftruncate(spool_fd_.get(), 0) != 0 || ::lseek(spool_fd_.get(), 0, SEEK_SET) != 0) {
      return Error::from_errno(errno, "store the stream");
    }
    inflated_.set_tee(spool_fd_.get());
  }
  bool decided = false;
  size_t entries = 0;
  while (auto entry = GANTRY_TRY(reader_.next())) {
    ++entries;
    std::vector<std::string> path = clean_components(entry->path);
    if (!decided) {
      Verdict verdict = judge(*entry, path);
      if (verdict == Verdict::root_file_system) return finish_root();
      if (verdict == Verdict::image_archive) {
        decided = true;
        drop_spool();
      }
    }
    GANTRY_TRY(take(*entry, join(path)));
  }
  if (entries == 0) return Error(Errc::invalid, "the archive is empty");
  if (decided || members_.looks_like_an_image()) {
    drop_spool();
    return finish_archive();
  }
  return finish_root();
}

Result<std::vector<StoredImage>> Ingest::finish_archive() {
  if (config_) {
    return Error(Errc::invalid,
                 "it is an image with a configuration of its own: entrypoint, cmd, env and the "
                 "like are for root file systems");
  }
  GANTRY_TRY(reader_.drain());
  return images_of_archive(members_, staging_);
}

Result<std::vector<StoredImage>> Ingest::finish_root() {
  if (takes_ == Takes::images) {
    return Error(
        Errc::invalid,
        "it is no image, neither an OCI layout nor of `docker save`; `gantry import` makes "
        "one of a root file system");
  }
  GANTRY_TRY(reader_.drain());
  spool_fd_.reset();
  const oci::Digest diff_id = inflated_.digest();
  const bool is_stored_as_read = inflated_.compression() != Compression::other;
  Blob layer = is_stored_as_read ? Blob{spool_, raw_.digest(), raw_.count()}
                                 : Blob{spool_, diff_id, inflated_.count()};
  staging_.learn(layer);
  std::vector<StoredImage> images;
  images.push_back(GANTRY_TRY(image_of_root(layer, inflated_.compression(), diff_id,
                                            config_.value_or(oci::ImageConfig()), staging_)));
  return images;
}
}  // namespace

Result<Fields> ingest_job(const Job& job) {
  InputLimits limits;
  limits.max_bytes = GANTRY_TRY(job.request.number<uint64_t>("max_bytes"));
  limits.stall = std::chrono::seconds(GANTRY_TRY(job.request.number<int64_t>("stall")));
  std::optional<oci::ImageConfig> config;
  if (job.request.has("config")) {
    Fields fields = GANTRY_TRY(Fields::decode(job.request.get("config")));
    config = GANTRY_TRY(image_config_from(fields));
  }
  GANTRY_TRY(enter_root(job.fds.at(0), Below::own_file_system));
  GANTRY_TRY(leave_network());
  GANTRY_TRY(limit({}));
  ::close(job.fds[0]);  // lint: allow close, because it was handed to this process as a number
  UniqueFd root = GANTRY_TRY(sys::open("/", O_RDONLY | O_DIRECTORY));
  GANTRY_TRY(keep_capabilities(0));
  GANTRY_TRY(restrict_system_calls(SystemCalls::files));

  Ingest ingest(root.get(), limits, std::move(config),
                job.request.has("images_only") ? Ingest::Takes::images : Ingest::Takes::anything);
  std::vector<StoredImage> images = GANTRY_TRY(ingest.run());
  Fields answer;
  std::set<std::string> kept;
  for (const StoredImage& image : images) {
    std::vector<const Blob*> blobs{&image.manifest, &image.config_blob};
    for (const Blob& layer : image.layers) blobs.push_back(&layer);
    for (const Blob* blob : blobs) {
      if (kept.insert(blob->digest.hex()).second) GANTRY_TRY(ingest.staging().keep(*blob));
    }
    answer.add("image", describe(image).encode());
  }
  for (const std::string& hex : kept) answer.add("blob", hex);
  return answer;
}
}  // namespace gantry::worker
