//! A precertificate against what a log signs of it, RFC 6962, 3.2.
//!
//! The log signs the TBSCertificate without the poison. Where a Precertificate Signing Certificate signed
//! the precertificate, the log also puts the final issuer in: its name, and its key's identifier. Anything
//! else that differs means that the log signs what nobody submitted, or shows what it did not sign.
//!
//! Logs decode and encode again, so that lengths, a DEFAULT that is written out, or the type of a time may
//! come out otherwise: what is compared is what the parts say. One pass over both, without a copy.

use super::Timestamp;
use super::certificate::{AUTHORITY_KEY_ID, Extension, POISON, extensions, time};
use super::chain::Link;
use super::der::{DerError, Element, INTEGER, Reader, SEQUENCE};
use super::issuance::serial_of_der;

/// Whether `signed`, a TBSCertificate, is another than `submitted`, a precertificate, gives. `signer` is the
/// first certificate of the chain, if that is at hand; it is asked for only where the issuers differ. Without
/// it, whether another may stand in for the issuer is not decided, and not called a difference.
pub fn differs<'a>(submitted: &[u8], signed: &[u8], signer: impl FnOnce() -> Option<&'a [u8]>) -> bool {
    let parts = Parts::of_certificate(submitted).and_then(|a| Ok((a, Parts::of_tbs(signed)?)));
    match parts {
        Ok((submitted, signed)) => !agree(&submitted, &signed, signer),
        Err(_) => true,
    }
}

fn agree<'a>(submitted: &Parts<'_>, signed: &Parts<'_>, signer: impl FnOnce() -> Option<&'a [u8]>) -> bool {
    if !submitted.says(signed) {
        return false;
    }
    let is_key_id = |extension: &Extension<'_>| extension.id == AUTHORITY_KEY_ID;
    let before = extensions(submitted.extensions).filter(|extension| extension.id != POISON);
    let after = extensions(signed.extensions);
    if submitted.issuer == signed.issuer && before.clone().eq(after.clone()) {
        return true;
    }
    if !before.filter(|e| !is_key_id(e)).eq(after.clone().filter(|e| !is_key_id(e))) {
        return false;
    }
    let Some(signer) = signer() else { return true };
    let Ok(signer) = Link::read(signer) else { return false };
    signer.signs_precertificates
        && signer.walk.subject == submitted.issuer
        && signer.walk.issuer == signed.issuer
        && after.filter(is_key_id).map(|extension| extension.value).eq(signer.authority_key_id)
}

/// The fields of a TBSCertificate, RFC 5280, 4.1; bodies but for the issuer's.
struct Parts<'a> {
    version: Option<&'a [u8]>,
    serial: &'a [u8],
    algorithm: &'a [u8],
    /// With its header.
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
    key: &'a [u8],
    unique_ids: [Option<&'a [u8]>; 2],
    /// One extension behind the other.
    extensions: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of_certificate(der: &'a [u8]) -> Result<Parts<'a>, DerError> {
        Parts::of_tbs(Reader::new(der).expect(SEQUENCE)?.body)
    }

    fn of_tbs(der: &'a [u8]) -> Result<Parts<'a>, DerError> {
        let mut r = Reader::new(Reader::new(der).expect(SEQUENCE)?.body);
        let body = |element: Option<Element<'a>>| element.map(|element| element.body);
        Ok(Parts {
            version: body(r.optional(0xa0)?),
            serial: r.expect(INTEGER)?.body,
            algorithm: r.expect(SEQUENCE)?.body,
            issuer: r.expect(SEQUENCE)?.whole,
            validity: r.expect(SEQUENCE)?.body,
            subject: r.expect(SEQUENCE)?.body,
            key: r.expect(SEQUENCE)?.body,
            unique_ids: [body(r.optional(0x81)?), body(r.optional(0x82)?)],
            extensions: match r.optional(0xa3)? {
                Some(wrapped) => Reader::new(wrapped.body).expect(SEQUENCE)?.body,
                None => &[],
            },
        })
    }

    /// Whether both say the same, but for issuer and extensions.
    fn says(&self, other: &Parts<'_>) -> bool {
        self.version == other.version
            && (self.serial == other.serial || serial_of_der(self.serial) == serial_of_der(other.serial))
            && self.algorithm == other.algorithm
            && (self.validity == other.validity || times(self.validity) == times(other.validity))
            && self.subject == other.subject
            && self.key == other.key
            && self.unique_ids == other.unique_ids
    }
}

/// Both ends of a Validity; `None` for each that is no time.
fn times(validity: &[u8]) -> [Option<Timestamp>; 2] {
    let mut r = Reader::new(validity);
    let mut next = || r.read().ok().flatten().and_then(time);
    [next(), next()]
}
