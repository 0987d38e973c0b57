"""A person at a terminal: a pty of the test's own."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from gantry import BIN


class Person:
    """`gantry` with words, at a terminal; test.environment() says which executor's."""

    def __init__(self, test, *words, rows=30, columns=100, env=None):
        self.seen, self.status = b"", None
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)

        def lead_session():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen([BIN / "gantry", *words], stdin=slave, stdout=slave, stderr=slave,
                                        env=env or test.environment(), preexec_fn=lead_session)
        self.slave = slave
        test.addCleanup(self.leave)

    def leave(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def expect(self, pattern, limit=15):
        """Reads until the pattern has been printed, and forgets all up to there."""
        deadline = time.monotonic() + limit
        while not (found := re.search(pattern.encode(), self.seen)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            self.seen += os.read(self.master, 65536)
        self.seen = self.seen[found.end():]
        return found

    def ends(self, limit=15):
        """The exit status; the terminal is as it was."""
        deadline = time.monotonic() + limit
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"still running; printed {self.seen!r}")
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536)
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536)
        now = termios.tcgetattr(self.slave)
        if now != self.before:
            raise AssertionError(f"the terminal was left as {now}, it was {self.before}")
        return self.process.returncode
