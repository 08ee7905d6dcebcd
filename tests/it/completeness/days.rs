//! Whether a day is complete, and who may ask.

use sqlx::Executor as _;

use super::{STREAM, execute, finished, text};
use crate::support::TestDatabase;

#[tokio::test]
async fn p11_a_day_is_complete_partial_missing_or_held_and_the_open_day_is_partial() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM.replace("'UTC'", "'America/Santiago'")).await;
    // The grid of the zone, three hours after that of UTC.
    execute(
        &pool,
        finished(1, 6).replace("00:00Z", "03:00Z")
            + "update tidegate.slice set read_until = window_end - interval '1 hour' where window_start::date = '2026-01-02';
            update tidegate.slice set held_since = now(), held_reason = 'r', held_rows_there = 9, held_rows_reported = 1
            where window_start::date = '2026-01-05';
            delete from tidegate.slice where window_start::date = '2026-01-04';
            insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at)
            select 'acme', 'marks', day::timestamp at time zone 'America/Santiago',
                (day + 1)::timestamp at time zone 'America/Santiago', now() - interval '1 second', 1, now() - interval '1 second'
            from (select (now() at time zone 'America/Santiago' - interval '2 seconds')::date as day) as today",
    )
    .await;
    let days = "select string_agg(state || coalesce(' ' || rows, ''), ', ' order by day)
        from mart.day_status where connection = 'acme' and table_name = 'lynn.marks' and day <= '2026-01-07'";
    assert_eq!(
        text(&pool, days).await.unwrap(),
        "complete 10, partial 10, complete 10, missing, held 10, complete 10, missing"
    );
    let open = "select state from mart.day_status where last_read_at is not null order by day desc limit 1";
    assert_eq!(text(&pool, open).await.unwrap(), "partial");
}

#[tokio::test]
async fn p11_days_before_what_the_jobs_want_are_shown_if_they_were_read_and_are_never_missing() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    execute(&pool, "update tidegate.stream set wanted_from = '2026-01-02 00:00Z', jobs = '{daily}'").await;
    execute(&pool, finished(2, 4)).await;
    let days =
        "select string_agg(day || ' ' || state, ', ' order by day) from mart.day_status where day <= '2026-01-05'";
    let wanted = "2026-01-02 complete, 2026-01-03 complete, 2026-01-04 complete, 2026-01-05 missing";
    assert_eq!(text(&pool, days).await.unwrap(), wanted);
    // A backfill of many years that was cancelled.
    let cancelled = finished(1, 2).replace("2026-01", "2001-03")
        + "update tidegate.slice set read_until = window_start + interval '1 hour' where window_start = '2001-03-02 00:00Z'";
    execute(&pool, cancelled).await;
    let expected = format!("2001-03-01 complete, 2001-03-02 partial, {wanted}");
    assert_eq!(text(&pool, days).await.unwrap(), expected);
    let gap = "select has_gap::text from mart.data_status";
    assert_eq!(text(&pool, gap).await.unwrap(), "false", "the days agree with the state");
    // Nothing of what is wanted was read: the days between are not missing either.
    let later = "update tidegate.stream set wanted_from = '2026-01-05 00:00Z';
        delete from tidegate.slice where window_start >= '2026-01-01'";
    let mut conn = database.connect().await;
    conn.execute("begin").await.unwrap();
    sqlx::raw_sql(later).execute(&mut conn).await.unwrap();
    let left: String = sqlx::query_scalar(days).fetch_one(&mut conn).await.unwrap();
    assert_eq!(left, "2001-03-01 complete, 2001-03-02 partial, 2026-01-05 missing");
    conn.execute("rollback").await.unwrap();
    // One that reaches the days that are wanted makes the part without gaps longer.
    execute(&pool, finished(1, 1)).await;
    let expected = format!("2001-03-01 complete, 2001-03-02 partial, 2026-01-01 complete, {wanted}");
    assert_eq!(text(&pool, days).await.unwrap(), expected);
}

#[tokio::test]
async fn p11_days_of_a_long_slice_are_complete_without_rows_and_short_slices_add_up() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    execute(
        &pool,
        "insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at, rows_total)
        select 'acme', 'marks', at, at + length, least(at + length, '2026-01-09 12:00Z'), 1, now() - interval '1 minute', 4
        from (
            values ('2026-01-01 00:00Z'::timestamptz, interval '7 days'),
                ('2026-01-08 00:00Z', '6 hours'), ('2026-01-08 06:00Z', '18 hours'), ('2026-01-09 00:00Z', '18 hours')
        ) as slice (at, length)",
    )
    .await;
    let days = "select string_agg(state || coalesce(' ' || rows, ''), ', ' order by day) from mart.day_status
        where day between '2026-01-06' and '2026-01-10'";
    assert_eq!(text(&pool, days).await.unwrap(), "complete, complete, complete 8, partial 4, missing");
}

#[tokio::test]
async fn p11_readers_and_analysts_see_the_mart_but_not_the_control_schema() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    execute(&pool, finished(1, 2)).await;
    execute(
        &pool,
        "insert into tidegate.schema_change (connection, table_schema, table_name, column_name, change, new_type)
        values ('acme', 'lynn', 'marks', 'score', 'add_column', 'bigint')",
    )
    .await;
    for role in ["tidegate_reader", "tidegate_analyst"] {
        let mut session = database.connect().await;
        session.execute(sqlx::AssertSqlSafe(format!("set role {role}"))).await.unwrap();
        for view in ["data_status", "day_status where day < '2026-01-02'", "schema_changes"] {
            let query = format!("select source || ' ' || connection || ' ' || table_name from mart.{view}");
            let rows: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&mut session).await.unwrap();
            assert_eq!(rows, ["lynn acme lynn.marks"], "{role}: {view}");
        }
        for refused in [
            "select * from tidegate.stream",
            "select * from tidegate.stream_state",
            "select tidegate.summarize_stream('acme', 'marks', true, null)",
            "delete from mart.schema_changes",
            "create view mart.mine as select 1",
        ] {
            let error = session.execute(refused).await.unwrap_err();
            let code = error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
            assert_eq!(code.as_deref(), Some("42501"), "{role}: {refused}: {error}");
        }
    }
}
