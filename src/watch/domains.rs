//! Watched names: a million of them, found by one probe a label.
//!
//! A [`NameList`] collects names as they are read; [`Domains`] is its final form: the texts one after
//! another, the entries sorted by their names read backwards, and an open-addressing table from a
//! name to the first of its entries. A name is looked up by hashing each of its suffixes that starts
//! at a label; nothing is allocated. A name with wildcard labels is looked up in the sorted entries:
//! all that lie under its literal tail are neighbours there.
//!
//! Cost: a literal name takes one probe a label, a stranger's wildcard name two. One under a domain
//! below which names are watched takes a binary search and a step for each of them: the work is
//! bounded by what the operator watches under one of his own domains. Memory: text, 12 bytes an
//! entry, 4 to 8 bytes of table, 4 to 8 bytes for each domain below which names are watched.
//!
//! Names are normalised before they come here: lower-case A-labels, no dot at the end.

use std::cmp::Ordering;
use std::hash::Hasher;

use rustc_hash::FxHasher;

/// Names as they are read.
#[derive(Clone, Default, Debug)]
pub struct NameList {
    text: String,
    entries: Vec<Entry>,
}

impl NameList {
    /// Makes room for a bulk list at once.
    pub fn reserve(&mut self, names: usize, bytes: usize) {
        self.entries.reserve(names);
        self.text.reserve(bytes);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Those that were added since there were so many, each with whether it stands for itself only.
    pub fn since(&self, count: usize) -> impl Iterator<Item = (&str, bool)> {
        let added = self.entries.get(count..).unwrap_or_default().iter();
        added.map(|entry| (&self.text[entry.start as usize..][..usize::from(entry.length)], entry.exact))
    }

    /// The name must have at most 253 bytes, and all names together at most 4 GiB: the reader of
    /// lists sees to both.
    pub fn push(&mut self, name: &str, asset: u32, exact: bool) {
        debug_assert!(name.len() <= 253 && self.text.len() + name.len() <= u32::MAX as usize);
        self.entries.push(Entry { start: self.text.len() as u32, asset, length: name.len() as u8, exact });
        self.text.push_str(name);
    }
}

/// One name of one asset. Entries of the same name stand together and share their text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    start: u32,
    pub asset: u32,
    length: u8,
    /// This name only, not what lies under it.
    pub exact: bool,
}

/// Watched names, ready to be looked up.
#[derive(Debug)]
pub struct Domains {
    text: Box<str>,
    entries: Box<[Entry]>,
    /// Per slot: 0, or the index of a name's first entry plus one, with as much of the hash above it
    /// as there is room for. Its length is a power of two.
    slots: Box<[u32]>,
    /// The bits of a slot that hold the index.
    index_mask: u32,
    /// Registrable domains below which names are watched.
    roots: Roots,
    /// Public suffixes under which names are watched, and what those lie under.
    crowns: Roots,
}

impl Domains {
    pub fn new(list: NameList) -> Domains {
        let NameList { text, entries } = list;
        let (text, entries) = sorted(&text, entries);
        let mut domains = Domains {
            text: text.into(),
            entries: entries.into(),
            slots: Box::new([]),
            index_mask: 0,
            roots: Roots::default(),
            crowns: Roots::default(),
        };
        domains.fill_slots();
        domains.roots = Roots::new(domains.names(), registrable_domains);
        domains.crowns = Roots::new(domains.names(), public_suffixes);
        domains
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The name of an entry.
    pub fn name(&self, index: usize) -> &str {
        self.name_of(&self.entries[index])
    }

    /// Hands over the index of every entry that a name is or lies under. Wildcard labels count as
    /// what they are written as.
    pub fn literal(&self, name: &str, mut found: impl FnMut(usize)) {
        if self.entries.is_empty() {
            return;
        }
        suffixes(name, |suffix| {
            if let Some(first) = self.probe(suffix) {
                for index in self.same_name(first) {
                    if suffix.len() == name.len() || !self.entries[index].exact {
                        found(index);
                    }
                }
            }
        });
    }

    /// Hands over the index of every entry that a name with wildcard labels could denote, or lie
    /// under: `*`, `f*` or `f*o` stand for one label of that form, `?` for any one label. The
    /// registrable domain of the entry must be among the literal labels.
    pub fn wildcard(&self, name: &str, mut found: impl FnMut(usize)) {
        let (head, dotted) = literal_tail(name);
        let Some(tail) = dotted.strip_prefix('.') else { return };
        // What the tail is or lies under, the name lies under. It is not exactly that name.
        self.literal(tail, |index| {
            if !self.entries[index].exact {
                found(index);
            }
        });
        // Below a stranger's domain nothing is watched. A tail that is a public suffix holds nobody's
        // registrable domain, and everybody's names lie under it.
        if !self.roots.hold_one_of(tail) || psl::domain_str(tail).is_none() {
            return;
        }
        for index in self.under(dotted) {
            let entry = &self.entries[index];
            let watched = self.name_of(entry);
            let Some(rest) = watched.strip_suffix(dotted) else { return };
            let Some(all) = denotes(head, rest) else { continue };
            let registrable = psl::domain_str(watched).is_some_and(|domain| domain.len() <= tail.len());
            if registrable && (all || !entry.exact) {
                found(index);
            }
        }
    }

    /// The index of an entry of a wanted asset that a name with wildcard labels could denote or lie
    /// under, whose registrable domain is not among the literal labels: `*.com` where `example.com` is
    /// watched. Only for names that [`wildcard`](Domains::wildcard) finds nothing for.
    ///
    /// `steps` bounds the search over all names of a message: most names cost one probe, but one such as
    /// `zq*.com` is compared with every watched name of its kind. Where they are used up, an entry counts
    /// as denoted: rather an alert too many for a name that nobody may issue than silence.
    pub fn beyond(&self, name: &str, wanted: impl Fn(u32) -> bool, steps: &mut usize) -> Option<usize> {
        let (head, dotted) = literal_tail(name);
        let tail = dotted.strip_prefix('.').unwrap_or_default();
        if !tail.is_empty() && !self.crowns.hold(hash(tail)) {
            return None;
        }
        for index in self.under(dotted) {
            let entry = &self.entries[index];
            let rest = self.name_of(entry).strip_suffix(dotted)?;
            if *steps == 0 {
                return Some(index);
            }
            *steps -= 1;
            // With its registrable domain among the literal labels it is one asset's, who may except it.
            let beyond = |watched| psl::domain_str(watched).is_none_or(|domain| domain.len() > tail.len());
            if let Some(all) = denotes(head, rest)
                && (all || !entry.exact)
                && wanted(entry.asset)
                && beyond(self.name_of(entry))
            {
                return Some(index);
            }
        }
        None
    }

    /// Whether a name lies under an entry of an asset whatever its wildcard labels stand for, or is
    /// one.
    pub fn holds(&self, name: &str, asset: u32) -> bool {
        let (_, tail) = literal_tail(name);
        let mut held = false;
        self.literal(tail, |index| held |= self.entries[index].asset == asset);
        held
    }

    /// The entries of exactly this name, as indexes.
    pub(super) fn exactly(&self, name: &str) -> std::ops::Range<usize> {
        self.probe(name).map_or(0..0, |first| self.same_name(first))
    }

    /// The entries whose names lie under this one, as indexes; none of the name itself.
    pub(super) fn below<'a>(&'a self, name: &str) -> impl Iterator<Item = usize> + use<'a> {
        let dotted = format!(".{name}");
        self.under(&dotted).take_while(move |index| self.name(*index).ends_with(&dotted))
    }

    /// The entries from the first on whose name ends so; those that do are neighbours.
    fn under(&self, dotted: &str) -> std::ops::Range<usize> {
        let from = self.entries.partition_point(|entry| {
            backwards(self.name_of(entry).as_bytes(), dotted.as_bytes()) == Ordering::Less
        });
        from..self.entries.len()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| self.name_of(entry))
    }

    fn name_of(&self, entry: &Entry) -> &str {
        &self.text[entry.start as usize..entry.start as usize + usize::from(entry.length)]
    }

    fn same_name(&self, first: usize) -> std::ops::Range<usize> {
        let start = self.entries[first].start;
        let more = self.entries[first..].iter().take_while(|entry| entry.start == start).count();
        first..first + more
    }

    /// The first entry of exactly this name.
    fn probe(&self, name: &str) -> Option<usize> {
        let hash = hash(name);
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32 & !self.index_mask;
        let mut slot = hash as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return None,
                value if value & !self.index_mask == tag => {
                    let index = (value & self.index_mask) as usize - 1;
                    if self.name(index) == name {
                        return Some(index);
                    }
                }
                _ => {}
            }
            slot = (slot + 1) & mask;
        }
    }

    fn fill_slots(&mut self) {
        // At most three quarters full: with more, runs of full slots grow long.
        let size = (self.entries.len() * 4 / 3 + 1).next_power_of_two();
        let mask = size - 1;
        self.index_mask = u32::MAX >> (self.entries.len() as u32 + 1).leading_zeros();
        let mut slots = vec![0u32; size].into_boxed_slice();
        let mut index = 0;
        while index < self.entries.len() {
            let hash = hash(self.name(index));
            let mut slot = hash as usize & mask;
            while slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = ((hash >> 32) as u32 & !self.index_mask) | (index as u32 + 1);
            index = self.same_name(index).end;
        }
        self.slots = slots;
    }
}

/// A watched name has no more bytes.
const LONGEST: usize = 253;

/// A set of names, as hashes only: a stranger's name seldom passes, and what passes is looked up.
#[derive(Debug, Default)]
struct Roots {
    /// 0, or the upper half of a hash. Its length is 0 or a power of two.
    slots: Box<[u32]>,
}

/// Hands over the registrable domain of a watched name below it.
fn registrable_domains(name: &str, take: &mut dyn FnMut(&str)) {
    // Two labels have nothing below their registrable domain.
    if name.bytes().filter(|byte| *byte == b'.').count() >= 2
        && let Some(root) = psl::domain_str(name)
        && root.len() < name.len()
    {
        take(root);
    }
}

/// Hands over a watched name's public suffix and what that lies under: `co.uk` and `uk`.
fn public_suffixes(name: &str, take: &mut dyn FnMut(&str)) {
    let mut rest = psl::suffix_str(name);
    while let Some(suffix) = rest {
        take(suffix);
        rest = suffix.split_once('.').map(|(_, parent)| parent);
    }
}

impl Roots {
    /// Of what `of` makes of names in which those of one domain are neighbours.
    fn new<'a>(names: impl Iterator<Item = &'a str>, of: impl Fn(&'a str, &mut dyn FnMut(&str))) -> Roots {
        let mut hashes: Vec<u64> = Vec::new();
        for name in names {
            // A name's own come in a row; the last few say whether they are there.
            of(name, &mut |root| {
                let hash = hash(root);
                if !hashes.iter().rev().take(4).any(|known| *known == hash) {
                    hashes.push(hash);
                }
            });
        }
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() {
            return Roots::default();
        }
        let size = (hashes.len() * 4 / 3 + 1).next_power_of_two();
        let mut slots = vec![0u32; size].into_boxed_slice();
        for hash in hashes {
            let mut slot = hash as usize & (size - 1);
            while slots[slot] != 0 && slots[slot] != Roots::tag(hash) {
                slot = (slot + 1) & (size - 1);
            }
            slots[slot] = Roots::tag(hash);
        }
        Roots { slots }
    }

    /// Whether a name is or lies under one of them; now and then also when it does not.
    fn hold_one_of(&self, name: &str) -> bool {
        let mut held = false;
        suffixes(name, |suffix| held |= self.hold(hash(suffix)));
        held
    }

    fn hold(&self, hash: u64) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 {
            if self.slots[slot] == Roots::tag(hash) {
                return true;
            }
            slot = (slot + 1) & mask;
        }
        false
    }

    fn tag(hash: u64) -> u32 {
        (hash >> 32) as u32 | 1
    }
}

/// Hands over each suffix of a name that starts at a label and has at least two: no watched name has
/// fewer. The shortest comes first.
fn suffixes<'a>(name: &'a str, mut take: impl FnMut(&'a str)) {
    let mut dots = 0;
    // With the dot in front of it. Of a longer name only so much can be watched.
    let from = name.len().saturating_sub(LONGEST + 1);
    for (at, byte) in name.as_bytes()[from..].iter().enumerate().rev() {
        if *byte == b'.' {
            dots += 1;
            if dots > 1 {
                take(&name[from + at + 1..]);
            }
        }
    }
    if dots > 0 && from == 0 {
        take(name);
    }
}

/// Whether a name has a wildcard label, whole or partial, or one that could not be parsed.
pub fn is_wild(name: &str) -> bool {
    memchr::memchr2(b'*', b'?', name.as_bytes()).is_some()
}

/// Splits a name behind its last wildcard label. The tail begins with a dot, unless it is empty or
/// the whole name.
pub(super) fn literal_tail(name: &str) -> (&str, &str) {
    let Some(wild) = memchr::memrchr2(b'*', b'?', name.as_bytes()) else { return ("", name) };
    name.split_at(name[wild..].find('.').map_or(name.len(), |dot| wild + dot))
}

/// Matches the labels of a watched name's rest against those of a pattern, from the right: `None`
/// where one differs or the rest has more labels; else whether all labels of the pattern were used.
fn denotes(pattern: &str, rest: &str) -> Option<bool> {
    let mut labels = pattern.rsplit('.');
    for watched in rest.rsplit('.') {
        let label = labels.next()?;
        if !label.contains('?') && !glob(label.as_bytes(), watched.as_bytes()) {
            return None;
        }
    }
    Some(labels.next().is_none())
}

/// `*` stands for any bytes. Linear but for the last star's retries: at most 63 bytes each.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, from)) = retry {
            retry = Some((after, from + 1));
            (p, t) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn hash(name: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// Sorts by the names read backwards, merges what is the same, and lets equal names share their text.
fn sorted(text: &str, entries: Vec<Entry>) -> (String, Vec<Entry>) {
    let bytes = |entry: &Entry| &text.as_bytes()[entry.start as usize..][..usize::from(entry.length)];
    // The last eight bytes beside the entry: most comparisons end with them, in cache.
    let mut keyed: Vec<(u64, Entry)> =
        entries.into_iter().map(|entry| (last_eight(bytes(&entry)), entry)).collect();
    keyed.sort_unstable_by(|(a_key, a), (b_key, b)| {
        a_key
            .cmp(b_key)
            .then_with(|| backwards(bytes(a), bytes(b)))
            .then(a.asset.cmp(&b.asset))
            .then(a.exact.cmp(&b.exact))
    });
    let mut kept_text = String::with_capacity(text.len());
    let mut kept: Vec<Entry> = Vec::with_capacity(keyed.len());
    let mut last: &[u8] = &[];
    for (_, entry) in keyed {
        let name = bytes(&entry);
        let mut moved = entry;
        if name == last
            && let Some(before) = kept.last()
        {
            moved.start = before.start;
            if moved == *before {
                continue;
            }
        } else {
            moved.start = kept_text.len() as u32;
            kept_text.push_str(&text[entry.start as usize..][..usize::from(entry.length)]);
            last = name;
        }
        kept.push(moved);
    }
    kept_text.shrink_to_fit();
    kept.shrink_to_fit();
    (kept_text, kept)
}

/// Orders by the bytes read from the end.
fn backwards(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let order = last_eight(a).cmp(&last_eight(b));
        if order != Ordering::Equal || a.len() <= 8 || b.len() <= 8 {
            return order.then(a.len().cmp(&b.len()));
        }
        a = &a[..a.len() - 8];
        b = &b[..b.len() - 8];
    }
}

/// The last eight bytes as a number whose order is that of the bytes read from the end.
fn last_eight(name: &[u8]) -> u64 {
    match name.last_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => name
            .iter()
            .rev()
            .zip(1..)
            .fold(0, |key, (byte, place)| key | u64::from(*byte) << (64 - 8 * place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_their_ends() {
        let names = [
            "",
            "a",
            "ba",
            "a-a",
            "a.a",
            "example.com",
            "x.example.com",
            "xexample.com",
            "example.org",
            "m",
            "om",
        ];
        for a in names {
            for b in names {
                let expected = a.bytes().rev().cmp(b.bytes().rev());
                assert_eq!(backwards(a.as_bytes(), b.as_bytes()), expected, "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_star_stands_for_any_bytes() {
        for (pattern, text, expected) in [
            ("*", "foo", true),
            ("f*", "foo", true),
            ("f*", "f", true),
            ("f*", "bar", false),
            ("*o", "foo", true),
            ("*x", "foo", false),
            ("f*o", "fo", true),
            ("f*o", "f", false),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
            ("**", "x", true),
            ("foo", "foo", true),
            ("foo", "fo", false),
            ("fo", "foo", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn equal_names_share_their_text() {
        let mut list = NameList::default();
        for (name, asset, exact) in [
            ("b.example", 1, false),
            ("a.example", 0, false),
            ("b.example", 0, false),
            ("b.example", 1, false),
            ("b.example", 1, true),
        ] {
            list.push(name, asset, exact);
        }
        let domains = Domains::new(list);
        assert_eq!(&*domains.text, "a.exampleb.example");
        assert_eq!(domains.entries().len(), 4);
        let mut found = Vec::new();
        domains.literal("b.example", |index| {
            found.push((domains.entries()[index].asset, domains.entries()[index].exact))
        });
        assert_eq!(found, [(0, false), (1, false), (1, true)]);
    }

    #[test]
    fn every_name_of_a_large_list_is_found_and_no_other() {
        let mut list = NameList::default();
        (0..20_000).for_each(|n| list.push(&format!("name-{n}.example{}.com", n % 7), n, false));
        let domains = Domains::new(list);
        for n in 0..20_000 {
            let mut found = Vec::new();
            domains.literal(&format!("www.name-{n}.example{}.com", n % 7), |index| {
                found.push(domains.entries()[index].asset)
            });
            assert_eq!(found, [n]);
            domains.literal(&format!("xname-{n}.example{}.com", n % 7), |index| {
                panic!("{}", domains.name(index))
            });
        }
    }
}
