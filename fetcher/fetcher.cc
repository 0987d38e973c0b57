#include "fetcher/fetcher.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <dirent.h>

#include "base/atomic_file.h"
#include "base/hide_secrets.h"
#include "base/sys.h"

namespace gantry {
namespace {
bool is_http(std::string_view uri) {
  return uri.starts_with("http://") || uri.starts_with("https://");
}

bool is_hex64(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// %XX of a URI's path; damaged escapes stay as they are.
std::string decode_percent(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    int value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr ==
            text.data() + i + 3) {
      out.push_back(static_cast<char>(value));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}
}  // namespace

Result<std::string> sandbox_name(const FetchUri& uri) {
  const std::string shown = hide_uri_secrets(uri.uri).substr(0, 200);
  if (!is_http(uri.uri) && !uri.uri.starts_with("file:///")) {
    return Error(Errc::invalid,
                 cat("uri ", shown, ": only file:///…, http:// and https:// can be fetched"));
  }
  for (unsigned char c : uri.uri) {
    if (c <= 0x20 || c == 0x7f) {
      return Error(Errc::invalid, cat("uri ", shown, ": has a space or a control character"));
    }
  }
  std::string name = uri.output_file;
  if (name.empty()) {
    std::string_view path = uri.uri;
    path.remove_prefix(path.find("://") + 3);
    if (is_http(uri.uri)) path = path.substr(0, path.find_first_of("?#"));
    size_t slash = path.rfind('/');
    if (slash != std::string_view::npos) name = decode_percent(path.substr(slash + 1));
  }
  if (name.empty() || name == "." || name == ".." || name.size() > 255 ||
      name.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
    return Error(Errc::invalid, cat("uri ", shown, ": '", name.substr(0, 100),
                                    "' is no file name; give it an output_file"));
  }
  return name;
}

// A download that several containers wait for.
struct Fetcher::Download {
  explicit Download(const asio::any_io_executor& executor) : done(executor) {}
  Event done;
  std::optional<Result<void>> outcome;
};

Fetcher::Fetcher(asio::any_io_executor executor, WorkerClient& worker, FetcherOptions options)
    : executor_(std::move(executor)), worker_(worker), options_(std::move(options)) {}
Fetcher::~Fetcher() = default;

Co<Result<void>> Fetcher::recover() {
  GANTRY_CO_TRY(sys::ensure_directories(options_.cache_dir, 0700));
  cache_ = GANTRY_CO_TRY(sys::open(options_.cache_dir, O_RDONLY | O_DIRECTORY));
  co_return remove_temporaries(cache_.get());
}

Co<Result<void>> Fetcher::fetch(std::vector<FetchUri> uris, UniqueFd sandbox, uid_t uid,
                                gid_t gid) {
  for (const FetchUri& uri : uris) {
    auto done = co_await fetch_one(&uri, sandbox.get(), uid, gid);
    if (!done)
      co_return std::move(done).error().context("fetch ", hide_uri_secrets(uri.uri).substr(0, 300));
  }
  co_return Result<void>();
}

Co<Result<Fields>> Fetcher::run(Fields fields, UniqueFd input, std::vector<UniqueFd> fds) {
  WorkerRequest request;
  request.job = fields.has("archive") ? "extract" : "fetch";
  fields.add_number("max_bytes", options_.max_file);
  fields.add_number("stall", options_.stall.count());
  request.fields = std::move(fields);
  request.input = std::move(input);
  request.fds = std::move(fds);
  request.limit = options_.limit;
  co_return co_await worker_.run(std::move(request));
}

Co<Result<void>> Fetcher::fetch_one(const FetchUri* uri, int sandbox, uid_t uid, gid_t gid) {
  std::string name = GANTRY_CO_TRY(sandbox_name(*uri));
  if (uri->sha256 && !is_hex64(*uri->sha256)) {
    co_return Error(Errc::invalid, "sha256 is not 64 lower-case hex digits");
  }
  Fields fields;
  fields.add_number("uid", uid);
  fields.add_number("gid", gid);
  fields.add("name", name);
  fields.add("executable", uri->executable ? "1" : "0");
  if (uri->sha256) fields.add("sha256", *uri->sha256);
  UniqueFd input;
  if (uri->sha256 && is_http(uri->uri) && cache_) {
    input = GANTRY_CO_TRY(co_await cached(uri->uri, *uri->sha256, uid, gid));
  } else {
    fields.add("uri", uri->uri);
  }
  std::vector<UniqueFd> fds;
  fds.push_back(GANTRY_CO_TRY(sys::duplicate(sandbox)));
  GANTRY_CO_TRY(co_await run(std::move(fields), std::move(input), std::move(fds)));
  if (!uri->extract) co_return Result<void>();
  Fields extract;
  extract.add_number("uid", uid);
  extract.add_number("gid", gid);
  extract.add("name", name);
  extract.add("archive", "1");
  fds.clear();
  fds.push_back(GANTRY_CO_TRY(sys::duplicate(sandbox)));
  GANTRY_CO_TRY(co_await run(std::move(extract), UniqueFd(), std::move(fds)));
  co_return Result<void>();
}

// The content of a digest, open for reading; downloaded first where it is not there yet.
Co<Result<UniqueFd>> Fetcher::cached(std::string uri, std::string sha256, uid_t uid, gid_t gid) {
  for (;;) {
    auto fd = sys::open_at(cache_.get(), sha256.c_str(), O_RDONLY | O_NOFOLLOW);
    if (fd) {
      ::futimens(fd->get(), nullptr);  // last used now
      co_return std::move(*fd);
    }
    auto it = downloads_.find(sha256);
    if (it == downloads_.end()) {
      GANTRY_CO_TRY(co_await download(uri, sha256, uid, gid));
      continue;
    }
    std::shared_ptr<Download> other = it->second;
    while (!other->outcome) {
      co_await other->done.wait();
      if (co_await is_cancelled()) co_return Error(Errc::cancelled, "cancelled");
    }
    // The other one's failure may be its own (its URI, its cancellation): try ourselves.
  }
}

Co<Result<void>> Fetcher::download(std::string uri, std::string sha256, uid_t uid, gid_t gid) {
  auto entry = std::make_shared<Download>(executor_);
  downloads_[sha256] = entry;
  std::string temporary = cat(".tmp.", ::getpid(), ".", next_++, ".", sha256.substr(0, 16));
  auto made = sys::open_at(cache_.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
  Result<void> outcome;
  if (made) {
    Fields fields;
    fields.add_number("uid", uid);
    fields.add_number("gid", gid);
    fields.add("uri", uri);
    fields.add("sha256", sha256);
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(*made));
    auto answer = co_await run(std::move(fields), UniqueFd(), std::move(fds));
    if (!answer) outcome = std::move(answer).error();
  } else {
    outcome = std::move(made).error();
  }
  if (outcome && ::renameat(cache_.get(), temporary.c_str(), cache_.get(), sha256.c_str()) != 0) {
    outcome = Error::from_errno(errno, "put a download into the cache");
  }
  if (!outcome) ::unlinkat(cache_.get(), temporary.c_str(), 0);
  if (outcome) trim_cache();
  downloads_.erase(sha256);
  entry->outcome = outcome;
  entry->done.notify();
  co_return outcome;
}

// Oldest use first, down to the limit. Files in use stay readable through their descriptors.
void Fetcher::trim_cache() {
  struct Item {
    timespec used;
    uint64_t size;
    std::string name;
  };
  std::vector<Item> items;
  uint64_t total = 0;
  auto fd = sys::open_at(cache_.get(), ".", O_RDONLY | O_DIRECTORY);
  if (!fd) return;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd->get()), &::closedir);
  if (!dir) return;
  (void)fd->release();
  while (dirent* entry = ::readdir(dir.get())) {
    if (!is_hex64(entry->d_name)) continue;
    struct ::stat st;
    if (::fstatat(cache_.get(), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    items.push_back({st.st_mtim, static_cast<uint64_t>(st.st_size), entry->d_name});
    total += static_cast<uint64_t>(st.st_size);
  }
  std::ranges::sort(items, {},
                    [](const Item& i) { return std::pair(i.used.tv_sec, i.used.tv_nsec); });
  for (const Item& item : items) {
    if (total <= options_.max_cache) return;
    ::unlinkat(cache_.get(), item.name.c_str(), 0);
    total -= item.size;
  }
}
}  // namespace gantry
