"""Restart policies, and what a reboot leaves of those that have a name or a policy."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

from gantry import CallFailed, GantryTest, main, rootfs_tar, wait_until

COUNT = "n=$(cat /root/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n > /root/n; echo run $n; "


class Restart(GantryTest):
    def launch(self, name, script, policy, **spec):
        self.executor.import_tar(rootfs_tar(self.root), "busybox")
        self.executor.launch(name, ["/bin/sh", "-c", script], image="busybox", restart=policy, **spec)

    def container(self, name):
        return next(c for c in self.executor.list() if c["container_id"]["value"] == name)

    def reboot(self):
        """All that a reboot ends is killed, and the runtime directory is empty: it is a tmpfs."""
        self.executor.kill()
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                if words[:1] == [b"gantry-launcher"] and str(self.executor.runtime).encode() in words:
                    children = (entry / f"task/{entry.name}/children").read_text().split()
                    # ORDER: the launcher first, which would start another logger.
                    for pid in (entry.name, *children):
                        os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not self.processes())
        subprocess.run(["umount", "-l", self.executor.runtime], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.executor.runtime)
        self.executor.start()

    def processes(self):
        """Everything in our cgroups."""
        found = subprocess.run(["sh", "-c", f"cat $(find /sys/fs/cgroup -path '*{self.executor.cgroup_root}*' "
                                "-name cgroup.procs) 2>/dev/null"], capture_output=True, text=True, check=False)
        return found.stdout.split()

    def test_on_failure_runs_so_often_and_its_output_is_all_there(self):
        self.launch("c", COUNT + "exit 3", {"policy": "ON_FAILURE", "maximum_retries": 2})
        wait_until(lambda: self.container("c").get("restarts") == 2 and self.executor.states()["c"] == "exited")
        time.sleep(0.5)
        self.assertEqual(self.executor.output("c"), "run 1\nrun 2\nrun 3\n")
        self.assertEqual(self.container("c")["restarts"], 2)
        self.assertEqual(self.executor.wait("c")["exit_status"], 3 << 8)

    def test_on_failure_leaves_a_success_alone(self):
        self.launch("c", COUNT + "[ $n = 2 ] || exit 1", {"policy": "ON_FAILURE"})
        wait_until(lambda: self.container("c").get("restarts") == 1 and self.executor.states()["c"] == "exited")
        time.sleep(0.5)
        self.assertEqual(self.executor.output("c"), "run 1\nrun 2\n")

    def test_always_until_it_is_stopped(self):
        self.launch("c", COUNT + "[ $n = 3 ] && sleep 1000", {"policy": "ALWAYS"})
        wait_until(lambda: self.executor.output("c") == "run 1\nrun 2\nrun 3\n")
        self.executor.stop("c", 0)
        time.sleep(0.5)
        self.assertEqual(self.executor.states(), {"c": "exited"})
        self.executor.restart()
        time.sleep(0.5)
        self.assertEqual(self.executor.states(), {"c": "exited"})
        self.assertEqual(self.container("c")["restarts"], 2)

    def test_a_dead_executor_forgets_no_policy(self):
        self.launch("c", COUNT + "sleep 0.4; exit 1", {"policy": "ALWAYS"})
        for i in range(2, 6):
            self.executor.kill()
            time.sleep(0.3 * (i % 3))
            self.executor.start()
            wait_until(lambda run=i: f"run {run}\n" in self.executor.output("c"))
        runs = self.executor.output("c").split("\n")[:-1]
        self.assertEqual(runs, [f"run {i + 1}" for i in range(len(runs))])
        self.executor.remove("c", force=True)
        self.assertEqual(self.executor.states(), {})
        self.assertEqual(os.listdir(self.executor.data / "registrations/containers"), [])

    def test_removed_while_it_waits_for_its_turn(self):
        self.launch("c", "exit 1", {"policy": "ALWAYS"})
        wait_until(lambda: self.container("c").get("restarts", 0) >= 3 and self.container("c").get("restart_due"))
        self.executor.remove("c")
        self.assertEqual(self.executor.states(), {})
        time.sleep(1)
        self.assertEqual(self.executor.states(), {})

    def test_a_reboot(self):
        self.launch("always", COUNT + "sleep 1000", {"policy": "ALWAYS"})
        self.launch("stopped", COUNT + "sleep 1000", {"policy": "UNLESS_STOPPED"})
        self.executor.stop("stopped", 0)
        self.executor.launch("named", ["/bin/sleep", "1000"], self.root, name="has-a-name")
        self.executor.launch("ended", ["/bin/sh", "-c", "exit 4"], self.root, name="has-ended")
        self.executor.wait("ended")
        self.executor.launch("nameless", ["/bin/sleep", "1000"], self.root)
        wait_until(lambda: self.executor.output("always") == "run 1\n" and self.executor.states()["ended"] == "exited")
        for reboots in (2, 3):
            self.reboot()
            wait_until(lambda run=reboots: f"run {run}\n" in self.executor.output("always"))
            self.assertEqual(self.executor.states(), {"always": "running", "stopped": "exited", "named": "exited",
                                                      "ended": "exited"})
        answer = self.executor.wait("named")
        self.assertEqual(answer["message"], "the host was restarted while it ran")
        self.assertEqual(answer["reason"], "REASON_AGENT_RESTARTED")
        self.assertEqual(self.executor.wait("ended")["exit_status"], 4 << 8)
        self.assertEqual(self.executor.inspect("has-a-name")["container"]["container_id"]["value"], "named")
        self.assertEqual(sorted(os.listdir(self.executor.data / "sandboxes")), ["always", "ended", "named", "stopped"])

    def begin(self, name):
        self.executor.call("GANTRY_START", gantry_start={"container_id": {"value": name}})

    def test_created_ones_stay_so_until_they_are_started(self):
        self.executor.import_tar(rootfs_tar(self.root), "busybox")
        say = ["/bin/sh", "-c", "echo said; exit 3"]
        self.executor.create("plain", say, image="busybox")
        self.executor.create("always", ["/bin/sleep", "1000"], image="busybox", restart={"policy": "ALWAYS"})
        self.executor.create("bad", ["/bin/nothing"], image="busybox")
        self.executor.create("gone", say, image="busybox", remove_on_exit=True)
        self.executor.create("rooted", say, self.root)
        made = dict.fromkeys(("plain", "always", "bad", "gone", "rooted"), "created")
        self.assertEqual(self.executor.states(), made)
        cid = {"container_id": {"value": "plain"}}
        self.refused(lambda: self.executor.call("GANTRY_PAUSE", gantry_pause=cid), "is created")
        self.refused(lambda: self.executor.exec("plain.x", ["/bin/true"]), "is created")
        self.assertEqual(self.refused(lambda: self.executor.stop("plain"), "has not been started").status, 409)
        self.assertEqual(self.refused(lambda: self.executor.signal("plain"), "has not been started").status, 409)
        self.refused(lambda: self.executor.call("GANTRY_REMOVE_IMAGE", gantry_remove_image={"reference": "busybox"}),
                     "busybox")
        self.refused(lambda: self.executor.create("x", say, image="absent"), "absent")
        self.refused(lambda: self.executor.create("x", say, self.root, cwd="x"), "gantry_create.launch.gantry_spec.cwd")
        self.executor.call("GANTRY_UPDATE", gantry_update={**cid, "name": "renamed"})
        self.executor.restart()
        self.assertEqual(self.executor.states(), made)
        self.assertEqual(self.container("plain")["command"], say)
        self.reboot()
        del made["gone"]
        self.assertEqual(self.executor.states(), made)
        self.assertEqual(sorted(os.listdir(self.executor.data / "sandboxes")), sorted(made))
        for name in ("plain", "rooted"):
            self.begin(name)
            self.assertEqual(self.executor.wait(name)["exit_status"], 3 << 8)
            self.assertEqual(self.executor.output(name), "said\n")
            self.assertEqual((self.container(name).get("name", ""), self.container(name).get("restarts", 0)),
                             ("renamed" if name == "plain" else "", 0))
        self.begin("always")
        self.refused(lambda: self.begin("bad"), "/bin/nothing")
        self.executor.restart()
        self.assertEqual(self.executor.states(), {"plain": "exited", "rooted": "exited", "always": "running", "bad": "exited"})
        self.executor.create("never", say, image="busybox")
        for name in ("never", "plain", "rooted", "bad"):
            self.executor.remove(name)
        self.assertEqual(os.listdir(self.executor.data / "registrations/containers"), ["always"])

    def test_damaged_registrations_are_set_aside_and_the_rest_goes_on(self):
        folder = self.executor.data / "registrations/containers"
        for name in ("torn", "flipped", "empty", "whole"):
            self.executor.launch(name, ["/bin/sleep", "1000"], self.root, name=f"n-{name}")
        whole = (folder / "torn").read_bytes()
        (folder / "torn").write_bytes(whole[:len(whole) // 2])
        flipped = bytearray((folder / "flipped").read_bytes())
        flipped[len(flipped) // 2] ^= 0x10
        (folder / "flipped").write_bytes(bytes(flipped))
        (folder / "empty").write_bytes(b"")
        self.reboot()
        self.assertEqual(self.executor.states(), {"whole": "exited"})
        for name in ("torn", "flipped", "empty"):
            self.assertIn(f"registrations/containers/{name}", self.executor.log_tail())
            self.assertEqual(len([f for f in os.listdir(folder) if f.startswith(f"{name}.damaged-")]), 1, name)

    def test_a_policy_that_makes_no_sense_is_refused(self):
        for policy, extra, words in (({"policy": "ALWAYS", "maximum_retries": 3}, {}, "restart.maximum_retries"),
                                     ({"policy": "ALWAYS"}, {"remove_on_exit": True}, "restart"),
                                     ({"policy": "SOMETIMES"}, {}, "policy")):
            with self.subTest(policy=policy), self.assertRaises(CallFailed) as refused:
                self.launch("c", "true", policy, **extra)
            self.assertIn(words, refused.exception.text)
        self.assertEqual(self.executor.states(), {})


if __name__ == "__main__":
    main()
