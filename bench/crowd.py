"""what 1,000 running containers cost, each of them and those that come after"""
# Everything is measured twice in one executor's life, with nothing running and with the crowd (definitions:
# bench/README.md).
import json
import os
import pathlib
import select
import time

import support
from support import median, say

BLOCK = 30
SETTLE_S = 3      # until the children prepared for the next launches are made
EXITS = 40
IDLE_S = 20


class Cost:
    """What our processes hold, and their processor time until now."""

    def __init__(self, pids):
        self.processes = len(pids)
        self.fds = self.threads = self.pss_kib = self.cpu_ns = 0
        for pid in pids:
            proc = pathlib.Path(f"/proc/{pid}")
            self.fds += len(os.listdir(proc / "fd"))
            for task in (proc / "task").iterdir():
                self.threads += 1
                self.cpu_ns += int((task / "schedstat").read_text().split()[0])
            rollup = (proc / "smaps_rollup").read_text().splitlines()
            self.pss_kib += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))


class Bench:
    def __init__(self, build, executor, root):
        self.programs = build / "bench"
        self.executor = executor
        self.root = root
        self.api = support.Api(str(executor.socket))

    def launch(self, name):
        self.api.call("LAUNCH_CONTAINER", launch_container={
            "container_id": {"value": name}, "gantry_spec": {"rootfs": str(self.root), "args": ["/bin/sleep", "1000000"]}})

    def block(self, name):
        command = {"gantry": ["client", "--raw", "--launches", BLOCK, self.executor.socket, self.root],
                   "kernel": ["kernel", "--raw", "--launches", BLOCK, self.root],
                   "floor": ["floor", "--raw", "--launches", BLOCK, self.root]}[name]
        lines = support.output_of([self.programs / command[0], *command[1:]]).split()
        return [float(line) for line in lines]

    def launches(self, rounds):
        """Medians, in milliseconds."""
        times = {"floor": [], "kernel": [], "gantry": []}
        for _ in range(rounds):
            for name, values in times.items():
                time.sleep(0.5)
                values += self.block(name)
        return {name: median(values) / 1e3 for name, values in times.items()}

    def exits(self):
        """From SIGKILL of a container's first process to the answer of WAIT, and the kernel's own part of that (until a
        pidfd is readable): medians, in milliseconds."""
        noticed, kernel = [], []
        for number in range(EXITS):
            name = f"exit-{number}"
            self.launch(name)
            status = self.api.call("GANTRY_INSPECT", gantry_inspect={"container_id": {"value": name}})
            pid = status["gantry_inspect"]["container"]["pid"]
            waiting = support.Api(str(self.executor.socket))
            waiting.send("WAIT_CONTAINER", wait_container={"container_id": {"value": name}})
            time.sleep(0.02)  # until WAIT waits
            pidfd = os.pidfd_open(pid)
            start = time.monotonic()
            os.kill(pid, 9)
            select.select([pidfd], [], [])
            kernel.append(time.monotonic() - start)
            waiting.receive("WAIT_CONTAINER")
            noticed.append(time.monotonic() - start)
            os.close(pidfd)
            waiting.connection.close()
            self.api.call("REMOVE_CONTAINER", remove_container={"container_id": {"value": name}})
        return median(noticed) * 1e3, median(kernel) * 1e3

    def cost(self):
        return Cost(self.executor.pids())

    def idle_percent(self):
        """Of one core, all of our processes together."""
        time.sleep(SETTLE_S)
        before, start = self.cost(), time.monotonic()
        time.sleep(IDLE_S)
        after, seconds = self.cost(), time.monotonic() - start
        return (after.cpu_ns - before.cpu_ns) / 1e9 / seconds * 100

    def adopt(self, count):
        """From the start of an executor whose predecessor was killed to its first answer that names all as running."""
        self.executor.kill()
        start = time.monotonic()
        self.api = self.executor.start()
        containers = self.api.call("GANTRY_LIST")["gantry_list"]["containers"]
        seconds = time.monotonic() - start
        running = sum(container["state"] == "running" for container in containers)
        if running != count:
            raise SystemExit(f"of {count} containers {running} were adopted as running")
        return seconds


def print_table(count, empty, crowded, exits, cost, rest):
    print(f"\n{'':26}{'none':>9}{f'{count:,}':>9}  containers running")
    for name in ("floor", "kernel", "gantry"):
        print(f"  a launch, {name:14}{empty[name]:9.2f}{crowded[name]:9.2f}  ms")
    print(f"  an exit noticed after   {exits[0][0]:9.2f}{exits[1][0]:9.2f}  ms")
    print(f"    the kernel's part     {exits[0][1]:9.2f}{exits[1][1]:9.2f}  ms")
    for name, unit in (("processes", ""), ("threads", ""), ("fds", ""), ("pss_kib", "KiB")):
        print(f"  {name:24}{getattr(cost[0], name):9}{getattr(cost[1], name):9}  {unit}")
    print(f"  idle, of one core       {rest['idle'][0]:9.3f}{rest['idle'][1]:9.3f}  %")
    print(f"\n  all {count:,} adopted after SIGKILL and a new start: {rest['adopt']:.2f} s; "
          f"all started in {rest['start']:.1f} s")


def main():
    parser = support.parser("crowd")
    parser.add_argument("--containers", type=int, default=1000, help="the crowd")
    parser.add_argument("--rounds", type=int, default=3, help="blocks of 30 launches per contender, with and without")
    arguments = parser.parse_args()
    count = arguments.containers
    with support.workspace() as path, support.executor(arguments.build / "bin", path) as executor:
        bench = Bench(arguments.build, executor, support.make_rootfs(path / "root"))
        bench.block("gantry")  # warm
        say("  with none running")
        empty, empty_exits = bench.launches(arguments.rounds), bench.exits()
        idle = [bench.idle_percent()]
        cost = [bench.cost()]
        say(f"  starting {count:,}")
        start = time.monotonic()
        for number in range(count):
            bench.launch(f"crowd-{number}")
        rest = {"start": time.monotonic() - start}
        say("  with them running")
        idle.append(bench.idle_percent())
        cost.append(bench.cost())
        crowded, crowded_exits = bench.launches(arguments.rounds), bench.exits()
        rest["adopt"] = bench.adopt(count)
        rest["idle"] = idle
        print_table(count, empty, crowded, (empty_exits, crowded_exits), cost, rest)
        say("  ending them")
    if arguments.json:
        print(json.dumps({
            "crowded_to_empty": round((crowded["gantry"] - crowded["floor"]) / (empty["gantry"] - empty["floor"]), 3),
            "fds_per_idle_container": round((cost[1].fds - cost[0].fds) / count, 2),
            "kib_per_idle_container": round((cost[1].pss_kib - cost[0].pss_kib) / count, 1),
            "adopt_1000_seconds": round(rest["adopt"], 3),
            "exit_crowded_to_empty": round(crowded_exits[0] / empty_exits[0], 3),
            "idle_core_percent": round(idle[1], 3),
        }))


if __name__ == "__main__":
    main()
