//! The oracle of completeness: what a program says that it accounted for, and what the logs themselves owe for
//! that, read by the log client and judged apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

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

use super::pipeline::matcher;

/// A generous ceiling for what takes seconds.
const SOON: Duration = Duration::from_secs(60);

/// What is said of one log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accounted {
    pub first: u64,
    pub last: u64,
    pub refilled: u64,
    pub missing: u64,
}

/// By log.
pub type Ledger = BTreeMap<String, Accounted>;

/// The body at a path of a server on loopback; `None` when it does not answer.
pub fn fetch(address: &str, path: &str) -> Option<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fetcher = Fetcher::new(None, Proxies::default(), TlsFiles::default());
    let get = Get { url: format!("http://{address}{path}"), max_bytes: 1 << 26, within: SOON };
    runtime.block_on(fetcher.get(get)).ok().map(|answer| answer.body)
}

/// What a running program says at `/ledger`: every log that it began with.
pub fn ledger(http: &str) -> Ledger {
    let body = fetch(http, "/ledger").expect("an answer");
    let report: Value = serde_json::from_slice(&body).expect("JSON");
    let logs = report["logs"].as_array().expect("logs").iter();
    logs.filter_map(|log| {
        let number = |key: &str| log[key].as_u64();
        let accounted = Accounted {
            first: number("first")?,
            last: number("last")?,
            refilled: number("refilled")?,
            missing: number("missing")?,
        };
        Some((log["log"].as_str()?.to_owned(), accounted))
    })
    .collect()
}

/// The ids of the matches that the logs themselves owe, by what was accounted for.
pub fn owed(list: &str, site: &str, accounted: &Ledger) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let transport: Arc<dyn Transport> = Arc::new(Fetcher::new(None, Proxies::default(), TlsFiles::default()));
    let logs = LogList::read(&fetch(site, "/log_list.json").expect("an answer")).expect("a log list");
    let mut known = KnownLogs::default();
    for log in logs.logs() {
        let id = STANDARD.encode(log.id().expect("a key")).into();
        known.add(KnownLog { id, name: log.description.as_str().into() }, log.names());
    }
    let sieve = Sieve::new(matcher(list)).naming(Arc::new(known));
    let version = sieve.matcher().list().version.clone();
    let bounds = Bounds { memory: usize::MAX, store: 0 };
    let mut account = Account::new(Composer::new("oracle", "certsieve"), bounds, &version);
    let mut owed = BTreeSet::new();
    runtime.block_on(async {
        for log in logs.logs() {
            let id = STANDARD.encode(log.id().expect("a key"));
            let Some(Accounted { first, last, .. }) = accounted.get(&id) else { continue };
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
