//! The overview: whether anything is wrong, what is going on, what comes next, and how complete the data are.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use super::problems::{self, Problem};
use super::quotas::current_uses;
use super::summary::{ConnectionSummary, Part, shown, streams_and_differences, summaries};
use super::{Daemon, Document, LastDaemon, Query, ReadError, Reading, Standing, headline, state};
use crate::config::{Config, Job};
use crate::cron::NextFirings;
use crate::store::pause::{self, Pause};
use crate::store::session::Deadline as _;
use crate::store::status::{LATE, Ongoing, RETIRED, firings_after};

/// Problems, runs and firings shown; there may be more.
const PROBLEMS_MAX: usize = 20;
const RUNS_MAX: i64 = 15;
const FIRINGS_MAX: usize = 10;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Overview {
    /// When it was read, by the database's clock.
    pub at: DateTime<Utc>,
    pub version: &'static str,
    /// Whether the configuration on disk is wrong; the previous one is then in force.
    pub config_refused: bool,
    /// Whether something needs a person, in a sentence. It says that nothing does only if no stream is failed, held or
    /// late or has a gap, no problem is open, the database can be written to, a daemon runs, and the configuration on
    /// disk is in force.
    pub headline: String,
    /// Whether the database can only be read, so that nothing is loaded.
    pub only_reads: bool,
    /// The daemons that run: those that were seen within the last minute.
    pub daemons: Vec<Daemon>,
    /// If none runs, the one that was seen last, within a week.
    pub last_daemon: Option<LastDaemon>,
    /// How many streams are in each state. Every state is there; streams that no job reads are not counted.
    pub streams: Vec<StateCount>,
    /// What needs a person, worst first.
    pub problems: Vec<Problem>,
    pub problems_total: i64,
    pub running: Vec<RunProgress>,
    pub running_total: i64,
    /// Runs that wait, and runs of which a stream waits while a worker has them.
    pub waiting: Vec<Waiting>,
    pub waiting_total: i64,
    /// Runs that wait for a worker.
    pub queued_total: i64,
    /// The next firings of the jobs' schedules.
    pub next: Vec<Firing>,
    /// Connections with a problem, and those whose quotas are used most.
    pub connections: Vec<ConnectionSummary>,
    pub connections_total: usize,
    /// Totals of vendors that differ from the number of our rows.
    pub differences: i64,
    /// Whether Tidegate works. The fields above state the same.
    #[serde(skip)]
    pub standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateCount {
    pub state: &'static str,
    pub streams: i64,
}

/// A run that a worker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunProgress {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    pub kind: String,
    pub started_at: Option<DateTime<Utc>>,
    pub streams: i64,
    pub streams_done: i64,
    pub slices_planned: i64,
    pub slices_done: i64,
    pub rows_read: i64,
}

/// A run that waits, or of which a stream waits while a worker has it.
#[expect(clippy::struct_field_names, reason = "the names are those of the API")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waiting {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    /// What for; `None` if it only waits for its time.
    pub waiting_for: Option<String>,
    /// `None` if the time has come, and the run waits for a worker.
    pub until: Option<DateTime<Utc>>,
}

/// A firing to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Firing {
    pub job: String,
    pub at: DateTime<Utc>,
    pub timezone: String,
    /// The unfinished run of an earlier firing of the job. Until it has ended, no firing makes a run.
    pub after_run: Option<i64>,
}

impl Document for Overview {
    const PATH: &'static str = "/";
    const MEANING: &'static str = "What needs a person, what goes on, what comes next, and how complete the data are.";

    async fn read(reading: &mut Reading<'_>, _query: &Query) -> Result<Option<Self>, ReadError> {
        let now = reading.now;
        let (parts, late_and_wait) = parts(reading.conn).await?;
        let problems = problems::open(reading.conn, PROBLEMS_MAX).await?;
        let uses = current_uses(reading, None).await?;
        let shown = shown(&parts, reading.config, &uses);
        let (streams, differences) = streams_and_differences(reading.conn, &shown).await?;
        let (mut running, mut waiting, mut held_up, mut queued) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut ongoing = HashMap::new();
        for run in unfinished(reading.conn).await? {
            if run.kind == "schedule" {
                let until = (run.state == "waiting").then_some(run.due_at);
                ongoing.insert(run.job.clone(), Ongoing { run_id: run.run_id, until });
            }
            // Of a run that a worker has, a stream may wait while the others are read, or with all of them.
            if run.state == "running" && run.is_waiting {
                held_up.push(Waiting::from(&run));
            }
            if !run.is_shown {
                continue;
            }
            match &*run.state {
                "running" => running.push(run),
                "waiting" => waiting.push(run),
                _ => queued.push(run),
            }
        }
        let total = |runs: &[Unfinished]| runs.first().map_or(0, |run| run.total);
        let waiting_total = total(&waiting) + i64::try_from(held_up.len()).unwrap_or(i64::MAX);
        let mut waiting: Vec<Waiting> = waiting.iter().map(Waiting::from).chain(held_up).collect();
        waiting.sort_by_key(|run| (run.until, run.run_id));
        waiting.truncate(usize::try_from(RUNS_MAX).unwrap_or(usize::MAX));
        let counts = count_states(parts.iter().map(|part| (&*part.state, part.streams)));
        let standing = Standing::new(reading.surroundings, reading.config_refused, reading.in_daemon);
        Ok(Some(Self {
            at: now,
            version: env!("CARGO_PKG_VERSION"),
            config_refused: standing.config_refused,
            headline: headline(&standing, &problems, &counts, late_and_wait),
            only_reads: reading.surroundings.only_reads,
            daemons: reading.surroundings.daemons.clone(),
            last_daemon: reading.surroundings.last_daemon.clone(),
            streams: counts,
            problems: problems.problems,
            problems_total: problems.total,
            running_total: total(&running),
            running: running.into_iter().map(RunProgress::from).collect(),
            waiting,
            waiting_total,
            queued_total: total(&queued),
            next: next_firings(reading.config, &reading.surroundings.pauses, &ongoing, now),
            connections: summaries(&shown, (&parts, &streams), &uses, (reading.config, now)),
            connections_total: reading.config.connections.len(),
            differences,
            standing,
        }))
    }
}

impl Overview {
    /// All streams that a job reads.
    pub fn streams_total(&self) -> i64 {
        self.streams.iter().map(|count| count.streams).sum()
    }

    /// Streams that are failed, held, late or have a gap.
    pub fn streams_unwell(&self) -> i64 {
        let unwell = |count: &&StateCount| headline::UNWELL.iter().any(|(state, ..)| *state == count.state);
        self.streams.iter().filter(unwell).map(|count| count.streams).sum()
    }
}

/// How many streams are in each state, without those that no job reads. Every other state is there.
pub fn count_states<'s>(streams: impl Iterator<Item = (&'s str, i64)>) -> Vec<StateCount> {
    let all = state::STATES.iter().filter(|state| state.name != RETIRED);
    let mut counts: Vec<StateCount> = all.map(|state| StateCount { state: state.name, streams: 0 }).collect();
    for (state, number) in streams {
        if let Some(count) = counts.iter_mut().find(|count| count.state == state) {
            count.streams += number;
        }
    }
    counts
}

/// The states of all streams, and how many of the late ones wait. Those that no job reads are left out.
async fn parts(conn: &mut PgConnection) -> Result<(Vec<Part>, i64), sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select
            connection as "connection!",
            state as "state!",
            count(*) as "streams!",
            count(*) filter (where is_waiting) as "waiting!"
        from tidegate.stream_state
        group by connection, state
        "#,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    let late_and_wait = rows.iter().filter(|row| row.state == LATE).map(|row| row.waiting).sum();
    // In the statement, the state of each stream would be computed twice.
    let parts = rows.into_iter().filter(|row| row.state != RETIRED).map(|row| Part {
        connection: row.connection,
        state: row.state,
        streams: row.streams,
    });
    Ok((parts.collect(), late_and_wait))
}

/// A run that has not ended.
struct Unfinished {
    /// Runs in the same state.
    total: i64,
    run_id: i64,
    job: String,
    connection: String,
    kind: String,
    state: String,
    started_at: Option<DateTime<Utc>>,
    streams: i64,
    streams_done: i64,
    slices_planned: i64,
    slices_done: i64,
    rows_read: i64,
    waiting_for: Option<String>,
    until: Option<DateTime<Utc>>,
    due_at: DateTime<Utc>,
    /// Whether a stream of it waits. Of a run that a worker has, one whose time has come only waits for its turn.
    is_waiting: bool,
    /// Whether it is listed. Others are read because the firings of their job make no run.
    is_shown: bool,
}

/// The runs that began first, those that wait for the shortest time, and the first that waits for a worker. Also all
/// runs of firings, of which each job has at most one.
async fn unfinished(conn: &mut PgConnection) -> Result<Vec<Unfinished>, sqlx::Error> {
    sqlx::query_as!(
        Unfinished,
        r#"
        select
            run.total as "total!",
            run.id as "run_id!",
            run.job as "job!",
            run.connection as "connection!",
            run.kind as "kind!",
            run.state as "state!",
            run.started_at,
            task.streams as "streams!",
            task.streams_done as "streams_done!",
            task.slices_planned as "slices_planned!",
            task.slices_done as "slices_done!",
            task.rows_read as "rows_read!",
            task.waiting_for,
            waits.until as "until?",
            run.due_at as "due_at!",
            task.waiting_until is not null as "is_waiting!",
            run.is_shown as "is_shown!"
        from (
            select *, place <= case state when 'queued' then 1 else $1::bigint end as is_shown
            from (
                select
                    id, job, connection, kind, state, started_at, due_at,
                    count(*) over (partition by state) as total,
                    row_number() over (
                        partition by state order by case state when 'running' then started_at else due_at end, id
                    ) as place
                from tidegate.run
                where state in ('queued', 'waiting', 'running')
            ) as unfinished
        ) as run
        cross join lateral (
            select
                count(*) as streams,
                count(*) filter (where finished_at is not null) as streams_done,
                coalesce(sum(slices_planned), 0)::bigint as slices_planned,
                coalesce(sum(slices_done), 0)::bigint as slices_done,
                coalesce(sum(rows_read), 0)::bigint as rows_read,
                min(waiting_until) filter (where is_waiting) as waiting_until,
                (array_agg(waiting_for order by waiting_until, stream) filter (where is_waiting))[1] as waiting_for
            from (
                select
                    *,
                    state = 'waiting'
                    and (run.state = 'waiting' or waiting_until > statement_timestamp()) as is_waiting
                from tidegate.task
                where task.run_id = run.id
            ) as known
        ) as task
        cross join lateral (
            select coalesce(task.waiting_until, run.due_at) as at
        ) as resumes
        cross join lateral (
            select case when resumes.at > statement_timestamp() then resumes.at end as until
        ) as waits
        -- Workers have few runs.
        where run.is_shown or run.kind = 'schedule' or run.state = 'running'
        order by run.state, run.place
        "#,
        RUNS_MAX,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

impl From<Unfinished> for RunProgress {
    fn from(run: Unfinished) -> Self {
        Self {
            run_id: run.run_id,
            job: run.job,
            connection: run.connection,
            kind: run.kind,
            started_at: run.started_at,
            streams: run.streams,
            streams_done: run.streams_done,
            slices_planned: run.slices_planned,
            slices_done: run.slices_done,
            rows_read: run.rows_read,
        }
    }
}

impl From<&Unfinished> for Waiting {
    fn from(run: &Unfinished) -> Self {
        Self {
            run_id: run.run_id,
            job: run.job.clone(),
            connection: run.connection.clone(),
            waiting_for: run.waiting_for.clone(),
            until: run.until,
        }
    }
}

/// The next firings of all jobs, the earliest first.
fn next_firings(
    config: &Config,
    pauses: &[Pause],
    ongoing: &HashMap<String, Ongoing>,
    now: DateTime<Utc>,
) -> Vec<Firing> {
    let mut next: BTreeMap<(DateTime<Utc>, &str), &str> = BTreeMap::new();
    let mut firings = NextFirings::default();
    let run_of = |job: &str| ongoing.get(job).copied();
    let after = |job: &Job| firings_after(now, pause::of_job(pauses, &job.name), run_of(&job.name));
    for job in config.jobs.values().filter(|job| !job.paused) {
        if let Some(at) = job.schedule.as_ref().and_then(|schedule| firings.after(schedule, after(job))) {
            next.insert((at, &job.name), job.timezone.name());
            if next.len() > FIRINGS_MAX {
                next.pop_last();
            }
        }
    }
    next.into_iter()
        .map(|((at, job), timezone)| Firing {
            job: job.to_owned(),
            at,
            timezone: timezone.to_owned(),
            after_run: run_of(job).map(|run| run.run_id),
        })
        .collect()
}
