//! The account of logs for people and scripts: `/ledger` and `certsieve ledger`.
//!
//! One JSON object: every log with its first and last index, the size of its tree, what is missing of it and
//! since when; and the records that Kafka refused. At most [`MAX_HOLES`](super::following::MAX_HOLES) holes
//! of a log are listed, their number is whole.

use serde::{Deserialize, Serialize};

use super::Counts;
use crate::entry::Timestamp;

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// When this was so.
    pub at: String,
    pub logs: Vec<LogReport>,
    pub rejected: Vec<RejectedReport>,
}

/// One log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogReport {
    /// Its `log_id`, or its URL where no list has it.
    pub log: String,
    pub name: Option<String>,
    /// `followed`, `uncovered`, `unaccountable` or `unlisted`.
    pub state: String,
    /// Every index from here on is accounted for.
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub tree_size: Option<u64>,
    /// How many indexes the last one is behind the tree.
    pub lag: Option<u64>,
    /// Indexes that are missing.
    pub missing: u64,
    pub missing_since: Option<String>,
    /// First and last index of each, oldest first.
    pub holes: Vec<(u64, u64)>,
    /// Indexes that were read from the log itself, since the account began.
    pub refilled: u64,
    /// Indexes that were given up.
    pub lost: u64,
    pub implausible: u64,
}

/// One record that Kafka refused for itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RejectedReport {
    pub id: String,
    pub topic: String,
    pub reason: String,
    pub message: String,
    pub at: String,
}

impl Report {
    pub fn of(counts: &Counts, now: Timestamp) -> Report {
        let log = |log: &super::logs::LogState| LogReport {
            log: log.log.to_string(),
            name: log.name.as_ref().map(|name| name.to_string()),
            state: log.standing.label().to_owned(),
            first: log.first,
            last: log.last,
            tree_size: log.tree_size,
            lag: log.tree_size.zip(log.last).map(|(size, last)| size.saturating_sub(last.saturating_add(1))),
            missing: log.missing,
            missing_since: log.missing_since.map(|since| since.to_string()),
            holes: log.holes.clone(),
            refilled: log.refilled,
            lost: log.lost,
            implausible: log.implausible,
        };
        let rejected = |refused: &super::RefusedState| RejectedReport {
            id: refused.id.clone(),
            topic: refused.topic.suffix().to_owned(),
            reason: refused.reason.label().to_owned(),
            message: refused.message.clone(),
            at: refused.at.to_string(),
        };
        Report {
            at: now.to_string(),
            logs: counts.logs.iter().map(log).collect(),
            rejected: counts.refused.iter().map(rejected).collect(),
        }
    }
}

/// The body of `/ledger`.
pub fn json(counts: &Counts, now: Timestamp) -> String {
    let mut text = serde_json::to_string_pretty(&Report::of(counts, now)).unwrap_or_default();
    text.push('\n');
    text
}
