// Reading directories to their end. KERNEL: readdir() tells an error by errno alone, and a list cut
// short would say of what is there that it is gone.
#pragma once

#include <dirent.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace gantry {
// The next entry but "." and ".."; nullptr at the end.
Result<const dirent*> next_entry(DIR* directory);
// All names but "." and "..", in no order.
Result<std::vector<std::string>> names_in(int dir_fd, const char* path);
}  // namespace gantry
