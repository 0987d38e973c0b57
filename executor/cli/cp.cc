// gantry cp, export
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <initializer_list>
#include <memory>

#include "base/path_at.h"
#include "base/sys.h"
#include "base/tar_writer.h"
#include "executor/cli/command_list.h"
#include "executor/cli/download.h"
#include "executor/cli/print.h"
#include "executor/cli/request_words.h"
#include "executor/cli/session.h"
#include "executor/cli/upload.h"

namespace gantry::cli {
namespace {
struct Place {
  std::string container;  // empty: here
  std::string path;
};

// As docker's: what begins with / or . is a path here, whatever colons are in it.
Place parse_place(const std::string& word) {
  const size_t colon = word.find(':');
  const bool is_here = colon == word.npos || colon == 0 || word[0] == '/' || word[0] == '.';
  if (is_here) return {{}, word};
  std::string path = word.substr(colon + 1);
  if (!path.empty() && !path.starts_with('/')) path.insert(0, "/");
  return {word.substr(0, colon), std::move(path)};
}

bool means_contents(std::string_view path) { return path.ends_with("/.") || path == "."; }

std::string base_name(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

bool is_directory(const std::string& path) {
  struct ::stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

// `members`: what else it says.
std::string copy_out_call(const Place& from, std::initializer_list<std::string_view> members) {
  JsonWriter json;
  json.open().text("type", "GANTRY_COPY_OUT").open("gantry_copy_out");
  json.open("container_id").text("value", from.container).close().text("path", from.path);
  for (const std::string_view member : members) json.boolean(member, true);
  return json.close().close().take();
}

void tell_left_out(uint64_t count, std::string_view kinds) {
  if (count != 0)
    write_error(cat("left out ", count, " ", kinds, ": no files, so there is nothing to copy"));
}

Result<void> write_to(int fd, std::string_view bytes) { return sys::write_all(fd, bytes); }

// GNU tar unpacks here: what a container wrote is not for a parser of our own.
class Unpacker {
 public:
  static Result<Unpacker> start(const std::string& directory, bool owners, bool strip_first) {
    sys::Pipe pipe = GANTRY_TRY(sys::pipe());
    const pid_t pid = ::fork();
    if (pid < 0) return Error::from_errno(errno, "fork");
    if (pid == 0) {
      ::dup2(pipe.read.get(), STDIN_FILENO);
      const char* arguments[] = {"tar",
                                 "-x",
                                 "-p",
                                 "-C",
                                 directory.c_str(),
                                 "--xattrs",
                                 owners ? "--same-owner" : "--no-same-owner",
                                 "--numeric-owner",
                                 "--warning=no-timestamp",
                                 strip_first ? "--strip-components=1" : nullptr,
                                 nullptr};
      ::execvp("tar", const_cast<char**>(arguments));
      const std::string text = "gantry: cp needs tar, which is not on the PATH\n";
      sys::write_all(STDERR_FILENO, text).ignore("nobody else to tell");
      ::_exit(127);
    }
    return Unpacker(pid, std::move(pipe.write));
  }
  // Errc::refused: it has given up, and says itself why.
  Result<void> write(std::string_view bytes) {
    const Result<void> written = write_to(input_.get(), bytes);
    if (!written && written.error().is_errno(EPIPE)) return Error(Errc::refused, "tar failed");
    return written;
  }
  Result<void> finish() {
    input_.reset();
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return Error(Errc::refused, "tar could not unpack all of it here");
  }

 private:
  Unpacker(pid_t pid, UniqueFd input) : pid_(pid), input_(std::move(input)) {}
  pid_t pid_;
  UniqueFd input_;
};

// A directory beside the destination, gone at the end.
class Aside {
 public:
  static Result<Aside> make(const std::string& parent) {
    std::string path = parent + "/.gantry-cp-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return Error::from_errno(errno, cat("write ", parent));
    return Aside(std::move(path));
  }
  Aside(Aside&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Aside(const Aside&) = delete;
  ~Aside() {
    if (!path_.empty()) remove_tree_at(AT_FDCWD, path_).ignore("it is said by its name");
  }
  const std::string& path() const { return path_; }

 private:
  explicit Aside(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

class Cp final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.toggle('a', "archive", &owners_, "keep owners (default: root's there, yours here)");
    flags.toggle('q', "quiet", &quiet_, "no progress");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 2, 2, "a source and a destination"));
    const Place from = parse_place(words[0]), to = parse_place(words[1]);
    for (const Place* place : {&from, &to}) {
      if (!place->container.empty() && place->path.empty()) {
        return usage_error(cat(place->container, ": names no path in the container; its root is ",
                               place->container, ":/"));
      }
    }
    if (from.container.empty() == to.container.empty()) {
      return usage_error(
          cat("one of ", words[0], " and ", words[1],
              " has to be in a container: CONTAINER:PATH (a file here with a colon is ./NAME)"));
    }
    // To stdout: a reader that has gone ends us as it ends any command.
    if (words[1] != "-") ::signal(SIGPIPE, SIG_IGN);
    GANTRY_TRY(from.container.empty() ? copy_in(session, from.path, to)
                                      : copy_out(session, from, to.path));
    return 0;
  }

 private:
  Result<void> copy_in(Session& session, const std::string& from, const Place& to) {
    if (from != "-") {
      const auto status = GANTRY_TRY(sys::stat_at(AT_FDCWD, from.c_str(), AT_SYMLINK_NOFOLLOW));
      if (S_ISSOCK(status.st_mode)) {
        return Error(Errc::refused,
                     cat(from, " is a socket: there is nothing in it that could be copied"));
      }
    }
    JsonWriter json;
    json.open().text("type", "GANTRY_COPY_IN").open("gantry_copy_in");
    // A tar of many things has no one name to be put under: only a directory will do.
    const bool is_tar = from == "-" && !to.path.ends_with('/');
    json.open("container_id").text("value", to.container).close();
    json.text("path", is_tar ? to.path + "/" : to.path);
    if (means_contents(from)) json.boolean("contents", true);
    if (owners_) json.boolean("owners", true);
    Connection connection = GANTRY_TRY(session.connect());
    const std::string call = json.close().close().take();
    GANTRY_TRY(connection.send_streaming(tar_request(call)));
    Upload upload(connection, "copying", quiet_);
    TarWriter tar([&upload](std::string_view bytes) { return upload.send(bytes); },
                  {.keeps_holes = true});
    Result<void> sent = from == "-" ? upload.send_file(STDIN_FILENO) : send(tar, from);
    const Result<HttpResponse> response = upload.finish(std::move(sent));
    if (!response) {
      return and_then(response.error(), cat("what was copied by then is in ", to.container,
                                            ": copy again, it is replaced"));
    }
    if (response->head.status / 100 != 2) return refusal(*response, call);
    tell_left_out(tar.left_out(), tar.left_out() == 1 ? "socket" : "sockets");
    return {};
  }

  static Result<void> send(TarWriter& tar, const std::string& from) {
    std::string name = base_name(absolute_path(from));
    if (from.ends_with('/') || means_contents(from)) {
      const UniqueFd directory = GANTRY_TRY(sys::open(from, O_RDONLY | O_DIRECTORY));
      if (name.empty() || name == "." || name == "..") name = "root";
      GANTRY_TRY(tar.add(directory.get(), ".", name));
    } else {
      const UniqueFd parent = GANTRY_TRY(sys::open(parent_of(from), O_RDONLY | O_DIRECTORY));
      GANTRY_TRY(tar.add(parent.get(), base_name(from), name));
    }
    return tar.finish();
  }

  Result<void> copy_out(Session& session, const Place& from, const std::string& to) {
    if (to == "-") {
      const auto sink = [](std::string_view bytes) {
        return write_to(STDOUT_FILENO, bytes).context("write to stdout");
      };
      const Result<uint64_t> received = receive_tar(session, copy_out_call(from, {}), sink);
      if (!received) return and_then(received.error(), "what is at stdout is not whole");
      tell_left_out(*received, *received == 1 ? "socket" : "sockets");
      return {};
    }
    if (is_directory(to)) {
      const Result<void> unpacked = unpack(session, from, to, means_contents(from.path));
      if (unpacked) return {};
      return and_then(unpacked.error(),
                      cat("what was copied by then is in ", to, ": copy again, it is replaced"));
    }
    if (to.ends_with('/')) return Error(Errc::refused, cat("there is no directory ", to));
    return put_as(session, from, to);
  }

  // What is a directory there does not replace what is none here: GNU tar would.
  static Result<void> check_first(std::string_view tar, const Place& from,
                                  const std::string& directory) {
    constexpr size_t kType = 156, kSize = 124, kBlock = 512;
    if (tar.size() >= 2 * kBlock && tar[kType] == 'x') {
      const uint64_t size = ::strtoull(std::string(tar.substr(kSize, 11)).c_str(), nullptr, 8);
      const uint64_t next = kBlock + (size + kBlock - 1) / kBlock * kBlock;
      if (next < tar.size()) tar.remove_prefix(next);
    }
    const std::string there = cat(directory, "/", base_name(from.path));
    struct ::stat st;
    const bool is_in_the_way = ::lstat(there.c_str(), &st) == 0 && !S_ISDIR(st.st_mode);
    if (tar.size() > kType && tar[kType] == '5' && is_in_the_way) {
      return Error(Errc::refused, cat(there, " is there, and is no directory"));
    }
    return {};
  }

  Result<void> unpack(Session& session, const Place& from, const std::string& directory,
                      bool strip_first) {
    std::unique_ptr<Unpacker> unpacker;
    const auto sink = [&](std::string_view bytes) -> Result<void> {
      if (!unpacker) {
        if (!strip_first) GANTRY_TRY(check_first(bytes, from, directory));
        unpacker = std::make_unique<Unpacker>(
            GANTRY_TRY(Unpacker::start(directory, owners_, strip_first)));
      }
      return unpacker->write(bytes);
    };
    Result<uint64_t> received =
        receive_tar(session, copy_out_call(from, {"no_devices", "sparse"}), sink);
    if (!received && lacks_field(received.error(), "sparse")) {
      received = receive_tar(session, copy_out_call(from, {"no_devices"}), sink);
    }
    const Result<void> unpacked = unpacker ? unpacker->finish() : Result<void>();
    if (!received) return received.error();
    tell_left_out(*received, *received == 1 ? "device node or socket" : "device nodes and sockets");
    return unpacked;
  }

  // Under a name of its own: unpacked aside, then moved there.
  Result<void> put_as(Session& session, const Place& from, const std::string& to) {
    const Aside aside = GANTRY_TRY(Aside::make(parent_of(to)));
    const bool is_root = base_name(from.path).empty();
    if (const Result<void> unpacked = unpack(session, from, aside.path(), false); !unpacked) {
      return and_then(unpacked.error(), "nothing of it is left here");
    }
    std::string made = is_root ? aside.path() : cat(aside.path(), "/", base_name(from.path));
    if (means_contents(from.path)) {
      std::string path = from.path.substr(0, from.path.size() - 2);
      made = cat(aside.path(), "/", base_name(path));
    }
    if (::rename(made.c_str(), to.c_str()) != 0) {
      return Error::from_errno(errno, cat("write ", to));
    }
    return {};
  }

  bool owners_ = false, quiet_ = false;
};

class Export final : public Command {
 public:
  void declare(Flags& flags) override {
    flags.add('o', "output", "FILE", &output_, "where to (default: stdout)");
  }

  Result<int> run(Session& session, std::vector<std::string> words) override {
    GANTRY_TRY(want_arguments(words, 1, 1, "one container"));
    GANTRY_TRY(save_tar(session, copy_out_call({words[0], "/"}, {"one_file_system"}), output_,
                        "exporting"));
    return 0;
  }

 private:
  std::string output_;
};
}  // namespace

std::unique_ptr<Command> make_cp() { return make_command<Cp>(); }
std::unique_ptr<Command> make_export() { return make_command<Export>(); }
}  // namespace gantry::cli
