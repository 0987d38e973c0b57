"""A container that writes as fast as it can, while executor and logger are killed and started again: not a byte is lost."""
import os
import signal
import time

from gantry import main, wait_until
from logs import Logs

PATTERN_BYTES = 4 << 20
ROUNDS = 2
# An honest bound on a busy machine; the figures are printed.
MOST_STALLED_S = 2


class Killed(Logs):
    start_flags = ("--disk-headroom-percent", "0")

    def setUp(self):
        super().setUp()
        # Every line once: a byte lost, doubled or moved shows.
        self.pattern = b"".join(b"%015d\n" % i for i in range(PATTERN_BYTES // 16))
        (self.root / "pattern").write_bytes(self.pattern)

    def size(self):
        total = 0
        for entry in os.scandir(self.sandbox):
            if entry.name.startswith("stdout"):
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # renamed meanwhile
                    pass
        return total

    def stall_after(self, kill, seconds=0.5):
        """The longest time without a new byte, from the kill on."""
        size, last, longest = self.size(), time.monotonic(), 0
        kill()
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if (new := self.size()) != size:
                longest, size, last = max(longest, now - last), new, now
            time.sleep(0.0005)
        return max(longest, time.monotonic() - last)

    def kill_logger(self):
        os.kill(self.child_named(self.launcher_pid(), "gantry-logger"), signal.SIGKILL)

    def check(self):
        """That all of it is there, in order; how much it is."""
        position = 0
        for begin, path in sorted((self.begin_of(path), path) for path in self.sandbox.glob("stdout*")):
            self.assertEqual(begin, position)
            with open(path, "rb") as file:
                while piece := file.read(PATTERN_BYTES - position % PATTERN_BYTES):
                    at = position % PATTERN_BYTES
                    self.assertEqual(piece, self.pattern[at:at + len(piece)], f"at byte {position}")
                    position += len(piece)
        self.assertEqual(position % PATTERN_BYTES, 0)
        return position

    def run_and_kill(self, **spec):
        # About 200 MB in a second.
        self.launch("c", "while [ ! -e /stop ]; do cat /pattern; usleep 10000; done", **spec)
        wait_until(lambda: self.size() > 0)
        start = time.monotonic()
        stalls = {"none": [], "the executor": [], "the logger": []}
        for _ in range(ROUNDS):
            stalls["none"].append(self.stall_after(lambda: None, 0.2))
            stalls["the executor"].append(self.stall_after(self.executor.kill, 0.3))
            self.executor.start(*self.start_flags)
            stalls["the logger"].append(self.stall_after(self.kill_logger))
        seconds = time.monotonic() - start
        (self.root / "stop").touch()
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        size = self.check()
        print(f"{size / 1e6 / seconds:.0f} MB/s; longest without a byte when killed: " + ", ".join(
            f"{who} {max(values) * 1e3:.0f} ms" for who, values in stalls.items()), flush=True)
        self.assertLess(max(max(values) for values in stalls.values()), MOST_STALLED_S)
        self.executor.remove("c")

    def test_every_byte_is_there(self):
        self.run_and_kill()

    def test_every_byte_is_there_over_rotations(self):
        self.run_and_kill(log={"max_size_bytes": 10 << 20, "max_files": 1000})


if __name__ == "__main__":
    main()
