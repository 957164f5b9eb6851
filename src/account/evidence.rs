//! Findings that wait for the log's own bytes: what a message cannot decide is not published as undecided
//! before its entry was asked for. Pure.
//!
//! While it waits, its index is not in the ledger: a crash makes it a hole, and the entry is read then. It
//! waits for half a minute at most, and then its verdict is what the message allowed. Bounded in number and
//! bytes; what finds no room is published at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::entry::{Evidence as Of, Timestamp};
use crate::judge::Rule;
use crate::sieve::Finding;

/// How long a finding waits for the entry (product.md, "Evidence before verdict").
pub const WITHIN_MS: i64 = 30_000;

/// Findings that wait: renewals of an hour, of an owner who lists keys and reads a lite stream.
const MAX_WAITING: usize = 10_000;

/// Bytes of them.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// An entry, by log and index.
pub type Place = (Arc<str>, u64);

/// What waits.
#[derive(Debug, Default)]
pub struct Evidence {
    waiting: HashMap<Place, Finding>,
    /// By when they came.
    order: VecDeque<(Timestamp, Place)>,
    bytes: usize,
    /// Not asked for yet.
    wanted: Vec<Place>,
}

impl Evidence {
    /// Whether the log's bytes can decide more than what was at hand.
    pub fn helps(finding: &Finding) -> bool {
        let undecided = finding.verdicts.iter().any(|verdict| verdict.rule == Some(Rule::NotVerified));
        let short = |facts: &crate::entry::Facts| facts.evidence == Of::Text || facts.chain.is_empty();
        undecided && finding.malformed.is_none() && finding.facts.as_deref().is_some_and(short)
    }

    pub fn contains(&self, place: &Place) -> bool {
        self.waiting.contains_key(place)
    }

    /// Takes a finding to wait, or gives it back where there is no room.
    pub fn hold(&mut self, place: Place, finding: Finding, now: Timestamp) -> Option<Finding> {
        let size = finding.size();
        if self.waiting.len() >= MAX_WAITING || self.bytes + size > MAX_BYTES {
            return Some(finding);
        }
        self.bytes += size;
        self.order.push_back((now, place.clone()));
        self.wanted.push(place.clone());
        self.waiting.insert(place, finding);
        None
    }

    /// Entries to ask their logs for.
    pub fn wanted(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.wanted)
    }

    pub fn take(&mut self, place: &Place) -> Option<Finding> {
        let finding = self.waiting.remove(place)?;
        self.bytes = self.bytes.saturating_sub(finding.size());
        Some(finding)
    }

    /// Those that wait in a range of a log.
    pub fn take_range(&mut self, log: &Arc<str>, first: u64, last: u64) -> Vec<Finding> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let within = |(of, index): &&Place| of == log && (first..=last).contains(index);
        let places: Vec<Place> = self.waiting.keys().filter(within).cloned().collect();
        places.iter().filter_map(|place| self.take(place)).collect()
    }

    /// Those that have waited long enough; all of them where `now` is no matter.
    pub fn late(&mut self, now: Option<Timestamp>) -> Vec<(Place, Finding)> {
        let mut late = Vec::new();
        while let Some((since, _)) = self.order.front() {
            if now.is_some_and(|now| now.millis_since(*since) < WITHIN_MS) {
                break;
            }
            if let Some((_, place)) = self.order.pop_front()
                && let Some(finding) = self.take(&place)
            {
                late.push((place, finding));
            }
        }
        late
    }
}
