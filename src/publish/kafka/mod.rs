//! Edge: Kafka, through librdkafka. With the demo's broker the only knower of `rdkafka`.
//!
//! Takes numbered records, hands them at once to an idempotent producer, and reports each exactly once:
//! delivered, refused for itself, or returned because what went wrong may pass. Keeping what is returned
//! and handing it over again is the account's work.
//!
//! ```text
//! account ── publish ─► main producer ──────────────► broker
//!    ▲                     │ a batch was refused
//!    │ report              ▼
//!    └──────────────── sent alone, by a second producer: refused again? then it is its own fault
//! ```
//!
//! `publish` and `tend` never wait for the network: a producer is made in milliseconds and taken down on
//! a thread of its own; questions to Kafka (do the topics exist, are they kept well, is anybody there) are
//! the `lookout`'s. A producer that is fatally wrong, or that stands still while all looks well, is
//! replaced, with back-off, and so is one whose handshake fails when its certificate files have changed;
//! what it held comes back and is sent again, with the same id.
//!
//! Bounds: 100,000 records and 32 MiB taken and not yet reported, all held by librdkafka; the table of
//! them beside it costs a hundred bytes a record.

mod cause;
mod check;
mod lookout;
mod meter;
mod outstanding;
mod producing;
mod settings;
mod standing;
#[cfg(test)]
mod tests;
mod topics;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::info;

pub use self::check::{Finding, Level, check};
pub use self::meter::{KafkaMeter, Reason};
pub use self::standing::Status;

use self::lookout::Lookout;
use self::outstanding::Lane;
use self::producing::{Core, Producing};
use self::standing::Trouble;
use super::{Full, Publisher, Reports};
use crate::config::KafkaConfig;
use crate::record::{Record, Topic};

/// First and longest wait before a producer is replaced.
const REBUILD_AFTER: Duration = Duration::from_secs(1);
const REBUILD_AT_MOST: Duration = Duration::from_secs(10);

/// A fatal error is over when its successor has lived for so long.
const SURVIVED: Duration = Duration::from_secs(5);

/// Records that make no way for so long, while Kafka answers and their topic looks well, need another
/// producer. Longer than a request's own time-out of 30 s, or a slow broker would cost repeats.
const STALLED_AFTER: Duration = Duration::from_secs(40);
const STALLED_AT_MOST: Duration = Duration::from_secs(640);

/// The second producer is taken down when it has had nothing to do for so long.
const ALONE_IDLE: Duration = Duration::from_secs(300);

/// What taking down a producer may hold up the end of the program.
const DROP_WITHIN: Duration = Duration::from_secs(3);

/// What the configuration says and librdkafka refuses.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSetupError {
    #[error("[kafka.properties] \"{name}\": {why}")]
    Property { name: String, why: String },
    #[error("[kafka] {0}")]
    Client(String),
    #[error(
        "topic name {0:?} is not one that Kafka takes (at most 249 of a-z, A-Z, 0-9, '.', '_', '-'): change topic_prefix"
    )]
    TopicName(String),
}

/// What librdkafka says against one property, without a connection: nothing is made or asked.
pub fn objection(name: &str, value: &str) -> Option<String> {
    settings::objection(name, value)
}

/// Publishes records to Kafka.
pub struct KafkaPublisher {
    core: Arc<Core>,
    /// `None` between a fatal error and the next try.
    main: Option<Arc<Producing>>,
    alone: Option<Arc<Producing>>,
    alone_used: Instant,
    lanes: Lane,
    rebuild: Backoff,
    stalled: [Backoff; Topic::ALL.len()],
    retiring: Vec<JoinHandle<()>>,
    lookout: Lookout,
}

impl KafkaPublisher {
    /// Fails only on what librdkafka refuses in the configuration. Whether anybody answers shows in
    /// [`KafkaPublisher::status`].
    pub fn new(
        config: &KafkaConfig,
        client_id: &str,
        reports: Reports,
        meter: Arc<KafkaMeter>,
    ) -> Result<KafkaPublisher, KafkaSetupError> {
        let core = Core::new(config, client_id, reports, meter)?;
        let main = core.produce(1, false)?;
        let now = Instant::now();
        Ok(KafkaPublisher {
            lookout: Lookout::start(Arc::clone(&core), Arc::clone(&main), config.create_topics),
            main: Some(main),
            alone: None,
            alone_used: now,
            lanes: 1,
            rebuild: Backoff::new(REBUILD_AFTER, REBUILD_AT_MOST),
            stalled: [Backoff::new(STALLED_AFTER, STALLED_AT_MOST); Topic::ALL.len()],
            retiring: Vec::new(),
            core,
        })
    }

    /// How Kafka stands, for readiness. Cheap.
    pub fn status(&self) -> Status {
        self.core.standing().status()
    }

    /// A handle for [`KafkaPublisher::status`] that other threads may keep.
    pub fn watch(&self) -> impl Fn() -> Status + Send + Sync + 'static {
        let core = Arc::clone(&self.core);
        move || core.standing().status()
    }

    /// Sends alone what was refused together.
    fn send_alone(&mut self) {
        if !self.core.table().any_alone() {
            let idle = self.alone_used.elapsed() > ALONE_IDLE;
            if let Some(alone) = self.alone.take_if(|a| idle && !self.core.table().any_in(a.lane)) {
                self.retire(alone);
            }
            return;
        }
        self.alone_used = Instant::now();
        if self.alone.is_none() {
            let lane = self.next_lane();
            match self.core.produce(lane, true) {
                Ok(alone) => self.alone = Some(alone),
                Err(error) => {
                    self.core.trouble(Trouble::Client, Reason::Other, &error.to_string());
                    return;
                }
            }
        }
        let Some(alone) = &self.alone else { return };
        loop {
            let Some((token, message)) = self.core.table().next_alone(alone.lane, Instant::now()) else {
                return;
            };
            let mut record = BaseRecord::with_opaque_to(message.topic(), token);
            record.key = message.key();
            record.payload = message.payload();
            record.timestamp = message.timestamp().to_millis();
            record.headers = message.headers().cloned();
            match alone.producer.send(record).map_err(|(error, _)| error) {
                Ok(()) => {}
                Err(KafkaError::MessageProduction(Code::QueueFull)) => {
                    self.core.table().not_yet_alone(token, message);
                    return;
                }
                Err(error) => self.core.failed(token, true, &error, None),
            }
        }
    }

    /// Replaces what is fatally wrong or stands still.
    fn mend(&mut self) {
        let now = Instant::now();
        if let Some(broken) = self.alone.take_if(|a| a.fatal().is_some()) {
            self.core.meter.count(Reason::Fatal);
            self.retire(broken);
        }
        if let Some(broken) = self.main.take_if(|m| m.fatal().is_some()) {
            self.core.meter.count(Reason::Fatal);
            // The error callback may not have come round to it yet.
            let words = broken.fatal().unwrap_or_default();
            self.core.trouble(Trouble::Fatal, Reason::Fatal, &format!("the producer is replaced: {words}"));
            self.retire(broken);
            self.rebuild.wait(now);
        }
        let renewed = |m: &mut Arc<Producing>| {
            self.core.standing().handshake_fails() && m.stamp != self.core.settings.stamp()
        };
        if let Some(outdated) = self.main.take_if(renewed) {
            info!("a certificate file has changed since the handshake began to fail: it is read again");
            self.retire(outdated);
            self.rebuild.now(now);
        }
        match &self.main {
            None if self.rebuild.over(now) => {
                let lane = self.next_lane();
                match self.core.produce(lane, false) {
                    Ok(main) => {
                        self.core.meter.rebuilt();
                        info!("made a new Kafka producer");
                        self.lookout.follow(&main);
                        self.main = Some(main);
                    }
                    Err(error) => {
                        self.core.trouble(Trouble::Client, Reason::Other, &error.to_string());
                        self.rebuild.wait(now);
                    }
                }
            }
            None => {}
            Some(main) if main.made.elapsed() > SURVIVED => {
                if self.core.standing().survived(main.made) {
                    self.rebuild.reset();
                }
                self.replace_if_stalled(now);
            }
            Some(_) => {}
        }
    }

    fn replace_if_stalled(&mut self, now: Instant) {
        let Some(main) = &self.main else { return };
        for (topic, patience) in Topic::ALL.into_iter().zip(&mut self.stalled) {
            let (well_since, delivered) = {
                let standing = self.core.standing();
                (standing.well_since(topic), standing.delivered(topic))
            };
            let Some(well_since) = well_since else { continue };
            if delivered > patience.at {
                patience.reset();
            }
            // The search through the table comes last.
            if !patience.is_over(delivered.max(Some(well_since)), now)
                || !patience.is_over(self.core.table().oldest(topic, main.lane), now)
            {
                continue;
            }
            patience.stretch(now);
            let name = &self.core.names[topic as usize];
            let words =
                format!("records for {name} make no way though Kafka answers: the producer is replaced");
            self.core.trouble(Trouble::Note, Reason::Timeout, &words);
            if let Some(stalled) = self.main.take() {
                self.retire(stalled);
            }
            self.rebuild.now(now);
            return;
        }
    }

    /// Takes a producer down where nobody waits for it, and takes back what it held.
    fn retire(&mut self, producing: Arc<Producing>) {
        self.lookout.forget(&producing);
        let core = Arc::clone(&self.core);
        core.meter.set_brokers_up(0);
        let lane = producing.lane;
        let down = move || {
            producing.producer.purge(PurgeConfig::default().queue().inflight());
            // Lets the reports come in that say what was delivered after all.
            let _ = producing.producer.flush(Duration::from_millis(500));
            core.abandon(lane);
        };
        match thread::Builder::new().name("kafka-retire".into()).spawn(down) {
            Ok(handle) => self.retiring.push(handle),
            // The producer went down with the closure.
            Err(_) => self.core.abandon(lane),
        }
    }

    fn next_lane(&mut self) -> Lane {
        self.lanes += 1;
        self.lanes
    }
}

impl Publisher for KafkaPublisher {
    fn publish(&mut self, record: &Record) -> Result<(), Full> {
        let Some(main) = &self.main else { return Err(Full) };
        let Some(token) = self.core.table().take(record, main.lane, Instant::now()) else {
            self.core.meter.count(Reason::QueueFull);
            return Err(Full);
        };
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value.as_str()) });
        }
        let message = BaseRecord::with_opaque_to(&self.core.names[record.topic as usize], token)
            .key(record.key.as_str())
            .payload(record.value.as_slice())
            .timestamp(record.at.0)
            .headers(headers);
        match main.producer.send(message).map_err(|(error, _)| error) {
            Ok(()) => Ok(()),
            Err(KafkaError::MessageProduction(Code::QueueFull)) => {
                self.core.table().settle(token);
                self.core.meter.count(Reason::QueueFull);
                Err(Full)
            }
            // Refused before any batch was made: that is alone.
            Err(error) => {
                self.core.failed(token, true, &error, None);
                Ok(())
            }
        }
    }

    fn tend(&mut self) {
        self.core.say_returned(Instant::now());
        self.mend();
        self.send_alone();
        self.retiring.retain(|handle| !handle.is_finished());
    }

    fn flush(&mut self, deadline: Duration) -> bool {
        /// How long a report may go unnoticed, and how often what waits is looked at.
        const TURN: Duration = Duration::from_millis(20);
        let end = Instant::now() + deadline;
        loop {
            self.tend();
            // Nobody hands it over again before the end: there is nothing to hold it for.
            self.core.say_returned(Instant::now() + outstanding::HOLD);
            let table = self.core.table();
            if table.len() == 0 {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            drop(self.core.changed.wait_timeout(table, left.min(TURN)));
        }
    }
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        self.lookout.stop();
        for producing in [self.main.take(), self.alone.take()].into_iter().flatten() {
            self.retire(producing);
        }
        let end = Instant::now() + DROP_WITHIN;
        // What a purge or a late acknowledgement has to say is waited for, within bounds.
        while self.retiring.iter().any(|handle| !handle.is_finished()) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        let left = self.core.table().drain();
        self.core.returned(left);
    }
}

/// When to try again; doubles up to a limit.
#[derive(Clone, Copy)]
struct Backoff {
    first: Duration,
    longest: Duration,
    delay: Duration,
    at: Option<Instant>,
}

impl Backoff {
    fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, delay: first, at: None }
    }

    /// The next try comes after the delay, and the one after that later.
    fn wait(&mut self, now: Instant) {
        self.at = Some(now + self.delay);
        self.delay = (self.delay * 2).min(self.longest);
    }

    fn now(&mut self, now: Instant) {
        self.at = Some(now);
    }

    fn over(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    /// Nothing has moved since `last`, nor was anything tried, for as long as the delay.
    fn is_over(&self, last: Option<Instant>, now: Instant) -> bool {
        last.is_some() && last.max(self.at).is_some_and(|at| now.saturating_duration_since(at) >= self.delay)
    }

    /// Tried just now, in vain or not: more patience the next time.
    fn stretch(&mut self, now: Instant) {
        self.at = Some(now);
        self.delay = (self.delay * 2).min(self.longest);
    }

    fn reset(&mut self) {
        self.delay = self.first;
    }
}

fn topic_names(prefix: &str) -> Result<[String; Topic::ALL.len()], KafkaSetupError> {
    let names = Topic::ALL.map(|topic| topic.name(prefix));
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match names.iter().find(|name| name.len() > 249 || !name.chars().all(fits)) {
        Some(bad) => Err(KafkaSetupError::TopicName(bad.clone())),
        None => Ok(names),
    }
}
