//! Pruning by age.

use std::time::Duration;

use sqlx::PgPool;
use tidegate::schedule::enqueue_due;
use tidegate::store::prune;

use crate::support::daemon::{Daemon, SOON};
use crate::support::{TestDatabase, World, eventually};

const DAY: Duration = Duration::from_hours(24);

/// Runs as `(job, state, age in days)`, with a task each; their ids count from 1.
async fn runs(pool: &PgPool, runs: &[(&str, &str, i32)]) {
    for (job, state, days) in runs {
        sqlx::query(
            "with run as (
                insert into tidegate.run (job, connection, kind, state, scheduled_for, created_at, finished_at)
                select $1, 'acme', 'schedule', $2, at, at, case when $2 in ('succeeded', 'failed', 'cancelled') then at end
                from (select now() - make_interval(days => $3) as at) as moment
                returning id
            )
            insert into tidegate.task (run_id, stream) select id, 'navigation_marks' from run",
        )
        .bind(job)
        .bind(state)
        .bind(days)
        .execute(pool)
        .await
        .unwrap();
    }
}

async fn left(pool: &PgPool) -> Vec<i64> {
    sqlx::query_scalar("select id from tidegate.run order by id").fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn runs_older_than_the_setting_are_deleted_unless_they_still_matter() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let all = [
        ("hourly", "succeeded", 100),
        ("hourly", "failed", 99),
        ("hourly", "cancelled", 98),
        ("hourly", "waiting", 97),
        ("yearly", "succeeded", 200),
        ("hourly", "succeeded", 91),
        ("hourly", "succeeded", 89),
        ("hourly", "succeeded", 1),
    ];
    runs(&pool, &all).await;
    // Two at a time, the oldest first.
    assert_eq!(prune::runs(&pool, 90 * DAY, 2).await.unwrap(), 2);
    assert_eq!(left(&pool).await, [3, 4, 5, 6, 7, 8]);
    assert_eq!(prune::runs(&pool, 90 * DAY, 100).await.unwrap(), 2);
    assert_eq!(left(&pool).await, [4, 5, 7, 8], "unfinished, a job's only run, and what is young");
    let tasks: i64 = sqlx::query_scalar("select count(*) from tidegate.task").fetch_one(&pool).await.unwrap();
    assert_eq!(tasks, 4);
    assert_eq!(prune::runs(&pool, 90 * DAY, 100).await.unwrap(), 0);
}

#[tokio::test]
async fn rejected_records_are_deleted_by_their_own_age() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    sqlx::query(
        "insert into tidegate.rejected_record (run_id, connection, stream, window_start, reason, record, rejected_at)
        select 1, 'acme', 'navigation_marks', now(), 'no number', '{}', now() - make_interval(days => 100 - n)
        from generate_series(1, 99) as n",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(prune::rejects(&pool, 30 * DAY, 40).await.unwrap(), 40);
    assert_eq!(prune::rejects(&pool, 30 * DAY, 40).await.unwrap(), 30);
    assert_eq!(prune::rejects(&pool, 30 * DAY, 40).await.unwrap(), 0);
}

#[tokio::test]
async fn p8_a_firing_whose_run_was_pruned_does_not_come_back() {
    let world = World::with(crate::support::world::Recipe {
        job: vec!["schedule: \"0 0 * * *\"".to_owned(), "catch_up: all".to_owned()],
        ..Default::default()
    })
    .await;
    let (pool, config) = (world.database.pool(), world.config());
    let jobs: Vec<_> = config.jobs.values().collect();
    let mut conn = pool.acquire().await.unwrap();
    let now = chrono::Utc::now();
    assert_eq!(enqueue_due(&mut conn, &jobs, now - chrono::TimeDelta::days(3)).await.unwrap(), []);
    for _ in 0..3 {
        assert_eq!(enqueue_due(&mut conn, &jobs, now).await.unwrap().len(), 1);
        sqlx::query("update tidegate.run set state = 'succeeded', finished_at = now() - interval '9 days'")
            .execute(&mut *conn)
            .await
            .unwrap();
    }
    assert_eq!(prune::runs(&mut *conn, DAY, 100).await.unwrap(), 2);
    assert_eq!(enqueue_due(&mut conn, &jobs, now).await.unwrap(), []);
    // Even if only a manual run is left.
    sqlx::query("update tidegate.run set kind = 'manual', scheduled_for = null").execute(&mut *conn).await.unwrap();
    assert_eq!(enqueue_due(&mut conn, &jobs, now).await.unwrap(), []);
}

#[tokio::test]
async fn two_processes_prune_at_the_same_time() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    sqlx::query(
        "insert into tidegate.run (job, connection, kind, state, finished_at)
        select 'hourly', 'acme', 'manual', 'succeeded', now() - interval '9 days' from generate_series(1, 2001)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let drain = async |pool: PgPool| {
        let mut sum = 0;
        while let gone @ 1.. = prune::runs(&pool, DAY, 50).await.unwrap() {
            sum += gone;
        }
        sum
    };
    let (one, other) = tokio::join!(drain(database.another_pool(1)), drain(database.another_pool(1)));
    assert_eq!(one + other, 2000);
    assert_eq!(left(&pool).await, [2001]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_deletes_what_the_configuration_does_not_keep() {
    let world = World::new().await;
    let pool = world.database.pool();
    runs(&pool, &[("lynn", "succeeded", 40), ("lynn", "failed", 35), ("lynn", "succeeded", 2)]).await;
    let _kept = Daemon::start(&world).await;
    world.edit_config(|text| format!("history: {{ keep_runs: 30d }}\n{text}"));
    // The process without a limit still runs. The next one begins with pruning.
    let _pruning = Daemon::start(&world).await;
    eventually(SOON, async || (left(&pool).await == [3]).then_some(())).await;
}

/// Streams as `(name, table, the run that holds it)`, and slices as `(stream, days since they were read, is being
/// read)`. Each slice has a fingerprint. Ids of slices count from 1.
async fn slices(pool: &PgPool, streams: &[(&str, &str, Option<i64>)], slices: &[(&str, i32, bool)]) {
    for (stream, table, holder) in streams {
        sqlx::query(
            "insert into tidegate.stream (
                connection, stream, table_schema, table_name, anchor, timezone, slice, holder_run, holder_fence
            )
            values ('acme', $1, 'lynn', $2, '2024-01-01', 'UTC', '1d', $3, 1)",
        )
        .bind(stream)
        .bind(table)
        .bind(holder)
        .execute(pool)
        .await
        .unwrap();
    }
    for (number, (stream, days, is_read)) in (1..).zip(slices) {
        sqlx::query(
            "with slice as (
                insert into tidegate.slice (
                    connection, stream, window_start, window_end, finished_at, fingerprinted, reading_run
                )
                select
                    'acme', $1, at, at + interval '1 day', now() - make_interval(days => $2), true,
                    case when $3 then 1 end
                from (select timestamptz '2024-01-01Z' + make_interval(days => $4) as at) as moment
                returning id
            )
            insert into tidegate.fingerprint (slice_id, batch, shape, row_keys, digests)
            select id, 0, 1, array[gen_random_uuid()], '' from slice",
        )
        .bind(stream)
        .bind(days)
        .bind(is_read)
        .bind(number)
        .execute(pool)
        .await
        .unwrap();
    }
}

/// Slices that have fingerprints, and those that say so.
async fn fingerprinted(pool: &PgPool) -> (Vec<i64>, Vec<i64>) {
    let stored =
        sqlx::query_scalar("select slice_id from tidegate.fingerprint order by 1").fetch_all(pool).await.unwrap();
    let said = sqlx::query_scalar("select id from tidegate.slice where fingerprinted order by 1").fetch_all(pool).await;
    (stored, said.unwrap())
}

#[tokio::test]
async fn fingerprints_that_no_reading_will_compare_with_are_deleted() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runs(&pool, &[("hourly", "running", 0), ("hourly", "succeeded", 0)]).await;
    let streams = [
        ("idle", "navigation_marks", None),
        ("ended", "navigation_marks", Some(2)),
        ("held", "navigation_marks", Some(1)),
        ("gone", "no_such_table", None),
    ];
    let all = [
        ("idle", 100, false),
        ("idle", 99, false),
        ("idle", 98, true),
        ("idle", 1, false),
        ("ended", 100, false),
        ("held", 100, false),
        ("gone", 1, false),
        ("gone", 100, false),
    ];
    slices(&pool, &streams, &all).await;
    let mut sum = 0;
    // Two at a time.
    while let gone @ 1.. = prune::fingerprints(&mut pool.acquire().await.unwrap(), 90 * DAY, 2).await.unwrap() {
        assert!(gone <= 2);
        sum += gone;
    }
    assert_eq!(sum, 5);
    let kept = vec![3, 4, 6];
    assert_eq!(fingerprinted(&pool).await, (kept.clone(), kept), "is being read, was read lately, or is held by a run");
    let slices: i64 = sqlx::query_scalar("select count(*) from tidegate.slice").fetch_one(&pool).await.unwrap();
    assert_eq!(slices, 8, "the slices are the cursor");
}

#[tokio::test]
async fn unfinished_readings_that_no_job_continues_are_given_up() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runs(&pool, &[("hourly", "failed", 100), ("hourly", "failed", 1)]).await;
    slices(
        &pool,
        &[
            ("retired", "navigation_marks", None),
            ("read", "navigation_marks", None),
            ("lately", "navigation_marks", None),
        ],
        &[("retired", 100, true), ("read", 100, true), ("lately", 1, true)],
    )
    .await;
    sqlx::raw_sql(
        "update tidegate.stream set jobs = case when stream = 'read' then array['hourly'] else '{}' end;
        update tidegate.slice set reading_run = 2 where stream = 'lately';
        update tidegate.slice set reading_pages = 3, cursor = 'page 3', reading_seen = 1;
        insert into tidegate.seen_row (slice_id, row_key) select id, gen_random_uuid() from tidegate.slice",
    )
    .execute(&pool)
    .await
    .unwrap();
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(prune::readings(&mut conn, 90 * DAY, 10).await.unwrap(), 1);
    assert_eq!(prune::readings(&mut conn, 90 * DAY, 10).await.unwrap(), 0);
    let seen: Vec<i64> =
        sqlx::query_scalar("select slice_id from tidegate.seen_row order by 1").fetch_all(&pool).await.unwrap();
    assert_eq!(seen, [2, 3]);
    let read: Vec<i64> = sqlx::query_scalar(
        "select id from tidegate.slice where reading_run is not null and cursor = 'page 3' order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(read, [2, 3]);
}

#[tokio::test]
async fn two_processes_prune_fingerprints_at_the_same_time() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let names: Vec<String> = (0..20).map(|number| format!("stream_{number}")).collect();
    let streams: Vec<_> = names.iter().map(|name| (&**name, "navigation_marks", None)).collect();
    let all: Vec<_> = names.iter().cycle().take(200).map(|name| (&**name, 100, false)).collect();
    slices(&pool, &streams, &all).await;
    let drain = async |pool: PgPool| {
        let mut sum = 0;
        for _ in 0..200 {
            sum += prune::fingerprints(&mut pool.acquire().await.unwrap(), 90 * DAY, 3).await.unwrap();
        }
        sum
    };
    let (one, other) = tokio::join!(drain(database.another_pool(1)), drain(database.another_pool(1)));
    assert_eq!(one + other, 200);
    assert_eq!(fingerprinted(&pool).await, (vec![], vec![]));
}
