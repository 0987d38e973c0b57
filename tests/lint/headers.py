"""Every header compiles by itself.

A header that reaches Asio (through base/co.h) is compiled with base's precompiled header, since Asio alone costs seconds;
all others without it. What compiled once is not compiled again until it or a header it includes changes.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import support

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
ROOMS = ("base/", "api/", "launcher/", "fetcher/", "isolators/", "network/", "provisioner/", "containerizer/", "checkpoint/",
         "executor/", "tests/support/")


class Headers:
    def __init__(self, top, build):
        self.top, self.build = pathlib.Path(top), pathlib.Path(build)
        self.names = [name for name in support.files(top, ".h") if name.startswith(ROOMS) and name != "base/pch.h"]
        self.commands = json.loads((self.build / "compile_commands.json").read_text(encoding="utf-8"))
        self.cache = self.build / "lint-headers"
        self.cache.mkdir(exist_ok=True)
        self.reached = {}
        # A target that uses base's precompiled header without being base itself names it in its flags.
        pch = sorted(self.build.glob("base/CMakeFiles/gantry_base.dir/cmake_pch.hxx.pch"))
        self.pch = pch[0] if pch else None

    def closure(self, name):
        """The project's headers that a header reaches, itself included."""
        found, pending = set(), [name]
        while pending:
            current = pending.pop()
            if current in found or not (self.top / current).is_file():
                continue
            found.add(current)
            pending += INCLUDE.findall((self.top / current).read_text(encoding="utf-8"))
        return found

    def flags(self, name, uses_pch):
        """The flags of a source file as near to the header as there is; of several, one that sees most."""
        def distance(entry):
            source = os.path.relpath(entry["file"], self.top)
            near = len(os.path.commonprefix([os.path.dirname(source) + "/", os.path.dirname(name) + "/"]))
            return (-near, -len(re.findall(r" -(?:I|isystem)", entry["command"])))
        entries = [e for e in self.commands if e["file"].endswith(".cc")]
        entry = min((e for e in entries if not uses_pch or "cmake_pch" in e["command"]), key=distance)
        words, kept, skip = shlex.split(entry["command"]), [], 0
        start = next(i for i, word in enumerate(words) if re.search(r"clang\+\+(-\d+)?$", word))
        for i, word in enumerate(words[start:], start):
            if skip:
                skip -= 1
            elif word in ("-o", "-MF", "-MT", "-c"):
                skip = 0 if word == "-c" else 1
            elif word == "-Xclang" and words[i + 1] in ("-include-pch", "-include"):
                skip = 3
            elif word == "-Xclang" and words[i + 1] == "-fno-pch-timestamp":
                skip = 1
            elif word == "-MD" or word.endswith(".cc"):
                continue
            else:
                kept.append(word)
        return kept + ["-D__STDC_FORMAT_MACROS"], entry["directory"]

    def check(self, name):
        closure = self.closure(name)
        uses_pch = "base/co.h" in closure and self.pch is not None
        command, directory = self.flags(name, uses_pch)
        if uses_pch:
            command += ["-Xclang", "-include-pch", "-Xclang", str(self.pch)]
        digest = hashlib.sha256(" ".join(command).encode())
        for other in sorted(closure):
            digest.update((self.top / other).read_bytes())
        mark = self.cache / digest.hexdigest()[:32]
        if mark.exists():
            return ""
        command += ["-fsyntax-only", "-x", "c++", "-"]
        done = subprocess.run(command, cwd=directory, input=f'#include "{name}"\n', capture_output=True, text=True,
                              check=False)
        if done.returncode == 0:
            mark.touch()
            return ""
        return f"{name} does not compile by itself:\n{done.stderr[:1500]}"


def main():
    headers = Headers(sys.argv[1], sys.argv[2])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(headers.check, headers.names))
    support.finish([result for result in results if result], len(results))


if __name__ == "__main__":
    main()
