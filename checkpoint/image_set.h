// The files of a checkpoint on disk.
//
//   DIRECTORY/record    what checkpoint.proto says; written last, a directory without it is none
//   DIRECTORY/images/   CRIU's *.img, each with its size and SHA-256 in the record
//
// It is made under another name (unfinished_path) and renamed when the dump is over. Mode 0700
// throughout: the images are the container's memory. Blocking (hashing, fsync): run it on the
// offload pool.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/criu/checkpoint.pb.h"
#include "base/path_at.h"
#include "base/result.h"

namespace gantry {
// Beside DIRECTORY: ".tmp." and its name.
std::string unfinished_path(const std::string& directory);
// The name a finished checkpoint will have; nullopt: no name of an unfinished one.
std::optional<std::string> finished_name(std::string_view name);

// Makes DIRECTORY with its folder. Errc::already_exists.
Result<void> create_checkpoint_directory(const std::string& directory);
// Renames, durable. Errc::already_exists.
Result<void> finish_checkpoint(const std::string& unfinished, const std::string& directory);
// Idempotent. Only directories of the above shape: anything else in it is left, and an error.
Result<void> remove_checkpoint_directory(const std::string& directory);
// For CRIU: the folder itself, no link.
Result<UniqueFd> open_images(const std::string& directory);

// Adds every image to the record, with its digest, and syncs them; then writes the record, durable.
Result<uint64_t> seal_checkpoint(const std::string& directory, criu::Checkpoint& record);
// The record alone. Errc::not_found, Errc::corrupt.
Result<criu::Checkpoint> read_checkpoint(const std::string& directory);
// Every image is there, a regular file, no link, unchanged, and nothing else is. Errc::corrupt
// names the file.
Result<void> verify_images(const std::string& directory, const criu::Checkpoint& record);
uint64_t image_bytes(const criu::Checkpoint& record);
}  // namespace gantry
