//! `[outbox]`: how much may wait for Kafka, in memory and in `state_dir`.
//!
//! Above both, findings are shed and their indexes become holes. The defaults hold some ten thousand
//! records in memory and some two hundred thousand in the store: at a match a second, two days.

use crate::account::Bounds;
use crate::document::Keys;
use crate::problem::Report;

use super::NOTHING_LATER;

/// Every key of the table, for those that stand elsewhere.
pub const KEYS: &[&str] = &["memory_bytes", "state_bytes"];

const MEMORY: usize = 64 * 1024 * 1024;
const STATE: usize = 1024 * 1024 * 1024;

/// Less holds no malformed record of the largest size beside others; more than a machine has is a slip.
const MEMORY_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024 * 1024..=64 * 1024 * 1024 * 1024;
/// Without room in the store, an outage is held in memory alone.
const STATE_BYTES: std::ops::RangeInclusive<u64> = 0..=1024 * 1024 * 1024 * 1024;

pub const DEFAULT: Bounds = Bounds { memory: MEMORY, store: STATE };

pub fn read(mut keys: Keys<'_, '_>, report: &mut Report<'_>) -> Bounds {
    let mut bytes = |name: &'static str, range: std::ops::RangeInclusive<u64>, default: usize| {
        let Some(number) = keys.number(report, name) else { return default };
        if range.contains(number.get_ref()) {
            return usize::try_from(*number.get_ref()).unwrap_or(default);
        }
        let message = format!("{name} is {}", number.get_ref());
        report.add(number.span(), message, format!("it is {} to {} bytes", range.start(), range.end()));
        default
    };
    let memory = bytes("memory_bytes", MEMORY_BYTES, MEMORY);
    let store = bytes("state_bytes", STATE_BYTES, STATE);
    keys.finish(report, NOTHING_LATER, &[]);
    Bounds { memory, store }
}
