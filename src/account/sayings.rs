//! What certsieve says of itself: of one kind and subject at most once a minute, and the last word is
//! never lost.
//!
//! What comes too soon waits until its minute is over; something newer on the same subject takes its
//! place, and its number is added. A feed that came back is said to be up, then, however often it went
//! down before. Bounded by kinds and subjects: feeds, logs and assets are the operator's.

use std::collections::HashMap;

use crate::entry::Timestamp;
use crate::record::{Health, HealthKind};

/// At most one record of a kind and subject in this time.
const INTERVAL_MS: i64 = 60_000;

/// What was said lately, and what waits.
#[derive(Clone, Default, Debug)]
pub struct Sayings {
    said: HashMap<(HealthKind, String), Timestamp>,
    waiting: HashMap<(Subject, String), Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    health: Health,
    due: Timestamp,
}

/// What a kind is about: of two that contradict each other the later one holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Subject {
    Feed,
    Watchlist,
    Hole,
    Only(HealthKind),
}

impl Sayings {
    /// Takes something to say; returns it when it may be said now.
    pub fn say(&mut self, mut health: Health, now: Timestamp) -> Option<Health> {
        let about = about(&health);
        let subject = (subject(health.kind), about.clone());
        if let Some(before) = self.waiting.remove(&subject)
            && before.health.kind == health.kind
            && let (Some(count), Some(more)) = (&mut health.detail.count, before.health.detail.count)
        {
            *count += more;
        }
        let said = self.said.get(&(health.kind, about.clone())).copied();
        let recent = said.filter(|at| now.millis_since(*at) < INTERVAL_MS);
        match recent {
            Some(at) => {
                self.waiting.insert(subject, Waiting { health, due: at.plus_millis(INTERVAL_MS) });
                None
            }
            None => {
                self.said.insert((health.kind, about), now);
                Some(health)
            }
        }
    }

    /// What has waited long enough.
    pub fn due(&mut self, now: Timestamp) -> Vec<Health> {
        let due: Vec<Health> = self
            .waiting
            .extract_if(|_, waiting| waiting.due <= now)
            .map(|(_, waiting)| waiting.health)
            .collect();
        self.said.retain(|_, at| now.millis_since(*at) < INTERVAL_MS);
        due.iter().for_each(|health| {
            self.said.insert((health.kind, about(health)), now);
        });
        due
    }

    /// All that waits: this is the end.
    pub fn finish(&mut self) -> Vec<Health> {
        self.waiting.drain().map(|(_, waiting)| waiting.health).collect()
    }
}

fn subject(kind: HealthKind) -> Subject {
    match kind {
        HealthKind::FeedUp | HealthKind::FeedDown => Subject::Feed,
        HealthKind::WatchlistLoaded | HealthKind::WatchlistRefused => Subject::Watchlist,
        HealthKind::HoleOpened | HealthKind::HoleRefilled => Subject::Hole,
        kind => Subject::Only(kind),
    }
}

fn about(health: &Health) -> String {
    let detail = &health.detail;
    let about = [&detail.log, &detail.feed, &detail.asset, &detail.canary];
    about.into_iter().flatten().next().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::value::HealthDetail;

    /// What is said, second by second, of events `second kind count`.
    fn check(events: &[(i64, HealthKind, Option<u64>)], want: &[(i64, &str, Option<u64>)]) {
        let mut sayings = Sayings::default();
        let mut said = Vec::new();
        let at = |second: i64| Timestamp(1_790_000_000_000).plus_millis(second * 1000);
        for second in 0..200 {
            let new = events.iter().filter(|(when, _, _)| *when == second).filter_map(|(_, kind, count)| {
                let detail =
                    HealthDetail { feed: Some("eu".to_owned()), count: *count, ..HealthDetail::default() };
                sayings.say(Health { kind: *kind, message: String::new(), detail }, at(second))
            });
            let new: Vec<Health> = new.collect();
            let due = sayings.due(at(second));
            said.extend(new.iter().chain(&due).map(|h| (second, h.kind.label(), h.detail.count)));
        }
        assert_eq!(said, want);
        assert!(sayings.finish().is_empty());
    }

    #[test]
    fn the_last_word_is_said_and_numbers_add_up() {
        use HealthKind::{FeedDown, FeedUp, RecordRejected};
        check(
            &[(1, FeedUp, None), (9, FeedDown, None), (20, FeedUp, None)],
            &[(1, "feed-up", None), (9, "feed-down", None), (61, "feed-up", None)],
        );
        check(
            &[
                (1, FeedUp, None),
                (9, FeedDown, None),
                (20, FeedUp, None),
                (30, FeedDown, None),
                (40, FeedUp, None),
            ],
            &[(1, "feed-up", None), (9, "feed-down", None), (61, "feed-up", None)],
        );
        let rejected: Vec<_> = (10..20).map(|second| (second, RecordRejected, Some(1))).collect();
        check(&rejected, &[(10, "record-rejected", Some(1)), (70, "record-rejected", Some(9))]);
    }
}
