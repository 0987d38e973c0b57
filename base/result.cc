#include "base/result.h"

namespace gantry {
namespace {
class Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "gantry"; }
  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::not_found:
        return "not found";
      case Errc::already_exists:
        return "already exists";
      case Errc::invalid:
        return "invalid";
      case Errc::unsupported:
        return "not supported here";
      case Errc::busy:
        return "busy";
      case Errc::corrupt:
        return "corrupt";
      case Errc::timed_out:
        return "timed out";
      case Errc::cancelled:
        return "cancelled";
      case Errc::exhausted:
        return "exhausted";
      case Errc::conflict:
        return "conflict";
      case Errc::refused:
        return "refused";
    }
    return "unknown";
  }
};
}  // namespace

const std::error_category& gantry_category() noexcept {
  static const Category category;
  return category;
}

Error::Error(std::error_code code, std::string what, std::source_location where)
    : payload_(new Payload{code, std::move(what), where, {}}) {}
Error::Error(const Error& other) : payload_(new Payload(*other.payload_)) {}
Error& Error::operator=(const Error& other) {
  if (this != &other) payload_.reset(new Payload(*other.payload_));
  return *this;
}

std::string Error::to_string() const {
  std::string out;
  for (auto it = payload_->context.rbegin(); it != payload_->context.rend(); ++it) {
    out += *it;
    out += ": ";
  }
  out += payload_->what;
  // Our own kinds are said by the message itself; errno adds the kernel's word.
  if (payload_->code.category() != gantry_category()) {
    if (!payload_->what.empty()) out += ": ";
    out += payload_->code.message();
  }
  return out;
}

void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "gantry: bug: %s at %s:%d\n", expression, file, line);
  std::abort();
}
}  // namespace gantry
