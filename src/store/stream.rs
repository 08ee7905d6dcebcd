//! What is known of a stream beside its slices: which jobs read it, whether it succeeds, and when it is late (promise
//! 11).
//!
//! The summary of its slices is kept by triggers of `tidegate.slice`; the view `tidegate.stream_state` defines its
//! state.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::session::Deadline as _;
use super::task::without_nul;

/// When a stream is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// It is late if nothing succeeded until then.
    pub by: DateTime<Utc>,
    /// Seconds from the firing that is expected to the next one.
    pub every_secs: i64,
}

/// Records that a stream was read to its end, with nothing held. `expected`: when the next success is late.
pub async fn succeeded(
    executor: impl PgExecutor<'_>,
    connection: &str,
    stream: &str,
    expected: Option<Expected>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.stream
        set
            last_success_at = success.at,
            failures = 0,
            needs_operator = false,
            last_error = null,
            last_error_at = null,
            expected_by = $3,
            expected_after = success.at,
            expected_every_seconds = $4
        from (select clock_timestamp() as at) as success
        where connection = $1 and stream = $2
        ",
        connection,
        stream,
        expected.map(|expected| expected.by),
        expected.map(|expected| expected.every_secs),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Why a task ended without success.
#[derive(Debug, Clone, Copy)]
pub struct Trouble<'a> {
    pub error: &'a str,
    /// Whether the task failed. Otherwise slices are held.
    pub failed: bool,
    /// Whether an operator must put it right.
    pub needs_operator: bool,
}

/// Records that a task of the stream failed or has slices held, if `run` is held under `fence`.
pub async fn troubled(
    executor: impl PgExecutor<'_>,
    (run, fence): (i64, i64),
    stream: &str,
    trouble: Trouble<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.stream
        set
            failures = case when $4::boolean then failures + 1 else 0 end,
            needs_operator = $5,
            last_error = $6,
            last_error_at = clock_timestamp()
        from tidegate.run
        where
            run.id = $1
            and run.fence = $2
            and run.state = 'running'
            and stream.connection = run.connection
            and stream.stream = $3
        ",
        run,
        fence,
        stream,
        trouble.failed,
        trouble.needs_operator,
        &*without_nul(trouble.error),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// A stream as the configuration of a process has it.
#[derive(Debug, Clone)]
pub struct Planned {
    pub connection: String,
    pub stream: String,
    pub schema: &'static str,
    pub table: String,
    /// The grid that it starts with.
    pub anchor: NaiveDate,
    pub timezone: String,
    pub slice: String,
    /// Start of the data that its jobs ask for. `None` for a list.
    pub wanted_from: Option<DateTime<Utc>>,
    /// The jobs that read it.
    pub jobs: Vec<String>,
    /// Those of them that the configuration does not pause.
    pub active_jobs: Vec<String>,
    /// The success that `expected` follows.
    pub last_success_at: Option<DateTime<Utc>>,
    pub expected: Option<Expected>,
}

/// When streams last succeeded, by connection and stream. Those without a success are left out.
pub async fn successes(executor: impl PgExecutor<'_>) -> Result<Vec<(String, String, DateTime<Utc>)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select connection, stream, last_success_at as "at!"
        from tidegate.stream
        where last_success_at is not null
        "#
    )
    .fetch_all(executor)
    .in_time()
    .await?;
    Ok(found.into_iter().map(|row| (row.connection, row.stream, row.at)).collect())
}

/// Stores which jobs read these streams and when they are late. A stream that was never begun gets its row. Rows that
/// are right already are not written. `planned` is sorted by connection and stream, the order in which everyone locks
/// several.
pub async fn plan(executor: impl PgExecutor<'_>, planned: &[Planned]) -> Result<(), sqlx::Error> {
    let connections: Vec<_> = planned.iter().map(|stream| stream.connection.clone()).collect();
    let streams: Vec<_> = planned.iter().map(|stream| stream.stream.clone()).collect();
    let schemas: Vec<_> = planned.iter().map(|stream| stream.schema.to_owned()).collect();
    let tables: Vec<_> = planned.iter().map(|stream| stream.table.clone()).collect();
    let anchors: Vec<_> = planned.iter().map(|stream| stream.anchor).collect();
    let timezones: Vec<_> = planned.iter().map(|stream| stream.timezone.clone()).collect();
    let slices: Vec<_> = planned.iter().map(|stream| stream.slice.clone()).collect();
    let wanted: Vec<_> = planned.iter().map(|stream| stream.wanted_from).collect();
    // An array of arrays of different lengths does not exist. A line feed is in no job's name.
    let jobs: Vec<_> = planned.iter().map(|stream| stream.jobs.join("\n")).collect();
    let paused: Vec<_> = planned.iter().map(|stream| stream.active_jobs.is_empty()).collect();
    let active: Vec<_> = planned.iter().map(|stream| stream.active_jobs.join("\n")).collect();
    let after: Vec<_> = planned.iter().map(|stream| stream.last_success_at).collect();
    let by: Vec<_> = planned.iter().map(|stream| stream.expected.map(|expected| expected.by)).collect();
    let every: Vec<_> = planned.iter().map(|stream| stream.expected.map(|expected| expected.every_secs)).collect();
    sqlx::query_file!(
        "src/store/plan_streams.sql",
        &connections,
        &streams,
        &schemas,
        &tables,
        &anchors,
        &timezones,
        &slices,
        &wanted as &[Option<DateTime<Utc>>],
        &jobs,
        &paused,
        &after as &[Option<DateTime<Utc>>],
        &by as &[Option<DateTime<Utc>>],
        &every as &[Option<i64>],
        &active,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Which jobs read which streams: a place of each list for each stream.
#[derive(Debug, Default)]
pub struct Readers {
    connections: Vec<String>,
    streams: Vec<String>,
    /// An array of arrays of different lengths does not exist. A line feed is in no job's name.
    jobs: Vec<String>,
}

impl Readers {
    /// Adds the readers of these streams.
    pub fn note(&mut self, planned: &[Planned]) {
        self.connections.extend(planned.iter().map(|stream| stream.connection.clone()));
        self.streams.extend(planned.iter().map(|stream| stream.stream.clone()));
        self.jobs.extend(planned.iter().map(|stream| stream.jobs.join("\n")));
    }
}

/// Records that the jobs of a configuration do not read other streams any more than `readers` has. A job is left out
/// while another running process has it in a configuration whose hash differs from `config_hash`: there it may read
/// other streams. Returns how many streams lost a job.
pub async fn take_out(
    executor: impl PgExecutor<'_>,
    jobs: &[String],
    readers: &Readers,
    config_hash: Option<&str>,
) -> Result<u64, sqlx::Error> {
    let Readers { connections, streams, jobs: readers } = readers;
    let done = sqlx::query_file!("src/store/take_out_streams.sql", jobs, config_hash, connections, streams, readers)
        .execute(executor)
        .in_time()
        .await?;
    Ok(done.rows_affected())
}

/// Records that no job reads the streams whose jobs are in no running process's configuration. Returns how many they
/// are.
pub async fn retire(executor: impl PgExecutor<'_>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        with configured as (
            select distinct unnest(jobs) as job
            from tidegate.instance
            where seen_at > clock_timestamp() - interval '1 minute'
        )

        update tidegate.stream
        set jobs = '{}', paused = false, expected_by = null, expected_every_seconds = null
        where
            stream.jobs <> '{}'
            and not exists (
                select from unnest(stream.jobs) as known (job) where known.job in (select job from configured)
            )
        "
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected())
}

/// Writes the summaries again of streams of which a slice was finished in the future: the clock was set back since.
pub async fn forget_future(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        select tidegate.summarize_stream(connection, stream, true, null) is null as "done!"
        from tidegate.stream
        where last_finish_at > clock_timestamp()
        "#
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    Ok(())
}
