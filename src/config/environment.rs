//! Environment variables, laid over the configuration.
//!
//! `CERTSIEVE_KAFKA__BROKERS` is `brokers` in `[kafka]`: two underscores step into a table, a number
//! picks one of several (`CERTSIEVE_FEED__0__URL`). The names that an operator chooses have characters
//! that a variable has not: in `[kafka.properties]` an underscore stands for a dot, in `header` for a
//! hyphen. Values are text; a list has commas.
//!
//! A variable that names no key is a mistake, not something to be passed over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::problem::Report;

const PREFIX: &str = "CERTSIEVE_";

/// Those of the command line.
const OF_THE_COMMAND_LINE: [&str; 2] = ["CERTSIEVE_LOG", "CERTSIEVE_CONFIG"];

/// The environment of the process.
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    pub fn new(env: impl Iterator<Item = (String, String)>) -> Environment {
        Environment { variables: env.collect() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// What the machine calls itself.
    pub fn host_name(&self) -> Option<String> {
        let file = |path| std::fs::read_to_string(path).ok();
        [file("/proc/sys/kernel/hostname"), self.get("HOSTNAME").map(str::to_owned), file("/etc/hostname")]
            .into_iter()
            .flatten()
            .map(|name| name.trim().to_owned())
            .find(|name| !name.is_empty())
    }

    /// Puts the value of each variable where its name says.
    pub fn lay_over<'t>(&self, document: &mut DeTable<'t>, report: &mut Report<'t>) {
        let named = named_by_feeds(document);
        for (name, value) in &self.variables {
            let Some(path) = name.strip_prefix(PREFIX) else { continue };
            if OF_THE_COMMAND_LINE.contains(&name.as_str())
                || is_of_kubernetes(name, value)
                || named.contains(name)
            {
                continue;
            }
            let place = report.variable(name);
            let path = path.to_ascii_lowercase();
            let steps: Vec<&str> = path.split("__").collect();
            let placed = match steps.as_slice() {
                [key] => Some((&mut *document, (*key).to_owned())),
                ["canary", index, key] => {
                    element(document, "canary", index, &place).map(|canary| (canary, (*key).to_owned()))
                }
                ["feed", index, rest @ ..] => {
                    element(document, "feed", index, &place).and_then(|feed| match rest {
                        [key] => Some((feed, (*key).to_owned())),
                        ["header", header] => {
                            let header = header.replace('_', "-");
                            let headers = table(feed, "header", &place)?;
                            // A header's name has no case: one of the file is replaced, not joined.
                            let same = |known: &str| known.eq_ignore_ascii_case(&header);
                            let known =
                                headers.keys().map(|key| key.get_ref()).find(|key| same(key)).cloned();
                            known.map(|known| headers.remove(known.as_ref()));
                            Some((headers, header))
                        }
                        _ => None,
                    })
                }
                ["kafka", "properties", property] => table(document, "kafka", &place)
                    .and_then(|kafka| table(kafka, "properties", &place))
                    .map(|properties| (properties, property.replace('_', "."))),
                // Which tables there are is known to who reads them: another one is an unknown key there.
                [of, key] if !of.is_empty() && !["feed", "canary"].contains(of) => {
                    table(document, of, &place).map(|table| (table, (*key).to_owned()))
                }
                _ => None,
            };
            match placed {
                Some((table, key)) if !key.is_empty() => {
                    let value = DeValue::String(Cow::Owned(value.clone()));
                    // With its key: what is said of it names the variable and not the line beneath.
                    table.remove(key.as_str());
                    table.insert(Spanned::new(place.clone(), Cow::Owned(key)), Spanned::new(place, value));
                }
                _ => report.add(
                    place,
                    "it names no key of the configuration",
                    "write CERTSIEVE_KAFKA__BROKERS for brokers in [kafka], CERTSIEVE_FEED__0__URL for the first feed's url",
                ),
            }
        }
    }
}

/// Whether Kubernetes sets it: it tells every pod of each Service of its namespace, and one that is called
/// `certsieve` or `certsieve-kafka` has our prefix. Its values are as telling as its names: a slip of an
/// operator's pen such as `CERTSIEVE_PORT=9464` is none of them.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().is_ok();
    let url = || {
        let to = ["tcp://", "udp://", "sctp://"].iter().find_map(|scheme| value.strip_prefix(scheme));
        to.and_then(|to| to.rsplit_once(':')).is_some_and(|(_, port)| number(port))
    };
    // `__` steps into a table.
    if name.contains("__") {
        return false;
    }
    if name.ends_with("_SERVICE_HOST") {
        return value.parse::<IpAddr>().is_ok();
    }
    if let Some((_, port)) = name.split_once("_SERVICE_PORT") {
        // With the port's name behind it, where it has one.
        return (port.is_empty() || port.starts_with('_')) && number(value);
    }
    if name.ends_with("_PORT") && url() {
        return true;
    }
    // CERTSIEVE_PORT_9464_TCP, and its _PROTO, _PORT and _ADDR.
    name.match_indices("_PORT_").any(|(at, port)| {
        let mut words = name[at + port.len()..].split('_');
        let protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");
        words.next().is_some_and(number)
            && words.next().is_some_and(protocol)
            && matches!((words.next(), words.next()), (None | Some("PROTO" | "PORT" | "ADDR"), None))
    })
}

/// The variables that headers and proxies take their values from: they are no keys.
fn named_by_feeds(document: &DeTable<'_>) -> Vec<String> {
    let feeds = document.get("feed").and_then(|feeds| feeds.get_ref().as_array());
    let tables =
        feeds.into_iter().flat_map(|feeds| feeds.iter()).filter_map(|feed| feed.get_ref().as_table());
    tables
        .flat_map(|feed| {
            let headers = feed.get("header").and_then(|headers| headers.get_ref().as_table());
            headers.into_iter().flat_map(|headers| headers.values()).chain(feed.get("proxy"))
        })
        .filter_map(|value| value.get_ref().as_table()?.get("env")?.get_ref().as_str().map(str::to_owned))
        .collect()
}

/// The table of that name, made where it is missing; `None` where something else has its name.
fn table<'d, 't>(
    parent: &'d mut DeTable<'t>,
    name: &str,
    place: &Range<usize>,
) -> Option<&'d mut DeTable<'t>> {
    if !parent.contains_key(name) {
        let key = Spanned::new(place.clone(), Cow::Owned(name.to_owned()));
        parent.insert(key, Spanned::new(place.clone(), DeValue::Table(DeTable::new())));
    }
    as_table(parent.get_mut(name)?)
}

/// The table of that number from 0 in a list of them: one that is there, or the next one.
fn element<'d, 't>(
    document: &'d mut DeTable<'t>,
    list: &'static str,
    index: &str,
    place: &Range<usize>,
) -> Option<&'d mut DeTable<'t>> {
    let index: usize = index.parse().ok()?;
    if !document.contains_key(list) {
        let key = Spanned::new(place.clone(), Cow::Borrowed(list));
        document.insert(key, Spanned::new(place.clone(), DeValue::Array(DeArray::default())));
    }
    let DeValue::Array(tables) = document.get_mut(list)?.get_mut() else { return None };
    if index == tables.len() {
        tables.push(Spanned::new(place.clone(), DeValue::Table(DeTable::new())));
    }
    as_table(tables.get_mut(index)?)
}

fn as_table<'d, 't>(value: &'d mut Spanned<DeValue<'t>>) -> Option<&'d mut DeTable<'t>> {
    match value.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}
