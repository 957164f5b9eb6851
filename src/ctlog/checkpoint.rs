//! What a log says of its whole tree, verified: size, time and root, from an STH or from a checkpoint.
//!
//! An RFC 6962 log answers `get-sth` with JSON (4.3); a static-ct log serves a signed note (c2sp.org
//! tlog-checkpoint, signed-note, static-ct-api). Both carry the same signature over the same TreeHeadSignature
//! (RFC 6962, 3.5), so both become a [`TreeHead`].
//!
//! With the log's key at hand a signature that is missing or wrong is an error; without a key, which is so for
//! a log that is known by its URL alone, the tree head says so. Signatures of others, witnesses above all, are
//! passed over. Whether two tree heads are of one tree is not asked: that takes a proof of consistency.
//!
//! Bounds: [`MAX_BYTES`] for either, [`MAX_SIGNATURES`] of a note. Cost: one signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::key::{LogId, PublicKey, SignatureError, sha256};
use crate::entry::{Timestamp, log_name};

/// An STH has some 300 bytes, a checkpoint as many and for each witness 100, with post-quantum signatures 5,000.
pub const MAX_BYTES: usize = 256 * 1024;

/// A note with more is refused; at least 16 must be accepted (c2sp.org/signed-note).
pub const MAX_SIGNATURES: usize = 64;

/// Indexes of static-ct are of 40 bits; a tree beyond 2^60 entries is no log's.
const MAX_SIZE: u64 = 1 << 60;

/// One state of a log's tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeHead {
    /// Entries; the last index is one less.
    pub size: u64,
    pub timestamp: Timestamp,
    pub root: [u8; 32],
    pub signature: Signature,
}

/// How far a tree head can be trusted. A wrong signature makes none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signature {
    Verified,
    /// The log is known by its URL alone: there is no key to verify with.
    NoKey,
}

#[derive(Deserialize)]
struct Sth {
    tree_size: u64,
    timestamp: u64,
    sha256_root_hash: String,
    tree_head_signature: String,
}

impl TreeHead {
    /// From the answer to `get-sth`.
    pub fn of_sth(json: &[u8], key: Option<&PublicKey>) -> Result<TreeHead, CheckpointError> {
        bounded(json)?;
        let sth: Sth =
            serde_json::from_slice(json).map_err(|error| CheckpointError::Json(error.to_string()))?;
        let signed = base64("tree_head_signature", &sth.tree_head_signature)?;
        let root = root("sha256_root_hash", &sth.sha256_root_hash)?;
        TreeHead::verified(sth.tree_size, sth.timestamp, root, key, &signed)
    }

    /// From a checkpoint. `origin` is the log's submission prefix as a log's name; without one, any is taken.
    pub fn of_checkpoint(
        note: &[u8],
        origin: Option<&str>,
        key: Option<&PublicKey>,
    ) -> Result<TreeHead, CheckpointError> {
        bounded(note)?;
        let note = Note::read(note)?;
        let mut lines = note.text.lines();
        let mut line = |part| lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError::Line(part));
        let named = line("origin")?;
        let size = decimal(line("tree size")?)?;
        let root = root("root hash", line("root hash")?)?;
        if lines.next().is_some() {
            return Err(CheckpointError::Extension);
        }
        if let Some(origin) = origin
            && (named.contains("://") || named.ends_with('/') || log_name(named) != origin)
        {
            return Err(CheckpointError::Origin { named: said(named), wanted: origin.to_owned() });
        }
        let Some(key) = key else {
            // The time is part of the signature; without a key it cannot be told which signature is the log's.
            let timestamp = note.signatures().find_map(|s| s.time_if_named(named)).unwrap_or_default();
            let timestamp = time(timestamp)?;
            return Ok(TreeHead { size, timestamp, root, signature: Signature::NoKey });
        };
        let id = key_id(named, key.id());
        let mut failed = CheckpointError::Unsigned;
        for signature in note.signatures().filter(|s| s.name == named && s.id == id) {
            let Some((timestamp, signed)) = signature.bytes.split_first_chunk() else {
                failed = SignatureError::Truncated(signature.bytes.len()).into();
                continue;
            };
            match TreeHead::verified(size, u64::from_be_bytes(*timestamp), root, Some(key), signed) {
                Ok(head) => return Ok(head),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn verified(
        size: u64,
        timestamp: u64,
        root: [u8; 32],
        key: Option<&PublicKey>,
        signed: &[u8],
    ) -> Result<TreeHead, CheckpointError> {
        if size > MAX_SIZE {
            return Err(CheckpointError::Size(size.to_string()));
        }
        let signature = match key {
            Some(key) => {
                key.verify_signed(&tree_head_signature(timestamp, size, &root), signed)?;
                Signature::Verified
            }
            None => Signature::NoKey,
        };
        Ok(TreeHead { size, timestamp: time(timestamp)?, root, signature })
    }
}

/// What a log signs: TreeHeadSignature, RFC 6962, 3.5.
fn tree_head_signature(timestamp: u64, size: u64, root: &[u8; 32]) -> [u8; 50] {
    // Version v1 is 0, SignatureType tree_hash is 1.
    let mut bytes = [0; 50];
    bytes[1] = 1;
    bytes[2..10].copy_from_slice(&timestamp.to_be_bytes());
    bytes[10..18].copy_from_slice(&size.to_be_bytes());
    bytes[18..].copy_from_slice(root);
    bytes
}

/// The first four bytes of SHA-256 over name, line feed, type 0x05 and log id (c2sp.org/static-ct-api).
fn key_id(name: &str, log: &LogId) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), &[0x0a, 0x05], log].concat());
    [hash[0], hash[1], hash[2], hash[3]]
}

/// A signed note: text, and below an empty line one signature a line.
struct Note<'a> {
    text: &'a str,
    below: &'a str,
}

struct NoteSignature<'a> {
    name: &'a str,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl<'a> Note<'a> {
    fn read(bytes: &'a [u8]) -> Result<Note<'a>, CheckpointError> {
        let note = std::str::from_utf8(bytes).map_err(|_| CheckpointError::Text)?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(CheckpointError::Text);
        }
        let (text, below) = note.rsplit_once("\n\n").ok_or(CheckpointError::Unsigned)?;
        if !below.ends_with('\n') {
            return Err(CheckpointError::Cut);
        }
        if below.lines().count() > MAX_SIGNATURES {
            return Err(CheckpointError::Signatures(below.lines().count()));
        }
        Ok(Note { text, below })
    }

    /// Those that have the form of one.
    fn signatures(&self) -> impl Iterator<Item = NoteSignature<'a>> + use<'a> {
        self.below.lines().filter_map(|line| {
            let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let bytes = STANDARD.decode(signature).ok()?;
            let (id, bytes) = bytes.split_first_chunk()?;
            Some(NoteSignature { name, id: *id, bytes: bytes.to_vec() })
        })
    }
}

impl NoteSignature<'_> {
    /// Milliseconds, if it could be an RFC6962NoteSignature under this name: eight bytes of time, then a
    /// `digitally-signed` value that is as long as it says.
    fn time_if_named(&self, name: &str) -> Option<u64> {
        let (time, signed) = self.bytes.split_first_chunk()?;
        let [4, 1 | 3, high, low, signature @ ..] = signed else { return None };
        let fits = usize::from(u16::from_be_bytes([*high, *low])) == signature.len();
        (self.name == name && fits).then(|| u64::from_be_bytes(*time))
    }
}

fn bounded(bytes: &[u8]) -> Result<(), CheckpointError> {
    if bytes.len() > MAX_BYTES { Err(CheckpointError::TooLarge(bytes.len())) } else { Ok(()) }
}

fn base64(part: &'static str, text: &str) -> Result<Vec<u8>, CheckpointError> {
    STANDARD.decode(text).map_err(|_| CheckpointError::Base64(part))
}

fn root(part: &'static str, text: &str) -> Result<[u8; 32], CheckpointError> {
    let bytes = base64(part, text)?;
    bytes.as_slice().try_into().map_err(|_| CheckpointError::Root(bytes.len()))
}

/// Without sign and leading zeros.
fn decimal(text: &str) -> Result<u64, CheckpointError> {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let size = text.parse().ok().filter(|size| digits && *size <= MAX_SIZE);
    size.ok_or_else(|| CheckpointError::Size(said(text)))
}

fn time(millis: u64) -> Result<Timestamp, CheckpointError> {
    let time = i64::try_from(millis).ok().map(Timestamp).filter(|time| *time <= Timestamp::MAX);
    time.ok_or(CheckpointError::Time(millis))
}

fn said(text: &str) -> String {
    super::said(text.as_bytes())
}

/// Why an answer is no tree head.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("a tree head of {0} bytes, more than {MAX_BYTES}")]
    TooLarge(usize),
    #[error("no STH: {0}")]
    Json(String),
    #[error("a {0} that is no Base64")]
    Base64(&'static str),
    #[error("a root hash of {0} bytes, not 32")]
    Root(usize),
    #[error("a tree size of {0:?}, no number up to 2^60")]
    Size(String),
    #[error("a timestamp of {0} ms, past the year 9999")]
    Time(u64),
    #[error("no checkpoint: control characters, or no UTF-8")]
    Text,
    #[error("no checkpoint: it has no {0}")]
    Line(&'static str),
    #[error("a checkpoint with more below its root hash, which its signature does not cover")]
    Extension,
    #[error("a checkpoint of {named:?}, not of {wanted:?}: is the log's submission prefix right?")]
    Origin { named: String, wanted: String },
    #[error("a checkpoint that breaks off in its last line")]
    Cut,
    #[error("a checkpoint with {0} signatures, more than {MAX_SIGNATURES}")]
    Signatures(usize),
    #[error("a checkpoint that the log's key has not signed")]
    Unsigned,
    #[error("{0}")]
    Signature(#[from] SignatureError),
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::key::tests::Signer;
    use super::*;

    pub const ORIGIN: &str = "ct.example/static";
    pub const AT: u64 = 1_795_598_998_871;

    pub fn sth(signer: &Signer, size: u64, root: [u8; 32]) -> String {
        format!(
            r#"{{"tree_size":{size},"timestamp":{AT},"sha256_root_hash":"{}","tree_head_signature":"{}","more":[]}}"#,
            STANDARD.encode(root),
            STANDARD.encode(signer.signed(&tree_head_signature(AT, size, &root)))
        )
    }

    /// One signature line.
    fn line(name: &str, id: [u8; 4], bytes: &[u8]) -> String {
        format!("\u{2014} {name} {}\n", STANDARD.encode([&id, bytes].concat()))
    }

    fn log_line(signer: &Signer, name: &str, size: u64, root: [u8; 32]) -> String {
        let signed = signer.signed(&tree_head_signature(AT, size, &root));
        line(name, key_id(name, signer.key().id()), &[&AT.to_be_bytes(), &signed[..]].concat())
    }

    pub fn checkpoint(signer: &Signer, origin: &str, size: u64, root: [u8; 32]) -> String {
        format!("{origin}\n{size}\n{}\n\n{}", STANDARD.encode(root), log_line(signer, origin, size, root))
    }

    fn head(size: u64, signature: Signature) -> TreeHead {
        TreeHead { size, timestamp: Timestamp(AT as i64), root: [7; 32], signature }
    }

    #[test]
    fn sths_are_verified() {
        let (signer, other) = (Signer::new(), Signer::new());
        let (key, stranger) = (signer.key(), other.key());
        let good = sth(&signer, 300, [7; 32]);
        for (json, key, want) in [
            (good.clone(), Some(&key), Ok(head(300, Signature::Verified))),
            (good.clone(), None, Ok(head(300, Signature::NoKey))),
            (good.clone(), Some(&stranger), Err(SignatureError::Wrong.into())),
            (good.replace(":300,", ":301,"), Some(&key), Err(SignatureError::Wrong.into())),
            (good.replace("871,", "872,"), Some(&key), Err(SignatureError::Wrong.into())),
            (good.replace("_hash\":\"", "_hash\":\"AAAA"), None, Err(CheckpointError::Root(35))),
            (
                good.replace("_hash\":\"", "_hash\":\"-"),
                None,
                Err(CheckpointError::Base64("sha256_root_hash")),
            ),
            (
                good.replace("_signature\":\"", "_signature\":\"BAM"),
                Some(&key),
                Err(CheckpointError::Base64("tree_head_signature")),
            ),
            (
                good.replace(":300,", ":2305843009213693952,"),
                None,
                Err(CheckpointError::Size("2305843009213693952".to_owned())),
            ),
            (
                good.replace(&AT.to_string(), "18446744073709551615"),
                None,
                Err(CheckpointError::Time(u64::MAX)),
            ),
        ] {
            assert_eq!(TreeHead::of_sth(json.as_bytes(), key), want, "{json}");
        }
        for json in ["", "{}", "<html>", "[]", &good[..good.len() / 2], &good.replace(":300,", ":-1,")] {
            assert!(
                matches!(TreeHead::of_sth(json.as_bytes(), None), Err(CheckpointError::Json(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn checkpoints_are_verified() {
        let (signer, other) = (Signer::new(), Signer::new());
        let (key, stranger) = (signer.key(), other.key());
        let root = [7; 32];
        let good = checkpoint(&signer, ORIGIN, 300, root);
        let (text, _) = good.rsplit_once("\n\n").unwrap();
        let under = |lines: &[&str]| format!("{text}\n\n{}", lines.concat());
        let own = log_line(&signer, ORIGIN, 300, root);
        let witness = line("witness.example/w", [1, 2, 3, 4], &[9; 72]);
        // A key's id is four bytes: another key can have the same.
        let clash =
            line(ORIGIN, key_id(ORIGIN, key.id()), &[&AT.to_be_bytes(), &[4, 3, 0, 1, 9][..]].concat());
        let short = line(ORIGIN, key_id(ORIGIN, key.id()), &[1, 2, 3]);
        let verified = Ok(head(300, Signature::Verified));
        let wrong = Err(SignatureError::Wrong.into());
        let many = vec![witness.as_str(); MAX_SIGNATURES];
        for (note, key, want) in [
            (good.clone(), Some(&key), verified.clone()),
            (good.clone(), None, Ok(head(300, Signature::NoKey))),
            (under(&[&witness, &own]), Some(&key), verified.clone()),
            (under(&[&witness, &own]), None, Ok(head(300, Signature::NoKey))),
            (under(&[&clash, &own, &witness]), Some(&key), verified.clone()),
            (under(&["odd line\n", &own]), Some(&key), verified.clone()),
            (under(&many), Some(&key), Err(CheckpointError::Unsigned)),
            (under(&[&many[..], &[&own]].concat()), Some(&key), Err(CheckpointError::Signatures(65))),
            (under(&[&clash]), Some(&key), wrong.clone()),
            (under(&[&short]), Some(&key), Err(SignatureError::Truncated(3).into())),
            (good.clone(), Some(&stranger), Err(CheckpointError::Unsigned)),
            (under(&[&witness]), Some(&key), Err(CheckpointError::Unsigned)),
            (
                under(&[&log_line(&signer, "other.example", 300, root)]),
                Some(&key),
                Err(CheckpointError::Unsigned),
            ),
            (good.replace("\n300\n", "\n301\n"), Some(&key), wrong.clone()),
            (good.replace("\n300\n", "\n0300\n"), None, Err(CheckpointError::Size("0300".to_owned()))),
            (good.replace("\n300\n", "\n+300\n"), None, Err(CheckpointError::Size("+300".to_owned()))),
            (good.replace("\n300\n", "\n\n"), None, Err(CheckpointError::Line("tree size"))),
            (good.replace("\n\n", "\nextension\n\n"), Some(&key), Err(CheckpointError::Extension)),
            (good[..good.len() - 1].to_owned(), Some(&key), Err(CheckpointError::Cut)),
            (text.to_owned(), Some(&key), Err(CheckpointError::Unsigned)),
            (good.replace('\n', "\r\n"), Some(&key), Err(CheckpointError::Text)),
            (
                checkpoint(&signer, "ct.example/other", 300, root),
                Some(&key),
                Err(CheckpointError::Origin {
                    named: "ct.example/other".to_owned(),
                    wanted: ORIGIN.to_owned(),
                }),
            ),
            (
                checkpoint(&signer, "https://ct.example/static", 300, root),
                Some(&key),
                Err(CheckpointError::Origin {
                    named: "https://ct.example/static".to_owned(),
                    wanted: ORIGIN.to_owned(),
                }),
            ),
            ("<html>\n<p>\n\n</p>\n".to_owned(), None, Err(CheckpointError::Size("<p>".to_owned()))),
        ] {
            assert_eq!(TreeHead::of_checkpoint(note.as_bytes(), Some(ORIGIN), key), want, "{note}");
        }
        let other = checkpoint(&signer, "any.example", 300, root);
        assert_eq!(TreeHead::of_checkpoint(other.as_bytes(), None, Some(&key)), verified);
        assert_eq!(TreeHead::of_checkpoint(&[0xff; 9], None, None), Err(CheckpointError::Text));
        let long = vec![b'a'; MAX_BYTES + 1];
        assert_eq!(TreeHead::of_checkpoint(&long, None, None), Err(CheckpointError::TooLarge(MAX_BYTES + 1)));
    }
}
