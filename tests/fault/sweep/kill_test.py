"""The executor is killed at its n-th system call of an operation, for every n: the next one makes everything whole."""
import contextlib
import http.client

from gantry import CallFailed, main
from operations import ALL, Leftovers
from sweep import SweepTest, Tracer


class Kill(SweepTest):
    def kill_at(self, n):
        self.hit = None
        executor = self.world.executor
        self.operation.before()
        tracer = Tracer(executor.process.pid, "kill", n)
        with contextlib.suppress(OSError, http.client.HTTPException, CallFailed):
            self.operation.run()
        self.hit, _ = tracer.end()
        executor.kill()
        self.world.start()
        self.operation.after()
        self.world.check_rest()
        return self.hit

    def kill_recovery_at(self, n):
        self.hit = None
        executor = self.world.executor
        self.operation.before()
        self.world.start_traced("kill", n)
        with contextlib.suppress(AssertionError):
            executor.wait_ready()
            executor.kill()
        self.hit, _ = self.world.read_report()
        self.world.start(*Leftovers.crash)
        self.operation.after()
        self.world.check_rest()
        return self.hit

    def test_recovery(self):
        self.sweep(Leftovers, self.count_recovery(Leftovers, "count"), self.kill_recovery_at, *Leftovers.crash)


for kind in ALL:
    def test(self, kind=kind):
        self.sweep(kind, self.count(kind, "count"), self.kill_at)
    setattr(Kill, f"test_{kind.__name__.lower()}", test)


if __name__ == "__main__":
    main()
