//! The program beside a feed that loses: what it shows and what it does not ends as the same records, from
//! the feed or from the log itself, across a kill too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certsieve::account::{Account, Bounds};
use certsieve::config::Proxies;
use certsieve::ctlog::{Get, IssuerCache, Limits, LogClient, LogList, Transport};
use certsieve::entry::leaf::Fetched;
use certsieve::entry::{KnownLog, KnownLogs, Timestamp};
use certsieve::feed::dial::TlsFiles;
use certsieve::fetch::Fetcher;
use certsieve::record::{Arrival, Composer, Outcome, REFILL, Report, Topic};
use certsieve::sieve::{Batch, Origin, Position, Scratch, Sieve, Source};
use futures::StreamExt;
use serde_json::Value;

use crate::support::pipeline::matcher;
use crate::support::process::Process;

/// One in a few dozen certificates of the firehose.
pub const LIST: &str = "[[asset]]\nid = 'gardens'\nkeywords = ['garden', 'meadow', 'river']\n\
                    keyword_severity = 'high'\npolicy = 'observe'\n";

/// A generous ceiling for what takes seconds.
const SOON: Duration = Duration::from_secs(60);

fn certsieve() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_certsieve"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CERTSIEVE_")) {
        command.env_remove(name);
    }
    command
}

pub fn after<'t>(text: &'t str, before: &str) -> Option<&'t str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?])
}

pub fn fetch(address: &str, path: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fetcher = Fetcher::new(None, Proxies::default(), TlsFiles::default());
    let get = Get { url: format!("http://{address}{path}"), max_bytes: 1 << 26, within: SOON };
    runtime.block_on(fetcher.get(get)).expect("an answer").body
}

/// Until `done` has an answer.
pub fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(started.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// By log: first and last index, what was refilled, what is missing.
fn ledger(http: &str) -> BTreeMap<String, (u64, u64, u64, u64)> {
    let report: Value = serde_json::from_slice(&fetch(http, "/ledger")).expect("JSON");
    let number = |log: &Value, key: &str| log[key].as_u64();
    let logs = report["logs"].as_array().expect("logs").iter();
    logs.filter_map(|log| {
        let (first, last) = (number(log, "first")?, number(log, "last")?);
        assert_eq!(log["state"], "followed", "{log}");
        let rest = (number(log, "refilled")?, number(log, "missing")?);
        Some((log["log"].as_str()?.to_owned(), (first, last, rest.0, rest.1)))
    })
    .collect()
}

/// The ids of the matches that the logs themselves owe, by what was accounted for.
fn owed(list_url: &str, accounted: &BTreeMap<String, (u64, u64, u64, u64)>) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let transport: Arc<dyn Transport> = Arc::new(Fetcher::new(None, Proxies::default(), TlsFiles::default()));
    let list = LogList::read(&fetch(list_url, "/log_list.json")).expect("a log list");
    let mut known = KnownLogs::default();
    for log in list.logs() {
        let id = STANDARD.encode(log.id().expect("a key")).into();
        known.add(KnownLog { id, name: log.description.as_str().into() }, log.names());
    }
    let sieve = Sieve::new(matcher(LIST)).naming(Arc::new(known));
    let version = sieve.matcher().list().version.clone();
    let bounds = Bounds { memory: usize::MAX, store: 0 };
    let mut account = Account::new(Composer::new("oracle", "certsieve"), bounds, &version);
    let mut owed = BTreeSet::new();
    runtime.block_on(async {
        for log in list.logs() {
            let id = STANDARD.encode(log.id().expect("a key"));
            let Some((first, last, ..)) = accounted.get(&id) else { continue };
            let limits = Limits { concurrent: 2, per_second: 1_000, within: SOON };
            let issuers = Arc::new(IssuerCache::default());
            let client =
                LogClient::new(log.clone(), transport.clone(), issuers, &limits, fastrand::Rng::new());
            let size = client.tree_head().await.expect("a tree head").size;
            let mut answers = std::pin::pin!(client.range(*first, *last, size));
            while let Some(answer) = answers.next().await {
                let fetch = answer.expect("entries");
                let feed: Arc<str> = REFILL.into();
                let mut batch = Batch::new(Position { feed: feed.clone(), origin: Origin::Refill });
                let arrival = Arrival { feed, received: Timestamp(0) };
                let issuers = client.issuers(&fetch.fingerprints()).await;
                let mut scratch = Scratch::default();
                for (index, form) in fetch.leaves(&issuers).iter() {
                    if (*first..=*last).contains(&index) {
                        let leaf = Fetched { log: &log.url, log_name: None, index, form };
                        sieve.sift(Source::Leaf(leaf), &arrival, &mut scratch, &mut batch).unwrap();
                    }
                }
                account.admit(batch, Timestamp(0));
                while let Some(record) = account.next().cloned() {
                    account.taken();
                    let (sequence, at) = (record.sequence, Timestamp(0));
                    account.settle(Report { sequence, outcome: Outcome::Delivered, at });
                    if record.topic == Topic::Match {
                        let id = record.headers.iter().find(|(name, _)| *name == "ce_id");
                        owed.insert(id.expect("an id").1.clone());
                    }
                }
            }
        }
    });
    owed
}

/// Id of each match, and by which way it came.
pub fn published(stdout: &Path) -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(stdout).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut published: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in whole.lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        if record["topic"] == "certsieve.match.v1" {
            let value = &record["value"];
            let origin = value["certsieve"]["ct"]["origin"].as_str().unwrap().to_owned();
            published.entry(value["event"]["id"].as_str().unwrap().to_owned()).or_default().push(origin);
        }
    }
    published
}

#[test]
fn what_the_feed_loses_is_read_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = certsieve();
    command.args(["simulate", "--listen", "127.0.0.1:0", "--rate", "300", "--drop", "20"]);
    let mut simulate = Process::spawn("simulate", &mut command, folder.path().join("simulate.log"));
    let feed = simulate
        .wait_until(|said| after(said, "ws://").map(str::to_owned))
        .unwrap_or_else(|error| panic!("{error}"));
    std::fs::write(folder.path().join("w.toml"), LIST).unwrap();
    let config = format!(
        "instance = 'test'\nwatchlists = ['w.toml']\n[http]\nlisten = '127.0.0.1:0'\n\
         [[feed]]\nkind = 'certstream'\nname = 'sim'\nurl = 'ws://{feed}/full-stream'\n\
         [refill]\nlog_list = ['http://{feed}/log_list.json']\ngrace = '2s'\nask_every = '1s'\n\
         requests_per_second = 1000\n"
    );
    std::fs::write(folder.path().join("c.toml"), config).unwrap();
    let mut command = certsieve();
    command.current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]);
    let stdout = folder.path().join("out.jsonl");
    let mut run = Process::spawn_apart("run", &mut command, &stdout, folder.path().join("run.log"));
    let http = run
        .wait_until(|said| after(said, "http://").map(str::to_owned))
        .unwrap_or_else(|error| panic!("{error}"));
    until("every log has been refilled", || {
        let ledger = ledger(&http);
        (ledger.len() == 4 && ledger.values().all(|(.., refilled, _)| *refilled >= 10)).then_some(())
    });
    // The feed goes on losing: there is a moment in which everything older than the grace is there.
    let accounted = until("nothing is missing", || {
        let ledger = ledger(&http);
        ledger.values().all(|(.., missing)| *missing == 0).then_some(ledger)
    });
    // What is younger than the grace may be missing at the ends; it comes meanwhile.
    let owed = owed(&feed, &accounted);
    assert!(owed.len() > 20, "{} matches", owed.len());
    until("everything owed is published", || {
        let published = published(&stdout);
        owed.iter().all(|id| published.contains_key(id)).then_some(())
    });
    let published = published(&stdout);
    let refilled = published.values().flatten().filter(|origin| *origin == "refill").count();
    assert!(refilled > 0, "some of it by the log");
    let twice: Vec<_> = published.values().filter(|origins| origins.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    run.signal("TERM");
    assert!(run.exit(SOON).success(), "{}", run.output());
}
