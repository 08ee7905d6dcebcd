//! Records that a job's `key:` identifies: the later of two with the same key wins.

use super::plant::{Plant, whole};

async fn shown(plant: &Plant, number: i64) -> Vec<String> {
    let rows = plant.rows(whole(number)).await;
    rows.iter().map(|row| row.values().map(String::as_str).collect::<Vec<_>>().join(" ")).collect()
}

fn records(pairs: &[(u32, &str)]) -> Vec<String> {
    pairs.iter().map(|(id, value)| format!(r#"{{"POST_ID":{id},"v":"{value}"}}"#)).collect()
}

#[tokio::test]
async fn p4_the_later_record_wins_within_a_page_across_pages_and_across_readings() {
    let plant = Plant::new().await.keyed(&["POST_ID"]);
    let first = records(&[(1, "a"), (2, "b"), (1, "c")]);
    plant.read(whole(0), &[first, records(&[(2, "d"), (3, "e")])]).await;
    assert_eq!(shown(&plant, 0).await, ["1 c", "2 d", "3 e"]);
    let before = plant.traces(whole(0)).await;
    let progress = plant.read(whole(0), &[records(&[(3, "e"), (1, "c"), (2, "x")])]).await;
    assert_eq!((progress.rows_unchanged, progress.rows_updated, progress.rows_deleted), (2, 1, 0));
    assert_eq!(shown(&plant, 0).await, ["1 c", "2 x", "3 e"]);
    let after = plant.traces(whole(0)).await;
    assert_eq!(before.iter().filter(|(key, trace)| after.get(*key) == Some(trace)).count(), 2);
    let progress = plant.read(whole(0), &[records(&[(3, "e")]), records(&[(3, "f"), (9, "z")])]).await;
    assert_eq!((progress.rows_inserted, progress.rows_deleted), (1, 2));
    assert_eq!(shown(&plant, 0).await, ["3 f", "9 z"]);
    assert_eq!(plant.slice(whole(0)).await.read_until, Some(whole(0).end));
}

#[tokio::test]
async fn p5_a_record_without_its_key_is_rejected() {
    let plant = Plant::new().await.keyed(&["POST_ID", "sub.id"]);
    let page = [r#"{"POST_ID":1,"sub":{"id":2}}"#, r#"{"POST_ID":1}"#, r#"{"sub":{"id":1}}"#, "{}"];
    let progress = plant.read(whole(0), &[page.iter().map(|&record| record.to_owned()).collect()]).await;
    assert_eq!((progress.rows_inserted, progress.records_rejected), (1, 3));
}

#[tokio::test]
async fn p4_of_equal_keys_in_a_shared_second_only_identical_records_are_dropped() {
    let plant = Plant::new().await.keyed(&["agent"]);
    let agent =
        |day: u32, calls: u32| vec![format!(r#"{{"agent":7,"day":"2024-03-{day:02}T00:00:00Z","calls":{calls}}}"#)];
    // Days as times at midnight: every row lies in a shared second, with the same key every day.
    plant.read(whole(0), &[agent(1, 5)]).await;
    let progress = plant.read(whole(1), &[agent(2, 5)]).await;
    assert_eq!((progress.rows_inserted, progress.rows_outside), (1, 0));
    // Today's first record, reported by yesterday's slice as well: the same, and then changed.
    plant.read(whole(0), &[agent(2, 5)]).await;
    assert_eq!(shown(&plant, 0).await, Vec::<String>::new());
    plant.read(whole(0), &[agent(2, 6)]).await;
    assert_eq!((shown(&plant, 0).await.len(), shown(&plant, 1).await.len()), (1, 1));
}
