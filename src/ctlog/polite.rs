//! How one log is asked without being a burden: so many requests at a time and a second, and a rest after a
//! failure.
//!
//! [`Pace`] is the rule and pure: it is given the time. A token bucket spaces requests; a failure makes all wait
//! for a jittered pause that doubles from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`] until one succeeds, and for as
//! long as the log itself asks (Retry-After), up to [`LONGEST_WAIT`]. Of requests that were under way together,
//! one failure counts: the log was asked by all of them before it could say no.
//!
//! [`Polite`] waits by it. Who gives up while waiting, or while asking, takes its place with it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use crate::entry::Timestamp;

/// The pause after the first failure; what follows is twice as long each time.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// A log that asks for more is asked again after so long.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// What one log is asked at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests under way; one at least.
    pub concurrent: usize,
    /// Requests a second in the long run; one at least.
    pub per_second: u32,
    /// One request, from the first look-up to the last byte.
    pub within: Duration,
}

impl Default for Limits {
    /// What public logs bear from one client: the strictest allow some ten requests a second.
    fn default() -> Limits {
        Limits { concurrent: 2, per_second: 10, within: Duration::from_secs(30) }
    }
}

/// When the next request may go.
#[derive(Debug)]
pub struct Pace {
    /// Between two requests.
    interval: Duration,
    /// How much earlier than its time a request may go: as many as may be under way can go together.
    burst: Duration,
    /// When the next one would go if all went evenly.
    even: Instant,
    /// Nothing goes before.
    rest_until: Instant,
    /// The next pause is at most so long.
    span: Duration,
    failed: Option<Instant>,
    random: fastrand::Rng,
}

impl Pace {
    pub fn new(limits: &Limits, random: fastrand::Rng, now: Instant) -> Pace {
        let interval = Duration::from_secs(1) / limits.per_second.max(1);
        let burst = interval * u32::try_from(limits.concurrent.saturating_sub(1)).unwrap_or(u32::MAX);
        Pace { interval, burst, even: now, rest_until: now, span: FIRST_PAUSE, failed: None, random }
    }

    /// Lets one request go, or says when to ask again.
    pub fn begin(&mut self, now: Instant) -> Result<(), Instant> {
        let from = self.rest_until.max(self.even.checked_sub(self.burst).unwrap_or(now));
        if now < from {
            return Err(from);
        }
        self.even = self.even.max(now) + self.interval;
        Ok(())
    }

    /// All was well with a request that began then.
    pub fn succeed(&mut self, began: Instant) {
        if self.failed.is_none_or(|failed| began >= failed) {
            self.span = FIRST_PAUSE;
        }
    }

    /// A request that began then has failed. `wait` is what the log asks for.
    pub fn fail(&mut self, began: Instant, wait: Option<Duration>, now: Instant) {
        if self.failed.is_none_or(|failed| began >= failed) {
            // From the upper half of the span: clients of a log that comes back do not come all at once.
            let pause = self.span.mul_f64(0.5 + 0.5 * self.random.f64());
            self.span = (self.span * 2).min(LONGEST_PAUSE);
            self.rest_until = self.rest_until.max(now + pause);
            self.failed = Some(now);
        }
        if let Some(wait) = wait {
            self.rest_until = self.rest_until.max(now + wait.min(LONGEST_WAIT));
        }
    }

    /// How long nothing goes because of a failure.
    pub fn rest(&self, now: Instant) -> Duration {
        self.rest_until.saturating_duration_since(now)
    }
}

/// One log's pace, shared by all who ask it.
#[derive(Debug)]
pub struct Polite {
    pace: Mutex<Pace>,
    places: Semaphore,
}

impl Polite {
    pub fn new(limits: &Limits, random: fastrand::Rng) -> Polite {
        Polite {
            pace: Mutex::new(Pace::new(limits, random, Instant::now())),
            places: Semaphore::new(limits.concurrent.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// Waits until a request may go.
    pub async fn turn(&self) -> Turn<'_> {
        // Nobody closes the places.
        let place = self.places.acquire().await.ok();
        loop {
            let now = Instant::now();
            let begun = self.with(|pace| pace.begin(now));
            match begun {
                Ok(()) => return Turn { polite: self, _place: place, began: now },
                Err(from) => sleep_until(from).await,
            }
        }
    }

    pub fn rest(&self) -> Duration {
        self.with(|pace| pace.rest(Instant::now()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Pace) -> T) -> T {
        // Nothing that is done under the lock panics half-way.
        act(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that may go. One that is dropped without a word was given up.
#[derive(Debug)]
pub struct Turn<'p> {
    polite: &'p Polite,
    _place: Option<SemaphorePermit<'p>>,
    began: Instant,
}

impl Turn<'_> {
    pub fn succeeded(self) {
        self.polite.with(|pace| pace.succeed(self.began));
    }

    pub fn failed(self, wait: Option<Duration>) {
        self.polite.with(|pace| pace.fail(self.began, wait, Instant::now()));
    }
}

/// The value of a Retry-After header (RFC 9110, 10.2.3), seconds or a date, in an answer that came `at`; at
/// most [`LONGEST_WAIT`]. `None` where it is neither.
pub fn retry_after(value: &str, at: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // A number that no variable holds is a long time too.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        // Skylight writes its dates with another name for the same zone.
        let value = value.strip_suffix("UTC").map_or_else(|| value.to_owned(), |date| format!("{date}GMT"));
        let date = httpdate::parse_http_date(&value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        let now = Duration::from_millis(u64::try_from(at.0).ok()?);
        date.saturating_sub(now)
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(concurrent: usize, per_second: u32) -> (Pace, Instant) {
        let now = Instant::now();
        let limits = Limits { concurrent, per_second, ..Limits::default() };
        (Pace::new(&limits, fastrand::Rng::with_seed(3), now), now)
    }

    #[test]
    fn requests_are_spaced_with_as_many_at_once_as_may_be_under_way() {
        let (mut pace, start) = pace(2, 10);
        let mut went = Vec::new();
        for ms in 0..1_000 {
            while pace.begin(start + MS * ms).is_ok() {
                went.push(ms);
            }
        }
        assert_eq!(went, [0, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        // A long silence is not saved up.
        let later = start + MS * 60_000;
        assert_eq!([(); 3].map(|()| pace.begin(later).is_ok()), [true, true, false]);
        assert_eq!(pace.begin(later), Err(later + MS * 100));
    }

    #[test]
    fn pauses_double_with_jitter_up_to_the_longest_and_a_success_ends_them() {
        let (mut pace, mut now) = pace(1, 1_000);
        for span in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(pace.begin(now), Ok(()), "after a rest of {span} s");
            pace.fail(now, None, now);
            let rest = pace.rest(now);
            let span = Duration::from_secs(span);
            assert!((span / 2..=span).contains(&rest), "{rest:?} of {span:?}");
            assert_eq!(pace.begin(now), Err(now + rest));
            now += rest;
        }
        assert_eq!(pace.begin(now), Ok(()));
        pace.succeed(now);
        pace.fail(now, None, now);
        assert!(pace.rest(now) <= FIRST_PAUSE);
    }

    #[test]
    fn requests_that_were_under_way_together_fail_once_and_none_of_them_ends_the_pause() {
        let (mut pace, now) = pace(3, 1_000);
        let later = now + MS * 50;
        for _ in 0..3 {
            pace.fail(now, None, later);
        }
        pace.succeed(now);
        assert!(pace.rest(later) <= FIRST_PAUSE);
        let after = later + FIRST_PAUSE;
        pace.fail(after, None, after);
        assert!(pace.rest(after) > FIRST_PAUSE.mul_f64(0.99), "the second in a row");
    }

    #[test]
    fn a_log_that_asks_for_time_gets_it_up_to_an_hour() {
        for (wait, least, most) in [
            (None, FIRST_PAUSE / 2, FIRST_PAUSE),
            (Some(Duration::ZERO), FIRST_PAUSE / 2, FIRST_PAUSE),
            (Some(Duration::from_secs(120)), Duration::from_secs(120), Duration::from_secs(120)),
            (Some(Duration::from_secs(86_400)), LONGEST_WAIT, LONGEST_WAIT),
            (Some(Duration::MAX), LONGEST_WAIT, LONGEST_WAIT),
        ] {
            let (mut pace, now) = pace(1, 10);
            pace.fail(now, wait, now);
            let rest = pace.rest(now);
            assert!((least..=most).contains(&rest), "{wait:?}: {rest:?}");
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        // 1994-11-06T08:49:07Z
        let at = Timestamp(784_111_747_000);
        for (value, want) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("3601", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:49:37 UTC", Some(30)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
        ] {
            assert_eq!(retry_after(value, at), want.map(Duration::from_secs), "{value:?}");
        }
    }
}
