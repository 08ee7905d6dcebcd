//! Records in a second that two slices, or two parts of one slice, both report.

use tidegate::catalogue::ColumnType;
use tidegate::rows::page::RowWindow;
use tidegate::store::distribution::Distribution;

use super::fingerprints;
use super::plant::{Plant, day, whole};

fn at(time: &str, n: u32) -> String {
    format!(r#"{{"at":"{time}","n":{n}}}"#)
}

async fn numbers(plant: &Plant, window: RowWindow) -> Vec<u32> {
    plant.rows(window).await.iter().map(|row| row["n"].parse().unwrap()).collect()
}

const MIDNIGHT: &str = "2024-03-02T00:00:00.25Z";

#[tokio::test]
async fn p4_neighbouring_slices_share_a_second_without_a_time_field() {
    let plant = Plant::new().await;
    let evening = [at("2024-03-01T22:00:00Z", 1), at(MIDNIGHT, 2), at(MIDNIGHT, 2), at(MIDNIGHT, 3)];
    let morning = [at(MIDNIGHT, 2), at(MIDNIGHT, 2), at(MIDNIGHT, 3), at("2024-03-02T01:00:00Z", 4)];
    let (first, second) = (whole(0), whole(1));
    plant.read(first, &[evening.to_vec()]).await;
    // In one page and in two: the two copies are the same rows.
    for pages in [vec![morning.to_vec()], vec![morning[..1].to_vec(), morning[1..].to_vec()]] {
        let progress = plant.read(second, &pages).await;
        assert_eq!(progress.rows_outside, 3);
        assert_eq!(numbers(&plant, second).await, [4]);
    }
    // Whichever slice is read again, no row moves to the other.
    for window in [first, second, first] {
        let records = if window.start == first.start { evening.to_vec() } else { morning.to_vec() };
        let before = plant.traces(RowWindow { start: day(0), end: day(2) }).await;
        plant.read(window, &[records]).await;
        assert_eq!(plant.traces(RowWindow { start: day(0), end: day(2) }).await, before);
    }
    assert_eq!(numbers(&plant, first).await, [1, 2, 2, 3]);
}

#[tokio::test]
async fn p4_a_late_copy_in_a_shared_second_is_kept_once() {
    let plant = Plant::new().await;
    let both = RowWindow { start: day(0), end: day(2) };
    let copies = |count: usize| vec![at(MIDNIGHT, 1); count];
    plant.read(whole(0), &[copies(1)]).await;
    // The next slice is read later and has two copies, in two pages.
    plant.read(whole(1), &[copies(1), copies(1)]).await;
    assert_eq!(numbers(&plant, both).await, [1, 1]);
    plant.read(whole(0), &[copies(2)]).await;
    plant.read(whole(1), &[copies(2)]).await;
    assert_eq!(numbers(&plant, both).await, [1, 1]);
}

#[tokio::test]
async fn p4_a_shared_second_is_recognised_in_every_spelling() {
    let plant = Plant::new().await;
    for (number, time) in
        ["2024-03-02T00:00:00.1234567Z", "2024-03-01T21:00:00-03:00", "2024-03-02 00:00:00", "2024-03-01T21:00:00.5"]
            .iter()
            .enumerate()
    {
        let field = format!(r#"{{"t{number}":"{time}","n":{number}}}"#);
        plant.read(whole(0), &[vec![field.clone()]]).await;
        let progress = plant.read(whole(1), &[vec![field]]).await;
        assert_eq!((progress.rows_outside, progress.rows_inserted), (1, 0), "{time}");
    }
}

#[tokio::test]
async fn p4_identical_rows_outside_the_shared_second_are_kept_in_both_slices() {
    let plant = Plant::new().await;
    let record = at("2024-01-01T12:00:00Z", 1);
    plant.read(whole(0), &[vec![record.clone()]]).await;
    let progress = plant.read(whole(1), &[vec![record]]).await;
    assert_eq!((progress.rows_inserted, progress.rows_outside), (1, 0));
}

/// Reads a day in two parts that share the second at noon, each part in the given pages.
async fn in_parts(plant: &Plant, parts: [&[Vec<String>]; 2]) {
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    let noon = day(0) + chrono::TimeDelta::hours(12);
    let windows = [RowWindow { start: day(0), end: noon }, RowWindow { start: noon, end: day(1) }];
    for (number, (pages, window)) in parts.iter().zip(windows).enumerate() {
        reader.part = window;
        for (page, records) in pages.iter().enumerate() {
            let last = number == 1 && page + 1 == pages.len();
            let next = format!("{number} {page}");
            reader.page(records, (!last).then_some(next.as_str())).await.unwrap();
        }
    }
    assert_eq!(plant.count("select count(*) from tidegate.seen_row").await, 0);
}

#[tokio::test]
async fn p4_parts_of_a_slice_share_a_second_and_keep_each_record_once() {
    let plant = Plant::new().await;
    let noon = |n: u32| at("2024-03-01T12:00:00.5Z", n);
    let early = at("2024-03-01T10:00:00Z", 1);
    let late = at("2024-03-01T15:00:00Z", 5);
    // First into an empty slice, then again; record 2 twice, in pages of both parts.
    for _ in 0..2 {
        in_parts(
            &plant,
            [
                &[vec![early.clone(), noon(2)], vec![noon(2), noon(3)]],
                &[vec![noon(3), noon(2)], vec![noon(2), late.clone()]],
            ],
        )
        .await;
        assert_eq!(numbers(&plant, whole(0)).await, [1, 2, 2, 3, 5]);
    }
    let before = plant.traces(whole(0)).await;
    // In one page without parts: the same rows, not rewritten.
    plant.read(whole(0), &[vec![early.clone(), noon(2), noon(2), noon(3), late.clone()]]).await;
    assert_eq!(plant.traces(whole(0)).await, before);
    // One copy fewer in both parts.
    in_parts(&plant, [&[vec![early, noon(2)]], &[vec![noon(2)], vec![late]]]).await;
    assert_eq!(numbers(&plant, whole(0)).await, [1, 2, 5]);
}

#[tokio::test]
async fn p4_a_part_resumes_after_a_restart_and_continues_counting() {
    let plant = Plant::new().await;
    let noon = day(0) + chrono::TimeDelta::hours(12);
    let record = at("2024-03-01T12:00:00Z", 1);
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    reader.part = RowWindow { start: day(0), end: noon };
    reader.page(&[&record], Some("1")).await.unwrap();
    reader.part = RowWindow { start: noon, end: day(1) };
    reader.page(&[&record], Some("2")).await.unwrap();
    let mut reader = plant.resumed(&claim, whole(0)).await;
    assert!(reader.loader.seen_is_whole(&reader.reading.slice).await.unwrap());
    reader.part = RowWindow { start: noon, end: day(1) };
    reader.page(&[&record], None).await.unwrap();
    assert_eq!(numbers(&plant, whole(0)).await, [1, 1], "the second part has two");
}

#[tokio::test]
async fn p4_with_a_time_field_each_row_belongs_to_the_slice_of_its_time() {
    let plant = Plant::documented().await;
    let mark = |time: &str| format!(r#"{{"timestamp":"{time}","session":"s"}}"#);
    let records = vec![
        mark("2024-03-01T00:00:00Z"),
        mark("2024-03-01T23:59:59.9999999Z"),
        mark("2024-03-02T00:00:00.9Z"),
        mark("2024-03-09T00:00:00Z"),
    ];
    let progress = plant.read(whole(0), &[records]).await;
    assert_eq!((progress.rows_read, progress.rows_inserted, progress.rows_outside), (4, 3, 1));
    let progress = plant.read(whole(1), &[vec![mark("2024-03-02T00:00:00.9Z")]]).await;
    assert_eq!((progress.rows_inserted, progress.rows_outside), (1, 0));
}

#[tokio::test]
async fn p4_a_row_whose_earlier_record_is_the_neighbours_stays_in_a_compared_reading() {
    let record = |id: u32, time: &str, n: u32| format!(r#"{{"id":{id},"at":"{time}","n":{n}}}"#);
    let many: Vec<String> = (10..130).map(|id| record(id, "2024-03-02T05:00:00Z", id)).collect();
    for later in [MIDNIGHT, "2024-03-02T07:00:00Z"] {
        for form in [Distribution::None, Distribution::Citus] {
            let mut plant = Plant::new().await.keyed(&["id"]).in_form(form);
            plant.types.insert("id".to_owned(), ColumnType::Text);
            fingerprints::read(&plant, whole(0), &[vec![record(1, MIDNIGHT, 1)]], 1).await;
            fingerprints::read(&plant, whole(1), &[many.clone(), vec![]], 1).await;
            let twice = [record(1, MIDNIGHT, 1), record(1, later, 2)];
            for _ in 0..2 {
                let page = many.iter().chain(&twice).cloned().collect();
                fingerprints::read(&plant, whole(1), &[page, vec![]], 1).await;
                let found = plant.count("select coalesce(max(n), 0) from lynn.survey_result where id = '1' and _window_start = '2024-03-02Z'").await;
                assert_eq!((found, numbers(&plant, whole(1)).await.len()), (2, 121), "{later} {form:?}");
            }
        }
    }
}
