"""Commands run in running containers: nested containers over the API, their streams, their end and their recovery."""
import base64
import json
import os
import pathlib
import signal
import sys
import time

from gantry import CallFailed, GantryTest, UnixConnection, container_id, main, wait_until
from streams import RECORDIO_INPUT, field, first_input, framed, input_call, records, stdin_data


def nested(name):
    return container_id(f"c.{name}")


class Nested(GantryTest):
    def setUp(self):
        super().setUp()
        self.executor.launch("c", ["/bin/sh", "-c", "while :; do sleep 1; done"], self.root, env=["A=parent"])

    def launch(self, name, argv, **spec):
        self.executor.exec(f"c.{name}", argv, **spec)

    def wait(self, name):
        return self.executor.call("WAIT_NESTED_CONTAINER", wait_nested_container={
            "container_id": nested(name)})["wait_nested_container"]

    def sh(self, name, script, **spec):
        """Its stdout; the exit status must be 0."""
        self.launch(name, ["/bin/sh", "-c", script], **spec)
        self.assertEqual(self.wait(name)["exit_status"], 0, self.executor.output(f"c.{name}", "stderr"))
        return self.executor.output(f"c.{name}")

    def remove(self, name):
        self.executor.call("REMOVE_NESTED_CONTAINER", remove_nested_container={"container_id": nested(name)})


class Sandboxes(Nested):
    """Those of root's commands are kept for the next ones; nothing of one command is in another's."""

    def kept(self):
        return [path for path in (self.executor.data / "sandboxes").iterdir() if path.name.startswith("spare.")]

    def run_one(self, name, script, **spec):
        text = self.sh(name, script, **spec)
        self.remove(name)
        return text

    def test_are_used_again(self):
        self.assertEqual(self.run_one("a", "echo a; echo other >&2"), "a\n")
        [first] = self.kept()
        self.assertEqual(list(first.iterdir()), [])
        before = first.stat().st_ino
        self.assertEqual(self.run_one("b", ":"), "")
        self.assertEqual(self.run_one("c", "echo c"), "c\n")
        [again] = self.kept()
        self.assertEqual((again.stat().st_ino, list(again.iterdir())), (before, []))

    def test_of_other_users_or_with_something_in_it_are_not(self):
        self.run_one("user", "echo a", user="1000:1000")
        self.assertEqual(self.kept(), [])
        self.sh("left", ":")
        [sandbox] = [path for path in (self.executor.data / "sandboxes").iterdir() if path.name.startswith("%")]
        (sandbox / "folder").mkdir()
        self.remove("left")
        self.assertEqual((self.kept(), sandbox.exists()), ([], False))

    def test_are_few_and_go_with_the_executor(self):
        for n in range(12):
            self.sh(f"n{n}", ":")
        for n in range(12):
            self.remove(f"n{n}")
        self.assertEqual(len(self.kept()), 8)
        self.executor.restart()
        wait_until(lambda: not self.kept())


class Life(Nested):
    def test_mesos_calls(self):
        self.executor.call("LAUNCH_NESTED_CONTAINER", launch_nested_container={
            "container_id": nested("n1"), "command": {"value": "echo nested; exit 7"}})
        self.assertEqual(self.wait("n1")["exit_status"], 7 << 8)
        self.assertEqual(self.executor.output("c.n1"), "nested\n")
        self.remove("n1")
        self.remove("n1")  # idempotent, as Mesos'
        with self.assertRaises(CallFailed) as gone:
            self.wait("n1")
        self.assertEqual(gone.exception.status, 404)

    def test_kill(self):
        self.launch("k", ["/bin/sleep", "1000"])
        self.executor.call("KILL_NESTED_CONTAINER", kill_nested_container={"container_id": nested("k")})
        self.assertEqual(self.wait("k")["exit_status"], signal.SIGKILL)
        self.launch("t", ["/bin/sleep", "1000"])
        self.executor.call("KILL_NESTED_CONTAINER",
                           kill_nested_container={"container_id": nested("t"), "signal": int(signal.SIGTERM)})
        self.assertEqual(self.wait("t")["exit_status"], signal.SIGTERM)
        self.assertEqual(self.executor.states()["c"], "running")

    def test_ends_with_its_parent(self):
        self.launch("k", ["/bin/sleep", "1000"])
        self.executor.signal("c")
        self.assertEqual(self.wait("k")["exit_status"], signal.SIGKILL)
        wait_until(lambda: self.executor.states()["c"] == "exited")
        self.executor.remove("c")
        with self.assertRaises(CallFailed):
            self.wait("k")

    def test_needs_a_running_parent(self):
        for parent, status in (("nobody", 400), ("ended", 409)):
            if parent == "ended":
                self.executor.launch("ended", ["/bin/true"], self.root)
                self.executor.wait("ended")
                wait_until(lambda: self.executor.states()["ended"] == "exited")
            with self.assertRaises(CallFailed) as refused:
                self.executor.exec(f"{parent}.x", ["/bin/true"])
            self.assertEqual(refused.exception.status, status)

    def test_not_in_a_paused_one_and_no_checkpoint_meanwhile(self):
        self.executor.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "c"}})
        with self.assertRaises(CallFailed) as paused:
            self.launch("x", ["/bin/true"])
        self.assertEqual(paused.exception.status, 409)
        self.assertIn("is paused", paused.exception.text)
        self.executor.call("GANTRY_RESUME", gantry_resume={"container_id": {"value": "c"}})
        self.launch("k", ["/bin/sleep", "1000"])
        self.executor.launch("t", ["/bin/sleep", "1000"], self.root, tty=True)
        for name, status, reason in (("c", 409, "1 command runs"), ("t", 501, "terminal")):
            with self.assertRaises(CallFailed) as refused:
                self.executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": name}})
            self.assertEqual(refused.exception.status, status)
            self.assertIn(reason, refused.exception.text)

    def test_those_that_ended_long_ago_make_room(self):
        for i in range(260):
            self.launch(f"n{i}", ["/bin/true"])
        kept = [name for name in self.executor.states(nested=True) if name != "c"]
        self.assertIn(len(kept), range(250, 257))
        self.assertIn("c.n259", kept)
        self.assertNotIn("c.n0", kept)

    def test_what_is_the_parents_is_refused(self):
        for spec in ({"image": "x"}, {"cap_drop": ["CHOWN"]}, {"mounts": [{"destination": "/x"}]},
                     {"masked_paths": False}):
            with self.assertRaises(CallFailed) as refused:
                self.launch("x", ["/bin/true"], **spec)
            self.assertEqual(refused.exception.status, 501)
            self.assertIn(f"gantry_spec.{next(iter(spec))}: a nested container shares", refused.exception.text)

    def test_an_unknown_command_says_so(self):
        with self.assertRaises(CallFailed) as refused:
            self.launch("x", ["/bin/nothing"])
        self.assertIn("/bin/nothing", refused.exception.text)
        self.assertEqual(self.executor.states(), {"c": "running"})


class Walls(Nested):
    def test_namespaces_cgroup_and_rights_are_the_parents(self):
        script = "for n in cgroup ipc mnt net pid uts; do readlink /proc/{0}/ns/$n; done; " \
                 "grep -E '^(Cap|NoNewPrivs|Seccomp|Groups|Uid|Gid|Umask)' /proc/{0}/status; cat /proc/{0}/limits"
        parent = self.sh("p", script.format(1))
        self.assertEqual(self.sh("n", script.format("self")), parent)
        self.launch("s", ["/bin/sleep", "1000"])
        containers = self.executor.call("GANTRY_LIST", gantry_list={"nested": True})["gantry_list"]["containers"]
        pid = next(c["pid"] for c in containers if c["container_id"]["value"] == "s")
        inside = self.executor.inspect("c")["cgroups"]
        lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines()
        paths = [line.split(":", 2)[2] for line in lines if line != "0::/"]  # where v2 is not mounted
        self.assertEqual(len(paths), len(inside), lines)
        # Its own is the freezer's; all that limits and counts is its parent's.
        self.assertEqual([path.endswith(("/n/s", "/n/s/0")) for path in paths].count(True), 1, paths)
        for path in paths:
            self.assertTrue(any(c.endswith(path.split("/n/")[0]) for c in inside), (path, inside))

    def test_environment_user_and_directory(self):
        self.assertEqual(self.sh("e", "echo $A; pwd; id -u", env=["B=1"]), "parent\n/\n0\n")
        self.assertEqual(self.sh("f", "echo $A $B; pwd; id -u; id -G; echo $HOME", env=["A=own", "B=1"], cwd="/tmp",
                                 user="user"), "own 1\n/tmp\n1000\n1000 2000\n/home/user\n")

    def test_a_parents_user_and_groups_hold(self):
        self.executor.launch("u", ["/bin/sleep", "1000"], self.root, user="user", cwd="/tmp")
        for again in ("", "restarted"):
            self.executor.exec(f"u.n{again}", ["/bin/sh", "-c", "id -u; id -G; pwd; touch /tmp/made"])
            self.assertEqual(self.executor.wait(f"u.n{again}")["exit_status"], 0)
            self.assertEqual(self.executor.output(f"u.n{again}"), "1000\n1000 2000\n/tmp\n")
            if not again:
                self.executor.restart()

    def test_a_directory_of_the_hosts_is_out_of_reach(self):
        (self.root / "link").symlink_to("/proc/self/fd/10")
        for number, cwd in enumerate(("/link", "/nowhere", "/proc/self/fd/5")):
            with self.assertRaises(CallFailed):
                self.launch(f"d{number}", ["/bin/true"], cwd=cwd)

    def test_no_descriptor_but_the_three(self):
        self.assertEqual(self.sh("d", "ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ")  # 3: ls' own


class Attacks(GantryTest):
    def test_nothing_is_got_of_one_before_its_exec(self):
        # Both as root of the host, in namespaces of their own: one with the right to trace whom it sees.
        attacker = pathlib.Path(__file__).with_name("hijack.py")
        for name, caps in (("plain", []), ("tracer", ["SYS_PTRACE"])):
            stop = self.top / f"stop-{name}"
            self.executor.launch(name, [sys.executable, str(attacker), str(stop)], cap_add=caps)
            wait_until(lambda n=name: "ready" in self.executor.output(n))
            for i in range(40):
                # Static: it opens nothing itself.
                self.executor.exec(f"{name}.n{i}", ["/bin/busybox", "true"], tty=i % 4 == 0)
            stop.touch()
            self.assertEqual(self.executor.wait(name)["exit_status"], 0, self.executor.output(name, "stderr"))
            self.assertRegex(self.executor.output(name), r"^ready\nsaw [1-9]\d*\n$")


class Recovery(Nested):
    def test_lives_through_an_executors_death(self):
        self.launch("n", ["/bin/sh", "-c", "echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; exit 4"])
        wait_until(lambda: self.executor.output("c.n") == "before\n")
        self.executor.restart()
        (self.root / "tmp/go").touch()
        self.assertEqual(self.wait("n")["exit_status"], 4 << 8)
        self.assertEqual(self.executor.output("c.n"), "before\nafter\n")

    def test_an_end_without_an_executor_is_true(self):
        self.launch("n", ["/bin/sh", "-c", "sleep 0.1; exit 5"])
        self.launch("k", ["/bin/sleep", "1000"])
        self.executor.kill()
        time.sleep(0.3)
        self.executor.start()
        self.assertEqual(self.wait("n")["exit_status"], 5 << 8)
        self.executor.signal("c")
        self.assertEqual(self.wait("k")["exit_status"], signal.SIGKILL)

    def test_parent_and_all_in_it_ended_without_an_executor(self):
        self.launch("k", ["/bin/sleep", "1000"])
        pid = self.executor.inspect("c")["container"]["pid"]
        self.executor.kill()
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        started = time.monotonic()
        self.executor.start()
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(self.wait("k")["exit_status"], signal.SIGKILL)
        self.assertEqual(self.executor.wait("c")["exit_status"], signal.SIGKILL)


class Sessions(Nested):
    """LAUNCH_NESTED_CONTAINER_SESSION, as a Mesos agent was recorded to answer it."""

    def session(self, name, command, encoding="json", **container):
        connection = UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        call = {"container_id": nested(name), "command": {"value": command}}
        if container:
            call["container"] = {"type": "MESOS", **container}
        connection.request("POST", "/api/v1", json.dumps({
            "type": "LAUNCH_NESTED_CONTAINER_SESSION", "launch_nested_container_session": call}), {
                "Content-Type": "application/json", "Accept": "application/recordio",
                "Message-Accept": f"application/{encoding}"})
        response = connection.getresponse()
        self.assertEqual(response.status, 200, response.status != 200 and response.read())
        self.assertEqual(response.headers["Content-Type"], "application/recordio")
        self.assertEqual(response.headers["Message-Content-Type"], f"application/{encoding}")
        self.assertEqual(response.headers["Transfer-Encoding"], "chunked")
        return connection, response

    def send_input(self, *messages):
        connection = UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        connection.request("POST", "/api/v1", framed(*messages), RECORDIO_INPUT)
        return connection.getresponse()

    def test_json_is_byte_for_byte_mesos(self):
        _, response = self.session("dbg", "echo out; sleep 0.2; echo err >&2; sleep 0.2; echo done")
        self.assertEqual(response.read(), b"".join((
            b'58\n{"type":"DATA","data":{"type":"STDOUT","data":"b3V0Cg=="}}',
            b'58\n{"type":"DATA","data":{"type":"STDERR","data":"ZXJyCg=="}}',
            b'58\n{"type":"DATA","data":{"type":"STDOUT","data":"ZG9uZQo="}}')))
        self.assertEqual(self.wait("dbg"), {"exit_status": 0})

    def test_protobuf_says_the_same(self):
        _, response = self.session("dbg", "echo out", encoding="x-protobuf")
        message = field(1, 1) + field(2, field(1, 2) + field(2, b"out\n"))
        self.assertEqual(response.read(), framed(message))

    def test_with_a_terminal(self):
        size = {"window_size": {"rows": 24, "columns": 80}}
        _, response = self.session("dbg2", "stty size; sleep 0.1; exit 4", tty_info=size)
        # A Mesos agent prints "0 0": there the size counts only once it is sent.
        self.assertEqual(response.read(), b'62\n{"type":"DATA","data":{"type":"STDOUT","data":"MjQgODANCg=="}}')
        self.assertEqual(self.wait("dbg2"), {"exit_status": 1024})

    def test_interactive(self):
        _, response = self.session("dbg3", "read x; echo got:$x; stty size",
                                   tty_info={"window_size": {"rows": 24, "columns": 80}})
        answer = self.send_input(
            first_input(nested("dbg3")),
            input_call(type="PROCESS_IO", process_io={"type": "CONTROL", "control": {
                "type": "TTY_INFO", "tty_info": {"window_size": {"rows": 40, "columns": 100}}}}),
            stdin_data(b"hello\n"))
        self.assertEqual((answer.status, answer.headers["Content-Length"]), (200, "0"))
        said = b"".join(base64.b64decode(record["data"]["data"]) for record in records(response))
        self.assertEqual(said, b"hello\r\ngot:hello\r\n40 100\r\n")

    def test_one_at_a_time_has_the_input(self):
        self.launch("n", ["/bin/cat"], open_stdin=True)
        first = UnixConnection(self.executor.socket)
        self.addCleanup(first.close)
        first.putrequest("POST", "/api/v1")
        for key, value in (*RECORDIO_INPUT.items(), ("Transfer-Encoding", "chunked")):
            first.putheader(key, value)
        first.endheaders()
        record = framed(first_input(nested("n")))
        first.send(b"%x\r\n%s\r\n" % (len(record), record))
        wait_until(lambda: self.send_input(first_input(nested("n"))).status == 409)
        end = framed(stdin_data(b"last"), stdin_data(b""))  # half-close
        first.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))
        self.assertEqual(first.getresponse().status, 200)
        self.assertEqual(self.wait("n")["exit_status"], 0)
        self.assertEqual(self.executor.output("c.n"), "last")

    def test_it_ends_with_its_client(self):
        connection, response = self.session("s", "echo up; sleep 1000 & sleep 1000")
        next(records(response))
        connection.sock.close()
        response.close()
        self.assertEqual(self.wait("s"), {"exit_status": signal.SIGKILL})
        wait_until(lambda: self.executor.states(nested=True)["c.s"] == "exited")
        self.assertEqual(self.sh("left", "ps | grep -c 'slee[p] 1000' || true"), "0\n")

    def test_it_ends_with_the_executor_too(self):
        self.session("s", "sleep 1000")
        self.launch("other", ["/bin/sleep", "1000"])
        self.executor.restart()
        self.assertEqual(self.wait("s"), {"exit_status": signal.SIGKILL})
        self.assertEqual(self.executor.states(nested=True)["c.other"], "running")

    def test_a_client_that_does_not_read_holds_up_nobody(self):
        _, silent = self.session("s", "dd if=/dev/zero bs=65536 count=256 2>/dev/null; echo over >/tmp/over")
        wait_until(lambda: (self.root / "tmp/over").exists())
        self.assertEqual(self.wait("s"), {"exit_status": 0})
        size = sum(len(base64.b64decode(record["data"]["data"])) for record in records(silent))
        self.assertEqual(size, 256 * 65536)


if __name__ == "__main__":
    main()
