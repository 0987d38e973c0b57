"""What a reboot of the host leaves, and what the next executor makes of it: reboot_test.py before|after.

Each case has two halves. before() starts what shall be running when the guest reboots, with nothing written back to the
disk first; after() runs in the next boot on the same data disk. What the second half must know of the first goes through
remember() and remembered().
"""
import json
import os
import pathlib
import sys
import unittest

from framework import Framework
from gantry import Executor, busybox_root, rootfs_tar, wait_until

DISK = pathlib.Path("/disk")


class RebootTest:
    """A case with an executor whose data is on the disk. Where its runtime directory is, is the subclass' choice."""

    def setUp(self):
        self.top = DISK / type(self).__name__
        self.top.mkdir(exist_ok=True)
        self.executor = Executor(self.top)
        self.executor.cgroup_root = f"/gantry-{type(self).__name__.lower()}"
        self.place()
        self.executor.start()

    def place(self):
        pass

    def remember(self, **values):
        with open(self.top / "remembered.json", "w", encoding="utf-8") as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())

    def remembered(self):
        return json.loads((self.top / "remembered.json").read_text(encoding="utf-8"))

    def test(self):
        if sys.argv[1] == "before":
            self.before()
        else:
            self.after()
            self.assertEqual(self.executor.close(), [])

    def left_of_containers(self):
        return [f"{folder}/{name}" for folder in ("sandboxes", "roots", "work", "volumes") if
                (self.executor.data / folder).exists() for name in os.listdir(self.executor.data / folder)]


class ContainersEndWithTheKernel(RebootTest, unittest.TestCase):
    def before(self):
        root = busybox_root(self.top / "root")
        self.executor.import_tar(rootfs_tar(root), "tools:1")
        for name, more in (("image", {"image": "tools:1"}), ("plain", {"rootfs": str(root)}), ("paused", {"image": "tools:1"}),
                           ("bridged", {"image": "tools:1", "network": {"mode": "BRIDGE"}})):
            self.executor.launch(name, ["/bin/sh", "-c", "echo ran; exec sleep 1000"], name=f"my-{name}", **more)
        self.executor.call("GANTRY_PAUSE", gantry_pause={"container_id": {"value": "paused"}})
        self.executor.launch("ended", ["/bin/sh", "-c", "exit 3"], image="tools:1")
        self.executor.wait("ended")

    def after(self):
        # Those with a name are not forgotten; "ended" has none.
        self.assertEqual(self.executor.states(), dict.fromkeys(("image", "plain", "paused", "bridged"), "exited"))
        for name in self.executor.states():
            answer = self.executor.wait(name)
            self.assertEqual(answer["reason"], "REASON_AGENT_RESTARTED", name)
            self.assertEqual(answer["message"], "the host was restarted while it ran", name)
            self.executor.remove(name)
        self.assertEqual(self.left_of_containers(), [])
        # What was imported is kept, whole; names and addresses are free again.
        answer, out, _ = self.executor.run("image", ["/bin/sh", "-c", "echo again; exit 4"], image="tools:1",
                                           name="my-image", network={"mode": "BRIDGE"})
        self.assertEqual((answer["exit_status"], out), (4 << 8, "again\n"))


class ContainersEndWithTheKernelWhereRunIsATmpfs(ContainersEndWithTheKernel):
    def place(self):
        self.executor.runtime = pathlib.Path("/run/gantry-reboot")
        self.executor.socket = self.executor.runtime / "gantry.sock"


class APolicyRunsItAgain(RebootTest, unittest.TestCase):
    def before(self):
        self.executor.import_tar(rootfs_tar(busybox_root(self.top / "root")), "tools:1")
        for name, policy in (("always", "ALWAYS"), ("stopped", "UNLESS_STOPPED")):
            self.executor.launch(name, ["/bin/sh", "-c", "echo run >> /root/runs; exec sleep 1000"], image="tools:1",
                                 restart={"policy": policy})
        self.executor.stop("stopped", 0)

    def after(self):
        wait_until(lambda: self.executor.states() == {"always": "running", "stopped": "exited"}, 60)
        self.assertEqual(self.executor.inspect("always")["container"]["restarts"], 1)


class TasksAreReportedGone(RebootTest, unittest.TestCase):
    def before(self):
        framework = Framework(self.executor).subscribe()
        offer = framework.offer()
        framework.launch(offer, framework.task("runs", "sleep 1000", offer), framework.task("ends", "exit 3", offer))
        framework.state("runs", "TASK_RUNNING", 100)
        framework.state("ends", "TASK_FAILED", 100)
        # An acknowledgement is answered before it is on the disk.
        wait_until(lambda: len(list((self.executor.data / "registrations/tasks").iterdir())) == 1, 100)
        self.remember(framework=framework.id)

    def after(self):
        framework = Framework(self.executor, {"id": {"value": self.remembered()["framework"]}}).subscribe()
        gone = framework.state("runs", "TASK_GONE", 100)
        self.assertEqual(gone["reason"], "REASON_AGENT_RESTARTED")
        self.assertEqual(framework.states("ends"), [])
        self.assertEqual(self.left_of_containers(), [])
        framework.call("TEARDOWN")
        framework.drop()


if __name__ == "__main__":
    if sys.argv[1:] not in (["before"], ["after"]):
        sys.exit(__doc__)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())
