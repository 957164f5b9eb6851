//! Root programs and owners: what CCADB's reports do to records, commands and a running pipeline.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use certsieve::ccadb::{Authorities, Reading};
use certsieve::record::{Topic, schema};
use serde_json::{Value, json};
use time::macros::date;

use super::cli::{certsieve, folder};
use crate::support::ccadb::{certificates, problem_reporting};
use crate::support::entries::{Certificate, ip, names};
use crate::support::pipeline::{Bench, Out, of};
use crate::support::process::Process;

const LIST: &str = "[[asset]]\nid = 'resolver'\nnetworks = ['1.1.1.1/32']\npolicy = 'expect'\n\
    severity = 'critical'\n[[asset.expect]]\nissuer_organization = 'DigiCert Inc'\n\
    [[asset]]\nid = 'names'\nkeywords = ['letters']\npolicy = 'observe'\n";

fn authorities() -> Arc<Authorities> {
    let mut reading = Reading::default();
    let modified = Some(date!(2026 - 11 - 24));
    reading.certificates(certificates("2026-11-20").as_bytes(), modified).expect("a whole report");
    reading.problem_reporting(problem_reporting().as_bytes()).expect("a whole report");
    Arc::new(reading.finish())
}

/// The records of one message, with CCADB's reports or without.
fn take(with: bool, message: &str) -> Vec<Out> {
    let mut bench = Bench::new(LIST);
    if with {
        bench.sieve = bench.sieve.knowing(authorities());
    }
    bench.take(&[message])
}

#[test]
fn a_record_says_owner_programs_and_where_to_report() {
    let fina = Certificate::of([ip("1.1.1.1")]);
    for message in [fina.full("log.example", 1), fina.lite("log.example", 1)] {
        let out = take(true, &message);
        let [alert] = of(&out, Topic::Alert)[..] else { panic!("one alert") };
        let [matched] = of(&out, Topic::Match)[..] else { panic!("one match") };
        for record in [alert, matched] {
            assert_eq!(
                record.value["certsieve"]["trust"],
                json!({"programs": ["microsoft"], "unknown": [], "data": "ccadb", "as_of": "2026-11-20",
                       "method": "key id"})
            );
            let issuer = &record.value["certsieve"]["issuer"];
            assert_eq!(issuer["ca_owner"], "Financijska agencija");
            assert_eq!(issuer["report_to"], "ca-problems@fina.example, by telephone at night");
            assert!(record.texts("/certsieve/reason_codes").contains(&"trust.microsoft_only"));
            let sentence = "Included by Microsoft only (CCADB of 2026-11-20)";
            assert!(record.texts("/certsieve/reasons").contains(&sentence));
        }
        let schema = schema::of("alert").expect("a kind").to_value();
        assert!(jsonschema::is_valid(&schema, &alert.value));
        // A reason, and neither a discount nor a surcharge.
        let without = take(false, &message);
        let [plain] = of(&without, Topic::Alert)[..] else { panic!("one alert") };
        for field in ["/log/level", "/rule/id", "/event/id", "/certsieve/verdict"] {
            assert_eq!(plain.text(field), alert.text(field), "{field}");
        }
    }
}

#[test]
fn what_is_not_known_is_said_to_be_unknown() {
    let all = json!(["apple", "chrome", "microsoft", "mozilla"]);
    let mut stranger = Certificate::of([ip("1.1.1.1")]).issuer("Some Organisation", "Some CA");
    stranger.authority_key_id = Some(vec![9; 20]);
    for (with, data) in [(true, "ccadb"), (false, "mozilla-roots")] {
        let out = take(with, &stranger.full("log.example", 1));
        let [alert] = of(&out, Topic::Alert)[..] else { panic!("one alert") };
        let trust = &alert.value["certsieve"]["trust"];
        assert_eq!(
            (&trust["programs"], &trust["unknown"], trust["data"].as_str()),
            (&json!([]), &all, Some(data))
        );
        assert_eq!(trust.get("method"), None);
        assert_eq!(alert.value["certsieve"]["issuer"].get("ca_owner"), None);
        assert!(!alert.texts("/certsieve/reason_codes").iter().any(|code| code.starts_with("trust")));
    }
    // A list of names has no issuer to speak of.
    let list = LIST.split("[[asset]]").last().map(|asset| format!("[[asset]]{asset}")).expect("an asset");
    let out = Bench::new(&list).take(&[names(&["letters.example"])]);
    let [matched] = of(&out, Topic::Match)[..] else { panic!("one match") };
    assert_eq!(matched.value["certsieve"].get("trust"), None);
}

/// Exit code, standard output and standard error.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = assert_cmd::Command::from_std(certsieve());
    let output = command.current_dir(folder).args(arguments).timeout(Duration::from_secs(60)).output();
    let output = output.expect("certsieve starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn hunt_and_check_read_the_reports() {
    let message = Certificate::of([ip("1.1.1.1")]).full("log.example", 1);
    let config = "instance = 'test'\nwatchlists = ['w.toml']\n[[feed]]\nkind = 'file'\npath = 'rec.jsonl'\n\
        [trust]\nccadb = ['V4a.csv', 'V4b.csv']\nproblem_reporting = 'problems.csv'\n";
    let report = certificates("2020-11-20");
    let folder = folder(&[
        ("w.toml", LIST.as_bytes()),
        ("c.toml", config.as_bytes()),
        ("rec.jsonl", message.as_bytes()),
        ("V4a.csv", report.as_bytes()),
        ("V4b.csv", report.as_bytes()),
        ("problems.csv", problem_reporting().as_bytes()),
    ]);
    let (code, stdout, stderr) = run(folder.path(), &["check", "-c", "c.toml"]);
    assert_eq!(code, Some(0), "{stderr}");
    let line = stdout.lines().find(|line| line.contains("CCADB")).expect("a line about CCADB");
    let begin = "warning  root programs and owners by CCADB of 2020-11-20: 3 certificates of 2 owners, 1 with an \
        address for problem reports; roots for TLS: apple 1, chrome 1, microsoft 2, mozilla 1; ";
    assert!(line.starts_with(begin) && line.contains(" days old, "), "{line}");

    let hunt = ["hunt", "-w", "w.toml", "--json", "rec.jsonl"];
    let (_, stdout, _) = run(folder.path(), &hunt);
    let value: Value = serde_json::from_str(stdout.lines().next().expect("a match")).expect("JSON");
    assert_eq!(value["certsieve"]["trust"]["data"], "mozilla-roots");
    let with = [&hunt[..], &["--ccadb", "V4a.csv", "--ccadb", "V4b.csv"]].concat();
    let (code, stdout, stderr) = run(folder.path(), &with);
    assert_eq!(code, Some(0), "{stderr}");
    let value: Value = serde_json::from_str(stdout.lines().next().expect("a match")).expect("JSON");
    assert_eq!(value["certsieve"]["trust"]["programs"], json!(["microsoft"]));
    assert_eq!(value["certsieve"]["issuer"].get("report_to"), None);

    // Every file that cannot be taken is named at once, beside what is wrong with the list.
    std::fs::write(folder.path().join("V4a.csv"), &report[..report.len() - 20]).expect("a file");
    std::fs::remove_file(folder.path().join("V4b.csv")).expect("a file");
    std::fs::write(folder.path().join("problems.csv"), "CA Owner,Address\na,b\n").expect("a file");
    std::fs::write(folder.path().join("w.toml"), format!("{LIST}colour = 'red'\n")).expect("a file");
    for command in ["check", "run"] {
        let (code, _, stderr) = run(folder.path(), &[command, "-c", "c.toml"]);
        assert_eq!(code, Some(2), "{stderr}");
        for want in [
            "w.toml:12:1",
            "the CCADB report is refused: the row has 12 fields and the header 13",
            "V4a.csv:6",
            "the CCADB report cannot be read: there is no such file",
            "the problem-reporting report is refused: it has no column `Problem Reporting Mechanism`",
            "help: download it again",
        ] {
            assert!(stderr.contains(want), "{command} does not say {want}:\n{stderr}");
        }
    }
    let (code, _, stderr) = run(folder.path(), &with);
    assert_eq!((code, stderr.contains("V4b.csv")), (Some(2), true), "{stderr}");
}

#[test]
fn changed_reports_are_taken_over_and_bad_ones_refused() {
    let config = "instance = 'test'\nwatchlists = ['w.toml']\n\
        [[feed]]\nkind = 'certstream'\nurl = 'ws://127.0.0.1:9/'\n[trust]\nccadb = 'V5.csv'\n";
    let folder = folder(&[
        ("w.toml", LIST.as_bytes()),
        ("c.toml", config.as_bytes()),
        ("V5.csv", certificates("2026-11-20").as_bytes()),
    ]);
    let mut command = certsieve();
    command.current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]);
    let mut running = Process::spawn("run", &mut command, folder.path().join("run.log"));
    // It is replaced at every look, so that it does not matter when the files were looked at first.
    let mut until = |what: &str, change: &dyn Fn()| {
        let found = running.wait_until(|said| {
            change();
            said.contains(what).then_some(())
        });
        found.unwrap_or_else(|error| panic!("no {what}: {error}"));
    };
    let replace = |text: &str| {
        std::fs::write(folder.path().join("new"), text).expect("a file");
        std::fs::rename(folder.path().join("new"), folder.path().join("V5.csv")).expect("a name for it");
    };
    until("root programs and owners by CCADB of 2026-11-20", &|| {});
    until("the changed reports of [trust] are refused, what was known goes on", &|| {
        replace("<html>Maintenance</html>\n");
    });
    until("it has no column `Apple Status`", &|| {});
    until("root programs and owners by CCADB of 2026-11-21", &|| replace(&certificates("2026-11-21")));
    // A table that goes takes away what was in it.
    let without = config.replace("[trust]\nccadb = 'V5.csv'\n", "");
    std::fs::write(folder.path().join("c.toml"), without).expect("a file");
    until("roots, built in; of Apple, Chrome and Microsoft nothing is known without CCADB", &|| {});
    assert!(running.is_running());
}
