//! The main job on real parts: what an authority puts into real logs comes out of Kafka as records.
//!
//! ```text
//! submit ─► Sunlight, CTFE ─► certstream-server-go ─► certsieve ─► Kafka ─► consume.py
//! ```
//!
//! Three instances read the same server, each through another door of the broker and into topics of its
//! own. What is owed is computed from what was submitted, less what the real server never emits: entries
//! with an address of five octets, which Go cannot parse, and index 0 of the tiled log.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use certsieve::record::Topic;
use serde_json::Value;

use crate::broker::Broker;
use crate::program::{self, Certsieve, SOON, Stopped};
use crate::support::logs::{Authority, CertstreamServer, Kind, MemLog, Settings, StaticLog, Submitted};
use crate::support::python;
use crate::topics::{self, Consumed, consume_lines, door};

/// Of each kind of certificate so many pairs, to each log.
const EACH: usize = 8;

const GOOD: [Kind; 7] = [
    Kind::Dns,
    Kind::Ip,
    Kind::Ip6,
    Kind::Mixed,
    Kind::CommonNameIp,
    Kind::Wildcard,
    Kind::Many { names: 500 },
];
const BAD: [Kind; 2] = [Kind::BadIp, Kind::BadIpMixed];

/// Nobody may issue for the addresses; of two owners of the names one expects this authority.
const LIST: &str = r#"
[[asset]]
id = "resolver"
networks = ["1.1.1.1/32", "2606:4700:4700::/48"]
policy = "never-issue"
labels = { team = "dns-oncall" }

[[asset]]
id = "shop"
domains = ["example.test"]
policy = "expect"
[[asset.expect]]
issuer_organization = "Local Test CA"

[[asset]]
id = "stolen"
domains = ["example.test"]
policy = "expect"
[[asset.expect]]
issuer_organization = "An Authority of Repute"

[[asset]]
id = "elsewhere"
domains = ["example.org"]
networks = ["192.0.2.0/24"]
policy = "never-issue"
"#;

/// A log entry and an asset that it matches.
type Place = (String, String, String, String);

#[test]
fn entries_of_both_kinds_of_log_come_out_of_kafka_by_every_door() {
    let broker = Broker::shared();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path());
    let tiled = StaticLog::start(folder.path(), &authority);
    let rfc6962 = MemLog::start(folder.path(), &authority);
    let logs = [tiled.address(), rfc6962.address()];
    let settings = Settings { buffer: 100_000, from_start: true };
    let server = CertstreamServer::start(folder.path(), &logs, settings);

    broker.allow("alice", "e2e-scram");
    broker.allow("certuser", "e2e-certificate");
    let doors = [
        ("e2e-plain", "/full-stream", door::plain(broker, "e2e-plain")),
        ("e2e-scram", "/", door::scram(broker, "e2e-scram", "alice", &broker.certificates().ca)),
        ("e2e-certificate", "/full-stream", door::certificate(broker, "e2e-certificate")),
    ];
    let mut instances: Vec<(&str, &str, Certsieve)> = Vec::new();
    for (prefix, stream, kafka) in &doors {
        if *prefix != "e2e-plain" {
            topics::make_all(broker, prefix);
        }
        let folder = folder.path().join(prefix);
        program::write(&folder, &program::config(prefix, &server.url(stream), kafka), LIST);
        std::fs::write(folder.join("password"), "alice-secret\n").unwrap();
        instances.push((prefix, stream, Certsieve::run(&folder, &[])));
    }
    for (prefix, _, certsieve) in &mut instances {
        certsieve.until(prefix, SOON, |certsieve| {
            let unready = certsieve.unready();
            // The server has nothing to say yet.
            (unready.len() <= 1 && certsieve.scrape().get("feed_connected{feed=\"feed\"}") == 1).then_some(())
        });
    }

    let submit = |kinds: &[Kind], logs: &[_]| -> Vec<Submitted> {
        kinds.iter().flat_map(|&kind| authority.submit(kind, EACH, logs)).collect()
    };
    let bad = submit(&BAD, &logs);
    assert!(bad.iter().any(|s| s.index == Some(0)), "index 0 is one that is never emitted anyway");
    let good = submit(&GOOD, &logs);
    // A hundred more, of which none is emitted: of the RFC 6962 log the server takes hundreds.
    authority.submit(Kind::BadIp, 50, &[rfc6962.address()]);

    let owed: BTreeMap<Place, &Submitted> = good.iter().flat_map(owed).collect();
    let alerts: BTreeSet<(&str, String)> = owed
        .iter()
        .filter(|((_, _, _, asset), _)| asset != "shop")
        .map(|((_, _, _, asset), s)| (asset.as_str(), issuance_key(s)))
        .collect();
    for (prefix, stream, mut certsieve) in instances {
        certsieve.until(prefix, SOON, |certsieve| {
            let scrape = certsieve.scrape();
            let all = scrape.get("messages_total{outcome=\"matched\"}") >= good.len() as u64;
            (all && scrape.sum("records_pending") == 0 && certsieve.is_ready()).then_some(())
        });
        let stopped = certsieve.stop();
        assert!(stopped.status.success(), "{prefix}: {}\n{}", stopped.status, stopped.log);
        eprintln!("{prefix}: {:?}", stopped.audit);
        let (records, lines) = consume_lines(broker, prefix, &Topic::ALL);
        let context = |what: &str| format!("{prefix}: {what}");
        let of = |topic: Topic| records.iter().filter(move |r| r.topic == topic.name(prefix));

        let matches: BTreeMap<Place, &Consumed> = of(Topic::Match).map(|r| (place(r), r)).collect();
        assert_eq!(matches.len(), of(Topic::Match).count(), "{}", context("a match stands twice"));
        let places = |map: BTreeSet<&Place>| map.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            places(matches.keys().collect()),
            places(owed.keys().collect()),
            "{}",
            context("matches are not what is owed")
        );
        let raised: Vec<_> =
            of(Topic::Alert).map(|r| (text(&r.value["certsieve"]["asset"]), r.key.clone())).collect();
        let unique: BTreeSet<_> = raised.iter().cloned().collect();
        assert_eq!(unique, alerts, "{}", context("alerts are not what is owed"));
        assert_eq!(raised.len(), alerts.len(), "{}", context("an issuance was raised twice"));
        assert_eq!(of(Topic::Malformed).count(), 0, "{}", context("nothing malformed came in"));

        let ids: BTreeSet<_> = of(Topic::Alert).map(Consumed::id).collect();
        for (place, record) in &matches {
            agrees(record, owed[place], stream, &ids);
        }
        for record in &records {
            headers(record, prefix);
        }
        health(prefix, of(Topic::Health));
        counts(prefix, &stopped, &records);
        validates(folder.path(), prefix, &records);
        cloudevents(&lines);
    }
}

/// The matches of one entry.
fn owed(submitted: &Submitted) -> impl Iterator<Item = (Place, &Submitted)> {
    let mut assets = Vec::new();
    if !submitted.ips.is_empty() {
        assets.push("resolver");
    }
    if !submitted.names.is_empty() {
        assets.extend(["shop", "stolen"]);
    }
    assets.into_iter().map(move |asset| {
        let place =
            (submitted.log.clone(), submitted.serial.clone(), submitted.entry.clone(), asset.to_owned());
        (place, submitted)
    })
}

fn place(record: &Consumed) -> Place {
    let own = &record.value["certsieve"];
    let serial = record.key.split_once(':').expect("an issuance key").1;
    (
        text(&own["ct"]["log"]["url"]).into(),
        serial.into(),
        text(&own["entry"]).into(),
        text(&own["asset"]).into(),
    )
}

fn issuance_key(submitted: &Submitted) -> String {
    format!("{}:{}", submitted.issuer_key_id, submitted.serial)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// One match record says what was submitted.
fn agrees(record: &Consumed, submitted: &Submitted, stream: &str, alerts: &BTreeSet<&str>) {
    let value = &record.value;
    let own = &value["certsieve"];
    let context = || format!("{submitted:?}\n{value:#}");
    let tiled = submitted.index.is_some();
    assert_eq!(record.key, issuance_key(submitted), "{}", context());
    assert_eq!(own["issuance_key"], record.key.as_str(), "{}", context());
    if let Some(index) = submitted.index {
        assert_eq!(own["ct"]["index"], index, "{}", context());
    }
    assert!(own["ct"]["index"].is_u64(), "{}", context());
    // Lite carries no DER, and neither do precertificates of a tiled log.
    let der = stream == "/full-stream" && !(tiled && submitted.entry == "precertificate");
    assert_eq!(own["evidence"], if der { "der" } else { "text" }, "{}", context());
    if der && submitted.entry == "certificate" {
        let hash = submitted.sha256.to_uppercase();
        assert_eq!(value["tls"]["server"]["hash"]["sha256"], hash, "{}", context());
    }
    if !der {
        assert_eq!(value["tls"]["server"]["hash"], Value::Null, "{}", context());
    }
    assert_eq!(
        value["tls"]["server"]["x509"]["serial_number"],
        submitted.serial.to_uppercase(),
        "{}",
        context()
    );
    let (verdict, rule, matched): (_, _, &[String]) = match text(&own["asset"]) {
        "resolver" => ("unexpected", "never-issue", &submitted.ips),
        "stolen" => ("unexpected", "unexpected-issuer", &submitted.names),
        _ => ("expected", "", &submitted.names),
    };
    assert_eq!(own["verdict"], verdict, "{}", context());
    assert_eq!(value["rule"]["id"].as_str().unwrap_or_default(), rule, "{}", context());
    assert_eq!(
        own["alert_id"].as_str().is_some_and(|id| alerts.contains(id)),
        !rule.is_empty(),
        "{}",
        context()
    );
    let identities: BTreeSet<_> =
        own["matches"].as_array().unwrap().iter().map(|m| text(&m["identity"])).collect();
    // Of five hundred names not all fit, and those are counted.
    assert!(identities.iter().all(|i| matched.iter().any(|m| m == i)), "{}", context());
    if matched.len() < 100 {
        assert_eq!(identities.len(), matched.len(), "{}", context());
    }
    assert!(own["matches_total"].as_u64() >= Some(matched.len() as u64), "{}", context());
    // An address as common name is odd, whatever stands beside it, and so are names that nobody can own.
    let names = submitted.names.iter().chain([&submitted.common_name]);
    let names: Vec<_> = names.filter(|name| !name.is_empty() && name.parse::<IpAddr>().is_err()).collect();
    let odd: Vec<&str> = [
        ("ip_in_cn", submitted.common_name == "1.1.1.1"),
        ("single_label_name", names.iter().any(|name| !name.contains('.'))),
        ("unknown_tld", names.iter().any(|name| name.ends_with(".test"))),
    ]
    .into_iter()
    .filter_map(|(kind, is)| is.then_some(kind))
    .collect();
    assert_eq!(own["anomalies"], serde_json::json!(odd), "{}", context());
}

/// The raw header list, in its order, agrees with the value.
fn headers(record: &Consumed, prefix: &str) {
    let (kind, ce_type) = match record.topic.strip_prefix(prefix).unwrap() {
        ".alert.v1" => ("alert", "certsieve.alert.raised.v1"),
        ".match.v1" => ("match", "certsieve.match.v1"),
        _ => ("health", "certsieve.health.v1"),
    };
    let value = &record.value;
    let mut want = vec![
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", record.id().to_owned()),
        ("ce_type", ce_type.to_owned()),
        ("ce_source", format!("urn:certsieve:{prefix}")),
    ];
    if let Some(asset) = value["certsieve"]["asset"].as_str() {
        want.push(("ce_subject", asset.to_owned()));
    }
    want.extend([
        ("ce_time", text(&value["@timestamp"]).to_owned()),
        ("ce_dataschema", format!("urn:certsieve:schema:{kind}:1")),
        ("ce_severity", text(&value["log"]["level"]).to_owned()),
        ("content-type", "application/json".to_owned()),
    ]);
    let found: Vec<_> = record.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    assert_eq!(found, want, "{value:#}");
    assert_eq!(value["observer"]["name"], prefix);
}

fn health<'a>(prefix: &str, records: impl Iterator<Item = &'a Consumed>) {
    let actions: Vec<_> = records.map(|r| (r.key.as_str(), text(&r.value["event"]["action"]))).collect();
    assert_eq!(actions.first(), Some(&(prefix, "started")), "{actions:?}");
    assert_eq!(actions.last(), Some(&(prefix, "stopped")), "{actions:?}");
    assert!(actions.contains(&(prefix, "feed-up")), "{actions:?}");
}

/// The metrics say what the topics hold.
fn counts(prefix: &str, stopped: &Stopped, records: &[Consumed]) {
    for topic in Topic::ALL {
        let found = records.iter().filter(|r| r.topic == topic.name(prefix)).count() as u64;
        // Its last scrape was before it said that it stops.
        let since = if topic == Topic::Health { 1 } else { 0 };
        let delivered = stopped.last.get(&format!("records_delivered_total{{topic={:?}}}", topic.suffix()));
        assert!(
            (delivered..=delivered + since).contains(&found),
            "{prefix}: {topic:?}: {delivered}, {found} found"
        );
    }
    stopped.last.balances();
    assert_eq!(stopped.last.get("messages_total{outcome=\"shed\"}"), 0);
    assert_eq!(stopped.last.sum("kafka_errors_total"), 0, "{}", stopped.last.shown());
}

/// Every record is valid by the schema that the program prints.
fn validates(folder: &Path, prefix: &str, records: &[Consumed]) {
    for topic in Topic::ALL {
        let kind = topic.suffix().trim_end_matches(".v1");
        let output = program::certsieve().args(["schema", kind]).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        for record in records.iter().filter(|r| r.topic == topic.name(prefix)) {
            let errors: Vec<_> = validator.iter_errors(&record.value).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{errors:#?}\n{:#}", record.value);
        }
    }
}

/// The SDK reads each record's headers as they are.
fn cloudevents(lines: &str) {
    let mut check = python("cloudevents_check.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = check.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // Both ends at once: what it says could fill a pipe.
        scope.spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
        check.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
