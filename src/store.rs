//! Edge: the embedded store. The only knower of redb.
//!
//! One file, `state.redb`, holds the ledger, the raised alerts, the first-seen issuers and the outbox; a
//! [`Commit`] goes into it in one transaction. The account holds all of it in memory too, but for records
//! that it left here, so the file is read whole at the start and written afterwards.
//!
//! How big it grows: 60 bytes for each hole of the ledger, 100 for each raised alert, and the outbox, which
//! is nearly empty unless Kafka is away. What losing it costs: every index since the copy of the ledger
//! beside it (`ledger.json`) is fetched and judged again, and an alert that is found again has its old
//! `event.id`. What somebody who can write it can do: say that an index was seen, and so hide an entry; so it
//! is readable and writable by its owner alone.
//!
//! A file that fails its checksums is set aside, never emptied in place, and a new one begins with that copy
//! of the ledger. The copy is made only while the outbox is empty: all that it says was seen is in Kafka.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend, TableDefinition, WriteTransaction,
};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::account::following;
use crate::account::ledger::Change;
use crate::account::outbox::{Held, Stored};
use crate::account::raised::{Alert, Issuance};
use crate::account::{Commit, Journal, JournalError, MAX_REFUSED, Refused, RefusedState, Seen, State};
use crate::entry::Timestamp;
use crate::record::{self, Record, Rejection, Topic};

/// The layout of the tables below.
const FORMAT: u64 = 1;

/// redb's cache; its own default is 1 GiB. What is written every second fits into a fraction of this.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// After a failure the file is left alone for so long.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// A file under this size is not worth compacting.
const COMPACT_ABOVE: u64 = 16 * 1024 * 1024;

/// Compacting is tried so often at most: it rewrites the file.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// The copy of the ledger is so old at most, while the outbox is empty now and then.
const COPY_EVERY: Duration = Duration::from_secs(60);

const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
const WORDS: TableDefinition<&str, &str> = TableDefinition::new("words");
type Sha256 = [u8; 32];

/// Log and first index → last index.
const LEDGER: TableDefinition<(&str, u64), u64> = TableDefinition::new("ledger");
/// Log → first index, size of the tree, refilled, lost.
type LogRow = (Option<u64>, Option<u64>, u64, u64);
const LOGS: TableDefinition<&str, LogRow> = TableDefinition::new("logs");
/// Alert id → kept until, subject key.
const ALERTS: TableDefinition<u128, (i64, Option<Sha256>)> = TableDefinition::new("alerts");
/// Issuance key → kept until, content, subject key.
const ISSUANCES: TableDefinition<&str, (i64, Sha256, Option<Sha256>)> = TableDefinition::new("issuances");
/// Asset and issuer.
const ISSUERS: TableDefinition<(&str, &str), ()> = TableDefinition::new("issuers");
/// Topic, key, headers, value, numbered at, log's time, refilled.
type Row = (u8, &'static str, Vec<(&'static str, &'static str)>, &'static [u8], i64, Option<i64>, bool);
const OUTBOX: TableDefinition<u64, Row> = TableDefinition::new("outbox");
/// Like the outbox, with reason, Kafka's words, refused at.
const REFUSED: TableDefinition<u64, (Row, &'static str, &'static str, i64)> = TableDefinition::new("refused");

const FILE: &str = "state.redb";
const FORMAT_KEY: &str = "format";
const SEQUENCE_KEY: &str = "sequence";
const LIST_KEY: &str = "watchlist";

/// Opens the database, the first time and after a failure.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// The store of one instance.
pub struct Store {
    open: Opener,
    database: Option<Database>,
    failed: Option<(Instant, JournalError)>,
    file: Option<PathBuf>,
    /// After a failure it is opened again so soon, and not at every attempt to commit.
    reopen_after: Duration,
    compacted: Option<Instant>,
    copied: Option<Instant>,
}

/// What was found at the start.
pub struct Found {
    pub store: Store,
    pub state: State,
    /// The file was damaged and set aside.
    pub rebuilt: Option<Rebuilt>,
}

/// What became of a damaged file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rebuilt {
    pub why: String,
    pub aside: PathBuf,
    /// Ranges of the ledger that its copy gave back.
    pub ranges: usize,
}

impl std::fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rebuilt { why, aside, ranges } = self;
        write!(
            f,
            "the state was damaged ({why}) and is set aside as {}; a new one begins with {ranges} ranges of \
             the ledger's copy: what came after it is read from the logs again, and alerts on it have the \
             ids that they had",
            aside.display()
        )
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the state in {} is of format {found}, and this version knows up to {FORMAT}: run the version that \
         wrote it, or give this one another state_dir", file.display()
    )]
    Newer { file: PathBuf, found: u64 },
    #[error("the state in {} cannot be opened: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("the state is damaged: {0}")]
    Damaged(String),
}

impl Store {
    /// Opens the store of a `state_dir` that this process has locked, or makes it. A damaged one is set
    /// aside, and a new one begins with the copy of its ledger.
    pub fn open(dir: &Path) -> Result<Found, StoreError> {
        let file = dir.join(FILE);
        let failed = |source| StoreError::Io { file: file.clone(), source };
        let why = match Store::at(&file) {
            Ok((store, state)) => return Ok(Found { store, state, rebuilt: None }),
            Err(StoreError::Damaged(why)) => why,
            Err(error) => return Err(error),
        };
        let aside = aside(&file);
        fs::rename(&file, &aside).map_err(failed)?;
        sync_dir(dir).map_err(failed)?;
        let (mut store, _) = Store::at(&file)?;
        let ledger = read_copy(dir);
        let rebuilt = Rebuilt { why, aside, ranges: ledger.len() };
        let changes = ledger.iter().map(|(log, first, last)| Change {
            log: log.clone(),
            first: *first,
            last: Some(*last),
        });
        let first = Commit { ledger: changes.collect(), ..Commit::default() };
        store
            .commit(&first)
            .map_err(|error| StoreError::Io { file: file.clone(), source: io::Error::other(error) })?;
        Ok(Found { store, state: State { ledger, ..State::default() }, rebuilt: Some(rebuilt) })
    }

    /// Whether a `state_dir` has a store.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    fn at(file: &Path) -> Result<(Store, State), StoreError> {
        let failed = |source| StoreError::Io { file: file.to_owned(), source };
        if !file.exists() {
            // Under its name stands a whole store or none: one that is cut short while it is made would
            // look like a damaged one.
            let new = file.with_file_name("state.redb.new");
            let made = new.clone();
            gone(&new).map_err(failed)?;
            make_private(&new).map_err(failed)?;
            drop(Store::with(Box::new(move || builder().create(&made)), &new)?);
            fs::rename(&new, file).map_err(failed)?;
            file.parent().map_or(Ok(()), sync_dir).map_err(failed)?;
        }
        let path = file.to_owned();
        let (mut store, state) = Store::with(Box::new(move || builder().open(&path)), file)?;
        store.file = Some(file.to_owned());
        store.reopen_after = REOPEN_AFTER;
        Ok((store, state))
    }

    /// A store on a storage layer of the caller's, which `open` gives anew after each failure.
    pub fn on<B: StorageBackend>(
        open: impl Fn() -> B + Send + 'static,
    ) -> Result<(Store, State), StoreError> {
        Store::with(Box::new(move || builder().create_with_backend(open())), Path::new("memory"))
    }

    fn with(open: Opener, file: &Path) -> Result<(Store, State), StoreError> {
        let failed = |fault| match fault {
            Fault::Damaged(why) => StoreError::Damaged(why),
            Fault::Full(why) | Fault::Io(why) => {
                StoreError::Io { file: file.to_owned(), source: io::Error::other(why) }
            }
        };
        let database = unpanicked(&open).map_err(failed)?;
        let state = unpanicked(|| load(&database)).map_err(failed)?;
        let state = state.map_err(|found| StoreError::Newer { file: file.to_owned(), found })?;
        let store = Store {
            open,
            database: Some(database),
            failed: None,
            file: None,
            reopen_after: Duration::ZERO,
            compacted: None,
            copied: None,
        };
        Ok((store, state))
    }

    /// The database; opened again when the last failure is a while ago, because redb takes nothing more
    /// after one.
    fn database(&mut self) -> Result<&Database, JournalError> {
        if self.database.is_none() {
            if let Some((at, error)) = &self.failed
                && at.elapsed() < self.reopen_after
            {
                return Err(error.clone());
            }
            // What the failed commit wrote may be there or not: the next one writes it again. Pages that
            // the system claims to have written and has not show at the next start, by their checksums.
            match unpanicked(&self.open) {
                Ok(database) => {
                    info!("the state is open again");
                    self.database = Some(database);
                }
                Err(fault) => return Err(self.fail(fault)),
            }
        }
        self.database.as_ref().ok_or_else(|| JournalError::Io("the state is closed".to_owned()))
    }

    fn fail(&mut self, fault: Fault) -> JournalError {
        self.database = None;
        let error = match fault {
            Fault::Full(why) => JournalError::Full(why),
            Fault::Io(why) => JournalError::Io(why),
            Fault::Damaged(why) => JournalError::Damaged(why),
        };
        self.failed = Some((Instant::now(), error.clone()));
        error
    }

    fn write(&mut self, commit: &Commit) -> Result<(), JournalError> {
        let database = self.database()?;
        // A crash before the last step of this leaves the commit before, whole: what it did not cover is
        // a hole of the ledger, is read from the log again, and gives records with the same ids.
        // A crash after it leaves this one: what it covers is in Kafka, or in the outbox and will be.
        match unpanicked(|| put(database, commit)) {
            Ok(()) => {
                self.failed = None;
                Ok(())
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// The records that Kafka refused for themselves, oldest first.
    pub fn refused(&mut self) -> Result<Vec<Refused>, JournalError> {
        let database = self.database()?;
        match unpanicked(|| read_refused(&database.begin_read()?.open_table(REFUSED)?)) {
            Ok(refused) => Ok(refused),
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Puts the records that Kafka refused back into the outbox, for the next start; returns how many.
    pub fn retry_refused(&mut self) -> Result<usize, JournalError> {
        let database = self.database()?;
        match unpanicked(|| retry_refused(database)) {
            Ok(count) => Ok(count),
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Copies the ledger beside the store, when the outbox is empty.
    fn copy(&mut self) {
        let Some(dir) = self.file.as_deref().and_then(Path::parent).map(Path::to_owned) else { return };
        if self.copied.is_some_and(|at| at.elapsed() < COPY_EVERY) {
            return;
        }
        let Ok(database) = self.database() else { return };
        match unpanicked(|| ledger_if_settled(database)) {
            Ok(Some(ledger)) => match write_copy(&dir, &ledger) {
                Ok(()) => self.copied = Some(Instant::now()),
                Err(error) => {
                    self.copied = Some(Instant::now());
                    warn!("the copy of the ledger in {} was not written: {error}", dir.display());
                }
            },
            Ok(None) => {}
            Err(fault) => drop(self.fail(fault)),
        }
    }
}

impl Journal for Store {
    fn commit(&mut self, commit: &Commit) -> Result<(), JournalError> {
        if !commit.is_empty() {
            self.write(commit)?;
        }
        self.copy();
        Ok(())
    }

    fn records(&mut self, from: u64, bytes: usize) -> Result<Vec<Held>, JournalError> {
        let database = self.database()?;
        match unpanicked(|| read_outbox(database, from, bytes)) {
            Ok(records) => Ok(records),
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// A file stays at its largest until it is compacted: a long outage must not cost disk for ever.
    fn rest(&mut self) {
        let recent = self.compacted.is_some_and(|at| at.elapsed() < COMPACT_EVERY);
        if recent || self.size() < COMPACT_ABOVE {
            return;
        }
        self.compacted = Some(Instant::now());
        let before = self.size();
        let Some(database) = self.database.as_mut() else { return };
        match unpanicked(|| database.compact().map_err(redb::Error::from)) {
            Ok(_) => {
                let after = self.size();
                if after < before {
                    info!("the state gave back {} MiB of disk", (before - after) >> 20);
                }
            }
            Err(fault) => warn!("the state was not compacted: {}", self.fail(fault)),
        }
    }

    fn size(&self) -> u64 {
        self.file.as_ref().and_then(|file| fs::metadata(file).ok()).map_or(0, |meta| meta.len())
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    // A page that was altered under it makes a plain open trust it, or panic.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// What went wrong below.
#[derive(Clone, Debug)]
enum Fault {
    Full(String),
    Io(String),
    Damaged(String),
}

impl Fault {
    fn of(error: redb::Error) -> Fault {
        match error {
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Fault::Damaged(error.to_string())
            }
            redb::Error::Io(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Fault::Full(error.to_string())
            }
            redb::Error::Corrupted(why) => Fault::Damaged(why),
            error @ (redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::RepairAborted) => Fault::Damaged(error.to_string()),
            error => Fault::Io(error.to_string()),
        }
    }
}

/// Runs something on the database; a panic over bytes that it did not write is damage.
fn unpanicked<T, E: Into<redb::Error>>(run: impl FnOnce() -> Result<T, E>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::of(error.into())),
        Err(_) => Err(Fault::Damaged("reading it made the store panic".to_owned())),
    }
}

fn put(database: &Database, commit: &Commit) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    // The way back after a crash is then as short as the last commit, however large the file.
    write.set_quick_repair(true);
    fill(&write, commit)?;
    write.commit()?;
    Ok(())
}

fn fill(write: &WriteTransaction, commit: &Commit) -> Result<(), redb::Error> {
    write.open_table(NUMBERS)?.insert(SEQUENCE_KEY, commit.sequence)?;
    if let Some(version) = &commit.list_version {
        write.open_table(WORDS)?.insert(LIST_KEY, version.as_str())?;
    }
    if !commit.ledger.is_empty() {
        let mut table = write.open_table(LEDGER)?;
        for change in &commit.ledger {
            let key = (&*change.log, change.first);
            match change.last {
                Some(last) => drop(table.insert(key, last)?),
                None => drop(table.remove(key)?),
            }
        }
    }
    if !commit.logs.is_empty() {
        let mut table = write.open_table(LOGS)?;
        for (log, row) in &commit.logs {
            match row {
                Some(row) => drop(table.insert(&**log, (row.first, row.size, row.refilled, row.lost))?),
                None => drop(table.remove(&**log)?),
            }
        }
    }
    if !commit.alerts.is_empty() {
        let mut table = write.open_table(ALERTS)?;
        for (id, alert) in &commit.alerts {
            match alert {
                Some(alert) => drop(table.insert(id.as_u128(), (alert.until.0, alert.key))?),
                None => drop(table.remove(id.as_u128())?),
            }
        }
    }
    if !commit.issuances.is_empty() {
        let mut table = write.open_table(ISSUANCES)?;
        for (key, issuance) in &commit.issuances {
            match issuance {
                Some(i) => drop(table.insert(key.as_str(), (i.until.0, i.content, i.key))?),
                None => drop(table.remove(key.as_str())?),
            }
        }
    }
    if !commit.issuers.is_empty() {
        let mut table = write.open_table(ISSUERS)?;
        for (asset, issuer) in &commit.issuers {
            table.insert((asset.as_str(), issuer.as_str()), ())?;
        }
    }
    if !commit.records.is_empty() || !commit.settled.is_empty() {
        let mut table = write.open_table(OUTBOX)?;
        for held in &commit.records {
            table.insert(held.record.sequence, row(held))?;
        }
        for sequence in &commit.settled {
            table.remove(sequence)?;
        }
    }
    if !commit.refused.is_empty() {
        let mut table = write.open_table(REFUSED)?;
        for refused in &commit.refused {
            let value = (row(&refused.held), refused.reason.label(), refused.message.as_str(), refused.at.0);
            table.insert(refused.held.record.sequence, value)?;
        }
        while table.len()? > MAX_REFUSED as u64 {
            table.pop_first()?;
        }
    }
    Ok(())
}

/// Reads everything but the outbox's text. `Err` within is a format that is not known here.
fn load(database: &Database) -> Result<Result<State, u64>, redb::Error> {
    let write = database.begin_write()?;
    let state = {
        let mut numbers = write.open_table(NUMBERS)?;
        let format = numbers.get(FORMAT_KEY)?.map(|value| value.value());
        match format {
            Some(FORMAT) => {}
            Some(found) => return Ok(Err(found)),
            None => drop(numbers.insert(FORMAT_KEY, FORMAT)?),
        }
        let mut state = State {
            sequence: numbers.get(SEQUENCE_KEY)?.map_or(0, |value| value.value()),
            list_version: write.open_table(WORDS)?.get(LIST_KEY)?.map(|value| value.value().to_owned()),
            ..State::default()
        };
        state.ledger = ranges(&write.open_table(LEDGER)?)?;
        for row in write.open_table(LOGS)?.iter()? {
            let (log, value) = row?;
            let (first, size, refilled, lost) = value.value();
            state.logs.push((log.value().into(), following::Row { first, size, refilled, lost }));
        }
        for row in write.open_table(ALERTS)?.iter()? {
            let (id, value) = row?;
            let (until, key) = value.value();
            state.alerts.insert(Uuid::from_u128(id.value()), Alert { until: Timestamp(until), key });
        }
        for row in write.open_table(ISSUANCES)?.iter()? {
            let (key, value) = row?;
            let (until, content, subject_key) = value.value();
            let issuance = Issuance { until: Timestamp(until), content, key: subject_key };
            state.issuances.insert(key.value().to_owned(), issuance);
        }
        for row in write.open_table(ISSUERS)?.iter()? {
            let (key, _) = row?;
            let (asset, issuer) = key.value();
            state.issuers.insert((asset.to_owned(), issuer.to_owned()));
        }
        let mut stored = Stored::default();
        for row in write.open_table(OUTBOX)?.iter()? {
            let (sequence, value) = row?;
            let Some(held) = held(sequence.value(), value.value()) else { continue };
            if stored.is_empty() {
                stored.from = held.record.sequence;
                stored.oldest = Some(held.record.at);
            }
            stored.records[held.record.topic as usize] += 1;
            stored.bytes += held.record.size();
            state.sequence = state.sequence.max(held.record.sequence);
        }
        state.outbox = stored;
        state.refused = read_refused(&write.open_table(REFUSED)?)?.iter().map(RefusedState::of).collect();
        state
    };
    write.commit()?;
    Ok(Ok(state))
}

fn ranges(table: &impl ReadableTable<(&'static str, u64), u64>) -> Result<Vec<Seen>, redb::Error> {
    let mut ranges: Vec<Seen> = Vec::new();
    for row in table.iter()? {
        let (key, last) = row?;
        let (log, first) = key.value();
        let log = match ranges.last() {
            Some((before, ..)) if **before == *log => before.clone(),
            _ => log.into(),
        };
        ranges.push((log, first, last.value()));
    }
    Ok(ranges)
}

fn row(held: &Held) -> <Row as redb::Value>::SelfType<'_> {
    let record = &held.record;
    let headers = record.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let log_time = held.log_time.map(|time| time.0);
    (
        record.topic as u8,
        record.key.as_str(),
        headers,
        &record.value[..],
        record.at.0,
        log_time,
        held.refilled,
    )
}

/// `None` for a topic or header that this version does not know: a newer one would have another format.
fn held(sequence: u64, row: <Row as redb::Value>::SelfType<'_>) -> Option<Held> {
    let (topic, key, headers, value, at, log_time, refilled) = row;
    let topic = *Topic::ALL.get(usize::from(topic))?;
    let headers = headers
        .into_iter()
        .map(|(name, value)| Some((record::header(name)?, value.to_owned())))
        .collect::<Option<_>>()?;
    let record =
        Record { sequence, topic, key: key.to_owned(), headers, value: value.to_vec(), at: Timestamp(at) };
    Some(Held { record, log_time: log_time.map(Timestamp), refilled })
}

fn read_outbox(database: &Database, from: u64, bytes: usize) -> Result<Vec<Held>, redb::Error> {
    let read = database.begin_read()?;
    let table = read.open_table(OUTBOX)?;
    let mut records = Vec::new();
    let mut size = 0;
    for row in table.range(from..)? {
        let (sequence, value) = row?;
        let Some(held) = held(sequence.value(), value.value()) else { continue };
        size += held.record.size();
        if size > bytes && !records.is_empty() {
            break;
        }
        records.push(held);
    }
    Ok(records)
}

fn read_refused(
    table: &impl ReadableTable<u64, (Row, &'static str, &'static str, i64)>,
) -> Result<Vec<Refused>, redb::Error> {
    let mut refused = Vec::new();
    for entry in table.iter()? {
        let (sequence, value) = entry?;
        let (row, reason, message, at) = value.value();
        let reason = Rejection::ALL.into_iter().find(|known| known.label() == reason);
        let Some(held) = held(sequence.value(), row) else { continue };
        refused.push(Refused {
            held: Arc::new(held),
            reason: reason.unwrap_or(Rejection::Other),
            message: message.to_owned(),
            at: Timestamp(at),
        });
    }
    Ok(refused)
}

fn retry_refused(database: &Database) -> Result<usize, redb::Error> {
    let write = database.begin_write()?;
    let count = {
        let mut table = write.open_table(REFUSED)?;
        let refused = read_refused(&table)?;
        let mut outbox = write.open_table(OUTBOX)?;
        for refused in &refused {
            // Their numbers were given out to nobody else.
            outbox.insert(refused.held.record.sequence, row(&refused.held))?;
            table.remove(refused.held.record.sequence)?;
        }
        refused.len()
    };
    write.commit()?;
    Ok(count)
}

fn ledger_if_settled(database: &Database) -> Result<Option<Vec<Seen>>, redb::Error> {
    let read: ReadTransaction = database.begin_read()?;
    if !read.open_table(OUTBOX)?.is_empty()? {
        return Ok(None);
    }
    ranges(&read.open_table(LEDGER)?).map(Some)
}

/// Log → ranges, both ends included.
type Copied = BTreeMap<String, Vec<(u64, u64)>>;

const COPY: &str = "ledger.json";

fn write_copy(dir: &Path, ledger: &[Seen]) -> io::Result<()> {
    let mut copied = Copied::new();
    for (log, first, last) in ledger {
        copied.entry(log.to_string()).or_default().push((*first, *last));
    }
    let new = dir.join("ledger.json.new");
    gone(&new)?;
    make_private(&new)?;
    let file = fs::File::create(&new)?;
    let mut writer = io::BufWriter::new(file);
    serde_json::to_writer(&mut writer, &copied)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&new, dir.join(COPY))?;
    sync_dir(dir)
}

/// The copy, or nothing: what it does not hold begins with the first index that a feed shows.
fn read_copy(dir: &Path) -> Vec<Seen> {
    let read = fs::read(dir.join(COPY)).and_then(|text| Ok(serde_json::from_slice::<Copied>(&text)?));
    let copied = match read {
        Ok(copied) => copied,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Copied::new(),
        Err(error) => {
            error!("the copy of the ledger in {} cannot be read: {error}", dir.display());
            Copied::new()
        }
    };
    let mut ledger = Vec::new();
    for (log, ranges) in copied {
        let log: Arc<str> = log.into();
        ledger.extend(ranges.into_iter().filter(|(a, b)| a <= b).map(|(a, b)| (log.clone(), a, b)));
    }
    ledger
}

/// Where a damaged file goes: beside its place, under a name that is free.
fn aside(file: &Path) -> PathBuf {
    let name = |n: u32| file.with_file_name(format!("state.redb.damaged-{n}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}

/// Removes what an interrupted start or copy left.
fn gone(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new file is its owner's alone.
fn make_private(file: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)?;
    file.parent().map_or(Ok(()), sync_dir)
}

/// A name in a directory is durable only when the directory is.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(dir)?.sync_all() } else { Ok(()) }
}
