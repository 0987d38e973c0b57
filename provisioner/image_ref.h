// ImageRef: how a user names an image: `name[:tag]`, `sha256:HEX`, `name@sha256:HEX`, or, where no
// image has that name, HEX as `gantry images` shows it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry {
class ImageRef {
 public:
  // "docker.io/library/busybox", "docker.io/busybox" and "busybox" are the same name; a missing tag
  // is "latest". A digest (manifest's or image id, or a prefix of at least 12 digits) is kept as
  // such.
  static Result<ImageRef> parse(std::string_view text);
  const std::string& name() const { return name_; }      // empty: by digest only
  const std::string& tag() const { return tag_; }        // empty: by digest
  const std::string& digest() const { return digest_; }  // hex digits, 12 to 64; empty: by tag
  // The digest, or a name of 12 to 64 hex digits that may be meant as one; empty: neither.
  std::string_view digits() const;
  std::string to_string() const;  // "busybox:latest", "sha256:…"

 private:
  std::string name_, tag_, digest_;
};
}  // namespace gantry
