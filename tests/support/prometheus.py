"""A strict reader of Prometheus' text format (version 0.0.4): what promtool would complain about is an error here."""
import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
NUMBER = re.compile(r"[+-]?(\d+(\.\d+)?([eE][+-]?\d+)?|Inf)|NaN")
UNITS = ("seconds", "bytes", "cpus", "total", "info", "ratio")
PLAIN = re.compile(r"_(tasks|tasks_limit|containers|children|fds|connections|requests_in_progress)$")


class Malformed(Exception):
    pass


def read_labels(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match:
            raise Malformed(f"labels {text!r} at {at}")
        name, value, _ = match.groups()
        if name in labels or name.startswith("__"):
            raise Malformed(f"label {name} in {text!r}")
        labels[name] = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)
        at = match.end()
    return labels


def family_of(name, kind):
    if kind == "histogram":
        return re.sub("_(bucket|sum|count)$", "", name)
    return name


def check_histogram(name, samples):
    groups = {}
    for sample, labels, value in samples:
        rest = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        groups.setdefault(rest, []).append((sample, labels.get("le"), value))
    for group in groups.values():
        buckets = [(float(le), value) for sample, le, value in group if sample == name + "_bucket"]
        others = {sample: value for sample, le, value in group if le is None}
        if set(others) != {name + "_sum", name + "_count"}:
            raise Malformed(f"{name}: {sorted(others)}")
        if buckets != sorted(buckets) or buckets[-1] != (math.inf, others[name + "_count"]):
            raise Malformed(f"{name}: buckets {buckets}")
        if [v for _, v in buckets] != sorted(v for _, v in buckets):
            raise Malformed(f"{name}: buckets do not grow: {buckets}")


def check_name(name, kind):
    if not name.startswith("gantry_"):
        raise Malformed(f"{name} has not our prefix")
    if (kind == "counter") != name.endswith("_total"):
        raise Malformed(f"{name} is a {kind}")
    if not name.endswith(UNITS) and not PLAIN.search(name):
        raise Malformed(f"{name} has no base unit")


def parse(text):
    """{name: {labels as a sorted tuple: value}}; the whole page must be as the format demands."""
    if not text.endswith("\n"):
        raise Malformed("the last line does not end")
    families, metrics, current = {}, {}, None
    lines = text.split("\n")[:-1]
    for at, line in enumerate(lines):
        if line.startswith("# HELP "):
            match = re.fullmatch(rf"# HELP ({NAME}) (\S.*)", line)
            if not match or match[1] in families or not lines[at + 1].startswith(f"# TYPE {match[1]} "):
                raise Malformed(f"line {at + 1}: {line}")
            continue
        if line.startswith("# TYPE "):
            match = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line)
            if not match or not lines[at - 1].startswith(f"# HELP {match[1]} "):
                raise Malformed(f"line {at + 1}: {line}")
            current, families[match[1]] = match[1], (match[2], [])
            check_name(match[1], match[2])
            continue
        match = SAMPLE.fullmatch(line)
        if not match or not NUMBER.fullmatch(match[3]):
            raise Malformed(f"line {at + 1}: {line!r}")
        name, labels, value = match[1], read_labels(match[2] or ""), float(match[3])
        if current is None or family_of(name, families[current][0]) != current:
            raise Malformed(f"line {at + 1}: {name} is not of the family {current}")
        if families[current][0] == "counter" and not value >= 0:
            raise Malformed(f"line {at + 1}: a counter of {value}")
        key = tuple(sorted(labels.items()))
        if key in metrics.setdefault(name, {}):
            raise Malformed(f"line {at + 1}: {name}{labels} twice")
        metrics[name][key] = value
        families[current][1].append((name, labels, value))
    for name, (kind, samples) in families.items():
        if not samples:
            raise Malformed(f"{name} has no samples")
        if kind == "histogram":
            check_histogram(name, samples)
    return metrics
