//! Runs: claim, lease, fence, end.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use sqlx::postgres::types::PgInterval;

use super::session::Deadline as _;

/// Why a run was made, as in `tidegate.run`.
pub const KINDS: [&str; 3] = ["schedule", "manual", "backfill"];
/// The states of a run, as in `tidegate.run`.
pub const STATES: [&str; 7] = ["queued", "running", "waiting", "succeeded", "held", "failed", "cancelled"];

/// A run that this process holds. Every commit for it must present the fence.
#[derive(Debug, Clone)]
pub struct Claim {
    pub id: i64,
    pub job: String,
    pub connection: String,
    pub fence: i64,
    pub priority: i32,
    /// When the run was first due. The older run goes first when a quota is scarce.
    pub due: DateTime<Utc>,
    pub range_start: Option<DateTime<Utc>>,
    pub range_end: Option<DateTime<Utc>>,
    /// Whether its previous worker stopped responding.
    pub taken_over: bool,
    /// Whether no worker had it before.
    pub is_first: bool,
}

/// What a run became when its worker left it.
#[derive(Debug, Clone, PartialEq)]
pub struct Left {
    pub state: String,
    pub kind: String,
    /// From the start of its first worker to its end; `None` if it has not ended.
    pub seconds: Option<f64>,
}

/// Converts a duration to an interval of Postgres. Lease durations are far below its limits.
pub fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

/// Claims the next run that is due, or one whose lease has expired. `only` restricts it to these runs.
pub async fn claim(
    executor: impl PgExecutor<'_>,
    owner: &str,
    lease: Duration,
    jobs: &[String],
    only: Option<&[i64]>,
) -> Result<Option<Claim>, sqlx::Error> {
    sqlx::query_as!(
        Claim,
        r#"
        with next as (
            select id, state, started_at
            from tidegate.run
            where
                job = any($3)
                and ($4::bigint[] is null or id = any($4))
                and (
                    (state in ('queued', 'waiting') and due_at <= clock_timestamp())
                    or (state = 'running' and lease_until < clock_timestamp())
                )
            order by priority desc, due_at, id
            limit 1
            for update skip locked
        )

        update tidegate.run as run
        set
            state = 'running',
            owner = $1,
            fence = run.fence + 1,
            lease_until = clock_timestamp() + $2,
            started_at = coalesce(run.started_at, clock_timestamp())
        from next
        where run.id = next.id
        returning
            run.id,
            run.job,
            run.connection,
            run.fence,
            run.priority,
            coalesce(run.scheduled_for, run.created_at) as "due!",
            run.range_start,
            run.range_end,
            next.state = 'running' as "taken_over!",
            next.started_at is null as "is_first!"
        "#,
        owner,
        interval(lease),
        jobs,
        only,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// Renews the lease. Returns false if the run is no longer held under this fence.
pub async fn renew(executor: impl PgExecutor<'_>, run: i64, fence: i64, lease: Duration) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.run
        set lease_until = clock_timestamp() + $3
        where id = $1 and fence = $2 and state = 'running'
        ",
        run,
        fence,
        interval(lease),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether the run was cancelled.
pub async fn is_cancelled(executor: impl PgExecutor<'_>, run: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from tidegate.run where id = $1 and state = 'cancelled') as "cancelled!""#,
        run,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Whether the run added or changed columns.
pub async fn changed_columns(executor: impl PgExecutor<'_>, run: i64) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query_scalar!(
        r#"select exists (select from tidegate.schema_change where run_id = $1) as "changed!""#,
        run,
    );
    changed.fetch_one(executor).in_time().await
}

/// The fence check of a checkpoint: renews the lease if, and only if, both the run and the stream are still held.
pub async fn pass_fence(
    executor: impl PgExecutor<'_>,
    claim: &Claim,
    stream: &str,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "
        with held as (
            select connection
            from tidegate.stream
            where connection = $3 and stream = $4 and holder_run = $1 and holder_fence = $2
            for share
        )

        update tidegate.run
        set lease_until = clock_timestamp() + $5
        where id = $1 and fence = $2 and state = 'running' and exists (select from held)
        ",
        claim.id,
        claim.fence,
        claim.connection,
        stream,
        interval(lease),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes the stream for this run. Returns false if another live run reads it, or if another worker holds this run.
pub async fn hold_stream(executor: impl PgExecutor<'_>, claim: &Claim, stream: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.stream as stream
        set holder_run = $1, holder_fence = $2, unread = false
        where
            connection = $3
            and stream.stream = $4
            and exists (select from tidegate.run where run.id = $1 and run.fence = $2 and run.state = 'running')
            and not exists (
                select
                from tidegate.run
                where
                    run.id = stream.holder_run
                    and run.id <> $1
                    and run.state = 'running'
                    and run.lease_until > clock_timestamp()
            )
        ",
        claim.id,
        claim.fence,
        claim.connection,
        stream,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a run of higher priority waits for something that this run holds.
#[derive(Debug, Clone, Copy)]
pub struct Contention {
    /// A due run of one of the jobs that this process knows waits for a worker.
    pub worker: bool,
    /// A run waits for the stream.
    pub stream: bool,
}

/// What a task waits for while another run reads its stream.
pub const STREAM_BUSY: &str = "another run of the stream";

/// Whether a run of a higher priority waits for the worker or the stream that this claim has.
pub async fn wanted(
    executor: impl PgExecutor<'_>,
    claim: &Claim,
    stream: &str,
    jobs: &[String],
) -> Result<Contention, sqlx::Error> {
    sqlx::query_as!(
        Contention,
        r#"
        select
            exists (
                select
                from tidegate.run
                where
                    run.priority > $1
                    and run.job = any($2)
                    and run.state in ('queued', 'waiting')
                    and run.due_at <= clock_timestamp()
            ) as "worker!",
            exists (
                select
                from tidegate.run
                inner join tidegate.task on task.run_id = run.id
                where
                    run.priority > $1
                    -- Runs of other jobs cannot be claimed here.
                    and run.job = any($2)
                    and run.connection = $3
                    and run.state in ('queued', 'running', 'waiting')
                    and task.stream = $4
                    and task.state = 'waiting'
                    and task.waiting_for = $5
            ) as "stream!"
        "#,
        claim.priority,
        jobs,
        claim.connection,
        stream,
        STREAM_BUSY,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Releases every stream that this claim holds.
pub async fn release_streams(executor: impl PgExecutor<'_>, claim: &Claim) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.stream
        set holder_run = null, holder_fence = null
        where holder_run = $1 and holder_fence = $2
        ",
        claim.id,
        claim.fence,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Ends the claim. The run's state follows from its tasks; `None` if the fence was out of date. A run without any due
/// task (`is_idle`) is not due again at once.
pub async fn end_run(executor: impl PgExecutor<'_>, claim: &Claim, is_idle: bool) -> Result<Option<Left>, sqlx::Error> {
    sqlx::query_as!(
        Left,
        r#"
        with tasks as (
            select
                bool_or(state in ('queued', 'running')) as unfinished,
                bool_or(state = 'waiting') as waiting,
                bool_or(state = 'failed') as failed,
                bool_or(state = 'held') as held,
                min(waiting_until) filter (where state = 'waiting') as goes_on_at
            from tidegate.task
            where run_id = $1
        ),

        first_trouble as (
            select error, hint
            from tidegate.task
            where run_id = $1 and state in ('failed', 'held')
            -- 'failed' sorts before 'held'.
            order by state, finished_at, stream
            limit 1
        )

        update tidegate.run
        set
            state = case
                when tasks.unfinished then 'queued'
                when tasks.waiting then 'waiting'
                when tasks.failed then 'failed'
                when tasks.held then 'held'
                else 'succeeded'
            end,
            due_at = greatest(
                case
                    when tasks.unfinished then clock_timestamp()
                    when tasks.waiting then tasks.goes_on_at
                    else run.due_at
                end,
                case when $3 then clock_timestamp() + interval '1 second' end
            ),
            finished_at = case
                when tasks.unfinished or tasks.waiting then null
                else clock_timestamp()
            end,
            error = (select error from first_trouble),
            hint = (select hint from first_trouble),
            owner = null,
            lease_until = null
        from tasks
        where run.id = $1 and run.fence = $2 and run.state = 'running'
        returning
            run.state,
            run.kind,
            -- Not negative after the clock was set back.
            case
                when run.finished_at >= run.started_at then extract(epoch from run.finished_at - run.started_at)
                when run.finished_at is not null then 0
            end::double precision as seconds
        "#,
        claim.id,
        claim.fence,
        is_idle,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}
