//! A stranger's words, made fit for a log line: secrets hidden, escaped, cut.
//!
//! A server's page, its Location, a close reason and the names in its certificate are hostile: they may
//! hold escape sequences for the operator's terminal, a megabyte, or the token that we just sent.

use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::{CertstreamFeed, Proxy, Secret};

/// A shorter part of a header's value cannot be told from other text.
const MIN_SECRET: usize = 6;

/// `text` with control and invisible characters escaped, cut after `most` characters of output.
pub fn printable(text: &[u8], most: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for c in String::from_utf8_lossy(text).chars() {
        // A page full of quotes stays readable.
        let quote = matches!(c, '"' | '\'');
        let width = if quote { 1 } else { c.escape_debug().count() };
        if length + width > most {
            out.push('…');
            break;
        }
        length += width;
        if quote {
            out.push(c);
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "{}", c.escape_debug());
        }
    }
    out
}

/// What is not said even where a stranger repeats it: the values of a feed's headers and of its URL's
/// query, and its proxy's login.
pub struct Secrets(Vec<String>);

impl Secrets {
    pub fn of(feed: &CertstreamFeed) -> Secrets {
        let query = feed.url.split_once('?').map_or("", |(_, query)| query);
        let parameters = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
        let values = feed.headers.iter().map(|(_, value)| value.expose());
        // `Bearer abc` is repeated without its first word.
        let words = values.clone().flat_map(str::split_whitespace);
        let login = feed.proxy.iter().flat_map(login).collect::<Vec<_>>();
        Secrets::new(values.chain(words).chain(parameters).map(str::to_owned).chain(login))
    }

    /// What alone is told to the proxy.
    pub fn of_proxy(proxy: &Proxy) -> Secrets {
        Secrets::new(login(proxy).into_iter())
    }

    fn new(secrets: impl Iterator<Item = String>) -> Secrets {
        let mut all: Vec<String> = secrets.filter(|secret| secret.len() >= MIN_SECRET).collect();
        // A value goes before the words in it.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Secrets(all)
    }

    /// A stranger's `text` without the secrets, then as [`printable`] has it.
    pub fn printable(&self, text: &[u8], most: usize) -> String {
        let text = String::from_utf8_lossy(text).into_owned();
        let text = self.0.iter().fold(text, |text, secret| text.replace(secret.as_str(), "(secret)"));
        printable(text.as_bytes(), most)
    }
}

/// A proxy's login as it is sent, as it is written, and its password.
fn login(proxy: &Proxy) -> Vec<String> {
    let Some(login) = proxy.login.as_ref().map(Secret::expose) else { return Vec::new() };
    let password = login.split_once(':').map_or("", |(_, password)| password);
    vec![STANDARD.encode(login), login.to_owned(), password.to_owned()]
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MAX_MESSAGE_BYTES, SILENCE_AFTER};

    #[test]
    fn strangers_text_is_escaped_and_cut() {
        for (text, most, want) in [
            (&b"plain 'text' \"here\""[..], 100, "plain 'text' \"here\""),
            (b"a\r\nb\x1b[31m\0", 100, "a\\r\\nb\\u{1b}[31m\\0"),
            ("right\u{202e}left".as_bytes(), 100, "right\\u{202e}left"),
            (b"\xff\xfe", 100, "\u{fffd}\u{fffd}"),
            (b"abcdef", 3, "abc…"),
            (b"ab\x1b", 4, "ab…"),
            (b"abc", 3, "abc"),
            (b"", 0, ""),
        ] {
            assert_eq!(printable(text, most), want);
        }
    }

    #[test]
    fn secrets_are_hidden_whole_and_in_part_and_before_the_cut() {
        let secrets = Secrets::of(&CertstreamFeed {
            name: "test".to_owned(),
            url: "ws://h/?token=q-value&a=b".to_owned(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            headers: vec![("A".to_owned(), Secret::new("Bearer tok3n-value"))],
            proxy: Some(Proxy {
                host: "p".to_owned(),
                port: 3128,
                login: Some(Secret::new("user:hunter2")),
                named_by: "proxy",
            }),
            max_message_bytes: MAX_MESSAGE_BYTES,
            silence_after: SILENCE_AFTER,
        });
        for (text, most, want) in [
            ("bad Bearer tok3n-value!", 100, "bad (secret)!"),
            ("tok3n-value", 100, "(secret)"),
            ("12345tok3n-value", 9, "12345(sec…"),
            ("/?token=q-value&a=b", 100, "/?token=(secret)&a=b"),
            (
                "Basic dXNlcjpodW50ZXIy for user:hunter2, hunter2",
                100,
                "Basic (secret) for (secret), (secret)",
            ),
            ("nothing", 100, "nothing"),
        ] {
            assert_eq!(secrets.printable(text.as_bytes(), most), want);
        }
    }
}
