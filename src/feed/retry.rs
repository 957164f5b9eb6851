//! How long a feed waits before it connects again, and how often it says that it could not.
//!
//! Both are pure: time and randomness are given. A server that is away, or that closes every connection
//! at once, costs two attempts a minute and one or two lines in the log.

use std::time::Duration;

use tokio::time::Instant;

/// Pauses that grow from `first` to `most`, each drawn from the upper half of its span, so that the
/// clients of a server that comes back do not come all at once.
pub struct Backoff {
    first: Duration,
    most: Duration,
    span: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration, random: fastrand::Rng) -> Backoff {
        Backoff { first, most, span: first, random }
    }

    /// The pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let span = self.span;
        self.span = (span * 2).min(self.most);
        span.mul_f64(0.5 + 0.5 * self.random.f64())
    }

    /// All was well: the next pause is a short one.
    pub fn reset(&mut self) {
        self.span = self.first;
    }
}

/// Says the first failure at once, then one a while.
pub struct Complaints {
    every: Duration,
    said: Option<Instant>,
    failures: u64,
}

impl Complaints {
    pub fn new(every: Duration) -> Complaints {
        Complaints { every, said: None, failures: 0 }
    }

    /// How long until a failure is said again.
    pub fn rest(&self, now: Instant) -> Duration {
        self.said.map_or(Duration::ZERO, |said| self.every.saturating_sub(now - said))
    }

    /// One more failure. Where it is time to say it: how many there were since one was said.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        self.failures += 1;
        if self.said.is_some_and(|said| now - said < self.every) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_up_to_the_most() {
        let (first, most) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, most, fastrand::Rng::with_seed(7));
        for span in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let pause = backoff.pause().as_millis();
            assert!((span / 2..=span).contains(&pause), "{pause} of {span}");
        }
        backoff.reset();
        assert!(backoff.pause() <= first);
    }

    #[test]
    fn complaints_come_at_once_and_then_once_a_while_with_their_number() {
        let start = Instant::now();
        let mut complaints = Complaints::new(Duration::from_secs(60));
        for (second, want) in [(0, Some(1)), (1, None), (59, None), (60, Some(3)), (61, None), (500, Some(2))]
        {
            assert_eq!(complaints.due(start + Duration::from_secs(second)), want, "at {second} s");
        }
    }
}
