//! Drops what is older than `warehouse.keep`: whole partitions, and rows in short transactions.
//!
//! The slices of old rows go before the rows, and with them their fingerprints and marks. So no slice ever counts as
//! complete whose rows are partly gone, also after a kill between the two, or if `keep` is raised then. What a stream
//! says of itself begins with what is kept, and its wanted data begin there too, so that nothing counts as missing. A
//! slice stays, with its rows, while it is held, is being read, or reaches into what is kept.

pub mod due;
pub mod entities;
pub mod partitions;
pub mod windows;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};

use super::session::Deadline as _;

/// Limits of a transaction that deletes rows: it waits for locks no longer than other changes of a table, and ends if
/// the search for old rows takes too long.
const LIMITS: &str = "set local lock_timeout = '3s'; set local statement_timeout = '5min'";
/// How long such a transaction is waited for: a little longer than the server works on it.
const STEP_MAX: Duration = Duration::from_mins(6);
/// Slices that one transaction deletes. Each of their streams is summarized anew, which reads all of its slices.
const SLICES_AT_A_TIME: i64 = 500;

/// A table of the warehouse and what is dropped of it.
#[derive(Debug, Clone, Copy)]
pub struct Expired<'a> {
    pub schema: &'a str,
    pub table: &'a str,
    /// What is wholly older than this is dropped.
    pub kept_from: DateTime<Utc>,
}

/// What a transaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Rows, or slices, that it deleted.
    pub gone: u64,
    /// Whether there may be more.
    pub more: bool,
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

/// The streams that fill a table and still want older data than it keeps.
pub async fn wanting_more(conn: &mut PgConnection, expired: Expired<'_>) -> Result<Vec<StreamName>, sqlx::Error> {
    sqlx::query_as!(
        StreamName,
        "
        select connection, stream
        from tidegate.stream
        where table_schema = $1 and table_name = $2 and wanted_from < $3
        order by connection, stream
        ",
        expired.schema,
        expired.table,
        expired.kept_from,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// Has a stream want no older data than its table keeps, so that what was never read of an earlier month does not count
/// as missing.
pub async fn want_less(conn: &mut PgConnection, expired: Expired<'_>, stream: &StreamName) -> Result<(), sqlx::Error> {
    let mut transaction = conn.begin().in_time().await?;
    sqlx::raw_sql(LIMITS).execute(&mut *transaction).in_time().await?;
    sqlx::query!(
        "
        update tidegate.stream
        set wanted_from = $3
        where connection = $1 and stream = $2 and wanted_from < $3
        ",
        stream.connection,
        stream.stream,
        expired.kept_from,
    )
    .execute(&mut *transaction)
    .in_time()
    .await?;
    transaction.commit().in_time().await
}

/// Deletes slices whose rows go next, with what is noted of them. The streams want no data that is older than
/// `kept_from` any more.
async fn forget_slices(conn: &mut PgConnection, slices: &[i64], kept_from: DateTime<Utc>) -> Result<(), sqlx::Error> {
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
