//! The logs that a list knows: by any spelling of their URL, to the id and name that records give them.
//!
//! Immutable and shared: a refreshed list is another one.

use std::collections::HashMap;
use std::sync::Arc;

use super::log_name;

/// One log of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownLog {
    /// What it is known by: its `log_id` as base64, or its name by URL where the list has none.
    pub id: Arc<str>,
    /// For people, and the label of its metrics.
    pub name: Arc<str>,
}

/// Logs by the names that URLs give them.
#[derive(Clone, Default, Debug)]
pub struct KnownLogs {
    by_name: HashMap<String, Arc<KnownLog>>,
    by_id: HashMap<Arc<str>, Arc<KnownLog>>,
}

impl KnownLogs {
    /// `urls` are its spellings.
    pub fn add(&mut self, log: KnownLog, urls: impl IntoIterator<Item = String>) {
        let log = Arc::new(log);
        self.by_id.insert(log.id.clone(), log.clone());
        for url in urls {
            self.by_name.insert(log_name(&url), log.clone());
        }
    }

    /// The log of a URL as [`log_name`] writes it.
    pub fn named(&self, name: &str) -> Option<&Arc<KnownLog>> {
        self.by_name.get(name)
    }

    /// The log of an id.
    pub fn of_id(&self, id: &str) -> Option<&Arc<KnownLog>> {
        self.by_id.get(id)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
