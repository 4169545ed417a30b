//! Time as the core sees it: always an argument, never read from a clock.

use std::time::Duration;

/// The two clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since the daemon's start; never goes back. For timeouts and order.
    pub mono: Duration,
    /// Nanoseconds since 1970 by the system's clock; may jump. For display and ages of days only.
    pub unix_ns: i64,
}

/// A calendar moment in UTC, for names and for JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc {
    /// Year, may be negative.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Utc {
    /// Splits nanoseconds since 1970 by the proleptic Gregorian calendar (Howard Hinnant's
    /// `civil_from_days`).
    pub fn from_unix_ns(ns: i64) -> Self {
        let secs = ns.div_euclid(1_000_000_000);
        let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        Self {
            year: yoe + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (doy - (153 * mp + 2) / 5 + 1) as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }

    /// `2026-11-22T08:00:00Z`, as RFC 3339 has it.
    pub fn rfc3339(&self) -> String {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_334_400, "2026-11-22T08:00:00Z"),
        ] {
            assert_eq!(Utc::from_unix_ns(secs * 1_000_000_000).rfc3339(), text);
        }
        assert_eq!(Utc::from_unix_ns(i64::MIN).year, 1677);
        assert_eq!(Utc::from_unix_ns(i64::MAX).year, 2262);
    }
}
