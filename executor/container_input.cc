#include "executor/container_input.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/sys.h"

namespace gantry {
namespace {
// How long a client that has gone may keep others from writing to a container that does not read.
constexpr auto kLookAgain = std::chrono::seconds(5);

class ContainerInput final : public InputSink {
 public:
  ContainerInput(LaunchBackend& backend, ContainerPtr container, UniqueFd pipe,
                 std::set<std::string>& attached)
      : backend_(backend),
        container_(std::move(container)),
        pipe_(std::move(pipe)),
        attached_(attached) {}
  ~ContainerInput() override { attached_.erase(container_->id.to_string()); }

  // A container that does not read makes its client wait, nobody else.
  Co<Result<void>> write(std::string bytes, std::function<bool()> is_client_gone) override {
    std::string_view rest = bytes;
    while (!rest.empty()) {
      if (!pipe_) co_return Error(Errc::not_found, "the container's input is closed");
      ssize_t n = ::write(pipe_.get(), rest.data(), rest.size());
      if (n > 0) {
        rest.remove_prefix(static_cast<size_t>(n));
      } else if (errno == EAGAIN) {
        auto ready = co_await wait_fd(pipe_.get(), Readiness::write, kLookAgain);
        const bool is_just_slow = !ready && ready.error().is(Errc::timed_out) && !is_client_gone();
        if (!ready && !is_just_slow) co_return ready;
      } else if (errno != EINTR) {
        co_return Error::from_errno(errno, "write to the container's input");
      }
    }
    co_return Result<void>();
  }
  Co<Result<void>> close() override {
    // A terminal goes on, as Mesos' does: its program is told by what is typed (ctrl-d).
    if (container_->spec->process.terminal) co_return Result<void>();
    pipe_.reset();
    co_return co_await backend_.close_stdin(container_->id.hash());
  }
  Co<Result<void>> resize(uint16_t rows, uint16_t columns) override {
    if (!container_->spec->process.terminal) {
      co_return Error(Errc::invalid, "the container has no terminal");
    }
    const winsize size = {rows, columns, 0, 0};
    if (::ioctl(pipe_.get(), TIOCSWINSZ, &size) != 0) {
      co_return Error::from_errno(errno, "set the size of the container's terminal");
    }
    co_return Result<void>();
  }
  int descriptor() const override { return pipe_.get(); }

 private:
  LaunchBackend& backend_;
  ContainerPtr container_;
  UniqueFd pipe_;
  std::set<std::string>& attached_;
};
}  // namespace

Co<Result<std::unique_ptr<InputSink>>> open_container_input(LaunchBackend& backend,
                                                            ContainerPtr container,
                                                            std::set<std::string>& attached) {
  std::string id = container->id.to_string();
  if (!attached.insert(id).second) {
    co_return Error(Errc::conflict, cat("the input of container '", id, "' is attached already"));
  }
  auto pipe = co_await backend.open_stdin(container->id.hash());
  if (!pipe) {
    attached.erase(id);
    co_return Error(
        Errc::not_found,
        cat("container '", id, "' takes no input: it was launched without, or it is closed"));
  }
  // The descriptor is a duplicate: the flag is the pipe end's own, and every writer of it is us.
  ::fcntl(pipe->get(), F_SETFL,
          container->spec->process.terminal ? O_RDWR | O_NONBLOCK : O_NONBLOCK);
  co_return std::make_unique<ContainerInput>(backend, std::move(container), std::move(*pipe),
                                             attached);
}
}  // namespace gantry
