//! What an asset watches, and whether its `except` and `for` have anything to do with it.
//!
//! An entry that lies outside is a mistake of its writer: an `except` that takes nothing out, an
//! [`[asset.expect]`](super::expect) that never holds. So is an `except` that leaves nothing. Each is told at
//! its place, once an asset has been read without another mistake.
//!
//! Pure. Cost: one pass over the names and networks of an asset that has such entries, a few look-ups each.

use std::collections::HashMap;
use std::ops::Range;

use ipnet::IpNet;

use super::networks::{NetworkList, Networks};
use crate::problem::Report;

/// One entry of `except` or of a `for`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub of: Of,
    pub what: What,
    pub place: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    Except,
    For,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// A subtree.
    Name(String),
    Network(IpNet),
}

/// What an asset watches.
pub(super) struct Extent<N, W> {
    /// Each with whether it stands for itself only.
    pub names: N,
    pub networks: W,
    /// A keyword stands in names anywhere, which `except` may take out.
    pub has_keywords: bool,
}

impl<'a, N: Iterator<Item = (&'a str, bool)>, W: Iterator<Item = IpNet>> Extent<N, W> {
    /// Notes every part that lies outside, and at `place` that `except` leaves nothing.
    pub(super) fn check(self, parts: &[Part], place: Range<usize>, report: &mut Report<'_>) {
        if parts.is_empty() {
            return;
        }
        let mut meets = vec![false; parts.len()];
        let mut left = self.has_keywords;
        // By a part's name, and by each name that it lies under.
        let (mut at, mut above) = (HashMap::<&str, Vec<usize>>::new(), HashMap::<&str, Vec<usize>>::new());
        let mut list = NetworkList::default();
        for (index, part) in parts.iter().enumerate() {
            match &part.what {
                What::Name(name) => {
                    at.entry(name).or_default().push(index);
                    suffixes(name).for_each(|suffix| above.entry(suffix).or_default().push(index));
                }
                What::Network(network) => list.push(*network, index as u32),
            }
        }
        for (name, exact) in self.names {
            let mut out = false;
            for index in suffixes(name).filter_map(|suffix| at.get(suffix)).flatten() {
                meets[*index] = true;
                out |= parts[*index].of == Of::Except;
            }
            left |= !out;
            if !exact {
                above.get(name).into_iter().flatten().for_each(|index| meets[*index] = true);
            }
        }
        let networks = Networks::new(list);
        for network in self.networks {
            let mut out = false;
            networks.overlapping(network, &mut usize::MAX.clone(), |entry, index| {
                meets[index as usize] = true;
                out |=
                    parts[index as usize].of == Of::Except && networks.length(entry) <= network.prefix_len();
            });
            left |= !out;
        }
        for (part, _) in parts.iter().zip(&meets).filter(|(_, meets)| !**meets) {
            let (key, hint) = match (part.of, &part.what) {
                (Of::Except, What::Name(_)) if self.has_keywords => continue,
                (Of::Except, _) => {
                    ("except", "it takes nothing out: remove it, or write it where it belongs")
                }
                (Of::For, _) => ("for", "the table would never hold for it: remove it, or watch it here"),
            };
            let shown = match &part.what {
                What::Name(name) => name.clone(),
                What::Network(network) => network.to_string(),
            };
            report.missing(
                part.place.clone(),
                format!("`{shown}` in `{key}` is nothing that the asset watches"),
                hint,
            );
        }
        if !left {
            report.missing(
                place,
                "an asset that watches nothing: `except` takes out all of it",
                "remove the asset, or leave something of it",
            );
        }
    }
}

/// A name, and each that it lies under.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::once(name).chain(name.match_indices('.').map(|(dot, _)| &name[dot + 1..]))
}
