// The body of a request into a pipe that a worker reads.
#pragma once

#include "base/co.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "executor/http/exchange.h"

namespace gantry {
// Until the body's end, or until the reader has closed its side: that one says why. `pipe` does not
// block, and is closed on return.
Co<Result<void>> pump_body(http::BodyStream& body, UniqueFd pipe);
}  // namespace gantry
