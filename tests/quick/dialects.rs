//! What is read from a message of each server, from frames that no server should send, and from DER that
//! no authority should sign.

use std::collections::BTreeSet;
use std::path::Path;

use certsieve::entry::certificate::{Place, walk};
use certsieve::entry::message::{self, Message};
use certsieve::entry::{Anomaly, Decoder, Entry, Facts};
use proptest::prelude::*;
use serde_json::json;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use crate::support::entries::{Certificate, San, dns};
use crate::support::pipeline::Bench;

/// Decodes one `certificate_update`.
fn decoded<T>(bytes: &[u8], look: impl FnOnce(&Entry<'_>, &Facts) -> T) -> T {
    match message::decode(bytes) {
        Ok(Message::Certificate(update)) => {
            let mut decoder = Decoder::default();
            let entry = decoder.certificate(&update);
            let facts = entry.facts(bytes);
            look(&entry, &facts)
        }
        Ok(Message::Names(names)) => {
            let mut decoder = Decoder::default();
            let entry = decoder.names(&names);
            let facts = entry.facts(bytes);
            look(&entry, &facts)
        }
        other => panic!("{other:?}: {}", String::from_utf8_lossy(bytes)),
    }
}

/// `source value` of each identity, sorted by value.
fn identities(entry: &Entry<'_>) -> Vec<String> {
    let list = entry.identities.iter();
    let mut all: Vec<_> = list
        .map(|i| (entry.identities.value(i), i.provenance.label()))
        .map(|(v, p)| format!("{p} {v}"))
        .collect();
    all.sort_by(|a, b| a.split(' ').next_back().cmp(&b.split(' ').next_back()));
    all
}

fn values(entry: &Entry<'_>) -> BTreeSet<String> {
    entry.identities.iter().map(|i| entry.identities.value(i)).collect()
}

fn captured() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certstream-go/captured");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut all: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.unwrap().path();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    assert!(all.len() >= 58, "{} files in {}", all.len(), folder.display());
    all
}

/// The first few of them, and how many more there are.
fn first(identities: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = identities.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match identities.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Each captured message, as it is understood: read against the table of what was put into the logs.
#[test]
fn captured_messages() {
    let mut table = String::new();
    for (name, bytes) in captured() {
        let row = decoded(&bytes, |entry, facts| {
            format!(
                "{name}\n  {} {} {:?} {} by {}\n  {}\n",
                entry.kind.label(),
                facts.log.as_deref().unwrap_or("-"),
                facts.index,
                facts.issuance_key,
                facts.issuer.distinguished_name,
                first(&identities(entry))
            )
        });
        table.push_str(&row);
    }
    insta::assert_snapshot!("captured", table);
}

/// With the DER taken away, text alone gives the same identities, key and times.
#[test]
fn text_of_the_go_server_says_what_its_der_says() {
    for (name, bytes) in captured() {
        let mut message: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let leaf = message.pointer_mut("/data/leaf_cert").and_then(|leaf| leaf.as_object_mut());
        let Some(leaf) = leaf.filter(|leaf| leaf.get("as_der").is_some_and(|der| der != "")) else {
            continue;
        };
        leaf.remove("as_der");
        let text = message.to_string();
        decoded(&bytes, |entry, facts| {
            assert_eq!(facts.evidence.label(), "der", "{name}");
            assert!(
                entry.anomalies.iter().all(|a| a == Anomaly::IpInCommonName),
                "{name}: {:?}",
                entry.anomalies
            );
            decoded(text.as_bytes(), |of_text, facts_of_text| {
                assert_eq!(values(of_text), values(entry), "{name}");
                assert_eq!(facts_of_text.issuance_key, facts.issuance_key, "{name}");
                assert_eq!(facts_of_text.not_before, facts.not_before, "{name}");
                assert_eq!(facts_of_text.not_after, facts.not_after, "{name}");
                assert_eq!(facts_of_text.issuer.organization, facts.issuer.organization, "{name}");
                assert_eq!(facts_of_text.kind, facts.kind, "{name}");
            });
        });
    }
}

struct Row {
    dialect: &'static str,
    message: serde_json::Value,
    key: &'static str,
    log: Option<&'static str>,
    index: Option<u64>,
    kind: &'static str,
    log_time: Option<&'static str>,
    organization: Option<&'static str>,
    identities: &'static [&'static str],
}

/// Written after each server's sources, one certificate for the same names in each.
#[test]
fn each_dialect() {
    let rust = Row {
        dialect: "rust",
        message: json!({"message_type": "certificate_update", "data": {
            "update_type": "PrecertLogEntry",
            "leaf_cert": {
                "subject": {"CN": "a.example", "aggregated": "/CN=a.example"},
                "issuer": {"C": "XX", "CN": "Test CA 1", "O": "Test, Inc.", "aggregated": "/C=XX/CN=Test CA 1/O=Test, Inc."},
                "serial_number": "0498BD", "not_before": 1_795_595_398, "not_after": 1_803_231_167,
                "signature_algorithm": "sha256, rsa", "is_ca": false,
                "all_domains": ["a.example", "*.a.example", "192.0.2.1"],
                "extensions": {"authorityKeyIdentifier": "keyid:0a:0b",
                    "subjectAltName": "DNS:a.example, DNS:*.a.example, IP Address:192.0.2.1, IP Address:2001:db8::1",
                    "ctlPoisonByte": true}},
            "cert_index": 7, "cert_link": "", "seen": 1_795_599_001.0, "submission_timestamp": 1_795_598_998.871,
            "source": {"name": "Log", "url": "https://Log.example/2026/"}}}),
        key: "0a0b:0498bd",
        log: Some("log.example/2026"),
        index: Some(7),
        kind: "precertificate",
        log_time: Some("2026-11-25T09:29:58.871Z"),
        organization: Some("Test, Inc."),
        identities: &[
            "text.san *.a.example",
            "text.san 192.0.2.1",
            "text.san 2001:db8::1",
            "text.san a.example",
        ],
    };
    // Nothing but what was known of a leaf in those days: no issuer, times as floats, `keyid` with a line
    // feed, addresses joined by dots, update types of its own.
    let elixir = Row {
        dialect: "elixir",
        message: json!({"message_type": "certificate_update", "data": {
            "update_type": "PrecertLogEntry",
            "leaf_cert": {
                "all_domains": ["a.example", "*.a.example"],
                "subject": {"CN": "a.example", "C": null, "aggregated": "/CN=a.example"},
                "issuer": {"C": "XX", "CN": "Test CA 1", "O": "Test, Inc.", "aggregated": "/C=XX"},
                "extensions": {"authorityKeyIdentifier": "keyid:0A:0B\n", "ctlPoisonByte": true,
                    "keyUsage": "Digital Signature",
                    "subjectAltName": "DNS:a.example, IP:192.0.2.1, IP:32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1, DNS:*.a.example"},
                "serial_number": "498BD", "not_before": 1_795_595_398, "not_after": "no_expiration"},
            "cert_index": 7, "seen": 1_795_599_001.5,
            "source": {"name": "Log", "url": "log.example/2026/"}}}),
        key: "0a0b:0498bd",
        log: Some("log.example/2026"),
        index: Some(7),
        kind: "precertificate",
        log_time: None,
        organization: Some("Test, Inc."),
        identities: &[
            "text.san *.a.example",
            "text.san 192.0.2.1",
            "text.san 2001:db8::1",
            "text.san a.example",
        ],
    };
    let python = Row {
        dialect: "python of 2017",
        message: json!({"message_type": "certificate_update", "data": {
            "update_type": "X509LogEntry",
            "leaf_cert": {
                "all_domains": ["a.example", "*.a.example"],
                "subject": {"CN": "a.example", "C": null, "L": null, "O": null, "OU": null, "ST": null, "aggregated": "/CN=a.example"},
                "extensions": {"authorityKeyIdentifier": "keyid:0A:0B\n", "subjectKeyIdentifier": "0C",
                    "subjectAltName": "DNS:a.example, DNS:*.a.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1"},
                "not_before": 1_795_595_398.0, "not_after": 1_803_231_167.0, "serial_number": "498bd",
                "fingerprint": "00:11"},
            "chain": [{"subject": {"O": "Test, Inc.", "CN": "Test CA 1"}}],
            "cert_index": "7", "seen": "1795599001.5",
            "source": {"name": "Log", "url": "log.example/2026"}}}),
        key: "0a0b:0498bd",
        log: Some("log.example/2026"),
        index: Some(7),
        kind: "certificate",
        log_time: None,
        organization: None,
        identities: &[
            "text.san *.a.example",
            "text.san 192.0.2.1",
            "text.san 2001:db8::1",
            "text.san a.example",
        ],
    };
    let bare = Row {
        dialect: "next to nothing",
        message: json!({"data": {"leaf_cert": {"subject": {"CN": "a.example"}}}}),
        key: "-:-",
        log: None,
        index: None,
        kind: "certificate",
        log_time: None,
        organization: None,
        identities: &["cn a.example"],
    };
    for row in [rust, elixir, python, bare] {
        decoded(row.message.to_string().as_bytes(), |entry, facts| {
            assert_eq!(identities(entry), row.identities, "{}", row.dialect);
            assert_eq!(facts.issuance_key, row.key, "{}", row.dialect);
            assert_eq!(facts.log.as_deref(), row.log, "{}", row.dialect);
            assert_eq!(facts.index, row.index, "{}", row.dialect);
            assert_eq!(facts.kind.label(), row.kind, "{}", row.dialect);
            let log_time = facts.log_time.map(|t| t.to_string());
            assert_eq!(log_time.as_deref(), row.log_time, "{}", row.dialect);
            let organization = facts.issuer.organization.first().map(String::as_str);
            assert_eq!(organization, row.organization, "{}", row.dialect);
            assert!(entry.malformed.is_none() && entry.anomalies.is_empty(), "{}", row.dialect);
        });
    }
}

const NASTY_LIST: &str = "[[asset]]\nid = 'a'\ndomains = ['watched.example']\npolicy = 'observe'";
const NASTY_NETWORKS: &str = "[[asset]]\nid = 'a'\ndomains = ['watched.example']\nnetworks = ['192.0.2.0/24', '2001:db8::/32']\npolicy = 'observe'";

const W: &str = "www.watched.example";

/// One frame each, and what becomes of it: outcome, reason, identities that match.
#[test]
fn nasty_frames() {
    let good = Certificate::of([dns("www.watched.example")]);
    let full = || good.go("log.example", 7, true);
    let changed = |pointer: &str, value: serde_json::Value| {
        let mut message = full();
        match message.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => panic!("{pointer}"),
        }
        message.to_string().into_bytes()
    };
    let text_only = |san: &str| {
        let mut message = good.go("log.example", 7, false);
        message["data"]["leaf_cert"]["extensions"]["subjectAltName"] = san.into();
        message["data"]["leaf_cert"]["all_domains"] = json!(["other.example"]);
        message.to_string().into_bytes()
    };
    let without = |key: &str| {
        let mut message = full();
        message["data"]["leaf_cert"].as_object_mut().unwrap().remove(key);
        message.to_string().into_bytes()
    };
    let raw = |text: &str| text.as_bytes().to_vec();
    let whole = full().to_string();
    let urlsafe = {
        use base64::Engine;
        let mut odd = good.clone();
        // Octets that give - and _ in that alphabet.
        odd.serial = vec![0x7b, 0xff, 0xfe, 0xfb, 0xef, 0xbe, 0xff];
        let mut message = odd.go("log.example", 7, true);
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(odd.der());
        assert!(text.contains(['-', '_']));
        message["data"]["leaf_cert"]["as_der"] = text.into();
        message["data"]["leaf_cert"]["all_domains"] = json!([]);
        message["data"]["leaf_cert"]["extensions"]["subjectAltName"] = json!(null);
        message.to_string().into_bytes()
    };
    let cut_der = {
        let text = full()["data"]["leaf_cert"]["as_der"].as_str().unwrap().to_owned();
        text[..text.len() / 2 / 4 * 4].to_owned()
    };
    let names = NASTY_LIST;
    let nets = NASTY_NETWORKS;
    type Row<'a> = (&'a str, &'a str, Vec<u8>, &'a str, &'a [&'a str]);
    let rows: Vec<Row<'_>> = vec![
        ("ok", nets, raw(&whole), "matched", &[W]),
        ("ok_trailing_newline", nets, raw(&format!("{whole}\n")), "matched", &[W]),
        (
            "dns_entries",
            names,
            raw(r#"{"data":["1.1.1.1","*.watched.example"],"message_type":"dns_entries"}"#),
            "matched",
            &["*.watched.example"],
        ),
        ("dns_entries_empty", names, raw(r#"{"data":[],"message_type":"dns_entries"}"#), "unmatched", &[]),
        ("dns_entries_null", names, raw(r#"{"data":null,"message_type":"dns_entries"}"#), "unmatched", &[]),
        (
            "slash_escaped",
            names,
            raw(r#"{"data":["x\/www.watched.example"],"message_type":"dns_entries"}"#),
            "matched",
            &["?.watched.example", W],
        ),
        (
            "surrogate_pair",
            names,
            raw(r#"{"data":["\ud83d\ude00.watched.example"],"message_type":"dns_entries"}"#),
            "matched",
            &["xn--e28h.watched.example"],
        ),
        (
            "lone_surrogate",
            names,
            raw(r#"{"data":["\ud800.example","watched.example"],"message_type":"dns_entries"}"#),
            "malformed json",
            &[],
        ),
        ("empty", nets, raw(""), "other", &[]),
        ("whitespace", nets, raw(" \n\t "), "other", &[]),
        ("null", nets, raw("null"), "malformed not_object", &[]),
        ("two_values", nets, raw(&format!("{whole}{whole}")), "malformed json", &[]),
        ("truncated", nets, raw(&whole[..whole.len() - 40]), "malformed json", &[]),
        ("truncated_in_escape", nets, raw(r#"{"data":["\u00"#), "malformed json", &[]),
        (
            "type_list",
            nets,
            raw(r#"{"message_type":["certificate_update"],"data":["watched.example"]}"#),
            "malformed message_type",
            &[],
        ),
        (
            "data_null",
            nets,
            raw(r#"{"message_type":"certificate_update","data":null}"#),
            "malformed no_leaf",
            &[],
        ),
        (
            "data_string",
            nets,
            raw(r#"{"message_type":"certificate_update","data":"x"}"#),
            "malformed no_leaf",
            &[],
        ),
        (
            "domains_nonstring",
            nets,
            changed("/data/leaf_cert/all_domains", json!([7, null, {"a": 1}, ["x"], W])),
            "malformed field_type",
            &[W],
        ),
        ("domains_null", nets, changed("/data/leaf_cert/all_domains", json!(null)), "matched", &[W]),
        ("domains_missing", nets, without("all_domains"), "matched", &[W]),
        (
            "dup_keys",
            names,
            raw(r#"{"message_type":"heartbeat","message_type":"dns_entries","data":["watched.example"]}"#),
            "matched",
            &["watched.example"],
        ),
        ("int_times", nets, changed("/data/seen", json!(1_795_599_001)), "matched", &[W]),
        ("exp_times", nets, raw(&whole.replace("1795599001.95", "1.79559900195e9")), "matched", &[W]),
        ("neg_index", nets, changed("/data/cert_index", json!(-1)), "matched", &[W]),
        (
            "float_not_before",
            nets,
            changed("/data/leaf_cert/not_before", json!(1_795_595_398.5)),
            "matched",
            &[W],
        ),
        ("nan", nets, raw(&whole.replace("1795599001.95", "NaN")), "malformed json", &[]),
        ("as_der_urlsafe_nopad", nets, urlsafe, "matched", &[W]),
        ("as_der_truncated", nets, changed("/data/leaf_cert/as_der", cut_der.into()), "malformed der", &[W]),
        ("as_der_no_base64", nets, changed("/data/leaf_cert/as_der", "é!".into()), "malformed base64", &[W]),
        ("as_der_empty", nets, changed("/data/leaf_cert/as_der", "".into()), "matched", &[W]),
        ("san_text_injection", nets, text_only("DNS:x.com, IP Address:192.0.2.1"), "matched", &["192.0.2.1"]),
        ("san_ip_calidog", nets, text_only("IP:192.0.2.1, DNS:test1.example"), "matched", &["192.0.2.1"]),
        ("san_ip_go", nets, text_only("DNS:test1.example, IP Address:192.0.2.1"), "matched", &["192.0.2.1"]),
        (
            "san_ip6_upper",
            nets,
            text_only("IP Address:2001:DB8:0:0:0:0:0:1111"),
            "matched",
            &["2001:db8::1111"],
        ),
        ("san_ip6_mapped", nets, text_only("IP Address:::ffff:192.0.2.1"), "matched", &["192.0.2.1"]),
        ("san_ip_leading_zero", nets, text_only("IP Address:192.0.02.01"), "unmatched", &[]),
        (
            "nul_in_domain",
            names,
            raw(r#"{"data":["watched.example\u0000.evil.example"],"message_type":"dns_entries"}"#),
            "matched",
            &["watched.example"],
        ),
        (
            "nul_in_domain_behind",
            names,
            raw(r#"{"data":["evil.example\u0000.watched.example"],"message_type":"dns_entries"}"#),
            "matched",
            &["evil.?.watched.example", "watched.example"],
        ),
        (
            "invalid_utf8",
            nets,
            [&br#"{"data":["watched.example"#[..], b"\xff\"],\"message_type\":\"dns_entries\"}"].concat(),
            "malformed json",
            &[],
        ),
        (
            "deep",
            nets,
            raw(&format!("{}{}", "[".repeat(200_000), "]".repeat(200_000))),
            "malformed not_object",
            &[],
        ),
        (
            "deep_in_what_is_wanted",
            nets,
            raw(&format!(
                r#"{{"data":{{"leaf_cert":{{"as_der":{}{}}}}}}}"#,
                "[".repeat(100_000),
                "]".repeat(100_000)
            )),
            "malformed field_type",
            &[],
        ),
        ("unknown_type", nets, raw(r#"{"message_type":"server_notice","data":{"x":1}}"#), "other", &[]),
        ("number_too_large", nets, changed("/data/cert_index", json!(1e300)), "matched", &[W]),
        ("byte_order_mark", nets, raw(&format!("\u{feff}{whole}")), "malformed json", &[]),
    ];
    for (name, list, frame, want, identities) in rows {
        let mut bench = Bench::new(list);
        let batch = bench.sift("eu-1", true, &[&frame]);
        let tally = &batch.tally;
        let reason = certsieve::sieve::MALFORMED_REASONS.iter().zip(tally.reasons).find(|(_, n)| *n > 0);
        let outcome = match (tally.matched, tally.unmatched, tally.malformed, tally.other) {
            (1, 0, 0, 0) => "matched".to_owned(),
            (0, 1, 0, 0) => "unmatched".to_owned(),
            (0, 0, 1, 0) => format!("malformed {}", reason.map_or("?", |(reason, _)| reason)),
            (0, 0, 0, 1) => "other".to_owned(),
            odd => format!("{odd:?}"),
        };
        assert_eq!(outcome, want, "{name}");
        let mut matched: Vec<String> = Vec::new();
        for finding in &batch.findings {
            for verdict in &finding.verdicts {
                let facts = finding.facts.as_ref().unwrap();
                matched.extend(
                    verdict
                        .matches
                        .iter()
                        .map(|m| facts.identities.value(facts.identities.get(m.identity).unwrap())),
                );
            }
        }
        matched.sort();
        matched.dedup();
        assert_eq!(matched, identities, "{name}");
    }
}

/// The names that x509-parser finds: `dns x`, `ip x`, `cn x`.
fn by_x509_parser(der: &[u8]) -> Option<BTreeSet<String>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let mut names = BTreeSet::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() {
            for name in &san.general_names {
                match name {
                    GeneralName::DNSName(name) => names.insert(format!("dns {name}")),
                    GeneralName::IPAddress(octets) => names.insert(format!("ip {octets:02x?}")),
                    _ => false,
                };
            }
        }
    }
    for name in certificate.subject().iter_common_name() {
        names.insert(format!("cn {}", String::from_utf8_lossy(name.as_slice())));
    }
    Some(names)
}

fn by_walk(der: &[u8]) -> BTreeSet<String> {
    let mut names = Vec::new();
    walk(der, &mut names);
    names
        .iter()
        .map(|name| {
            let bytes = &der[name.start as usize..name.end as usize];
            match name.place {
                Place::Dns => format!("dns {}", String::from_utf8_lossy(bytes)),
                Place::Ip => format!("ip {bytes:02x?}"),
                Place::CommonName(_) => format!("cn {}", String::from_utf8_lossy(bytes)),
            }
        })
        .collect()
}

fn san() -> impl Strategy<Value = Vec<San>> {
    let name = prop_oneof![
        3 => "[a-z0-9*_.-]{1,30}".prop_map(San::dns_text),
        1 => any::<[u8; 4]>().prop_map(|octets| San::Ip(octets.to_vec())),
        1 => any::<[u8; 16]>().prop_map(|octets| San::Ip(octets.to_vec())),
    ];
    proptest::collection::vec(name, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two independent readers find the same names, in whatever a CA's library writes.
    #[test]
    fn the_walk_finds_what_x509_parser_finds(
        san in san(),
        common_name in proptest::option::of("[a-zA-Z0-9 .*-]{1,40}"),
    ) {
        let der = signed(&san, common_name.as_deref());
        prop_assert_eq!(by_x509_parser(&der).expect("rcgen writes certificates"), by_walk(&der));
    }

    /// Broken anywhere: no panic, and no name that the other reader finds is missed in silence. That reader
    /// looks past the end of an element that is too short; this one says that it is broken.
    #[test]
    fn what_is_broken_hides_nothing_that_x509_parser_finds(
        san in san(),
        common_name in proptest::option::of("[a-z.]{1,20}"),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in any::<usize>(),
        from_rcgen in any::<bool>(),
    ) {
        let mut der = match from_rcgen {
            true => signed(&san, common_name.as_deref()),
            false => {
                let mut certificate = Certificate::of(san);
                certificate.common_names = common_name.into_iter().map(String::into_bytes).collect();
                certificate.der()
            }
        };
        for (at, byte) in changes {
            let at = at % der.len();
            der[at] = byte;
        }
        if cut % 4 == 0 {
            der.truncate(cut / 4 % (der.len() + 1));
        }
        let found = by_walk(&der);
        let whole = walk(&der, &mut Vec::new()).broken.is_none();
        if let (Some(other), true) = (by_x509_parser(&der), whole) {
            let missed: Vec<_> = other.difference(&found).collect();
            prop_assert!(missed.is_empty(), "{missed:?} in {der:02x?}");
        }
    }

    /// Any bytes as a message.
    #[test]
    fn no_message_panics(text in "[\\[\\]{}\",:a-z0-9.\\\\-]{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for message in [text.as_bytes(), &bytes] {
            let batch = Bench::new(NASTY_NETWORKS).sift_any(message);
            prop_assert_eq!(batch.tally.messages(), 1);
            let panics = certsieve::sieve::MALFORMED_REASONS.iter().zip(batch.tally.reasons);
            prop_assert!(panics.clone().all(|(reason, n)| *reason != "panic" || n == 0), "a panic");
        }
    }
}

/// A certificate of rcgen, signed by a key of its own. One key for all: making one takes longest.
fn signed(san: &[San], common_name: Option<&str>) -> Vec<u8> {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
    static KEY: std::sync::LazyLock<KeyPair> =
        std::sync::LazyLock::new(|| KeyPair::generate().expect("a key"));
    let mut params = CertificateParams::new(Vec::new()).expect("no names are fine names");
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    for name in san {
        params.subject_alt_names.push(match name {
            San::Dns(name) => SanType::DnsName(String::from_utf8(name.clone()).unwrap().try_into().unwrap()),
            San::Ip(octets) => SanType::IpAddress(match <[u8; 4]>::try_from(octets.as_slice()) {
                Ok(four) => four.into(),
                Err(_) => <[u8; 16]>::try_from(octets.as_slice()).unwrap().into(),
            }),
        });
    }
    params.self_signed(&*KEY).expect("a key signs").der().to_vec()
}
