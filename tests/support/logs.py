"""Containers whose output is written to and looked at: the base of the tests of logs."""
import base64
import contextlib
import json
import os
import pathlib
import struct

from gantry import CallFailed, GantryTest, UnixConnection, wait_until
from streams import RECORDIO_INPUT, first_input, framed, records, stdin_data


def numbers(first, last):
    return b"".join(b"%d\n" % i for i in range(first, last + 1))


class Logs(GantryTest):
    def setUp(self):
        super().setUp()
        self.input = UnixConnection(self.executor.socket)  # of the container that is written to
        self.addCleanup(lambda: self.input.close())  # pylint: disable=unnecessary-lambda

    def launch(self, name, script, **spec):
        self.executor.launch(name, ["/bin/sh", "-c", script], self.root, **spec)
        self.sandbox = self.executor.data / "sandboxes" / name

    def attach(self, name, connection=None, **output):
        connection = connection or UnixConnection(self.executor.socket)
        self.addCleanup(connection.close)
        connection.request("POST", "/api/v1", json.dumps({
            "type": "ATTACH_CONTAINER_OUTPUT",
            "attach_container_output": {"container_id": {"value": name}, "gantry_output": output}}), {
                "Content-Type": "application/json", "Accept": "application/recordio"})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        return (record["data"] for record in records(response) if record["type"] == "DATA")

    def read(self, name, **output):
        with contextlib.closing(UnixConnection(self.executor.socket)) as connection:
            return b"".join(base64.b64decode(data["data"])
                            for data in self.attach(name, connection, from_start=True, follow=False, **output))

    def wait_size(self, size):
        """Until so many bytes of c's stdout have come."""
        def now():
            with contextlib.suppress(CallFailed):
                return self.executor.call("READ_FILE", read_file={"path": "/containers/c/stdout", "offset": 0, "length": 0})
            return {"read_file": {"size": 0}}

        wait_until(lambda: now()["read_file"]["size"] == size, 30)

    def open_input(self, name):
        """What writes to its stdin; nothing ends it."""
        self.input.close()
        connection = self.input = UnixConnection(self.executor.socket)
        connection.putrequest("POST", "/api/v1")
        for key, value in (*RECORDIO_INPUT.items(), ("Transfer-Encoding", "chunked")):
            connection.putheader(key, value)
        connection.endheaders()

        def send(data):
            record = framed(data)
            connection.send(b"%x\r\n%s\r\n" % (len(record), record))

        send(first_input(name))
        return lambda line: send(stdin_data(line))

    def files(self, stream="stdout"):
        """The kept files of a stream, oldest first: where each begins, and what is in it."""
        paths = [path for path in self.sandbox.iterdir() if path.name == stream or path.name.startswith(f"{stream}.")]
        return sorted((self.begin_of(path), path.read_bytes()) for path in paths)

    def check_files(self, written, most_files, most_bytes):
        files = self.files()
        self.assertLessEqual(len(files), most_files)
        position = files[0][0]
        for begin, content in files:
            self.assertEqual(begin, position)
            self.assertTrue(content.endswith(b"\n"))
            self.assertLessEqual(len(content), most_bytes)
            position += len(content)
        kept = b"".join(content for _, content in files)
        self.assertEqual(position, len(written))
        self.assertEqual(kept, written[-len(kept):])
        return kept

    def launcher_pid(self):
        with open(self.executor.runtime / "launcher.table", "rb") as table:
            return struct.unpack("IIIi", table.read(16))[3]

    @staticmethod
    def child_named(parent, name):
        for pid in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split():
            if pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == name:
                return int(pid)
        raise AssertionError(f"no {name} below {parent}")

    @staticmethod
    def begin_of(path):
        """The position in its stream of a log file's first byte."""
        try:
            return int.from_bytes(os.getxattr(path, "trusted.gantry.log_begin"), "little")
        except OSError:
            return 0
