//! Account and store on a disk that loses power at every single step, and on one that refuses.
//!
//! The oracle: what the ledger says was seen has its records in Kafka or in the outbox, and in the end,
//! with the holes read again, everything owed is published, under the ids that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use certsieve::account::{Account, Bounds, Journal, State};
use certsieve::record::{Composer, Outcome, Record, Rejection, Report, Topic};
use certsieve::store::Store;

use crate::support::disk::{Cut, Disk, Event, Unsynced, Wreckage};
use crate::support::entries::{Certificate, dns};
use crate::support::pipeline::{Bench, NOW};

const LIST: &str = "[[asset]]\nid = 'shop'\ndomains = ['shop.example']\npolicy = 'never-issue'";
const LOG: &str = "log-0.example";

/// Room for a few records only: the rest is left to the store.
const BOUNDS: Bounds = Bounds { memory: 24_000, store: 10_000_000 };

/// What the test notes between the operations of the disk.
#[derive(Clone, Debug)]
enum Mark {
    /// The store is made.
    Made,
    Seen(u64),
    Published(String),
    /// A commit came back without an error: what was seen until here is durable.
    Saved,
}

/// What the log holds.
fn message(index: u64) -> &'static str {
    static MESSAGES: LazyLock<Vec<String>> = LazyLock::new(|| (0..INDEXES).map(made).collect());
    &MESSAGES[index as usize]
}

fn made(index: u64) -> String {
    let name = match index % 3 {
        // The same certificate at two indexes raises one alert.
        0 => format!("n{}.shop.example", index / 6),
        _ => format!("n{index}.other.example"),
    };
    Certificate::of([dns(name)]).lite(LOG, index)
}

fn id(record: &Record) -> String {
    record.headers.iter().find(|(name, _)| *name == "ce_id").map(|(_, id)| id.clone()).unwrap_or_default()
}

/// What each index owes: the ids of its match and of its alert.
fn owed(indexes: u64) -> BTreeMap<u64, BTreeSet<String>> {
    (0..indexes)
        .map(|index| {
            let records = Bench::new(LIST).take(&[message(index)]);
            (index, records.iter().map(|out| id(&out.record)).collect())
        })
        .collect()
}

fn resumed(bench: &Bench, state: State) -> Account {
    let version = &bench.sieve.matcher().list().version;
    let mut account = Account::new(Composer::new("ctmon-a", "certsieve"), BOUNDS, version);
    account.resume(state);
    account
}

/// The publisher of the test: takes what it is given, and reports in any order.
#[derive(Default)]
struct Broker {
    /// With the publisher, by number.
    taken: BTreeMap<u64, Record>,
}

impl Broker {
    fn take(&mut self, account: &mut Account, store: &mut Store, most: usize) {
        for _ in 0..most {
            if account.next().is_none()
                && let Some((from, bytes)) = account.wants()
                && let Ok(records) = store.records(from, bytes)
            {
                account.loaded(records);
            }
            let Some(record) = account.next().cloned() else { return };
            account.taken();
            self.taken.insert(record.sequence, record);
        }
    }

    /// One of those that it has arrives, is refused or is given back.
    fn report(&mut self, account: &mut Account, random: &mut fastrand::Rng) -> Option<String> {
        let at = random.usize(..self.taken.len().max(1));
        let sequence = *self.taken.keys().nth(at)?;
        let record = self.taken.remove(&sequence)?;
        let outcome = match random.u8(..8) {
            0 => Outcome::Returned,
            _ => Outcome::Delivered,
        };
        let arrived = outcome == Outcome::Delivered;
        account.settle(Report { sequence, outcome, at: NOW });
        arrived.then(|| id(&record))
    }
}

const INDEXES: u64 = 90;

/// One life of account and store on a disk that only remembers.
fn live(seed: u64) -> Vec<Event<Mark>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bench = Bench::new(LIST);
    let disk = Disk::new(Vec::new());
    let backend = disk.clone();
    let (mut store, state) = Store::on(move || backend.clone()).expect("an empty disk");
    disk.mark(Mark::Made);
    bench.account = resumed(&bench, state);
    let mut broker = Broker::default();
    let mut next = 0;
    while next < INDEXES {
        match random.u8(..6) {
            0 | 1 => {
                // In any order, with what came before now and then.
                let mut indexes: Vec<u64> = (next..INDEXES.min(next + random.u64(1..8))).collect();
                next += indexes.len() as u64;
                random.shuffle(&mut indexes);
                if random.bool() {
                    indexes.push(random.u64(..next));
                }
                let full = bench.account.outbox().is_full();
                let batch =
                    bench.sift("eu-1", true, &indexes.iter().map(|i| message(*i)).collect::<Vec<_>>());
                bench.account.admit(batch, NOW);
                indexes.iter().filter(|i| !full || *i % 3 != 0).for_each(|i| disk.mark(Mark::Seen(*i)));
            }
            2 => broker.take(&mut bench.account, &mut store, random.usize(..6)),
            3 => {
                for _ in 0..random.usize(..6) {
                    if let Some(id) = broker.report(&mut bench.account, &mut random) {
                        disk.mark(Mark::Published(id));
                    }
                }
            }
            4 => {
                let commit = bench.account.commit(NOW);
                store.commit(&commit).expect("a disk that only remembers");
                bench.account.saved();
                disk.mark(Mark::Saved);
            }
            _ => {}
        }
    }
    disk.events()
}

/// Every id that the store still has to publish, and the account that goes on from there.
fn pending(bench: &mut Bench, store: &mut Store, state: State) -> BTreeSet<String> {
    bench.account = resumed(bench, state);
    let from = bench.account.wants().map_or(0, |(from, _)| from);
    store.records(from, usize::MAX).expect("a disk that works").iter().map(|held| id(&held.record)).collect()
}

#[test]
fn no_crash_point_loses_a_record_or_invents_a_receipt() {
    let owed = owed(INDEXES);
    // Each on a thread of its own: the points of one life are checked one by one.
    let points: usize = std::thread::scope(|scope| {
        let lives: Vec<_> = (1..=3)
            .map(|seed| {
                scope.spawn({
                    let owed = &owed;
                    move || die(seed, owed)
                })
            })
            .collect();
        lives.into_iter().map(|life| life.join().expect("what was printed above")).sum()
    });
    assert!(points > 3_000, "{points} points");
    println!("{points} crash points");
}

/// Every death of one life; returns how many there were.
fn die(seed: u64, owed: &BTreeMap<u64, BTreeSet<String>>) -> usize {
    let everything: BTreeSet<String> = owed.values().flatten().cloned().collect();
    let events = live(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut wreckage = Wreckage::new(&events);
    let mut points = 0;
    let (mut seen, mut published) = (BTreeSet::new(), BTreeSet::new());
    let (mut made, mut saved) = (false, BTreeSet::<u64>::new());
    while let Some(event) = wreckage.event() {
        if let Event::Mark(mark) = event {
            match mark {
                Mark::Made => made = true,
                Mark::Seen(index) => drop(seen.insert(*index)),
                Mark::Published(id) => drop(published.insert(id.clone())),
                Mark::Saved => saved.clone_from(&seen),
            }
            wreckage.step();
            continue;
        }
        // Before that it has not its name yet.
        for cut in Cut::ALL.into_iter().filter(|_| made) {
            for unsynced in Unsynced::ALL {
                points += 1;
                let place = format!("seed {seed}, point {points}: {cut:?} {unsynced:?}");
                let disk = Disk::<()>::new(wreckage.image(cut, unsynced, &mut random));
                check(&place, disk, owed, &everything, &seen, &saved, &published);
            }
        }
        wreckage.step();
    }
    points
}

fn check(
    place: &str,
    disk: Disk<()>,
    owed: &BTreeMap<u64, BTreeSet<String>>,
    everything: &BTreeSet<String>,
    seen: &BTreeSet<u64>,
    saved: &BTreeSet<u64>,
    published: &BTreeSet<String>,
) {
    let (mut store, state) = match Store::on(move || disk.clone()) {
        Ok(opened) => opened,
        Err(error) => panic!("{place}: a crash is no damage: {error}"),
    };
    let mut bench = Bench::new(LIST);
    let alerts: Vec<String> = state.alerts.keys().map(|id| id.to_string()).collect();
    let outbox = pending(&mut bench, &mut store, state);
    let known: BTreeSet<String> = published.union(&outbox).cloned().collect();
    for (index, owed) in owed {
        let entered = bench.account.ledger().contains(LOG, *index);
        assert!(!entered || seen.contains(index), "{place}: index {index} was never seen");
        assert!(entered || !saved.contains(index), "{place}: index {index} was durable");
        assert!(!entered || owed.is_subset(&known), "{place}: index {index} owes {owed:?}");
    }
    for alert in alerts {
        assert!(known.contains(&alert), "{place}: alert {alert} counts as raised and is nowhere");
    }
    // The holes are read again, and Kafka takes everything.
    let all: Vec<&str> = (0..INDEXES).map(message).collect();
    let mut arrived = published.clone();
    for _ in 0..200 {
        if !bench.account.outbox().is_full() {
            let batch = bench.sift("refill", true, &all);
            bench.account.admit(batch, NOW);
        }
        let mut broker = Broker::default();
        broker.take(&mut bench.account, &mut store, usize::MAX);
        for (sequence, record) in broker.taken {
            bench.account.settle(Report { sequence, outcome: Outcome::Delivered, at: NOW });
            arrived.insert(id(&record));
        }
        let commit = bench.account.commit(NOW);
        store.commit(&commit).expect("a disk that works");
        bench.account.saved();
        if bench.account.outbox().is_empty() && arrived.is_superset(everything) {
            return;
        }
    }
    panic!("{place}: never published: {:?}", everything.difference(&arrived).collect::<Vec<_>>());
}

/// Disk full and I/O errors at every operation: the account goes on in memory, and the store takes all of
/// it once the disk does, without a restart.
#[test]
fn a_disk_that_refuses_is_survived_without_a_restart() {
    let owed = owed(INDEXES);
    let everything: BTreeSet<String> = owed.values().flatten().cloned().collect();
    for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
        for refuse_after in 0..60 {
            let place = format!("{kind:?} after {refuse_after}");
            let disk = Disk::<()>::new(Vec::new());
            let backend = disk.clone();
            let (mut store, state) = Store::on(move || backend.clone()).expect("an empty disk");
            let mut bench = Bench::new(LIST);
            bench.account = resumed(&bench, state);
            disk.refuse_after(refuse_after, kind);
            let mut arrived = BTreeSet::new();
            let mut refusals = BTreeSet::new();
            let mut broker = Broker::default();
            for first in (0..INDEXES).step_by(6) {
                let batch = bench.sift("eu-1", true, &(first..first + 6).map(message).collect::<Vec<_>>());
                bench.account.admit(batch, NOW);
                broker.take(&mut bench.account, &mut store, 2);
                for (sequence, record) in std::mem::take(&mut broker.taken) {
                    bench.account.settle(Report { sequence, outcome: Outcome::Delivered, at: NOW });
                    arrived.insert(id(&record));
                }
                let commit = bench.account.commit(NOW);
                match store.commit(&commit) {
                    Ok(()) => bench.account.saved(),
                    Err(error) => drop(refusals.insert(error.reason())),
                }
            }
            assert_eq!(refusals.is_empty(), disk.refused() == 0, "{place}: {refusals:?}");
            let want = if kind == std::io::ErrorKind::StorageFull { "full" } else { "io" };
            assert!(refusals.iter().all(|reason| *reason == want), "{place}: {refusals:?}");
            drop(store);
            // Power off, now: what was not delivered lies on the disk.
            let again = Disk::<()>::new(disk.bytes());
            let (mut store, state) = Store::on(move || again.clone()).expect(&place);
            let mut bench = Bench::new(LIST);
            arrived.extend(pending(&mut bench, &mut store, state));
            assert!(arrived.is_superset(&everything), "{place}");
            assert!((0..INDEXES).all(|i| bench.account.ledger().contains(LOG, i)), "{place}");
        }
    }
}

/// What Kafka refuses for itself is kept for who looks into it, and no longer pending.
#[test]
fn a_refused_record_is_set_aside() {
    let disk = Disk::<()>::new(Vec::new());
    let backend = disk.clone();
    let (mut store, state) = Store::on(move || backend.clone()).expect("an empty disk");
    let mut bench = Bench::new(LIST);
    bench.account = resumed(&bench, state);
    let batch = bench.sift("eu-1", true, &[message(0)]);
    bench.account.admit(batch, NOW);
    let mut broker = Broker::default();
    broker.take(&mut bench.account, &mut store, usize::MAX);
    let (&sequence, record) = broker.taken.first_key_value().expect("an alert");
    assert_eq!(record.topic, Topic::Alert);
    let outcome = Outcome::Rejected { reason: Rejection::TooLarge, message: "too large".to_owned() };
    bench.account.settle(Report { sequence, outcome, at: NOW });
    let commit = bench.account.commit(NOW);
    store.commit(&commit).expect("a disk that works");
    let refused = store.refused().expect("a disk that works");
    let [refused] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!((&refused.held.record, &*refused.message), (record, "too large"));
    assert_eq!((refused.reason, refused.at), (Rejection::TooLarge, NOW));
}
