//! From the assets that an entry names to a verdict for each: may this issuer do that? Pure.
//!
//! Every asset judges for itself. Its policy judges the identities that it *owns*; a keyword is not
//! owned, so no issuer makes it expected. What the message cannot decide (an issuer key on a stream
//! without one) is `not-verified`, of medium severity: never expected, and never a page for each
//! renewal. How the owned identity is named bounds the severity, because a name that no client accepts
//! threatens less.

use crate::ccadb::Issuing;
use crate::entry::{Anomaly, Facts, Identity, Provenance, Timestamp};
use crate::watch::{Asset, Expectation, Hit, MatchKind, Matcher, Policy, Severity};

/// What an asset says of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Index into the list's assets.
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
    NotVerified,
    Keyword,
}

impl Rule {
    pub fn label(self) -> &'static str {
        match self {
            Rule::NeverIssue => "never-issue",
            Rule::UnexpectedIssuer => "unexpected-issuer",
            Rule::NotVerified => "not-verified",
            Rule::Keyword => "keyword",
        }
    }
}

/// One pattern that one identity matched.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    for (identity, hit) in hits.iter() {
        if let Some(owned) = owned.get_mut(*identity) {
            *owned |= hit.kind.is_owned();
        }
    }
    let unowned = unowned(facts, &owned);
    let of_asset = hits.chunk_by(|(_, a), (_, b)| a.asset == b.asset);
    of_asset
        .filter_map(|of_asset| {
            let index = of_asset.first()?.1.asset;
            let asset = matcher.list().assets.get(index as usize)?;
            let mut verdict = Verdict {
                asset: index,
                ruling: Ruling::Observed,
                rule: None,
                severity: None,
                reason_codes: Vec::new(),
                reasons: Vec::new(),
                matches: of_asset
                    .iter()
                    .map(|(identity, hit)| Matched { hit: *hit, identity: *identity })
                    .collect(),
            };
            rule(matcher, asset, facts, &mut verdict, now);
            if let Some((code, sentence)) = issuing.remark() {
                verdict.reason_codes.push(code);
                verdict.reasons.push(sentence);
            }
            if let Some(sentence) = &unowned {
                verdict.reason_codes.push("names.unowned");
                verdict.reasons.push(sentence.clone());
            }
            Some(verdict)
        })
        .collect()
}

fn rule(matcher: &Matcher, asset: &Asset, facts: &Facts, verdict: &mut Verdict, now: Timestamp) {
    let owned: Vec<usize> =
        verdict.matches.iter().filter(|m| m.hit.kind.is_owned()).map(|m| m.identity).collect();
    if !owned.is_empty() {
        policy(asset, facts, &owned, verdict, now);
    }
    // No issuer makes a keyword expected: beside a name that is in order it is judged all the same.
    if verdict.ruling != Ruling::Unexpected && owned.len() < verdict.matches.len() {
        keyword(matcher, asset, verdict);
    }
}

fn policy(asset: &Asset, facts: &Facts, owned: &[usize], verdict: &mut Verdict, now: Timestamp) {
    match asset.policy {
        Policy::Observe => {
            verdict.reason_codes.push("policy.observe");
            verdict.reasons.push(format!("{} is observed: no issuer is judged", asset.id));
        }
        Policy::NeverIssue => {
            verdict.reason_codes.push("policy.never_issue");
            verdict.reasons.push(format!(
                "no certificate may be issued for {}; {} did",
                asset.id,
                issuer_text(facts)
            ));
            unexpected(asset, Rule::NeverIssue, owned, facts, verdict, now);
        }
        Policy::Expect => match expectation(asset, facts) {
            Answer::Yes => {
                verdict.ruling = Ruling::Expected;
                verdict.reason_codes.push("issuer.expected");
                verdict.reasons.push(format!(
                    "{} is expected for {} (claimed)",
                    issuer_text(facts),
                    asset.id
                ));
            }
            Answer::Unknown(what) => {
                verdict.reason_codes.push("issuer.not_verified");
                verdict.reasons.push(format!(
                    "{} expects an issuer by its {what}, which this message does not carry",
                    asset.id
                ));
                unexpected(asset, Rule::NotVerified, owned, facts, verdict, now);
            }
            Answer::No => {
                verdict.reason_codes.push("issuer.unexpected");
                verdict.reasons.push(format!(
                    "{} expects {}; this certificate says {} (claimed)",
                    asset.id,
                    expected_text(asset),
                    issuer_text(facts)
                ));
                if let Some((expected, seen)) = near_miss(asset, facts) {
                    verdict.reason_codes.push("issuer.near_miss");
                    verdict.reasons.push(format!(
                        "{seen} differs from the expected {expected} only in case, white space or punctuation"
                    ));
                }
                unexpected(asset, Rule::UnexpectedIssuer, owned, facts, verdict, now);
            }
        },
    }
}

fn keyword(matcher: &Matcher, asset: &Asset, verdict: &mut Verdict) {
    // Three say enough; the record lists the matches.
    let mut keywords: Vec<String> = Vec::new();
    for matched in verdict.matches.iter().filter(|m| !m.hit.kind.is_owned()) {
        let keyword = matcher.pattern(&matched.hit).to_string();
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
        verdict.severity = Some(severity);
    }
}

fn unexpected(
    asset: &Asset,
    rule: Rule,
    owned: &[usize],
    facts: &Facts,
    verdict: &mut Verdict,
    now: Timestamp,
) {
    let said = match rule {
        Rule::NotVerified => Severity::Medium,
        _ => asset.severity.unwrap_or(Severity::High),
    };
    let naming = owned
        .iter()
        .filter_map(|i| facts.identities.get(*i))
        .map(|identity| bound_by_naming(identity, facts.has_san))
        .max()
        .unwrap_or(Severity::Critical);
    let mut severity = said.min(naming);
    if naming < said {
        verdict.reason_codes.push("severity.naming");
        verdict
            .reasons
            .push(format!("at most {}: the name does not stand where clients look for it", naming.label()));
    }
    if facts.not_after.is_some_and(|end| end < now) {
        severity = Severity::Low;
        verdict.reason_codes.push("expired");
        verdict.reasons.push("it had expired when it was seen".to_owned());
    }
    verdict.ruling = Ruling::Unexpected;
    verdict.rule = Some(rule);
    verdict.severity = Some(severity);
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

enum Answer {
    Yes,
    No,
    /// What the message lacks.
    Unknown(&'static str),
}

/// Any table may hold; in one table every key must.
fn expectation(asset: &Asset, facts: &Facts) -> Answer {
    let mut answer = Answer::No;
    for table in &asset.expect {
        match holds(table, facts) {
            Answer::Yes => return Answer::Yes,
            Answer::Unknown(what) => answer = Answer::Unknown(what),
            Answer::No => {}
        }
    }
    answer
}

fn holds(table: &Expectation, facts: &Facts) -> Answer {
    let issuer = &facts.issuer;
    let mut unknown = None;
    let mut name = |expected: &[String], seen: &[String], what| {
        if expected.is_empty() {
            return true;
        }
        if !issuer.given {
            unknown = Some(what);
            return true;
        }
        seen.iter().any(|value| expected.contains(value))
    };
    if !name(&table.issuer_organization, &issuer.organization, "organisation")
        || !name(&table.issuer_common_name, &issuer.common_name, "common name")
    {
        return Answer::No;
    }
    if !table.issuer_key_id.is_empty() {
        match &facts.authority_key_id {
            Some(id) if table.issuer_key_id.contains(id) => {}
            Some(_) => return Answer::No,
            // The DER decides: a certificate without the extension has no expected key.
            None if facts.evidence == crate::entry::Evidence::Der => return Answer::No,
            None => unknown = Some("key id"),
        }
    }
    unknown.map_or(Answer::Yes, Answer::Unknown)
}

fn near_miss<'a>(asset: &'a Asset, facts: &'a Facts) -> Option<(&'a str, &'a str)> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let find = |expected: &'a [String], seen: &'a [String]| {
        expected.iter().find_map(|e| {
            let s = seen.iter().find(|s| *s != e && plain(s) == plain(e))?;
            Some((e.as_str(), s.as_str()))
        })
    };
    asset.expect.iter().find_map(|table| {
        find(&table.issuer_organization, &facts.issuer.organization)
            .or_else(|| find(&table.issuer_common_name, &facts.issuer.common_name))
    })
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
            if !table.issuer_key_id.is_empty() {
                parts.push(format!("issuer key {}", table.issuer_key_id.join(" or ")));
            }
            parts.join(" with ")
        })
        .collect();
    tables.join(", or ")
}

/// `Also names a and b, which no asset owns`, or nothing.
fn unowned(facts: &Facts, owned: &[bool]) -> Option<String> {
    // Three say what kind of certificate it is; the rest is in the record's lists.
    const SHOWN: usize = 3;
    let names: Vec<String> = facts
        .identities
        .iter()
        .enumerate()
        .filter(|(i, _)| !owned.get(*i).copied().unwrap_or(false))
        .map(|(_, identity)| facts.identities.value(identity))
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
