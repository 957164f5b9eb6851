//! One producer and its callbacks: every word of librdkafka comes in here.
//!
//! The callbacks run on the producer's polling thread. What they learn goes to the table of outstanding
//! records (who gets the report), the standing (what an operator is told) and the meter.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::debug;

use super::meter::{KafkaMeter, Reason};
use super::outstanding::{Attempt, Lane, Outstanding, Token};
use super::settings::{Settings, Stamp};
use super::standing::{Standing, Trouble};
use super::{KafkaSetupError, cause, topic_names, topics};
use crate::clock;
use crate::config::KafkaConfig;
use crate::publish::Reports;
use crate::record::{Outcome, Rejection, Report, Topic};

/// What producers, their callbacks and the lookout share.
pub struct Core {
    pub settings: Settings,
    /// In the order of [`Topic::ALL`].
    pub names: [String; Topic::ALL.len()],
    pub prefix: String,
    table: Mutex<Outstanding<OwnedMessage>>,
    /// The table has become shorter.
    pub changed: Condvar,
    standing: Mutex<Standing>,
    pub meter: Arc<KafkaMeter>,
    reports: Reports,
}

impl Core {
    pub fn new(
        config: &KafkaConfig,
        client_id: &str,
        reports: Reports,
        meter: Arc<KafkaMeter>,
    ) -> Result<Arc<Core>, KafkaSetupError> {
        Ok(Arc::new(Core {
            settings: Settings::new(config, client_id),
            names: topic_names(&config.topic_prefix)?,
            prefix: config.topic_prefix.clone(),
            table: Mutex::new(Outstanding::new()),
            changed: Condvar::new(),
            standing: Mutex::new(Standing::new()),
            meter,
            reports,
        }))
    }

    pub fn table(&self) -> MutexGuard<'_, Outstanding<OwnedMessage>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn produce(self: &Arc<Core>, lane: Lane, alone: bool) -> Result<Arc<Producing>, KafkaSetupError> {
        let sink = Sink { core: Arc::clone(self), alone, echo: Mutex::default() };
        let stamp = self.settings.stamp();
        let config = self.settings.producer(alone);
        let producer =
            ThreadedProducer::from_config_and_context(&config, sink).map_err(|e| self.setup_error(e))?;
        Ok(Arc::new(Producing { lane, producer, made: Instant::now(), stamp }))
    }

    /// librdkafka's words on a property, never its value.
    fn setup_error(&self, error: KafkaError) -> KafkaSetupError {
        match error {
            KafkaError::ClientConfig(_, why, name, _) => {
                KafkaSetupError::Property { name, why: self.settings.scrub(&why) }
            }
            KafkaError::ClientCreation(why) => {
                KafkaSetupError::Client(cause::explain(&self.settings.scrub(&why)))
            }
            other => KafkaSetupError::Client(self.settings.scrub(&other.to_string())),
        }
    }

    fn report(&self, sequence: u64, outcome: Outcome) {
        (self.reports)(Report { sequence, outcome, at: clock::now() });
        self.changed.notify_all();
    }

    pub fn returned(&self, sequences: Vec<u64>) {
        for sequence in sequences {
            self.report(sequence, Outcome::Returned);
        }
    }

    /// Takes back what a producer held that is no more.
    pub fn abandon(&self, lane: Lane) {
        self.table().abandon(lane, Instant::now());
        self.changed.notify_all();
    }

    pub fn say_returned(&self, now: Instant) {
        let due = self.table().due(now);
        self.returned(due);
    }

    fn delivered(&self, token: Token) {
        let settled = self.table().settle(token);
        let Some(Attempt { sequence, topic, .. }) = settled else { return };
        let at = clock::now();
        self.meter.delivered(at);
        self.standing().delivery(topic, at, Instant::now());
        self.report(sequence, Outcome::Delivered);
    }

    /// A record was not taken. `alone`: nothing else can be to blame. `content`: it may be sent again
    /// from here.
    pub fn failed(&self, token: Token, alone: bool, error: &KafkaError, content: Option<OwnedMessage>) {
        let code = error.rdkafka_error_code().unwrap_or(Code::InvalidMessage);
        let reason = Reason::of(code);
        self.meter.count(reason);
        let rejection = match reason {
            Reason::TooLarge => Some(Rejection::TooLarge),
            Reason::Invalid => Some(Rejection::Invalid),
            Reason::Policy => Some(Rejection::Other),
            _ => None,
        };
        match (rejection, content) {
            (Some(_), Some(message)) if !alone => self.table().set_aside(token, message),
            (Some(reason), _) => {
                let settled = self.table().settle(token);
                let Some(Attempt { sequence, .. }) = settled else { return };
                let message = self.settings.scrub(&code.to_string());
                self.report(sequence, Outcome::Rejected { reason, message });
            }
            (None, _) => {
                let back = self.table().give_back(token, Instant::now());
                let Some(Attempt { topic, .. }) = back else { return };
                let name = &self.names[topic as usize];
                match reason {
                    Reason::TopicAuthorization => {
                        let grant = topics::grant(name, &self.settings);
                        let words = format!("no right to write to {name} ({grant})");
                        self.trouble(Trouble::Topic(topic), reason, &words);
                    }
                    Reason::Purged => {}
                    _ => {
                        self.trouble(Trouble::Note, reason, &format!("a record for {name} came back: {code}"))
                    }
                }
            }
        }
    }

    /// Says what is wrong, at once and then once a minute, and keeps it for the status.
    pub fn trouble(&self, what: Trouble, reason: Reason, words: &str) {
        let words = cause::explain(&self.settings.scrub(words));
        self.standing().trouble(what, reason, words, Instant::now());
    }
}

/// One producer.
pub struct Producing {
    pub lane: Lane,
    pub producer: ThreadedProducer<Sink>,
    pub made: Instant,
    /// The files it was made with.
    pub stamp: Stamp,
}

impl Producing {
    /// Why this producer will never send anything again, if it is so.
    pub fn fatal(&self) -> Option<String> {
        self.producer.client().fatal_error().map(|(_, words)| words)
    }
}

/// Hears of everything one producer does; runs on that producer's polling thread.
pub struct Sink {
    core: Arc<Core>,
    alone: bool,
    echo: Mutex<Option<(Instant, String)>>,
}

impl Sink {
    /// rdkafka 0.39 calls `error` twice for each error of a producer, one call right after the other.
    fn is_echo(&self, words: &str) -> bool {
        const APART: Duration = Duration::from_millis(5);
        let mut last = self.echo.lock().unwrap_or_else(PoisonError::into_inner);
        match last.take() {
            Some((at, said)) if said == words && at.elapsed() < APART => true,
            _ => {
                *last = Some((Instant::now(), words.to_owned()));
                false
            }
        }
    }
}

impl ClientContext for Sink {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, words: &str) {
        debug!("librdkafka {facility}: {}", self.core.settings.scrub(words));
    }

    fn stats_raw(&self, json: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Statistics {
            brokers: HashMap<String, Broker>,
        }
        #[derive(serde::Deserialize)]
        struct Broker {
            nodeid: i64,
            state: String,
        }
        if self.alone {
            return;
        }
        if let Ok(statistics) = serde_json::from_slice::<Statistics>(json) {
            let up = statistics.brokers.values().filter(|b| b.nodeid >= 0 && b.state == "UP").count();
            self.core.meter.set_brokers_up(up as u64);
        }
    }

    fn error(&self, error: KafkaError, words: &str) {
        if self.is_echo(words) {
            return;
        }
        let reason = match Reason::of(error.rdkafka_error_code().unwrap_or(Code::Fail)) {
            // A client certificate is refused when the handshake is over, in what is then a transport error.
            Reason::Transport if words.contains("SSL routines") => Reason::Ssl,
            reason => reason,
        };
        self.core.meter.count(reason);
        // The code is the cause's; that it was fatal stands in the words, and in `Producing::fatal`.
        let fatal = words.starts_with("Fatal error: ");
        let what = if fatal { Trouble::Fatal } else { Trouble::Connection };
        match reason {
            Reason::AllBrokersDown => {
                self.core.trouble(what, reason, &format!("no broker can be reached: {words}"))
            }
            _ => self.core.trouble(what, reason, words),
        }
    }
}

impl ProducerContext for Sink {
    type DeliveryOpaque = Token;

    fn delivery(&self, result: &DeliveryResult<'_>, token: Token) {
        match result {
            Ok(_) => self.core.delivered(token),
            Err((error, message)) => {
                let refused = matches!(
                    error.rdkafka_error_code().map(Reason::of),
                    Some(Reason::TooLarge | Reason::Invalid | Reason::Policy)
                );
                let content = (refused && !self.alone).then(|| message.detach());
                self.core.failed(token, self.alone, error, content);
            }
        }
    }
}
