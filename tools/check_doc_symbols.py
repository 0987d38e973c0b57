#!/usr/bin/env python3
"""Fails when documentation names code that no longer exists.

Looked at: every back-ticked `path/to/file.h`, `file.h: Symbol`, `file.h:Symbol` and `folder/` in *.md, and relative links.
"""
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:h|cc|c|proto|py|sh|cmake|txt|json|bats))(?:: ?([A-Za-z_][\w:]*))?`")
FOLDER = re.compile(r"`((?:base|api|launcher|fetcher|isolators|network|provisioner|containerizer|checkpoint|executor|tests|bench|"
                    r"examples|docs|tools|cmake)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
ROOMS = ("base", "api", "launcher", "fetcher", "isolators", "network", "provisioner", "containerizer", "checkpoint", "executor",
         "tests", "bench", "examples", "docs", "tools", "cmake")


def findings_of(document, names):
    folder = (TOP / document).parent
    for number, line in enumerate((TOP / document).read_text(encoding="utf-8").splitlines(), 1):
        where = f"{document}:{number}"
        for path, symbol in FILE.findall(line):
            candidates = [folder / path, TOP / path] + [TOP / name for name in names if name.endswith("/" + path)]
            found = [candidate for candidate in candidates if candidate.is_file()]
            if not found and (symbol or path.split("/")[0] in ROOMS):
                yield f"{where}: there is no file {path}"
            elif symbol and not any(re.search(rf"\b{re.escape(symbol.split('::')[-1])}\b", f.read_text(encoding="utf-8"))
                                    for f in found):
                yield f"{where}: {path} has no {symbol}"
        for path in FOLDER.findall(line):
            if not path.startswith("docs/adr/NNNN") and not ((TOP / path).exists() or (folder / path).exists()):
                yield f"{where}: there is no {path}"
        for target in LINK.findall(line):
            if not (folder / target).exists():
                yield f"{where}: a link to {target}, which does not exist"


def main():
    listing = subprocess.run(["git", "-C", str(TOP), "ls-files", "--cached", "--others", "--exclude-standard"],
                             capture_output=True, text=True, check=True).stdout.splitlines()
    documents = [name for name in listing if name.endswith(".md") and (TOP / name).is_file()]
    found = [finding for document in documents for finding in findings_of(document, listing)]
    print("\n".join(found + [f"{len(documents)} documents, {len(found)} findings"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
