//! Work that one daemon leaves unfinished is done by another.

use simulator::{Match, Point};
use tidegate::schedule::ByHand;

use crate::support::daemon::{Daemon, SOON};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_killed_daemons_run_is_taken_over_and_finished() {
    let start = ago(2).date_naive();
    let world = World::with(Recipe { start, worker: "{ concurrency: 1, lease: 5s }", ..Recipe::default() }).await;
    let run = world.enqueue(ByHand::Manual).await;
    let hold = world.control().hold_after(Match::report("navigation_marks").page(2), 1, Point::MidBody);
    let one = Daemon::start(&world).await;
    tokio::time::timeout(SOON, hold.reached()).await.unwrap();
    let other = Daemon::start(&world).await;
    let committed = "select count(*) from tidegate.slice where reading_pages = 1";
    eventually(SOON, async || (world.scalar::<i64>(committed).await == 1).then_some(())).await;
    one.kill().await;
    let killed = std::time::Instant::now();
    let succeeded = format!("select state = 'succeeded' from tidegate.run where id = {run}");
    eventually(SOON, async || world.scalar::<bool>(&succeeded).await.then_some(())).await;
    assert!(killed.elapsed().as_secs_f64() > 1.0, "not before the lease is over");
    other.says("taking over").await;
    let until = world.scalar("select max(read_until) from tidegate.slice").await;
    world.assert_truth("navigation_marks", start.and_time(chrono::NaiveTime::MIN).and_utc(), until).await;
    let firsts = world.control().stats().reports.iter().filter(|call| call.page == 1).count();
    assert_eq!(firsts, 3, "p3: no slice was started twice");
    let fence: i64 = world.scalar(&format!("select fence from tidegate.run where id = {run}")).await;
    assert_eq!(fence, 2);
    other.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stalls_and_resumes_causes_no_damage() {
    let start = ago(2).date_naive();
    let world = World::with(Recipe { start, worker: "{ concurrency: 1, lease: 5s }", ..Recipe::default() }).await;
    let run = world.enqueue(ByHand::Manual).await;
    let hold = world.control().hold_after(Match::report("navigation_marks").page(2), 1, Point::MidBody);
    let one = Daemon::start(&world).await;
    tokio::time::timeout(SOON, hold.reached()).await.unwrap();
    one.signal(rustix::process::Signal::STOP);
    let other = Daemon::start(&world).await;
    let succeeded = format!("select state = 'succeeded' from tidegate.run where id = {run}");
    eventually(SOON, async || world.scalar::<bool>(&succeeded).await.then_some(())).await;
    let before = world.rows("navigation_marks").await;
    hold.release();
    one.signal(rustix::process::Signal::CONT);
    one.says("another worker has taken over").await;
    assert_eq!(world.rows("navigation_marks").await, before);
    let until = world.scalar("select max(read_until) from tidegate.slice").await;
    world.assert_truth("navigation_marks", start.and_time(chrono::NaiveTime::MIN).and_utc(), until).await;
    tokio::join!(one.kill(), other.kill());
}
