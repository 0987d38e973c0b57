"""SIGKILL of the executor: everything goes on, and the next one knows it all."""
import contextlib
import os
import pathlib
import shutil
import signal
import threading
import time

from gantry import CallFailed, GantryTest, main, many, wait_until


class Recovery(GantryTest):
    def test_a_hundred_running_containers_are_adopted_with_true_exit_codes(self):
        script = "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit $0"
        for i in range(many(100)):
            self.executor.launch(f"c{i}", ["/bin/sh", "-c", script, str(i)], self.root)
        self.executor.kill()
        self.executor.start()
        self.assertEqual(set(self.executor.states().values()), {"running"})
        (self.root / "tmp/go").touch()
        for i in range(many(100)):
            self.assertEqual(self.executor.wait(f"c{i}")["exit_status"], i << 8)

    def test_exits_while_no_executor_runs_are_reported_truly(self):
        for i in range(10):
            self.executor.launch(f"c{i}", ["/bin/sh", "-c", f"sleep 0.3; echo bye{i}; exit {i + 1}"], self.root)
        self.executor.kill()
        time.sleep(0.8)
        self.executor.start()
        for i in range(10):
            self.assertEqual(self.executor.wait(f"c{i}")["exit_status"], (i + 1) << 8)
            self.assertEqual(self.executor.output(f"c{i}"), f"bye{i}\n")

    def test_output_written_meanwhile_is_complete(self):
        self.executor.launch("c", ["/bin/sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"],
                             self.root)
        self.executor.restart()
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        self.assertEqual(self.executor.output("c"), "".join(f"line {i}\n" for i in range(3000)))

    def logger(self, former=None):
        """The pid of one that is not the former."""
        launcher = self.executor.launcher_pid()
        for child in pathlib.Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if pathlib.Path(f"/proc/{child}/comm").read_text() == "gantry-logger\n" and int(child) != former:
                    return int(child)
        return None

    def test_output_of_many_that_begin_while_the_logger_is_down_is_complete(self):
        # One that dies again and again is restarted after a pause.
        self.executor.launch("keeper", ["/bin/sleep", "1000"], self.root)
        logger = None
        for _ in range(2):
            logger = wait_until(lambda former=logger: self.logger(former))
            os.kill(logger, signal.SIGKILL)
        for i in range(5):
            self.executor.launch(f"c{i}", ["/bin/sh", "-c", f"echo {i}"], self.root)
        for i in range(5):
            self.assertEqual(self.executor.wait(f"c{i}")["exit_status"], 0)
            self.assertEqual(self.executor.output(f"c{i}"), f"{i}\n")

    def test_output_is_in_its_file_before_an_end_that_nobody_saw_is_told(self):
        self.executor.launch("c", ["/bin/sh", "-c", "sleep 0.5; echo late"], self.root)
        os.kill(self.logger(), signal.SIGSTOP)
        self.executor.kill()
        time.sleep(1)
        threading.Timer(1, os.kill, (self.logger(), signal.SIGCONT)).start()
        self.executor.start()
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        self.assertEqual(self.executor.output("c"), "late\n")

    def test_a_paused_container_stays_paused(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        self.executor.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "c"}})
        self.executor.restart()
        self.assertEqual(self.executor.states()["c"], "paused")
        self.executor.call("GANTRY_RESUME", gantry_resume={"container_id": {"value": "c"}})
        self.executor.signal("c", signal.SIGKILL)
        self.assertEqual(self.executor.wait("c")["exit_status"], 9)

    def test_exited_records_names_and_outcomes_are_kept(self):
        self.executor.launch("c", ["/bin/sh", "-c", "exit 5"], self.root, name="five", labels={"a": "b"})
        self.executor.wait("c")
        self.executor.restart()
        self.assertEqual(self.executor.wait("c")["exit_status"], 5 << 8)
        container = self.executor.inspect("c")["container"]
        self.assertEqual((container["name"], container["labels"]), ("five", {"a": "b"}))
        with self.assertRaises(CallFailed):
            self.executor.launch("d", ["/bin/true"], self.root, name="five")

    def test_limits_still_hold_after_adoption(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root, resources={"memory_limit_bytes": 32 << 20})
        self.executor.restart()
        stats = self.executor.call("GANTRY_STATS", gantry_stats={})["gantry_stats"]["containers"]
        self.assertEqual(stats[0]["statistics"]["mem_limit_bytes"], 32 << 20)

    def test_a_damaged_record_is_set_aside_and_the_rest_goes_on(self):
        for name in ("good", "bad"):
            self.executor.launch(name, ["/bin/sleep", "1000"], self.root)
            # So that "bad" is one: only its record says which cgroup it is in.
            wait_until(lambda: self.executor.metric("containerizer/prepared_children") > 0, 30)
        self.executor.kill()
        record = self.executor.runtime / "containers/bad/record"
        data = bytearray(record.read_bytes())
        data[len(data) // 2] ^= 1
        record.write_bytes(data)
        self.executor.start()
        self.assertEqual(self.executor.states(), {"good": "running"})
        damaged = list((self.executor.runtime / "containers").glob("bad.damaged-*"))
        self.assertEqual(len(damaged), 1)
        for path in damaged:
            shutil.rmtree(path)

    def test_two_executors_do_not_serve_one_directory(self):
        second = type(self.executor)(self.top)
        second.cgroup_root = self.executor.cgroup_root
        second.start(wait=False)
        self.assertNotEqual(second.process.wait(20), 0)
        self.assertIn("already serves", self.executor.log_tail())
        self.assertTrue(self.executor.call("GET_HEALTH")["get_health"]["healthy"])

    def test_another_data_directory_is_refused_while_containers_run(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        self.executor.kill()
        ours = self.executor.data
        self.executor.data = self.top / "other-data"
        self.executor.start(wait=False)
        self.assertEqual(self.executor.wait_dead(), 1)
        self.assertIn(f"have their data in {ours}: give --data-dir {ours}", self.executor.log_tail())
        self.executor.data = ours
        self.executor.start()
        self.assertEqual(self.executor.states(), {"c": "running"})

    def test_another_runtime_directory_needs_data_and_cgroups_of_its_own(self):
        self.executor.launch("c", ["/bin/sleep", "1000"], self.root)
        for killed in (False, True):
            if killed:
                self.executor.kill()
            for shared in ("data", "cgroup_root"):
                second = type(self.executor)(self.top / "second")
                second.top.mkdir(exist_ok=True)
                second.cgroup_root += "-second"
                setattr(second, shared, getattr(self.executor, shared))
                second.start(wait=False)
                self.assertEqual(second.process.wait(20), 1)
                self.assertIn(f"belongs to the executor of {self.executor.runtime}", second.log_tail())
                self.assertFalse(second.runtime.exists())
                shutil.rmtree(second.top)
        self.executor.start()
        self.assertEqual(self.executor.states(), {"c": "running"})

    def test_killed_again_and_again(self):
        self.executor.launch("c", ["/bin/sh", "-c", "sleep 2; exit 42"], self.root)
        for _ in range(5):
            self.executor.restart()
        self.assertEqual(self.executor.wait("c")["exit_status"], 42 << 8)


if __name__ == "__main__":
    main()
