"""Checkpoint and restore where something fails: CRIU killed, missing, too old; no space; a container that dies meanwhile.

Whatever happens, the container is as it was before, or has ended, and what is not complete is gone.
"""
import contextlib
import copy
import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

from checkpoints import CheckpointTest, encode, pids, name_of, command_of
from gantry import CallFailed, main


class Background(threading.Thread):
    """A call on a connection of its own; `error` or `answer` afterwards."""

    def __init__(self, test, call):
        super().__init__()
        self.test, self.call = test, call
        self.error = self.answer = None
        self.start()

    def run(self):
        # A test's calls go through self.executor: here through a copy with another connection.
        test = copy.copy(self.test)
        test.executor = copy.copy(self.test.executor)
        test.executor.connection = None
        try:
            self.answer = self.call(test)
        except (CallFailed, OSError, http.client.HTTPException) as failed:
            self.error = failed
        finally:
            test.executor.disconnect()

    def finish(self):
        self.join(90)
        self.test.assertFalse(self.is_alive(), self.test.executor.log_tail())
        return self


class Faults(CheckpointTest):
    def criu(self):
        """The CRIU at work, once there is one."""
        return self.until(self.helpers, lambda found: len(found) == 1)[0]

    def pause(self):
        self.executor.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "c"}})

    def resume(self):
        self.executor.call("GANTRY_RESUME", gantry_resume={"container_id": {"value": "c"}})

    def is_unharmed(self):
        """Running, counting on, and a checkpoint works."""
        self.assertEqual(self.executor.states(), {"c": "running"})
        self.wait_for_numbers()
        self.assert_clean()
        self.checkpoint(name="afterwards")
        self.restore("afterwards")
        self.wait_for_numbers()

    # CRIU dies. A failpoint that sleeps stops the executor where CRIU waits for its answer.

    def test_criu_killed_while_it_dumps(self):
        for point in ("checkpoint.pre_dump", "checkpoint.post_dump", "checkpoint.after_seal"):
            for leave_running in (False, True):
                with self.subTest(point=point, leave_running=leave_running):
                    self.executor.restart("--failpoints", f"{point}=1*sleep(700)")
                    self.launch_counter()
                    dump = Background(self, lambda test, leave=leave_running: test.checkpoint(leave_running=leave))
                    criu = self.criu()
                    time.sleep(0.3)  # now it waits for the answer
                    os.kill(criu, signal.SIGKILL)
                    self.assertIsNotNone(dump.finish().error)
                    self.assertIn("criu ended", dump.error.text)
                    self.assertEqual(self.checkpoints(), [])
                    self.is_unharmed()
                    self.executor.remove("c", force=True)

    def test_criu_killed_while_it_dumps_a_paused_container(self):
        self.executor.restart("--failpoints", "checkpoint.post_dump=1*sleep(700)")
        self.launch_counter()
        self.pause()
        dump = Background(self, lambda test: test.checkpoint())
        criu = self.criu()
        time.sleep(0.3)
        os.kill(criu, signal.SIGKILL)
        self.assertIsNotNone(dump.finish().error)
        self.assertEqual(self.executor.states(), {"c": "paused"})
        before = self.numbers()
        time.sleep(0.1)
        self.assertEqual(self.numbers(), before)
        self.resume()
        self.is_unharmed()

    def test_criu_killed_while_it_restores(self):
        for point in ("restore.post_restore", "restore.pre_resume"):
            with self.subTest(point=point):
                self.launch_counter()
                self.checkpoint()
                before = self.numbers()
                self.executor.restart("--failpoints", f"{point}=1*sleep(700)")
                restore = Background(self, lambda test: test.restore())
                criu = self.criu()
                time.sleep(0.3)
                os.kill(criu, signal.SIGKILL)
                self.assertIsNotNone(restore.finish().error)
                self.assertEqual(self.executor.states(), {"c": "exited"})
                self.assertEqual(self.numbers(), before, "it has run")
                self.assert_clean()
                self.restore()
                self.is_unharmed()
                self.executor.remove("c", force=True)

    def test_criu_killed_at_any_moment(self):
        """CRIU says that its death in the middle of a dump may harm the tasks, whose memory holds its code: then the
        container has ended, truly, or (seen once in some fifty) hangs, and can be removed."""
        ends = []
        for step in range(16):
            self.launch_counter()
            dump = Background(self, lambda test: test.checkpoint())
            # On a slow host it may be over before CRIU was seen.
            found = self.until(self.helpers, lambda found: found or not dump.is_alive())
            time.sleep(step * 0.006)
            for criu in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(criu, signal.SIGKILL)
            dump.finish()
            state = self.until(lambda: self.executor.states()["c"], lambda s: s in ("running", "exited"))
            ends.append(f"{'error' if dump.error else 'made'}, {state}")
            self.assertEqual(self.checkpoints(), [] if dump.error else ["one"])
            if dump.error is None:
                self.assertEqual(state, "exited")
                self.restore()
                self.wait_for_numbers()
            elif state == "running":
                try:
                    self.wait_for_numbers()
                except AssertionError:
                    ends[-1] = "error, hangs"
            self.executor.remove("c", force=True)
            self.assert_clean()
        print({end: ends.count(end) for end in ends})
        self.assertLessEqual(ends.count("error, hangs"), 1)

    def test_the_executor_killed_at_any_moment_of_a_restore(self):
        """Whatever was made so far has not run: it goes on at the number where it was stopped, once."""
        self.launch_counter()
        for step in range(12):
            self.checkpoint(name=f"c{step}")
            restore = Background(self, lambda test, name=f"c{step}": test.restore(name))
            time.sleep(step * 0.015)
            self.executor.kill()
            self.executor.start()
            restore.finish()
            if self.executor.states()["c"] == "exited":
                self.restore(f"c{step}")
            self.wait_for_numbers()

    # CRIU cannot be used

    def with_criu(self, path):
        self.executor.restart("--criu", str(path))

    def program(self, name, text, mode=0o755):
        path = self.top / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_a_criu_that_cannot_be_used(self):
        answer = encode([[1, 0, 10], [2, 0, 1], [10, 2, encode([[1, 0, 3], [2, 0, 17], [4, 0, 1]])]])
        old = ("#!/usr/bin/python3\nimport socket, sys\ns = socket.socket(fileno=int(sys.argv[-1]))\n"
               f"s.recv(65536)\ns.send({answer!r})\ns.recv(65536)\n")
        self.launch_counter()
        for path, words in (
                (self.top / "nowhere", ("is no program", "--criu", "tools/setup")),
                (self.program("not-executable", "#!/bin/sh\n", 0o644), ("is no program", "--criu", "tools/setup")),
                (self.top, ("is no program", "tools/setup")),
                (self.program("no-program", "just text\n"), ("no-program",)),
                # What it leaves in its session ends with it: leakcheck would find it in the launcher's cgroup.
                (self.program("silent", "#!/bin/sh\nsleep 1000 &\nexit 3\n"), ("does not work as criu", "criu ended", "tools/setup")),
                (self.program("old", old), ("is version 3.17.1; 4.1.1 is the oldest that works", "tools/setup"))):
            with self.subTest(path=path.name):
                self.with_criu(path)
                self.refused(self.checkpoint, *words)
                self.assertEqual(self.executor.states(), {"c": "running"})
                self.wait_for_numbers()
                self.assert_clean()
        self.assertEqual(self.checkpoints(), [])
        self.executor.restart()
        self.checkpoint()
        self.with_criu(self.top / "nowhere")
        self.refused(self.restore, "is no program")
        self.assertEqual(self.executor.states(), {"c": "exited"})
        self.assert_clean()
        self.executor.restart()
        self.restore()
        self.is_unharmed()

    # The container changes meanwhile

    def test_a_container_that_dies_while_it_is_dumped(self):
        for point in ("checkpoint.pre_dump", "checkpoint.post_dump", "checkpoint.after_seal"):
            with self.subTest(point=point):
                self.executor.restart("--failpoints", f"{point}=1*sleep(500)")
                self.launch_counter()
                pid = self.executor.inspect("c")["container"]["pid"]
                dump = Background(self, lambda test: test.checkpoint())
                self.criu()
                time.sleep(0.2)
                os.kill(pid, signal.SIGKILL)
                dump.finish()
                self.until(self.executor.states, lambda states: states == {"c": "exited"})
                self.assertEqual(self.executor.wait("c")["exit_status"], 9)
                # After the last page was written the checkpoint is all there is of it, and whole.
                self.assertEqual(self.checkpoints(), [] if dump.error else ["one"])
                if dump.error is None:
                    self.restore()
                    self.wait_for_numbers()
                self.executor.remove("c", force=True)
                self.assert_clean()

    def test_a_container_that_is_removed_while_it_is_dumped_or_restored(self):
        for step in range(8):
            for restore in (False, True):
                self.launch_counter()
                if restore:
                    self.checkpoint()
                work = Background(self, (lambda test: test.restore()) if restore else (lambda test: test.checkpoint()))
                time.sleep(step * 0.01)
                while True:
                    try:
                        self.executor.remove("c", force=True)
                        break
                    except CallFailed as failed:  # it ended in the middle of it
                        self.assertIn(failed.status, (404, 409), failed)
                        if "c" not in self.executor.states():
                            break
                work.finish()
                self.assertEqual(self.executor.states(), {})
                self.assertEqual(self.checkpoints(), [])
                self.assert_clean(step)

    # Who else asks

    def test_two_at_once(self):
        self.launch_counter()
        dumps = [Background(self, lambda test, n=n: test.checkpoint(name=f"n{n}")) for n in range(3)]
        made = [dump for dump in dumps if dump.finish().error is None]
        self.assertEqual(len(made), 1)
        self.assertEqual(self.checkpoints(), [made[0].answer["checkpoint"]])
        restores = [Background(self, lambda test: test.restore("c")) for _ in range(3)]
        self.assertEqual(len([r for r in restores if r.finish().error is None]), 1)
        self.assertTrue(all("only an exited one" in r.error.text for r in restores if r.error))
        self.is_unharmed()

    def test_names_that_are_taken(self):
        self.launch_counter()
        self.checkpoint(leave_running=True)
        self.refused(self.checkpoint, "there is a checkpoint 'one'")
        self.refused(self.restore, "only an exited one can be restored")
        self.refused(lambda: self.restore(container_id={"value": "nobody"}), "nobody")
        self.refused(lambda: self.restore(name="other"), "restored into the container it was made of")
        self.is_unharmed()
        self.executor.remove("c", force=True)
        self.refused(self.restore, "one")
        self.assertEqual(self.checkpoints(), [])

    def test_what_cannot_be_is_refused_before_anything_is_made(self):
        for words, spec in ((("network", "host"), {"network": {"mode": "HOST"}}), (("--rm",), {"remove_on_exit": True})):
            self.launch_counter(**spec)
            self.refused(self.checkpoint, *words)
            self.assertEqual(self.executor.states(), {"c": "running"})
            self.wait_for_numbers()
            self.assertEqual(self.checkpoints(), [])
            self.executor.remove("c", force=True)
        self.refused(self.checkpoint, "c")

    def test_descriptors_in_flight(self):
        """KERNEL: a task may send one only while its user's are fewer than its own limit, unless it has CAP_SYS_ADMIN."""
        self.launch_counter()
        null = os.open("/dev/null", os.O_RDONLY)
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(5)]
        try:
            for sender, _ in pairs:
                socket.send_fds(sender, [b"x"], [null] * 250)
            self.refused(self.checkpoint, "unix sockets; try again")
        finally:
            for pair in pairs:
                for end in pair:
                    end.close()
            os.close(null)
        self.assertEqual(self.checkpoints(), [])
        self.is_unharmed()

    def test_paused(self):
        self.launch_counter()
        self.pause()
        self.checkpoint(name="live", leave_running=True)
        before = self.numbers()
        time.sleep(0.1)
        self.assertEqual(self.executor.states(), {"c": "paused"})
        self.assertEqual(self.numbers(), before)
        self.checkpoint()
        self.assertEqual(self.executor.states(), {"c": "exited"})
        self.assertEqual(self.numbers(), before)
        self.restore()
        self.is_unharmed()

    def test_an_older_checkpoint_goes_back_in_time(self):
        self.launch_counter()
        self.checkpoint(leave_running=True)
        at = len(self.wait_for_numbers())
        self.executor.signal("c")
        self.executor.wait("c")
        self.until(self.executor.states, lambda states: states == {"c": "exited"})
        ended = self.numbers()
        self.restore()
        lines = self.until(lambda: self.executor.output("c").splitlines(), lambda found: len(found) > len(ended) + 3)
        self.assertEqual(lines[:len(ended)], ended)
        again = [int(line) for line in lines[len(ended):]]
        self.assertLess(again[0], at)
        self.assertEqual(again, list(range(again[0], again[0] + len(again))))

    def test_the_launcher_dies_while_criu_works(self):
        for restore in (False, True):
            with self.subTest(restore=restore):
                point = "restore.post_restore" if restore else "checkpoint.post_dump"
                self.launch_counter()
                if restore:
                    self.checkpoint()
                self.executor.restart("--failpoints", f"{point}=1*sleep(500)")
                work = Background(self, (lambda test: test.restore()) if restore else (lambda test: test.checkpoint()))
                self.criu()
                time.sleep(0.2)
                launcher = next(pid for pid in pids() if name_of(pid) == "gantry-launcher"
                                and str(self.executor.runtime) in command_of(pid))
                os.kill(launcher, signal.SIGKILL)
                work.finish()
                state = self.until(lambda: self.executor.states()["c"], lambda s: s in ("running", "exited"), 20)
                self.assertEqual(self.checkpoints(), ["one"] if restore or not work.error else [])
                if state == "exited":
                    self.restore()
                self.wait_for_numbers()
                self.executor.remove("c", force=True)
                self.assert_clean()


class FullDisk(CheckpointTest):
    def start(self):
        self.disk = self.top / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "gantry-test", str(self.disk)], check=True)
        self.executor.data = self.disk / "data"
        self.executor.start()

    def finish(self):
        try:
            super().finish()
        finally:
            subprocess.run(["umount", str(self.disk)], check=True)

    def fill(self, leave):
        """Leaves about so many bytes."""
        filler = self.disk / "filler"
        filler.write_bytes(b"x" * max(0, shutil.disk_usage(self.disk).free - leave))
        return filler

    def test_no_space_for_the_images(self):
        self.launch_counter()
        for leave in (0, 4096, 16 << 10, 64 << 10, 128 << 10):
            with self.subTest(leave=leave):
                filler = self.fill(leave)
                try:
                    self.refused(self.checkpoint, "o space left on device" if leave == 0 else "the disk is full")
                finally:
                    filler.unlink()
                self.assertEqual(self.executor.states(), {"c": "running"})
                self.assertEqual(self.checkpoints(), [])
                self.wait_for_numbers()
                self.assert_clean()
        self.checkpoint()
        self.fill(0)
        self.restore()
        self.assertEqual(self.executor.states(), {"c": "running"})
        (self.disk / "filler").unlink()
        self.wait_for_numbers()


if __name__ == "__main__":
    main()
