//! The ledger: for each log, the set of indexes accounted for, as ranges. Grows with holes, not with
//! history. It remembers which ranges changed since the last commit, so that a commit writes those alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Logs that are followed; a feed that names more is lying. Entries of further ones are published, and
/// not remembered.
pub const MAX_LOGS: usize = 1024;

/// Ranges of one log. A feed that deduplicates makes holes by nature; the oldest ranges are then
/// forgotten, which at worst publishes an entry again with its own id.
pub const MAX_RANGES: usize = 65_536;

/// Which indexes of which logs were seen.
#[derive(Clone, Default, Debug)]
pub struct Ledger {
    logs: HashMap<Arc<str>, Ranges>,
}

/// Disjoint ranges that do not touch: first index to last index.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ranges {
    ranges: BTreeMap<u64, u64>,
    /// First indexes of ranges that are new, longer, or gone since the last commit.
    changed: BTreeSet<u64>,
}

/// A range of one log that is to be written over what stood at its first index, or deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub log: Arc<str>,
    pub first: u64,
    /// `None`: no range begins there any more.
    pub last: Option<u64>,
}

impl Ledger {
    /// Enters a run; returns how many of its indexes were not in it before.
    pub fn insert(&mut self, log: &Arc<str>, first: u64, last: u64) -> u64 {
        if let Some(ranges) = self.logs.get_mut(log) {
            return ranges.insert(first, last);
        }
        if self.logs.len() >= MAX_LOGS {
            return (last - first).saturating_add(1);
        }
        self.logs.entry(log.clone()).or_default().insert(first, last)
    }

    pub fn contains(&self, log: &str, index: u64) -> bool {
        self.logs.get(log).is_some_and(|ranges| ranges.contains(index))
    }

    pub fn logs(&self) -> impl Iterator<Item = (&Arc<str>, &Ranges)> {
        self.logs.iter()
    }

    /// Goes on with the ranges that a store holds.
    pub fn resume(&mut self, ranges: impl IntoIterator<Item = (Arc<str>, u64, u64)>) {
        for (log, first, last) in ranges {
            self.insert(&log, first, last);
        }
        self.saved();
    }

    /// What changed since [`saved`](Ledger::saved), or the start.
    pub fn changes(&self) -> Vec<Change> {
        let of_log = |(log, ranges): (&Arc<str>, &Ranges)| {
            let change = |first: &u64| Change {
                log: log.clone(),
                first: *first,
                last: ranges.ranges.get(first).copied(),
            };
            ranges.changed.iter().map(change).collect::<Vec<_>>()
        };
        self.logs.iter().flat_map(of_log).collect()
    }

    /// What [`changes`](Ledger::changes) gave is durable.
    pub fn saved(&mut self) {
        self.logs.values_mut().for_each(|ranges| ranges.changed.clear());
    }
}

impl Ranges {
    fn insert(&mut self, first: u64, last: u64) -> u64 {
        // In order and without a gap, which is nearly always so: one range grows.
        if let Some(mut newest) = self.ranges.last_entry()
            && newest.get().checked_add(1) == Some(first)
        {
            newest.insert(last);
            self.changed.insert(*newest.key());
            return (last - first).saturating_add(1);
        }
        let mut start = first;
        let mut end = last;
        let mut known = 0u64;
        if let Some((&s, &e)) = self.ranges.range(..=first).next_back()
            && (e >= first || e.checked_add(1) == Some(first))
        {
            if e >= first {
                known = known.saturating_add((e.min(last) - first).saturating_add(1));
            }
            start = s;
            end = end.max(e);
            self.ranges.remove(&s);
            self.changed.insert(s);
        }
        while let Some((&s, &e)) = self.ranges.range(first..).next() {
            if s > end && end.checked_add(1) != Some(s) {
                break;
            }
            if s <= last {
                known = known.saturating_add((e.min(last) - s).saturating_add(1));
            }
            end = end.max(e);
            self.ranges.remove(&s);
            self.changed.insert(s);
        }
        self.ranges.insert(start, end);
        self.changed.insert(start);
        if self.ranges.len() > MAX_RANGES
            && let Some((first, _)) = self.ranges.pop_first()
        {
            self.changed.insert(first);
        }
        (last - first).saturating_add(1).saturating_sub(known)
    }

    pub fn contains(&self, index: u64) -> bool {
        self.ranges.range(..=index).next_back().is_some_and(|(_, end)| *end >= index)
    }

    pub fn first(&self) -> Option<u64> {
        self.ranges.first_key_value().map(|(first, _)| *first)
    }

    pub fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, last)| *last)
    }

    /// Indexes between the first and the last that were not seen.
    pub fn missing(&self) -> u64 {
        let ends = self.ranges.values();
        let starts = self.ranges.keys().skip(1);
        ends.zip(starts).map(|(end, start)| start - end - 1).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain set of indexes.
        #[test]
        fn holds_what_was_entered(runs in proptest::collection::vec((0u64..60, 0u64..12), 1..60)) {
            let mut ledger = Ledger::default();
            let log: Arc<str> = "log".into();
            let mut set = BTreeSet::new();
            let mut written = BTreeMap::new();
            for (i, (first, more)) in runs.into_iter().enumerate() {
                let new = (first..=first + more).filter(|i| set.insert(*i)).count() as u64;
                prop_assert_eq!(ledger.insert(&log, first, first + more), new);
                if i % 3 == 0 {
                    continue;
                }
                for change in ledger.changes() {
                    match change.last {
                        Some(last) => written.insert(change.first, last),
                        None => written.remove(&change.first),
                    };
                }
                ledger.saved();
                prop_assert_eq!(&written, &ledger.logs[&log].ranges, "changes alone make the whole");
            }
            let ranges = &ledger.logs[&log];
            for index in 0..80 {
                prop_assert_eq!(ranges.contains(index), set.contains(&index));
            }
            prop_assert_eq!(ranges.first(), set.first().copied());
            prop_assert_eq!(ranges.last(), set.last().copied());
            let span = set.last().unwrap() - set.first().unwrap() + 1;
            prop_assert_eq!(ranges.missing(), span - set.len() as u64);
            let touching = ranges.ranges.iter().zip(ranges.ranges.iter().skip(1));
            for ((_, end), (start, _)) in touching {
                prop_assert!(end + 1 < *start, "ranges touch");
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_line() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.insert(u64::MAX, u64::MAX), 1);
        assert_eq!(ranges.insert(0, u64::MAX), u64::MAX - 1);
        assert_eq!(ranges.insert(u64::MAX, u64::MAX), 0);
        assert_eq!((ranges.first(), ranges.last(), ranges.missing()), (Some(0), Some(u64::MAX), 0));
    }

    #[test]
    fn bounds_hold() {
        let mut ledger = Ledger::default();
        for log in 0..MAX_LOGS + 5 {
            assert_eq!(ledger.insert(&format!("log-{log}").into(), 0, 0), 1);
        }
        assert_eq!(ledger.logs().count(), MAX_LOGS);
        let mut ranges = Ranges::default();
        for i in 0..MAX_RANGES as u64 + 10 {
            ranges.insert(2 * i, 2 * i);
        }
        assert_eq!(ranges.ranges.len(), MAX_RANGES);
        assert_eq!(ranges.first(), Some(20));
    }
}
