"""Exited containers that nobody removes: they go by number, by age, and where the disk is short of room."""
import os

from gantry import GantryTest, main, wait_until


class Garbage(GantryTest):
    def start(self):
        """Each test starts its own."""

    def exited(self, *names):
        for name in names:
            self.executor.launch(name, ["/bin/sh", "-c", "echo out; echo kept > /root/file"], self.root)
            self.executor.wait(name)

    def sandboxes(self):
        return sorted(os.listdir(self.executor.data / "sandboxes"))

    def test_by_number_the_oldest_first_and_never_what_runs(self):
        self.executor.start("--exited-containers", "3", "--exited-seconds", "10")
        self.executor.launch("runs", ["/bin/sleep", "1000"], self.root)
        self.exited("a", "b", "c", "d", "e")
        wait_until(lambda: self.executor.states() == {"runs": "running", "c": "exited", "d": "exited", "e": "exited"}, 5)
        self.assertEqual(self.sandboxes(), ["c", "d", "e", "runs"])
        self.assertEqual(self.executor.output("e"), "out\n")

    def test_by_age_and_after_a_restart(self):
        self.executor.start("--exited-seconds", "2")
        self.exited("a")
        self.executor.restart("--exited-seconds", "2")
        wait_until(lambda: self.executor.states() == {}, 6)
        self.assertEqual(self.sandboxes(), [])

    def test_by_room_on_the_disk(self):
        self.executor.start("--disk-headroom-percent", "0", "--exited-seconds", "1000")
        self.exited("a", "b")
        # No disk has 99 % of its room left; what ended less than 10 s ago is spared.
        self.executor.restart("--disk-headroom-percent", "99", "--exited-seconds", "60")
        self.assertEqual(self.executor.states(), {"a": "exited", "b": "exited"})
        wait_until(lambda: self.executor.states() == {}, 15)


if __name__ == "__main__":
    main()
