"""The Debian package in a clean, debootstrapped root: installed, upgraded under containers, downgraded, removed, purged.

The root is a host of its own as far as namespaces go: mounts, processes, network, cgroups. There is no systemd in it.
"""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from gantry import BIN, busybox_root, main, wait_until

BUILD = BIN.parent
HOST = "host"  # the cgroup of what is no container's

WORLD = r"""
set -e
cd "$ROOT"
mount --make-rprivate /
mount --bind . .
cd "$ROOT"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
grep -E ' cgroup2? ' "$MOUNTS" | while read -r _ point kind options _; do
  name=sys/fs/cgroup/${point##*/}
  if [ "$point" = /sys/fs/cgroup ]; then name=sys/fs/cgroup; fi
  mkdir -p "$name"
  case $kind in cgroup2) mount -t cgroup2 cgroup2 "$name" ;; *) mount -t cgroup -o "$(echo "$options" | sed 's/\(rw\|ro\|relatime\|nosuid\|nodev\|noexec\),//g')" cgroup "$name" ;; esac
done
pivot_root . mnt
umount -l /mnt
exec chroot . /bin/bash -c 'ip link set lo up; touch /run/ready; while :; do sleep 0.1; done'
"""


def output_of(*words, **options):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=900, **options)
    if done.returncode != 0:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def make_package(where):
    """The package of this build, and the names of the packages that it depends on."""
    output_of("cpack", "--config", BUILD / "CPackConfig.cmake", "-G", "DEB", "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip", "-B", where)
    package = next(where.glob("gantry_*.deb"))
    needs = output_of("dpkg-deb", "-f", package, "Depends")
    return package, re.findall(r"(?:^|, )([a-z0-9][a-z0-9+.-]+)", needs)


def another_version(package, version):
    """The same as another version, and another build to whoever compares: bytes behind the end of its programs."""
    tree = package.parent / version
    output_of("dpkg-deb", "-R", package, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}", control.read_text()))
    for program in (tree / "usr/libexec/gantry").iterdir():
        with open(program, "ab") as file:
            file.write(version.encode())
    out = package.parent / f"gantry_{version}.deb"
    output_of("dpkg-deb", "-b", "-Zgzip", tree, out)
    return out


def debootstrap(root, packages):
    mirror = output_of("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").splitlines()
    mirror = next(line for line in mirror if "security" not in line)
    output_of("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", "bookworm", root, mirror)


class Cgroups:
    """A cgroup of the world's own in every hierarchy; it is the root of what is in there."""

    def __init__(self, name):
        mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        self.paths = [pathlib.Path(m[1], name) for m in mounts if m[2] in ("cgroup", "cgroup2")]
        for path in self.paths:
            path.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (path / file).exists() and (path.parent / "tasks").exists():
                    (path / file).write_text((path.parent / file).read_text())
        for leaf in self.leaves():
            leaf.mkdir(exist_ok=True)

    def enter(self, pid=0):
        """After fork, before exec; or another process."""
        for path in self.leaves():
            (path / "cgroup.procs").write_text(str(pid))

    def enter_root(self):
        """For whoever makes the cgroup namespace."""
        for path in self.paths:
            (path / "cgroup.procs").write_text("0")

    def leaves(self):
        """In v2 no cgroup with controllers for its children has processes."""
        return [path / HOST if (path / "cgroup.controllers").exists() else path for path in self.paths]

    def below(self):
        return [str(child) for path in self.paths for child in path.glob("**/") if child not in (path, path / HOST)]

    def remove(self):
        for path in self.paths:
            for child in sorted(path.glob("**/"), reverse=True):
                wait_until(lambda c=child: self.gone(c))

    @staticmethod
    def gone(path):
        with contextlib.suppress(OSError):
            path.rmdir()
        return not path.exists()


class World:
    def __init__(self, root, cgroups):
        self.cgroups = cgroups
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "/bin/bash", "-c",
             WORLD], env={**os.environ, "ROOT": str(root), "MOUNTS": "/proc/self/mounts"}, preexec_fn=cgroups.enter_root)
        self.first = int(wait_until(lambda: pathlib.Path(
            f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())[0])
        wait_until(lambda: self.process.poll() is not None or pathlib.Path(f"/proc/{self.first}/root/run/ready").exists())
        for pid in (self.process.pid, self.first):
            cgroups.enter(pid)

    def path(self, name):
        return pathlib.Path(f"/proc/{self.first}/root{name}")

    def run(self, *words, check=True):
        done = subprocess.run(
            ["nsenter", "-t", str(self.first), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", *words], capture_output=True,
            text=True, check=False, timeout=120, preexec_fn=self.cgroups.enter, stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
        if check and done.returncode != 0:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def processes(self, name):
        """Pids, as in there, of the programs of this name; zombies are none."""
        found = self.run("sh", "-c", "for p in /proc/[0-9]*; do echo ${p#/proc/} $(readlink $p/exe); done").splitlines()
        return [int(line.split()[0]) for line in found if f"/{name}" in line or f":{name}" in line]

    def end(self):
        self.process.kill()
        self.process.wait()


class DebianPackage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = pathlib.Path(tempfile.mkdtemp(prefix="gantry-test-deb-"))
        cls.addClassCleanup(shutil.rmtree, cls.top)
        cls.top.chmod(0o755)
        package, needs = make_package(cls.top)
        root = cls.top / "root"
        started = time.monotonic()
        debootstrap(root, [*needs, "iproute2", "nftables"])
        print(f"debootstrap: {time.monotonic() - started:.0f} s", flush=True)
        busybox_root(root / "srv/box")
        for name, file in (("1.0", another_version(package, "1.0")), ("2.0", another_version(package, "2.0"))):
            shutil.copy(file, root / f"srv/gantry_{name}.deb")
        cls.cgroups = Cgroups(f"gantry-test-{os.getpid()}")
        cls.addClassCleanup(cls.cgroups.remove)
        cls.world = World(root, cls.cgroups)
        cls.addClassCleanup(cls.world.end)

    def setUp(self):
        self.before = self.files()

    def files(self):
        """What is in the root; the package manager's own notes change with every run."""
        skipped = "/proc /sys /dev /run /srv/box /var/lib/dpkg /var/cache /var/log /var/backups".split()
        pruned = " -o ".join(f"-path {path}" for path in skipped)
        return set(self.world.run("sh", "-c", f"find / \\( {pruned} \\) -prune -o -print").splitlines())

    def install(self, version, *options):
        return self.world.run("dpkg", *options, "-i", f"/srv/gantry_{version}.deb")

    def gantry(self, *words, check=True):
        return self.world.run("gantry", *words, check=check)

    def start(self, name, *flags):
        self.gantry("run", "-d", "--name", name, *flags, "--rootfs", "/srv/box", "/bin/sleep", "10000")

    def executor_pid(self):
        return int(self.world.path("/run/gantry/lock").read_text().split()[0])

    def sleepers(self):
        """Pids, as in there, of what start() started."""
        listing = self.world.run("sh", "-c", "for p in /proc/[0-9]*; do echo ${p#/proc/} $(tr '\\0' ' ' <$p/cmdline); done 2>/dev/null; :")
        return sorted(int(line.split()[0]) for line in listing.splitlines() if line.endswith(" /bin/sleep 10000"))

    def assert_nothing_left(self):
        self.assertEqual(self.world.processes("gantry"), [])
        self.assertEqual(self.sleepers(), [])
        self.assertEqual(self.cgroups.below(), [])
        self.assertEqual(self.world.run("cat", "/proc/mounts").count("gantry"), 0)
        self.assertEqual(self.world.run("ip", "-o", "link").count("\n"), 1)
        self.assertEqual(self.world.run("nft", "list", "tables"), "")
        self.assertFalse(self.world.path("/run/gantry").exists())
        self.assertFalse(self.world.path("/run/gantry.lock").exists())
        self.assertEqual(self.files() ^ self.before, set())
        self.assertNotIn("gantry", self.world.path("/etc/group").read_text())

    def test_from_installation_to_purge(self):
        self.install("1.0")
        self.assertIn("gantry:", self.world.path("/etc/group").read_text())
        self.assertIn("/gantry.slice/gantry", self.world.path("/etc/gantry/config.json").read_text())
        self.assertTrue(os.path.lexists(self.world.path("/etc/systemd/system/multi-user.target.wants/gantry.service")))
        self.start("plain")
        self.start("web", "-p", "8080:80")
        self.assertIn("/gantry.slice/gantry/containers/", self.world.path(f"/proc/{self.sleepers()[0]}/cgroup").read_text())
        running, executor = self.sleepers(), self.executor_pid()
        self.assertEqual(len(running), 2)

        with open(self.world.path("/etc/gantry/config.json"), "a", encoding="utf-8") as file:
            file.write("// changed by the administrator\n")
        for version in ("2.0", "1.0", "2.0"):
            with self.subTest(f"to {version}"):
                self.install(version, "--force-confold")
                self.assertEqual((self.sleepers(), self.executor_pid()), (running, executor))
                self.assert_build(executor, version)
                self.assert_build(self.world.processes("gantry-launcher")[0], version)
                self.assertIn("changed by the administrator", self.world.path("/etc/gantry/config.json").read_text())
                self.assertEqual(self.gantry("exec", "plain", "/bin/echo", "here"), "here\n")

        said = self.world.run("dpkg", "-r", "gantry")
        self.assertIn("containers go on running without their executor", said)
        self.assertEqual((self.sleepers(), self.world.processes("gantry-executor")), (running, []))
        self.assertTrue(self.world.path("/etc/gantry/config.json").exists())

        self.install("1.0")
        self.assertEqual(self.gantry("ps").count(" running for "), 2)
        self.assertEqual(self.gantry("exec", "plain", "/bin/echo", "here"), "here\n")
        self.assertIn("plain", self.gantry("stop", "-t", "0", "plain"))

        self.world.run("dpkg", "-P", "gantry")
        self.assert_nothing_left()

    def test_removed_while_nothing_runs_and_purged_with_its_data_elsewhere(self):
        self.install("1.0")
        settings = self.world.path("/etc/gantry/config.json")
        settings.write_text(settings.read_text().replace('// , "data_dir"', ', "data_dir"'))
        self.assertEqual(self.gantry("run", "--name", "once", "--rootfs", "/srv/box", "/bin/echo", "done"), "done\n")
        said = self.world.run("dpkg", "-r", "gantry")
        self.assertNotIn("go on running", said)
        wait_until(lambda: not self.world.processes("gantry"))
        self.assertTrue(self.world.path("/srv/gantry/sandboxes").exists())
        self.install("2.0")
        self.assertIn("once", self.gantry("ps", "-a"))
        self.world.run("dpkg", "-r", "gantry")
        self.world.run("dpkg", "-P", "gantry")
        self.assert_nothing_left()

    def test_an_upgrade_to_settings_that_are_wrong_leaves_the_former_executor(self):
        self.install("1.0")
        self.start("plain")
        executor, settings = self.executor_pid(), self.world.path("/etc/gantry/config.json")
        right = settings.read_text()
        settings.write_text('{"data_dir": 5}\n')
        said = self.install("2.0", "--force-confold")
        self.assertIn("the executor goes on as the former version", said)
        self.assertEqual(self.executor_pid(), executor)
        self.assert_build(executor, "1.0")
        settings.write_text(right)
        self.gantry("executor", "upgrade")
        self.assert_build(executor, "2.0")
        self.assertEqual(len(self.sleepers()), 1)
        self.world.run("dpkg", "-P", "gantry")
        self.assert_nothing_left()

    def assert_build(self, pid, version):
        """The program that a process runs ends with the version's name."""
        program = self.world.path(f"/proc/{pid}/exe")
        with open(program, "rb") as file:
            file.seek(-len(version), os.SEEK_END)
            self.assertEqual(file.read().decode(), version)


if __name__ == "__main__":
    main()
