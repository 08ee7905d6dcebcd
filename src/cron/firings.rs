//! Which firings of a schedule are due: pure, with `now` as a parameter (promise 8).
//!
//! An expression names wall-clock times of a zone. What a clock change does to them depends on the hour field:
//!
//! - **The hour field is restricted** (`30 2 * * *`, `0 */6 * * *`): each named wall-clock time fires once. A time in a
//!   spring gap fires at the first instant after the gap (several such times fire there together, as one). A time that
//!   is repeated in autumn fires the first time.
//! - **The hour field is every hour** (`15 * * * *`, `*/10 * * * *`): the job has an interval, not a time of day. It
//!   fires in both repeated hours of autumn and skips times that do not exist in spring, so the interval is kept.
//!
//! croner's own rule differs (it treats `0,30 2 * * *` as an interval, gives up on gaps over two hours and loses a
//! firing whose gap ends on a date that does not match). So croner only evaluates times without a zone, and this module
//! maps them to instants.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Duration, DurationRound, MappedLocalTime, NaiveDateTime, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;
use schemars::JsonSchema;
use serde::Deserialize;

use super::expression::ScheduleError;

/// `catch_up: none` still runs a firing this late, so that a slow moment of the process or a quick restart loses
/// nothing.
const GRACE: Duration = Duration::seconds(60);
/// Bound on the wall-clock times examined per call. A repeated or missing day of an every-second schedule needs 86,400.
const STEPS_MAX: usize = 200_000;
/// Hours in a day. An hour field with this many values names no time of day.
const HOURS: usize = 24;

/// What happens to firings that were missed while nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum CatchUp {
    Latest,
    All,
    None,
}

/// A schedule expression in its zone.
#[derive(Clone)]
pub struct Schedule {
    pattern: Arc<Pattern>,
    timezone: Tz,
}

thread_local! {
    /// The years of all expressions, which have no field for them. croner has a byte for each year until 5000, 5 kB for
    /// each expression, so its patterns lend them from here while they are evaluated.
    static EVERY_YEAR: RefCell<Option<Cron>> = const { RefCell::new(None) };
}

/// An expression without a zone.
struct Pattern {
    /// As written.
    expression: String,
    /// Without years.
    cron: Mutex<Cron>,
    /// Whether the hour field is every hour.
    rhythm: bool,
    /// Whether it ever fires; `0 0 31 2 *` does not.
    possible: bool,
}

/// Parses the expressions of many schedules, each once. Equal ones share the result.
#[derive(Default)]
pub struct Schedules(HashMap<String, Arc<Pattern>>);

impl Schedules {
    /// Parses `expression`: five fields, six with seconds first, or a nickname such as `@daily`.
    pub fn parse(&mut self, expression: &str, timezone: Tz) -> Result<Schedule, ScheduleError> {
        let pattern = match self.0.get(expression) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(self.0.entry(expression.to_owned()).or_insert(Arc::new(Pattern::parse(expression)?))),
        };
        Ok(Schedule { pattern, timezone })
    }
}

impl<'s> FromIterator<&'s Schedule> for Schedules {
    /// With the expressions of `schedules`, which need not be parsed again.
    fn from_iter<I: IntoIterator<Item = &'s Schedule>>(schedules: I) -> Self {
        let known = |schedule: &Schedule| (schedule.expression().to_owned(), Arc::clone(&schedule.pattern));
        Self(schedules.into_iter().map(known).collect())
    }
}

/// Expression, zone, and the time after which it fires.
type Asked<'s> = (&'s str, Tz, DateTime<Utc>);

/// The next firings of many schedules, each computed once: thousands of jobs share few schedules.
#[derive(Default)]
pub struct NextFirings<'s>(HashMap<Asked<'s>, Option<DateTime<Utc>>>);

impl<'s> NextFirings<'s> {
    /// As [`Schedule::next_after`].
    pub fn after(&mut self, schedule: &'s Schedule, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let key = (schedule.expression(), schedule.timezone, after);
        *self.0.entry(key).or_insert_with(|| schedule.next_after(after))
    }
}

/// A pattern that has the years of `lender` until this is dropped, also by a panic.
struct Lent<'a> {
    cron: &'a mut Cron,
    lender: &'a mut Cron,
}

impl<'a> Lent<'a> {
    fn to(cron: &'a mut Cron, lender: &'a mut Cron) -> Self {
        std::mem::swap(&mut cron.pattern.years, &mut lender.pattern.years);
        Self { cron, lender }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        std::mem::swap(&mut self.cron.pattern.years, &mut self.lender.pattern.years);
    }
}

impl Pattern {
    fn parse(expression: &str) -> Result<Self, ScheduleError> {
        let mut cron = super::expression::parse(expression)?;
        let rhythm = cron.pattern.hours.values().len() == HOURS;
        drop(std::mem::take(&mut cron.pattern.years));
        let mut pattern = Self { expression: expression.to_owned(), cron: Mutex::new(cron), rhythm, possible: true };
        // The calendar repeats, so an expression that does not fire from here on never fires. croner's search ends at
        // the year 5000.
        pattern.possible = pattern.next(NaiveDateTime::default()).is_some();
        Ok(pattern)
    }

    /// The next time of the expression on a clock without a zone.
    fn next(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        EVERY_YEAR.with_borrow_mut(|every_year| {
            if every_year.is_none() {
                *every_year = super::expression::parse("* * * * *").ok();
            }
            let lender = every_year.as_mut()?;
            let mut cron = self.cron.lock().unwrap_or_else(PoisonError::into_inner);
            let lent = Lent::to(&mut cron, lender);
            let next = lent.cron.find_next_occurrence(&wall.and_utc(), false);
            next.ok().map(|next| next.naive_utc())
        })
    }
}

impl Schedule {
    /// Parses one expression; [`Schedules`] parses many.
    pub fn parse(expression: &str, timezone: Tz) -> Result<Self, ScheduleError> {
        Schedules::default().parse(expression, timezone)
    }

    /// The expression as written.
    pub fn expression(&self) -> &str {
        &self.pattern.expression
    }

    /// The expression in words, such as `daily at 03:15`. `None` for expressions that are clearer as they are.
    pub fn words(&self) -> Option<String> {
        super::words::words(&self.pattern.expression)
    }

    pub const fn timezone(&self) -> Tz {
        self.timezone
    }

    /// Whether it ever fires. A schedule that never fires is surely a mistake.
    pub fn ever_fires(&self) -> bool {
        self.pattern.possible
    }

    /// The first firing after `after`.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if !self.pattern.possible {
            return None;
        }
        let after = after.duration_trunc(Duration::seconds(1)).ok()?;
        let mut wall = self.walk_from(after)?;
        let mut best: Option<DateTime<Utc>> = None;
        for _ in 0..STEPS_MAX {
            let Some(next) = self.pattern.next(wall) else { break };
            wall = next;
            let (first, second) = self.instants(wall);
            // First instants grow with the wall clock, so no later time can be earlier than the best one.
            if first.zip(best).is_some_and(|(first, best)| first >= best) {
                break;
            }
            for instant in [first, second].into_iter().flatten().filter(|instant| *instant > after) {
                best = Some(best.map_or(instant, |best| best.min(instant)));
            }
        }
        best
    }

    /// The firings to run at `now`, oldest first and at most `limit`.
    ///
    /// `last_seen` is the newest firing that needs no run any more (or the time the job was first seen). If it is
    /// `None`, nothing was missed. A `last_seen` after `now` (a clock was set back) means that nothing is due.
    ///
    /// - [`CatchUp::Latest`]: only the newest one.
    /// - [`CatchUp::All`]: all; those beyond `limit` are left to the next call.
    /// - [`CatchUp::None`]: the newest one, if it is at most a minute old.
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

    /// The newest firing in `(from, to]`, by bisection: years of downtime cost about thirty steps.
    pub fn newest(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut found = self.next_after(from).filter(|firing| *firing <= to)?;
        // Nothing fires between `from` and `to`.
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
            // Within a time that will be repeated: the wall-clock times shown so far will be shown again.
            MappedLocalTime::Ambiguous(first, second) if self.pattern.rhythm && after < second => {
                local.checked_sub_signed(second.signed_duration_since(first))
            }
            _ => Some(local),
        }
    }

    /// The instants at which the clock shows `wall`, by the rule of this schedule: one, two, or none (in a gap, for an
    /// interval).
    fn instants(&self, wall: NaiveDateTime) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        match self.timezone.from_local_datetime(&wall) {
            MappedLocalTime::Single(instant) => (Some(instant.to_utc()), None),
            MappedLocalTime::Ambiguous(first, second) => {
                (Some(first.to_utc()), self.pattern.rhythm.then(|| second.to_utc()))
            }
            MappedLocalTime::None if self.pattern.rhythm => (None, None),
            MappedLocalTime::None => {
                let after_gap = GapInfo::new(&wall, &self.timezone).and_then(|gap| gap.end);
                (after_gap.map(|instant| instant.to_utc()), None)
            }
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Schedule({:?} {})", self.expression(), self.timezone)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (self.expression(), self.timezone) == (other.expression(), other.timezone)
    }
}

impl Eq for Schedule {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_expressions_are_parsed_once() {
        let lima = Schedules::default().parse("0 3 * * *", chrono_tz::America::Lima).unwrap();
        let mut known: Schedules = [&lima].into_iter().collect();
        let here = known.parse("0 3 * * *", Tz::UTC).unwrap();
        assert!(Arc::ptr_eq(&lima.pattern, &here.pattern));
        assert_eq!(here.timezone(), Tz::UTC);
    }

    #[test]
    fn p8_threads_that_share_a_schedule_find_the_same_firings() {
        let mut schedules = Schedules::default();
        let schedule = schedules.parse("15 3 29 2 *", Tz::UTC).unwrap();
        let from = DateTime::<Utc>::UNIX_EPOCH;
        let expected = schedule.next_after(from);
        assert_eq!(expected.map(|at| at.to_rfc3339()).as_deref(), Some("1972-02-29T03:15:00+00:00"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| assert_eq!(schedule.next_after(from), expected)));
            }
        });
    }
}
