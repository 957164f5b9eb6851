//! The names and addresses of one entry, each with where it came from.
//!
//! All text lies in one arena, so that a worker's [`Identities`] is filled anew for every message
//! without an allocation and copied whole, in three allocations, for an entry that matches. Bounded by
//! the message: every identity was bytes of it, and what stands for a name once yields one for each four
//! of its bytes at most.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHasher;

use super::anomaly::{Anomalies, Anomaly};

/// A name of the text is looked for among so many of those read before: it stands there in the same
/// order, but for a common name in front or an address in between.
const LOOK_AHEAD: usize = 4;

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
    /// Behind its tag in bytes that could not be decoded.
    Raw,
}

impl Provenance {
    pub fn label(self) -> &'static str {
        match self {
            Provenance::SanDns => "san.dns",
            Provenance::SanIp => "san.ip",
            Provenance::TextSan => "text.san",
            Provenance::CommonName => "cn",
            Provenance::TextDomains => "text.domains",
            Provenance::Raw => "raw",
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
    /// An iPAddress that was written as address and mask, as a whole.
    Network(IpNet),
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
    /// The text has it, too or alone.
    in_text: bool,
    /// All that its raw form denotes: what is written so is this, wherever it stands.
    alone: bool,
    /// Another identity has the value, and says more.
    repeated: bool,
}

/// All identities of one entry.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Identities {
    arena: String,
    list: Vec<Identity>,
    /// Room for [`settle`](Identities::settle), empty outside it: hashes of values, and places in `list`.
    order: Vec<(u64, u32)>,
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

    /// There are some, and each stands in the DER.
    pub(super) fn are_of_der(&self) -> bool {
        !self.list.is_empty() && self.list.iter().all(|identity| identity.der)
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
            Value::Network(network) => network.to_string(),
        }
    }

    /// Takes over identities of others, as they are. Returns the index of the first.
    pub(super) fn take(&mut self, others: &Identities) -> usize {
        let first = self.list.len();
        let base = self.arena.len() as u32;
        self.arena.push_str(&others.arena);
        let moved = |span: Span| Span { start: span.start + base, end: span.end + base };
        self.list.extend(others.list.iter().map(|identity| Identity {
            raw: moved(identity.raw),
            value: match identity.value {
                Value::Name { ascii, unicode } => {
                    Value::Name { ascii: moved(ascii), unicode: unicode.map(moved) }
                }
                Value::Address(_) | Value::Network(_) => identity.value,
            },
            ..*identity
        }));
        first
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
        self.list.push(Identity {
            value,
            provenance,
            anomalies,
            contradicted: false,
            raw,
            der,
            in_text: !der,
            alone: false,
            repeated: false,
        });
    }

    /// Says that the last one added is all that its raw form denotes, and that without an anomaly.
    pub(super) fn last_stands_alone(&mut self) {
        if let Some(last) = self.list.last_mut() {
            last.alone = true;
        }
    }

    /// Whether a name of the text is written as one that was read before, which is then marked as being in
    /// the text: most names stand in a message three times. `next` is where to look, and moves on.
    pub(super) fn meet(&mut self, raw: &str, next: &mut usize) -> bool {
        for at in *next..self.list.len().min(*next + LOOK_AHEAD) {
            let known = self.list[at];
            if known.alone && self.text(known.raw) == raw {
                self.list[at].in_text = true;
                *next = at + 1;
                return true;
            }
        }
        false
    }

    /// Each value once, from the place that says most: the DER before the text, an address where clients
    /// look for one before the same in a name's place, a SAN before a common name. With DER, what only
    /// the text has is kept and marked. `text_has_san`: the text claims to list the whole SAN, so that an
    /// entry of the DER's which it lacks is a disagreement too.
    ///
    /// Returns whether DER and text disagree.
    pub(super) fn settle(&mut self, has_der: bool, text_has_san: bool) -> bool {
        let mut order = std::mem::take(&mut self.order);
        order.extend((0..).zip(&self.list).map(|(i, identity)| (self.hash(&identity.value), i)));
        let one = |i: u32| &self.list[i as usize];
        // Equal ones stand together, the best one first. Different values seldom have one hash.
        order.sort_unstable_by(|(h, a), (k, b)| {
            h.cmp(k).then_with(|| {
                let (x, y) = (one(*a), one(*b));
                compare(&self.arena, &x.value, &y.value)
                    .then(y.der.cmp(&x.der))
                    .then(x.is_demoted().cmp(&y.is_demoted()))
                    .then(x.provenance.cmp(&y.provenance))
                    .then(a.cmp(b))
            })
        });
        let mut disagree = false;
        let mut rest = order.as_slice();
        while let Some((&(hash, best), others)) = rest.split_first() {
            let best = best as usize;
            let value = self.list[best].value;
            let mut repeats = 0;
            for (_, other) in others.iter().take_while(|(other, _)| *other == hash) {
                let other = &mut self.list[*other as usize];
                if compare(&self.arena, &other.value, &value).is_ne() {
                    break;
                }
                other.repeated = true;
                let in_text = other.in_text;
                self.list[best].in_text |= in_text;
                repeats += 1;
            }
            rest = &others[repeats..];
            let best = &mut self.list[best];
            if has_der && !best.der {
                best.contradicted = true;
                disagree = true;
            } else if has_der && text_has_san && !best.in_text {
                disagree |= best.provenance != Provenance::CommonName;
            }
        }
        order.clear();
        self.order = order;
        self.list.retain(|identity| !identity.repeated);
        disagree
    }

    fn hash(&self, value: &Value) -> u64 {
        let mut hasher = FxHasher::default();
        match value {
            Value::Name { ascii, .. } => hasher.write(self.text(*ascii).as_bytes()),
            Value::Address(address) => address.hash(&mut hasher),
            Value::Network(network) => network.hash(&mut hasher),
        }
        hasher.finish()
    }
}

fn compare(arena: &str, a: &Value, b: &Value) -> Ordering {
    let text = |span: &Span| arena.get(span.start as usize..span.end as usize).unwrap_or("");
    match (a, b) {
        (Value::Name { ascii: a, .. }, Value::Name { ascii: b, .. }) => text(a).cmp(text(b)),
        (Value::Address(a), Value::Address(b)) => a.cmp(b),
        (Value::Network(a), Value::Network(b)) => a.cmp(b),
        (Value::Name { .. }, _) | (Value::Address(_), Value::Network(_)) => Ordering::Less,
        (Value::Network(_), _) | (Value::Address(_), Value::Name { .. }) => Ordering::Greater,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::name::{Place, read};

    type Settled = Vec<(String, Provenance, Anomalies, bool)>;

    /// The names of the DER, of its common name and of the text, read one after another. `meet`: those
    /// that were read before are not read again.
    fn settled(names: &[(&str, Provenance, bool)], meet: bool, has_der: bool) -> (Settled, bool) {
        let mut identities = Identities::default();
        let (mut next, mut before) = (0, None);
        for (name, provenance, der) in names {
            if before.replace(*provenance) != Some(*provenance) {
                next = 0;
            }
            if *der || !meet || !identities.meet(name, &mut next) {
                read(name.as_bytes(), Place { provenance: *provenance, der: *der }, &mut identities);
            }
        }
        let disagree = identities.settle(has_der, true);
        let all = identities.iter();
        let all = all.map(|i| (identities.value(i), i.provenance, i.anomalies, i.contradicted)).collect();
        (all, disagree)
    }

    const NAMES: [&str; 9] = [
        "a.example",
        "b.example",
        "A.example",
        "*.b.example",
        "1.1.1.1",
        "1.1.1.1.in-addr.arpa",
        "xn--bcher-kva.example",
        "a b.example",
        "c.example",
    ];

    proptest! {
        #[test]
        fn not_to_read_a_name_again_changes_nothing(
            der in proptest::collection::vec(0..NAMES.len(), 0..6),
            san in proptest::collection::vec(0..NAMES.len(), 0..6),
            rest in proptest::collection::vec(0..NAMES.len(), 0..8),
            cn in proptest::option::of(0..NAMES.len()),
            text_cn in proptest::option::of(0..NAMES.len()),
            has_der: bool,
        ) {
            let of = |list: &[usize], provenance, der| -> Vec<_> {
                list.iter().map(|i| (NAMES[*i], provenance, der)).collect()
            };
            let names = [
                of(cn.as_slice(), Provenance::CommonName, true),
                of(&der, Provenance::SanDns, true),
                of(&san, Provenance::TextSan, false),
                of(text_cn.as_slice(), Provenance::CommonName, false),
                of(&rest, Provenance::TextDomains, false),
            ]
            .concat();
            prop_assert_eq!(settled(&names, true, has_der), settled(&names, false, has_der));
        }
    }

    #[test]
    fn each_value_once_and_from_the_place_that_says_most() {
        use Provenance as P;
        for (names, want, disagree) in [
            (
                &[("a.example", P::SanDns, true), ("a.example", P::TextSan, false)][..],
                "san.dns a.example",
                false,
            ),
            (
                &[
                    ("a.example", P::CommonName, true),
                    ("a.example", P::SanDns, true),
                    ("A.example", P::TextSan, false),
                ],
                "san.dns a.example",
                false,
            ),
            (
                &[
                    ("a.example", P::SanDns, true),
                    ("b.example", P::SanDns, true),
                    ("a.example", P::TextSan, false),
                ],
                "san.dns a.example, san.dns b.example",
                true,
            ),
            (
                &[
                    ("a.example", P::SanDns, true),
                    ("a.example", P::TextSan, false),
                    ("b.example", P::TextDomains, false),
                ],
                "san.dns a.example, text.domains b.example!",
                true,
            ),
            (&[("a.example", P::CommonName, true)], "cn a.example", false),
        ] {
            for meet in [true, false] {
                let (found, got) = settled(names, meet, true);
                let found: Vec<_> = found
                    .iter()
                    .map(|(value, from, _, contradicted)| {
                        format!("{} {value}{}", from.label(), if *contradicted { "!" } else { "" })
                    })
                    .collect();
                assert_eq!((found.join(", ").as_str(), got), (want, disagree), "{names:?}");
            }
        }
    }
}
