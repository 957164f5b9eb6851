//! The one owner of what was seen, what was raised and what is under way. Pure.
//!
//! A [`Batch`] goes in; what its log indexes say twice is dropped, an alert is raised once, and records
//! come out, numbered, into the outbox, where each stays until a report settles it. [`Account::commit`]
//! hands over what changed since the last one, for a [`Journal`] to keep.
//!
//! An index enters the ledger only together with its records: a batch is admitted whole, or its findings
//! are shed and their indexes with them.

pub mod caps;
pub mod issuers;
pub mod ledger;
pub mod outbox;
pub mod raised;
pub mod sayings;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::entry::{Anomaly, Timestamp};
use crate::judge::{Rule, Ruling};
use crate::record::value::HealthDetail;
use crate::record::{Case, Composer, Health, HealthKind, Outcome, Record, Rejection, Report, Topic, id};
use crate::sieve::{Batch, Finding, MALFORMED_REASONS, Run};
use crate::watch::Severity;
use crate::watch::list::WHOLE_LIST;

use caps::{Caps, Held};
use issuers::Issuers;
use ledger::Ledger;
use outbox::Outbox;
use raised::{Answer, Raised};
use sayings::Sayings;

/// Entries remembered for a better copy, 40 bytes each: what cannot be decoded is one in a million.
const MAX_BROKEN: usize = 65_536;

/// Raised alerts live for months; looking through them once an hour forgets them soon enough.
const EXPIRE_INTERVAL_MS: i64 = 3_600_000;

/// The account.
#[derive(Debug)]
pub struct Account {
    composer: Composer,
    ledger: Ledger,
    raised: Raised,
    caps: Caps,
    issuers: Issuers,
    outbox: Outbox,
    sequence: u64,
    counts: Counts,
    changes: Commit,
    sayings: Sayings,
    /// Messages that were shed and said to be.
    shed_said: u64,
    list_version: String,
    /// Entries of which only a copy was seen that could not be decoded.
    broken: HashSet<(Arc<str>, u64)>,
    /// When raised alerts were last looked through.
    expired: Timestamp,
}

/// What changed since the commit before: durable together or not at all.
#[derive(Clone, Default, Debug)]
pub struct Commit {
    /// Indexes that were accounted for.
    pub receipts: Vec<Run>,
    /// Alerts that were raised, and until when they are kept.
    pub raised: Vec<(Uuid, Timestamp)>,
    /// Issuers that were seen for an asset for the first time.
    pub issuers: Vec<(String, String)>,
    /// Records that were numbered.
    pub numbered: Vec<u64>,
    /// Records that have their final report.
    pub settled: Vec<u64>,
}

/// Keeps commits: in memory, or in a store.
pub trait Journal: Send {
    fn commit(&mut self, commit: &Commit) -> Result<(), JournalError>;
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct JournalError(pub String);

/// The journal of a process that keeps its state in memory: the account itself is the state.
#[derive(Clone, Copy, Default, Debug)]
pub struct InMemory;

impl Journal for InMemory {
    fn commit(&mut self, _: &Commit) -> Result<(), JournalError> {
        Ok(())
    }
}

/// Plain counts since the start, of which metrics are made.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    pub matched: u64,
    pub unmatched: u64,
    pub repeated: u64,
    pub malformed: u64,
    pub other: u64,
    pub shed: u64,
    /// As [`MALFORMED_REASONS`].
    pub reasons: [u64; MALFORMED_REASONS.len()],
    /// As [`Anomaly::ALL`].
    pub anomalies: [u64; Anomaly::ALL.len()],
    /// As [`Ruling::ALL`].
    pub matches: [u64; Ruling::ALL.len()],
    /// By asset.
    pub assets: HashMap<String, AssetCounts>,
    /// By severity: when the last alert was raised.
    pub last_alert: [Option<Timestamp>; Severity::ALL.len()],
    /// By topic.
    pub records: [u64; Topic::ALL.len()],
    pub delivered: [u64; Topic::ALL.len()],
    pub rejected: [[u64; Rejection::ALL.len()]; Topic::ALL.len()],
    /// By topic: without a report yet.
    pub pending: [u64; Topic::ALL.len()],
    pub outbox_bytes: usize,
    pub outbox_limit: usize,
    pub oldest_pending: Option<Timestamp>,
}

/// Plain counts of one asset.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AssetCounts {
    /// Alerts that were raised, as [`Severity::ALL`].
    pub alerts: [u64; Severity::ALL.len()],
    /// Alerts that were held back.
    pub capped: u64,
}

impl AssetCounts {
    /// Adds what was counted between two readings.
    pub fn add(&mut self, before: &AssetCounts, now: &AssetCounts) {
        for (sum, (before, now)) in self.alerts.iter_mut().zip(before.alerts.iter().zip(now.alerts)) {
            *sum += now - before;
        }
        self.capped += now.capped - before.capped;
    }
}

impl Counts {
    /// Messages whose outcome is known.
    pub fn messages(&self) -> u64 {
        self.matched + self.unmatched + self.repeated + self.malformed + self.other + self.shed
    }
}

/// What a settled record says about time, for histograms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    pub topic: Topic,
    /// From the numbering to the report.
    pub delivery_ms: i64,
    /// From the log's time of the entry to the report, where the log's time is known.
    pub latency_ms: Option<i64>,
}

impl Account {
    /// `outbox_limit` in bytes.
    pub fn new(composer: Composer, outbox_limit: usize, list_version: &str) -> Account {
        Account {
            composer,
            ledger: Ledger::default(),
            raised: Raised::default(),
            caps: Caps::default(),
            issuers: Issuers::default(),
            outbox: Outbox::new(outbox_limit),
            sequence: 0,
            counts: Counts::default(),
            changes: Commit::default(),
            sayings: Sayings::default(),
            shed_said: 0,
            list_version: list_version.to_owned(),
            broken: HashSet::new(),
            expired: Timestamp::default(),
        }
    }

    /// Takes a batch in: its indexes into the ledger, its findings into numbered records, which are
    /// returned by number and wait in the outbox. With the outbox full, its findings are shed.
    pub fn admit(&mut self, mut batch: Batch, now: Timestamp) -> std::ops::Range<u64> {
        let before = self.sequence;
        if self.outbox.is_full() {
            batch.shed();
        }
        let tally = &batch.tally;
        let counts = &mut self.counts;
        counts.other += tally.other;
        counts.shed += tally.shed;
        for (sum, n) in counts.reasons.iter_mut().zip(tally.reasons) {
            *sum += n;
        }
        for (sum, n) in counts.anomalies.iter_mut().zip(tally.anomalies) {
            *sum += n;
        }
        let (mut matched, mut malformed) = (tally.matched, tally.malformed);
        let mut unmatched = tally.unmatched;
        let live = batch.position.live;
        // Copies that are taken although their index was seen.
        let mut better = 0;
        let mut new = 0;
        for finding in std::mem::take(&mut batch.findings) {
            let place = finding.facts.as_ref().and_then(|f| Some((f.log.clone()?, f.index?)));
            if let (true, Some((log, index))) = (live, place) {
                let mends = finding.malformed.is_none() && self.broken.remove(&(log.clone(), index));
                better += u64::from(mends);
                if self.ledger.contains(&log, index) && !mends {
                    let counted = if finding.malformed.is_some() { &mut malformed } else { &mut matched };
                    *counted = counted.saturating_sub(1);
                    self.counts.repeated += 1;
                    continue;
                }
                new += self.ledger.insert(&log, index, index);
                // A whole copy, from another feed, may have what this one broke.
                if finding.malformed.is_some() && self.broken.len() < MAX_BROKEN {
                    self.broken.insert((log, index));
                }
            }
            self.publish(finding, now);
        }
        if live {
            let repeated_findings = (tally.matched - matched) + (tally.malformed - malformed);
            for run in batch.receipts.runs() {
                new += self.ledger.insert(&run.log, run.first, run.last);
            }
            // What was neither new nor a finding was unmatched, now and before.
            let repeated = batch.receipts.count().saturating_sub(new + better);
            let repeated = repeated.saturating_sub(repeated_findings).min(unmatched);
            unmatched -= repeated;
            self.counts.repeated += repeated;
            self.changes.receipts.extend(batch.receipts.runs().iter().cloned());
        }
        self.counts.matched += matched;
        self.counts.malformed += malformed;
        self.counts.unmatched += unmatched;
        before + 1..self.sequence + 1
    }

    fn publish(&mut self, mut finding: Finding, now: Timestamp) {
        let matcher = finding.matcher.clone();
        let version = &matcher.list().version;
        if let Some((malformed, original)) = &finding.malformed {
            let facts = finding.facts.as_deref();
            let record = self.composer.malformed(facts, malformed, original, version, &finding.arrival, now);
            self.number(record, facts.and_then(|f| f.log_time));
        }
        let Some(facts) = finding.facts.as_mut() else { return };
        let raises = finding.verdicts.iter().any(|verdict| verdict.rule.is_some());
        if raises && !facts.names_only && self.raised.is_reused(facts, now) {
            facts.anomalies.add(Anomaly::SerialReuse);
            self.counts.anomalies[Anomaly::SerialReuse as usize] += 1;
        }
        for mut verdict in std::mem::take(&mut finding.verdicts) {
            let facts = &**facts;
            let asset = matcher.asset(verdict.asset);
            self.counts.matches[verdict.ruling as usize] += 1;
            let first = (asset.id != WHOLE_LIST).then(|| self.issuers.is_first(&asset.id, facts)).flatten();
            if let Some(issuer) = first.as_ref().filter(|issuer| issuer.new) {
                self.changes.issuers.push((asset.id.clone(), issuer.name.clone()));
                if verdict.ruling == Ruling::Unexpected {
                    verdict.reason(
                        "issuer.first_for_asset",
                        format!("the first certificate of its issuer for {} since the start", asset.id),
                    );
                }
            }
            let case = Case {
                facts,
                verdict: &verdict,
                matcher: &matcher,
                issuing: finding.issuing.as_deref(),
                first_for_asset: first.map(|issuer| issuer.new),
                arrival: &finding.arrival,
            };
            let alert = verdict.rule.and_then(|rule| self.raise(rule, &case, now));
            let id = id::matched(facts, &asset.id);
            let record = self.composer.matched(id, alert, &case, now);
            self.number(record, facts.log_time);
        }
    }

    /// Raises the alert of a verdict, unless it was raised before or is held back. Returns its id when it
    /// is raised, now or before.
    fn raise(&mut self, rule: Rule, case: &Case<'_>, now: Timestamp) -> Option<Uuid> {
        let Case { facts, verdict, matcher, .. } = *case;
        let asset = matcher.asset(verdict.asset);
        let id = match self.raised.look(facts, &asset.id, rule, &verdict.matched()) {
            Answer::Known(id) => return Some(id),
            Answer::New(id) => id,
        };
        let severity = verdict.severity.unwrap_or(Severity::Low);
        if severity <= Severity::Medium && !self.caps.admit(&asset.id, asset.alert_cap, now) {
            self.counts.assets.entry(asset.id.clone()).or_default().capped += 1;
            return None;
        }
        self.counts.assets.entry(asset.id.clone()).or_default().alerts[severity as usize] += 1;
        self.counts.last_alert[severity as usize] = Some(now);
        let until = self.raised.enter(id, facts, now);
        self.changes.raised.push((id, until));
        if let Some(record) = self.composer.alert(id, case, now) {
            self.number(record, facts.log_time);
        }
        Some(id)
    }

    fn number(&mut self, mut record: Record, log_time: Option<Timestamp>) {
        self.sequence += 1;
        record.sequence = self.sequence;
        self.counts.records[record.topic as usize] += 1;
        self.changes.numbered.push(record.sequence);
        self.outbox.push(record, log_time);
    }

    /// Says something on the health topic; of one kind and subject at most once a minute, what comes
    /// sooner a minute later. With the outbox full, too: there are few of them, and a time of trouble is
    /// what they are for.
    pub fn say(&mut self, health: Health, now: Timestamp) {
        if let Some(health) = self.sayings.say(health, now) {
            self.publish_health(&health, now);
        }
    }

    fn publish_health(&mut self, health: &Health, now: Timestamp) {
        let record = self.composer.health(health, &self.list_version, now);
        self.number(record, None);
    }

    /// The next record for the publisher.
    pub fn next(&self) -> Option<&Record> {
        self.outbox.next()
    }

    /// The publisher took [`next`](Account::next).
    pub fn taken(&mut self) {
        self.outbox.taken();
    }

    /// Takes a report in. A delivered record says how long it took.
    pub fn settle(&mut self, report: Report) -> Option<Settled> {
        match report.outcome {
            Outcome::Returned => {
                self.outbox.returned(report.sequence);
                None
            }
            Outcome::Delivered => {
                let held = self.outbox.settle(report.sequence)?;
                let topic = held.record.topic;
                self.counts.delivered[topic as usize] += 1;
                self.changes.settled.push(report.sequence);
                Some(Settled {
                    topic,
                    delivery_ms: report.at.millis_since(held.record.at).max(0),
                    latency_ms: held.log_time.map(|time| report.at.millis_since(time).max(0)),
                })
            }
            Outcome::Rejected { reason, message } => {
                let record = self.outbox.settle(report.sequence)?.record;
                self.counts.rejected[record.topic as usize][reason as usize] += 1;
                self.changes.settled.push(report.sequence);
                // A health record that is refused is not worth another that would be refused too.
                if record.topic != Topic::Health {
                    let detail = HealthDetail { count: Some(1), ..HealthDetail::default() };
                    let id = record.headers.iter().find(|(k, _)| *k == "ce_id").map_or("-", |(_, v)| v);
                    let topic = record.topic.suffix();
                    let message = format!("Kafka refuses record {id} of {topic} for itself: {message}");
                    self.say(Health { kind: HealthKind::RecordRejected, message, detail }, report.at);
                }
                None
            }
        }
    }

    /// Says what waits to be said: this is the end.
    pub fn finish(&mut self, now: Timestamp) {
        let held = self.caps.finish();
        self.tell(held, now);
        self.tell_shed(now);
        self.sayings.finish().iter().for_each(|health| self.publish_health(health, now));
    }

    fn tell_shed(&mut self, now: Timestamp) {
        let shed = self.counts.shed - self.shed_said;
        if shed > 0 {
            self.shed_said = self.counts.shed;
            // The number is in `count` alone: what waits for its minute adds up there.
            let message =
                "messages were shed: records wait for Kafka up to the bound, or come in faster than \
                           they are taken in"
                    .to_owned();
            let detail = HealthDetail { count: Some(shed), ..HealthDetail::default() };
            self.say(Health { kind: HealthKind::InternalError, message, detail }, now);
        }
    }

    fn tell(&mut self, held: Vec<Held>, now: Timestamp) {
        for Held { asset, count } in held {
            let message = format!(
                "{count} alerts of low or medium severity for {asset} were held back: it has more than its alert_cap an hour"
            );
            let detail = HealthDetail { asset: Some(asset), count: Some(count), ..HealthDetail::default() };
            self.say(Health { kind: HealthKind::AlertsCapped, message, detail }, now);
        }
    }

    /// What changed since the last call.
    pub fn commit(&mut self, now: Timestamp) -> Commit {
        let held = self.caps.over(now);
        self.tell(held, now);
        self.tell_shed(now);
        self.sayings.due(now).iter().for_each(|health| self.publish_health(health, now));
        if now.millis_since(self.expired) >= EXPIRE_INTERVAL_MS {
            self.expired = now;
            self.raised.expire(now);
        }
        std::mem::take(&mut self.changes)
    }

    /// A new list judges from now on.
    pub fn list_changed(&mut self, version: &str) {
        self.list_version = version.to_owned();
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The counts, with what is under way now.
    pub fn counts(&mut self) -> &Counts {
        self.counts.outbox_bytes = self.outbox.bytes();
        self.counts.outbox_limit = self.outbox.limit();
        self.counts.oldest_pending = self.outbox.oldest();
        for topic in Topic::ALL {
            self.counts.pending[topic as usize] = self.outbox.pending(topic);
        }
        &self.counts
    }
}

/// A log's place in the ledger, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogState {
    pub log: Arc<str>,
    pub first: u64,
    pub last: u64,
    pub missing: u64,
}

impl Account {
    /// Every log of the ledger, by name.
    pub fn logs(&self) -> Vec<LogState> {
        let mut logs: Vec<LogState> = self
            .ledger
            .logs()
            .filter_map(|(log, ranges)| {
                let (first, last) = (ranges.first()?, ranges.last()?);
                Some(LogState { log: log.clone(), first, last, missing: ranges.missing() })
            })
            .collect();
        logs.sort_by(|a, b| a.log.cmp(&b.log));
        logs
    }
}
