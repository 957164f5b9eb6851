//! Canaries: what must appear is looked for in the stream and makes no record when it does; when it does not,
//! that is said, and again when it is back.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certsieve::config::Config;
use certsieve::metrics::Metrics;
use certsieve::publish::stdout::StdoutPublisher;
use certsieve::topology::{MakePublisher, Never, Past, Pipeline, Stand, Way};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{certsieve, folder, run};
use crate::refill::{after, until};
use crate::support::accounted::fetch;
use crate::support::entries::{Certificate, dns, ip};
use crate::support::process::Process;
use crate::support::raw_server::{FIN, RawServer, TEXT, frame};

const SOON: Duration = Duration::from_secs(60);

/// Nothing of the canaries' is watched.
const LIST: &str = "[[asset]]\nid = 'resolver'\nnetworks = ['1.1.1.1/32']\npolicy = 'never-issue'\n";

/// A feed that shows the canaries again and again while `shows` is set, and other certificates always.
fn feed(shows: Arc<AtomicBool>) -> RawServer {
    RawServer::start(None, move |peer, _| {
        peer.upgrade()?;
        for index in 0.. {
            let names = match shows.load(SeqCst) && index % 2 == 0 {
                true => vec![dns("Monday.example.org"), dns("other.example.org"), ip("192.0.2.1")],
                false => vec![dns("*.example.org"), ip("192.0.2.2")],
            };
            let message = Certificate::of(names).full("https://log.example.net/2026h2/", index);
            peer.send(&frame(FIN | TEXT, message.as_bytes()))?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })
}

fn configured(server: &RawServer, canaries: &str) -> TempDir {
    let folder = folder(&[("w.toml", LIST.as_bytes())]);
    configure(folder.path(), server, canaries);
    folder
}

fn configure(folder: &Path, server: &RawServer, canaries: &str) {
    let config = format!(
        "instance = 'test'\nwatchlists = ['w.toml']\n[http]\nlisten = '127.0.0.1:0'\n\
         [[feed]]\nkind = 'certstream'\nname = 'sim'\nurl = 'ws://{}/full-stream'\n{canaries}",
        server.address()
    );
    std::fs::write(folder.join("c.toml"), config).unwrap();
}

/// The value of a canary's series; `None` where there is none.
fn series(metrics: &str, name: &str, canary: &str) -> Option<f64> {
    let start = format!("certsieve_canary_{name}{{canary=\"{canary}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

const SEEN: &str = "last_seen_timestamp_seconds";

#[test]
fn a_canary_that_is_seen_has_its_time_and_no_record() {
    let server = feed(Arc::new(AtomicBool::new(true)));
    let folder = configured(
        &server,
        "[[canary]]\nname = 'monday.example.org.'\nevery = '26h'\n\
         [[canary]]\naddress = '::ffff:192.0.2.1'\nevery = 3600\n\
         [[canary]]\nname = 'x.example.org'\nevery = '60s'\n",
    );
    let mut command = certsieve();
    command.current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]);
    let stdout = folder.path().join("out.jsonl");
    let mut process = Process::spawn_apart("run", &mut command, &stdout, folder.path().join("run.log"));
    let http = process
        .wait_until(|said| after(said, "http://").map(str::to_owned))
        .unwrap_or_else(|error| panic!("{error}"));
    let metrics = || String::from_utf8(fetch(&http, "/metrics").expect("metrics")).unwrap();
    let first = metrics();
    for canary in ["monday.example.org", "192.0.2.1", "x.example.org"] {
        assert!(series(&first, SEEN, canary).is_some(), "{canary} has a series from the start: {first}");
        assert_eq!(series(&first, "overdue", canary), Some(0.0), "{canary}");
    }
    let seen = until("both are seen", || {
        let metrics = metrics();
        let seen = |canary| series(&metrics, SEEN, canary).is_some_and(|at| at > 1e9);
        (seen("monday.example.org") && seen("192.0.2.1")).then_some(metrics)
    });
    // A wildcard that could denote it is not it.
    assert_eq!(series(&seen, SEEN, "x.example.org"), Some(0.0));

    configure(
        folder.path(),
        &server,
        "[[canary]]\nname = 'other.example.org'\nevery = '1h'\n\
         [[canary]]\nname = 'monday.example.org'\nevery = '2h'\n",
    );
    process.signal("HUP");
    until("the new one is seen", || {
        series(&metrics(), SEEN, "other.example.org").is_some_and(|at| at > 1e9).then_some(())
    });
    process.signal("TERM");
    assert!(process.exit(SOON).success(), "{}", process.output());
    let records = std::fs::read_to_string(&stdout).unwrap();
    for line in records.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["topic"], "certsieve.health.v1", "{line}");
        assert!(!line.contains("canary"), "{line}");
    }
}

/// What is published, as it is written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// Canaries that were said to be missing, one for each record.
    fn missing(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let records = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].take());
        records
            .filter(|value| value["event"]["action"] == "canary-missing")
            .map(|value| {
                let canary = value["certsieve"]["health"]["canary"].as_str().unwrap().to_owned();
                let message = value["message"].as_str().unwrap();
                assert!(message.contains(&canary) && value["log"]["level"] == "high", "{value}");
                canary
            })
            .collect()
    }
}

/// The shortest time that a configuration can give is a minute: here it is set behind it.
#[test]
fn a_canary_that_is_missing_is_said_until_it_is_back() {
    let shows = Arc::new(AtomicBool::new(false));
    let server = feed(shows.clone());
    let folder = configured(
        &server,
        "[[canary]]\nname = 'monday.example.org'\nevery = '1h'\n\
         [[canary]]\naddress = '192.0.2.1'\nevery = '1h'\n\
         [[canary]]\nname = 'x.example.org'\nevery = '1h'\n",
    );
    let mut loaded = Config::load_whole(&folder.path().join("c.toml"), std::iter::empty()).unwrap();
    for (canary, every) in loaded.config.canaries.iter_mut().zip([1, 1, 3_600]) {
        canary.every = Duration::from_secs(every);
    }
    let written = Written::default();
    let out = written.clone();
    let make: MakePublisher = Box::new(move |_, reports| {
        let publisher = StdoutPublisher::new(out.clone(), "certsieve", reports);
        Ok(Way {
            publisher: Box::new(publisher.map_err(|error| error.to_string())?),
            standing: Box::new(|| Stand { kafka: true, topics: true, reason: None }),
        })
    });
    let metrics = Arc::new(Metrics::new().unwrap());
    let pipeline = Pipeline::new(loaded, None, metrics.clone(), make, Past::none()).unwrap();
    let overdue = |canary: &str| series(&metrics.render(), "overdue", canary);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = runtime.spawn(pipeline.run(async { drop(stopped.await) }, Never, |_| {}));
    until("both are said to be missing", || {
        let mut missing = written.missing();
        missing.sort();
        missing.dedup();
        (missing == ["192.0.2.1", "monday.example.org"]).then_some(())
    });
    until("both are overdue", || {
        ["monday.example.org", "192.0.2.1"].iter().all(|of| overdue(of) == Some(1.0)).then_some(())
    });
    assert_eq!(overdue("x.example.org"), Some(0.0));
    shows.store(true, SeqCst);
    until("both are back", || {
        ["monday.example.org", "192.0.2.1"].iter().all(|of| overdue(of) == Some(0.0)).then_some(())
    });
    stop.send(()).unwrap();
    runtime.block_on(running).unwrap().unwrap();
}

#[test]
fn mistakes_have_their_lines() {
    for (canary, line, said) in [
        ("every = '1h'", 8, "a canary without name or address"),
        ("name = 'a.example.org'\naddress = '192.0.2.1'\nevery = '1h'", 8, "a canary with name and address"),
        ("name = 'a.example.org'", 8, "a canary without every"),
        ("name = '*.example.org'\nevery = '1h'", 9, "has a wildcard"),
        ("name = 'example'\nevery = '1h'", 9, "is a single label"),
        ("name = 'https://a.example.org/'\nevery = '1h'", 9, "is a URL"),
        ("name = '192.0.2.1'\nevery = '1h'", 9, "a single address stands in address"),
        ("name = 7\nevery = '1h'", 9, "name"),
        ("address = 'a.example.org'\nevery = '1h'", 9, "is no address"),
        ("address = '192.0.2.0/24'\nevery = '1h'", 9, "is no address"),
        ("name = 'a.example.org'\nevery = '59s'", 10, "it is one minute to 60 days"),
        ("name = 'a.example.org'\nevery = '1441h'", 10, "it is one minute to 60 days"),
        ("name = 'a.example.org'\nevery = 'monday'", 10, "is no duration"),
        ("name = 'a.example.org'\nevry = '1h'\nevery = '1h'", 10, "unknown key `evry`"),
        (
            "name = 'a.example.org'\nevery = '1h'\n[[canary]]\nname = 'A.example.org'\nevery = '2h'",
            11,
            "two canaries are a.example.org",
        ),
    ] {
        let config = format!(
            "instance = 'test'\nwatchlists = ['w.toml']\n[[feed]]\nkind = 'file'\nname = 'f'\npath = '-'\n\
             [trust]\n[[canary]]\n{canary}\n"
        );
        let folder = folder(&[("w.toml", LIST.as_bytes()), ("c.toml", config.as_bytes())]);
        let said_of = run(certsieve().current_dir(folder.path()).args(["check", "-c", "c.toml"]), b"");
        let place = format!("c.toml:{line}:");
        assert_eq!(said_of.code, Some(2), "{canary}: {}", said_of.stderr);
        assert!(
            said_of.stderr.contains(said) && said_of.stderr.contains(&place),
            "{canary}: {}",
            said_of.stderr
        );
    }
    // A public suffix is a name that a certificate can have.
    let config = "instance = 'test'\nwatchlists = ['w.toml']\n[[feed]]\nkind = 'file'\nname = 'f'\npath = '-'\n\
                  [[canary]]\nname = 'github.io'\nevery = '60m'\n[[canary]]\naddress = '2001:db8::1'\nevery = 60\n";
    let folder = folder(&[("w.toml", LIST.as_bytes()), ("c.toml", config.as_bytes())]);
    let said = run(certsieve().current_dir(folder.path()).args(["check", "-c", "c.toml"]), b"");
    assert!(!said.stderr.contains("canary"), "{}", said.stderr);
}
