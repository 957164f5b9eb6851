//! Certificate Transparency logs: which there are, how large they are, and their entries.
//!
//! - [`list`]: Chrome's and Apple's lists of logs, and what the operator adds to them.
//! - [`checkpoint`]: what a log says of its tree, its signature verified.
//! - [`LogClient`]: one log, by the API of RFC 6962 or of static-ct, politely ([`polite`]).
//!
//! What to fetch and when, and what the entries mean, is left to others; so are sockets, behind [`Transport`].
//! A client retries nothing by itself: after a failure its next request waits as long as it must, and who asks
//! decides whether there is one.
//!
//! A [`Fetch`] is one answer's worth: 256 entries of a static-ct log, of another as many as it gives.
//! [`LogClient::range`] keeps as many requests under way as the log's [`Limits`] allow, and its answers are in
//! order; it holds as many of them at most, each of 16 MiB at the very worst and usually of 0.4 to 7.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

pub mod checkpoint;
mod entries;
mod issuers;
pub mod key;
pub mod list;
pub mod polite;
mod rfc6962;
mod server;
mod tiles;
mod transport;

pub use checkpoint::{Signature, TreeHead};
pub use entries::{Fetch, Fingerprint, Issuers, Leaves};
pub use issuers::IssuerCache;
pub use key::{LogId, PublicKey};
pub use list::{Api, Log, LogList};
pub use polite::Limits;
pub use server::{Fault, LogError, OUTCOMES, Outcome};
pub use transport::{Answer, Get, Transport, TransportError};

use rfc6962::Batch;
use server::Server;

/// Statuses by which a server says that it does not know an API.
const NOT_THIS_API: [u16; 5] = [400, 403, 404, 405, 410];

/// Of one answer's entries no more issuers are fetched at once; usually there are a dozen.
pub const MAX_ISSUERS_AT_ONCE: usize = 128;

/// An issuer that the log does not give is not asked for again so soon.
const ISSUER_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// One log, asked politely by all who share it.
#[derive(Debug)]
pub struct LogClient {
    log: Arc<Log>,
    server: Server,
    concurrent: usize,
    /// Found by asking where the log is known by its URL alone.
    api: OnceLock<Api>,
    batch: Mutex<Batch>,
    issuers: Arc<IssuerCache>,
    /// Issuers that the log did not give, and when; held while some are fetched, so that none is fetched twice.
    refused: tokio::sync::Mutex<FxHashMap<Fingerprint, Instant>>,
}

impl LogClient {
    /// `random` only draws pauses; `issuers` is shared by the clients of all logs.
    pub fn new(
        log: Arc<Log>,
        transport: Arc<dyn Transport>,
        issuers: Arc<IssuerCache>,
        limits: &Limits,
        random: fastrand::Rng,
    ) -> LogClient {
        let api = log.api.map_or_else(OnceLock::new, OnceLock::from);
        LogClient {
            server: Server::new(&log.url, transport, limits, random),
            concurrent: limits.concurrent.max(1),
            log,
            api,
            batch: Mutex::new(Batch::new()),
            issuers,
            refused: Default::default(),
        }
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Which API the log has, if that is known yet.
    pub fn api(&self) -> Option<Api> {
        self.api.get().copied()
    }

    /// The log's tree now.
    pub async fn tree_head(&self) -> Result<TreeHead, LogError> {
        match self.api() {
            Some(Api::Rfc6962) => self.sth(&[]).await,
            Some(Api::Static) => self.checkpoint(&[]).await,
            None => {
                // Most logs are of RFC 6962, and one of static-ct answers that it does not know the path.
                let first = match self.sth(&NOT_THIS_API).await {
                    Ok(head) => return Ok(self.found(Api::Rfc6962, head)),
                    Err(error) => error,
                };
                if !first.fault.is_of_another_api() {
                    return Err(first);
                }
                match self.checkpoint(&NOT_THIS_API).await {
                    Ok(head) => Ok(self.found(Api::Static, head)),
                    // Where neither is there, the first says what it found in place of an STH.
                    Err(second) if second.fault.is_of_another_api() => Err(first),
                    Err(second) => Err(second),
                }
            }
        }
    }

    fn found(&self, api: Api, head: TreeHead) -> TreeHead {
        self.api.get_or_init(|| api);
        head
    }

    /// Entries from `first` on, one at least and to `last` at most, in one answer. `size` is a size of the
    /// tree from [`tree_head`](LogClient::tree_head), above `first`; what lies above it is not asked for.
    pub async fn entries(&self, first: u64, last: u64, size: u64) -> Result<Fetch, LogError> {
        if first >= size || last < first {
            return Err(self
                .server
                .refuse(Fault::Beyond { index: first, size: size.min(last.saturating_add(1)) }));
        }
        let last = last.min(size - 1);
        if self.api().is_none() {
            self.tree_head().await?;
        }
        match self.api() {
            Some(Api::Static) => tiles::entries(&self.server, first, last, size).await,
            _ => rfc6962::entries(&self.server, &self.batch, first, last).await,
        }
    }

    /// All entries from `first` to `last`, in order, several answers under way. What follows an error does
    /// not follow what came before it: who goes on begins anew where the last good answer ended.
    pub fn range(
        &self,
        first: u64,
        last: u64,
        size: u64,
    ) -> impl Stream<Item = Result<Fetch, LogError>> + Send + '_ {
        stream::iter(self.pieces(first, last))
            .map(move |(first, last)| self.piece(first, last, size))
            .buffered(self.concurrent)
            .flat_map(stream::iter)
    }

    /// The range in pieces of one answer each, as far as that is known when one is begun.
    fn pieces(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> + Send + '_ {
        let mut next = Some(first).filter(|first| *first <= last);
        std::iter::from_fn(move || {
            let first = next?;
            let end = match self.api() {
                Some(Api::Static) => first | (tiles::WIDTH - 1),
                _ => rfc6962::locked(&self.batch).end(first),
            };
            let end = end.clamp(first, last);
            next = end.checked_add(1).filter(|next| *next <= last);
            Some((first, end))
        })
    }

    /// One piece, in as many answers as the log needs.
    async fn piece(&self, first: u64, last: u64, size: u64) -> Vec<Result<Fetch, LogError>> {
        let mut answers = Vec::new();
        let mut next = first;
        while next <= last {
            match self.entries(next, last, size).await {
                Ok(fetch) => {
                    next = fetch.end();
                    answers.push(Ok(fetch));
                }
                Err(error) => {
                    answers.push(Err(error));
                    break;
                }
            }
        }
        answers
    }

    /// Those of the certificates that are at hand or can be fetched, [`MAX_ISSUERS_AT_ONCE`] at most. A log
    /// that fails is asked no further.
    pub async fn issuers(&self, wanted: &[Fingerprint]) -> Issuers {
        let mut found = Issuers::default();
        let mut absent = Vec::new();
        for fingerprint in wanted {
            match self.issuers.get(fingerprint) {
                Some(certificate) => drop(found.at_hand.insert(*fingerprint, certificate)),
                None => absent.push(*fingerprint),
            }
        }
        if absent.is_empty() {
            return found;
        }
        let mut refused = self.refused.lock().await;
        let now = Instant::now();
        refused.retain(|_, since| now - *since < ISSUER_AGAIN_AFTER);
        let mut asked = 0;
        for fingerprint in absent {
            // Another may have fetched it while this one waited.
            if let Some(certificate) = self.issuers.get(&fingerprint) {
                found.at_hand.insert(fingerprint, certificate);
                continue;
            }
            let give_up = found.error.as_ref().is_some_and(|error| error.outcome() != Outcome::NotFound);
            if give_up || asked == MAX_ISSUERS_AT_ONCE || refused.contains_key(&fingerprint) {
                found.missing += 1;
                continue;
            }
            asked += 1;
            match issuers::fetch(&self.server, &fingerprint).await {
                Ok(certificate) => {
                    self.issuers.keep(fingerprint, Arc::clone(&certificate));
                    found.at_hand.insert(fingerprint, certificate);
                }
                Err(error) => {
                    if refused.len() < issuers::MAX_KEPT {
                        refused.insert(fingerprint, Instant::now());
                    }
                    found.missing += 1;
                    found.error.get_or_insert(error);
                }
            }
        }
        found
    }

    /// How long the log is left alone from now, after a failure or because it asked for that.
    pub fn rest(&self) -> Duration {
        self.server.rest()
    }

    /// Requests so far, by how they ended, in the order of [`OUTCOMES`].
    pub fn requests(&self) -> [u64; OUTCOMES.len()] {
        self.server.counts()
    }

    async fn sth(&self, expected: &[u16]) -> Result<TreeHead, LogError> {
        rfc6962::tree_head(&self.server, self.log.key.as_ref(), expected).await
    }

    async fn checkpoint(&self, expected: &[u16]) -> Result<TreeHead, LogError> {
        tiles::tree_head(&self.server, self.log.origin().as_deref(), self.log.key.as_ref(), expected).await
    }
}

/// Characters of a stranger's answer that are said.
const MAX_SAID: usize = 60;

/// A stranger's words, escaped and cut.
fn said(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(MAX_SAID * 4)];
    let mut text = String::new();
    for c in String::from_utf8_lossy(start).chars() {
        match c {
            '"' | '\'' => text.push(c),
            _ => text.extend(c.escape_debug()),
        }
        if text.chars().count() > MAX_SAID {
            return text + "…";
        }
    }
    text
}
