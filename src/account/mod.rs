//! The one owner of what was seen, what was raised and what is under way. Pure.
//!
//! A [`Batch`] goes in; what its log indexes say twice is dropped, an alert is raised once, and records
//! come out, numbered, into the outbox, where each stays until a report settles it. [`Account::commit`]
//! hands over what changed since the last one, for a [`Journal`] to keep.
//!
//! An index enters the ledger only together with its records: a batch is admitted whole, or its findings
//! are shed and their indexes with them. A commit holds both, or neither.

pub mod canaries;
pub mod caps;
pub mod commit;
pub mod evidence;
pub mod following;
pub mod issuers;
pub mod ledger;
pub mod logs;
pub mod outbox;
pub mod raised;
pub mod report;
pub mod sayings;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::entry::{Anomaly, Timestamp};
use crate::judge::{Rule, Ruling};
use crate::record::value::HealthDetail;
use crate::record::{
    Arrival, Case, Composer, Health, HealthKind, Outcome, REFILL, Record, Rejection, Report, Topic, id,
};
use crate::sieve::{Batch, Finding, MALFORMED_REASONS, Origin, Run};
use crate::watch::Severity;
use crate::watch::canary::Canary;
use crate::watch::list::WHOLE_LIST;

pub use commit::{Commit, InMemory, Journal, JournalError, MAX_REFUSED, Refused, RefusedState, Seen, State};
pub use outbox::Bounds;

use canaries::{CanaryState, Roll};
use caps::Caps;
use evidence::Evidence;
use following::Following;
use issuers::Issuers;
use ledger::Ledger;
use logs::LogState;
use outbox::{Held, Outbox};
use raised::{Answer, Raised};
use sayings::Sayings;

/// Entries remembered for a better copy, 40 bytes each: what cannot be decoded is one in a million.
const MAX_BROKEN: usize = 65_536;

/// Raised alerts live for months; looking through them once an hour forgets them soon enough.
const EXPIRE_INTERVAL_MS: i64 = 3_600_000;

/// An entry may be on its way so long, where nothing else is configured.
pub const GRACE_MS: i64 = 5 * 60_000;

/// Logs are looked through so often.
const TEND_INTERVAL_MS: i64 = 1_000;

/// Said of messages that were shed, by whomever.
pub const SHED: &str = "messages were shed: records wait to be delivered up to the bound, or come in faster than they are taken in";

/// The account.
#[derive(Debug)]
pub struct Account {
    composer: Composer,
    ledger: Ledger,
    following: Following,
    evidence: Evidence,
    canaries: Roll,
    /// What waited for evidence, and the log's bytes do not match.
    unconfirmed: Vec<Finding>,
    raised: Raised,
    caps: Caps,
    issuers: Issuers,
    outbox: Outbox,
    sequence: u64,
    counts: Counts,
    changes: Changes,
    sayings: Sayings,
    /// Messages that were shed and said to be.
    shed_said: u64,
    list_version: String,
    /// Entries of which only a copy was seen that could not be decoded.
    broken: HashSet<(Arc<str>, u64)>,
    /// When raised alerts were last looked through.
    expired: Timestamp,
    /// When logs last were.
    tended: Timestamp,
}

/// What changed since the last commit, beside what ledger, raised alerts and outbox know themselves.
#[derive(Clone, Default, Debug)]
struct Changes {
    issuers: Vec<(String, String)>,
    /// Records that lie in the store and have their final report.
    settled: Vec<u64>,
    refused: Vec<Refused>,
    /// The list's version, when it changed.
    list: bool,
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
    /// Found pending in the store at the start.
    pub recovered: u64,
    pub delivered: [u64; Topic::ALL.len()],
    pub rejected: [[u64; Rejection::ALL.len()]; Topic::ALL.len()],
    /// By topic: without a report yet.
    pub pending: [u64; Topic::ALL.len()],
    pub outbox_bytes: usize,
    pub outbox_limit: usize,
    pub oldest_pending: Option<Timestamp>,
    /// Of each log, as of a second ago at most.
    pub logs: Arc<Vec<LogState>>,
    /// Records that Kafka refused and that are kept.
    pub refused: Arc<Vec<RefusedState>>,
    /// As of a second ago at most.
    pub canaries: Arc<Vec<CanaryState>>,
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
    /// The entry came from the log itself.
    pub refilled: bool,
}

impl Account {
    /// Without a past.
    pub fn new(composer: Composer, bounds: Bounds, list_version: &str) -> Account {
        Account {
            composer,
            ledger: Ledger::default(),
            following: Following::new(GRACE_MS),
            evidence: Evidence::default(),
            canaries: Roll::default(),
            unconfirmed: Vec::new(),
            raised: Raised::default(),
            caps: Caps::default(),
            issuers: Issuers::default(),
            outbox: Outbox::new(bounds),
            sequence: 0,
            counts: Counts::default(),
            changes: Changes::default(),
            sayings: Sayings::default(),
            shed_said: 0,
            list_version: list_version.to_owned(),
            broken: HashSet::new(),
            expired: Timestamp::default(),
            tended: Timestamp::default(),
        }
    }

    /// Goes on where a store's last commit left off.
    pub fn resume(&mut self, state: State) {
        let State { ledger, logs, alerts, issuances, issuers, outbox, refused, sequence, list_version } =
            state;
        self.counts.refused = Arc::new(refused);
        self.ledger.resume(ledger);
        self.following.resume(logs, &self.ledger);
        self.raised.resume(alerts, issuances);
        self.issuers.resume(issuers);
        self.counts.recovered = outbox.len();
        self.outbox.resume(outbox, sequence);
        self.sequence = sequence;
        self.changes.list = list_version.as_deref() != Some(&self.list_version);
    }

    /// Takes a batch in: its indexes into the ledger, its findings into numbered records, which are
    /// returned by number and wait in the outbox. With the outbox full, its findings are shed.
    pub fn admit(&mut self, mut batch: Batch, now: Timestamp) -> std::ops::Range<u64> {
        let before = self.sequence;
        if self.outbox.is_full() {
            batch.shed();
        }
        let origin = batch.position.origin;
        if origin == Origin::Feed {
            self.hold_for_evidence(&mut batch, now);
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
        let live = origin != Origin::Recording;
        // Copies that are taken although their index was seen.
        let mut better = 0;
        let mut new = 0;
        for finding in std::mem::take(&mut batch.findings) {
            let place = finding.facts.as_ref().and_then(|f| Some((f.log.clone()?, f.index?)));
            if let (true, Some((log, index))) = (live, place) {
                if origin == Origin::Refill {
                    // The log's own bytes say more than the message did.
                    self.evidence.take(&(log.clone(), index));
                }
                let mends = finding.malformed.is_none() && self.broken.remove(&(log.clone(), index));
                better += u64::from(mends);
                if self.ledger.contains(&log, index) && !mends {
                    let counted = if finding.malformed.is_some() { &mut malformed } else { &mut matched };
                    *counted = counted.saturating_sub(1);
                    self.counts.repeated += 1;
                    continue;
                }
                let entered = self.ledger.insert(&log, index, index);
                new += entered;
                match origin {
                    Origin::Refill => self.found_in_log(&log, index, index, entered),
                    _ => self.following.shown(&Run { log: log.clone(), first: index, last: index }, now),
                }
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
                let entered = self.ledger.insert(&run.log, run.first, run.last);
                new += entered;
                match origin {
                    Origin::Refill => self.found_in_log(&run.log, run.first, run.last, entered),
                    _ => self.following.shown(run, now),
                }
            }
            // What was neither new nor a finding was unmatched, now and before.
            let repeated = batch.receipts.count().saturating_sub(new + better);
            let repeated = repeated.saturating_sub(repeated_findings).min(unmatched);
            unmatched -= repeated;
            self.counts.repeated += repeated;
        }
        for finding in std::mem::take(&mut self.unconfirmed) {
            self.publish(finding, now);
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
            self.number(record, facts.and_then(|f| f.log_time), &finding.arrival);
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
            self.number(record, facts.log_time, &finding.arrival);
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
        self.raised.enter(id, facts, now);
        if let Some(record) = self.composer.alert(id, case, now) {
            self.number(record, facts.log_time, case.arrival);
        }
        Some(id)
    }

    fn number(&mut self, record: Record, log_time: Option<Timestamp>, arrival: &Arrival) {
        self.push(Held { record, log_time, refilled: &*arrival.feed == REFILL });
    }

    fn push(&mut self, mut held: Held) {
        let record = &mut held.record;
        self.sequence += 1;
        record.sequence = self.sequence;
        self.counts.records[record.topic as usize] += 1;
        self.outbox.push(held);
    }

    /// Says something on the health topic; of one kind and subject at most once a minute, what comes
    /// sooner a minute later. With the outbox full, too: there are few of them, and a time of trouble is
    /// what they are for.
    pub fn say(&mut self, health: Health, now: Timestamp) {
        if let Some(health) = self.sayings.say(health, now) {
            self.publish_health(&health, now);
        }
    }

    /// Looks for these canaries from now on.
    pub fn look_for(&mut self, canaries: &[Canary], now: Timestamp) {
        self.canaries.look_for(canaries, now);
        self.counts.canaries = Arc::new(self.canaries.states());
    }

    /// Canaries were seen; those that were missing are returned.
    pub fn sighted(&mut self, sightings: &[(Arc<str>, Timestamp)]) -> Vec<Arc<str>> {
        self.canaries.seen(sightings)
    }

    /// What is to be said of canaries that are missing; to be asked about once a second.
    pub fn missing_canaries(&mut self, now: Timestamp) -> Vec<Health> {
        let missing = self.canaries.missing(now);
        self.counts.canaries = Arc::new(self.canaries.states());
        missing
    }

    fn publish_health(&mut self, health: &Health, now: Timestamp) {
        let record = self.composer.health(health, &self.list_version, now);
        self.push(Held { record, log_time: None, refilled: false });
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
                let held = self.ended(report.sequence)?;
                let topic = held.record.topic;
                self.counts.delivered[topic as usize] += 1;
                Some(Settled {
                    topic,
                    delivery_ms: report.at.millis_since(held.record.at).max(0),
                    latency_ms: held.log_time.map(|time| report.at.millis_since(time).max(0)),
                    refilled: held.refilled,
                })
            }
            Outcome::Rejected { reason, message } => {
                let held = self.ended(report.sequence)?;
                let record = &held.record;
                self.counts.rejected[record.topic as usize][reason as usize] += 1;
                // A health record that is refused is not worth another that would be refused too.
                if record.topic != Topic::Health {
                    let detail = HealthDetail { count: Some(1), ..HealthDetail::default() };
                    let id = record.headers.iter().find(|(k, _)| *k == "ce_id").map_or("-", |(_, v)| v);
                    let topic = record.topic.suffix();
                    let said = format!("Kafka refuses record {id} of {topic} for itself: {message}");
                    self.say(Health { kind: HealthKind::RecordRejected, message: said, detail }, report.at);
                }
                let refused = Refused { held, reason, message, at: report.at };
                self.refused(RefusedState::of(&refused));
                self.changes.refused.push(refused);
                None
            }
        }
    }

    fn refused(&mut self, refused: RefusedState) {
        let kept = Arc::make_mut(&mut self.counts.refused);
        if kept.len() >= MAX_REFUSED {
            kept.remove(0);
        }
        kept.push(refused);
    }

    /// A record has its final report. One that lies in the store is deleted there.
    fn ended(&mut self, sequence: u64) -> Option<Arc<Held>> {
        let held = self.outbox.settle(sequence)?;
        if self.outbox.is_durable(sequence) {
            self.changes.settled.push(sequence);
        }
        Some(held)
    }

    /// From which record on how many bytes are to be read back from the store and given to
    /// [`loaded`](Account::loaded).
    pub fn wants(&self) -> Option<(u64, usize)> {
        self.outbox.wants()
    }

    /// Takes records in that were read back. None at all means that the store lost those it had.
    pub fn loaded(&mut self, records: Vec<Held>) {
        let gone = self.outbox.loaded(records);
        for (rejected, gone) in self.counts.rejected.iter_mut().zip(gone) {
            rejected[Rejection::Other as usize] += gone;
        }
    }

    /// When the oldest record was numbered that no commit covers yet.
    pub fn oldest_unsaved(&self) -> Option<Timestamp> {
        self.outbox.oldest_unsaved()
    }

    /// Says what waits to be said: this is the end.
    pub fn finish(&mut self, now: Timestamp) {
        self.publish_late(None, now);
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
            let message = SHED.to_owned();
            let detail = HealthDetail { count: Some(shed), ..HealthDetail::default() };
            self.say(Health { kind: HealthKind::InternalError, message, detail }, now);
        }
    }

    fn tell(&mut self, held: Vec<caps::Held>, now: Timestamp) {
        for caps::Held { asset, count } in held {
            let message = format!(
                "{count} alerts of low or medium severity for {asset} were held back: it has more than its alert_cap an hour"
            );
            let detail = HealthDetail { asset: Some(asset), count: Some(count), ..HealthDetail::default() };
            self.say(Health { kind: HealthKind::AlertsCapped, message, detail }, now);
        }
    }

    /// What changed since the last commit that was [`saved`](Account::saved).
    pub fn commit(&mut self, now: Timestamp) -> Commit {
        let held = self.caps.over(now);
        self.tell(held, now);
        self.tell_shed(now);
        self.sayings.due(now).iter().for_each(|health| self.publish_health(health, now));
        if now.millis_since(self.tended) >= TEND_INTERVAL_MS {
            self.tend_logs(now);
        }
        if now.millis_since(self.expired) >= EXPIRE_INTERVAL_MS {
            self.expired = now;
            self.raised.expire(now);
        }
        Commit {
            ledger: self.ledger.changes(),
            logs: self.following.changes(),
            alerts: self.raised.changed_alerts(),
            issuances: self.raised.changed_issuances(),
            issuers: self.changes.issuers.clone(),
            records: self.outbox.unsaved().cloned().collect(),
            settled: self.changes.settled.clone(),
            refused: self.changes.refused.clone(),
            sequence: self.sequence,
            list_version: self.changes.list.then(|| self.list_version.clone()),
        }
    }

    /// What [`commit`](Account::commit) gave is durable. Nothing may have come in between.
    pub fn saved(&mut self) {
        self.ledger.saved();
        self.following.saved();
        self.raised.saved();
        self.outbox.saved(self.sequence);
        self.changes = Changes::default();
    }

    /// A new list judges from now on.
    pub fn list_changed(&mut self, version: &str) {
        self.list_version = version.to_owned();
        self.changes.list = true;
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
