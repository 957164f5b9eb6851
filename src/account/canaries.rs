//! When each canary was last seen, and which are missing. Pure.
//!
//! A canary that was not seen for its time, since it was last seen or since it is looked for, is missing: that
//! is said once, and again each time that it has been missing for as long again. Nothing of it is stored: after
//! a start each has its time again. Bounded by the configuration.

use std::sync::Arc;

use crate::entry::Timestamp;
use crate::record::value::HealthDetail;
use crate::record::{Health, HealthKind};
use crate::watch::canary::Canary;

/// All that are looked for.
#[derive(Debug, Default)]
pub struct Roll {
    looked_for: Vec<LookedFor>,
}

#[derive(Debug)]
struct LookedFor {
    canary: Canary,
    seen: Option<Timestamp>,
    /// When it was last seen; before that, since when it is looked for.
    since: Timestamp,
    /// When it is to be said that it is missing.
    due: Timestamp,
    missing: bool,
}

/// As metrics tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CanaryState {
    pub name: Arc<str>,
    pub seen: Option<Timestamp>,
    pub missing: bool,
}

impl LookedFor {
    fn every(&self) -> i64 {
        i64::try_from(self.canary.every.as_millis()).unwrap_or(i64::MAX)
    }

    fn health(&self) -> Health {
        let Canary { name, every, .. } = &self.canary;
        let last = match self.seen {
            Some(seen) => format!("was last seen at {seen}"),
            None => format!("was not seen since {}, when certsieve began to look for it", self.since),
        };
        let message =
            format!("canary {name} is missing: it must appear every {} s and {last}", every.as_secs());
        let detail = HealthDetail { canary: Some(name.to_string()), ..HealthDetail::default() };
        Health { kind: HealthKind::CanaryMissing, message, detail }
    }
}

impl Roll {
    /// Looks for these from now on; what is known of those that it looked for before stays.
    pub fn look_for(&mut self, canaries: &[Canary], now: Timestamp) {
        let mut before = std::mem::take(&mut self.looked_for);
        self.looked_for = canaries
            .iter()
            .map(|canary| {
                let known = before.iter().position(|known| known.canary.name == canary.name);
                match known.map(|at| before.swap_remove(at)) {
                    Some(known) if known.canary == *canary => known,
                    known => {
                        let seen = known.as_ref().and_then(|known| known.seen);
                        let since = known.map_or(now, |known| known.since);
                        let mut new =
                            LookedFor { canary: canary.clone(), seen, since, due: since, missing: false };
                        new.due = since.plus_millis(new.every());
                        new
                    }
                }
            })
            .collect();
    }

    /// Takes sightings in; returns the canaries among them that were missing.
    pub fn seen(&mut self, sightings: &[(Arc<str>, Timestamp)]) -> Vec<Arc<str>> {
        let mut back = Vec::new();
        for (name, at) in sightings {
            // One that is no longer looked for was on its way.
            let Some(of) = self.looked_for.iter_mut().find(|of| of.canary.name == *name) else { continue };
            if *at < of.since {
                continue;
            }
            (of.seen, of.since, of.due) = (Some(*at), *at, at.plus_millis(of.every()));
            if std::mem::take(&mut of.missing) {
                back.push(name.clone());
            }
        }
        back
    }

    /// What is to be said of those that are missing now.
    pub fn missing(&mut self, now: Timestamp) -> Vec<Health> {
        let mut said = Vec::new();
        for of in self.looked_for.iter_mut().filter(|of| of.due <= now) {
            of.missing = true;
            // After a long sleep of the machine once is enough.
            of.due = now.plus_millis(of.every());
            said.push(of.health());
        }
        said
    }

    pub fn states(&self) -> Vec<CanaryState> {
        let state =
            |of: &LookedFor| CanaryState { name: of.canary.name.clone(), seen: of.seen, missing: of.missing };
        self.looked_for.iter().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp(1_790_000_000_000).plus_millis(minute * 60_000)
    }

    fn canary(name: &str, minutes: u64) -> Canary {
        Canary::of_name(name, Duration::from_secs(minutes * 60))
    }

    /// The minutes at which one that must appear every ten is said to be missing, and at which it is back.
    fn check(sightings: &[i64], missing: &[i64], back: &[i64]) {
        let mut roll = Roll::default();
        roll.look_for(&[canary("a.example", 10)], at(0));
        let (mut said, mut returned) = (Vec::new(), Vec::new());
        for minute in 0..60 {
            let name: Arc<str> = "a.example".into();
            let seen = sightings.contains(&minute).then(|| (name, at(minute)));
            if !roll.seen(&seen.into_iter().collect::<Vec<_>>()).is_empty() {
                returned.push(minute);
            }
            if !roll.missing(at(minute)).is_empty() {
                said.push(minute);
            }
        }
        assert_eq!((said.as_slice(), returned.as_slice()), (missing, back), "{sightings:?}");
    }

    #[test]
    fn what_is_missing_is_said_once_and_again_after_as_long() {
        check(&[], &[10, 20, 30, 40, 50], &[]);
        check(&[9, 18, 27, 36, 45, 54], &[], &[]);
        check(&[10, 20, 30, 40, 50], &[], &[]);
        check(&[5, 40, 41], &[15, 25, 35, 51], &[40]);
        check(&[12, 31, 59], &[10, 22, 41, 51], &[12, 31, 59]);
    }

    #[test]
    fn it_says_which_and_since_when_and_a_changed_configuration_forgets_nothing() {
        let mut roll = Roll::default();
        let (a, b) = (canary("a.example", 10), canary("b.example", 10));
        roll.look_for(&[a.clone(), b.clone()], at(0));
        assert_eq!(roll.seen(&[(a.name.clone(), at(4)), ("c.example".into(), at(4))]), [] as [Arc<str>; 0]);
        // Older news of another feed.
        assert!(roll.seen(&[(a.name.clone(), at(3))]).is_empty());
        let said = roll.missing(at(12));
        let names: Vec<_> = said.iter().map(|health| health.detail.canary.as_deref()).collect();
        assert_eq!(names, [Some("b.example")]);
        assert_eq!(
            said[0].message,
            format!(
                "canary b.example is missing: it must appear every 600 s and was not seen since {}, when certsieve began \
                 to look for it",
                at(0)
            )
        );
        let said = roll.missing(at(14));
        assert!(said[0].message.ends_with(&format!("was last seen at {}", at(4))), "{}", said[0].message);

        // One goes, one comes, one gets more time: what was seen of it stays.
        roll.look_for(&[canary("a.example", 60), canary("c.example", 10)], at(15));
        let state = |name: &str, seen, missing| CanaryState { name: name.into(), seen, missing };
        assert_eq!(roll.states(), [state("a.example", Some(at(4)), false), state("c.example", None, false)]);
        assert_eq!(roll.missing(at(24)).len(), 0);
        assert_eq!(roll.missing(at(25)).len(), 1);
        assert_eq!(roll.states()[1], state("c.example", None, true));
        // The same again changes nothing.
        roll.look_for(&[canary("a.example", 60), canary("c.example", 10)], at(26));
        assert_eq!(roll.seen(&[("c.example".into(), at(27))]), ["c.example".into()]);
        assert_eq!(roll.states()[1], state("c.example", Some(at(27)), false));
        assert_eq!(roll.missing(at(63)).len(), 1, "c again");
        assert_eq!(roll.missing(at(64)).len(), 1, "a, an hour after it was seen");
    }
}
