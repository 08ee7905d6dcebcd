//! Partitions of which everything is too old.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::partitions::{self, Partition};
use super::super::{event, ident, lock};
use super::{Expired, LOCK_TIMEOUT, forget_slices};

/// The partitions of a table that end before what is kept, and that nothing holds. `None` if the table is not divided
/// by `_window_start`.
pub async fn old(conn: &mut PgConnection, expired: Expired<'_>) -> Result<Option<Vec<Partition>>, sqlx::Error> {
    let Some(all) = partitions::of_table(conn, expired.schema, expired.table).await? else { return Ok(None) };
    let mut old = Vec::new();
    for partition in all.into_iter().filter(|part| part.to.is_some_and(|to| to <= expired.kept_from)) {
        if !is_needed(conn, expired, &partition).await? {
            old.push(partition);
        }
    }
    Ok(Some(old))
}

/// Whether a slice of the partition is held, is being read, or reaches into what is kept.
async fn is_needed(conn: &mut PgConnection, expired: Expired<'_>, partition: &Partition) -> Result<bool, sqlx::Error> {
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
                and (slice.window_end > $5 or slice.held_since is not null or slice.reading_run is not null)
        ) as "exists!"
        "#,
        expired.schema,
        expired.table,
        partition.from,
        partition.to,
        expired.kept_from,
    )
    .fetch_one(conn)
    .await
}

/// Drops a partition with the slices of its rows, unless something needs it meanwhile. Returns whether it did.
pub async fn take_away(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    partition: &Partition,
) -> Result<bool, sqlx::Error> {
    let Expired { schema, table, kept_from } = expired;
    let mut transaction = conn.begin().await?;
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *transaction).await?;
    lock::hold(&mut transaction, &format!("structure of {schema}.{table}")).await?;
    let still = partitions::of_table(&mut transaction, schema, table).await?.unwrap_or_default();
    if !still.iter().any(|now| now.is(partition)) {
        return Ok(false);
    }
    // After this, no row can come into the partition. The table is locked first, as its readers do: in the other order,
    // a deadlock could cost a reader its query.
    let lock = format!("lock table only {} in access exclusive mode", ident::table(schema, table));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *transaction).await?;
    if is_needed(&mut transaction, expired, partition).await? {
        return Ok(false);
    }
    let part = ident::table(&partition.schema, &partition.name);
    sqlx::raw_sql(AssertSqlSafe(format!("drop table {part}"))).execute(&mut *transaction).await?;
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
        ",
        schema,
        table,
        partition.from,
        partition.to,
    )
    .fetch_all(&mut *transaction)
    .await?;
    forget_slices(&mut transaction, &slices, kept_from).await?;
    let name = &partition.name;
    let before = partition.to.map(|to| to.format("%Y-%m-%d").to_string()).unwrap_or_default();
    let summary = format!(
        "the partition {name} of {schema}.{table} was dropped, with the rows of {} slices before {before}: they are older than warehouse.keep",
        slices.len()
    );
    event::of_table(&mut *transaction, &summary).await?;
    transaction.commit().await?;
    Ok(true)
}
