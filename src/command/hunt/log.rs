//! A range of a log's indexes, read from the log itself and sifted as `run` sifts what it refills.
//!
//! ```text
//! tree head ─► answers, several under way, in order ─► sifted, one a core, in order ─► told
//! ```
//!
//! The log is the one that the operator names. Where the list knows it, its key verifies the tree head, and
//! records have its name and id, so that their ids are those of `run`; else it is known by its URL. A log that
//! is busy is left alone as long as it must and asked again from where it was; one that gives nothing for
//! [`PATIENCE`] is given up, and the index to go on from is said, as after Ctrl-C.
//!
//! Held are the answers under way, twice as many as cores at most behind them, and their findings.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use indicatif::ProgressBar;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tracing::{debug, info, warn};

use super::{Hunt, HuntError, drawn};
use crate::clock;
use crate::command::run::one_signal;
use crate::command::{Environment, Exit};
use crate::config::{Problems, Proxies, contact};
use crate::ctlog::{Fault, Fetch, IssuerCache, Issuers, Limits, Log, LogClient, LogError, LogList};
use crate::ctlog::{Transport, TransportError};
use crate::entry::leaf::Fetched;
use crate::entry::{KnownLog, KnownLogs};
use crate::feed::dial::TlsFiles;
use crate::fetch::Fetcher;
use crate::record::{Arrival, REFILL, printable};
use crate::refill::{fetch_list, id_of};
use crate::sieve::{Batch, Origin, Position, Scratch, Sieve, Source};

/// A log that gives nothing for so long is given up.
pub const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// One request, from the first look-up to the last byte.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// Undecodable entries that are told one by one; a log that is full of them is known by their number.
const TOLD: u64 = 16;

/// What of a log is searched.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "A range of a log")]
pub struct LogArgs {
    /// Search a log itself, in place of files: its URL, as a log list has it.
    #[arg(long, value_name = "URL", requires_all = ["from", "to"], value_parser = Log::allowed)]
    pub log: Option<Log>,
    /// The first index.
    #[arg(long, value_name = "N", requires = "log")]
    pub from: Option<u64>,
    /// The last index, which is searched too.
    #[arg(long, value_name = "M", requires = "log")]
    pub to: Option<u64>,
    /// The list that has the log's key and id (JSON, version 3) [default: one that is built in].
    #[arg(long, value_name = "FILE|URL", requires = "log")]
    pub log_list: Option<String>,
    /// Where you can be reached, an address or a URL: it is told to the log.
    #[arg(long, value_name = "TEXT", requires = "log", value_parser = contact)]
    pub contact: Option<String>,
    /// Requests a second, in the long run.
    #[arg(long, value_name = "N", requires = "log", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub requests_per_second: u32,
    /// Requests under way at once.
    #[arg(long, value_name = "N", requires = "log", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrent: u16,
    /// Who is trusted to say who the log is (PEM), in place of the system's roots.
    #[arg(long, value_name = "FILE", requires = "log")]
    pub ca_file: Option<PathBuf>,
}

/// Every one of them, none of which goes with files.
pub(super) const OPTIONS: [&str; 8] =
    ["log", "from", "to", "log_list", "contact", "requests_per_second", "concurrent", "ca_file"];

/// A range that was asked for.
pub(super) struct Asked<'a> {
    args: &'a LogArgs,
    log: &'a Log,
    first: u64,
    last: u64,
}

impl LogArgs {
    /// `None` where files are searched.
    pub(super) fn asked(&self) -> Option<Asked<'_>> {
        Some(Asked { args: self, log: self.log.as_ref()?, first: self.from?, last: self.to? })
    }
}

/// Why a range was not searched, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LogHuntError {
    #[error("--from {first} is above --to {last}: there is nothing between them")]
    Order { first: u64, last: u64 },
    #[error("{}", .0.render(false))]
    Environment(Problems),
    #[error("--log-list {path}: {why}")]
    ListFile { path: String, why: String },
    #[error("--log-list {url}: {why}")]
    ListUrl { url: String, why: String },
    #[error("--to {last} is beyond the end: {log} has {size} entries, and their indexes begin with 0")]
    Beyond { log: String, last: u64, size: u64 },
    #[error("{0}")]
    Silent(LogError),
    #[error("{error}; it was given up{}: --from {next} goes on there", left_alone(.rest))]
    GivenUp { error: LogError, rest: Duration, next: u64 },
    #[error("stopped: --from {next} goes on there")]
    Stopped { next: u64 },
}

fn left_alone(rest: &Duration) -> String {
    match rest.as_secs() {
        0 => String::new(),
        seconds => format!(", as it is to be left alone for {seconds} s"),
    }
}

impl LogHuntError {
    pub(super) fn is_usage(&self) -> bool {
        use LogHuntError::{Environment, ListFile, Order};
        matches!(self, Order { .. } | Environment(_) | ListFile { .. })
    }
}

impl Hunt<'_> {
    /// Searches a range of a log, to its end or as far as the log gives it.
    pub(super) async fn log(&mut self, asked: Asked<'_>, env: Environment) -> Result<(), HuntError> {
        let Asked { args, first, last, .. } = asked;
        if first > last {
            return Err(LogHuntError::Order { first, last }.into());
        }
        let proxies = Proxies::read(env.into_iter()).map_err(LogHuntError::Environment)?;
        let tls = TlsFiles { ca: args.ca_file.clone(), ..TlsFiles::default() };
        let transport: Arc<dyn Transport> = Arc::new(Fetcher::new(args.contact.as_deref(), proxies, tls));
        let log = asked.known(&*transport).await?;
        let limits = Limits {
            concurrent: args.concurrent.into(),
            per_second: args.requests_per_second,
            within: REQUEST_WITHIN,
        };
        let random = fastrand::Rng::new();
        let client =
            LogClient::new(log.clone(), transport, Arc::new(IssuerCache::default()), &limits, random);
        let template = "{prefix} [{bar:30}] {human_pos}/{human_len} {per_sec} {eta} {msg}";
        let bar = drawn(Some((last - first).saturating_add(1)), template, log.description.clone());
        let mut known = KnownLogs::default();
        known.add(KnownLog { id: id_of(&log), name: log.description.as_str().into() }, log.names());
        let sieve = self.sieve.naming(Arc::new(known));
        let sifter = Sifter { sieve, log: log.clone(), first, last, scratches: Mutex::default() };
        let mut reading = Reading {
            client,
            sifter: Arc::new(sifter),
            size: 0,
            next: first,
            progressed: Instant::now(),
            undecodable: 0,
            bar,
        };
        let started = Instant::now();
        let mut stop = stop();
        let ended = tokio::select! {
            ended = reading.read(self) => Some(ended),
            // Who says it lives as long as the process.
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let ended = ended.unwrap_or_else(|| Err(LogHuntError::Stopped { next: reading.next }.into()));
        reading.bar.finish_and_clear();
        if reading.next > first {
            self.sum_up(&reading, reading.next - first, started.elapsed());
        }
        ended
    }

    fn sum_up(&self, reading: &Reading, entries: u64, elapsed: Duration) {
        let (log, seconds) = (&reading.client.log().description, elapsed.as_secs_f64());
        let (rate, matches) = (entries as f64 / seconds, self.matches);
        let undecodable = match reading.undecodable {
            0 => String::new(),
            n => format!(", {n} entries that could not be decoded"),
        };
        info!(
            "{log}: {entries} entries read in {seconds:.1} s ({rate:.0}/s), {matches} matches{undecodable}"
        );
    }
}

impl Asked<'_> {
    /// The log as the list has it, or as it is named.
    async fn known(&self, transport: &dyn Transport) -> Result<Arc<Log>, LogHuntError> {
        let list = match &self.args.log_list {
            None => LogList::built_in(),
            Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
                let fetched = fetch_list(url, transport).await;
                fetched.map_err(|why| LogHuntError::ListUrl { url: url.clone(), why })?.0
            }
            Some(path) => {
                let failed = |why| LogHuntError::ListFile { path: path.clone(), why };
                let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
                LogList::read(&bytes).map_err(|error| failed(error.to_string()))?
            }
        };
        let found = list.find(&self.log.url).cloned();
        if let (None, Some(named)) = (&found, &self.args.log_list) {
            warn!("{named} does not have {}: what the log signs is not verified", self.log.url);
        }
        Ok(found.unwrap_or_else(|| Arc::new(self.log.clone())))
    }
}

/// How far a range was read.
struct Reading {
    client: LogClient,
    sifter: Arc<Sifter>,
    /// Of the tree.
    size: u64,
    /// Everything before it was told.
    next: u64,
    /// When something was read last.
    progressed: Instant,
    undecodable: u64,
    bar: ProgressBar,
}

impl Reading {
    async fn read(&mut self, hunt: &mut Hunt<'_>) -> Result<(), HuntError> {
        let last = self.sifter.last;
        self.size = self.size().await?;
        if last >= self.size {
            let log = self.client.log().description.clone();
            return Err(LogHuntError::Beyond { log, last, size: self.size }.into());
        }
        // What comes before the first entry is no lack of progress.
        self.progressed = Instant::now();
        while self.next <= last {
            match self.answers(hunt).await {
                Ok(()) => {}
                Err(HuntError::Log(LogHuntError::Silent(error))) => self.rest(error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The size of the tree. A log that is busy is asked again, and one that is none is not.
    async fn size(&mut self) -> Result<u64, LogHuntError> {
        loop {
            let error = match self.client.tree_head().await {
                Ok(head) => return Ok(head.size),
                Err(error) => error,
            };
            let is_there = !matches!(error.fault, Fault::Transport(TransportError::Unreachable(_)));
            if !(error.is_passing() && is_there) {
                return Err(LogHuntError::Silent(error));
            }
            self.rest(error)?;
        }
    }

    /// Takes answers until the log gives one that is none.
    async fn answers(&mut self, hunt: &mut Hunt<'_>) -> Result<(), HuntError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut answers = pin!(sifted(&self.client, &self.sifter, self.next, self.size, cores));
        while let Some(sifted) = answers.next().await {
            let Sifted { end, batch, places } = sifted.map_err(LogHuntError::Silent)?;
            let name = self.client.log().names().next().unwrap_or_default();
            let place = |n: usize| places.get(n).map_or(name.clone(), |index| format!("{name}:{index}"));
            for (n, finding) in batch.findings.iter().enumerate() {
                let Some((malformed, _)) = &finding.malformed else { continue };
                self.undecodable += 1;
                if self.undecodable <= TOLD {
                    let message = printable(&malformed.message);
                    self.bar.suspend(|| warn!("{}: {message}", place(n)));
                }
            }
            if !batch.findings.is_empty() {
                hunt.found(batch, place, &self.bar)?;
                hunt.flush()?;
            }
            self.next = end;
            self.progressed = Instant::now();
            self.bar.set_message("");
            self.bar.set_position(end - self.sifter.first);
        }
        Ok(())
    }

    /// The next request waits as long as it must by itself; not so long that nobody would.
    fn rest(&self, error: LogError) -> Result<(), LogHuntError> {
        let rest = self.client.rest();
        let forbidden = matches!(error.fault, Fault::Redirect(_) | Fault::Beyond { .. });
        if forbidden || self.progressed.elapsed() + rest >= PATIENCE {
            return Err(LogHuntError::GivenUp { error, rest, next: self.next });
        }
        debug!("asked again in {rest:?}: {error}");
        self.bar.set_message(format!("waits {} s: {}", rest.as_secs() + 1, error.fault));
        Ok(())
    }
}

/// Answers from `first` on, in order, each sifted while others are fetched and sifted.
fn sifted(
    client: &LogClient,
    sifter: &Arc<Sifter>,
    first: u64,
    size: u64,
    cores: usize,
) -> impl Stream<Item = Result<Sifted, LogError>> {
    client
        .range(first, sifter.last, size)
        .then(async |answer| {
            let fetch = answer?;
            let issuers = client.issuers(&fetch.fingerprints()).await;
            match &issuers.error {
                Some(error) if error.is_passing() => Err(error.clone()),
                _ => Ok((fetch, issuers)),
            }
        })
        .map(|read| {
            let started = read.map(|(fetch, issuers)| sifter.clone().start(fetch, issuers));
            async { Ok(started?.await.unwrap_or_else(panicked)) }
        })
        .buffered(cores)
}

fn panicked(error: JoinError) -> Sifted {
    std::panic::resume_unwind(error.into_panic())
}

/// What every answer is sifted with.
struct Sifter {
    sieve: Sieve,
    log: Arc<Log>,
    first: u64,
    last: u64,
    /// Those that nobody uses now: as many as were in use at once.
    scratches: Mutex<Vec<Scratch>>,
}

/// One answer's worth.
struct Sifted {
    /// The index behind it.
    end: u64,
    batch: Batch,
    /// Index of each finding.
    places: Vec<u64>,
}

impl Sifter {
    /// On a thread of its own.
    fn start(self: Arc<Self>, fetch: Fetch, issuers: Issuers) -> JoinHandle<Sifted> {
        tokio::task::spawn_blocking(move || self.sift(&fetch, &issuers))
    }

    fn sift(&self, fetch: &Fetch, issuers: &Issuers) -> Sifted {
        let mut scratch = self.scratches().pop().unwrap_or_default();
        let feed: Arc<str> = REFILL.into();
        // Every index is read once: a ledger would only grow by them.
        let mut batch = Batch::new(Position { feed: feed.clone(), origin: Origin::Recording });
        let arrival = Arrival { feed, received: clock::now() };
        let mut places = Vec::new();
        let leaves = fetch.leaves(issuers);
        for (index, form) in leaves.iter().filter(|(index, _)| (self.first..=self.last).contains(index)) {
            let log = &self.log;
            let leaf = Fetched { log: &log.url, log_name: Some(&log.description), index, form };
            // Only a stream of messages can be unfit.
            let _ = self.sieve.sift(Source::Leaf(leaf), &arrival, &mut scratch, &mut batch);
            places.resize(batch.findings.len(), index);
        }
        self.scratches().push(scratch);
        Sifted { end: fetch.end(), batch, places }
    }

    fn scratches(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        // Nothing that is done under the lock panics half-way.
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True in it once the user wants an end; a second signal ends the process.
fn stop() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        one_signal(&[]).await;
        stop.send_replace(true);
        one_signal(&[]).await;
        std::process::exit(Exit::Failed as i32);
    });
    stopped
}
