//! `explain` and `hunt` over files: what a newcomer reads, what a script reads, how they exit.
//!
//! Times and the version of the program are replaced in the snapshots; everything else is as printed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::cli::{Said, certsieve, folder, run};
use crate::support::entries::{Certificate, San, dns, ip, names};

const LIST: &str = r#"
[[asset]]
id = "resolver"
networks = ["1.1.1.1/32"]
policy = "expect"
severity = "critical"
[[asset.expect]]
issuer_organization = "DigiCert Inc"
issuer_common_name = "DigiCert G2"

[[asset]]
id = "range"
networks = ["1.1.1.0/24"]
except = ["1.1.1.1/32"]
policy = "never-issue"

[[asset]]
id = "shop"
domains = ["example.com"]
exact = ["login.example.net"]
except = ["static.example.com"]
keywords = ["examplebank"]
keyword_severity = "low"
policy = "expect"
[[asset.expect]]
issuer_organization = "Let's Encrypt"
issuer_common_name = ["R12", "R13"]
[[asset.expect]]
issuer_key_id = "7f:3c:1d:9a"
for = "cdn.example.com"
"#;

/// Long after these tests.
const FAR: i64 = 4_070_908_800;

fn certificate(san: impl Into<Vec<San>>) -> Certificate {
    Certificate { not_after: FAR, ..Certificate::of(san) }
}

fn pem(certificate: &Certificate) -> String {
    block("CERTIFICATE", &certificate.der())
}

fn block(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn with(files: &[(&str, &[u8])]) -> TempDir {
    let mut all = vec![("w.toml", LIST.as_bytes())];
    all.extend(files);
    folder(&all)
}

fn explain(folder: &TempDir, args: &[&str], stdin: &[u8]) -> Said {
    run(certsieve().current_dir(folder.path()).arg("explain").args(args), stdin)
}

fn objects(said: &Said) -> Vec<Value> {
    said.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// For people, with the list: snapshot and exit code.
fn snapshot(name: &str, files: &[(&str, &[u8])], args: &[&str], code: i32) {
    let said = explain(&with(files), &[&["-w", "w.toml"], args].concat(), b"");
    assert_eq!(said.code, Some(code), "{}{}", said.stdout, said.stderr);
    assert!(!said.stdout.contains('\u{1b}'), "colour in a pipe");
    insta::assert_snapshot!(name, said.stdout);
}

#[test]
fn names_and_addresses() {
    let args = [
        "www.example.com",
        "cdn.static.example.com",
        "example.net",
        "www.login.example.net",
        "*.example.net",
        "my-examplebank.test",
        "www.example.com.evil.test",
        "BÜCHER.Example.com.",
        "1.1.1.1",
        "1.1.1.9",
        "1.1.2.1",
        "::ffff:1.1.1.1",
        "*.com",
        "\u{1}.com",
        "1.1.1.1.in-addr.arpa",
        "https://www.example.com/",
        "jane@mail.test",
    ];
    snapshot("names", &[], &args, 0);
    snapshot("nothing", &[], &["other.test", "192.0.2.1"], 1);
}

/// A name says what `run` would rule of a certificate with it, whoever issued that.
#[test]
fn a_name_is_ruled_as_its_certificate_is() {
    let list = LIST.to_owned()
        + "[[asset]]\nid = 'keys'\ndomains = ['example.org']\npolicy = 'expect'\nrequire = 'key'\n\
           [[asset.expect]]\nissuer_organization = 'Financijska agencija'\nsubject_spki_sha256 = '"
        + &"ab".repeat(32)
        + "'\n[[asset]]\nid = 'seen'\ndomains = ['example.info']\npolicy = 'observe'\n";
    let names = [
        "www.example.com",
        "*.example.com",
        "login.example.net",
        "www.example.info",
        "\u{1}.com",
        "*.com",
        "www.\u{1}.com",
        "1.1.1.1.in-addr.arpa",
        "1.1.1.1:443",
        "1.1.1.9:443",
        "[::ffff:1.1.1.1]:443",
        "https://www.example.com/",
        "https://1.1.1.1/dns-query",
        "jane@www.example.com",
        "jane@gmail.com",
        "my-examplebank.test",
        "www.example.com, 1.1.1.1",
        "other.test",
        "static.example.com",
    ];
    let folder = folder(&[("w.toml", list.as_bytes())]);
    let told = explain(&folder, &[&["--json", "-w", "w.toml"], &names[..]].concat(), b"");
    let told = objects(&told);
    assert_eq!(told.len(), names.len());
    for (name, told) in names.iter().zip(told) {
        let rulings = |list: &Value| -> Vec<String> {
            let all = list.as_array().into_iter().flatten();
            all.map(|v| format!("{} {} {}", v["asset"], v["rule"], v["severity"])).collect()
        };
        let der = certificate([dns(name)]).issuer("Somebody", "else").der();
        std::fs::write(folder.path().join("c.der"), der).expect("a file");
        let judged = objects(&explain(&folder, &["--json", "-w", "w.toml", "c.der"], b""));
        assert_eq!(rulings(&told["policies"]), rulings(&judged[0]["verdicts"]), "{name:?}");
    }
}

#[test]
fn certificates() {
    let fina = certificate([ip("1.1.1.1"), dns("TEST1.hr")]).common_name("test1.hr");
    snapshot("fina", &[("fina.der", &fina.der())], &["fina.der"], 0);
    let near = certificate([ip("1.1.1.1")]).issuer("DigiCert, Inc.", "DigiCert G2");
    let shop = certificate([dns("cdn.example.com"), dns("login.example.net")]).issuer("Let's Encrypt", "R3");
    let fine = certificate([dns("www.example.com")]).issuer("Let's Encrypt", "R12");
    let stranger = certificate([dns("other.test")]);
    let bundle = [near, shop, fine, stranger].map(|c| pem(&c)).join("an inventory says:\n");
    snapshot("bundle", &[("bundle", bundle.as_bytes())], &["bundle"], 0);
}

#[test]
fn what_could_not_be_decoded() {
    let mut der = certificate([ip("1.1.1.1"), dns("www.example.com")]).der();
    // In the SAN, which the walk then cannot read on: what is behind it stands in the raw bytes.
    let at = der.windows(6).position(|w| w == [0x87, 4, 1, 1, 1, 1]).unwrap();
    der[at - 1] = 0x7f;
    // And one that does not even begin as a certificate.
    let mut hidden = certificate([ip("1.1.1.1")]).der();
    hidden[0] = 0x31;
    let hidden = block("CERTIFICATE", &hidden);
    let files: [(&str, &[u8]); 2] = [("broken.der", &der), ("hidden.pem", hidden.as_bytes())];
    snapshot("broken", &files, &["broken.der", "hidden.pem"], 0);
}

#[test]
fn recorded_messages() {
    let full = certificate([ip("1.1.1.7")]).full("log.example", 7);
    let lite = certificate([dns("www.example.com")]).lite("log.example", 8);
    let text = [&full, &lite, r#"{"message_type":"heartbeat"}"#, &names(&["a.example.com"]), "{"].join("\n");
    snapshot("messages", &[("recorded", text.as_bytes())], &["recorded"], 0);
}

#[test]
fn without_a_list_the_identities_alone() {
    let folder = with(&[("c.pem", pem(&certificate([ip("1.1.1.1"), dns("a b.example")])).as_bytes())]);
    let said = explain(&folder, &["c.pem", "1.1.1.1", "xn--bcher-kva.example"], b"");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    insta::assert_snapshot!("identities", said.stdout);
}

#[test]
fn one_object_a_line() {
    let fina = certificate([ip("1.1.1.1"), dns("test1.hr")]);
    let folder = with(&[("c.pem", pem(&fina).as_bytes())]);
    let said = explain(&folder, &["--json", "-w", "w.toml", "c.pem", "1.1.1.1", "other.test"], b"");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let all = objects(&said);
    assert_eq!(
        all.iter().map(|o| o["input"].as_str().unwrap()).collect::<Vec<_>>(),
        ["c.pem", "1.1.1.1", "other.test"]
    );
    for object in &all {
        for list in ["identities", "matches", "verdicts", "anomalies"] {
            assert!(object[list].is_array(), "{list} in {object}");
        }
        for identity in object["identities"].as_array().unwrap() {
            for key in ["kind", "value", "raw", "source"] {
                assert!(identity[key].is_string(), "{key} in {identity}");
            }
        }
    }
    assert_eq!(all[0]["identities"][0]["kind"], "ip");
    assert_eq!(all[0]["identities"][0]["source"], "san.ip");
    assert_eq!(all[0]["matches"][0]["pattern"], "1.1.1.1/32");
    let verdict = &all[0]["verdicts"][0];
    assert_eq!(
        [&verdict["asset"], &verdict["verdict"], &verdict["rule"], &verdict["severity"]],
        ["resolver", "unexpected", "unexpected-issuer", "critical"]
    );
    assert_eq!(verdict["expect"][0]["keys"][0]["holds"], false);
    assert!(all[0]["records"][0]["value"].is_null());
    assert_eq!(all[1]["verdicts"], serde_json::json!([]), "who issues it is not known");
    assert_eq!(all[1]["policies"][0]["policy"], "expect");
    assert_eq!(all[1]["near"][0]["code"], "excepted");

    let said = explain(&folder, &["--record", "-w", "w.toml", "c.pem"], b"");
    for words in ["\"kind\": \"alert\"", "\"schema\": \"match/1\"", "records      certsieve.alert.v1 "] {
        assert!(said.stdout.contains(words), "no {words} in {}", said.stdout);
    }

    // Standard input, and the records as `hunt` makes them.
    let said = explain(&folder, &["--json", "--record", "-w", "w.toml", "-"], pem(&fina).as_bytes());
    let explained = objects(&said);
    let hunted =
        run(certsieve().current_dir(folder.path()).args(["hunt", "--stdout", "-w", "w.toml", "c.pem"]), b"");
    let hunted = objects(&hunted);
    let records = explained[0]["records"].as_array().unwrap();
    assert_eq!((records.len(), hunted.len()), (2, 2));
    for (record, line) in records.iter().zip(&hunted) {
        assert_eq!(record["topic"], line["topic"]);
        for pointer in ["/event/id", "/certsieve/matches", "/certsieve/issuance_key", "/rule", "/tls"] {
            assert_eq!(record["value"].pointer(pointer), line["value"].pointer(pointer), "{pointer}");
        }
    }
}

#[test]
fn what_cannot_be_explained() {
    let folder = with(&[("empty", b""), ("key.pem", block("PRIVATE KEY", b"hunter2").as_bytes())]);
    for (args, code, said_so) in [
        (&["empty"][..], 1, "holds neither"),
        (&["missing.pem"], 2, "looks like a file"),
        (&["a/b"], 2, "no name or address"),
        (&["1.1.1.0/24"], 2, "is a network"),
        (&[""], 2, "no name or address"),
        (&["key.pem"], 0, "PRIVATE KEY is no certificate"),
        (&["1.1.1.1", "missing.pem"], 2, "looks like a file"),
        (&["-w", "w.toml", "other.test"], 1, ""),
        (&["-w", "w.toml", "other.test", "1.1.1.1"], 0, ""),
    ] {
        let said = explain(&folder, args, b"");
        assert_eq!(said.code, Some(code), "{args:?}: {}", said.stderr);
        assert!(said.stderr.contains(said_so), "{args:?}: {}", said.stderr);
        assert!(!said.stdout.contains("hunter2") && !said.stderr.contains("hunter2"));
    }
}

#[test]
fn a_hunt_through_certificates() {
    let fina = certificate([ip("1.1.1.1")]);
    let other = certificate([dns("other.test")]);
    let message = fina.full("log.example", 1);
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let broken = format!(
        "{begin}!!\n-----END CERTIFICATE-----\n{}{begin}AAAA\n-----END CERTIFICATE-----\n",
        pem(&fina)
    );
    let cut = fina.der()[..40].to_vec();
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&fina.der()).unwrap();
        encoder.finish().unwrap()
    };
    let files: [(&str, Vec<u8>); 9] = [
        ("pem", format!("text\n{}{}", pem(&other), pem(&fina)).into_bytes()),
        ("der", [other.der(), fina.der()].concat()),
        ("der.gz", gzip),
        ("zstd", zstd::stream::encode_all(pem(&fina).as_bytes(), 1).unwrap()),
        ("jsonl", message.clone().into_bytes()),
        ("mixed", format!("{}{message}\n", pem(&fina)).into_bytes()),
        ("broken", broken.into_bytes()),
        ("none", pem(&other).into_bytes()),
        ("cut", cut),
    ];
    let listed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let folder = with(&listed);
    let hunt = |args: &[&str], stdin: &[u8]| {
        run(certsieve().current_dir(folder.path()).args(["hunt", "-w", "w.toml"]).args(args), stdin)
    };
    for (file, code, places, warned) in [
        ("pem", 0, &["pem, certificate 2: "][..], &[][..]),
        ("der", 0, &["der, certificate 2: "], &[]),
        ("der.gz", 0, &["der.gz, certificate 1: "], &[]),
        ("zstd", 0, &["zstd, certificate 1: "], &[]),
        ("jsonl", 0, &["jsonl:1: "], &[]),
        ("mixed", 0, &["mixed, certificate 1: ", "mixed:"], &[]),
        (
            "broken",
            0,
            &["broken, certificate 2: "],
            &["broken, block 1, line 1: it is no base64", "broken, certificate 3: ", "2 certificates hold"],
        ),
        ("none", 1, &[], &[]),
        ("cut", 1, &[], &["cut, certificate 1: ", "1 certificates hold"]),
    ] {
        let said = hunt(&[file], b"");
        assert_eq!(said.code, Some(code), "{file}: {}{}", said.stdout, said.stderr);
        let lines: Vec<&str> = said.stdout.lines().collect();
        assert_eq!(lines.len(), places.len(), "{file}: {}", said.stdout);
        for (line, place) in lines.iter().zip(places) {
            assert!(
                line.starts_with(place) && line.contains("unexpected (critical) resolver: 1.1.1.1"),
                "{line}"
            );
        }
        for words in warned {
            assert!(said.stderr.contains(words), "{file}: no {words:?} in {}", said.stderr);
        }
        assert_eq!(said.stderr.contains("WARN"), !warned.is_empty(), "{file}: {}", said.stderr);
    }
    let said = hunt(&["-", "none"], &fina.der());
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 1), "{}", said.stderr);
    assert!(said.stdout.starts_with("-, certificate 1: "), "{}", said.stdout);
}

#[test]
fn a_certificate_is_known_by_its_hash() {
    let fina = certificate([ip("1.1.1.1")]);
    let folder = with(&[("der", &fina.der()), ("pem", pem(&fina).as_bytes())]);
    let said = run(
        certsieve().current_dir(folder.path()).args(["hunt", "--json", "-w", "w.toml", "der", "pem"]),
        b"",
    );
    let all = objects(&said);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["event"]["id"], all[1]["event"]["id"], "one certificate, whatever file it lies in");
    let sha256 = all[0]["tls"]["server"]["hash"]["sha256"].as_str().unwrap().to_lowercase();
    let id = uuid::Uuid::new_v5(
        &certsieve::record::id::NAMESPACE,
        format!("match\n{sha256}\nresolver").as_bytes(),
    );
    assert_eq!(all[0]["event"]["id"], id.to_string());
    assert_eq!(all[0]["certsieve"]["evidence"], "der");
    assert!(all[0]["certsieve"]["ct"]["index"].is_null());
}
