//! Slices that are held: their last reading was too doubtful to delete rows (promise 10).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgExecutor;

use super::session::Deadline as _;
use super::status::Streams;

/// A held slice. A list has one slice, without a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeldSlice {
    pub connection: String,
    pub stream: String,
    /// `None` for a list.
    pub window_start: Option<DateTime<Utc>>,
    pub window_end: Option<DateTime<Utc>>,
    /// Rows that the table has of the slice.
    pub rows_there: i64,
    /// Rows that the doubtful reading reported.
    pub rows_reported: i64,
    pub held_since: DateTime<Utc>,
    pub reason: String,
    /// Whether the operator lets the next reading delete.
    pub released: bool,
    /// When the release was given, and by whom. `None` if it is not released, or was by an earlier version.
    pub released_at: Option<DateTime<Utc>>,
    pub released_by: Option<String>,
}

/// The release of held slices that the next reading uses up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Release {
    /// How many of the held slices are released.
    pub slices: i64,
    /// When the last of them was released, and by whom. `None` if an earlier version did it.
    pub at: Option<DateTime<Utc>>,
    pub by: Option<String>,
}

/// The release of a stream's held slices. `None` if none of them is released.
pub async fn release_of(
    executor: impl PgExecutor<'_>,
    connection: &str,
    stream: &str,
) -> Result<Option<Release>, sqlx::Error> {
    let found = sqlx::query_as!(
        Release,
        r#"
        select
            count(*) as "slices!",
            max(released_at) as at,
            (array_agg(released_by order by released_at desc nulls last))[1] as by
        from tidegate.slice
        where connection = $1 and stream = $2 and held_since is not null and released
        "#,
        connection,
        stream,
    )
    .fetch_one(executor)
    .in_time()
    .await?;
    Ok(Some(found).filter(|found| found.slices > 0))
}

/// The first `limit` held slices by connection, stream and start. With `of`, only of those streams.
pub async fn list(
    executor: impl PgExecutor<'_>,
    of: Option<&Streams>,
    limit: i64,
) -> Result<Vec<HeldSlice>, sqlx::Error> {
    let (connections, streams) = of.map(|of| (of.connections.as_slice(), of.names.as_slice())).unzip();
    sqlx::query_as!(
        HeldSlice,
        r#"
        select
            connection as "connection!",
            stream as "stream!",
            case when window_start > 'epoch' then window_start end as window_start,
            case when window_start > 'epoch' then window_end end as window_end,
            held_rows_there as "rows_there!",
            held_rows_reported as "rows_reported!",
            held_since as "held_since!",
            held_reason as "reason!",
            released as "released!",
            case when released then released_at end as released_at,
            case when released then released_by end as released_by
        from tidegate.slice
        where
            held_since is not null
            and ($2::text[] is null or (connection, stream) in (select * from unnest($2::text[], $3::text[])))
        order by slice.connection, slice.stream, slice.window_start
        limit $1
        "#,
        limit,
        connections,
        streams,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// Which of these streams need a decision: they have held slices that are not released. By name.
pub async fn unreleased(
    executor: impl PgExecutor<'_>,
    connection: &str,
    streams: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select stream as "stream!"
        from tidegate.stream
        where connection = $1 and stream = any($2) and is_held
        order by stream
        "#,
        connection,
        streams,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// A sentence about the held slices of a stream, with the reason of the oldest. `None` if there are none. `within`: a
/// half-open range that they overlap.
pub async fn of_stream(
    executor: impl PgExecutor<'_>,
    connection: &str,
    stream: &str,
    within: Option<(DateTime<Utc>, DateTime<Utc>)>,
) -> Result<Option<String>, sqlx::Error> {
    let (from, until) = within.unzip();
    let held = sqlx::query!(
        r#"
        select count(*) as "slices!", (array_agg(held_reason order by held_since, window_start))[1] as reason
        from tidegate.slice
        where
            connection = $1
            and stream = $2
            and held_since is not null
            and ($3::timestamptz is null or window_end > $3)
            and ($4::timestamptz is null or window_start < $4)
        "#,
        connection,
        stream,
        from,
        until,
    )
    .fetch_one(executor)
    .in_time()
    .await?;
    Ok(held.reason.map(|reason| sentence(held.slices, &reason)))
}

/// The reason is that of the first slice: others may have other ones.
fn sentence(slices: i64, reason: &str) -> String {
    if slices == 1 {
        format!("1 slice is held: {reason}")
    } else {
        format!("{slices} slices are held; the first of them: {reason}")
    }
}

/// The sentence about a release for other operators.
pub fn released(slices: u64, connection: &str, stream: &str) -> String {
    let were = if slices == 1 { ("slice", "was") } else { ("slices", "were") };
    format!("{slices} held {} of {connection}/{stream} {} released", were.0, were.1)
}

/// Lets the next reading of the held slices of a stream delete what it does not report, and makes them due. `window` is
/// a half-open range of starts; a list is always released. `actor` gives the release. Returns how many slices were
/// released.
pub async fn release(
    executor: impl PgExecutor<'_>,
    connection: &str,
    stream: &str,
    window: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    actor: &str,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.slice
        set released = true, released_at = clock_timestamp(), released_by = $5
        where
            connection = $1
            and stream = $2
            and held_since is not null
            -- The first release stays recorded.
            and not released
            and (
                window_start = 'epoch'
                or (
                    ($3::timestamptz is null or window_start >= $3)
                    and ($4::timestamptz is null or window_start < $4)
                )
            )
        ",
        connection,
        stream,
        window.0,
        window.1,
        actor,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_that_of_one_slice() {
        let reason = "the vendor reported none of 364 rows";
        assert_eq!(sentence(1, reason), format!("1 slice is held: {reason}"));
        assert_eq!(sentence(2, reason), format!("2 slices are held; the first of them: {reason}"));
    }
}
