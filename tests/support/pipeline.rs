//! Sieve and account without threads, sockets or a clock: messages in, records out.

use std::sync::Arc;

use certsieve::account::{Account, Bounds};
use certsieve::entry::Timestamp;
use certsieve::record::{Arrival, Composer, Outcome, Record, Report, Topic};
use certsieve::sieve::{Batch, Position, Scratch, Sieve, Source};
use certsieve::watch::{Matcher, WatchList};
use serde_json::Value;

/// The clock of every test stands here: 2026-11-25T09:30:02.412Z.
pub const NOW: Timestamp = Timestamp(1_795_599_002_412);

pub fn matcher(list: &str) -> Matcher {
    let read = WatchList::parse("watchlist.toml", list.as_bytes(), &mut |_| Err("no files".to_owned()));
    let list = read.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    Matcher::new(list).expect("few keywords")
}

/// A pipeline of one worker.
pub struct Bench {
    pub sieve: Sieve,
    pub account: Account,
    pub scratch: Scratch,
    pub now: Timestamp,
}

/// A record and its value.
pub struct Out {
    pub record: Record,
    pub value: Value,
}

impl Out {
    pub fn topic(&self) -> Topic {
        self.record.topic
    }

    /// The text at a JSON pointer; empty when there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn texts(&self, pointer: &str) -> Vec<&str> {
        let list = self.value.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub fn id(&self) -> &str {
        self.text("/event/id")
    }
}

impl Bench {
    pub fn new(list: &str) -> Bench {
        Bench::with_outbox(list, usize::MAX)
    }

    pub fn with_outbox(list: &str, limit: usize) -> Bench {
        let matcher = matcher(list);
        let version = matcher.list().version.clone();
        Bench {
            sieve: Sieve::new(matcher),
            account: Account::new(
                Composer::new("ctmon-a", "certsieve"),
                Bounds { memory: limit, store: 0 },
                &version,
            ),
            scratch: Scratch::default(),
            now: NOW,
        }
    }

    /// Sifts messages into one batch, as they come in from `feed`.
    pub fn sift<M: AsRef<[u8]>>(&mut self, feed: &str, live: bool, messages: &[M]) -> Batch {
        let feed: Arc<str> = feed.into();
        let mut batch = Batch::new(Position { feed: feed.clone(), live });
        let arrival = Arrival { feed, received: Timestamp(self.now.0 - 11) };
        for message in messages {
            let source = Source::Message(message.as_ref());
            self.sieve.sift(source, &arrival, &mut self.scratch, &mut batch).expect("a stream that fits");
        }
        batch
    }

    /// Sifts one message, whether or not the stream fits the list.
    pub fn sift_any(&mut self, message: &[u8]) -> Batch {
        let feed: Arc<str> = "eu-1".into();
        let mut batch = Batch::new(Position { feed: feed.clone(), live: true });
        let arrival = Arrival { feed, received: self.now };
        // A list of names does not fit one with networks; it is counted all the same.
        let _ = self.sieve.sift(Source::Message(message), &arrival, &mut self.scratch, &mut batch);
        batch
    }

    /// Takes messages of one live feed in, and gives the records, delivered.
    pub fn take<M: AsRef<[u8]>>(&mut self, messages: &[M]) -> Vec<Out> {
        let batch = self.sift("eu-1", true, messages);
        self.account.admit(batch, self.now);
        self.deliver()
    }

    /// Every record that waits, delivered.
    pub fn deliver(&mut self) -> Vec<Out> {
        let mut all = Vec::new();
        while let Some(record) = self.account.next().cloned() {
            self.account.taken();
            let at = self.now;
            self.account.settle(Report { sequence: record.sequence, outcome: Outcome::Delivered, at });
            let value = serde_json::from_slice(&record.value).expect("a value is JSON");
            all.push(Out { record, value });
        }
        all
    }
}

/// Those of one topic.
pub fn of(records: &[Out], topic: Topic) -> Vec<&Out> {
    records.iter().filter(|out| out.topic() == topic).collect()
}
