// gantry doctor: the executor examines the host; where none can run, this says why.
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/sys.h"
#include "executor/cli/bundle.h"
#include "executor/cli/command_list.h"
#include "executor/cli/print.h"
#include "executor/cli/session.h"

namespace gantry::cli {
namespace {
struct Finding {
  std::string feature, verdict, detail, remedy;
};

std::string word_for(const std::string& verdict) {
  if (verdict == "OK") return "ok";
  return verdict == "DEGRADED" ? "limited" : "missing";
}

// What keeps an executor from running at all, as far as it can be seen from here.
void examine_basics(std::vector<Finding>& findings) {
  const bool is_root = ::geteuid() == 0;
  findings.push_back({"root", is_root ? "OK" : "MISSING",
                      is_root ? "yes" : cat("user ", ::geteuid()),
                      is_root ? "" : "start the executor as root"});
  utsname name = {};
  ::uname(&name);
  int major = 0, minor = 0;
  ::sscanf(name.release, "%d.%d", &major, &minor);
  const bool is_new = major > 5 || (major == 5 && minor >= 10);
  findings.push_back({"kernel", is_new ? "OK" : "MISSING", cat("Linux ", name.release),
                      is_new ? "" : "Linux 5.10 or newer is needed"});
  const std::string mounts = sys::read_file("/proc/self/mounts").value_or(std::string());
  const bool has_cgroups = mounts.find(" cgroup") != std::string::npos;
  findings.push_back({"cgroups", has_cgroups ? "OK" : "MISSING",
                      has_cgroups ? "mounted" : "no hierarchy is mounted",
                      has_cgroups ? "" : "mount -t cgroup2 cgroup2 /sys/fs/cgroup"});
}

class Doctor final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add(0, "bundle", "[FILE.tar]", &bundle_,
              "write a report to hand in, secrets left out, to FILE.tar, or - for stdout (default: "
              "a new file here)");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 0, bundle_ ? 1 : 0, bundle_ ? "one FILE.tar" : "flags"));
    if (bundle_ && !bundle_->empty() && !words.empty()) {
      return usage_error(cat("two files: ", *bundle_, " and ", words[0]));
    }
    const std::vector<Finding> findings = examine(session);
    if (bundle_ && bundle_->empty()) bundle_ = words.empty() ? bundle_name() : words[0];
    if (bundle_) return bundle(session, findings, *bundle_);
    if (session.json()) {
      print_json(findings);
    } else {
      write_out(lines_of(findings));
    }
    return is_any_missing(findings) ? 1 : 0;
  }

 private:
  Result<JsonDocument> ask(Session& session) const {
    const std::string call = R"({"type":"GANTRY_DOCTOR"})";
    if (!bundle_) return session.call(call);
    Connection connection = GANTRY_TRY(session.connect());
    return parse_json(GANTRY_TRY(ask_in_time(connection, call)), "the executor's answer");
  }

  std::vector<Finding> examine(Session& session) const {
    std::vector<Finding> findings;
    const Result<JsonDocument> answer = ask(session);
    if (answer) {
      findings.push_back({"executor", "OK", cat("answers on ", session.location().name()), ""});
      for (const Json* found : list_of(*answer, "gantry_doctor.findings")) {
        findings.push_back({text_of(*found, "feature"), text_of(*found, "verdict"),
                            text_of(*found, "detail"), text_of(*found, "remedy")});
      }
    } else {
      findings.push_back({"executor", "MISSING", answer.error().to_string(),
                          "mend what is missing below, then: gantry doctor"});
      examine_basics(findings);
    }
    return findings;
  }

  static bool is_any_missing(const std::vector<Finding>& findings) {
    return std::ranges::any_of(findings, [](const Finding& f) { return f.verdict == "MISSING"; });
  }

  static Result<int> bundle(Session& session, const std::vector<Finding>& findings,
                            const std::string& path) {
    GANTRY_TRY(write_bundle(session, lines_of(findings), path == "-" ? std::string() : path));
    if (path == "-") return 0;
    if (session.json()) {
      write_out(JsonWriter().open().text("bundle", path).close().line());
    } else {
      write_out(cat("wrote ", path, ": read it before you hand it on\n"));
    }
    return 0;
  }

  static std::string lines_of(const std::vector<Finding>& findings) {
    size_t width = 0;
    for (const Finding& finding : findings) width = std::max(width, finding.feature.size());
    std::string out;
    for (const Finding& finding : findings) {
      std::string verdict = word_for(finding.verdict);
      verdict.resize(9, ' ');
      std::string feature = finding.feature;
      feature.resize(width + 2, ' ');
      out += cat(verdict, feature, finding.detail, "\n");
      if (!finding.remedy.empty())
        out += cat(std::string(width + 11, ' '), "→ ", finding.remedy, "\n");
    }
    return out;
  }

  static void print_json(const std::vector<Finding>& findings) {
    JsonWriter json;
    json.open().open_list("findings");
    for (const Finding& finding : findings) {
      json.open().text("feature", finding.feature).text("verdict", word_for(finding.verdict));
      json.text("detail", finding.detail);
      if (!finding.remedy.empty()) json.text("remedy", finding.remedy);
      json.close();
    }
    write_out(json.close_list().close().line());
  }

  std::optional<std::string> bundle_;
};
}  // namespace

std::unique_ptr<Command> make_doctor() { return make_command<Doctor>(); }
}  // namespace gantry::cli
