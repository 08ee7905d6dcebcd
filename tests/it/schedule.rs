//! Enqueueing against a real Postgres (promise 8).

use std::time::Duration as Pause;

use chrono::{DateTime, Duration, NaiveDate, Utc};
use chrono_tz::Tz;
use sqlx::PgPool;
use tidegate::catalogue::SliceLength;
use tidegate::config::{Job, JobStream, NewFields, Warehouse};
use tidegate::connector;
use tidegate::cron::{CatchUp, Schedule};
use tidegate::schedule::{ByHand, Calendar, Enqueued, end_waits, enqueue_due, enqueue_manual};

use crate::support::{TestDatabase, at};

struct Database {
    pool: PgPool,
    _database: TestDatabase,
}

impl Database {
    /// With a connection for each of the concurrent schedulers.
    async fn fresh() -> Self {
        let database = TestDatabase::create().await;
        Self { pool: database.another_pool(20), _database: database }
    }

    async fn due(&self, jobs: &[&Job], now: DateTime<Utc>) -> Vec<Enqueued> {
        let mut conn = self.pool.acquire().await.unwrap();
        enqueue_due(&mut conn, jobs, now).await.unwrap()
    }

    /// The firings that are enqueued at `now`.
    async fn firings(&self, job: &Job, now: &str) -> Vec<DateTime<Utc>> {
        self.due(&[job], at(now)).await.into_iter().map(|enqueued| enqueued.scheduled_for).collect()
    }

    async fn end_runs(&self, state: &str) {
        sqlx::query("update tidegate.run set state = $1 where state in ('queued', 'running', 'waiting')")
            .bind(state)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    async fn runs(&self) -> i64 {
        sqlx::query_scalar("select count(*) from tidegate.run").fetch_one(&self.pool).await.unwrap()
    }

    async fn tasks(&self, run_id: i64) -> Vec<String> {
        sqlx::query_scalar("select stream from tidegate.task where run_id = $1 and state = 'queued' order by stream")
            .bind(run_id)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

fn job(name: &str, schedule: &str, catch_up: CatchUp) -> Job {
    let streams = connector::streams(connector::lynn::VENDOR)
        .into_iter()
        .filter(|stream| ["navigation_marks", "survey_result"].contains(&stream.name.as_ref()))
        .map(|stream| JobStream {
            stream: stream.into(),
            slice: SliceLength::Days(1),
            lookback: Pause::from_secs(0),
            new_fields: NewFields::Add,
            types: std::collections::BTreeMap::new(),
        })
        .collect();
    Job {
        name: name.to_owned(),
        connection: "acme-lynn".to_owned(),
        streams,
        schedule: Some(Schedule::parse(schedule, Tz::UTC).unwrap()),
        timezone: Tz::UTC,
        catch_up,
        start: NaiveDate::from_ymd_opt(2026, 1, 1).unwrap(),
        settle: Pause::from_mins(10),
        priority: 7,
        timeout: Pause::from_hours(1),
        paused: false,
        hold_below: 80,
        warehouse: Warehouse::default(),
        push: None,
    }
}

#[tokio::test]
async fn p8_a_firing_becomes_one_run_with_a_task_per_stream() {
    let database = Database::fresh().await;
    let hourly = job("hourly", "15 * * * *", CatchUp::Latest);
    assert!(database.firings(&hourly, "2026-01-01T10:00:00Z").await.is_empty(), "seen for the first time");
    assert!(database.firings(&hourly, "2026-01-01T10:14:59Z").await.is_empty());
    let enqueued = database.due(&[&hourly], at("2026-01-01T10:15:00Z")).await;
    assert_eq!(enqueued.len(), 1);
    assert_eq!((enqueued[0].job.as_str(), enqueued[0].scheduled_for), ("hourly", at("2026-01-01T10:15:00Z")));
    assert_eq!(database.tasks(enqueued[0].run_id).await, ["navigation_marks", "survey_result"]);
    let run: (String, String, i32, String) =
        sqlx::query_as("select connection, kind, priority, state from tidegate.run where id = $1")
            .bind(enqueued[0].run_id)
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!(run, ("acme-lynn".to_owned(), "schedule".to_owned(), 7, "queued".to_owned()));
    database.end_runs("succeeded").await;
    assert!(database.firings(&hourly, "2026-01-01T10:15:01Z").await.is_empty(), "the same firing never runs twice");
}

#[tokio::test]
async fn p8_firings_of_an_operators_pause_wait_and_catch_up_decides_afterwards() {
    for scope in ["'paused'", "''"] {
        let database = Database::fresh().await;
        for (catch_up, expected) in [
            (CatchUp::Latest, vec!["2026-01-01T12:15:00Z"]),
            (CatchUp::All, vec!["2026-01-01T10:15:00Z"]),
            (CatchUp::None, vec![]),
        ] {
            let job = job("paused", "15 * * * *", catch_up);
            sqlx::raw_sql("delete from tidegate.run; delete from tidegate.job; delete from tidegate.pause")
                .execute(&database.pool)
                .await
                .unwrap();
            database.firings(&job, "2026-01-01T10:00:00Z").await;
            let pause = format!(
                "insert into tidegate.pause (job, until, reason, actor)
                 values ({scope}, '2026-01-01T13:00:00Z', 'maintenance', 'operator')"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(pause)).execute(&database.pool).await.unwrap();
            for now in ["2026-01-01T10:15:00Z", "2026-01-01T11:15:00Z", "2026-01-01T12:59:59Z"] {
                assert!(database.firings(&job, now).await.is_empty(), "{scope} {catch_up:?} {now}");
            }
            let fired = database.firings(&job, "2026-01-01T13:00:00Z").await;
            assert_eq!(fired, expected.into_iter().map(at).collect::<Vec<_>>(), "{scope} {catch_up:?}");
        }
    }
}

#[tokio::test]
async fn p8_a_cached_schedule_changes_nothing() {
    let (forgetful, remembering) = tokio::join!(Database::fresh(), Database::fresh());
    let mut calendar = Calendar::default();
    let mut now = at("2026-03-28T20:00:00Z");
    let mut fired = 0;
    for step in 0..400_i64 {
        // Across a clock change of the zone, in steps of a second to half a day, with long gaps in between.
        now += Duration::seconds([1, 1, 59, 600, 1, 3_601, 47_000][usize::try_from(step % 7).unwrap()]);
        let (early, late) = ("*/10 * * * *", "30 2 * * *");
        let jobs: Vec<Job> = [CatchUp::Latest, CatchUp::None, CatchUp::All]
            .into_iter()
            .zip([40, 60, 90])
            .map(|(catch_up, phase)| Job {
                paused: step % phase > phase - 7,
                timezone: if step % 50 < 25 { Tz::Europe__Berlin } else { Tz::America__Santiago },
                ..job(&format!("{catch_up:?}"), if step / phase % 2 == 0 { early } else { late }, catch_up)
            })
            .collect();
        let jobs: Vec<&Job> = jobs.iter().collect();
        let firings = |enqueued: Vec<Enqueued>| -> Vec<_> {
            enqueued.into_iter().map(|enqueued| (enqueued.job, enqueued.scheduled_for)).collect()
        };
        let expected = firings(forgetful.due(&jobs, now).await);
        let mut conn = remembering.pool.acquire().await.unwrap();
        let enqueued = firings(calendar.enqueue_due(&mut conn, &jobs, now).await.unwrap());
        assert_eq!(enqueued, expected, "step {step} at {now}");
        fired += enqueued.len();
        if step % 3 != 1 {
            tokio::join!(forgetful.end_runs("succeeded"), remembering.end_runs("succeeded"));
        }
    }
    assert!(fired > 200, "{fired} firings");
}

#[tokio::test]
async fn p8_many_schedulers_enqueue_one_firing_once() {
    let database = Database::fresh().await;
    let jobs: Vec<Job> = (0..5).map(|number| job(&format!("job-{number}"), "*/5 * * * *", CatchUp::Latest)).collect();
    let jobs: Vec<&Job> = jobs.iter().collect();
    database.due(&jobs, at("2026-01-01T00:00:00Z")).await;
    for round in 1..=10 {
        // The replicas' clocks differ slightly.
        let replicas = (0..16).map(|replica| {
            database.due(&jobs, at("2026-01-01T00:00:00Z") + Duration::minutes(5 * round) + Duration::seconds(replica))
        });
        let mut enqueued: Vec<String> =
            futures_util::future::join_all(replicas).await.into_iter().flatten().map(|enqueued| enqueued.job).collect();
        enqueued.sort();
        assert_eq!(enqueued, ["job-0", "job-1", "job-2", "job-3", "job-4"], "round {round}");
        database.end_runs("succeeded").await;
    }
    assert_eq!(database.runs().await, 50);
}

#[tokio::test]
async fn p8_firings_that_are_due_at_once_become_runs_in_few_transactions() {
    let database = Database::fresh().await;
    let jobs: Vec<Job> = (0..450).map(|number| job(&format!("job-{number}"), "0 3 * * *", CatchUp::Latest)).collect();
    let jobs: Vec<&Job> = jobs.iter().collect();
    database.due(&jobs, at("2026-01-01T00:00:00Z")).await;
    let transactions = async |of: &str| -> i64 {
        let count = format!("select count(distinct xmin::text) from tidegate.{of}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&database.pool).await.unwrap()
    };
    assert_eq!(transactions("job").await, 1, "jobs that are seen for the first time");
    let enqueued = database.due(&jobs, at("2026-01-01T03:00:00Z")).await;
    assert_eq!(enqueued.len(), 450);
    assert!(enqueued.iter().map(|run| &run.job).eq(jobs.iter().map(|job| &job.name)), "in the order of the jobs");
    assert_eq!((database.runs().await, transactions("run").await, transactions("task").await), (450, 3, 3));
    let tasks: Vec<i64> = sqlx::query_scalar("select distinct count(*) from tidegate.task group by run_id")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(tasks, [2]);
    database.end_runs("succeeded").await;
    assert!(database.due(&jobs, at("2026-01-01T03:00:01Z")).await.is_empty());
}

#[tokio::test]
async fn p8_a_job_that_postgres_refuses_does_not_stop_those_that_are_due_with_it() {
    let database = Database::fresh().await;
    let jobs: Vec<Job> = (0..5).map(|number| job(&format!("job-{number}"), "*/5 * * * *", CatchUp::Latest)).collect();
    let jobs: Vec<&Job> = jobs.iter().collect();
    database.due(&jobs, at("2026-01-01T00:00:00Z")).await;
    sqlx::query("alter table tidegate.run add constraint refused check (job <> 'job-2')")
        .execute(&database.pool)
        .await
        .unwrap();
    let names = |enqueued: Vec<Enqueued>| -> Vec<String> { enqueued.into_iter().map(|run| run.job).collect() };
    let enqueued = names(database.due(&jobs, at("2026-01-01T00:05:00Z")).await);
    assert_eq!(enqueued, ["job-0", "job-1", "job-3", "job-4"]);
    sqlx::query("alter table tidegate.run drop constraint refused").execute(&database.pool).await.unwrap();
    assert_eq!(names(database.due(&jobs, at("2026-01-01T00:05:01Z")).await), ["job-2"]);
}

#[tokio::test]
async fn p8_a_job_that_postgres_refuses_again_and_again_spoils_no_batch() {
    let database = Database::fresh().await;
    let jobs: Vec<Job> = (0..5).map(|number| job(&format!("job-{number}"), "*/5 * * * *", CatchUp::Latest)).collect();
    let jobs: Vec<&Job> = jobs.iter().collect();
    let new = [job("a-new-one", "*/5 * * * *", CatchUp::Latest), job("another", "*/5 * * * *", CatchUp::Latest)];
    let all: Vec<&Job> = jobs.iter().copied().chain(&new).collect();
    let mut calendar = Calendar::default();
    let mut conn = database.pool.acquire().await.unwrap();
    calendar.enqueue_due(&mut conn, &jobs, at("2026-01-01T00:00:00Z")).await.unwrap();
    for constraint in [
        "alter table tidegate.run add constraint refused check (job <> 'job-2')",
        "alter table tidegate.job add constraint refused check (name <> 'a-new-one')",
    ] {
        sqlx::query(constraint).execute(&database.pool).await.unwrap();
    }
    for now in ["2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"] {
        let enqueued = calendar.enqueue_due(&mut conn, &all, at(now)).await.unwrap();
        let names: Vec<&str> = enqueued.iter().map(|run| &*run.job).filter(|name| *name != "another").collect();
        assert_eq!(names, ["job-0", "job-1", "job-3", "job-4"]);
        assert!(!calendar.others_enqueue(), "a refusal is not another process");
        database.end_runs("succeeded").await;
    }
    let transactions: i64 = sqlx::query_scalar(
        "select count(distinct task.xmin::text) from tidegate.task
        inner join tidegate.run on run.id = task.run_id where scheduled_for = '2026-01-01T00:10:00Z'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(transactions, 1, "the others are enqueued together");
    sqlx::query("alter table tidegate.run drop constraint refused").execute(&database.pool).await.unwrap();
    let enqueued = calendar.enqueue_due(&mut conn, &all, at("2026-01-01T00:10:01Z")).await.unwrap();
    assert_eq!(enqueued.iter().map(|run| &*run.job).collect::<Vec<_>>(), ["job-2"]);
}

#[tokio::test]
async fn p8_a_job_whose_last_run_is_unfinished_is_left_out_of_those_that_are_due_with_it() {
    let database = Database::fresh().await;
    let jobs: Vec<Job> = (0..3).map(|number| job(&format!("job-{number}"), "*/5 * * * *", CatchUp::Latest)).collect();
    let jobs: Vec<&Job> = jobs.iter().collect();
    database.due(&jobs, at("2026-01-01T00:00:00Z")).await;
    assert_eq!(database.due(&jobs, at("2026-01-01T00:05:00Z")).await.len(), 3);
    sqlx::query("update tidegate.run set state = 'succeeded' where job <> 'job-1'")
        .execute(&database.pool)
        .await
        .unwrap();
    let enqueued = database.due(&jobs, at("2026-01-01T00:10:00Z")).await;
    assert_eq!(enqueued.iter().map(|run| &*run.job).collect::<Vec<_>>(), ["job-0", "job-2"]);
}

#[tokio::test]
async fn p8_the_next_firing_is_known_without_another_look() {
    let database = Database::fresh().await;
    let (early, late) = (job("early", "7 * * * *", CatchUp::Latest), job("late", "9 * * * *", CatchUp::Latest));
    let jobs = [&early, &late];
    let mut calendar = Calendar::default();
    let mut conn = database.pool.acquire().await.unwrap();
    for now in ["2026-01-01T00:06:30Z", "2026-01-01T00:06:30Z"] {
        assert_eq!(calendar.enqueue_due(&mut conn, &jobs, at(now)).await.unwrap(), []);
    }
    assert_eq!(calendar.next_look(at("2026-01-01T00:06:30Z")), Some(at("2026-01-01T00:07:00Z")));
    assert_eq!(calendar.enqueue_due(&mut conn, &jobs, at("2026-01-01T00:07:00Z")).await.unwrap().len(), 1);
    // A minute after the last look at the other job.
    assert_eq!(calendar.next_look(at("2026-01-01T00:07:00Z")), Some(at("2026-01-01T00:07:30Z")));
}

#[tokio::test]
async fn p8_a_process_notices_that_another_one_is_enqueuing() {
    let database = Database::fresh().await;
    let often = job("often", "*/5 * * * *", CatchUp::Latest);
    database.due(&[&often], at("2026-01-01T00:00:00Z")).await;
    let (mut calendar, now) = (Calendar::default(), at("2026-01-01T00:05:00Z"));
    let mut other = database.pool.begin().await.unwrap();
    sqlx::query("select from tidegate.job for update").execute(&mut *other).await.unwrap();
    let mut conn = database.pool.acquire().await.unwrap();
    assert_eq!(calendar.enqueue_due(&mut conn, &[&often], now).await.unwrap(), []);
    assert!(calendar.others_enqueue());
    other.rollback().await.unwrap();
    assert_eq!(calendar.enqueue_due(&mut conn, &[&often], now).await.unwrap().len(), 1);
    assert!(!calendar.others_enqueue());
}

#[tokio::test]
async fn p8_schedulers_on_both_sides_of_a_firing_leave_one_unfinished_run() {
    let database = Database::fresh().await;
    let seconds = job("seconds", "* * * * * *", CatchUp::All);
    database.due(&[&seconds], at("2026-01-01T00:00:00Z")).await;
    let replicas = (1..=20).map(|second| {
        let seconds = &seconds;
        let database = &database;
        async move { database.due(&[seconds], at("2026-01-01T00:00:00Z") + Duration::seconds(second)).await }
    });
    futures_util::future::join_all(replicas).await;
    assert_eq!(database.runs().await, 1);
}

#[tokio::test]
async fn p8_after_downtime_each_job_catches_up_as_configured() {
    let database = Database::fresh().await;
    for (catch_up, expected) in [
        (CatchUp::Latest, vec!["2026-01-01T05:15:00Z"]),
        (CatchUp::None, vec![]),
        (CatchUp::All, vec!["2026-01-01T03:15:00Z", "2026-01-01T04:15:00Z", "2026-01-01T05:15:00Z"]),
    ] {
        let hourly = job(&format!("{catch_up:?}"), "15 * * * *", catch_up);
        assert!(database.firings(&hourly, "2026-01-01T01:30:00Z").await.is_empty());
        assert_eq!(database.firings(&hourly, "2026-01-01T02:15:01Z").await, [at("2026-01-01T02:15:00Z")]);
        database.end_runs("succeeded").await;
        let mut caught_up = Vec::new();
        for _ in 0..5 {
            caught_up.extend(database.firings(&hourly, "2026-01-01T05:30:00Z").await);
            database.end_runs("failed").await;
        }
        let expected: Vec<DateTime<Utc>> = expected.into_iter().map(at).collect();
        assert_eq!(caught_up, expected, "{catch_up:?}");
        assert_eq!(database.firings(&hourly, "2026-01-01T06:15:00Z").await, [at("2026-01-01T06:15:00Z")]);
        database.end_runs("succeeded").await;
    }
}

#[tokio::test]
async fn p8_a_restart_before_the_first_firing_loses_nothing() {
    let database = Database::fresh().await;
    let daily = job("daily", "0 3 * * *", CatchUp::Latest);
    assert!(database.firings(&daily, "2026-01-01T20:00:00Z").await.is_empty());
    // Stopped over 03:00, started again at nine.
    assert_eq!(database.firings(&daily, "2026-01-02T09:00:00Z").await, [at("2026-01-02T03:00:00Z")]);
}

#[tokio::test]
async fn p8_pruned_runs_are_not_enqueued_again() {
    let database = Database::fresh().await;
    let yearly = job("yearly", "@yearly", CatchUp::Latest);
    database.firings(&yearly, "2025-12-01T00:00:00Z").await;
    assert_eq!(database.firings(&yearly, "2026-01-01T00:00:00Z").await.len(), 1);
    sqlx::query("delete from tidegate.run").execute(&database.pool).await.unwrap();
    assert!(database.firings(&yearly, "2026-06-01T00:00:00Z").await.is_empty());
}

#[tokio::test]
async fn p8_a_job_never_has_two_unfinished_scheduled_runs() {
    let database = Database::fresh().await;
    for (catch_up, after_the_long_run) in [
        (CatchUp::Latest, vec!["2026-01-01T00:15:00Z"]),
        (CatchUp::None, vec![]),
        (CatchUp::All, vec!["2026-01-01T00:10:00Z"]),
    ] {
        let often = job(&format!("{catch_up:?}"), "*/5 * * * *", catch_up);
        database.firings(&often, "2026-01-01T00:00:00Z").await;
        assert_eq!(database.firings(&often, "2026-01-01T00:05:00Z").await.len(), 1);
        for state in ["queued", "running", "waiting"] {
            database.end_runs(state).await;
            assert!(database.firings(&often, "2026-01-01T00:10:00Z").await.is_empty(), "{catch_up:?} {state}");
        }
        database.end_runs("succeeded").await;
        let expected: Vec<DateTime<Utc>> = after_the_long_run.into_iter().map(at).collect();
        assert_eq!(database.firings(&often, "2026-01-01T00:18:00Z").await, expected, "{catch_up:?}");
        database.end_runs("succeeded").await;
    }
}

#[tokio::test]
async fn p8_firings_during_a_pause_are_not_caught_up() {
    let database = Database::fresh().await;
    let mut hourly = job("hourly", "15 * * * *", CatchUp::All);
    database.firings(&hourly, "2026-01-01T00:00:00Z").await;
    hourly.paused = true;
    assert!(database.firings(&hourly, "2026-01-01T00:15:00Z").await.is_empty());
    assert!(database.firings(&hourly, "2026-01-01T04:20:00Z").await.is_empty());
    hourly.paused = false;
    assert!(database.firings(&hourly, "2026-01-01T04:30:00Z").await.is_empty());
    assert_eq!(database.firings(&hourly, "2026-01-01T05:15:00Z").await, [at("2026-01-01T05:15:00Z")]);
}

#[tokio::test]
async fn p8_a_new_expression_does_not_fire_for_the_past() {
    let database = Database::fresh().await;
    let daily = job("job", "0 3 * * *", CatchUp::All);
    database.firings(&daily, "2026-01-01T00:00:00Z").await;
    assert_eq!(database.firings(&daily, "2026-01-01T03:00:00Z").await.len(), 1);
    database.end_runs("succeeded").await;
    let mut hourly = job("job", "15 * * * *", CatchUp::All);
    assert!(database.firings(&hourly, "2026-01-01T09:30:00Z").await.is_empty());
    assert_eq!(database.firings(&hourly, "2026-01-01T10:15:00Z").await, [at("2026-01-01T10:15:00Z")]);
    database.end_runs("succeeded").await;
    hourly.schedule = Some(Schedule::parse("15 * * * *", Tz::Asia__Kolkata).unwrap());
    assert!(database.firings(&hourly, "2026-01-01T10:50:00Z").await.is_empty(), "10:45Z is 16:15 in Kolkata");
}

#[tokio::test]
async fn p8_replicas_that_disagree_about_the_expression_lose_no_firing() {
    let database = Database::fresh().await;
    let (old, new) = (job("job", "15 * * * *", CatchUp::Latest), job("job", "15,45 * * * *", CatchUp::Latest));
    let mut enqueued = Vec::new();
    let start = at("2026-01-01T10:14:00Z");
    for second in 0..120 {
        for replica in [&old, &new] {
            enqueued.extend(database.due(&[replica], start + Duration::seconds(second)).await);
        }
        database.end_runs("succeeded").await;
    }
    assert_eq!(enqueued.iter().map(|run| run.scheduled_for).collect::<Vec<_>>(), [at("2026-01-01T10:15:00Z")]);
}

#[tokio::test]
async fn manual_runs_are_not_firings() {
    let database = Database::fresh().await;
    let hourly = job("hourly", "15 * * * *", CatchUp::Latest);
    database.firings(&hourly, "2026-01-01T00:00:00Z").await;
    let mut conn = database.pool.acquire().await.unwrap();
    let manual = enqueue_manual(&mut conn, &hourly, &["survey_result"], ByHand::Manual).await.unwrap();
    let (from, to) = (at("2025-01-01T00:00:00Z"), at("2025-02-01T00:00:00Z"));
    let streams = ["survey_result", "navigation_marks"];
    let backfill = enqueue_manual(&mut conn, &hourly, &streams, ByHand::Backfill { from, to }).await.unwrap();
    assert_eq!(database.tasks(manual).await, ["survey_result"]);
    assert_eq!(database.tasks(backfill).await, ["navigation_marks", "survey_result"]);
    let row: (String, i32, DateTime<Utc>, DateTime<Utc>, bool) = sqlx::query_as(
        "select kind, priority, range_start, range_end, scheduled_for is null from tidegate.run where id = $1",
    )
    .bind(backfill)
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    assert_eq!(row, ("backfill".to_owned(), -993, from, to, true));
    drop(conn);
    assert_eq!(database.firings(&hourly, "2026-01-01T00:15:00Z").await.len(), 1, "they do not block the schedule");
}

#[tokio::test]
async fn jobs_without_a_schedule_run_only_on_request() {
    let database = Database::fresh().await;
    let mut by_hand = job("by-hand", "@daily", CatchUp::All);
    by_hand.schedule = None;
    assert!(database.firings(&by_hand, "2026-01-01T00:00:00Z").await.is_empty());
    assert!(database.firings(&by_hand, "2027-01-01T00:00:00Z").await.is_empty());
}

#[tokio::test]
async fn p12_a_database_error_of_one_job_does_not_stop_other_jobs() {
    let database = Database::fresh().await;
    let jobs = [job("a", "15 * * * *", CatchUp::All), job("b", "15 * * * *", CatchUp::All)];
    let jobs: Vec<&Job> = jobs.iter().collect();
    database.due(&jobs, at("2026-01-01T00:00:00Z")).await;
    sqlx::raw_sql(
        "create function public.refuse() returns trigger language plpgsql as $$ begin
            if new.job = 'a' then raise exception 'no'; end if; return new; end $$;
        create trigger refuse before insert on tidegate.run for each row execute function public.refuse()",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let enqueued = database.due(&jobs, at("2026-01-01T00:15:00Z")).await;
    assert_eq!(enqueued.iter().map(|run| &*run.job).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn p8_after_the_databases_clock_was_ahead_firings_continue_and_waiting_runs_are_due() {
    let database = Database::fresh().await;
    let job = job("hourly", "0 * * * *", CatchUp::Latest);
    assert!(database.firings(&job, "2026-03-02T10:30:00Z").await.is_empty(), "met");
    assert_eq!(database.firings(&job, "2026-03-02T13:00:01Z").await, [at("2026-03-02T13:00:00Z")]);
    database.end_runs("succeeded").await;
    // Set back by two hours: the first check notices it.
    assert!(database.firings(&job, "2026-03-02T10:59:00Z").await.is_empty());
    assert_eq!(database.firings(&job, "2026-03-02T11:00:01Z").await, [at("2026-03-02T11:00:00Z")]);

    for sql in [
        "update tidegate.run set state = 'waiting', due_at = now() + interval '1 hour' where state = 'queued'",
        "update tidegate.task set state = 'waiting', waiting_until = now() + interval '1 hour' where state = 'queued'",
    ] {
        sqlx::query(sql).execute(&database.pool).await.unwrap();
    }
    end_waits(&mut database.pool.acquire().await.unwrap()).await.unwrap();
    let waits = "select count(*) from tidegate.run inner join tidegate.task on task.run_id = run.id
        where run.state = 'waiting' and due_at <= clock_timestamp() and waiting_until <= clock_timestamp()";
    assert!(sqlx::query_scalar::<_, i64>(waits).fetch_one(&database.pool).await.unwrap() > 0);
}
