"""What `cmake --install` and the Debian package put where, that it works from there, and that tools/uninstall takes it away."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from gantry import BIN, TOP, Executor, busybox_root, main, wait_until

BUILD = BIN.parent
PROGRAMS = ("gantry", "gantry-criu-tar", "gantry-executor", "gantry-init", "gantry-launcher", "gantry-logger",
            "gantry-tls", "gantry-worker")
STATIC = ("gantry", "gantry-criu-tar", "gantry-init", "gantry-launcher", "gantry-logger")


def run(*words, check=True, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=120, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done


def files_below(root):
    """Relative paths of all files and links."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or not path.is_dir()}


def expected(zsh):
    return {"bin/gantry", *(f"libexec/gantry/{name}" for name in PROGRAMS), "share/man/man1/gantry.1.gz",
            "share/bash-completion/completions/gantry", f"share/zsh/{zsh}/_gantry",
            "share/fish/vendor_completions.d/gantry.fish", "lib/systemd/system/gantry.service",
            "lib/systemd/system/gantry.slice", "share/doc/gantry/README.md", "share/doc/gantry/examples/config.json",
            "share/doc/gantry/examples/hello.json"}


def without_documents(files, prefix=""):
    return {name for name in files if not name.startswith(f"{prefix}share/doc/gantry/docs/")}


class Directory(unittest.TestCase):
    def setUp(self):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="gantry-test-"))
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)


class Install(Directory):
    """All in one test each, as an installation takes a second."""

    def setUp(self):
        super().setUp()
        self.prefix = self.top / "usr"
        run("cmake", "--install", BUILD, "--prefix", self.prefix)
        self.executor = Executor(self.top)  # its places, and what is left in them
        self.places = ["--runtime-dir", self.executor.runtime, "--data-dir", self.executor.data, "--cgroup-root",
                       self.executor.cgroup_root]
        self.env = {**os.environ, "GANTRY_RUNTIME_DIR": str(self.executor.runtime),
                    "GANTRY_DATA_DIR": str(self.executor.data), "GANTRY_CGROUP_ROOT": self.executor.cgroup_root}
        self.addCleanup(self.uninstall, "--yes")

    def gantry(self, *words, **options):
        return run(self.prefix / "bin/gantry", *words, env=self.env, **options)

    def uninstall(self, *words, **options):
        return run(TOP / "tools/uninstall", "--prefix", self.prefix, *self.places, *words, **options)

    def executor_pid(self):
        return int((self.executor.runtime / "lock").read_text().split()[0])

    def program_of(self, pid):
        return pathlib.Path(os.readlink(f"/proc/{pid}/exe"))

    def test_files_are_where_they_belong_and_say_what_they_should(self):
        self.assertEqual(without_documents(files_below(self.prefix)),
                         expected("site-functions") | {"etc/gantry/config.json"})
        libexec = self.prefix / "libexec/gantry"
        run(libexec / "gantry-executor", "--check-configuration", "--config", self.prefix / "etc/gantry/config.json")
        run("bash", "-n", self.prefix / "share/bash-completion/completions/gantry")
        run("zsh", "-n", self.prefix / "share/zsh/site-functions/_gantry")
        run("fish", "-n", self.prefix / "share/fish/vendor_completions.d/gantry.fish")
        self.assertIn(b"executor upgrade", subprocess.run(["zcat", self.prefix / "share/man/man1/gantry.1.gz"],
                                                         capture_output=True, check=True).stdout)
        self.check_unit()
        self.check_that_settings_stay()

    def check_unit(self):
        units = self.prefix / "lib/systemd/system"
        verified = run("systemd-analyze", "verify", "--man=no", units / "gantry.service", units / "gantry.slice", check=False,
                       env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"})
        # Units of this host may have findings of their own.
        ours = [line for line in verified.stderr.splitlines() if "gantry" in line]
        self.assertEqual(ours, [])
        unit = (units / "gantry.service").read_text()
        command = f"{self.prefix}/libexec/gantry/gantry-executor --config {self.prefix}/etc/gantry/config.json"
        for setting in ("KillMode=process", "Delegate=yes", "Slice=gantry.slice", "Restart=always", f"ExecStart={command}"):
            self.assertIn(f"\n{setting}\n", unit)
        # What containers would inherit, or whose mount namespace would hold their mounts.
        self.assertNotRegex(unit, r"(?m)^(NoNewPrivileges|Protect\w+|Private\w+|Restrict[A-Z]\w+|SystemCall\w+|ReadOnlyPaths"
                                  r"|MemoryDenyWriteExecute|LockPersonality|RootDirectory|CapabilityBoundingSet)=")

    def check_that_settings_stay(self):
        settings = self.prefix / "etc/gantry/config.json"
        settings.write_text('{"exited_seconds": 5}\n')
        run("cmake", "--install", BUILD, "--prefix", self.prefix)
        self.assertEqual(settings.read_text(), '{"exited_seconds": 5}\n')

    def test_it_runs_from_there_and_uninstall_takes_everything_away(self):
        root = busybox_root(self.top / "root")
        self.assertEqual(self.gantry("run", "--rm", "--init", "--rootfs", root, "/bin/echo", "lifted").stdout, "lifted\n")
        self.assertEqual(self.program_of(self.executor_pid()), self.prefix / "libexec/gantry/gantry-executor")
        self.assertIn(str(self.prefix / "libexec/gantry/gantry-executor"), self.gantry("executor", "upgrade").stdout)
        self.gantry("run", "-d", "--name", "sleeper", "--rootfs", root, "/bin/sleep", "1000")
        self.gantry("run", "-d", "--name", "paused", "--rootfs", root, "/bin/sleep", "1001")
        self.gantry("pause", "paused")

        before = files_below(self.prefix)
        plan = self.uninstall("--dry-run")
        self.assertIn("This ends and removes all containers (2), images, ", plan.stderr)
        told = plan.stdout
        for word in ("kill -9 ", f"rm -rf --one-file-system {self.executor.data}/sandboxes", f"{self.prefix}/bin/gantry"):
            self.assertIn(word, told)
        refused = self.uninstall(check=False, input="no\n")
        self.assertEqual((refused.returncode, "all containers (2)" in refused.stderr), (1, True), refused.stderr)
        self.assertEqual(files_below(self.prefix), before)
        self.assertIn("sleeper", self.gantry("ps").stdout)

        note = self.executor.data / "notes.txt"
        note.write_text("not Gantry's\n")
        done = self.uninstall(check=False, input="yes\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(files_below(self.prefix), set())
        self.assertEqual([path.name for path in self.executor.data.iterdir()], ["notes.txt"])
        self.assertIn("files in it that are not Gantry's", done.stderr)
        self.assertFalse(self.executor.runtime.exists())
        wait_until(lambda: not self.executor.leaks())
        note.unlink()
        self.uninstall("--yes")
        self.assertIn("nothing of Gantry's is here", self.uninstall("--dry-run").stderr)

    def test_bad_words_do_nothing(self):
        for words, said in ((["--everything"], "unknown argument --everything"), (["--data-dir"], "--data-dir needs a value"),
                            (["--data-dir", "data"], "--data-dir 'data': an absolute path is needed"),
                            (["--runtime-dir", "/"], "--runtime-dir '/': an absolute path is needed")):
            refused = self.uninstall("--yes", *words, check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(said, refused.stderr)
        self.assertTrue((self.prefix / "bin/gantry").exists())


class Package(Directory):
    """Of the package what lintian would look at."""

    def test_its_contents_owners_and_control_files(self):
        run("cpack", "--config", BUILD / "CPackConfig.cmake", "-G", "DEB", "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip",
            "-B", self.top)
        package = next(self.top.glob("gantry_*.deb"))
        root, control = self.top / "root", self.top / "control"
        run("dpkg-deb", "-x", package, root)
        run("dpkg-deb", "-e", package, control)
        files = {"share/doc/gantry/copyright", "share/doc/gantry/changelog.gz", *expected("vendor-completions")}
        self.assertEqual(without_documents(files_below(root), "usr/"),
                         {f"usr/{name}" for name in files} | {"etc/gantry/config.json"})
        self.check_owners(run("dpkg-deb", "-c", package).stdout)
        self.check_programs(root / "usr/libexec/gantry")
        self.check_control(control, package)
        self.assertEqual(os.readlink(root / "usr/bin/gantry"), "../libexec/gantry/gantry")
        self.assertIn("\nExecStart=/usr/libexec/gantry/gantry-executor\n",
                      (root / "usr/lib/systemd/system/gantry.service").read_text())

    def check_owners(self, listing):
        for line in listing.splitlines():
            mode, owner = line.split()[:2]
            self.assertEqual(owner, "root/root", line)
            self.assertTrue(mode.startswith("l") or re.fullmatch(r"[-d]rw[-x]r-[-x]r-[-x]", mode), line)

    def check_programs(self, libexec):
        for program in libexec.iterdir():
            headers = run("readelf", "-hldS", "--wide", program).stdout
            self.assertNotIn(".debug_info", headers)
            self.assertNotRegex(headers, "RPATH|RUNPATH")
            self.assertEqual(program.name in STATIC, "INTERP" not in headers, program.name)

    def check_control(self, control, package):
        self.assertEqual({path.name for path in control.iterdir()},
                         {"control", "md5sums", "conffiles", "postinst", "prerm", "postrm"})
        for name in ("postinst", "prerm", "postrm"):
            self.assertEqual((control / name).stat().st_mode & 0o777, 0o755)
            run("shellcheck", "-S", "warning", control / name)
            self.assertNotIn("@take_down@", (control / name).read_text())
        self.assertEqual((control / "conffiles").read_text(), "/etc/gantry/config.json\n")
        fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "-f", package).stdout.splitlines()
                      if re.match(r"\S+: ", line))
        self.assertEqual(fields["Package"], "gantry")
        for needed in ("libc6 (>= ", "libstdc++6 (>= ", "libprotobuf", "adduser"):
            self.assertIn(needed, fields["Depends"])


if __name__ == "__main__":
    main()
