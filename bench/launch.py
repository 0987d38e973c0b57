"""launch of `true` to its end, against the kernel and crun and runc"""
# Blocks of launches take turns, so that all contenders meet the same machine; what counts is medians and their ratios
# (definitions: bench/README.md).
import json
import os
import pathlib
import subprocess
import sys

import support
from support import median, percentile, say

BLOCK = 30
IDLE_MS = 300


class Bench:
    def __init__(self, build, path):
        self.programs = build / "bench"
        self.bin = build / "bin"
        self.path = path
        self.root = support.make_rootfs(path / "root")
        self.environment = dict(os.environ)
        self.api = None
        self.peers = {}

    def run(self, command, launches, idle_ms=0, in_flight=1, hide_unified=False):
        """Runs one of our timing programs; returns microseconds per launch, or launches a second."""
        program, *rest = command
        options = ["--launches", str(launches), "--idle-ms", str(idle_ms), "--in-flight", str(in_flight), "--raw"]
        words = [str(word) for word in (self.programs / program, *options, *rest)]
        if hide_unified:
            words = support.without_unified(words)
        lines = support.output_of(words, self.environment).split()
        return float(lines[0]) if in_flight > 1 else [float(line) for line in lines]

    def find_peers(self):
        cache = pathlib.Path(os.environ.get("GANTRY_TOOLS_CACHE", "/var/cache/gantry-tools"))
        for name, wanted in (("crun", (1, 28)), ("runc", (1, 3, 6))):
            program = cache / "peers/bin" / name
            if not program.exists():
                say(f"no {name}: its keys are left out (tools/setup --peers)")
                continue
            text = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
            version = text.split()[2] if text else "0"
            number = tuple(int(part) for part in version.split("+")[0].split("~")[0].split(".") if part.isdigit())
            if number < wanted:
                say(f"{name} {version} is too old to compare with: its keys are left out")
                continue
            bundle = self.path / f"bundle-{name}"
            bundle.mkdir()
            subprocess.run([program, "spec"], cwd=bundle, check=True, stdout=subprocess.DEVNULL)
            config = json.loads((bundle / "config.json").read_text())
            config["process"].update(terminal=False, args=["/bin/true"])
            config["process"]["capabilities"].pop("ambient", None)
            config["root"] = {"path": str(self.root), "readonly": False}
            (bundle / "config.json").write_text(json.dumps(config))
            self.peers[name] = (version, ["command", program, "--root", self.path / f"state-{name}", "run", "-b",
                                          bundle, "bench-%d"])

    def contenders(self, socket):
        """name -> (command, hide the unified mount)"""
        all_of_them = {
            "floor": (["floor", self.root], False),
            "kernel": (["kernel", self.root], False),
            "gantry": (["client", socket, self.root], False),
            "run": (["command", self.bin / "gantry", "run", "--rm", "--rootfs", self.root, "/bin/true"], False),
        }
        for name, (_, command) in self.peers.items():
            all_of_them[name] = (command, True)
        return all_of_them

    def alternate(self, contenders, rounds, idle_ms):
        times = {name: [] for name in contenders}
        for number in range(rounds):
            say(f"  round {number + 1} of {rounds}" + (f", {idle_ms} ms idle before each launch" if idle_ms else ""))
            for name, (command, hide) in contenders.items():
                times[name] += self.run(command, BLOCK, idle_ms, hide_unified=hide)
        return times

    def throughput(self, contenders, rounds):
        rates = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, (command, hide) in contenders.items():
                rates[name].append(self.run(command, 4 * BLOCK, in_flight=4, hide_unified=hide))
        return {name: median(values) for name, values in rates.items()}


def print_times(title, times):
    print(f"\n{title}: milliseconds from start to cleaned up, {len(times['floor'])} launches each")
    print(f"  {'':8}{'median':>9}{'p99':>9}{'÷ floor':>9}{'÷ kernel':>9}{'÷ crun':>9}")
    for name, values in times.items():
        row = f"  {name:8}{median(values) / 1e3:9.2f}{percentile(values, 0.99) / 1e3:9.2f}"
        for other in ("floor", "kernel", "crun"):
            row += f"{median(values) / median(times[other]):9.2f}" if other in times else f"{'–':>9}"
        print(row)


def ratios(back_to_back, sustained, idle, rates):
    def ratio(times, a, b):
        return round(median(times[a]) / median(times[b]), 3) if a in times and b in times else None

    result = {
        "launch_to_kernel": ratio(back_to_back, "gantry", "kernel"),
        "launch_to_floor": ratio(back_to_back, "gantry", "floor"),
        "launch_to_crun": ratio(back_to_back, "gantry", "crun"),
        "launch_to_runc": ratio(back_to_back, "gantry", "runc"),
        "sustained_to_kernel": ratio(sustained, "gantry", "kernel"),
        "idle_to_kernel": ratio(idle, "gantry", "kernel"),
        "idle_to_crun": ratio(idle, "gantry", "crun"),
        "run_to_crun": ratio(back_to_back, "run", "crun"),
        "throughput_to_crun": round(rates["gantry"] / rates["crun"], 3) if "crun" in rates else None,
        "containers_per_second": round(rates["gantry"], 1),
        "floor_ms": round(median(back_to_back["floor"]) / 1e3, 3),
        "kernel_ms": round(median(back_to_back["kernel"]) / 1e3, 3),
    }
    return {key: value for key, value in result.items() if value is not None}


def print_phases(bench):
    """Where the time of one launch goes, as the executor recorded it: medians over a block."""
    phases = {}
    for number in range(BLOCK):
        container = {"container_id": {"value": f"phases-{number}"}}
        spec = {"rootfs": str(bench.root), "args": ["/bin/true"]}
        bench.api.call("LAUNCH_CONTAINER", launch_container=dict(container, gantry_spec=spec))
        bench.api.call("WAIT_CONTAINER", wait_container=container)
        answer = bench.api.call("GANTRY_INSPECT", gantry_inspect=container)["gantry_inspect"]
        for phase in answer["phases"]:
            phases.setdefault(phase["name"], []).append(phase["microseconds"])
        phases.setdefault("request to exec", []).append(answer["total_microseconds"])
        bench.api.call("REMOVE_CONTAINER", remove_container=container)
    print("\nWhere a launch's time goes, by phase (medians)")
    for phase, values in phases.items():
        print(f"  {phase:24}{median(values):9.0f} µs")


def main():
    parser = support.parser("launch")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of 30 launches per contender, back to back")
    parser.add_argument("--idle-rounds", type=int, default=1, help="the same, each launch after 300 ms of idling")
    arguments = parser.parse_args()
    with support.workspace() as path:
        bench = Bench(arguments.build, path)
        bench.find_peers()
        with support.executor(bench.bin, path) as executor:
            bench.environment = executor.environment
            bench.api = support.Api(str(executor.socket))
            contenders = bench.contenders(executor.socket)
            for command, hide in contenders.values():  # warm: page cache, filters compiled, sockets open
                bench.run(command, 3, hide_unified=hide)
            for name, (version, _) in bench.peers.items():
                say(f"  {name} is {version}")
            back_to_back = bench.alternate(contenders, arguments.rounds, 0)
            idle = bench.alternate(contenders, arguments.idle_rounds, IDLE_MS)
            sustained = {name: bench.run(contenders[name][0], 10 * BLOCK) for name in ("kernel", "gantry")}
            rates = bench.throughput({name: contenders[name] for name in ("floor", "kernel", "gantry", "crun")
                                      if name in contenders}, 3)
            print_times("Back to back", back_to_back)
            print_times(f"After {IDLE_MS} ms of idling", idle)
            in_a_row = ", ".join(f"{name} {median(times) / 1e3:.2f} ms" for name, times in sustained.items())
            print(f"\nSustained, {10 * BLOCK} launches in a row, medians: {in_a_row}")
            print("\nContainers a second, 4 in flight: " + ", ".join(f"{k} {v:.0f}" for k, v in rates.items()))
            print_phases(bench)
    result = ratios(back_to_back, sustained, idle, rates)
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
