#include "fetcher/worker/archive_filter.h"

#include <archive.h>
#include <archive_entry.h>

#include <cerrno>

namespace gantry::worker {
struct ArchiveFilterCallbacks {
  static la_ssize_t read(archive* a, void* self, const void** buffer) {
    auto* filter = static_cast<ArchiveFilter*>(self);
    auto piece = filter->from_();
    if (!piece) {
      ::archive_set_error(a, EIO, "%s", piece.error().to_string().c_str());
      filter->input_error_ = std::move(piece).error();
      return ARCHIVE_FATAL;
    }
    *buffer = piece->data();
    return static_cast<la_ssize_t>(piece->size());
  }
};

ArchiveFilter::ArchiveFilter(Source from)
    : from_(std::move(from)), archive_(::archive_read_new()), buffer_(256u << 10, '\0') {
  ::archive_read_support_format_raw(archive_);
  ::archive_read_support_filter_xz(archive_);
  ::archive_read_support_filter_bzip2(archive_);
}

ArchiveFilter::~ArchiveFilter() { ::archive_read_free(archive_); }

Error ArchiveFilter::failure() {
  if (input_error_) return *input_error_;
  const char* text = ::archive_error_string(archive_);
  return {Errc::corrupt, cat("the compressed stream is damaged", text == nullptr ? "" : ": ",
                             text == nullptr ? "" : text)};
}

Result<std::string_view> ArchiveFilter::next() {
  if (at_ == At::start) {
    archive_entry* entry = nullptr;
    if (::archive_read_open2(archive_, this, nullptr, &ArchiveFilterCallbacks::read, nullptr,
                             nullptr) != ARCHIVE_OK) {
      return failure();
    }
    const int code = ::archive_read_next_header(archive_, &entry);
    if (code != ARCHIVE_OK && code != ARCHIVE_EOF) return failure();
    at_ = code == ARCHIVE_OK ? At::data : At::end;
  }
  if (at_ == At::end) return std::string_view();
  const la_ssize_t n = ::archive_read_data(archive_, buffer_.data(), buffer_.size());
  if (n < 0) return failure();
  if (n == 0) at_ = At::end;
  return std::string_view(buffer_.data(), static_cast<size_t>(n));
}
}  // namespace gantry::worker
