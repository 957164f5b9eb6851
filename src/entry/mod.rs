//! One log entry, decoded: from lent bytes to identities, issuer, serial, times and log. Pure.
//!
//! [`Decoder`] belongs to one worker and keeps what a message needs between messages: the DER, the raw
//! names, the normalised identities, the logs seen. An [`Entry`] borrows it and costs no allocation that
//! grows with the number of messages. [`Facts`] is an entry that goes on: owned, made only for an entry
//! that matches.
//!
//! The truth is in the DER. Text is read too: a message may have nothing else, and where both speak and
//! differ, both are matched.

pub mod anomaly;
pub mod certificate;
pub mod chain;
pub mod der;
pub mod facts;
pub mod identity;
pub mod issuance;
pub mod known;
pub mod leaf;
pub mod message;
pub mod name;
mod precertificate;
pub mod raw;
pub mod time;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};

pub use anomaly::{Anomalies, Anomaly};
pub use chain::ChainCertificate;
pub use facts::{DistinguishedName, Facts};
pub use identity::{Identities, Identity, Provenance, Value};
pub use known::{KnownLog, KnownLogs};
pub use time::Timestamp;

use certificate::{RawName, Walk, walk, walk_tbs};
use leaf::Leaf;
use message::CertificateUpdate;

/// Precertificate (RFC 6962, 3.1) or certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    Precertificate,
    Certificate,
}

impl EntryKind {
    pub fn label(self) -> &'static str {
        match self {
            EntryKind::Precertificate => "precertificate",
            EntryKind::Certificate => "certificate",
        }
    }
}

/// What the identities were read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    Der,
    Text,
}

impl Evidence {
    pub fn label(self) -> &'static str {
        match self {
            Evidence::Der => "der",
            Evidence::Text => "text",
        }
    }
}

/// The entry, or a part of it, could not be decoded; `reason` is the label of `certsieve_malformed_total`
/// and `error.code`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    pub reason: &'static str,
    pub message: String,
}

/// One entry, borrowing the message and the worker's decoder.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The log as records name it: its id where the list knows it, else its URL without scheme and trailing
    /// slash, host in lower case.
    pub log: Option<Arc<str>>,
    pub index: Option<u64>,
    pub log_time: Option<Timestamp>,
    pub kind: EntryKind,
    pub evidence: Evidence,
    pub identities: &'a Identities,
    pub anomalies: Anomalies,
    pub malformed: Option<Malformed>,
    walk: Option<Walk<'a>>,
    /// What was walked; empty where there is no DER.
    der: &'a [u8],
    /// The certificate as it was submitted; empty where it is not at hand.
    submitted: &'a [u8],
    /// What of a DER in broken base64 can be decoded, with filler where it cannot.
    salvage: &'a [u8],
    /// All of it could be read, or what could not says nothing beside a DER that could.
    decoded: bool,
    origin: Origin<'a>,
}

/// What an entry was decoded from.
#[derive(Clone, Copy, Debug)]
enum Origin<'a> {
    Update(&'a CertificateUpdate<'a>),
    Names,
    Leaf(&'a Leaf<'a>),
    /// A certificate on its own.
    Certificate,
}

impl<'a> Entry<'a> {
    /// The DER that its identities were read from, or should have been; `None` where there is none.
    pub fn der(&self) -> Option<&'a [u8]> {
        (!self.der.is_empty()).then_some(self.der)
    }

    /// What of a DER in broken base64 can be decoded, with filler where it cannot; `None` elsewhere.
    pub fn salvage(&self) -> Option<&'a [u8]> {
        (!self.salvage.is_empty()).then_some(self.salvage)
    }

    /// It could not be decoded whole. An entry whose DER could is decoded, whatever stands in its text.
    pub fn is_undecided(&self) -> bool {
        !self.decoded
    }
}

/// Logs whose name a worker remembers; a feed that names more is remembered from the start again.
const MAX_LOGS_REMEMBERED: usize = 1024;

/// One worker's room for decoding.
#[derive(Default)]
pub struct Decoder {
    der: Vec<u8>,
    salvage: Vec<u8>,
    names: Vec<RawName>,
    identities: Identities,
    /// `source.url` as written, and the log's name, by these.
    logs: std::collections::HashMap<String, Arc<str>>,
    known: Arc<KnownLogs>,
}

/// Base64 as servers should write it, and as some do: without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Decoder {
    /// Names logs as `known` does from here on.
    pub fn knowing(&mut self, known: &Arc<KnownLogs>) {
        if !Arc::ptr_eq(&self.known, known) {
            self.known = known.clone();
            self.logs.clear();
        }
    }

    /// The entry of a `certificate_update`.
    pub fn certificate<'a>(&'a mut self, update: &'a CertificateUpdate<'a>) -> Entry<'a> {
        let log = update.source.url.as_str().map(|url| self.log(url));
        self.names.clear();
        self.identities.clear();
        self.der.clear();
        self.salvage.clear();
        let mut anomalies = Anomalies::default();
        let mut malformed = None;
        let leaf = &update.leaf;
        for (field, shape) in update.shapes() {
            malformed = malformed.or(wrong_type(field, shape, &mut anomalies));
        }
        if update.index.is_given() && update.index.index().is_none() {
            anomalies.add(Anomaly::IndexInvalid);
        }
        if let Some(text) = leaf.as_der.as_str()
            && let Err(error) = decode_base64(text, &mut self.der)
        {
            self.der.clear();
            salvage(text, &mut self.salvage);
            anomalies.add(Anomaly::AsDerInvalid);
            malformed = Some(Malformed { reason: "base64", message: format!("as_der: {error}") });
        }
        let walk = (!self.der.is_empty()).then(|| walk(&self.der, &mut self.names));
        if let Some(broken) = walk.and_then(|walk| walk.broken) {
            anomalies.add(Anomaly::AsDerInvalid);
            malformed = Some(Malformed { reason: "der", message: format!("as_der: {broken}") });
        }
        if walk.is_some_and(|walk| walk.trailing > 0) {
            anomalies.add(Anomaly::TrailingData);
        }
        anomalies.merge(read_names(&self.names, &self.der, &mut self.identities));
        // A DER that broke decides nothing: the text is then read beside it on equal terms.
        let whole = walk.is_some_and(|walk| walk.broken.is_none());
        read_text(update, &mut self.identities);
        if !whole {
            // The same of the text, as far as it says where in the certificate a name stands.
            let placed = self.identities.iter().filter(|i| i.provenance != Provenance::TextDomains);
            placed.for_each(|identity| anomalies.merge(identity.anomalies));
        }
        let text_has_san = leaf.extensions.subject_alt_name.iter().next().is_some();
        if self.identities.settle(whole, text_has_san) {
            anomalies.add(Anomaly::TextDerMismatch);
        }
        for identity in self.identities.iter() {
            anomalies.merge(identity.anomalies);
        }
        let poison = walk.map_or(leaf.extensions.poison.0, |walk| walk.poison);
        let kind = match update.is_precertificate() {
            Some(true) => EntryKind::Precertificate,
            None if poison => EntryKind::Precertificate,
            _ => EntryKind::Certificate,
        };
        Entry {
            log,
            index: update.index.index(),
            log_time: update.log_time(),
            kind,
            evidence: if whole || self.identities.are_of_der() { Evidence::Der } else { Evidence::Text },
            identities: &self.identities,
            anomalies,
            decoded: whole || malformed.is_none(),
            malformed,
            walk,
            der: &self.der,
            submitted: &self.der,
            salvage: &self.salvage,
            origin: Origin::Update(update),
        }
    }

    /// The entry of a log's leaf: everything from the DER, of a precertificate from what the log signs.
    pub fn leaf<'a>(&'a mut self, leaf: &'a Leaf<'a>) -> Entry<'a> {
        let log = self.log(leaf.fetched.log);
        self.names.clear();
        self.identities.clear();
        let mut anomalies = Anomalies::default();
        let mut malformed =
            leaf.broken.map(|broken| Malformed { reason: "leaf", message: format!("leaf: {broken}") });
        let is_tile = matches!(leaf.fetched.form, leaf::Form::Tile { .. });
        if leaf.own_index.map_or(is_tile && leaf.broken.is_none(), |own| own != leaf.fetched.index) {
            anomalies.add(Anomaly::IndexInvalid);
        }
        let kind = leaf.kind.unwrap_or(EntryKind::Certificate);
        let walk = (!leaf.signed.is_empty()).then(|| match kind {
            EntryKind::Precertificate => walk_tbs(leaf.signed, &mut self.names),
            EntryKind::Certificate => walk(leaf.signed, &mut self.names),
        });
        if let Some(walk) = walk {
            if walk.trailing > 0 {
                anomalies.add(Anomaly::TrailingData);
            }
            if let Some(broken) = walk.broken {
                anomalies.add(Anomaly::AsDerInvalid);
                malformed = Some(Malformed { reason: "der", message: format!("leaf: {broken}") });
            } else if kind == EntryKind::Precertificate
                && !leaf.submitted.is_empty()
                && precertificate::differs(leaf.submitted, leaf.signed, || leaf.chain().next())
            {
                anomalies.add(Anomaly::PrecertMismatch);
            }
        }
        anomalies.merge(read_names(&self.names, leaf.signed, &mut self.identities));
        self.identities.settle(true, false);
        Entry {
            log: Some(log),
            index: Some(leaf.fetched.index),
            log_time: leaf.time,
            kind,
            evidence: Evidence::Der,
            identities: &self.identities,
            anomalies,
            decoded: malformed.is_none(),
            malformed,
            walk,
            der: leaf.signed,
            submitted: leaf.submitted,
            salvage: &[],
            origin: Origin::Leaf(leaf),
        }
    }

    /// The entry of a certificate on its own, out of a file: in no log, with no chain.
    pub fn der<'a>(&'a mut self, der: &'a [u8]) -> Entry<'a> {
        self.names.clear();
        self.identities.clear();
        let mut anomalies = Anomalies::default();
        let mut malformed = None;
        let walk = walk(der, &mut self.names);
        if walk.trailing > 0 {
            anomalies.add(Anomaly::TrailingData);
        }
        if let Some(broken) = walk.broken {
            anomalies.add(Anomaly::AsDerInvalid);
            malformed = Some(Malformed { reason: "der", message: broken.to_string() });
        }
        anomalies.merge(read_names(&self.names, der, &mut self.identities));
        self.identities.settle(true, false);
        Entry {
            log: None,
            index: None,
            log_time: None,
            kind: if walk.poison { EntryKind::Precertificate } else { EntryKind::Certificate },
            evidence: Evidence::Der,
            identities: &self.identities,
            anomalies,
            decoded: malformed.is_none(),
            malformed,
            walk: Some(walk),
            der,
            submitted: der,
            salvage: &[],
            origin: Origin::Certificate,
        }
    }

    /// The entry of one name or address that somebody asks for: what it denotes, and nothing else.
    pub fn asked(&mut self, text: &str) -> Entry<'_> {
        self.names.clear();
        self.identities.clear();
        let mut anomalies = Anomalies::default();
        match name::address(text) {
            Some((address, mapped)) => {
                if mapped {
                    anomalies.add(Anomaly::IpV4Mapped);
                }
                let raw = self.identities.keep(text);
                let value = Value::Address(address);
                self.identities.push(value, Provenance::TextSan, raw, false, anomalies);
            }
            None => {
                let place = name::Place { provenance: Provenance::TextSan, der: false };
                name::read(text.as_bytes(), place, &mut self.identities);
            }
        }
        self.names_only(anomalies, None)
    }

    /// The entry of a domains-only message: names, and nothing else.
    pub fn names<'a>(&'a mut self, names: &message::Names<'_>) -> Entry<'a> {
        self.names.clear();
        self.identities.clear();
        let mut anomalies = Anomalies::default();
        let malformed = wrong_type("data", names.shape, &mut anomalies);
        let place = name::Place { provenance: Provenance::TextDomains, der: false };
        for name in &names.list {
            name::read(name.as_bytes(), place, &mut self.identities);
        }
        self.names_only(anomalies, malformed)
    }

    /// An entry of the identities that were read, without a certificate.
    fn names_only(&mut self, mut anomalies: Anomalies, malformed: Option<Malformed>) -> Entry<'_> {
        self.identities.settle(false, false);
        for identity in self.identities.iter() {
            anomalies.merge(identity.anomalies);
        }
        Entry {
            log: None,
            index: None,
            log_time: None,
            kind: EntryKind::Certificate,
            evidence: Evidence::Text,
            identities: &self.identities,
            anomalies,
            decoded: malformed.is_none(),
            malformed,
            walk: None,
            der: &[],
            submitted: &[],
            salvage: &[],
            origin: Origin::Names,
        }
    }

    fn log(&mut self, url: &str) -> Arc<str> {
        if let Some(log) = self.logs.get(url) {
            return log.clone();
        }
        if self.logs.len() >= MAX_LOGS_REMEMBERED {
            self.logs.clear();
        }
        let name = log_name(url);
        let log = self.known.named(&name).map_or_else(|| name.into(), |known| known.id.clone());
        self.logs.insert(url.to_owned(), log.clone());
        log
    }
}

/// A log's name longer than this is cut: it comes from a stranger and goes into keys and ids.
const MAX_LOG_NAME_BYTES: usize = 512;

/// The log of a URL: without scheme and trailing slashes, host in lower case.
pub fn log_name(url: &str) -> String {
    let url = url.trim();
    let bare = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
    let end = (0..=bare.len().min(MAX_LOG_NAME_BYTES)).rev().find(|i| bare.is_char_boundary(*i)).unwrap_or(0);
    let bare = &bare[..end];
    match bare.split_once('/') {
        Some((host, path)) => format!("{}/{path}", host.to_ascii_lowercase()),
        None => bare.to_ascii_lowercase(),
    }
}

/// A field of another type than its name says: odd, or with no reading at all.
fn wrong_type(field: &str, shape: message::Shape, anomalies: &mut Anomalies) -> Option<Malformed> {
    if shape != message::Shape::Usual {
        anomalies.add(Anomaly::FieldType);
    }
    match shape {
        message::Shape::Wrong(what) => {
            Some(Malformed { reason: "field_type", message: format!("{field} is or holds {what}") })
        }
        _ => None,
    }
}

/// In the alphabet of RFC 4648, 4 or 5, wrapped or not.
fn decode_base64(text: &str, out: &mut Vec<u8>) -> Result<(), base64::DecodeError> {
    let standard = BASE64.decode_vec(text, out);
    if standard.is_err() && text.contains(|c: char| c.is_ascii_whitespace()) {
        out.clear();
        return decode_base64(&text.replace(|c: char| c.is_ascii_whitespace(), ""), out);
    }
    if standard.is_err() && text.contains(['-', '_']) {
        out.clear();
        return general_purpose::URL_SAFE_NO_PAD.decode_vec(text.trim_end_matches('='), out);
    }
    standard
}

/// What of broken base64 can be decoded, four characters at a time, so that one that is none hides three
/// octets and no more. In their place stands what is part of no name.
fn salvage(text: &str, out: &mut Vec<u8>) {
    // In no name, and in no address that anybody has.
    const FILLER: [u8; 3] = [0, 0x1f, 0];
    let bytes: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    for quad in bytes.chunks(4) {
        let before = out.len();
        let quad = std::str::from_utf8(quad).unwrap_or_default();
        let whole = BASE64.decode_vec(quad, out).or_else(|_| {
            out.truncate(before);
            general_purpose::URL_SAFE_NO_PAD.decode_vec(quad, out)
        });
        if whole.is_err() {
            out.truncate(before);
            out.extend(FILLER);
        }
    }
}

/// The identities of the raw names of a DER, and what is odd about any of them: that stays odd when the
/// same name stands in its proper place too.
fn read_names(names: &[RawName], der: &[u8], out: &mut Identities) -> Anomalies {
    let mut anomalies = Anomalies::default();
    for raw in names {
        anomalies.merge(read_raw(raw, der, out));
    }
    for identity in out.iter() {
        anomalies.merge(identity.anomalies);
    }
    anomalies
}

/// The identities of one raw name of the DER.
fn read_raw(raw: &RawName, der: &[u8], out: &mut Identities) -> Anomalies {
    let bytes = der.get(raw.start as usize..raw.end as usize).unwrap_or(&[]);
    let mut anomalies = Anomalies::default();
    match raw.place {
        certificate::Place::Dns => {
            name::read(bytes, name::Place { provenance: Provenance::SanDns, der: true }, out);
        }
        certificate::Place::CommonName(tag) => {
            let place = name::Place { provenance: Provenance::CommonName, der: true };
            match facts::directory_string(tag, bytes) {
                std::borrow::Cow::Borrowed(text) => name::read(text.as_bytes(), place, out),
                std::borrow::Cow::Owned(text) => name::read(text.as_bytes(), place, out),
            }
        }
        // Of a length that says nothing, the record shows the anomaly and the certificate.
        certificate::Place::Ip => anomalies.merge(name::read_octets(bytes, out)),
    }
    anomalies
}

/// The identities that the message's text claims, of every dialect. What is written as it stands in the
/// DER, or further up in the text, is read once.
fn read_text(update: &CertificateUpdate<'_>, out: &mut Identities) {
    let place = |provenance| name::Place { provenance, der: false };
    let leaf = &update.leaf;
    let mut next = 0;
    for token in leaf.extensions.subject_alt_name.iter().flat_map(split) {
        read_san_token(token.trim(), &mut next, out);
    }
    for common_name in leaf.subject.common_name.iter() {
        if !out.meet(common_name, &mut 0) {
            name::read(common_name.as_bytes(), place(Provenance::CommonName), out);
        }
    }
    // A list in its place may have thousands: of those, one is compared.
    let common_name = leaf.subject.common_name.iter().next();
    let mut next = 0;
    for name in &leaf.all_domains.list {
        // `all_domains` holds the common name too; as such it was read already.
        if common_name != Some(name.as_ref()) && !out.meet(name, &mut next) {
            name::read(name.as_bytes(), place(Provenance::TextDomains), out);
        }
    }
}

/// At commas and line feeds.
fn split(san: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    memchr::memchr2_iter(b',', b'\n', san.as_bytes())
        .chain(std::iter::once(san.len()))
        .map(move |end| &san[std::mem::replace(&mut start, end + 1)..end])
}

/// One entry of `subjectAltName` as text: `DNS:x`, `IP Address:1.1.1.1`, `IP:1.1.1.1`, or no prefix.
fn read_san_token(token: &str, next: &mut usize, out: &mut Identities) {
    let place = name::Place { provenance: Provenance::TextSan, der: false };
    let mut read = |name: &str, out: &mut Identities| {
        if !out.meet(name, next) {
            name::read(name.as_bytes(), place, out);
        }
    };
    if let Some(name) = token.strip_prefix("DNS:") {
        return read(name, out);
    }
    let stripped = token.strip_prefix("IP Address:").or_else(|| token.strip_prefix("IP:"));
    let bare = stripped.unwrap_or(token).trim();
    if let Some((address, mapped)) = name::address(bare) {
        let mut odd = Anomalies::default();
        if mapped {
            odd.add(Anomaly::IpV4Mapped);
        }
        let raw = out.keep(bare);
        return out.push(Value::Address(address), place.provenance, raw, false, odd);
    }
    match token.split_once(':') {
        // email:, URI:, RFC 822Name:, othername:, DirName: … name no host that is certified.
        Some((kind, _))
            if kind.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ') && stripped.is_none() => {}
        _ => read(bare, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(json: &str) -> (Vec<String>, Vec<&'static str>) {
        let message = message::decode(json.as_bytes()).expect(json);
        let message::Message::Certificate(update) = message else { panic!("{json}") };
        let mut decoder = Decoder::default();
        let entry = decoder.certificate(&update);
        let list = entry.identities.iter();
        let values =
            list.map(|i| format!("{} {}", i.provenance.label(), entry.identities.value(i))).collect();
        (values, entry.anomalies.iter().map(Anomaly::label).collect())
    }

    fn check(leaf: &str, want: &[&str], anomalies: &[&str]) {
        let (values, odd) = values(&format!(r#"{{"data":{{"leaf_cert":{leaf}}}}}"#));
        assert_eq!(values, want, "{leaf}");
        assert_eq!(odd, anomalies, "{leaf}");
    }

    #[test]
    fn text_of_every_dialect() {
        let san = |text: &str| format!(r#"{{"extensions":{{"subjectAltName":"{text}"}}}}"#);
        check(&san("DNS:a.example, IP Address:1.1.1.1"), &["text.san a.example", "text.san 1.1.1.1"], &[]);
        check(&san("IP:1.1.1.1, DNS:a.example"), &["text.san 1.1.1.1", "text.san a.example"], &[]);
        let elixir = "IP:38.6.71.0.71.0.0.0.0.0.0.0.0.0.17.17";
        check(&san(elixir), &["text.san 2606:4700:4700::1111"], &[]);
        check(&san("38.6.71.0.71.0.0.0.0.0.0.0.0.0.17.17"), &["text.san 2606:4700:4700::1111"], &[]);
        check(&san("IP Address:2606:4700:4700::1111"), &["text.san 2606:4700:4700::1111"], &[]);
        check(&san("2606:4700:4700::1111"), &["text.san 2606:4700:4700::1111"], &[]);
        check(&san("IP Address:::ffff:1.1.1.1"), &["text.san 1.1.1.1"], &["ip_v4_mapped"]);
        check(&san("DNS:1.1.1.1"), &["text.san 1.1.1.1"], &["ip_in_dns"]);
        check(&san("email:a@b.example, URI:https://c.example, RFC 822Name:x"), &[], &[]);
        check(
            r#"{"all_domains":["cn.example","a.example"],"subject":{"CN":"cn.example"},
               "extensions":{"subjectAltName":"DNS:a.example"}}"#,
            &["text.san a.example", "cn cn.example"],
            &[],
        );
        check(r#"{"all_domains":null,"extensions":null,"subject":null}"#, &[], &[]);
        check(
            r#"{"as_der":"AAAA","all_domains":["a.example"]}"#,
            &["text.domains a.example"],
            &["as_der_invalid"],
        );
        check(
            r#"{"as_der":"!","all_domains":["a.example"]}"#,
            &["text.domains a.example"],
            &["as_der_invalid"],
        );
        check(r#"{"as_der":"","all_domains":["a.example"]}"#, &["text.domains a.example"], &[]);
    }

    #[test]
    fn one_log_in_either_spelling() {
        for url in ["https://CT.example/logs/x/", "ct.example/logs/x", "http://ct.example/logs/x//"] {
            assert_eq!(log_name(url), "ct.example/logs/x");
        }
        assert_eq!(log_name("https://ct.example/Logs/X"), "ct.example/Logs/X", "a path has its case");
        assert_eq!(log_name(&"é".repeat(400)).len(), MAX_LOG_NAME_BYTES);
    }
}
