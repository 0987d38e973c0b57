"""A Mesos framework over the executor's socket, for tests of the scheduler API."""
import json
import threading
import time

from gantry import UnixConnection


class Framework:
    """A framework over the socket: a thread reads events, calls go on a second connection."""

    def __init__(self, executor, info=None, acknowledge=True):
        self.executor = executor
        self.info = {"user": "root", "name": "test", "roles": ["*"], "failover_timeout": 60,
                     "capabilities": [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}], **(info or {})}
        self.acknowledge = acknowledge
        self.events = []
        self.changed = threading.Condition()
        self.id = self.info.get("id", {}).get("value")
        self.ended = False

    def subscribe(self):
        self.stream = UnixConnection(self.executor.socket, 30)
        body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": self.info}}
        if self.id:
            body["framework_id"] = {"value": self.id}
            body["subscribe"]["framework_info"]["id"] = {"value": self.id}
        self.stream.request("POST", "/api/v1/scheduler", json.dumps(body).encode(),
                            {"Content-Type": "application/json", "Accept": "application/json"})
        self.response = self.stream.getresponse()
        assert self.response.status == 200, (self.response.status, self.response.read())
        self.stream_id = self.response.headers["Mesos-Stream-Id"]
        self.ended = False
        threading.Thread(target=self.read, daemon=True).start()
        self.id = self.wait("SUBSCRIBED")["subscribed"]["framework_id"]["value"]
        return self

    def read(self):
        try:
            while True:
                head = self.response.readline()
                if not head:
                    break
                event = json.loads(self.response.read(int(head)))
                with self.changed:
                    self.events.append(event)
                    self.changed.notify_all()
                if self.acknowledge and event["type"] == "UPDATE" and "uuid" in event["update"]["status"]:
                    self.ack(event["update"]["status"])
        except (OSError, ValueError, AttributeError):  # http.client when the stream is closed under it
            pass
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait(self, kind, match=lambda e: True, limit=20):
        deadline = time.monotonic() + limit
        with self.changed:
            while True:
                for event in self.events:
                    if event["type"] == kind and match(event):
                        return event
                left = deadline - time.monotonic()
                if left <= 0 or (self.ended and kind != "END"):
                    raise AssertionError(f"no {kind} in {json.dumps(self.events)[-3000:]}")
                self.changed.wait(left)

    def state(self, task, state, limit=20):
        return self.wait("UPDATE", lambda e: e["update"]["status"]["task_id"]["value"] == task
                         and e["update"]["status"]["state"] == state, limit)["update"]["status"]

    def states(self, task):
        return [e["update"]["status"]["state"] for e in self.events
                if e["type"] == "UPDATE" and e["update"]["status"]["task_id"]["value"] == task]

    def post(self, kind, stream_id=None, **fields):
        connection = UnixConnection(self.executor.socket)
        try:
            connection.request("POST", "/api/v1/scheduler", json.dumps(
                {"framework_id": {"value": self.id}, "type": kind, **fields}).encode(),
                {"Content-Type": "application/json", "Mesos-Stream-Id": stream_id or self.stream_id})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def call(self, kind, **fields):
        status, text = self.post(kind, **fields)
        assert status == 202, (kind, status, text)

    def ack(self, status):
        self.call("ACKNOWLEDGE", acknowledge={"agent_id": status["agent_id"], "task_id": status["task_id"],
                                              "uuid": status["uuid"]})

    def offer(self):
        return self.wait("OFFERS")["offers"]["offers"][0]

    def task(self, name, command, offer, cpus=0.1, mem=32, **more):
        return {"name": name, "task_id": {"value": name}, "agent_id": offer["agent_id"],
                "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}},
                              {"name": "mem", "type": "SCALAR", "scalar": {"value": mem}}],
                "command": {"value": command}, **more}

    def launch(self, offer, *tasks, refuse=0.1):
        self.call("ACCEPT", accept={"offer_ids": [offer["id"]], "filters": {"refuse_seconds": refuse},
                                    "operations": [{"type": "LAUNCH", "launch": {"task_infos": list(tasks)}}]})

    def drop(self):
        self.response.close()
        self.stream.close()
