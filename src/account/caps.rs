//! Alerts of low and medium severity: at most so many an hour for each asset.
//!
//! What is held back keeps its match record, is counted, and is told once an hour with its number; it is
//! not entered among the raised alerts, so that the next certificate of its issuance may still raise it.
//! High and critical alerts never come here. An hour begins with the first alert of an asset; at most
//! one window an asset is kept.

use std::collections::HashMap;

use crate::entry::Timestamp;

/// What `alert_cap` counts in.
const WINDOW_MS: i64 = 3_600_000;

/// The hours under way.
#[derive(Clone, Default, Debug)]
pub struct Caps {
    windows: HashMap<String, Window>,
    /// Hours that ended with alerts held back, untold.
    ended: Vec<Held>,
}

#[derive(Clone, Debug)]
struct Window {
    since: Timestamp,
    raised: u32,
    held: u64,
}

/// Alerts that were held back in one hour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    pub asset: String,
    pub count: u64,
}

impl Caps {
    /// Whether one more alert may be raised.
    pub fn admit(&mut self, asset: &str, cap: u32, now: Timestamp) -> bool {
        if self.windows.get(asset).is_some_and(|window| now.millis_since(window.since) >= WINDOW_MS) {
            self.end(asset);
        }
        if !self.windows.contains_key(asset) {
            self.windows.insert(asset.to_owned(), Window { since: now, raised: 0, held: 0 });
        }
        let Some(window) = self.windows.get_mut(asset) else { return true };
        if window.raised < cap {
            window.raised += 1;
            true
        } else {
            window.held += 1;
            false
        }
    }

    /// What the hours that are over by now held back, each told once.
    pub fn over(&mut self, now: Timestamp) -> Vec<Held> {
        let over: Vec<String> = self
            .windows
            .iter()
            .filter(|(_, window)| now.millis_since(window.since) >= WINDOW_MS)
            .map(|(asset, _)| asset.clone())
            .collect();
        over.iter().for_each(|asset| self.end(asset));
        std::mem::take(&mut self.ended)
    }

    /// What is held back and untold, of the hours under way too: this is the end.
    pub fn finish(&mut self) -> Vec<Held> {
        let all: Vec<String> = self.windows.keys().cloned().collect();
        all.iter().for_each(|asset| self.end(asset));
        std::mem::take(&mut self.ended)
    }

    fn end(&mut self, asset: &str) {
        if let Some(window) = self.windows.remove(asset)
            && window.held > 0
        {
            self.ended.push(Held { asset: asset.to_owned(), count: window.held });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_holds_back_what_is_too_much_and_tells_it_once() {
        let mut caps = Caps::default();
        let at = |minutes: i64| Timestamp(1_790_000_000_000).plus_millis(minutes * 60_000);
        let admitted: Vec<bool> = (0..5).map(|minute| caps.admit("shop", 3, at(minute))).collect();
        assert_eq!(admitted, [true, true, true, false, false]);
        // Each asset for itself.
        assert!(caps.admit("mail", 1, at(5)));
        assert_eq!(caps.over(at(59)), []);
        assert_eq!(caps.over(at(60)), [Held { asset: "shop".to_owned(), count: 2 }]);
        assert_eq!(caps.over(at(61)), []);
        // A new hour, which begins with its first alert.
        assert!(caps.admit("shop", 1, at(70)));
        assert!(!caps.admit("shop", 1, at(129)));
        assert!(caps.admit("shop", 1, at(130)));
        assert_eq!(caps.over(at(131)), [Held { asset: "shop".to_owned(), count: 1 }]);
        assert!(!caps.admit("shop", 1, at(132)));
        assert_eq!(caps.finish(), [Held { asset: "shop".to_owned(), count: 1 }]);
        assert_eq!(caps.finish(), []);
    }
}
