//! The thread that asks Kafka: is anybody there, do the topics exist, may we use them, are they kept.
//!
//! It asks through the producer's own client, so that an answer also renews that producer's idea of a
//! topic: librdkafka may take a topic for unknown long after it is back. Missing topics are made, or the
//! commands that make them are said, once.
//!
//! Cost: four small questions every five seconds, every two while something is in the way. A question
//! that nobody answers is given up after five seconds; stopping does not wait for it.

use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::{info, warn};

use super::meter::Reason;
use super::producing::{Core, Producing};
use super::standing::{Seen, Trouble};
use super::topics::{self, Look};
use crate::clock;
use crate::record::Topic;

/// Between two rounds when all is well, and when not.
const WELL: Duration = Duration::from_secs(5);
const ILL: Duration = Duration::from_secs(2);

/// Between two tries to make topics; doubles up to the second.
const CREATE_AGAIN: Duration = Duration::from_secs(4);
const CREATE_AT_MOST: Duration = Duration::from_secs(60);

/// Stopping waits so long for a question under way.
const STOP_WITHIN: Duration = Duration::from_millis(500);

pub struct Lookout {
    through: Arc<Mutex<Option<Arc<Producing>>>>,
    stop: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Lookout {
    pub fn start(core: Arc<Core>, through: Arc<Producing>, create: bool) -> Lookout {
        let through = Arc::new(Mutex::new(Some(through)));
        let (stop, stopped) = mpsc::sync_channel(1);
        let current = Arc::clone(&through);
        let mut round = Round {
            core,
            create,
            created: None,
            create_again: CREATE_AGAIN,
            told: false,
            judged: false,
            min_in_sync: [None; Topic::ALL.len()],
        };
        let run = move || {
            loop {
                let client = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let well = client.is_some_and(|client| round.ask(&client));
                match stopped.recv_timeout(if well { WELL } else { ILL }) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        };
        let thread = thread::Builder::new().name("kafka-lookout".into()).spawn(run);
        let thread =
            thread.inspect_err(|error| warn!("no thread to look after Kafka's topics: {error}")).ok();
        Lookout { through, stop, thread }
    }

    /// Asks through another producer from now on.
    pub fn follow(&self, producing: &Arc<Producing>) {
        *self.through.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(producing));
    }

    /// Lets go of a producer that is taken down.
    pub fn forget(&self, producing: &Arc<Producing>) {
        let mut through = self.through.lock().unwrap_or_else(PoisonError::into_inner);
        through.take_if(|current| current.lane == producing.lane);
    }

    pub fn stop(&mut self) {
        let _ = self.stop.try_send(());
        let Some(thread) = self.thread.take() else { return };
        let end = Instant::now() + STOP_WITHIN;
        while !thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Round {
    core: Arc<Core>,
    create: bool,
    created: Option<Instant>,
    create_again: Duration,
    /// The commands were said since topics were last complete.
    told: bool,
    /// How well the topics are kept was said.
    judged: bool,
    min_in_sync: [Option<usize>; Topic::ALL.len()],
}

impl Round {
    /// One round of questions; true when all is well.
    fn ask(&mut self, through: &Producing) -> bool {
        let mut missing = Vec::new();
        let mut replicas = [0; Topic::ALL.len()];
        let mut well = 0;
        for topic in Topic::ALL {
            let name = &self.core.names[topic as usize];
            let look = match topics::look(through.producer.client(), name) {
                Ok(look) => look,
                Err(error) => {
                    self.unanswered(&error);
                    return false;
                }
            };
            let now = Instant::now();
            let mut standing = self.core.standing();
            standing.answer(clock::now(), now);
            match look {
                Look::Missing => {
                    standing.saw(topic, Seen::Missing(name.clone()));
                    missing.push(topic);
                }
                Look::Denied => {
                    let grant = topics::grant(name, &self.core.settings);
                    let words = format!("no right to use topic {name} ({grant})");
                    standing.saw(topic, Seen::Denied(words.clone()));
                    drop(standing);
                    self.core.meter.count(Reason::TopicAuthorization);
                    self.core.trouble(Trouble::Note, Reason::TopicAuthorization, &words);
                }
                Look::Odd(code) => {
                    standing.saw(topic, Seen::Ill(format!("topic {name}: {code}")));
                    drop(standing);
                    self.core.meter.count(Reason::of(code));
                }
                Look::Present { leaderless: Some(partition), .. } => {
                    standing
                        .saw(topic, Seen::Ill(format!("topic {name}: partition {partition} has no leader")));
                    drop(standing);
                    self.core.meter.count(Reason::NotLeader);
                }
                Look::Present { replicas: copies, in_sync, .. } => {
                    replicas[topic as usize] = copies;
                    match self.min_in_sync[topic as usize] {
                        Some(least) if in_sync < least => {
                            let words = format!(
                                "topic {name}: {in_sync} replicas in sync, min.insync.replicas is {least}"
                            );
                            standing.saw(topic, Seen::Ill(words.clone()));
                            drop(standing);
                            self.core.meter.count(Reason::NotEnoughReplicas);
                            self.core.trouble(Trouble::Note, Reason::NotEnoughReplicas, &words);
                        }
                        _ => {
                            standing.well(topic, now);
                            well += 1;
                        }
                    }
                }
            }
        }
        if missing.is_empty() {
            self.told = false;
            self.create_again = CREATE_AGAIN;
        } else {
            self.make(&missing);
        }
        let all = well == Topic::ALL.len();
        if all && !self.judged {
            self.judged = true;
            self.judge(&replicas);
        }
        all
    }

    fn unanswered(&self, error: &KafkaError) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        self.core.meter.count(Reason::of(code));
        self.core.standing().lost_sight();
        // The error callback knows the cause; these words stand in for it when it has none.
        let words = format!("no answer from {}: {code}", self.core.settings.brokers);
        self.core.trouble(Trouble::Connection, Reason::Timeout, &words);
    }

    /// Makes what is missing, or says how.
    fn make(&mut self, missing: &[Topic]) {
        if self.create {
            if self.created.is_some_and(|at| at.elapsed() < self.create_again) {
                return;
            }
            if self.created.is_some() {
                self.create_again = (self.create_again * 2).min(CREATE_AT_MOST);
            }
            let failed = topics::create(&self.core.settings, &self.core.prefix, missing);
            self.created = Some(Instant::now());
            for topic in missing.iter().filter(|t| failed.iter().all(|(f, _)| f != *t)) {
                info!("made topic {}", self.core.names[*topic as usize]);
            }
            let Some((topic, why)) = failed.first() else { return };
            let words = format!("cannot make topic {}: {why}", self.core.names[*topic as usize]);
            self.core.trouble(Trouble::Note, Reason::UnknownTopic, &words);
            if !self.told {
                self.told = true;
                self.tell(failed.iter().map(|(topic, _)| *topic));
            }
        } else if !self.told {
            self.told = true;
            self.tell(missing.iter().copied());
        }
    }

    fn tell(&self, topics: impl Iterator<Item = Topic>) {
        warn!("topics are missing; records wait until somebody makes them:");
        for topic in topics {
            warn!("  {}", topics::command(topic, &self.core.prefix, &self.core.settings));
        }
    }

    /// Says once how well the topics are kept.
    fn judge(&mut self, replicas: &[usize]) {
        for topic in Topic::ALL {
            let name = &self.core.names[topic as usize];
            let least = topics::min_in_sync(&self.core.settings, name);
            self.min_in_sync[topic as usize] = least.as_ref().ok().copied();
            if let Some(words) = topics::weakness(name, replicas[topic as usize], &least) {
                warn!("look at how Kafka keeps records: {words}");
            }
        }
    }
}
