//! How far each stream was read, in total, for `tidegate cursors` and its reset. [`super::cursor`] has the slices.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgExecutor;

use super::session::Deadline as _;

/// How far a stream has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamCursor {
    pub connection: String,
    pub stream: String,
    pub table: String,
    /// First day of the slice grid.
    pub anchor: NaiveDate,
    pub timezone: String,
    pub slice: String,
    pub slices_finished: i64,
    /// Slices whose reading is unfinished.
    pub slices_unfinished: i64,
    /// Rows that the slices reported when they were last read. A row of mode `upsert` counts in each slice that
    /// reported it.
    pub rows: i64,
    pub first_window_start: Option<DateTime<Utc>>,
    pub read_until: Option<DateTime<Utc>>,
    pub last_success_at: Option<DateTime<Utc>>,
    /// The oldest slice that is being read.
    pub reading_window_start: Option<DateTime<Utc>>,
    pub reading_pages: Option<i32>,
    /// The run that reads the stream now.
    pub reader_run: Option<i64>,
}

/// Every stream that was ever begun, by connection and name.
pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<StreamCursor>, sqlx::Error> {
    sqlx::query_as!(
        StreamCursor,
        r#"
        select
            stream.connection,
            stream.stream,
            stream.table_schema || '.' || stream.table_name as "table!",
            stream.anchor,
            stream.timezone,
            stream.slice,
            total.finished as "slices_finished!",
            total.unfinished as "slices_unfinished!",
            total.rows_total as "rows!",
            total.first_start as first_window_start,
            newest.read_until as "read_until?",
            stream.last_success_at,
            reading.window_start as "reading_window_start?",
            reading.reading_pages as "reading_pages?",
            reader.id as "reader_run?"
        from tidegate.stream
        cross join lateral (
            select
                count(*) filter (where slice.finished_at is not null) as finished,
                count(*) filter (where slice.reading_run is not null) as unfinished,
                coalesce(sum(slice.rows_total), 0)::bigint as rows_total,
                min(slice.window_start) filter (where slice.window_start > 'epoch') as first_start
            from tidegate.slice
            where slice.connection = stream.connection and slice.stream = stream.stream
        ) as total
        left join lateral (
            select slice.read_until
            from tidegate.slice
            where
                slice.connection = stream.connection
                and slice.stream = stream.stream
                and slice.finished_at is not null
            order by slice.window_end desc
            limit 1
        ) as newest on true
        left join lateral (
            select
                case when slice.window_start > 'epoch' then slice.window_start end as window_start,
                slice.reading_pages
            from tidegate.slice
            where
                slice.connection = stream.connection
                and slice.stream = stream.stream
                and slice.reading_run is not null
            order by slice.window_start
            limit 1
        ) as reading on true
        left join tidegate.run as reader
            on
                reader.id = stream.holder_run
                and reader.state = 'running'
                and reader.lease_until > clock_timestamp()
        where not stream.unread
        order by stream.connection, stream.stream
        "#,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// A stream that no run can begin to read before the transaction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedStream {
    pub timezone: String,
    /// The live run that reads it.
    pub reader_run: Option<i64>,
}

/// Locks a stream against readers, if it was ever read. Waits for a checkpoint under way.
pub async fn lock(
    executor: impl PgExecutor<'_>,
    connection: &str,
    stream: &str,
) -> Result<Option<LockedStream>, sqlx::Error> {
    sqlx::query_as!(
        LockedStream,
        r#"
        select
            stream.timezone,
            (
                select run.id
                from tidegate.run
                where
                    run.id = stream.holder_run
                    and run.state = 'running'
                    and run.lease_until > clock_timestamp()
            ) as reader_run
        from tidegate.stream
        where stream.connection = $1 and stream.stream = $2
        for update of stream
        "#,
        connection,
        stream,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// The number of slices that a reset to `from` would delete, and the start of the first of them.
pub async fn forgettable(
    executor: impl PgExecutor<'_>,
    connection: &str,
    stream: &str,
    from: Option<DateTime<Utc>>,
) -> Result<(i64, Option<DateTime<Utc>>), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select
            count(*) as "slices!",
            min(window_start) filter (where window_start > 'epoch') as first_start
        from tidegate.slice
        where connection = $1 and stream = $2 and ($3::timestamptz is null or window_end > $3)
        "#,
        connection,
        stream,
        from,
    )
    .fetch_one(executor)
    .in_time()
    .await?;
    Ok((row.slices, row.first_start))
}
