#include "api/types/container_id.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <span>

#include "base/sys.h"

namespace gantry {
namespace {
constexpr size_t kMaxLength = 242;  // Mesos: names and paths are built of it
constexpr size_t kPlainLength = 64;

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}
}  // namespace

std::string sha256_hex(std::string_view text, size_t digits) {
  // SHA256() asks OpenSSL's providers for it at each call, which is most of its time.
  static const EVP_MD* const kSha256 = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
  std::byte digest[SHA256_DIGEST_LENGTH];
  GANTRY_CHECK(::EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest),
                            nullptr, kSha256, nullptr) == 1);
  return sys::to_hex(digest).substr(0, digits);
}

Result<ContainerId> ContainerId::parse(std::string_view value) {
  if (value.empty()) return Error(Errc::invalid, "container_id.value: must not be empty");
  if (value.size() > kMaxLength) {
    return Error(Errc::invalid, cat("container_id.value: has ", value.size(),
                                    " characters, at most ", kMaxLength, " are legal"));
  }
  for (char c : value) {
    if (c == '.' || c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return Error(Errc::invalid,
                   "container_id.value: must not contain '.', '/', '\\' or control characters");
    }
  }
  return ContainerId(std::string(value));
}

Result<ContainerId> ContainerId::parse(std::string_view value, const ContainerId& parent) {
  ContainerId id = GANTRY_TRY(parse(value));
  id.parent_ = std::make_shared<const ContainerId>(parent);
  return id;
}

Result<ContainerId> ContainerId::parse_path(std::string_view text) {
  size_t dot = text.find('.');
  ContainerId id = GANTRY_TRY(parse(text.substr(0, dot)));
  while (dot != std::string_view::npos) {
    text.remove_prefix(dot + 1);
    dot = text.find('.');
    id = GANTRY_TRY(parse(text.substr(0, dot), id));
  }
  return id;
}

ContainerId ContainerId::generate() { return ContainerId(sys::random_hex(16)); }

std::string ContainerId::to_string() const {
  return parent_ ? cat(parent_->to_string(), ".", value_) : value_;
}

std::string ContainerId::directory_name() const {
  if (value_.size() <= kPlainLength && std::all_of(value_.begin(), value_.end(), is_plain)) {
    return value_;
  }
  return cat("%", sha256_hex(value_, 24));
}

std::string ContainerId::hash() const { return sha256_hex(to_string(), 24); }
}  // namespace gantry
