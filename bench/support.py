"""What the benchmarks share: a root filesystem, an executor of their own, statistics."""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CGROUP_ROOT = "/gantry-bench"


def say(text):
    print(text, file=sys.stderr, flush=True)


def make_rootfs(path):
    """A busybox root filesystem: what every contender of a run launches from."""
    for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "var"):
        (path / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "bin/busybox")
    for applet in ("true", "sh", "sleep", "cat", "echo"):
        (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\n")
    return path


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values):
    return statistics.median(values)


def output_of(words, environment=None):
    words = [str(word) for word in words]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\nfailed: {done.stderr[-2000:]}")
    return done.stdout


def without_unified(words):
    """crun refuses hybrid hosts: the cgroup2 mount is hidden in a mount namespace made beforehand."""
    script = 'mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh", *words]


def parser(name):
    """What `tools/bench NAME` is called with, but for its own options."""
    out = argparse.ArgumentParser(prog=f"tools/bench {name}")
    out.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    out.add_argument("--json", action="store_true", help="one JSON object on the last line")
    return out


class Api:
    """Calls of an executor's operator API, in JSON."""

    def __init__(self, path):
        self.connection = http.client.HTTPConnection("gantry", timeout=60)
        self.connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.sock.connect(path)

    def send(self, kind, **fields):
        body = json.dumps(dict({"type": kind}, **fields))
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self.connection.request("POST", "/api/v1", body, headers)

    def receive(self, kind):
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"{kind} was answered {answer.status}: {text.decode(errors='replace')}")
        return json.loads(text) if text else {}

    def call(self, kind, **fields):
        self.send(kind, **fields)
        return self.receive(kind)


@contextlib.contextmanager
def workspace():
    """A directory on disk, gone afterwards."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="gantry-bench."))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Executor:
    """An executor with directories, socket and cgroups of its own."""

    def __init__(self, bin_dir, path):
        self.gantry = bin_dir / "gantry"
        self.path = path
        self.socket = path / "gantry.sock"
        self.environment = dict(os.environ, GANTRY_SOCKET=str(self.socket))
        self.process = None

    def start(self):
        with open(self.path / "executor.log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [self.gantry, "executor", "--runtime-dir", self.path / "run", "--data-dir", self.path / "data",
                 "--socket", self.socket, "--cgroup-root", CGROUP_ROOT],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                return Api(str(self.socket))
            except OSError:  # not there yet, or its predecessor's, which nobody listens on
                if self.process.poll() is not None:
                    sys.exit(f"the executor ended at once:\n{self.log()}")
                time.sleep(0.001)
        sys.exit("the executor did not listen within 20 s")

    def log(self):
        return (self.path / "executor.log").read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pids(self):
        """Executor, launcher and logger."""
        for mount in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            procs = pathlib.Path(f"{mount}{CGROUP_ROOT}/launcher/cgroup.procs")
            if procs.exists():
                return [self.process.pid] + [int(pid) for pid in procs.read_text().split()]
        sys.exit("the launcher's cgroup was not found")

    def remove_all(self):
        api = Api(str(self.socket))
        for container in api.call("GANTRY_LIST").get("gantry_list", {}).get("containers", []):
            api.call("REMOVE_CONTAINER",
                     remove_container={"container_id": container["container_id"], "gantry_force": True})

    def stop(self):
        if self.process.poll() is None:
            self.remove_all()  # a benchmark that failed half-way leaves containers, and they would keep the executor
            subprocess.run([self.gantry, "executor", "stop"], env=self.environment, check=False,
                           stdout=subprocess.DEVNULL, timeout=30)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def executor(bin_dir, path):
    """An executor, stopped afterwards."""
    running = Executor(bin_dir, path)
    running.start()
    try:
        yield running
    finally:
        running.stop()
