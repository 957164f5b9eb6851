//! What the judge would say and why, for people: how each table fares, and what a policy asks.
//!
//! Nothing is decided here. [`farings`] goes through the tables of a verdict's asset key by key; [`of_anybody`]
//! asks the judge about names without a certificate, as if an issuer that no table expects had certified them,
//! and [`asks`] puts what it ruled into a sentence.

use super::coverage::{alike, claim, texts};
use super::{Case, Rule, Ruling, Verdict, expected_text, judge};
use crate::ccadb::{Claim, Issuing};
use crate::entry::{DistinguishedName, Evidence, Facts, Timestamp, issuance};
use crate::watch::{Expectation, Hit, LIST, Matcher, Policy, Severity};

/// How one `[[asset.expect]]` fares with a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faring {
    /// The keys that the table has.
    pub keys: Vec<KeyFaring>,
    /// What the table is for, where that is not all of the asset.
    pub scope: Option<String>,
    /// What the asset owns in the certificate and the table is not for.
    pub outside: Vec<String>,
}

/// How one key of a table fares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFaring {
    pub key: &'static str,
    /// `None` where the certificate does not say.
    pub holds: Option<bool>,
    pub expected: Vec<String>,
    pub seen: Vec<String>,
    /// Expected and seen differ only in case, white space or punctuation.
    pub alike: bool,
}

/// How each table of a verdict's asset fares: why the verdict is what it is, key by key.
pub fn farings(matcher: &Matcher, facts: &Facts, issuing: &Issuing, verdict: &Verdict) -> Vec<Faring> {
    let case = Case { matcher, facts, issuing, claim: claim(facts, issuing), now: Timestamp::default() };
    let mut owned: Vec<usize> =
        verdict.matches.iter().filter(|m| m.hit.kind.is_owned()).map(|m| m.identity).collect();
    owned.dedup();
    matcher.asset(verdict.asset).expect.iter().map(|table| case.faring(table, &owned)).collect()
}

/// What would be ruled if an issuer that no table expects had certified what `facts` name. `hits` as for
/// [`judge`].
pub fn of_anybody(
    matcher: &Matcher,
    facts: &Facts,
    issuing: &Issuing,
    hits: &mut [(usize, Hit)],
) -> Vec<Verdict> {
    let facts = Facts {
        evidence: Evidence::Der,
        has_san: true,
        issuer: DistinguishedName { given: true, ..DistinguishedName::default() },
        spki_sha256: Some([0; 32]),
        issuer_key_hash: Some([0; 32]),
        ..facts.clone()
    };
    let issuing = Issuing { ca_owners: vec!["".into()], claim: Claim::NotAtHand, ..issuing.clone() };
    judge(matcher, &facts, &issuing, hits, Timestamp::default())
}

/// What of a verdict of [`of_anybody`] there is to say before there is a certificate: one sentence for people.
pub fn asks(matcher: &Matcher, verdict: &Verdict) -> String {
    let asset = matcher.asset(verdict.asset);
    let keyword =
        verdict.rule == Some(Rule::Keyword) || verdict.matches.iter().all(|m| !m.hit.kind.is_owned());
    let severity = verdict.severity.map_or("", Severity::label);
    let said = match (verdict.ruling, asset.policy) {
        (Ruling::Unexpected, _) if keyword => {
            return format!("unexpected ({severity}) whoever issues it: a keyword is not owned");
        }
        (Ruling::Unexpected, _) if verdict.asset == LIST => {
            let word = if verdict.rule == Some(Rule::Suspected) { "suspected" } else { "unexpected" };
            format!("{word} ({severity}) whoever issues it: it could stand for every other name of its form")
        }
        (Ruling::Unexpected, Policy::Expect) => {
            // Never for want of evidence: whoever is asked about here has shown all there is.
            format!("expected from {}; unexpected ({severity}) from anybody else", expected_text(asset))
        }
        (Ruling::Unexpected, _) => format!("unexpected ({severity}) whoever issues it"),
        _ if keyword => return "recorded, and raises nothing: the asset has no keyword_severity".to_owned(),
        _ => return "recorded, and raises nothing".to_owned(),
    };
    let mut codes = verdict.reason_codes.iter().zip(&verdict.reasons);
    match codes.find(|(code, _)| **code == "severity.naming") {
        Some((_, bound)) => format!("{said}; {bound}"),
        None => said,
    }
}

impl Case<'_> {
    /// How a table fares, for people.
    pub(super) fn faring(&self, table: &Expectation, owned: &[usize]) -> Faring {
        let issuer = &self.facts.issuer;
        let hashes = |keys: &[[u8; 32]]| keys.iter().map(|key| issuance::hex(key)).collect::<Vec<_>>();
        let owner: Vec<String> = self.issuing.ca_owner().map(str::to_owned).into_iter().collect();
        let issuer_key = self.facts.issuer_spki_sha256().map(|key| issuance::hex(&key));
        let mut keys = Vec::new();
        for (key, answer) in self.issuer_answers(table) {
            let (expected, seen) = match key {
                "issuer_organization" => (table.issuer_organization.clone(), issuer.organization.clone()),
                "issuer_common_name" => (table.issuer_common_name.clone(), issuer.common_name.clone()),
                "issuer_key_id" => {
                    (table.issuer_key_id.clone(), self.facts.authority_key_id.clone().into_iter().collect())
                }
                "issuer_spki_sha256" => {
                    (hashes(&table.issuer_spki_sha256), issuer_key.clone().into_iter().collect())
                }
                _ => (table.ca_owner.clone(), owner.clone()),
            };
            if !expected.is_empty() {
                let alike = alike(&expected, &texts(&seen)).is_some();
                keys.push(KeyFaring { key, holds: answer.holds(), expected, seen, alike });
            }
        }
        if let Some(listed) = &table.subject_keys {
            let own = self.facts.spki_sha256.map(|key| issuance::hex(&key));
            keys.push(KeyFaring {
                key: "subject_spki_sha256",
                holds: self.key_of(table).holds(),
                expected: vec![format!("one of {} listed keys", listed.len())],
                seen: own.into_iter().collect(),
                alike: false,
            });
        }
        let outside = owned.iter().filter(|identity| !self.covers(table, **identity));
        let outside = outside
            .filter_map(|identity| self.facts.identities.get(*identity))
            .map(|identity| self.facts.identities.value(identity))
            .collect();
        Faring { keys, scope: (!table.scope.is_all()).then(|| table.scope.text()), outside }
    }
}
