//! Promise 10 against a model: what a doubtful reading does to a slice, for any division into pages and batches.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use tidegate::connector;
use tidegate::load::LoadError;

use super::fingerprints;
use super::modes::everything;
use super::plant::{Plant, numbered, whole};

/// One reading: pages of numbers, and whether one of its records is refused.
#[derive(Debug, Clone)]
struct Reading {
    pages: Vec<Vec<u32>>,
    odd: bool,
    released: bool,
}

type Counts = BTreeMap<u32, usize>;

fn count_each<'n>(numbers: impl IntoIterator<Item = &'n u32>) -> Counts {
    numbers.into_iter().fold(BTreeMap::new(), |mut counts, number| {
        *counts.entry(*number).or_default() += 1;
        counts
    })
}

/// What an operator saw of a held slice: rows reported, and whether records were refused.
type Seen = Option<(usize, bool)>;

/// Rows that the slice had before it was held, if it had any.
type Base = Option<usize>;

fn count(counts: &Counts) -> usize {
    counts.values().sum()
}

/// What the slice has after a reading, and whether it is held. A release covers what was `seen`.
fn expected(before: &Counts, reading: &Reading, seen: Seen, base: Base) -> (Counts, bool) {
    let reported = count_each(reading.pages.iter().flatten());
    let (there, said) = (base.unwrap_or_else(|| count(before)), count(&reported));
    let seen = seen.filter(|_| reading.released);
    let least = seen.map_or(there, |(rows, _)| there.min(rows));
    let shrinks = least > 0 && (said == 0 || (said * 100 < least * 80 && least - said >= 20));
    let odd = reading.odd && !seen.is_some_and(|(_, odd)| odd);
    let held = odd || shrinks;
    if !held {
        return (reported, false);
    }
    // Of identical records, the greater number remains.
    let mut both = before.clone();
    for (number, count) in reported {
        let most = both.entry(number).or_default();
        *most = (*most).max(count);
    }
    (both, true)
}

async fn read(plant: &Plant, reading: &Reading) -> i64 {
    if reading.released {
        sqlx::query("update tidegate.slice set released = true").execute(&plant.pool).await.unwrap();
    }
    let claim = plant.claim().await;
    let mut reader = fingerprints::comparing(plant, &claim, whole(1), false).await;
    reader.loader.hold_below = 80;
    let mut pages: Vec<Vec<String>> = reading.pages.iter().map(|page| numbered(page.iter().copied())).collect();
    if reading.odd {
        pages[0].push("17".to_owned());
    }
    match fingerprints::read_pages(plant, &mut reader, &pages, 1).await {
        Ok(progress) => progress.rows_deleted,
        Err(LoadError::Rearranged) => {
            reader.loader.start_over(&reader.reading.slice).await.unwrap();
            let mut reader = plant.reader(&claim, whole(1)).await;
            reader.loader.hold_below = 80;
            reader.pages(&pages).await.rows_deleted
        }
        Err(error) => panic!("{error}"),
    }
}

async fn assert_reading(plant: &Plant, (before, seen, base): &mut (Counts, Seen, Base), reading: &Reading) {
    let deleted = read(plant, reading).await;
    let (after, held) = expected(before, reading, *seen, *base);
    let found: Vec<u32> = plant.rows(whole(1)).await.iter().map(|row| row["n"].parse().unwrap()).collect();
    assert_eq!(count_each(&found), after, "{reading:?}");
    let slice: (bool, bool, Option<i64>, i64) =
        sqlx::query_as("select held_since is not null, released, held_rows_there, rows_total from tidegate.slice")
            .fetch_one(&plant.pool)
            .await
            .unwrap();
    let total = i64::try_from(found.len()).unwrap();
    assert_eq!(slice, (held, false, held.then_some(total), total), "{reading:?}");
    assert!(!held || deleted == 0, "{reading:?}");
    for table in ["seen_row", "rejected_record"] {
        let left = plant.count(&format!("select count(*) from tidegate.{table}")).await;
        assert_eq!(left, i64::from(table == "rejected_record" && reading.odd), "{table}, {reading:?}");
    }
    *base = base.or(Some(count(before)).filter(|rows| *rows > 0)).filter(|_| held);
    *before = after;
    *seen = held.then(|| (reading.pages.iter().flatten().count(), reading.odd));
}

#[test]
fn p10_a_doubtful_reading_deletes_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Few numbers, so that there are identical records within a page, across pages and across readings.
    let page = prop::collection::vec(0..150_u32, 0..150);
    let reading = (prop::collection::vec(page, 1..4), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(pages, odd, released)| Reading { pages, odd, released });
    let readings = prop::collection::vec(reading, 1..5);
    let mut runner = TestRunner::new(Config { cases: 25, failure_persistence: None, ..Config::default() });
    runner
        .run(&readings, |readings| {
            runtime.block_on(async {
                let plant = Plant::new().await;
                let mut before = (Counts::new(), None, None);
                // A release needs a slice.
                let first = Reading { pages: vec![vec![]], odd: false, released: false };
                for reading in std::iter::once(&first).chain(&readings) {
                    assert_reading(&plant, &mut before, reading).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn p10_a_slice_with_fingerprints_that_was_held_follows_its_vendor_again() {
    let plant = Plant::new().await;
    let mut before = (Counts::new(), None, None);
    let reading =
        |numbers: std::ops::Range<u32>| Reading { pages: vec![numbers.collect()], odd: false, released: false };
    assert_reading(&plant, &mut before, &reading(0..300)).await;
    assert_eq!(plant.count("select count(*) from tidegate.fingerprint").await, 1, "the slice is large enough for them");
    assert_reading(&plant, &mut before, &reading(0..100)).await;
    assert_eq!(before.0.len(), 300);
    assert_reading(&plant, &mut before, &reading(10..310)).await;
    assert_eq!((before.0.len(), before.0.contains_key(&5)), (300, false), "within the bounds again, and rows go");
    assert_reading(&plant, &mut before, &reading(10..310)).await;
    assert_reading(&plant, &mut before, &reading(20..310)).await;
    assert_reading(&plant, &mut before, &reading(20..60)).await;
    let released = |numbers| Reading { released: true, ..reading(numbers) };
    // Fewer than the operator saw: held again, and the release is spent.
    assert_reading(&plant, &mut before, &released(0..1)).await;
    assert_reading(&plant, &mut before, &reading(0..1)).await;
    assert_eq!(before.0.len(), 291);
    assert_reading(&plant, &mut before, &released(0..1)).await;
    assert_eq!(before.0.len(), 1);
}

#[tokio::test]
async fn p10_refused_records_hold_a_slice_of_entities_too_until_they_can_be_read() {
    let sessions = connector::streams(connector::jaicp::VENDOR).into_iter().find(|stream| stream.name == "sessions");
    let plant = Plant::of(sessions.unwrap(), false).await;
    let good = r#"{"projectShortName":"p","sessionId":"s1"}"#.to_owned();
    for (records, reason, total) in [
        (vec!["17".to_owned(), good.clone()], Some("1 record was refused (`tidegate rejects` shows why)"), 1),
        (vec!["17".to_owned(), "{}".to_owned()], Some("2 records were refused (`tidegate rejects` shows why)"), 0),
        (vec![good], None, 1),
    ] {
        plant.read(whole(1), &[records]).await;
        let slice: (Option<String>, i64) =
            sqlx::query_as("select held_reason, rows_total from tidegate.slice").fetch_one(&plant.pool).await.unwrap();
        assert_eq!(slice, (reason.map(str::to_owned), total));
        assert_eq!(plant.count("select count(*) from jaicp.sessions").await, 1);
    }
}

#[tokio::test]
async fn p10_new_rows_in_a_list_do_not_show_that_its_old_rows_were_deleted() {
    let groups =
        connector::streams(connector::lexer::VENDOR).into_iter().find(|stream| stream.name == "groups").unwrap();
    for pages in [1, 2] {
        let plant = Plant::of(groups.clone(), false).await;
        let records = |ids: std::ops::Range<i32>| -> Vec<Vec<String>> {
            let all: Vec<String> = ids.map(|id| format!(r#"{{"id":{id},"name":"g{id}"}}"#)).collect();
            all.chunks(all.len().div_ceil(pages)).map(<[String]>::to_vec).collect()
        };
        let read = async |ids, released| {
            if released {
                sqlx::query("update tidegate.slice set released = true").execute(&plant.pool).await.unwrap();
            }
            let claim = plant.claim().await;
            let mut reader = plant.reader(&claim, everything()).await;
            reader.loader.hold_below = 80;
            reader.pages(&records(ids)).await;
            let held: Option<i64> = sqlx::query_scalar("select held_rows_reported from tidegate.slice")
                .fetch_one(&plant.pool)
                .await
                .unwrap();
            let gone = "select count(*) from lexer.groups where _deleted_at is not null";
            (held, plant.count(gone).await)
        };
        assert_eq!(read(0..40, false).await, (None, 0));
        assert_eq!(read(100..140, false).await, (Some(0), 0), "as many rows, but all of them are new");
        assert_eq!(read(30..70, false).await, (Some(10), 0), "10 of the 80 rows in the table were reported");
        assert_eq!(read(30..70, true).await, (None, 70), "after a release");
        assert_eq!(read(35..75, false).await, (None, 75), "a few rows were added and deleted");
    }
}

#[tokio::test]
async fn p10_a_correct_reading_ends_a_hold_despite_rows_of_doubtful_readings() {
    let plant = Plant::new().await;
    let read = async |numbers: std::ops::Range<u32>| {
        let claim = plant.claim().await;
        let mut reader = plant.reader(&claim, whole(1)).await;
        reader.loader.hold_below = 80;
        reader.pages(&[numbered(numbers)]).await;
        let held: Option<i64> =
            sqlx::query_scalar("select held_rows_there from tidegate.slice").fetch_one(&plant.pool).await.unwrap();
        (held, plant.rows(whole(1)).await.len())
    };
    assert_eq!(read(0..100).await, (None, 100));
    for rows in [150, 150, 200] {
        // Half as many rows, all of them new.
        let from = if rows == 200 { 2_000 } else { 1_000 };
        assert_eq!(read(from..from + 50).await, (Some(rows), usize::try_from(rows).unwrap()));
    }
    assert_eq!(read(5..105).await, (None, 100), "measured by what was there before the hold");

    let groups =
        connector::streams(connector::lexer::VENDOR).into_iter().find(|stream| stream.name == "groups").unwrap();
    let plant = Plant::of(groups, false).await;
    let read = async |ids: std::ops::Range<i32>| {
        let claim = plant.claim().await;
        let mut reader = plant.reader(&claim, everything()).await;
        reader.loader.hold_below = 80;
        reader.pages(&[ids.map(|id| format!(r#"{{"id":{id},"name":"g{id}"}}"#)).collect()]).await;
        let held = "select count(*) from tidegate.slice where held_since is not null";
        let listed = "select count(*) from lexer.groups where _deleted_at is null";
        (plant.count(held).await, plant.count(listed).await)
    };
    assert_eq!(read(0..40).await, (0, 40));
    for _ in 0..2 {
        assert_eq!(read(100..140).await, (1, 80), "the same foreign rows a second time are not evidence either");
    }
    assert_eq!(read(2..42).await, (0, 40));
}
