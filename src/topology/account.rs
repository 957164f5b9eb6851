//! The account's thread: the one owner of the account and of the publisher.
//!
//! A plain thread that may wait for a disk; feeds never wait for it. It takes batches, reports and news
//! in the order in which they come, offers records to the publisher, commits about once a second, and
//! after every turn publishes its counts to the metrics in one step, so that a scrape sees no half of it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::intake::Queue;
use crate::account::{Account, Journal};
use crate::clock;
use crate::metrics::Metrics;
use crate::publish::{Ended, Full, Publisher};
use crate::record::value::HealthDetail;
use crate::record::{Health, HealthKind, Report};
use crate::sieve::Batch;

/// What reaches the account's thread.
pub enum Event {
    /// Of a worker; `size` is what it holds of the queue.
    Batch { batch: Box<Batch>, size: usize },
    /// Of the publisher.
    Report(Report),
    /// For the health topic.
    Say(Health),
    /// Another watch list judges.
    ListChanged { version: String, message: String },
    /// Another way out: of a changed configuration.
    Publisher(Box<dyn Publisher>),
    /// Every feed has ended: deliver what is left, and stop.
    Finish {
        /// No longer than this; without it, until everything is delivered.
        within: Option<Duration>,
    },
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Farewell {
    /// Records that never got their report.
    pub undelivered: u64,
    pub ended: Option<Ended>,
}

const COMMIT_EVERY: Duration = Duration::from_secs(1);
const TEND_EVERY: Duration = Duration::from_millis(200);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);
/// With the publisher full, how soon it is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// Events taken in one turn before the counts are published.
const TURN: usize = 64;

pub struct Desk {
    pub account: Account,
    pub publisher: Box<dyn Publisher>,
    pub journal: Box<dyn Journal>,
    pub metrics: Arc<Metrics>,
    pub queue: Queue,
}

impl Desk {
    /// Works until [`Event::Finish`], or until the publisher is closed for good.
    pub fn run(mut self, events: Receiver<Event>) -> Farewell {
        let mut committed = Instant::now();
        let mut tended = Instant::now();
        let mut beaten = Instant::now();
        let mut finish: Option<Option<Instant>> = None;
        let mut full = false;
        loop {
            let pause = if full { RETRY_AFTER } else { TEND_EVERY };
            let mut in_flight = 0;
            match events.recv_timeout(pause) {
                Ok(first) => {
                    let more = std::iter::from_fn(|| events.try_recv().ok());
                    for event in std::iter::once(first).chain(more).take(TURN) {
                        if let Event::Finish { within } = event {
                            if finish.is_none() {
                                self.account.finish(clock::now());
                                self.say(HealthKind::Stopped, "certsieve stops".to_owned());
                            }
                            finish = Some(within.map(|within| Instant::now() + within));
                            continue;
                        }
                        in_flight += self.event(event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The queue is part of this desk, so it cannot be gone.
                Err(RecvTimeoutError::Disconnected) => finish = Some(Some(Instant::now())),
            }
            full = self.offer();
            if beaten.elapsed() >= HEARTBEAT_EVERY {
                beaten = Instant::now();
                let message = "certsieve is at work".to_owned();
                self.say(HealthKind::Heartbeat, message);
            }
            if tended.elapsed() >= TEND_EVERY {
                tended = Instant::now();
                self.publisher.tend();
            }
            if committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                self.commit();
            }
            self.publish_counts(in_flight);
            if let Some(ended) = self.publisher.ended() {
                let ended = Some(ended.clone());
                return Farewell { undelivered: self.account.outbox().len() as u64, ended };
            }
            if let Some(deadline) = finish {
                let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if self.account.outbox().is_empty() || late {
                    return self.farewell(&events);
                }
            }
        }
    }

    /// Takes one event in; returns how many messages are no longer in flight.
    fn event(&mut self, event: Event) -> u64 {
        match event {
            Event::Batch { batch, size } => {
                let messages = batch.tally.messages();
                self.metrics.samples(&batch.tally);
                self.account.admit(*batch, clock::now());
                self.queue.give(size);
                messages
            }
            Event::Report(report) => {
                if let Some(settled) = self.account.settle(report) {
                    self.metrics.delivered(settled);
                }
                0
            }
            Event::Say(health) => {
                self.account.say(health, clock::now());
                0
            }
            Event::ListChanged { version, message } => {
                self.account.list_changed(&version);
                self.say(HealthKind::WatchlistLoaded, message);
                0
            }
            Event::Publisher(publisher) => {
                // Dropping the old one returns what it still had, and that is handed to the new one.
                self.publisher = publisher;
                info!("the Kafka settings changed: records go through a new producer");
                0
            }
            Event::Finish { .. } => 0,
        }
    }

    /// Hands records over while they are taken. True when some are left.
    fn offer(&mut self) -> bool {
        while let Some(record) = self.account.next() {
            match self.publisher.publish(record) {
                Ok(()) => self.account.taken(),
                Err(Full) => return true,
            }
        }
        false
    }

    fn say(&mut self, kind: HealthKind, message: String) {
        self.account.say(Health { kind, message, detail: HealthDetail::default() }, clock::now());
    }

    fn commit(&mut self) {
        let commit = self.account.commit(clock::now());
        let started = Instant::now();
        if let Err(reason) = self.journal.commit(&commit) {
            warn!("the state was not written: {reason}");
        }
        self.metrics.committed(started.elapsed());
    }

    fn publish_counts(&mut self, in_flight: u64) {
        let logs = self.account.ledger().logs().count();
        self.metrics.settle(in_flight, self.account.counts(), logs);
    }

    fn farewell(mut self, events: &Receiver<Event>) -> Farewell {
        // Reports that are on their way.
        const LAST: Duration = Duration::from_secs(2);
        self.offer();
        self.publisher.flush(LAST);
        let mut in_flight = 0;
        while let Ok(event) = events.try_recv() {
            in_flight += self.event(event);
        }
        self.commit();
        let undelivered = self.account.outbox().len() as u64;
        self.publish_counts(in_flight);
        if undelivered > 0 {
            error!("{undelivered} records were not delivered to Kafka before the stop");
        }
        Farewell { undelivered, ended: None }
    }
}
