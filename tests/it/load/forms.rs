//! The statements for distributed tables load what those for tables on one server load. Their SQL is plain, so both run
//! on one server here; `tests/it/citus` has them run on a cluster.

use proptest::prelude::*;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tidegate::catalogue::{ColumnType, Mode};
use tidegate::rows::page::RowWindow;
use tidegate::store::distribution::Distribution;
use tokio::runtime::Runtime;

use super::fingerprints::read;
use super::modes::{entities, everything, list, plant};
use super::plant::{Plant, whole};
use super::replace::accounts_for_every_record;
use crate::support::random::runner;

/// What is in the keys: backslashes and other characters that SQL could read as escapes.
const IDS: [&str; 8] = [r"a\b", r"\x41", r"\", r"\\101", "ü€😀", "a'b", "plain", "123"];

/// The same stream in two databases, each with one form of statements.
async fn pair(make: impl AsyncFn() -> Plant) -> [Plant; 2] {
    [make().await.in_form(Distribution::None), make().await.in_form(Distribution::Citus)]
}

/// The rows of a table with the runs that wrote them last. The runs of both databases have the same numbers, so a row
/// that only one form wrote again differs.
async fn rows(plant: &Plant, table: &str) -> Vec<String> {
    let query = format!(
        "select (to_jsonb(t) - '_loaded_at' - '_deleted_at')::text
            || (coalesce(to_jsonb(t) ->> '_deleted_at', '') <> '')
        from {table} as t"
    );
    let mut rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&plant.pool).await.unwrap();
    rows.sort();
    rows
}

/// Reads a slice in both databases, and compares what was counted and what the tables have. Each record counts once.
async fn agree(pair: &[Plant; 2], window: RowWindow, pages: &[Vec<String>], tables: &[&str]) {
    let [plain, distributed] = pair;
    let counted = [read(plain, window, pages, 1).await, read(distributed, window, pages, 1).await];
    assert_eq!(format!("{:?}", counted[0]), format!("{:?}", counted[1]), "{pages:?}");
    accounts_for_every_record(&counted[0]);
    for table in tables {
        assert_eq!(rows(plain, table).await, rows(distributed, table).await, "{table} after {pages:?}");
    }
    for plant in pair {
        assert_eq!(plant.count("select count(*) from tidegate.seen_row").await, 0, "nothing is left behind");
    }
}

/// Records in a few pages, some of which are empty.
fn pages(record: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec(record, 0..12), 1..4)
}

/// A page that is large enough for fingerprints, with a few other values each time.
fn large(record: fn(u32, u32) -> String) -> impl Strategy<Value = Vec<Vec<String>>> {
    (100_u32..160, prop::collection::vec((0_u32..160, 0_u32..5), 0..8)).prop_map(move |(count, changed)| {
        let value = |n: u32| changed.iter().find(|(other, _)| *other == n).map_or(0, |(_, value)| *value);
        vec![(0..count).map(|n| record(n, value(n))).collect()]
    })
}

/// Reads neighbouring days again and again.
fn days(make: impl AsyncFn() -> Plant, readings: impl Strategy<Value = Vec<Vec<String>>>, tables: &[&str]) {
    let runtime = Runtime::new().unwrap();
    let pair = runtime.block_on(pair(make));
    runner(40)
        .run(&(0_i64..3, readings), |(day, pages)| {
            runtime.block_on(agree(&pair, whole(day), &pages, tables));
            Ok(())
        })
        .unwrap();
}

fn by_content(n: u32, hour: u32) -> String {
    // The second at midnight belongs to two slices.
    let (day, hour) = if n.is_multiple_of(3) { (2, 0) } else { (1 + hour / 24, hour % 24) };
    format!(r#"{{"at":"2024-03-{day:02}T{hour:02}:00:00Z","n":{n}}}"#)
}

#[test]
fn p4_both_forms_load_the_same_rows_that_are_known_by_their_content() {
    let small = pages((0_u32..12, 0_u32..72).prop_map(|(n, hour)| by_content(n, hour)));
    days(Plant::new, prop_oneof![3 => small, 1 => large(by_content)], &["lynn.survey_result"]);
}

fn by_id(n: u32, value: u32) -> String {
    let id = format!("{}{}", IDS[n as usize % IDS.len()], n / 8);
    let id = serde_json::to_string(&id).unwrap();
    format!(r#"{{"id":{id},"at":"2024-03-02T00:00:00Z","v":{value}}}"#)
}

#[test]
fn p4_both_forms_load_the_same_rows_that_are_known_by_their_keys() {
    let small = pages((0_u32..24, 0_u32..4).prop_map(|(n, value)| by_id(n, value)));
    let make = async || {
        let mut plant = Plant::new().await.keyed(&["id"]);
        plant.types.insert("id".to_owned(), ColumnType::Text);
        plant
    };
    days(make, prop_oneof![3 => small, 1 => large(by_id)], &["lynn.survey_result"]);
}

fn entity(id: u32, value: u32) -> String {
    let labels = (0..value % 4).map(|n| json!({ "id": n, "name": format!("{}", value + n), "more": id }));
    let record = json!({
        "project": "p",
        "id": id,
        "bot": if id.is_multiple_of(2) { "" } else { "b" },
        "name": format!("n{value}"),
        "count": value,
        "status": if value.is_multiple_of(3) { Value::Null } else { json!("open") },
        "at": format!("2024-03-0{}T00:00:00Z", value % 9 + 1),
        "seen": format!("2024-03-0{}T00:00:00Z", value % 5 + 1),
        "labels": labels.collect::<Vec<Value>>(),
        "groups": if value.is_multiple_of(5) { Value::Null } else { json!([value, id]) },
    });
    record.to_string()
}

const FAMILY: [&str; 3] = ["modes.entity", "modes.labels", "modes.groups"];

#[test]
fn p4_both_forms_load_the_same_entities_and_child_rows() {
    days(entities, pages((0_u32..10, 0_u32..30).prop_map(|(id, value)| entity(id, value))), &FAMILY);
}

#[test]
fn p4_both_forms_load_the_same_slices_of_rows_with_their_own_keys() {
    let make = async || plant(Mode::ReplaceWindow, &["name", "at"]).await;
    let small = pages((0_u32..10, 0_u32..30).prop_map(|(id, value)| entity(id, value)));
    days(make, prop_oneof![3 => small, 1 => large(|id, value| entity(id, id + value))], &FAMILY[..1]);
}

#[test]
fn p4_both_forms_load_the_same_list_and_mark_the_same_rows() {
    let runtime = Runtime::new().unwrap();
    let pair = runtime.block_on(pair(list));
    runner(40)
        .run(&pages((0_u32..10, 0_u32..30).prop_map(|(id, value)| entity(id, value))), |pages| {
            runtime.block_on(agree(&pair, everything(), &pages, &FAMILY));
            Ok(())
        })
        .unwrap();
}
