//! Values that are in `_extra` because their table was locked move to its columns once, and without the vendor.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _};
use tidegate::load::fill::{Fill, Step};
use tidegate::load::{LoadError, LockedTables};
use tidegate::rows::layout::Layout;
use tidegate::rows::page::{PageWriter, RowWindow};
use tidegate::store::run::Claim;
use tidegate::store::task::Progress;

use super::grow::{json, only, strings};
use super::modes::{entities, everything, list};
use super::plant::{Plant, whole};

const LACKING: &str = "select count(*) from tidegate.slice where lacks_columns_since is not null";

/// Reads a slice as if its table were locked: new fields get no columns.
async fn read_locked(plant: &Plant, window: RowWindow, records: &[&str]) -> Progress {
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, window).await;
    let layout = Layout::new(&reader.loader.stream.columns, false).with_children(&reader.loader.stream.children);
    let mut layout = layout.with_types(&plant.types);
    reader.loader.table.teach(&mut layout, reader.loader.stream);
    reader.writer = PageWriter::of(reader.loader.stream, layout).awaiting_columns();
    reader.page(records, None).await.unwrap()
}

/// Moves the values as a run does that has read its slices.
async fn fill(plant: &Plant) -> Fill {
    let claim = plant.claim().await;
    fill_as(plant, &claim, usize::MAX).await.unwrap()
}

/// At most so many batches.
async fn fill_as(plant: &Plant, claim: &Claim, batches: usize) -> Result<Fill, LoadError> {
    let mut reader = plant.resumed(claim, whole(0)).await;
    let mut fill = Fill::default();
    for _ in 0..batches {
        match reader.loader.fill(&plant.types, plant.may_add, &mut fill).await? {
            Step::More => {}
            Step::Done => break,
            other => panic!("{other:?}"),
        }
    }
    Ok(fill)
}

#[tokio::test]
async fn p5_values_move_from_extra_to_the_columns_that_a_reading_would_have_given_them() {
    let records = [
        r#"{"n":1,"text":"x","nested":{"a":true},"list":[1,{"b":2}],"at":"2024-03-01T11:02:45.5Z","d":0.1}"#,
        r#"{"n":2.5,"text":"","nested":{"a":"no"},"twice":1,"twice":2,"d":1e300}"#,
        r#"{"n":"three","text":"a\u0000b","odd":NaN,"huge":1e999,"d":1e999}"#,
        r#"{"n":"","text":7,"A.b":1}"#,
        r#"{"only":""}"#,
    ];
    let plant = Plant::new().await;
    // In both tables, this slice brings the columns.
    plant.read(whole(1), &[strings(&records)]).await;
    plant.read(whole(0), &[strings(&records)]).await;
    let expected = plant.rows(whole(0)).await;

    let locked = Plant::new().await;
    read_locked(&locked, whole(0), &records).await;
    assert_eq!(locked.count(LACKING).await, 1);
    assert_eq!(locked.count("select count(*) from lynn.survey_result where _extra is not null").await, 5);
    locked.read(whole(1), &[strings(&records)]).await;
    let Fill { slices, rows, .. } = fill(&locked).await;
    assert_eq!((slices, rows), (1, 5));
    assert_eq!(locked.rows(whole(0)).await, expected);
    assert_eq!(locked.count(LACKING).await, 0);

    let traces = locked.traces(whole(0)).await;
    let progress = locked.read(whole(0), &[strings(&records)]).await;
    assert_eq!((progress.rows_unchanged, progress.rows_updated, progress.rows_deleted), (5, 0, 0));
    assert_eq!(locked.traces(whole(0)).await, traces, "the next reading finds every row as it is");
}

#[tokio::test]
async fn p5_values_in_extra_create_their_columns_if_no_other_row_has() {
    let plant = Plant::new().await;
    read_locked(&plant, whole(0), &[r#"{"new":1,"other":"x"}"#]).await;
    assert_eq!(fill(&plant).await.rows, 1);
    assert_eq!(plant.column("new").await.as_deref(), Some("bigint"));
    let row = only(&plant, 0).await;
    assert_eq!((row["new"].as_str(), row["other"].as_str(), row.contains_key("_extra")), ("1", "x", false));
}

#[tokio::test]
async fn p5_values_that_fit_no_column_stay_in_extra_and_a_column_keeps_what_it_has() {
    let mut plant = Plant::documented().await;
    plant.may_add = true;
    let record = r#"{"session":"s","SESSION":"again","timestamp":"soon","new":1,"new":[2],"odd":NaN}"#;
    read_locked(&plant, whole(0), &[record]).await;
    fill(&plant).await;
    let row = only(&plant, 0).await;
    assert_eq!((row["session"].as_str(), row["new"].as_str()), ("s", "1"));
    let stays = r#"{"SESSION":"again","timestamp":"soon","new":[2],"odd":{"_raw":"NaN"}}"#;
    assert_eq!(json(&row["_extra"]), json(stays));
}

#[tokio::test]
async fn p5_a_slice_is_marked_only_if_values_wait_for_a_column() {
    let plant = Plant::documented().await;
    let progress = read_locked(&plant, whole(0), &[r#"{"session":"s","timestamp":"soon"}"#]).await;
    assert_eq!((progress.values_extra, plant.count(LACKING).await), (1, 0), "a documented column exists");
    let progress = read_locked(&plant, whole(1), &[r#"{"session":"s","new":""}"#]).await;
    assert_eq!((progress.values_extra, plant.count(LACKING).await), (1, 1), "a column of text would hold it");
}

#[tokio::test]
async fn p5_a_worker_that_is_killed_between_two_batches_leaves_the_rest_to_the_next() {
    let plant = Plant::new().await;
    let records: Vec<String> = (0..2500).map(|n| format!(r#"{{"n":{n},"new":"{n}"}}"#)).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    read_locked(&plant, whole(0), &records).await;
    let claim = plant.claim().await;
    assert_eq!(fill_as(&plant, &claim, 1).await.unwrap().rows, 1000);
    let moved = "select count(*) from lynn.survey_result where _extra is null and n::text = new";
    let waiting = "select count(*) from lynn.survey_result where _extra ->> 'n' = _extra ->> 'new' and n is null";
    assert_eq!((plant.count(moved).await, plant.count(waiting).await, plant.count(LACKING).await), (1000, 1500, 1));

    let next = plant.claim().await;
    let error = fill_as(&plant, &claim, 2).await.unwrap_err();
    assert!(matches!(error, LoadError::Fenced), "{error}");
    assert_eq!(plant.count(moved).await, 1000, "a worker that lost the stream changes nothing");
    let done = fill_as(&plant, &next, usize::MAX).await.unwrap();
    assert_eq!((done.slices, done.rows), (1, 1500));
    assert_eq!((plant.count(moved).await, plant.count(waiting).await, plant.count(LACKING).await), (2500, 0, 0));
}

#[tokio::test]
async fn p10_a_slice_that_is_held_keeps_its_rows_as_they_are_until_that_is_decided() {
    let plant = Plant::new().await;
    read_locked(&plant, whole(0), &[r#"{"new":1}"#]).await;
    let hold = "update tidegate.slice set held_since = now(), held_reason = 'x', held_rows_there = 1,
        held_rows_reported = 1";
    plant.pool.execute(hold).await.unwrap();
    let traces = plant.traces(whole(0)).await;
    assert_eq!(fill(&plant).await.rows, 0);
    assert_eq!((plant.traces(whole(0)).await, plant.count(LACKING).await), (traces, 1));
    let decided = "update tidegate.slice set held_since = null, held_reason = null, held_rows_there = null,
        held_rows_reported = null";
    plant.pool.execute(decided).await.unwrap();
    assert_eq!(fill(&plant).await.rows, 1);
    assert_eq!(plant.count(LACKING).await, 0);
}

#[tokio::test]
async fn p5_rows_of_entities_and_of_lists_get_their_values_and_their_child_rows_stay() {
    for mut plant in [entities().await, list().await] {
        plant.may_add = true;
        let record =
            |id: u32| format!(r#"{{"project":"p","id":{id},"bot":"b","labels":[{{"id":7,"name":"l"}}],"new":{id}}}"#);
        let records = [record(2), record(1)];
        read_locked(&plant, everything(), &records.each_ref().map(String::as_str)).await;
        let children = plant.count("select count(*) from modes.labels").await;
        assert_eq!(fill(&plant).await.rows, 2);
        assert_eq!(plant.count("select count(*) from modes.entity where _extra is null and new = id").await, 2);
        assert_eq!((plant.count(LACKING).await, plant.count("select count(*) from modes.labels").await), (0, children));
    }
}

#[tokio::test]
async fn p12_only_the_first_connection_waits_for_a_locked_table() {
    let plant = Plant::new().await;
    let claims = [plant.claim_as("acme").await, plant.claim_as("zoo").await];
    let known = LockedTables::default();
    let mut holder = plant.pool.acquire().await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    let lock = "lock table lynn.survey_result in access share mode";
    sqlx::raw_sql(lock).execute(&mut *transaction).await.unwrap();
    let mut waits = Vec::new();
    for claim in &claims {
        let mut reader = plant.reader(claim, whole(0)).await;
        reader.loader.locked_tables = known.clone();
        let begun = Instant::now();
        let error = reader.page(&[r#"{"new":1}"#], None).await.unwrap_err();
        assert!(matches!(error, LoadError::Locked { .. }), "{error}");
        waits.push(begun.elapsed());
    }
    assert!(waits[0] >= Duration::from_secs(3) && waits[1] < Duration::from_secs(2), "{waits:?}");

    transaction.rollback().await.unwrap();
    let mut reader = plant.reader(&claims[1], whole(0)).await;
    reader.loader.locked_tables = known;
    reader.page(&[r#"{"new":1}"#], None).await.unwrap();
    assert_eq!(plant.column("new").await.as_deref(), Some("bigint"), "a free table gets its columns at once");
}
