#!/usr/bin/env python3
"""Makes fields-9.4.0.json: what Elastic Common Schema says of the fields of the sets that certsieve writes.

    extract.py ecs_flat.yml > fields-9.4.0.json

The input is generated/ecs/ecs_flat.yml of https://github.com/elastic/ecs at the tag v9.4.0. One field a line: its
type, whether it is an array, what it may hold, how Elastic indexes it. Needs PyYAML.
"""

import json
import sys

import yaml

# Top-level names that a record of certsieve has; `certsieve` itself is not of ECS.
SETS = ("@timestamp", "ecs", "error", "event", "labels", "log", "message", "observer", "related", "rule", "tags", "tls")
KEPT = ("type", "object_type", "ignore_above", "index", "doc_values", "pattern")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        flat = yaml.safe_load(file)
    lines = []
    for name in sorted(flat):
        if name.split(".")[0] in SETS:
            lines.append(f" {json.dumps(name)}: {json.dumps(extract(flat[name]))}")
    print("{\n" + ",\n".join(lines) + "\n}")


def extract(field: dict) -> dict:
    kept = {key: field[key] for key in KEPT if key in field}
    if "array" in field.get("normalize", []):
        kept["array"] = True
    if values := field.get("allowed_values"):
        kept["values"] = [value["name"] for value in values]
        expected = {v["name"]: v["expected_event_types"] for v in values if v.get("expected_event_types")}
        if expected:
            kept["expected_event_types"] = expected
    return kept


if __name__ == "__main__":
    main()
