"""output through the logger, against `cat` from a pipe into a file"""
# The contenders take turns on the same disk; what counts is medians and their ratios (definitions: bench/README.md).
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import support
from support import median, say

GIB = 1 << 30
MANY = 4  # containers that write at once
ROTATED = {"max_size_bytes": 10 << 20, "max_files": 3}


class Bench:
    def __init__(self, build, executor, path):
        self.api = support.Api(str(executor.socket))
        self.root = support.make_rootfs(path / "root")
        shutil.copy(build / "bench/writer", self.root / "bin/writer")
        self.writer = str(build / "bench/writer")
        self.data = path / "data"
        self.directory = path / "cat"
        self.directory.mkdir()
        self.runtime = path / "run"

    def logger_seconds(self):
        """The logger's processor time until now."""
        table = (self.runtime / "launcher.table").read_bytes()[:16]
        launcher = int.from_bytes(table[12:], sys.byteorder)
        children = pathlib.Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        for pid in children:
            proc = pathlib.Path(f"/proc/{pid}")
            if (proc / "comm").read_text().strip() == "gantry-logger":
                return int((proc / "schedstat").read_text().split()[0]) / 1e9
        sys.exit("there is no logger")

    def cat(self, size, count):
        """Seconds, and processor seconds of cat."""
        start, pipelines = time.monotonic(), []
        for number in range(count):
            writer = subprocess.Popen([self.writer, str(size)], stdout=subprocess.PIPE)
            with open(self.directory / str(number), "wb") as file:
                pipelines.append((writer, subprocess.Popen(["/bin/cat"], stdin=writer.stdout, stdout=file)))
            writer.stdout.close()
        spent = 0
        for writer, cat in pipelines:
            _, status, usage = os.wait4(cat.pid, 0)
            cat.returncode = status
            spent += usage.ru_utime + usage.ru_stime
            writer.wait()
        seconds = time.monotonic() - start
        for file in self.directory.iterdir():
            if file.stat().st_size != size:
                sys.exit(f"cat wrote {file.stat().st_size} of {size} bytes")
            file.unlink()
        return seconds, spent

    def logger(self, size, count, log=None):
        """Seconds, and processor seconds of the logger."""
        start, spent = time.monotonic(), self.logger_seconds()
        names = [f"writer-{number}" for number in range(count)]
        for name in names:
            self.api.call("LAUNCH_CONTAINER", launch_container={"container_id": {"value": name}, "gantry_spec": {
                "rootfs": str(self.root), "args": ["/bin/writer", str(size)], **({"log": log} if log else {})}})
        for name in names:
            self.api.call("WAIT_CONTAINER", wait_container={"container_id": {"value": name}})
        seconds = time.monotonic() - start
        spent = self.logger_seconds() - spent
        for name in names:
            answer = self.api.call("READ_FILE", read_file={"path": f"/containers/{name}/stdout", "offset": 0, "length": 0})
            if answer["read_file"]["size"] != size:
                sys.exit(f"{name} has {answer['read_file']['size']} of {size} bytes")
            self.api.call("REMOVE_CONTAINER", remove_container={"container_id": {"value": name}})
        return seconds, spent


def main():
    parser = support.parser("logs")
    parser.add_argument("--rounds", type=int, default=7, help="how often each contender writes")
    parser.add_argument("--mib", type=int, default=1024, help="how much it writes each time")
    arguments = parser.parse_args()
    size = arguments.mib << 20
    with support.workspace() as path, support.executor(arguments.build / "bin", path) as executor:
        bench = Bench(arguments.build, executor, path)
        contenders = {
            "cat": lambda: bench.cat(size, 1),
            "logger": lambda: bench.logger(size, 1),
            "rotated": lambda: bench.logger(size, 1, ROTATED),
            f"{MANY} x cat": lambda: bench.cat(size // MANY, MANY),
            f"{MANY} x logger": lambda: bench.logger(size // MANY, MANY),
        }
        times = {name: [] for name in contenders}
        for run in contenders.values():  # warm
            run()
        for number in range(arguments.rounds):
            say(f"  round {number + 1} of {arguments.rounds}")
            for name, run in contenders.items():
                times[name].append(run())
    seconds = {name: median([run[0] for run in runs]) for name, runs in times.items()}
    spent = {name: median([run[1] for run in runs]) * GIB / size for name, runs in times.items()}
    print(f"{'':14}{'MiB/s':>8}{'CPU s/GiB':>12}")
    for name in contenders:
        print(f"{name:14}{size / 2**20 / seconds[name]:8.0f}{spent[name]:12.3f}")
    if arguments.json:
        print(json.dumps({
            "logs_to_cat": round(seconds["cat"] / seconds["logger"], 3),
            "rotated_logs_to_cat": round(seconds["cat"] / seconds["rotated"], 3),
            "several_logs_to_cat": round(seconds[f"{MANY} x cat"] / seconds[f"{MANY} x logger"], 3),
            "logs_cpu_to_cat": round(spent["logger"] / spent["cat"], 3),
            "logs_mib_per_second": round(size / 2**20 / seconds["logger"]),
            "cat_mib_per_second": round(size / 2**20 / seconds["cat"]),
        }))


if __name__ == "__main__":
    main()
