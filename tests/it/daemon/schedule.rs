//! Firings: each exactly once, with any number of daemons; missed ones as the job says.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use simulator::Options;
use simulator::lynn::Volume;

use crate::support::daemon::{Daemon, SOON};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

async fn world(job: &[&str]) -> World {
    World::with(Recipe {
        options: Options { volume: Volume::Exactly(20), ..Recipe::default().options },
        start: ago(1).date_naive(),
        job: job.iter().map(|line| (*line).to_owned()).collect(),
        ..Recipe::default()
    })
    .await
}

async fn firings(world: &World, job: &str) -> Vec<DateTime<Utc>> {
    sqlx::query_scalar("select scheduled_for from tidegate.run where job = $1 and kind = 'schedule' order by 1")
        .bind(job)
        .fetch_all(&world.database.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_two_daemons_run_each_firing_exactly_once() {
    let world = world(&["schedule: \"* * * * * *\"", "catch_up: all", "lookback: 0s"]).await;
    let (one, other) = tokio::join!(Daemon::start(&world), Daemon::start(&world));
    let enough = async || (firings(&world, "lynn").await.len() >= 6).then_some(());
    eventually(SOON, enough).await;
    let (first, second) = tokio::join!(one.terminate(), other.terminate());
    assert!(first.0.success() && second.0.success());
    let fired = firings(&world, "lynn").await;
    for pair in fired.windows(2) {
        assert_eq!(pair[1] - pair[0], TimeDelta::seconds(1), "{fired:?}");
    }
    let more_than_once: i64 =
        world.scalar("select count(*) from tidegate.run where fence > 1 and state = 'succeeded'").await;
    assert_eq!(more_than_once, 0);
    let calls: i64 = world.scalar("select sum(calls)::bigint from tidegate.task").await;
    let stats = world.control().stats();
    let seen: u64 = stats.calls.values().sum();
    assert_eq!(u64::try_from(calls).unwrap(), seen, "every call belongs to a run");
    let failed: i64 = world.scalar("select count(*) from tidegate.run where state = 'failed'").await;
    assert_eq!(failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_firings_missed_while_down_are_caught_up_as_the_job_says() {
    // Hourly at a minute that is half an hour away, so that nothing fires while the test runs.
    let minute = (Utc::now() + TimeDelta::minutes(30)).minute();
    let schedule = format!("schedule: \"{minute} * * * *\"");
    let world = world(&[&schedule, "catch_up: latest"]).await;
    let start = ago(28).date_naive();
    world.edit_config(|text| {
        let job = |name: &str, stream: &str, catch_up: &str| {
            format!(
                "  {name}:\n    connection: acme\n    streams: [{stream}]\n    start: {start}\n    {schedule}\n    \
                 catch_up: {catch_up}\n"
            )
        };
        text + &job("every", "survey_result", "all") + &job("never", "show_error", "none")
    });
    let daemon = Daemon::start(&world).await;
    let met = async || (world.scalar::<i64>("select count(*) from tidegate.job").await == 3).then_some(());
    eventually(SOON, met).await;
    daemon.terminate().await;
    let before: i64 = world.scalar("select count(*) from tidegate.run").await;
    assert_eq!(before, 0, "a new job has missed nothing");
    // As if the daemon had been stopped that long: three firings were missed, the last half an hour ago.
    sqlx::query("update tidegate.job set due_after = due_after - interval '200 minutes'")
        .execute(&world.database.pool())
        .await
        .unwrap();
    let (one, other) = tokio::join!(Daemon::start(&world), Daemon::start(&world));
    let ended = async || {
        let ended = "select count(*) from tidegate.run where state = 'succeeded'";
        (world.scalar::<i64>(ended).await == 4).then_some(())
    };
    eventually(SOON, ended).await;
    let every = firings(&world, "every").await;
    assert_eq!(every.len(), 3, "{every:?}");
    assert_eq!(every[1] - every[0], TimeDelta::hours(1));
    assert_eq!(firings(&world, "lynn").await, every[2..]);
    assert!(firings(&world, "never").await.is_empty());
    tokio::join!(one.kill(), other.kill());
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_run_that_outlasts_its_interval_is_not_overlapped() {
    let world = world(&["schedule: \"* * * * * *\""]).await;
    let hold = world.control().hold(simulator::Match::report("navigation_marks"), simulator::Point::MidBody);
    let daemon = Daemon::start(&world).await;
    tokio::time::timeout(SOON, hold.reached()).await.unwrap();
    let held = Utc::now();
    // Three firings pass.
    eventually(SOON, async || (Utc::now() - held > TimeDelta::seconds(3)).then_some(())).await;
    assert_eq!(firings(&world, "lynn").await.len(), 1);
    hold.release();
    let next = eventually(SOON, async || firings(&world, "lynn").await.get(1).copied()).await;
    assert!(next - held > TimeDelta::seconds(2), "only the latest missed firing");
    let (status, took, _) = daemon.terminate().await;
    assert!(status.success() && took < Duration::from_secs(10));
}
