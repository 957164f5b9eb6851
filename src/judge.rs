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

use crate::ccadb::{Claim, Issuing};
use crate::entry::{Anomaly, ChainCertificate, Facts, Identity, Provenance, Timestamp, Value, issuance};
use crate::watch::{Asset, Expectation, Hit, LIST, MatchKind, Matcher, Policy, Severity};

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
                return Some(verdict);
            }
            case.rule(&mut verdict);
            if let Some((code, sentence)) = issuing.remark() {
                verdict.reason(code, sentence);
            }
            if let Some(sentence) = &unowned {
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
                Coverage::Unknown(what) => {
                    let reason =
                        format!("{} asks for the {what}, which this message does not show", asset.id);
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
        let reason = format!("{name} could stand for {pattern}, and for every other name of its form");
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
            verdict.severity = Some(severity);
        }
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
        let mut severity = said.min(naming);
        if naming < said {
            let reason = match rule {
                Rule::Suspected => "what it is could not be read",
                _ => "the name does not stand where clients look for it",
            };
            verdict.reason("severity.naming", format!("at most {}: {reason}", naming.label()));
        }
        if facts.not_after.is_some_and(|end| end < self.now) {
            severity = Severity::Low;
            verdict.reason("expired", "it had expired when it was seen".to_owned());
        }
        verdict.ruling = Ruling::Unexpected;
        verdict.rule = Some(rule);
        verdict.severity = Some(severity);
    }

    /// The worst answer for any owned identity. Every one must be covered by a table that holds.
    fn coverage(&self, asset: &Asset, owned: &[usize]) -> Coverage {
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
                    (Answer::Unknown(what), _) | (_, Answer::Unknown(what)) => Coverage::Unknown(what),
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
            Coverage::Whole if self.facts.malformed => Coverage::Unknown("certificate as a whole"),
            worst => worst,
        }
    }

    fn covers(&self, table: &Expectation, identity: usize) -> bool {
        let identities = &self.facts.identities;
        identities.get(identity).is_some_and(|identity| match identity.value {
            Value::Name { ascii, .. } => table.scope.covers_name(identities.text(ascii)),
            Value::Address(address) => table.scope.covers_address(address),
            Value::Network(network) => table.scope.covers_network(network),
        })
    }

    /// Whether the issuer is the one that a table names. Every key that is given must hold.
    fn issuer_of(&self, table: &Expectation) -> Answer {
        self.issuer_answers(table).into_iter().fold(Answer::Yes, |all, (_, answer)| all.and(answer))
    }

    /// Whether each key of a table holds that names the issuer; one that is not given does.
    fn issuer_answers(&self, table: &Expectation) -> [(&'static str, Answer); 5] {
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
            None if self.facts.evidence == crate::entry::Evidence::Der => Answer::No,
            None => Answer::Unknown("issuer's key id"),
        };
        let key = match self.facts.issuer_spki_sha256() {
            _ if table.issuer_spki_sha256.is_empty() => Answer::Yes,
            Some(key) => Answer::of(table.issuer_spki_sha256.contains(&key)),
            None => Answer::Unknown("issuer's key"),
        };
        // The owner of the key itself, not of a root that has cross-signed it.
        let owner = match self.issuing.ca_owner() {
            _ if table.ca_owner.is_empty() => Answer::Yes,
            Some(owner) => Answer::of(table.ca_owner.iter().any(|expected| expected == owner)),
            None => Answer::Unknown("issuer's owner in CCADB"),
        };
        [
            (
                "issuer_organization",
                name(&table.issuer_organization, &issuer.organization, "issuer's organisation"),
            ),
            (
                "issuer_common_name",
                name(&table.issuer_common_name, &issuer.common_name, "issuer's common name"),
            ),
            ("issuer_key_id", key_id),
            ("issuer_spki_sha256", key),
            ("ca_owner", owner),
        ]
    }

    /// Whether the certificate's own key is one that a table lists.
    fn key_of(&self, table: &Expectation) -> Answer {
        match self.facts.spki_sha256 {
            _ if table.subject_keys.is_none() => Answer::Yes,
            Some(key) => Answer::of(table.lists_key(&key)),
            None => Answer::Unknown("certificate's key"),
        }
    }

    /// An expected value and the one seen in its place, where they are the same to the eye.
    fn near_miss<'a>(&'a self, asset: &'a Asset) -> Option<(&'a str, &'a str)> {
        let owner: Vec<&str> = self.issuing.ca_owner().into_iter().collect();
        let issuer = &self.facts.issuer;
        asset.expect.iter().find_map(|table| {
            alike(&table.issuer_organization, &texts(&issuer.organization))
                .or_else(|| alike(&table.issuer_common_name, &texts(&issuer.common_name)))
                .or_else(|| alike(&table.ca_owner, &owner))
        })
    }

    /// How a table fares, for people.
    fn faring(&self, table: &Expectation, owned: &[usize]) -> Faring {
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

/// What an asset's policy will ask of a certificate for what matches: one sentence for people.
pub fn asks(asset: &Asset, kind: MatchKind) -> String {
    let severity = asset.severity.unwrap_or(Severity::High).label();
    match (kind.is_owned(), asset.policy) {
        (false, _) => match asset.keyword_severity {
            Some(severity) => {
                format!("unexpected ({}) whoever issues it: a keyword is not owned", severity.label())
            }
            None => "recorded, and raises nothing: the asset has no keyword_severity".to_owned(),
        },
        (true, Policy::NeverIssue) => format!("unexpected ({severity}) whoever issues it"),
        (true, Policy::Observe) => "recorded, and raises nothing".to_owned(),
        (true, Policy::Expect) => {
            format!("expected from {}; unexpected ({severity}) from anybody else", expected_text(asset))
        }
    }
}

fn texts(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

/// An expected value and a seen one that are not the same, but to the eye.
fn alike<'a>(expected: &'a [String], seen: &[&'a str]) -> Option<(&'a str, &'a str)> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    expected.iter().find_map(|e| {
        let s = seen.iter().find(|s| **s != e && plain(s) == plain(e))?;
        Some((e.as_str(), *s))
    })
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

/// Whether the tables of an asset cover all that it owns in a certificate.
#[derive(Clone, Copy)]
enum Coverage {
    Whole,
    /// They may: what the message lacks.
    Unknown(&'static str),
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
enum Answer {
    Yes,
    No,
    /// What the message lacks.
    Unknown(&'static str),
}

impl Answer {
    fn of(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }

    fn holds(self) -> Option<bool> {
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
