//! An orderly stop in the middle of a body: it is quick, loses nothing and releases the run.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use simulator::{Match, Point};
use tidegate::schedule::ByHand;

use super::points::committed_pages;
use super::zombie::run_ends;
use super::{LONG, MARKS, assert_tidy, midnight, reached, succeeds, world};
use crate::support::{Process, World};

/// The longest time that a stop after `SIGTERM` may take.
const STOP_MAX: Duration = Duration::from_secs(10);

/// A process whose second page of the second day hangs in the middle of its body.
async fn in_a_slow_body(world: &World, command: &str) -> Process {
    let hold = world.control().hold_after(Match::report(MARKS).page(2), 1, Point::MidBody);
    let mut process = Process::start(&world.config_path(), &[command], &[]);
    reached(&hold, &mut process).await;
    committed_pages(world, 1).await;
    process
}

/// How often pages were requested, including requests that were cancelled.
fn calls(world: &World) -> u64 {
    world.control().stats().calls["execute_report"]
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_daemon_stops_within_ten_seconds_during_a_slow_body_and_the_next_one_resumes() {
    let world = world(2, 250, 100, "[navigation_marks]", &["lookback: 0s"]).await;
    let run = world.enqueue(ByHand::Manual).await;
    let mut daemon = in_a_slow_body(&world, "run").await;
    daemon.signal(Signal::TERM);
    let asked = Instant::now();
    let status = daemon.wait(LONG).await;
    assert!(asked.elapsed() < STOP_MAX, "{:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0), "{}", daemon.said());
    let left: String = world.scalar("select (state, owner, lease_until)::text from tidegate.run").await;
    assert!(["(queued,,)", "(waiting,,)"].contains(&left.as_str()), "{left}");

    world.control().quiet();
    let before = calls(&world);
    let mut next = Process::start(&world.config_path(), &["run"], &[]);
    run_ends(&world, run).await;
    assert_eq!(calls(&world) - before, 3, "pages 2 and 3, and today");
    world.assert_truth(MARKS, midnight(-2), midnight(1)).await;
    assert_tidy(&world.database).await;

    let asked = Instant::now();
    next.signal(Signal::TERM);
    assert_eq!(next.wait(LONG).await.code(), Some(0), "{}", next.said());
    assert!(asked.elapsed() < Duration::from_secs(5), "with nothing to do: {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_interrupted_sync_says_what_to_do_and_the_next_one_resumes() {
    let world = world(2, 250, 100, "[navigation_marks]", &["lookback: 0s"]).await;
    let mut sync = in_a_slow_body(&world, "sync").await;
    sync.signal(Signal::INT);
    let asked = Instant::now();
    let status = sync.wait(LONG).await;
    assert!(asked.elapsed() < STOP_MAX, "{:?}", asked.elapsed());
    assert_eq!(status.code(), Some(1), "{}", sync.said());
    assert!(sync.said().contains("run the same command again"), "{}", sync.said());
    let left: String = world.scalar("select (state, owner, lease_until)::text from tidegate.run").await;
    assert_eq!(left, "(cancelled,,)");

    world.control().quiet();
    let before = calls(&world);
    succeeds(Process::start(&world.config_path(), &["sync"], &[])).await;
    assert_eq!(calls(&world) - before, 3, "pages 2 and 3, and today");
    world.assert_truth(MARKS, midnight(-2), midnight(1)).await;
    assert_tidy(&world.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_interrupted_sync_is_cancelled_even_if_its_page_loads_slowly() {
    let world = world(2, 250, 100, "[navigation_marks]", &["lookback: 0s"]).await;
    let hold = world.control().hold_after(Match::report(MARKS).page(2), 1, Point::BeforeResponse);
    let mut sync = Process::start(&world.config_path(), &["sync"], &[]);
    reached(&hold, &mut sync).await;
    let lock = "lock table lynn.navigation_marks in access exclusive mode";
    let obstacle = super::Obstacle::new(&world.database, lock).await;
    hold.release();
    super::blocked(&world.database, "lock table%").await;
    sync.signal(Signal::INT);
    let asked = Instant::now();
    let status = sync.wait(LONG).await;
    assert!(asked.elapsed() < STOP_MAX, "{:?}", asked.elapsed());
    assert_eq!(status.code(), Some(1), "{}", sync.said());
    let left: String = world.scalar("select (state, owner, lease_until)::text from tidegate.run").await;
    assert_eq!(left, "(cancelled,,)");
    obstacle.release().await;
    world.control().quiet();
    succeeds(Process::start(&world.config_path(), &["sync"], &[])).await;
    world.assert_truth(MARKS, midnight(-2), midnight(1)).await;
    assert_tidy(&world.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_same_command_resumes_an_interrupted_backfill() {
    let world = world(3, 250, 100, "[navigation_marks]", &["lookback: 0s"]).await;
    succeeds(Process::start(&world.config_path(), &["sync"], &[])).await;
    let (from, to) = (midnight(-2).date_naive().to_string(), midnight(0).date_naive().to_string());
    let backfill = ["backfill", "lynn", "--from", &from, "--to", &to];
    let hold = world.control().hold_after(Match::report(MARKS).page(2), 1, Point::BeforeResponse);
    let mut interrupted = Process::start(&world.config_path(), &backfill, &[]);
    reached(&hold, &mut interrupted).await;
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.wait(LONG).await.code(), Some(1), "{}", interrupted.said());

    world.control().quiet();
    let before = calls(&world);
    succeeds(Process::start(&world.config_path(), &backfill, &[])).await;
    assert_eq!(calls(&world) - before, 2, "pages 2 and 3 of the second day; the first is done");
    let runs: Vec<String> = sqlx::query_scalar("select state from tidegate.run where kind = 'backfill'")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(runs, ["succeeded"]);
    succeeds(Process::start(&world.config_path(), &backfill, &[])).await;
    let runs: i64 = world.scalar("select count(*) from tidegate.run where kind = 'backfill'").await;
    assert_eq!(runs, 2, "once it is done, the same command reads again");
    world.assert_truth(MARKS, midnight(-3), midnight(1)).await;
}
