//! What ran, what failed and how far each configured stream is: read-only queries for the status page, the metrics and
//! some commands. None of them reads rows of the warehouse.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use super::pause::Pause;
use super::session::Deadline as _;

/// The configured jobs and streams. Others are not shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    pub jobs: Vec<String>,
    pub streams: Streams,
}

/// The streams that jobs read, each once: the connection and the stream at the same index of both lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streams {
    pub connections: Vec<String>,
    pub names: Vec<String>,
}

impl Configured {
    /// The connections of the streams, each once.
    pub fn connections(&self) -> Vec<String> {
        let connections: BTreeSet<&String> = self.streams.connections.iter().collect();
        connections.into_iter().cloned().collect()
    }
}

/// A stream, and a job that reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    pub connection: String,
    pub stream: String,
    pub job: String,
}

/// Which jobs of running processes read which streams, as these processes have stored it.
pub async fn readers(conn: &mut PgConnection) -> Result<Vec<Reader>, sqlx::Error> {
    sqlx::query_as!(
        Reader,
        r#"
        select stream.connection, stream.stream, reader.job as "job!"
        from tidegate.stream
        cross join unnest(stream.jobs) as reader (job)
        order by stream.connection, stream.stream, reader.job
        "#,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// The states of a stream: `state` of the view `tidegate.stream_state`, which defines them.
pub const STREAM_STATES: [&str; 10] =
    ["retired", "paused", "failed", "held", "late", "gap", "waiting", "reading", "pending", "on time"];
/// The state of a stream that no job reads any more.
pub const RETIRED: &str = "retired";
/// The state of a stream while every job that reads it is paused.
pub const PAUSED: &str = "paused";

/// The state of a stream that waits for a limit, an export or a fault to pass, and is not late.
pub const WAITING: &str = "waiting";
/// The state of a stream that did not succeed in time.
pub const LATE: &str = "late";

/// How many runs are searched for failures.
const RUNS_SEARCHED: i64 = 1_000;

/// The newest run of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LastRun {
    pub job: String,
    pub run_id: i64,
    pub kind: String,
    pub state: String,
    pub scheduled_for: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    pub hint: Option<String>,
}

/// From when to when a stream is complete.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StreamState {
    pub connection: String,
    pub stream: String,
    pub table: String,
    /// `retired`, `paused`, `failed`, `held`, `late`, `gap`, `waiting`, `reading`, `pending` or `on time`.
    pub state: String,
    /// Start of the part without gaps. `None` for lists.
    pub covers_from: Option<DateTime<Utc>>,
    /// End of the part without gaps and held slices; for a list, when its last complete reading began.
    pub complete_until: Option<DateTime<Utc>>,
    /// Whether something before the newest data was not read.
    pub has_gap: bool,
    /// Whether it did not succeed within the time that its schedule allows.
    pub late: bool,
    /// Whether a run waits for a limit, an export or a fault to pass before it reads the stream further. It is not in
    /// the document.
    #[serde(skip)]
    pub waits: bool,
    /// After which it is late.
    pub expected_by: Option<DateTime<Utc>>,
    /// The end of the newest slice that is finished and not held. `None` if there is none, and for lists.
    pub read_until: Option<DateTime<Utc>>,
    /// When a task last read the stream to its end, with nothing held.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Age of the newest data: seconds since `read_until`, or since the last success of a list.
    pub freshness_seconds: Option<f64>,
    /// Slices whose last reading was too doubtful to delete rows (promise 10).
    pub held_slices: i64,
}

impl StreamState {
    /// Whether its state is `late` and it waits. That it is late is then not reported: to wait is not an error.
    pub fn is_late_and_waits(&self) -> bool {
        self.state == LATE && self.waits
    }
}

/// A stream of a run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failure {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    pub stream: String,
    pub finished_at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    pub hint: Option<String>,
}

/// Runs that have not ended, by state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unfinished {
    pub state: String,
    pub runs: i64,
}

/// How many streams of a job failed when they were last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingStreams {
    pub job: String,
    pub connection: String,
    pub streams: i64,
}

/// How many streams of each of these jobs failed when they were last read. A failure ends with the next success.
pub async fn failing(conn: &mut PgConnection, jobs: &[String]) -> Result<Vec<FailingStreams>, sqlx::Error> {
    sqlx::query_as!(
        FailingStreams,
        r#"
        select
            reader.job as "job!",
            stream.connection,
            count(*) filter (where stream.failures > 0 or stream.needs_operator) as "streams!"
        from tidegate.stream
        cross join unnest(stream.jobs) as reader (job)
        where reader.job = any($1)
        group by reader.job, stream.connection
        order by reader.job, stream.connection
        "#,
        jobs,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// The newest run of each of `jobs` that ever ran.
pub async fn last_runs(conn: &mut PgConnection, jobs: &[String]) -> Result<Vec<LastRun>, sqlx::Error> {
    sqlx::query_as!(
        LastRun,
        r#"
        select
            run.job,
            run.id as run_id,
            run.kind,
            run.state,
            run.scheduled_for,
            run.created_at,
            run.started_at,
            run.finished_at,
            run.error,
            run.hint
        from (select distinct unnest($1::text[]) as name) as job
        cross join lateral (
            select * from tidegate.run where run.job = job.name order by run.id desc limit 1
        ) as run
        order by run.job
        "#,
        jobs,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// A run of an earlier firing that has not ended. Until it has, the firings of its job make no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ongoing {
    pub run_id: i64,
    /// Until when it waits; `None` if it does not wait.
    pub until: Option<DateTime<Utc>>,
}

/// The unfinished run of an earlier firing of each of these jobs that has one.
pub async fn ongoing(conn: &mut PgConnection, jobs: &[String]) -> Result<HashMap<String, Ongoing>, sqlx::Error> {
    let runs = sqlx::query!(
        "
        select job, id, case when state = 'waiting' then due_at end as until
        from tidegate.run
        where job = any($1) and kind = 'schedule' and state in ('queued', 'waiting', 'running')
        order by id
        ",
        jobs,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    Ok(runs.into_iter().map(|run| (run.job, Ongoing { run_id: run.id, until: run.until })).collect())
}

/// The time after which the firings of a job count, at the earliest: after now, a pause and the wait of an earlier run.
/// When these end, `catch_up` may make a run before the next firing.
pub fn firings_after(now: DateTime<Utc>, pause: Option<&Pause>, ongoing: Option<Ongoing>) -> DateTime<Utc> {
    let ends = [pause.map(|pause| pause.until), ongoing.and_then(|run| run.until)];
    ends.into_iter().flatten().fold(now, Ord::max)
}

/// The streams of `of` that a run has begun or a daemon has planned, by connection and name.
pub async fn streams(conn: &mut PgConnection, of: &Streams) -> Result<Vec<StreamState>, sqlx::Error> {
    sqlx::query_as!(
        StreamState,
        r#"
        select
            known.connection as "connection!",
            known.stream as "stream!",
            known.table_schema || '.' || known.table_name as "table!",
            known.state as "state!",
            known.covers_from,
            known.complete_until,
            known.has_gap as "has_gap!",
            known.is_late as "late!",
            known.is_waiting as "waits!",
            known.expected_by,
            newest.read_until as "read_until?",
            known.last_success_at,
            -- The age of a list is that of its last success. Not negative after the clock was set back.
            case
                when coalesce(newest.read_until, known.last_success_at) > clock_timestamp() then 0
                else extract(epoch from clock_timestamp() - coalesce(newest.read_until, known.last_success_at))
            end::double precision as freshness_seconds,
            known.held_slices::bigint as "held_slices!"
        from tidegate.stream_state as known
        cross join lateral (
            -- A list has no window.
            select case when known.covers_from is not null then known.newest_data_until end as read_until
        ) as newest
        where (known.connection, known.stream) in (select * from unnest($1::text[], $2::text[]))
        order by known.connection, known.stream
        "#,
        &of.connections,
        &of.names,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// How many streams no job of any running process reads any more.
pub async fn retired(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "streams!" from tidegate.stream where jobs = '{}'"#)
        .fetch_one(conn)
        .in_time()
        .await
}

/// The newest failed tasks of what is configured, newest first.
pub async fn failures(
    conn: &mut PgConnection,
    configured: &Configured,
    limit: i64,
) -> Result<Vec<Failure>, sqlx::Error> {
    sqlx::query_as!(
        Failure,
        r#"
        select
            run.id as "run_id!",
            run.job as "job!",
            run.connection as "connection!",
            task.stream as "stream!",
            task.finished_at,
            task.error,
            task.hint
        from (select id, job, connection from tidegate.run order by id desc limit $2) as run
        join tidegate.task on task.run_id = run.id
        where
            task.state = 'failed'
            and run.job = any($3)
            and (run.connection, task.stream) in (select * from unnest($4::text[], $5::text[]))
        order by task.finished_at desc nulls last, run.id desc, task.stream
        limit $1
        "#,
        limit,
        RUNS_SEARCHED,
        &configured.jobs,
        &configured.streams.connections,
        &configured.streams.names,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// How many runs of `jobs` are queued, running and waiting. Always all three states.
pub async fn unfinished(conn: &mut PgConnection, jobs: &[String]) -> Result<Vec<Unfinished>, sqlx::Error> {
    sqlx::query_as!(
        Unfinished,
        r#"
        select
            states.state as "state!",
            -- Spelled out so that the partial index is used.
            (
                select count(*) from tidegate.run
                where run.state = states.state and run.state in ('queued', 'waiting', 'running') and run.job = any($1)
            ) as "runs!"
        from unnest(array['queued', 'running', 'waiting']) as states (state)
        "#,
        jobs,
    )
    .fetch_all(conn)
    .in_time()
    .await
}
