//! Who may issue for what, as the record says it: one row a case, policy × issuer × naming.

use certsieve::record::Topic;

use crate::support::entries::{Certificate, NOT_BEFORE, San, dns, ip};
use crate::support::pipeline::{Bench, of};

const LIST: &str = r#"
[[asset]]
id = "never"
domains = ["never.example"]
networks = ["192.0.2.0/24"]
except = ["ok.never.example", "192.0.2.9/32"]
policy = "never-issue"

[[asset]]
id = "expect"
domains = ["expect.example"]
networks = ["198.51.100.7/32"]
policy = "expect"
severity = "critical"
keywords = ["expectbank"]
keyword_severity = "low"
[[asset.expect]]
issuer_organization = ["DigiCert Inc", "Amazon"]
[[asset.expect]]
issuer_organization = "Let's Encrypt"
issuer_common_name = ["R10", "R11"]

[[asset]]
id = "keyed"
exact = ["keyed.example.net"]
policy = "expect"
[[asset.expect]]
issuer_key_id = "7f:3c:1d:9a"

[[asset]]
id = "watched"
domains = ["watched.example"]
keywords = ["watchword"]
policy = "observe"
"#;

/// Each asset's verdict, as `asset ruling rule severity [reason codes]`, in the order of the list.
fn verdicts(message: &str) -> Vec<String> {
    let out = Bench::new(LIST).take(&[message]);
    let alerts = of(&out, Topic::Alert);
    let mut all = Vec::new();
    for record in of(&out, Topic::Match) {
        let asset = record.text("/certsieve/asset");
        let rule = record.text("/rule/id");
        let alert = alerts.iter().find(|alert| alert.text("/certsieve/asset") == asset);
        assert_eq!(
            alert.is_some(),
            !rule.is_empty(),
            "an alert for what is unexpected, and for nothing else"
        );
        if let Some(alert) = alert {
            assert_eq!(alert.text("/log/level"), record.text("/log/level"));
            assert_eq!(alert.text("/rule/id"), rule);
        }
        let ruling = record.text("/certsieve/verdict");
        // A fresh account knows no issuer yet.
        let codes = record.texts("/certsieve/reason_codes");
        let codes: Vec<&str> = codes.into_iter().filter(|code| *code != "issuer.first_for_asset").collect();
        let codes = codes.join(" ");
        all.push(match rule {
            "" => format!("{asset} {ruling} [{codes}]"),
            rule => format!("{asset} {ruling} {rule} {} [{codes}]", record.text("/log/level")),
        });
    }
    all
}

fn check(certificate: &Certificate, want: &[&str]) {
    for (form, message) in
        [("full", certificate.full("log.example", 1)), ("lite", certificate.lite("log.example", 1))]
    {
        assert_eq!(verdicts(&message), want, "{form}: {certificate:?}");
    }
}

fn by(organization: &str, common_name: &str, san: impl Into<Vec<San>>) -> Certificate {
    Certificate::of(san).issuer(organization, common_name)
}

#[test]
fn each_policy_and_issuer() {
    check(
        &Certificate::of([dns("a.never.example")]),
        &["never unexpected never-issue critical [policy.never_issue]"],
    );
    check(
        &Certificate::of([ip("192.0.2.1")]),
        &["never unexpected never-issue critical [policy.never_issue]"],
    );
    check(&Certificate::of([dns("ok.never.example"), ip("192.0.2.9")]), &[]);
    let expected = &["expect expected [issuer.expected]"];
    let unexpected = &["expect unexpected unexpected-issuer critical [issuer.unexpected]"];
    for (organization, common_name, want) in [
        ("DigiCert Inc", "x", expected),
        ("Amazon", "x", expected),
        ("Let's Encrypt", "R10", expected),
        ("Let's Encrypt", "R11", expected),
        ("Let's Encrypt", "E5", unexpected),
        ("Somebody", "R10", unexpected),
        ("Financijska agencija", "Fina RDC 2020", unexpected),
    ] {
        check(&by(organization, common_name, [dns("www.expect.example")]), want);
        check(&by(organization, common_name, [ip("198.51.100.7")]), want);
    }
    let near = "expect unexpected unexpected-issuer critical [issuer.unexpected issuer.near_miss]";
    for organization in ["DigiCert, Inc.", "digicert inc", "DigiCert  Inc"] {
        check(&by(organization, "x", [dns("www.expect.example")]), &[near]);
    }
    check(&Certificate::of([dns("www.watched.example")]), &["watched observed [policy.observe]"]);
}

#[test]
fn an_issuer_key() {
    let mut certificate = Certificate::of([dns("keyed.example.net")]);
    check(&certificate, &["keyed expected [issuer.expected]"]);
    check(&Certificate::of([dns("www.keyed.example.net")]), &[]);
    certificate.authority_key_id = Some(vec![1, 2, 3]);
    check(&certificate, &["keyed unexpected unexpected-issuer high [issuer.unexpected]"]);
    // The DER says that there is none; text may have left it out.
    certificate.authority_key_id = None;
    let full = verdicts(&certificate.full("log.example", 1));
    assert_eq!(full, ["keyed unexpected unexpected-issuer high [issuer.unexpected]"]);
    let lite = verdicts(&certificate.lite("log.example", 1));
    assert_eq!(lite, ["keyed unexpected not-verified medium [issuer.not_verified]"]);
}

#[test]
fn what_the_message_lacks_is_not_verified() {
    let mut message = by("DigiCert Inc", "x", [dns("www.expect.example")]).go("log.example", 1, false);
    for issuer in [serde_json::Value::Null, "x".into(), serde_json::json!([])] {
        message["data"]["leaf_cert"]["issuer"] = issuer;
        let got = verdicts(&message.to_string());
        assert_eq!(got, ["expect unexpected not-verified medium [issuer.not_verified]"]);
    }
    message["data"]["leaf_cert"]["issuer"] = serde_json::json!({"O": null, "CN": "R10"});
    let got = verdicts(&message.to_string());
    assert_eq!(got, ["expect unexpected unexpected-issuer critical [issuer.unexpected]"], "it has none");
}

#[test]
fn naming_bounds_the_severity() {
    let unexpected = |severity: &str, codes: &str| {
        let rule = "expect unexpected unexpected-issuer";
        format!("{rule} {severity} [issuer.unexpected{codes}]")
    };
    let whole = |severity, codes: &str, certificate: &Certificate| {
        check(certificate, &[&unexpected(severity, codes)]);
    };
    let none = || Certificate { san: None, ..Certificate::of([]) };
    whole("critical", "", &Certificate::of([ip("198.51.100.7")]));
    whole("critical", "", &Certificate::of([dns("*.expect.example")]));
    whole("high", " severity.naming", &Certificate::of([dns("198.51.100.7")]));
    whole("high", " severity.naming", &none().common_name("198.51.100.7"));
    whole("high", " severity.naming", &none().common_name("www.expect.example"));
    let beside = Certificate::of([dns("other.example")]).common_name("www.expect.example");
    whole("medium", " severity.naming names.unowned", &beside);
    // The best place counts.
    let both = Certificate::of([ip("198.51.100.7"), dns("198.51.100.7")]).common_name("198.51.100.7");
    whole("critical", "", &both);
    // Text writes no iPAddress of another length.
    for octets in [&[198, 51, 100, 7, 255, 255, 255, 255][..], b"198.51.100.7"] {
        let certificate = Certificate::of([San::Ip(octets.to_vec())]);
        let full = verdicts(&certificate.full("log.example", 1));
        assert_eq!(full, [unexpected("medium", " severity.naming")], "{octets:?}");
    }
    // What the text adds to the DER is matched, and is no more than medium.
    let mut message = Certificate::of([dns("other.example")]).go("log.example", 1, true);
    message["data"]["leaf_cert"]["extensions"]["subjectAltName"] =
        "DNS:other.example, IP Address:198.51.100.7".into();
    let got = verdicts(&message.to_string());
    assert_eq!(got, [unexpected("medium", " severity.naming names.unowned")]);
    // And what the text hides is found in the DER.
    let mut message = Certificate::of([ip("198.51.100.7")]).go("log.example", 1, true);
    message["data"]["leaf_cert"]["extensions"]["subjectAltName"] = "DNS:other.example".into();
    let got = verdicts(&message.to_string());
    assert_eq!(got, [unexpected("critical", " names.unowned")]);
    let out = Bench::new(LIST).take(&[message.to_string()]);
    assert_eq!(out[0].texts("/certsieve/anomalies"), ["text_der_mismatch", "unknown_tld"]);
}

#[test]
fn what_had_expired_is_low() {
    let mut certificate = Certificate::of([ip("198.51.100.7")]);
    certificate.not_after = NOT_BEFORE;
    check(&certificate, &["expect unexpected unexpected-issuer low [issuer.unexpected expired]"]);
    let mut certificate = Certificate::of([dns("a.never.example")]);
    certificate.not_after = NOT_BEFORE;
    check(&certificate, &["never unexpected never-issue low [policy.never_issue expired]"]);
    // A keyword hit, too, whatever severity it has.
    let list = LIST.replace("keyword_severity = \"low\"", "keyword_severity = \"critical\"");
    let mut certificate = Certificate::of([dns("my-expectbank.example.org")]);
    for (end, want) in [(certificate.not_after, "critical"), (NOT_BEFORE, "low")] {
        certificate.not_after = end;
        let out = Bench::new(&list).take(&[certificate.full("log.example", 1)]);
        assert_eq!(of(&out, Topic::Alert)[0].text("/log/level"), want);
    }
}

#[test]
fn keywords_are_not_owned() {
    check(
        &by("DigiCert Inc", "x", [dns("my-expectbank.example.org")]),
        &["expect unexpected keyword low [keyword]"],
    );
    check(&by("x", "x", [dns("watchword.example.org")]), &["watched observed [keyword]"]);
    check(
        &by("DigiCert Inc", "x", [dns("expectbank.expect.example")]),
        &["expect expected [issuer.expected]"],
    );
    // No issuer makes a keyword expected, not even beside a name that is in order.
    let beside = by("DigiCert Inc", "x", [dns("www.expect.example"), dns("expectbank.example.org")]);
    check(&beside, &["expect unexpected keyword low [keyword issuer.expected names.unowned]"]);
    let out = Bench::new(LIST).take(&[beside.full("log.example", 1)]);
    assert!(out[0].text("/message").contains("expectbank.example.org"), "{}", out[0].text("/message"));
    assert!(out[0].text("/event/reason").contains("holds expectbank"), "{}", out[0].text("/event/reason"));
    // And beside one that is not, the graver rule stands.
    check(
        &by("x", "x", [dns("www.expect.example"), dns("expectbank.example.org")]),
        &["expect unexpected unexpected-issuer critical [issuer.unexpected names.unowned]"],
    );
}

#[test]
fn every_asset_judges_for_itself() {
    let san =
        [dns("a.never.example"), dns("www.expect.example"), dns("www.watched.example"), dns("else.example")];
    let want = [
        "never unexpected never-issue critical [policy.never_issue names.unowned]",
        "expect expected [issuer.expected names.unowned]",
        "watched observed [policy.observe names.unowned]",
    ];
    check(&by("Amazon", "x", san), &want);
}
