#include "containerizer/registrations.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/path_at.h"
#include "base/record_file.h"
#include "base/sys.h"

namespace gantry {
namespace {
std::string directory_of(const std::string& data_dir) {
  return data_dir + "/registrations/containers";
}
}  // namespace

Result<void> write_registration(const std::string& data_dir, const std::string& name,
                                const std::string& record) {
  GANTRY_TRY(sys::ensure_directories(directory_of(data_dir), 0700));
  DirFd dir = GANTRY_TRY(DirFd::open(directory_of(data_dir)));
  return write_record(dir.get(), name, record, Durability::disk);
}

Result<void> remove_registration(const std::string& data_dir, const std::string& name) {
  if (::unlink(cat(directory_of(data_dir), "/", name).c_str()) == 0 || errno == ENOENT) return {};
  return Error::from_errno(errno, cat("remove the registration ", name));
}

Result<Registrations> read_registrations(const std::string& data_dir) {
  Registrations out;
  Result<DirFd> dir = DirFd::open(directory_of(data_dir));
  if (!dir && dir.error().is_errno(ENOENT)) return out;
  if (!dir) return std::move(dir).error();
  GANTRY_TRY(remove_temporaries(dir->get()));
  for (const std::string& name : GANTRY_TRY(names_in(dir->get(), "."))) {
    if (name.find(".damaged-") != std::string::npos) continue;
    Result<std::string> record = read_record(dir->get(), name.c_str());
    if (record) {
      out.records.push_back(std::move(*record));
    } else if (is_damage(record.error())) {
      GANTRY_TRY(quarantine_record(dir->get(), name));
      out.damaged.push_back(cat(directory_of(data_dir), "/", name));
    } else {
      return std::move(record).error();
    }
  }
  return out;
}
}  // namespace gantry
