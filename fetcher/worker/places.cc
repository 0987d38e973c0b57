#include "fetcher/worker/places.h"

#include "base/directory.h"
#include "fetcher/worker/layer_view.h"

namespace gantry::worker {
std::set<std::string> places_of(const Fields& request) {
  std::set<std::string> out;
  for (const std::string& place : request.all("place")) out.insert(join(clean_components(place)));
  return out;
}

bool is_placeholder(int directory, const std::string& name, const struct ::stat& status) {
  if (S_ISREG(status.st_mode)) return status.st_size == 0;
  if (!S_ISDIR(status.st_mode)) return false;
  const auto names = names_in(directory, name.c_str());
  return names && names->empty();
}
}  // namespace gantry::worker
