#include "api/oci/digest.h"

#include <openssl/evp.h>

#include "base/sys.h"

namespace gantry::oci {
namespace {
bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}
}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  std::string_view shown = text.substr(0, 100);
  if (!text.starts_with(kPrefix)) {
    if (text.starts_with("sha512:") || text.starts_with("blake3:")) {
      return Error(Errc::unsupported, cat("digest ", shown, ": only sha256 is supported"));
    }
    return Error(Errc::invalid, cat("digest '", shown, "' is not sha256:… of 64 hex digits"));
  }
  std::string_view hex = text.substr(kPrefix.size());
  if (hex.size() != 64 || !is_hex(hex)) {
    return Error(Errc::invalid,
                 cat("digest '", shown, "' is not sha256: and 64 lower-case hex digits"));
  }
  return Digest(std::string(hex));
}

Digest Digest::of(std::string_view bytes) {
  Hasher hasher;
  hasher.update(bytes);
  return hasher.finish();
}

struct Hasher::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  GANTRY_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(std::string_view bytes) {
  GANTRY_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

Digest Hasher::finish() {
  std::byte value[32];
  GANTRY_CHECK(
      EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(value), nullptr) == 1);
  GANTRY_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
  return Digest(sys::to_hex(value));
}

Digest chain_id(const Digest& below, const Digest& diff_id) {
  return Digest::of(below.to_string() + " " + diff_id.to_string());
}
}  // namespace gantry::oci
