//! Makes each kind of record: value, headers, key and bound.
//!
//! [`Composer`] holds what all records of an instance share. A value's bound is kept by construction:
//! every text is cut to its field's length, matched names come first and others follow while there is
//! room, and what was cut is named in `certsieve.truncated`. A certificate of 10,000 names still pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use uuid::Uuid;

use super::text::{Cutter, clean, cut};
use super::value::{self, Ct, CtLog, Ecs, Event, HealthDetail, Log, Observer, Rule};
use super::x509::x509;
use super::{Record, Topic, id};
use crate::ccadb::{Issuing, Method, Program, Programs, Trust};
use crate::entry::issuance::{hex, sha256_hex};
use crate::entry::{Facts, Identity, Malformed, Timestamp, Value};
use crate::judge::{self, Ruling, Verdict, claim, strength};
use crate::sieve::Original;
use crate::watch::{Matcher, Severity};

/// Alert, match and health records, whole.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Malformed records, whole: the raw bytes are cut at [`MAX_ORIGINAL_BYTES`].
pub const MAX_MALFORMED_BYTES: usize = 512 * 1024;
/// Raw bytes kept of what could not be decoded.
pub const MAX_ORIGINAL_BYTES: usize = 256 * 1024;

/// A certificate up to this size is carried whole.
const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
/// Names beside the matched ones.
const MAX_OTHER_NAMES: usize = 1000;
/// For `certsieve.matches`.
const MATCHES_BYTES: usize = 12 * 1024;
/// For each of the two lists of names.
const NAMES_BYTES: usize = 10 * 1024;
/// Any one text of a stranger: Elasticsearch indexes no keyword of more than 8,191 characters, and an
/// honest value is far shorter.
pub(super) const MAX_TEXT_BYTES: usize = 512;
/// A distinguished name.
pub(super) const MAX_DN_BYTES: usize = 1024;
/// `message` becomes an alert's title.
const MAX_MESSAGE_BYTES: usize = 199;

/// What the records of one instance share.
#[derive(Clone, Debug)]
pub struct Composer {
    instance: String,
    source: String,
    version: &'static str,
}

/// The feed that entries fetched from logs come by; no other may have its name.
pub const REFILL: &str = "refill";

/// Where and when an entry came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub feed: Arc<str>,
    pub received: Timestamp,
}

/// What one asset says of one entry: the subject of an alert or a match.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub facts: &'a Facts,
    pub verdict: &'a Verdict,
    /// What was known of the issuer when it was judged.
    pub issuing: Option<&'a Issuing>,
    /// The list that judged.
    pub matcher: &'a Matcher,
    /// Whether no certificate of its issuer was seen for the asset before, where that can be said.
    pub first_for_asset: Option<bool>,
    pub arrival: &'a Arrival,
}

/// A kind of health record: `event.action`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HealthKind {
    Started,
    Stopped,
    Heartbeat,
    FeedUp,
    FeedDown,
    WatchlistLoaded,
    WatchlistRefused,
    RecordRejected,
    AlertsCapped,
    InternalError,
    HoleOpened,
    HoleRefilled,
    RangeLost,
    LogUncovered,
    LogUnaccountable,
    CanaryMissing,
}

impl HealthKind {
    pub fn label(self) -> &'static str {
        match self {
            HealthKind::Started => "started",
            HealthKind::Stopped => "stopped",
            HealthKind::Heartbeat => "heartbeat",
            HealthKind::FeedUp => "feed-up",
            HealthKind::FeedDown => "feed-down",
            HealthKind::WatchlistLoaded => "watchlist-loaded",
            HealthKind::WatchlistRefused => "watchlist-refused",
            HealthKind::RecordRejected => "record-rejected",
            HealthKind::AlertsCapped => "alerts-capped",
            HealthKind::InternalError => "internal-error",
            HealthKind::HoleOpened => "hole-opened",
            HealthKind::HoleRefilled => "hole-refilled",
            HealthKind::RangeLost => "range-lost",
            HealthKind::LogUncovered => "log-uncovered",
            HealthKind::LogUnaccountable => "log-unaccountable",
            HealthKind::CanaryMissing => "canary-missing",
        }
    }

    fn severity(self) -> Severity {
        match self {
            HealthKind::FeedDown
            | HealthKind::WatchlistRefused
            | HealthKind::AlertsCapped
            | HealthKind::LogUncovered
            | HealthKind::LogUnaccountable => Severity::Medium,
            HealthKind::RecordRejected
            | HealthKind::InternalError
            | HealthKind::RangeLost
            | HealthKind::CanaryMissing => Severity::High,
            _ => Severity::Low,
        }
    }
}

/// One thing to say on the health topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    pub kind: HealthKind,
    /// One sentence.
    pub message: String,
    pub detail: HealthDetail,
}

impl Composer {
    pub fn new(instance: &str, topic_prefix: &str) -> Composer {
        Composer {
            instance: cut(instance, MAX_TEXT_BYTES),
            source: format!("urn:certsieve:{topic_prefix}"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The alert of an unexpected verdict; `None` for another.
    pub fn alert(&self, id: Uuid, case: &Case<'_>, now: Timestamp) -> Option<Record> {
        case.verdict.rule?;
        Some(self.certificate(Topic::Alert, id, None, case, now))
    }

    /// The match of any verdict; `alert` is the id of the alert that was raised for it, now or before.
    pub fn matched(&self, id: Uuid, alert: Option<Uuid>, case: &Case<'_>, now: Timestamp) -> Record {
        self.certificate(Topic::Match, id, alert, case, now)
    }

    fn certificate(
        &self,
        topic: Topic,
        id: Uuid,
        alert: Option<Uuid>,
        case: &Case<'_>,
        now: Timestamp,
    ) -> Record {
        let Case { facts, verdict, issuing, matcher, arrival, .. } = *case;
        let list = matcher.list();
        let asset = matcher.asset(verdict.asset);
        let severity = verdict.severity.unwrap_or(Severity::Low);
        let is_alert = topic == Topic::Alert;
        let mut cutter = Cutter::default();
        let matches = matches_of(facts, verdict, matcher, &mut cutter);
        let names = names_of(facts, verdict, &mut cutter);
        let sha256 = facts.der.as_deref().map(|der| sha256_hex(der).to_ascii_uppercase());
        let certificate = facts.der.as_ref().filter(|der| der.len() <= MAX_CERTIFICATE_BYTES);
        if facts.der.is_some() && certificate.is_none() {
            cutter.note("tls.server.certificate");
        }
        let tls = (!facts.names_only).then(|| value::Tls {
            server: value::TlsServer {
                hash: sha256.clone().map(|sha256| value::Hash { sha256 }),
                x509: x509(facts, names.alternative, &mut cutter),
                certificate: certificate.map(|der| STANDARD.encode(der)),
            },
        });
        let mut value = value::Certificate {
            timestamp: now.to_string(),
            message: title(facts, verdict, &asset.id, &mut cutter),
            event: Event {
                id: id.to_string(),
                kind: if is_alert { "alert" } else { "event" },
                category: vec!["intrusion_detection"],
                kinds: vec!["info"],
                action: format!("certificate-{}", verdict.ruling.label()),
                module: "certsieve",
                dataset: if is_alert { "certsieve.alert" } else { "certsieve.match" },
                severity: u32::from(severity.score()),
                risk_score: f64::from(severity.score()),
                start: facts.log_time.map(|t| t.to_string()),
                reason: verdict.reasons.first().map(|r| cutter.cut("event.reason", r, MAX_TEXT_BYTES)),
                url: sha256.as_ref().map(|sha256| format!("https://crt.sh/?q={sha256}")),
                original: None,
            },
            log: Log { level: severity.label() },
            rule: verdict.rule.map(|rule| Rule {
                id: rule.label(),
                name: asset.id.clone(),
                ruleset: cutter.cut("rule.ruleset", &list.ruleset, MAX_TEXT_BYTES),
                version: list.version.clone(),
                // The list bounds it; a link that is cut leads nowhere.
                reference: asset.reference.as_deref().map(clean),
            }),
            labels: labels(&asset.labels, &mut cutter),
            ecs: ECS,
            observer: self.observer(),
            certsieve: value::Certsieve {
                schema: if is_alert { "alert/1" } else { "match/1" },
                asset: asset.id.clone(),
                policy: asset.policy.label(),
                verdict: verdict.ruling.label(),
                group: cutter.cut(
                    "certsieve.group",
                    &format!("{}:{}", asset.id, facts.authority_key_id.as_deref().unwrap_or("-")),
                    MAX_TEXT_BYTES,
                ),
                issuance_key: cutter.cut("certsieve.issuance_key", &facts.issuance_key, MAX_TEXT_BYTES),
                entry: (!facts.names_only).then(|| facts.kind.label()),
                evidence: facts.evidence.label(),
                reason_codes: verdict.reason_codes.iter().map(|c| (*c).to_owned()).collect(),
                reasons: verdict
                    .reasons
                    .iter()
                    .map(|reason| cutter.cut("certsieve.reasons", reason, MAX_TEXT_BYTES))
                    .collect(),
                anomalies: facts.anomalies.iter().map(|a| a.label().to_owned()).collect(),
                matches_total: verdict.matches.len() as u64,
                matches,
                alert_id: alert.map(|id| id.to_string()),
                ct: ct(facts, arrival, &mut cutter),
                issuer: value::Issuer {
                    key_id: facts
                        .authority_key_id
                        .as_deref()
                        .map(|id| cutter.cut("certsieve.issuer.key_id", id, MAX_TEXT_BYTES)),
                    spki_sha256: facts.issuer_spki_sha256().map(|key| hex(&key)),
                    strength: issuing.map_or("claimed", |issuing| strength(claim(facts, issuing))),
                    first_for_asset: case.first_for_asset,
                    ca_owner: issuing
                        .and_then(Issuing::ca_owner)
                        .map(|owner| cutter.cut("certsieve.issuer.ca_owner", owner, MAX_TEXT_BYTES)),
                    report_to: issuing
                        .and_then(|issuing| issuing.report_to.as_deref())
                        .map(|address| cutter.cut("certsieve.issuer.report_to", address, MAX_TEXT_BYTES)),
                },
                // Names alone have no issuer to speak of.
                trust: issuing.filter(|_| !facts.names_only).map(|issuing| trust(&issuing.trust)),
                watchlist_version: list.version.clone(),
                truncated: Vec::new(),
            },
            related: value::Related { ip: names.ip, hosts: names.hosts, hash: sha256.into_iter().collect() },
            tls,
        };
        value.certsieve.truncated = cutter.into_fields();
        let json = bounded(&mut value);
        let kind = if is_alert { "alert" } else { "match" };
        let ce_type = if is_alert { "certsieve.alert.raised.v1" } else { "certsieve.match.v1" };
        Record {
            sequence: 0,
            topic,
            key: cut(&facts.issuance_key, MAX_TEXT_BYTES),
            headers: self.headers(id, ce_type, Some(&asset.id), now, kind, severity),
            value: json,
            at: now,
        }
    }

    /// What could not be decoded: `original` are its raw bytes.
    pub fn malformed(
        &self,
        facts: Option<&Facts>,
        malformed: &Malformed,
        original: &Original,
        list_version: &str,
        arrival: &Arrival,
        now: Timestamp,
    ) -> Record {
        let entry = match facts {
            Some(facts) => facts.address(),
            None => vec![original.sha256.clone()],
        };
        let id = id::malformed(&entry);
        let is_cut = (original.bytes.len() as u64) < original.length;
        let severity = Severity::Low;
        let mut cutter = Cutter::default();
        if is_cut {
            cutter.note("event.original");
        }
        let ct = match facts {
            Some(facts) => ct(facts, arrival, &mut cutter),
            None => ct_unknown(arrival),
        };
        let value = value::Malformed {
            timestamp: now.to_string(),
            message: cut(&format!("Undecodable entry: {}", malformed.message), MAX_MESSAGE_BYTES),
            error: value::ErrorField {
                code: malformed.reason,
                message: cutter.cut("error.message", &malformed.message, MAX_TEXT_BYTES),
            },
            log: Log { level: severity.label() },
            ecs: ECS,
            observer: self.observer(),
            certsieve: value::CertsieveMalformed {
                schema: "malformed/1",
                ct,
                original: value::Original { length: original.length, sha256: original.sha256.clone() },
                watchlist_version: list_version.to_owned(),
                truncated: cutter.into_fields(),
            },
            event: Event {
                id: id.to_string(),
                kind: "event",
                category: vec!["intrusion_detection"],
                kinds: vec!["info"],
                action: "entry-malformed".to_owned(),
                module: "certsieve",
                dataset: "certsieve.malformed",
                severity: u32::from(severity.score()),
                risk_score: f64::from(severity.score()),
                start: facts.and_then(|f| f.log_time).map(|t| t.to_string()),
                reason: Some(cut(&malformed.message, MAX_TEXT_BYTES)),
                url: None,
                original: Some(STANDARD.encode(&original.bytes)),
            },
        };
        Record {
            sequence: 0,
            topic: Topic::Malformed,
            key: cut(&entry.join(":"), MAX_TEXT_BYTES + 32),
            headers: self.headers(id, "certsieve.malformed.v1", None, now, "malformed", severity),
            value: json(&value),
            at: now,
        }
    }

    /// What happened to certsieve itself.
    pub fn health(&self, health: &Health, list_version: &str, now: Timestamp) -> Record {
        let kind = health.kind.label();
        let severity = health.kind.severity();
        let detail = HealthDetail {
            log: health.detail.log.as_deref().map(|l| cut(l, MAX_TEXT_BYTES)),
            feed: health.detail.feed.as_deref().map(|f| cut(f, MAX_TEXT_BYTES)),
            asset: health.detail.asset.clone(),
            canary: health.detail.canary.clone(),
            ..health.detail
        };
        let about = [&detail.log, &detail.feed, &detail.asset, &detail.canary];
        let log = about.into_iter().flatten().next().map_or("-", String::as_str).to_owned();
        let what = match (detail.first, detail.last) {
            (Some(first), Some(last)) => format!("{first}-{last}"),
            _ => now.to_string(),
        };
        let id = id::health(&self.instance, kind, &log, &what);
        let value = value::Health {
            timestamp: now.to_string(),
            message: cut(&health.message, MAX_MESSAGE_BYTES),
            event: Event {
                id: id.to_string(),
                kind: "event",
                category: Vec::new(),
                kinds: vec!["info"],
                action: kind.to_owned(),
                module: "certsieve",
                dataset: "certsieve.health",
                severity: u32::from(severity.score()),
                risk_score: f64::from(severity.score()),
                start: None,
                reason: Some(cut(&health.message, MAX_DN_BYTES)),
                url: None,
                original: None,
            },
            log: Log { level: severity.label() },
            ecs: ECS,
            observer: self.observer(),
            certsieve: value::CertsieveHealth {
                schema: "health/1",
                health: detail,
                watchlist_version: list_version.to_owned(),
            },
        };
        Record {
            sequence: 0,
            topic: Topic::Health,
            key: self.instance.clone(),
            headers: self.headers(id, "certsieve.health.v1", None, now, "health", severity),
            value: json(&value),
            at: now,
        }
    }

    fn observer(&self) -> Observer {
        Observer {
            vendor: "certsieve",
            product: "certsieve",
            kind: "ct-monitor",
            version: self.version,
            name: self.instance.clone(),
        }
    }

    /// CloudEvents 1.0 in Kafka's binary mode.
    fn headers(
        &self,
        id: Uuid,
        ce_type: &str,
        subject: Option<&str>,
        now: Timestamp,
        kind: &str,
        severity: Severity,
    ) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", id.to_string()),
            ("ce_type", ce_type.to_owned()),
            ("ce_source", self.source.clone()),
        ];
        headers.extend(subject.map(|subject| ("ce_subject", subject.to_owned())));
        headers.extend([
            ("ce_time", now.to_string()),
            ("ce_dataschema", format!("urn:certsieve:schema:{kind}:1")),
            ("ce_severity", severity.label().to_owned()),
            ("content-type", "application/json".to_owned()),
        ]);
        headers
    }
}

const ECS: Ecs = Ecs { version: "9.4.0" };

fn json(value: &impl Serialize) -> Vec<u8> {
    // Maps with text keys, numbers and texts only: serialising them cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The value within its bound. The parts are sized so that it fits at once, unless a stranger's text
/// grows by escapes; then lists are halved, least important first, until it does.
fn bounded(value: &mut value::Certificate) -> Vec<u8> {
    fn note(value: &mut value::Certificate, field: &'static str) {
        if !value.certsieve.truncated.contains(&field) {
            value.certsieve.truncated.push(field);
        }
    }
    loop {
        let bytes = json(value);
        if bytes.len() <= MAX_RECORD_BYTES {
            return bytes;
        }
        if let Some(server) = value.tls.as_mut().map(|tls| &mut tls.server) {
            if server.certificate.take().is_some() {
                note(value, "tls.server.certificate");
                continue;
            }
            if !server.x509.alternative_names.is_empty() {
                let half = server.x509.alternative_names.len() / 2;
                server.x509.alternative_names.truncate(half);
                note(value, "tls.server.x509.alternative_names");
                continue;
            }
        }
        if value.related.hosts.len() + value.related.ip.len() > 0 {
            value.related.hosts.truncate(value.related.hosts.len() / 2);
            value.related.ip.truncate(value.related.ip.len() / 2);
            note(value, "related");
            continue;
        }
        if value.tls.take().is_some() {
            note(value, "tls");
            continue;
        }
        if value.certsieve.matches.len() > 1 {
            value.certsieve.matches.truncate(value.certsieve.matches.len() / 2);
            note(value, "certsieve.matches");
            continue;
        }
        if !value.labels.is_empty() {
            value.labels.clear();
            note(value, "labels");
            continue;
        }
        return bytes;
    }
}

/// The asset's labels with ECS's rule for keys: nested, never dotted.
fn labels(labels: &BTreeMap<String, String>, cutter: &mut Cutter) -> BTreeMap<String, String> {
    let mut value = |v: &String| cutter.cut("labels", v, MAX_TEXT_BYTES);
    labels.iter().map(|(k, v)| (clean(k).replace('.', "_"), value(v))).collect()
}

fn title(facts: &Facts, verdict: &Verdict, asset: &str, cutter: &mut Cutter) -> String {
    let identity = verdict
        .matches
        .iter()
        .find(|m| verdict.rule != Some(judge::Rule::Keyword) || !m.hit.kind.is_owned())
        .and_then(|m| facts.identities.get(m.identity))
        .map(|identity| facts.identities.value(identity))
        .unwrap_or_default();
    let issuer = facts
        .issuer
        .common_name
        .first()
        .or(facts.issuer.organization.first())
        .map_or("an unnamed issuer", String::as_str);
    let kind = match verdict.ruling {
        Ruling::Unexpected => "Unexpected certificate",
        Ruling::Expected => "Expected certificate",
        Ruling::Observed => "Certificate",
    };
    let title = if facts.names_only {
        format!("{kind} for {asset}: {identity}")
    } else {
        let (identity, issuer) = (cutter.cut("message", &identity, 100), cutter.cut("message", issuer, 60));
        format!("{kind} for {asset}: {identity} issued by {issuer}")
    };
    cutter.cut("message", &title, MAX_MESSAGE_BYTES)
}

fn matches_of(
    facts: &Facts,
    verdict: &Verdict,
    matcher: &Matcher,
    cutter: &mut Cutter,
) -> Vec<value::Matched> {
    const FIELD: &str = "certsieve.matches";
    let mut room = MATCHES_BYTES;
    let mut matches = Vec::new();
    for matched in &verdict.matches {
        let Some(identity) = facts.identities.get(matched.identity) else { continue };
        let one = value::Matched {
            kind: matched.hit.kind.label(),
            pattern: cutter.cut(FIELD, &matcher.pattern(&matched.hit), MAX_TEXT_BYTES),
            identity: cutter.cut(FIELD, &facts.identities.value(identity), MAX_TEXT_BYTES),
            source: identity.provenance.label(),
        };
        // The keys and quotes of one match.
        const FRAME: usize = 60;
        let size = FRAME + one.pattern.len() + one.identity.len();
        if size > room {
            cutter.note(FIELD);
            return matches;
        }
        room -= size;
        matches.push(one);
    }
    matches
}

#[derive(Default)]
struct Names {
    ip: Vec<String>,
    hosts: Vec<String>,
    alternative: Vec<String>,
}

const RELATED: &str = "related";
const ALTERNATIVE: &str = "tls.server.x509.alternative_names";

/// The names of the certificate: matched ones first, then the others while there is room.
fn names_of(facts: &Facts, verdict: &Verdict, cutter: &mut Cutter) -> Names {
    let mut is_matched = vec![false; facts.identities.len()];
    for matched in &verdict.matches {
        if let Some(flag) = is_matched.get_mut(matched.identity) {
            *flag = true;
        }
    }
    let of = |wanted: bool| {
        let flags = is_matched.iter();
        facts.identities.iter().zip(flags).filter(move |(_, flag)| **flag == wanted).map(|(i, _)| i)
    };
    let mut names = Names::default();
    let (mut related, mut alternative) = (NAMES_BYTES, NAMES_BYTES);
    for identity in of(true).chain(of(false).take(MAX_OTHER_NAMES)) {
        names.push(facts, identity, &mut related, &mut alternative, cutter);
    }
    if of(false).count() > MAX_OTHER_NAMES {
        cutter.note(RELATED);
        cutter.note(ALTERNATIVE);
    }
    names
}

impl Names {
    fn push(
        &mut self,
        facts: &Facts,
        identity: &Identity,
        related: &mut usize,
        alternative: &mut usize,
        cutter: &mut Cutter,
    ) {
        // Quotes and comma.
        const FRAME: usize = 3;
        let value = facts.identities.value(identity);
        // A label that is none is no host that anybody could look up.
        let is_host = !value.split('.').any(|label| label == "?");
        // Addresses only: that of a network stands beside it.
        if is_host && !matches!(identity.value, Value::Network(_)) {
            let value = cutter.cut(RELATED, &value, MAX_TEXT_BYTES);
            if value.len() + FRAME <= *related {
                *related -= value.len() + FRAME;
                match identity.value {
                    Value::Address(_) => self.ip.push(value),
                    Value::Name { .. } => self.hosts.push(value),
                    Value::Network(_) => {}
                }
            } else {
                cutter.note(RELATED);
            }
        }
        if identity.provenance == crate::entry::Provenance::CommonName {
            return;
        }
        let raw = cutter.cut(ALTERNATIVE, facts.identities.raw(identity), MAX_TEXT_BYTES);
        if self.alternative.last() == Some(&raw) {
            return;
        }
        if raw.len() + FRAME <= *alternative {
            *alternative -= raw.len() + FRAME;
            self.alternative.push(raw);
        } else {
            cutter.note(ALTERNATIVE);
        }
    }
}

fn trust(trust: &Trust) -> value::Trust {
    let labels = |programs: Programs| programs.iter().map(Program::label).collect();
    value::Trust {
        programs: labels(trust.programs),
        unknown: labels(trust.unknown),
        data: trust.data.label(),
        as_of: trust.as_of.map(|date| date.to_string()),
        method: trust.method.map(Method::label),
    }
}

fn ct(facts: &Facts, arrival: &Arrival, cutter: &mut Cutter) -> Ct {
    let mut cut = |field, text: &str| cutter.cut(field, text, MAX_TEXT_BYTES);
    Ct {
        log: facts.log.as_deref().map(|log| CtLog {
            id: cut("certsieve.ct.log.id", log),
            name: facts.log_name.as_deref().map(|name| cut("certsieve.ct.log.name", name)),
            url: facts.log_url.as_deref().map(|url| cut("certsieve.ct.log.url", url)),
        }),
        // JSON numbers above 2^63 overflow a SIEM's long.
        index: facts.index.filter(|index| i64::try_from(*index).is_ok()),
        log_timestamp: facts.log_time.map(|t| t.to_string()),
        seen: facts.seen.map(|t| t.to_string()),
        latency_ms: facts.log_time.map(|t| arrival.received.millis_since(t)),
        ..ct_unknown(arrival)
    }
}

fn ct_unknown(arrival: &Arrival) -> Ct {
    Ct {
        log: None,
        index: None,
        log_timestamp: None,
        seen: None,
        received: arrival.received.to_string(),
        latency_ms: None,
        origin: if &*arrival.feed == REFILL { "refill" } else { "feed" },
        feed: arrival.feed.to_string(),
    }
}
