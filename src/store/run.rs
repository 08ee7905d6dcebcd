//! Runs: claim, lease, fence, end.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::types::PgInterval;
use sqlx::{PgConnection, PgExecutor};

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

/// How many due runs are read at first to find one of this process, and then at a time.
const CANDIDATES: [i64; 2] = [100, 10_000];
/// How often to begin again if other workers have claimed all candidates meanwhile.
const CLAIM_ATTEMPTS: u32 = 3;
/// More due runs of other processes than this, about half a second's reading, are not passed over.
const PASSED_MAX: i64 = 200_000;

/// Claims the next run that is due, or one whose lease has expired, of a job for which `is_ours`. `only` restricts it
/// to these runs.
///
/// The names of the jobs are compared here. When Postgres got all names of a configuration, a claim took five times as
/// long with 10,000 jobs.
pub async fn claim(
    conn: &mut PgConnection,
    owner: &str,
    lease: Duration,
    is_ours: impl Fn(&str) -> bool + Send + Sync,
    only: Option<&[i64]>,
) -> Result<Option<Claim>, sqlx::Error> {
    for _ in 0..CLAIM_ATTEMPTS {
        let candidates = candidates(&mut *conn, &is_ours, only).await?;
        if candidates.is_empty() {
            return Ok(None);
        }
        let claimed = claim_first(&mut *conn, owner, lease, &candidates).await?;
        if claimed.is_some() {
            return Ok(claimed);
        }
    }
    Ok(None)
}

/// Runs of this process that can be claimed, those that go first. Other workers may claim them at the same time.
async fn candidates(
    conn: &mut PgConnection,
    is_ours: &(impl Fn(&str) -> bool + Send + Sync),
    only: Option<&[i64]>,
) -> Result<Vec<i64>, sqlx::Error> {
    let [mut count, next] = CANDIDATES;
    let mut passed = 0;
    let mut last: Option<(i32, DateTime<Utc>, i64)> = None;
    while passed < PASSED_MAX {
        let (priority, due_at, id) =
            last.map_or((None, None, None), |(priority, due_at, id)| (Some(priority), Some(due_at), Some(id)));
        let due = sqlx::query!(
            "
            select
                id,
                job,
                priority,
                due_at
            from tidegate.run
            where
                ($1::bigint[] is null or id = any($1))
                and ($3::int is null or priority < $3 or (priority = $3 and (due_at, id) > ($4::timestamptz, $5::bigint)))
                and (
                    (state in ('queued', 'waiting') and due_at <= clock_timestamp())
                    or (state = 'running' and lease_until < clock_timestamp())
                )
            order by priority desc, due_at, id
            limit $2
            ",
            only,
            count,
            priority,
            due_at,
            id,
        )
        .fetch_all(&mut *conn)
        .in_time()
        .await?;
        let end = due.last().map(|run| (run.priority, run.due_at, run.id));
        let is_last = i64::try_from(due.len()).is_ok_and(|found| found < count);
        let ours: Vec<i64> = due.into_iter().filter(|run| is_ours(&run.job)).map(|run| run.id).collect();
        if is_last || !ours.is_empty() {
            return Ok(ours);
        }
        passed += count;
        last = end;
        count = next;
    }
    Ok(Vec::new())
}

/// Claims the first of these runs that can still be claimed, and that no other worker is claiming.
async fn claim_first(
    conn: &mut PgConnection,
    owner: &str,
    lease: Duration,
    candidates: &[i64],
) -> Result<Option<Claim>, sqlx::Error> {
    sqlx::query_as!(
        Claim,
        r#"
        with next as (
            select id, state, started_at
            from tidegate.run
            where
                id = any($3)
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
        candidates,
    )
    .fetch_optional(conn)
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

/// Whether a run of a higher priority, of a job for which `is_ours`, waits for the worker or the stream that this claim
/// has. Runs of other jobs cannot be claimed here.
pub async fn wanted(
    executor: impl PgExecutor<'_>,
    claim: &Claim,
    stream: &str,
    is_ours: impl Fn(&str) -> bool + Send + Sync,
) -> Result<Contention, sqlx::Error> {
    let waiting = sqlx::query!(
        r#"
        with waiting as (
            select
                run.job,
                run.state in ('queued', 'waiting') and run.due_at <= clock_timestamp() as worker,
                run.connection = $2 and exists (
                    select
                    from tidegate.task
                    where
                        task.run_id = run.id
                        and task.stream = $3
                        and task.state = 'waiting'
                        and task.waiting_for = $4
                ) as stream
            from tidegate.run
            where run.priority > $1 and run.state in ('queued', 'running', 'waiting')
        )

        select job as "job!", bool_or(worker) as "worker!", bool_or(stream) as "stream!"
        from waiting
        where worker or stream
        group by job
        "#,
        claim.priority,
        claim.connection,
        stream,
        STREAM_BUSY,
    )
    .fetch_all(executor)
    .in_time()
    .await?;
    let mut contention = Contention { worker: false, stream: false };
    for waiting in waiting.into_iter().filter(|waiting| is_ours(&waiting.job)) {
        contention.worker |= waiting.worker;
        contention.stream |= waiting.stream;
    }
    Ok(contention)
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
