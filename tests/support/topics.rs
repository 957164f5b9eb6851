//! Topics of a real broker, as their administrator and as an independent consumer see them.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use certsieve::record::Topic;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde::Deserialize;
use serde_json::Value;

use crate::broker::Broker;
use crate::support::python;

/// One record, as another's consumer reads it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Consumed {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds.
    pub timestamp: i64,
    pub key: String,
    pub headers: Vec<(String, String)>,
    #[serde(deserialize_with = "json")]
    pub value: Value,
}

impl Consumed {
    pub fn id(&self) -> &str {
        self.value["event"]["id"].as_str().expect("every record has an event.id")
    }
}

fn json<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Value, D::Error> {
    let text = String::deserialize(text)?;
    serde_json::from_str(&text).map_err(serde::de::Error::custom)
}

/// Everything that topics hold, by the Python client; also its lines as they were printed.
pub fn consume_lines(broker: &Broker, prefix: &str, topics: &[Topic]) -> (Vec<Consumed>, String) {
    let names: Vec<String> = topics.iter().map(|topic| topic.name(prefix)).collect();
    let mut consumer = python("consume.py");
    consumer.arg(names.join(",")).arg(format!("bootstrap.servers={}", broker.plain()));
    let output = consumer.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{consumer:?}: {said}");
    let lines = String::from_utf8(output.stdout).expect("its lines are text");
    let records =
        lines.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    (records, lines)
}

pub fn consume(broker: &Broker, prefix: &str, topics: &[Topic]) -> Vec<Consumed> {
    consume_lines(broker, prefix, topics).0
}

/// How often each id stands in the records.
pub fn ids<'a>(records: impl IntoIterator<Item = &'a Consumed>) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for record in records {
        *ids.entry(record.id().to_owned()).or_default() += 1;
    }
    ids
}

/// The four topics of a prefix, as somebody makes them who gives certsieve no right to.
pub fn make_all(broker: &Broker, prefix: &str) {
    make(broker, prefix, &Topic::ALL);
}

pub fn make(broker: &Broker, prefix: &str, topics: &[Topic]) {
    let names: Vec<String> = topics.iter().map(|topic| topic.name(prefix)).collect();
    let topics: Vec<_> =
        names.iter().map(|name| NewTopic::new(name, 3, TopicReplication::Fixed(1))).collect();
    for made in wait(admin(broker).create_topics(&topics, &options())).unwrap() {
        made.unwrap();
    }
}

pub fn delete(broker: &Broker, prefix: &str, topic: Topic) {
    let name = topic.name(prefix);
    for deleted in wait(admin(broker).delete_topics(&[&name], &options())).unwrap() {
        deleted.unwrap();
    }
}

/// Sets one property of a topic.
pub fn set(broker: &Broker, prefix: &str, topic: Topic, name: &str, value: &str) {
    let topic = topic.name(prefix);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set(name, value);
    for changed in wait(admin(broker).alter_configs(&[change], &options())).unwrap() {
        changed.unwrap();
    }
}

/// `[kafka]` by each of the broker's doors.
pub mod door {
    use super::Broker;

    pub fn plain(broker: &Broker, prefix: &str) -> String {
        format!("[kafka]\nbrokers = {:?}\ntopic_prefix = {prefix:?}\n", broker.plain())
    }

    /// SASL_SSL with SCRAM-SHA-512; the file `password` lies beside the configuration.
    pub fn scram(broker: &Broker, prefix: &str, user: &str, ca: &std::path::Path) -> String {
        format!(
            "[kafka]\nbrokers = {:?}\ntopic_prefix = {prefix:?}\ncreate_topics = false\nusername = {user:?}\n\
             password_file = \"password\"\n[kafka.properties]\n\"security.protocol\" = \"sasl_ssl\"\n\
             \"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\"ssl.ca.location\" = {ca:?}\n",
            broker.sasl(),
        )
    }

    pub fn certificate(broker: &Broker, prefix: &str) -> String {
        let files = broker.certificates();
        format!(
            "[kafka]\nbrokers = {:?}\ntopic_prefix = {prefix:?}\ncreate_topics = false\n[kafka.properties]\n\
             \"security.protocol\" = \"ssl\"\n\"ssl.ca.location\" = {:?}\n\"ssl.certificate.location\" = {:?}\n\
             \"ssl.key.location\" = {:?}\n",
            broker.tls(),
            files.ca,
            files.client,
            files.client_key
        )
    }
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", broker.plain()).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
