//! The program while Kafka fails it: the broker killed, rights taken, topics deleted, limits lowered, and
//! the feed running all the time. Nothing is restarted, and nothing that was owed is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use certsieve::record::Topic;
use serde_json::Value;

use crate::broker::Broker;
use crate::program::{self, Certsieve, SOON, Simulate, records};
use crate::support::soak;
use crate::topics::{self, Consumed, consume, door, ids};

/// One in a few dozen certificates of the firehose; each issuance is one alert.
const LIST: &str = "[[asset]]\nid = \"gardens\"\nkeywords = [\"garden\", \"meadow\", \"river\"]\nkeyword_severity = \
                    \"high\"\npolicy = \"observe\"\n";

/// Messages a second.
const RATE: u64 = 500;

/// Messages between a connection and the account: the queue's batches, and one that waits with the worker.
/// At this rate they are never more than a fraction of it.
const IN_FLIGHT: u64 = 2 * RATE;

#[test]
fn a_broker_killed_while_the_feed_runs_costs_no_record_and_no_wait() {
    let away = soak(Duration::from_secs(60), Duration::from_secs(15));
    let mut broker = Broker::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", &RATE.to_string()]);
    let feed = simulate.url("/full-stream");
    // Sees what the other sees, and more: it connects first. What it finds, by itself, is what is owed.
    let oracle = folder.path().join("oracle");
    program::write(&oracle, &program::config("oracle", &feed, ""), LIST);
    let mut witness = Certsieve::run(&oracle, &["--stdout"]);
    witness.until("the witness sees the feed", SOON, |c| (!c.records().is_empty()).then_some(()));

    let prefix = "e2e-outage";
    let own = folder.path().join("own");
    program::write(&own, &program::config(prefix, &feed, &door::plain(&broker, prefix)), LIST);
    let mut certsieve = Certsieve::run(&own, &[]);
    certsieve.until_ready("at first", SOON);
    certsieve.until("records arrive", SOON, |c| {
        (c.scrape().get("records_delivered_total{topic=\"match.v1\"}") > 20).then_some(())
    });

    broker.kill();
    let killed = Instant::now();
    let before = certsieve.scrape();
    certsieve.until("the outage is said", SOON, |c| c.log().contains("Kafka: ").then_some(()));
    std::thread::sleep(away.saturating_sub(killed.elapsed()));
    let during = certsieve.scrape();
    assert_eq!(during.sum("kafka_brokers_up"), 0);
    let read = during.sum("feed_messages_total") - before.sum("feed_messages_total");
    let due = RATE * killed.elapsed().as_secs();
    assert!(read * 10 > due * 8, "{read} messages were read while {due} were due: the reader waits");
    let waiting = during.sum("records_pending");
    assert!(waiting > 0);
    broker.restart();
    certsieve.until("what waited is delivered", SOON, |c| {
        let scrape = c.scrape();
        let delivered = scrape.sum("records_delivered_total") - before.sum("records_delivered_total");
        (delivered > waiting && scrape.sum("records_pending") < waiting.min(50)).then_some(())
    });
    certsieve.until_ready("after the outage", SOON);

    // First the feed ends: what it sent is then all that there is.
    let served = simulate.finish();
    assert_eq!(served.skipped, 0, "the feed's buffer overflowed: a reader waited");
    for c in [&mut certsieve, &mut witness] {
        c.until("every message is settled", SOON, |c| {
            let scrape = c.scrape();
            let feed_is_down = scrape.get("feed_connected{feed=\"feed\"}") == 0;
            let rest = scrape.sum("messages_in_flight") + scrape.sum("records_pending");
            (feed_is_down && rest == 0).then_some(())
        });
    }
    let taken = certsieve.scrape().sum("feed_messages_total") + witness.scrape().sum("feed_messages_total");
    assert_eq!(taken, served.sent, "messages were lost between feed and program");
    let (stopped, witnessed) = (certsieve.stop(), witness.stop());
    assert!(stopped.status.success() && witnessed.status.success(), "{}", stopped.log);
    eprintln!("away {away:?}: {served:?}, {waiting} records waited, {:?}", stopped.audit);
    assert_eq!(stopped.last.get("messages_total{outcome=\"shed\"}"), 0);
    assert!(stopped.audit.max_in_flight <= IN_FLIGHT, "{:?}", stopped.audit);
    assert_eq!(stopped.last.sum("records_rejected_total"), 0);

    let found = consume(&broker, prefix, &Topic::ALL);
    let repeated: Vec<_> = ids(&found).into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(repeated.is_empty(), "records were repeated: {repeated:?}");
    for topic in [Topic::Match, Topic::Alert] {
        let numbered = stopped.last.get(&format!("records_total{{topic={:?}}}", topic.suffix()));
        let read = found.iter().filter(|r| r.topic == topic.name(prefix)).count();
        assert_eq!(read as u64, numbered, "{topic:?}");
    }
    let matches: Vec<_> = found.iter().filter(|r| r.topic == Topic::Match.name(prefix)).collect();
    let raised: BTreeSet<_> =
        found.iter().filter(|r| r.topic == Topic::Alert.name(prefix)).map(|r| r.id()).collect();
    let named: BTreeSet<_> =
        matches.iter().filter_map(|r| r.value["certsieve"]["alert_id"].as_str()).collect();
    assert_eq!(raised, named, "each match names its alert, and each alert is there");
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    for record in &matches {
        let (log, index) = place(&record.value);
        first.entry(log).and_modify(|first| *first = index.min(*first)).or_insert(index);
    }
    let owed: BTreeSet<String> = records(&oracle)
        .iter()
        .filter(|record| record["topic"] == "certsieve.match.v1")
        .filter(|record| {
            let (log, index) = place(&record["value"]);
            first.get(&log).is_some_and(|first| index >= *first)
        })
        .map(|record| record["value"]["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    let got: BTreeSet<String> = matches.iter().map(|record| record.id().to_owned()).collect();
    assert_eq!(got, owed, "not the records that the witness found");
    assert_eq!(last_action(&found, prefix), "stopped");
}

/// With the broker away the program is killed too, twice: what had waited longer than a moment is still
/// there, and nothing that was raised is raised again.
#[test]
fn what_waits_for_a_broker_survives_kills() {
    let mut broker = Broker::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", &RATE.to_string()]);
    let prefix = "e2e-kills";
    let own = folder.path().join("own");
    let kafka = door::plain(&broker, prefix);
    let config = program::config(prefix, &simulate.url("/full-stream"), &kafka);
    program::write(&own, &format!("state_dir = \"state\"\n{config}"), LIST);
    let mut certsieve = Certsieve::run(&own, &[]);
    certsieve.until_ready("at first", SOON);
    certsieve.until("records arrive", SOON, |c| {
        (c.scrape().get("records_delivered_total{topic=\"match.v1\"}") > 20).then_some(())
    });
    broker.kill();
    let (mut numbered, mut waiting) = (0, 0);
    for life in 1..=2 {
        certsieve.until("records wait", SOON, |c| {
            (c.scrape().sum("records_pending") > waiting + 100).then_some(())
        });
        let scrape = certsieve.scrape();
        numbered += scrape.get("records_total{topic=\"match.v1\"}");
        waiting = scrape.sum("records_pending");
        // A record is durable 50 ms after it was numbered; a disk may take a while longer.
        std::thread::sleep(Duration::from_secs(1));
        certsieve.kill();
        certsieve = Certsieve::run(&own, &[]);
        let recovered = certsieve.scrape().get("records_recovered_total");
        assert!(recovered >= waiting, "life {life}: {recovered} of {waiting} records were recovered");
        waiting = recovered;
    }
    broker.restart();
    let waited = waiting;
    certsieve.until("what waited is delivered", SOON, |c| {
        let scrape = c.scrape();
        let delivered = scrape.sum("records_delivered_total");
        (delivered > waited && scrape.sum("records_pending") < waited).then_some(())
    });
    certsieve.until_ready("after the outage", SOON);
    simulate.finish();
    certsieve.until("everything is delivered", SOON, |c| {
        let scrape = c.scrape();
        let feed_is_down = scrape.get("feed_connected{feed=\"feed\"}") == 0;
        let rest = scrape.sum("messages_in_flight") + scrape.sum("records_pending");
        (feed_is_down && rest == 0).then_some(())
    });
    let stopped = certsieve.stop();
    assert!(stopped.status.success(), "{}", stopped.log);
    numbered += stopped.last.get("records_total{topic=\"match.v1\"}");

    let found = consume(&broker, prefix, &Topic::ALL);
    let of = |topic: Topic| found.iter().filter(move |record| record.topic == topic.name(prefix));
    let matches: BTreeSet<_> = of(Topic::Match).map(|record| record.id()).collect();
    assert!(matches.len() as u64 >= numbered, "{} matches of {numbered} arrived", matches.len());
    let raised: BTreeSet<_> = of(Topic::Alert).map(|record| record.id()).collect();
    let named: BTreeSet<_> =
        of(Topic::Match).filter_map(|record| record.value["certsieve"]["alert_id"].as_str()).collect();
    assert_eq!(raised, named, "each match names its alert, and each alert is there");
    eprintln!(
        "{waited} records survived two kills; {} matches arrived, {} records twice",
        matches.len(),
        ids(&found).values().filter(|times| **times > 1).count()
    );
}

#[test]
fn rights_topics_and_limits_that_come_and_go_cost_no_alert_and_no_restart() {
    let broker = Broker::shared();
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", &RATE.to_string()]);
    let prefix = "e2e-trouble";
    topics::make_all(broker, prefix);
    broker.allow("alice", prefix);
    let kafka = door::scram(broker, prefix, "alice", &broker.certificates().ca);
    program::write(folder.path(), &program::config(prefix, &simulate.url("/full-stream"), &kafka), LIST);
    std::fs::write(folder.path().join("password"), "alice-secret").unwrap();
    let mut certsieve = Certsieve::run(folder.path(), &[]);
    let delivered = |c: &Certsieve, topic: Topic| {
        c.scrape().get(&format!("records_delivered_total{{topic={:?}}}", topic.suffix()))
    };
    let more = |certsieve: &mut Certsieve, topic: Topic| {
        let before = delivered(certsieve, topic);
        certsieve.until("more records arrive", SOON, |c| (delivered(c, topic) > before + 5).then_some(()));
    };
    certsieve.until_ready("at first", SOON);
    more(&mut certsieve, Topic::Match);

    // The right to write, taken and given back.
    broker.revoke("alice", prefix);
    let why = certsieve.until("the refusal", SOON, |c| c.unready().get("kafka").cloned());
    assert!(why.contains("no right") && why.contains("User:alice"), "{why}");
    certsieve.until("records wait", SOON, |c| (c.scrape().sum("records_pending") > 20).then_some(()));
    broker.allow("alice", prefix);
    certsieve.until_ready("with its rights back", SOON);
    more(&mut certsieve, Topic::Alert);

    // Two topics deleted and made again. What was in them is gone, and is read before.
    let kept = consume(broker, prefix, &[Topic::Alert]);
    topics::delete(broker, prefix, Topic::Alert);
    topics::delete(broker, prefix, Topic::Match);
    let gone = [Topic::Alert, Topic::Match].map(|topic| topic.name(prefix));
    certsieve.until("the topics are missed", SOON, |c| {
        let why = c.unready().get("topics").cloned().unwrap_or_default();
        gone.iter().all(|name| why.contains(name)).then_some(())
    });
    // Alerts that Kafka had taken when it deleted them, after they were read.
    let deleted = delivered(&certsieve, Topic::Alert) - kept.len() as u64;
    certsieve.until("records wait", SOON, |c| {
        (c.scrape().get("records_pending{topic=\"alert.v1\"}") > 0).then_some(())
    });
    topics::make(broker, prefix, &[Topic::Alert, Topic::Match]);
    certsieve.until_ready("with its topics back", 2 * SOON);
    more(&mut certsieve, Topic::Alert);
    more(&mut certsieve, Topic::Match);

    // A limit below any record: each is refused for itself, counted, and blocks nothing else.
    topics::set(broker, prefix, Topic::Match, "max.message.bytes", "400");
    let rejected = |c: &Certsieve| c.scrape().sum("records_rejected_total");
    certsieve.until("records are refused", SOON, |c| (rejected(c) > 5).then_some(()));
    topics::set(broker, prefix, Topic::Match, "max.message.bytes", "1048588");
    more(&mut certsieve, Topic::Match);
    let refused = rejected(&certsieve);
    more(&mut certsieve, Topic::Match);
    assert_eq!(rejected(&certsieve), refused, "it is over");

    // Stopped while the feed runs: everything it had is delivered first.
    let stopped = certsieve.stop();
    drop(simulate);
    assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.log);
    let last = &stopped.last;
    assert_eq!(last.get("messages_total{outcome=\"shed\"}"), 0);
    let too_large = last.get("records_rejected_total{topic=\"match.v1\",reason=\"too_large\"}");
    assert_eq!(last.sum("records_rejected_total"), too_large, "{}", last.shown());

    let found = consume(broker, prefix, &Topic::ALL);
    let alerts = found.iter().filter(|r| r.topic == gone[0]);
    let alerts = ids(kept.iter().chain(alerts));
    let numbered = last.get("records_total{topic=\"alert.v1\"}");
    eprintln!(
        "{numbered} alerts numbered, {} read, {deleted} deleted with their topic, {refused} matches refused; {:?}",
        alerts.len(),
        stopped.audit
    );
    assert!(alerts.len() as u64 + deleted >= numbered, "alerts were lost");
    let actions: BTreeSet<_> =
        found.iter().map(|r| r.value["event"]["action"].as_str().unwrap_or_default()).collect();
    assert!(actions.contains("record-rejected"), "{actions:?}");
    assert_eq!(last_action(&found, prefix), "stopped");
}

/// Log and index of a match record.
fn place(value: &Value) -> (String, u64) {
    let ct = &value["certsieve"]["ct"];
    (ct["log"]["id"].as_str().unwrap().to_owned(), ct["index"].as_u64().unwrap())
}

fn last_action<'a>(found: &'a [Consumed], prefix: &str) -> &'a str {
    let health = found.iter().filter(|r| r.topic == Topic::Health.name(prefix));
    // Of several partitions: the latest by its own time.
    let last = health.max_by_key(|r| r.value["@timestamp"].as_str().unwrap_or_default().to_owned());
    last.and_then(|r| r.value["event"]["action"].as_str()).unwrap_or_default()
}
