//! The pacer: draws what is due, and hands it to every client of the streams.
//!
//! Every few milliseconds the messages that are due are drawn once, written once for each stream that has
//! a client, and handed to clients as one shared chunk: one system call carries hundreds of messages.
//! At rate 0 the pace is that of the slowest client, and nothing is skipped. What is to be lost on purpose is
//! drawn, so that its log has it, and handed to nobody.
//!
//! Bounds: `buffer` messages a client, and chunks of half a thousand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Stream;
use super::archive::Entry;
use super::connection::ANSWERS;
use super::firehose::Firehose;
use super::frames;
use super::log::Logs;
use super::simulate::{Meter, Timers};
use crate::clock;

/// Between two draws: at 50,000 messages a second 250 in one write, and no visible delay at 1.
const TICK: Duration = Duration::from_millis(5);
/// Messages in one chunk: bounds the memory that a shared chunk holds, about 4 MB of full.
const CHUNK: usize = 512;
/// A pause of the machine is made up for, but not more than this much of it.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What pacer and connections share.
pub struct Hub {
    /// Those past their handshake; `None` once nothing is drawn any more.
    clients: Mutex<Option<Vec<Outbox>>>,
    /// A client came, or one has room again. The pacer alone waits for it.
    pub wake: Notify,
    buffer: usize,
    pub timers: Timers,
    pub meter: Arc<Meter>,
    pub logs: Arc<Logs>,
    /// Connections before their upgrade, and those to the logs.
    pub readers: AtomicUsize,
    pub answers: Semaphore,
}

/// The pacer's end of one client.
pub struct Outbox {
    pub stream: Stream,
    pub chunks: mpsc::UnboundedSender<Arc<Chunk>>,
    /// Messages handed over and not yet written: what bounds `chunks`.
    pub queued: Arc<AtomicUsize>,
}

/// Consecutive messages of one stream, as frames.
#[derive(Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// Where each message ends.
    pub ends: Vec<usize>,
}

impl Hub {
    pub fn new(buffer: usize, timers: Timers, meter: Arc<Meter>, logs: Arc<Logs>) -> Hub {
        Hub {
            clients: Mutex::new(Some(Vec::new())),
            wake: Notify::new(),
            buffer,
            timers,
            meter,
            logs,
            readers: AtomicUsize::new(0),
            answers: Semaphore::new(ANSWERS),
        }
    }

    pub fn clients(&self) -> MutexGuard<'_, Option<Vec<Outbox>>> {
        // Nothing is left half done under this lock.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a client, and whether every one has room for a chunk.
    fn ready(&self) -> (bool, bool) {
        let mut clients = self.clients();
        let Some(clients) = clients.as_mut() else { return (false, false) };
        clients.retain(|client| !client.chunks.is_closed());
        // Two chunks at least: one is written while the next is made.
        let bound = self.buffer.max(2 * CHUNK);
        let room = |client: &Outbox| client.queued.load(Ordering::Acquire) + CHUNK <= bound;
        (!clients.is_empty(), clients.iter().all(room))
    }

    /// Writes `entries` once for each stream that somebody listens to, and hands them out.
    fn publish(&self, firehose: &Firehose, entries: &[Entry], skip: bool, scratch: &mut Vec<u8>) {
        let clients = self.clients();
        let clients = clients.as_deref().unwrap_or_default();
        for stream in Stream::ALL {
            let mut listeners = clients.iter().filter(|client| client.stream == stream).peekable();
            if listeners.peek().is_none() {
                continue;
            }
            let mut chunk = Chunk::default();
            for entry in entries {
                scratch.clear();
                firehose.write(entry, stream, scratch);
                frames::push_text(&mut chunk.bytes, scratch);
                chunk.ends.push(chunk.bytes.len());
            }
            let chunk = Arc::new(chunk);
            for client in listeners {
                let room = match skip {
                    true => self.buffer.saturating_sub(client.queued.load(Ordering::Acquire)),
                    false => usize::MAX,
                };
                self.meter.skipped.fetch_add(entries.len().saturating_sub(room) as u64, Ordering::Relaxed);
                let Some(part) = chunk.first(room) else { continue };
                client.queued.fetch_add(part.ends.len(), Ordering::AcqRel);
                // A client that just left takes nothing; `ready` forgets it.
                let _ = client.chunks.send(part);
            }
        }
    }
}

impl Chunk {
    /// The first messages of the chunk, at most `count`. A part is copied: a slow client must not hold
    /// on to hundreds of messages for the sake of one.
    fn first(self: &Arc<Chunk>, count: usize) -> Option<Arc<Chunk>> {
        if count >= self.ends.len() {
            return Some(Arc::clone(self)).filter(|chunk| !chunk.ends.is_empty());
        }
        let end = *self.ends.get(count.checked_sub(1)?)?;
        Some(Arc::new(Chunk { bytes: self.bytes[..end].to_vec(), ends: self.ends[..count].to_vec() }))
    }
}

/// Draws entries at the rate, or as fast as clients take them, until stopped.
pub async fn pace(hub: Arc<Hub>, mut firehose: Firehose, rate: u32, mut stopped: watch::Receiver<bool>) {
    let mut scratch = Vec::new();
    let mut entries = Vec::with_capacity(CHUNK);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Fractions of a message that are owed, at the rate.
    let mut owed = 0.0;
    let mut last = Instant::now();
    loop {
        let (anybody, room) = hub.ready();
        let wait = !anybody || (rate == 0 && !room);
        if wait {
            tokio::select! {
                () = hub.wake.notified() => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            if !anybody {
                // Nothing is owed for the time in which nobody listened.
                last = Instant::now();
            }
            continue;
        }
        let count = if rate == 0 {
            tokio::task::yield_now().await;
            CHUNK
        } else {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            let now = Instant::now();
            owed += (now - last).min(CATCH_UP).as_secs_f64() * f64::from(rate);
            last = now;
            let whole = owed.floor();
            owed -= whole;
            whole as usize
        };
        if *stopped.borrow() {
            break;
        }
        let now = clock::now();
        for first in (0..count).step_by(CHUNK) {
            entries.clear();
            entries.extend((first..count.min(first + CHUNK)).map(|_| firehose.draw(now)));
            hub.meter.drawn.fetch_add(entries.len() as u64, Ordering::Relaxed);
            let before = entries.len();
            entries.retain(|entry| !hub.logs.archive().drops(entry));
            hub.meter.dropped.fetch_add((before - entries.len()) as u64, Ordering::Relaxed);
            hub.publish(&firehose, &entries, rate > 0, &mut scratch);
        }
    }
    *hub.clients() = None;
}
