//! Edge: the only reader of the system's clock.
//!
//! Everything pure is given a [`Timestamp`]; everything that waits uses tokio's clock, which a test
//! can pause.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::entry::Timestamp;

/// The system's time now.
pub fn now() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        Err(before) => Timestamp(-i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX)),
    }
}
