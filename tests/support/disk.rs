//! A disk that remembers what was done to it, so that it can be taken back to any moment and lose what was
//! not synced there; and that can refuse.

use std::sync::{Arc, Mutex};

use redb::StorageBackend;

/// What the store above asks of its backend.
type Asked<T> = std::io::Result<T>;

/// One thing that happened, in order.
#[derive(Clone, Debug)]
pub enum Event<M> {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen(u64),
    Sync,
    /// Of the test itself.
    Mark(M),
}

/// Where in an event the power goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    Before,
    Within,
    After,
}

impl Cut {
    pub const ALL: [Cut; 3] = [Cut::Before, Cut::Within, Cut::After];
}

/// What becomes of writes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsynced {
    Kept,
    Lost,
    /// Some of them, some in part.
    Torn,
}

impl Unsynced {
    pub const ALL: [Unsynced; 3] = [Unsynced::Kept, Unsynced::Lost, Unsynced::Torn];
}

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The disk; clones are the same one.
#[derive(Debug)]
pub struct Disk<M> {
    inner: Arc<Mutex<Inner<M>>>,
}

impl<M> Clone for Disk<M> {
    fn clone(&self) -> Disk<M> {
        Disk { inner: self.inner.clone() }
    }
}

#[derive(Debug)]
struct Inner<M> {
    bytes: Vec<u8>,
    events: Vec<Event<M>>,
    /// So many events from now on are taken, and then one is refused; `None`: all are taken.
    refuse_after: Option<u64>,
    /// With this.
    refusal: std::io::ErrorKind,
    refused: u64,
}

impl<M: Send + std::fmt::Debug + 'static> Disk<M> {
    pub fn new(bytes: Vec<u8>) -> Disk<M> {
        let refusal = std::io::ErrorKind::StorageFull;
        let inner = Inner { bytes, events: Vec::new(), refuse_after: None, refusal, refused: 0 };
        Disk { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner<M>> {
        self.inner.lock().unwrap()
    }

    pub fn mark(&self, mark: M) {
        self.inner().events.push(Event::Mark(mark));
    }

    /// Everything that happened.
    pub fn events(&self) -> Vec<Event<M>>
    where
        M: Clone,
    {
        self.inner().events.clone()
    }

    /// Takes so many more operations, and refuses the one behind them.
    pub fn refuse_after(&self, operations: u64, refusal: std::io::ErrorKind) {
        let mut inner = self.inner();
        (inner.refuse_after, inner.refusal) = (Some(operations), refusal);
    }

    /// How many operations were refused.
    pub fn refused(&self) -> u64 {
        self.inner().refused
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.inner().bytes.clone()
    }

    fn operate(&self, event: Event<M>) -> Asked<()> {
        let mut inner = self.inner();
        match inner.refuse_after.as_mut() {
            Some(0) => {
                inner.refuse_after = None;
                inner.refused += 1;
                return Err(inner.refusal.into());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        apply(&event, &mut inner.bytes);
        inner.events.push(event);
        Ok(())
    }
}

fn apply<M>(event: &Event<M>, bytes: &mut Vec<u8>) {
    match event {
        Event::Write { offset, bytes: written } => {
            let offset = *offset as usize;
            if bytes.len() < offset + written.len() {
                bytes.resize(offset + written.len(), 0);
            }
            bytes[offset..offset + written.len()].copy_from_slice(written);
        }
        Event::SetLen(len) => bytes.resize(*len as usize, 0),
        Event::Sync | Event::Mark(_) => {}
    }
}

impl<M: Send + std::fmt::Debug + 'static> StorageBackend for Disk<M> {
    fn len(&self) -> Asked<u64> {
        Ok(self.inner().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Asked<()> {
        let inner = self.inner();
        let offset = offset as usize;
        let read = inner.bytes.get(offset..offset + out.len());
        out.copy_from_slice(read.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Asked<()> {
        self.operate(Event::SetLen(len))
    }

    fn sync_data(&self) -> Asked<()> {
        self.operate(Event::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Asked<()> {
        self.operate(Event::Write { offset, bytes: data.to_vec() })
    }
}

/// Walks through what happened to a disk, and shows what is left of it where the power goes.
pub struct Wreckage<'e, M> {
    events: &'e [Event<M>],
    /// As of the last sync.
    durable: Vec<u8>,
    unsynced: Vec<&'e Event<M>>,
    at: usize,
}

impl<'e, M> Wreckage<'e, M> {
    pub fn new(events: &'e [Event<M>]) -> Wreckage<'e, M> {
        Wreckage { events, durable: Vec::new(), unsynced: Vec::new(), at: 0 }
    }

    /// The event at which the power goes.
    pub fn event(&self) -> Option<&'e Event<M>> {
        self.events.get(self.at)
    }

    /// Goes behind it.
    pub fn step(&mut self) {
        match self.event() {
            Some(Event::Sync) => self.sync(),
            Some(event @ (Event::Write { .. } | Event::SetLen(_))) => self.unsynced.push(event),
            Some(Event::Mark(_)) | None => {}
        }
        self.at += 1;
    }

    fn sync(&mut self) {
        for event in self.unsynced.drain(..) {
            apply(event, &mut self.durable);
        }
    }

    /// What the disk holds when it comes back.
    pub fn image(&self, cut: Cut, unsynced: Unsynced, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut image = self.durable.clone();
        let mut pending = self.unsynced.clone();
        let event = self.event().filter(|_| cut != Cut::Before);
        let whole = cut == Cut::After;
        match event {
            Some(Event::Sync) if whole => {
                pending.drain(..).for_each(|event| apply(event, &mut image));
            }
            // Half of the sync was done.
            Some(Event::Sync) => {
                pending.retain(|event| {
                    let done = random.bool();
                    if done {
                        apply(event, &mut image);
                    }
                    !done
                });
            }
            Some(event @ (Event::Write { .. } | Event::SetLen(_))) if whole => pending.push(event),
            _ => {}
        }
        for event in pending {
            match unsynced {
                Unsynced::Kept => apply(event, &mut image),
                Unsynced::Lost => {}
                Unsynced::Torn => tear(event, &mut image, random),
            }
        }
        // The one that was under way, in part, whatever became of those before it.
        if let (Some(event @ Event::Write { .. }), false) = (event, whole) {
            tear(event, &mut image, random);
        }
        image
    }
}

/// Any of the sectors of one write.
fn tear<M>(event: &Event<M>, image: &mut Vec<u8>, random: &mut fastrand::Rng) {
    match event {
        Event::Write { offset, bytes } => {
            for (i, sector) in bytes.chunks(SECTOR).enumerate() {
                if random.bool() {
                    let offset = offset + (i * SECTOR) as u64;
                    apply(&Event::<M>::Write { offset, bytes: sector.to_vec() }, image);
                }
            }
        }
        Event::SetLen(_) if random.bool() => apply(event, image),
        _ => {}
    }
}
