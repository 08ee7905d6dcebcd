//! The slice grid, and which slices a run has to read. Pure: the current time is a parameter.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{
    DateTime, Datelike as _, Days, LocalResult, NaiveDate, NaiveTime, SubsecRound as _, TimeDelta, TimeZone as _, Utc,
};
use chrono_tz::Tz;

use crate::catalogue::SliceLength;
use crate::config::Job;
use crate::connector::Window;
use crate::store::cursor::Slice;

/// Slices that one task plans at most. The next run continues after them.
pub const SLICES_MAX: usize = 100_000;
/// No vendor's system has older data.
const FIRST_YEAR: i32 = 2_000;

/// A stream's grid: slices counted from 00:00 of `anchor` in `zone`.
///
/// Two slices that request the same local times would both get all rows of those times. So a boundary is left out if
/// its local time in `filter_zone` occurs twice, when clocks are set back: the slices on both sides of it become one,
/// which keeps the start of the first. `filter_zone` changes no other slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    pub anchor: NaiveDate,
    pub zone: Tz,
    pub length: SliceLength,
    /// The zone in whose local time windows are requested from the vendor. UTC if they are requested as instants.
    pub filter_zone: Tz,
}

impl Grid {
    /// The slice that contains `instant`.
    pub fn around(&self, instant: DateTime<Utc>) -> Window {
        let Window { mut start, mut end } = self.regular(instant);
        // Every step is at least a second long, and no local time occurs twice for longer than a day.
        while occurs_twice(start, self.filter_zone) {
            start = self.regular(start - TimeDelta::seconds(1)).start;
        }
        while occurs_twice(end, self.filter_zone) {
            end = self.regular(end).end;
        }
        Window { start, end }
    }

    /// The slice that contains `instant`, before any boundary is left out.
    fn regular(&self, instant: DateTime<Utc>) -> Window {
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

    /// The slice after `window`.
    pub fn after(&self, window: Window) -> Window {
        self.around(window.end)
    }

    /// The slice before `window`.
    pub fn before(&self, window: Window) -> Window {
        self.around(window.start - TimeDelta::seconds(1))
    }

    /// The slices that overlap `[from, until)`, in order.
    pub fn slices(self, from: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = Window> {
        std::iter::successors(Some(self.around(from)), move |window| Some(self.after(*window)))
            .take_while(move |window| window.start < until)
    }
}

/// Whether the local time of `at` occurs twice in a zone.
fn occurs_twice(at: DateTime<Utc>, zone: Tz) -> bool {
    matches!(zone.from_local_datetime(&at.with_timezone(&zone).naive_local()), LocalResult::Ambiguous(..))
}

/// The first instant of a day in a zone. If the zone skips midnight, the first time that exists; if it skips the whole
/// day, the first instant of the next.
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

/// Why days cannot be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("{from} is not before {to}, which is the day after the range")]
    Empty { from: NaiveDate, to: NaiveDate },
    #[error("{from} is before the year {first}, and no vendor has data of that time", first = FIRST_YEAR)]
    TooOld { from: NaiveDate },
    #[error("{from} is in the future: there is nothing to read")]
    Ahead { from: NaiveDate },
    #[error("{to} is more than a day in the future; {tomorrow}, the day after today, reads up to now")]
    TooLong { to: NaiveDate, tomorrow: NaiveDate },
    #[error("{from} is before {kept_from}, and older rows are dropped (`warehouse.keep`): begin on that day")]
    NotKept { from: NaiveDate, kept_from: NaiveDate },
}

/// The range of a backfill: the days from `from` to the day before `to`, in the time zone of the job. Refuses what only
/// a typing error asks for.
pub fn past_days(from: NaiveDate, to: NaiveDate, zone: Tz, now: DateTime<Utc>) -> Result<Window, RangeError> {
    let today = now.with_timezone(&zone).date_naive();
    let tomorrow = today.succ_opt().unwrap_or(today);
    if from >= to {
        Err(RangeError::Empty { from, to })
    } else if from.year() < FIRST_YEAR {
        Err(RangeError::TooOld { from })
    } else if from > today {
        Err(RangeError::Ahead { from })
    } else if to > tomorrow {
        Err(RangeError::TooLong { to, tomorrow })
    } else {
        Ok(Window { start: midnight(from, zone), end: midnight(to, zone) })
    }
}

/// The range of a backfill of a job, as [`past_days`]. Also refuses days of which nothing is kept.
pub fn range_of(job: &Job, from: NaiveDate, to: NaiveDate, now: DateTime<Utc>) -> Result<Window, RangeError> {
    let window = past_days(from, to, job.timezone, now)?;
    let kept_from = job.warehouse.kept_from(now).map(|at| at.with_timezone(&job.timezone).date_naive());
    match kept_from.filter(|kept_from| from < *kept_from) {
        Some(kept_from) => Err(RangeError::NotKept { from, kept_from }),
        None => Ok(window),
    }
}

/// What a run reads of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Start of the first slice of the stream, or of the range.
    pub from: DateTime<Utc>,
    /// End of a past range that is read again completely.
    pub range_end: Option<DateTime<Utc>>,
    /// Nothing after this is read.
    pub limit: DateTime<Utc>,
    pub lookback: Duration,
    /// The run. It does not read a slice that it, or a later run, has finished.
    pub run: i64,
}

impl Scope {
    /// `settle` before `now`, on a whole second: vendors' filters have no finer precision.
    pub fn limit(now: DateTime<Utc>, settle: Duration) -> DateTime<Utc> {
        earlier(now, settle).trunc_subsecs(0)
    }
}

/// The one slice of a list. Queries recognise it by its start, which is before that of any real slice.
pub fn list_window() -> Window {
    let end = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or(NaiveDate::MAX).and_time(NaiveTime::MIN).and_utc();
    Window { start: DateTime::UNIX_EPOCH, end }
}

/// The slice of a list that a run has to read at `now`. `None` if the run has read it already.
pub fn due_list(run: i64, now: DateTime<Utc>, known: Option<&Slice>) -> Option<Due> {
    let done = known.is_some_and(|slice| slice.position.run.is_none() && slice.finished_run >= Some(run));
    (!done).then(|| Due { window: list_window(), until: now, newest: true })
}

/// `before` that instant, or the earliest possible one.
fn earlier(at: DateTime<Utc>, before: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(before)
        .ok()
        .and_then(|before| at.checked_sub_signed(before))
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// A slice that is due, and how far it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub window: Window,
    /// The end of the window, or the limit if the window is still open.
    pub until: DateTime<Utc>,
    /// Whether it is the newest slice of the stream.
    pub newest: bool,
}

/// The slices due in `scope`, oldest first. `known`: the slices that were begun, by start.
#[expect(clippy::implicit_hasher, reason = "callers use the default one")]
pub fn due(grid: Grid, scope: Scope, known: &HashMap<DateTime<Utc>, Slice>) -> Vec<Due> {
    let until = scope.range_end.map_or(scope.limit, |end| end.min(scope.limit));
    let again_from = earlier(scope.limit, scope.lookback);
    let mut due: Vec<Due> = grid
        .slices(scope.from, until)
        .filter(|window| window.start < window.end)
        .map(|window| Due { window, until: window.end.min(scope.limit), newest: false })
        .filter(|due| {
            let Some(slice) = known.get(&due.window.start) else { return true };
            let (Some(read_until), Some(finished_run)) = (slice.read_until, slice.finished_run) else { return true };
            let closed = due.window.end <= scope.limit;
            let read_by_this_run = finished_run >= scope.run;
            // It was read with other bounds, so it lacks rows, or has rows of the next slice.
            let other_bounds = slice.window_end != due.window.end;
            let wanted_again = scope.range_end.is_some() || due.window.end > again_from || other_bounds;
            let behind = read_until < due.until && (closed || !read_by_this_run);
            slice.position.run.is_some() || behind || (wanted_again && !read_by_this_run)
        })
        .take(SLICES_MAX)
        .collect();
    if let Some(last) = due.last_mut() {
        last.newest = scope.range_end.is_none() && last.until > scope.limit - (last.window.end - last.window.start);
    }
    due
}

/// Adds the slices that are read again regardless of the lookback ([`Slice::again`]), oldest first. A backfill reads
/// only its own range. `due`: windows of one grid, oldest first.
///
/// A slice that overlaps a due one is left out: the clocks or the grid have changed since it was read. The due one
/// replaces its rows, and both would have rows of the same time.
pub fn add_again<'s>(due: &mut Vec<Due>, scope: Scope, known: impl IntoIterator<Item = &'s Slice>) {
    if scope.range_end.is_some() {
        return;
    }
    let overlaps_due = |slice: &Slice| {
        let before = due.partition_point(|other| other.window.start < slice.window_end);
        due[..before].last().is_some_and(|other| slice.window_start < other.window.end)
    };
    let mut again: Vec<Due> = known
        .into_iter()
        .filter(|slice| slice.again && slice.window_start < scope.limit && !overlaps_due(slice))
        .map(|slice| Due {
            window: Window { start: slice.window_start, end: slice.window_end },
            until: slice.window_end.min(scope.limit),
            newest: false,
        })
        .collect();
    due.append(&mut again);
    due.sort_by_key(|due| due.window.start);
    due.truncate(SLICES_MAX);
}

#[cfg(test)]
#[path = "grid_tests.rs"]
mod tests;
