//! `tls.server.x509` of a record: what the certificate itself says, in ECS's names.
//!
//! Most is in the facts already; key and algorithms are read from the DER by x509-parser when the record is
//! made. What that refuses is missing here; the identities and the verdict do not depend on it. Every text is
//! cut to its field's length, and of an attribute that is repeated the first values are shown.

use super::compose::{MAX_DN_BYTES, MAX_TEXT_BYTES};
use super::text::{Cutter, cut};
use super::value::{X509, X509Name};
use crate::entry::{DistinguishedName, Facts};

/// Of each attribute of a distinguished name so many values are shown.
const MAX_DN_VALUES: usize = 4;

/// The certificate of `facts`; the names that the record shows are given.
pub(super) fn x509(facts: &Facts, alternative_names: Vec<String>, cutter: &mut Cutter) -> X509 {
    let serial = facts.serial.as_deref().map(str::to_ascii_uppercase);
    let algorithm = facts.signature_algorithm.as_deref();
    let mut x509 = X509 {
        serial_number: serial
            .map(|serial| cutter.cut("tls.server.x509.serial_number", &serial, MAX_TEXT_BYTES)),
        subject: x509_name(&facts.subject, &SUBJECT, cutter),
        issuer: x509_name(&facts.issuer, &ISSUER, cutter),
        not_before: facts.not_before.map(|t| t.to_string()),
        not_after: facts.not_after.map(|t| t.to_string()),
        signature_algorithm: algorithm
            .map(|name| cutter.cut("tls.server.x509.signature_algorithm", name, MAX_TEXT_BYTES)),
        alternative_names,
        ..X509::default()
    };
    if let Some(Ok((_, parsed))) = facts.der.as_deref().map(x509_parser::parse_x509_certificate) {
        details(&parsed, &mut x509);
    }
    x509
}

fn details(parsed: &x509_parser::certificate::X509Certificate<'_>, x509: &mut X509) {
    use x509_parser::public_key::PublicKey;
    x509.version_number = Some((u64::from(parsed.version().0) + 1).to_string());
    if let Some(name) = signature_name(&parsed.signature_algorithm.algorithm.to_id_string()) {
        x509.signature_algorithm = Some(name.to_owned());
    }
    match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => {
            x509.public_key_algorithm = Some("RSA".to_owned());
            x509.public_key_size = u64::try_from(key.key_size()).ok();
        }
        Ok(PublicKey::EC(point)) => {
            x509.public_key_algorithm = Some("ECDSA".to_owned());
            x509.public_key_size = u64::try_from(point.key_size()).ok();
            let curve = parsed.public_key().algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
            x509.public_key_curve = curve.map(|oid| cut(&curve_name(&oid.to_id_string()), MAX_TEXT_BYTES));
        }
        _ => {
            let oid = parsed.public_key().algorithm.algorithm.to_id_string();
            x509.public_key_algorithm = Some(cut(&oid, MAX_TEXT_BYTES));
        }
    }
}

/// As Go and ECS's examples name them.
fn signature_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "1.2.840.113549.1.1.5" => "SHA1-RSA",
        "1.2.840.113549.1.1.11" => "SHA256-RSA",
        "1.2.840.113549.1.1.12" => "SHA384-RSA",
        "1.2.840.113549.1.1.13" => "SHA512-RSA",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.10045.4.3.2" => "ECDSA-SHA256",
        "1.2.840.10045.4.3.3" => "ECDSA-SHA384",
        "1.2.840.10045.4.3.4" => "ECDSA-SHA512",
        "1.3.101.112" => "Ed25519",
        _ => return None,
    })
}

fn curve_name(oid: &str) -> String {
    match oid {
        "1.2.840.10045.3.1.7" => "P-256".to_owned(),
        "1.3.132.0.34" => "P-384".to_owned(),
        "1.3.132.0.35" => "P-521".to_owned(),
        other => other.to_owned(),
    }
}

/// The fields of a name, in the order in which [`x509_name`] fills them.
type Fields = [&'static str; 7];

const SUBJECT: Fields = [
    "tls.server.x509.subject.common_name",
    "tls.server.x509.subject.organization",
    "tls.server.x509.subject.organizational_unit",
    "tls.server.x509.subject.locality",
    "tls.server.x509.subject.state_or_province",
    "tls.server.x509.subject.country",
    "tls.server.x509.subject.distinguished_name",
];
const ISSUER: Fields = [
    "tls.server.x509.issuer.common_name",
    "tls.server.x509.issuer.organization",
    "tls.server.x509.issuer.organizational_unit",
    "tls.server.x509.issuer.locality",
    "tls.server.x509.issuer.state_or_province",
    "tls.server.x509.issuer.country",
    "tls.server.x509.issuer.distinguished_name",
];

fn x509_name(name: &DistinguishedName, fields: &Fields, cutter: &mut Cutter) -> X509Name {
    let mut list = |field: usize, values: &[String]| -> Vec<String> {
        if values.len() > MAX_DN_VALUES {
            cutter.note(fields[field]);
        }
        values.iter().take(MAX_DN_VALUES).map(|v| cutter.cut(fields[field], v, MAX_TEXT_BYTES)).collect()
    };
    X509Name {
        common_name: list(0, &name.common_name),
        organization: list(1, &name.organization),
        organizational_unit: list(2, &name.organizational_unit),
        locality: list(3, &name.locality),
        state_or_province: list(4, &name.state),
        country: list(5, &name.country),
        distinguished_name: (!name.distinguished_name.is_empty())
            .then(|| cutter.cut(fields[6], &name.distinguished_name, MAX_DN_BYTES)),
    }
}
