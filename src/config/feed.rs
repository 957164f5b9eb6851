//! `[[feed]]`: where messages come from.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use crate::document::{self, Keys};
use crate::problem::Report;

use super::environment::Environment;
use super::proxy::{self, Surroundings, Target};
use super::{
    CertstreamFeed, FeedConfig, FileFeed, MAX_FEEDS, MAX_MESSAGE_BYTES, Proxy, SILENCE_AFTER, Secret, beside,
    cannot_read, check_file, check_host_port, read_secret, shown,
};

const FEED: &str = "[[feed]]";

/// Every key of a feed, for those that stand elsewhere.
pub const KEYS: &[&str] = &[
    "kind",
    "name",
    "url",
    "path",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "header",
    "proxy",
    "max_message_bytes",
    "silence_after",
];

/// The label of the log's own entries in metrics.
const RESERVED: &str = crate::record::REFILL;

/// A label's length in every metric.
const MAX_NAME: usize = 64;

/// A message is in memory whole, once for each feed.
const MESSAGE_BYTES: std::ops::RangeInclusive<u64> = 1_024..=1024 * 1024 * 1024;

/// A quiet week is the longest that anybody waits to hear that a feed is dead.
const LONGEST_SILENCE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Headers whose value is a secret; those stand in no configuration.
const SECRET_HEADERS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// Headers that the handshake sets itself.
const HANDSHAKE: [&str; 4] = ["connection", "upgrade", "content-length", "transfer-encoding"];

/// Every feed that could be read.
pub fn all(
    file: &Path,
    keys: &mut Keys<'_, '_>,
    report: &mut Report<'_>,
    environment: &Environment,
) -> Vec<FeedConfig> {
    let mut feeds: Vec<FeedConfig> = Vec::new();
    let tables = keys.tables(report, "feed", FEED);
    let written = keys.value("feed").map(|feeds| feeds.get_ref());
    if written.is_none_or(|feeds| feeds.as_array().is_some_and(|feeds| feeds.is_empty())) {
        let hint = "write [[feed]] with kind = \"certstream\" and its url below it";
        report.missing(keys.place_of("feed"), "no feed", hint);
    }
    let mut surroundings = Surroundings::new(environment);
    for (index, table) in tables.into_iter().enumerate() {
        let place = table.place();
        if index == MAX_FEEDS {
            report.add(place, format!("more than {MAX_FEEDS} feeds"), "run a second instance for the others");
            break;
        }
        let name_place = table.place_of("name");
        let Some(feed) = one(file, table, report, &mut surroundings, index + 1) else { continue };
        if feeds.iter().any(|other| other.name() == feed.name()) {
            let message = format!("two feeds are called `{}`", shown(feed.name()));
            report.add(name_place, message, "metrics and records tell feeds apart by name");
        }
        feeds.push(feed);
    }
    feeds
}

fn one(
    file: &Path,
    mut keys: Keys<'_, '_>,
    report: &mut Report<'_>,
    surroundings: &mut Surroundings<'_>,
    number: usize,
) -> Option<FeedConfig> {
    let Some(kind) = keys.text(report, "kind") else {
        if !keys.has("kind") {
            report.missing(keys.place(), "a feed without kind", "write kind = \"certstream\" or \"file\"");
        }
        return None;
    };
    match *kind.get_ref() {
        "certstream" => Some(FeedConfig::Certstream(certstream(file, keys, report, surroundings, number))),
        "file" => Some(FeedConfig::File(recording(file, keys, report, number))),
        "ct" | "kafka" => {
            let message = format!("this version does not implement feeds of kind `{}`", kind.get_ref());
            report.add(kind.span(), message, "it has certstream and file");
            None
        }
        other => {
            let hint = match document::nearest(other, ["certstream", "file"].iter()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => "it is certstream or file".to_owned(),
            };
            report.add(kind.span(), format!("kind `{}` is unknown", shown(other)), hint);
            None
        }
    }
}

fn certstream(
    file: &Path,
    mut keys: Keys<'_, '_>,
    report: &mut Report<'_>,
    surroundings: &mut Surroundings<'_>,
    number: usize,
) -> CertstreamFeed {
    let name = name(&mut keys, report, "certstream", number);
    let url = url(&mut keys, report);
    let mut pem = |keys: &mut Keys<'_, '_>, key: &'static str| -> Option<PathBuf> {
        let named = keys.text(report, key)?;
        let path = beside(file, named.get_ref());
        check_file(report, named.span(), key, &path);
        if url.starts_with("ws://") {
            report.add(
                keys.place_of(key),
                format!("{key} beside a url without TLS"),
                "write wss:// in url, or remove it",
            );
        }
        Some(path)
    };
    let ca_file = pem(&mut keys, "ca_file");
    let client_cert_file = pem(&mut keys, "client_cert_file");
    let client_key_file = pem(&mut keys, "client_key_file");
    for (key, other) in [("client_cert_file", "client_key_file"), ("client_key_file", "client_cert_file")] {
        if keys.has(key) && !keys.has(other) {
            report.missing(
                keys.place_of(key),
                format!("{key} without {other}"),
                format!("add {other}: a client shows both"),
            );
        }
    }
    let headers = keys
        .table(report, "header", "header")
        .map(|table| headers(file, table, report, surroundings.environment));
    let target = Target::of(&url);
    let proxy = match proxy(file, &mut keys, report, surroundings.environment) {
        Some(own) => own,
        None => target.and_then(|to| surroundings.proxy(&to, report)),
    };
    let max_message_bytes = max_message_bytes(&mut keys, report);
    let silence_after = silence_after(&mut keys, report).unwrap_or(SILENCE_AFTER);
    keys.finish(report, &[], &[("a feed of kind file", &["path"])]);
    CertstreamFeed {
        name,
        url,
        ca_file,
        client_cert_file,
        client_key_file,
        headers: headers.unwrap_or_default(),
        proxy,
        max_message_bytes,
        silence_after,
    }
}

fn recording(file: &Path, mut keys: Keys<'_, '_>, report: &mut Report<'_>, number: usize) -> FileFeed {
    let name = name(&mut keys, report, "file", number);
    let path = match keys.text(report, "path") {
        Some(path) if *path.get_ref() == "-" => PathBuf::from("-"),
        Some(named) => {
            let path = beside(file, named.get_ref());
            check_file(report, named.span(), "path", &path);
            path
        }
        None => {
            if !keys.has("path") {
                let hint = "write path = \"capture.jsonl\", or \"-\" for standard input";
                report.missing(keys.place(), "a feed of kind file without path", hint);
            }
            PathBuf::new()
        }
    };
    let max_message_bytes = max_message_bytes(&mut keys, report);
    let of_certstream =
        &["url", "ca_file", "client_cert_file", "client_key_file", "header", "silence_after", "proxy"];
    keys.finish(report, &[], &[("a feed of kind certstream", of_certstream)]);
    FileFeed { name, path, max_message_bytes }
}

fn name(keys: &mut Keys<'_, '_>, report: &mut Report<'_>, kind: &str, number: usize) -> String {
    let Some(name) = keys.text(report, "name") else { return format!("{kind}-{number}") };
    let (text, place) = (*name.get_ref(), name.span());
    if text == RESERVED {
        report.add(
            place,
            format!("the feed name `{RESERVED}` is reserved"),
            "metrics use it for entries fetched from logs",
        );
    } else if text.trim().is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        let hint = format!("write 1 to {MAX_NAME} bytes of printable text");
        report.add(place, "a feed's name is empty, too long or not printable", hint);
    }
    text.to_owned()
}

/// The URL may hold a token: no message repeats it.
fn url(keys: &mut Keys<'_, '_>, report: &mut Report<'_>) -> String {
    let Some(url) = keys.text(report, "url") else {
        if !keys.has("url") {
            let hint = "write url = \"wss://feed.example.net/full-stream\"";
            report.missing(keys.place(), "a feed of kind certstream without url", hint);
        }
        return String::new();
    };
    let (text, place) = (*url.get_ref(), url.span());
    let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://"));
    match rest {
        None if text.starts_with("http") => {
            report.add(
                place,
                "url is of HTTP, not of a WebSocket",
                "write ws:// for http://, wss:// for https://",
            );
        }
        None => report.add(
            place,
            "url does not begin with ws:// or wss://",
            "write the whole address of the stream",
        ),
        Some(rest) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let with_port = match authority.rsplit_once(':') {
                Some((_, port)) if !port.contains(']') => authority.to_owned(),
                _ => format!("{authority}:0"),
            };
            if authority.contains('@') {
                report.add(
                    place,
                    "url holds a user or password",
                    "use header = { Authorization = { file = \"token\" } }",
                );
            } else if text.contains('#') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
                report.add(
                    place,
                    "url has a fragment, white space or a control character in it",
                    "remove it",
                );
            } else if let Err(reason) = check_host_port(&with_port) {
                report.add(
                    place,
                    format!("the host of url {reason}"),
                    "write wss://host/path or wss://host:port/path",
                );
            }
        }
    }
    text.to_owned()
}

fn headers(
    file: &Path,
    table: Keys<'_, '_>,
    report: &mut Report<'_>,
    environment: &Environment,
) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (key, value) in table.entries() {
        let (name, place) = (*key.get_ref(), key.span());
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(token) {
            let hint = "header names have letters, digits and hyphens";
            report.add(place, format!("`{}` is no name of a header", shown(name)), hint);
            continue;
        }
        let lower = name.to_ascii_lowercase();
        if HANDSHAKE.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
            report.add(place, format!("header {name} is the handshake's own"), "remove it");
            continue;
        }
        let secret = match value.get_ref() {
            DeValue::String(_)
                if SECRET_HEADERS.contains(&lower.as_str()) && !report.is_variable(&value.span()) =>
            {
                let hint = format!("write {name} = {{ file = \"token\" }} or {{ env = \"VARIABLE\" }}");
                report.add(
                    place.clone(),
                    format!("the value of header {name} is a secret: it has no place here"),
                    hint,
                );
                continue;
            }
            DeValue::String(text) => Some(Secret::new(text.as_ref())),
            DeValue::Table(source) => {
                let source = Keys::new(source, value.span(), "a header's value");
                from_source(file, source, report, environment, &format!("header {name}"), place.clone())
            }
            other => {
                let wanted = "text, { file = \"…\" } or { env = \"…\" }";
                document::wrong_type(report, place.clone(), &format!("header {name}"), wanted, other);
                None
            }
        };
        let Some(secret) = secret else { continue };
        if secret.expose().bytes().any(|byte| byte != b'\t' && !(0x20..0x7f).contains(&byte)) {
            let message = format!("the value of header {name} has characters that no header may have");
            report.add(place, message, "it is one line of ASCII");
            continue;
        }
        headers.push((name.to_owned(), secret));
    }
    headers
}

/// What the feed itself says of a proxy: `Some(None)` is none at all, whatever the environment names.
fn proxy(
    file: &Path,
    keys: &mut Keys<'_, '_>,
    report: &mut Report<'_>,
    environment: &Environment,
) -> Option<Option<Proxy>> {
    let value = keys.value("proxy")?;
    let place = value.span();
    let (text, written) = match value.get_ref() {
        DeValue::String(text) => (Secret::new(text.as_ref()), !report.is_variable(&place)),
        DeValue::Table(source) => {
            let source = Keys::new(source, place.clone(), "proxy");
            match from_source(file, source, report, environment, "proxy", place.clone()) {
                Some(text) => (text, false),
                None => return Some(None),
            }
        }
        other => {
            document::wrong_type(report, place, "proxy", "text, { file = \"…\" } or { env = \"…\" }", other);
            return Some(None);
        }
    };
    let parsed = match text.expose() {
        "" | "none" => return Some(None),
        url => proxy::parse(url, "proxy"),
    };
    match parsed {
        Ok(Proxy { login: Some(_), .. }) if written => {
            let hint = "write proxy = { file = \"proxy-url\" } or { env = \"VARIABLE\" }";
            report.add(place, "a proxy's user and password are a secret: they have no place here", hint);
            Some(None)
        }
        Ok(proxy) => Some(Some(proxy)),
        Err(error) => {
            report.add(place, error.to_string(), error.hint());
            Some(None)
        }
    }
}

/// `{ file = "…" }` or `{ env = "…" }`.
fn from_source(
    file: &Path,
    mut source: Keys<'_, '_>,
    report: &mut Report<'_>,
    environment: &Environment,
    key: &str,
    place: Range<usize>,
) -> Option<Secret> {
    let from_file = source.text(report, "file");
    let from_variable = source.text(report, "env");
    // What else stands there is named as unknown.
    let one = source.entries().count() == 1;
    source.finish(report, &[], &[]);
    if !one {
        report.add(place, format!("{key} has not one source"), "write either file or env");
        return None;
    }
    if let Some(named) = from_file {
        let path = beside(file, named.get_ref());
        return match read_secret(&path) {
            Ok(secret) => Some(secret),
            Err(reason) => {
                cannot_read(report, place, key, &path, &reason);
                None
            }
        };
    }
    let variable = from_variable?;
    match environment.get(variable.get_ref()) {
        Some(value) if !value.is_empty() => Some(Secret::new(value)),
        _ => {
            let message = format!("{key}: there is no environment variable `{}`", shown(variable.get_ref()));
            report.add(place, message, "set it, or name another");
            None
        }
    }
}

fn max_message_bytes(keys: &mut Keys<'_, '_>, report: &mut Report<'_>) -> usize {
    let Some(number) = keys.number(report, "max_message_bytes") else { return MAX_MESSAGE_BYTES };
    if !MESSAGE_BYTES.contains(number.get_ref()) {
        let message = format!("max_message_bytes is {}", number.get_ref());
        let hint = format!("it is {} to {}", MESSAGE_BYTES.start(), MESSAGE_BYTES.end());
        report.add(number.span(), message, hint);
        return MAX_MESSAGE_BYTES;
    }
    usize::try_from(*number.get_ref()).unwrap_or(MAX_MESSAGE_BYTES)
}

/// Whole seconds, or text with a unit.
fn silence_after(keys: &mut Keys<'_, '_>, report: &mut Report<'_>) -> Option<Duration> {
    let value = keys.value("silence_after")?;
    let parsed = match value.get_ref() {
        DeValue::Integer(_) => {
            keys.number(report, "silence_after").map(|number| Duration::from_secs(*number.get_ref()))?
        }
        DeValue::String(text) => match duration(text) {
            Some(parsed) => parsed,
            None => {
                let message = format!("silence_after `{}` is no duration", shown(text));
                report.add(value.span(), message, "write seconds, or text such as \"60s\" or \"2m\"");
                return None;
            }
        },
        other => {
            document::wrong_type(
                report,
                value.span(),
                "silence_after",
                "seconds, or text such as \"2m\"",
                other,
            );
            return None;
        }
    };
    if parsed.is_zero() || parsed > LONGEST_SILENCE {
        report.add(value.span(), "silence_after is not from 1 ms to 7 days", "60 s is what most feeds need");
    }
    Some(parsed)
}

/// `500ms`, `60s`, `2m`, `1h`; without a unit seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..unit].parse().ok()?;
    match text[unit..].trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" | "" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3_600)?)),
        _ => None,
    }
}
