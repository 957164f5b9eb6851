//! A deterministic firehose: log entries in the order in which a CertStream server would show them.
//!
//! Entries are drawn from the [`Archive`] for ever, each with the next index of its log: three fifths are
//! precertificates, as in the world. When all of the pool have been shown they come again under new indexes,
//! which keeps every message's DER validly signed and costs a few copies a message; only then does a serial
//! repeat. What is planted stands between them, at its time.
//!
//! Same seed and same times: same entries in the same order, with the same names, serials and indexes.
//! Keys, signatures and hashes differ from run to run (see `authority`). Reads no clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Stream;
use super::archive::{Archive, Entry, Recipe};
use super::authority::AuthorityError;
use super::plants::{Due, Plantings, schedule};
use crate::entry::Timestamp;

/// Issuances in the pool: the fewest that do not repeat within a second at 10,000 messages a second.
pub const ISSUANCES: usize = 3_000;

/// All plants are shown within so long after the first entry.
pub const SPREAD: Duration = Duration::from_secs(20);

/// See the module.
pub struct Firehose {
    archive: Arc<Archive>,
    /// Which of the archive's turns is next.
    at: usize,
    due: VecDeque<Due>,
    plantings: Arc<Plantings>,
    /// When the first entry was drawn.
    started: Option<Timestamp>,
}

impl Firehose {
    /// Logs are named `<base_url>/log/<name>`; `base_url` has no slash at its end. `now` dates the
    /// certificates.
    pub fn new(seed: u64, base_url: &str, now: Timestamp) -> Result<Firehose, AuthorityError> {
        let base_url = base_url.to_owned();
        let recipe = Recipe { seed, base_url, now, issuances: ISSUANCES, drop_one_in: None };
        Ok(Firehose::of(Arc::new(Archive::new(&recipe)?)))
    }

    /// Entries that go into the logs of `archive`; nobody else appends to them.
    pub fn of(archive: Arc<Archive>) -> Firehose {
        let due = schedule(SPREAD, archive.logs().len()).into();
        Firehose { archive, at: 0, due, plantings: Arc::new(Plantings::new()), started: None }
    }

    /// The next entry, which its log has from now on. `now` never goes back.
    pub fn draw(&mut self, now: Timestamp) -> Entry {
        let elapsed = now.millis_since(*self.started.get_or_insert(now));
        let Some(due) = self.due.front().copied().filter(|due| due.after <= elapsed) else {
            let log = self.archive.turn(self.at);
            self.at += 1;
            return self.archive.append(log, None, now);
        };
        self.due.pop_front();
        let entry = self.archive.append(due.log as u8, Some((due.plant, due.kind)), now);
        self.plantings.show(due.plant, now);
        if self.archive.drops(&entry) {
            self.plantings.lose(due.plant);
        }
        entry
    }

    /// Appends the message of `entry` in `stream`.
    pub fn write(&self, entry: &Entry, stream: Stream, out: &mut Vec<u8>) {
        self.archive.write(entry, stream, out);
    }

    /// What is planted, and when it was shown.
    pub fn plantings(&self) -> Arc<Plantings> {
        Arc::clone(&self.plantings)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::digest::{SHA256, digest};
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey, VerificationAlgorithm,
    };
    use serde_json::Value;
    use x509_parser::prelude::*;

    use super::*;
    use crate::demo::authority::Kind;
    use crate::demo::message::Times;
    use crate::demo::plants::{Expects, PLANTS};

    const NOW: Timestamp = Timestamp(1_795_455_603_604);
    const POOL: usize = 40;

    fn firehose(seed: u64) -> Firehose {
        sized(seed, POOL)
    }

    fn sized(seed: u64, issuances: usize) -> Firehose {
        let base_url = "http://127.0.0.1:8080".to_owned();
        let recipe = Recipe { seed, base_url, now: NOW, issuances, drop_one_in: None };
        Firehose::of(Arc::new(Archive::new(&recipe).unwrap()))
    }

    impl Firehose {
        fn kind(&self, entry: &Entry) -> Kind {
            self.archive.leaf(entry).kind
        }

        fn is_tiled(&self, entry: &Entry) -> bool {
            self.archive.logs()[usize::from(entry.log)].tiled
        }
    }

    fn text(firehose: &Firehose, entry: &Entry, stream: Stream) -> String {
        let mut out = Vec::new();
        firehose.write(entry, stream, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// All that is shown in `ms` milliseconds, at one entry a millisecond.
    fn run(firehose: &mut Firehose, ms: i64) -> Vec<Entry> {
        (0..ms).map(|n| firehose.draw(NOW.plus_millis(n))).collect()
    }

    /// Keys of every object, depth first, as `a.b.c`.
    fn keys(text: &str) -> Vec<String> {
        // serde_json sorts a map's keys: order is read off the text, where keys stand before a colon.
        let mut path: Vec<String> = Vec::new();
        let mut out = Vec::new();
        let mut key = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    let mut string = String::new();
                    while let Some(c) = chars.next() {
                        match c {
                            '\\' => string.extend(chars.next()),
                            '"' => break,
                            c => string.push(c),
                        }
                    }
                    if chars.peek() == Some(&':') {
                        key = string;
                        out.push(path.iter().chain([&key]).cloned().collect::<Vec<_>>().join("."));
                    }
                }
                '{' => path.push(std::mem::take(&mut key)),
                '}' => {
                    path.pop();
                }
                _ => {}
            }
        }
        out
    }

    #[test]
    fn keys_stand_in_the_order_of_the_real_server() {
        // Order of keys in messages captured from certstream-server-go 1.9.0.
        let leaf = |der: bool, poison: bool, ca: bool| {
            let mut keys = vec!["all_domains"];
            keys.extend(der.then_some("as_der"));
            keys.push("extensions");
            keys.extend((!ca).then_some("authorityInfoAccess"));
            keys.extend(["authorityKeyIdentifier", "basicConstraints", "keyUsage"]);
            keys.extend((!ca).then_some("subjectAltName"));
            keys.push("subjectKeyIdentifier");
            keys.extend(poison.then_some("ctlPoisonByte"));
            keys.extend(["fingerprint", "sha1", "sha256", "not_after", "not_before", "serial_number"]);
            keys.push("signature_algorithm");
            for who in ["subject", "issuer"] {
                keys.extend([who, "C", "CN", "L", "O", "OU", "ST", "aggregated", "email_address"]);
            }
            keys.push("is_ca");
            keys
        };
        let mut firehose = firehose(1);
        for entry in run(&mut firehose, 400) {
            let tiled = firehose.is_tiled(&entry);
            let poison = firehose.kind(&entry) == Kind::Precertificate;
            for stream in [Stream::Full, Stream::Lite] {
                let text = text(&firehose, &entry, stream);
                let full = stream == Stream::Full;
                let mut want = vec!["data", "cert_index", "cert_link"];
                if full && !tiled {
                    want.push("chain");
                    want.extend(leaf(true, false, true));
                    // A root has no key identifier of an authority above it.
                    want.extend(
                        leaf(true, false, true).iter().filter(|&&key| key != "authorityKeyIdentifier"),
                    );
                }
                want.push("leaf_cert");
                want.extend(leaf(full && !(tiled && poison), poison, false));
                want.extend(["seen", "source", "name", "url", "timestamp", "type", "update_type"]);
                want.push("message_type");
                let got: Vec<String> =
                    keys(&text).iter().filter_map(|key| Some(key.rsplit_once('.')?.1.into())).collect();
                assert_eq!(got, want, "{text}");
                assert!(text.ends_with("}\n"));
                serde_json::from_str::<Value>(&text).unwrap();
            }
            let domains = text(&firehose, &entry, Stream::Domains);
            assert_eq!(keys(&domains), [".data", ".message_type"]);
            assert!(domains.ends_with("\"dns_entries\"}"));
        }
    }

    /// Every key that the real server wrote, in its order, with nothing else repeated in between.
    #[test]
    fn keys_match_captured_messages() {
        for (captured, stream, tiled, first) in [
            (
                include_str!("../../tests/data/certstream-go/rfc6962-full-mixed-pre.json"),
                Stream::Full,
                false,
                "{\"data\":{\"cert_index\":",
            ),
            (
                include_str!("../../tests/data/certstream-go/tiled-lite-wild-pre.json"),
                Stream::Lite,
                true,
                "{\"data\":{\"cert_index\":",
            ),
            (
                include_str!("../../tests/data/certstream-go/tiled-domains-only-dns.json"),
                Stream::Domains,
                true,
                "{\"data\":[\"",
            ),
        ] {
            let mut firehose = firehose(1);
            let entry = loop {
                let entry = firehose.draw(NOW);
                let pre = firehose.kind(&entry) == Kind::Precertificate;
                if pre && firehose.is_tiled(&entry) == tiled {
                    break entry;
                }
            };
            let text = text(&firehose, &entry, stream);
            assert!(captured.starts_with(first) && text.starts_with(first), "{text}");
            assert_eq!(captured.ends_with('\n'), text.ends_with('\n'));
            let ours = keys(&text);
            let mut rest = ours.iter();
            for key in keys(captured) {
                assert!(rest.any(|ours| *ours == key), "{key} is not in its place: {ours:?}");
            }
        }
    }

    #[test]
    fn text_and_der_agree() {
        let mut firehose = firehose(7);
        let mut checked = 0;
        for entry in run(&mut firehose, 19_990) {
            // The whole pool, and all plants.
            if checked > 600 && entry.leaf < 2 * POOL as u32 {
                continue;
            }
            let full: Value = serde_json::from_str(&text(&firehose, &entry, Stream::Full)).unwrap();
            let data = &full["data"];
            let leaf = &data["leaf_cert"];
            let tiled = data["source"]["type"] == "tiled";
            let pre = data["update_type"] == "PrecertLogEntry";
            assert_eq!(leaf["extensions"]["ctlPoisonByte"] == true, pre);
            if tiled && pre {
                assert_eq!(leaf["as_der"], Value::Null);
                assert!(leaf["sha256"].as_str().unwrap().starts_with("E3:B0:C4:42"));
                assert_eq!(data["cert_link"], "");
                continue;
            }
            checked += 1;
            let der = STANDARD.decode(leaf["as_der"].as_str().unwrap()).unwrap();
            let hash: Vec<String> =
                digest(&SHA256, &der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
            assert_eq!(leaf["sha256"], hash.join(":"));
            let (rest, read) = X509Certificate::from_der(&der).unwrap();
            assert!(rest.is_empty());
            let serial: String =
                read.raw_serial().iter().skip_while(|&&b| b == 0).map(|b| format!("{b:02X}")).collect();
            assert_eq!(leaf["serial_number"], serial);
            assert_eq!(leaf["not_before"], read.validity().not_before.timestamp());
            assert_eq!(leaf["not_after"], read.validity().not_after.timestamp());
            let common_name = read.subject().iter_common_name().next().map_or("", |cn| cn.as_str().unwrap());
            assert_eq!(leaf["subject"]["CN"], common_name);
            let organization = read.issuer().iter_organization().next().unwrap().as_str().unwrap();
            assert_eq!(leaf["issuer"]["O"], organization);
            let names = &read.subject_alternative_name().unwrap().unwrap().value.general_names;
            let dns = names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
                _ => None,
            });
            let addresses = names.iter().filter_map(|name| match name {
                GeneralName::IPAddress([a, b, c, d]) => Some(format!("IP Address:{a}.{b}.{c}.{d}")),
                GeneralName::IPAddress(octets) => {
                    let octets: [u8; 16] = (*octets).try_into().unwrap();
                    let address = std::net::Ipv6Addr::from(octets);
                    Some(format!("IP Address:{}", std::net::IpAddr::V6(address).to_canonical()))
                }
                _ => None,
            });
            let text = dns.chain(addresses).collect::<Vec<_>>().join(", ");
            assert_eq!(leaf["extensions"]["subjectAltName"], text);
            if !tiled {
                // The nearest certificate of the chain really signed it.
                let above = STANDARD.decode(data["chain"][0]["as_der"].as_str().unwrap()).unwrap();
                let (_, above) = X509Certificate::from_der(&above).unwrap();
                assert_eq!(read.issuer().as_raw(), above.subject().as_raw());
                let algorithm: &dyn VerificationAlgorithm = match leaf["signature_algorithm"].as_str() {
                    Some("ecdsa, sha256") => &ECDSA_P256_SHA256_ASN1,
                    _ => &ECDSA_P384_SHA384_ASN1,
                };
                UnparsedPublicKey::new(algorithm, &above.public_key().subject_public_key.data)
                    .verify(read.tbs_certificate.as_ref(), &read.signature_value.data)
                    .unwrap();
            }
        }
        assert!(checked > 600);
    }

    #[test]
    fn indexes_of_a_log_are_contiguous() {
        let mut firehose = firehose(3);
        let mut next: HashMap<u8, u64> = HashMap::new();
        let entries = run(&mut firehose, 3_000);
        for entry in &entries {
            let expected = next.entry(entry.log).or_insert(entry.index);
            assert_eq!(entry.index, *expected);
            *expected += 1;
        }
        assert_eq!(next.len(), 4);
        let pre = entries.iter().filter(|entry| firehose.kind(entry) == Kind::Precertificate).count();
        assert!((1_600..2_000).contains(&pre), "{pre} of 3,000 are precertificates");
    }

    /// What keys and signatures do not reach is the same, byte for byte.
    #[test]
    fn one_seed_gives_one_sequence() {
        let stable = |text: &str| {
            let mut value: Value = serde_json::from_str(text).unwrap();
            let leaf = value["data"]["leaf_cert"].as_object_mut().unwrap();
            for key in ["fingerprint", "sha1", "sha256"] {
                leaf.remove(key);
            }
            leaf["extensions"].as_object_mut().unwrap().remove("subjectKeyIdentifier");
            value
        };
        let (mut one, mut two, mut other) = (firehose(5), firehose(5), firehose(6));
        let mut differ = 0;
        for n in 0..1_500 {
            let at = NOW.plus_millis(n);
            let (a, b, c) = (one.draw(at), two.draw(at), other.draw(at));
            assert_eq!(a, b);
            assert_eq!(text(&one, &a, Stream::Domains), text(&two, &b, Stream::Domains));
            assert_eq!(stable(&text(&one, &a, Stream::Lite)), stable(&text(&two, &b, Stream::Lite)));
            differ += usize::from(text(&one, &a, Stream::Domains) != text(&other, &c, Stream::Domains));
        }
        assert!(differ > 1_000, "another seed, another sequence: {differ}");
    }

    #[test]
    fn every_plant_is_shown_in_time() {
        let mut firehose = firehose(1);
        let plantings = firehose.plantings();
        run(&mut firehose, 2_000);
        let early = plantings.iter().filter(|p| p.shown().is_some()).count();
        assert!(early >= 1);
        // 200 messages a second, the default.
        for n in (2_000..20_000).step_by(5) {
            firehose.draw(NOW.plus_millis(n));
        }
        for planting in plantings.iter() {
            assert!(planting.shown().is_some(), "{}", planting.plant.id);
        }
        assert!(firehose.due.is_empty());
    }

    /// The pool holds nothing that the demo's list watches, by the plainest of searches.
    #[test]
    fn background_is_silent() {
        let firehose = sized(1, 200);
        for leaf in 0..400 {
            let times = Times { logged: NOW, seen: NOW };
            let text = text(&firehose, &Entry { leaf, log: 2, index: 0, times }, Stream::Lite);
            let value: Value = serde_json::from_str(&text).unwrap();
            let names = value["data"]["leaf_cert"]["extensions"]["subjectAltName"].as_str().unwrap();
            for watched in ["example", "Address:1.", "Address:2606"] {
                assert!(!names.contains(watched), "{names}");
            }
        }
        let silent = PLANTS.iter().filter(|plant| plant.expects == Expects::Silence).count();
        assert_eq!(silent, 1);
    }

    #[test]
    fn crowd_is_as_large_as_a_real_one() {
        let firehose = firehose(1);
        let plant = PLANTS.iter().position(|plant| plant.id == "shop-crowd").unwrap();
        let leaf = 2 * (POOL + plant) as u32;
        let times = Times { logged: NOW, seen: NOW };
        let full = text(&firehose, &Entry { leaf, log: 0, index: 9, times }, Stream::Full);
        assert!((500_000..1_000_000).contains(&full.len()), "{}", full.len());
        let value: Value = serde_json::from_str(&full).unwrap();
        assert_eq!(value["data"]["leaf_cert"]["all_domains"].as_array().unwrap().len(), 10_000);
    }
}
