"""Bad input gets an error that names the field, and never a crash, a leak or a half-made container."""
import os
import pathlib
import resource
import socket

from gantry import GantryTest, main


class BadInput(GantryTest):
    def refused(self, spec, *words, command=("/bin/true",), status=(400,), name="c", rootfs=True):
        spec = dict(spec)
        if command is not None:
            spec.setdefault("args", list(command))
        if rootfs:
            spec.setdefault("rootfs", str(self.root))
        code, _, data = self.executor.post({"type": "LAUNCH_CONTAINER", "launch_container": {
            "container_id": {"value": name}, "gantry_spec": spec}})
        text = data.decode(errors="replace")
        self.assertIn(code, status, text[:300])
        for word in words:
            self.assertIn(word, text[:2000])
        self.assertEqual(self.executor.list(), [], text[:300])

    def test_nobody_writes_lines_of_his_own_into_answers_and_logs(self):
        call = self.executor.call
        call("SET_LOGGING_LEVEL", set_logging_level={"level": 3, "duration": {"nanoseconds": 60 * 10 ** 9}})
        forged = "x\nE1128 forged\r\x1b[2J\x7f"
        launch = {"container_id": {"value": "c"}, "gantry_spec": {"rootfs": str(self.root), "args": ["/bin/true"]}}
        spec = lambda **more: dict(launch, gantry_spec=dict(launch["gantry_spec"], **more))
        for body in ({"type": forged}, {"type": "LAUNCH_CONTAINER", forged: 1},
                     {"type": "LAUNCH_CONTAINER", "launch_container": dict(launch, container_id={"value": forged})},
                     {"type": "LAUNCH_CONTAINER", "launch_container": spec(cwd=forged)},
                     {"type": "LAUNCH_CONTAINER", "launch_container": spec(name=forged)},
                     {"type": "LAUNCH_CONTAINER", "launch_container": spec(user=forged)},
                     {"type": "GANTRY_INSPECT", "gantry_inspect": {"container_id": {"value": forged}}},
                     {"type": "GANTRY_INSPECT_IMAGE", "gantry_inspect_image": {"reference": forged}},
                     {"type": "READ_FILE", "read_file": {"path": "/containers/" + forged, "offset": 0}}):
            status, _, text = self.executor.post(body)
            self.assertIn(status // 100, (4, 5), body)
            self.assertFalse(set(text) & set(b"\n\r\x1b\x7f"), (body, text))
        self.assertNotIn("\nE1128 forged", self.executor.log.read_text())
        self.assertEqual(self.executor.list(), [])

    def test_a_start_that_fails_late_ends_by_itself(self):
        self.executor.kill()
        self.executor.start("--listen-insecure", "127.0.0.1:1x", wait=False)
        self.assertEqual(self.executor.wait_dead(), 1)
        self.assertIn("expected ADDRESS:PORT", self.executor.log_tail())
        self.executor.start()

    def fail_to_start(self):
        """One start that ends late: its port is taken."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.executor.start("--listen-insecure", "127.0.0.1:%d" % taken.getsockname()[1], wait=False)
            self.assertEqual(self.executor.wait_dead(), 1)
        self.assertIn("--listen-insecure", self.executor.log_tail())

    def test_a_start_that_fails_late_leaves_no_launcher_of_its_own(self):
        self.executor.close()
        self.fail_to_start()
        self.assertEqual(self.executor.check_leaks(), [])
        self.assertFalse(self.executor.runtime.exists())

    def test_a_start_that_fails_late_leaves_containers_alone(self):
        self.executor.launch("lives", ["/bin/sleep", "1000"], self.root)
        self.executor.launch("ends", ["/bin/sh", "-c", "echo end; exit 5"], self.root)
        self.executor.kill()
        self.fail_to_start()
        self.executor.start()
        self.assertEqual(self.executor.states()["lives"], "running")
        self.assertEqual(self.executor.wait("ends")["exit_status"], 5 << 8)
        self.assertEqual(self.executor.output("ends"), "end\n")

    def test_too_few_open_files_are_refused(self):
        self.executor.close()
        for limit in (20, 40, 64, 511):
            self.executor.start(wait=False, preexec_fn=lambda most=limit: resource.setrlimit(
                resource.RLIMIT_NOFILE, (most, most)))
            self.assertEqual(self.executor.wait_dead(), 1)
            self.assertIn(f"the hard limit of open files is {limit}; at least 512 are needed", self.executor.log_tail())
            self.assertFalse(self.executor.runtime.exists())
        self.executor.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)))
        answer, out, _ = self.sh("fine", "echo fine")
        self.assertEqual((answer["exit_status"], out), (0, "fine\n"))

    def test_malformed_bodies(self):
        for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100000, b'{"type": 5}', b'{"type": "NO_SUCH"}',
                     b'{"type": "LAUNCH_CONTAINER"}', b'{"type": "WAIT_CONTAINER", "wait_container": {}}'):
            status, _, data = self.executor.post(body)
            self.assertEqual(status, 400, (body[:40], data[:200]))
            self.assertTrue(data)
        for body in (b"\xff" * 10, b"\x08\x16", b"\x0a" + b"\xff" * 9 + b"\x01"):
            self.assertEqual(self.executor.post(body, "application/x-protobuf")[0], 400)
        self.assertEqual(self.executor.post(b"x", "text/plain")[0], 415)

    def test_ids(self):
        for name in ("", ".", "..", "a.b", "a/b", "../x", "a\\b", "a\nb", "x" * 243, "x" * (1 << 20)):
            self.refused({}, "container_id", name=name)

    def test_commands(self):
        self.refused({}, "command", command=None)
        self.refused({"args": ["/no/such/program"]}, "/no/such/program")
        self.refused({"args": ["/etc/passwd"]}, "/etc/passwd")
        self.refused({"args": ["x" * (1 << 20)]})
        self.refused({"cwd": "relative"}, "cwd")
        self.refused({"env": ["NOEQUALS"]}, "env")
        self.refused({"user": "nobody-like-this"}, "user")
        for user in ("-1", "4294967295", "4294967296", "99999999999999999999", " 0"):
            self.refused({"user": user}, "user")

    def test_limits(self):
        for resources, word in (({"memory_limit_bytes": 1}, "memory"), ({"cpus": -1}, "cpu"),
                                ({"cpus": 1e9}, "cpu"), ({"cpuset_cpus": "0-999"}, "cpuset"),
                                ({"cpuset_cpus": "x"}, "cpuset"), ({"pids_limit": -7}, "pids"),
                                ({"cpu_shares": 1}, "cpu_shares"), ({"blkio_weight": 5000}, "blkio")):
            self.refused({"resources": resources}, word)

    def test_roots(self):
        self.refused({"rootfs": "/no/such/dir"}, "/no/such/dir")
        self.refused({"rootfs": "relative"}, "rootfs")
        self.refused({"rootfs": "/etc/passwd"}, "/etc/passwd")
        self.refused({"image": "no-such-image"}, "no-such-image", rootfs=False, status=(400, 404))

    def test_mounts(self):
        for mount in ({"source": "relative", "destination": "/x"}, {"source": "/tmp", "destination": "x"},
                      {"source": "/tmp", "destination": "/proc"}, {"source": "/tmp", "destination": "/proc/self"},
                      {"source": "/tmp", "destination": "/../../x"}, {"source": "/tmp", "destination": "/"}):
            self.refused({"mounts": [mount]}, "mounts")
        self.refused({"mounts": [{"source": "/no/such/dir", "destination": "/x"}]}, "/no/such/dir")

    def test_sysctls_and_capabilities(self):
        self.refused({"sysctls": {"kernel.core_pattern": "|/x"}}, "sysctl")
        self.refused({"sysctls": {"net.ipv4.ip_forward": "1\n1"}}, "sysctl")
        self.refused({"cap_add": ["CAP_EVERYTHING"]}, "cap_add")
        self.refused({"hostname": "a\nb"}, "hostname")
        self.refused({"seccomp": {"mode": "PROFILE", "profile_json": ""}}, "seccomp")

    def test_hostile_roots_touch_nothing_outside(self):
        canary = self.top / "canary"
        canary.mkdir()
        before = sorted(os.listdir(canary))
        for name in ("dev", "proc", "sys", "etc"):
            directory = self.root / name
            saved = self.root / f"{name}.saved"
            directory.rename(saved)
            directory.symlink_to(os.path.relpath(canary, self.root / "x"))
            status, _, data = self.executor.post({"type": "LAUNCH_CONTAINER", "launch_container": {
                "container_id": {"value": f"h-{name}"},
                "gantry_spec": {"args": ["/bin/true"], "rootfs": str(self.root)}}})
            self.assertIn(status, (200, 400), data[:200])
            if status == 200:
                self.executor.wait(f"h-{name}")
                self.executor.remove(f"h-{name}")
            self.assertEqual(sorted(os.listdir(canary)), before, name)
            directory.unlink()
            saved.rename(directory)
        self.assertEqual(self.executor.list(), [])

    def test_the_executor_still_serves_and_runs(self):
        pathlib.Path(self.root / "bin/script").write_text("no interpreter line")
        self.refused({"args": ["/bin/script"]}, "/bin/script")
        answer, out, _ = self.sh("fine", "echo fine")
        self.assertEqual((answer["exit_status"], out), (0, "fine\n"))


if __name__ == "__main__":
    main()
