//! Edge: what to read from the logs themselves, and when.
//!
//! ```text
//! lists ─► logs known by id ─┬─ one task a log: its tree's size once a minute, its holes newest first
//!                            └─ one entry at a time, where a message could not decide
//!           entries ─► sieve ─► Queue ─► account        (the same path as a feed's messages)
//! ```
//!
//! What is missing is for the account to say; this fetches it politely ([`Limits`]) and only from logs of
//! the lists or of `allow`. It never takes the queue's second half, which is the live feeds', and rests while
//! the account has no room for records. What it holds is bounded by the answers under way.

mod lists;
mod log;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::account::Account;
use crate::account::evidence::Place;
use crate::account::following::Listed;
use crate::clock;
use crate::config::RefillConfig;
use crate::ctlog::{IssuerCache, Limits, Log, LogClient, LogList, Transport};
use crate::entry::{KnownLog, KnownLogs, Timestamp};
use crate::feed::dial::TlsFiles;
use crate::fetch::Fetcher;
use crate::metrics::Metrics;
use crate::sieve::Sieve;
use crate::topology::{Event, Queue};

pub use lists::{Lists, fetch as fetch_list};
use log::Following;

/// One request, from the first look-up to the last byte.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// Pieces of holes that are read at once, over all logs: each holds a few MiB.
const AT_ONCE: usize = 4;

/// Single entries that are asked for at once.
const EVIDENCE_AT_ONCE: usize = 16;

/// A single entry is given up a little before the account stops waiting for it.
const EVIDENCE_WITHIN: Duration = Duration::from_secs(25);

/// How often the requests so far go to the metrics.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What everything here shares.
pub struct Reach {
    pub sieve: Arc<ArcSwap<Sieve>>,
    pub queue: Queue,
    pub metrics: Arc<Metrics>,
    /// Index into the metrics' feeds.
    pub feed: usize,
}

impl Reach {
    /// Lets the account's thread do something, and waits for its answer; `None` when it is gone.
    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Account, Timestamp) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Event::Ask(Box::new(move |account, now| {
            // Who asked may be gone.
            let _ = answer.send(what(account, now));
        })));
        answered.await.ok()
    }
}

/// Reads what is missing until `stop`. `wanted` are single entries that the account asks for.
pub async fn run(
    config: RefillConfig,
    mut lists: Lists,
    reach: Reach,
    mut wanted: mpsc::UnboundedReceiver<Place>,
    mut stop: watch::Receiver<bool>,
) {
    let files = TlsFiles { ca: config.ca_file.clone(), ..TlsFiles::default() };
    let transport: Arc<dyn Transport> =
        Arc::new(Fetcher::new(config.contact.as_deref(), config.proxies.clone(), files));
    let limits = Limits {
        concurrent: config.concurrent_requests,
        per_second: config.requests_per_second,
        within: REQUEST_WITHIN,
    };
    let reach = Arc::new(reach);
    let mut logs = Logs {
        running: HashMap::new(),
        issuers: Arc::default(),
        turns: Arc::new(Semaphore::new(AT_ONCE)),
        ask_every: config.ask_every,
        transport: transport.clone(),
        limits,
        reach: reach.clone(),
    };
    logs.take(lists.list(), &config).await;
    let mut refresh = tokio::time::interval(lists::LOOK_EVERY);
    let mut report = tokio::time::interval(REPORT_EVERY);
    let mut single: FuturesUnordered<tokio::task::JoinHandle<()>> = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = stop.changed() => break,
            _ = report.tick() => reach.metrics.refill_requests(logs.requests()),
            _ = refresh.tick() => {
                if lists.refresh(&*transport).await {
                    logs.take(lists.list(), &config).await;
                }
            }
            Some(place) = wanted.recv(), if single.len() < EVIDENCE_AT_ONCE => {
                if let Some(log) = logs.running.get(&place.0).map(|running| running.log.clone()) {
                    single.push(tokio::spawn(async move {
                        // Late, it would come after the account has published what it had.
                        let _ = tokio::time::timeout(EVIDENCE_WITHIN, log.one(place.1)).await;
                    }));
                }
            }
            Some(_) = single.next(), if !single.is_empty() => {}
        }
    }
}

/// The logs that are read now.
struct Logs {
    running: HashMap<Arc<str>, Running>,
    issuers: Arc<IssuerCache>,
    turns: Arc<Semaphore>,
    ask_every: Duration,
    transport: Arc<dyn Transport>,
    limits: Limits,
    reach: Arc<Reach>,
}

struct Running {
    log: Arc<Following>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a log is known by: its id where the list has it, else its name by URL.
pub fn id_of(log: &Log) -> Arc<str> {
    match log.id() {
        Some(id) => STANDARD.encode(id).into(),
        None => log.names().next().unwrap_or_default().into(),
    }
}

impl Logs {
    /// Another list counts: its logs are known by their ids from now on, and followed.
    async fn take(&mut self, mut list: LogList, config: &RefillConfig) {
        for url in &config.allow {
            if let Err(error) = list.allow(url) {
                warn!("[refill] allow: {url}: {error}");
            }
        }
        for problem in &list.problems {
            warn!("the log list: {problem}");
        }
        let now = clock::now();
        let accounted = self.reach.ask(|account, _| account.accounted_logs()).await.unwrap_or_default();
        let mut known = KnownLogs::default();
        let mut listed = Vec::new();
        let mut labels = Vec::new();
        for log in list.logs() {
            let (id, name): (Arc<str>, Arc<str>) = (id_of(log), log.description.as_str().into());
            known.add(KnownLog { id: id.clone(), name: name.clone() }, log.names());
            labels.push((id.clone(), name));
            // One that is over is only asked for what is missing of it.
            let has_past = || accounted.contains(&id) || log.names().any(|name| accounted.contains(&*name));
            if !log.state.is_over() || has_past() {
                let past = log.interval.as_ref().is_some_and(|interval| interval.end <= now);
                listed.push((Listed { log: id, past }, log.clone()));
            }
        }
        info!("{} logs are known, {} of them are followed", known.len(), listed.len());
        let known = Arc::new(known);
        self.reach.metrics.logs_listed(labels, list.timestamp());
        self.reach.sieve.rcu(|sieve| sieve.naming(known.clone()));
        let for_account: Vec<Listed> = listed.iter().map(|(listed, _)| listed.clone()).collect();
        self.reach.ask(move |account, now| account.list_logs(known, &for_account, now)).await;
        let gone: Vec<Arc<str>> = self
            .running
            .iter()
            .filter(|(id, running)| {
                !listed.iter().any(|(listed, log)| listed.log == **id && *log == *running.log.client.log())
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.running.remove(&id);
        }
        for (listed, log) in listed {
            if self.running.contains_key(&listed.log) {
                continue;
            }
            let random = fastrand::Rng::new();
            let client = LogClient::new(
                log.clone(),
                self.transport.clone(),
                self.issuers.clone(),
                &self.limits,
                random,
            );
            let following = Arc::new(Following::new(listed.log.clone(), client, self.reach.clone()));
            let (turns, ask_every) = (self.turns.clone(), self.ask_every);
            let task = tokio::spawn(following.clone().run(turns, ask_every));
            self.running.insert(listed.log, Running { log: following, task });
        }
    }

    /// Requests so far, by label.
    fn requests(&self) -> Vec<(Arc<str>, [u64; crate::ctlog::OUTCOMES.len()])> {
        let of = |running: &Running| {
            let client = &running.log.client;
            (client.log().description.as_str().into(), client.requests())
        };
        self.running.values().map(of).collect()
    }
}
