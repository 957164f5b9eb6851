//! One entry in the bytes of both kinds of log, as the log signs it and hands it out.
//!
//! RFC 6962, 3.4 and 4.6, for logs that answer `get-entries`; c2sp.org/static-ct-api for those that serve
//! tiles. Of a precertificate the log signs the TBSCertificate without the poison, under the hash of the key
//! that will sign the certificate; what was submitted stands beside it, with the chain above it.
//!
//! Written from the specifications, not from what reads them in this program.

use crate::demo::archive::{Archive, Entry, Issuer, sha256};
use crate::demo::authority::{Kind, der};
use crate::entry::der::{OID, Reader, SEQUENCE};

/// One entry as a log holds it.
pub struct Logged<'a> {
    entry: Entry,
    kind: Kind,
    submitted: Vec<u8>,
    issuer: &'a Issuer,
}

impl Logged<'_> {
    pub fn of(archive: &Archive, entry: Entry) -> Logged<'_> {
        let leaf = archive.leaf(&entry);
        Logged { entry, kind: leaf.kind, submitted: leaf.der(), issuer: archive.issuer(leaf) }
    }

    /// MerkleTreeLeaf of RFC 6962: v1, timestamped_entry.
    pub fn leaf_input(&self) -> Vec<u8> {
        let mut out = vec![0, 0];
        self.push_timestamped_entry(&mut out, &[]);
        out
    }

    /// `extra_data` of RFC 6962.
    pub fn extra_data(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.kind == Kind::Precertificate {
            push_vector(&mut out, 3, &self.submitted);
        }
        let mut chain = Vec::new();
        self.issuer.chain.iter().for_each(|der| push_vector(&mut chain, 3, der));
        push_vector(&mut out, 3, &chain);
        out
    }

    /// Appends the TileLeaf of static-ct-api.
    pub fn push_tile_leaf(&self, out: &mut Vec<u8>) {
        // leaf_index: type 0, five bytes of data.
        let mut extension = vec![0, 0, 5];
        extension.extend_from_slice(&self.entry.index.to_be_bytes()[3..]);
        self.push_timestamped_entry(out, &extension);
        if self.kind == Kind::Precertificate {
            push_vector(out, 3, &self.submitted);
        }
        let chain: Vec<u8> = self.issuer.chain.iter().flat_map(|der| sha256(der)).collect();
        push_vector(out, 2, &chain);
    }

    fn push_timestamped_entry(&self, out: &mut Vec<u8>, extensions: &[u8]) {
        out.extend_from_slice(&self.entry.logged().0.max(0).to_be_bytes());
        match self.kind {
            Kind::Certificate => {
                out.extend_from_slice(&[0, 0]);
                push_vector(out, 3, &self.submitted);
            }
            Kind::Precertificate => {
                out.extend_from_slice(&[0, 1]);
                out.extend_from_slice(&self.issuer.key_hash);
                push_vector(out, 3, &tbs_without_poison(&self.submitted));
            }
        }
        push_vector(out, 2, extensions);
    }
}

/// A vector behind its length in so many bytes.
fn push_vector(out: &mut Vec<u8>, bytes: usize, vector: &[u8]) {
    out.extend_from_slice(&vector.len().to_be_bytes()[size_of::<usize>() - bytes..]);
    out.extend_from_slice(vector);
}

/// 1.3.6.1.4.1.11129.2.4.3
const POISON: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3];
/// The extensions of a TBSCertificate, its last field.
const EXTENSIONS: u8 = 0xa3;

/// The TBSCertificate of a precertificate as a log signs it, RFC 6962, 3.2. Empty for what is no certificate,
/// of which the demo has none.
fn tbs_without_poison(certificate: &[u8]) -> Vec<u8> {
    let inside = |der| Some(Reader::new(der).read().ok()??.body);
    let without = || -> Option<Vec<u8>> {
        let tbs = inside(inside(certificate)?.get(..)?)?;
        let mut fields = Vec::new();
        let mut reader = Reader::new(tbs);
        while let Some(field) = reader.read().ok()? {
            if field.tag != EXTENSIONS {
                fields.push(field.whole.to_vec());
                continue;
            }
            let mut kept: Vec<&[u8]> = Vec::new();
            let mut extensions = Reader::new(inside(field.body)?);
            while let Some(extension) = extensions.read().ok()? {
                if Reader::new(extension.body).expect(OID).ok()?.body != POISON {
                    kept.push(extension.whole);
                }
            }
            fields.push(der(EXTENSIONS, &[&der(SEQUENCE, &kept)]));
        }
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        Some(der(SEQUENCE, &fields))
    };
    without().unwrap_or_default()
}
