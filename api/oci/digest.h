// Digest: the name of content, "sha256:" and 64 lower-case hex digits. Validated where it is parsed
// (CVE-2024-3727), so it can be used as a file name.
#pragma once

#include <compare>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry::oci {
class Digest {
 public:
  // Other algorithms than sha256 are Errc::unsupported; anything else Errc::invalid.
  static Result<Digest> parse(std::string_view text);
  static Digest of(std::string_view bytes);

  std::string to_string() const { return "sha256:" + hex_; }
  const std::string& hex() const { return hex_; }
  auto operator<=>(const Digest&) const = default;

 private:
  friend class Hasher;
  explicit Digest(std::string hex) : hex_(std::move(hex)) {}
  std::string hex_;
};

// SHA-256 over a stream.
class Hasher {
 public:
  Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  ~Hasher();
  void update(std::string_view bytes);
  // Ends the stream; the hasher starts anew.
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The ChainID of a layer over the one below it (OCI image specification, config.md).
Digest chain_id(const Digest& below, const Digest& diff_id);
}  // namespace gantry::oci
