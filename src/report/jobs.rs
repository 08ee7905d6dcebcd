//! The jobs of the configuration: when they run, and whether they succeed.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::{AFTER_NAME, CONNECTION, SEARCH};
use super::{Document, Parameter, Query, ROWS_MAX, ReadError, Reading};
use crate::config::Job;
use crate::store::history::{self, Run, RunFilter};
use crate::store::pause::{self, Pause};
use crate::store::session::Deadline as _;
use crate::store::status::{self, LastRun, Ongoing, firings_after};

/// Firings and runs on the page of a job.
const FIRINGS: usize = 5;
const RUNS: i64 = 30;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Jobs {
    pub at: DateTime<Utc>,
    /// Jobs that match, on all pages.
    pub total: usize,
    pub jobs: Vec<JobRow>,
    /// The parameter `after` of the next page.
    pub next: Option<String>,
}

/// A job of the configuration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JobRow {
    pub job: String,
    pub connection: String,
    pub schedule: Option<String>,
    /// The schedule in words, if it has a common pattern.
    pub words: Option<String>,
    pub timezone: String,
    /// Whether the configuration pauses it, which has no end.
    pub paused: bool,
    /// The pause that an operator has set, of the job or of everything.
    pub pause: Option<Pause>,
    /// `None` for a job that is paused, has no schedule, or never fires.
    pub next_firing: Option<DateTime<Utc>>,
    /// The unfinished run of an earlier firing. Until it has ended, no firing makes a run.
    pub after_run: Option<i64>,
    pub last_run: Option<LastRun>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JobPage {
    pub at: DateTime<Utc>,
    pub job: JobRow,
    /// `latest`, `all` or `none`: what happens to firings that were missed.
    pub catch_up: String,
    pub priority: i32,
    pub settle_seconds: u64,
    pub timeout_seconds: u64,
    /// In percent: a reading that reports a smaller share of the rows is held.
    pub hold_below: u8,
    /// Whether it sends rows to the vendor instead of reading.
    pub sends: bool,
    /// Whether it reads a stream that has days, which a backfill can read again. It is not in the document.
    #[serde(skip)]
    pub has_days: bool,
    pub firings: Vec<NextFiring>,
    pub streams: Vec<JobStreamState>,
    /// The last runs, newest first.
    pub runs: Vec<Run>,
}

/// A firing to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NextFiring {
    pub at: DateTime<Utc>,
    /// Whether the offset of the zone differs from that of the firing before, or of now.
    pub clocks_change: bool,
}

/// A stream of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct JobStreamState {
    pub stream: String,
    pub table: String,
    /// `None` if it was never planned nor read.
    pub state: Option<String>,
    pub complete_until: Option<DateTime<Utc>>,
    pub last_success_at: Option<DateTime<Utc>>,
}

impl JobRow {
    fn new(
        job: &Job,
        (last_run, ongoing): (Option<LastRun>, Option<Ongoing>),
        pauses: &[Pause],
        now: DateTime<Utc>,
    ) -> Self {
        let pause = pause::of_job(pauses, &job.name).cloned();
        let after = firings_after(now, pause.as_ref(), ongoing);
        Self {
            job: job.name.clone(),
            connection: job.connection.clone(),
            schedule: job.schedule.as_ref().map(|schedule| schedule.expression().to_owned()),
            words: job.schedule.as_ref().and_then(crate::cron::Schedule::words),
            timezone: job.timezone.name().to_owned(),
            paused: job.paused,
            next_firing: job.schedule.as_ref().filter(|_| !job.paused).and_then(|schedule| schedule.next_after(after)),
            pause,
            after_run: ongoing.map(|run| run.run_id),
            last_run,
        }
    }
}

impl Document for Jobs {
    const PATH: &'static str = "/jobs";
    const MEANING: &'static str = "The jobs of the configuration, by name.";
    const PARAMETERS: &'static [Parameter] = &[CONNECTION, SEARCH, AFTER_NAME];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let pattern = query.text("q").map(str::to_lowercase);
        let matches = |job: &&Job| {
            query.text("connection").is_none_or(|connection| job.connection == connection)
                && pattern
                    .as_ref()
                    .is_none_or(|pattern| format!("{} {}", job.name, job.connection).to_lowercase().contains(pattern))
        };
        let all: Vec<&Job> = reading.config.jobs.values().filter(matches).collect();
        let rest = all.iter().filter(|job| query.text("after").is_none_or(|after| &*job.name > after));
        let mut shown: Vec<&Job> = rest.take(ROWS_MAX + 1).copied().collect();
        let more = shown.len() > ROWS_MAX;
        shown.truncate(ROWS_MAX);
        let names: Vec<String> = shown.iter().map(|job| job.name.clone()).collect();
        let last = status::last_runs(reading.conn, &names).await?;
        let ongoing = status::ongoing(reading.conn, Some(names.as_slice())).await?;
        let runs = |job: &Job| (last.iter().find(|run| run.job == job.name).cloned(), ongoing.get(&job.name).copied());
        Ok(Some(Self {
            at: reading.now,
            total: all.len(),
            jobs: shown
                .iter()
                .map(|job| JobRow::new(job, runs(job), &reading.surroundings.pauses, reading.now))
                .collect(),
            next: shown.last().filter(|_| more).map(|job| job.name.clone()),
        }))
    }
}

impl Document for JobPage {
    const PATH: &'static str = "/jobs/{job}";
    const MEANING: &'static str = "One job: when it runs, and whether it succeeds.";

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let config = std::sync::Arc::clone(reading.config);
        let Some(job) = config.jobs.get(query.name("job")) else { return Ok(None) };
        let filter = RunFilter { job: Some(&job.name), limit: RUNS, ..RunFilter::default() };
        let runs = history::runs(&mut *reading.conn, filter).await?;
        let last = status::last_runs(reading.conn, std::slice::from_ref(&job.name)).await?.pop();
        let ongoing = status::ongoing(reading.conn, Some(std::slice::from_ref(&job.name))).await?.remove(&job.name);
        let row = JobRow::new(job, (last, ongoing), &reading.surroundings.pauses, reading.now);
        Ok(Some(Self {
            at: reading.now,
            catch_up: format!("{:?}", job.catch_up).to_lowercase(),
            priority: job.priority,
            settle_seconds: job.settle.as_secs(),
            timeout_seconds: job.timeout.as_secs(),
            hold_below: job.hold_below,
            sends: job.push.is_some(),
            has_days: job.streams.iter().any(|entry| entry.stream.windowed()),
            firings: firings(job, firings_after(reading.now, row.pause.as_ref(), ongoing)),
            streams: streams(reading, job).await?,
            job: row,
            runs,
        }))
    }
}

fn firings(job: &Job, now: DateTime<Utc>) -> Vec<NextFiring> {
    let Some(schedule) = job.schedule.as_ref().filter(|_| !job.paused) else { return Vec::new() };
    let offset = |at: DateTime<Utc>| at.with_timezone(&job.timezone).format("%z").to_string();
    let next = |at: &DateTime<Utc>| schedule.next_after(*at);
    let times: Vec<_> = std::iter::successors(next(&now), next).take(FIRINGS).collect();
    let before = std::iter::once(now).chain(times.iter().copied());
    let firing =
        |(at, before): (&DateTime<Utc>, _)| NextFiring { at: *at, clocks_change: offset(*at) != offset(before) };
    times.iter().zip(before).map(firing).collect()
}

async fn streams(reading: &mut Reading<'_>, job: &Job) -> Result<Vec<JobStreamState>, sqlx::Error> {
    let names: Vec<String> = job.streams.iter().map(|entry| entry.stream.name.clone().into_owned()).collect();
    let known = sqlx::query!(
        r#"
        select stream as "stream!", state as "state!", complete_until, last_success_at
        from tidegate.stream_state
        where connection = $1 and stream = any($2)
        "#,
        job.connection,
        &names,
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await?;
    let state = |entry: &crate::config::JobStream| {
        let known = known.iter().find(|known| known.stream == entry.stream.name);
        JobStreamState {
            stream: entry.stream.name.clone().into_owned(),
            table: format!("{}.{}", entry.stream.schema, entry.stream.name),
            state: known.map(|known| known.state.clone()),
            complete_until: known.and_then(|known| known.complete_until),
            last_success_at: known.and_then(|known| known.last_success_at),
        }
    };
    Ok(job.streams.iter().map(state).collect())
}
