//! Which firings of a schedule are due: pure, with `now` as a parameter (promise 8).
//!
//! An expression names wall-clock times of a zone. What a clock change does to them depends on the hour field:
//!
//! - **The hour field leaves hours out** (`30 2 * * *`, `0 */6 * * *`): each named wall-clock time fires once. One that
//!   falls in a spring gap fires at the first instant after the gap (several such times fire there together, as one);
//!   one that happens twice in autumn fires the first time.
//! - **The hour field is every hour** (`15 * * * *`, `*/10 * * * *`): the job has a rhythm, not a time of day. It fires in
//!   both repeated hours of autumn, and times that do not exist in spring are left out, so the rhythm is kept.
//!
//! croner's own rule differs (it calls `0,30 2 * * *` a rhythm, gives up on gaps over two hours and loses a firing whose
//! gap ends on a date that does not match), so croner is only asked about a clock without zone, and the wall clock is
//! mapped to instants here.

use chrono::{DateTime, Duration, DurationRound, MappedLocalTime, NaiveDateTime, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;

use super::expression::ScheduleError;

/// `catch_up: none` still answers a firing this late, so that a slow moment of the process or a quick restart loses nothing.
const GRACE: Duration = Duration::seconds(60);
/// Wall-clock times looked at for one answer. A repeated or missing day of an every-second schedule needs 86,400.
const STEPS_MAX: usize = 200_000;
/// Hours in a day: an hour field with so many values names no time of day.
const HOURS: usize = 24;

/// What happens to firings that were missed while nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    Latest,
    All,
    None,
}

/// A schedule expression in its zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// As it was written.
    expression: String,
    cron: Cron,
    timezone: Tz,
    /// Whether the hour field is every hour.
    rhythm: bool,
    /// Whether it fires at all; `0 0 31 2 *` does not.
    possible: bool,
}

impl Schedule {
    /// Reads `expression`: five fields, six with seconds first, or a nickname such as `@daily`.
    pub fn parse(expression: &str, timezone: Tz) -> Result<Self, ScheduleError> {
        let cron = super::expression::parse(expression)?;
        let rhythm = cron.pattern.hours.values().len() == HOURS;
        let mut schedule = Self { expression: expression.to_owned(), cron, timezone, rhythm, possible: true };
        // The calendar repeats, so what does not fire from here on never does; croner's search is bounded by the year 5000.
        schedule.possible = schedule.next_on_wall_clock(NaiveDateTime::default()).is_some();
        Ok(schedule)
    }

    /// As it was written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    pub const fn timezone(&self) -> Tz {
        self.timezone
    }

    /// Whether there is any firing. A job for which there is none is surely not what its author meant.
    pub const fn ever_fires(&self) -> bool {
        self.possible
    }

    /// The first firing after `after`.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if !self.possible {
            return None;
        }
        let after = after.duration_trunc(Duration::seconds(1)).ok()?;
        let mut wall = self.walk_from(after)?;
        let mut best: Option<DateTime<Utc>> = None;
        for _ in 0..STEPS_MAX {
            let Some(next) = self.next_on_wall_clock(wall) else { break };
            wall = next;
            let (first, second) = self.instants(wall);
            // First instants grow with the wall clock, so beyond the best there is nothing better.
            if first.zip(best).is_some_and(|(first, best)| first >= best) {
                break;
            }
            for instant in [first, second].into_iter().flatten().filter(|instant| *instant > after) {
                best = Some(best.map_or(instant, |best| best.min(instant)));
            }
        }
        best
    }

    /// The firings to answer at `now`, oldest first and at most `limit`.
    ///
    /// `last_seen` is the newest firing that needs no answer any more (or the moment the job was first seen); without it
    /// nothing was missed. A `last_seen` after `now`, as when a clock was set back, means that nothing is due.
    ///
    /// - [`CatchUp::Latest`]: the newest one only.
    /// - [`CatchUp::All`]: every one; what exceeds `limit` is left to the next call.
    /// - [`CatchUp::None`]: the newest one, if it is no older than a minute.
    pub fn due(
        &self,
        last_seen: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        catch_up: CatchUp,
        limit: usize,
    ) -> Vec<DateTime<Utc>> {
        let Some(last_seen) = last_seen.filter(|last_seen| *last_seen < now && limit > 0) else {
            return Vec::new();
        };
        match catch_up {
            CatchUp::Latest => self.newest(last_seen, now).into_iter().collect(),
            CatchUp::None => self.newest(last_seen.max(now - GRACE), now).into_iter().collect(),
            CatchUp::All => std::iter::successors(self.next_after(last_seen), |firing| self.next_after(*firing))
                .take_while(|firing| *firing <= now)
                .take(limit)
                .collect(),
        }
    }

    /// The newest firing after `from` and not after `to`, by halving: years of downtime cost some thirty steps.
    pub fn newest(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut found = self.next_after(from).filter(|firing| *firing <= to)?;
        // From here to `to` nothing fires.
        let mut silent_from = to.duration_trunc(Duration::seconds(1)).ok()? + Duration::seconds(1);
        while (silent_from - found).num_seconds() > 1 {
            let middle = found + Duration::seconds(((silent_from - found).num_seconds() - 1) / 2);
            match self.next_after(middle).filter(|firing| *firing < silent_from) {
                Some(firing) => found = firing,
                None => silent_from = middle + Duration::seconds(1),
            }
        }
        Some(found)
    }

    /// The wall-clock time after which to look for firings after the instant `after`.
    fn walk_from(&self, after: DateTime<Utc>) -> Option<NaiveDateTime> {
        let local = after.with_timezone(&self.timezone).naive_local();
        match self.timezone.from_local_datetime(&local) {
            // Within a time that will be repeated: what the clock has shown of it is still to come once more.
            MappedLocalTime::Ambiguous(first, second) if self.rhythm && after < second => {
                local.checked_sub_signed(second.signed_duration_since(first))
            }
            _ => Some(local),
        }
    }

    /// When the clock shows `wall`, as this schedule sees it: once, twice or, in a gap of a rhythm, never.
    fn instants(&self, wall: NaiveDateTime) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        match self.timezone.from_local_datetime(&wall) {
            MappedLocalTime::Single(instant) => (Some(instant.to_utc()), None),
            MappedLocalTime::Ambiguous(first, second) => (Some(first.to_utc()), self.rhythm.then(|| second.to_utc())),
            MappedLocalTime::None if self.rhythm => (None, None),
            MappedLocalTime::None => {
                let after_gap = GapInfo::new(&wall, &self.timezone).and_then(|gap| gap.end);
                (after_gap.map(|instant| instant.to_utc()), None)
            }
        }
    }

    /// The next time of the expression on a clock that knows no zone.
    fn next_on_wall_clock(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&wall.and_utc(), false).ok().map(|next| next.naive_utc())
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (&self.expression, self.timezone) == (&other.expression, other.timezone)
    }
}

impl Eq for Schedule {}
