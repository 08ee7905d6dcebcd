//! A key that a job states becomes the primary key, in its own types, when the first rows of a table are loaded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use sqlx::AssertSqlSafe;
use tidegate::catalogue::ColumnType;
use tidegate::load::LoadError;
use tidegate::load::table::Cause;
use tidegate::rows::page::RowWindow;

use super::fingerprints::{comparing, read};
use super::plant::{Plant, stream, whole};
use crate::support::random::runner;

fn records(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| format!("{{{line}}}")).collect()
}

impl Plant {
    /// The columns of the primary key with their types.
    async fn primary_key(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select attname || ' ' || format_type(atttypid, atttypmod)
            from pg_index
            cross join lateral unnest(indkey) with ordinality as part (number, place)
            inner join pg_attribute on attrelid = indrelid and attnum = number
            where indrelid = to_regclass($1) and indisprimary
            order by place",
        )
        .bind(self.table())
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    async fn own_key(&self) -> String {
        let key = self.primary_key().await;
        assert_eq!(key[..2], ["_connection text", "_window_start timestamp with time zone"]);
        key[2..].join(", ")
    }

    /// Makes the table one that an earlier version loaded: it has a row, and what identifies rows is not stored.
    async fn with_history(self) -> Self {
        let statement = format!(
            "insert into {} (_connection, _window_start, _row_key, _run_id, _loaded_at)
            values ('former', '2020-01-01', gen_random_uuid(), 1, now())",
            self.table()
        );
        sqlx::query(AssertSqlSafe(statement)).execute(&self.pool).await.unwrap();
        self
    }

    async fn refusal(&self) -> LoadError {
        let mut session = self.pool.acquire().await.unwrap();
        let cause = Cause { run: 1, connection: "acme" };
        self.settled(&mut session, cause).await.unwrap_err()
    }

    async fn rejects(&self) -> Vec<(String, String)> {
        sqlx::query_as("select reason, record from tidegate.rejected_record order by id")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

/// The rows of a slice without `_extra`, as text.
async fn shown(plant: &Plant, window: RowWindow) -> Vec<String> {
    let rows = plant.rows(window).await;
    rows.iter().map(|row| row.values().map(String::as_str).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn p4_a_stated_key_becomes_the_primary_key_with_the_types_of_the_first_ids() {
    let plant = Plant::new().await.keyed(&["orderId", "sub.part"]);
    let page = [r#""orderId":7,"sub":{"part":"a"},"v":1"#, r#""orderId":8.0,"sub":{"part":3},"v":2"#];
    plant.read(whole(0), &[records(&page)]).await;
    assert_eq!(plant.own_key().await, "order_id bigint, sub_part text");
    assert_eq!(plant.column("_row_key").await, None);
    assert_eq!(shown(&plant, whole(0)).await, ["7 a 1", "8 3 2"]);
    let comment = "select count(*) from pg_attribute where attrelid = 'lynn.survey_result'::regclass and attnum > 0
        and not attisdropped and col_description(attrelid, attnum) is null";
    assert_eq!(plant.count(comment).await, 0);
    let noted: Vec<(String, String, String)> = sqlx::query_as(
        "select column_name, field, kind from tidegate.table_column where table_name = 'survey_result' order by 1",
    )
    .fetch_all(&plant.pool)
    .await
    .unwrap();
    let noted: Vec<String> = noted.iter().map(|(name, field, kind)| format!("{name} {field} {kind}")).collect();
    assert_eq!(noted, ["order_id orderId bigint", "sub_part sub.part text", "v v bigint"]);
    // Read again: the same rows in any spelling, and a changed one.
    let again = [r#""ORDERID":"7","sub":{"part":"a"},"v":1"#, r#""orderId":8e0,"sub":{"part":"3"},"v":9"#];
    let progress = plant.read(whole(0), &[records(&again)]).await;
    assert_eq!((progress.rows_unchanged, progress.rows_updated, progress.rows_inserted), (1, 1, 0));
    assert_eq!(shown(&plant, whole(0)).await, ["7 a 1", "8 3 9"]);
}

#[tokio::test]
async fn p4_a_documented_and_a_stated_type_are_those_of_the_key() {
    let plant = Plant::documented().await.keyed(&["timestamp", "markName"]);
    let mark = r#""timestamp":"2024-03-01T10:00:00Z","markName":"m""#;
    plant.read(whole(0), &[records(&[mark])]).await;
    assert_eq!(plant.own_key().await, r"timestamp timestamp with time zone, mark_name text");
    let mut plant = Plant::new().await.keyed(&["id", "at"]);
    plant.types = [("id".to_owned(), ColumnType::Text), ("at".to_owned(), ColumnType::Timestamptz)].into();
    plant.read(whole(0), &[records(&[r#""id":7,"at":"2024-03-01T10:00:00+01:00""#])]).await;
    assert_eq!(plant.own_key().await, "id text, at timestamp with time zone");
    let progress = plant.read(whole(0), &[records(&[r#""id":"7","at":"2024-03-01T09:00:00Z""#])]).await;
    assert_eq!((progress.rows_unchanged, progress.rows_inserted, progress.rows_deleted), (1, 0, 0));
}

#[tokio::test]
async fn p4_a_key_of_a_type_that_suits_no_index_is_a_hash() {
    let mut plant = Plant::new().await.keyed(&["share"]);
    plant.types = [("share".to_owned(), ColumnType::Double)].into();
    plant.read(whole(0), &[records(&[r#""share":0.5,"v":1"#, r#""share":0.50,"v":2"#])]).await;
    assert_eq!(plant.own_key().await, "_row_key uuid");
    assert_eq!(shown(&plant, whole(0)).await, ["0.5 2"]);
    assert_eq!(plant.count("select count(*) from tidegate.table_key").await, 0);
}

#[tokio::test]
async fn p4_texts_among_the_first_ids_make_the_key_a_text_and_the_later_record_wins() {
    let plant = Plant::new().await.keyed(&["id"]);
    let page = [
        r#""id":1,"v":"a""#,
        r#""id":7,"v":"b""#,
        r#""id":"007","v":"c""#,
        r#""id":"7","v":"d""#,
        r#""id":1.0,"v":"e""#,
        r#""id":"x","v":"f""#,
    ];
    let progress = plant.read(whole(0), &[records(&page)]).await;
    assert_eq!((progress.rows_inserted, progress.records_rejected), (4, 0));
    assert_eq!(plant.own_key().await, "id text");
    assert_eq!(shown(&plant, whole(0)).await, ["007 c", "1 e", "7 d", "x f"]);
    let progress = plant.read(whole(0), &[records(&page)]).await;
    assert_eq!((progress.rows_inserted, progress.rows_updated, progress.rows_deleted), (0, 0, 0));
}

#[tokio::test]
async fn p4_the_later_record_wins_although_a_column_changed_between_the_two() {
    let plant = Plant::new().await.keyed(&["id"]);
    plant.read(whole(0), &[records(&[r#""id":1,"v":1"#])]).await;
    // The first two rows have another layout than the third: they are staged, and it could be copied directly.
    let page = [r#""id":1,"v":1"#, r#""id":2,"v":2"#, r#""id":1,"v":1.5"#];
    plant.read(whole(1), &[records(&page)]).await;
    assert_eq!(shown(&plant, whole(1)).await, ["1 1.5", "2 2"]);
}

#[tokio::test]
async fn p4_the_later_record_wins_over_one_in_a_shared_second() {
    let plant = Plant::new().await.keyed(&["id"]);
    let page = [r#""at":"2024-03-01T00:00:00Z","id":1,"v":1"#, r#""at":"2024-03-01T10:00:00Z","id":1,"v":2"#];
    plant.read(whole(0), &[records(&page)]).await;
    let rows = plant.rows(whole(0)).await;
    assert_eq!((rows.len(), &*rows[0]["v"]), (1, "2"));
}

#[tokio::test]
async fn p5_a_later_id_that_does_not_fit_the_key_is_rejected_with_the_remedy() {
    let mut plant = Plant::new().await.keyed(&["id"]);
    plant.read(whole(0), &[records(&[r#""id":1"#])]).await;
    let page = records(&[r#""id":2"#, r#""id":"A-3""#, r#""id":"003""#, r#""id":9223372036854775808"#]);
    let progress = plant.read(whole(1), std::slice::from_ref(&page)).await;
    assert_eq!((progress.rows_inserted, progress.records_rejected), (1, 3));
    let rejects = plant.rejects().await;
    assert!(rejects[0].0.contains("not of type bigint"), "{rejects:?}");
    assert!(rejects[0].0.contains("`types: { id: text }`"), "{rejects:?}");
    let held: Vec<String> = rejects.into_iter().map(|(_, record)| record).collect();
    assert_eq!(held, page[1..]);
    let held_slices = "select count(*) from tidegate.slice where held_since is not null";
    assert_eq!(plant.count(held_slices).await, 1, "something is missing");
    // The remedy.
    sqlx::query("alter table lynn.survey_result rename to survey_result_old").execute(&plant.pool).await.unwrap();
    plant.types = [("id".to_owned(), ColumnType::Text)].into();
    let progress = plant.read(whole(1), &[page]).await;
    assert_eq!((progress.rows_inserted, progress.records_rejected), (4, 0));
    assert_eq!(plant.own_key().await, "id text");
}

#[tokio::test]
async fn p4_a_page_without_ids_chooses_no_type() {
    let plant = Plant::new().await.keyed(&["id"]);
    let progress = plant.read(whole(0), &[records(&[r#""v":1"#, r#""id":"","v":2"#]), Vec::new()]).await;
    assert_eq!((progress.rows_inserted, progress.records_rejected), (0, 2));
    assert_eq!(plant.own_key().await, "_row_key uuid", "nothing is chosen yet");
    plant.read(whole(1), &[records(&[r#""v":1"#]), records(&[r#""id":"x","v":2"#])]).await;
    assert_eq!(plant.own_key().await, "id text");
}

#[tokio::test]
async fn p4_a_table_with_rows_keeps_what_identifies_them() {
    let plant = Plant::new().await.with_history().await.keyed(&["id"]);
    plant.read(whole(0), &[records(&[r#""id":1,"v":1"#, r#""id":"1","v":2"#])]).await;
    assert_eq!(plant.own_key().await, "_row_key uuid");
    assert_eq!(shown(&plant, whole(0)).await, ["1 2"]);
    // Another key replaces the rows of a slice that is read again.
    let plant = plant.keyed(&["v"]);
    plant.read(whole(0), &[records(&[r#""id":1,"v":2"#, r#""id":3,"v":2"#])]).await;
    assert_eq!(shown(&plant, whole(0)).await, ["3 2"]);
}

#[tokio::test]
async fn p4_another_key_than_that_of_the_rows_is_refused_until_the_table_is_empty() {
    let plant = Plant::new().await.keyed(&["id"]);
    plant.read(whole(0), &[records(&[r#""id":1,"v":"x""#])]).await;
    let mut plant = plant.keyed(&["id", "v"]);
    let LoadError::Key { table, has, wanted } = plant.refusal().await else { panic!("another error") };
    assert_eq!([&*table, &*has, &*wanted], ["lynn.survey_result", "`key: [id]`", "`key: [id, v]`"]);
    plant.stream.key = stream("survey_result").key;
    let LoadError::Key { wanted, .. } = plant.refusal().await else { panic!("another error") };
    assert_eq!(wanted, "their whole content");
    sqlx::query("delete from lynn.survey_result").execute(&plant.pool).await.unwrap();
    let plant = plant.keyed(&["v", "w"]);
    plant.read(whole(0), &[records(&[r#""id":1,"v":"x","w":1"#, r#""v":"x","w":2"#])]).await;
    assert_eq!(plant.own_key().await, "v text, w bigint");
    assert_eq!(shown(&plant, whole(0)).await, ["1 x 1", "x 2"], "`id` may be null again");
    sqlx::query("truncate lynn.survey_result").execute(&plant.pool).await.unwrap();
    let plant = Plant { stream: stream("survey_result"), ..plant };
    plant.read(whole(0), &[records(&[r#""id":1"#, r#""id":1"#])]).await;
    assert_eq!(plant.own_key().await, "_row_key uuid");
    assert_eq!(shown(&plant, whole(0)).await, ["1", "1"]);
}

#[tokio::test]
async fn p4_the_same_key_in_another_order_or_spelling_is_the_key_of_the_table() {
    let mut plant = Plant::new().await.keyed(&["orderId", "v"]);
    let record = |w: u32| records(&[&format!(r#""orderId":1,"v":"x","w":{w}"#)]);
    plant.read(whole(0), &[record(1)]).await;
    for (w, key) in [(2, ["v", "orderId"]), (3, ["order_id", "v"]), (4, ["ORDERID", "V"])] {
        plant = plant.keyed(&key);
        plant.read(whole(0), &[record(w)]).await;
        assert_eq!(plant.own_key().await, "order_id bigint, v text", "{key:?}");
        assert_eq!(shown(&plant, whole(0)).await, [format!("1 x {w}")], "{key:?}");
    }
}

#[tokio::test]
async fn p4_a_key_whose_field_begins_with_a_digit_is_that_of_every_run() {
    let plant = Plant::new().await.keyed(&["1st"]);
    for number in 1..=2 {
        plant.read(whole(0), &[records(&[&format!(r#""1st":"a","v":{number}"#), r#""1st":"b","v":0"#])]).await;
        assert_eq!(plant.own_key().await, "_1st text");
        assert_eq!(shown(&plant, whole(0)).await, [format!("a {number}"), "b 0".to_owned()]);
    }
    assert_eq!(plant.rejects().await, []);
}

#[tokio::test]
async fn p5_of_two_workers_that_begin_a_table_the_one_with_numbers_follows_the_one_with_texts() {
    let plant = Plant::new().await.keyed(&["id"]);
    let (one, other) = (plant.claim_as("acme").await, plant.claim_as("other").await);
    let mut numbers = plant.reader(&one, whole(0)).await;
    let mut texts = plant.reader(&other, whole(0)).await;
    texts.page(&records(&[r#""id":"x""#]), None).await.unwrap();
    numbers.page(&records(&[r#""id":1"#]), Some("2")).await.unwrap();
    // Its type is that of the other worker: the page is encoded again, for the table as it is.
    let outcome = numbers.page(&records(&[r#""id":"y""#]), None).await;
    assert!(matches!(outcome, Err(LoadError::Altered { .. })), "{outcome:?}");
    plant.read(whole(0), &[records(&[r#""id":1"#]), records(&[r#""id":"y""#])]).await;
    assert_eq!(plant.count("select count(*) from lynn.survey_result where id in ('1', 'x', 'y')").await, 3);
    assert_eq!(plant.rejects().await, []);
}

#[tokio::test]
async fn p1_rows_that_an_earlier_version_noted_as_seen_are_not_deleted() {
    let plant = Plant::new().await.keyed(&["id"]);
    plant.read(whole(0), &[records(&[r#""id":1"#, r#""id":2"#])]).await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    reader.page(&records(&[r#""id":1"#]), Some("2")).await.unwrap();
    let resumed = plant.resumed(&claim, whole(0)).await;
    assert!(resumed.loader.seen_is_whole(&resumed.reading.slice).await.unwrap());
    sqlx::query("update tidegate.seen_row set row_key = md5(row_key::text)::uuid").execute(&plant.pool).await.unwrap();
    let resumed = plant.resumed(&claim, whole(0)).await;
    assert!(!resumed.loader.seen_is_whole(&resumed.reading.slice).await.unwrap(), "the slice is read again");
}

#[tokio::test]
async fn p11_a_view_that_reads_the_row_key_keeps_the_column_without_values() {
    let plant = Plant::new().await.keyed(&["id"]);
    let view = "create view lynn.reads_it as select _row_key from lynn.survey_result";
    sqlx::query(view).execute(&plant.pool).await.unwrap();
    plant.read(whole(0), &[records(&[r#""id":1"#])]).await;
    plant.read(whole(0), &[records(&[r#""id":1,"v":2"#])]).await;
    assert_eq!(plant.own_key().await, "id bigint");
    assert_eq!(plant.count("select count(*) from lynn.reads_it where _row_key is null").await, 1);
}

#[tokio::test]
async fn p1_two_connections_share_a_table_with_a_stated_key() {
    let plant = Plant::new().await.keyed(&["id"]);
    let claims = [plant.claim_as("acme").await, plant.claim_as("beta").await];
    // Both begin while the table is empty. The first page chooses for both.
    let mut readers = Vec::new();
    for claim in &claims {
        readers.push(comparing(&plant, claim, whole(0), false).await);
    }
    for (value, reader) in readers.iter_mut().enumerate() {
        reader.page(&records(&[&format!(r#""id":1,"v":{value}"#)]), None).await.unwrap();
    }
    assert_eq!(plant.own_key().await, "id bigint");
    let rows: Vec<(String, i64)> = sqlx::query_as("select _connection, v from lynn.survey_result order by 1")
        .fetch_all(&plant.pool)
        .await
        .unwrap();
    assert_eq!(rows, [("acme".to_owned(), 0), ("beta".to_owned(), 1)]);
}

#[tokio::test]
async fn p1_a_page_with_other_ids_than_those_that_chose_the_key_is_encoded_again() {
    let plant = Plant::new().await.keyed(&["id"]);
    let claims = [plant.claim_as("acme").await, plant.claim_as("beta").await];
    let mut first = comparing(&plant, &claims[0], whole(0), false).await;
    let mut second = comparing(&plant, &claims[1], whole(0), false).await;
    first.page(&records(&[r#""id":1"#]), None).await.unwrap();
    let outcome = second.page(&records(&[r#""id":"x""#]), None).await;
    assert!(matches!(outcome, Err(LoadError::Altered { .. })), "{outcome:?}");
    let mut second = comparing(&plant, &claims[1], whole(0), false).await;
    let progress = second.page(&records(&[r#""id":"x""#, r#""id":2"#]), None).await.unwrap();
    assert_eq!((progress.rows_inserted, progress.records_rejected), (1, 1));
}

#[tokio::test]
async fn p1_a_killed_first_load_resumes_with_the_key_that_it_chose() {
    let plant = Plant::new().await.keyed(&["id"]);
    let page = |from: u32| (from..from + 300).map(|id| format!(r#"{{"id":"k{id}","v":1}}"#)).collect::<Vec<_>>();
    let claim = plant.claim().await;
    let mut reader = comparing(&plant, &claim, whole(0), false).await;
    reader.page(&page(0), Some("1")).await.unwrap();
    // This page is encoded, but lost.
    let _ = reader.write(&page(300));
    drop(reader);
    let claim = plant.claim().await;
    let mut reader = comparing(&plant, &claim, whole(0), true).await;
    reader.page(&page(300), Some("2")).await.unwrap();
    reader.page(&page(500), None).await.unwrap();
    assert_eq!(plant.count("select count(*) from lynn.survey_result").await, 800);
    assert_eq!(plant.own_key().await, "id text");
    let progress = read(&plant, whole(0), &[page(0), page(300), page(500)], 1).await;
    assert_eq!((progress.rows_inserted, progress.rows_deleted), (0, 0));
}

/// Ids of both types in several spellings, some of which are the same.
fn id() -> impl Strategy<Value = String> {
    let number = 0..40_i64;
    prop_oneof![
        4 => number.clone().prop_map(|id| id.to_string()),
        2 => number.clone().prop_map(|id| format!("\"{id}\"")),
        1 => number.clone().prop_map(|id| format!("{id}.0")),
        1 => number.prop_map(|id| format!("\"x{}\"", id % 5)),
        1 => Just("\"\"".to_owned()),
        1 => Just("null".to_owned()),
    ]
}

#[test]
fn p4_a_table_with_its_own_key_and_one_with_a_hash_have_the_same_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let types: BTreeMap<String, ColumnType> = [("id".to_owned(), ColumnType::Text)].into();
    let plants = runtime.block_on(async {
        let own = Plant { types: types.clone(), ..Plant::new().await.keyed(&["id", "part"]) };
        let hashed = Plant { types, ..Plant::new().await.with_history().await.keyed(&["id", "part"]) };
        [own, hashed]
    });
    let record = (id(), 0..3_u8, 0..4_u8, 0..4_u8);
    let page = prop::collection::vec(record, 0..150);
    let readings = prop::collection::vec(prop::collection::vec(page, 1..3), 1..4);
    let case = AtomicI64::new(0);
    runner(24)
        .run(&readings, |readings| {
            let window = whole(case.fetch_add(1, Ordering::Relaxed));
            for pages in &readings {
                let pages: Vec<Vec<String>> = pages
                    .iter()
                    .map(|page| {
                        let line = |(id, part, hour, value): &(String, u8, u8, u8)| {
                            let at = window.start + chrono::TimeDelta::hours(i64::from(*hour) * 6);
                            let at = at.format("%Y-%m-%dT%H:%M:%SZ");
                            format!(r#"{{"id":{id},"part":"{part}","at":"{at}","v":{value}}}"#)
                        };
                        page.iter().map(line).collect()
                    })
                    .collect();
                let mut outcomes = Vec::new();
                for plant in &plants {
                    let progress = runtime.block_on(read(plant, window, &pages, 1));
                    let mut rows = runtime.block_on(plant.rows(window));
                    for id in rows.iter_mut().filter_map(|row| row.get_mut("id")) {
                        // A column of a key has the canonical spelling, another the last one.
                        *id = id.trim_end_matches(".0").to_owned();
                    }
                    rows.sort();
                    outcomes.push((rows, progress.records_rejected, progress.rows_inserted, progress.rows_deleted));
                }
                prop_assert_eq!(&outcomes[0], &outcomes[1]);
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(runtime.block_on(plants[0].own_key()), "id text, part text");
    assert_eq!(runtime.block_on(plants[1].own_key()), "_row_key uuid");
}
