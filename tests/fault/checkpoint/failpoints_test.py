"""The executor is killed at every step of a checkpoint and of a restore; the next one leaves nothing half made.

An interrupted checkpoint leaves the container as it was, its output going on; an interrupted restore is gone without a
trace and can be asked for again. Past the point of no return both are complete.
"""
import http.client
import subprocess

from checkpoints import CheckpointTest
from gantry import BIN, main

# From here on the operation is done, whoever dies.
CHECKPOINT_DONE = {"checkpoint.before_finish", "checkpoint.after_dump"}
RESTORE_DONE = {"restore.before_resume", "restore.after_resume"}
# Those of a launch that a restore passes as well.
SHARED = ["launch.after_isolator_prepare", "launch.after_isolate", "launch.after_pid_recorded"]


def failpoints(prefix):
    run = subprocess.run([BIN / "gantry-executor", "--list-failpoints"], capture_output=True, text=True, check=True)
    return [name for name in run.stdout.split() if name.startswith(prefix)]


class CheckpointFailpoints(CheckpointTest):
    def killed_at(self, point, call):
        """Calls an executor that dies at the point; the next one is ready when this returns."""
        self.executor.restart("--failpoints", f"{point}=kill")
        with self.assertRaises((OSError, http.client.HTTPException), msg=point):
            call()
        self.assertEqual(self.executor.wait_dead(), -9, point)
        self.executor.start()

    def end(self, point):
        """It can still be checkpointed and restored, and goes without a trace."""
        self.checkpoint(name="last")
        self.restore("last")
        self.wait_for_numbers()
        self.executor.remove("c", force=True)
        self.assertEqual(self.checkpoints(), [], point)
        self.assert_clean(point)

    def test_checkpoint(self):
        points = failpoints("checkpoint.")
        self.assertGreaterEqual(len(points), 6)
        for point in points:
            with self.subTest(point=point):
                self.launch_counter()
                pid = self.executor.inspect("c")["container"]["pid"]
                self.killed_at(point, self.checkpoint)
                if point in CHECKPOINT_DONE:
                    self.assertEqual(self.executor.states(), {"c": "exited"})
                    self.assertEqual(self.checkpoints(), ["one"])
                    self.assert_clean(point)
                    self.restore()
                else:
                    self.assertEqual(self.executor.states(), {"c": "running"})
                    self.assertEqual(self.executor.inspect("c")["container"]["pid"], pid)
                    self.assertEqual(self.checkpoints(), [])
                    self.assert_clean(point)
                self.wait_for_numbers()
                self.end(point)

    def test_checkpoint_that_leaves_it_running(self):
        for point in failpoints("checkpoint."):
            with self.subTest(point=point):
                self.launch_counter()
                pid = self.executor.inspect("c")["container"]["pid"]
                self.killed_at(point, lambda: self.checkpoint(leave_running=True))
                self.assertEqual(self.executor.inspect("c")["container"]["pid"], pid)
                self.wait_for_numbers()
                self.assertEqual(self.checkpoints(), ["one"] if point == "checkpoint.after_dump" else [])
                self.assert_clean(point)
                self.end(point)

    def test_checkpoint_of_a_paused_container(self):
        for point in failpoints("checkpoint."):
            if point in CHECKPOINT_DONE:
                continue
            with self.subTest(point=point):
                self.launch_counter()
                self.executor.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "c"}})
                self.killed_at(point, self.checkpoint)
                self.assertEqual(self.executor.states(), {"c": "paused"})
                before = self.numbers()
                self.assert_clean(point)
                self.assertEqual(self.numbers(), before)
                self.executor.call("GANTRY_RESUME", gantry_resume={"container_id": {"value": "c"}})
                self.wait_for_numbers()
                self.end(point)

    def test_restore(self):
        points = failpoints("restore.")
        self.assertGreaterEqual(len(points), 6)
        for point in points + SHARED:
            with self.subTest(point=point):
                self.launch_counter()
                self.checkpoint()
                before = self.numbers()
                outcome = self.executor.wait("c")
                self.killed_at(point, self.restore)
                if point not in RESTORE_DONE:
                    self.assertEqual(self.executor.states(), {"c": "exited"})
                    self.assertEqual(self.executor.wait("c"), outcome)
                    self.assertEqual(self.numbers(), before, "it has run")
                    self.assertEqual(self.checkpoints(), ["one"])
                    self.assert_clean(point)
                    self.restore()
                self.assertEqual(self.executor.states(), {"c": "running"})
                self.wait_for_numbers()
                self.end(point)

    def test_recovery_that_is_interrupted_too(self):
        for point in ("checkpoint.post_dump", "restore.pre_resume"):
            for again in ("recover.after_classify", "recover.after_parts", "recover.after_one"):
                with self.subTest(point=point, again=again):
                    self.launch_counter()
                    is_restore = point.startswith("restore.")
                    if is_restore:
                        self.checkpoint()
                    self.executor.restart("--failpoints", f"{point}=kill")
                    with self.assertRaises((OSError, http.client.HTTPException)):
                        self.restore() if is_restore else self.checkpoint()
                    self.executor.wait_dead()
                    self.executor.start("--failpoints", f"{again}=kill", wait=False)
                    self.assertEqual(self.executor.wait_dead(), -9)
                    self.executor.start()
                    self.assertEqual(self.executor.states(), {"c": "exited" if is_restore else "running"})
                    self.assert_clean(again)
                    if is_restore:
                        self.restore()
                    self.wait_for_numbers()
                    self.end(again)


if __name__ == "__main__":
    main()
