"""gantry-criu-tar writes what GNU tar would: the host's tar reads it, and lists and unpacks the same."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

BIN = pathlib.Path(os.environ["GANTRY_BIN"])
CALL = ["--create", "--gzip", "--no-unquote", "--no-wildcards", "--one-file-system", "--check-links",
        "--preserve-permissions", "--sparse", "--numeric-owner", "--directory", "/proc/self/fd/0", "."]


class CriuTar(unittest.TestCase):
    def setUp(self):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="gantry-criu-tar-"))
        self.addCleanup(shutil.rmtree, self.top)
        self.tree = self.top / "tree"
        self.tree.mkdir(mode=0o1777)

    def archive(self, program, tree=None):
        directory = os.open(tree or self.tree, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return subprocess.run([program, *CALL], stdin=directory, capture_output=True, check=True).stdout
        finally:
            os.close(directory)

    def listing(self, archive):
        done = subprocess.run(["tar", "--list", "--verbose", "--gzip", "--numeric-owner", "--full-time"], input=archive,
                              capture_output=True, check=True)
        return sorted(done.stdout.decode().splitlines())

    def unpacked(self, program, archive):
        """Where a program has unpacked an archive to."""
        where = self.top / "unpacked"
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir()
        # CRIU hands on an image that is open behind its head.
        with tempfile.TemporaryFile() as image:
            image.write(b"head" + archive)
            image.flush()
            os.lseek(image.fileno(), 4, os.SEEK_SET)
            subprocess.run([program, "--extract", "--gzip", "--no-unquote", "--no-wildcards", "--directory", str(where)],
                           stdin=image, check=True)
        return where

    def assert_same(self):
        ours, theirs = self.archive(BIN / "gantry-criu-tar"), self.archive("/usr/bin/tar")
        self.assertEqual(self.listing(ours), self.listing(theirs))
        subprocess.run(["gzip", "--test"], input=ours, check=True)
        for program in (BIN / "gantry-criu-tar", "/usr/bin/tar"):
            for archive in (ours, theirs):
                where = self.unpacked(program, archive)
                for path in self.tree.rglob("*"):
                    if path.is_file() and not path.is_symlink():
                        self.assertEqual((where / path.relative_to(self.tree)).read_bytes(), path.read_bytes())
                self.assertEqual(self.listing(self.archive("/usr/bin/tar", where)), self.listing(theirs))
        return ours

    def test_an_empty_tree(self):
        self.assert_same()

    def test_what_is_in_a_dev(self):
        for name, minor in (("null", 3), ("zero", 5), ("full", 7)):
            os.mknod(self.tree / name, 0o666 | 0o020000, os.makedev(1, minor))
        (self.tree / "fd").symlink_to("/proc/self/fd")
        (self.tree / "pts").mkdir(mode=0o755)
        (self.tree / "pts/inner").mkdir()
        (self.tree / "pts/inner/file").write_text("set-uid")
        (self.tree / "pts/inner/file").chmod(0o4755)
        os.utime(self.tree / "pts/inner", (1, 1))
        os.utime(self.tree / "fd", (2, 2), follow_symlinks=False)
        os.mkfifo(self.tree / "initctl", 0o600)
        os.chown(self.tree / "null", 1000, 5)
        self.assert_same()

    def test_files_of_all_sizes(self):
        for size in (0, 1, 511, 512, 513, 65534, 65535, 65536, 200000):
            (self.tree / f"file{size}").write_bytes(os.urandom(size))
        self.assertEqual(self.assert_same()[:4], b"\x1f\x8b\x08\x00")

    def test_what_is_not_plain_is_the_hosts_tars(self):
        for make in (lambda: (self.tree / ("n" * 120)).write_text("long name"),
                     lambda: (self.tree / "big").write_bytes(bytes(2 << 20)),
                     lambda: os.link(self.tree / "big", self.tree / "again"),
                     lambda: os.makedirs(self.tree / "/".join(["d"] * 20)),
                     lambda: os.chown(self.tree / "big", 1 << 22, 0)):
            make()
            self.assert_same()

    def test_an_archive_that_leads_elsewhere_is_refused(self):
        (self.tree / "in").symlink_to("/")
        outside = self.top / "outside"
        for name in (b"./in/" + str(outside).encode()[1:], b"./../outside", b"/" + str(outside).encode()[1:], b"./.."):
            self.tree.joinpath("file").write_text("x")
            ours = bytearray(self.archive(BIN / "gantry-criu-tar"))
            at = ours.index(b"./file\0")
            ours[at:at + len(name) + 1] = name + b"\0"
            with self.assertRaises(subprocess.CalledProcessError):
                self.unpacked(BIN / "gantry-criu-tar", bytes(ours))
            self.assertFalse(outside.exists())
        for size in range(0, len(ours), 97):  # cut off
            with self.assertRaises(subprocess.CalledProcessError, msg=size):
                self.unpacked(BIN / "gantry-criu-tar", bytes(ours[:size]))

    def test_another_call_is_the_hosts_tars(self):
        done = subprocess.run([BIN / "gantry-criu-tar", "--version"], capture_output=True, text=True, check=True)
        self.assertIn("GNU tar", done.stdout)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("needs root")
    unittest.main(verbosity=2)
