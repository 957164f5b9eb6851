//! What the account hands to a store, and what it goes on with after a start.
//!
//! A [`Commit`] is durable as a whole or not at all: that alone makes the promise that an index in the
//! ledger has its records in Kafka or in the outbox. It carries what changed, so that it costs what
//! happened since the last one and not what was ever seen; writing it twice does no harm, so that one
//! whose outcome is unknown is simply written again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::ledger::Change;
use super::outbox::{Held, Stored};
use super::raised::{Alert, Issuance};
use crate::entry::Timestamp;
use crate::record::Rejection;

/// What changed since the last commit that was saved.
#[derive(Clone, Default, Debug)]
pub struct Commit {
    pub ledger: Vec<Change>,
    /// Alerts that are new or changed; `None`: forgotten.
    pub alerts: Vec<(Uuid, Option<Alert>)>,
    /// Issuances that are new or changed, by issuance key; `None`: forgotten.
    pub issuances: Vec<(String, Option<Issuance>)>,
    /// Asset and issuer, seen together for the first time.
    pub issuers: Vec<(String, String)>,
    /// Records that have no final report and are in no commit before.
    pub records: Vec<Arc<Held>>,
    /// Records of commits before that have their final report now.
    pub settled: Vec<u64>,
    pub refused: Vec<Refused>,
    /// The last number that was given to a record.
    pub sequence: u64,
    /// The watch list's version, when it is another one.
    pub list_version: Option<String>,
}

impl Commit {
    /// Nothing happened.
    pub fn is_empty(&self) -> bool {
        self.ledger.is_empty()
            && self.alerts.is_empty()
            && self.issuances.is_empty()
            && self.issuers.is_empty()
            && self.records.is_empty()
            && self.settled.is_empty()
            && self.refused.is_empty()
            && self.list_version.is_none()
    }
}

/// A record that Kafka refused for itself.
#[derive(Clone, Debug)]
pub struct Refused {
    pub held: Arc<Held>,
    pub reason: Rejection,
    /// In Kafka's words.
    pub message: String,
    pub at: Timestamp,
}

/// A range of the ledger: log, first index, last index.
pub type Seen = (Arc<str>, u64, u64);

/// What a store gives at the start.
#[derive(Clone, Default, Debug)]
pub struct State {
    pub ledger: Vec<Seen>,
    pub alerts: HashMap<Uuid, Alert>,
    pub issuances: HashMap<String, Issuance>,
    /// Asset and issuer.
    pub issuers: HashSet<(String, String)>,
    pub outbox: Stored,
    /// The last number that was given to a record.
    pub sequence: u64,
    pub list_version: Option<String>,
}

/// Keeps commits: in memory, or in a store.
pub trait Journal: Send {
    /// Durable when it returns. After an error it is given again, with what happened since.
    fn commit(&mut self, commit: &Commit) -> Result<(), JournalError>;

    /// Records of commits before, in the order of their numbers: from this one on, so many bytes, at
    /// least one if there is any.
    fn records(&mut self, from: u64, bytes: usize) -> Result<Vec<Held>, JournalError>;

    /// Nothing is pending: time to give room back.
    fn rest(&mut self) {}

    /// Bytes that it takes up on disk.
    fn size(&self) -> u64 {
        0
    }
}

/// Why a commit was not written; [`reason`](JournalError::reason) is the label of
/// `certsieve_state_errors_total`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{0}: make room; until then findings wait in memory and are shed above its bound")]
    Full(String),
    #[error("{0}: it is opened again and again until it works")]
    Io(String),
    #[error("{0}: stop certsieve and start it again, which sets the file aside and builds a new one")]
    Damaged(String),
}

impl JournalError {
    pub const REASONS: [&str; 3] = ["full", "io", "damaged"];

    pub fn reason(&self) -> &'static str {
        match self {
            JournalError::Full(_) => "full",
            JournalError::Io(_) => "io",
            JournalError::Damaged(_) => "damaged",
        }
    }
}

/// The journal of a process that keeps its state in memory: the account itself is the state.
#[derive(Clone, Copy, Default, Debug)]
pub struct InMemory;

impl Journal for InMemory {
    fn commit(&mut self, _: &Commit) -> Result<(), JournalError> {
        Ok(())
    }

    fn records(&mut self, _: u64, _: usize) -> Result<Vec<Held>, JournalError> {
        Ok(Vec::new())
    }
}
