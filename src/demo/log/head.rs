//! A log's key, and what is signed with it: the state of its tree, as STH (RFC 6962) or checkpoint (static-ct).
//!
//! Keys come from the system's randomness, so log ids differ from run to run. Roots are made up, from the log
//! and its size: no tree is hashed here, and no proof is served that could be held against one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use crate::demo::archive::sha256;
use crate::entry::Timestamp;

/// An ECDSA key on P-256.
pub struct LogKey {
    pair: EcdsaKeyPair,
    /// As SubjectPublicKeyInfo.
    pub public: Vec<u8>,
    /// RFC 6962, 3.2.
    pub id: [u8; 32],
}

/// SubjectPublicKeyInfo of a P-256 key up to its point: id-ecPublicKey, prime256v1, a BIT STRING.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The system gave no randomness.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot make or use a log's key: the system gives no random bytes")]
pub struct KeyError;

impl From<Unspecified> for KeyError {
    fn from(_: Unspecified) -> KeyError {
        KeyError
    }
}

/// One state of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    pub size: u64,
    pub at: Timestamp,
}

impl LogKey {
    pub fn generate() -> Result<LogKey, KeyError> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).map_err(|_| KeyError)?;
        let public = [&P256, pair.public_key().as_ref()].concat();
        Ok(LogKey { id: sha256(&public), pair, public })
    }

    /// The answer to `get-sth`.
    pub fn sth(&self, head: Head) -> Result<Vec<u8>, KeyError> {
        let sth = json!({
            "tree_size": head.size,
            "timestamp": head.millis(),
            "sha256_root_hash": STANDARD.encode(self.root(head.size)),
            "tree_head_signature": STANDARD.encode(self.signed(head)?),
        });
        Ok(sth.to_string().into_bytes())
    }

    /// A signed note with one signature (c2sp.org/tlog-checkpoint). `origin` is the log's submission prefix
    /// without scheme.
    pub fn checkpoint(&self, origin: &str, head: Head) -> Result<Vec<u8>, KeyError> {
        let key_id = sha256(&[origin.as_bytes(), b"\n\x05", &self.id].concat());
        let signature = [&key_id[..4], &head.millis().to_be_bytes(), &self.signed(head)?].concat();
        let (root, signature) = (STANDARD.encode(self.root(head.size)), STANDARD.encode(signature));
        let note = format!("{origin}\n{}\n{root}\n\n\u{2014} {origin} {signature}\n", head.size);
        Ok(note.into_bytes())
    }

    /// TreeHeadSignature, RFC 6962, 3.5, as a `digitally-signed` value: ECDSA with SHA-256.
    fn signed(&self, head: Head) -> Result<Vec<u8>, KeyError> {
        let (at, size) = (head.millis().to_be_bytes(), head.size.to_be_bytes());
        let message = [&[0, 1][..], &at, &size, &self.root(head.size)].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &message)?;
        let signature = signature.as_ref();
        Ok([&[4, 3], &(signature.len() as u16).to_be_bytes()[..], signature].concat())
    }

    fn root(&self, size: u64) -> [u8; 32] {
        sha256(&[&b"root of"[..], &self.id, &size.to_be_bytes()].concat())
    }
}

impl Head {
    fn millis(self) -> u64 {
        self.at.0.max(0).unsigned_abs()
    }
}
