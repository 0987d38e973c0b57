"""Root file systems of real programs: the files of Debian packages that are installed on this machine."""
import functools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from gantry import BIN, GantryTest

# What no program needs to run.
UNUSED = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info", "/usr/share/lintian", "/lib/systemd")


@functools.cache
def installed():
    """Of every installed package the packages it needs: a list of lists of alternatives."""
    fields = "${db:Status-Status}\t${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n"
    table = subprocess.run(["dpkg-query", "-W", "-f", fields], capture_output=True, text=True, check=True).stdout
    needs, provided_by = {}, {}
    for line in table.splitlines():
        status, package, provides, depends = line.split("\t")
        if status != "installed":
            continue
        for name in [package, *names(provides)]:
            provided_by.setdefault(name, package)
        needs[package] = [re.split(r"\s*\|\s*", one) for one in depends.split(",") if one.strip()]
    return needs, provided_by


def names(relations):
    return re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", relations)


def with_dependencies(packages):
    """The packages and, of what they depend on, what is installed."""
    needs, provided_by = installed()
    found, left = set(), list(packages)
    while left:
        package = left.pop()
        if package in found:
            continue
        if package not in needs:
            raise AssertionError(f"{package} is not installed: tools/setup")
        found.add(package)
        for alternatives in needs[package]:
            known = [provided_by[name] for name in names("|".join(alternatives)) if name in provided_by]
            left.extend(known[:1])
    return sorted(found)


def package_root(where, *packages):
    """A root file system of these packages and all they depend on, as a fresh Debian has them; returns its path."""
    root = pathlib.Path(where)
    for directory in ("bin", "sbin", "lib", "lib64"):  # Debian's merged /usr
        (root / "usr" / directory).mkdir(parents=True)
        (root / directory).symlink_to(f"usr/{directory}")
    for directory in ("dev", "etc", "proc", "run", "sys", "tmp", "root", "var/tmp"):
        (root / directory).mkdir(parents=True)
    for directory in ("tmp", "var/tmp"):
        (root / directory).chmod(0o1777)
    listed = subprocess.run(["dpkg-query", "-L", *with_dependencies(["base-files", *packages])], capture_output=True,
                            text=True, check=True).stdout
    files = {line for line in listed.splitlines() if line.startswith("/") and not line.startswith(UNUSED)}
    wanted = [f".{file}" for file in sorted(files) if pathlib.Path(file).is_symlink() or pathlib.Path(file).is_file()]
    packed = subprocess.run(["tar", "-C", "/", "--null", "--no-recursion", "-T", "-", "-cf", "-"],
                            input="\0".join(wanted).encode(), capture_output=True, check=True).stdout
    subprocess.run(["tar", "-C", str(root), "-xf", "-"], input=packed, check=True)
    for name in ("passwd", "group"):
        shutil.copy(f"/usr/share/base-passwd/{name}.master", root / "etc" / name)
    return root


def essential():
    """What every Debian has."""
    table = subprocess.run(["dpkg-query", "-W", "-f", "${Essential} ${Package}\n"], capture_output=True, text=True,
                           check=True).stdout
    return [line.split()[1] for line in table.splitlines() if line.startswith("yes ")]


def package_database(root, *packages):
    """Lets the dpkg in that root know what it is made of, and gives it the directories that are empty."""
    database = root / "var/lib/dpkg"
    for directory in ("info", "triggers", "updates", "parts", "alternatives"):
        (database / directory).mkdir(parents=True, exist_ok=True)
    listed = with_dependencies(["base-files", *packages])
    status = subprocess.run(["dpkg-query", "-s", *listed], capture_output=True, text=True, check=True).stdout
    (database / "status").write_text(status)
    paths = subprocess.run(["dpkg-query", "-L", *listed], capture_output=True, text=True, check=True).stdout.splitlines()
    for path in paths:
        if path.startswith(("/etc/", "/var/")) and pathlib.Path(path).is_dir():
            (root / path[1:]).mkdir(parents=True, exist_ok=True)
    here = pathlib.Path("/var/lib/dpkg")
    for name in listed:
        for file in (*here.glob(f"info/{name}.*"), *here.glob(f"info/{name}:*")):
            shutil.copy(file, database / "info")
    shutil.copy(here / "triggers/ldconfig", database / "triggers")


def repack(package, where):
    """The .deb of an installed package, made of its files; in the directory `where`."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = pathlib.Path(scratch) / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        fields = subprocess.run(["dpkg-query", "-s", package], capture_output=True, text=True, check=True).stdout
        (tree / "DEBIAN/control").write_text(re.sub(r"^Status: .*\n", "", fields, flags=re.M))
        for script in ("triggers", "preinst", "postinst", "prerm", "postrm", "shlibs"):
            path = subprocess.run(["dpkg-query", "--control-path", package, script], capture_output=True, text=True,
                                  check=False).stdout.strip()
            if path:
                shutil.copy(path, tree / "DEBIAN" / script)
        files = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True, check=True).stdout
        for name in files.splitlines():
            file, copy = pathlib.Path(name), tree / name[1:]
            if file.is_symlink() or file.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy, follow_symlinks=False)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(where)], check=True,
                       stdout=subprocess.DEVNULL)


class ProgramTest(GantryTest):
    """Tests whose containers share a root, made of `packages`."""

    packages = ()

    @classmethod
    def setUpClass(cls):
        where = tempfile.mkdtemp(prefix="gantry-test-debian-")
        cls.addClassCleanup(shutil.rmtree, where)
        pathlib.Path(where).chmod(0o755)
        cls.debian = package_root(pathlib.Path(where) / "root", *cls.packages)

    def setUp(self):
        super().setUp()
        self.root = self.debian

    def environment(self):
        return {**os.environ, "GANTRY_RUNTIME_DIR": str(self.executor.runtime), "GANTRY_SOCKET": str(self.executor.socket)}

    def run_gantry(self, *words, **options):
        """The command line, as a user types it, against this test's executor."""
        return subprocess.run([str(BIN / "gantry"), *map(str, words)], capture_output=True, text=True, check=False,
                              timeout=120, env=self.environment(), **options)

    def gantry(self, *words, status=0):
        """The same, whose exit status is known; its stdout."""
        done = self.run_gantry(*words)
        self.assertEqual(done.returncode, status, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout
