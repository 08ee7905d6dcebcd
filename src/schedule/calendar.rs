//! What the process knows of each job's schedule between two database reads. It needs no I/O, so a thousand jobs that
//! are not due cost almost nothing.
//!
//! What is due still follows from Postgres alone. A job whose next firing is in the future cannot be due, whatever
//! other processes have done, because the settled time only grows. So until then the job is not read, for at most a
//! minute, since someone may have changed rows by hand.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};

use crate::config::Job;
use crate::cron::{CatchUp, Schedule};
use crate::store::trouble::Repeats;

/// Maximum time without reading a job.
const QUIET_MAX: Duration = Duration::seconds(60);

/// The schedules of a process's jobs.
#[derive(Debug, Default)]
pub struct Calendar {
    entries: HashMap<Box<str>, Entry>,
    /// Limits how often the errors of each job are logged. Has only jobs with an error the last time.
    trouble: HashMap<String, Repeats>,
    /// Whether another process enqueued something, the last time that this one looked.
    pub(super) others_enqueue: bool,
}

/// What is known of a job. There may be ten thousand.
#[derive(Debug)]
struct Entry {
    schedule: Schedule,
    catch_up: CatchUp,
    paused: bool,
    /// The job is not due before this time.
    quiet_until: Option<DateTime<Utc>>,
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
            let jobs = jobs.iter().filter(|job| job.schedule.is_some());
            let names: HashSet<&str> = jobs.map(|job| &*job.name).collect();
            self.entries.retain(|name, _| names.contains(&**name));
            self.trouble.retain(|name, _| names.contains(&**name));
        }
        candidates
    }

    /// When the next of the jobs may be due that are not at `now`.
    pub fn next_look(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.entries.values().filter_map(|entry| entry.quiet_until).filter(|until| *until > now).min()
    }

    /// Whether another process enqueued something, the last time that this one looked.
    pub const fn others_enqueue(&self) -> bool {
        self.others_enqueue
    }

    /// Records that nothing of `job` is due at `now`: the earliest it can be due is the next firing.
    pub(super) fn rests(&mut self, job: &Job, now: DateTime<Utc>) {
        if let Some(entry) = self.entries.get_mut(&*job.name) {
            let limit = now + QUIET_MAX;
            let next = entry.schedule.next_after(now);
            entry.quiet_until = Some(next.map_or(limit, |next| next.min(limit)));
        }
    }

    /// Logs why `job` could not be enqueued, unless that was logged a moment ago.
    pub(super) fn cannot_enqueue(&mut self, job: &Job, error: &sqlx::Error) {
        let trouble = self.trouble.entry(job.name.clone()).or_default();
        let span = tracing::info_span!("job", job = job.name);
        span.in_scope(|| trouble.warn("the job could not be enqueued; it is retried", error));
    }

    /// Whether `job` could not be enqueued the last time.
    pub(super) fn is_in_trouble(&self, job: &Job) -> bool {
        self.trouble.contains_key(&job.name)
    }

    /// Records that Postgres refused nothing of `job`.
    pub(super) fn can_enqueue(&mut self, job: &Job) {
        self.trouble.remove(&job.name);
    }

    /// What is known of a job, valid while its settings are unchanged.
    fn entry(&mut self, job: &Job, schedule: &Schedule) -> &Entry {
        let is_same =
            |known: &Entry| (&known.schedule, known.catch_up, known.paused) == (schedule, job.catch_up, job.paused);
        if !self.entries.get(&*job.name).is_some_and(is_same) {
            let new =
                Entry { schedule: schedule.clone(), catch_up: job.catch_up, paused: job.paused, quiet_until: None };
            self.entries.insert(job.name.as_str().into(), new);
        }
        &self.entries[&*job.name]
    }
}
