"""The operator API as a Mesos agent's, and GET /metrics and /health, of a real executor in a network
namespace of its own."""
import contextlib
import http.client
import json
import pathlib
import re
import resource
import subprocess
import time

import prometheus
from framework import Framework
from gantry import CallFailed, GantryTest, UnixConnection, bridge, free_port, main, own_network, wait_until


def shape(value):
    """Names and types of a JSON value; of lists that of the first element."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def curl(*words):
    """Another client: (status, body)."""
    out = subprocess.run(["curl", "-s", "-m", "20", "-w", "%{http_code}", *words], capture_output=True, text=True,
                         check=True).stdout
    return int(out[-3:]), out[:-3]


# Of answers of a Mesos agent and of what it reports to its master (wire captures).
RESOURCE = {"name": "str", "type": "str", "scalar": {"value": "float"}, "allocation_info": {"role": "str"}}
STATUS = {"task_id": {"value": "str"}, "state": "str", "source": "str", "agent_id": {"value": "str"},
          "executor_id": {"value": "str"}, "timestamp": "float", "uuid": "str",
          "container_status": {"container_id": {"value": "str"}}}
TASK = {"name": "str", "task_id": {"value": "str"}, "framework_id": {"value": "str"}, "agent_id": {"value": "str"},
        "state": "str", "resources": [RESOURCE], "statuses": [STATUS], "status_update_state": "str",
        "status_update_uuid": "str"}
FRAMEWORK = {"framework_info": {"user": "str", "name": "str", "id": {"value": "str"}, "failover_timeout": "float",
                                "checkpoint": "bool", "roles": ["str"], "capabilities": [{"type": "str"}]}}
EXECUTOR = {"executor_info": {"executor_id": {"value": "str"}, "framework_id": {"value": "str"},
                              "command": {"shell": "bool", "value": "str"}, "resources": [RESOURCE], "name": "str",
                              "source": "str"}}


class OperatorApi(GantryTest):
    def start(self):
        self.port = free_port()
        self.executor.start("--here", "--listen-metrics", f"127.0.0.1:{self.port}")

    def get(self, path):
        status, headers, body = self.get_all(path)
        self.assertEqual(status, 200, body)
        return headers, body.decode()

    def get_all(self, path, method="GET"):
        connection = UnixConnection(self.executor.socket)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def metrics(self):
        headers, text = self.get("/metrics")
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        return prometheus.parse(text)

    def test_the_audit_log_rotates_as_the_executors_own_does(self):
        self.executor.restart("--log-file-max-size", "2k", "--log-file-max-files", "3")
        for number in range(60):
            self.refused(lambda n=number: self.executor.remove(f"absent-{n}"))
        files = [self.executor.data / name for name in ("audit.log.2", "audit.log.1", "audit.log")]
        for file in files:
            self.assertLessEqual(file.stat().st_size, 2048)
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertFalse((self.executor.data / "audit.log.3").exists())
        ids = [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]
        self.assertEqual(ids, [f"absent-{n}" for n in range(60 - len(ids), 60)])
        self.assertGreater(len(ids), 20)

    def test_no_error_tells_the_secrets_of_an_address(self):
        uri = "http://bob:hunter2@127.0.0.1:1/a?x=1&X-Amz-Signature=abcdef&sig=ghijkl"
        error = self.refused(lambda: self.executor.launch("c", ["/bin/true"], self.root, uris=[{"uri": uri}]), "fetch http://")
        said = error.text + (self.executor.data / "audit.log").read_text() + self.executor.log.read_text()
        self.assertIn("http://[hidden]@127.0.0.1:1/a?x=1&X-Amz-Signature=[hidden]&sig=[hidden]", said)
        for secret in ("bob", "hunter2", "abcdef", "ghijkl"):
            self.assertNotIn(secret, said)

    def test_agent_calls_show_the_host_its_frameworks_and_tasks(self):
        call = self.executor.call
        for kind in ("GET_FRAMEWORKS", "GET_EXECUTORS", "GET_TASKS", "GET_OPERATIONS"):
            self.assertEqual(call(kind), {"type": kind, kind.lower(): {}})
        f = Framework(self.executor).subscribe()
        self.addCleanup(f.drop)
        offer = f.offer()
        agent = call("GET_AGENT")["get_agent"]["agent_info"]
        self.assertEqual({k: v for k, v in agent.items() if k != "resources"},
                         {"hostname": offer["hostname"], "port": 0, "id": offer["agent_id"]})
        self.assertEqual([{k: v for k, v in r.items() if k != "allocation_info"} for r in offer["resources"]],
                         agent["resources"])
        f.launch(offer, f.task("runs", "exec sleep 100", offer), f.task("ends", "exit 3", offer))
        f.state("runs", "TASK_RUNNING")
        f.state("ends", "TASK_FAILED")
        # The acknowledgements of our framework are on their way.
        tasks = wait_until(lambda: (t := call("GET_TASKS")["get_tasks"]).get("completed_tasks") and t)
        self.assertEqual(set(tasks), {"launched_tasks", "completed_tasks"})
        self.assertEqual(shape(tasks["launched_tasks"]), [TASK])
        running, ended = tasks["launched_tasks"][0], tasks["completed_tasks"][0]
        self.assertEqual((running["name"], running["state"], running["framework_id"]["value"]),
                         ("runs", "TASK_RUNNING", f.id))
        self.assertEqual([s["state"] for s in ended["statuses"]], ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"])
        self.assertEqual((ended["state"], ended["status_update_state"]), ("TASK_FAILED", "TASK_FAILED"))
        executors = call("GET_EXECUTORS")["get_executors"]
        self.assertEqual(shape(executors["executors"]), [EXECUTOR])
        self.assertEqual(executors["executors"][0]["executor_info"]["executor_id"], {"value": "runs"})
        frameworks = call("GET_FRAMEWORKS")["get_frameworks"]
        self.assertEqual(shape(frameworks), {"frameworks": [FRAMEWORK]})
        self.assertEqual(call("GET_STATE")["get_state"], {
            "get_tasks": call("GET_TASKS")["get_tasks"], "get_executors": executors, "get_frameworks": frameworks})
        f.call("TEARDOWN")
        state = wait_until(lambda: (s := call("GET_STATE")["get_state"])["get_frameworks"].get("completed_frameworks")
                           and s)
        self.assertNotIn("frameworks", state["get_frameworks"])
        self.assertEqual({t["name"] for t in state["get_tasks"]["completed_tasks"]}, {"runs", "ends"})
        lines = [json.loads(line) for line in (self.executor.data / "audit.log").read_text().splitlines()]
        self.assertEqual([(line["call"], line["id"], line["status"]) for line in lines], [
            ("SUBSCRIBE", f.id, 200), ("LAUNCH", f"{f.id}/runs", 202), ("LAUNCH", f"{f.id}/ends", 202),
            ("TEARDOWN", f.id, 202)])
        self.assertFalse(list((self.executor.data / "registrations/tasks").iterdir()))

    def test_flags_logging_level_and_what_is_not_here(self):
        call = self.executor.call
        flags = {f["name"]: f["value"] for f in call("GET_FLAGS")["get_flags"]["flags"]}
        self.assertEqual((flags["data_dir"], flags["prepared_children"][:1].isdigit()), (str(self.executor.data), True))
        level = lambda: call("GET_LOGGING_LEVEL")["get_logging_level"]["level"]
        self.assertEqual(level(), 0)
        self.assertNotIn("GET_FLAGS", self.executor.log.read_text())
        call("SET_LOGGING_LEVEL", set_logging_level={"level": 2, "duration": {"nanoseconds": 7 * 10 ** 8}})
        self.assertEqual(level(), 2)
        call("GET_FLAGS")
        self.assertRegex(self.executor.log.read_text(), "GET_FLAGS: 200 after [0-9]+ us")
        wait_until(lambda: level() == 0)
        said = self.executor.log.read_text()
        self.assertRegex(said, "logging level 2, was 0(.|\n)*logging level 0, was 2")
        call("GET_VERSION")
        self.assertNotIn("GET_VERSION", self.executor.log.read_text())
        self.assertIn("SET_LOGGING_LEVEL", (self.executor.data / "audit.log").read_text())
        for kind in ("GET_RESOURCE_PROVIDERS", "ADD_RESOURCE_PROVIDER_CONFIG", "MARK_RESOURCE_PROVIDER_GONE"):
            with self.assertRaises(CallFailed) as caught:
                call(kind)
            self.assertEqual((caught.exception.status, caught.exception.text),
                             (501, f"The call {kind} is not implemented"))

    def cgroup_files(self, cid):
        """{name of a file: its text}, of all the container's cgroups."""
        files = {}
        for path in self.executor.inspect(cid)["cgroups"]:
            for file in pathlib.Path(path).iterdir():
                try:
                    if file.is_file():
                        files[file.name] = file.read_text()
                except OSError:
                    pass
        return files

    def test_metrics_are_those_of_the_cgroups(self):
        before = self.metrics()
        self.assertNotIn("gantry_container_info", before)
        self.assertEqual(before["gantry_launches_total"][()], 0)
        script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; head -c 3000000 /dev/zero > /tmp/f; exec sleep 1000"
        self.executor.launch("m", ["/bin/sh", "-c", script], self.root, name="metered",
                             resources={"memory_limit_bytes": 64 << 20, "pids_limit": 50, "cpus": 0.5}, **bridge())
        self.refused(lambda: self.executor.launch("bad", ["/nope"], self.root), "/nope")
        pid = self.executor.inspect("m")["container"]["pid"]
        wait_until(lambda: pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep"))
        metrics, files = self.metrics(), self.cgroup_files("m")
        me = (("id", "m"), ("name", "metered"))
        mine = {name: {tuple(p for p in key if p not in me): value for key, value in samples.items()}
                for name, samples in metrics.items() if name.startswith("gantry_container_")}
        for samples in mine.values():
            self.assertLessEqual(len(samples), 3)  # of one container
        one = lambda name: mine["gantry_container_" + name][()]
        self.assertEqual(one("tasks"), 1)
        self.assertEqual((one("memory_limit_bytes"), one("tasks_limit"), one("cpu_limit_cpus")), (64 << 20, 50, 0.5))
        self.assertEqual(one("oom_kills_total"), 0)
        self.assertEqual(one("restarts_total"), 0)
        self.assertGreater(one("memory_bytes"), 1 << 20)
        current = int(files.get("memory.current") or files["memory.usage_in_bytes"])
        self.assertAlmostEqual(one("memory_bytes"), current, delta=4 << 20)
        cpu = sum(mine["gantry_container_cpu_seconds_total"].values())
        if "cpuacct.usage" in files:
            self.assertAlmostEqual(cpu, int(files["cpuacct.usage"]) / 1e9, delta=0.05)
        else:
            self.assertAlmostEqual(cpu, int(re.search(r"usage_usec (\d+)", files["cpu.stat"])[1]) / 1e6, delta=0.05)
        self.assertGreater(cpu, 0)
        self.assertIn("network_received_bytes_total", {n[len("gantry_container_"):] for n in mine})
        for resource in ("cpu", "memory", "io"):
            if text := files.get(resource + ".pressure"):
                total = int(re.search(r"some .*total=(\d+)", text)[1]) / 1e6
                waited = mine["gantry_container_pressure_waiting_seconds_total"][(("resource", resource),)]
                self.assertAlmostEqual(waited, total, delta=0.5)
        statistics = self.executor.statistics("m")
        self.assertEqual(statistics["gantry_pids_limit"], one("tasks_limit"))
        self.assertAlmostEqual(time.time(), one("start_time_seconds"), delta=60)
        # The executor's own.
        self.assertEqual(metrics["gantry_launches_total"][()], 2)
        self.assertEqual(metrics["gantry_launch_failures_total"][()], 1)
        self.assertEqual(metrics["gantry_launch_duration_seconds_count"][()], 1)
        self.assertLess(metrics["gantry_launch_duration_seconds_sum"][()], 60)
        self.assertEqual(metrics["gantry_containers"][(("state", "running"),)], 1)
        self.assertEqual(metrics["gantry_containers"][(("state", "paused"),)], 0)
        self.assertGreater(metrics["gantry_uptime_seconds"][()], before["gantry_uptime_seconds"][()])
        fds = pathlib.Path(f"/proc/{self.executor.process.pid}/fd")
        wait_until(lambda: abs(self.metrics()["gantry_open_fds"][()] - len(list(fds.iterdir()))) <= 2)
        self.executor.remove("m", force=True)
        self.assertNotIn("gantry_container_info", self.metrics())

    def test_health_and_metrics_are_plain_gets_also_on_their_own_port(self):
        status, _, _ = self.get_all("/metrics", "POST")
        self.assertEqual(status, 405)
        self.assertEqual(self.get("/health")[1], "healthy\n")
        status, headers, body = self.get_all("/metrics", "HEAD")
        self.assertEqual((status, body), (200, b""))
        self.assertGreater(int(headers["Content-Length"]), 1000)
        at = f"http://127.0.0.1:{self.port}"
        status, text = curl(at + "/metrics")
        prometheus.parse(text)
        self.assertEqual(status, 200)
        self.assertEqual(curl(at + "/health"), (200, "healthy\n"))
        self.assertEqual(curl("-d", '{"type":"GET_HEALTH"}', "-H", "Content-Type: application/json",
                              at + "/api/v1")[0], 404)

    def test_a_thousand_connections_at_once_hold_up_nobody_else(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        most = min(1024, int(self.metrics()["gantry_max_fds"][()]) // 4)
        self.executor.disconnect()  # an idle one of ours goes first
        connections = [UnixConnection(self.executor.socket) for _ in range(most + 100)]
        self.addCleanup(lambda: [c.close() for c in connections])
        # First all that there are but for a few; then more than there are, of which the last are refused.
        waits, more = connections[:most - 24], connections[most - 24:]
        self.send_waits(waits)
        wait_until(lambda: self.metrics()["gantry_http_requests_in_progress"][()] == len(waits) + 1, 30)
        self.send_waits(more)
        # Others are answered at once, and may launch.
        at = ("--unix-socket", str(self.executor.socket))
        self.assertEqual(curl(*at, "http://gantry/health"), (200, "healthy\n"))
        launch = {"type": "LAUNCH_CONTAINER", "launch_container": {
            "container_id": {"value": "d"}, "gantry_spec": {"rootfs": str(self.root), "args": ["/bin/true"]}}}
        self.assertEqual(curl(*at, "-H", "Content-Type: application/json", "-d", json.dumps(launch),
                              "http://gantry/api/v1"), (200, ""))
        stop = {"type": "KILL_CONTAINER", "kill_container": {"container_id": {"value": "c"}}}
        self.assertEqual(curl(*at, "-H", "Content-Type: application/json", "-d", json.dumps(stop),
                              "http://gantry/api/v1"), (200, ""))
        answers = [self.answer_of(connection) for connection in waits]
        self.assertGreaterEqual(answers.count((200, 9)), len(waits) - 5)  # a few made room
        self.assertLessEqual(set(answers), {(200, 9), None})
        told = [self.answer_of(connection) for connection in more]
        self.assertLessEqual(set(told), {(200, 9), (503, None), None})
        # Told so, or closed: one that has said nothing yet makes room for the next one of its client.
        self.assertGreaterEqual(len(told) - told.count((200, 9)), 90)

    def send_waits(self, connections):
        for connection in connections:
            with contextlib.suppress(OSError):  # closed already
                connection.request("POST", "/api/v1", json.dumps(
                    {"type": "WAIT_CONTAINER", "wait_container": {"container_id": {"value": "c"}}}),
                    {"Content-Type": "application/json"})

    def answer_of(self, connection):
        """(status, exit status); None where it was closed."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            response = connection.getresponse()
            body = response.read()
            return response.status, json.loads(body)["wait_container"]["exit_status"] if response.status == 200 else None
        return None


if __name__ == "__main__":
    own_network()
    main()
