"""What hangs in the kernel or never answers delays its own container alone: a dead FUSE file system as a volume, a task in
uninterruptible sleep, a stopped worker, a freezer somebody else holds. Each request is answered in bounded time with the
truth, and what was asked for happens as soon as what hangs lets go."""
import contextlib
import os
import pathlib
import signal
import time

import limits
from gantry import CallFailed, Executor, GantryTest, UnixConnection, main, patience, wait_until

READS = """exec 3</mnt/v/file; touch /tmp/ready.$0
while [ ! -e /tmp/go ]; do usleep 10000; done
dd bs=1 <&3"""


class Stuck(GantryTest):
    @classmethod
    def setUpClass(cls):
        limits.own_mounts()

    def start(self):
        self.fuse = limits.Fuse(self.top / "fuse")
        self.executor.start()

    def finish(self):
        self.fuse.close()
        super().finish()

    def client(self):
        """Another connection to the same executor."""
        other = Executor(self.top)
        other.connection = UnixConnection(other.socket, 120)
        self.addCleanup(other.disconnect)
        return other

    def volume(self, source=None):
        return [{"type": "BIND", "source": str(source or self.fuse.where), "destination": "/mnt/v"}]

    def launch_reader(self, name, **spec):
        self.executor.launch(name, ["/bin/sh", "-c", spec.pop("script", READS), name], self.root, mounts=self.volume(), **spec)
        wait_until((self.root / f"tmp/ready.{name}").exists)

    def hang_readers(self, count):
        """All that wait for /tmp/go read, and get no answer."""
        self.fuse.hang()
        (self.root / "tmp/go").touch()
        for _ in range(count):
            self.assertTrue(self.fuse.taken.acquire(timeout=patience(10)))

    def others_are_quick(self):
        began = time.monotonic()
        client = self.client()
        self.assertEqual(client.run("other", ["/bin/echo", "hi"], self.root)[1], "hi\n")
        client.states()
        client.call("GANTRY_STATS", gantry_stats={})
        client.inspect(next(iter(client.states())))
        self.assertLess(time.monotonic() - began, patience(2))
        # No thread of the executor or launcher is at a path of the file system that hangs.
        for process in {self.executor.process.pid, *limits.daemons_of(self.executor.runtime)}:
            for task in pathlib.Path(f"/proc/{process}/task").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    self.assertNotIn("request_wait_answer", (task / "wchan").read_text())

    def refused(self, call, within, *words):
        began = time.monotonic()
        with self.assertRaises(CallFailed) as caught:
            call()
        self.assertLess(time.monotonic() - began, patience(within))
        for word in words:
            self.assertIn(word, caught.exception.text)

    def test_tasks_that_no_signal_reaches(self):
        for name in ("killed", "stopped", "removed", "frozen"):
            self.launch_reader(name)
        # Its first process ends, and leaves one behind that does not.
        self.launch_reader("left", script=READS + " &\nwhile [ ! -e /tmp/end ]; do usleep 10000; done; exit 3",
                           namespaces={"pid": {"kind": "HOST"}})
        self.hang_readers(5)
        (self.root / "tmp/end").touch()
        self.others_are_quick()
        frozen = limits.in_background(lambda: self.refused(
            lambda: self.client().call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "frozen"}}), 15, "freeze"))
        # The outcome is known; what is left of it keeps it from being Exited, or removed.
        self.assertEqual(self.executor.wait("left")["exit_status"], 3 << 8)
        self.executor.signal("killed")
        stopped = limits.in_background(lambda: self.refused(
            lambda: self.client().stop("stopped", seconds=0), 8, "'stopped' was killed and has not ended", "(dd)"))
        left = limits.in_background(lambda: self.refused(
            lambda: self.client().remove("left"), 20, "'left' was killed and has not ended", "(dd)"))
        self.refused(lambda: self.client().remove("removed", force=True), 8, "'removed' was killed and has not ended",
                     "in the kernel", "umount -f")
        for join in (stopped, left, frozen):
            join()
        self.others_are_quick()
        states = self.executor.states()
        self.assertEqual({name: states[name] for name in ("killed", "stopped", "removed", "frozen", "left")}, {
            "killed": "running", "stopped": "running", "removed": "running", "frozen": "running", "left": "destroying"})
        # The next executor is not held up by them either.
        began = time.monotonic()
        self.executor.restart()
        self.assertLess(time.monotonic() - began, patience(8))
        removed = limits.in_background(
            lambda: self.refused(lambda: self.client().remove("removed", force=True), 8, "has not ended"))
        self.others_are_quick()
        removed()
        self.fuse.abort()
        for name in ("killed", "stopped"):
            self.assertEqual(self.executor.wait(name)["exit_status"], 9)
        self.assertEqual(self.executor.wait("left")["exit_status"], 3 << 8)
        wait_until(lambda: "removed" not in self.executor.states(), 15)
        wait_until(lambda: self.executor.states()["left"] == "exited", 15)
        self.executor.remove("left")

    def test_volumes_that_do_not_answer(self):
        self.fuse.hang()

        def launch(name, **spec):
            return limits.in_background(lambda: self.refused(
                lambda: self.client().launch(name, ["/bin/true"], **spec), 50, "in the kernel", str(self.fuse.where)))

        joins = [launch("root", rootfs=str(self.root), mounts=self.volume()),
                 launch("inside", rootfs=str(self.root), mounts=self.volume(self.fuse.where / "file"))]
        user = limits.in_background(lambda: self.refused(
            lambda: self.client().launch("user", ["/bin/true"], str(self.fuse.where / "file"), user="user"), 25,
            "does not answer", str(self.fuse.where)))
        gone = limits.in_background(lambda: self.refused(
            lambda: self.client().launch("gone", ["/bin/true"], self.root, mounts=self.volume()), 15, "gone"))
        wait_until(lambda: self.executor.states().get("gone") == "launching")
        time.sleep(0.2)
        self.others_are_quick()
        self.refused(lambda: self.client().remove("gone", force=True), 8, "has not ended", "(request_wait_answer)")
        with contextlib.suppress(AssertionError):
            gone()
        user()
        self.others_are_quick()
        for join in joins:
            join()
        self.others_are_quick()
        # Killed by now; they are there until their file system lets go.
        self.assertEqual({n: s for n, s in self.executor.states().items() if s != "exited"},
                         {"root": "destroying", "inside": "destroying", "gone": "destroying"})
        self.fuse.abort()
        wait_until(lambda: self.executor.states() == {}, 15)

    def test_an_executor_that_dies_meanwhile(self):
        self.fuse.hang()
        began = limits.in_background(lambda: self.client().launch("c", ["/bin/true"], self.root, mounts=self.volume()))
        self.assertTrue(self.fuse.taken.acquire(timeout=patience(10)))
        self.executor.kill()
        with self.assertRaises(Exception):
            began()
        started = time.monotonic()
        self.executor.start()
        self.assertLess(time.monotonic() - started, patience(5))
        self.others_are_quick()
        self.fuse.abort()
        wait_until(lambda: self.executor.states() == {}, 15)


class StoppedWorker(GantryTest):
    def stop_worker(self):
        """Stops the first worker that the executor starts; its pid."""
        children = pathlib.Path(f"/proc/{self.executor.process.pid}/task/{self.executor.process.pid}/children")
        deadline = time.monotonic() + patience(10)
        while time.monotonic() < deadline:
            for pid in map(int, children.read_text().split()):
                with contextlib.suppress(OSError):
                    # Not before its exec: until then the executor waits in vfork.
                    if pathlib.Path(f"/proc/{pid}/cmdline").read_text().startswith("gantry-worker\0"):
                        os.kill(pid, signal.SIGSTOP)
                        return pid
        raise AssertionError("no worker was started")

    def test_it(self):
        """A worker that is at work for ever: its own job waits, nobody else's."""
        for name in ("c", "other"):
            self.executor.launch(name, ["/bin/sleep", "1000"], self.root)
        tree = self.executor.data / "sandboxes/c/d"
        tree.mkdir()
        for number in range(5000):
            os.close(os.open(tree / str(number), os.O_CREAT | os.O_WRONLY))
        client = Executor(self.top)
        self.addCleanup(client.disconnect)
        removed = limits.in_background(lambda: client.remove("c", force=True))
        worker = self.stop_worker()
        began = time.monotonic()
        self.assertEqual(self.executor.run("d", ["/bin/echo", "hi"], self.root, user="user")[1], "hi\n")
        self.executor.remove("other", force=True)
        self.assertLess(time.monotonic() - began, patience(2))
        self.assertTrue(tree.exists())
        os.kill(worker, signal.SIGCONT)
        removed()
        self.assertEqual(self.executor.states(), {})


if __name__ == "__main__":
    main()
