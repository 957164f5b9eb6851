//! What a feed does and suffers, in plain atomics: read by metrics and readiness, written by the feed.
//!
//! The labels are fixed here, so that every series can be registered at 0. Messages are not counted
//! here: they belong to the intake, which counts them beside what became of them, or the two sums
//! could differ at a scrape.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::entry::Timestamp;

/// Label `result` of `feed_connects_total`, in the order of [`ConnectResult`].
pub const CONNECT_RESULTS: [&str; 6] = ["ok", "refused", "tls", "http", "timeout", "other"];

/// Label `reason` of `feed_disconnects_total`, in the order of [`DisconnectReason`].
pub const DISCONNECT_REASONS: [&str; 8] =
    ["close", "eof", "silent", "pong_timeout", "too_large", "protocol", "tls", "io"];

/// How an attempt to connect ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectResult {
    Ok,
    Refused,
    Tls,
    Http,
    Timeout,
    Other,
}

impl ConnectResult {
    /// The metric's label.
    pub fn label(self) -> &'static str {
        CONNECT_RESULTS[self as usize]
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisconnectReason {
    Close,
    Eof,
    Silent,
    PongTimeout,
    TooLarge,
    Protocol,
    Tls,
    Io,
}

impl DisconnectReason {
    /// The metric's label.
    pub fn label(self) -> &'static str {
        DISCONNECT_REASONS[self as usize]
    }
}

/// One feed's counters and state.
#[derive(Debug)]
pub struct FeedMeter {
    name: String,
    silence_after: Option<Duration>,
    connected: AtomicBool,
    ended: AtomicBool,
    connects: [AtomicU64; CONNECT_RESULTS.len()],
    disconnects: [AtomicU64; DISCONNECT_REASONS.len()],
    bytes: AtomicU64,
    skipped: AtomicU64,
    last_message: AtomicI64,
    refused: Mutex<Option<String>>,
}

impl FeedMeter {
    /// Of the feed `name`. A recording has no `silence_after`: it is never overdue.
    pub fn new(name: impl Into<String>, silence_after: Option<Duration>) -> FeedMeter {
        FeedMeter {
            name: name.into(),
            silence_after,
            connected: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            connects: Default::default(),
            disconnects: Default::default(),
            bytes: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            last_message: AtomicI64::new(0),
            refused: Mutex::new(None),
        }
    }

    /// The configured name: the label `feed`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long the feed may be silent before it is not ready; `None` for a recording.
    pub fn silence_after(&self) -> Option<Duration> {
        self.silence_after
    }

    /// A connection is up, or the recording is being read.
    pub fn connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// A recording was read to its end, or as far as it could be read.
    pub fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Attempts to connect by result, in the order of [`CONNECT_RESULTS`].
    pub fn connects(&self) -> [u64; CONNECT_RESULTS.len()] {
        std::array::from_fn(|i| self.connects[i].load(Relaxed))
    }

    /// Ended connections by reason, in the order of [`DISCONNECT_REASONS`].
    pub fn disconnects(&self) -> [u64; DISCONNECT_REASONS.len()] {
        std::array::from_fn(|i| self.disconnects[i].load(Relaxed))
    }

    /// Bytes of the messages handed to the intake: payload, uncompressed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Lines of a recording that were over `max_message_bytes` and not handed on.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Relaxed)
    }

    /// When the last message came; `Timestamp(0)` before the first.
    pub fn last_message(&self) -> Timestamp {
        Timestamp(self.last_message.load(Relaxed))
    }

    /// Why the intake refuses this stream, while it does.
    pub fn refused(&self) -> Option<String> {
        self.refusal().clone()
    }

    /// Gave a message within its `silence_after` and is not refused. A recording is never overdue.
    pub fn is_live(&self, now: Timestamp) -> bool {
        if self.refusal().is_some() {
            return false;
        }
        let Some(limit) = self.silence_after else { return true };
        let last = self.last_message();
        last.0 != 0 && now.millis_since(last) <= i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Relaxed);
    }

    pub(super) fn set_ended(&self) {
        self.connected.store(false, Relaxed);
        self.ended.store(true, Relaxed);
    }

    pub(super) fn count_connect(&self, result: ConnectResult) {
        self.connects[result as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn count_disconnect(&self, reason: DisconnectReason) {
        self.disconnects[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn count_skipped(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    /// Messages came, `bytes` in all, the last of them at `last`.
    pub(super) fn count_messages(&self, bytes: u64, last: Timestamp) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.last_message.store(last.0, Relaxed);
    }

    pub(super) fn set_refused(&self, reason: Option<String>) {
        *self.refusal() = reason;
    }

    fn refusal(&self) -> MutexGuard<'_, Option<String>> {
        // A string behind the lock is whole whoever panicked while holding it.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_in_the_order_of_the_enums() {
        use ConnectResult as C;
        let results = [C::Ok, C::Refused, C::Tls, C::Http, C::Timeout, C::Other];
        assert_eq!(results.map(C::label), CONNECT_RESULTS);
        use DisconnectReason as D;
        let reasons = [D::Close, D::Eof, D::Silent, D::PongTimeout, D::TooLarge, D::Protocol, D::Tls, D::Io];
        assert_eq!(reasons.map(D::label), DISCONNECT_REASONS);
    }

    #[test]
    fn a_feed_is_live_within_its_silence_and_while_it_is_not_refused() {
        let meter = FeedMeter::new("eu-1", Some(Duration::from_secs(60)));
        assert!(!meter.is_live(Timestamp(1_000)), "before the first message");
        meter.count_messages(10, Timestamp(1_000));
        for (now, want) in [(1_000, true), (500, true), (61_000, true), (61_001, false)] {
            assert_eq!(meter.is_live(Timestamp(now)), want, "at {now}");
        }
        meter.set_refused(Some("no addresses".to_owned()));
        assert!(!meter.is_live(Timestamp(1_000)));
        meter.set_refused(None);
        assert!(meter.is_live(Timestamp(1_000)));
        assert!(FeedMeter::new("tape", None).is_live(Timestamp(i64::MAX)));
    }
}
