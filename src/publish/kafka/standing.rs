//! How Kafka stands: when it answered, which topics are missing, what is in the way.
//!
//! Errors come in bursts and from several threads; what is kept is the most telling one of each kind
//! (a refused login says more than "1/1 brokers are down"), until something shows that it is over.
//! Each reason is said at once and then at most once a minute, with the number left unsaid.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::meter::Reason;
use crate::entry::Timestamp;
use crate::record::Topic;

/// A trouble that goes on is said again after so long.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Its answer after so long is news.
const SILENCE: Duration = Duration::from_secs(15);

/// Kafka counts as answering for so long after its last answer.
const ANSWERED_WITHIN_MS: i64 = 60_000;

/// For `readyz` and `check --online`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// When Kafka last answered anything.
    pub answered: Option<Timestamp>,
    /// The topics were looked at since the start.
    pub topics_known: bool,
    /// By full name.
    pub topics_missing: Vec<String>,
    /// What is in the way, with a hint; never a secret.
    pub problem: Option<String>,
    /// Kafka answers, and refuses to take records.
    pub refused: bool,
}

impl Status {
    /// The check `kafka`: it answered in the last 60 s and does not refuse.
    pub fn kafka_ready(&self, now: Timestamp) -> bool {
        !self.refused && self.answered.is_some_and(|at| now.millis_since(at) < ANSWERED_WITHIN_MS)
    }

    /// The check `topics`: all exist.
    pub fn topics_ready(&self) -> bool {
        self.topics_known && self.topics_missing.is_empty()
    }
}

/// What a trouble is about, which says when it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Until Kafka answers.
    Connection,
    /// Until a producer is made.
    Client,
    /// Until a producer survives.
    Fatal,
    /// Until a record of that topic is delivered.
    Topic(Topic),
    /// Worth a line, and nothing to wait for.
    Note,
}

#[derive(Clone)]
struct Said {
    reason: Reason,
    words: String,
}

pub struct Standing {
    answered: Option<Timestamp>,
    connection: Option<Said>,
    client: Option<Said>,
    fatal: Option<Said>,
    /// What a record was refused for, in the order of [`Topic::ALL`].
    refused: [Option<Said>; Topic::ALL.len()],
    /// What the lookout saw.
    seen: [Seen; Topic::ALL.len()],
    delivered: [Option<Instant>; Topic::ALL.len()],
    last_answer: Option<Instant>,
    said: HashMap<Reason, (Instant, u64)>,
}

/// One topic, as the lookout saw it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub enum Seen {
    #[default]
    Unknown,
    /// Without interruption since; `None` after a silence of Kafka.
    Well {
        since: Option<Instant>,
    },
    Missing(String),
    /// It is there, and does not take records: why.
    Ill(String),
    /// This user may not use it.
    Denied(String),
}

impl Standing {
    pub fn new() -> Standing {
        Standing {
            answered: None,
            connection: None,
            client: None,
            fatal: None,
            refused: Default::default(),
            seen: Default::default(),
            delivered: [None; Topic::ALL.len()],
            last_answer: None,
            said: HashMap::new(),
        }
    }

    pub fn status(&self) -> Status {
        let seen = self.seen.iter().find_map(|seen| match seen {
            Seen::Ill(words) | Seen::Denied(words) => Some(words.clone()),
            _ => None,
        });
        let refused = self.refused.iter().flatten().next().map(|said| said.words.clone());
        let denied = self.seen.iter().any(|seen| matches!(seen, Seen::Denied(_)));
        let missing = self.missing();
        let words = |said: &Option<Said>| said.as_ref().map(|said| said.words.clone());
        let absent = (!missing.is_empty()).then(|| format!("topics are missing: {}", missing.join(", ")));
        Status {
            answered: self.answered,
            topics_known: self.seen.iter().all(|seen| *seen != Seen::Unknown),
            refused: denied || refused.is_some() || self.fatal.is_some() || self.client.is_some(),
            topics_missing: missing,
            problem: words(&self.client)
                .or_else(|| words(&self.fatal))
                .or_else(|| words(&self.connection))
                .or(refused)
                .or(seen)
                .or(absent),
        }
    }

    fn missing(&self) -> Vec<String> {
        let missing = self.seen.iter().filter_map(|seen| match seen {
            Seen::Missing(name) => Some(name.clone()),
            _ => None,
        });
        missing.collect()
    }

    /// Kafka answered a question.
    pub fn answer(&mut self, at: Timestamp, now: Instant) {
        self.answered = self.answered.max(Some(at));
        let silence = self.last_answer.replace(now).map(|last| now.saturating_duration_since(last));
        // One broker of several that is down is in the way of some questions and not of others.
        if self.connection.take().is_some() && silence.is_none_or(|silence| silence > SILENCE) {
            info!("Kafka answers");
        }
    }

    /// Kafka took a record.
    pub fn delivery(&mut self, topic: Topic, at: Timestamp, now: Instant) {
        self.answer(at, now);
        self.delivered[topic as usize] = Some(now);
        self.refused[topic as usize] = None;
        self.fatal = None;
        self.client = None;
    }

    /// What the lookout saw of a topic that is not well.
    pub fn saw(&mut self, topic: Topic, seen: Seen) {
        self.seen[topic as usize] = seen;
    }

    /// Nobody answers: nothing is known to be well.
    pub fn lost_sight(&mut self) {
        for seen in &mut self.seen {
            if let Seen::Well { since } = seen {
                *since = None;
            }
        }
    }

    /// The lookout saw a topic that takes records, as far as can be seen.
    pub fn well(&mut self, topic: Topic, now: Instant) {
        match &mut self.seen[topic as usize] {
            Seen::Well { since } => {
                since.get_or_insert(now);
            }
            other => *other = Seen::Well { since: Some(now) },
        }
    }

    pub fn well_since(&self, topic: Topic) -> Option<Instant> {
        match self.seen[topic as usize] {
            Seen::Well { since } => since,
            _ => None,
        }
    }

    pub fn delivered(&self, topic: Topic) -> Option<Instant> {
        self.delivered[topic as usize]
    }

    /// Brokers are reached, and no handshake succeeds.
    pub fn handshake_fails(&self) -> bool {
        self.connection.as_ref().is_some_and(|said| said.reason == Reason::Ssl)
    }

    /// A producer made at `made` has lived long enough; true when Kafka answered in that time.
    pub fn survived(&mut self, made: Instant) -> bool {
        let answered = self.last_answer.is_some_and(|at| at > made);
        if answered {
            self.client = None;
            self.fatal = None;
        }
        answered
    }

    /// Something is wrong. `words` are clean and bounded.
    pub fn trouble(&mut self, what: Trouble, reason: Reason, words: String, now: Instant) {
        match self.worth_saying(reason, now) {
            None => {}
            Some(0) => warn!(reason = reason.label(), "Kafka: {words}"),
            Some(unsaid) => warn!(reason = reason.label(), unsaid, "Kafka: {words}"),
        }
        let said = Some(Said { reason, words });
        match what {
            Trouble::Connection => {
                let kept = self.connection.as_ref().map_or(0, |kept| telling(kept.reason));
                if telling(reason) >= kept {
                    self.connection = said;
                }
            }
            Trouble::Client => self.client = said,
            Trouble::Fatal => self.fatal = said,
            Trouble::Topic(topic) => self.refused[topic as usize] = said,
            Trouble::Note => {}
        }
    }

    /// How often it was left unsaid, when it is time to say it.
    fn worth_saying(&mut self, reason: Reason, now: Instant) -> Option<u64> {
        match self.said.get_mut(&reason) {
            Some((at, unsaid)) if now.saturating_duration_since(*at) < SAY_EVERY => {
                *unsaid += 1;
                None
            }
            _ => self.said.insert(reason, (now, 0)).map_or(Some(0), |(_, unsaid)| Some(unsaid)),
        }
    }
}

/// How much a reason says about the cause.
fn telling(reason: Reason) -> u8 {
    match reason {
        Reason::Authentication | Reason::Ssl | Reason::ClusterAuthorization | Reason::Unsupported => 3,
        Reason::Resolve | Reason::Transport => 2,
        // "1/1 brokers are down" says less than anything else.
        Reason::AllBrokersDown => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_cause_stays_until_kafka_answers() {
        let mut standing = Standing::new();
        let now = Instant::now();
        for (reason, words, want) in [
            (Reason::AllBrokersDown, "1/1 down", "1/1 down"),
            (Reason::Transport, "refused", "refused"),
            (Reason::AllBrokersDown, "1/1 down", "refused"),
            (Reason::Ssl, "unknown CA", "unknown CA"),
            (Reason::Transport, "closed", "unknown CA"),
            (Reason::Authentication, "password", "password"),
        ] {
            standing.trouble(Trouble::Connection, reason, words.into(), now);
            assert_eq!(standing.status().problem.as_deref(), Some(want));
        }
        assert!(!standing.status().kafka_ready(Timestamp(5)));
        standing.answer(Timestamp(5), now);
        assert_eq!(standing.status().problem, None);
        assert!(standing.status().kafka_ready(Timestamp(6)));
        assert!(!standing.status().kafka_ready(Timestamp(60_005)));
    }

    #[test]
    fn topics_are_ready_when_all_were_seen_and_none_is_missing() {
        let mut standing = Standing::new();
        let now = Instant::now();
        standing.answer(Timestamp(5), now);
        assert!(!standing.status().topics_ready());
        for topic in Topic::ALL {
            standing.well(topic, now);
        }
        assert!(standing.status().topics_ready());
        standing.saw(Topic::Match, Seen::Missing("p.match.v1".into()));
        let status = standing.status();
        assert_eq!(status.topics_missing, ["p.match.v1"]);
        assert!(!status.topics_ready() && status.kafka_ready(Timestamp(5)));
        standing.saw(Topic::Match, Seen::Denied("no right".into()));
        let status = standing.status();
        assert!(status.topics_ready() && !status.kafka_ready(Timestamp(5)));
        assert_eq!(status.problem.as_deref(), Some("no right"));
    }

    #[test]
    fn a_refusal_ends_with_a_delivery_and_a_fatal_error_with_a_survivor() {
        let mut standing = Standing::new();
        let now = Instant::now();
        let refused = |standing: &mut Standing, what| {
            standing.trouble(what, Reason::TopicAuthorization, "no".into(), now);
            assert!(standing.status().refused);
        };
        refused(&mut standing, Trouble::Topic(Topic::Alert));
        standing.delivery(Topic::Match, Timestamp(1), now);
        assert!(standing.status().refused, "another topic");
        standing.delivery(Topic::Alert, Timestamp(1), now);
        assert!(!standing.status().refused);
        refused(&mut standing, Trouble::Fatal);
        assert!(!standing.survived(now), "nobody has answered since");
        standing.answer(Timestamp(1), now + SAY_EVERY);
        assert!(standing.survived(now));
        assert!(!standing.status().refused);
    }

    #[test]
    fn a_trouble_is_said_at_once_and_then_once_a_minute() {
        let mut standing = Standing::new();
        let start = Instant::now();
        for (second, reason, want) in [
            (0, Reason::Transport, Some(0)),
            (1, Reason::Transport, None),
            (2, Reason::Ssl, Some(0)),
            (59, Reason::Transport, None),
            (60, Reason::Transport, Some(2)),
            (61, Reason::Transport, None),
            (300, Reason::Transport, Some(1)),
            (300, Reason::Ssl, Some(0)),
        ] {
            standing.answer(Timestamp(second), start);
            let at = start + Duration::from_secs(second as u64);
            assert_eq!(standing.worth_saying(reason, at), want, "{reason:?} after {second} s");
        }
    }
}
