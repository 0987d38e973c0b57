#include "provisioner/image_ref.h"

#include <algorithm>

namespace gantry {
namespace {
bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_digest_prefix(std::string_view text) {
  return text.size() >= 12 && text.size() <= 64 && is_hex(text);
}

// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool is_name_part(std::string_view part) {
  size_t i = 0;
  for (;;) {
    size_t start = i;
    while (i < part.size() && is_lower_alnum(part[i])) ++i;
    if (i == start) return false;
    if (i == part.size()) return true;
    size_t separator = i;
    while (i < part.size() && (part[i] == '.' || part[i] == '_' || part[i] == '-')) ++i;
    std::string_view s = part.substr(separator, i - separator);
    bool ok = s == "." || s == "_" || s == "__" || s.find_first_not_of('-') == s.npos;
    if (i == separator || !ok) return false;
  }
}

bool is_host(std::string_view part) {
  return part == "localhost" || part.find_first_of(".:") != std::string_view::npos;
}

// A registry's host may have upper case, dots and a port.
bool is_host_name(std::string_view part) {
  return (is_lower_alnum(part[0]) || part[0] == '[' || (part[0] >= 'A' && part[0] <= 'Z')) &&
         std::ranges::all_of(part, [](char c) {
           return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == ':' ||
                  c == '[' || c == ']';
         });
}

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > 255) return false;
  bool is_first = true;
  while (true) {
    size_t end = name.find('/');
    std::string_view part = name.substr(0, end);
    bool host = is_first && end != std::string_view::npos && is_host(part) && is_host_name(part);
    if (!host && !is_name_part(part)) return false;
    if (end == std::string_view::npos) return true;
    name.remove_prefix(end + 1);
    is_first = false;
  }
}

bool is_tag(std::string_view tag) {
  auto is_word = [](char c) { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !tag.empty() && tag.size() <= 128 && is_word(tag[0]) &&
         std::ranges::all_of(tag, [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}
}  // namespace

Result<ImageRef> ImageRef::parse(std::string_view text) {
  auto bad = [&](std::string_view why) {
    std::string shown(text.substr(0, 100));
    for (char& c : shown) {
      if (static_cast<unsigned char>(c) < 0x20) c = '?';
    }
    return Error(Errc::invalid, cat("image '", shown, "': ", why));
  };
  ImageRef out;
  std::string_view rest = text;
  if (size_t at = rest.find('@'); at != std::string_view::npos || rest.starts_with("sha256:")) {
    std::string_view digest = at == std::string_view::npos ? rest : rest.substr(at + 1);
    rest = at == std::string_view::npos ? std::string_view() : rest.substr(0, at);
    if (!digest.starts_with("sha256:")) return bad("a digest is sha256:… of hex digits");
    digest.remove_prefix(7);
    if (!is_digest_prefix(digest)) {
      return bad("a digest is sha256: and 12 to 64 lower-case hex digits");
    }
    out.digest_ = digest;
    if (rest.empty()) return out;
  }
  size_t colon = rest.rfind(':');
  if (colon != std::string_view::npos && rest.find('/', colon) == std::string_view::npos) {
    out.tag_ = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_tag(out.tag_)) return bad("the tag is up to 128 of letters, digits, '_', '.', '-'");
  }
  for (std::string_view prefix : {"docker.io/library/", "index.docker.io/library/", "docker.io/"}) {
    if (rest.starts_with(prefix)) {
      rest.remove_prefix(prefix.size());
      break;
    }
  }
  if (!is_name(rest)) {
    return bad(
        "a name is lower-case letters, digits and single '.', '_' or '-' between them, "
        "parts separated by '/'");
  }
  out.name_ = rest;
  if (out.tag_.empty() && out.digest_.empty()) out.tag_ = "latest";
  return out;
}

std::string_view ImageRef::digits() const {
  if (!digest_.empty()) return digest_;
  return tag_ == "latest" && is_digest_prefix(name_) ? name_ : std::string_view();
}

std::string ImageRef::to_string() const {
  if (name_.empty()) return cat("sha256:", digest_);
  std::string out = name_;
  if (!tag_.empty()) out += cat(":", tag_);
  if (!digest_.empty()) out += cat("@sha256:", digest_);
  return out;
}
}  // namespace gantry
