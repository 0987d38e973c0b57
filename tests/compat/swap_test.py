"""Soak: an earlier landed version (previous.txt, or GANTRY_PREVIOUS_BIN: its programs), then today's, then the earlier one
again and so on, over the same directories, under containers of every kind and with launches in flight: by `executor
upgrade`, by SIGKILL of the executor alone, and of executor and launcher together. Same pids, true exit codes, every byte.
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

from checkpoints import name_of, pids
from gantry import BIN, TOP, GantryTest, UnixConnection, bridge, main, own_network, wait_until
from streams import RECORDIO_INPUT, first_input, framed, stdin_data

COUNT = "trap 'exit 7' USR1; i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"
ANSWER = "echo ready; while read line; do echo got $line; done; exit 6"
COUNTERS, TERMINALS, READERS, LEAVERS = 20, 5, 5, 20
ROUNDS = int(os.environ.get("GANTRY_SWAP_ROUNDS", "1"))


def previous_programs():
    """Built once for each commit, in build/previous."""
    if given := os.environ.get("GANTRY_PREVIOUS_BIN"):
        return pathlib.Path(given).resolve()
    commit = (pathlib.Path(__file__).parent / "previous.txt").read_text().strip()
    source = TOP / "build/previous" / commit
    if not (source / "done").exists():
        source.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "-C", TOP, "archive", commit], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-C", source, "-x"], input=archive, check=True)
        subprocess.run(["cmake", "--preset", "release"], cwd=source, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", "build/release", "--target", "programs"], cwd=source, check=True,
                       stdout=subprocess.DEVNULL)
        (source / "done").touch()
    return source / "build/release/bin"


class Launches(threading.Thread):
    """One after the other until it is told: each answered one has run; any other has run or never will."""

    def __init__(self, executor, root, prefix):
        super().__init__(daemon=True)
        self.socket, self.root, self.prefix = executor.socket, root, prefix
        self.answers, self.over = {}, threading.Event()
        self.start()

    def run(self):
        for i in range(100000):
            if self.over.is_set():
                return
            connection = UnixConnection(self.socket, 30)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("POST", "/api/v1", json.dumps({
                    "type": "LAUNCH_CONTAINER", "launch_container": {
                        "container_id": {"value": f"{self.prefix}{i}"}, "gantry_spec": {
                            "args": ["/bin/sh", "-c", "echo ran; exit 5"], "rootfs": str(self.root)}}}).encode(),
                    {"Content-Type": "application/json"})
                answer = connection.getresponse()
                self.answers[f"{self.prefix}{i}"] = answer.status, answer.read().decode(errors="replace")
            connection.close()
            time.sleep(0.01)

    def finish(self):
        self.over.set()
        self.join(60)
        return self.answers


class Swap(GantryTest):
    def start(self):
        own_network()
        self.previous = previous_programs()
        self.executor.bin = self.previous
        self.executor.start("--here")

    def finish(self):
        # Today's at the end: an earlier one leaves the cgroups above containers that it does not know.
        if self.executor.process.poll() is None:
            self.executor.kill()
        self.executor.bin = BIN
        self.executor.start("--here")
        super().finish()

    def daemon(self, name):
        own = f"{self.executor.cgroup_root}/launcher\n"
        for pid in pids():
            with contextlib.suppress(OSError):
                if name_of(pid) == name and own in pathlib.Path(f"/proc/{pid}/cgroup").read_text():
                    return pid
        return 0

    # The ways from one version to the other

    def by_upgrade(self, where):
        pid = self.executor.process.pid
        done = subprocess.run([where / "gantry", "--socket", self.executor.socket, "executor", "upgrade"],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), self.executor.log_tail())
        self.assertIn(f"the executor (pid {pid}) has become {where}", done.stdout)

    def by_death(self, where):
        self.executor.bin = where
        self.executor.kill()
        self.executor.start("--here")

    def by_death_of_both(self, where):
        self.executor.process.send_signal(signal.SIGKILL)
        if launcher := self.daemon("gantry-launcher"):
            os.kill(launcher, signal.SIGKILL)
        self.executor.wait_dead()
        self.executor.bin = where
        self.executor.start("--here")

    # What runs meanwhile

    def launch_all(self):
        e, root = self.executor, self.root
        for i in range(COUNTERS):
            e.launch(f"count{i}", ["/bin/sh", "-c", COUNT], root, init=i % 4 == 0)
        for i in range(TERMINALS):
            e.launch(f"tty{i}", ["/bin/sh", "-c", f"stty -echo; {ANSWER}"], root, tty=True, open_stdin=True)
        for i in range(READERS):
            e.launch(f"reads{i}", ["/bin/sh", "-c", ANSWER], root, open_stdin=True)
        e.launch("named", ["/bin/sh", "-c", COUNT], root, name="a-name", resources={"memory_limit_bytes": 64 << 20})
        e.launch("bridged", ["/bin/httpd", "-f", "-p", "80", "-h", "/etc"], root, **bridge((18081, 80)))
        e.launch("paused", ["/bin/sh", "-c", COUNT], root)
        e.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "paused"}})
        e.exec("count0.nested", ["/bin/sh", "-c", COUNT])
        e.launch("again", ["/bin/sh", "-c", "echo run; sleep 1; exit 1"], root, restart={"policy": "ALWAYS"})

    def say(self, name, text, end=False):
        connection = UnixConnection(self.executor.socket)
        body = framed(first_input(name), stdin_data(text.encode()), *([stdin_data(b"")] if end else []))
        connection.request("POST", "/api/v1", body, RECORDIO_INPUT)
        self.assertEqual(connection.getresponse().status, 200, name)
        connection.close()

    def numbers(self, name):
        lines = self.executor.output(name).splitlines()
        self.assertEqual(lines, [str(i) for i in range(len(lines))], name)
        return len(lines)

    def living(self):
        return {c["container_id"]["value"]: c["pid"] for c in self.executor.list()
                if c["container_id"]["value"].startswith(("count", "tty", "reads", "named", "bridged", "paused"))}

    def check_living(self, living, step):
        self.assertEqual(self.living(), living)
        states = self.executor.states(nested=True)
        for name in living:
            self.assertEqual(states[name], "paused" if name == "paused" else "running", name)
        self.assertEqual(states["count0.nested"], "running")
        for name in [*(f"tty{i}" for i in range(TERMINALS)), *(f"reads{i}" for i in range(READERS))]:
            self.say(name, f"{step}\n")
        had = {name: self.numbers(name) for name in living if name.startswith("count")}
        wait_until(lambda: all(self.numbers(name) > count for name, count in had.items()))
        got = "ready\n" + "".join(f"got {i}\n" for i in range(step + 1))
        for i in range(READERS):
            wait_until(lambda i=i: self.executor.output(f"reads{i}") == got)
        for i in range(TERMINALS):
            wait_until(lambda i=i: self.executor.output(f"tty{i}") == got.replace("\n", "\r\n"))
        self.assertEqual(self.executor.run("new", ["/bin/echo", "hello"], self.root, init=True)[1], "hello\n")
        self.executor.exec("named.in", ["/bin/sh", "-c", "echo in; exit 3"])
        self.assertEqual(self.executor.wait("named.in")["exit_status"], 3 << 8)
        self.assertEqual(self.executor.output("named.in"), "in\n")
        self.executor.remove("named.in")
        with urllib.request.urlopen("http://127.0.0.1:18081/passwd", timeout=20) as served:
            self.assertIn(b"root:x:0:0", served.read())

    def check_launches(self, answers):
        for name, (status, text) in answers.items():
            if status == 409 and re.search("launcher|Broken pipe|cancel", text):
                continue  # it was told that it does not run
            self.assertEqual(status, 200, (name, text))
            self.assertEqual(self.executor.wait(name)["exit_status"], 5 << 8, name)
            self.assertEqual(self.executor.output(name), "ran\n", name)
        for name in [name for name in self.executor.states() if name.startswith("flight")]:
            answer = self.executor.wait(name)
            if answer.get("exit_status") != 5 << 8:
                self.assertIn("reason", answer, name)
                self.assertNotEqual(answers.get(name, (0,))[0], 200, (name, answer))
                self.assertEqual(self.executor.output(name), "", name)
            self.executor.remove(name)

    def test_there_and_back(self):
        steps = [(self.by_upgrade, BIN), (self.by_upgrade, self.previous), (self.by_upgrade, BIN),
                 (self.by_death, self.previous), (self.by_death, BIN),
                 (self.by_death_of_both, self.previous), (self.by_death_of_both, BIN), (self.by_upgrade, self.previous)]
        self.launch_all()
        living = self.living()
        self.assertEqual(len(living), COUNTERS + TERMINALS + READERS + 3)
        wait_until(lambda: all(self.executor.output(f"tty{i}") == "ready\r\n" for i in range(TERMINALS)))
        step = 0
        for _ in range(ROUNDS):
            for way, where in steps:
                with self.subTest(step=step, way=way.__name__, to=str(where)):
                    leavers = {f"leaver{i}": i for i in range(LEAVERS)}
                    for name, i in leavers.items():
                        self.executor.launch(name, ["/bin/sh", "-c", f"sleep {0.05 * i}; echo {i}; exit {i}"], self.root)
                    flight = Launches(self.executor, self.root, f"flight{step}-")
                    time.sleep(0.3)
                    way(where)
                    self.executor.disconnect()
                    time.sleep(0.3)
                    answers = flight.finish()
                    self.assertGreater(len(answers), 3)
                    self.check_launches(answers)
                    for name, i in leavers.items():
                        self.assertEqual(self.executor.wait(name)["exit_status"], i << 8, name)
                        self.assertEqual(self.executor.output(name), f"{i}\n", name)
                        self.executor.remove(name)
                    self.check_living(living, step)
                step += 1
        self.check_ends(living, step)

    def check_ends(self, living, step):
        e = self.executor
        e.call("GANTRY_RESUME", gantry_resume={"container_id": {"value": "paused"}})
        for name in [name for name in living if name.startswith(("count", "named", "paused"))]:
            e.signal(name, signal.SIGUSR1)
            self.assertEqual(e.wait(name)["exit_status"], 7 << 8, name)
            self.numbers(name)
        for i in range(READERS):
            self.say(f"reads{i}", "end\n", end=True)
            self.assertEqual(e.wait(f"reads{i}")["exit_status"], 6 << 8)
        for i in range(TERMINALS):
            self.say(f"tty{i}", "end\n\x04")
            self.assertEqual(e.wait(f"tty{i}")["exit_status"], 6 << 8)
        runs = e.output("again").splitlines()
        self.assertEqual(set(runs), {"run"})
        self.assertGreater(len(runs), step)
        done = subprocess.run([BIN / "gantry", "--socket", e.socket, "logs", "--timestamps", "reads0"], capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual(len(re.findall(r"^\d{4}-\S+Z (?:ready|got \S+)$", done.stdout, re.MULTILINE)), step + 2, done)


class Directories(unittest.TestCase):
    def test_an_earlier_version_reads_what_todays_left(self):
        """compat_test.py the other way round."""
        here = pathlib.Path(__file__).resolve().parent
        with tempfile.TemporaryDirectory() as golden:
            subprocess.run([sys.executable, here / "record.py", "today", BIN, "--directories-only", golden], check=True,
                           timeout=300)
            subprocess.run([sys.executable, here / "compat_test.py", "GoldenDirectories"], check=True, timeout=300,
                           env={"GANTRY_COMPAT_LOST": "TASK_LOST", **os.environ, "GANTRY_GOLDEN": golden,
                                "GANTRY_BIN": str(previous_programs())})


if __name__ == "__main__":
    main()
