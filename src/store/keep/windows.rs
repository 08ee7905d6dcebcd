//! Old rows of tables of windows that are not divided into partitions.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::ident;
use super::{Expired, LOCK_TIMEOUT, StreamName, forget_slices};

/// Slices that one transaction deletes.
const SLICES_AT_A_TIME: i64 = 100;

/// What a transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub rows: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// Deletes up to `limit` rows of the oldest slices of a stream, and these slices if no row is left of them. `rows`:
/// whether the rows of the table belong to slices.
pub async fn slices(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    stream: &StreamName,
    rows: bool,
    limit: i64,
) -> Result<Step, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *transaction).await?;
    let old = sqlx::query!(
        "
        select id, window_start
        from tidegate.slice
        where
            connection = $1
            and stream = $2
            and window_start > 'epoch'
            and window_end <= $3
            and held_since is null
            and reading_run is null
        order by window_start
        limit $4
        for update skip locked
        ",
        stream.connection,
        stream.stream,
        expired.kept_from,
        SLICES_AT_A_TIME,
    )
    .fetch_all(&mut *transaction)
    .await?;
    if old.is_empty() {
        return Ok(Step { rows: 0, more: false });
    }
    let starts: Vec<DateTime<Utc>> = old.iter().map(|slice| slice.window_start).collect();
    let mut gone = 0;
    if rows {
        let table = ident::table(expired.schema, expired.table);
        let statement = format!(
            "delete from {table}
            where ctid = any(array(
                select ctid
                from {table}
                where _connection = $1 and _window_start = any($2)
                limit $3
            ))"
        );
        let done = sqlx::query(AssertSqlSafe(statement)).persistent(false);
        let done = done.bind(&stream.connection).bind(&starts).bind(limit).execute(&mut *transaction).await?;
        gone = done.rows_affected();
    }
    let all_gone = gone < u64::try_from(limit).unwrap_or(0);
    if all_gone {
        let ids: Vec<i64> = old.iter().map(|slice| slice.id).collect();
        forget_slices(&mut transaction, &ids, expired.kept_from).await?;
    }
    transaction.commit().await?;
    let was_full = i64::try_from(old.len()).is_ok_and(|count| count == SLICES_AT_A_TIME);
    Ok(Step { rows: gone, more: !all_gone || was_full })
}

/// The first connection after `before` that has rows in a table of windows.
pub async fn connection_after(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    before: &str,
) -> Result<Option<String>, sqlx::Error> {
    let table = ident::table(expired.schema, expired.table);
    let statement = format!("select min(_connection) from {table} where _connection > $1");
    sqlx::query_scalar(AssertSqlSafe(statement)).bind(before).fetch_one(conn).await
}

/// Deletes up to `limit` old rows of a connection that belong to no slice: its cursors were reset or forgotten.
pub async fn without_slice(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    connection: &str,
    limit: i64,
) -> Result<Step, sqlx::Error> {
    let table = ident::table(expired.schema, expired.table);
    let statement = format!(
        "delete from {table}
        where ctid = any(array(
            select old.ctid
            from {table} as old
            where
                old._connection = $1
                and old._window_start < $2
                and not exists (
                    select
                    from tidegate.slice
                    inner join tidegate.stream
                        on stream.connection = slice.connection and stream.stream = slice.stream
                    where
                        stream.table_schema = $3
                        and stream.table_name = $4
                        and slice.connection = old._connection
                        and slice.window_start = old._window_start
                )
            limit $5
            for update skip locked
        ))"
    );
    let done = sqlx::query(AssertSqlSafe(statement))
        .persistent(false)
        .bind(connection)
        .bind(expired.kept_from)
        .bind(expired.schema)
        .bind(expired.table)
        .bind(limit)
        .execute(conn)
        .await?;
    Ok(Step { rows: done.rows_affected(), more: i64::try_from(done.rows_affected()).is_ok_and(|gone| gone >= limit) })
}

/// Whether rows of the table are deleted one by one: it exists and is an ordinary table with these columns.
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
        order by array_position($3, attname::text)
        limit 1
        "#,
        expired.schema,
        expired.table,
        &columns,
    )
    .fetch_optional(conn)
    .await
}
