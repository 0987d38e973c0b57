"""What the lint scripts share: the project's files, and how a finding is reported."""
import pathlib
import subprocess
import sys


def files(top, *endings):
    """Paths below `top` of the files that git knows or would add, by the ends of their names."""
    command = ["git", "-C", str(top), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = sorted(set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()))
    return [name for name in names if name.endswith(endings) and (pathlib.Path(top) / name).is_file()]


def finish(findings, checked):
    for finding in findings:
        print(finding)
    print(f"{checked} checked, {len(findings)} findings")
    if checked == 0:
        sys.exit("nothing was checked: is this the project's folder?")
    sys.exit(1 if findings else 0)
