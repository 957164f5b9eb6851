//! Logs with the API of RFC 6962: `get-sth` and `get-entries` (4.3, 4.6).
//!
//! A log gives as many entries as it likes: a short answer is normal, and the next request goes on where it
//! ended. How many it gives at most is learnt by asking ([`Batch`]). It gives no index with an entry, so that
//! entries in another order cannot be told from the right ones without a proof, which is not asked for.
//!
//! The JSON is read where it lies, and all Base64 of an answer is decoded into one buffer.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::checkpoint::{self, TreeHead};
use super::entries::{Fetch, Kind, Span};
use super::key::PublicKey;
use super::server::{LogError, Server};

/// More is not asked for at once; logs give 32 to 1,000.
pub const MOST_AT_ONCE: u64 = 1_000;

/// An answer of [`MOST_AT_ONCE`] usual entries has 7 MiB. One that has more is asked for in halves.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A log that gave too little once, because it had no more then, is not asked for little for ever; one that
/// never gives more answers one request in so many in vain.
const AGAIN_AFTER: u32 = 50;

/// Answers to a request for more than the log can give.
const TOO_MUCH: [u16; 2] = [400, 413];

pub(super) async fn tree_head(
    server: &Server,
    key: Option<&PublicKey>,
    expected: &[u16],
) -> Result<TreeHead, LogError> {
    let read = |body: Vec<u8>| TreeHead::of_sth(&body, key).map_err(|error| error.to_string());
    // One byte more than what is taken, so that the reader says what is wrong.
    server.ask("ct/v1/get-sth", checkpoint::MAX_BYTES + 1, expected, read).await
}

/// Entries from `first` on, to `last` at most. An answer of 400 is one to the number asked for, unless that was
/// one.
pub(super) async fn entries(
    server: &Server,
    batch: &Mutex<Batch>,
    first: u64,
    last: u64,
) -> Result<Fetch, LogError> {
    let before = locked(batch).most;
    loop {
        let asked = locked(batch).ask(first, last);
        let path = format!("ct/v1/get-entries?start={first}&end={}", first + (asked - 1));
        let expected: &[u16] = if asked > 1 { &TOO_MUCH } else { &[] };
        match server.ask(&path, MAX_BYTES, expected, |body| read(&body, first, asked)).await {
            Ok(fetch) => {
                locked(batch).given(first, asked, fetch.entries() as u64);
                return Ok(fetch);
            }
            Err(error) if asked > 1 && error.fault.is_too_much() => locked(batch).too_much(asked),
            Err(error) => {
                // Not even one: it was not the number, but where the log's tree ends for this server of it.
                if asked == 1 && error.fault.is_too_much() {
                    locked(batch).most = before;
                }
                return Err(error);
            }
        }
    }
}

/// Nothing that is done under the lock panics half-way.
pub(super) fn locked(batch: &Mutex<Batch>) -> MutexGuard<'_, Batch> {
    batch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many entries one request asks for.
#[derive(Debug)]
pub(super) struct Batch {
    /// More is not asked for.
    most: u64,
    /// Answers since then that gave as many; after [`AGAIN_AFTER`] more is tried.
    full: u32,
    /// What the log gives at most, once two answers in a row were short: the first may end where the log
    /// likes its answers to begin.
    gives: Option<u64>,
    /// Where the last short answer ended.
    ended: Option<u64>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch { most: MOST_AT_ONCE, full: 0, gives: None, ended: None }
    }

    fn ask(&self, first: u64, last: u64) -> u64 {
        self.most.min((last - first).saturating_add(1))
    }

    fn given(&mut self, first: u64, asked: u64, given: u64) {
        if given < asked {
            if self.ended == Some(first) {
                self.gives = Some(given);
            }
            self.ended = Some(first + given);
        }
        if self.gives.is_some_and(|gives| gives < given) {
            self.gives = Some(given);
        }
        if given == self.most && self.most < MOST_AT_ONCE {
            self.full += 1;
            if self.full == AGAIN_AFTER {
                self.most = (self.most * 2).min(MOST_AT_ONCE);
                self.full = 0;
            }
        }
    }

    fn too_much(&mut self, asked: u64) {
        self.most = (asked / 2).max(1);
        self.full = 0;
    }

    /// The last index that one answer can be expected to give from `first` on: logs like their answers to end
    /// at multiples of what they give.
    pub fn end(&self, first: u64) -> u64 {
        let gives = self.gives.unwrap_or(self.most).min(self.most);
        (first / gives).saturating_add(1).saturating_mul(gives) - 1
    }
}

#[derive(Deserialize)]
struct Entries<'a> {
    #[serde(borrow)]
    entries: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    // A writer of JSON may escape a slash.
    #[serde(borrow)]
    leaf_input: Cow<'a, str>,
    #[serde(borrow)]
    extra_data: Cow<'a, str>,
}

fn read(body: &[u8], first: u64, asked: u64) -> Result<Fetch, String> {
    let no_json = |error| format!("no entries: {error}; it begins: {}", super::said(body));
    let Entries { mut entries } = serde_json::from_slice(body).map_err(no_json)?;
    entries.truncate(usize::try_from(asked).unwrap_or(usize::MAX));
    if entries.is_empty() {
        return Err("no entry in an answer to a request for entries that the tree has".to_owned());
    }
    // Never more than the bodies it comes from.
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3);
    let mut spans = Vec::with_capacity(entries.len());
    let mut decode = |text: &str, part, index: usize| {
        STANDARD
            .decode_vec(text, &mut bytes)
            .map_err(|error| format!("{part} of entry {} is no Base64: {error}", first + index as u64))
            .map(|()| bytes.len() as u32)
    };
    let mut start = 0;
    for (n, entry) in entries.iter().enumerate() {
        let middle = decode(&entry.leaf_input, "leaf_input", n)?;
        let end = decode(&entry.extra_data, "extra_data", n)?;
        spans.push(Span { start, middle, end });
        start = end;
    }
    Ok(Fetch::new(first, Kind::Rfc6962, bytes, spans))
}

#[cfg(test)]
mod tests {
    use super::super::entries::Issuers;
    use super::*;
    use crate::entry::leaf::Form;

    fn json(entries: &[(&str, &str)]) -> String {
        let entries: Vec<_> = entries
            .iter()
            .map(|(input, extra)| {
                let (input, extra) = (STANDARD.encode(input), STANDARD.encode(extra));
                format!(r#"{{"leaf_input":"{input}","more":1,"extra_data":"{extra}"}}"#)
            })
            .collect();
        format!(r#"{{"entries":[{}]}}"#, entries.join(","))
    }

    fn leaves(fetch: &Fetch) -> Vec<(u64, String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let issuers = Issuers::default();
        let leaves = fetch.leaves(&issuers);
        leaves
            .iter()
            .map(|(index, form)| match form {
                Form::Rfc6962 { input, extra } => (index, text(input), text(extra)),
                Form::Tile { .. } => panic!("no tile"),
            })
            .collect()
    }

    #[test]
    fn entries_are_lent_as_they_came_and_never_more_than_were_asked_for() {
        let body = json(&[("a", "1"), ("", ""), ("ccc", "3333")]);
        let all = [(7, "a", "1"), (8, "", ""), (9, "ccc", "3333")];
        for (asked, want) in [(1, 1), (2, 2), (3, 3), (1_000, 3)] {
            let fetch = read(body.as_bytes(), 7, asked).unwrap();
            let want: Vec<_> =
                all[..want].iter().map(|(n, a, b)| (*n, (*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(leaves(&fetch), want);
            assert_eq!((fetch.first(), fetch.end()), (7, 7 + want.len() as u64));
            assert_eq!(fetch.fingerprints(), [] as [[u8; 32]; 0]);
        }
        // 0xff 0xff 0xff is "////".
        let escaped = r#"{"entries":[{"leaf_input":"\/\/\/\/","extra_data":""}]}"#;
        let fetch = read(escaped.as_bytes(), 0, 1).unwrap();
        let issuers = Issuers::default();
        let leaves = fetch.leaves(&issuers);
        assert_eq!(leaves.iter().next().unwrap().1.bytes(), [0xff; 3]);
    }

    #[test]
    fn what_is_not_the_api_s_json_is_bad_data() {
        let good = json(&[("a", "1")]);
        for (body, want) in [
            ("", "no entries: EOF"),
            ("<html>busy", "it begins: <html>busy"),
            ("{}", "missing field `entries`"),
            (r#"{"entries":[]}"#, "no entry in an answer"),
            (r#"{"entries":null}"#, "no entries"),
            (r#"{"entries":[{"leaf_input":"AA=="}]}"#, "missing field `extra_data`"),
            (r#"{"entries":[{"leaf_input":"A","extra_data":""}]}"#, "leaf_input of entry 7 is no Base64"),
            (r#"{"entries":[{"leaf_input":"","extra_data":"-_8="}]}"#, "extra_data of entry 7 is no Base64"),
            (&good[..good.len() - 1], "no entries: EOF"),
            (&format!("{good}x"), "trailing characters"),
        ] {
            let error = read(body.as_bytes(), 7, 10).unwrap_err();
            assert!(error.contains(want), "{body}: {error}");
        }
    }

    #[test]
    fn what_a_log_gives_at_once_is_learnt() {
        let mut batch = Batch::new();
        assert_eq!((batch.ask(0, 5_000), batch.ask(0, 9), batch.ask(0, u64::MAX)), (1_000, 10, 1_000));
        assert_eq!(batch.end(500), 999);
        // One short answer may be one that ends at a multiple.
        batch.given(500, 1_000, 12);
        assert_eq!((batch.ask(512, 5_000), batch.end(512)), (1_000, 999));
        batch.given(512, 1_000, 256);
        assert_eq!((batch.ask(768, 5_000), batch.end(768), batch.end(800)), (1_000, 1_023, 1_023));
        // It gives more than was thought.
        batch.given(768, 500, 500);
        assert_eq!(batch.end(1_000), 1_499);
        for want in [500, 250, 125, 62, 31, 15, 7, 3, 1, 1] {
            batch.too_much(batch.ask(0, 5_000));
            assert_eq!(batch.ask(0, 5_000), want);
        }
        assert_eq!(batch.end(5), 5);
        for want in [2, 4, 8] {
            (0..AGAIN_AFTER).for_each(|n| batch.given(u64::from(n), batch.most, batch.most));
            assert_eq!(batch.ask(0, 5_000), want);
        }
        batch.too_much(2);
        assert_eq!(batch.end(u64::MAX), u64::MAX - 1);
    }
}
