"""Executor, launcher and logger become another build in place, under running containers, and back again."""
import contextlib
import http.client
import os
import pathlib
import signal
import subprocess
import threading
import time

from gantry import BIN, CallFailed, GantryTest, UnixConnection, another_build, main, wait_until

CONTAINERS = 100


def program_of(pid):
    return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")


class Knocker(threading.Thread):
    """A client that connects again and again: it may be disconnected, it is never refused."""

    def __init__(self, socket):
        super().__init__(daemon=True)
        self.socket, self.over = socket, threading.Event()
        self.answered, self.cut, self.refused, self.longest = 0, 0, 0, 0.0
        self.start()

    def run(self):
        answered = time.monotonic()
        while not self.over.is_set():
            connection = UnixConnection(self.socket, 20)
            try:
                connection.connect()
            except OSError:
                self.refused += 1
                continue
            try:
                connection.request("POST", "/api/v1", '{"type":"GET_HEALTH"}', {"Content-Type": "application/json"})
                self.answered += connection.getresponse().status == 200
                self.longest = max(self.longest, time.monotonic() - answered)
                answered = time.monotonic()
            except (OSError, http.client.HTTPException):
                self.cut += 1
            finally:
                connection.close()

    def finish(self):
        self.over.set()
        self.join(30)
        return self


class Upgrade(GantryTest):
    def setUp(self):
        super().setUp()
        self.other = another_build(self.top / "other", "another")

    def upgrade(self, where):
        """By the command line, as an operator does after an installation; what it said."""
        done = subprocess.run([where / "gantry", "--socket", self.executor.socket, "executor", "upgrade"],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), self.executor.log_tail())
        self.executor.disconnect()
        return done.stdout

    def launcher(self):
        """By the runtime directory it was started with; what it cloned and is not yet a container looks like it."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                if words[:1] == [b"gantry-launcher"] and str(self.executor.runtime).encode() in words:
                    found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        self.assertEqual(len(set(found) - {child for child, parent in found.items() if parent in found}), 1, found)
        return next(pid for pid, parent in found.items() if parent not in found)

    def test_under_a_hundred_containers_there_and_back(self):
        for i in range(CONTAINERS):
            self.executor.launch(f"c{i}", ["/bin/sh", "-c", "trap 'exit 7' USR1; echo up; while :; do sleep 0.2; done"],
                                 self.root)
        pids = {c["container_id"]["value"]: c["pid"] for c in self.executor.list()}
        executor, launcher = self.executor.process.pid, self.launcher()
        knocker = Knocker(self.executor.socket)
        for where in (self.other, BIN, self.other):
            self.assertIn(f"the executor (pid {executor}) has become {where}", self.upgrade(where))
            self.assertEqual(program_of(executor), str(where / "gantry-executor"))
            self.assertEqual(self.launcher(), launcher)
            self.assertEqual({c["container_id"]["value"]: c["pid"] for c in self.executor.list()}, pids)
            self.assertEqual(set(self.executor.states().values()), {"running"})
            self.assertEqual(self.executor.run("new", ["/bin/echo", "hello"], self.root)[1], "hello\n")
        knocker.finish()
        print({"answered": knocker.answered, "cut": knocker.cut, "refused": knocker.refused,
               "longest without an answer, seconds": round(knocker.longest, 3)}, flush=True)
        self.assertEqual(knocker.refused, 0)
        self.assertGreater(knocker.answered, 0)
        for name in pids:
            self.executor.signal(name, signal.SIGUSR1)
        for name in pids:
            self.assertEqual(self.executor.wait(name)["exit_status"], 7 << 8)
            self.assertEqual(self.executor.output(name), "up\n")

    def test_a_launch_in_flight_ends_one_way_or_the_other(self):
        answers = {}

        def launch_all():
            for i in range(60):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    connection = UnixConnection(self.executor.socket, 20)
                    connection.request("POST", "/api/v1", (
                        '{"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"f%d"},"gantry_spec":'
                        '{"args":["/bin/sh","-c","echo ran; exit 5"],"rootfs":"%s"}}}' % (i, self.root)),
                        {"Content-Type": "application/json"})
                    answers[f"f{i}"] = connection.getresponse().status
                    connection.close()

        launches = threading.Thread(target=launch_all)
        launches.start()
        for where in (self.other, BIN):
            self.upgrade(where)
        launches.join(60)
        self.executor.disconnect()
        self.assertGreater(len(answers), 10)
        states = self.executor.states()
        for name, status in answers.items():
            self.assertEqual(status, 200, name)
            self.assertIn(name, states)
        for name in states:
            answer = self.executor.wait(name)
            if "reason" in answer:  # never answered, and never run
                self.assertNotIn(name, answers)
                self.assertEqual(self.executor.output(name), "")
            else:
                self.assertEqual((answer["exit_status"], self.executor.output(name)), (5 << 8, "ran\n"))

    def test_a_program_that_does_not_accept_the_configuration_is_refused(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        text = self.top / "no-program"
        text.write_text("just text\n")
        text.chmod(0o755)
        picky = self.top / "picky"
        picky.write_text("#!/bin/sh\necho 'no: '\"$1\" >&2; exit 1\n")
        picky.chmod(0o755)
        choosy = self.top / "choosy"
        choosy.write_text("#!/bin/sh\n[ $1 = --version ] && echo gantry-executor 9 && exit\necho 'no: '\"$1\" >&2; exit 1\n")
        choosy.chmod(0o755)
        for program, words in ((text, "no-program"), (picky, "no gantry-executor"), (choosy, "no: --runtime-dir"),
                               (self.top / "nowhere", "nowhere"),
                               ("gantry-executor", "absolute path")):
            with self.subTest(program=program), self.assertRaises(CallFailed) as refused:
                self.executor.call("GANTRY_UPGRADE", gantry_upgrade={"program": str(program)})
            self.assertIn(words, str(refused.exception))
        self.assertEqual(self.executor.states(), {"c": "running"})

    def test_a_signal_after_an_upgrade_ends_it_as_before(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        self.upgrade(self.other)
        self.executor.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.executor.wait_dead(), 0)
        self.assertFalse(self.executor.socket.exists())
        self.executor.start()
        wait_until(lambda: self.executor.states() == {"c": "running"})


if __name__ == "__main__":
    main()
