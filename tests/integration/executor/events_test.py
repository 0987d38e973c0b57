"""GANTRY_EVENTS: what is told, to whom, and for how long."""
import http.client
import json
import os
import signal
import socket
import threading
import time

from gantry import GantryTest, UnixConnection, main, rootfs_tar, wait_until
from streams import fields, records


class Stream:
    """Follows in a thread; `events` grows."""

    def __init__(self, executor, **wanted):
        self.connection = UnixConnection(executor.socket, timeout=30)
        self.connection.request("POST", "/api/v1", json.dumps({"type": "GANTRY_EVENTS", "gantry_events": wanted}), {
            "Content-Type": "application/json", "Accept": "application/recordio", "Message-Accept": "application/json"})
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self.events, self.is_over = [], False
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            for event in records(self.response):
                self.events.append(event)
        except (OSError, http.client.HTTPException, ValueError):
            pass
        self.is_over = True

    def close(self):
        self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.connection.close()

    def actions(self, **with_these):
        return [e["action"] for e in self.events if with_these.items() <= e.items()]


def now():
    return {"nanoseconds": time.time_ns()}


class Events(GantryTest):
    def follow(self, **wanted):
        stream = Stream(self.executor, **wanted)
        self.addCleanup(stream.close)
        return stream

    def past(self, **wanted):
        """What is known, and no more."""
        stream = self.follow(since={"nanoseconds": 0}, until=now(), **wanted)
        stream.thread.join(10)
        return stream

    def test_them(self):
        """One executor for all: its start costs more than they do."""
        for case in (self.a_life, self.ends_of_other_kinds, self.in_the_other_encoding_and_what_is_refused,
                     self.a_slow_reader_is_cut_off_and_nobody_waits):
            with self.subTest(case.__name__):
                case()
            for name in self.executor.states():
                self.executor.remove(name, force=True)

    def a_life(self):
        call, stream, other = self.executor.call, self.follow(), self.follow(containers=["other"])
        self.executor.import_tar(rootfs_tar(self.root), "tools:1")
        call("GANTRY_TAG_IMAGE", gantry_tag_image={"reference": "tools:1", "tag": "tools:2"})
        call("GANTRY_REMOVE_IMAGE", gantry_remove_image={"reference": "tools:2"})
        cid = {"container_id": {"value": "c"}}
        self.executor.launch("c", ["/bin/sh", "-c", "trap 'exit 3' TERM; echo; while :; do sleep 0.01; done"], name="one",
                             image="tools:1", health={"args": ["/bin/true"], "interval_ms": 20})
        wait_until(lambda: self.executor.output("c"))
        wait_until(lambda: "health_status" in stream.actions())
        call("GANTRY_PAUSE", gantry_pause=cid)
        call("GANTRY_RESUME", gantry_resume=cid)
        call("GANTRY_UPDATE", gantry_update={**cid, "resources": {"pids_limit": 100}})
        call("GANTRY_UPDATE", gantry_update={**cid, "name": "two"})
        self.executor.exec("c.x", ["/bin/sh", "-c", "exit 4"])
        self.executor.wait("c.x")
        self.executor.stop("c")
        self.executor.remove("c")
        wait_until(lambda: "destroy" in stream.actions())
        self.assertEqual(stream.actions(type="image"), ["import", "tag", "remove"])
        told = stream.actions(type="container")
        self.assertEqual(told, ["create", "start", "health_status", "pause", "unpause", "update", "rename", "exec_create",
                                "exec_start", "exec_die", "kill", "die", "stop", "destroy"])
        by_action = {e["action"]: e for e in stream.events}
        self.assertEqual((by_action["create"]["id"], by_action["create"]["name"], by_action["destroy"]["name"]),
                         ("c", "one", "two"))
        self.assertEqual(by_action["die"]["attributes"], {"exit_code": "3", "image": "tools:1"})
        self.assertEqual(by_action["rename"]["attributes"]["old_name"], "one")
        self.assertEqual(by_action["kill"]["attributes"]["signal"], "15")
        self.assertEqual(by_action["health_status"]["attributes"]["health_status"], "healthy")
        self.assertEqual(by_action["exec_die"]["attributes"],
                         {"exit_code": "4", "exec_id": "x", "command": "/bin/sh", "image": "tools:1"})
        self.assertEqual((by_action["tag"]["name"], by_action["tag"]["id"][:7]), ("tools:2", "sha256:"))
        times = [e["time"]["nanoseconds"] for e in stream.events]
        self.assertEqual(times, sorted(set(times)))
        self.assertEqual(other.events, [])
        # The same again from what is known, and parts of it.
        self.assertEqual(self.past(types=["container"]).actions(), told)
        self.assertEqual(self.past(containers=["two"], actions=["die", "create"]).actions(), ["die"])
        self.assertEqual(self.past(images=["tools"], actions=["import", "start"]).actions(), ["import", "start"])
        middle = by_action["update"]["time"]
        self.assertEqual(self.follow(since=middle, until=now(), types=["container"]).response.status, 200)
        long_ago = self.follow(until={"nanoseconds": -2 ** 63})
        long_ago.thread.join(10)
        self.assertEqual((long_ago.is_over, long_ago.events), (True, []))
        part = self.follow(since={"nanoseconds": 0}, until=middle, types=["container"])
        part.thread.join(10)
        self.assertEqual(part.actions(), told[:told.index("update")])

    def ends_of_other_kinds(self):
        stream = self.follow(types=["container"])
        self.executor.launch("oom", ["/bin/sh", "-c", "x=$(head -c 200m /dev/zero | tail)"], self.root,
                             resources={"memory_limit_bytes": 16 << 20})
        self.executor.wait("oom")
        self.refused(lambda: self.executor.launch("bad", ["/bin/nothing"], self.root))
        self.executor.launch("gone", ["/bin/true"], self.root, remove_on_exit=True)
        wait_until(lambda: stream.actions(id="gone")[-1:] == ["destroy"])
        self.assertEqual(stream.actions(id="oom"), ["create", "start", "oom", "die"])
        self.assertEqual(stream.actions(id="bad"), ["create", "destroy"])
        self.assertEqual(stream.actions(id="gone"), ["create", "start", "die", "destroy"])

    def in_the_other_encoding_and_what_is_refused(self):
        body = {"type": "GANTRY_EVENTS", "gantry_events": {"since": {"nanoseconds": 0}, "until": now()}}
        head = {"Accept": "application/recordio", "Message-Accept": "application/x-protobuf"}
        status, _, data = self.executor.post(body, headers=head)
        size, _, rest = data.partition(b"\n")
        event = fields(rest[:int(size)])
        self.assertEqual((status, event[1], event[3], event[4]), (200, 1, b"executor", b"start"))
        self.assertEqual(self.executor.post(body)[0], 406)
        for wrong, text in ({"types": [""]}, "gantry_events.types[0]"), ({"images": ["x"] * 257}, "gantry_events.images"):
            status, _, data = self.executor.post({"type": "GANTRY_EVENTS", "gantry_events": wrong}, headers=head)
            self.assertEqual((status, text in data.decode()), (400, True), data)

    def a_slow_reader_is_cut_off_and_nobody_waits(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        slow = socket.socket(socket.AF_UNIX)
        self.addCleanup(slow.close)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(str(self.executor.socket))
        body = b'{"type":"GANTRY_EVENTS"}'
        slow.sendall(b"POST /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept: application/recordio\r\n"
                     b"Message-Accept: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.assertEqual(slow.recv(15, socket.MSG_WAITALL), b"HTTP/1.1 200 OK")
        quick = self.follow(actions=["die"])
        for _ in range(3000):
            self.executor.signal("c", signal.SIGCONT)
        self.executor.signal("c", signal.SIGKILL)
        wait_until(lambda: quick.actions() == ["die"])
        slow.settimeout(10)
        said = b""
        while not said.endswith(b"0\r\n\r\n"):
            piece = slow.recv(1 << 16)
            self.assertTrue(piece, said[-300:])
            said += piece
        self.assertIn(b'"kind":"CUT_OFF"', said[-300:])
        self.assertIn(b"the reader is too slow", said[-300:])

    def test_the_next_executor_tells_what_ended_meanwhile(self):
        stream = self.follow()
        self.executor.launch("c", ["/bin/sh", "-c", "read line; exit 5"], self.root, open_stdin=True)
        wait_until(lambda: "start" in stream.actions())
        pid = self.executor.inspect("c")["container"]["pid"]
        self.executor.kill()
        wait_until(lambda: stream.is_over)
        os.kill(pid, signal.SIGKILL)
        self.executor.start()
        wait_until(lambda: self.past().actions() == ["die", "start"])
        ended = self.follow()
        self.executor.remove("c")
        self.executor.call("GANTRY_SHUTDOWN", gantry_shutdown={})
        self.executor.wait_dead()
        wait_until(lambda: ended.is_over)
        self.assertEqual([e["kind"] for e in ended.events], ["EVENT", "ENDED"])


if __name__ == "__main__":
    main()
