//! The issuance key: one name for a precertificate and its certificate, from every log and dialect.
//!
//! `<aki>:<serial>`. The key correlates; it is a claim and no proof, because a CA can reuse serials and
//! write another's key id.

use ring::digest::{SHA256, digest};

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    text
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// The serial of a DER INTEGER's content: its magnitude, lower-case hex, leading zero bytes removed,
/// even length. A serial of zero, or none at all, is `00`.
pub fn serial_of_der(content: &[u8]) -> String {
    let negative = content.first().is_some_and(|b| b & 0x80 != 0);
    if negative {
        // Two's complement: RFC 5280 forbids it, some certificates have it.
        let mut magnitude: Vec<u8> = content.iter().map(|b| !b).collect();
        for byte in magnitude.iter_mut().rev() {
            let (sum, carry) = byte.overflowing_add(1);
            *byte = sum;
            if !carry {
                break;
            }
        }
        return serial_of_magnitude(&magnitude);
    }
    serial_of_magnitude(content)
}

fn serial_of_magnitude(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    match &bytes[start..] {
        [] => "00".to_owned(),
        rest => hex(rest),
    }
}

/// The serial of a message's text: Go writes an even number of digits, Elixir drops leading zeros,
/// Python writes lower case. `None` for what is no hexadecimal number.
pub fn serial_of_text(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let negative = text.strip_prefix('-').unwrap_or(text);
    let digits: String = negative.chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let trimmed = digits.trim_start_matches('0').to_ascii_lowercase();
    Some(match trimmed.len() {
        0 => "00".to_owned(),
        n if n % 2 == 1 => format!("0{trimmed}"),
        _ => trimmed,
    })
}

/// The keyIdentifier in the text of an authority key identifier, lower-case hex without separators:
/// `keyid:66:69:…`, with more lines behind it, or the bare octets. `None` when there is none.
pub fn key_id_of_text(text: &str) -> Option<String> {
    for part in text.split(['\n', ',']) {
        let part = part.trim();
        let id = match part.get(..6) {
            Some(prefix) if prefix.eq_ignore_ascii_case("keyid:") => &part[6..],
            _ => part,
        };
        let digits: String = id.chars().filter(|c| *c != ':' && *c != ' ').collect();
        if !digits.is_empty()
            && digits.len().is_multiple_of(2)
            && digits.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Some(digits.to_ascii_lowercase());
        }
    }
    None
}

/// `<aki>:<serial>`, with `-` for what is missing.
pub fn key(authority_key_id: Option<&str>, serial: Option<&str>) -> String {
    format!("{}:{}", authority_key_id.unwrap_or("-"), serial.unwrap_or("-"))
}

/// The key of a domains-only message: `names:<SHA-256 of the sorted names>`, joined by line feeds.
pub fn key_of_names(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    format!("names:{}", sha256_hex(names.join("\n").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_and_every_text_agree() {
        let der = |content: &[u8]| Some(serial_of_der(content));
        for (content, texts, want) in [
            (&[0x00, 0xd3, 0x16][..], &["D316", "d316", "00D316", "D3:16"][..], "d316"),
            (&[0x04, 0x98, 0xbd], &["0498BD", "498BD", "498bd"], "0498bd"),
            (&[0x00], &["00", "0"], "00"),
            (&[0xff], &["-1", "01"], "01"),
            (&[0x80], &["80"], "80"),
            (&[], &["0"], "00"),
        ] {
            assert_eq!(der(content).as_deref(), Some(want), "{content:02x?}");
            for text in texts {
                assert_eq!(serial_of_text(text).as_deref(), Some(want), "{text}");
            }
        }
        for bad in ["", "xyz", ":", "-"] {
            assert_eq!(serial_of_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_id_in_every_dialect() {
        for (text, want) in [
            ("keyid:66:69:49:d4", Some("666949d4")),
            ("keyid:A8:4A\n", Some("a84a")),
            ("A8:4A:6A", Some("a84a6a")),
            ("keyid:a8:4a\nDirName:/CN=x\nserial:01", Some("a84a")),
            ("keyid:", None),
            ("", None),
            ("DirName:/CN=x", None),
        ] {
            assert_eq!(key_id_of_text(text).as_deref(), want, "{text:?}");
        }
        assert_eq!(key(None, Some("d316")), "-:d316");
    }

    #[test]
    fn names_in_any_order_are_one_key() {
        let key = |names: &[&str]| key_of_names(names.iter().map(|n| (*n).to_owned()));
        assert_eq!(key(&["b.example", "a.example"]), key(&["a.example", "b.example", "a.example"]));
        assert_ne!(key(&["a.example"]), key(&["b.example"]));
    }
}
