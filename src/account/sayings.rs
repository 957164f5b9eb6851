//! What certsieve says of itself: of one kind and subject at most once a minute, and the last word is
//! never lost.
//!
//! What comes too soon waits until its minute is over; something newer on the same subject takes its
//! place, and its number is added. A feed that came back is said to be up, then, however often it went
//! down before. A watch list that is refused does not undo the one that was loaded before it: the last word
//! of each is said, in their order. Bounded by kinds and subjects: feeds, logs and assets are the
//! operator's.

use std::collections::HashMap;

use crate::entry::Timestamp;
use crate::record::{Health, HealthKind};

/// At most one record of a kind and subject in this time.
const INTERVAL_MS: i64 = 60_000;

/// What was said lately, and what waits.
#[derive(Clone, Default, Debug)]
pub struct Sayings {
    said: HashMap<(HealthKind, String), Timestamp>,
    /// In the order in which they were to be said; none is due before the one in front of it.
    waiting: HashMap<(Subject, String), Vec<Waiting>>,
}

#[derive(Clone, Debug)]
struct Waiting {
    health: Health,
    due: Timestamp,
}

/// What a kind is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Subject {
    /// Up and down contradict each other: the later one holds.
    Feed,
    /// Loaded and refused are both true: an old list goes on when a new one is refused.
    Watchlist,
    /// Opened and refilled contradict each other, too.
    Hole,
    Only(HealthKind),
}

impl Sayings {
    /// Takes something to say; returns it when it may be said now.
    pub fn say(&mut self, mut health: Health, now: Timestamp) -> Option<Health> {
        let about = about(&health);
        let subject = subject(health.kind);
        let waiting = self.waiting.entry((subject, about.clone())).or_default();
        let kind = health.kind;
        let contradicts = matches!(subject, Subject::Feed | Subject::Hole);
        for before in waiting.extract_if(.., |before| contradicts || before.health.kind == kind) {
            // What is missing of a log is a state, and adds up to nothing.
            if before.health.kind == kind
                && subject != Subject::Hole
                && let (Some(count), Some(more)) = (&mut health.detail.count, before.health.detail.count)
            {
                *count = count.saturating_add(more);
            }
        }
        let said = self.said.get(&(kind, about.clone())).copied();
        let recent = said.filter(|at| now.millis_since(*at) < INTERVAL_MS);
        let own = recent.map(|at| at.plus_millis(INTERVAL_MS));
        // Behind what waits for its own minute: the last word is the last one said.
        let due = own.max(waiting.last().map(|last| last.due));
        match due {
            Some(due) => {
                waiting.push(Waiting { health, due });
                None
            }
            None => {
                self.said.insert((kind, about), now);
                Some(health)
            }
        }
    }

    /// What has waited long enough.
    pub fn due(&mut self, now: Timestamp) -> Vec<Health> {
        let waiting = self.waiting.values_mut();
        let due: Vec<Health> = waiting
            .flat_map(|waiting| waiting.extract_if(.., |waiting| waiting.due <= now))
            .map(|waiting| waiting.health)
            .collect();
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        self.said.retain(|_, at| now.millis_since(*at) < INTERVAL_MS);
        due.iter().for_each(|health| {
            self.said.insert((health.kind, about(health)), now);
        });
        due
    }

    /// All that waits: this is the end.
    pub fn finish(&mut self) -> Vec<Health> {
        self.waiting.drain().flat_map(|(_, waiting)| waiting).map(|waiting| waiting.health).collect()
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
        // What is refused does not swallow what was loaded, nor is it said before it.
        use HealthKind::{WatchlistLoaded, WatchlistRefused};
        check(
            &[
                (3, WatchlistRefused, None),
                (13, WatchlistLoaded, None),
                (18, WatchlistLoaded, None),
                (23, WatchlistRefused, None),
            ],
            &[
                (3, "watchlist-refused", None),
                (13, "watchlist-loaded", None),
                (73, "watchlist-loaded", None),
                (73, "watchlist-refused", None),
            ],
        );
        check(
            &[
                (3, WatchlistRefused, None),
                (13, WatchlistLoaded, None),
                (23, WatchlistRefused, None),
                (28, WatchlistLoaded, None),
                (65, WatchlistRefused, None),
            ],
            &[
                (3, "watchlist-refused", None),
                (13, "watchlist-loaded", None),
                (63, "watchlist-refused", None),
                (73, "watchlist-loaded", None),
                (123, "watchlist-refused", None),
            ],
        );
        let rejected: Vec<_> = (10..20).map(|second| (second, RecordRejected, Some(1))).collect();
        check(&rejected, &[(10, "record-rejected", Some(1)), (70, "record-rejected", Some(9))]);
    }
}
