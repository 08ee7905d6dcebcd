//! Partitions of which everything is too old.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::partitions::{self, Partition};
use super::super::session::Deadline as _;
use super::super::{event, ident, lock};
use super::{Expired, LIMITS, SLICES_AT_A_TIME, Step, forget_slices};

/// Below the server's `deadlock_timeout`, and not longer than readers of the table may wait: they queue behind this
/// transaction while it waits for one of them.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '500ms'";

/// The partitions of a table that end before what is kept, and that nothing needs. `None` if the table is not divided
/// by `_window_start`.
pub async fn old(conn: &mut PgConnection, expired: Expired<'_>) -> Result<Option<Vec<Partition>>, sqlx::Error> {
    let Some(all) = partitions::of_table(conn, expired.schema, expired.table).in_time().await? else {
        return Ok(None);
    };
    let mut old = Vec::new();
    for partition in all.into_iter().filter(|part| part.to.is_some_and(|to| to <= expired.kept_from)) {
        if !is_needed(conn, expired, &partition).await? {
            old.push(partition);
        }
    }
    Ok(Some(old))
}

/// Whether a slice that begins in the partition, or before it, reaches into what is kept, or one with a part in it is
/// held or is being read. A reading that its run has given up does not count: nothing before what is kept is read, so
/// no run will go on with it.
async fn is_needed(conn: &mut PgConnection, expired: Expired<'_>, partition: &Partition) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select
            exists (
                select
                from tidegate.stream
                cross join lateral (
                    select slice.window_end
                    from tidegate.slice
                    where
                        slice.connection = stream.connection
                        and slice.stream = stream.stream
                        and slice.window_start < $4
                    order by slice.window_start desc
                    limit 1
                ) as newest
                where stream.table_schema = $1 and stream.table_name = $2 and newest.window_end > $5
            )
            or exists (
                select
                from tidegate.stream
                inner join tidegate.slice
                    on slice.connection = stream.connection and slice.stream = stream.stream
                where
                    stream.table_schema = $1
                    and stream.table_name = $2
                    and slice.held_since is not null
                    and slice.window_start < $4
                    and slice.window_end > coalesce($3::timestamptz, '-infinity')
            )
            or exists (
                select
                from tidegate.stream
                inner join tidegate.slice
                    on slice.connection = stream.connection and slice.stream = stream.stream
                where
                    stream.table_schema = $1
                    and stream.table_name = $2
                    and slice.reading_run is not null
                    and slice.window_start < $4
                    and slice.window_end > coalesce($3::timestamptz, '-infinity')
                    and exists (
                        select
                        from tidegate.run
                        where run.id in (slice.reading_run, stream.holder_run) and run.finished_at is null
                    )
            ) as "is_needed!"
        "#,
        expired.schema,
        expired.table,
        partition.from,
        partition.to,
        expired.kept_from,
    )
    .fetch_one(conn)
    .in_time()
    .await
}

/// Deletes some of the slices that begin in a partition which nothing needs.
pub async fn forget(conn: &mut PgConnection, expired: Expired<'_>, partition: &Partition) -> Result<Step, sqlx::Error> {
    let mut transaction = conn.begin().in_time().await?;
    sqlx::raw_sql(LIMITS).execute(&mut *transaction).in_time().await?;
    let slices = sqlx::query_scalar!(
        "
        select slice.id
        from tidegate.slice
        inner join tidegate.stream
            on stream.connection = slice.connection and stream.stream = slice.stream
        where
            stream.table_schema = $1
            and stream.table_name = $2
            and slice.window_start >= coalesce($3::timestamptz, '-infinity')
            and slice.window_start < $4
            and slice.window_end <= $5
            and slice.held_since is null
            and (
                slice.reading_run is null
                or not exists (
                    select
                    from tidegate.run
                    where run.id in (slice.reading_run, stream.holder_run) and run.finished_at is null
                )
            )
        -- So that few streams are summarized anew.
        order by slice.connection, slice.stream, slice.window_start
        limit $6
        for update of slice skip locked
        ",
        expired.schema,
        expired.table,
        partition.from,
        partition.to,
        expired.kept_from,
        SLICES_AT_A_TIME,
    )
    .fetch_all(&mut *transaction)
    .in_time()
    .await?;
    forget_slices(&mut transaction, &slices, expired.kept_from).await?;
    transaction.commit().in_time().await?;
    let gone = u64::try_from(slices.len()).unwrap_or(0);
    Ok(Step { gone, more: i64::try_from(gone).is_ok_and(|gone| gone >= SLICES_AT_A_TIME) })
}

/// Drops a partition whose slices were deleted, `slices` of them. Returns whether it did: not if a slice needs it, or
/// begins in it. Fails if it is in use, or if something depends on it.
pub async fn take_away(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    partition: &Partition,
    slices: u64,
) -> Result<bool, sqlx::Error> {
    let Expired { schema, table, .. } = expired;
    // Before the table is locked, and again when no load can change it.
    if is_needed(conn, expired, partition).await? || has_slices(conn, expired, partition).await? {
        return Ok(false);
    }
    let mut transaction = conn.begin().in_time().await?;
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *transaction).in_time().await?;
    lock::hold(&mut transaction, &format!("structure of {schema}.{table}")).await?;
    let still = partitions::of_table(&mut transaction, schema, table).in_time().await?.unwrap_or_default();
    if !still.iter().any(|now| now.is(partition)) {
        return Ok(false);
    }
    // After this, no row can come into the partition. The table is locked first, as its readers do: in the other order,
    // a deadlock could cost a reader its query.
    let lock = format!("lock table only {} in access exclusive mode", ident::table(schema, table));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *transaction).in_time().await?;
    if is_needed(&mut transaction, expired, partition).await?
        || has_slices(&mut transaction, expired, partition).await?
    {
        return Ok(false);
    }
    let part = ident::table(&partition.schema, &partition.name);
    sqlx::raw_sql(AssertSqlSafe(format!("drop table {part}"))).execute(&mut *transaction).in_time().await?;
    let name = &partition.name;
    let before = partition.to.map(|to| to.format("%Y-%m-%d").to_string()).unwrap_or_default();
    let summary = format!(
        "the partition {name} of {schema}.{table} was dropped, with the rows of {slices} slices before {before}: they are older than warehouse.keep"
    );
    event::of_table(&mut *transaction, &summary).await?;
    transaction.commit().in_time().await?;
    Ok(true)
}

/// Whether a slice begins in the partition.
async fn has_slices(conn: &mut PgConnection, expired: Expired<'_>, partition: &Partition) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select
            from tidegate.slice
            inner join tidegate.stream
                on stream.connection = slice.connection and stream.stream = slice.stream
            where
                stream.table_schema = $1
                and stream.table_name = $2
                and slice.window_start >= coalesce($3::timestamptz, '-infinity')
                and slice.window_start < $4
        ) as "exists!"
        "#,
        expired.schema,
        expired.table,
        partition.from,
        partition.to,
    )
    .fetch_one(conn)
    .in_time()
    .await
}
