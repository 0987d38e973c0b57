#include "fetcher/worker_message.h"

#include <cstring>

namespace gantry {
namespace {
constexpr size_t kMaxFields = 200'000;

void put(std::string& out, std::string_view bytes) {
  auto size = static_cast<uint32_t>(bytes.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  out.append(bytes);
}

Result<std::string_view> take(std::string_view& from) {
  uint32_t size = 0;
  if (from.size() < sizeof size) return Error(Errc::corrupt, "worker message ends early");
  std::memcpy(&size, from.data(), sizeof size);
  from.remove_prefix(sizeof size);
  if (size > from.size()) return Error(Errc::corrupt, "worker message ends early");
  std::string_view out = from.substr(0, size);
  from.remove_prefix(size);
  return out;
}
}  // namespace

bool Fields::has(std::string_view name) const {
  for (const auto& item : items_) {
    if (item.first == name) return true;
  }
  return false;
}

std::string_view Fields::get(std::string_view name) const {
  for (const auto& item : items_) {
    if (item.first == name) return item.second;
  }
  return {};
}

std::vector<std::string> Fields::all(std::string_view name) const {
  std::vector<std::string> out;
  for (const auto& item : items_) {
    if (item.first == name) out.push_back(item.second);
  }
  return out;
}

Error Fields::bad_number(std::string_view name) const {
  return Error(Errc::corrupt, cat("worker message: field ", name, " is missing or not a number"));
}

std::string Fields::encode() const {
  std::string out;
  for (const auto& [name, value] : items_) {
    put(out, name);
    put(out, value);
  }
  return out;
}

Result<Fields> Fields::decode(std::string_view bytes) {
  Fields out;
  while (!bytes.empty()) {
    if (out.items_.size() >= kMaxFields) return Error(Errc::corrupt, "worker message is too long");
    std::string_view name = GANTRY_TRY(take(bytes));
    std::string_view value = GANTRY_TRY(take(bytes));
    out.items_.emplace_back(name, value);
  }
  return out;
}

void add_error(Fields& to, const Error& error) {
  bool ours = error.code().category() == gantry_category();
  to.add("error", error.to_string());
  to.add("error.kind", ours ? "gantry" : "errno");
  to.add_number("error.code", error.code().value());
}

Result<void> check_error(const Fields& from) {
  if (!from.has("error")) return {};
  // Text from a process that read hostile data: bounded, and printable.
  std::string text(from.get("error").substr(0, 4096));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  int code = GANTRY_TRY(from.number<int>("error.code"));
  bool ours = from.get("error.kind") == "gantry" && code >= static_cast<int>(Errc::not_found) &&
              code <= static_cast<int>(Errc::conflict);
  if (ours) return Error(static_cast<Errc>(code), std::move(text));
  // Printing an errno Error appends the kernel's word; the worker's text already ends with it.
  std::string suffix = cat(": ", std::system_category().message(code));
  if (text.ends_with(suffix)) text.resize(text.size() - suffix.size());
  return Error::from_errno(code, std::move(text));
}
}  // namespace gantry
