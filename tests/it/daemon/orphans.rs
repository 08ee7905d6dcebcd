//! Runs whose job was removed from the configuration, and runs that an operator cancels.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use tidegate::schedule::ByHand;
use tidegate::store::instance::{self, About};
use tidegate::store::progress;

use crate::support::daemon::{Daemon, SOON, command};
use crate::support::world::Recipe;
use crate::support::{TestDatabase, World, ago, eventually};

const AN_OLD_RUN: &str = "insert into tidegate.run (job, connection, kind, priority, state, due_at, created_at)
    values ($1, 'acme', 'manual', 9, 'waiting', now() + interval '1 day', now() - interval '1 hour') returning id";

async fn old_run(pool: &sqlx::PgPool, job: &str) -> i64 {
    sqlx::query_scalar(AN_OLD_RUN).bind(job).fetch_one(pool).await.unwrap()
}

/// All tasks, with what a cancelled run must leave of them.
async fn tasks(pool: &sqlx::PgPool) -> Vec<String> {
    let query = "select stream || ' ' || state || coalesce(' for ' || waiting_for, '') || coalesce(': ' || error, '')
            || case when finished_at is null then ' (unfinished)' else '' end
        from tidegate.task order by run_id, stream";
    sqlx::query_scalar(query).fetch_all(pool).await.unwrap()
}

/// A task in each state.
async fn add_tasks(pool: &sqlx::PgPool, run: i64) {
    let tasks = format!(
        "insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until, finished_at, error)
        values
            ({run}, 'a', 'queued', null, null, null, null),
            ({run}, 'b', 'running', null, null, null, null),
            ({run}, 'c', 'waiting', 'requests', now() + interval '1 hour', null, null),
            ({run}, 'd', 'succeeded', null, null, now(), null),
            ({run}, 'e', 'failed', null, null, now(), 'refused')"
    );
    sqlx::raw_sql(AssertSqlSafe(tasks)).execute(pool).await.unwrap();
}

/// The same after the run was cancelled.
fn cancelled(reason: &str) -> Vec<String> {
    let mut tasks: Vec<String> = ["a", "b", "c"].map(|stream| format!("{stream} cancelled: {reason}")).to_vec();
    tasks.extend(["d succeeded", "e failed: refused"].map(str::to_owned));
    tasks
}

#[tokio::test]
async fn p12_the_unfinished_tasks_of_a_cancelled_run_end_with_it_and_say_why() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let by_an_operator = old_run(&pool, "one").await;
    add_tasks(&pool, by_an_operator).await;
    let reason = "cancelled by an operator";
    assert_eq!(progress::cancel(&pool, &[by_an_operator], None, Some(reason)).await.unwrap(), [by_an_operator]);
    let mut expected = cancelled(reason);
    assert_eq!(tasks(&pool).await, expected);

    // The error of a task that failed before is not why the run was cancelled.
    let without_reason = old_run(&pool, "one").await;
    add_tasks(&pool, without_reason).await;
    sqlx::query("update tidegate.run set error = 'refused' where id = $1")
        .bind(without_reason)
        .execute(&pool)
        .await
        .unwrap();
    progress::cancel(&pool, &[without_reason], None, None).await.unwrap();
    expected.extend(cancelled("the run was cancelled"));
    assert_eq!(tasks(&pool).await, expected);

    let orphan = old_run(&pool, "removed").await;
    add_tasks(&pool, orphan).await;
    assert_eq!(instance::cancel_orphans(&pool).await.unwrap()[0].run, orphan);
    expected.extend(cancelled("the job is not in the configuration any more"));
    assert_eq!(tasks(&pool).await, expected);
}

#[tokio::test]
async fn p12_an_upgrade_ends_the_tasks_of_runs_that_were_cancelled_before() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let before = "drop trigger run_cancelled on tidegate.run; drop function tidegate.run_cancelled()";
    sqlx::raw_sql(before).execute(&pool).await.unwrap();
    let run = old_run(&pool, "one").await;
    add_tasks(&pool, run).await;
    progress::cancel(&pool, &[run], None, Some("cancelled by an operator")).await.unwrap();
    let unfinished = old_run(&pool, "other").await;
    add_tasks(&pool, unfinished).await;
    let migration = include_str!("../../../migrations/20261201000600_task_cancelled.sql");
    sqlx::raw_sql(migration).execute(&pool).await.unwrap();
    let mut expected = cancelled("cancelled by an operator");
    expected.extend(
        [
            "a queued (unfinished)",
            "b running (unfinished)",
            "c waiting for requests (unfinished)",
            "d succeeded",
            "e failed: refused",
        ]
        .map(str::to_owned),
    );
    assert_eq!(tasks(&pool).await, expected);
}

#[tokio::test]
async fn p12_a_backfill_that_was_cancelled_resumes_its_cancelled_tasks() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let (run, range) = (old_run(&pool, "one").await, (ago(3), ago(1)));
    sqlx::query("update tidegate.run set kind = 'backfill', range_start = $2, range_end = $3 where id = $1")
        .bind(run)
        .bind(range.0)
        .bind(range.1)
        .execute(&pool)
        .await
        .unwrap();
    add_tasks(&pool, run).await;
    progress::cancel(&pool, &[run], None, Some("cancelled by an operator")).await.unwrap();
    let streams = ["a", "b", "c", "d", "e"].map(str::to_owned);
    let resumed = progress::resume_backfill(&pool, "one", range, &streams).await.unwrap();
    assert_eq!(resumed, Some(run));
    let queued = ["a", "b", "c"].map(|stream| format!("{stream} queued (unfinished)"));
    let mut expected = queued.to_vec();
    expected.extend(["d succeeded", "e queued (unfinished)"].map(str::to_owned));
    assert_eq!(tasks(&pool).await, expected);
}

#[tokio::test]
async fn p12_only_runs_of_jobs_that_no_running_process_has_are_cancelled() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let (mine, theirs, gone) =
        (old_run(&pool, "mine").await, old_run(&pool, "theirs").await, old_run(&pool, "gone").await);
    let fresh = "insert into tidegate.run (job, connection, kind) values ('young', 'acme', 'manual')";
    sqlx::query(fresh).execute(&pool).await.unwrap();
    let jobs = |name: &str| vec![name.to_owned()];
    instance::beat(&pool, "me", &jobs("mine"), &About::default()).await.unwrap();
    instance::beat(&pool, "other", &jobs("theirs"), &About::default()).await.unwrap();
    instance::beat(&pool, "silent", &jobs("gone"), &About::default()).await.unwrap();
    assert!(instance::cancel_orphans(&pool).await.unwrap().is_empty());
    sqlx::query("update tidegate.instance set seen_at = now() - interval '2 minutes' where owner = 'silent'")
        .execute(&pool)
        .await
        .unwrap();
    let orphans = instance::cancel_orphans(&pool).await.unwrap();
    assert_eq!(orphans.iter().map(|orphan| (orphan.run, &*orphan.job)).collect::<Vec<_>>(), [(gone, "gone")]);
    instance::leave(&pool, "other").await.unwrap();
    assert_eq!(instance::cancel_orphans(&pool).await.unwrap()[0].run, theirs);
    let states: Vec<(i64, String, Option<String>)> =
        sqlx::query_as("select id, state, error from tidegate.run where job <> 'young' order by id")
            .fetch_all(&pool)
            .await
            .unwrap();
    let reason = Some("the job is not in the configuration any more".to_owned());
    let cancelled = "cancelled".to_owned();
    assert_eq!(
        states,
        [(mine, "waiting".to_owned(), None), (theirs, cancelled.clone(), reason.clone()), (gone, cancelled, reason)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_daemon_cancels_the_runs_of_a_job_that_was_removed() {
    let world = World::new().await;
    let run = old_run(&world.database.pool(), "removed").await;
    let daemon = Daemon::start(&world).await;
    let query = format!("select state from tidegate.run where id = {run}");
    eventually(SOON, async || (world.scalar::<String>(&query).await == "cancelled").then_some(())).await;
    let counted = r#"tidegate_runs_total{tidegate_job="removed",outcome="cancelled"} 1"#;
    eventually(SOON, async || daemon.get("/metrics").await.1.contains(counted).then_some(())).await;
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_an_operator_cancels_a_run() {
    let world = World::new().await;
    let run = world.enqueue(ByHand::Manual).await.to_string();
    let output = command(&world, &[], &["runs", "cancel", &run, "999999"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not an unfinished run: 999999; no run was cancelled"), "{said}");
    let state = format!("select state from tidegate.run where id = {run}");
    assert_eq!(world.scalar::<String>(&state).await, "queued");
    let output = command(&world, &[], &["runs", "cancel", &run]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.scalar::<String>(&state).await, "cancelled");
    assert_eq!(tasks(&world.database.pool()).await, ["navigation_marks cancelled: cancelled by an operator"]);
    let output = command(&world, &[], &["runs", "--json"]).await;
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["runs"][0]["streams"][0]["state"], "cancelled", "{document}");
    assert_eq!(command(&world, &[], &["runs", "cancel", &run]).await.status.code(), Some(1), "it is already cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_daemon_stops_working_on_a_cancelled_run_and_logs_it() {
    let world = World::with(Recipe {
        options: Recipe::default().options.limit("requests", 1, Duration::from_millis(150)),
        start: ago(400).date_naive(),
        ..Recipe::default()
    })
    .await;
    let daemon = Daemon::start(&world).await;
    let run = world.enqueue(ByHand::Manual).await;
    eventually(SOON, async || (world.control().stats().reports.len() > 2).then_some(())).await;
    let output = command(&world, &[], &["runs", "cancel", &run.to_string()]).await;
    assert!(output.status.success(), "{output:?}");
    daemon.says("the run was cancelled; the rows that were committed are kept").await;
    let counted = r#",outcome="cancelled"} 1"#;
    eventually(SOON, async || daemon.get("/metrics").await.1.contains(counted).then_some(())).await;
    assert_eq!(tasks(&world.database.pool()).await, ["navigation_marks cancelled: cancelled by an operator"]);
    let said = daemon.kill().await;
    assert!(!said.contains("taken over"), "{said}");
}
