//! Edge: where messages come from. A feed lends bytes and an arrival time, and never waits for what
//! comes after.

use crate::entry::Timestamp;

/// What stands behind a feed: it is lent each message inline, on the connection's own task.
///
/// `take` must return within microseconds: nothing in it waits for a lock that is held long, for a
/// queue or for a disk.
pub trait Intake: Send {
    /// One whole message.
    fn take(&mut self, message: &[u8], at: Timestamp) -> Result<(), Refusal>;

    /// The read buffer is empty, or a millisecond has passed since the last call: what was collected
    /// goes on its way.
    fn rest(&mut self, now: Timestamp);
}

/// The stream cannot carry what the watch list needs; the reason is for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);
