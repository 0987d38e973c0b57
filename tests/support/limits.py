"""What tests of exhausted and stuck things share: private mounts, small file systems, and a FUSE server that answers or hangs."""
import contextlib
import ctypes
import errno
import os
import pathlib
import select
import struct
import subprocess
import threading

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 1 << 18, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def own_mounts():
    """Moves this process, and all it starts, into a mount namespace of its own: its mounts go with it."""
    _check(_libc.unshare(CLONE_NEWNS), "a mount namespace for the test")
    _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    os.environ["GANTRY_TEST_FLAGS"] = os.environ.get("GANTRY_TEST_FLAGS", "") + " --here"


def mount(kind, where, options="", source=None):
    pathlib.Path(where).mkdir(parents=True, exist_ok=True)
    _check(_libc.mount((source or kind).encode(), str(where).encode(), kind.encode(), 0, options.encode()),
           f"mount {kind} on {where}")


def unmount(where):
    _libc.umount2(str(where).encode(), MNT_DETACH)


def fill_blocks(directory):
    """Takes every free block of the file system; returns the files that have them."""
    files = []
    for size in (1 << 20, 1 << 16, 1 << 12, 1 << 9, 1):
        path = pathlib.Path(directory, f"filler.{size}")
        files.append(path)
        with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
            while file.write(b"x" * size) == size:
                pass
    return files


def fill_inodes(directory):
    """Takes every free inode; returns the directory that has them."""
    folder = pathlib.Path(directory, "filler")
    folder.mkdir(exist_ok=True)
    number = len(os.listdir(folder))
    while True:
        try:
            os.close(os.open(folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError as e:
            if e.errno == errno.ENOSPC:
                return folder
            raise
        number += 1


class Fuse:
    """A FUSE file system of one file, `file`. Until hang() it answers; then every request is taken and none is answered,
    so that whoever asks waits in the kernel, deaf to SIGKILL. abort() makes all of them fail."""

    INIT, LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, GETXATTR, OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT = (
        26, 1, 2, 3, 14, 15, 17, 18, 25, 22, 27, 28, 29, 34, 36)
    CONTENT = b"content\n"

    def __init__(self, where, hanging=False):
        self.where = pathlib.Path(where)
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        mount("fuse", where, f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions")
        self.hanging = hanging
        self.taken = threading.Semaphore(0)  # one for each request that is left unanswered
        self.stopping = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def hang(self):
        self.hanging = True

    def abort(self):
        """The server dies."""
        if self.stopping:
            return
        self.stopping = True
        self.thread.join()
        os.close(self.fd)  # the last one: the kernel ends the connection

    def close(self):
        self.abort()
        unmount(self.where)

    def _serve(self):
        while not self.stopping:
            if not select.select([self.fd], [], [], 0.05)[0]:
                continue
            try:
                request = os.read(self.fd, 1 << 17)
            except OSError as e:
                if e.errno == errno.ENODEV:  # unmounted
                    return
                continue
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (self.FORGET, self.INTERRUPT, 42):  # 42: BATCH_FORGET
                continue
            if self.hanging and opcode != self.INIT:
                self.taken.release()
                continue
            error, body = self._answer(opcode, node, request[40:])
            with contextlib.suppress(OSError):
                os.write(self.fd, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)

    def _attributes(self, node):
        mode, size = (0o40755, 0) if node == 1 else (0o100644, len(self.CONTENT))
        return struct.pack("<6Q10I", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _answer(self, opcode, node, body):
        if opcode == self.INIT:
            major, minor, ahead, _ = struct.unpack_from("<4I", body)
            return 0, struct.pack("<4I2H2I2H8I", 7, min(minor, 31), ahead, 0, 0, 0, 1 << 16, 1, *[0] * 10)
        if opcode == self.GETATTR:
            return 0, struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        if opcode == self.LOOKUP:
            if body.rstrip(b"\0") != b"file":
                return errno.ENOENT, b""
            return 0, struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + self._attributes(2)
        if opcode in (self.OPEN, self.OPENDIR):
            return 0, struct.pack("<QII", 0, 1, 0)  # FOPEN_DIRECT_IO: each read asks the server
        if opcode == self.READ:
            offset = struct.unpack_from("<QQ", body)[1]
            return 0, self.CONTENT[offset:]
        if opcode == self.READDIR:
            return 0, b""
        if opcode == self.STATFS:
            return 0, struct.pack("<5Q4I", 100, 50, 50, 10, 5, 4096, 255, 4096, 0) + bytes(24)
        if opcode in (self.RELEASE, self.RELEASEDIR, self.ACCESS):
            return 0, b""
        return errno.ENOSYS, b""  # FLUSH too, or each process that ends with the file open would hang


def state_of(pid):
    """The letter of a process's state; "" when it is gone."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return ""


def cgroup_of(controller):
    """The mount point of the hierarchy that has a controller."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        where = left.split(" ")[4]
        if kind == "cgroup" and controller in options.split(","):
            return pathlib.Path(where)
        if kind == "cgroup2" and controller in pathlib.Path(where, "cgroup.controllers").read_text().split():
            return pathlib.Path(where)
    raise AssertionError(f"no cgroup hierarchy has {controller}")


def in_background(work):
    """Runs work() in a thread; the function that is returned joins it and gives its result, or raises its exception."""
    outcome = []

    def run():
        try:
            outcome.append((work(), None))
        except Exception as e:  # handed to whoever joins
            outcome.append((None, e))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join(limit=120):
        thread.join(limit)
        if not outcome:
            raise AssertionError(f"not done after {limit} s")
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return join


def daemons_of(runtime):
    """The pids of launcher and logger of a runtime directory."""
    launchers, loggers = {}, {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (process / "comm").read_text().strip()
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if name == "gantry-launcher" and str(runtime) in (process / "cmdline").read_text().split("\0"):
                launchers[int(process.name)] = parent
            elif name == "gantry-logger":
                loggers[int(process.name)] = parent
    # A child that has not exec'd yet has its launcher's name.
    found = {pid for pid, parent in launchers.items() if parent not in launchers}
    return found | {pid for pid, parent in loggers.items() if parent in found}
