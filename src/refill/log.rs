//! One log: its tree's size, what is missing of it, newest first, and single entries.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Reach;
use crate::account::logs::Loss;
use crate::clock;
use crate::ctlog::{Fetch, Issuers, LogClient, LogError, Outcome};
use crate::entry::leaf::Fetched;
use crate::record::REFILL;
use crate::topology::Worker;

/// Indexes that are read in one go: a log's holes are filled from their newest end.
const PIECE: u64 = 4096;

/// How soon a log without holes is looked at again.
const IDLE: Duration = Duration::from_secs(1);

/// While the account has no room for records.
const REST: Duration = Duration::from_secs(1);

/// A piece that could not be read is tried again so soon, and later each time.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
const AGAIN_AT_MOST: Duration = Duration::from_secs(3_600);

/// A log that answers and does not give an entry for so long has lost it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// Pieces that failed and are remembered.
const MAX_FAILED: usize = 1024;

/// One log that is followed.
pub struct Following {
    pub id: Arc<str>,
    pub client: LogClient,
    reach: Arc<Reach>,
    /// Of the tree, as last asked.
    size: AtomicU64,
}

/// A piece of a hole that could not be read.
struct Failed {
    since: Instant,
    tries: u32,
    again: Instant,
}

impl Following {
    pub fn new(id: Arc<str>, client: LogClient, reach: Arc<Reach>) -> Following {
        Following { id, client, reach, size: AtomicU64::new(0) }
    }

    fn name(&self) -> &str {
        &self.client.log().description
    }

    /// Asks for the tree's size and reads what is missing, for ever.
    pub async fn run(self: Arc<Self>, turns: Arc<Semaphore>, ask_every: Duration) {
        let mut ask_at = Instant::now();
        let mut failed: BTreeMap<u64, Failed> = BTreeMap::new();
        let mut answers = true;
        loop {
            if Instant::now() >= ask_at {
                ask_at = Instant::now() + ask_every;
                let heard = self.head().await;
                match &heard {
                    Ok(_) if !answers => info!(log = self.name(), "the log answers again"),
                    Err(error) if answers => warn!(log = self.name(), "the log does not answer: {error}"),
                    _ => {}
                }
                answers = heard.is_ok();
            }
            let until_ask = ask_at.saturating_duration_since(Instant::now());
            if self.reach.metrics.is_holding() {
                tokio::time::sleep(REST.min(until_ask)).await;
                continue;
            }
            let id = self.id.clone();
            let Some(holes) = self.reach.ask(move |account, now| account.holes(&id, now)).await else {
                return;
            };
            failed.retain(|first, _| holes.iter().any(|(from, to)| from <= first && first <= to));
            let Some((first, last)) = pick(&holes, &failed) else {
                tokio::time::sleep(IDLE.min(until_ask)).await;
                continue;
            };
            let turn = turns.acquire().await;
            let read = self.piece(first, last).await;
            drop(turn);
            match read {
                Ok(()) => drop(failed.remove(&first)),
                Err(error) => self.failed(&mut failed, first, last, &error).await,
            }
        }
    }

    async fn head(&self) -> Result<u64, LogError> {
        let id = self.id.clone();
        match self.client.tree_head().await {
            Ok(head) => {
                self.size.fetch_max(head.size, Relaxed);
                self.reach.ask(move |account, now| account.head(&id, head.size, now)).await;
                Ok(head.size)
            }
            Err(error) => {
                let retired = self.is_gone(&error);
                self.reach
                    .ask(move |account, now| {
                        if retired {
                            account.lose(&id, None, Loss::Retired, now);
                        } else {
                            account.unreachable(&id, now);
                        }
                    })
                    .await;
                Err(error)
            }
        }
    }

    /// A retired log that does not answer will not any more.
    fn is_gone(&self, error: &LogError) -> bool {
        self.client.log().state.is_over() && error.outcome() != Outcome::RateLimited
    }

    /// Reads a piece of a hole, answer by answer.
    async fn piece(&self, first: u64, last: u64) -> Result<(), LogError> {
        let size = self.size.load(Relaxed).max(last.saturating_add(1));
        let mut answers = pin!(self.client.range(first, last, size));
        while let Some(answer) = answers.next().await {
            let fetch = answer?;
            let issuers = self.client.issuers(&fetch.fingerprints()).await;
            self.sift(&fetch, &issuers, first, last).await;
        }
        Ok(())
    }

    /// Reads one entry, and nothing beside it.
    pub async fn one(&self, index: u64) {
        let mut size = self.size.load(Relaxed);
        if index >= size {
            match self.head().await {
                Ok(now) => size = now,
                Err(error) => return debug!(log = self.name(), index, "no evidence: {error}"),
            }
        }
        match self.client.entries(index, index, size).await {
            Ok(fetch) => {
                let issuers = self.client.issuers(&fetch.fingerprints()).await;
                self.sift(&fetch, &issuers, index, index).await;
            }
            Err(error) => debug!(log = self.name(), index, "no evidence: {error}"),
        }
    }

    async fn sift(&self, fetch: &Fetch, issuers: &Issuers, first: u64, last: u64) {
        let reach = &self.reach;
        let mut worker = Worker::refill(
            REFILL,
            reach.feed,
            reach.sieve.clone(),
            reach.queue.clone(),
            reach.metrics.clone(),
        );
        let log = self.client.log();
        {
            let leaves = fetch.leaves(issuers);
            for (index, form) in leaves.iter().filter(|(index, _)| (first..=last).contains(index)) {
                let leaf = Fetched { log: &log.url, log_name: Some(&log.description), index, form };
                worker.leaf(leaf, clock::now());
            }
        }
        worker.hand_over().await;
    }

    async fn failed(&self, failed: &mut BTreeMap<u64, Failed>, first: u64, last: u64, error: &LogError) {
        let now = Instant::now();
        if failed.len() >= MAX_FAILED {
            failed.pop_first();
        }
        let entry = failed.entry(first).or_insert(Failed { since: now, tries: 0, again: now });
        let pause = AGAIN_AFTER.saturating_mul(1 << entry.tries.min(10)).min(AGAIN_AT_MOST);
        entry.tries += 1;
        entry.again = now + pause.max(self.client.rest());
        debug!(log = self.name(), first, last, "not read, and tried again in {pause:?}: {error}");
        let withheld = matches!(error.outcome(), Outcome::NotFound | Outcome::BadData);
        let why = match () {
            () if self.is_gone(error) => Loss::Retired,
            () if withheld && now - entry.since >= GIVE_UP_AFTER => Loss::Withheld,
            () => return,
        };
        let id = self.id.clone();
        self.reach.ask(move |account, now| account.lose(&id, Some((first, last)), why, now)).await;
    }
}

/// The newest piece that is due: whole tiles, from the end of a hole.
fn pick(holes: &[(u64, u64)], failed: &BTreeMap<u64, Failed>) -> Option<(u64, u64)> {
    let now = Instant::now();
    holes.iter().rev().find_map(|(first, last)| {
        let mut end = *last;
        loop {
            let start = (end.saturating_sub(PIECE - 1) & !0xff).max(*first);
            if failed.get(&start).is_none_or(|failed| failed.again <= now) {
                return Some((start, end));
            }
            end = start.checked_sub(1).filter(|end| end >= first)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_piece_that_is_due() {
        let none = BTreeMap::new();
        assert_eq!(pick(&[], &none), None);
        assert_eq!(pick(&[(3, 3)], &none), Some((3, 3)));
        assert_eq!(pick(&[(3, 9), (1000, 9999)], &none), Some((5888, 9999)));
        let now = Instant::now();
        let later = |first| (first, Failed { since: now, tries: 1, again: now + Duration::from_secs(9) });
        let failed = BTreeMap::from([later(5888)]);
        assert_eq!(pick(&[(3, 9), (1000, 9999)], &failed), Some((1792, 5887)));
        let failed = BTreeMap::from([later(5888), later(1792), later(1000)]);
        assert_eq!(pick(&[(3, 9), (1000, 9999)], &failed), Some((3, 9)), "an older hole meanwhile");
        assert_eq!(pick(&[(u64::MAX, u64::MAX)], &none), Some((u64::MAX, u64::MAX)));
    }
}
