//! The names and addresses of one entry, each with where it came from.
//!
//! All text lies in one arena, so that a worker's [`Identities`] is filled anew for every message
//! without an allocation and copied whole, in three allocations, for an entry that matches. Bounded by
//! the message: every identity was bytes of it, and a name yields at most
//! [`MAX_PARTS`](super::name::MAX_PARTS) identities.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::anomaly::{Anomalies, Anomaly};

/// Where an identity stood; the label is `certsieve.matches.source`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Provenance {
    /// dNSName, in the DER.
    SanDns,
    /// iPAddress, in the DER.
    SanIp,
    /// `extensions.subjectAltName` of the message.
    TextSan,
    /// Common name of the subject, in the DER or in the message.
    CommonName,
    /// `all_domains`, or the name list of a domains-only stream.
    TextDomains,
}

impl Provenance {
    pub fn label(self) -> &'static str {
        match self {
            Provenance::SanDns => "san.dns",
            Provenance::SanIp => "san.ip",
            Provenance::TextSan => "text.san",
            Provenance::CommonName => "cn",
            Provenance::TextDomains => "text.domains",
        }
    }
}

/// A range of the arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

/// What the identity is, normalised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// Lower-case A-labels; a wildcard label keeps its `*`, a label that is none is `?`. `unicode` is
    /// there where U-labels differ.
    Name { ascii: Span, unicode: Option<Span> },
    /// `::ffff:a.b.c.d` is `a.b.c.d`.
    Address(IpAddr),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub value: Value,
    pub provenance: Provenance,
    pub anomalies: Anomalies,
    /// Only the text has it, and the DER, which decides, does not.
    pub contradicted: bool,
    raw: Span,
    /// From the DER rather than from the text.
    der: bool,
}

/// All identities of one entry.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Identities {
    arena: String,
    list: Vec<Identity>,
}

impl Identities {
    pub fn clear(&mut self) {
        self.arena.clear();
        self.list.clear();
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Identity> {
        self.list.iter()
    }

    pub fn get(&self, index: usize) -> Option<&Identity> {
        self.list.get(index)
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        self.arena.capacity() + self.list.capacity() * size_of::<Identity>()
    }

    pub fn text(&self, span: Span) -> &str {
        self.arena.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// As the certificate or the message wrote it; bytes that are no UTF-8 are read as Latin-1.
    pub fn raw(&self, identity: &Identity) -> &str {
        self.text(identity.raw)
    }

    /// The normalised form as records write it.
    pub fn value(&self, identity: &Identity) -> String {
        match identity.value {
            Value::Name { ascii, .. } => self.text(ascii).to_owned(),
            Value::Address(address) => address.to_string(),
        }
    }

    /// Keeps `text` in the arena.
    pub(super) fn keep(&mut self, text: &str) -> Span {
        let start = self.arena.len() as u32;
        self.arena.push_str(text);
        Span { start, end: self.arena.len() as u32 }
    }

    /// Keeps `text` in the arena in lower case, which must be ASCII.
    pub(super) fn keep_lower(&mut self, text: &str) -> Span {
        let span = self.keep(text);
        self.arena[span.start as usize..].make_ascii_lowercase();
        span
    }

    pub(super) fn push(
        &mut self,
        value: Value,
        provenance: Provenance,
        raw: Span,
        der: bool,
        anomalies: Anomalies,
    ) {
        self.list.push(Identity { value, provenance, anomalies, contradicted: false, raw, der });
    }

    /// Each value once, from the place that says most: the DER before the text, an address where clients
    /// look for one before the same in a name's place, a SAN before a common name. With DER, what only the text has is kept and marked. `text_has_san`: the text claims to list
    /// the whole SAN, so that an entry of the DER's which it lacks is a disagreement too.
    ///
    /// Returns whether DER and text disagree.
    pub(super) fn settle(&mut self, has_der: bool, text_has_san: bool) -> bool {
        let arena = &self.arena;
        let mut order: Vec<u32> = (0..self.list.len() as u32).collect();
        let list = &self.list;
        let key = |i: &u32| &list[*i as usize];
        order.sort_by(|a, b| {
            let (x, y) = (key(a), key(b));
            compare(arena, &x.value, &y.value)
                .then(y.der.cmp(&x.der))
                .then(x.is_demoted().cmp(&y.is_demoted()))
                .then(x.provenance.cmp(&y.provenance))
                .then(a.cmp(b))
        });
        let mut keep = vec![false; self.list.len()];
        let mut disagree = false;
        let mut contradicted = Vec::new();
        for group in order.chunk_by(|a, b| compare(arena, &key(a).value, &key(b).value).is_eq()) {
            let best = group[0] as usize;
            keep[best] = true;
            if !has_der {
                continue;
            }
            let of_der = list[best].der;
            let of_text = group.iter().any(|i| !key(i).der);
            if !of_der {
                contradicted.push(best);
                disagree = true;
            } else if text_has_san && !of_text && list[best].provenance != Provenance::CommonName {
                disagree = true;
            }
        }
        for i in contradicted {
            self.list[i].contradicted = true;
        }
        let mut kept = keep.into_iter();
        self.list.retain(|_| kept.next().unwrap_or(false));
        disagree
    }
}

fn compare(arena: &str, a: &Value, b: &Value) -> Ordering {
    let text = |span: &Span| arena.get(span.start as usize..span.end as usize).unwrap_or("");
    match (a, b) {
        (Value::Name { ascii: a, .. }, Value::Name { ascii: b, .. }) => text(a).cmp(text(b)),
        (Value::Address(a), Value::Address(b)) => a.cmp(b),
        (Value::Name { .. }, Value::Address(_)) => Ordering::Less,
        (Value::Address(_), Value::Name { .. }) => Ordering::Greater,
    }
}

impl Identity {
    /// An address that clients would not find: it must not stand for the same one in its proper place.
    fn is_demoted(&self) -> bool {
        self.is_misplaced_address() || self.anomalies.has(Anomaly::IpLength)
    }

    /// An address that stands where a name belongs.
    pub fn is_misplaced_address(&self) -> bool {
        self.anomalies.has(Anomaly::IpInDns) || self.anomalies.has(Anomaly::IpInCommonName)
    }
}
