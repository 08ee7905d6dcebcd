//! Whole runs: what the vendor reports is what the tables hold.

mod clocks;
mod failures;
mod last_word;
mod odd_values;
mod plan;
mod reports;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

use super::support::World;
use super::support::world::Recipe;

/// Midnight so many days before today.
fn ago(days: i64) -> DateTime<Utc> {
    (Utc::now() - TimeDelta::days(days)).date_naive().and_time(NaiveTime::MIN).and_utc()
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_first_run_loads_what_the_vendor_reports() {
    let world = World::with(Recipe {
        start: ago(2).date_naive(),
        streams: "\"*\"",
        job: vec!["lookback: 0s".to_owned()],
        ..Recipe::default()
    })
    .await;
    let tasks = world.sync().await;
    for task in &tasks {
        assert_eq!((task.state.as_str(), task.error.as_deref()), ("succeeded", None), "{}", task.stream);
    }
    assert_eq!(tasks.len(), 8);
    for task in &tasks {
        world.assert_truth(&task.stream, ago(2), task.last_window_end.unwrap()).await;
    }
}
