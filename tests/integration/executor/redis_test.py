"""redis-server from Debian's package, in a container: used with redis-cli and redis-benchmark, checkpointed, restored."""
import pathlib
import re
import shutil
import subprocess
import time

from gantry import GantryTest, main


def install(root, *programs):
    """Copies dynamic programs of the host with the libraries they need."""
    for program in programs:
        libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True,
                                                               check=True).stdout)
        for source in [program, *libraries]:
            target = pathlib.Path(str(root) + source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


class Redis(GantryTest):
    def cli(self, *words):
        return subprocess.run(["redis-cli", "-s", str(self.root / "tmp/redis.sock"), *words], capture_output=True,
                              text=True, timeout=20, check=False).stdout.strip()

    def wait_ready(self):
        deadline = time.monotonic() + 15
        while self.cli("ping") != "PONG":
            self.assertLess(time.monotonic(), deadline, self.executor.output("redis"))
            time.sleep(0.05)

    def test_it_serves_and_keeps_its_data_over_a_checkpoint(self):
        install(self.root, "/usr/bin/redis-server")
        self.executor.launch("redis", ["/usr/bin/redis-server", "--port", "0", "--unixsocket", "/tmp/redis.sock",
                                       "--save", ""], self.root, resources={"memory_limit_bytes": 256 << 20})
        self.wait_ready()
        self.assertEqual(self.cli("set", "key", "kept"), "OK")
        run = subprocess.run(["redis-benchmark", "-s", str(self.root / "tmp/redis.sock"), "-n", "20000", "-q", "-t",
                              "set,get"], capture_output=True, text=True, timeout=60, check=True)
        self.assertIn("requests per second", run.stdout)
        time.sleep(0.3)  # the benchmark's connections are closed: one from outside cannot be checkpointed
        self.executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": "redis"}, "name": "r"})
        self.executor.wait("redis")
        deadline = time.monotonic() + 5
        while self.executor.states()["redis"] != "exited" and time.monotonic() < deadline:
            time.sleep(0.02)
        self.executor.call("GANTRY_RESTORE", gantry_restore={"checkpoint": "r"})
        self.wait_ready()
        self.assertEqual(self.cli("get", "key"), "kept")


if __name__ == "__main__":
    main()
