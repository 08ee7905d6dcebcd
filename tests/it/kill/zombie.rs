//! A daemon is suspended past its lease: another one takes over, and the first one changes nothing when it resumes.

use rustix::process::Signal;
use simulator::{Change, Match, Point, Rows};
use tidegate::schedule::ByHand;

use super::points::committed_pages;
use super::{LONG, MARKS, Obstacle, assert_counted, assert_tidy, blocked, eventually, midnight, reached, world};
use crate::support::{Process, World};

/// Waits until a run has succeeded.
pub(super) async fn run_ends(world: &World, run: i64) {
    let query = format!("select state from tidegate.run where id = {run}");
    eventually(LONG, async || match world.scalar::<String>(&query).await.as_str() {
        "succeeded" => Some(()),
        state @ ("failed" | "cancelled") => panic!("the run ended as {state}"),
        _ => None,
    })
    .await;
}

fn daemon(world: &World) -> Process {
    Process::start(&world.config_path(), &["run"], &[])
}

async fn two_days() -> World {
    world(2, 250, 100, "[navigation_marks]", &["lookback: 10d"]).await
}

/// After the page that the zombie has committed: its successor does not read that page again.
fn change_the_truth(world: &World) {
    let rows = Rows::between(MARKS, midnight(-1) + chrono::TimeDelta::hours(12), midnight(0)).every(3);
    let set = Change::Set { field: "markValue".to_owned(), json: "\"changed meanwhile\"".to_owned() };
    world.control().lynn().change(rows.clone(), set).unwrap();
    world.control().lynn().vanish(Rows { every: 11, ..rows }).unwrap();
}

/// Everything that a zombie could damage.
async fn state(world: &World) -> Vec<String> {
    let query = "
        select md5(string_agg(t::text, ',' order by t::text)) from lynn.navigation_marks as t
        union all
        select string_agg(t::text, ',' order by t::text) from tidegate.slice as t
        union all
        select string_agg((t.state, t.fence, t.owner, t.lease_until)::text, ',' order by t.id) from tidegate.run as t
        union all
        select string_agg((t.state, t.pages, t.rows_read, t.finished_at)::text, ',' order by t.run_id)
        from tidegate.task as t
        union all
        select string_agg((t.holder_run, t.holder_fence)::text, ',') from tidegate.stream as t";
    super::texts(&world.database, query).await
}

/// The zombie wakes after another daemon has finished its run: nothing changes.
async fn wakes_harmlessly(world: &World, zombie: &Process, run: i64) {
    let _successor = daemon(world);
    run_ends(world, run).await;
    let fence: i64 = world.scalar(&format!("select fence from tidegate.run where id = {run}")).await;
    assert!(fence >= 2, "it was taken over");
    let before = state(world).await;
    world.control().quiet();
    zombie.signal(Signal::CONT);
    eventually(LONG, async || zombie.said().contains("another worker").then_some(())).await;
    assert_eq!(state(world).await, before);
    world.assert_truth(MARKS, midnight(-2), midnight(1)).await;
    assert_tidy(&world.database).await;
    assert_counted(&world.database, MARKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_daemon_that_sleeps_past_its_lease_during_a_call_commits_nothing() {
    let world = two_days().await;
    world.sync().await;
    let hold = world.control().hold_after(Match::report(MARKS).page(2), 1, Point::BeforeResponse);
    let run = world.enqueue(ByHand::Manual).await;
    let mut zombie = daemon(&world);
    reached(&hold, &mut zombie).await;
    committed_pages(&world, 1).await;
    zombie.signal(Signal::STOP);
    // The response from before the change waits in its socket.
    hold.release();
    change_the_truth(&world);
    wakes_harmlessly(&world, &zombie, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p8_a_daemon_that_sleeps_within_a_checkpoint_releases_its_locks_and_commits_nothing() {
    let world = two_days().await;
    world.sync().await;
    change_the_truth(&world);
    let hold = world.control().hold_after(Match::report(MARKS).page(2), 1, Point::BeforeResponse);
    let run = world.enqueue(ByHand::Manual).await;
    let mut zombie = daemon(&world);
    reached(&hold, &mut zombie).await;
    let obstacle = Obstacle::new(&world.database, "select from tidegate.run for update").await;
    hold.release();
    blocked(&world.database, "%with held as%").await;
    zombie.signal(Signal::STOP);
    // Postgres runs its last statement. The zombie never ends the transaction, which holds locks.
    obstacle.release().await;
    wakes_harmlessly(&world, &zombie, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_daemon_that_sleeps_while_it_states_its_limits_does_not_keep_the_quota_from_its_successor() {
    let world = two_days().await;
    world.sync().await;
    change_the_truth(&world);
    let run = world.enqueue(ByHand::Manual).await;
    let obstacle = Obstacle::new(&world.database, "lock table tidegate.quota_statement in access exclusive mode").await;
    let zombie = daemon(&world);
    let is_running = format!("select state = 'running' from tidegate.run where id = {run}");
    eventually(LONG, async || world.scalar::<bool>(&is_running).await.then_some(())).await;
    // Its transaction holds the lock of the ledger.
    blocked(&world.database, "%tidegate.quota_statement%").await;
    zombie.signal(Signal::STOP);
    obstacle.release().await;
    wakes_harmlessly(&world, &zombie, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_daemon_that_sleeps_before_a_slice_does_not_reset_the_slice_of_its_successor() {
    let world = two_days().await;
    world.sync().await;
    change_the_truth(&world);
    let obstacle = Obstacle::new(&world.database, "lock table tidegate.slice in access exclusive mode").await;
    let run = world.enqueue(ByHand::Manual).await;
    let zombie = daemon(&world);
    blocked(&world.database, "%tidegate.slice%").await;
    zombie.signal(Signal::STOP);
    obstacle.release().await;
    wakes_harmlessly(&world, &zombie, run).await;
}
