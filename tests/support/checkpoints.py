"""What tests of checkpoints share: a container that counts, and forged checkpoints.

A container that was stopped, thawed, restored or run twice shows it in its output: the numbers of a counter follow each
other, none is missing and none comes twice.
"""
import hashlib
import pathlib
import struct
import time

from gantry import CallFailed, GantryTest

# Two processes; the counter is in memory, so only a restored process goes on with it.
COUNT = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"


class CheckpointTest(GantryTest):
    def launch_counter(self, name="c", **spec):
        self.executor.launch(name, ["/bin/sh", "-c", COUNT], self.root, **spec)
        self.wait_for_numbers(name)

    def numbers(self, name="c"):
        """The numbers so far, after checking that they are a count without gap or repetition."""
        try:
            lines = self.executor.output(name).splitlines()
        except CallFailed as failed:
            if failed.status == 404:  # the file is made at the first byte
                return []
            raise
        self.assertEqual(lines, [str(i) for i in range(len(lines))])
        return lines

    def wait_for_numbers(self, name="c", more=3, limit=10):
        """Waits until the count has gone on; returns it."""
        enough = len(self.numbers(name)) + more
        return self.until(lambda: self.numbers(name), lambda found: len(found) >= enough, limit)

    def until(self, look, good, limit=10):
        deadline = time.monotonic() + limit
        while True:
            found = look()
            if good(found):
                return found
            self.assertLess(time.monotonic(), deadline, f"{found}; log: {self.executor.log_tail()}")
            time.sleep(0.01)

    def checkpoint(self, container="c", name="one", **options):
        return self.executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={
            "container_id": {"value": container}, "name": name, **options})["gantry_checkpoint"]

    def restore(self, checkpoint="one", **options):
        return self.executor.call("GANTRY_RESTORE", gantry_restore={"checkpoint": checkpoint, **options})

    def checkpoints(self):
        """Names in the data directory, half-made ones too."""
        folder = self.executor.data / "checkpoints"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def helpers(self):
        """Processes of CRIU that are children of our launcher."""
        launcher = next((pid for pid in pids() if name_of(pid) == "gantry-launcher" and
                         str(self.executor.runtime) in command_of(pid)), None)
        return [pid for pid in pids() if parent_of(pid) == launcher and "swrk" in command_of(pid)]

    def assert_clean(self, what=None):
        self.assertEqual(self.helpers(), [], what)
        self.assertEqual([name for name in self.checkpoints() if name.startswith(".")], [], what)
        self.assertEqual(self.executor.check_leaks(), [], what)


# /proc


def pids():
    return [int(path.name) for path in pathlib.Path("/proc").iterdir() if path.name.isdigit()]


def stat_of(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "", ["", "0"]
    return text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()


def name_of(pid):
    return stat_of(pid)[0]


def parent_of(pid):
    return int(stat_of(pid)[1][1])


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


CAP_SYS_RESOURCE = 24


def has_capability(number):
    status = pathlib.Path("/proc/self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) >> number & 1)


# Protobuf, as much as forging needs: a message is a list of [field, wire type, value].


def decode(data):
    found, at = [], 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
            value, at = data[at:at + size], at + size
            if len(value) != size:
                raise ValueError("cut off")
        found.append([key >> 3, kind, value])
    return found


def encode(message):
    def varint(value):
        out = b""
        while value >= 0x80:
            out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
        return out + bytes([value])

    out = b""
    for field, kind, value in message:
        out += varint(field << 3 | kind)
        out += varint(value) if kind == 0 else (varint(len(value)) if kind == 2 else b"") + value
    return out


def values(message, field):
    return [value for number, _, value in message if number == field]


def replace(message, field, value):
    kind = 0 if isinstance(value, int) else 2
    return [[field, kind, value] if number == field else [number, old, kept] for number, old, kept in message]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# Fields of api/criu/checkpoint.proto.
CONTAINER_ID, MOUNTS, STDIO, TASKS, IMAGES = 1, 7, 8, 9, 10
TASK_UIDS, TASK_EFFECTIVE, TASK_PERMITTED = 2, 5, 6


class Forgery:
    """A checkpoint on disk that is changed and signed again, as one could who may write there: the digests are right."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.record = decode((self.directory / "record").read_bytes()[16:])

    def image(self, prefix):
        return next(path for path in sorted((self.directory / "images").iterdir()) if path.name.startswith(prefix))

    def set(self, field, value):
        self.record = replace(self.record, field, value)

    def edit_messages(self, field, edit):
        self.record = [[number, kind, encode(edit(decode(value))) if number == field else value]
                       for number, kind, value in self.record]

    def write(self):
        def digest(image):
            data = (self.directory / "images" / values(image, 1)[0].decode()).read_bytes()
            return replace(replace(image, 2, len(data)), 3, hashlib.sha256(data).digest())

        self.edit_messages(IMAGES, digest)
        payload = encode(self.record)
        head = (self.directory / "record").read_bytes()[:8]
        (self.directory / "record").write_bytes(head + struct.pack("<II", len(payload), crc32c(payload)) + payload)

    def edit_credentials(self, edit):
        """Changes what CRIU would give the tasks back: creds_entry, wherever it is in the core images."""
        for path in sorted((self.directory / "images").glob("core-*.img")):
            data = path.read_bytes()
            message, found = change_credentials(decode(data[12:]), edit)
            if not found:
                raise AssertionError(f"no credentials in {path}")
            body = encode(message)
            path.write_bytes(data[:8] + struct.pack("<I", len(body)) + body)


def is_credentials(message):
    """creds_entry: uid to fsgid are the numbers 1 to 8, then the capabilities 9 to 12, secbits 13."""
    numbers = {number for number, kind, _ in message if kind in (0, 2)}
    return set(range(1, 14)) <= numbers and all(kind == 0 for number, kind, _ in message if number <= 8)


def change_credentials(message, edit):
    if is_credentials(message):
        return edit(message), True
    changed = False
    for entry in message:
        if entry[1] != 2:
            continue
        try:
            inner, found = change_credentials(decode(entry[2]), edit)
        except (ValueError, IndexError, KeyError):
            continue
        if found:
            entry[2], changed = encode(inner), True
    return message, changed
