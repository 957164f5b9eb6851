//! What a consumer can rely on: ids, keys, headers, field order, bounds, schemas, for entries of every
//! dialect and of hostile content.

use certsieve::account::{Account, Bounds};
use certsieve::entry::Timestamp;
use certsieve::record::{
    Composer, Health, HealthKind, MAX_MALFORMED_BYTES, MAX_RECORD_BYTES, Topic, schema, value::HealthDetail,
};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::entries::{Certificate, San, dns, ip, names};
use crate::support::pipeline::{Bench, NOW, Out, of};

const LIST: &str = r#"
[[asset]]
id = "resolver"
networks = ["1.1.1.1/32", "2606:4700:4700::/48"]
policy = "expect"
severity = "critical"
labels = { team = "dns-oncall" }
reference = "https://runbooks.example.net/ct"
[[asset.expect]]
issuer_organization = "DigiCert Inc"

[[asset]]
id = "shop"
domains = ["shop.example"]
policy = "never-issue"
"#;

fn alerts(records: &[Out]) -> Vec<&Out> {
    of(records, Topic::Alert)
}

fn matches(records: &[Out]) -> Vec<&Out> {
    of(records, Topic::Match)
}

fn uuid(parts: &[&str]) -> String {
    let namespace = Uuid::parse_str("0ae7a2cf-5ae2-53e7-8ecc-b3c2d6b0c25c").unwrap();
    Uuid::new_v5(&namespace, parts.join("\n").as_bytes()).to_string()
}

/// Python of 2017 and Elixir wrote the same thing otherwise: times as floats, serials without leading
/// zeros, no prefix before an address.
fn elixir(certificate: &Certificate, log: &str, index: u64) -> String {
    let mut message = certificate.go(log, index, false);
    let leaf = &mut message["data"]["leaf_cert"];
    let serial = leaf["serial_number"].as_str().unwrap().trim_start_matches('0').to_owned();
    let serial = if serial.is_empty() { "0".to_owned() } else { serial };
    leaf["serial_number"] = serial.into();
    let san = leaf["extensions"]["subjectAltName"].as_str().unwrap().replace("IP Address:", "IP:");
    leaf["extensions"]["subjectAltName"] = san.into();
    let key = leaf["extensions"]["authorityKeyIdentifier"].as_str().unwrap_or_default().to_uppercase();
    if !key.is_empty() {
        leaf["extensions"]["authorityKeyIdentifier"] = format!("{}\n", key.replace("KEYID", "keyid")).into();
    }
    message.to_string()
}

#[test]
fn one_issuance_key_in_every_dialect() {
    for (serial, aki, want) in [
        (&[0x00, 0xd3, 0x16, 0x7e][..], Some(&[0x7f, 0x3c][..]), "7f3c:d3167e"),
        (&[0x04, 0x98, 0xbd], Some(&[0x00, 0x0a]), "000a:0498bd"),
        (&[0x00, 0x00, 0x01], None, "-:01"),
        (&[0x00, 0xd3, 0x16], Some(&[]), "-:d316"),
        (&[0x00], Some(&[1]), "01:00"),
    ] {
        let mut certificate = Certificate::of([ip("1.1.1.1")]);
        certificate.serial = serial.to_vec();
        certificate.authority_key_id = aki.map(<[u8]>::to_vec);
        for (dialect, message) in [
            ("der", certificate.full("log.example", 1)),
            ("go", certificate.lite("log.example", 1)),
            ("elixir", elixir(&certificate, "log.example", 1)),
        ] {
            let out = Bench::new(LIST).take(&[message]);
            let [alert, matched] = [alerts(&out)[0], matches(&out)[0]];
            assert_eq!(alert.record.key, want, "{dialect}");
            assert_eq!(matched.record.key, want, "{dialect}");
            assert_eq!(alert.text("/certsieve/issuance_key"), want, "{dialect}");
            let id = uuid(&[
                "alert",
                want,
                "resolver",
                "unexpected-issuer",
                "2026-11-25T08:29:58.000Z",
                "2027-11-25T08:29:58.000Z",
                "ip:1.1.1.1",
            ]);
            assert_eq!(alert.id(), id, "{dialect}");
            assert_eq!(matched.text("/certsieve/alert_id"), id, "{dialect}");
            assert_eq!(matched.id(), uuid(&["match", "log.example", "1", "resolver"]), "{dialect}");
        }
    }
}

#[test]
fn without_log_or_index_the_message_stands_in_place_of_both() {
    let list = "[[asset]]\nid = 'shop'\ndomains = ['shop.example']\npolicy = 'observe'";
    let message = names(&["b.shop.example", "a.other.example"]);
    let out = Bench::new(list).take(&[&message]);
    let sha = certsieve::entry::issuance::sha256_hex(message.as_bytes());
    assert_eq!(out[0].id(), uuid(&["match", &sha, "shop"]));
    let sorted = certsieve::entry::issuance::sha256_hex(b"a.other.example\nb.shop.example");
    assert_eq!(out[0].record.key, format!("names:{sorted}"));
    assert_eq!(out[0].value.pointer("/tls"), None);
    assert_eq!(out[0].value.pointer("/certsieve/entry"), None);
    assert_eq!(out[0].value.pointer("/certsieve/ct/log"), None);

    let out = Bench::new(LIST).take(&["{broken"]);
    let sha = certsieve::entry::issuance::sha256_hex(b"{broken");
    assert_eq!(out[0].topic(), Topic::Malformed);
    assert_eq!(out[0].id(), uuid(&["malformed", &sha, "-"]));
}

#[test]
fn an_undecodable_entry_is_known_by_log_and_index() {
    let mut message = Certificate::of([ip("1.1.1.1")]).go("log.example", 7, true);
    message["data"]["leaf_cert"]["as_der"] = "MAA=".into();
    let out = Bench::new(LIST).take(&[message.to_string()]);
    let malformed = of(&out, Topic::Malformed)[0];
    assert_eq!(malformed.id(), uuid(&["malformed", "log.example", "7", "-"]));
    assert_eq!(malformed.record.key, "log.example:7");
    assert_eq!(malformed.text("/error/code"), "der");
    assert_eq!(malformed.text("/event/original"), "MAA=");
    assert_eq!(malformed.value.pointer("/certsieve/original/length"), Some(&2.into()));
    assert_eq!(malformed.value.pointer("/tls"), None);
    assert_eq!(matches(&out).len(), 1, "what its text names is matched all the same");
}

#[test]
fn precertificate_certificate_and_copies_make_one_alert() {
    let certificate = Certificate::of([dns("test1.hr"), ip("1.1.1.1")]).common_name("test1.hr");
    let mut bench = Bench::new(LIST);
    let out = bench.take(&[
        certificate.clone().poisoned().lite("tiled.example", 10),
        certificate.full("tiled.example", 11),
        certificate.clone().poisoned().full("rfc.example", 3),
        certificate.full("rfc.example", 4),
    ]);
    assert_eq!(alerts(&out).len(), 1);
    let id = alerts(&out)[0].id();
    let matches = matches(&out);
    assert_eq!(matches.len(), 4);
    assert!(matches.iter().all(|m| m.text("/certsieve/alert_id") == id));
    assert!(matches.iter().all(|m| m.texts("/certsieve/anomalies").is_empty()));
    let entries: Vec<_> = matches.iter().map(|m| m.text("/certsieve/entry")).collect();
    assert_eq!(entries, ["precertificate", "certificate", "precertificate", "certificate"]);
    // A replay sixty days later, by a feed that is no log's: of a recording.
    bench.now = Timestamp(NOW.0 + 60 * 86_400_000);
    let batch = bench.sift("replay", false, &[certificate.full("other.example", 4)]);
    bench.account.admit(batch, bench.now);
    let late = bench.deliver();
    assert_eq!((alerts(&late).len(), of(&late, Topic::Match).len()), (0, 1));
}

#[test]
fn who_borrows_an_issuance_key_raises_an_alert_of_its_own() {
    type Change = fn(&mut Certificate);
    let changes: [(&str, Change); 4] = [
        ("other names", |c| c.san = Some(vec![ip("2606:4700:4700::1111")])),
        ("other validity", |c| c.not_after += 1),
        ("another asset", |c| c.san = Some(vec![dns("www.shop.example")])),
        ("another subject key", |c| c.subject_key = 2),
    ];
    for (what, change) in changes {
        let first = Certificate::of([ip("1.1.1.1")]);
        let mut borrower = first.clone();
        change(&mut borrower);
        // Of the first, only text may have been seen before its DER was.
        let before = [
            vec![first.full("log.example", 1)],
            vec![first.lite("log.example", 0), first.full("log.example", 1)],
        ];
        for seen in before {
            let mut bench = Bench::new(LIST);
            let honest = bench.take(&seen);
            assert_eq!(alerts(&honest).len(), 1, "{what}");
            assert_eq!(alerts(&honest)[0].texts("/certsieve/anomalies"), [""; 0], "{what}");
            let out = bench.take(&[borrower.full("log.example", 2)]);
            assert_eq!(alerts(&out).len(), 1, "{what}: not raised");
            let alert = alerts(&out)[0];
            assert_ne!(alert.id(), alerts(&honest)[0].id(), "{what}");
            assert_eq!(alert.record.key, alerts(&honest)[0].record.key, "{what}");
            assert_eq!(alert.texts("/certsieve/anomalies").first(), Some(&"serial_reuse"), "{what}");
            assert_eq!(matches(&out)[0].text("/certsieve/alert_id"), alert.id(), "{what}");
            // Each of the two again, from another log: nothing new.
            let again = bench.take(&[borrower.full("b.example", 1), first.full("b.example", 2)]);
            assert_eq!(alerts(&again).len(), 0, "{what}");
            let ids: Vec<_> = matches(&again).iter().map(|m| m.text("/certsieve/alert_id")).collect();
            assert_eq!(ids, [alert.id(), alerts(&honest)[0].id()], "{what}");
        }
    }
}

/// Names that a CA let through, of the kind numbered `kind`.
fn hostile(kind: usize, i: usize) -> Vec<u8> {
    match kind {
        0 => format!("host-{i}.example.org").into_bytes(),
        1 => format!("a\u{1}b\u{7f}{i}\0.example.org").into_bytes(),
        2 => format!("{}{i}.example.org", "𝒳".repeat(40)).into_bytes(),
        3 => format!("{}{i}.example.org", "l".repeat(300)).into_bytes(),
        4 => format!("{}{i}.example.org", "\"\\".repeat(60)).into_bytes(),
        _ => [&[0xff, 0xfe, 0x01][..], i.to_string().as_bytes(), b".example.org"].concat(),
    }
}

#[test]
fn ten_thousand_names_still_page() {
    for kind in 0..6 {
        let mut san: Vec<San> = (0..10_000).map(|i| dns(hostile(kind, i))).collect();
        san.insert(7_000, ip("1.1.1.1"));
        san.insert(9_000, dns("www.shop.example"));
        let certificate = Certificate::of(san).common_name(hostile(kind, 0));
        for (form, message) in
            [("full", certificate.full("log.example", 1)), ("lite", certificate.lite("log.example", 1))]
        {
            let out = Bench::new(LIST).take(&[message]);
            assert_eq!(alerts(&out).len(), 2, "{kind} {form}");
            for record in out.iter().filter(|out| out.topic() != Topic::Malformed) {
                let size = record.record.value.len();
                assert!(size <= MAX_RECORD_BYTES, "{kind} {form}: {size} bytes");
                let truncated = record.texts("/certsieve/truncated");
                let has = |field: &str| truncated.contains(&field);
                // Names that hold no label of a name are one and the same to everybody.
                if matches!(kind, 0 | 2 | 3) {
                    assert!(has("related") && has("tls.server.x509.alternative_names"), "{truncated:?}");
                }
                assert_eq!(has("tls.server.certificate"), form == "full");
                assert!(!has("certsieve.matches") && !has("tls"), "{kind} {form}: {truncated:?}");
                let (list, first) = match record.text("/certsieve/asset") {
                    "resolver" => ("/related/ip", "1.1.1.1"),
                    _ => ("/related/hosts", "www.shop.example"),
                };
                assert_eq!(record.texts(list)[0], first, "matched first");
                assert_eq!(record.texts("/tls/server/x509/alternative_names")[0], first, "{kind} {form}");
                assert_eq!(record.value.pointer("/certsieve/matches_total"), Some(&1.into()));
                let others = record.texts("/related/hosts").len() + record.texts("/related/ip").len();
                assert!(others <= 1_001);
            }
        }
    }
}

/// Every text that was cut is named, and nothing else is.
#[test]
fn what_was_cut_is_named() {
    let long = "x".repeat(5_000);
    let plain = Certificate::of([ip("1.1.1.1")]);
    let mut hostile = plain.clone().issuer(&long, &long).common_name(&long);
    hostile.serial = vec![0x11; 600];
    hostile.authority_key_id = Some(vec![0x22; 600]);
    let cut = |certificate: &Certificate, log: &str, name: &str| -> Vec<String> {
        let mut message = certificate.go(log, 1, true);
        message["data"]["source"]["name"] = name.into();
        let out = Bench::new(LIST).take(&[message.to_string()]);
        alerts(&out)[0].texts("/certsieve/truncated").into_iter().map(str::to_owned).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(cut(&plain, "log.example", "A log"), none);
    let mut got = cut(&hostile, &format!("log.example/{long}"), &long);
    got.sort();
    assert_eq!(
        got,
        [
            "certsieve.ct.log.name",
            "certsieve.ct.log.url",
            "certsieve.group",
            "certsieve.issuance_key",
            "certsieve.issuer.key_id",
            "certsieve.reasons",
            "event.reason",
            "message",
            "tls.server.certificate",
            "tls.server.x509.issuer.common_name",
            "tls.server.x509.issuer.distinguished_name",
            "tls.server.x509.issuer.organization",
            "tls.server.x509.serial_number",
            "tls.server.x509.subject.common_name",
            "tls.server.x509.subject.distinguished_name",
        ]
    );
}

#[test]
fn ten_thousand_matched_names_are_counted() {
    let san: Vec<San> = (0..10_000).map(|i| dns(format!("\u{e9}{i}.shop.example"))).collect();
    let out = Bench::new(LIST).take(&[Certificate::of(san).full("log.example", 1)]);
    let alert = alerts(&out)[0];
    assert!(alert.record.value.len() <= MAX_RECORD_BYTES);
    let total = alert.value.pointer("/certsieve/matches_total").and_then(Value::as_u64).unwrap();
    assert_eq!(total, 10_000);
    let listed = alert.value.pointer("/certsieve/matches").and_then(Value::as_array).unwrap().len();
    assert!((10..10_000).contains(&listed), "{listed}");
    assert!(alert.texts("/certsieve/truncated").contains(&"certsieve.matches"));
}

/// Fields of a stranger, each as long as a message allows, one after the other.
#[test]
fn no_field_of_a_stranger_breaks_the_bound() {
    let long = "\"\\\u{1}x".repeat(50_000);
    let hex = "a7".repeat(100_000);
    let rows: [(&str, Value); 14] = [
        ("/data/leaf_cert/extensions/authorityKeyIdentifier", format!("keyid:{hex}").into()),
        ("/data/leaf_cert/serial_number", hex.clone().into()),
        ("/data/leaf_cert/signature_algorithm", long.clone().into()),
        ("/data/leaf_cert/issuer/O", long.clone().into()),
        ("/data/leaf_cert/issuer/CN", long.clone().into()),
        ("/data/leaf_cert/issuer/C", long.clone().into()),
        ("/data/leaf_cert/subject/CN", long.clone().into()),
        ("/data/leaf_cert/subject/O", long.clone().into()),
        ("/data/source/url", format!("https://{long}").into()),
        ("/data/source/name", long.clone().into()),
        ("/data/cert_index", u64::MAX.into()),
        ("/data/seen", 1e300.into()),
        ("/data/leaf_cert/all_domains", json!([long, "www.shop.example"])),
        ("/data/update_type", long.clone().into()),
    ];
    let validators = Validators::new();
    let mut all = Certificate::of([ip("1.1.1.1")]).go("log.example", 1, false);
    for (pointer, value) in rows {
        let mut message = Certificate::of([ip("1.1.1.1")]).go("log.example", 1, false);
        *message.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        *all.pointer_mut(pointer).unwrap() = value;
        for out in Bench::new(LIST).take(&[message.to_string()]) {
            validators.check(&out);
        }
    }
    let out = Bench::new(LIST).take(&[all.to_string()]);
    assert!(alerts(&out).len() == 2, "it still pages");
    for out in &out {
        validators.check(out);
    }
}

/// The extensions of a DER may be as long.
#[test]
fn no_field_of_the_der_breaks_the_bound() {
    let validators = Validators::new();
    let long = "\"\\é".repeat(20_000);
    let mut certificate = Certificate::of([ip("1.1.1.1")]).issuer(&long, &long).common_name(&long);
    certificate.serial = vec![0x7a; 60_000];
    certificate.authority_key_id = Some(vec![0x7b; 60_000]);
    let out = Bench::new(LIST).take(&[certificate.full("log.example", 1)]);
    assert_eq!(alerts(&out).len(), 1);
    for out in &out {
        validators.check(out);
    }
}

#[test]
fn a_long_original_is_cut() {
    let big = format!("{{\"data\":\"{}", "\u{1}\"".repeat(512 * 1024));
    let mut message = Certificate::of([ip("1.1.1.1")]).go("log.example", 7, true);
    use base64::Engine;
    let der = base64::engine::general_purpose::STANDARD.encode(vec![0x30; 1 << 20]);
    message["data"]["leaf_cert"]["as_der"] = der.into();
    for (message, length) in [(big.clone(), big.len()), (message.to_string(), 1 << 20)] {
        let out = Bench::new(LIST).take(&[message]);
        let malformed = of(&out, Topic::Malformed)[0];
        assert!(malformed.record.value.len() <= MAX_MALFORMED_BYTES);
        assert_eq!(malformed.value.pointer("/certsieve/original/length"), Some(&length.into()));
        assert_eq!(malformed.text("/certsieve/original/sha256").len(), 64);
        assert_eq!(malformed.texts("/certsieve/truncated"), ["event.original"]);
        assert_eq!(malformed.text("/event/original").len(), (256_usize * 1024).div_ceil(3) * 4);
        Validators::new().check(malformed);
    }
}

/// The schemas that `certsieve schema` prints, and every other promise that holds for any record.
struct Validators([Validator; 4]);

impl Validators {
    fn new() -> Validators {
        Validators(schema::KINDS.map(|kind| {
            let schema = schema::of(kind).expect("each kind has a schema").to_value();
            jsonschema::draft202012::new(&schema).expect("a schema of 2020-12")
        }))
    }

    fn check(&self, out: &Out) {
        let record = &out.record;
        let validator = &self.0[record.topic as usize];
        let errors: Vec<_> = validator.iter_errors(&out.value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{:?}: {errors:?}", record.topic);
        let bound = match record.topic {
            Topic::Malformed => MAX_MALFORMED_BYTES,
            _ => MAX_RECORD_BYTES,
        };
        assert!(record.value.len() <= bound, "{:?}: {} bytes", record.topic, record.value.len());
        assert!(record.key.len() <= 1024, "{} bytes of key", record.key.len());
        plain(&record.key);
        record.headers.iter().for_each(|(_, value)| plain(value));
        every_text(&out.value, &mut plain);
        let longest = if record.topic == Topic::Malformed { 400_000 } else { 32_766 };
        every_text(&out.value, &mut |text| assert!(text.len() <= longest, "{} bytes", text.len()));
        assert!(out.text("/message").chars().count() < 200);
        headers(out);
        order(record.topic, &record.value);
    }
}

fn plain(text: &str) {
    assert!(!text.chars().any(|c| c < ' ' || c == '\u{7f}'), "a control character: {text:?}");
}

fn every_text(value: &Value, check: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => check(text),
        Value::Array(list) => list.iter().for_each(|item| every_text(item, check)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            check(key);
            every_text(item, check);
        }),
        _ => {}
    }
}

/// The raw list: an SDK would invent what is missing.
fn headers(out: &Out) {
    let (kind, ce_type) = match out.topic() {
        Topic::Alert => ("alert", "certsieve.alert.raised.v1"),
        Topic::Match => ("match", "certsieve.match.v1"),
        Topic::Malformed => ("malformed", "certsieve.malformed.v1"),
        Topic::Health => ("health", "certsieve.health.v1"),
    };
    let mut want = vec![
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", out.id().to_owned()),
        ("ce_type", ce_type.to_owned()),
        ("ce_source", "urn:certsieve:certsieve".to_owned()),
    ];
    if matches!(out.topic(), Topic::Alert | Topic::Match) {
        want.push(("ce_subject", out.text("/certsieve/asset").to_owned()));
    }
    want.extend([
        ("ce_time", out.text("/@timestamp").to_owned()),
        ("ce_dataschema", format!("urn:certsieve:schema:{kind}:1")),
        ("ce_severity", out.text("/log/level").to_owned()),
        ("content-type", "application/json".to_owned()),
    ]);
    assert_eq!(out.record.headers, want);
}

/// A cut at the end must lose what matters least.
fn order(topic: Topic, value: &[u8]) {
    let text = std::str::from_utf8(value).expect("JSON is UTF-8");
    let keys: &[&str] = match topic {
        Topic::Alert | Topic::Match => &[
            "{\"@timestamp\":",
            "\"message\":",
            "\"event\":{",
            "\"certsieve\":{",
            "\"matches\":[",
            "\"related\":{",
            "\"tls\":{",
        ],
        Topic::Malformed => &["{\"@timestamp\":", "\"error\":{", "\"certsieve\":{", "\"event\":{"],
        Topic::Health => &["{\"@timestamp\":", "\"event\":{", "\"certsieve\":{"],
    };
    let mut from = 0;
    for key in keys {
        if *key == "\"tls\":{" && !text.contains(key) {
            continue;
        }
        let found = text[from..].find(key).unwrap_or_else(|| panic!("{key} is missing or too early: {text}"));
        from += found;
    }
}

/// Any text that a stranger may write.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.*-]{0,40}",
        "\\PC{0,60}",
        proptest::collection::vec(any::<char>(), 0..40).prop_map(|chars| chars.into_iter().collect()),
        Just("\u{0}\u{7f}\n\r\"\\".repeat(200)),
        Just("1.1.1.1".to_owned()),
        Just("www.shop.example".to_owned()),
    ]
}

fn names_of_a_stranger() -> impl Strategy<Value = Vec<San>> {
    let name = prop_oneof![
        text().prop_map(|text| San::Dns(text.into_bytes())),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(San::Dns),
        proptest::collection::vec(any::<u8>(), 0..33).prop_map(San::Ip),
        Just(ip("1.1.1.1")),
        text().prop_map(|text| San::Dns(format!("{text}.shop.example").into_bytes())),
    ];
    proptest::collection::vec(name, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a certificate or its text holds, its records keep every promise.
    #[test]
    fn every_record_keeps_its_promises(
        san in names_of_a_stranger(),
        serial in proptest::collection::vec(any::<u8>(), 0..24),
        key_id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..24)),
        (organization, common_name, log, log_name) in (text(), text(), text(), text()),
        subject in proptest::collection::vec(text(), 0..3),
        index in any::<u64>(),
        with_der in any::<bool>(),
        poison in any::<bool>(),
        garble in proptest::option::of((0usize..600, any::<u8>())),
    ) {
        let mut certificate = Certificate::of(san).issuer(&organization, &common_name);
        certificate.serial = serial;
        certificate.authority_key_id = key_id;
        certificate.poison = poison;
        certificate.common_names = subject.into_iter().map(String::into_bytes).collect();
        let mut message = certificate.go(&log, index, with_der);
        message["data"]["source"]["name"] = log_name.into();
        if let (Some((at, byte)), true) = (garble, with_der) {
            use base64::Engine;
            let mut der = certificate.der();
            let at = at % der.len();
            der[at] = byte;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            message["data"]["leaf_cert"]["as_der"] = text.into();
        }
        let validators = Validators::new();
        for out in Bench::new(LIST).take(&[message.to_string()]) {
            validators.check(&out);
        }
    }

    /// What was never meant to be a message.
    #[test]
    fn every_malformed_record_keeps_its_promises(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let validators = Validators::new();
        for out in Bench::new(LIST).take(&[bytes]) {
            validators.check(&out);
        }
    }
}

#[test]
fn health_records_keep_their_promises() {
    let kinds = [
        HealthKind::Started,
        HealthKind::Stopped,
        HealthKind::Heartbeat,
        HealthKind::FeedUp,
        HealthKind::FeedDown,
        HealthKind::WatchlistLoaded,
        HealthKind::WatchlistRefused,
        HealthKind::RecordRejected,
        HealthKind::InternalError,
    ];
    let validators = Validators::new();
    for kind in kinds {
        // Of its own: what is said of one subject waits for what was said of it before.
        let mut account = Account::new(
            Composer::new("ctmon-\u{1}a", "certsieve"),
            Bounds { memory: usize::MAX, store: 0 },
            "sha256:00000000",
        );
        let detail =
            HealthDetail { feed: Some("eu\n-1".repeat(500)), count: Some(u64::MAX), ..Default::default() };
        account.say(Health { kind, message: "\u{7f}\"".repeat(50_000), detail: detail.clone() }, NOW);
        account.say(Health { kind, message: "again".to_owned(), detail }, NOW);
        let record = account.next().cloned().expect("it is said");
        account.taken();
        assert!(account.next().is_none(), "and once a minute");
        assert_eq!(record.key, "ctmon-\\x01a");
        let value: Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!(value.pointer("/event/action"), Some(&kind.label().into()));
        validators.check(&Out { record, value });
    }
}

/// A record as the operator sees it: value, key and headers.
fn golden(name: &str, out: &Out) {
    let headers: Vec<String> = out.record.headers.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    let value = lines(std::str::from_utf8(&out.record.value).unwrap());
    // The version is no part of what this is about.
    let value = value.replace(&format!("{:?}", env!("CARGO_PKG_VERSION")), "\"[version]\"");
    let text = format!(
        "{}\nkey: {}\n{}\n{value}",
        out.topic().name("certsieve"),
        out.record.key,
        headers.join("\n")
    );
    insta::assert_snapshot!(name, text);
}

/// JSON with a line for each field, in the order in which it was written, which `Value` forgets.
fn lines(json: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0, false, false);
    for c in json.chars() {
        if !quoted && matches!(c, '}' | ']') {
            depth -= 1;
            out.push_str(&format!("\n{}", "  ".repeat(depth)));
        }
        out.push(c);
        if quoted {
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => quoted = true,
            '{' | '[' => depth += 1,
            ',' => {}
            _ => continue,
        }
        if c != '"' {
            out.push_str(&format!("\n{}", "  ".repeat(depth)));
        }
    }
    out
}

#[test]
fn golden_records() {
    let certificate = Certificate::of([dns("test1.hr"), dns("test12.hr"), ip("1.1.1.1")])
        .common_name("test1.hr")
        .poisoned();
    let mut bench = Bench::new(LIST);
    let out = bench.take(&[certificate.full("log2026h2.example.net/x", 18_603_461)]);
    golden("alert", alerts(&out)[0]);
    golden("match", matches(&out)[0]);
    let mut message = certificate.go("log2026h2.example.net/x", 18_603_462, true);
    message["data"]["leaf_cert"]["as_der"] = "MAMCAQ==".into();
    message["data"]["leaf_cert"]["extensions"]["subjectAltName"] = Value::Null;
    let out = bench.take(&[message.to_string()]);
    golden("malformed", of(&out, Topic::Malformed)[0]);
    let detail = HealthDetail { feed: Some("eu-1".to_owned()), ..HealthDetail::default() };
    let message = "feed eu-1 is not connected".to_owned();
    bench.account.say(Health { kind: HealthKind::FeedDown, message, detail }, NOW);
    golden("health", &bench.deliver()[0]);
}
