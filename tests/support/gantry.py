"""A real executor under test: started in directories of its own, spoken to over its socket, killed and started again.

    class T(GantryTest):
        def test_it(self):
            self.executor.run("c1", ["/bin/true"])

Every test ends with tools/leakcheck: a leak is a failure. Needs root and the built programs (GANTRY_BIN).
"""
import argparse
import base64
import contextlib
import ctypes
import functools
import http.client
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("GANTRY_BIN", TOP / "build/release/bin"))
CLONE_NEWNET = 0x40000000
# An emulated machine (tests/guest) is about this many times as slow as the one the numbers here are for.
SLOWNESS = float(os.environ.get("GANTRY_SLOWNESS", "1"))
# How many children an executor prepares: the variable is its own setting.
PREPARED = int(os.environ.get("GANTRY_PREPARED_CHILDREN", "32"))


@functools.cache
def leakcheck():
    """tools/leakcheck as a module: a process of its own for every test would cost more than most tests."""
    loader = importlib.machinery.SourceFileLoader("leakcheck", str(TOP / "tools/leakcheck"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("leakcheck", loader))
    loader.exec_module(module)
    return module


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class CallFailed(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


@functools.cache
def applets():
    return subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()


def busybox_root(where):
    """A root file system of busybox with a link for every applet; returns its path."""
    root = pathlib.Path(where)
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in applets():
        with contextlib.suppress(FileExistsError):
            os.symlink("busybox", f"{root}/bin/{applet}")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    return root


def rootfs_tar(root):
    """The tar of a root file system, as `gantry import` streams one."""
    return subprocess.run(["tar", "-C", str(root), "--numeric-owner", "-cf", "-", "."], capture_output=True,
                          check=True).stdout


def own_network():
    """Moves this process, and all it starts, into a network namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace for the test")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def bridge(*ports):
    """Of a launch: bridge network, with published (host, container) ports."""
    return {"network": {"mode": "BRIDGE", "ports": [
        {"host_port": host, "container_port": container} for host, container in ports]}}


def another_build(where, suffix):
    """A directory with the same programs, launcher and logger with bytes behind their end: another build to whoever
    compares."""
    where = pathlib.Path(where)
    where.mkdir()
    for program in BIN.iterdir():
        if not program.is_file() or not program.name.startswith("gantry"):
            continue
        try:
            os.link(program, where / program.name)
        except OSError:
            shutil.copy2(program, where / program.name)
        if program.name in ("gantry-launcher", "gantry-logger"):
            (where / program.name).unlink()
            shutil.copy2(program, where / program.name)
            with open(where / program.name, "ab") as file:
                file.write(suffix.encode())
    return where


def many(count):
    """How often to do what is done very often: less on a slow machine."""
    return max(10, int(count / SLOWNESS))


def patience(seconds):
    """How long to wait for what takes a moment: longer on a slow machine."""
    return seconds * min(SLOWNESS, 10)


def wait_until(true, limit=10):
    """Calls true() until it answers something true, and returns that."""
    deadline = time.monotonic() + patience(limit)
    while not (answer := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true after {limit} s")
        time.sleep(0.02)
    return answer


def free_port():
    """A port that no connection is given by chance: below ip_local_port_range."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("", port))
            return port
    raise AssertionError("no free port")


def container_id(name):
    """The ContainerID of "id", or of "parent.id"."""
    parent, _, value = name.rpartition(".")
    return {"value": value, "parent": container_id(parent)} if parent else {"value": value}


def container_name(cid):
    return f"{container_name(cid['parent'])}.{cid['value']}" if "parent" in cid else cid["value"]


class Executor:
    """One executor at a time over the same directories; it may be killed and started again."""

    def __init__(self, top):
        self.top = pathlib.Path(top)
        self.runtime, self.data = self.top / "run", self.top / "data"
        self.cgroup_root = f"/gantry-test-{os.getpid()}-{self.top.name[-6:]}"
        self.socket = self.runtime / "gantry.sock"
        self.log = self.top / "executor.log"
        self.process = None
        self.connection = None
        self.bin = BIN

    def flags(self):
        return ["--runtime-dir", str(self.runtime), "--data-dir", str(self.data), "--cgroup-root", self.cgroup_root,
                *os.environ.get("GANTRY_TEST_FLAGS", "").split()]

    def start(self, *extra, wait=True, env=None, preexec_fn=None):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(self.bin / "gantry-executor"), *self.flags(), *extra], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=env, preexec_fn=preexec_fn)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, limit=20):
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"executor ended with {self.process.returncode}: {self.log_tail()}")
            with contextlib.suppress(OSError, CallFailed, http.client.HTTPException):
                self.disconnect()
                if self.call("GET_HEALTH")["get_health"]["healthy"]:
                    return
            time.sleep(0.005)
        raise AssertionError(f"executor is not ready after {limit} s; {self.where()}: {self.log_tail()}")

    def where(self):
        """What the executor's threads wait for in the kernel, and its descriptors."""
        proc = pathlib.Path(f"/proc/{self.process.pid}")
        with contextlib.suppress(OSError):
            waits = [(task / "wchan").read_text() for task in (proc / "task").iterdir()]
            return f"waits in {waits}, has {[os.readlink(fd) for fd in (proc / 'fd').iterdir()]}"
        return "gone"

    def log_tail(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def kill(self):
        """SIGKILL; returns when the process is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.wait_dead()

    def wait_dead(self, limit=20):
        code = self.process.wait(limit)
        self.disconnect()
        return code

    def restart(self, *extra):
        self.kill()
        return self.start(*extra)

    def disconnect(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    # Calls

    def post(self, body, content_type="application/json", path="/api/v1", headers=None, timeout=60):
        """One request on the kept connection; (status, headers, bytes)."""
        if self.connection is None:
            self.connection = UnixConnection(self.socket, timeout)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.connection.request("POST", path, data, {"Content-Type": content_type, "Accept": "application/json",
                                                         **(headers or {})})
            response = self.connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException):
            self.disconnect()
            raise

    def call(self, kind, **fields):
        status, _, data = self.post({"type": kind, **fields})
        if status >= 300:
            raise CallFailed(status, data.decode(errors="replace"))
        return json.loads(data) if data else {}

    def launch(self, cid, argv, rootfs=None, **spec):
        spec.setdefault("args", argv)
        if rootfs is not None:
            spec["rootfs"] = str(rootfs)
        return self.call("LAUNCH_CONTAINER", launch_container={"container_id": {"value": cid}, "gantry_spec": spec})

    def create(self, cid, argv, rootfs=None, **spec):
        spec.setdefault("args", argv)
        if rootfs is not None:
            spec["rootfs"] = str(rootfs)
        launch = {"container_id": {"value": cid}, "gantry_spec": spec}
        return self.call("GANTRY_CREATE", gantry_create={"launch": launch})

    def import_tar(self, data, reference, **config):
        call = json.dumps({"type": "GANTRY_IMPORT", "gantry_import": {"reference": reference, **config}})
        status, _, answer = self.post(data, "application/x-tar", headers={"Gantry-Call": call})
        if status >= 300:
            raise CallFailed(status, answer.decode(errors="replace"))
        return json.loads(answer)["gantry_import"]["images"]

    # `name`: an id or a name; "parent.id": one that was launched in another

    def exec(self, cid, argv, **spec):
        return self.call("LAUNCH_CONTAINER", launch_container={"container_id": container_id(cid),
                                                               "gantry_spec": {"args": argv, **spec}})

    def wait(self, name):
        return self.call("WAIT_CONTAINER", wait_container={"container_id": container_id(name)})["wait_container"]

    def remove(self, name, force=False):
        return self.call("REMOVE_CONTAINER",
                         remove_container={"container_id": container_id(name), "gantry_force": force})

    def signal(self, name, number=signal.SIGKILL):
        return self.call("KILL_CONTAINER", kill_container={"container_id": container_id(name), "signal": int(number)})

    def inspect(self, name):
        return self.call("GANTRY_INSPECT", gantry_inspect={"container_id": {"value": name}})["gantry_inspect"]

    def list(self):
        return self.call("GANTRY_LIST", gantry_list={})["gantry_list"].get("containers", [])

    def metric(self, name):
        metrics = self.call("GET_METRICS", get_metrics={})["get_metrics"]["metrics"]
        return {m["name"]: m["value"] for m in metrics}[name]

    def states(self, nested=False):
        """By id; of nested ones "parent.id"."""
        containers = self.call("GANTRY_LIST", gantry_list={"nested": nested})["gantry_list"].get("containers", [])
        return {container_name(c["container_id"]): c["state"] for c in containers}

    def statistics(self, name):
        containers = self.call("GANTRY_STATS", gantry_stats={})["gantry_stats"]["containers"]
        return next(c["statistics"] for c in containers if c["container_id"]["value"] == name)

    def stop(self, name, seconds=10):
        return self.call("GANTRY_STOP", gantry_stop={"container_id": {"value": name}, "timeout_seconds": seconds})

    def output(self, name, stream="stdout"):
        """All of a container's output so far, by READ_FILE; its file is made at the first byte."""
        out = b""
        while True:
            try:
                answer = self.call("READ_FILE", read_file={"path": f"/containers/{name}/{stream}", "offset": len(out)})
            except CallFailed as e:
                if e.status == 404 and f"{name}/{stream}' does not exist" in e.text:
                    return ""
                raise
            data = base64.b64decode(answer["read_file"].get("data", ""))
            if not data:
                return out.decode(errors="replace")
            out += data

    def run(self, cid, argv, rootfs=None, **spec):
        """launch, wait, output, remove: (wait answer, stdout, stderr)."""
        self.launch(cid, argv, rootfs, **spec)
        answer = self.wait(cid)
        out, err = self.output(cid), self.output(cid, "stderr")
        self.remove(cid)
        return answer, out, err

    # Its processes

    def launcher_pid(self):
        """As the table says (launcher/protocol.h: struct TableHeader); it may be dead."""
        with open(self.runtime / "launcher.table", "rb") as file:
            return struct.unpack_from("<i", file.read(16), 12)[0]

    # The end

    def close(self):
        """Removes every container, ends executor, launcher and logger, and demands that nothing is left."""
        if self.process is None:
            return []
        if self.process.poll() is not None:
            self.start()
        for container in self.list():
            try:
                self.remove(container["container_id"]["value"], force=True)
            except CallFailed as e:
                if e.status != 404:  # of those that remove themselves
                    raise
        self.call("GANTRY_SHUTDOWN", gantry_shutdown={})
        self.wait_dead()
        return self.leaks()

    def leaks(self):
        places = argparse.Namespace(runtime_dir=str(self.runtime), data_dir=str(self.data), cgroup_root=self.cgroup_root)
        return [": ".join(leak) for leak in leakcheck().Gantry(places).leaks()]

    def check_leaks(self):
        deadline = time.monotonic() + 2
        leaks = self.leaks()
        while leaks and time.monotonic() < deadline:
            time.sleep(0.1)
            leaks = self.leaks()
        return leaks


class GantryTest(unittest.TestCase):
    """A test with an executor and a busybox root; subclasses set start_flags or override start()."""

    start_flags = ()

    def setUp(self):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="gantry-test-"))
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        self.root = busybox_root(self.top / "root")
        self.executor = Executor(self.top)
        self.addCleanup(self.finish)
        self.start()

    def start(self):
        self.executor.start(*self.start_flags)

    def finish(self):
        leaks = self.executor.close()
        deadline = time.monotonic() + 2
        while leaks and time.monotonic() < deadline:
            time.sleep(0.1)
            leaks = self.executor.leaks()
        self.assertEqual(leaks, [], f"left behind; log: {self.executor.log_tail()}")

    def refused(self, call, *words):
        """The call fails, and its error says these words; returns the error."""
        with self.assertRaises(CallFailed) as caught:
            call()
        for word in words:
            self.assertIn(word, caught.exception.text)
        return caught.exception

    def sh(self, name, script, **spec):
        return self.executor.run(name, ["/bin/sh", "-c", script], self.root, **spec)


def main():
    if os.geteuid() != 0:
        sys.exit("needs root")
    result = unittest.main(verbosity=2, exit=False).result
    # As tests/support/main.cc has it for those of GoogleTest.
    if result.skipped and os.environ.get("GANTRY_NO_SKIP") == "1":
        sys.exit("a skipped test is a failure here (GANTRY_NO_SKIP=1)")
    sys.exit(not result.wasSuccessful())
