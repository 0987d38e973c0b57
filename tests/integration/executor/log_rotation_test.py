"""Rotated output: files end where lines do, and readers get every byte, or hear how many they missed."""
import base64
import os
import signal
import time

from gantry import CallFailed, main, wait_until
from logs import Logs, numbers


class Rotation(Logs):
    start_flags = ("--log-max-size", "16k", "--log-max-files", "4")

    def test_files_end_at_lines_and_the_newest_are_kept(self):
        self.launch("c", "seq 1 50000; seq 1 3000 >&2", log={"max_size_bytes": 20000, "max_files": 3})
        self.executor.wait("c")
        kept = self.check_files(numbers(1, 50000), 3, 20000)
        self.assertGreater(len(kept), 2 * 19980)
        self.assertEqual(b"".join(content for _, content in self.files("stderr")), numbers(1, 3000))
        self.assertEqual(self.read("c", no_stderr=True), kept)
        self.assertEqual(sorted(path.name for path in self.sandbox.iterdir()),
                         [".output-times", "stderr", "stdout", "stdout.1", "stdout.2"])
        self.executor.remove("c")
        self.assertFalse(self.sandbox.exists())

    def test_the_executors_settings_count_for_those_that_do_not_say(self):
        self.launch("c", "seq 1 50000")
        self.executor.wait("c")
        self.check_files(numbers(1, 50000), 4, 16384)
        self.assertEqual(len(self.files()), 4)
        self.launch("one", "seq 1 50000", log={"max_files": 1})
        self.executor.wait("one")
        self.check_files(numbers(1, 50000), 1, 16384)
        self.launch("all", "seq 1 50000", log={"max_size_bytes": 0})
        self.executor.wait("all")
        self.assertEqual(self.files(), [(0, numbers(1, 50000))])

    def test_a_line_longer_than_a_file_is_cut_64_kib_beyond(self):
        self.launch("c", "echo start; read go; head -c 200000 /dev/zero | tr '\\0' x; echo; echo end",
                    log={"max_size_bytes": 8192, "max_files": 10}, open_stdin=True)
        self.wait_size(len("start\n"))  # else the long line's beginning may fit beside it
        self.open_input("c")(b"go\n")
        self.executor.wait("c")
        written = b"start\n" + b"x" * 200000 + b"\nend\n"
        files = self.files()
        self.assertEqual(b"".join(content for _, content in files), written)
        self.assertEqual(files[0][1], b"start\n")
        self.assertLessEqual(max(len(content) for _, content in files), 8192 + 65536)

    def test_read_file_goes_by_positions_in_the_stream(self):
        self.launch("c", "seq 1 50000")
        self.executor.wait("c")
        written = numbers(1, 50000)

        def piece(offset, length):
            return self.executor.call("READ_FILE", read_file={"path": "/containers/c/stdout", "offset": offset,
                                                              "length": length})["read_file"]

        begin = piece(0, 0)["gantry_begin"]
        self.assertEqual(piece(0, 0)["size"], len(written))
        position = begin
        while data := base64.b64decode(piece(position, 10000)["data"]):
            self.assertEqual(data, written[position:position + len(data)])
            position += len(data)
        self.assertEqual(position, len(written))
        with self.assertRaisesRegex(CallFailed, f"is there from byte {begin} on; what came before was rotated away"):
            piece(begin - 1, 1)

    def test_tail_since_and_until_go_over_rotations(self):
        self.launch("c", "while read first last; do seq $first $last; done", open_stdin=True)
        write, times = self.open_input("c"), []
        for first in range(1, 9001, 1000):
            write(b"%d %d\n" % (first, first + 999))
            self.wait_size(len(numbers(1, first + 999)))
            time.sleep(0.03)  # the index tells hundredths of a second apart
            times.append(time.time_ns())
            time.sleep(0.03)
        self.assertEqual(len(self.files()), 3)
        for lines in (0, 1, 999, 5000):
            self.assertEqual(self.read("c", tail_lines=lines), numbers(9001 - lines, 9000))
        for i in (6, 4, 2):
            self.assertEqual(self.read("c", since={"nanoseconds": times[i]}), numbers((i + 1) * 1000 + 1, 9000))
        self.assertEqual(self.read("c", since={"nanoseconds": times[3]}, until={"nanoseconds": times[5]}),
                         numbers(4001, 6000))
        for data in self.attach("c", from_start=True, follow=False, timestamps=True, offsets=True):
            first = base64.b64decode(data["data"]).split(b"\n")[0]
            batch = (int(first) - 1) // 1000
            self.assertLess(data["gantry_time"]["nanoseconds"], times[batch])
            if batch > 0:
                self.assertGreater(data["gantry_time"]["nanoseconds"], times[batch - 1])
        write(b"")

    def test_a_follower_gets_every_byte(self):
        self.launch("c", "while read first last; do seq $first $last; done", open_stdin=True,
                    log={"max_size_bytes": 5000, "max_files": 8})
        write, seen = self.open_input("c"), b""
        stream = self.attach("c", from_start=True, offsets=True)
        for first in range(1, 40001, 2000):
            write(b"%d %d\n" % (first, first + 1999))
            while not seen.endswith(b"\n%d\n" % (first + 1999)):
                data = next(stream)
                self.assertNotIn("gantry_missed", data)
                self.assertEqual(data["gantry_offset"], len(seen))
                seen += base64.b64decode(data["data"])
        self.assertEqual(seen, numbers(1, 40000))
        write(b"")

    def test_a_follower_that_is_too_slow_hears_what_it_missed(self):
        self.launch("c", "read x; seq 1 2000000; read x", open_stdin=True, log={"max_size_bytes": 50000, "max_files": 2})
        stream = self.attach("c", from_start=True, offsets=True)
        write = self.open_input("c")
        write(b"go\n")
        written = numbers(1, 2000000)
        self.wait_size(len(written))
        write(b"")
        position = missed = 0
        for data in stream:
            missed += data.get("gantry_missed", 0)
            position += data.get("gantry_missed", 0)
            self.assertEqual(data["gantry_offset"], position)
            content = base64.b64decode(data["data"])
            self.assertEqual(content, written[position:position + len(content)])
            position += len(content)
        self.assertEqual(position, len(written))
        self.assertGreater(missed, 1000000)
        self.executor.wait("c")
        # Who only asks for what there is has missed nothing.
        self.assertNotIn("gantry_missed", next(self.attach("c", from_start=True)))
        self.assertEqual(next(self.attach("c", from_start=True, stdout_offset=1, offsets=True))["gantry_missed"],
                         self.files()[0][0] - 1)

    def test_the_limits_outlive_executor_launcher_and_logger(self):
        self.launch("c", "while read first last; do seq $first $last; done", open_stdin=True,
                    log={"max_size_bytes": 6000, "max_files": 3})
        written = 0
        for first in (1, 1001, 2001, 3001):
            self.open_input("c")(b"%d %d\n" % (first, first + 999))
            self.wait_size(len(numbers(1, first + 999)))
            launcher = self.launcher_pid()
            if first == 1001:
                os.kill(self.child_named(launcher, "gantry-logger"), signal.SIGKILL)
            elif first == 2001:
                os.kill(launcher, signal.SIGKILL)
                wait_until(lambda old=launcher: self.launcher_pid() != old)
            else:
                self.executor.restart(*self.start_flags)
            written = first + 999
        self.check_files(numbers(1, written), 3, 6000)
        self.assertEqual(len(self.files()), 3)

    def test_a_terminal_is_rotated_too(self):
        self.launch("c", "seq 1 5000", tty=True)
        self.executor.wait("c")
        self.check_files(numbers(1, 5000).replace(b"\n", b"\r\n"), 4, 16384)

    def test_wrong_limits_are_refused(self):
        for log, why in (({"max_size_bytes": 1000}, "log.max_size_bytes: must be 0, or at least 1024"),
                         ({"max_files": 0}, "log.max_files: must be from 1 to 1000")):
            with self.assertRaisesRegex(CallFailed, why):
                self.launch("c", "true", log=log)


class Tricks(Logs):
    """Whoever owns the sandbox plays with what is in it."""
    start_flags = ("--log-max-size", "4k", "--log-max-files", "3")

    def play(self, trick):
        """c goes on writing after the trick, to its end."""
        self.launch("c", "while read first last; do seq $first $last; done", open_stdin=True)
        write = self.open_input("c")
        write(b"1 2000\n")
        self.wait_size(len(numbers(1, 2000)))
        trick()
        for first in range(2001, 12001, 1000):
            write(b"%d %d\n" % (first, first + 999))
            time.sleep(0.02)
        write(b"")
        self.assertEqual(self.executor.wait("c")["exit_status"], 0)

    def swap(self, name, make):
        path = self.sandbox / name
        path.unlink(missing_ok=True)
        make(path)

    def test_links_are_not_followed(self):
        canary = self.top / "canary"
        canary.write_text("alive\n", encoding="ascii")
        tricks = (lambda path: path.symlink_to(canary), lambda path: path.hardlink_to(canary), os.mkfifo, os.mkdir)
        for name in ("stdout", "stdout.1", "stdout.2", ".stdout.next", ".output-times", ".output-times.next"):
            for number, trick in enumerate(tricks):
                with self.subTest(name=name, trick=number):
                    self.play(lambda name=name, trick=trick: self.swap(name, trick))
                    self.assertEqual(canary.read_text(encoding="ascii"), "alive\n")
                    if name not in ("stdout", ".stdout.next"):
                        self.assertEqual(self.read("c", tail_lines=1), b"12000\n")
                self.executor.remove("c", force=True)

    def test_a_deleted_log_is_made_again(self):
        self.play(lambda: (self.sandbox / "stdout").unlink())
        files = self.files()
        written = numbers(1, 12000)
        self.assertEqual(files[-1][0] + len(files[-1][1]), len(written))
        self.assertEqual(self.read("c", tail_lines=100), numbers(11901, 12000))

    def test_all_is_deleted_again_and_again(self):
        def delete():
            for path in self.sandbox.iterdir():
                path.unlink()

        self.play(delete)
        self.assertEqual(self.read("c", tail_lines=1), b"12000\n")


if __name__ == "__main__":
    main()
