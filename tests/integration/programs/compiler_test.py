"""A build in a container: gcc and make from Debian's packages, the source mounted from the host."""
import os
import subprocess

from debian import ProgramTest
from gantry import main

MAKEFILE = """
CC = gcc
CFLAGS = -O2 -Wall -Werror
objects = main.o greet.o
hello: $(objects)
\tgcc -o $@ $^ -lm
check: hello
\t./hello world | grep -q 'hello, world: 1.414'
clean:
\trm -f hello $(objects)
main.o greet.o: greet.h
.PHONY: check clean
"""
SOURCES = {
    "Makefile": MAKEFILE,
    "greet.h": "void greet(const char* whom);\n",
    "greet.c": '#include "greet.h"\n#include <math.h>\n#include <stdio.h>\n'
               'void greet(const char* whom) { volatile double two = 2; printf("hello, %s: %.3f\\n", whom, sqrt(two)); }\n',
    "main.c": '#include "greet.h"\nint main(int argc, char** argv) { greet(argc > 1 ? argv[1] : "nobody"); return 0; }\n',
}


class Compiler(ProgramTest):
    packages = ("gcc", "make", "dash", "libc6-dev", "grep", "coreutils")

    def setUp(self):
        super().setUp()
        self.top.chmod(0o755)
        self.source = self.top / "source"
        self.source.mkdir()
        os.chown(self.source, 1234, 1234)
        for name, text in SOURCES.items():
            (self.source / name).write_text(text)

    def build(self, *words, status=0):
        """As whoever owns the source, who has no name in there."""
        return self.gantry("run", "--rm", "-u", "1234:1234", "-v", f"{self.source}:/source", "-w", "/source", "--read-only",
                           "--tmpfs", "/tmp", "--memory", "512m", "--rootfs", self.root, "make", *words, status=status)

    def test_make_builds_the_hosts_source_as_its_owner(self):
        self.assertIn("gcc -o hello main.o greet.o", self.build("-j2", "check"))
        self.assertEqual((self.source / "hello").stat().st_uid, 1234)
        # What was made in there runs out here.
        self.assertEqual(subprocess.run([self.source / "hello"], capture_output=True, text=True, check=True).stdout,
                         "hello, nobody: 1.414\n")
        self.assertIn("'hello' is up to date", self.build("hello"))
        self.build("clean")
        self.assertEqual(sorted(path.name for path in self.source.iterdir()), sorted(SOURCES))

    def test_an_error_of_the_compiler_is_the_commands_status_and_says_where(self):
        (self.source / "main.c").write_text("int main(void) { return undeclared; }\n")
        self.build(status=2)

    def test_a_source_that_is_mounted_read_only_is_not_written(self):
        self.gantry("run", "--rm", "-v", f"{self.source}:/source:ro", "-w", "/source", "--rootfs", self.root, "make", status=2)
        self.assertEqual(sorted(path.name for path in self.source.iterdir()), sorted(SOURCES))


if __name__ == "__main__":
    main()
