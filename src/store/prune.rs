//! Deletes what is older than the configuration keeps, a bounded number of rows at a time.
//!
//! Nothing is deleted that decisions depend on. The newest run of a job stays at any age, and `tidegate.job` knows
//! which firings were handled. Slices stay, because they are the cursor. So do the rows of `tidegate.push_row`, which
//! prevent a row from being sent twice. Several processes may prune at a time: each skips rows that another has locked.

use std::time::Duration;

use sqlx::PgExecutor;

use super::run::interval;

/// Deletes up to `limit` runs, with their tasks, that ended longer than `keep` ago. Returns how many.
pub async fn runs(executor: impl PgExecutor<'_>, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        with past as (
            select id
            from tidegate.run
            where
                -- Not `clock_timestamp()`, for which no index can be used.
                finished_at < now() - $1::interval
                and state in ('succeeded', 'held', 'failed', 'cancelled')
                and exists (select from tidegate.run as newer where newer.job = run.job and newer.id > run.id)
            order by finished_at
            limit $2
            for update skip locked
        )

        delete from tidegate.run
        using past
        where run.id = past.id
        ",
        interval(keep),
        limit,
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes those of the `limit` oldest rejected records that were stored longer than `keep` ago. Returns how many.
pub async fn rejects(executor: impl PgExecutor<'_>, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        with oldest as (
            -- Ids grow with time, so the index of the key is enough.
            select id, rejected_at
            from tidegate.rejected_record
            order by id
            limit $2
            for update skip locked
        )

        delete from tidegate.rejected_record
        using oldest
        where rejected_record.id = oldest.id and oldest.rejected_at < now() - $1::interval
        ",
        interval(keep),
        limit,
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}
