#!/usr/bin/env python3
"""Pages for certsieve's alerts through Prometheus Alertmanager.

    pager.py pager.toml           runs until SIGTERM
    pager.py --check pager.toml   says what is wrong with the configuration, and ends

Reads `<prefix>.alert.v1` as a consumer group and posts each alert to Alertmanager's API v2. Whom to wake, and how
often, is left to Alertmanager's routes (alertmanager.yml beside this file).

- **Not lost.** Offsets are committed after the post that holds their alerts was taken. While no Alertmanager takes
  it, it is tried again for ever, after 1 s to 30 s. A record that cannot be read, or that Alertmanager refuses for
  itself, pages as CertsieveUnreadable with its place in the topic.
- **Once.** An `event.id` that was seen within the window (7 days) is not posted as new again: not what Kafka
  delivers twice, not what a second instance of certsieve says too. The window survives a restart without a file of
  its own: at the start the topic is read from that far back. Records before the committed offset count as posted.
- **Firing, and its end.** `startsAt` is the record's @timestamp. An alert fires for 24 hours after it was first
  posted (after a restart: after @timestamp), is posted again every minute so that an Alertmanager that restarts
  learns of it, and ends by itself. Nobody can say of a certificate in a log that it is over: the end only stops
  the reminders.
- **Bounded.** 100,000 ids, 20,000 firing alerts (the oldest end early, which is said), 1,000 alerts that wait for
  Alertmanager (then Kafka is paused). A new record older than the window pages nobody, which is said too: it is a
  group that starts, or starts anew, on a topic that is kept for 90 days.

Needs Python 3.11 and confluent-kafka. Passwords and tokens come from files only.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import random
import re
import signal
import ssl
import sys
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

log = logging.getLogger("pager")

# About 150 bytes each: 15 MB.
MAX_IDS = 100_000
# About 4 KB each: 80 MB when every one of them is there.
MAX_FIRING = 20_000
# Above this Kafka is paused until Alertmanager takes them.
MAX_WAITING = 1_000
# In one request: some 2 MB at most.
MAX_BATCH = 200
# Of one annotation, in characters: mail and chat show less.
MAX_ANNOTATION = 4_096
MAX_LABEL = 512
# An answer is only looked at for its reason.
MAX_ANSWER_BYTES = 4_096
BACK_OFF_SECONDS = (1, 2, 5, 10, 30)
KAFKA_REQUEST_SECONDS = 30

UNREADABLE = "CertsieveUnreadable"


# --- configuration --------------------------------------------------------------------------------------


class ConfigError(Exception):
    """Everything that is wrong with a configuration, one thing a line."""


@dataclass(frozen=True)
class Config:
    topic: str
    kafka: dict
    urls: tuple[str, ...]
    timeout: float = 10.0
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    firing_seconds: float = 24 * 3600.0
    window_seconds: float = 7 * 86400.0
    resend_seconds: float = 60.0


# The keys of each table, and the type of each.
KEYS = {
    "kafka": {
        "brokers": str,
        "topic_prefix": str,
        "group": str,
        "username": str,
        "password_file": str,
        "properties": dict,
    },
    "alertmanager": {
        "urls": list,
        "timeout_seconds": (int, float),
        "ca_file": str,
        "username": str,
        "password_file": str,
        "token_file": str,
    },
    "page": {"firing_hours": (int, float), "window_days": (int, float), "resend_seconds": (int, float)},
}
# What this file promises hangs on these.
OURS = {"bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"}
SECRET = re.compile(r"password|secret|token|\.pem$", re.IGNORECASE)


def load(path: Path) -> Config:
    """Reads a configuration whole, or raises ConfigError with every problem in it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    wrong: list[str] = []
    for table, value in tables.items():
        if table not in KEYS or not isinstance(value, dict):
            wrong.append(f"[{table}] is unknown; known: {', '.join(KEYS)}")
            continue
        for key, item in value.items():
            kind = KEYS[table].get(key)
            if kind is None:
                wrong.append(f"{table}.{key} is unknown; known: {', '.join(KEYS[table])}")
            elif not isinstance(item, kind) or isinstance(item, bool):
                wrong.append(f"{table}.{key} has the wrong type")
    if wrong:
        raise ConfigError("\n".join(wrong))
    kafka, alertmanager, page = (tables.get(table, {}) for table in KEYS)

    def file(table: dict, key: str) -> Path | None:
        """A path beside the configuration, that can be read."""
        if key not in table:
            return None
        found = path.parent / table[key]
        try:
            found.read_bytes()
        except OSError as error:
            wrong.append(f"{key}: {error}")
        return found

    properties = kafka_properties(kafka, file(kafka, "password_file"), wrong)
    urls = tuple(str(url).rstrip("/") for url in alertmanager.get("urls", ()))
    if not urls:
        wrong.append("alertmanager.urls is missing or empty")
    for url in urls:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            wrong.append("alertmanager.urls: one is no http or https URL")
        if parts.username or parts.password:
            wrong.append("alertmanager.urls: no login in an URL; username and password_file are for that")
    if ("username" in alertmanager) != ("password_file" in alertmanager):
        wrong.append("alertmanager.username and alertmanager.password_file belong together")
    if "token_file" in alertmanager and "username" in alertmanager:
        wrong.append("alertmanager: either token_file or username, not both")
    spans = {
        "firing_seconds": page.get("firing_hours", 24) * 3600.0,
        "window_seconds": page.get("window_days", 7) * 86400.0,
        "resend_seconds": float(page.get("resend_seconds", 60)),
        "timeout": float(alertmanager.get("timeout_seconds", 10)),
    }
    for name, span in spans.items():
        if not 0 < span <= 90 * 86400:
            wrong.append(f"{name.removesuffix('_seconds')} must be above 0 and at most 90 days")
    if spans["firing_seconds"] > spans["window_seconds"]:
        wrong.append("page.firing_hours is longer than page.window_days: a restart would forget what still fires")
    config = Config(
        topic=f"{kafka.get('topic_prefix', 'certsieve')}.alert.v1",
        kafka=properties,
        urls=urls,
        ca_file=file(alertmanager, "ca_file"),
        username=alertmanager.get("username"),
        password_file=file(alertmanager, "password_file"),
        token_file=file(alertmanager, "token_file"),
        **spans,
    )
    if wrong:
        raise ConfigError("\n".join(wrong))
    return config


def kafka_properties(kafka: dict, password_file: Path | None, wrong: list[str]) -> dict:
    properties = dict(kafka.get("properties", {}))
    for name in properties:
        if name in OURS:
            wrong.append(f"kafka.properties: {name} is not for you to set: losing no alert hangs on it")
        elif SECRET.search(name) and not name.endswith(".location"):
            wrong.append(f"kafka.properties: {name}: a secret comes from a file, such as kafka.password_file")
    if "brokers" not in kafka:
        wrong.append("kafka.brokers is missing")
    if ("username" in kafka) != ("password_file" in kafka):
        wrong.append("kafka.username and kafka.password_file belong together")
    elif "username" in kafka:
        properties["sasl.username"] = kafka["username"]
        if password_file and password_file.is_file():
            properties["sasl.password"] = secret(password_file)
    return {
        "topic.metadata.refresh.interval.ms": 30_000,
        **properties,
        "bootstrap.servers": kafka.get("brokers", ""),
        "group.id": kafka.get("group", "certsieve-pager"),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
    }


def secret(path: Path) -> str:
    """A file's text; one newline at its end is no part of it."""
    return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")


# --- alerts ---------------------------------------------------------------------------------------------


@dataclass
class Alert:
    """One alert as Alertmanager is told of it. Times are seconds since the epoch."""

    id: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    # Set when it is posted first.
    ends_at: float = 0.0
    url: str = ""
    # Topic, partition, offset: where a person finds the record.
    place: tuple[str, int, int] = ("", 0, 0)

    def body(self) -> dict:
        body = {
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": rfc3339(self.starts_at),
            "endsAt": rfc3339(self.ends_at),
        }
        if self.url:
            body["generatorURL"] = self.url
        return body


def alert_of(value: bytes | None, place: tuple[str, int, int], now: float) -> Alert:
    """The alert that a record's value is; one that says so when it cannot be read."""
    try:
        record = json.loads(value or b"")
        event, own, rule = record["event"], record["certsieve"], record.get("rule", {})
        labels = {label_name(name): text(item) for name, item in record.get("labels", {}).items()}
        # Ours come last: an asset's label must not take the place of what is grouped and routed by.
        labels |= {
            "alertname": "CertsieveAlert",
            "asset": text(own["asset"]),
            "severity": text(record["log"]["level"]),
            "rule": text(rule.get("id", "-")),
            "group": text(own["group"]),
            # Twelve certificates of one issuer are twelve alerts, in one group.
            "event_id": text(event["id"]),
        }
        if not 0 < len(event["id"]) <= MAX_LABEL or not own["group"]:
            raise ValueError("event.id or certsieve.group is empty or too long")
        annotations = {
            "message": text(record["message"]),
            "reasons": "\n".join(text(reason) for reason in own.get("reasons", [])),
            "reference": text(rule.get("reference", "")),
            "url": text(event.get("url", "")),
        }
        return Alert(
            id=event["id"],
            labels={name: item[:MAX_LABEL] for name, item in labels.items() if item},
            annotations={name: item[:MAX_ANNOTATION] for name, item in annotations.items() if item},
            # A clock that is ahead must not put the start behind the end.
            starts_at=min(seconds(record["@timestamp"]), now),
            url=url if (url := annotations["url"]).startswith("https://") else "",
            place=place,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return unreadable(place, f"{type(error).__name__}: {error}", now)


def unreadable(place: tuple[str, int, int], why: str, now: float) -> Alert:
    topic, partition, offset = place
    return Alert(
        id=f"{topic}:{partition}:{offset}",
        labels={
            "alertname": UNREADABLE,
            "asset": "-",
            "severity": "high",
            "rule": "unreadable",
            "group": f"{topic}:unreadable",
            "event_id": f"{topic}:{partition}:{offset}",
        },
        annotations={
            "message": f"An alert on {topic} could not be posted as it is: partition {partition}, offset {offset}",
            "reasons": why[:MAX_ANNOTATION],
        },
        starts_at=now,
        place=place,
    )


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text was expected, found {type(value).__name__}")
    # A lone surrogate is legal in JSON and not in UTF-8.
    return value.encode("utf-8", "replace").decode("utf-8")


def label_name(name: str) -> str:
    name = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"_{name}" if name[:1].isdigit() or not name else name


def seconds(time_text: str) -> float:
    at = datetime.fromisoformat(time_text)
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- what is known --------------------------------------------------------------------------------------


class Window:
    """The ids of a stretch of time, the newest MAX_IDS of them."""

    def __init__(self, span: float, limit: int = MAX_IDS) -> None:
        self.span, self.limit = span, limit
        self.ids: OrderedDict[str, float] = OrderedDict()

    def add(self, id: str, now: float) -> bool:
        """Whether it is new."""
        while self.ids and next(iter(self.ids.values())) < now - self.span:
            self.ids.popitem(last=False)
        if id in self.ids:
            return False
        self.ids[id] = now
        if len(self.ids) > self.limit:
            self.ids.popitem(last=False)
        return True


@dataclass
class Book:
    """Which alerts wait for their first post, and which fire."""

    config: Config
    window: Window = field(init=False)
    waiting: OrderedDict[str, Alert] = field(default_factory=OrderedDict)
    firing: OrderedDict[str, Alert] = field(default_factory=OrderedDict)
    resend_at: float = 0.0

    def __post_init__(self) -> None:
        self.window = Window(self.config.window_seconds)

    def take(self, value: bytes | None, place: tuple[str, int, int], posted: bool, now: float) -> str:
        """Takes a record in; `posted`: it stands before the committed offset. Gives what became of it."""
        alert = alert_of(value, place, now)
        if not self.window.add(alert.id, now):
            return "seen"
        if posted:
            alert.ends_at = alert.starts_at + self.config.firing_seconds
            if alert.ends_at <= now:
                return "over"
            self._fire(alert)
            return "firing"
        if alert.starts_at < now - self.config.window_seconds:
            log.warning("not paged, older than the window: %s of %s", alert.id, rfc3339(alert.starts_at))
            return "old"
        self.waiting[alert.id] = alert
        return "new"

    def due(self, now: float) -> list[Alert]:
        """What is to be posted now: all that waits, and once a minute all that fires."""
        for id in [id for id, alert in self.firing.items() if alert.ends_at <= now]:
            del self.firing[id]
        for alert in self.waiting.values():
            # From its first post on: an Alertmanager that was away for days must still see it fire.
            alert.ends_at = now + self.config.firing_seconds
        again = list(self.firing.values()) if now >= self.resend_at else []
        return [*self.waiting.values(), *again]

    def posted(self, alerts: list[Alert], now: float) -> None:
        for alert in alerts:
            if self.waiting.pop(alert.id, None):
                self._fire(alert)
        if now >= self.resend_at:
            self.resend_at = now + self.config.resend_seconds

    def forget(self, partitions: set[tuple[str, int]]) -> None:
        """Somebody else owns them now, and knows what we knew."""
        for alerts in (self.waiting, self.firing):
            for id in [id for id, alert in alerts.items() if alert.place[:2] in partitions]:
                del alerts[id]
                self.window.ids.pop(id, None)

    def _fire(self, alert: Alert) -> None:
        self.firing[alert.id] = alert
        if len(self.firing) > MAX_FIRING:
            id, _ = self.firing.popitem(last=False)
            log.warning("more than %d alerts fire; no longer kept alive: %s", MAX_FIRING, id)


# --- Alertmanager ---------------------------------------------------------------------------------------


class Refused(Exception):
    """It was understood, and will never be taken."""


class Away(Exception):
    """It was not taken now."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET that succeeds and posts nothing, and takes the login elsewhere."""

    def redirect_request(self, *_: object) -> None:
        return None


class Alertmanager:
    """The members of one cluster. All are told; one that has taken it tells the others."""

    def __init__(self, config: Config) -> None:
        self.config = config
        context = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
        self.opener = urllib.request.build_opener(NoRedirect, urllib.request.HTTPSHandler(context=context))
        # What each member said last, so that an outage is logged once and not every second.
        self.said: dict[str, str] = {}

    def post(self, alerts: list[Alert], now: float) -> None:
        """Posts all; raises Away when at least one of them was taken by nobody."""
        for start in range(0, len(alerts), MAX_BATCH):
            self._batch(alerts[start : start + MAX_BATCH], now)

    def _batch(self, alerts: list[Alert], now: float) -> None:
        try:
            self._to_any([alert.body() for alert in alerts])
        except Refused as refused:
            # A refusal says nothing of the others in the batch: each goes alone.
            if len(alerts) > 1:
                for alert in alerts:
                    self._batch([alert], now)
                return
            [alert] = alerts
            log.error("refused by Alertmanager: %s at %s: %s", alert.id, alert.place, refused)
            instead = unreadable(alert.place, f"{alert.id} was refused by Alertmanager: {refused}", now)
            alert.labels, alert.annotations, alert.url = instead.labels, instead.annotations, ""
            try:
                self._to_any([alert.body()])
            except Refused as again:
                log.error("Alertmanager refuses even to be told of it: %s: %s", alert.id, again)
                alert.ends_at = now

    def _to_any(self, body: list[dict]) -> None:
        payload = json.dumps(body).encode()
        taken, refusal, reasons = False, None, []
        for url in self.config.urls:
            try:
                self._to(url, payload)
                taken, outcome = True, "takes alerts"
            except Refused as error:
                refusal, outcome = error, "takes alerts"
            except Away as error:
                outcome = f"takes no alerts: {error}"
                reasons.append(f"{url}: {error}")
            if self.said.get(url) != outcome:
                log.log(logging.INFO if outcome == "takes alerts" else logging.WARNING, "%s %s", url, outcome)
                self.said[url] = outcome
        if taken:
            return
        if refusal:
            raise refusal
        raise Away("; ".join(reasons))

    def _to(self, url: str, payload: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "certsieve-pager"}
        try:
            # Read each time: a secret that is changed is taken up.
            if self.config.token_file:
                headers["Authorization"] = f"Bearer {secret(self.config.token_file)}"
            elif self.config.username and self.config.password_file:
                login = f"{self.config.username}:{secret(self.config.password_file)}"
                headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
            request = urllib.request.Request(f"{url}/api/v2/alerts", data=payload, headers=headers, method="POST")
            with self.opener.open(request, timeout=self.config.timeout) as answer:
                answer.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read(MAX_ANSWER_BYTES).decode("utf-8", "replace").strip()
            # 422 is the API's own word on a body that its schema does not allow.
            if error.code in (400, 413, 422):
                raise Refused(f"HTTP {error.code}: {reason[:500]}") from None
            raise Away(f"HTTP {error.code}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            # urllib wraps what went wrong; its text holds no secret.
            raise Away(str(getattr(error, "reason", error)) or type(error).__name__) from None


# --- Kafka ----------------------------------------------------------------------------------------------


class Pager:
    """Kafka on one side, Alertmanager on the other, one thread."""

    def __init__(self, config: Config, consumer, alertmanager, clock=time.time) -> None:
        self.config, self.consumer, self.alertmanager, self.clock = config, consumer, alertmanager, clock
        self.book = Book(config)
        # Of each partition: the committed offset when it became ours, and where we are.
        self.committed: dict[tuple[str, int], int] = {}
        self.positions: dict[tuple[str, int], int] = {}
        self.failures = 0
        self.try_at = 0.0
        self.paused = False
        self.stopping = False

    def run(self) -> None:
        self.consumer.subscribe([self.config.topic], on_assign=self.assigned, on_revoke=self.revoked)
        try:
            while not self.stopping:
                self.turn()
        finally:
            self.consumer.close()

    def turn(self) -> None:
        """Takes what Kafka has, and posts what is due."""
        counts: dict[str, int] = {}
        for message in self.consumer.consume(num_messages=MAX_BATCH, timeout=0.5):
            if message.error():
                log.warning("Kafka: %s", message.error())
                continue
            partition = (message.topic(), message.partition())
            posted = message.offset() < self.committed.get(partition, 0)
            outcome = self.book.take(message.value(), (*partition, message.offset()), posted, self.clock())
            counts[outcome] = counts.get(outcome, 0) + 1
            self.positions[partition] = message.offset() + 1
        if counts:
            log.info("read %s", ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
        self.post()
        self.press()

    def post(self) -> None:
        now = self.clock()
        if now < self.try_at:
            return
        due = self.book.due(now)
        new = len(self.book.waiting)
        try:
            if due:
                self.alertmanager.post(due, now)
        except Away as error:
            pause = BACK_OFF_SECONDS[min(self.failures, len(BACK_OFF_SECONDS) - 1)] * random.uniform(0.8, 1.2)
            self.failures += 1
            self.try_at = now + pause
            if self.failures == 1:
                log.warning("%d alerts wait for Alertmanager: %s", new, error)
            return
        self.failures = 0
        self.book.posted(due, now)
        if new:
            log.info("posted %d alerts", new)
        self.commit()

    def commit(self) -> None:
        """What is read is posted now, or needs no post."""
        ahead = {p: offset for p, offset in self.positions.items() if offset > self.committed.get(p, -1)}
        if not ahead:
            return
        try:
            self.consumer.commit(offsets=[position(p, offset) for p, offset in ahead.items()], asynchronous=False)
        except kafka_errors() as error:
            # The next commit holds this one too; at worst the alerts are posted again, which is the same alert.
            log.warning("offsets are not committed: %s", error)
            return
        self.committed |= ahead

    def press(self) -> None:
        """Pauses Kafka while too much waits: the consumer must be asked for messages all the same, or its group
        takes it for dead."""
        full = len(self.book.waiting) >= MAX_WAITING
        if full != self.paused:
            partitions = self.consumer.assignment()
            (self.consumer.pause if full else self.consumer.resume)(partitions)
            self.paused = full

    def assigned(self, consumer, partitions) -> None:
        """Reads each partition from a window ago, or from where it was left if that is earlier."""
        since = int((self.clock() - self.config.window_seconds) * 1000)
        starts = []
        for partition in consumer.committed(partitions, timeout=KAFKA_REQUEST_SECONDS):
            key = (partition.topic, partition.partition)
            asked = position(key, since)
            [found] = consumer.offsets_for_times([asked], timeout=KAFKA_REQUEST_SECONDS)
            _, end = consumer.get_watermark_offsets(position(key, 0), timeout=KAFKA_REQUEST_SECONDS)
            # None so late: the end as it was now, not as it will be when reading starts.
            start = found.offset if found.offset >= 0 else end
            left_at = max(partition.offset, 0) if partition.offset >= 0 else None
            self.committed[key] = left_at or 0
            starts.append(position(key, start if left_at is None else min(start, left_at)))
            log.info("%s %d: from offset %d, posted up to %d", *key, starts[-1].offset, self.committed[key])
        consumer.assign(starts)
        self.paused = False

    def revoked(self, _consumer, partitions) -> None:
        gone = {(partition.topic, partition.partition) for partition in partitions}
        for key in gone:
            self.committed.pop(key, None)
            self.positions.pop(key, None)
        self.book.forget(gone)


def position(partition: tuple[str, int], offset: int):
    from confluent_kafka import TopicPartition

    return TopicPartition(*partition, offset)


def kafka_errors() -> type[Exception]:
    from confluent_kafka import KafkaException

    return KafkaException


def main() -> None:
    arguments = sys.argv[1:]
    check = "--check" in arguments
    files = [argument for argument in arguments if argument != "--check"]
    if len(files) != 1 or files[0].startswith("-"):
        sys.exit(__doc__)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        config = load(Path(files[0]))
    except ConfigError as error:
        print(f"{files[0]}:\n{error}", file=sys.stderr)
        sys.exit(2)
    if check:
        print("ok")
        return
    from confluent_kafka import Consumer, KafkaException

    complaints = OrderedDict()

    def complain(error) -> None:
        # librdkafka says the same every second.
        what = error.str().partition(" (after ")[0]
        if what not in complaints:
            log.warning("Kafka: %s", what)
        complaints[what] = True
        complaints.move_to_end(what)
        if len(complaints) > 100:
            complaints.popitem(last=False)

    try:
        consumer = Consumer({"log_level": 0, **config.kafka, "error_cb": complain})
    except KafkaException as error:
        # It names a property, never its value.
        print(f"{files[0]}: kafka: {error.args[0].str()}", file=sys.stderr)
        sys.exit(2)
    pager = Pager(config, consumer, Alertmanager(config))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(pager, "stopping", True))
    log.info("reading %s as %s", config.topic, config.kafka["group.id"])
    try:
        pager.run()
    except KafkaException as error:
        # A fatal error, or a broker that did not say where the group stands: whoever started us starts us again.
        log.error("Kafka: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
