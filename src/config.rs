//! One `Config`, parsed whole: every problem of the file, the environment and the list files is
//! reported at once.
//!
//! The only reader of the environment and of list files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Messages up to this size are read unless `max_message_bytes` says otherwise: a certificate of
/// 10,000 names with its chain is 717 KB, and a stream that never ends must not fill the memory.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

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
