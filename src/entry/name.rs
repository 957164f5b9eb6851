//! From the bytes that stand where a name belongs to the identities they denote.
//!
//! A name in a certificate is whatever its issuer let through: upper case, trailing dots, Unicode,
//! NULs, URLs, ports, several names in one. Each reading that some client could give it becomes an
//! identity of its own, in the one form in which the watch list is compared: lower-case A-labels,
//! without a trailing dot. A wildcard label keeps its `*`; a label that is none becomes `?`, which
//! stands for any one label. An address in the place of a name is an address, and so is the name under
//! `in-addr.arpa` or `ip6.arpa` that denotes it.
//!
//! A plain name costs one pass and no allocation. An odd one is split over its whole length first, so that
//! nothing hides behind a long neighbour; of a part longer than [`MAX_NAME_BYTES`] the start and the end are
//! read, and what lies between is a label that is none. The cost is linear in the bytes of the message.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use ipnet::IpNet;

use super::anomaly::{Anomalies, Anomaly};
use super::facts;
use super::identity::{Identities, Provenance, Span, Value};

/// A DNS name has 253 characters: what is longer than sixteen times as many is read at both ends only.
pub const MAX_NAME_BYTES: usize = 4096;

/// UTS 46, non-transitional, to lower-case A-labels. A watched domain and a certificate's name go
/// through this one function. `None` where a label is no IDNA label (bad Punycode, a forbidden
/// character): the caller decides what such a label stands for.
pub fn to_a_labels(name: &str) -> Option<Cow<'_, str>> {
    Uts46::new().to_ascii(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore).ok()
}

/// The same name in U-labels, for keywords that are written in another script.
pub fn to_u_labels(name: &str) -> Cow<'_, str> {
    Uts46::new().to_unicode(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow).0
}

/// An address as text: dotted decimal, RFC 4291, or the sixteen decimal octets joined by dots that the
/// Elixir server writes for IPv6. `::ffff:a.b.c.d` is `a.b.c.d`; true when it was written so.
pub fn address(text: &str) -> Option<(IpAddr, bool)> {
    // Most names end here, at the last letter of their top-level domain.
    let belongs = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    if text.len() > 64 || !text.bytes().rev().all(belongs) {
        return None;
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(canonical(address));
    }
    let mut octets = [0u8; 16];
    let mut count = 0;
    for part in text.split('.') {
        *octets.get_mut(count)? = part.parse().ok().filter(|_| !part.starts_with('+'))?;
        count += 1;
    }
    (count == 16).then(|| canonical(IpAddr::V6(Ipv6Addr::from(octets))))
}

/// An iPAddress of a SAN. Of another length than 4 or 16 octets it is read as a name is, where it is text,
/// and else as address and mask (RFC 5280, 4.2.1.10): as both it was seen in certificates. Returns what is
/// odd about it, also where it denotes nothing.
pub fn read_octets(octets: &[u8], out: &mut Identities) -> Anomalies {
    let place = Place { provenance: Provenance::SanIp, der: true };
    let mut odd = Anomalies::default();
    if let Some(address) = whole_address(octets) {
        let (address, mapped) = canonical(address);
        if mapped {
            odd.add(Anomaly::IpV4Mapped);
        }
        let raw = out.keep(&facts::octets_text(octets));
        out.push(Value::Address(address), place.provenance, raw, place.der, odd);
        return odd;
    }
    odd.add(Anomaly::IpLength);
    match std::str::from_utf8(octets) {
        Ok(text) if is_text(text) => read_with(octets, place, odd, out),
        _ => odd.merge(read_address_and_mask(octets, place, odd, out)),
    }
    odd
}

pub(super) fn whole_address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(|o| IpAddr::V4(Ipv4Addr::from(o))),
        16 => <[u8; 16]>::try_from(octets).ok().map(|o| IpAddr::V6(Ipv6Addr::from(o))),
        _ => None,
    }
}

/// Printable, but for the white space and the NULs that end up in names.
fn is_text(text: &str) -> bool {
    let is_blank = |c: char| c == '\0' || c.is_ascii_whitespace();
    text.chars().any(char::is_alphanumeric) && text.chars().all(|c| is_blank(c) || !c.is_control())
}

/// Networks of shorter prefixes would hold what half the world watches.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 32;

/// The address, and the network that a mask of leading ones makes of it.
fn read_address_and_mask(octets: &[u8], place: Place, odd: Anomalies, out: &mut Identities) -> Anomalies {
    let (address, mask) = octets.split_at(octets.len() / 2);
    let (Some(given), Some(mask)) = (whole_address(address), whole_address(mask)) else { return odd };
    let (address, mapped) = canonical(given);
    let mut odd = odd;
    if mapped {
        odd.add(Anomaly::IpV4Mapped);
    }
    let raw = out.keep(&facts::octets_text(octets));
    out.push(Value::Address(address), place.provenance, raw, place.der, odd);
    let Ok(mut length) = ipnet::ip_mask_to_prefix(mask) else { return odd };
    if mapped {
        // The network of an address that is mapped has its first 96 bits; a shorter one is no IPv4.
        let Some(rest) = length.checked_sub(96) else { return odd };
        length = rest;
    }
    let (shortest, single) = if address.is_ipv4() { (SHORTEST_V4, 32) } else { (SHORTEST_V6, 128) };
    if (shortest..single).contains(&length)
        && let Ok(network) = IpNet::new(address, length)
    {
        out.push(Value::Network(network.trunc()), place.provenance, raw, place.der, odd);
    }
    odd
}

fn canonical(address: IpAddr) -> (IpAddr, bool) {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => (IpAddr::V4(v4), true),
            None => (address, false),
        },
        IpAddr::V4(_) => (address, false),
    }
}

/// Whether the name stands where a common name does, which is no name by itself: with white space
/// inside only its whole names count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub provenance: Provenance,
    pub der: bool,
}

impl Place {
    fn is_common_name(self) -> bool {
        self.provenance == Provenance::CommonName
    }

    fn misplaced(self) -> Anomaly {
        match self.provenance {
            Provenance::CommonName => Anomaly::IpInCommonName,
            // As text it is in its place, and has no length that an address has.
            Provenance::SanIp => Anomaly::IpLength,
            _ => Anomaly::IpInDns,
        }
    }
}

/// Adds every identity that `raw` denotes.
pub fn read(raw: &[u8], place: Place, out: &mut Identities) {
    read_with(raw, place, Anomalies::default(), out);
}

/// As [`read`]; `odd` is known of all of it.
fn read_with(raw: &[u8], place: Place, odd: Anomalies, out: &mut Identities) {
    if let Some(case) = plain_case(raw) {
        // Plain names are ASCII, so this does not fail.
        if let Ok(text) = std::str::from_utf8(raw) {
            read_plain(text, case, place, odd, out);
        }
        return;
    }
    let text = match std::str::from_utf8(raw) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(raw.iter().map(|&b| char::from(b)).collect()),
    };
    read_odd(&text, place, odd, out);
}

/// How a plain name is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Mixed,
}

/// Of a name of letters, digits, hyphens, underscores, stars and dots, no empty label, no A-label: what
/// nearly every name is.
fn plain_case(raw: &[u8]) -> Option<Case> {
    let mut before = b'.';
    let (mut upper, mut hyphens) = (false, false);
    for &b in raw {
        match b {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'*' => {}
            b'-' => hyphens |= before == b'-',
            b'A'..=b'Z' => upper = true,
            b'.' if before != b'.' => {}
            _ => return None,
        }
        before = b;
    }
    let plain = before != b'.' && raw.len() <= 253 && !(hyphens && has_a_label(raw));
    plain.then_some(if upper { Case::Mixed } else { Case::Lower })
}

fn read_plain(text: &str, case: Case, place: Place, odd: Anomalies, out: &mut Identities) {
    let raw = out.keep(text);
    if push_address(text, raw, place, odd, out) {
        return;
    }
    let ascii = if case == Case::Lower { raw } else { out.keep_lower(text) };
    let denotes_more = push_reverse_zone(ascii, raw, place, odd, out);
    out.push(Value::Name { ascii, unicode: None }, place.provenance, raw, place.der, odd);
    if !denotes_more && odd.is_empty() {
        out.last_stands_alone();
    }
}

fn has_a_label(name: &[u8]) -> bool {
    name.split(|b| *b == b'.').any(|label| label.len() > 4 && label[..4].eq_ignore_ascii_case(b"xn--"))
}

/// A normalised name, which may have A-labels and `?`.
fn read_normalised(text: &str, raw: Span, place: Place, mut anomalies: Anomalies, out: &mut Identities) {
    if push_address(text, raw, place, anomalies, out) {
        return;
    }
    let ascii = out.keep_lower(text);
    let unicode = if has_a_label(text.as_bytes()) {
        let lower = out.text(ascii).to_owned();
        match to_u_labels(&lower) {
            Cow::Owned(unicode) if unicode != lower => Some(out.keep(&unicode)),
            _ => None,
        }
    } else {
        None
    };
    push_reverse_zone(ascii, raw, place, anomalies, out);
    if out.text(ascii).split('.').any(|label| label == "?") {
        anomalies.add(Anomaly::UnparsableLabel);
    }
    out.push(Value::Name { ascii, unicode }, place.provenance, raw, place.der, anomalies);
}

/// Adds the address that a name under a reverse zone denotes beside itself; whether there is one.
fn push_reverse_zone(ascii: Span, raw: Span, place: Place, mut odd: Anomalies, out: &mut Identities) -> bool {
    let Some(address) = reverse_zone(out.text(ascii)) else { return false };
    let (address, mapped) = canonical(address);
    odd.add(place.misplaced());
    if mapped {
        odd.add(Anomaly::IpV4Mapped);
    }
    out.push(Value::Address(address), place.provenance, raw, place.der, odd);
    true
}

fn push_address(text: &str, raw: Span, place: Place, mut odd: Anomalies, out: &mut Identities) -> bool {
    let Some((address, mapped)) = address(text) else { return false };
    odd.add(place.misplaced());
    if mapped {
        odd.add(Anomaly::IpV4Mapped);
    }
    out.push(Value::Address(address), place.provenance, raw, place.der, odd);
    true
}

/// The address that a normalised name under in-addr.arpa (RFC 1035, 3.5) or ip6.arpa (RFC 3596, 2.5)
/// denotes.
pub fn reverse_zone(name: &str) -> Option<IpAddr> {
    let name = name.strip_suffix(".arpa")?;
    if let Some(labels) = name.strip_suffix(".in-addr") {
        let mut octets = [0u8; 4];
        let mut count = 0;
        for label in labels.rsplit('.') {
            *octets.get_mut(count)? = label.parse().ok().filter(|_| !label.starts_with('+'))?;
            count += 1;
        }
        return (count == 4).then(|| IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let labels = name.strip_suffix(".ip6")?;
    let mut value = 0u128;
    let mut count = 0;
    for label in labels.rsplit('.') {
        let digit = label.chars().next().filter(|_| label.len() == 1)?.to_digit(16)?;
        value = value << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| IpAddr::V6(Ipv6Addr::from(value)))
}

/// What joins names. A slash does too, but in a URL.
const JOINTS: &[char] = &['\0', ' ', '\t', '\r', '\n', '\u{b}', '\u{c}', '\u{a0}', ',', ';', '|', '\\'];

/// What ends a label.
const DOTS: &[char] = &['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'];

fn read_odd(given: &str, place: Place, mut odd: Anomalies, out: &mut Identities) {
    let text = given.trim();
    if !text.is_ascii() {
        odd.add(Anomaly::NonAsciiName);
    }
    if text.contains('\0') {
        odd.add(Anomaly::NulInName);
    }
    let jointed = text.contains(JOINTS);
    let is_url = !jointed && is_url(text);
    let joined = jointed || (!is_url && text.contains('/'));
    // A common name is text, of which only whole names count.
    let is_prose = place.is_common_name() && text.contains(char::is_whitespace);
    let host = bare_host(text);
    // Many long forms would fill the room for one each.
    let raw = (text.len() <= MAX_NAME_BYTES).then(|| out.keep(given));
    let reading = Reading { place, raw, joined, is_prose };
    if joined || host != text {
        let mut odd = odd;
        odd.add(Anomaly::JoinedName);
        for piece in text.split(JOINTS) {
            if is_url_or_plain(piece) {
                reading.part(piece, odd, out);
            } else {
                piece.split('/').for_each(|part| reading.part(part, odd, out));
            }
        }
        // The host of a URL is the name.
        if host.is_empty() || is_prose || !joined {
            return;
        }
    }
    reading.as_one(text, odd, out);
}

/// How the parts of one name are read.
struct Reading {
    place: Place,
    /// The raw form of all of them, where it is short.
    raw: Option<Span>,
    joined: bool,
    is_prose: bool,
}

impl Reading {
    fn raw(&self, part: &str, out: &mut Identities) -> Span {
        self.raw.unwrap_or_else(|| out.keep(part))
    }

    /// One of joined names, or the host of a URL.
    fn part(&self, part: &str, odd: Anomalies, out: &mut Identities) {
        // Beside others a word alone is more likely text.
        if part.is_empty() || (self.joined && !part.contains(DOTS) && !part.contains(':')) {
            return;
        }
        let host = bare_host(part);
        if host.len() > MAX_NAME_BYTES {
            return self.ends(host, odd, out);
        }
        if self.joined && address(host).is_none() && !host.trim_matches(DOTS).contains(DOTS) {
            return;
        }
        let raw = self.raw(part, out);
        if push_address(host, raw, self.place, odd, out) {
            return;
        }
        let (name, whole) = normalise(host);
        if !name.is_empty() && (whole || !self.is_prose) {
            read_normalised(&name, raw, self.place, odd, out);
        }
    }

    /// All of it as one name.
    fn as_one(&self, text: &str, odd: Anomalies, out: &mut Identities) {
        if text.len() > MAX_NAME_BYTES {
            return self.ends(text, odd, out);
        }
        let raw = self.raw(text, out);
        if push_address(text, raw, self.place, odd, out) {
            return;
        }
        let (name, _) = normalise(text);
        if !name.is_empty() {
            read_normalised(&name, raw, self.place, odd, out);
        }
    }

    /// Start and end of what is too long for a name, each with a label that is none for the rest.
    fn ends(&self, text: &str, mut odd: Anomalies, out: &mut Identities) {
        odd.add(Anomaly::NameTooLong);
        let boundary = |from: usize| (from..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(from);
        let (start, _) = text.split_at(boundary(MAX_NAME_BYTES / 2));
        let (_, end) = text.split_at(boundary(text.len() - MAX_NAME_BYTES / 2));
        let (head, _) = normalise(start.rsplit_once(DOTS).map_or("", |(head, _)| head));
        let (tail, _) = normalise(end.split_once(DOTS).map_or("", |(_, tail)| tail));
        for (name, piece) in [(format!("{head}.?"), start), (format!("?.{tail}"), end)] {
            let raw = out.keep(piece);
            read_normalised(name.trim_matches('.'), raw, self.place, odd, out);
        }
    }
}

/// Begins with a scheme, RFC 3986, 3.1.
fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// What has no slash that joins.
fn is_url_or_plain(piece: &str) -> bool {
    !piece.contains('/') || is_url(piece)
}

/// Without a scheme and what follows the host, a `DNS:` in front, a local part, brackets, a port.
fn bare_host(text: &str) -> &str {
    let mut host = text;
    if is_url(text)
        && let Some((_, rest)) = text.split_once("://")
    {
        host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    }
    for prefix in ["DNS:", "DNS=", "dns:", "dNSName=", "IP:", "IP=", "Address:"] {
        if let Some(rest) = host.strip_prefix(prefix) {
            host = rest;
        }
    }
    if let Some((_, rest)) = host.rsplit_once('@')
        && !rest.is_empty()
    {
        host = rest;
    }
    if let Some(inside) = host.strip_prefix('[') {
        return inside.split_once(']').map_or(host, |(inside, _)| inside);
    }
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.contains(':') && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    }
}

/// Lower-case A-labels; `?` for a label that is none. True when there was none such.
fn normalise(text: &str) -> (String, bool) {
    let text = text.trim_matches(DOTS);
    let mut name = String::with_capacity(text.len());
    let mut whole = true;
    if text.is_empty() {
        return (name, false);
    }
    for label in text.split(DOTS) {
        if !name.is_empty() {
            name.push('.');
        }
        match normalise_label(label) {
            Some(label) => name.push_str(&label),
            None => {
                name.push('?');
                whole = false;
            }
        }
    }
    (name, whole)
}

fn normalise_label(label: &str) -> Option<Cow<'_, str>> {
    if label.is_empty() {
        return None;
    }
    if label.is_ascii() {
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b)) {
            return None;
        }
        let lower = label.to_ascii_lowercase();
        if lower.starts_with("xn--") {
            // A label of bad Punycode is still what a client compares byte by byte.
            let mapped = to_a_labels(&lower).map(Cow::into_owned);
            return Some(Cow::Owned(mapped.filter(|m| !m.is_empty()).unwrap_or(lower)));
        }
        return Some(Cow::Owned(lower));
    }
    to_a_labels(label).filter(|mapped| {
        !mapped.is_empty() && mapped.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identities(raw: &[u8], provenance: Provenance) -> Vec<String> {
        let mut out = Identities::default();
        read(raw, Place { provenance, der: true }, &mut out);
        out.iter()
            .map(|i| match i.value {
                Value::Name { ascii, unicode } => match unicode {
                    Some(unicode) => format!("{} = {}", out.text(ascii), out.text(unicode)),
                    None => out.text(ascii).to_owned(),
                },
                Value::Address(a) => format!("ip:{a}"),
                Value::Network(network) => format!("ip:{network}"),
            })
            .collect()
    }

    fn check(raw: &[u8], want: &[&str]) {
        assert_eq!(identities(raw, Provenance::SanDns), want, "{}", raw.escape_ascii());
    }

    #[test]
    fn a_name_in_every_spelling() {
        check(b"WWW.Example.COM", &["www.example.com"]);
        check(b"example.com.", &["example.com"]);
        check(b"..example.com..", &["example.com"]);
        check(b".example.com", &["example.com"]);
        check(b" example.com ", &["example.com"]);
        check(b"_dmarc.example.com", &["_dmarc.example.com"]);
        check(b"*.Example.com", &["*.example.com"]);
        check(b"f*.example.com", &["f*.example.com"]);
        check(b"localhost", &["localhost"]);
        check(b"", &[]);
        check(b"...", &[]);
        check(b"a..example.com", &["a.?.example.com"]);
        check(b"foo bar.example.com", &["bar.example.com", "?.example.com"]);
        check(b"\x01.com", &["?.com"]);
    }

    #[test]
    fn unicode_both_ways() {
        let want = "xn--mnchen-3ya.example = münchen.example";
        check("münchen.example".as_bytes(), &[want]);
        check("MÜNCHEN.example".as_bytes(), &[want]);
        check(b"m\xfcnchen.example", &[want]);
        check(b"XN--MNCHEN-3YA.example", &[want]);
        check("straße.example".as_bytes(), &["xn--strae-oqa.example = straße.example"]);
        check("münchen\u{3002}example".as_bytes(), &[want]);
        assert_eq!(identities(b"xn--\x2d\x2d.example", Provenance::SanDns).len(), 1, "bad Punycode is kept");
    }

    #[test]
    fn an_address_in_the_place_of_a_name() {
        check(b"1.1.1.1", &["ip:1.1.1.1"]);
        check(b"[2606:4700:4700::1111]", &["ip:2606:4700:4700::1111"]);
        check(b"2606:4700:4700::1111", &["ip:2606:4700:4700::1111"]);
        check(b"[2606:4700:4700::1111]:853", &["ip:2606:4700:4700::1111"]);
        check(b"::ffff:1.1.1.1", &["ip:1.1.1.1"]);
        check(b"1.1.1.1:443", &["ip:1.1.1.1"]);
        check(b"https://1.1.1.1/dns-query", &["ip:1.1.1.1"]);
        check(b"1.1.1.1/32", &["ip:1.1.1.1", "1.1.1.?"]);
        check(b"38.6.71.0.71.0.0.0.0.0.0.0.0.0.17.17", &["ip:2606:4700:4700::1111"]);
        check(b"4.3.2.1.in-addr.arpa", &["ip:1.2.3.4", "4.3.2.1.in-addr.arpa"]);
        check(b"01.01.01.01", &["01.01.01.01"]);
        check(b"1.1.1.1.example.com", &["1.1.1.1.example.com"]);
        let v6 = "1.1.1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.4.0.0.7.4.6.0.6.2.ip6.arpa";
        check(v6.as_bytes(), &["ip:2606:4700:4700::1111", v6]);
    }

    #[test]
    fn several_names_in_one() {
        check(b"a.example,b.example", &["a.example", "b.example", "a.?.example"]);
        check(b"x.com, IP Address:1.1.1.1", &["x.com", "ip:1.1.1.1", "x.?.1.1.1"]);
        check(b"https://shop.example.com/", &["shop.example.com"]);
        check(b"https://me@shop.example.com:8443?a.example#b/c", &["shop.example.com"]);
        check(b"jane@mail.example", &["mail.example"]);
        check(b"a@b.example@c.example", &["c.example"]);
        check(b"a@b.example,c@d.example", &["b.example", "d.example", "?.?.example"]);
        check(b"a.example@", &["a.?"]);
        check(b"://a.example", &["a.example", "?.example"]);
        check(b"shop.example.com:8443", &["shop.example.com"]);
        check(b"paypal.com\0.evil.com", &["paypal.com", "evil.com", "paypal.?.evil.com"]);
    }

    #[test]
    fn a_common_name_is_text_first() {
        for (raw, want) in [
            (&b"Some Org Ltd"[..], &[][..]),
            (b"Example shop.example.com", &["shop.example.com"]),
            (b"shop.example.com", &["shop.example.com"]),
            (b"ssltest5", &["ssltest5"]),
            (b"1.1.1.1", &["ip:1.1.1.1"]),
        ] {
            assert_eq!(identities(raw, Provenance::CommonName), want);
        }
    }

    /// A watched name or address is found wherever it stands in a long one, and at no more cost than its
    /// length.
    #[test]
    fn nothing_hides_in_a_long_name() {
        const MEGABYTE: usize = 1 << 20;
        let tail = [&b"a.".repeat(5_000)[..], b"hr"].concat();
        let shown = "a.".repeat(1024);
        let begun = std::time::Instant::now();
        for joint in [&b"\0"[..], b",", b" ", b"/", b"\\", b", DNS:", b"\0\0"] {
            for (watched, want) in [(&b"www.example.com"[..], "www.example.com"), (b"1.1.1.1", "ip:1.1.1.1")]
            {
                for place in [Provenance::SanDns, Provenance::CommonName] {
                    // A megabyte once: the others are read by the same loop.
                    let once = joint == b"\0" && watched[0] == b'w' && place == Provenance::SanDns;
                    let bytes = if once { MEGABYTE } else { 16 * 1024 };
                    let many = [joint, b"ab.hr"].concat().repeat(bytes / 8);
                    let half = [joint, b"b.hr"].concat().repeat(bytes / 16);
                    for hostile in [
                        [watched, joint, &tail].concat(),
                        [&tail[..], joint, watched].concat(),
                        [&tail[..], joint, watched, joint, &tail].concat(),
                        [watched, &many].concat(),
                        [&many[..], joint, watched].concat(),
                        [&half[..], joint, watched, &half].concat(),
                    ] {
                        let found = identities(&hostile, place);
                        assert!(
                            found.iter().any(|value| value == want),
                            "{joint:?} {want} {}",
                            hostile.len()
                        );
                    }
                }
            }
        }
        // One that is not joined: what lies between its ends is a label that is none.
        let long = [&b"a.".repeat(MEGABYTE / 2)[..], b"example.com"].concat();
        let ends = identities(&long, Provenance::SanDns);
        assert_eq!(ends.len(), 2);
        assert_eq!(ends[0], format!("{shown}?"));
        assert!(ends[1].starts_with("?.a.") && ends[1].ends_with(".a.example.com"), "{}", ends[1]);
        let label = [&b"a".repeat(MEGABYTE)[..], b".example.com"].concat();
        assert_eq!(identities(&label, Provenance::SanDns), ["?", "?.example.com"]);
        assert_eq!(identities(&b"\xff".repeat(MEGABYTE), Provenance::SanDns).len(), 2);
        assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
    }

    /// What stands in real names, and what hides them.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
        let separators = ["\0", " ", ",", "/", "://", ":443", "[", "]", "\n", "|", "\u{3002}", "\u{a0}"];
        let labels = [
            "Example",
            "*",
            "f*",
            "?",
            "_dmarc",
            "xn--mnchen-3ya",
            "xn--",
            "XN--a",
            "münchen",
            "straße",
            "\u{130}",
            "\u{2488}",
            "\u{2024}",
            "\u{fb03}",
            "-",
            "192.0.2.1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "1.2.0.192.in-addr.arpa",
            "ip6.arpa",
            "01",
            "com",
            "co.uk",
        ];
        prop_oneof![
            4 => fixed("."),
            2 => prop::sample::select(separators.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
            6 => prop::sample::select(labels.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..4),
            1 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
        ]
    }

    proptest! {
        /// A normalised value is read as itself and nothing else, but for the address of a reverse zone.
        #[test]
        fn normalising_twice_changes_nothing(pieces in prop::collection::vec(piece(), 0..10), cn: bool) {
            let provenance = if cn { Provenance::CommonName } else { Provenance::SanDns };
            for value in identities(&pieces.concat(), provenance) {
                let (ascii, unicode) = match value.split_once(" = ") {
                    Some((ascii, unicode)) => (ascii, Some(unicode)),
                    None => (value.as_str(), None),
                };
                let again = identities(ascii.trim_start_matches("ip:").as_bytes(), provenance);
                let (itself, more): (Vec<_>, Vec<_>) = again.into_iter().partition(|again| *again == value);
                prop_assert_eq!(itself.len(), 1, "{} → {:?}", value, more);
                prop_assert!(more.iter().all(|more| ascii.ends_with(".arpa") && more.starts_with("ip:")));
                // Where a label is bad Punycode there is no U-label to read.
                if let Some(unicode) = unicode.filter(|unicode| !unicode.contains('\u{fffd}')) {
                    prop_assert_eq!(identities(unicode.as_bytes(), provenance), [value.as_str()]);
                }
            }
        }
    }
}
