// The terminal of a launch: its master reaches the launcher's store before the command runs.
#include <fcntl.h>

#include "base/failpoint.h"
#include "base/sys.h"
#include "containerizer/launch.h"

namespace gantry {
// ORDER: when /dev is in place, and before the user's rights count or a filter is on.
Result<void> Launch::add_terminal() {
  set_log_place();
  auto [ours, childs] = GANTRY_TRY(sys::message_sockets());
  terminal_socket_ = std::move(ours);
  const ProcessSpec& process = c_.spec->process;
  builder_.add(Stage::readonly, {.kind = OpKind::kTerminal,
                                 .fd = builder_.fd(std::move(childs)),
                                 .a = process.rows,
                                 .b = process.columns,
                                 .c = c_.credentials.uid});
  // A nested container's first process is yet to be forked, and is the one that leads the session.
  builder_.add(c_.parent ? Stage::exec : Stage::readonly, {.kind = OpKind::kControllingTty});
  return {};
}

Co<Result<void>> Launch::take_terminal() {
  sys::Message message = GANTRY_CO_TRY(sys::receive_message(terminal_socket_.get(), 1));
  if (message.fds.size() != 1) {
    co_return Error(Errc::corrupt, "the child sent no terminal");
  }
  // All of its users poll; a program that attached could make it block for the others.
  ::fcntl(message.fds[0].get(), F_SETFL, O_RDWR | O_NONBLOCK);
  GANTRY_FAILPOINT_CO_TRY("terminal.before_store");
  terminal_ = std::move(message.fds[0]);
  if (!c_.parent) GANTRY_CO_TRY(co_await store_terminal());
  GANTRY_CO_TRY(sys::write_all(terminal_socket_.get(), "g").context("go on with the terminal"));
  terminal_socket_.reset();
  co_return Result<void>();
}

Co<Result<void>> Launch::store_terminal() {
  GANTRY_CO_TRY(co_await owner_.parts_.backend.give_terminal(c_.id.hash(), std::move(terminal_)));
  GANTRY_FAILPOINT_CO_TRY("terminal.after_store");
  co_return Result<void>();
}
}  // namespace gantry
