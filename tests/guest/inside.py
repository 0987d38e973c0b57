"""Runs inside the guest: the tests named in /etc/tests.json, told in TAP on the console; then the reboot, then the end."""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

DISK = pathlib.Path("/disk")
SEEN = DISK / "boots"
LOG_LINES = 150
# How many times as slow as an ordinary host: tests wait as much longer, and do things as many times less often.
SLOWNESS = "20"


def say(text):
    print(text, flush=True)


def run(test):
    """One test, as ctest would: (passed, output)."""
    env = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GANTRY_SLOWNESS": SLOWNESS, "HOME": "/root",
           "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1",
           "GANTRY_PREPARED_CHILDREN": "4", **test["environment"]}
    try:
        done = subprocess.run(test["command"], env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=test["timeout"], check=False)
        return done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as late:
        return False, (late.stdout or b"") + b"\nended: it took too long\n"


def tell(number, test):
    start = time.monotonic()
    passed, output = run(test)
    text = output.decode(errors="replace")
    told = [f"# {line}" for line in text.splitlines()[-LOG_LINES:]] if not passed else []
    skipped = text.count("[  SKIPPED ] ") // 2  # GoogleTest names each twice
    note = f", {skipped} cases skipped" if skipped else ""
    told.append(f"{'ok' if passed else 'not ok'} {number} - {test['name']} # {time.monotonic() - start:.1f} s{note}")
    say("\n".join(told))


def count_boots():
    boots = int(SEEN.read_text()) + 1 if SEEN.exists() else 1
    with open(SEEN, "w", encoding="ascii") as file:
        file.write(str(boots))
        file.flush()
        os.fsync(file.fileno())
    return boots


def main():
    boots = count_boots()
    plan = json.loads(pathlib.Path("/etc/tests.json").read_text())
    if boots == 1:
        say(f"1..{len(plan)}")
    now = [(number, test) for number, test in enumerate(plan, 1) if test["boot"] == boots]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda one: tell(*one), (one for one in now if not one[1]["alone"])))
    for number, test in now:
        if test["alone"]:
            tell(number, test)
    # Without a sync: what must survive a power cut is on the disk already.
    last = not any(test["boot"] > boots for test in plan)
    subprocess.run(["/bin/busybox", "poweroff" if last else "reboot", "-f"], check=False)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    sys.exit(main())
