"""The host's time of day jumps: what is to happen after a while happens after that while."""
import os
import struct
import time

from gantry import GantryTest, main, patience, wait_until

DAY = 86400


class Clock(GantryTest):
    def start(self):
        self.jump = self.top / "jump"
        self.set_clock(0)
        self.executor.start("--exited-seconds", "20", env={
            **os.environ, "LD_PRELOAD": os.environ["GANTRY_CLOCK_JUMP"], "GANTRY_CLOCK_OFFSET": str(self.jump)})

    def set_clock(self, seconds):
        with open(self.jump, "r+b" if self.jump.exists() else "wb") as file:
            file.write(struct.pack("<q", seconds))

    def created(self, name):
        return self.executor.inspect(name)["container"]["created"]["nanoseconds"] / 1e9

    def test_a_day_forward_and_back(self):
        for jump in (DAY, -DAY):
            self.set_clock(0)
            began = time.monotonic()
            self.executor.run("warm", ["/bin/true"], self.root)
            self.executor.launch("exited", ["/bin/true"], self.root)
            self.executor.wait("exited")
            self.executor.launch("stubborn", ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"],
                                 self.root)
            wait_until(lambda: self.executor.output("stubborn"))
            self.set_clock(jump)
            asked = time.monotonic()
            self.executor.stop("stubborn", 2)
            waited = time.monotonic() - asked
            self.assertTrue(2 <= waited < 2 + patience(5), waited)
            # Two of its looks for what is old: one every 2 s.
            time.sleep(max(0.0, asked + 4.5 - time.monotonic()))
            if time.monotonic() - began < 15:
                self.assertEqual(self.executor.states(), {"exited": "exited", "stubborn": "exited"})
            self.executor.launch("after", ["/bin/sh", "-c", "exit 4"], self.root)
            self.assertEqual(self.executor.wait("after")["exit_status"], 4 << 8)
            self.assertAlmostEqual(self.created("after"), time.time() + jump, delta=patience(30))
            for name in self.executor.states():
                self.executor.remove(name)


if __name__ == "__main__":
    main()
