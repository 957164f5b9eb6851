//! What the logs of the demo hold: each entry is made again from where it stands, at any time, byte for byte.
//!
//! Some thousand issuances are signed at the start (under two seconds) and stand in four logs, again and
//! again: of an issuance the precertificate in one to three of them, the certificate some hundred entries
//! later in one or two. Which leaf stands at an index is a matter of arithmetic, but for what is planted,
//! which is remembered; when it was logged is a matter of the seed and of the second in which the entry was
//! appended. So messages and the logs' own API say the same of an entry, and nothing grows with the entries.
//!
//! A log begins at a large index, as if it had been there for long: what lies below is filled from the same
//! pool and shown as of the last fifty minutes before the start. No message ever told of it.
//!
//! With `drop_one_in` the feed loses messages: which ones is a matter of the seed too, and one plant,
//! [`LOST_PLANT`], is lost altogether. The log holds every entry all the same.
//!
//! Memory is that of the pool, about 20 MB, and 16 bytes a log for each second in which entries came, of which
//! a week's are kept: what is older is no longer in the log.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use ring::digest::{SHA256, digest};

use super::Stream;
use super::authority::{Authorities, AuthorityError, IDENTITIES, Kind, Name, Subject, Template};
use super::message::{Leaf, LogText, Times, chain, push_message};
use super::names::Grammar;
use super::plants::{LOST_PLANT, PLANTS};
use crate::entry::Timestamp;

/// The logs: what they are called, the last part of their address, whether they are tiled (static-ct).
const LOGS: [(&str, &str, bool); 4] = [
    ("Demo 'Alder' log", "alder", false),
    ("Demo 'Birch' log", "birch", false),
    ("Demo 'Cedar' tiled log", "cedar", true),
    ("Demo 'Dogwood' tiled log", "dogwood", true),
];

/// Between a precertificate and its certificate, in thirds of an issuance: about 440 entries.
const PAIR_APART: usize = 400;

/// How long before a server sees an entry its log took it, in milliseconds: up to a second more, because the
/// second counts in which the entry came.
const AGE: std::ops::Range<i64> = 200..1_500;
/// Times are kept in steps of so many milliseconds.
const STEP: i64 = 1_000;
/// Steps that are kept for each log: a week's, if entries come in each.
const STEPS: usize = 7 * 24 * 3_600;
/// What stood in a log at the start is at most so old, in milliseconds; certificates are an hour old.
const BEFORE: i64 = 50 * 60 * 1_000;

/// What an archive is made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub seed: u64,
    /// Logs are named `<base_url>/log/<name>`; without a slash at its end.
    pub base_url: String,
    /// Dates the certificates.
    pub now: Timestamp,
    /// Issuances in the pool.
    pub issuances: usize,
    /// One message in so many is lost; none without, and with 0.
    pub drop_one_in: Option<u32>,
}

/// See the module.
pub struct Archive {
    seed: u64,
    made: Timestamp,
    drop_one_in: Option<u32>,
    leaves: Vec<Leaf>,
    /// Of the first of the planted leaves, which stand in pairs.
    planted: usize,
    /// One for each of [`IDENTITIES`].
    issuers: Vec<Issuer>,
    logs: Vec<Log>,
    /// Which log the next entry is of, once through the pool.
    turns: Vec<u8>,
}

/// What stands above a leaf.
pub struct Issuer {
    /// As it stands in a message.
    text: Vec<u8>,
    /// Certificates, nearest first.
    pub chain: Vec<Vec<u8>>,
    /// SHA-256 of the key that signs.
    pub key_hash: [u8; 32],
}

/// One log.
pub struct Log {
    pub name: &'static str,
    /// The last part of its address.
    pub path: &'static str,
    /// Where it is read, as messages say it.
    pub url: String,
    /// What it calls itself: of a tiled log another URL, at which nothing is.
    pub submission_url: String,
    pub tiled: bool,
    text: LogText,
    /// Leaves of the pool in the order in which they come, again and again.
    cycle: Vec<u32>,
    /// Where messages begin.
    first: u64,
    held: Mutex<Held>,
}

/// What has come.
struct Held {
    size: u64,
    /// Index and leaf of what stands between the pool's, in order.
    planted: Vec<(u64, u32)>,
    /// The first index of each step, and when it came.
    steps: VecDeque<(u64, Timestamp)>,
}

/// One entry, to be written for any stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub(super) leaf: u32,
    pub log: u8,
    pub index: u64,
    pub(super) times: Times,
}

impl Entry {
    /// When the log took it.
    pub fn logged(&self) -> Timestamp {
        self.times.logged
    }
}

impl Archive {
    /// Signs the pool: a second's work.
    pub fn new(recipe: &Recipe) -> Result<Archive, AuthorityError> {
        let now = recipe.now.0.div_euclid(1000);
        let issuances = recipe.issuances;
        let mut rng = Rng::with_seed(recipe.seed);
        let authorities = Authorities::new(now)?;
        let grammar = Grammar::new();
        let mut leaves = Vec::with_capacity(2 * (issuances + PLANTS.len()));
        let mut pair = |issuer: usize, template: &Template, key: usize| {
            for kind in [Kind::Precertificate, Kind::Certificate] {
                let issued = authorities.issue(issuer, template, kind, key)?;
                leaves.push(Leaf::new(template, issuer, kind, &issued));
            }
            Ok::<(), AuthorityError>(())
        };
        for _ in 0..issuances {
            let (issuer, template) = issuance(&grammar, now, &mut rng);
            pair(issuer, &template, rng.usize(..))?;
        }
        for plant in &PLANTS {
            pair(plant.issuer, &plant.template(now), rng.usize(..))?;
        }
        let firsts = LOGS.map(|_| rng.u64(1_000_000..2_000_000_000));
        let cycle = cycle(issuances, LOGS.len(), &mut rng);
        let of_log = |log: usize| cycle.iter().filter(move |turn| usize::from(turn.log) == log);
        let logs = LOGS.iter().zip(firsts).enumerate().map(|(log, (&(name, path, tiled), first))| {
            let url = format!("{}/log/{path}", recipe.base_url);
            let held = Held { size: first, planted: Vec::new(), steps: VecDeque::new() };
            let text = LogText::new(name, &url, tiled);
            let mut cycle: Vec<u32> = of_log(log).map(|turn| turn.leaf).collect();
            if cycle.is_empty() {
                // Of a pool so small that no turn is this log's.
                cycle.push(0);
            }
            let submission_url =
                if tiled { format!("{}/submit/{path}", recipe.base_url) } else { url.clone() };
            Log { name, path, url, submission_url, tiled, text, cycle, first, held: Mutex::new(held) }
        });
        let issuer = |issuer: usize| {
            let links = authorities.chain(issuer);
            Issuer {
                text: chain(&links),
                chain: links.into_iter().map(|link| link.der).collect(),
                key_hash: sha256(&authorities.public_key(issuer)),
            }
        };
        Ok(Archive {
            seed: recipe.seed,
            made: recipe.now,
            drop_one_in: recipe.drop_one_in.filter(|&one_in| one_in > 0),
            planted: 2 * issuances,
            issuers: (0..IDENTITIES.len()).map(issuer).collect(),
            logs: logs.collect(),
            turns: cycle.iter().map(|turn| turn.log).collect(),
            leaves,
        })
    }

    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Entries of a log.
    pub fn size(&self, log: usize) -> u64 {
        self.logs[log].held().size
    }

    /// Which log an entry of the pool is of, turn by turn.
    pub(super) fn turn(&self, at: usize) -> u8 {
        self.turns.get(at % self.turns.len().max(1)).copied().unwrap_or_default()
    }

    /// Appends the next entry to a log: that of the pool whose turn it is there, or what is planted.
    pub(super) fn append(&self, log: u8, planted: Option<(usize, Kind)>, now: Timestamp) -> Entry {
        let of = &self.logs[usize::from(log)];
        let mut held = of.held();
        let index = held.size;
        if let Some((plant, kind)) = planted {
            held.planted.push((index, self.planted_leaf(plant, kind)));
        }
        let step =
            held.steps.back().map(|(_, at)| *at).filter(|at| (0..STEP).contains(&now.millis_since(*at)));
        let step = step.unwrap_or_else(|| {
            held.steps.push_back((index, now));
            if held.steps.len() > STEPS {
                held.steps.pop_front();
            }
            now
        });
        held.size += 1;
        let times = Times { logged: self.aged(step, log, index), seen: now };
        Entry { leaf: of.leaf(&held, index), log, index, times }
    }

    /// The entries from `first` to `last`, as far as the log has them. They are seen when they were logged.
    pub fn entries(&self, log: usize, first: u64, last: u64) -> Vec<Entry> {
        let held = self.logs[log].held();
        (first..=last).map_while(|index| self.made_again(&held, log as u8, index)).collect()
    }

    /// Whether the feed loses the message of an entry.
    pub fn drops(&self, entry: &Entry) -> bool {
        let Some(one_in) = self.drop_one_in else { return false };
        let lost = self.planted_leaf(LOST_PLANT, Kind::Precertificate);
        entry.leaf / 2 == lost / 2 || self.chance(DROPPING, entry.log, entry.index).u32(0..one_in) == 0
    }

    /// Log and index of each entry so far whose message was lost, as far as the logs still have them. Goes
    /// through all of them, while nothing is drawn: for the end of a demo.
    pub fn dropped(&self) -> Vec<(&str, u64)> {
        let mut all = Vec::new();
        if self.drop_one_in.is_none() {
            return all;
        }
        for (n, log) in self.logs.iter().enumerate() {
            let held = log.held();
            let entries = (log.first..held.size).filter_map(|index| self.made_again(&held, n as u8, index));
            let dropped = entries.filter(|entry| self.drops(entry));
            all.extend(dropped.map(|entry| (log.url.as_str(), entry.index)));
        }
        all
    }

    /// Appends the message of `entry` in `stream`.
    pub fn write(&self, entry: &Entry, stream: Stream, out: &mut Vec<u8>) {
        let leaf = self.leaf(entry);
        let log = &self.logs[usize::from(entry.log)].text;
        push_message(out, stream, leaf, &self.issuer(leaf).text, log, entry.index, entry.times);
    }

    pub fn leaf(&self, entry: &Entry) -> &Leaf {
        &self.leaves[entry.leaf as usize]
    }

    pub fn issuer(&self, leaf: &Leaf) -> &Issuer {
        &self.issuers[leaf.issuer]
    }

    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    fn planted_leaf(&self, plant: usize, kind: Kind) -> u32 {
        (self.planted + 2 * plant + usize::from(kind == Kind::Certificate)) as u32
    }

    /// The entry at an index, if the log has it.
    fn made_again(&self, held: &Held, log: u8, index: u64) -> Option<Entry> {
        let of = &self.logs[usize::from(log)];
        if index >= held.size {
            return None;
        }
        let logged = if index < of.first {
            self.made.plus_millis(-((of.first - index) as i64).min(BEFORE))
        } else {
            let step = held.steps.partition_point(|(first, _)| *first <= index).checked_sub(1)?;
            self.aged(held.steps[step].1, log, index)
        };
        Some(Entry { leaf: of.leaf(held, index), log, index, times: Times { logged, seen: logged } })
    }

    /// When an entry that came in this step was logged.
    fn aged(&self, step: Timestamp, log: u8, index: u64) -> Timestamp {
        step.plus_millis(-self.chance(AGING, log, index).i64(AGE))
    }

    /// What is left to chance about an entry, the same whenever it is asked.
    fn chance(&self, what: u64, log: u8, index: u64) -> Rng {
        let mut seed = Rng::with_seed(self.seed ^ what);
        Rng::with_seed(seed.u64(..) ^ u64::from(log) << 56 ^ index)
    }
}

/// What is left to chance.
const DROPPING: u64 = 1 << 32;
const AGING: u64 = 2 << 32;

impl Log {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing is left half done under this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leaf at an index.
    fn leaf(&self, held: &Held, index: u64) -> u32 {
        let at = held.planted.partition_point(|(planted, _)| *planted < index);
        match held.planted.get(at) {
            Some(&(planted, leaf)) if planted == index => leaf,
            _ => {
                let turn = index as i64 - self.first as i64 - at as i64;
                self.cycle[turn.rem_euclid(self.cycle.len() as i64) as usize]
            }
        }
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// One entry of the pool and its log.
#[derive(Clone, Copy)]
struct Appearance {
    leaf: u32,
    log: u8,
}

/// Issuer and certificate of one issuance.
fn issuance(grammar: &Grammar, now: i64, rng: &mut Rng) -> (usize, Template) {
    let all: u32 = IDENTITIES.iter().map(|identity| identity.weight).sum();
    let mut pick = rng.u32(0..all);
    let mut issuer = 0;
    while pick >= IDENTITIES[issuer].weight {
        pick -= IDENTITIES[issuer].weight;
        issuer += 1;
    }
    let names = grammar.names(rng);
    let mut subject = Subject::default();
    // One in six has no common name. One longer than 64 characters is not allowed (RFC 5280 appendix A).
    if let Some(Name::Dns(first)) = names.first().filter(|_| rng.u32(0..6) > 0)
        && first.len() <= 64
    {
        subject.common_name.clone_from(first);
    }
    if rng.u32(0..12) == 0 {
        subject.organization = grammar.organization(rng);
        subject.country = "NL".into();
        subject.locality = "Zoetermeer".into();
    }
    let mut serial: Vec<u8> = (0..16).map(|_| rng.u8(..)).collect();
    serial[0] = rng.u8(1..);
    let not_before = now - 3_600 - rng.i64(0..600);
    let not_after = not_before + IDENTITIES[issuer].days * 86_400 - 1;
    (issuer, Template { subject, names, serial, not_before, not_after })
}

/// Where and when each leaf of the pool appears, once through.
fn cycle(issuances: usize, logs: usize, rng: &mut Rng) -> Vec<Appearance> {
    let mut all: Vec<(usize, Appearance)> = Vec::with_capacity(4 * issuances);
    for issuance in 0..issuances {
        // On average two precertificates and four thirds of a certificate.
        let copies = [[1, 2, 2, 3][rng.usize(0..4)], [1, 1, 2][rng.usize(0..3)]];
        for (kind, copies) in copies.into_iter().enumerate() {
            let first = rng.usize(..logs);
            for copy in 0..copies {
                // Keys in thirds of an issuance: what belongs together is near, but not in a row.
                let key = 3 * issuance + rng.usize(0..12) + kind * PAIR_APART;
                let leaf = (2 * issuance + kind) as u32;
                all.push((key, Appearance { leaf, log: ((first + copy) % logs) as u8 }));
            }
        }
    }
    all.sort_by_key(|&(key, _)| key);
    all.into_iter().map(|(_, appearance)| appearance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::firehose::Firehose;
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_795_455_603_604);

    fn archive(drop_one_in: Option<u32>) -> Arc<Archive> {
        let base_url = "http://127.0.0.1:8080".to_owned();
        Arc::new(Archive::new(&Recipe { seed: 4, base_url, now: NOW, issuances: 20, drop_one_in }).unwrap())
    }

    /// At any later time an entry is what it was when it came, the pool many times gone through.
    #[test]
    fn an_entry_is_made_again_as_it_was() {
        let archive = archive(None);
        let mut firehose = Firehose::of(Arc::clone(&archive));
        let drawn: Vec<Entry> = (0..4_000).map(|n| firehose.draw(NOW.plus_millis(7 * n))).collect();
        for entry in &drawn {
            let age = entry.times.seen.millis_since(entry.logged());
            assert!((200..2_500).contains(&age), "{age}");
            let again = archive.entries(usize::from(entry.log), entry.index, entry.index);
            let times = Times { seen: entry.logged(), ..entry.times };
            assert_eq!(again, [Entry { times, ..*entry }]);
        }
        for (n, log) in archive.logs().iter().enumerate() {
            let before = archive.entries(n, 0, 3);
            assert_eq!(before.len(), 4);
            assert!(before.iter().all(|entry| NOW.millis_since(entry.logged()) == BEFORE));
            let around = archive.entries(n, log.first - 1, log.first);
            assert!(around[0].logged() < NOW && around.len() == 2);
            assert_eq!(archive.entries(n, archive.size(n), u64::MAX), []);
        }
    }

    #[test]
    fn one_message_in_so_many_is_lost_and_one_plant_altogether() {
        for one_in in [None, Some(0), Some(1), Some(50)] {
            let archive = archive(one_in);
            let mut firehose = Firehose::of(Arc::clone(&archive));
            let drawn: Vec<Entry> = (0..20_000).map(|n| firehose.draw(NOW.plus_millis(2 * n))).collect();
            let mut lost: Vec<(&str, u64)> = drawn
                .iter()
                .filter(|entry| archive.drops(entry))
                .map(|entry| (archive.logs()[usize::from(entry.log)].url.as_str(), entry.index))
                .collect();
            lost.sort_unstable();
            assert_eq!(archive.dropped(), lost);
            let plants = firehose.plantings();
            let plants: Vec<bool> = plants.iter().map(|planting| planting.is_lost()).collect();
            match one_in {
                None | Some(0) => assert!(lost.is_empty() && !plants.contains(&true)),
                Some(1) => assert!(lost.len() == drawn.len() && !plants.contains(&false)),
                Some(_) => assert!((300..500).contains(&lost.len()) && plants[LOST_PLANT], "{}", lost.len()),
            }
        }
    }

    /// What a log keeps does not grow with its entries, and a week ago is where it ends.
    #[test]
    fn a_log_forgets_after_so_many_steps() {
        let archive = archive(None);
        let first = archive.size(0);
        let steps = STEPS as u64;
        for n in 0..steps + 10 {
            archive.append(0, None, NOW.plus_millis(n as i64 * STEP));
            archive.append(0, None, NOW.plus_millis(n as i64 * STEP + 1));
        }
        assert_eq!(archive.logs[0].held().steps.len(), STEPS);
        assert_eq!(archive.entries(0, first + 19, first + 19), []);
        assert_eq!(archive.entries(0, first + 20, first + 23).len(), 4);
    }
}
