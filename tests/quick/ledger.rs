//! The account against a plain model: two live feeds that repeat each other, a recording, an outbox that
//! fills, and delivery reports in any order.

use std::collections::{BTreeMap, BTreeSet};

use certsieve::account::Counts;
use certsieve::record::{Outcome, Rejection, Report, Topic};
use proptest::prelude::*;

use crate::support::entries::{Certificate, dns};
use crate::support::pipeline::{Bench, NOW, of};

const LIST: &str = "[[asset]]\nid = 'shop'\ndomains = ['shop.example']\npolicy = 'never-issue'";

/// What one log holds at an index: always the same, whoever asks.
fn message(log: usize, index: u64) -> String {
    let name = match index % 4 {
        // The same certificate at several indexes raises one alert.
        0 => format!("n{}.shop.example", index / 16),
        1 => return malformed(log, index),
        _ => format!("n{index}.other.example"),
    };
    Certificate::of([dns(name)]).lite(&format!("log-{log}.example"), index)
}

fn malformed(log: usize, index: u64) -> String {
    let mut message =
        Certificate::of([dns("n.other.example")]).go(&format!("log-{log}.example"), index, false);
    message["data"]["leaf_cert"]["as_der"] = "MAA=".into();
    message.to_string()
}

#[derive(Clone, Debug)]
enum Step {
    /// Messages by log and index.
    Batch { feed: usize, live: bool, messages: Vec<(usize, u64)>, noise: usize },
    /// The publisher takes so many records.
    Offer(usize),
    /// Reports on records by their place among those pending.
    Reports(Vec<(usize, u8)>),
}

fn step() -> impl Strategy<Value = Step> {
    let messages = proptest::collection::vec((0usize..2, 0u64..40), 0..20);
    prop_oneof![
        4 => (0usize..3, messages, 0usize..3)
            .prop_map(|(feed, messages, noise)| Step::Batch { feed, live: feed < 2, messages, noise }),
        2 => (0usize..30).prop_map(Step::Offer),
        3 => proptest::collection::vec((any::<usize>(), 0u8..4), 0..20).prop_map(Step::Reports),
    ]
}

/// What must be true at any moment.
fn equations(counts: &Counts, received: u64) -> Result<(), TestCaseError> {
    prop_assert_eq!(counts.messages(), received);
    for topic in Topic::ALL {
        let i = topic as usize;
        let ended = counts.delivered[i] + counts.rejected[i].iter().sum::<u64>() + counts.pending[i];
        prop_assert_eq!(counts.records[i], ended, "{:?}", topic);
    }
    let alerts: u64 = counts.assets.values().flat_map(|counts| counts.alerts).sum();
    prop_assert_eq!(counts.records[Topic::Alert as usize], alerts);
    prop_assert_eq!(counts.records[Topic::Match as usize], counts.matches.iter().sum::<u64>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_account_keeps_its_books(
        steps in proptest::collection::vec(step(), 1..40),
        limit in prop_oneof![Just(usize::MAX), 2_000usize..60_000],
    ) {
        let mut bench = Bench::with_outbox(LIST, limit);
        let mut received = 0;
        let mut seen: BTreeSet<(usize, u64)> = BTreeSet::new();
        let mut owed: BTreeMap<String, usize> = BTreeMap::new();
        let mut made: BTreeMap<String, usize> = BTreeMap::new();
        let mut taken: BTreeMap<u64, Topic> = BTreeMap::new();
        let mut pending: BTreeSet<u64> = BTreeSet::new();
        let mut last = 0;
        for step in steps {
            match step {
                Step::Batch { feed, live, messages, noise } => {
                    let mut lines: Vec<String> = messages.iter().map(|(l, i)| message(*l, *i)).collect();
                    lines.extend((0..noise).map(|_| r#"{"message_type":"heartbeat"}"#.to_owned()));
                    received += lines.len() as u64;
                    let full = bench.account.outbox().is_full();
                    let batch = bench.sift(&format!("feed-{feed}"), live, &lines);
                    let numbered = bench.account.admit(batch, NOW);
                    prop_assert_eq!(numbered.start, last + 1, "numbers follow each other");
                    last = numbered.end - 1;
                    pending.extend(numbered);
                    for (log, index) in messages {
                        let finding = index % 4 < 2;
                        if finding && full || live && seen.contains(&(log, index)) {
                            continue;
                        }
                        if live {
                            seen.insert((log, index));
                        }
                        let place = format!("log-{log}.example {index}");
                        match index % 4 {
                            0 => *owed.entry(format!("match {place}")).or_default() += 1,
                            1 => *owed.entry(format!("malformed {place}")).or_default() += 1,
                            _ => {}
                        }
                        if index % 4 == 0 {
                            owed.insert(format!("alert n{}.shop.example", index / 16), 1);
                        }
                    }
                }
                Step::Offer(count) => {
                    for _ in 0..count {
                        let Some(record) = bench.account.next().cloned() else { break };
                        bench.account.taken();
                        let value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
                        let text = |at: &str| value.pointer(at).and_then(|v| v.as_str()).unwrap_or_default();
                        let ct = &value["certsieve"]["ct"];
                        let place =
                            format!("{} {}", ct["log"]["id"].as_str().unwrap_or("-"), ct["index"]);
                        let what = match record.topic {
                            Topic::Alert => format!("alert {}", text("/certsieve/matches/0/identity")),
                            Topic::Match => format!("match {place}"),
                            Topic::Malformed => format!("malformed {place}"),
                            // Said of a record that was refused.
                            Topic::Health => continue,
                        };
                        prop_assert!(pending.contains(&record.sequence), "a settled record is handed over");
                        if taken.insert(record.sequence, record.topic).is_none() {
                            *made.entry(what).or_default() += 1;
                        }
                    }
                }
                Step::Reports(reports) => {
                    for (which, how) in reports {
                        let under_way: Vec<u64> = pending.iter().copied().collect();
                        if under_way.is_empty() {
                            break;
                        }
                        let sequence = under_way[which % under_way.len()];
                        let outcome = match how {
                            0 | 1 => Outcome::Delivered,
                            2 => Outcome::Returned,
                            _ => Outcome::Rejected { reason: Rejection::TooLarge, message: "too large".to_owned() },
                        };
                        // Only of a record that was handed over.
                        if !taken.contains_key(&sequence) {
                            continue;
                        }
                        let final_report = outcome != Outcome::Returned;
                        bench.account.settle(Report { sequence, outcome, at: NOW });
                        if final_report {
                            pending.remove(&sequence);
                        }
                    }
                    // A refusal is said on the health topic.
                    let health = bench.account.counts().records.iter().sum::<u64>();
                    pending.extend(last + 1..=health);
                    last = health;
                }
            }
            equations(bench.account.counts(), received)?;
            prop_assert_eq!(bench.account.outbox().len(), pending.len());
            for log in 0..2 {
                for index in 0..40 {
                    let holds = bench.account.ledger().contains(&format!("log-{log}.example"), index);
                    prop_assert_eq!(holds, seen.contains(&(log, index)), "log {} index {}", log, index);
                }
            }
        }
        // The rest is handed over: nothing is forgotten, nothing comes twice.
        while let Some(record) = bench.account.next().cloned() {
            bench.account.taken();
            let outcome = Outcome::Delivered;
            bench.account.settle(Report { sequence: record.sequence, outcome, at: NOW });
            if record.topic == Topic::Health || taken.contains_key(&record.sequence) {
                continue;
            }
            let value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
            let ct = &value["certsieve"]["ct"];
            let place = format!("{} {}", ct["log"]["id"].as_str().unwrap_or("-"), ct["index"]);
            let what = match record.topic {
                Topic::Alert => {
                    let identity = value.pointer("/certsieve/matches/0/identity");
                    format!("alert {}", identity.and_then(|v| v.as_str()).unwrap_or_default())
                }
                Topic::Match => format!("match {place}"),
                _ => format!("malformed {place}"),
            };
            *made.entry(what).or_default() += 1;
        }
        prop_assert_eq!(made, owed);
        equations(bench.account.counts(), received)?;
    }
}

/// Which messages count as repeated, in one batch and across batches.
#[test]
fn a_repeated_index_is_counted_once_as_what_it_is() {
    let mut bench = Bench::new(LIST);
    let batches: [(&str, &[u64], [u64; 4]); 5] = [
        ("a", &[0, 1, 2, 3], [1, 1, 2, 0]),
        ("a", &[2, 3, 4, 5], [2, 2, 2, 2]),
        ("b", &[0, 1, 2, 3, 4, 5, 6], [2, 2, 3, 8]),
        ("b", &[8, 8, 9, 9, 10, 10], [3, 3, 4, 11]),
        ("b", &[8, 9, 10, 11], [3, 3, 5, 14]),
    ];
    for (feed, indexes, want) in batches {
        let lines: Vec<String> = indexes.iter().map(|index| message(0, *index)).collect();
        let batch = bench.sift(feed, true, &lines);
        bench.account.admit(batch, NOW);
        let counts = bench.account.counts();
        let got = [counts.matched, counts.malformed, counts.unmatched, counts.repeated];
        assert_eq!(got, want, "{feed} {indexes:?}");
    }
}

/// A copy that could not be decoded keeps no whole one away, and each message counts as what it is.
#[test]
fn a_whole_copy_is_taken_after_a_broken_one() {
    let mut bench = Bench::new(LIST);
    let whole = |index| Certificate::of([dns("n.shop.example")]).lite("log-0.example", index);
    let steps: [(&str, Vec<String>, [u64; 4], usize); 4] = [
        ("a", vec![malformed(0, 7), message(0, 2)], [0, 1, 1, 0], 0),
        ("b", vec![malformed(0, 7)], [0, 1, 1, 1], 0),
        ("b", vec![whole(7), message(0, 2), message(0, 3)], [1, 1, 2, 2], 1),
        ("a", vec![whole(7)], [1, 1, 2, 3], 0),
    ];
    for (feed, lines, want, alerts) in steps {
        let batch = bench.sift(feed, true, &lines);
        bench.account.admit(batch, NOW);
        let counts = bench.account.counts();
        let got = [counts.matched, counts.malformed, counts.unmatched, counts.repeated];
        assert_eq!(got, want, "{feed} {lines:?}");
        assert_eq!(of(&bench.deliver(), Topic::Alert).len(), alerts, "{feed} {lines:?}");
    }
}
