"""RecordIO, and the little of protobuf that tests need to speak the API's other encoding."""
import base64
import json


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


def field(number, value):
    """A protobuf field: varint of an int, else length-delimited."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def fields(data):
    """{number: last value} of a protobuf message with varints and length-delimited fields only."""
    out, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        out[key >> 3] = value
    return out


def framed(*messages):
    texts = (m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages)
    return b"".join(b"%d\n%s" % (len(m), m) for m in texts)


def input_call(**fields_of_call):
    return {"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": fields_of_call}


def first_input(container, **more):
    """The first record: which container; by its id, or by a whole ContainerID."""
    if isinstance(container, str):
        container = {"value": container}
    return input_call(type="CONTAINER_ID", container_id=container, **more)


def stdin_data(data):
    return input_call(type="PROCESS_IO", process_io={
        "type": "DATA", "data": {"type": "STDIN", "data": base64.b64encode(data).decode()}})


RECORDIO_INPUT = {"Content-Type": "application/recordio", "Message-Content-Type": "application/json"}
