"""No descriptors, no processes, no memory: launches are refused with the reason, what runs is still killed, reported and
removed, and everything goes on when there is enough again."""
import contextlib
import os
import pathlib
import resource
import socket
import time

import limits
from gantry import CallFailed, GantryTest, main, patience, wait_until


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Descriptors(GantryTest):
    """The least number of open files that an executor starts with."""

    def start(self):
        self.executor.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)))

    def test_connections(self):
        """Idle ones take the place of idle ones; they neither keep it busy nor keep anybody from killing and removing."""
        for name in ("killed", "removed"):
            self.executor.launch(name, ["/bin/sh", "-c", "echo > /root/f; exec sleep 1000"], self.root)
        with contextlib.ExitStack() as stack:
            for _ in range(600):
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                connection.settimeout(patience(10))
                connection.connect(str(self.executor.socket))
            busy = cpu_seconds(self.executor.process.pid)
            time.sleep(1)
            self.assertLess(cpu_seconds(self.executor.process.pid) - busy, 0.3)
            self.executor.disconnect()
            self.assertLess(len(os.listdir(f"/proc/{self.executor.process.pid}/fd")), 500)
            self.executor.signal("killed")
            self.assertEqual(self.executor.wait("killed")["exit_status"], 9)
            self.executor.remove("killed")
            self.executor.remove("removed", force=True)
            self.assertEqual(self.executor.run("new", ["/bin/echo", "hi"], self.root)[1], "hi\n")

    def test_containers(self):
        """As many as there is room for, each of them whole; then a refusal, then room again."""
        launched = []
        while len(launched) < 400:
            name = f"c{len(launched)}"
            try:
                self.executor.launch(name, ["/bin/sh", "-c", "echo before; while [ ! -e /tmp/go ]; do sleep 0.3; done; "
                                            "echo after; exit 3"], self.root)
            except CallFailed as e:
                self.assertEqual(e.status, 503, e)
                self.assertIn("no descriptors", e.text)
                self.assertIn("LimitNOFILE", e.text)
                break
            launched.append(name)
        self.assertGreater(len(launched), 40)
        self.refused(lambda: self.executor.exec("c0.e", ["/bin/true"]), "no descriptors")
        self.executor.remove("c0", force=True)
        (self.root / "tmp/go").touch()
        for name in launched[1:]:
            self.assertEqual(self.executor.wait(name)["exit_status"], 3 << 8)
            self.assertEqual(self.executor.output(name), "before\nafter\n", name)
            self.executor.remove(name)
        self.assertEqual(self.executor.run("new", ["/bin/echo", "hi"], self.root)[1], "hi\n")


class Processes(GantryTest):
    """A pids cgroup without room above the containers."""

    def start(self):
        self.executor.start("--prepared-children", "0")

    def limit(self, path, value):
        (path / "pids.max").write_text(str(value))

    def test_of_the_containers(self):
        self.executor.launch("killed", ["/bin/sleep", "1000"], self.root)
        self.executor.launch("removed", ["/bin/sleep", "1000"], self.root)
        root = limits.cgroup_of("pids") / self.executor.cgroup_root[1:]
        self.limit(root, int((root / "pids.current").read_text()))
        self.refused(lambda: self.executor.launch("new", ["/bin/true"], self.root), "processes", "pids.max")
        self.refused(lambda: self.executor.exec("removed.e", ["/bin/true"]), "processes", "pids.max")
        self.assertNotIn("new", self.executor.states())
        self.executor.signal("killed")
        self.assertEqual(self.executor.wait("killed")["exit_status"], 9)
        self.executor.remove("removed", force=True)
        self.executor.remove("killed")
        self.limit(root, 0)  # not even the room of those that ended
        self.refused(lambda: self.executor.launch("new", ["/bin/true"], self.root), "pids.max")
        self.limit(root, "max")
        self.assertEqual(self.executor.run("new", ["/bin/echo", "hi"], self.root)[1], "hi\n")

    def test_of_a_container(self):
        """Whose limit it is, and what helps."""
        self.executor.launch("full", ["/bin/sh", "-c", "sleep 1000 & sleep 1000 & echo all; wait"], self.root,
                             resources={"pids_limit": 3})
        wait_until(lambda: self.executor.output("full") == "all\n")
        self.refused(lambda: self.executor.exec("full.e", ["/bin/true"]), "container 'full' is at its limit of 3 processes",
                     "gantry update --pids")
        self.executor.remove("full", force=True)

    def test_of_a_cgroup_parent(self):
        web = limits.cgroup_of("pids") / self.executor.cgroup_root[1:] / "parents/web"
        launch = lambda name: self.executor.launch(name, ["/bin/sleep", "1000"], self.root, cgroup_parent="web")
        launch("a")
        self.limit(web, 1)
        said = ("cgroup parent 'web' is at its limit of 1 processes", "pids.max")
        if (web / "cgroup.controllers").exists():  # v1 lets any process come in, and none be made there
            self.refused(lambda: launch("b"), *said)
        self.refused(lambda: self.executor.exec("a.e", ["/bin/true"]), *said)
        self.executor.remove("a", force=True)

    def test_of_the_executor(self):
        """It can start no worker: what needs one says so, all else works; so does the removal, later."""
        own = limits.cgroup_of("pids") / f"{self.executor.cgroup_root[1:]}-own"
        own.mkdir()
        self.addCleanup(own.rmdir)
        pid = self.executor.process.pid
        (own / "cgroup.procs").write_text(str(pid))
        wait_until(lambda: (own / "pids.current").read_text() != "0\n")
        self.executor.launch("c", ["/bin/sh", "-c", "mkdir /s/d; echo > /s/d/f; exec sleep 1000"], self.root, sandbox_mount="/s")
        wait_until((self.executor.data / "sandboxes/c/d/f").exists)
        self.limit(own, 0)
        self.refused(lambda: self.executor.launch("u", ["/bin/true"], self.root, user="user"), "gantry-worker",
                     "Resource temporarily unavailable")
        self.assertEqual(self.executor.run("new", ["/bin/echo", "hi"], self.root)[1], "hi\n")
        self.executor.signal("c")
        self.assertEqual(self.executor.wait("c")["exit_status"], 9)
        self.refused(lambda: self.executor.remove("c"), "gantry-worker")
        self.limit(own, "max")
        self.executor.remove("c")
        (own.parent / "cgroup.procs").write_text(str(pid))
        self.assertEqual(self.executor.states(), {})


class Memory(GantryTest):
    def test_containers_that_it_does_not_suffice_for(self):
        """Too little to start with is said, and leaves nothing; others go on."""
        self.refused(lambda: self.executor.launch("small", ["/bin/true"], self.root,
                                                  resources={"memory_limit_bytes": 16384}), "memory_limit_bytes")
        self.assertEqual(self.executor.states(), {})
        self.assertEqual(self.executor.run("new", ["/bin/echo", "hi"], self.root)[1], "hi\n")

    def test_executor_is_killed_for_want_of_it(self):
        """Containers run on, and the next executor takes them over."""
        own = limits.cgroup_of("memory") / f"{self.executor.cgroup_root[1:]}-own"
        own.mkdir()
        self.executor.launch("runs", ["/bin/sh", "-c", "while [ ! -e /tmp/go ]; do usleep 20000; done; exit 4"], self.root)
        self.executor.launch("ends", ["/bin/sh", "-c", "sleep 1; exit 5"], self.root)
        (own / "cgroup.procs").write_text(str(self.executor.process.pid))
        v1 = (own / "memory.limit_in_bytes").exists()
        (own / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(24 << 20))
        connections = []
        body = b" " * (15 << 20)
        while self.executor.process.poll() is None and len(connections) < 60:
            connection = socket.socket(socket.AF_UNIX)
            connections.append(connection)
            connection.settimeout(1)
            with contextlib.suppress(OSError):
                connection.connect(str(self.executor.socket))
                connection.sendall(b"POST /api/v1 HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
                                   b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body)
        self.assertEqual(self.executor.wait_dead(), -9)
        own.rmdir()
        for connection in connections:
            connection.close()
        time.sleep(1)
        self.executor.start()
        self.assertEqual(self.executor.wait("ends")["exit_status"], 5 << 8)
        self.assertEqual(self.executor.states()["runs"], "running")
        (self.root / "tmp/go").touch()
        self.assertEqual(self.executor.wait("runs")["exit_status"], 4 << 8)


if __name__ == "__main__":
    main()
