"""What containers leave that is hard to remove: very many and very deep files, files that nobody can remove, cgroups made
inside, frozen and stopped processes. It is bounded, tried again, reported, and delays nobody else."""
import errno
import os
import pathlib
import signal
import time

import limits
from gantry import CallFailed, GantryTest, UnixConnection, bridge, free_port, main, many, patience, wait_until

# As soak: a million files, ten thousand directories deep.
SCALE = int(os.environ.get("GANTRY_SCALE", "1"))


class Sandboxes(GantryTest):
    @classmethod
    def setUpClass(cls):
        limits.own_mounts()

    def ended(self, name):
        self.executor.launch(name, ["/bin/true"], self.root)
        self.executor.wait(name)
        return self.executor.data / "sandboxes" / name

    def worker_memory(self):
        """The most that a worker has taken so far, in MiB."""
        most = 0
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            if "Name:\tgantry-worker\n" in text and "VmHWM:" in text:
                most = max(most, int(text.split("VmHWM:")[1].split()[0]) >> 10)
        return most

    def test_many_files_and_deep_ones(self):
        sandbox = self.ended("c")
        for number in range(many(4000) * SCALE):
            os.close(os.open(sandbox / f"file.{number}", os.O_CREAT | os.O_WRONLY))
        here = os.open(sandbox, os.O_RDONLY)
        for _ in range(min(10000, many(2500) * SCALE)):
            os.mkdir("deep", dir_fd=here)
            below = os.open("deep", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        removed = limits.in_background(lambda: self.client().remove("c"))
        longest = 0
        memory = 0
        while sandbox.exists():
            began = time.monotonic()
            self.assertEqual(self.executor.run("other", ["/bin/echo", "hi"], self.root)[1], "hi\n")
            longest = max(longest, time.monotonic() - began)
            memory = max(memory, self.worker_memory())
        removed()
        self.assertLess(longest, patience(2))
        self.assertLess(memory, 64)
        self.assertEqual(self.executor.states(), {})

    def client(self):
        other = type(self.executor)(self.top)
        other.connection = UnixConnection(other.socket, 600)  # a million files may take minutes
        self.addCleanup(other.disconnect)
        return other

    def test_killed_in_the_middle(self):
        sandbox = self.ended("c")
        for folder in range(20):
            (sandbox / str(folder)).mkdir()
            for number in range(many(200) * SCALE):
                os.close(os.open(sandbox / f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
        removed = limits.in_background(lambda: self.client().remove("c"))
        wait_until(lambda: len(os.listdir(sandbox)) < 20)
        self.executor.restart()
        with self.assertRaises(Exception):
            removed()
        if "c" in self.executor.states():
            self.executor.remove("c")
        self.assertFalse(sandbox.exists())

    def test_what_nobody_can_remove(self):
        """The rest goes, the error names what stays, and it goes when it can."""
        sandbox = self.ended("c")
        for name in ("a", "mounted", "z"):
            (sandbox / "d" / name).mkdir(parents=True)
            (sandbox / "d" / name / "file").touch()
        limits.mount("tmpfs", sandbox / "d/mounted")
        with self.assertRaises(CallFailed) as caught:
            self.executor.remove("c")
        self.assertIn("1 entry stays", caught.exception.text)
        self.assertIn("d/", caught.exception.text)
        self.assertIn("mounted", caught.exception.text)
        self.assertEqual(sorted(p.name for p in sandbox.rglob("*")), ["d", "mounted"])
        self.assertEqual(self.executor.states(), {"c": "exited"})
        limits.unmount(sandbox / "d/mounted")
        self.executor.remove("c")
        self.assertFalse(sandbox.exists())

    def test_one_that_cannot_go_keeps_nobody_else_s_from_going(self):
        """Writable layers wait in the trash together."""
        trash = self.executor.data / "trash"
        for name in ("0", "1"):
            (trash / name / "d").mkdir(parents=True)
        limits.mount("tmpfs", trash / "0/d")
        self.executor.restart()  # looks into it
        wait_until(lambda: not (trash / "1").exists())
        limits.unmount(trash / "0/d")
        self.executor.restart()
        wait_until(lambda: not (trash / "0").exists())


class Network(GantryTest):
    def start(self):
        self.executor.start("--failpoints", f"network.after_unpublish=1*error({errno.ECONNRESET})")

    def test_a_port_that_was_not_given_back_at_once(self):
        """It is tried again, before the container counts as ended."""
        port = free_port()
        for name in ("first", "second"):
            self.executor.launch(name, ["/bin/true"], self.root, **bridge((port, 80)))
            self.executor.wait(name)
            self.executor.remove(name)


class Cgroups(GantryTest):
    def inspect_cgroups(self, name):
        return [pathlib.Path(path) for path in self.executor.inspect(name).get("cgroups", [])]

    def test_made_inside(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        places = [p for p in self.inspect_cgroups("c") if p.is_dir()]
        self.assertTrue(places)
        for place in places[:2]:
            for number in range(many(300)):
                (place / f"made.{number}").mkdir()
            deep = place
            for _ in range(30):
                deep = deep / "deep"
                deep.mkdir()
        began = time.monotonic()
        removed = limits.in_background(lambda: self.executor.remove("c", force=True))
        other = type(self.executor)(self.top)
        self.addCleanup(other.disconnect)
        self.assertEqual(other.run("other", ["/bin/echo", "hi"], self.root)[1], "hi\n")
        self.assertLess(time.monotonic() - began, patience(2))
        removed()
        self.assertEqual([p for p in places if p.exists()], [])

    def test_frozen_and_stopped_by_others(self):
        for name in ("frozen", "stopped"):
            self.executor.launch(name, ["/bin/sleep", "1000"], self.root)
        for place in self.inspect_cgroups("frozen"):
            for file, value in (("cgroup.freeze", "1"), ("freezer.state", "FROZEN")):
                if (place / file).exists():
                    (place / file).write_text(value)
        os.kill(self.executor.inspect("stopped")["container"]["pid"], signal.SIGSTOP)
        began = time.monotonic()
        self.executor.signal("stopped")
        self.assertEqual(self.executor.wait("stopped")["exit_status"], 9)
        self.executor.remove("frozen", force=True)
        self.assertLess(time.monotonic() - began, patience(5))


if __name__ == "__main__":
    main()
