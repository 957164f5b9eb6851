//! The program at a broker that refuses it: the operator reads why within seconds, `/readyz` says so, and
//! it goes on, without a restart, once the cause is gone. And `check --online`, which says the same first.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use certsieve::record::Topic;

use crate::broker::Broker;
use crate::program::{self, Certsieve, SOON, Simulate, certsieve};
use crate::topics::{self, consume, door, ids};

/// An operator who looks at the log reads the cause within this.
const SAID_WITHIN: Duration = Duration::from_secs(15);

/// Alerts and matches, many and small: the firehose names a garden in one of a few dozen certificates.
const LIST: &str = "[[asset]]\nid = \"gardens\"\nkeywords = [\"garden\", \"meadow\"]\nkeyword_severity = \"high\"\n\
                    policy = \"observe\"\n";

/// Nothing is delivered and everything is kept; then it is mended, and everything arrives once.
fn refused_then_mended(
    broker: &Broker,
    prefix: &str,
    certsieve: &mut Certsieve,
    said: &str,
    checks: &[&str],
    mend: impl FnOnce(&Certsieve),
) {
    let start = Instant::now();
    certsieve.until(said, SAID_WITHIN, |certsieve| certsieve.log().contains(said).then_some(()));
    let reason = certsieve.until("readyz names it", SAID_WITHIN, |certsieve| {
        let unready = certsieve.unready();
        let named = checks.iter().all(|check| unready.contains_key(*check));
        named.then(|| unready[checks[0]].clone())
    });
    eprintln!("{prefix}: after {:?}: {reason}", start.elapsed());
    assert!(!certsieve.log().contains("-secret") && !reason.contains("-secret"), "{}", certsieve.log());
    // It goes on: the feed is read, and records wait.
    certsieve.until("records wait", SOON, |certsieve| {
        let scrape = certsieve.scrape();
        (scrape.sum("records_pending") > 10 && scrape.sum("records_delivered_total") == 0).then_some(())
    });
    mend(certsieve);
    certsieve.until_ready("mended", SOON);
    certsieve.until("everything is delivered", SOON, |certsieve| {
        let scrape = certsieve.scrape();
        (scrape.get("records_delivered_total{topic=\"match.v1\"}") > 10).then_some(())
    });
    assert_eq!(certsieve.scrape().sum("records_rejected_total"), 0);
    let found = consume(broker, prefix, &[Topic::Match, Topic::Alert]);
    assert!(!found.is_empty());
    for (id, times) in ids(&found) {
        assert_eq!(times, 1, "{prefix}: {id} stands {times} times");
    }
}

#[test]
fn a_refusal_is_said_and_what_waited_is_delivered_once_its_cause_is_gone() {
    let broker = Broker::shared();
    let files = broker.certificates();
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", "100"]);
    let start = |prefix: &str, kafka: String, password: &str| {
        topics::make_all(broker, prefix);
        let folder = folder.path().join(prefix);
        program::write(&folder, &program::config(prefix, &simulate.url("/full-stream"), &kafka), LIST);
        std::fs::write(folder.join("password"), password).unwrap();
        Certsieve::run(&folder, &[])
    };
    broker.allow("alice", "e2e-wrong-");

    let prefix = "e2e-rights";
    let mut instance = start(prefix, door::scram(broker, prefix, "bob", &files.ca), "bob-secret\n");
    let said = "--allow-principal User:bob --operation Write --topic e2e-rights";
    refused_then_mended(broker, prefix, &mut instance, said, &["kafka"], |_| broker.allow("bob", prefix));
    assert!(instance.stop().status.success());

    let prefix = "e2e-wrong-password";
    let mut instance = start(prefix, door::scram(broker, prefix, "alice", &files.ca), "not-hers\n");
    let said = "check username, password_file";
    refused_then_mended(broker, prefix, &mut instance, said, &["kafka", "topics"], |instance| {
        assert!(!instance.log().contains("not-hers"));
        std::fs::write(folder.path().join(prefix).join("password"), "alice-secret\n").unwrap();
        instance.signal("HUP");
    });
    assert!(instance.stop().status.success());

    let prefix = "e2e-wrong-ca";
    let trusted = folder.path().join("trusted.pem");
    std::fs::copy(&files.other_ca, &trusted).unwrap();
    let mut instance = start(prefix, door::scram(broker, prefix, "alice", &trusted), "alice-secret\n");
    let said = "set \"ssl.ca.location\"";
    refused_then_mended(broker, prefix, &mut instance, said, &["kafka", "topics"], |_| {
        std::fs::copy(&files.ca, &trusted).unwrap();
    });
    assert!(instance.stop().status.success());
}

#[test]
fn topics_that_may_not_be_made_are_asked_for_in_commands_that_work() {
    let broker = Broker::shared();
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", "100"]);
    let prefix = "e2e-commands";
    let kafka = format!("{}create_topics = false\n", door::plain(broker, prefix));
    program::write(folder.path(), &program::config(prefix, &simulate.url("/"), &kafka), LIST);

    let checked = check(folder.path());
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    let mut instance = Certsieve::run(folder.path(), &[]);
    let commands = instance.until("the commands", SAID_WITHIN, |instance| {
        let log = instance.log();
        let commands: Vec<String> = log.lines().filter_map(command).collect();
        (commands.len() == 4).then_some(commands)
    });
    let unready = instance
        .until("readyz names the topics", SAID_WITHIN, |instance| instance.unready().get("topics").cloned());
    assert!(Topic::ALL.iter().all(|topic| unready.contains(&topic.name(prefix))), "{unready}");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    for command in &commands {
        // What check says is the same.
        assert!(said.contains(command), "{command}\n{said}");
        let mut words = command.split_whitespace();
        assert_eq!(words.next(), Some("kafka-topics.sh"));
        broker.tool("org.apache.kafka.tools.TopicCommand", &words.collect::<Vec<_>>());
    }
    instance.until_ready("the topics are there", SOON);
    instance.until("delivered", SOON, |instance| {
        (instance.scrape().sum("records_delivered_total") > 10).then_some(())
    });
    let log = instance.log();
    assert_eq!(log.lines().filter_map(command).count(), 4, "the commands are said once: {log}");
    assert!(instance.stop().status.success());
}

/// The command that a line of the log ends with.
fn command(line: &str) -> Option<String> {
    Some(line[line.find("kafka-topics.sh ")?..].to_owned())
}

fn check(folder: &Path) -> Output {
    certsieve().args(["check", "--online", "-c"]).arg(folder.join("certsieve.toml")).output().unwrap()
}

#[test]
fn check_online_tells_a_good_set_up_from_a_bad_one() {
    let broker = Broker::shared();
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", "100"]);
    let prefix = "e2e-check";
    topics::make_all(broker, prefix);
    broker.allow("alice", prefix);
    let good = simulate.url("/full-stream");
    let scram = door::scram(broker, prefix, "alice", &broker.certificates().ca);
    let nobody = "[kafka]\nbrokers = \"127.0.0.1:1\"\n".to_owned();
    struct Row<'a> {
        feed: &'a str,
        kafka: &'a String,
        password: &'a str,
        exit: i32,
        said: &'a [&'a str],
    }
    for row in [
        Row {
            feed: &good,
            kafka: &door::plain(broker, prefix),
            password: "-",
            exit: 0,
            said: &[
                "ok       feed feed: connected, first message is a certificate",
                "answers",
                "warning  topic e2e-check.alert.v1: replication 1, below 3; min.insync.replicas 1, below 2",
            ],
        },
        Row {
            feed: &good,
            kafka: &scram,
            password: "alice-secret",
            exit: 0,
            said: &["ok       topic e2e-check.match.v1 has 3 partitions"],
        },
        Row {
            feed: &good,
            kafka: &scram,
            password: "not-hers",
            exit: 1,
            said: &["error    no answer from localhost:", "check username, password_file"],
        },
        Row {
            feed: &good,
            kafka: &nobody,
            password: "-",
            exit: 1,
            said: &["error    no answer from 127.0.0.1:1: "],
        },
        Row {
            feed: "ws://127.0.0.1:1/",
            kafka: &door::plain(broker, prefix),
            password: "-",
            exit: 1,
            said: &["error    feed feed: not connected (refused)"],
        },
        Row {
            feed: &simulate.url("/domains-only"),
            kafka: &door::plain(broker, prefix),
            password: "-",
            exit: 0,
            said: &["ok       feed feed: connected, first message is names alone"],
        },
    ] {
        program::write(folder.path(), &program::config(prefix, row.feed, row.kafka), LIST);
        std::fs::write(folder.path().join("password"), row.password).unwrap();
        let checked = check(folder.path());
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(
            checked.status.code(),
            Some(row.exit),
            "{said}{}",
            String::from_utf8_lossy(&checked.stderr)
        );
        for want in row.said {
            assert!(said.contains(want), "{want:?} is not in:\n{said}");
        }
        assert!(!said.contains("not-hers") && !said.contains("-secret"), "{said}");
    }
}
