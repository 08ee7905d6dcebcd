//! Drops what is older than `warehouse.keep`: whole partitions, and rows in short transactions.
//!
//! With the rows of a window goes its slice, so that what a stream says of itself begins with what is kept, and the
//! stream's wanted data begin there too, so that nothing counts as missing. A slice stays, with its rows, while it is
//! held, is being read, or reaches into what is kept.

pub mod entities;
pub mod partitions;
pub mod windows;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::session::Deadline as _;

/// Old rows or partitions wait for locks no longer than other changes of a table.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '3s'";

/// A table of the warehouse and what is dropped of it.
#[derive(Debug, Clone, Copy)]
pub struct Expired<'a> {
    pub schema: &'a str,
    pub table: &'a str,
    /// What is wholly older than this is dropped.
    pub kept_from: DateTime<Utc>,
}

/// A stream, by connection and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName {
    pub connection: String,
    pub stream: String,
}

/// The streams that fill a table.
pub async fn streams(conn: &mut PgConnection, expired: Expired<'_>) -> Result<Vec<StreamName>, sqlx::Error> {
    sqlx::query_as!(
        StreamName,
        "
        select connection, stream
        from tidegate.stream
        where table_schema = $1 and table_name = $2
        order by connection, stream
        ",
        expired.schema,
        expired.table,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// What the next pass drops of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub slices: i64,
    /// As they were last read.
    pub rows: i64,
    pub oldest: DateTime<Utc>,
}

/// What of the table is older than what is kept. `None` if there is no such slice.
pub async fn waiting(conn: &mut PgConnection, expired: Expired<'_>) -> Result<Option<Waiting>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select
            count(*) as "slices!",
            coalesce(sum(slice.rows_total), 0)::bigint as "rows!",
            min(slice.window_start) as oldest
        from tidegate.slice
        inner join tidegate.stream
            on stream.connection = slice.connection and stream.stream = slice.stream
        where
            stream.table_schema = $1
            and stream.table_name = $2
            and slice.window_start > 'epoch'
            and slice.window_end <= $3
            and slice.held_since is null
            and slice.reading_run is null
        "#,
        expired.schema,
        expired.table,
        expired.kept_from,
    )
    .fetch_one(conn)
    .in_time()
    .await?;
    Ok(found.oldest.map(|oldest| Waiting { slices: found.slices, rows: found.rows, oldest }))
}

/// Deletes slices whose rows are gone, with what is noted of them. The streams want no data that is older than
/// `kept_from` any more.
pub(super) async fn forget_slices(
    conn: &mut PgConnection,
    slices: &[i64],
    kept_from: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if slices.is_empty() {
        return Ok(());
    }
    let streams = sqlx::query!(
        "
        select stream.connection, stream.stream, stream.reset_at
        from tidegate.stream
        where
            exists (
                select
                from tidegate.slice
                where
                    slice.id = any($1)
                    and slice.connection = stream.connection
                    and slice.stream = stream.stream
            )
        order by stream.connection, stream.stream
        for no key update
        ",
        slices,
    )
    .fetch_all(&mut *conn)
    .in_time()
    .await?;
    let connections: Vec<String> = streams.iter().map(|stream| stream.connection.clone()).collect();
    let names: Vec<String> = streams.iter().map(|stream| stream.stream.clone()).collect();
    let reset: Vec<Option<DateTime<Utc>>> = streams.iter().map(|stream| stream.reset_at).collect();
    sqlx::query!(
        "
        update tidegate.stream
        set wanted_from = greatest(wanted_from, $3)
        from unnest($1::text[], $2::text[]) as changed (connection, stream)
        where
            stream.connection = changed.connection
            and stream.stream = changed.stream
            and coalesce(stream.wanted_from < $3, true)
        ",
        &connections,
        &names,
        kept_from,
    )
    .execute(&mut *conn)
    .in_time()
    .await?;
    sqlx::query!("delete from tidegate.seen_row where slice_id = any($1)", slices)
        .execute(&mut *conn)
        .in_time()
        .await?;
    sqlx::query!("delete from tidegate.slice where id = any($1)", slices).execute(&mut *conn).in_time().await?;
    // A trigger noted that they are to be read again.
    sqlx::query!(
        "
        update tidegate.stream
        set reset_at = changed.reset_at
        from unnest($1::text[], $2::text[], $3::timestamptz[]) as changed (connection, stream, reset_at)
        where
            stream.connection = changed.connection
            and stream.stream = changed.stream
            and stream.reset_at is distinct from changed.reset_at
        ",
        &connections,
        &names,
        &reset as &[Option<DateTime<Utc>>],
    )
    .execute(conn)
    .in_time()
    .await?;
    Ok(())
}
