//! Whether the tables of an asset cover all that it owns in a certificate, and what speaks for its issuer.
//!
//! Every owned identity needs a table that holds, and every key of a table must hold. A key that the message
//! cannot decide is neither yes nor no: the answer says what is missing. What an issuer says of itself is a
//! claim; its own certificate, where the chain is at hand, and CCADB can contradict it.
//!
//! Pure. Cost: one answer a table, however many identities, and a look at each scope for each identity.

use super::Case;
use crate::ccadb::{Claim, Data, Issuing};
use crate::entry::{ChainCertificate, Evidence, Facts, Value};
use crate::watch::{Asset, Expectation};

impl Case<'_> {
    /// The worst answer for any owned identity. Every one must be covered by a table that holds.
    pub(super) fn coverage(&self, asset: &Asset, owned: &[usize]) -> Coverage {
        if self.claim == Claim::Disagrees {
            return Coverage::Not(owned.first().copied().unwrap_or_default());
        }
        // One answer a table, however many identities: a certificate may have thousands.
        let held: Vec<(Answer, Answer)> =
            asset.expect.iter().map(|table| (self.issuer_of(table), self.key_of(table))).collect();
        let mut worst = Coverage::Whole;
        for identity in owned {
            let mut best = Coverage::Not(*identity);
            for (table, held) in asset.expect.iter().zip(&held) {
                let answer = match held {
                    _ if !self.covers(table, *identity) => continue,
                    (Answer::Yes, Answer::Yes) => Coverage::Whole,
                    (Answer::No, _) => continue,
                    (_, Answer::No) => Coverage::Key,
                    (Answer::Unknown(what), _) | (_, Answer::Unknown(what)) => Coverage::Unknown(*what),
                };
                if answer.badness() < best.badness() {
                    best = answer;
                }
            }
            if best.badness() > worst.badness() {
                worst = best;
            }
        }
        match worst {
            // What could not be read whole may hold what nobody saw.
            Coverage::Whole if self.facts.malformed => {
                Coverage::Unknown(Missing::InMessage("certificate as a whole"))
            }
            worst => worst,
        }
    }

    pub(super) fn covers(&self, table: &Expectation, identity: usize) -> bool {
        let identities = &self.facts.identities;
        identities.get(identity).is_some_and(|identity| match identity.value {
            Value::Name { ascii, .. } => table.scope.covers_name(identities.text(ascii)),
            Value::Address(address) => table.scope.covers_address(address),
            Value::Network(network) => table.scope.covers_network(network),
        })
    }

    /// Whether the issuer is the one that a table names. Every key that is given must hold.
    pub(super) fn issuer_of(&self, table: &Expectation) -> Answer {
        self.issuer_answers(table).into_iter().fold(Answer::Yes, |all, (_, answer)| all.and(answer))
    }

    /// Whether each key of a table holds that names the issuer; one that is not given does.
    pub(super) fn issuer_answers(&self, table: &Expectation) -> [(&'static str, Answer); 5] {
        let issuer = &self.facts.issuer;
        let any = |expected: &[String], seen: &[String]| seen.iter().any(|value| expected.contains(value));
        let name = |expected: &[String], seen: &[String], what| match expected {
            [] => Answer::Yes,
            _ if !issuer.given => Answer::Unknown(what),
            _ => Answer::of(any(expected, seen)),
        };
        let key_id = match &self.facts.authority_key_id {
            _ if table.issuer_key_id.is_empty() => Answer::Yes,
            Some(id) => Answer::of(table.issuer_key_id.contains(id)),
            // The DER decides: a certificate without the extension has no expected key.
            None if self.facts.evidence == Evidence::Der && !self.facts.malformed => Answer::No,
            None => Answer::Unknown(Missing::InMessage("issuer's key id")),
        };
        let key = match self.facts.issuer_spki_sha256() {
            _ if table.issuer_spki_sha256.is_empty() => Answer::Yes,
            Some(key) => Answer::of(table.issuer_spki_sha256.contains(&key)),
            None => Answer::Unknown(Missing::InMessage("issuer's key")),
        };
        // The owner of the key itself, not of a root that has cross-signed it.
        let owner = match self.issuing.ca_owner() {
            _ if table.ca_owner.is_empty() => Answer::Yes,
            Some(owner) => Answer::of(table.ca_owner.iter().any(|expected| expected == owner)),
            None => Answer::Unknown(Missing::Owner),
        };
        [
            (
                "issuer_organization",
                name(
                    &table.issuer_organization,
                    &issuer.organization,
                    Missing::InMessage("issuer's organisation"),
                ),
            ),
            (
                "issuer_common_name",
                name(
                    &table.issuer_common_name,
                    &issuer.common_name,
                    Missing::InMessage("issuer's common name"),
                ),
            ),
            ("issuer_key_id", key_id),
            ("issuer_spki_sha256", key),
            ("ca_owner", owner),
        ]
    }

    /// Whether the certificate's own key is one that a table lists.
    pub(super) fn key_of(&self, table: &Expectation) -> Answer {
        match self.facts.spki_sha256 {
            _ if table.subject_keys.is_none() => Answer::Yes,
            Some(key) => Answer::of(table.lists_key(&key)),
            None => Answer::Unknown(Missing::InMessage("certificate's key")),
        }
    }

    /// What is missing, and where: the second half of a sentence.
    pub(super) fn missing(&self, missing: Missing) -> String {
        match (missing, self.issuing.trust.data, &self.facts.authority_key_id) {
            (Missing::InMessage(what), _, _) => format!("{what}, which this message does not show"),
            (Missing::Owner, Data::Ccadb, Some(id)) => {
                format!("issuer's owner, and [trust] has no row for key id {id}")
            }
            (Missing::Owner, Data::Ccadb, None) => {
                "issuer's owner, and the certificate has no issuer key id to look it up by".to_owned()
            }
            (Missing::Owner, _, _) => "issuer's owner, and there is no [trust] ccadb to say it".to_owned(),
        }
    }

    /// An expected value and the one seen in its place, where they are the same to the eye.
    pub(super) fn near_miss<'a>(&'a self, asset: &'a Asset) -> Option<(&'a str, &'a str)> {
        let owner: Vec<&str> = self.issuing.ca_owner().into_iter().collect();
        let issuer = &self.facts.issuer;
        asset.expect.iter().find_map(|table| {
            alike(&table.issuer_organization, &texts(&issuer.organization))
                .or_else(|| alike(&table.issuer_common_name, &texts(&issuer.common_name)))
                .or_else(|| alike(&table.ca_owner, &owner))
        })
    }
}

/// Whether the issuer is what the certificate says. The chain says who could have signed it; CCADB is
/// asked by the key id, which is a claim itself, so that it can contradict and not confirm.
pub fn claim(facts: &Facts, issuing: &Issuing) -> Claim {
    let chain = facts.issuer_certificate().map(|issuer| is_named(facts, issuer));
    match (chain, issuing.claim) {
        (Some(false), _) | (_, Claim::Disagrees) => Claim::Disagrees,
        (Some(true), _) => Claim::Agrees,
        (None, _) => Claim::NotAtHand,
    }
}

/// `certsieve.issuer.strength`.
pub fn strength(claim: Claim) -> &'static str {
    match claim {
        Claim::Agrees => "verified",
        Claim::Disagrees | Claim::NotAtHand => "claimed",
    }
}

/// Whether the certificate names this issuer, by name and, where both have one, by key id. Names are
/// compared as RFC 5280, 7.1 has it: without regard to case and repeated white space.
fn is_named(facts: &Facts, issuer: &ChainCertificate) -> bool {
    let plain = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let same_key = match (&facts.authority_key_id, &issuer.key_id) {
        (Some(claimed), Some(own)) => claimed == own,
        _ => true,
    };
    same_key && plain(&facts.issuer.distinguished_name) == plain(&issuer.subject.distinguished_name)
}

pub(super) fn texts(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

/// An expected value and a seen one that are not the same, but to the eye.
pub(super) fn alike<'a>(expected: &'a [String], seen: &[&'a str]) -> Option<(&'a str, &'a str)> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    expected.iter().find_map(|e| {
        let s = seen.iter().find(|s| **s != e && plain(s) == plain(e))?;
        Some((e.as_str(), *s))
    })
}

/// What a table asks for and nothing at hand says.
#[derive(Clone, Copy)]
pub(super) enum Missing {
    /// A part of the certificate or of its chain.
    InMessage(&'static str),
    /// Who owns the issuer, by CCADB.
    Owner,
}

/// Whether the tables of an asset cover all that it owns in a certificate.
#[derive(Clone, Copy)]
pub(super) enum Coverage {
    Whole,
    /// They may: what the message lacks.
    Unknown(Missing),
    /// They would, if the key were listed.
    Key,
    /// Not this identity.
    Not(usize),
}

impl Coverage {
    fn badness(self) -> u8 {
        match self {
            Coverage::Whole => 0,
            Coverage::Unknown(_) => 1,
            Coverage::Key => 2,
            Coverage::Not(_) => 3,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Answer {
    Yes,
    No,
    /// What the message lacks.
    Unknown(Missing),
}

impl Answer {
    fn of(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }

    pub(super) fn holds(self) -> Option<bool> {
        match self {
            Answer::Yes => Some(true),
            Answer::No => Some(false),
            Answer::Unknown(_) => None,
        }
    }

    fn and(self, other: Answer) -> Answer {
        match (self, other) {
            (Answer::No, _) | (_, Answer::No) => Answer::No,
            (Answer::Unknown(what), _) | (_, Answer::Unknown(what)) => Answer::Unknown(what),
            (Answer::Yes, Answer::Yes) => Answer::Yes,
        }
    }
}
