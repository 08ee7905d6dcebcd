//! Old rows of tables of windows that are not divided into partitions.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::ident;
use super::super::session::Deadline as _;
use super::{Expired, LIMITS, SLICES_AT_A_TIME, STEP_MAX, Step, StreamName, forget_slices};

/// Deletes some of the old slices of a stream, the oldest first. Their rows then belong to no slice.
pub async fn slices(conn: &mut PgConnection, expired: Expired<'_>, stream: &StreamName) -> Result<Step, sqlx::Error> {
    let mut transaction = conn.begin().in_time().await?;
    sqlx::raw_sql(LIMITS).execute(&mut *transaction).in_time().await?;
    let old = sqlx::query_scalar!(
        "
        select slice.id
        from tidegate.slice
        inner join tidegate.stream
            on stream.connection = slice.connection and stream.stream = slice.stream
        where
            slice.connection = $1
            and slice.stream = $2
            and slice.window_start > 'epoch'
            and slice.window_end <= $3
            and slice.held_since is null
            and (
                slice.reading_run is null
                or not exists (
                    select
                    from tidegate.run
                    where run.id in (slice.reading_run, stream.holder_run) and run.finished_at is null
                )
            )
        order by slice.window_start
        limit $4
        for update of slice skip locked
        ",
        stream.connection,
        stream.stream,
        expired.kept_from,
        SLICES_AT_A_TIME,
    )
    .fetch_all(&mut *transaction)
    .in_time()
    .await?;
    forget_slices(&mut transaction, &old, expired.kept_from).await?;
    transaction.commit().in_time().await?;
    let gone = u64::try_from(old.len()).unwrap_or(0);
    Ok(Step { gone, more: i64::try_from(gone).is_ok_and(|gone| gone >= SLICES_AT_A_TIME) })
}

/// The first connection after `before` that has rows in a table.
pub async fn connection_after(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    before: &str,
) -> Result<Option<String>, sqlx::Error> {
    let table = ident::table(expired.schema, expired.table);
    let statement = format!("select min(_connection) from {table} where _connection > $1");
    sqlx::query_scalar(AssertSqlSafe(statement)).persistent(false).bind(before).fetch_one(conn).in_time().await
}

/// Deletes up to `limit` old rows of a connection that belong to no slice: theirs was deleted, or its cursors were
/// reset. A row belongs to the slice whose window contains its `_window_start`.
pub async fn without_slice(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    connection: &str,
    limit: i64,
) -> Result<Step, sqlx::Error> {
    let mut transaction = conn.begin().in_time().await?;
    sqlx::raw_sql(LIMITS).execute(&mut *transaction).in_time().await?;
    // By a statement of its own, because a node of Citus does not have the slices.
    let left = sqlx::query!(
        "
        select slice.window_start, slice.window_end
        from tidegate.slice
        inner join tidegate.stream
            on stream.connection = slice.connection and stream.stream = slice.stream
        where
            stream.table_schema = $1
            and stream.table_name = $2
            and slice.connection = $3
            and slice.window_start < $4
        ",
        expired.schema,
        expired.table,
        connection,
        expired.kept_from,
    )
    .fetch_all(&mut *transaction)
    .in_time()
    .await?;
    let (begins, ends): (Vec<DateTime<Utc>>, Vec<DateTime<Utc>>) =
        left.into_iter().map(|slice| (slice.window_start, slice.window_end)).unzip();
    let table = ident::table(expired.schema, expired.table);
    // The connection is named for both, so that on Citus both are the rows of one node: only there a `ctid` is unique.
    // The time is, because the table may have been divided meanwhile: its partitions have the same places.
    let statement = format!(
        "delete from {table}
        where
            _connection = $1
            and _window_start < $2
            and ctid = any(array(
                select old.ctid
                from {table} as old
                where
                    old._connection = $1
                    and old._window_start < $2
                    and not exists (
                        select
                        from unnest($3::timestamptz[], $4::timestamptz[]) as slice (begins, ends)
                        where slice.begins <= old._window_start and old._window_start < slice.ends
                    )
                limit $5
                for update of old skip locked
            ))"
    );
    let done = sqlx::query(AssertSqlSafe(statement))
        .persistent(false)
        .bind(connection)
        .bind(expired.kept_from)
        .bind(begins)
        .bind(ends)
        .bind(limit)
        .execute(&mut *transaction)
        .within(STEP_MAX)
        .await?;
    transaction.commit().in_time().await?;
    let gone = done.rows_affected();
    Ok(Step { gone, more: i64::try_from(gone).is_ok_and(|gone| gone >= limit) })
}

/// The first of these columns that the table has, if rows are deleted from it one by one: it is an ordinary table, and
/// no other one inherits from it.
pub async fn has_columns(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    columns: &[&str],
) -> Result<Option<String>, sqlx::Error> {
    let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    sqlx::query_scalar!(
        r#"
        select attname::text as "name!"
        from pg_catalog.pg_class
        inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
        inner join pg_catalog.pg_attribute on attrelid = pg_class.oid and not attisdropped
        where
            nspname = $1
            and relname = $2
            and relkind = 'r'
            and atttypid = 'timestamptz'::regtype
            and attname::text = any($3)
            and not exists (select from pg_catalog.pg_inherits where inhparent = pg_class.oid)
        order by array_position($3, attname::text)
        limit 1
        "#,
        expired.schema,
        expired.table,
        &columns,
    )
    .fetch_optional(conn)
    .in_time()
    .await
}
