// Result<T>: a value or an Error, in the names of std::expected. No exceptions (docs/adr/0001).
//
// An Error is one pointer wide; it allocates only on failure. It carries a std::error_code, the
// operation that failed, where, and context added on the way up. Printed it reads as a sentence
// from the outermost context to errno: "launch web: mount /srv on /data: no such file or
// directory".
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "base/str.h"

namespace gantry {

// Kinds of failure that callers branch on and that errno has no word for.
enum class Errc {
  not_found = 1,   // the named thing does not exist
  already_exists,  // the name is taken
  invalid,         // bad input; the message names the field and what is legal
  unsupported,     // this host or build cannot do it
  busy,            // in a state that forbids it now (still running, in use)
  corrupt,         // stored or received bytes do not parse
  timed_out,       // a deadline passed
  cancelled,       // the owner gave up
  exhausted,       // a limit of ours was reached
  conflict,        // somebody else changed or holds it
  refused,         // the other side said no; the message is its answer
};
const std::error_category& gantry_category() noexcept;
inline std::error_code make_error_code(Errc e) noexcept {
  return {static_cast<int>(e), gantry_category()};
}

class [[nodiscard]] Error {
 public:
  Error(std::error_code code, std::string what,
        std::source_location where = std::source_location::current());
  Error(Errc code, std::string what, std::source_location where = std::source_location::current())
      : Error(make_error_code(code), std::move(what), where) {}
  // From an errno value, e.g. Error::from_errno(errno, "open /x").
  static Error from_errno(int value, std::string what,
                          std::source_location where = std::source_location::current()) {
    return {std::error_code(value, std::system_category()), std::move(what), where};
  }
  Error(Error&&) noexcept = default;
  Error& operator=(Error&&) noexcept = default;
  Error(const Error& other);
  Error& operator=(const Error& other);
  ~Error() = default;

  const std::error_code& code() const { return payload_->code; }
  bool is(Errc e) const { return code() == make_error_code(e); }
  bool is_errno(int value) const {
    return code().category() == std::system_category() && code().value() == value;
  }
  const std::source_location& where() const { return payload_->where; }

  template <class... Pieces>
  Error&& context(const Pieces&... pieces) && {
    payload_->context.push_back(cat(pieces...));
    return std::move(*this);
  }
  // The sentence for people, without the source location.
  std::string to_string() const;

 private:
  struct Payload {
    std::error_code code;
    std::string what;
    std::source_location where;
    std::vector<std::string> context;
  };
  std::unique_ptr<Payload> payload_;
};

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit, as std
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT
  template <class U>
    requires(std::constructible_from<T, U> && !std::same_as<std::remove_cvref_t<U>, Result> &&
             !std::same_as<std::remove_cvref_t<U>, Error> &&
             !std::same_as<std::remove_cvref_t<U>, T>)
  Result(U&& value)  // NOLINT
      : state_(std::in_place_index<0>, std::forward<U>(value)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::move(std::get<0>(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  template <class U>
  T value_or(U&& other) && {
    return has_value() ? std::move(*this).value() : static_cast<T>(std::forward<U>(other));
  }
  Error& error() & { return std::get<1>(state_); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::move(std::get<1>(state_)); }

  template <class... Pieces>
  Result context(const Pieces&... pieces) && {
    if (!has_value()) return std::move(*this).error().context(pieces...);
    return std::move(*this);
  }
  void ignore(std::string_view /*reason*/) const {}

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT
  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  void value() const {}
  void operator*() const {}
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }
  template <class... Pieces>
  Result context(const Pieces&... pieces) && {
    if (error_) return std::move(*error_).context(pieces...);
    return std::move(*this);
  }
  void ignore(std::string_view /*reason*/) const {}

 private:
  std::optional<Error> error_;
};

[[noreturn]] void check_failed(const char* expression, const char* file, int line);
}  // namespace gantry

// Invariants: a false one is a bug of ours, never an answer to input. Aborts.
#define GANTRY_CHECK(expression) \
  ((expression) ? (void)0 : ::gantry::check_failed(#expression, __FILE__, __LINE__))

// The value of a Result, or an early return of its error. The name is new at each use
// (__COUNTER__), so that one may stand inside another.
#define GANTRY_TRY(...) GANTRY_TRY_AS(GANTRY_TRY_NAME(__COUNTER__), return, std::move, __VA_ARGS__)
// The same inside a coroutine: `auto x = GANTRY_CO_TRY(co_await f());`
#define GANTRY_CO_TRY(...) \
  GANTRY_TRY_AS(GANTRY_TRY_NAME(__COUNTER__), co_return, std::move, __VA_ARGS__)

#define GANTRY_TRY_JOIN(a, b) a##b
#define GANTRY_TRY_NAME(number) GANTRY_TRY_JOIN(gantry_try_, number)
// `leave` is return or co_return; `answer` makes of the failed Result's error what is returned.
#define GANTRY_TRY_AS(name, leave, answer, ...)       \
  ({                                                  \
    auto name = (__VA_ARGS__);                        \
    if (!name) leave answer(std::move(name).error()); \
    std::move(name).value();                          \
  })
