"""A sweep: one operation again and again, cut short or made to fail at another system call of the executor's each time."""
import collections
import contextlib
import hashlib
import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from gantry import (BIN, CallFailed, Executor, busybox_root, free_port, leakcheck, patience, rootfs_tar,
                    wait_until)

TRACER = pathlib.Path(os.environ.get("GANTRY_SWEEP_TRACER", BIN.parent / "tests/sweep_tracer"))
# "all" of them, or so many of each operation, evenly spread, or "FROM-TO".
POINTS = os.environ.get("GANTRY_SWEEP_POINTS", "all")


class Wrong(AssertionError):
    """Something that must hold did not."""


def demand(is_true, *what):
    if not is_true:
        raise Wrong(*what)


class Tracer:
    """sweep_tracer at work on a process; `action` is its ACTION."""

    def __init__(self, pid, *action):
        self.process = subprocess.Popen([TRACER, "/dev/stdout", "attach", str(pid), *map(str, action)],
                                        stdout=subprocess.PIPE, text=True)
        demand(self.process.stdout.readline() == "attached\n", "the tracer is not attached")

    def end(self):
        """(what was hit or None, the calls counted)"""
        self.process.send_signal(signal.SIGTERM)
        return read_report(self.process.communicate()[0])


def read_report(text):
    lines = text.splitlines()
    hits = [line[4:] for line in lines if line.startswith("hit ")]
    counts = [int(line.split()[1]) for line in lines if line.startswith("counted ")]
    return (hits or [None])[0], (counts or [0])[0]


class Impatient(Executor):
    """Its calls fail when they are not answered: what hangs is found."""

    def post(self, *arguments, timeout=20, **more):
        return super().post(*arguments, timeout=patience(timeout), **more)


class World:
    """An executor with a container that runs all the time, the keeper, and what is there while nothing else is."""

    def __init__(self, flags):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="gantry-test-"))
        self.root = busybox_root(self.top / "root")
        self.executor = Impatient(self.top)
        self.flags = flags
        self.start()
        self.executor.import_tar(rootfs_tar(self.root), "busybox")
        self.executor.launch("keeper", ["/bin/sh", "-c", "while :; do sleep 1000; done"], self.root)
        self.port = free_port()
        self.report = self.top / "report"
        self.keeper = self.executor.inspect("keeper")["container"]["pid"]
        self.at_rest = None

    def start(self, *extra):
        self.executor.start(*self.flags, *extra)

    def start_traced(self, *action):
        """Under sweep_tracer from the first call about a path of ours on; `report` is where it says what it did."""
        executor = self.executor
        self.report.unlink(missing_ok=True)
        with open(executor.log, "ab") as log:
            executor.process = subprocess.Popen(
                [TRACER, self.report, "run", self.top, *map(str, action), executor.bin / "gantry-executor",
                 *executor.flags(), *self.flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def hit_so_far(self):
        return read_report(self.report.read_text())[0]

    def read_report(self):
        """When the executor has ended: (what was hit or None, the calls counted)."""
        wait_until(lambda: "counted " in self.report.read_text())
        return read_report(self.report.read_text())

    def close(self):
        """What is left in the end."""
        try:
            self.executor.close()
            return self.executor.check_leaks()
        finally:
            if self.executor.process.poll() is None:
                self.executor.kill()
            shutil.rmtree(self.top, ignore_errors=True)

    def learn_rest(self):
        """As soon as all is prepared for the next launch, and nothing changes any more."""
        wanted = int(self.flags[self.flags.index("--prepared-children") + 1])
        wait_until(lambda: self.executor.metric("containerizer/prepared_children") == wanted)
        while self.at_rest != (now := self.things()):
            self.at_rest = now
            time.sleep(0.2)

    def check_rest(self, and_executor=False):
        """The keeper runs, and nothing else is there."""
        container = self.executor.inspect("keeper")["container"]
        demand((container["state"], container["pid"]) == ("running", self.keeper), "the keeper", container)
        left = {}

        def is_at_rest():
            now = self.things()
            left.clear()
            left.update({kind: (self.at_rest[kind], now[kind]) for kind in now if now[kind] != self.at_rest[kind]})
            mine = left.pop("executor's descriptors", None)
            if and_executor and mine and mine[1] - mine[0]:
                left["executor's descriptors"] = mine[1] - mine[0]
            return not left

        try:
            wait_until(is_at_rest, 5)
        except AssertionError as late:
            raise Wrong(f"left behind, (at rest, now): {left}") from late

    # The cheap part of tools/leakcheck.
    def things(self):
        run, data = self.executor.runtime, self.executor.data
        found = {str(folder): [name for name in names_in(folder) if not is_spare(name)] for folder in (
            run, run / "containers", data / "sandboxes", data / "roots", data / "work", data / "volumes",
            data / "registrations/containers")}
        for mount in leakcheck().cgroup_mounts():
            folder = f"{mount}{self.executor.cgroup_root}/containers"
            found[folder] = [name for name in names_in(folder)
                             if os.path.isdir(f"{folder}/{name}") and not is_spare(name)]
        found["links"] = self.links()
        launcher = self.executor.launcher_pid()
        found["kept by the launcher"] = kept(launcher)
        for child in children(launcher):
            if name_of(child) == "gantry-logger":
                found["kept by the logger"] = kept(child)
        found["launcher's children"] = len([c for c in children(launcher) if name_of(c) != "gantry-prepared"])
        found["executor's descriptors"] = collections.Counter(
            target.partition("[")[0] for target in targets(self.executor.process.pid)
            if not is_spare(target.rpartition("/containers/")[2]))
        return found

    # network/: the bridge stays with the executor.
    def links(self):
        alias = f"gantry:{hashlib.sha256(str(self.executor.runtime).encode()).hexdigest()[:6]}:"
        return [name for name in names_in("/sys/class/net")
                if name.startswith("gt-") and leakcheck().read(f"/sys/class/net/{name}/ifalias").startswith(alias)]


def names_in(folder):
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(folder))
    return []


def is_spare(name):
    """Of a cgroup or directory: made for launches to come, or kept for them."""
    return name.startswith(("pool.", "prepared.", "spare."))


def targets(pid):
    """Of its descriptors."""
    return [leakcheck().link_of(f"/proc/{pid}/fd/{fd}") for fd in names_in(f"/proc/{pid}/fd")]


def kept(pid):
    """How many descriptors but sockets: those come and go with executors."""
    return len([target for target in targets(pid) if not target.startswith("socket:")])


def children(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def name_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def spread(calls, points=POINTS):
    """The points of a sweep over so many calls."""
    if points == "all":
        return range(1, calls + 1)
    first, dash, last = points.partition("-")
    if dash:
        return range(int(first), int(last) + 1)
    stride = max(1, calls // int(points))
    return range(1 + stride // 2, calls + 1, stride)


class SweepTest(unittest.TestCase):
    """Walks through an operation's points in a world; what was wrong at one does not keep it from the others."""

    maxDiff = None
    world = None
    operation = None
    hit = None  # at the point that is being looked at

    def tearDown(self):
        if self.world is not None:
            self.world.close()

    def begin(self, kind, *extra):
        """A new world for the operation."""
        if self.world is not None:
            self.world.close()
        self.world = World(kind.flags)
        self.operation = kind(self.world)
        if extra:
            self.world.executor.kill()
            self.world.start(*extra)
        else:
            self.operation.before()
            self.operation.run()
            self.operation.after()
        self.world.learn_rest()

    def count(self, kind, *action):
        """How many calls it makes that `action` of the tracer counts."""
        self.begin(kind)
        self.operation.before()
        tracer = Tracer(self.world.executor.process.pid, *action)
        self.operation.run()
        _, calls = tracer.end()
        self.operation.after()
        return calls

    def count_recovery(self, kind, *action):
        self.begin(kind, *kind.crash)
        self.operation.before()
        self.world.start_traced(*action)
        self.world.executor.wait_ready()
        self.world.executor.kill()
        _, calls = self.world.read_report()
        self.world.start()
        return calls

    def sweep(self, kind, calls, at_point, *extra):
        """at_point(n) answers what was hit; beyond the last of them nothing is."""
        self.begin(kind, *extra)
        wrong, hits, met = [], 0, collections.Counter()
        for n in spread(calls):
            try:
                hit = at_point(n)
                hits += hit is not None
                met[(hit or "nothing").split()[0]] += 1
            except (AssertionError, CallFailed, OSError, http.client.HTTPException) as failed:
                wrong.append(n)
                print(f"{kind.__name__} at {n} of {calls}, {self.hit}: {type(failed).__name__}: {failed}\n"
                      f"{self.world.executor.log_tail()[-1500:]}\n", flush=True)
                self.begin(kind, *extra)
        print(f"{kind.__name__}: {calls} calls, {hits} hit; {dict(met.most_common(8))}; wrong at {wrong}", flush=True)
        leaks = self.world.close()
        self.world = None
        self.assertEqual((wrong, leaks), ([], []))
