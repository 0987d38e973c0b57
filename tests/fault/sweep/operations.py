"""What the sweeps do to an executor, and what must be true of it however it ended."""
import contextlib
import http.client

from gantry import CallFailed, bridge, wait_until
from sweep import demand

SCRIPT = ["/bin/sh", "-c", "echo out; exit 3"]
SLEEP = ["/bin/sleep", "1000"]
# What is not half-made. Its end is known a moment before all of it is gone.
WHOLE = ("running", "destroying", "exited")


class Operation:
    """`victim`: the container it is about."""

    flags = ["--prepared-children", "0"]
    victim = "victim"
    # Whether a launch that failed may be listed as such, because its last bit could not be removed.
    may_stay = False
    says = "out\n"

    def __init__(self, world):
        self.world = world

    @property
    def executor(self):
        return self.world.executor

    def before(self):
        """What is there when the sweep begins to count."""

    def run(self):
        """What is swept."""
        raise NotImplementedError

    def after(self):
        """With an executor that serves: what is there is true; then it goes."""
        state = self.executor.states(nested=True).get(self.victim)
        if state is not None:
            self.check(state)
            remove(self.executor, self.victim)

    def check(self, state):
        """It runs, or has ended."""
        demand(state in WHOLE, f"the victim is {state}")
        answer = self.executor.wait(self.victim)
        if self.may_stay and answer["gantry_exit"]["kind"] == "FAILED":
            return
        demand(answer.get("exit_status") == 3 << 8, answer)
        said = self.executor.output(self.victim)
        demand(said == self.says, f"output {said!r}")


def remove(executor, name):
    """Force, and twice: a fault may have hit the first time. Gone is gone."""
    for _ in range(2):
        try:
            return executor.remove(name, force=True)
        except CallFailed as failed:
            if failed.status == 404:
                return None
            error = failed
    raise error


class Launch(Operation):
    def run(self):
        self.executor.launch(self.victim, SCRIPT, self.world.root)
        self.executor.wait(self.victim)


class LaunchImage(Operation):
    """An image, a bridge network with a port, a name: a registration."""

    def run(self):
        self.executor.launch(self.victim, SCRIPT, image="busybox", name="named", **bridge((self.world.port, 80)))
        self.executor.wait(self.victim)


class LaunchPrepared(Launch):
    flags = ["--prepared-children", "2"]

    def before(self):
        # The first launch of an executor shows it what to prepare.
        if self.executor.metric("containerizer/prepared_children") == 0:
            self.executor.run("first", ["/bin/true"], self.world.root)
            wait_until(lambda: self.executor.metric("containerizer/prepared_children") > 0)


class Exec(Operation):
    victim = "keeper.nested"
    terminal = {}

    def run(self):
        self.executor.exec(self.victim, SCRIPT, **self.terminal)
        self.executor.wait(self.victim)


class ExecTerminal(Exec):
    terminal = {"tty": True}
    says = "out\r\n"


class Destroy(Operation):
    """A running one of an image on a bridge, with a command in it."""

    def before(self):
        self.executor.launch(self.victim, SLEEP, image="busybox", name="named", **bridge((self.world.port, 80)))
        self.executor.exec(f"{self.victim}.nested", SLEEP)

    def run(self):
        self.executor.remove(self.victim, force=True)

    def check(self, state):
        demand(state in WHOLE, f"the victim is {state}")
        if state == "running":
            with contextlib.suppress(CallFailed):  # it was killed
                self.executor.signal(self.victim)
        answer = self.executor.wait(self.victim)
        demand(answer.get("exit_status") == 9, answer)


class Remove(Operation):
    """One that has ended; its output may be gone before it is."""

    def before(self):
        self.executor.launch(self.victim, SCRIPT, image="busybox", name="named")
        self.executor.wait(self.victim)

    def run(self):
        self.executor.remove(self.victim)

    def check(self, state):
        answer = self.executor.wait(self.victim)
        demand(state in WHOLE and answer.get("exit_status") == 3 << 8, state, answer)


ALL = [Launch, LaunchImage, LaunchPrepared, Exec, ExecTerminal, Destroy, Remove]


class Leftovers(Operation):
    """What a recovery is about: one that ended meanwhile, one that runs with a command in it, one half-made."""

    crash = ["--failpoints", "launch.before_signal=2*off->kill"]

    def before(self):
        """By an executor with `crash`, which dies of it."""
        self.executor.launch("ended", ["/bin/sh", "-c", "sleep 0.02; exit 6"], self.world.root)
        self.executor.launch("running", SLEEP, self.world.root, name="named")
        self.executor.exec("running.nested", SLEEP)
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.executor.launch("half", SLEEP, image="busybox", **bridge((self.world.port, 80)))
        demand(self.executor.wait_dead() == -9, "the failpoint was not met")

    def after(self):
        states = self.executor.states(nested=True)
        if "half" in states:  # it could not be removed: that is tried again by the next executor
            demand("exit_status" not in self.executor.wait("half"), "the half-made one has an exit status")
            remove(self.executor, "half")
            states.pop("half")
        wanted = {"keeper": "running", "ended": "exited", "running": "running", "running.nested": "running"}
        demand(states == wanted, states)
        demand(self.executor.wait("ended").get("exit_status") == 6 << 8, self.executor.wait("ended"))
        self.executor.signal("running")
        for name in ("running.nested", "running"):
            demand(self.executor.wait(name).get("exit_status") == 9, name, self.executor.wait(name))
        for name in ("ended", "running"):
            remove(self.executor, name)
