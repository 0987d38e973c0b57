"""Checkpoint and restore of a whole container on this host, with the real CRIU: it goes on where it stopped."""
import time

from gantry import CallFailed, GantryTest, main


class Checkpoint(GantryTest):
    def test_a_counter_goes_on_where_it_stopped(self):
        script = "i=0; while :; do echo $i; echo $i > /tmp/file; i=$((i+1)); sleep 0.05; done"
        self.executor.launch("c", ["/bin/sh", "-c", script], self.root, name="counter",
                             resources={"memory_limit_bytes": 64 << 20})
        time.sleep(0.5)
        made = self.executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": "c"}, "name": "one"})
        self.assertEqual(made["gantry_checkpoint"]["checkpoint"], "one")
        self.executor.wait("c")
        deadline = time.monotonic() + 5
        while self.executor.states()["c"] != "exited" and time.monotonic() < deadline:
            time.sleep(0.02)
        before = self.executor.output("c").split()
        self.executor.call("GANTRY_RESTORE", gantry_restore={"checkpoint": "one"})
        self.assertEqual(self.executor.states()["c"], "running")
        time.sleep(0.5)
        stats = self.executor.call("GANTRY_STATS", gantry_stats={})["gantry_stats"]["containers"]
        self.assertEqual(stats[0]["statistics"]["mem_limit_bytes"], 64 << 20)
        self.executor.signal("c")
        self.assertEqual(self.executor.wait("c")["exit_status"], 9)
        after = self.executor.output("c").split()
        self.assertGreater(len(after), len(before))
        self.assertEqual(after, [str(i) for i in range(len(after))])

    def test_errors_leave_it_running(self):
        self.executor.launch("c", ["/bin/sleep", "100"], self.root, network={"mode": "HOST"})
        for name in ("../x", "ok"):
            with self.assertRaises(CallFailed):
                self.executor.call("GANTRY_CHECKPOINT",
                                   gantry_checkpoint={"container_id": {"value": "c"}, "name": name})
        with self.assertRaises(CallFailed):
            self.executor.call("GANTRY_RESTORE", gantry_restore={"checkpoint": "c"})
        self.assertEqual(self.executor.states()["c"], "running")


if __name__ == "__main__":
    main()
