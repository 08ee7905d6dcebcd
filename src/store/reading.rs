//! The reading of a slice: its position after a page, its end, and what the next reading compares with. Most of it is
//! part of a checkpoint, in its transaction.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::session::Deadline as _;

/// How far the reading of a slice has come.
#[derive(Debug, Clone, Default)]
pub struct Position {
    /// The run that began the reading. `None` if no reading is under way.
    pub run: Option<i64>,
    /// The end of the window that its pages are requested with.
    pub until: Option<DateTime<Utc>>,
    /// Whether the table has no row of the slice from an earlier reading.
    pub fresh: bool,
    /// Pages committed.
    pub pages: i32,
    pub rows: i64,
    /// Rows noted in `tidegate.seen_row`.
    pub seen: i64,
    /// Records rejected.
    pub rejected: i64,
    /// Why rows of child tables that were not reported are kept.
    pub doubt: Option<String>,
    /// Whether values are in `_extra` because the table was locked and got no columns for them.
    pub lacks_columns: bool,
    pub bytes: i64,
    /// Where the next page begins, in the vendor's terms.
    pub cursor: Option<String>,
    /// Whether `tidegate.fingerprint` knows every row that the table has of the slice.
    pub fingerprinted: bool,
    /// Batches of this reading whose fingerprints are kept. `None` if it keeps none.
    pub batches: Option<i32>,
}

/// Why a slice is held: its reading was doubtful, so rows that it did not report are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub reason: String,
    /// Rows that the table has of the slice.
    pub rows_there: i64,
    /// Rows that the reading reported.
    pub rows_reported: i64,
    /// Records that the reading rejected.
    pub records_rejected: i64,
    /// Whether there were rows, of the slice or of a child table, before the reading.
    pub had_rows: bool,
}

/// Moves the cursor after a page, in the page's transaction. Returns false unless the slice stood one page before `to`.
pub async fn advance(executor: impl PgExecutor<'_>, slice: i64, to: &Position) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.slice
        set
            reading_run = $2,
            reading_until = $3,
            reading_fresh = $4,
            reading_pages = $5,
            reading_rows = $6,
            reading_seen = $7,
            reading_bytes = $8,
            cursor = $9,
            fingerprinted = $10,
            reading_batches = $11,
            reading_rejected = $12,
            reading_doubt = $13,
            reading_lacks_columns = $14,
            lacks_columns_since = case
                when $14 then coalesce(lacks_columns_since, clock_timestamp())
                else lacks_columns_since
            end
        where id = $1 and reading_pages = $5::integer - 1
        ",
        slice,
        to.run,
        to.until,
        to.fresh,
        to.pages,
        to.rows,
        to.seen,
        to.bytes,
        to.cursor,
        to.fingerprinted,
        to.batches,
        to.rejected,
        to.doubt,
        to.lacks_columns,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores the cursor of a reading that waits for the vendor. Returns false if the slice has another number of pages.
pub async fn park(executor: impl PgExecutor<'_>, slice: i64, at: &Position) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.slice
        set reading_run = $2, reading_until = $3, reading_fresh = $4, cursor = $6
        where id = $1 and reading_pages = $5
        ",
        slice,
        at.run,
        at.until,
        at.fresh,
        at.pages,
        at.cursor,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the reading of a slice, in the transaction of its last page. Returns false unless the slice stood one page
/// before `at`. With `hold` the slice is held; without, a hold ends. `released`: the reading was allowed to
/// delete: a release that came later is kept for the next reading.
pub async fn finish(
    connection: &mut sqlx::PgConnection,
    slice: i64,
    run: i64,
    at: &Position,
    hold: Option<&Hold>,
    released: bool,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.slice
        set
            read_until = $3,
            finished_run = $2,
            finished_at = clock_timestamp(),
            rows_total = coalesce($8::bigint, $5::bigint),
            fingerprinted = $6,
            held_since = case when $7::text is not null then coalesce(held_since, clock_timestamp()) end,
            held_base_at = case
                -- If there was nothing before, everything that was reported counts.
                when $7::text is not null then
                    coalesce(held_base_at, case when $12::boolean then reading_began_at end)
            end,
            held_reason = $7,
            held_rows_there = $8,
            held_rows_reported = $9::bigint,
            held_records_rejected = $11::bigint,
            released = released and not $10::boolean,
            lacks_columns_since = case when $13::boolean then coalesce(lacks_columns_since, clock_timestamp()) end
        where id = $1 and reading_pages = $4::integer - 1
        ",
        slice,
        run,
        at.until,
        at.pages,
        at.rows,
        at.batches.is_some(),
        hold.map(|hold| hold.reason.as_str()),
        hold.map(|hold| hold.rows_there),
        hold.map(|hold| hold.rows_reported),
        released,
        hold.map_or(0, |hold| hold.records_rejected),
        hold.is_some_and(|hold| hold.had_rows),
        at.lacks_columns,
    )
    .execute(&mut *connection)
    .in_time()
    .await?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    clear(connection, slice).await?;
    Ok(true)
}

/// Stores how many rows the table has of a slice whose reading begins.
pub async fn note_present(executor: impl PgExecutor<'_>, slice: i64, rows: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update tidegate.slice set reading_present = $2, reading_began_at = clock_timestamp() where id = $1",
        slice,
        rows,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// How many rows a reading has noted as seen.
pub async fn count_seen(executor: impl PgExecutor<'_>, slice: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "found!" from tidegate.seen_row where slice_id = $1"#, slice)
        .fetch_one(executor)
        .in_time()
        .await
}

/// Forgets an unfinished reading: the slice is read from its first page again.
pub async fn restart(connection: &mut sqlx::PgConnection, slice: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.seen_row where slice_id = $1", slice)
        .execute(&mut *connection)
        .in_time()
        .await?;
    // If the slice has all fingerprints, they stay true for any rows that were read. Otherwise the incomplete ones are
    // of no use.
    sqlx::query!(
        "
        delete from tidegate.fingerprint
        using tidegate.slice
        where slice_id = $1 and slice.id = $1 and not slice.fingerprinted
        ",
        slice,
    )
    .execute(&mut *connection)
    .in_time()
    .await?;
    clear(connection, slice).await
}

/// Makes a slice unread, because the table has lost its rows.
pub async fn forget(connection: &mut sqlx::PgConnection, slice: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.slice
        set
            read_until = null,
            finished_run = null,
            finished_at = null,
            rows_total = 0,
            held_since = null,
            held_reason = null,
            held_rows_there = null,
            held_rows_reported = null,
            held_records_rejected = 0,
            held_base_at = null,
            released = false,
            lacks_columns_since = null
        where id = $1
        ",
        slice,
    )
    .execute(connection)
    .in_time()
    .await?;
    Ok(())
}

/// Resets the position of a slice: no reading is under way.
async fn clear(executor: impl PgExecutor<'_>, slice: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.slice
        set
            reading_run = null,
            reading_until = null,
            reading_fresh = false,
            reading_pages = 0,
            reading_rows = 0,
            reading_seen = 0,
            reading_bytes = 0,
            reading_present = null,
            reading_rejected = 0,
            reading_doubt = null,
            reading_lacks_columns = false,
            cursor = null,
            reading_batches = 0
        where id = $1
        ",
        slice,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Drops the fingerprints of a slice, because they are wrong: its rows are then compared with the table.
pub async fn distrust(connection: &mut sqlx::PgConnection, slice: i64) -> Result<(), sqlx::Error> {
    super::fingerprint::forget(&mut *connection, slice).await?;
    sqlx::query!("update tidegate.slice set fingerprinted = false where id = $1", slice)
        .execute(connection)
        .in_time()
        .await?;
    Ok(())
}

/// The size of a page, and of the slice that it ended.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    pub page_bytes: i64,
    /// Whether the page is typical. The last of several pages is not, nor is the only page of a window that is still
    /// open.
    pub typical: bool,
    /// Set with the last page of a slice.
    pub slice_bytes: Option<i64>,
    /// Whether the slice's window is over. Otherwise the size is only a lower bound.
    pub whole: bool,
}

/// Stores the size of a page, for estimates of calls and bytes.
pub async fn learn_traffic(
    executor: impl PgExecutor<'_>,
    connection_name: &str,
    stream: &str,
    traffic: Traffic,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.stream
        set
            page_bytes = greatest($3, case when $4 then page_bytes * 3 / 4 else page_bytes end),
            slice_bytes = case when $6 then coalesce($5, slice_bytes) else greatest($5, slice_bytes) end
        where connection = $1 and stream = $2
        ",
        connection_name,
        stream,
        traffic.page_bytes,
        traffic.typical,
        traffic.slice_bytes,
        traffic.whole,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Deletes the rejected records of a window whose reading begins again.
pub async fn clear_rejects(
    executor: impl PgExecutor<'_>,
    connection_name: &str,
    stream: &str,
    window: (DateTime<Utc>, DateTime<Utc>),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        delete from tidegate.rejected_record
        where connection = $1 and stream = $2 and window_start >= $3 and window_start < $4
        ",
        connection_name,
        stream,
        window.0,
        window.1,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}
