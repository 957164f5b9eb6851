//! Edge: where messages come from. A feed lends bytes and an arrival time, and never waits for what
//! comes after.
//!
//! - [`certstream`]: a CertStream server's WebSocket, for ever; [`dial`] brings it there, through a proxy
//!   where there is one.
//! - [`file`](mod@file): a recording, once; [`bundle`] reads certificates in its place, for who searches files.
//!
//! What a message means is left to the [`Intake`] behind the feed; what a feed does and suffers stands
//! in its [`FeedMeter`].

use crate::entry::Timestamp;

pub mod bundle;
pub mod certstream;
pub mod dial;
pub mod file;
mod meter;
mod proxy;
mod retry;
mod words;

pub use meter::{CONNECT_RESULTS, ConnectResult, DISCONNECT_REASONS, DisconnectReason, FeedMeter};

/// An intake rests after so many messages at the latest: what it collects meanwhile stays small.
pub const REST_AFTER: u32 = 1024;

/// What stands behind a feed: it is lent each message inline, on the connection's own task.
///
/// `take` must return within microseconds: nothing in it waits for a lock that is held long, for a
/// queue or for a disk. (Behind a file feed, which has a thread of its own, it may wait.)
pub trait Intake: Send {
    /// A connection is up: what comes is a stream of its own, whatever the one before was.
    fn begin(&mut self) {}

    /// One whole message.
    fn take(&mut self, message: &[u8], at: Timestamp) -> Result<(), Refusal>;

    /// The read buffer is empty, or a millisecond has passed since the last call: what was collected
    /// goes on its way.
    fn rest(&mut self, now: Timestamp);
}

impl<I: Intake + ?Sized> Intake for Box<I> {
    fn begin(&mut self) {
        (**self).begin();
    }

    fn take(&mut self, message: &[u8], at: Timestamp) -> Result<(), Refusal> {
        (**self).take(message, at)
    }

    fn rest(&mut self, now: Timestamp) {
        (**self).rest(now);
    }
}

/// The stream cannot carry what the watch list needs; the reason is for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);
