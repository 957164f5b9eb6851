#!/usr/bin/env python3
"""Says what in records is not Elastic Common Schema: fields that it does not know, values of another type than it
gives them, outside of what it allows, single where it has arrays.

    ecs_check.py FIELDS.json < LINES

FIELDS.json is deploy/siem/ecs/fields-9.4.0.json; LINES are those of consume.py. What is wrong goes to standard
output, one thing a line; exit code 1 if there is any, or no record at all.

Free are `certsieve` and what is below it. `tls.server.certificate` is longer than ECS indexes (ignore_above 1024),
and is meant to be: the index template does not index it.
"""

import ipaddress
import json
import re
import sys
from collections import Counter

OWN = "certsieve"
LONG_BY_CONTRACT = {"tls.server.certificate"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TEXTS = ("keyword", "constant_keyword", "wildcard", "text", "match_only_text")


def main(fields_file: str) -> bool:
    with open(fields_file, encoding="utf-8") as file:
        fields = json.load(file)
    objects = {name.rsplit(".", depth)[0] for name in fields for depth in range(1, name.count(".") + 1)}
    count, found = 0, Counter()
    for line in sys.stdin:
        record = json.loads(json.loads(line)["value"])
        count += 1
        found.update(wrong(record, fields, objects))
    for what, times in sorted(found.items()):
        print(f"{what} ({times} of {count} records)")
    if not count:
        print("no record was given")
    return bool(found) or not count


def wrong(record, fields, objects):
    """What is wrong with one record, each thing once."""
    found = set(walk(record, "", fields, objects))
    for name, value in (("ecs", {"version": "9.4.0"}), ("@timestamp", None)):
        if name not in record or value not in (None, record[name]):
            found.add(f"{name}: missing, or not {value}")
    event = record.get("event", {})
    expected = fields["event.category"]["expected_event_types"]
    allowed = {kind for category in event.get("category", []) for kind in expected.get(category, [])}
    for kind in event.get("type", []):
        if event.get("category") and kind not in allowed:
            found.add(f"event.type: {kind} does not go with event.category {event['category']}")
    return found


def walk(value, path, fields, objects):
    for key, item in value.items():
        name = f"{path}{key}"
        if "." in key:
            yield f"{name}: a dotted key"
        elif name == OWN:
            if not isinstance(item, dict):
                yield f"{name}: no object"
        elif name in fields:
            yield from field(item, name, fields[name])
        elif name not in objects:
            yield f"{name}: no field of ECS"
        elif isinstance(item, dict):
            yield from walk(item, f"{name}.", fields, objects)
        else:
            yield f"{name}: no object, which it is in ECS"


def field(item, name, known):
    if known["type"] == "object":
        if not isinstance(item, dict):
            yield f"{name}: no object"
        elif known.get("object_type") == "keyword" and not all(isinstance(value, str) for value in item.values()):
            yield f"{name}: one of its values is no text"
        return
    if isinstance(item, list) != known.get("array", False):
        yield f"{name}: {'a single value where ECS has an array' if known.get('array') else 'an array'}"
    for value in item if isinstance(item, list) else [item]:
        if not typed(value, known["type"]):
            yield f"{name}: {str(value)[:80]!r} is no {known['type']}"
            continue
        if "values" in known and value not in known["values"]:
            yield f"{name}: {value!r} is none of the values that ECS allows"
        if "pattern" in known and not re.fullmatch(known["pattern"], str(value)):
            yield f"{name}: {str(value)[:80]!r} is not {known['pattern']}"
        longest = known.get("ignore_above")
        if longest and len(value) > longest and name not in LONG_BY_CONTRACT:
            yield f"{name}: longer than {longest}, and so not indexed"


def typed(value, kind) -> bool:
    if kind in TEXTS:
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind in ("long", "integer"):
        return isinstance(value, int) and -(2**63) <= value < 2**63
    if kind in ("float", "double", "scaled_float"):
        return isinstance(value, (int, float))
    if kind == "date":
        return isinstance(value, str) and TIME.fullmatch(value) is not None
    if kind == "ip":
        try:
            return isinstance(value, str) and bool(ipaddress.ip_address(value))
        except ValueError:
            return False
    return True


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
