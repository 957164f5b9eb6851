//! The four topics: how they are made, how they look, how well Kafka keeps them.
//!
//! Every call here asks Kafka and waits, within [`ASK_WITHIN`]: never on the account's thread. An
//! existing topic is looked at and never altered.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};

use super::settings::Settings;
use crate::record::Topic;

/// One question to Kafka ends after so long.
pub const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Copies that "kept by Kafka" means, and how many of them must have a record before it counts.
const REPLICAS: usize = 3;
const IN_SYNC: usize = 2;

/// How a missing topic is made (records.md).
struct Shape {
    partitions: i32,
    retention_days: u64,
}

fn shape(topic: Topic) -> Shape {
    match topic {
        Topic::Alert => Shape { partitions: 3, retention_days: 90 },
        Topic::Match => Shape { partitions: 6, retention_days: 30 },
        Topic::Malformed => Shape { partitions: 3, retention_days: 30 },
        Topic::Health => Shape { partitions: 1, retention_days: 30 },
    }
}

fn retention_ms(topic: Topic) -> String {
    (shape(topic).retention_days * 24 * 60 * 60 * 1000).to_string()
}

/// What an administrator types to make the topic.
pub fn command(topic: Topic, prefix: &str, settings: &Settings) -> String {
    let login = if settings.protocol == "plaintext" { "" } else { " --command-config admin.properties" };
    format!(
        "kafka-topics.sh --bootstrap-server {}{login} --create --topic {} --partitions {} \
         --config retention.ms={} --config cleanup.policy=delete",
        settings.brokers,
        topic.name(prefix),
        shape(topic).partitions,
        retention_ms(topic),
    )
}

/// What an administrator types to give the right to write.
pub fn grant(topic: &str, settings: &Settings) -> String {
    let who = settings.username.as_deref().unwrap_or("NAME");
    format!(
        "kafka-acls.sh --bootstrap-server {} --command-config admin.properties --add \
         --allow-principal User:{who} --operation Write --topic {topic}",
        settings.brokers
    )
}

/// What Kafka says of one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    Present {
        partitions: usize,
        replicas: usize,
        in_sync: usize,
        leaderless: Option<i32>,
    },
    Missing,
    /// This user may not even see it.
    Denied,
    /// Kafka answered, with another error on the topic.
    Odd(Code),
}

/// Asks for one topic. The answer also wakes up a producer's own idea of the topic when `client` is
/// that producer's: a topic or a right that is back is noticed here.
pub fn look<C: ClientContext>(client: &Client<C>, name: &str) -> Result<Look, KafkaError> {
    let metadata = client.fetch_metadata(Some(name), ASK_WITHIN)?;
    let Some(topic) = metadata.topics().first() else { return Ok(Look::Missing) };
    if let Some(error) = topic.error() {
        return Ok(match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Look::Missing,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => Look::Denied,
            other => Look::Odd(other.into()),
        });
    }
    let partitions = topic.partitions();
    Ok(Look::Present {
        partitions: partitions.len(),
        replicas: partitions.iter().map(|p| p.replicas().len()).min().unwrap_or(0),
        in_sync: partitions.iter().map(|p| p.isr().len()).min().unwrap_or(0),
        leaderless: partitions.iter().find(|p| p.leader() < 0).map(|p| p.id()),
    })
}

/// Makes topics that are missing; for each that could not be made, why.
pub fn create(settings: &Settings, prefix: &str, topics: &[Topic]) -> Vec<(Topic, String)> {
    let names: Vec<_> = topics.iter().map(|t| (*t, t.name(prefix), retention_ms(*t))).collect();
    let wanted: Vec<_> = names
        .iter()
        .map(|(topic, name, retention)| {
            // -1: the broker's own default of copies.
            NewTopic::new(name, shape(*topic).partitions, TopicReplication::Fixed(-1))
                .set("retention.ms", retention)
                .set("cleanup.policy", "delete")
        })
        .collect();
    let all_failed = |why: String| topics.iter().map(|t| (*t, why.clone())).collect();
    let admin = match admin(settings) {
        Ok(admin) => admin,
        Err(error) => return all_failed(error.to_string()),
    };
    let results = match wait(admin.create_topics(&wanted, &options())) {
        Ok(results) => results,
        Err(error) => return all_failed(error.to_string()),
    };
    let failed = results.into_iter().filter_map(|result| match result {
        Ok(_) | Err((_, Code::TopicAlreadyExists)) => None,
        Err((name, code)) => {
            names.iter().find(|(_, n, _)| *n == name).map(|(topic, ..)| (*topic, code.to_string()))
        }
    });
    failed.collect()
}

/// `min.insync.replicas` of a topic, or why it is not known.
pub fn min_in_sync(settings: &Settings, name: &str) -> Result<usize, String> {
    let ask = || {
        let admin = admin(settings)?;
        wait(admin.describe_configs(&[ResourceSpecifier::Topic(name)], &options()))
    };
    let found = ask().map_err(|error| settings.scrub(&error.to_string()))?;
    let value = found.iter().flatten().find_map(|topic| topic.get("min.insync.replicas")?.value.as_deref());
    // rdkafka 0.39 passes a refusal on as a topic without any setting.
    value.and_then(|v| v.parse().ok()).ok_or_else(|| "no right to describe the topic's configuration".into())
}

/// What is to be said about how well Kafka keeps a topic; nothing when it is as it should be.
pub fn weakness(name: &str, replicas: usize, min_in_sync: &Result<usize, String>) -> Option<String> {
    let copies = (replicas < REPLICAS).then(|| format!("replication {replicas}, below {REPLICAS}"));
    let acknowledged = match min_in_sync {
        Ok(n) if *n < IN_SYNC => Some(format!("min.insync.replicas {n}, below {IN_SYNC}")),
        Ok(_) => None,
        Err(error) => Some(format!("min.insync.replicas not known: {error}")),
    };
    let both: Vec<_> = [copies, acknowledged].into_iter().flatten().collect();
    if both.is_empty() {
        return None;
    }
    Some(format!("topic {name}: {}", both.join("; ")))
}

fn admin(settings: &Settings) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    // Made for one question: nothing reads its log queue, which would grow for ever.
    settings.admin().create()
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK_WITHIN)).operation_timeout(Some(ASK_WITHIN))
}

/// Waits for an answer of librdkafka, whose own thread wakes this one. No runtime is needed, and none
/// may be: the caller could be a thread of one.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KafkaConfig, Secret};

    #[test]
    fn the_commands_are_what_the_contract_says() {
        let mut config = KafkaConfig {
            brokers: "k1:9092,k2:9092".into(),
            topic_prefix: "ct".into(),
            create_topics: false,
            compression: "zstd".into(),
            username: Some("alice".into()),
            password: None,
            properties: Default::default(),
        };
        let plain = Settings::new(&config, "c");
        assert_eq!(
            command(Topic::Alert, "ct", &plain),
            "kafka-topics.sh --bootstrap-server k1:9092,k2:9092 --create --topic ct.alert.v1 --partitions 3 \
             --config retention.ms=7776000000 --config cleanup.policy=delete"
        );
        config.properties.insert("security.protocol".into(), Secret::new("SASL_SSL"));
        let login = Settings::new(&config, "c");
        for (topic, partitions, days) in
            [(Topic::Match, 6, 30), (Topic::Malformed, 3, 30), (Topic::Health, 1, 30)]
        {
            let command = command(topic, "ct", &login);
            let ms = days * 86_400_000_u64;
            assert!(command.contains(" --command-config admin.properties "), "{command}");
            assert!(
                command.contains(&format!(" --partitions {partitions} --config retention.ms={ms} ")),
                "{command}"
            );
        }
        assert!(grant("ct.alert.v1", &login).contains("User:alice --operation Write --topic ct.alert.v1"));
    }

    #[test]
    fn weak_topics_are_said_and_strong_ones_are_not() {
        for (replicas, min, want) in [
            (3, Ok(2), None),
            (1, Ok(1), Some("topic t: replication 1, below 3; min.insync.replicas 1, below 2")),
            (3, Ok(1), Some("topic t: min.insync.replicas 1, below 2")),
            (2, Ok(2), Some("topic t: replication 2, below 3")),
        ] {
            assert_eq!(weakness("t", replicas, &min).as_deref(), want);
        }
        let unknown = weakness("t", 3, &Err("no right".into()));
        assert_eq!(unknown.as_deref(), Some("topic t: min.insync.replicas not known: no right"));
    }
}
