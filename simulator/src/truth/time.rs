//! Times in units of 100 ns since 1970, UTC: the finest resolution that a vendor prints (Lynn's seven fraction digits).

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};

/// 100 ns units since 1970-01-01T00:00:00Z.
pub type Ticks = i64;

pub const TICKS_PER_SECOND: i64 = 10_000_000;
pub const TICKS_PER_DAY: i64 = 86_400 * TICKS_PER_SECOND;

/// Days from 0001-01-01 to 1970-01-01, as chrono counts them.
const EPOCH_DAY: i32 = 719_163;

pub fn ticks(at: DateTime<Utc>) -> Ticks {
    at.timestamp().saturating_mul(TICKS_PER_SECOND).saturating_add(i64::from(at.timestamp_subsec_nanos() / 100))
}

/// A time span, `until` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Ticks,
    pub until: Ticks,
}

impl Span {
    pub fn new(from: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        Self { from: ticks(from), until: ticks(until) }
    }

    pub fn is_empty(self) -> bool {
        self.until <= self.from
    }

    pub fn holds(self, at: Ticks) -> bool {
        self.from <= at && at < self.until
    }
}

/// `yyyy-MM-ddTHH:mm:ss.fffffffZ`
pub fn moment_text(at: Ticks) -> String {
    let mut text = seconds_text(at);
    text.pop();
    let _ = write!(text, ".{:07}Z", at.rem_euclid(TICKS_PER_SECOND));
    text
}

/// `yyyy-MM-ddTHH:mm:ssZ`
pub fn seconds_text(at: Ticks) -> String {
    let second = at.rem_euclid(TICKS_PER_DAY) / TICKS_PER_SECOND;
    let mut text = date_text(at);
    let _ = write!(text, "T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
    text
}

/// `yyyy-MM-dd`
pub fn date_text(at: Ticks) -> String {
    let day = i32::try_from(at.div_euclid(TICKS_PER_DAY)).unwrap_or_default();
    let date = NaiveDate::from_num_days_from_ce_opt(day.saturating_add(EPOCH_DAY)).unwrap_or_default();
    let mut text = String::with_capacity(32);
    let _ = write!(text, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day());
    text
}
