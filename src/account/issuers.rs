//! Which issuers were seen for which asset.
//!
//! An issuer that certifies an asset for the first time is worth a sentence: most assets have the same
//! one or two for years. An issuer is its key id, else its name, as the certificate claims it. Bounded:
//! once [`MAX_ISSUERS`] are known, what is not known is not said to be new.

use std::collections::HashSet;

use crate::entry::{Facts, issuance};

/// Pairs of asset and issuer, 200 bytes each: 20 MB. A thousand assets have a few issuers each.
pub const MAX_ISSUERS: usize = 100_000;

/// Bytes of an issuer's name that are kept whole; a longer one is kept as its hash.
const MAX_NAME_BYTES: usize = 80;

/// The pairs that were seen.
#[derive(Clone, Default, Debug)]
pub struct Issuers {
    seen: HashSet<(String, String)>,
}

/// The issuer of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuer {
    pub name: String,
    /// It was not seen for the asset before.
    pub new: bool,
}

impl Issuers {
    /// Goes on with the pairs that a store holds.
    pub fn resume(&mut self, seen: HashSet<(String, String)>) {
        self.seen = seen;
    }

    /// Enters the issuer of an entry; `None` where there is none to speak of, or no room to remember it.
    pub fn is_first(&mut self, asset: &str, facts: &Facts) -> Option<Issuer> {
        let name = match (&facts.authority_key_id, facts.issuer.distinguished_name.as_str()) {
            (Some(key_id), _) => key_id.as_str(),
            (None, "") => return None,
            (None, name) => name,
        };
        let name = match name.len() {
            0..=MAX_NAME_BYTES => name.to_owned(),
            _ => issuance::sha256_hex(name.as_bytes()),
        };
        let pair = (asset.to_owned(), name);
        if self.seen.contains(&pair) {
            return Some(Issuer { name: pair.1, new: false });
        }
        if self.seen.len() >= MAX_ISSUERS {
            return None;
        }
        let name = pair.1.clone();
        self.seen.insert(pair);
        Some(Issuer { name, new: true })
    }
}
