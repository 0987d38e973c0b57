"""A Debian shell at a terminal: apt-get installs a package from a repository on the host, and bash has its jobs."""
import contextlib
import http.server
import subprocess
import threading

from debian import ProgramTest, essential, package_database, repack
from gantry import main, own_network, wait_until
from person import Person

# A program and what it needs: none of them is in the image.
REPOSITORY = ("jq", "libjq1", "libonig5")


class Repository:
    """A directory of packages, served to the containers of the bridge."""

    def __init__(self, where):
        where.mkdir()
        for package in REPOSITORY:
            repack(package, where)
        listing = subprocess.run(["dpkg-scanpackages", "."], cwd=where, capture_output=True, check=True).stdout
        (where / "Packages").write_bytes(listing)

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=str(where))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Shell(ProgramTest):
    start_flags = ("--here",)
    packages = ("apt", *essential())

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        package_database(cls.debian, *cls.packages)

    def shell(self, *flags):
        self.gantry("import", self.root, "debian:12", "--cmd", "bash")
        person = Person(self, "run", "-it", "--name", "shell", *flags, "debian:12")
        person.expect("# ")
        return person

    def test_apt_installs_a_package_and_what_it_needs(self):
        with contextlib.closing(Repository(self.top / "repository")) as repository:
            (self.root / "etc/apt/sources.list").write_text(
                f"deb [trusted=yes] http://host.docker.internal:{repository.port} ./\n")
            person = self.shell("--network", "bridge")
            person.type("jq --version; apt-get update && apt-get install -y jq; echo in''stalled $?\n")
            person.expect("jq: command not found")
            person.expect("installed 0\r\n", 60)
            person.type("""echo '{"a": [1, 2]}' | jq -cM .a; dpkg --audit; apt-get check; echo $? whole\n""")
            person.expect(r"\[1,2\]\r\n")
            person.expect("0 whole\r\n")
            person.type("exit\n")
            self.assertEqual(person.ends(), 0)
        # It is in the container, and goes on being there.
        self.gantry("start", "shell")
        self.assertEqual(self.gantry("exec", "shell", "dpkg-query", "-W", "-f", "${db:Status-Status}", "jq"), "installed")
        purged = self.gantry("exec", "shell", "apt-get", "autopurge", "-qy", "jq")
        self.assertIn("Removing libonig5", purged)
        self.assertEqual(self.run_gantry("exec", "shell", "jq", "--version").returncode, 127)
        self.gantry("rm", "-f", "shell")

    def test_bash_has_job_control(self):
        person = self.shell()
        person.type("sh -c 'echo begu''n; exec sleep 1000'\n")
        person.expect("begun\r\n")
        person.type("\x1a")  # ctrl-z
        person.expect(r"\[1\]\+  Stopped +sh -c")
        person.type("sleep 500 & jobs -r\n")
        person.expect(r"\[2\]-  Running +sleep 500")
        person.type("fg 1\n")
        person.expect("exec sleep 1000'\r\n")
        person.type("\x03")  # ctrl-c: the job, not the shell
        person.type("echo $? and the shell goes on\n")
        person.expect("130 and the shell goes on\r\n")
        person.type("kill %2; wait %2; echo $? for the other\n")
        person.expect("143 for the other\r\n")
        person.resize(41, 123)
        wait_until(lambda: person.type("stty size\n") or person.expect(r"(\d+ \d+)\r\n")[1] == b"41 123")
        person.type("echo $LINES $COLUMNS\n")  # bash itself was told
        person.expect("41 123\r\n")
        person.type("exit 7\n")
        self.assertEqual(person.ends(), 7)
        self.gantry("rm", "shell")


if __name__ == "__main__":
    own_network()
    main()
