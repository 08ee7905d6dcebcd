//! Whole runs in this process: what the vendor reports is what the tables hold.

use super::support::World;
use super::support::world::{Recipe, day};

fn three_days() -> Vec<String> {
    vec!["lookback: 0s".to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_first_run_loads_what_the_vendor_reports() {
    let world = World::with(Recipe {
        start: (chrono::Utc::now() - chrono::TimeDelta::days(2)).date_naive(),
        streams: "\"*\"",
        job: three_days(),
        ..Recipe::default()
    })
    .await;
    let tasks = world.sync().await;
    for task in &tasks {
        assert_eq!((task.state.as_str(), task.error.as_deref()), ("succeeded", None), "{}", task.stream);
    }
    assert_eq!(tasks.len(), 8);
    for task in &tasks {
        let (from, to) = (world.config().jobs["lynn"].start, task.last_window_end.unwrap());
        world.assert_truth(&task.stream, from.and_time(chrono::NaiveTime::MIN).and_utc(), to).await;
    }
    let _ = day(0);
}
