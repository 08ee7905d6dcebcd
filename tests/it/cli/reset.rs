//! `cursors reset` forgets how far streams were read, but never during a reading.

use sqlx::PgPool;

use super::shell::Shell;
use crate::support::TestDatabase;

/// Ten days of two streams, with days in Santiago (UTC-3 in summer).
async fn with_slices() -> TestDatabase {
    let database = TestDatabase::create().await;
    sqlx::raw_sql(
        "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
        select 'acme-lynn', stream, 'lynn', stream, '2026-01-01', 'America/Santiago', '1d'
        from unnest(array['survey_result', 'navigation_marks']) as stream;
        insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at)
        select connection, stream, day, day + interval '1 day', day + interval '1 day', 1, now()
        from tidegate.stream, generate_series(timestamptz '2026-01-01 03:00Z', '2026-01-10 03:00Z', '1 day') as day;
        insert into tidegate.seen_row (slice_id, row_key) select id, gen_random_uuid() from tidegate.slice",
    )
    .execute(&database.pool())
    .await
    .unwrap();
    database
}

async fn slices(pool: &PgPool, stream: &str) -> i64 {
    let query = sqlx::query_scalar("select count(*) from tidegate.slice where stream = $1").bind(stream);
    query.fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_reset_to_a_day_counts_days_in_the_streams_zone() {
    let database = with_slices().await;
    let shell = Shell::on(&database);
    let reset =
        shell.run(&["cursors", "reset", "lynn-yearly", "--stream", "survey_result", "--to", "2026-01-08"]).await;
    assert_eq!(
        reset.expect(0).stdout,
        "acme-lynn/survey_result: 3 slices are read again, from 2026-01-08T03:00:00Z on\n"
    );
    let pool = database.pool();
    assert_eq!((slices(&pool, "survey_result").await, slices(&pool, "navigation_marks").await), (7, 10));
    let seen: i64 = sqlx::query_scalar("select count(*) from tidegate.seen_row").fetch_one(&pool).await.unwrap();
    assert_eq!(seen, 17);
}

#[tokio::test]
async fn a_reset_without_a_day_forgets_all_streams_of_the_job() {
    let database = with_slices().await;
    let shell = Shell::on(&database);
    let reset = shell.run(&["cursors", "reset", "lynn-yearly", "--json"]).await.expect(0).json();
    assert_eq!(
        reset["reset"],
        serde_json::json!([
            { "connection": "acme-lynn", "stream": "navigation_marks", "from": "2026-01-01T03:00:00Z", "slices": 10 },
            { "connection": "acme-lynn", "stream": "survey_result", "from": "2026-01-01T03:00:00Z", "slices": 10 },
        ])
    );
    assert_eq!(slices(&database.pool(), "survey_result").await, 0);
    let again = shell.run(&["cursors", "reset", "lynn-yearly", "--yes"]).await.expect(0);
    assert!(again.stdout.contains("survey_result: nothing was read, so there is nothing to reset"), "{again:?}");
}

#[tokio::test]
async fn p1_a_stream_that_is_being_read_is_not_reset_and_neither_are_the_others() {
    let database = with_slices().await;
    let pool = database.pool();
    sqlx::raw_sql(
        "insert into tidegate.run (job, connection, kind, state, fence, lease_until)
        values ('lynn-yearly', 'acme-lynn', 'manual', 'running', 1, now() + interval '1 minute');
        update tidegate.stream set holder_run = 1, holder_fence = 1 where stream = 'survey_result'",
    )
    .execute(&pool)
    .await
    .unwrap();
    let shell = Shell::on(&database);
    let refused = shell.run(&["cursors", "reset", "lynn-yearly"]).await.expect(1);
    assert!(refused.stderr.starts_with("error: run 1 is reading `survey_result`\nhint: wait"), "{refused:?}");
    assert_eq!((slices(&pool, "survey_result").await, slices(&pool, "navigation_marks").await), (10, 10));

    // After its lease has ended, the run holds nothing: its next checkpoint finds the slice missing and is refused.
    sqlx::raw_sql("update tidegate.run set lease_until = now() - interval '1 second'").execute(&pool).await.unwrap();
    shell.run(&["cursors", "reset", "lynn-yearly"]).await.expect(0);
    assert_eq!((slices(&pool, "survey_result").await, slices(&pool, "navigation_marks").await), (0, 0));
}
