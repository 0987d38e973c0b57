"""A clean, debootstrapped Debian that is a host of its own as far as namespaces go: mounts, processes, network, cgroups.

Nothing of the real host's kernel settings, devices or /sys can be written from in there.
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

from gantry import BIN, TOP, busybox_root, wait_until

BUILD = BIN.parent
HOST = "host"  # the cgroup of what is no container's
# What is process 1: it reaps what is left to it.
SHELL = "/bin/bash -c 'while :; do sleep 0.1; done'"
SYSTEMD = "/lib/systemd/systemd"

WORLD = r"""
set -e
cd "$ROOT"
mount --make-rprivate /
mount --bind . .
cd "$ROOT"
mount -t tmpfs -o mode=755 tmpfs run
mount -t proc proc proc
mkdir run/net
mount --bind proc/sys/net run/net
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind run/net proc/sys/net
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
  touch dev/$node
  mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,mode=620,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
grep -E ' cgroup2? ' "$MOUNTS" | while read -r _ point kind options _; do
  name=sys/fs/cgroup/${point##*/}
  if [ "$HIERARCHIES" = v2 ] && [ "$kind" != cgroup2 ]; then continue; fi
  if [ "$point" = /sys/fs/cgroup ] || [ "$HIERARCHIES" = v2 ]; then name=sys/fs/cgroup; fi
  mkdir -p "$name"
  case $kind in
    cgroup2) mount -t cgroup2 cgroup2 "$name" ;;
    *) mount -t cgroup -o "$(echo "$options" | sed -E 's/\<(rw|ro|relatime|nosuid|nodev|noexec),//g')" cgroup "$name" ;;
  esac
done
pivot_root . mnt
umount -l /mnt
umount -l /run/net
ip link set lo up
touch /run/ready
eval "exec env -i container=gantry-test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . $FIRST" </dev/null
"""


def output_of(*words, **options):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=900, **options)
    if done.returncode != 0:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def make_package(where):
    """The package of this build, and the names of the packages that it depends on."""
    output_of("cpack", "--config", BUILD / "CPackConfig.cmake", "-G", "DEB", "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip",
              "-B", where)
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
    def __init__(self, root, cgroups, first, hierarchies):
        self.cgroups = cgroups
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "/bin/bash", "-c",
             WORLD], env={**os.environ, "ROOT": str(root), "MOUNTS": "/proc/self/mounts", "FIRST": first,
                           "HIERARCHIES": hierarchies},
            preexec_fn=cgroups.enter_root)
        self.first = int(wait_until(lambda: pathlib.Path(
            f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())[0])
        wait_until(lambda: self.process.poll() is not None or pathlib.Path(f"/proc/{self.first}/root/run/ready").exists())
        cgroups.enter(self.process.pid)
        if first != SYSTEMD:  # which makes a cgroup for itself, and is in the root until then
            cgroups.enter(self.first)

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


class DebianHostTest(unittest.TestCase):
    """Tests in one such host, with two versions of the package in /srv and busybox' root in /srv/box."""

    packages = ()
    first = SHELL
    hierarchies = "all"  # or "v2": that one alone, with the controllers that it has here

    @classmethod
    def setUpClass(cls):
        cls.top = pathlib.Path(tempfile.mkdtemp(prefix="gantry-test-deb-"))
        cls.addClassCleanup(shutil.rmtree, cls.top)
        cls.top.chmod(0o755)
        package, needs = make_package(cls.top)
        root = cls.top / "root"
        started = time.monotonic()
        debootstrap(root, [*needs, "iproute2", "nftables", *cls.packages])
        print(f"debootstrap: {time.monotonic() - started:.0f} s", flush=True)
        cls.prepare(root)
        busybox_root(root / "srv/box")
        for folder in ("tools", "packaging"):
            shutil.copytree(TOP / folder, root / "srv/source" / folder)
        for name, file in (("1.0", another_version(package, "1.0")), ("2.0", another_version(package, "2.0"))):
            shutil.copy(file, root / f"srv/gantry_{name}.deb")
        cls.cgroups = Cgroups(f"gantry-test-{os.getpid()}")
        cls.addClassCleanup(cls.cgroups.remove)
        cls.world = World(root, cls.cgroups, cls.first, cls.hierarchies)
        cls.addClassCleanup(cls.world.end)

    @classmethod
    def prepare(cls, root):
        """What a subclass changes in the root before it is a host."""

    def setUp(self):
        self.before = self.files()

    def files(self):
        """What is in the root; the package manager's own notes change with every run."""
        skipped = "/proc /sys /dev /run /srv/box /var/lib/dpkg /var/cache /var/log /var/backups".split()
        pruned = " -o ".join(f"-path {path}" for path in skipped)
        found = self.world.run("sh", "-c", f"find / \\( {pruned} \\) -prune -o -print").splitlines()
        return {path for path in found if not path.endswith("-")}  # /etc/group-: the last one

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
        listing = self.world.run("sh", "-c", "for p in /proc/[0-9]*; do echo ${p#/proc/} $(tr '\\0' ' ' <$p/cmdline); done "
                                             "2>/dev/null; :")
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

    def assert_build(self, pid, version):
        """The program that a process runs ends with the version's name."""
        program = self.world.path(f"/proc/{pid}/exe")
        with open(program, "rb") as file:
            file.seek(-len(version), os.SEEK_END)
            self.assertEqual(file.read().decode(), version)
