//! The values of records, field by field in the order in which they are written: what a cut at the end
//! loses is what matters least.
//!
//! Types only. Elastic Common Schema 9.4 at the top level, everything else under `certsieve`. Times are
//! RFC 3339 in UTC with milliseconds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// An alert, or a match: one certificate and one asset.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Certificate {
    /// When certsieve judged.
    #[serde(rename = "@timestamp")]
    pub timestamp: String,
    /// One line of fewer than 200 characters.
    pub message: String,
    pub event: Event,
    pub log: Log,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// Of the asset, for routing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    pub ecs: Ecs,
    pub observer: Observer,
    pub certsieve: Certsieve,
    pub related: Related,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// What could not be decoded.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Malformed {
    #[serde(rename = "@timestamp")]
    pub timestamp: String,
    pub message: String,
    pub error: ErrorField,
    pub log: Log,
    pub ecs: Ecs,
    pub observer: Observer,
    pub certsieve: CertsieveMalformed,
    /// Last, because it is long.
    pub event: Event,
}

/// What happened to certsieve itself.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Health {
    #[serde(rename = "@timestamp")]
    pub timestamp: String,
    pub message: String,
    pub event: Event,
    pub log: Log,
    pub ecs: Ecs,
    pub observer: Observer,
    pub certsieve: CertsieveHealth,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Event {
    pub id: String,
    /// alert or event.
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub category: Vec<&'static str>,
    #[serde(rename = "type")]
    pub kinds: Vec<&'static str>,
    pub action: String,
    pub module: &'static str,
    pub dataset: &'static str,
    /// 21 low, 47 medium, 73 high, 99 critical.
    pub severity: u32,
    pub risk_score: f64,
    /// The log's time of the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The raw bytes in base64, cut at 256 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Log {
    /// low, medium, high or critical.
    pub level: &'static str,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Rule {
    pub id: &'static str,
    /// The asset.
    pub name: String,
    /// The watch list's file.
    pub ruleset: String,
    /// The watch list's version.
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ecs {
    pub version: &'static str,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Observer {
    pub vendor: &'static str,
    pub product: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub version: &'static str,
    /// The instance.
    pub name: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ErrorField {
    /// The reason, as in `certsieve_malformed_total`.
    pub code: &'static str,
    pub message: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Certsieve {
    pub schema: &'static str,
    pub asset: String,
    pub policy: &'static str,
    /// unexpected, expected or observed.
    pub verdict: &'static str,
    /// Asset and issuer: one incident.
    pub group: String,
    pub issuance_key: String,
    /// precertificate or certificate; absent on a domains-only stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<&'static str>,
    /// der or text.
    pub evidence: &'static str,
    pub reason_codes: Vec<String>,
    pub reasons: Vec<String>,
    pub anomalies: Vec<String>,
    pub matches: Vec<Matched>,
    pub matches_total: u64,
    /// Of a match: the alert of this issuance and asset, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_id: Option<String>,
    pub ct: Ct,
    pub issuer: Issuer,
    /// Absent on a domains-only stream, which names no issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    pub watchlist_version: String,
    /// The fields that were cut to keep the record within its bound.
    pub truncated: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Matched {
    /// domain, exact, network or keyword.
    pub kind: &'static str,
    pub pattern: String,
    pub identity: String,
    /// san.dns, san.ip, cn, text.san, text.domains or raw.
    pub source: &'static str,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ct {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<CtLog>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_timestamp: Option<String>,
    /// When the feed's server saw the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    pub received: String,
    /// From the log's time to the reception.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// feed or refill.
    pub origin: &'static str,
    pub feed: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CtLog {
    /// Without scheme and trailing slash.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Issuer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// SHA-256 of its SubjectPublicKeyInfo, where its certificate or the log's leaf says it; lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki_sha256: Option<String>,
    /// claimed or verified.
    pub strength: &'static str,
    /// No certificate of this issuer for the asset was seen before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_for_asset: Option<bool>,
    /// CCADB's owner of the issuer's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_owner: Option<String>,
    /// Where that owner takes problem reports, by CCADB: an address, or a sentence with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_to: Option<String>,
}

/// Inclusion, not validation: distrust dates and disallowed lists are not applied.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Trust {
    /// Root programs whose store includes a root above the issuer for TLS: apple, chrome, microsoft, mozilla.
    pub programs: Vec<&'static str>,
    /// Root programs of which the data does not say; never the same as untrusted.
    pub unknown: Vec<&'static str>,
    /// ccadb or mozilla-roots.
    pub data: &'static str,
    /// The day that the data speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// chain, key id or name; absent where the issuer is not in the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CertsieveMalformed {
    pub schema: &'static str,
    pub ct: Ct,
    /// Of the raw bytes, before the cut.
    pub original: Original,
    pub watchlist_version: String,
    pub truncated: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Original {
    pub length: u64,
    pub sha256: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CertsieveHealth {
    pub schema: &'static str,
    pub health: HealthDetail,
    pub watchlist_version: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema, Default, PartialEq, Eq)]
pub struct HealthDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

#[derive(Clone, Debug, Serialize, JsonSchema, Default)]
pub struct Related {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tls {
    pub server: TlsServer,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TlsServer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    pub x509: X509,
    /// Base64 of the DER as logged, up to 8 KiB of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Hash {
    /// Of the DER as logged, upper-case hex.
    pub sha256: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema, Default)]
pub struct X509 {
    /// Upper-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_number: Option<String>,
    pub subject: X509Name,
    pub issuer: X509Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_curve: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_algorithm: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternative_names: Vec<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema, Default)]
pub struct X509Name {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub common_name: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organization: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizational_unit: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locality: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state_or_province: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub country: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinguished_name: Option<String>,
}
