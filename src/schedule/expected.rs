//! When a stream is late: judged by the schedules of the jobs that read it (promise 11).

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::Job;
use crate::cron::Schedule;
use crate::store::stream::Expected;

/// How long a run may take before its stream is late, at least.
const GRACE_MIN: TimeDelta = TimeDelta::minutes(15);
/// The same as a part of the time between two firings.
const GRACE_PART: i32 = 10;

/// Where the search for the longest time between two firings begins, after 1970: on Thursday, 2026-01-01.
const GAP_FROM: TimeDelta = TimeDelta::days(20_454);
/// How far it goes,
const GAP_WITHIN: TimeDelta = TimeDelta::days(400);
/// at least over this many firings,
const GAPS_MIN: u32 = 13;
/// and at most in this many steps.
const GAP_STEPS_MAX: u32 = 4_000;
/// Firings nearer than this are not all looked at. Shorter than [`GRACE_MIN`], so nothing is late too early.
const GAP_STEP: TimeDelta = TimeDelta::minutes(5);

/// When a stream is late that `jobs` read and that last succeeded at `after`. The first of the jobs decides whose
/// firing is expected. `None` if no job has a schedule and is not paused.
pub fn expected(jobs: &[&Job], after: DateTime<Utc>) -> Option<Expected> {
    jobs.iter().filter(|job| !job.paused).filter_map(|job| expected_of(job, after)).min_by_key(|expected| expected.by)
}

fn expected_of(job: &Job, after: DateTime<Utc>) -> Option<Expected> {
    let schedule = job.schedule.as_ref()?;
    let firing = schedule.next_after(after)?;
    // A schedule that fires for the last time has no interval.
    let every = schedule.next_after(firing).map_or_else(TimeDelta::zero, |next| next - firing);
    let by = firing.checked_add_signed(time_to_read(job, every))?;
    Some(Expected { by, every_secs: every.num_seconds() })
}

/// How long after a firing a success is late, if firings are `every` apart.
fn time_to_read(job: &Job, every: TimeDelta) -> TimeDelta {
    TimeDelta::from_std(job.settle).unwrap_or_default() + GRACE_MIN.max(every / GRACE_PART)
}

/// The longest time after a success that a stream is not late, for tools that know no schedule: the longest time
/// between two firings, and the time to read. The job with the shortest time decides. `None` if no job has a schedule
/// and is not paused. The same schedules always give the same time.
pub fn longest_wait(jobs: &[&Job]) -> Option<TimeDelta> {
    let waits = jobs.iter().filter(|job| !job.paused).filter_map(|job| {
        let gap = longest_gap(job.schedule.as_ref()?);
        Some(gap + time_to_read(job, gap))
    });
    waits.min()
}

/// The longest time between two firings of about a year; of a fortnight if it fires every few minutes. May be too short
/// by [`GAP_STEP`].
fn longest_gap(schedule: &Schedule) -> TimeDelta {
    let begin = DateTime::UNIX_EPOCH + GAP_FROM;
    let (mut at, mut longest) = (begin, TimeDelta::zero());
    for number in 0..GAP_STEPS_MAX {
        let Some(next) = schedule.next_after(at) else { break };
        // The first one is counted from a moment at which it need not have fired.
        if number > 0 {
            longest = longest.max(next - at);
        }
        at = if number > 0 { next.max(at + GAP_STEP) } else { next };
        if number >= GAPS_MIN && at - begin > GAP_WITHIN {
            break;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Warehouse;
    use crate::cron::{CatchUp, Schedule};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// A job without a schedule.
    fn job() -> Job {
        Job {
            name: "job".to_owned(),
            connection: "acme".to_owned(),
            streams: Vec::new(),
            schedule: None,
            timezone: chrono_tz::UTC,
            catch_up: CatchUp::Latest,
            start: chrono::NaiveDate::default(),
            settle: Duration::from_mins(10),
            priority: 0,
            timeout: Duration::from_hours(6),
            paused: false,
            hold_below: 80,
            warehouse: Warehouse::default(),
            push: None,
        }
    }

    fn scheduled(schedule: &str, zone: chrono_tz::Tz) -> Job {
        Job { schedule: Some(Schedule::parse(schedule, zone).unwrap()), ..job() }
    }

    #[test]
    fn p11_a_stream_is_expected_after_the_firing_that_follows_its_success() {
        let berlin = chrono_tz::Europe::Berlin;
        for (schedule, after, by, every) in [
            ("15 * * * *", "2026-01-05T10:16:00Z", "2026-01-05T11:40:00Z", 3_600),
            // A tenth of a day is more than 15 minutes.
            ("0 3 * * *", "2026-01-05T02:20:00Z", "2026-01-06T04:34:00Z", 86_400),
            // On Friday the next firing is on Monday, and the interval after it is a day.
            ("0 3 * * MON-FRI", "2026-01-09T02:20:00Z", "2026-01-12T04:34:00Z", 86_400),
            // The clocks change on the 29th of March.
            ("0 12 * * *", "2026-03-28T11:30:00Z", "2026-03-29T12:34:00Z", 86_400),
        ] {
            let found = expected(&[&scheduled(schedule, berlin)], at(after)).unwrap();
            assert_eq!(found, Expected { by: at(by), every_secs: every }, "{schedule} after {after}");
        }
    }

    #[test]
    fn p11_the_longest_wait_covers_nights_and_weekends() {
        let wait = |schedule: &str| longest_wait(&[&scheduled(schedule, chrono_tz::Europe::Berlin)]).unwrap();
        for (schedule, minutes) in [
            ("* * * * *", 1 + 10 + 15),
            ("*/20 * * * * *", 1 + 10 + 15),
            ("*/5 * * * *", 5 + 10 + 15),
            ("0 * * * *", 60 + 10 + 15),
            // A day has 25 hours when the clocks are set back.
            ("0 3 * * *", 25 * 60 + 10 + 150),
            // From Friday evening to Monday morning.
            ("*/10 8-17 * * MON-FRI", 62 * 60 + 10 + 10 + 373),
            ("0 0 1 * *", 31 * 1_440 + 60 + 10 + 4_470),
            ("0 0 29 2 *", 1_461 * 1_440 + 10 + 210_384),
        ] {
            let late = wait(schedule).num_minutes() - minutes;
            assert!(
                (-1..=60).contains(&late),
                "{schedule}: {} instead of {minutes} minutes",
                wait(schedule).num_minutes()
            );
        }
        let (hourly, daily) = (scheduled("0 * * * *", chrono_tz::UTC), scheduled("0 3 * * *", chrono_tz::UTC));
        assert_eq!(longest_wait(&[&daily, &hourly]).unwrap(), TimeDelta::minutes(85));
        assert_eq!(longest_wait(&[&Job { paused: true, ..hourly }, &job()]), None);
    }

    #[test]
    fn p11_the_job_that_fires_first_decides_and_paused_jobs_and_those_without_schedule_never() {
        let (hourly, daily) = (scheduled("0 * * * *", chrono_tz::UTC), scheduled("0 3 * * *", chrono_tz::UTC));
        let after = at("2026-01-05T10:16:00Z");
        let found = expected(&[&daily, &hourly], after).unwrap();
        assert_eq!(found.every_secs, 3_600);
        let paused = Job { paused: true, ..hourly };
        assert_eq!(expected(&[&paused, &daily], after).unwrap().every_secs, 86_400);
        assert_eq!(expected(&[&paused, &job()], after), None);
    }
}
