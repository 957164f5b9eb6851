//! A Kafka broker inside the process: the mock cluster that librdkafka brings for its own tests.
//!
//! It speaks Kafka's protocol on a loopback port to any client, keeps records in memory and answers
//! neither to administration (topics are therefore made here) nor to authentication. It holds about
//! 5 MB a partition and then drops the oldest: enough for a demo, never for a user's data. Dropping
//! the [`Broker`] ends it.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::record::Topic;

/// The running broker.
pub struct Broker {
    /// The cluster lives in this client, which itself never sends a record.
    client: BaseProducer,
    bootstrap: String,
}

/// The embedded broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("embedded Kafka broker: {0}")]
    Kafka(#[from] KafkaError),
    #[error("embedded Kafka broker: this librdkafka is built without its mock cluster")]
    Absent,
}

impl Broker {
    /// Starts one broker with the topics of records.md under `prefix`.
    pub fn start(prefix: &str) -> Result<Broker, BrokerError> {
        let client: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            // librdkafka warns on standard error that a mock cluster is at work; the demo says so itself.
            .set("log_level", "3")
            .create()?;
        let cluster = client.client().mock_cluster().ok_or(BrokerError::Absent)?;
        for topic in Topic::ALL {
            cluster.create_topic(&topic.name(prefix), partitions(topic), 1)?;
        }
        let bootstrap = cluster.bootstrap_servers();
        drop(cluster);
        Ok(Broker { client, bootstrap })
    }

    /// `host:port`, for any Kafka client on this machine.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Lets the client answer to its own timers. Called about once a second; returns at once.
    pub fn tend(&self) {
        self.client.poll(std::time::Duration::ZERO);
    }
}

/// Reads topics of the broker from their beginning, as any consumer would.
pub struct Reader {
    consumer: BaseConsumer,
    topics: Vec<(String, Topic)>,
}

impl Reader {
    /// Without a consumer group, whose first rebalance takes three seconds.
    pub fn new(broker: &Broker, prefix: &str, topics: &[Topic]) -> Result<Reader, BrokerError> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap())
            .set("group.id", "certsieve-demo")
            .set("enable.auto.commit", "false")
            .set("log_level", "3")
            .create()?;
        let mut assignment = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..partitions(*topic) {
                assignment.add_partition_offset(&topic.name(prefix), partition, Offset::Beginning)?;
            }
        }
        consumer.assign(&assignment)?;
        Ok(Reader { consumer, topics: topics.iter().map(|topic| (topic.name(prefix), *topic)).collect() })
    }

    /// The next record's topic and value, if one comes within the time.
    pub fn next(&self, within: std::time::Duration) -> Option<(Topic, Vec<u8>)> {
        let message = self.consumer.poll(within)?.ok()?;
        let topic = self.topics.iter().find(|(name, _)| name == message.topic())?.1;
        Some((topic, message.payload()?.to_vec()))
    }
}

/// As records.md has it.
fn partitions(topic: Topic) -> i32 {
    match topic {
        Topic::Match => 6,
        Topic::Alert | Topic::Malformed => 3,
        Topic::Health => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rdkafka::producer::BaseRecord;

    use super::*;

    /// What an idempotent producer writes, an independent consumer reads.
    #[test]
    fn keeps_what_a_producer_sends() {
        let broker = Broker::start("demo").unwrap();
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap())
            .set("enable.idempotence", "true")
            .set("allow.auto.create.topics", "false")
            .create()
            .unwrap();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap())
            .set("group.id", "test")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(20)).unwrap();
        for topic in Topic::ALL {
            let name = topic.name("demo");
            let found = metadata.topics().iter().find(|found| found.name() == name).unwrap();
            assert_eq!(found.partitions().len(), partitions(topic) as usize);
        }
        producer
            .send(BaseRecord::to("demo.alert.v1").key("key").payload("value"))
            .map_err(|(e, _)| e)
            .unwrap();
        producer.flush(Duration::from_secs(20)).unwrap();
        broker.tend();
        consumer.subscribe(&["demo.alert.v1"]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let record = loop {
            assert!(Instant::now() < deadline, "the record was not read back");
            if let Some(polled) = consumer.poll(Duration::from_millis(100)) {
                break polled.unwrap();
            }
        };
        assert_eq!((record.key(), record.payload()), (Some(&b"key"[..]), Some(&b"value"[..])));
    }
}
