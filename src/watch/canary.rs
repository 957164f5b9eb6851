//! Canaries: names and addresses that must appear in the stream every so often, or it is not to be trusted.
//!
//! A [`Canary`] is what the operator names, [`Canaries`] finds them among the identities of an entry. They are
//! no assets: a certificate that shows one is no match, makes no record and raises no alert. Only the name
//! itself or the address itself counts, not a wildcard that could denote it.
//!
//! Cost: nothing without canaries; else a look at each name's length, and for one as long as a canary's a look
//! into a table. At most [`MAX_CANARIES`], because each is a label of metrics.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

/// Each has two series.
pub const MAX_CANARIES: usize = 64;

/// What must appear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Canary {
    /// In the form in which names and addresses are compared.
    pub name: Arc<str>,
    pub address: Option<IpAddr>,
    /// It is missing when it was not seen for so long.
    pub every: Duration,
}

impl Canary {
    /// `name` is normalised: lower-case A-labels, no dot at the end.
    pub fn of_name(name: &str, every: Duration) -> Canary {
        Canary { name: name.into(), address: None, every }
    }

    pub fn of_address(address: IpAddr, every: Duration) -> Canary {
        let address = address.to_canonical();
        Canary { name: address.to_string().into(), address: Some(address), every }
    }
}

/// Canaries, ready to be looked up.
#[derive(Clone, Default, Debug)]
pub struct Canaries {
    names: FxHashSet<Arc<str>>,
    addresses: FxHashMap<IpAddr, Arc<str>>,
    /// A bit for each length of a name, modulo 64.
    lengths: u64,
}

impl Canaries {
    pub fn new(canaries: &[Canary]) -> Canaries {
        let mut all = Canaries::default();
        for canary in canaries {
            match canary.address {
                Some(address) => drop(all.addresses.insert(address, canary.name.clone())),
                None => {
                    all.lengths |= length_bit(&canary.name);
                    all.names.insert(canary.name.clone());
                }
            }
        }
        all
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.addresses.is_empty()
    }

    /// The canary of this name, in lower-case A-labels.
    pub fn name(&self, ascii: &str) -> Option<&Arc<str>> {
        if self.lengths & length_bit(ascii) == 0 {
            return None;
        }
        self.names.get(ascii)
    }

    pub fn address(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.addresses.get(&address.to_canonical())
    }
}

fn length_bit(name: &str) -> u64 {
    1 << (name.len() % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_or_the_address_itself() {
        let every = Duration::from_secs(3_600);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let canaries = Canaries::new(&[
            Canary::of_name("monday.example.org", every),
            Canary::of_address(address("192.0.2.1"), every),
            Canary::of_address(address("::ffff:192.0.2.2"), every),
            Canary::of_address(address("2001:db8::1"), every),
        ]);
        for (identity, found) in [
            ("monday.example.org", true),
            ("x.monday.example.org", false),
            ("*.example.org", false),
            ("?onday.example.org", false),
            ("sunday.example.org", false),
            ("example.org", false),
            ("", false),
            ("192.0.2.1", true),
            ("192.0.2.2", true),
            ("::ffff:192.0.2.1", true),
            ("2001:db8::1", true),
            ("192.0.2.3", false),
        ] {
            let seen = match identity.parse() {
                Ok(address) => canaries.address(address),
                Err(_) => canaries.name(identity),
            };
            assert_eq!(seen.is_some(), found, "{identity}");
        }
        assert!(!canaries.is_empty() && Canaries::default().is_empty());
        assert_eq!(canaries.address(address("::ffff:192.0.2.2")).map(|name| &**name), Some("192.0.2.2"));
    }
}
