//! Buckets of statistics (`facts/jaicp.md §7`): calendar intervals, shifted by the `Timezone` header. Shares no code
//! with the connector.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, Timelike as _, Utc};

/// The intervals of statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interval {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Interval {
    /// Parses the vendor's word.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "HOUR" => Self::Hour,
            "DAY" => Self::Day,
            "WEEK" => Self::Week,
            "MONTH" => Self::Month,
            "QUARTER" => Self::Quarter,
            "YEAR" => Self::Year,
            _ => return None,
        })
    }

    /// The start of the bucket that contains a time, in milliseconds since 1970; `zone` in minutes.
    pub fn bucket(self, at: DateTime<Utc>, zone: i64) -> i64 {
        let shift = chrono::TimeDelta::minutes(zone);
        let local: NaiveDateTime = (at + shift).naive_utc();
        let date = local.date();
        let day = |year: i32, month: u32| NaiveDate::from_ymd_opt(year, month, 1).unwrap_or(date);
        let start = match self {
            Self::Hour => {
                return (date.and_hms_opt(local.hour(), 0, 0).unwrap_or(local) - shift).and_utc().timestamp_millis();
            }
            Self::Day => date,
            Self::Week => date.week(chrono::Weekday::Mon).first_day(),
            Self::Month => day(date.year(), date.month()),
            Self::Quarter => day(date.year(), date.month0() / 3 * 3 + 1),
            Self::Year => day(date.year(), 1),
        };
        (start.and_time(chrono::NaiveTime::MIN) - shift).and_utc().timestamp_millis()
    }
}
