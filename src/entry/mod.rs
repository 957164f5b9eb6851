//! One log entry, decoded: pure.

pub mod name;
pub mod time;

pub use time::Timestamp;
