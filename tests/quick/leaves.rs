//! Leaves of logs, in the bytes of RFC 6962 and of static-ct: what they say is what a message of the same
//! entry says, what they break is named, and what a log signs is held against what was submitted.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certsieve::demo::authority::{Authorities, FINA, Kind, Name, OPEN_HARBOR, Subject, Template};
use certsieve::entry::leaf::{Fetched, Form, Leaf, LeafError, MAX_TILE_LEAVES, Tile};
use certsieve::entry::{Anomaly, Decoder, EntryKind, Facts};
use certsieve::sieve::{Batch, MALFORMED_REASONS, Source};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, SerialNumber,
};
use ring::digest::{SHA256, digest};
use serde_json::json;

use crate::support::entries::{Certificate, dns, element, ip};
use crate::support::leaves::{
    LOGGED_AT, Logged, behind_length, parts, sequence, tbs, tbs_without_poison, with_extensions,
};
use crate::support::pipeline::{Bench, of};
use certsieve::record::Topic;

const URL: &str = "https://Log.example/2026/";
const INDEX: u64 = 18_603_461;

/// Both forms of a leaf, with the chain at hand in either.
fn forms<T>(logged: &Logged, look: impl Fn(&str, Fetched<'_>) -> T) -> [T; 2] {
    let (input, extra, tile) = (logged.leaf_input(), logged.extra_data(), logged.tile_leaf(INDEX));
    // In another order, and beside a stranger: each is found by its hash.
    let mut issuers: Vec<&[u8]> = logged.chain.iter().rev().map(Vec::as_slice).collect();
    issuers.insert(0, b"no certificate at all");
    let fetched = |form| Fetched { log: URL, log_name: Some("Example log"), index: INDEX, form };
    [
        look("rfc6962", fetched(Form::Rfc6962 { input: &input, extra: &extra })),
        look("tile", fetched(Form::Tile { leaf: &tile, issuers: &issuers })),
    ]
}

fn sift(bench: &mut Bench, source: Source<'_>) -> Batch {
    let mut batch = bench.sift::<&[u8]>("log", true, &[]);
    let arrival = certsieve::record::Arrival {
        feed: "log".into(),
        received: certsieve::entry::Timestamp(bench.now.0 - 11),
    };
    bench.sieve.sift(source, &arrival, &mut bench.scratch, &mut batch).expect("a leaf fits every list");
    batch
}

fn facts(fetched: Fetched<'_>) -> Facts {
    let leaf = Leaf::read(fetched);
    let mut decoder = Decoder::default();
    let entry = decoder.leaf(&leaf);
    entry.facts(fetched.form.bytes())
}

/// The message in which a server with DER would send it.
fn message(logged: &Logged) -> Vec<u8> {
    let chain: Vec<_> = logged.chain.iter().map(|der| json!({"as_der": STANDARD.encode(der)})).collect();
    let kind = match logged.kind {
        EntryKind::Precertificate => "PrecertLogEntry",
        EntryKind::Certificate => "X509LogEntry",
    };
    let message = json!({"message_type": "certificate_update", "data": {
        "update_type": kind, "cert_index": INDEX, "chain": chain,
        "leaf_cert": {"as_der": STANDARD.encode(&logged.submitted)},
        "source": {"name": "Example log", "url": URL, "timestamp": LOGGED_AT as f64 / 1000.0}}});
    message.to_string().into_bytes()
}

type Identity = (&'static str, String, String, Vec<&'static str>);

fn identities(facts: &Facts) -> Vec<Identity> {
    let list = facts.identities.iter();
    list.map(|i| {
        let anomalies = i.anomalies.iter().map(Anomaly::label).collect();
        let raw = facts.identities.raw(i).to_owned();
        (i.provenance.label(), facts.identities.value(i), raw, anomalies)
    })
    .collect()
}

fn template() -> Template {
    Template {
        subject: Subject { common_name: "test1.example".into(), ..Subject::default() },
        names: vec![Name::Dns("Test1.example".into()), Name::Ip("192.0.2.1".parse().unwrap())],
        serial: vec![0xd3, 0x16, 0x7e],
        not_before: 1_795_595_398,
        not_after: 1_803_371_398,
    }
}

#[test]
fn a_leaf_says_what_its_message_says() {
    let authorities = Authorities::new(1_795_595_398).unwrap();
    let list = "[[asset]]\nid = 'a'\nnetworks = ['192.0.2.0/24']\npolicy = 'never-issue'";
    for (issuer, kind) in [
        (OPEN_HARBOR, Kind::Precertificate),
        (OPEN_HARBOR, Kind::Certificate),
        (FINA, Kind::Precertificate),
        (FINA, Kind::Certificate),
    ] {
        let der = authorities.issue(issuer, &template(), kind, 0).unwrap().der;
        let chain = authorities.chain(issuer).map(|link| link.der);
        let logged = match kind {
            Kind::Precertificate => Logged::precertificate(&der, &chain),
            Kind::Certificate => Logged::certificate(&der, &chain),
        };
        let message = message(&logged);
        let want = sift(&mut Bench::new(list), Source::Message(&message));
        assert_eq!(want.tally.matched, 1);
        forms(&logged, |form, fetched| {
            let mut bench = Bench::new(list);
            let got = sift(&mut bench, Source::Leaf(fetched));
            assert_eq!(got.receipts, want.receipts, "{form}");
            assert_eq!(got.tally.matched, 1, "{form}");
            assert_eq!(got.tally.anomalies, want.tally.anomalies, "{form}");
            let [got_finding] = got.findings.as_slice() else { panic!("{form}") };
            assert_eq!(got_finding.verdicts, want.findings[0].verdicts, "{form}");
            let facts = got_finding.facts.as_ref().unwrap();
            let mut of_message = want.findings[0].facts.clone().unwrap();
            assert_eq!(identities(facts), identities(&of_message), "{form}");
            assert_eq!(facts.chain.len(), 2, "{form}");
            assert_eq!(
                facts.issuer_key_hash,
                (kind == Kind::Precertificate).then_some(logged.issuer_key_hash)
            );
            // Apart from where the identities lie in memory, and what only a log signs.
            of_message.identities = facts.identities.clone();
            of_message.issuer_key_hash = facts.issuer_key_hash;
            assert_eq!(**facts, *of_message, "{form}");

            bench.account.admit(got, bench.now);
            let records = bench.deliver();
            let [alert] = of(&records, Topic::Alert)[..] else { panic!("{form}") };
            let hash = digest(&SHA256, &der).as_ref().iter().map(|b| format!("{b:02X}")).collect::<String>();
            assert_eq!(alert.text("/tls/server/hash/sha256"), hash, "{form}: of what was submitted");
            assert_eq!(alert.text("/certsieve/evidence"), "der");
            assert_eq!(alert.text("/certsieve/ct/log/id"), "log.example/2026");
        });
    }
}

#[test]
fn a_stranger_leaves_a_receipt_and_nothing_else() {
    let der = Certificate::of([dns("stranger.example")]).der();
    forms(&Logged::certificate(&der, &[]), |form, fetched| {
        let list = "[[asset]]\nid = 'a'\ndomains = ['watched.example']\npolicy = 'observe'";
        let batch = sift(&mut Bench::new(list), Source::Leaf(fetched));
        assert_eq!((batch.tally.unmatched, batch.findings.len()), (1, 0), "{form}");
        assert_eq!(batch.receipts.count(), 1, "{form}");
        assert_eq!(batch.receipts.runs()[0].first, INDEX, "{form}");
    });
}

/// An issuer, its Precertificate Signing Certificate, and what each signs for one certificate.
struct Delegated {
    precertificate: Vec<u8>,
    certificate: Vec<u8>,
    /// The signer of the precertificate, then the final issuer.
    chain: Vec<Vec<u8>>,
}

fn delegated() -> Delegated {
    let authority = |name: &str, purpose: Option<ExtendedKeyUsagePurpose>| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example Trust");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = purpose.into_iter().collect();
        params
    };
    let root =
        CertifiedIssuer::self_signed(authority("Example Root", None), KeyPair::generate().unwrap()).unwrap();
    let issuer = authority("Example TLS", None);
    let issuer = CertifiedIssuer::signed_by(issuer, KeyPair::generate().unwrap(), &root).unwrap();
    let purpose = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 11129, 2, 4, 4]);
    let signer = authority("Example Precertificate Signing", Some(purpose));
    let signer = CertifiedIssuer::signed_by(signer, KeyPair::generate().unwrap(), &issuer).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["www.watched.example".to_owned()]).unwrap();
    leaf.serial_number = Some(SerialNumber::from_slice(&[0x42, 0x43]));
    leaf.use_authority_key_identifier_extension = true;
    let certificate = leaf.signed_by(&key, &*issuer).unwrap().der().to_vec();
    let mut poison = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3], vec![5, 0]);
    poison.set_criticality(true);
    leaf.custom_extensions.push(poison);
    let precertificate = leaf.signed_by(&key, &*signer).unwrap().der().to_vec();
    let chain = vec![signer.der().to_vec(), issuer.der().to_vec()];
    Delegated { precertificate, certificate, chain }
}

#[test]
fn a_precertificate_of_a_signing_certificate_is_the_final_issuers() {
    let Delegated { precertificate, certificate, chain } = delegated();
    // RFC 6962, 3.2: what the log signs is what the certificate will say.
    let logged = Logged { signed: tbs(&certificate), ..Logged::precertificate(&precertificate, &chain) };
    let whole = Logged::certificate(&certificate, &chain[1..]);
    let [want, _] = forms(&whole, |_, fetched| facts(fetched));
    assert_eq!(want.issuer.common_name, ["Example TLS"]);
    let check = |form: &str, facts: Facts| {
        assert_eq!(facts.issuance_key, want.issuance_key, "{form}");
        assert_eq!(facts.authority_key_id, want.authority_key_id, "{form}");
        assert_eq!(facts.issuer, want.issuer, "{form}");
        assert!(facts.anomalies.is_empty(), "{form}: {:?}", facts.anomalies);
        assert_eq!(facts.kind, EntryKind::Precertificate, "{form}");
        assert!(facts.chain[0].signs_precertificates && !facts.chain[1].signs_precertificates, "{form}");
        assert_eq!(facts.chain[1].subject, facts.issuer, "{form}");
        assert_eq!(facts.chain[1].key_id, facts.authority_key_id, "{form}");
    };
    forms(&logged, |form, fetched| check(form, facts(fetched)));
    let of_message = |logged: &Logged| {
        let message = message(logged);
        let Ok(certsieve::entry::message::Message::Certificate(update)) =
            certsieve::entry::message::decode(&message)
        else {
            panic!("a message");
        };
        Decoder::default().certificate(&update).facts(&message)
    };
    check("message", of_message(&logged));
    // Without the chain, or with another's, a message says no more than its precertificate.
    for chain in [&[][..], &chain[1..]] {
        let facts = of_message(&Logged { chain: chain.to_vec(), ..logged.clone() });
        assert_eq!(facts.issuer.common_name, ["Example Precertificate Signing"]);
        assert_ne!(facts.issuance_key, want.issuance_key);
    }
    // The leaf says it all the same; that its signer may stand in for the issuer is then not decided.
    let tile = logged.tile_leaf(INDEX);
    let form = Form::Tile { leaf: &tile, issuers: &[] };
    let alone = facts(Fetched { log: URL, log_name: None, index: INDEX, form });
    assert_eq!(alone.issuance_key, want.issuance_key);
    assert!(alone.anomalies.is_empty() && alone.chain.is_empty());
    // One that may not.
    let other = Logged { chain: vec![chain[1].clone()], ..logged };
    forms(&other, |form, fetched| {
        assert!(facts(fetched).anomalies.has(Anomaly::PrecertMismatch), "{form}");
    });
}

#[test]
fn what_a_log_signs_is_what_was_submitted() {
    let certificate =
        Certificate::of([dns("a.example"), ip("192.0.2.1")]).common_name("a.example").poisoned();
    let der = certificate.der();
    let signed = tbs_without_poison(&der);
    let of = |change: fn(&mut Certificate)| {
        let mut other = certificate.clone();
        change(&mut other);
        tbs_without_poison(&other.der())
    };
    let field = |at: usize, with: Vec<u8>| {
        let mut fields = parts(&signed);
        fields[at] = with;
        sequence(&fields)
    };
    let san = |with: fn(&[u8]) -> Vec<u8>| {
        with_extensions(&signed, |extensions| extensions[1] = with(&extensions[1]))
    };
    let rows: Vec<(&str, Vec<u8>, bool)> = vec![
        ("the same", signed.clone(), false),
        ("another name", of(|c| c.san = Some(vec![dns("b.example"), ip("192.0.2.1")])), true),
        ("a name fewer", of(|c| c.san = Some(vec![dns("a.example")])), true),
        ("no names", of(|c| c.san = None), true),
        ("another subject", of(|c| c.common_names = vec![b"b.example".to_vec()]), true),
        ("another serial", of(|c| c.serial = vec![1]), true),
        ("another end", of(|c| c.not_after += 1), true),
        ("another key", of(|c| c.subject_key = 2), true),
        // Who may sign for another is not decided without the chain.
        ("another issuer", of(|c| c.issuer_common_name = "Other CA".to_owned()), false),
        (
            "another issuer and names",
            of(|c| {
                c.issuer_common_name.push('x');
                c.san = None
            }),
            true,
        ),
        ("with the poison", tbs(&der), true),
        (
            "no version",
            {
                let mut fields = parts(&signed);
                fields.remove(0);
                sequence(&fields)
            },
            true,
        ),
        // Logs encode again what they decoded: a longer serial, a time of the other type, a DEFAULT.
        ("a serial of more zeros", field(1, element(2, &[0, 0, 0xd3, 0x16, 0x7e, 0xfd, 0x77])), false),
        (
            "times of the other type",
            field(4, sequence(&[element(0x17, b"261125082958Z"), element(0x17, b"271125082958Z")])),
            false,
        ),
        (
            "times of the other type, and another time",
            field(4, sequence(&[element(0x17, b"261125082958Z"), element(0x17, b"271125082959Z")])),
            true,
        ),
        (
            "not critical, and said so",
            san(|san| {
                let [id, value] = <[Vec<u8>; 2]>::try_from(parts(san)).unwrap();
                sequence(&[id, element(1, &[0]), value])
            }),
            false,
        ),
        (
            "critical",
            san(|san| {
                let [id, value] = <[Vec<u8>; 2]>::try_from(parts(san)).unwrap();
                sequence(&[id, element(1, &[0xff]), value])
            }),
            true,
        ),
    ];
    for (what, signed, differs) in rows {
        let logged = Logged { signed, ..Logged::precertificate(&der, &[]) };
        forms(&logged, |form, fetched| {
            let got = facts(fetched);
            assert_eq!(got.anomalies.has(Anomaly::PrecertMismatch), differs, "{what}, {form}");
            // The hash is of what was submitted, the identities are of what was signed.
            assert_eq!(got.der.as_deref(), Some(&der[..]), "{what}, {form}");
        });
    }
    // What was submitted is no certificate.
    let logged = Logged { submitted: b"nothing".to_vec(), ..Logged::precertificate(&der, &[]) };
    forms(&logged, |form, fetched| {
        assert!(facts(fetched).anomalies.has(Anomaly::PrecertMismatch), "{form}");
    });
}

/// What a leaf is understood as, and where it broke.
fn read(form: Form<'_>) -> (Option<EntryKind>, usize, usize, Option<LeafError>) {
    let leaf = Leaf::read(Fetched { log: URL, log_name: None, index: INDEX, form });
    (leaf.kind, leaf.signed.len(), leaf.chain().count(), leaf.broken)
}

#[test]
fn what_breaks_is_named_and_hides_nothing_before_it() {
    use LeafError as E;
    let der = Certificate::of([dns("a.example")]).der();
    let link = Certificate::of([]).der();
    let logged = Logged::certificate(&der, std::slice::from_ref(&link));
    let (input, extra) = (logged.leaf_input(), logged.extra_data());
    let pre = Logged::precertificate(&der, std::slice::from_ref(&link));
    let (pre_input, pre_extra) = (pre.leaf_input(), pre.extra_data());
    let (certificate, precertificate) = (Some(EntryKind::Certificate), Some(EntryKind::Precertificate));
    let (whole, signed) = (der.len(), pre.signed.len());
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        bytes
    };
    let and = |bytes: &[u8], more: &[u8]| [bytes, more].concat();
    let cut = |bytes: &[u8], fewer: usize| bytes[..bytes.len() - fewer].to_vec();
    type Row = (Vec<u8>, Vec<u8>, Option<EntryKind>, usize, usize, Option<LeafError>);
    let rows: Vec<Row> = vec![
        (input.clone(), extra.clone(), certificate, whole, 1, None),
        (pre_input.clone(), pre_extra.clone(), precertificate, signed, 1, None),
        (Vec::new(), extra.clone(), None, 0, 0, Some(E::Truncated { part: "version", wanted: 1, left: 0 })),
        (with(&input, 0, 1), extra.clone(), None, 0, 0, Some(E::Version(1))),
        (with(&input, 1, 9), extra.clone(), None, 0, 0, Some(E::LeafType(9))),
        (with(&input, 11, 2), extra.clone(), None, 0, 0, Some(E::EntryType(2))),
        (with(&input, 10, 0x80), extra.clone(), None, 0, 0, Some(E::EntryType(0x8000))),
        (
            with(&input, 12, 0xff),
            extra.clone(),
            certificate,
            0,
            1,
            Some(E::Truncated { part: "x509_entry", wanted: whole + 0xff_0000, left: whole + 2 }),
        ),
        ([&input[..12], &[0; 5]].concat(), extra.clone(), certificate, 0, 1, Some(E::Empty("x509_entry"))),
        (
            and(&input, b"xy"),
            extra.clone(),
            certificate,
            whole,
            1,
            Some(E::Trailing { part: "the leaf", bytes: 2 }),
        ),
        (
            input.clone(),
            Vec::new(),
            certificate,
            whole,
            0,
            Some(E::Truncated { part: "certificate_chain", wanted: 3, left: 0 }),
        ),
        (
            input.clone(),
            and(&extra, b"x"),
            certificate,
            whole,
            1,
            Some(E::Trailing { part: "extra_data", bytes: 1 }),
        ),
        (
            input.clone(),
            behind_length(3, &cut(&behind_length(3, &link), 1)),
            certificate,
            whole,
            0,
            Some(E::Truncated {
                part: "certificate of certificate_chain",
                wanted: link.len(),
                left: link.len() - 1,
            }),
        ),
        (
            pre_input.clone(),
            [&[0; 3][..], &[0; 3]].concat(),
            precertificate,
            signed,
            0,
            Some(E::Empty("pre_certificate")),
        ),
        (
            pre_input[..40].to_vec(),
            pre_extra.clone(),
            precertificate,
            0,
            1,
            Some(E::Truncated { part: "issuer_key_hash", wanted: 32, left: 28 }),
        ),
    ];
    for (input, extra, kind, length, links, broken) in rows {
        let got = read(Form::Rfc6962 { input: &input, extra: &extra });
        assert_eq!(got, (kind, length, links, broken), "{broken:?}");
    }

    let tile = pre.tile_leaf(INDEX);
    let at = 8 + 2 + 32 + 3 + signed;
    let with_extension = |data: &[u8]| [&tile[..at], &behind_length(2, data), &tile[at + 10..]].concat();
    for (leaf, links, broken) in [
        (tile.clone(), 1, None),
        (and(&tile, b"x"), 1, Some(E::Trailing { part: "the leaf", bytes: 1 })),
        ([&tile[..tile.len() - 34], &behind_length(2, &[0; 33])[..]].concat(), 0, Some(E::Fingerprints(33))),
        (with_extension(&[0]), 1, Some(E::Truncated { part: "extension_data", wanted: 2, left: 0 })),
        (
            with_extension(&[0, 0, 4, 0, 0, 0, 1]),
            1,
            Some(E::Truncated { part: "leaf_index", wanted: 5, left: 4 }),
        ),
        (with_extension(&[0, 0, 6, 0, 0, 0, 0, 0, 1]), 1, Some(E::Trailing { part: "leaf_index", bytes: 1 })),
        // Extensions of other types are others' business.
        (with_extension(&[7, 0, 2, 0, 0]), 1, None),
    ] {
        let got = read(Form::Tile { leaf: &leaf, issuers: &[&link] });
        assert_eq!(got, (precertificate, signed, links, broken), "{broken:?}");
    }
}

/// A leaf that cannot be read whole is a finding with its reason and bytes, keeps its receipt, and matches by
/// what can be read of it.
#[test]
fn a_broken_leaf_is_a_finding() {
    let list = "[[asset]]\nid = 'a'\ndomains = ['watched.example']\npolicy = 'never-issue'";
    let der = Certificate::of([dns("www.watched.example")]).der();
    let logged = Logged::certificate(&der, &[]);
    let (input, extra) = (logged.leaf_input(), logged.extra_data());
    let trailing = [&extra[..], b"x"].concat();
    let cut = Logged { signed: der[..der.len() - 1].to_vec(), ..logged.clone() }.leaf_input();
    let rows = [
        ("leaf", &input[..], &trailing[..], "leaf: 1 bytes behind extra_data", true, &der[..]),
        ("leaf", &input[..9], &extra, "leaf: timestamp of 8 bytes where 7 are left", false, &input[..9]),
        (
            "der",
            &cut,
            &extra,
            &format!("leaf: certificate: an element of {} bytes where {} are left", der.len(), der.len() - 1),
            true,
            &der[..der.len() - 1],
        ),
    ];
    for (reason, input, extra, message, matches, original) in rows {
        let mut bench = Bench::new(list);
        let fetched = Fetched { log: URL, log_name: None, index: 7, form: Form::Rfc6962 { input, extra } };
        let batch = sift(&mut bench, Source::Leaf(fetched));
        assert_eq!(batch.tally.malformed, 1, "{message}");
        let at = MALFORMED_REASONS.iter().position(|label| *label == reason).unwrap();
        assert_eq!(batch.tally.reasons[at], 1, "{message}");
        assert_eq!(batch.receipts.count(), 1, "{message}");
        bench.account.admit(batch, bench.now);
        let records = bench.deliver();
        let [malformed] = of(&records, Topic::Malformed)[..] else { panic!("{message}") };
        assert_eq!(malformed.text("/error/code"), reason);
        assert_eq!(malformed.text("/error/message"), message);
        assert_eq!(malformed.text("/event/original"), STANDARD.encode(original), "{message}");
        assert_eq!(malformed.record.key, "log.example/2026:7");
        assert_eq!(of(&records, Topic::Alert).len(), usize::from(matches), "{message}");
    }
}

#[test]
fn an_index_of_its_own() {
    let der = Certificate::of([dns("a.example")]).der();
    let logged = Logged::certificate(&der, &[]);
    for (tile, odd) in [
        (logged.tile_leaf(INDEX), false),
        (logged.tile_leaf(INDEX + 1), true),
        // It must be there.
        (
            {
                let whole = logged.tile_leaf(INDEX);
                [&whole[..8 + 2 + 3 + der.len()], &[0; 2], &[0; 2]].concat()
            },
            true,
        ),
    ] {
        let form = Form::Tile { leaf: &tile, issuers: &[] };
        let got = facts(Fetched { log: URL, log_name: None, index: INDEX, form });
        assert_eq!(got.anomalies.has(Anomaly::IndexInvalid), odd);
        assert_eq!(got.index, Some(INDEX), "where it was asked for");
    }
}

#[test]
fn a_tile_is_cut_into_its_leaves() {
    let one = Logged::certificate(&Certificate::of([dns("a.example")]).der(), &[vec![1]]);
    let two = Logged::precertificate(&Certificate::of([dns("b.example")]).poisoned().der(), &[]);
    let leaves: Vec<Vec<u8>> =
        (0..MAX_TILE_LEAVES as u64).map(|at| [&one, &two][at as usize % 2].tile_leaf(at)).collect();
    let whole = leaves.concat();
    let cut: Vec<_> = Tile::new(&whole).map(Result::unwrap).collect();
    assert_eq!(cut, leaves);
    let leaf = Leaf::read(Fetched {
        log: URL,
        log_name: None,
        index: 255,
        form: Form::Tile { leaf: cut[255], issuers: &[] },
    });
    assert_eq!((leaf.own_index, leaf.broken), (Some(255), None));
    let of_one = Leaf::read(Fetched {
        log: URL,
        log_name: None,
        index: 0,
        form: Form::Tile { leaf: cut[0], issuers: &[] },
    });
    let hash: [u8; 32] = digest(&SHA256, &[1]).as_ref().try_into().unwrap();
    assert_eq!(of_one.fingerprints().collect::<Vec<_>>(), [&hash]);

    let more = [&whole[..], &one.tile_leaf(256)].concat();
    let cut: Vec<_> = Tile::new(&more).collect();
    assert_eq!((cut.len(), cut[256]), (257, Err(LeafError::Tile)));
    let shorter: Vec<_> = Tile::new(&whole[..whole.len() - 1]).collect();
    assert_eq!(shorter.len(), 256);
    assert!(matches!(shorter[255], Err(LeafError::Truncated { part: "certificate_chain", .. })));
    assert_eq!(Tile::new(&[]).count(), 0);
}

/// A chain that cannot be read to its end says so, and no more than stands before the break.
#[test]
fn a_chain_ends_where_it_breaks() {
    let links: Vec<Vec<u8>> = ["One", "Two", "Three"]
        .map(|name| Certificate::of([]).issuer("Example Trust", name).der())
        .into_iter()
        .collect();
    let list = "[[asset]]\nid = 'a'\ndomains = ['a.example']\npolicy = 'observe'";
    let der = Certificate::of([dns("a.example")]).der();
    let large = Certificate::of(vec![dns("x".repeat(60)); 1200]).der();
    let chain = |links: &[&[u8]]| links.iter().map(|der| der.to_vec()).collect::<Vec<_>>();
    for (chain, length, odd) in [
        (links.clone(), 3, false),
        (Vec::new(), 0, false),
        (chain(&[&links[0], b"broken", &links[1]]), 1, true),
        (chain(&[&large, &links[0]]), 0, true),
        (vec![links[0].clone(); 12], 10, false),
    ] {
        let logged = Logged::certificate(&der, &chain);
        let message = message(&logged);
        let check = |form: &str, batch: Batch| {
            let facts = batch.findings[0].facts.as_ref().unwrap();
            assert_eq!(facts.chain.len(), length, "{form}");
            assert_eq!(facts.anomalies.has(Anomaly::ChainInvalid), odd, "{form}");
            assert_eq!(batch.tally.anomalies[Anomaly::ChainInvalid as usize], u64::from(odd), "{form}");
        };
        check("message", sift(&mut Bench::new(list), Source::Message(&message)));
        let (input, extra) = (logged.leaf_input(), logged.extra_data());
        let form = Form::Rfc6962 { input: &input, extra: &extra };
        let fetched = Fetched { log: URL, log_name: None, index: INDEX, form };
        check("leaf", sift(&mut Bench::new(list), Source::Leaf(fetched)));
    }
    // The Rust server's chain has no DER: there is none at hand, and nothing is wrong.
    for chain in [json!([{"subject": {"CN": "One"}}]), json!([7, null]), json!("x"), json!({"as_der": "x"})] {
        let message = json!({"data": {"chain": chain, "leaf_cert": {"as_der": STANDARD.encode(&der)}}});
        let batch = sift(&mut Bench::new(list), Source::Message(message.to_string().as_bytes()));
        let facts = batch.findings[0].facts.as_ref().unwrap();
        assert!(facts.chain.is_empty() && !facts.anomalies.has(Anomaly::ChainInvalid), "{message}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_leaf_panic(
        at in any::<prop::sample::Index>(),
        byte: u8,
        length in any::<prop::sample::Index>(),
        precertificate: bool,
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let der = Certificate::of([dns("a.example"), ip("192.0.2.1")]).poisoned().der();
        let logged = match precertificate {
            true => Logged::precertificate(&der, std::slice::from_ref(&noise)),
            false => Logged::certificate(&der, std::slice::from_ref(&noise)),
        };
        let change = |mut bytes: Vec<u8>| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(length.index(bytes.len() + 1));
            bytes
        };
        let (input, extra, tile) =
            (change(logged.leaf_input()), change(logged.extra_data()), change(logged.tile_leaf(INDEX)));
        for form in [
            Form::Rfc6962 { input: &input, extra: &extra },
            Form::Rfc6962 { input: &noise, extra: &noise },
            Form::Tile { leaf: &tile, issuers: &[&noise] },
            Form::Tile { leaf: &noise, issuers: &[] },
        ] {
            facts(Fetched { log: URL, log_name: None, index: INDEX, form });
            Tile::new(form.bytes()).for_each(drop);
        }
    }
}
