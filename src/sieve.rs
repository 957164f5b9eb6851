//! From one message, leaf or certificate to a receipt, and for one in a thousand to a finding: decode →
//! match → judge.
//!
//! Pure. A [`Sieve`] is immutable and shared by every connection; it carries the watch list's version.
//! A [`Scratch`] belongs to one worker. What is found is put into a [`Batch`], the only thing that
//! crosses a thread: receipts for every message that names its log and index, findings for those that
//! match or cannot be decoded, and plain counts. A message costs no allocation that outlives it unless it
//! is a finding. A panic on a stranger's bytes is a malformed finding, not the end of the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::ccadb::{Authorities, Claim, Issuing};
use crate::entry::leaf::{Fetched, Leaf};
use crate::entry::message::{self, Message, MessageError};
use crate::entry::{
    Anomaly, Decoder, Entry, Facts, Identities, Identity, KnownLogs, Malformed, Timestamp, Value, issuance,
    name, raw,
};
use crate::judge::{Verdict, claim, judge, suspect};
use crate::record::Arrival;
use crate::record::MAX_ORIGINAL_BYTES;
use crate::watch::canary::Canaries;
use crate::watch::{Hit, Matcher, Policy, STEPS};

/// What a message is read from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// One message of a CertStream server, lent by the reader.
    Message(&'a [u8]),
    /// One leaf of a log, lent by who fetched it.
    Leaf(Fetched<'a>),
    /// One certificate as DER, from a file: it names no log and no index.
    Certificate(&'a [u8]),
}

impl<'a> Source<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Source::Message(bytes) | Source::Certificate(bytes) => bytes,
            Source::Leaf(fetched) => fetched.form.bytes(),
        }
    }
}

/// A compiled watch list, what it asks of a stream, and what is known of those who issue.
#[derive(Clone, Debug)]
pub struct Sieve {
    matcher: Arc<Matcher>,
    authorities: Arc<Authorities>,
    logs: Arc<KnownLogs>,
    canaries: Arc<Canaries>,
    needs_certificates: Option<&'static str>,
}

/// One worker's room.
#[derive(Default)]
pub struct Scratch {
    decoder: Decoder,
    found: Vec<Hit>,
    hits: Vec<(usize, Hit)>,
    seen: u64,
    broken: u64,
    /// The stream has shown a certificate.
    certificates: bool,
    clock: Option<fn() -> Duration>,
}

/// The stream cannot carry what the watch list needs.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this is a domains-only stream, which carries no addresses, issuers or log indexes, and the watch \
     list has {0}: use the server's lite or full stream"
)]
pub struct Unfit(pub &'static str);

/// Hits in the raw bytes of one entry: each asset needs one.
const MAX_SUSPECTS: usize = 10_000;

/// One message in so many has its stages timed.
const TIMED: u64 = 1024;

/// Samples that a batch carries: one that cannot go on must not grow by them.
const MAX_SAMPLES: usize = 256;

/// Of messages that are no entries the first so many of a worker are kept, and then one in
/// [`SAMPLED`]: a server that has gone mad must not fill the malformed topic.
const FIRST_SAMPLES: u64 = 16;
const SAMPLED: u64 = 1024;

/// The reasons of `certsieve_malformed_total`.
pub const MALFORMED_REASONS: [&str; 9] =
    ["json", "not_object", "message_type", "no_leaf", "field_type", "base64", "leaf", "der", "panic"];

/// Stages that are timed.
pub const STAGES: [&str; 3] = ["decode", "match", "judge"];

/// What a worker hands on: all that crosses a thread.
#[derive(Debug)]
pub struct Batch {
    pub position: Position,
    pub receipts: Receipts,
    pub findings: Vec<Finding>,
    pub tally: Tally,
}

/// Where in which feed a batch ends.
#[derive(Clone, Debug)]
pub struct Position {
    pub feed: Arc<str>,
    pub origin: Origin,
}

/// Where messages come from, which decides what their indexes mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A feed: its indexes enter the ledger.
    Feed,
    /// The log itself: they fill holes of the ledger.
    Refill,
    /// A recording: they do not enter the ledger.
    Recording,
}

impl Origin {
    /// `certsieve.ct.origin`, and the label of `certsieve_alert_latency_seconds`.
    pub fn label(self) -> &'static str {
        match self {
            Origin::Feed | Origin::Recording => "feed",
            Origin::Refill => "refill",
        }
    }
}

/// The log indexes seen, as runs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Receipts {
    runs: Vec<Run>,
}

/// Consecutive indexes of one log, both ends included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    pub log: Arc<str>,
    pub first: u64,
    pub last: u64,
}

impl Run {
    /// How many indexes; a run of all 2^64 counts one fewer.
    pub fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// An entry that matches, or that could not be decoded, or both.
#[derive(Debug)]
pub struct Finding {
    pub facts: Option<Box<Facts>>,
    pub verdicts: Vec<Verdict>,
    /// Of an entry that was judged.
    pub issuing: Option<Box<Issuing>>,
    pub malformed: Option<(Malformed, Original)>,
    pub matcher: Arc<Matcher>,
    pub arrival: Arrival,
}

/// Raw bytes, cut, with the length and the hash of the whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Original {
    pub bytes: Vec<u8>,
    pub length: u64,
    pub sha256: String,
}

impl Original {
    pub fn of(bytes: &[u8]) -> Original {
        Original {
            bytes: bytes.get(..MAX_ORIGINAL_BYTES).unwrap_or(bytes).to_vec(),
            length: bytes.len() as u64,
            sha256: issuance::sha256_hex(bytes),
        }
    }
}

impl Finding {
    /// Bytes that it holds in a queue. What is known of the issuer is shared but for a few hundred.
    pub fn size(&self) -> usize {
        const ISSUING: usize = 256;
        let facts = self.facts.as_ref().map_or(0, |facts| facts.size());
        let matches: usize = self.verdicts.iter().map(|v| 512 + 24 * v.matches.len()).sum();
        size_of::<Finding>()
            + ISSUING
            + facts
            + matches
            + self.malformed.as_ref().map_or(0, |(_, o)| o.bytes.len())
    }
}

/// Plain counts of one batch.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Tally {
    pub matched: u64,
    pub unmatched: u64,
    pub malformed: u64,
    pub other: u64,
    pub shed: u64,
    pub bytes: u64,
    /// As [`MALFORMED_REASONS`].
    pub reasons: [u64; MALFORMED_REASONS.len()],
    /// As [`Anomaly::ALL`].
    pub anomalies: [u64; Anomaly::ALL.len()],
    /// By log, seconds from its time to the reception, sampled of feeds; negative where the clocks disagree.
    pub lags: Vec<(Option<Arc<str>>, f64)>,
    /// As [`STAGES`], sampled.
    pub stages: Vec<(usize, Duration)>,
    /// Canaries that were seen, each once, with when it last was.
    pub sightings: Vec<(Arc<str>, Timestamp)>,
}

impl Tally {
    pub fn messages(&self) -> u64 {
        self.matched + self.unmatched + self.malformed + self.other + self.shed
    }
}

/// What became of one message.
enum Outcome {
    Matched,
    Unmatched,
    Malformed,
    Other,
}

impl Sieve {
    /// With what is built in of authorities; see [`knowing`](Sieve::knowing).
    pub fn new(matcher: Matcher) -> Sieve {
        let expects = matcher.list().assets.iter().any(|asset| asset.policy == Policy::Expect);
        let needs_certificates = match (matcher.counts().network > 0, expects) {
            (true, _) => Some("`networks`"),
            (false, true) => Some("policy `expect`"),
            (false, false) => None,
        };
        let (authorities, logs) = (Authorities::built_in(), Arc::default());
        let canaries = Arc::default();
        Sieve { matcher: Arc::new(matcher), authorities, logs, canaries, needs_certificates }
    }

    /// The same list with other knowledge of authorities.
    pub fn knowing(&self, authorities: Arc<Authorities>) -> Sieve {
        Sieve { authorities, ..self.clone() }
    }

    /// The same list with other knowledge of logs.
    pub fn naming(&self, logs: Arc<KnownLogs>) -> Sieve {
        Sieve { logs, ..self.clone() }
    }

    /// The same list, with these canaries beside it.
    pub fn looking_for(&self, canaries: Arc<Canaries>) -> Sieve {
        Sieve { canaries, ..self.clone() }
    }

    pub fn canaries(&self) -> &Arc<Canaries> {
        &self.canaries
    }

    pub fn logs(&self) -> &Arc<KnownLogs> {
        &self.logs
    }

    pub fn authorities(&self) -> &Arc<Authorities> {
        &self.authorities
    }

    pub fn matcher(&self) -> &Arc<Matcher> {
        &self.matcher
    }

    /// What in the list a domains-only stream cannot decide.
    pub fn needs_certificates(&self) -> Option<&'static str> {
        self.needs_certificates
    }

    /// Sifts one message into the batch. `Err` is a stream that cannot carry what the list needs; the
    /// message is then counted as `other`.
    pub fn sift(
        &self,
        source: Source<'_>,
        arrival: &Arrival,
        scratch: &mut Scratch,
        out: &mut Batch,
    ) -> Result<(), Unfit> {
        let bytes = source.bytes();
        out.tally.bytes += bytes.len() as u64;
        scratch.seen += 1;
        let sifted = catch_unwind(AssertUnwindSafe(|| self.entry(source, arrival, scratch, out)));
        let outcome = match sifted {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(unfit)) => {
                out.tally.other += 1;
                return Err(unfit);
            }
            Err(_) => {
                // What the panic left half done is not used again.
                scratch.decoder = Decoder::default();
                scratch.hits.clear();
                let malformed =
                    Malformed { reason: "panic", message: "decoding it made certsieve panic".to_owned() };
                self.undecodable(malformed, bytes, arrival, out);
                Outcome::Malformed
            }
        };
        match outcome {
            Outcome::Matched => out.tally.matched += 1,
            Outcome::Unmatched => out.tally.unmatched += 1,
            Outcome::Malformed => out.tally.malformed += 1,
            Outcome::Other => out.tally.other += 1,
        }
        Ok(())
    }

    fn entry(
        &self,
        source: Source<'_>,
        arrival: &Arrival,
        scratch: &mut Scratch,
        out: &mut Batch,
    ) -> Result<Outcome, Unfit> {
        let mut watch = Stopwatch::new(scratch);
        let bytes = source.bytes();
        let Scratch { decoder, found, hits, broken, seen, certificates, .. } = scratch;
        decoder.knowing(&self.logs);
        let (decoded, leaf);
        let entry = match source {
            Source::Message(message) => {
                decoded = message::decode(message);
                match &decoded {
                    Ok(Message::Certificate(update)) => {
                        *certificates = true;
                        decoder.certificate(update)
                    }
                    Ok(Message::Names(names)) => match self.needs_certificates {
                        // A list of names between certificates makes no domains-only stream.
                        Some(what) if !*certificates => return Err(Unfit(what)),
                        _ => decoder.names(names),
                    },
                    Ok(Message::Idle) => return Ok(Outcome::Other),
                    Err(error) => {
                        *broken += 1;
                        if *broken <= FIRST_SAMPLES || *broken % SAMPLED == 0 {
                            self.undecodable(no_message(error), bytes, arrival, out);
                        } else {
                            count_reason(error.reason(), &mut out.tally);
                        }
                        return Ok(Outcome::Malformed);
                    }
                }
            }
            Source::Leaf(fetched) => {
                leaf = Leaf::read(fetched);
                decoder.leaf(&leaf)
            }
            Source::Certificate(der) => decoder.der(der),
        };
        watch.lap(0, &mut out.tally);
        for anomaly in entry.anomalies.iter() {
            out.tally.anomalies[anomaly as usize] += 1;
        }
        // One in sixteen: a histogram of lags needs no more.
        let sampled =
            *seen % 16 == 1 && out.position.origin == Origin::Feed && out.tally.lags.len() < MAX_SAMPLES;
        if let (Some(time), true) = (entry.log_time, sampled) {
            let lag = arrival.received.millis_since(time) as f64 / 1000.0;
            out.tally.lags.push((entry.log.clone(), lag));
        }
        if !self.canaries.is_empty() {
            self.sight(entry.identities, arrival.received, &mut out.tally);
        }
        hits.clear();
        self.matches(entry.identities, found, hits);
        watch.lap(1, &mut out.tally);
        if hits.is_empty() && entry.malformed.is_none() {
            receive(&entry, out);
            return Ok(Outcome::Unmatched);
        }
        let mut facts = entry.facts(bytes);
        if let Some(known) = facts.log.as_ref().and_then(|log| self.logs.of_id(log)) {
            facts.log_name = Some(known.name.to_string());
        }
        let issuing = self.authorities.issuing(&facts);
        let odd = facts.odd_names();
        facts.anomalies.merge(odd);
        if claim(&facts, &issuing) == Claim::Disagrees {
            facts.anomalies.add(Anomaly::IssuerClaimMismatch);
        }
        // A chain is decoded only here, and names are looked at closely.
        for anomaly in facts.anomalies.without(entry.anomalies).iter() {
            out.tally.anomalies[anomaly as usize] += 1;
        }
        // A recording is judged as it was when its server saw it.
        let now = facts.seen.map_or(arrival.received, |seen| seen.min(arrival.received));
        let mut verdicts = judge(&self.matcher, &facts, &issuing, hits, now);
        if entry.is_undecided() {
            let searched = match source {
                Source::Message(message) => entry.der().or(entry.salvage()).unwrap_or(message),
                Source::Leaf(_) | Source::Certificate(_) => bytes,
            };
            self.suspect(searched, &mut facts, &issuing, &mut verdicts, found, now);
        }
        watch.lap(2, &mut out.tally);
        let malformed = entry.malformed.clone().map(|malformed| {
            count_reason(malformed.reason, &mut out.tally);
            // The entry's own bytes where there are any, else the message that claims to carry them.
            (malformed, Original::of(entry.der().unwrap_or(bytes)))
        });
        let outcome = if malformed.is_some() { Outcome::Malformed } else { Outcome::Matched };
        receive(&entry, out);
        out.findings.push(Finding {
            facts: Some(Box::new(facts)),
            verdicts,
            issuing: Some(Box::new(issuing)),
            malformed,
            matcher: self.matcher.clone(),
            arrival: arrival.clone(),
        });
        Ok(outcome)
    }

    /// Notes the canaries among the identities.
    fn sight(&self, identities: &Identities, now: Timestamp, tally: &mut Tally) {
        for identity in identities.iter() {
            let canary = match identity.value {
                Value::Name { ascii, .. } => self.canaries.name(identities.text(ascii)),
                Value::Address(address) => self.canaries.address(address),
                Value::Network(_) => None,
            };
            let Some(canary) = canary else { continue };
            match tally.sightings.iter_mut().find(|(seen, _)| seen == canary) {
                Some((_, at)) => *at = now,
                None => tally.sightings.push((canary.clone(), now)),
            }
        }
    }

    /// Which identities match what: the index of each beside the hit.
    pub fn hits(&self, identities: &Identities) -> Vec<(usize, Hit)> {
        let (mut found, mut hits) = (Vec::new(), Vec::new());
        self.matches(identities, &mut found, &mut hits);
        hits
    }

    fn matches(&self, identities: &Identities, found: &mut Vec<Hit>, hits: &mut Vec<(usize, Hit)>) {
        let mut steps = STEPS;
        for (i, identity) in identities.iter().enumerate() {
            found.clear();
            match identity.value {
                Value::Name { ascii, unicode } => {
                    let text = |span| identities.text(span);
                    self.matcher.name(text(ascii), unicode.map(text), found);
                    if !found.iter().any(|hit| hit.kind.is_owned()) {
                        let before = found.len();
                        self.matcher.beyond(text(ascii), &mut steps, found);
                        if found.len() > before && self.is_read_otherwise(identities, identity, &mut steps) {
                            found.truncate(before);
                        }
                    }
                }
                Value::Address(address) => self.matcher.address(address, found),
                Value::Network(network) => self.matcher.network(network, &mut steps, found),
            }
            hits.extend(found.iter().map(|hit| (i, *hit)));
        }
    }

    /// Whether a name with a label that is none is how joined names look as one, of which another reading
    /// is owned: `www.example.com` and `a.example` say more than `www.example.?.example`. It is read again,
    /// a byte for each of `steps`; where they are used up, it counts.
    fn is_read_otherwise(&self, identities: &Identities, identity: &Identity, steps: &mut usize) -> bool {
        let raw = identities.raw(identity).as_bytes();
        if !identity.anomalies.has(Anomaly::UnparsableLabel) || raw.len() > *steps {
            return false;
        }
        *steps -= raw.len();
        let (mut readings, mut found) = (Identities::default(), Vec::new());
        let place = name::Place { provenance: identity.provenance, der: false };
        name::read(raw, place, &mut readings);
        for reading in readings.iter() {
            match reading.value {
                Value::Name { ascii, .. } => self.matcher.name(readings.text(ascii), None, &mut found),
                Value::Address(address) => self.matcher.address(address, &mut found),
                Value::Network(_) => {}
            }
        }
        found.iter().any(|hit| hit.kind.is_owned())
    }

    /// What is owned and stands in the raw bytes of an entry that could not be decoded, for assets that
    /// nothing decoded names. A message itself is searched only where it has no DER.
    fn suspect(
        &self,
        searched: &[u8],
        facts: &mut Facts,
        issuing: &Issuing,
        verdicts: &mut Vec<Verdict>,
        found: &mut Vec<Hit>,
        now: Timestamp,
    ) {
        let mut hits = Vec::new();
        raw::search(searched, &mut Identities::default(), |identities| {
            if hits.len() >= MAX_SUSPECTS {
                return;
            }
            let mut first = None;
            for (i, identity) in identities.iter().enumerate() {
                found.clear();
                match identity.value {
                    Value::Name { ascii, .. } => self.matcher.name(identities.text(ascii), None, found),
                    Value::Address(address) => self.matcher.address(address, found),
                    Value::Network(_) => {}
                }
                found.retain(|hit| hit.kind.is_owned() && !verdicts.iter().any(|v| v.asset == hit.asset));
                if !found.is_empty() {
                    let first = *first.get_or_insert_with(|| facts.suspect(identities));
                    hits.extend(found.iter().map(|hit| (first + i, *hit)));
                }
            }
        });
        verdicts.extend(suspect(&self.matcher, facts, issuing, &mut hits, now));
    }

    fn undecodable(&self, malformed: Malformed, bytes: &[u8], arrival: &Arrival, out: &mut Batch) {
        count_reason(malformed.reason, &mut out.tally);
        out.findings.push(Finding {
            facts: None,
            verdicts: Vec::new(),
            issuing: None,
            malformed: Some((malformed, Original::of(bytes))),
            matcher: self.matcher.clone(),
            arrival: arrival.clone(),
        });
    }
}

/// The receipt, once nothing can fail any more: an index counts as seen only together with its finding.
fn receive(entry: &Entry<'_>, out: &mut Batch) {
    if let (Some(log), Some(index)) = (&entry.log, entry.index) {
        out.receipts.add(log, index);
    }
}

fn no_message(error: &MessageError) -> Malformed {
    Malformed { reason: error.reason(), message: error.to_string() }
}

fn count_reason(reason: &str, tally: &mut Tally) {
    if let Some(i) = MALFORMED_REASONS.iter().position(|r| *r == reason) {
        tally.reasons[i] += 1;
    }
}

impl Scratch {
    /// Another stream begins.
    pub fn begin(&mut self) {
        self.certificates = false;
    }

    /// With a clock, whose readings are only compared with each other, stages are timed now and then.
    pub fn timed(clock: fn() -> Duration) -> Scratch {
        Scratch { clock: Some(clock), ..Scratch::default() }
    }
}

/// Times the stages of one message in [`TIMED`].
struct Stopwatch {
    clock: Option<fn() -> Duration>,
    last: Duration,
}

impl Stopwatch {
    fn new(scratch: &Scratch) -> Stopwatch {
        let clock = scratch.clock.filter(|_| scratch.seen % TIMED == 1);
        Stopwatch { clock, last: clock.map_or(Duration::ZERO, |clock| clock()) }
    }

    fn lap(&mut self, stage: usize, tally: &mut Tally) {
        if let Some(clock) = self.clock {
            let now = clock();
            if tally.stages.len() < MAX_SAMPLES {
                tally.stages.push((stage, now.saturating_sub(self.last)));
            }
            self.last = now;
        }
    }
}

impl Receipts {
    /// How many runs back a message may continue: servers send a log's entries in bursts, and a handful
    /// of logs at a time.
    const LOOK_BACK: usize = 4;

    pub fn add(&mut self, log: &Arc<str>, index: u64) {
        for run in self.runs.iter_mut().rev().take(Receipts::LOOK_BACK) {
            if run.last.checked_add(1) == Some(index) && same(&run.log, log) {
                run.last = index;
                return;
            }
        }
        self.runs.push(Run { log: log.clone(), first: index, last: index });
    }

    /// Takes one index out again, once.
    pub fn remove(&mut self, log: &str, index: u64) {
        let holds = |run: &Run| &*run.log == log && (run.first..=run.last).contains(&index);
        let Some(at) = self.runs.iter().rposition(holds) else { return };
        let run = self.runs[at].clone();
        let before = (run.first < index).then(|| Run { last: index - 1, ..run.clone() });
        let after = (index < run.last).then(|| Run { first: index + 1, ..run });
        self.runs.splice(at..=at, before.into_iter().chain(after));
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// How many indexes they hold.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(Run::count).fold(0, u64::saturating_add)
    }
}

fn same(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

impl Batch {
    pub fn new(position: Position) -> Batch {
        Batch { position, receipts: Receipts::default(), findings: Vec::new(), tally: Tally::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.tally.messages() == 0
    }

    /// Bytes that it holds in a queue.
    pub fn size(&self) -> usize {
        let findings: usize = self.findings.iter().map(Finding::size).sum();
        size_of::<Batch>() + findings + self.receipts.runs.len() * size_of::<Run>()
    }

    /// Gives up the findings: nothing behind can take them. Their indexes are taken out of the receipts,
    /// so that they count as never seen, and the messages count as shed. Returns how many findings.
    pub fn shed(&mut self) -> u64 {
        let findings = std::mem::take(&mut self.findings);
        for finding in &findings {
            let tally = &mut self.tally;
            let counted = if finding.malformed.is_some() { &mut tally.malformed } else { &mut tally.matched };
            *counted = counted.saturating_sub(1);
            tally.shed += 1;
            if let Some((Some(log), Some(index))) = finding.facts.as_ref().map(|f| (&f.log, f.index)) {
                self.receipts.remove(log, index);
            }
        }
        findings.len() as u64
    }
}
