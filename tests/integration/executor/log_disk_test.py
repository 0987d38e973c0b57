"""Output on a disk that is full, that stands still, or that a flood keeps busy: it waits, and nobody else does."""
import base64
import statistics
import subprocess
import time

from gantry import BIN, CallFailed, main, wait_until
from logs import Logs, numbers

# What an operation may take that has nothing to do with the disk; a flush gives up after 2 s.
PATIENCE_S = 8


class FullDisk(Logs):
    def start(self):
        self.executor.data.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "gantry-test", self.executor.data], check=True)
        self.ballast = self.executor.data / "ballast"
        self.executor.start("--disk-headroom-percent", "0")

    def finish(self):
        self.ballast.unlink(missing_ok=True)
        try:
            self.executor.close()
        finally:
            subprocess.run(["umount", self.executor.data], check=True)
        self.assertEqual(self.executor.check_leaks(), [])

    def fill(self, room):
        """Leaves so many bytes, in pages."""
        with open(self.ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                file.truncate(file.tell() // 4096 * 4096 - room)

    def test_the_writer_waits_and_all_arrives_when_there_is_room(self):
        self.launch("c", "read x; seq 1 300000", open_stdin=True)
        for name in ("other", "third"):
            self.executor.launch(name, ["/bin/sleep", "1000"], self.root)
        write = self.open_input("c")
        self.fill(64 << 10)
        write(b"go\n")
        wait_until(lambda: "output of container 'c' waits" in self.executor.log_tail())
        start = time.monotonic()
        for name in ("other", "third"):
            self.executor.signal(name)
            self.executor.wait(name)
            self.executor.remove(name)
        with self.assertRaisesRegex(CallFailed, "no room in"):
            self.executor.launch("fourth", ["/bin/true"], self.root)
        self.assertLess(time.monotonic() - start, PATIENCE_S)
        self.assertEqual(self.executor.states()["c"], "running")
        self.ballast.unlink()
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        self.assertEqual(self.files(), [(0, numbers(1, 300000))])
        wait_until(lambda: "output of container 'c' goes on" in self.executor.log_tail())
        self.assertEqual(self.executor.log_tail().count("output of container 'c' waits"), 1)

    def test_what_an_ended_one_left_in_the_pipe_arrives_too(self):
        self.launch("c", "read x; seq 1 10000", open_stdin=True)
        write = self.open_input("c")
        self.fill(16 << 10)
        write(b"go\n")
        start = time.monotonic()
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        self.assertLess(time.monotonic() - start, PATIENCE_S)
        wait_until(lambda: self.executor.states()["c"] == "exited")
        self.assertLess(sum(len(content) for _, content in self.files()), len(numbers(1, 10000)))
        self.ballast.unlink()
        wait_until(lambda: self.files() == [(0, numbers(1, 10000))])
        self.executor.remove("c")

    def test_a_short_command_in_the_foreground_says_what_it_waits_for(self):
        self.launch("c", "sleep 1000")
        command = [BIN / "gantry", "--socket", self.executor.socket]
        for words in (["run", "--rm", "-i", "--rootfs", self.root], ["exec", "-i", "c"]):
            client = subprocess.Popen([*command, *words, "/bin/sh", "-c", "echo up; read x; seq 1 5000"], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual(client.stdout.readline(), b"up\n")
            self.fill(0)
            client.stdin.write(b"go\n")
            client.stdin.close()
            self.assertIn(b"No space left on device", client.stderr.readline())
            self.ballast.unlink()
            self.assertEqual(client.stdout.read(), numbers(1, 5000))
            self.assertEqual(client.wait(), 0, client.stderr.read())
            client.stdout.close()
            client.stderr.close()

    def test_one_that_waits_for_room_is_killed_and_removed(self):
        self.launch("c", "read x; seq 1 1000000", open_stdin=True)
        write = self.open_input("c")
        self.fill(16 << 10)
        write(b"go\n")
        wait_until(lambda: "output of container 'c' waits" in self.executor.log_tail())
        start = time.monotonic()
        self.executor.remove("c", force=True)
        self.assertLess(time.monotonic() - start, PATIENCE_S)

    def test_a_rotated_log_makes_its_own_room(self):
        self.launch("c", "read x; seq 1 300000", open_stdin=True, log={"max_size_bytes": 32 << 10, "max_files": 3})
        write = self.open_input("c")
        self.fill(256 << 10)
        write(b"go\n")
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)
        self.check_files(numbers(1, 300000), 3, 32 << 10)


class FrozenDisk(Logs):
    """A disk that answers nothing, below the log of one container."""

    def freeze(self):
        image = self.top / "image"
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, self.sandbox], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.sandbox], check=False, stderr=subprocess.DEVNULL)

    def thaw(self):
        subprocess.run(["fsfreeze", "-u", self.sandbox], check=False, stderr=subprocess.DEVNULL)

    def test_launches_kills_and_waits_go_on(self):
        self.launch("c", "while read first last; do seq $first $last; done", open_stdin=True)
        self.freeze()
        write = self.open_input("c")
        write(b"1 1000\n")
        self.wait_size(len(numbers(1, 1000)))
        running = ["early-0", "early-1"]
        for name in running:
            self.executor.launch(name, ["/bin/sh", "-c", "echo said; sleep 1000"], self.root)
        wait_until(lambda: all(self.executor.output(name) == "said\n" for name in running))
        subprocess.run(["fsfreeze", "-f", self.sandbox], check=True)
        try:
            write(b"1001 9000\n")
            time.sleep(0.3)  # the logger stands
            took = {}

            def timed(what, call):
                start = time.monotonic()
                answer = call()
                took[what] = time.monotonic() - start
                return answer

            timed("launch", lambda: self.executor.launch("late", ["/bin/sh", "-c", "echo late"], self.root))
            self.assertEqual(timed("wait", lambda: self.executor.wait("late"))["exit_status"], 0)
            timed("kill", lambda: self.executor.signal(running[0]))
            timed("wait for the killed", lambda: self.executor.wait(running[0]))
            timed("remove", lambda: self.executor.remove(running[0]))
            timed("restart", self.executor.restart)
            timed("stop", lambda: self.executor.stop(running[1], 1))
            print({what: f"{seconds:.2f} s" for what, seconds in took.items()}, flush=True)
            self.assertLess(max(took.values()), PATIENCE_S)
        finally:
            self.thaw()
        wait_until(lambda: self.executor.output("late") == "late\n")
        self.wait_size(len(numbers(1, 9000)))
        self.assertEqual(self.files(), [(0, numbers(1, 9000))])


class Flood(Logs):
    start_flags = ("--log-max-size", "4m", "--log-max-files", "1")

    def test_a_flood_delays_anothers_line_by_no_more_than_a_turn(self):
        self.executor.launch("flood", ["/bin/cat", "/dev/zero"], self.root)
        self.launch("c", "while read x; do echo $x; done", open_stdin=True)
        write = self.open_input("c")
        stream, took = self.attach("c", from_start=True), []
        for number in range(30):
            start = time.monotonic()
            write(b"%d\n" % number)
            self.assertEqual(base64.b64decode(next(stream)["data"]), b"%d\n" % number)
            took.append(time.monotonic() - start)
        print(f"a line beside a flood: median {statistics.median(took) * 1e3:.1f} ms, longest {max(took) * 1e3:.1f} ms",
              flush=True)
        self.assertLess(statistics.median(took), 0.5)


if __name__ == "__main__":
    main()
