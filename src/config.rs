//! One `Config`, parsed whole: every problem of the file, the environment and the list files is
//! reported at once.
//!
//! The only reader of the environment and of list files. An environment variable `CERTSIEVE_…` is laid
//! over the file before anything is judged, so that both meet the same checks. The file may hold a
//! secret where none belongs: of its lines only keys are ever shown, and a [`Secret`] has no text but
//! for the one place that needs it.
//!
//! What keys mean to Kafka or a feed is left to those; here stands what can be known without a
//! connection. Keys of the contract that come with a later version are refused by name.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::{self, Keys, Later};
use crate::problem::Report;
use crate::watch::list::{self, Bulk, WatchList};

mod environment;
mod feed;
mod kafka;

pub use crate::problem::{Problem, Problems};
use environment::Environment;

/// Messages up to this size are read unless `max_message_bytes` says otherwise: a certificate of
/// 10,000 names with its chain is 717 KB, and a stream that never ends must not fill the memory.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// Labels of metrics are bounded, and so are the feeds.
pub const MAX_FEEDS: usize = 16;

/// A configuration is a page, not a list.
const MAX_FILE: usize = 1024 * 1024;

/// A token, a password; PEM files are read by those who need them.
const MAX_SECRET: usize = 64 * 1024;

/// Half of what a Kafka key is comfortable with.
const MAX_INSTANCE: usize = 200;

/// A connected feed that gives no message for so long is taken for dead.
pub const SILENCE_AFTER: Duration = Duration::from_secs(60);

/// What `certsieve run` is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where it was read.
    pub file: PathBuf,
    /// `instance`: the name in `observer.name`.
    pub instance: String,
    pub watchlists: Vec<PathBuf>,
    /// Locked by one process.
    pub state_dir: Option<PathBuf>,
    pub feeds: Vec<FeedConfig>,
    pub kafka: Option<KafkaConfig>,
    pub http: Option<HttpConfig>,
}

impl Config {
    /// Reads the file and lays the environment over it. Relative paths are relative to the file.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Config, Problems> {
        let (config, problems) = read(path, env);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Reads the file and the watch lists that it names: the mistakes of all of them are one report.
    pub fn load_with_watchlists(
        path: &Path,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(Config, WatchList), Problems> {
        let (config, mut problems) = read(path, env);
        let list =
            if config.watchlists.is_empty() { None } else { Some(read_watchlists(&config.watchlists)) };
        match list {
            Some(Ok(list)) if problems.is_empty() => return Ok((config, list)),
            Some(Err(more)) => problems.append(more),
            _ => {}
        }
        Err(problems)
    }
}

/// Reads watch lists and the bulk lists that they name, relative to each. Several files make one list.
pub fn read_watchlists(paths: &[PathBuf]) -> Result<WatchList, Problems> {
    let mut reading = list::Reading::new();
    for path in paths {
        let file = path.display().to_string();
        match read_bounded(path, list::MAX_BYTES) {
            Ok(bytes) => reading.file(&file, &bytes, &mut |named| {
                let path = beside(path, named);
                let bytes = read_bounded(&path, list::MAX_BYTES)?;
                Ok(Bulk { file: path.display().to_string(), bytes })
            }),
            Err(reason) => {
                let message = format!("the watch list cannot be read: {reason}");
                reading.problem(Problem::of_file(file, message, "check watchlists in the configuration"));
            }
        }
    }
    reading.finish()
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedConfig {
    Certstream(CertstreamFeed),
    File(FileFeed),
}

impl FeedConfig {
    pub fn name(&self) -> &str {
        match self {
            FeedConfig::Certstream(feed) => &feed.name,
            FeedConfig::File(feed) => &feed.name,
        }
    }
}

/// `kind = "certstream"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertstreamFeed {
    pub name: String,
    /// `ws://` or `wss://`.
    pub url: String,
    /// PEM; in place of the system's roots.
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    /// Of the handshake's request.
    pub headers: Vec<(String, Secret)>,
    pub max_message_bytes: usize,
    pub silence_after: Duration,
}

/// `kind = "file"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFeed {
    pub name: String,
    /// JSON lines, plain or gzip or zstd; `-` is standard input.
    pub path: PathBuf,
    pub max_message_bytes: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KafkaConfig {
    /// `host:port`, comma-separated.
    pub brokers: String,
    pub topic_prefix: String,
    pub create_topics: bool,
    /// none, gzip, snappy, lz4 or zstd.
    pub compression: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// Any other librdkafka property; those that carry the promises are refused when read.
    pub properties: BTreeMap<String, Secret>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpConfig {
    /// `host:port`; port 0 lets the system choose.
    pub listen: String,
}

/// A value that reaches no log, metric or error.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// For the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The configuration, as far as it could be read, and everything that is wrong with it.
fn read(path: &Path, env: impl Iterator<Item = (String, String)>) -> (Config, Problems) {
    let mut problems = Problems::default();
    let file = path.display().to_string();
    let bytes = read_bounded(path, MAX_FILE).unwrap_or_else(|reason| {
        let message = format!("the configuration cannot be read: {reason}");
        problems.push(Problem::of_file(file.as_str(), message, "name it with -c, or by CERTSIEVE_CONFIG"));
        Vec::new()
    });
    let unreadable = !problems.is_empty();
    let text = String::from_utf8_lossy(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes));
    let mut report = Report::private(file, &text);
    if let Some(at) = text.find(char::REPLACEMENT_CHARACTER) {
        report.syntax(at..at, "this is no UTF-8");
    }
    let environment = Environment::new(env);
    let mut document = document::parse(&mut report).into_inner();
    environment.lay_over(&mut document, &mut report);
    let keys = Keys::new(&document, 0..0, "the configuration");
    let config = config(path, keys, &mut report, &environment, unreadable);
    report.finish(&mut problems);
    (config, problems)
}

fn config(
    path: &Path,
    mut keys: Keys<'_, '_>,
    report: &mut Report<'_>,
    environment: &Environment,
    unreadable: bool,
) -> Config {
    let instance = instance(&mut keys, report, environment);
    let mut watchlists = Vec::new();
    keys.each_text(report, "watchlists", |report, text, place| match text {
        "" => report.add(place, "watchlists has an empty path", "name a file"),
        _ => watchlists.push(beside(path, text)),
    });
    if watchlists.is_empty() && !unreadable {
        let hint = "write watchlists = [\"watchlist.toml\"]";
        report.missing(keys.place_of("watchlists"), "no watch list", hint);
    }
    let state_dir = keys.text(report, "state_dir").map(|dir| beside(path, dir.get_ref()));
    let feeds = feed::all(path, &mut keys, report, environment);
    if feeds.is_empty() && !keys.has("feed") && !unreadable {
        let hint = "write [[feed]] with kind = \"certstream\" and its url below it";
        report.missing(keys.place(), "no feed", hint);
    }
    let kafka = keys.table(report, "kafka", "[kafka]").map(|keys| kafka::read(path, keys, report));
    let http = keys.table(report, "http", "[http]").and_then(|keys| http(keys, report));
    keys.finish(
        report,
        &["refill"],
        &[("[[feed]]", feed::KEYS), ("[kafka]", kafka::KEYS), ("[http]", &["listen"])],
    );
    Config { file: path.to_owned(), instance, watchlists, state_dir, feeds, kafka, http }
}

fn instance(keys: &mut Keys<'_, '_>, report: &mut Report<'_>, environment: &Environment) -> String {
    let Some(instance) = keys.text(report, "instance") else {
        let known = environment.host_name();
        if known.is_none() && !keys.has("instance") {
            let hint = "write instance = \"…\": records name who saw a certificate";
            report.missing(keys.place(), "no instance, and the host name is not known", hint);
        }
        return known.unwrap_or_default();
    };
    let (text, place) = (*instance.get_ref(), instance.span());
    if text.trim().is_empty() || text.len() > MAX_INSTANCE || text.chars().any(char::is_control) {
        let hint = format!("write 1 to {MAX_INSTANCE} bytes of printable text");
        report.add(place, "instance is empty, too long or not printable", hint);
    }
    text.to_owned()
}

fn http(mut keys: Keys<'_, '_>, report: &mut Report<'_>) -> Option<HttpConfig> {
    let listen = keys.text(report, "listen");
    if listen.is_none() && !keys.has("listen") {
        report.missing(keys.place(), "[http] without listen", "write listen = \"127.0.0.1:9464\"");
    }
    keys.finish(report, NOTHING_LATER, &[]);
    let (listen, place) = (*listen.as_ref()?.get_ref(), listen.as_ref()?.span());
    if let Err(reason) = check_host_port(listen) {
        let hint = "write host:port, such as \"127.0.0.1:9464\" or \"[::]:9464\"";
        report.add(place, format!("listen `{}` {reason}", shown(listen)), hint);
    }
    Some(HttpConfig { listen: listen.to_owned() })
}

const NOTHING_LATER: &[Later] = &[];

/// A path as the configuration or a list names it.
fn beside(file: &Path, named: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(named)
}

/// A file whole, unless it is larger than that many bytes.
fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(reason)?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(reason)?;
    if bytes.len() > limit {
        return Err(format!("it has more than {limit} bytes"));
    }
    Ok(bytes)
}

fn reason(error: std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// A secret that stands in a file of its own. One newline at its end is no part of it.
fn read_secret(path: &Path) -> Result<Secret, String> {
    let bytes = read_bounded(path, MAX_SECRET)?;
    let mut text = String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Secret(text)) }
}

/// Notes a file that cannot be read, with the key that names it.
fn check_file(report: &mut Report<'_>, place: std::ops::Range<usize>, key: &str, path: &Path) {
    // Opening a named pipe would wait for its writer.
    let readable = std::fs::metadata(path).and_then(|metadata| match metadata.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false if metadata.is_file() => std::fs::File::open(path).map(|_| ()),
        false => Ok(()),
    });
    if let Err(error) = readable {
        cannot_read(report, place, key, path, &reason(error));
    }
}

fn cannot_read(report: &mut Report<'_>, place: std::ops::Range<usize>, key: &str, path: &Path, reason: &str) {
    let message = format!("{key} `{}` cannot be read: {reason}", path.display());
    report.add(place, message, "its path is relative to the configuration");
}

/// `host:port`, an address of IPv6 in brackets.
fn check_host_port(text: &str) -> Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
    if port.parse::<u16>().is_err() || port.starts_with('+') {
        return Err("has no port from 0 to 65535");
    }
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        Some(_) => Err("has no address of IPv6 in its brackets"),
        None if host.contains(':') => Err("has an address of IPv6 without brackets"),
        None if host.is_empty() => Err("has no host"),
        None if host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) =>
        {
            Ok(())
        }
        None => Err("has a host with strange characters"),
    }
}

/// As much of a value as a message repeats.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}
