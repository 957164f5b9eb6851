//! The store's file: what it gives back, and what becomes of it when it is damaged, unfinished or newer.

use std::path::Path;
use std::sync::Arc;

use certsieve::account::ledger::Change;
use certsieve::account::outbox::Held;
use certsieve::account::raised::{Alert, Issuance};
use certsieve::account::{Commit, Journal, State};
use certsieve::entry::Timestamp;
use certsieve::record::{Record, Topic};
use certsieve::store::{Store, StoreError};
use uuid::Uuid;

fn record(sequence: u64, bytes: usize) -> Arc<Held> {
    let record = Record {
        sequence,
        topic: Topic::Match,
        key: format!("key-{sequence}"),
        headers: vec![("ce_id", format!("id-{sequence}")), ("content-type", "application/json".to_owned())],
        value: vec![b'x'; bytes],
        at: Timestamp(sequence as i64),
    };
    Arc::new(Held { record, log_time: sequence.is_multiple_of(2).then_some(Timestamp(7)) })
}

fn change(log: &str, first: u64, last: Option<u64>) -> Change {
    Change { log: log.into(), first, last }
}

/// A bit of everything.
fn everything() -> Commit {
    let alert = Alert { until: Timestamp(1), key: Some([7; 32]) };
    let issuance = Issuance { until: Timestamp(2), content: [8; 32], key: None };
    Commit {
        ledger: vec![change("a.example/log", 3, Some(9)), change("b.example", u64::MAX, Some(u64::MAX))],
        alerts: vec![(Uuid::from_u128(5), Some(alert))],
        issuances: vec![("aa:01".to_owned(), Some(issuance))],
        issuers: vec![("shop".to_owned(), "CN=x".to_owned())],
        records: vec![record(1, 100), record(2, 2000), record(3, 10)],
        settled: Vec::new(),
        refused: Vec::new(),
        sequence: 4,
        list_version: Some("sha256:12".to_owned()),
    }
}

fn open(dir: &Path) -> (Store, State) {
    let found = Store::open(dir).expect("a store that opens");
    assert!(found.rebuilt.is_none(), "{:?}", found.rebuilt);
    (found.store, found.state)
}

/// What a state says, without the order of its tables.
fn told(state: &State) -> String {
    let mut state = state.clone();
    state.ledger.sort();
    let mut issuers: Vec<_> = state.issuers.iter().collect();
    issuers.sort();
    format!(
        "{:?} {:?} {:?} {issuers:?} {:?} {} {:?}",
        state.ledger, state.alerts, state.issuances, state.outbox, state.sequence, state.list_version
    )
}

#[test]
fn what_was_committed_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, state) = open(dir.path());
    assert_eq!(told(&state), told(&State::default()));
    let commit = everything();
    store.commit(&commit).unwrap();
    // Written twice it is the same, as after a commit whose outcome nobody knew.
    store.commit(&commit).unwrap();
    drop(store);
    let (mut store, state) = open(dir.path());
    assert_eq!(state.ledger, [("a.example/log".into(), 3, 9), ("b.example".into(), u64::MAX, u64::MAX)]);
    assert_eq!((state.outbox.len(), state.outbox.from, state.sequence), (3, 1, 4));
    assert_eq!(state.outbox.bytes, commit.records.iter().map(|held| held.record.size()).sum::<usize>());
    assert_eq!(state.list_version.as_deref(), Some("sha256:12"));
    assert_eq!((state.alerts.len(), state.issuances.len(), state.issuers.len()), (1, 1, 1));
    let records = store.records(2, usize::MAX).unwrap();
    assert_eq!(records, commit.records[1..].iter().map(|held| (**held).clone()).collect::<Vec<_>>());
    assert_eq!(store.records(1, 1).unwrap().len(), 1, "at least one, whatever the room");
    let later = Commit {
        ledger: vec![change("a.example/log", 3, None), change("a.example/log", 2, Some(20))],
        alerts: vec![(Uuid::from_u128(5), None)],
        settled: vec![1, 3],
        sequence: 9,
        ..Commit::default()
    };
    store.commit(&later).unwrap();
    drop(store);
    let (_, state) = open(dir.path());
    assert_eq!(state.ledger[0], ("a.example/log".into(), 2, 20));
    assert_eq!((state.alerts.len(), state.outbox.len(), state.outbox.from, state.sequence), (0, 1, 2, 9));
}

/// One byte of the file at a time: either nothing that counts was hit, or the damage is seen, the file is
/// set aside whole, and the copy of the ledger is gone on with.
#[test]
fn a_damaged_file_is_seen_and_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let settled = Commit { records: Vec::new(), ..everything() };
    store.commit(&settled).unwrap();
    assert!(dir.path().join("ledger.json").exists(), "the outbox is empty: its copy is made");
    store.commit(&Commit { ledger: vec![change("c.example", 1, Some(5))], ..everything() }).unwrap();
    drop(store);
    let file = dir.path().join("state.redb");
    let whole = std::fs::read(&file).unwrap();
    let want = told(&open(dir.path()).1);
    let (mut hit, mut missed) = (0, 0);
    for at in (0..whole.len()).step_by(1021).chain(0..64) {
        std::fs::write(&file, &whole).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        std::fs::write(&file, &bytes).unwrap();
        let found = Store::open(dir.path()).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        match found.rebuilt {
            None => {
                missed += 1;
                assert_eq!(told(&found.state), want, "byte {at}: changed, and nothing said");
            }
            Some(rebuilt) => {
                hit += 1;
                assert_eq!(std::fs::read(&rebuilt.aside).unwrap().len(), whole.len(), "byte {at}");
                let copied: [(Arc<str>, u64, u64); 2] =
                    [("a.example/log".into(), 3, 9), ("b.example".into(), u64::MAX, u64::MAX)];
                assert_eq!(found.state.ledger, copied, "byte {at}");
                assert_eq!(rebuilt.ranges, 2);
                drop(found.store);
                std::fs::remove_file(&rebuilt.aside).unwrap();
                assert_eq!(open(dir.path()).1.ledger, copied, "byte {at}: it is the new store's too");
            }
        }
    }
    assert!(hit > 10 && missed > 10, "{hit} seen, {missed} of no matter");
}

#[test]
fn cut_short_empty_or_foreign_files_are_damaged_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&everything()).unwrap();
    drop(store);
    let file = dir.path().join("state.redb");
    let whole = std::fs::read(&file).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    for bytes in [half, Vec::new(), vec![0; 8192], b"not a store".to_vec()] {
        std::fs::write(&file, &bytes).unwrap();
        let found = Store::open(dir.path()).expect("a new one");
        let rebuilt = found.rebuilt.expect("it is said");
        assert_eq!(std::fs::read(&rebuilt.aside).unwrap().len(), bytes.len());
        assert!(rebuilt.to_string().contains("set aside"), "{rebuilt}");
    }
}

/// The power goes while the first store is made, or before its copy has its name.
#[test]
fn unfinished_files_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.redb.new"), vec![0; 4096]).unwrap();
    std::fs::write(dir.path().join("ledger.json.new"), b"{").unwrap();
    let (mut store, state) = open(dir.path());
    assert_eq!(told(&state), told(&State::default()));
    store.commit(&Commit { records: Vec::new(), ..everything() }).unwrap();
    let copy = std::fs::read_to_string(dir.path().join("ledger.json")).unwrap();
    assert!(copy.contains(r#""a.example/log":[[3,9]]"#), "{copy}");
    #[cfg(unix)]
    for file in ["state.redb", "ledger.json"] {
        use std::os::unix::fs::MetadataExt;
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{file} is its owner's alone");
    }
}

/// Records that wait may not be in the ledger's copy as seen: the store they wait in could be lost.
#[test]
fn the_copy_is_made_only_while_nothing_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&everything()).unwrap();
    assert!(!dir.path().join("ledger.json").exists());
    store.commit(&Commit { settled: vec![1, 2, 3], ..Commit::default() }).unwrap();
    assert!(dir.path().join("ledger.json").exists());
}

#[test]
fn a_newer_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let file = dir.path().join("state.redb");
    let database = redb::Database::open(&file).unwrap();
    let write = database.begin_write().unwrap();
    let numbers: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("numbers");
    write.open_table(numbers).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = Store::open(dir.path()).err().expect("a newer one");
    assert!(matches!(error, StoreError::Newer { found: 2, .. }), "{error}");
    assert!(file.exists());
}

/// What an hour's outage leaves behind is given back after the drain.
#[test]
fn room_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let small = store.size();
    for batch in 0..20 {
        let records = (1..=1000).map(|n| record(batch * 1000 + n, 3000)).collect();
        store.commit(&Commit { records, ..Commit::default() }).unwrap();
    }
    let large = store.size();
    assert!(large > 60_000_000, "{large}");
    store.commit(&Commit { settled: (1..=20_000).collect(), ..Commit::default() }).unwrap();
    store.rest();
    let after = store.size();
    assert!(after < 8_000_000, "{small} before, {large} with the backlog, {after} after");
}
