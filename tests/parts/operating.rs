//! The program as it is operated: one state directory for one process, and watch lists that change while
//! the feed runs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::program::{self, Certsieve, SOON, Simulate, certsieve, records};

/// In few names of the firehose, and in others than `second`.
const FIRST: &str =
    "[[asset]]\nid = \"first\"\nkeywords = [\"meadow\"]\nkeyword_severity = \"high\"\npolicy = \"observe\"\n";
const SECOND: &str = "[[asset]]\nid = \"second\"\nkeywords = [\"garden\"]\nkeyword_severity = \"high\"\npolicy = \"observe\"\n";

#[test]
fn a_second_process_on_one_state_directory_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = "[kafka]\nbrokers = \"127.0.0.1:1\"\n";
    let config = program::config("one", "ws://127.0.0.1:1/", nobody);
    let config = format!("state_dir = \"state\"\n{config}");
    let path = program::write(folder.path(), &config, FIRST);
    let first = Certsieve::run(folder.path(), &[]);
    let second = certsieve().arg("run").arg("-c").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("is in use by another certsieve: give each instance its own"), "{said}");
    // The first is unharmed, and leaves the directory to who comes after it.
    assert_eq!(first.scrape().get("ready{check=\"state\"}"), 1);
    let stopped = first.stop();
    assert_eq!(stopped.status.code(), Some(1), "what never reached Kafka is an exit code: {}", stopped.log);
    let third = Certsieve::run(folder.path(), &[]);
    third.signal("KILL");
    let fourth = Certsieve::run(folder.path(), &[]);
    drop((third, fourth));
}

#[test]
fn a_changed_list_judges_without_a_restart_and_a_broken_one_never_does() {
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", "500"]);
    let list = folder.path().join("watchlist.toml");
    program::write(folder.path(), &program::config("reload", &simulate.url("/full-stream"), ""), FIRST);
    let mut certsieve = Certsieve::run(folder.path(), &["--stdout"]);

    certsieve.until("alerts of the first asset", SOON, |c| (alerts(c, "first") > 5).then_some(()));
    assert_eq!(alerts(&certsieve, "second"), 0);
    let version = versions(&certsieve);
    assert_eq!(version.len(), 1);

    // By looking at the file alone; replaced as an editor does, and as a ConfigMap does.
    replace(&list, &format!("{FIRST}{SECOND}"));
    certsieve.until("the new list judges", SOON, |c| reloads(c, "ok", 1));
    certsieve.until("alerts of the second asset", SOON, |c| (alerts(c, "second") > 5).then_some(()));
    assert_eq!(certsieve.scrape().sum("watchlist_entries"), 2);

    // Broken in two places: refused whole, each said with its line; the old one goes on.
    replace(&list, "[[asset]]\nid = \"first\"\npolicy = \"perhaps\"\ndomains = [\"com\"]\n");
    certsieve.until("the broken list is refused", SOON, |c| reloads(c, "refused", 1));
    let log = certsieve.log();
    assert!(log.contains("the old one goes on"), "{log}");
    for line in ["watchlist.toml:3", "watchlist.toml:4"] {
        assert!(log.contains(line), "{line} is not in:\n{log}");
    }
    let before = alerts(&certsieve, "second");
    certsieve.until("the old list goes on", SOON, |c| (alerts(c, "second") > before).then_some(()));
    assert_eq!(certsieve.scrape().sum("watchlist_entries"), 2);

    // At once, on SIGHUP.
    replace(&list, SECOND);
    certsieve.signal("HUP");
    certsieve.until("the mended list judges", Duration::from_secs(20), |c| reloads(c, "ok", 2));
    certsieve.until("its version is in records", SOON, |c| (versions(c).len() == 3).then_some(()));

    // The feed ends first: then what it sent is what was taken in.
    let served = simulate.finish();
    assert_eq!(served.skipped, 0);
    certsieve.until("every message is settled", SOON, |c| {
        let scrape = c.scrape();
        (scrape.sum("messages_total") == served.sent && scrape.sum("messages_in_flight") == 0).then_some(())
    });
    assert_eq!(certsieve.scrape().get("messages_total{outcome=\"shed\"}"), 0);
    certsieve.until("the end of the feed is said", SOON, |c| {
        c.records().iter().any(|record| action(record) == "feed-down").then_some(())
    });
    assert!(certsieve.stop().status.success());
    let records = records(folder.path());
    assert_eq!(records.last().map(action), Some("stopped"));
    let actions: BTreeSet<_> = records.iter().map(action).collect();
    for want in ["started", "feed-up", "watchlist-loaded", "watchlist-refused", "feed-down"] {
        assert!(actions.contains(want), "{want} is not among {actions:?}");
    }
}

/// A new inode, at once.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn reloads(certsieve: &Certsieve, result: &str, times: u64) -> Option<()> {
    let found = certsieve.scrape().get(&format!("watchlist_reloads_total{{result={result:?}}}"));
    assert!(found <= times, "{found} reloads are {result}");
    (found == times).then_some(())
}

fn action(record: &Value) -> &str {
    record["value"]["event"]["action"].as_str().unwrap_or_default()
}

fn alerts(certsieve: &Certsieve, asset: &str) -> usize {
    let of_asset =
        |record: &&Value| record["topic"] == "certsieve.alert.v1" && record["headers"]["ce_subject"] == asset;
    certsieve.records().iter().filter(of_asset).count()
}

/// The versions of the list that stand in records of matches.
fn versions(certsieve: &Certsieve) -> BTreeSet<String> {
    let of_match = |record: &&Value| record["topic"] == "certsieve.match.v1";
    let version =
        |record: &Value| record["value"]["certsieve"]["watchlist_version"].as_str().map(str::to_owned);
    certsieve.records().iter().filter(of_match).filter_map(version).collect()
}
