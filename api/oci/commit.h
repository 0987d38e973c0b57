// An image of an image and one more layer: its configuration and its manifest, made from the
// documents of the one it stands on. Called in gantry-worker only (and in tests and fuzzers).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/oci/image.h"

namespace gantry::oci {
// What is absent stays; lists and maps are added to, or replace what has the same name.
struct ImageChanges {
  std::optional<std::vector<std::string>> entrypoint;  // cmd is then empty, unless it is given, too
  std::optional<std::vector<std::string>> cmd;
  std::vector<std::string> env;  // NAME=VALUE
  std::vector<std::string> exposed_ports, volumes;
  std::map<std::string, std::string> labels;
  std::optional<std::string> user, working_dir, stop_signal;
};
struct CommittedLayer {
  Digest diff_id;
  std::string created;     // RFC 3339
  std::string created_by;  // the container's command
  std::string author, comment;
};

// Whatever else `base` says stays as it is. Errc::invalid where it is no image configuration;
// Errc::exhausted when it has as many layers as an image can have.
Result<std::string> commit_config(std::string_view base, const ImageChanges& changes,
                                  const CommittedLayer& layer);
// `base` is a manifest of either kind, the answer one of OCI's.
Result<Manifest> commit_manifest(std::string_view base, Descriptor config, Descriptor layer);
}  // namespace gantry::oci
