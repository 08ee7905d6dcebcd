//! A slice that is read again ends as last reported, and unchanged rows are not written.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate::rows::page::{BATCH_ROWS_MAX, RowWindow};
use tidegate::store::task::Progress;

use super::plant::{Plant, day, numbered, whole};
use crate::support::random::runner;

/// How often the slice has each number.
async fn counts(plant: &Plant, window: RowWindow) -> BTreeMap<u32, usize> {
    count_each(plant.rows(window).await.iter().map(|row| row["n"].parse().unwrap()))
}

fn count_each(numbers: impl IntoIterator<Item = u32>) -> BTreeMap<u32, usize> {
    numbers.into_iter().fold(BTreeMap::new(), |mut counts, number| {
        *counts.entry(number).or_default() += 1;
        counts
    })
}

pub fn accounts_for_every_record(progress: &Progress) {
    assert_eq!(
        progress.rows_read,
        progress.rows_inserted
            + progress.rows_updated
            + progress.rows_unchanged
            + progress.rows_outside
            + progress.records_rejected,
        "{progress:?}"
    );
}

/// Reads the slice again and checks everything that promise 4 says about it.
async fn read_again(plant: &Plant, window: RowWindow, pages: &[Vec<u32>]) {
    let before = plant.traces(window).await;
    let counts_before = counts(plant, window).await;
    let records: Vec<Vec<String>> = pages.iter().map(|page| numbered(page.iter().copied())).collect();
    let progress = plant.read(window, &records).await;

    let reported = count_each(pages.iter().flatten().copied());
    assert_eq!(counts(plant, window).await, reported);
    let stayed: usize =
        reported.iter().map(|(number, count)| (*count).min(counts_before.get(number).copied().unwrap_or(0))).sum();
    let after = plant.traces(window).await;
    let untouched = before.iter().filter(|(key, trace)| after.get(*key) == Some(trace)).count();
    assert_eq!(untouched, stayed);
    let (before, after) = (i64::try_from(before.len()).unwrap(), i64::try_from(after.len()).unwrap());
    let stayed = i64::try_from(stayed).unwrap();
    assert_eq!(
        (progress.rows_inserted, progress.rows_updated, progress.rows_deleted, progress.rows_unchanged),
        (after - stayed, 0, before - stayed, stayed),
    );
    accounts_for_every_record(&progress);
    let rows_total = plant.count("select rows_total from tidegate.slice order by window_start desc limit 1").await;
    assert_eq!(rows_total, after);
    assert_eq!(plant.count("select count(*) from tidegate.seen_row").await, 0, "nothing is left behind");
}

#[test]
fn p4_a_slice_that_is_read_again_in_any_pages_ends_as_last_reported() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plant = runtime.block_on(Plant::new());
    // Few numbers, so that there are duplicates within a page, across pages and across readings.
    let pages = prop::collection::vec(prop::collection::vec(0..6_u32, 0..12), 1..5);
    let readings = prop::collection::vec(pages, 1..4);
    let mut number = 0;
    let number = &mut number;
    let cell = std::cell::RefCell::new(number);
    runner(25)
        .run(&readings, |readings| {
            // Each case has its own slice, not adjacent to others.
            let window = {
                let mut number = cell.borrow_mut();
                **number += 1;
                whole(**number * 10)
            };
            runtime.block_on(async {
                for pages in &readings {
                    read_again(&plant, window, pages).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn p4_thousands_of_identical_records_over_several_pages_are_counted() {
    let plant = Plant::new().await;
    let copies = |counts: &[usize]| counts.iter().map(|count| vec![7; *count]).collect::<Vec<_>>();
    for counts in [&[3000, 1, 2000, 4000][..], &[100, 9000], &[1, 1, 1], &[5000], &[0, 5001], &[0]] {
        read_again(&plant, whole(0), &copies(counts)).await;
    }
}

#[tokio::test]
async fn p4_several_batches_in_one_page_end_as_last_reported() {
    let plant = Plant::new().await;
    let batch = u32::try_from(BATCH_ROWS_MAX).unwrap();
    // Every number twice, the copies one batch apart.
    let twice: Vec<u32> = (0..batch + 1000).chain(0..batch + 1000).collect();
    for _ in 0..2 {
        read_again(&plant, whole(0), std::slice::from_ref(&twice)).await;
    }
    // Exactly one batch, then fewer.
    read_again(&plant, whole(0), &[(500..batch + 500).collect()]).await;
    read_again(&plant, whole(0), &[(0..10).collect()]).await;
}

#[tokio::test]
async fn p4_several_batches_and_several_pages_end_as_last_reported() {
    let plant = Plant::new().await;
    let batch = u32::try_from(BATCH_ROWS_MAX).unwrap();
    let page = |from: u32| (from..batch + 100).chain(0..50).collect::<Vec<_>>();
    read_again(&plant, whole(0), &[page(0), page(10), vec![1, 2, 3]]).await;
    read_again(&plant, whole(0), &[page(5), vec![1, 1, 1]]).await;
}

#[tokio::test]
async fn p4_an_empty_response_empties_the_slice() {
    let plant = Plant::new().await;
    read_again(&plant, whole(0), &[vec![1, 2, 2]]).await;
    read_again(&plant, whole(0), &[vec![]]).await;
    read_again(&plant, whole(0), &[vec![], vec![]]).await;
    read_again(&plant, whole(0), &[vec![3], vec![3]]).await;
    read_again(&plant, whole(0), &[vec![], vec![]]).await;
}

#[tokio::test]
async fn p4_rows_of_an_old_grid_are_deleted_when_their_time_is_read_again() {
    let plant = Plant::new().await;
    for number in 0..7 {
        plant.read(whole(number), &[numbered([1, 2])]).await;
    }
    plant.read(RowWindow { start: day(7), end: day(8) }, &[numbered([9])]).await;
    let week = RowWindow { start: day(0), end: day(7) };
    // In one page and in several.
    plant.reset().await;
    let progress = plant.read(week, &[numbered([1, 2, 3])]).await;
    assert_eq!((progress.rows_inserted, progress.rows_unchanged, progress.rows_deleted), (1, 2, 12));
    assert_eq!(counts(&plant, week).await, count_each([1, 2, 3]));
    plant.reset().await;
    plant.read(whole(3), &[numbered([4])]).await;
    let progress = plant.read(week, &[numbered([1]), numbered([2])]).await;
    assert_eq!((progress.rows_unchanged, progress.rows_deleted), (2, 2));
    assert_eq!(counts(&plant, week).await, count_each([1, 2]));
    assert_eq!(counts(&plant, whole(7)).await, count_each([9]), "the next slice is another's");
}

#[tokio::test]
async fn p4_other_connections_and_slices_are_left_alone() {
    let plant = Plant::new().await;
    let other = plant.claim_as("other").await;
    let mut reader = plant.reader(&other, whole(0)).await;
    reader.pages(&[numbered([1, 2, 3])]).await;
    plant.read(whole(1), &[numbered([1])]).await;
    plant.read(whole(0), &[numbered([1])]).await;
    plant.read(whole(0), &[numbered([2])]).await;
    assert_eq!(counts(&plant, whole(0)).await, count_each([1, 2, 3, 2]));
    assert_eq!(counts(&plant, whole(1)).await, count_each([1]));
}

#[tokio::test]
async fn p4_refused_records_are_those_of_the_last_reading() {
    let plant = Plant::new().await;
    let rejects = "select count(*) from tidegate.rejected_record";
    let bad = |count: usize| (0..count).map(|n| format!("[{n}]")).collect::<Vec<_>>();
    let progress = plant.read(whole(0), &[bad(3), bad(2)]).await;
    assert_eq!((progress.records_rejected, plant.count(rejects).await), (5, 5));
    accounts_for_every_record(&progress);
    plant.read(whole(1), &[bad(1)]).await;
    plant.read(whole(0), &[numbered([1]), bad(1)]).await;
    assert_eq!(plant.count(rejects).await, 2);
    plant.reset().await;
    plant.read(RowWindow { start: day(0), end: day(7) }, &[numbered([1])]).await;
    assert_eq!(plant.count(rejects).await, 0, "an old grid's go with its rows");
}

#[tokio::test]
async fn p6_megabytes_of_refused_records_are_stored_while_the_page_arrives() {
    let plant = Plant::new().await;
    let records: Vec<String> = (0..40).map(|n| format!("[{n},\"{}\"]", "x".repeat(100_000))).collect();
    let progress = plant.read(whole(0), &[records]).await;
    assert_eq!(progress.records_rejected, 40);
    assert_eq!(plant.count("select count(distinct record) from tidegate.rejected_record").await, 40);
}
