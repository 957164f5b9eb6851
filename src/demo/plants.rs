//! What is hidden in the firehose, and what must become of it.
//!
//! Between February 2024 and August 2025 Fina, an authority that Microsoft trusts, issued twelve
//! certificates for 1.1.1.1. The names and serials of *three* are publicly documented; the other nine
//! here are invented in their style. All twelve are look-alikes: a key of our own signs them under the
//! authority's documented name, and no hash of theirs is that of a real certificate. Beside them stand
//! other ways to name an address or a shop, renewals that are expected, and near misses that must stay
//! silent.
//!
//! Each plant appears as precertificate and, two seconds later, as certificate in another log; half of
//! the precertificates in a log whose messages carry no DER. [`WATCH_LIST`] is the list that finds them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use super::authority::{FINA, IDENTITIES, Kind, MERIDIAN, Name, OPEN_HARBOR, Subject, TALLGRASS, Template};
use crate::entry::Timestamp;

/// One planted issuance.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    pub id: &'static str,
    /// For a person: what is special about it.
    pub description: &'static str,
    /// Names and serial are publicly known facts of the incident; else they are invented.
    pub documented: bool,
    pub expects: Expects,
    /// Place in [`IDENTITIES`].
    pub issuer: usize,
    /// Hex, even, without leading zeros.
    serial: &'static str,
    common_name: &'static str,
    names: Names,
}

/// What certsieve must make of a plant, with [`WATCH_LIST`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expects {
    /// One alert for this asset, this severe.
    Alert { asset: &'static str, severity: &'static str },
    /// A match record of this asset and no alert.
    Expected { asset: &'static str },
    /// Nothing.
    Silence,
}

#[derive(Clone, Copy, Debug)]
enum Names {
    /// `ip:` stands in front of an address.
    Listed(&'static [&'static str]),
    /// As many as a real certificate has had, and among them this one.
    TenThousandAnd(&'static str),
}

const RESOLVER: Expects = Expects::Alert { asset: "resolver", severity: "critical" };
const SHOP: Expects = Expects::Alert { asset: "shop", severity: "high" };

/// Everything that is planted.
pub const PLANTS: [Plant; 23] = [
    fina(
        1,
        true,
        "documented: two test names beside the address",
        "d3167efd77cad759000000005fc7c672",
        "test1.hr",
        &["test1.hr", "test12.hr", "ip:1.1.1.1"],
    ),
    fina(
        2,
        true,
        "documented: the same, another name",
        "f972552d6ac08828000000005fc86f4d",
        "test1.hr",
        &["test1.hr", "test11.hr", "ip:1.1.1.1"],
    ),
    fina(
        3,
        true,
        "documented: the same, another common name",
        "beb8ef1b1c6cff53000000005fc8cde5",
        "test11.hr",
        &["test11.hr", "test12.hr", "ip:1.1.1.1"],
    ),
    fina(
        4,
        false,
        "invented: a name of one label",
        "9c41d07be2a85f16000000005fc51a03",
        "ssltest5",
        &["ssltest5", "ip:1.1.1.1"],
    ),
    fina(
        5,
        false,
        "invented: one name beside the address",
        "a7702c9be41d5583000000005fc53b77",
        "test2.hr",
        &["test2.hr", "ip:1.1.1.1"],
    ),
    fina(
        6,
        false,
        "invented: no name at all, the address as common name",
        "84e6b1905df2c73a000000005fc5904c",
        "1.1.1.1",
        &["ip:1.1.1.1"],
    ),
    fina(
        7,
        false,
        "invented: common name that no alternative name repeats",
        "b20f4dc8916a7e35000000005fc5f2d1",
        "test.hr",
        &["test5.hr", "ip:192.0.2.2", "ip:1.1.1.1"],
    ),
    fina(
        8,
        false,
        "invented: address only, a name as common name",
        "c95d3386fb4170ae000000005fc6418e",
        "testssl.hr",
        &["ip:1.1.1.1"],
    ),
    fina(
        9,
        false,
        "invented: no subject at all",
        "de81a6470c3b92f5000000005fc66d20",
        "",
        &["test12.hr", "ip:1.1.1.1"],
    ),
    fina(
        10,
        false,
        "invented: the address behind nine private ones",
        "e3b94f127dc6805a000000005fc6a8f9",
        "testssl.hr",
        &[
            "testssl.hr",
            "ip:10.0.0.1",
            "ip:10.0.0.2",
            "ip:10.0.0.3",
            "ip:10.0.0.4",
            "ip:10.0.0.5",
            "ip:10.0.0.6",
            "ip:10.0.0.7",
            "ip:10.0.0.8",
            "ip:10.0.0.9",
            "ip:1.1.1.1",
        ],
    ),
    fina(
        11,
        false,
        "invented: a wildcard beside the address",
        "91c27ea05b38f64d000000005fc6ee15",
        "*.test1.hr",
        &["*.test1.hr", "test1.hr", "ip:1.1.1.1"],
    ),
    fina(
        12,
        false,
        "invented: both resolver addresses",
        "fa06d835c1497b2e000000005fc74b62",
        "test3.hr",
        &["test3.hr", "ip:1.1.1.1", "ip:1.0.0.1"],
    ),
    Plant {
        id: "resolver-renewal",
        description: "the resolver's own renewal",
        documented: false,
        expects: Expects::Expected { asset: "resolver" },
        issuer: MERIDIAN,
        serial: "0b17c2d94e80f6a53d21",
        common_name: "resolver.example",
        names: Names::Listed(&[
            "resolver.example",
            "*.resolver.example",
            "ip:1.1.1.1",
            "ip:1.0.0.1",
            "ip:2606:4700:4700::1111",
        ]),
    },
    Plant {
        id: "resolver-v6",
        description: "the resolver's IPv6 address",
        documented: false,
        expects: RESOLVER,
        issuer: TALLGRASS,
        serial: "6d90ab41c7e2350f8814",
        common_name: "",
        names: Names::Listed(&["ip:2606:4700:4700::1111"]),
    },
    Plant {
        id: "resolver-mapped",
        description: "1.1.1.1 as an IPv4-mapped IPv6 address",
        documented: false,
        expects: RESOLVER,
        issuer: TALLGRASS,
        serial: "3fe15208bd9cc6a74410",
        common_name: "edge.test",
        names: Names::Listed(&["edge.test", "ip:::ffff:1.1.1.1"]),
    },
    Plant {
        id: "resolver-literal",
        description: "1.1.1.1 written as a DNS name",
        documented: false,
        expects: Expects::Alert { asset: "resolver", severity: "high" },
        issuer: TALLGRASS,
        serial: "52c7049ae8b3d1f6700d",
        common_name: "dns.test",
        names: Names::Listed(&["dns.test", "1.1.1.1"]),
    },
    Plant {
        id: "range",
        description: "an address of the resolver's range that nobody may certify",
        documented: false,
        expects: Expects::Alert { asset: "resolver-range", severity: "critical" },
        issuer: MERIDIAN,
        serial: "1e84f3a9026bd75c9930",
        common_name: "router.test",
        names: Names::Listed(&["router.test", "ip:1.1.1.77"]),
    },
    Plant {
        id: "shop-renewal",
        description: "the shop's own renewal",
        documented: false,
        expects: Expects::Expected { asset: "shop" },
        issuer: OPEN_HARBOR,
        serial: "03a6d81f47bc20e59b6e17c4d2f0a853b1",
        common_name: "example.com",
        names: Names::Listed(&["example.com", "www.example.com", "api.example.com"]),
    },
    Plant {
        id: "shop-wildcard",
        description: "a wildcard over the shop from an authority it does not use",
        documented: false,
        expects: SHOP,
        issuer: TALLGRASS,
        serial: "04b92e6f1dc8a3507f21",
        common_name: "*.example.com",
        names: Names::Listed(&["*.example.com"]),
    },
    Plant {
        id: "shop-login",
        description: "the login page, in capitals and with a stranger's names",
        documented: false,
        expects: SHOP,
        issuer: 3,
        serial: "7a11d5c40e9f863b25aa",
        common_name: "cdn.test",
        names: Names::Listed(&["cdn.test", "LOGIN.Example.NET", "img.cdn.test"]),
    },
    Plant {
        id: "shop-crowd",
        description: "one of the shop's names among 10,000",
        documented: false,
        expects: SHOP,
        issuer: 4,
        serial: "15f8c073ba4e62d98c04",
        common_name: "n0.cdn.test",
        names: Names::TenThousandAnd("pay.example.com"),
    },
    Plant {
        id: "lookalike",
        description: "a name that holds the shop's keyword",
        documented: false,
        expects: Expects::Alert { asset: "shop", severity: "low" },
        issuer: OPEN_HARBOR,
        serial: "04d07ae5b1369cf2880417de56b3c9a24f",
        common_name: "secure-examplebank-login.top",
        names: Names::Listed(&["secure-examplebank-login.top", "www.secure-examplebank-login.top"]),
    },
    Plant {
        id: "near-misses",
        description: "names and addresses that only look as if they were watched",
        documented: false,
        expects: Expects::Silence,
        issuer: TALLGRASS,
        serial: "48d3be07f1956a2cc85e",
        common_name: "notexample.com",
        names: Names::Listed(&[
            "notexample.com",
            "example.com.attacker.test",
            "sub.login.example.net",
            "*.example.org",
            "ip:11.1.1.1",
            "ip:1.1.2.1",
            "ip:2606:4700:4701::1111",
        ]),
    },
];

const fn fina(
    number: usize,
    documented: bool,
    description: &'static str,
    serial: &'static str,
    common_name: &'static str,
    names: &'static [&'static str],
) -> Plant {
    const IDS: [&str; 12] = [
        "fina-1", "fina-2", "fina-3", "fina-4", "fina-5", "fina-6", "fina-7", "fina-8", "fina-9", "fina-10",
        "fina-11", "fina-12",
    ];
    Plant {
        id: IDS[number - 1],
        description,
        documented,
        expects: RESOLVER,
        issuer: FINA,
        serial,
        common_name,
        names: Names::Listed(names),
    }
}

/// The list that the demo's pipeline runs with.
pub const WATCH_LIST: &str = r#"# The watch list of `certsieve demo`.

[[asset]]
id = "resolver"
networks = ["1.1.1.1/32", "1.0.0.1/32", "2606:4700:4700::/48"]
policy = "expect"                     # who may issue is said below; anyone else is unexpected
severity = "critical"
labels = { team = "dns-oncall" }
reference = "https://runbooks.example.net/ct"

[[asset.expect]]
issuer_organization = "Meridian Certificate Services"
issuer_common_name = "Meridian TLS ECC CA1"

[[asset]]
id = "resolver-range"
networks = ["1.1.1.0/24", "1.0.0.0/24"]
except = ["1.1.1.1/32", "1.0.0.1/32"] # the resolver's own, judged above
policy = "never-issue"                # any certificate at all is unexpected
labels = { team = "dns-oncall" }

[[asset]]
id = "shop"
domains = ["example.com"]             # the domain and everything under it
exact = ["login.example.net"]         # this name only
policy = "expect"
keywords = ["examplebank"]            # part of anybody's name
keyword_severity = "low"
labels = { team = "shop-security" }

[[asset.expect]]
issuer_organization = "Open Harbor Trust"
issuer_key_id = "0018a04172ed1bec5822443178025e9f4bd2fa42"

[[asset.expect]]
issuer_organization = "Open Harbor Trust"
issuer_common_name = "OH E8"
"#;

/// Place in [`PLANTS`] of what a feed that loses messages never says: one that must wake somebody, and early
/// in the schedule, so that there is time to ask the logs.
pub const LOST_PLANT: usize = 7;

/// Names of the crowd's certificate.
const CROWD: usize = 10_000;

impl Plant {
    /// The certificate. `now` is in seconds.
    pub fn template(&self, now: i64) -> Template {
        let names = match self.names {
            Names::Listed(names) => names.iter().map(|name| listed(name)).collect(),
            Names::TenThousandAnd(name) => {
                let mut names: Vec<Name> =
                    (0..CROWD - 1).map(|n| Name::Dns(format!("n{n}.cdn.test"))).collect();
                names.insert(CROWD / 2, Name::Dns(name.into()));
                names
            }
        };
        let subject = Subject { common_name: self.common_name.into(), ..Subject::default() };
        let not_before = now - 3_600;
        Template {
            subject,
            names,
            serial: bytes(self.serial),
            not_before,
            not_after: not_before + IDENTITIES[self.issuer].days * 86_400 - 1,
        }
    }

    /// `<aki>:<serial>`, under which records of the issuance are found.
    pub fn issuance_key(&self) -> String {
        let id: String = IDENTITIES[self.issuer].key_id().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{id}:{}", self.serial)
    }
}

fn listed(name: &str) -> Name {
    match name.strip_prefix("ip:").and_then(|address| address.parse().ok()) {
        Some(address) => Name::Ip(address),
        None => Name::Dns(name.into()),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).filter_map(|n| u8::from_str_radix(hex.get(2 * n..2 * n + 2)?, 16).ok()).collect()
}

/// One entry that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Since the firehose's first entry, in milliseconds.
    pub after: i64,
    /// Place in [`PLANTS`].
    pub plant: usize,
    pub kind: Kind,
    /// Which of the logs, below `logs`.
    pub log: usize,
}

/// A plant is shown so long before its certificate, in milliseconds.
const PAIR_APART: i64 = 2_000;
/// When the first plant is shown: a second is enough to see that silence is the rule.
const FIRST: i64 = 900;

/// When each plant is shown, sorted: all within `spread`, in an order that mixes kinds.
pub fn schedule(spread: Duration, logs: usize) -> Vec<Due> {
    let spread = i64::try_from(spread.as_millis()).unwrap_or(i64::MAX / 2);
    let count = PLANTS.len() as i64;
    let apart = ((spread - FIRST - PAIR_APART) / count).max(0);
    let mut due: Vec<Due> = Vec::with_capacity(2 * PLANTS.len());
    for turn in 0..PLANTS.len() {
        // Seven has no divisor in common with the number of plants: each has its turn once.
        let plant = turn * 7 % PLANTS.len();
        let log = turn % logs;
        let other = (log + 1 + turn / logs % (logs - 1)) % logs;
        let after = FIRST + turn as i64 * apart;
        due.push(Due { after, plant, kind: Kind::Precertificate, log });
        due.push(Due { after: after + PAIR_APART, plant, kind: Kind::Certificate, log: other });
    }
    due.sort_by_key(|due| due.after);
    due
}

/// What was shown and when: written by the firehose, read by whoever closes the books.
#[derive(Debug)]
pub struct Plantings(Vec<Planting>);

/// One plant of a running firehose.
#[derive(Debug)]
pub struct Planting {
    pub plant: &'static Plant,
    pub issuance_key: String,
    /// Milliseconds since the epoch; [`NOT_YET`] before.
    shown: AtomicI64,
    /// Messages, and those among them that were lost.
    messages: AtomicU32,
    lost: AtomicU32,
}

const NOT_YET: i64 = i64::MIN;

impl Plantings {
    pub(crate) fn new() -> Plantings {
        let planting = |plant: &'static Plant| Planting {
            plant,
            issuance_key: plant.issuance_key(),
            shown: AtomicI64::new(NOT_YET),
            messages: AtomicU32::new(0),
            lost: AtomicU32::new(0),
        };
        Plantings(PLANTS.iter().map(planting).collect())
    }

    /// A log has an entry of the plant, and its message is due. The first says when the plant was shown.
    pub fn show(&self, plant: usize, at: Timestamp) {
        let planting = &self.0[plant];
        let _ = planting.shown.compare_exchange(NOT_YET, at.0, Ordering::Relaxed, Ordering::Relaxed);
        planting.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// The message that was due is not sent.
    pub fn lose(&self, plant: usize) {
        self.0[plant].lost.fetch_add(1, Ordering::Relaxed);
    }

    /// In the order of [`PLANTS`].
    pub fn iter(&self) -> impl Iterator<Item = &Planting> {
        self.0.iter()
    }

    /// The plant that records with this key are about.
    pub fn find(&self, issuance_key: &str) -> Option<&Planting> {
        self.0.iter().find(|planting| planting.issuance_key == issuance_key)
    }

    /// Assets that must alert, for a summary.
    pub fn assets(&self) -> BTreeSet<&'static str> {
        self.0
            .iter()
            .filter_map(|planting| match planting.plant.expects {
                Expects::Alert { asset, .. } => Some(asset),
                _ => None,
            })
            .collect()
    }
}

impl Planting {
    /// When its first entry was in a log.
    pub fn shown(&self) -> Option<Timestamp> {
        Some(self.shown.load(Ordering::Relaxed)).filter(|&at| at != NOT_YET).map(Timestamp)
    }

    /// None of its messages so far was sent: only who asks the logs can know of it.
    pub fn is_lost(&self) -> bool {
        let messages = self.messages.load(Ordering::Relaxed);
        messages > 0 && self.lost.load(Ordering::Relaxed) >= messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_twelve_are_documented() {
        let twelve: Vec<&Plant> = PLANTS.iter().filter(|plant| plant.issuer == FINA).collect();
        assert_eq!(twelve.len(), 12);
        assert_eq!(PLANTS.iter().filter(|plant| plant.documented).count(), 3);
        for plant in twelve {
            assert_eq!(plant.expects, RESOLVER);
            let names = plant.template(0).names;
            assert!(names.contains(&Name::Ip([1, 1, 1, 1].into())), "{}", plant.id);
            assert!(plant.description.starts_with(if plant.documented { "documented" } else { "invented" }));
        }
    }

    #[test]
    fn keys_are_distinct_and_round_trip() {
        let plantings = Plantings::new();
        for planting in plantings.iter() {
            let serial = planting.plant.template(0).serial;
            let hex: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(planting.issuance_key.ends_with(&format!(":{hex}")));
            assert_ne!(serial[0], 0);
            assert_eq!(plantings.find(&planting.issuance_key).unwrap().plant.id, planting.plant.id);
            assert_eq!(planting.shown(), None);
        }
        plantings.show(3, Timestamp(17));
        plantings.show(3, Timestamp(18));
        assert_eq!(plantings.iter().nth(3).unwrap().shown(), Some(Timestamp(17)));
        assert_eq!(
            plantings.assets().into_iter().collect::<Vec<_>>(),
            ["resolver", "resolver-range", "shop"]
        );
    }

    #[test]
    fn what_is_lost_altogether_is_critical_and_comes_early() {
        assert_eq!(PLANTS[LOST_PLANT].expects, RESOLVER);
        let due = schedule(Duration::from_secs(20), 4);
        let last = due.iter().rfind(|due| due.plant == LOST_PLANT).unwrap();
        assert!(last.after < 5_000, "{last:?}");
        let plantings = Plantings::new();
        for (lose, want) in [(true, true), (true, true), (false, false), (true, false)] {
            plantings.show(LOST_PLANT, Timestamp(17));
            if lose {
                plantings.lose(LOST_PLANT);
            }
            let lost: Vec<bool> = plantings.iter().map(Planting::is_lost).collect();
            assert_eq!(lost.iter().position(|lost| *lost), want.then_some(LOST_PLANT));
        }
    }

    #[test]
    fn each_has_its_turn_in_two_logs() {
        let due = schedule(Duration::from_secs(20), 4);
        assert!(due[0].after <= 1_000);
        assert!(due.iter().all(|due| due.after <= 20_000));
        for plant in 0..PLANTS.len() {
            let shown: Vec<&Due> = due.iter().filter(|due| due.plant == plant).collect();
            let [before, after] = shown.as_slice() else { panic!("{plant}: {shown:?}") };
            assert_eq!((before.kind, after.kind), (Kind::Precertificate, Kind::Certificate));
            assert_ne!(before.log, after.log);
        }
    }

    /// The list says what the plants rely on.
    #[test]
    fn watch_list_names_the_expected_key() {
        let list: toml::Table = WATCH_LIST.parse().unwrap();
        let id: String = IDENTITIES[OPEN_HARBOR].key_id().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(WATCH_LIST.contains(&id), "issuer_key_id = \"{id}\"");
        let assets: Vec<&str> =
            list["asset"].as_array().unwrap().iter().map(|asset| asset["id"].as_str().unwrap()).collect();
        for planting in Plantings::new().iter() {
            match planting.plant.expects {
                Expects::Alert { asset, .. } | Expects::Expected { asset } => {
                    assert!(assets.contains(&asset))
                }
                Expects::Silence => {}
            }
        }
    }
}
