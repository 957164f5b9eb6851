//! Records that Kafka has not confirmed, in the order of their numbers.
//!
//! A record stays here from its numbering to its settling report, whatever the publisher does with it
//! meanwhile, so that a producer can be thrown away at any moment. In memory it is bounded by
//! [`Bounds::memory`]; what is durable and not yet with the publisher may be left to the store alone, up to
//! [`Bounds::store`], and comes back in order as room is made. Above both findings are shed before they
//! become records.
//!
//! By number, the records lie so: with the publisher or ready for it, then those that the store alone
//! has, then those that no commit has covered yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::entry::Timestamp;
use crate::record::{Record, Topic};

/// How much may wait, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// In memory.
    pub memory: usize,
    /// In the store, beside it; 0 where there is none.
    pub store: usize,
}

/// What waits for its report.
#[derive(Debug)]
pub struct Outbox {
    records: BTreeMap<u64, Arc<Held>>,
    /// Of `records`, those not with the publisher: new, refused for want of room, or returned.
    waiting: VecDeque<u64>,
    /// Bytes of `records`.
    memory: usize,
    stored: Stored,
    /// Every record up to this number is settled or in the store.
    durable: u64,
    bounds: Bounds,
    pending: [u64; Topic::ALL.len()],
}

/// Pending records of which the store alone has the text.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stored {
    /// They have numbers from here on, up to the last durable one.
    pub from: u64,
    /// By topic.
    pub records: [u64; Topic::ALL.len()],
    pub bytes: usize,
    /// None of them was numbered before.
    pub oldest: Option<Timestamp>,
}

impl Stored {
    pub fn len(&self) -> u64 {
        self.records.iter().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A record and what is asked of it when it settles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    pub record: Record,
    /// The log's time of its entry.
    pub log_time: Option<Timestamp>,
}

impl Outbox {
    pub fn new(bounds: Bounds) -> Outbox {
        Outbox {
            records: BTreeMap::new(),
            waiting: VecDeque::new(),
            memory: 0,
            stored: Stored::default(),
            durable: 0,
            bounds,
            pending: [0; 4],
        }
    }

    /// Goes on with what a store holds; numbers up to `durable` were given out.
    pub fn resume(&mut self, stored: Stored, durable: u64) {
        self.pending = stored.records;
        self.stored = stored;
        self.durable = durable;
    }

    pub fn push(&mut self, record: Record, log_time: Option<Timestamp>) {
        self.memory += record.size();
        self.pending[record.topic as usize] += 1;
        self.waiting.push_back(record.sequence);
        self.records.insert(record.sequence, Arc::new(Held { record, log_time }));
    }

    /// The next record for the publisher; none while older ones have to come from the store.
    pub fn next(&self) -> Option<&Record> {
        let first = *self.waiting.front()?;
        let behind = !self.stored.is_empty() && first >= self.stored.from;
        self.records.get(&first).filter(|_| !behind).map(|held| &held.record)
    }

    /// The publisher took [`next`](Outbox::next).
    pub fn taken(&mut self) {
        self.waiting.pop_front();
    }

    /// The publisher gave it back: it is handed over again, in front of what is newer.
    pub fn returned(&mut self, sequence: u64) -> bool {
        if !self.records.contains_key(&sequence) {
            return false;
        }
        self.wait(sequence);
        true
    }

    fn wait(&mut self, sequence: u64) {
        let at = self.waiting.partition_point(|waiting| *waiting < sequence);
        if self.waiting.get(at) != Some(&sequence) {
            self.waiting.insert(at, sequence);
        }
    }

    /// It has its final report.
    pub fn settle(&mut self, sequence: u64) -> Option<Arc<Held>> {
        let held = self.records.remove(&sequence)?;
        // Returned, and then reported all the same: it must not hold up what stands behind it.
        if let Ok(at) = self.waiting.binary_search(&sequence) {
            self.waiting.remove(at);
        }
        self.memory -= held.record.size();
        self.pending[held.record.topic as usize] -= 1;
        Some(held)
    }

    /// Whether the store has it, so that it is deleted there when it settles.
    pub fn is_durable(&self, sequence: u64) -> bool {
        sequence <= self.durable
    }

    /// Pending records that no commit has covered yet.
    pub fn unsaved(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.records.range(self.durable + 1..).map(|(_, held)| held)
    }

    /// A commit covers every record up to this number. What memory has no room for is left to the store.
    pub fn saved(&mut self, sequence: u64) {
        let fresh = self.durable + 1;
        self.durable = sequence;
        if self.bounds.store == 0 {
            return;
        }
        // While the store has older ones, newer ones wait behind them there.
        let queued = !self.stored.is_empty();
        while let Some(last) = self.waiting.back().copied() {
            let newest = self.records.last_key_value().is_some_and(|(newest, _)| *newest == last);
            let leaves = (queued && last >= fresh) || self.memory > self.bounds.memory / 2;
            if !newest || !leaves {
                break;
            }
            let Some(held) = self.records.remove(&last) else { break };
            self.waiting.pop_back();
            let size = held.record.size();
            self.memory -= size;
            let stored = &mut self.stored;
            stored.from = if stored.is_empty() { last } else { stored.from.min(last) };
            stored.oldest = Some(stored.oldest.map_or(held.record.at, |at| at.min(held.record.at)));
            stored.records[held.record.topic as usize] += 1;
            stored.bytes += size;
        }
    }

    /// From which number on how many bytes are to be read back: there is room, and the store alone has some.
    pub fn wants(&self) -> Option<(u64, usize)> {
        let share = self.bounds.memory / 4;
        let ready = self.waiting.front().is_some_and(|first| *first < self.stored.from);
        (!self.stored.is_empty() && !ready && self.memory <= self.bounds.memory / 2)
            .then_some((self.stored.from, share.max(1)))
    }

    /// Takes what was read back, in order. Nothing read means that the store has none of them any more,
    /// which only a damaged one does: they are returned, by topic, and pending no longer.
    pub fn loaded(&mut self, records: Vec<Held>) -> [u64; Topic::ALL.len()] {
        if records.is_empty() {
            let gone = std::mem::take(&mut self.stored).records;
            self.pending.iter_mut().zip(gone).for_each(|(pending, gone)| *pending -= gone);
            return gone;
        }
        for held in records {
            let size = held.record.size();
            let sequence = held.record.sequence;
            let of_topic = &mut self.stored.records[held.record.topic as usize];
            *of_topic = of_topic.saturating_sub(1);
            self.stored.bytes = self.stored.bytes.saturating_sub(size);
            self.stored.from = sequence + 1;
            self.stored.oldest = Some(held.record.at);
            self.memory += size;
            self.records.insert(sequence, Arc::new(held));
            self.wait(sequence);
        }
        [0; Topic::ALL.len()]
    }

    /// Memory is full of what cannot be left to the store, or the store is full too.
    pub fn is_full(&self) -> bool {
        self.memory >= self.bounds.memory || self.bytes() >= self.limit()
    }

    /// Of all that is pending.
    pub fn bytes(&self) -> usize {
        self.memory + self.stored.bytes
    }

    pub fn limit(&self) -> usize {
        self.bounds.memory.max(self.bounds.store)
    }

    pub fn len(&self) -> usize {
        self.records.len() + self.stored.len() as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records of a topic.
    pub fn pending(&self, topic: Topic) -> u64 {
        self.pending[topic as usize]
    }

    /// When the oldest was numbered.
    pub fn oldest(&self) -> Option<Timestamp> {
        let in_memory = self.records.first_key_value().map(|(_, held)| held.record.at);
        let stored = self.stored.oldest.filter(|_| !self.stored.is_empty());
        in_memory.into_iter().chain(stored).min()
    }

    /// When the oldest that no commit covers was numbered.
    pub fn oldest_unsaved(&self) -> Option<Timestamp> {
        self.unsaved().next().map(|held| held.record.at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn record(sequence: u64) -> Record {
        Record {
            sequence,
            topic: Topic::Match,
            key: "k".to_owned(),
            headers: Vec::new(),
            value: vec![0; 100],
            at: Timestamp(sequence as i64),
        }
    }

    fn held(sequence: u64) -> Held {
        Held { record: record(sequence), log_time: None }
    }

    #[test]
    fn a_record_stays_until_it_is_settled() {
        let mut outbox = Outbox::new(Bounds { memory: 700, store: 0 });
        for sequence in 1..=3 {
            outbox.push(record(sequence), None);
        }
        assert!(!outbox.is_full());
        for want in [1, 2, 3] {
            assert_eq!(outbox.next().map(|r| r.sequence), Some(want));
            outbox.taken();
        }
        assert_eq!(outbox.next(), None);
        assert!(outbox.returned(2) && outbox.returned(1) && outbox.returned(2));
        assert_eq!(outbox.next().map(|r| r.sequence), Some(1), "in the order of numbers, each once");
        outbox.push(record(4), None);
        assert!(outbox.is_full());
        assert_eq!(outbox.settle(3).map(|h| h.record.sequence), Some(3));
        assert!(outbox.settle(3).is_none());
        assert!(!outbox.returned(3), "a settled record is not handed over again");
        assert_eq!((outbox.len(), outbox.pending(Topic::Match)), (3, 3));
        assert!(outbox.settle(1).is_some(), "returned, and reported all the same");
        assert_eq!(outbox.next().map(|r| r.sequence), Some(2), "what stands behind it goes on");
        assert_eq!(outbox.oldest(), Some(Timestamp(2)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Offer,
        Settle(usize),
        Return(usize),
        Save,
        Load(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            3 => Just(Step::Offer),
            2 => any::<usize>().prop_map(Step::Settle),
            1 => any::<usize>().prop_map(Step::Return),
            2 => Just(Step::Save),
            2 => (1usize..5).prop_map(Step::Load),
        ]
    }

    proptest! {
        /// With a store beside it that holds what commits cover: nothing is lost or handed over twice,
        /// what was never returned comes in the order of numbers, and memory keeps its bound.
        #[test]
        fn what_is_left_to_the_store_comes_back(
            steps in proptest::collection::vec(step(), 1..200),
            memory in 1usize..12,
        ) {
            let size = record(1).size();
            let bounds = Bounds { memory: memory * size, store: 40 * size };
            let mut outbox = Outbox::new(bounds);
            let mut last = 0;
            let mut store: BTreeSet<u64> = BTreeSet::new();
            let mut pending: BTreeSet<u64> = BTreeSet::new();
            let mut with_publisher: BTreeSet<u64> = BTreeSet::new();
            let mut newest_offered = 0;
            let mut returned: BTreeSet<u64> = BTreeSet::new();
            for step in steps.into_iter().chain([Step::Save]) {
                match step {
                    Step::Push => {
                        if outbox.is_full() {
                            continue;
                        }
                        last += 1;
                        outbox.push(record(last), None);
                        pending.insert(last);
                    }
                    Step::Offer => {
                        let Some(next) = outbox.next().map(|r| r.sequence) else { continue };
                        outbox.taken();
                        prop_assert!(pending.contains(&next) && with_publisher.insert(next), "twice: {}", next);
                        prop_assert!(next > newest_offered || returned.remove(&next), "out of order: {}", next);
                        newest_offered = newest_offered.max(next);
                    }
                    Step::Settle(which) if !with_publisher.is_empty() => {
                        let sequence = *with_publisher.iter().nth(which % with_publisher.len()).unwrap();
                        prop_assert!(outbox.settle(sequence).is_some());
                        with_publisher.remove(&sequence);
                        pending.remove(&sequence);
                        if outbox.is_durable(sequence) {
                            prop_assert!(store.remove(&sequence));
                        }
                    }
                    Step::Return(which) if !with_publisher.is_empty() => {
                        let sequence = *with_publisher.iter().nth(which % with_publisher.len()).unwrap();
                        prop_assert!(outbox.returned(sequence));
                        with_publisher.remove(&sequence);
                        returned.insert(sequence);
                    }
                    Step::Save => {
                        store.extend(outbox.unsaved().map(|held| held.record.sequence));
                        outbox.saved(last);
                        prop_assert_eq!(&store, &pending, "a commit covers what is pending");
                        prop_assert_eq!(outbox.unsaved().count(), 0);
                    }
                    Step::Load(most) => {
                        let Some((from, _)) = outbox.wants() else { continue };
                        let rows: Vec<Held> = store.range(from..).take(most).map(|s| held(*s)).collect();
                        prop_assert!(!rows.is_empty());
                        prop_assert_eq!(outbox.loaded(rows), [0; 4]);
                    }
                    Step::Settle(_) | Step::Return(_) => {}
                }
                prop_assert_eq!(outbox.len(), pending.len());
                prop_assert_eq!(outbox.pending(Topic::Match), pending.len() as u64);
                prop_assert_eq!(outbox.bytes(), pending.len() * size);
                let oldest = pending.first().map(|first| Timestamp(*first as i64));
                prop_assert!(outbox.oldest() <= oldest && outbox.oldest().is_some() == oldest.is_some());
                // What came back from the store may stand beside what just came in.
                prop_assert!(outbox.memory <= bounds.memory + 5 * size, "{} in memory", outbox.memory);
            }
            // The rest comes out, whole.
            while !outbox.is_empty() {
                while let Some(next) = outbox.next().map(|r| r.sequence) {
                    outbox.taken();
                    prop_assert!(with_publisher.insert(next));
                }
                for sequence in std::mem::take(&mut with_publisher) {
                    prop_assert!(outbox.settle(sequence).is_some());
                    prop_assert!(pending.remove(&sequence));
                    store.remove(&sequence);
                }
                if let Some((from, _)) = outbox.wants() {
                    let rows: Vec<Held> = store.range(from..).take(3).map(|s| held(*s)).collect();
                    prop_assert_eq!(outbox.loaded(rows), [0; 4]);
                }
            }
            prop_assert!(pending.is_empty());
        }
    }
}
