//! The Kafka publisher against a real broker: every door, every refusal, every way to be away.
//!
//! `Account` stands in for the program's: it keeps what has no report, and hands over again what comes
//! back. What counts at the end is what another client reads from the topics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use certsieve::clock;
use certsieve::config::{KafkaConfig, Secret};
use certsieve::publish::Publisher;
use certsieve::publish::kafka::{KafkaMeter, KafkaPublisher, Level, Reason, check};
use certsieve::record::{Outcome, Record, Rejection, Report, Topic};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::broker::Broker;

/// A ceiling for what takes seconds.
const SOON: Duration = Duration::from_secs(60);

/// An operator sees the cause of a refusal within this.
const SAID_WITHIN: Duration = Duration::from_secs(10);

/// How long the broker of the outage is away, unless `CERTSIEVE_OUTAGE_SECONDS` says otherwise.
const OUTAGE: Duration = Duration::from_secs(60);

struct Account {
    publisher: KafkaPublisher,
    reports: Receiver<Report>,
    meter: Arc<KafkaMeter>,
    next: u64,
    /// Without a final report.
    pending: BTreeMap<u64, Record>,
    to_publish: VecDeque<u64>,
    delivered: u64,
    rejected: Vec<(u64, Rejection)>,
    returned: u64,
    /// The longest that one `publish` or `tend` took.
    longest: Duration,
}

impl Account {
    fn new(config: &KafkaConfig) -> Account {
        let (tell, reports) = channel();
        let meter = Arc::new(KafkaMeter::default());
        let hear = Box::new(move |report| drop(tell.send(report)));
        let publisher = KafkaPublisher::new(config, "certsieve-test", hear, Arc::clone(&meter)).unwrap();
        Account {
            publisher,
            reports,
            meter,
            next: 0,
            pending: BTreeMap::new(),
            to_publish: VecDeque::new(),
            delivered: 0,
            rejected: Vec::new(),
            returned: 0,
            longest: Duration::ZERO,
        }
    }

    fn offer(&mut self, topic: Topic, bytes: usize) -> u64 {
        let n = self.next;
        self.next += 1;
        let mut value = format!("{{\"n\":{n},\"pad\":\"");
        // Does not compress: a limit is on what arrives.
        let mut random = fastrand::Rng::with_seed(n);
        while value.len() < bytes {
            value.push(random.alphanumeric());
        }
        value.push_str("\"}");
        let record = Record {
            sequence: n,
            topic,
            key: format!("key-{}", n % 97),
            headers: vec![("ce_id", n.to_string()), ("content-type", "application/json".into())],
            value: value.into_bytes(),
            at: clock::now(),
        };
        self.pending.insert(n, record);
        self.to_publish.push_back(n);
        n
    }

    fn turn(&mut self) {
        while let Some(n) = self.to_publish.front() {
            let start = Instant::now();
            let taken = self.publisher.publish(&self.pending[n]);
            self.longest = self.longest.max(start.elapsed());
            if taken.is_err() {
                break;
            }
            self.to_publish.pop_front();
        }
        let start = Instant::now();
        self.publisher.tend();
        self.longest = self.longest.max(start.elapsed());
        for report in self.reports.try_iter() {
            let n = report.sequence;
            assert!(self.pending.contains_key(&n), "a report for {n}, which has its last one");
            match report.outcome {
                Outcome::Returned => {
                    self.returned += 1;
                    self.to_publish.push_back(n);
                }
                Outcome::Delivered => {
                    self.delivered += 1;
                    self.pending.remove(&n);
                }
                Outcome::Rejected { reason, .. } => {
                    self.rejected.push((n, reason));
                    self.pending.remove(&n);
                }
            }
        }
    }

    fn until(&mut self, what: &str, within: Duration, mut done: impl FnMut(&Account) -> bool) {
        let end = Instant::now() + within;
        while !done(self) {
            assert!(
                Instant::now() < end,
                "{what}: not within {within:?}; {} pending, {:?}, {:?}",
                self.pending.len(),
                self.publisher.status(),
                self.meter
            );
            self.turn();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn settle(&mut self, what: &str) {
        self.until(what, SOON, |account| account.pending.is_empty());
    }

    fn ready(&self) -> bool {
        let status = self.publisher.status();
        status.kafka_ready(clock::now()) && status.topics_ready()
    }

    fn errors(&self, reason: Reason) -> u64 {
        self.meter.errors().find(|(r, _)| *r == reason).unwrap().1
    }
}

fn config(brokers: String, prefix: &str, properties: &[(&str, &str)]) -> KafkaConfig {
    KafkaConfig {
        brokers,
        topic_prefix: prefix.into(),
        create_topics: false,
        compression: "zstd".into(),
        username: None,
        password: None,
        properties: properties.iter().map(|(name, value)| (name.to_string(), Secret::new(*value))).collect(),
    }
}

fn login(broker: &Broker, prefix: &str, mechanism: &str, user: &str, password: &str) -> KafkaConfig {
    let ca = broker.certificates().ca.to_str().unwrap();
    let properties =
        [("security.protocol", "sasl_ssl"), ("sasl.mechanism", mechanism), ("ssl.ca.location", ca)];
    KafkaConfig {
        username: Some(user.into()),
        password: Some(Secret::new(password)),
        ..config(broker.sasl(), prefix, &properties)
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

fn make_topics(broker: &Broker, prefix: &str) {
    let names = Topic::ALL.map(|topic| topic.name(prefix));
    make(broker, &names.each_ref().map(String::as_str));
}

fn make(broker: &Broker, names: &[&str]) {
    let topics = names.iter().map(|name| NewTopic::new(name, 3, TopicReplication::Fixed(1)));
    let topics: Vec<_> = topics.collect();
    for made in wait(admin(broker).create_topics(&topics, &options())).unwrap() {
        made.unwrap();
    }
}

fn set(broker: &Broker, topic: &str, name: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    for changed in wait(admin(broker).alter_configs(&[change], &options())).unwrap() {
        changed.unwrap();
    }
}

/// What a topic of the shared shape holds: the number in each value, by partition in order of offset.
fn read(broker: &Broker, topic: &str) -> Vec<Vec<u64>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.plain())
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), SOON).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..partitions as i32 {
        let (low, high) = consumer.fetch_watermarks(topic, partition, SOON).unwrap();
        left += high - low;
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut found = vec![Vec::new(); partitions];
    let end = Instant::now() + SOON;
    while left > 0 {
        assert!(Instant::now() < end, "{left} records of {topic} are not read");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let value: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let n = value["n"].as_u64().unwrap();
        let header = message.headers().unwrap().get(0);
        assert_eq!((header.key, header.value), ("ce_id", Some(n.to_string().as_bytes())));
        found[message.partition() as usize].push(n);
        left -= 1;
    }
    found
}

/// The numbers, sorted; repeats show.
fn all(found: Vec<Vec<u64>>) -> Vec<u64> {
    let mut all: Vec<_> = found.into_iter().flatten().collect();
    all.sort_unstable();
    all
}

fn numbers(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn every_door_delivers() {
    let broker = Broker::shared();
    let files = broker.certificates();
    broker.allow("alice", "doors-");
    broker.allow("certuser", "doors-");
    let tls = [
        ("security.protocol", "ssl"),
        ("ssl.ca.location", files.ca.to_str().unwrap()),
        ("ssl.certificate.location", files.client.to_str().unwrap()),
        ("ssl.key.location", files.client_key.to_str().unwrap()),
    ];
    for (prefix, config) in [
        ("doors-plaintext", config(broker.plain(), "doors-plaintext", &[])),
        ("doors-scram", login(broker, "doors-scram", "SCRAM-SHA-512", "alice", "alice-secret")),
        ("doors-plain", login(broker, "doors-plain", "PLAIN", "alice", "alice-secret")),
        ("doors-certificate", config(broker.tls(), "doors-certificate", &tls)),
    ] {
        make_topics(broker, prefix);
        let mut account = Account::new(&config);
        for topic in Topic::ALL {
            for _ in 0..25 {
                account.offer(topic, 200);
            }
        }
        account.settle(prefix);
        account.until(prefix, SOON, Account::ready);
        account.until(prefix, SOON, |account| account.meter.brokers_up() == 1);
        let found = Topic::ALL.map(|topic| all(read(broker, &topic.name(prefix))));
        assert_eq!(found.concat(), numbers(0..100), "{prefix}");
        assert_eq!(account.returned, 0, "{prefix}");
    }
}

#[test]
fn a_refusal_is_said_in_words_and_ends_when_its_cause_does() {
    let broker = Broker::shared();
    let files = broker.certificates();
    let trusted = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(&files.other_ca, trusted.path()).unwrap();
    let scram =
        |prefix: &str, user: &str, password: &str| login(broker, prefix, "SCRAM-SHA-512", user, password);
    let mut unknown = scram("refused-ca", "alice", "alice-secret");
    let path = trusted.path().to_str().unwrap();
    unknown.properties.insert("ssl.ca.location".into(), Secret::new(path));
    let nameless = [("security.protocol", "ssl"), ("ssl.ca.location", files.ca.to_str().unwrap())];
    let mut strange = nameless.to_vec();
    strange.push(("ssl.certificate.location", files.stranger.to_str().unwrap()));
    strange.push(("ssl.key.location", files.stranger_key.to_str().unwrap()));
    let give_rights = || broker.allow("bob", "refused-rights");
    let change_password = || {
        broker.allow("alice", "refused-");
        let door = broker.plain();
        let what =
            ["--bootstrap-server", &door, "--alter", "--entity-type", "users", "--entity-name", "alice"];
        let password = ["--add-config", "SCRAM-SHA-512=[password=not-hers]"];
        broker.tool("kafka.admin.ConfigCommand", &[&what[..], &password[..]].concat());
    };
    let trust = || {
        let back = ["--add-config", "SCRAM-SHA-512=[password=alice-secret]"];
        let door = broker.plain();
        let what =
            ["--bootstrap-server", &door, "--alter", "--entity-type", "users", "--entity-name", "alice"];
        broker.tool("kafka.admin.ConfigCommand", &[&what[..], &back[..]].concat());
        std::fs::copy(&files.ca, trusted.path()).unwrap();
    };
    /// Mends the cause.
    type Mend<'a> = Option<&'a dyn Fn()>;
    let rows: [(&str, KafkaConfig, &str, Reason, Mend<'_>); 5] = [
        (
            "refused-rights",
            scram("refused-rights", "bob", "bob-secret"),
            "--allow-principal User:bob --operation Write --topic refused-rights",
            Reason::TopicAuthorization,
            Some(&give_rights),
        ),
        (
            "refused-password",
            scram("refused-password", "alice", "not-hers"),
            "check username, password_file",
            Reason::Authentication,
            Some(&change_password),
        ),
        ("refused-ca", unknown, "set \"ssl.ca.location\"", Reason::Ssl, Some(&trust)),
        (
            "refused-nameless",
            config(broker.tls(), "refused-nameless", &nameless),
            "wants one and got none: see \"ssl.certificate.location\"",
            Reason::Ssl,
            None,
        ),
        (
            "refused-stranger",
            config(broker.tls(), "refused-stranger", &strange),
            "client certificate",
            Reason::Ssl,
            None,
        ),
    ];
    for (prefix, config, want, reason, mend) in rows {
        make_topics(broker, prefix);
        let mut account = Account::new(&config);
        account.offer(Topic::Alert, 200);
        let said = |account: &Account| account.publisher.status().problem.is_some_and(|p| p.contains(want));
        account.until(prefix, SAID_WITHIN, said);
        let problem = account.publisher.status().problem.unwrap();
        eprintln!("{prefix}: {problem}");
        assert!(!problem.contains("not-hers") && problem.len() < 500, "{problem}");
        assert!(account.errors(reason) > 0, "{prefix}: {:?}", account.meter);
        assert!(!account.ready(), "{prefix}");
        let Some(mend) = mend else { continue };
        mend();
        account.settle(prefix);
        account.until(prefix, SOON, Account::ready);
        assert_eq!(all(read(broker, &Topic::Alert.name(prefix))), [0], "{prefix}");
    }
}

#[test]
fn a_broker_killed_and_away_costs_no_record_and_no_wait() {
    let away = std::env::var("CERTSIEVE_OUTAGE_SECONDS").ok();
    let away = away.map_or(OUTAGE, |s| Duration::from_secs(s.parse().expect("CERTSIEVE_OUTAGE_SECONDS")));
    let mut broker = Broker::start(&[]);
    make_topics(&broker, "outage");
    let mut account = Account::new(&config(broker.plain(), "outage", &[]));
    /// 2,000 records a second, in turns of 10 ms.
    fn feed(account: &mut Account, time: Duration) {
        let start = Instant::now();
        let mut offered = 0;
        while start.elapsed() < time {
            while offered < start.elapsed().as_millis() * 2 {
                account.offer(Topic::Match, 200);
                offered += 1;
            }
            account.turn();
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    feed(&mut account, Duration::from_secs(5));
    assert!(account.delivered > 0);
    broker.kill();
    feed(&mut account, away);
    assert!(account.publisher.status().problem.is_some());
    // The feed goes on while the broker comes back.
    std::thread::scope(|scope| {
        let back = scope.spawn(|| broker.restart());
        while !back.is_finished() {
            feed(&mut account, Duration::from_millis(100));
        }
    });
    feed(&mut account, Duration::from_secs(5));
    account.settle("the backlog");
    eprintln!("{} records, longest wait {:?}, {:?}", account.next, account.longest, account.meter);
    assert_eq!(account.delivered, account.next);
    assert!(account.longest < Duration::from_millis(500), "{:?}", account.longest);
    let found = read(&broker, &Topic::Match.name("outage"));
    assert!(found.iter().all(|partition| partition.is_sorted()), "an order is not kept");
    assert_eq!(all(found), numbers(0..account.next));
}

#[test]
fn a_topic_deleted_and_made_again_takes_records_again() {
    let broker = Broker::shared();
    make_topics(broker, "again");
    let mut account = Account::new(&config(broker.plain(), "again", &[]));
    let name = Topic::Alert.name("again");
    for pause in [Duration::ZERO, Duration::from_secs(40)] {
        account.offer(Topic::Alert, 200);
        account.settle("before");
        account.until("before", SOON, Account::ready);
        for deleted in wait(admin(broker).delete_topics(&[&name], &options())).unwrap() {
            deleted.unwrap();
        }
        let first = account.offer(Topic::Alert, 200);
        let unharmed = account.offer(Topic::Match, 200);
        account.until("another topic", SOON, |account| !account.pending.contains_key(&unharmed));
        if !pause.is_zero() {
            account.until("the topic is missed", SOON, |account| {
                account.publisher.status().topics_missing == [name.clone()] && !account.ready()
            });
        }
        // Longer than librdkafka waits before it takes the topic for unknown.
        let end = Instant::now() + pause;
        while Instant::now() < end {
            account.turn();
            std::thread::sleep(Duration::from_millis(20));
        }
        make(broker, &[&name]);
        let second = account.offer(Topic::Alert, 200);
        account.settle("after");
        account.until("after", SOON, Account::ready);
        let found = all(read(broker, &name));
        assert!(found.ends_with(&[first, second]), "{found:?}");
        eprintln!("{pause:?}: {:?}", account.meter);
    }
}

#[test]
fn a_right_taken_and_given_back_takes_records_again() {
    let broker = Broker::shared();
    make_topics(broker, "rights");
    broker.allow("alice", "rights");
    let mut account = Account::new(&login(broker, "rights", "PLAIN", "alice", "alice-secret"));
    account.offer(Topic::Alert, 200);
    account.settle("before");
    broker.revoke("alice", "rights");
    account.offer(Topic::Alert, 200);
    account.until("the refusal is said", SAID_WITHIN, |account| {
        let status = account.publisher.status();
        status.refused && status.problem.is_some_and(|p| p.contains("no right"))
    });
    assert!(!account.ready());
    broker.allow("alice", "rights");
    account.offer(Topic::Alert, 200);
    account.settle("after");
    account.until("after", SOON, Account::ready);
    assert_eq!(all(read(broker, &Topic::Alert.name("rights"))), [0, 1, 2]);
}

#[test]
fn a_lower_limit_rejects_what_is_too_large_alone_and_nothing_else() {
    let broker = Broker::shared();
    make_topics(broker, "limit");
    let name = Topic::Match.name("limit");
    let mut account = Account::new(&config(broker.plain(), "limit", &[]));
    account.offer(Topic::Match, 200);
    account.settle("before");
    set(broker, &name, "max.message.bytes", "30000");
    let mut large = Vec::new();
    for n in 0..300 {
        // Batches hold dozens of these; every fiftieth is too large by itself.
        if n % 50 == 7 {
            large.push(account.offer(Topic::Match, 60_000));
        } else {
            account.offer(Topic::Match, 4_000);
        }
    }
    account.settle("under the lower limit");
    account.rejected.sort_unstable_by_key(|(n, _)| *n);
    let rejected: Vec<_> = large.iter().map(|n| (*n, Rejection::TooLarge)).collect();
    assert_eq!(account.rejected, rejected);
    set(broker, &name, "max.message.bytes", "1048588");
    for _ in 0..20 {
        account.offer(Topic::Match, 60_000);
    }
    account.settle("under the old limit");
    assert_eq!(account.rejected.len(), large.len());
    let found = all(read(broker, &name));
    let want: Vec<_> = (0..account.next).filter(|n| !large.contains(n)).collect();
    assert_eq!(found, want);
}

#[test]
fn a_producer_forgotten_by_the_broker_goes_on_and_so_after_an_orderly_restart() {
    let settings =
        [("producer.id.expiration.ms", "3000"), ("producer.id.expiration.check.interval.ms", "500")];
    let mut broker = Broker::start(&settings);
    make_topics(&broker, "idle");
    let mut account = Account::new(&config(broker.plain(), "idle", &[]));
    for _ in 0..3 {
        for _ in 0..30 {
            account.offer(Topic::Alert, 200);
        }
        account.settle("a burst");
        // Nothing to wait for: the broker forgets in silence.
        let end = Instant::now() + Duration::from_secs(8);
        while Instant::now() < end {
            account.turn();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    broker.stop();
    for _ in 0..10 {
        account.offer(Topic::Alert, 200);
    }
    account.turn();
    broker.restart();
    account.settle("after the restart");
    assert_eq!(all(read(&broker, &Topic::Alert.name("idle"))), numbers(0..100));
}

#[test]
fn missing_topics_are_made_as_said_and_others_left_alone() {
    let broker = Broker::shared();
    let existing = Topic::Alert.name("make");
    make(broker, &[&existing]);
    set(broker, &existing, "retention.ms", "12345678");
    let mut wanting = config(broker.plain(), "make", &[]);
    let mut watching = Account::new(&wanting);
    watching.until("the missing are named", SAID_WITHIN, |account| {
        account.publisher.status().topics_missing.len() == 3 && !account.ready()
    });
    wanting.create_topics = true;
    let mut account = Account::new(&wanting);
    account.offer(Topic::Health, 200);
    account.settle("a record for a topic that was missing");
    account.until("made", SOON, Account::ready);
    watching.until("made by another", SOON, Account::ready);
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", broker.plain()).create().unwrap();
    for (topic, partitions, retention) in [
        (Topic::Alert, 3, "12345678"),
        (Topic::Match, 6, "2592000000"),
        (Topic::Malformed, 3, "2592000000"),
        (Topic::Health, 1, "2592000000"),
    ] {
        let name = topic.name("make");
        let metadata = consumer.fetch_metadata(Some(&name), SOON).unwrap();
        assert_eq!(metadata.topics()[0].partitions().len(), partitions, "{name}");
        let found =
            wait(admin(broker).describe_configs(&[ResourceSpecifier::Topic(&name)], &options())).unwrap();
        let found = found.into_iter().next().unwrap().unwrap();
        let value = |key: &str| found.get(key).unwrap().value.clone().unwrap();
        assert_eq!(
            (value("retention.ms").as_str(), value("cleanup.policy").as_str()),
            (retention, "delete"),
            "{name}"
        );
    }
}

#[test]
fn the_check_says_what_is_wrong() {
    let broker = Broker::shared();
    make(broker, &["checked.alert.v1", "checked.match.v1", "checked.malformed.v1"]);
    broker.allow("alice", "checked.");
    let plain = |password: &str| login(broker, "checked", "PLAIN", "alice", password);
    for (config, level, want) in [
        (config(broker.plain(), "checked", &[]), Level::Fine, "answers"),
        (
            config(broker.plain(), "checked", &[]),
            Level::Warning,
            "checked.alert.v1: replication 1, below 3; min.insync.replicas 1, below 2",
        ),
        (
            config(broker.plain(), "checked", &[]),
            Level::Error,
            "--create --topic checked.health.v1 --partitions 1",
        ),
        (config(broker.plain(), "checked", &[]), Level::NotChecked, "the right to write"),
        (plain("alice-secret"), Level::Warning, "min.insync.replicas not known"),
        (plain("guess"), Level::Error, "check username, password_file"),
        (
            login(broker, "checked", "PLAIN", "bob", "bob-secret"),
            Level::Error,
            "no right to use topic checked.alert.v1",
        ),
        (config("127.0.0.1:1".into(), "checked", &[]), Level::Error, "Connection refused"),
    ] {
        let start = Instant::now();
        let findings = check(&config, "certsieve-test");
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(findings.iter().any(|f| f.level == level && f.text.contains(want)), "{want}: {findings:#?}");
        assert!(findings.iter().all(|f| !f.text.contains("guess")));
    }
}
