"""A shell in tmux: a terminal whose screen can be read, with a shell that has job control."""
import os
import re
import shlex
import subprocess
import time

from gantry import BIN


class Screen:
    """`test.environment()` says which executor's commands it gives."""

    def __init__(self, test, rows=24, columns=80):
        self.socket = test.top / f"tmux-{id(self)}"
        environment = {**test.environment(), "PATH": f"{BIN}:{os.environ['PATH']}", "HISTFILE": ""}
        (test.top / "bashrc").write_text("PS1='$ '\n")
        subprocess.run([*self.command("-f", "/dev/null"), "new-session", "-d", "-x", str(columns), "-y", str(rows),
                        f"exec bash --noprofile --rcfile {test.top}/bashrc", ";", "set", "-g", "status", "off"], env=environment, check=True)
        test.addCleanup(subprocess.run, self.command("kill-server"), stderr=subprocess.DEVNULL, check=False)
        self.expect(r"^\$$")

    def command(self, *words):
        return ["tmux", "-S", str(self.socket), *words]

    def tmux(self, *words):
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=True, timeout=30).stdout

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def enter(self, *words):
        """A line of words, or of shell text if there is only one."""
        self.type(words[0] if len(words) == 1 else shlex.join(map(str, words)))
        self.press("Enter")

    def resize(self, rows, columns):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def text(self):
        """What is on the screen, without spaces at the ends and empty lines below."""
        return self.tmux("capture-pane", "-p").rstrip("\n")

    def expect(self, pattern, limit=15):
        """Waits until the screen shows it; ^ and $ are a line's."""
        deadline = time.monotonic() + limit
        while not (found := self.shows(pattern)):
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} on the screen:\n{self.text()}")
            time.sleep(0.02)
        return found

    def shows(self, pattern):
        return re.search(pattern, self.text(), re.M)

    def clear(self):
        """Ends what was typed, and forgets what was shown."""
        self.enter("clear")
        self.expect(r"\A\$\Z")

    def clear_above(self):
        """Forgets what was shown, whatever runs."""
        self.tmux("send-keys", "-R")
        self.expect(r"\A\s*\Z")
