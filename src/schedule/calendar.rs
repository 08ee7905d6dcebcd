//! What the process knows of each job's schedule between two looks: only arithmetic, so that a thousand jobs that are not due
//! cost next to nothing.
//!
//! What is due still follows from Postgres alone. A job whose next firing is known to be in the future cannot be due, whatever
//! other processes did meanwhile, for what is settled only ever grows; so until then nobody asks about it. That lasts a
//! minute at most, for rows that someone changes by hand.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;

use super::Schedule;
use super::enqueue::EnqueueError;
use crate::config::{CatchUp, Job};

/// A job is not left alone for longer than this.
const QUIET_MAX: Duration = Duration::seconds(60);

/// The schedules of a process's jobs.
#[derive(Debug, Default)]
pub struct Calendar {
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    expression: String,
    timezone: Tz,
    catch_up: CatchUp,
    paused: bool,
    schedule: Schedule,
    /// The job is not due before.
    quiet_until: Option<DateTime<Utc>>,
}

/// A job that may be due.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) job: &'a Job,
    pub(super) expression: &'a str,
}

impl Calendar {
    /// Those of `jobs` that have a schedule and may be due at `now`. Schedules of other jobs are forgotten.
    pub(super) fn candidates<'a>(
        &mut self,
        jobs: &[&'a Job],
        now: DateTime<Utc>,
    ) -> Result<Vec<Candidate<'a>>, EnqueueError> {
        let mut candidates = Vec::new();
        let mut scheduled = 0;
        for &job in jobs {
            let Some(expression) = job.schedule.as_deref() else { continue };
            scheduled += 1;
            if self.entry(job, expression)?.quiet_until.is_none_or(|until| until <= now) {
                candidates.push(Candidate { job, expression });
            }
        }
        if self.entries.len() > scheduled {
            self.entries.retain(|name, _| jobs.iter().any(|job| job.schedule.is_some() && job.name == *name));
        }
        Ok(candidates)
    }

    /// The schedule of a candidate.
    pub(super) fn schedule(&self, job: &Job) -> Option<&Schedule> {
        self.entries.get(&job.name).map(|entry| &entry.schedule)
    }

    /// Nothing of `job` is due at `now`: the next firing after it is the next that can be.
    pub(super) fn rests(&mut self, job: &Job, now: DateTime<Utc>) {
        if let Some(entry) = self.entries.get_mut(&job.name) {
            let limit = now + QUIET_MAX;
            let next = entry.schedule.next_after(now);
            entry.quiet_until = Some(next.map_or(limit, |next| next.min(limit)));
        }
    }

    fn entry(&mut self, job: &Job, expression: &str) -> Result<&Entry, EnqueueError> {
        let known = self.entries.get(&job.name).is_some_and(|entry| {
            (entry.expression.as_str(), entry.timezone, entry.catch_up, entry.paused)
                == (expression, job.timezone, job.catch_up, job.paused)
        });
        if !known {
            let schedule = Schedule::parse(expression, job.timezone)
                .map_err(|source| EnqueueError::Schedule { job: job.name.clone(), source })?;
            let entry = Entry {
                expression: expression.to_owned(),
                timezone: job.timezone,
                catch_up: job.catch_up,
                paused: job.paused,
                schedule,
                quiet_until: None,
            };
            self.entries.insert(job.name.clone(), entry);
        }
        Ok(&self.entries[&job.name])
    }
}
