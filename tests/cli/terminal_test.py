"""Terminals as a person meets them: run -it, exec -it and attach at a pty of the test's own."""
import contextlib
import os
import pathlib
import signal
import subprocess
import time

from gantry import BIN, GantryTest, another_build, main, wait_until
from person import Person
from streams import RECORDIO_INPUT, first_input, framed


class Terminals(GantryTest):
    def environment(self):
        return {**os.environ, "GANTRY_RUNTIME_DIR": str(self.executor.runtime),
                "GANTRY_DATA_DIR": str(self.executor.data), "GANTRY_CGROUP_ROOT": self.executor.cgroup_root}

    def gantry(self, *words):
        return subprocess.run([BIN / "gantry", *words], env=self.environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)

    def kill_executor(self):
        """Whoever started it; the next command of anybody's starts another."""
        with contextlib.suppress(ValueError, OSError):
            os.kill(int((self.executor.runtime / "lock").read_text(encoding="ascii").split()[0]), signal.SIGKILL)
        if self.executor.process.poll() is None:
            self.executor.wait_dead()
        self.executor.disconnect()

    def await_free_input(self):
        """The executor has seen that whoever was attached is gone."""
        wait_until(lambda: self.executor.post(framed(first_input("c")), headers=RECORDIO_INPUT)[0] == 200)

    def stop_executor(self):
        wait_until(lambda: self.gantry("executor", "stop").returncode == 0)

    def run_shell(self, *flags, name="c"):
        person = Person(self, "run", "-it", "--rm", "--name", name, *flags, "--rootfs", str(self.root), "/bin/sh")
        person.expect("# ")
        return person

    def test_a_shell(self):
        person = self.run_shell()
        person.type("tty; stty size; echo $TERM; id -u\n")
        person.expect("/dev/pts/0\r\n30 100\r\nxterm\r\n0\r\n")
        person.type("exit 3\n")
        self.assertEqual(person.ends(), 3)

    def test_control_keys_are_the_commands(self):
        person = self.run_shell()
        person.type("sh -c 'echo sleep''ing; sleep 1000'\n")
        person.expect("\r\nsleeping\r\n")
        person.type("\x03")  # ctrl-c: ends that, not the shell
        person.type("echo $? again\n")
        # KERNEL: an end of file that is typed before the shell's line editor reads is none to it.
        person.expect("\r\n130 again\r\n/ # ")
        person.type("\x04")  # ctrl-d
        self.assertEqual(person.ends(), 0)

    def test_resize(self):
        person = Person(self, "run", "-it", "--rm", "--rootfs", str(self.root), "/bin/sh", "-c",
                        "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done")
        person.expect("ready\r\n")
        for rows, columns in ((40, 120), (7, 11)):
            person.resize(rows, columns)
            person.expect(f"{rows} {columns}\r\n")
        person.type("\x03")
        self.assertEqual(person.ends(), 130)

    def test_detach_and_attach(self):
        person = self.run_shell()
        person.type("echo be''fore\n")
        person.expect("before\r\n")
        person.type("\x10\x11")
        self.assertEqual(person.ends(), 0)
        self.assertIn(b"gantry attach", person.seen)
        self.await_free_input()
        again = Person(self, "attach", "c", rows=20, columns=60)
        again.type("stty size; cat -v\n")
        again.expect("20 60\r\n")
        again.type("\x10x\n")  # ctrl-p alone is the container's
        again.expect("\\^Px\r\n")
        again.expect("\\^Px\r\n")
        again.type("\x03")
        again.expect("# ")
        again.type("exit 4\n")
        self.assertEqual(again.ends(), 4)

    def test_detach_keys_of_ones_own(self):
        person = self.run_shell()
        person.type("\x10\x11")
        person.ends()
        self.await_free_input()
        again = Person(self, "attach", "--detach-keys", "ctrl-a,d", "c")
        again.type("cat -v\n")
        again.expect("cat -v\r\n")
        again.type("\x10\x11z\n")  # the terminal itself takes ctrl-q
        again.expect("\\^Pz\r\n")
        again.type("\x01d")
        self.assertEqual(again.ends(), 0)
        self.assertIn(b"gantry attach", again.seen)

    def test_the_shell_goes_on_when_the_executor_dies(self):
        person = self.run_shell()
        person.type("A=kept\n")
        person.expect("# ")
        pid = self.executor.inspect("c")["container"]["pid"]
        for n in range(3):
            self.kill_executor()
            person.type(f"echo {n} $A; tty\n")
            person.expect(f"\r\n{n} kept\r\n/dev/pts/0\r\n")
            self.assertEqual(self.executor.inspect("c")["container"]["pid"], pid)
        person.resize(11, 22)
        wait_until(lambda: person.type("stty size\n") or person.expect(r"(\d+ \d+)\r\n")[1] == b"11 22")
        person.type("exit 5\n")
        self.assertEqual(person.ends(), 5)
        self.stop_executor()

    def test_an_upgrade_is_not_seen(self):
        other = another_build(self.top / "other", "another")
        person = self.run_shell()
        second = Person(self, "exec", "-it", "c", "/bin/sh")
        second.expect("# ")
        done = subprocess.run([other / "gantry", "executor", "upgrade"], env=self.environment(), capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for someone in (person, second):
            someone.type("echo $? still\n")
            someone.expect("\r\n0 still\r\n")
        self.executor.disconnect()
        second.type("exit 4\n")
        self.assertEqual(second.ends(), 4)
        person.type("exit 5\n")
        self.assertEqual(person.ends(), 5)

    def test_the_shell_goes_on_when_launcher_and_logger_die(self):
        person = self.run_shell()
        shell = self.executor.inspect("c")["container"]["pid"]
        launcher = int(pathlib.Path(f"/proc/{shell}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[1])
        logger = int(subprocess.run(["pgrep", "-P", str(launcher), "-x", "gantry-logger"], capture_output=True,
                                    check=True).stdout)
        for n, victim in enumerate((logger, launcher)):
            os.kill(victim, signal.SIGKILL)
            time.sleep(0.2)
            person.type(f"echo {n} st''ill\n")
            person.expect(f"{n} still\r\n")
        person.type("exit 5\n")
        self.assertEqual(person.ends(), 5)

    def test_a_client_that_vanishes_leaves_it_running(self):
        person = self.run_shell()
        person.process.send_signal(signal.SIGKILL)
        person.process.wait()
        self.await_free_input()
        again = Person(self, "attach", "c")
        again.type("echo the''re\n")
        again.expect("there\r\n")
        again.type("exit\n")
        self.assertEqual(again.ends(), 0)

    def test_a_signal_restores_the_terminal(self):
        person = self.run_shell()
        for _ in range(3):  # an interactive shell ignores it; the third time it is killed
            person.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        self.assertEqual(person.ends(), 137)

    def test_exec(self):
        self.executor.launch("web", ["/bin/sleep", "1000"], self.root)
        person = Person(self, "exec", "-it", "web", "/bin/sh")
        person.expect("# ")
        person.type("tty; stty size; cat /proc/1/cmdline | tr '\\0' ' '; echo\n")
        person.expect("/dev/pts/0\r\n30 100\r\n/bin/sleep 1000 \r\n")
        second = Person(self, "exec", "-it", "-u", "user", "web", "/bin/sh")
        second.expect(r"\$ ")
        second.type("tty; id -u; echo x > /dev/tty\n")
        second.expect("/dev/pts/1\r\n1000\r\nx\r\n")
        self.kill_executor()
        second.type("echo $((40 + 2)); exit 2\n")
        second.expect("42\r\n")
        self.assertEqual(second.ends(), 2)
        person.type("exit\n")
        self.assertEqual(person.ends(), 0)
        self.gantry("rm", "-f", "web")
        self.stop_executor()

    def test_its_last_words_arrive(self):
        person = Person(self, "run", "-it", "--rm", "--rootfs", str(self.root), "/bin/sh", "-c",
                        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf 'the end'")
        person.expect("line 2999\r\nthe end")
        self.assertEqual(person.ends(), 0)

    def test_without_a_terminal_here(self):
        done = self.gantry("run", "-it", "--rm", "--rootfs", str(self.root), "/bin/sh")
        self.assertEqual(done.returncode, 125)
        self.assertIn("stdin is none", done.stderr)
        done = subprocess.run([BIN / "gantry", "run", "-t", "--rm", "--rootfs", str(self.root), "/bin/sh", "-c",
                               "tty; echo err >&2"], env=self.environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"/dev/pts/0\r\nerr\r\n", b""))

    def lines(self, columns, *words):
        """What it prints at a terminal of so many columns."""
        person = Person(self, *words, columns=columns)
        self.assertEqual(person.ends(), 0)
        return person.seen.decode().split("\r\n")

    def test_narrow_terminals(self):
        self.executor.launch("web", ["/bin/sleep", "1000"], self.root, name="web")
        for columns in (20, 80):
            for words in (["--help"], ["run", "--help"], ["exec", "--help"]):
                wide = [line for line in self.lines(columns, *words) if len(line) > columns]
                # Commands to be copied and names of flags are not broken, and a word is not.
                wide = [line for line in wide if not line.startswith(("Usage: ", "  gantry ", "  -", "      --", "  echo ", "  tar "))]
                self.assertEqual([line for line in wide if " " in line.strip()], [], f"{words} at {columns} columns")
            self.assertIn("web", " ".join(self.lines(columns, "ps")))
        self.assertEqual([line for line in self.lines(80, "ps") + self.lines(80, "stats") if len(line) > 80], [])
        self.assertIn("STATE: running for", "\n".join(self.lines(20, "ps")))

    def test_no_term_and_an_odd_language(self):
        bare = {name: value for name, value in self.environment().items() if name != "TERM"}
        odd = {**self.environment(), "LANG": "tlh_KX.UTF-9", "LC_ALL": "x", "TERM": "nothing-known"}
        for env in (bare, odd):
            person = Person(self, "run", "-it", "--rm", "--name", "c", "--rootfs", str(self.root), "/bin/sh", env=env)
            person.expect("# ")
            watcher = Person(self, "stats", "--watch", env=env)
            watcher.expect(r"PROCESSES.*\r\n")
            watcher.process.send_signal(signal.SIGTERM)
            self.assertEqual(watcher.ends(), -signal.SIGTERM)
            person.type("echo \xc3\xa4 $TERM\n".encode("latin-1"))
            person.expect("\r\n\xc3\xa4 xterm\r\n".encode("latin-1").decode())
            person.type("exit 6\n")
            self.assertEqual(person.ends(), 6)


if __name__ == "__main__":
    main()
