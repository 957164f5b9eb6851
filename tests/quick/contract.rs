//! What others build on: every metric by its name, both equations at every scrape, the health checks, the
//! commands and configurations that README shows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::cli::{certsieve, folder};
use crate::support::process::Process;

/// Of telemetry.md, what this version's parts can answer: name, type, labels beside their values.
const METRICS: &[(&str, &str, &[&str])] = &[
    ("feed_connected", "gauge", &["feed=\"sim\""]),
    (
        "feed_connects_total",
        "counter",
        &[
            "result=\"ok\"",
            "result=\"refused\"",
            "result=\"tls\"",
            "result=\"http\"",
            "result=\"timeout\"",
            "result=\"other\"",
        ],
    ),
    (
        "feed_disconnects_total",
        "counter",
        &[
            "reason=\"close\"",
            "reason=\"eof\"",
            "reason=\"silent\"",
            "reason=\"pong_timeout\"",
            "reason=\"too_large\"",
            "reason=\"protocol\"",
            "reason=\"tls\"",
            "reason=\"io\"",
        ],
    ),
    ("feed_messages_total", "counter", &["feed=\"sim\""]),
    ("feed_bytes_total", "counter", &["feed=\"sim\""]),
    ("feed_last_message_timestamp_seconds", "gauge", &["feed=\"sim\""]),
    ("feed_lag_seconds", "histogram", &["le=\"0.25\"", "le=\"86400\"", "le=\"+Inf\""]),
    ("clock_skew_total", "counter", &[]),
    (
        "messages_total",
        "counter",
        &[
            "outcome=\"screened_out\"",
            "outcome=\"matched\"",
            "outcome=\"unmatched\"",
            "outcome=\"repeated\"",
            "outcome=\"malformed\"",
            "outcome=\"other\"",
            "outcome=\"shed\"",
        ],
    ),
    ("messages_in_flight", "gauge", &[]),
    ("canary_last_seen_timestamp_seconds", "gauge", &["canary=\"monday.example.org\""]),
    ("canary_overdue", "gauge", &["canary=\"monday.example.org\""]),
    ("malformed_total", "counter", &["reason=\"json\"", "reason=\"der\"", "reason=\"panic\""]),
    ("anomalies_total", "counter", &["kind=\"ip_in_dns\"", "kind=\"serial_reuse\""]),
    (
        "stage_duration_seconds",
        "histogram",
        &["stage=\"decode\"", "stage=\"match\"", "stage=\"judge\"", "stage=\"commit\""],
    ),
    ("matches_total", "counter", &["verdict=\"unexpected\"", "verdict=\"expected\"", "verdict=\"observed\""]),
    (
        "alerts_total",
        "counter",
        &[
            "asset=\"resolver\",severity=\"low\"",
            "asset=\"resolver\",severity=\"medium\"",
            "asset=\"resolver\",severity=\"high\"",
            "asset=\"resolver\",severity=\"critical\"",
            "asset=\"quiet\",severity=\"critical\"",
        ],
    ),
    ("alerts_capped_total", "counter", &["asset=\"resolver\"", "asset=\"quiet\"", "asset=\"-\""]),
    ("last_alert_timestamp_seconds", "gauge", &["severity=\"low\"", "severity=\"critical\""]),
    ("alert_latency_seconds", "histogram", &["origin=\"feed\",le=\"1\"", "origin=\"refill\",le=\"86400\""]),
    ("log_last_index", "gauge", &["log=\"unlisted\""]),
    ("log_tree_size", "gauge", &["log=\"unlisted\""]),
    ("log_holes", "gauge", &["log=\"unlisted\""]),
    ("log_oldest_hole_timestamp_seconds", "gauge", &["log=\"unlisted\""]),
    ("log_refilled_total", "counter", &["log=\"unlisted\""]),
    ("log_lost_total", "counter", &["log=\"unlisted\""]),
    ("log_implausible_total", "counter", &["log=\"unlisted\""]),
    (
        "logs",
        "gauge",
        &["state=\"followed\"", "state=\"uncovered\"", "state=\"unaccountable\"", "state=\"unlisted\""],
    ),
    ("log_list_timestamp_seconds", "gauge", &[]),
    ("refill_backlog", "gauge", &[]),
    ("records_total", "counter", TOPICS),
    ("records_recovered_total", "counter", &[]),
    ("records_delivered_total", "counter", TOPICS),
    (
        "records_rejected_total",
        "counter",
        &[
            "topic=\"alert.v1\",reason=\"too_large\"",
            "topic=\"match.v1\",reason=\"invalid\"",
            "topic=\"health.v1\",reason=\"other\"",
        ],
    ),
    ("records_pending", "gauge", TOPICS),
    ("oldest_pending_timestamp_seconds", "gauge", &[]),
    ("outbox_bytes", "gauge", &[]),
    ("outbox_limit_bytes", "gauge", &[]),
    ("state_bytes", "gauge", &[]),
    ("state_errors_total", "counter", &["reason=\"full\"", "reason=\"io\"", "reason=\"damaged\""]),
    ("state_commit_duration_seconds", "histogram", &["le=\"0.0005\"", "le=\"5\""]),
    ("delivery_duration_seconds", "histogram", TOPICS),
    ("kafka_last_delivery_timestamp_seconds", "gauge", &[]),
    ("kafka_brokers_up", "gauge", &[]),
    ("kafka_producer_rebuilds_total", "counter", &[]),
    (
        "watchlist_entries",
        "gauge",
        &["kind=\"domain\"", "kind=\"exact\"", "kind=\"keyword\"", "kind=\"network\""],
    ),
    ("watchlist_loaded_timestamp_seconds", "gauge", &[]),
    ("watchlist_reloads_total", "counter", &["result=\"ok\"", "result=\"refused\""]),
    ("watchlist_series_capped", "gauge", &[]),
    (
        "ready",
        "gauge",
        &[
            "check=\"config\"",
            "check=\"state\"",
            "check=\"feed\"",
            "check=\"kafka\"",
            "check=\"topics\"",
            "check=\"backlog\"",
        ],
    ),
    ("build_info", "gauge", &["version=", "commit="]),
    (
        "http_requests_total",
        "counter",
        &["path=\"metrics\"", "path=\"livez\"", "path=\"readyz\"", "path=\"other\""],
    ),
];

const TOPICS: &[&str] =
    &["topic=\"alert.v1\"", "topic=\"match.v1\"", "topic=\"malformed.v1\"", "topic=\"health.v1\""];

/// One GET: status, headers, body.
fn get(address: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("a server that listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer to its end");
    let answer = String::from_utf8(answer).expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("headers and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// The text format 0.0.4: value by series, type by family. Anything odd fails.
struct Scrape {
    values: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Scrape {
    fn of(address: &str) -> Scrape {
        let (status, head, body) = get(address, "/metrics");
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        Scrape::parse(&body)
    }

    fn parse(text: &str) -> Scrape {
        let (mut values, mut types) = (BTreeMap::new(), BTreeMap::new());
        let mut helped = BTreeSet::new();
        assert!(text.ends_with('\n'));
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and its help");
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and its type");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let (series, value) = line.rsplit_once(' ').expect("a series and its value");
                let value = match value {
                    "+Inf" => f64::INFINITY,
                    value => value.parse().unwrap_or_else(|e| panic!("{e}: {line}")),
                };
                assert!(values.insert(series.to_owned(), value).is_none(), "a duplicate series: {line}");
                let name = series.split('{').next().unwrap();
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let known =
                    types.contains_key(name) || family.is_some_and(|family| types.contains_key(family));
                assert!(known, "no type before {line}");
            }
        }
        for name in types.keys() {
            assert!(helped.contains(name), "no help for {name}");
        }
        Scrape { values, types }
    }

    /// Of a family, all labels.
    fn sum(&self, name: &str) -> f64 {
        let name = format!("certsieve_{name}");
        let of = |series: &&String| series.split('{').next() == Some(name.as_str());
        assert!(self.values.keys().any(|series| of(&series)), "no {name}");
        self.values.iter().filter(|(series, _)| of(series)).map(|(_, value)| value).sum()
    }

    fn equations(&self) {
        let received = self.sum("feed_messages_total");
        assert_eq!(received, self.sum("messages_total") + self.sum("messages_in_flight"));
        let numbered = self.sum("records_total") + self.sum("records_recovered_total");
        let ended = self.sum("records_delivered_total") + self.sum("records_rejected_total");
        assert_eq!(numbered, ended + self.sum("records_pending"));
    }
}

fn address(process: &mut Process, before: &str) -> String {
    process
        .wait_until(|said| {
            let rest = &said[said.find(before)? + before.len()..];
            let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
            Some(rest[..end].to_owned())
        })
        .unwrap_or_else(|e| panic!("{e}"))
}

const LIST: &str = "[[asset]]\nid = 'resolver'\nnetworks = ['1.1.1.1/32', '10.0.0.0/8']\npolicy = 'never-issue'\n\
    [[asset]]\nid = 'letters'\nkeywords = ['example']\nkeyword_severity = 'low'\npolicy = 'observe'\n\
    [[asset]]\nid = 'quiet'\nexact = ['never.seen.example']\npolicy = 'never-issue'\n";

/// A simulated server and a pipeline that reads it.
struct Running {
    folder: tempfile::TempDir,
    run: Process,
    _simulate: Process,
    http: String,
}

fn running(rate: u32) -> Running {
    let folder = folder(&[("w.toml", LIST.as_bytes())]);
    let mut command = certsieve();
    command.args(["simulate", "--listen", "127.0.0.1:0", "--rate", &rate.to_string()]);
    let mut simulate = Process::spawn("simulate", &mut command, folder.path().join("simulate.log"));
    let feed = address(&mut simulate, "ws://");
    let config = format!(
        "instance = 'test'\nwatchlists = ['w.toml']\n[http]\nlisten = '127.0.0.1:0'\n\
         [[feed]]\nkind = 'certstream'\nname = 'sim'\nurl = 'ws://{feed}/full-stream'\n\
         [[canary]]\nname = 'monday.example.org'\nevery = '26h'\n"
    );
    std::fs::write(folder.path().join("c.toml"), config).unwrap();
    let mut command = certsieve();
    command.current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]);
    let mut run = Process::spawn("run", &mut command, folder.path().join("run.log"));
    let http = address(&mut run, "http://");
    Running { folder, run, _simulate: simulate, http }
}

#[test]
fn every_metric_is_there_from_the_start() {
    let running = running(1);
    let scrape = Scrape::of(&running.http);
    for (name, kind, labels) in METRICS {
        let family = format!("certsieve_{name}");
        assert_eq!(scrape.types.get(&family).map(String::as_str), Some(*kind), "{family}");
        for label in *labels {
            let has = |series: &&String| {
                let ends: &[&str] =
                    if *kind == "histogram" { &["_bucket", "_sum", "_count", ""] } else { &[""] };
                let name = series.split('{').next().unwrap();
                ends.iter().any(|end| name == format!("{family}{end}"))
                    && label.split(',').all(|label| series.contains(label))
            };
            assert!(scrape.values.keys().any(|series| has(&series)), "{family} has no series {label}");
        }
    }
    // Nothing is in the text that telemetry.md does not name.
    for name in scrape.types.keys().filter_map(|name| name.strip_prefix("certsieve_")) {
        let known = METRICS.iter().any(|(known, ..)| *known == name)
            || ["kafka_errors_total", "refill_requests_total"].contains(&name);
        assert!(known, "certsieve_{name} is not in the table");
    }
    assert!(scrape.types.contains_key("process_resident_memory_bytes"));
    assert_eq!(scrape.values["certsieve_alerts_total{asset=\"quiet\",severity=\"critical\"}"], 0.0);
    assert!(scrape.values.len() < 1_500, "{} series", scrape.values.len());
}

#[test]
fn health_checks() {
    let mut running = running(50);
    let (status, _, body) = get(&running.http, "/livez");
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    let http = running.http.clone();
    // Ready once the first message came.
    let body = running
        .run
        .wait_until(|_| {
            let (status, head, body) = get(&http, "/readyz");
            assert!(head.contains("content-type: application/json"), "{head}");
            (status == 200).then_some(body)
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(ready["ready"], true);
    let checks: Vec<_> =
        ready["checks"].as_array().unwrap().iter().map(|c| c["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["config", "state", "feed", "kafka", "topics", "backlog"]);
    assert_eq!(get(&running.http, "/nothing").0, 404);
    let scrape = Scrape::of(&running.http);
    assert_eq!(scrape.values["certsieve_ready{check=\"feed\"}"], 1.0);
    assert_eq!(scrape.values["certsieve_http_requests_total{path=\"other\",code=\"404\"}"], 1.0);
    assert_eq!(scrape.values["certsieve_http_requests_total{path=\"livez\",code=\"200\"}"], 1.0);
}

#[test]
fn both_equations_hold_at_every_scrape() {
    let running = running(2_000);
    let mut before: Option<Scrape> = None;
    for _ in 0..200 {
        let scrape = Scrape::of(&running.http);
        scrape.equations();
        if let Some(before) = &before {
            for (series, value) in &before.values {
                let name = series.split('{').next().unwrap();
                if before.types.get(name).is_some_and(|kind| kind == "counter") {
                    assert!(scrape.values.get(series).is_some_and(|now| now >= value), "{series} fell");
                }
            }
        }
        before = Some(scrape);
    }
    let mut running = running;
    let http = running.http.clone();
    running
        .run
        .wait_until(|_| {
            let scrape = Scrape::of(&http);
            scrape.equations();
            let alerts = scrape.values.get("certsieve_alerts_total{asset=\"letters\",severity=\"low\"}");
            (scrape.sum("feed_messages_total") > 4_000.0 && alerts.is_some_and(|n| *n > 0.0)).then_some(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(Scrape::of(&http).sum("messages_total") > 0.0, running.folder.path().exists());
}

/// A list that no longer has an asset must not make a counter fall, nor count an alert twice.
#[test]
fn alerts_are_counted_once_through_reloads() {
    let mut running = running(500);
    let http = running.http.clone();
    let list = running.folder.path().join("w.toml");
    let loaded = |n: f64| {
        move |scrape: &Scrape| scrape.values["certsieve_watchlist_reloads_total{result=\"ok\"}"] >= n
    };
    let mut wait = |condition: &dyn Fn(&Scrape) -> bool| {
        running
            .run
            .wait_until(|_| {
                let scrape = Scrape::of(&http);
                let numbered = scrape.values["certsieve_records_total{topic=\"alert.v1\"}"];
                assert_eq!(scrape.sum("alerts_total"), numbered, "alerts by asset and in all");
                condition(&scrape).then_some(())
            })
            .unwrap_or_else(|e| panic!("{e}"));
    };
    wait(&|scrape| scrape.sum("alerts_total") >= 3.0);
    std::fs::write(&list, LIST.replace("'letters'", "'words'")).unwrap();
    wait(&loaded(1.0));
    let words = "certsieve_alerts_total{asset=\"words\",severity=\"low\"}";
    wait(&|scrape| scrape.values.get(words).is_some_and(|n| *n >= 3.0));
    std::fs::write(&list, LIST).unwrap();
    wait(&loaded(2.0));
    wait(&|scrape| scrape.sum("alerts_total") >= 8.0);
    std::fs::write(&list, "[[asset]]\nnonsense = 1\n").unwrap();
    wait(&|scrape| scrape.values["certsieve_watchlist_reloads_total{result=\"refused\"}"] >= 1.0);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The code blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let path = root().join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let body: Vec<_> =
                lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            blocks.push((language.trim().to_owned(), body.join("\n")));
        }
    }
    blocks
}

#[test]
fn every_command_of_the_readme_is_one() {
    let mut tried = 0;
    for (language, block) in blocks("README.md") {
        if !["sh", "console", "bash"].contains(&language.as_str()) {
            continue;
        }
        for line in block.lines() {
            let line = line.trim_start_matches("$ ").split(" #").next().unwrap_or_default();
            let args = match line.split_once("certsieve ") {
                Some(("" | "./target/release/", args)) => args,
                _ => match line.strip_prefix("cargo run --release -- ") {
                    Some(args) => args,
                    None => continue,
                },
            };
            let args: Vec<_> =
                args.split_whitespace().take_while(|arg| !matches!(*arg, "|" | ">" | "&")).collect();
            // The demo is part of a build with Kafka.
            if args.first() == Some(&"demo") && !cfg!(feature = "kafka") {
                continue;
            }
            // With --help clap still refuses what stands before it and is no argument.
            let output = certsieve().args(&args).arg("--help").output().expect("certsieve starts");
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            tried += 1;
        }
    }
    assert!(tried >= 3, "{tried} commands in README.md");
}

#[test]
fn the_configuration_of_the_readme_loads() {
    let tables: Vec<String> = blocks("README.md")
        .into_iter()
        .filter(|(language, _)| language == "toml")
        .map(|(_, text)| text)
        .collect();
    let config = tables.iter().find(|text| text.contains("watchlists =")).expect("a configuration");
    let list = tables.iter().find(|text| text.starts_with("# watchlist.toml")).expect("a watch list");
    let secure = tables.iter().find(|text| text.contains("wss://")).expect("a secure configuration");
    let secure = format!("watchlists = [\"watchlist.toml\"]\n{secure}");
    for config in [config.as_str(), &secure] {
        let files: [(&str, &[u8]); 7] = [
            ("certsieve.toml", config.as_bytes()),
            ("watchlist.toml", list.as_bytes()),
            ("ca.pem", b"-"),
            ("client.pem", b"-"),
            ("client.key", b"-"),
            ("token", b"Bearer x"),
            ("kafka-password", b"x"),
        ];
        let folder = folder(&files);
        std::fs::write(folder.path().join("kafka-ca.pem"), "-").unwrap();
        let output = certsieve().current_dir(folder.path()).arg("check").output().expect("certsieve starts");
        assert!(output.status.success(), "{config}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The parts of the image's context that the Dockerfile copies are not kept out by `.dockerignore`, and
/// are enough for cargo: no bench or test that stays behind is missed.
#[test]
fn the_build_context_has_what_the_image_copies() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("it is there");
    let ignore = read(".dockerignore");
    let lines = ignore.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (kept, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('!'));
    assert_eq!(others, ["*"], "everything else stays out");
    let kept: BTreeSet<_> = kept.iter().map(|line| &line[1..]).collect();
    let dockerfile = read("deploy/Dockerfile");
    let copied: BTreeSet<_> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--from")))
        .flat_map(|rest| rest.split(' ').rev().skip(1))
        .collect();
    assert_eq!(copied, kept);
    let context = tempfile::tempdir().unwrap();
    for name in copied {
        let copy = Command::new("cp").arg("-r").arg(root().join(name)).arg(context.path()).status();
        assert!(copy.unwrap().success(), "{name}");
    }
    // `cargo metadata` takes a manifest whose bench is missing, a build does not: one that is asked for
    // nothing there is ends after the manifest was read, before anything is compiled.
    let asked = Command::new(env!("CARGO"))
        .args(["check", "--locked", "--offline", "--bin", "nothing-of-that-name"])
        .current_dir(context.path())
        .env("CARGO_TARGET_DIR", context.path().join("target"))
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(said.contains("no bin target named `nothing-of-that-name`"), "{said}");
}
