//! Pure: the records that Kafka has been handed and nobody has heard of yet.
//!
//! Every record taken gets exactly one report, whatever becomes of the producer it was handed to:
//! the report belongs to whoever removes the record from here, and a removed record is not found
//! twice. A late word of a producer that was given up is therefore ignored.
//!
//! What comes back is held for a moment before it is reported as returned, so that a topic without
//! rights costs one try a second and not one every few milliseconds. What a batch was refused for
//! waits here, with its content, to be sent alone.
//!
//! Bounds: [`MAX_RECORDS`] and [`MAX_BYTES`], over everything taken and not yet reported.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::record::{Record, Topic};

/// Records taken and not yet reported.
pub const MAX_RECORDS: usize = 100_000;

/// Bytes of these. Two seconds of the largest flood that the account would make, and a sixteenth of
/// what librdkafka would take by default.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// How long what came back is held.
pub const HOLD: Duration = Duration::from_secs(1);

/// Names one handing-over of one record; never used twice.
pub type Token = usize;

/// Names one producer; never used twice.
pub type Lane = u64;

/// Handed to no producer now: waits to be sent alone.
const WAITING: Lane = 0;

/// The table. `M` is a message with its content.
pub struct Outstanding<M> {
    next: Token,
    attempts: HashMap<Token, Attempt>,
    bytes: usize,
    alone: VecDeque<(Token, M)>,
    /// Sequences that came back, and when to say so.
    returned: VecDeque<(Instant, u64)>,
}

/// One record on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub sequence: u64,
    pub topic: Topic,
    lane: Lane,
    size: usize,
    since: Instant,
}

impl<M> Outstanding<M> {
    pub fn new() -> Outstanding<M> {
        Outstanding {
            next: 1,
            attempts: HashMap::new(),
            bytes: 0,
            alone: VecDeque::new(),
            returned: VecDeque::new(),
        }
    }

    /// Notes a record that is about to be handed to the producer `lane`; `None` when there is no room.
    pub fn take(&mut self, record: &Record, lane: Lane, now: Instant) -> Option<Token> {
        let size = record.size();
        // One record always fits: a bound must not make a record undeliverable.
        let full = self.bytes + size > MAX_BYTES && self.bytes > 0;
        if full || self.len() >= MAX_RECORDS {
            return None;
        }
        let token = self.next;
        self.next += 1;
        self.bytes += size;
        let attempt = Attempt { sequence: record.sequence, topic: record.topic, lane, size, since: now };
        self.attempts.insert(token, attempt);
        Some(token)
    }

    /// Removes a record whose fate is known; `None` when that was known before.
    pub fn settle(&mut self, token: Token) -> Option<Attempt> {
        let attempt = self.attempts.remove(&token)?;
        self.bytes -= attempt.size;
        Some(attempt)
    }

    /// Takes back a record; [`Outstanding::due`] says so a moment later.
    pub fn give_back(&mut self, token: Token, now: Instant) -> Option<Attempt> {
        let attempt = self.settle(token)?;
        self.returned.push_back((now + HOLD, attempt.sequence));
        Some(attempt)
    }

    /// Keeps a record, with its content, to be sent alone.
    pub fn set_aside(&mut self, token: Token, message: M) {
        if let Some(attempt) = self.attempts.get_mut(&token) {
            attempt.lane = WAITING;
            self.alone.push_back((token, message));
        }
    }

    /// The next record to send alone, by the producer `lane`.
    pub fn next_alone(&mut self, lane: Lane, now: Instant) -> Option<(Token, M)> {
        let (token, message) = self.alone.pop_front()?;
        if let Some(attempt) = self.attempts.get_mut(&token) {
            attempt.lane = lane;
            attempt.since = now;
        }
        Some((token, message))
    }

    /// Puts it back in front, when the producer had no room.
    pub fn not_yet_alone(&mut self, token: Token, message: M) {
        if let Some(attempt) = self.attempts.get_mut(&token) {
            attempt.lane = WAITING;
            self.alone.push_front((token, message));
        }
    }

    pub fn any_alone(&self) -> bool {
        !self.alone.is_empty()
    }

    /// Takes back all that was handed to a producer which is no more.
    pub fn abandon(&mut self, lane: Lane, now: Instant) {
        let mut tokens: Vec<_> =
            self.attempts.iter().filter(|(_, a)| a.lane == lane).map(|(t, _)| *t).collect();
        tokens.sort_unstable();
        for token in &tokens {
            self.give_back(*token, now);
        }
    }

    /// The sequences whose return is to be said by now.
    pub fn due(&mut self, now: Instant) -> Vec<u64> {
        let ready = self.returned.partition_point(|(at, _)| *at <= now);
        self.returned.drain(..ready).map(|(_, sequence)| sequence).collect()
    }

    /// Every sequence that is left, in order; nothing is outstanding afterwards.
    pub fn drain(&mut self) -> Vec<u64> {
        let mut left: Vec<_> = self.returned.drain(..).map(|(_, sequence)| sequence).collect();
        left.extend(self.attempts.drain().map(|(_, attempt)| attempt.sequence));
        left.sort_unstable();
        self.alone.clear();
        self.bytes = 0;
        left
    }

    /// Since when the oldest record of a topic has been with the producer `lane`.
    pub fn oldest(&self, topic: Topic, lane: Lane) -> Option<Instant> {
        self.attempts.values().filter(|a| a.topic == topic && a.lane == lane).map(|a| a.since).min()
    }

    pub fn any_in(&self, lane: Lane) -> bool {
        self.attempts.values().any(|a| a.lane == lane)
    }

    pub fn len(&self) -> usize {
        self.attempts.len() + self.returned.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Timestamp;

    fn record(sequence: u64, bytes: usize) -> Record {
        Record {
            sequence,
            topic: Topic::Match,
            key: String::new(),
            headers: Vec::new(),
            value: vec![b' '; bytes],
            at: Timestamp(0),
        }
    }

    #[test]
    fn a_record_is_settled_once_whoever_speaks_of_it() {
        let now = Instant::now();
        let mut table = Outstanding::<&str>::new();
        let tokens: Vec<_> = (0..6).map(|n| table.take(&record(n, 10), 1 + n % 2, now).unwrap()).collect();
        // 0, 2, 4 went to lane 1; 1, 3, 5 to lane 2.
        assert_eq!(table.settle(tokens[0]).map(|a| a.sequence), Some(0));
        assert_eq!(table.settle(tokens[0]), None);
        table.set_aside(tokens[2], "two");
        table.abandon(1, now); // what waits to be sent alone belongs to no lane
        assert_eq!(table.settle(tokens[4]), None, "the word of a lane that was given up comes too late");
        assert_eq!(table.due(now), [0u64; 0]);
        assert_eq!(table.due(now + HOLD), [4]);
        assert_eq!(table.next_alone(3, now), Some((tokens[2], "two")));
        assert!(table.any_in(3));
        assert_eq!(table.give_back(tokens[2], now).map(|a| a.sequence), Some(2));
        assert_eq!(table.len(), 4);
        assert_eq!(table.drain(), [1, 2, 3, 5]);
        assert_eq!((table.len(), table.bytes), (0, 0));
        assert_eq!(table.settle(tokens[5]), None);
        table.set_aside(tokens[5], "five");
        assert!(!table.any_alone());
    }

    #[test]
    fn bytes_and_records_are_bounded_and_one_record_always_fits() {
        let now = Instant::now();
        let mut table = Outstanding::<()>::new();
        let large = table.take(&record(0, 2 * MAX_BYTES), 1, now).unwrap();
        assert_eq!(table.take(&record(1, 0), 1, now), None);
        table.give_back(large, now);
        for n in 1..MAX_RECORDS as u64 {
            assert!(table.take(&record(n, 0), 1, now).is_some(), "{n}");
        }
        assert_eq!(table.take(&record(0, 0), 1, now), None, "what came back counts until it is said");
        assert_eq!(table.due(now + HOLD).len(), 1);
        assert!(table.take(&record(0, 0), 1, now).is_some());
    }
}
