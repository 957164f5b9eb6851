//! Leaves of a log made from DER: both kinds of entry, in the bytes of both kinds of log.
//!
//! Written after RFC 6962, 3.4 and 4.6, and c2sp.org/static-ct-api, field by field; no code of certsieve's
//! own reading is asked how they look.

use certsieve::entry::EntryKind;
use ring::digest::{SHA256, digest};

use super::entries::element;

/// One entry as a log holds it.
#[derive(Clone, Debug)]
pub struct Logged {
    pub kind: EntryKind,
    /// Milliseconds since the epoch.
    pub time: u64,
    /// The certificate, or the TBSCertificate of a precertificate.
    pub signed: Vec<u8>,
    pub submitted: Vec<u8>,
    pub issuer_key_hash: [u8; 32],
    pub chain: Vec<Vec<u8>>,
}

pub const LOGGED_AT: u64 = 1_795_598_998_871;

impl Logged {
    pub fn certificate(der: &[u8], chain: &[Vec<u8>]) -> Logged {
        Logged {
            kind: EntryKind::Certificate,
            time: LOGGED_AT,
            signed: der.to_vec(),
            submitted: der.to_vec(),
            issuer_key_hash: [0; 32],
            chain: chain.to_vec(),
        }
    }

    /// Of a precertificate that its issuer itself signed.
    pub fn precertificate(der: &[u8], chain: &[Vec<u8>]) -> Logged {
        Logged {
            kind: EntryKind::Precertificate,
            signed: tbs_without_poison(der),
            issuer_key_hash: [7; 32],
            ..Logged::certificate(der, chain)
        }
    }

    fn timestamped_entry(&self, extensions: &[u8]) -> Vec<u8> {
        let mut bytes = self.time.to_be_bytes().to_vec();
        match self.kind {
            EntryKind::Certificate => bytes.extend([0, 0]),
            EntryKind::Precertificate => {
                bytes.extend([0, 1]);
                bytes.extend(self.issuer_key_hash);
            }
        }
        bytes.extend(behind_length(3, &self.signed));
        bytes.extend(behind_length(2, extensions));
        bytes
    }

    pub fn leaf_input(&self) -> Vec<u8> {
        [&[0, 0], &self.timestamped_entry(&[])[..]].concat()
    }

    pub fn extra_data(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.kind == EntryKind::Precertificate {
            bytes.extend(behind_length(3, &self.submitted));
        }
        let chain: Vec<u8> = self.chain.iter().flat_map(|der| behind_length(3, der)).collect();
        bytes.extend(behind_length(3, &chain));
        bytes
    }

    pub fn tile_leaf(&self, index: u64) -> Vec<u8> {
        let leaf_index = [&[0, 0, 5], &index.to_be_bytes()[3..]].concat();
        let mut bytes = self.timestamped_entry(&leaf_index);
        if self.kind == EntryKind::Precertificate {
            bytes.extend(behind_length(3, &self.submitted));
        }
        let chain: Vec<u8> =
            self.chain.iter().flat_map(|der| digest(&SHA256, der).as_ref().to_vec()).collect();
        bytes.extend(behind_length(2, &chain));
        bytes
    }
}

/// `body` behind its length in so many bytes.
pub fn behind_length(bytes: usize, body: &[u8]) -> Vec<u8> {
    [&body.len().to_be_bytes()[8 - bytes..], body].concat()
}

/// The elements of a constructed one.
pub fn parts(der: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = certsieve::entry::der::Reader::new(der);
    let body = reader.read().unwrap().unwrap().body;
    let mut reader = certsieve::entry::der::Reader::new(body);
    std::iter::from_fn(|| reader.read().unwrap()).map(|element| element.whole.to_vec()).collect()
}

pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// The TBSCertificate of a certificate, as it stands.
pub fn tbs(der: &[u8]) -> Vec<u8> {
    parts(der).swap_remove(0)
}

/// The TBSCertificate with its extensions changed.
pub fn with_extensions(tbs: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut fields = parts(tbs);
    let wrapped = fields.pop().unwrap();
    let mut extensions = parts(&parts(&wrapped)[0]);
    change(&mut extensions);
    fields.push(element(0xa3, &sequence(&extensions)));
    sequence(&fields)
}

pub fn tbs_without_poison(der: &[u8]) -> Vec<u8> {
    const POISON: [u8; 12] = [6, 10, 0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3];
    with_extensions(&tbs(der), |extensions| {
        extensions.retain(|extension| !extension.windows(POISON.len()).any(|window| window == POISON));
    })
}
