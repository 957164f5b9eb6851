//! One instant, as every record and every log writes it: milliseconds since the epoch.
//!
//! Reading a clock is left to `clock.rs`, so that a failure replays from its inputs. RFC 3339 with
//! milliseconds in UTC is the only form that leaves the program.

use std::fmt;

use time::{Date, OffsetDateTime};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// 9999-12-31T23:59:59.999Z, the last that RFC 3339 can write.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

    /// From seconds with a fraction, as CertStream servers write times. `None` for what is no time
    /// of the years 1 to 9999.
    pub fn from_seconds(seconds: f64) -> Option<Timestamp> {
        let ms = (seconds * 1000.0).round();
        // 0001-01-01 and 9999-12-31, the range RFC 3339 can write.
        (ms.is_finite() && (-62_135_596_800_000.0..253_402_300_800_000.0).contains(&ms))
            .then_some(Timestamp(ms as i64))
    }

    /// The time that lies `ms` later.
    pub fn plus_millis(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// The day, in UTC.
    pub fn date(self) -> Date {
        self.utc().date()
    }

    fn utc(self) -> OffsetDateTime {
        let nanos = i128::from(self.0) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .filter(|t| (1..=9999).contains(&t.year()))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Milliseconds from `earlier` to here; negative when the clocks disagree.
    pub fn millis_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.utc();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.millisecond()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_rfc_3339_with_milliseconds() {
        for (seconds, want) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (1_779_299_292.904, "2026-05-20T17:48:12.904Z"),
            (-1.0, "1969-12-31T23:59:59.000Z"),
            (253_402_300_799.0, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(Timestamp::from_seconds(seconds).unwrap().to_string(), want);
        }
        for bad in [f64::NAN, f64::INFINITY, 1e300, -1e300, 253_402_300_800.0] {
            assert_eq!(Timestamp::from_seconds(bad), None);
        }
    }
}
