"""Thousands of launches leave executor, launcher, logger and kernel as they were. GANTRY_GROWTH_LAUNCHES: how many."""
import concurrent.futures
import os
import pathlib
import time

from gantry import Executor, GantryTest, leakcheck, main

LAUNCHES = int(os.environ.get("GANTRY_GROWTH_LAUNCHES", "10000"))
WARM_UP = 500
CLIENTS = 4
# What may be found more afterwards. Of memory: pages on the way to being returned, and what else the host did.
NOISE = {"descriptors": 4, "threads": 1, "KiB of own memory": 1024, "cgroups": 2, "dying cgroups": 200,
         "KiB of kernel memory": 16384}


class Growth(GantryTest):
    def launch(self, count):
        """Answers how many a second."""
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            # list(): what one of them raised is raised here.
            list(pool.map(lambda client: self.launch_some(client, count // CLIENTS), range(CLIENTS)))
        return count / (time.monotonic() - begun)

    def launch_some(self, client, count):
        executor = Executor(self.top)
        try:
            for i in range(count):
                answer, out, _ = executor.run(f"c{client}-{i}", ["/bin/echo", "x"], self.root)
                self.assertEqual((answer.get("exit_status"), out), (0, "x\n"))
        finally:
            executor.disconnect()

    def daemons(self):
        launcher = self.executor.launcher_pid()
        children = pathlib.Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        logger = next(c for c in children if pathlib.Path(f"/proc/{c}/comm").read_text() == "gantry-logger\n")
        return [self.executor.process.pid, launcher, int(logger)]

    def measure(self):
        """At rest: as soon as prepared children and pools are full again, and nothing changes for two seconds."""
        before, now = None, self.look()
        while before is None or any(before[kind] != now[kind] for kind in ("descriptors", "cgroups")):
            time.sleep(2)
            before, now = now, self.look()
        return now

    def look(self):
        found = dict.fromkeys(NOISE, 0)
        for pid in self.daemons():
            found["descriptors"] += len(os.listdir(f"/proc/{pid}/fd"))
            found["threads"] += len(os.listdir(f"/proc/{pid}/task"))
            # Not of files: their share depends on who else maps them.
            for kind in ("Pss_Anon:", "Pss_Shmem:"):
                found["KiB of own memory"] += number_of(f"/proc/{pid}/smaps_rollup", kind)
        for mount in leakcheck().cgroup_mounts():
            found["cgroups"] += len(leakcheck().cgroups_below(f"{mount}{self.executor.cgroup_root}"))
            found["dying cgroups"] += number_of(f"{mount}/cgroup.stat", "nr_dying_descendants")
        for kind in ("SUnreclaim:", "Percpu:", "KernelStack:"):
            found["KiB of kernel memory"] += number_of("/proc/meminfo", kind)
        return found

    def test_nothing_grows(self):
        self.launch(WARM_UP)
        before = self.measure()
        rate = self.launch(LAUNCHES)
        after = self.measure()
        print(f"{LAUNCHES} launches, {rate:.0f} a second")
        for what, number in before.items():
            print(f"{what:<22} {number:>8} -> {after[what]:>8}")
        grown = {what: after[what] - before[what] for what in NOISE if after[what] - before[what] > NOISE[what]}
        self.assertEqual(grown, {})


def number_of(file, key):
    """Of a line "KEY NUMBER"; 0 where there is none."""
    for line in leakcheck().read(file).splitlines():
        if line.split()[0] == key:
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
