"""Executor, logger and launcher are killed under containers that come and go: every exit code and byte is accounted for.

GANTRY_CHAOS_SECONDS, GANTRY_CHAOS_SEED: for how long, and which of the random kills.
"""
import collections
import contextlib
import http.client
import os
import pathlib
import random
import signal
import threading
import time

from gantry import CallFailed, Executor, GantryTest, leakcheck, main, patience, wait_until

SECONDS = float(os.environ.get("GANTRY_CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("GANTRY_CHAOS_SEED") or random.randrange(1 << 32))
SLOTS = 32
# What is killed at a time, and how often of so many times. Launcher and logger hold what the other must get again: not
# both at once.
KILLS = [(("executor",), 5), (("logger",), 3), (("launcher",), 2), (("executor", "launcher"), 2),
         (("executor", "logger"), 1)]
# From a launcher's death to its successor's watch.
TAKE_OVER_SECONDS = 3
UNREACHABLE = (OSError, http.client.HTTPException)


class Job:
    """One container: so many numbered lines to both streams, then an end of its own or by a signal."""

    def __init__(self, name, dice):
        self.name = name
        self.lines = dice.choice((1, 10, 200, 2000))
        self.status = dice.choice((0, 1, 3, 77, 255)) << 8
        self.signal = dice.choice((0, 0, 0, signal.SIGKILL))
        self.pause = dice.choice(("", "", "sleep 0.3; "))
        if self.signal:
            self.status = int(self.signal)
        self.begun = time.monotonic()

    def argv(self):
        end = "exec sleep 1000" if self.signal else f"exit {self.status >> 8}"
        # What a signal waits for comes last.
        count = f"i=0; while [ $i -lt {self.lines} ]; do echo $i >&2; echo {self.name} $i; i=$((i+1)); done"
        return ["/bin/sh", "-c", f"{count}; {self.pause}{end}"]

    def output(self):
        return "".join(f"{self.name} {i}\n" for i in range(self.lines))

    def errors(self):
        return "".join(f"{i}\n" for i in range(self.lines))


class Slot(threading.Thread):
    """Runs one job after the other with a connection of its own."""

    def __init__(self, chaos, number, dice):
        super().__init__()
        self.chaos, self.number, self.dice = chaos, number, dice
        self.client = Executor(chaos.executor.top)
        self.failure = None

    def run(self):
        count = 0
        try:
            while not self.chaos.is_over.is_set():
                self.do(Job(f"s{self.number}-{count}", self.dice))
                count += 1
        except BaseException as failed:  # pylint: disable=broad-exception-caught
            self.failure = failed
            self.chaos.is_over.set()
        finally:
            self.client.disconnect()

    def again(self, call, *arguments):
        """Until somebody answers."""
        deadline = time.monotonic() + patience(60)
        while True:
            try:
                return call(*arguments)
            except UNREACHABLE:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def do(self, job):
        answer = self.run_job(job)
        while answer is None:
            self.chaos.count("launches undone")
            answer = self.run_job(job)
        if "exit_status" not in answer:
            self.chaos.note_lost(job, answer)
        elif answer["exit_status"] != job.status:
            raise AssertionError(f"{job.name} ended with {answer}, not {job.status}; "
                                 f"{self.chaos.killed_since(job.begun)}")
        else:
            self.check_output(job)
        self.remove(job)

    def run_job(self, job):
        """How it ended; None when it was undone, which must have been between two executors."""
        self.start_job(job)
        try:
            if job.signal:
                self.end_by_signal(job)
            return self.again(self.client.wait, job.name)
        except CallFailed as failed:
            if failed.status == 404 and self.chaos.died_together(job):
                return None
            raise

    def start_job(self, job):
        """What was answered with an error has left nothing, and is tried again."""
        while True:
            try:
                return self.again(lambda: self.client.launch(job.name, job.argv(), self.chaos.root))
            except CallFailed as refused:
                self.chaos.count(f"launches refused: {refused.text.rpartition(': ')[2]}")
                wait_until(lambda: not self.is_known(job), 30)
                time.sleep(0.02)

    def is_known(self, job):
        return job.name in self.again(self.client.states)

    def end_by_signal(self, job):
        file = self.client.data / "sandboxes" / job.name / "stdout"

        def said():
            return file.read_text() if file.exists() else ""

        try:
            wait_until(lambda: self.is_over(job) or said() == job.output(), 60)
        except AssertionError as late:
            raise AssertionError(f"{job.name} has said ...{said()[-80:]!r}; "
                                 f"{self.chaos.killed_since(job.begun)}") from late
        with contextlib.suppress(CallFailed):  # it has ended
            self.again(self.client.signal, job.name, job.signal)

    def is_over(self, job):
        return self.again(self.client.states).get(job.name) not in ("running", "launching")

    def check_output(self, job):
        for stream, wanted in (("stdout", job.output()), ("stderr", job.errors())):
            said = self.again(self.client.output, job.name, stream)
            if said != wanted:
                time.sleep(2)
                then = self.again(self.client.output, job.name, stream)
                raise AssertionError(f"{job.name} {stream}: {len(said)} bytes of {len(wanted)} when its end was told, "
                                     f"{len(then)} later; {self.chaos.killed_since(job.begun)}")
            self.chaos.count("bytes of output", len(said))
        self.chaos.count("true exit codes")

    def remove(self, job):
        def gone():
            try:
                self.client.remove(job.name)
            except CallFailed as failed:
                if failed.status != 404:
                    raise
        self.again(gone)


class Chaos(GantryTest):
    def setUp(self):
        super().setUp()
        self.is_over = threading.Event()
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.kills = []  # (when, what)
        self.dice = random.Random(SEED)
        print(f"GANTRY_CHAOS_SEED={SEED}", flush=True)

    def count(self, what, by=1):
        with self.lock:
            self.counts[what] += by

    def killed_since(self, begun):
        return [(round(when - begun, 2), what) for when, what in self.kills if when > begun - TAKE_OVER_SECONDS]

    def note_lost(self, job, answer):
        """Only a launcher that dies, and an executor that dies before the next one watches, make anything unknown."""
        self.count("lost")
        if not self.died_together(job):
            raise AssertionError(f"{job.name}: {answer}; {self.killed_since(job.begun)}")

    def died_together(self, job):
        """Whether, in its time, launcher and executor both did."""
        kills = self.killed_since(job.begun)
        launchers = [when for when, what in kills if what == "launcher"]
        executors = [when for when, what in kills if what == "executor"]
        return any(abs(a - b) < patience(TAKE_OVER_SECONDS) for a in launchers for b in executors)

    # Who is who

    def loggers(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                proc = pathlib.Path("/proc") / pid
                if ((proc / "comm").read_text() == "gantry-logger\n"
                        and f"{self.executor.cgroup_root}/launcher" in (proc / "cgroup").read_text()):
                    found.append(int(pid))
        return found

    def is_whole(self):
        """Launcher and logger have the same pipes, so that either can get them from the other; the logger one more."""
        loggers = self.loggers()
        launchers = self.pipes(self.executor.launcher_pid())
        return launchers != set() and len(loggers) == 1 and len(self.pipes(loggers[0]) ^ launchers) == 1

    def wait_whole(self):
        try:
            wait_until(lambda: self.is_over.is_set() or self.is_whole(), 30)
        except AssertionError as late:
            launcher, loggers = self.pipes(self.executor.launcher_pid()), [self.pipes(pid) for pid in self.loggers()]
            begun = self.kills[0][0] if self.kills else 0
            raise AssertionError(f"launcher has {launcher}, loggers {loggers}; {self.executor.states()}; killed: "
                                 f"{[(round(when - begun, 2), what) for when, what in self.kills[-8:]]}") from late

    @staticmethod
    def pipes(pid):
        numbers = (fd for fd in leakcheck().listdir(f"/proc/{pid}/fd") if int(fd) > 2)
        targets = (leakcheck().link_of(f"/proc/{pid}/fd/{fd}") for fd in numbers)
        return {target for target in targets if target.startswith("pipe:")}

    # The kills

    def kill(self, what):
        if what == "executor":
            self.executor.process.kill()
            self.executor.process.wait()
        else:
            for pid in [self.executor.launcher_pid()] if what == "launcher" else self.loggers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.kills.append((time.monotonic(), what))

    def rage(self):
        end = time.monotonic() + SECONDS
        weights = [weight for _, weight in KILLS]
        while time.monotonic() < end and not self.is_over.is_set():
            time.sleep(self.dice.uniform(0.05, 0.6))
            victims = self.dice.choices([victims for victims, _ in KILLS], weights)[0]
            if set(victims) & {"launcher", "logger"}:
                self.wait_whole()
            if self.is_over.is_set():
                break
            for victim in victims:
                self.kill(victim)
            if "executor" in victims:
                time.sleep(self.dice.uniform(0, 0.4))
                self.executor.start()

    def test_every_exit_code_and_every_byte_is_accounted_for(self):
        slots = [Slot(self, number, random.Random(SEED + number)) for number in range(SLOTS)]
        for slot in slots:
            slot.start()
        try:
            self.rage()
        finally:
            self.is_over.set()
            for slot in slots:
                slot.join()
        self.print_table()
        for slot in slots:
            if slot.failure is not None:
                raise slot.failure
        self.assertEqual(self.executor.list(), [])

    def print_table(self):
        begun = self.kills[0][0] if self.kills else 0
        print(f"{'killed':<10} times  first to last")
        for what in ("executor", "logger", "launcher"):
            times = [when - begun for when, killed in self.kills if killed == what]
            if times:
                print(f"{what:<10} {len(times):>5}  {times[0]:.1f} s to {times[-1]:.1f} s")
        for what, number in self.counts.most_common():
            print(f"{number:>12} {what}", flush=True)


if __name__ == "__main__":
    main()
