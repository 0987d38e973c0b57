"""What befalls a host, one thing at a time: each costs the container it befalls, and nobody else (docs/faults.md)."""
import contextlib
import ctypes
import hashlib
import http.client
import io
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time

from gantry import BIN, CallFailed, Executor, GantryTest, main, patience, rootfs_tar, wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, PTRACE_O_TRACEEXIT = 0x4206, 0x40
SYS_CLONE3 = 435
# launcher/protocol.h: struct TableHeader and struct Slot.
HEADER, SLOT, KEY = 4096, 512, 128

UNTIL_GO = "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 7"


def mounted_cgroups():
    """(mount point, is it v2) of every hierarchy."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind = fields[fields.index("-") + 1]
        if kind in ("cgroup", "cgroup2"):
            yield fields[4], kind == "cgroup2"


def move_to_top(pid):
    for mount, _ in mounted_cgroups():
        pathlib.Path(mount, "cgroup.procs").write_text(str(pid))


@contextlib.contextmanager
def held_at_its_end(tid):
    """A thread that SIGKILL does not end, as if it hung in the kernel: its tracer holds it where it exits."""
    script = ("import ctypes, time\n"
              f"r = ctypes.CDLL(None).ptrace({PTRACE_SEIZE}, {tid}, None, {PTRACE_O_TRACEEXIT})\n"
              "print(r, flush=True)\ntime.sleep(1000)")
    tracer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert tracer.stdout.readline() == "0\n"
        yield
    finally:
        tracer.kill()
        tracer.wait()
        tracer.stdout.close()


def process_with_pid(pid):
    """A process that has just this pid, and does nothing; the caller ends it. 0: the pid is not free (yet)."""
    wanted = (ctypes.c_int * 1)(pid)
    args = (ctypes.c_uint64 * 11)()
    args[4] = signal.SIGCHLD
    args[8], args[9] = ctypes.addressof(wanted), 1
    child = LIBC.syscall(SYS_CLONE3, ctypes.byref(args), ctypes.sizeof(args))
    if child == 0:
        while True:
            signal.pause()
    return max(child, 0)


def launcher_of(executor):
    with open(executor.runtime / "launcher.table", "rb") as file:
        return struct.unpack_from("<i", file.read(16), 12)[0]


def children_of(executor):
    """Of the living children in the launcher's table: {key: pid}."""
    with open(executor.runtime / "launcher.table", "rb") as file:
        data = file.read(HEADER + 200 * SLOT)
    children = {}
    for at in range(HEADER, len(data), SLOT):
        state, pid = struct.unpack_from("<Ii", data, at)
        if state in (2, 3):
            children[data[at + KEY:at + KEY + 64].split(b"\0")[0].decode()] = pid
    return children


def hash_of(name):
    """ContainerId::hash() of a container that is in no other."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def processes(command):
    every = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in every if line.endswith(command)]


class Cgroups(GantryTest):
    def pid_of(self, name):
        return self.executor.inspect(name)["container"]["pid"]

    def launch_stubborn(self, name):
        self.executor.launch(name, ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], self.root)

    def test_a_container_that_was_moved_out_of_its_cgroups_ends_all_the_same(self):
        for name, end in (("a", lambda: self.executor.stop("a", 0)), ("b", lambda: self.executor.remove("b", force=True))):
            self.launch_stubborn(name)
            pid = self.pid_of(name)
            move_to_top(pid)
            end()
            self.assertFalse(pathlib.Path(f"/proc/{pid}").exists())

    def test_one_whose_cgroups_were_removed_is_reported_truly(self):
        self.executor.launch("c", ["/bin/sh", "-c", UNTIL_GO], self.root)
        cgroups = self.executor.inspect("c")["cgroups"]
        move_to_top(self.pid_of("c"))
        # What it forks meanwhile is born at the top, too.
        for path in cgroups:
            for directory in (f"{path}/0", path):
                with contextlib.suppress(FileNotFoundError):
                    wait_until(lambda: not pathlib.Path(directory, "cgroup.procs").read_text())
                    os.rmdir(directory)
        self.executor.restart()
        self.assertEqual(self.executor.states(), {"c": "running"})
        (self.root / "tmp/go").touch()
        self.assertEqual(self.executor.wait("c")["exit_status"], 7 << 8)

    def test_cgroups_deeper_than_a_path_go_with_their_container(self):
        self.launch_stubborn("c")
        unified = [path for path in self.executor.inspect("c")["cgroups"]
                   if any(v2 and path.startswith(mount) for mount, v2 in mounted_cgroups())]
        if not unified:
            self.skipTest("needs cgroup2")
        at = os.open(unified[0], os.O_RDONLY)
        for _ in range(2500):
            os.mkdir("d", dir_fd=at)
            below = os.open("d", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        os.close(at)
        self.executor.remove("c", force=True)
        self.assertFalse(pathlib.Path(unified[0]).exists())

    def test_what_an_earlier_executor_cannot_end_does_not_keep_the_next_from_serving(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        self.executor.kill()
        strays = [pathlib.Path(mount + self.executor.cgroup_root, "containers/stray") for mount, v2 in mounted_cgroups()
                  if v2 or mount.endswith("freezer")]
        process = subprocess.Popen(["/bin/sleep", "1000"])
        with held_at_its_end(process.pid):
            for stray in strays:
                stray.mkdir()
                (stray / "cgroup.procs").write_text(str(process.pid))
            self.executor.start()
            self.assertEqual(self.executor.states(), {"c": "running"})
            self.assertIn("left behind by an earlier executor, cgroups: ", self.executor.log_tail())
        process.wait()
        wait_until(lambda: not any(stray.exists() for stray in strays), 20)


class Ends(GantryTest):
    def test_frozen_or_stopped_by_somebody_else_it_ends_when_told(self):
        for number, (mount, v2) in enumerate([m for m in mounted_cgroups() if m[1] or m[0].endswith("freezer")]):
            name = f"frozen{number}"
            self.executor.launch(name, ["/bin/sleep", "1000"], self.root)
            at = next(path for path in self.executor.inspect(name)["cgroups"] if path.startswith(f"{mount}/"))
            pathlib.Path(at, "cgroup.freeze" if v2 else "freezer.state").write_text("1" if v2 else "FROZEN")
            self.executor.remove(name, force=True)
        self.executor.launch("stopped", ["/bin/sleep", "1000"], self.root)
        os.kill(self.executor.inspect("stopped")["container"]["pid"], signal.SIGSTOP)
        self.executor.remove("stopped", force=True)

    def test_a_launch_in_a_frozen_container_does_not_hold_up_the_next_executor(self):
        """As a health check that begins while a commit holds the container still: it cannot end by itself."""
        self.executor.restart("--failpoints", "exec.after_clone=kill")
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        v2 = [mount for mount, is_v2 in mounted_cgroups() if is_v2]
        mount = v2[0] if v2 else next(mount for mount, _ in mounted_cgroups() if mount.endswith("freezer"))
        at = next(path for path in self.executor.inspect("c")["cgroups"] if path.startswith(f"{mount}/"))
        pathlib.Path(at, "cgroup.freeze" if v2 else "freezer.state").write_text("1" if v2 else "FROZEN")
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.executor.exec("c.x", ["/bin/true"])
        self.assertEqual(self.executor.wait_dead(), -9)
        self.executor.start(wait=False)
        self.executor.wait_ready(8)
        self.assertEqual(self.executor.states(), {"c": "running"})
        self.executor.remove("c", force=True)

    def test_what_outlives_the_first_process_on_the_hosts_pids_is_killed(self):
        self.executor.launch("c", ["/bin/sh", "-c", "sleep 54321 & exit 3"], self.root, namespaces={"pid": {"kind": "HOST"}})
        self.assertEqual(self.executor.wait("c")["exit_status"], 3 << 8)
        self.executor.remove("c")
        self.assertEqual(processes("sleep 54321"), [])

    def test_an_immutable_file_holds_up_its_own_container_only(self):
        self.executor.launch("c", ["/bin/sh", "-c", "echo kept"], self.root)
        self.executor.wait("c")
        file = self.executor.data / "sandboxes/c/kept"
        file.write_text("kept")
        if subprocess.run(["chattr", "+i", str(file)], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("needs a file system with attributes")
        try:
            with self.assertRaises(CallFailed) as refused:
                self.executor.remove("c")
            self.assertIn("kept", refused.exception.text)
            self.executor.restart()
            self.assertEqual(self.executor.run("d", ["/bin/true"], self.root)[0]["exit_status"], 0)
        finally:
            subprocess.run(["chattr", "-i", str(file)], check=True)
        self.executor.remove("c")

    def test_an_image_of_as_many_layers_as_there_may_be(self):
        """As Docker's limit: 127. Their paths are more than one page of mount options takes."""
        blobs = {}

        def blob(data):
            digest = hashlib.sha256(data).hexdigest()
            blobs[f"blobs/sha256/{digest}"] = data
            return {"digest": f"sha256:{digest}", "size": len(data)}

        def tar(files):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as archive:
                for name, data in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
            return out.getvalue()
        layers = [rootfs_tar(self.root), *(tar({f"layer{i}": b"%d" % i}) for i in range(126))]
        diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
        config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                                  "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode())
        kind = "application/vnd.oci.image."
        manifest = blob(json.dumps({
            "schemaVersion": 2, "mediaType": f"{kind}manifest.v1+json",
            "config": {"mediaType": f"{kind}config.v1+json", **config},
            "layers": [{"mediaType": f"{kind}layer.v1.tar", **blob(layer)} for layer in layers]}).encode())
        index = {"schemaVersion": 2, "manifests": [{"mediaType": f"{kind}manifest.v1+json", **manifest}]}
        self.executor.import_tar(tar({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
                                      "index.json": json.dumps(index).encode(), **blobs}), "many")
        answer, out, _ = self.executor.run("c", ["/bin/sh", "-c", "cat /layer0 /layer125; ls / | grep -c layer"], image="many")
        self.assertEqual((answer["exit_status"], out), (0, "0125126\n"))
        self.executor.call("GANTRY_REMOVE_IMAGE", gantry_remove_image={"reference": "many"})


class Identity(GantryTest):
    """By pid, start time and boot id, never by pid alone."""

    def kill_launcher_too(self):
        launcher = launcher_of(self.executor)
        self.executor.kill()
        os.kill(launcher, signal.SIGKILL)
        wait_until(lambda: not pathlib.Path(f"/proc/{launcher}").exists())

    def test_another_process_with_its_pid_is_left_alone(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        pid = self.executor.inspect("c")["container"]["pid"]
        self.kill_launcher_too()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists())
        self.assertEqual(wait_until(lambda: process_with_pid(pid)), pid)
        try:
            self.executor.start()
            self.assertEqual(self.executor.wait("c")["state"], "TASK_GONE")
            self.executor.remove("c", force=True)
            self.assertEqual(os.waitpid(pid, os.WNOHANG), (0, 0))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def test_a_lost_table_of_the_launcher_ends_nobody(self):
        self.executor.launch("c", ["/bin/sh", "-c", UNTIL_GO], self.root)
        pid = self.executor.inspect("c")["container"]["pid"]
        self.kill_launcher_too()
        (self.executor.runtime / "launcher.table").unlink()
        self.executor.start()
        self.assertEqual(self.executor.states(), {"c": "running"})
        self.assertTrue(pathlib.Path(f"/proc/{pid}").exists())
        (self.root / "tmp/go").touch()
        ended = self.executor.wait("c")
        # Before Linux 6.15 nobody knows.
        self.assertIn(ended.get("exit_status"), (7 << 8, None))
        if "exit_status" not in ended:
            self.assertEqual(ended["state"], "TASK_GONE")

    def test_a_dead_executor_that_cannot_let_go_of_its_locks_is_not_waited_for(self):
        self.executor.launch("c", ["/bin/sh", "-c", UNTIL_GO], self.root)
        self.executor.run("d", ["/bin/true"], self.root, name="d")  # its registration is written by a thread
        dead = self.executor.process
        thread = next(int(tid) for tid in os.listdir(f"/proc/{dead.pid}/task") if int(tid) != dead.pid)
        with held_at_its_end(thread):
            dead.kill()
            wait_until(lambda: "State:\tZ" in pathlib.Path(f"/proc/{dead.pid}/status").read_text())
            self.executor.disconnect()
            began = time.monotonic()
            self.executor.start(wait=False)
            # Until then the dead one's socket takes who connects, and nobody answers there.
            wait_until(lambda: self.executor.log.read_text().count("serving") == 2)
            self.assertLess(time.monotonic() - began, patience(8))
            self.executor.wait_ready()
            self.assertEqual(self.executor.states(), {"c": "running"})
            (self.root / "tmp/go").touch()
            self.assertEqual(self.executor.wait("c")["exit_status"], 7 << 8)
            self.assertEqual(dead.poll(), None)
        dead.wait()

    def test_of_many_that_are_started_at_once_one_serves(self):
        self.executor.kill()
        for _ in range(3):
            with open(self.executor.log, "ab") as log:
                started = [subprocess.Popen([str(BIN / "gantry-executor"), *self.executor.flags()],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log) for _ in range(3)]
            wait_until(lambda: sum(process.poll() is not None for process in started) == 2)
            self.assertEqual(sorted(process.poll() or 0 for process in started), [0, 3, 3])
            self.executor.process = next(process for process in started if process.poll() is None)
            self.executor.wait_ready()
            self.executor.kill()


class Records(GantryTest):
    def test_whichever_byte_is_damaged_it_costs_this_record_and_is_said(self):
        """A bit of every third byte of a record, one container for each, and every length it may be cut to."""
        self.executor.launch("keep", ["/bin/sh", "-c", UNTIL_GO], self.root)
        self.executor.launch("c0", ["/bin/true"], self.root)
        self.executor.wait("c0")
        path = self.executor.runtime / "containers/{}/record"
        size = os.path.getsize(str(path).format("c0"))
        damages = [(at, None) for at in range(0, size, 3)] + [(None, length) for length in range(0, size, 20)]
        for i in range(1, len(damages)):
            self.executor.launch(f"c{i}", ["/bin/true"], self.root)
        wait_until(lambda: {name for name, state in self.executor.states().items() if state != "exited"} == {"keep"})
        self.executor.kill()
        for i, (at, length) in enumerate(damages):
            record = pathlib.Path(str(path).format(f"c{i}"))
            data = bytearray(record.read_bytes())
            if at is not None:
                data[at] ^= 1 << at % 8
            record.write_bytes(data if length is None else data[:length])
        self.executor.start()
        listed = self.executor.call("GANTRY_LIST", gantry_list={"all": True})["gantry_list"]["containers"]
        self.assertEqual([container["container_id"]["value"] for container in listed], ["keep"])
        aside = list((self.executor.runtime / "containers").glob("*.damaged-*"))
        self.assertEqual(len(aside), len(damages))
        log = self.executor.log.read_text()
        for i in range(len(damages)):
            self.assertIn(f"set aside: {self.executor.runtime}/containers/c{i}: ", log)
        for directory in aside:
            shutil.rmtree(directory)
        (self.root / "tmp/go").touch()
        self.assertEqual(self.executor.wait("keep")["exit_status"], 7 << 8)


class Starter(GantryTest):
    def start(self):
        """The test starts its own."""

    def test_nothing_of_the_starter_is_seen_in_the_executor(self):
        def hostile():
            os.umask(0)
            os.chdir("/etc")
            os.nice(5)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.executor.start(env={**os.environ, "CANARY": "s3cret"}, preexec_fn=hostile)
        self.executor.run("c", ["/bin/true"], self.root)
        launcher = launcher_of(self.executor)
        logger = int(subprocess.run(["pgrep", "-P", str(launcher), "gantry-logger"], capture_output=True, text=True,
                                    check=True).stdout)
        for pid in (self.executor.process.pid, launcher, logger):
            proc = pathlib.Path(f"/proc/{pid}")
            with self.subTest(program=(proc / "comm").read_text()):
                self.assertEqual(os.readlink(proc / "cwd"), "/")
                status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
                self.assertIn(status["Umask"], ("0077", "0027"))  # the logger's files are the group's to read
                self.assertEqual(int(status["SigIgn"], 16) & 1 << signal.SIGUSR1 - 1, 0)
                self.assertNotIn("s3cret", (proc / "environ").read_text() if pid != self.executor.process.pid else "")
                limits = (proc / "limits").read_text().splitlines()
                files = next(line.split()[3:5] for line in limits if line.startswith("Max open files"))
                self.assertEqual(*files)
                if pid != self.executor.process.pid:
                    core = next(line.split()[4] for line in limits if line.startswith("Max core file size"))
                    self.assertEqual(core, "0")
                    self.assertEqual(os.getpriority(os.PRIO_PROCESS, pid), 0)
        script = "umask; pwd; echo $CANARY; ulimit -c; cut -d ' ' -f 19 /proc/self/stat"
        self.assertEqual(self.executor.run("c", ["/bin/sh", "-c", script], self.root)[1],
                         "0022\n/\n\n0\n0\n")


class Races(GantryTest):
    def test_a_command_and_the_end_of_its_container(self):
        failures = []

        def race(first, executor):
            for i in range(first, first + 25):
                executor.launch(f"c{i}", ["/bin/sh", "-c", f"usleep {i * 7919 % 20000}"], self.root)
                for k in range(2):
                    try:
                        executor.exec(f"c{i}.x{k}", ["/bin/sleep", "12345"])
                    except CallFailed as e:
                        if e.status != 409 or "ended" not in e.text and "only in a running one" not in e.text:
                            failures.append(str(e))
                if executor.wait(f"c{i}")["exit_status"] != 0:
                    failures.append(f"c{i} did not end as it did")
                executor.remove(f"c{i}", force=True)
            executor.disconnect()
        racers = [threading.Thread(target=race, args=(100 * n, Executor(self.top))) for n in range(3)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        self.assertEqual(failures, [])
        self.assertEqual(processes("/bin/sleep 12345"), [])


class Clients(GantryTest):
    def attach_input(self, *records):
        body = b"".join(b"%d\n%s" % (len(data), data) for data in (json.dumps(record).encode() for record in (
            {"type": "CONTAINER_ID", "container_id": {"value": "c"}}, *records)
            for record in [{"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": record}]))
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.executor.socket))
        client.sendall(b"POST /api/v1 HTTP/1.1\r\nHost: gantry\r\nContent-Type: application/recordio\r\n"
                       b"Message-Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                       b"%x\r\n%s\r\n" % (len(body), body))
        return client

    def is_refused(self):
        with self.attach_input() as client:
            client.settimeout(0.3)
            try:
                return b" 409 " in client.recv(4096)
            except TimeoutError:
                return False

    def test_a_client_that_vanishes_does_not_keep_the_input_of_a_container_that_does_not_read(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root, open_stdin=True)
        data = {"type": "PROCESS_IO", "process_io": {"type": "DATA", "data": {"type": "STDIN", "data": "QUJD" * 60000}}}
        with self.attach_input(data):
            wait_until(self.is_refused)
        wait_until(lambda: not self.is_refused(), 15)


if __name__ == "__main__":
    main()
