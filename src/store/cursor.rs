//! How far a stream has been read: its grid, its slices and the page token inside an unfinished one.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{Connection as _, PgExecutor};

use super::reading::{self, Position};
use super::session::Deadline as _;

/// A stream's stored slice grid, and sizes seen so far.
#[derive(Debug, Clone)]
pub struct StoredGrid {
    pub anchor: NaiveDate,
    pub timezone: String,
    pub slice: String,
    pub page_bytes: Option<i64>,
    pub slice_bytes: Option<i64>,
    /// Whether any slice was begun on this grid.
    pub used: bool,
}

/// Stores the grid that a stream starts with, unless it has one. Returns the one in force.
pub async fn ensure_stream(
    connection: &mut sqlx::PgConnection,
    connection_name: &str,
    stream: &str,
    table: (&str, &str),
    wanted: (NaiveDate, &str, &str),
) -> Result<StoredGrid, sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (connection, stream) do nothing
        ",
        connection_name,
        stream,
        table.0,
        table.1,
        wanted.0,
        wanted.1,
        wanted.2,
    )
    .execute(&mut *connection)
    .in_time()
    .await?;
    let grid = grid(&mut *connection, connection_name, stream).await?;
    match grid {
        Some(grid)
            if !grid.used && (grid.timezone != wanted.1 || grid.slice != wanted.2 || grid.anchor != wanted.0) =>
        {
            sqlx::query!(
                "
                update tidegate.stream
                set anchor = $3, timezone = $4, slice = $5
                where connection = $1 and stream = $2
                ",
                connection_name,
                stream,
                wanted.0,
                wanted.1,
                wanted.2,
            )
            .execute(&mut *connection)
            .in_time()
            .await?;
            Ok(StoredGrid { anchor: wanted.0, timezone: wanted.1.to_owned(), slice: wanted.2.to_owned(), ..grid })
        }
        Some(grid) => Ok(grid),
        None => Err(sqlx::Error::RowNotFound),
    }
}

/// The grid of a stream that was read before.
pub async fn grid(
    executor: impl PgExecutor<'_>,
    connection_name: &str,
    stream: &str,
) -> Result<Option<StoredGrid>, sqlx::Error> {
    sqlx::query_as!(
        StoredGrid,
        r#"
        select
            anchor,
            timezone,
            slice,
            page_bytes,
            slice_bytes,
            exists (
                select
                from tidegate.slice
                where slice.connection = stream.connection and slice.stream = stream.stream
            ) as "used!"
        from tidegate.stream
        where connection = $1 and stream = $2
        "#,
        connection_name,
        stream,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// A slice that was begun.
#[derive(Debug, Clone)]
pub struct Slice {
    pub id: i64,
    pub window_start: DateTime<Utc>,
    pub window_end: DateTime<Utc>,
    pub read_until: Option<DateTime<Utc>>,
    pub finished_run: Option<i64>,
    pub rows_total: i64,
    pub position: Position,
    /// Rows that the table had of the slice when the reading began. `None` if it is not known.
    pub reading_present: Option<i64>,
    /// Whether the operator lets the next reading delete what it does not report.
    pub released: bool,
    /// Whether it is read again even if it is older than the lookback: it was released, or it is held and was last read
    /// more than a day ago.
    pub again: bool,
    /// Rows that the doubtful reading reported, if the slice is held.
    pub held_rows_reported: Option<i64>,
    /// Records that the doubtful reading rejected.
    pub held_records_rejected: i64,
    /// When the first doubtful reading of the hold began. What was written later does not count when a reading is
    /// judged.
    pub held_base_at: Option<DateTime<Utc>>,
}

/// The slice that a row of one of the two queries below describes.
macro_rules! slice {
    ($row:expr) => {
        Slice {
            id: $row.id,
            window_start: $row.window_start,
            window_end: $row.window_end,
            read_until: $row.read_until,
            finished_run: $row.finished_run,
            rows_total: $row.rows_total,
            position: Position {
                run: $row.reading_run,
                until: $row.reading_until,
                fresh: $row.reading_fresh,
                pages: $row.reading_pages,
                rows: $row.reading_rows,
                seen: $row.reading_seen,
                rejected: $row.reading_rejected,
                doubt: $row.reading_doubt,
                lacks_columns: $row.reading_lacks_columns,
                bytes: $row.reading_bytes,
                cursor: $row.cursor,
                fingerprinted: $row.fingerprinted,
                batches: $row.reading_batches,
            },
            reading_present: $row.reading_present,
            released: $row.released,
            again: $row.again,
            held_rows_reported: $row.held_rows_reported,
            held_records_rejected: $row.held_records_rejected,
            held_base_at: $row.held_base_at,
        }
    };
}

/// The slices of a stream that end after `after`, and those that are to be read [again](Slice::again), by start.
pub async fn slices(
    executor: impl PgExecutor<'_>,
    connection_name: &str,
    stream: &str,
    after: DateTime<Utc>,
) -> Result<Vec<Slice>, sqlx::Error> {
    sqlx::query!(
        r#"
        select
            id, window_start, window_end, read_until,
            -- A finish in the future was stored while the clock was ahead: the slice counts as unread.
            case when finished_at <= clock_timestamp() then finished_run end as finished_run,
            reading_run, reading_until, reading_fresh, reading_pages, reading_rows, reading_seen, reading_bytes, cursor, rows_total, fingerprinted, reading_batches,
            reading_present, reading_rejected, reading_doubt, released, held_rows_reported, held_records_rejected, held_base_at,
            reading_lacks_columns,
            (
                released
                or coalesce(held_since is not null and finished_at < clock_timestamp() - interval '1 day', false)
            ) as "again!"
        from tidegate.slice
        where
            connection = $1
            and stream = $2
            and (
                window_end > $3
                or released
                or (held_since is not null and finished_at < clock_timestamp() - interval '1 day')
            )
        order by window_start
        "#,
        connection_name,
        stream,
        after,
    )
    .map(|row| slice!(row))
    .fetch_all(executor)
    .in_time()
    .await
}

/// The slice that starts at `window.0`. Created if it was never begun. If it had another end, its reading begins again,
/// and slices that begin within it are deleted: its next reading replaces their rows.
pub async fn open_slice(
    connection: &mut sqlx::PgConnection,
    connection_name: &str,
    stream: &str,
    window: (DateTime<Utc>, DateTime<Utc>),
) -> Result<Slice, sqlx::Error> {
    let mut transaction = connection.begin().in_time().await?;
    let changed = sqlx::query_scalar!(
        "
        insert into tidegate.slice as present (connection, stream, window_start, window_end)
        values ($1, $2, $3, $4)
        on conflict (connection, stream, window_start) do update
        set window_end = excluded.window_end
        where present.window_end <> excluded.window_end
        returning id
        ",
        connection_name,
        stream,
        window.0,
        window.1,
    )
    .fetch_optional(&mut *transaction)
    .in_time()
    .await?;
    if let Some(slice) = changed {
        reading::restart(&mut transaction, slice).await?;
        forget_within(&mut transaction, connection_name, stream, window).await?;
    }
    transaction.commit().in_time().await?;
    sqlx::query!(
        r#"
        select
            id, window_start, window_end, read_until,
            -- A finish in the future was stored while the clock was ahead: the slice counts as unread.
            case when finished_at <= clock_timestamp() then finished_run end as finished_run,
            reading_run, reading_until, reading_fresh, reading_pages, reading_rows, reading_seen, reading_bytes, cursor, rows_total, fingerprinted, reading_batches,
            reading_present, reading_rejected, reading_doubt, released, held_rows_reported, held_records_rejected, held_base_at,
            reading_lacks_columns,
            (
                released
                or coalesce(held_since is not null and finished_at < clock_timestamp() - interval '1 day', false)
            ) as "again!"
        from tidegate.slice
        where connection = $1 and stream = $2 and window_start = $3
        "#,
        connection_name,
        stream,
        window.0,
    )
    .map(|row| slice!(row))
    .fetch_one(&mut *connection)
    .in_time()
    .await
}

/// Deletes the slices that begin after the start of `window` and before its end.
async fn forget_within(
    connection: &mut sqlx::PgConnection,
    connection_name: &str,
    stream: &str,
    window: (DateTime<Utc>, DateTime<Utc>),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with forgotten as (
            delete from tidegate.slice
            where connection = $1 and stream = $2 and window_start > $3 and window_start < $4
            returning id
        )

        delete from tidegate.seen_row
        using forgotten
        where seen_row.slice_id = forgotten.id
        ",
        connection_name,
        stream,
        window.0,
        window.1,
    )
    .execute(connection)
    .in_time()
    .await?;
    Ok(())
}

/// How many slices of these streams of a connection wait for an export job that the vendor has begun. Only the run that
/// reads a slice waits for its job: after a failure the slice keeps the cursor, and if other streams of the next run
/// waited for that, none of them would ever begin.
pub async fn exports_running(
    executor: impl PgExecutor<'_>,
    connection_name: &str,
    streams: &[&str],
) -> Result<i64, sqlx::Error> {
    let streams: Vec<String> = streams.iter().map(|&stream| stream.to_owned()).collect();
    sqlx::query_scalar!(
        r#"
        select count(*) as "running!"
        from tidegate.slice
        where connection = $1 and stream = any($2) and reading_run is not null and cursor is not null
            and exists (
                select
                from tidegate.task
                inner join tidegate.run on run.id = task.run_id
                where task.run_id = slice.reading_run
                    and task.stream = slice.stream
                    and run.state in ('queued', 'running', 'waiting')
                    and task.state in ('queued', 'running', 'waiting')
            )
        "#,
        connection_name,
        &streams,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Forgets how far a stream was read from `from` on. Without `from`, deletes all of its slices.
pub async fn reset(
    connection: &mut sqlx::PgConnection,
    connection_name: &str,
    stream: &str,
    from: Option<DateTime<Utc>>,
) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "
        delete from tidegate.seen_row
        using tidegate.slice
        where
            seen_row.slice_id = slice.id
            and slice.connection = $1
            and slice.stream = $2
            and ($3::timestamptz is null or slice.window_end > $3)
        ",
        connection_name,
        stream,
        from,
    )
    .execute(&mut *connection)
    .in_time()
    .await?;
    let done = sqlx::query!(
        "
        delete from tidegate.slice
        where connection = $1 and stream = $2 and ($3::timestamptz is null or window_end > $3)
        ",
        connection_name,
        stream,
        from,
    )
    .execute(&mut *connection)
    .in_time()
    .await?;
    Ok(done.rows_affected())
}
