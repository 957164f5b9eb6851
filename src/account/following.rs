//! What is known of each log beside its indexes: where its account begins, how large its tree is, and so
//! which indexes are missing. Pure.
//!
//! An index is missing when it lies below a size that the log's tree had a while ago (the grace, for
//! reordering and for a feed's usual lag) and no feed has shown it. After a start there is no grace for what
//! lies between the ledger and the first index that a feed shows. What lies at or beyond the tree's size is
//! implausible: it opens no hole, and is taken out of the ledger when the tree has had time to reach it.
//!
//! A log first seen on an empty state begins at its first live index, one that appears later at the lower of
//! that and the first size that was asked. A feed that deduplicates across logs leaves holes everywhere by
//! nature: its logs are unaccountable, and their small holes are not chased.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::ledger::{Ledger, MAX_LOGS, Ranges};
use crate::entry::{KnownLogs, Timestamp};
use crate::sieve::Run;

/// Sizes of one log's tree that are remembered, one a minute: more than any grace needs.
const MAX_HEADS: usize = 128;

/// Runs ahead of the tree that are watched in one log.
const MAX_AHEAD: usize = 1024;

/// After a start the first live index may be a little ahead of those behind it.
const REORDERING_MS: i64 = 10_000;

/// A hole of up to so many indexes may come of a feed that deduplicates; an outage makes longer ones.
const SMALL: u64 = 16;

/// Indexes after which a log's share of small holes is judged.
const WINDOW: u64 = 1_000;

/// Holes that are named at once; the rest is named when these are filled.
pub const MAX_HOLES: usize = 256;

/// A log that no feed has shown for so long, while its tree grew, is uncovered.
const UNCOVERED_AFTER_MS: i64 = 10 * 60_000;

/// A log that cannot be read for so long is given up.
const UNREACHABLE_MS: i64 = 24 * 3_600_000;

/// What is known of the logs that are followed.
#[derive(Debug)]
pub struct Following {
    logs: HashMap<Arc<str>, Followed>,
    known: Arc<KnownLogs>,
    grace_ms: i64,
    /// The state was empty at the start.
    fresh: bool,
    changed: Vec<Arc<str>>,
}

/// One log.
#[derive(Clone, Default, Debug)]
pub struct Followed {
    row: Row,
    /// It was not in the state, and came with the first list on an empty one.
    initial: bool,
    /// Its account began in this process, with the size of its tree.
    begun_by_size: bool,
    /// In the list, so that its tree is asked.
    listed: bool,
    listed_since: Option<Timestamp>,
    /// No certificate that it can hold is valid any more.
    past: bool,
    /// When the tree was asked, and its size, oldest first.
    heads: VecDeque<(Timestamp, u64)>,
    /// The first index that a feed showed in this process, and when.
    first_live: Option<(u64, Timestamp)>,
    last_live: Option<Timestamp>,
    ahead: Vec<(Timestamp, u64, u64)>,
    implausible: u64,
    /// Since when it cannot be asked.
    failing: Option<Timestamp>,
    /// Up to here holes were counted for [`unaccountable`](Followed::unaccountable).
    judged: u64,
    seen: u64,
    small: u64,
    unaccountable: bool,
    /// Since when indexes are missing.
    pub missing_since: Option<Timestamp>,
    /// How it was last said to stand.
    pub said: Option<Standing>,
    pub refilled_now: u64,
    pub lost_now: u64,
}

/// What is kept of it across starts.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Row {
    /// Every index from here on is accounted for.
    pub first: Option<u64>,
    /// Of the tree, when it was last asked.
    pub size: Option<u64>,
    /// Indexes that came from the log itself.
    pub refilled: u64,
    /// Indexes that were given up.
    pub lost: u64,
}

/// How a log stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// In the list, and shown by a feed.
    Followed,
    /// In the list, and shown by no feed.
    Uncovered,
    /// Its feed leaves holes by nature.
    Unaccountable,
    /// A feed shows it, and no list has it.
    Unlisted,
}

impl Standing {
    pub const ALL: [Standing; 4] =
        [Standing::Followed, Standing::Uncovered, Standing::Unaccountable, Standing::Unlisted];

    pub fn label(self) -> &'static str {
        match self {
            Standing::Followed => "followed",
            Standing::Uncovered => "uncovered",
            Standing::Unaccountable => "unaccountable",
            Standing::Unlisted => "unlisted",
        }
    }
}

/// A log that is in the list from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub log: Arc<str>,
    /// No certificate that it can hold is valid any more.
    pub past: bool,
}

impl Following {
    /// `grace_ms`: how long an index below the tree's size may be on its way.
    pub fn new(grace_ms: i64) -> Following {
        Following { logs: HashMap::new(), known: Arc::default(), grace_ms, fresh: true, changed: Vec::new() }
    }

    pub fn set_grace(&mut self, grace_ms: i64) {
        self.grace_ms = grace_ms;
    }

    /// Whether a log is in the list, so that it can be asked.
    pub fn is_listed(&self, log: &str) -> bool {
        self.logs.get(log).is_some_and(|followed| followed.listed)
    }

    /// Goes on with what a store holds.
    pub fn resume(&mut self, rows: Vec<(Arc<str>, Row)>, ledger: &Ledger) {
        self.fresh = rows.is_empty() && ledger.logs().next().is_none();
        for (log, row) in rows {
            self.logs.insert(log, Followed { row, ..Followed::default() });
        }
        for (log, ranges) in ledger.logs() {
            let followed = self.logs.entry(log.clone()).or_default();
            followed.row.first = followed.row.first.or(ranges.first());
        }
    }

    /// Another list counts from now on. Returns renamed logs, old name and new: those that were known by
    /// their URL until now.
    pub fn list(
        &mut self,
        known: Arc<KnownLogs>,
        listed: &[Listed],
        now: Timestamp,
    ) -> Vec<(Arc<str>, Arc<str>)> {
        let mut renamed = Vec::new();
        for name in self.logs.keys().cloned().collect::<Vec<_>>() {
            if let Some(id) = known.named(&name).map(|known| known.id.clone()).filter(|id| *id != name) {
                if let Some(before) = self.logs.remove(&name) {
                    let followed = self.logs.entry(id.clone()).or_default();
                    followed.row.first = match (followed.row.first, before.row.first) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    followed.row.refilled += before.row.refilled;
                    followed.row.lost += before.row.lost;
                    self.changed.push(name.clone());
                    self.changed.push(id.clone());
                }
                renamed.push((name, id));
            }
        }
        self.known = known;
        for followed in self.logs.values_mut() {
            followed.listed = false;
        }
        // Those of the first list on an empty state begin with what a feed shows.
        let initial = std::mem::take(&mut self.fresh);
        for Listed { log, past } in listed {
            if !self.logs.contains_key(log) && self.logs.len() >= MAX_LOGS {
                continue;
            }
            let followed =
                self.logs.entry(log.clone()).or_insert_with(|| Followed { initial, ..Followed::default() });
            followed.listed = true;
            followed.past = *past;
            followed.listed_since.get_or_insert(now);
        }
        self.logs.retain(|_, log| log.listed || log.row.first.is_some());
        renamed
    }

    /// A feed showed these indexes.
    pub fn shown(&mut self, run: &Run, now: Timestamp) {
        if !self.logs.contains_key(&run.log) {
            if self.logs.len() >= MAX_LOGS {
                return;
            }
            self.logs.insert(run.log.clone(), Followed { initial: true, ..Followed::default() });
        }
        let Some(followed) = self.logs.get_mut(&run.log) else { return };
        followed.last_live = Some(now);
        if followed.size().is_some_and(|size| run.last >= size) {
            let room = followed.ahead.len() < MAX_AHEAD;
            match followed.ahead.last_mut() {
                Some((_, _, last)) if last.checked_add(1) == Some(run.first) => *last = run.last,
                _ if room => followed.ahead.push((now, run.first, run.last)),
                _ => {}
            }
        }
        if followed.first_live.is_none() {
            followed.first_live = Some((run.first, now));
            // What began with a size of the tree begins earlier where a feed shows it earlier.
            let begun = followed.row.first.filter(|_| !followed.begun_by_size);
            let first = begun.or(followed.row.first.map(|size| size.min(run.first))).unwrap_or(run.first);
            if followed.row.first != Some(first) {
                followed.row.first = Some(first);
                self.changed.push(run.log.clone());
            }
        }
    }

    /// So many of a log's indexes came from the log itself.
    pub fn refilled(&mut self, log: &Arc<str>, count: u64) {
        if let Some(followed) = self.logs.get_mut(log) {
            followed.row.refilled += count;
            followed.refilled_now += count;
            self.changed.push(log.clone());
        }
    }

    /// The log's tree has this size. Returns what was taken for indexes and turns out to be beyond it.
    pub fn head(
        &mut self,
        log: &Arc<str>,
        size: u64,
        ranges: Option<&Ranges>,
        now: Timestamp,
    ) -> Vec<(u64, u64)> {
        let grace = self.grace_ms;
        let Some(followed) = self.logs.get_mut(log) else { return Vec::new() };
        followed.failing = None;
        if followed.heads.is_empty()
            && let Some(ranges) = ranges
        {
            // What an earlier process took for an index is looked at once more.
            let ahead = ranges.from(size);
            followed.ahead.extend(ahead.take(MAX_AHEAD).map(|(first, last)| (now, first, last)));
        }
        // A tree does not shrink; an older answer, from another front end, says nothing new.
        let size = followed.size().map_or(size, |before| before.max(size));
        if followed.heads.len() == MAX_HEADS {
            followed.heads.pop_front();
        }
        followed.heads.push_back((now, size));
        if followed.row.first.is_none() && !followed.initial {
            followed.row.first = Some(size);
            followed.begun_by_size = true;
        }
        followed.row.size = Some(size);
        self.changed.push(log.clone());
        let (late, mut ahead): (Vec<_>, Vec<_>) = std::mem::take(&mut followed.ahead)
            .into_iter()
            .filter(|(_, _, last)| *last >= size)
            .partition(|(at, ..)| now.millis_since(*at) > grace);
        followed.ahead.append(&mut ahead);
        let beyond: Vec<_> = late.into_iter().map(|(_, first, last)| (first.max(size), last)).collect();
        for (first, last) in &beyond {
            followed.implausible = followed.implausible.saturating_add((last - first).saturating_add(1));
        }
        beyond
    }

    /// The log could not be asked. True when that has been so for too long: what is missing is lost.
    pub fn unreachable(&mut self, log: &Arc<str>, now: Timestamp) -> bool {
        let Some(followed) = self.logs.get_mut(log) else { return false };
        let since = *followed.failing.get_or_insert(now);
        now.millis_since(since) >= UNREACHABLE_MS
    }

    /// What is missing of a log, oldest first: [`MAX_HOLES`] of the newest.
    pub fn holes(&self, log: &str, ranges: Option<&Ranges>, now: Timestamp) -> Vec<(u64, u64)> {
        let Some(followed) = self.logs.get(log) else { return Vec::new() };
        let (Some(first), Some(end)) = (followed.row.first, followed.horizon(self.grace_ms, now)) else {
            return Vec::new();
        };
        let chased = |(first, last): &(u64, u64)| !followed.unaccountable || last - first >= SMALL;
        let mut holes: Vec<_> = match ranges {
            None if first < end => vec![(first, end - 1)],
            None => Vec::new(),
            Some(ranges) => ranges.gaps_back(first, end).filter(chased).take(MAX_HOLES).collect(),
        };
        holes.reverse();
        holes
    }

    /// How many of a log's indexes are missing now.
    pub fn missing(&self, log: &str, ranges: Option<&Ranges>, now: Timestamp) -> u64 {
        let Some(followed) = self.logs.get(log) else { return 0 };
        let (Some(first), Some(end)) = (followed.row.first, followed.horizon(self.grace_ms, now)) else {
            return 0;
        };
        match ranges {
            None => end.saturating_sub(first),
            Some(ranges) => ranges.gaps_back(first, end).fold(0, |n, (first, last)| n + (last - first + 1)),
        }
    }

    /// Judges whether a log's feed leaves holes by nature; to be called about once a minute.
    pub fn judge(&mut self, log: &Arc<str>, ranges: Option<&Ranges>, now: Timestamp) {
        let grace = self.grace_ms;
        let Some(followed) = self.logs.get_mut(log) else { return };
        let (Some(first), Some(end), Some(ranges)) =
            (followed.row.first, followed.horizon(grace, now), ranges)
        else {
            return;
        };
        let from = followed.judged.max(first);
        if end <= from {
            return;
        }
        let (mut small, mut missing) = (0, 0);
        for (first, last) in ranges.gaps_back(from, end) {
            let length = last - first + 1;
            missing += length;
            small += if length <= SMALL { length } else { 0 };
        }
        followed.judged = end;
        followed.seen += (end - from) - missing;
        followed.small += small;
        if followed.seen + followed.small >= WINDOW {
            // A server that loses one message in fifty, or in ten, is refilled; one that drops a third is not
            // losing but choosing.
            followed.unaccountable = followed.small * 3 > followed.seen + followed.small;
            (followed.seen, followed.small) = (followed.seen / 2, followed.small / 2);
        }
    }

    /// Every log, with how it stands.
    pub fn logs(&self, now: Timestamp) -> impl Iterator<Item = (&Arc<str>, &Followed, Standing)> {
        self.logs.iter().map(move |(log, followed)| (log, followed, followed.standing(now)))
    }

    pub fn get_mut(&mut self, log: &str) -> Option<&mut Followed> {
        self.logs.get_mut(log)
    }

    /// The label of a log in metrics, and its name for people.
    pub fn name(&self, log: &str) -> Option<&Arc<str>> {
        self.known.of_id(log).map(|known| &known.name)
    }

    /// Indexes were given up.
    pub fn lost(&mut self, log: &Arc<str>, count: u64) {
        if let Some(followed) = self.logs.get_mut(log) {
            followed.row.lost = followed.row.lost.saturating_add(count);
            followed.lost_now = followed.lost_now.saturating_add(count);
            self.changed.push(log.clone());
        }
    }

    /// Logs that changed since [`saved`](Following::saved); `None`: there is none of this name any more.
    pub fn changes(&self) -> Vec<(Arc<str>, Option<Row>)> {
        let mut changed = self.changed.clone();
        changed.sort();
        changed.dedup();
        changed.into_iter().map(|log| (log.clone(), self.logs.get(&log).map(|f| f.row.clone()))).collect()
    }

    pub fn saved(&mut self) {
        self.changed.clear();
    }
}

impl Followed {
    pub fn row(&self) -> &Row {
        &self.row
    }

    pub fn implausible(&self) -> u64 {
        self.implausible
    }

    pub fn is_listed(&self) -> bool {
        self.listed
    }

    pub fn is_past(&self) -> bool {
        self.past
    }

    /// Of the tree, as last asked in this process.
    pub fn size(&self) -> Option<u64> {
        self.heads.back().map(|head| head.1)
    }

    /// Below this, what is not in the ledger is missing.
    fn horizon(&self, grace_ms: i64, now: Timestamp) -> Option<u64> {
        let old = |at: &Timestamp| now.millis_since(*at) >= grace_ms;
        let tree = self.heads.iter().rev().find(|(at, _)| old(at)).map(|head| head.1);
        // Between the ledger of before and what the feed shows first, nothing is on its way any more. Where
        // the account only began with that index, nothing lies there.
        let live = self.first_live.filter(|(_, at)| now.millis_since(*at) >= REORDERING_MS.min(grace_ms));
        let size = self.size()?;
        tree.max(live.map(|live| live.0)).map(|horizon| horizon.min(size))
    }

    fn standing(&self, now: Timestamp) -> Standing {
        let quiet = |since: Timestamp| now.millis_since(since) >= UNCOVERED_AFTER_MS;
        let grew = self.heads.front().is_some_and(|oldest| self.size() > Some(oldest.1));
        match (self.listed, self.last_live.or(self.listed_since)) {
            (false, _) => Standing::Unlisted,
            (true, Some(since)) if quiet(since) && (self.last_live.is_none() || grew) => Standing::Uncovered,
            (true, _) if self.unaccountable => Standing::Unaccountable,
            (true, _) => Standing::Followed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::KnownLog;

    const GRACE_MS: i64 = 300_000;

    /// A log `a` of the list, its ledger, and a clock in seconds.
    struct World {
        following: Following,
        ledger: Ledger,
        log: Arc<str>,
    }

    fn at(second: i64) -> Timestamp {
        Timestamp(1_795_000_000_000 + second * 1000)
    }

    impl World {
        /// On an empty state unless `rows` says otherwise.
        fn new(past: &[(u64, u64)]) -> World {
            let log: Arc<str> = "a".into();
            let mut ledger = Ledger::default();
            ledger.resume(past.iter().map(|(first, last)| (log.clone(), *first, *last)));
            let mut following = Following::new(GRACE_MS);
            following.resume(Vec::new(), &ledger);
            World { following, ledger, log }
        }

        fn list(&mut self, second: i64) -> Vec<(Arc<str>, Arc<str>)> {
            let mut known = KnownLogs::default();
            let (id, name) = (self.log.clone(), "Log A".into());
            known.add(KnownLog { id, name }, ["https://a.example/".to_owned()]);
            let listed = [Listed { log: self.log.clone(), past: false }];
            self.following.list(Arc::new(known), &listed, at(second))
        }

        fn shown(&mut self, first: u64, last: u64, second: i64) {
            let run = Run { log: self.log.clone(), first, last };
            self.ledger.insert(&run.log, first, last);
            self.following.shown(&run, at(second));
        }

        fn head(&mut self, size: u64, second: i64) {
            let log = self.log.clone();
            for (first, last) in self.following.head(&log, size, self.ledger.of(&log), at(second)) {
                self.ledger.remove(&log, first, last);
            }
            self.following.judge(&log, self.ledger.of(&log), at(second));
        }

        fn holes(&self, second: i64) -> Vec<(u64, u64)> {
            self.following.holes(&self.log, self.ledger.of(&self.log), at(second))
        }

        fn standing(&self, second: i64) -> Standing {
            self.following.logs(at(second)).next().expect("a log").2
        }
    }

    #[test]
    fn on_an_empty_state_the_account_begins_with_what_a_feed_shows() {
        let mut world = World::new(&[]);
        world.list(0);
        world.head(1000, 1);
        assert_eq!(world.holes(9_999), [], "nothing of a log that nothing was seen of");
        world.shown(1010, 1019, 2);
        world.shown(1025, 1029, 3);
        world.head(1040, 60);
        assert_eq!(world.holes(61), [], "it may be on its way");
        assert_eq!(world.holes(60 + 299), []);
        assert_eq!(world.holes(60 + 300), [(1020, 1024), (1030, 1039)]);
        world.shown(1020, 1024, 400);
        assert_eq!(world.holes(401), [(1030, 1039)]);
        let missing = world.following.missing("a", world.ledger.of("a"), at(401));
        assert_eq!(missing, 10);
    }

    #[test]
    fn a_log_that_appears_later_begins_with_its_first_size() {
        let mut world = World::new(&[]);
        world.following.list(Arc::default(), &[], at(0));
        world.list(100);
        world.head(500, 101);
        world.head(700, 161);
        assert_eq!(world.holes(161 + 300), [(500, 699)], "no feed shows it, and nothing of it is left out");
        world.shown(650, 699, 470);
        assert_eq!(world.holes(471), [(500, 649)]);
        let mut world = World::new(&[]);
        world.following.list(Arc::default(), &[], at(0));
        world.list(100);
        world.head(500, 101);
        world.shown(480, 499, 102);
        assert_eq!(world.following.logs(at(0)).next().unwrap().1.row().first, Some(480), "the lower of both");
    }

    #[test]
    fn between_the_ledger_and_the_first_live_index_there_is_no_grace() {
        let mut world = World::new(&[(10, 99)]);
        world.list(0);
        world.head(300, 1);
        world.shown(200, 250, 2);
        assert_eq!(world.holes(5), [], "it may be reordered");
        assert_eq!(world.holes(12), [(100, 199)]);
        assert_eq!(world.holes(301), [(100, 199), (251, 299)]);
    }

    #[test]
    fn what_lies_beyond_the_tree_opens_no_hole_and_is_taken_back() {
        let mut world = World::new(&[]);
        world.list(0);
        world.head(100, 0);
        world.shown(100, 109, 1);
        world.shown(1 << 63, (1 << 63) + 1, 2);
        world.head(200, 60);
        assert_eq!(world.holes(360), [(110, 199)]);
        assert!(world.ledger.contains("a", 1 << 63), "the tree may reach it yet");
        world.head(210, 400);
        assert!(!world.ledger.contains("a", 1 << 63));
        assert!(world.ledger.contains("a", 109));
        let implausible = world.following.logs(at(400)).next().unwrap().1.implausible();
        assert_eq!(implausible, 2);
        // An earlier process took it for an index.
        let mut world = World::new(&[(10, 19), (1 << 63, 1 << 63)]);
        world.list(0);
        world.head(20, 0);
        world.head(20, 301);
        assert!(!world.ledger.contains("a", 1 << 63) && world.ledger.contains("a", 19));
        assert_eq!(world.holes(999), []);
    }

    #[test]
    fn a_log_is_known_by_its_id_once_a_list_has_it() {
        let mut world = World::new(&[]);
        let run = Run { log: "a.example".into(), first: 7, last: 9 };
        world.following.shown(&run, at(0));
        world.following.refilled(&run.log, 1);
        assert_eq!(world.standing(1), Standing::Unlisted);
        let renamed = world.list(2);
        assert_eq!(renamed, [("a.example".into(), "a".into())]);
        let (log, followed, standing) = world.following.logs(at(3)).next().unwrap();
        assert_eq!((&**log, standing, followed.row().first), ("a", Standing::Followed, Some(7)));
        let changes = world.following.changes();
        assert!(changes.iter().any(|(log, row)| &**log == "a.example" && row.is_none()), "{changes:?}");
    }

    #[test]
    fn a_feed_that_loses_is_refilled_and_one_that_chooses_is_not() {
        for (one_in, want) in
            [(50, Standing::Followed), (10, Standing::Followed), (2, Standing::Unaccountable)]
        {
            let mut world = World::new(&[]);
            world.list(0);
            world.head(0, 0);
            for index in (0..5_000).filter(|index| index % one_in != 1) {
                world.shown(index, index, 1);
            }
            for minute in 1..9 {
                world.head(5_000, minute * 60);
            }
            assert_eq!(world.standing(500), want, "one in {one_in}");
            assert_eq!(world.holes(500).is_empty(), want == Standing::Unaccountable, "one in {one_in}");
            // An outage is one long hole, and fetched all the same.
            world.shown(6_000, 6_000, 600);
            world.head(6_001, 601);
            assert!(world.holes(1_000).iter().any(|hole| hole.1 == 5_999), "one in {one_in}");
        }
    }

    #[test]
    fn a_log_that_no_feed_shows_is_uncovered() {
        let mut world = World::new(&[]);
        world.list(0);
        world.head(10, 1);
        assert_eq!(world.standing(599), Standing::Followed);
        assert_eq!(world.standing(600), Standing::Uncovered, "never shown");
        world.shown(10, 10, 601);
        assert_eq!(world.standing(602), Standing::Followed);
        assert_eq!(world.standing(1_300), Standing::Followed, "a log that does not grow is shown by nobody");
        world.head(12, 1_301);
        assert_eq!(world.standing(1_302), Standing::Uncovered, "it grows, and is shown no more");
    }

    #[test]
    fn a_log_that_cannot_be_asked_is_given_up_after_a_day() {
        let mut world = World::new(&[(5, 9)]);
        world.list(0);
        world.head(20, 0);
        let log = world.log.clone();
        assert!(!world.following.unreachable(&log, at(100)));
        assert!(!world.following.unreachable(&log, at(86_499)));
        assert!(world.following.unreachable(&log, at(86_500)));
        world.head(20, 86_501);
        assert!(!world.following.unreachable(&log, at(86_502)), "it counts from its last answer");
    }
}
