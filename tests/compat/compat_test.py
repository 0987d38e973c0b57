"""Today's programs over what earlier versions left (golden/, made by record.py): all of it is read; what ended has ended as
it did, what ran is lost with the reason, what has a policy runs again, and everything can be used and removed.
"""
import contextlib
import fcntl
import fnmatch
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tarfile
import unittest

from framework import Framework
from gantry import BIN, TOP, Executor, busybox_root, leakcheck, main, wait_until

# What a task is whose record outlived its kernel objects; 6ed44fe and before said TASK_LOST.
GONE = os.environ.get("GANTRY_COMPAT_LOST", "TASK_GONE")
GOLDEN = pathlib.Path(os.environ.get("GANTRY_GOLDEN", pathlib.Path(__file__).resolve().parent / "golden"))
# Where every golden version was made: its records say so.
PLACE = pathlib.Path("/tmp/gantry-golden")
LOST = "the host was restarted while it ran"
# Of record.py: how each container had ended, or that it ran.
ENDED = {"ended": 3 << 8, "killed": 9, "greeter": 7 << 8, "oom": 9, "again": 1 << 8, "stopped": 9, "dumped": 9,
         "lives.done": 5 << 8}
RAN = {"kept", "always", "lives", "lives.runs", "paused", "bridged"}
OUTPUT = {"ended": "out\n", "greeter": "from the image\n", "again": "run\n" * 3, "kept": "up\n", "dumped": "before\n",
          "lives.done": "nested\n"}
# Those with a name or a policy: all that is known after a reboot, which takes the runtime directory.
REGISTERED = {"greeter", "again", "kept", "always", "stopped"}

# What lies where in a golden archive.
CONTAINER, TASK = "api/records/container_record.proto", "api/records/task_record.proto"
RECORDS = (("run/containers/*/record", CONTAINER, "gantry.records.Container"),
           ("data/registrations/containers/*", CONTAINER, "gantry.records.Container"),
           ("data/registrations/tasks/*", TASK, "gantry.records.Task"),
           ("data/registrations/frameworks/*", TASK, "gantry.records.Framework"),
           ("data/checkpoints/*/record", "api/criu/checkpoint.proto", "gantry.criu.Checkpoint"))
# Fields that hold a message in bytes: number, name, where it is defined, what it is.
INNER = {"gantry.records.Container": {4: ("request", "api/proto/agent.proto", "gantry.wire.agent.Call.LaunchContainer")},
         "gantry.records.Task": {4: ("task_info", "api/proto/common.proto", "gantry.wire.TaskInfo")},
         "gantry.records.Framework": {2: ("framework_info", "api/proto/common.proto", "gantry.wire.FrameworkInfo")}}


def versions():
    return sorted(path.name for path in GOLDEN.iterdir())


class GoldenDirectories(unittest.TestCase):
    """One executor at a time over a copy of what a version left."""

    def setUp(self):
        """The place is the machine's; whoever was killed there is no more."""
        lock = self.enterContext(open(f"{PLACE}.lock", "w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.clear()
        self.addCleanup(pathlib.Path(lock.name).unlink, missing_ok=True)
        self.addCleanup(self.clear)

    @staticmethod
    def clear():
        subprocess.run(["umount", "-l", PLACE / "run"], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(PLACE, ignore_errors=True)

    @contextlib.contextmanager
    def executor_over(self, version, *parts):
        """In the end everything is removed, as if it were today's own."""
        with self.subTest(version=version):
            self.clear()
            (PLACE / "run").mkdir(parents=True)
            # As the executor would, which then takes what is in it for its own.
            subprocess.run(["mount", "-t", "tmpfs", "gantry", PLACE / "run"], check=True)
            subprocess.run(["tar", "-C", PLACE, "--numeric-owner", "--xattrs", "-xJf",
                            GOLDEN / version / "directories.tar.xz", *parts], check=True)
            busybox_root(PLACE / "root")
            self.executor = Executor(PLACE)
            try:
                self.executor.start()
                self.check_nothing_is_damaged()
                yield
            finally:
                leaks = self.executor.close()
            self.assertEqual(leaks, [], self.executor.log_tail())
            self.assertEqual([str(path) for folder in ("sandboxes", "roots", "work", "registrations/containers",
                                                       "registrations/tasks", "checkpoints")
                              for path in (PLACE / "data" / folder).glob("*")], [])

    def gantry(self, *words, status=0):
        done = subprocess.run([BIN / "gantry", "--socket", self.executor.socket, *words], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, status, (words, done.stderr))
        return done.stdout or done.stderr

    def check_nothing_is_damaged(self):
        self.assertNotIn("set aside", self.executor.log_tail())
        self.assertEqual([str(path) for path in PLACE.rglob("*damaged*")], [])

    def check_ended(self, names):
        for name in names:
            answer = self.executor.wait(name)
            if name in ENDED:
                self.assertEqual(answer["exit_status"], ENDED[name], name)
            else:
                self.assertEqual(answer["gantry_exit"]["reason"], LOST, name)
            self.assertEqual(self.executor.output(name), OUTPUT.get(name, ""), name)

    def check_always_runs_again(self):
        wait_until(lambda: self.executor.output("always") == "run 1\nrun 2\n")
        self.assertEqual(self.executor.states()["always"], "running")
        self.executor.signal("always")

    def check_image(self):
        self.assertIn("golden", self.gantry("images"))
        answer, out, _ = self.executor.run("new", ["/bin/hello"], image="golden")
        self.assertEqual((answer["exit_status"], out), (7 << 8, "from the image\n"))

    def check_tasks(self, gone="TASK_GONE"):
        """The framework is known, and gets what it had not acknowledged, to each task's end."""
        (record,) = (PLACE / "data/registrations/frameworks").iterdir()
        known = leakcheck().fields_of(record.read_bytes()[16:])[1].decode()
        framework = Framework(self.executor, {"id": {"value": known}, "name": "golden"}).subscribe()
        self.assertEqual(framework.id, known)
        framework.state("runs", gone)
        self.assertEqual(framework.state("fails", "TASK_FAILED")["message"], "Command exited with status 4")
        for task in ("runs", "fails"):
            self.assertEqual(framework.states(task)[:2], ["TASK_STARTING", "TASK_RUNNING"])
        wait_until(lambda: not os.listdir(PLACE / "data/registrations/tasks"))
        framework.call("TEARDOWN")

    def check_command_line(self):
        listed = self.gantry("ps", "-a")
        for words in ("exited (3)", "db", "from-image", "exited (lost)"):
            self.assertIn(words, listed)
        self.assertIn("18080", self.gantry("ps", "-a", "--json"))  # whom nothing listens for has no port in the table
        self.assertEqual(json.loads(self.gantry("inspect", "from-image"))[0]["container"]["name"], "from-image")
        self.assertRegex(self.gantry("logs", "--timestamps", "again"), r"^(\d{4}-\d\d-\d\dT[\d:.]+Z run\n){3}$")
        self.assertIn("golden", self.gantry("restore", "--from", "no-such", "dumped", status=1))
        self.gantry("rm", "db", "ended")
        self.assertFalse({"kept", "ended"} & set(self.executor.states()))

    def test_all_is_known_where_the_records_outlived_their_kernel(self):
        for version in versions():
            with self.executor_over(version):
                states = self.executor.states(nested=True)
                self.assertEqual(len(set(states) - set(ENDED) - RAN), 2, states)  # the tasks'
                self.check_always_runs_again()
                self.check_ended({*ENDED, *RAN} - {"always"})
                self.assertEqual({name for name, state in states.items() if state != "exited"} - {"always"}, set())
                self.assertEqual(self.executor.wait("oom")["reason"], "REASON_CONTAINER_LIMITATION_MEMORY")
                self.check_command_line()
                self.check_image()
                self.check_tasks(GONE)

    def test_what_is_registered_is_known_after_a_reboot(self):
        for version in versions():
            with self.executor_over(version, "data"):
                self.assertEqual(set(self.executor.states()), REGISTERED)
                self.check_always_runs_again()
                wait_until(lambda: self.executor.states()["stopped"] == "running")
                self.check_ended(REGISTERED - {"always", "stopped"})
                self.check_image()
                self.check_tasks()


class GoldenRecords(unittest.TestCase):
    """Every field of every record means what it meant. A difference is a field that got another number, type or name:
    give a new one a new number. (What is new is absent in old records, and no difference.)"""

    def test_each_says_what_it_said(self):
        for version in versions():
            with self.subTest(version=version):
                said = "".join(f"== {name}\n{text}" for name, text in self.texts(version))
                expected = GOLDEN / version / "records.txt"
                if os.environ.get("GANTRY_COMPAT_WRITE"):
                    expected.write_text(said)
                self.assertEqual(said, expected.read_text())

    def texts(self, version):
        with tarfile.open(GOLDEN / version / "directories.tar.xz") as archive:
            for member in sorted(archive.getmembers(), key=lambda member: member.name):
                for folder, proto, message in RECORDS:
                    if member.isfile() and fnmatch.fnmatch(member.name, folder):
                        yield member.name, self.text_of(archive.extractfile(member).read(), proto, message)

    def text_of(self, frame, proto, message):
        magic, version, size, _ = struct.unpack_from("<4sIII", frame)
        self.assertEqual((magic, version, size), (b"GNTR", 1, len(frame) - 16))
        payload = frame[16:]
        text = self.decoded(payload, proto, message)
        for number, (name, inner_proto, inner_message) in INNER.get(message, {}).items():
            inner = leakcheck().fields_of(payload).get(number)
            if inner is not None:
                text = re.sub(rf"^{name}: .*\n", f"{name} {{\n" + "".join(
                    f"  {line}\n" for line in self.decoded(inner, inner_proto, inner_message).splitlines()) + "}\n", text,
                    flags=re.MULTILINE)
        return text

    @staticmethod
    def decoded(payload, proto, message):
        return subprocess.run(["protoc", f"-I{TOP}", f"--decode={message}", proto], input=payload, cwd=TOP, check=True,
                              capture_output=True).stdout.decode()


if __name__ == "__main__":
    main()
