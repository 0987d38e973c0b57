#include "checkpoint/criu_log.h"

#include <vector>

#include "base/cgroup_fs.h"

namespace gantry {
namespace {
struct Known {
  std::string_view text;    // part of an error line
  std::string_view advice;  // the sentence for people
};
constexpr Known kKnown[] = {
    {"Connected TCP socket", "an established TCP connection is open; close it first"},
    {"In-flight TCP connection", "a TCP connection is half open; try again"},
    {"half of stream unix connection", "a unix socket is connected to a process outside"},
    {"io_uring", "a task uses io_uring, which CRIU cannot save"},
    {"userfaultfd", "a task uses userfaultfd, which CRIU cannot save"},
    {"Can't lookup mount=", "a task holds a file that was opened outside of the container"},
    {"is outside of its pid namespace", "a task's session leader is outside of the container"},
    {"slave peer without correspond master", "a task has a terminal"},
    {"Can't retrieve FD from socket",
     "too many descriptors are on their way through this host's unix sockets; try again"},
    {"Can't get 1:16 opt",
     "a task has a network socket, which CRIU before 4.2 cannot save on Linux 6.16 or newer"},
    {"Can't get rlimit", "its user is not root, and this host's root lacks CAP_SYS_RESOURCE"},
    {"Unable to restore capabilities", "it had capabilities that this host's root lacks"},
    {"increase limit", "a deleted file that is still open is too large to carry along"},
    {"Can't open socket", "a socket could not be read"},
    {"No space left on device", "the disk is full"},
    {"File exists", "a pid of the checkpoint is in use"},
    {"has bad size", "a file that a task holds open has another size than at the checkpoint"},
    {"has bad mode", "a file that a task holds open has another mode than at the checkpoint"},
    {"inotify", "a task watches files by inotify and CRIU cannot find them again"},
};

// "(00.012) Error (criu/x.c:1): text" -> "text"; empty: no error line.
std::string_view error_text(std::string_view line) {
  size_t at = line.find("Error (");
  if (at == std::string_view::npos) return {};
  size_t colon = line.find("): ", at);
  std::string_view text =
      colon == std::string_view::npos ? line.substr(at) : line.substr(colon + 3);
  if (text.find("Can't setup RLIMIT_NOFILE") != std::string_view::npos) return {};
  return trim(text);
}
}  // namespace

std::string explain_criu_log(std::string_view log) {
  std::string first;
  for (std::string_view line : split(log, '\n')) {
    std::string_view text = error_text(line);
    if (text.empty()) continue;
    for (const Known& known : kKnown) {
      if (text.find(known.text) != std::string_view::npos) {
        return cat(known.advice, " (criu: ", text, ")");
      }
    }
    if (first.empty()) first = text;
  }
  if (first.empty()) return "criu gave no reason";
  return cat("criu: ", first);
}

std::string criu_log_tail(std::string_view log, size_t lines) {
  std::vector<std::string_view> found;
  for (std::string_view line : split(log, '\n')) {
    std::string_view text = error_text(line);
    if (!text.empty()) found.push_back(text);
  }
  std::string out;
  for (size_t i = found.size() > lines ? found.size() - lines : 0; i < found.size(); ++i) {
    if (!out.empty()) out += "; ";
    out += found[i];
  }
  return out;
}
}  // namespace gantry
