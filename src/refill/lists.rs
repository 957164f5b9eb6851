//! The lists of logs: fetched daily, verified where they are signed, the last good copy kept in `state_dir`.
//!
//! A list that cannot be fetched or read leaves the one before in force; at the very first start that is the
//! one built in, where a list is to be fetched at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::{ListSource, RefillConfig};
use crate::ctlog::list::{MAX_BYTES, signed_by};
use crate::ctlog::{Get, LogList, Transport};
use crate::entry::issuance::sha256_hex;

/// Files are looked at so often, and what has to be fetched again is.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A list is published at most daily.
const FETCH_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// After a failure; the shorter one while nothing else is at hand.
const AGAIN_AFTER: Duration = Duration::from_secs(15 * 60);
const AGAIN_SOON: Duration = Duration::from_secs(30);

const WITHIN: Duration = Duration::from_secs(60);

/// A signature is a few hundred bytes.
const MAX_SIGNATURE: usize = 4096;

/// Every list that is configured.
pub struct Lists {
    lists: Vec<One>,
}

struct One {
    source: ListSource,
    /// Where its last good copy is kept.
    copy: Option<PathBuf>,
    list: Option<LogList>,
    due: Instant,
    /// Of a file: when it was changed.
    changed: Option<SystemTime>,
}

impl Lists {
    /// With what is at hand: files, copies of lists that were fetched before, or the list built in.
    pub fn new(config: &RefillConfig, state_dir: Option<&Path>) -> Lists {
        let lists = config.lists.iter().map(|source| {
            let mut one =
                One { source: source.clone(), copy: None, list: None, due: Instant::now(), changed: None };
            match source {
                ListSource::File(path) => one.read(path),
                ListSource::Url(url) => {
                    let name = format!("log_list-{}.json", &sha256_hex(url.as_bytes())[..16]);
                    one.copy = state_dir.map(|dir| dir.join(name));
                    let copy = one.copy.as_ref().and_then(|path| fs::read(path).ok());
                    one.list = copy.and_then(|bytes| LogList::read(&bytes).ok());
                    // It is Chrome's: no stand-in for a list of somebody's own logs.
                    if one.list.is_none() && signed_by(url).is_some() {
                        one.list = Some(LogList::built_in());
                    }
                }
            }
            one
        });
        Lists { lists: lists.collect() }
    }

    /// All of them as one.
    pub fn list(&self) -> LogList {
        LogList::merge(self.lists.iter().filter_map(|one| one.list.clone()))
    }

    /// Looks at what is due; true when something is new.
    pub async fn refresh(&mut self, transport: &dyn Transport) -> bool {
        let mut new = false;
        for one in &mut self.lists {
            let before = one.list.clone();
            match one.source.clone() {
                ListSource::File(path) => {
                    if modified(&path) != one.changed {
                        one.read(&path);
                    }
                }
                ListSource::Url(url) if Instant::now() >= one.due => match fetch(&url, transport).await {
                    Ok((list, bytes)) => {
                        one.due = Instant::now() + FETCH_EVERY;
                        info!("the log list {url} was fetched: {} logs", list.logs().len());
                        one.keep(&bytes);
                        one.list = Some(list);
                    }
                    Err(why) => {
                        let again = if one.list.is_some() { AGAIN_AFTER } else { AGAIN_SOON };
                        one.due = Instant::now() + again;
                        warn!("the log list {url} was not fetched, what is at hand goes on: {why}");
                    }
                },
                ListSource::Url(_) => {}
            }
            let logs =
                |list: &Option<LogList>| list.as_ref().map(|list| (list.logs().to_vec(), list.timestamp()));
            new |= logs(&one.list) != logs(&before);
        }
        new
    }
}

impl One {
    fn read(&mut self, path: &Path) {
        self.changed = modified(path);
        let read = fs::read(path).map_err(|error| error.to_string());
        match read.and_then(|bytes| LogList::read(&bytes).map_err(|error| error.to_string())) {
            Ok(list) => self.list = Some(list),
            Err(why) => warn!("the log list {} cannot be read: {why}", path.display()),
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let Some(copy) = &self.copy else { return };
        let new = copy.with_extension("new");
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, copy));
        if let Err(error) = written {
            warn!("the copy of the log list was not kept in {}: {error}", copy.display());
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// A list and its bytes, its signature verified where there is one. The error says what is wrong.
pub async fn fetch(url: &str, transport: &dyn Transport) -> Result<(LogList, Vec<u8>), String> {
    let get = |url: &str, max_bytes| Get { url: url.to_owned(), max_bytes, within: WITHIN };
    let body = async |url: &str, max_bytes| {
        let answer = transport.get(get(url, max_bytes)).await.map_err(|error| format!("{url} {error}"))?;
        if answer.status != 200 { Err(format!("{url} answers {}", answer.status)) } else { Ok(answer.body) }
    };
    let bytes = body(url, MAX_BYTES).await?;
    if let Some(signed) = signed_by(url) {
        let signature = body(&signed.signature_url, MAX_SIGNATURE).await?;
        signed.key.verify(&bytes, &signature).map_err(|error| format!("its signature: {error}"))?;
    }
    let list = LogList::read(&bytes).map_err(|error| error.to_string())?;
    Ok((list, bytes))
}
