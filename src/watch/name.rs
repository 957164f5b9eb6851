//! What an operator writes for a name: one entry of `domains`, `exact`, `except` or a bulk list,
//! brought to the form in which names are compared, or refused with what it is instead.
//!
//! An owned name has a registrable domain: a URL, a port, an address, a network, a single label or a
//! public suffix is a slip that would watch nothing or half the world.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::entry::name::to_a_labels;

/// Characters of an entry that a message repeats.
const SHOWN: usize = 100;

/// A name that somebody can own.
pub fn parse(written: &str) -> Result<Cow<'_, str>, NameError> {
    let name = parse_any(written)?;
    match psl::suffix_str(&name) {
        Some(suffix) if suffix.len() == name.len() => Err(NameError::PublicSuffix(shown(written))),
        _ => Ok(name),
    }
}

/// A name that can be taken out of an asset: a public suffix, too, whose names are strangers'.
pub fn parse_any(written: &str) -> Result<Cow<'_, str>, NameError> {
    let given = written.trim();
    let name = given.strip_prefix("*.").unwrap_or(given);
    let name = name.trim_end_matches('.');
    let name = match is_plain(name) {
        true => Cow::Borrowed(name),
        false => {
            reject(given, name)?;
            let folded = to_a_labels(name).ok_or_else(|| NameError::NoName(shown(written)))?;
            // UTS 46 makes a full stop of other scripts' stops.
            Cow::Owned(folded.trim_end_matches('.').to_owned())
        }
    };
    check_labels(written, &name)?;
    Ok(name)
}

/// Lower-case ASCII without an A-label: already in its one form.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        && memchr::memmem::find(name.as_bytes(), b"xn--").is_none()
}

/// Says what an entry with odd characters is instead of a name.
fn reject(given: &str, name: &str) -> Result<(), NameError> {
    let is = |error: fn(String) -> NameError| Err(error(shown(given)));
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() || name.parse::<std::net::SocketAddr>().is_ok() {
        return is(NameError::Address);
    }
    if name.parse::<ipnet::IpNet>().is_ok() {
        return is(NameError::Network);
    }
    if name.contains('/') {
        return is(NameError::Url);
    }
    if name.contains('@') {
        return is(NameError::Mail);
    }
    if name.contains(':') {
        return is(NameError::Port);
    }
    if name.contains('*') {
        return is(NameError::Wildcard);
    }
    if name.chars().any(char::is_whitespace) {
        return is(NameError::Space);
    }
    Ok(())
}

fn check_labels(written: &str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.starts_with('.') {
        return Err(NameError::LeadingDot(shown(written)));
    }
    if name.len() > 253 {
        return Err(NameError::TooLong(shown(written), name.len()));
    }
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let mut labels = 0;
    let mut last = "";
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 || !label.bytes().all(allowed) {
            return Err(NameError::NoName(shown(written)));
        }
        labels += 1;
        last = label;
    }
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(match name.parse::<IpAddr>() {
            Ok(_) => NameError::Address(shown(written)),
            Err(_) => NameError::NoName(shown(written)),
        });
    }
    if labels < 2 {
        return Err(NameError::SingleLabel(shown(written)));
    }
    Ok(())
}

fn shown(written: &str) -> String {
    written.trim().chars().take(SHOWN).collect()
}

/// Why an entry is no name that can be watched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    #[error("an entry of a list of names is empty")]
    Empty,
    #[error("`{0}` is a URL, not a name")]
    Url(String),
    #[error("`{0}` has a port")]
    Port(String),
    #[error("`{0}` is an address, not a name")]
    Address(String),
    #[error("`{0}` is a network, not a name")]
    Network(String),
    #[error("`{0}` is a mail address, not a name")]
    Mail(String),
    #[error("`{0}` has a wildcard that is not its whole first label")]
    Wildcard(String),
    #[error("`{0}` has white space inside")]
    Space(String),
    #[error("`{0}` begins with a dot")]
    LeadingDot(String),
    #[error("`{0}` is a single label")]
    SingleLabel(String),
    #[error("`{0}` is a public suffix, under which strangers own names")]
    PublicSuffix(String),
    #[error("`{0}` has {1} bytes; a name has at most 253")]
    TooLong(String, usize),
    #[error("`{0}` is no domain name")]
    NoName(String),
}

impl NameError {
    pub fn hint(&self) -> String {
        let hint = match self {
            NameError::Empty => "remove it",
            NameError::Url(_) | NameError::Port(_) | NameError::Mail(_) => {
                "write the host name alone, such as \"example.com\""
            }
            NameError::Address(_) | NameError::Network(_) => "addresses and networks stand in networks",
            NameError::Wildcard(_) => "domains covers every name below it, so the wildcard can go",
            NameError::Space(_) => "one name an entry",
            NameError::LeadingDot(_) => "write it without the dot; domains covers what lies under it",
            NameError::SingleLabel(_) => "write the whole name, such as \"example.com\"",
            NameError::PublicSuffix(_) => "write the names under it that are yours",
            NameError::TooLong(..) => "check for names that were joined",
            NameError::NoName(_) => {
                "labels have 1 to 63 letters, digits, hyphens or underscores, or are valid international ones"
            }
        };
        hint.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_a_name_is_brought_to_its_one_form() {
        for (written, expected) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com.", "example.com"),
            ("example.com...", "example.com"),
            ("  *.example.com ", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("example。com。", "example.com"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("a--b.example.com", "a--b.example.com"),
            ("host.internal", "host.internal"),
            ("www.example.co.uk", "www.example.co.uk"),
        ] {
            assert_eq!(parse(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_is_no_name_says_what_it_is() {
        let long = format!("{}com", "a.".repeat(130));
        for (written, expected) in [
            ("", "an entry of a list of names is empty"),
            (".", "an entry of a list of names is empty"),
            ("*.", "an entry of a list of names is empty"),
            ("https://example.com/", "`https://example.com/` is a URL, not a name"),
            ("example.com/path", "`example.com/path` is a URL, not a name"),
            ("example.com:443", "`example.com:443` has a port"),
            ("1.1.1.1", "`1.1.1.1` is an address, not a name"),
            ("1.1.1.1:443", "`1.1.1.1:443` is an address, not a name"),
            ("2606:4700::1", "`2606:4700::1` is an address, not a name"),
            ("[2606:4700::1]", "`[2606:4700::1]` is an address, not a name"),
            ("1.1.1.0/24", "`1.1.1.0/24` is a network, not a name"),
            ("ops@example.com", "`ops@example.com` is a mail address, not a name"),
            ("f*.example.com", "`f*.example.com` has a wildcard that is not its whole first label"),
            ("a.*.example.com", "`a.*.example.com` has a wildcard that is not its whole first label"),
            ("a b.example.com", "`a b.example.com` has white space inside"),
            (".example.com", "`.example.com` begins with a dot"),
            ("com", "`com` is a single label"),
            ("*.com", "`*.com` is a single label"),
            ("localhost", "`localhost` is a single label"),
            ("co.uk", "`co.uk` is a public suffix, under which strangers own names"),
            ("github.io", "`github.io` is a public suffix, under which strangers own names"),
            ("a..example.com", "`a..example.com` is no domain name"),
            ("1.2.3", "`1.2.3` is no domain name"),
            ("xn--a.example", "`xn--a.example` is no domain name"),
            ("a,b.example", "`a,b.example` is no domain name"),
        ] {
            assert_eq!(parse(written).unwrap_err().to_string(), expected);
        }
        assert!(matches!(parse(&long), Err(NameError::TooLong(_, 263))));
    }
}
