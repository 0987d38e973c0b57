"""A container's first process is killed before it runs the command: never answered as if it had.

A failpoint holds the executor in the middle of a launch, and the launcher's table tells which child the launch has.
"""
import contextlib
import http.client
import os
import pathlib
import signal
import struct
import subprocess
import threading
import time

from gantry import CallFailed, Executor, GantryTest, main, wait_until

HELD = "1*sleep(2000)"
# launcher/protocol.h: struct TableHeader and struct Slot.
HEADER, SLOT, KEY, RUNNING, ORPHAN = 4096, 512, 128, 2, 3


class Launching(threading.Thread):
    """A launch on a connection of its own; `failure` is its error, None when it succeeded."""

    def __init__(self, executor, name, argv, root, **spec):
        super().__init__()
        self.other = Executor(executor.top)
        self.call = lambda: self.other.launch(name, argv, root, **spec)
        self.failure = None
        self.start()

    def run(self):
        try:
            self.call()
        except (CallFailed, OSError, http.client.HTTPException) as failed:
            self.failure = failed
        finally:
            self.other.disconnect()


class LostChildren(GantryTest):
    def table(self):
        """Of the living children: {key: pid}."""
        with open(self.executor.runtime / "launcher.table", "rb") as file:
            data = file.read(HEADER + 200 * SLOT)
        found = {}
        for at in range(HEADER, len(data), SLOT):
            state, pid = struct.unpack_from("<Ii", data, at)
            if state in (RUNNING, ORPHAN):
                found[data[at + KEY:at + KEY + 64].split(b"\0")[0].decode()] = pid
        return found

    def child(self):
        """The pid of the launch's child, as soon as the launcher has it under the container's key."""
        return wait_until(lambda: next((pid for key, pid in self.table().items() if "." not in key), None))

    def waiting_child(self):
        """The same of an ordinary one, stopped where it waits for its signal: it dies with its launcher from there on."""
        pid = self.child()
        wait_until(lambda: "pipe_read" in pathlib.Path(f"/proc/{pid}/wchan").read_text())
        os.kill(pid, signal.SIGSTOP)
        return pid

    def start_held(self, failpoint, *flags):
        self.executor.restart("--failpoints", f"{failpoint}={HELD}", *flags)

    def prepare_held(self, failpoint):
        """An executor with prepared children that holds the next launch."""
        self.executor.restart("--failpoints", f"{failpoint}=1*off->{HELD}")
        self.executor.run("first", ["/bin/true"], self.root)
        wait_until(lambda: self.executor.metric("containerizer/prepared_children") > 3, 30)

    def launch_and_kill(self, kill):
        """Launches, hands its child to kill(pid), and returns the finished Launching."""
        launching = Launching(self.executor, "c", ["/bin/sh", "-c", "echo ran; exit 5"], self.root)
        kill(self.child())
        launching.join()
        return launching

    def assert_ran_with_another(self, launching):
        self.assertIsNone(launching.failure)
        self.assertEqual(self.executor.wait("c")["exit_status"], 5 << 8)
        self.assertEqual(self.executor.output("c"), "ran\n")
        phases = [phase["name"] for phase in self.executor.inspect("c")["phases"]]
        self.assertIn("lost", phases)
        self.assertEqual(phases[-1], "exec")
        self.executor.remove("c")

    def stop_then_kill(self, pid):
        """Killed with its launch unread: a stopped child takes nothing from its socket."""
        os.kill(pid, signal.SIGSTOP)
        # Answered when the failpoint is over: by then the launch waits for the exec.
        self.executor.call("GET_HEALTH")
        os.kill(pid, signal.SIGKILL)

    def test_a_prepared_one_before_it_is_assigned(self):
        self.prepare_held("launch.before_clone")

        launching = Launching(self.executor, "c", ["/bin/sh", "-c", "echo ran; exit 5"], self.root)
        wait_until((self.executor.runtime / "containers/c/record").exists)
        time.sleep(0.5)  # it has claimed one
        for key, pid in self.table().items():
            if key.startswith("prepared."):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        launching.join()
        self.assertIsNone(launching.failure)
        self.assertEqual(self.executor.wait("c")["exit_status"], 5 << 8)
        self.assertEqual(self.executor.output("c"), "ran\n")

    def test_a_prepared_one_before_it_gets_the_launch(self):
        self.prepare_held("launch.before_signal")
        self.assert_ran_with_another(self.launch_and_kill(lambda pid: os.kill(pid, signal.SIGKILL)))

    def test_a_prepared_one_with_the_launch_in_its_hands(self):
        self.prepare_held("launch.before_signal")
        self.assert_ran_with_another(self.launch_and_kill(self.stop_then_kill))

    def test_an_ordinary_one_fails_its_launch(self):
        self.start_held("launch.before_signal", "--prepared-children", "0")
        launching = self.launch_and_kill(self.stop_then_kill)
        self.assertIn("killed before it could run the command", str(launching.failure))
        self.assertEqual(self.executor.list(), [])

    def test_a_storm_of_kills_is_seen_by_nobody(self):
        self.executor.run("first", ["/bin/true"], self.root)
        wait_until(lambda: self.executor.metric("containerizer/prepared_children") > 3, 30)
        is_over = threading.Event()

        def kill():
            while not is_over.wait(0.01):
                for key, pid in list(self.table().items())[:4]:
                    if key.startswith("prepared."):
                        self.kill_unless_execed(pid)

        storm = threading.Thread(target=kill)
        storm.start()
        try:
            for i in range(100):
                answer, out, _ = self.executor.run(f"c{i}", ["/bin/sh", "-c", f"echo {i}; exit {i}"], self.root)
                self.assertEqual((answer["exit_status"], out), (i << 8, f"{i}\n"))
        finally:
            is_over.set()
            storm.join()

    @staticmethod
    def kill_unless_execed(pid):
        """Stopped first, so that it does not become a container between the look and the kill."""
        proc = pathlib.Path(f"/proc/{pid}")
        try:
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: (proc / "stat").read_text().rpartition(")")[2].split()[0] in "TZX")
            has_execed = (proc / "comm").read_text() != "gantry-prepared\n"
            os.kill(pid, signal.SIGCONT if has_execed else signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            pass

    def hold_end(self, pid):
        """Keeps the child, the first of its pid namespace, from ending quite; returns what lets go.

        KERNEL: it waits for all others in there to be reaped, after it has closed its files.
        """
        parent = subprocess.Popen(["nsenter", "--target", str(pid), "--pid", "sleep", "1000"])
        children = pathlib.Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        wait_until(lambda: children.read_text().strip())
        parent.send_signal(signal.SIGSTOP)

        def let_go():
            parent.kill()
            parent.wait()

        self.addCleanup(let_go)
        return let_go

    def test_one_killed_with_its_launcher_is_seen_although_it_has_not_quite_ended(self):
        self.start_held("launch.before_signal", "--prepared-children", "0")
        launching = Launching(self.executor, "c", ["/bin/true"], self.root)
        pid = self.waiting_child()
        let_go = self.hold_end(pid)
        self.executor.call("GET_HEALTH")
        os.kill(self.executor.launcher_pid(), signal.SIGKILL)
        time.sleep(1)
        let_go()
        launching.join()
        # The child has copies of the launcher's sockets: their end may be later than its pipe's.
        self.assertRegex(str(launching.failure), "launcher died while it was starting|killed before it could run")
        wait_until(lambda: self.executor.list() == [])  # the answer does not wait for it for ever

    def test_one_whose_launcher_and_executor_died_has_not_run(self):
        for is_held in (False, True):
            self.start_held("launch.before_signal", "--prepared-children", "0")
            launching = Launching(self.executor, "c", ["/bin/true"], self.root)
            pid = self.waiting_child()
            let_go = self.hold_end(pid) if is_held else lambda: None
            os.kill(self.executor.launcher_pid(), signal.SIGKILL)
            self.executor.kill()
            launching.join()
            self.executor.start()
            let_go()
            try:
                answer = self.executor.wait("c")
            except CallFailed as gone:
                self.assertEqual(gone.status, 404)
            else:
                self.assertNotIn("exit_status", answer)
                # Lost where the kernel forgot it before anybody looked.
                self.assertRegex(answer["message"], "executor and launcher died|killed before it could run")
            with contextlib.suppress(CallFailed):
                self.executor.remove("c")
            wait_until(lambda: not self.executor.list())


if __name__ == "__main__":
    main()
