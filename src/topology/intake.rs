//! What stands behind a feed: sifts inline, and hands batches to the account without waiting.
//!
//! Everything between a connection and the account is bounded: [`Queue`] by batches, messages and bytes.
//! When it has no room, a live feed's findings are shed, with their indexes taken out of the receipts, and
//! counted as such at once; the receipts go on with a later batch, up to a bound beyond which their
//! messages are shed too. A recording waits instead.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::account::Event;
use crate::entry::Timestamp;
use crate::entry::leaf::Fetched;
use crate::feed::{Intake, Refusal};
use crate::metrics::Metrics;
use crate::record::Arrival;
use crate::sieve::{Batch, Origin, Position, Scratch, Sieve, Source};

/// Batches under way to the account: a quarter of a second of a thousand a second.
pub const QUEUE_BATCHES: usize = 256;

/// Messages under way to the account: more than that many batches usually have, since one that waited for
/// room has more.
pub const QUEUE_MESSAGES: u64 = QUEUE_BATCHES as u64 * BATCH_MESSAGES;

/// Bytes under way to the account.
pub const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// A batch goes after so many messages.
const BATCH_MESSAGES: u64 = 1024;

/// Messages whose receipts could not go on are kept up to so many, half a minute of the world's feed;
/// beyond, they are shed too. A run of receipts has at least one message, so that this bounds the bytes.
const HELD_MESSAGES: u64 = 65_536;

/// How soon entries of a log that wait for room are offered again.
const BEHIND: Duration = Duration::from_millis(20);

/// How often a recording that waits for room looks whether it is to stop.
const WAIT: Duration = Duration::from_millis(100);

/// The bounded way to the account's thread.
#[derive(Clone)]
pub struct Queue {
    events: Sender<Event>,
    room: Arc<Room>,
}

#[derive(Default)]
struct Room {
    taken: Mutex<Taken>,
    given: Condvar,
}

/// What is under way, or one batch's share of it.
#[derive(Clone, Copy, Default)]
pub struct Taken {
    batches: usize,
    messages: u64,
    bytes: usize,
}

impl Queue {
    pub fn new(events: Sender<Event>) -> Queue {
        Queue { events, room: Arc::new(Room::default()) }
    }

    /// Hands a batch over, or gives it back when there is no room.
    fn offer(&self, batch: Batch) -> Option<Batch> {
        let size = Taken { batches: 1, messages: batch.tally.messages(), bytes: batch.size() };
        {
            let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = taken.batches < QUEUE_BATCHES
                && taken.messages + size.messages <= QUEUE_MESSAGES
                && taken.bytes.saturating_add(size.bytes) <= QUEUE_BYTES;
            // A batch that alone is over the bound goes when nothing else is under way.
            if !fits && taken.batches > 0 {
                return Some(batch);
            }
            taken.batches += 1;
            taken.messages += size.messages;
            taken.bytes += size.bytes;
        }
        // The account's thread lives as long as any feed.
        let _ = self.events.send(Event::Batch { batch: Box::new(batch), size });
        None
    }

    /// As [`offer`](Queue::offer), of the queue's first half alone: the second is the live feeds'.
    fn offer_behind(&self, batch: Batch) -> Option<Batch> {
        let half = {
            let taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.batches < QUEUE_BATCHES / 2 && taken.bytes < QUEUE_BYTES / 2
        };
        if half { self.offer(batch) } else { Some(batch) }
    }

    /// As [`offer`](Queue::offer), waiting for room until `stop`.
    fn wait(&self, mut batch: Batch, stop: &AtomicBool) {
        while let Some(back) = self.offer(batch) {
            if stop.load(Relaxed) {
                // The last one of a recording that is stopped: a bound that it may pass once.
                return self.send(Event::Batch { batch: Box::new(back), size: Taken::default() });
            }
            batch = back;
            let taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.room.given.wait_timeout(taken, WAIT));
        }
    }

    /// The account has taken a batch of this size in.
    pub fn give(&self, size: Taken) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.batches -= size.batches;
        taken.messages -= size.messages;
        taken.bytes -= size.bytes;
        self.room.given.notify_all();
    }

    pub fn send(&self, event: Event) {
        // Only a batch counts against the bound; other events are few.
        let _ = self.events.send(event);
    }
}

/// One feed's worker.
pub struct Worker {
    sieve: Arc<ArcSwap<Sieve>>,
    queue: Queue,
    metrics: Arc<Metrics>,
    /// Index into the metrics' feeds.
    feed: usize,
    position: Position,
    arrival: Arrival,
    scratch: Scratch,
    batch: Batch,
    /// Messages of the batch that are already counted as in flight.
    counted: u64,
    /// A recording waits; `true` in it stops the waiting.
    waits: Option<Arc<AtomicBool>>,
}

impl Worker {
    /// `waits`: for a recording, the flag that stops it.
    pub fn new(
        name: &str,
        feed: usize,
        sieve: Arc<ArcSwap<Sieve>>,
        queue: Queue,
        metrics: Arc<Metrics>,
        waits: Option<Arc<AtomicBool>>,
    ) -> Worker {
        let name: Arc<str> = name.into();
        let origin = if waits.is_none() { Origin::Feed } else { Origin::Recording };
        let position = Position { feed: name.clone(), origin };
        Worker {
            sieve,
            queue,
            metrics,
            feed,
            arrival: Arrival { feed: name, received: Timestamp::default() },
            scratch: Scratch::timed(uptime),
            batch: Batch::new(position.clone()),
            position,
            counted: 0,
            waits,
        }
    }
}

impl Worker {
    /// For entries that were read from a log itself, which nobody sends again by himself.
    pub fn refill(
        name: &str,
        feed: usize,
        sieve: Arc<ArcSwap<Sieve>>,
        queue: Queue,
        metrics: Arc<Metrics>,
    ) -> Worker {
        let mut worker = Worker::new(name, feed, sieve, queue, metrics, None);
        worker.position.origin = Origin::Refill;
        worker.batch.position.origin = Origin::Refill;
        worker
    }

    /// Sifts one entry of a log.
    pub fn leaf(&mut self, leaf: Fetched<'_>, at: Timestamp) {
        self.arrival.received = at;
        let sieve = self.sieve.load();
        // Only a stream of messages can be unfit.
        let _ = sieve.sift(Source::Leaf(leaf), &self.arrival, &mut self.scratch, &mut self.batch);
    }

    /// Hands over what was sifted, behind the live feeds.
    pub async fn hand_over(mut self) {
        let mut batch = std::mem::replace(&mut self.batch, Batch::new(self.position.clone()));
        if batch.is_empty() {
            return;
        }
        self.metrics.in_flight(self.feed, batch.tally.messages());
        while let Some(back) = self.queue.offer_behind(batch) {
            batch = back;
            tokio::time::sleep(BEHIND).await;
        }
    }
}

/// Time since some fixed moment: for differences.
fn uptime() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

impl Intake for Worker {
    fn begin(&mut self) {
        self.scratch.begin();
    }

    fn take(&mut self, message: &[u8], at: Timestamp) -> Result<(), Refusal> {
        self.arrival.received = at;
        let sieve = self.sieve.load();
        let sifted = sieve.sift(Source::Message(message), &self.arrival, &mut self.scratch, &mut self.batch);
        drop(sieve);
        if self.batch.tally.messages() - self.counted >= BATCH_MESSAGES {
            self.rest(at);
        }
        sifted.map_err(|unfit| Refusal(unfit.to_string()))
    }

    fn rest(&mut self, _: Timestamp) {
        if self.batch.is_empty() {
            return;
        }
        let messages = self.batch.tally.messages();
        self.metrics.in_flight(self.feed, messages - self.counted);
        self.counted = messages;
        let batch = std::mem::replace(&mut self.batch, Batch::new(self.position.clone()));
        self.counted = 0;
        if let Some(stop) = &self.waits {
            return self.queue.wait(batch, stop);
        }
        if let Some(back) = self.queue.offer(batch) {
            self.hold(back);
        }
    }
}

impl Worker {
    /// Keeps what the queue has no room for: the receipts alone, and no more of them than the bound says.
    fn hold(&mut self, mut batch: Batch) {
        batch.shed();
        let mut shed = std::mem::take(&mut batch.tally.shed);
        if batch.tally.messages() > HELD_MESSAGES {
            shed += batch.tally.messages();
            batch = Batch::new(self.position.clone());
        }
        self.metrics.shed(shed);
        self.counted = batch.tally.messages();
        self.batch = batch;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.rest(Timestamp::default());
        // Without room even at the end: nobody comes to take them.
        self.metrics.shed(self.batch.tally.messages());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::feed::FeedMeter;
    use crate::watch::{Matcher, WatchList};

    const LIST: &[u8] = b"[[asset]]\nid = 'a'\npolicy = 'observe'\ndomains = ['example.com']\n";

    /// In flight and shed, as a scrape says.
    fn counted(metrics: &Metrics) -> (u64, u64) {
        let text = metrics.render();
        let of = |series: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(series)).expect("it is there");
            line.trim().parse().expect("a whole number")
        };
        (of("certsieve_messages_in_flight "), of("certsieve_messages_total{outcome=\"shed\"} "))
    }

    /// With an account that takes nothing: a disk that hangs, say.
    #[test]
    fn what_is_under_way_is_bounded_and_what_is_shed_is_counted_at_once() {
        let (events, inbox) = channel();
        let queue = Queue::new(events);
        let metrics = Arc::new(Metrics::new().unwrap());
        let feed = metrics.feed(Arc::new(FeedMeter::new("eu", None)));
        let list = WatchList::parse("w", LIST, &mut |_| Err("no files".to_owned())).unwrap();
        let sieve = Arc::new(ArcSwap::from_pointee(Sieve::new(Matcher::new(list).unwrap())));
        let mut worker = Worker::new("eu", feed, sieve, queue.clone(), metrics.clone(), None);
        let receive = |worker: &mut Worker, messages: u64| {
            worker.batch.tally.unmatched += messages;
            worker.rest(Timestamp::default());
        };
        for _ in 0..QUEUE_BATCHES {
            receive(&mut worker, BATCH_MESSAGES);
        }
        assert_eq!(counted(&metrics), (QUEUE_MESSAGES, 0));
        // Receipts are kept for a while.
        receive(&mut worker, HELD_MESSAGES);
        assert_eq!(counted(&metrics), (QUEUE_MESSAGES + HELD_MESSAGES, 0));
        // What findings they had was shed and is counted, though the receipts still wait.
        worker.batch.tally.shed += 5;
        receive(&mut worker, 0);
        assert_eq!(counted(&metrics), (QUEUE_MESSAGES + HELD_MESSAGES, 5));
        receive(&mut worker, 1);
        assert_eq!(counted(&metrics), (QUEUE_MESSAGES, HELD_MESSAGES + 6));
        // Room again: one batch leaves, one comes.
        let Ok(Event::Batch { size, .. }) = inbox.try_recv() else { panic!("a batch is under way") };
        queue.give(size);
        receive(&mut worker, 7);
        assert!(worker.batch.is_empty());
        receive(&mut worker, 9);
        assert_eq!(worker.batch.tally.messages(), 9);
        // At the end nobody takes them any more.
        drop(worker);
        assert_eq!(counted(&metrics), (QUEUE_MESSAGES + 7, HELD_MESSAGES + 15));
        assert_eq!(metrics.shed_early(), metrics.counts().shed);
    }
}
