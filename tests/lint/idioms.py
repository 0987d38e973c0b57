"""Grep-lints that encode the house's idioms. A line that has a reason says so: `// lint: allow NAME, because …`."""
import pathlib
import re
import sys

import support

ROOMS = ("base/", "api/", "launcher/", "fetcher/", "isolators/", "network/", "provisioner/", "containerizer/", "checkpoint/",
         "executor/")
# name, expression, files it does not apply to, why
RULES = [
    # sys::open_at and the others of base/sys.h add O_CLOEXEC themselves.
    ("cloexec", re.compile(r"(?<![\w>])::(open|openat|openat2|memfd_create|pipe2|socket|socketpair|accept4|eventfd|epoll_create1|"
                           r"inotify_init1|timerfd_create|signalfd)\((?!.*CLOEXEC)[^;]*;"), r"^$",
     "descriptors are made close-on-exec"),
    ("pipe", re.compile(r"(?<![\w>])::(pipe|epoll_create|inotify_init|accept)\("), r"^$", "use the variant with CLOEXEC"),
    ("dup", re.compile(r"(?<![\w>])::dup\("), r"^$", "dup() loses close-on-exec: F_DUPFD_CLOEXEC"),
    ("close", re.compile(r"(?<![\w.>:])::close\("), r"^base/|^launcher/child/", "descriptors have an owner: UniqueFd"),
    ("detached", re.compile(r"\bdetached\b"), r"^base/", "no coroutine without a Scope that waits for it"),
    ("system", re.compile(r"(?<![\w:.>])(::|std::)?(system|popen)\("), r"^$", "no shell in between"),
    ("throw", re.compile(r"(^|[;{}]\s*)\s*throw\b(?! *\()|\bcatch \((?!const CLI::)"), r"^base/", "Result<T>, no exceptions"),
    ("lambda coroutine", re.compile(r"\[[^\]\s][^\]]*\]\s*\([^)]*\)\s*(mutable\s*)?->\s*Co<"), r"^$",
     "a coroutine's captures die before it does: make it a named function"),
    # The launcher has no std::string; it checks lengths before it copies.
    ("unsafe", re.compile(r"\b(tmpnam|mktemp|gets|strcpy|strcat|sprintf)\("), r"^launcher/", "unbounded, or a race"),
    ("sleep", re.compile(r"(?<![\w>])::(sleep|usleep)\(|this_thread::sleep_for"), r"^$", "wait for the event, with a deadline"),
    ("undone", re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"), r"^$", "do it, or give it an ADR"),
]
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
ASIO = re.compile(r"#include\s+<boost/(asio|beast)")


def main():
    top = pathlib.Path(sys.argv[1])
    findings, checked, beast = [], 0, []
    for name in support.files(top, ".h", ".cc", ".c"):
        if not name.startswith(ROOMS):
            continue
        checked += 1
        text = (top / name).read_text(encoding="utf-8")
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            if name.endswith(".h") and ASIO.search(line) and name not in ("base/co.h", "base/pch.h"):
                if "Not a public header" not in text:
                    findings.append(f"{name}:{number}: Asio is in no public header but base/co.h, Beast in none")
            code = STRING.sub('""', line).split("//")[0]
            for rule, expression, elsewhere, why in RULES:
                if re.search(elsewhere, name) or not expression.search(line if rule == "undone" else code):
                    continue
                nearby = line + (lines[number - 2] if number > 1 else "")
                if f"lint: allow {rule}" not in nearby:
                    findings.append(f"{name}:{number}: {rule}: {why}: {line.strip()}")
        if "boost/beast" in text and name.endswith(".cc"):
            beast.append(name)
        if name.endswith(".h") and "#pragma once" not in text:
            findings.append(f"{name}: no #pragma once")
    if len(beast) > 3:
        findings.append(f"Beast is compiled in more than three files: {', '.join(beast)}")
    support.finish(findings, checked)


if __name__ == "__main__":
    main()
