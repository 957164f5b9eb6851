//! The watch list, compiled into one immutable [`Matcher`].
//!
//! [`list`] reads what an operator wrote; [`domains`], [`networks`] and [`keywords`] look it up. A
//! matcher takes an identity, a name or an address, and hands back every asset it concerns with every
//! pattern that says so, not only the longest. Pure; what a hit means is left to the judge.
//!
//! Matching allocates nothing besides the caller's list of hits. A million names, a million networks
//! and a hundred thousand keywords are a supported size: about 100 MB.
//!
//! ```
//! use certsieve::watch::{Matcher, MatchKind, WatchList};
//!
//! let text = "[[asset]]\nid = 'shop'\ndomains = ['example.com']\npolicy = 'never-issue'\n";
//! let list = WatchList::parse("watchlist.toml", text.as_bytes(), &mut |_| Err("no files here".into()))?;
//! let matcher = Matcher::new(list)?;
//! let mut hits = Vec::new();
//! matcher.name("www.example.com", None, &mut hits);
//! assert_eq!(hits[0].kind, MatchKind::Domain);
//! assert_eq!(matcher.pattern(&hits[0]), "example.com");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod domains;
pub mod keywords;
pub mod list;
pub mod name;
pub mod networks;

use std::borrow::Cow;
use std::net::IpAddr;

pub use keywords::TooManyKeywords;
pub use list::{Asset, Expectation, Policy, Severity, WatchList};

use domains::Domains;
use keywords::Keywords;
use networks::Networks;

/// Everything that is watched, ready to be asked.
#[derive(Debug)]
pub struct Matcher {
    list: WatchList,
    domains: Domains,
    networks: Networks,
    keywords: Keywords,
    excepted_names: Domains,
    excepted_networks: Networks,
    /// Per asset, whether anything is taken out of it.
    has_except: Box<[bool]>,
    counts: EntryCounts,
}

/// One asset that an identity concerns, and by which entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hit {
    /// Index into the list's assets.
    pub asset: u32,
    pub kind: MatchKind,
    /// Names the entry; [`Matcher::pattern`] has its text.
    pub pattern: u32,
}

/// Which kind of entry matched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MatchKind {
    Domain,
    Exact,
    Network,
    Keyword,
}

impl MatchKind {
    pub const ALL: [MatchKind; 4] =
        [MatchKind::Domain, MatchKind::Exact, MatchKind::Network, MatchKind::Keyword];

    /// As records and metrics write it.
    pub fn label(self) -> &'static str {
        match self {
            MatchKind::Domain => "domain",
            MatchKind::Exact => "exact",
            MatchKind::Network => "network",
            MatchKind::Keyword => "keyword",
        }
    }

    /// What is owned is judged by the asset's policy.
    pub fn is_owned(self) -> bool {
        self != MatchKind::Keyword
    }
}

/// How many entries a list has, those merged that are the same in one asset.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EntryCounts {
    pub domain: usize,
    pub exact: usize,
    pub network: usize,
    pub keyword: usize,
}

impl EntryCounts {
    pub fn of(&self, kind: MatchKind) -> usize {
        match kind {
            MatchKind::Domain => self.domain,
            MatchKind::Exact => self.exact,
            MatchKind::Network => self.network,
            MatchKind::Keyword => self.keyword,
        }
    }
}

impl Matcher {
    pub fn new(mut list: WatchList) -> Result<Matcher, TooManyKeywords> {
        let entries = std::mem::take(&mut list.entries);
        let domains = Domains::new(entries.names);
        let networks = Networks::new(entries.networks);
        let keywords = Keywords::new(entries.keywords)?;
        let excepted_names = Domains::new(entries.excepted_names);
        let excepted_networks = Networks::new(entries.excepted_networks);
        let mut has_except = vec![false; list.assets.len()].into_boxed_slice();
        for asset in
            excepted_names.entries().iter().map(|entry| entry.asset).chain(excepted_networks.assets())
        {
            has_except[asset as usize] = true;
        }
        let exact = domains.entries().iter().filter(|entry| entry.exact).count();
        let counts = EntryCounts {
            domain: domains.entries().len() - exact,
            exact,
            network: networks.len(),
            keyword: keywords.len(),
        };
        Ok(Matcher {
            list,
            domains,
            networks,
            keywords,
            excepted_names,
            excepted_networks,
            has_except,
            counts,
        })
    }

    /// The list it was made of.
    pub fn list(&self) -> &WatchList {
        &self.list
    }

    pub fn asset(&self, hit: &Hit) -> &Asset {
        &self.list.assets[hit.asset as usize]
    }

    pub fn counts(&self) -> EntryCounts {
        self.counts
    }

    /// Adds a hit for each asset and entry that a name concerns.
    ///
    /// `ascii` is the name in lower-case A-labels without a dot at its end. Wildcard labels (`*`,
    /// `f*`) stand in it as written; `?` stands for a label that could not be parsed. `unicode` is its
    /// form in U-labels where that differs.
    pub fn name(&self, ascii: &str, unicode: Option<&str>, hits: &mut Vec<Hit>) {
        let before = hits.len();
        let mut found = |index: usize| {
            let entry = &self.domains.entries()[index];
            let kind = if entry.exact { MatchKind::Exact } else { MatchKind::Domain };
            hits.push(Hit { asset: entry.asset, kind, pattern: index as u32 });
        };
        if domains::is_wild(ascii) {
            self.domains.wildcard(ascii, &mut found);
        } else {
            self.domains.literal(ascii, &mut found);
        }
        let mut found = |index: usize, asset: u32| {
            hits.push(Hit { asset, kind: MatchKind::Keyword, pattern: index as u32 });
        };
        self.keywords.within(ascii, &mut found);
        if let Some(unicode) = unicode {
            self.keywords.within(unicode, &mut found);
        }
        if hits.len() > before {
            self.tidy(hits, before, |asset| self.excepted_names.holds(ascii, asset));
        }
    }

    /// Adds a hit for each asset and network that an address concerns.
    pub fn address(&self, address: IpAddr, hits: &mut Vec<Hit>) {
        let before = hits.len();
        self.networks.enclosing(address, |index, asset| {
            hits.push(Hit { asset, kind: MatchKind::Network, pattern: index as u32 });
        });
        if hits.len() > before {
            self.tidy(hits, before, |asset| self.excepted_networks.holds(address, asset));
        }
    }

    /// The text of the entry, as records show it: `example.com`, `1.1.1.1/32`, the keyword.
    pub fn pattern(&self, hit: &Hit) -> Cow<'_, str> {
        let index = hit.pattern as usize;
        match hit.kind {
            MatchKind::Domain | MatchKind::Exact => Cow::Borrowed(self.domains.name(index)),
            MatchKind::Network => Cow::Owned(self.networks.text(index)),
            MatchKind::Keyword => Cow::Borrowed(self.keywords.text(index)),
        }
    }

    /// Sorts the new hits by asset, kind and entry; merges what is the same; takes out those of assets
    /// that except the identity, and the keywords of assets that own it.
    fn tidy(&self, hits: &mut Vec<Hit>, before: usize, excepted: impl Fn(u32) -> bool) {
        hits[before..].sort_unstable();
        let mut kept = before;
        let mut asset = None;
        let (mut out, mut owned) = (false, false);
        for at in before..hits.len() {
            let hit = hits[at];
            if asset != Some(hit.asset) {
                asset = Some(hit.asset);
                out = self.has_except[hit.asset as usize] && excepted(hit.asset);
                // Owned kinds sort first.
                owned = hit.kind.is_owned();
            }
            let repeated = kept > before && hits[kept - 1] == hit;
            if !out && !repeated && (hit.kind.is_owned() || !owned) {
                hits[kept] = hit;
                kept += 1;
            }
        }
        hits.truncate(kept);
    }
}
