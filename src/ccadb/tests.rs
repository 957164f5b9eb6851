//! Reports as CCADB writes them, and what follows from them for an issuer.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::macros::date;

use super::reports::{MAX_RECORDS, MAX_TEXT_BYTES};
use super::*;
use crate::entry::{Decoder, issuance, message};

/// One row of a report, by column. What is not said stands there as it does in most rows.
#[derive(Clone)]
struct Row(BTreeMap<&'static str, String>);

/// A certificate's fingerprint, made of a number.
fn sha(n: u8) -> String {
    format!("{n:02X}").repeat(32)
}

/// A key identifier, made of a number, as facts have it.
fn key(n: u8) -> String {
    format!("{n:02x}").repeat(20)
}

fn base64_key(n: u8) -> String {
    STANDARD.encode([n; 20])
}

impl Row {
    fn of(owner: &str, name: &str, n: u8, kind: &str) -> Row {
        Row(BTreeMap::new())
            .with("CA Owner", owner)
            .with("Certificate Name", name)
            .with("SHA-256 Fingerprint", &sha(n))
            .with("Subject Key Identifier", &base64_key(n))
            .with("Certificate Record Type", kind)
            .with("Valid From (GMT)", "2020-03-25")
    }

    /// A root for TLS, included by those.
    fn root(owner: &str, name: &str, n: u8, programs: &[&str]) -> Row {
        let mut row = Row::of(owner, name, n, "Root Certificate")
            .with("Trust Bits for Root Cert", "Client Authentication;Server Authentication");
        for status in ["Apple Status", "Chrome Status", "Microsoft Status", "Mozilla Status"] {
            let included = programs.iter().any(|program| status.starts_with(program));
            row = row.with(status, if included { "Included" } else { "Not Included" });
        }
        row
    }

    /// An intermediate below the certificate of that number.
    fn below(owner: &str, name: &str, n: u8, parent: u8) -> Row {
        let row = Row::of(owner, name, n, "Intermediate Certificate")
            .with("Parent SHA-256 Fingerprint", &sha(parent))
            .with("Authority Key Identifier", &base64_key(parent))
            .with("Derived Trust Bits", "Server Authentication")
            .with("Revocation Status", "Not Revoked");
        let statuses = ["Apple Status", "Chrome Status", "Microsoft Status", "Mozilla Status"];
        statuses.into_iter().fold(row, |row, status| row.with(status, "Trusted"))
    }

    fn with(mut self, column: &'static str, value: &str) -> Row {
        self.0.insert(column, value.to_owned());
        self
    }

    fn fingerprint(self, n: u8) -> Row {
        self.with("SHA-256 Fingerprint", &sha(n))
    }
}

/// The columns of V5 that matter, with two that do not, in its order.
const V5: [&str; 20] = [
    "CA Owner",
    "Salesforce Record ID",
    "Certificate Name",
    "Certificate Record Type",
    "Subordinate CA Owner",
    "Apple Status",
    "Chrome Status",
    "Microsoft Status",
    "Mozilla Status",
    "Status of Root Cert",
    "Revocation Status",
    "SHA-256 Fingerprint",
    "Parent SHA-256 Fingerprint",
    "Valid From (GMT)",
    "Authority Key Identifier",
    "Subject Key Identifier",
    "Trust Bits for Root Cert",
    "Derived Trust Bits",
    "Standard Audit Statement Date",
    "Policy Documentation",
];

/// What stands in a column that nobody reads.
const NOISE: &str = "Our \"policies\", see\nhttps://repository.example/, are\r\nin English";

/// V5: quotes where they are needed.
fn v5(rows: &[Row]) -> String {
    csv(&V5, rows, |field| match field.contains([',', '"', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    })
}

/// V4: everything in quotes, another order, dots in its dates, and a byte order mark.
fn v4(rows: &[Row]) -> String {
    let mut columns = V5;
    columns.reverse();
    let rows: Vec<Row> = rows
        .iter()
        .map(|row| {
            let from = row.0["Valid From (GMT)"].replace('-', ".");
            row.clone().with("Valid From (GMT)", &from)
        })
        .collect();
    format!("\u{feff}{}", csv(&columns, &rows, |field| format!("\"{}\"", field.replace('"', "\"\""))))
}

fn csv(columns: &[&str], rows: &[Row], write: impl Fn(&str) -> String) -> String {
    let header: Vec<String> = columns.iter().map(|column| write(column)).collect();
    let mut text = header.join(",") + "\r\n";
    for row in rows {
        let fields = columns.iter().map(|column| match *column {
            "Policy Documentation" => write(NOISE),
            column => write(row.0.get(column).map_or("", String::as_str)),
        });
        text += &(fields.collect::<Vec<_>>().join(",") + "\r\n");
    }
    text
}

fn read(rows: &[Row]) -> Authorities {
    let mut reading = Reading::default();
    reading.certificates(v5(rows).as_bytes(), None).unwrap();
    reading.problem_reporting(PROBLEMS.as_bytes()).unwrap();
    reading.finish()
}

const PROBLEMS: &str = "\"CA Owner\",\"Problem Reporting Mechanism\",\"Recognized CAA Domains\"\n\
    \"Root Owner\",\"revoke@root.example\nor the form at https://root.example/\",\"root.example\"\n\
    \"Financijska agencija\",\"ca@fina.example\",\"\"\n\
    \"Nobody\",\"\",\"\"\n";

/// A certificate as the message of a lite stream has it.
fn facts(issuer: &str, key_id: Option<&str>) -> Facts {
    let key_id = key_id.map(|id| format!("keyid:{id}")).unwrap_or_default();
    let text = serde_json::json!({
        "message_type": "certificate_update",
        "data": {"leaf_cert": {
            "all_domains": ["a.example"],
            "issuer": {"CN": issuer, "O": "Some Organisation"},
            "extensions": {"authorityKeyIdentifier": key_id},
        }},
    })
    .to_string();
    let decoded = message::decode(text.as_bytes());
    let Ok(message::Message::Certificate(update)) = &decoded else { panic!("{decoded:?}") };
    Decoder::default().certificate(update).facts(text.as_bytes())
}

/// A certificate of a chain, signed by the next.
fn link(name: &str, n: u8, issuer: &str, above: u8) -> ChainCertificate {
    let named = |name: &str| DistinguishedName {
        common_name: vec![name.to_owned()],
        given: true,
        ..DistinguishedName::default()
    };
    ChainCertificate {
        subject: named(name),
        issuer: named(issuer),
        key_id: Some(key(n)),
        authority_key_id: Some(key(above)),
        spki_sha256: [n; 32],
        sha256: [n; 32],
        signs_precertificates: false,
    }
}

fn said(issuing: &Issuing) -> String {
    let labels = |programs: Programs| programs.iter().map(Program::label).collect::<Vec<_>>().join("+");
    let owners: Vec<&str> = issuing.ca_owners.iter().map(|owner| &**owner).collect();
    let Trust { programs, unknown, method, .. } = issuing.trust;
    format!(
        "{} | unknown {} | {} | {} | {:?}",
        labels(programs),
        labels(unknown),
        method.map_or("-", Method::label),
        owners.join(", "),
        issuing.claim
    )
}

/// A world of four roots.
fn world() -> Vec<Row> {
    let all = ["Apple", "Chrome", "Microsoft", "Mozilla"];
    vec![
        Row::root("Root Owner", "Big Root", 1, &all),
        Row::below("Root Owner", "Big Issuing", 11, 1),
        Row::root("Financijska agencija", "Fina Root CA", 2, &["Microsoft"]),
        Row::below("Financijska agencija", "Fina RDC 2020", 12, 2),
        // A new certificate of a root's key, which other programs include.
        Row::root("Renewed", "Renewed Root", 3, &["Apple", "Microsoft"]),
        Row::root("Renewed", "Renewed Root", 3, &["Chrome", "Mozilla"]).fingerprint(33),
        Row::below("Renewed", "Renewed Issuing", 13, 3),
        // A small root that the big one has cross-signed.
        Row::root("Small", "Small Root", 4, &["Mozilla"]),
        Row::below("Root Owner", "Small Root", 4, 1).fingerprint(44).with("Subordinate CA Owner", "Small"),
        Row::below("Small", "Small Issuing", 14, 4),
        // The same, but the cross-sign is revoked.
        Row::root("Cut Off", "Cut Off Root", 5, &["Microsoft"]),
        Row::below("Root Owner", "Cut Off Root", 5, 1).fingerprint(55).with("Revocation Status", "Revoked"),
        Row::below("Cut Off", "Cut Off Issuing", 15, 5),
        // Revoked itself: it hangs where it hung.
        Row::below("Root Owner", "Revoked Issuing", 16, 1).with("Revocation Status", "Parent Cert Revoked"),
        Row::root("Mail", "Mail Root", 6, &all).with("Trust Bits for Root Cert", "Secure Email"),
        Row::below("Mail", "Mail Issuing", 17, 6),
        // Links in a circle, and one into nothing.
        Row::below("Circle", "Circle A", 20, 21),
        Row::below("Circle", "Circle B", 21, 20),
        Row::below("Orphan", "Orphan Issuing", 22, 99),
        Row::below("Orphan", "Described Issuing", 23, 99).with(
            "Status of Root Cert",
            "Apple: Included; Google Chrome: Included; Microsoft: Disabled; Mozilla: Removed",
        ),
        Row::root("Gone", "Gone Root", 7, &[]).with("Mozilla Status", "Removed"),
        // Its parent is known by its key alone.
        Row::below("Root Owner", "By Key", 24, 98).with("Authority Key Identifier", &base64_key(1)),
        Row::root("First", "Class 3", 8, &["Apple"]),
        Row::root("Second", "Class 3", 9, &["Mozilla"]),
        Row::below(
            "Root Owner",
            "The name of this authority goes on for more characters than the field of it holds",
            25,
            1,
        ),
    ]
}

#[test]
fn who_stands_above_an_issuer() {
    let authorities = read(&world());
    let check = |issuer: &str, key_id: Option<&str>, want: &str| {
        assert_eq!(said(&authorities.issuing(&facts(issuer, key_id))), want, "{issuer} {key_id:?}");
    };
    for (issuer, n, want) in [
        ("Big Issuing", 11, "apple+chrome+microsoft+mozilla | unknown  | key id | Root Owner | Agrees"),
        ("Big Root", 1, "apple+chrome+microsoft+mozilla | unknown  | key id | Root Owner | Agrees"),
        ("Fina RDC 2020", 12, "microsoft | unknown  | key id | Financijska agencija | Agrees"),
        ("FINA RDC-2020", 12, "microsoft | unknown  | key id | Financijska agencija | Agrees"),
        // Another's name beside its own key.
        ("Big Issuing", 12, "microsoft | unknown  | key id | Financijska agencija | Disagrees"),
        ("Renewed Issuing", 13, "apple+chrome+microsoft+mozilla | unknown  | key id | Renewed | Agrees"),
        ("Small Issuing", 14, "apple+chrome+microsoft+mozilla | unknown  | key id | Small | Agrees"),
        ("Small Root", 4, "apple+chrome+microsoft+mozilla | unknown  | key id | Small, Root Owner | Agrees"),
        ("Cut Off Issuing", 15, "microsoft | unknown  | key id | Cut Off | Agrees"),
        ("Revoked Issuing", 16, "apple+chrome+microsoft+mozilla | unknown  | key id | Root Owner | Agrees"),
        ("Mail Issuing", 17, " | unknown  | key id | Mail | Agrees"),
        ("Circle A", 20, " | unknown apple+chrome+microsoft+mozilla | key id | Circle | Agrees"),
        ("Orphan Issuing", 22, " | unknown apple+chrome+microsoft+mozilla | key id | Orphan | Agrees"),
        ("Described Issuing", 23, "apple+chrome | unknown  | key id | Orphan | Agrees"),
        ("Gone Root", 7, " | unknown  | key id | Gone | Agrees"),
        ("By Key", 24, "apple+chrome+microsoft+mozilla | unknown  | key id | Root Owner | Agrees"),
        (
            "The name of this authority goes on for more characters than the field of it holds, by far",
            25,
            "apple+chrome+microsoft+mozilla | unknown  | key id | Root Owner | Agrees",
        ),
        // A key that is not in the data: its name is worth nothing.
        ("Big Issuing", 77, " | unknown apple+chrome+microsoft+mozilla | - |  | NotAtHand"),
    ] {
        check(issuer, Some(&key(n)), want);
    }
    check("Fina RDC 2020", None, "microsoft | unknown  | name |  | NotAtHand");
    check("Class 3", None, " | unknown apple+chrome+microsoft+mozilla | - |  | NotAtHand");
    check("Nobody's", None, " | unknown apple+chrome+microsoft+mozilla | - |  | NotAtHand");
    check("", Some(&key(11)), "apple+chrome+microsoft+mozilla | unknown  | key id | Root Owner | Disagrees");
    check("Big Root", Some("not hex"), "apple+chrome+microsoft+mozilla | unknown  | name |  | NotAtHand");
}

#[test]
fn a_chain_is_asked_first() {
    let authorities = read(&world());
    let check = |chain: Vec<ChainCertificate>, want: &str| {
        let mut facts = facts("New Issuing", Some(&key(80)));
        facts.chain = chain;
        facts.issuer.organization.clear();
        assert_eq!(said(&authorities.issuing(&facts)), want);
    };
    let unknown = " | unknown apple+chrome+microsoft+mozilla | - |  | NotAtHand";
    let microsoft = "microsoft | unknown  | chain |  | NotAtHand";
    check(vec![], unknown);
    let new = || link("New Issuing", 80, "Fina Root CA", 2);
    // The root is in the chain, or above it.
    check(vec![new(), link("Fina Root CA", 2, "Fina Root CA", 2)], microsoft);
    check(vec![new()], microsoft);
    // Where the links do not hold, nothing is taken from it.
    check(vec![link("Another", 80, "Fina Root CA", 2)], unknown);
    check(vec![link("New Issuing", 80, "Unheard Of", 2)], unknown);
    check(
        vec![link("New Issuing", 80, "Unheard Of", 70), link("Fina Root CA", 2, "Fina Root CA", 2)],
        unknown,
    );
    // A Precertificate Signing Certificate is not the issuer.
    let mut signer = link("Signer", 82, "New Issuing", 80);
    signer.signs_precertificates = true;
    check(vec![signer, new()], microsoft);

    // A borrowed key id, in the entry alone or in its issuer's certificate too, with the name or without: the
    // chain leads to another owner's root.
    for (name, own) in [("New Issuing", 11), ("New Issuing", 80), ("Big Issuing", 11)] {
        let mut borrowed = facts(name, Some(&key(11)));
        borrowed.chain = vec![link(name, own, "Fina Root CA", 2)];
        borrowed.chain[0].sha256 = [80; 32];
        let want = "microsoft | unknown  | chain |  | Disagrees";
        assert_eq!(said(&authorities.issuing(&borrowed)), want, "{name} {own}");
    }
    // Another root of the same owner, which the data does not know of yet, is no contradiction.
    let mut moved = facts("Big Issuing", Some(&key(11)));
    moved.chain = vec![link("Big Issuing", 11, "By Key", 24)];
    moved.chain[0].sha256 = [80; 32];
    assert_eq!(
        said(&authorities.issuing(&moved)),
        "apple+chrome+microsoft+mozilla | unknown  | key id | Root Owner | Agrees"
    );
    // A new certificate of a known key, below a root that the key is known to be below.
    let mut renewed = facts("Small Issuing", Some(&key(14)));
    renewed.chain = vec![link("Small Issuing", 14, "Small Root", 4), link("Small Root", 4, "Big Root", 1)];
    renewed.chain[0].sha256 = [81; 32];
    renewed.chain[1].sha256 = [82; 32];
    assert_eq!(
        said(&authorities.issuing(&renewed)),
        "apple+chrome+microsoft+mozilla | unknown  | key id | Small | Agrees"
    );

    // By its certificate, whatever key id it writes: the names are compared with that certificate's row.
    let mut known = facts("Fina RDC 2020", None);
    known.chain = vec![link("Fina RDC 2020", 12, "Fina Root CA", 2)];
    assert_eq!(
        said(&authorities.issuing(&known)),
        "microsoft | unknown  | chain | Financijska agencija | Agrees"
    );
}

#[test]
fn problems_are_reported_to_the_owner() {
    let authorities = read(&world());
    for (issuer, n, want) in [
        ("Big Issuing", 11, Some("revoke@root.example or the form at https://root.example/")),
        ("Fina RDC 2020", 12, Some("ca@fina.example")),
        ("Mail Issuing", 17, None),
        // Cross-signed by an owner with an address, but it is not that owner's.
        ("Small Root", 4, None),
    ] {
        let issuing = authorities.issuing(&facts(issuer, Some(&key(n))));
        assert_eq!(issuing.report_to.as_deref(), want, "{issuer}");
    }
    let by_name = authorities.issuing(&facts("Fina RDC 2020", None));
    assert_eq!(by_name.report_to.as_deref(), Some("ca@fina.example"));
}

#[test]
fn microsoft_only_is_a_remark() {
    let mut reading = Reading::default();
    reading.certificates(v5(&world()).as_bytes(), Some(date!(2026 - 11 - 20))).unwrap();
    let mut authorities = reading.finish();
    authorities.as_of = Some(date!(2026 - 11 - 20));
    let remark = |authorities: &Authorities, n| authorities.issuing(&facts("x", Some(&key(n)))).remark();
    let (code, sentence) = remark(&authorities, 12).unwrap();
    assert_eq!(code, "trust.microsoft_only");
    assert_eq!(sentence, "Included by Microsoft only (CCADB of 2026-11-20)");
    for n in [11, 17, 22, 77] {
        assert_eq!(remark(&authorities, n), None, "{n}");
    }
    authorities.as_of = None;
    assert_eq!(remark(&authorities, 12).unwrap().1, "Included by Microsoft only (CCADB)");
}

#[test]
fn both_versions_make_the_same_table() {
    let rows = world();
    let one = {
        let mut reading = Reading::default();
        reading.certificates(v5(&rows).as_bytes(), None).unwrap();
        reading.finish()
    };
    let (a, b) = rows.split_at(rows.len() / 2);
    let mut reading = Reading::default();
    reading.certificates(v4(a).as_bytes(), None).unwrap();
    reading.certificates(v4(b).as_bytes(), None).unwrap();
    // What two reports have is there once.
    reading.certificates(v5(&rows).as_bytes(), None).unwrap();
    assert!(one == reading.finish());
    let counts = one.counts();
    assert_eq!((counts.certificates, counts.owners, counts.left_out), (rows.len(), 11, 0));
    assert_eq!(counts.roots, [3, 2, 4, 4]);
    let mut none = v5(&rows[..1]);
    none.push_str(
        &v5(&[rows[1].clone().with("SHA-256 Fingerprint", "")])
            .lines()
            .skip(1)
            .collect::<Vec<_>>()
            .join("\r\n"),
    );
    let mut reading = Reading::default();
    reading.certificates(none.as_bytes(), None).unwrap();
    let counts = reading.finish().counts();
    assert_eq!((counts.certificates, counts.left_out), (1, 1));
}

#[test]
fn each_program_trusts_a_root_for_its_own_purposes() {
    let settings = format!(
        "CA Owner,SHA-256 Fingerprint,Apple Status,Apple Trust Bits,Google Chrome Status,Microsoft Status,\
         Microsoft EKUs,Mozilla Status,Mozilla Trust Bits\n\
         Root Owner,{},Included,clientAuth;serverAuth,Not Included,Included,Secure Email;Server Authentication,\
         Included,Email\n\
         Fina,{},Not Included,,Not Included,Included,Client Authentication,Not Included,\n",
        sha(1),
        sha(2)
    );
    for first in [true, false] {
        let mut reading = Reading::default();
        if first {
            reading.certificates(settings.as_bytes(), None).unwrap();
        }
        reading.certificates(v5(&world()).as_bytes(), None).unwrap();
        if !first {
            reading.certificates(settings.as_bytes(), None).unwrap();
        }
        let authorities = reading.finish();
        for (issuer, n, want) in [
            ("Big Issuing", 11, "apple+microsoft | unknown  | key id | Root Owner | Agrees"),
            ("Fina RDC 2020", 12, " | unknown  | key id | Financijska agencija | Agrees"),
            // Without a row there, by the union.
            ("Renewed Issuing", 13, "apple+chrome+microsoft+mozilla | unknown  | key id | Renewed | Agrees"),
        ] {
            assert_eq!(said(&authorities.issuing(&facts(issuer, Some(&key(n))))), want, "{issuer}");
        }
    }
}

#[test]
fn a_table_is_as_old_as_its_newest_row_or_its_file() {
    let row = |from: &str, audit: &str| {
        Row::root("o", "n", 1, &[])
            .with("Valid From (GMT)", from)
            .with("Standard Audit Statement Date", audit)
    };
    for (rows, modified, want) in [
        (vec![row("2026-11-20", ""), row("2020-01-01", "")], None, Some(date!(2026 - 11 - 20))),
        (vec![row("2020-01-01", "2026-11-21")], None, Some(date!(2026 - 11 - 21))),
        // A file cannot speak of days after it was written.
        (vec![row("2030-01-01", "2026-11-21")], Some(date!(2026 - 11 - 24)), Some(date!(2026 - 11 - 21))),
        (vec![row("", "soon")], Some(date!(2026 - 11 - 24)), Some(date!(2026 - 11 - 24))),
        (vec![row("2026-02-30", "")], None, None),
    ] {
        let mut reading = Reading::default();
        reading.certificates(v5(&rows).as_bytes(), modified).unwrap();
        assert_eq!(reading.finish().as_of(), want, "{modified:?}");
    }
    let mut reading = Reading::default();
    reading.certificates(v4(&[row("2019-01-01", "")]).as_bytes(), None).unwrap();
    reading.certificates(v4(&[row("2026-11-20", "")]).as_bytes(), None).unwrap();
    assert_eq!(reading.finish().as_of(), Some(date!(2026 - 11 - 20)), "the newest of both files");
}

#[test]
fn a_bad_report_is_refused_whole() {
    let rows = world();
    let whole = v5(&rows);
    let refused = |text: &str| Reading::default().certificates(text.as_bytes(), None).unwrap_err();
    for column in V5 {
        let optional = [
            "Salesforce Record ID",
            "Subordinate CA Owner",
            "Status of Root Cert",
            "Revocation Status",
            "Valid From (GMT)",
            "Authority Key Identifier",
            "Derived Trust Bits",
            "Standard Audit Statement Date",
            "Policy Documentation",
        ];
        let text = whole.replacen(column, "Another", 1);
        let read = Reading::default().certificates(text.as_bytes(), None);
        // A longer name of another column may have it as a part.
        let expected = match optional.contains(&column) {
            true => Ok(()),
            false => Err(CcadbError::NoColumn(column)),
        };
        assert_eq!(read, expected, "{column}");
    }
    // Each row has three lines, by the noise in it: the third begins on line 8.
    let cut = &whole[..whole.match_indices("Fina Root CA").next().unwrap().0 + 40];
    let error = refused(cut);
    assert!(matches!(error, CcadbError::Fields { line: 8, expected: 20, .. }), "{error:?}");
    assert_eq!(error.line(), Some(8));
    assert_eq!(refused(whole.lines().next().unwrap()), CcadbError::Empty);
    assert_eq!(refused("<html><body>Maintenance</body></html>\n"), CcadbError::NoColumn("Apple Status"));
    assert_eq!(refused(""), CcadbError::NoColumn("Apple Status"));
    let long = v5(&[Row::root(&"x".repeat(MAX_TEXT_BYTES + 1), "n", 1, &[])]);
    let error = refused(&long);
    assert_eq!(error, CcadbError::TooLong { line: 2, column: "CA Owner", found: MAX_TEXT_BYTES + 1 });
    assert_eq!(error.to_string(), "CA Owner has 4097 bytes, the limit is 4096");

    let refused = |text: &str| Reading::default().problem_reporting(text.as_bytes()).unwrap_err();
    assert_eq!(refused("CA Owner,E-mail\na,b\n"), CcadbError::NoColumn("Problem Reporting Mechanism"));
    assert_eq!(refused("CA Owner,Problem Reporting Mechanism\n"), CcadbError::Empty);
    assert_eq!(refused("CA Owner,Problem Reporting Mechanism\na,b\nc\n").line(), Some(3));
}

#[test]
fn more_rows_than_the_limit_are_refused() {
    // The columns that are needed, and as little in them as can be.
    let mut text = "SHA-256 Fingerprint,CA Owner,Certificate Name,Certificate Record Type,\
        Parent SHA-256 Fingerprint,Subject Key Identifier,Trust Bits for Root Cert,Apple Status,Chrome Status,\
        Microsoft Status,Mozilla Status\n"
        .to_owned();
    for n in 0..=MAX_RECORDS {
        text.push_str(&format!("{n:064x},,,,,,,,,,\n"));
    }
    let error = Reading::default().certificates(text.as_bytes(), None).unwrap_err();
    assert!(matches!(error, CcadbError::TooMany { .. }), "{error:?}");
    assert_eq!(error.to_string(), "it goes beyond the limit of 200000 rows in all files");
}

#[test]
fn without_ccadb_mozillas_roots_are_known_and_nothing_else() {
    let authorities = Authorities::built_in();
    // The key of ISRG Root X1.
    let x1 = "79b459e67bb6e5e40173800888c81a58f6e99b6e";
    let issuing = authorities.issuing(&facts("ISRG Root X1", Some(x1)));
    assert_eq!(said(&issuing), "mozilla | unknown apple+chrome+microsoft | key id |  | Agrees");
    assert_eq!((issuing.trust.data.label(), issuing.trust.as_of), ("mozilla-roots", None));
    assert_eq!(issuing.remark(), None);
    let unknown = authorities.issuing(&facts("Fina RDC 2020", Some(&key(12))));
    assert_eq!(said(&unknown), " | unknown apple+chrome+microsoft+mozilla | - |  | NotAtHand");
    // What a root issued through is known by the chain.
    let mut through = facts("R12", Some(&key(12)));
    let mut link = link("R12", 12, "ISRG Root X1", 1);
    link.authority_key_id = Some(x1.to_owned());
    through.chain = vec![link];
    let issuing = authorities.issuing(&through);
    assert_eq!(said(&issuing), "mozilla | unknown apple+chrome+microsoft | chain |  | NotAtHand");
}

#[test]
fn key_identifiers_in_hexadecimal() {
    for (text, want) in
        [("00ff", Some(&[0, 0xff][..])), ("", None), ("0", None), ("zz", None), ("é", None), ("+1", None)]
    {
        assert_eq!(key_of_hex(text).as_deref(), want, "{text}");
    }
    assert_eq!(issuance::hex(&key_of_hex(&key(7)).unwrap()), key(7));
}
