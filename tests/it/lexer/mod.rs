//! Lexer Activity: whole runs against its simulator, over real HTTP and into a real Postgres.

mod changes;
mod files;
mod hostile;
mod intervals;
mod jobs;
mod quota;
mod reports;
mod responses;
mod silence;
mod types;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use simulator::lexer::{Account, Handle};
use simulator::lynn::Volume;
use simulator::{Options, Override};
use sqlx::AssertSqlSafe;
use tidegate::catalogue::column_name;

use super::support::bench;
use super::support::world::{QUICK_RETRY, assert_equal};
use super::support::{World, ago};

const LONG: Duration = Duration::from_mins(1);
const SLA: &str = "mention_sla_export";
const JOB: &str = "lexer";
/// Number of rows of every file on each day.
const ROWS: u64 = 40;
const SYSTEM: &str = "'{_connection,_run_id,_loaded_at,_row_key,_deleted_at}'::text[]";

/// Jobs that are ready soon, and limits that are never reached.
fn options() -> Options {
    let lexer = Account { job_takes: Duration::from_millis(150), ..Account::default() };
    Options { volume: Volume::Exactly(ROWS), lexer, ..Options::default() }
        .limit("lexer.requests", 100_000, Duration::from_secs(10))
        .limit("lexer.burst", 10_000, Duration::from_secs(1))
}

/// A world with the job `lexer`: `connection` and `job` are further YAML lines.
async fn world(options: Options, streams: &str, days: i64, connection: &[&str], job: &[&str]) -> World {
    let world = World::of(JOB, options.clone()).await;
    let mut keys = vec![format!(
        "vendor: lexer_activity
base_url: {}
status_base_url: {}
allowed_hosts: [\"{}\"]
api_token: {}
{QUICK_RETRY}
polling: {{ initial: 50ms, max: 200ms }}
quotas:",
        world.simulator.base_url(),
        world.simulator.clients_url(),
        world.simulator.files_url().trim_start_matches("http://"),
        options.lexer.api_token,
    )];
    for name in ["requests", "burst"] {
        let Override { amount, period } = options.limits[&format!("lexer.{name}")];
        let per = period.unwrap().as_millis();
        keys.push(format!("  {name}: {{ limit: {}, per: {per}ms }}", amount.unwrap()));
    }
    keys.extend(connection.iter().map(ToString::to_string));
    let start = format!("streams: {streams}\nstart: {}", ago(days).date_naive());
    let job: Vec<String> = [start.as_str()].iter().chain(job).map(ToString::to_string).collect();
    world.configure("{ concurrency: 2, lease: 5s }", &keys, &job);
    world
}

/// A world with these streams from this many days ago, without special settings.
async fn plain(streams: &str, days: i64) -> World {
    world(options(), streams, days, &[], &["lookback: 10d"]).await
}

fn lexer(world: &World) -> Handle {
    world.control().lexer()
}

/// A run of one stream that fails: its error and hint.
async fn fails(world: &World) -> (String, String) {
    let tasks = world.sync().await;
    let failed: Vec<_> = tasks.iter().filter(|task| task.state == "failed").collect();
    assert_eq!(failed.len(), 1, "{tasks:#?}");
    (failed[0].error.clone().unwrap(), failed[0].hint.clone().unwrap())
}

/// The rows of a table with the window, without the other columns that Tidegate adds and without nulls.
async fn rows(world: &World, table: &str) -> Vec<Map<String, Value>> {
    let query = format!("select to_jsonb(t) - {SYSTEM} from lexer.\"{table}\" as t");
    let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&world.database.pool()).await.unwrap();
    let object = |row: Value| row.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null());
    rows.into_iter().map(|row| object(row).collect()).collect()
}

/// The slices that were read: their start, and up to when they were read.
async fn slices(world: &World, stream: &str) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    sqlx::query_as("select window_start, read_until from tidegate.slice where stream = $1 order by 1")
        .bind(stream)
        .fetch_all(&world.database.pool())
        .await
        .unwrap()
}

/// Without the window, as sorted texts.
fn texts(rows: impl IntoIterator<Item = Map<String, Value>>) -> Vec<String> {
    let text = |mut row: Map<String, Value>| {
        row.remove("_window_start");
        row.remove("window_end");
        Value::Object(row).to_string()
    };
    let mut texts: Vec<String> = rows.into_iter().map(text).collect();
    texts.sort();
    texts
}

/// The rows of a file as its table should hold them, sorted.
fn file_truth(world: &World, file: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<String> {
    let rows = lexer(world).data().rows(file, from, to).unwrap();
    let columns = |row: Map<String, Value>| {
        let cells = row.into_iter().filter(|(_, cell)| *cell != "" && !cell.is_null());
        let text = |cell: Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
        cells
            .map(|(title, cell)| (column_name(&title), typed(file, &title, &text(cell))))
            .collect::<Map<String, Value>>()
    };
    texts(rows.into_iter().map(columns))
}

/// A cell as its column holds it.
fn typed(file: &str, title: &str, text: &str) -> Value {
    if file != SLA {
        return text.into();
    }
    if title.ends_with("(UTC)") {
        format!("{}+00:00", text.replace(' ', "T")).into()
    } else if title.ends_with("(min)") {
        // As Postgres prints it: 10.0 is 10.
        serde_json::from_str(text.strip_suffix(".0").unwrap_or(text)).unwrap()
    } else if title.starts_with("Within ") {
        (text == "true").into()
    } else {
        text.into()
    }
}

async fn assert_file(world: &World, file: &str) {
    let read = slices(world, file).await;
    let (from, to) = (read.first().unwrap().0, read.last().unwrap().1);
    assert_equal(file, &texts(rows(world, file).await), &file_truth(world, file, from, to));
}

/// How often each report was requested, without the polls of jobs.
fn asked(world: &World) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for call in world.control().stats().reports.iter().filter(|call| call.endpoint != "lexer_status") {
        *asked.entry(call.report.clone()).or_default() += 1;
    }
    asked
}

#[track_caller]
fn assert_well_behaved(world: &World) {
    bench::assert_well_behaved(&world.control());
}
