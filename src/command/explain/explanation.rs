//! What there is to say of one name, address, certificate or message: asked of the pipeline's own parts.
//!
//! A certificate or a message goes through [`Sieve::sift`], and what it finds is what `run` would publish;
//! where nothing matches, the decoder alone says what it holds. A name or an address, and a message of
//! names that the list cannot decide by, is matched, and each asset says what it will ask of an issuer.
//!
//! Its fields are the contract of `explain --json`; what has nothing to say is left out, but for the lists
//! that scripts count on.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value as Json;

use crate::ccadb::Issuing;
use crate::clock;
use crate::entry::message::{self, Message};
use crate::entry::{Anomaly, Decoder, Entry, Facts, Identities, Value, issuance};
use crate::judge::{Faring, KeyFaring, Rule, Verdict, asks, farings, of_anybody};
use crate::record::{Arrival, Case, Composer, Record, id, start};
use crate::sieve::{Batch, Finding, Origin, Position, Scratch, Sieve, Source};
use crate::watch::{Hit, Matcher};

/// Identities of one entry of which it is said what they nearly match.
const MAX_NEAR_OF: usize = 100;

/// Of a raw form so much is shown.
const MAX_RAW_BYTES: usize = 1024;

/// What is asked about.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A name or an address.
    Asked(&'a str),
    Message(&'a [u8]),
    Certificate(&'a [u8]),
}

/// The answer.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    pub input: String,
    /// Where in the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub identities: Vec<Identified>,
    pub matches: Vec<Matched>,
    pub verdicts: Vec<Judged>,
    pub anomalies: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<Near>,
    /// Of a name or an address: what each asset will ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed: Option<Malformed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What would be published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Published>,
}

#[derive(Debug, Serialize)]
pub struct Identified {
    /// dns or ip.
    pub kind: &'static str,
    pub value: String,
    pub raw: String,
    /// As in records; `argument` where it was asked for.
    pub source: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub struct Matched {
    pub asset: String,
    pub kind: &'static str,
    pub pattern: String,
    pub identity: String,
    pub source: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Near {
    pub asset: String,
    pub kind: &'static str,
    pub pattern: String,
    pub identity: String,
    pub code: &'static str,
    pub why: String,
}

#[derive(Debug, Serialize)]
pub struct Asked {
    pub asset: String,
    pub policy: &'static str,
    /// What would be ruled if an issuer that no table expects had certified it.
    pub rule: Option<&'static str>,
    pub severity: Option<&'static str>,
    pub asks: String,
}

#[derive(Debug, Serialize)]
pub struct Judged {
    pub asset: String,
    pub verdict: &'static str,
    pub rule: Option<&'static str>,
    pub severity: Option<&'static str>,
    pub reason_codes: Vec<&'static str>,
    pub reasons: Vec<String>,
    /// How each `[[asset.expect]]` fares, in the order written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Table>,
}

#[derive(Debug, Serialize)]
pub struct Table {
    pub keys: Vec<Key>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What the asset owns here and the table is not for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Key {
    pub key: &'static str,
    /// Null where the message does not say.
    pub holds: Option<bool>,
    pub expected: Vec<String>,
    pub seen: Vec<String>,
    /// They differ only in case, white space or punctuation.
    pub alike: bool,
}

#[derive(Debug, Serialize)]
pub struct Certificate {
    pub entry: &'static str,
    pub evidence: &'static str,
    pub serial: Option<String>,
    pub issuer: String,
    pub issuer_key_id: Option<String>,
    pub not_before: Option<String>,
    pub not_after: Option<String>,
    pub sha256: Option<String>,
    pub spki_sha256: Option<String>,
    pub log: Option<String>,
    pub index: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct Malformed {
    pub reason: &'static str,
    pub message: String,
}

#[derive(Debug, Serialize)]
pub struct Published {
    pub topic: String,
    pub id: String,
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
}

impl Explanation {
    /// Of one subject; `whole`: with the records' values.
    pub fn of(
        input: &str,
        place: Option<String>,
        subject: Subject<'_>,
        sieve: Option<&Sieve>,
        whole: bool,
    ) -> Explanation {
        let mut told = Explanation { input: input.to_owned(), place, ..Explanation::default() };
        match (subject, sieve) {
            (Subject::Message(_) | Subject::Certificate(_), Some(sieve)) => {
                told.sifted(subject, sieve, whole);
            }
            _ => told.decoded(subject, sieve),
        }
        told
    }

    /// What the sieve finds.
    fn sifted(&mut self, subject: Subject<'_>, sieve: &Sieve, whole: bool) {
        let source = match subject {
            Subject::Message(bytes) => Source::Message(bytes),
            Subject::Certificate(der) => Source::Certificate(der),
            Subject::Asked(_) => return,
        };
        let feed: Arc<str> = "explain".into();
        let arrival = Arrival { feed: feed.clone(), received: clock::now() };
        let mut batch = Batch::new(Position { feed, origin: Origin::Recording });
        if let Err(unfit) = sieve.sift(source, &arrival, &mut Scratch::default(), &mut batch) {
            self.note = Some(format!("a feed of such messages is refused: {unfit}"));
            return self.decoded(subject, Some(sieve));
        }
        let Some(finding) = batch.findings.pop() else { return self.decoded(subject, Some(sieve)) };
        let matcher = sieve.matcher();
        if let Some((malformed, _)) = &finding.malformed {
            self.malformed = Some(Malformed { reason: malformed.reason, message: malformed.message.clone() });
        }
        if let Some(facts) = finding.facts.as_deref() {
            self.identities(&facts.identities);
            self.about(facts);
            let hits = finding.verdicts.iter().flat_map(|verdict| &verdict.matches);
            let hits: Vec<(usize, Hit)> = hits.map(|matched| (matched.identity, matched.hit)).collect();
            self.matches(matcher, &facts.identities, &hits);
            if let Some(issuing) = finding.issuing.as_deref() {
                self.verdicts =
                    finding.verdicts.iter().map(|verdict| judged(matcher, facts, issuing, verdict)).collect();
            }
        }
        self.records = records(&finding).iter().map(|record| published(record, whole)).collect();
    }

    /// What is there to be matched, where nothing was found, or there is no certificate to judge.
    fn decoded(&mut self, subject: Subject<'_>, sieve: Option<&Sieve>) {
        let mut decoder = Decoder::default();
        let decoded;
        let (entry, bytes) = match subject {
            Subject::Asked(text) => (decoder.asked(text.trim()), text.as_bytes()),
            Subject::Certificate(der) => (decoder.der(der), der),
            Subject::Message(bytes) => {
                decoded = message::decode(bytes);
                match &decoded {
                    Ok(Message::Certificate(update)) => (decoder.certificate(update), bytes),
                    Ok(Message::Names(names)) => (decoder.names(names), bytes),
                    Ok(Message::Idle) => {
                        self.note = Some("no entry: a message that only says that the feed lives".to_owned());
                        return;
                    }
                    Err(error) => {
                        let message = error.to_string();
                        self.malformed = Some(Malformed { reason: error.reason(), message });
                        return;
                    }
                }
            }
        };
        self.entry(&entry, bytes, subject, sieve);
    }

    fn entry(&mut self, entry: &Entry<'_>, bytes: &[u8], subject: Subject<'_>, sieve: Option<&Sieve>) {
        self.identities(entry.identities);
        self.malformed = entry.malformed.clone().map(|m| Malformed { reason: m.reason, message: m.message });
        let mut facts = entry.facts(bytes);
        let odd = facts.odd_names();
        facts.anomalies.merge(odd);
        self.about(&facts);
        if let Subject::Asked(_) = subject {
            for identity in &mut self.identities {
                identity.source = "argument";
            }
        }
        let Some(sieve) = sieve else { return };
        let matcher = sieve.matcher();
        let mut hits = sieve.hits(entry.identities);
        self.matches(matcher, entry.identities, &hits);
        let issuing = sieve.authorities().issuing(&facts);
        let verdicts = of_anybody(matcher, &facts, &issuing, &mut hits);
        self.policies = verdicts
            .iter()
            .map(|verdict| Asked {
                asset: matcher.asset(verdict.asset).id.clone(),
                policy: matcher.asset(verdict.asset).policy.label(),
                rule: verdict.rule.map(Rule::label),
                severity: verdict.severity.map(|severity| severity.label()),
                asks: asks(matcher, verdict),
            })
            .collect();
    }

    fn identities(&mut self, identities: &Identities) {
        self.identities = identities
            .iter()
            .map(|identity| Identified {
                kind: match identity.value {
                    Value::Name { .. } => "dns",
                    Value::Address(_) | Value::Network(_) => "ip",
                },
                value: identities.value(identity),
                // Of joined names each has all of them: a thousand of those are shown in part.
                raw: shown(identities.raw(identity)),
                source: identity.provenance.label(),
                anomalies: identity.anomalies.iter().map(Anomaly::label).collect(),
            })
            .collect();
    }

    fn about(&mut self, facts: &Facts) {
        self.anomalies = facts.anomalies.iter().map(Anomaly::label).collect();
        self.certificate = (!facts.names_only).then(|| Certificate {
            entry: facts.kind.label(),
            evidence: facts.evidence.label(),
            serial: facts.serial.clone(),
            issuer: facts.issuer.distinguished_name.clone(),
            issuer_key_id: facts.authority_key_id.clone(),
            not_before: facts.not_before.map(|t| t.to_string()),
            not_after: facts.not_after.map(|t| t.to_string()),
            sha256: facts.der.as_deref().map(issuance::sha256_hex),
            spki_sha256: facts.spki_sha256.map(|key| issuance::hex(&key)),
            log: facts.log.as_deref().map(str::to_owned),
            index: facts.index,
        });
    }

    /// What each identity matches, and nearly matches.
    fn matches(&mut self, matcher: &Matcher, identities: &Identities, hits: &[(usize, Hit)]) {
        let source = |index: usize| self.identities.get(index).map_or("", |identity| identity.source);
        let (mut matches, mut near) = (Vec::new(), Vec::new());
        for (index, hit) in hits {
            let Some(identity) = identities.get(*index) else { continue };
            matches.push(Matched {
                asset: matcher.asset(hit.asset).id.clone(),
                kind: hit.kind.label(),
                pattern: matcher.pattern(hit).into_owned(),
                identity: identities.value(identity),
                source: source(*index),
            });
        }
        for (index, identity) in identities.iter().enumerate().take(MAX_NEAR_OF) {
            let own: Vec<Hit> = hits.iter().filter(|(of, _)| *of == index).map(|(_, hit)| *hit).collect();
            for miss in matcher.near(identities, identity, &own) {
                near.push(Near {
                    asset: matcher.asset(miss.asset).id.clone(),
                    kind: miss.kind.label(),
                    pattern: miss.pattern,
                    identity: identities.value(identity),
                    code: miss.why.code(),
                    why: miss.why.to_string(),
                });
            }
        }
        (self.matches, self.near) = (matches, near);
    }
}

fn shown(raw: &str) -> String {
    match raw.len() {
        0..=MAX_RAW_BYTES => raw.to_owned(),
        _ => format!("{}…", start(raw, MAX_RAW_BYTES)),
    }
}

fn judged(matcher: &Matcher, facts: &Facts, issuing: &Issuing, verdict: &Verdict) -> Judged {
    // Where the claim itself does not hold, no table does, whatever its keys say.
    let told =
        verdict.reason_codes.contains(&"issuer.claim_mismatch") || verdict.rule == Some(Rule::Suspected);
    let expect = if told { Vec::new() } else { farings(matcher, facts, issuing, verdict) };
    Judged {
        asset: matcher.asset(verdict.asset).id.clone(),
        verdict: verdict.ruling.label(),
        rule: verdict.rule.map(Rule::label),
        severity: verdict.severity.map(|severity| severity.label()),
        reason_codes: verdict.reason_codes.clone(),
        reasons: verdict.reasons.clone(),
        expect: expect.into_iter().map(table).collect(),
    }
}

fn table(faring: Faring) -> Table {
    let key = |KeyFaring { key, holds, expected, seen, alike }| Key { key, holds, expected, seen, alike };
    Table { keys: faring.keys.into_iter().map(key).collect(), scope: faring.scope, outside: faring.outside }
}

/// The records of a finding, as an account would make them that had seen nothing before.
fn records(finding: &Finding) -> Vec<Record> {
    let composer = Composer::new("explain", "certsieve");
    let (now, matcher) = (clock::now(), &*finding.matcher);
    let facts = finding.facts.as_deref();
    let mut records = Vec::new();
    if let Some((malformed, original)) = &finding.malformed {
        let version = &matcher.list().version;
        records.push(composer.malformed(facts, malformed, original, version, &finding.arrival, now));
    }
    let Some(facts) = facts else { return records };
    for verdict in &finding.verdicts {
        let case = Case {
            facts,
            verdict,
            matcher,
            issuing: finding.issuing.as_deref(),
            first_for_asset: None,
            arrival: &finding.arrival,
        };
        let asset = &matcher.asset(verdict.asset).id;
        let alert = verdict.rule.map(|rule| id::alert(facts, asset, rule, &verdict.matched(), None));
        records.extend(alert.and_then(|id| composer.alert(id, &case, now)));
        records.push(composer.matched(id::matched(facts, asset), alert, &case, now));
    }
    records
}

fn published(record: &Record, whole: bool) -> Published {
    let value: Json = serde_json::from_slice(&record.value).unwrap_or_default();
    Published {
        topic: record.topic.name("certsieve"),
        id: value.pointer("/event/id").and_then(Json::as_str).unwrap_or_default().to_owned(),
        key: record.key.clone(),
        value: whole.then_some(value),
    }
}
