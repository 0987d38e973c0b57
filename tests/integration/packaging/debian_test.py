"""The Debian package in a clean, debootstrapped root: installed, upgraded under containers, downgraded, removed, purged."""
import os

from debian_host import DebianHostTest
from gantry import main, wait_until


class DebianPackage(DebianHostTest):
    def test_from_installation_to_purge(self):
        self.install("1.0")
        self.assertIn("gantry:", self.world.path("/etc/group").read_text())
        self.assertIn("/gantry.slice/gantry", self.world.path("/etc/gantry/config.json").read_text())
        self.assertTrue(os.path.lexists(self.world.path("/etc/systemd/system/multi-user.target.wants/gantry.service")))
        self.start("plain")
        self.start("web", "-p", "8080:80")
        self.assertIn("/gantry.slice/gantry/containers/", self.world.path(f"/proc/{self.sleepers()[0]}/cgroup").read_text())
        running, executor = self.sleepers(), self.executor_pid()
        self.assertEqual(len(running), 2)

        with open(self.world.path("/etc/gantry/config.json"), "a", encoding="utf-8") as file:
            file.write("// changed by the administrator\n")
        for version in ("2.0", "1.0", "2.0"):
            with self.subTest(f"to {version}"):
                self.install(version, "--force-confold")
                self.assertEqual((self.sleepers(), self.executor_pid()), (running, executor))
                self.assert_build(executor, version)
                self.assert_build(self.world.processes("gantry-launcher")[0], version)
                self.assertIn("changed by the administrator", self.world.path("/etc/gantry/config.json").read_text())
                self.assertEqual(self.gantry("exec", "plain", "/bin/echo", "here"), "here\n")

        said = self.world.run("dpkg", "-r", "gantry")
        self.assertIn("containers go on running without their executor", said)
        self.assertEqual((self.sleepers(), self.world.processes("gantry-executor")), (running, []))
        self.assertTrue(self.world.path("/etc/gantry/config.json").exists())

        self.install("1.0")
        self.assertEqual(self.gantry("ps").count(" running for "), 2)
        self.assertEqual(self.gantry("exec", "plain", "/bin/echo", "here"), "here\n")
        self.assertIn("plain", self.gantry("stop", "-t", "0", "plain"))

        self.world.run("dpkg", "-P", "gantry")
        self.assert_nothing_left()

    def test_removed_while_nothing_runs_and_purged_with_its_data_elsewhere(self):
        self.install("1.0")
        settings = self.world.path("/etc/gantry/config.json")
        settings.write_text(settings.read_text().replace('// , "data_dir"', ', "data_dir"'))
        self.assertEqual(self.gantry("run", "--name", "once", "--rootfs", "/srv/box", "/bin/echo", "done"), "done\n")
        said = self.world.run("dpkg", "-r", "gantry")
        self.assertNotIn("go on running", said)
        wait_until(lambda: not self.world.processes("gantry"))
        self.assertTrue(self.world.path("/srv/gantry/sandboxes").exists())
        self.install("2.0")
        self.assertIn("once", self.gantry("ps", "-a"))
        self.world.run("dpkg", "-r", "gantry")
        self.world.run("dpkg", "-P", "gantry")
        self.assert_nothing_left()

    def test_tools_uninstall_purges_the_package_and_what_it_does_not_know(self):
        self.install("1.0")
        self.start("plain")
        uninstall = "/srv/source/tools/uninstall"
        told = self.world.run(uninstall, "--dry-run")
        for words in ("dpkg --purge gantry", "rm -rf --one-file-system /var/lib/gantry/sandboxes"):
            self.assertIn(words, told)
        self.assertEqual(len(self.sleepers()), 1)
        self.assertIn("nothing was done", self.world.run(uninstall, check=False))
        self.assertEqual(len(self.sleepers()), 1)
        self.world.run(uninstall, "--yes")
        self.assert_nothing_left()
        self.assertIn("nothing of Gantry's is here", self.world.run(uninstall))

    def test_an_upgrade_to_settings_that_are_wrong_leaves_the_former_executor(self):
        self.install("1.0")
        self.start("plain")
        executor, settings = self.executor_pid(), self.world.path("/etc/gantry/config.json")
        right = settings.read_text()
        settings.write_text('{"data_dir": 5}\n')
        said = self.install("2.0", "--force-confold")
        self.assertIn("the executor goes on as the former version", said)
        self.assertEqual(self.executor_pid(), executor)
        self.assert_build(executor, "1.0")
        settings.write_text(right)
        self.gantry("executor", "upgrade")
        self.assert_build(executor, "2.0")
        self.assertEqual(len(self.sleepers()), 1)
        self.world.run("dpkg", "-P", "gantry")
        self.assert_nothing_left()


if __name__ == "__main__":
    main()
