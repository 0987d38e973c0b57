"""The executor is killed at every named failpoint; the next one adopts what runs and removes what was half made."""
import http.client
import os
import subprocess
import time

from gantry import (BIN, CallFailed, GantryTest, another_build, container_id, free_port, main, rootfs_tar,
                    wait_until)
from streams import RECORDIO_INPUT, first_input, framed, stdin_data


def failpoints():
    run = subprocess.run([BIN / "gantry-executor", "--list-failpoints"], capture_output=True, text=True, check=True)
    return run.stdout.split()


class Failpoints(GantryTest):
    # One battery for all: an import, a launch on the bridge, its end, an image of it, its removal, a launch by a prepared
    # child, and one in a container, with a terminal.
    # Start-up passes the recovery points.
    def battery(self, point):
        # A layer of this round's own, or an earlier round's unpacked one is taken.
        (self.root / "etc/round").write_text(point)
        self.executor.import_tar(rootfs_tar(self.root), "busybox", volumes=["/root"])
        self.executor.launch("victim", ["/bin/sh", "-c", "echo out; exit 3"], image="busybox", name="v", cgroup_parent="web/front",
                             network={"mode": "BRIDGE", "ports": [{"host_port": self.port, "container_port": 80}]})
        self.executor.wait("victim")
        self.executor.call("GANTRY_COMMIT", gantry_commit={"container_id": container_id("victim"), "reference": "made"})
        self.executor.remove("victim")
        if point.startswith("create."):
            self.create_made()
        for name in ("busybox", "made"):
            self.executor.call("GANTRY_REMOVE_IMAGE", gantry_remove_image={"reference": name})
        self.executor.launch("again", ["/bin/sh", "-c", "exit 3"], self.root,
                             restart={"policy": "ON_FAILURE", "maximum_retries": 1})
        wait_until(lambda: [c for c in self.executor.list() if c.get("restarts") == 1 and c["state"] == "exited"])
        self.executor.remove("again")
        if point.startswith("health."):
            self.launch_sick()
        wait_until(lambda: self.executor.metric("containerizer/prepared_children") > 0)
        self.executor.run("prepared", ["/bin/sh", "-c", "exit 3"], self.root)
        self.executor.exec("keeper.nested", ["/bin/sh", "-c", "read status; exit $status"], tty=True)
        self.tell_nested()
        self.executor.wait("keeper.nested")
        self.look_at_nested()
        self.executor.remove("keeper.nested")

    def create_made(self):
        self.executor.create("made", ["/bin/sh", "-c", "exit 3"], image="busybox")
        self.start_made()

    def start_made(self):
        self.executor.call("GANTRY_START", gantry_start={"container_id": {"value": "made"}})
        self.assertEqual(self.executor.wait("made")["exit_status"], 3 << 8)
        self.executor.remove("made")

    def launch_sick(self):
        """Runs again at its first check, whoever dies meanwhile."""
        self.executor.launch("sick", ["/bin/sleep", "1000"], self.root, stop_timeout_seconds=0, health={
            "args": ["/bin/false"], "interval_ms": 20, "retries": 1, "on_failure": "RESTART"})
        self.await_sick()

    def await_sick(self):
        wait_until(lambda: self.executor.inspect("sick")["container"].get("restarts"))
        self.executor.remove("sick", force=True)

    def tell_nested(self):
        self.executor.post(framed(first_input(container_id("keeper.nested")), stdin_data(b"3\n")),
                           headers=RECORDIO_INPUT)

    def look_at_nested(self):
        """All it said: what was typed comes back."""
        _, _, said = self.executor.post({"type": "ATTACH_CONTAINER_OUTPUT", "attach_container_output": {
            "container_id": container_id("keeper.nested"), "gantry_output": {"from_start": True}}}, headers={
                "Accept": "application/recordio", "Message-Accept": "application/json"})
        self.assertIn(b'"data":"Mw0K"', said)  # 3\r\n

    def killed_at(self, point):
        """True when the executor died at the point while starting or during the battery."""
        # Of another build than the launcher that runs; the next executor is of the first one again.
        self.executor.bin = self.other_bin if point.startswith("upgrade.") else BIN
        self.executor.start("--failpoints", f"{point}=kill", wait=False)
        try:
            self.executor.wait_ready()
            self.battery(point)
        except (OSError, http.client.HTTPException, CallFailed, AssertionError):
            pass
        deadline = time.monotonic() + 3
        while self.executor.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.executor.process.poll() is None:
            self.executor.kill()
            return False
        return self.executor.wait_dead() == -9

    def remove_images(self):
        """What an import made goes as a whole, or was never there."""
        for image in self.executor.call("GANTRY_IMAGES", gantry_images={})["gantry_images"].get("images", []):
            self.executor.call("GANTRY_REMOVE_IMAGE", gantry_remove_image={"reference": image["digest"]})
        for folder in ("layers", "images/blobs/sha256"):
            self.assertEqual(os.listdir(self.executor.data / folder), [], folder)

    def test_every_failpoint(self):
        # Those of checkpoint and restore: tests/fault/checkpoint.
        points = [p for p in failpoints() if not p.startswith(("checkpoint.", "restore."))]
        self.assertGreaterEqual(len(points), 20)
        self.port = free_port()
        self.other_bin = another_build(self.top / "bin", "another")
        self.executor.launch("keeper", ["/bin/sh", "-c", "while :; do sleep 1; done"], self.root)
        keeper = self.executor.inspect("keeper")["container"]["pid"]
        # What an executor that died earlier left to be recovered in one pass: one that ended.
        missed = []
        for point in points:
            with self.subTest(point=point):
                self.executor.launch("ended", ["/bin/sh", "-c", "sleep 0.05; exit 6"], self.root)
                self.executor.kill()
                time.sleep(0.1)
                if not self.killed_at(point):
                    missed.append(point)
                self.executor.bin = BIN
                self.executor.start()
                states = self.executor.states(nested=True)
                self.assertEqual(states.get("keeper"), "running")
                self.assertEqual(self.executor.inspect("keeper")["container"]["pid"], keeper)
                self.assertEqual(self.executor.wait("ended")["exit_status"], 6 << 8)
                self.executor.remove("ended")
                if states.get("keeper.nested") == "running":
                    self.tell_nested()
                # All of it, or nothing.
                if "made" in states:
                    self.assertEqual(states["made"], "created")
                    self.start_made()
                self.assertNotIn("made", os.listdir(self.executor.data / "registrations/containers"))
                if "sick" in states:
                    self.await_sick()
                for name in {"victim", "prepared", "keeper.nested"} & states.keys():
                    # Adopted, or ended: its outcome is the true one, never a guess.
                    answer = self.executor.wait(name)
                    self.assertEqual(answer.get("exit_status"), 3 << 8, (name, answer, self.executor.log_tail()))
                    self.executor.remove(name, force=True)
                self.remove_images()
                self.assertEqual(self.executor.check_leaks(), [])
        print(f"{len(points)} failpoints, {len(points) - len(missed)} hit, not hit: {missed}")
        self.assertEqual(missed, [])

    def test_commit(self):
        """An executor that dies while it makes an image of a container: there is none of it, or all; the container goes on."""
        self.executor.import_tar(rootfs_tar(self.root), "busybox")
        self.executor.launch("counter", ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i | tee /n; usleep 20000; done"],
                             image="busybox")
        commit = {"container_id": container_id("counter"), "reference": "made", "request_id": "the same"}
        for point in ("image.after_ingest", "commit.before_resume", "image.before_commit", "image.after_commit"):
            with self.subTest(point=point):
                self.executor.kill()
                self.executor.start("--failpoints", f"{point}=kill")
                with self.assertRaises((OSError, http.client.HTTPException)):
                    self.executor.call("GANTRY_COMMIT", gantry_commit=commit)
                self.assertEqual(self.executor.wait_dead(), -9)
                self.executor.start()
                self.assertEqual(self.executor.states()["counter"], "running")
                said = len(self.executor.output("counter"))
                wait_until(lambda said=said: len(self.executor.output("counter")) > said)
                names = [name for image in self.executor.call("GANTRY_IMAGES", gantry_images={})["gantry_images"]["images"]
                         for name in image["references"]]
                self.assertEqual("made:latest" in names, point == "image.after_commit")
                self.executor.call("GANTRY_COMMIT", gantry_commit=commit)
                self.executor.call("GANTRY_REMOVE_IMAGE", gantry_remove_image={"reference": "made"})
                self.assertEqual(len(self.executor.call("GANTRY_IMAGES", gantry_images={})["gantry_images"]["images"]), 1)
        self.executor.remove("counter", force=True)
        self.remove_images()


if __name__ == "__main__":
    main()
