//! A public key that signs tree heads or log lists, and what it says of a signature.
//!
//! Logs have P-256 keys with ECDSA or RSA keys with PKCS #1, both over SHA-256 (RFC 6962, 2.1.4); Google signs
//! its log list with RSA. A key comes as a SubjectPublicKeyInfo in DER, whose SHA-256 is the log's id. Reading
//! it costs a walk over its few elements; verifying, some tens of microseconds.

use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use crate::entry::der::{DerError, OID, Reader, SEQUENCE};

/// A log's id: SHA-256 of its key (RFC 6962, 3.2).
pub type LogId = [u8; 32];

/// A SubjectPublicKeyInfo longer than this is none: RSA with 8,192 bits has 1,062 bytes.
const MAX_SPKI: usize = 4 * 1024;

const BIT_STRING: u8 = 0x03;
/// 1.2.840.10045.2.1
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// One that `ring` can verify with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    algorithm: Algorithm,
    id: LogId,
    bits: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    Ecdsa,
    Rsa,
}

impl PublicKey {
    /// From the DER of a SubjectPublicKeyInfo.
    pub fn read(spki: &[u8]) -> Result<PublicKey, KeyError> {
        if spki.len() > MAX_SPKI {
            return Err(KeyError::TooLarge(spki.len()));
        }
        let mut whole = Reader::new(spki);
        let mut fields = Reader::new(whole.expect(SEQUENCE)?.body);
        let mut algorithm = Reader::new(fields.expect(SEQUENCE)?.body);
        let bits = fields.expect(BIT_STRING)?.body;
        let algorithm = match algorithm.expect(OID)?.body {
            EC_PUBLIC_KEY if algorithm.expect(OID)?.body == P256 => Algorithm::Ecdsa,
            EC_PUBLIC_KEY => return Err(KeyError::Curve),
            RSA_ENCRYPTION => Algorithm::Rsa,
            _ => return Err(KeyError::Algorithm),
        };
        // The first octet counts the bits that are left over at the end: none.
        match bits.split_first() {
            Some((0, bits)) if whole.rest().is_empty() && fields.rest().is_empty() => {
                Ok(PublicKey { algorithm, id: sha256(spki), bits: bits.to_vec() })
            }
            _ => Err(KeyError::Trailing),
        }
    }

    pub fn id(&self) -> &LogId {
        &self.id
    }

    /// A signature as it stands, with nothing around it.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let verified = match self.algorithm {
            Algorithm::Ecdsa => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.bits).verify(message, signature)
            }
            Algorithm::Rsa => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.bits).verify(message, signature)
            }
        };
        verified.map_err(|_| SignatureError::Wrong)
    }

    /// A `digitally-signed` value (RFC 5246, 4.7): two algorithms, a length and the signature.
    pub fn verify_signed(&self, message: &[u8], signed: &[u8]) -> Result<(), SignatureError> {
        const SHA256: u8 = 4;
        let [hash, algorithm, high, low, signature @ ..] = signed else {
            return Err(SignatureError::Truncated(signed.len()));
        };
        let own = match self.algorithm {
            Algorithm::Rsa => 1,
            Algorithm::Ecdsa => 3,
        };
        if (*hash, *algorithm) != (SHA256, own) {
            return Err(SignatureError::Algorithms { hash: *hash, algorithm: *algorithm, own });
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length != signature.len() {
            return Err(SignatureError::Length { said: length, there: signature.len() });
        }
        self.verify(message, signature)
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Why bytes are no key that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    #[error("a key of {0} bytes, more than {MAX_SPKI}")]
    TooLarge(usize),
    #[error("a key that is no SubjectPublicKeyInfo: {0}")]
    Der(#[from] DerError),
    #[error("a key on another curve than P-256")]
    Curve,
    #[error("a key that is neither for ECDSA nor for RSA")]
    Algorithm,
    #[error("a key that is no SubjectPublicKeyInfo: its key or what is behind it has odd bits")]
    Trailing,
}

/// Why a signature says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature has {0} bytes, fewer than its head")]
    Truncated(usize),
    #[error("the signature says hash {hash} and algorithm {algorithm} where the key has 4 and {own}")]
    Algorithms { hash: u8, algorithm: u8, own: u8 },
    #[error("the signature says {said} bytes and has {there}")]
    Length { said: usize, there: usize },
    #[error("the signature is not the key's, or is not over this")]
    Wrong,
}

#[cfg(test)]
pub(super) mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;

    /// A log's own side of its key.
    pub struct Signer {
        pair: EcdsaKeyPair,
        pub spki: Vec<u8>,
    }

    impl Signer {
        pub fn new() -> Signer {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
            let point = pair.public_key().as_ref();
            let mut spki = vec![0x30, 0x59, 0x30, 0x13, 6, 7];
            spki.extend(EC_PUBLIC_KEY);
            spki.extend([6, 8]);
            spki.extend(P256);
            spki.extend([3, 0x42, 0]);
            spki.extend(point);
            Signer { pair, spki }
        }

        pub fn key(&self) -> PublicKey {
            PublicKey::read(&self.spki).unwrap()
        }

        pub fn sign(&self, message: &[u8]) -> Vec<u8> {
            self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
        }

        /// A `digitally-signed` value.
        pub fn signed(&self, message: &[u8]) -> Vec<u8> {
            let signature = self.sign(message);
            let length = (signature.len() as u16).to_be_bytes();
            [&[4, 3], &length[..], &signature].concat()
        }
    }

    #[test]
    fn a_signature_holds_for_its_key_and_message_alone() {
        let (signer, other) = (Signer::new(), Signer::new());
        let signed = signer.signed(b"message");
        let change = |at: usize, to: u8| {
            let mut signed = signed.clone();
            signed[at] = to;
            signed
        };
        let length = signed.len() - 4;
        for (key, message, signed, want) in [
            (signer.key(), &b"message"[..], signed.clone(), Ok(())),
            (other.key(), b"message", signed.clone(), Err(SignatureError::Wrong)),
            (signer.key(), b"massage", signed.clone(), Err(SignatureError::Wrong)),
            (
                signer.key(),
                b"message",
                change(0, 2),
                Err(SignatureError::Algorithms { hash: 2, algorithm: 3, own: 3 }),
            ),
            (
                signer.key(),
                b"message",
                change(1, 1),
                Err(SignatureError::Algorithms { hash: 4, algorithm: 1, own: 3 }),
            ),
            (signer.key(), b"message", change(3, 9), Err(SignatureError::Length { said: 9, there: length })),
            (signer.key(), b"message", signed[..3].to_vec(), Err(SignatureError::Truncated(3))),
            (signer.key(), b"message", Vec::new(), Err(SignatureError::Truncated(0))),
        ] {
            assert_eq!(key.verify_signed(message, &signed), want);
        }
    }

    #[test]
    fn keys_are_read_and_refused() {
        let good = Signer::new().spki;
        assert_eq!(PublicKey::read(&good).unwrap().id(), &sha256(&good));
        let change = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            PublicKey::read(&bytes)
        };
        assert_eq!(change(22, 0x08), Err(KeyError::Curve));
        assert_eq!(change(12, 0x02), Err(KeyError::Algorithm));
        assert_eq!(change(25, 7), Err(KeyError::Trailing));
        assert_eq!(PublicKey::read(&[&good[..], &[0]].concat()), Err(KeyError::Trailing));
        assert!(matches!(PublicKey::read(&good[..50]), Err(KeyError::Der(_))));
        assert!(matches!(PublicKey::read(b""), Err(KeyError::Der(_))));
        assert_eq!(PublicKey::read(&[0; MAX_SPKI + 1]), Err(KeyError::TooLarge(MAX_SPKI + 1)));
    }
}
