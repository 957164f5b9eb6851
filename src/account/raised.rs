//! The alerts that were raised: each once, however often its certificate is seen.
//!
//! A set of alert ids, each kept until the certificate's end plus 90 days and never evicted by volume: an
//! attacker who could push an id out could page twice, or hide behind the noise. It grows by one entry
//! of about 150 bytes for each alert.

use std::collections::{HashMap, HashSet};

use ring::digest::{Context, SHA256};
use uuid::Uuid;

use crate::entry::{Facts, Provenance, Timestamp, Value, issuance};
use crate::judge::Rule;
use crate::record::id;

/// How long after the certificate's end a copy of it may still be logged, or a feed be replayed.
const KEPT_AFTER_END_MS: i64 = 90 * 86_400_000;

/// The set, and what is known of each issuance.
#[derive(Clone, Default, Debug)]
pub struct Raised {
    alerts: HashMap<Uuid, Alert>,
    issuances: HashMap<String, Issuance>,
    changed_alerts: HashSet<Uuid>,
    changed_issuances: HashSet<String>,
}

/// What is known of a raised alert.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    /// Until when it is kept.
    pub until: Timestamp,
    /// SHA-256 of the subject key, when it was seen as DER.
    pub key: Option<[u8; 32]>,
}

/// What is known of an issuance that raised one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuance {
    /// Until when it is kept.
    pub until: Timestamp,
    /// SHA-256 over validity and SAN.
    pub content: [u8; 32],
    /// SHA-256 of the subject key, once it was seen as DER.
    pub key: Option<[u8; 32]>,
}

/// Whether an alert is to be raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is new, and has this id; [`Raised::enter`] makes it known.
    New(Uuid),
    /// It was raised before, under this id.
    Known(Uuid),
}

impl Raised {
    /// Looks an alert up. `asset`, `rule` and `matched` are what its id is made of beside the
    /// certificate.
    pub fn look(&mut self, facts: &Facts, asset: &str, rule: Rule, matched: &[usize]) -> Answer {
        let id = id::alert(facts, asset, rule, matched, None);
        let Some(before) = self.alerts.get_mut(&id) else { return Answer::New(id) };
        match (before.key, facts.spki_sha256) {
            // Both seen as DER, with different keys: two certificates, whatever they claim.
            (Some(before), Some(key)) if before != key => {
                let id = id::alert(facts, asset, rule, matched, Some(&issuance::hex(&key)));
                if self.alerts.contains_key(&id) { Answer::Known(id) } else { Answer::New(id) }
            }
            (None, key) => {
                // Raised on text; from here on its key is known.
                if key.is_some() {
                    before.key = key;
                    self.changed_alerts.insert(id);
                }
                Answer::Known(id)
            }
            _ => Answer::Known(id),
        }
    }

    /// Enters an alert that is raised.
    pub fn enter(&mut self, id: Uuid, facts: &Facts, now: Timestamp) {
        self.alerts.insert(id, Alert { until: until(facts, now), key: facts.spki_sha256 });
        self.changed_alerts.insert(id);
    }

    /// Goes on with what a store holds.
    pub fn resume(&mut self, alerts: HashMap<Uuid, Alert>, issuances: HashMap<String, Issuance>) {
        (self.alerts, self.issuances) = (alerts, issuances);
    }

    /// Alerts that are new, changed or (`None`) forgotten since [`saved`](Raised::saved).
    pub fn changed_alerts(&self) -> Vec<(Uuid, Option<Alert>)> {
        self.changed_alerts.iter().map(|id| (*id, self.alerts.get(id).cloned())).collect()
    }

    /// Issuances, likewise.
    pub fn changed_issuances(&self) -> Vec<(String, Option<Issuance>)> {
        self.changed_issuances.iter().map(|key| (key.clone(), self.issuances.get(key).cloned())).collect()
    }

    /// What changed is durable.
    pub fn saved(&mut self) {
        self.changed_alerts.clear();
        self.changed_issuances.clear();
    }

    /// True when the issuance key of this certificate was seen in an alert on other content: other
    /// names, another validity or another subject key.
    pub fn is_reused(&mut self, facts: &Facts, now: Timestamp) -> bool {
        if facts.has_no_key() {
            return false;
        }
        let content = content(facts);
        let until = until(facts, now);
        let key = facts.spki_sha256;
        match self.issuances.get_mut(&facts.issuance_key) {
            Some(before) if before.content != content => true,
            Some(before) => {
                let known = before.key;
                if known.is_none() && key.is_some() {
                    before.key = key;
                    self.changed_issuances.insert(facts.issuance_key.clone());
                }
                known.is_some() && key.is_some() && known != key
            }
            None => {
                self.issuances.insert(facts.issuance_key.clone(), Issuance { until, content, key });
                self.changed_issuances.insert(facts.issuance_key.clone());
                false
            }
        }
    }

    /// Forgets what no copy can raise again.
    pub fn expire(&mut self, now: Timestamp) {
        let (alerts, issuances) = (&mut self.changed_alerts, &mut self.changed_issuances);
        alerts.extend(self.alerts.extract_if(|_, alert| alert.until < now).map(|(id, _)| id));
        issuances.extend(self.issuances.extract_if(|_, issuance| issuance.until < now).map(|(key, _)| key));
    }

    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }
}

fn until(facts: &Facts, now: Timestamp) -> Timestamp {
    facts.not_after.unwrap_or(now).max(now).plus_millis(KEPT_AFTER_END_MS)
}

/// What a precertificate and its certificate share, read from DER or text: validity and SAN. A common
/// name is left out, which text shows in more than one place.
fn content(facts: &Facts) -> [u8; 32] {
    let mut names: Vec<String> = facts
        .identities
        .iter()
        .filter(|i| i.provenance != Provenance::CommonName && !i.contradicted)
        .filter(|i| !matches!(i.value, Value::Name { .. }) || !facts.identities.value(i).contains('?'))
        .map(|i| facts.identities.value(i))
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut hash = Context::new(&SHA256);
    for time in [facts.not_before, facts.not_after] {
        hash.update(time.map(|t| t.to_string()).unwrap_or_default().as_bytes());
        hash.update(b"\n");
    }
    for name in names {
        hash.update(name.as_bytes());
        hash.update(b"\n");
    }
    hash.finish().as_ref().try_into().unwrap_or([0; 32])
}
