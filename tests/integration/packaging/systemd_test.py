"""The unit under a real systemd, process 1 of a debootstrapped host: containers do not notice what becomes of it."""
import time

from debian_host import SYSTEMD, DebianHostTest
from gantry import main, wait_until


class Systemd(DebianHostTest):
    packages = ("systemd", "systemd-sysv")
    first = SYSTEMD
    limits = ("--memory", "64m", "--pids", "20")

    @classmethod
    def prepare(cls, root):
        # There are no terminals, and the network is not theirs.
        for unit in ("console-getty.service", "getty.target", "systemd-networkd.service", "systemd-resolved.service"):
            (root / "etc/systemd/system" / unit).symlink_to("/dev/null")

    def setUp(self):
        wait_until(lambda: self.world.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"), 60)
        super().setUp()

    def systemctl(self, *words, check=True):
        return self.world.run("systemctl", *words, check=check).strip()

    def property(self, name):
        return self.systemctl("show", "-P", name, "gantry.service")

    def main_pid(self):
        return int(self.property("MainPID"))

    def wait_active(self):
        wait_until(lambda: self.property("ActiveState") == "active")
        wait_until(lambda: self.main_pid() in self.world.processes("gantry-executor"))
        wait_until(lambda: self.executor_pid() == self.main_pid())

    def cgroup_of(self, pid):
        return self.world.run("cat", f"/proc/{pid}/cgroup")

    def assert_same(self, running):
        """The same process, in its own cgroup of every hierarchy, and an executor that knows it."""
        self.assertEqual(self.sleepers(), running)
        for line in self.cgroup_of(running[0]).splitlines():
            if self.hierarchies == "v2" and not line.startswith("0::"):
                continue
            self.assertIn(":/gantry.slice/gantry/containers/", line)
        self.assertEqual(self.gantry("exec", "plain", "/bin/echo", "here"), "here\n")

    def test_containers_go_on_whatever_the_unit_goes_through(self):
        self.install("1.0")
        self.wait_active()
        self.start("plain", *self.limits)
        running = self.sleepers()
        self.assertIn("::/gantry.slice/gantry.service\n", self.cgroup_of(self.main_pid()))
        self.assertIn("::/gantry.slice/gantry/containers/", self.cgroup_of(running[0]))
        for step in (["restart"], ["stop", "start"], ["reload"], ["kill --kill-whom=main --signal=KILL"]):
            with self.subTest(step):
                before = self.main_pid()
                for words in step:
                    self.systemctl(*words.split(), "gantry.service")
                if step != ["reload"]:
                    wait_until(lambda b=before: self.main_pid() not in (0, b))
                self.wait_active()
                self.assertEqual(self.main_pid() == before, step == ["reload"])
                self.assert_same(running)
        for words in ("daemon-reload", "daemon-reexec"):
            with self.subTest(words):
                self.systemctl(words)
                self.assert_same(running)
                new = self.gantry("run", "--rm", *self.limits, "--rootfs", "/srv/box", "/bin/echo", "new")
                self.assertEqual(new, "new\n")
        for version in ("2.0", "1.0"):
            with self.subTest(version):
                before = self.main_pid()
                self.install(version)
                self.wait_active()
                self.assertEqual(self.main_pid(), before)
                self.assert_build(before, version)
                self.assert_same(running)
        self.check_executor_on_demand(running)

        self.assertIn("Operation refused", self.systemctl("stop", "gantry.slice", check=False))
        self.world.run("dpkg", "-r", "gantry")
        self.assertEqual((self.sleepers(), self.world.processes("gantry-executor")), (running, []))
        self.install("2.0")
        self.wait_active()
        self.assert_same(running)
        self.world.run("dpkg", "-P", "gantry")
        self.assertEqual(self.sleepers(), [])
        self.assertEqual(self.world.processes("gantry"), [])
        self.assertEqual(self.systemctl("list-units", "--all", "--no-legend", "gantry.service"), "")

    def check_executor_on_demand(self, running):
        """Where the unit is off, a command starts an executor; while that serves, the unit waits for its end."""
        self.systemctl("disable", "--now", "gantry.service")
        self.systemctl("daemon-reload")
        self.assert_same(running)
        theirs = self.executor_pid()
        self.systemctl("enable", "--now", "gantry.service", check=False)
        time.sleep(3)
        self.assertEqual(self.executor_pid(), theirs)
        self.world.run("sh", "-c", f"kill {theirs}")
        wait_until(lambda: self.executor_pid() != theirs)
        self.wait_active()
        self.assert_same(running)


class UnifiedSystemd(Systemd):
    hierarchies = "v2"
    limits = ()


if __name__ == "__main__":
    main()
