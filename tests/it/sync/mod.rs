//! Whole runs: the tables contain what the vendor reports.

mod changes;
mod clocks;
mod failures;
mod last_word;
mod locked;
mod odd_values;
mod plan;
mod reports;

use super::support::world::Recipe;
use super::support::{World, ago};

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_first_run_loads_what_the_vendor_reports() {
    let world = World::with(Recipe {
        start: ago(2).date_naive(),
        streams: "\"*\"",
        job: vec!["lookback: 0s".to_owned()],
        ..Recipe::default()
    })
    .await;
    let tasks = world.sync_ok().await;
    assert_eq!(tasks.len(), 8);
    for task in &tasks {
        world.assert_truth(&task.stream, ago(2), task.last_window_end.unwrap()).await;
    }
}
