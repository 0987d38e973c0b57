#include "executor/operator_api.h"

#include "base/str.h"
#include "executor/operator_call.h"

namespace gantry {
namespace {
constexpr std::string_view kTar = "application/x-tar";

bool is_media_type(const std::string* header, std::string_view type) {
  if (header == nullptr) return false;
  std::string_view value = std::string_view(*header).substr(0, header->find(';'));
  while (value.ends_with(' ')) value.remove_suffix(1);
  return value == type;
}
}  // namespace

std::optional<http::Response> only_get(const http::Request& request) {
  if (request.method == "GET" || request.method == "HEAD") return std::nullopt;
  http::Response refused = http::Response::text(
      405, cat("Expecting one of { 'GET' }, but received '", request.method, "'"));
  refused.headers.emplace_back("Allow", "GET");
  return refused;
}

unsigned status_of(const Error& error) {
  static constexpr std::pair<Errc, unsigned> kStatuses[] = {
      {Errc::invalid, 400},   {Errc::not_found, 404},  {Errc::already_exists, 409},
      {Errc::busy, 409},      {Errc::cancelled, 503},  {Errc::conflict, 409},
      {Errc::exhausted, 503}, {Errc::unsupported, 501}};
  for (const auto& [kind, status] : kStatuses) {
    if (error.is(kind)) return status;
  }
  return 500;
}

http::Response refusal(const Error& error) {
  return http::Response::text(status_of(error), error.to_string());
}

int exit_status_of_failed_launch(const Error& error) {
  // "…: exec /bin/x: no such file or directory" (LaunchPlan::describe of the last step).
  std::string_view text;
  const std::string sentence = error.to_string();
  const std::string tail = cat(": ", error.code().message());
  text = sentence;
  if (!text.ends_with(tail)) return 125;
  text.remove_suffix(tail.size());
  const size_t colon = text.rfind(": ");
  if (colon != std::string_view::npos) text.remove_prefix(colon + 2);
  if (!text.starts_with("exec ")) return 125;
  return error.is_errno(ENOENT) || error.is_errno(ENOTDIR) ? 127 : 126;
}

Co<http::Response> OperatorApi::handle(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  if (request.method == "POST" && is_media_type(request.header("Content-Type"), kTar)) {
    if (!accepts(request.header("Accept"), "application/json")) {
      co_return http::Response::text(406, "Expecting 'Accept' to allow application/json");
    }
    OperatorCall call(exchange, backend_, agent_, pending_, {});
    co_return co_await call.run_with_tar();
  }
  auto negotiated = negotiate(request, RecordIo::yes);
  if (auto* refused = std::get_if<http::Response>(&negotiated)) co_return std::move(*refused);
  OperatorCall call(exchange, backend_, agent_, pending_, std::get<Negotiated>(negotiated));
  if (std::get<Negotiated>(negotiated).request_streams) co_return co_await call.run_input();
  co_return co_await call.run();
}

Co<http::Response> HealthEndpoint::handle(http::Exchange& exchange) {
  if (auto refused = only_get(exchange.request())) co_return std::move(*refused);
  const bool healthy = backend_.is_healthy();
  co_return http::Response::text(healthy ? 200 : 503, healthy ? "healthy\n" : "not healthy\n");
}
}  // namespace gantry
