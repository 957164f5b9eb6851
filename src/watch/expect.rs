//! Who may issue for an asset: one `[[asset.expect]]` in, one [`Expectation`] out.
//!
//! Every key of a table that is given must hold, by any of its values; any table of an asset may hold.
//! `for` limits a table to a part of the asset. Values are compared whole and exactly: here they are
//! only brought to one form, what they mean for a certificate is left to the judge.
//!
//! Pure: files of keys come through a [`Load`](super::list::Load). Bounds: [`MAX_EXPECTED`] bytes a value, [`MAX_SCOPE`]
//! entries of `for`, [`MAX_KEYS`] subject keys a table, 32 bytes each.

use std::net::IpAddr;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ipnet::IpNet;

use super::extent::{Of, Part, What};
use super::list::{ASSET, ASSET_KEYS, checked, entries_of};
use super::{name, networks};
use crate::document::Keys;
use crate::problem::Report;

/// Of one expected value, in bytes.
pub const MAX_EXPECTED: usize = 1_024;
/// Entries of one `for`: its networks are gone through for every address of an entry that matches, which
/// may have ten thousand.
pub const MAX_SCOPE: usize = 1_000;
/// A key a day for each of a thousand hosts over three years; 32 MB.
pub const MAX_KEYS: usize = 1_000_000;

pub(super) const EXPECT_KEYS: &[&str] = &[
    "issuer_organization",
    "issuer_common_name",
    "issuer_key_id",
    "issuer_spki_sha256",
    "ca_owner",
    "subject_spki_sha256",
    "subject_keys_file",
    "for",
];

/// SHA-256 of a SubjectPublicKeyInfo.
pub type KeyHash = [u8; 32];

/// One `[[asset.expect]]`: every key that is not empty must hold, by any of its values.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Expectation {
    /// Whole values, compared exactly.
    pub issuer_organization: Vec<String>,
    pub issuer_common_name: Vec<String>,
    /// Lower-case hex without separators.
    pub issuer_key_id: Vec<String>,
    /// Of the issuer's key.
    pub issuer_spki_sha256: Vec<KeyHash>,
    /// As CCADB writes it.
    pub ca_owner: Vec<String>,
    /// Of the certificate's own key, sorted. `None` where the table lists no keys.
    pub subject_keys: Option<Box<[KeyHash]>>,
    /// What of the asset the table is for.
    pub scope: Scope,
}

impl Expectation {
    /// Whether one of the keys is listed.
    pub fn lists_key(&self, key: &KeyHash) -> bool {
        self.subject_keys.as_deref().is_some_and(|keys| keys.binary_search(key).is_ok())
    }

    /// Whether the table says anything of the issuer.
    pub fn names_issuer(&self) -> bool {
        let Expectation { issuer_organization, issuer_common_name, issuer_key_id, .. } = self;
        !(issuer_organization.is_empty()
            && issuer_common_name.is_empty()
            && issuer_key_id.is_empty()
            && self.issuer_spki_sha256.is_empty()
            && self.ca_owner.is_empty())
    }
}

/// The part of an asset that a table is for; an empty one is all of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Scope {
    /// Subtrees, sorted.
    names: Vec<String>,
    networks: Vec<IpNet>,
}

impl Scope {
    /// Whether it is all of the asset.
    pub fn is_all(&self) -> bool {
        self.names.is_empty() && self.networks.is_empty()
    }

    /// Whether a name, whatever its wildcard labels stand for, lies in it. `name` as
    /// [`Matcher::name`](super::Matcher::name) takes it.
    pub fn covers_name(&self, name: &str) -> bool {
        let literal = super::domains::literal_tail(name).1;
        let starts =
            std::iter::once(0).chain(memchr::memchr_iter(b'.', literal.as_bytes()).map(|dot| dot + 1));
        self.is_all()
            || starts
                .filter_map(|start| literal.get(start..))
                .any(|suffix| self.names.binary_search_by(|name| name.as_str().cmp(suffix)).is_ok())
    }

    pub fn covers_address(&self, address: IpAddr) -> bool {
        self.is_all() || self.networks.iter().any(|network| network.contains(&address))
    }

    pub fn covers_network(&self, network: IpNet) -> bool {
        self.is_all() || self.networks.iter().any(|of| of.contains(&network))
    }

    /// For people: `cdn.example.com and 2 more`.
    pub fn text(&self) -> String {
        let networks = self.networks.iter().map(ToString::to_string);
        let mut all = self.names.iter().cloned().chain(networks);
        let shown = all.next().unwrap_or_else(|| "everything".to_owned());
        match all.count() {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

/// Reads a file of subject keys, noting at its place that it cannot be read.
pub(super) type KeysFile<'a> = &'a mut dyn FnMut(&mut Report<'_>, &str, Range<usize>) -> Vec<KeyHash>;

/// Reads one table. The entries of its `for` are added to `parts`, too.
pub(super) fn read(
    report: &mut Report<'_>,
    mut keys: Keys<'_, '_>,
    parts: &mut Vec<Part>,
    keys_file: KeysFile<'_>,
) -> Expectation {
    let issuer_organization = values(report, &mut keys, "issuer_organization");
    let issuer_common_name = values(report, &mut keys, "issuer_common_name");
    let ca_owner = values(report, &mut keys, "ca_owner");
    let mut issuer_key_id = Vec::new();
    let count = keys.each_text(report, "issuer_key_id", |report, text, place| match key_id(text) {
        Some(id) => issuer_key_id.push(id),
        None => {
            let hint = "write the authority key id as pairs of hex digits, with or without colons";
            report.add(place, "issuer_key_id is not 1 to 64 bytes of hex", hint);
        }
    });
    refuse_empty(report, &keys, "issuer_key_id", count);
    let issuer_spki_sha256 = hashes(report, &mut keys, "issuer_spki_sha256").unwrap_or_default();
    let mut subject_keys = hashes(report, &mut keys, "subject_spki_sha256");
    let mut files = Vec::new();
    let count = keys.each_text(report, "subject_keys_file", |_, path, place| files.push((path, place)));
    refuse_empty(report, &keys, "subject_keys_file", count);
    for (path, place) in files {
        subject_keys.get_or_insert_default().extend(keys_file(report, path, place));
    }
    let scope = scope(report, &mut keys, parts);
    let table = Expectation {
        issuer_organization,
        issuer_common_name,
        issuer_key_id,
        issuer_spki_sha256,
        ca_owner,
        subject_keys: subject_keys.map(|mut keys| {
            keys.sort_unstable();
            keys.dedup();
            keys.into_boxed_slice()
        }),
        scope,
    };
    if !EXPECT_KEYS.iter().any(|key| *key != "for" && keys.has(key)) {
        report.missing(
            keys.place(),
            "an [[asset.expect]] that expects nothing",
            "give it issuer_organization, issuer_common_name, issuer_key_id, ca_owner or subject_keys_file",
        );
    }
    keys.finish(report, &[], &[(ASSET, ASSET_KEYS)]);
    table
}

/// Reads a file of subject keys, of which `report` is: one a line, comments as in any bulk list.
pub(super) fn keys_of(report: &mut Report<'_>) -> Vec<KeyHash> {
    let mut keys = Vec::new();
    let mut any = false;
    for (at, entry) in entries_of(report.text()) {
        any = true;
        match key_hash(entry) {
            Some(_) if keys.len() == MAX_KEYS => {
                report.add(
                    at..at + entry.len(),
                    format!("more than {MAX_KEYS} keys"),
                    "take out expired ones",
                );
                break;
            }
            Some(key) => keys.push(key),
            None => report.add(at..at + entry.len(), "this is no SHA-256 of a key", KEY_HASH_HINT),
        }
    }
    if !any {
        let hint = "a file that is half written must not make every certificate unexpected";
        report.add(0..0, "subject_keys_file lists no key", hint);
    }
    keys
}

pub(super) const KEY_HASH_HINT: &str = "write the SHA-256 of the SubjectPublicKeyInfo as 64 hex digits or in base64: openssl x509 -pubkey -noout | \
     openssl pkey -pubin -outform der | sha256sum";

fn values(report: &mut Report<'_>, keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<String> {
    let mut values = Vec::new();
    let count = keys.each_text(report, key, |report, text, place| {
        if checked(report, key, text, place, MAX_EXPECTED) {
            values.push(text.to_owned());
        }
    });
    refuse_empty(report, keys, key, count);
    values
}

fn hashes(report: &mut Report<'_>, keys: &mut Keys<'_, '_>, key: &'static str) -> Option<Vec<KeyHash>> {
    let mut hashes = Vec::new();
    let count = keys.each_text(report, key, |report, text, place| match key_hash(text) {
        Some(hash) => hashes.push(hash),
        None => report.add(place, format!("{key} is no SHA-256"), KEY_HASH_HINT),
    });
    refuse_empty(report, keys, key, count);
    count.map(|_| hashes)
}

/// An empty list is a key that can never hold.
fn refuse_empty(report: &mut Report<'_>, keys: &Keys<'_, '_>, key: &'static str, count: Option<usize>) {
    if count == Some(0) {
        let place = keys.place_of(key);
        report.add(place, format!("{key} is an empty list"), "nothing would be expected: name a value");
    }
}

fn scope(report: &mut Report<'_>, keys: &mut Keys<'_, '_>, parts: &mut Vec<Part>) -> Scope {
    let mut scope = Scope::default();
    let count = keys.each_text(report, "for", |report, text, place| {
        if scope.names.len() + scope.networks.len() == MAX_SCOPE {
            let hint = "make it an asset of its own";
            return report.add(place, format!("more than {MAX_SCOPE} entries in `for`"), hint);
        }
        match networks::parse(text) {
            Ok(network) => {
                scope.networks.push(networks::unmapped(network));
                parts.push(Part { of: Of::For, what: What::Network(network), place });
            }
            Err(error @ (networks::NetworkError::HostBits { .. } | networks::NetworkError::Length(_))) => {
                report.add(place, error.to_string(), error.hint());
            }
            Err(_) => match name::parse(text) {
                Ok(name) => {
                    scope.names.push(name.clone().into_owned());
                    parts.push(Part { of: Of::For, what: What::Name(name.into_owned()), place });
                }
                Err(error) => report.add(place, error.to_string(), error.hint()),
            },
        }
    });
    refuse_empty(report, keys, "for", count);
    scope.names.sort_unstable();
    scope
}

/// Lower-case hex without separators.
fn key_id(text: &str) -> Option<String> {
    let hex = bare_hex(text);
    let valid = !hex.is_empty() && hex.len() <= 128 && hex.len().is_multiple_of(2);
    (valid && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| hex.to_ascii_lowercase())
}

/// A SHA-256 in hex, with or without separators, or in base64, also as pins are written (`sha256/…`).
fn key_hash(text: &str) -> Option<KeyHash> {
    let text = text.trim();
    let text = text.strip_prefix("sha256/").or_else(|| text.strip_prefix("sha256:")).unwrap_or(text);
    let hex = bare_hex(text);
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mut hash = KeyHash::default();
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        return Some(hash);
    }
    let decoded = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()?;
    decoded.try_into().ok()
}

fn bare_hex(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ':' | ' ' | '-')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_in_hex_or_base64() {
        let hash = [0xab; 32];
        let hex = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        let base64 = STANDARD.encode(hash);
        for text in [
            &hex,
            &colons,
            &base64,
            &format!("sha256/{base64}"),
            &format!(" {} ", base64.trim_end_matches('=')),
        ] {
            assert_eq!(key_hash(text), Some(hash), "{text}");
        }
        for text in
            ["", "abab", &hex[1..], &format!("{hex}ab"), "sha256/", "not a hash at all, whatever it may be"]
        {
            assert_eq!(key_hash(text), None, "{text}");
        }
    }

    #[test]
    fn a_scope_covers_what_lies_under_it_whatever_a_wildcard_stands_for() {
        let scope = Scope {
            names: vec!["cdn.example.com".to_owned(), "example.org".to_owned()],
            networks: vec!["10.0.0.0/8".parse().unwrap()],
        };
        for (name, covered) in [
            ("cdn.example.com", true),
            ("a.b.cdn.example.com", true),
            ("*.cdn.example.com", true),
            ("?.cdn.example.com", true),
            ("*.example.com", false),
            ("c*.example.com", false),
            ("example.com", false),
            ("xcdn.example.com", false),
            ("www.example.org", true),
            ("", false),
        ] {
            assert_eq!(scope.covers_name(name), covered, "{name}");
        }
        assert!(scope.covers_address([10, 1, 2, 3].into()) && !scope.covers_address([11, 1, 2, 3].into()));
        assert!(
            Scope::default().covers_name("example.com")
                && Scope::default().covers_address([1, 1, 1, 1].into())
        );
    }
}
