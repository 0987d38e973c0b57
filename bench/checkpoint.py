"""dump and restore of a small container, against raw CRIU and runc"""
# Blocks take turns, so that all contenders meet the same machine; what counts is medians and their ratios (definitions:
# bench/README.md). The same file is the worker that times CRIU and runc, in namespaces of its own.
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import support
from support import median, percentile, say

BLOCK = 8
COMMAND = ["/bin/sh", "-c", "while :; do sleep 1000; done"]
# What Gantry gives its CRIU too, see checkpoint/criu_session.cc.
CRIU = dict(os.environ, CRIU_FAULT="130")


def milliseconds(call):
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


# Workers: pid 1 of a pid namespace, with a tmpfs on /run, where CRIU keeps what it knows of the kernel.


def run(words, log=None):
    """`log`: where its errors are looked for. Nothing of ours is handed on: a container would keep it open."""
    done = subprocess.run([str(word) for word in words], env=CRIU, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        reasons = [line for line in log.read_text(errors="replace").splitlines() if "Error" in line] if log else []
        sys.exit(f"{' '.join(str(word) for word in words)}\nfailed: {reasons}")


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def raw_worker(path, count):
    """A shell and its child, without a namespace of their own, by the command line of CRIU."""
    process = subprocess.Popen(["/bin/busybox", "sh", *COMMAND[1:]], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/")
    time.sleep(0.1)
    pid, times = process.pid, []
    for number in range(count):
        images = path / str(number)
        images.mkdir()
        dump = milliseconds(lambda: run(["criu", "dump", "-t", pid, "-D", images, "-o", "log"], images / "log"))
        reap()
        restore = milliseconds(lambda: run(["criu", "restore", "-D", images, "-o", "log", "-d", "--pidfile",
                                            images / "pid"], images / "log"))
        pid = int((images / "pid").read_text())
        times.append({"dump": dump, "restore": restore, "frozen": frozen_of(images)})
        shutil.rmtree(images)
    return times


def frozen_of(images):
    """Milliseconds, from CRIU's stats-dump: two magic numbers, a length, StatsEntry { dump { frozen_time = 2 } }."""
    data = (images / "stats-dump").read_bytes()[12:]

    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return value, at

    _, at = varint(1)  # the length of `dump`
    while at < len(data):
        field, at = data[at] >> 3, at + 1
        value, at = varint(at)
        if field == 2:
            return value / 1e3
    return 0.0


def runc_worker(path, count, program):
    runc = [program, "--root", path / "state"]
    run([*runc, "run", "-d", "-b", path / "bundle", "bench"])
    times = []
    try:
        for number in range(count):
            images = path / f"images-{number}"
            place = ["--image-path", images, "--work-path", path / "work"]
            dump = milliseconds(lambda: run([*runc, "checkpoint", *place, "bench"], path / "work/dump.log"))
            restore = milliseconds(lambda: run([*runc, "restore", "-d", "-b", path / "bundle", *place, "bench"],
                                               path / "work/restore.log"))
            times.append({"dump": dump, "restore": restore})
            shutil.rmtree(images)
    finally:
        subprocess.run([*map(str, runc), "delete", "-f", "bench"], check=False, stdout=subprocess.DEVNULL)
    return times


def worker(arguments):
    subprocess.run(["mount", "-t", "tmpfs", "gantry-bench", "/run"], check=True)
    path = pathlib.Path(arguments.path)
    # The first of a block makes CRIU's probe of the kernel, and is not counted.
    times = (runc_worker(path, BLOCK + 1, arguments.program) if arguments.worker == "runc"
             else raw_worker(path, BLOCK + 1))
    print(json.dumps(times[1:]))


# The benchmark


class Bench:
    def __init__(self, build, path):
        self.path = path
        self.bin = build / "bin"
        self.root = support.make_rootfs(path / "root")
        self.runc = self.find_runc()
        self.api = None

    def find_runc(self):
        cache = pathlib.Path(os.environ.get("GANTRY_TOOLS_CACHE", "/var/cache/gantry-tools"))
        program = cache / "peers/bin/runc"
        if not program.exists():
            say("no runc: its keys are left out (tools/setup --peers)")
            return None
        bundle = self.path / "runc/bundle"
        bundle.mkdir(parents=True)
        subprocess.run([program, "spec"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=COMMAND)
        config["root"] = {"path": str(self.root), "readonly": False}
        (bundle / "config.json").write_text(json.dumps(config))
        return program

    def run_worker(self, kind):
        path = self.path / kind
        path.mkdir(exist_ok=True)
        words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, __file__, "--worker",
                 kind, "--path", path, "--program", self.runc or ""]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{kind} failed: {done.stderr[-3000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def run_gantry(self, count=BLOCK):
        times = []
        for _ in range(count):
            start = time.perf_counter()
            made = self.api.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": "bench"}})
            between = time.perf_counter()
            made = made["gantry_checkpoint"]
            back = self.api.call("GANTRY_RESTORE", gantry_restore={"checkpoint": made["checkpoint"]})["gantry_restore"]
            end = time.perf_counter()
            live = self.api.call("GANTRY_CHECKPOINT", gantry_checkpoint={
                "container_id": {"value": "bench"}, "leave_running": True})["gantry_checkpoint"]
            times.append({"dump": (between - start) * 1e3, "restore": (end - between) * 1e3,
                          "frozen": live["frozen_microseconds"] / 1e3,
                          "dump steps": made["steps"], "restore steps": back["steps"]})
            for checkpoint in (made, live):
                shutil.rmtree(checkpoint["path"])
        return times

    def alternate(self, rounds):
        times = {"raw": [], "gantry": []}
        if self.runc:
            times["runc"] = []
        for number in range(rounds):
            say(f"  round {number + 1} of {rounds}")
            times["raw"] += self.run_worker("raw")
            times["gantry"] += self.run_gantry()
            if self.runc:
                times["runc"] += self.run_worker("runc")
        return times


def print_times(times):
    for what in ("dump", "restore"):
        print(f"\n{what}: milliseconds, {len(times['raw'])} each")
        print(f"  {'':8}{'median':>9}{'p99':>9}{'÷ raw':>9}{'÷ runc':>9}")
        for name, values in times.items():
            mine = [value[what] for value in values]
            row = f"  {name:8}{median(mine):9.1f}{percentile(mine, 0.99):9.1f}"
            for other in ("raw", "runc"):
                row += (f"{median(mine) / median([v[what] for v in times[other]]):9.2f}" if other in times
                        else f"{'–':>9}")
            print(row)
    print("\nThe container stands still, when it goes on afterwards: "
          f"{median([v['frozen'] for v in times['gantry']]):.1f} ms (raw CRIU: "
          f"{median([v['frozen'] for v in times['raw']]):.1f})")
    for what in ("dump", "restore"):
        steps = {}
        for value in times["gantry"]:
            for step in value[f"{what} steps"]:
                steps.setdefault(step["name"], []).append(step["microseconds"])
        print(f"\nWhere the time of gantry's {what} goes (medians)")
        for name, values in steps.items():
            print(f"  {name:18}{median(values) / 1e3:8.2f} ms")


def ratios(times):
    result = {}
    for what in ("dump", "restore"):
        for name, values in times.items():
            result[f"{'' if name == 'gantry' else name + '_'}{what}_ms"] = round(median([v[what] for v in values]), 2)
        for other in ("raw", "runc"):
            if other in times:
                result[f"{what}_to_{other}"] = round(median([v[what] for v in times["gantry"]]) /
                                                     median([v[what] for v in times[other]]), 3)
    result["frozen_ms"] = round(median([v["frozen"] for v in times["gantry"]]), 2)
    return result


def main():
    parser = argparse.ArgumentParser(prog="tools/bench checkpoint")
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--rounds", type=int, default=4, help=f"blocks of {BLOCK} per contender")
    parser.add_argument("--worker", choices=("raw", "runc"), help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    parser.add_argument("--program", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    with support.workspace() as path:
        bench = Bench(arguments.build, path)
        with support.executor(bench.bin, path) as executor:
            bench.api = support.Api(str(executor.socket))
            bench.api.call("LAUNCH_CONTAINER", launch_container={
                "container_id": {"value": "bench"}, "gantry_spec": {"rootfs": str(bench.root), "args": COMMAND}})
            bench.run_gantry(2)  # warm
            times = bench.alternate(arguments.rounds)
            print_times(times)
    if arguments.json:
        print(json.dumps(ratios(times)))


if __name__ == "__main__":
    main()
