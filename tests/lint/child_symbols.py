"""The code between clone and exec calls nothing but what is listed here: no malloc, no locks, no stdio, no locale."""
import pathlib
import subprocess
import sys

import support

ALLOWED = {
    # Plain copying and comparing, which the compiler calls by itself.
    "memcpy", "memset", "memmove", "memcmp", "strlen", "strcmp", "strncmp",
    "__memcpy_chk", "__memset_chk", "__memmove_chk",
    # A raw system call that takes no lock; errno's address; the stack protector's end.
    "syscall", "__errno_location", "__stack_chk_fail",
    "_GLOBAL_OFFSET_TABLE_",
}


def main():
    archive = pathlib.Path(sys.argv[2])
    text = subprocess.run(["nm", "--format=posix", archive], capture_output=True, text=True, check=True).stdout
    undefined, defined = {}, set()
    member = ""
    for line in text.splitlines():
        if line.endswith("]:"):
            member = line[line.index("[") + 1:-2]
            continue
        words = line.split()
        if len(words) >= 2 and words[1] in ("U", "w"):
            undefined.setdefault(words[0], member)
        elif len(words) >= 2:
            defined.add(words[0])
    findings = [f"{member}: {name} is not on the list of what may be called between clone and exec"
                for name, member in sorted(undefined.items()) if name not in defined and name not in ALLOWED]
    support.finish(findings, len(defined))


if __name__ == "__main__":
    main()
