//! One answer's worth of a log's entries, as bytes that belong to it, lent leaf by leaf.
//!
//! A [`Fetch`] is one buffer and where each leaf lies in it: no leaf costs an allocation. [`Fetch::leaves`] lends
//! them as the sieve takes them. A leaf of a static-ct log names the certificates above it by fingerprint;
//! those that are at hand in [`Issuers`] come with it, the others are left out.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::server::LogError;
use crate::entry::chain::MAX_CERTIFICATES;
use crate::entry::leaf::{Fetched, Form, Leaf};

/// SHA-256 of a certificate's DER.
pub type Fingerprint = [u8; 32];

/// Consecutive entries of one log; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    first: u64,
    kind: Kind,
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Rfc6962,
    Tile,
}

/// Where a leaf lies. Behind `middle` stands what a log of RFC 6962 gives beside it. An answer has at most some
/// megabytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub start: u32,
    pub middle: u32,
    pub end: u32,
}

impl Fetch {
    pub(super) fn new(first: u64, kind: Kind, bytes: Vec<u8>, spans: Vec<Span>) -> Fetch {
        Fetch { first, kind, bytes, spans }
    }

    /// Index of the first entry.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Index behind the last entry.
    pub fn end(&self) -> u64 {
        self.first + self.spans.len() as u64
    }

    pub fn entries(&self) -> usize {
        self.spans.len()
    }

    /// Bytes that it keeps.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + size_of_val(self.spans.as_slice())
    }

    /// The certificates that its leaves name and do not hold, each once; of one leaf the first
    /// [`MAX_CERTIFICATES`]. Empty for a log of RFC 6962.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let mut all: Vec<Fingerprint> = Vec::new();
        for n in 0..self.spans.len() {
            all.extend(self.named_by(n));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Its leaves, each with those certificates above it that are at hand.
    pub fn leaves<'a>(&'a self, issuers: &'a Issuers) -> Leaves<'a> {
        let mut leaves = Leaves { fetch: self, chains: Vec::new(), ends: Vec::new() };
        if !issuers.at_hand.is_empty() {
            for n in 0..self.spans.len() {
                let at_hand = self.named_by(n).filter_map(|named| issuers.get(named));
                leaves.chains.extend(at_hand);
                leaves.ends.push(leaves.chains.len());
            }
        }
        leaves
    }

    fn named_by(&self, n: usize) -> impl Iterator<Item = &Fingerprint> {
        let fetched = Fetched { log: "", log_name: None, index: 0, form: self.form(n, &[]) };
        Leaf::read(fetched).fingerprints().take(MAX_CERTIFICATES)
    }

    fn form<'a>(&'a self, n: usize, issuers: &'a [&'a [u8]]) -> Form<'a> {
        let Span { start, middle, end } = self.spans[n];
        let (leaf, extra) = self.bytes[start as usize..end as usize].split_at((middle - start) as usize);
        match self.kind {
            Kind::Rfc6962 => Form::Rfc6962 { input: leaf, extra },
            Kind::Tile => Form::Tile { leaf, issuers },
        }
    }
}

/// The leaves of a [`Fetch`].
#[derive(Clone, Debug)]
pub struct Leaves<'a> {
    fetch: &'a Fetch,
    /// The chains of all leaves, one behind the other.
    chains: Vec<&'a [u8]>,
    /// Where each leaf's chain ends; empty where no certificate is at hand.
    ends: Vec<usize>,
}

impl Leaves<'_> {
    /// Each with its index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, Form<'_>)> {
        (0..self.fetch.spans.len()).map(|n| (self.fetch.first + n as u64, self.fetch.form(n, self.chain(n))))
    }

    fn chain(&self, n: usize) -> &[&[u8]] {
        let end = self.ends.get(n).copied().unwrap_or(0);
        let start = n.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(0));
        &self.chains[start..end]
    }
}

/// Certificates at hand, each by its hash.
#[derive(Clone, Debug, Default)]
pub struct Issuers {
    pub(super) at_hand: FxHashMap<Fingerprint, Arc<[u8]>>,
    /// Certificates that were wanted and are not at hand.
    pub missing: usize,
    /// Why the first of them is not, if it was asked for now.
    pub error: Option<LogError>,
}

impl Issuers {
    pub fn get(&self, fingerprint: &Fingerprint) -> Option<&[u8]> {
        self.at_hand.get(fingerprint).map(AsRef::as_ref)
    }
}
