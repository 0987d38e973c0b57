"""Output and input over the API: complete, in order, both streams, slow readers harmless."""
import base64
import json
import time

from gantry import GantryTest, UnixConnection, main


def records(response):
    """RecordIO: decimal length, newline, that many bytes. (readline() of a chunked response is very slow.)"""
    buffer = bytearray()
    while True:
        head, newline, rest = bytes(buffer[:32]).partition(b"\n")
        del rest
        if newline and len(buffer) >= len(head) + 1 + int(head):
            end = len(head) + 1 + int(head)
            yield json.loads(bytes(buffer[len(head) + 1:end]))
            del buffer[:end]
            continue
        piece = response.read1(1 << 20)
        if not piece:
            return
        buffer += piece


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
        messages = [{"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": {
            "type": "CONTAINER_ID", "container_id": {"value": "c"}}}]
        for data in (b"hello ", b"world\n", b""):
            messages.append({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": {
                "type": "PROCESS_IO", "process_io": {"type": "DATA", "data": {
                    "type": "STDIN", "data": base64.b64encode(data).decode()}}}})
        body = b"".join(b"%d\n%s" % (len(m), m) for m in (json.dumps(m).encode() for m in messages))
        connection.request("POST", "/api/v1", body, {
            "Content-Type": "application/recordio", "Message-Content-Type": "application/json"})
        self.assertEqual(connection.getresponse().status, 200)
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        self.assertEqual(self.executor.output("c"), "hello world\n")


if __name__ == "__main__":
    main()
