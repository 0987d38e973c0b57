// One http(s) URL, streamed to a sink. Redirects are followed by us: never from https to http, and
// no connection is made to a link-local address (cloud metadata services), whoever asks for it.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gantry::worker {
Result<void> download(std::string url, std::chrono::seconds stall,
                      const std::function<Result<void>(std::string_view)>& sink);
// Link-local, also as an IPv4 address in IPv6 clothes, and AWS' IPv6 metadata address.
bool is_forbidden_address(const sockaddr* address);
}  // namespace gantry::worker
