//! What the process knows of each job's schedule between two database reads. It needs no I/O, so a thousand jobs that
//! are not due cost almost nothing.
//!
//! What is due still follows from Postgres alone. A job whose next firing is in the future cannot be due, whatever
//! other processes have done, because the settled time only grows. So until then the job is not read, for at most a
//! minute, since someone may have changed rows by hand.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};

use crate::config::Job;
use crate::cron::{CatchUp, Schedule};
use crate::store::trouble::Repeats;

/// Maximum time without reading a job.
const QUIET_MAX: Duration = Duration::seconds(60);

/// The schedules of a process's jobs.
#[derive(Debug, Default)]
pub struct Calendar {
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    schedule: Schedule,
    catch_up: CatchUp,
    paused: bool,
    /// The job is not due before this time.
    quiet_until: Option<DateTime<Utc>>,
    /// Limits how often its enqueue errors are logged.
    trouble: Repeats,
}

/// A job that may be due.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) job: &'a Job,
    pub(super) schedule: &'a Schedule,
}

impl Calendar {
    /// Those of `jobs` that have a schedule and may be due at `now`. Drops the schedules of other jobs.
    pub(super) fn candidates<'a>(&mut self, jobs: &[&'a Job], now: DateTime<Utc>) -> Vec<Candidate<'a>> {
        let mut candidates = Vec::new();
        let mut scheduled = 0;
        for &job in jobs {
            let Some(schedule) = &job.schedule else { continue };
            scheduled += 1;
            if self.entry(job, schedule).quiet_until.is_none_or(|until| until <= now) {
                candidates.push(Candidate { job, schedule });
            }
        }
        if self.entries.len() > scheduled {
            self.entries.retain(|name, _| jobs.iter().any(|job| job.schedule.is_some() && job.name == *name));
        }
        candidates
    }

    /// Records that nothing of `job` is due at `now`: the earliest it can be due is the next firing.
    pub(super) fn rests(&mut self, job: &Job, now: DateTime<Utc>) {
        if let Some(entry) = self.entries.get_mut(&job.name) {
            let limit = now + QUIET_MAX;
            let next = entry.schedule.next_after(now);
            entry.quiet_until = Some(next.map_or(limit, |next| next.min(limit)));
        }
    }

    /// Logs why `job` could not be enqueued, unless that was logged a moment ago.
    pub(super) fn cannot_enqueue(&self, job: &Job, error: &sqlx::Error) {
        if let Some(entry) = self.entries.get(&job.name) {
            let span = tracing::info_span!("job", job = job.name);
            span.in_scope(|| entry.trouble.warn("the job could not be enqueued; it is retried", error));
        }
    }

    /// What is known of a job, valid while its settings are unchanged.
    fn entry(&mut self, job: &Job, schedule: &Schedule) -> &Entry {
        let new = || Entry {
            schedule: schedule.clone(),
            catch_up: job.catch_up,
            paused: job.paused,
            quiet_until: None,
            trouble: Repeats::default(),
        };
        let entry = self.entries.entry(job.name.clone()).or_insert_with(new);
        if (&entry.schedule, entry.catch_up, entry.paused) != (schedule, job.catch_up, job.paused) {
            *entry = new();
        }
        entry
    }
}
