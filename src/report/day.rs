//! The days of a stream: which of them are complete, missing or unusual.

use chrono::{DateTime, Days, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::Serialize;

/// A weekday with more rows than this usually has some.
const FEW: i64 = 50;

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

/// Days in a row that are not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Gap {
    pub from: NaiveDate,
    /// The last of these days.
    pub to: NaiveDate,
    pub days: i64,
    /// `partial`, `missing` or `held`.
    pub state: String,
}

/// A complete day without rows, and how many the same weekday usually has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UnusualDay {
    pub day: NaiveDate,
    /// The median of the four same weekdays before.
    pub usual: i64,
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

/// Days in a row that are not complete, the newest first. Today is never read to its end, so it matters only if it is
/// held. Before the first `wanted` day, only what is held matters: a backfill may have read a part of a day.
pub(super) fn gaps(days: &[Day], wanted: Option<NaiveDate>, today: NaiveDate) -> Vec<Gap> {
    let matters =
        |day: &&Day| day.state == "held" || (day.day < today && wanted.is_none_or(|wanted| wanted <= day.day));
    let incomplete = days.iter().filter(|day| day.state != "complete").filter(matters);
    let spans = spans(incomplete.map(|day| (day.day, day.state.as_str())));
    let gap = |span: DaySpan| Gap { from: span.from, to: span.to, days: span.days(), state: span.state };
    spans.into_iter().rev().map(gap).collect()
}

/// Complete days of the last fortnight without rows, whose weekday usually has more than [`FEW`].
pub(super) fn unusual(days: &[Day]) -> Vec<UnusualDay> {
    let is_empty = |day: &&Day| day.state == "complete" && day.rows == Some(0);
    let usual = |of: &Day| {
        let before = |weeks: u64| of.day.checked_sub_days(Days::new(7 * weeks));
        let rows = |weeks: u64| days.iter().find(|day| Some(day.day) == before(weeks)).and_then(|day| day.rows);
        let mut counts: Vec<i64> = (1..=4).map(rows).collect::<Option<_>>()?;
        counts.sort_unstable();
        Some(i64::midpoint(counts[1], counts[2]))
    };
    let lately = days.iter().rev().take(15).filter(is_empty);
    lately
        .filter_map(|day| Some(UnusualDay { day: day.day, usual: usual(day).filter(|usual| *usual > FEW)? }))
        .collect()
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

    #[test]
    fn p11_gaps_are_days_in_a_row_without_today_unless_it_is_held() {
        let at = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
        let states = ["complete", "missing", "missing", "held", "complete", "partial"];
        let days: Vec<Day> = (1..)
            .zip(states)
            .map(|(number, state)| Day { day: at(number), state: state.to_owned(), rows: None, last_read_at: None })
            .collect();
        let found = |wanted| -> Vec<(NaiveDate, i64, String)> {
            gaps(&days, wanted, at(6)).into_iter().map(|gap| (gap.from, gap.days, gap.state)).collect()
        };
        let (held, missing) = ((at(4), 1, "held".to_owned()), (at(2), 2, "missing".to_owned()));
        assert_eq!(found(None), [held.clone(), missing]);
        assert_eq!(found(Some(at(3))), [held.clone(), (at(3), 1, "missing".to_owned())]);
        assert_eq!(found(Some(at(5))), [held], "what is held counts, also before what is wanted");
        let today = Day { day: at(6), state: "held".to_owned(), rows: None, last_read_at: None };
        let of_today = gaps(&[today], None, at(6));
        assert_eq!(of_today.iter().map(|gap| (gap.from, &*gap.state)).collect::<Vec<_>>(), [(at(6), "held")]);
    }

    #[test]
    fn a_day_without_rows_is_noted_if_its_weekday_usually_has_many() {
        let first = NaiveDate::from_ymd_opt(2026, 10, 1).unwrap();
        let day = |(day, rows)| Day { day, state: "complete".to_owned(), rows: Some(rows), last_read_at: None };
        // Weekends have few rows.
        let rows = |day: NaiveDate| if chrono::Datelike::weekday(&day).number_from_monday() > 5 { 3 } else { 100 };
        let mut days: Vec<Day> = first.iter_days().take(35).map(|at| day((at, rows(at)))).collect();
        assert_eq!(unusual(&days), []);
        days.iter_mut().rev().take(7).for_each(|day| day.rows = Some(0));
        let found = unusual(&days);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found.iter().all(|day| day.usual == 100));
        days.last_mut().unwrap().state = "partial".to_owned();
        assert_eq!(unusual(&days).len(), 4);
    }
}
