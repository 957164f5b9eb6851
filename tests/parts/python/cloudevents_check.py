#!/usr/bin/env python3
"""Reads lines of consume.py with the CloudEvents SDK, and holds what it understood against the raw headers.

    consume.py … | cloudevents_check.py

The SDK alone proves little: it makes up an id and a time where the record has none. So each header must
come back as the attribute of its name, each attribute must stand in a header, and the required ones must
be there raw. Prints how many records it read; exit code 1 names each that is wrong.
"""

import json
import sys
from datetime import datetime

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type")


def main() -> None:
    records = 0
    wrong = 0
    for line in sys.stdin:
        records += 1
        record = json.loads(line)
        for problem in problems(record):
            wrong += 1
            place = f"{record['topic']}/{record['partition']}@{record['offset']}"
            print(f"cloudevents_check.py: {place}: {problem}", file=sys.stderr)
    if records == 0:
        sys.exit("cloudevents_check.py: no record came in")
    print(f"{records} records, {wrong} problems")
    sys.exit(1 if wrong else 0)


def problems(record: dict):
    """Yields what is wrong with one record, in words."""
    names = [name for name, _ in record["headers"]]
    if len(set(names)) != len(names):
        yield f"a header stands twice: {names}"
    raw = dict(record["headers"])
    if None in raw.values() or record["value"] is None:
        yield "the value, or a header's, is null"
        return
    if raw.get("ce_specversion") != "1.0":
        yield f"ce_specversion is {raw.get('ce_specversion')!r}: the SDK reads others too, we write 1.0"
    for name in REQUIRED:
        if not raw.get(name):
            yield f"header {name} is missing or empty"
    message = KafkaMessage(
        headers={name: value.encode() for name, value in record["headers"]},
        key=None if record["key"] is None else record["key"].encode(),
        value=record["value"].encode(),
    )
    try:
        event = from_binary_event(message)
    except Exception as error:  # Whatever the SDK objects to is the finding.
        yield f"the SDK refuses it: {type(error).__name__}: {error}"
        return
    understood = {attribute: value for attribute, value in event.get_attributes().items() if value is not None}
    if understood.pop("partitionkey", record["key"]) != record["key"]:
        yield "the key came back as another"
    for name, value in raw.items():
        attribute = "datacontenttype" if name == "content-type" else name.removeprefix("ce_")
        if attribute not in understood:
            yield f"header {name} is no attribute"
        elif not same(value, understood.pop(attribute)):
            yield f"header {name} is {value!r}, and came back as another value"
    for attribute in understood:
        yield f"attribute {attribute} stands in no header"
    try:
        if event.get_data() != json.loads(record["value"]):
            yield "the value came back as another"
    except json.JSONDecodeError as error:
        yield f"the value is not JSON: {error}"


def same(raw: str, understood) -> bool:
    if isinstance(understood, datetime):
        return datetime.fromisoformat(raw) == understood
    return raw == str(understood)


if __name__ == "__main__":
    main()
