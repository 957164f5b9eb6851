//! The logs of the demo as their own servers would serve them: to read from, below each log's URL.
//!
//! Those of RFC 6962 answer `ct/v1/get-sth` and `ct/v1/get-entries`, those of static-ct `checkpoint`,
//! `tile/data/…` and `issuer/…`; at the root lies `log_list.json`, which names them all with their keys. They
//! behave as real ones do where a client can be wrong: at most [`AT_ONCE`] entries an answer, which ends at a
//! multiple of that; a partial tile only of a size that a checkpoint gave, and only until the whole tile is
//! there. Nothing takes submissions, and there are no proofs and no tiles of hashes.
//!
//! Requests in, answers out: sockets are `simulate`'s. A request costs its entries' encoding, some
//! microseconds each; nothing is done for a log that nobody asks. Kept are the last [`SIZES`] sizes that a
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
