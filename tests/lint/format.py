"""clang-format 19 has nothing to change (tools/check --fix applies it)."""
import subprocess
import sys

import support


def main():
    top = sys.argv[1]
    names = support.files(top, ".h", ".cc", ".c")
    findings = []
    for start in range(0, len(names), 50):
        done = subprocess.run(["clang-format-19", "--dry-run", *names[start:start + 50]], cwd=top, capture_output=True,
                              text=True, check=False)
        lines = done.stderr.splitlines()
        findings += sorted({line.split(":")[0] + ": clang-format would change it" for line in lines if "warning:" in line
                            or "error:" in line})
    support.finish(findings, len(names))


if __name__ == "__main__":
    main()
