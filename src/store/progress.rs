//! How runs that a command waits for get on, and their end when nobody waits any more.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;

/// One stream of one run, with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskState {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    pub kind: String,
    pub run_state: String,
    pub stream: String,
    pub state: String,
    pub waiting_for: Option<String>,
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
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    pub hint: Option<String>,
}

/// The tasks of `runs`, by run and stream.
pub async fn tasks(executor: impl PgExecutor<'_>, runs: &[i64]) -> Result<Vec<TaskState>, sqlx::Error> {
    sqlx::query_as!(
        TaskState,
        "
        select
            run.id as run_id,
            run.job,
            run.connection,
            run.kind,
            run.state as run_state,
            task.stream,
            task.state,
            task.waiting_for,
            task.waiting_until,
            task.slices_planned,
            task.slices_done,
            task.pages,
            task.calls,
            task.bytes,
            task.rows_read,
            task.rows_inserted,
            task.rows_updated,
            task.rows_deleted,
            task.rows_unchanged,
            task.rows_outside,
            task.values_extra,
            task.records_rejected,
            task.last_window_start,
            task.last_window_end,
            task.started_at,
            task.finished_at,
            task.error,
            task.hint
        from tidegate.run
        inner join tidegate.task on task.run_id = run.id
        where run.id = any($1)
        order by run.id, task.stream
        ",
        runs,
    )
    .fetch_all(executor)
    .await
}

/// Ends runs that were enqueued for a command which was interrupted, unless a daemon works on them. What they have read
/// stays, with its cursors.
pub async fn cancel(executor: impl PgExecutor<'_>, runs: &[i64]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.run
        set state = 'cancelled', finished_at = clock_timestamp()
        where id = any($1) and state in ('queued', 'waiting')
        ",
        runs,
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}
