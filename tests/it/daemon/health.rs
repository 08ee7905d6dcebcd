//! What the status port of the real daemon shows, normally and without the database.

use std::collections::BTreeSet;

use simulator::{Action, Match, Point};
use sqlx::{AssertSqlSafe, Executor as _};
use tidegate::schedule::ByHand;

use crate::support::daemon::{Daemon, SOON};
use crate::support::world::Recipe;
use crate::support::{TestDatabase, World, ago, eventually};

async fn one_day() -> World {
    World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await
}

async fn admin(sql: String) {
    TestDatabase::superuser().await.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// Rejects new connections and ends the existing ones.
async fn take_away(database: &TestDatabase) {
    let name = database.name();
    admin(format!("alter database {name} allow_connections false")).await;
    admin(format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")).await;
}

async fn give_back(database: &TestDatabase) {
    admin(format!("alter database {} allow_connections true", database.name())).await;
}

/// The documented names.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../../../docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `tidegate_"));
    rows.map(|row| format!("tidegate_{}", row.split('`').next().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_response_that_is_empty_or_cut_is_counted_as_unreadable() {
    let world = one_day().await;
    let daemon = Daemon::start(&world).await;
    let (report, cut) = (|| Match::report("navigation_marks"), r#"{"isValid": true, "result": [{"#);
    world.control().next(report().page(2), Action::Json { status: 200, body: cut.to_owned() });
    world.control().next(report(), Action::EmptyBody);
    let run = world.enqueue(ByHand::Manual).await;
    let state = format!("select state from tidegate.run where id = {run}");
    eventually(SOON, async || (world.scalar::<String>(&state).await == "succeeded").then_some(())).await;
    let outcome =
        |outcome: &str| format!(r#"tidegate_vendor_calls_total{{connection="acme",kind="data",outcome="{outcome}"}}"#);
    let unreadable = outcome("unreadable");
    eventually(SOON, async || (daemon.metric(&unreadable).await == Some(2.0)).then_some(())).await;
    let calls: i64 = world.scalar("select sum(calls)::bigint from tidegate.task").await;
    // Two of them were unreadable and one was the login.
    let ok = daemon.metric(&outcome("ok")).await.unwrap();
    assert!((ok + 3.0 - f64::from(i32::try_from(calls).unwrap())).abs() < 0.5, "{ok} of {calls}");
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_failed_is_counted_while_it_is_repeated() {
    let world = one_day().await;
    let daemon = Daemon::start(&world).await;
    let report = || Match::report("navigation_marks");
    world.control().next(report(), Action::Reset);
    let hold = world.control().hold_after(report(), 1, Point::MidBody);
    world.enqueue(ByHand::Manual).await;
    tokio::time::timeout(SOON, hold.reached()).await.unwrap();
    let failed = r#"tidegate_vendor_calls_total{connection="acme",kind="data",outcome="transport"}"#;
    eventually(SOON, async || (daemon.metric(failed).await == Some(1.0)).then_some(())).await;
    hold.release();
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_metrics_exist_and_change() {
    // A pace that causes waits.
    let options = Recipe::default().options.limit("requests", 1, std::time::Duration::from_millis(100));
    let start = ago(1).date_naive();
    let world = World::with(Recipe { options, start, ..Recipe::default() }).await;
    let daemon = Daemon::start(&world).await;
    let succeeded = r#"tidegate_runs_total{tidegate_job="lynn",outcome="succeeded"}"#;
    let inserted = r#"tidegate_rows_total{connection="acme",stream="navigation_marks",change="inserted"}"#;
    assert_eq!(daemon.metric(succeeded).await, Some(0.0), "it exists before anything happened");
    for runs in [1.0, 2.0] {
        world.enqueue(ByHand::Manual).await;
        eventually(SOON, async || (daemon.metric(succeeded).await == Some(runs)).then_some(())).await;
    }
    let rows: i64 = world.scalar("select count(*) from lynn.navigation_marks").await;
    let value = daemon.metric(inserted).await.unwrap();
    assert!((value - f64::from(i32::try_from(rows).unwrap())).abs() < 0.5, "{value} {rows}");
    let calls: i64 = world.scalar("select sum(calls)::bigint from tidegate.task").await;
    let data = daemon.metric(r#"tidegate_vendor_calls_total{connection="acme",kind="data",outcome="ok"}"#).await;
    let logins = daemon.metric(r#"tidegate_vendor_calls_total{connection="acme",kind="login",outcome="ok"}"#).await;
    assert_eq!(logins, Some(1.0), "two runs share a token");
    assert!((data.unwrap() + 1.0 - f64::from(i32::try_from(calls).unwrap())).abs() < 0.5);
    assert!(daemon.metric(r#"tidegate_quota_used_ratio{connection="acme",limit="period_calls"}"#).await.unwrap() > 0.0);
    let (status, text) = daemon.get("/metrics").await;
    assert_eq!(status, 200);
    for name in documented() {
        let family = name.trim_end_matches("_total");
        // Lynn gives no totals of its own, no rows of the mart are stored, no stream has a problem, and no target of
        // notifications is configured.
        let is_left_out = matches!(
            &*name,
            "tidegate_reconciliation_differences" | "tidegate_mart_stored_age_seconds" | "tidegate_stream_problem"
        ) || name.starts_with("tidegate_notification");
        assert!(
            is_left_out || text.contains(&format!("# TYPE {family} ")) || text.contains(&name),
            "{name} is not there:\n{text}"
        );
    }
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    for sample in samples {
        let known = documented().iter().any(|name| sample.starts_with(name.as_str()));
        assert!(known, "{sample} is not documented");
    }
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_its_database_is_alive_but_not_ready_and_continues_when_it_is_back() {
    let world = one_day().await;
    let hold = world.control().hold(Match::report("navigation_marks").page(2), Point::MidBody);
    let daemon = Daemon::start(&world).await;
    let (status, alive) = daemon.get("/healthz").await;
    assert!(status == 200 && alive.starts_with("alive\nenqueue: last succeeded "), "{alive}");
    eventually(SOON, async || (daemon.get("/readyz").await.0 == 200).then_some(())).await;
    let run = world.enqueue(ByHand::Manual).await;
    tokio::time::timeout(SOON, hold.reached()).await.unwrap();

    take_away(&world.database).await;
    // The checkpoint of the page finds no database.
    hold.release();
    let (_, why) = eventually(SOON, async || {
        let response = daemon.get("/readyz").await;
        (response.0 == 503).then_some(response)
    })
    .await;
    assert!(why.starts_with("not ready: the database"), "{why}");
    assert_eq!(daemon.get("/healthz").await.0, 200);
    assert_eq!(daemon.metric("tidegate_database_up").await, Some(0.0));
    assert_eq!(daemon.get("/").await.0, 503);

    give_back(&world.database).await;
    eventually(SOON, async || (daemon.get("/readyz").await.0 == 200).then_some(())).await;
    let state = format!("select state from tidegate.run where id = {run}");
    // A checkpoint without a database is postponed for a minute; the test does not wait that long.
    eventually(SOON * 2, async || {
        let done = world.scalar::<String>(&state).await == "succeeded";
        for sql in [
            "update tidegate.task set waiting_until = now() where state = 'waiting'",
            "update tidegate.run set due_at = now() where state = 'waiting'",
        ] {
            sqlx::query(sql).execute(&world.database.pool()).await.unwrap();
        }
        done.then_some(())
    })
    .await;
    let until = world.scalar("select max(read_until) from tidegate.slice").await;
    let start = world.config().jobs["lynn"].start.and_time(chrono::NaiveTime::MIN).and_utc();
    world.assert_truth("navigation_marks", start, until).await;
    let (status, ..) = daemon.terminate().await;
    assert!(status.success());
}
