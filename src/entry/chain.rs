//! The certificates above an entry's own: what judging asks of an issuer, read from their DER.
//!
//! A chain is evidence where an issuer's own words are only a claim: subject, issuer, key identifiers and
//! the hash of each key, in the order in which it was given, the signer of the entry first. It is decoded
//! for an entry that goes on, one in a thousand; nothing of it is copied or hashed before that.
//!
//! At most [`MAX_CERTIFICATES`] of at most [`MAX_CERTIFICATE_BYTES`] each are read, and the chain ends at
//! the first that cannot be: what stands behind a gap says nothing about what stands before it. No
//! signature is checked, so that a chain says who could have signed, not who did.

use ring::digest::{SHA256, digest};

use super::anomaly::{Anomalies, Anomaly};
use super::certificate::{AUTHORITY_KEY_ID, Walk, extensions, walk};
use super::der::{OCTET_STRING, OID, Reader, SEQUENCE};
use super::facts::name_of_der;
use super::issuance::hex;
use super::leaf::Leaf;
use super::{DistinguishedName, decode_base64, message};

/// Of a chain so many are read: real ones have two or three.
pub const MAX_CERTIFICATES: usize = 10;
/// One certificate of a chain: real ones have one to three KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// One certificate of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainCertificate {
    pub subject: DistinguishedName,
    pub issuer: DistinguishedName,
    /// Its own key's identifier, lower-case hex.
    pub key_id: Option<String>,
    /// Its issuer's key's identifier, lower-case hex.
    pub authority_key_id: Option<String>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
    /// SHA-256 of its DER.
    pub sha256: [u8; 32],
    /// It is a Precertificate Signing Certificate, RFC 6962, 3.1.
    pub signs_precertificates: bool,
}

/// Why a chain ends before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainError {
    #[error("a certificate of {0} bytes, more than {MAX_CERTIFICATE_BYTES}")]
    TooLarge(usize),
    #[error("a certificate that cannot be read: {0}")]
    Broken(#[from] super::certificate::Broken),
}

impl ChainCertificate {
    pub fn read(der: &[u8]) -> Result<ChainCertificate, ChainError> {
        let Link { walk, key_id, signs_precertificates, .. } = Link::read(der)?;
        Ok(ChainCertificate {
            subject: name_of_der(walk.subject),
            issuer: name_of_der(walk.issuer),
            key_id: key_id.map(hex),
            authority_key_id: walk.authority_key_id.map(hex),
            spki_sha256: sha256(walk.spki),
            sha256: sha256(der),
            signs_precertificates,
        })
    }
}

/// The chain of a CertStream message, as far as it has DER: the Go server writes it, the Rust server not.
pub(super) fn of_message(message: &[u8], anomalies: &mut Anomalies) -> Vec<ChainCertificate> {
    let mut der = Vec::new();
    collect(message::chain(message), anomalies, |text| {
        der.clear();
        decode_base64(text.as_str()?, &mut der).ok()?;
        ChainCertificate::read(&der).ok()
    })
}

/// The chain of a log's leaf.
pub(super) fn of_leaf(leaf: &Leaf<'_>, anomalies: &mut Anomalies) -> Vec<ChainCertificate> {
    collect(leaf.chain(), anomalies, |der| ChainCertificate::read(der).ok())
}

fn collect<T>(
    links: impl Iterator<Item = T>,
    anomalies: &mut Anomalies,
    mut read: impl FnMut(T) -> Option<ChainCertificate>,
) -> Vec<ChainCertificate> {
    let mut chain = Vec::new();
    for link in links.take(MAX_CERTIFICATES) {
        match read(link) {
            Some(certificate) => chain.push(certificate),
            None => {
                anomalies.add(Anomaly::ChainInvalid);
                break;
            }
        }
    }
    chain
}

/// 2.5.29.14
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
/// 2.5.29.37
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 1.3.6.1.4.1.11129.2.4.4
const PRECERTIFICATE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x04];

/// One certificate of a chain, as it lies in its DER.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    pub walk: Walk<'a>,
    /// keyIdentifier of its own key.
    pub key_id: Option<&'a [u8]>,
    /// Value of its authority key identifier.
    pub authority_key_id: Option<&'a [u8]>,
    pub signs_precertificates: bool,
}

impl<'a> Link<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Link<'a>, ChainError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(ChainError::TooLarge(der.len()));
        }
        let walk = walk(der, &mut Vec::new());
        if let Some(broken) = walk.broken {
            return Err(broken.into());
        }
        let mut link = Link { walk, key_id: None, authority_key_id: None, signs_precertificates: false };
        for extension in extensions(walk.extensions) {
            match extension.id {
                SUBJECT_KEY_ID => {
                    let id = Reader::new(extension.value).expect(OCTET_STRING).ok();
                    link.key_id = id.map(|id| id.body).filter(|id| !id.is_empty());
                }
                AUTHORITY_KEY_ID => link.authority_key_id = Some(extension.value),
                EXTENDED_KEY_USAGE => {
                    link.signs_precertificates = names(extension.value, PRECERTIFICATE_SIGNING)
                }
                _ => {}
            }
        }
        Ok(link)
    }
}

/// Whether a SEQUENCE of object identifiers holds this one.
fn names(value: &[u8], id: &[u8]) -> bool {
    let Ok(list) = Reader::new(value).expect(SEQUENCE) else { return false };
    let mut ids = Reader::new(list.body);
    std::iter::from_fn(|| ids.read().ok().flatten()).any(|one| one.tag == OID && one.body == id)
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
