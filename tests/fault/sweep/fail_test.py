"""The executor's n-th system call of an operation fails, for every n: refused with a reason or done, and nothing else."""
import http.client
import os

from gantry import CallFailed, main
from operations import ALL, Leftovers, remove
from sweep import SweepTest, Tracer, Wrong, demand

# Which of a call's errors; more than one only where there is time.
CHOICE = int(os.environ.get("GANTRY_SWEEP_CHOICE", "0"))
# No memory: the executor ends, and the next one recovers.
MAY_END = ("mmap", "mprotect", "clone3")
# libnftables leaves with a status of its own when it gets no socket.
NO_NETLINK = ("socket", 3)
# The client's own connection, or how the executor looks after it.
OF_CONNECTIONS = ("accept4", "recvmsg", "recvfrom", "sendmsg", "sendto", "readv", "writev", "epoll_ctl", "setsockopt")


class Fail(SweepTest):
    def fail_at(self, n):
        self.hit = None
        executor = self.world.executor
        self.operation.before()
        tracer = Tracer(executor.process.pid, "fail", n, CHOICE)
        failure = self.try_to_run()
        self.hit, _ = tracer.end()
        executor.disconnect()  # it may have been the connection
        if executor.process.poll() is not None:
            demand((self.hit or "").startswith(MAY_END), f"the executor ended with {executor.process.returncode}")
            self.world.start()
        elif failure is not None:
            self.check_failure(failure)
        self.operation.may_stay = isinstance(failure, CallFailed)
        self.operation.after()
        self.world.check_rest(and_executor=True)
        return self.hit

    def try_to_run(self):
        try:
            self.operation.run()
        except (OSError, http.client.HTTPException, CallFailed) as failed:
            return failed
        return None

    def check_failure(self, failure):
        demand(not isinstance(failure, TimeoutError), "no answer")
        if isinstance(failure, CallFailed):
            demand(failure.text, "refused without a reason")
        else:
            demand((self.hit or "").startswith(OF_CONNECTIONS), failure)

    def fail_recovery_at(self, n):
        self.hit = None
        executor = self.world.executor
        self.operation.before()
        said_before = executor.log.stat().st_size
        self.world.start_traced("fail", n, CHOICE)
        is_serving = self.serves_or_ends()
        self.hit = self.world.hit_so_far()
        if is_serving and self.hit is not None:
            executor.disconnect()  # it may have been the connection
            self.operation.after()
            self.check_recovered(said_before)
            executor.kill()
            self.world.start(*Leftovers.crash)
            return self.hit
        if is_serving:
            executor.kill()
        else:
            code = executor.process.returncode
            demand(code == 1 or self.hit.startswith(MAY_END) or (self.hit.split()[0], code) == NO_NETLINK,
                   f"the executor ended with {code}")
        self.world.start(*Leftovers.crash)
        self.operation.after()
        self.world.check_rest()
        return self.hit

    def check_recovered(self, said_before):
        """Nothing is left, or that is said, and the next executor removes it."""
        executor = self.world.executor
        try:
            self.world.check_rest()
        except Wrong:
            if b"left behind by an earlier executor" not in executor.log.read_bytes()[said_before:]:
                raise
            executor.kill()
            self.world.start()
            self.world.check_rest()

    def serves_or_ends(self):
        executor = self.world.executor
        try:
            executor.wait_ready(10)
            return True
        except AssertionError:
            self.hit = self.world.hit_so_far()
            if executor.process.poll() is not None:
                return False
            executor.kill()
            raise Wrong("it neither serves nor ends") from None

    def test_recovery(self):
        calls = self.count_recovery(Leftovers, "fail", 0, 0)
        self.sweep(Leftovers, calls, self.fail_recovery_at, *Leftovers.crash)


for kind in ALL:
    def test(self, kind=kind):
        self.sweep(kind, self.count(kind, "fail", 0, 0), self.fail_at)
    setattr(Fail, f"test_{kind.__name__.lower()}", test)


if __name__ == "__main__":
    main()
