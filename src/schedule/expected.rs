//! When a stream is late: judged by the schedules of the jobs that read it (promise 11).

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::Job;
use crate::store::stream::Expected;

/// How long a run may take before its stream is late, at least.
const GRACE_MIN: TimeDelta = TimeDelta::minutes(15);
/// The same as a part of the time between two firings.
const GRACE_PART: i32 = 10;

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
    let settle = TimeDelta::from_std(job.settle).unwrap_or_default();
    let by = firing.checked_add_signed(settle)?.checked_add_signed(GRACE_MIN.max(every / GRACE_PART))?;
    Some(Expected { by, every_secs: every.num_seconds() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
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
