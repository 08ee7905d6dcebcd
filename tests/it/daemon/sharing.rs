//! Who goes first when a quota, a worker or a stream is scarce.

use std::time::Duration;

use tidegate::schedule::ByHand;

use crate::support::daemon::{Daemon, SOON};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

/// A job with a year to read, slowly, and a daily one of the same stream.
async fn world(worker: &'static str, daily: &str) -> World {
    let world = World::with(Recipe {
        options: Recipe::default().options.limit("requests", 1, Duration::from_millis(150)),
        start: ago(400).date_naive(),
        worker,
        ..Recipe::default()
    })
    .await;
    let start = ago(2).date_naive();
    world.edit_config(|text| text + &format!("  daily:\n    connection: acme\n    start: {start}\n    {daily}\n"));
    world
}

/// From the vendor's call log: whether each call was for a slice of the last days.
fn calls(world: &World) -> Vec<(String, bool)> {
    let recent = ago(2).format("%Y-%m-%d").to_string();
    world
        .control()
        .stats()
        .reports
        .into_iter()
        .map(|call| {
            let is_recent = call.start_date.get(..10).is_some_and(|date| date >= recent.as_str());
            (call.report, is_recent)
        })
        .collect()
}

async fn state(world: &World, run: i64) -> String {
    world.scalar(&format!("select state from tidegate.run where id = {run}")).await
}

/// Runs `daily` during a backfill. Returns the calls from then until it ended.
async fn daily_beside_a_backfill(world: &World) -> Vec<(String, bool)> {
    let daemon = Daemon::start(world).await;
    let backfill = world.enqueue(ByHand::Backfill { from: ago(400), to: ago(3) }).await;
    eventually(SOON, async || (calls(world).len() >= 8).then_some(())).await;
    let begun = calls(world).len();
    let daily = world.enqueue_job("daily", ByHand::Manual).await;
    eventually(SOON, async || (state(world, daily).await == "succeeded").then_some(())).await;
    let meanwhile = calls(world)[begun..].to_vec();
    // Then the backfill continues.
    let ended = calls(world).len();
    eventually(SOON, async || (calls(world).len() > ended + 6).then_some(())).await;
    assert!(["running", "waiting", "queued"].contains(&state(world, backfill).await.as_str()));
    daemon.kill().await;
    meanwhile
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_calls_of_a_higher_priority_go_first() {
    let world = world("{ concurrency: 2, lease: 5s }", "streams: [survey_result]\n    priority: 10").await;
    let calls = daily_beside_a_backfill(&world).await;
    let first = calls.iter().position(|(report, _)| report == "survey_result").unwrap();
    let last = calls.iter().rposition(|(report, _)| report == "survey_result").unwrap();
    let between = calls[first..last].iter().filter(|(report, _)| report == "navigation_marks").count();
    // While a page is committed, no call is requested, and the backfill may take its turn.
    let urgent = last - first - between + 1;
    assert!(first <= 6 && between * 3 <= urgent, "{first} calls before, {between} among {urgent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_backfill_yields_the_only_worker() {
    let world = world("{ concurrency: 1, lease: 5s }", "streams: [survey_result]").await;
    let calls = daily_beside_a_backfill(&world).await;
    let first = calls.iter().position(|(report, _)| report == "survey_result").unwrap();
    assert!(first <= 8, "{first} calls of the backfill before the first of the daily job");
    assert!(calls[first..].iter().filter(|(report, _)| report == "navigation_marks").count() <= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_backfill_yields_the_stream_that_it_reads() {
    let world = world("{ concurrency: 2, lease: 5s }", "streams: [navigation_marks]").await;
    let calls = daily_beside_a_backfill(&world).await;
    let recent = calls.iter().filter(|(_, recent)| *recent).count();
    assert!(recent >= 3, "{calls:?}");
    let (from, to) = (ago(2), ago(1));
    let rows = world.rows_where("navigation_marks", &format!("_window_start = '{from}'")).await;
    assert_eq!(rows, world.truth("navigation_marks", from, to));
}
