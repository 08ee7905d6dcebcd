//! What the process knows of each job's schedule between two looks: only arithmetic, so that a thousand jobs that are not due
//! cost next to nothing.
//!
//! What is due still follows from Postgres alone. A job whose next firing is known to be in the future cannot be due, whatever
//! other processes did meanwhile, for what is settled only ever grows; so until then nobody asks about it. That lasts a
//! minute at most, for rows that someone changes by hand.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};

use crate::config::Job;
use crate::cron::{CatchUp, Schedule};
use crate::store::trouble::Repeats;

/// A job is not left alone for longer than this.
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
    /// The job is not due before.
    quiet_until: Option<DateTime<Utc>>,
    /// Why it could not be enqueued.
    trouble: Repeats,
}

/// A job that may be due.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) job: &'a Job,
    pub(super) schedule: &'a Schedule,
}

impl Calendar {
    /// Those of `jobs` that have a schedule and may be due at `now`. Schedules of other jobs are forgotten.
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

    /// Nothing of `job` is due at `now`: the next firing after it is the next that can be.
    pub(super) fn rests(&mut self, job: &Job, now: DateTime<Utc>) {
        if let Some(entry) = self.entries.get_mut(&job.name) {
            let limit = now + QUIET_MAX;
            let next = entry.schedule.next_after(now);
            entry.quiet_until = Some(next.map_or(limit, |next| next.min(limit)));
        }
    }

    /// Tells why `job` could not be enqueued, unless that was told a moment ago.
    pub(super) fn cannot_enqueue(&self, job: &Job, error: &sqlx::Error) {
        if let Some(entry) = self.entries.get(&job.name) {
            let span = tracing::info_span!("job", job = job.name);
            span.in_scope(|| entry.trouble.warn("the job could not be enqueued; it is tried again", error));
        }
    }

    /// What is known of a job, as long as its settings are the same.
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
