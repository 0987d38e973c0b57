"""A kernel without overlayfs, bridge and nf_tables (their modules may not be loaded): said by `gantry doctor`, and by the
launch that needs them. Pure cgroup v2 is said, too. Runs before anything has loaded them."""
import json
import pathlib
import subprocess

from gantry import BIN, CallFailed, GantryTest, bridge, main, rootfs_tar

MODPROBE = pathlib.Path("/proc/sys/kernel/modprobe")


class Lacking(GantryTest):
    @classmethod
    def setUpClass(cls):
        program = MODPROBE.read_text()
        cls.addClassCleanup(MODPROBE.write_text, program)
        MODPROBE.write_text("/bin/false")

    def doctor(self):
        said = subprocess.run([BIN / "gantry", "--socket", self.executor.socket, "doctor", "--json"], capture_output=True,
                              text=True, check=False)
        return said.returncode, {one["feature"]: one for one in json.loads(said.stdout)["findings"]}

    def test_the_doctor_says_what_is_missing_until_it_is_there(self):
        status, said = self.doctor()
        self.assertEqual(status, 1)
        self.assertEqual(said["overlayfs"]["verdict"], "limited")
        self.assertEqual(said["bridge network"]["verdict"], "missing")
        self.assertIn("bridge", said["bridge network"]["detail"])
        self.assertTrue(said["cgroups"]["detail"].startswith("v2,"), said["cgroups"])
        self.assertEqual(said["pause and kill"]["detail"], "cgroup v2 freezer and cgroup.kill")
        self.assertEqual({name: said[f"limit: {name}"]["verdict"] for name in ("cpu", "cpuset", "memory", "pids", "io", "devices")},
                         dict.fromkeys(("cpu", "cpuset", "memory", "pids", "io", "devices"), "ok"))
        self.assertEqual(said["exit status after the launcher's death"]["verdict"], "limited")

    def test_a_launch_that_needs_it_is_refused_by_name(self):
        with self.assertRaises(CallFailed) as refused:
            self.executor.launch("c", ["/bin/true"], self.root, **bridge())
        self.assertIn("bridge", refused.exception.text)
        self.assertEqual(self.executor.list(), [])

    def test_an_image_without_overlayfs_is_copied(self):
        self.executor.import_tar(rootfs_tar(self.root), "tools:1")
        answer, out, _ = self.executor.run("c", ["/bin/sh", "-c", "echo here > /new; cat /new"], image="tools:1")
        self.assertEqual((answer["exit_status"], out), (0, "here\n"))


if __name__ == "__main__":
    main()
