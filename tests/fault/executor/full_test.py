"""A disk or a runtime directory without room, or without inodes: launches are refused with the reason, everything that runs
is still killed, reported and removed, also by an executor that starts then, and all goes on when there is room again."""
import json
import os
import re
import shutil
import subprocess
import time

import limits
from gantry import BIN, CallFailed, GantryTest, UnixConnection, main, rootfs_tar, wait_until


class Full(GantryTest):
    """The directories on a small file system of the test's own."""

    options = "size=16m,nr_inodes=420"

    @classmethod
    def setUpClass(cls):
        limits.own_mounts()

    def start(self):
        self.disk = self.top / "disk"
        self.mount_disk()
        self.place()
        self.executor.start("--prepared-children", "4")

    def mount_disk(self):
        limits.mount("tmpfs", self.disk, self.options)

    def place(self):
        self.executor.data = self.disk / "data"

    def refused(self, what, call):
        with self.assertRaises(CallFailed) as caught:
            call()
        self.assertEqual(caught.exception.status, 503, caught.exception)
        self.assertIn(f"no room in {what}", caught.exception.text)
        self.assertIn("gantry rm", caught.exception.text)

    def launch_all(self):
        self.executor.import_tar(rootfs_tar(self.root), "image")
        for name in ("killed", "removed"):
            self.executor.launch(name, ["/bin/sleep", "1000"], self.root)
        self.executor.launch("stopped", ["/bin/sleep", "1000"], self.root, name="web", restart={"policy": "ALWAYS"})
        self.executor.launch("again", ["/bin/sh", "-c", "echo run; while [ ! -e /tmp/end ]; do usleep 20000; done; exit 7"],
                             self.root, restart={"policy": "ON_FAILURE", "maximum_retries": 1})
        self.executor.launch("ends", ["/bin/sh", "-c", "while [ ! -e /tmp/go ]; do usleep 20000; done; exit 5"], self.root)
        self.executor.launch("late", ["/bin/sh", "-c", "while [ ! -e /tmp/late ]; do usleep 20000; done; exit 6"], self.root)

    def check_full(self, full):
        """`full`: where there is no room."""
        for name, spec in (("a", {"rootfs": str(self.root)}), ("b", {"image": "image"}),
                           ("c", {"rootfs": str(self.root), "name": "c"})):
            self.refused(full, lambda name=name, spec=spec: self.executor.launch(name, ["/bin/true"], **spec))
        self.assertNotIn("a", self.executor.states())
        self.executor.signal("killed")
        self.assertEqual(self.executor.wait("killed")["exit_status"], 9)
        self.executor.remove("removed", force=True)
        (self.root / "tmp/go").touch()
        self.assertEqual(self.executor.wait("ends")["exit_status"], 5 << 8)

    def check_next(self, full):
        """An executor that starts on the full disk, after an exit that no executor saw."""
        self.executor.kill()
        (self.root / "tmp/late").touch()
        self.fill(self.disk)
        time.sleep(0.2)
        self.executor.start("--prepared-children", "4")
        self.assertEqual(self.executor.wait("late")["exit_status"], 6 << 8)
        self.assertEqual(self.executor.wait("ends")["exit_status"], 5 << 8)
        self.assertEqual(self.executor.states()["again"], "running")
        self.refused(full, lambda: self.executor.launch("d", ["/bin/true"], self.root))
        self.check_pause("again")
        self.check_rename("again")
        # What it does to those that run works also when it cannot be recorded; then that is said.
        try:
            self.executor.stop("stopped", seconds=0)
        except CallFailed as e:
            self.assertIn("could not be recorded", e.text)
        self.assertEqual(self.executor.wait("stopped")["exit_status"], 9)
        for name in ("stopped", "ends", "late", "killed"):
            self.executor.remove(name, force=True)

    def check_pause(self, name):
        """Done and recorded, or refused and undone."""
        container = {"container_id": {"value": name}}
        try:
            self.executor.call("GANTRY_PAUSE", gantry_pause=container)
        except CallFailed:
            self.assertEqual(self.executor.states()[name], "running")
            return
        self.assertEqual(self.executor.states()[name], "paused")
        self.executor.call("GANTRY_RESUME", gantry_resume=container)

    def check_rename(self, name):
        """The same."""
        def rename(to):
            self.executor.call("GANTRY_UPDATE", gantry_update={"container_id": {"value": name}, "name": to})

        try:
            rename("other")
        except CallFailed:
            self.assertNotIn("name", self.executor.inspect(name)["container"])
            return
        self.assertEqual(self.executor.inspect("other")["container"]["name"], "other")

    def check_room_again(self):
        self.empty(self.disk)
        self.assertEqual(self.executor.run("e", ["/bin/echo", "hi"], image="image")[1], "hi\n")
        _, out, _ = self.executor.run("f", ["/bin/sh", "-c", "grep ' / ' /proc/mounts"], image="image")
        self.assertIn("overlay", out)  # a full disk is no reason to copy images from then on
        wait_until(lambda: self.executor.output("again") == "run\nrun\n")

    def check_restart_waits(self):
        """A run that only a full disk prevents is none of those the policy allows."""
        self.fill(self.disk)
        (self.root / "tmp/end").touch()
        wait_until(lambda: self.executor.states()["again"] == "exited")
        time.sleep(1.5)
        (self.root / "tmp/end").unlink()
        self.assertEqual(self.executor.states()["again"], "exited")

    def walk(self, full):
        self.launch_all()
        self.fill(self.disk)
        self.check_full(full)
        self.check_next(full)
        self.check_restart_waits()
        self.check_room_again()

    def fill(self, disk):
        limits.fill_blocks(disk)

    def empty(self, disk):
        for path in disk.glob("filler*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def finish(self):
        self.empty(self.disk)
        try:
            super().finish()
        finally:
            limits.unmount(self.disk)


class FullDisk(Full):
    def test_it(self):
        self.walk(self.executor.data)
        self.check_commit()

    def check_commit(self):
        """An image of a container that has more (holes) than there is room for: none, and nothing of it."""
        self.executor.launch("writer", ["/bin/sh", "-c", "/bin/busybox truncate -s 100G /holes; echo made; sleep 1000"],
                             image="image")
        wait_until(lambda: self.executor.output("writer") == "made\n")
        before = self.executor.call("GANTRY_IMAGES", gantry_images={})
        with self.assertRaises(CallFailed) as caught:
            self.executor.call("GANTRY_COMMIT", gantry_commit={"container_id": {"value": "writer"}, "reference": "made"})
        self.assertEqual(caught.exception.status, 503, caught.exception)
        self.assertRegex(caught.exception.text, r"^(commit: )?/holes: takes 102400 MiB in the layer, where holes are zeros, and the "
                         r"disk of images has \d+ MiB left, of which 64 MiB stay free: make room")
        self.assertEqual(self.executor.call("GANTRY_IMAGES", gantry_images={}), before)
        wait_until(lambda: os.listdir(self.executor.data / "staging") == [])
        self.assertEqual(self.executor.states()["writer"], "running")
        self.executor.remove("writer", force=True)

    def check_full(self, full):
        super().check_full(full)
        self.check_import()

    def check_import(self):
        """Refused, and removed."""
        (self.root / "new").write_bytes(b"something that no image has" * 100000)
        done = subprocess.run([BIN / "gantry", "--runtime-dir", self.executor.runtime, "import", "-", "other"],
                              input=rootfs_tar(self.root), capture_output=True, check=False)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(b"No space left on device", done.stderr)
        self.assertEqual(list(self.executor.data.rglob("staging/*")), [])
        images = self.executor.call("GANTRY_IMAGES", gantry_images={})["gantry_images"]["images"]
        self.assertEqual(len(images), 1, images)


class AuditLog(Full):
    """What it loses on a full disk is counted and said, and pushes nothing out."""

    def lines(self):
        files = [self.executor.data / name for name in ("audit.log.2", "audit.log.1", "audit.log")]
        return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]

    def lost(self):
        connection = UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        return int(re.search(r"^gantry_audit_log_lost_lines_total (\d+)$", page, re.M)[1])

    def absent(self, name):
        with self.assertRaises(CallFailed):
            self.executor.remove(name)

    def test_it(self):
        self.executor.restart("--log-file-max-size", "2k", "--log-file-max-files", "3")
        for number in range(5):
            self.absent(f"before-{number}")
        self.assertEqual(self.lost(), 0)
        self.fill(self.disk)
        for number in range(200):
            self.absent(f"full-{number}")
        lost = self.lost()
        self.assertGreater(lost, 100)
        self.assertEqual(len(self.lines()), 205 - lost)
        self.empty(self.disk)
        self.absent("after")
        lines = self.lines()
        self.assertEqual([line["id"] for line in lines[:5]], [f"before-{number}" for number in range(5)])
        self.assertEqual((lines[-2]["lost_lines"], lines[-1]["id"]), (lost, "after"))
        self.assertEqual(len(lines), 207 - lost)
        said = self.executor.log.read_text()
        self.assertEqual(said.count("audit.log: lines are lost: write: No space left on device"), 1)
        self.assertEqual(said.count(f"audit.log goes on: {lost} lines were lost"), 1)


class NoInodes(FullDisk):

    def fill(self, disk):
        limits.fill_inodes(disk)


class FullRuntime(Full):
    options = "size=4m,nr_inodes=420"

    def place(self):
        self.executor.runtime = self.disk / "run"
        self.executor.socket = self.executor.runtime / "gantry.sock"

    def test_it(self):
        self.walk(self.executor.runtime)


class NoRuntimeInodes(FullRuntime):
    def fill(self, disk):
        limits.fill_inodes(disk)


if __name__ == "__main__":
    main()
