"""Health checks: what they say, what becomes of an unhealthy container, what a dead executor changes: nothing."""
import hashlib
import io
import json
import tarfile
import time

from gantry import GantryTest, main, rootfs_tar, wait_until

FAST = {"interval_ms": 40, "timeout_ms": 5000}
SLEEP = ["/bin/sleep", "1000"]
CHECK = "gantry-health"


def docker_archive(root_tar, config):
    """What `docker save` writes of an image with this root and configuration."""
    digest = hashlib.sha256(root_tar).hexdigest()
    image = {"architecture": "amd64", "os": "linux", "config": config,
             "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
    manifest = [{"Config": f"{digest}.json", "RepoTags": ["checked:1"], "Layers": [f"{digest}.tar"]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (("manifest.json", json.dumps(manifest).encode()), (f"{digest}.json", json.dumps(image).encode()),
                           (f"{digest}.tar", root_tar)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


class Health(GantryTest):
    def launch(self, name, check, argv=None, **spec):
        self.executor.launch(name, argv or SLEEP, self.root, health={**FAST, **check}, **spec)

    def health(self, name):
        return self.executor.inspect(name)["container"].get("health", {})

    def becomes(self, name, status):
        return wait_until(lambda: self.health(name).get("status") == status and self.health(name))

    def restarts(self, name):
        return self.executor.inspect(name)["container"].get("restarts", 0)

    def test_them(self):
        """One executor for all: its start costs more than they do."""
        for case in (self.an_images_own_check, self.what_they_say, self.the_reason_of_a_kill,
                     self.healthy_again_and_not_checked_while_paused, self.a_service_that_hangs,
                     self.the_next_executor_goes_on):
            with self.subTest(case.__name__):
                case()
            for name in self.executor.states():
                self.executor.remove(name, force=True)

    def what_they_say(self):
        self.launch("fine", {"shell": "echo well; echo too >&2"})
        self.launch("ill", {"args": ["/bin/sh", "-c", "echo no; exit 3"], "retries": 2})
        self.launch("slow", {"shell": "echo begun; sleep 1000", "timeout_ms": 100, "retries": 1})
        self.launch("absent", {"args": ["/bin/nothing"], "retries": 1})
        self.launch("loud", {"shell": "yes | head -c 300000; exit 1", "retries": 1})
        self.launch("young", {"shell": "exit 1", "start_period_ms": 600000, "start_interval_ms": 20, "retries": 1})
        self.assertEqual(self.becomes("fine", "healthy")["log"][0]["output"], "well\ntoo\n")
        ill = self.becomes("ill", "unhealthy")
        self.assertGreaterEqual(ill["failing_streak"], 2)
        self.assertEqual((ill["log"][-1]["exit_code"], ill["log"][-1]["output"]), (3, "no\n"))
        slow = self.becomes("slow", "unhealthy")["log"][0]
        self.assertEqual((slow["exit_code"], slow["output"]), (-1, "it took longer than 100 ms and was killed: begun\n"))
        absent = self.becomes("absent", "unhealthy")["log"][0]
        self.assertEqual(absent["exit_code"], -1)
        self.assertIn("/bin/nothing", absent["output"])
        self.assertLessEqual(len(self.becomes("loud", "unhealthy")["log"][0]["output"]), 4096)
        wait_until(lambda: len(self.health("young").get("log", [])) == 5)
        young = self.health("young")
        self.assertEqual((young["status"], young["failing_streak"]), ("starting", 0))
        listed = {c["container_id"]["value"]: c["health"] for c in self.executor.list()}
        self.assertEqual({n: h["status"] for n, h in listed.items()},
                         {"fine": "healthy", "ill": "unhealthy", "slow": "unhealthy", "absent": "unhealthy",
                          "loud": "unhealthy", "young": "starting"})
        self.assertNotIn("log", listed["ill"])
        # One at a time, and nothing is left of those that have ended.
        nested = [name for name in self.executor.states(nested=True) if "." in name]
        self.assertLessEqual({name.split(".")[1] for name in nested}, {CHECK})
        self.assertEqual(len(nested), len(set(nested)))

    def healthy_again_and_not_checked_while_paused(self):
        self.launch("c", {"shell": "echo x >>/tmp/count; test -e /tmp/ok", "retries": 1})
        self.becomes("c", "unhealthy")
        (self.root / "tmp/ok").touch()
        self.assertEqual(self.becomes("c", "healthy")["failing_streak"], 0)
        self.executor.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "c"}})
        count = (self.root / "tmp/count").stat().st_size
        time.sleep(0.3)
        # One that was under way when it was frozen had not to begin.
        self.assertLessEqual((self.root / "tmp/count").stat().st_size - count, 2)
        (self.root / "tmp/ok").unlink()
        self.executor.call("GANTRY_RESUME", gantry_resume={"container_id": {"value": "c"}})
        self.becomes("c", "unhealthy")

    def a_service_that_hangs(self):
        hang = "echo run; touch /tmp/{0}; [ -e /tmp/{0}.2 ] || {{ touch /tmp/{0}.2; sleep 0.2; rm /tmp/{0}; }}; sleep 1000"
        for name, action, policy in ("kill", "KILL", "ALWAYS"), ("restart", "RESTART", "NO"), ("stop", "STOP", "ALWAYS"):
            self.launch(name, {"shell": f"test -e /tmp/{name}", "retries": 2, "on_failure": action},
                        ["/bin/sh", "-c", hang.format(name)], restart={"policy": policy}, stop_timeout_seconds=0)
        for name in ("kill", "restart"):
            wait_until(lambda n=name: self.restarts(n) == 1)
            self.becomes(name, "healthy")
            self.assertEqual(self.executor.output(name), "run\nrun\n")
        wait_until(lambda: self.executor.states()["stop"] == "exited")
        self.executor.restart()
        self.assertEqual((self.executor.states()["stop"], self.restarts("stop")), ("exited", 0))
        self.assertEqual({n: self.restarts(n) for n in ("kill", "restart")}, {"kill": 1, "restart": 1})

    def the_reason_of_a_kill(self):
        self.launch("c", {"shell": "exit 1", "retries": 3, "on_failure": "KILL"})
        self.assertEqual(self.executor.wait("c")["exit_status"], 9)
        self.assertEqual(self.executor.inspect("c")["container"]["exit"]["reason"],
                         "it was unhealthy: 3 checks in a row had failed")

    def the_next_executor_goes_on(self):
        self.launch("ill", {"shell": "exit 1", "retries": 1, "interval_ms": 400})
        self.launch("slow", {"shell": "echo x >>/tmp/begun; sleep 1000", "timeout_ms": 100000})
        self.becomes("ill", "unhealthy")
        wait_until(lambda: (self.root / "tmp/begun").exists())
        self.executor.restart()
        self.assertEqual(self.health("ill")["status"], "unhealthy")
        self.assertGreaterEqual(self.health("ill")["failing_streak"], 1)
        # What was under way has ended and says nothing; another one begins.
        wait_until(lambda: (self.root / "tmp/begun").stat().st_size == 4)
        self.assertEqual(self.health("slow"), {"status": "starting", "failing_streak": 0})
        streak = self.health("ill")["failing_streak"]
        wait_until(lambda: self.health("ill")["failing_streak"] > streak)

    def an_images_own_check(self):
        check = {"Test": ["CMD-SHELL", "test -e /etc/passwd"], "Interval": 40_000_000, "Retries": 7}
        tar = docker_archive(rootfs_tar(self.root), {"Cmd": SLEEP, "Healthcheck": check})
        self.executor.import_tar(tar, "checked:1")
        self.executor.launch("as-is", [], image="checked:1")
        self.executor.launch("off", [], image="checked:1", health={"off": True})
        self.executor.launch("other", [], image="checked:1", health={"shell": "exit 1", "retries": 1})
        self.becomes("as-is", "healthy")
        self.becomes("other", "unhealthy")
        self.executor.restart()
        self.assertEqual(self.health("as-is")["status"], "healthy")
        self.assertEqual(self.health("off"), {})
        count = len(self.health("as-is")["log"])
        wait_until(lambda: count == 5 or len(self.health("as-is")["log"]) > count)
        self.executor.import_tar(docker_archive(rootfs_tar(self.root), {"Cmd": SLEEP, "Healthcheck": {"Test": ["NONE"]}}),
                                 "unchecked:1")
        self.executor.launch("none", [], image="unchecked:1")
        self.assertEqual(self.health("none"), {})
        self.refused(lambda: self.executor.launch("c", [], image="unchecked:1", health={"retries": 1}),
                     "neither the request nor the image")


if __name__ == "__main__":
    main()
