//! The days of a stream, and what of them is complete.

use chrono::{DateTime, Days, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::Serialize;

/// A day of a table, as in `mart.day_status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Day {
    /// Local date in the zone of the job.
    pub day: NaiveDate,
    /// `complete`, `partial` (not read to its end, as today), `missing` or `held`.
    pub state: String,
    /// Rows that the last reading of the day reported. `None` if it was read together with other days.
    pub rows: Option<i64>,
    pub last_read_at: Option<DateTime<Utc>>,
}

/// Consecutive days in the same state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DaySpan {
    pub from: NaiveDate,
    /// The last of these days.
    pub to: NaiveDate,
    /// As in `Day`.
    pub state: String,
}

impl DaySpan {
    /// The number of days.
    pub fn days(&self) -> i64 {
        (self.to - self.from).num_days() + 1
    }
}

/// Joins consecutive days that have the same state. `days` are sorted.
pub(super) fn spans<'a>(days: impl IntoIterator<Item = (NaiveDate, &'a str)>) -> Vec<DaySpan> {
    let mut spans: Vec<DaySpan> = Vec::new();
    for (day, state) in days {
        match spans.last_mut() {
            Some(last) if last.state == state && last.to.checked_add_days(Days::new(1)) == Some(day) => last.to = day,
            _ => spans.push(DaySpan { from: day, to: day, state: state.to_owned() }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_in_the_same_state_are_joined_unless_days_are_between() {
        let day = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
        let days = [(1, "complete"), (2, "complete"), (3, "missing"), (5, "missing"), (6, "complete")];
        let spans = spans(days.map(|(number, state)| (day(number), state)));
        let short: Vec<_> = spans.iter().map(|span| (span.from, span.days(), span.state.as_str())).collect();
        let expected =
            [(day(1), 2, "complete"), (day(3), 1, "missing"), (day(5), 1, "missing"), (day(6), 1, "complete")];
        assert_eq!(short, expected);
    }
}
