//! The watch list as an operator writes it: TOML and bulk lists in, [`WatchList`] out.
//!
//! [`Reading`] takes one file after another, as text that somebody else has read, and notes every
//! mistake with its place. The entries it collects are in the form in which names are compared; what
//! matches what is left to [`Matcher`](super::Matcher), what a policy means to the judge.
//!
//! Pure: bulk lists come through a [`Load`]. Bounds: [`MAX_BYTES`] over all sources, ids, labels and
//! references as long as a record of bounded size can hold.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use crate::document::{self, Keys};
use crate::problem::{Problem, Problems, Report};

use super::domains::NameList;
use super::expect::{self, EXPECT_KEYS, Expectation, KeyHash};
use super::extent::{Extent, Of, Part, What};
use super::keywords::{self, KeywordList};
use super::name;
use super::networks::{self, NetworkList};

/// A million names, a million networks and a hundred thousand keywords are 50 MB. Offsets into the
/// collected text have 32 bits, and an A-label may be some times longer than what was written.
pub const MAX_BYTES: usize = 512 * 1024 * 1024;

/// Half of what a Kafka header and an ECS keyword are comfortable with.
const MAX_ID: usize = 200;
const MAX_LABELS: usize = 32;
const MAX_LABEL_KEY: usize = 64;
/// Labels and reference stand in every record, and a record has at most 64 KiB.
const MAX_LABEL_VALUE: usize = 256;
const MAX_REFERENCE: usize = 2_048;
/// Alerts of low and medium severity an hour, of one asset.
const ALERT_CAP: u32 = 100;
const MAX_ALERT_CAP: u32 = 1_000_000;

/// The asset that stands for the list as a whole.
pub const WHOLE_LIST: &str = "-";

pub(super) const ASSET: &str = "[[asset]]";
const EXPECT: &str = "[[asset.expect]]";

/// What is watched, and what may be issued for it.
#[derive(Clone, Debug)]
pub struct WatchList {
    /// In the order written; a hit names one by its index.
    pub assets: Vec<Asset>,
    /// `sha256:` and eight hex digits, over the bytes of all sources in the order read.
    pub version: String,
    /// The names of its files.
    pub ruleset: String,
    /// Everything that was read, as paths: who polls for changes looks at these.
    pub sources: Vec<String>,
    /// Stands for the list as a whole, as `-`: a name that could denote what any asset watches is one
    /// finding, not one for each.
    pub whole: Asset,
    pub(super) entries: Entries,
}

/// Everything to be matched.
#[derive(Clone, Default, Debug)]
pub(super) struct Entries {
    pub names: NameList,
    pub networks: NetworkList,
    pub keywords: KeywordList,
    pub excepted_names: NameList,
    pub excepted_networks: NetworkList,
}

/// One `[[asset]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asset {
    pub id: String,
    pub policy: Policy,
    /// Of an unexpected certificate; `None` with [`Policy::Observe`].
    pub severity: Option<Severity>,
    /// Of a keyword hit; without it keyword hits are observed only.
    pub keyword_severity: Option<Severity>,
    /// Copied into records.
    pub labels: BTreeMap<String, String>,
    pub reference: Option<String>,
    /// Any of them may hold.
    pub expect: Vec<Expectation>,
    /// So many alerts of low and medium severity an hour; further ones are held back.
    pub alert_cap: u32,
    /// The file it stands in.
    pub file: String,
}

impl Asset {
    /// A name such as `*.com` is nobody's to certify.
    fn whole() -> Asset {
        Asset {
            id: WHOLE_LIST.to_owned(),
            policy: Policy::NeverIssue,
            severity: Some(Severity::High),
            keyword_severity: None,
            labels: BTreeMap::new(),
            reference: None,
            expect: Vec::new(),
            alert_cap: ALERT_CAP,
            file: String::new(),
        }
    }
}

/// What a certificate for something owned means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Policy {
    /// Any certificate is unexpected.
    NeverIssue,
    /// One from an issuer that is not listed is unexpected.
    Expect,
    /// Recorded, never alerted.
    Observe,
}

impl Policy {
    pub const ALL: [Policy; 3] = [Policy::NeverIssue, Policy::Expect, Policy::Observe];

    /// As the watch list and the records write it.
    pub fn label(self) -> &'static str {
        match self {
            Policy::NeverIssue => "never-issue",
            Policy::Expect => "expect",
            Policy::Observe => "observe",
        }
    }
}

/// How bad it is; critical and high page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    pub const ALL: [Severity; 4] = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    pub fn label(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// What Elastic's external-alert rule maps back to the same word.
    pub fn score(self) -> u8 {
        match self {
            Severity::Low => 21,
            Severity::Medium => 47,
            Severity::High => 73,
            Severity::Critical => 99,
        }
    }
}

/// A bulk list that was read for a watch list.
pub struct Bulk {
    /// Its path, as messages show it.
    pub file: String,
    pub bytes: Vec<u8>,
}

/// Reads a bulk list, by the path that the watch list names; the error is a reason for the operator.
pub type Load<'a> = &'a mut dyn FnMut(&str) -> Result<Bulk, String>;

impl WatchList {
    /// One file whole.
    pub fn parse(file: &str, text: &[u8], load: Load<'_>) -> Result<WatchList, Problems> {
        let mut reading = Reading::new();
        reading.file(file, text, load);
        reading.finish()
    }
}

/// A watch list while its files are read.
pub struct Reading {
    list: WatchList,
    problems: Problems,
    digest: ring::digest::Context,
    bytes: usize,
    /// Where each asset id stands.
    ids: HashMap<String, String>,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading::new()
    }
}

impl Reading {
    pub fn new() -> Reading {
        Reading {
            list: WatchList {
                assets: Vec::new(),
                version: String::new(),
                ruleset: String::new(),
                sources: Vec::new(),
                whole: Asset::whole(),
                entries: Entries::default(),
            },
            problems: Problems::default(),
            digest: ring::digest::Context::new(&ring::digest::SHA256),
            bytes: 0,
            ids: HashMap::new(),
        }
    }

    /// A mistake outside of the texts: a file that could not be read.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Takes the assets of one file.
    pub fn file(&mut self, file: &str, bytes: &[u8], load: Load<'_>) {
        let base = file.rsplit(['/', '\\']).next().unwrap_or(file);
        if !self.list.ruleset.is_empty() {
            self.list.ruleset.push(',');
        }
        self.list.ruleset.push_str(base);
        let Some(text) = self.text(file, bytes) else { return };
        let mut report = Report::new(file, text);
        let document = document::parse(&mut report);
        let mut keys = Keys::new(document.get_ref(), 0..0, "a watch list");
        let mut line = Lines::default();
        for asset in keys.tables(&mut report, "asset", ASSET) {
            let line = line.of(text, asset.place().start);
            self.asset(&mut report, asset, line, load);
        }
        keys.finish(&mut report, &[], &[(ASSET, ASSET_KEYS)]);
        report.finish(&mut self.problems);
    }

    /// The list, if there was no mistake.
    pub fn finish(mut self) -> Result<WatchList, Problems> {
        if self.problems.is_empty() && self.list.assets.is_empty() {
            let file = self.list.ruleset.clone();
            self.problem(Problem::of_file(
                file,
                "the watch list has no asset",
                "write [[asset]] and its keys below it",
            ));
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let digest = self.digest.finish();
        self.list.version = format!("sha256:{}", Hex(&digest.as_ref()[..4]));
        Ok(self.list)
    }

    /// The text of a source, counted and hashed.
    fn text<'t>(&mut self, file: &str, bytes: &'t [u8]) -> Option<&'t str> {
        self.digest.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.list.sources.push(file.to_owned());
        if self.bytes > MAX_BYTES {
            let message = format!("with this file the watch list has more than {} MiB", MAX_BYTES >> 20);
            self.problem(Problem::of_file(file, message, "split it over several instances"));
            return None;
        }
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let mut report = Report::new(file, &good);
                report.add(good.len()..good.len(), "this is no UTF-8 from here on", "save the file as UTF-8");
                report.finish(&mut self.problems);
                None
            }
        }
    }

    fn asset(&mut self, report: &mut Report<'_>, mut keys: Keys<'_, '_>, line: usize, load: Load<'_>) {
        let asset = self.list.assets.len() as u32;
        let id = self.id(report, &mut keys, line);
        let policy = choice(report, &mut keys, "policy", &Policy::ALL, Policy::label);
        if policy.is_none() && !keys.has("policy") {
            report.missing(
                keys.place(),
                "an asset without policy",
                "there is no default: write policy = \"never-issue\", \"expect\" or \"observe\"",
            );
        }
        let severity = choice(report, &mut keys, "severity", &Severity::ALL, Severity::label);
        let keyword_severity = choice(report, &mut keys, "keyword_severity", &Severity::ALL, Severity::label);
        let mistakes = (report.count(), self.problems.len());
        let entries = &self.list.entries;
        let (names, networks, keywords) =
            (entries.names.count(), entries.networks.counts(), entries.keywords.count());
        let mut parts = Vec::new();
        let watched = self.entries(report, &mut keys, asset, &mut parts, load);
        if !watched {
            report.missing(
                keys.place(),
                "an asset that watches nothing",
                "give it domains, exact, domains_file, certspotter_file, networks or keywords",
            );
        }
        let labels = labels(report, &mut keys);
        let reference = keys.text(report, "reference").and_then(|reference| {
            let (text, place) = (*reference.get_ref(), reference.span());
            checked(report, "reference", text, place, MAX_REFERENCE).then(|| text.to_owned())
        });
        let alert_cap = alert_cap(report, &mut keys);
        let by_key = requires_key(report, &mut keys, policy);
        let tables = keys.tables(report, "expect", EXPECT);
        match policy {
            Some(Policy::Expect) if tables.is_empty() => report.missing(
                keys.place_of("policy"),
                "policy expect without an expectation",
                "say who may issue in an [[asset.expect]] below, or write \"never-issue\" or \"observe\"",
            ),
            Some(Policy::NeverIssue) if !tables.is_empty() => report.add(
                keys.place_of("policy"),
                "policy never-issue beside an [[asset.expect]]",
                "write \"expect\" if somebody may issue, or remove the table",
            ),
            _ => {}
        }
        let expect = tables
            .into_iter()
            .map(|table| self.expectation(report, table, by_key, &mut parts, load))
            .collect();
        if mistakes == (report.count(), self.problems.len()) {
            let entries = &self.list.entries;
            let extent = Extent {
                names: entries.names.since(names),
                networks: entries.networks.since(networks),
                has_keywords: entries.keywords.count() > keywords,
            };
            extent.check(&parts, keys.place_of("except"), report);
        }
        keys.finish(report, &[], &[(EXPECT, EXPECT_KEYS)]);
        // With a mistake the list is refused whole: what stands in for the missing is never seen.
        let policy = policy.unwrap_or(Policy::Observe);
        let severity = match policy {
            Policy::NeverIssue => Some(severity.unwrap_or(Severity::Critical)),
            Policy::Expect => Some(severity.unwrap_or(Severity::High)),
            Policy::Observe => None,
        };
        let file = report.file().to_owned();
        self.list.assets.push(Asset {
            id,
            policy,
            severity,
            keyword_severity,
            labels,
            reference,
            expect,
            alert_cap,
            file,
        });
    }

    /// One `[[asset.expect]]`; `by_key` where the asset requires listed keys.
    fn expectation(
        &mut self,
        report: &mut Report<'_>,
        keys: Keys<'_, '_>,
        by_key: bool,
        parts: &mut Vec<Part>,
        load: Load<'_>,
    ) -> Expectation {
        let place = keys.place();
        let table = expect::read(report, keys, parts, &mut |report, path, place| match load(path) {
            Ok(bulk) => self.subject_keys(&bulk),
            Err(reason) => {
                let hint = "its path is relative to this file";
                report.add(place, format!("subject_keys_file `{path}` cannot be read: {reason}"), hint);
                Vec::new()
            }
        });
        if by_key && table.subject_keys.is_none() {
            report.missing(
                place,
                "an [[asset.expect]] without keys in an asset with require = \"key\"",
                "give it subject_keys_file or subject_spki_sha256: without a listed key it would never hold",
            );
        }
        table
    }

    fn subject_keys(&mut self, bulk: &Bulk) -> Vec<KeyHash> {
        let Some(text) = self.text(&bulk.file, &bulk.bytes) else { return Vec::new() };
        let mut report = Report::new(bulk.file.as_str(), text);
        let keys = expect::keys_of(&mut report);
        report.finish(&mut self.problems);
        keys
    }

    fn id(&mut self, report: &mut Report<'_>, keys: &mut Keys<'_, '_>, line: usize) -> String {
        let Some(id) = keys.text(report, "id") else {
            if !keys.has("id") {
                report.missing(
                    keys.place(),
                    "an asset without id",
                    "write id = \"…\": records and metrics name it",
                );
            }
            return String::new();
        };
        let (id, place) = (*id.get_ref(), id.span());
        if id == WHOLE_LIST {
            report.add(place, "asset id `-` is reserved", "it stands for the list as a whole in records");
        } else if checked(report, "id", id, place.clone(), MAX_ID) {
            match self.ids.get(id) {
                Some(first) => report.add(
                    place,
                    format!("asset id `{id}` is used already at {first}"),
                    "ids are unique over all files of a watch list",
                ),
                None => {
                    self.ids.insert(id.to_owned(), format!("{}:{line}", report.file()));
                }
            }
        }
        id.to_owned()
    }

    /// Everything the asset watches or takes out; what it takes out is added to `parts`, too. False where it names nothing to watch.
    fn entries(
        &mut self,
        report: &mut Report<'_>,
        keys: &mut Keys<'_, '_>,
        asset: u32,
        parts: &mut Vec<Part>,
        load: Load<'_>,
    ) -> bool {
        let mut watched = false;
        let entries = &mut self.list.entries;
        for (key, exact) in [("domains", false), ("exact", true)] {
            keys.each_text(report, key, |report, text, place| {
                watched = true;
                match name::parse(text) {
                    Ok(name) => entries.names.push(&name, asset, exact),
                    Err(error) => report.add(place, error.to_string(), error.hint()),
                }
            });
        }
        keys.each_text(report, "networks", |report, text, place| {
            watched = true;
            match networks::parse(text) {
                Ok(network) => entries.networks.push(network, asset),
                Err(error) => report.add(place, error.to_string(), error.hint()),
            }
        });
        keys.each_text(report, "keywords", |report, text, place| {
            watched = true;
            match keywords::parse(text) {
                Ok(keyword) => entries.keywords.push(&keyword, asset),
                Err(error) => report.add(place, error.to_string(), error.hint()),
            }
        });
        keys.each_text(report, "except", |report, text, place| match networks::parse(text) {
            Ok(network) => {
                entries.excepted_networks.push(network, asset);
                parts.push(Part { of: Of::Except, what: What::Network(network), place });
            }
            Err(error @ (networks::NetworkError::HostBits { .. } | networks::NetworkError::Length(_))) => {
                report.add(place, error.to_string(), error.hint());
            }
            Err(_) => match name::parse_any(text) {
                Ok(name) => {
                    entries.excepted_names.push(&name, asset, false);
                    parts.push(Part { of: Of::Except, what: What::Name(name.into_owned()), place });
                }
                Err(error) => report.add(place, error.to_string(), error.hint()),
            },
        });
        let mut files: Vec<(&str, Range<usize>, Dialect)> = Vec::new();
        for (key, dialect) in [("domains_file", Dialect::Domains), ("certspotter_file", Dialect::CertSpotter)]
        {
            keys.each_text(report, key, |_, path, place| files.push((path, place, dialect)));
        }
        for (path, place, dialect) in files {
            match load(path) {
                Ok(bulk) => watched |= self.bulk(&bulk, asset, dialect),
                Err(reason) => {
                    watched = true;
                    let hint = "its path is relative to this file";
                    report.add(place, format!("{} `{path}` cannot be read: {reason}", dialect.key()), hint);
                }
            }
        }
        watched
    }

    /// Takes the names of a bulk list. False where it has none.
    fn bulk(&mut self, bulk: &Bulk, asset: u32, dialect: Dialect) -> bool {
        let Some(text) = self.text(&bulk.file, &bulk.bytes) else { return true };
        let mut report = Report::new(bulk.file.as_str(), text);
        let names = &mut self.list.entries.names;
        names.reserve(memchr::memchr_iter(b'\n', bulk.bytes.as_slice()).count() + 1, text.len());
        let mut any = false;
        for (at, entry) in entries_of(text) {
            any = true;
            match dialect.parse(entry) {
                Ok((name, exact)) => names.push(&name, asset, exact),
                Err((message, hint)) => report.add(at..at + entry.len(), message, hint),
            }
        }
        report.finish(&mut self.problems);
        any
    }
}

pub(super) const ASSET_KEYS: &[&str] = &[
    "id",
    "policy",
    "severity",
    "keyword_severity",
    "domains",
    "exact",
    "networks",
    "keywords",
    "except",
    "domains_file",
    "certspotter_file",
    "labels",
    "reference",
    "require",
    "alert_cap",
    "expect",
];

/// How a bulk list writes its names.
#[derive(Clone, Copy)]
enum Dialect {
    Domains,
    CertSpotter,
}

impl Dialect {
    fn key(self) -> &'static str {
        match self {
            Dialect::Domains => "domains_file",
            Dialect::CertSpotter => "certspotter_file",
        }
    }

    /// The name, and whether it stands for itself only.
    fn parse(self, entry: &str) -> Result<(std::borrow::Cow<'_, str>, bool), (String, String)> {
        let (name, exact) = match (self, entry.strip_prefix('.')) {
            (Dialect::CertSpotter, Some("")) => {
                let hint = "certsieve watches what somebody owns; hunt and the entry topic show everything";
                return Err(("`.` watches every name of the world".to_owned(), hint.to_owned()));
            }
            (_, Some(name)) => (name, false),
            (Dialect::Domains, None) => (entry, false),
            (Dialect::CertSpotter, None) => (entry, true),
        };
        name::parse(name).map(|name| (name, exact)).map_err(|error| (error.to_string(), error.hint()))
    }
}

/// The entries of a bulk list, one a line, each with where it begins.
pub(super) fn entries_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let at = start + line.len() - line.trim_start().len();
        start += line.len();
        let entry = entry_of(line);
        (!entry.is_empty()).then_some((at, entry))
    })
}

/// What of a line is its entry: neither white space around it nor a comment.
fn entry_of(line: &str) -> &str {
    let entry = line.trim();
    if entry.starts_with('#') {
        return &entry[..0];
    }
    let comment = memchr::memchr_iter(b'#', entry.as_bytes())
        .find(|at| entry[..*at].ends_with(char::is_whitespace))
        .unwrap_or(entry.len());
    entry[..comment].trim_end()
}

fn labels(report: &mut Report<'_>, keys: &mut Keys<'_, '_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(table) = keys.table(report, "labels", "labels") else { return labels };
    for (count, (key, value)) in table.entries().enumerate() {
        let (name, place) = (*key.get_ref(), key.span());
        let Some(text) = value.get_ref().as_str() else {
            document::wrong_type(
                report,
                value.span(),
                &format!("label `{name}`"),
                "text in quotes",
                value.get_ref(),
            );
            continue;
        };
        if count == MAX_LABELS {
            report.add(place, format!("more than {MAX_LABELS} labels"), "they stand in every record");
            break;
        }
        if name.contains('.') {
            let hint = format!("write `{}`: records nest at a dot", name.replace('.', "_"));
            report.add(place, format!("label `{name}` has a dot in its name"), hint);
        } else if checked(report, "a label's name", name, place, MAX_LABEL_KEY)
            && fits(report, "a label", text, value.span(), MAX_LABEL_VALUE)
        {
            labels.insert(name.to_owned(), text.to_owned());
        }
    }
    labels
}

/// Whether a certificate is expected only for keys that are listed.
fn requires_key(report: &mut Report<'_>, keys: &mut Keys<'_, '_>, policy: Option<Policy>) -> bool {
    let Some(require) = keys.text(report, "require") else { return false };
    if *require.get_ref() != "key" {
        let message =
            format!("require `{}` is unknown", require.get_ref().chars().take(64).collect::<String>());
        report.add(require.span(), message, "it is \"key\", or left out");
    } else if policy.is_some_and(|policy| policy != Policy::Expect) {
        let hint = "keys are listed in [[asset.expect]]: write policy = \"expect\", or remove it";
        report.add(require.span(), "require beside a policy that expects nothing", hint);
    }
    true
}

fn alert_cap(report: &mut Report<'_>, keys: &mut Keys<'_, '_>) -> u32 {
    let Some(cap) = keys.number(report, "alert_cap") else { return ALERT_CAP };
    match u32::try_from(*cap.get_ref()) {
        Ok(value @ 1..=MAX_ALERT_CAP) => return value,
        _ => report.add(
            cap.span(),
            format!("alert_cap {} is not from 1 to {MAX_ALERT_CAP}", cap.get_ref()),
            "policy = \"observe\" raises no alert at all; high and critical ones are never capped",
        ),
    }
    ALERT_CAP
}

/// One of a few words.
fn choice<T: Copy>(
    report: &mut Report<'_>,
    keys: &mut Keys<'_, '_>,
    key: &'static str,
    all: &[T],
    label: fn(T) -> &'static str,
) -> Option<T> {
    let text = keys.text(report, key)?;
    let found = all.iter().copied().find(|one| label(*one) == *text.get_ref());
    if found.is_none() {
        let words: Vec<_> = all.iter().map(|one| label(*one)).collect();
        let given: String = text.get_ref().chars().take(64).collect();
        let hint = match document::nearest(&given, words.iter()) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("it is {}", document::listed(&words)),
        };
        report.add(text.span(), format!("{key} `{given}` is unknown"), hint);
    }
    found
}

/// Whether a text has something in it, and [`fits`].
pub(super) fn checked(
    report: &mut Report<'_>,
    key: &str,
    text: &str,
    place: Range<usize>,
    limit: usize,
) -> bool {
    if text.trim().is_empty() {
        report.add(place, format!("{key} is empty"), "write something, or remove the key");
        return false;
    }
    fits(report, key, text, place, limit)
}

/// Whether a text has at most so many bytes and no control characters.
fn fits(report: &mut Report<'_>, key: &str, text: &str, place: Range<usize>, limit: usize) -> bool {
    if text.len() > limit {
        report.add(place, format!("{key} has {} bytes", text.len()), format!("it may have at most {limit}"));
    } else if text.chars().any(char::is_control) {
        report.add(place, format!("{key} has a control character in it"), "write printable text");
    } else {
        return true;
    }
    false
}

/// Line numbers of places that come in order, counted on from the last.
#[derive(Default)]
struct Lines {
    at: usize,
    newlines: usize,
}

impl Lines {
    fn of(&mut self, text: &str, at: usize) -> usize {
        if let Some(between) = text.as_bytes().get(self.at..at) {
            self.newlines += memchr::memchr_iter(b'\n', between).count();
            self.at = at;
        }
        self.newlines + 1
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Matcher;

    fn no_files(_: &str) -> Result<Bulk, String> {
        Err("there is no such file".to_owned())
    }

    fn parse(text: &str) -> Result<WatchList, Problems> {
        WatchList::parse("dir/watchlist.toml", text.as_bytes(), &mut no_files)
    }

    /// Asserts the line, message and hint of every mistake, in order.
    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let problems = match parse(text) {
            Ok(_) => panic!("no problem in {text}"),
            Err(problems) => problems,
        };
        let found: Vec<_> = problems
            .iter()
            .map(|problem| (problem.line.unwrap_or(0), problem.message.as_str(), problem.hint.as_str()))
            .collect();
        assert_eq!(found, expected, "\n{problems}");
    }

    /// Reads one bulk list and asserts the patterns, `=` before those that are exact.
    fn check_bulk(key: &str, bytes: &[u8], expected: &[&str]) {
        let text = format!("[[asset]]\nid = 'a'\npolicy = 'observe'\n{key} = 'bulk.txt'\n");
        let mut load = |path: &str| {
            assert_eq!(path, "bulk.txt");
            Ok(Bulk { file: "dir/bulk.txt".to_owned(), bytes: bytes.to_vec() })
        };
        let list = WatchList::parse("watchlist.toml", text.as_bytes(), &mut load).unwrap();
        let domains = Matcher::new(list).unwrap().domains;
        let mut patterns: Vec<_> = (0..domains.entries().len())
            .map(|index| {
                format!("{}{}", if domains.entries()[index].exact { "=" } else { "" }, domains.name(index))
            })
            .collect();
        patterns.sort();
        assert_eq!(patterns, expected);
    }

    const WHOLE: &str = r#"
[[asset]]
id = "resolver"
networks = ["1.1.1.1/32", "1.0.0.1", "2606:4700:4700::/48"]
policy = "expect"
severity = "critical"
labels = { team = "dns-oncall" }
reference = "https://runbooks.example.net/ct"
[[asset.expect]]
issuer_organization = "DigiCert Inc"
issuer_key_id = "7F:3C:1D"
[[asset.expect]]
issuer_common_name = ["R10", "R11"]

[[asset]]
id = "range"
networks = "1.1.1.0/24"
except = ["1.1.1.1/32"]
policy = "never-issue"

[[asset]]
id = "shop"
domains = ["example.com"]
exact = ["login.example.net"]
except = ["*.cdn.example.com"]
keywords = ["examplebank"]
keyword_severity = "low"
policy = "observe"
"#;

    #[test]
    fn a_list_is_read_whole() {
        let list = parse(WHOLE).unwrap();
        assert_eq!(list.ruleset, "watchlist.toml");
        let expected = ring::digest::digest(&ring::digest::SHA256, WHOLE.as_bytes());
        assert_eq!(list.version, format!("sha256:{}", Hex(&expected.as_ref()[..4])));
        let resolver = &list.assets[0];
        assert_eq!((resolver.policy, resolver.severity), (Policy::Expect, Some(Severity::Critical)));
        assert_eq!(resolver.labels["team"], "dns-oncall");
        assert_eq!(resolver.reference.as_deref(), Some("https://runbooks.example.net/ct"));
        assert_eq!(resolver.expect[0].issuer_organization, ["DigiCert Inc"]);
        assert_eq!(resolver.expect[0].issuer_key_id, ["7f3c1d"]);
        assert_eq!(resolver.expect[1].issuer_common_name, ["R10", "R11"]);
        assert_eq!(
            (list.assets[1].policy, list.assets[1].severity),
            (Policy::NeverIssue, Some(Severity::Critical))
        );
        assert_eq!((list.assets[2].policy, list.assets[2].severity), (Policy::Observe, None));
        assert_eq!(list.assets[2].keyword_severity, Some(Severity::Low));
        let counts = Matcher::new(list).unwrap().counts();
        assert_eq!((counts.domain, counts.exact, counts.network, counts.keyword), (1, 1, 4, 1));
    }

    #[test]
    fn ten_mistakes_are_ten_reports() {
        check(
            r#"[[asset]]
id = "a"
domains = ["example.com", "https://example.org/", "co.uk"]
networks = ["1.1.1.1/24"]
polcy = "observe"

[[asset]]
id = "a"
policy = "expect"
severity = "hihg"
require = "key"
[[asset.expect]]
issuer_key_id = "xyz"
subject_spki_sha256 = "abc"
"#,
            &[
                (
                    1,
                    "an asset without policy",
                    "there is no default: write policy = \"never-issue\", \"expect\" or \"observe\"",
                ),
                (
                    3,
                    "`https://example.org/` is a URL, not a name",
                    "write the host name alone, such as \"example.com\"",
                ),
                (
                    3,
                    "`co.uk` is a public suffix, under which strangers own names",
                    "write the names under it that are yours",
                ),
                (
                    4,
                    "`1.1.1.1/24` has host bits set",
                    "write \"1.1.1.0/24\" for the network, or \"1.1.1.1\" for the one address",
                ),
                (5, "unknown key `polcy` in [[asset]]", "did you mean `policy`?"),
                (
                    7,
                    "an asset that watches nothing",
                    "give it domains, exact, domains_file, certspotter_file, networks or keywords",
                ),
                (
                    8,
                    "asset id `a` is used already at dir/watchlist.toml:1",
                    "ids are unique over all files of a watch list",
                ),
                (10, "severity `hihg` is unknown", "did you mean \"high\"?"),
                (
                    13,
                    "issuer_key_id is not 1 to 64 bytes of hex",
                    "write the authority key id as pairs of hex digits, with or without colons",
                ),
                (14, "subject_spki_sha256 is no SHA-256", expect::KEY_HASH_HINT),
            ],
        );
    }

    #[test]
    fn exceptions_and_scopes_lie_within_the_asset() {
        let asset = |keys: &str| format!("[[asset]]\nid = 'a'\npolicy = 'never-issue'\n{keys}\n");
        let nothing = "an asset that watches nothing: `except` takes out all of it";
        for (keys, want) in [
            ("domains = ['example.com']\nexcept = ['www.example.com']", None),
            ("exact = ['www.example.com', 'a.example.com']\nexcept = ['a.example.com']", None),
            ("exact = ['www.example.com', 'example.org']\nexcept = ['example.com']", None),
            ("networks = ['10.0.0.0/8']\nexcept = ['10.1.0.0/16', '10.2.0.1']", None),
            ("networks = ['10.1.0.0/16', '11.0.0.0/8']\nexcept = ['10.0.0.0/8']", None),
            ("networks = ['::ffff:10.0.0.0/104']\nexcept = ['10.1.0.0/16']", None),
            ("keywords = ['bank']\nexcept = ['bank.example.org']", None),
            ("domains = ['example.com']\nkeywords = ['bank']\nexcept = ['example.com']", None),
            ("domains = ['example.com']\nexcept = ['example.com']", Some((5, nothing))),
            (
                "domains = ['www.example.com']\nexact = ['example.com']\nexcept = ['example.com']",
                Some((6, nothing)),
            ),
            ("networks = ['10.1.0.0/16', '10.2.0.1']\nexcept = ['10.0.0.0/8']", Some((5, nothing))),
            (
                "domains = ['example.com']\nexcept = ['example.org']",
                Some((5, "`example.org` in `except` is nothing that the asset watches")),
            ),
            (
                "exact = ['example.com']\nexcept = ['www.example.com']",
                Some((5, "`www.example.com` in `except` is nothing that the asset watches")),
            ),
            (
                "networks = ['10.0.0.0/8']\nexcept = [\n'10.1.0.0/16',\n'11.0.0.1']",
                Some((7, "`11.0.0.1/32` in `except` is nothing that the asset watches")),
            ),
            (
                "keywords = ['bank']\nexcept = ['11.0.0.1']",
                Some((5, "`11.0.0.1/32` in `except` is nothing that the asset watches")),
            ),
        ] {
            let problems = match parse(&asset(keys)) {
                Ok(_) => Vec::new(),
                Err(problems) => problems.iter().map(|p| (p.line.unwrap_or(0), p.message.clone())).collect(),
            };
            let want: Vec<_> = want.into_iter().map(|(line, message)| (line, message.to_owned())).collect();
            assert_eq!(problems, want, "{keys}");
        }
        let scoped = |keys: &str, scope: &str| {
            format!(
                "[[asset]]\nid = 'a'\npolicy = 'expect'\n{keys}\n[[asset.expect]]\nissuer_organization = 'One'\n\
                 for = ['{scope}']\n"
            )
        };
        for (keys, scope, fits) in [
            ("domains = ['example.com']", "example.com", true),
            ("domains = ['www.example.com']", "example.com", true),
            ("domains = ['example.com']", "cdn.example.com", true),
            ("exact = ['example.com']", "cdn.example.com", false),
            ("domains = ['example.com']", "example.org", false),
            ("domains = ['example.com']", "10.0.0.1", false),
            ("networks = ['10.0.0.0/8']", "10.0.0.1", true),
            ("networks = ['10.0.0.1']", "10.0.0.0/8", true),
            ("networks = ['10.0.0.1']", "11.0.0.0/8", false),
            ("keywords = ['bank']", "bank.example.org", false),
        ] {
            let read = parse(&scoped(keys, scope));
            assert_eq!(read.is_ok(), fits, "{keys} {scope}");
            if let Err(problems) = read {
                let problem = problems.iter().next().unwrap();
                assert!(
                    problem.message.ends_with("in `for` is nothing that the asset watches"),
                    "{}",
                    problem.message
                );
                assert_eq!(problem.line, Some(7));
            }
        }
    }

    #[test]
    fn subject_keys_come_from_a_file() {
        let text = "[[asset]]\nid = 'a'\npolicy = 'expect'\nrequire = 'key'\ndomains = 'example.com'\n\
                    [[asset.expect]]\nsubject_keys_file = 'keys.txt'\n";
        let read = |bytes: &str| {
            let mut load =
                |path: &str| Ok(Bulk { file: format!("dir/{path}"), bytes: bytes.as_bytes().to_vec() });
            WatchList::parse("w.toml", text.as_bytes(), &mut load)
        };
        let list = read(&format!("# the key of the spring\r\n{} # old\n\n", "ab".repeat(32))).unwrap();
        assert!(
            list.assets[0].expect[0].lists_key(&[0xab; 32]) && !list.assets[0].expect[0].lists_key(&[0; 32])
        );
        // Whoever polls for changes looks at the file too.
        assert_eq!(list.sources, ["w.toml", "dir/keys.txt"]);
        for (bytes, line, message) in [
            ("# none yet\n", 1, "subject_keys_file lists no key"),
            ("\nabab\n", 2, "this is no SHA-256 of a key"),
        ] {
            let problems = read(bytes).map(|_| ()).unwrap_err();
            let found: Vec<_> = problems.iter().map(|p| (p.line.unwrap_or(0), p.message.as_str())).collect();
            assert_eq!(found, [(line, message)]);
        }
    }

    #[test]
    fn every_mistake_is_named() {
        const WITHOUT_KEYS: &str = "an [[asset.expect]] without keys in an asset with require = \"key\"";
        let asset = "[[asset]]\nid = 'a'\npolicy = 'observe'\ndomains = 'example.com'\n";
        let expect = asset.replace("observe", "expect");
        let table = "[[asset.expect]]\n";
        for (text, line, message) in [
            ("", 0, "the watch list has no asset"),
            ("[asset]\nid = 'a'\n", 1, "asset is a list of tables, not a table"),
            ("asset = [1]\n", 1, "asset is a list of tables, not a whole number"),
            ("[[assets]]\n", 1, "unknown key `assets` in a watch list"),
            (
                &format!("{asset}[[asset]]\npolicy = 'observe'\nexact = 'www.example.com'\n"),
                5,
                "an asset without id",
            ),
            (&format!("{asset}severity = 5\n"), 5, "severity is a whole number"),
            (&format!("{asset}labels = {{ 'a.b' = 'x' }}\n"), 5, "label `a.b` has a dot in its name"),
            (&format!("{asset}labels = {{ a = 1 }}\n"), 5, "label `a` is a whole number"),
            (&format!("{asset}reference = ''\n"), 5, "reference is empty"),
            (&format!("{asset}keywords = ['ab']\n"), 5, "keyword `ab` has fewer than 3 characters"),
            (&format!("{asset}keywords = ['abc', 3]\n"), 5, "keywords is a whole number"),
            (&format!("{asset}except = ['com']\n"), 5, "`com` is a single label"),
            (&format!("{asset}except = ['1.1.1.1/8']\n"), 5, "`1.1.1.1/8` has host bits set"),
            (
                &format!("{asset}issuer_organization = 'x'\n"),
                5,
                "`issuer_organization` is no key of [[asset]]",
            ),
            (&format!("{asset}alert_cap = 0\n"), 5, "alert_cap 0 is not from 1 to 1000000"),
            (
                &format!("{asset}domains_file = 'no.txt'\n"),
                5,
                "domains_file `no.txt` cannot be read: there is no such file",
            ),
            (&format!("{asset}[[asset.expect]]\n"), 5, "an [[asset.expect]] that expects nothing"),
            (
                &format!("{asset}[[asset.expect]]\nissuer_organization = []\n"),
                6,
                "issuer_organization is an empty list",
            ),
            (
                &format!("{asset}[[asset.expect]]\nissuer_organization = ' '\n"),
                6,
                "issuer_organization is empty",
            ),
            (
                &format!("{asset}[[asset.expect]]\npolicy = 'expect'\nissuer_common_name = 'x'\n"),
                6,
                "`policy` is no key of [[asset.expect]]",
            ),
            (&format!("{asset}require = 'keys'\n"), 5, "require `keys` is unknown"),
            (&format!("{asset}require = 'key'\n"), 5, "require beside a policy that expects nothing"),
            (&format!("{expect}require = 'key'\n{table}ca_owner = 'x'\n"), 6, WITHOUT_KEYS),
            (&format!("{expect}{table}for = 'example.com'\n"), 5, "an [[asset.expect]] that expects nothing"),
            (&format!("{expect}{table}ca_owner = 'x'\nfor = []\n"), 7, "for is an empty list"),
            (
                &format!("{expect}{table}ca_owner = 'x'\nfor = '1.1.1.1/24'\n"),
                7,
                "`1.1.1.1/24` has host bits set",
            ),
            (&format!("{expect}{table}ca_owner = 'x'\nfor = 'com'\n"), 7, "`com` is a single label"),
            (
                &format!("{expect}{table}subject_keys_file = 'k'\n"),
                6,
                "subject_keys_file `k` cannot be read: there is no such file",
            ),
            ("[[asset]]\nid = '-'\npolicy = 'observe'\nexact = 'a.example'\n", 2, "asset id `-` is reserved"),
            ("[[asset]]\nid = ''\npolicy = 'observe'\nexact = 'a.example'\n", 2, "id is empty"),
            (
                "[[asset]]\nid = \"a\\nb\"\npolicy = 'observe'\nexact = 'a.example'\n",
                2,
                "id has a control character in it",
            ),
            (
                "[[asset]]\nid = 'a'\npolicy = 'expect'\nexact = 'a.example'\n",
                3,
                "policy expect without an expectation",
            ),
            (
                "[[asset]]\nid = 'a'\npolicy = 'expected'\nexact = 'a.example'\n",
                3,
                "policy `expected` is unknown",
            ),
            ("[[asset]]\nid = 'a'\npolicy = 'observe'\nexact = []\n", 1, "an asset that watches nothing"),
            (
                "[[asset]]\nid = 'a'\nid = 'b'\npolicy = 'observe'\nexact = 'a.example'\n",
                3,
                "this is no TOML: duplicate key",
            ),
            (
                "[[asset]]\nid = 'a\npolicy = 'observe'\nexact = 'a.example'\n",
                2,
                "this is no TOML: invalid literal string, expected `'`",
            ),
        ] {
            let problems = parse(text).map(|_| ()).unwrap_err();
            let found: Vec<_> = problems
                .iter()
                .map(|problem| (problem.line.unwrap_or(0), problem.message.as_str()))
                .collect();
            assert_eq!(found, [(line, message)], "{text}");
            assert!(problems.iter().all(|problem| !problem.hint.is_empty()), "{text}");
        }
        let long =
            format!("[[asset]]\nid = '{}'\npolicy = 'observe'\nexact = 'a.example'\n", "x".repeat(201));
        check(&long, &[(2, "id has 201 bytes", "it may have at most 200")]);
    }

    #[test]
    fn mistakes_of_syntax_hide_no_others() {
        let hint = "text stands in quotes, a list in [ ], a table's name on a line of its own";
        check(
            "[[asset]]\nid = 'a\npolicy = 'observe'\nexact = 'a..example'\nseverity = high\n",
            &[
                (2, "this is no TOML: invalid literal string, expected `'`", hint),
                (
                    4,
                    "`a..example` is no domain name",
                    "labels have 1 to 63 letters, digits, hyphens or underscores, or are valid international ones",
                ),
                (5, "this is no TOML: string values must be quoted, expected literal string", hint),
            ],
        );
    }

    #[test]
    fn a_bulk_list_is_read_line_by_line() {
        let expected = ["a.example", "b.example", "c.example", "xn--bcher-kva.example"];
        check_bulk(
            "domains_file",
            "\u{feff}# customers\r\na.example\r\n  B.example.  # since May\r\n\r\n.c.example\n*.c.example\nbücher.example\na.example"
                .as_bytes(),
            &expected,
        );
        check_bulk("certspotter_file", b".a.example\nwww.b.example\n", &["=www.b.example", "a.example"]);
    }

    #[test]
    fn mistakes_of_a_bulk_list_have_its_lines() {
        let text = "[[asset]]\nid = 'a'\npolicy = 'observe'\ndomains_file = 'd'\ncertspotter_file = 'c'\n";
        let mut load = |path: &str| {
            let bytes: &[u8] = if path == "d" {
                b"a.example\nhttp://b.example\n\n com\n"
            } else {
                b".\nx.example valid_at:2020-01-01\n"
            };
            Ok(Bulk { file: path.to_owned(), bytes: bytes.to_vec() })
        };
        let problems = WatchList::parse("w", text.as_bytes(), &mut load).map(|_| ()).unwrap_err();
        let found: Vec<_> = problems
            .iter()
            .map(|problem| {
                format!(
                    "{}:{}:{} {}",
                    problem.file,
                    problem.line.unwrap(),
                    problem.column.unwrap(),
                    problem.message
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "d:2:1 `http://b.example` is a URL, not a name",
                "d:4:2 `com` is a single label",
                "c:1:1 `.` watches every name of the world",
                "c:2:1 `x.example valid_at:2020-01-01` has a port",
            ]
        );
    }

    #[test]
    fn a_list_of_mistakes_is_cut_and_counted() {
        let bytes = "com\n".repeat(5_000);
        let mut load = |_: &str| Ok(Bulk { file: "bulk".to_owned(), bytes: bytes.clone().into_bytes() });
        let text = "[[asset]]\nid = 'a'\npolicy = 'observe'\ndomains_file = 'd'\n";
        let problems = WatchList::parse("w", text.as_bytes(), &mut load).map(|_| ()).unwrap_err();
        assert_eq!((problems.iter().count(), problems.len()), (100, 5_000));
    }

    #[test]
    fn what_is_no_utf_8_is_named_by_its_line() {
        let problems =
            WatchList::parse("w", b"[[asset]]\nid = '\xff'\n", &mut no_files).map(|_| ()).unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!(
            (problem.line, problem.column, problem.message.as_str()),
            (Some(2), Some(7), "this is no UTF-8 from here on")
        );
    }

    #[test]
    fn ids_are_unique_over_files_and_files_make_one_list() {
        let asset = |id: &str| format!("[[asset]]\nid = '{id}'\npolicy = 'observe'\nexact = 'a.example'\n");
        let mut reading = Reading::new();
        reading.file("a/one.toml", asset("x").as_bytes(), &mut no_files);
        reading.file("b/two.toml", asset("y").as_bytes(), &mut no_files);
        let list = reading.finish().unwrap();
        assert_eq!((list.ruleset.as_str(), list.assets.len()), ("one.toml,two.toml", 2));
        assert_eq!(list.assets[1].file, "b/two.toml");
        assert_eq!(list.sources, ["a/one.toml", "b/two.toml"]);

        let mut reading = Reading::new();
        reading.file("a/one.toml", asset("x").as_bytes(), &mut no_files);
        reading.file("b/two.toml", asset("x").as_bytes(), &mut no_files);
        let problems = reading.finish().map(|_| ()).unwrap_err();
        let messages: Vec<_> =
            problems.iter().map(|problem| format!("{}: {}", problem.file, problem.message)).collect();
        assert_eq!(messages, ["b/two.toml: asset id `x` is used already at a/one.toml:1"]);
    }
}
