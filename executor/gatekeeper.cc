#include "executor/gatekeeper.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/cgroup_fs.h"
#include "base/str.h"
#include "base/sys.h"

namespace gantry {
namespace {
constexpr size_t kLeastToken = 16, kMostToken = 4096;

Result<std::string> read_token(const std::string& path) {
  const UniqueFd file = GANTRY_TRY(sys::open(path, O_RDONLY | O_NONBLOCK));
  struct ::stat st;
  if (::fstat(file.get(), &st) != 0) return Error::from_errno(errno, cat("look at ", path));
  if (!S_ISREG(st.st_mode)) return Error(Errc::invalid, cat(path, ": is no file"));
  if ((st.st_mode & 077) != 0) {
    return Error(Errc::invalid, cat(path, ": others than its owner can use it: chmod 600 ", path));
  }
  if (st.st_uid != 0 && st.st_uid != ::geteuid()) {
    return Error(Errc::invalid,
                 cat(path, ": is user ", st.st_uid, "'s, who can change it: chown 0 ", path));
  }
  const std::string text = GANTRY_TRY(sys::read_all(file.get(), kMostToken + 2));
  std::string token(trim(text));
  const bool is_plain =
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!is_plain || token.size() < kLeastToken || token.size() > kMostToken) {
    return Error(Errc::invalid,
                 cat(path, ": a token is one line of ", kLeastToken, " to ", kMostToken,
                     " printable characters without spaces: openssl rand -hex 32"));
  }
  return token;
}
}  // namespace

Gatekeeper::Digest Gatekeeper::digest_of(std::string_view token) {
  Digest out;
  ::SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), out.data());
  return out;
}

Result<void> Gatekeeper::load_token(const std::string& path) {
  token_ = digest_of(GANTRY_TRY(read_token(path)));
  return {};
}

// Digests are compared, in constant time: neither the token's length nor its beginning is told.
bool Gatekeeper::says_token(const http::Request& head) const {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string* said = head.header("Authorization");
  if (!token_ || said == nullptr || said->size() < kScheme.size() ||
      ::strncasecmp(said->data(), kScheme.data(), kScheme.size()) != 0) {
    return false;
  }
  const Digest digest = digest_of(trim(std::string_view(*said).substr(kScheme.size())));
  return ::CRYPTO_memcmp(digest.data(), token_->data(), digest.size()) == 0;
}

std::optional<http::Response> Gatekeeper::turn_away(const http::Request& head,
                                                    const http::Peer& peer) {
  if (!peer.certificate.empty() || says_token(head)) return std::nullopt;
  ++turned_away_;
  http::Response refused = http::Response::text(
      401, token_ ? "Expecting a certificate, or 'Authorization: Bearer' with the token"
                  : "Expecting a certificate");
  if (token_) refused.headers.emplace_back("WWW-Authenticate", "Bearer");
  return refused;
}
}  // namespace gantry
