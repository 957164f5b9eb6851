//! The account of logs: which indexes are missing, what is said of it, and what ends it.

use std::collections::HashSet;
use std::sync::Arc;

use super::evidence::{Evidence, Place};
use super::following::{Listed, Standing};
use super::{Account, Batch};
use crate::entry::{KnownLogs, Timestamp};
use crate::record::value::HealthDetail;
use crate::record::{Health, HealthKind};
use crate::sieve::Run;

/// A log's place in the account, for metrics and people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogState {
    pub log: Arc<str>,
    /// As the list describes it; `None` for one that it does not have.
    pub name: Option<Arc<str>>,
    pub standing: Standing,
    /// Where its account begins.
    pub first: Option<u64>,
    /// The last index in the ledger.
    pub last: Option<u64>,
    pub tree_size: Option<u64>,
    /// Indexes that are missing now.
    pub missing: u64,
    pub missing_since: Option<Timestamp>,
    /// Some of what is missing, oldest first.
    pub holes: Vec<(u64, u64)>,
    /// Since the account began.
    pub refilled: u64,
    pub lost: u64,
    /// Since the process began.
    pub refilled_now: u64,
    pub lost_now: u64,
    pub implausible: u64,
}

/// Why indexes were given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    Retired,
    Unreachable,
    /// The log answers, and does not give them.
    Withheld,
    /// No certificate in them is valid any more.
    Expired,
}

impl Loss {
    fn words(self) -> &'static str {
        match self {
            Loss::Retired => "the log is retired",
            Loss::Unreachable => "the log could not be reached for 24 h",
            Loss::Withheld => "the log has not given them for 24 h",
            Loss::Expired => "expired: no certificate that the log can hold is valid any more",
        }
    }
}

impl Account {
    /// How long an index below the tree's size may be on its way, in milliseconds.
    pub fn grace(&mut self, grace_ms: i64) {
        self.following.set_grace(grace_ms);
    }

    /// Every log that is accounted for.
    pub fn accounted_logs(&self) -> HashSet<Arc<str>> {
        self.ledger.logs().map(|(log, _)| log.clone()).collect()
    }

    /// Another list of logs counts from now on; their entries can be asked for.
    pub fn list_logs(&mut self, known: Arc<KnownLogs>, listed: &[Listed], now: Timestamp) {
        for (before, log) in self.following.list(known, listed, now) {
            self.ledger.rename(&before, &log);
        }
    }

    /// A log was asked, and its tree has this size.
    pub fn head(&mut self, log: &Arc<str>, size: u64, now: Timestamp) {
        let beyond = self.following.head(log, size, self.ledger.of(log), now);
        for (first, last) in beyond {
            // Nothing in the log stands there: an entry that will must not count as seen.
            self.ledger.remove(log, first, last);
        }
        self.following.judge(log, self.ledger.of(log), now);
    }

    /// A log could not be asked.
    pub fn unreachable(&mut self, log: &Arc<str>, now: Timestamp) {
        if self.following.unreachable(log, now) {
            self.lose(log, None, Loss::Unreachable, now);
        }
    }

    /// What is missing of a log, oldest first, and no more of it than can be fetched in a while.
    pub fn holes(&self, log: &str, now: Timestamp) -> Vec<(u64, u64)> {
        self.following.holes(log, self.ledger.of(log), now)
    }

    /// Gives up what is missing of a log within `range`, or all of it.
    pub fn lose(&mut self, log: &Arc<str>, range: Option<(u64, u64)>, why: Loss, now: Timestamp) {
        loop {
            let holes = self.following.holes(log, self.ledger.of(log), now);
            let within = holes.iter().filter_map(|(first, last)| match range {
                None => Some((*first, *last)),
                Some((from, to)) => Some(((*first).max(from), (*last).min(to))).filter(|(a, b)| a <= b),
            });
            let mut lost = None;
            let mut count = 0;
            for (first, last) in within.collect::<Vec<_>>() {
                count += self.ledger.insert(log, first, last);
                lost = Some(lost.map_or((first, last), |(a, _): (u64, u64)| (a, last)));
            }
            let Some((first, last)) = lost.filter(|_| count > 0) else { return };
            self.following.lost(log, count);
            let name = self.following.name(log).cloned().unwrap_or_else(|| log.clone());
            let message = format!("{count} entries of {name} are given up: {}", why.words());
            self.say_of_log(HealthKind::RangeLost, log, message, Some((first, last)), count, now);
        }
    }

    fn say_of_log(
        &mut self,
        kind: HealthKind,
        log: &Arc<str>,
        message: String,
        range: Option<(u64, u64)>,
        count: u64,
        now: Timestamp,
    ) {
        let detail = HealthDetail {
            log: Some(log.to_string()),
            first: range.map(|range| range.0),
            last: range.map(|range| range.1),
            count: Some(count).filter(|count| *count > 0),
            ..HealthDetail::default()
        };
        self.say(Health { kind, message, detail }, now);
    }

    /// Entries that their logs are to be asked for, because a message could not decide about them.
    pub fn wanted(&mut self) -> Vec<Place> {
        self.evidence.wanted()
    }

    /// Findings whose verdict the log's own bytes can decide are held back; their indexes count as not
    /// seen until then.
    pub(super) fn hold_for_evidence(&mut self, batch: &mut Batch, now: Timestamp) {
        if !batch.findings.iter().any(Evidence::helps) {
            return;
        }
        for finding in std::mem::take(&mut batch.findings) {
            let place = finding.facts.as_ref().and_then(|f| Some((f.log.clone()?, f.index?)));
            let place = place.filter(|(log, index)| {
                self.following.is_listed(log)
                    && !self.ledger.contains(log, *index)
                    && Evidence::helps(&finding)
            });
            let Some(place) = place else {
                batch.findings.push(finding);
                continue;
            };
            let run = Run { log: place.0.clone(), first: place.1, last: place.1 };
            if self.evidence.contains(&place) {
                batch.tally.matched = batch.tally.matched.saturating_sub(1);
                batch.receipts.remove(&place.0, place.1);
                self.counts.repeated += 1;
            } else if let Some(back) = self.evidence.hold(place, finding, now) {
                batch.findings.push(back);
            } else {
                batch.receipts.remove(&run.log, run.first);
                self.following.shown(&run, now);
            }
        }
    }

    /// The log gave these indexes, of which so many were missing. What waits for them and is not confirmed
    /// by the log is published as its message had it.
    pub(super) fn found_in_log(&mut self, log: &Arc<str>, first: u64, last: u64, entered: u64) {
        self.following.refilled(log, entered);
        self.unconfirmed.extend(self.evidence.take_range(log, first, last));
    }

    /// Once a second: what has waited for its log long enough, and what is to be said of logs.
    pub fn tend_logs(&mut self, now: Timestamp) {
        self.tended = now;
        self.publish_late(Some(now), now);
        let logs: Vec<(Arc<str>, Standing)> =
            self.following.logs(now).map(|(log, _, standing)| (log.clone(), standing)).collect();
        let mut states = Vec::with_capacity(logs.len());
        for (log, standing) in logs {
            let ranges = self.ledger.of(&log);
            let missing = self.following.missing(&log, ranges, now);
            let holes = self.following.holes(&log, ranges, now);
            let last = ranges.and_then(|ranges| ranges.last());
            let name = self.following.name(&log).cloned();
            let called = name.clone().unwrap_or_else(|| log.clone());
            let Some(followed) = self.following.get_mut(&log) else { continue };
            let (before, before_standing) = (followed.missing_since, followed.said);
            followed.missing_since = (missing > 0).then(|| before.unwrap_or(now));
            followed.said = Some(standing);
            let past = followed.is_past();
            states.push(LogState {
                log: log.clone(),
                name,
                standing,
                first: followed.row().first,
                last,
                tree_size: followed.size().or(followed.row().size),
                missing,
                missing_since: followed.missing_since,
                holes: holes.clone(),
                refilled: followed.row().refilled,
                lost: followed.row().lost,
                refilled_now: followed.refilled_now,
                lost_now: followed.lost_now,
                implausible: followed.implausible(),
            });
            let range = holes.first().zip(holes.last()).map(|(a, b)| (a.0, b.1));
            if standing == Standing::Unaccountable {
                if before_standing != Some(standing) {
                    let message = format!(
                        "{called} cannot be accounted for: its feed leaves out what other logs have shown, and \
                         what is missing is not fetched"
                    );
                    self.say_of_log(HealthKind::LogUnaccountable, &log, message, None, missing, now);
                }
            } else if missing > 0 && before.is_none() {
                let message = format!("{missing} entries of {called} were shown by no feed");
                self.say_of_log(HealthKind::HoleOpened, &log, message, range, missing, now);
            } else if missing == 0 && before.is_some() {
                let message = format!("every entry of {called} is accounted for again");
                self.say_of_log(HealthKind::HoleRefilled, &log, message, None, 0, now);
            }
            if standing == Standing::Uncovered && before_standing != Some(standing) {
                let message = format!("no feed shows {called}");
                self.say_of_log(HealthKind::LogUncovered, &log, message, None, 0, now);
            }
            if past && missing > 0 {
                self.lose(&log, None, Loss::Expired, now);
            }
        }
        states.sort_by(|a, b| a.log.cmp(&b.log));
        self.counts.logs = Arc::new(states);
    }

    /// Publishes what waits for evidence and gets none: all of it where `due` is none.
    pub(super) fn publish_late(&mut self, due: Option<Timestamp>, now: Timestamp) {
        for ((log, index), finding) in self.evidence.late(due) {
            self.ledger.insert(&log, index, index);
            self.publish(finding, now);
        }
    }
}
