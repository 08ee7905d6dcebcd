//! What the daemon says of the streams of its configuration, and what a load says.

use sqlx::PgPool;
use tidegate::store::instance::{self, About};
use tidegate::store::stream::{self, Planned, Readers};

use super::summary::assert_summaries;
use super::{STREAM, execute, text};
use crate::support::daemon::{Daemon, command, tidegate};
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
async fn p11_a_stream_that_is_taken_out_of_a_job_is_retired_at_a_reload_and_at_a_restart() {
    let all = "[navigation_marks, show_error, survey_result]";
    let world = World::with(Recipe {
        streams: all,
        start: ago(3).date_naive(),
        job: vec!["schedule: \"0 3 1 1 *\"".to_owned()],
        ..Recipe::default()
    })
    .await;
    let daemon = Daemon::start(&world).await;
    let states = "select string_agg(stream || ' ' || state, ', ' order by stream) from mart.data_status";
    let pool = world.database.pool();
    let is = async |wanted: &str| (text(&pool, states).await.as_deref() == Some(wanted)).then_some(());
    eventually(LONG, async || is("navigation_marks pending, show_error pending, survey_result pending").await).await;

    world.edit_config(|text| text.replace(all, "[navigation_marks, show_error]"));
    eventually(LONG, async || is("navigation_marks pending, show_error pending, survey_result retired").await).await;
    daemon.terminate().await;

    world.edit_config(|text| text.replace("[navigation_marks, show_error]", "[navigation_marks]"));
    let daemon = Daemon::start(&world).await;
    eventually(LONG, async || is("navigation_marks pending, show_error retired, survey_result retired").await).await;

    world.edit_config(|text| text.replace("[navigation_marks]", "[navigation_marks, survey_result]"));
    eventually(LONG, async || is("navigation_marks pending, show_error retired, survey_result pending").await).await;
    daemon.terminate().await;
}

/// What a process stores whose only job `one` reads these streams. Returns how many streams lost a job.
async fn store(pool: &PgPool, streams: &[&str], config_hash: &str) -> u64 {
    let planned: Vec<Planned> = streams
        .iter()
        .map(|name| Planned {
            connection: "acme".to_owned(),
            stream: (*name).to_owned(),
            schema: "lynn",
            table: (*name).to_owned(),
            anchor: ago(3).date_naive(),
            timezone: "UTC".to_owned(),
            slice: "1d".to_owned(),
            wanted_from: None,
            jobs: vec!["one".to_owned()],
            active_jobs: vec!["one".to_owned()],
            last_success_at: None,
            expected: None,
        })
        .collect();
    stream::plan(pool, &planned).await.unwrap();
    let mut readers = Readers::default();
    readers.note(&planned);
    stream::take_out(pool, &["one".to_owned()], &readers, Some(config_hash)).await.unwrap()
}

#[tokio::test]
async fn p11_a_stream_stays_with_a_job_as_long_as_a_running_process_reads_it_in_that_job() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let jobs = ["one".to_owned()];
    let runs = async |owner: &str, hash: &str| {
        let about = About { config_hash: Some(hash.to_owned()), ..About::default() };
        instance::beat(&pool, owner, &jobs, &about).await.unwrap();
    };
    let readers = "select string_agg(stream || ' ' || jobs::text, ', ' order by stream) from tidegate.stream";
    runs("old", "before").await;
    assert_eq!(store(&pool, &["a", "b"], "before").await, 0);
    // While both run, neither takes away what the other reads.
    runs("new", "after").await;
    assert_eq!(store(&pool, &["a"], "after").await, 0);
    assert_eq!(store(&pool, &["a", "b"], "before").await, 0);
    assert_eq!(text(&pool, readers).await.unwrap(), "a {one}, b {one}");
    instance::leave(&pool, "old").await.unwrap();
    assert_eq!(store(&pool, &["a"], "after").await, 1);
    assert_eq!(text(&pool, readers).await.unwrap(), "a {one}, b {}");
    // A replica with the same configuration and a command change nothing of that.
    runs("replica", "after").await;
    instance::beat(&pool, "command", &jobs, &About::default()).await.unwrap();
    execute(&pool, "update tidegate.stream set jobs = '{one,other}', active_jobs = '{one}', expected_by = now()").await;
    assert_eq!(store(&pool, &[], "after").await, 2);
    let left =
        "select string_agg(jobs::text || ' ' || active_jobs::text || ' ' || paused::text, ', ') from tidegate.stream";
    assert_eq!(text(&pool, left).await.unwrap(), "{other} {} true, {other} {} true", "the other job is paused");
    assert_eq!(store(&pool, &[], "after").await, 0);
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

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_command_plans_its_whole_configuration_unless_a_daemon_runs_with_its_own() {
    let world = World::with(Recipe {
        streams: "[navigation_marks, survey_result]",
        start: ago(3).date_naive(),
        job: vec!["schedule: \"0 3 1 1 *\"".to_owned()],
        ..Recipe::default()
    })
    .await;
    let states = "select string_agg(stream || ' ' || state, ', ' order by stream) from mart.data_status";
    let pool = world.database.pool();
    let done = command(&world, &[], &["sync", "--stream", "survey_result"]).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(text(&pool, states).await.unwrap(), "navigation_marks pending, survey_result on time");
    let status = command(&world, &[], &["status"]).await;
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("navigation_marks") && status.contains("pending"), "{status}");

    let daemon = Daemon::start(&world).await;
    let is_seen = "select exists (select from tidegate.instance where config_hash is not null)";
    eventually(LONG, async || world.scalar::<bool>(is_seen).await.then_some(())).await;
    let readers = "select string_agg(stream || ' ' || jobs::text, ', ' order by stream) from tidegate.stream
        where stream <> 'show_error'";
    let before = text(&pool, readers).await;
    // Another configuration, with a job of the same name.
    let other = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(world.config_path().join("tidegate.yaml")).unwrap();
    let config = config.replace("[navigation_marks, survey_result]", "[show_error]");
    std::fs::write(other.path().join("tidegate.yaml"), config).unwrap();
    let sync = ["--config", other.path().to_str().unwrap(), "sync"];
    let done = tidegate(other.path(), &[], &sync).output().await.unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(text(&pool, readers).await, before);
    daemon.terminate().await;
    let done = tidegate(other.path(), &[], &sync).output().await.unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(text(&pool, readers).await, before, "nor while the daemon is stopped");
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
