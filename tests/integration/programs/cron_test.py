"""A job each second for a minute, as cron would run it: each in a container of its own, none missed, nothing left."""
import json
import os
import time

from debian import ProgramTest
from gantry import main

SECONDS = 60
JOB = 'set -eu; read -r n </job/count; n=$((n + 1)); echo $n >/job/count; echo "run $n"; ls /missing 2>&1 | wc -l >/dev/null'


class Cron(ProgramTest):
    packages = ("dash", "coreutils")

    def test_a_job_each_second(self):
        job = self.top / "job"
        job.mkdir()
        (job / "count").write_text("0\n")
        started, latest, descriptors = time.monotonic(), 0.0, 0
        for n in range(SECONDS):
            time.sleep(max(0, started + n - time.monotonic()))
            begun = time.monotonic()
            out = self.gantry("run", "--rm", "--name", "job", "--memory", "32m", "-v", f"{job}:/job", "--rootfs", self.root,
                              "/bin/sh", "-c", JOB)
            latest = max(latest, time.monotonic() - begun)
            self.assertEqual(out, f"run {n + 1}\n")
            if n == SECONDS // 2:  # by now what is kept ready for the next launches is there
                descriptors = self.descriptors()
        print(json.dumps({"cron": SECONDS, "slowest_seconds": round(latest, 3)}), flush=True)
        self.assertEqual((job / "count").read_text(), f"{SECONDS}\n")
        self.assertEqual(self.gantry("ps", "-aq"), "")
        self.assertEqual(list((self.executor.data / "sandboxes").iterdir()), [])
        self.assertLess(self.descriptors(), descriptors + 20)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.executor.process.pid}/fd"))


if __name__ == "__main__":
    main()
