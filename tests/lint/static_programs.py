"""Programs that must start fast, or run from a sealed memfd, need no dynamic loader: they have no PT_INTERP."""
import os
import subprocess
import sys

import support


def main():
    findings = []
    for program in sys.argv[2:]:
        if not os.path.exists(program):
            findings.append(f"{program} is not built")
            continue
        text = subprocess.run(["readelf", "--program-headers", "--wide", program], capture_output=True, text=True,
                              check=True).stdout
        if "INTERP" in text:
            findings.append(f"{program} has PT_INTERP: it is not static")
    support.finish(findings, len(sys.argv) - 2)


if __name__ == "__main__":
    main()
