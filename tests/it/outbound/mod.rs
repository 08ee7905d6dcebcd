//! Lynn Outbound against its simulator: lists as whole runs, and `tidegate push` as the real binary.

mod dnd;
mod lists;
mod push;
mod push_faults;
mod push_once;
mod refusals;

use std::time::Duration;

use serde_json::Value;
use simulator::lynn::outbound::{TEMPLATE_ID, listed};
use simulator::{Hold, Options, Vendor};
use tidegate::store::progress::TaskState;

use super::support::daemon::command;
use super::support::world::Recipe;
use super::support::{Process, World, eventually};

/// Far longer than anything here takes, even on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// A world whose connection is one of Lynn Outbound, with all of its lists enabled.
async fn world(streams: &'static str) -> World {
    world_with(streams, Recipe::default().options, &[]).await
}

async fn world_with(streams: &'static str, options: Options, connection: &[&str]) -> World {
    let mut lines = vec![
        "enabled_streams: [campaigns, contacts, dnd_contacts]".to_owned(),
        "polling: { initial: 20ms, max: 100ms, deadline: 20s }".to_owned(),
    ];
    lines.extend(connection.iter().map(|&line| line.to_owned()));
    let world = World::with(Recipe { streams, options, connection: lines, ..Recipe::default() }).await;
    world.edit_config(|text| text.replace("lynn_reporting", "lynn_outbound").replace("    page_size: 100\n", ""));
    world.control().outbound().shape(|shape| shape.task_takes = Duration::from_millis(50));
    world
}

/// The content of a list at the vendor.
fn truth(world: &World, list: &str) -> Vec<String> {
    world.truth_of(Vendor::LynnOutbound, list, listed())
}

/// The rows of a list that the vendor still has.
async fn rows(world: &World, list: &str) -> Vec<String> {
    world.rows_where(list, "_deleted_at is null").await
}

/// Runs the job, which must succeed.
async fn sync(world: &World) -> Vec<TaskState> {
    let tasks = world.sync_ok().await;
    assert_eq!(world.control().stats().unexpected, []);
    tasks
}

/// Runs the job, which must fail. Returns the first task's error and hint.
async fn fails(world: &World) -> (String, String) {
    let task = world.sync().await.remove(0);
    assert_eq!(task.state, "failed", "{:?}", task.error);
    assert_eq!(world.control().stats().unexpected, []);
    (task.error.clone().unwrap_or_default(), task.hint.clone().unwrap_or_default())
}

/// A world with `rows` customers, and the job `renewals` that sends them.
async fn push_world(rows: i64, batch_size: usize) -> World {
    push_world_with(rows, batch_size, Recipe::default().options, &[]).await
}

async fn push_world_with(rows: i64, batch_size: usize, options: Options, connection: &[&str]) -> World {
    let world = world_with("[campaigns]", options, connection).await;
    sqlx::query("create table public.renewals (id bigint primary key, name text, phone text, tags text, due date)")
        .execute(&world.database.pool())
        .await
        .unwrap();
    add_customers(&world, 1, rows).await;
    world.edit_config(|text| format!("{text}{}", job(batch_size)));
    world
}

fn job(batch_size: usize) -> String {
    format!(
        "  renewals:
    connection: acme
    push:
      query: \"select id, name, phone, tags, to_char(due, 'DD/MM/YYYY') as due from public.renewals order by id;\"
      campaign_id: \"101\"
      template_id: {TEMPLATE_ID}
      columns: {{ Name: name, Phone: phone, Tags: tags, Due Date: due }}
      key: [id]
      batch_size: {batch_size}
"
    )
}

async fn add_customers(world: &World, from: i64, to: i64) {
    sqlx::query(
        "insert into public.renewals
        select id, 'Customer ' || id, '+5699' || id, null, date '2026-01-01' + (id % 28)::int
        from generate_series($1::bigint, $2::bigint) as id",
    )
    .bind(from)
    .bind(to)
    .execute(&world.database.pool())
    .await
    .unwrap();
}

/// What a push printed, and its exit code.
#[derive(Debug)]
struct Pushed {
    code: i32,
    document: Value,
    said: String,
}

/// Runs `tidegate push renewals --json` with the arguments `more` to its end.
async fn push(world: &World, more: &[&str]) -> Pushed {
    let args = [&["push", "renewals", "--json"], more].concat();
    let output = command(world, &[("TIDEGATE__LOG__LEVEL", "off")], &args).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Pushed {
        code: output.status.code().unwrap(),
        document: serde_json::from_slice(&output.stdout).unwrap_or_default(),
        said: text(&output.stderr),
    }
}

/// A push under way.
fn begin(world: &World) -> Process {
    Process::start(&world.config_path(), &["push", "renewals", "--json"], &[])
}

/// Waits until a call of `process` is held.
async fn reached(hold: &Hold, process: &mut Process) {
    eventually(LONG, async || {
        assert!(!process.has_ended(), "it ended too soon: {}", process.said());
        hold.is_reached().then_some(())
    })
    .await;
}

/// The customers that the vendor has, in the order in which they came.
fn received(world: &World) -> Vec<i64> {
    let loads = world.control().outbound().loads();
    let id = |record: &std::collections::BTreeMap<String, String>| record["Name"]["Customer ".len()..].parse().unwrap();
    loads.iter().flat_map(|load| load.records.iter().map(id)).collect()
}

async fn states(world: &World) -> Vec<String> {
    let query = "select coalesce(array_agg(state order by id), '{}') from tidegate.push_batch";
    world.scalar::<Vec<String>>(query).await
}
