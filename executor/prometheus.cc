// The metrics page: names, help and labels
// (https://prometheus.io/docs/instrumenting/exposition_formats).
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <initializer_list>

#include "api/wire/json.h"
#include "base/str.h"
#include "base/sys.h"
#include "executor/metrics.h"

namespace gantry {
namespace {
constexpr double kMicro = 1e-6, kNano = 1e-9;

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return cat(value);
}

// name="value", with what may not stand between quotes escaped.
std::string label(std::string_view name, std::string_view value) {
  std::string out = cat(name, "=\"");
  for (char c : wire::to_valid_utf8(value)) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out += '"';
}

class Page {
 public:
  // What follows is of this family; its head is written where there is a sample.
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    head_ = cat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
  }
  void sample(double value) { sample("", value); }
  void sample(std::string_view labels, double value, std::string_view suffix = "") {
    out_ += std::exchange(head_, {});
    out_ += name_;
    out_ += suffix;
    if (!labels.empty()) out_ += cat("{", labels, "}");
    out_ += cat(" ", number(value), "\n");
  }
  std::string finish() && { return std::move(out_); }

 private:
  std::string out_, head_;
  std::string_view name_;
};

using Value = std::optional<double>;
template <class T>
Value scaled(const std::optional<T>& value, double by = 1) {
  return value ? Value(static_cast<double>(*value) * by) : std::nullopt;
}

struct ContainerFamily {
  std::string_view name, type, help;
  Value (*value)(const ContainerMetrics&);
};
constexpr ContainerFamily kContainerFamilies[] = {
    {"gantry_container_start_time_seconds", "gauge", "When it was started, since the epoch.",
     [](const ContainerMetrics& c) {
       return c.started_ns == 0 ? Value() : Value(static_cast<double>(c.started_ns) * kNano);
     }},
    {"gantry_container_restarts_total", "counter", "How often its restart policy ran it again.",
     [](const ContainerMetrics& c) { return Value(c.restarts); }},
    {"gantry_container_cpu_limit_cpus", "gauge", "CPUs it may use at once.",
     [](const ContainerMetrics& c) { return scaled(c.usage.cpus_limit); }},
    {"gantry_container_cpu_periods_total", "counter", "Periods of its CPU limit that passed.",
     [](const ContainerMetrics& c) { return scaled(c.usage.cpu_periods); }},
    {"gantry_container_cpu_throttled_periods_total", "counter",
     "Periods in which it reached its CPU limit.",
     [](const ContainerMetrics& c) { return scaled(c.usage.cpu_throttled_periods); }},
    {"gantry_container_cpu_throttled_seconds_total", "counter",
     "Time it was kept from running by its CPU limit.",
     [](const ContainerMetrics& c) { return scaled(c.usage.cpu_throttled_us, kMicro); }},
    {"gantry_container_memory_bytes", "gauge", "Memory in use, page cache included.",
     [](const ContainerMetrics& c) { return scaled(c.usage.memory_current); }},
    {"gantry_container_memory_peak_bytes", "gauge", "The most memory it had in use.",
     [](const ContainerMetrics& c) { return scaled(c.usage.memory_peak); }},
    {"gantry_container_memory_limit_bytes", "gauge", "Memory it may use; absent: no limit.",
     [](const ContainerMetrics& c) { return scaled(c.usage.memory_limit); }},
    {"gantry_container_memory_anonymous_bytes", "gauge", "Memory that is no page cache.",
     [](const ContainerMetrics& c) { return scaled(c.usage.memory_anon); }},
    {"gantry_container_memory_file_bytes", "gauge", "Page cache.",
     [](const ContainerMetrics& c) { return scaled(c.usage.memory_file); }},
    {"gantry_container_oom_kills_total", "counter",
     "Processes that the kernel ended because the memory limit was reached.",
     [](const ContainerMetrics& c) { return scaled(c.usage.oom_kills); }},
    {"gantry_container_tasks", "gauge", "Processes and threads (cgroup pids).",
     [](const ContainerMetrics& c) { return scaled(c.usage.pids_current); }},
    {"gantry_container_tasks_limit", "gauge",
     "Processes and threads it may have; absent: no limit.",
     [](const ContainerMetrics& c) { return scaled(c.usage.pids_limit); }},
    {"gantry_container_io_read_bytes_total", "counter", "Bytes read from block devices.",
     [](const ContainerMetrics& c) { return scaled(c.usage.io_read); }},
    {"gantry_container_io_written_bytes_total", "counter", "Bytes written to block devices.",
     [](const ContainerMetrics& c) { return scaled(c.usage.io_written); }},
    {"gantry_container_network_received_bytes_total", "counter",
     "Bytes received over its bridge network.",
     [](const ContainerMetrics& c) { return scaled(c.usage.net_received); }},
    {"gantry_container_network_sent_bytes_total", "counter", "Bytes sent over its bridge network.",
     [](const ContainerMetrics& c) { return scaled(c.usage.net_sent); }},
};

void write_containers(const std::vector<ContainerMetrics>& containers, Page& page) {
  std::vector<std::string> labels;
  labels.reserve(containers.size());
  for (const auto& c : containers)
    labels.push_back(cat(label("id", c.id), ",", label("name", c.name)));
  const auto each = [&](auto write) {
    for (size_t i = 0; i < containers.size(); ++i) write(containers[i], labels[i]);
  };
  page.family("gantry_container_info", "gauge", "1 for each live container.");
  each([&](const ContainerMetrics& c, const std::string& common) {
    page.sample(cat(common, ",", label("image", c.image)), 1);
  });
  page.family("gantry_container_cpu_seconds_total", "counter", "CPU time used.");
  each([&](const ContainerMetrics& c, const std::string& common) {
    for (auto [mode, value] : {std::pair("user", scaled(c.usage.cpu_user_us, kMicro)),
                               std::pair("system", scaled(c.usage.cpu_system_us, kMicro))}) {
      if (value) page.sample(cat(common, ",", label("mode", mode)), *value);
    }
  });
  for (const ContainerFamily& family : kContainerFamilies) {
    page.family(family.name, family.type, family.help);
    each([&](const ContainerMetrics& c, const std::string& common) {
      if (const Value value = family.value(c)) page.sample(common, *value);
    });
  }
  page.family("gantry_container_pressure_waiting_seconds_total", "counter",
              "Time in which some task of it waited for a resource (PSI).");
  each([&](const ContainerMetrics& c, const std::string& common) {
    for (const Pressure& p : c.pressure) {
      page.sample(cat(common, ",", label("resource", p.resource)),
                  static_cast<double>(p.waiting_us) * kMicro);
    }
  });
  page.family("gantry_container_pressure_stalled_seconds_total", "counter",
              "Time in which all tasks of it waited for a resource (PSI).");
  each([&](const ContainerMetrics& c, const std::string& common) {
    for (const Pressure& p : c.pressure) {
      const Value value = scaled(p.stalled_us, kMicro);
      if (value) page.sample(cat(common, ",", label("resource", p.resource)), *value);
    }
  });
}

void write_launches(const HostMetrics& host, Page& page) {
  const LaunchCounts& launches = host.launches;
  page.family("gantry_launches_total", "counter", "Launches asked for, failed ones too.");
  page.sample(static_cast<double>(launches.all()));
  page.family("gantry_launch_failures_total", "counter", "Launches that failed.");
  page.sample(static_cast<double>(launches.failed()));
  page.family("gantry_launch_duration_seconds", "histogram",
              "From the request to the exec of the command, of launches that succeeded.");
  for (size_t i = 0; i < LaunchCounts::kBounds.size(); ++i) {
    page.sample(label("le", number(LaunchCounts::kBounds[i])),
                static_cast<double>(launches.within(i)), "_bucket");
  }
  page.sample(label("le", "+Inf"), static_cast<double>(launches.succeeded()), "_bucket");
  page.sample("", launches.seconds(), "_sum");
  page.sample("", static_cast<double>(launches.succeeded()), "_count");
  page.family("gantry_prepared_children", "gauge", "Children that wait for the next launches.");
  page.sample(static_cast<double>(host.prepared_children));
  page.family("gantry_prepared_launches_total", "counter", "Launches that took a prepared child.");
  page.sample(static_cast<double>(host.prepared_launches));
}

void write_executor(const HostMetrics& host, const ProcessMetrics& process, Page& page) {
  page.family("gantry_build_info", "gauge", "1; the labels say which build of the executor it is.");
  page.sample(label("version", host.version), 1);
  page.family("gantry_start_time_seconds", "gauge", "When the executor began, since the epoch.");
  page.sample(host.started);
  page.family("gantry_uptime_seconds", "gauge", "How long the executor runs.");
  page.sample(host.now - host.started);
  page.family("gantry_cpu_seconds_total", "counter", "CPU time the executor used.");
  page.sample(label("mode", "user"), process.user_seconds);
  page.sample(label("mode", "system"), process.system_seconds);
  page.family("gantry_resident_memory_bytes", "gauge", "Memory of the executor.");
  page.sample(static_cast<double>(process.resident_bytes));
  page.family("gantry_open_fds", "gauge", "Files the executor has open.");
  page.sample(static_cast<double>(process.open_fds));
  page.family("gantry_max_fds", "gauge", "Files the executor may have open.");
  page.sample(static_cast<double>(process.most_fds));
  page.family("gantry_http_connections", "gauge", "Clients that are connected.");
  page.sample(static_cast<double>(host.connections));
  page.family("gantry_http_requests_in_progress", "gauge",
              "Requests being answered, this one too.");
  page.sample(static_cast<double>(host.requests));
  page.family("gantry_http_refused_connections_total", "counter",
              "Connections refused or closed for others' sake, because there were too many.");
  page.sample(static_cast<double>(host.refused_connections));
  page.family("gantry_tls_handshake_failures_total", "counter",
              "Clients of --listen-tls that had a wrong or revoked certificate, or spoke no TLS.");
  page.sample(static_cast<double>(host.failed_handshakes));
  page.family("gantry_http_unauthorized_requests_total", "counter",
              "Requests by way of --listen-tls with neither certificate nor token.");
  page.sample(static_cast<double>(host.turned_away));
  page.family("gantry_audit_log_lost_lines_total", "counter",
              "Lines that audit.log's disk did not take.");
  page.sample(static_cast<double>(host.lost_audit_lines));
  page.family("gantry_containers", "gauge", "Containers by state, nested ones too.");
  for (const auto& [state, count] : host.by_state) {
    page.sample(label("state", state), static_cast<double>(count));
  }
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * kMicro;
}
}  // namespace

ProcessMetrics process_metrics() {
  ProcessMetrics out;
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) {
    out.user_seconds = seconds_of(usage.ru_utime);
    out.system_seconds = seconds_of(usage.ru_stime);
  }
  // "TOTAL RESIDENT …" in pages.
  if (auto text = sys::read_file("/proc/self/statm")) {
    const size_t begin = text->find(' ') + 1;
    uint64_t pages = 0;
    if (parse_number(std::string_view(*text).substr(begin, text->find(' ', begin) - begin),
                     pages)) {
      out.resident_bytes = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    }
  }
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) out.most_fds = files.rlim_cur;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/fd"), &::closedir);
  while (dir) {
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) break;
    out.open_fds += entry->d_name[0] == '.' ? 0 : 1;
  }
  if (out.open_fds != 0) --out.open_fds;  // the one of this look
  return out;
}

std::string to_prometheus(const HostMetrics& host, const ProcessMetrics& process) {
  Page page;
  write_executor(host, process, page);
  write_launches(host, page);
  write_containers(host.containers, page);
  return std::move(page).finish();
}
}  // namespace gantry
