// Small spellings of the plan's ops that several isolators use.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/plan.h"

namespace gantry::ops {
using Options = std::vector<std::pair<std::string, std::string>>;

inline uint32_t options(LaunchPlan::Builder& plan, const Options& list) {
  if (list.empty()) return 0;
  std::string text;
  for (const auto& [name, value] : list) {
    text += name;
    text += '\0';
    text += value;
    text += '\0';
  }
  return plan.blob(text.data(), text.size());  // a blob ends in a NUL: the empty name
}

// A file system of the container's own on a real directory, made where it is missing.
inline void mount_fs(LaunchPlan::Builder& plan, std::string_view type, std::string_view target,
                     const Options& list, uint64_t attributes, Stage stage = Stage::mounts) {
  plan.add(stage, {.kind = OpKind::kMountFs,
                   .flags = kOpNoSymlinks,
                   .s1 = plan.str(type),
                   .s2 = plan.str(target),
                   .s3 = options(plan, list),
                   .a = attributes,
                   .b = 0755});
}

// kMaskPath, kReadonlyPath.
inline void path(LaunchPlan::Builder& plan, OpKind kind, std::string_view where,
                 Stage stage = Stage::readonly) {
  plan.add(stage, {.kind = kind, .s1 = plan.str(where)});
}
}  // namespace gantry::ops
