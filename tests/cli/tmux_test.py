"""`gantry` in a real terminal, under a shell with job control: how it leaves the terminal, whatever ends it."""
import contextlib
import os
import pathlib
import shutil
import signal

from gantry import BIN, GantryTest, main, wait_until
from tmux import Screen


# Without a line editor, which would ask the terminal where its cursor is, and take what is typed meanwhile for the answer.
SHELL = "echo rea''dy; while read -r line; do eval \"$line\"; done"


class Tmux(GantryTest):
    def environment(self):
        return {**os.environ, "GANTRY_RUNTIME_DIR": str(self.executor.runtime), "GANTRY_DATA_DIR": str(self.executor.data),
                "GANTRY_CGROUP_ROOT": self.executor.cgroup_root}

    def run_shell(self, screen, *flags, program=BIN / "gantry", path=os.environ["PATH"]):
        """A shell in a container, between two looks at the terminal; the client's pid."""
        for name in ("before", "after", "status"):
            with contextlib.suppress(FileNotFoundError):
                (self.top / name).unlink()
        script = self.top / "between"
        script.write_text(f"stty -g >{self.top}/before\n\"$@\"\necho $? >{self.top}/status\nstty -g >{self.top}/after\n")
        screen.enter("env", f"PATH={path}", "sh", script, program, "run", "-it", "--name", "c", "--rm", *flags, "--rootfs", self.root, "/bin/sh", "-c", SHELL)

    def find_client(self):
        """The pid of the `gantry run -it` of this test."""
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[1:3] == [b"run", b"-it"] and str(self.root).encode() in words:
                    return int(entry.name)
        return None

    def assert_restored(self, status):
        wait_until(lambda: (self.top / "after").exists() and (self.top / "after").read_text())
        self.assertEqual((self.top / "status").read_text(), f"{status}\n")
        self.assertEqual((self.top / "after").read_text(), (self.top / "before").read_text())

    def test_every_way_out_gives_the_terminal_back(self):
        screen = Screen(self)

        def signalled(number, times):
            def act():
                client = self.find_client()
                for n in range(times):
                    os.kill(client, number)
                    if n + 1 < times:
                        wait_until(lambda: not pending(client, number))
            return act

        def pending(client, number):
            with open(f"/proc/{client}/status", encoding="ascii") as file:
                masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
            return any(mask >> (number - 1) & 1 for mask in masks)

        ways = [("exit", (), lambda: screen.enter("exit 3"), 3),
                ("ctrl-d", (), lambda: screen.press("C-d"), 0),
                ("detach", (), lambda: screen.press("C-p", "C-q"), 0),
                ("SIGHUP", ("--init",), signalled(signal.SIGHUP, 1), 129),
                ("SIGTERM", (), signalled(signal.SIGTERM, 3), 137),
                ("SIGINT", (), signalled(signal.SIGINT, 1), 130),
                ("its end by another's hand", (), lambda: self.executor.signal("c"), 137),
                ("its removal", (), lambda: self.executor.remove("c", force=True), 137)]
        for name, flags, act, status in ways:
            with self.subTest(name):
                self.run_shell(screen, *flags)
                screen.expect("^ready$")
                act()
                self.assert_restored(status)
                if name == "detach":
                    screen.expect("gantry: detached; `gantry attach c` comes back")
                    self.executor.remove("c", force=True)
                screen.clear()
                wait_until(lambda: not self.executor.list())

    def test_what_is_refused_gives_it_back(self):
        screen = Screen(self)
        for flags, status in ((("--memory", "1k"), 125), (("--workdir", "/etc/passwd"), 125), (("--entrypoint", "/no"), 127)):
            self.run_shell(screen, *flags)
            self.assert_restored(status)
            screen.clear()

    def test_an_executor_that_does_not_come_back(self):
        alone = self.top / "alone"
        alone.mkdir()
        shutil.copy(BIN / "gantry", alone)
        screen = Screen(self)
        self.run_shell(screen, program=alone / "gantry", path="/usr/bin:/bin")
        screen.expect("^ready$")
        self.executor.kill()
        self.assert_restored(125)
        screen.expect("gantry: the executor did not start")
        self.executor.start()
        self.executor.remove("c", force=True)

    def test_the_client_as_a_job(self):
        screen = Screen(self)
        screen.enter("gantry", "run", "--rm", "--rootfs", self.root, "/bin/sh", "-c", "echo up; sleep 3; echo down; exit 4")
        screen.expect("^up$")
        screen.press("C-z")
        screen.expect("Stopped +gantry run")
        screen.enter("fg; echo $?")
        screen.expect("^down$")
        screen.expect("^4$")
        screen.clear()
        # With a terminal ctrl-z is the container's; from elsewhere it stops the client like any other.
        echo = "while read -r line; do echo \"read $line $(stty size)\"; done; exit 5"
        screen.enter("gantry", "run", "-it", "--rm", "--rootfs", self.root, "/bin/sh", "-c", echo)
        client = wait_until(self.find_client)
        screen.enter("one")
        screen.expect("^read one 24 80$")
        for n, stop in enumerate((signal.SIGTSTP, signal.SIGSTOP)):
            os.kill(client, stop)
            screen.expect("Stopped +gantry run")
            screen.enter(f"echo sh''ell {n}")
            screen.expect(f"^shell {n}$")
            screen.resize(25 + n, 80)
            screen.enter("fg")
            # The size goes another way than what is typed.
            wait_until(lambda size=f"^read again {25 + n} 80$": screen.enter("again") or screen.shows(size))
            screen.clear_above()
        screen.press("C-d")
        screen.expect(r"^\$$")
        screen.enter("echo $?")
        screen.expect("^5$")

    def test_a_client_whose_terminal_is_closed_does_not_linger(self):
        screen = Screen(self)
        self.run_shell(screen)
        screen.expect("^ready$")
        client = self.find_client()
        screen.tmux("kill-pane")
        wait_until(lambda: not os.path.exists(f"/proc/{client}"))

    def test_its_screen_is_the_containers(self):
        screen = Screen(self)
        screen.enter("gantry", "run", "-it", "--rm", "--rootfs", self.root, "/bin/sh", "-c",
                     "vi /tmp/text; clear; stty size; cat /tmp/text")
        screen.expect("^- /tmp/text ")
        screen.type("ifirst")
        screen.press("Enter")
        screen.type("second")
        screen.press("Escape")
        screen.expect(r"(?s)\Afirst\nsecond\n~.*\n- /tmp/text ")
        screen.resize(10, 20)
        screen.expect(r"(?s)\Afirst\nsecond\n(~\n){7}- /tmp/text ")
        screen.type(":wq")
        screen.press("Enter")
        screen.expect(r"^10 20\nfirst\nsecond\n\$$")


if __name__ == "__main__":
    main()
