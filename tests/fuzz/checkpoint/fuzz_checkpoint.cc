// What a restore reads before it trusts anything: the record of a checkpoint (with the digests it
// names), a log of CRIU, mountinfo and status of a task. The first byte chooses.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "api/criu/rpc.pb.h"
#include "base/record_file.h"
#include "base/sys.h"
#include "checkpoint/criu_log.h"
#include "checkpoint/image_set.h"
#include "checkpoint/mount_table.h"
#include "checkpoint/task_state.h"

namespace {
using namespace gantry;
namespace fs = std::filesystem;

// A checkpoint directory whose record is this, framed rightly: what a forger would write.
void read_record_and_images(std::string_view payload) {
  static const fs::path directory = [] {
    fs::path made = fs::temp_directory_path() / cat("fuzz-checkpoint-", ::getpid());
    fs::create_directories(made / "images");
    std::ofstream(made / "images/core-1.img") << "image";
    std::atexit(
        [] { fs::remove_all(fs::temp_directory_path() / cat("fuzz-checkpoint-", ::getpid())); });
    return made;
  }();
  std::ofstream(directory / "record", std::ios::binary) << frame_record(payload);
  Result<criu::Checkpoint> record = read_checkpoint(directory);
  if (!record) return;
  // It cannot know the digest.
  if (verify_images(directory, *record) && record->images_size() > 0 &&
      record->images(0).sha256().size() != 32) {
    __builtin_trap();
  }
  (void)image_bytes(*record);
}

void read_mounts(std::string_view text) {
  Result<std::vector<MountEntry>> mounts = parse_mountinfo(text);
  if (!mounts) return;
  Result<std::vector<ExternalMount>> external =
      find_external_mounts(*mounts, {"8:1", "0:6"}, {{"/data", "/srv"}});
  if (!external) return;
  for (const ExternalMount& mount : *external) {
    if (!mount.is_mask && !mount.source.starts_with("/srv")) __builtin_trap();
  }
}

void read_status(std::string_view text) {
  Result<TaskState> state = parse_task_status(text);
  if (!state) return;
  SecuritySpec none;
  none.capabilities = {};
  Credentials nobody;
  nobody.uid = nobody.gid = 65534;
  if (check_task(*state, {*state}, none, nobody) && (state->effective | state->permitted) != 0) {
    __builtin_trap();
  }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'r':
      read_record_and_images(rest);
      break;
    case 'l':
      if (explain_criu_log(rest).empty()) __builtin_trap();
      (void)criu_log_tail(rest, 3);
      break;
    case 'm':
      read_mounts(rest);
      break;
    case 's':
      read_status(rest);
      break;
    case 'a': {
      criu::Answer answer;
      (void)answer.ParseFromArray(rest.data(), static_cast<int>(rest.size()));
      break;
    }
    default:
      break;
  }
  return 0;
}
