// The jobs of gantry-worker. Each confines itself first, then works, then answers. The names and
// fields are a private matter of the executor and the worker of the same build.
//
//   job      stdin   descriptors            does
//   ingest   stream  staging                one tar into blobs, and what images they make
//   unpack   blob    layer, lower layers…   one layer's tar into a directory, verified
//   copy     -       target, layers…        layers (bottom first) copied into one tree
//   remove   -       parent                 the tree `name`
//   empty    -       directory              everything in it
//   measure  -       parent                 bytes and inodes of `name`
//   unmount  -       -                      detaches the mount at `path`
//   user     -       -                      a user looked up in a root file system
//   volumes  -       targets…               directories of a root file system copied out of it
//   collect  -       root…, output          a path in a container's root as a tar
//   place    stream  root…                  a tar into a container's root
//   changes  -       layers…, output        what the top layer changes
//   commit   -       staging, upper         an image with one more layer, as blobs
//   save     -       blobs, output          images as a tar
//   fetch    (file)  sandbox or file        one URI, or stdin, into a file
//   extract  -       sandbox                the archive `name` there
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "fetcher/worker_message.h"

namespace gantry::worker {
struct Job {
  const Fields& request;
  std::vector<int> fds;
};
Result<Fields> ingest_job(const Job& job);
Result<Fields> unpack_job(const Job& job);
Result<Fields> copy_job(const Job& job);
Result<Fields> remove_job(const Job& job);
Result<Fields> empty_job(const Job& job);
Result<Fields> measure_job(const Job& job);
Result<Fields> unmount_job(const Job& job);
Result<Fields> user_job(const Job& job);
Result<Fields> volumes_job(const Job& job);
Result<Fields> collect_job(const Job& job);
Result<Fields> place_job(const Job& job);
Result<Fields> changes_job(const Job& job);
Result<Fields> commit_job(const Job& job);
Result<Fields> save_job(const Job& job);
Result<Fields> fetch_job(const Job& job);
Result<Fields> extract_job(const Job& job);
}  // namespace gantry::worker
