//! `plan` predicts what `sync` will do, and sends nothing.

use serde_json::Value;

use crate::support::daemon::command;
use crate::support::world::Recipe;
use crate::support::{World, ago};

async fn plan(world: &World) -> Value {
    let before = world.control().stats().calls;
    let output = command(world, &[], &["plan", "--json"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.control().stats().calls, before, "nothing was sent");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_slices_and_calls_and_sends_nothing() {
    let world = World::with(Recipe {
        start: ago(4).date_naive(),
        job: vec!["lookback: 36h".to_owned()],
        options: Recipe::default().options.limit("requests", 1, std::time::Duration::from_millis(50)),
        ..Recipe::default()
    })
    .await;
    let first = plan(&world).await;
    let stream = &first["streams"][0];
    assert_eq!(stream["slices"], 5, "{first}");
    assert_eq!((&stream["again"], &stream["measured"]), (&0.into(), &false.into()), "{first}");
    let traces = "select (select count(*) from tidegate.stream) + (select count(*) from tidegate.run)";
    assert_eq!(world.scalar::<i64>(traces).await, 0, "a plan leaves no trace");

    let tasks = world.sync().await;
    let planned = stream["slices"].as_i64().unwrap();
    assert_eq!(i64::from(tasks[0].slices_done), planned);

    let second = plan(&world).await;
    let stream = &second["streams"][0];
    // The lookback ends within the day before yesterday from noon on.
    let slices = stream["slices"].as_i64().unwrap();
    assert!((2..=3).contains(&slices) && stream["again"] == slices, "{second}");
    assert_eq!(stream["measured"], true);
    let before = world.control().stats().reports.len();
    let tasks = world.sync().await;
    assert_eq!(i64::from(tasks[0].slices_done), slices);
    let calls = world.control().stats().reports.len() - before;
    let planned = usize::try_from(stream["calls"].as_u64().unwrap()).unwrap();
    // However young the open day is: its rows arrive almost evenly.
    assert!(planned.abs_diff(calls) <= 1, "{planned} planned, {calls} sent");
    assert!(stream["ends_at"].as_str() > second["at"].as_str(), "{second}");
}
