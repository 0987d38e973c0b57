"""PostgreSQL as a user runs it: initdb into a directory of the host, a server with a restart policy, pgbench, its death."""
import json
import os
import re
import signal

from debian import ProgramTest
from gantry import main, wait_until

USER = 4711
PROGRAMS = "/usr/lib/postgresql/15/bin"


class PostgreSql(ProgramTest):
    packages = ("postgresql-15", "dash", "coreutils")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(cls.debian / "etc/passwd", "a", encoding="utf-8") as file:
            file.write(f"postgres:x:{USER}:{USER}:PostgreSQL:/var/lib/postgresql:/bin/sh\n")
        with open(cls.debian / "etc/group", "a", encoding="utf-8") as file:
            file.write(f"postgres:x:{USER}:\n")
        (cls.debian / "var/lib/postgresql/data").mkdir(parents=True)
        (cls.debian / "run/postgresql").mkdir(parents=True)

    def setUp(self):
        super().setUp()
        self.tree = self.top / "cluster"
        self.tree.mkdir(mode=0o700)
        os.chown(self.tree, USER, USER)
        self.top.chmod(0o755)
        self.gantry("import", self.root, "postgres:15")
        self.flags = ["-u", "postgres", "-v", f"{self.tree}:/var/lib/postgresql/data", "--tmpfs", "/run/postgresql:mode=1777",
                      "-e", "PGDATA=/var/lib/postgresql/data", "-e", f"PATH={PROGRAMS}:/usr/bin:/bin"]

    def serve(self):
        self.gantry("run", "-d", "--name", "db", "--restart", "always", "--memory", "512m", "--shm-size", "128m",
                    "--stop-signal", "SIGINT", *self.flags, "postgres:15", "postgres", "-c", "fsync=on")

    def sql(self, statement, status=0):
        return self.gantry("exec", "db", "psql", "-qAtc", statement, status=status).strip()

    def wait_ready(self):
        wait_until(lambda: self.run_gantry("exec", "db", "pg_isready", "-q").returncode == 0, 60)

    def test_a_database_survives_its_server_its_container_and_its_executor(self):
        said = self.gantry("run", "--rm", *self.flags, "postgres:15", "initdb", "--auth=trust", "-E", "UTF8")
        self.assertIn("Success", said)
        self.serve()
        self.wait_ready()
        self.gantry("exec", "db", "pgbench", "-i", "-s", "2", "-q", "postgres")
        run = self.gantry("exec", "db", "pgbench", "-c", "4", "-T", "5", "postgres")
        rate = float(re.search(r"tps = ([0-9.]+)", run)[1])
        print(json.dumps({"postgresql": "pgbench -c 4 -T 5", "tps": rate}), flush=True)
        self.assertIn("number of failed transactions: 0 ", run)
        balanced = "select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)"
        self.assertEqual(self.sql(balanced), "t")
        history = self.sql("select count(*) from pgbench_history")

        # The server crashes: the policy brings it back, and the volume has everything that was committed.
        os.kill(self.container()["pid"], signal.SIGKILL)
        wait_until(lambda: self.container().get("restarts") == 1, 30)
        self.wait_ready()
        self.assertEqual((self.sql("select count(*) from pgbench_history"), self.sql(balanced)), (history, "t"))

        self.executor.restart()
        self.wait_ready()
        self.gantry("stop", "db")
        self.assertEqual(self.gantry("wait", "db").strip(), "0")
        self.gantry("rm", "db")

        # Another container, the same directory.
        self.serve()
        self.wait_ready()
        self.assertEqual((self.sql("select count(*) from pgbench_history"), self.sql(balanced)), (history, "t"))
        self.assertEqual(self.sql("select nonsense", status=1), "")

    def container(self):
        return next(c for c in self.executor.list() if c["name"] == "db")


if __name__ == "__main__":
    main()
