#include "checkpoint/image_set.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/record_file.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr char kRecord[] = "record";
constexpr char kImages[] = "images";
constexpr std::string_view kUnfinished = ".tmp.";

Result<std::vector<std::string>> list(const DirFd& top, const char* folder) {
  UniqueFd fd = GANTRY_TRY(top.open_beneath(folder, O_RDONLY | O_DIRECTORY));
  DIR* dir = ::fdopendir(fd.get());
  if (dir == nullptr) return Error::from_errno(errno, cat("list ", folder));
  (void)fd.release();  // the stream owns it now
  std::vector<std::string> out;
  while (dirent* entry = ::readdir(dir)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") out.push_back(std::move(name));
  }
  ::closedir(dir);
  std::sort(out.begin(), out.end());
  return out;
}

struct Digest {
  uint64_t size;
  std::string sha256;
};

Result<Digest> digest_file(int fd) {
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  std::vector<char> buffer(256 << 10);
  Digest out{0, std::string(32, '\0')};
  for (;;) {
    ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read");
    if (n == 0) break;
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<size_t>(n));
    out.size += static_cast<uint64_t>(n);
  }
  EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(out.sha256.data()), nullptr);
  return out;
}

// A regular file with one name, below the images folder; nothing is followed.
Result<UniqueFd> open_image(const DirFd& top, const std::string& name) {
  UniqueFd fd =
      GANTRY_TRY(top.open_beneath(cat(kImages, "/", name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return Error::from_errno(errno, "stat");
  if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
    return Error(Errc::corrupt, "is not a plain file");
  }
  return fd;
}

// Several at once: the disk answers them together. One after the other, thirty small files take
// two to three times as long.
Result<void> sync_all(const std::vector<UniqueFd>& files) {
  constexpr size_t kThreads = 4;
  std::atomic<int> error = 0;
  auto sync_some = [&](size_t first) {
    for (size_t i = first; i < files.size(); i += kThreads) {
      if (::fsync(files[i].get()) != 0) error = errno;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < kThreads; ++i) threads.emplace_back(sync_some, i);
    sync_some(0);
  }
  if (error != 0) return Error::from_errno(error, "sync the images");
  return {};
}
}  // namespace

std::string unfinished_path(const std::string& directory) {
  size_t slash = directory.rfind('/') + 1;
  return cat(directory.substr(0, slash), kUnfinished, directory.substr(slash));
}

std::optional<std::string> finished_name(std::string_view name) {
  if (!name.starts_with(kUnfinished)) return std::nullopt;
  return std::string(name.substr(kUnfinished.size()));
}

Result<void> create_checkpoint_directory(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0) {
    if (errno == EEXIST) {
      return Error(Errc::already_exists, cat("there is a checkpoint at ", directory, " already"));
    }
    return Error::from_errno(errno, cat("make ", directory));
  }
  DirFd top = GANTRY_TRY(DirFd::open(directory));
  return sys::mkdir_at(top.get(), kImages, 0700);
}

Result<void> finish_checkpoint(const std::string& unfinished, const std::string& directory) {
  if (::renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, directory.c_str(), RENAME_NOREPLACE) !=
      0) {
    return Error::from_errno(errno, cat("rename ", unfinished));
  }
  UniqueFd parent =
      GANTRY_TRY(sys::open(directory.substr(0, directory.rfind('/')), O_RDONLY | O_DIRECTORY));
  if (::fsync(parent.get()) != 0) return Error::from_errno(errno, cat("sync ", directory));
  return {};
}

Result<void> remove_checkpoint_directory(const std::string& directory) {
  Result<DirFd> top = DirFd::open(directory);
  if (!top) {
    if (top.error().is_errno(ENOENT)) return {};
    return std::move(top).error();
  }
  // ORDER: without the record it is no checkpoint any more, however far the rest gets.
  for (const char* name : {kRecord, kImages}) {
    GANTRY_TRY(remove_tree_at(top->get(), name));
  }
  GANTRY_TRY(remove_temporaries(top->get()));
  if (::rmdir(directory.c_str()) != 0 && errno != ENOENT) {
    return Error::from_errno(errno, cat("remove ", directory));
  }
  return {};
}

Result<UniqueFd> open_images(const std::string& directory) {
  DirFd top = GANTRY_TRY(DirFd::open(directory));
  return top.open_beneath(kImages, O_RDONLY | O_DIRECTORY);
}

Result<uint64_t> seal_checkpoint(const std::string& directory, criu::Checkpoint& record) {
  DirFd top = GANTRY_TRY(DirFd::open(directory));
  std::vector<UniqueFd> images;
  record.clear_images();
  for (const std::string& name : GANTRY_TRY(list(top, kImages))) {
    UniqueFd fd = GANTRY_TRY(open_image(top, name).context("image ", name));
    Digest digest = GANTRY_TRY(digest_file(fd.get()).context("image ", name));
    criu::ImageFile* image = record.add_images();
    image->set_name(name);
    image->set_size(digest.size);
    image->set_sha256(digest.sha256);
    images.push_back(std::move(fd));
  }
  images.push_back(GANTRY_TRY(open_images(directory)));
  GANTRY_TRY(sync_all(images));
  UniqueFd writable = GANTRY_TRY(sys::open(directory, O_RDONLY | O_DIRECTORY));
  GANTRY_TRY(write_record(writable.get(), kRecord, record.SerializeAsString(), Durability::disk));
  return image_bytes(record);
}

Result<criu::Checkpoint> read_checkpoint(const std::string& directory) {
  Result<DirFd> top = DirFd::open(directory);
  if (!top) {
    if (top.error().is_errno(ENOENT)) {
      return Error(Errc::not_found, cat("there is no checkpoint at ", directory));
    }
    return std::move(top).error();
  }
  Result<UniqueFd> file = top->open_beneath(kRecord, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file) {
    if (file.error().is_errno(ENOENT)) {
      return Error(Errc::corrupt, cat(directory, " has no record: it is no complete checkpoint"));
    }
    return std::move(file).error().context("checkpoint ", directory);
  }
  struct stat st;
  if (::fstat(file->get(), &st) != 0) return Error::from_errno(errno, "stat");
  if (!S_ISREG(st.st_mode)) return Error(Errc::corrupt, cat(directory, "/record is no plain file"));
  std::string frame = GANTRY_TRY(sys::read_all(file->get(), 32u << 20));
  std::string payload = GANTRY_TRY(unframe_record(frame).context("checkpoint ", directory));
  criu::Checkpoint record;
  if (!record.ParseFromString(payload)) {
    return Error(Errc::corrupt, cat("the record of checkpoint ", directory, " does not parse"));
  }
  return record;
}

Result<void> verify_images(const std::string& directory, const criu::Checkpoint& record) {
  DirFd top = GANTRY_TRY(DirFd::open(directory));
  std::vector<std::string> there = GANTRY_TRY(list(top, kImages).context("checkpoint ", directory));
  for (const criu::ImageFile& image : record.images()) {
    auto at = std::find(there.begin(), there.end(), image.name());
    if (at == there.end()) {
      return Error(Errc::corrupt, cat("checkpoint ", directory, " lacks image ", image.name()));
    }
    there.erase(at);
    UniqueFd fd = GANTRY_TRY(open_image(top, image.name()).context("image ", image.name()));
    Digest digest = GANTRY_TRY(digest_file(fd.get()).context("image ", image.name()));
    if (digest.size != image.size() || digest.sha256 != image.sha256()) {
      return Error(Errc::corrupt,
                   cat("image ", image.name(), " of checkpoint ", directory, " was changed"));
    }
  }
  if (!there.empty()) {
    return Error(Errc::corrupt, cat("checkpoint ", directory, " holds ", there.front(),
                                    ", which its record does not name"));
  }
  return {};
}

uint64_t image_bytes(const criu::Checkpoint& record) {
  uint64_t total = 0;
  for (const criu::ImageFile& image : record.images()) total += image.size();
  return total;
}
}  // namespace gantry
