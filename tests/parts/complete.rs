//! Complete, whatever happens: the program killed at random moments while its feed loses messages, a real
//! broker behind it. In the end every index that it took on is accounted for, and everything that the logs owe
//! for them is in Kafka.

use std::collections::BTreeSet;
use std::time::Duration;

use certsieve::record::Topic;

use crate::broker::Broker;
use crate::program::{self, Certsieve, SOON, Simulate};
use crate::support::accounted::{ledger, owed};
use crate::topics::{consume, door, ids};

/// One in a few dozen certificates of the firehose; each issuance is one alert.
const LIST: &str = "[[asset]]\nid = \"gardens\"\nkeywords = [\"garden\", \"meadow\", \"river\"]\nkeyword_severity = \
                    \"high\"\npolicy = \"observe\"\n";

/// Of the moments at which it is killed.
const SEED: u64 = 1_111;

/// A grace of two seconds, and what it takes to ask and to read.
const SETTLES: Duration = Duration::from_secs(6);

#[test]
fn kills_at_random_moments_lose_nothing() {
    let kills = if crate::support::is_soak() { 200 } else { 20 };
    let mut random = fastrand::Rng::with_seed(SEED);
    let broker = Broker::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", "200", "--drop", "30"]);
    let site = simulate.address();
    let prefix = "e2e-complete";
    let own = folder.path().join("own");
    let refill = format!(
        "[refill]\nlog_list = [\"{}\"]\ngrace = \"2s\"\nask_every = \"1s\"\n\
         requests_per_second = 1000\n",
        simulate.log_list()
    );
    let more = format!("{}\n{refill}", door::plain(&broker, prefix));
    let config = program::config(prefix, &simulate.url("/full-stream"), &more);
    program::write(&own, &format!("state_dir = \"state\"\n{config}"), LIST);
    let mut certsieve = Certsieve::run(&own, &[]);
    certsieve.until_ready("at first", SOON);
    let begun = certsieve.until("every log is shown", SOON, |c| {
        let ledger = ledger(c.address());
        (ledger.len() == 4).then_some(ledger)
    });
    let mut moments = Vec::new();
    for _ in 0..kills {
        let moment = Duration::from_millis(random.u64(100..2_500));
        moments.push(moment.as_millis());
        std::thread::sleep(moment);
        certsieve.kill();
        certsieve = Certsieve::run(&own, &[]);
    }
    eprintln!("seed {SEED}: killed after {moments:?} ms");
    let whole = |c: &Certsieve| {
        let ledger = ledger(c.address());
        (ledger.len() == 4 && ledger.values().all(|log| log.missing == 0 && log.last > log.first))
            .then_some(ledger)
    };
    // What is missing is known once each log was asked, and what is younger than the grace a grace later.
    std::thread::sleep(SETTLES);
    let accounted = certsieve.until("nothing is missing", 2 * SOON, whole);
    std::thread::sleep(SETTLES);
    certsieve.until("nothing of it is missing either", 2 * SOON, whole);
    for (log, before) in &begun {
        assert_eq!(accounted[log].first, before.first, "{log}: its account begins where it began");
    }
    let owed = owed(LIST, &site, &accounted);
    certsieve
        .until("everything is delivered", SOON, |c| (c.scrape().sum("records_pending") == 0).then_some(()));
    let stopped = certsieve.stop();
    assert!(stopped.status.success(), "{}", stopped.log);
    let found = consume(&broker, prefix, &Topic::ALL);
    let of = |topic: Topic| found.iter().filter(move |record| record.topic == topic.name(prefix));
    let matches: BTreeSet<String> = of(Topic::Match).map(|record| record.id().to_owned()).collect();
    let missing: Vec<_> = owed.difference(&matches).collect();
    assert!(missing.is_empty(), "{} of {} matches are not in Kafka: {missing:?}", missing.len(), owed.len());
    let raised: BTreeSet<_> = of(Topic::Alert).map(|record| record.id()).collect();
    let named: BTreeSet<_> =
        of(Topic::Match).filter_map(|record| record.value["certsieve"]["alert_id"].as_str()).collect();
    assert!(raised.is_superset(&named), "a match names an alert that is nowhere");
    let refilled: u64 = accounted.values().map(|log| log.refilled).sum();
    let indexes: u64 = accounted.values().map(|log| log.last - log.first + 1).sum();
    let twice = ids(&found).values().filter(|times| **times > 1).count();
    eprintln!(
        "{kills} kills: {indexes} indexes accounted for, {refilled} of them read from the logs; {} matches owed, \
         {} in Kafka, {twice} records twice, with equal ids",
        owed.len(),
        matches.len()
    );
}
