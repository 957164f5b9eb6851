//! The program itself, as an operator runs it: a folder with configuration and watch list, a process, its
//! address, its metrics.
//!
//! While it runs somebody scrapes it all the time and holds both equations of the contract against every
//! answer. It is stopped by pid, at the latest with the test.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::process::Process;

/// A ceiling for what takes seconds on a machine with nothing else to do.
pub const SOON: Duration = Duration::from_secs(60);
/// It stops within 15 s, whatever hangs; the rest is for a busy machine.
const STOPS_WITHIN: Duration = Duration::from_secs(17);
const LOOK: Duration = Duration::from_millis(50);
/// Between two scrapes.
const SCRAPE_EVERY: Duration = Duration::from_millis(40);

/// A command of the program, ready to be given its arguments. The environment is a clean one: what the
/// developer's shell says about certsieve does not count.
pub fn certsieve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certsieve"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CERTSIEVE_")) {
        command.env_remove(name);
    }
    command
}

/// A configuration with one CertStream feed, and `more` after it, such as `[kafka]`.
pub fn config(instance: &str, feed: &str, more: &str) -> String {
    format!(
        "instance = {instance:?}\nwatchlists = [\"watchlist.toml\"]\n\n[[feed]]\nkind = \"certstream\"\nname = \
         \"feed\"\nurl = {feed:?}\n\n[http]\nlisten = \"127.0.0.1:0\"\n\n{more}"
    )
}

/// Writes both files into `folder`; returns the path of the configuration.
pub fn write(folder: &Path, config: &str, list: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join("certsieve.toml");
    std::fs::write(&path, config).unwrap();
    std::fs::write(folder.join("watchlist.toml"), list).unwrap();
    path
}

/// A running `certsieve run`.
pub struct Certsieve {
    process: Process,
    folder: PathBuf,
    address: String,
    auditor: Option<Auditor>,
}

/// What remains of one that has stopped.
pub struct Stopped {
    pub status: ExitStatus,
    /// Standard error.
    pub log: String,
    /// The last scrape before the stop began.
    pub last: Scrape,
    pub audit: Audit,
}

impl Certsieve {
    /// Runs the files of `folder` (see [`write`]), with further arguments.
    pub fn run(folder: &Path, arguments: &[&str]) -> Certsieve {
        let mut command = certsieve();
        command.arg("run").arg("-c").arg(folder.join("certsieve.toml")).args(arguments);
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        let mut process = Process::spawn_apart("certsieve", &mut command, &stdout, stderr);
        let listening = process.wait_until(|output| {
            let rest = output.split_once("metrics and health at http://")?.1;
            Some(rest.split_once('/')?.0.to_owned())
        });
        let address = listening.unwrap_or_else(|error| panic!("{error}"));
        let auditor = Some(Auditor::start(address.clone()));
        Certsieve { process, folder: folder.to_owned(), address, auditor }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Of its `[http]`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn log(&self) -> String {
        self.process.output()
    }

    pub fn scrape(&self) -> Scrape {
        let (code, body) = get(&self.address, "/metrics").expect("certsieve answers");
        assert_eq!(code, 200, "{body}");
        Scrape::of(&body)
    }

    /// Status code and body of `/readyz`.
    pub fn readyz(&self) -> (u16, Value) {
        let (code, body) = get(&self.address, "/readyz").expect("certsieve answers");
        let body = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        (code, body)
    }

    pub fn is_ready(&self) -> bool {
        self.readyz().0 == 200
    }

    /// The checks of `/readyz` that do not pass, with their reasons.
    pub fn unready(&self) -> BTreeMap<String, String> {
        let (code, body) = self.readyz();
        let checks = body["checks"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let unready: BTreeMap<_, _> = checks
            .iter()
            .filter(|check| check["ready"] == false)
            .map(|check| (text(&check["check"]), text(&check["reason"])))
            .collect();
        assert_eq!(code, if unready.is_empty() { 200 } else { 503 }, "{body}");
        unready
    }

    /// Waits until `done` gives something; what certsieve says of itself is shown when it never does.
    pub fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut done: impl FnMut(&Certsieve) -> Option<T>,
    ) -> T {
        let start = Instant::now();
        loop {
            assert!(!self.process.ended(), "{what}: certsieve ended:\n{}", self.log());
            if let Some(found) = done(self) {
                return found;
            }
            assert!(
                start.elapsed() < within,
                "{what}: not within {within:?}\n{:#?}\n{}\n{}",
                self.unready(),
                self.scrape().shown(),
                self.log()
            );
            std::thread::sleep(LOOK);
        }
    }

    pub fn until_ready(&mut self, what: &str, within: Duration) {
        self.until(what, within, |certsieve| certsieve.is_ready().then_some(()));
    }

    /// The records of `run --stdout` so far.
    pub fn records(&self) -> Vec<Value> {
        records(&self.folder)
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        // What scrapes it may not find it gone.
        let _ = self.auditor.take().map(Auditor::finish);
        self.process.signal("KILL");
        self.process.exit(SOON);
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) -> Stopped {
        let last = self.scrape();
        let audit = self.auditor.take().expect("only taken here").finish();
        self.process.signal("TERM");
        let status = self.process.exit(STOPS_WITHIN);
        Stopped { status, log: self.log(), last, audit }
    }
}

/// The records that `run --stdout` in `folder` has written, without a line that it is writing.
pub fn records(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("stdout")).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// What somebody who scrapes all the time has seen.
#[derive(Clone, Copy, Default, Debug)]
pub struct Audit {
    pub scrapes: u64,
    pub max_in_flight: u64,
    pub max_pending: u64,
}

/// Scrapes until it is told to finish.
struct Auditor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Audit>>,
}

impl Auditor {
    fn start(address: String) -> Auditor {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut audit = Audit::default();
            while !stopped.load(Relaxed) {
                // An answer that does not come is the test's matter, which scrapes too.
                if let Some((200, body)) = get(&address, "/metrics") {
                    let scrape = Scrape::of(&body);
                    scrape.balances();
                    audit.scrapes += 1;
                    audit.max_in_flight = audit.max_in_flight.max(scrape.sum("messages_in_flight"));
                    audit.max_pending = audit.max_pending.max(scrape.sum("records_pending"));
                }
                std::thread::sleep(SCRAPE_EVERY);
            }
            audit
        });
        Auditor { stop, thread: Some(thread) }
    }

    fn finish(mut self) -> Audit {
        self.stop.store(true, Relaxed);
        let thread = self.thread.take().expect("only taken here");
        let audit = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(audit.scrapes > 0, "certsieve was never scraped");
        audit
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// One scrape: the value of each series.
#[derive(Clone, PartialEq, Debug)]
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(text: &str) -> Scrape {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.strip_prefix("certsieve_")?.to_owned(), value.parse().ok()?))
        });
        Scrape(series.collect())
    }

    /// The sum of a metric over all its labels.
    pub fn sum(&self, name: &str) -> u64 {
        let of = |series: &str| series.split('{').next() == Some(name);
        let (mut sum, mut found) = (0.0, false);
        for (_, value) in self.0.iter().filter(|(series, _)| of(series)) {
            sum += value;
            found = true;
        }
        assert!(found, "no series of {name}");
        sum as u64
    }

    /// One series, as `name{label="value"}`; labels in the order in which they are written.
    pub fn get(&self, series: &str) -> u64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.shown())) as u64
    }

    /// Both equations of the contract, exactly.
    pub fn balances(&self) {
        let received = self.sum("feed_messages_total");
        let settled = self.sum("messages_total") + self.sum("messages_in_flight");
        assert_eq!(received, settled, "messages do not balance:\n{}", self.shown());
        let numbered = self.sum("records_total") + self.sum("records_recovered_total");
        let reported = self.sum("records_delivered_total")
            + self.sum("records_rejected_total")
            + self.sum("records_pending");
        assert_eq!(numbered, reported, "records do not balance:\n{}", self.shown());
    }

    /// What is not zero, one a line.
    pub fn shown(&self) -> String {
        let shown = self.0.iter().filter(|(name, value)| **value != 0.0 && !name.contains("_bucket"));
        shown.map(|(name, value)| format!("{name} {value}\n")).collect()
    }
}

/// What `/metrics` says at an address.
pub fn scrape(address: &str) -> Option<Scrape> {
    get(address, "/metrics").filter(|(code, _)| *code == 200).map(|(_, body)| Scrape::of(&body))
}

/// GET on a loopback address: status code and body; `None` when nobody answers in full.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    const WITHIN: Duration = Duration::from_secs(10);
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(WITHIN)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// A running `certsieve simulate`.
pub struct Simulate {
    process: Process,
    address: String,
}

/// What it served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Served {
    pub sent: u64,
    /// Messages that a client's buffer had no room for, or that a client left behind.
    pub skipped: u64,
    /// Entries whose message it sent to nobody, because it was told to.
    pub dropped: u64,
}

impl Simulate {
    pub fn start(folder: &Path, arguments: &[&str]) -> Simulate {
        std::fs::create_dir_all(folder).unwrap();
        let mut command = certsieve();
        command.args(["simulate", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut process = Process::spawn("simulate", &mut command, folder.join("simulate.out"));
        let url = process.wait_until(|output| {
            let rest = output.split_once("ws://")?.1;
            Some(rest.split_once('/')?.0.to_owned())
        });
        let address = url.unwrap_or_else(|error| panic!("{error}"));
        Simulate { process, address }
    }

    /// `/` (lite), `/full-stream` or `/domains-only`.
    pub fn url(&self, stream: &str) -> String {
        format!("ws://{}{stream}", self.address)
    }

    /// Where the list of its logs lies.
    pub fn log_list(&self) -> String {
        format!("http://{}/log_list.json", self.address)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Ends it; what it served in all.
    pub fn finish(mut self) -> Served {
        self.process.signal("INT");
        let status = self.process.exit(Duration::from_secs(20));
        let output = self.process.output();
        assert!(status.success(), "{status}: {output}");
        let said = output.lines().last().unwrap_or_default();
        let number = |before: &str| -> Option<u64> {
            said.split_once(before)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let served = || {
            let (sent, skipped) = (number("sent ")?, number("skipped ")?);
            Some(Served { sent, skipped, dropped: number("dropped ")? })
        };
        served().unwrap_or_else(|| panic!("it does not say what it sent: {output}"))
    }
}
