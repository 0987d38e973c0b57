#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "executor/scheduler/framework.h"

namespace gantry {
namespace {
using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;
constexpr double kRounding = 0.0005;  // Mesos counts CPUs in thousandths

Ranges merged(Ranges ranges) {
  std::sort(ranges.begin(), ranges.end());
  Ranges out;
  for (auto& [begin, end] : ranges) {
    if (!out.empty() && begin <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, end);
    } else {
      out.emplace_back(begin, end);
    }
  }
  return out;
}
Ranges without(const Ranges& from, const Ranges& what) {
  Ranges left = from;
  for (auto& [begin, end] : what) {
    Ranges next;
    for (auto& [a, b] : left) {
      if (end < a || begin > b) {
        next.emplace_back(a, b);
        continue;
      }
      if (a < begin) next.emplace_back(a, begin - 1);
      if (b > end) next.emplace_back(end + 1, b);
    }
    left = std::move(next);
  }
  return left;
}
}  // namespace

void add(ResourceAmounts& to, const ResourceAmounts& what) {
  to.cpus += what.cpus;
  to.mem_mib += what.mem_mib;
  to.disk_mib += what.disk_mib;
  to.ports.insert(to.ports.end(), what.ports.begin(), what.ports.end());
  to.ports = merged(std::move(to.ports));
}

void subtract(ResourceAmounts& from, const ResourceAmounts& what) {
  from.cpus = std::max(0.0, from.cpus - what.cpus);
  from.mem_mib = std::max(0.0, from.mem_mib - what.mem_mib);
  from.disk_mib = std::max(0.0, from.disk_mib - what.disk_mib);
  from.ports = without(from.ports, what.ports);
}

bool fits(const ResourceAmounts& what, const ResourceAmounts& in) {
  Ranges missing = without(what.ports, in.ports);
  return what.cpus <= in.cpus + kRounding && what.mem_mib <= in.mem_mib + kRounding &&
         what.disk_mib <= in.disk_mib + kRounding && missing.empty();
}

std::string to_text(const ResourceAmounts& resources) {
  std::string out = cat("cpus:", resources.cpus, "; mem:", resources.mem_mib);
  if (resources.disk_mib > 0) out += cat("; disk:", resources.disk_mib);
  if (!resources.ports.empty()) {
    out += "; ports:[";
    for (size_t i = 0; i < resources.ports.size(); ++i) {
      out += cat(i == 0 ? "" : ", ", resources.ports[i].first, "-", resources.ports[i].second);
    }
    out += "]";
  }
  return out;
}

ResourceAmounts host_resources(const std::string& data_dir) {
  ResourceAmounts total;
  total.cpus = static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  double mib = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
               static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
  // As Mesos' agent: the host keeps 1 GiB, or a half where there is little.
  total.mem_mib = std::floor(mib > 2048 ? mib - 1024 : mib / 2);
  struct ::statvfs fs;
  if (::statvfs(data_dir.c_str(), &fs) == 0) {
    double free = static_cast<double>(fs.f_bavail) * static_cast<double>(fs.f_frsize) / (1 << 20);
    total.disk_mib = std::floor(free > 10240 ? free - 5120 : free / 2);
  }
  total.ports = {{31000, 32000}};
  return total;
}
}  // namespace gantry
