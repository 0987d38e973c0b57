"""tools/leakcheck bites: each kind of object that Gantry could leave behind is made by hand, found, and gone again."""
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = f"/gantry-leakcheck-test-{os.getpid()}"

# A daemon by its name, of the runtime directory that it is given.
DAEMON = """
import os, subprocess, sys, time
open("/proc/self/comm", "w").write("gantry-launcher")
worker = subprocess.Popen([sys.argv[2], "0"])
os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
print(flush=True)
time.sleep(float(sys.argv[3]))
worker.wait()
time.sleep(60)
"""


def run(*command):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def main():
    top, work = pathlib.Path(sys.argv[1]), pathlib.Path(tempfile.mkdtemp(prefix="gantry-leakcheck."))
    runtime, data = work / "run", work / "data"
    check = [top / "tools/leakcheck", "--runtime-dir", runtime, "--data-dir", data, "--cgroup-root", ROOT]
    hierarchy = next(line.split()[1] for line in open("/proc/self/mounts", encoding="utf-8")
                     if line.split()[2] in ("cgroup", "cgroup2"))
    cgroup = pathlib.Path(hierarchy + ROOT)
    failures = []

    def found():
        done = subprocess.run([str(word) for word in check], capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1) or (done.returncode == 0) != (done.stdout == ""):
            sys.exit(f"exit code {done.returncode} with output {done.stdout!r} and {done.stderr!r}")
        return done.stdout

    def expect(kind, make, undo):
        make()
        text = found()
        if f"{kind}: " not in text:
            failures.append(f"a {kind} was not found; the output was {text!r}")
        undo()
        if found():
            failures.append(f"after the {kind} was gone: {found()!r}")

    def make_cgroup():
        (cgroup / "containers/lost").mkdir(parents=True)

    def remove_cgroup():
        for path in (cgroup / "containers/lost", cgroup / "containers", cgroup):
            path.rmdir()

    def make_shared(mode):
        (cgroup / "parents/web").mkdir(parents=True)
        (cgroup / "parents/web").chmod(mode)

    def remove_shared():
        for path in (cgroup / "parents/web", cgroup / "parents", cgroup):
            path.rmdir()

    sleeper = []

    def start_process():
        make_cgroup()
        sleeper.append(subprocess.Popen(["sleep", "60"]))
        (cgroup / "containers/lost/cgroup.procs").write_text(str(sleeper[0].pid))

    def end_process():
        sleeper[0].kill()
        sleeper[0].wait()
        remove_cgroup()

    def zombies_found(unreaped_seconds):
        """Under a daemon whose worker has ended, and that asks for its status so much later."""
        daemon = subprocess.Popen([sys.executable, "-c", DAEMON, runtime, work / "gantry-worker", str(unreaped_seconds)],
                                  stdout=subprocess.PIPE)
        daemon.stdout.readline()
        text = found()
        daemon.kill()
        daemon.communicate()
        return "gantry-worker" in text and "a zombie" in text

    try:
        shutil.copy("/bin/sleep", work / "gantry-worker")
        runtime.mkdir()
        data.mkdir()
        if found():
            failures.append(f"nothing is there, but: {found()!r}")
        if os.access(cgroup.parent, os.W_OK):
            expect("cgroup", make_cgroup, remove_cgroup)
            expect("process", start_process, end_process)
            expect("cgroup", functools.partial(make_shared, 0o1755), remove_shared)
            make_shared(0o755)
            if found():
                failures.append(f"somebody else's shared cgroup was called a leak: {found()!r}")
            remove_shared()
        lost = runtime / "containers/lost"
        expect("directory", lambda: lost.mkdir(parents=True), lost.rmdir)
        expect("record", lambda: (lost.mkdir(), (lost / "record").write_bytes(b"rubbish")), lambda: shutil.rmtree(lost))
        sandbox = data / "sandboxes/lost"
        expect("directory", lambda: sandbox.mkdir(parents=True), sandbox.rmdir)
        volume = data / "volumes/lost.0123"
        expect("directory", lambda: volume.mkdir(parents=True), volume.rmdir)
        for name in (".tmp.half", "lost"):
            checkpoint = data / "checkpoints" / name
            expect("directory", functools.partial(checkpoint.mkdir, parents=True), checkpoint.rmdir)
        mount = runtime / "mount"
        expect("mount", lambda: (mount.mkdir(), run("mount", "-t", "tmpfs", "tmpfs", mount)),
               lambda: (run("umount", mount), mount.rmdir()))
        if not zombies_found(unreaped_seconds=60):
            failures.append("a zombie was not found")
        if zombies_found(unreaped_seconds=2):
            failures.append("a zombie that is reaped after two seconds was called a leak")
        snapshot = work / "before"
        run(check[0], "--snapshot", snapshot)
        sleeper[:] = [subprocess.Popen(["sleep", "60"])]
        done = subprocess.run([check[0], "--before", snapshot], capture_output=True, text=True, check=False)
        if f"pid {sleeper[0].pid} (sleep" not in done.stdout or done.returncode != 1:
            failures.append(f"--before did not see a new process: {done.stdout!r}")
        sleeper[0].kill()
        sleeper[0].wait()
    finally:
        if (runtime / "mount").is_mount():
            run("umount", runtime / "mount")
        shutil.rmtree(work)
    print("\n".join(failures + [f"{len(failures)} failures"]))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
