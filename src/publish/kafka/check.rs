//! `check --online`: what can be asked of Kafka without writing a record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::producer::Producer;

use super::cause::explain;
use super::producing::Core;
use super::topics::{self, Look};
use crate::config::KafkaConfig;
use crate::record::Topic;

/// The cause of a failed login arrives beside the answer; it is waited for so long.
const CAUSE_WITHIN: Duration = Duration::from_secs(5);

/// One thing that was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub level: Level,
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Fine,
    /// Could not be asked; nothing is said to be wrong.
    NotChecked,
    Warning,
    Error,
}

/// Asks, for at most half a minute, whether the broker answers, the topics exist and are kept, and this
/// user may use them.
pub fn check(config: &KafkaConfig, client_id: &str) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    match Core::new(config, client_id, Box::new(|_| {}), Arc::default()) {
        Ok(core) => findings.ask(&core, config.create_topics),
        Err(error) => findings.add(Level::Error, error.to_string()),
    }
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, text: String) {
        self.0.push(Finding { level, text });
    }

    fn ask(&mut self, core: &Arc<Core>, create: bool) {
        let through = match core.produce(1, true) {
            Ok(through) => through,
            Err(error) => return self.add(Level::Error, error.to_string()),
        };
        for topic in Topic::ALL {
            let name = &core.names[topic as usize];
            let look = match topics::look(through.producer.client(), name) {
                Ok(look) => look,
                Err(error) => {
                    let why = cause(core).unwrap_or_else(|| core.settings.scrub(&error.to_string()));
                    return self
                        .add(Level::Error, format!("no answer from {}: {why}", core.settings.brokers));
                }
            };
            if topic == Topic::ALL[0] {
                self.add(Level::Fine, format!("{} answers", core.settings.brokers));
            }
            match look {
                Look::Missing if create => {
                    self.add(Level::Warning, format!("topic {name} is missing; `run` tries to make it"));
                }
                Look::Missing => {
                    let command = topics::command(topic, &core.prefix, &core.settings);
                    self.add(Level::Error, format!("topic {name} is missing: {command}"));
                }
                Look::Denied => {
                    let grant = topics::grant(name, &core.settings);
                    self.add(Level::Error, format!("no right to use topic {name}: {grant}"));
                }
                Look::Odd(code) => self.add(Level::Error, format!("topic {name}: {code}")),
                Look::Present { leaderless: Some(partition), .. } => {
                    self.add(Level::Error, format!("topic {name}: partition {partition} has no leader"));
                }
                Look::Present { partitions, replicas, .. } => {
                    self.add(Level::Fine, format!("topic {name} has {partitions} partitions"));
                    let least = topics::min_in_sync(&core.settings, name);
                    match topics::weakness(name, replicas, &least) {
                        None => self.add(Level::Fine, format!("topic {name}: replication {replicas}")),
                        Some(weak) => self.add(Level::Warning, weak),
                    }
                }
            }
        }
        // A producer id is given to who may write to at least one topic; the refusal is fatal to it.
        match through.producer.client().fatal_error() {
            Some((_, why)) => {
                let why = explain(&core.settings.scrub(&why));
                self.add(Level::Error, format!("no right to write: {why}"));
            }
            None => self.add(
                Level::NotChecked,
                "the right to write to each topic: only a record would show it, and none is written here"
                    .into(),
            ),
        }
    }
}

/// What the error callback heard, when it has.
fn cause(core: &Core) -> Option<String> {
    let end = Instant::now() + CAUSE_WITHIN;
    loop {
        let problem = core.standing().status().problem;
        if problem.is_some() || Instant::now() > end {
            return problem;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
