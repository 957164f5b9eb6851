//! Watched networks: every one that encloses an address, by one binary search.
//!
//! Prefixes lie in two sorted sets of columns, IPv4 and IPv6, ordered by first address and length, each
//! with a link to the next larger prefix that encloses it. The last prefix that starts at or before
//! an address is in the innermost one that holds it, or inside it; the links lead to all the others.
//! Nothing is allocated. Cost: a binary search over 4 or 16 bytes a prefix, and a step for each
//! prefix that encloses that neighbour. Memory: 13 bytes a prefix of IPv4, 25 of IPv6.
//!
//! An IPv4-mapped address or network (`::ffff:a.b.c.d`) is the IPv4 one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// The end of a chain of enclosing prefixes.
const NONE: u32 = u32::MAX;

/// Networks as they are read.
#[derive(Clone, Default, Debug)]
pub struct NetworkList {
    v4: Vec<(u32, u8, u32)>,
    v6: Vec<(u128, u8, u32)>,
}

impl NetworkList {
    /// How many there are of IPv4 and of IPv6.
    pub fn counts(&self) -> (usize, usize) {
        (self.v4.len(), self.v6.len())
    }

    /// Those that were added since there were so many.
    pub fn since(&self, (v4, v6): (usize, usize)) -> impl Iterator<Item = IpNet> {
        let (v4, v6) = (self.v4.get(v4..).unwrap_or_default(), self.v6.get(v6..).unwrap_or_default());
        let v4 = v4.iter().map(|(start, length, _)| (IpAddr::V4(Ipv4Addr::from_bits(*start)), *length));
        let v6 = v6.iter().map(|(start, length, _)| (IpAddr::V6(Ipv6Addr::from_bits(*start)), *length));
        v4.chain(v6).filter_map(|(address, length)| IpNet::new(address, length).ok())
    }

    /// The network must have no host bits.
    pub fn push(&mut self, network: IpNet, asset: u32) {
        match unmapped(network) {
            IpNet::V4(net) => self.v4.push((net.network().to_bits(), net.prefix_len(), asset)),
            IpNet::V6(net) => self.v6.push((net.network().to_bits(), net.prefix_len(), asset)),
        }
    }
}

/// Watched networks, ready to be looked up.
#[derive(Debug)]
pub struct Networks {
    v4: Prefixes<u32>,
    v6: Prefixes<u128>,
}

impl Networks {
    pub fn new(list: NetworkList) -> Networks {
        Networks { v4: Prefixes::new(list.v4), v6: Prefixes::new(list.v6) }
    }

    /// How many, those merged that are the same.
    pub fn count(&self) -> usize {
        self.v4.starts.len() + self.v6.starts.len()
    }

    /// The assets of all networks, with repeats.
    pub fn assets(&self) -> impl Iterator<Item = u32> {
        self.v4.assets.iter().chain(&self.v6.assets).copied()
    }

    /// Hands over the index and the asset of every network that encloses an address, innermost first.
    pub fn enclosing(&self, address: IpAddr, mut found: impl FnMut(usize, u32)) {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.enclosing(address.to_bits(), found),
            IpAddr::V6(address) => {
                let before = self.v4.starts.len();
                self.v6.enclosing(address.to_bits(), |index, asset| found(before + index, asset));
            }
        }
    }

    /// Hands over the index and the asset of every network that encloses all of a network, and then of
    /// those inside it, each of which takes one of `steps`; of these always the first.
    pub fn overlapping(&self, network: IpNet, steps: &mut usize, mut found: impl FnMut(usize, u32)) {
        match unmapped(network) {
            IpNet::V4(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                self.v4.overlapping(first, last, net.prefix_len(), steps, found);
            }
            IpNet::V6(net) => {
                let before = self.v4.starts.len();
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                let found = |index, asset| found(before + index, asset);
                self.v6.overlapping(first, last, net.prefix_len(), steps, found);
            }
        }
    }

    /// Whether a network of an asset encloses all of a network.
    pub fn holds_all(&self, network: IpNet, asset: u32) -> bool {
        let network = unmapped(network);
        let mut held = false;
        self.enclosing(network.network(), |index, of| {
            held |= of == asset && self.length(index) <= network.prefix_len();
        });
        held
    }

    /// Whether a network of an asset encloses an address.
    pub fn holds(&self, address: IpAddr, asset: u32) -> bool {
        let mut held = false;
        self.enclosing(address, |_, of| held |= of == asset);
        held
    }

    /// How many bits of a network are given.
    pub(super) fn length(&self, index: usize) -> u8 {
        match index.checked_sub(self.v4.starts.len()) {
            None => self.v4.lengths[index],
            Some(index) => self.v6.lengths[index],
        }
    }

    /// `1.1.1.0/24`; a single address is written with its length, too.
    pub fn text(&self, index: usize) -> String {
        match index.checked_sub(self.v4.starts.len()) {
            None => format!("{}/{}", Ipv4Addr::from_bits(self.v4.starts[index]), self.v4.lengths[index]),
            Some(index) => {
                format!("{}/{}", Ipv6Addr::from_bits(self.v6.starts[index]), self.v6.lengths[index])
            }
        }
    }
}

/// The IPv4 network that an IPv4-mapped one is.
pub(super) fn unmapped(network: IpNet) -> IpNet {
    if let IpNet::V6(net) = network
        && net.prefix_len() >= 96
        && let Some(address) = net.network().to_ipv4_mapped()
        && let Ok(net) = Ipv4Net::new(address, net.prefix_len() - 96)
    {
        return IpNet::V4(net);
    }
    network
}

/// An address as a number.
trait Bits: Copy + Ord {
    /// The last address of the prefix of that length which begins here.
    fn last(self, length: u8) -> Self;
}

impl Bits for u32 {
    fn last(self, length: u8) -> u32 {
        self | u32::MAX.checked_shr(length.into()).unwrap_or(0)
    }
}

impl Bits for u128 {
    fn last(self, length: u8) -> u128 {
        self | u128::MAX.checked_shr(length.into()).unwrap_or(0)
    }
}

/// Columns, so that the search reads nothing but first addresses.
#[derive(Debug)]
struct Prefixes<A> {
    starts: Box<[A]>,
    lengths: Box<[u8]>,
    assets: Box<[u32]>,
    /// The nearest one before it that encloses it; of equal ones, the one before.
    parents: Box<[u32]>,
}

impl<A: Bits> Prefixes<A> {
    fn new(mut list: Vec<(A, u8, u32)>) -> Prefixes<A> {
        list.sort_unstable();
        list.dedup();
        let mut parents = Vec::with_capacity(list.len());
        let mut open: Vec<usize> = Vec::new();
        for (index, (start, _, _)) in list.iter().enumerate() {
            while let Some((of, length, _)) = open.last().map(|last| list[*last])
                && of.last(length) < *start
            {
                open.pop();
            }
            parents.push(open.last().map_or(NONE, |last| *last as u32));
            open.push(index);
        }
        Prefixes {
            starts: list.iter().map(|(start, _, _)| *start).collect(),
            lengths: list.iter().map(|(_, length, _)| *length).collect(),
            assets: list.iter().map(|(_, _, asset)| *asset).collect(),
            parents: parents.into(),
        }
    }

    fn enclosing(&self, address: A, mut found: impl FnMut(usize, u32)) {
        let after = self.starts.partition_point(|start| *start <= address);
        let mut next = (after as u32).wrapping_sub(1);
        while next != NONE {
            let index = next as usize;
            if address <= self.starts[index].last(self.lengths[index]) {
                found(index, self.assets[index]);
            }
            next = self.parents[index];
        }
    }
}

impl<A: Bits> Prefixes<A> {
    fn overlapping(
        &self,
        first: A,
        last: A,
        length: u8,
        steps: &mut usize,
        mut found: impl FnMut(usize, u32),
    ) {
        self.enclosing(first, |index, asset| {
            if self.lengths[index] <= length {
                found(index, asset);
            }
        });
        let from = self.starts.partition_point(|start| *start < first);
        let mut any = false;
        for index in from..self.starts.partition_point(|start| *start <= last) {
            if self.lengths[index] > length {
                if any && *steps == 0 {
                    return;
                }
                *steps = steps.saturating_sub(1);
                any = true;
                found(index, self.assets[index]);
            }
        }
    }
}

/// What an operator writes for a network: a prefix without host bits, or an address.
pub fn parse(text: &str) -> Result<IpNet, NetworkError> {
    let given = text.trim();
    if let Ok(address) = given.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let fail = |error: fn(String) -> NetworkError| Err(error(given.chars().take(SHOWN).collect()));
    match given.parse::<IpNet>() {
        Ok(net) if net.trunc() == net => Ok(net),
        Ok(net) => Err(NetworkError::HostBits { given: net, masked: net.trunc() }),
        Err(_) if given.is_empty() => Err(NetworkError::Empty),
        Err(_) if given.contains("://") => fail(NetworkError::Url),
        Err(_) if given.parse::<std::net::SocketAddr>().is_ok() => fail(NetworkError::Port),
        Err(_) => match given.split_once(['/', '-']) {
            Some((address, length)) if address.trim().parse::<IpAddr>().is_ok() => {
                if length.trim().parse::<IpAddr>().is_ok() {
                    fail(NetworkError::RangeOrMask)
                } else {
                    fail(NetworkError::Length)
                }
            }
            _ if given.bytes().any(|byte| byte.is_ascii_alphabetic()) && !given.contains(':') => {
                fail(NetworkError::Name)
            }
            _ => fail(NetworkError::Unknown),
        },
    }
}

/// Characters of an entry that a message repeats.
const SHOWN: usize = 100;

/// Why an entry is no network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("an entry of a list of networks is empty")]
    Empty,
    #[error("`{given}` has host bits set")]
    HostBits { given: IpNet, masked: IpNet },
    #[error("`{0}` is a URL, not a network")]
    Url(String),
    #[error("`{0}` has a port")]
    Port(String),
    #[error("`{0}` is a range or has a mask, not a prefix")]
    RangeOrMask(String),
    #[error("`{0}` has a prefix length that no such address has")]
    Length(String),
    #[error("`{0}` is a name, not a network")]
    Name(String),
    #[error("`{0}` is no address and no network")]
    Unknown(String),
}

impl NetworkError {
    pub fn hint(&self) -> String {
        match self {
            NetworkError::HostBits { given, masked } => {
                format!("write \"{masked}\" for the network, or \"{}\" for the one address", given.addr())
            }
            NetworkError::Port(_) => "write the address alone: a certificate names no port".to_owned(),
            NetworkError::Name(_) => "names stand in domains or exact".to_owned(),
            NetworkError::Length(_) => "0 to 32 for IPv4, 0 to 128 for IPv6".to_owned(),
            _ => "write a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\", or one address".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(networks: &[&str], address: &str, expected: &[&str]) {
        let mut list = NetworkList::default();
        for (asset, network) in networks.iter().enumerate() {
            list.push(parse(network).unwrap(), asset as u32);
        }
        let networks = Networks::new(list);
        let mut found = Vec::new();
        networks.enclosing(address.parse().unwrap(), |index, _| found.push(networks.text(index)));
        assert_eq!(found, expected, "{address}");
    }

    #[test]
    fn all_enclosing_networks_are_found() {
        let nested = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.0.0/24",
            "10.1.0.0/32",
            "10.1.2.0/24",
            "::/0",
            "2001:db8::/32",
        ];
        check(&nested, "10.1.0.0", &["10.1.0.0/32", "10.1.0.0/24", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        check(&nested, "10.1.1.1", &["10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        check(&nested, "10.1.2.255", &["10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        check(&nested, "255.255.255.255", &["0.0.0.0/0"]);
        check(&nested, "2001:db8::1", &["2001:db8::/32", "::/0"]);
        check(&nested, "::", &["::/0"]);
        check(&["1.1.1.1", "1.1.1.1/32"], "1.1.1.1", &["1.1.1.1/32", "1.1.1.1/32"]);
        check(&[], "1.1.1.1", &[]);
        check(&["10.0.0.0/8"], "9.255.255.255", &[]);
        check(&["10.0.0.0/8"], "11.0.0.0", &[]);
    }

    #[test]
    fn a_network_meets_what_holds_it_and_what_it_holds() {
        let watched = [
            "0.0.0.0/0",
            "1.1.0.0/16",
            "1.1.1.0/24",
            "1.1.1.0/32",
            "1.1.1.1/32",
            "1.1.2.0/24",
            "2001:db8::/48",
        ];
        let mut list = NetworkList::default();
        for (asset, network) in watched.iter().enumerate() {
            list.push(parse(network).unwrap(), asset as u32);
        }
        let networks = Networks::new(list);
        for (network, steps, want) in [
            ("1.1.1.0/24", 9, "1.1.1.0/24 1.1.0.0/16 0.0.0.0/0 1.1.1.0/32 1.1.1.1/32"),
            ("1.1.1.0/30", 9, "1.1.1.0/24 1.1.0.0/16 0.0.0.0/0 1.1.1.0/32 1.1.1.1/32"),
            ("1.1.1.4/30", 9, "1.1.1.0/24 1.1.0.0/16 0.0.0.0/0"),
            ("1.0.0.0/8", 9, "0.0.0.0/0 1.1.0.0/16 1.1.1.0/24 1.1.1.0/32 1.1.1.1/32 1.1.2.0/24"),
            ("1.0.0.0/8", 2, "0.0.0.0/0 1.1.0.0/16 1.1.1.0/24"),
            // Never none of what it holds.
            ("1.0.0.0/8", 0, "0.0.0.0/0 1.1.0.0/16"),
            ("::ffff:1.1.1.0/126", 9, "1.1.1.0/24 1.1.0.0/16 0.0.0.0/0 1.1.1.0/32 1.1.1.1/32"),
            ("2001:db8::/32", 9, "2001:db8::/48"),
            ("2001:db9::/32", 9, ""),
        ] {
            let (mut found, mut left) = (Vec::new(), steps);
            networks.overlapping(network.parse().unwrap(), &mut left, |index, _| {
                found.push(networks.text(index));
            });
            assert_eq!(found.join(" "), want, "{network} {steps}");
        }
        assert!(networks.holds_all("1.1.1.0/25".parse().unwrap(), 2));
        assert!(!networks.holds_all("1.1.0.0/23".parse().unwrap(), 2));
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        check(&["1.1.1.0/24"], "::ffff:1.1.1.1", &["1.1.1.0/24"]);
        check(&["::ffff:1.1.1.0/120"], "1.1.1.1", &["1.1.1.0/24"]);
        check(&["::ffff:0:0/96"], "1.1.1.1", &["0.0.0.0/0"]);
        check(&["::/0"], "1.1.1.1", &[]);
    }

    #[test]
    fn what_is_no_network_says_what_it_is() {
        for (given, message, hint) in [
            (
                "1.1.1.1/24",
                "`1.1.1.1/24` has host bits set",
                "write \"1.1.1.0/24\" for the network, or \"1.1.1.1\" for the one address",
            ),
            ("2606:4700::1/32", "`2606:4700::1/32` has host bits set", "write \"2606:4700::/32\""),
            ("1.1.1.1:443", "`1.1.1.1:443` has a port", "address alone"),
            ("[::1]:443", "`[::1]:443` has a port", "address alone"),
            ("https://1.1.1.1/", "`https://1.1.1.1/` is a URL, not a network", "prefix"),
            ("example.com", "`example.com` is a name, not a network", "domains"),
            ("1.1.1.0/33", "`1.1.1.0/33` has a prefix length that no such address has", "32"),
            ("1.1.1.0-1.1.1.9", "`1.1.1.0-1.1.1.9` is a range or has a mask, not a prefix", "prefix"),
            (
                "1.1.1.0/255.255.255.0",
                "`1.1.1.0/255.255.255.0` is a range or has a mask, not a prefix",
                "prefix",
            ),
            ("1.1.1", "`1.1.1` is no address and no network", "prefix"),
            ("01.1.1.1", "`01.1.1.1` is no address and no network", "prefix"),
            ("", "an entry of a list of networks is empty", "prefix"),
        ] {
            let error = parse(given).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(error.hint().contains(hint), "{}", error.hint());
        }
    }
}
