"""Every `gantry …` that a document shows is a command of docs/cli.md, with flags that this command has."""
import pathlib
import re
import sys

import support

SPAN = re.compile(r"`([^`\n]+)`")
USE = re.compile(r"(?<![\w/.$-])gantry ([a-z]\w*)\b([^|;&#`]*)")
FLAG = re.compile(r"(?<=\s)--[a-z][a-z-]+")


def commands(text):
    """command -> its long flags, from the headings and tables of docs/cli.md."""
    found, flags = {}, set()
    for line in text.splitlines():
        if heading := re.match(r"#+ (?:gantry (\w+)|Flags of every command)", line):
            flags = found.setdefault(heading[1] or "", set())
        elif line.startswith("| `-"):
            flags.update(re.findall(r"--[a-z][a-z-]+", line))
    return found


def code_of(text):
    """(line number, code) of spans and of fenced blocks."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            yield number, line
        else:
            for span in SPAN.findall(line):
                yield number, span


def main():
    top = pathlib.Path(sys.argv[1])
    known = commands((top / "docs/cli.md").read_text(encoding="utf-8"))
    common = known.pop("")
    findings, checked = [], 0
    for name in support.files(top, ".md"):
        if name.startswith("docs/adr/") or name == "docs/cli.md":
            continue
        for number, code in code_of((top / name).read_text(encoding="utf-8")):
            for command, words in USE.findall(code):
                checked += 1
                if command == "help":
                    continue
                if command not in known:
                    findings.append(f"{name}:{number}: there is no `gantry {command}`")
                    continue
                unknown = set(FLAG.findall(words)) - known.get(command, set()) - common - {"--help"}
                findings += [f"{name}:{number}: gantry {command} has no {flag}" for flag in sorted(unknown)]
    support.finish(findings, checked)


if __name__ == "__main__":
    main()
