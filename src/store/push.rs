//! What `tidegate push` has sent: every batch is recorded before it is sent, and every row belongs to one batch.

use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::session::Deadline as _;

/// The states of a batch that was sent, as in `tidegate.push_batch`.
pub const STATES: [&str; 7] = ["sending", "sent", "done", "failed", "refused", "unknown", "resent"];

/// Locks the pushes of `job` for this session. Returns false if another session holds the lock.
pub async fn lock(executor: impl PgExecutor<'_>, job: &str) -> Result<bool, sqlx::Error> {
    // With the salt, so that no other login can take the lock first.
    sqlx::query_scalar!(
        r#"
        select pg_try_advisory_lock(hashtextextended('tidegate push ' || $1 || value, 0)) as "mine!"
        from tidegate.setting
        where name = 'ledger_salt'
        "#,
        job,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// The salt of this database's row hashes.
pub async fn salt(executor: impl PgExecutor<'_>) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!("select value from tidegate.setting where name = 'ledger_salt'")
        .fetch_one(executor)
        .in_time()
        .await
}

/// Marks batches of `job` as unknown that were being sent when their process ended. The caller holds the lock.
pub async fn give_up_lost(executor: impl PgExecutor<'_>, job: &str) -> Result<u64, sqlx::Error> {
    let updated = sqlx::query!(
        "
        update tidegate.push_batch
        set state = 'unknown', error = 'the process ended before the response arrived', finished_at = clock_timestamp()
        where job = $1 and state = 'sending'
        ",
        job
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(updated.rows_affected())
}

/// Lets the rows of unknown and failed batches be sent again. Returns how many.
pub async fn let_go(executor: impl PgExecutor<'_>, job: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with gone as (
            update tidegate.push_batch
            set state = 'resent'
            where job = $1 and state in ('unknown', 'failed')
            returning id, rows
        ),
        freed as (
            delete from tidegate.push_row
            using gone
            where push_row.batch_id = gone.id
        )
        select coalesce(sum(rows), 0)::bigint as "rows!" from gone
        "#,
        job
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// A row that was sent, or may have been.
#[derive(Debug)]
pub struct Known {
    pub row_key: Uuid,
    /// The state of its batch.
    pub state: String,
}

/// Those of `keys` that are in a batch of `job`.
pub async fn known(executor: impl PgExecutor<'_>, job: &str, keys: &[Uuid]) -> Result<Vec<Known>, sqlx::Error> {
    sqlx::query_as!(
        Known,
        "
        select push_row.row_key, push_batch.state
        from tidegate.push_row
        inner join tidegate.push_batch on push_batch.id = push_row.batch_id
        where push_row.job = $1 and push_row.row_key = any($2)
        ",
        job,
        keys,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// A batch that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct NewBatch<'a> {
    pub job: &'a str,
    pub connection: &'a str,
    pub campaign_id: &'a str,
    pub template_id: &'a str,
    pub keys: &'a [Uuid],
}

/// Records that a batch is being sent. Returns `None` if one of its rows already belongs to another batch.
pub async fn claim(pool: &PgPool, batch: NewBatch<'_>) -> Result<Option<i64>, sqlx::Error> {
    let mut transaction = pool.begin().in_time().await?;
    let id = sqlx::query_scalar!(
        "
        insert into tidegate.push_batch (job, connection, campaign_id, template_id, rows)
        values ($1, $2, $3, $4, cardinality($5::uuid[]))
        returning id
        ",
        batch.job,
        batch.connection,
        batch.campaign_id,
        batch.template_id,
        batch.keys,
    )
    .fetch_one(&mut *transaction)
    .in_time()
    .await?;
    let claimed = sqlx::query!(
        "
        insert into tidegate.push_row (job, row_key, batch_id)
        select $1, row_key, $3 from unnest($2::uuid[]) as keys (row_key)
        on conflict on constraint push_row_pkey do nothing
        ",
        batch.job,
        batch.keys,
        id,
    )
    .execute(&mut *transaction)
    .in_time()
    .await?;
    if claimed.rows_affected() != batch.keys.len() as u64 {
        transaction.rollback().in_time().await?;
        return Ok(None);
    }
    transaction.commit().in_time().await?;
    Ok(Some(id))
}

/// Deletes a batch that certainly did not arrive and is sent again at once.
pub async fn unclaim(executor: impl PgExecutor<'_>, id: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.push_batch where id = $1 and state in ('sending', 'unknown')", id)
        .execute(executor)
        .in_time()
        .await?;
    Ok(())
}

/// Records that the vendor has accepted a batch, even if another process has marked it as unknown in the meantime.
pub async fn taken(
    executor: impl PgExecutor<'_>,
    id: i64,
    task: Option<&str>,
    said: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.push_batch
        set state = 'sent', task_id = $2, task_state = $3, error = null, answered_at = clock_timestamp(),
            finished_at = null
        where id = $1 and state in ('sending', 'unknown')
        ",
        id,
        task,
        said,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Records that the vendor has refused a batch: its rows may be sent again.
pub async fn refused(connection: &mut PgConnection, id: i64, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with freed as (
            delete from tidegate.push_row where batch_id = $1
        )
        update tidegate.push_batch
        set state = 'refused', error = $2, answered_at = clock_timestamp(), finished_at = clock_timestamp()
        where id = $1
        ",
        id,
        error,
    )
    .execute(connection)
    .in_time()
    .await?;
    Ok(())
}

/// Records that the response to a batch was lost.
pub async fn lost(executor: impl PgExecutor<'_>, id: i64, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.push_batch
        set state = 'unknown', error = $2, finished_at = clock_timestamp()
        where id = $1 and state in ('sending', 'unknown')
        ",
        id,
        error,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// The state of an accepted batch's task at the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskNote {
    Running,
    Done,
    Failed,
}

/// Records the state of a batch at the vendor.
pub async fn task(executor: impl PgExecutor<'_>, id: i64, note: TaskNote, said: &str) -> Result<(), sqlx::Error> {
    let (state, error) = match note {
        TaskNote::Running => ("sent", None),
        TaskNote::Done => ("done", None),
        TaskNote::Failed => ("failed", Some(said)),
    };
    sqlx::query!(
        "
        update tidegate.push_batch
        set state = $2, task_state = $3, error = $4, answered_at = coalesce(answered_at, clock_timestamp()),
            finished_at = case when $2 = 'sent' then null else clock_timestamp() end
        where id = $1 and state in ('sending', 'unknown', 'sent')
        ",
        id,
        state,
        said,
        error,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// A batch that the vendor is processing.
#[derive(Debug, Clone)]
pub struct Open {
    pub id: i64,
    pub task_id: String,
}

/// The batches of `job` whose tasks are not known to have ended.
pub async fn open(executor: impl PgExecutor<'_>, job: &str) -> Result<Vec<Open>, sqlx::Error> {
    sqlx::query_as!(
        Open,
        r#"
        select id, task_id as "task_id!"
        from tidegate.push_batch
        where job = $1 and state = 'sent' and task_id is not null
        order by id
        "#,
        job
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// The state of a batch.
#[derive(Debug, Clone, Serialize)]
pub struct Batch {
    pub id: i64,
    pub rows: i64,
    pub state: String,
    pub task_id: Option<String>,
    pub task_state: Option<String>,
    pub error: Option<String>,
}

/// These batches, oldest first.
pub async fn batches(executor: impl PgExecutor<'_>, ids: &[i64]) -> Result<Vec<Batch>, sqlx::Error> {
    sqlx::query_as!(
        Batch,
        "
        select id, rows, state, task_id, task_state, error
        from tidegate.push_batch
        where id = any($1)
        order by id
        ",
        ids
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// How many batches of a job are in a state, and their rows.
#[derive(Debug, Clone, Serialize)]
pub struct BatchCounts {
    pub job: String,
    pub state: String,
    pub batches: i64,
    pub rows: i64,
}

/// What these jobs have sent, by state.
pub async fn tally(executor: impl PgExecutor<'_>, jobs: &[String]) -> Result<Vec<BatchCounts>, sqlx::Error> {
    sqlx::query_as!(
        BatchCounts,
        r#"
        select job, state, count(*) as "batches!", sum(rows)::bigint as "rows!"
        from tidegate.push_batch
        where job = any($1)
        group by job, state
        order by job, state
        "#,
        jobs
    )
    .fetch_all(executor)
    .in_time()
    .await
}
