//! The state of a stream: one test for each case in which other tools were wrong.

use std::time::Instant;

use tidegate::store::run;
use tidegate::store::status::{self, Streams};
use tidegate::store::stream::{self, Expected, Trouble};
use tidegate::store::task::{self, TaskEnd, Temporary};

use super::{STREAM, execute, finished, text};
use crate::support::TestDatabase;

const STATE: &str = "select state || case when is_late then ', late' else '' end from mart.data_status";
/// A job with a schedule reads the stream, and expects a success within the hour.
const EXPECTED: &str = "update tidegate.stream
    set jobs = '{hourly}', last_success_at = now() - interval '5 minutes', expected_after = now() - interval '5 minutes',
        expected_by = now() + interval '1 hour', expected_every_seconds = 3600";

/// A database with a stream that is on time.
async fn on_time() -> TestDatabase {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    execute(&pool, finished(1, 3)).await;
    execute(&pool, EXPECTED).await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "on time");
    database
}

#[tokio::test]
async fn p11_a_stream_that_was_never_read_to_its_end_is_not_on_time() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "pending");
    assert_eq!(text(&pool, "select age_seconds::text from mart.data_status").await, None);
    execute(&pool, finished(1, 3)).await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "pending", "4 of 41 days are not on time");
    execute(&pool, EXPECTED).await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "on time");
    execute(&pool, "delete from tidegate.slice where window_start > '2026-01-02 00:00Z'").await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "pending", "it was reset");
}

#[tokio::test]
async fn p11_a_stream_is_paused_if_the_configuration_or_an_operator_pauses_each_of_its_jobs() {
    let database = on_time().await;
    let pool = database.pool();
    execute(
        &pool,
        "update tidegate.stream
         set jobs = '{daily,hourly,weekly}', active_jobs = '{daily,hourly}', expected_by = now() - interval '1 second'",
    )
    .await;
    let pause = |job: &str, until: &str| {
        format!(
            "insert into tidegate.pause (job, until, reason, actor) values ('{job}', now() + interval '{until}', 'x', 'y')
             on conflict (job) do update set until = excluded.until"
        )
    };
    for (job, until, state) in [
        ("other", "1 hour", "late, late"),
        ("hourly", "1 hour", "late, late"),
        ("daily", "-1 second", "late, late"),
        ("daily", "1 hour", "paused"),
        ("hourly", "-1 second", "late, late"),
        ("", "1 hour", "paused"),
        ("", "-1 second", "late, late"),
    ] {
        execute(&pool, pause(job, until)).await;
        assert_eq!(text(&pool, STATE).await.unwrap(), state, "{job:?} {until}");
    }
    execute(&pool, "update tidegate.stream set active_jobs = null").await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "late, late", "a version before did not say which jobs are paused");
}

#[tokio::test]
async fn p11_a_stream_is_late_by_its_schedule_and_never_while_it_is_paused_or_without_one() {
    let database = on_time().await;
    let pool = database.pool();
    execute(&pool, "update tidegate.stream set expected_by = now() - interval '1 second'").await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "late, late");
    for (change, state) in [
        ("paused = true", "paused"),
        ("paused = false, jobs = '{}'", "retired"),
        ("jobs = '{hourly}', expected_by = null", "on time"),
        // A task has succeeded since, and nobody has computed when the next success is expected.
        ("expected_by = now() - interval '1 second', last_success_at = now()", "on time"),
    ] {
        execute(&pool, format!("update tidegate.stream set {change}")).await;
        assert_eq!(text(&pool, STATE).await.unwrap(), state, "{change}");
    }
}

#[tokio::test]
async fn p11_a_stream_that_is_retried_has_not_failed_and_one_that_is_read_again_is_on_time_when_its_task_ends() {
    let database = on_time().await;
    let pool = database.pool();
    execute(
        &pool,
        "insert into tidegate.run (job, connection, kind) values ('hourly', 'acme', 'schedule');
        insert into tidegate.task (run_id, stream) select id, unnest(array['marks', 'other']) from tidegate.run",
    )
    .await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "on time", "queued");
    let lease = std::time::Duration::from_mins(1);
    let mut conn = pool.acquire().await.unwrap();
    let claim = run::claim(&mut conn, "worker", lease, |job| job == "hourly", None).await.unwrap().unwrap();
    drop(conn);
    assert!(run::hold_stream(&pool, &claim, "marks").await.unwrap());
    task::begin(&pool, &claim, "marks", 1).await.unwrap();
    assert_eq!(text(&pool, STATE).await.unwrap(), "reading");
    let until = chrono::Utc::now() + chrono::TimeDelta::minutes(1);
    let after = Some(Temporary { error: "HTTP 503".to_owned(), hint: "nothing to do".to_owned() });
    let end = TaskEnd::Waiting { until, waiting_for: "vendor".to_owned(), after };
    task::end(&pool, &claim, "marks", &end).await.unwrap();
    assert_eq!(text(&pool, STATE).await.unwrap(), "waiting");
    // Two failures are left to the next firings; the third in a row is not.
    let trouble = Trouble { error: "the vendor says a\0b", failed: true, needs_operator: false };
    for state in ["waiting", "waiting", "failed"] {
        stream::troubled(&pool, (claim.id, claim.fence), "marks", trouble).await.unwrap();
        assert_eq!(text(&pool, STATE).await.unwrap(), state);
    }
    let error = "select last_error from mart.data_status";
    assert_eq!(text(&pool, error).await.unwrap(), "the vendor says a\u{fffd}b");
    // The run still works on another stream.
    let expected = Some(Expected { by: until, every_secs: 3_600 });
    stream::succeeded(&pool, "acme", "marks", expected).await.unwrap();
    task::end(&pool, &claim, "marks", &TaskEnd::Succeeded).await.unwrap();
    assert_eq!(text(&pool, STATE).await.unwrap(), "on time");
    assert_eq!(text(&pool, error).await, None);
    // What an operator must put right has failed at once. A worker that lost the run says nothing.
    let trouble = Trouble { error: "credentials", failed: true, needs_operator: true };
    stream::troubled(&pool, (claim.id, claim.fence - 1), "marks", trouble).await.unwrap();
    assert_eq!(text(&pool, STATE).await.unwrap(), "on time");
    stream::troubled(&pool, (claim.id, claim.fence), "marks", trouble).await.unwrap();
    assert_eq!(text(&pool, STATE).await.unwrap(), "failed");
}

/// Nothing tells when its first success is expected, so it is never late.
#[tokio::test]
async fn p11_a_stream_that_fails_before_it_has_succeeded_has_failed_at_once() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    execute(
        &pool,
        "update tidegate.stream set jobs = '{daily}';
        insert into tidegate.run (job, connection, kind) values ('daily', 'acme', 'schedule');
        insert into tidegate.task (run_id, stream) select id, 'marks' from tidegate.run",
    )
    .await;
    let lease = std::time::Duration::from_mins(1);
    let mut conn = pool.acquire().await.unwrap();
    let claim = run::claim(&mut conn, "worker", lease, |job| job == "daily", None).await.unwrap().unwrap();
    drop(conn);
    let failed = Trouble { error: "the vendor did not respond", failed: true, needs_operator: false };
    let held = Trouble { failed: false, ..failed };
    let fail = async |trouble: Trouble<'_>| {
        stream::troubled(&pool, (claim.id, claim.fence), "marks", trouble).await.unwrap();
        text(&pool, STATE).await.unwrap()
    };
    assert_eq!(fail(held).await, "pending", "it did not fail");
    assert_eq!(fail(failed).await, "failed");
    execute(&pool, finished(1, 3)).await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "failed", "a part of it was read");
    stream::succeeded(&pool, "acme", "marks", None).await.unwrap();
    assert_eq!(text(&pool, STATE).await.unwrap(), "on time");
    assert_eq!(fail(failed).await, "on time", "it has succeeded before");
    // What failed before a reset says nothing about the readings after it.
    execute(&pool, "delete from tidegate.slice").await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "pending");
    assert_eq!(fail(failed).await, "failed");
    stream::succeeded(&pool, "acme", "marks", None).await.unwrap();
    execute(&pool, finished(1, 3)).await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "on time");
}

#[tokio::test]
async fn p11_a_gap_and_a_held_slice_are_states_of_their_own() {
    let database = on_time().await;
    let pool = database.pool();
    execute(&pool, finished(6, 7)).await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "gap");
    execute(
        &pool,
        "update tidegate.slice set held_since = now(), held_reason = 'r', held_rows_there = 9, held_rows_reported = 1
        where window_start = '2026-01-02 00:00Z'",
    )
    .await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "held");
    execute(&pool, "update tidegate.stream set expected_by = now() - interval '1 second'").await;
    assert_eq!(text(&pool, STATE).await.unwrap(), "held, late");
}

/// A weekly job: the last reading was held an hour ago, and everything of it is released.
#[tokio::test]
async fn p11_a_stream_whose_held_slices_are_released_needs_no_decision_and_is_late_if_the_next_reading_does_not_come() {
    let database = on_time().await;
    let pool = database.pool();
    let change = async |statement: &str| {
        execute(&pool, statement).await;
        text(&pool, STATE).await.unwrap()
    };
    execute(
        &pool,
        "update tidegate.slice
        set held_since = now(), held_reason = 'r', held_rows_there = 9, held_rows_reported = 1
        where window_start < '2026-01-03 00:00Z';
        update tidegate.stream
        set last_success_at = now() - interval '7 days', expected_after = now() - interval '7 days',
            expected_every_seconds = 7 * 86400, last_error_at = now() - interval '1 hour'",
    )
    .await;
    assert_eq!(change("update tidegate.stream set expected_by = now() - interval '1 minute'").await, "held, late");
    let release = |of: &str| format!("update tidegate.slice set released = true where held_since is not null {of}");
    assert_eq!(change(&release("and window_start < '2026-01-02 00:00Z'")).await, "held, late", "one of two");
    assert_eq!(change(&release("")).await, "pending", "the next reading is due in a week");
    let held = "select held::text || ' ' || held_slices from mart.data_status";
    assert_eq!(text(&pool, held).await.unwrap(), "true 2", "its data are not complete");
    let weeks_ago = |weeks: u32| {
        format!("update tidegate.stream set expected_by = expected_by - interval '{weeks} weeks',
            expected_after = expected_after - interval '{weeks} weeks', last_success_at = last_success_at - interval '{weeks} weeks',
            last_error_at = last_error_at - interval '{weeks} weeks'")
    };
    assert_eq!(change(&weeks_ago(1)).await, "pending");
    assert_eq!(change(&weeks_ago(2)).await, "late, late", "two firings later, nothing was read");
    assert_eq!(change("update tidegate.stream set last_error_at = now()").await, "pending", "something was read");
    // A reading that is held again has used its release up.
    let again = "update tidegate.slice set released = false where window_start < '2026-01-02 00:00Z'";
    assert_eq!(change(again).await, "held, late");
    let counts = "select held_slices || ' ' || released_slices from tidegate.stream";
    let read_again = "update tidegate.slice
        set released = false, held_since = clock_timestamp(), finished_at = clock_timestamp() where held_since is not null";
    for _ in 0..2 {
        execute(&pool, &release("")).await;
        assert_eq!(text(&pool, counts).await.unwrap(), "2 2");
        execute(&pool, read_again).await;
        assert_eq!(text(&pool, counts).await.unwrap(), "2 0");
    }
    let over = "update tidegate.slice
        set held_since = null, held_reason = null, held_rows_there = null, held_rows_reported = null, released = false";
    assert_eq!(change(over).await, "late, late");
    assert_eq!(text(&pool, counts).await.unwrap(), "0 0");
    execute(&pool, "delete from tidegate.slice").await;
    assert_eq!(text(&pool, counts).await.unwrap(), "0 0");
}

#[tokio::test]
async fn p11_ten_thousand_streams_cost_one_scan_of_small_rows() {
    let database = TestDatabase::create().await;
    let mut conn = database.connect().await;
    let fill = "
        set session_replication_role = replica;
        insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs,
            wanted_from, covers_from, read_through, complete_until, newest_data_until, last_finish_at, last_success_at,
            expected_after, expected_by, expected_every_seconds)
        select 'c' || c, 's' || n, 'lynn', 's' || n, current_date - 40, 'UTC', '1d', array['j' || n],
            now() - interval '40 days', now() - interval '40 days', now(), now(), now(), now(), now(), now(),
            now() + interval '1 hour', 3600
        from generate_series(1, 100) as c cross join generate_series(1, 100) as n;
        insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_at, finished_run)
        select connection, stream, now() - n * interval '1 day', now() - (n - 1) * interval '1 day', now(), now(), 1
        from tidegate.stream cross join generate_series(1, 4) as n;
        set session_replication_role = origin;
        vacuum analyze tidegate.stream, tidegate.slice";
    for statement in fill.split(';') {
        sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    }
    let mut transaction = sqlx::Connection::begin(&mut conn).await.unwrap();
    let begun = Instant::now();
    let rows: i64 = sqlx::query_scalar("select count(*) from mart.data_status where state = 'on time' and not is_late")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    println!("10,000 streams: {:?}", begun.elapsed());
    assert_eq!(rows, 10_000);
    let of = Streams { connections: vec!["c7".to_owned()], names: vec!["s7".to_owned()] };
    assert_eq!(status::streams(&mut transaction, &of).await.unwrap().len(), 1);
    let slices_read: i64 = sqlx::query_scalar(
        "select (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables where relname = 'slice'",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap();
    assert_eq!(slices_read, 0);
}
