//! Which run a worker claims.

use std::time::Duration;

use sqlx::PgPool;
use tidegate::store::run::{self, Claim};

use super::execute;
use crate::support::TestDatabase;

const LEASE: Duration = Duration::from_secs(30);

async fn claim(pool: &PgPool, is_ours: impl Fn(&str) -> bool + Send + Sync) -> Option<Claim> {
    run::claim(&mut pool.acquire().await.unwrap(), "worker", LEASE, is_ours, None).await.unwrap()
}

/// Adds runs of the jobs `PREFIX-0` and so on that are due, in this order.
async fn add(pool: &PgPool, prefix: &str, runs: u32, priority: i32) {
    let runs = format!(
        "insert into tidegate.run (job, connection, kind, priority)
        select '{prefix}-' || n, 'acme', 'schedule', {priority} from generate_series(0, {runs} - 1) as n"
    );
    execute(&mut pool.acquire().await.unwrap(), runs).await;
}

#[tokio::test]
async fn p8_workers_that_claim_at_once_get_different_runs() {
    let database = TestDatabase::create().await;
    let pool = database.another_pool(20);
    add(&pool, "job", 40, 0).await;
    for round in 1..=2 {
        let claims = (0..20).map(|_| claim(&pool, |_| true));
        let claims = futures_util::future::join_all(claims).await;
        assert!(claims.iter().all(Option::is_some), "{round}: a run is left for each");
    }
    let claimed: i64 = sqlx::query_scalar("select count(*) from tidegate.run where state = 'running' and fence = 1")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(claimed, 40);
    assert!(claim(&pool, |_| true).await.is_none());
}

#[tokio::test]
async fn p8_runs_of_other_processes_jobs_are_passed_over_however_many() {
    let database = TestDatabase::create().await;
    let pool = database.another_pool(2);
    // More than one look finds.
    add(&pool, "theirs", 10_150, 9).await;
    add(&pool, "ours", 3, 0).await;
    add(&pool, "ours-first", 1, 5).await;
    let is_ours = |job: &str| job.starts_with("ours");
    let mut claimed = Vec::new();
    while let Some(claim) = claim(&pool, is_ours).await {
        claimed.push(claim.job);
    }
    assert_eq!(claimed, ["ours-first-0", "ours-0", "ours-1", "ours-2"]);
    let theirs: i64 =
        sqlx::query_scalar("select count(*) from tidegate.run where state = 'queued'").fetch_one(&pool).await.unwrap();
    assert_eq!(theirs, 10_150);
}

#[tokio::test]
async fn p8_a_run_of_another_processes_job_does_not_need_the_worker() {
    let database = TestDatabase::create().await;
    let pool = database.another_pool(2);
    add(&pool, "ours", 1, 0).await;
    let claim = claim(&pool, |_| true).await.unwrap();
    let is_ours = |job: &str| job.starts_with("ours");
    let worker = async || run::wanted(&pool, &claim, "marks", is_ours).await.unwrap().worker;
    add(&pool, "theirs", 1, 9).await;
    assert!(!worker().await, "a run of higher priority that cannot be claimed here");
    add(&pool, "ours-too", 1, 0).await;
    assert!(!worker().await, "a run of the same priority");
    add(&pool, "ours-urgent", 1, 1).await;
    assert!(worker().await);
}
