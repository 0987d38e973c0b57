// Tars as a hostile author writes them: every field at will.
#pragma once

#include <cstdio>
#include <cstring>
#include <string>

#include "base/str.h"

namespace gantry::test {
struct TarItem {
  char type;  // '0' file, '1' hardlink, '2' symlink, '3' char, '5' directory, '6' fifo …
  std::string path;
  std::string link = {};
  std::string data = {};
  unsigned mode = 0644;
  unsigned major = 0, minor = 0;
  std::string pax = {};  // ready records of an 'x' header before it
};

inline std::string tar_block(const TarItem& item) {
  char h[512] = {};
  std::memcpy(h, item.path.data(), std::min<size_t>(item.path.size(), 100));
  std::snprintf(h + 100, 8, "%07o", item.mode);
  std::snprintf(h + 108, 8, "%07o", 0);
  std::snprintf(h + 116, 8, "%07o", 0);
  std::snprintf(h + 124, 12, "%011o", static_cast<unsigned>(item.data.size()));
  std::snprintf(h + 136, 12, "%011o", 1000000000);
  h[156] = item.type;
  std::memcpy(h + 157, item.link.data(), std::min<size_t>(item.link.size(), 100));
  std::memcpy(h + 257, "ustar\00000", 8);
  std::snprintf(h + 329, 8, "%07o", item.major);
  std::snprintf(h + 337, 8, "%07o", item.minor);
  std::memset(h + 148, ' ', 8);
  unsigned sum = 0;
  for (char c : h) sum += static_cast<unsigned char>(c);
  std::snprintf(h + 148, 8, "%06o", sum);
  std::string out(h, sizeof h);
  out += item.data;
  out.append((512 - item.data.size() % 512) % 512, '\0');
  return out;
}

inline std::string pax_record(const std::string& key, const std::string& value) {
  size_t rest = key.size() + value.size() + 3, length = rest + 1;
  while (cat(length).size() + rest != length) length = cat(length).size() + rest;
  return cat(length, " ", key, "=", value, "\n");
}

template <class Items>
std::string build_tar(const Items& items) {
  std::string out;
  for (const TarItem& item : items) {
    if (!item.pax.empty()) out += tar_block({'x', "pax", {}, item.pax});
    out += tar_block(item);
  }
  return out + std::string(1024, '\0');
}
}  // namespace gantry::test
