//! What stands in the raw bytes of a certificate that could not be decoded.
//!
//! Where the structure breaks, names and addresses still lie behind their tags: an iPAddress behind `87 04`
//! or `87 10`, a dNSName behind `82` and its length, a common name behind its object identifier and a
//! string tag. This finds what could be one; a watch list says whether it matters. URLs do not count:
//! every certificate has its issuer's.
//!
//! Bytes that look like a name by chance are few, as a name must be whole, printable (but for a NUL, which
//! some hide behind) and have a dot. A length that goes beyond the end is taken to the end, as what was cut
//! there is. One pass over at most
//! [`MAX_SEARCHED_BYTES`], in which at most [`MAX_READ_BYTES`] are read as names: bytes made so that names
//! overlap cost no more than that.

use std::net::IpAddr;

use super::anomaly::Anomalies;
use super::certificate::COMMON_NAME;
use super::identity::{Identities, Provenance, Value};
use super::{facts, name};

/// Bytes of a certificate that are searched: the 10,000 names of the largest real ones are 700 KB.
pub const MAX_SEARCHED_BYTES: usize = 8 * 1024 * 1024;

/// Bytes that are read as names, those that overlap counted each time.
pub const MAX_READ_BYTES: usize = 2 * 1024 * 1024;

const GENERAL_NAME_DNS: u8 = 0x82;
const GENERAL_NAME_IP: u8 = 0x87;
/// UTF8String, PrintableString, TeletexString, IA5String, UniversalString, BMPString.
const STRINGS: [u8; 6] = [0x0c, 0x13, 0x14, 0x16, 0x1c, 0x1e];

/// Hands over every name and address that could stand in `der`, each with its provenance `raw`, in an
/// [`Identities`] that is used again for the next.
pub fn search(der: &[u8], room: &mut Identities, mut found: impl FnMut(&Identities)) {
    let der = der.get(..MAX_SEARCHED_BYTES).unwrap_or(der);
    let mut left = MAX_READ_BYTES;
    for at in memchr::memchr3_iter(GENERAL_NAME_DNS, GENERAL_NAME_IP, COMMON_NAME[0], der) {
        room.clear();
        let rest = &der[at..];
        match rest {
            [GENERAL_NAME_IP, 4, octets @ ..] if octets.len() >= 4 => address(&octets[..4], room),
            [GENERAL_NAME_IP, 16, octets @ ..] if octets.len() >= 16 => address(&octets[..16], room),
            [GENERAL_NAME_DNS, value @ ..] => name_of(0x16, value, &mut left, room),
            _ => {
                if let Some([tag, value @ ..]) = rest.strip_prefix(COMMON_NAME)
                    && STRINGS.contains(tag)
                {
                    name_of(*tag, value, &mut left, room);
                }
            }
        }
        if !room.is_empty() {
            found(room);
        }
    }
}

fn address(octets: &[u8], room: &mut Identities) {
    if let Some(address) = name::whole_address(octets).as_ref().map(IpAddr::to_canonical) {
        let raw = room.keep(&address.to_string());
        room.push(Value::Address(address), Provenance::Raw, raw, true, Anomalies::default());
    }
}

/// The name behind a tag: its length in the short form or in one or two octets, then its bytes. `left`
/// are the bytes that may still be read.
fn name_of(tag: u8, value: &[u8], left: &mut usize, room: &mut Identities) {
    let (length, bytes) = match value {
        [length @ 0..=0x7f, bytes @ ..] => (usize::from(*length), bytes),
        [0x81, length, bytes @ ..] => (usize::from(*length), bytes),
        [0x82, high, low, bytes @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), bytes),
        _ => return,
    };
    let bytes = bytes.get(..length).unwrap_or(bytes);
    let width = match tag {
        0x1c => 4,
        0x1e => 2,
        _ => 1,
    };
    // Cut off by the end, the last character of a wide string may be half there.
    let bytes = &bytes[..bytes.len() - bytes.len() % width];
    let printable = match width {
        1 => bytes.iter().position(|b| (1..0x20).contains(b)),
        _ => bytes
            .chunks_exact(width)
            .position(|c| c[..width - 1].iter().all(|b| *b == 0) && c[width - 1] < 0x20),
    };
    // Bytes made so that names overlap are looked at no oftener than they are read.
    let cost = printable.unwrap_or(bytes.len() / width) * width;
    let affordable = cost <= *left;
    *left = left.saturating_sub(cost);
    if printable.is_some() || !affordable {
        return;
    }
    let text = facts::directory_string(tag, bytes);
    if text.contains('.') {
        name::read(text.as_bytes(), name::Place { provenance: Provenance::Raw, der: true }, room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(der: &[u8], want: &[&str]) {
        let mut found = Vec::new();
        search(der, &mut Identities::default(), |identities| {
            found.extend(
                identities.iter().map(|i| format!("{} {}", i.provenance.label(), identities.value(i))),
            );
        });
        assert_eq!(found, want, "{der:02x?}");
    }

    #[test]
    fn names_that_overlap_are_read_up_to_the_bound() {
        let mut read = 0;
        let der = [0x82, 0x7f, b'.', b'x'].repeat(MAX_SEARCHED_BYTES / 4);
        search(&der, &mut Identities::default(), |_| read += 1);
        assert!((1..=MAX_READ_BYTES / 0x7f).contains(&read), "{read}");
    }

    #[test]
    fn what_stands_behind_its_tag_is_found_and_nothing_else() {
        let long = format!("{}.example", "a.".repeat(70).trim_end_matches('.'));
        let behind = |tag: &[u8], text: &[u8]| [tag, &[text.len() as u8], text].concat();
        check(b"\x87\x04\x01\x01\x01\x01", &["raw 1.1.1.1"]);
        check(b"\x30\x99\x87\x04\x01\x01\x01\x01\x82\x09a.example", &["raw 1.1.1.1", "raw a.example"]);
        check(
            &[&b"\x87\x10"[..], &[0x26, 6, 0x47, 0, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x11]].concat(),
            &["raw 2606:4700:4700::1111"],
        );
        check(&[&b"\x87\x10"[..], &[0; 10], &[0xff, 0xff, 1, 1, 1, 1]].concat(), &["raw 1.1.1.1"]);
        check(&behind(b"\x82\x81", long.as_bytes()), &[&format!("raw {long}")]);
        check(&[&b"\x82\x82\x00"[..], &behind(b"", b"B.example")].concat(), &["raw b.example"]);
        check(&behind(b"\x06\x03\x55\x04\x03\x0c", b"cn.example"), &["raw cn.example"]);
        // Cut off by the end.
        check(b"\x82\x20www.example", &["raw www.example"]);
        check(
            b"\x82\x18www.example.com\0.evil.hr",
            &["raw www.example.com", "raw evil.hr", "raw www.example.?.evil.hr"],
        );
        let wide = |width: usize| -> Vec<u8> {
            "cn.example".bytes().flat_map(|b| [vec![0; width - 1], vec![b]].concat()).collect()
        };
        check(&behind(b"\x06\x03\x55\x04\x03\x1e", &wide(2)), &["raw cn.example"]);
        check(&behind(b"\x06\x03\x55\x04\x03\x1c", &wide(4)), &["raw cn.example"]);
        for none in [
            &b""[..],
            b"\x82",
            b"\x87\x04\x01\x01\x01",
            b"\x87\x05\x01\x01\x01\x01\x01",
            b"\x86\x10http://a.example",
            b"\x82\x05plain",
            b"\x82\x09a\x00example",
            b"\x82\x09a\x01.xample",
            b"\x55\x04\x03\x1e\x0a\0s\0\x01\0.\0e\0x",
            b"\x55\x04\x0a\x0c\x09o.example",
            b"\x55\x04\x03\x30\x09s.example",
        ] {
            check(none, &[]);
        }
    }
}
