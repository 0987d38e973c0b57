"""Output and input over the API: complete, in order, both streams, slow readers harmless."""
import base64
import json
import os
import socket
import threading
import time

from gantry import GantryTest, UnixConnection, main
from streams import RECORDIO_INPUT, field, fields, first_input, framed, records, stdin_data


class Output(GantryTest):
    def attach(self, name, **output):
        connection = UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        body = {"type": "ATTACH_CONTAINER_OUTPUT",
                "attach_container_output": {"container_id": {"value": name}, "gantry_output": output}}
        connection.request("POST", "/api/v1", json.dumps(body).encode(), {
            "Content-Type": "application/json", "Accept": "application/recordio", "Message-Accept": "application/json"})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        return response

    def collect(self, response):
        out = {"STDOUT": b"", "STDERR": b""}
        for record in records(response):
            if record.get("type") == "DATA":
                out[record["data"]["type"]] += base64.b64decode(record["data"]["data"])
        return out

    def test_attach_follows_to_the_end(self):
        self.executor.launch("c", ["/bin/sh", "-c", "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; sleep 0.1; done"],
                             self.root)
        out = self.collect(self.attach("c", from_start=True))
        self.assertEqual(out["STDOUT"], b"o1\no2\no3\no4\no5\n")
        self.assertEqual(out["STDERR"], b"e1\ne2\ne3\ne4\ne5\n")

    def test_megabytes_arrive_whole(self):
        self.executor.launch("c", ["/bin/sh", "-c", "dd if=/dev/zero bs=65536 count=512 2>/dev/null | tr '\\0' a"],
                             self.root)
        out = self.collect(self.attach("c", from_start=True))
        self.assertEqual(len(out["STDOUT"]), 512 * 65536)
        self.assertEqual(set(out["STDOUT"]), {ord("a")})

    def test_a_silent_reader_does_not_hold_up_the_container(self):
        self.executor.launch("c", ["/bin/sh", "-c", "dd if=/dev/zero bs=65536 count=256 2>/dev/null"], self.root)
        self.attach("c", from_start=True)  # never read
        start = time.monotonic()
        self.executor.wait("c")
        self.assertLess(time.monotonic() - start, 10)

    def test_input_reaches_it_and_half_close_ends_it(self):
        self.executor.launch("c", ["/bin/cat"], self.root, open_stdin=True)
        connection = UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        body = framed(first_input("c"), stdin_data(b"hello "), stdin_data(b"world\n"), stdin_data(b""))
        connection.request("POST", "/api/v1", body, RECORDIO_INPUT)
        self.assertEqual(connection.getresponse().status, 200)
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        self.assertEqual(self.executor.output("c"), "hello world\n")

    def open_input(self, name, **more):
        """An attached input whose request goes on: the connection's socket, the first record sent."""
        connection = UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        connection.putrequest("POST", "/api/v1")
        for key, value in (*RECORDIO_INPUT.items(), ("Transfer-Encoding", "chunked")):
            connection.putheader(key, value)
        connection.endheaders()
        record = framed(first_input(name, **more))
        connection.send(b"%x\r\n%s\r\n" % (len(record), record))
        return connection

    def test_both_encodings_say_the_same(self):
        self.executor.launch("c", ["/bin/cat"], self.root, open_stdin=True)
        output = UnixConnection(self.executor.socket)
        self.addCleanup(output.close)
        container = field(1, b"c")
        output.request("POST", "/api/v1", field(1, 19) + field(11, field(1, container)), {
            "Content-Type": "application/x-protobuf", "Accept": "application/recordio",
            "Message-Accept": "application/x-protobuf"})
        answer = output.getresponse()
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Content-Type"], "application/recordio")
        self.assertEqual(answer.headers["Message-Content-Type"], "application/x-protobuf")

        def call(inner):
            return field(1, 18) + field(10, inner)

        def stdin(data):
            return call(field(1, 2) + field(3, field(1, 1) + field(2, field(1, 1) + field(2, data))))

        source = UnixConnection(self.executor.socket)
        self.addCleanup(source.close)
        heartbeat = call(field(1, 2) + field(3, field(1, 2) + field(3, field(1, 2))))
        body = framed(call(field(1, 1) + field(2, container)), stdin(b"one\n"), heartbeat, stdin(b"two\n"), stdin(b""))
        source.request("POST", "/api/v1", body, {
            "Content-Type": "application/recordio", "Message-Content-Type": "application/x-protobuf"})
        self.assertEqual(source.getresponse().status, 200)
        text, buffer = b"", answer.read()
        while buffer:
            length, buffer = buffer.split(b"\n", 1)
            io, buffer = fields(buffer[:int(length)]), buffer[int(length):]
            self.assertEqual(io[1], 1)  # DATA
            data = fields(io[2])
            self.assertEqual(data[1], 2)  # STDOUT
            text += data[2]
        self.assertEqual(text, b"one\ntwo\n")
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)

    def test_attached_before_the_first_byte(self):
        self.executor.launch("c", ["/bin/sh", "-c", "read x; echo $x"], self.root, open_stdin=True)
        response = self.attach("c")
        connection = UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        connection.request("POST", "/api/v1", framed(first_input("c"), stdin_data(b"now\n")), RECORDIO_INPUT)
        self.assertEqual(connection.getresponse().status, 200)
        self.assertEqual(self.collect(response)["STDOUT"], b"now\n")

    def test_attached_to_one_that_has_ended(self):
        self.executor.launch("c", ["/bin/echo", "said"], self.root, open_stdin=True)
        self.executor.wait("c")
        self.assertEqual(self.collect(self.attach("c"))["STDOUT"], b"")
        self.assertEqual(self.collect(self.attach("c", from_start=True))["STDOUT"], b"said\n")
        self.assertEqual(self.collect(self.attach("c", from_start=True, stdout_offset=2))["STDOUT"], b"id\n")
        self.assertEqual(self.collect(self.attach("c", from_start=True, stdout_offset=99))["STDOUT"], b"")
        connection = UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        connection.request("POST", "/api/v1", framed(first_input("c")), RECORDIO_INPUT)
        self.assertEqual(connection.getresponse().status, 404)

    def sockets(self):
        """But for those that prepared children wait on."""
        count = -self.executor.metric("containerizer/prepared_children")
        for entry in os.scandir(f"/proc/{self.executor.process.pid}/fd"):
            try:
                count += os.readlink(entry.path).startswith("socket:")
            except OSError:  # closed meanwhile
                pass
        return count

    def test_slow_and_closing_readers_cost_the_others_nothing(self):
        self.executor.launch(
            "c", ["/bin/sh", "-c", "i=0; while [ $i -lt 300 ]; do dd if=/dev/zero bs=4096 count=8 2>/dev/null; "
                  "i=$((i+1)); done"], self.root)
        before = self.sockets()
        slow = self.attach("c", from_start=True)
        for _ in range(20):  # closed in the middle of their first records
            leaving = UnixConnection(self.executor.socket)
            leaving.request("POST", "/api/v1", json.dumps({
                "type": "ATTACH_CONTAINER_OUTPUT", "attach_container_output": {
                    "container_id": {"value": "c"}, "gantry_output": {"from_start": True}}}), {
                        "Content-Type": "application/json", "Accept": "application/recordio"})
            leaving.sock.recv(100)
            leaving.close()
        fast = self.collect(self.attach("c", from_start=True))
        self.assertEqual(len(fast["STDOUT"]), 300 * 8 * 4096)
        self.assertEqual(len(self.collect(slow)["STDOUT"]), 300 * 8 * 4096)
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        deadline = time.monotonic() + 5
        while self.sockets() > before + 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertLessEqual(self.sockets(), before + 4)

    def test_the_pipe_is_handed_over_and_outlives_the_executor(self):
        self.executor.launch("c", ["/bin/cat"], self.root, open_stdin=True)
        connection = self.open_input("c", gantry_hand_over=True)
        head, fds, _, _ = socket.recv_fds(connection.sock, 100, 1)
        self.assertEqual(head, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(len(fds), 1)
        second = self.open_input("c")
        self.assertEqual(second.getresponse().status, 409)
        os.write(fds[0], b"before ")
        self.executor.restart()
        os.write(fds[0], b"after\n")
        os.close(fds[0])
        third = self.open_input("c")
        end = framed(stdin_data(b""))
        third.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))
        self.assertEqual(third.getresponse().status, 200)
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        self.assertEqual(self.executor.output("c"), "before after\n")

    def test_following_one_that_closed_its_streams_costs_nothing(self):
        def ticks():
            with open(f"/proc/{self.executor.process.pid}/stat", encoding="ascii") as stat:
                return sum(int(n) for n in stat.read().rsplit(")", 1)[1].split()[11:13])

        for name, closing in (("one", "exec 2>&-"), ("both", "exec >&- 2>&-")):
            self.executor.launch(name, ["/bin/sh", "-c", f"{closing}; sleep 1000"], self.root)
            self.attach(name, from_start=True)
        time.sleep(0.3)
        before = ticks()
        time.sleep(1)
        self.assertLess(ticks() - before, 25)  # of the 100 that a loop would take

    def test_many_followers_get_the_same(self):
        self.executor.launch("c", ["/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.05; done"], self.root)
        collected = []
        threads = [threading.Thread(target=lambda: collected.append(self.collect(self.attach("c", from_start=True))))
                   for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(collected), 16)
        self.assertEqual({out["STDOUT"] for out in collected}, {b"1\n2\n3\n4\n5\n6\n7\n8\n"})


if __name__ == "__main__":
    main()
