//! All write modes except slices of rows without keys: entities, lists, observations, rows with their own keys, and
//! child tables.

use std::borrow::Cow;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _};
use tidegate::catalogue::{Child, Column, ColumnType, Keep, Key, Mode, Stream, Text};
use tidegate::load::LoadError;
use tidegate::rows::page::RowWindow;
use tidegate::store::task::Progress;
use tidegate::worker::grid;

use super::plant::{Plant, day, stream, whole};

const COLUMNS: &[Column] = &[
    Column::new("project", "project", ColumnType::Text, ""),
    Column::new("id", "id", ColumnType::Bigint, ""),
    Column::new("bot", "bot", ColumnType::Text, "").or_empty(),
    Column::new("name", "name", ColumnType::Text, ""),
    Column::new("count", "count", ColumnType::Bigint, "").keep(Keep::Greatest),
    Column::new("status", "status", ColumnType::Text, "").keep(Keep::Known),
    Column::new("seen", "seen", ColumnType::Timestamptz, "").keep(Keep::First),
    Column::new("at", "at", ColumnType::Timestamptz, ""),
];
const LABELS: &[Column] =
    &[Column::new("id", "label_id", ColumnType::Bigint, ""), Column::new("name", "name", ColumnType::Text, "")];
const GROUPS: &[Column] = &[Column::new("", "group_id", ColumnType::Bigint, "")];
const PARENT: &[(Text, Text)] = &[
    (Cow::Borrowed("project"), Cow::Borrowed("project")),
    (Cow::Borrowed("id"), Cow::Borrowed("entity_id")),
    (Cow::Borrowed("bot"), Cow::Borrowed("bot")),
];

fn child(name: &'static str, field: &'static str, columns: &'static [Column]) -> Child {
    Child { name: name.into(), meaning: "".into(), field: field.into(), parent: PARENT.into(), columns: columns.into() }
}

/// A stream of this mode with two child tables, and its tables.
pub async fn plant(mode: Mode, key: &'static [&'static str]) -> Plant {
    let columns: Vec<Text> = key.iter().map(|&name| name.into()).collect();
    let all = key == ["project", "id", "bot"];
    let children = vec![child("labels", "labels", LABELS), child("groups", "groups", GROUPS)];
    let stream = Stream {
        schema: "modes",
        name: "entity".into(),
        mode,
        key: Key::Columns(columns.into()),
        columns: COLUMNS.into(),
        documented: true,
        time_field: None,
        row_time: None,
        business_time: &[],
        children: if all { children.into() } else { Cow::Borrowed(&[]) },
        ..stream("survey_result")
    };
    let keys: Vec<&str> = stream.primary_key();
    let window = if mode == Mode::ReplaceWindow { "_window_start timestamptz not null," } else { "" };
    let deleted = if mode == Mode::Snapshot { ", _deleted_at timestamptz" } else { "" };
    let tables = format!(
        "create schema modes;
        create table modes.entity (
            _connection text not null, {window} project text, id bigint, bot text, name text, count bigint, status text,
            seen timestamptz, at timestamptz, _extra jsonb, _run_id bigint not null, _loaded_at timestamptz not null
            {deleted}, constraint entity_pkey primary key ({})
        );
        create table modes.labels (
            _connection text not null, project text, entity_id bigint, bot text, label_id bigint, name text, _extra jsonb,
            _run_id bigint not null, _loaded_at timestamptz not null,
            constraint labels_pkey primary key (_connection, project, entity_id, bot, label_id)
        );
        create table modes.groups (
            _connection text not null, project text, entity_id bigint, bot text, group_id bigint, _extra jsonb,
            _run_id bigint not null, _loaded_at timestamptz not null,
            constraint groups_pkey primary key (_connection, project, entity_id, bot, group_id)
        );",
        keys.join(", ")
    );
    let plant = Plant::of(stream, false).await;
    plant.pool.execute(AssertSqlSafe(tables)).await.unwrap();
    plant
}

pub async fn entities() -> Plant {
    plant(Mode::Upsert, &["project", "id", "bot"]).await
}

pub async fn list() -> Plant {
    plant(Mode::Snapshot, &["project", "id", "bot"]).await
}

/// The one window of a list.
pub fn everything() -> RowWindow {
    let window = grid::list_window();
    RowWindow { start: window.start, end: window.end }
}

/// Records with the project filled in.
fn page(records: &[&str]) -> Vec<String> {
    records.iter().map(|record| record.replacen('{', r#"{"project":"p","#, 1)).collect()
}

/// The results of a query with one text per row, in order.
async fn texts(plant: &Plant, query: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(&plant.pool).await.unwrap()
}

async fn shown(plant: &Plant) -> Vec<String> {
    let rows: Vec<Value> = sqlx::query_scalar("select to_jsonb(e) from modes.entity as e order by id, bot")
        .fetch_all(&plant.pool)
        .await
        .unwrap();
    let text = |row: &Value, name: &str| match &row[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let names = ["id", "bot", "name", "count", "status"];
    rows.iter().map(|row| names.iter().map(|name| text(row, name)).collect::<Vec<_>>().join("|")).collect()
}

async fn links(plant: &Plant) -> Vec<String> {
    texts(
        plant,
        "select concat_ws(' ', entity_id, label_id, name, _extra) from modes.labels order by entity_id, label_id",
    )
    .await
}

async fn groups(plant: &Plant) -> Vec<String> {
    texts(plant, "select entity_id || ' ' || group_id from modes.groups order by entity_id, group_id").await
}

/// Physical positions of rows: a row that was not rewritten keeps its position.
async fn places(plant: &Plant, table: &str) -> Vec<String> {
    texts(plant, &format!("select ctid::text || xmin::text from modes.{table} order by ctid")).await
}

async fn read(plant: &Plant, window: RowWindow, pages: &[Vec<String>]) -> Progress {
    let progress = plant.read(window, pages).await;
    assert_eq!(plant.count("select count(*) from tidegate.seen_row").await, 0, "nothing is left behind");
    progress
}

#[tokio::test]
async fn p11_the_rows_of_a_slice_of_entities_are_those_of_its_last_reading() {
    let plant = entities().await;
    let records = |ids: &[i64]| {
        page(
            &ids.iter()
                .map(|id| format!(r#"{{"id":{id}}}"#))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    };
    read(&plant, whole(1), &[records(&[1, 2]), records(&[3])]).await;
    read(&plant, whole(2), &[records(&[3, 4])]).await;
    read(&plant, whole(1), &[records(&[1, 2])]).await;
    let rows = texts(&plant, "select rows_total::text from tidegate.slice order by window_start").await;
    assert_eq!(rows, ["2", "2"], "neither the sum of its readings nor the rows of the table");
    assert_eq!(plant.count("select count(*) from modes.entity").await, 4);
}

#[tokio::test]
async fn p4_entities_are_kept_when_a_window_does_not_report_them_and_updated_when_it_does() {
    let plant = entities().await;
    let first = page(&[r#"{"id":1,"bot":"b","name":"one"}"#, r#"{"id":2,"bot":"b","name":"two"}"#]);
    let progress = read(&plant, whole(0), &[first]).await;
    assert_eq!((progress.rows_inserted, progress.rows_deleted), (2, 0));
    let second = page(&[r#"{"id":2,"bot":"b","name":"deux"}"#, r#"{"id":3,"bot":"b","name":"trois"}"#]);
    let progress = read(&plant, whole(1), std::slice::from_ref(&second)).await;
    assert_eq!((progress.rows_inserted, progress.rows_updated, progress.rows_deleted), (1, 1, 0));
    let before = places(&plant, "entity").await;
    let progress = read(&plant, whole(1), &[second]).await;
    assert_eq!((progress.rows_unchanged, progress.rows_updated), (2, 0));
    assert_eq!(places(&plant, "entity").await, before, "what is the same is not written again");
    read(&plant, whole(0), &[Vec::new()]).await;
    assert_eq!(shown(&plant).await, ["1|b|one|-|-", "2|b|deux|-|-", "3|b|trois|-|-"]);
}

#[tokio::test]
async fn p4_the_later_of_two_records_of_one_entity_counts_in_any_spelling_of_the_key() {
    let plant = entities().await;
    let one = page(&[
        r#"{"id":"7","bot":"b","name":"text"}"#,
        r#"{"id":7,"bot":"b","name":"number"}"#,
        r#"{"id":8,"name":"no bot"}"#,
        r#"{"id":8,"bot":null,"name":"null bot"}"#,
        r#"{"id":8,"bot":"","name":"empty bot"}"#,
    ]);
    let progress = read(&plant, whole(0), &[one]).await;
    assert_eq!(progress.rows_inserted, 2);
    assert_eq!(shown(&plant).await, ["7|b|number|-|-", "8||empty bot|-|-"]);
}

#[tokio::test]
async fn p5_a_record_with_an_unusable_key_is_rejected_with_the_reason() {
    let plant = entities().await;
    let long = format!(r#"{{"id":1,"bot":"{}"}}"#, "x".repeat(5_000));
    let records =
        page(&[r#"{"bot":"b"}"#, r#"{"id":"seven"}"#, r#"{"id":1.5}"#, r#"{"id":{"a":1}}"#, &long, r#"{"id":4}"#]);
    let progress = read(&plant, whole(0), &[records]).await;
    assert_eq!((progress.rows_inserted, progress.records_rejected), (1, 5));
    let reasons = texts(&plant, "select distinct reason from tidegate.rejected_record order by 1").await;
    assert_eq!(
        reasons,
        ["key field `id` is not of type bigint", "no key field `id`", "the key is longer than 2000 bytes"]
    );
}

#[tokio::test]
async fn a_row_that_is_written_again_follows_the_rules_of_its_columns() {
    let plant = entities().await;
    let first = r#"{"id":1,"name":"a","count":5,"status":"SENT","seen":"2024-03-01T10:00:00Z"}"#;
    let second = r#"{"id":1,"name":"b","count":3,"seen":"2024-03-02T10:00:00Z"}"#;
    read(&plant, whole(0), &[page(&[first])]).await;
    let progress = read(&plant, whole(0), &[page(&[second])]).await;
    assert_eq!(progress.rows_updated, 1);
    assert_eq!(shown(&plant).await, ["1||b|5|SENT"]);
    let seen = texts(&plant, "select seen::text from modes.entity").await;
    assert_eq!(seen, ["2024-03-01 10:00:00+00"]);
    let before = places(&plant, "entity").await;
    read(&plant, whole(0), &[page(&[r#"{"id":1,"name":"b","count":4,"seen":"2024-03-03T10:00:00Z"}"#])]).await;
    assert_eq!(places(&plant, "entity").await, before, "nothing of it counts");
    read(&plant, whole(0), &[page(&[r#"{"id":1,"count":9,"status":"READ"}"#])]).await;
    assert_eq!(shown(&plant).await, ["1||-|9|READ"]);
}

#[tokio::test]
async fn p4_a_list_marks_rows_that_vanish_and_unmarks_them_when_they_return() {
    let plant = list().await;
    let of = |ids: &[u32]| -> Vec<String> {
        page(
            &ids.iter()
                .map(|id| format!(r#"{{"id":{id},"name":"n{id}"}}"#))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    };
    let deleted = "select id::text from modes.entity where _deleted_at is not null order by id";
    let progress = read(&plant, everything(), &[of(&[1, 2, 3])]).await;
    assert_eq!(progress.rows_inserted, 3);
    let before = places(&plant, "entity").await;
    read(&plant, everything(), &[of(&[3, 1, 2])]).await;
    assert_eq!(places(&plant, "entity").await, before);
    // In one page, and in several: the result is the same.
    let progress = read(&plant, everything(), &[of(&[1, 3])]).await;
    assert_eq!((progress.rows_deleted, progress.rows_unchanged), (1, 2));
    assert_eq!(texts(&plant, deleted).await, ["2"]);
    let progress = read(&plant, everything(), &[of(&[1]), of(&[4]), Vec::new()]).await;
    assert_eq!((progress.rows_inserted, progress.rows_deleted), (1, 1));
    assert_eq!(texts(&plant, deleted).await, ["2", "3"]);
    let progress = read(&plant, everything(), &[of(&[2]), of(&[1, 4])]).await;
    assert_eq!((progress.rows_updated, progress.rows_deleted), (1, 0));
    assert_eq!(texts(&plant, deleted).await, ["3"]);
    let marked = texts(&plant, "select _run_id::text from modes.entity where id = 3").await;
    let progress = read(&plant, everything(), &[Vec::new()]).await;
    assert_eq!(progress.rows_deleted, 3, "an empty list is a list");
    assert_eq!(texts(&plant, "select _run_id::text from modes.entity where id = 3").await, marked, "marked once");
}

#[tokio::test]
async fn a_list_leaves_the_rows_of_other_connections_alone() {
    let plant = list().await;
    read(&plant, everything(), &[page(&[r#"{"id":1,"groups":[1]}"#])]).await;
    let claim = plant.claim_as("other").await;
    let mut reader = plant.reader(&claim, everything()).await;
    reader.pages(&[page(&[r#"{"id":2,"groups":[2]}"#])]).await;
    reader.loader.begin_reading(&mut reader.reading).await.unwrap();
    reader.pages(&[Vec::new()]).await;
    let live = texts(&plant, "select _connection from modes.entity where _deleted_at is null").await;
    assert_eq!(live, ["acme"]);
    assert_eq!(groups(&plant).await, ["1 1"]);
}

#[tokio::test]
async fn p4_child_rows_follow_their_parent() {
    let plant = list().await;
    let first = page(&[
        r#"{"id":1,"labels":[{"id":10,"name":"a"},{"id":11,"name":"b","priority":2}],"groups":[5,6,5]}"#,
        r#"{"id":2,"labels":[{"id":10,"name":"a"}],"groups":["7"]}"#,
        r#"{"id":3,"labels":[]}"#,
    ]);
    let progress = read(&plant, everything(), &[first]).await;
    assert_eq!((progress.rows_inserted, progress.values_extra), (3, 0));
    assert_eq!(links(&plant).await, ["1 10 a", r#"1 11 b {"priority": 2}"#, "2 10 a"]);
    assert_eq!(groups(&plant).await, ["1 5", "1 6", "2 7"]);
    let before = places(&plant, "labels").await;
    let second = page(&[
        r#"{"id":1,"labels":[{"id":11,"name":"b","priority":2},{"id":10,"name":"a"}],"groups":[6]}"#,
        r#"{"id":2,"labels":[{"id":10,"name":"A"},{"id":12}],"groups":null}"#,
    ]);
    read(&plant, everything(), &[second]).await;
    assert_eq!(links(&plant).await, ["1 10 a", r#"1 11 b {"priority": 2}"#, "2 10 A", "2 12"]);
    assert_eq!(groups(&plant).await, ["1 6", "2 7"], "null says nothing of the groups (promise 10)");
    let after = places(&plant, "labels").await;
    assert_eq!(before.iter().filter(|place| after.contains(place)).count(), 2, "what is the same stays where it is");
    read(&plant, everything(), &[page(&[r#"{"id":2,"labels":[{"id":12}]}"#]), Vec::new()]).await;
    assert_eq!(links(&plant).await, ["2 12"], "a parent that is gone takes its links along");
}

#[tokio::test]
async fn p5_an_array_that_cannot_be_split_is_kept_with_its_parent() {
    let plant = entities().await;
    let records = page(&[
        r#"{"id":1,"labels":[{"id":"ten"}],"groups":"none"}"#,
        r#"{"id":2,"labels":{"id":1},"groups":[1.5]}"#,
        r#"{"id":3,"labels":[{"name":"no id"}],"groups":[3]}"#,
    ]);
    let progress = read(&plant, whole(0), &[records]).await;
    assert_eq!((progress.rows_inserted, progress.values_extra), (3, 5));
    assert_eq!(groups(&plant).await, ["3 3"]);
    let kept = texts(&plant, "select _extra::text from modes.entity order by id").await;
    assert_eq!(
        kept,
        [
            r#"{"groups": "none", "labels": [{"id": "ten"}]}"#,
            r#"{"groups": [1.5], "labels": {"id": 1}}"#,
            r#"{"labels": [{"name": "no id"}]}"#
        ]
    );
}

#[tokio::test]
async fn p4_rows_with_their_own_keys_end_as_last_reported() {
    let plant = plant(Mode::ReplaceWindow, &["name", "at"]).await;
    let row = |name: &str, hour: u32, count: u32| {
        format!(r#"{{"name":"{name}","at":"2024-03-01T{hour:02}:00:00+02:00","count":{count}}}"#)
    };
    let (a, b, c) = (row("a", 4, 1), row("b", 4, 2), row("a", 5, 3));
    read(&plant, whole(0), &[vec![a.clone(), b.clone()], vec![c.clone()]]).await;
    read(&plant, whole(1), &[vec![a.clone()]]).await;
    let found = "select concat_ws(' ', name, at at time zone 'UTC', count) from modes.entity \
                 where _window_start < '2024-03-02T00:00Z' order by name, at";
    let hour = |name: &str, hour: u32, count: u32| format!("{name} 2024-03-01 {hour:02}:00:00 {count}");
    assert_eq!(texts(&plant, found).await, [hour("a", 2, 1), hour("a", 3, 3), hour("b", 2, 2)]);
    let before = places(&plant, "entity").await;
    // Another spelling of the same time is the same key.
    let same = r#"{"name":"a","at":"2024-03-01T02:00:00Z","count":1}"#.to_owned();
    let progress = read(&plant, whole(0), &[vec![same], vec![c.clone()], vec![b.clone()]]).await;
    assert_eq!((progress.rows_unchanged, progress.rows_deleted), (3, 0));
    assert_eq!(places(&plant, "entity").await, before);
    let progress = read(&plant, whole(0), &[vec![b.clone()], vec![row("a", 5, 9)]]).await;
    assert_eq!((progress.rows_updated, progress.rows_deleted), (1, 1));
    let progress = read(&plant, whole(0), &[vec![b]]).await;
    assert_eq!(progress.rows_deleted, 1);
    assert_eq!(texts(&plant, found).await, [hour("b", 2, 2)]);
    assert_eq!(plant.count("select count(*) from modes.entity").await, 2, "the other day is as it was");
}

#[tokio::test]
async fn observations_are_added_run_by_run() {
    let plant = plant(Mode::Observe, &["project", "at"]).await;
    for hour in ["10", "11"] {
        let record = format!(r#"{{"at":"2024-03-01T{hour}:00:00Z","count":5}}"#);
        read(&plant, everything(), &[page(&[&record])]).await;
    }
    assert_eq!(plant.count("select count(*) from modes.entity").await, 2);
}

#[tokio::test]
async fn entities_with_undocumented_fields_are_identified_by_id_or_else_by_content() {
    let mut plant = Plant::new().await;
    plant.stream.mode = Mode::Upsert;
    plant.stream.key = Key::AnyOf(Cow::Borrowed(&[Cow::Borrowed("post_id"), Cow::Borrowed("id")]));
    plant
        .pool
        .execute(
            "alter table lynn.survey_result drop constraint survey_result_pkey, drop column _window_start,
                add constraint survey_result_pkey primary key (_connection, _row_key)",
        )
        .await
        .unwrap();
    let read = async |records: &[&str]| {
        plant.read(whole(0), &[records.iter().map(|&record| record.to_owned()).collect()]).await
    };
    let progress = read(&[r#"{"POST_ID":"1","v":"a"}"#, r#"{"POST_ID":"2","v":"b"}"#, r#"{"v":"c"}"#]).await;
    assert_eq!(progress.rows_inserted, 3);
    let progress = read(&[r#"{"Post ID":"1","v":"A"}"#, r#"{"v":"c"}"#, r#"{"v":"d"}"#]).await;
    assert_eq!((progress.rows_inserted, progress.rows_updated, progress.rows_unchanged), (1, 1, 1));
}

#[tokio::test]
async fn p3_a_waiting_reading_keeps_its_cursor_and_does_not_count_a_page() {
    let plant = entities().await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    reader.loader.park("job 1".to_owned(), &mut reader.reading).await.unwrap();
    reader.loader.park("job 1, asked".to_owned(), &mut reader.reading).await.unwrap();
    let slice = plant.slice(whole(0)).await;
    assert_eq!(
        (slice.position.cursor.as_deref(), slice.position.pages, slice.position.run),
        (Some("job 1, asked"), 0, Some(claim.id))
    );
    let mut resumed = plant.resumed(&claim, whole(0)).await;
    resumed.page(&page(&[r#"{"id":1}"#]), None).await.unwrap();
    assert_eq!(plant.slice(whole(0)).await.read_until, Some(day(1)));
}

#[tokio::test]
async fn p1_a_worker_that_lost_the_run_cannot_move_the_cursor_of_a_waiting_reading() {
    let plant = entities().await;
    let old = plant.claim().await;
    let mut reader = plant.reader(&old, whole(0)).await;
    plant.claim().await;
    let lost = reader.loader.park("job 2".to_owned(), &mut reader.reading).await;
    assert!(matches!(lost, Err(LoadError::Fenced)), "{lost:?}");
    assert_eq!(plant.slice(whole(0)).await.position.cursor, None);
}
