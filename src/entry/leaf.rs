//! One leaf of a log, in the bytes in which the log hands it out: what it signs, and what was submitted.
//!
//! Two kinds of log answer differently and mean the same: RFC 6962 `get-entries` (section 4.6) gives a
//! MerkleTreeLeaf and, beside it, what the log does not sign; static-ct-api (c2sp.org/static-ct-api) puts
//! both into one TileLeaf and leaves the chain to 32-byte fingerprints of certificates that lie elsewhere.
//! Fetching either is left to others, and so is the certificate itself, which is walked like any other.
//!
//! Of a precertificate the log signs a TBSCertificate: identities come from it. The `pre_certificate` is
//! what was submitted, and gives fingerprint and DER.
//!
//! Every part is a slice of what was lent, and bounded by it: a leaf costs its length fields, no copy. Where
//! the structure breaks, what was found before is kept and the error stands beside it, as in the walk.

use super::EntryKind;
use super::Timestamp;
use super::chain::{MAX_CERTIFICATES, sha256};

/// One leaf, lent by who fetched it.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// URL of the log; the log is named after it, as after that of a message.
    pub log: &'a str,
    /// Description of the log, where there is one.
    pub log_name: Option<&'a str>,
    pub index: u64,
    pub form: Form<'a>,
}

/// How the log hands it out.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// RFC 6962, 4.6: `leaf_input` and `extra_data`.
    Rfc6962 { input: &'a [u8], extra: &'a [u8] },
    /// static-ct-api: one TileLeaf as [`Tile`] cuts it, and those certificates of its chain that are at
    /// hand, in any order; each is known by its hash.
    Tile { leaf: &'a [u8], issuers: &'a [&'a [u8]] },
}

impl<'a> Form<'a> {
    /// The bytes of the leaf itself.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Form::Rfc6962 { input, .. } => input,
            Form::Tile { leaf, .. } => leaf,
        }
    }
}

/// What a leaf holds. Slices are empty where the leaf broke before them.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    pub fetched: Fetched<'a>,
    pub time: Option<Timestamp>,
    pub kind: Option<EntryKind>,
    /// What the log signs: a Certificate, or the TBSCertificate of a precertificate.
    pub signed: &'a [u8],
    /// What was submitted: the same Certificate, or the precertificate.
    pub submitted: &'a [u8],
    /// Of a precertificate: SHA-256 of the SubjectPublicKeyInfo of the key that will sign the certificate.
    pub issuer_key_hash: Option<[u8; 32]>,
    /// The `leaf_index` extension of static-ct-api.
    pub own_index: Option<u64>,
    /// Certificates with their lengths, or fingerprints.
    chain: &'a [u8],
    /// Where the structure broke, if it did.
    pub broken: Option<LeafError>,
}

/// The structure broke; what was found before is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeafError {
    #[error("{part} of {wanted} bytes where {left} are left")]
    Truncated { part: &'static str, wanted: usize, left: usize },
    #[error("version {0}, not 0 for v1")]
    Version(u8),
    #[error("leaf_type {0}, not 0 for timestamped_entry")]
    LeafType(u8),
    #[error("entry_type {0}, neither 0 for x509_entry nor 1 for precert_entry")]
    EntryType(u16),
    #[error("an empty {0}")]
    Empty(&'static str),
    #[error("{bytes} bytes behind {part}")]
    Trailing { part: &'static str, bytes: usize },
    #[error("certificate_chain of {0} bytes, no multiple of a fingerprint's 32")]
    Fingerprints(usize),
    #[error("a tile of more than {MAX_TILE_LEAVES} leaves")]
    Tile,
}

/// A data tile of static-ct-api holds so many leaves, and its last one fewer.
pub const MAX_TILE_LEAVES: usize = 256;

impl<'a> Leaf<'a> {
    pub fn read(fetched: Fetched<'a>) -> Leaf<'a> {
        let mut leaf = Leaf {
            fetched,
            time: None,
            kind: None,
            signed: &[],
            submitted: &[],
            issuer_key_hash: None,
            own_index: None,
            chain: &[],
            broken: None,
        };
        leaf.broken = match fetched.form {
            Form::Rfc6962 { input, extra } => {
                // What was submitted is read even where something stands behind what is signed.
                let signed = leaf.merkle_tree_leaf(&mut Bytes(input));
                let submitted = leaf.kind.map_or(Ok(()), |kind| leaf.extra_data(kind, &mut Bytes(extra)));
                signed.and(submitted).err()
            }
            Form::Tile { leaf: bytes, .. } => {
                let mut bytes = Bytes(bytes);
                leaf.tile_leaf(&mut bytes).and_then(|()| bytes.end("the leaf")).err()
            }
        };
        leaf
    }

    /// The certificates above it, the signer of what was submitted first, as far as they are at hand.
    pub fn chain(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = Bytes(self.chain);
        let form = self.fetched.form;
        // Hashed when the first one is asked for.
        let mut at_hand: Option<Vec<([u8; 32], &'a [u8])>> = None;
        std::iter::from_fn(move || match form {
            Form::Rfc6962 { .. } => rest.vector(3, "certificate_chain").ok(),
            Form::Tile { issuers, .. } => {
                let wanted = rest.take(32, "fingerprint").ok()?;
                let at_hand = at_hand.get_or_insert_with(|| {
                    issuers.iter().take(MAX_CERTIFICATES).map(|der| (sha256(der), *der)).collect()
                });
                at_hand.iter().find(|(hash, _)| hash == wanted).map(|(_, der)| *der)
            }
        })
    }

    /// Of a static-ct log: SHA-256 of each certificate above it, by which the log serves them.
    pub fn fingerprints(&self) -> impl Iterator<Item = &'a [u8; 32]> + use<'a> {
        let list = match self.fetched.form {
            Form::Rfc6962 { .. } => &[],
            Form::Tile { .. } => self.chain,
        };
        list.as_chunks().0.iter()
    }

    /// MerkleTreeLeaf, RFC 6962, 3.4.
    fn merkle_tree_leaf(&mut self, bytes: &mut Bytes<'a>) -> Result<(), LeafError> {
        match bytes.number(1, "version")? as u8 {
            0 => {}
            other => return Err(LeafError::Version(other)),
        }
        match bytes.number(1, "leaf_type")? as u8 {
            0 => {}
            other => return Err(LeafError::LeafType(other)),
        }
        let extensions = self.timestamped_entry(bytes)?;
        bytes.end("the leaf").and(self.extensions(extensions))
    }

    /// TimestampedEntry, RFC 6962, 3.4; its extensions are left to [`extensions`](Leaf::extensions).
    fn timestamped_entry(&mut self, bytes: &mut Bytes<'a>) -> Result<Bytes<'a>, LeafError> {
        let time = i64::try_from(bytes.number(8, "timestamp")?).ok().map(Timestamp);
        self.time = time.filter(|time| *time <= Timestamp::MAX);
        match bytes.number(2, "entry_type")? as u16 {
            0 => {
                self.kind = Some(EntryKind::Certificate);
                self.signed = bytes.certificate("x509_entry")?;
                self.submitted = self.signed;
            }
            1 => {
                self.kind = Some(EntryKind::Precertificate);
                let hash = bytes.take(32, "issuer_key_hash")?;
                self.issuer_key_hash = hash.try_into().ok();
                self.signed = bytes.certificate("tbs_certificate")?;
            }
            other => return Err(LeafError::EntryType(other)),
        }
        bytes.vector(2, "extensions").map(Bytes)
    }

    /// CtExtensions of static-ct-api; those of RFC 6962 are empty.
    fn extensions(&mut self, mut extensions: Bytes<'a>) -> Result<(), LeafError> {
        while !extensions.0.is_empty() {
            let kind = extensions.number(1, "extension_type")?;
            let mut data = Bytes(extensions.vector(2, "extension_data")?);
            // leaf_index, a uint40.
            if kind == 0 {
                self.own_index = Some(data.number(5, "leaf_index")?);
                data.end("leaf_index")?;
            }
        }
        Ok(())
    }

    /// `extra_data`, RFC 6962, 4.6: the chain, of a precertificate behind what was submitted.
    fn extra_data(&mut self, kind: EntryKind, bytes: &mut Bytes<'a>) -> Result<(), LeafError> {
        if kind == EntryKind::Precertificate {
            self.submitted = bytes.certificate("pre_certificate")?;
        }
        self.chain = bytes.vector(3, "certificate_chain")?;
        bytes.end("extra_data")?;
        let mut chain = Bytes(self.chain);
        while !chain.0.is_empty() {
            chain.certificate("certificate of certificate_chain")?;
        }
        Ok(())
    }

    /// TileLeaf of static-ct-api.
    fn tile_leaf(&mut self, bytes: &mut Bytes<'a>) -> Result<(), LeafError> {
        let extensions = self.timestamped_entry(bytes)?;
        let extensions = self.extensions(extensions);
        if self.kind == Some(EntryKind::Precertificate) {
            self.submitted = bytes.certificate("pre_certificate")?;
        }
        self.chain = bytes.vector(2, "certificate_chain")?;
        match self.chain.len() % 32 {
            0 => extensions,
            _ => Err(LeafError::Fingerprints(self.chain.len())),
        }
    }
}

/// The leaves of a data tile, one after the other; behind an error there are none, because nothing says
/// where the next one begins.
#[derive(Clone, Debug)]
pub struct Tile<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Tile<'a> {
    pub fn new(bytes: &'a [u8]) -> Tile<'a> {
        Tile { rest: bytes, count: 0 }
    }
}

impl<'a> Iterator for Tile<'a> {
    type Item = Result<&'a [u8], LeafError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return None;
        }
        if self.count == MAX_TILE_LEAVES {
            return Some(Err(LeafError::Tile));
        }
        self.count += 1;
        let mut after = Bytes(bytes);
        Some(after.pass_tile_leaf().map(|()| {
            self.rest = after.0;
            &bytes[..bytes.len() - after.0.len()]
        }))
    }
}

/// What has not been read, in the notation of RFC 5246, section 4.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, wanted: usize, part: &'static str) -> Result<&'a [u8], LeafError> {
        let left = self.0.len();
        let (taken, rest) =
            self.0.split_at_checked(wanted).ok_or(LeafError::Truncated { part, wanted, left })?;
        self.0 = rest;
        Ok(taken)
    }

    /// Of at most eight bytes.
    fn number(&mut self, bytes: usize, part: &'static str) -> Result<u64, LeafError> {
        Ok(self.take(bytes, part)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A vector behind its length in `bytes` bytes.
    fn vector(&mut self, bytes: usize, part: &'static str) -> Result<&'a [u8], LeafError> {
        let length = self.number(bytes, part)? as usize;
        self.take(length, part)
    }

    /// A vector of one byte at least, behind a length of three bytes.
    fn certificate(&mut self, part: &'static str) -> Result<&'a [u8], LeafError> {
        match self.vector(3, part)? {
            [] => Err(LeafError::Empty(part)),
            certificate => Ok(certificate),
        }
    }

    fn end(&self, part: &'static str) -> Result<(), LeafError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(LeafError::Trailing { part, bytes }),
        }
    }

    /// Where a TileLeaf ends: by its lengths alone, so that one whose content is odd hides no other.
    fn pass_tile_leaf(&mut self) -> Result<(), LeafError> {
        self.take(8, "timestamp")?;
        let kind = self.number(2, "entry_type")?;
        match kind {
            0 => self.vector(3, "x509_entry")?,
            1 => {
                self.take(32, "issuer_key_hash")?;
                self.vector(3, "tbs_certificate")?
            }
            other => return Err(LeafError::EntryType(other as u16)),
        };
        self.vector(2, "extensions")?;
        if kind == 1 {
            self.vector(3, "pre_certificate")?;
        }
        self.vector(2, "certificate_chain").map(drop)
    }
}
