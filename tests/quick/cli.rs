//! The command line as scripts meet it: what it prints, where, and how it exits.

use std::io::Write;
#[cfg(feature = "kafka")]
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::entries::{Certificate, dns, ip, names};
#[cfg(feature = "kafka")]
use crate::support::process::Process;

/// No command of these tests takes nearly so long.
const CEILING: Duration = Duration::from_secs(60);

const LIST: &str = "[[asset]]\nid = 'resolver'\nnetworks = ['1.1.1.1/32']\npolicy = 'never-issue'\n";

/// Stands for every secret; must be printed nowhere.
const CANARY: &str = "hunter2-canary";

pub fn certsieve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certsieve"));
    // What a contributor's shell sets is none of the test's business.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CERTSIEVE_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a finished command printed.
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(command: &mut Command, stdin: &[u8]) -> Said {
    let mut command = assert_cmd::Command::from_std(std::mem::replace(command, Command::new("true")));
    let output = command.write_stdin(stdin).timeout(CEILING).output().expect("certsieve starts");
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).expect("a file in it");
    }
    folder
}

fn recording() -> Vec<u8> {
    let mut lines = Vec::new();
    for index in 0..20 {
        let mut certificate = match index % 5 {
            0 => Certificate::of([ip("1.1.1.1"), dns(format!("n{index}.example"))]),
            _ => Certificate::of([dns(format!("n{index}.example"))]),
        };
        certificate.serial = vec![1 + index as u8];
        lines.extend(certificate.full("log.example", index).into_bytes());
        lines.push(b'\n');
    }
    lines
}

const CONFIG: &str =
    "instance = 'test'\nwatchlists = ['w.toml']\n[[feed]]\nkind = 'file'\nname = 'rec'\npath = 'rec.jsonl'\n";

fn records(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn topics(records: &[Value]) -> [usize; 4] {
    ["alert", "match", "malformed", "health"].map(|topic| {
        let name = format!("certsieve.{topic}.v1");
        records.iter().filter(|record| record["topic"] == name).count()
    })
}

#[test]
fn every_command_explains_itself() {
    for (command, options) in [
        (
            &[][..],
            &["run", "check", "explain", "hunt", "simulate", "schema", "completions", "--log-level"][..],
        ),
        (&["run"], &["--config", "--stdout", "--log-level"]),
        (&["check"], &["--config", "--online"]),
        (&["explain"], &["--watchlist", "--ccadb", "--json", "--record", "NAME|IP|FILE"]),
        (&["hunt"], &["--watchlist", "--json", "--stdout", "--log-level", "--log <URL>", "--from", "FILE"]),
        (&["simulate"], &["--listen", "--rate", "--seed", "--for", "--buffer", "--drop"]),
        (&["schema"], &["alert", "match", "malformed", "health"]),
        (&["completions"], &["bash", "zsh", "fish"]),
    ] {
        let said = run(certsieve().args(command).arg("--help"), b"");
        assert_eq!(said.code, Some(0), "{command:?}: {}", said.stderr);
        for option in options {
            assert!(said.stdout.contains(option), "{command:?} does not say {option}: {}", said.stdout);
        }
        // `--log URL` is the log that `hunt` reads.
        assert!(!said.stdout.contains("--log <FILTER>"), "{}", said.stdout);
    }
    certsieve()
        .arg("--version")
        .assert()
        .success()
        .stdout(format!("certsieve {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_two() {
    for args in [
        &["nonsense"][..],
        &["run", "--nonsense"],
        &["explain"],
        &["explain", "-w", "/nonexistent/w.toml", "example.com"],
        &["explain", "missing.pem"],
        &["explain", "1.1.1.0/24"],
        &["hunt"],
        &["hunt", "-w", "w.toml", "--json", "--stdout", "x"],
        &["schema", "nonsense"],
        &["completions", "nonsense"],
        &["run", "-c", "/nonexistent/certsieve.toml"],
        &["check", "-c", "/nonexistent/certsieve.toml"],
        &["hunt", "-w", "/nonexistent/w.toml", "-"],
        &["--log-level", "certsieve=loud", "schema"],
    ] {
        let said = run(certsieve().args(args), b"");
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.stderr);
        assert!(said.stdout.is_empty() && !said.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn schemas_and_completions() {
    let all: Value = serde_json::from_str(&run(certsieve().arg("schema"), b"").stdout).expect("JSON");
    for kind in ["alert", "match", "malformed", "health"] {
        let one: Value =
            serde_json::from_str(&run(certsieve().args(["schema", kind]), b"").stdout).expect("JSON");
        assert_eq!(one, all[kind]);
        assert_eq!(one["$id"], format!("urn:certsieve:schema:{kind}:1"));
        jsonschema::meta::validate(&one).unwrap_or_else(|e| panic!("{kind}: {e}"));
    }
    for shell in ["bash", "zsh", "fish"] {
        let said = run(certsieve().args(["completions", shell]), b"");
        assert!(
            said.code == Some(0) && said.stdout.contains("certsieve") && said.stdout.contains("hunt"),
            "{shell}"
        );
    }
}

const TEN_IN_THE_CONFIGURATION: &str = r#"instance = ""
watchlists = ["missing.toml"]
state_dirs = "state"
[refil]
[[feed]]
kind = "certstream"
url = "http://feed.example"
silence_after = "soon"
max_message_bytes = -1
[[feed]]
kind = "kafka"
topic = "x"
[kafka]
brokers = ""
compression = "rar"
[kafka.properties]
acks = "1"
[http]
listen = "nowhere"
"#;

const TEN_IN_THE_LIST: &str = r#"[[asset]]
policy = "never-issue"
domains = ["com"]
[[asset]]
id = "b"
policy = "perhaps"
networks = ["1.1.1.1/24", "nonsense"]
[[asset]]
id = "c"
policy = "expect"
domains = ["https://example.com/"]
colour = "red"
[[asset]]
id = "d"
policy = "expect"
exact = ["d.example.org"]
require = "key"
severity = "loud"
[[asset.expect]]
ca_owner = "Somebody"
"#;

#[test]
fn ten_mistakes_are_ten_reports() {
    let folder = folder(&[
        ("c.toml", TEN_IN_THE_CONFIGURATION.as_bytes()),
        ("ok.toml", CONFIG.as_bytes()),
        ("w.toml", TEN_IN_THE_LIST.as_bytes()),
        ("rec.jsonl", b""),
    ]);
    for command in ["check", "run"] {
        for (config, file, lines) in [
            ("c.toml", "c.toml", &[1, 3, 4, 7, 8, 9, 11, 14, 15, 17, 19][..]),
            ("ok.toml", "w.toml", &[1, 3, 6, 7, 7, 10, 11, 12, 18, 19]),
        ] {
            let said = run(certsieve().arg(command).arg("-c").arg(folder.path().join(config)), b"");
            assert_eq!(said.code, Some(2), "{said:?}", said = said.stderr);
            assert!(said.stdout.is_empty());
            for line in lines {
                let place = format!("{}:{line}:", folder.path().join(file).display());
                assert!(said.stderr.contains(&place), "{command}: nothing about {place}\n{}", said.stderr);
            }
            let hints = said.stderr.matches("help: ").count();
            assert!(hints >= lines.len(), "{command}: {hints} hints\n{}", said.stderr);
            assert!(!said.stderr.contains('\u{1b}'), "colour in a pipe");
        }
    }
    let said = run(certsieve().args(["hunt", "-w"]).arg(folder.path().join("w.toml")).arg("-"), b"");
    assert_eq!(said.code, Some(2));
    for key in ["require", "colour"] {
        assert!(said.stderr.contains(key), "{key} is not named: {}", said.stderr);
    }
}

#[test]
fn a_recording_goes_to_standard_output_and_the_run_ends() {
    let plain = recording();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::stream::encode_all(plain.as_slice(), 1).unwrap();
    for (form, file, stdin) in [
        ("plain", &plain, false),
        ("gzip", &gzip, false),
        ("zstd", &zstd, false),
        ("plain", &plain, true),
        ("zstd", &zstd, true),
    ] {
        let folder =
            folder(&[("c.toml", CONFIG.as_bytes()), ("w.toml", LIST.as_bytes()), ("rec.jsonl", file)]);
        let mut command = certsieve();
        command.args(["run", "--stdout", "-c"]).arg(folder.path().join("c.toml"));
        if stdin {
            let config = CONFIG.replace("'rec.jsonl'", "'-'");
            std::fs::write(folder.path().join("c.toml"), config).unwrap();
        }
        let said = run(&mut command, if stdin { file } else { b"" });
        assert_eq!(said.code, Some(0), "{form}: {}", said.stderr);
        let records = records(&said.stdout);
        let [alerts, matches, malformed, health] = topics(&records);
        assert_eq!([alerts, matches, malformed], [4, 4, 0], "{form} {stdin}");
        assert!(health >= 2, "started and stopped: {}", said.stdout);
        for record in &records {
            let keys: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["headers", "key", "topic", "value"]);
            assert_eq!(record["headers"]["ce_id"], record["value"]["event"]["id"]);
        }
        let line = said.stdout.lines().next().unwrap();
        let order: Vec<_> = ["{\"topic\":", "\"key\":", "\"headers\":{", "\"value\":{"]
            .map(|part| line.find(part).unwrap_or_else(|| panic!("{part} in {line}")))
            .into();
        assert!(order.is_sorted(), "{line}");
        assert!(said.stderr.contains("20"), "how many lines were read: {}", said.stderr);
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let many: Vec<u8> = (0..3_000)
        .flat_map(|i| format!("{}\n", Certificate::of([ip("1.1.1.1")]).full("log.example", i)).into_bytes())
        .collect();
    let folder = folder(&[("c.toml", CONFIG.as_bytes()), ("w.toml", LIST.as_bytes()), ("rec.jsonl", &many)]);
    let (config, list) = (folder.path().join("c.toml"), folder.path().join("w.toml"));
    let rec = folder.path().join("rec.jsonl");
    let run_args = vec!["run".as_ref(), "--stdout".as_ref(), "-c".as_ref(), config.as_os_str()];
    let hunt_args =
        vec!["hunt".as_ref(), "--json".as_ref(), "-w".as_ref(), list.as_os_str(), rec.as_os_str()];
    for args in [run_args, hunt_args] {
        let mut child =
            certsieve().args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut first = [0; 200];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        assert!(!stderr.contains("ERROR") && !stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn a_recording_of_names_alone_is_refused_where_it_cannot_serve() {
    let text = names(&["a.example"]);
    let folder =
        folder(&[("c.toml", CONFIG.as_bytes()), ("w.toml", LIST.as_bytes()), ("rec.jsonl", text.as_bytes())]);
    for args in [&["run", "--stdout", "-c", "c.toml"][..], &["hunt", "-w", "w.toml", "rec.jsonl"]] {
        let said = run(certsieve().current_dir(folder.path()).args(args), b"");
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(
            said.stderr.contains("domains-only") && said.stderr.contains("`networks`"),
            "{}",
            said.stderr
        );
        assert!(said.stderr.contains("rec.jsonl, line 1"), "{}", said.stderr);
    }
    // Names serve a list of names.
    let list = "[[asset]]\nid = 'a'\ndomains = ['watched.example']\npolicy = 'observe'\n";
    std::fs::write(folder.path().join("w.toml"), list).unwrap();
    std::fs::write(folder.path().join("rec.jsonl"), names(&["www.watched.example"])).unwrap();
    let said = run(
        certsieve().current_dir(folder.path()).args(["hunt", "--json", "-w", "w.toml", "rec.jsonl"]),
        b"",
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(records(&said.stdout)[0]["certsieve"]["matches"][0]["identity"], "www.watched.example");
}

#[test]
fn hunt_exits_as_grep_does() {
    let nothing = format!("{}\n", Certificate::of([dns("a.example")]).full("log.example", 1));
    let folder = folder(&[
        ("w.toml", LIST.as_bytes()),
        ("rec.jsonl", &recording()),
        ("none.jsonl", nothing.as_bytes()),
    ]);
    let hunt = |args: &[&str], stdin: &[u8]| {
        run(certsieve().current_dir(folder.path()).args(["hunt", "-w", "w.toml"]).args(args), stdin)
    };
    for (args, code, lines) in [
        (&["rec.jsonl"][..], 0, 4),
        (&["--json", "rec.jsonl"], 0, 4),
        (&["--stdout", "rec.jsonl"], 0, 8),
        (&["none.jsonl"], 1, 0),
        (&["none.jsonl", "rec.jsonl"], 0, 4),
        (&["rec.jsonl", "rec.jsonl"], 0, 8),
        (&["--stdout", "rec.jsonl", "rec.jsonl"], 0, 12),
        (&["missing.jsonl"], 1, 0),
    ] {
        let said = hunt(args, b"");
        assert_eq!(said.code, Some(code), "{args:?}: {}", said.stderr);
        assert_eq!(said.stdout.lines().count(), lines, "{args:?}: {}", said.stdout);
        assert_eq!(said.stderr.is_empty(), args != ["missing.jsonl"], "{args:?}: {}", said.stderr);
    }
    let said = hunt(&["-"], &recording());
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 4));
    let first = said.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("-:1: unexpected (critical) resolver: 1.1.1.1 by 1.1.1.1/32 in san.ip;"),
        "{first}"
    );
    let json = records(&hunt(&["--json", "rec.jsonl"], b"").stdout);
    assert!(json.iter().all(|value| value["event"]["dataset"] == "certsieve.match"));
    assert_eq!(topics(&records(&hunt(&["--stdout", "rec.jsonl"], b"").stdout)), [4, 4, 0, 0]);
}

#[test]
fn broken_lines_are_counted_and_long_ones_skipped() {
    let mut lines = b"{broken\n\xff\xfe\nnull\n[]\n".to_vec();
    lines.extend(recording());
    lines.extend(b"{\"data\":\"");
    lines.extend(std::iter::repeat_n(b'x', 9 << 20));
    lines.extend(b"\"}\n");
    lines.extend(Certificate::of([ip("1.1.1.1"), dns("last.example")]).full("log.example", 99).into_bytes());
    let folder = folder(&[("c.toml", CONFIG.as_bytes()), ("w.toml", LIST.as_bytes()), ("rec.jsonl", &lines)]);
    let said = run(certsieve().current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]), b"");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let all = records(&said.stdout);
    assert_eq!(topics(&all)[..3], [5, 5, 4], "{}", said.stderr);
    let reasons: Vec<_> = all.iter().filter_map(|r| r["value"]["error"]["code"].as_str()).collect();
    assert_eq!(reasons, ["json", "json", "not_object", "not_object"]);
    assert!(said.stderr.contains("line 25 has 9437195 bytes"), "{}", said.stderr);
    assert!(said.stderr.contains("skipped=1"), "{}", said.stderr);
    let said = run(
        certsieve().current_dir(folder.path()).args(["hunt", "--json", "-w", "w.toml", "rec.jsonl"]),
        b"",
    );
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 5), "{}", said.stderr);
    assert!(said.stderr.contains("line 25 has 9437195 bytes"), "{}", said.stderr);
    assert!(said.stderr.contains("4 lines hold what could not be decoded"), "{}", said.stderr);
    assert!(!said.stderr.contains("panicked"));
}

#[test]
fn a_truncated_archive_and_a_missing_recording_fail() {
    let zstd = zstd::stream::encode_all(recording().as_slice(), 1).unwrap();
    let folder = folder(&[
        ("c.toml", CONFIG.as_bytes()),
        ("w.toml", LIST.as_bytes()),
        ("rec.jsonl", &zstd[..zstd.len() - 20]),
    ]);
    let said = run(certsieve().current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]), b"");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("compressed stream"), "{}", said.stderr);
    std::fs::remove_file(folder.path().join("rec.jsonl")).unwrap();
    let said = run(certsieve().current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]), b"");
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("there is no such file"), "{}", said.stderr);
}

/// The log, when a command keeps running.
#[cfg(feature = "kafka")]
fn started(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> (Process, std::path::PathBuf) {
    let output = folder.join("output");
    let mut command = certsieve();
    command.current_dir(folder).args(args).envs(env.iter().copied());
    (Process::spawn("certsieve", &mut command, output.clone()), output)
}

#[test]
#[cfg(feature = "kafka")]
fn an_unreachable_broker_and_feed_are_said_and_waited_for() {
    // A port that nobody listens on: bound, and given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "watchlists = ['w.toml']\n[[feed]]\nkind = 'certstream'\nname = 'gone'\nurl = 'ws://127.0.0.1:{port}/?key={CANARY}'\n\
         header = {{ Authorization = {{ file = 'token' }} }}\n\
         [kafka]\nbrokers = '127.0.0.1:{port}'\nusername = 'certsieve'\npassword_file = 'password'\n\
         [kafka.properties]\n'security.protocol' = 'sasl_plaintext'\n'sasl.mechanism' = 'PLAIN'\n\
         [http]\nlisten = '127.0.0.1:0'\n"
    );
    let folder = folder(&[
        ("c.toml", config.as_bytes()),
        ("w.toml", LIST.as_bytes()),
        ("token", format!("Bearer {CANARY}\n").as_bytes()),
        ("password", format!("{CANARY}\n").as_bytes()),
    ]);
    let (mut process, output) = started(
        folder.path(),
        &["--log-level", "trace", "run", "-c", "c.toml"],
        &[("CERTSIEVE_INSTANCE", "from-env")],
    );
    process
        .wait_until(|said| {
            let feed = said.contains("gone") && said.contains("refused");
            let broker = said.to_lowercase().contains("kafka") && said.contains(&format!("127.0.0.1:{port}"));
            (feed && broker).then_some(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(process.is_running(), "an unreachable broker ends nothing");
    drop(process);
    let said = std::fs::read_to_string(output).unwrap();
    assert!(!said.contains(CANARY), "a secret is in the log");
    let check = run(certsieve().current_dir(folder.path()).args(["check", "-c", "c.toml"]), b"");
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    assert!(!check.stdout.contains(CANARY) && !check.stderr.contains(CANARY));
}

#[test]
fn secrets_are_in_no_error() {
    let config = format!(
        "watchlists = ['w.toml']\n[[feed]]\nkind = 'certstream'\nurl = 'ws://user:{CANARY}@127.0.0.1/x'\n\
         header = {{ Authorization = '{CANARY}' }}\n[kafka]\nbrokers = 'b:1'\nusername = 'u'\npassword = '{CANARY}'\n\
         [kafka.properties]\n'sasl.password' = '{CANARY}'\n'ssl.key.password' = '{CANARY}'\n"
    );
    let folder = folder(&[("c.toml", config.as_bytes()), ("w.toml", LIST.as_bytes())]);
    for args in [&["check", "-c", "c.toml"][..], &["--log-level", "trace", "run", "-c", "c.toml"]] {
        let said = run(
            certsieve().current_dir(folder.path()).args(args).env("CERTSIEVE_KAFKA__PASWORD", CANARY),
            b"",
        );
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(!said.stdout.contains(CANARY) && !said.stderr.contains(CANARY), "{}", said.stderr);
    }
}

#[test]
fn a_run_without_a_way_out_is_refused() {
    let folder = folder(&[("c.toml", CONFIG.as_bytes()), ("w.toml", LIST.as_bytes()), ("rec.jsonl", b"")]);
    let said = run(certsieve().current_dir(folder.path()).args(["run", "-c", "c.toml"]), b"");
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("[kafka]") && said.stderr.contains("--stdout"), "{}", said.stderr);
    // A configuration is found by its variable, and so is every key of it.
    let said = run(
        certsieve()
            .args(["run", "--stdout"])
            .env("CERTSIEVE_CONFIG", folder.path().join("c.toml"))
            .env("CERTSIEVE_KAFKA__BROKERS", "127.0.0.1:9")
            .env("CERTSIEVE_KAFKA__TOPIC_PREFIX", "mine"),
        b"",
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("\"mine.health.v1\""), "{}", said.stdout);
}

/// A name list between certificates is one more message, not another kind of stream; as the first message
/// it says which stream this is.
#[test]
fn only_the_first_message_makes_a_domains_only_stream() {
    let names = "{\"message_type\":\"dns_entries\",\"data\":[\"1.1.1.1\"]}\n";
    let certificate = "{\"message_type\":\"certificate_update\",\"data\":{\"leaf_cert\":{\"all_domains\":[\"a.example\"]}}}\n";
    let list = "[[asset]]\nid = 'a'\nnetworks = ['1.1.1.1/32']\npolicy = 'observe'\n";
    let between = format!("{certificate}{names}");
    let folder = folder(&[
        ("w.toml", list.as_bytes()),
        ("first.jsonl", names.as_bytes()),
        ("between.jsonl", between.as_bytes()),
        ("c.toml", b"watchlists = ['w.toml']\n[[feed]]\nkind = 'file'\npath = 'first.jsonl'\n"),
    ]);
    let hunt = |file| run(certsieve().current_dir(folder.path()).args(["hunt", "-w", "w.toml", file]), b"");
    let said = hunt("between.jsonl");
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 1), "{}", said.stderr);
    let said = hunt("first.jsonl");
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("domains-only"), "{}", said.stderr);
    let said = run(certsieve().current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]), b"");
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    // One recording that cannot be read keeps no other from being searched.
    let args = ["hunt", "-w", "w.toml", "missing.jsonl", "between.jsonl"];
    let said = run(certsieve().current_dir(folder.path()).args(args), b"");
    assert_eq!((said.code, said.stdout.lines().count()), (Some(1), 1), "{}", said.stderr);
}

#[test]
fn check_counts_in_plain_words() {
    let folder = folder(&[("c.toml", CONFIG.as_bytes()), ("w.toml", LIST.as_bytes()), ("rec.jsonl", b"")]);
    let said = run(certsieve().current_dir(folder.path()).args(["check", "-c", "c.toml"]), b"");
    let first = said.stdout.lines().next().unwrap_or_default();
    assert_eq!(
        first, "ok       1 feed, 1 asset, 0 domains, 0 exact names, 1 network, 0 keywords",
        "{}",
        said.stderr
    );
}

/// What only librdkafka knows of a property is a mistake of the configuration as any other: with its line,
/// or its variable, beside all the others, for `check` and `run` alike.
#[test]
#[cfg(feature = "kafka")]
fn what_the_client_refuses_has_its_line() {
    let config = format!(
        "{CONFIG}[kafka]\nbrokers = '127.0.0.1:99999'\n[kafka.properties]\n'nonsense.key' = '1'\nacks = '1'\n'socket.timeout.ms' = 'abc'\n"
    );
    let folder = folder(&[("c.toml", config.as_bytes()), ("w.toml", LIST.as_bytes()), ("rec.jsonl", b"")]);
    for command in ["check", "run"] {
        let mut certsieve = certsieve();
        certsieve.current_dir(folder.path()).args([command, "-c", "c.toml"]);
        let said = run(certsieve.env("CERTSIEVE_KAFKA__PROPERTIES__LINGER_MS", "soon"), b"");
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{}", said.stderr);
        for what in [
            "c.toml:8:",
            "c.toml:10:",
            "c.toml:11:",
            "c.toml:12:",
            "`nonsense.key`",
            "`acks`",
            "`socket.timeout.ms`",
            "environment variable CERTSIEVE_KAFKA__PROPERTIES__LINGER_MS",
            "`linger.ms`",
            "5 problems",
        ] {
            assert!(said.stderr.contains(what), "{command}: {what}\n{}", said.stderr);
        }
        assert_eq!(said.stderr.matches("help: ").count(), 5, "{}", said.stderr);
    }
}

/// It was never up, so that nothing else would say it.
#[test]
fn a_feed_that_never_comes_up_is_said_to_be_down() {
    let list = "[[asset]]\nid = 'a'\ndomains = ['example.com']\npolicy = 'observe'\n";
    // Bound and closed again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "watchlists = ['w.toml']\n[[feed]]\nkind = 'certstream'\nname = 'eu'\nurl = 'ws://127.0.0.1:{port}/'\n"
    );
    let folder = folder(&[("c.toml", config.as_bytes()), ("w.toml", list.as_bytes())]);
    let mut run = certsieve();
    run.current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]);
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let down = std::io::BufRead::lines(lines).map_while(Result::ok).find(|line| line.contains("feed-down"));
    child.kill().unwrap();
    child.wait().unwrap();
    let down: Value = serde_json::from_str(&down.expect("it is said")).unwrap();
    assert_eq!(down["value"]["certsieve"]["health"]["feed"], "eu");
}

/// What is under way is waited for, and then no longer. A signal that comes twice at once, as GNU `timeout`
/// sends it, is one.
#[test]
fn a_reader_that_reads_no_more_does_not_hold_up_a_stop() {
    let list = "[[asset]]\nid = 'a'\nkeywords = ['name']\npolicy = 'observe'\n";
    let text: String = (0..2_000).map(|n| format!("{}\n", names(&[&format!("name-{n}.example")]))).collect();
    let config = "watchlists = ['w.toml']\n[[feed]]\nkind = 'file'\nname = 'rec'\npath = 'rec.jsonl'\n";
    let folder =
        folder(&[("c.toml", config.as_bytes()), ("w.toml", list.as_bytes()), ("rec.jsonl", text.as_bytes())]);
    let mut run = certsieve();
    run.current_dir(folder.path()).args(["run", "--stdout", "-c", "c.toml"]);
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut unread = child.stdout.take().unwrap();
    // The first batch's records are there, and far more of it than a pipe holds is on its way.
    std::io::Read::read_exact(&mut unread, &mut [0; 16 * 1024]).unwrap();
    std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("kill -TERM {0}; kill -TERM {0}", child.id()))
        .status()
        .unwrap();
    let asked = Instant::now();
    let ended = child.wait_with_output().unwrap();
    drop(unread);
    // 15 s, and some for a busy machine.
    assert!(asked.elapsed() < Duration::from_secs(17), "{:?}", asked.elapsed());
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("records were not delivered to standard output before the stop"), "{said}");
}
