"""Containers below a cgroup that they share: limits that are set there hold for all of them together."""
import contextlib
import pathlib
import re
import signal
import subprocess
import time

from gantry import GantryTest, leakcheck, main, wait_until

HOLD = "dd if=/dev/zero bs=40M count=1 2>/dev/null | sleep 1000; echo ended"


class CgroupParentTest(GantryTest):
    def cgroups(self, name):
        """Where a cgroup of that name below ROOT/parents is, in each hierarchy."""
        return [pathlib.Path(f"{mount}{self.executor.cgroup_root}/parents/{name}") for mount in leakcheck().cgroup_mounts()]

    def there(self, name):
        return [str(path) for path in self.cgroups(name) if path.exists()]

    def wait_gone(self, name):
        # Who waits for a container hears of its end a moment before its cgroups go.
        wait_until(lambda: not self.there(name))

    def make(self, name):
        """As an operator does, beforehand."""
        for path in self.cgroups(name):
            path.mkdir()

    def finish(self):
        for container in self.executor.list():
            self.executor.remove(container["container_id"]["value"], force=True)
        for path in self.cgroups("web"):
            if path.exists():
                path.rmdir()
        super().finish()

    def set_limit(self, name, value, *files):
        """In the first of these files that there is, whichever hierarchy has it."""
        for path in (cgroup / file for file in files for cgroup in self.cgroups(name)):
            if path.exists():
                path.write_text(str(value))
                return path
        self.fail(f"none of {files}")
        return None

    def launch(self, name, script="sleep 1000", parent="web", **spec):
        self.executor.launch(name, ["/bin/sh", "-c", script], self.root, cgroup_parent=parent, **spec)


class Limits(CgroupParentTest):
    def test_a_limit_of_processes_holds_for_two_together(self):
        self.make("web")
        self.set_limit("web", 12, "pids.max")
        script = "for i in 1 2 3 4 5 6; do sleep 1000 & done; echo all; wait"
        self.launch("a", script)
        wait_until(lambda: self.executor.output("a") == "all\n")
        self.launch("b", script)
        self.assertNotEqual(self.executor.wait("b")["exit_status"], 0)
        self.assertIn("fork", self.executor.output("b", "stderr"))
        self.assertEqual(self.executor.states()["a"], "running")
        # Elsewhere there is no such limit.
        self.launch("d", script, parent="other")
        wait_until(lambda: self.executor.output("d") == "all\n")

    def test_a_limit_of_memory_holds_for_two_together(self):
        self.make("web")
        self.set_limit("web", 64 << 20, "memory.limit_in_bytes", "memory.max")
        for swap, value in (("memory.memsw.limit_in_bytes", 64 << 20), ("memory.swap.max", 0)):
            with contextlib.suppress(AssertionError, OSError):
                self.set_limit("web", value, swap)
        resources = {"memory_limit_bytes": 60 << 20}
        self.launch("a", HOLD, resources=resources)
        wait_until(lambda: self.executor.statistics("a")["mem_total_bytes"] > 40 << 20)
        self.launch("b", HOLD, resources=resources)
        ended = wait_until(lambda: [name for name, state in self.executor.states().items() if state == "exited"])[0]
        message = self.executor.wait(ended)["message"]
        self.assertIn("memory limit of 60 MiB or of cgroup parent web reached", message)

    def test_who_has_no_limit_of_its_own_is_told_whose_it_was(self):
        self.make("web")
        self.set_limit("web", 64 << 20, "memory.limit_in_bytes", "memory.max")
        fill = "while [ ! -e /tmp/go ]; do usleep 20000; done; %s dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1000"
        for first in ("exec", ""):  # the container's first process, and another one
            with self.subTest(first=first):
                self.launch("a", fill % first)
                self.executor.restart()
                self.launch("b", fill % first)
                self.launch("other", "sleep 1000")
                (self.root / "tmp/go").touch()
                for name in ("a", "b"):
                    answer = self.executor.wait(name)
                    self.assertEqual((answer["exit_status"], answer["message"]), (
                        signal.SIGKILL, "memory limit of cgroup parent web reached: the OOM killer ended a process"))
                    self.executor.remove(name)
                self.assertEqual(self.executor.states(), {"other": "running"})
                self.executor.remove("other", force=True)
                (self.root / "tmp/go").unlink()

    def test_a_new_executor_finds_them_and_what_is_left_of_others(self):
        self.launch("kept", "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 3", parent="web/front")
        self.executor.kill()
        stray = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(stray.kill)
        for path in self.cgroups("web/@stray"):
            path.mkdir()
            (path / "cgroup.procs").write_text(str(stray.pid))
        for path in self.cgroups("half"):
            path.mkdir(mode=0o1755)
            path.chmod(0o1755)
        self.executor.start()
        self.assertEqual(stray.wait(5), -signal.SIGKILL)
        self.assertEqual(self.there("web/@stray") + self.there("half"), [])
        self.assertEqual(len(self.there("web/front/@kept")), len(leakcheck().cgroup_mounts()))
        self.executor.exec("kept.n", ["/bin/touch", "/tmp/go"])
        self.assertEqual(self.executor.wait("kept")["exit_status"], 3 << 8)
        self.wait_gone("web")


class Unified(CgroupParentTest):
    """Of cgroup2 alone, hybrid hosts included."""

    def test_a_parent_with_processes_of_its_own(self):
        unified = [path for path in self.cgroups("web") if (path.parent / "cgroup.controllers").exists()]
        if not unified:
            self.skipTest("needs cgroup2")
        self.make("web")
        with subprocess.Popen(["sleep", "1000"]) as sleeper:
            try:
                (unified[0] / "cgroup.procs").write_text(str(sleeper.pid))
                self.refused(lambda: self.launch("c"), "cgroup_parent", "has processes of its own", f"move pid {sleeper.pid}")
            finally:
                sleeper.kill()
        self.assertEqual(self.executor.list(), [])
        self.launch("c")


class Life(CgroupParentTest):
    def test_it_is_in_the_parent_in_every_hierarchy(self):
        self.launch("c", parent="web/front-1.x")
        found = self.executor.inspect("c")
        self.assertEqual(sorted(found["cgroups"]), sorted(self.there("web/front-1.x/@c")))
        self.assertEqual(len(found["cgroups"]), len(leakcheck().cgroup_mounts()))
        said = pathlib.Path(f"/proc/{found['container']['pid']}/cgroup").read_text()
        lines = re.findall(f":{self.executor.cgroup_root}/parents/web/front-1.x/@c(?:/0)?\n", said)
        self.assertEqual(len(lines), len(found["cgroups"]), said)

    def test_a_parent_that_was_made_for_them_goes_with_the_last(self):
        self.launch("a", parent="web/front")
        self.launch("b")
        self.executor.remove("a", force=True)
        self.assertEqual(self.there("web/front"), [])
        self.assertEqual(len(self.there("web/@b")), len(self.there("web")))
        self.executor.remove("b", force=True)
        self.assertEqual(self.there("web"), [])

    def test_a_parent_that_an_operator_made_stays_with_its_limits(self):
        self.make("web")
        limit = self.set_limit("web", 100, "pids.max")
        self.launch("a", parent="web/front")
        self.executor.remove("a", force=True)
        self.assertEqual(self.there("web/front"), [])
        self.executor.restart()
        self.assertEqual(limit.read_text(), "100\n")
        self.assertEqual(self.executor.leaks(), [])

    def test_everything_that_is_done_to_a_container_finds_it(self):
        self.launch("c", "i=0; while :; do i=$((i+1)); echo $i; usleep 10000; done")
        self.executor.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "c"}})
        time.sleep(0.1)
        said = self.executor.output("c")
        time.sleep(0.1)
        self.assertEqual(self.executor.output("c"), said)
        self.executor.call("GANTRY_RESUME", gantry_resume={"container_id": {"value": "c"}})
        wait_until(lambda: self.executor.output("c") != said)
        self.executor.call("GANTRY_UPDATE", gantry_update={"container_id": {"value": "c"}, "resources": {"pids_limit": 40}})
        self.assertEqual(self.executor.statistics("c")["gantry_pids_limit"], 40)
        self.executor.exec("c.nested", ["/bin/sh", "-c", "sleep 1000"])
        nested = self.executor.call("GANTRY_LIST", gantry_list={"nested": True})["gantry_list"]["containers"]
        pid = next(c["pid"] for c in nested if "parent" in c["container_id"])
        self.assertIn("/parents/web/@c/n/nested", pathlib.Path(f"/proc/{pid}/cgroup").read_text())
        self.executor.signal("c.nested", signal.SIGKILL)
        self.executor.wait("c.nested")
        self.executor.remove("c.nested")
        self.executor.stop("c", 0)
        self.assertEqual(self.executor.wait("c")["exit_status"], 9)
        self.wait_gone("web")

    def test_one_that_restarts_comes_back_into_it(self):
        self.launch("c", "sleep 0.5; exit 1", restart={"policy": "ON_FAILURE", "maximum_retries": 2})
        wait_until(lambda: self.executor.inspect("c")["container"].get("restarts") == 1
                   and self.there("web/@c"))
        wait_until(lambda: self.executor.inspect("c")["container"]["state"] == "exited"
                   and self.executor.inspect("c")["container"].get("restarts") == 2)
        self.wait_gone("web")

    def test_one_that_was_created_starts_in_it(self):
        self.executor.create("c", ["/bin/sleep", "1000"], self.root, cgroup_parent="web")
        self.assertEqual(self.there("web"), [])
        self.executor.restart()
        self.executor.call("GANTRY_START", gantry_start={"container_id": {"value": "c"}})
        self.assertTrue(self.there("web/@c"))

    def test_a_name_of_a_container_is_none_of_a_parent(self):
        self.launch("front", parent="web")
        self.launch("other", parent="web/front")
        self.assertEqual(set(self.executor.states().values()), {"running"})

    def test_what_is_no_name_is_refused(self):
        for parent in ("", "/web", "web/", "a//b", ".", "..", "a/../b", "a b", "@a", "%", "ä", "x" * 65, "a/" * 8 + "a"):
            error = self.refused(lambda p=parent: self.launch("c", parent=p), "cgroup_parent: must be a path like web")
            self.assertEqual(error.status, 400)
        self.refused(lambda: self.launch("c", parent="cgroup.procs"), "is a file of the kernel's")
        self.launch("c", parent="x" * 64 + "/a" * 7)
        self.refused(lambda: self.executor.exec("c.n", ["/bin/true"], cgroup_parent="web"), "cgroup_parent",
                     "a nested container shares its parent's")
        self.assertEqual(list(self.executor.states()), ["c"])
        self.assertTrue(re.search("parents/x+/a", self.executor.inspect("c")["cgroups"][0]))


if __name__ == "__main__":
    main()
