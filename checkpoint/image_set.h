// The files of a checkpoint on disk.
//
//   DIRECTORY/record    what checkpoint.proto says; written last, a directory without it is none
//   DIRECTORY/images/   CRIU's *.img, each with its size and SHA-256 in the record
//   DIRECTORY/work/     CRIU's logs and statistics of one operation; removed after it
//
// Mode 0700 throughout: the images are the container's memory. Blocking (hashing, fsync): run it on
// the offload pool.
#pragma once

#include <string>

#include "api/criu/checkpoint.pb.h"
#include "base/path_at.h"
#include "base/result.h"

namespace gantry {
// Makes DIRECTORY and its two folders. Errc::already_exists.
Result<void> create_checkpoint_directory(const std::string& directory);
// Idempotent. Only directories of the above shape: anything else in it is left, and an error.
Result<void> remove_checkpoint_directory(const std::string& directory);
// Empties and removes DIRECTORY/work, or makes it anew.
Result<void> remove_work(const std::string& directory);
Result<void> create_work(const std::string& directory);

// Adds every image to the record, with its digest, and syncs them; then writes the record, durable.
Result<uint64_t> seal_checkpoint(const std::string& directory, criu::Checkpoint& record);
// The record alone. Errc::not_found, Errc::corrupt.
Result<criu::Checkpoint> read_checkpoint(const std::string& directory);
// Every image is there, a regular file, no link, unchanged, and nothing else is. Errc::corrupt
// names the file.
Result<void> verify_images(const std::string& directory, const criu::Checkpoint& record);
uint64_t image_bytes(const criu::Checkpoint& record);
}  // namespace gantry
