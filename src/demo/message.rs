//! Messages byte for byte as certstream-server-go 1.9 writes them: order of keys, escapes, numbers.
//!
//! A certificate's part of a message is written once, as a [`Leaf`] of five pieces; a message of any
//! stream is then a few copies around an index and two times, some hundred nanoseconds for lite. The
//! server's habits are kept, odd ones too: an absent common name is `""` while other absent attributes
//! are `null`, addresses stand only in `subjectAltName` and behind the names, a precertificate from a
//! tiled log has no DER, no link and the hashes of the empty string.
//!
//! Checked against messages captured from the real server (`tests`).

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use super::Stream;
use super::authority::{ChainLink, IDENTITIES, Issued, Kind, Name, Subject, Template};
use crate::entry::Timestamp;

/// One certificate, as every stream says it.
pub struct Leaf {
    /// `{"all_domains":[…]`, `,"as_der":"…"`, `,"extensions":{…}`, hashes, the rest; one after the other.
    text: Vec<u8>,
    /// Ends of the first four pieces.
    ends: [usize; 4],
    pub kind: Kind,
    /// Place in [`IDENTITIES`].
    pub issuer: usize,
}

/// What stands in front of the list of names.
const OPENING: &[u8] = b"{\"all_domains\":";

/// What stands in front of the certificate.
const AS_DER: &[u8] = b",\"as_der\":\"";

impl Leaf {
    pub fn new(template: &Template, issuer: usize, kind: Kind, issued: &Issued) -> Leaf {
        let identity = &IDENTITIES[issuer];
        let mut text = OPENING.to_vec();
        push_names(&mut text, template);
        let names_end = text.len();
        text.extend_from_slice(AS_DER);
        text.extend_from_slice(STANDARD.encode(&issued.der).as_bytes());
        text.push(b'"');
        let der_end = text.len();
        text.extend_from_slice(b",\"extensions\":{\"authorityInfoAccess\":");
        push_string(&mut text, &identity.information_access());
        text.extend_from_slice(b",\"authorityKeyIdentifier\":\"");
        push_key_id(&mut text, &identity.key_id());
        text.extend_from_slice(b"\",\"basicConstraints\":\"CA:FALSE\",\"keyUsage\":\"Digital Signature\"");
        if !template.names.is_empty() {
            text.extend_from_slice(b",\"subjectAltName\":");
            push_string(&mut text, &alternative_names(&template.names));
        }
        text.extend_from_slice(b",\"subjectKeyIdentifier\":\"");
        push_key_id(&mut text, &issued.subject_key_id);
        text.push(b'"');
        if kind == Kind::Precertificate {
            text.extend_from_slice(b",\"ctlPoisonByte\":true");
        }
        text.push(b'}');
        let extensions_end = text.len();
        push_hashes(&mut text, &issued.der);
        let hashes_end = text.len();
        push_rest(
            &mut text,
            &Rest {
                not_after: template.not_after,
                not_before: template.not_before,
                serial: &template.serial,
                algorithm: identity.algorithm(),
                subject: &template.subject,
                issuer: &ca_subject(identity.country, identity.organization, identity.common_name),
                is_ca: false,
            },
        );
        Leaf { text, ends: [names_end, der_end, extensions_end, hashes_end], kind, issuer }
    }

    /// The certificate, out of the text.
    pub fn der(&self) -> Vec<u8> {
        let [names, der, ..] = self.ends;
        let text = self.text[names..der].strip_prefix(AS_DER).unwrap_or_default();
        STANDARD.decode(text.strip_suffix(b"\"").unwrap_or_default()).unwrap_or_default()
    }
}

/// One log, as messages say it; written once.
pub struct LogText {
    /// Through the `=` of `start=`; empty for a tiled log.
    link: Vec<u8>,
    /// Through the colon of `timestamp`.
    source: Vec<u8>,
    tiled: bool,
}

impl LogText {
    pub fn new(name: &str, url: &str, tiled: bool) -> LogText {
        let mut source = b",\"source\":{\"name\":".to_vec();
        push_string(&mut source, name);
        source.extend_from_slice(b",\"url\":");
        push_string(&mut source, url);
        source.extend_from_slice(b",\"timestamp\":");
        let link = if tiled { String::new() } else { format!("{url}/ct/v1/get-entries?start=") };
        LogText { link: link.into_bytes(), source, tiled }
    }
}

/// The chain above an issuer, as it stands in `full`.
pub fn chain(links: &[ChainLink]) -> Vec<u8> {
    let mut text = b",\"chain\":[".to_vec();
    for (n, link) in links.iter().enumerate() {
        if n > 0 {
            text.push(b',');
        }
        text.extend_from_slice(OPENING);
        text.extend_from_slice(b"[],\"as_der\":\"");
        text.extend_from_slice(STANDARD.encode(&link.der).as_bytes());
        text.extend_from_slice(b"\",\"extensions\":{");
        if let Some(id) = &link.authority_key_id {
            text.extend_from_slice(b"\"authorityKeyIdentifier\":\"");
            push_key_id(&mut text, id);
            text.extend_from_slice(b"\",");
        }
        text.extend_from_slice(
            b"\"basicConstraints\":\"CA:TRUE\",\"keyUsage\":\"Certificate Signing, CRL Signing\"",
        );
        text.extend_from_slice(b",\"subjectKeyIdentifier\":\"");
        push_key_id(&mut text, &link.subject_key_id());
        text.extend_from_slice(b"\"}");
        push_hashes(&mut text, &link.der);
        push_rest(
            &mut text,
            &Rest {
                not_after: link.not_after,
                not_before: link.not_before,
                serial: &link.serial(),
                algorithm: link.algorithm,
                subject: &ca_subject(link.country, link.organization, link.common_name),
                issuer: &ca_subject(link.country, link.organization, link.signed_by),
                is_ca: true,
            },
        );
    }
    text.push(b']');
    text
}

/// When an entry was logged and when the server saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    pub logged: Timestamp,
    pub seen: Timestamp,
}

/// Appends one message. `chain` is what [`chain`] made for the leaf's issuer.
pub fn push_message(
    out: &mut Vec<u8>,
    stream: Stream,
    leaf: &Leaf,
    chain: &[u8],
    log: &LogText,
    index: u64,
    times: Times,
) {
    let [names, der, extensions, hashes] = leaf.ends;
    if stream == Stream::Domains {
        out.extend_from_slice(b"{\"data\":");
        out.extend_from_slice(&leaf.text[OPENING.len()..names]);
        out.extend_from_slice(b",\"message_type\":\"dns_entries\"}");
        return;
    }
    // What the server does not fill in for a precertificate that it reads from tiles.
    let bare = log.tiled && leaf.kind == Kind::Precertificate;
    out.extend_from_slice(b"{\"data\":{\"cert_index\":");
    push_number(out, index);
    out.extend_from_slice(b",\"cert_link\":\"");
    if !log.tiled {
        out.extend_from_slice(&log.link);
        push_number(out, index);
        out.extend_from_slice(b"&end=");
        push_number(out, index);
    }
    out.push(b'"');
    if stream == Stream::Full && !log.tiled {
        out.extend_from_slice(chain);
    }
    out.extend_from_slice(b",\"leaf_cert\":");
    out.extend_from_slice(&leaf.text[..names]);
    if stream == Stream::Full && !bare {
        out.extend_from_slice(&leaf.text[names..der]);
    }
    out.extend_from_slice(&leaf.text[der..extensions]);
    out.extend_from_slice(if bare { EMPTY_HASHES } else { &leaf.text[extensions..hashes] });
    out.extend_from_slice(&leaf.text[hashes..]);
    out.extend_from_slice(b",\"seen\":");
    push_seconds(out, times.seen);
    out.extend_from_slice(&log.source);
    push_seconds(out, times.logged);
    out.extend_from_slice(if log.tiled { b",\"type\":\"tiled\"}" } else { b",\"type\":\"rfc6962\"}" });
    out.extend_from_slice(match leaf.kind {
        Kind::Precertificate => b",\"update_type\":\"PrecertLogEntry\"".as_slice(),
        Kind::Certificate => b",\"update_type\":\"X509LogEntry\"",
    });
    out.extend_from_slice(b"},\"message_type\":\"certificate_update\"}\n");
}

/// SHA-1, again as `sha1`, and SHA-256 of nothing.
const EMPTY_HASHES: &[u8] = b",\"fingerprint\":\"DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09\",\
    \"sha1\":\"DA:39:A3:EE:5E:6B:4B:0D:32:55:BF:EF:95:60:18:90:AF:D8:07:09\",\
    \"sha256\":\"E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55\"";

/// DNS names as they stand, then the common name where it is not among them.
fn push_names(out: &mut Vec<u8>, template: &Template) {
    let dns = template.names.iter().filter_map(|name| match name {
        Name::Dns(name) => Some(name),
        Name::Ip(_) => None,
    });
    let common_name = &template.subject.common_name;
    let add = !common_name.is_empty() && !dns.clone().any(|name| name == common_name);
    out.push(b'[');
    for (n, name) in dns.chain(add.then_some(common_name)).enumerate() {
        if n > 0 {
            out.push(b',');
        }
        push_string(out, name);
    }
    out.push(b']');
}

/// DNS names first, addresses behind them; a mapped address is written as the IPv4 one it denotes.
fn alternative_names(names: &[Name]) -> String {
    let dns = names.iter().filter_map(|name| match name {
        Name::Dns(name) => Some(format!("DNS:{name}")),
        Name::Ip(_) => None,
    });
    let addresses = names.iter().filter_map(|name| match name {
        Name::Ip(address) => Some(format!("IP Address:{}", address.to_canonical())),
        Name::Dns(_) => None,
    });
    dns.chain(addresses).collect::<Vec<_>>().join(", ")
}

fn push_hashes(out: &mut Vec<u8>, der: &[u8]) {
    let sha1 = colons(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref());
    let sha256 = colons(digest(&SHA256, der).as_ref());
    append(out, format_args!(",\"fingerprint\":\"{sha1}\",\"sha1\":\"{sha1}\",\"sha256\":\"{sha256}\""));
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn push_key_id(out: &mut Vec<u8>, id: &[u8]) {
    let id = id.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    append(out, format_args!("keyid:{id}"));
}

/// What every certificate of a message ends with.
struct Rest<'a> {
    not_after: i64,
    not_before: i64,
    serial: &'a [u8],
    algorithm: &'a str,
    subject: &'a Subject,
    issuer: &'a Subject,
    is_ca: bool,
}

fn push_rest(out: &mut Vec<u8>, rest: &Rest<'_>) {
    append(
        out,
        format_args!(
            ",\"not_after\":{},\"not_before\":{},\"serial_number\":\"{}\",\"signature_algorithm\":\"{}\",\"subject\":",
            rest.not_after,
            rest.not_before,
            rest.serial.iter().map(|byte| format!("{byte:02X}")).collect::<String>(),
            rest.algorithm,
        ),
    );
    push_subject(out, rest.subject);
    out.extend_from_slice(b",\"issuer\":");
    push_subject(out, rest.issuer);
    append(out, format_args!(",\"is_ca\":{}}}", rest.is_ca));
}

fn ca_subject(country: &str, organization: &str, common_name: &str) -> Subject {
    Subject {
        country: country.into(),
        locality: String::new(),
        organization: organization.into(),
        common_name: common_name.into(),
    }
}

fn push_subject(out: &mut Vec<u8>, subject: &Subject) {
    let mut aggregated = String::new();
    let mut attribute = |out: &mut Vec<u8>, key: &str, value: &str, always: bool| {
        append(out, format_args!("\"{key}\":"));
        if value.is_empty() && !always {
            out.extend_from_slice(b"null");
        } else {
            push_string(out, value);
            aggregated.push_str(&format!("/{key}={value}"));
        }
        out.push(b',');
    };
    out.push(b'{');
    attribute(out, "C", &subject.country, false);
    attribute(out, "CN", &subject.common_name, true);
    attribute(out, "L", &subject.locality, false);
    attribute(out, "O", &subject.organization, false);
    attribute(out, "OU", "", false);
    attribute(out, "ST", "", false);
    out.extend_from_slice(b"\"aggregated\":");
    push_string(out, &aggregated);
    out.extend_from_slice(b",\"email_address\":null}");
}

/// As Go's `encoding/json` with `SetEscapeHTML(false)`.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => append(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// As Go writes a float: no zeros at its end.
fn push_seconds(out: &mut Vec<u8>, at: Timestamp) {
    let ms = at.0.max(0).unsigned_abs();
    push_number(out, ms / 1000);
    let fraction = [b'.', digit(ms / 100), digit(ms / 10), digit(ms)];
    if let Some(last) = fraction.iter().rposition(|byte| matches!(byte, b'1'..=b'9')) {
        out.extend_from_slice(&fraction[..=last]);
    }
}

fn digit(n: u64) -> u8 {
    b'0' + (n % 10) as u8
}

fn push_number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = digit(n);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writing to a vector cannot fail.
fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_writes_them() {
        for (ms, want) in [
            (1_795_455_603_604, "1795455603.604"),
            (1_795_455_603_630, "1795455603.63"),
            (1_795_455_603_600, "1795455603.6"),
            (1_795_455_603_000, "1795455603"),
            (1_795_455_600_000, "1795455600"),
            (1_795_455_603_009, "1795455603.009"),
            (0, "0"),
        ] {
            let mut out = Vec::new();
            push_seconds(&mut out, Timestamp(ms));
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    #[test]
    fn strings_as_go_writes_them() {
        for (text, want) in [
            ("plain.test", r#""plain.test""#),
            ("& Sons \"Q\" <b>\\", r#""& Sons \"Q\" <b>\\""#),
            ("a\n\t\r\u{1}\u{8}\u{c}\u{7f}", "\"a\\n\\t\\r\\u0001\\b\\f\u{7f}\""),
            ("Numérique \u{2028}桜", "\"Numérique \\u2028桜\""),
        ] {
            let mut out = Vec::new();
            push_string(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }
}
