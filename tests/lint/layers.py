"""The ladder of docs/architecture.md: an include leads downward, never up and never to a neighbour on the same rung."""
import pathlib
import re
import sys

import support

RUNGS = [{"base"}, {"api"}, {"fetcher", "launcher"}, {"isolators", "network", "provisioner"}, {"containerizer"},
         {"checkpoint"}, {"executor"}, {"examples", "tests", "bench"}]
RUNG_OF = {room: rung for rung, rooms in enumerate(RUNGS) for room in rooms}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
# Only executor/ speaks protobuf and JSON with the world; the formats of OCI and CRIU are libraries of their own in api/.
WIRE = re.compile(r"^api/(wire/|[a-z_0-9]+\.pb\.h$)")


def main():
    top = pathlib.Path(sys.argv[1])
    findings, checked = [], 0
    for name in support.files(top, ".h", ".cc", ".c"):
        room = name.split("/")[0]
        if room not in RUNG_OF:
            continue
        checked += 1
        for number, line in enumerate((top / name).read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if match is None:
                continue
            included = match.group(1)
            other = included.split("/")[0]
            if "/" not in included:
                if (top / name).parent.joinpath(included).exists():
                    findings.append(f'{name}:{number}: "{included}": project headers are included by their full path')
            elif other not in RUNG_OF or other == room:
                continue
            elif RUNG_OF[other] > RUNG_OF[room]:
                findings.append(f"{name}:{number}: {room} may not include {included}: {other} is above it")
            elif RUNG_OF[other] == RUNG_OF[room] and room not in ("examples", "tests", "bench"):
                findings.append(f"{name}:{number}: {room} may not include {included}: {other} is its neighbour")
            elif WIRE.match(included) and room not in ("api", "executor", "tests", "bench", "examples"):
                findings.append(f"{name}:{number}: {included}: only executor/ links the wire")
    support.finish(findings, checked)


if __name__ == "__main__":
    main()
