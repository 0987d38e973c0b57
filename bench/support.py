"""What the benchmarks share: a root filesystem, an executor of their own, statistics."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
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


class Api:
    """Calls of an executor's operator API, in JSON."""

    def __init__(self, path):
        self.connection = http.client.HTTPConnection("gantry", timeout=60)
        self.connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.sock.connect(path)

    def call(self, kind, **fields):
        body = json.dumps(dict({"type": kind}, **fields))
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self.connection.request("POST", "/api/v1", body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"{kind} was answered {answer.status}: {text.decode(errors='replace')}")
        return json.loads(text) if text else {}


@contextlib.contextmanager
def workspace():
    """A directory on disk, gone afterwards."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="gantry-bench."))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def executor(bin_dir, path):
    """An executor with directories, socket and cgroups of its own; stopped afterwards. Yields its environment."""
    address = path / "gantry.sock"
    log = open(path / "executor.log", "w", encoding="utf-8")
    environment = dict(os.environ, GANTRY_SOCKET=str(address))
    process = subprocess.Popen(
        [bin_dir / "gantry", "executor", "--runtime-dir", path / "run", "--data-dir", path / "data",
         "--socket", address, "--cgroup-root", CGROUP_ROOT],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        for _ in range(1000):
            if address.exists():
                break
            if process.poll() is not None:
                sys.exit(f"the executor ended at once:\n{(path / 'executor.log').read_text()}")
            time.sleep(0.01)
        else:
            sys.exit("the executor did not listen within 10 s")
        yield environment
    finally:
        if address.exists():  # a benchmark that failed half-way leaves containers, and they would keep the executor
            api = Api(str(address))
            for container in api.call("GANTRY_LIST").get("gantry_list", {}).get("containers", []):
                api.call("REMOVE_CONTAINER",
                         remove_container={"container_id": container["container_id"], "gantry_force": True})
        subprocess.run([bin_dir / "gantry", "executor", "stop"], env=environment, check=False,
                       stdout=subprocess.DEVNULL, stderr=log, timeout=30)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        log.close()
