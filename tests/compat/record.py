#!/usr/bin/env python3
"""Records a golden version: what one version of Gantry leaves on disk and says on its wires, for later ones to read.

    PYTHONPATH=tests/support python3 tests/compat/record.py VERSION BIN [--directories-only FOLDER]

BIN: the programs of that version. Writes tests/compat/golden/VERSION (or FOLDER/VERSION):
    directories.tar.xz  runtime and data directory of an executor that was killed with everything it ran
    wire/*.bin          messages, the launcher's table and handover, and plans, one of each kind
What today's programs must make of it: compat_test.py and wire_test.cc, whose expectations are then written with
GANTRY_COMPAT_WRITE=1. Needs root, strace and CRIU. In namespaces of its own, with a boot id of the past; the directories
are below /tmp/gantry-golden, on every machine.
"""
import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import gantry
from framework import Framework

HERE = pathlib.Path(__file__).resolve().parent
PLACE = pathlib.Path("/tmp/gantry-golden")
CGROUP_ROOT = "/gantry-golden"
SLEEP = ["/bin/sleep", "100000"]
NAMES = {"ended", "killed", "greeter", "oom", "again", "kept", "always", "stopped", "lives", "paused", "bridged", "dumped"}
BOOT_ID = "01234567-89ab-4cde-8f01-23456789abcd"
CLONE_NEWNS = 0x20000
MAGIC = b"GTL1"
# Of launcher/protocol.h, by number.
REQUESTS = {1: "hello", 2: "launch", 3: "forget", 4: "open-stdin", 5: "close-stdin", 6: "shutdown", 10: "launcher-hello",
            11: "add", 12: "drop-stdin", 13: "remove", 14: "stop", 15: "held", 16: "held-end", 17: "drained", 18: "flush",
            19: "watch", 21: "adopt", 22: "assign", 23: "upgrade", 24: "give-terminal"}
ANSWERS = {7: "done", 8: "exited", 9: "rescan", 20: "sizes"}
REQUEST_BYTES, ANSWER_BYTES, TABLE_HEADER_BYTES, SLOT_BYTES = 432, 128, 4096, 512


def in_the_past():
    """A mount namespace of our own where the kernel says that it is another boot, and a network of our own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        sys.exit("needs root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    (PLACE / "boot_id").write_text(BOOT_ID + "\n")
    subprocess.run(["mount", "--bind", PLACE / "boot_id", "/proc/sys/kernel/random/boot_id"], check=True)
    (PLACE / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    subprocess.run(["mount", "--bind", PLACE / "resolv.conf", "/etc/resolv.conf"], check=True)


# Prints what it is told to, by one system call, and exits with 7: all there is in the image.
def hello_program():
    base, text = 0x400000, b"from the image\n"
    code = (b"\xb8\x01\0\0\0" b"\xbf\x01\0\0\0" b"\xbe" + (base + 0x78 + 34).to_bytes(4, "little") +
            b"\xba" + len(text).to_bytes(4, "little") + b"\x0f\x05" b"\xb8\x3c\0\0\0" b"\xbf\x07\0\0\0" b"\x0f\x05")
    size = 0x78 + len(code) + len(text)
    header = (b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (62).to_bytes(2, "little") +
              (1).to_bytes(4, "little") + (base + 0x78).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(8) +
              bytes(4) + (64).to_bytes(2, "little") + (56).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(6))
    segment = ((1).to_bytes(4, "little") + (5).to_bytes(4, "little") + bytes(8) + base.to_bytes(8, "little") * 2 +
               size.to_bytes(8, "little") * 2 + (0x1000).to_bytes(8, "little"))
    assert len(code) == 34 and len(header) == 64 and len(segment) == 56
    return header + segment + code + text


def image_tar():
    root = PLACE / "image"
    for name in ("proc", "dev", "sys", "etc", "bin"):
        (root / name).mkdir(parents=True)
    (root / "bin/hello").write_bytes(hello_program())
    (root / "bin/hello").chmod(0o755)
    made = subprocess.run(["tar", "-C", root, "--numeric-owner", "--mtime=@0", "--sort=name", "-cf", "-", "."],
                          capture_output=True, check=True).stdout
    shutil.rmtree(root)
    return made


def fill(executor, root):
    """A container for each kind of record."""
    def sh(script):
        return ["/bin/sh", "-c", script]

    launch = executor.launch
    executor.import_tar(image_tar(), "golden")
    launch("ended", sh("echo out; echo err >&2; exit 3"), root)
    launch("killed", SLEEP, root)
    executor.signal("killed", signal.SIGKILL)
    launch("greeter", ["/bin/hello"], image="golden", name="from-image", hostname="greets", env=["A=b"])
    launch("oom", sh("x=x; while :; do x=$x$x; done"), root, resources={"memory_limit_bytes": 16 << 20})
    launch("again", sh("echo run; exit 1"), root, restart={"policy": "ON_FAILURE", "maximum_retries": 2})
    launch("kept", sh("echo up; exec sleep 100000"), root, name="db", mounts=[{"type": "TMPFS", "destination": "/scratch"}])
    launch("always", sh("n=$(cat /box/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n > /box/n; echo run $n; "
                        "exec sleep 100000"), root, restart={"policy": "ALWAYS"}, sandbox_mount="/box")
    launch("stopped", SLEEP, root, restart={"policy": "ALWAYS"})
    executor.stop("stopped", 0)
    launch("lives", ["/bin/cat"], root, init=True, open_stdin=True, user="user", hostname="h",
           resources={"cpus": 0.5, "pids_limit": 50})
    executor.exec("lives.done", sh("echo nested; exit 5"))
    executor.wait("lives.done")
    executor.exec("lives.runs", SLEEP)
    launch("paused", SLEEP, root)
    executor.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "paused"}})
    launch("bridged", SLEEP, root, **gantry.bridge((18080, 80)))
    launch("dumped", sh("echo before; exec sleep 100000"), root)
    gantry.wait_until(lambda: executor.output("dumped") == "before\n")
    executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": "dumped"}, "name": "golden"})
    for name in ("ended", "killed", "greeter", "oom", "again", "stopped"):
        gantry.wait_until(lambda name=name: executor.states()[name] == "exited")
    gantry.wait_until(lambda: executor.output("again") == "run\n" * 3)
    gantry.wait_until(lambda: executor.output("always") == "run 1\n")


def add_framework(executor):
    """A task that runs and one that failed, of whom nobody has acknowledged anything."""
    framework = Framework(executor, {"name": "golden"}, acknowledge=False).subscribe()
    offer = framework.offer()
    framework.launch(offer, framework.task("runs", "exec sleep 100000", offer), framework.task("fails", "exit 4", offer))
    framework.wait("UPDATE", lambda e: e["update"]["status"]["task_id"]["value"] == "runs")
    framework.wait("UPDATE", lambda e: e["update"]["status"]["task_id"]["value"] == "fails")
    tasks = [c["container_id"]["value"] for c in executor.list() if c["container_id"]["value"] not in NAMES]
    gantry.wait_until(lambda: sorted(executor.states()[task] for task in tasks) == ["exited", "running"])


def kill_all(executor):
    """What a power cut does, but for the runtime directory."""
    executor.kill()
    deadline = time.monotonic() + 20
    while found := processes():
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        thaw()
        time.sleep(0.05)
        if time.monotonic() > deadline:
            raise AssertionError(f"still there: {found}")


def cgroup_files(name):
    for mount in gantry.leakcheck().cgroup_mounts():
        for folder, _, files in os.walk(mount + CGROUP_ROOT):
            if name in files:
                yield pathlib.Path(folder, name)


def thaw():
    for name, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        for path in cgroup_files(name):
            with contextlib.suppress(OSError):
                path.write_text(text)


def processes():
    """Of our cgroups."""
    found = set()
    for path in cgroup_files("cgroup.procs"):
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in path.read_text().split())
    return found


def record_directories(executor, golden):
    executor.start("--here")
    root = gantry.busybox_root(PLACE / "root")
    fill(executor, root)
    add_framework(executor)
    kill_all(executor)
    (golden / "directories.tar.xz").unlink(missing_ok=True)
    subprocess.run(["tar", "-C", PLACE, "--sparse", "--sort=name", "--numeric-owner", "--exclude=*.sock", "--exclude=run/criu.probe",
                    "--xattrs", "-cJf", golden / "directories.tar.xz", "run", "data"], check=True)


# The wires


def bytes_of(text):
    return bytes.fromhex(text.replace("\\x", ""))


def traced_calls(folder):
    """(call, first argument, bytes) of every call that was traced, and what memfds were called."""
    for path in sorted(folder.glob("trace.*")):
        names = {}
        for line in path.read_text().splitlines():
            call, _, rest = line.partition("(")
            if call == "memfd_create":
                names[rest.rpartition("= ")[2]] = bytes_of(rest.split('"')[1]).decode()
            elif call in ("write", "pwrite64", "sendmsg"):
                fd = rest.partition(",")[0]
                for data in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', rest):
                    yield path, call, names.get(fd), bytes_of(data)


def keep_wires(folder, wire):
    """One file for each kind: the first of its type and flags."""
    handover = {}
    for path, call, memfd, data in traced_calls(folder):
        if call == "sendmsg" and data[:4] == MAGIC:
            kind = int.from_bytes(data[6:8], "little")
            if kind in REQUESTS and len(data) == REQUEST_BYTES:
                flags = int.from_bytes(data[20:24], "little")
                keep(wire / f"request-{REQUESTS[kind]}{f'-io{flags}' if flags else ''}.bin", data)
            elif kind in ANSWERS and len(data) == ANSWER_BYTES:
                error, _, _, ops = (int.from_bytes(data[at:at + 4], "little") for at in range(16, 32, 4))
                more = "-error" if error else "-hello" if ops else "-running" if any(data[40:48]) else ""
                keep(wire / f"answer-{ANSWERS[kind]}{more}.bin", data)
        elif memfd == "gantry-plan" and call == "write":
            keep(wire / f"plan-{plan_kind(data)}.bin", data)
        elif memfd == "gantry-handover":
            # The header comes last, and goes to the beginning.
            parts = handover.setdefault(path, [])
            if call == "pwrite64":
                keep(wire / "handover.bin", data + b"".join(parts))
                handover[path] = []
            else:
                parts.append(data)


def plan_kind(data):
    """By what it is for: its descriptors tell."""
    ops, report, namespace = (int.from_bytes(data[at:at + 4], "little", signed=True) for at in (12, 48, 52))
    return "nested" if namespace >= 0 else "rest" if report < 0 else f"whole-{ops}"


def keep(path, data):
    if not path.exists():
        path.write_bytes(data)


def keep_table(runtime, wire):
    with open(runtime / "launcher.table", "rb") as file:
        header = file.read(TABLE_HEADER_BYTES)
        used = int.from_bytes(header[16:20], "little")
        (wire / "table.bin").write_bytes(header + file.read(used * SLOT_BYTES))


def trace(folder):
    """Our daemons that nobody traces yet, and not what they start."""
    new = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            pid, text = int(status.parent.name), status.read_text()
            name = text.split("\n")[0].partition("\t")[2]
            if "TracerPid:\t0\n" in text and ((pid in processes() and name in ("gantry-launcher", "gantry-logger")) or (
                    name == "gantry-executor" and str(PLACE) in (status.parent / "cmdline").read_text())):
                new.append(subprocess.Popen(
                    ["strace", "-xx", "-s", "4194304", "-e", "trace=memfd_create,write,pwrite64,sendmsg", "-e", "signal=none",
                     "-o", folder / f"trace.{pid}", "-p", str(pid)], stderr=subprocess.DEVNULL))
                gantry.wait_until(lambda status=status: "TracerPid:\t0\n" not in status.read_text())
    return new


def launched(executor, root):
    """False while the launcher is just dying."""
    with contextlib.suppress(gantry.CallFailed):
        return executor.run("late", ["/bin/echo", "late"], root)[1] == "late\n"
    return False


def record_wires(executor, golden):
    wire = golden / "wire"
    shutil.rmtree(wire, ignore_errors=True)
    wire.mkdir()
    folder = PLACE / "traces"
    folder.mkdir()
    root = gantry.busybox_root(PLACE / "root")
    executor.start("--here", "--prepared-children", "2")
    tracers = trace(folder)
    executor.launch("reads", ["/bin/cat"], root, open_stdin=True)
    executor.launch("counts", ["/bin/sh", "-c", "i=0; while :; do echo $i; i=$((i + 1)); sleep 0.1; done"], root)
    executor.launch("terminal", ["/bin/sleep", "100000"], root, tty=True, open_stdin=True)
    time.sleep(1)  # for its prepared children
    executor.launch("prepared", ["/bin/true"], root)
    executor.wait("prepared")
    executor.exec("reads.nested", ["/bin/echo", "hello"])
    executor.wait("reads.nested")
    executor.output("reads.nested")
    executor.remove("reads.nested")
    subprocess.run([executor.bin / "gantry", "--socket", executor.socket, "attach", "reads"], input=b"text\n", check=False,
                   timeout=60, capture_output=True)
    other = gantry.another_build(PLACE / "other", "another")
    executor.call("GANTRY_UPGRADE", gantry_upgrade={"program": str(other / "gantry-executor")})
    executor.disconnect()
    executor.wait_ready(60)
    launcher = next(pid for pid in processes() if gantry.leakcheck().stat_of(pid)[0] == "gantry-launcher")
    tracers += trace(folder)  # the new logger
    os.kill(launcher, signal.SIGKILL)
    gantry.wait_until(lambda: launched(executor, root), 60)
    tracers += trace(folder)  # the new launcher
    executor.launch("dumped", SLEEP, root)
    executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": "dumped"}, "name": "one"})
    executor.call("GANTRY_RESTORE", gantry_restore={"checkpoint": "one"})
    keep_table(executor.runtime, wire)
    for name in executor.states():
        executor.remove(name, force=True)
    executor.call("GANTRY_SHUTDOWN", gantry_shutdown={})
    executor.wait_dead()
    for tracer in tracers:
        tracer.wait(20)
    keep_wires(folder, wire)


def main():
    if len(sys.argv) != 3 and sys.argv[3:4] != ["--directories-only"]:
        sys.exit(__doc__)
    golden, parts = HERE / "golden" / sys.argv[1], (record_directories, record_wires)
    if len(sys.argv) > 3:
        golden, parts = pathlib.Path(sys.argv[4], sys.argv[1]), (record_directories,)
    golden.mkdir(parents=True, exist_ok=True)
    PLACE.mkdir()
    in_the_past()
    gantry.own_network()
    try:
        for record in parts:
            executor = gantry.Executor(PLACE)
            executor.cgroup_root, executor.bin = CGROUP_ROOT, pathlib.Path(sys.argv[2]).resolve()
            try:
                record(executor, golden)
            finally:
                if executor.process.poll() is None:
                    kill_all(executor)
                executor.start("--here")
                leaks = executor.close()
                if leaks:
                    print(leaks)
                subprocess.run(["umount", "-l", executor.runtime], check=False, stderr=subprocess.DEVNULL)
                shutil.rmtree(executor.runtime, ignore_errors=True)
                shutil.rmtree(executor.data)
    finally:
        shutil.rmtree(PLACE)


if __name__ == "__main__":
    main()
