//! Deletes what is older than the configuration keeps, a bounded number of rows at a time.
//!
//! Nothing is deleted that decisions depend on. The newest run of a job stays at any age, and `tidegate.job` knows
//! which firings were handled. Slices stay, because they are the cursor. So do the rows of `tidegate.push_row`, which
//! prevent a row from being sent twice. Fingerprints only save work: without them, the next reading of a slice compares
//! its rows with the table. Several processes may prune at a time: each skips rows that another has locked.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgExecutor};

use super::reading;
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

/// Deletes the fingerprints of up to `limit` slices that were last read longer than `keep` ago, so that no lookback
/// includes them, or whose table does not exist. Returns how many slices had any.
///
/// Streams that a run holds are left out, since it may be about to compare rows with them. A run that has not ended
/// counts even if its lease has expired: its worker may only be suspended.
pub async fn fingerprints(conn: &mut PgConnection, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    let due = idle_streams(&mut transaction, keep, limit).await?;
    let connections: Vec<String> = due.iter().map(|stream| stream.connection.clone()).collect();
    let names: Vec<String> = due.iter().map(|stream| stream.stream.clone()).collect();
    let is_without_table: Vec<bool> = due.iter().map(|stream| stream.is_without_table).collect();
    // A statement of its own, which sees a run that took a stream just before the lock.
    let done = sqlx::query!(
        "
        with past as (
            select slice.id
            from unnest($1::text[], $2::text[], $3::boolean[]) as due (connection, stream, is_without_table)
            inner join tidegate.stream on stream.connection = due.connection and stream.stream = due.stream
            inner join tidegate.slice
                on
                    slice.connection = due.connection
                    and slice.stream = due.stream
                    and slice.fingerprinted
                    and slice.reading_run is null
                    and (due.is_without_table or slice.finished_at < now() - $4::interval)
            where
                not exists (
                    select from tidegate.run where run.id = stream.holder_run and run.finished_at is null
                )
            limit $5
            for update of slice skip locked
        ),

        gone as (
            delete from tidegate.fingerprint
            using past
            where fingerprint.slice_id = past.id
        )

        update tidegate.slice
        set fingerprinted = false
        from past
        where slice.id = past.id
        ",
        &connections,
        &names,
        &is_without_table,
        interval(keep),
        limit,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(done.rows_affected())
}

/// A stream that no run holds.
struct Idle {
    connection: String,
    stream: String,
    is_without_table: bool,
}

/// Locks up to `limit` streams that no run holds and that have fingerprints to be deleted.
async fn idle_streams(conn: &mut PgConnection, keep: Duration, limit: i64) -> Result<Vec<Idle>, sqlx::Error> {
    sqlx::query_as!(
        Idle,
        r#"
        select
            stream.connection,
            stream.stream,
            to_regclass(format('%I.%I', stream.table_schema, stream.table_name)) is null as "is_without_table!"
        from tidegate.stream
        where
            exists (
                select
                from tidegate.slice
                where
                    slice.connection = stream.connection
                    and slice.stream = stream.stream
                    and slice.fingerprinted
                    and slice.reading_run is null
                    and (
                        slice.finished_at < now() - $1::interval
                        or to_regclass(format('%I.%I', stream.table_schema, stream.table_name)) is null
                    )
            )
            and not exists (
                select from tidegate.run where run.id = stream.holder_run and run.finished_at is null
            )
        limit $2
        for update of stream skip locked
        "#,
        interval(keep),
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Gives up to `limit` unfinished readings up that no run will continue: no job reads their stream, and the run that
/// began them ended longer than `keep` ago. With them go the rows that they noted as seen, and incomplete fingerprints.
/// Returns how many there were.
pub async fn readings(conn: &mut PgConnection, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    let abandoned = sqlx::query_scalar!(
        "
        select slice.id
        from tidegate.slice
        inner join tidegate.stream on stream.connection = slice.connection and stream.stream = slice.stream
        where
            slice.reading_run is not null
            and stream.jobs = '{}'
            and not exists (
                select
                from tidegate.run
                where
                    run.id in (slice.reading_run, stream.holder_run)
                    and (run.finished_at is null or run.finished_at > now() - $1::interval)
            )
        limit $2
        for update of slice, stream skip locked
        ",
        interval(keep),
        limit,
    )
    .fetch_all(&mut *transaction)
    .await?;
    for &slice in &abandoned {
        reading::restart(&mut transaction, slice).await?;
    }
    transaction.commit().await?;
    Ok(abandoned.len() as u64)
}
