//! Runs whose job was removed from the configuration, and runs that an operator cancels.

use std::time::Duration;

use tidegate::schedule::ByHand;
use tidegate::store::instance::{self, About};

use crate::support::daemon::{Daemon, SOON, command};
use crate::support::world::Recipe;
use crate::support::{TestDatabase, World, ago, eventually};

const AN_OLD_RUN: &str = "insert into tidegate.run (job, connection, kind, priority, state, due_at, created_at)
    values ($1, 'acme', 'manual', 9, 'waiting', now() + interval '1 day', now() - interval '1 hour') returning id";

async fn old_run(pool: &sqlx::PgPool, job: &str) -> i64 {
    sqlx::query_scalar(AN_OLD_RUN).bind(job).fetch_one(pool).await.unwrap()
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
    let said = daemon.kill().await;
    assert!(!said.contains("taken over"), "{said}");
}
