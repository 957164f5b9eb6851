//! Which logs there are: Chrome's and Apple's log lists (version 3 of the JSON), and logs that the operator adds.
//!
//! [`LogList::read`] takes what it can use of a list and says what is wrong with the rest: fields that it does
//! not know, states that it does not know and lists without `tiled_logs` are nothing to stumble over, but a log
//! whose id is not the hash of its key is left out and told. Logs are known by that id, and by their URLs as
//! feeds spell them: an RFC 6962 log has one, a static-ct log one for submission and one for reading.
//!
//! [`LogList::built_in`] is for the first start, before any list was fetched: facts about the logs of Chrome's
//! list of one day, in a table of our own. [`signed_by`] says who signs which list.
//!
//! Bounds: [`MAX_BYTES`] and [`MAX_LOGS`]; every text of a list is cut and freed of control characters, because
//! descriptions become labels of metrics.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustc_hash::FxHashMap;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::key::{LogId, PublicKey};
use crate::entry::{Timestamp, log_name};

/// Chrome's list of all logs that ever were has 200 KB.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Chrome's list of all logs that ever were has some 200.
pub const MAX_LOGS: usize = 1_000;

/// Characters of a description: it is the label of a log's metrics.
pub const MAX_DESCRIPTION: usize = 256;

/// As much of a log's URL goes into keys and ids.
const MAX_URL: usize = 512;

/// Chrome itself no longer enforces anything by a list that is older.
pub const OLD_AFTER: Duration = Duration::from_secs(70 * 24 * 60 * 60);

/// How a log is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Api {
    /// RFC 6962: get-sth, get-entries.
    Rfc6962,
    /// c2sp.org/static-ct-api: checkpoint, tiles.
    Static,
}

/// What the list's owner thinks of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Pending,
    Qualified,
    Usable,
    ReadOnly,
    Retired,
    Rejected,
    /// None is given, or one that is not known here.
    Unknown,
    /// In no list: the operator allows it.
    Allowed,
}

const STATES: [(&str, State); 6] = [
    ("pending", State::Pending),
    ("qualified", State::Qualified),
    ("usable", State::Usable),
    ("readonly", State::ReadOnly),
    ("retired", State::Retired),
    ("rejected", State::Rejected),
];

impl State {
    fn of(word: &str) -> State {
        STATES.iter().find(|(name, _)| *name == word).map_or(State::Unknown, |(_, state)| *state)
    }

    pub fn label(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Allowed => "allowed",
            _ => STATES.iter().find(|(_, state)| *state == self).map_or("unknown", |(name, _)| name),
        }
    }
}

/// When the certificates of a shard expire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    pub start: Timestamp,
    /// Not part of it.
    pub end: Timestamp,
}

/// One log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// `None` where it is known by its URL alone; what it signs cannot be verified then.
    pub key: Option<PublicKey>,
    /// `None` where it is found by asking.
    pub api: Option<Api>,
    /// For people, and the label of its metrics; of a log in no list its name.
    pub description: String,
    /// Who runs it; empty where that is not known.
    pub operator: String,
    /// Where it is read: of a static-ct log the monitoring prefix.
    pub url: String,
    /// Where it takes submissions; the same but for static-ct.
    pub submission_url: String,
    pub state: State,
    pub since: Option<Timestamp>,
    pub interval: Option<Interval>,
    /// Maximum merge delay.
    pub mmd: Option<Duration>,
    /// The list's own timestamp: of two lists the newer is right about it.
    listed: Option<Timestamp>,
}

impl Log {
    /// A log that is known by its URL alone.
    pub fn allowed(url: &str) -> Result<Log, UrlError> {
        let url = checked(url)?;
        Ok(Log {
            key: None,
            api: None,
            description: cut(&log_name(&url), MAX_DESCRIPTION),
            operator: String::new(),
            submission_url: url.clone(),
            url,
            state: State::Allowed,
            since: None,
            interval: None,
            mmd: None,
            listed: None,
        })
    }

    pub fn id(&self) -> Option<&LogId> {
        self.key.as_ref().map(PublicKey::id)
    }

    /// Its URL as a log's name, and the other spelling where there is one.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        let (read, submitted) = (log_name(&self.url), log_name(&self.submission_url));
        let other = Some(submitted).filter(|other| *other != read);
        std::iter::once(read).chain(other)
    }

    /// What its checkpoints must name; not known where it is known by its URL alone.
    pub(super) fn origin(&self) -> Option<String> {
        self.key.is_some().then(|| log_name(&self.submission_url))
    }
}

/// Logs by id and by name.
#[derive(Clone, Debug, Default)]
pub struct LogList {
    logs: Vec<Arc<Log>>,
    timestamp: Option<Timestamp>,
    /// What is wrong with single logs, for the operator.
    pub problems: Vec<LogProblem>,
    by_id: FxHashMap<LogId, usize>,
    by_name: FxHashMap<String, usize>,
}

/// A log that is not in the list as it stands, or not under every name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("log {log:?} {what}")]
pub struct LogProblem {
    /// Its description, or its place in the list.
    pub log: String,
    pub what: String,
}

impl LogList {
    /// From the JSON of a list.
    pub fn read(json: &[u8]) -> Result<LogList, ListError> {
        if json.len() > MAX_BYTES {
            return Err(ListError::TooLarge(json.len()));
        }
        let list: Value = serde_json::from_slice(json).map_err(|error| ListError::Json(error.to_string()))?;
        let operators = list.get("operators").and_then(Value::as_array).ok_or(ListError::Operators)?;
        let timestamp = list.get("log_list_timestamp").and_then(timestamp);
        let mut read = LogList { timestamp, ..LogList::default() };
        let mut place = 0;
        for operator in operators {
            let name = cut(text(operator, "name").unwrap_or_default(), MAX_DESCRIPTION);
            for (key, api) in [("logs", Api::Rfc6962), ("tiled_logs", Api::Static)] {
                for log in operator.get(key).and_then(Value::as_array).into_iter().flatten() {
                    place += 1;
                    if place > MAX_LOGS {
                        return Err(ListError::TooManyLogs);
                    }
                    match read_log(log, api, &name, timestamp) {
                        Ok(log) => read.insert(log),
                        Err(what) => {
                            let named = text(log, "description").map(|text| cut(text, MAX_DESCRIPTION));
                            let log = named.unwrap_or_else(|| format!("no. {place}"));
                            read.problems.push(LogProblem { log, what });
                        }
                    }
                }
            }
        }
        if read.logs.is_empty() {
            return Err(ListError::Empty { problems: read.problems.len() });
        }
        Ok(read)
    }

    /// For the first start.
    pub fn built_in() -> LogList {
        built_in(include_str!("built_in.tsv"))
    }

    /// One list of several: of a log that several have, the newest list's word counts. It is as old as the oldest.
    pub fn merge(lists: impl IntoIterator<Item = LogList>) -> LogList {
        let mut lists: Vec<LogList> = lists.into_iter().collect();
        let timestamp = lists.iter().filter_map(|list| list.timestamp).min();
        let mut merged = LogList { timestamp, ..LogList::default() };
        // The first to come stays; a list without a timestamp comes last.
        lists.sort_by_key(|list| std::cmp::Reverse(list.timestamp));
        for list in lists {
            merged.problems.extend(list.problems);
            for log in list.logs {
                if log.id().is_none_or(|id| !merged.by_id.contains_key(id)) {
                    merged.insert(Arc::unwrap_or_clone(log));
                }
            }
        }
        merged
    }

    /// Adds a log by its URL, unless the list has it under either of its own.
    pub fn allow(&mut self, url: &str) -> Result<(), UrlError> {
        let log = Log::allowed(url)?;
        if self.find(&log_name(url)).is_none() {
            self.insert(log);
        }
        Ok(())
    }

    /// By a URL as a feed spells it, or by a log's name.
    pub fn find(&self, url: &str) -> Option<&Arc<Log>> {
        self.by_name.get(&log_name(url)).map(|at| &self.logs[*at])
    }

    pub fn find_id(&self, id: &LogId) -> Option<&Arc<Log>> {
        self.by_id.get(id).map(|at| &self.logs[*at])
    }

    pub fn logs(&self) -> &[Arc<Log>] {
        &self.logs
    }

    /// When it was made, if it says so: Apple's does not.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let millis = now.millis_since(self.timestamp?);
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }

    /// It is older than [`OLD_AFTER`]: new logs may be missing.
    pub fn is_old(&self, now: Timestamp) -> bool {
        self.age(now).is_some_and(|age| age > OLD_AFTER)
    }

    /// The first log that has an id or a name keeps it.
    fn insert(&mut self, log: Log) {
        let problem = |what| LogProblem { log: log.description.clone(), what };
        if let Some(id) = log.id() {
            if let Some(at) = self.by_id.get(id) {
                let other = &self.logs[*at].description;
                self.problems.push(problem(format!("has the key of {other:?}, and is left out")));
                return;
            }
            self.by_id.insert(*id, self.logs.len());
        }
        for name in log.names() {
            match self.by_name.get(&name) {
                Some(at) => {
                    let other = &self.logs[*at].description;
                    self.problems
                        .push(problem(format!("has a URL of {other:?}, which is known by it: {name}")));
                }
                None => drop(self.by_name.insert(name, self.logs.len())),
            }
        }
        self.logs.push(Arc::new(log));
    }
}

/// One log of a list; the error is what is wrong with it.
fn read_log(log: &Value, api: Api, operator: &str, listed: Option<Timestamp>) -> Result<Log, String> {
    let key = text(log, "key").ok_or("has no key")?;
    let id = text(log, "log_id").ok_or("has no log_id")?;
    let [url, submission_url] = match api {
        Api::Rfc6962 => ["url", "url"],
        Api::Static => ["monitoring_url", "submission_url"],
    }
    .map(|name| {
        let url = text(log, name).ok_or_else(|| format!("has no {name}"))?;
        checked(url).map_err(|error| format!("has a {name} that {error}"))
    });
    let (state, since) =
        match log.get("state").and_then(Value::as_object).and_then(|state| state.iter().next()) {
            Some((word, details)) => (State::of(word), details.get("timestamp").and_then(timestamp)),
            None => (State::Unknown, None),
        };
    let (url, submission_url) = (url?, submission_url?);
    let description = text(log, "description").filter(|text| !text.trim().is_empty());
    Ok(Log {
        key: Some(checked_key(key, id)?),
        api: Some(api),
        description: description.map_or_else(
            || cut(&log_name(&url), MAX_DESCRIPTION),
            |description| cut(description, MAX_DESCRIPTION),
        ),
        operator: operator.to_owned(),
        url,
        submission_url,
        state,
        since,
        interval: log.get("temporal_interval").and_then(|interval| {
            let [start, end] =
                ["start_inclusive", "end_exclusive"].map(|end| interval.get(end).and_then(timestamp));
            Some(Interval { start: start?, end: end? })
        }),
        mmd: log.get("mmd").and_then(Value::as_u64).map(Duration::from_secs),
        listed,
    })
}

/// The key, if it is the one of the id. Both are Base64.
fn checked_key(key: &str, id: &str) -> Result<PublicKey, String> {
    let spki = STANDARD.decode(key).map_err(|_| "has a key that is no Base64")?;
    let key = PublicKey::read(&spki).map_err(|error| format!("has {error}"))?;
    let id = STANDARD.decode(id).map_err(|_| "has a log_id that is no Base64")?;
    if id != key.id() {
        return Err(format!(
            "has a log_id that is not the SHA-256 of its key, {}",
            STANDARD.encode(key.id())
        ));
    }
    Ok(key)
}

/// A URL of a log, as it can be asked.
fn checked(url: &str) -> Result<String, UrlError> {
    let url = url.trim();
    let rest =
        url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or(UrlError::Scheme)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if url.len() > MAX_URL {
        Err(UrlError::TooLong(url.len()))
    } else if authority.is_empty() || authority.starts_with(':') {
        Err(UrlError::Host)
    } else if authority.contains('@') {
        Err(UrlError::Login)
    } else if authority.contains(['?', '#']) || path.contains(['?', '#']) {
        Err(UrlError::Query)
    } else if !url.bytes().all(|b| {
        b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    }) {
        Err(UrlError::Characters)
    } else {
        Ok(url.to_owned())
    }
}

/// Why a URL is no log's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    #[error("does not begin with https:// or http://")]
    Scheme,
    #[error("has no host")]
    Host,
    #[error("has a user or a password")]
    Login,
    #[error("has a query or a fragment: a log's URL is what stands before ct/v1/ or checkpoint")]
    Query,
    #[error("has characters that must be escaped")]
    Characters,
    #[error("has {0} bytes, more than {MAX_URL}")]
    TooLong(usize),
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    rfc3339(value.as_str()?)
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok().map(Timestamp)
}

/// At most so many characters, none of them one that controls a terminal or looks like nothing.
fn cut(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() || c.is_whitespace() { ' ' } else { c };
    text.trim().chars().map(plain).take(most).collect()
}

/// The table of `built_in.tsv`. What is no row is passed over; a test holds that there is none.
fn built_in(table: &str) -> LogList {
    let mut list = LogList::default();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        if let ["list", at] = fields[..] {
            list.timestamp = rfc3339(at);
            continue;
        }
        match row(&fields, list.timestamp) {
            Some(log) => list.insert(log),
            None => list.problems.push(LogProblem { log: cut(line, 40), what: "is no row".to_owned() }),
        }
    }
    list
}

fn row(fields: &[&str], listed: Option<Timestamp>) -> Option<Log> {
    let [api, state, since, start, end, mmd, id, key, url, submission_url, operator, description] = *fields
    else {
        return None;
    };
    let api = match api {
        "rfc6962" => Api::Rfc6962,
        "static" => Api::Static,
        _ => return None,
    };
    Some(Log {
        key: Some(checked_key(key, id).ok()?),
        api: Some(api),
        description: description.to_owned(),
        operator: operator.to_owned(),
        url: checked(url).ok()?,
        submission_url: checked(submission_url).ok()?,
        state: State::of(state),
        since: rfc3339(since),
        interval: Some(Interval { start: rfc3339(start)?, end: rfc3339(end)? }),
        mmd: Some(Duration::from_secs(mmd.parse().ok()?)),
        listed,
    })
}

/// Google's key for its log lists: RSA with 4,096 bits, PKCS #1 with SHA-256. It is published at
/// https://www.gstatic.com/ct/log_list/v3/log_list_pubkey.pem.
const GOOGLES_KEY: &str = "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAsu0BHGnQ++W2CTdyZyxv\
    HHRALOZPlnu/VMVgo2m+JZ8MNbAOH2cgXb8mvOj8flsX/qPMuKIaauO+PwROMjiq\
    fUpcFm80Kl7i97ZQyBDYKm3MkEYYpGN+skAR2OebX9G2DfDqFY8+jUpOOWtBNr3L\
    rmVcwx+FcFdMjGDlrZ5JRmoJ/SeGKiORkbbu9eY1Wd0uVhz/xI5bQb0OgII7hEj+\
    i/IPbJqOHgB8xQ5zWAJJ0DmG+FM6o7gk403v6W3S8qRYiR84c50KppGwe4YqSMkF\
    bLDleGQWLoaDSpEWtESisb4JiLaY4H+Kk0EyAhPSb+49JfUozYl+lf7iFN3qRq/S\
    IXXTh6z0S7Qa8EYDhKGCrpI03/+qprwy+my6fpWHi6aUIk4holUCmWvFxZDfixox\
    K0RlqbFDl2JXMBquwlQpm8u5wrsic1ksIv9z8x9zh4PJqNpCah0ciemI3YGRQqSe\
    /mRRXBiSn9YQBUPcaeqCYan+snGADFwHuXCd9xIAdFBolw9R9HTedHGUfVXPJDiF\
    4VusfX6BRR/qaadB+bqEArF/TzuDUr6FvOR4o8lUUxgLuZ/7HO+bHnaPFKYHHSm+\
    +z1lVDhhYuSZ8ax3T0C3FZpb7HMjZtpEorSV5ElKJEJwrhrBCMOD8L01EoSPrGlS\
    1w22i9uGHMn/uGQKo28u7AsCAwEAAQ==";

/// A list's signature: a file beside it, over its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedBy {
    pub signature_url: String,
    pub key: PublicKey,
}

/// Who signs the list of this URL. `None` for lists without a signature: Apple's, and files.
pub fn signed_by(url: &str) -> Option<SignedBy> {
    let list = url.strip_prefix("https://www.gstatic.com/ct/log_list/v3/")?.strip_suffix(".json")?;
    let spki = STANDARD.decode(GOOGLES_KEY).ok()?;
    Some(SignedBy {
        signature_url: format!("https://www.gstatic.com/ct/log_list/v3/{list}.sig"),
        key: PublicKey::read(&spki).ok()?,
    })
}

/// Why bytes are no log list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListError {
    #[error("a log list of {0} bytes, more than {MAX_BYTES}")]
    TooLarge(usize),
    #[error("no log list: {0}")]
    Json(String),
    #[error("no log list of version 3: it has no operators")]
    Operators,
    #[error("a log list of more than {MAX_LOGS} logs")]
    TooManyLogs,
    #[error("a log list without a log that can be used; {problems} cannot")]
    Empty { problems: usize },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::key::sha256;
    use super::super::key::tests::Signer;
    use super::*;

    fn log(spki: &[u8], more: &Value) -> Value {
        let mut log = json!({
            "description": "Example 'log'",
            "log_id": STANDARD.encode(sha256(spki)),
            "key": STANDARD.encode(spki),
            "url": "https://ct.example/log/",
            "mmd": 86_400,
            "state": { "usable": { "timestamp": "2024-09-30T22:19:27Z", "version": "3" } },
            "temporal_interval": {
                "start_inclusive": "2026-01-01T00:00:00Z", "end_exclusive": "2026-07-01T00:00:00Z",
            },
            "log_type": "prod",
        });
        for (key, value) in more.as_object().unwrap() {
            log[key] = value.clone();
        }
        log
    }

    fn list(timestamp: Option<&str>, logs: &[Value], tiled: &[Value]) -> LogList {
        let mut list = json!({
            "version": "85.92", "is_all_logs": false, "assetVersion": 7,
            "operators": [{ "name": "Example", "email": ["a@b"], "logs": logs, "tiled_logs": tiled }],
        });
        if let Some(timestamp) = timestamp {
            list["log_list_timestamp"] = timestamp.into();
        }
        LogList::read(list.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn lists_are_read() {
        let (one, two) = (Signer::new().spki, Signer::new().spki);
        let tiled = json!({
            "url": null, "submission_url": "https://log.example/2026/", "monitoring_url": "https://mon.example/2026",
            "description": "Tiled", "mmd": 60, "state": { "readonly": { "final_tree_head": {} } },
            "temporal_interval": { "start_inclusive": "?" },
        });
        let list = list(Some("2026-05-29T13:42:48Z"), &[log(&one, &json!({}))], &[log(&two, &tiled)]);
        assert_eq!(list.problems, []);
        assert_eq!(list.timestamp().unwrap().to_string(), "2026-05-29T13:42:48.000Z");
        let [first, second] = list.logs() else { panic!("{list:?}") };
        assert_eq!(
            (first.api, first.state, first.operator.as_str()),
            (Some(Api::Rfc6962), State::Usable, "Example")
        );
        assert_eq!(first.since.unwrap().to_string(), "2024-09-30T22:19:27.000Z");
        assert_eq!(first.interval.unwrap().end.to_string(), "2026-07-01T00:00:00.000Z");
        assert_eq!(
            (first.description.as_str(), first.mmd),
            ("Example 'log'", Some(Duration::from_secs(86_400)))
        );
        assert_eq!(first.origin().as_deref(), Some("ct.example/log"));
        assert_eq!(
            (second.api, second.state, second.since, second.interval),
            (Some(Api::Static), State::ReadOnly, None, None)
        );
        assert_eq!(
            (second.url.as_str(), second.origin().as_deref()),
            ("https://mon.example/2026", Some("log.example/2026"))
        );
        for (url, want) in [
            ("https://ct.example/log/", Some(first)),
            ("HTTPS://CT.example/log", Some(first)),
            ("ct.example/log", Some(first)),
            ("https://mon.example/2026/", Some(second)),
            ("https://log.example/2026", Some(second)),
            ("https://log.example/", None),
        ] {
            assert_eq!(list.find(url), want, "{url}");
        }
        assert_eq!(list.find_id(&sha256(&two)), Some(second));
        assert_eq!(list.find_id(&[0; 32]), None);
    }

    #[test]
    fn states_are_the_list_s() {
        for (state, want) in [
            (json!({ "pending": { "timestamp": "2026-01-01T00:00:00Z" } }), "pending"),
            (json!({ "qualified": {} }), "qualified"),
            (json!({ "usable": {} }), "usable"),
            (json!({ "readonly": {} }), "readonly"),
            (json!({ "retired": 7 }), "retired"),
            (json!({ "rejected": {} }), "rejected"),
            (json!({ "expired": {} }), "unknown"),
            (json!({}), "unknown"),
            (json!(null), "unknown"),
        ] {
            let list = list(None, &[log(&Signer::new().spki, &json!({ "state": state }))], &[]);
            assert_eq!(list.logs()[0].state.label(), want, "{state}");
        }
    }

    #[test]
    fn a_log_that_cannot_be_used_is_told_and_hides_no_other() {
        let (spki, other) = (Signer::new().spki, Signer::new().spki);
        for (more, want) in [
            (json!({ "log_id": STANDARD.encode(sha256(b"other")) }), "not the SHA-256 of its key"),
            (json!({ "log_id": "?" }), "a log_id that is no Base64"),
            (json!({ "log_id": 7 }), "has no log_id"),
            (json!({ "key": "?" }), "a key that is no Base64"),
            (json!({ "key": STANDARD.encode(b"\x30\x00") }), "no SubjectPublicKeyInfo"),
            (json!({ "key": null }), "has no key"),
            (json!({ "url": null }), "has no url"),
            (json!({ "url": "ftp://h/" }), "has a url that does not begin with https://"),
            (json!({ "url": "https:///log" }), "has no host"),
            (json!({ "url": "https://u:p@h/" }), "has a user"),
            (json!({ "url": "https://h/log?x" }), "has a query"),
            (json!({ "url": "https://h/a\r\nb" }), "must be escaped"),
            (json!({ "url": format!("https://h/{}", "x".repeat(600)) }), "has 610 bytes, more than 512"),
        ] {
            let list = list(None, &[log(&spki, &more), log(&other, &json!({}))], &[]);
            assert_eq!(list.logs().len(), 1, "{more}");
            let [problem] = &list.problems[..] else { panic!("{more}: {:?}", list.problems) };
            assert!(problem.to_string().starts_with("log \"Example 'log'\" has"), "{problem}");
            assert!(problem.to_string().contains(want), "{more}: {problem}");
        }
        // The same key twice, and two keys at one URL.
        let list =
            list(None, &[log(&spki, &json!({})), log(&spki, &json!({})), log(&other, &json!({}))], &[]);
        assert_eq!((list.logs().len(), list.problems.len()), (2, 2), "{:?}", list.problems);
        assert_eq!(list.find("ct.example/log").unwrap().id(), Some(&sha256(&spki)));
    }

    #[test]
    fn texts_become_labels() {
        let long = "x".repeat(300);
        for (description, want) in [
            (json!(" a\r\n\tb\u{1b}[31m "), "a   b [31m"),
            (json!("é".repeat(300)), &*"é".repeat(256)),
            (json!(long), &long[..256]),
            (json!("  "), "ct.example/log"),
            (json!(null), "ct.example/log"),
        ] {
            let list = list(None, &[log(&Signer::new().spki, &json!({ "description": description }))], &[]);
            assert_eq!(list.logs()[0].description, want);
        }
    }

    #[test]
    fn what_is_no_list_is_refused_whole() {
        let one = log(&Signer::new().spki, &json!({}));
        let many = json!({ "operators": [{ "logs": vec![json!({}); MAX_LOGS + 1] }] }).to_string();
        let deep = "[".repeat(100_000);
        for (json, want) in [
            ("", "no log list: EOF"),
            ("<html>", "no log list: expected value"),
            ("[]", "it has no operators"),
            ("{\"operators\":{}}", "it has no operators"),
            ("{\"operators\":[]}", "without a log that can be used; 0 cannot"),
            ("{\"operators\":[1,null,{\"logs\":7},{\"logs\":[1,\"a\"]}]}", "2 cannot"),
            (&many, "more than 1000 logs"),
            (&deep, "recursion limit"),
            (&" ".repeat(MAX_BYTES + 1), "more than 4194304"),
            (&format!("{{\"operators\":[{{\"logs\":[{one}"), "EOF"),
        ] {
            let error = LogList::read(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn of_two_lists_the_newer_is_right_about_a_log() {
        let (one, two) = (Signer::new().spki, Signer::new().spki);
        let named =
            |name: &str, spki: &[u8], url: &str| log(spki, &json!({ "description": name, "url": url }));
        let old = list(Some("2026-01-01T00:00:00Z"), &[named("old", &one, "https://a.example/")], &[]);
        let new = list(Some("2026-02-01T00:00:00Z"), &[named("new", &one, "https://a.example/")], &[]);
        let none = list(
            None,
            &[named("none", &one, "https://a.example/"), named("other", &two, "https://b.example/")],
            &[],
        );
        for lists in [[&old, &new, &none], [&none, &new, &old], [&new, &none, &old]] {
            let merged = LogList::merge(lists.map(Clone::clone));
            let names: Vec<_> = merged.logs().iter().map(|log| log.description.as_str()).collect();
            assert_eq!(names, ["new", "other"]);
            assert_eq!(merged.timestamp(), old.timestamp());
            assert_eq!(merged.find("b.example").unwrap().description, "other");
            assert_eq!(merged.problems, []);
        }
        assert_eq!(LogList::merge([none]).timestamp(), None);
    }

    #[test]
    fn a_list_ages() {
        let list = list(Some("2026-05-29T00:00:00Z"), &[log(&Signer::new().spki, &json!({}))], &[]);
        let day = |n: i64| list.timestamp().unwrap().plus_millis(n * 24 * 60 * 60 * 1000);
        assert_eq!(list.age(day(1)), Some(Duration::from_secs(24 * 60 * 60)));
        assert_eq!(list.age(day(-1)), Some(Duration::ZERO));
        assert_eq!((list.is_old(day(70)), list.is_old(day(71))), (false, true));
        assert!(!LogList::default().is_old(day(1)));
    }

    #[test]
    fn an_allowed_log_is_known_by_its_url_alone() {
        let mut list = list(None, &[log(&Signer::new().spki, &json!({}))], &[]);
        list.allow("http://127.0.0.1:17692/log2026/").unwrap();
        list.allow("http://127.0.0.1:17692/log2026").unwrap();
        // The list knows more about it.
        list.allow("https://CT.example/log").unwrap();
        assert_eq!(list.logs().len(), 2);
        let allowed = list.find("127.0.0.1:17692/log2026").unwrap();
        assert_eq!((allowed.id(), allowed.api, allowed.state.label()), (None, None, "allowed"));
        assert_eq!((allowed.description.as_str(), allowed.origin()), ("127.0.0.1:17692/log2026", None));
        assert_eq!(list.allow("127.0.0.1:17692/log2026"), Err(UrlError::Scheme));
        assert_eq!(LogList::merge([list]).logs().len(), 2);
    }

    #[test]
    fn the_built_in_table_is_sound() {
        let list = LogList::built_in();
        assert_eq!(list.problems, []);
        assert_eq!(list.timestamp().unwrap().to_string(), "2026-05-29T13:42:48.000Z");
        let rows = include_str!("built_in.tsv").lines().filter(|line| !line.starts_with(['#', 'l'])).count();
        assert_eq!((list.logs().len(), rows), (52, 52));
        for log in list.logs() {
            assert!(matches!(log.state, State::Usable | State::Qualified | State::ReadOnly), "{log:?}");
            assert!(log.url.starts_with("https://") && log.url.ends_with('/'), "{log:?}");
            assert!(log.since.is_some() && log.interval.is_some_and(|i| i.start < i.end), "{log:?}");
        }
        assert!(built_in("what is no row").problems.len() == 1);
    }

    #[test]
    fn google_s_lists_are_signed() {
        const V3: &str = "https://www.gstatic.com/ct/log_list/v3";
        let by = signed_by(&format!("{V3}/all_logs_list.json")).unwrap();
        assert_eq!(by.signature_url, format!("{V3}/all_logs_list.sig"));
        assert!(by.key.verify(b"a list", &[0; 512]).is_err());
        for other in ["https://valid.apple.com/ct/log_list/current_log_list.json", "lists/log_list.json"] {
            assert_eq!(signed_by(other), None);
        }
    }
}
