"""/metrics as Prometheus' own promtool reads it."""
import os
import pathlib
import shutil
import subprocess

from gantry import GantryTest, main

CACHE = pathlib.Path(os.environ.get("GANTRY_TOOLS_CACHE", "/var/cache/gantry-tools"))
PROMTOOL = shutil.which("promtool") or str(CACHE / "promtool/usr/bin/promtool")


class Promtool(GantryTest):
    def check(self):
        page = subprocess.run(["curl", "-sS", "--unix-socket", self.executor.socket, "http://gantry/metrics"],
                              capture_output=True, check=True).stdout
        self.assertGreater(len(page), 1000)
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout.decode(), done.stderr.decode()), (0, "", ""))

    def test_it_has_no_complaint(self):
        if not os.access(PROMTOOL, os.X_OK):
            self.fail("there is no promtool: tools/setup --soak")
        self.check()
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root, name="odd",
                             resources={"memory_limit_bytes": 64 << 20})
        self.check()


if __name__ == "__main__":
    main()
