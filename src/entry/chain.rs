//! The certificates above an entry's own: what judging asks of an issuer, read from their DER.
//!
//! A chain is evidence where an issuer's own words are only a claim: subject, issuer, key identifiers and
//! the hash of each key, in the order in which it was given, the signer of the entry first. It is decoded
//! for an entry that goes on, one in a thousand; nothing of it is copied or hashed before that.
//!
//! At most [`MAX_CERTIFICATES`] of at most [`MAX_CERTIFICATE_BYTES`] each are read, and the chain ends at
//! the first that cannot be: what stands behind a gap says nothing about what stands before it. No
//! signature is checked, so that a chain says who could have signed, not who did.

use super::DistinguishedName;

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
