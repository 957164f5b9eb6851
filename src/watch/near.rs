//! What nearly matches an identity, and why it does not: for people who wonder about their watch list.
//!
//! A name that matches nothing is often one that its owner believed to watch: the list has the name below
//! it, or that name alone, or takes it out again. [`Matcher::near`] finds such entries of assets that do not
//! own the identity, and says of each what is missing. It decides nothing: only the matcher matches.
//!
//! Pure. Bounds: names of at most [`MAX_NAME`] bytes, [`MAX_NEAR`] answers, [`MAX_OF_A_KIND`] of them of
//! one kind, [`MAX_STEPS`] entries looked at below a name. Cost: some thousands of look-ups for a long name,
//! two for each length of a prefix for an address; nothing that a feed should pay.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Hit, MatchKind, Matcher, domains};
use crate::entry::{Identities, Identity, Value};

/// A longer name is none, and would cost the square of its length.
pub const MAX_NAME: usize = 253;
/// More than a person reads.
pub const MAX_NEAR: usize = 12;
/// Of a thousand watched names under one domain a few show what is meant.
pub const MAX_OF_A_KIND: usize = 3;
/// Watched names looked at below one name.
pub const MAX_STEPS: usize = 1_000;
/// Networks of shorter prefixes are beside half the world.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 20;

/// One entry of the list that an identity misses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NearMiss {
    /// Index into the list's assets.
    pub asset: u32,
    pub kind: MatchKind,
    /// The text of the entry.
    pub pattern: String,
    pub why: Why,
}

/// What is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The asset takes it out, by this entry of `except`.
    Excepted(String),
    /// It lies under a name that is watched alone.
    BelowExact,
    /// What is watched lies under it, by so many labels.
    Above(usize),
    /// Both lie under this registrable domain.
    Beside(String),
    /// Its wildcard stands for one label, and what is watched has none there, or more.
    Wildcard,
    /// It ends in what is watched, but not at a dot.
    NoBoundary,
    /// What is watched stands in it, and the name goes on with this.
    GoesOn(String),
    /// The keyword stands in a name that the asset owns.
    OwnName,
    /// The keyword would stand in it without its hyphens.
    Hyphens,
    /// It lies in the network of this one's size next to it.
    NextNetwork,
}

impl Why {
    /// Stable, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Why::Excepted(_) => "excepted",
            Why::BelowExact => "below_exact",
            Why::Above(_) => "above",
            Why::Beside(_) => "beside",
            Why::Wildcard => "wildcard",
            Why::NoBoundary => "no_boundary",
            Why::GoesOn(_) => "goes_on",
            Why::OwnName => "own_name",
            Why::Hyphens => "hyphens",
            Why::NextNetwork => "next_network",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Excepted(by) => write!(f, "the asset takes it out: `except` has {by}"),
            Why::BelowExact => f.write_str("`exact` watches that name alone, and this one lies under it"),
            Why::Above(1) => f.write_str("it is one label short: what is watched lies under it"),
            Why::Above(labels) => write!(f, "it is {labels} labels short: what is watched lies under it"),
            Why::Beside(domain) => write!(f, "both lie under {domain}, neither under the other"),
            Why::Wildcard => {
                f.write_str("a wildcard stands for exactly one label, and so not for what is watched")
            }
            Why::NoBoundary => f.write_str("it ends in what is watched, but not at a dot: another domain"),
            Why::GoesOn(rest) => {
                write!(f, "what is watched stands in it, but it goes on with {rest}: another domain")
            }
            Why::OwnName => f.write_str("the keyword stands in it, but the name is the asset's own"),
            Why::Hyphens => f.write_str("the keyword would stand in it if it had no hyphens"),
            Why::NextNetwork => f.write_str("it lies in the next network of that size, not in this one"),
        }
    }
}

impl Matcher {
    /// What an identity nearly matches; `hits` are its own.
    pub fn near(&self, identities: &Identities, identity: &Identity, hits: &[Hit]) -> Vec<NearMiss> {
        let mut search = Search { matcher: self, hits, found: Vec::new() };
        match identity.value {
            Value::Name { ascii, unicode } => {
                let ascii = identities.text(ascii);
                if ascii.len() <= MAX_NAME {
                    search.name(ascii);
                    search.keywords(ascii, unicode.map(|span| identities.text(span)));
                }
            }
            Value::Address(address) => search.address(address),
            // Its address stands beside it.
            Value::Network(_) => {}
        }
        search.found
    }
}

struct Search<'a> {
    matcher: &'a Matcher,
    hits: &'a [Hit],
    found: Vec<NearMiss>,
}

impl Search<'_> {
    fn name(&mut self, name: &str) {
        let domains = &self.matcher.domains;
        let mut entries = Vec::new();
        if domains::is_wild(name) {
            domains.wildcard(name, |index| entries.push(index));
        } else {
            domains.literal(name, |index| entries.push(index));
        }
        for index in entries.drain(..) {
            let asset = domains.entries()[index].asset;
            if let Some(by) = self.excepts_name(name, asset) {
                self.domain(index, Why::Excepted(by));
            }
        }
        let (_, tail) = domains::literal_tail(name);
        let is_wild = tail.len() < name.len();
        let tail = tail.trim_start_matches('.');
        let domain = psl::domain_str(tail).unwrap_or_default();
        if is_wild {
            if !domain.is_empty() {
                let of_tail = domains.exactly(tail).chain(domains.below(tail).take(MAX_STEPS));
                of_tail.for_each(|index| self.domain(index, Why::Wildcard));
            }
        } else {
            for (dot, _) in name.match_indices('.') {
                for index in domains.exactly(&name[dot + 1..]) {
                    self.domain(index, Why::BelowExact);
                }
            }
            if !domain.is_empty() {
                for index in domains.below(name).take(MAX_STEPS) {
                    let watched = domains.name(index);
                    let more = &watched[..watched.len() - name.len()];
                    self.domain(index, Why::Above(more.matches('.').count()));
                }
            }
            self.look_alikes(name);
        }
        if !domain.is_empty() {
            for index in domains.below(domain).take(MAX_STEPS) {
                self.domain(index, Why::Beside(domain.to_owned()));
            }
        }
    }

    /// Names that hold a watched one where it does not count.
    fn look_alikes(&mut self, name: &str) {
        let domains = &self.matcher.domains;
        let bytes = name.as_bytes();
        for at in 1..name.len() {
            if bytes[at - 1] == b'.' || bytes[at] == b'.' || !name.is_char_boundary(at) {
                continue;
            }
            for index in domains.exactly(&name[at..]) {
                self.domain(index, Why::NoBoundary);
            }
        }
        let mut entries = Vec::new();
        for (dot, _) in name.match_indices('.') {
            domains.literal(&name[..dot], |index| entries.push(index));
            for index in entries.drain(..) {
                self.domain(index, Why::GoesOn(name[dot..].to_owned()));
            }
        }
    }

    fn keywords(&mut self, ascii: &str, unicode: Option<&str>) {
        let mut found = Vec::new();
        let keywords = &self.matcher.keywords;
        for text in std::iter::once(ascii).chain(unicode) {
            keywords.within(text, |index, asset| found.push((index, asset)));
        }
        for (index, asset) in found.drain(..) {
            let why = match self.excepts_name(ascii, asset) {
                Some(by) => Why::Excepted(by),
                None if self.is_owned_by(asset) => Why::OwnName,
                None => continue,
            };
            self.add(asset, MatchKind::Keyword, keywords.text(index), why);
        }
        if ascii.contains('-') {
            let joined = unicode.unwrap_or(ascii).replace('-', "");
            keywords.within(&joined, |index, asset| found.push((index, asset)));
            for (index, asset) in found {
                if !self.is_owned_by(asset) {
                    self.add(asset, MatchKind::Keyword, keywords.text(index), Why::Hyphens);
                }
            }
        }
    }

    fn address(&mut self, address: IpAddr) {
        let networks = &self.matcher.networks;
        let mut found = Vec::new();
        networks.enclosing(address, |index, asset| found.push((index, asset)));
        for (index, asset) in found.drain(..) {
            let mut by = None;
            self.matcher.excepted_networks.enclosing(address, |index, of| {
                if of == asset {
                    by.get_or_insert(index);
                }
            });
            if let Some(by) = by {
                let by = self.matcher.excepted_networks.text(by);
                self.add(asset, MatchKind::Network, &networks.text(index), Why::Excepted(by));
            }
        }
        for (beside, length) in neighbours(address) {
            networks.enclosing(beside, |index, asset| {
                if networks.length(index) == length {
                    found.push((index, asset));
                }
            });
            for (index, asset) in found.drain(..) {
                let mut within = false;
                networks.enclosing(address, |_, of| within |= of == asset);
                if !within {
                    self.add(asset, MatchKind::Network, &networks.text(index), Why::NextNetwork);
                }
            }
        }
    }

    /// The entry of `except` that takes a name out of an asset.
    fn excepts_name(&self, name: &str, asset: u32) -> Option<String> {
        let excepted = &self.matcher.excepted_names;
        let mut by = None;
        excepted.literal(domains::literal_tail(name).1.trim_start_matches('.'), |index| {
            if excepted.entries()[index].asset == asset {
                by = Some(excepted.name(index).to_owned());
            }
        });
        by
    }

    fn is_owned_by(&self, asset: u32) -> bool {
        self.hits.iter().any(|hit| hit.asset == asset && hit.kind.is_owned())
    }

    fn domain(&mut self, index: usize, why: Why) {
        let entry = self.matcher.domains.entries()[index];
        let kind = if entry.exact { MatchKind::Exact } else { MatchKind::Domain };
        // An asset that owns the name misses nothing.
        if !self.is_owned_by(entry.asset) {
            self.add(entry.asset, kind, self.matcher.domains.name(index), why);
        }
    }

    /// The first reason of an entry stands.
    fn add(&mut self, asset: u32, kind: MatchKind, pattern: &str, why: Why) {
        let of_a_kind = self.found.iter().filter(|miss| miss.why.code() == why.code()).count();
        let known =
            |miss: &NearMiss| (miss.asset, miss.kind, miss.pattern.as_str()) == (asset, kind, pattern);
        let hit = |hit: &Hit| {
            (hit.asset, hit.kind) == (asset, kind) && self.matcher.pattern(hit).as_ref() == pattern
        };
        if self.found.len() < MAX_NEAR
            && of_a_kind < MAX_OF_A_KIND
            && !self.found.iter().any(known)
            && !self.hits.iter().any(hit)
        {
            self.found.push(NearMiss { asset, kind, pattern: pattern.to_owned(), why });
        }
    }
}

/// An address in the network before and behind, for each length of a prefix, the longest first.
fn neighbours(address: IpAddr) -> Vec<(IpAddr, u8)> {
    let mut all = Vec::new();
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            for length in (SHORTEST_V4..=32).rev() {
                let (bits, size) = (v4.to_bits(), 1u32 << (32 - length));
                let both = bits.checked_sub(size).into_iter().chain(bits.checked_add(size));
                all.extend(both.map(|bits| (Ipv4Addr::from_bits(bits).into(), length)));
            }
        }
        IpAddr::V6(v6) => {
            for length in (SHORTEST_V6..=128).rev() {
                let (bits, size) = (v6.to_bits(), 1u128 << (128 - length));
                let both = bits.checked_sub(size).into_iter().chain(bits.checked_add(size));
                all.extend(both.map(|bits| (Ipv6Addr::from_bits(bits).into(), length)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Decoder;
    use crate::watch::WatchList;

    const LIST: &str = "
        [[asset]]\nid = 'shop'\npolicy = 'observe'\ndomains = ['example.com', 'deep.a.example.org']
        exact = ['login.example.net']\nexcept = ['static.example.com', '10.0.0.9/32']
        networks = ['10.0.0.0/24', '2001:db8:1::/48']\nkeywords = ['examplebank', 'example']
        [[asset]]\nid = 'apex'\npolicy = 'observe'\nexact = ['apex.example']\nnetworks = ['192.0.2.7']";

    /// `asset kind pattern code` of what the identities of `text` nearly match.
    fn check(text: &str, want: &[&str]) {
        let list = WatchList::parse("w", LIST.as_bytes(), &mut |_| Err("no files".to_owned())).unwrap();
        let matcher = Matcher::new(list).unwrap();
        let mut decoder = Decoder::default();
        let entry = decoder.asked(text);
        let mut got = Vec::new();
        for identity in entry.identities.iter() {
            let mut hits = Vec::new();
            match identity.value {
                Value::Name { ascii, .. } => matcher.name(entry.identities.text(ascii), None, &mut hits),
                Value::Address(address) => matcher.address(address, &mut hits),
                Value::Network(network) => matcher.network(network, &mut 1, &mut hits),
            }
            for miss in matcher.near(entry.identities, identity, &hits) {
                let NearMiss { asset, kind, pattern, why } = miss;
                got.push(format!("{} {} {pattern} {}", matcher.asset(asset).id, kind.label(), why.code()));
            }
        }
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn names() {
        check("www.example.com", &["shop keyword example own_name"]);
        check(
            "cdn.static.example.com",
            &["shop domain example.com excepted", "shop keyword example excepted"],
        );
        check("www.login.example.net", &["shop exact login.example.net below_exact"]);
        check("example.net", &["shop exact login.example.net above"]);
        check("example.org", &["shop domain deep.a.example.org above"]);
        check("mail.example.net", &["shop exact login.example.net beside"]);
        check("*.apex.example", &["apex exact apex.example wildcard"]);
        check("*.example.org", &["shop domain deep.a.example.org wildcard"]);
        check("my-example.com", &["shop domain example.com no_boundary"]);
        check("www.example.com.evil.test", &["shop domain example.com goes_on"]);
        check("example-bank.test", &["shop keyword examplebank hyphens"]);
        check("com", &[]);
        check("other.test", &[]);
    }

    #[test]
    fn addresses() {
        check("10.0.0.9", &["shop network 10.0.0.0/24 excepted"]);
        check("10.0.1.9", &["shop network 10.0.0.0/24 next_network"]);
        check("9.255.255.1", &["shop network 10.0.0.0/24 next_network"]);
        check("10.0.2.9", &[]);
        check("10.0.0.1", &[]);
        check("192.0.2.8", &["apex network 192.0.2.7/32 next_network"]);
        check("2001:db8:2::1", &["shop network 2001:db8:1::/48 next_network"]);
        check("255.255.255.255", &[]);
        check("0.0.0.0", &[]);
    }
}
