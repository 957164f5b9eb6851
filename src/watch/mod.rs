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

pub mod canary;
pub mod domains;
pub mod expect;
mod extent;
pub mod keywords;
pub mod list;
pub mod name;
pub mod near;
pub mod networks;

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

pub use expect::Expectation;
pub use keywords::TooManyKeywords;
pub use list::{Asset, Policy, Severity, WatchList};

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
    /// Per asset, whether its policy can find something unexpected.
    judges: Box<[bool]>,
    counts: EntryCounts,
}

/// Watched names and networks with which the odd wildcards and networks of one message are compared: a
/// million take 30 ms.
pub const STEPS: usize = 1 << 20;

/// In place of an asset's index: the list as a whole, for a name that could denote what somebody owns
/// without saying whose it is.
pub const LIST: u32 = u32::MAX;

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
        let judges = list.assets.iter().map(|asset| asset.policy != Policy::Observe).collect();
        let exact = domains.entries().iter().filter(|entry| entry.exact).count();
        let counts = EntryCounts {
            domain: domains.entries().len() - exact,
            exact,
            network: networks.count(),
            keyword: keywords.count(),
        };
        Ok(Matcher {
            list,
            domains,
            networks,
            keywords,
            excepted_names,
            excepted_networks,
            has_except,
            judges,
            counts,
        })
    }

    /// The list it was made of.
    pub fn list(&self) -> &WatchList {
        &self.list
    }

    /// The asset of a hit or a verdict; of [`LIST`], the one that stands for the list as a whole.
    pub fn asset(&self, index: u32) -> &Asset {
        self.list.assets.get(index as usize).unwrap_or(&self.list.whole)
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

    /// Adds one hit of [`LIST`] for a name with wildcard labels that could denote a watched one without
    /// its registrable domain among its literal labels: `*.com` where `example.com` is watched. Only for
    /// names that hit nothing owned; observed assets count for nothing. `steps` is what is left of
    /// [`STEPS`] for the message.
    pub fn beyond(&self, ascii: &str, steps: &mut usize, hits: &mut Vec<Hit>) {
        if !domains::is_wild(ascii) {
            return;
        }
        let judges = |asset: u32| self.judges.get(asset as usize).copied().unwrap_or(false);
        if let Some(index) = self.domains.beyond(ascii, judges, steps) {
            let kind = if self.domains.entries()[index].exact { MatchKind::Exact } else { MatchKind::Domain };
            hits.push(Hit { asset: LIST, kind, pattern: index as u32 });
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

    /// Adds a hit for each asset and network that all of a network concerns: what holds it, and what it
    /// holds. `steps` is what is left of [`STEPS`] for the message.
    pub fn network(&self, network: IpNet, steps: &mut usize, hits: &mut Vec<Hit>) {
        let before = hits.len();
        self.networks.overlapping(network, steps, |index, asset| {
            hits.push(Hit { asset, kind: MatchKind::Network, pattern: index as u32 });
        });
        if hits.len() > before {
            self.tidy(hits, before, |asset| self.excepted_networks.holds_all(network, asset));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(text: &str) -> Matcher {
        let list = WatchList::parse("w", text.as_bytes(), &mut |_| Err("no files".to_owned())).unwrap();
        Matcher::new(list).unwrap()
    }

    /// `asset kind pattern` of each hit of a name or an address.
    fn hits(matcher: &Matcher, identity: &str, unicode: Option<&str>) -> Vec<String> {
        let mut hits = Vec::new();
        match identity.parse::<IpAddr>() {
            Ok(address) => matcher.address(address, &mut hits),
            Err(_) => matcher.name(identity, unicode, &mut hits),
        }
        hits.iter()
            .map(|hit| {
                format!("{} {} {}", matcher.asset(hit.asset).id, hit.kind.label(), matcher.pattern(hit))
            })
            .collect()
    }

    fn check(list: &str, rows: &[(&str, &[&str])]) {
        let matcher = matcher(list);
        for (identity, expected) in rows {
            assert_eq!(hits(&matcher, identity, None), *expected, "{identity}");
        }
    }

    fn asset(id: &str, keys: &str) -> String {
        format!("[[asset]]\nid = '{id}'\npolicy = 'observe'\n{keys}\n")
    }

    #[test]
    fn domains_are_subtrees_on_label_boundaries() {
        check(
            &asset("a", "domains = ['example.com', 'sub.example.com']\nexact = ['login.example.net']"),
            &[
                ("example.com", &["a domain example.com"]),
                ("www.example.com", &["a domain example.com"]),
                ("a.b.c.example.com", &["a domain example.com"]),
                ("x.sub.example.com", &["a domain example.com", "a domain sub.example.com"]),
                ("xexample.com", &[]),
                ("example.com.org", &[]),
                ("example.co", &[]),
                ("com", &[]),
                ("", &[]),
                (".", &[]),
                ("..example.com", &["a domain example.com"]),
                ("login.example.net", &["a exact login.example.net"]),
                ("x.login.example.net", &[]),
                ("example.net", &[]),
            ],
        );
    }

    #[test]
    fn all_assets_and_all_patterns_are_reported() {
        let list = asset("a", "domains = ['example.com']\nexact = ['www.example.com']")
            + &asset(
                "b",
                "domains = ['www.example.com', 'example.com', 'EXAMPLE.com']\nnetworks = ['10.0.0.0/8', '10.0.0.0/8']",
            )
            + &asset("c", "networks = ['10.0.0.0/8', '10.0.0.1', '0.0.0.0/0']");
        check(
            &list,
            &[
                (
                    "www.example.com",
                    &[
                        "a domain example.com",
                        "a exact www.example.com",
                        "b domain example.com",
                        "b domain www.example.com",
                    ],
                ),
                (
                    "10.0.0.1",
                    &[
                        "b network 10.0.0.0/8",
                        "c network 0.0.0.0/0",
                        "c network 10.0.0.0/8",
                        "c network 10.0.0.1/32",
                    ],
                ),
                (
                    "::ffff:10.0.0.1",
                    &[
                        "b network 10.0.0.0/8",
                        "c network 0.0.0.0/0",
                        "c network 10.0.0.0/8",
                        "c network 10.0.0.1/32",
                    ],
                ),
                ("11.0.0.1", &["c network 0.0.0.0/0"]),
                ("2001:db8::1", &[]),
            ],
        );
    }

    #[test]
    fn a_wildcard_label_stands_for_one_label() {
        let list = asset("apex", "exact = ['example.com']")
            + &asset("tree", "domains = ['example.com']")
            + &asset("sub", "domains = ['sub.example.com']")
            + &asset("foo", "exact = ['foo.example.com']")
            + &asset("deep", "exact = ['a.sub.example.com']")
            + &asset("uk", "domains = ['shop.example.co.uk']");
        check(
            &list,
            &[
                (
                    "*.example.com",
                    &["tree domain example.com", "sub domain sub.example.com", "foo exact foo.example.com"],
                ),
                (
                    "?.example.com",
                    &["tree domain example.com", "sub domain sub.example.com", "foo exact foo.example.com"],
                ),
                ("f*.example.com", &["tree domain example.com", "foo exact foo.example.com"]),
                ("*b.example.com", &["tree domain example.com", "sub domain sub.example.com"]),
                ("f*o.example.com", &["tree domain example.com", "foo exact foo.example.com"]),
                ("*x.example.com", &["tree domain example.com"]),
                (
                    "*.sub.example.com",
                    &[
                        "tree domain example.com",
                        "sub domain sub.example.com",
                        "deep exact a.sub.example.com",
                    ],
                ),
                (
                    "a.*.example.com",
                    &[
                        "tree domain example.com",
                        "sub domain sub.example.com",
                        "deep exact a.sub.example.com",
                    ],
                ),
                ("b.*.example.com", &["tree domain example.com", "sub domain sub.example.com"]),
                (
                    "*.*.example.com",
                    &[
                        "tree domain example.com",
                        "sub domain sub.example.com",
                        "deep exact a.sub.example.com",
                    ],
                ),
                ("*.a.sub.example.com", &["tree domain example.com", "sub domain sub.example.com"]),
                ("*.example.co.uk", &["uk domain shop.example.co.uk"]),
                // Their literal labels hold no registrable domain of a watched name.
                ("*.co.uk", &[]),
                ("*.*.co.uk", &[]),
                ("*.com", &[]),
                ("?.com", &[]),
                ("sub.*.com", &[]),
                ("foo.example.*", &[]),
                ("*", &[]),
                ("?", &[]),
                ("*.example.org", &[]),
                ("*.xexample.com", &[]),
            ],
        );
    }

    #[test]
    fn the_registrable_domain_of_the_watched_name_must_be_literal() {
        // `s3.amazonaws.com` is a public suffix: what lies under it belongs to others.
        let list = asset("cloud", "domains = ['amazonaws.com']")
            + &asset("bucket", "exact = ['mine.s3.amazonaws.com']");
        check(
            &list,
            &[
                ("*.s3.amazonaws.com", &["cloud domain amazonaws.com"]),
                ("mine.*.amazonaws.com", &["cloud domain amazonaws.com"]),
                (
                    "mine.s3.amazonaws.com",
                    &["cloud domain amazonaws.com", "bucket exact mine.s3.amazonaws.com"],
                ),
            ],
        );
    }

    #[test]
    fn what_is_excepted_is_no_hit_of_that_asset() {
        let list = asset(
            "a",
            "domains = ['example.com']\nnetworks = ['1.1.1.0/24']\nkeywords = ['bank']\nexcept = ['cdn.example.com', '1.1.1.1/32', 'bank.example.org']",
        ) + &asset("b", "domains = ['example.com']\nnetworks = ['1.1.1.1']\nkeywords = ['bank']");
        check(
            &list,
            &[
                ("cdn.example.com", &["b domain example.com"]),
                ("x.cdn.example.com", &["b domain example.com"]),
                ("*.cdn.example.com", &["b domain example.com"]),
                // These may stand for names that are not excepted.
                ("*.example.com", &["a domain example.com", "b domain example.com"]),
                ("x.*.example.com", &["a domain example.com", "b domain example.com"]),
                ("xcdn.example.com", &["a domain example.com", "b domain example.com"]),
                ("www.bank.example.org", &["b keyword bank"]),
                ("bank.example.net", &["a keyword bank", "b keyword bank"]),
                ("1.1.1.1", &["b network 1.1.1.1/32"]),
                ("1.1.1.2", &["a network 1.1.1.0/24"]),
            ],
        );
    }

    #[test]
    fn an_asset_s_own_names_are_no_keyword_hits() {
        let list = asset(
            "a",
            "domains = ['example.com']\nexact = ['bank.example']\nkeywords = ['example', 'bank', 'ebank']",
        ) + &asset("b", "keywords = ['example']");
        check(
            &list,
            &[
                ("www.example.com", &["a domain example.com", "b keyword example"]),
                ("bank.example", &["a exact bank.example", "b keyword example"]),
                (
                    "examplebank-login.com",
                    &["a keyword bank", "a keyword ebank", "a keyword example", "b keyword example"],
                ),
                (
                    "*.examplebank.org",
                    &["a keyword bank", "a keyword ebank", "a keyword example", "b keyword example"],
                ),
                ("example.example.net", &["a keyword example", "b keyword example"]),
            ],
        );
    }

    #[test]
    fn keywords_are_sought_in_both_forms() {
        let matcher = matcher(&asset("a", "keywords = ['bücher', 'kva', 'shop']"));
        assert_eq!(hits(&matcher, "xn--bcher-kva-shop.example", None), ["a keyword kva", "a keyword shop"]);
        assert_eq!(
            hits(&matcher, "xn--bchershop-q9a.example", Some("büchershop.example")),
            ["a keyword bücher", "a keyword shop"]
        );
    }

    #[test]
    fn hits_are_added_behind_what_is_there() {
        let matcher = matcher(&asset("a", "domains = ['example.com']\nnetworks = ['1.1.1.1']"));
        let mut hits = Vec::new();
        matcher.name("example.com", None, &mut hits);
        matcher.name("example.com", None, &mut hits);
        matcher.address([1, 1, 1, 1].into(), &mut hits);
        assert_eq!(hits.len(), 3);
    }

    /// One asset of the reference, and what a certificate's name or address means to it.
    #[derive(Clone, Debug, Default)]
    struct Plain {
        domains: Vec<String>,
        exact: Vec<String>,
        keywords: Vec<String>,
        networks: Vec<ipnet::IpNet>,
        except: Vec<String>,
        except_networks: Vec<ipnet::IpNet>,
    }

    impl Plain {
        fn keys(&self) -> String {
            let list = |texts: Vec<String>| format!("{texts:?}");
            let nets = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
            let except = self.except.iter().cloned().chain(nets(&self.except_networks)).collect();
            format!(
                "domains = {}\nexact = {}\nkeywords = {}\nnetworks = {}\nexcept = {}",
                list(self.domains.clone()),
                list(self.exact.clone()),
                list(self.keywords.clone()),
                list(nets(&self.networks)),
                list(except)
            )
        }

        /// Without the exceptions that a list is refused for.
        fn sensible(mut self) -> Plain {
            let same = |label: &str, other: &str| label == other;
            let (domains, exact, keywords) = (&self.domains, &self.exact, !self.keywords.is_empty());
            self.except.retain(|out| {
                let meets = |watched: &String| lies_under(watched, out, same);
                let within = |watched: &String| meets(watched) || lies_under(out, watched, same);
                keywords || domains.iter().any(within) || exact.iter().any(meets)
            });
            let networks = &self.networks;
            self.except_networks
                .retain(|out| networks.iter().any(|net| net.contains(out) || out.contains(net)));
            let taken = |watched: &String| self.except.iter().any(|out| lies_under(watched, out, same));
            let names = self.domains.iter().chain(&self.exact).all(taken);
            let nets =
                self.networks.iter().all(|net| self.except_networks.iter().any(|out| out.contains(net)));
            if names && nets && !keywords {
                (self.except, self.except_networks) = (Vec::new(), Vec::new());
            }
            self
        }

        fn name(&self, name: &str) -> Vec<String> {
            if self.except.iter().any(|out| lies_under(name, out, |label, other| label == other)) {
                return Vec::new();
            }
            let counts = |watched: &str| {
                let domain = psl::domain_str(watched).unwrap();
                lies_under(name, domain, |label, other| label == other && !label.contains(['*', '?']))
            };
            let mut hits = Vec::new();
            for domain in &self.domains {
                if lies_under(name, domain, label_denotes) && counts(domain) {
                    hits.push(format!("domain {domain}"));
                }
            }
            for exact in &self.exact {
                let same = name.split('.').count() == exact.split('.').count();
                if same && lies_under(name, exact, label_denotes) && counts(exact) {
                    hits.push(format!("exact {exact}"));
                }
            }
            if hits.is_empty() {
                let keywords = self.keywords.iter().filter(|keyword| name.contains(keyword.as_str()));
                hits.extend(keywords.map(|keyword| format!("keyword {keyword}")));
            }
            hits.sort();
            hits.dedup();
            hits
        }

        /// Whether a wildcard name could denote an entry whose registrable domain it does not spell out.
        fn beyond(&self, name: &str) -> bool {
            let entries = self.domains.iter().map(|d| (d, false)).chain(self.exact.iter().map(|e| (e, true)));
            name.contains(['*', '?'])
                && entries.into_iter().any(|(watched, exact)| {
                    let domain = psl::domain_str(watched).unwrap();
                    let literal = |label: &str, other: &str| label == other && !label.contains(['*', '?']);
                    let same = name.split('.').count() == watched.split('.').count();
                    lies_under(name, watched, label_denotes)
                        && (!exact || same)
                        && !lies_under(name, domain, literal)
                })
        }

        fn address(&self, address: IpAddr) -> Vec<String> {
            if self.except_networks.iter().any(|out| out.contains(&address)) {
                return Vec::new();
            }
            let mut hits: Vec<_> = self
                .networks
                .iter()
                .filter(|network| network.contains(&address))
                .map(|network| format!("network {network}"))
                .collect();
            hits.sort();
            hits.dedup();
            hits
        }
    }

    fn lies_under(name: &str, watched: &str, same: impl Fn(&str, &str) -> bool) -> bool {
        let name: Vec<_> = name.rsplit('.').collect();
        let watched: Vec<_> = watched.rsplit('.').collect();
        name.len() >= watched.len() && name.iter().zip(&watched).all(|(label, other)| same(label, other))
    }

    fn label_denotes(label: &str, watched: &str) -> bool {
        if label == "?" {
            return true;
        }
        match label.split_once('*') {
            None => label == watched,
            Some((before, after)) => {
                watched.len() >= before.len() + after.len()
                    && watched.starts_with(before)
                    && watched.ends_with(after)
            }
        }
    }

    /// Few labels, so that names meet.
    fn watched_name() -> impl Strategy<Value = String> {
        let label = prop::sample::select(vec!["a", "b", "ab", "ba", "s3", "foo"]);
        let base = prop::sample::select(vec![
            "a.com",
            "b.com",
            "ab.com",
            "a.co.uk",
            "ab.co.uk",
            "amazonaws.com",
            "a-b.com",
            "a.a.com",
        ]);
        (prop::collection::vec(label, 0..3), base)
            .prop_map(|(labels, base)| labels.into_iter().chain([base]).collect::<Vec<_>>().join("."))
            .prop_filter("public suffix", |name| psl::domain_str(name).is_some())
    }

    fn seen_name() -> impl Strategy<Value = String> {
        let labels = vec![
            "a",
            "b",
            "ab",
            "ba",
            "s3",
            "foo",
            "*",
            "?",
            "a*",
            "*a",
            "f*o",
            "amazonaws",
            "co",
            "uk",
            "com",
            "a-b",
        ];
        let end = prop::sample::select(vec![
            "a.com",
            "ab.com",
            "a.co.uk",
            "co.uk",
            "com",
            "amazonaws.com",
            "s3.amazonaws.com",
            "*",
            "?.com",
            "*.co.uk",
        ]);
        (prop::collection::vec(prop::sample::select(labels), 0..4), end)
            .prop_map(|(labels, end)| labels.into_iter().chain([end]).collect::<Vec<_>>().join("."))
    }

    fn network() -> impl Strategy<Value = ipnet::IpNet> {
        prop_oneof![
            (prop::sample::select(vec![0u32, 0x0a00_0000, 0x0a00_00ff, 0x0a01_0000, u32::MAX]), 0u8..=32)
                .prop_map(|(bits, length)| {
                    ipnet::IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), length).unwrap().trunc()
                }),
            (prop::sample::select(vec![0u128, 1, 0x2001_0db8 << 96, u128::MAX]), 0u8..=128).prop_map(
                |(bits, length)| {
                    ipnet::IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), length).unwrap().trunc()
                }
            ),
        ]
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (prop::sample::select(vec![0u32, 0x0a00_0000, 0x0a00_00ff, 0x0a01_0000, u32::MAX]), 0u32..33)
                .prop_map(|(bits, flip)| IpAddr::from(std::net::Ipv4Addr::from_bits(
                    bits ^ 1u32.checked_shl(flip).unwrap_or(0)
                ))),
            (prop::sample::select(vec![1u128, 2, 0x2001_0db8 << 96, u128::MAX]), 64u32..129).prop_map(
                |(bits, flip)| IpAddr::from(std::net::Ipv6Addr::from_bits(
                    bits ^ 1u128.checked_shl(flip).unwrap_or(0)
                ))
            ),
        ]
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let names = |count| prop::collection::vec(watched_name(), count);
        let keywords = prop::collection::vec(
            prop::sample::select(vec!["a.c", "amazon", "foo", "ab.", "b.c", "aws"]),
            0..3,
        );
        let networks = |count| prop::collection::vec(network(), count);
        (names(1..6), names(0..4), keywords, networks(0..8), names(0..2), networks(0..2)).prop_map(
            |(domains, exact, keywords, networks, except, except_networks)| {
                Plain {
                    domains,
                    exact,
                    keywords: keywords.into_iter().map(str::to_owned).collect(),
                    networks,
                    except,
                    except_networks,
                }
                .sensible()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn the_matcher_equals_a_naive_reference(
            assets in prop::collection::vec(plain(), 1..4),
            names in prop::collection::vec(seen_name(), 1..20),
            addresses in prop::collection::vec(address(), 1..20),
        ) {
            let list: String = assets.iter().enumerate().map(|(n, plain)| asset(&n.to_string(), &plain.keys())).collect();
            let matcher = matcher(&list);
            let expect = |of: &dyn Fn(&Plain) -> Vec<String>| -> Vec<String> {
                let each = assets.iter().enumerate();
                each.flat_map(|(n, plain)| of(plain).into_iter().map(move |hit| format!("{n} {hit}"))).collect()
            };
            for name in &names {
                let mut found = hits(&matcher, name, None);
                found.sort();
                let mut expected = expect(&|plain| plain.name(name));
                expected.sort();
                prop_assert_eq!(found, expected, "{} in\n{}", name, &list);
            }
            // Where a policy can find something unexpected, what nobody's entry settles is one hit of the list.
            let judging = list.replace("observe", "never-issue");
            let judging = super::tests::matcher(&judging);
            for name in &names {
                let mut found = Vec::new();
                judging.beyond(name, &mut STEPS.clone(), &mut found);
                prop_assert_eq!(found.len(), usize::from(assets.iter().any(|plain| plain.beyond(name))), "{} in\n{}", name, &list);
                prop_assert!(found.iter().all(|hit| hit.asset == LIST));
                found.clear();
                matcher.beyond(name, &mut STEPS.clone(), &mut found);
                prop_assert!(found.is_empty(), "what is only observed counts for nothing");
            }
            for address in &addresses {
                let mut found = hits(&matcher, &address.to_string(), None);
                found.sort();
                let mut expected = expect(&|plain| plain.address(*address));
                expected.sort();
                prop_assert_eq!(found, expected, "{} in\n{}", address, &list);
            }
        }
    }
}
