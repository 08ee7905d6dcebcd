//! Slices that have values in `_extra` because their table was locked and got no columns for them.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::session::Deadline as _;

/// A slice whose rows may have such values.
#[derive(Debug, Clone)]
pub struct LackingSlice {
    pub id: i64,
    pub window_start: DateTime<Utc>,
    pub window_end: DateTime<Utc>,
}

/// The newest such slice of a stream that was read to its end. A slice that is held or released waits until that is
/// decided: its rows are judged by when they were written, and rows that are written now would not count.
pub async fn newest(
    executor: impl PgExecutor<'_>,
    connection_name: &str,
    stream: &str,
) -> Result<Option<LackingSlice>, sqlx::Error> {
    sqlx::query_as!(
        LackingSlice,
        "
        select id, window_start, window_end
        from tidegate.slice
        where
            connection = $1
            and stream = $2
            and lacks_columns_since is not null
            and reading_run is null
            and held_since is null
            and not released
        order by window_start desc
        limit 1
        ",
        connection_name,
        stream,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// Notes that the slice has no such values any more.
pub async fn fill(executor: impl PgExecutor<'_>, slice: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("update tidegate.slice set lacks_columns_since = null where id = $1", slice)
        .execute(executor)
        .in_time()
        .await?;
    Ok(())
}
