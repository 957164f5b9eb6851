//! Certificate authorities of the demo: real keys, real DER, names of invented organisations.
//!
//! A dozen issuing authorities under their roots are made once; each then signs a [`Template`] as the
//! precertificate (with poison) and as the certificate (with an SCT list), which share serial, names
//! and validity as a real pair does. Organisations are invented, but for Fina: the demo re-makes what is
//! publicly known of an incident, with a key of its own, so its certificates are *look-alikes*.
//!
//! What is real: encoding, signatures, chains. What is not: the bytes inside an SCT are filler of the
//! right shape. Keys and signatures come from the system's randomness, so they and the hashes of a
//! certificate differ from run to run; names, serials, times and key identifiers do not.
//!
//! One signature is about 30 µs on P-256 and ten times that on P-384. Nothing here reads a clock.

use std::collections::HashMap;
use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, CustomExtension,
    DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData as _, SanType, SerialNumber,
};
use ring::digest::{SHA256, digest};
use time::OffsetDateTime;

/// Who issues, and under what root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub country: &'static str,
    pub organization: &'static str,
    pub common_name: &'static str,
    pub root: &'static str,
    /// Host of its OCSP responder, CRL and own certificate.
    host: &'static str,
    /// P-384 in place of P-256.
    strong: bool,
    /// Its part of all issuances, in no unit.
    pub weight: u32,
    /// How long its certificates are valid.
    pub days: i64,
}

impl Identity {
    /// Key identifier of its key. Made from its name, not its key, so that a watch list can name it.
    pub fn key_id(&self) -> [u8; 20] {
        key_id(self.common_name)
    }
}

/// The authority that the demo's resolver expects.
pub const MERIDIAN: usize = 2;
/// The authority that the demo's shop expects.
pub const OPEN_HARBOR: usize = 0;
/// An authority that nobody in the demo expects.
pub const TALLGRASS: usize = 8;
/// The look-alike of the incident's.
pub const FINA: usize = 11;

/// Every authority; [`Authorities::issue`] takes its place here. Commas, parentheses and letters beyond
/// ASCII stand in real names too.
pub const IDENTITIES: [Identity; 12] = [
    identity("US", "Open Harbor Trust", "OH E7", "Open Harbor Root X1", "oh.example", false, 40, 90),
    identity("US", "Open Harbor Trust", "OH E8", "Open Harbor Root X1", "oh.example", false, 15, 90),
    identity(
        "GB",
        "Meridian Certificate Services",
        "Meridian TLS ECC CA1",
        "Meridian Global Root G3",
        "meridian.example",
        false,
        12,
        198,
    ),
    identity("US", "Kestrel Cloud LLC", "KC4", "Kestrel Root R2", "kestrel.example", false, 12, 90),
    identity(
        "DE",
        "Aldertree PKI GmbH",
        "Aldertree DV TLS 2026",
        "Aldertree Root CA",
        "alder.example",
        false,
        5,
        198,
    ),
    identity(
        "NO",
        "Bluefjord AS",
        "Bluefjord Server CA 9",
        "Bluefjord Root CA",
        "bluefjord.example",
        false,
        3,
        47,
    ),
    identity(
        "ES",
        "Polaris Identidad Digital S.A.",
        "Polaris SSL 3",
        "Polaris Raiz",
        "polaris.example",
        false,
        2,
        198,
    ),
    identity("FR", "Société Ancre", "Ancre Numérique TLS 3", "Ancre Racine", "ancre.example", false, 2, 198),
    identity(
        "US",
        "Tallgrass Hosting, Inc.",
        "Tallgrass TLS ECC",
        "Tallgrass Root",
        "tallgrass.example",
        false,
        4,
        90,
    ),
    identity("CA", "Cobalt Registry Inc.", "Cobalt TLS P384", "Cobalt Root", "cobalt.example", true, 3, 90),
    identity(
        "ZA",
        "Baobab Trust (Pty) Ltd",
        "Baobab OV TLS",
        "Baobab Root CA",
        "baobab.example",
        false,
        2,
        198,
    ),
    // Publicly known names of the incident; the key is ours, and it issues only what is planted.
    identity("HR", "Financijska agencija", "Fina RDC 2020", "Fina Root CA", "fina.example", false, 0, 365),
];

#[expect(clippy::too_many_arguments, reason = "a row of a table")]
const fn identity(
    country: &'static str,
    organization: &'static str,
    common_name: &'static str,
    root: &'static str,
    host: &'static str,
    strong: bool,
    weight: u32,
    days: i64,
) -> Identity {
    Identity { country, organization, common_name, root, host, strong, weight, days }
}

/// What a certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    pub subject: Subject,
    /// As they stand in the certificate.
    pub names: Vec<Name>,
    /// Big-endian, as it stands in a positive INTEGER, without a leading zero.
    pub serial: Vec<u8>,
    /// Seconds since the epoch.
    pub not_before: i64,
    pub not_after: i64,
}

/// Who a certificate is for. Empty strings are absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subject {
    pub country: String,
    pub locality: String,
    pub organization: String,
    pub common_name: String,
}

/// One name of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    Dns(String),
    Ip(IpAddr),
}

/// A log holds a pair of them for most issuances.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Precertificate,
    Certificate,
}

/// What was signed, and what a server says about it that is not in the template.
pub struct Issued {
    pub der: Vec<u8>,
    pub subject_key_id: Vec<u8>,
}

/// An authority could not be made or could not sign.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot make a certificate for the demo: {0}")]
pub struct AuthorityError(#[from] rcgen::Error);

/// All authorities, and a pool of subscribers' keys.
pub struct Authorities {
    issuers: Vec<CertifiedIssuer<'static, KeyPair>>,
    roots: Vec<CertifiedIssuer<'static, KeyPair>>,
    /// For each issuer, its root's place in `roots`.
    root_of: Vec<usize>,
    keys: Vec<KeyPair>,
    /// Years before this is when roots were made, in seconds.
    now: i64,
}

/// Subscribers' keys are reused: a key costs as much as a signature, and nothing looks at it.
const KEYS: usize = 64;
/// One subscriber in so many has a P-384 key.
const STRONG_KEY_EVERY: usize = 8;
const DAY: i64 = 86_400;

impl Authorities {
    /// Makes keys and CA certificates. `now` is in seconds.
    pub fn new(now: i64) -> Result<Authorities, AuthorityError> {
        let mut made = Authorities {
            issuers: Vec::new(),
            roots: Vec::new(),
            root_of: Vec::new(),
            keys: (0..KEYS).map(|n| key(n % STRONG_KEY_EVERY == 7)).collect::<Result<_, _>>()?,
            now,
        };
        let mut known = HashMap::new();
        for identity in &IDENTITIES {
            let root = match known.get(identity.root) {
                Some(&at) => at,
                None => {
                    let params = ca(identity, identity.root, now - 3650 * DAY, now + 3650 * DAY);
                    made.roots.push(CertifiedIssuer::self_signed(params, key(true)?)?);
                    known.insert(identity.root, made.roots.len() - 1);
                    made.roots.len() - 1
                }
            };
            let mut params = ca(identity, identity.common_name, now - 700 * DAY, now + 1100 * DAY);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.use_authority_key_identifier_extension = true;
            made.issuers.push(CertifiedIssuer::signed_by(params, key(identity.strong)?, &made.roots[root])?);
            made.root_of.push(root);
        }
        Ok(made)
    }

    /// Signs `template` by the authority at `issuer` in [`IDENTITIES`]; `key` picks the subscriber's key.
    pub fn issue(
        &self,
        issuer: usize,
        template: &Template,
        kind: Kind,
        key: usize,
    ) -> Result<Issued, AuthorityError> {
        let identity = &IDENTITIES[issuer];
        let key = &self.keys[key % self.keys.len()];
        let mut params = CertificateParams::default();
        params.not_before = instant(template.not_before);
        params.not_after = instant(template.not_after);
        params.serial_number = Some(SerialNumber::from_slice(&template.serial));
        params.distinguished_name = template.subject.distinguished_name()?;
        params.subject_alt_names =
            template.names.iter().map(Name::general_name).collect::<Result<_, rcgen::Error>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec![format!("http://crl.{}/tls.crl", identity.host)] }];
        params.custom_extensions = vec![authority_information(identity), domain_validated()];
        params.custom_extensions.push(match kind {
            Kind::Precertificate => poison(),
            Kind::Certificate => signed_timestamps(template),
        });
        let subject_key_id = params.key_identifier(key);
        let der = params.signed_by(key, &*self.issuers[issuer])?.der().to_vec();
        Ok(Issued { der, subject_key_id })
    }

    /// The key with which `issuer` signs, as a SubjectPublicKeyInfo.
    pub fn public_key(&self, issuer: usize) -> Vec<u8> {
        self.issuers[issuer].key().subject_public_key_info()
    }

    /// The chain above a certificate of `issuer`, nearest first: what it is called, by whom it was
    /// signed and how long it is valid, with its DER.
    pub fn chain(&self, issuer: usize) -> [ChainLink; 2] {
        let identity = &IDENTITIES[issuer];
        let root = ChainLink {
            der: self.roots[self.root_of[issuer]].der().to_vec(),
            common_name: identity.root,
            signed_by: identity.root,
            organization: identity.organization,
            country: identity.country,
            authority_key_id: None,
            not_before: self.now - 3650 * DAY,
            not_after: self.now + 3650 * DAY,
            algorithm: signature_algorithm(true),
        };
        let intermediate = ChainLink {
            der: self.issuers[issuer].der().to_vec(),
            common_name: identity.common_name,
            authority_key_id: Some(key_id(identity.root)),
            not_before: self.now - 700 * DAY,
            not_after: self.now + 1100 * DAY,
            ..root.clone()
        };
        [intermediate, root]
    }
}

/// One CA certificate of a chain.
#[derive(Clone)]
pub struct ChainLink {
    pub der: Vec<u8>,
    pub common_name: &'static str,
    pub signed_by: &'static str,
    pub organization: &'static str,
    pub country: &'static str,
    /// Absent from a root's certificate.
    pub authority_key_id: Option<[u8; 20]>,
    pub not_before: i64,
    pub not_after: i64,
    pub algorithm: &'static str,
}

impl ChainLink {
    pub fn subject_key_id(&self) -> [u8; 20] {
        key_id(self.common_name)
    }

    pub fn serial(&self) -> Vec<u8> {
        ca_serial(self.common_name)
    }
}

/// How the Go server names the algorithm with which the authority signs.
pub fn signature_algorithm(strong: bool) -> &'static str {
    if strong { "ecdsa, sha384" } else { "ecdsa, sha256" }
}

impl Identity {
    /// How the Go server names the algorithm with which it signs.
    pub fn algorithm(&self) -> &'static str {
        signature_algorithm(self.strong)
    }

    /// Where its own certificate and its responder are said to be, as the Go server writes it.
    pub fn information_access(&self) -> String {
        format!("URI:{}, URI:{}", self.certificate_url(), self.responder_url())
    }

    fn certificate_url(&self) -> String {
        format!("http://crt.{}/tls.cer", self.host)
    }

    fn responder_url(&self) -> String {
        format!("http://ocsp.{}", self.host)
    }
}

impl Subject {
    fn distinguished_name(&self) -> Result<DistinguishedName, rcgen::Error> {
        let mut name = DistinguishedName::new();
        if !self.country.is_empty() {
            name.push(DnType::CountryName, DnValue::PrintableString(self.country.as_str().try_into()?));
        }
        for (kind, value) in [
            (DnType::LocalityName, &self.locality),
            (DnType::OrganizationName, &self.organization),
            (DnType::CommonName, &self.common_name),
        ] {
            if !value.is_empty() {
                name.push(kind, value.as_str());
            }
        }
        Ok(name)
    }
}

impl Name {
    fn general_name(&self) -> Result<SanType, rcgen::Error> {
        Ok(match self {
            Name::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Name::Ip(address) => SanType::IpAddress(*address),
        })
    }
}

fn key(strong: bool) -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(if strong { &PKCS_ECDSA_P384_SHA384 } else { &PKCS_ECDSA_P256_SHA256 })
}

fn ca(identity: &Identity, common_name: &str, not_before: i64, not_after: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = instant(not_before);
    params.not_after = instant(not_after);
    params.serial_number = Some(SerialNumber::from(ca_serial(common_name)));
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, identity.country);
    name.push(DnType::OrganizationName, identity.organization);
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id(common_name).to_vec());
    params
}

fn key_id(common_name: &str) -> [u8; 20] {
    std::array::from_fn(|n| digest(&SHA256, common_name.as_bytes()).as_ref()[n])
}

/// Positive and twelve bytes long.
fn ca_serial(common_name: &str) -> Vec<u8> {
    let mut serial = digest(&SHA256, common_name.as_bytes()).as_ref()[20..].to_vec();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// Every time in the demo lies within years of now; a clock outside RFC 3339 starts at the epoch.
fn instant(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Authority information access, RFC 5280 section 4.2.2.1.
fn authority_information(identity: &Identity) -> CustomExtension {
    let ocsp =
        der(0x30, &[&[6, 8, 43, 6, 1, 5, 5, 7, 48, 1], &*der(0x86, &[identity.responder_url().as_bytes()])]);
    let ca = der(
        0x30,
        &[&[6, 8, 43, 6, 1, 5, 5, 7, 48, 2], &*der(0x86, &[identity.certificate_url().as_bytes()])],
    );
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], der(0x30, &[&ocsp, &ca]))
}

/// Certificate policies with 2.23.140.1.2.1, the Baseline Requirements' domain-validated.
fn domain_validated() -> CustomExtension {
    let policy = der(0x30, &[&[6, 6, 0x67, 0x81, 0x0c, 1, 2, 1]]);
    CustomExtension::from_oid_content(&[2, 5, 29, 32], der(0x30, &[&policy]))
}

/// RFC 6962 section 3.1: critical, so that no client takes the precertificate for a certificate.
fn poison() -> CustomExtension {
    let mut poison = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3], vec![5, 0]);
    poison.set_criticality(true);
    poison
}

/// RFC 6962 section 3.3 with two timestamps. Log ids and signatures are filler.
fn signed_timestamps(template: &Template) -> CustomExtension {
    let mut list = Vec::new();
    for n in 0..2u8 {
        let mut seed = template.serial.clone();
        seed.push(n);
        let filler = digest(&SHA256, &seed);
        let mut sct = vec![0];
        sct.extend_from_slice(filler.as_ref());
        sct.extend_from_slice(&(template.not_before.unsigned_abs() * 1000).to_be_bytes());
        // No extensions; ECDSA with SHA-256; a signature of 70 bytes.
        sct.extend_from_slice(&[0, 0, 4, 3, 0, 70, 0x30, 68, 2, 32, 0x11]);
        sct.extend_from_slice(&filler.as_ref()[1..]);
        sct.extend_from_slice(&[2, 32, 0x22]);
        sct.extend_from_slice(&filler.as_ref()[1..]);
        list.extend_from_slice(&(sct.len() as u16).to_be_bytes());
        list.extend_from_slice(&sct);
    }
    let mut whole = (list.len() as u16).to_be_bytes().to_vec();
    whole.extend_from_slice(&list);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], der(0x04, &[&whole]))
}

/// One DER element of less than 16 MiB.
pub(super) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(short as u8),
        middle @ 0x80..0x100 => out.extend_from_slice(&[0x81, middle as u8]),
        long @ 0x100..0x1_0000 => {
            out.push(0x82);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
        longer => {
            out.push(0x83);
            out.extend_from_slice(&(longer as u32).to_be_bytes()[1..]);
        }
    }
    out.extend_from_slice(&content);
    out
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::*;

    use super::*;

    const NOW: i64 = 1_795_455_603;

    fn template(serial: &[u8]) -> Template {
        Template {
            subject: Subject { common_name: "www.shop.test".into(), ..Subject::default() },
            names: vec![
                Name::Dns("www.shop.test".into()),
                Name::Ip("1.1.1.1".parse().unwrap()),
                Name::Ip("::ffff:1.1.1.1".parse().unwrap()),
            ],
            serial: serial.to_vec(),
            not_before: NOW,
            not_after: NOW + 90 * DAY,
        }
    }

    /// Another parser, which the walk of certsieve shares no line with, reads back what went in.
    #[test]
    fn signs_der_that_x509_parser_reads() {
        let authorities = Authorities::new(NOW).unwrap();
        for (issuer, identity) in IDENTITIES.iter().enumerate() {
            for kind in [Kind::Precertificate, Kind::Certificate] {
                let template = template(&[0xd3, 0x16, 0x7e, issuer as u8]);
                let issued = authorities.issue(issuer, &template, kind, issuer).unwrap();
                let (rest, read) = X509Certificate::from_der(&issued.der).unwrap();
                assert!(rest.is_empty());
                assert_eq!(read.raw_serial(), [0, 0xd3, 0x16, 0x7e, issuer as u8]);
                assert_eq!(
                    read.issuer().iter_organization().next().unwrap().as_str().unwrap(),
                    identity.organization
                );
                assert_eq!(read.validity().not_after.timestamp(), NOW + 90 * DAY);
                let names = read.subject_alternative_name().unwrap().unwrap();
                let addresses: Vec<usize> = names
                    .value
                    .general_names
                    .iter()
                    .filter_map(|name| match name {
                        GeneralName::IPAddress(octets) => Some(octets.len()),
                        _ => None,
                    })
                    .collect();
                assert_eq!(addresses, [4, 16]);
                let mut poisoned = 0;
                let mut timestamps = 0;
                for extension in read.extensions() {
                    match extension.parsed_extension() {
                        ParsedExtension::AuthorityKeyIdentifier(aki) => {
                            assert_eq!(aki.key_identifier.as_ref().unwrap().0, identity.key_id());
                        }
                        ParsedExtension::SubjectKeyIdentifier(id) => assert_eq!(id.0, issued.subject_key_id),
                        ParsedExtension::SCT(list) => timestamps = list.len(),
                        ParsedExtension::ParseError { error } => panic!("{} {error}", extension.oid),
                        _ => {}
                    }
                    poisoned += usize::from(extension.oid.to_id_string() == "1.3.6.1.4.1.11129.2.4.3");
                }
                match kind {
                    Kind::Precertificate => assert_eq!((poisoned, timestamps), (1, 0)),
                    Kind::Certificate => assert_eq!((poisoned, timestamps), (0, 2)),
                }
            }
            for link in authorities.chain(issuer) {
                let (_, read) = X509Certificate::from_der(&link.der).unwrap();
                assert!(read.is_ca());
                assert_eq!(
                    read.subject().iter_common_name().next().unwrap().as_str().unwrap(),
                    link.common_name
                );
                assert_eq!(read.raw_serial(), link.serial().as_slice(), "no leading zero is needed");
                assert_eq!(read.validity().not_before.timestamp(), link.not_before);
            }
        }
    }
}
