#include "checkpoint/criu_session.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "base/sys.h"

namespace gantry {
namespace {
// Where CRIU's end of the socket and what it inherits are put: above every descriptor that comes
// with a launch (kMaxPlanFds), so that no dup lands on one that is still needed.
constexpr int kSocketNumber = 400;
constexpr int kOurEndNumber = kSocketNumber + 1;
constexpr size_t kMaxAnswer = 256 << 10;
constexpr auto kExecLimit = std::chrono::seconds(10);
constexpr Duration kLookAgain = std::chrono::milliseconds(200);

Op op(OpKind kind) {
  Op out;
  out.kind = kind;
  return out;
}

void add_duplicate(LaunchPlan::Builder& plan, UniqueFd fd, int number) {
  Op duplicate = op(OpKind::kDuplicate);
  duplicate.fd = plan.fd(std::move(fd));
  duplicate.a = static_cast<uint64_t>(number);
  plan.add(Stage::begin, duplicate);
}

// A mount namespace of CRIU's own: nothing it mounts can be left behind.
// ORDER: before the caller's ops of the same stage, which mount in it.
void add_private_mounts(LaunchPlan::Builder& plan) {
  plan.add_clone_flags(CLONE_NEWNS);
  Op propagation = op(OpKind::kPropagation);
  propagation.s1 = plan.str("/");
  propagation.a = MS_REC | MS_PRIVATE;
  plan.add(Stage::begin, propagation);
}

Result<void> add_command(LaunchPlan::Builder& plan, const CriuSession::Settings& settings,
                         UniqueFd socket, CriuSession::Inherited inherited) {
  plan.add(Stage::begin, op(OpKind::kSetsid));
  if (settings.outwaits_us) {
    Op signal = op(OpKind::kParentDeathSignal);
    signal.a = SIGKILL;
    plan.add(Stage::begin, signal);
  }
  for (int number = 0; number < 3; ++number) {
    add_duplicate(plan, GANTRY_TRY(sys::open("/dev/null", O_RDWR)), number);
  }
  add_duplicate(plan, std::move(socket), kSocketNumber);
  for (size_t i = 0; i < inherited.size(); ++i) {
    add_duplicate(plan, std::move(inherited[i]),
                  CriuSession::first_inherited() + static_cast<int>(i));
  }
  // No configuration file is read: one could name scripts to run.
  plan.set_args({"criu", "--no-default-config", "swrk", std::to_string(kSocketNumber)});
  // CRIU_FAULT=130: stop tasks by tracing system calls, not by hardware breakpoints. KERNEL: in
  // virtual machines that do not deliver debug exceptions CRIU otherwise waits for ever for a stop
  // that never comes, in success and failure alike.
  plan.set_env({cat("PATH=", settings.path), "CRIU_FAULT=130"});
  Op exec = op(OpKind::kExec);
  exec.s1 = plan.str(settings.program);
  plan.add(Stage::exec, exec);
  return {};
}

Duration left(std::chrono::steady_clock::time_point deadline) {
  auto rest = deadline - std::chrono::steady_clock::now();
  return rest.count() > 0 ? rest : Duration(0);
}
}  // namespace

int CriuSession::first_inherited() { return kOurEndNumber + 1; }

CriuSession::CriuSession(LaunchBackend& backend, std::string key, UniqueFd socket,
                         ProcessRef process)
    : backend_(backend),
      key_(std::move(key)),
      socket_(std::move(socket)),
      process_(std::move(process)) {}

CriuSession::~CriuSession() { GANTRY_CHECK(is_closed_); }

Co<Result<std::unique_ptr<CriuSession>>> CriuSession::start(LaunchBackend& backend,
                                                            Settings settings,
                                                            LaunchPlan::Builder plan,
                                                            Inherited inherited) {
  // ORDER: the pair is made here, by us: CRIU opens the image directory through /proc of the
  // process that SO_PEERCRED names, the one that called socketpair().
  auto [ours, theirs] = GANTRY_CO_TRY(sys::seqpacket_pair());
  add_private_mounts(plan);
  // An end of a pair that it holds itself is never closed under it.
  if (settings.outwaits_us) {
    add_duplicate(plan, GANTRY_CO_TRY(sys::duplicate(ours.get())), kOurEndNumber);
  }
  GANTRY_CO_TRY(add_command(plan, settings, std::move(theirs), std::move(inherited)));
  LaunchPlan sealed = GANTRY_CO_TRY(std::move(plan).seal());
  LaunchedChild child =
      GANTRY_CO_TRY((co_await backend.launch(settings.key, sealed, LaunchIo())).context("criu"));
  std::unique_ptr<CriuSession> session(
      new CriuSession(backend, std::move(settings.key), std::move(ours), std::move(child.process)));
  Result<void> started = co_await wait_exec(sealed, child.report_pipe.get(), kExecLimit);
  if (!started) {
    (co_await session->close(kExecLimit)).ignore("the first error counts");
    co_return std::move(started).error().context("start ", settings.program);
  }
  co_return session;
}

Result<void> CriuSession::send(const criu::Request& request) {
  Result<void> sent = sys::send_message(socket_.get(), request.SerializeAsString(), {});
  if (sent || !sent.error().is_errno(EPIPE)) return std::move(sent).context("tell criu");
  return Error(Errc::conflict, cat("criu ended after '", last_notice_, "'"));
}

Co<Result<void>> CriuSession::wait_for_answer() {
  // KERNEL: a process that CRIU forked (its probes of the kernel) holds its end of the socket, too:
  // CRIU's death need not be an end-of-file.
  bool has_ended = false;
  for (;;) {
    Result<void> readable =
        co_await wait_fd(socket_.get(), Readiness::read, std::min(left(deadline_), kLookAgain));
    if (readable || !readable.error().is(Errc::timed_out)) co_return readable;
    if (has_ended) co_return Error(Errc::conflict, cat("criu ended after '", last_notice_, "'"));
    if (is_hopeless_ && is_hopeless_()) co_return Error(Errc::conflict, "the container ended");
    if (left(deadline_) <= Duration::zero()) co_return readable;
    has_ended = process_.ended();  // what it said before is read first
  }
}

Co<Result<criu::Answer>> CriuSession::receive() {
  GANTRY_CO_TRY((co_await wait_for_answer()).context("wait for criu after '", last_notice_, "'"));
  sys::Message message =
      GANTRY_CO_TRY(sys::receive_message(socket_.get(), kMaxAnswer).context("hear criu"));
  if (message.bytes.empty()) {
    co_return Error(Errc::conflict, cat("criu ended after '", last_notice_, "'"));
  }
  criu::Answer answer;
  if (!answer.ParseFromString(message.bytes)) {
    co_return Error(Errc::corrupt, "criu's answer does not parse");
  }
  co_return answer;
}

Co<Result<criu::Answer>> CriuSession::call(criu::Request request, OnNotice on_notice,
                                           std::chrono::steady_clock::time_point deadline) {
  std::optional<Error> refused;
  last_notice_ = "request";
  deadline_ = deadline;
  GANTRY_CO_TRY(send(request));
  for (;;) {
    criu::Answer answer = GANTRY_CO_TRY(co_await receive());
    if (answer.type() != criu::NOTIFY) {
      if (refused) co_return std::move(*refused);
      if (!answer.success()) {
        co_return Error(Errc::conflict, cat("criu gave up after '", last_notice_, "'"));
      }
      co_return answer;
    }
    last_notice_ = answer.notify().script();
    Result<void> verdict = co_await on_notice({last_notice_, answer.notify().pid()});
    if (!verdict && !refused) refused = std::move(verdict).error();
    criu::Request reply;
    reply.set_type(criu::NOTIFY);
    reply.set_notify_success(!refused);
    GANTRY_CO_TRY(send(reply));
  }
}

void CriuSession::must_end_within(Duration limit) {
  deadline_ = std::min(deadline_, std::chrono::steady_clock::now() + limit);
}

Co<Result<void>> CriuSession::close(Duration limit) {
  if (is_closed_) co_return Result<void>();
  is_closed_ = true;
  // CRIU takes a closed socket for a refusal at its next notification and undoes what it began.
  // ORDER: before it is killed; killed in the middle of a dump it leaves code of its own in tasks.
  // It may hold a duplicate of our end: closing is not enough.
  ::shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
  Result<void> left_by_itself = co_await wait_fd(process_.pidfd(), Readiness::read, limit);
  if (!left_by_itself) process_.signal(SIGKILL).ignore("it may have left meanwhile");
  Result<ExitRecord> exit = co_await backend_.wait_exit(key_);
  // What it forked and did not live to end: a probe of the kernel stands stopped for ever.
  if (!exit || exit->wait_status != 0) kill_rest_of_session(process_.pid());
  co_return co_await backend_.forget(key_);
}
}  // namespace gantry
