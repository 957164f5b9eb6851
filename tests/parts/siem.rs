//! Where records end up: every kind of them, the twelve look-alikes and ugly certificates among them, goes from a
//! running certsieve through Kafka and rsyslog to OpenSearch, and an alert through the pager and Alertmanager to
//! somebody's webhook. All of it on the files of `deploy/siem/`.
//!
//! ```text
//! simulate, a recording ─► certsieve ─► Kafka ─► rsyslog ─► OpenSearch ◄─ queries made from the Sigma rules
//!                                         └────► pager ─► Alertmanager ─► webhook
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use certsieve::demo::plants::{Expects, PLANTS, WATCH_LIST};
use certsieve::entry::Timestamp;
use certsieve::record::{Record, Topic};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::landing::{Alertmanager, OpenSearch, Pager, Rsyslog, Webhook, deploy, java_source};
use crate::program::{self, Certsieve, SOON, Simulate};
use crate::support::entries::{Certificate, San, dns, ip};
use crate::support::pipeline::{Bench, of};
use crate::support::process::with_free_ports;
use crate::support::{command, parts, python};
use crate::topics::{self, Consumed, consume_lines, door};

/// The plants come within 22 s, and the machine may be a slow one.
const ALL_PLANTED: Duration = Duration::from_secs(120);

/// Beside what the demo watches: names and addresses of the ugly certificates, labels of every kind.
const UGLY_LIST: &str = r#"
[[asset]]
id = "ugly"
domains = ["ugly.test"]
networks = ["203.0.113.1/32", "2001:db8:6::/48"]
policy = "never-issue"
labels = { cost_center = "7", "on call" = "\u00e4", team = "dns-oncall" }
reference = "https://runbooks.example.net/ct?a=b#c"
"#;

/// What authorities and servers have written, or could: each is one message of a recording.
fn ugly() -> Vec<String> {
    let of = |san: &[San]| Certificate::of(san);
    let mut odd_validity = of(&[dns("ages.ugly.test")]);
    (odd_validity.not_before, odd_validity.not_after) = (-62_135_596_800, 253_402_300_799);
    let mut long_serial = of(&[dns("serial.ugly.test")]);
    long_serial.serial = vec![0x7a; 20_000];
    let mut no_key_id = of(&[dns("nobody.ugly.test")]);
    no_key_id.authority_key_id = None;
    let many = (0..10_000).map(|i| dns(format!("host-{i}.elsewhere.test")));
    let many: Vec<San> = many.chain([ip("203.0.113.1"), dns("many.ugly.test")]).collect();
    let certificates = [
        of(&[dns("www.ugly.test\0.evil.example"), ip("203.0.113.1")]),
        of(&[San::Ip(vec![203, 0, 113, 1, 255, 255, 255, 255]), dns("mask.ugly.test")]),
        of(&[San::Ip(b"203.0.113.1".to_vec()), San::Ip(vec![203, 0, 113, 1, 1]), San::Ip(Vec::new())]),
        of(&[ip("::ffff:203.0.113.1"), ip("2001:db8:6::1")]),
        of(&[dns("203.0.113.1"), dns("1.113.0.203.in-addr.arpa"), dns("[2001:db8:6::1]:443")]),
        of(&[]).common_name("203.0.113.1"),
        of(&[dns("a.ugly.test b.ugly.test, IP Address:203.0.113.1"), dns("https://c.ugly.test/x")]),
        of(&[dns("*.ugly.test"), dns("f*.ugly.test"), dns("xn--zz.ugly.test"), dns("b\u{fc}cher.ugly.test")]),
        of(&[dns([&[0xff, 0xfe, 0x01][..], b".ugly.test"].concat()), dns("\"\\\u{1}\u{7f}.ugly.test")]),
        of(&[dns(format!("{}.ugly.test", "l".repeat(60_000)))]),
        of(&many),
        of(&[dns("long.ugly.test")]).issuer(&"\u{1d4b3}".repeat(20_000), &"\"\\".repeat(20_000)),
        of(&[dns("controls.ugly.test")]).issuer("\u{0}\u{1}\r\n\u{7f}", "\u{202e}olleh").common_name("a\tb"),
        of(&[dns("empty.ugly.test")]).issuer("", "").common_name(""),
        odd_validity,
        long_serial,
        no_key_id,
    ];
    let mut messages = Vec::new();
    for (index, certificate) in (0..).zip(&certificates) {
        messages.push(certificate.clone().poisoned().lite("ugly.example/2026", 2 * index));
        messages.push(certificate.full("ugly.example/2026", 2 * index + 1));
    }
    // An index that no long can hold, and none; a log with hardly a name.
    messages.push(Certificate::of([dns("far.ugly.test")]).full("ugly.example/2026", u64::MAX));
    let mut nowhere = Certificate::of([dns("nowhere.ugly.test")]).go("ugly.example/2026", 7, true);
    nowhere["data"]["cert_index"] = Value::Null;
    nowhere["data"]["source"] = json!({"name": "\u{1}", "url": "x".repeat(9_000)});
    nowhere["data"]["seen"] = json!(1e300);
    messages.push(nowhere.to_string());
    // Undecodable, with a watched address in it; too long; no message at all.
    for (index, der) in
        [(100, "MAMCAQ==".to_owned()), (101, "MIIB/4cEywBxAQ==".to_owned()), (102, "A".repeat(1 << 20))]
    {
        let mut broken = Certificate::of([dns("broken.ugly.test")]).go("ugly.example/2026", index, true);
        broken["data"]["leaf_cert"]["as_der"] = der.into();
        broken["data"]["leaf_cert"]["extensions"] = json!({});
        broken["data"]["leaf_cert"]["all_domains"] = json!([]);
        messages.push(broken.to_string());
    }
    messages.push("{broken".to_owned());
    messages.push(format!("{{\"data\":\"{}", "\u{e9}".repeat(300_000)));
    messages
}

/// Everything that one certsieve said, of every kind: records, and their lines as consume.py prints them.
fn records(folder: &Path, broker: &Broker, prefix: &str) -> (Vec<Consumed>, String) {
    let simulate = Simulate::start(&folder.join("simulate"), &["--rate", "500"]);
    let recording = folder.join("ugly.jsonl");
    std::fs::write(&recording, ugly().join("\n")).unwrap();
    let more = format!("[[feed]]\nkind = \"file\"\nname = \"ugly\"\npath = {recording:?}\n");
    let kafka = format!("{more}\n{}", door::plain(broker, prefix));
    let list = format!("{WATCH_LIST}\n{UGLY_LIST}");
    let config =
        program::write(folder, &program::config(prefix, &simulate.url("/full-stream"), &kafka), &list);
    let mut certsieve = Certsieve::run(folder, &[]);
    let planted = PLANTS.iter().filter(|plant| matches!(plant.expects, Expects::Alert { .. })).count() as u64;
    certsieve.until("the plants are found", ALL_PLANTED, |certsieve| {
        let scrape = certsieve.scrape();
        let of_plants: u64 = ["resolver", "resolver-range", "shop"]
            .iter()
            .flat_map(|asset| ["low", "medium", "high", "critical"].map(|severity| (asset, severity)))
            .map(|(asset, severity)| {
                scrape.get(&format!("alerts_total{{asset={asset:?},severity={severity:?}}}"))
            })
            .sum();
        (of_plants >= planted && scrape.get("alerts_total{asset=\"ugly\",severity=\"critical\"}") >= 10)
            .then_some(())
    });
    // What makes certsieve unwell: a list with a mistake, and a feed that goes.
    std::fs::write(config.with_file_name("watchlist.toml"), "[[asset]]\nnonsense = 1\n").unwrap();
    certsieve.until("the broken list is refused", SOON, |certsieve| {
        (certsieve.scrape().get("watchlist_reloads_total{result=\"refused\"}") > 0).then_some(())
    });
    simulate.finish();
    certsieve.until("the feed is down", SOON, |certsieve| {
        let scrape = certsieve.scrape();
        (scrape.get("feed_connected{feed=\"feed\"}") == 0 && scrape.sum("records_pending") == 0).then_some(())
    });
    let stopped = certsieve.stop();
    assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.log);
    consume_lines(broker, prefix, &Topic::ALL)
}

#[test]
fn every_record_lands_in_opensearch_and_is_found() {
    const PREFIX: &str = "siem";
    let broker = Broker::shared();
    let folder = tempfile::tempdir().unwrap();
    topics::make_all(broker, PREFIX);
    // OpenSearch takes its time to start, certsieve to find everything.
    let (opensearch, (records, lines)) = std::thread::scope(|scope| {
        let opensearch = scope.spawn(|| OpenSearch::start(folder.path()));
        let records = records(&folder.path().join("certsieve"), broker, PREFIX);
        (opensearch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), records)
    });
    let by_id: BTreeMap<&str, &Consumed> = records.iter().map(|record| (record.id(), record)).collect();
    let of_topic = |topic: Topic| by_id.values().filter(move |r| r.topic == topic.name(PREFIX)).count();
    for topic in Topic::ALL {
        eprintln!("{}: {} records", topic.name(PREFIX), of_topic(topic));
        assert!(of_topic(topic) > 0, "no record on {}", topic.name(PREFIX));
    }

    // What can be said of the records alone.
    says_nothing(python("ecs_check.py").arg(deploy("ecs/fields-9.4.0.json")), &lines);
    says_nothing(python("splunk_check.py").arg(deploy("splunk")), &lines);
    for connector in ["opensearch.json", "elasticsearch.json"] {
        sinks_by_id(connector, PREFIX, &records, &lines);
    }

    let template = std::fs::read_to_string(deploy("index-template.json")).unwrap();
    opensearch.ask("PUT", "/_index_template/certsieve", &template);
    let rsyslog = Rsyslog::start(folder.path(), &broker.plain(), opensearch.port(), PREFIX, "certsieve-siem");
    let all = by_id.len() as u64;
    until("every record is indexed", || {
        let count = opensearch.count();
        if count == all {
            Ok(())
        } else {
            Err(format!("{count} of {all}; refused: {}", cut(&rsyslog.refused())))
        }
    });
    assert_eq!(rsyslog.refused(), "");

    // Each is there as it was written, in the index of its kind and month, with every field indexed.
    for hit in opensearch.search(&json!({"query": {"match_all": {}}})) {
        let id = hit["_id"].as_str().expect("a document has an id");
        let record = by_id.get(id).unwrap_or_else(|| panic!("{id} is no record"));
        assert_eq!(hit["_source"], record.value, "{id}");
        assert_eq!(hit["_index"], index(&record.value), "{id}");
        assert_eq!(hit["_ignored"], Value::Null, "{id}");
    }

    found_by_the_rules(&opensearch, &by_id);
    again_and_poisoned(broker, PREFIX, &records, &opensearch, &rsyslog);
}

/// The check of ECS is itself checked: an alert as it is passes, but for one thing done to it.
#[test]
fn what_is_not_ecs_is_named() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 12] = [
        ("threat_level: no field of ECS", |r| r["threat_level"] = 7.into()),
        ("event.score: no field of ECS", |r| r["event"]["score"] = 7.into()),
        ("log.level: a dotted key", |r| r["log.level"] = "high".into()),
        ("rule: no object", |r| r["rule"] = "unexpected-issuer".into()),
        ("event.severity: '99' is no long", |r| r["event"]["severity"] = "99".into()),
        ("event.start: '2026-11-25' is no date", |r| r["event"]["start"] = "2026-11-25".into()),
        ("event.type: a single value where ECS has an array", |r| r["event"]["type"] = "info".into()),
        ("event.reason: an array", |r| r["event"]["reason"] = json!(["a"])),
        ("event.kind: 'page' is none of the values", |r| r["event"]["kind"] = "page".into()),
        ("event.type: indicator does not go with", |r| r["event"]["type"] = json!(["indicator"])),
        ("related.ip: 'test1.hr' is no ip", |r| r["related"]["ip"] = json!(["test1.hr"])),
        ("labels: one of its values is no text", |r| r["labels"] = json!({"tier": 1})),
    ];
    let good: Value = serde_json::from_slice(&alerts("resolver", 0..1)[0].value).expect("a value is JSON");
    let check = |record: &Value| {
        let line = json!({"value": record.to_string()}).to_string();
        let output = fed(python("ecs_check.py").arg(deploy("ecs/fields-9.4.0.json")), &line);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(check(&good), (true, String::new()));
    for (expected, change) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        let (passed, said) = check(&bad);
        assert!(!passed && said.contains(expected), "{expected}: {said}");
    }
}

/// Runs a check on lines; it has nothing to say.
fn says_nothing(check: &mut Command, lines: &str) {
    let output = fed(check, lines);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{check:?}: {said}");
}

fn fed(command: &mut Command, lines: &str) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    std::thread::scope(|scope| {
        // A child that writes while it reads would wait for us, and we for it. One that has seen enough is no failure.
        scope.spawn(move || drop(stdin.write_all(lines.as_bytes())));
        child.wait_with_output().unwrap()
    })
}

/// The index that a record belongs to.
fn index(value: &Value) -> String {
    let kind = value["event"]["dataset"].as_str().unwrap().strip_prefix("certsieve.").unwrap();
    let time = value["@timestamp"].as_str().unwrap();
    format!("certsieve-{kind}-{}.{}", &time[..4], &time[5..7])
}

/// Kafka Connect's own transforms make index and document id of each record, as the connector says.
fn sinks_by_id(connector: &str, prefix: &str, records: &[Consumed], lines: &str) {
    let text = std::fs::read_to_string(deploy("connect").join(connector)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(connector);
    std::fs::write(&file, text.replace(r"certsieve\\.", &format!(r"{prefix}\\."))).unwrap();
    let output = fed(java_source("kafka", "Transforms.java", "256m").arg(&file), lines);
    assert!(output.status.success(), "{connector}: {}", String::from_utf8_lossy(&output.stderr));
    let made = String::from_utf8(output.stdout).expect("topics and keys are text");
    let want: Vec<_> = records.iter().map(|r| format!("{} {}", index(&r.value), r.id())).collect();
    assert_eq!(made.lines().collect::<Vec<_>>(), want, "{connector}");
}

/// Each shipped rule, converted, finds the records that it is about and no others.
fn found_by_the_rules(opensearch: &OpenSearch, records: &BTreeMap<&str, &Consumed>) {
    type Is = fn(&Value) -> bool;
    fn dataset(value: &Value, kind: &str) -> bool {
        value["event"]["dataset"] == format!("certsieve.{kind}")
    }
    fn matched(value: &Value, kind: &str) -> bool {
        value["certsieve"]["matches"].as_array().is_some_and(|all| all.iter().any(|m| m["kind"] == kind))
    }
    let rules: [(&str, Is); 5] = [
        ("certsieve_unexpected_certificate.yml", |v| {
            dataset(v, "alert") && (v["log"]["level"] == "high" || v["log"]["level"] == "critical")
        }),
        ("certsieve_address_certificate.yml", |v| {
            dataset(v, "match") && matched(v, "network") && v["certsieve"]["verdict"] == "unexpected"
        }),
        ("certsieve_lookalike_name.yml", |v| dataset(v, "match") && matched(v, "keyword")),
        ("certsieve_undecodable_entry.yml", |v| {
            dataset(v, "malformed") || (dataset(v, "alert") && v["rule"]["id"] == "suspected")
        }),
        ("certsieve_unwell.yml", |v| {
            let unwell =
                ["feed-down", "watchlist-refused", "record-rejected", "alerts-capped", "internal-error"];
            dataset(v, "health") && unwell.iter().any(|action| v["event"]["action"] == *action)
        }),
    ];
    let sigma = parts().join("python/bin/sigma");
    // Both look into ATT&CK and D3FEND on the network, which the rules do not name.
    let mut check = Command::new(&sigma);
    check.args(["check", "--fail-on-error", "--fail-on-issues", "-x", "attacktag", "-x", "d3_fendtag"]);
    let output = check.arg(deploy("sigma/rules")).output().expect("sigma runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let shipped = std::fs::read_dir(deploy("sigma/rules")).unwrap().map(|e| e.unwrap().file_name());
    let named: BTreeSet<_> = rules.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        shipped.map(|n| n.into_string().unwrap()).collect::<BTreeSet<_>>(),
        named,
        "each rule is tried"
    );
    for (rule, is) in rules {
        let mut convert = Command::new(&sigma);
        convert.args(["convert", "-t", "opensearch_lucene", "-f", "dsl_lucene", "-p"]);
        convert.arg(deploy("sigma/pipelines/elastic.yml")).arg(deploy("sigma/rules").join(rule));
        let output = convert.output().expect("sigma runs");
        assert!(output.status.success(), "{rule}: {}", String::from_utf8_lossy(&output.stderr));
        let query = String::from_utf8(output.stdout).unwrap();
        let query: Value =
            serde_json::from_str(&query).unwrap_or_else(|error| panic!("{rule}: {error}: {query}"));
        let hits = opensearch.search(&query);
        let found: BTreeSet<_> = hits.iter().filter_map(|hit| hit["_id"].as_str()).collect();
        let want: BTreeSet<_> = records.iter().filter(|(_, r)| is(&r.value)).map(|(id, _)| *id).collect();
        eprintln!("{rule}: {} found", found.len());
        assert!(!want.is_empty(), "{rule}: nothing to find");
        assert_eq!(found, want, "{rule}");
        if rule == "certsieve_unexpected_certificate.yml" {
            let fina: BTreeSet<_> = hits
                .iter()
                .filter(|hit| hit["_source"]["certsieve"]["asset"] == "resolver")
                .filter_map(|hit| hit["_source"]["tls"]["server"]["x509"]["serial_number"].as_str())
                .filter(|serial| serial.contains("000000005FC"))
                .collect();
            assert_eq!(fina.len(), 12, "the twelve are found: {fina:?}");
        }
    }
    // For Splunk and ES|QL there is no server here; the rules convert at least.
    for (target, pipeline) in [("splunk", "splunk.yml"), ("esql", "elastic.yml"), ("lucene", "elastic.yml")] {
        let mut convert = Command::new(&sigma);
        convert.args(["convert", "-t", target, "-p"]).arg(deploy("sigma/pipelines").join(pipeline));
        let output = convert.arg(deploy("sigma/rules")).output().expect("sigma runs");
        assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What Kafka delivers twice is there once; what cannot be indexed is said, and holds up nothing behind it.
fn again_and_poisoned(
    broker: &Broker,
    prefix: &str,
    records: &[Consumed],
    opensearch: &OpenSearch,
    rsyslog: &Rsyslog,
) {
    let before = opensearch.count();
    let topic = Topic::Alert.name(prefix);
    let alerts: Vec<_> = records.iter().filter(|r| r.topic == topic).collect();
    let mut poison = alerts[0].value.clone();
    poison["event"]["id"] = "poison".into();
    poison["certsieve"] = "not an object".into();
    // What no mapping can hold is no reason to refuse a record.
    let mut last = alerts[0].value.clone();
    last["event"]["id"] = "last".into();
    last["certsieve"]["ct"]["index"] = u64::MAX.into();
    last["related"]["ip"] = json!(["1.1.1.1", "no address"]);
    let values = alerts.iter().map(|r| &r.value).chain([&poison, &last]).map(Value::to_string);
    let texts: Vec<String> = values.chain(["no JSON".to_owned()]).collect();
    let producer = Sender::to(broker);
    for text in &texts {
        // One partition, so that the last comes last.
        producer.send(&topic, Some(0), "key", &[], text.as_bytes());
    }
    producer.flush();
    until("the last record is indexed, and the poison is said", || {
        let (count, refused) = (opensearch.count(), rsyslog.refused());
        let said = refused.contains("no JSON") && refused.contains("poison");
        if count == before + 1 && said { Ok(()) } else { Err(format!("{count}; {}", cut(&refused))) }
    });
    let refused = rsyslog.refused();
    assert_eq!(refused.lines().count(), 2, "{refused}");
    assert!(refused.contains("400 mapper_parsing_exception"), "{refused}");
    let hits = opensearch.search(&json!({"query": {"term": {"related.ip": "1.1.1.1"}}}));
    let kept = hits.iter().find(|hit| hit["_id"] == "last").expect("it is found by its address");
    assert_eq!(kept["_source"], last);
    let ignored: BTreeSet<_> =
        kept["_ignored"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(ignored, BTreeSet::from(["certsieve.ct.index", "related.ip"]));
}

fn cut(text: &str) -> String {
    text.chars().take(2_000).collect()
}

fn until(what: &str, mut done: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + SOON;
    while let Err(why) = done() {
        assert!(Instant::now() < end, "{what}: not within {SOON:?}: {why}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Somebody who writes to a topic.
struct Sender(BaseProducer);

impl Sender {
    fn to(broker: &Broker) -> Sender {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.plain()).set("message.max.bytes", "2000000");
        Sender(config.create().expect("a producer"))
    }

    fn send(&self, topic: &str, partition: Option<i32>, key: &str, headers: &[(&str, String)], value: &[u8]) {
        let mut kept = OwnedHeaders::new();
        for (key, value) in headers {
            kept = kept.insert(Header { key, value: Some(value) });
        }
        let mut record = BaseRecord::to(topic).key(key).payload(value).headers(kept);
        record.partition = partition;
        self.0.send(record).unwrap_or_else(|(error, _)| panic!("{topic}: {error}"));
    }

    fn send_record(&self, prefix: &str, record: &Record) {
        let headers: Vec<_> = record.headers.iter().map(|(name, value)| (*name, value.clone())).collect();
        self.send(&record.topic.name(prefix), None, &record.key, &headers, &record.value);
    }

    fn flush(&self) {
        self.0.flush(SOON).expect("the broker takes it");
    }
}

/// Alerts of now, as certsieve makes them: one for each serial, of one issuer and asset.
fn alerts(name: &str, serials: std::ops::Range<u8>) -> Vec<Record> {
    let list = "[[asset]]\nid = 'resolver'\nnetworks = ['1.1.1.1/32']\npolicy = 'never-issue'\n\
                labels = { team = 'dns-oncall' }\nreference = 'https://runbooks.example.net/ct'\n\
                [[asset]]\nid = 'shop'\ndomains = ['shop.test']\npolicy = 'never-issue'\nseverity = 'high'\n";
    let mut bench = Bench::new(list);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    bench.now = Timestamp(now.as_millis() as i64);
    let messages: Vec<String> = serials
        .map(|serial| {
            let names = if name == "resolver" { vec![ip("1.1.1.1")] } else { vec![dns("www.shop.test")] };
            let mut certificate = Certificate::of(names);
            certificate.serial = vec![0x51, serial];
            certificate.full("log.example/2026", serial.into())
        })
        .collect();
    let out = bench.take(&messages);
    of(&out, Topic::Alert).into_iter().map(|alert| alert.record.clone()).collect()
}

#[test]
fn twelve_certificates_of_one_issuer_are_one_notification() {
    const PREFIX: &str = "siem-pager";
    let broker = Broker::shared();
    let folder = tempfile::tempdir().unwrap();
    topics::make(broker, PREFIX, &[Topic::Alert]);
    let twelve = alerts("resolver", 0..12);
    assert_eq!(twelve.len(), 12);
    let producer = Sender::to(broker);
    let send = |records: &[Record]| {
        records.iter().for_each(|record| producer.send_record(PREFIX, record));
        producer.flush();
    };
    send(&twelve);

    // Alertmanager is away when the pager starts: its port is free, and nobody answers there.
    let webhook = Webhook::listen();
    let (mut pager, _alertmanager, port) = with_free_ports(|[port]| {
        let mut pager = Pager::start(folder.path(), &broker.plain(), port, PREFIX, "certsieve-pager");
        pager.until_it_says("alerts wait for Alertmanager");
        Ok((pager, Alertmanager::start(folder.path(), port, webhook.port())?, port))
    });
    let (path, told) = webhook.next("the twelve");
    assert_eq!(path, "/page");
    told_of(&told, &twelve);
    assert_eq!(told["commonLabels"]["team"], "dns-oncall", "{told:#}");
    assert_eq!(told["groupLabels"], json!({"group": "resolver:7f3c1d9a"}), "{told:#}");
    let one = &told["alerts"][0];
    assert_eq!(one["labels"]["severity"], "critical", "{one:#}");
    assert_eq!(one["annotations"]["reference"], "https://runbooks.example.net/ct", "{one:#}");
    assert!(one["annotations"]["reasons"].as_str().is_some_and(|text| text.contains("Fina")), "{one:#}");

    // The topic is replayed: to the pager that runs, to one that starts again after a crash, and to one of
    // another group, which takes everything for new.
    send(&twelve);
    pager.until_it_has_read(12, "seen");
    pager.kill();
    let mut pager = Pager::start(folder.path(), &broker.plain(), port, PREFIX, "certsieve-pager");
    pager.until_it_has_read(12, "firing");
    pager.until_it_has_read(12, "seen");
    pager.stop();
    let mut pager = Pager::start(folder.path(), &broker.plain(), port, PREFIX, "another-pager");
    pager.until_it_has_read(12, "new");
    pager.until_it_has_read(12, "seen");
    pager.until_it_says("posted");

    // Each second Alertmanager asks itself whether the twelve are worth another word. The next word is on
    // another incident, told three seconds after it came.
    let other = alerts("shop", 20..21);
    send(&other);
    let (path, told) = webhook.next("another incident");
    assert_eq!(path, "/page");
    told_of(&told, &other);
    pager.stop();
}

/// What its own tests say, by the Python and the client that the pager runs with.
#[test]
fn the_pager_keeps_its_promises() {
    let mut tests = Command::new(parts().join("python/bin/python3"));
    let output =
        tests.args(["-B", "-m", "unittest"]).current_dir(deploy("pager")).output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let ran =
        said.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<usize>().ok());
    assert!(ran >= Some(20), "{said}");
}

#[test]
fn alerts_go_to_whom_they_concern() {
    let amtool = command("amtool", "siem");
    let routes = deploy("pager/alertmanager.yml");
    for (labels, receiver) in [
        (["alertname=CertsieveAlert", "severity=critical"], "pager"),
        (["alertname=CertsieveAlert", "severity=high"], "pager"),
        (["alertname=CertsieveUnreadable", "severity=high"], "pager"),
        (["alertname=CertsieveAlert", "severity=medium"], "tickets"),
        (["alertname=CertsieveAlert", "severity=low"], "tickets"),
    ] {
        let mut test = Command::new(&amtool);
        test.args(["config", "routes", "test", "--config.file"]).arg(&routes);
        let output =
            test.arg(format!("--verify.receivers={receiver}")).args(labels).output().expect("amtool runs");
        assert!(output.status.success(), "{labels:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

fn told_of(told: &Value, records: &[Record]) {
    let ids: BTreeSet<_> = records.iter().map(|r| r.headers[1].1.as_str()).collect();
    let alerts = told["alerts"].as_array().expect("a notification has alerts");
    let found: BTreeSet<_> = alerts.iter().filter_map(|a| a["labels"]["event_id"].as_str()).collect();
    assert_eq!(found, ids, "{told:#}");
    assert!(alerts.iter().all(|a| a["status"] == "firing"), "{told:#}");
}
