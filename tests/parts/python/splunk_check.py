#!/usr/bin/env python3
"""Holds deploy/siem/splunk against real records, as far as that goes without a Splunk.

    splunk_check.py FOLDER < LINES

LINES are those of consume.py. Of every record: it is not cut, its time is found where and as props.conf says, its
sourcetype is made by transforms.conf, and each field that an alias or an expression of that sourcetype reads is one
that the records have. Of every certificate: all its names and addresses are in ssl_subject_alt_name. What is wrong
goes to standard output; exit code 1 if there is any.
"""

import configparser
import json
import re
import sys
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

SOURCETYPE = "certsieve"
QUOTED = re.compile(r"'([^']+)'")
# Names of persons and places that the certificates at hand need not have.
SELDOM = re.compile(r"\.(organizational_unit|locality|state_or_province)\{\}$|subject\.organization\{\}$|^rule\.id$")


def main(folder: str) -> bool:
    props, transforms = (read(Path(folder) / name) for name in ("props.conf", "transforms.conf"))
    for name in ("eventtypes.conf", "tags.conf", "limits.conf"):
        read(Path(folder) / name)
    first = props[SOURCETYPE]
    transform = transforms[first["TRANSFORMS-certsieve"]]
    found, fields, counts = Counter(), {}, Counter()
    for line in sys.stdin:
        raw = json.loads(line)["value"]
        record = json.loads(raw)
        if len(raw.encode()) > int(first["TRUNCATE"]):
            found["TRUNCATE cuts a record"] += 1
        if "\n" in raw or "\r" in raw:
            found["LINE_BREAKER breaks a record"] += 1
        found.update(timing(first, raw, record))
        match = re.search(transform["REGEX"], raw[: int(transform["LOOKAHEAD"])])
        if not match:
            found["transforms.conf gives a record no sourcetype"] += 1
            continue
        kind = transform["FORMAT"].removeprefix("sourcetype::").replace("$1", match[1])
        if kind != record["event"]["dataset"].replace(".", ":"):
            found[f"{kind} is not what {record['event']['dataset']} should be"] += 1
        if kind not in props:
            found[f"props.conf has no [{kind}]"] += 1
            continue
        counts[kind] += 1
        flat = flattened(record)
        fields.setdefault(kind, set()).update(flat)
        names = record.get("tls", {}).get("server", {}).get("x509", {}).get("alternative_names", [])
        source = props[kind].get("EVAL-ssl_subject_alt_name", "").strip("'")
        if names and flat.get(source) != names:
            found[f"ssl_subject_alt_name of {kind} loses names"] += 1
    for kind, known in fields.items():
        for setting, value in props[kind].items():
            for name in sources(setting, value):
                if name not in known and not SELDOM.search(name):
                    found[f"[{kind}] {setting}: no record has {name}"] += 1
    for kind in props.sections():
        if kind != SOURCETYPE and not counts[kind]:
            found[f"no record was given for [{kind}]"] += 1
    for what, times in sorted(found.items()):
        print(f"{what} ({times} times)")
    return bool(found)


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None, strict=True)
    parser.optionxform = str
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def timing(props, raw, record):
    prefix = re.search(props["TIME_PREFIX"], raw)
    if not prefix:
        yield "TIME_PREFIX is not found"
        return
    given = raw[prefix.end() : prefix.end() + int(props["MAX_TIMESTAMP_LOOKAHEAD"])].partition('"')[0]
    # Splunk's %3N are milliseconds.
    form = props["TIME_FORMAT"].replace("%3N", "%f")
    try:
        read_as = datetime.strptime(given, form).replace(tzinfo=timezone.utc if props["TZ"] == "UTC" else None)
    except ValueError as error:
        yield f"TIME_FORMAT: {error}"
        return
    if read_as != datetime.fromisoformat(record["@timestamp"]):
        yield "TIME_FORMAT reads another time"


def flattened(value, path=""):
    """Fields as Splunk names them: `a.b` below an object, `a{}` in an array."""
    flat = {}
    for key, item in value.items():
        name = f"{path}{key}"
        if isinstance(item, dict):
            flat |= flattened(item, f"{name}.")
        elif isinstance(item, list):
            for one in item:
                for below, inner in (flattened(one, f"{name}{{}}.") if isinstance(one, dict) else {f"{name}{{}}": one}).items():
                    flat.setdefault(below, []).append(inner)
        else:
            flat[name] = item
    return flat


def sources(setting, value):
    """The fields that a setting reads."""
    if setting.startswith("FIELDALIAS-"):
        yield value.split(" AS ")[0].strip()
    elif setting.startswith("EVAL-"):
        yield from QUOTED.findall(value)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
