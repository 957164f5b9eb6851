//! An entry that goes on: what judging and records need, owned.
//!
//! Made for an entry that matches, or that is malformed: one in a thousand. From the DER where there is
//! one, else from the message's text. What a record shows beyond that is read from the DER when the
//! record is made.

use std::borrow::Cow;
use std::sync::Arc;

use super::certificate::Walk;
use super::chain::{self, ChainCertificate};
use super::der::{OID, Reader, SET};
use super::identity::{Identities, Provenance, Value};
use super::issuance;
use super::message;
use super::{Anomalies, Anomaly, Entry, EntryKind, Evidence, Origin, Timestamp};

/// One entry, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    pub log: Option<Arc<str>>,
    /// The server's description of the log.
    pub log_name: Option<String>,
    /// The log's URL as the feed wrote it.
    pub log_url: Option<String>,
    pub index: Option<u64>,
    pub log_time: Option<Timestamp>,
    /// When the server saw the entry.
    pub seen: Option<Timestamp>,
    pub kind: EntryKind,
    /// It could not be decoded whole.
    pub malformed: bool,
    /// Of a domains-only stream: there is no certificate to speak of.
    pub names_only: bool,
    pub evidence: Evidence,
    pub issuance_key: String,
    /// Lower-case hex; `None` when the message has none.
    pub serial: Option<String>,
    /// Lower-case hex.
    pub authority_key_id: Option<String>,
    pub issuer: DistinguishedName,
    pub subject: DistinguishedName,
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    pub has_san: bool,
    pub signature_algorithm: Option<String>,
    pub der: Option<Vec<u8>>,
    /// SHA-256 of the SubjectPublicKeyInfo, when read from DER.
    pub spki_sha256: Option<[u8; 32]>,
    /// Of a precertificate read from a log: SHA-256 of the final issuer's SubjectPublicKeyInfo, which the
    /// log signs.
    pub issuer_key_hash: Option<[u8; 32]>,
    /// The certificates above it, its signer first, as far as they are at hand; empty where none is.
    pub chain: Vec<ChainCertificate>,
    pub identities: Identities,
    pub anomalies: Anomalies,
    /// SHA-256 of the message, which stands for log and index where there are none.
    pub message_sha256: Option<String>,
}

/// A distinguished name: the issuer, or the subject.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DistinguishedName {
    pub common_name: Vec<String>,
    pub organization: Vec<String>,
    pub organizational_unit: Vec<String>,
    pub country: Vec<String>,
    pub locality: Vec<String>,
    pub state: Vec<String>,
    /// `C=HR, O=Financijska agencija, CN=Fina RDC 2020`.
    pub distinguished_name: String,
    /// The message or the DER has this name at all.
    pub given: bool,
}

impl Entry<'_> {
    /// The owned form. `message` are the lent bytes: hashed where log and index do not name the entry, and
    /// searched for the chain.
    pub fn facts(&self, message: &[u8]) -> Facts {
        let (update, leaf) = match self.origin {
            Origin::Update(update) => (Some(update), None),
            Origin::Leaf(leaf) => (None, Some(leaf)),
            Origin::Names | Origin::Certificate => (None, None),
        };
        // A DER that broke decides nothing beside a text, and says what the text does not; elsewhere there is
        // nothing else.
        let walk = self.walk.filter(|walk| walk.broken.is_none() || update.is_none());
        let rest = self.walk.filter(|_| walk.is_none());
        let text = update.filter(|_| walk.is_none());
        let either = walk.or(rest);
        let names_only = matches!(self.origin, Origin::Names);
        let serial_of =
            |walk: Walk<'_>| (!walk.serial.is_empty()).then(|| issuance::serial_of_der(walk.serial));
        let serial = text
            .and_then(|text| issuance::serial_of_text(text.leaf.serial_number.as_str()?))
            .or_else(|| either.and_then(serial_of));
        let mut authority_key_id = text
            .and_then(|text| text.leaf.extensions.authority_key_identifier.as_str())
            .and_then(issuance::key_id_of_text)
            .or_else(|| either.and_then(|walk| walk.authority_key_id).map(issuance::hex));
        let mut issuer = name_of(either.map(|w| w.issuer), text.map(|u| &u.leaf.issuer));
        let mut anomalies = self.anomalies;
        let chain = match (update, leaf) {
            (Some(_), _) => chain::of_message(message, &mut anomalies),
            (None, Some(leaf)) => chain::of_leaf(leaf, &mut anomalies),
            (None, None) => Vec::new(),
        };
        // What a log signs names the final issuer; a precertificate as submitted names who signed that.
        if update.is_some()
            && walk.is_some_and(|walk| walk.poison)
            && let [signer, rest @ ..] = chain.as_slice()
            && signer.signs_precertificates
            && signer.subject == issuer
        {
            let of_issuer = rest.first().filter(|next| next.subject == signer.issuer);
            let key_id = signer.authority_key_id.as_ref().or(of_issuer.and_then(|next| next.key_id.as_ref()));
            authority_key_id = key_id.cloned();
            issuer = signer.issuer.clone();
        }
        let issuance_key = if names_only {
            issuance::key_of_names(self.identities.iter().map(|i| self.identities.value(i)))
        } else {
            issuance::key(authority_key_id.as_deref(), serial.as_deref())
        };
        let log_name = match leaf {
            Some(leaf) => leaf.fetched.log_name,
            None => update.and_then(|update| update.source.name.as_str()),
        };
        let log_url = match leaf {
            Some(leaf) => Some(leaf.fetched.log),
            None => update.and_then(|update| update.source.url.as_str()),
        };
        let addressed = self.log.is_some() && self.index.is_some();
        Facts {
            log: self.log.clone(),
            log_name: log_name.map(str::to_owned),
            log_url: log_url.map(str::to_owned),
            index: self.index,
            log_time: self.log_time,
            seen: update.and_then(|u| u.seen.time()),
            kind: self.kind,
            malformed: self.is_undecided(),
            names_only,
            evidence: self.evidence,
            issuance_key,
            serial,
            authority_key_id,
            issuer,
            subject: name_of(either.map(|w| w.subject), text.map(|u| &u.leaf.subject)),
            not_before: text
                .and_then(|text| text.leaf.not_before.time())
                .or_else(|| either.and_then(|walk| walk.not_before)),
            not_after: text
                .and_then(|text| text.leaf.not_after.time())
                .or_else(|| either.and_then(|walk| walk.not_after)),
            has_san: match walk {
                Some(walk) => walk.has_san,
                None => {
                    rest.is_some_and(|walk| walk.has_san)
                        || self.identities.iter().any(|i| i.provenance != Provenance::CommonName)
                }
            },
            signature_algorithm: update.and_then(|u| u.leaf.signature_algorithm.as_str()).map(str::to_owned),
            der: (!self.submitted.is_empty()).then(|| self.submitted.to_vec()),
            spki_sha256: walk.filter(|walk| !walk.spki.is_empty()).map(|walk| chain::sha256(walk.spki)),
            issuer_key_hash: leaf.and_then(|leaf| leaf.issuer_key_hash),
            chain,
            identities: self.identities.clone(),
            anomalies,
            message_sha256: (!addressed).then(|| issuance::sha256_hex(message)),
        }
    }
}

impl Facts {
    /// Adds identities that stand in the raw bytes. Returns the index of the first.
    pub fn suspect(&mut self, identities: &Identities) -> usize {
        self.identities.take(identities)
    }

    /// The certificate of the issuer, where the chain is at hand. A Precertificate Signing Certificate
    /// stands between it and a precertificate, RFC 6962, 3.1.
    pub fn issuer_certificate(&self) -> Option<&ChainCertificate> {
        self.chain.iter().find(|certificate| !certificate.signs_precertificates)
    }

    /// SHA-256 of the issuer's SubjectPublicKeyInfo: by its certificate, or by the log, which signs that of a
    /// precertificate's final issuer.
    pub fn issuer_spki_sha256(&self) -> Option<[u8; 32]> {
        self.issuer_certificate().map(|issuer| issuer.spki_sha256).or(self.issuer_key_hash)
    }

    /// What is odd about the names of an entry that matches: a name of one label, which nobody can own
    /// publicly, and one under no top-level domain that the public suffix list knows.
    pub fn odd_names(&self) -> Anomalies {
        let mut odd = Anomalies::default();
        for identity in self.identities.iter() {
            let Value::Name { ascii, .. } = identity.value else { continue };
            let name = self.identities.text(ascii);
            if name.contains('?') {
                // How joined names look as one, or a label that is none: no name that somebody could have.
                continue;
            }
            if !name.contains('.') {
                odd.add(Anomaly::SingleLabelName);
            } else if !psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known()) {
                odd.add(Anomaly::UnknownTld);
            }
        }
        odd
    }

    /// Bytes that it holds in a queue, by its large parts.
    pub fn size(&self) -> usize {
        // The fixed part, and what the short texts take.
        const REST: usize = 2048;
        // One certificate of the chain, with its texts.
        const LINK: usize = 2048;
        let chain = self.chain.len() * LINK;
        REST + self.der.as_ref().map_or(0, Vec::len) + chain + self.identities.size()
    }

    /// It has neither serial nor issuer key id: what else it shares with another entry does not make the two
    /// one issuance.
    pub fn has_no_key(&self) -> bool {
        !self.names_only && self.serial.is_none() && self.authority_key_id.is_none()
    }

    /// What names the entry in ids: log and index, or the SHA-256 of the message in place of both.
    pub fn address(&self) -> Vec<String> {
        match (&self.log, self.index) {
            (Some(log), Some(index)) => vec![log.to_string(), index.to_string()],
            _ => vec![self.message_sha256.clone().unwrap_or_default()],
        }
    }
}

/// The text's, where it is asked and has one, else the DER's.
fn name_of(der: Option<&[u8]>, text: Option<&message::DistinguishedName<'_>>) -> DistinguishedName {
    let text = text.map(issuer_of_text);
    match (der, text) {
        (Some(der), None) => name_of_der(der),
        (Some(der), Some(text)) if text.distinguished_name.is_empty() && !der.is_empty() => name_of_der(der),
        (_, Some(text)) => text,
        (None, None) => DistinguishedName::default(),
    }
}

fn issuer_of_text(text: &message::DistinguishedName<'_>) -> DistinguishedName {
    let list = |value: &message::Text<'_>| value.as_str().map(str::to_owned).into_iter().collect();
    let mut issuer = DistinguishedName {
        common_name: text.common_name.iter().map(str::to_owned).collect(),
        organization: list(&text.organization),
        organizational_unit: list(&text.organizational_unit),
        country: list(&text.country),
        locality: list(&text.locality),
        state: list(&text.state),
        distinguished_name: String::new(),
        given: text.given,
    };
    let parts = [
        ("C", &issuer.country),
        ("ST", &issuer.state),
        ("L", &issuer.locality),
        ("O", &issuer.organization),
        ("OU", &issuer.organizational_unit),
        ("CN", &issuer.common_name),
    ];
    let parts: Vec<String> =
        parts.iter().flat_map(|(key, values)| values.iter().map(move |v| format!("{key}={v}"))).collect();
    issuer.distinguished_name = parts.join(", ");
    issuer
}

/// Attributes of more than this many are left out of a distinguished name: real ones have under ten.
const MAX_ATTRIBUTES: usize = 64;

/// A Name of the DER, RFC 5280, 4.1.2.4. What is no Name gives an empty one.
pub(super) fn name_of_der(whole: &[u8]) -> DistinguishedName {
    let mut issuer = DistinguishedName { given: true, ..DistinguishedName::default() };
    let mut parts = Vec::new();
    let Ok(Some(name)) = Reader::new(whole).read() else { return issuer };
    let mut rdns = Reader::new(name.body);
    while let Ok(Some(rdn)) = rdns.read() {
        if rdn.tag != SET {
            continue;
        }
        let mut attributes = Reader::new(rdn.body);
        while let Ok(Some(attribute)) = attributes.read() {
            let mut r = Reader::new(attribute.body);
            let (Ok(Some(kind)), Ok(Some(value))) = (r.optional(OID), r.read()) else { continue };
            if parts.len() == MAX_ATTRIBUTES {
                break;
            }
            let text = directory_string(value.tag, value.body).into_owned();
            let (key, list) = match kind.body {
                [0x55, 0x04, 0x03] => ("CN", Some(&mut issuer.common_name)),
                [0x55, 0x04, 0x06] => ("C", Some(&mut issuer.country)),
                [0x55, 0x04, 0x07] => ("L", Some(&mut issuer.locality)),
                [0x55, 0x04, 0x08] => ("ST", Some(&mut issuer.state)),
                [0x55, 0x04, 0x0a] => ("O", Some(&mut issuer.organization)),
                [0x55, 0x04, 0x0b] => ("OU", Some(&mut issuer.organizational_unit)),
                [0x55, 0x04, 0x05] => ("serialNumber", None),
                [0x55, 0x04, 0x61] => ("organizationIdentifier", None),
                _ => ("", None),
            };
            let key = if key.is_empty() { dotted(kind.body) } else { key.to_owned() };
            parts.push(format!("{key}={text}"));
            if let Some(list) = list {
                list.push(text);
            }
        }
    }
    issuer.distinguished_name = parts.join(", ");
    issuer
}

/// An object identifier in dotted form; of a broken one, what can be read.
fn dotted(body: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut value: u64 = 0;
    for byte in body {
        value = value.saturating_mul(128).saturating_add(u64::from(byte & 0x7f));
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (value / 40).min(2);
                arcs.push(first);
                arcs.push(value - 40 * first);
            } else {
                arcs.push(value);
            }
            value = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// The text of a DirectoryString (RFC 5280, appendix A.1) or an IA5String. Bytes that are none in their
/// own type are read as Latin-1, so that nothing is hidden by them.
pub fn directory_string(tag: u8, body: &[u8]) -> Cow<'_, str> {
    let latin = || Cow::Owned(body.iter().map(|&b| char::from(b)).collect());
    match tag {
        // BMPString
        0x1e if body.len().is_multiple_of(2) => {
            let units = body.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            Cow::Owned(char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect())
        }
        // UniversalString
        0x1c if body.len().is_multiple_of(4) => {
            let chars = body.chunks_exact(4).map(|four| {
                char::from_u32(u32::from_be_bytes([four[0], four[1], four[2], four[3]])).unwrap_or('\u{fffd}')
            });
            Cow::Owned(chars.collect())
        }
        // TeletexString: in practice Latin-1, now and then UTF-8.
        _ => std::str::from_utf8(body).map_or_else(|_| latin(), Cow::Borrowed),
    }
}

/// The octets of an iPAddress as somebody would write them; of another length, in hexadecimal.
pub fn octets_text(octets: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return std::net::Ipv4Addr::from(four).to_string();
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(sixteen) => std::net::Ipv6Addr::from(sixteen).to_string(),
        Err(_) => issuance::hex(octets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_type() {
        for (tag, body, want) in [
            (0x0c, "münchen".as_bytes(), "münchen"),
            (0x13, b"plain", "plain"),
            (0x14, b"m\xfcnchen", "münchen"),
            (0x1e, b"\x00a\x00b", "ab"),
            (0x1e, b"\x00a\x00", "\0a\0"),
            (0x1c, b"\x00\x00\x00a", "a"),
            (0x1e, b"\xd8\x00", "\u{fffd}"),
        ] {
            assert_eq!(directory_string(tag, body), want, "{tag:#x} {body:?}");
        }
    }

    #[test]
    fn object_identifiers() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01]), "1.2.840.113549.1.9.1");
        assert_eq!(dotted(&[]), "");
        assert_eq!(dotted(&[0xff; 40]), "");
    }
}
