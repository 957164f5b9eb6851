#!/usr/bin/env python3
"""Reads topics to their ends, as somebody else's consumer would, and prints each record as a JSON line.

    consume.py TOPIC[,TOPIC…] KEY=VALUE…

KEY=VALUE are librdkafka properties; bootstrap.servers must be among them. The end is where each partition
ends when this starts, as read committed. A line is

    {"topic", "partition", "offset", "timestamp", "key", "headers": [[name, value], …], "value"}

with the headers in the order in which they stand in the record, all of them as text; `key` and a header's
value may be null. A record that is not UTF-8 throughout is an error: certsieve writes none.

Exit code 1, with the reason on standard error, when a topic is missing, rights or login fail, or the end
is not reached within 60 seconds.
"""

import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

CEILING_SECONDS = 60
REQUEST_SECONDS = 20


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    topics = sys.argv[1].split(",")
    properties = dict(argument.split("=", 1) for argument in sys.argv[2:])
    complaints: list[str] = []
    consumer = Consumer(
        {
            # No group is joined and no offset kept: this needs no more than the right to read.
            "group.id": "certsieve-tests",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            # What is really wrong (a login, a certificate) is said here, and elsewhere is a time-out.
            "error_cb": lambda error: complaints.append(error.str().partition(" (after ")[0]),
            # Once is enough: a login that fails is tried again twenty times a second.
            "log_level": 0,
            "reconnect.backoff.ms": 1000,
            **properties,
        }
    )
    try:
        for message in read(consumer, topics):
            print(json.dumps(record(message), ensure_ascii=False))
    except (KafkaException, TimeoutError) as error:
        # The callback is called from here only.
        consumer.poll(0)
        sys.exit("\n".join([f"consume.py: {error}", *dict.fromkeys(complaints)]))
    finally:
        consumer.close()


def read(consumer: Consumer, topics: list[str]):
    """Yields every record that the topics hold now."""
    open_ends: dict[tuple[str, int], int] = {}
    start_at = []
    for topic in topics:
        metadata = consumer.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        for number in metadata.partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=REQUEST_SECONDS)
            if high > low:
                open_ends[topic, number] = high
                start_at.append(TopicPartition(topic, number, low))
    consumer.assign(start_at)
    deadline = time.monotonic() + CEILING_SECONDS
    while open_ends:
        message = consumer.poll(0.1)
        if message is not None:
            if message.error():
                raise KafkaException(message.error())
            yield message
        # The position, not the last record's offset: markers of transactions are records of nobody.
        for position in consumer.position([TopicPartition(*partition) for partition in open_ends]):
            if position.offset >= open_ends[position.topic, position.partition]:
                del open_ends[position.topic, position.partition]
        if open_ends and time.monotonic() > deadline:
            raise TimeoutError(f"not at the end after {CEILING_SECONDS} s; left: {open_ends}")


def record(message) -> dict:
    """One record as text."""
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": text(message.key()),
        "headers": [[name, text(value)] for name, value in message.headers() or []],
        "value": text(message.value()),
    }


def text(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode("utf-8")


if __name__ == "__main__":
    main()
