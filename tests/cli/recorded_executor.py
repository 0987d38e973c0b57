#!/usr/bin/env python3
"""An executor that has only recorded answers, for tests of what `gantry` prints and how it takes a
stream. recorded_executor.py SOCKET LOG ANSWERS.json

ANSWERS maps a call's type to {"status": 200, "headers": {}, "json": …} or {"body": "text"} or
{"records": […], "then": "close"|"end"} (a chunked RecordIO stream; "close" breaks it off without
an end, and without "records" before any answer; "at_once": true sends head and records in one
piece). A list of those is given out in turn, the last one for ever. A record may be
{"sleep": seconds} or {"await": "CALL_TYPE"} (until such a call has come). Every request is one line
in LOG: {"type", "target", "headers", "body", "bytes"}.
"""
import base64
import json
import os
import socket
import sys
import threading
import time

SOCKET, LOG, ANSWERS = sys.argv[1:4]
answers = json.load(open(ANSWERS))
lock = threading.Condition()
seen = []


def read_head(stream):
    line = stream.readline()
    if not line:
        return None
    target = line.split()[1].decode()
    headers = {}
    while (line := stream.readline().strip()):
        key, value = line.decode().split(":", 1)
        headers[key.lower()] = value.strip()
    return target, headers


def chunks(stream):
    while True:
        size = int(stream.readline(), 16)
        data = stream.read(size)
        stream.readline()
        if size == 0:
            return
        yield data


def log(entry):
    with lock:
        seen.append(entry)
        with open(LOG, "a") as out:
            out.write(json.dumps(entry) + "\n")
        lock.notify_all()


def next_answer(kind):
    with lock:
        answer = answers.get(kind)
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
    if answer is None:
        return {"status": 501, "body": "no recorded answer to " + kind}
    return answer


def record(value):
    if "stdout" in value or "stderr" in value:
        name = "stdout" if "stdout" in value else "stderr"
        value = {"type": "DATA", "data": {
            "type": name.upper(), "data": base64.b64encode(value[name].encode()).decode()}}
    elif "control" in value and isinstance(value["control"], str):
        value = {"type": "CONTROL", "control": {"type": value["control"]}}
    elif "exit" in value:
        value = {"type": "CONTROL", "control": {"type": "GANTRY_EXIT", "gantry_exit": value["exit"]}}
    data = json.dumps(value).encode()
    return str(len(data)).encode() + b"\n" + data


def wait(value):
    if "sleep" in value:
        time.sleep(value["sleep"])
    else:
        with lock:
            lock.wait_for(lambda: any(s["type"] == value["await"] for s in seen), 20)


def stream_answer(connection, answer):
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/recordio\r\nTransfer-Encoding: chunked\r\n"
    for key, value in answer.get("headers", {}).items():
        head += f"{key}: {value}\r\n"
    pending = (head + "\r\n").encode()
    for value in answer["records"]:
        if "sleep" in value or "await" in value:
            connection.sendall(pending)
            pending = b""
            wait(value)
            continue
        data = record(value)
        pending += b"%x\r\n%s\r\n" % (len(data), data)
        if not answer.get("at_once"):
            connection.sendall(pending)
            pending = b""
    connection.sendall(pending)
    if answer.get("then") == "close":
        connection.shutdown(socket.SHUT_RDWR)
        return False
    connection.sendall(b"0\r\n\r\n")
    return True


def body_is_input(headers):
    return headers.get("content-type") == "application/recordio"


def records_of(data):
    records = []
    while data:
        length, data = data.split(b"\n", 1)
        records.append(json.loads(data[:int(length)]))
        data = data[int(length):]
    return records


def take_input(connection, stream):
    """ATTACH_CONTAINER_INPUT: hands over a pipe, as the executor does; what came through it is "stdin"."""
    pieces = chunks(stream)
    records = records_of(next(pieces))
    read_end, write_end = os.pipe()
    socket.send_fds(connection, [b"HTTP/1.1 100 Continue\r\n\r\n"], [write_end])
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        stdin = pipe.read().decode()
    records += records_of(b"".join(pieces))
    return {"type": records[0]["type"], "records": records, "stdin": stdin}


def serve(connection):
    stream = connection.makefile("rb")
    while (head := read_head(stream)) is not None:
        target, headers = head
        if headers.get("content-type") == "application/x-tar":
            size = sum(len(chunk) for chunk in chunks(stream))
            body = json.loads(headers["gantry-call"])
        elif body_is_input(headers):
            size, body = 0, take_input(connection, stream)
        else:
            size = int(headers["content-length"])
            body = json.loads(stream.read(size))
        log({"type": body["type"], "target": target, "headers": headers, "body": body, "bytes": size})
        answer = next_answer(body["type"])
        if answer == {"then": "close"}:
            return
        if "records" in answer:
            if not stream_answer(connection, answer):
                return
            continue
        text = json.dumps(answer["json"]) if "json" in answer else answer.get("body", "")
        out = f"HTTP/1.1 {answer.get('status', 200)} Recorded\r\nContent-Length: {len(text.encode())}\r\n"
        for key, value in answer.get("headers", {}).items():
            out += f"{key}: {value}\r\n"
        connection.sendall((out + "\r\n" + text).encode())


def guarded(connection):
    try:
        serve(connection)
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        connection.close()


listener = socket.socket(socket.AF_UNIX)
if os.path.exists(SOCKET):
    os.unlink(SOCKET)
listener.bind(SOCKET)
listener.listen(64)
print("ready", flush=True)
while True:
    threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()
