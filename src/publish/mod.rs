//! Where records go: Kafka, or standard output.
//!
//! A publisher takes a numbered record without waiting, or says that it is full; what became of it
//! comes back as a [`Report`] through the function given at its making, exactly
//! once for every record taken. The account keeps each record until its report.

#[cfg(feature = "kafka")]
pub mod kafka;
pub mod stdout;

use std::time::Duration;

use crate::record::{Record, Report};

/// Hears of every record taken, from whichever thread learns of it: it must not wait.
pub type Reports = Box<dyn Fn(Report) + Send + Sync>;

/// Takes records without waiting.
pub trait Publisher: Send {
    /// Hands over one record. `Err(Full)` leaves it with the caller, who tries again later.
    fn publish(&mut self, record: &Record) -> Result<(), Full>;

    /// Called a few times a second by the account's thread: rebuilds, checks of topics.
    fn tend(&mut self);

    /// Waits until every record has its report, or until the deadline. True when none is left.
    fn flush(&mut self, deadline: Duration) -> bool;

    /// Why no record will ever be taken again, when that is so. What Kafka refuses passes; what a
    /// closed pipe refuses does not.
    fn ended(&self) -> Option<&Ended> {
        None
    }

    /// Where records go, for people.
    fn way(&self) -> &'static str {
        "Kafka"
    }
}

/// The publisher's queue has no room now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The way out is closed for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The reader of a pipe has seen enough (`| head`): the program ends, and says nothing.
    ReaderGone,
    /// What the system said.
    Failed(String),
}
