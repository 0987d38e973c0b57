"""The programs on disk are replaced under a running executor: what runs is what was there when it started."""
import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess

from checkpoints import name_of, pids
from gantry import BIN, CallFailed, GantryTest, main, wait_until

# What it reads when it starts. Itself it runs from its file, which the kernel lets nobody write meanwhile.
READ = ("gantry-launcher", "gantry-logger", "gantry-worker", "gantry-init", "gantry-criu-tar")
RUBBISH = b"#!/bin/sh\necho rubbish ran >&2\nexit 99\n"
COUNT = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def cgroups_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    return ""


class Programs(GantryTest):
    def start(self):
        self.bin = self.executor.bin = self.top / "bin"
        self.bin.mkdir()
        self.install()
        (self.top / "uri").write_text("fetched\n")
        self.executor.start("--prepared-children", "0")

    def finish(self):
        self.install()
        super().finish()

    def install(self, more=b""):
        """New files, copies: they are written. `more`: behind the end, another build to whoever compares."""
        for name in ("gantry", "gantry-executor", *READ):
            shutil.copy2(BIN / name, self.bin / "new")
            if name in READ:
                with open(self.bin / "new", "ab") as file:
                    file.write(more)
            (self.bin / "new").rename(self.bin / name)

    def write_over(self):
        """The same files, other bytes."""
        for name in READ:
            with open(self.bin / name, "r+b") as file:
                file.write(RUBBISH)
                file.truncate()
        with self.assertRaises(OSError) as busy, open(self.bin / "gantry-executor", "r+b"):
            pass
        self.assertEqual(busy.exception.errno, errno.ETXTBSY)

    def replace(self):
        """Other files of these names."""
        for name in ("gantry-executor", *READ):
            (self.bin / "new").write_bytes(RUBBISH)
            (self.bin / "new").chmod(0o755)
            (self.bin / "new").rename(self.bin / name)

    def process(self, name):
        """The one in the launcher's cgroup: a logger outlives its parent."""
        own = f"{self.executor.cgroup_root}/launcher\n"
        return next(pid for pid in pids() if name_of(pid) == name and own in cgroups_of(pid))

    def numbers(self):
        lines = self.executor.output("lives").splitlines()
        self.assertEqual(lines, [str(i) for i in range(len(lines))])
        return len(lines)

    def all_works(self, init):
        """Whatever one of them is for; `init`: the digest of the gantry-init that containers get."""
        answer, out, err = self.executor.run(
            "new", ["/bin/sh", "-c", "cat /proc/1/comm; sha256sum < /dev/gantry-init; cat /box/uri; exit 4"], self.root,
            init=True, sandbox_mount="/box", uris=[{"uri": f"file://{self.top}/uri"}])
        self.assertEqual((answer["exit_status"], out, err), (4 << 8, f"gantry-init\n{init}  -\nfetched\n", ""))
        self.executor.exec("lives.exec", ["/bin/echo", "in it"])
        self.assertEqual(self.executor.wait("lives.exec")["exit_status"], 0)
        self.assertEqual(self.executor.output("lives.exec"), "in it\n")
        self.executor.remove("lives.exec")

    def daemons_start_again(self):
        had = self.numbers()
        for name in ("gantry-logger", "gantry-launcher"):
            old = self.process(name)
            os.kill(old, signal.SIGKILL)
            wait_until(lambda name=name, old=old: self.other_than(old, name))
            wait_until(lambda had=had: self.numbers() > had + 3)
            had = self.numbers()

    def other_than(self, old, name):
        with contextlib.suppress(StopIteration):
            return self.process(name) != old
        return False

    def test_nothing_is_disturbed_until_the_upgrade(self):
        self.executor.launch("lives", ["/bin/sh", "-c", COUNT], self.root, init=True)
        wait_until(lambda: self.numbers() > 3)
        init = digest(self.bin / "gantry-init")
        self.write_over()
        self.all_works(init)
        self.replace()
        self.all_works(init)
        self.daemons_start_again()
        with self.assertRaises(CallFailed):
            self.executor.call("GANTRY_UPGRADE", gantry_upgrade={"program": str(self.bin / "gantry-executor")})
        self.install(b"a later build")
        done = subprocess.run([self.bin / "gantry", "--socket", self.executor.socket, "executor", "upgrade"],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), self.executor.log_tail())
        self.executor.disconnect()
        later = digest(self.bin / "gantry-init")
        self.assertNotEqual(later, init)
        self.all_works(later)

    def test_no_container_can_write_its_init(self):
        """Not even one that may mount; what it is mounted from is the host's, for every container."""
        attack = ("mount -o remount,bind,rw /dev/gantry-init; (: >/dev/gantry-init); (: >/proc/1/exe); "
                  "umount /dev/gantry-init 2>/dev/null; sha256sum </proc/1/exe; true")
        init = digest(self.bin / "gantry-init")
        for more in ({}, {"cap_add": ["SYS_ADMIN"], "seccomp": {"mode": "UNCONFINED"}}):
            _, out, err = self.executor.run("attacks", ["/bin/sh", "-c", attack], self.root, init=True, **more)
            self.assertEqual(out, f"{init}  -\n", err)
            self.assertEqual(err.count("can't create"), 2, err)
            (mounted,) = (self.executor.runtime / "init").glob("*/gantry-init")
            self.assertEqual(digest(mounted), init)

    def unmount_init(self):
        """What an executor finds that is started after a reboot."""
        self.executor.kill()
        for folder in (self.executor.runtime / "init").iterdir():
            subprocess.run(["umount", folder], check=True)
        self.install()
        self.executor.start()

    def test_checkpoints_go_on(self):
        self.executor.launch("lives", ["/bin/sh", "-c", f"echo kept > /tmp/file; {COUNT}"], self.root, init=True,
                             mounts=[{"type": "TMPFS", "destination": "/tmp"}])
        wait_until(lambda: self.numbers() > 3)
        self.write_over()
        for name in ("one", "two"):
            self.executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": "lives"}, "name": name})
            self.unmount_init()
            self.executor.call("GANTRY_RESTORE", gantry_restore={"checkpoint": name})
            had = self.numbers()
            wait_until(lambda had=had: self.numbers() > had + 3)
            self.replace()
        self.executor.exec("lives.exec", ["/bin/cat", "/tmp/file"])
        self.executor.wait("lives.exec")
        self.assertEqual(self.executor.output("lives.exec"), "kept\n")


if __name__ == "__main__":
    main()
