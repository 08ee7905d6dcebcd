//! The slice grid, and which slices a run has to read. Pure: now is a parameter.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, SubsecRound as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

use crate::config::SliceLength;
use crate::store::cursor::Slice;
use crate::vendor::Window;

/// One task plans no more than this; the next run goes on behind it.
pub const SLICES_MAX: usize = 100_000;

/// A stream's grid: slices counted from 00:00 of `anchor` in `zone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    pub anchor: NaiveDate,
    pub zone: Tz,
    pub length: SliceLength,
}

impl Grid {
    /// The slice that holds `instant`.
    pub fn around(&self, instant: DateTime<Utc>) -> Window {
        match self.length {
            SliceLength::Days(days) => {
                let days = i64::from(days.max(1));
                let date = instant.with_timezone(&self.zone).date_naive();
                let number = (date - self.anchor).num_days().div_euclid(days);
                let start = self.anchor + TimeDelta::days(number * days);
                Window { start: midnight(start, self.zone), end: midnight(start + TimeDelta::days(days), self.zone) }
            }
            SliceLength::Time(length) => {
                let secs = i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1);
                let origin = midnight(self.anchor, self.zone);
                let number = (instant - origin).num_seconds().div_euclid(secs);
                let start = origin + TimeDelta::seconds(number * secs);
                Window { start, end: start + TimeDelta::seconds(secs) }
            }
        }
    }

    /// The slice behind `window`.
    pub fn after(&self, window: Window) -> Window {
        self.around(window.end)
    }

    /// The slice before `window`.
    pub fn before(&self, window: Window) -> Window {
        self.around(window.start - TimeDelta::seconds(1))
    }

    /// The slices that hold part of `[from, until)`, in order.
    pub fn slices(self, from: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = Window> {
        std::iter::successors(Some(self.around(from)), move |window| Some(self.after(*window)))
            .take_while(move |window| window.start < until)
    }
}

/// The first instant of a day in a zone. Where a zone skips midnight it is the first time that exists; where it skips a
/// whole day, the first of the next.
pub fn midnight(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    for day in 0..3 {
        let Some(date) = date.checked_add_days(Days::new(day)) else { break };
        for quarter in 0..96_u32 {
            let time = NaiveTime::from_num_seconds_from_midnight_opt(quarter * 900, 0).unwrap_or_default();
            if let Some(at) = zone.from_local_datetime(&date.and_time(time)).earliest() {
                return at.with_timezone(&Utc);
            }
        }
    }
    date.and_time(NaiveTime::MIN).and_utc()
}

/// What a run reads of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Start of the first slice that was ever wanted, or of the range.
    pub from: DateTime<Utc>,
    /// A past range to be read again, whole.
    pub range_end: Option<DateTime<Utc>>,
    /// Never read closer to now than this.
    pub limit: DateTime<Utc>,
    pub lookback: Duration,
    /// A slice that this run, or a later one, has finished is not read again by it.
    pub run: i64,
}

impl Scope {
    /// `settle` behind `now`, on a whole second: vendors' filters have no finer precision.
    pub fn limit(now: DateTime<Utc>, settle: Duration) -> DateTime<Utc> {
        (now - TimeDelta::from_std(settle).unwrap_or_default()).trunc_subsecs(0)
    }
}

/// The one slice of a stream that is read as a whole. Queries know it by its start, before any real slice's.
pub fn list_window() -> Window {
    let end = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or(NaiveDate::MAX).and_time(NaiveTime::MIN).and_utc();
    Window { start: DateTime::UNIX_EPOCH, end }
}

/// What a run has to read of a list at `now`: all of it, unless it has done so already.
pub fn due_list(run: i64, now: DateTime<Utc>, known: Option<&Slice>) -> Option<Due> {
    let done = known.is_some_and(|slice| slice.reading_run.is_none() && slice.finished_run >= Some(run));
    (!done).then(|| Due { window: list_window(), until: now, newest: true })
}

/// A slice to be read, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub window: Window,
    /// The window's end, or the limit while the window is still open.
    pub until: DateTime<Utc>,
    /// Whether none follows it now, in the whole stream.
    pub newest: bool,
}

/// The slices that `scope` asks for, oldest first; `known` are those begun before, by start.
#[expect(clippy::implicit_hasher, reason = "callers use the default one")]
pub fn due(grid: Grid, scope: Scope, known: &HashMap<DateTime<Utc>, Slice>) -> Vec<Due> {
    let until = scope.range_end.map_or(scope.limit, |end| end.min(scope.limit));
    let again_from = scope.limit - TimeDelta::from_std(scope.lookback).unwrap_or(TimeDelta::MAX / 2);
    let mut due: Vec<Due> = grid
        .slices(scope.from, until)
        .filter(|window| window.start < window.end)
        .map(|window| Due { window, until: window.end.min(scope.limit), newest: false })
        .filter(|due| {
            let Some(slice) = known.get(&due.window.start) else { return true };
            let (Some(read_until), Some(finished_run)) = (slice.read_until, slice.finished_run) else { return true };
            let closed = due.window.end <= scope.limit;
            let read_by_this_run = finished_run >= scope.run;
            let wanted_again = scope.range_end.is_some() || due.window.end > again_from;
            let behind = read_until < due.until && (closed || !read_by_this_run);
            slice.reading_run.is_some() || behind || (wanted_again && !read_by_this_run)
        })
        .take(SLICES_MAX)
        .collect();
    if let Some(last) = due.last_mut() {
        last.newest = scope.range_end.is_none() && last.until > scope.limit - (last.window.end - last.window.start);
    }
    due
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn grid(zone: Tz, length: SliceLength) -> Grid {
        Grid { anchor: NaiveDate::from_ymd_opt(2026, 1, 1).unwrap(), zone, length }
    }

    fn finished(window: Window, read_until: DateTime<Utc>, run: i64) -> (DateTime<Utc>, Slice) {
        let slice = Slice {
            id: 1,
            window_start: window.start,
            window_end: window.end,
            read_until: Some(read_until),
            finished_run: Some(run),
            reading_run: None,
            reading_until: None,
            reading_fresh: false,
            reading_pages: 0,
            reading_rows: 0,
            reading_seen: 0,
            reading_bytes: 0,
            cursor: None,
        };
        (window.start, slice)
    }

    #[test]
    fn p8_days_are_calendar_days_of_the_zone() {
        let grid = grid(chrono_tz::Europe::Berlin, SliceLength::Days(1));
        let spring = grid.around(at("2026-03-29T12:00:00Z"));
        assert_eq!((spring.end - spring.start).num_hours(), 23);
        let autumn = grid.around(at("2026-10-25T12:00:00Z"));
        assert_eq!((autumn.end - autumn.start).num_hours(), 25);
        assert_eq!(grid.before(grid.after(spring)), spring);
    }

    #[test]
    fn p8_a_day_whose_midnight_is_skipped_begins_at_its_first_instant() {
        let day = NaiveDate::from_ymd_opt(2026, 9, 6).unwrap();
        assert_eq!(midnight(day, chrono_tz::America::Santiago), at("2026-09-06T04:00:00Z"));
        let never = NaiveDate::from_ymd_opt(2011, 12, 30).unwrap();
        assert_eq!(midnight(never, chrono_tz::Pacific::Apia), at("2011-12-30T10:00:00Z"));
    }

    #[test]
    fn a_new_stream_reads_everything_from_its_start_up_to_the_limit() {
        let grid = grid(chrono_tz::UTC, SliceLength::Days(1));
        let limit = at("2026-01-03T14:00:00Z");
        let scope =
            Scope { from: at("2026-01-01T00:00:00Z"), range_end: None, limit, lookback: Duration::ZERO, run: 5 };
        let due = due(grid, scope, &HashMap::new());
        let ends: Vec<_> = due.iter().map(|due| due.until).collect();
        assert_eq!(ends, [at("2026-01-02T00:00:00Z"), at("2026-01-03T00:00:00Z"), limit]);
    }

    #[test]
    fn finished_slices_are_read_again_within_the_lookback_and_once_per_run() {
        let grid = grid(chrono_tz::UTC, SliceLength::Days(1));
        let limit = at("2026-01-04T14:00:00Z");
        let days: Vec<Window> = grid.slices(at("2026-01-01T00:00:00Z"), limit).collect();
        let mut known: HashMap<_, _> = days[..3].iter().map(|day| finished(*day, day.end, 4)).collect();
        known.extend([finished(days[3], at("2026-01-04T13:00:00Z"), 4)]);
        let lookback = Duration::from_hours(24);
        let mut scope = Scope { from: days[0].start, range_end: None, limit, lookback, run: 5 };
        let starts = |due: Vec<Due>| due.iter().map(|due| due.window.start).collect::<Vec<_>>();
        assert_eq!(starts(due(grid, scope, &known)), [days[2].start, days[3].start]);
        scope.run = 4;
        let newest = |due: Vec<Due>| due.iter().map(|due| due.newest).collect::<Vec<_>>();
        assert_eq!(newest(due(grid, Scope { run: 5, ..scope }, &known)), [false, true]);
        assert!(due(grid, scope, &known).is_empty(), "what this run has finished is not read again");
        scope = Scope { run: 5, range_end: Some(days[1].end), ..scope };
        assert_eq!(newest(due(grid, scope, &known)), [false, false], "a past range is not now");
        assert_eq!(starts(due(grid, scope, &known)), [days[0].start, days[1].start]);
    }

    #[test]
    fn an_interrupted_slice_is_due_whatever_its_age() {
        let grid = grid(chrono_tz::UTC, SliceLength::Days(1));
        let day = grid.around(at("2026-01-01T12:00:00Z"));
        let (start, mut slice) = finished(day, day.end, 9);
        slice.reading_run = Some(3);
        let limit = at("2026-01-09T00:00:00Z");
        let scope = Scope { from: day.start, range_end: Some(day.end), limit, lookback: Duration::ZERO, run: 5 };
        assert_eq!(due(grid, scope, &HashMap::from([(start, slice)])).len(), 1);
    }

    proptest! {
        #[test]
        fn slices_have_no_gap_and_no_overlap(
            zone in proptest::sample::select(chrono_tz::TZ_VARIANTS.as_slice()),
            days in 1_u32..40,
            hours in proptest::sample::select(&[1_u64, 2, 3, 4, 6, 8, 12][..]),
            whole in any::<bool>(),
            from in 1_500_000_000_i64..1_900_000_000,
        ) {
            let length = if whole { SliceLength::Days(days) } else { SliceLength::Time(Duration::from_hours(hours)) };
            let grid = grid(zone, length);
            let from = DateTime::from_timestamp(from, 0).unwrap();
            let slices: Vec<Window> = grid.slices(from, from + TimeDelta::days(120)).take(500).collect();
            prop_assert!(slices[0].start <= from && from < slices[0].end);
            for pair in slices.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
                prop_assert!(pair[0].start < pair[0].end);
                prop_assert_eq!(grid.before(pair[1]), pair[0]);
            }
        }
    }
}
