//! The account's thread: the one owner of the account and of the publisher.
//!
//! A plain thread that may wait for a disk; feeds never wait for it. It takes batches, reports and news
//! in the order in which they come, offers records to the publisher, commits about once a second, and
//! after every turn publishes its counts to the metrics in one step, so that a scrape sees no half of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};

use super::intake::{Queue, Taken};
use crate::account::evidence::Place;
use crate::account::{Account, Journal, JournalError, SHED};
use crate::clock;
use crate::entry::Timestamp;
use crate::metrics::Metrics;
use crate::publish::{Ended, Full, Publisher};
use crate::record::value::HealthDetail;
use crate::record::{Health, HealthKind, Report};
use crate::sieve::{Batch, Origin};

/// Done on the account's thread, with the time of then.
pub type Question = Box<dyn FnOnce(&mut Account, Timestamp) + Send>;

/// What reaches the account's thread.
pub enum Event {
    /// Of a worker; `size` is what it holds of the queue.
    Batch { batch: Box<Batch>, size: Taken },
    /// Of the publisher.
    Report(Report),
    /// For the health topic.
    Say(Health),
    /// Another watch list judges.
    ListChanged { version: String, message: String },
    /// Another way out: of a changed configuration.
    Publisher(Box<dyn Publisher>),
    /// Something is asked of the account.
    Ask(Question),
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

/// What goes on being lost is said on the log so often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// A record that has waited for its report so long is made durable at once. Kafka's usual answer is
/// sooner, so that in normal running next to nothing is written.
const SAVE_AFTER: Duration = Duration::from_millis(50);
/// A journal that refused a commit is asked again so soon.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const TEND_EVERY: Duration = Duration::from_millis(200);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);
/// With the publisher full, how soon it is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// Reports that are on their way at the end are waited for so long.
const LAST: Duration = Duration::from_secs(1);
/// Events taken in one turn before the counts are published.
const TURN: usize = 64;

pub struct Desk {
    pub account: Account,
    pub publisher: Box<dyn Publisher>,
    pub journal: Box<dyn Journal>,
    pub metrics: Arc<Metrics>,
    pub queue: Queue,
    pub complained: Complained,
    /// Where single entries are asked for.
    pub wanted: Option<UnboundedSender<Place>>,
    /// Batches of recordings, which wait where a live feed's would be shed; bounded as the queue is.
    pub held: VecDeque<(Box<Batch>, Taken)>,
    /// Since when the journal takes no commit, and whether it was said.
    pub refused: Option<Refusal>,
}

/// The journal takes no commit.
#[derive(Clone, Copy)]
pub struct Refusal {
    tried: Instant,
    said: Instant,
    reason: &'static str,
}

/// What of it was said on the log, and when.
#[derive(Clone, Copy, Default)]
pub struct Complained {
    at: Option<Instant>,
    shed: u64,
    rejected: u64,
    /// Shed before the account, as far as it is said on the health topic.
    early: u64,
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
            let pause = if full { RETRY_AFTER } else { TEND_EVERY.min(self.due().unwrap_or(TEND_EVERY)) };
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
            in_flight += self.take_held();
            if beaten.elapsed() >= HEARTBEAT_EVERY {
                beaten = Instant::now();
                let message = "certsieve is at work".to_owned();
                self.say(HealthKind::Heartbeat, message);
            }
            if tended.elapsed() >= TEND_EVERY {
                tended = Instant::now();
                self.publisher.tend();
            }
            if committed.elapsed() >= COMMIT_EVERY || self.due() == Some(Duration::ZERO) {
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
                if (self.account.outbox().is_empty() && self.held.is_empty()) || late {
                    return self.farewell(&events);
                }
            }
        }
    }

    /// Takes one event in; returns how many messages are no longer in flight.
    fn event(&mut self, event: Event) -> u64 {
        match event {
            Event::Batch { batch, size } if self.waits(&batch) => {
                self.held.push_back((batch, size));
                0
            }
            Event::Batch { batch, size } => self.admit(*batch, size),
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
                info!("the Kafka settings changed: records go to {} anew", self.publisher.way());
                0
            }
            Event::Ask(what) => {
                what(&mut self.account, clock::now());
                0
            }
            Event::Finish { .. } => 0,
        }
    }

    fn admit(&mut self, batch: Batch, size: Taken) -> u64 {
        let messages = batch.tally.messages();
        self.metrics.samples(&batch.tally);
        for canary in self.account.sighted(&batch.tally.sightings) {
            info!("canary {canary} is back: it was seen again");
        }
        self.account.admit(batch, clock::now());
        self.queue.give(size);
        if let Some(wanted) = &self.wanted {
            // Who reads logs may have ended before.
            self.account.wanted().into_iter().for_each(|place| drop(wanted.send(place)));
        }
        messages
    }

    /// Whether a batch is a recording's that has to wait: with the outbox full its findings would be shed,
    /// and nobody sends them again.
    fn waits(&self, batch: &Batch) -> bool {
        batch.position.origin == Origin::Recording
            && (!self.held.is_empty() || self.account.outbox().is_full())
    }

    /// Takes in what waited, while there is room for it.
    fn take_held(&mut self) -> u64 {
        let mut messages = 0;
        while !self.account.outbox().is_full()
            && let Some((batch, size)) = self.held.pop_front()
        {
            messages += self.admit(*batch, size);
        }
        messages
    }

    /// Hands records over while they are taken, with what lies in the journal behind those in memory. True
    /// when some are left.
    fn offer(&mut self) -> bool {
        loop {
            while let Some(record) = self.account.next() {
                match self.publisher.publish(record) {
                    Ok(()) => self.account.taken(),
                    Err(Full) => return true,
                }
            }
            let Some((from, bytes)) = self.account.wants() else { return false };
            match self.journal.records(from, bytes) {
                Ok(records) => self.account.loaded(records),
                Err(error) => {
                    self.refuse(&error);
                    return true;
                }
            }
        }
    }

    /// How soon the next commit is due for a record that waits; `None` when none does, or the journal
    /// refuses for now.
    fn due(&self) -> Option<Duration> {
        if self.refused.is_some_and(|refusal| refusal.tried.elapsed() < ASK_AGAIN) {
            return None;
        }
        let waited = clock::now().millis_since(self.account.oldest_unsaved()?);
        Some(SAVE_AFTER.saturating_sub(Duration::from_millis(waited.max(0) as u64)))
    }

    fn say(&mut self, kind: HealthKind, message: String) {
        self.account.say(Health { kind, message, detail: HealthDetail::default() }, clock::now());
    }

    /// Says what was lost on the way: on the log at most once a minute.
    fn complain(&mut self) {
        let early = self.metrics.shed_early();
        if early > self.complained.early {
            let detail =
                HealthDetail { count: Some(early - self.complained.early), ..HealthDetail::default() };
            self.complained.early = early;
            let message = SHED.to_owned();
            self.account.say(Health { kind: HealthKind::InternalError, message, detail }, clock::now());
        }
        let counts = self.account.counts();
        let (shed, rejected) = (counts.shed + early, counts.rejected.iter().flatten().sum());
        let Complained { shed: shed_before, rejected: rejected_before, .. } = self.complained;
        let recent = self.complained.at.is_some_and(|at| at.elapsed() < COMPLAIN_EVERY);
        if recent || (shed, rejected) == (shed_before, rejected_before) {
            return;
        }
        if shed > shed_before {
            let messages = shed - shed_before;
            let way = self.publisher.way();
            warn!(messages, "messages were shed: records wait for {way}, or the machine does not keep up");
        }
        if rejected > rejected_before {
            let records = rejected - rejected_before;
            warn!(records, "Kafka refused records for themselves: see record-rejected on the health topic");
        }
        self.complained = Complained { at: Some(Instant::now()), shed, rejected, early };
    }

    /// Says which canaries are missing.
    fn miss_canaries(&mut self) {
        let now = clock::now();
        for health in self.account.missing_canaries(now) {
            warn!("{}", health.message);
            self.account.say(health, now);
        }
    }

    fn commit(&mut self) {
        self.complain();
        self.miss_canaries();
        let commit = self.account.commit(clock::now());
        let started = Instant::now();
        match self.journal.commit(&commit) {
            Ok(()) => {
                self.account.saved();
                if self.refused.take().is_some() {
                    info!("the state takes commits again");
                    self.metrics.state_problem_is(None);
                }
            }
            Err(error) => return self.refuse(&error),
        }
        self.metrics.committed(started.elapsed());
        if self.account.outbox().is_empty() {
            self.journal.rest();
        }
        self.metrics.state_size(self.journal.size());
    }

    /// The journal refuses: said at once, and again once a minute.
    fn refuse(&mut self, error: &JournalError) {
        self.metrics.state_failed(error);
        let now = Instant::now();
        let said = self.refused.filter(|before| before.reason == error.reason()).map(|before| before.said);
        if said.is_none_or(|said| said.elapsed() >= COMPLAIN_EVERY) {
            error!("the state is not written: {error}");
            self.say(HealthKind::InternalError, format!("the state is not written: {error}"));
        }
        let said = said.filter(|said| said.elapsed() < COMPLAIN_EVERY).unwrap_or(now);
        self.refused = Some(Refusal { tried: now, said, reason: error.reason() });
    }

    fn publish_counts(&mut self, in_flight: u64) {
        self.metrics.settle(in_flight, self.account.counts());
    }

    fn farewell(mut self, events: &Receiver<Event>) -> Farewell {
        self.offer();
        self.publisher.flush(LAST);
        let mut in_flight = 0;
        while let Ok(event) = events.try_recv() {
            in_flight += self.event(event);
        }
        // What a recording still had goes as a live feed's would.
        for (batch, size) in std::mem::take(&mut self.held) {
            in_flight += self.admit(*batch, size);
        }
        self.commit();
        let undelivered = self.account.outbox().len() as u64;
        self.publish_counts(in_flight);
        if undelivered > 0 {
            let way = self.publisher.way();
            error!("{undelivered} records were not delivered to {way} before the stop");
        }
        Farewell { undelivered, ended: None }
    }
}
