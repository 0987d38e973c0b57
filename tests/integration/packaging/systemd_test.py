"""The unit under a real systemd, process 1 of a debootstrapped host: containers do not notice what becomes of it."""
import time

from debian_host import SYSTEMD, DebianHostTest
from gantry import main, wait_until


class Systemd(DebianHostTest):
    packages = ("systemd", "systemd-sysv")
    first = SYSTEMD

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

    def assert_same(self, running):
        self.assertEqual(self.sleepers(), running)
        self.assertEqual(self.gantry("exec", "plain", "/bin/echo", "here"), "here\n")

    def test_containers_go_on_whatever_the_unit_goes_through(self):
        self.install("1.0")
        self.wait_active()
        self.start("plain", "--memory", "64m", "--pids", "20")
        running = self.sleepers()
        self.assertIn("/gantry.slice/gantry.service", self.world.path(f"/proc/{self.main_pid()}/cgroup").read_text())
        self.assertIn("/gantry.slice/gantry/containers/", self.world.path(f"/proc/{running[0]}/cgroup").read_text())
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
                self.assertIn("67108864", self.gantry("inspect", "plain"))
                new = self.gantry("run", "--rm", "--memory", "32m", "--rootfs", "/srv/box", "/bin/echo", "new")
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
        """Where somebody's executor serves, the unit waits for its end."""
        self.systemctl("stop", "gantry.service")
        self.gantry("ps")
        theirs = self.executor_pid()
        self.systemctl("start", "gantry.service", check=False)
        time.sleep(3)
        self.assertEqual(self.executor_pid(), theirs)
        self.world.run("sh", "-c", f"kill {theirs}")
        wait_until(lambda: self.executor_pid() != theirs)
        self.wait_active()
        self.assert_same(running)


if __name__ == "__main__":
    main()
