//! The whole of `[[asset.expect]]`, names that concern the list as a whole, what stands in raw bytes, and
//! the cap on alerts: one row a case.

use certsieve::entry::{certificate, issuance};
use certsieve::record::Topic;
use serde_json::json;

use crate::support::entries::{Certificate, NOT_BEFORE, San, dns, ip};
use crate::support::pipeline::{Bench, Out, of};

/// `asset ruling rule severity [reason codes]` of each match, but that an issuer is new to an asset, which
/// it always is here.
fn verdicts(out: &[Out]) -> Vec<String> {
    let text = |out: &Out| {
        let codes = out.texts("/certsieve/reason_codes");
        let codes: Vec<&str> = codes.into_iter().filter(|code| *code != "issuer.first_for_asset").collect();
        let words = ["/certsieve/asset", "/certsieve/verdict", "/rule/id"].map(|pointer| out.text(pointer));
        let level = if out.text("/rule/id").is_empty() { "" } else { out.text("/log/level") };
        let words: Vec<&str> = words.into_iter().chain([level]).filter(|word| !word.is_empty()).collect();
        format!("{} [{}]", words.join(" "), codes.join(" "))
    };
    of(out, Topic::Match).into_iter().map(text).collect()
}

fn check(list: &str, certificate: &Certificate, full: &[&str], lite: &[&str]) {
    for (form, message, want) in [
        ("full", certificate.full("log.example", 1), full),
        ("lite", certificate.lite("log.example", 1), lite),
    ] {
        let out = Bench::new(list).take(&[message]);
        assert_eq!(verdicts(&out), want, "{form}: {certificate:?} under {list}");
        let unexpected = want.iter().filter(|verdict| verdict.contains(" unexpected ")).count();
        assert_eq!(of(&out, Topic::Alert).len(), unexpected, "{form}: {certificate:?} under {list}");
    }
}

fn key_of(certificate: &Certificate) -> String {
    let der = certificate.der();
    issuance::sha256_hex(certificate::walk(&der, &mut Vec::new()).spki)
}

const EXPECTED: &[&str] = &["a expected [issuer.expected]"];
const UNEXPECTED: &[&str] = &["a unexpected unexpected-issuer high [issuer.unexpected]"];

#[test]
fn every_owned_identity_must_be_covered() {
    let list = "[[asset]]\nid = 'a'\ndomains = ['example.com']\nnetworks = ['192.0.2.0/24']\npolicy = 'expect'\n\
        [[asset.expect]]\nissuer_organization = 'One'\nfor = ['cdn.example.com', '192.0.2.0/28']\n\
        [[asset.expect]]\nissuer_organization = 'Two'\n";
    let not_covered: &[&str] = &["a unexpected unexpected-issuer high [names.not_covered]"];
    for (organization, san, want) in [
        ("Two", vec![dns("login.example.com"), dns("cdn.example.com"), ip("192.0.2.200")], EXPECTED),
        ("One", vec![dns("cdn.example.com"), dns("a.b.cdn.example.com"), ip("192.0.2.15")], EXPECTED),
        ("One", vec![dns("*.cdn.example.com")], EXPECTED),
        ("One", vec![dns("cdn.example.com"), dns("login.example.com")], not_covered),
        ("One", vec![dns("login.example.com")], not_covered),
        ("One", vec![dns("*.example.com")], not_covered),
        ("One", vec![ip("192.0.2.15"), ip("192.0.2.16")], not_covered),
        ("Three", vec![dns("cdn.example.com")], UNEXPECTED),
    ] {
        check(list, &Certificate::of(san).issuer(organization, "x"), want, want);
    }
}

#[test]
fn only_keys_that_are_listed() {
    let owner = Certificate::of([dns("www.example.com")]).issuer("One", "x");
    let other = Certificate { subject_key: 2, ..owner.clone() };
    assert_ne!(key_of(&owner), key_of(&other));
    let list = |more: &str| {
        format!(
            "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'expect'\n{more}\n[[asset.expect]]\n\
             issuer_organization = 'One'\nsubject_spki_sha256 = '{}'\n",
            key_of(&owner)
        )
    };
    let expected: &[&str] = &["a expected [issuer.expected key.expected]"];
    let unexpected: &[&str] = &["a unexpected unexpected-key high [key.unexpected]"];
    let unknown: &[&str] = &["a unexpected not-verified medium [issuer.not_verified]"];
    for more in ["", "require = 'key'"] {
        check(&list(more), &owner, expected, unknown);
        // What an attacker gets from an expected CA.
        check(&list(more), &other, unexpected, unknown);
        check(&list(more), &owner.clone().issuer("Two", "x"), UNEXPECTED, UNEXPECTED);
    }
    // Keys alone say who holds them, whoever issues.
    let alone = list("").replace("issuer_organization = 'One'\n", "");
    check(&alone, &owner.clone().issuer("Two", "x"), expected, unknown);
    check(&alone, &other, unexpected, unknown);
}

#[test]
fn what_is_not_at_hand_is_not_verified() {
    for key in ["issuer_spki_sha256 = 'KEY'", "ca_owner = 'One'"] {
        let list = format!(
            "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'expect'\n[[asset.expect]]\n{}\n",
            key.replace("KEY", &"ab".repeat(32))
        );
        let unknown: &[&str] = &["a unexpected not-verified medium [issuer.not_verified]"];
        check(&list, &Certificate::of([dns("www.example.com")]), unknown, unknown);
        // What is known decides first.
        let list = list + "issuer_common_name = 'Else'\n";
        check(&list, &Certificate::of([dns("www.example.com")]), UNEXPECTED, UNEXPECTED);
    }
}

/// A CA that writes another's name or key id is found out where its own certificate is at hand.
#[test]
fn a_claim_is_held_against_the_issuer_s_own_certificate() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let list = |key: &str| {
        format!(
            "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'expect'\n[[asset.expect]]\n{key}\n"
        )
    };
    let honest = Certificate::of([dns("www.example.com")]).issuer("One", "CA 1");
    let own = honest.issuer_certificate();
    let key = key_of(&own);
    let renamed = own.clone().issuer_of("Two", "CA 2", &[0x7f, 0x3c, 0x1d, 0x9a]);
    let rekeyed = own.clone().issuer_of("One", "CA 1", &[9, 9, 9]);
    let spelled = own.clone().issuer_of("ONE", "ca  1", &[0x7f, 0x3c, 0x1d, 0x9a]);
    let (verified, claimed) =
        ("a expected [issuer.expected] verified", "a expected [issuer.expected] claimed");
    let forged = "a unexpected unexpected-issuer high [issuer.claim_mismatch] claimed";
    let by_name = list("issuer_organization = 'One'");
    let by_id = list("issuer_key_id = '7f3c1d9a'");
    let by_key = list(&format!("issuer_spki_sha256 = '{key}'"));
    for (list, chain, want) in [
        (&by_name, Some(&own), verified),
        (&by_id, Some(&own), verified),
        (&by_key, Some(&own), verified),
        (&by_name, Some(&spelled), verified),
        (&by_name, None, claimed),
        (&by_name, Some(&renamed), forged),
        (&by_id, Some(&renamed), forged),
        (&by_id, Some(&rekeyed), forged),
        (&by_key, Some(&rekeyed), forged),
        (&by_key, None, "a unexpected not-verified medium [issuer.not_verified] claimed"),
    ] {
        let mut message = honest.go("log.example", 1, true);
        message["data"]["chain"] =
            chain.map(|link| json!({"as_der": STANDARD.encode(link.der())})).into_iter().collect();
        let out = Bench::new(list).take(&[message.to_string()]);
        let record = of(&out, Topic::Match)[0];
        let got = format!("{} {}", verdicts(&out)[0], record.text("/certsieve/issuer/strength"));
        assert_eq!(got, want, "{list} {chain:?}");
        let odd = record.texts("/certsieve/anomalies").contains(&"issuer_claim_mismatch");
        assert_eq!(odd, want == forged);
    }
}

#[test]
fn a_name_that_could_be_anybody_s_is_one_alert_for_the_list() {
    let asset = |id: &str, name: &str, policy: &str| {
        format!("[[asset]]\nid = '{id}'\ndomains = ['{name}']\npolicy = '{policy}'\n")
    };
    let list = asset("a", "example.com", "never-issue")
        + &asset("b", "example.net", "never-issue")
        + &asset("c", "www.example.co.uk", "never-issue")
        + &asset("d", "mine.s3.amazonaws.com", "never-issue")
        + &asset("o", "example.info", "observe");
    let high: &[&str] = &["- unexpected never-issue high [names.list_wide]"];
    let medium: &[&str] = &["- unexpected suspected medium [names.list_wide severity.naming]"];
    for (name, want) in [
        ("*.com", high),
        ("*.net", high),
        ("ex*.com", high),
        ("*.*.co.uk", high),
        ("www.*.co.uk", high),
        ("a.*.com", high),
        ("*.s3.amazonaws.com", high),
        ("mine.*.amazonaws.com", high),
        ("example.*", high),
        ("\u{1}.com", medium),
        ("www.\u{1}.co.uk", medium),
        // Nothing watched is denoted.
        ("*.co.uk", &[][..]),
        ("zz*.com", &[]),
        ("*.org", &[]),
        ("*.info", &[]),
        ("*", &[]),
        ("*.example.org", &[]),
        ("*.dev.amazonaws.com", &[]),
        // Somebody owns it.
        ("*.example.com", &["a unexpected never-issue critical [policy.never_issue]"]),
    ] {
        let out = Bench::new(&list).take(&[Certificate::of([dns(name)]).full("log.example", 1)]);
        assert_eq!(verdicts(&out), want, "{name}");
    }
    // How joined names look as one says nothing where one of them is owned; a local part is nobody's host.
    let owned: &[&str] = &["a unexpected never-issue critical [policy.never_issue]"];
    for (name, want) in [
        ("https://www.example.com/", owned),
        ("www.example.com/x", owned),
        ("www.example.com\0", owned),
        ("www.example.com, www.example.org", owned),
        ("www.\u{1}.com/x", medium),
        ("jane@mail.example.com", owned),
        ("jane@gmail.com", &[]),
        ("www.example.com@gmail.com", &[]),
        ("https://example.org/www.example.com", &[]),
    ] {
        let out = Bench::new(&list).take(&[Certificate::of([dns(name)]).full("log.example", 1)]);
        let unowned = |verdict: &String| verdict.replace(" names.unowned", "");
        let got: Vec<String> = verdicts(&out).iter().map(unowned).collect();
        assert_eq!(got, want, "{name:?}");
    }
    // A watched network in one that is written as address and mask.
    let ranges = "[[asset]]\nid = 'a'\nnetworks = ['1.1.1.1/32', '9.0.0.0/8']\nexcept = ['9.9.0.0/16']\n\
        policy = 'never-issue'\n";
    let masked: &[&str] = &["a unexpected never-issue medium [policy.never_issue severity.naming]"];
    for (octets, want) in [
        ([1, 1, 1, 0, 255, 255, 255, 0], masked),
        ([1, 1, 1, 1, 255, 255, 255, 0], masked),
        ([1, 1, 1, 0, 255, 0, 255, 0], &[][..]),
        ([1, 1, 2, 0, 255, 255, 255, 0], &[]),
        ([9, 9, 9, 9, 255, 255, 0, 0], &[]),
        ([9, 9, 9, 9, 255, 254, 0, 0], masked),
    ] {
        let certificate = Certificate::of([San::Ip(octets.to_vec())]);
        let out = Bench::new(ranges).take(&[certificate.full("log.example", 1)]);
        assert_eq!(verdicts(&out), want, "{octets:?}");
    }
    // Two of them are one alert, and name what they could stand for.
    let both = Certificate::of([dns("*.com"), dns("\u{1}.net"), dns("plain.example.org")]);
    let out = Bench::new(&list).take(&[both.full("log.example", 1)]);
    assert_eq!(verdicts(&out), high);
    let alert = of(&out, Topic::Alert)[0];
    assert_eq!(
        alert.text("/certsieve/reasons/0"),
        "*.com could stand for example.com, and for every other name of its form; Financijska agencija, Fina \
         RDC 2020 issued it"
    );
    assert_eq!(alert.value["certsieve"]["matches_total"], 2);
}

/// The other reading of what is owned is no name that nobody owns, and no unknown top-level domain.
#[test]
fn another_reading_of_a_name_is_no_name_beside_it() {
    let list = "[[asset]]\nid = 'a'\nnetworks = ['1.1.1.1/32']\ndomains = ['example.com', '8.b.d.0.1.0.0.2.ip6.arpa']\n\
        policy = 'never-issue'\n";
    let zone6 = format!("{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(24));
    for (name, beside, anomalies) in [
        ("1.1.1.1.in-addr.arpa", "", "ip_in_dns"),
        (zone6.as_str(), "", "ip_in_dns"),
        ("https://1.1.1.1/dns-query", "", "ip_in_dns joined_name"),
        ("www.example.com\0", "", "nul_in_name joined_name unparsable_label"),
        ("www.example.com, 1.1.1.1", "", "ip_in_dns joined_name unparsable_label"),
        (
            "www.example.com, a.test",
            "Also names a.test, which no asset owns",
            "joined_name unparsable_label unknown_tld",
        ),
    ] {
        let out = Bench::new(list).take(&[Certificate::of([dns(name)]).full("log.example", 1)]);
        let [alert] = of(&out, Topic::Alert)[..] else { panic!("{name:?}: one alert") };
        let reasons = alert.texts("/certsieve/reasons");
        let said: Vec<_> = reasons.into_iter().filter(|reason| reason.starts_with("Also")).collect();
        assert_eq!(said.concat(), beside, "{name:?}");
        assert_eq!(alert.texts("/certsieve/anomalies").join(" "), anomalies, "{name:?}");
    }
}

/// Each says what is really missing.
#[test]
fn an_owner_that_is_not_known_is_said_to_be_missing() {
    use crate::support::ccadb::certificates;
    let list = "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'expect'\n[[asset.expect]]\nca_owner = 'One'\n";
    let mut stranger = Certificate::of([dns("www.example.com")]).issuer("Some", "Some CA");
    stranger.authority_key_id = Some(vec![9, 9]);
    let nameless = Certificate { authority_key_id: None, ..stranger.clone() };
    for (certificate, ccadb, want) in [
        (&stranger, false, "a asks for the issuer's owner, and there is no [trust] ccadb to say it"),
        (&stranger, true, "a asks for the issuer's owner, and [trust] has no row for key id 0909"),
        (
            &nameless,
            true,
            "a asks for the issuer's owner, and the certificate has no issuer key id to look it up by",
        ),
    ] {
        let mut bench = Bench::new(list);
        if ccadb {
            let mut reading = certsieve::ccadb::Reading::default();
            reading.certificates(certificates("2026-11-20").as_bytes(), None).expect("a whole report");
            bench.sieve = bench.sieve.knowing(std::sync::Arc::new(reading.finish()));
        }
        let out = bench.take(&[certificate.full("log.example", 1)]);
        assert_eq!(of(&out, Topic::Alert)[0].text("/event/reason"), want);
    }
}

/// What concerns the list as a whole says as much of its issuer as any other.
#[test]
fn a_name_that_could_be_anybody_s_says_who_issued_it() {
    let list = "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'never-issue'\n";
    let mut reading = certsieve::ccadb::Reading::default();
    let report = crate::support::ccadb::certificates("2026-11-20");
    reading.certificates(report.as_bytes(), None).expect("a whole report");
    let mut bench = Bench::new(list);
    bench.sieve = bench.sieve.knowing(std::sync::Arc::new(reading.finish()));
    let out = bench.take(&[Certificate::of([dns("*.com")]).full("log.example", 1)]);
    assert_eq!(verdicts(&out), ["- unexpected never-issue high [names.list_wide trust.microsoft_only]"]);
}

#[test]
fn what_stands_in_undecodable_bytes_is_suspected() {
    let list = "[[asset]]\nid = 'a'\nnetworks = ['192.0.2.0/24']\npolicy = 'expect'\nseverity = 'critical'\n\
        [[asset.expect]]\nissuer_organization = 'Financijska agencija'\n\
        [[asset]]\nid = 'b'\ndomains = ['example.com']\nkeywords = ['bank']\nkeyword_severity = 'high'\npolicy = 'never-issue'\n\
        [[asset]]\nid = 'c'\ndomains = ['example.net']\npolicy = 'observe'\n";
    let broken = |certificate: &Certificate| {
        let mut der = certificate.der();
        // Without its outermost header nothing in it is where it should be.
        der.drain(..4);
        use base64::Engine;
        let der = base64::engine::general_purpose::STANDARD.encode(der);
        let mut message = certificate.go("log.example", 7, true);
        message["data"]["leaf_cert"] = json!({"as_der": der});
        message.to_string()
    };
    let a = "a unexpected suspected medium [entry.undecodable severity.naming]";
    let b = "b unexpected suspected medium [entry.undecodable severity.naming]";
    for (certificate, want) in [
        (Certificate::of([ip("192.0.2.9")]), &[a][..]),
        (Certificate::of([ip("::ffff:192.0.2.9")]), &[a]),
        (Certificate::of([dns("www.example.com")]), &[b]),
        (Certificate::of([]).common_name("www.example.com"), &[b]),
        (Certificate::of([dns("www.example.com"), ip("192.0.2.9"), ip("192.0.2.10")]), &[a, b]),
        (Certificate::of([dns("www.example.net")]), &["c observed [entry.undecodable]"]),
        (Certificate::of([dns("bank.example.org"), dns("xexample.com"), ip("192.0.3.9")]), &[]),
    ] {
        let message = broken(&certificate);
        let mut bench = Bench::new(list);
        let out = bench.take(&[&message]);
        assert_eq!(verdicts(&out), want, "{certificate:?}");
        assert_eq!(of(&out, Topic::Malformed).len(), 1);
        for alert in of(&out, Topic::Alert) {
            let asset = alert.text("/certsieve/asset");
            let parts = ["alert", "log.example", "7", asset].join("\n");
            let id = uuid::Uuid::new_v5(&certsieve::record::id::NAMESPACE, parts.as_bytes());
            assert_eq!(alert.id(), id.to_string());
            assert_eq!(alert.text("/certsieve/matches/0/source"), "raw");
        }
    }
}

#[test]
fn low_and_medium_alerts_are_capped_and_told() {
    let list = "[[asset]]\nid = 'a'\ndomains = ['example.com']\nkeywords = ['bank']\nkeyword_severity = 'medium'\n\
        policy = 'never-issue'\nalert_cap = 3\n";
    let mut bench = Bench::new(list);
    let keyword = |n: u64| Certificate::of([dns(format!("bank{n}.example.org"))]).full("log.example", n);
    let messages: Vec<String> = (0..5).map(keyword).collect();
    let out = bench.take(&messages);
    assert_eq!((of(&out, Topic::Alert).len(), of(&out, Topic::Match).len()), (3, 5));
    assert_eq!(bench.account.counts().assets["a"].capped, 2);
    let held = |out: &Out| out.value["certsieve"]["alert_id"].is_null();
    assert_eq!(of(&out, Topic::Match).into_iter().filter(|m| held(m)).count(), 2);
    // High and critical ones are never held back.
    let many: Vec<String> = (10..30)
        .map(|n| Certificate::of([dns(format!("w{n}.example.com"))]).full("log.example", n))
        .collect();
    assert_eq!(of(&bench.take(&many), Topic::Alert).len(), 20);
    // Told when the hour is over, once; what was held back was not entered, so its certificate raises it.
    bench.now = bench.now.plus_millis(3_600_000);
    bench.account.commit(bench.now);
    bench.account.commit(bench.now);
    let out = bench.deliver();
    let told: Vec<&Out> = of(&out, Topic::Health);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].text("/event/action"), "alerts-capped");
    assert_eq!(told[0].value["certsieve"]["health"], json!({"asset": "a", "count": 2}));
    let copy = Certificate::of([dns("bank4.example.org")]).full("other.example", 4);
    assert_eq!(of(&bench.take(&[copy]), Topic::Alert).len(), 1);
}

/// What is shed is said, although the outbox is full of what waits.
#[test]
fn what_is_shed_is_said_with_its_number() {
    let list = "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'never-issue'\n";
    let mut bench = Bench::with_outbox(list, 1);
    let message = |n: u64| Certificate::of([dns(format!("w{n}.example.com"))]).full("log.example", n);
    // The first fills it, and the nine behind it are shed, in two turns within a minute.
    for range in [0..1, 1..4, 4..10] {
        let messages: Vec<String> = range.map(message).collect();
        let batch = bench.sift("eu", true, &messages);
        bench.account.admit(batch, bench.now);
        bench.account.commit(bench.now);
    }
    bench.now = bench.now.plus_millis(60_000);
    bench.account.commit(bench.now);
    let out = bench.deliver();
    let said = of(&out, Topic::Health);
    let numbers: Vec<_> = said.iter().map(|out| out.value["certsieve"]["health"]["count"].clone()).collect();
    assert_eq!(numbers, [3, 6]);
    assert!(said.iter().all(|out| out.text("/event/action") == "internal-error"));
}

#[test]
fn an_issuer_is_new_to_an_asset_once() {
    let list = "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'never-issue'\n";
    let mut bench = Bench::new(list);
    let mut first = |certificate: &Certificate, index| {
        let out = bench.take(&[certificate.full("log.example", index)]);
        let alert = of(&out, Topic::Alert)[0];
        let code = alert.texts("/certsieve/reason_codes").contains(&"issuer.first_for_asset");
        assert_eq!(alert.value["certsieve"]["issuer"]["first_for_asset"], code);
        code
    };
    let mut certificate = Certificate::of([dns("www.example.com")]);
    assert!(first(&certificate, 1));
    certificate.serial = vec![2];
    assert!(!first(&certificate, 2));
    certificate.authority_key_id = Some(vec![9, 9]);
    assert!(first(&certificate, 3));
}

#[test]
fn odd_names_are_named() {
    let list = "[[asset]]\nid = 'a'\nnetworks = ['192.0.2.0/24']\npolicy = 'never-issue'\n";
    for (san, want) in [
        (vec![ip("192.0.2.1"), dns("ssltest5")], &["single_label_name"][..]),
        (vec![ip("192.0.2.1"), dns("www.test.lan9")], &["unknown_tld"]),
        (vec![ip("192.0.2.1"), dns("test1.hr")], &[]),
    ] {
        let out = Bench::new(list).take(&[Certificate::of(san).full("log.example", 1)]);
        assert_eq!(of(&out, Topic::Alert)[0].texts("/certsieve/anomalies"), want);
    }
}

/// The certificate is logged again long after: still one page.
#[test]
fn sixty_days_later_is_no_second_page() {
    let list = "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'never-issue'\n";
    let mut bench = Bench::new(list);
    let certificate = Certificate::of([dns("www.example.com")]);
    let certificate = Certificate { not_after: NOT_BEFORE + 6 * 86_400, ..certificate };
    assert_eq!(
        of(&bench.take(&[certificate.clone().poisoned().full("log.example", 1)]), Topic::Alert).len(),
        1
    );
    bench.now = bench.now.plus_millis(60 * 86_400_000);
    bench.account.commit(bench.now);
    assert_eq!(of(&bench.take(&[certificate.full("other.example", 2)]), Topic::Alert).len(), 0);
}
