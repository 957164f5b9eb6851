//! `hunt --log`: a range of a log, of both kinds; a log that is busy, one that gives no more, and one that is
//! told to stop; and that what is found has the ids of what `run` publishes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cli::{Said, certsieve, folder, run};
use crate::logs::{Signer, Site, not_found, ok, with};
use crate::refill;
use crate::support::accounted::fetch;
use crate::support::entries::{Certificate, dns, ip};
use crate::support::leaves::Logged;
use crate::support::process::Process;

/// A ceiling for what takes a moment.
const SOON: Duration = Duration::from_secs(60);

const LIST: &str = "[[asset]]\nid = 'resolver'\nnetworks = ['1.1.1.1/32']\npolicy = 'never-issue'\n";

/// Entries of the scripted log.
const SIZE: u64 = 20;

/// As many as it gives at once.
const AT_ONCE: u64 = 4;

/// One entry in five is of 1.1.1.1; 7 cannot be decoded.
fn entry(index: u64) -> Value {
    let names = if index % 5 == 2 { vec![ip("1.1.1.1")] } else { vec![dns("example.org")] };
    let mut certificate = Certificate::of(names);
    certificate.serial = vec![1, index as u8];
    let logged = Logged::certificate(&certificate.der(), &[]);
    let mut input = logged.leaf_input();
    if index == 7 {
        input.truncate(40);
    }
    json!({ "leaf_input": STANDARD.encode(input), "extra_data": STANDARD.encode(logged.extra_data()) })
}

/// A log that answers so, unless `otherwise` has an answer to a request for entries from this index on.
fn log(otherwise: impl Fn(u64) -> Option<Vec<u8>> + Send + Sync + 'static) -> Site {
    let signer = Signer::new();
    Site::start(move |path| {
        if path.ends_with("/ct/v1/get-sth") {
            return signer.sth(SIZE);
        }
        let number = |name: &str| path.split(name).nth(1)?.split('&').next()?.parse::<u64>().ok();
        let (Some(first), Some(last)) = (number("start="), number("end=")) else { return not_found() };
        otherwise(first).unwrap_or_else(|| {
            let entries: Vec<Value> = (first..=last.min(first + AT_ONCE - 1)).map(entry).collect();
            ok(json!({ "entries": entries }).to_string())
        })
    })
}

/// The arguments of a hunt through a range, at a pace for tests.
fn arguments(url: &str, from: u64, to: u64) -> Vec<String> {
    let (from, to) = (from.to_string(), to.to_string());
    ["hunt", "-w", "w.toml", "--log", url, "--from", &from, "--to", &to, "--requests-per-second", "1000"]
        .map(str::to_owned)
        .to_vec()
}

fn hunt(url: &str, from: u64, to: u64, more: &[&str]) -> Said {
    let folder = folder(&[("w.toml", LIST.as_bytes())]);
    run(certsieve().current_dir(folder.path()).args(arguments(url, from, to)).args(more), b"")
}

/// The indexes that stand before each line.
fn indexes(stdout: &str, url: &str) -> Vec<u64> {
    let name = url.strip_prefix("http://").unwrap();
    let of_line = |line: &str| {
        let place = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        place.and_then(|rest| rest.split(':').next()?.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    stdout.lines().map(of_line).collect()
}

fn records(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_range_is_searched_from_its_first_index_to_its_last() {
    let site = log(|_| None);
    let url = site.url();
    for (from, to, want) in
        [(0, SIZE - 1, &[2, 7, 12, 17][..]), (2, 2, &[2]), (3, 11, &[7]), (13, 17, &[17]), (13, 16, &[])]
    {
        let said = hunt(&url, from, to, &[]);
        // What cannot be decoded is told, and is no match here: nothing of 1.1.1.1 was left of it.
        let want: Vec<u64> = want.iter().copied().filter(|index| *index != 7).collect();
        assert_eq!(indexes(&said.stdout, &url), want, "{from} to {to}: {}", said.stderr);
        assert_eq!(said.code, Some(if want.is_empty() { 1 } else { 0 }), "{from} to {to}");
        let last = said.stderr.lines().last().unwrap();
        let entries = to - from + 1;
        let told = format!("{entries} entries read in ");
        assert!(last.contains(&told) && last.contains(&format!("{} matches", want.len())), "{last}");
        let broken = (from..=to).contains(&7);
        assert_eq!(last.contains(", 1 entries that could not be decoded"), broken, "{last}");
        assert_eq!(said.stderr.lines().count(), 1 + usize::from(broken), "{}", said.stderr);
        assert_eq!(said.stderr.contains("/log:7: "), broken, "{}", said.stderr);
    }
    assert!(site.paths().iter().all(|path| path.starts_with("ct/v1/get-")), "{:?}", site.paths());
}

#[test]
fn records_are_those_of_the_log_itself() {
    let site = log(|_| None);
    let url = site.url();
    let name = url.strip_prefix("http://").unwrap();
    let said = hunt(&url, 0, SIZE - 1, &["--json", "--contact", "ct-ops@example.net"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let found: Vec<(u64, Value)> = records(&said.stdout)
        .into_iter()
        .map(|record| (record["certsieve"]["ct"]["index"].as_u64().unwrap(), record["certsieve"].clone()))
        .collect();
    assert_eq!(found.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2, 12, 17]);
    for (_, record) in &found {
        assert_eq!(record["ct"]["log"]["url"], url, "{record}");
        assert_eq!((&record["ct"]["origin"], &record["evidence"]), (&json!("refill"), &json!("der")));
    }
    assert!(site.asked().iter().all(|request| request.contains("(+ct-ops@example.net)")));

    let said = hunt(&url, 0, 9, &["--stdout"]);
    let lines = records(&said.stdout);
    let topics: Vec<&str> = lines.iter().map(|line| line["topic"].as_str().unwrap()).collect();
    assert_eq!(topics, ["certsieve.alert.v1", "certsieve.match.v1", "certsieve.malformed.v1"]);
    assert_eq!(lines[2]["key"], format!("{name}:7"));
}

#[test]
fn a_busy_log_is_asked_again_from_where_it_was() {
    let busy = AtomicU64::new(0);
    let answers = [
        with("429 Slow", "Retry-After: 1\r\n", b""),
        with("503 Away", "", b""),
        ok("<html>busy"),
        not_found(),
    ];
    let site = log(move |first| {
        // Of the third answer on, one after the other.
        (first >= 2 * AT_ONCE).then(|| answers.get(busy.fetch_add(1, SeqCst) as usize).cloned()).flatten()
    });
    let url = site.url();
    let said = hunt(&url, 0, SIZE - 1, &["--concurrent", "1", "--log-level", "debug"]);
    assert_eq!((said.code, indexes(&said.stdout, &url)), (Some(0), vec![2, 12, 17]), "{}", said.stderr);
    for why in ["answers 429", "answers 503", "bad data", "answers 404"] {
        let told =
            said.stderr.lines().filter(|line| line.contains("asked again in")).any(|l| l.contains(why));
        assert!(told, "{why}: {}", said.stderr);
    }
    assert!(said.stderr.lines().last().unwrap().contains("20 entries read"), "{}", said.stderr);
}

#[test]
fn a_log_that_gives_no_more_is_given_up_with_the_index_to_go_on_from() {
    for (answer, why) in [
        (with("429 Slow", "Retry-After: 3600\r\n", b""), "to be left alone for 3"),
        (with("301 There", "Location: http://127.0.0.1:9/\r\n", b""), "a redirect, which is not followed"),
    ] {
        let site = log(move |first| (first >= 2 * AT_ONCE).then(|| answer.clone()));
        let url = site.url();
        let said = hunt(&url, 0, SIZE - 1, &["--concurrent", "1"]);
        assert_eq!((said.code, indexes(&said.stdout, &url)), (Some(1), vec![2]), "{}", said.stderr);
        let last = said.stderr.lines().last().unwrap();
        assert!(last.contains(why) && last.ends_with("--from 8 goes on there"), "{last}");
        assert!(said.stderr.contains("8 entries read in"), "{}", said.stderr);
    }
}

#[test]
fn an_interrupt_ends_it_with_what_was_found() {
    // Nothing comes of what lies behind, and the log says so for a long time.
    let site = log(|first| (first >= 2 * AT_ONCE).then(|| with("503 Away", "Retry-After: 60\r\n", b"")));
    let url = site.url();
    let folder = folder(&[("w.toml", LIST.as_bytes())]);
    let mut command = certsieve();
    command.current_dir(folder.path()).args(arguments(&url, 0, SIZE - 1)).args(["--concurrent", "1"]);
    let (stdout, stderr) = (folder.path().join("out"), folder.path().join("err"));
    let mut process = Process::spawn_apart("hunt", &mut command, &stdout, stderr);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    refill::until("a match is told", || (!read(&stdout).is_empty()).then_some(()));
    refill::until("the log was asked for more", || {
        site.paths().last().is_some_and(|path| path.contains("start=8")).then_some(())
    });
    process.signal("INT");
    assert_eq!(process.exit(SOON).code(), Some(1), "{}", process.output());
    assert_eq!(indexes(&read(&stdout), &url), [2]);
    assert!(process.output().contains("stopped: --from 8 goes on there"), "{}", process.output());
}

#[test]
fn ranges_and_logs_that_are_not_there() {
    let site = log(|_| None);
    let (url, nobody) = (site.url(), Site::start(|_| not_found()).url());
    for (args, code, said) in [
        (&["--log", &url, "--from", "15", "--to", "20"][..], 1, "--to 20 is beyond the end: "),
        (&["--log", &url, "--from", "900", "--to", "901"], 1, "/log has 20 entries"),
        (&["--log", &url, "--from", "9", "--to", "8"], 2, "--from 9 is above --to 8"),
        (&["--log", &nobody, "--from", "0", "--to", "8"], 1, "cannot be reached"),
        (&["--log", &url], 2, "--from <N>"),
        (&["--log", &url, "--from", "1"], 2, "--to <M>"),
        (&["--from", "1", "--to", "2"], 2, "required"),
        (&["--from", "1", "--to", "2", "file"], 2, "cannot be used with"),
        (&["--log", &url, "--from", "1", "--to", "2", "file"], 2, "cannot be used with"),
        (&["--contact", "me@example.net", "file"], 2, "cannot be used with"),
        (&["--log", &url, "--from", "-1", "--to", "2"], 2, "unexpected argument"),
        (&["--log", "log.example.net", "--from", "1", "--to", "2"], 2, "does not begin with https://"),
        (&["--log", "https://u:p@log.example/", "--from", "1", "--to", "2"], 2, "has a user or a password"),
        (&["--log", &url, "--from", "1", "--to", "2", "--concurrent", "0"], 2, "1..=64"),
        (&["--log", &url, "--from", "1", "--to", "2", "--contact", "a b"], 2, "no address or URL"),
        (
            &["--log", &url, "--from", "1", "--to", "2", "--log-list", "none.json"],
            2,
            "--log-list none.json: ",
        ),
        (&["--log", &url, "--from", "1", "--to", "2", "--log-list", "w.toml"], 2, "no log list"),
        (&["--log", &url, "--from", "1", "--to", "2", "--log-list", &url], 1, "answers 404"),
    ] {
        let folder = folder(&[("w.toml", LIST.as_bytes())]);
        let done = run(certsieve().current_dir(folder.path()).args(["hunt", "-w", "w.toml"]).args(args), b"");
        assert_eq!(done.code, Some(code), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(said) && done.stdout.is_empty(), "{args:?}: {}", done.stderr);
        assert!(!done.stderr.contains("entries read"), "{args:?}: {}", done.stderr);
    }
}

/// The match records of a file of `run --stdout`, by id.
fn matches(stdout: &str) -> BTreeMap<String, Value> {
    let values = records(stdout).into_iter().map(|mut line| match line.get("topic") {
        Some(topic) => (topic == "certsieve.match.v1", line["value"].take()),
        None => (true, line),
    });
    values
        .filter(|(is_match, _)| *is_match)
        .map(|(_, value)| (value["event"]["id"].as_str().unwrap().to_owned(), value))
        .collect()
}

/// Both kinds of log of the simulated server, against a `run` that refills from them.
#[test]
fn what_is_found_has_the_ids_of_what_is_published() {
    let folder = folder(&[("w.toml", refill::LIST.as_bytes())]);
    let mut command = certsieve();
    command.args(["simulate", "--listen", "127.0.0.1:0", "--rate", "300", "--drop", "4"]);
    let mut simulate = Process::spawn("simulate", &mut command, folder.path().join("simulate.log"));
    let feed = simulate
        .wait_until(|said| refill::after(said, "ws://").map(str::to_owned))
        .unwrap_or_else(|error| panic!("{error}"));
    let list = format!("http://{feed}/log_list.json");
    let config = format!(
        "instance = 'test'\nwatchlists = ['w.toml']\n\
         [[feed]]\nkind = 'certstream'\nname = 'sim'\nurl = 'ws://{feed}/full-stream'\n\
         [refill]\nlog_list = ['{list}']\ngrace = '1s'\nask_every = '1s'\nrequests_per_second = 1000\n"
    );
    std::fs::write(folder.path().join("c.toml"), config).unwrap();
    let mut command = certsieve();
    command.current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]);
    let stdout = folder.path().join("out.jsonl");
    let mut process = Process::spawn_apart("run", &mut command, &stdout, folder.path().join("run.log"));
    let published = || {
        let text = std::fs::read_to_string(&stdout).unwrap();
        matches(&text[..text.rfind('\n').map_or(0, |end| end + 1)])
    };
    let of = |value: &Value, key: &str| value["certsieve"]["ct"][key].clone();
    let logs: Value = serde_json::from_slice(&fetch(&feed, "/log_list.json").expect("an answer")).unwrap();
    let logs: Vec<(String, String)> = ["logs", "tiled_logs"]
        .iter()
        .flat_map(|kind| logs["operators"][0][kind].as_array().unwrap())
        .map(|log| {
            let url = log.get("url").unwrap_or(&log["monitoring_url"]).as_str().unwrap();
            (log["log_id"].as_str().unwrap().to_owned(), url.to_owned())
        })
        .collect();
    assert_eq!(logs.len(), 4);
    let of_log = |id: &str, published: &BTreeMap<String, Value>| -> Vec<Value> {
        published.values().filter(|value| of(value, "log")["id"] == id).cloned().collect()
    };
    let published = refill::until("each log gave something", || {
        let published = published();
        let gave = |id: &str| of_log(id, &published).iter().any(|value| of(value, "origin") == "refill");
        logs.iter().all(|(id, _)| gave(id)).then_some(published)
    });
    process.signal("TERM");
    assert!(process.exit(SOON).success(), "{}", process.output());

    for (id, url) in &logs {
        let published = of_log(id, &published);
        let indexes = published.iter().map(|value| of(value, "index").as_u64().unwrap());
        let (first, last) = (indexes.clone().min().unwrap(), indexes.max().unwrap());
        let args = arguments(url, first, last);
        let said =
            run(certsieve().current_dir(folder.path()).args(args).args(["--json", "--log-list", &list]), b"");
        assert_eq!(said.code, Some(0), "{url}: {}", said.stderr);
        let found = matches(&said.stdout);
        assert!(found.len() >= published.len(), "{url}: {} and {}", found.len(), published.len());
        for value in &published {
            let same = found.get(value["event"]["id"].as_str().unwrap());
            let same = same.unwrap_or_else(|| panic!("{url} gave no such match: {value}"));
            assert_eq!(of(same, "index"), of(value, "index"), "{url}");
            // A message may say less than its entry.
            if of(value, "origin") == "refill" {
                for what in ["/certsieve/ct/log", "/certsieve/matches", "/certsieve/issuance_key", "/rule/id"]
                {
                    assert_eq!(same.pointer(what), value.pointer(what), "{url} {what}");
                }
            }
        }
        // Where no list knows it, it is known by its URL, and its matches are others.
        let said =
            run(certsieve().current_dir(folder.path()).args(arguments(url, first, last)).arg("--json"), b"");
        let unlisted = matches(&said.stdout);
        assert_eq!(unlisted.len(), found.len(), "{url}: {}", said.stderr);
        assert!(unlisted.keys().all(|id| !found.contains_key(id)), "{url}");
    }
}
