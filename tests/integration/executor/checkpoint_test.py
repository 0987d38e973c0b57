"""Checkpoint and restore of whole containers on this host, with the real CRIU: they go on where they stopped."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import urllib.request

from checkpoints import CAP_SYS_RESOURCE, COUNT, CheckpointTest, has_capability, stat_of
from gantry import CallFailed, free_port, main, rootfs_tar

# What a task may do and where it is, of /proc/PID/status.
RIGHTS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Umask",
          "Cpus_allowed")


class Checkpoint(CheckpointTest):
    def pid(self, name="c"):
        return self.executor.inspect(name)["container"]["pid"]

    def standing(self, name="c"):
        """Rights, cgroups and limits of a container's first process."""
        pid = pathlib.Path(f"/proc/{self.pid(name)}")
        status = dict(line.split(":", 1) for line in (pid / "status").read_text().splitlines())
        # In cgroup2 a container that a prepared child became keeps the child's name.
        cgroups = [line for line in (pid / "cgroup").read_text().splitlines() if not line.startswith("0::")]
        return ({field: status[field].strip() for field in RIGHTS}, cgroups,
                (pid / "limits").read_text(), os.readlink(pid / "cwd"), os.readlink(pid / "root"))

    def test_a_counter_goes_on_where_it_stopped(self):
        self.launch_counter(name="c", resources={"memory_limit_bytes": 64 << 20, "pids_limit": 20})
        standing = self.standing()
        for name in ("one", "two", "three"):
            made = self.checkpoint(name=name)
            self.assertEqual(made["checkpoint"], name)
            self.assertGreater(made["size_bytes"], 0)
            self.assertGreater(made["total_microseconds"], made["frozen_microseconds"])
            # Whoever is answered may restore it.
            self.assertEqual(self.executor.states(), {"c": "exited"})
            self.restore(name)
            self.assertEqual(self.executor.states(), {"c": "running"})
            self.assertEqual(self.standing(), standing)
            self.wait_for_numbers()
        stats = self.executor.call("GANTRY_STATS", gantry_stats={})["gantry_stats"]["containers"]
        self.assertEqual(stats[0]["statistics"]["mem_limit_bytes"], 64 << 20)
        self.executor.signal("c")
        self.assertEqual(self.executor.wait("c")["exit_status"], 9)
        self.numbers()

    def test_a_zombie_comes_back(self):
        # Its parent never looks at it.
        self.executor.launch("c", ["/bin/sh", "-c", "true & exec sleep 1000"], self.root)

        def children():
            pid = self.pid()
            return [stat_of(int(child))[1][0] for child in
                    pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

        self.until(children, lambda states: states == ["Z"])
        self.checkpoint()
        self.restore()
        self.assertEqual(children(), ["Z"])

    def test_its_exit_status_is_the_true_one_after_a_restore(self):
        self.executor.launch("c", ["/bin/sh", "-c", "trap 'exit 7' TERM; " + COUNT], self.root)
        self.wait_for_numbers()
        self.checkpoint()
        self.restore()
        self.wait_for_numbers()
        self.executor.restart()
        self.executor.signal("c", signal.SIGTERM)
        self.assertEqual(self.executor.wait("c")["exit_status"], 7 << 8)

    def test_volumes_on_an_image(self):
        self.executor.import_tar(rootfs_tar(self.root), "busybox")
        volume = self.top / "volume"
        volume.mkdir(mode=0o777)
        volume.chmod(0o777)
        script = "echo layer > /tmp/layer; echo memory > /scratch/file; exec 3>/volume/log; " + COUNT.replace(
            "echo $i;", "echo $i; echo $i >&3;")
        self.executor.launch("c", ["/bin/sh", "-c", script], image="busybox", hostname="kept",
                             mounts=[{"type": "BIND", "source": str(volume), "destination": "/volume"},
                                     {"type": "TMPFS", "destination": "/scratch"}])
        self.wait_for_numbers()
        standing = self.standing()
        self.checkpoint()
        self.restore()
        self.wait_for_numbers()
        self.assertEqual(self.standing(), standing)
        root = pathlib.Path(f"/proc/{self.pid()}/root")
        self.assertEqual((root / "tmp/layer").read_text(), "layer\n")
        self.assertEqual((root / "scratch/file").read_text(), "memory\n")
        self.assertEqual((root / "etc/hostname").read_text(), "kept\n")
        lines = (volume / "log").read_text().split()
        self.assertEqual(lines, [str(i) for i in range(len(lines))])

    def test_it_comes_back_into_its_cgroup_parent(self):
        self.launch_counter(cgroup_parent="web/front")
        cgroups = self.executor.inspect("c")["cgroups"]
        self.checkpoint()
        self.assertFalse(any(os.path.exists(path) for path in cgroups))
        self.executor.restart()
        self.restore()
        self.wait_for_numbers()
        self.assertEqual(self.executor.inspect("c")["cgroups"], cgroups)
        self.assertIn("/parents/web/front/@c", pathlib.Path(f"/proc/{self.pid()}/cgroup").read_text())

    def test_a_user_that_is_not_root(self):
        self.launch_counter(user="1000:1000")
        if not has_capability(CAP_SYS_RESOURCE):
            # CRIU reads the limits of another user's process.
            self.refused(self.checkpoint, "this host's root lacks CAP_SYS_RESOURCE")
            self.assertEqual(self.executor.states(), {"c": "running"})
            self.wait_for_numbers()
            return
        standing = self.standing()
        self.checkpoint()
        self.restore()
        self.wait_for_numbers()
        self.assertEqual(self.standing(), standing)

    def fetched(self, port):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read()

    def launch_on_bridge(self, *argv):
        port = free_port()
        self.executor.launch("c", argv, self.root, network={
            "mode": "BRIDGE", "ports": [{"host_port": port, "container_port": 80}]})
        return port

    def test_the_bridge_is_there_again(self):
        port = self.launch_on_bridge("/bin/sh", "-c", COUNT)
        self.checkpoint()
        self.restore()
        self.wait_for_numbers()
        for _ in range(2):
            # A server in its network namespace, on the published port.
            (self.top / "index.html").write_text("served\n")
            server = subprocess.Popen(
                ["nsenter", "--net", "--target", str(self.pid()), "busybox", "httpd", "-f", "-p", "80", "-h", self.top],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.until(lambda: self.fetched(port), lambda found: found == b"served\n")
            finally:
                server.kill()
                server.wait()
            self.executor.restart()

    def test_a_server_is_published_again(self):
        (self.root / "www").mkdir()
        (self.root / "www/index.html").write_text("served\n")
        port = self.launch_on_bridge("/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www")
        self.until(lambda: self.fetched(port), lambda found: found == b"served\n")
        try:
            self.checkpoint()
        except CallFailed as failed:
            # An old CRIU on a new kernel: said, and the server goes on.
            self.assertIn("which CRIU before 4.2 cannot save on Linux 6.16 or newer", failed.text)
        else:
            self.assertIsNone(self.fetched(port))
            self.restore()
        self.until(lambda: self.fetched(port), lambda found: found == b"served\n")

    def test_the_newest_of_a_container_is_restored(self):
        self.launch_counter()
        self.checkpoint(name="a", leave_running=True)
        self.checkpoint(name="b")
        self.launch_counter("other")
        answer = self.restore("c")["gantry_restore"]
        self.assertEqual(answer["container_id"]["value"], "c")
        self.wait_for_numbers()
        self.executor.remove("c", force=True)
        self.assertEqual(self.checkpoints(), [])
        self.assertEqual(self.executor.states(), {"other": "running"})

    def test_where_the_time_went_is_told(self):
        self.launch_counter()
        made = self.checkpoint()
        back = self.restore()["gantry_restore"]
        for answer in (made, back):
            told = sum(step["microseconds"] for step in answer["steps"])
            self.assertGreater(told, 0.9 * answer["total_microseconds"], json.dumps(answer))
            self.assertLessEqual(told, answer["total_microseconds"])


if __name__ == "__main__":
    main()
