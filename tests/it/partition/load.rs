//! Loads into a partitioned table end as loads into a plain one, with the same counts.

use tidegate::catalogue::Stream;
use tidegate::load::sql::{Merge, MergeSql};
use tidegate::store::task::Progress;

use super::{divided, partitions, texts};
use crate::load::fingerprints;
use crate::load::plant::{Plant, day, numbered, stream, whole};

/// Two plants with the same stream; the table of the second one is divided.
async fn pair(stream: fn() -> Stream, key: &[&str]) -> [Plant; 2] {
    let plant = async || {
        let plant = Plant::of(stream(), true).await;
        if key.is_empty() { plant } else { plant.keyed(key) }
    };
    let plants = [plant().await, plant().await];
    for plant in &plants {
        // So that the table is there.
        let claim = plant.claim().await;
        plant.resumed(&claim, whole(0)).await;
    }
    assert!(divided(&plants[1]).await);
    plants
}

/// What differs neither by chance nor by the shape of the table.
fn counts(progress: &Progress) -> [i64; 6] {
    let Progress { rows_read, rows_inserted, rows_updated, rows_deleted, rows_unchanged, records_rejected, .. } =
        progress;
    [*rows_read, *rows_inserted, *rows_updated, *rows_deleted, *rows_unchanged, *records_rejected]
}

/// Reads a day into both tables, which must be equal afterwards. Returns what was counted.
async fn read(plants: &[Plant; 2], number: i64, pages: &[Vec<String>]) -> [i64; 6] {
    let plain = counts(&fingerprints::read(&plants[0], whole(number), pages, 1).await);
    let divided = counts(&fingerprints::read(&plants[1], whole(number), pages, 1).await);
    assert_eq!(plain, divided, "{number}");
    assert_eq!(plants[0].rows(whole(number)).await, plants[1].rows(whole(number)).await, "{number}");
    plain
}

fn records(numbers: impl IntoIterator<Item = u32>, value: &str) -> Vec<String> {
    numbers.into_iter().map(|number| format!(r#"{{"id":{number},"value":"{value}"}}"#)).collect()
}

#[tokio::test]
async fn p4_a_slice_of_a_partitioned_table_ends_as_last_reported_with_the_same_counts() {
    let plants = pair(|| stream("survey_result"), &[]).await;
    // In March and in April.
    for number in [0, 40] {
        assert_eq!(read(&plants, number, &[numbered(0..150), numbered(100..300)]).await, [350, 350, 0, 0, 0, 0]);
        assert_eq!(read(&plants, number, &[numbered(0..150), numbered(100..300)]).await, [350, 0, 0, 0, 350, 0]);
        let fewer = [numbered(10..150), numbered(100..310)];
        assert_eq!(read(&plants, number, &fewer).await, [350, 10, 0, 10, 340, 0]);
    }
    let found = texts(&plants[1].pool, "select distinct tableoid::regclass::text from lynn.survey_result order by 1");
    assert_eq!(found.await, ["lynn.survey_result_2024_03", "lynn.survey_result_2024_04"]);
}

#[tokio::test]
async fn p4_rows_with_a_key_are_replaced_and_merged_in_partitions() {
    let plants = pair(|| stream("survey_result"), &["id"]).await;
    assert_eq!(read(&plants, 0, &[records(0..200, "a")]).await, [200, 200, 0, 0, 0, 0]);
    // By their fingerprints: replaced.
    assert_eq!(read(&plants, 0, &[records(0..200, "b")]).await, [200, 0, 200, 0, 0, 0]);
    for plant in &plants {
        // Without fingerprints: merged.
        sqlx::query("delete from tidegate.fingerprint").execute(&plant.pool).await.unwrap();
        sqlx::query("update tidegate.slice set fingerprinted = false").execute(&plant.pool).await.unwrap();
    }
    let mixed = [records(100..150, "b"), records(150..250, "c"), records(240..260, "d")];
    assert_eq!(read(&plants, 0, &mixed).await[1..4], [60, 60, 100]);
    let key = "select pg_get_constraintdef(oid) from pg_constraint
        where conrelid = 'lynn.survey_result'::regclass and contype = 'p'";
    assert_eq!(texts(&plants[1].pool, key).await, ["PRIMARY KEY (_connection, _window_start, id)"]);
}

#[tokio::test]
async fn p5_columns_of_a_partitioned_table_grow_with_the_data() {
    let plants = pair(|| stream("survey_result"), &[]).await;
    read(&plants, 0, &[vec![r#"{"n":1}"#.to_owned()]]).await;
    read(&plants, 40, &[vec![r#"{"n":2.5,"new":"x"}"#.to_owned(), r#"{"n":"many"}"#.to_owned()]]).await;
    read(&plants, 0, &[vec![r#"{"n":1,"other":true}"#.to_owned()]]).await;
    for plant in &plants {
        assert_eq!(plant.column("n").await.as_deref(), Some("numeric"));
        assert_eq!(plant.column("n_text").await.as_deref(), Some("text"));
        assert_eq!(plant.column("other").await.as_deref(), Some("boolean"));
    }
}

#[tokio::test]
async fn partitions_are_made_when_rows_need_them_and_two_months_ahead() {
    let plant = Plant::documented().await;
    assert!(divided(&plant).await);
    assert!(!divided(&plant).await, "it is divided already");
    sqlx::query("drop table lynn.navigation_marks_2027_01").execute(&plant.pool).await.ok();
    let made = partitions(&plant.pool, "lynn.navigation_marks").await.len();
    let claim = plant.claim().await;
    plant.reader(&claim, whole(0)).await;
    let there = partitions(&plant.pool, "lynn.navigation_marks").await;
    assert_eq!(there.len(), made + 3);
    assert_eq!(
        there[..3],
        [
            "navigation_marks_2024_03: (2024-03-01) TO (2024-04-01)",
            "navigation_marks_2024_04: (2024-04-01) TO (2024-05-01)",
            "navigation_marks_2024_05: (2024-05-01) TO (2024-06-01)",
        ]
    );
    // A partition that somebody dropped is made again, also for a reading that goes on.
    sqlx::query("drop table lynn.navigation_marks_2024_03").execute(&plant.pool).await.unwrap();
    let reader = plant.resumed(&claim, whole(0)).await;
    reader.loader.resume_reading(&reader.reading).await.unwrap();
    assert_eq!(partitions(&plant.pool, "lynn.navigation_marks").await, there);
    let comment = "select obj_description('lynn.navigation_marks_2024_03'::regclass)";
    let meaning = "Rows of lynn.navigation_marks whose _window_start is in 2024-03 (UTC)";
    assert_eq!(texts(&plant.pool, comment).await, [meaning]);
    assert_eq!(day(0).to_rfc3339(), "2024-03-01T00:00:00+00:00");
}

#[tokio::test]
async fn the_sql_of_a_partitioned_table_counts_without_system_columns() {
    let plant = Plant::documented().await;
    assert!(divided(&plant).await);
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let Merge::Joined(merge) = MergeSql::new(&reader.loader.table, false).merge else { panic!("one statement") };
    insta::assert_snapshot!(merge);
}

#[tokio::test]
async fn rows_that_are_replaced_in_a_partition_are_found_by_their_places() {
    let plant = Plant::new().await;
    let claim = plant.claim().await;
    plant.resumed(&claim, whole(0)).await;
    assert!(divided(&plant).await);
    plant.read(whole(0), &[numbered(0..6000)]).await;
    plant.read(whole(40), &[numbered(0..6000)]).await;
    let claim = plant.claim().await;
    let reader = plant.resumed(&claim, whole(0)).await;
    let replace = MergeSql::new(&reader.loader.table, false).replace.unwrap();
    let values = ["'acme'", "timestamptz '2024-03-01Z'", "array['00000000-0000-0000-0000-000000000000']", "1"];
    for (statistics, statement) in [
        ("select", replace.each.clone()),
        ("select", replace.in_order.clone()),
        ("analyze lynn.survey_result", replace.each),
        ("analyze lynn.survey_result", replace.in_order),
    ] {
        sqlx::query(statistics).execute(&plant.pool).await.unwrap();
        let statement = (1..).zip(values).fold(statement, |text, (at, value)| text.replace(&format!("${at}"), value));
        let plan = texts(&plant.pool, &format!("explain {statement}")).await.join("\n");
        assert!(plan.contains("Tid Scan on survey_result_2024_03"), "{plan}");
        assert!(plan.contains("Index Scan using survey_result_2024_03_pkey"), "{plan}");
        assert!(!plan.contains("2024_04"), "{plan}");
    }
}
