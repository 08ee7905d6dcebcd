//! What a changed configuration, or an older copy of the database, does to rows and cursors (docs/changes.md).

use serde_json::Value;

use super::ago;
use crate::support::World;
use crate::support::daemon::command;
use crate::support::world::Recipe;

const STREAM: &str = "navigation_marks";

/// Nothing that was read is read again, unless it is still open.
async fn world() -> World {
    World::with(Recipe { start: ago(3).date_naive(), job: vec!["lookback: 0s".to_owned()], ..Recipe::default() }).await
}

async fn rows_of(world: &World, connection: &str) -> i64 {
    world.scalar(&format!("select count(*) from lynn.{STREAM} where _connection = '{connection}'")).await
}

async fn asked(world: &World, args: &[&str]) -> Value {
    let output = command(world, &[], args).await;
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_job_continues_where_the_old_one_stopped() {
    let world = world().await;
    let first = world.sync().await;
    assert_eq!((first[0].state.as_str(), first[0].slices_done), ("succeeded", 4), "{first:#?}");
    world.edit_config(|text| text.replace("\n  lynn:\n", "\n  hourly:\n"));
    let read = asked(&world, &["sync", "hourly", "--json"]).await;
    let task = &read["tasks"][0];
    assert_eq!((&task["job"], &task["state"]), (&"hourly".into(), &"succeeded".into()), "{read}");
    assert_eq!((&task["slices_done"], &task["rows_deleted"]), (&1.into(), &0.into()), "the open day only: {read}");
    let runs = asked(&world, &["runs", "lynn", "--json"]).await;
    assert_eq!(runs["runs"][0]["state"], "succeeded", "the history keeps the old name: {runs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_connection_is_read_from_its_start_and_the_old_rows_stay_under_the_old_name() {
    let world = world().await;
    let first = world.sync().await;
    let old = rows_of(&world, "acme").await;
    assert!(first[0].state == "succeeded" && old > 0, "{first:#?}");
    world
        .edit_config(|text| text.replace("\n  acme:\n", "\n  beta:\n").replace("connection: acme", "connection: beta"));
    let second = world.sync().await;
    assert_eq!((second[0].state.as_str(), second[0].slices_done), ("succeeded", 4), "{second:#?}");
    assert_eq!(rows_of(&world, "acme").await, old);
    assert!(rows_of(&world, "beta").await >= old);
    let ledgers = "select array_agg(connections::text) from tidegate.quota_ledger";
    assert_eq!(world.scalar::<Vec<String>>(ledgers).await, ["{acme,beta}"], "the credential is the same");

    let known = asked(&world, &["connections", "--json"]).await;
    let configured: Vec<_> = known["connections"].as_array().unwrap().iter().map(|one| &one["configured"]).collect();
    assert_eq!(configured, [&Value::from(false), &Value::from(true)], "{known}");
    assert_eq!(known["connections"][0]["streams"][0]["rows"], old, "{known}");
    let status = asked(&world, &["status", "--json"]).await;
    assert!(status["connections"].as_array().unwrap().iter().all(|one| one["connection"] == "beta"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_restored_backup_reads_only_what_it_lacks() {
    let mut world = world().await;
    let first = world.backfill(ago(3), ago(1)).await;
    assert_eq!((first[0].state.as_str(), first[0].slices_done), ("succeeded", 2), "{first:#?}");
    let older = world.database.copy().await;
    let later = world.sync().await;
    assert_eq!((later[0].state.as_str(), later[0].slices_done), ("succeeded", 2), "{later:#?}");

    let lost = std::mem::replace(&mut world.database, older);
    world.edit_config(|text| text.replace(lost.url(), world.database.url()));
    drop(lost);
    let again = world.sync().await;
    assert_eq!((again[0].state.as_str(), again[0].slices_done), ("succeeded", 2), "the missing days: {again:#?}");
    world.assert_truth(STREAM, ago(3), again[0].last_window_end.unwrap()).await;
}
