"""The guest's disks: what boots it, and a root of Debian's packages with this build's programs and tests in it."""
import gzip
import os
import pathlib
import re
import shutil
import stat
import subprocess

from debian import package_root
from gantry import TOP

KERNEL = pathlib.Path(os.environ.get("GANTRY_TOOLS_CACHE", "/var/cache/gantry-tools")) / "guest"
PACKAGES = ("bash", "dash", "coreutils", "tar", "findutils", "grep", "sed", "gzip", "python3", "busybox-static", "util-linux",
            "mount", "iproute2", "nftables", "procps", "psmisc", "libcap2-bin", "attr", "acl", "zstd", "xz-utils")
# What the disk needs, in the order of loading.
DISK_DRIVERS = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
# Folders of modules that a container engine may ask for.
MODULES = ("kernel/crypto", "kernel/lib", "kernel/fs", "kernel/net", "kernel/drivers/net/*.ko",
           "kernel/drivers/block/loop.ko", "kernel/drivers/virtio")

START = """#!/bin/busybox sh
for driver in {drivers}; do /bin/busybox insmod /$driver.ko; done
/bin/busybox mount -t devtmpfs devtmpfs /dev
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do /bin/busybox sleep 0.1; done  # the driver looks for them by itself
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
exec /bin/busybox switch_root /root /bin/busybox init
"""

# busybox's init reaps what the tests orphan.
INITTAB = "::sysinit:/etc/boot\n::once:/usr/bin/python3 {here}/inside.py\n::ctrlaltdel:/bin/true\n"

BOOT = """#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
ln -s /proc/self/fd /dev/fd
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs -o mode=755,size=256m tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /disk
mount -t ext4 -o noatime /dev/vdb /disk
hostname guest
ip link set lo up
"""


def version():
    kernels = sorted((KERNEL / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise SystemExit(f"no kernel in {KERNEL}: tools/setup")
    return kernels[-1].name.removeprefix("vmlinuz-")


def vmlinuz():
    return KERNEL / "boot" / f"vmlinuz-{version()}"


def modules():
    return KERNEL / "lib/modules" / version()


def cpio(files):
    """An archive in the form the kernel unpacks (newc) of (name, mode, bytes)."""
    out = b""
    for number, (name, mode, data) in enumerate([*files, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        out += header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4)
    return out


def make_initramfs(path):
    files = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "root")]
    files.append(("bin/busybox", stat.S_IFREG | 0o755, pathlib.Path("/bin/busybox").read_bytes()))
    files.append(("init", stat.S_IFREG | 0o755, START.format(drivers=" ".join(DISK_DRIVERS)).encode()))
    for driver in DISK_DRIVERS:
        (found,) = modules().rglob(f"{driver}.ko")
        files.append((f"{driver}.ko", stat.S_IFREG | 0o644, found.read_bytes()))
    path.write_bytes(gzip.compress(cpio(files), 1))


def copy_modules(root):
    target = root / "lib/modules" / version()
    for wanted in MODULES:
        for source in modules().glob(wanted):
            to = target / source.relative_to(modules())
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, to) if source.is_dir() else shutil.copy(source, to)
    for source in modules().glob("modules.*"):
        shutil.copy(source, target)
    subprocess.run(["/bin/busybox", "depmod", "-b", str(root), version()], check=True)


def libraries(programs):
    """The shared libraries that these programs load."""
    listed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    return sorted({pathlib.Path(path) for path in re.findall(r"(/\S+) \(0x", listed)})


def copy_programs(root, programs):
    """At the same paths as here, which they know each other by; without what only a debugger reads."""
    for program in programs:
        to = root / program.relative_to("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["strip", "-g", "-o", str(to), str(program)], check=True)
    for library in libraries(programs):
        to = root / "usr" / library.relative_to("/" if not str(library).startswith("/usr") else "/usr")
        if not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library.resolve(), to)


def compile_python(root):
    """Ahead, because an emulated processor needs seconds for it."""
    folders = [root / "usr/lib/python3.11", root / TOP.relative_to("/") / "tests"]
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash",
                    *map(str, folders)], check=True)


def make_root(root, programs):
    package_root(root, *PACKAGES)
    copy_modules(root)
    copy_programs(root, programs)
    for folder in ("tests", "tools"):
        shutil.copytree(TOP / folder, root / TOP.relative_to("/") / folder)
    compile_python(root)
    for name, text in (("inittab", INITTAB.format(here=TOP / "tests/guest")), ("boot", BOOT), ("hostname", "guest\n"),
                       ("hosts", "127.0.0.1 localhost\n")):
        (root / "etc" / name).write_text(text)
    (root / "etc/boot").chmod(0o755)
    (root / "usr/bin/sh").unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("dash")
    # The kernel calls it for a file system or a link that is a module.
    (root / "usr/sbin/modprobe").symlink_to("/bin/busybox")


def make_disk(path, size, folder=None):
    """A file system in a sparse file."""
    contents = ["-d", str(folder)] if folder else []
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", *contents, str(path), size], check=True)
