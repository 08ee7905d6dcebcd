//! Promise 11: from when to when each table is complete, and why it is not.

mod days;
mod dropped;
mod planned;
mod state;
pub mod summary;

use sqlx::{AssertSqlSafe, PgPool};

/// A stream of the connection `acme` that began on the 1st of January 2026, in days of UTC.
pub const STREAM: &str = "
    insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
    values ('acme', 'marks', 'lynn', 'marks', '2026-01-01', 'UTC', '1d')";

pub async fn execute(pool: &PgPool, statements: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(statements.into())).execute(pool).await.unwrap();
}

pub async fn text(pool: &PgPool, query: impl Into<String>) -> Option<String> {
    sqlx::query_scalar(AssertSqlSafe(query.into())).fetch_one(pool).await.unwrap()
}

/// Finished slices of `acme`/`marks`: the days `from..=to` of January 2026.
pub fn finished(from: u32, to: u32) -> String {
    format!(
        "insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at, rows_total)
        select 'acme', 'marks', day, day + interval '1 day', day + interval '1 day', 1, now() - interval '1 minute', 10
        from generate_series('2026-01-{from:02} 00:00Z'::timestamptz, '2026-01-{to:02} 00:00Z', '1 day') as day;"
    )
}
