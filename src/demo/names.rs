//! A small grammar of names, so that the firehose looks like one: words, labels, suffixes.
//!
//! Counts have the long tail of the real ones: most certificates name a domain and its `www`, the mean
//! is about five and one in a hundred has up to a hundred. The names mean nobody, and none of them lies
//! under what the demo watches or holds its keyword; addresses come from the documentation ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

use super::authority::Name;
use crate::entry::name::to_a_labels;

const FIRST: &str = "amber arbor atlas beacon birch bright canal cedar cinder clear cobalt coral crest delta dune \
    ember falcon fern field flint garnet glade grove harbor hazel heron indigo iris ivory jasper juniper kite lark \
    linden lunar maple marble meadow mistral nimbus north oak onyx opal orchid otter pebble pine plum prairie quartz \
    quill raven river rowan sable saffron sage silver slate solar sparrow spruce summit swift thistle timber topaz \
    tulip umber valley velvet violet walnut willow winter wren zephyr";
const SECOND: &str = "analytics apparel autos bakery books brewery capital care clinic cloud cycles data dental design \
    energy events farm films finance fitness foods games gardens goods group health homes hosting imaging jobs kitchen \
    labs law learning lighting logistics market media metrics mobile motors music network optics outdoors parts pay \
    pets pharma photo pixels plumbing press properties radio realty rentals repair robotics roofing sailing school \
    security soft sports stays studio supply systems tax tech tours toys travel tutors vision works yoga";
const HOSTS: &str = "www mail api app dev staging cdn static shop blog admin portal vpn autodiscover cpanel webmail \
    webdisk status docs git img m test remote login sso support";
/// Repeated to weigh them.
const SUFFIXES: &str = "com com com com com com com com net net org org de de co.uk nl fr com.br io ru it com.au \
    pl ca app dev xyz online shop es se ch eu in info site cloud com.mx jp";
/// Words that need Punycode.
const FOREIGN: [&str; 12] =
    ["bücher", "café", "señal", "grün", "łódka", "мороз", "книги", "桜", "東京", "δέλτα", "مثال", "straße"];

/// The words, split once.
pub struct Grammar {
    first: Vec<&'static str>,
    second: Vec<&'static str>,
    hosts: Vec<&'static str>,
    suffixes: Vec<&'static str>,
    /// A-labels of [`FOREIGN`].
    foreign: Vec<String>,
}

impl Grammar {
    pub fn new() -> Grammar {
        let words = |text: &'static str| text.split_whitespace().collect();
        Grammar {
            first: words(FIRST),
            second: words(SECOND),
            hosts: words(HOSTS),
            suffixes: words(SUFFIXES),
            foreign: FOREIGN
                .iter()
                .filter_map(|word| to_a_labels(word))
                .map(|word| word.into_owned())
                .collect(),
        }
    }

    /// All names of one certificate: 1 to 100.
    pub fn names(&self, rng: &mut Rng) -> Vec<Name> {
        let domain = self.domain(rng);
        let mut names = match rng.u32(0..100) {
            0..15 => vec![Name::Dns(format!("*.{domain}")), Name::Dns(domain)],
            15..40 => vec![Name::Dns(format!("{}.{domain}", self.host(rng)))],
            _ => vec![Name::Dns(format!("www.{domain}")), Name::Dns(domain)],
        };
        let more = match rng.u32(0..100) {
            0..68 => 0,
            68..88 => rng.usize(1..6),
            88..96 => rng.usize(6..20),
            _ => rng.usize(20..99),
        };
        // Half of the long lists are one owner's hosts, half what a hosting company put together.
        let base = rng.bool().then(|| self.domain(rng));
        for n in 0..more {
            names.push(Name::Dns(match &base {
                Some(base) => format!("{}{n}.{base}", self.host(rng)),
                None => self.domain(rng),
            }));
        }
        // One certificate in two hundred names addresses, a third of those nothing else.
        if rng.u32(0..200) == 0 {
            if rng.u32(0..3) == 0 {
                names.clear();
            }
            names.push(Name::Ip(address(rng)));
        }
        names
    }

    /// A registrable domain; one in fifty has an internationalised label.
    fn domain(&self, rng: &mut Rng) -> String {
        let suffix = pick(&self.suffixes, rng);
        if rng.u32(0..50) == 0 && !self.foreign.is_empty() {
            return format!("{}.{suffix}", self.foreign[rng.usize(..self.foreign.len())]);
        }
        let join = if rng.u32(0..4) == 0 { "-" } else { "" };
        let number = if rng.u32(0..5) == 0 { rng.u32(1..1000).to_string() } else { String::new() };
        format!("{}{join}{}{number}.{suffix}", pick(&self.first, rng), pick(&self.second, rng))
    }

    fn host(&self, rng: &mut Rng) -> &'static str {
        pick(&self.hosts, rng)
    }

    /// What an organisation-validated subject says.
    pub fn organization(&self, rng: &mut Rng) -> String {
        let capital = |word: &str| {
            let (head, tail) = word.split_at(1);
            head.to_ascii_uppercase() + tail
        };
        let form = pick(&["Ltd", "GmbH", "Inc.", "S.A.", "B.V.", "& Sons \"Quality\" Co"], rng);
        format!("{} {} {form}", capital(pick(&self.first, rng)), capital(pick(&self.second, rng)))
    }
}

fn pick(words: &[&'static str], rng: &mut Rng) -> &'static str {
    words[rng.usize(..words.len())]
}

/// RFC 5737 and RFC 3849.
fn address(rng: &mut Rng) -> IpAddr {
    match rng.u32(0..4) {
        0 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, rng.u16(..), 0, 0, 0, 0, rng.u16(1..))),
        1 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, rng.u8(..))),
        2 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, rng.u8(..))),
        _ => IpAddr::V4(Ipv4Addr::new(203, 0, 113, rng.u8(..))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mixture that the module promises, over enough certificates that chance does not matter.
    #[test]
    fn mixture() {
        let grammar = Grammar::new();
        assert_eq!(grammar.foreign.len(), FOREIGN.len());
        let mut rng = Rng::with_seed(1);
        let lists: Vec<Vec<Name>> = (0..20_000).map(|_| grammar.names(&mut rng)).collect();
        let share = |yes: &dyn Fn(&[Name]) -> bool| lists.iter().filter(|l| yes(l)).count() as f64 / 20_000.0;
        let dns = |list: &[Name], yes: &dyn Fn(&str) -> bool| {
            list.iter().any(|name| matches!(name, Name::Dns(name) if yes(name)))
        };
        let mean = lists.iter().map(Vec::len).sum::<usize>() as f64 / 20_000.0;
        assert!((4.0..6.0).contains(&mean), "mean {mean}");
        let longest = lists.iter().map(Vec::len).max().unwrap();
        assert!((90..=100).contains(&longest), "longest {longest}");
        let wild = share(&|list| dns(list, &|name| name.starts_with("*.")));
        assert!((0.12..0.18).contains(&wild), "wildcards {wild}");
        let addresses = share(&|list| list.iter().any(|name| matches!(name, Name::Ip(_))));
        assert!((0.003..0.007).contains(&addresses), "addresses {addresses}");
        let first = share(&|list| matches!(&list[0], Name::Dns(name) if name.contains("xn--")));
        assert!((0.012..0.03).contains(&first), "international {first}");
        assert!(!lists.iter().flatten().any(|name| match name {
            Name::Dns(name) => name.contains("example") || !name.is_ascii() || name.contains(".."),
            Name::Ip(_) => false,
        }));
    }
}
