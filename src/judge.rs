//! From the assets that an entry names to a verdict for each: may this issuer do that? Pure.
//!
//! Every asset judges for itself. Its policy judges the identities that it *owns*; a keyword is not
//! owned, so no issuer makes it expected. A certificate is expected only if every owned identity in it is
//! covered by a table that holds. What the message cannot decide (an issuer key on a stream without one)
//! is `not-verified`, of medium severity: never expected, and never a page for each renewal. How the
//! owned identity is named bounds the severity, because a name that no client accepts threatens less.
//!
//! What an issuer says of itself is a claim. Where its own certificate or CCADB is at hand and says
//! otherwise, nothing that rests on the claim holds.

mod coverage;
mod faring;

use std::collections::HashSet;

use coverage::{Answer, Coverage};
pub use coverage::{claim, strength};
pub use faring::{Faring, KeyFaring, asks, farings, of_anybody};

use crate::ccadb::{Claim, Issuing};
use crate::entry::{Anomaly, Facts, Identity, Provenance, Timestamp, Value, issuance, name};
use crate::watch::{Asset, Hit, LIST, MatchKind, Matcher, Policy, Severity};

/// What an asset says of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Index into the list's assets, or [`LIST`].
    pub asset: u32,
    pub ruling: Ruling,
    /// Of an unexpected one.
    pub rule: Option<Rule>,
    /// Of an unexpected one.
    pub severity: Option<Severity>,
    /// Stable, for scripts.
    pub reason_codes: Vec<&'static str>,
    /// Sentences that can be read aloud.
    pub reasons: Vec<String>,
    pub matches: Vec<Matched>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ruling {
    Unexpected,
    Expected,
    Observed,
}

impl Ruling {
    pub const ALL: [Ruling; 3] = [Ruling::Unexpected, Ruling::Expected, Ruling::Observed];

    pub fn label(self) -> &'static str {
        match self {
            Ruling::Unexpected => "unexpected",
            Ruling::Expected => "expected",
            Ruling::Observed => "observed",
        }
    }
}

/// The rule that an unexpected entry broke: `rule.id`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    NeverIssue,
    UnexpectedIssuer,
    UnexpectedKey,
    NotVerified,
    Suspected,
    Keyword,
}

impl Rule {
    pub fn label(self) -> &'static str {
        match self {
            Rule::NeverIssue => "never-issue",
            Rule::UnexpectedIssuer => "unexpected-issuer",
            Rule::UnexpectedKey => "unexpected-key",
            Rule::NotVerified => "not-verified",
            Rule::Suspected => "suspected",
            Rule::Keyword => "keyword",
        }
    }
}

/// `certsieve.reason_codes`. Inside a version of the records codes are only added.
pub const REASON_CODES: [&str; 18] = [
    "policy.never_issue",
    "policy.observe",
    "issuer.expected",
    "key.expected",
    "issuer.unexpected",
    "issuer.near_miss",
    "issuer.claim_mismatch",
    "issuer.not_verified",
    "issuer.first_for_asset",
    "key.unexpected",
    "names.not_covered",
    "names.list_wide",
    "names.unowned",
    "keyword",
    "severity.naming",
    "expired",
    "entry.undecodable",
    "trust.microsoft_only",
];

/// One pattern that one identity matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matched {
    pub hit: Hit,
    /// Index into the entry's identities.
    pub identity: usize,
}

/// Judges an entry for every asset that `hits` name; `hits` hold the identity's index beside each hit.
/// They are sorted by asset, so that an entry of many names and many assets costs no more than its hits.
pub fn judge(
    matcher: &Matcher,
    facts: &Facts,
    issuing: &Issuing,
    hits: &mut [(usize, Hit)],
    now: Timestamp,
) -> Vec<Verdict> {
    hits.sort_by_key(|(identity, hit)| (hit.asset, hit.kind == MatchKind::Keyword, *identity));
    let mut owned = vec![false; facts.identities.len()];
    for (identity, hit) in hits.iter().filter(|(_, hit)| hit.asset != LIST) {
        if let Some(owned) = owned.get_mut(*identity) {
            *owned |= hit.kind.is_owned();
        }
    }
    let unowned = unowned(facts, &owned);
    let of_asset = hits.chunk_by(|(_, a), (_, b)| a.asset == b.asset);
    let case = Case { matcher, facts, issuing, claim: claim(facts, issuing), now };
    of_asset
        .filter_map(|of_asset| {
            let mut verdict = Verdict::new(of_asset.first()?.1.asset, of_asset);
            if verdict.asset == LIST {
                case.list_wide(&mut verdict);
            } else {
                case.rule(&mut verdict);
            }
            if let Some((code, sentence)) = issuing.remark() {
                verdict.reason(code, sentence);
            }
            if verdict.asset != LIST
                && let Some(sentence) = &unowned
            {
                verdict.reason("names.unowned", sentence.clone());
            }
            Some(verdict)
        })
        .collect()
}

/// Judges an entry that could not be decoded, in whose raw bytes owned names or addresses stand. `hits`
/// as for [`judge`], of owned kinds. Who issued it cannot be said, so no issuer makes it expected.
pub fn suspect(
    matcher: &Matcher,
    facts: &Facts,
    issuing: &Issuing,
    hits: &mut [(usize, Hit)],
    now: Timestamp,
) -> Vec<Verdict> {
    hits.sort_by_key(|(identity, hit)| (hit.asset, *identity));
    let case = Case { matcher, facts, issuing, claim: Claim::NotAtHand, now };
    let of_asset = hits.chunk_by(|(_, a), (_, b)| a.asset == b.asset);
    of_asset
        .filter_map(|of_asset| {
            let mut verdict = Verdict::new(of_asset.first()?.1.asset, of_asset);
            let asset = matcher.asset(verdict.asset);
            let reason =
                format!("in its raw bytes stands what {} watches; it could not be decoded", asset.id);
            verdict.reason("entry.undecodable", reason);
            if asset.policy != Policy::Observe {
                case.unexpected(asset, Rule::Suspected, &[], &mut verdict);
            }
            Some(verdict)
        })
        .collect()
}

impl Verdict {
    fn new(asset: u32, hits: &[(usize, Hit)]) -> Verdict {
        Verdict {
            asset,
            ruling: Ruling::Observed,
            rule: None,
            severity: None,
            reason_codes: Vec::new(),
            reasons: Vec::new(),
            matches: hits.iter().map(|(identity, hit)| Matched { hit: *hit, identity: *identity }).collect(),
        }
    }

    /// The identities that matched, one for each pattern.
    pub fn matched(&self) -> Vec<usize> {
        self.matches.iter().map(|matched| matched.identity).collect()
    }

    /// Adds a reason. The first is the one that a pager shows.
    pub fn reason(&mut self, code: &'static str, sentence: String) {
        debug_assert!(REASON_CODES.contains(&code), "{code}");
        self.reason_codes.push(code);
        self.reasons.push(sentence);
    }
}

/// What is judged, and by what.
struct Case<'a> {
    matcher: &'a Matcher,
    facts: &'a Facts,
    issuing: &'a Issuing,
    claim: Claim,
    now: Timestamp,
}

impl Case<'_> {
    fn rule(&self, verdict: &mut Verdict) {
        let asset = self.matcher.asset(verdict.asset);
        let mut owned: Vec<usize> =
            verdict.matches.iter().filter(|m| m.hit.kind.is_owned()).map(|m| m.identity).collect();
        let others = owned.len() < verdict.matches.len();
        owned.dedup();
        if !owned.is_empty() {
            self.policy(asset, &owned, verdict);
        }
        // No issuer makes a keyword expected: beside a name that is in order it is judged all the same.
        if verdict.ruling != Ruling::Unexpected && others {
            self.keyword(asset, verdict);
        }
    }

    fn policy(&self, asset: &Asset, owned: &[usize], verdict: &mut Verdict) {
        let issuer = issuer_text(self.facts);
        match asset.policy {
            Policy::Observe => {
                verdict.reason("policy.observe", format!("{} is observed: no issuer is judged", asset.id));
            }
            Policy::NeverIssue => {
                let reason = format!("no certificate may be issued for {}; {issuer} did", asset.id);
                verdict.reason("policy.never_issue", reason);
                self.unexpected(asset, Rule::NeverIssue, owned, verdict);
            }
            Policy::Expect => match self.coverage(asset, owned) {
                Coverage::Whole => {
                    verdict.ruling = Ruling::Expected;
                    let strength = strength(self.claim);
                    verdict.reason(
                        "issuer.expected",
                        format!("{issuer} is expected for {} ({strength})", asset.id),
                    );
                    if self
                        .facts
                        .spki_sha256
                        .is_some_and(|key| asset.expect.iter().any(|t| t.lists_key(&key)))
                    {
                        verdict.reason("key.expected", "its key is listed".to_owned());
                    }
                }
                Coverage::Unknown(missing) => {
                    let reason = format!("{} asks for the {}", asset.id, self.missing(missing));
                    verdict.reason("issuer.not_verified", reason);
                    self.unexpected(asset, Rule::NotVerified, owned, verdict);
                }
                Coverage::Key => {
                    let key = self.facts.spki_sha256.map(|key| issuance::hex(&key)).unwrap_or_default();
                    let reason = format!(
                        "{} expects keys that are listed; {issuer} certified {key}, which is not",
                        asset.id
                    );
                    verdict.reason("key.unexpected", reason);
                    self.unexpected(asset, Rule::UnexpectedKey, owned, verdict);
                }
                Coverage::Not(identity) => {
                    self.not_covered(asset, identity, &issuer, verdict);
                    self.unexpected(asset, Rule::UnexpectedIssuer, owned, verdict);
                }
            },
        }
    }

    /// Why no table covers an identity.
    fn not_covered(&self, asset: &Asset, identity: usize, issuer: &str, verdict: &mut Verdict) {
        if self.claim == Claim::Disagrees {
            let reason = format!("it says {issuer}, and its issuer's own certificate says otherwise");
            return verdict.reason("issuer.claim_mismatch", reason);
        }
        let elsewhere = asset.expect.iter().find(|table| {
            !table.scope.is_all()
                && matches!(self.issuer_of(table), Answer::Yes)
                && !self.covers(table, identity)
        });
        if let Some(table) = elsewhere {
            let name = self.facts.identities.get(identity).map(|i| self.facts.identities.value(i));
            let reason = format!(
                "{issuer} is expected for {} of {} and not for {}",
                table.scope.text(),
                asset.id,
                name.unwrap_or_default()
            );
            return verdict.reason("names.not_covered", reason);
        }
        let reason = format!(
            "{} expects {}; this certificate says {issuer} ({})",
            asset.id,
            expected_text(asset),
            strength(self.claim)
        );
        verdict.reason("issuer.unexpected", reason);
        if let Some((expected, seen)) = self.near_miss(asset) {
            let reason = format!(
                "{seen} differs from the expected {expected} only in case, white space or punctuation"
            );
            verdict.reason("issuer.near_miss", reason);
        }
    }

    /// What names the list as a whole: nobody may certify it.
    fn list_wide(&self, verdict: &mut Verdict) {
        let asset = self.matcher.asset(LIST);
        let Some(first) = verdict.matches.first().copied() else { return };
        let names = &self.facts.identities;
        let name = names.get(first.identity).map(|identity| names.value(identity)).unwrap_or_default();
        let pattern = self.matcher.pattern(&first.hit);
        let reason = format!(
            "{name} could stand for {pattern}, and for every other name of its form; {} issued it",
            issuer_text(self.facts)
        );
        verdict.reason("names.list_wide", reason);
        let owned: Vec<usize> = verdict.matches.iter().map(|m| m.identity).collect();
        // A label that cannot be parsed is no wildcard that a client would accept.
        let wildcard = owned.iter().filter_map(|i| names.get(*i)).any(|identity| {
            !identity.anomalies.has(Anomaly::UnparsableLabel) && !names.value(identity).contains('?')
        });
        let rule = if wildcard { Rule::NeverIssue } else { Rule::Suspected };
        self.unexpected(asset, rule, &owned, verdict);
    }

    fn keyword(&self, asset: &Asset, verdict: &mut Verdict) {
        // Three say enough; the record lists the matches.
        let mut keywords: Vec<String> = Vec::new();
        for matched in verdict.matches.iter().filter(|m| !m.hit.kind.is_owned()) {
            let keyword = self.matcher.pattern(&matched.hit).to_string();
            if keywords.len() < 3 && !keywords.contains(&keyword) {
                keywords.push(keyword);
            }
        }
        let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
        let reason = format!("a name holds {} and is not under a domain of {}", list(&keywords), asset.id);
        // The first reason is the one that a pager shows.
        let at = if asset.keyword_severity.is_some() { 0 } else { verdict.reasons.len() };
        verdict.reason_codes.insert(at, "keyword");
        verdict.reasons.insert(at, reason);
        if let Some(severity) = asset.keyword_severity {
            verdict.ruling = Ruling::Unexpected;
            verdict.rule = Some(Rule::Keyword);
            verdict.severity = Some(self.by_age(severity, verdict));
        }
    }

    /// What had expired when it was seen threatens nobody any more.
    fn by_age(&self, severity: Severity, verdict: &mut Verdict) -> Severity {
        if self.facts.not_after.is_none_or(|end| end >= self.now) {
            return severity;
        }
        verdict.reason("expired", "it had expired when it was seen".to_owned());
        Severity::Low
    }

    fn unexpected(&self, asset: &Asset, rule: Rule, owned: &[usize], verdict: &mut Verdict) {
        let facts = self.facts;
        let said = match rule {
            Rule::NotVerified => Severity::Medium,
            _ => asset.severity.unwrap_or(Severity::High),
        };
        let naming = match rule {
            Rule::Suspected => Severity::Medium,
            _ => owned
                .iter()
                .filter_map(|i| facts.identities.get(*i))
                .map(|identity| bound_by_naming(identity, facts.has_san))
                .max()
                .unwrap_or(Severity::Critical),
        };
        if naming < said {
            let reason = match rule {
                Rule::Suspected => "what it is could not be read",
                _ => "the name does not stand where clients look for it",
            };
            verdict.reason("severity.naming", format!("at most {}: {reason}", naming.label()));
        }
        verdict.ruling = Ruling::Unexpected;
        verdict.rule = Some(rule);
        verdict.severity = Some(self.by_age(said.min(naming), verdict));
    }
}

/// The severity that an identity can have by where it stands.
fn bound_by_naming(identity: &Identity, has_san: bool) -> Severity {
    if identity.contradicted || identity.anomalies.has(Anomaly::IpLength) {
        return Severity::Medium;
    }
    match identity.provenance {
        // Beside a SAN that lacks it, a common name means nothing to a client of today.
        Provenance::CommonName if has_san => Severity::Medium,
        Provenance::CommonName => Severity::High,
        _ if identity.is_misplaced_address() => Severity::High,
        _ => Severity::Critical,
    }
}

fn issuer_text(facts: &Facts) -> String {
    let issuer = &facts.issuer;
    let names: Vec<&str> =
        issuer.organization.iter().chain(&issuer.common_name).map(String::as_str).collect();
    if !names.is_empty() {
        return names.join(", ");
    }
    match issuer.distinguished_name.as_str() {
        "" => "an issuer that is not named".to_owned(),
        name => name.to_owned(),
    }
}

fn expected_text(asset: &Asset) -> String {
    let tables: Vec<String> = asset
        .expect
        .iter()
        .map(|table| {
            let mut parts = Vec::new();
            for values in [&table.issuer_organization, &table.issuer_common_name] {
                if !values.is_empty() {
                    parts.push(values.join(" or "));
                }
            }
            if !table.ca_owner.is_empty() {
                parts.push(format!("a CA of {}", table.ca_owner.join(" or ")));
            }
            if !table.issuer_key_id.is_empty() {
                parts.push(format!("issuer key {}", table.issuer_key_id.join(" or ")));
            }
            if !table.issuer_spki_sha256.is_empty() {
                let keys: Vec<String> =
                    table.issuer_spki_sha256.iter().map(|key| issuance::hex(key)).collect();
                parts.push(format!("issuer key of SHA-256 {}", keys.join(" or ")));
            }
            if table.subject_keys.is_some() {
                parts.push("a listed key".to_owned());
            }
            let said = parts.join(" with ");
            if table.scope.is_all() { said } else { format!("{said} for {}", table.scope.text()) }
        })
        .collect();
    tables.join(", or ")
}

/// `Also names a and b, which no asset owns`, or nothing. How joined names look as one, and the other
/// reading of a name under a reverse zone that is owned, are no names beside it.
fn unowned(facts: &Facts, owned: &[bool]) -> Option<String> {
    // Three say what kind of certificate it is; the rest is in the record's lists.
    const SHOWN: usize = 3;
    let identities = &facts.identities;
    let is_owned = |i: usize| owned.get(i).copied().unwrap_or(false);
    let zone = |identity: &Identity| match identity.value {
        Value::Name { ascii, .. } => name::reverse_zone(identities.text(ascii)),
        _ => None,
    };
    let address = |identity: &Identity| match identity.value {
        Value::Address(address) => Some(address),
        Value::Network(_) | Value::Name { .. } => None,
    };
    let (mut zones, mut addresses, mut networks) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (_, identity) in identities.iter().enumerate().filter(|(i, _)| is_owned(*i)) {
        zones.extend(zone(identity).map(|address| address.to_canonical()));
        if let Value::Network(_) = identity.value {
            networks.insert(identities.raw(identity));
        }
        addresses.extend(address(identity));
    }
    let is_other_reading = |identity: &Identity| match identity.value {
        Value::Name { ascii, .. } => {
            identities.text(ascii).contains('?')
                || zone(identity).is_some_and(|address| addresses.contains(&address.to_canonical()))
        }
        Value::Address(address) => {
            (identity.is_misplaced_address() && zones.contains(&address))
                || networks.contains(identities.raw(identity))
        }
        // Its address stands beside it.
        Value::Network(_) => true,
    };
    let names: Vec<String> = identities
        .iter()
        .enumerate()
        .filter(|(i, identity)| !is_owned(*i) && !is_other_reading(identity))
        .map(|(_, identity)| identities.value(identity))
        .collect();
    if names.is_empty() || !owned.contains(&true) {
        return None;
    }
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    Some(match names.len() - shown.len() {
        0 => format!("Also names {}, which no asset owns", list(&shown)),
        more => format!("Also names {} and {more} more, which no asset owns", shown.join(", ")),
    })
}

/// `a`, `a and b`, `a, b and c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}
