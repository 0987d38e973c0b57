"""redis-server in a container: used with redis-cli and redis-benchmark, checkpointed, restored."""
import re
import subprocess
import time

from debian import ProgramTest
from gantry import main, wait_until


class Redis(ProgramTest):
    packages = ("redis-server",)

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-s", str(self.root / "tmp/redis.sock"), *words], capture_output=True,
                              text=True, timeout=20, check=False).stdout.strip()

    def wait_ready(self):
        def answers():
            self.assertEqual(self.executor.states()["redis"], "running", self.executor.output("redis"))
            return self.cli("ping") == "PONG"
        wait_until(answers, 30)

    def test_it_serves_and_keeps_its_data_over_a_checkpoint(self):
        self.executor.launch("redis", ["redis-server", "--port", "0", "--unixsocket", "/tmp/redis.sock", "--save", ""],
                             self.root, resources={"memory_limit_bytes": 256 << 20})
        self.wait_ready()
        self.assertEqual(self.cli("set", "key", "kept"), "OK")
        run = subprocess.run(["redis-benchmark", "-s", str(self.root / "tmp/redis.sock"), "-n", "20000", "-q", "-t",
                              "set,get"], capture_output=True, text=True, timeout=60, check=True)
        print(*re.findall(r"[SG]ET: [0-9.]+ requests per second", run.stdout), sep=", ", flush=True)
        self.assertIn("requests per second", run.stdout)
        time.sleep(0.3)  # the benchmark's connections are closed: one from outside cannot be checkpointed
        self.executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": "redis"}, "name": "r"})
        self.executor.wait("redis")
        wait_until(lambda: self.executor.states()["redis"] == "exited")
        self.executor.call("GANTRY_RESTORE", gantry_restore={"checkpoint": "r"})
        self.wait_ready()
        self.assertEqual(self.cli("get", "key"), "kept")


if __name__ == "__main__":
    main()
