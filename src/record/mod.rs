//! What leaves the program: numbered records for Kafka topics.
//!
//! Pure. A [`Record`] is complete when it is made: topic, key, headers, value, time. Where it goes
//! is left to `publish/`, when it counts as arrived to `account/`.
//!
//! The value is Elastic Common Schema 9.4 at the top level, everything else under `certsieve`; the
//! types that are serialised are also the source of the JSON Schemas. Each value keeps its bound by
//! construction: an alert, match or health record 64 KiB, a malformed record 512 KiB.

mod compose;
pub mod id;
pub mod schema;
mod text;
pub mod value;
mod x509;

pub use compose::{
    Arrival, Case, Composer, Health, HealthKind, MAX_MALFORMED_BYTES, MAX_ORIGINAL_BYTES, MAX_RECORD_BYTES,
    REFILL,
};

pub use text::{clean, printable, start};

use crate::entry::Timestamp;

/// The topics, without their prefix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    Alert,
    Match,
    Malformed,
    Health,
}

impl Topic {
    pub const ALL: [Topic; 4] = [Topic::Alert, Topic::Match, Topic::Malformed, Topic::Health];

    /// The name behind the prefix: `alert.v1`.
    pub fn suffix(self) -> &'static str {
        match self {
            Topic::Alert => "alert.v1",
            Topic::Match => "match.v1",
            Topic::Malformed => "malformed.v1",
            Topic::Health => "health.v1",
        }
    }

    /// The full name: `certsieve.alert.v1`.
    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}.{}", self.suffix())
    }
}

/// One record, numbered by the account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The account's number, which a delivery report names.
    pub sequence: u64,
    pub topic: Topic,
    /// Partitioning key.
    pub key: String,
    /// CloudEvents 1.0 in Kafka's binary mode, in the order written.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub value: Vec<u8>,
    /// When it was numbered: Kafka's timestamp of the record.
    pub at: Timestamp,
}

/// The headers of every kind of record.
const HEADERS: [&str; 9] = [
    "ce_specversion",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_subject",
    "ce_time",
    "ce_dataschema",
    "ce_severity",
    "content-type",
];

/// The header of this name, when there is one.
pub fn header(name: &str) -> Option<&'static str> {
    HEADERS.into_iter().find(|header| *header == name)
}

impl Record {
    /// Bytes that it holds in a queue.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.len()).sum();
        std::mem::size_of::<Record>() + self.key.len() + headers + self.value.len()
    }
}

/// Kafka's word on one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub sequence: u64,
    pub outcome: Outcome,
    pub at: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Acknowledged by all in-sync replicas.
    Delivered,
    /// Refused for itself, when it was sent alone; it will never be taken.
    Rejected { reason: Rejection, message: String },
    /// Not taken, and nothing says that it never will be: hand it over again.
    Returned,
}

/// Why Kafka refuses a record for itself; the label of `certsieve_records_rejected_total`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rejection {
    TooLarge,
    Invalid,
    Other,
}

impl Rejection {
    pub const ALL: [Rejection; 3] = [Rejection::TooLarge, Rejection::Invalid, Rejection::Other];

    pub fn label(self) -> &'static str {
        match self {
            Rejection::TooLarge => "too_large",
            Rejection::Invalid => "invalid",
            Rejection::Other => "other",
        }
    }
}
