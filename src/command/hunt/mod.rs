//! `certsieve hunt`: the same rules over recordings, certificates, or a range of a log; never publishes.
//!
//! Recordings are JSON lines, plain or compressed, as `run` reads them; certificates are PEM or DER, any
//! number in a file, as an inventory or a search of logs gives them; `log` reads a log itself. Each match is
//! a line for people, or with `--json` the value of its record, or with `--stdout` every record as
//! `run --stdout` writes it. The exit code is grep's: 0 when something matched, 1 when nothing did.

mod log;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::{error, warn};

use super::{Environment, Exit, run::refuse};
use crate::account::{Account, Bounds};
use crate::clock;
use crate::config::{self, MAX_MESSAGE_BYTES, Problems, TrustConfig};
use crate::feed::bundle::{Bundle, BundleError, Item, Skip};
use crate::judge::Verdict;
use crate::publish::stdout::write_line;
use crate::record::{Arrival, Composer, Outcome, Record, Report, Topic, printable};
use crate::sieve::{Batch, Finding, Origin, Position, Scratch, Sieve, Source, Unfit};
use crate::watch::Matcher;

/// Arguments of `certsieve hunt`.
#[derive(Clone, Debug, clap::Args)]
pub struct HuntArgs {
    /// A watch list; may be given more than once.
    #[arg(short, long = "watchlist", value_name = "FILE", required = true)]
    pub watchlists: Vec<PathBuf>,
    /// CCADB's all-certificate-records report (V5, or V4a and V4b), and its report of included roots; may be
    /// given more than once. Without it Mozilla's roots alone are known.
    #[arg(long, value_name = "FILE")]
    pub ccadb: Vec<PathBuf>,
    /// CCADB's problem-reporting-mechanisms report.
    #[arg(long, value_name = "FILE", requires = "ccadb")]
    pub problem_reporting: Option<PathBuf>,
    /// Recordings (JSON lines) or certificates (PEM or DER, any number), told apart by their content; plain,
    /// gzip or zstd; `-` is standard input.
    #[arg(value_name = "FILE", required_unless_present = "log", conflicts_with_all = log::OPTIONS)]
    pub files: Vec<PathBuf>,
    /// Print every record as `run --stdout` does.
    #[arg(long, conflicts_with = "json")]
    pub stdout: bool,
    /// Print the value of each match record, one a line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub range: log::LogArgs,
}

/// Records of a recording are made and printed at once.
const OUTBOX: Bounds = Bounds { memory: usize::MAX, store: 0 };

/// The sieve of these watch lists and reports; what is wrong with them was said where there is none.
pub(super) fn sieve(watchlists: &[PathBuf], trust: &TrustConfig) -> Result<Sieve, Exit> {
    let read = (config::read_watchlists(watchlists), config::read_authorities(trust));
    let (list, authorities) = match read {
        (Ok(list), Ok(authorities)) => (list, authorities),
        (list, authorities) => {
            let mut problems = Problems::default();
            let found = list.err().into_iter().chain(authorities.err());
            found.for_each(|more| problems.append(more));
            return Err(refuse(&problems));
        }
    };
    match Matcher::new(list) {
        Ok(matcher) => Ok(Sieve::new(matcher).knowing(authorities)),
        Err(error) => {
            error!("the watch list cannot be compiled: {error}");
            Err(Exit::Usage)
        }
    }
}

pub async fn run(args: &HuntArgs, env: Environment) -> Exit {
    let trust = TrustConfig { ccadb: args.ccadb.clone(), problem_reporting: args.problem_reporting.clone() };
    let sieve = match sieve(&args.watchlists, &trust) {
        Ok(sieve) => sieve,
        Err(exit) => return exit,
    };
    let version = sieve.matcher().list().version.clone();
    let mut hunt = Hunt {
        sieve,
        account: Account::new(Composer::new("hunt", "certsieve"), OUTBOX, &version),
        scratch: Scratch::default(),
        out: io::BufWriter::new(io::stdout()),
        args,
        matches: 0,
        line: Vec::new(),
    };
    let searched = match args.range.asked() {
        Some(asked) => hunt.log(asked, env).await.map(|()| None),
        None => hunt.files(&args.files),
    };
    match searched {
        Ok(None) if hunt.out.flush().is_err() || hunt.matches > 0 => Exit::Done,
        Ok(None) => Exit::Failed,
        Ok(Some(failed)) => {
            let _ = hunt.out.flush();
            failed
        }
        Err(HuntError::ReaderGone) => Exit::Done,
        Err(error) => {
            let _ = hunt.out.flush();
            error!("{error}");
            error.exit()
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum HuntError {
    #[error(transparent)]
    File(#[from] BundleError),
    #[error("{}, {place}: {unfit}", path.display())]
    Unfit { path: PathBuf, place: Place, unfit: Unfit },
    #[error(transparent)]
    Log(#[from] log::LogHuntError),
    #[error("the reader of standard output is gone")]
    ReaderGone,
    #[error("cannot write to standard output: {0}")]
    Write(io::Error),
}

impl From<io::Error> for HuntError {
    fn from(error: io::Error) -> HuntError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => HuntError::ReaderGone,
            _ => HuntError::Write(error),
        }
    }
}

impl HuntError {
    fn exit(&self) -> Exit {
        match self {
            HuntError::Unfit { .. } => Exit::Usage,
            HuntError::Log(error) if error.is_usage() => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

struct Hunt<'a> {
    sieve: Sieve,
    account: Account,
    scratch: Scratch,
    out: io::BufWriter<io::Stdout>,
    args: &'a HuntArgs,
    matches: u64,
    line: Vec<u8>,
}

/// Where in a file an item stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    Line(u64),
    Certificate(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(number) => write!(f, "line {number}"),
            Place::Certificate(number) => write!(f, "certificate {number}"),
        }
    }
}

impl Hunt<'_> {
    /// How the first file that cannot be searched ends it, once the others were.
    fn files(&mut self, paths: &[PathBuf]) -> Result<Option<Exit>, HuntError> {
        let mut failed = None;
        for path in paths {
            match self.file(path) {
                Ok(()) => {}
                Err(error @ (HuntError::ReaderGone | HuntError::Write(_))) => return Err(error),
                Err(error) => {
                    error!("{error}");
                    failed = failed.or(Some(error.exit()));
                }
            }
        }
        Ok(failed)
    }

    fn file(&mut self, path: &Path) -> Result<(), HuntError> {
        let mut bundle = Bundle::open(path, MAX_MESSAGE_BYTES)?;
        self.scratch.begin();
        let bar = progress(bundle.size(), path);
        let feed: Arc<str> = "hunt".into();
        let mut arrival = Arrival { feed: feed.clone(), received: clock::now() };
        let position = Position { feed, origin: Origin::Recording };
        let mut batch = Batch::new(position);
        let (mut items, mut undecodable, mut foreign) = (0u64, 0, 0u64);
        let mut things = "lines";
        while let Some(item) = bundle.next()? {
            let (source, place) = match item {
                Item::Message { bytes, line } => (Source::Message(bytes), Place::Line(line)),
                Item::Certificate { der, number } => (Source::Certificate(der), Place::Certificate(number)),
                Item::Skipped(skip) => {
                    match skip {
                        Skip::Line { .. } => {}
                        Skip::Foreign { .. } => foreign += 1,
                        Skip::Block { .. } | Skip::Element { .. } => {
                            things = "certificates";
                            undecodable += 1;
                        }
                    }
                    // A bundle of a thousand keys needs one word.
                    if skip.is_broken() || foreign == 1 {
                        bar.suspend(|| warn!("{}, {skip}: skipped", path.display()));
                    }
                    continue;
                }
            };
            arrival.received = clock::now();
            if let Err(unfit) = self.sieve.sift(source, &arrival, &mut self.scratch, &mut batch) {
                return Err(HuntError::Unfit { path: path.to_owned(), place, unfit });
            }
            if let Source::Certificate(_) = source {
                things = "certificates";
            }
            if let Source::Certificate(_) = source
                && let Some((malformed, _)) = batch.findings.last().and_then(|f| f.malformed.as_ref())
            {
                bar.suspend(|| warn!("{}, {place}: {}", path.display(), printable(&malformed.message)));
            }
            items += 1;
            // Once in a while: a bar that is drawn for each line costs more than the line.
            let now_and_then = items.is_multiple_of(256);
            if now_and_then {
                bar.set_position(bundle.consumed());
            }
            if now_and_then || !batch.findings.is_empty() {
                undecodable += batch.tally.malformed;
                let empty = Batch::new(batch.position.clone());
                let batch = std::mem::replace(&mut batch, empty);
                let told = match place {
                    // As grep has it.
                    Place::Line(number) => format!("{}:{number}", path.display()),
                    place => format!("{}, {place}", path.display()),
                };
                self.found(batch, |_| told.clone(), &bar)?;
            }
        }
        undecodable += batch.tally.malformed;
        if undecodable > 0 {
            warn!("{}: {undecodable} {things} hold what could not be decoded", path.display());
        }
        if foreign > 1 {
            warn!("{}: {foreign} blocks are no certificates", path.display());
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// A batch's findings, told; `place` says where each of them stands.
    fn found(
        &mut self,
        batch: Batch,
        place: impl Fn(usize) -> String,
        bar: &ProgressBar,
    ) -> Result<(), HuntError> {
        if !self.args.stdout && !self.args.json {
            for (n, finding) in batch.findings.iter().enumerate() {
                self.matches += finding.verdicts.len() as u64;
                for verdict in &finding.verdicts {
                    let (place, line) = (place(n), told(finding, verdict));
                    let out = &mut self.out;
                    bar.suspend(|| writeln!(out, "{place}: {line}"))?;
                }
            }
            return Ok(());
        }
        self.account.admit(batch, clock::now());
        while let Some(record) = self.account.next().cloned() {
            self.account.taken();
            let report = Report { sequence: record.sequence, outcome: Outcome::Delivered, at: record.at };
            self.account.settle(report);
            self.print(&record)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), HuntError> {
        Ok(self.out.flush()?)
    }

    fn print(&mut self, record: &Record) -> Result<(), HuntError> {
        let is_match = record.topic == Topic::Match;
        self.matches += u64::from(is_match);
        self.line.clear();
        if self.args.stdout {
            write_line(record, "certsieve", &mut self.line);
        } else if is_match {
            self.line.extend_from_slice(&record.value);
            self.line.push(b'\n');
        }
        Ok(self.out.write_all(&self.line)?)
    }
}

/// `unexpected (critical) resolver: 1.1.1.1 by 1.1.1.1/32 in san.ip, issued by …; why`.
fn told(finding: &Finding, verdict: &Verdict) -> String {
    let matcher = &finding.matcher;
    let asset = &matcher.asset(verdict.asset).id;
    let severity = verdict.severity.map(|s| format!(" ({})", s.label())).unwrap_or_default();
    let facts = finding.facts.as_deref();
    let mut what: Vec<String> = verdict
        .matches
        .iter()
        .take(3)
        .filter_map(|matched| {
            let facts = facts?;
            let identity = facts.identities.get(matched.identity)?;
            let value = facts.identities.value(identity);
            let pattern = matcher.pattern(&matched.hit);
            Some(format!("{value} by {pattern} in {}", identity.provenance.label()))
        })
        .collect();
    if verdict.matches.len() > what.len() {
        what.push(format!("{} more", verdict.matches.len() - what.len()));
    }
    let why = verdict.reasons.first().map(|reason| format!("; {reason}")).unwrap_or_default();
    let text = format!("{}{severity} {asset}: {}{why}", verdict.ruling.label(), what.join(", "));
    printable(&text)
}

fn progress(size: Option<u64>, path: &Path) -> ProgressBar {
    let template = match size {
        Some(_) => "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{prefix} {spinner} {bytes} {bytes_per_sec}",
    };
    drawn(size, template, path.display().to_string())
}

/// A bar on a terminal only, and on standard error.
fn drawn(length: Option<u64>, template: &str, prefix: String) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::new_spinner(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(prefix);
    bar
}
