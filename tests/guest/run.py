"""Boots the guest (README.md) and runs in it the tests that CMake labels guest: run.py BUILD_DIR [-k PART] [--keep DIR]."""
import argparse
import json
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time

import image

HERE = pathlib.Path(__file__).resolve().parent
# Half as long where nothing else runs on two processors.
LIMIT_SECONDS = 480
# What costs an emulated processor much and is none of ours is off.
KERNEL_ARGUMENTS = ("console=ttyS0 quiet mitigations=off init_on_alloc=0 randomize_kstack_offset=off hardened_usercopy=off "
                    "no5lvl nokaslr")


def labelled_tests(build, part):
    """What ctest would run, by command, environment and timeout."""
    listed = subprocess.run(["ctest", "--test-dir", str(build), "--show-only=json-v1", "-L", "^guest$", "-E", "^guest$"],
                            capture_output=True, text=True, check=True).stdout
    tests = [to_plan(test) for test in json.loads(listed)["tests"]]
    return [test for test in tests + own_tests(build) if re.search(part, test["name"])]


def own_tests(build):
    """The halves of reboot_test.py, with the reboot between them; the second boot begins with a kernel that lacks things."""
    def entry(name, boot, script, *words):
        return {"name": name, "command": ["python3", str(HERE / script), *words], "timeout": 200, "boot": boot, "alone": True,
                "environment": {"GANTRY_BIN": str(build / "bin"), "PYTHONPATH": str(image.TOP / "tests/support")}}
    return [entry("reboot.before", 1, "reboot_test.py", "before"), entry("lacking", 2, "lacking_test.py"),
            entry("reboot.after", 2, "reboot_test.py", "after")]


def to_plan(test):
    command, environment = list(test["command"]), {}
    if command[1:3] == ["-E", "env"]:  # cmake -E env NAME=VALUE… COMMAND…
        command = command[3:]
        while re.match(r"\w+=", command[0]):
            name, environment[name] = command.pop(0).split("=", 1)
    timeout = next(p["value"] for p in test["properties"] if p["name"] == "TIMEOUT")
    return {"name": test["name"], "command": command, "environment": environment, "timeout": 2 * timeout, "boot": 1,
            "alone": False}


def programs_of(build, tests):
    """The built programs, and those tests and helpers of tests that are programs too."""
    named = [pathlib.Path(test["command"][0]) for test in tests]
    helpers = (build / "tests").glob("gantry-test-*")
    return sorted({path for path in [*(build / "bin").glob("gantry*"), *helpers, *named] if build in path.parents})


def make_disks(where, build, tests):
    (where / "root").mkdir()
    image.make_root(where / "root", programs_of(build, tests))
    (where / "root/etc/tests.json").write_text(json.dumps(tests))
    image.make_disk(where / "root.img", "2G", where / "root")
    image.make_disk(where / "data.img", "1G")
    image.make_initramfs(where / "initramfs")


def boot(where):
    return subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2", "-m", "2048",
         "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
         "-kernel", str(image.vmlinuz()), "-initrd", str(where / "initramfs"),
         "-append", KERNEL_ARGUMENTS,
         "-drive", f"file={where}/root.img,if=virtio,format=raw,cache=unsafe",
         "-drive", f"file={where}/data.img,if=virtio,format=raw,cache=unsafe"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def follow(guest):
    """Passes the console on; returns the lines of TAP."""
    told = []
    for line in guest.stdout:
        print(line.rstrip(), flush=True)
        if re.match(r"(not )?ok \d|1\.\.\d", line):
            told.append(line.rstrip())
        if "Kernel panic" in line:
            threading.Timer(1, guest.kill).start()  # after what it says about it
    return told


def verdict(told):
    """What is wrong with the TAP, or None."""
    if not told or not told[0].startswith("1.."):
        return "the guest ran no test"
    wanted, done = int(told[0][3:]), told[1:]
    failed = [line for line in done if line.startswith("not ok")]
    if failed:
        return f"{len(failed)} failed"
    return None if len(done) == wanted else f"{len(done)} of {wanted} tests ended"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("-k", default="", help="only tests whose name has this regular expression")
    args = parser.parse_args()
    build = args.build.resolve()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gantry-test-guest-") as where:
        make_disks(pathlib.Path(where), build, labelled_tests(build, args.k))
        print(f"# disks made in {time.monotonic() - start:.1f} s", flush=True)
        guest = boot(pathlib.Path(where))
        timer = threading.Timer(LIMIT_SECONDS, guest.kill)
        timer.start()
        try:
            told = follow(guest)
        finally:
            timer.cancel()
            guest.kill()
            guest.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"# {time.monotonic() - start:.1f} s in all, {used.ru_utime + used.ru_stime:.1f} s of processor time", flush=True)
    wrong = verdict(told)
    if wrong:
        sys.exit(wrong)


if __name__ == "__main__":
    main()
