#include "api/types/container_state.h"

#include <utility>

namespace gantry {
namespace {
using S = ContainerState;
constexpr std::pair<S, std::string_view> kNames[] = {
    {S::creating, "creating"},     {S::created, "created"},     {S::provisioning, "provisioning"},
    {S::preparing, "preparing"},   {S::launching, "launching"}, {S::restoring, "restoring"},
    {S::running, "running"},       {S::paused, "paused"},       {S::checkpointing, "checkpointing"},
    {S::destroying, "destroying"}, {S::exited, "exited"},       {S::removed, "removed"},
};
constexpr std::pair<S, S> kEdges[] = {
    {S::creating, S::provisioning},    {S::creating, S::restoring},
    {S::creating, S::destroying},      {S::created, S::creating},
    {S::created, S::removed},          {S::provisioning, S::created},
    {S::provisioning, S::preparing},   {S::provisioning, S::destroying},
    {S::preparing, S::launching},      {S::preparing, S::destroying},
    {S::launching, S::running},        {S::launching, S::destroying},
    {S::launching, S::preparing},  // with another child
    {S::restoring, S::running},        {S::restoring, S::destroying},
    {S::running, S::paused},           {S::running, S::checkpointing},
    {S::running, S::destroying},       {S::paused, S::running},
    {S::paused, S::checkpointing},     {S::paused, S::destroying},
    {S::checkpointing, S::running},    {S::checkpointing, S::paused},
    {S::checkpointing, S::destroying}, {S::destroying, S::exited},
    {S::exited, S::creating},          {S::exited, S::removed},
};
}  // namespace

std::string_view to_string(ContainerState state) {
  for (auto& [value, name] : kNames) {
    if (value == state) return name;
  }
  return "unknown";
}

Result<ContainerState> parse_container_state(std::string_view text) {
  for (auto& [value, name] : kNames) {
    if (name == text) return value;
  }
  return Error(Errc::invalid, cat("'", text, "' is no container state"));
}

bool is_legal(ContainerState from, ContainerState to) {
  for (auto& [a, b] : kEdges) {
    if (a == from && b == to) return true;
  }
  return false;
}

bool is_live(ContainerState state) {
  return state == S::launching || state == S::restoring || state == S::running ||
         state == S::paused || state == S::checkpointing || state == S::destroying;
}
}  // namespace gantry
