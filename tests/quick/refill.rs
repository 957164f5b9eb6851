//! The program beside a feed that loses: what it shows and what it does not ends as the same records, from
//! the feed or from the log itself, across a kill too.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::accounted::{ledger, owed};
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
        (ledger.len() == 4 && ledger.values().all(|log| log.refilled >= 10)).then_some(())
    });
    // The feed goes on losing: there is a moment in which everything older than the grace is there.
    let accounted = until("nothing is missing", || {
        let ledger = ledger(&http);
        ledger.values().all(|log| log.missing == 0).then_some(ledger)
    });
    // What is younger than the grace may be missing at the ends; it comes meanwhile.
    let owed = owed(LIST, &feed, &accounted);
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
