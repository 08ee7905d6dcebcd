//! What the commands show beyond the status page: runs with their tasks, waiting tasks, rejected records, discovered
//! columns. Read-only.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgExecutor;

use super::session::Deadline as _;

/// A run, with its tasks counted by state and their statistics summed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Run {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    pub kind: String,
    pub state: String,
    pub priority: i32,
    pub scheduled_for: Option<DateTime<Utc>>,
    pub due_at: DateTime<Utc>,
    pub range_start: Option<DateTime<Utc>>,
    pub range_end: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub tasks: i64,
    pub tasks_succeeded: i64,
    pub tasks_held: i64,
    pub tasks_failed: i64,
    pub tasks_waiting: i64,
    pub calls: i64,
    pub bytes: i64,
    pub rows_read: i64,
    pub rows_changed: i64,
    pub records_rejected: i64,
    pub error: Option<String>,
    pub hint: Option<String>,
    /// The process that has it, or had it last.
    #[serde(skip)]
    pub owner: Option<String>,
}

/// Which runs are listed. `None` does not restrict.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunFilter<'a> {
    pub job: Option<&'a str>,
    pub connection: Option<&'a str>,
    pub state: Option<&'a str>,
    pub kind: Option<&'a str>,
    /// Created at this moment or later.
    pub from: Option<DateTime<Utc>>,
    /// Created before this moment.
    pub to: Option<DateTime<Utc>>,
    /// Older than the run with this id.
    pub before: Option<i64>,
    pub id: Option<i64>,
    pub limit: i64,
}

/// How many runs of a job, of a connection, or of all, are searched.
pub const RUNS_SEARCHED: i64 = 100_000;

/// The newest runs, newest first.
#[expect(clippy::too_many_lines, reason = "one statement")]
pub async fn runs(executor: impl PgExecutor<'_>, filter: RunFilter<'_>) -> Result<Vec<Run>, sqlx::Error> {
    sqlx::query_as!(
        Run,
        r#"
        select
            run.id as "run_id!",
            run.job as "job!",
            run.connection as "connection!",
            run.kind as "kind!",
            run.state as "state!",
            run.priority as "priority!",
            run.scheduled_for,
            run.due_at as "due_at!",
            run.range_start,
            run.range_end,
            run.created_at as "created_at!",
            run.started_at,
            run.finished_at,
            task.tasks as "tasks!",
            task.succeeded as "tasks_succeeded!",
            task.held as "tasks_held!",
            task.failed as "tasks_failed!",
            task.waiting as "tasks_waiting!",
            task.calls as "calls!",
            task.bytes as "bytes!",
            task.rows_read as "rows_read!",
            task.rows_changed as "rows_changed!",
            task.records_rejected as "records_rejected!",
            run.error,
            run.hint,
            run.owner
        from (
            select *
            from (
                select *
                from tidegate.run
                where
                    ($1::text is null or job = $1)
                    and ($2::text is null or connection = $2)
                    and ($3::bigint is null or id < $3)
                    and ($4::bigint is null or id = $4)
                order by id desc
                limit $5
            ) as searched
            where
                ($6::text is null or state = $6)
                and ($7::text is null or kind = $7)
                and ($8::timestamptz is null or created_at >= $8)
                and ($9::timestamptz is null or created_at < $9)
            order by id desc
            limit $10
        ) as run
        cross join lateral (
            select
                count(*) as tasks,
                count(*) filter (where state = 'succeeded') as succeeded,
                count(*) filter (where state = 'held') as held,
                count(*) filter (where state = 'failed') as failed,
                count(*) filter (where state = 'waiting') as waiting,
                coalesce(sum(calls), 0)::bigint as calls,
                coalesce(sum(bytes), 0)::bigint as bytes,
                coalesce(sum(rows_read), 0)::bigint as rows_read,
                coalesce(sum(rows_inserted + rows_updated + rows_deleted), 0)::bigint as rows_changed,
                coalesce(sum(records_rejected), 0)::bigint as records_rejected
            from tidegate.task
            where run_id = run.id
        ) as task
        order by run.id desc
        "#,
        filter.job,
        filter.connection,
        filter.before,
        filter.id,
        RUNS_SEARCHED,
        filter.state,
        filter.kind,
        filter.from,
        filter.to,
        filter.limit,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// Whether a job of that name ever ran. It may have been removed from the configuration.
pub async fn ever_ran(executor: impl PgExecutor<'_>, job: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select exists (select from tidegate.run where job = $1) as "exists!""#, job)
        .fetch_one(executor)
        .in_time()
        .await
}

/// One stream of a run, with all of its statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Task {
    #[serde(skip)]
    pub run_id: i64,
    pub stream: String,
    pub state: String,
    pub waiting_for: Option<String>,
    /// When it goes on. `None` if the time has come, and it waits for its turn.
    pub waiting_until: Option<DateTime<Utc>>,
    pub slices_planned: i32,
    pub slices_done: i32,
    pub pages: i64,
    pub calls: i64,
    pub bytes: i64,
    pub rows_read: i64,
    pub rows_inserted: i64,
    pub rows_updated: i64,
    pub rows_deleted: i64,
    pub rows_unchanged: i64,
    pub rows_outside: i64,
    pub values_extra: i64,
    pub records_rejected: i64,
    pub last_window_start: Option<DateTime<Utc>>,
    pub last_window_end: Option<DateTime<Utc>>,
    pub attempts: i32,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    pub hint: Option<String>,
}

/// The tasks of these runs, newest run first, by stream.
pub async fn tasks(executor: impl PgExecutor<'_>, runs: &[i64]) -> Result<Vec<Task>, sqlx::Error> {
    sqlx::query_as!(
        Task,
        "
        select
            run_id, stream, state, waiting_for,
            case when waiting_until > statement_timestamp() then waiting_until end as waiting_until,
            slices_planned, slices_done, pages, calls, bytes, rows_read, rows_inserted, rows_updated, rows_deleted,
            rows_unchanged, rows_outside, values_extra, records_rejected,
            case when last_window_start > 'epoch' then last_window_start end as last_window_start,
            last_window_end,
            attempts, started_at, finished_at, error, hint
        from tidegate.task
        where run_id = any($1)
        order by run_id desc, stream
        ",
        runs,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// A task of an unfinished run that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    pub stream: String,
    pub waiting_for: Option<String>,
    /// When it goes on. `None` if the time has come, and it waits for its turn.
    pub waiting_until: Option<DateTime<Utc>>,
}

/// Every task that waits, by when it resumes.
pub async fn waiting(executor: impl PgExecutor<'_>) -> Result<Vec<Waiting>, sqlx::Error> {
    sqlx::query_as!(
        Waiting,
        "
        select
            run.id as run_id, run.job, run.connection, task.stream, task.waiting_for,
            case when task.waiting_until > statement_timestamp() then task.waiting_until end as waiting_until
        from tidegate.run
        join tidegate.task on task.run_id = run.id
        where run.state in ('queued', 'waiting', 'running') and task.state = 'waiting'
        order by task.waiting_until, run.id, task.stream
        ",
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// A record that could not become a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    pub id: i64,
    pub run_id: i64,
    pub connection: String,
    pub stream: String,
    pub window_start: Option<DateTime<Utc>>,
    pub rejected_at: DateTime<Utc>,
    pub reason: String,
    pub bytes: i32,
    /// Vendor data: shown only on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// The newest rejected records, newest first. Optionally of some streams of one connection.
pub async fn rejects(
    executor: impl PgExecutor<'_>,
    of: Option<(&str, &[String])>,
    limit: i64,
    with_record: bool,
) -> Result<Vec<Reject>, sqlx::Error> {
    let (connection, streams) = of.unzip();
    sqlx::query_as!(
        Reject,
        r#"
        select
            id,
            run_id,
            connection,
            stream,
            case when window_start > 'epoch' then window_start end as window_start,
            rejected_at,
            reason,
            octet_length(record) as "bytes!",
            case when $4 then record end as record
        from tidegate.rejected_record
        where $1::text is null or (connection = $1 and stream = any($2))
        order by id desc
        limit $3
        "#,
        connection,
        streams,
        limit,
        with_record,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// A column that appeared with the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiscoveredColumn {
    #[serde(skip)]
    pub table_schema: String,
    #[serde(skip)]
    pub table_name: String,
    pub name: String,
    pub field: String,
    /// Which variant of the field's column this is. Empty for the column itself.
    pub variant: String,
    /// Its current type.
    pub kind: String,
    /// Whether the column exists: a column that was dropped is created again by the next load.
    #[serde(skip)]
    pub exists: bool,
    pub added_at: DateTime<Utc>,
}

/// Every column that was discovered in the data, by table, oldest first.
pub async fn discovered_columns(executor: impl PgExecutor<'_>) -> Result<Vec<DiscoveredColumn>, sqlx::Error> {
    sqlx::query_as!(
        DiscoveredColumn,
        r#"
        select
            table_schema,
            table_name,
            column_name as name,
            field,
            variant,
            replace(coalesce(format_type(atttypid, atttypmod), kind), 'timestamp with time zone', 'timestamptz')
                as "kind!",
            attname is not null as "exists!",
            added_at
        from tidegate.table_column
        left join pg_catalog.pg_attribute
            on
                attrelid = to_regclass(format('%I.%I', table_schema, table_name))
                and attname = column_name
                and not attisdropped
        order by table_schema, table_name, added_at, column_name
        "#,
    )
    .fetch_all(executor)
    .in_time()
    .await
}
