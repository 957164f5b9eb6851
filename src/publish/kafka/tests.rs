//! The publisher against librdkafka's own broker: order, headers, one report for every record whatever
//! the broker does. The broker takes neither TLS nor logins; those are in `tests/parts/publish.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Answer};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::entry::Timestamp;
use crate::record::{Outcome, Rejection, Report};

/// A ceiling for what takes milliseconds.
const SOON: Duration = Duration::from_secs(30);

type Cluster = MockCluster<'static, DefaultProducerContext>;

struct Rig {
    cluster: Cluster,
    publisher: KafkaPublisher,
    meter: Arc<KafkaMeter>,
    reports: Arc<Mutex<Vec<Report>>>,
}

fn config(brokers: String) -> KafkaConfig {
    KafkaConfig {
        brokers,
        topic_prefix: "t".into(),
        create_topics: false,
        compression: "none".into(),
        username: None,
        password: None,
        properties: BTreeMap::new(),
    }
}

impl Rig {
    fn new() -> Rig {
        Rig::after(|_| {})
    }

    /// `prepare` runs before the publisher meets the broker.
    fn after(prepare: impl Fn(&Cluster)) -> Rig {
        let cluster = MockCluster::new(1).unwrap();
        prepare(&cluster);
        // Half a second each; a test that looks at the others makes them.
        cluster.create_topic(&Topic::Alert.name("t"), 1, 1).unwrap();
        let reports = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&reports);
        let meter = Arc::new(KafkaMeter::default());
        let hear = Box::new(move |report| ear.lock().unwrap().push(report));
        let config = config(cluster.bootstrap_servers());
        let publisher = KafkaPublisher::new(&config, "test", hear, Arc::clone(&meter)).unwrap();
        Rig { cluster, publisher, meter, reports }
    }

    fn offer(&mut self, sequences: impl Iterator<Item = u64>) {
        for n in sequences {
            while self.publisher.publish(&record(n, 10)).is_err() {
                self.publisher.tend();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Rig) -> bool) {
        let end = Instant::now() + SOON;
        while !done(self) {
            assert!(Instant::now() < end, "{what}; {:?} {:?}", self.publisher.status(), self.meter);
            self.publisher.tend();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Hands over again what comes back, as the account does, until `count` records are delivered.
    fn deliver_all(&mut self, count: u64) {
        let end = Instant::now() + SOON;
        let mut heard = 0;
        loop {
            let new: Vec<_> = self.reports.lock().unwrap()[heard..].to_vec();
            heard += new.len();
            let back: Vec<_> =
                new.iter().filter(|r| r.outcome == Outcome::Returned).map(|r| r.sequence).collect();
            self.offer(back.into_iter());
            if self.delivered().len() as u64 == count {
                return;
            }
            assert!(Instant::now() < end, "{:?}", self.publisher.status());
            self.publisher.tend();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn delivered(&self) -> BTreeSet<u64> {
        let reports = self.reports.lock().unwrap();
        reports.iter().filter(|r| r.outcome == Outcome::Delivered).map(|r| r.sequence).collect()
    }

    /// How many reports each record got.
    fn told(&self) -> BTreeMap<u64, usize> {
        let mut told = BTreeMap::new();
        for report in self.reports.lock().unwrap().iter() {
            *told.entry(report.sequence).or_default() += 1;
        }
        told
    }

    fn errors(&self, reason: Reason) -> u64 {
        self.meter.errors().find(|(r, _)| *r == reason).unwrap().1
    }
}

fn record(sequence: u64, bytes: usize) -> Record {
    Record {
        sequence,
        topic: Topic::Alert,
        key: format!("key-{sequence}"),
        headers: vec![
            ("ce_specversion", "1.0".into()),
            ("ce_id", sequence.to_string()),
            ("content-type", "application/json".into()),
            ("a", "1".into()),
        ],
        value: vec![b'0' + (sequence % 10) as u8; bytes],
        at: Timestamp(1_700_000_000_000 + sequence as i64),
    }
}

/// What a topic of one partition holds: key, headers, value, timestamp.
type Stored = (String, Vec<(String, String)>, String, i64);

fn stored(cluster: &Cluster, count: usize) -> Vec<Stored> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(&Topic::Alert.name("t"), 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let mut found = Vec::new();
    let end = Instant::now() + SOON;
    while found.len() < count {
        assert!(Instant::now() < end, "{} of {count}", found.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        let headers = message.headers().unwrap().iter();
        let headers = headers.map(|h| (h.key.to_owned(), text(h.value))).collect();
        let at = message.timestamp().to_millis().unwrap();
        found.push((text(message.key()), headers, text(message.payload()), at));
    }
    found
}

#[test]
fn records_arrive_in_order_with_their_headers_key_and_time() {
    let mut rig = Rig::after(|cluster| {
        for topic in [Topic::Match, Topic::Malformed, Topic::Health] {
            cluster.create_topic(&topic.name("t"), 1, 1).unwrap();
        }
    });
    rig.offer(0..500);
    assert!(rig.publisher.flush(SOON));
    assert_eq!(rig.delivered().len(), 500);
    assert!(rig.meter.last_delivery().is_some());
    let found = stored(&rig.cluster, 500);
    for (n, (key, headers, value, at)) in found.iter().enumerate() {
        let want = record(n as u64, 10);
        assert_eq!((key, value.as_bytes(), *at), (&want.key, &want.value[..], want.at.0));
        let names: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        assert_eq!(names, want.headers);
    }
    rig.until("a broker is up", |rig| rig.meter.brokers_up() == 1);
    rig.until("topics are seen", |rig| {
        let status = rig.publisher.status();
        status.topics_ready() && status.kafka_ready(crate::clock::now())
    });
}

#[test]
fn every_record_gets_one_report_whatever_the_broker_answers() {
    let rows = [
        (Answer::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, Api::Produce),
        (Answer::RD_KAFKA_RESP_ERR__TRANSPORT, Api::Produce),
        (Answer::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, Api::Produce),
        (Answer::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, Api::Produce),
        (Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Api::Produce),
        (Answer::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Api::InitProducerId),
    ];
    let check = |answer, api| {
        let mut rig = Rig::after(|cluster| cluster.request_errors(api, &[answer; 2]));
        rig.offer(0..50);
        rig.deliver_all(50);
        let reports = rig.reports.lock().unwrap().len();
        assert!(rig.publisher.flush(SOON));
        assert_eq!(rig.reports.lock().unwrap().len(), reports, "{answer:?}: a report too many");
        let found = stored(&rig.cluster, 50);
        let distinct: BTreeSet<_> = found.iter().map(|(key, ..)| key).collect();
        assert_eq!(distinct.len(), 50, "{answer:?}");
    };
    std::thread::scope(|scope| {
        for (answer, api) in rows {
            scope.spawn(move || check(answer, api));
        }
    });
}

#[test]
fn a_record_is_rejected_only_when_it_is_refused_alone() {
    let mut rig = Rig::new();
    // The batch is refused, then one of its records, then nothing.
    let refused = Answer::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    rig.cluster.request_errors(Api::Produce, &[refused, refused]);
    rig.offer(0..20);
    rig.until("all are reported", |rig| rig.told().len() == 20);
    assert!(rig.told().values().all(|n| *n == 1));
    let reports = rig.reports.lock().unwrap();
    let rejected: Vec<_> = reports.iter().filter(|r| matches!(r.outcome, Outcome::Rejected { .. })).collect();
    assert_eq!(rejected.len(), 1, "{reports:?}");
    let Outcome::Rejected { reason, .. } = &rejected[0].outcome else { unreachable!() };
    assert_eq!(*reason, Rejection::TooLarge);
    drop(reports);
    assert_eq!(rig.delivered().len(), 19);
    let found = stored(&rig.cluster, 19);
    assert_eq!(found[0].1.len(), 4, "headers survive being sent alone");
}

#[test]
fn a_record_above_the_limit_of_all_records_is_rejected_at_once() {
    let mut rig = Rig::new();
    rig.publisher.publish(&record(1, settings::MAX_RECORD_BYTES)).unwrap();
    rig.publisher.publish(&record(2, 10)).unwrap();
    assert!(rig.publisher.flush(SOON));
    assert!(matches!(
        rig.reports.lock().unwrap()[0],
        Report { sequence: 1, outcome: Outcome::Rejected { reason: Rejection::TooLarge, .. }, .. }
    ));
    assert_eq!(rig.delivered(), BTreeSet::from([2]));
}

#[test]
fn a_fatal_error_costs_a_producer_and_no_record() {
    let fatal = Answer::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    let mut rig = Rig::after(|cluster| cluster.request_errors(Api::InitProducerId, &[fatal]));
    rig.offer(0..50);
    rig.until("the error is fatal", |rig| rig.errors(Reason::Fatal) == 1);
    assert!(rig.publisher.status().refused);
    rig.deliver_all(50);
    assert_eq!(rig.meter.producer_rebuilds(), 1);
    assert!(!rig.publisher.status().refused);
    assert_eq!(stored(&rig.cluster, 50).len(), 50);
}

#[test]
fn an_outage_holds_records_up_and_loses_none() {
    let mut rig = Rig::new();
    rig.offer(0..10);
    assert!(rig.publisher.flush(SOON));
    rig.cluster.broker_down(-1).unwrap();
    let start = Instant::now();
    rig.offer(10..200);
    assert!(start.elapsed() < Duration::from_secs(1), "publish waits for nobody");
    assert!(!rig.publisher.flush(Duration::from_millis(300)));
    rig.until("the outage shows", |rig| rig.publisher.status().problem.is_some());
    rig.cluster.broker_up(-1).unwrap();
    assert!(rig.publisher.flush(SOON));
    assert_eq!(rig.delivered().len(), 200);
    assert!(rig.told().values().all(|n| *n == 1));
    let order: Vec<_> = stored(&rig.cluster, 200).into_iter().map(|(key, ..)| key).collect();
    assert!(order.iter().enumerate().all(|(n, key)| *key == format!("key-{n}")));
}

#[test]
fn the_queue_is_bounded_and_says_so_at_once() {
    let mut rig = Rig::new();
    rig.cluster.broker_down(-1).unwrap();
    let large = record(0, 500_000);
    let mut taken = 0;
    while rig.publisher.publish(&large).is_ok() {
        taken += 1;
        assert!(taken < 1000);
    }
    assert!((60..=68).contains(&taken), "{taken} of half a megabyte in 32 MiB");
    assert!(rig.errors(Reason::QueueFull) > 0);
    let reports = Arc::clone(&rig.reports);
    let start = Instant::now();
    drop(rig);
    assert!(start.elapsed() < DROP_WITHIN + Duration::from_secs(3));
    let reports = reports.lock().unwrap();
    assert_eq!(reports.len(), taken, "what was not delivered is returned at the end");
    assert!(reports.iter().all(|r| r.outcome == Outcome::Returned));
}

#[test]
fn what_the_client_refuses_is_said_without_values() {
    for (name, value, want) in [
        ("sasl.mechanism.typo", "hunter2", "[kafka.properties] \"sasl.mechanism.typo\""),
        ("ssl.key.pem", "hunter2", "ssl.key.pem"),
    ] {
        let mut config = config("127.0.0.1:1".into());
        config.properties.insert("security.protocol".into(), crate::config::Secret::new("ssl"));
        config.properties.insert(name.into(), crate::config::Secret::new(value));
        let error =
            KafkaPublisher::new(&config, "t", Box::new(|_| {}), Arc::default()).err().unwrap().to_string();
        assert!(error.contains(want) && !error.contains("hunter2"), "{error}");
    }
    let mut config = config("127.0.0.1:1".into());
    config.topic_prefix = "a b".into();
    let error =
        KafkaPublisher::new(&config, "t", Box::new(|_| {}), Arc::default()).err().unwrap().to_string();
    assert!(error.contains("\"a b.alert.v1\""), "{error}");
}

#[test]
fn patience_doubles_with_every_try_and_starts_anew_when_records_move() {
    let mut patience = Backoff::new(STALLED_AFTER, STALLED_AT_MOST);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    // Nothing is with the producer: there is nothing to be impatient about.
    assert!(!patience.is_over(None, at(1000)));
    let mut tries = Vec::new();
    for second in 0..1000 {
        if patience.is_over(Some(start), at(second)) {
            patience.stretch(at(second));
            tries.push(second);
        }
    }
    assert_eq!(tries, [40, 120, 280, 600]);
    assert!(!patience.is_over(None, at(5000)));
    patience.reset();
    assert!(!patience.is_over(Some(at(970)), at(1009)));
    assert!(patience.is_over(Some(at(970)), at(1010)));
}
