//! `[kafka]`: where records go.
//!
//! Any property of librdkafka may be set, but not those that carry certsieve's promises: each of them
//! is refused with the reason, and so is what librdkafka refuses. Sign-in is either whole or absent.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeValue;

use crate::document::{self, Keys};
use crate::problem::Report;
use crate::record::Topic;

use super::{KafkaConfig, NOTHING_LATER, Secret, beside, cannot_read, read_secret, shown};

/// Every key of the table, for those that stand elsewhere.
pub const KEYS: &[&str] = &[
    "brokers",
    "topic_prefix",
    "create_topics",
    "compression",
    "username",
    "password",
    "password_file",
    "properties",
];

const COMPRESSIONS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

const PROTOCOLS: &[&str] = &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];

/// A topic's name has no more, prefix and suffix together.
const MAX_TOPIC: usize = 249;

/// Names of librdkafka have at most half of it.
const MAX_PROPERTY: usize = 128;

/// Properties that are certsieve's own, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("acks", ACKS),
    ("request.required.acks", ACKS),
    ("enable.idempotence", "records are written once and in order only by an idempotent producer"),
    ("enable.gapless.guarantee", "it makes any failed record a fatal error"),
    ("message.timeout.ms", TIMEOUT),
    ("delivery.timeout.ms", TIMEOUT),
    ("partitioner", "records of one issuance must stay on the partition that other clients expect"),
    ("max.in.flight", IN_FLIGHT),
    ("max.in.flight.requests.per.connection", IN_FLIGHT),
    ("retries", RETRIES),
    ("message.send.max.retries", RETRIES),
    ("message.max.bytes", "records are bounded by construction, and batches are kept under a broker's limit"),
    ("queue.buffering.max.messages", QUEUE),
    ("queue.buffering.max.kbytes", QUEUE),
    ("queue.buffering.max.ms", "it is written linger.ms"),
    ("batch.size", "batches are kept under a broker's limit, which refuses a whole one"),
    ("statistics.interval.ms", "metrics are made of librdkafka's statistics"),
    ("transactional.id", "certsieve does not write in transactions"),
    ("transaction.timeout.ms", "certsieve does not write in transactions"),
    ("bootstrap.servers", "it is written brokers in [kafka]"),
    ("metadata.broker.list", "it is written brokers in [kafka]"),
    ("compression.codec", "it is written compression in [kafka]"),
    ("compression.type", "it is written compression in [kafka]"),
    ("allow.auto.create.topics", "topics are created with their own settings, see create_topics"),
    ("delivery.report.only.error", "a record counts as delivered only with its report"),
    ("sasl.username", "it is written username in [kafka]"),
    ("sasl.password", "it is written password_file in [kafka], or CERTSIEVE_KAFKA__PASSWORD"),
];
/// Properties that name a file or a folder, as a path relative to the configuration. `probe`, the name
/// for the system's own roots, is none.
const FILES: &[&str] = &[
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "sasl.kerberos.keytab",
];
const ACKS: &str = "a record counts as delivered only when all in-sync replicas have it";
const TIMEOUT: &str = "a record is never given up: it is retried until Kafka takes it";
const IN_FLIGHT: &str = "an idempotent producer has at most five, and sets it itself";
const RETRIES: &str = "a record is retried until Kafka takes it";
const QUEUE: &str = "the producer's queue is part of the bound on memory";

pub fn read(file: &Path, mut keys: Keys<'_, '_>, report: &mut Report<'_>) -> KafkaConfig {
    let brokers = brokers(&mut keys, report);
    let topic_prefix = topic_prefix(&mut keys, report);
    let create_topics = keys.boolean(report, "create_topics").unwrap_or(true);
    let compression = compression(&mut keys, report);
    let username = keys.text(report, "username").map(|name| (*name.get_ref()).to_owned());
    let password = password(file, &mut keys, report);
    let properties = match keys.table(report, "properties", "[kafka.properties]") {
        Some(table) => properties(file, &table, report),
        None => BTreeMap::new(),
    };
    sign_in(&keys, report, &properties);
    keys.finish(report, NOTHING_LATER, &[]);
    KafkaConfig { brokers, topic_prefix, create_topics, compression, username, password, properties }
}

fn brokers(keys: &mut Keys<'_, '_>, report: &mut Report<'_>) -> String {
    let mut brokers: Vec<String> = Vec::new();
    let given = keys.each_text(report, "brokers", |report, text, place| {
        for broker in text.split(',').map(str::trim) {
            if broker.contains("://") {
                let hint = "write host:port alone, and \"security.protocol\" in [kafka.properties]";
                report.add(place.clone(), format!("broker `{}` has a scheme", shown(broker)), hint);
            } else if broker.is_empty()
                || broker.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
            {
                let hint = "write host:port, several with commas between";
                report.add(place.clone(), format!("broker `{}` is no host and port", shown(broker)), hint);
            } else if !has_port(broker) {
                let hint = "a port is a number from 1 to 65535; without one it is 9092";
                report.add(place.clone(), format!("broker `{}` has no such port", shown(broker)), hint);
            } else {
                brokers.push(broker.to_owned());
            }
        }
    });
    if given.is_none() {
        report.missing(keys.place(), "[kafka] without brokers", "write brokers = \"127.0.0.1:9092\"");
    }
    brokers.join(",")
}

/// Whether what stands behind a broker's last colon is a port: librdkafka would take any number.
fn has_port(broker: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+');
    match (broker.rsplit_once(':'), broker.rsplit_once(']')) {
        (_, Some((_, behind))) => behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port),
        // An IPv6 address without brackets.
        (Some((host, _)), None) if host.contains(':') => true,
        (Some((_, port)), None) => is_port(port),
        (None, None) => true,
    }
}

fn topic_prefix(keys: &mut Keys<'_, '_>, report: &mut Report<'_>) -> String {
    let Some(prefix) = keys.text(report, "topic_prefix") else { return "certsieve".to_owned() };
    let (text, place) = (*prefix.get_ref(), prefix.span());
    let longest = Topic::ALL.iter().map(|topic| topic.suffix().len() + 1).max().unwrap_or(0);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || !text.chars().all(legal) {
        let hint = "topics of Kafka have letters, digits, dots, hyphens and underscores";
        report.add(place, format!("topic_prefix `{}` is no part of a topic's name", shown(text)), hint);
    } else if text.len() + longest > MAX_TOPIC {
        let hint = format!("it may have {}: a topic's name has at most {MAX_TOPIC}", MAX_TOPIC - longest);
        report.add(place, format!("topic_prefix has {} bytes", text.len()), hint);
    }
    text.to_owned()
}

fn compression(keys: &mut Keys<'_, '_>, report: &mut Report<'_>) -> String {
    let Some(compression) = keys.text(report, "compression") else { return "zstd".to_owned() };
    let text = *compression.get_ref();
    if !COMPRESSIONS.contains(&text) {
        let hint = match document::nearest(text, COMPRESSIONS.iter()) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => format!("it is {}", document::listed(COMPRESSIONS)),
        };
        report.add(compression.span(), format!("compression `{}` is unknown", shown(text)), hint);
    }
    text.to_owned()
}

/// From its file, or from the environment; in the configuration itself it has no place.
fn password(file: &Path, keys: &mut Keys<'_, '_>, report: &mut Report<'_>) -> Option<Secret> {
    let value = keys.value("password");
    let direct = match value.map(|value| (value.get_ref(), value.span())) {
        None => None,
        Some((DeValue::String(text), place)) if report.is_variable(&place) => {
            Some(Secret::new(text.as_ref()))
        }
        Some(_) => {
            let hint = "write password_file, or set CERTSIEVE_KAFKA__PASSWORD";
            report.add(keys.place_of("password"), "a password has no place in the configuration", hint);
            None
        }
    };
    if direct.as_ref().is_some_and(|password| password.expose().is_empty()) {
        report.add(
            value.map_or(keys.place(), |value| value.span()),
            "the password is empty",
            "set it, or remove it",
        );
    }
    let Some(named) = keys.text(report, "password_file") else { return direct };
    if keys.has("password") {
        report.add(named.span(), "password_file beside a password", "keep one of them");
    }
    let path = beside(file, named.get_ref());
    match read_secret(&path) {
        Ok(secret) => Some(secret),
        Err(reason) => {
            cannot_read(report, named.span(), "password_file", &path, &reason);
            None
        }
    }
}

fn properties(file: &Path, table: &Keys<'_, '_>, report: &mut Report<'_>) -> BTreeMap<String, Secret> {
    let mut properties = BTreeMap::new();
    for (key, value) in table.entries() {
        let (name, place) = (*key.get_ref(), key.span());
        if let Some(reason) = refusal(name) {
            report.add(
                place,
                format!("property `{}` is certsieve's own: {reason}", shown(name)),
                "remove it",
            );
            continue;
        }
        let legal = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        };
        if name.is_empty() || name.len() > MAX_PROPERTY || !name.bytes().all(legal) {
            let hint = "write it as librdkafka's list of properties does, in quotes: \"linger.ms\" = 5";
            report.add(place, format!("`{}` is no name of a property", shown(name)), hint);
            continue;
        }
        let secret = match value.get_ref() {
            DeValue::String(text) => Secret::new(text.as_ref()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Secret::new(number.to_string()),
                Err(_) => {
                    report.add(
                        place,
                        format!("the value of property `{name}` is too large a number"),
                        "write less",
                    );
                    continue;
                }
            },
            DeValue::Boolean(boolean) => Secret::new(boolean.to_string()),
            DeValue::Table(source) => {
                let mut source = Keys::new(source, value.span(), "a property's value");
                let named = source.text(report, "file");
                // Without quotes a dotted name is a table in a table.
                if !source.has("file") {
                    let hint = format!("write \"{name}.…\" in quotes, or {{ file = \"…\" }} as its value");
                    report.add(place, format!("property `{name}` is a table"), hint);
                    continue;
                }
                source.finish(report, NOTHING_LATER, &[]);
                let Some(named) = named else { continue };
                let path = beside(file, named.get_ref());
                match read_secret(&path) {
                    Ok(secret) => secret,
                    Err(reason) => {
                        cannot_read(report, place, &format!("property `{name}`"), &path, &reason);
                        continue;
                    }
                }
            }
            other => {
                document::wrong_type(
                    report,
                    place,
                    &format!("property `{name}`"),
                    "text, a number, true or false",
                    other,
                );
                continue;
            }
        };
        if secret.expose().contains('\0') {
            report.add(place, format!("the value of property `{name}` has a zero byte in it"), "remove it");
            continue;
        }
        if name == "security.protocol" && !PROTOCOLS.contains(&secret.expose().to_ascii_lowercase().as_str())
        {
            report.add(
                place,
                "security.protocol is unknown",
                format!("it is {}", document::listed(PROTOCOLS)),
            );
        }
        let secret = match FILES.contains(&name) && secret.expose() != "probe" {
            true => {
                let path = beside(file, secret.expose());
                if let Err(error) = std::fs::metadata(&path) {
                    cannot_read(report, key.span(), &format!("property `{name}`"), &path, &error.to_string());
                }
                Secret::new(path.to_string_lossy())
            }
            false => secret,
        };
        // Which protocols there are was said above.
        let known = name == "security.protocol";
        if let Some(why) = objection(name, secret.expose()).filter(|_| !known) {
            let hint = "librdkafka's CONFIGURATION.md has every property with its values";
            report.add(key.span(), format!("property `{name}`: {why}"), hint);
            continue;
        }
        properties.insert(name.to_owned(), secret);
    }
    properties
}

/// What the client itself says against a property and its value.
#[cfg(feature = "kafka")]
fn objection(name: &str, value: &str) -> Option<String> {
    crate::publish::kafka::objection(name, value)
}

/// Without the client nobody knows its properties, and no record goes to Kafka either.
#[cfg(not(feature = "kafka"))]
fn objection(_: &str, _: &str) -> Option<String> {
    None
}

fn refusal(name: &str) -> Option<&'static str> {
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Some(reason);
    }
    if name.starts_with("test.mock.") {
        return Some("it would write to a broker that is none");
    }
    let called_back = name.ends_with("_cb") || name == "opaque";
    called_back.then_some("it is a function, which no text can be")
}

/// A user needs a password, a protocol with SASL and a mechanism, and each of them the others.
fn sign_in(keys: &Keys<'_, '_>, report: &mut Report<'_>, properties: &BTreeMap<String, Secret>) {
    let property = |names: &[&str]| names.iter().find_map(|name| properties.get(*name)).map(Secret::expose);
    let user = keys.has("username");
    let password = keys.has("password") || keys.has("password_file");
    let sasl = property(&["security.protocol"])
        .is_some_and(|protocol| protocol.to_ascii_lowercase().starts_with("sasl"));
    let mechanism = property(&["sasl.mechanism", "sasl.mechanisms"]);
    let by_password = mechanism.is_some_and(|mechanism| {
        let mechanism = mechanism.to_ascii_uppercase();
        mechanism == "PLAIN" || mechanism.starts_with("SCRAM-")
    });
    let mut lacks = |place: std::ops::Range<usize>, has: &str, lacked: &str, hint: &str| {
        report.missing(place, format!("{has} without {lacked}"), hint);
    };
    let protocol_hint = "write \"security.protocol\" = \"sasl_ssl\" in [kafka.properties]";
    let mechanism_hint = "write \"sasl.mechanism\" = \"SCRAM-SHA-512\" in [kafka.properties]";
    let user_hint = "write username in [kafka]";
    let password_hint = "write password_file in [kafka], or set CERTSIEVE_KAFKA__PASSWORD";
    if user {
        let place = || keys.place_of("username");
        if !password {
            lacks(place(), "username", "a password", password_hint);
        }
        if !sasl {
            lacks(place(), "username", "a security.protocol with SASL", protocol_hint);
        }
        if mechanism.is_none() {
            lacks(place(), "username", "a sasl.mechanism", mechanism_hint);
        }
        return;
    }
    if password {
        let key = if keys.has("password_file") { "password_file" } else { "password" };
        lacks(keys.place_of(key), key, "username", user_hint);
    }
    let place = keys.place_of("properties");
    if by_password && !password {
        lacks(place.clone(), "a sasl.mechanism with passwords", "username", user_hint);
    }
    if sasl && mechanism.is_none() {
        lacks(place, "a security.protocol with SASL", "a sasl.mechanism", mechanism_hint);
    } else if mechanism.is_some() && !sasl {
        lacks(place, "a sasl.mechanism", "a security.protocol with SASL", protocol_hint);
    }
}
