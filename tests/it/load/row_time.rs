//! Where there is no key, `_row_key` begins with the time of the row, in tables that were empty when that was chosen.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;
use tidegate::load::table::Cause;

use super::plant::{Plant, whole};

fn record(time: &str, n: u32) -> String {
    format!(r#"{{"timestamp":{time},"n":{n}}}"#)
}

impl Plant {
    /// `n` of each row with the seconds that its key begins with, in the order of the keys.
    async fn seconds(&self) -> Vec<(i64, i64)> {
        let statement = format!(
            "select ('x' || left(_row_key::text, 8))::bit(32)::bigint, n from {} order by _row_key",
            self.table()
        );
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&self.pool).await.unwrap()
    }

    async fn fields(&self) -> Vec<String> {
        sqlx::query_scalar("select field from tidegate.row_time where table_name = $1")
            .bind(&*self.stream.name)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

/// 2024-03-01 at 10:00.
const TEN: i64 = 1_709_287_200;

#[tokio::test]
async fn p4_keys_follow_the_time_of_the_row_and_other_values_have_a_fixed_place() {
    let plant = Plant::new().await;
    let page = [
        record(r#""2024-03-01T10:00:01Z""#, 2),
        record(r#""2024-03-01T10:00:00.9Z""#, 1),
        record(r#""2024-03-01T12:00:02+02:00""#, 3),
        record(r#""2024-03-01 10:00:03""#, 4),
        record("null", 0),
        record(r#""soon""#, 0),
        record("1709287200", 0),
        r#"{"n":0}"#.to_owned(),
        record(r#""1950-01-01T00:00:00Z""#, 10),
        record(r#""2200-01-01T00:00:00Z""#, 11),
    ];
    plant.read(whole(0), &[page.to_vec()]).await;
    let mut seconds = plant.seconds().await;
    let expected = [(1, 10), (TEN, 1), (TEN + 1, 2), (TEN + 2, 3), (TEN + 3, 4), (i64::from(u32::MAX), 11)];
    assert_eq!(seconds.split_off(4), expected);
    assert_eq!(seconds, [(0, 0); 4]);
    assert_eq!(plant.fields().await, ["timestamp"]);
    let before = plant.traces(whole(0)).await;
    let respelt: Vec<String> = page.iter().map(|record| record.replace("timestamp", "TIMESTAMP")).collect();
    for again in [page.to_vec(), respelt] {
        let progress = plant.read(whole(0), &[again]).await;
        assert_eq!((progress.rows_unchanged, progress.rows_inserted, progress.rows_deleted), (10, 0, 0));
    }
    assert_eq!(plant.traces(whole(0)).await, before);
}

#[tokio::test]
async fn p4_duplicates_are_kept_next_to_each_other_within_pages_and_across_them() {
    let plant = Plant::new().await;
    let copy = || record(r#""2024-03-01T10:00:00Z""#, 1);
    let pages = [vec![copy(), copy(), record(r#""2024-03-01T11:00:00Z""#, 2)], vec![copy()]];
    plant.read(whole(0), &pages).await;
    let expected = [(TEN, 1), (TEN, 1), (TEN, 1), (TEN + 3600, 2)];
    assert_eq!(plant.seconds().await, expected);
    let before: BTreeSet<String> = plant.traces(whole(0)).await.into_keys().collect();
    assert_eq!(before.len(), 4);
    for pages in [vec![pages.concat()], vec![vec![copy()], vec![copy(), copy(), pages[0][2].clone()]]] {
        let progress = plant.read(whole(0), &pages).await;
        assert_eq!((progress.rows_unchanged, progress.rows_inserted, progress.rows_deleted), (4, 0, 0));
    }
    assert_eq!(plant.traces(whole(0)).await.into_keys().collect::<BTreeSet<_>>(), before);
}

#[tokio::test]
async fn p4_a_table_that_has_rows_keeps_its_keys_and_an_empty_one_may_choose_anew() {
    let plant = Plant::new().await;
    let page = [vec![record(r#""2024-03-01T10:00:00Z""#, 1), record(r#""2024-03-01T10:00:00Z""#, 1)]];
    plant.read(whole(0), &page).await;
    // As an earlier version loaded it: nothing is stored of its keys.
    sqlx::raw_sql(
        "delete from tidegate.row_time;
        update lynn.survey_result set _row_key = overlay(_row_key::text placing 'ffffffff' from 1)::uuid",
    )
    .execute(&plant.pool)
    .await
    .unwrap();
    plant.read(whole(1), &[vec![record(r#""2024-03-02T10:00:00Z""#, 2)]]).await;
    assert_eq!(plant.fields().await, Vec::<String>::new());
    assert!(!plant.seconds().await.contains(&(TEN + 86_400, 2)), "a hash");
    sqlx::raw_sql("truncate lynn.survey_result").execute(&plant.pool).await.unwrap();
    plant.read(whole(0), &page).await;
    assert_eq!((plant.fields().await, plant.seconds().await), (vec!["timestamp".to_owned()], vec![(TEN, 1); 2]));
}

#[tokio::test]
async fn p4_a_choice_is_kept_until_the_table_is_dropped() {
    let mut plant = Plant::new().await;
    let page = [vec![record(r#""2024-03-01T10:00:00Z""#, 1)]];
    plant.read(whole(0), &page).await;
    plant.stream.row_time = Some("at".into());
    assert_eq!(plant.read(whole(0), &page).await.rows_unchanged, 1);
    assert_eq!(plant.fields().await, ["timestamp"]);
    sqlx::raw_sql("drop table lynn.survey_result").execute(&plant.pool).await.unwrap();
    let mut session = plant.pool.acquire().await.unwrap();
    plant.settled(&mut session, Cause { run: 1, connection: "acme" }).await.unwrap();
    assert_eq!(plant.fields().await, ["at"]);
}
