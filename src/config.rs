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

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::account::Bounds;
use crate::ccadb::Authorities;
use crate::document::{self, Keys, Later};
use crate::problem::Report;
use crate::watch::canary::Canary;
use crate::watch::list::{self, Bulk, WatchList};

mod canary;
mod environment;
mod feed;
mod kafka;
mod outbox;
mod proxy;
mod refill;
mod trust;

pub use crate::problem::{Problem, Problems};
use environment::Environment;
pub use outbox::DEFAULT as DEFAULT_OUTBOX;
pub use proxy::Proxies;
pub use refill::{ListSource, RefillConfig, contact};
pub use trust::read_authorities;

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
    pub trust: TrustConfig,
    /// `[outbox]`: what may wait for Kafka.
    pub outbox: Bounds,
    /// `[refill]`: the logs themselves.
    pub refill: Option<RefillConfig>,
    /// Files that its keys name, secrets above all: what stands in them is part of it.
    pub files: Vec<PathBuf>,
    /// `[[canary]]`: what must appear every so often.
    pub canaries: Vec<Canary>,
}

/// The configuration and everything that it names.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub list: WatchList,
    pub authorities: Arc<Authorities>,
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

    /// As [`load_with_watchlists`](Config::load_with_watchlists), and the reports of `[trust]` too.
    pub fn load_whole(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Loaded, Problems> {
        let (config, mut problems) = read(path, env);
        let list =
            if config.watchlists.is_empty() { None } else { Some(read_watchlists(&config.watchlists)) };
        match (list, read_authorities(&config.trust)) {
            (Some(Ok(list)), Ok(authorities)) if problems.is_empty() => {
                return Ok(Loaded { config, list, authorities });
            }
            (list, authorities) => {
                let more = list.and_then(Result::err).into_iter().chain(authorities.err());
                more.for_each(|more| problems.append(more));
            }
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
    /// Its own `proxy`, or what the environment names for it.
    pub proxy: Option<Proxy>,
    pub max_message_bytes: usize,
    pub silence_after: Duration,
}

/// An HTTP proxy that a feed goes through, by CONNECT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// `user:password`.
    pub login: Option<Secret>,
    /// What names it: the key `proxy`, or an environment variable.
    pub named_by: &'static str,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(_)) => write!(f, "[{}]:{}", self.host, self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
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

/// `[trust]`: reports of CCADB.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TrustConfig {
    /// All-certificate-records reports, and the one of included roots, which make one table; none means what
    /// is built in.
    pub ccadb: Vec<PathBuf>,
    pub problem_reporting: Option<PathBuf>,
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
    let text = String::from_utf8_lossy(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes));
    let mut report = Report::private(file, &text);
    if !problems.is_empty() {
        report.incomplete();
    }
    if let Some(at) = text.find(char::REPLACEMENT_CHARACTER) {
        report.syntax(at..at, "this is no UTF-8");
    }
    let environment = Environment::new(env);
    let mut document = document::parse(&mut report).into_inner();
    environment.lay_over(&mut document, &mut report);
    let keys = Keys::new(&document, 0..0, "the configuration");
    let mut config = config(path, keys, &mut report, &environment);
    config.files = named_files(path, &document);
    report.finish(&mut problems);
    (config, problems)
}

/// Every table with its keys, for those that stand elsewhere.
const TABLES: &[(&str, &[&str])] = &[
    ("[[feed]]", feed::KEYS),
    ("[kafka]", kafka::KEYS),
    ("[http]", &["listen"]),
    ("[trust]", trust::KEYS),
    ("[outbox]", outbox::KEYS),
    ("[refill]", refill::KEYS),
    ("[[canary]]", canary::KEYS),
];

fn config(path: &Path, mut keys: Keys<'_, '_>, report: &mut Report<'_>, environment: &Environment) -> Config {
    let instance = instance(&mut keys, report, environment);
    let mut watchlists = Vec::new();
    let given = keys.each_text(report, "watchlists", |report, text, place| match text {
        "" => report.add(place, "watchlists has an empty path", "name a file"),
        _ => watchlists.push(beside(path, text)),
    });
    if given.unwrap_or(0) == 0 {
        let hint = "write watchlists = [\"watchlist.toml\"]";
        report.missing(keys.place_of("watchlists"), "no watch list", hint);
    }
    let state_dir = keys.text(report, "state_dir").map(|dir| beside(path, dir.get_ref()));
    let feeds = feed::all(path, &mut keys, report, environment);
    let kafka = keys.table(report, "kafka", "[kafka]").map(|keys| kafka::read(path, keys, report));
    let http = keys.table(report, "http", "[http]").and_then(|keys| http(keys, report));
    let trust = keys.table(report, "trust", "[trust]").map(|keys| trust::read(path, keys, report));
    let outbox = keys.table(report, "outbox", "[outbox]").map(|keys| outbox::read(keys, report));
    let mut surroundings = proxy::Surroundings::new(environment);
    let refill = keys
        .table(report, "refill", "[refill]")
        .map(|keys| refill::read(path, keys, report, &mut surroundings));
    let canaries = canary::all(&mut keys, report);
    keys.finish(report, NOTHING_LATER, TABLES);
    let trust = trust.unwrap_or_default();
    let outbox = outbox.unwrap_or(outbox::DEFAULT);
    let files = Vec::new();
    Config {
        file: path.to_owned(),
        instance,
        watchlists,
        state_dir,
        feeds,
        kafka,
        http,
        trust,
        outbox,
        refill,
        files,
        canaries,
    }
}

/// What keys such as `password_file` and `header = { … = { file = … } }` name, wherever they stand.
fn named_files(path: &Path, table: &DeTable<'_>) -> Vec<PathBuf> {
    let of_value = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &Cow<'_, str> = key.get_ref();
        match value.get_ref() {
            DeValue::String(named) if key == "file" || key.ends_with("_file") => vec![beside(path, named)],
            DeValue::Table(table) => named_files(path, table),
            DeValue::Array(list) => {
                let tables = list.iter().filter_map(|value| value.get_ref().as_table());
                tables.flat_map(|table| named_files(path, table)).collect()
            }
            _ => Vec::new(),
        }
    };
    table.iter().flat_map(of_value).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A folder with the files that a configuration names.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("token", "Bearer hunter2\n"),
            ("password", "hunter2\r\n"),
            ("ca.pem", "-----BEGIN CERTIFICATE-----\n"),
            ("key.pem", "-----BEGIN PRIVATE KEY-----\n"),
            ("capture.jsonl", ""),
            ("empty", "\n"),
            ("watchlist.toml", "[[asset]]\nid = 'a'\npolicy = 'observe'\ndomains_file = 'names'\n"),
            ("names", "example.com\n"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn load_in(folder: &Path, text: &str, env: &[(&str, &str)]) -> Result<Config, Problems> {
        let path = folder.join("certsieve.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, Problems> {
        let folder = folder();
        load_in(folder.path(), text, env)
    }

    /// Asserts the line and message of every mistake (the folder is `DIR`), that each has a hint, and
    /// that nowhere a secret is shown.
    fn check(text: &str, expected: &[(usize, &str)]) {
        let folder = folder();
        let problems = match load_in(folder.path(), text, &[]) {
            Ok(config) => panic!("no problem in {text}: {config:?}"),
            Err(problems) => problems,
        };
        let messages: Vec<_> = problems
            .iter()
            .map(|problem| problem.message.replace(&folder.path().display().to_string(), "DIR"))
            .collect();
        let lines = problems.iter().map(|problem| problem.line.unwrap_or(0));
        let found: Vec<_> = lines.zip(messages.iter().map(String::as_str)).collect();
        assert_eq!(found, expected, "{text}\n{problems}");
        for problem in problems.iter() {
            assert!(!problem.hint.is_empty(), "{problem:?}");
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
        assert!(!problems.render(true).contains("hunter2"), "{problems}");
    }

    const LEAST: &str = "watchlists = ['watchlist.toml']\n[[feed]]\nkind = 'file'\npath = 'capture.jsonl'\n";

    #[test]
    fn a_configuration_is_read_whole() {
        let folder = folder();
        let text = r#"
instance = "ctmon-a"
watchlists = ["watchlist.toml", "/etc/other.toml"]
state_dir = "state"

[[feed]]
kind = "certstream"
name = "eu-1"
url = "wss://feed.example.net/full-stream"
ca_file = "ca.pem"
client_cert_file = "ca.pem"
client_key_file = "key.pem"
header = { Authorization = { file = "token" }, X-Team = "dns", X-Key = { env = "FEED_KEY" } }
max_message_bytes = 1_048_576
silence_after = "2m"

[[feed]]
kind = "certstream"
url = "ws://[::1]:8080/"
silence_after = 300

[[feed]]
kind = "file"
path = "-"

[kafka]
brokers = "127.0.0.1:9092, kafka:9093"
topic_prefix = "ct"
create_topics = false
compression = "gzip"
username = "certsieve"
password_file = "password"
[kafka.properties]
"security.protocol" = "sasl_ssl"
"sasl.mechanism" = "SCRAM-SHA-512"
"ssl.key.password" = { file = "password" }
"linger.ms" = 5

[http]
listen = "127.0.0.1:9464"

[trust]
ccadb = ["V4a.csv", "/var/ccadb/V4b.csv"]
problem_reporting = "problems.csv"
"#;
        let config = load_in(folder.path(), text, &[("FEED_KEY", "k")])
            .unwrap_or_else(|problems| panic!("{problems}"));
        let at = |name: &str| folder.path().join(name);
        assert_eq!(config.file, at("certsieve.toml"));
        assert_eq!(config.instance, "ctmon-a");
        assert_eq!(config.watchlists, [at("watchlist.toml"), PathBuf::from("/etc/other.toml")]);
        assert_eq!(config.state_dir, Some(at("state")));
        let expected = CertstreamFeed {
            name: "eu-1".to_owned(),
            url: "wss://feed.example.net/full-stream".to_owned(),
            ca_file: Some(at("ca.pem")),
            client_cert_file: Some(at("ca.pem")),
            client_key_file: Some(at("key.pem")),
            headers: vec![
                ("Authorization".to_owned(), Secret::new("Bearer hunter2")),
                ("X-Key".to_owned(), Secret::new("k")),
                ("X-Team".to_owned(), Secret::new("dns")),
            ],
            proxy: None,
            max_message_bytes: 1_048_576,
            silence_after: Duration::from_secs(120),
        };
        assert_eq!(config.feeds[0], FeedConfig::Certstream(expected));
        let FeedConfig::Certstream(second) = &config.feeds[1] else { panic!("{:?}", config.feeds[1]) };
        assert_eq!((second.name.as_str(), second.silence_after), ("certstream-2", Duration::from_secs(300)));
        assert_eq!(second.max_message_bytes, MAX_MESSAGE_BYTES);
        let third = FileFeed {
            name: "file-3".to_owned(),
            path: PathBuf::from("-"),
            max_message_bytes: MAX_MESSAGE_BYTES,
        };
        assert_eq!(config.feeds[2], FeedConfig::File(third));
        let kafka = config.kafka.as_ref().unwrap();
        assert_eq!(
            (kafka.brokers.as_str(), kafka.topic_prefix.as_str()),
            ("127.0.0.1:9092,kafka:9093", "ct")
        );
        assert_eq!((kafka.create_topics, kafka.compression.as_str()), (false, "gzip"));
        assert_eq!(kafka.password.as_ref().map(Secret::expose), Some("hunter2"));
        assert_eq!(kafka.properties["ssl.key.password"].expose(), "hunter2");
        assert_eq!(kafka.properties["linger.ms"].expose(), "5");
        assert_eq!(config.http.as_ref().unwrap().listen, "127.0.0.1:9464");
        let files: Vec<_> = config.trust.files().collect();
        assert_eq!(files, [at("V4a.csv"), PathBuf::from("/var/ccadb/V4b.csv"), at("problems.csv")]);
        let files: BTreeSet<_> = config.files.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(files, BTreeSet::from(["ca.pem", "key.pem", "token", "password"]));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = load(LEAST, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(!config.instance.is_empty());
        assert_eq!((config.state_dir, config.kafka, config.http), (None, None, None));
        let config = load(&format!("{LEAST}[kafka]\nbrokers = 'a'\n"), &[])
            .unwrap_or_else(|problems| panic!("{problems}"));
        let kafka = config.kafka.unwrap();
        assert_eq!((kafka.topic_prefix.as_str(), kafka.compression.as_str()), ("certsieve", "zstd"));
        assert!(kafka.create_topics && kafka.password.is_none());
    }

    #[test]
    fn ten_mistakes_are_ten_reports() {
        check(
            r#"instanse = "a"
watchlists = 5

[[feed]]
kind = "certstream"
url = "https://feed.example.net/"
header = { Authorization = "Bearer hunter2" }
silence_after = "soon"
proxy = "socks5://hunter2:hunter2@proxy:1080"

[[feed]]
kind = "ct"

[kafka]
compression = "zsdt"
topic_prefix = "a b"
password = "hunter2"
[kafka.properties]
acks = 1

[http]
listen = "9464"

[refill]
contact = "the ops room"
"#,
            &[
                (1, "unknown key `instanse` in the configuration"),
                (2, "watchlists is a whole number"),
                (6, "url is of HTTP, not of a WebSocket"),
                (7, "the value of header Authorization is a secret: it has no place here"),
                (8, "silence_after `soon` is no duration"),
                (9, "the proxy is of kind socks5://"),
                (12, "this version does not implement feeds of kind `ct`"),
                (14, "[kafka] without brokers"),
                (15, "compression `zsdt` is unknown"),
                (16, "topic_prefix `a b` is no part of a topic's name"),
                (17, "a password has no place in the configuration"),
                (17, "password without username"),
                (
                    19,
                    "property `acks` is certsieve's own: a record counts as delivered only when all in-sync replicas have it",
                ),
                (22, "listen `9464` has no port"),
                (25, "contact is no address of yours"),
            ],
        );
    }

    #[test]
    fn every_mistake_is_named() {
        let feed = "watchlists = ['watchlist.toml']\n[[feed]]\nkind = 'certstream'\n";
        let wss = format!("{feed}url = 'wss://h/'\n");
        let kafka = format!("{LEAST}[kafka]\nbrokers = 'a:1'\n");
        let properties = format!("{kafka}[kafka.properties]\n");
        for (text, line, message) in [
            ("", 1, "no watch list | no feed"),
            ("watchlists = ['w']\n", 1, "no feed"),
            ("feed = [1]\nwatchlists = 'w'\n", 1, "feed is a list of tables, not a whole number"),
            ("watchlists = []\n", 1, "no watch list | no feed"),
            ("feed = []\nwatchlists = 'w'\n", 1, "no feed"),
            (feed, 2, "a feed of kind certstream without url"),
            ("watchlists = 'w'\n[[feed]]\nurl = 'ws://h/'\n", 2, "a feed without kind"),
            ("watchlists = 'w'\n[[feed]]\nkind = 'certsteam'\n", 3, "kind `certsteam` is unknown"),
            ("watchlists = 'w'\n[feed]\nkind = 'file'\n", 2, "feed is a list of tables, not a table"),
            ("watchlists = 'w'\n[[feed]]\nkind = 'file'\n", 2, "a feed of kind file without path"),
            (
                "watchlists = 'w'\n[[feed]]\nkind = 'file'\npath = 'capture.jsonl'\nsilence_after = 1\n",
                5,
                "`silence_after` is no key of [[feed]]",
            ),
            (&format!("{feed}url = 'feed.example.net'\n"), 4, "url does not begin with ws:// or wss://"),
            (&format!("{feed}url = 'ws://u:hunter2@h/'\n"), 4, "url holds a user or password"),
            (&format!("{feed}url = 'ws:///path?hunter2'\n"), 4, "the host of url has no host"),
            (&format!("{feed}url = 'ws://h:x/hunter2'\n"), 4, "the host of url has no port from 0 to 65535"),
            (&format!("{feed}url = 'ws://h/'\nca_file = 'ca.pem'\n"), 5, "ca_file beside a url without TLS"),
            (&format!("{wss}client_cert_file = 'ca.pem'\n"), 5, "client_cert_file without client_key_file"),
            (&format!("{wss}name = 'refill'\n"), 5, "the feed name `refill` is reserved"),
            (&format!("{wss}name = ''\n"), 5, "a feed's name is empty, too long or not printable"),
            (&format!("{wss}max_message_bytes = 5\n"), 5, "max_message_bytes is 5"),
            (
                &format!("{wss}max_message_bytes = -5\n"),
                5,
                "max_message_bytes is no whole number, or is negative or too large",
            ),
            (&format!("{wss}silence_after = 0\n"), 5, "silence_after is not from 1 ms to 7 days"),
            (&format!("{wss}header = {{ 'a b' = 'x' }}\n"), 5, "`a b` is no name of a header"),
            (&format!("{wss}header = {{ Upgrade = 'x' }}\n"), 5, "header Upgrade is the handshake's own"),
            (
                &format!("{wss}header = {{ Cookie = {{ fiel = 'x' }} }}\n"),
                5,
                "unknown key `fiel` in a header's value",
            ),
            (
                &format!("{wss}header = {{ Cookie = {{ env = 'X' }} }}\n"),
                5,
                "header Cookie: there is no environment variable `X`",
            ),
            (
                &format!("{wss}header = {{ X-A = \"a\\nhunter2\" }}\n"),
                5,
                "the value of header X-A has characters that no header may have",
            ),
            (
                &format!("{wss}[[feed]]\nkind = 'file'\nname = 'certstream-1'\npath = '-'\n"),
                7,
                "two feeds are called `certstream-1`",
            ),
            (&format!("{LEAST}[trust]\n"), 5, "[trust] without ccadb"),
            (&format!("{LEAST}[trust]\nproblem_reporting = 'p'\n"), 5, "[trust] without ccadb"),
            (&format!("{LEAST}[trust]\nccadb = []\n"), 6, "[trust] without ccadb"),
            (&format!("{LEAST}[trust]\nccadb = ['a', '']\n"), 6, "ccadb has an empty path"),
            (&format!("{LEAST}[trust]\nccadb = 5\n"), 6, "ccadb is a whole number"),
            (
                &format!("{LEAST}[trust]\nccadb = '5'\nproblem_reporting = ['p']\n"),
                7,
                "problem_reporting is a list",
            ),
            (&format!("ccadb = 'V5.csv'\n{LEAST}"), 1, "`ccadb` is no key of the configuration"),
            (&format!("{kafka}brokers = 'x'\n"), 7, "this is no TOML: duplicate key"),
            (&format!("{LEAST}[kafka]\nbrokers = 'ssl://a:1'\n"), 6, "broker `ssl://a:1` has a scheme"),
            (&format!("{LEAST}[kafka]\nbrokers = 'a:1,,b:1'\n"), 6, "broker `` is no host and port"),
            (&format!("{LEAST}[kafka]\nbrokers = 'a:99999'\n"), 6, "broker `a:99999` has no such port"),
            (&format!("{LEAST}[kafka]\nbrokers = '[::1]:0'\n"), 6, "broker `[::1]:0` has no such port"),
            (&format!("{kafka}topic_prefix = '{}'\n", "x".repeat(240)), 7, "topic_prefix has 240 bytes"),
            (&format!("{kafka}create_topics = 'yes'\n"), 7, "create_topics is text"),
            (&format!("{kafka}password_file = 'password'\n"), 7, "password_file without username"),
            (
                &format!("{properties}'retries' = 3\n"),
                8,
                "property `retries` is certsieve's own: a record is retried until Kafka takes it",
            ),
            (
                &format!("{properties}'sasl.password' = 'hunter2'\n"),
                8,
                "property `sasl.password` is certsieve's own: it is written password_file in [kafka], or CERTSIEVE_KAFKA__PASSWORD",
            ),
            (
                &format!("{properties}'test.mock.num.brokers' = 3\n"),
                8,
                "property `test.mock.num.brokers` is certsieve's own: it would write to a broker that is none",
            ),
            (
                &format!("{properties}'batch.size' = 3\n"),
                8,
                "property `batch.size` is certsieve's own: batches are kept under a broker's limit, which refuses a whole one",
            ),
            (
                &format!("{properties}'ssl.ca.location' = 'no.pem'\n"),
                8,
                "property `ssl.ca.location` `DIR/no.pem` cannot be read: No such file or directory (os error 2)",
            ),
            (
                &format!("{properties}dr_msg_cb = 'x'\n"),
                8,
                "property `dr_msg_cb` is certsieve's own: it is a function, which no text can be",
            ),
            (&format!("{properties}security.protocol = 'ssl'\n"), 8, "property `security` is a table"),
            (&format!("{properties}'security.protocol' = 'tls'\n"), 8, "security.protocol is unknown"),
            (
                &format!("{properties}'ssl.key.password' = {{ file = 'no' }}\n"),
                8,
                "property `ssl.key.password` `DIR/no` cannot be read: there is no such file",
            ),
            (
                &format!("{properties}'security.protocol' = 'sasl_ssl'\n"),
                7,
                "a security.protocol with SASL without a sasl.mechanism",
            ),
            (
                &format!("{properties}'sasl.mechanism' = 'OAUTHBEARER'\n"),
                7,
                "a sasl.mechanism without a security.protocol with SASL",
            ),
            (
                &format!("{properties}'security.protocol' = 'sasl_ssl'\n'sasl.mechanisms' = 'PLAIN'\n"),
                7,
                "a sasl.mechanism with passwords without username",
            ),
            (
                &format!("{kafka}username = 'u'\n"),
                7,
                "username without a password | username without a security.protocol with SASL | username without a sasl.mechanism",
            ),
            (&format!("{LEAST}[http]\n"), 5, "[http] without listen"),
            (
                &format!("{LEAST}[http]\nlisten = '::1:9464'\n"),
                6,
                "listen `::1:9464` has an address of IPv6 without brackets",
            ),
            (
                &format!("{LEAST}[http]\nlisten = 'h:99999'\n"),
                6,
                "listen `h:99999` has no port from 0 to 65535",
            ),
            (
                &format!("{LEAST}[kafka]\nbrokers = 'a:1'\npassword = \"hunter2\nusername = 'u'\n"),
                7,
                "this is no TOML: invalid basic string, expected `\"`",
            ),
        ] {
            let expected: Vec<_> = message.split(" | ").map(|message| (line, message)).collect();
            check(text, &expected);
        }
    }

    #[test]
    fn any_key_comes_from_the_environment() {
        let env = [
            ("CERTSIEVE_INSTANCE", "b"),
            ("CERTSIEVE_WATCHLISTS", "watchlist.toml, /etc/b.toml"),
            ("CERTSIEVE_STATE_DIR", "/var/lib/certsieve"),
            ("CERTSIEVE_FEED__0__KIND", "certstream"),
            ("CERTSIEVE_FEED__0__URL", "wss://h/"),
            ("CERTSIEVE_FEED__0__MAX_MESSAGE_BYTES", "4096"),
            ("CERTSIEVE_FEED__0__SILENCE_AFTER", "90"),
            ("CERTSIEVE_FEED__0__HEADER__AUTHORIZATION", "Bearer hunter2"),
            ("CERTSIEVE_FEED__1__KIND", "file"),
            ("CERTSIEVE_FEED__1__PATH", "-"),
            ("CERTSIEVE_KAFKA__BROKERS", "a:1,b:2"),
            ("CERTSIEVE_KAFKA__CREATE_TOPICS", "false"),
            ("CERTSIEVE_KAFKA__USERNAME", "u"),
            ("CERTSIEVE_KAFKA__PASSWORD", "hunter2"),
            ("CERTSIEVE_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL"),
            ("CERTSIEVE_KAFKA__PROPERTIES__SASL_MECHANISM", "PLAIN"),
            ("CERTSIEVE_HTTP__LISTEN", "0.0.0.0:9464"),
            // Not ours, the command line's, and those of Kubernetes.
            ("PATH", "/bin"),
            ("CERTSIEVE_LOG", "debug"),
            ("CERTSIEVE_CONFIG", "x"),
            ("CERTSIEVE_SERVICE_HOST", "10.0.0.1"),
            ("CERTSIEVE_SERVICE_PORT", "9464"),
            ("CERTSIEVE_SERVICE_PORT_HTTP_METRICS", "9464"),
            ("CERTSIEVE_PORT", "tcp://10.0.0.1:9464"),
            ("CERTSIEVE_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
            ("CERTSIEVE_PORT_9464_TCP_ADDR", "10.0.0.1"),
            ("CERTSIEVE_KAFKA_SERVICE_HOST", "fd00::1"),
            ("CERTSIEVE_KAFKA_SERVICE_PORT", "9092"),
            ("CERTSIEVE_KAFKA_PORT", "tcp://[fd00::1]:9092"),
            ("CERTSIEVE_KAFKA_PORT_9092_TCP", "tcp://[fd00::1]:9092"),
            ("CERTSIEVE_KAFKA_PORT_9092_TCP_PROTO", "tcp"),
            ("CERTSIEVE_KAFKA_PORT_9092_TCP_PORT", "9092"),
            ("CERTSIEVE_MY_PORT_1_PORT_9092_UDP_ADDR", "10.0.0.1"),
            ("CERTSIEVE_TRUST__CCADB", "V4a.csv,V4b.csv"),
            ("CERTSIEVE_TRUST__PROBLEM_REPORTING", "p.csv"),
            ("CERTSIEVE_OUTBOX__MEMORY_BYTES", "8388608"),
            ("CERTSIEVE_OUTBOX__STATE_BYTES", "0"),
        ];
        let config = load("", &env).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.instance, "b");
        assert_eq!(config.watchlists[1], PathBuf::from("/etc/b.toml"));
        assert_eq!(config.feeds.len(), 2);
        let FeedConfig::Certstream(feed) = &config.feeds[0] else { panic!("{config:?}") };
        assert_eq!((feed.max_message_bytes, feed.silence_after), (4_096, Duration::from_secs(90)));
        assert_eq!(feed.headers, [("authorization".to_owned(), Secret::new("Bearer hunter2"))]);
        let kafka = config.kafka.as_ref().unwrap();
        assert_eq!((kafka.brokers.as_str(), kafka.create_topics), ("a:1,b:2", false));
        assert_eq!(kafka.password.as_ref().map(Secret::expose), Some("hunter2"));
        assert_eq!(kafka.properties["security.protocol"].expose(), "SASL_SSL");
        let reports: Vec<_> = config.trust.files().filter_map(|path| path.file_name()).collect();
        assert_eq!(reports, ["V4a.csv", "V4b.csv", "p.csv"]);
        assert_eq!(config.outbox, Bounds { memory: 8 * 1024 * 1024, store: 0 });
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    /// Whatever it means, it is asked for: no table of the configuration is out of a variable's reach.
    #[test]
    fn every_key_of_every_table_is_reached_by_a_variable() {
        for (title, keys) in TABLES {
            let table = title.trim_matches(['[', ']']).to_ascii_uppercase();
            let table = if title.starts_with("[[") { format!("{table}__0") } else { table };
            for key in *keys {
                let name = format!("CERTSIEVE_{table}__{}", key.to_ascii_uppercase());
                let problems = load(LEAST, &[(&name, "1")]).err();
                let said = problems.map(|problems| problems.to_string()).unwrap_or_default();
                assert!(!said.contains("names no key") && !said.contains("unknown key"), "{name}: {said}");
            }
        }
    }

    #[test]
    fn the_environment_stands_over_the_file() {
        let text =
            format!("{LEAST}header = 1\n[kafka]\nbrokers = 'file:1'\n[kafka.properties]\n'linger.ms' = 1\n")
                .replace(
                    "kind = 'file'\npath = 'capture.jsonl'\nheader = 1",
                    "kind = 'certstream'\nurl = 'ws://h/'\nheader = { authorization = { file = 'no' } }",
                );
        let env = [
            ("CERTSIEVE_KAFKA__BROKERS", "env:1"),
            ("CERTSIEVE_KAFKA__PROPERTIES__LINGER_MS", "7"),
            ("CERTSIEVE_FEED__0__HEADER__AUTHORIZATION", "t"),
        ];
        let config = load(&text, &env).unwrap_or_else(|problems| panic!("{problems}"));
        let kafka = config.kafka.unwrap();
        assert_eq!((kafka.brokers.as_str(), kafka.properties["linger.ms"].expose()), ("env:1", "7"));
        let FeedConfig::Certstream(feed) = &config.feeds[0] else { panic!("{:?}", config.feeds) };
        assert_eq!(feed.headers, [("authorization".to_owned(), Secret::new("t"))]);
    }

    #[test]
    fn a_header_may_take_any_variable() {
        let text = "watchlists = 'w'\n[[feed]]\nkind = 'certstream'\nurl = 'ws://h/'\nheader = { Authorization = { env = 'CERTSIEVE_TOKEN' } }\n";
        let config = load(text, &[("CERTSIEVE_TOKEN", "t")]).unwrap_or_else(|problems| panic!("{problems}"));
        let FeedConfig::Certstream(feed) = &config.feeds[0] else { panic!("{:?}", config.feeds) };
        assert_eq!(feed.headers, [("Authorization".to_owned(), Secret::new("t"))]);
    }

    #[test]
    fn mistakes_of_the_environment_name_the_variable() {
        let env = [
            ("CERTSIEVE_BROKERS", "x"),
            ("CERTSIEVE_FEED__7__URL", "ws://h/"),
            ("CERTSIEVE_FEED__URL", "ws://h/"),
            ("CERTSIEVE_HTTP__LISTEN", "x"),
            ("CERTSIEVE_KAFKA__ACKS__ALL", "x"),
            ("CERTSIEVE_KAFKA__BROKERS", "a:1"),
            ("CERTSIEVE_KAFKA__CREATE_TOPICS", "hunter2"),
            ("CERTSIEVE_KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2"),
            ("CERTSIEVE_KAFKA_BROKERS", "a:1"),
            ("CERTSIEVE_KAFKA_PORT", "9092"),
            ("CERTSIEVE_KAFKA_SERVICE_HOST", "kafka"),
            ("CERTSIEVE_PORT", "9464"),
            ("CERTSIEVE_REFILL__CONTACT", "the ops room"),
            ("CERTSIEVE_TRUSTS__CCADB", "x"),
            ("CERTSIEVE_WATCHLISTS", "[\"a\", \"b\"]"),
        ];
        let problems = load(LEAST, &env).map(|_| ()).unwrap_err();
        let found: Vec<_> =
            problems.iter().map(|problem| format!("{}: {}", problem.file, problem.message)).collect();
        assert_eq!(
            found,
            [
                "environment variable CERTSIEVE_BROKERS: `brokers` is no key of the configuration",
                "environment variable CERTSIEVE_FEED__7__URL: it names no key of the configuration",
                "environment variable CERTSIEVE_FEED__URL: it names no key of the configuration",
                "environment variable CERTSIEVE_HTTP__LISTEN: listen `x` has no port",
                "environment variable CERTSIEVE_KAFKA_BROKERS: unknown key `kafka_brokers` in the configuration",
                "environment variable CERTSIEVE_KAFKA_PORT: unknown key `kafka_port` in the configuration",
                "environment variable CERTSIEVE_KAFKA_SERVICE_HOST: unknown key `kafka_service_host` in the configuration",
                "environment variable CERTSIEVE_KAFKA__ACKS__ALL: it names no key of the configuration",
                "environment variable CERTSIEVE_KAFKA__CREATE_TOPICS: create_topics is neither true nor false",
                "environment variable CERTSIEVE_KAFKA__PROPERTIES__SASL_PASSWORD: property `sasl.password` is certsieve's own: it is written password_file in [kafka], or CERTSIEVE_KAFKA__PASSWORD",
                "environment variable CERTSIEVE_PORT: unknown key `port` in the configuration",
                "environment variable CERTSIEVE_REFILL__CONTACT: contact is no address of yours",
                "environment variable CERTSIEVE_TRUSTS__CCADB: unknown key `trusts` in the configuration",
                "environment variable CERTSIEVE_WATCHLISTS: watchlists is a list in brackets",
            ]
        );
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }

    #[test]
    fn a_mistake_of_a_variable_is_not_the_lines_that_it_replaces() {
        let text = format!("{LEAST}[kafka]\nbrokers = 'a:1'\n[kafka.properties]\n'linger.ms' = 1\n");
        let env = [("CERTSIEVE_KAFKA__PROPERTIES__LINGER_MS", "\0")];
        let problems = load(&text, &env).map(|_| ()).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| (problem.file.as_str(), problem.line)).collect();
        assert_eq!(found, [("environment variable CERTSIEVE_KAFKA__PROPERTIES__LINGER_MS", None)]);
    }

    #[test]
    fn files_that_cannot_be_read_are_named_with_their_key() {
        let folder = folder();
        let text = "watchlists = ['no.toml']\n[[feed]]\nkind = 'certstream'\nurl = 'wss://h/'\nca_file = 'no.pem'\nheader = { Authorization = { file = 'empty' } }\n\
                    [kafka]\nbrokers = 'a:1'\npassword_file = 'no'\n";
        let path = folder.path().join("certsieve.toml");
        std::fs::write(&path, text).unwrap();
        let problems = Config::load_with_watchlists(&path, std::iter::empty()).map(|_| ()).unwrap_err();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let found: Vec<_> = problems.iter().map(|problem| (problem.line, problem.message.clone())).collect();
        let expected = [
            (Some(5), format!("ca_file `{}` cannot be read: there is no such file", at("no.pem"))),
            (Some(6), format!("header Authorization `{}` cannot be read: it is empty", at("empty"))),
            (Some(9), "password_file without username".to_owned()),
            (Some(9), format!("password_file `{}` cannot be read: there is no such file", at("no"))),
            (None, "the watch list cannot be read: there is no such file".to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn watch_lists_and_their_bulk_lists_are_read_relative_to_each() {
        let folder = folder();
        let path = folder.path().join("certsieve.toml");
        std::fs::write(&path, LEAST).unwrap();
        let (config, list) = Config::load_with_watchlists(&path, std::iter::empty())
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.watchlists, [folder.path().join("watchlist.toml")]);
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(list.sources, [at("watchlist.toml"), at("names")]);
        assert_eq!(crate::watch::Matcher::new(list).unwrap().counts().domain, 1);
    }

    #[test]
    fn a_missing_configuration_is_one_report() {
        let problems =
            Config::load(Path::new("/nonexistent/certsieve.toml"), std::iter::empty()).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(found, ["the configuration cannot be read: there is no such file"]);
    }

    /// Pieces of configurations and watch lists, and what is neither.
    fn garbage() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let pieces = vec![
            "[[asset]]\n",
            "[[feed]]\n",
            "[kafka]\n",
            "[[asset.expect]]\n",
            "id",
            "policy",
            "domains",
            "kind",
            "url",
            "header",
            "properties",
            "labels",
            " = ",
            "=",
            "'",
            "\"",
            "\"\"\"",
            "\n",
            "\r\n",
            "[",
            "]",
            "{",
            "}",
            ",",
            ".",
            "#",
            "-1",
            "1e9",
            "true",
            "'observe'",
            "'certstream'",
            "'ws://ü/'",
            "['ü.example', 3]",
            "{ file = 'ü' }",
            "\\u",
            "ü",
            "\u{feff}",
            "\0",
            "1979-05-27",
            "\t",
            " ",
            "日本",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_report_panic(text in garbage()) {
            let problems = WatchList::parse("w", text.as_bytes(), &mut |_| Err("no".to_owned())).err();
            if let Some(problems) = problems {
                proptest::prop_assert!(!problems.render(true).is_empty());
            }
            let mut report = Report::private("c", &text);
            let document = document::parse(&mut report).into_inner();
            let environment = Environment::new(std::iter::empty());
            config(Path::new("c"), Keys::new(&document, 0..0, "the configuration"), &mut report, &environment);
            let mut problems = Problems::default();
            report.finish(&mut problems);
            proptest::prop_assert!(!problems.render(true).is_empty());
        }
    }

    #[test]
    fn deep_nesting_is_a_mistake_and_no_crash() {
        for text in [
            "[".repeat(200_000),
            format!("a = {}", "[".repeat(200_000)),
            format!("a = {}", "{a=".repeat(200_000)),
            format!("a{} = 1", ".a".repeat(200_000)),
        ] {
            let problems = load(&text, &[]).map(|_| ()).unwrap_err();
            assert!(!problems.is_empty());
            assert!(problems.to_string().len() < 100_000);
        }
    }
}
