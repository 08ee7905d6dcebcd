//! The intervals of the vendor's statistics (`facts/jaicp.md §7`).
//!
//! The unit of the `Timezone` header is not documented, so a bucket may begin up to a day before or after the UTC
//! boundary that is computed here.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, Days, DurationRound as _, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Window;
use super::times;

const DAY_SECS: u64 = 86_400;

/// The length of a bucket of `stats_series`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Interval {
    Hour,
    #[default]
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Interval {
    /// The vendor's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hour => "HOUR",
            Self::Day => "DAY",
            Self::Week => "WEEK",
            Self::Month => "MONTH",
            Self::Quarter => "QUARTER",
            Self::Year => "YEAR",
        }
    }

    /// The longest duration of a bucket.
    pub const fn longest(self) -> Duration {
        match self {
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_secs(DAY_SECS),
            Self::Week => Duration::from_secs(7 * DAY_SECS),
            Self::Month => Duration::from_secs(31 * DAY_SECS),
            Self::Quarter => Duration::from_secs(92 * DAY_SECS),
            Self::Year => Duration::from_secs(366 * DAY_SECS),
        }
    }

    /// The range in which every bucket that begins in the window is complete: from the interval before the one that
    /// contains the window's start to the end of the interval after the one that contains its end.
    pub(super) fn around(self, window: Window) -> Window {
        let (first, last) = (self.floor(window.start), self.floor(times::last(window)));
        Window { start: self.before(first), end: self.after(self.after(last)) }
    }

    /// Whether a bucket may begin in the window. `false` only if the calendar excludes it: weeks may begin on any day.
    pub(super) fn may_begin_in(self, window: Window) -> bool {
        let day = TimeDelta::days(1);
        match self {
            Self::Hour | Self::Day | Self::Week => true,
            Self::Month | Self::Quarter | Self::Year => self.floor(window.end + day) >= window.start - day,
        }
    }

    /// The start (UTC) of the interval that contains `at`; weeks begin on Monday here.
    fn floor(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let date = at.date_naive();
        let first_of = |month: u32| NaiveDate::from_ymd_opt(date.year(), month, 1).unwrap_or(date);
        match self {
            Self::Hour => at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at),
            Self::Day => midnight(date),
            Self::Week => midnight(date - Days::new(date.weekday().num_days_from_monday().into())),
            Self::Month => midnight(first_of(date.month())),
            Self::Quarter => midnight(first_of(date.month0() / 3 * 3 + 1)),
            Self::Year => midnight(first_of(1)),
        }
    }

    /// The start of the next interval.
    fn after(self, start: DateTime<Utc>) -> DateTime<Utc> {
        self.moved(start, 1)
    }

    /// The start of the interval before.
    fn before(self, start: DateTime<Utc>) -> DateTime<Utc> {
        self.moved(start, -1)
    }

    fn moved(self, start: DateTime<Utc>, by: i8) -> DateTime<Utc> {
        let days = |days: i64| start.checked_add_signed(TimeDelta::days(days * i64::from(by)));
        let months = |months: u32| {
            let months = Months::new(months);
            if by < 0 { start.checked_sub_months(months) } else { start.checked_add_months(months) }
        };
        let moved = match self {
            Self::Hour => start.checked_add_signed(TimeDelta::hours(i64::from(by))),
            Self::Day => days(1),
            Self::Week => days(7),
            Self::Month => months(1),
            Self::Quarter => months(3),
            Self::Year => months(12),
        };
        moved.unwrap_or(start)
    }
}

pub(super) fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: &str, end: &str) -> Window {
        Window { start: start.parse().unwrap(), end: end.parse().unwrap() }
    }

    #[test]
    fn the_range_completely_contains_every_bucket_that_begins_in_the_window() {
        for (interval, slice, range) in [
            (
                Interval::Hour,
                ("2024-02-29T22:00:00Z", "2024-03-01T00:00:00Z"),
                ("2024-02-29T21:00:00Z", "2024-03-01T01:00:00Z"),
            ),
            (
                Interval::Day,
                ("2024-03-01T00:00:00Z", "2024-03-03T00:00:00Z"),
                ("2024-02-29T00:00:00Z", "2024-03-04T00:00:00Z"),
            ),
            (
                Interval::Week,
                ("2024-03-01T00:00:00Z", "2024-03-08T00:00:00Z"),
                ("2024-02-19T00:00:00Z", "2024-03-18T00:00:00Z"),
            ),
            (
                Interval::Month,
                ("2024-02-27T00:00:00Z", "2024-03-05T00:00:00Z"),
                ("2024-01-01T00:00:00Z", "2024-05-01T00:00:00Z"),
            ),
            (
                Interval::Quarter,
                ("2024-03-30T00:00:00Z", "2024-04-06T00:00:00Z"),
                ("2023-10-01T00:00:00Z", "2024-10-01T00:00:00Z"),
            ),
            (
                Interval::Year,
                ("2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z"),
                ("2023-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ),
        ] {
            assert_eq!(interval.around(window(slice.0, slice.1)), window(range.0, range.1), "{interval:?}");
        }
    }

    #[test]
    fn a_window_without_the_start_of_a_month_in_any_zone_has_no_bucket_of_months() {
        for (interval, start, end, may) in [
            (Interval::Month, "2024-03-03T00:00:00Z", "2024-03-10T00:00:00Z", false),
            (Interval::Month, "2024-03-02T00:00:00Z", "2024-03-09T00:00:00Z", true),
            (Interval::Month, "2024-03-24T00:00:00Z", "2024-03-31T00:00:00Z", true),
            (Interval::Month, "2024-03-23T00:00:00Z", "2024-03-30T00:00:00Z", false),
            (Interval::Quarter, "2024-02-27T00:00:00Z", "2024-03-05T00:00:00Z", false),
            (Interval::Year, "2023-12-25T00:00:00Z", "2024-01-01T00:00:00Z", true),
            (Interval::Year, "2024-04-01T00:00:00Z", "2024-04-08T00:00:00Z", false),
            (Interval::Week, "2024-03-05T00:00:00Z", "2024-03-06T00:00:00Z", true),
        ] {
            assert_eq!(interval.may_begin_in(window(start, end)), may, "{interval:?} {start}");
        }
    }
}
