"""Tests of pager.py that need neither Kafka nor Alertmanager: `python3 -m unittest` in this folder.

The consumer is a stand-in that keeps a log and committed offsets as a broker would; Alertmanager is a real HTTP
server that can be away, refuse and redirect.
"""

import http.server
import json
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

import pager
from pager import Alert, Alertmanager, Away, Book, Config, Pager, Window, alert_of

NOW = 1_795_599_002.412
HOUR, DAY = 3600.0, 86400.0
TOPIC = "certsieve.alert.v1"


def record(number=1, at="2026-11-25T09:30:02.412Z", **changes):
    value = {
        "@timestamp": at,
        "message": "Unexpected certificate for resolver: 1.1.1.1 issued by Fina RDC 2020",
        "event": {"id": f"id-{number}", "url": "https://crt.sh/?q=8ABD"},
        "log": {"level": "critical"},
        "rule": {"id": "unexpected-issuer", "reference": "https://runbooks.example.net/ct"},
        "labels": {"team": "dns-oncall"},
        "certsieve": {"asset": "resolver", "group": "resolver:7f3c", "reasons": ["one", "two"]},
    }
    value.update(changes)
    return json.dumps(value).encode()


def config(**changes):
    return Config(**{"topic": TOPIC, "kafka": {}, "urls": ("http://127.0.0.1:9",), **changes})


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code, headers = self.server.answer(json.loads(body))
        self.server.requests.append((self.path, dict(self.headers), json.loads(body), code))
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b'"because"' if code != 200 else b"")

    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers), None, 200))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Server:
    """An Alertmanager of a test's making."""

    def __enter__(self):
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.http.requests, self.http.answer = [], lambda body: (200, {})
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def ids(self):
        return [alert["labels"]["event_id"] for _, _, body, code in self.http.requests if code == 200 for alert in body]


class Message:
    def __init__(self, partition, offset, value):
        self._at = (TOPIC, partition, offset)
        self._value = value

    def topic(self):
        return self._at[0]

    def partition(self):
        return self._at[1]

    def offset(self):
        return self._at[2]

    def value(self):
        return self._value

    def error(self):
        return None


class Position:
    def __init__(self, topic, partition, offset=-1001):
        self.topic, self.partition, self.offset = topic, partition, offset


class Broker:
    """One partition: its values with their times, and the group's offset."""

    def __init__(self, *values):
        self.log = [(NOW, value) for value in values]
        self.offset = -1001
        self.commits = []

    def consumer(self):
        return Consumer(self)


class Consumer:
    def __init__(self, broker):
        self.broker, self.at, self.paused = broker, None, False

    def subscribe(self, topics, on_assign, on_revoke):
        self.revoke = on_revoke
        on_assign(self, [Position(topics[0], 0)])

    def committed(self, partitions, timeout):
        return [Position(p.topic, p.partition, self.broker.offset) for p in partitions]

    def offsets_for_times(self, partitions, timeout):
        since = partitions[0].offset / 1000
        later = [offset for offset, (at, _) in enumerate(self.broker.log) if at >= since]
        return [Position(TOPIC, 0, later[0] if later else -1)]

    def get_watermark_offsets(self, partition, timeout):
        return 0, len(self.broker.log)

    def assign(self, partitions):
        self.at = partitions[0].offset

    def assignment(self):
        return [Position(TOPIC, 0)]

    def pause(self, _):
        self.paused = True

    def resume(self, _):
        self.paused = False

    def consume(self, num_messages, timeout):
        if self.paused:
            return []
        found = self.broker.log[self.at : self.at + num_messages]
        messages = [Message(0, self.at + number, value) for number, (_, value) in enumerate(found)]
        self.at += len(messages)
        return messages

    def commit(self, offsets, asynchronous):
        assert not asynchronous
        self.broker.offset = offsets[0].offset
        self.broker.commits.append(self.broker.offset)

    def close(self):
        pass


class Case(unittest.TestCase):
    def setUp(self):
        for name, stand_in in (
            ("position", lambda partition, offset: Position(*partition, offset)),
            ("kafka_errors", lambda: RuntimeError),
        ):
            patch = mock.patch.object(pager, name, stand_in)
            patch.start()
            self.addCleanup(patch.stop)
        pager.log.setLevel("CRITICAL")
        self.now = NOW

    def pager(self, broker, server, **changes):
        settings = config(urls=(server.url,), **changes)
        made = Pager(settings, broker.consumer(), Alertmanager(settings), clock=lambda: self.now)
        made.consumer.subscribe([TOPIC], made.assigned, made.revoked)
        return made


class Alerts(Case):
    def test_an_alert_says_what_the_record_says(self):
        alert = alert_of(record(), (TOPIC, 0, 7), NOW)
        self.assertEqual(
            alert.labels,
            {
                "alertname": "CertsieveAlert",
                "asset": "resolver",
                "severity": "critical",
                "rule": "unexpected-issuer",
                "group": "resolver:7f3c",
                "event_id": "id-1",
                "team": "dns-oncall",
            },
        )
        self.assertEqual(
            alert.annotations,
            {
                "message": "Unexpected certificate for resolver: 1.1.1.1 issued by Fina RDC 2020",
                "reasons": "one\ntwo",
                "reference": "https://runbooks.example.net/ct",
                "url": "https://crt.sh/?q=8ABD",
            },
        )
        alert.ends_at = NOW + HOUR
        body = alert.body()
        self.assertEqual(body["startsAt"], "2026-11-25T09:30:02.412Z")
        self.assertEqual(body["endsAt"], "2026-11-25T10:30:02.412Z")
        self.assertEqual(body["generatorURL"], "https://crt.sh/?q=8ABD")

    def test_labels_of_the_asset_do_not_take_the_place_of_ours(self):
        labels = {"severity": "low", "group": "x", "cost center": "7", "1st": "y", "empty": ""}
        alert = alert_of(record(labels=labels), (TOPIC, 0, 7), NOW)
        self.assertEqual(alert.labels["severity"], "critical")
        self.assertEqual(alert.labels["group"], "resolver:7f3c")
        self.assertEqual(alert.labels["cost_center"], "7")
        self.assertEqual(alert.labels["_1st"], "y")
        self.assertNotIn("empty", alert.labels)

    def test_what_cannot_be_read_pages_too(self):
        own = {"asset": "a", "group": "g"}
        for value in (
            None,
            b"",
            b"{",
            b"[]",
            b"7",
            b"\xff",
            b"[" * 100_000,
            record(event={}),
            record(event={"id": ""}),
            record(event={"id": "x" * 600}),
            record(event={"id": 7}),
            record(at="yesterday"),
            record(at=None),
            record(log="high"),
            record(labels=["a"]),
            record(labels={"a": {}}),
            record(certsieve=[]),
            record(certsieve={**own, "group": ""}),
            record(certsieve={**own, "reasons": [1]}),
        ):
            alert = alert_of(value, (TOPIC, 2, 7), NOW)
            self.assertEqual(alert.labels["alertname"], "CertsieveUnreadable", value)
            self.assertEqual(alert.id, f"{TOPIC}:2:7")
            self.assertIn("partition 2, offset 7", alert.annotations["message"])

    def test_texts_are_bounded_and_can_be_sent(self):
        own = {"asset": "a\ud800", "group": "g" * 5_000, "reasons": ["r" * 5_000]}
        alert = alert_of(record(certsieve=own), (TOPIC, 0, 0), NOW)
        self.assertEqual(alert.labels["asset"], "a?")
        self.assertEqual(len(alert.labels["group"]), pager.MAX_LABEL)
        self.assertEqual(len(alert.annotations["reasons"]), pager.MAX_ANNOTATION)
        json.dumps(alert.body()).encode()

    def test_a_start_lies_never_ahead(self):
        alert = alert_of(record(at="2027-01-01T00:00:00Z"), (TOPIC, 0, 0), NOW)
        self.assertEqual(alert.starts_at, NOW)


class Windows(Case):
    def test_an_id_is_new_once_within_the_window(self):
        window = Window(HOUR, limit=3)
        self.assertTrue(window.add("a", NOW))
        self.assertFalse(window.add("a", NOW + HOUR))
        self.assertTrue(window.add("a", NOW + HOUR + 1))

    def test_the_oldest_makes_room(self):
        window = Window(HOUR, limit=3)
        for id in "abcd":
            self.assertTrue(window.add(id, NOW))
        self.assertEqual(len(window.ids), 3)
        self.assertTrue(window.add("a", NOW))
        self.assertFalse(window.add("d", NOW))


class Books(Case):
    def test_an_alert_fires_for_a_day_and_is_kept_alive(self):
        book = Book(config())
        self.assertEqual(book.take(record(), (TOPIC, 0, 0), False, NOW), "new")
        [alert] = book.due(NOW)
        book.posted([alert], NOW)
        self.assertEqual(alert.ends_at, NOW + DAY)
        self.assertEqual(book.due(NOW + 59), [])
        self.assertEqual(book.due(NOW + 60), [alert])
        book.posted([alert], NOW + 60)
        self.assertEqual(book.due(NOW + 119), [])
        self.assertEqual(alert.ends_at, NOW + DAY, "a reminder does not put its end off")
        self.assertEqual(book.due(NOW + DAY), [])

    def test_an_alert_that_waited_for_days_fires_all_the_same(self):
        book = Book(config())
        book.take(record(), (TOPIC, 0, 0), False, NOW)
        [alert] = book.due(NOW + 3 * DAY)
        self.assertEqual(alert.ends_at, NOW + 4 * DAY)

    def test_what_was_posted_before_a_restart_fires_until_its_end(self):
        book = Book(config())
        self.assertEqual(book.take(record(1), (TOPIC, 0, 0), True, NOW + HOUR), "firing")
        self.assertEqual(book.take(record(2), (TOPIC, 0, 1), True, NOW + DAY), "over")
        self.assertEqual(book.take(record(1), (TOPIC, 0, 2), False, NOW + HOUR), "seen")
        self.assertEqual(book.take(record(2), (TOPIC, 0, 3), False, NOW + DAY), "seen")

    def test_older_than_the_window_pages_nobody(self):
        book = Book(config())
        self.assertEqual(book.take(record(), (TOPIC, 0, 0), False, NOW + 7 * DAY + 1), "old")
        self.assertEqual(book.due(NOW + 7 * DAY + 1), [])

    def test_too_many_end_the_oldest(self):
        book = Book(config())
        with mock.patch.object(pager, "MAX_FIRING", 2):
            for number in range(3):
                book.take(record(number), (TOPIC, 0, number), False, NOW)
            book.posted(book.due(NOW), NOW)
        self.assertEqual(list(book.firing), ["id-1", "id-2"])


class Posts(Case):
    def test_every_alert_is_posted_once_and_then_committed(self):
        broker = Broker(*(record(n) for n in range(12)), record(3), record(7))
        with Server() as server:
            running = self.pager(broker, server)
            running.turn()
            running.turn()
        self.assertEqual(server.ids(), [f"id-{n}" for n in range(12)])
        self.assertEqual(broker.offset, 14)

    def test_nothing_is_committed_that_was_not_taken(self):
        broker = Broker(record())
        with Server() as server:
            server.http.answer = lambda body: (503, {})
            running = self.pager(broker, server)
            running.turn()
            self.assertEqual((broker.commits, len(server.http.requests)), ([], 1))
            running.turn()
            self.assertEqual(len(server.http.requests), 1, "it backs off")
            self.now += 40
            running.turn()
            self.assertEqual((broker.commits, len(server.http.requests)), ([], 2))
            server.http.answer = lambda body: (200, {})
            self.now += 40
            running.turn()
        self.assertEqual(server.ids(), ["id-1"])
        self.assertEqual(broker.offset, 1)

    def test_a_crash_between_post_and_commit_posts_the_same_alert_again(self):
        broker = Broker(record())
        with Server() as server:
            running = self.pager(broker, server)
            with mock.patch.object(running.consumer, "commit", side_effect=RuntimeError("gone")):
                running.turn()
            self.assertEqual(broker.commits, [])
            self.pager(broker, server).turn()
        (_, _, [first], _), (_, _, [second], _) = server.http.requests
        self.assertEqual((first["labels"], first["startsAt"]), (second["labels"], second["startsAt"]))

    def test_a_restart_knows_what_was_posted(self):
        broker = Broker(record(1), record(2))
        with Server() as server:
            self.pager(broker, server).turn()
            broker.log += [(NOW, record(1)), (NOW, record(3))]
            self.now += HOUR
            running = self.pager(broker, server)
            running.turn()
        again = server.http.requests[1:]
        # The new one, and those that still fire, with the end that they had.
        self.assertEqual(sorted(a["labels"]["event_id"] for _, _, body, _ in again for a in body), ["id-1", "id-2", "id-3"])
        ends = {a["labels"]["event_id"]: a["endsAt"] for _, _, body, _ in again for a in body}
        self.assertEqual(ends["id-1"], "2026-11-26T09:30:02.412Z")
        self.assertEqual(ends["id-3"], "2026-11-26T10:30:02.412Z")
        self.assertEqual(broker.offset, 4)

    def test_a_restart_after_days_begins_where_it_was_left(self):
        broker = Broker(record(1), record(2))
        broker.offset = 1
        self.now += 30 * DAY
        with Server() as server:
            running = self.pager(broker, server, window_seconds=40 * DAY)
            running.turn()
        self.assertEqual(server.ids(), ["id-2"])

    def test_an_empty_topic_is_read_from_where_it_ended(self):
        broker = Broker()
        with Server() as server:
            running = self.pager(broker, server)
            running.turn()
            broker.log.append((NOW, record()))
            running.turn()
        self.assertEqual(server.ids(), ["id-1"])

    def test_a_refusal_hits_one_alert_and_is_told(self):
        broker = Broker(record(1), record(2), record(3))

        def refuse(body):
            bad = [a for a in body if a["labels"]["event_id"] == "id-2"]
            return (400 if bad else 200, {})

        with Server() as server:
            server.http.answer = refuse
            running = self.pager(broker, server)
            running.turn()
            asked = len(server.http.requests)
            self.now += 61
            running.turn()
        self.assertEqual(server.ids()[:3], ["id-1", f"{TOPIC}:0:1", "id-3"])
        self.assertEqual(len(server.http.requests), asked + 1, "a reminder is not refused again")
        self.assertEqual(broker.offset, 3)
        told = [a for _, _, body, code in server.http.requests if code == 200 for a in body]
        told = next(a for a in told if a["labels"]["alertname"] == "CertsieveUnreadable")
        self.assertIn("id-2 was refused", told["annotations"]["reasons"])

    def test_one_of_two_alertmanagers_is_enough(self):
        with Server() as server:
            settings = config(urls=("http://127.0.0.1:9", server.url))
            Alertmanager(settings).post([Alert("a", {"event_id": "a"}, {}, NOW, NOW)], NOW)
        self.assertEqual(server.ids(), ["a"])

    def test_a_redirect_is_not_followed(self):
        with Server() as server:
            server.http.answer = lambda body: (302, {"Location": f"{server.url}/login"})
            with self.assertRaisesRegex(Away, "HTTP 302"):
                Alertmanager(config(urls=(server.url,))).post([Alert("a", {}, {}, NOW, NOW)], NOW)
        self.assertEqual(len(server.http.requests), 1)

    def test_kafka_is_paused_while_too_much_waits(self):
        broker = Broker(*(record(n) for n in range(10)))
        with Server() as server, mock.patch.object(pager, "MAX_WAITING", 5):
            server.http.answer = lambda body: (500, {})
            running = self.pager(broker, server)
            running.turn()
            self.assertTrue(running.consumer.paused)
            server.http.answer = lambda body: (200, {})
            self.now += 40
            running.turn()
            self.assertFalse(running.consumer.paused)

    def test_partitions_that_go_take_their_alerts_along(self):
        broker = Broker(record())
        with Server() as server:
            server.http.answer = lambda body: (500, {})
            running = self.pager(broker, server)
            running.turn()
            running.consumer.revoke(running.consumer, [Position(TOPIC, 0)])
            self.assertEqual((len(running.book.waiting), running.positions), (0, {}))
            server.http.answer = lambda body: (200, {})
            running.consumer.subscribe([TOPIC], running.assigned, running.revoked)
            self.now += 40
            running.turn()
        self.assertEqual(server.ids(), ["id-1"])

    def test_secrets_come_from_files_and_are_read_anew(self):
        with tempfile.TemporaryDirectory() as folder, Server() as server:
            token = Path(folder) / "token"
            alertmanager = Alertmanager(config(urls=(server.url,), token_file=token))
            for secret in ("one", "two"):
                token.write_text(secret + "\n")
                alertmanager.post([Alert("a", {"event_id": "a"}, {}, NOW, NOW)], NOW)
            basic = Alertmanager(config(urls=(server.url,), username="pager", password_file=token))
            basic.post([Alert("a", {"event_id": "a"}, {}, NOW, NOW)], NOW)
        sent = [headers["Authorization"] for _, headers, _, _ in server.http.requests]
        self.assertEqual(sent, ["Bearer one", "Bearer two", "Basic cGFnZXI6dHdv"])


class Configurations(Case):
    def load(self, text, **files):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_text(content)
            path = Path(folder) / "pager.toml"
            path.write_text(text)
            return pager.load(path)

    def test_the_sample_loads(self):
        sample = Path(pager.__file__).with_name("pager.toml")
        found = pager.load(sample)
        self.assertEqual(found.topic, TOPIC)
        self.assertEqual(found.kafka["group.id"], "certsieve-pager")
        # With what it has commented out, but for prose, which has a space after the sign.
        lines = sample.read_text().splitlines()
        lines = [line[1:] if line[:1] == "#" and line[1:2] not in (" ", "") else line for line in lines]
        lines = [line for line in lines if not line.startswith("token_file")]
        files = {name: "secret\n" for name in ("kafka-password", "alertmanager-password")}
        text = "\n".join(lines).replace('ca_file = "', '#"')
        found = self.load(text, **files)
        self.assertEqual(found.kafka["sasl.password"], "secret")
        self.assertEqual(found.kafka["security.protocol"], "sasl_ssl")

    def test_every_mistake_is_named_and_no_secret(self):
        text = """
            [kafka]
            username = "pager"
            [kafka.properties]
            "sasl.password" = "hunter2"
            "enable.auto.commit" = true
            [alertmanager]
            urls = ["http://pager:hunter2@alertmanager:9093", "ftp://x"]
            password_file = "missing"
            [page]
            firing_hours = 200
        """
        with self.assertRaises(pager.ConfigError) as caught:
            self.load(text)
        said = str(caught.exception)
        self.assertNotIn("hunter2", said)
        for part in (
            "kafka.brokers is missing",
            "kafka.username and kafka.password_file",
            "sasl.password: a secret comes from a file",
            "enable.auto.commit is not for you",
            "no login in an URL",
            "is no http or https URL",
            "password_file: ",
            "alertmanager.username and alertmanager.password_file",
            "firing_hours is longer",
        ):
            self.assertIn(part, said)

    def test_unknown_keys_and_wrong_types_are_mistakes(self):
        for text in ("[kafka]\nbroker = 'x'", "[kafak]", "kafka = 1", "[page]\nfiring_hours = true", "[", "[alertmanager]\nurls = 'x'"):
            with self.assertRaises(pager.ConfigError, msg=text):
                self.load(text)


if __name__ == "__main__":
    unittest.main()
