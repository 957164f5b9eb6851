//! Where records go: Kafka, or standard output.
//!
//! A publisher takes a numbered record without waiting, or says that it is full; what became of it
//! comes back as a [`Report`](crate::record::Report) on the channel given at its making. The account
//! keeps each record until its report.

use crate::record::Record;

/// Takes records without waiting.
pub trait Publisher: Send {
    /// Hands over one record. `Err(Full)` leaves it with the caller, who tries again later.
    fn publish(&mut self, record: &Record) -> Result<(), Full>;

    /// Called a few times a second by the account's thread: rebuilds, checks of topics.
    fn tend(&mut self);

    /// Waits until every record has its report, or until the deadline. True when none is left.
    fn flush(&mut self, deadline: std::time::Duration) -> bool;
}

/// The publisher's queue has no room now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;
