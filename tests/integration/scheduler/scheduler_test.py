"""The Mesos v1 scheduler API: streams, offers, tasks, updates until acknowledged, also across SIGKILL."""
import base64
import json
import time

from framework import Framework
from gantry import GantryTest, UnixConnection, main


class SchedulerApi(GantryTest):
    def framework(self, **more):
        return Framework(self.executor, **more).subscribe()

    def test_a_command_task_runs_to_its_end(self):
        f = self.framework()
        offer = f.offer()
        self.assertEqual({r["name"] for r in offer["resources"]}, {"cpus", "mem", "disk", "ports"})
        f.launch(offer, f.task("t", "echo out; pwd; echo $MESOS_SANDBOX; exit 0", offer))
        status = f.state("t", "TASK_FINISHED")
        self.assertEqual(f.states("t"), ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"])
        self.assertEqual(status["message"], "Command exited with status 0")
        container = status["container_status"]["container_id"]["value"]
        out = self.executor.output(container).splitlines()
        self.assertEqual(out[0], "out")
        self.assertEqual(out[1], out[2])
        self.assertTrue(out[1].startswith(str(self.executor.data)))

    def test_failures_and_kills_are_named(self):
        f = self.framework()
        offer = f.offer()
        f.launch(offer, f.task("fails", "exit 3", offer), f.task("sleeps", "exec sleep 100", offer),
                 f.task("stubborn", "trap '' TERM; while :; do sleep 0.1; done", offer,
                        kill_policy={"grace_period": {"nanoseconds": 1000000000}}))
        self.assertEqual(f.state("fails", "TASK_FAILED")["message"], "Command exited with status 3")
        for task in ("sleeps", "stubborn"):
            f.state(task, "TASK_RUNNING")
            f.call("KILL", kill={"task_id": {"value": task}})
        f.state("stubborn", "TASK_KILLED")
        f.state("sleeps", "TASK_KILLED")

    def test_bad_offers_and_bad_tasks(self):
        f = self.framework()
        offer = f.offer()
        f.call("ACCEPT", accept={"offer_ids": [{"value": "nonexistent-O1"}], "operations": [
            {"type": "LAUNCH", "launch": {"task_infos": [f.task("lost", "true", offer)]}}]})
        self.assertEqual(f.state("lost", "TASK_DROPPED")["reason"], "REASON_INVALID_OFFERS")
        f.launch(offer, f.task("big", "true", offer, cpus=1e6), f.task("fine", "true", offer),
                 {**f.task("no-command", "x", offer), "command": None},
                 {**f.task("elsewhere", "true", offer), "agent_id": {"value": "other"}})
        for name in ("big", "no-command", "elsewhere"):
            status = f.state(name, "TASK_ERROR")
            self.assertEqual(status["reason"], "REASON_TASK_INVALID")
            self.assertNotIn("uuid", status)
        f.state("fine", "TASK_FINISHED")
        status, text = f.post("NO_SUCH")
        self.assertEqual(status, 400, text)

    def test_stream_ids(self):
        f = self.framework()
        self.assertEqual(f.post("REVIVE", stream_id="wrong")[0], 400)
        body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": f.info}}
        for headers, want in (({"Content-Type": "application/json", "Mesos-Stream-Id": "x"}, 400),
                              ({"Content-Type": "text/plain"}, 415),
                              ({"Content-Type": "application/json", "Accept": "text/html"}, 406)):
            connection = UnixConnection(self.executor.socket)
            connection.request("POST", "/api/v1/scheduler", json.dumps(body).encode(), headers)
            self.assertEqual(connection.getresponse().status, want, headers)
            connection.close()
        connection = UnixConnection(self.executor.socket)
        connection.request("GET", "/api/v1/scheduler")
        response = connection.getresponse()
        self.assertEqual((response.status, response.headers["Allow"]), (405, "POST"))
        connection.close()

    def test_failover_ends_the_old_stream(self):
        f = self.framework()
        second = Framework(self.executor, {"id": {"value": f.id}}).subscribe()
        self.assertEqual(f.wait("ERROR")["error"]["message"], "Framework failed over")
        self.assertEqual(second.id, f.id)
        self.assertEqual(f.post("REVIVE", stream_id=f.stream_id)[0], 400)

    def test_reconcile(self):
        f = self.framework()
        offer = f.offer()
        f.launch(offer, f.task("t", "exec sleep 100", offer))
        f.state("t", "TASK_RUNNING")
        f.events.clear()
        f.call("RECONCILE", reconcile={"tasks": []})
        status = f.state("t", "TASK_RUNNING")
        self.assertEqual((status["reason"], "uuid" in status), ("REASON_RECONCILIATION", False))
        f.call("RECONCILE", reconcile={"tasks": [{"task_id": {"value": "nobody"}}]})
        f.wait("UPDATE", lambda e: e["update"]["status"]["task_id"]["value"] == "nobody")
        f.call("TEARDOWN")
        deadline = time.monotonic() + 10
        while any(s == "running" for s in self.executor.states().values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertNotIn("running", self.executor.states().values())

    def test_updates_are_in_order_and_survive_sigkill_until_acknowledged(self):
        f = self.framework(acknowledge=False)
        offer = f.offer()
        f.launch(offer, f.task("t", "sleep 0.3; exit 4", offer))
        first = f.state("t", "TASK_STARTING")
        time.sleep(1)
        self.assertEqual(f.states("t"), ["TASK_STARTING"])  # the next waits for the acknowledgement
        f.drop()
        self.executor.restart()
        again = Framework(self.executor, {"id": {"value": f.id}}, acknowledge=False).subscribe()
        resent = again.state("t", "TASK_STARTING")
        self.assertEqual(resent["uuid"], first["uuid"])
        again.ack(resent)
        again.ack(again.state("t", "TASK_RUNNING"))
        last = again.state("t", "TASK_FAILED")
        self.assertEqual(last["message"], "Command exited with status 4")
        again.ack(last)
        again.drop()
        self.executor.restart()
        third = Framework(self.executor, {"id": {"value": f.id}}).subscribe()
        time.sleep(0.5)
        self.assertEqual(third.states("t"), [])  # acknowledged, so forgotten

    def test_a_running_task_is_adopted_after_sigkill(self):
        f = self.framework()
        offer = f.offer()
        f.launch(offer, f.task("t", "sleep 2; exit 9", offer))
        f.state("t", "TASK_RUNNING")
        f.drop()
        self.executor.restart()
        again = Framework(self.executor, {"id": {"value": f.id}}).subscribe()
        self.assertEqual(again.state("t", "TASK_FAILED")["message"], "Command exited with status 9")

    def test_uuids_are_of_rfc_4122(self):
        f = self.framework()
        offer = f.offer()
        f.launch(offer, f.task("t", "true", offer))
        uuid = base64.b64decode(f.state("t", "TASK_FINISHED")["uuid"])
        self.assertEqual((len(uuid), uuid[6] >> 4, uuid[8] >> 6), (16, 4, 2))


if __name__ == "__main__":
    main()
