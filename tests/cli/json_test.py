"""docs/json.md says what each command prints with --json: each is run once, and its members and their types are those of
the page, no more and no fewer. A command that the page does not have fails the test."""
import json
import os
import re
import subprocess

from gantry import BIN, TOP, GantryTest, free_port, main, own_network, wait_until

# What a type of the page, or of the protobuf messages in docs/api.md, is in JSON.
SCALARS = {
    "text": str, "string": str, "bytes": str,
    "integer": int, "int32": int, "uint32": int, "int64": int, "uint64": int,
    "number": (int, float), "double": (int, float), "float": (int, float),
    "bool": bool, "object": dict,
}
# Commands that print all they ever print to stderr.
ON_STDERR = {"run", "exec", "attach", "start -a", "submit"}
REST = "…"


def tables_of(path):
    """heading -> (the text before its first table, that table's rows); of docs/api.md the answers', too."""
    tables, heading, said, rows = {}, "", "", []
    for line in [*path.read_text(encoding="utf-8").splitlines(), "# end"]:
        if line.startswith("#") or re.match(r"(Answer, )?`\w+`:$", line):
            if rows or said:
                tables.setdefault(heading, (said, rows))
            if line.startswith("#"):
                heading, said, rows = line.lstrip("# "), "", []
        elif line.startswith("| ") and not re.match(r"\| (member|field|command) \|", line):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif line and not line.startswith("|") and not rows:
            said += line
    return tables


class Page:
    """The tables of docs/json.md, and those of docs/api.md that it leads to."""

    def __init__(self):
        self.own = tables_of(TOP / "docs/json.md")
        self.api = tables_of(TOP / "docs/api.md")
        self.sections = {name: heading for heading, (said, _) in self.own.items() for name in heading.split(", ")
                         if re.match(r"(In the foreground: o|O)ne object|An array of objects", said)}
        self.silent = [row[0].strip("`") for row in self.own["Where `--json` changes nothing"][1]]

    def members(self, heading):
        """{name: (type, whether it is always there, where that type is looked for)}"""
        found = {}
        for name, kind, there, _ in self.own[heading][1]:
            if name != REST:
                found[name.strip("`")] = (kind, there == "always", self.own)
                continue
            more = self.api_members(link_of(kind)) if "api.md" in kind else self.members(link_of(kind))
            found = {**more, **found}
        return found

    def api_members(self, message):
        """As the API's table has them; no field of it is `always`, for the page says so where one is."""
        return {row[0].strip("`"): (row[1], False, message) for row in self.api[message][1]}

    def check(self, value, kind, scope, where):
        """What is wrong with a value of a type."""
        if match := re.match(r"(list|map) of (.*)", kind):
            if not isinstance(value, list if match[1] == "list" else dict):
                return [f"{where} is {value!r}, not a {kind}"]
            parts = enumerate(value) if match[1] == "list" else value.items()
            return [wrong for key, part in parts for wrong in self.check(part, match[2], scope, f"{where}[{key}]")]
        if kind in SCALARS:
            is_right = isinstance(value, SCALARS[kind]) and (kind == "bool" or not isinstance(value, bool))
            return [] if is_right else [f"{where} is {value!r}, not {kind}"]
        if "](" in kind:
            message = link_of(kind)
            members = self.api_members(message) if "api.md" in kind else self.members(message)
            return self.check_members(value, members, where)
        # A message by its name from where it is named, the nearest first; else an enum, or one that the page leaves out.
        parts = scope.split(".") if isinstance(scope, str) else []
        for depth in range(len(parts), -1, -1):
            message = ".".join([*parts[:depth], kind])
            if message in self.api:
                return self.check_members(value, self.api_members(message), where)
        return [] if isinstance(value, (str, dict)) else [f"{where} is {value!r}, not {kind}"]

    def check_members(self, value, members, where):
        if not isinstance(value, dict):
            return [f"{where} is {value!r}, not an object"]
        wrong = [f"{where} has no {name}" for name, (_, always, _) in members.items() if always and name not in value]
        for name, part in value.items():
            if name not in members:
                wrong.append(f"{where}.{name} is not on the page: {part!r}")
            else:
                kind, _, scope = members[name]
                wrong += self.check(part, kind, scope, f"{where}.{name}")
        return wrong


def link_of(kind):
    return re.match(r"(?:.* )?\[(\S+)\]", kind)[1]


class Json(GantryTest):
    maxDiff = None

    def setUp(self):
        super().setUp()
        self.page, self.ran = Page(), set()
        self.said = []  # what is wrong

    def gantry(self, *words, stdin="", status=0):
        """(stdout, stderr) of a command."""
        done = subprocess.run([BIN / "gantry", *map(str, words)], input=stdin, capture_output=True, check=False, timeout=60,
                              env={**os.environ, "GANTRY_RUNTIME_DIR": str(self.executor.runtime)}, text=True)
        self.assertEqual(done.returncode, status, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout, done.stderr

    def see(self, name, *words, stdin="", status=0):
        """Runs a command, whose section of the page is called `name`; returns what it printed, a list of objects."""
        words = words or (name,)
        out, err = self.gantry(*words[0].split(), "--json", *words[1:], stdin=stdin, status=status)
        heading = self.page.sections[name]
        lines = [line for line in (err if name in ON_STDERR else out).splitlines() if line]
        found = [json.loads(line) for line in lines]
        form = self.page.own[heading][0]
        if "One object a line" not in form:
            self.assertEqual(len(found), 1, f"{words}: {lines}")
        if form.startswith("An array"):
            self.assertIsInstance(found[0], list, words)
            found = found[0]
        self.assertTrue(found, f"{words} printed an empty list: that shows nothing")
        members = self.page.members(heading)
        for one in found:
            self.said += self.page.check_members(one, members, name)
        self.ran.add(name)
        return found

    def test_every_command_prints_what_the_page_says(self):
        self.images()
        self.containers()
        self.looks()
        self.checkpoints()
        self.ends()
        self.host()
        self.assertEqual("\n".join(sorted(set(self.said))), "")
        self.assertEqual(sorted(set(self.page.sections) - self.ran), [], "on the page, and not run here")

    def test_every_command_is_on_the_page(self):
        commands = re.findall(r"^### gantry (\w+)", (TOP / "docs/cli.md").read_text(encoding="utf-8"), re.MULTILINE)
        named = {name.split()[0] for name in [*Page().sections, *Page().silent]}
        self.assertEqual(sorted(set(commands) - named), [])
        self.assertEqual(sorted(named - set(commands) - {"help"}), [])

    def test_a_failure_leaves_stdout_to_json(self):
        self.executor.launch("web", ["/bin/sleep", "100"], self.root)
        out, err = self.gantry("inspect", "--json", "nope", "web", status=1)
        self.assertEqual([one["id"] for one in json.loads(out)], ["web"])
        self.assertIn("gantry: no container", err)
        self.assertEqual(self.gantry("kill", "--json", "nope", "web", status=1)[0], '{"container":"web"}\n')
        self.assertEqual(self.gantry("stats", "--json", "nope", status=1)[0], "")
        self.assertEqual(self.gantry("ps", "--json", "--filter", "name=nope")[0], "[]\n")

    def test_logs_are_cut_between_characters(self):
        # The first byte puts the others on odd places: wherever it is cut, it is within one of them.
        script = r"i=0; line=xé; while [ $i -lt 17 ]; do line=$line${line#x}; i=$((i+1)); done; echo $line; printf 'a\377\303'"
        self.executor.launch("long", ["/bin/sh", "-c", script], self.root)
        self.gantry("wait", "long")
        for flags in ([], ["-t"]):
            pieces = [json.loads(line) for line in self.gantry("logs", "--json", *flags, "long")[0].splitlines()]
            self.assertGreater(len(pieces), 3)
            self.assertEqual("".join(piece["text"] for piece in pieces), "x" + "é" * 2**17 + "\na\ufffd\ufffd")
            self.assertEqual({len(piece) for piece in pieces}, {3 if flags else 2})

    def test_a_command_of_any_bytes(self):
        script = r"""sh -c 'sleep 100; true' "$(printf '\377')"; true"""
        self.executor.launch("web", ["/bin/sh", "-c", script], self.root)
        wait_until(lambda: "sleep 100; true \ufffd" in [one["command"].removeprefix("sh -c ") for one in self.top_of("web")])

    def top_of(self, container):
        out = self.gantry("top", "--json", container)[0]
        self.assertEqual(len(json.loads(out)), len(json.loads(self.gantry("top", "--format", "json", container)[0])))
        return json.loads(out)

    def test_history_is_what_the_table_shows(self):
        self.gantry("import", self.root, "tools:1")
        (layer,) = json.loads(self.gantry("image", "inspect", "tools:1")[0])[0]["layers"]
        self.assertEqual(json.loads(self.gantry("image", "history", "--json", "tools:1")[0]), [{"size_bytes": layer["size_bytes"]}])
        self.gantry("create", "--name", "one", "tools:1", "/bin/true")
        self.gantry("commit", "-m", "second", "one", "tools:2")
        steps = json.loads(self.gantry("image", "history", "--json", "tools:2")[0])
        self.assertEqual((len(steps), steps[0]["comment"], steps[1]), (2, "second", {"size_bytes": layer["size_bytes"]}))

    def test_where_it_changes_nothing(self):
        self.executor.launch("web", ["/bin/sleep", "100"], self.root)
        (self.top / "file").write_text("x")
        self.assertEqual(self.gantry("cp", "--json", self.top / "file", "web:/file")[0], "")
        self.assertEqual(self.gantry("export", "--json", "-o", self.top / "web.tar", "web")[0], "")
        self.gantry("import", self.root, "tools:1")
        self.assertEqual(self.gantry("image", "save", "--json", "-o", self.top / "image.tar", "tools:1")[0], "")
        self.assertTrue(self.gantry("completion", "bash", "--json")[0].startswith("#"))

    def images(self):
        self.see("import", "import", self.root, "tools:1", "--entrypoint", "/bin/sh", "--cmd=-c", "--cmd", "sleep 100")
        self.see("image tag", "image tag", "tools:1", "tools:2")
        self.see("images")
        self.see("image inspect", "image inspect", "tools:1", "tools:2")
        tar = self.top / "images.tar"
        self.gantry("image", "save", "-o", tar, "tools:2")
        self.assertEqual(len(self.see("rmi", "rmi", "tools:2")), 1)
        self.see("image load", "image load", "-i", tar)

    def containers(self):
        full = ["--label", "a=b", "--memory", "64m", "--restart", "always", "--health-cmd", "true", "--health-interval", "100ms",
                "-p", f"{free_port()}:80", "--ulimit", "nofile=100", "--env", "A=1", "--tmpfs", "/scratch", "--cap-add", "NET_RAW",
                "--volume", f"{self.root}:/there:ro", "--log-opt", "max-size=1k", "--add-host", "a:1.2.3.4", "--cpus", "0.5"]
        self.see("run -d", "run", "-d", "--name", "full", *full, "tools:1")
        self.see("run -d", "run", "-d", "--name", "web", "tools:1", "-c", "echo out; echo err >&2; touch /new; exec sleep 100")
        self.assertNotIn("name", self.see("run -d", "run", "-d", "--rm", "tools:1", "-c", "true")[0])
        self.see("create", "create", "--name", "later", "tools:1", "-c", "exit 3")
        self.see("exec -d", "exec", "-d", "full", "/bin/true")
        self.see("exec", "exec", "full", "/bin/sh", "-c", "exit 5", status=5)
        self.see("run", "run", "--rm", "tools:1", "-c", "exit 4", status=4)
        self.see("start -a", "start", "-a", "later", status=3)
        self.executor.launch("reader", ["/bin/cat"], self.root, open_stdin=True)
        self.see("attach", "attach", "reader", stdin="x")

    def looks(self):
        wait_until(lambda: "new" in self.gantry("diff", "web")[0])
        wait_until(lambda: "log" in self.executor.inspect("full")["container"]["health"])
        seen = {one.get("name"): one for one in self.see("ps", "ps", "-a")}
        self.assertEqual((seen["later"]["exit"]["code"], seen["full"]["labels"]), (3, {"a": "b"}))
        self.see("inspect", "inspect", "full", "web", "later")
        self.assertEqual(len(self.see("logs", "logs", "web")), 2)
        self.assertTrue(all("time_ns" in one for one in self.see("logs", "logs", "-t", "web")))
        self.see("stats")
        self.see("top", "top", "web")
        self.see("diff", "diff", "web")
        self.see("commit", "commit", "-m", "new", "web", "web:1")
        self.see("image history", "image history", "web:1")

    def checkpoints(self):
        self.see("checkpoint", "checkpoint", "web")
        self.see("restore", "restore", "web")
        self.see("inspect", "inspect", "web")

    def ends(self):
        for name in ("pause", "resume"):
            self.see(name, name, "web")
        self.see("update", "update", "--memory", "64m", "web")
        self.see("rename", "rename", "web", "site")
        self.see("restart", "restart", "-t", "0", "site")
        self.see("stop", "stop", "-t", "0", "site", "full")
        self.see("start", "start", "site")
        self.see("kill", "kill", "site")
        ends = self.see("wait", "wait", "site", "later")
        self.assertEqual([one["exit"]["shell_status"] for one in ends], [137, 3])
        self.see("rm", "rm", "site")
        self.see("prune", "prune", "-f", "--images")

    def host(self):
        self.gantry("import", self.root, "tools:1")
        self.gantry("create", "--name", "last", "tools:1", "/bin/true")
        self.see("submit", "submit", "-", stdin='{"command":{"value":"true"}}')
        self.see("system info")
        self.see("system df")
        self.see("doctor")
        self.see("doctor --bundle", "doctor", "--bundle", self.top / "report.tar")
        self.see("version", "version", "--executor")
        events = self.see("events", "events", "--since", "10m", "--until", "0s")
        self.assertTrue(all("id" not in one and "name" not in one for one in events if one["type"] == "executor"))
        self.assertNotIn("", [one.get("name") for one in events])
        actions = {one["action"] for one in events}
        self.assertLessEqual({"import", "create", "start", "die", "destroy", "exec_die", "rename"}, actions)
        self.see("executor upgrade")
        self.see("executor stop")
        self.executor.wait_dead()
        self.executor.start()


if __name__ == "__main__":
    own_network()
    main()
