//! What ran, what failed and how far each configured stream is: read-only queries for the status page, the metrics and
//! some commands. None of them reads rows of the warehouse.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
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
    /// Age of the newest data that are not held: seconds since `read_until`, or since the last success of a list.
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
    let mut failing = sqlx::query_as!(
        FailingStreams,
        r#"
        select
            reader.job as "job!",
            stream.connection,
            count(*) filter (where stream.failures > 0 or stream.needs_operator) as "streams!"
        from tidegate.stream
        cross join unnest(stream.jobs) as reader (job)
        group by reader.job, stream.connection
        "#,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    // All streams are read in any case. To plan a statement with thousands of names takes longer than to execute it.
    let jobs: HashSet<&String> = jobs.iter().collect();
    failing.retain(|streams| jobs.contains(&streams.job));
    Ok(failing)
}

/// The newest run of each of `jobs`, which are different, that ever ran; in any order.
pub async fn last_runs(conn: &mut PgConnection, jobs: &[String]) -> Result<Vec<LastRun>, sqlx::Error> {
    sqlx::query_as!(
        LastRun,
        r#"
        with newest as materialized (
            -- Most jobs have a run among the newest, which are stored together. Only the others are searched one by
            -- one.
            select distinct on (run.job collate "C") run.*
            from (select * from tidegate.run order by id desc limit 2 * cardinality($1::text[])) as run
            order by run.job collate "C", run.id desc
        )

        select
            newest.job as "job!",
            newest.id as "run_id!",
            newest.kind as "kind!",
            newest.state as "state!",
            newest.scheduled_for,
            newest.created_at as "created_at!",
            newest.started_at,
            newest.finished_at,
            newest.error,
            newest.hint
        from newest
        where newest.job in (select unnest($1::text[]))
        union all
        select
            older.job,
            older.id,
            older.kind,
            older.state,
            older.scheduled_for,
            older.created_at,
            older.started_at,
            older.finished_at,
            older.error,
            older.hint
        from unnest($1::text[]) as job (name)
        cross join lateral (
            select * from tidegate.run where run.job = job.name order by run.id desc limit 1
        ) as older
        where not exists (select from newest where newest.job = job.name)
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

/// The unfinished run of an earlier firing of each job that has one: of all jobs, or only of these.
pub async fn ongoing(
    conn: &mut PgConnection,
    jobs: Option<&[String]>,
) -> Result<HashMap<String, Ongoing>, sqlx::Error> {
    let runs = sqlx::query!(
        "
        select job, id, case when state = 'waiting' then due_at end as until
        from tidegate.run
        where
            kind = 'schedule'
            and state in ('queued', 'waiting', 'running')
            and ($1::text[] is null or job = any($1))
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
    // At its end a pause is over, so a firing at that moment counts.
    let pause_ends = pause.map(|pause| pause.until - TimeDelta::nanoseconds(1));
    let ends = [pause_ends, ongoing.and_then(|run| run.until)];
    ends.into_iter().flatten().fold(now, Ord::max)
}

/// The streams of `of` that a run has begun or a daemon has planned, by connection and name, in any database in the
/// order of the bytes.
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
        -- Each stream is wanted once. Postgres knows how many these are, and then reads them all at once, not one by
        -- one.
        from unnest($1::text[], $2::text[]) as wanted (connection, stream)
        inner join tidegate.stream_state as known
            on known.connection = wanted.connection and known.stream = wanted.stream
        cross join lateral (
            -- A list has no window.
            select case when known.covers_from is not null then known.newest_data_until end as read_until
        ) as newest
        order by known.connection collate "C", known.stream collate "C"
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
            and run.job in (select unnest($3::text[]))
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
    let found = sqlx::query!(
        r#"
        select job, state, count(*) as "runs!"
        from tidegate.run
        where state in ('queued', 'waiting', 'running')
        group by job, state
        "#,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    // There are few, and to plan a statement with thousands of names takes longer than to execute it.
    let jobs: HashSet<&String> = jobs.iter().collect();
    let runs = |state: &str| {
        let of_state = found.iter().filter(|runs| runs.state == state && jobs.contains(&runs.job));
        of_state.map(|runs| runs.runs).sum::<i64>()
    };
    let states = ["queued", "running", "waiting"];
    Ok(states.map(|state| Unfinished { state: state.to_owned(), runs: runs(state) }).into())
}
