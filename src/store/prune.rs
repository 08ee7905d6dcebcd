//! Takes away what is older than the configuration wants to keep, a bounded number of rows at a time.
//!
//! Nothing that decides anything goes. A job's newest run stays, however old, and which firings were answered is in
//! `tidegate.job`; slices are the cursor and stay; so do the rows of `tidegate.push_row`, which keep a row from being
//! sent twice. Any number of processes may prune at a time: each takes rows that no other has.

use std::time::Duration;

use sqlx::PgExecutor;

use super::run::interval;

/// Forgets up to `limit` runs, with their tasks, that ended longer than `keep` ago; returns how many.
pub async fn runs(executor: impl PgExecutor<'_>, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        with past as (
            select id
            from tidegate.run
            where
                -- Not `clock_timestamp()`, which no index can answer.
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

/// Forgets those of the `limit` oldest refused records that were met longer than `keep` ago; returns how many.
pub async fn rejects(executor: impl PgExecutor<'_>, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        with oldest as (
            -- Ids grow with time, so this needs no index beside the key's.
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
