//! The tasks of a run: which are due, their statistics and their end.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::run::Claim;
use super::session::Deadline as _;

/// One stream of a run that can be worked on now.
#[derive(Debug, Clone)]
pub struct DueTask {
    pub stream: String,
    /// Temporary errors in a row, without a page in between.
    pub attempts: i32,
    /// What it has waited for, if it has.
    pub waiting_for: Option<String>,
}

/// The tasks of a run that can be worked on now, by stream.
pub async fn due(executor: impl PgExecutor<'_>, run: i64) -> Result<Vec<DueTask>, sqlx::Error> {
    sqlx::query_as!(
        DueTask,
        "
        select stream, attempts, case when state = 'waiting' then waiting_for end as waiting_for
        from tidegate.task
        where
            run_id = $1
            and (
                state in ('queued', 'running')
                or (state = 'waiting' and coalesce(waiting_until <= clock_timestamp(), true))
            )
        order by stream
        ",
        run,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// Marks a task as running. Returns false if the run is no longer held under this fence.
pub async fn begin(
    executor: impl PgExecutor<'_>,
    claim: &Claim,
    stream: &str,
    slices_left: i32,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.task
        set
            state = 'running',
            started_at = coalesce(task.started_at, clock_timestamp()),
            slices_planned = slices_done + $4,
            waiting_for = null,
            waiting_until = null,
            error = null,
            hint = null
        from tidegate.run
        where
            task.run_id = $1
            and task.stream = $2
            -- The run was cancelled meanwhile.
            and task.state <> 'cancelled'
            and run.id = task.run_id
            and run.fence = $3
            and run.state = 'running'
        ",
        claim.id,
        stream,
        claim.fence,
        slices_left,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What one checkpoint adds to its task's statistics.
///
/// Each record that was read counts exactly once: as inserted or updated if it wrote a row, as outside or rejected if
/// it became none, and otherwise as unchanged, because its row had these values already or because a later record of
/// the same batch has its key. A batch of more than 4 MiB is sent in portions, and each counts by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    pub slices_done: i32,
    pub pages: i64,
    pub rows_read: i64,
    pub rows_inserted: i64,
    pub rows_updated: i64,
    pub rows_deleted: i64,
    pub rows_unchanged: i64,
    pub rows_outside: i64,
    pub values_extra: i64,
    pub records_rejected: i64,
}

/// Adds a checkpoint's statistics, in the checkpoint's transaction.
pub async fn add_progress(
    executor: impl PgExecutor<'_>,
    run: i64,
    stream: &str,
    progress: &Progress,
    window: (DateTime<Utc>, DateTime<Utc>),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.task
        set
            slices_done = slices_done + $3,
            pages = pages + $4,
            rows_read = rows_read + $5,
            rows_inserted = rows_inserted + $6,
            rows_updated = rows_updated + $7,
            rows_deleted = rows_deleted + $8,
            rows_unchanged = rows_unchanged + $9,
            rows_outside = rows_outside + $10,
            values_extra = values_extra + $11,
            records_rejected = records_rejected + $12,
            last_window_start = $13,
            last_window_end = $14,
            attempts = 0
        where run_id = $1 and stream = $2
        ",
        run,
        stream,
        progress.slices_done,
        progress.pages,
        progress.rows_read,
        progress.rows_inserted,
        progress.rows_updated,
        progress.rows_deleted,
        progress.rows_unchanged,
        progress.rows_outside,
        progress.values_extra,
        progress.records_rejected,
        window.0,
        window.1,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Adds calls and bytes, including those of failed calls.
pub async fn add_traffic(
    executor: impl PgExecutor<'_>,
    run: i64,
    stream: &str,
    calls: i64,
    bytes: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update tidegate.task set calls = calls + $3, bytes = bytes + $4 where run_id = $1 and stream = $2",
        run,
        stream,
        calls,
        bytes,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// An error after which a task tries again.
#[derive(Debug, Clone)]
pub struct Temporary {
    pub error: String,
    pub hint: String,
}

/// How the work on a task ended for now.
#[derive(Debug, Clone)]
pub enum TaskEnd {
    Succeeded,
    /// The stream was read to its end, but slices of it are held.
    Held {
        why: String,
        hint: String,
    },
    Failed {
        error: String,
        hint: String,
        /// Whether an operator must put it right. Otherwise a later run may succeed.
        needs_operator: bool,
    },
    /// It resumes at `until`. `after`: the temporary error because of which it waits.
    Waiting {
        until: DateTime<Utc>,
        waiting_for: String,
        after: Option<Temporary>,
    },
    /// The process stops, or a run of higher priority needs the worker. The worker that claims the run next continues
    /// it.
    Released,
}

/// Stores how a task ended. Returns false if the run is no longer held under this fence.
pub async fn end(
    executor: impl PgExecutor<'_>,
    claim: &Claim,
    stream: &str,
    end: &TaskEnd,
) -> Result<bool, sqlx::Error> {
    let (state, error, hint, waiting_for, until, attempt) = match end {
        TaskEnd::Succeeded => ("succeeded", None, None, None, None, false),
        TaskEnd::Held { why, hint } => ("held", Some(why), Some(hint), None, None, false),
        TaskEnd::Failed { error, hint, .. } => ("failed", Some(error), Some(hint), None, None, false),
        TaskEnd::Waiting { until, waiting_for, after } => {
            let (error, hint) = (after.as_ref().map(|after| &after.error), after.as_ref().map(|after| &after.hint));
            ("waiting", error, hint, Some(waiting_for), Some(*until), after.is_some())
        }
        TaskEnd::Released => ("queued", None, None, None, None, false),
    };
    // Postgres cannot store NUL, and a task whose end cannot be stored would be repeated without end.
    let (error, hint) = (error.map(|text| without_nul(text)), hint.map(|text| without_nul(text)));
    let done = sqlx::query!(
        "
        update tidegate.task
        set
            state = $4,
            error = $5,
            hint = $6,
            waiting_for = $7,
            waiting_until = $8,
            waiting_since = case when $4 = 'waiting' then clock_timestamp() else task.waiting_since end,
            attempts = attempts + $9::boolean::int,
            finished_at = case when $4 in ('succeeded', 'held', 'failed') then clock_timestamp() end
        from tidegate.run
        where
            task.run_id = $1
            and task.stream = $2
            -- The run was cancelled meanwhile.
            and task.state <> 'cancelled'
            and run.id = task.run_id
            and run.fence = $3
            and run.state = 'running'
        ",
        claim.id,
        stream,
        claim.fence,
        state,
        error.as_deref(),
        hint.as_deref(),
        waiting_for.map(String::as_str),
        until,
        attempt,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `text` with U+FFFD for every NUL.
pub(super) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}
