"""A host that lacks what a launch asks for: `gantry doctor` says so, and so does that launch; the others go on."""
import json
import subprocess

from gantry import BIN, CallFailed, GantryTest, main

LACKING = ("memory", "pids", "blkio")
WANTED = {"memory": {"memory_limit_bytes": 64 << 20}, "pids": {"pids_limit": 10},
          "blkio": {"read_bps": [{"major_number": 254, "minor_number": 0, "rate": 1 << 20}]}}


class Lacking(GantryTest):
    @classmethod
    def setUpClass(cls):
        for controller in LACKING:
            subprocess.run(["umount", f"/sys/fs/cgroup/{controller}"], check=True)

    def doctor(self):
        said = subprocess.run([BIN / "gantry", "--socket", self.executor.socket, "doctor", "--json"], capture_output=True,
                              text=True, check=False)
        self.assertEqual(said.returncode, 1, said.stderr)
        return {one["feature"]: one for one in json.loads(said.stdout)["findings"]}

    def test_the_doctor_names_what_is_missing_and_what_there_is(self):
        said = self.doctor()
        self.assertTrue(said["cgroups"]["detail"].startswith("v1,"), said["cgroups"])
        self.assertEqual(said["pause and kill"]["detail"], "cgroup v1 freezer")
        self.assertEqual({name: said[f"limit: {name}"]["verdict"] for name in ("cpu", "memory", "pids", "io", "devices")},
                         {"cpu": "ok", "memory": "missing", "pids": "missing", "io": "missing", "devices": "ok"})

    def test_a_launch_that_asks_for_it_is_refused_by_name(self):
        for controller, resources in WANTED.items():
            with self.assertRaises(CallFailed) as refused:
                self.executor.launch("c", ["/bin/true"], self.root, resources=resources)
            self.assertIn(f"no {controller} cgroup controller", refused.exception.text)
        self.assertEqual(self.executor.list(), [])

    def test_one_that_does_not_runs(self):
        self.assertEqual(self.sh("c", "exit 4", resources={"cpus": 0.5})[0]["exit_status"], 4 << 8)


if __name__ == "__main__":
    main()
