"""shellcheck has nothing to say about our shell scripts, and Python's are at least Python."""
import ast
import pathlib
import subprocess
import sys

import support


def main():
    top = pathlib.Path(sys.argv[1])
    findings, checked = [], 0
    for name in support.files(top, ""):
        path = top / name
        if name.startswith(("base/", "api/")) or path.stat().st_size > 200_000:
            continue
        with open(path, "rb") as file:
            first = file.readline(200).decode("utf-8", "replace")
        if name.endswith(".py") or (first.startswith("#!") and "python" in first):
            checked += 1
            try:
                ast.parse(path.read_text(encoding="utf-8"))
            except SyntaxError as error:
                findings.append(f"{name}:{error.lineno}: {error.msg}")
        elif name.endswith((".sh", ".bash")) or (first.startswith("#!") and ("bash" in first or "/sh" in first)):
            checked += 1
            done = subprocess.run(["shellcheck", "-x", "-f", "gcc", "-S", "warning", name], cwd=top, capture_output=True,
                                  text=True, check=False)
            findings += done.stdout.splitlines()
            if done.returncode > 1:
                findings.append(f"{name}: shellcheck: {done.stderr.strip()}")
    support.finish(findings, checked)


if __name__ == "__main__":
    main()
