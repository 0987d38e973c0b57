"""What the benchmarks share: a root filesystem, an executor of their own, statistics."""
import contextlib
import os
import pathlib
import shutil
import signal
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
    socket = path / "gantry.sock"
    log = open(path / "executor.log", "w", encoding="utf-8")
    environment = dict(os.environ, GANTRY_SOCKET=str(socket))
    process = subprocess.Popen(
        [bin_dir / "gantry", "executor", "--runtime-dir", path / "run", "--data-dir", path / "data",
         "--socket", socket, "--cgroup-root", CGROUP_ROOT],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        for _ in range(1000):
            if socket.exists():
                break
            if process.poll() is not None:
                sys.exit(f"the executor ended at once:\n{(path / 'executor.log').read_text()}")
            time.sleep(0.01)
        else:
            sys.exit("the executor did not listen within 10 s")
        yield environment
    finally:
        subprocess.run([bin_dir / "gantry", "executor", "stop"], env=environment, check=False,
                       stdout=subprocess.DEVNULL, stderr=log, timeout=30)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        log.close()
