// What a new executor does with what an earlier one left (architecture §5). Internal to
// containerizer/.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/path_at.h"
#include "containerizer/container_record.h"
#include "containerizer/containerizer.h"

namespace gantry {
class Recovery {
 public:
  explicit Recovery(Containerizer& owner) : owner_(owner) {}
  Co<Result<void>> run();

 private:
  struct Found {
    ContainerPtr container;
    ContainerRecord record;
    bool adopt = false;         // its process lives: to be watched again
    bool after_reboot = false;  // the record is of another boot
  };
  Result<void> read_records();
  Result<void> read_record(const DirFd& dir);
  Result<void> take(Found& found);
  Co<Result<void>> read_registered();
  // Joins nested containers to their parents; those whose parent is not known are nobody's.
  Result<void> link_nested();
  Result<void> take_copy(ContainerRecord record, const std::string& bytes);
  Co<Result<void>> classify();
  Result<void> adopt(Found& found);
  Co<Result<void>> recover_parts();
  void note_left(std::string_view what, const Result<void>& recovered);
  Co<Result<void>> complete_spec(Container& container);
  Co<void> settle_one(Found& found);
  Co<void> settle(Found& found);
  bool is_to_go(const Container& container) const;
  Co<void> patiently(Co<void> work);
  Co<void> fit_freezer(const Container& container);
  Co<void> await_helpers();
  Co<void> end_half_restored();
  Co<Result<void>> end_strangers();
  Result<void> remove_orphan_sandboxes();

  Containerizer& owner_;
  std::vector<Found> found_;
  std::map<std::string, KnownChild> children_;  // by key
  std::vector<std::string> unknown_sandboxes_;
  std::chrono::steady_clock::time_point patience_;  // until then what takes long is waited for
};
}  // namespace gantry
