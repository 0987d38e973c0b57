"""the commands a person types, against podman, crun, cat and tar"""
# Contenders take turns in one run; what counts is medians and their ratios (definitions: bench/README.md).
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import support
from support import median, percentile, say

BLOCK = 10
MIB = 1 << 20
LINE = b"the quick brown fox jumps over the lazy dog, and says so in its log\n"


class Podman:
    """podman with storage, state and configuration of its own; its containers are created, not started."""

    def __init__(self, prefix, path, root):
        self.program = prefix / "bin/podman"
        self.root = root
        self.options = ["--root", path / "storage", "--runroot", path / "state", "--tmpdir", path / "tmp",
                        "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", prefix / "bin/crun",
                        "--conmon", prefix / "bin/conmon", "--storage-driver", "vfs"]
        (path / "tmp").mkdir(parents=True)
        configuration = path / "containers.conf"
        configuration.write_text(f'[engine]\nhelper_binaries_dir = ["{prefix}/usr/lib/podman"]\n')
        self.environment = dict(os.environ, CONTAINERS_CONF=str(configuration), TMPDIR=str(path / "tmp"),
                                XDG_RUNTIME_DIR=str(path / "tmp"), PODMAN_IGNORE_CGROUPSV1_WARNING="1")

    def words(self, *rest):
        return [self.program, *self.options, *rest]

    def create(self, count):
        for number in range(count):
            support.output_of(self.words("create", "--name", f"crowd-{number}", "--network", "none",
                                         "--rootfs", self.root, "sleep", "1000000"), self.environment)


class Bench:
    def __init__(self, build, executor, path):
        self.programs = build / "bench"
        self.executor = executor
        self.path = path
        self.root = support.make_rootfs(path / "root")
        self.api = support.Api(str(executor.socket))
        self.environment = executor.environment
        self.peers = pathlib.Path(os.environ.get("GANTRY_TOOLS_CACHE", "/var/cache/gantry-tools")) / "peers"
        self.podman = self.crun = None

    # ---- Contenders ----

    def gantry(self, *words):
        return [self.executor.gantry, *words]

    def launch(self, name, *command):
        self.api.call("LAUNCH_CONTAINER", launch_container={"container_id": {"value": name}, "gantry_spec": {
            "name": name, "rootfs": str(self.root), "args": list(command)}})

    def start_crun(self):
        """A running container `bench`, in a mount namespace in which the hybrid hierarchy is not seen."""
        program = self.peers / "bin/crun"
        if not program.exists():
            say("no crun: its keys are left out (tools/setup --peers)")
            return
        bundle = self.path / "bundle"
        bundle.mkdir()
        subprocess.run([program, "spec"], cwd=bundle, check=True, stdout=subprocess.DEVNULL)
        config = json.loads((bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=["/bin/sleep", "1000000"])
        config["root"] = {"path": str(self.root), "readonly": False}
        (bundle / "config.json").write_text(json.dumps(config))
        self.crun = [program, "--root", self.path / "crun"]
        words = support.without_unified([*self.crun, "run", "-d", "-b", bundle, "bench"])
        # Its standard streams are the container's.
        subprocess.run([str(word) for word in words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def stop_crun(self):
        if self.crun:
            subprocess.run([str(word) for word in support.without_unified([*self.crun, "delete", "-f", "bench"])],
                           check=False)

    def start_podman(self, count):
        if count == 0 or not (self.peers / "bin/podman").exists():
            say("no podman: its keys are left out (tools/setup --peers)")
            return
        self.podman = Podman(self.peers, self.path / "podman", self.root)
        say(f"  creating {count:,} podman containers")
        self.podman.create(count)

    # ---- Commands of a few milliseconds ----

    def block(self, words, launches):
        """Milliseconds of each, with what it prints thrown away."""
        hidden = self.crun is not None and words[0] == self.crun[0]
        command = [self.programs / "command", "--raw", "--launches", launches, *words]
        environment = self.podman.environment if self.podman and words[0] == self.podman.program else self.environment
        lines = support.output_of(support.without_unified(command) if hidden else command, environment).split()
        return [float(line) / 1e3 for line in lines]

    def alternate(self, contenders, rounds, launches=BLOCK):
        times = {name: [] for name in contenders}
        for words in contenders.values():  # warm
            self.block(words, 1)
        for _ in range(rounds):
            for name, words in contenders.items():
                times[name] += self.block(words, launches)
        return times

    def with_peers(self, gantry, podman=None, crun=None):
        out = {"gantry": self.gantry(*gantry)}
        if self.podman and podman:
            out["podman"] = self.podman.words(*podman)
        if self.crun and crun:
            out["crun"] = [*self.crun, *crun]
        return out

    # ---- Bytes ----

    def timed(self, script, *words):
        start = time.monotonic()
        done = subprocess.run(["sh", "-c", script, "sh", *[str(word) for word in words]], env=self.environment,
                              check=False)
        if done.returncode != 0:
            sys.exit(f"failed: {script} {words}")
        return (time.monotonic() - start) * 1e3

    def in_turn(self, contenders, rounds):
        times = {name: [] for name in contenders}
        for run in contenders.values():  # warm
            run()
        for _ in range(rounds):
            for name, run in contenders.items():
                times[name].append(run())
        return times

    def logs(self, mib, rounds):
        """What has been logged, into a pipe whose reader throws it away."""
        (self.root / "text").write_bytes(LINE * (mib * MIB // len(LINE)))
        self.launch("talks", "/bin/cat", "/text")
        self.api.call("WAIT_CONTAINER", wait_container={"container_id": {"value": "talks"}})
        pipe = '"$@" | cat >/dev/null'
        return self.in_turn({
            "gantry": lambda: self.timed(pipe, *self.gantry("logs", "talks")),
            "cat": lambda: self.timed(pipe, "cat", self.root / "text"),
        }, rounds)

    def copies(self, mib, rounds):
        """A directory of files of 8 MiB, out of a running container and into it."""
        source, target = self.path / "source", self.path / "target"
        inside = self.root / "data"
        for directory in (source, inside):
            directory.mkdir()
            for number in range(mib // 8):
                (directory / str(number)).write_bytes(os.urandom(8 * MIB))

        def into(directory, script, *words):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            os.sync()  # what an earlier one has written is not this one's to wait for
            return self.timed(script, *words)

        tar = 'tar -C "$1" -c . | tar -C "$2" -x'
        return self.in_turn({
            "gantry out": lambda: into(target, '"$@"', *self.gantry("cp", "crowd-0:/data/.", target)),
            "tar out": lambda: into(target, tar, inside, target),
            "gantry in": lambda: into(self.root / "in", '"$@"', *self.gantry("cp", f"{source}/.", "crowd-0:/in")),
            "tar in": lambda: into(self.root / "in", tar, source, self.root / "in"),
        }, rounds)


def print_row(title, times):
    for name, values in times.items():
        print(f"  {title:22}{name:12}{median(values):10.2f}{percentile(values, 0.99):10.2f}")
        title = ""


def ratio(times, a, b):
    return round(median(times[a]) / median(times[b]), 3) if a in times and b in times else None


def results(times):
    return {key: value for key, value in {
        "exec_to_crun": ratio(times["exec true"], "gantry", "crun"),
        "ps_1000_to_podman": ratio(times["ps"], "gantry", "podman"),
        "logs_to_cat": ratio(times["logs"], "cat", "gantry"),
        "cp_to_tar": min(ratio(times["cp"], f"tar {way}", f"gantry {way}") for way in ("out", "in")),
        "version_ms": round(median(times["version"]["gantry"]), 3),
    }.items() if value is not None}


def measure(bench, arguments):
    rounds = arguments.rounds
    times = {"version": bench.alternate(bench.with_peers(["version"], ["--version"], ["--version"]), rounds)}
    bench.start_crun()
    bench.launch("crowd-0", "/bin/sleep", "1000000")
    times["exec true"] = bench.alternate(bench.with_peers(["exec", "crowd-0", "true"], None, ["exec", "bench", "true"]),
                                         rounds)
    times["inspect"] = bench.alternate(bench.with_peers(["inspect", "crowd-0"], None, ["state", "bench"]), rounds)
    say("  logs and cp")
    times["logs"] = bench.logs(arguments.log_mib, rounds)
    times["cp"] = bench.copies(arguments.copy_mib, rounds)
    say(f"  starting {arguments.containers:,} containers")
    for number in range(1, arguments.containers):
        bench.launch(f"crowd-{number}", "/bin/sleep", "1000000")
    bench.start_podman(arguments.podman_containers)
    times["ps"] = bench.alternate(bench.with_peers(["ps"], ["ps", "-a"]), rounds, 3)
    times["inspect, a crowd"] = bench.alternate(bench.with_peers(["inspect", "crowd-7"], ["inspect", "crowd-7"]),
                                                rounds, 3)
    times["stats --no-stream"] = bench.alternate(bench.with_peers(["stats", "--no-stream"]), rounds, 1)
    return times


def main():
    parser = support.parser("cli")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each contender")
    parser.add_argument("--containers", type=int, default=1000, help="the crowd of ps and stats")
    parser.add_argument("--podman-containers", type=int, default=1000, help="podman's, created; 0: no podman")
    parser.add_argument("--log-mib", type=int, default=100, help="what logs prints")
    parser.add_argument("--copy-mib", type=int, default=1024, help="what cp copies")
    arguments = parser.parse_args()
    with support.workspace() as path, support.executor(arguments.build / "bin", path) as executor:
        bench = Bench(arguments.build, executor, path)
        try:
            times = measure(bench, arguments)
        finally:
            bench.stop_crun()
        say("  ending them")
    print(f"\n  {'milliseconds':22}{'':12}{'median':>10}{'p99':>10}")
    for title, values in times.items():
        print_row(title, values)
    if arguments.json:
        print(json.dumps(results(times)))


if __name__ == "__main__":
    main()
