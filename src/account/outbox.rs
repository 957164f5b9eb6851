//! Records that Kafka has not confirmed, in the order of their numbers.
//!
//! A record stays here from its numbering to its settling report, whatever the publisher does with it
//! meanwhile, so that a producer can be thrown away at any moment. Bounded in bytes: above the limit
//! findings are shed before they become records.

use std::collections::{BTreeMap, VecDeque};

use crate::entry::Timestamp;
use crate::record::{Record, Topic};

/// What waits for its report.
#[derive(Debug)]
pub struct Outbox {
    records: BTreeMap<u64, Held>,
    /// Not with the publisher: new, refused for want of room, or returned.
    waiting: VecDeque<u64>,
    bytes: usize,
    limit: usize,
    pending: [u64; Topic::ALL.len()],
}

/// A record and what is asked of it when it settles.
#[derive(Debug)]
pub struct Held {
    pub record: Record,
    /// The log's time of its entry.
    pub log_time: Option<Timestamp>,
}

impl Outbox {
    pub fn new(limit: usize) -> Outbox {
        Outbox { records: BTreeMap::new(), waiting: VecDeque::new(), bytes: 0, limit, pending: [0; 4] }
    }

    pub fn push(&mut self, record: Record, log_time: Option<Timestamp>) {
        self.bytes += record.size();
        self.pending[record.topic as usize] += 1;
        self.waiting.push_back(record.sequence);
        self.records.insert(record.sequence, Held { record, log_time });
    }

    /// The next record for the publisher.
    pub fn next(&self) -> Option<&Record> {
        self.records.get(self.waiting.front()?).map(|held| &held.record)
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
        let at = self.waiting.partition_point(|waiting| *waiting < sequence);
        if self.waiting.get(at) != Some(&sequence) {
            self.waiting.insert(at, sequence);
        }
        true
    }

    /// It has its final report.
    pub fn settle(&mut self, sequence: u64) -> Option<Held> {
        let held = self.records.remove(&sequence)?;
        // Returned, and then reported all the same: it must not hold up what stands behind it.
        if let Ok(at) = self.waiting.binary_search(&sequence) {
            self.waiting.remove(at);
        }
        self.bytes -= held.record.size();
        self.pending[held.record.topic as usize] -= 1;
        Some(held)
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Records of a topic.
    pub fn pending(&self, topic: Topic) -> u64 {
        self.pending[topic as usize]
    }

    /// When the oldest was numbered.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.records.first_key_value().map(|(_, held)| held.record.at)
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_record_stays_until_it_is_settled() {
        let mut outbox = Outbox::new(700);
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
}
