//! From the configuration to librdkafka's properties.
//!
//! The operator's own properties come first and what carries the promises last, so that nothing in a
//! file can weaken it (`config.rs` refuses such keys with the reason; this is the second lock).

use std::fs;
use std::time::SystemTime;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use super::outstanding::{MAX_BYTES, MAX_RECORDS};
use crate::config::KafkaConfig;

/// A batch stays below this before compression, a record below [`MAX_RECORD_BYTES`]. A broker's usual
/// limit is 1,048,588 bytes a batch, and one refusal fails every record in it.
const BATCH_BYTES: usize = 900_000;

/// A record above it is refused here; records.md bounds them at 512 KiB.
pub const MAX_RECORD_BYTES: usize = 1_000_000;

/// How often librdkafka says which brokers are up.
const STATISTICS_MS: usize = 5_000;

/// What the promises rest on; in force whatever the configuration says.
const PROMISES: [(&str, &str); 7] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // For ever: by default a record is dropped after five minutes without a broker.
    ("message.timeout.ms", "0"),
    // As Java's: every producer puts a key on the same partition.
    ("partitioner", "murmur2_random"),
    ("allow.auto.create.topics", "false"),
    // Otherwise the producer idles for up to ten seconds after the broker is back.
    ("reconnect.backoff.max.ms", "1000"),
    // The back-off starts anew with every TCP connection: with the default of 100 a handshake that fails
    // is tried sixteen times a second (librdkafka 2.12.1).
    ("reconnect.backoff.ms", "1000"),
];

/// Parts of the names of properties whose values are secrets.
const SECRET: [&str; 6] = ["password", "secret", ".pem", "jaas", "oauthbearer.config", "token"];

/// Files that a handshake needs; read once, when a client is made.
const FILES: [&str; 4] =
    ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location"];

/// What is seen of these files without reading them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamp(Vec<Option<(SystemTime, u64)>>);

/// Everything a client of this configuration is made of.
#[derive(Clone)]
pub struct Settings {
    common: ClientConfig,
    compression: String,
    /// Values that must not be said, whatever text they turn up in.
    secrets: Vec<String>,
    pub brokers: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub protocol: String,
    /// Who logs in, where a name is used for it.
    pub username: Option<String>,
}

impl Settings {
    pub fn new(config: &KafkaConfig, client_id: &str) -> Settings {
        let mut common = ClientConfig::new();
        common.set_log_level(RDKafkaLogLevel::Warning);
        common.set("client.id", client_id);
        common.set("socket.keepalive.enable", "true");
        let mut secrets = Vec::new();
        for (name, value) in &config.properties {
            common.set(name, value.expose());
            if SECRET.iter().any(|part| name.contains(part)) {
                secrets.push(value.expose().to_owned());
            }
        }
        common.set("bootstrap.servers", &config.brokers);
        if let Some(username) = &config.username {
            common.set("sasl.username", username);
        }
        if let Some(password) = &config.password {
            common.set("sasl.password", password.expose());
            secrets.push(password.expose().to_owned());
        }
        let username = common.get("sasl.username").map(str::to_owned);
        let protocol = common.get("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
        let given = ["ssl.ca.location", "ssl.ca.pem"].iter().any(|name| common.get(name).is_some());
        if protocol.contains("ssl") && !given {
            // The linked OpenSSL was built with a folder that no machine has: look where systems keep roots.
            common.set("ssl.ca.location", "probe");
        }
        secrets.retain(|secret| !secret.is_empty());
        // The longest first: one may be part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Settings {
            common,
            compression: config.compression.clone(),
            secrets,
            brokers: config.brokers.clone(),
            protocol,
            username,
        }
    }

    /// For a producer; `alone` sends each record in a batch of its own.
    pub fn producer(&self, alone: bool) -> ClientConfig {
        let mut producer = self.common.clone();
        producer.set("compression.type", &self.compression);
        for (name, value) in PROMISES {
            producer.set(name, value);
        }
        for (name, value) in [
            ("batch.size", BATCH_BYTES),
            ("message.max.bytes", MAX_RECORD_BYTES),
            ("queue.buffering.max.messages", MAX_RECORDS),
            ("queue.buffering.max.kbytes", MAX_BYTES / 1024),
            ("statistics.interval.ms", STATISTICS_MS),
        ] {
            producer.set(name, value.to_string());
        }
        // Records are few and want to be out at once, unless the operator says otherwise.
        if producer.get("linger.ms").is_none() {
            producer.set("linger.ms", "5");
        }
        if alone {
            producer.set("batch.num.messages", "1");
        }
        producer
    }

    /// Changes when a file of the handshake does: certificates are renewed in place.
    pub fn stamp(&self) -> Stamp {
        let files = FILES.iter().filter_map(|name| self.common.get(name));
        let seen = files.map(|path| {
            let file = fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        });
        Stamp(seen.collect())
    }

    /// For questions: no records, no idempotence.
    pub fn admin(&self) -> ClientConfig {
        let mut admin = self.common.clone();
        admin.set("allow.auto.create.topics", "false");
        admin
    }

    /// The text without any secret of this configuration.
    pub fn scrub(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(secret.as_str(), "…");
        }
        clean
    }
}

/// What librdkafka says against one property, alone; without its value where that is a secret.
pub fn objection(name: &str, value: &str) -> Option<String> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    let why = match config.create_native_config() {
        Ok(_) => return None,
        Err(KafkaError::ClientConfig(_, why, _, _)) => why,
        Err(other) => other.to_string(),
    };
    let secret = SECRET.iter().any(|part| name.contains(part)) && !value.is_empty();
    Some(words(&if secret { why.replace(value, "…") } else { why }))
}

/// librdkafka's words without the property's name: of one that has two it takes the other.
fn words(why: &str) -> String {
    const NAMED: &str = "onfiguration property \"";
    let why = why.trim();
    if why.starts_with("No such") {
        return "librdkafka knows no such property".to_owned();
    }
    let named = why.find(NAMED).and_then(|at| {
        let (_, behind) = why[at + NAMED.len()..].split_once('"')?;
        Some((
            why[..at].trim_end_matches(['C', 'c']).trim_end().trim_end_matches(" for"),
            behind.trim_start(),
        ))
    });
    match named {
        Some((before, behind)) => format!("{before} {behind}").trim().to_lowercase(),
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn config(properties: &[(&str, &str)]) -> KafkaConfig {
        KafkaConfig {
            brokers: "127.0.0.1:9092".into(),
            topic_prefix: "certsieve".into(),
            create_topics: false,
            compression: "zstd".into(),
            username: Some("alice".into()),
            password: Some(Secret::new("hunter2")),
            properties: properties.iter().map(|(k, v)| (k.to_string(), Secret::new(*v))).collect(),
        }
    }

    #[test]
    fn no_property_weakens_a_promise() {
        let weak = [
            ("acks", "0"),
            ("message.timeout.ms", "1"),
            ("batch.size", "9000000"),
            ("queue.buffering.max.kbytes", "1"),
        ];
        let producer = Settings::new(&config(&weak), "c").producer(false);
        for (name, want) in [
            ("acks", "all"),
            ("message.timeout.ms", "0"),
            ("batch.size", "900000"),
            ("queue.buffering.max.kbytes", "32768"),
            ("partitioner", "murmur2_random"),
            ("compression.type", "zstd"),
        ] {
            assert_eq!(producer.get(name), Some(want), "{name}");
        }
        producer.create_native_config().unwrap();
    }

    #[test]
    fn how_long_a_batch_waits_is_the_operators() {
        for (properties, want) in [(&[][..], "5"), (&[("linger.ms", "50")], "50")] {
            let settings = Settings::new(&config(properties), "c");
            assert_eq!(settings.producer(false).get("linger.ms"), Some(want));
        }
    }

    #[test]
    fn system_roots_are_looked_for_when_tls_is_asked_for_and_none_are_given() {
        for (properties, want) in [
            (&[][..], None),
            (&[("security.protocol", "SASL_SSL")], Some("probe")),
            (&[("security.protocol", "ssl"), ("ssl.ca.location", "/ca.pem")], Some("/ca.pem")),
            (&[("security.protocol", "ssl"), ("ssl.ca.pem", "-----BEGIN")], None),
            (&[("security.protocol", "sasl_plaintext")], None),
        ] {
            let settings = Settings::new(&config(properties), "c");
            assert_eq!(settings.producer(false).get("ssl.ca.location"), want, "{properties:?}");
        }
    }

    #[test]
    fn a_property_is_judged_alone_and_its_secret_is_not_said() {
        for (name, value, want) in [
            ("linger.ms", "5", None),
            ("client.rack", "r1", None),
            ("ssl.key.password", "hunter2", None),
            ("nonsense.key", "x", Some("librdkafka knows no such property")),
            ("nonsense.password", "hunter2", Some("librdkafka knows no such property")),
            ("socket.timeout.ms", "abc", Some("invalid value")),
            ("linger.ms", "soon", Some("invalid value")),
            ("socket.timeout.ms", "-5", Some("value -5 is outside allowed range 10..300000")),
            ("broker.address.family", "v5", Some("invalid value \"v5\"")),
        ] {
            assert_eq!(objection(name, value).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn a_secret_is_cut_out_of_every_text() {
        let properties = [("ssl.key.password", "hunter22"), ("ssl.key.pem", "KEYKEY"), ("client.rack", "r1")];
        let settings = Settings::new(&config(&properties), "c");
        let text = "alice hunter2 KEYKEY r1 hunter22";
        assert_eq!(settings.scrub(text), "alice … … r1 …");
    }
}
