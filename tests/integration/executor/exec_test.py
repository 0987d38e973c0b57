"""Commands run in running containers: nested containers over the API, their streams, their end and their recovery."""
import os
import pathlib
import signal
import time

from gantry import CallFailed, GantryTest, container_id, main, wait_until


def nested(name):
    return container_id(f"c.{name}")


class Nested(GantryTest):
    def setUp(self):
        super().setUp()
        self.executor.launch("c", ["/bin/sh", "-c", "while :; do sleep 1; done"], self.root, env=["A=parent"])

    def launch(self, name, argv, **spec):
        self.executor.exec(f"c.{name}", argv, **spec)

    def wait(self, name):
        return self.executor.call("WAIT_NESTED_CONTAINER", wait_nested_container={
            "container_id": nested(name)})["wait_nested_container"]

    def sh(self, name, script, **spec):
        """Its stdout; the exit status must be 0."""
        self.launch(name, ["/bin/sh", "-c", script], **spec)
        self.assertEqual(self.wait(name)["exit_status"], 0, self.executor.output(f"c.{name}", "stderr"))
        return self.executor.output(f"c.{name}")

    def remove(self, name):
        self.executor.call("REMOVE_NESTED_CONTAINER", remove_nested_container={"container_id": nested(name)})


class Life(Nested):
    def test_mesos_calls(self):
        self.executor.call("LAUNCH_NESTED_CONTAINER", launch_nested_container={
            "container_id": nested("n1"), "command": {"value": "echo nested; exit 7"}})
        self.assertEqual(self.wait("n1")["exit_status"], 7 << 8)
        self.assertEqual(self.executor.output("c.n1"), "nested\n")
        self.remove("n1")
        self.remove("n1")  # idempotent, as Mesos'
        with self.assertRaises(CallFailed) as gone:
            self.wait("n1")
        self.assertEqual(gone.exception.status, 404)

    def test_kill(self):
        self.launch("k", ["/bin/sleep", "1000"])
        self.executor.call("KILL_NESTED_CONTAINER", kill_nested_container={"container_id": nested("k")})
        self.assertEqual(self.wait("k")["exit_status"], signal.SIGKILL)
        self.launch("t", ["/bin/sleep", "1000"])
        self.executor.call("KILL_NESTED_CONTAINER",
                           kill_nested_container={"container_id": nested("t"), "signal": int(signal.SIGTERM)})
        self.assertEqual(self.wait("t")["exit_status"], signal.SIGTERM)
        self.assertEqual(self.executor.states()["c"], "running")

    def test_ends_with_its_parent(self):
        self.launch("k", ["/bin/sleep", "1000"])
        self.executor.signal("c")
        self.assertEqual(self.wait("k")["exit_status"], signal.SIGKILL)
        wait_until(lambda: self.executor.states()["c"] == "exited")
        self.executor.remove("c")
        with self.assertRaises(CallFailed):
            self.wait("k")

    def test_needs_a_running_parent(self):
        for parent, status in (("nobody", 400), ("ended", 409)):
            if parent == "ended":
                self.executor.launch("ended", ["/bin/true"], self.root)
                self.executor.wait("ended")
                wait_until(lambda: self.executor.states()["ended"] == "exited")
            with self.assertRaises(CallFailed) as refused:
                self.executor.exec(f"{parent}.x", ["/bin/true"])
            self.assertEqual(refused.exception.status, status)

    def test_what_is_the_parents_is_refused(self):
        for spec in ({"image": "x"}, {"cap_add": ["SYS_ADMIN"]}, {"mounts": [{"destination": "/x"}]},
                     {"masked_paths": False}):
            with self.assertRaises(CallFailed) as refused:
                self.launch("x", ["/bin/true"], **spec)
            self.assertEqual(refused.exception.status, 501)
            self.assertIn(f"gantry_spec.{next(iter(spec))}: a nested container shares", refused.exception.text)

    def test_an_unknown_command_says_so(self):
        with self.assertRaises(CallFailed) as refused:
            self.launch("x", ["/bin/nothing"])
        self.assertIn("/bin/nothing", refused.exception.text)
        self.assertEqual(self.executor.states(), {"c": "running"})


class Walls(Nested):
    def test_namespaces_cgroup_and_rights_are_the_parents(self):
        script = "for n in cgroup ipc mnt net pid uts; do readlink /proc/{0}/ns/$n; done; " \
                 "grep -E '^(Cap|NoNewPrivs|Seccomp|Groups|Uid|Gid|Umask)' /proc/{0}/status; cat /proc/{0}/limits"
        parent = self.sh("p", script.format(1))
        self.assertEqual(self.sh("n", script.format("self")), parent)
        self.launch("s", ["/bin/sleep", "1000"])
        containers = self.executor.call("GANTRY_LIST", gantry_list={"nested": True})["gantry_list"]["containers"]
        pid = next(c["pid"] for c in containers if c["container_id"]["value"] == "s")
        inside = self.executor.inspect("c")["cgroups"]
        for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
            path = line.split(":", 2)[2]
            self.assertTrue(path.endswith(("/n/s", "/n/s/0")), line)
            self.assertTrue(any(c.endswith(path.split("/n/")[0]) for c in inside), (line, inside))

    def test_environment_user_and_directory(self):
        self.assertEqual(self.sh("e", "echo $A; pwd; id -u", env=["B=1"]), "parent\n/\n0\n")
        self.assertEqual(self.sh("f", "echo $A $B; pwd; id -u; id -G; echo $HOME", env=["A=own", "B=1"], cwd="/tmp",
                                 user="user"), "own 1\n/tmp\n1000\n1000 2000\n/home/user\n")

    def test_a_parents_user_and_groups_hold(self):
        self.executor.launch("u", ["/bin/sleep", "1000"], self.root, user="user", cwd="/tmp")
        for again in ("", "restarted"):
            self.executor.exec(f"u.n{again}", ["/bin/sh", "-c", "id -u; id -G; pwd; touch /tmp/made"])
            self.assertEqual(self.executor.wait(f"u.n{again}")["exit_status"], 0)
            self.assertEqual(self.executor.output(f"u.n{again}"), "1000\n1000 2000\n/tmp\n")
            if not again:
                self.executor.restart()

    def test_a_directory_of_the_hosts_is_out_of_reach(self):
        (self.root / "link").symlink_to("/proc/self/fd/10")
        for number, cwd in enumerate(("/link", "/nowhere", "/proc/self/fd/5")):
            with self.assertRaises(CallFailed):
                self.launch(f"d{number}", ["/bin/true"], cwd=cwd)

    def test_no_descriptor_but_the_three(self):
        self.assertEqual(self.sh("d", "ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ")  # 3: ls' own


class Recovery(Nested):
    def test_lives_through_an_executors_death(self):
        self.launch("n", ["/bin/sh", "-c", "echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; exit 4"])
        wait_until(lambda: self.executor.output("c.n") == "before\n")
        self.executor.restart()
        (self.root / "tmp/go").touch()
        self.assertEqual(self.wait("n")["exit_status"], 4 << 8)
        self.assertEqual(self.executor.output("c.n"), "before\nafter\n")

    def test_an_end_without_an_executor_is_true(self):
        self.launch("n", ["/bin/sh", "-c", "sleep 0.1; exit 5"])
        self.launch("k", ["/bin/sleep", "1000"])
        self.executor.kill()
        time.sleep(0.3)
        self.executor.start()
        self.assertEqual(self.wait("n")["exit_status"], 5 << 8)
        self.executor.signal("c")
        self.assertEqual(self.wait("k")["exit_status"], signal.SIGKILL)

    def test_parent_and_all_in_it_ended_without_an_executor(self):
        self.launch("k", ["/bin/sleep", "1000"])
        pid = self.executor.inspect("c")["container"]["pid"]
        self.executor.kill()
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        started = time.monotonic()
        self.executor.start()
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(self.wait("k")["exit_status"], signal.SIGKILL)
        self.assertEqual(self.executor.wait("c")["exit_status"], signal.SIGKILL)


if __name__ == "__main__":
    main()
