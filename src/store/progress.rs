//! The progress of runs that a command waits for, and how such runs are cancelled and resumed.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgExecutor, PgPool};

use super::history::{self, Task};
use super::session::Deadline as _;

/// One task of a run that a command waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskState {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    pub kind: String,
    pub run_state: String,
    #[serde(flatten)]
    pub task: Task,
}

impl std::ops::Deref for TaskState {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}

impl TaskState {
    /// Whether its run has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.run_state.as_str(), "succeeded" | "held" | "failed" | "cancelled")
    }
}

/// Whether all of `runs` have ended.
pub async fn have_ended(pool: &PgPool, runs: &[i64]) -> Result<bool, sqlx::Error> {
    Ok(tasks(pool, runs).await?.iter().all(TaskState::has_ended))
}

/// The tasks of `runs`, by run and stream.
pub async fn tasks(pool: &PgPool, runs: &[i64]) -> Result<Vec<TaskState>, sqlx::Error> {
    let known = sqlx::query!("select id, job, connection, kind, state from tidegate.run where id = any($1)", runs)
        .fetch_all(pool)
        .in_time()
        .await?;
    let mut states = Vec::new();
    for task in history::tasks(pool, runs).await? {
        let Some(run) = known.iter().find(|run| run.id == task.run_id) else { continue };
        states.push(TaskState {
            run_id: run.id,
            job: run.job.clone(),
            connection: run.connection.clone(),
            kind: run.kind.clone(),
            run_state: run.state.clone(),
            task,
        });
    }
    states.sort_by(|a, b| (a.run_id, &a.task.stream).cmp(&(b.run_id, &b.task.stream)));
    Ok(states)
}

/// Cancels unfinished runs and returns the ids of those that it cancelled. Committed rows and cursors are kept, and a
/// worker that holds one of the runs fails the fence check of its next checkpoint. With `owner`, a running run is
/// cancelled only if that process holds it. `reason` is stored as the error of the runs. A trigger of `tidegate.run`
/// cancels their unfinished tasks.
pub async fn cancel(
    executor: impl PgExecutor<'_>,
    runs: &[i64],
    owner: Option<&str>,
    reason: Option<&str>,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        update tidegate.run
        set
            state = 'cancelled',
            finished_at = clock_timestamp(),
            owner = null,
            lease_until = null,
            error = coalesce($3, error),
            hint = case when $3::text is null then hint end
        where
            id = any($1)
            and (
                state in ('queued', 'waiting')
                or (state = 'running' and ($2::text is null or owner = $2))
            )
        returning id
        ",
        runs,
        owner,
        reason,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// What a run belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOf {
    pub job: String,
    pub connection: String,
    pub state: String,
}

/// What this run belongs to; `None` if it does not exist.
pub async fn run_of(executor: impl PgExecutor<'_>, run: i64) -> Result<Option<RunOf>, sqlx::Error> {
    sqlx::query_as!(RunOf, "select job, connection, state from tidegate.run where id = $1", run)
        .fetch_optional(executor)
        .in_time()
        .await
}

/// Resumes the unfinished backfill of exactly this range and these streams, if there is one. Finished tasks stay
/// finished. Returns its run.
pub async fn resume_backfill(
    executor: impl PgExecutor<'_>,
    job: &str,
    range: (DateTime<Utc>, DateTime<Utc>),
    streams: &[String],
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        with left_off as (
            select id
            from tidegate.run
            where
                job = $1
                and kind = 'backfill'
                and range_start = $2
                and range_end = $3
                and $4::text[] = (select array_agg(stream order by stream) from tidegate.task where run_id = run.id)
            order by id desc
            limit 1
        ),

        taken_up as (
            update tidegate.run
            set
                state = case when state in ('cancelled', 'failed') then 'queued' else state end,
                due_at = clock_timestamp(),
                finished_at = null,
                error = null,
                hint = null
            from left_off
            where run.id = left_off.id and run.state not in ('succeeded', 'held')
            returning run.id
        ),

        tasks as (
            update tidegate.task
            set
                -- Its wait is counted when it goes on.
                state = case when task.state = 'waiting' then 'waiting' else 'queued' end,
                waiting_until = case when task.state = 'waiting' then least(task.waiting_until, clock_timestamp()) end,
                finished_at = null,
                error = null,
                hint = null
            from taken_up
            where task.run_id = taken_up.id and task.state in ('failed', 'waiting', 'cancelled')
        )

        select id
        from taken_up
        ",
        job,
        range.0,
        range.1,
        streams,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}
