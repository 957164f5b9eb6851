//! The twelve certificates that Fina issued for 1.1.1.1, as they would have been seen when they were logged:
//! each one alert at its precertificate, whatever the clock says today.
//!
//! Names and serials of three are documented; the other nine are invented in their style, with dates between
//! the documented first and last of them.

use std::sync::Arc;

use certsieve::ccadb::Reading;
use certsieve::record::Topic;
use time::macros::date;

use crate::support::ccadb::certificates;
use crate::support::entries::{Certificate, San, dns, ip};
use crate::support::pipeline::{Bench, Out, of};

const NEVER: &str = "[[asset]]\nid = 'resolver'\nnetworks = ['1.1.1.1/32']\npolicy = 'never-issue'\n";
const EXPECT: &str = "[[asset]]\nid = 'resolver'\nnetworks = ['1.1.1.1/32']\npolicy = 'expect'\n\
    severity = 'critical'\n[[asset.expect]]\nissuer_organization = 'DigiCert Inc'\n";

/// A year.
const LIFE: i64 = 365 * 86_400;

/// Serial, first second of its validity, common name, subjectAltName, severity.
type Row = (&'static str, i64, &'static str, Vec<San>, &'static str);

fn twelve() -> Vec<Row> {
    let row = |serial, day: time::Date, common_name, san: &[San], severity| -> Row {
        (serial, day.midnight().assume_utc().unix_timestamp(), common_name, san.to_vec(), severity)
    };
    let address = ip("1.1.1.1");
    vec![
        // Documented.
        row(
            "d3167efd77cad759000000005fc7c672",
            date!(2025 - 05 - 26),
            "test1.hr",
            &[dns("test1.hr"), dns("test12.hr"), address.clone()],
            "critical",
        ),
        row(
            "f972552d6ac08828000000005fc86f4d",
            date!(2025 - 05 - 27),
            "test1.hr",
            &[dns("test1.hr"), dns("test11.hr"), address.clone()],
            "critical",
        ),
        row(
            "beb8ef1b1c6cff53000000005fc8cde5",
            date!(2025 - 05 - 28),
            "test11.hr",
            &[dns("test11.hr"), dns("test12.hr"), address.clone()],
            "critical",
        ),
        // Invented.
        row("01", date!(2024 - 02 - 18), "ssltest5", &[address.clone(), dns("ssltest5")], "critical"),
        row(
            "02",
            date!(2024 - 04 - 02),
            "test.hr",
            &[dns("test5.hr"), ip("2.2.2.2"), address.clone()],
            "critical",
        ),
        row("03", date!(2024 - 06 - 11), "1.1.1.1", std::slice::from_ref(&address), "critical"),
        row("04", date!(2024 - 09 - 30), "testssl.hr", std::slice::from_ref(&address), "critical"),
        row("05", date!(2024 - 11 - 05), "test6", &[dns("test6"), ip("::ffff:1.1.1.1")], "critical"),
        row("06", date!(2025 - 01 - 15), "test2.hr", &[dns("test2.hr"), address.clone()], "critical"),
        row("07", date!(2025 - 03 - 21), "test.hr", &[dns("test.hr"), dns("1.1.1.1")], "high"),
        row(
            "08",
            date!(2025 - 07 - 01),
            "testssl.hr",
            &[dns("testssl.hr"), ip("10.0.0.1"), address.clone()],
            "critical",
        ),
        row("09", date!(2025 - 08 - 13), "", &[dns("test12.hr"), address], "critical"),
    ]
}

fn bench(list: &str) -> Bench {
    let mut reading = Reading::default();
    let modified = Some(date!(2026 - 11 - 24));
    reading.certificates(certificates("2026-11-20").as_bytes(), modified).expect("a whole report");
    let mut bench = Bench::new(list);
    bench.sieve = bench.sieve.knowing(Arc::new(reading.finish()));
    bench
}

/// The message of a server that saw the certificate an hour after its first second.
fn seen(certificate: &Certificate, log: &str, index: u64, with_der: bool) -> String {
    let mut message = certificate.go(log, index, with_der);
    message["data"]["seen"] = (certificate.not_before + 3_600).into();
    message.to_string()
}

#[test]
fn each_of_the_twelve_is_one_alert_at_its_precertificate() {
    for (list, rule) in [(NEVER, "never-issue"), (EXPECT, "unexpected-issuer")] {
        for with_der in [true, false] {
            let mut bench = bench(list);
            for (index, (serial, not_before, common_name, san, severity)) in (0..).zip(twelve()) {
                let serial: Vec<u8> = (0..serial.len() / 2)
                    .map(|i| u8::from_str_radix(&serial[2 * i..2 * i + 2], 16).expect("hex"))
                    .collect();
                let mut certificate = Certificate::of(san);
                (certificate.not_before, certificate.not_after) = (not_before, not_before + LIFE);
                // An INTEGER that is positive.
                certificate.serial = [&[0][..], &serial].concat();
                if !common_name.is_empty() {
                    certificate = certificate.common_name(common_name);
                }
                let precertificate = certificate.clone().poisoned();
                let out = bench.take(&[seen(&precertificate, "first.example", index, with_der)]);
                let [alert] = of(&out, Topic::Alert)[..] else { panic!("{common_name} {index}: one alert") };
                assert_eq!((alert.text("/rule/id"), alert.text("/log/level")), (rule, severity), "{index}");
                let reasons = alert.texts("/certsieve/reasons").join("; ");
                let names = |what: &str| reasons.contains(what) || alert.text("/message").contains(what);
                for what in ["Fina RDC 2020", "1.1.1.1", "Included by Microsoft only (CCADB of 2026-11-20)"] {
                    assert!(names(what), "{what} in {} and {reasons}", alert.text("/message"));
                }
                assert!(!alert.texts("/certsieve/reason_codes").contains(&"expired"), "{index}");
                // What follows adds a match and no alert, from another log and as a replay.
                for (log, index) in [("second.example", 100 + index), ("third.example", 200 + index)] {
                    let out = bench.take(&[seen(&certificate, log, index, true)]);
                    assert_eq!(of(&out, Topic::Alert).len(), 0, "{index}");
                    let [matched] = of(&out, Topic::Match)[..] else { panic!("{index}: one match") };
                    assert_eq!(matched.text("/certsieve/alert_id"), alert.id());
                }
            }
        }
    }
}

/// Without a time at which it was seen, a certificate is judged by today.
#[test]
fn a_recording_is_judged_by_the_time_it_was_seen() {
    let mut certificate = Certificate::of([ip("1.1.1.1")]);
    (certificate.not_before, certificate.not_after) = (1_716_681_600, 1_716_681_600 + LIFE);
    let level = |message: &str| -> String {
        let out: Vec<Out> = bench(NEVER).take(&[message]);
        of(&out, Topic::Alert)[0].text("/log/level").to_owned()
    };
    let at = |seen: serde_json::Value| {
        let mut message = certificate.go("log.example", 1, true);
        message["data"]["seen"] = seen;
        level(&message.to_string())
    };
    assert_eq!(at((certificate.not_after - 1).into()), "critical");
    assert_eq!(at((certificate.not_after + 1).into()), "low");
    // A clock that runs ahead says nothing.
    assert_eq!(at(4_070_908_800_i64.into()), "low");
    assert_eq!(at(serde_json::Value::Null), "low");
}
