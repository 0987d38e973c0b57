// Where a launch mounts something over a container's root: it makes what is missing there, an empty
// directory or file, in the container's layer.
#pragma once

#include <sys/stat.h>

#include <set>
#include <string>

#include "fetcher/worker_message.h"

namespace gantry::worker {
// The request's places, without the first '/'.
std::set<std::string> places_of(const Fields& request);
// An empty directory or file.
bool is_placeholder(int directory, const std::string& name, const struct ::stat& status);
}  // namespace gantry::worker
