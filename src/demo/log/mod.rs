//! The logs of the demo as their own servers would serve them: to read from, below each log's URL.
//!
//! Those of RFC 6962 answer `ct/v1/get-sth` and `ct/v1/get-entries`, those of static-ct `checkpoint`,
//! `tile/data/…` and `issuer/…`; at the root lies `log_list.json`, which names them all with their keys. They
//! behave as real ones do where a client can be wrong: at most `AT_ONCE` entries an answer, which ends at a
//! multiple of that; a partial tile only of a size that a checkpoint gave, and only until the whole tile is
//! there. Nothing takes submissions, and there are no proofs and no tiles of hashes.
//!
//! Requests in, answers out: sockets are `simulate`'s. A request costs its entries' encoding, some
//! microseconds each; nothing is done for a log that nobody asks. Kept are the last `SIZES` sizes that a
//! checkpoint gave.

mod head;
mod leaf;
mod list;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::archive::{Archive, sha256};
use super::http::{Answer, Request};
use crate::entry::Timestamp;
use head::{Head, LogKey};
use leaf::Logged;

pub use head::KeyError;

/// Entries of one answer, and of a tile.
const AT_ONCE: u64 = 256;
/// A client asks for the partial tile of a checkpoint soon, or no more.
const SIZES: usize = 1_024;
/// Where the list of the logs lies.
pub const LOG_LIST: &str = "/log_list.json";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// All logs of one archive, with their keys.
pub struct Logs {
    archive: Arc<Archive>,
    served: Vec<Served>,
    list: Vec<u8>,
}

/// One log's own.
struct Served {
    key: LogKey,
    /// What its checkpoints are named.
    origin: String,
    /// Sizes that checkpoints gave, the newest last.
    sizes: Mutex<VecDeque<u64>>,
}

impl Logs {
    /// Makes a key for each log of the archive.
    pub fn new(archive: Arc<Archive>, now: Timestamp) -> Result<Logs, KeyError> {
        let served = archive.logs().iter().map(|log| {
            let origin = log.submission_url.split_once("://").map_or("", |(_, origin)| origin).to_owned();
            Ok(Served { key: LogKey::generate()?, origin, sizes: Mutex::default() })
        });
        let served = served.collect::<Result<Vec<_>, KeyError>>()?;
        let keys = served.iter().map(|served| &served.key);
        let list = list::log_list(archive.logs().iter().zip(keys), now);
        Ok(Logs { list, served, archive })
    }

    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Whether a request is for the logs, by its path.
    pub fn is_for(&self, request: &Request) -> bool {
        request.path == LOG_LIST || self.find(&request.path).is_some()
    }

    /// What a log answers.
    pub fn answer(&self, request: &Request, now: Timestamp) -> Answer {
        if request.method != "GET" {
            return Answer::refused("405 Method Not Allowed", "only GET: these logs take no submissions");
        }
        if request.path == LOG_LIST {
            return Answer::ok(JSON, self.list.clone());
        }
        let Some((log, rest)) = self.find(&request.path) else { return not_found() };
        match (self.archive.logs()[log].tiled, rest) {
            (false, "ct/v1/get-sth") => self.sth(log, now),
            (false, "ct/v1/get-entries") => self.entries(log, request),
            (true, "checkpoint") => self.checkpoint(log, now),
            (true, rest) => match (rest.strip_prefix("tile/data/"), rest.strip_prefix("issuer/")) {
                (Some(tile), _) => self.tile(log, tile, request.accepts_gzip()),
                (_, Some(fingerprint)) => self.issuer(fingerprint),
                _ => not_found(),
            },
            _ => not_found(),
        }
    }

    /// The log of a path, and what stands behind its URL.
    fn find<'p>(&self, path: &'p str) -> Option<(usize, &'p str)> {
        let (name, rest) = path.strip_prefix("/log/")?.split_once('/')?;
        let log = self.archive.logs().iter().position(|log| log.path == name)?;
        Some((log, rest))
    }

    fn sth(&self, log: usize, now: Timestamp) -> Answer {
        let head = Head { size: self.archive.size(log), at: now };
        self.served[log].key.sth(head).map_or_else(failed, |sth| Answer::ok(JSON, sth))
    }

    fn checkpoint(&self, log: usize, now: Timestamp) -> Answer {
        let served = &self.served[log];
        let head = Head { size: self.archive.size(log), at: now };
        let mut sizes = served.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.back() != Some(&head.size) {
            sizes.push_back(head.size);
            if sizes.len() > SIZES {
                sizes.pop_front();
            }
        }
        drop(sizes);
        served.key.checkpoint(&served.origin, head).map_or_else(failed, |note| Answer::ok(TEXT, note))
    }

    fn entries(&self, log: usize, request: &Request) -> Answer {
        let number = |name| request.query(name).and_then(|text| text.parse::<u64>().ok());
        let (Some(start), Some(end)) = (number("start"), number("end")) else {
            return Answer::refused("400 Bad Request", "start and end must be numbers");
        };
        if end < start {
            return Answer::refused("400 Bad Request", "start is behind end");
        }
        let last = end.min(start | (AT_ONCE - 1));
        let entries = self.archive.entries(log, start, last);
        if entries.is_empty() {
            return Answer::refused("400 Bad Request", "start is not in the tree, or no longer in the log");
        }
        let mut json = String::from("{\"entries\":[");
        for (n, entry) in entries.into_iter().enumerate() {
            let logged = Logged::of(&self.archive, entry);
            json.push_str(if n > 0 { ",{\"leaf_input\":\"" } else { "{\"leaf_input\":\"" });
            STANDARD.encode_string(logged.leaf_input(), &mut json);
            json.push_str("\",\"extra_data\":\"");
            STANDARD.encode_string(logged.extra_data(), &mut json);
            json.push_str("\"}");
        }
        json.push_str("]}");
        Answer::ok(JSON, json.into_bytes())
    }

    /// `x001/234` or `x001/234.p/56`.
    fn tile(&self, log: usize, path: &str, gzip: bool) -> Answer {
        let Some((number, width)) = tile_of(path) else { return not_found() };
        let Some(start) = number.checked_mul(AT_ONCE) else { return not_found() };
        let there = self.archive.size(log).saturating_sub(start).min(AT_ONCE);
        let exists = match width {
            None => there == AT_ONCE,
            Some(width) => {
                let sizes = self.served[log].sizes.lock().unwrap_or_else(PoisonError::into_inner);
                there < AT_ONCE && sizes.contains(&(start + width))
            }
        };
        let width = width.unwrap_or(AT_ONCE);
        let entries = if exists { self.archive.entries(log, start, start + width - 1) } else { Vec::new() };
        if entries.len() as u64 != width {
            return not_found();
        }
        let mut tile = Vec::new();
        for entry in entries {
            Logged::of(&self.archive, entry).push_tile_leaf(&mut tile);
        }
        let answer = Answer::ok(BYTES, tile);
        if gzip { answer.compressed() } else { answer }
    }

    fn issuer(&self, fingerprint: &str) -> Answer {
        let all = self.archive.issuers().iter().flat_map(|issuer| &issuer.chain);
        let hex = |der: &[u8]| sha256(der).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found = all.into_iter().find(|der| hex(der) == fingerprint);
        found.map_or_else(not_found, |der| Answer::ok("application/pkix-cert", der.clone()))
    }
}

/// Number and, of a partial tile, width.
fn tile_of(path: &str) -> Option<(u64, Option<u64>)> {
    let decimal = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let (path, width) = match path.split_once(".p/") {
        Some((path, width)) => {
            let plain = !width.starts_with('0');
            (path, Some(decimal(width).filter(|width| plain && (1..AT_ONCE).contains(width))?))
        }
        None => (path, None),
    };
    let mut number = 0_u64;
    let mut elements = path.split('/').peekable();
    while let Some(element) = elements.next() {
        // All but the last stand behind an x, and the first is no zero that could be left out.
        let digits = if elements.peek().is_some() { element.strip_prefix('x')? } else { element };
        let part = decimal(digits).filter(|_| digits.len() == 3)?;
        if number == 0 && part == 0 && elements.peek().is_some() {
            return None;
        }
        number = number.checked_mul(1_000)?.checked_add(part)?;
    }
    Some((number, width))
}

fn not_found() -> Answer {
    Answer::refused("404 Not Found", "the log has nothing here")
}

fn failed(error: KeyError) -> Answer {
    Answer::refused("500 Internal Server Error", &error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use serde_json::Value;

    use super::*;
    use crate::ctlog::{Api, LogList, Signature, TreeHead};
    use crate::demo::Stream;
    use crate::demo::archive::{Entry, Recipe};
    use crate::demo::firehose::Firehose;
    use crate::entry::issuance::hex;
    use crate::entry::leaf::{Fetched, Form, Leaf, Tile};
    use crate::entry::message::{Message, decode};
    use crate::entry::{Anomaly, Decoder, Facts, log_name};

    const NOW: Timestamp = Timestamp(1_795_455_603_604);

    fn logs() -> (Arc<Logs>, Firehose) {
        let base_url = "http://127.0.0.1:8080".to_owned();
        let recipe = Recipe { seed: 1, base_url, now: NOW, issuances: 40, drop_one_in: None };
        let archive = Arc::new(Archive::new(&recipe).unwrap());
        (Arc::new(Logs::new(Arc::clone(&archive), NOW).unwrap()), Firehose::of(archive))
    }

    /// Status and body.
    fn get(logs: &Logs, path: &str) -> (u16, Vec<u8>) {
        let request = Request::parse(&format!("GET {path} HTTP/1.1\r\n\r\n"));
        let answer = if logs.is_for(&request) { logs.answer(&request, NOW) } else { not_found() };
        let status = answer.head(true)[9..12].parse().unwrap();
        (status, answer.body)
    }

    fn facts(url: &str, index: u64, form: Form<'_>) -> Facts {
        let leaf = Leaf::read(Fetched { log: url, log_name: None, index, form });
        assert_eq!(leaf.broken, None, "{url} {index}");
        let mut decoder = Decoder::default();
        let entry = decoder.leaf(&leaf);
        assert!(entry.malformed.is_none(), "{url} {index}: {:?}", entry.malformed);
        entry.facts(form.bytes())
    }

    /// What the log's own API says of all its entries from `first` on.
    fn read(logs: &Logs, log: usize, first: u64) -> HashMap<u64, Facts> {
        let of = &logs.archive.logs()[log];
        let (path, size) = (format!("/log/{}", of.path), logs.archive.size(log));
        let mut all = HashMap::new();
        let mut next = first;
        while next < size {
            if of.tiled {
                // The checkpoint makes the partial tile.
                assert_eq!(get(logs, &format!("{path}/checkpoint")).0, 200);
                let (number, width) = (next / 256, (size - next / 256 * 256).min(256));
                let digits = format!("{number:09}");
                let elements = [&digits[..3], &digits[3..6], &digits[6..]];
                let elements = elements.into_iter().skip_while(|element| *element == "000");
                let tile = elements.collect::<Vec<_>>().join("/x").replacen("", "x", 1);
                let (head, last) = tile.rsplit_once('x').unwrap();
                let part = if width < 256 { format!(".p/{width}") } else { String::new() };
                let (status, tile) = get(logs, &format!("{path}/tile/data/{head}{last}{part}"));
                assert_eq!(status, 200, "{path} {number} {width}");
                let start = number * 256;
                for (index, leaf) in (start..).zip(Tile::new(&tile)) {
                    let leaf = leaf.unwrap();
                    let form = Form::Tile { leaf, issuers: &[] };
                    let named = Leaf::read(Fetched { log: "", log_name: None, index, form });
                    let above: Vec<Vec<u8>> = named
                        .fingerprints()
                        .map(|print| get(logs, &format!("{path}/issuer/{}", hex(print))).1)
                        .collect();
                    let issuers: Vec<&[u8]> = above.iter().map(Vec::as_slice).collect();
                    let form = Form::Tile { leaf, issuers: &issuers };
                    all.insert(index, facts(&of.url, index, form));
                }
                next = start + width;
                continue;
            }
            let (status, body) =
                get(logs, &format!("{path}/ct/v1/get-entries?start={next}&end={}", next + 999));
            assert_eq!(status, 200);
            let body: Value = serde_json::from_slice(&body).unwrap();
            for entry in body["entries"].as_array().unwrap() {
                let bytes = |part: &str| STANDARD.decode(entry[part].as_str().unwrap()).unwrap();
                let (input, extra) = (bytes("leaf_input"), bytes("extra_data"));
                let form = Form::Rfc6962 { input: &input, extra: &extra };
                assert!(all.insert(next, facts(&of.url, next, form)).is_none());
                next += 1;
            }
        }
        all
    }

    fn of_message(firehose: &Firehose, entry: &Entry) -> Facts {
        let mut text = Vec::new();
        firehose.write(entry, Stream::Full, &mut text);
        let mut decoder = Decoder::default();
        match decode(&text) {
            Ok(Message::Certificate(update)) => decoder.certificate(&update).facts(&text),
            _ => panic!("no message"),
        }
    }

    /// The whole pool in every log, and every plant: the leaf and the message are of one certificate.
    #[test]
    fn a_leaf_says_what_its_message_said() {
        let (logs, mut firehose) = logs();
        let first: Vec<u64> = (0..4).map(|log| logs.archive.size(log)).collect();
        let entries: Vec<Entry> = (0..1_500).map(|n| firehose.draw(NOW.plus_millis(15 * n))).collect();
        assert!(firehose.plantings().iter().all(|planting| planting.shown().is_some()));
        let held: Vec<HashMap<u64, Facts>> = (0..4).map(|log| read(&logs, log, first[log])).collect();
        let counted: usize =
            held.iter().zip(&first).map(|(h, first)| h.keys().filter(|i| *i >= first).count()).sum();
        assert_eq!(counted, entries.len(), "every index once");
        let mut without_der = 0;
        for entry in &entries {
            let leaf = &held[usize::from(entry.log)][&entry.index];
            let mut message = of_message(&firehose, entry);
            assert_eq!(leaf.log_time, Some(entry.logged()));
            assert_eq!(leaf.issuance_key, message.issuance_key);
            assert_eq!((leaf.kind, leaf.log_time), (message.kind, message.log_time));
            let values = |facts: &Facts| -> BTreeSet<String> {
                facts.identities.iter().map(|identity| facts.identities.value(identity)).collect()
            };
            assert_eq!(values(leaf), values(&message));
            for wrong in [Anomaly::PrecertMismatch, Anomaly::IndexInvalid, Anomaly::ChainInvalid] {
                assert!(!leaf.anomalies.has(wrong), "{wrong:?}");
            }
            assert_eq!((&leaf.log, leaf.index, leaf.chain.len()), (&message.log, message.index, 2));
            if message.der.is_none() {
                without_der += 1;
                continue;
            }
            // Apart from what only one of the two says.
            message.identities = leaf.identities.clone();
            message.issuer_key_hash = leaf.issuer_key_hash;
            message.seen = leaf.seen;
            message.log_name.clone_from(&leaf.log_name);
            if message.chain.is_empty() {
                message.chain.clone_from(&leaf.chain);
            }
            message.signature_algorithm.clone_from(&leaf.signature_algorithm);
            // Not shown: both are pages long.
            assert!(*leaf == message, "{:?}", (&leaf.log, leaf.index));
        }
        assert!(without_der > 300, "{without_der} messages were without DER");
    }

    #[test]
    fn tree_heads_verify_by_the_list() {
        let (logs, mut firehose) = logs();
        (0..50).for_each(|n| assert!(firehose.draw(NOW).log < 4, "{n}"));
        let list = LogList::read(&get(&logs, LOG_LIST).1).unwrap();
        assert_eq!((list.logs().len(), &list.problems[..]), (4, &[][..]));
        for (n, log) in logs.archive.logs().iter().enumerate() {
            let listed = list.find(&log.url).unwrap();
            assert_eq!((listed.description.as_str(), listed.state.label()), (log.name, "usable"));
            let interval = listed.interval.unwrap();
            assert!(interval.start < NOW && NOW.plus_millis(366 * 86_400_000) < interval.end);
            let head = if log.tiled {
                assert_eq!(listed.api, Some(Api::Static));
                let note = get(&logs, &format!("/log/{}/checkpoint", log.path)).1;
                TreeHead::of_checkpoint(&note, Some(&log_name(&listed.submission_url)), listed.key.as_ref())
            } else {
                assert_eq!(listed.api, Some(Api::Rfc6962));
                TreeHead::of_sth(
                    &get(&logs, &format!("/log/{}/ct/v1/get-sth", log.path)).1,
                    listed.key.as_ref(),
                )
            };
            let head = head.unwrap();
            assert_eq!((head.size, head.signature), (logs.archive.size(n), Signature::Verified));
            assert_eq!(head.timestamp, NOW);
        }
    }

    #[test]
    fn what_a_log_has_not_is_refused() {
        let (logs, mut firehose) = logs();
        let size = logs.archive.size(0);
        for (path, want, count) in [
            (format!("/log/alder/ct/v1/get-entries?start={}&end={}", size - 1, size + 5), 200, 1),
            ("/log/alder/ct/v1/get-entries?start=0&end=9999".to_owned(), 200, 256),
            ("/log/alder/ct/v1/get-entries?start=250&end=9999".to_owned(), 200, 6),
            ("/log/alder/ct/v1/get-entries?end=2&start=2".to_owned(), 200, 1),
            (format!("/log/alder/ct/v1/get-entries?start={size}&end={size}"), 400, 0),
            ("/log/alder/ct/v1/get-entries?start=5&end=4".to_owned(), 400, 0),
            ("/log/alder/ct/v1/get-entries?start=-1&end=4".to_owned(), 400, 0),
            ("/log/alder/ct/v1/get-entries?start=4".to_owned(), 400, 0),
            ("/log/alder/ct/v1/get-entries".to_owned(), 400, 0),
            (
                "/log/alder/ct/v1/get-entries?start=18446744073709551615&end=18446744073709551615".into(),
                400,
                0,
            ),
            ("/log/alder/checkpoint".to_owned(), 404, 0),
            ("/log/alder/ct/v1/add-chain".to_owned(), 404, 0),
            ("/log/cedar/ct/v1/get-sth".to_owned(), 404, 0),
            ("/log/cedar/tile/0/000".to_owned(), 404, 0),
            ("/log/elm/ct/v1/get-sth".to_owned(), 404, 0),
            ("/log/alder".to_owned(), 404, 0),
            (format!("/log/cedar/issuer/{}", "0".repeat(64)), 404, 0),
        ] {
            let (status, body) = get(&logs, &path);
            assert_eq!(status, want, "{path}");
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            assert_eq!(body["entries"].as_array().map_or(0, Vec::len), count, "{path}");
        }
        // A partial tile is there for the sizes that checkpoints gave, until the whole one is.
        let tile = |logs: &Logs, number: u64, part: &str| {
            let number = format!("{number:09}");
            let path = format!("x{}/x{}/{}{part}", &number[..3], &number[3..6], &number[6..]);
            get(logs, &format!("/log/cedar/tile/data/{}", path.replace("x000/", ""))).0
        };
        while logs.archive.size(2) % 256 != 7 {
            firehose.draw(NOW);
        }
        let number = logs.archive.size(2) / 256;
        assert_eq!(tile(&logs, number, ".p/7"), 404, "no checkpoint has given it");
        get(&logs, "/log/cedar/checkpoint");
        for (part, want) in [(".p/7", 200), (".p/6", 404), (".p/8", 404), (".p/07", 404), ("", 404)] {
            assert_eq!(tile(&logs, number, part), want, "{part}");
        }
        while logs.archive.size(2) / 256 == number {
            assert_eq!(tile(&logs, number, ".p/7"), 200);
            firehose.draw(NOW);
        }
        assert_eq!((tile(&logs, number, ".p/7"), tile(&logs, number, "")), (404, 200));
        let post = Request::parse("POST /log/alder/ct/v1/add-chain HTTP/1.1\r\n\r\n");
        assert!(logs.answer(&post, NOW).head(true).starts_with("HTTP/1.1 405 "));
    }

    #[test]
    fn tiles_are_found_by_their_paths() {
        for (path, want) in [
            ("000", Some((0, None))),
            ("067", Some((67, None))),
            ("x001/234.p/255", Some((1_234, Some(255)))),
            ("x001/x000/000", Some((1_000_000, None))),
            ("x000/001", None),
            ("1", None),
            ("0001", None),
            ("+01", None),
            ("x001", None),
            ("001/234", None),
            ("000.p/0", None),
            ("000.p/01", None),
            ("000.p/256", None),
            ("000.p/", None),
            ("", None),
            ("x999/x999/x999/x999/x999/x999/999", None),
        ] {
            assert_eq!(tile_of(path), want, "{path}");
        }
    }
}
