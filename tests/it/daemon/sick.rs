//! Faulty databases: silent connections, a read-only server, an intermittent server (promise 12).

use std::collections::BTreeMap;
use std::time::Duration;

use simulator::{Match, Point};
use sqlx::{AssertSqlSafe, Executor as _};
use tidegate::schedule::ByHand;

use crate::support::daemon::{Daemon, SOON};
use crate::support::proxy::Proxy;
use crate::support::world::Recipe;
use crate::support::{TestDatabase, World, ago, eventually};

/// Time limit for the recovery, with a margin for a busy machine.
const RECOVERY: Duration = Duration::from_mins(2);

async fn one_day() -> World {
    World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await
}

async fn behind(world: &World, env: &[(&str, &str)]) -> (Proxy, Daemon) {
    let proxy = Proxy::before(world.database.url()).await;
    let url = proxy.url(world.database.url());
    let daemon = Daemon::start_with(world, &[&[("TIDEGATE__DATABASE__URL", url.as_str())], env].concat()).await;
    eventually(SOON, async || (daemon.get("/readyz").await.0 == 200).then_some(())).await;
    (proxy, daemon)
}

async fn succeeds(world: &World, run: i64) {
    let state = format!("select state from tidegate.run where id = {run}");
    eventually(RECOVERY, async || (world.scalar::<String>(&state).await == "succeeded").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_connections_that_fall_silent_during_a_run_are_replaced_and_the_run_continues() {
    let world = one_day().await;
    let hold = world.control().hold(Match::report("navigation_marks").page(2), Point::MidBody);
    let (proxy, daemon) = behind(&world, &[]).await;
    let run = world.enqueue(ByHand::Manual).await;
    tokio::time::timeout(SOON, hold.reached()).await.unwrap();
    proxy.forget();
    hold.release();
    succeeds(&world, run).await;
    let (status, ready) = daemon.get("/readyz").await;
    assert!(status == 200 && ready.contains("claim: last succeeded "), "{ready}");
    let claims: i64 = world.scalar(&format!("select fence from tidegate.run where id = {run}")).await;
    assert!(claims < 6, "{claims}");
    let said = daemon.said();
    assert!(said.contains("did not respond within") && said.lines().count() < 80, "{said}");

    // Again while the daemon is idle, then it ends: nothing waits for a response that never comes.
    proxy.forget();
    let (status, took, said) = daemon.terminate().await;
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_connection_that_falls_silent_while_a_slice_is_prepared_is_replaced() {
    let world = one_day().await;
    let (proxy, daemon) = behind(&world, &[]).await;
    // Keeps the daemon waiting for a response, which is then lost.
    let mut other = world.database.connect().await;
    other.execute("begin").await.unwrap();
    other.execute("lock table lynn.navigation_marks").await.unwrap();
    let run = world.enqueue(ByHand::Manual).await;
    let waits = "select exists (
            select from pg_stat_activity
            where
                datname = current_database() and wait_event_type = 'Lock'
                and query like 'select 1 from %navigation_marks% limit 1'
        )";
    eventually(SOON, async || world.scalar::<bool>(waits).await.then_some(())).await;
    proxy.forget();
    other.execute("commit").await.unwrap();
    succeeds(&world, run).await;
    assert!(daemon.said().contains("did not respond within"), "{}", daemon.said());
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_waiting_daemon_whose_connections_all_fall_silent_resumes_work() {
    let world = one_day().await;
    let few = [("TIDEGATE__DATABASE__MAX_CONNECTIONS", "2"), ("TIDEGATE__WORKER__CONCURRENCY", "1")];
    let (proxy, daemon) = behind(&world, &few).await;
    proxy.forget();
    let run = world.enqueue(ByHand::Manual).await;
    succeeds(&world, run).await;
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_daemon_whose_connections_all_fall_silent_during_a_page_ends_in_time() {
    let world = one_day().await;
    let hold = world.control().hold(Match::report("navigation_marks").page(2), Point::MidBody);
    let (proxy, daemon) = behind(&world, &[]).await;
    let run = world.enqueue(ByHand::Manual).await;
    tokio::time::timeout(SOON, hold.reached()).await.unwrap();
    proxy.forget();
    hold.release();
    let (status, took, said) = daemon.terminate().await;
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?} {said}");
    let daemon = Daemon::start(&world).await;
    succeeds(&world, run).await;
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_an_intermittent_database_causes_few_log_lines_of_each_kind() {
    const LINES_MAX: usize = 4;
    let world = one_day().await;
    let (proxy, daemon) = behind(&world, &[]).await;
    for cycle in 0..24 {
        proxy.set_up(cycle % 2 == 1);
        tokio::time::sleep(Duration::from_millis(700)).await;
        // Monitoring sends requests too.
        daemon.get("/metrics").await;
    }
    eventually(RECOVERY, async || (daemon.get("/readyz").await.0 == 200).then_some(())).await;
    let run = world.enqueue(ByHand::Manual).await;
    succeeds(&world, run).await;
    let said = daemon.kill().await;
    let mut kinds = BTreeMap::<&str, usize>::new();
    for line in said.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")) {
        let (what, _) = line.split_once(" error=").unwrap_or((line, ""));
        *kinds.entry(what.rsplit(": ").next().unwrap_or(what)).or_default() += 1;
    }
    assert!(!kinds.is_empty() && kinds.values().all(|lines| *lines <= LINES_MAX), "{kinds:?} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_read_only_server_is_reported_and_left_when_another_is_writable() {
    let world = one_day().await;
    let (_proxy, daemon) = behind(&world, &[]).await;
    let name = world.database.name();
    let mut admin = TestDatabase::superuser().await;
    let reads_only = format!("alter database {name} set default_transaction_read_only = on");
    let sessions_end = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    admin.execute(AssertSqlSafe(reads_only)).await.unwrap();
    admin.execute(AssertSqlSafe(sessions_end)).await.unwrap();
    let (_, why) = eventually(SOON, async || {
        let response = daemon.get("/readyz").await;
        (response.0 == 503 && response.1.contains("only reads")).then_some(response)
    })
    .await;
    assert!(why.starts_with("not ready: "), "{why}");
    // Sessions are created continuously, and each finds that it is read-only.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let lines = daemon.said().lines().count();
    assert!(lines < 60, "{}", daemon.said());
    assert!(daemon.said().contains("read-only transaction (SQLSTATE 25006)"), "{}", daemon.said());

    let writes = format!("alter database {name} reset default_transaction_read_only");
    admin.execute(AssertSqlSafe(writes)).await.unwrap();
    eventually(RECOVERY, async || (daemon.get("/readyz").await.0 == 200).then_some(())).await;
    let run = world.enqueue(ByHand::Manual).await;
    succeeds(&world, run).await;
    daemon.kill().await;
}
