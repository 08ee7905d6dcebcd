//! What the daemon says of the streams of its configuration, and what a load says.

use tidegate::store::instance::{self, About};
use tidegate::store::stream;

use super::summary::assert_summaries;
use super::{STREAM, execute, text};
use crate::support::daemon::Daemon;
use crate::support::world::Recipe;
use crate::support::{TestDatabase, World, ago, eventually};

/// Longer than a process takes to record its jobs twice.
const LONG: std::time::Duration = std::time::Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_daemon_plans_streams_before_they_are_read_and_retires_those_of_removed_jobs() {
    let world = World::with(Recipe {
        streams: "[navigation_marks, survey_result]",
        start: ago(3).date_naive(),
        job: vec!["schedule: \"0 3 1 1 *\"".to_owned(), "timezone: Europe/Berlin".to_owned()],
        ..Recipe::default()
    })
    .await;
    let daemon = Daemon::start(&world).await;
    let states =
        "select string_agg(stream || ' ' || state || ' ' || coalesce(complete_until::text, '-'), ', ' order by stream)
        from mart.data_status";
    let pool = world.database.pool();
    let is = async |wanted: &str| (text(&pool, states).await.as_deref() == Some(wanted)).then_some(());
    eventually(LONG, async || is("navigation_marks pending -, survey_result pending -").await).await;
    let begun = "select count(*) from tidegate.stream where not unread";
    assert_eq!(world.scalar::<i64>(begun).await, 0);
    let days = "select count(*) from mart.day_status where table_name = 'lynn.survey_result' and state = 'missing'";
    assert!(world.scalar::<i64>(days).await >= 3);

    world.edit_config(|text| text.replace("[navigation_marks, survey_result]", "[navigation_marks]"));
    let another = "\n  lynn-paused:\n    connection: acme\n    streams: [survey_result]\n    start: 2026-01-01\n    paused: true\n";
    world.edit_config(|text| text.trim_end().to_owned() + another);
    eventually(LONG, async || is("navigation_marks pending -, survey_result paused -").await).await;
    world.edit_config(|text| text.replace(another, "\n"));
    eventually(LONG, async || is("navigation_marks pending -, survey_result retired -").await).await;
    daemon.terminate().await;
    assert_eq!(text(&pool, states).await.unwrap(), "navigation_marks pending -, survey_result retired -");
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_load_says_until_when_it_is_complete_and_when_the_next_success_is_late() {
    let world = World::with(Recipe {
        start: ago(3).date_naive(),
        job: vec!["schedule: \"0 3 * * *\"".to_owned()],
        ..Recipe::default()
    })
    .await;
    world.sync_ok().await;
    assert_summaries(&world.database.pool()).await;
    let is_expected = "select state = 'on time' and not has_gap and complete_until > now() - interval '20 minutes'
            and expected_every_seconds = 86400 and expected_by > now() + interval '15 minutes'
            and expected_by <= now() + interval '27 hours' and last_error is null
        from mart.data_status";
    assert!(world.scalar::<bool>(is_expected).await);
    let days = "select count(*) from mart.day_status where state = 'complete'";
    assert_eq!(world.scalar::<i64>(days).await, 3);
}

#[tokio::test]
async fn p11_a_stream_is_retired_when_no_running_process_has_its_jobs() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    let state = "select state from mart.data_status";
    assert_eq!(stream::retire(&pool).await.unwrap(), 0, "no process has said who reads it");
    execute(&pool, "update tidegate.stream set jobs = '{one,other}'").await;
    instance::beat(&pool, "me", &["other".to_owned()], &About::default()).await.unwrap();
    assert_eq!(stream::retire(&pool).await.unwrap(), 0);
    instance::beat(&pool, "me", &["third".to_owned()], &About::default()).await.unwrap();
    assert_eq!(stream::retire(&pool).await.unwrap(), 1);
    assert_eq!(text(&pool, state).await.unwrap(), "retired");
}
