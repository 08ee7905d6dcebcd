//! Large slices: a reading that is compared with fingerprints ends like one that is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidegate::catalogue::{Column, ColumnType, Key};
use tidegate::load::LoadError;
use tidegate::rows::fingerprint::Fingerprinter;
use tidegate::rows::page::RowWindow;
use tidegate::store::fingerprint;
use tidegate::store::run::Claim;
use tidegate::store::task::Progress;

use super::plant::{Plant, Reader, add, numbered, whole};
use crate::support::random::runner;

/// Enough rows for fingerprints to be stored.
const MANY: u32 = 1_100;

/// A reader that compares rows with fingerprints, as in the worker.
pub(super) async fn comparing<'a>(plant: &'a Plant, claim: &'a Claim, window: RowWindow, resumed: bool) -> Reader<'a> {
    let mut reader = if resumed { plant.resumed(claim, window).await } else { plant.reader(claim, window).await };
    reader.loader.compare(&reader.reading.slice);
    let first = reader.reading.slice.position.batches.filter(|_| reader.loader.comparing);
    let fingerprinter = first.map(|first| {
        let first = u32::try_from(first).unwrap();
        Fingerprinter::new(first, reader.writer.by_content(), Arc::clone(&reader.loader.skipping))
    });
    reader.writer.compare(fingerprinter);
    reader
}

async fn provide(plant: &Plant, reader: &mut Reader<'_>) {
    let slice = reader.reading.slice.id;
    while let Some(fingerprinter) = reader.writer.fingerprinter()
        && let Some(batch) = fingerprinter.wanted()
    {
        fingerprinter.provide(batch, fingerprint::read(&plant.pool, slice, batch).await.unwrap());
    }
}

/// Reads pages. `ahead` pages are encoded before the first of them is loaded, as with a fast vendor.
pub(super) async fn read_pages(
    plant: &Plant,
    reader: &mut Reader<'_>,
    pages: &[Vec<String>],
    ahead: usize,
) -> Result<Progress, LoadError> {
    let mut sum = Progress::default();
    let mut number = 0;
    for group in pages.chunks(ahead.max(1)) {
        let mut written = Vec::new();
        for page in group {
            provide(plant, reader).await;
            written.push(reader.write(page));
        }
        for chunks in written {
            number += 1;
            let next = (number < pages.len()).then(|| format!("page {number}"));
            add(&mut sum, &reader.load(chunks, next.as_deref()).await?);
        }
    }
    Ok(sum)
}

/// Reads the slice. Starts over if rows that were left out turn out to have moved.
pub async fn read(plant: &Plant, window: RowWindow, pages: &[Vec<String>], ahead: usize) -> Progress {
    let claim = plant.claim().await;
    for _ in 0..2 {
        let mut reader = comparing(plant, &claim, window, false).await;
        match read_pages(plant, &mut reader, pages, ahead).await {
            Ok(progress) => return progress,
            Err(LoadError::Rearranged) => reader.loader.start_over(&reader.reading.slice).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a reading that compares with the table itself leaves nothing out");
}

async fn is_fingerprinted(plant: &Plant) -> bool {
    plant.slice(whole(0)).await.position.fingerprinted
}

fn keyed(pairs: impl IntoIterator<Item = (u32, u32)>) -> Vec<String> {
    pairs.into_iter().map(|(id, value)| format!(r#"{{"id":{id},"v":{value}}}"#)).collect()
}

fn counts(progress: &Progress) -> (i64, i64, i64, i64) {
    (progress.rows_inserted, progress.rows_updated, progress.rows_deleted, progress.rows_unchanged)
}

#[tokio::test]
async fn p4_only_changed_rows_are_written() {
    let plant = Plant::new().await.keyed(&["id"]);
    let many = i64::from(MANY);
    let pages = |value: &dyn Fn(u32) -> u32| {
        [keyed((0..MANY).map(|id| (id, value(id)))), keyed((MANY..2 * MANY).map(|id| (id, value(id))))]
    };
    let first = read(&plant, whole(0), &pages(&|_| 0), 1).await;
    assert_eq!(counts(&first), (2 * many, 0, 0, 0));
    assert!(is_fingerprinted(&plant).await);
    let before = plant.traces(whole(0)).await;
    let digest = "select sum(hashtext(t::text || xmin::text)) from tidegate.fingerprint as t";
    let digest_before = plant.count(digest).await;

    let same = read(&plant, whole(0), &pages(&|_| 0), 2).await;
    assert_eq!(counts(&same), (0, 0, 0, 2 * many));
    assert_eq!((plant.traces(whole(0)).await, plant.count(digest).await), (before.clone(), digest_before));

    let some = read(&plant, whole(0), &pages(&|id| u32::from(id % 10 == 3)), 2).await;
    assert_eq!(counts(&some), (0, many / 5, 0, many * 9 / 5));
    let after = plant.traces(whole(0)).await;
    assert_eq!(before.iter().filter(|(key, trace)| after.get(*key) == Some(trace)).count(), 2_200 * 9 / 10);

    let all = read(&plant, whole(0), &pages(&|_| 2), 1).await;
    assert_eq!(counts(&all), (0, 2 * many, 0, 0));
    let mut fewer = pages(&|_| 2);
    fewer[1].truncate(100);
    let progress = read(&plant, whole(0), &fewer, 1).await;
    assert_eq!(counts(&progress), (0, 0, many - 100, many + 100));
    let progress = read(&plant, whole(0), &fewer[..1], 1).await;
    assert_eq!(counts(&progress), (0, 0, 100, many));
    assert!(is_fingerprinted(&plant).await);
    let progress = read(&plant, whole(0), &[Vec::new()], 1).await;
    assert_eq!(counts(&progress), (0, 0, many, 0));
}

#[tokio::test]
async fn p4_of_two_records_of_a_batch_with_one_key_only_the_later_is_written_and_each_counts_once() {
    let plant = Plant::new().await.keyed(&["id"]);
    let many = i64::from(MANY);
    let all = || (0..MANY).map(|id| (id, 0));
    read(&plant, whole(0), &[keyed(all())], 1).await;
    let before = plant.traces(whole(0)).await;
    let back = read(&plant, whole(0), &[keyed([(7, 1)].into_iter().chain(all()))], 1).await;
    assert_eq!(counts(&back), (0, 0, 0, many + 1));
    assert_eq!(plant.traces(whole(0)).await, before, "a row that ends as it was is not written");
    read(&plant, whole(0), &[keyed(all())], 1).await;
    let changed = read(&plant, whole(0), &[keyed(all().chain([(7, 1), (7, 2), (MANY, 1), (MANY, 2)]))], 1).await;
    assert_eq!(counts(&changed), (1, 1, 0, many + 2));
    let apart = read(&plant, whole(0), &[keyed(all()), keyed([(7, 1), (7, 2)])], 1).await;
    assert_eq!(counts(&apart), (0, 2, 1, many));
}

#[tokio::test]
async fn p4_rows_that_someone_deleted_are_loaded_again() {
    let plant = Plant::new().await;
    let page = [numbered(0..MANY)];
    read(&plant, whole(0), &page, 1).await;
    sqlx::query("delete from lynn.survey_result where n < 10").execute(&plant.pool).await.unwrap();
    let progress = read(&plant, whole(0), &page, 1).await;
    assert_eq!(counts(&progress), (10, 0, 0, i64::from(MANY) - 10));
    assert!(is_fingerprinted(&plant).await, "it is compared with the table, and then known again");
    let progress = read(&plant, whole(0), &page, 1).await;
    assert_eq!(counts(&progress), (0, 0, 0, i64::from(MANY)));
}

#[tokio::test]
async fn p5_values_of_a_field_that_gets_a_column_are_moved_there() {
    let plant = Plant::of(super::plant::stream("survey_result"), false).await;
    let records: Vec<String> = (0..MANY).map(|n| format!(r#"{{"n":{n},"late":"x"}}"#)).collect();
    let page = [records];
    read(&plant, whole(0), &page, 1).await;
    assert_eq!(plant.count("select count(*) from lynn.survey_result where _extra ? 'late'").await, i64::from(MANY));
    let plant = Plant { may_add: true, ..plant };
    read(&plant, whole(0), &page, 1).await;
    assert_eq!(plant.count("select count(*) from lynn.survey_result where late = 'x'").await, i64::from(MANY));
    assert_eq!(plant.count("select count(*) from lynn.survey_result where _extra is not null").await, 0);
}

#[tokio::test]
async fn p1_a_compared_reading_resumes_at_its_cursor() {
    let plant = Plant::new().await.keyed(&["id"]);
    let pages = |value: u32| {
        (0..3).map(|page| keyed((page * MANY..(page + 1) * MANY).map(|id| (id, value)))).collect::<Vec<_>>()
    };
    read(&plant, whole(0), &pages(0), 1).await;
    for (value, abandoned) in [(1, false), (2, true)] {
        let claim = plant.claim().await;
        let mut reader = comparing(&plant, &claim, whole(0), false).await;
        let mut changed = pages(value);
        // The second batch loses a row, and the third is not reached.
        changed[1].truncate(1_050);
        provide(&plant, &mut reader).await;
        reader.page(&changed[0], Some("1")).await.unwrap();
        provide(&plant, &mut reader).await;
        reader.page(&changed[1], Some("2")).await.unwrap();
        let claim = plant.claim().await;
        if abandoned {
            read(&plant, whole(0), &changed, 1).await;
        } else {
            let mut reader = comparing(&plant, &claim, whole(0), true).await;
            assert_eq!(reader.reading.slice.position.batches, Some(2));
            provide(&plant, &mut reader).await;
            reader.page(&changed[2], None).await.unwrap();
        }
        let expected = 2 * i64::from(MANY) + 1_050;
        let wrong = format!("select count(*) filter (where v <> {value}) from lynn.survey_result");
        assert_eq!(plant.count("select count(*) from lynn.survey_result").await, expected);
        assert_eq!(plant.count(&wrong).await, 0);
        assert_eq!(plant.count("select rows_total from tidegate.slice").await, expected);
        let known = "select sum(cardinality(row_keys)) from tidegate.fingerprint";
        assert_eq!(plant.count(known).await, expected);
    }
}

/// Changes that a vendor may make to its rows between two readings.
#[derive(Debug, Clone)]
enum Edit {
    Change(usize),
    Remove(usize),
    Insert(usize),
    Repeat(usize, usize),
    Swap(usize, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 20));
    let edit = prop_oneof![
        4 => place().prop_map(Edit::Change),
        2 => place().prop_map(Edit::Remove),
        2 => place().prop_map(Edit::Insert),
        2 => (place(), place()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        1 => (place(), place()).prop_map(|(one, other)| Edit::Swap(one, other)),
    ];
    prop::collection::vec(edit, 0..5)
}

fn apply(rows: &mut Vec<(u32, u32)>, edits: &[Edit], fresh: &mut u32) {
    for edit in edits {
        let count = rows.len();
        *fresh += 1;
        match *edit {
            Edit::Change(at) => rows[at % count].1 = *fresh,
            Edit::Remove(at) => {
                rows.remove(at % count);
            }
            Edit::Insert(at) => rows.insert(at % count, (*fresh, *fresh)),
            Edit::Repeat(from, to) => rows.insert(to % count, rows[from % count]),
            Edit::Swap(one, other) => rows.swap(one % count, other % count),
        }
    }
}

fn readings_end_as_reported(plant: &Plant, runtime: &tokio::runtime::Runtime, by_key: bool) {
    let strategy = (prop::collection::vec(edits(), 1..5), 1..4_usize, MANY as usize..1_400);
    let mut case = 0;
    let case = std::cell::RefCell::new(&mut case);
    runner(12)
        .run(&strategy, |(readings, ahead, size)| {
            **case.borrow_mut() += 1;
            let window = whole(**case.borrow());
            let mut rows: Vec<(u32, u32)> = (0..3_000).map(|id| (id, 0)).collect();
            let mut fresh = 10_000;
            for edits in [Vec::new()].into_iter().chain(readings) {
                apply(&mut rows, &edits, &mut fresh);
                let pages: Vec<Vec<String>> = rows.chunks(size).map(|page| keyed(page.iter().copied())).collect();
                runtime.block_on(read(plant, window, &pages, ahead));
                let last: BTreeMap<u32, u32> = rows.iter().copied().collect();
                let mut reported = BTreeMap::new();
                for (id, value) in rows.iter().filter(|(id, value)| !by_key || last[id] == *value) {
                    *reported.entry((*id, *value)).or_insert(0) += 1;
                }
                if by_key {
                    for count in reported.values_mut() {
                        *count = 1;
                    }
                }
                let mut found = BTreeMap::new();
                for row in runtime.block_on(plant.rows(window)) {
                    *found.entry((row["id"].parse().unwrap(), row["v"].parse().unwrap())).or_insert(0) += 1;
                }
                prop_assert_eq!(found, reported);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn p4_compared_readings_end_as_last_reported_with_duplicates() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plant = runtime.block_on(Plant::new());
    readings_end_as_reported(&plant, &runtime, false);
}

#[test]
fn p4_compared_readings_end_as_last_reported_with_a_key() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plant = runtime.block_on(async { Plant::new().await.keyed(&["id"]) });
    readings_end_as_reported(&plant, &runtime, true);
}

/// A stream whose rows are identified by columns of all types that a key may have.
fn by_columns() -> tidegate::catalogue::Stream {
    let column = |name: &'static str, kind| Column::new(name, name, kind, "");
    tidegate::catalogue::Stream {
        name: "by_columns".into(),
        key: Key::Columns(["id", "name", "at", "open"].map(Into::into).to_vec().into()),
        columns: vec![
            column("v", ColumnType::Bigint),
            column("id", ColumnType::Bigint),
            column("name", ColumnType::Text).or_empty(),
            column("at", ColumnType::Timestamptz),
            column("open", ColumnType::Boolean),
        ]
        .into(),
        documented: true,
        time_field: None,
        row_time: None,
        business_time: &[],
        ..super::plant::stream("survey_result")
    }
}

fn of_columns(rows: impl IntoIterator<Item = (u32, u32)>) -> Vec<String> {
    let record = |(id, value): (u32, u32)| {
        let number = i64::from(id) * 7_919 - 4_000_000;
        let name = ["", r#","name":"""#, r#","name":"Ñandú""#, r#","name":12.50"#, r#","name":"a\u0062""#];
        let name = name[id as usize % name.len()];
        format!(
            r#"{{"id":{number}{name},"at":"2024-03-01T0{}:00:00.5+02:00","open":{},"v":{value}}}"#,
            id % 7,
            id % 2 == 0
        )
    };
    rows.into_iter().map(record).collect()
}

#[tokio::test]
async fn p4_rows_with_key_columns_are_compared_with_fingerprints() {
    let plant = Plant::of(by_columns(), false).await;
    let many = i64::from(MANY);
    let pages =
        |value: u32| [of_columns((0..MANY).map(|id| (id, value))), of_columns((MANY..2 * MANY).map(|id| (id, value)))];
    assert_eq!(counts(&read(&plant, whole(0), &pages(0), 1).await), (2 * many, 0, 0, 0));
    assert!(is_fingerprinted(&plant).await);
    assert_eq!(counts(&read(&plant, whole(0), &pages(0), 2).await), (0, 0, 0, 2 * many));
    assert_eq!(counts(&read(&plant, whole(0), &pages(1), 2).await), (0, 2 * many, 0, 0));
    // Postgres finds the rows that have vanished by the identities that the writer computed.
    let mut fewer = pages(1);
    fewer[0].drain(..7);
    fewer[1].truncate(1_050);
    assert_eq!(counts(&read(&plant, whole(0), &fewer, 1).await), (0, 0, 57, 2 * many - 57));
    assert!(is_fingerprinted(&plant).await);
    // A row of the first batch comes in the second: fingerprints are given up, and every identity is noted.
    let moved = fewer[0].remove(3);
    fewer[1].push(moved);
    fewer[0].remove(0);
    let progress = read(&plant, whole(0), &fewer, 2).await;
    assert_eq!((progress.rows_inserted, progress.rows_deleted), (0, 1));
    assert_eq!(plant.rows(whole(0)).await.len(), 2 * MANY as usize - 58);
}

#[test]
fn p4_compared_readings_end_as_last_reported_with_key_columns() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let column = |name: &'static str| Column::new(name, name, ColumnType::Bigint, "");
    let stream = tidegate::catalogue::Stream {
        key: Key::Columns(vec!["id".into()].into()),
        columns: vec![column("v"), column("id")].into(),
        ..by_columns()
    };
    let plant = runtime.block_on(Plant::of(stream, false));
    readings_end_as_reported(&plant, &runtime, true);
}
