//! What is broken: fields of another type, base64 with something in it, a DER that ends early. What can still
//! be read is matched, what cannot is a finding, and two entries never share an alert for want of a serial.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certsieve::record::Topic;
use serde_json::{Value, json};

use crate::support::entries::{Certificate, dns, ip};
use crate::support::pipeline::{Bench, Out, of};

const LIST: &str = "[[asset]]\nid = 'res'\nnetworks = ['1.1.1.1/32']\npolicy = 'never-issue'\n\
    [[asset]]\nid = 'shop'\ndomains = ['example.com']\npolicy = 'never-issue'\n";

/// A message that has nothing in its leaf but this.
fn message(leaf: Value, index: u64) -> String {
    let source = json!({"name": "Example log", "url": "https://log.example"});
    json!({"message_type": "certificate_update", "data": {"update_type": "X509LogEntry", "cert_index": index,
        "leaf_cert": leaf, "source": source}})
    .to_string()
}

/// Rules that were broken, reasons of what is malformed, anomalies of the first match.
fn found(out: &[Out]) -> (String, String, String) {
    let join = |list: Vec<&str>| list.join(" ");
    let rules = of(out, Topic::Alert).into_iter().map(|alert| alert.text("/rule/id")).collect();
    let reasons = of(out, Topic::Malformed).into_iter().map(|record| record.text("/error/code")).collect();
    let matches = of(out, Topic::Match);
    let odd = matches.first().map(|record| record.texts("/certsieve/anomalies")).unwrap_or_default();
    (join(rules), join(reasons), join(odd))
}

#[test]
fn a_value_of_another_type_is_never_silent() {
    let whole = STANDARD.encode(Certificate::of([dns("www.example.com")]).der());
    let (rule, wrong, odd) = ("never-issue", "field_type", "field_type");
    let deep = (0..200).fold(json!("www.example.com"), |inner, _| json!([inner]));
    for (leaf, want) in [
        // One obvious reading.
        (json!({"all_domains": "www.example.com"}), (rule, "", odd)),
        (json!({"all_domains": ["a.example.org", null, "www.example.com"]}), (rule, "", odd)),
        (json!({"all_domains": [5, "www.example.com"]}), (rule, "", odd)),
        (
            json!({"extensions": {"subjectAltName": ["DNS:www.example.com", "DNS:a.example.org"]}}),
            (rule, "", odd),
        ),
        (
            json!({"extensions": {"subjectAltName": ["DNS:a.example.org", "IP Address:1.1.1.1"]}}),
            (rule, "", odd),
        ),
        (json!({"subject": {"CN": ["a.example.org", "www.example.com"]}}), (rule, "", odd)),
        (
            json!({"extensions": [], "subject": [], "as_der": [], "all_domains": ["www.example.com"]}),
            (rule, "", odd),
        ),
        // As servers write that there is nothing.
        (json!({"extensions": null, "subject": null, "as_der": null, "all_domains": null}), ("", "", "")),
        (
            json!({"extensions": {"subjectAltName": []}, "subject": {"CN": []}, "all_domains": []}),
            ("", "", ""),
        ),
        // None at all; what else there is counts.
        (json!({"all_domains": 7}), ("", wrong, "")),
        (json!({"all_domains": true}), ("", wrong, "")),
        (json!({"all_domains": {"0": "www.example.com"}}), ("", wrong, "")),
        (json!({"all_domains": ["a.example.org", ["www.example.com"]]}), ("", wrong, "")),
        (json!({"all_domains": deep}), ("", wrong, "")),
        (json!({"all_domains": [{}, "www.example.com"]}), (rule, wrong, odd)),
        (
            json!({"extensions": {"subjectAltName": 7}, "all_domains": ["www.example.com"]}),
            (rule, wrong, odd),
        ),
        (json!({"extensions": {"subjectAltName": {}}}), ("", wrong, "")),
        (json!({"extensions": {"subjectAltName": ["DNS:www.example.com", false]}}), (rule, wrong, odd)),
        (json!({"extensions": "subjectAltName"}), ("", wrong, "")),
        (json!({"extensions": 7, "subject": {"CN": "www.example.com"}}), (rule, wrong, odd)),
        (json!({"extensions": ["DNS:www.example.com"]}), ("", wrong, "")),
        (json!({"subject": {"CN": 7.5}}), ("", wrong, "")),
        (json!({"subject": {"CN": {"": "www.example.com"}}}), ("", wrong, "")),
        (json!({"subject": "CN=www.example.com"}), ("", wrong, "")),
        (json!({"subject": [{"CN": "www.example.com"}]}), ("", wrong, "")),
        (json!({"as_der": ["x"], "all_domains": ["www.example.com"]}), (rule, wrong, odd)),
        (json!({"as_der": {}, "all_domains": ["www.example.com"]}), (rule, wrong, odd)),
        (json!({"as_der": false}), ("", wrong, "")),
        // A number is text that somebody forgot to quote, and no base64.
        (json!({"as_der": 7}), ("", "base64", "")),
        // Not a leaf at all.
        (json!([]), ("", "no_leaf", "")),
        (json!(["www.example.com"]), ("", "no_leaf", "")),
        (json!("www.example.com"), ("", "no_leaf", "")),
        // The DER decides, whatever stands in the text.
        (json!({"as_der": whole, "all_domains": {}, "extensions": 7}), (rule, wrong, odd)),
    ] {
        let out = Bench::new(LIST).take(&[message(leaf.clone(), 1)]);
        let got = found(&out);
        assert_eq!((got.0.as_str(), got.1.as_str()), (want.0, want.1), "{leaf}");
        let odd: Vec<&str> = got.2.split(' ').filter(|odd| odd.starts_with("field")).collect();
        assert_eq!(odd.concat(), want.2, "{leaf}");
    }
}

#[test]
fn a_list_of_names_of_another_type_is_never_silent() {
    let list = "[[asset]]\nid = 'shop'\ndomains = ['example.com']\npolicy = 'never-issue'\n";
    for (data, want) in [
        (json!("www.example.com"), ("never-issue", "")),
        (json!(["a.example.org", ["www.example.com"]]), ("", "field_type")),
        (json!(["www.example.com", {}]), ("never-issue", "field_type")),
        (json!(7), ("", "field_type")),
        (json!(null), ("", "")),
        (json!({"all_domains": ["www.example.com"]}), ("", "message_type")),
    ] {
        let message = json!({"message_type": "dns_entries", "data": data}).to_string();
        let got = found(&Bench::new(list).take(&[message]));
        assert_eq!((got.0.as_str(), got.1.as_str()), want, "{data}");
    }
}

/// An expected certificate is expected, however odd the text beside its DER.
#[test]
fn what_its_der_says_is_judged_whole() {
    let list = "[[asset]]\nid = 'shop'\ndomains = ['example.com']\npolicy = 'expect'\n\
        [[asset.expect]]\nissuer_organization = 'One'\n";
    let der = STANDARD.encode(Certificate::of([dns("www.example.com")]).issuer("One", "R1").der());
    for (leaf, want) in [
        (json!({"as_der": der}), "expected"),
        (json!({"as_der": der, "all_domains": {}}), "expected"),
        // What could not be read may hold what nobody saw.
        (json!({"all_domains": ["www.example.com", {}], "issuer": {"O": "One"}}), "unexpected"),
    ] {
        let out = Bench::new(list).take(&[message(leaf.clone(), 1)]);
        assert_eq!(of(&out, Topic::Match)[0].text("/certsieve/verdict"), want, "{leaf}");
    }
}

#[test]
fn base64_is_read_as_far_as_it_goes() {
    let der = Certificate::of([ip("1.1.1.1"), dns("www.example.com")]).der();
    let text = STANDARD.encode(&der);
    let wrapped = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned());
    let wrapped = wrapped.collect::<Vec<_>>();
    let url_safe = text.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
    for whole in [
        text.clone(),
        format!("{text}\n"),
        format!(" \t{text}\r\n"),
        wrapped.join("\n"),
        wrapped.join("\r\n"),
        url_safe.clone(),
        format!("{url_safe}\n"),
    ] {
        let out = Bench::new(LIST).take(&[message(json!({"as_der": whole}), 1)]);
        assert_eq!(
            found(&out),
            ("never-issue never-issue".to_owned(), String::new(), String::new()),
            "{whole}"
        );
    }
    // One character that is none, before and behind the names: what it does not touch is found.
    let san = der.windows(6).position(|w| w == [0x87, 4, 1, 1, 1, 1]).expect("an address") / 3 * 4;
    for (at, want) in [
        (4, "suspected suspected"),
        (san - 8, "suspected suspected"),
        (text.len() - 9, "suspected suspected"),
        (san + 4, "suspected"),
    ] {
        let mut broken = text.clone();
        broken.replace_range(at..=at, "!");
        let out = Bench::new(LIST).take(&[message(json!({"as_der": broken}), 1)]);
        let got = found(&out);
        assert_eq!((got.0.as_str(), got.1.as_str()), (want, "base64"), "{at}");
    }
    let out = Bench::new(LIST).take(&[message(json!({"as_der": "!!!!"}), 1)]);
    assert_eq!(found(&out).0, "");
}

/// Common names in wide characters, and a name behind a NUL, in bytes that are no certificate.
#[test]
fn what_hides_in_undecodable_bytes_is_suspected() {
    let wide = |width: usize| -> Vec<u8> {
        let text = "www.example.com".bytes().flat_map(|b| [vec![0; width - 1], vec![b]].concat());
        text.collect()
    };
    let cn = |tag: u8, text: &[u8]| [&[6, 3, 0x55, 4, 3, tag, text.len() as u8], text].concat();
    for hidden in [
        cn(0x1e, &wide(2)),
        cn(0x1c, &wide(4)),
        b"\x82\x18www.example.com\0.evil.hr".to_vec(),
        b"\x82\x18.evil.hr\0www.example.com".to_vec(),
    ] {
        let der = STANDARD.encode([&b"\x30\x82\xff\xff\x99"[..], &hidden].concat());
        let out = Bench::new(LIST).take(&[message(json!({"as_der": der}), 1)]);
        let got = found(&out);
        assert_eq!((got.0.as_str(), got.1.as_str()), ("suspected", "der"), "{}", hidden.escape_ascii());
    }
}

/// A message of a DER alone, of which the end is missing.
fn cut(certificate: &Certificate, index: u64) -> String {
    let der = certificate.der();
    message(json!({"as_der": STANDARD.encode(&der[..der.len() - 5])}), index)
}

#[test]
fn what_a_broken_der_says_is_not_lost() {
    let certificate = Certificate::of([ip("1.1.1.1")]);
    let mut other = Certificate::of([ip("1.1.1.1")]).issuer("Other CA", "R9");
    (other.serial, other.authority_key_id) = (vec![9, 9], Some(vec![5; 20]));
    // Two certificates are two alerts, and each says what could be read of it.
    let mut bench = Bench::new(LIST);
    let out = bench.take(&[cut(&certificate, 1), cut(&other, 2)]);
    let alerts = of(&out, Topic::Alert);
    assert_eq!(alerts.len(), 2);
    assert_ne!(alerts[0].id(), alerts[1].id());
    let said = |pointer: &str| alerts[0].text(pointer).to_owned();
    assert_eq!(said("/certsieve/evidence"), "der");
    assert_eq!(said("/certsieve/issuance_key"), "7f3c1d9a:d3167efd77");
    assert_eq!(said("/tls/server/x509/not_after"), "2027-11-25T08:29:58.000Z");
    assert!(said("/message").ends_with("issued by Fina RDC 2020"), "{}", said("/message"));
    // The whole copy of the same index, and of another log, is the same alert.
    let whole = message(json!({"as_der": STANDARD.encode(certificate.der())}), 1);
    let again =
        bench.take(&[whole, certificate.full("other.example", 7), certificate.lite("lite.example", 8)]);
    assert_eq!(of(&again, Topic::Alert).len(), 0);
    assert!(of(&again, Topic::Match).iter().all(|m| m.text("/certsieve/alert_id") == alerts[0].id()));
    // Text that names something else is evidence of its own.
    let der = certificate.der();
    let mixed = json!({"as_der": STANDARD.encode(&der[..der.len() - 5]), "all_domains": ["www.example.com"]});
    let out = Bench::new(LIST).take(&[message(mixed, 1)]);
    assert_eq!(of(&out, Topic::Alert)[0].text("/certsieve/evidence"), "text");
}

#[test]
fn without_serial_and_key_id_an_entry_is_known_by_where_it_stands() {
    let leaf = || json!({"all_domains": ["www.example.com"]});
    let mut bench = Bench::new(LIST);
    let out = bench.take(&[message(leaf(), 1), message(leaf(), 2)]);
    let ids: Vec<&str> = of(&out, Topic::Alert).into_iter().map(Out::id).collect();
    assert_eq!(ids.len(), 2);
    let expected = |index: &str| {
        let parts = ["alert", "log.example", index, "shop"].join("\n");
        uuid::Uuid::new_v5(&certsieve::record::id::NAMESPACE, parts.as_bytes()).to_string()
    };
    assert_eq!(ids, [expected("1"), expected("2")]);
    assert!(out.iter().all(|out| !out.texts("/certsieve/anomalies").contains(&"serial_reuse")));
    // The same entry again is the same alert.
    assert_eq!(of(&bench.take(&[message(leaf(), 1)]), Topic::Alert).len(), 0);
}
