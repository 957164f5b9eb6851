//! A month of one estate: what an owner's thousands of renewals, a hundred times as many strangers and
//! every copy of both come to, and how many of it page.
//!
//! Made by the test, message by message: four logs, two feeds that both show all of it, precertificate and
//! certificate of each issuance. Prints the table that the README shows.

use std::collections::{BTreeMap, BTreeSet};

use certsieve::record::Topic;

use crate::support::entries::{Certificate, San, dns, ip};
use crate::support::pipeline::{Bench, of};

const LIST: &str = r#"
[[asset]]
id = "resolver"
networks = ["1.1.1.1/32", "1.0.0.1/32", "2606:4700:4700::/48"]
policy = "expect"
severity = "critical"
[[asset.expect]]
issuer_organization = "DigiCert Inc"

[[asset]]
id = "range"
networks = ["1.1.1.0/24"]
except = ["1.1.1.1/32"]
policy = "never-issue"

[[asset]]
id = "shop"
domains = ["example.com", "example.net"]
keywords = ["examplebank"]
policy = "expect"
[[asset.expect]]
issuer_organization = "Let's Encrypt"
[[asset.expect]]
for = ["cdn.example.com"]
issuer_organization = ["Amazon", "Google Trust Services"]

[[asset]]
id = "vault"
exact = ["vault.example.org"]
policy = "expect"
require = "key"
[[asset.expect]]
issuer_organization = "Let's Encrypt"
subject_spki_sha256 = "KEY"
"#;

const LOGS: [&str; 4] = ["a.example/2026h2", "b.example/2026h2", "c.example/2026h2", "d.example/2026h2"];
const FEEDS: [&str; 2] = ["eu-1", "us-1"];

/// The resolver's certificates live six days; a fleet renews each name every two months.
const RESOLVER_RENEWALS: u32 = 8;
const SHOP_RENEWALS: u32 = 2_000;
const CDN_RENEWALS: u32 = 500;
const VAULT_RENEWALS: u32 = 4;
const LOOKALIKES: u32 = 200;
const STRANGERS: u32 = 100_000;

struct Month {
    bench: Bench,
    /// By log: the next index.
    next: [u64; LOGS.len()],
    serial: u32,
    /// Issuance, in the order made, to its log entries.
    entries: u64,
    table: BTreeMap<&'static str, (u64, u64)>,
    pages: BTreeSet<String>,
    lines: Vec<(usize, String)>,
}

impl Month {
    /// One issuance: its precertificate and its certificate, each in two logs, seen by both feeds.
    fn issue(&mut self, what: &'static str, certificate: Certificate) {
        self.serial += 1;
        let serial = [&[0x10][..], &self.serial.to_be_bytes()].concat();
        let certificate = Certificate { serial, ..certificate };
        for poison in [true, false] {
            let certificate = Certificate { poison, ..certificate.clone() };
            for turn in 0..2 {
                let log = (self.serial as usize + turn) % LOGS.len();
                let index = self.next[log];
                self.next[log] += 1;
                // What nobody watches is sent without its DER: making it would be all the time it takes.
                let with_der = what != "strangers";
                let message = certificate.go(LOGS[log], index, with_der).to_string();
                for feed in 0..FEEDS.len() {
                    self.lines.push((feed, message.clone()));
                }
                self.entries += 1;
            }
        }
        self.table.entry(what).or_default().0 += 1;
        if self.lines.len() >= 1_024 {
            self.take(what);
        }
    }

    fn take(&mut self, what: &'static str) {
        for (feed, name) in FEEDS.iter().enumerate() {
            let messages: Vec<&String> =
                self.lines.iter().filter(|(f, _)| *f == feed).map(|(_, m)| m).collect();
            let batch = self.bench.sift(name, true, &messages);
            self.bench.account.admit(batch, self.bench.now);
        }
        self.lines.clear();
        let out = self.bench.deliver();
        for alert in of(&out, Topic::Alert) {
            assert!(["high", "critical"].contains(&alert.text("/log/level")), "{}", alert.text("/message"));
            assert!(self.pages.insert(alert.id().to_owned()), "paged twice: {}", alert.text("/message"));
            self.table.entry(what).or_default().1 += 1;
        }
    }
}

fn by(organization: &str, san: impl Into<Vec<San>>) -> Certificate {
    Certificate::of(san).issuer(organization, "R13")
}

#[test]
fn a_month_pages_for_what_was_mis_issued_and_for_nothing_else() {
    let vault = by("Let's Encrypt", [dns("vault.example.org")]);
    let key = {
        let der = vault.der();
        certsieve::entry::issuance::sha256_hex(
            certsieve::entry::certificate::walk(&der, &mut Vec::new()).spki,
        )
    };
    let mut month = Month {
        bench: Bench::new(&LIST.replace("KEY", &key)),
        next: [1_000; LOGS.len()],
        serial: 0,
        entries: 0,
        table: BTreeMap::new(),
        pages: BTreeSet::new(),
        lines: Vec::new(),
    };
    let in_turn = |month: &mut Month, what, count: u32, make: &dyn Fn(u32) -> Certificate| {
        (0..count).for_each(|n| month.issue(what, make(n)));
        month.take(what);
    };
    in_turn(&mut month, "the resolver's renewals", RESOLVER_RENEWALS, &|_| {
        by("DigiCert Inc", [ip("1.1.1.1"), ip("1.0.0.1"), ip("2606:4700:4700::1111"), dns("one.one.one.one")])
    });
    in_turn(&mut month, "the shop's renewals", SHOP_RENEWALS, &|n| {
        by("Let's Encrypt", [dns(format!("w{n}.example.com")), dns(format!("*.w{n}.example.net"))])
    });
    in_turn(&mut month, "the shop's renewals at its CDN", CDN_RENEWALS, &|n| {
        by(["Amazon", "Google Trust Services"][n as usize % 2], [dns(format!("e{n}.cdn.example.com"))])
    });
    in_turn(&mut month, "the vault's renewals", VAULT_RENEWALS, &|_| vault.clone());
    in_turn(&mut month, "strangers' names with the keyword", LOOKALIKES, &|n| {
        by("Let's Encrypt", [dns(format!("examplebank-{n}.example.info"))])
    });
    in_turn(&mut month, "strangers", STRANGERS, &|n| match n % 8 {
        0 => by("DigiCert Inc", [dns(format!("*.s{n}.test.org")), dns(format!("s{n}.test.org"))]),
        1 => by("Amazon", [dns(format!("notexample.com.s{n}.test.net"))]),
        2 => by("Sectigo Limited", [dns(format!("xexample{n}.com")), ip("1.1.2.1")]),
        3 => by("Somebody", [ip(&format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255))]),
        _ => by("Let's Encrypt", [dns(format!("s{n}.test.de")), dns(format!("www.s{n}.test.de"))]),
    });
    let fina = |names: &[&str]| {
        let mut san: Vec<San> = names.iter().map(dns).collect();
        san.push(ip("1.1.1.1"));
        Certificate::of(san)
    };
    let planted = vec![
        fina(&["test1.hr", "test12.hr"]),
        fina(&["test1.hr", "test11.hr"]),
        fina(&["test11.hr", "test12.hr"]),
        fina(&["ssltest5"]),
        fina(&["test5.hr"]),
        fina(&[]),
        fina(&["test6.hr"]).common_name("1.1.1.1"),
        Certificate::of([ip("1.0.0.1")]),
        Certificate::of([ip("2606:4700:4700::1001")]),
        Certificate::of([ip("::ffff:1.1.1.1")]),
        Certificate::of([dns("1.1.1.1")]),
        Certificate::of([ip("1.1.1.2")]),
        // The range is nobody's to certify, not even by who may for the resolver.
        by("DigiCert Inc", [ip("1.1.1.9")]),
        by("Somebody", [dns("www.example.com")]),
        by("Somebody", [dns("*.example.com")]),
        by("Digicert inc", [dns("login.example.net")]),
        // What is expected for the CDN is expected there alone.
        by("Amazon", [dns("e1.cdn.example.com"), dns("login.example.com")]),
        by(
            "Somebody",
            (0..5_000)
                .map(|n| dns(format!("n{n}.test.org")))
                .chain([dns("w1.example.com")])
                .collect::<Vec<_>>(),
        ),
        // From the expected CA, and for a key that nobody listed.
        Certificate { subject_key: 9, ..vault.clone() },
        by("Somebody", [dns("*.com")]),
    ];
    assert_eq!(planted.len(), 20);
    for certificate in planted {
        month.issue("mis-issued", certificate);
    }
    month.take("mis-issued");
    println!("| a month of | issuances | pages |\n|---|---:|---:|");
    for (what, (issuances, pages)) in &month.table {
        println!("| {what} | {issuances} | {pages} |");
    }
    println!("{} log entries, each shown by {} feeds", month.entries, FEEDS.len());
    let pages = |what: &str| month.table[what].1;
    assert_eq!(pages("mis-issued"), 20);
    assert_eq!(month.pages.len(), 20, "and no other pages");
    let counts = month.bench.account.counts();
    assert_eq!(counts.messages(), month.entries * FEEDS.len() as u64);
    assert_eq!(counts.repeated, month.entries, "each entry counts once");
}
