//! `[refill]`: which logs may be asked, how politely, and when an index counts as missing.
//!
//! Only logs of the lists and of `allow` are ever fetched: a URL that a feed names makes nobody call anything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use crate::ctlog::Log;
use crate::document::Keys;
use crate::problem::Report;

use super::feed::duration;
use super::proxy::Surroundings;
use super::{NOTHING_LATER, Proxies, beside};

/// Every key of the table, for those that stand elsewhere.
pub const KEYS: &[&str] = &[
    "log_list",
    "allow",
    "contact",
    "ca_file",
    "grace",
    "ask_every",
    "requests_per_second",
    "concurrent_requests",
];

/// Chrome's, which every public log is in.
const CHROME: &str = "https://www.gstatic.com/ct/log_list/v3/log_list.json";

const MAX_LISTS: usize = 8;

const GRACE: Duration = Duration::from_secs(5 * 60);
const ASK_EVERY: Duration = Duration::from_secs(60);

/// A day's grace is no account any more; a log that is asked every second for its size says so.
const TIMES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const TIMES_HINT: &str = "it is one second to a day";

/// `[refill]`: the logs themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefillConfig {
    pub lists: Vec<ListSource>,
    /// URLs of further logs.
    pub allow: Vec<String>,
    /// In the User-Agent, so that a log's operator can reach ours.
    pub contact: Option<String>,
    /// PEM; in place of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// How long an index below the tree's size may be on its way.
    pub grace: Duration,
    /// How often each log is asked for its size.
    pub ask_every: Duration,
    pub requests_per_second: u32,
    pub concurrent_requests: usize,
    pub proxies: Proxies,
}

/// Where a log list comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListSource {
    Url(String),
    File(PathBuf),
}

impl std::fmt::Display for ListSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListSource::Url(url) => f.write_str(url),
            ListSource::File(path) => write!(f, "{}", path.display()),
        }
    }
}

pub fn read(
    file: &Path,
    mut keys: Keys<'_, '_>,
    report: &mut Report<'_>,
    surroundings: &mut Surroundings<'_>,
) -> RefillConfig {
    let mut lists = Vec::new();
    let given = keys.each_text(report, "log_list", |report, text, place| {
        if text.is_empty() {
            report.add(place, "log_list has an empty entry", "name a file or a URL");
        } else if lists.len() == MAX_LISTS {
            report.add(place, format!("log_list names more than {MAX_LISTS} lists"), "name fewer");
        } else if text.starts_with("https://") || text.starts_with("http://") {
            lists.push(ListSource::Url(text.to_owned()));
        } else {
            lists.push(ListSource::File(beside(file, text)));
        }
    });
    if given.is_none() {
        lists.push(ListSource::Url(CHROME.to_owned()));
    }
    let mut allow = Vec::new();
    keys.each_text(report, "allow", |report, text, place| match Log::allowed(text) {
        Ok(_) => allow.push(text.to_owned()),
        Err(error) => {
            let hint = "write the log's URL, such as \"https://log.example.net/2026h2\"";
            report.add(place, format!("allow has `{}`: {error}", super::shown(text)), hint);
        }
    });
    let contact = keys.text(report, "contact").and_then(|contact| {
        let read = self::contact(contact.get_ref());
        if read.is_err() {
            let hint = "write an address or a URL, such as \"ct-ops@example.net\"";
            report.add(contact.span(), "contact is no address of yours", hint);
        }
        read.ok()
    });
    let ca_file = keys.text(report, "ca_file").map(|path| beside(file, path.get_ref()));
    let grace = time(&mut keys, report, "grace", &TIMES, TIMES_HINT).unwrap_or(GRACE);
    let ask_every = time(&mut keys, report, "ask_every", &TIMES, TIMES_HINT).unwrap_or(ASK_EVERY);
    let requests_per_second = number(&mut keys, report, "requests_per_second", 1..=10_000).unwrap_or(10);
    let concurrent_requests = number(&mut keys, report, "concurrent_requests", 1..=64).unwrap_or(2);
    keys.finish(report, NOTHING_LATER, &[]);
    RefillConfig {
        lists,
        allow,
        contact,
        ca_file,
        grace,
        ask_every,
        requests_per_second,
        concurrent_requests: concurrent_requests as usize,
        proxies: surroundings.proxies(report),
    }
}

/// What a server is told of who asks.
pub fn contact(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(|c| !c.is_ascii_graphic()) {
        return Err("no address or URL, such as ct-ops@example.net");
    }
    Ok(text.to_owned())
}

fn number(
    keys: &mut Keys<'_, '_>,
    report: &mut Report<'_>,
    name: &'static str,
    range: std::ops::RangeInclusive<u32>,
) -> Option<u32> {
    let number = keys.number(report, name)?;
    match u32::try_from(*number.get_ref()).ok().filter(|number| range.contains(number)) {
        Some(number) => Some(number),
        None => {
            let message = format!("{name} is {}", number.get_ref());
            report.add(number.span(), message, format!("it is {} to {}", range.start(), range.end()));
            None
        }
    }
}

/// Whole seconds, or text with a unit.
pub fn time(
    keys: &mut Keys<'_, '_>,
    report: &mut Report<'_>,
    name: &'static str,
    range: &std::ops::RangeInclusive<Duration>,
    hint: &str,
) -> Option<Duration> {
    let value = keys.value(name)?;
    let parsed = match value.get_ref() {
        DeValue::Integer(_) => Duration::from_secs(*keys.number(report, name)?.get_ref()),
        DeValue::String(text) => match duration(text) {
            Some(parsed) => parsed,
            None => {
                let message = format!("{name} `{}` is no duration", super::shown(text));
                report.add(value.span(), message, "write seconds, or text such as \"60s\" or \"5m\"");
                return None;
            }
        },
        _ => {
            let message = format!("{name} is no duration");
            report.add(value.span(), message, "write seconds, or text such as \"60s\" or \"5m\"");
            return None;
        }
    };
    if !range.contains(&parsed) {
        let message = format!("{name} is {} s", parsed.as_secs());
        report.add(value.span(), message, hint);
        return None;
    }
    Some(parsed)
}
