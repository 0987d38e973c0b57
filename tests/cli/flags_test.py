"""Each flag of `gantry run` with values that are wrong, empty, huge and given twice: the error names the flag, the value
and what is legal, the status is 125, and nothing is made. A flag without a case here fails the test."""
import os
import re
import subprocess

from gantry import BIN, GantryTest, main

HUGE = "9" * 100_000
WORD = "x" * 100_000
# By flag: wrong values, each with what the error says is legal. HUGE and WORD stand for 100,000 characters.
WRONG = {
    "add-host": {"db": "NAME:ADDRESS", "db:nowhere": "IPv4 or IPv6", "a b:1.2.3.4": "name", WORD: "NAME:ADDRESS"},
    "blkio-weight": {"heavy": "whole number", "9": "10 to 1000", "1001": "10 to 1000", HUGE: "whole number"},
    "cap-add": {"NETADMIN": "NET_ADMIN", "FLY": "man 7 capabilities", WORD: "man 7 capabilities"},
    "cap-drop": {"NETADMIN": "NET_ADMIN", "FLY": "man 7 capabilities", WORD: "man 7 capabilities"},
    "cgroup-parent": {"/docker": "path like web", "a/../b": "path like web", "a//b": "path like web", ".": "path like web",
                      "web front": "path like web", "a/b/c/d/e/f/g/h/i": "at most 8 names", "cgroup.procs": "file of the kernel's",
                      WORD: "at most 64"},
    "cidfile": {"/no/such/place": "No such file", "/etc/passwd": "exists", WORD: "too long"},
    "cpu-shares": {"many": "whole number", "1": "2 to 262144", "262145": "2 to 262144", "-5": "whole number", HUGE: "whole number"},
    "cpus": {"much": "number", "0": "0.01 to", "-1": "0.01 to", "9999": "0.01 to", "1e400": "number", HUGE: "number"},
    "cpuset": {"all": "list like 0-1,3", "3-1": "list like 0-1,3", "7777": "this host has", "99999": "list like", HUGE: "list like"},
    "cpuset-mems": {"all": "list like 0-1,3", "7777": "this host has", HUGE: "list like"},
    "detach-keys": {"ctrl-": "ctrl-LETTER", "escape": "ctrl-LETTER", WORD: "ctrl-LETTER"},
    "device": {"/dev/absent": "No such file", "/etc/passwd:/dev/x": "no device", "/dev/null": "every container has",
               "/dev/loop-control:/x": "below /dev", "/dev/loop-control:/dev/x:rx": "rwm", WORD: "below /dev"},
    "device-cgroup-rule": {"c": "MAJOR:MINOR", "x 1:2 r": "b or c", "c 1:2 q": "rwm", "c 99999:1 r": "4095", WORD: "MAJOR:MINOR"},
    "device-read-bps": {"1m": "DEVICE:SIZE", "/dev/null:1m": "no disk", "/dev/null:0": "above 0", "/dev/null:fast": "size like",
                        WORD: "DEVICE:SIZE"},
    "device-read-iops": {"9": "DEVICE:N", "/dev/null:9": "no disk", "/dev/null:0": "above 0", "/dev/null:fast": "whole number",
                         WORD: "DEVICE:N"},
    "device-write-bps": {"1m": "DEVICE:SIZE", "/dev/null:1m": "no disk", "/dev/null:0": "above 0", "/dev/null:fast": "size like",
                         WORD: "DEVICE:SIZE"},
    "device-write-iops": {"9": "DEVICE:N", "/dev/null:9": "no disk", "/dev/null:0": "above 0", "/dev/null:fast": "whole number",
                          WORD: "DEVICE:N"},
    "dns": {"nowhere": "IPv4 or IPv6", "1.2.3": "IPv4 or IPv6", WORD: "IPv4 or IPv6"},
    "entrypoint": {},
    "env": {"=x": "NAME=VALUE"},
    "env-file": {"/no/such/file": "No such file", "/etc": "directory", WORD: "too long"},
    "group-add": {"-": "number nor a name", "4294967295": "0 to 4294967294", "007": "no leading zeros", WORD: "256"},
    "health-cmd": {},
    "health-interval": {"often": "500ms, 10s", "-1s": "500ms, 10s", "9000h": "a year", HUGE: "500ms, 10s"},
    "health-on-failure": {"reboot": "none, kill, restart or stop", WORD: "none, kill, restart or stop"},
    "health-retries": {"many": "whole number", "-1": "whole number", HUGE: "whole number"},
    "health-start-interval": {"often": "500ms, 10s", HUGE: "500ms, 10s"},
    "health-start-period": {"long": "500ms, 10s", HUGE: "500ms, 10s"},
    "health-timeout": {"long": "500ms, 10s", HUGE: "500ms, 10s"},
    "hostname": {"a_b!": "A-Z a-z 0-9", "-a": "beginning with", WORD: "1 to 64"},
    "label": {"=x": "no name"},
    "log-opt": {"max-size=1": "1024", "max-size=lots": "size like", "max-file=0": "1 to", "compress=true": "max-size=SIZE",
                "max-size=" + HUGE: "size like", WORD: "max-size=SIZE"},
    "memory": {"lots": "size like", "1024": "6 MiB", "0": "6 MiB", "-5m": "size like", "99999999t": "too large", HUGE: "size like",
               "1.2.3g": "size like", "1x": "size like"},
    "memory-reservation": {"lots": "size like", "99999999t": "too large", HUGE: "size like"},
    "memory-swap": {"lots": "size like", "67108864": "needs --memory", HUGE: "size like"},
    "mount": {"type=nfs,target=/x": "bind", "type=bind,target=/x": "source", "type=bind,source=/etc": "target", "sorce=/etc,target=/x":
              "known", "type=tmpfs,target=/x,tmpfs-mode=9": "octal", "type=tmpfs,target=/x,tmpfs-size=lots": "size like", WORD: "known"},
    "name": {"a b": "A-Z a-z 0-9", "-a": "not beginning with", "ä": "A-Z a-z 0-9", WORD: "1 to 128"},
    "network": {"bridged": "none, host or bridge", "container:web": "gantry exec web", WORD: "none, host or bridge"},
    "oom-score-adj": {"high": "whole number", "1001": "-1000 to 1000", "-1001": "-1000 to 1000", HUGE: "whole number"},
    "pidfile": {"/no/such/place": "No such file", "/etc/passwd": "exists", WORD: "too long"},
    "pids": {"many": "whole number", "0": "1 to 4194304", "-2": "1 to 4194304", "4194305": "1 to 4194304", HUGE: "whole number"},
    "publish": {"0": "1 to 65535", "80:x": "1 to 65535", "80:0": "1 to 65535", "65536:80": "1 to 65535", "80:80/sctp": "tcp or udp",
                "nowhere:80:80": "IPv4", WORD: "1 to 65535"},
    "pull": {"always": "missing or never", WORD: "missing or never"},
    "restart": {"sometimes": "unless-stopped", "always:3": "unless-stopped", "on-failure:x": "whole number", WORD: "unless-stopped"},
    "rootfs": {"/no/such/directory": "No such file", "/etc/passwd": "directory", WORD: "bytes"},
    "security-opt": {"apparmor=mine": "seccomp=unconfined", "seccomp=/absent": "No such file", "seccomp=/etc/passwd": "JSON",
                     WORD: "seccomp=unconfined"},
    "shm-size": {"lots": "size like", "0": "above 0", HUGE: "size like"},
    "stop-signal": {"NOPE": "TERM", "0": "1 to", "65": "1 to", WORD: "TERM"},
    "stop-timeout": {"soon": "whole number", "-1": "whole number", HUGE: "whole number"},
    "sysctl": {"kernel.panic=1": "net.", "net..x=1": "KEY=VALUE", WORD: "KEY=VALUE"},
    "tmpfs": {"x": "slash", "/x:size=lots": "size like", "/x:colour=red": "size=SIZE", "/proc/x": "/proc", WORD: "slash"},
    "ulimit": {"nofile": "NAME=SOFT", "wings=2": "getrlimit", "nofile=x": "number", "nofile=5:4": "soft", f"nofile={HUGE}": "number",
               WORD: "NAME=SOFT"},
    "uri": {"ftp://x/y": "http", "http://127.0.0.1:1/x#sha256=12": "hex digits", "no-such-file": "No such file", WORD: "8192"},
    "user": {"-": "number nor a name", "4294967295": "0 to 4294967294", "nobody-here": "no user", WORD: "256"},
    "volume": {"/no/such/dir:/x": "there", "/etc:x": "slash", "/etc:/x:rx": "ro", "/etc:/proc/x": "/proc", WORD: "slash"},
    "workdir": {"relative": "absolute", "/a/../b": "..", WORD: "absolute"},
}
# Each may be an empty text, or a list of none.
MAY_BE_EMPTY = {"entrypoint", "detach-keys"}


class Flags(GantryTest):
    maxDiff = None

    def run_gantry(self, *words):
        """(status, stderr) of a run."""
        done = subprocess.run([BIN / "gantry", "run", *words], capture_output=True, stdin=subprocess.DEVNULL, check=False,
                              env={**os.environ, "GANTRY_RUNTIME_DIR": str(self.executor.runtime)}, timeout=60)
        return done.returncode, done.stderr.decode(errors="replace")

    def flags(self):
        """{name: (letter, whether it has a value, whether it repeats)}, as --help lists them."""
        text = subprocess.run([BIN / "gantry", "run", "--help"], capture_output=True, text=True, check=True).stdout
        text = text.split("\nEvery command:")[0]
        found = {}
        for block in re.split(r"\n(?=  (?:-.,|   ) --)", text)[1:]:
            letter, name, value = re.match(r"  (?:-(.), |    )--([a-z-]+)( [^ \n]+)?", block).groups()
            found[name] = (letter, value is not None, "(repeats)" in block)
        return found

    def refuse(self, flag, letter, words, value, legal=""):
        """What is said names the flag, the value and what is legal, briefly."""
        status, said = self.run_gantry(*words)
        shown = f"{words[0][:60]} {value[:60]}: {status} {said[:600]!r}"
        if status != 125:
            return shown
        named = f"--{flag}" in said or (letter and f"-{letter} " in said)
        shortened = not value or any(part[:60] in said for part in re.split(r"[=: ,]", value) if part)
        if not said.startswith("gantry: ") or not named or not shortened or legal.lower() not in said.lower() or len(said) > 2500:
            return shown
        return None

    def test_every_flag_has_cases(self):
        self.assertEqual(sorted(WRONG), sorted(name for name, (_, has_value, _) in self.flags().items() if has_value))

    def test_wrong_and_huge_values(self):
        bad = []
        for name, (letter, has_value, _) in self.flags().items():
            if not has_value:
                bad.append(self.refuse(name, letter, [f"--{name}=maybe", "--rootfs", self.root, "/bin/true"], "maybe", "true or false"))
            for value, legal in WRONG.get(name, {}).items():
                root = ["--rm"] if name == "rootfs" else ["--rootfs", self.root]
                if name.startswith("health-"):
                    root += ["--health-cmd", "true"]
                bad.append(self.refuse(name, letter, [f"--{name}={value}", *root, "/bin/true"], value, legal))
        self.assertEqual("\n".join(one for one in bad if one), "")
        self.assertEqual(self.executor.list(), [])

    def test_empty_values_and_two_of_one(self):
        bad = []
        for name, (letter, has_value, repeats) in self.flags().items():
            if not has_value:
                continue
            if name not in MAY_BE_EMPTY:
                bad.append(self.refuse(name, letter, [f"--{name}=", "--rootfs", self.root, "/bin/true"], ""))
            if not repeats:
                words = [f"--{name}", "1", f"--{name}", "2"]
                bad.append(self.refuse(name, letter, [*words, "--rootfs", self.root, "/bin/true"], "1", 'as "1" and as "2"'))
        self.assertEqual("\n".join(one for one in bad if one), "")
        self.assertEqual(self.executor.list(), [])


if __name__ == "__main__":
    main()
