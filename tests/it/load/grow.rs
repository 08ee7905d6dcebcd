//! Whatever fields the vendor sends, the table gets their columns, no load fails and no value is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Executor};
use tidegate::connector::lynn::extra_report;
use tidegate::load::LoadError;
use tidegate::load::transaction::{PageEnd, PageLoad};
use tidegate::rows::page::{BATCH_ROWS_MAX, ROW_VALUES_MAX};
use tokio::sync::Barrier;

use super::plant::{CONNECTION, Plant, numbered, whole};

/// The one row of a slice.
pub async fn only(plant: &Plant, number: i64) -> BTreeMap<String, String> {
    let mut rows = plant.rows(whole(number)).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

pub fn strings(records: &[&str]) -> Vec<String> {
    records.iter().map(|&record| record.to_owned()).collect()
}

#[tokio::test]
async fn p5_new_fields_in_the_middle_of_a_page_and_of_a_reading_get_columns() {
    let plant = Plant::new().await;
    let pages = [strings(&[r#"{"a":1}"#, r#"{"a":2,"New Field":"x"}"#]), strings(&[r#"{"a":3,"late":{"er":true}}"#])];
    plant.read(whole(0), &pages).await;
    let rows = plant.rows(whole(0)).await;
    let shown: Vec<_> =
        rows.iter().map(|row| row.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>()).collect();
    assert_eq!(shown, [vec!["a=1"], vec!["a=2", "new_field=x"], vec!["a=3", "late_er=true"]]);
    let changes: Vec<(i64, String, String, String, String)> = sqlx::query_as(
        "select run_id, connection, column_name, field, change || ' ' || new_type from tidegate.schema_change order by id",
    )
    .fetch_all(&plant.pool)
    .await
    .unwrap();
    let change = |column: &str, field: &str, change: &str| {
        (1, CONNECTION.to_owned(), column.to_owned(), field.to_owned(), change.to_owned())
    };
    assert_eq!(
        changes,
        [
            change("a", "a", "add_column bigint"),
            change("new_field", "New Field", "add_column text"),
            change("late_er", "late.er", "add_column boolean"),
        ]
    );
    let uncommented = "select count(*) from pg_attribute where attrelid = 'lynn.survey_result'::regclass and attnum > 0
        and col_description(attrelid, attnum) is null";
    assert_eq!(plant.count(uncommented).await, 0);
}

#[tokio::test]
async fn p5_numbers_widen_on_existing_rows_without_loss() {
    let plant = Plant::new().await;
    let huge = format!("1{}", "0".repeat(300));
    // (type at first, first value, second value, both as text)
    let cases = [
        ("bigint", "9007199254740993", "1.5", ["9007199254740993", "1.5"]),
        ("bigint", "1", "9223372036854775808", ["1", "9223372036854775808"]),
        ("double precision", "0.30000000000000004", "9007199254740993", ["0.30000000000000004", "9007199254740993"]),
        ("double precision", "1e300", "9007199254740993", [huge.as_str(), "9007199254740993"]),
    ];
    for (number, (before, first, second, texts)) in (0_i64..).zip(cases) {
        let name = format!("v{number}");
        plant.read(whole(2 * number), &[vec![format!(r#"{{"{name}":{first}}}"#)]]).await;
        assert_eq!(plant.column(&name).await.as_deref(), Some(before), "{first}");
        plant.read(whole(2 * number + 1), &[vec![format!(r#"{{"{name}":{second}}}"#)]]).await;
        assert_eq!(plant.column(&name).await.as_deref(), Some("numeric"), "{first} {second}");
        let stored: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "select {name}::text from lynn.survey_result where {name} is not null order by _window_start"
        )))
        .fetch_all(&plant.pool)
        .await
        .unwrap();
        assert_eq!(stored, texts);
    }
    assert_eq!(plant.count("select count(*) from lynn.survey_result where _extra is not null").await, 0);
}

#[tokio::test]
async fn p5_a_zero_with_a_huge_exponent_does_not_prevent_its_column_from_widening() {
    let plant = Plant::new().await;
    let page = strings(&[r#"{"z":0.0e99999999999}"#, r#"{"z":9223372036854775808}"#, r#"{"z":1.5}"#]);
    assert_eq!(plant.read(whole(0), &[page]).await.rows_inserted, 3);
    let page = strings(&[r#"{"y":1.5}"#, r#"{"y":0e-99999999999}"#, r#"{"y":9223372036854775808}"#]);
    assert_eq!(plant.read(whole(1), &[page]).await.rows_inserted, 3);
}

#[tokio::test]
async fn p5_no_json_value_fails_a_load_or_is_lost() {
    let long = "é\\n".repeat(350_000);
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let deep_objects = format!("{}1{}", r#"{"o":"#.repeat(300), "}".repeat(300));
    let digits = "9".repeat(3000);
    let values = [
        r#""a\u0000b""#,
        r#""\ud800""#,
        r#"["\udc00"]"#,
        "123456789012345678901234567890",
        digits.as_str(),
        "1e999999",
        "1e-999999",
        "-1E+5",
        "-0.0",
        deep.as_str(),
        deep_objects.as_str(),
        r#"[{"a":1,"a":2}]"#,
        r#""0000-00-00T00:00:00Z""#,
        r#""0000-01-01T00:00:00Z""#,
        r#""2024-03-01T00:00:00+23:59""#,
        r#""2024-03-01T00:00:00,5Z""#,
        r#""\\N""#,
        r#""\\.""#,
        r#""\r\n\t\b\u007f""#,
    ];
    let long = format!("\"{long}\"");
    for plant in [Plant::new().await, Plant::documented().await] {
        for (number, value) in (0..).zip(values.iter().copied().chain([long.as_str()])) {
            // Alone, and after a value that makes the column a number.
            for fields in [["markValue", "x"], ["timestamp", "y"], ["z", "w"]] {
                let record = format!(r#"{{"{}":{value},"{}":{value}}}"#, fields[0], fields[1]);
                let progress = plant.read(whole(number), &[vec![record]]).await;
                assert_eq!(
                    (progress.rows_inserted, progress.records_rejected),
                    (1, 0),
                    "{}",
                    &value[..value.len().min(40)]
                );
            }
        }
    }
}

#[tokio::test]
async fn p5_values_that_fit_no_column_are_readable_in_extra() {
    let plant = Plant::documented().await;
    let record = r#"{"session":"s","SESSION":"again","timestamp":"soon","division":{"id":1},"new":1,"new":[2],
        "nested":{"a":"\u0000","b":1e999},"\u0000":5,"markName":7}"#;
    plant.read(whole(0), &[strings(&[record])]).await;
    let row = only(&plant, 0).await;
    assert_eq!((row["session"].as_str(), row["mark_name"].as_str()), ("s", "7"));
    assert_eq!(
        json(&row["_extra"]),
        json(
            r#"{"SESSION":"again","timestamp":"soon","division":{"id":1},"new":{"_values":[1,[2]]},
            "nested.a":{"_raw":"\"\\u0000\""},"nested.b":{"_raw":"1e999"},"\\u0000":5}"#
        )
    );
}

#[tokio::test]
async fn p5_a_documented_time_is_cut_to_microseconds_and_unchanged_otherwise() {
    let plant = Plant::documented().await;
    for (number, (sent, stored)) in (0..).zip([
        ("2024-03-01T11:02:45.1234567Z", "2024-03-01T11:02:45.123456+00:00"),
        ("2024-03-01 11:02:45,5+0530", "2024-03-01T05:32:45.5+00:00"),
        ("2024-03-01t11:02:45z", "2024-03-01T11:02:45+00:00"),
        ("2024-03-01T11:02:45+23:59", "2024-02-29T11:03:45+00:00"),
    ]) {
        plant.read(whole(number), &[vec![format!(r#"{{"timestamp":"{sent}"}}"#)]]).await;
        assert_eq!(only(&plant, number).await["timestamp"], stored);
    }
}

#[tokio::test]
async fn p5_hostile_and_colliding_field_names_get_columns_of_their_own() {
    let plant = Plant::new().await;
    plant.pool.execute("alter table lynn.survey_result add column theirs text").await.unwrap();
    let long = "x".repeat(200);
    let longer = "y".repeat(3000);
    let names = [
        "mark name",
        "markName",
        "mark-name",
        "a\"; drop table lynn.survey_result; --",
        "",
        "---",
        "'",
        "\\",
        "\u{0}",
        "a\u{0}b",
        "_run_id",
        "_extra",
        "_connection",
        "_row_key",
        "_place",
        "_window_start",
        "_loaded_at",
        "xmin",
        "CTID",
        "tableoid",
        "select",
        "theirs",
        "staged",
        "excluded",
        "present",
        "seen",
        "顧客",
        "🦀",
        "1st",
        "a.b",
        &long,
        &longer,
        "select\n",
        "%s",
        "{}",
        "$1",
    ];
    let members: Vec<String> =
        (0..).zip(&names).map(|(number, name)| format!("{}:{number}", serde_json::Value::from(*name))).collect();
    let record = format!("{{{}}}", members.join(","));
    for _ in 0..2 {
        let progress = plant.read(whole(0), &[vec![record.clone()]]).await;
        assert_eq!(progress.records_rejected, 0);
    }
    let columns: Vec<(String, String)> =
        sqlx::query_as("select field, column_name from tidegate.table_column").fetch_all(&plant.pool).await.unwrap();
    let columns: BTreeMap<String, String> = columns.into_iter().collect();
    let row = only(&plant, 0).await;
    let extra = json(&row["_extra"]);
    for (number, name) in names.iter().enumerate() {
        let kept = match columns.get(*name) {
            Some(column) => row[column].clone(),
            None => extra[name.replace('\0', "\\u0000")].to_string(),
        };
        assert_eq!(kept, number.to_string(), "{name:?}");
    }
    assert_eq!(extra.as_object().unwrap().len(), 3, "NUL and 3000 bytes make no column: {extra}");
    assert_eq!(columns["xmin"], "xmin_2");
    assert_eq!(columns["theirs"], "theirs_2", "a column that is not ours is left alone");
    assert_eq!(columns["_extra"], "extra");
    let distinct: std::collections::BTreeSet<_> = columns.values().collect();
    assert_eq!(distinct.len(), columns.len());
}

#[tokio::test]
async fn p5_thousands_of_fields_are_bounded_and_rows_fit_their_block() {
    let plant = Plant::new().await;
    // Postgres never moves values of up to 24 bytes out of a row.
    let record = |from: usize| {
        let members: Vec<String> = (from..from + 1000).map(|n| format!(r#""f{n}":"{n:024}""#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let records: Vec<String> = [0, 500, 3000].map(record).into();
    let progress = plant.read(whole(0), &[records]).await;
    assert_eq!((progress.rows_inserted, progress.records_rejected), (3, 0));
    assert_eq!(plant.count("select count(*) from tidegate.table_column").await, 400);
    for row in plant.rows(whole(0)).await {
        let extra = json(&row["_extra"]).as_object().unwrap().len();
        assert_eq!(row.len() - 1 + extra, 1000);
        assert!(row.len() - 1 <= ROW_VALUES_MAX);
    }
}

#[tokio::test]
async fn p5_records_that_cannot_become_rows_are_kept_with_the_reason() {
    let plant = Plant::new().await.keyed(&["id"]);
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    let many: Vec<String> = (0..6000).map(|n| format!(r#""f{n}":1"#)).collect();
    let many = format!(r#"{{"id":1,{}}}"#, many.join(","));
    let records: [&[u8]; 8] = [
        b"7",
        b"\"\"",
        b"null",
        b"[{}]",
        b"{\"id\":\"\xc3\x28\0\"}",
        br#"{"\ud800":1,"id":1}"#,
        br#"{"id":null,"v":1}"#,
        many.as_bytes(),
    ];
    let progress = reader.page(&records, None).await.unwrap();
    assert_eq!((progress.rows_read, progress.records_rejected, progress.rows_inserted), (8, 8, 0));
    let kept: Vec<(String, String)> = sqlx::query_as("select reason, record from tidegate.rejected_record order by id")
        .fetch_all(&plant.pool)
        .await
        .unwrap();
    let reasons: Vec<&str> = kept.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "not an object",
            "not an object",
            "not an object",
            "not an object",
            "not UTF-8",
            "a field's name is not a valid text",
            "no key field `id`",
            "more than 5000 fields",
        ]
    );
    assert_eq!(kept[4].1, r#"{"id":"\xc3(\u0000"}"#);
    assert_eq!(kept[6].1, r#"{"id":null,"v":1}"#);
    assert_eq!(kept[7].1, many);
}

#[tokio::test]
async fn p5_two_workers_that_find_the_same_fields_at_once_create_each_column_once() {
    const ROUNDS: i64 = 30;
    let plant = Plant::new().await;
    let barrier = Arc::new(Barrier::new(2));
    let worker = async |connection: &str, value: &str| {
        let claim = plant.claim_as(connection).await;
        // The table as of the beginning in all rounds, so that it is always outdated.
        for round in 0..ROUNDS {
            let mut reader = plant.reader(&claim, whole(round)).await;
            let first = format!(r#"{{"n":{round},"f{round}":{value}}}"#);
            let second = format!(r#"{{"n":{round},"f{round}":1,"g{round}":true,"h {connection} {round}":1}}"#);
            for (record, next) in [(first, Some("2")), (second, None)] {
                barrier.wait().await;
                // The second worker finds the column with another type, and encodes the page again for the current
                // table.
                while let Err(error) = reader.page(&[&record], next).await {
                    assert!(matches!(error, LoadError::Altered { .. }), "{error:?}");
                    reader = plant.resumed(&claim, whole(round)).await;
                }
            }
        }
    };
    tokio::join!(worker("one", "1.5"), worker("two", r#""text""#));
    for round in 0..ROUNDS {
        let field = format!("f{round}");
        let kind = plant.column(&field).await.unwrap();
        assert!(matches!(&*kind, "text" | "double precision"), "{kind}");
        assert_eq!(plant.column(&format!("g{round}")).await.as_deref(), Some("boolean"));
        let mut texts: Vec<String> = plant
            .rows(whole(round))
            .await
            .into_iter()
            .map(|row| row.get(&field).or_else(|| row.get(&format!("{field}_text"))).unwrap().clone())
            .collect();
        texts.sort();
        assert_eq!(texts, ["1", "1", "1.5", "text"], "round {round}");
    }
    assert_eq!(plant.count("select count(*) from tidegate.table_column where variant = ''").await, 1 + 4 * ROUNDS);
}

#[tokio::test]
async fn p5_a_worker_with_outdated_columns_follows_the_table() {
    let plant = Plant::new().await;
    plant.read(whole(9), &[strings(&[r#"{"a":1,"b":1,"c":"2024-03-01T00:00:00Z"}"#])]).await;
    let claim = plant.claim_as("slow").await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    // The other worker widens and adds columns, before the slow worker's page and in the middle of it.
    plant.read(whole(9), &[strings(&[r#"{"a":"x","b":1.5,"d":1}"#])]).await;
    reader.page(&[r#"{"a":2,"b":2,"c":"2024-03-02T00:00:00Z"}"#], Some("2")).await.unwrap();
    let chunks = reader.write(&[r#"{"a":3,"b":3,"c":"2024-03-03T00:00:00Z","e":1}"#, r#"{"a":"y"}"#]);
    let mut connection = reader.loader.pool.acquire().await.unwrap();
    let mut page = PageLoad::begin(&mut reader.loader, &mut connection, &chunks[0].layout, usize::MAX).await.unwrap();
    for chunk in chunks {
        page.copy(chunk, &reader.reading).await.unwrap();
    }
    plant.read(whole(9), &[strings(&[r#"{"b":"x","c":"x","e":1.5,"f":1}"#])]).await;
    let end = PageEnd { next: None, bytes: 1 };
    page.checkpoint(end, &mut reader.reading).await.unwrap();
    let rows = plant.rows(whole(0)).await;
    let shown: Vec<_> =
        rows.iter().map(|row| row.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>()).collect();
    assert_eq!(
        shown,
        [
            vec!["a=2", "b=2", "c=2024-03-02T00:00:00+00:00"],
            vec!["a=3", "b=3", "c=2024-03-03T00:00:00+00:00", "e=1"],
            vec!["a_text=y"],
        ]
    );
}

/// Enough records for a batch that is merged while the page is still arriving.
pub fn more_than_a_batch() -> Vec<String> {
    numbered(0..u32::try_from(BATCH_ROWS_MAX).unwrap() + 10)
}

#[tokio::test]
async fn p5_a_page_that_is_staged_while_it_arrives_adds_columns_in_the_middle() {
    let plant = Plant::new().await;
    let claim = plant.claim().await;
    let mut records = more_than_a_batch();
    records[BATCH_ROWS_MAX / 2] = r#"{"n":20000.5,"before":"the merge"}"#.to_owned();
    records.push(r#"{"n":"text","after":["the merge"]}"#.to_owned());
    let expected = i64::try_from(records.len()).unwrap();
    for _ in 0..2 {
        let mut reader = plant.reader(&claim, whole(0)).await;
        let progress = reader.spill(&records, None).await.unwrap();
        assert_eq!(progress.rows_inserted + progress.rows_unchanged, expected);
        assert_eq!(plant.count("select count(*) from lynn.survey_result").await, expected);
        let odd = "select count(*) from lynn.survey_result where (n = 20000.5 and before = 'the merge')
            or (n is null and n_text = 'text' and after = '[\"the merge\"]')";
        assert_eq!(plant.count(odd).await, 2);
    }
    assert_eq!(plant.count("select count(distinct n) from lynn.survey_result").await, expected - 1);
}

#[tokio::test]
async fn p5_columns_of_an_abandoned_page_are_created_again() {
    let plant = Plant::new().await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    let mut records = more_than_a_batch();
    records.push(r#"{"n":1,"late":"kept"}"#.to_owned());
    let chunks = reader.write(&records);
    let mut connection = reader.loader.pool.acquire().await.unwrap();
    let mut page = PageLoad::begin(&mut reader.loader, &mut connection, &chunks[0].layout, usize::MAX).await.unwrap();
    for chunk in chunks {
        page.copy(chunk, &reader.reading).await.unwrap();
    }
    drop(page);
    drop(connection);
    assert_eq!(plant.column("late").await, None, "it went with the page");
    reader.page(&[r#"{"n":1,"late":"kept"}"#], None).await.unwrap();
    assert_eq!(only(&plant, 0).await["late"], "kept");
}

#[tokio::test]
async fn p5_two_pages_that_lock_a_table_and_add_columns_finish_one_after_the_other() {
    let plant = Plant::new().await;
    plant.read(whole(9), &[numbered([1])]).await;
    let barrier = Arc::new(Barrier::new(2));
    let worker = async |connection: &str| {
        let claim = plant.claim_as(connection).await;
        let mut records = more_than_a_batch();
        records.push(format!(r#"{{"n":1,"late":"{connection}"}}"#));
        let mut reader = plant.reader(&claim, whole(0)).await;
        let chunks = reader.write(&records);
        let mut connection = reader.loader.pool.acquire().await.unwrap();
        let mut page =
            PageLoad::begin(&mut reader.loader, &mut connection, &chunks[0].layout, usize::MAX).await.unwrap();
        let mut refused = None;
        for chunk in chunks {
            if chunk.layout.fields().len() > 1 {
                barrier.wait().await;
            }
            if let Err(error) = page.copy(chunk, &reader.reading).await {
                refused = Some(error);
                break;
            }
        }
        let end = PageEnd { next: None, bytes: 1 };
        match refused {
            None => {
                page.checkpoint(end, &mut reader.reading).await.unwrap();
            }
            // Both have locked the table, so one must fail. Its page is read again.
            Some(LoadError::Database(sqlx::Error::Database(error))) => {
                assert!(matches!(error.code().as_deref(), Some("40P01" | "55P03")), "{error}");
                drop(page);
                drop(connection);
                reader.page(&records, None).await.unwrap();
            }
            Some(error) => panic!("{error}"),
        }
    };
    tokio::join!(worker("one"), worker("two"));
    assert_eq!(plant.count("select count(late) from lynn.survey_result").await, 2);
}

#[tokio::test]
async fn p5_an_extra_report_gets_its_table_once_for_many_workers() {
    // The longest possible name; the name of its constraint is cut inside a character.
    let name = format!("{}é report", "x".repeat(57));
    let plant = Plant::of(extra_report(&name, "11111111-2222-3333-4444-555555555555"), true).await;
    let worker = async |connection: &'static str| {
        let claim = plant.claim_as(connection).await;
        let mut reader = plant.reader(&claim, whole(0)).await;
        reader.page(&[r#"{"a":1}"#], None).await.unwrap();
    };
    tokio::join!(worker("one"), worker("two"), worker("three"));
    assert_eq!(plant.rows(whole(0)).await.len(), 3);
    let uncommented = format!(
        "select count(*) from pg_attribute where attrelid = '{}'::regclass and attnum > 0
        and col_description(attrelid, attnum) is null",
        plant.table()
    );
    assert_eq!(plant.count(&uncommented).await, 0);
    let readable = format!("select has_table_privilege('tidegate_reader', '{}', 'select')::int::bigint", plant.table());
    assert_eq!(plant.count(&readable).await, 1);
}

#[tokio::test]
async fn p5_new_fields_of_a_documented_stream_get_columns_if_the_job_says_so() {
    let plant = Plant::of(super::plant::stream("navigation_marks"), true).await;
    plant.read(whole(0), &[strings(&[r#"{"SESSION":"s","new":1}"#])]).await;
    let row = only(&plant, 0).await;
    assert_eq!((row["session"].as_str(), row["new"].as_str()), ("s", "1"));
    // They keep them when it no longer does; values that do not fit go to `_extra`.
    let plant = Plant { may_add: false, ..plant };
    plant.read(whole(0), &[strings(&[r#"{"session":"s","new":"x","newer":1}"#])]).await;
    assert_eq!(json(&only(&plant, 0).await["_extra"]), json(r#"{"new":"x","newer":1}"#));
    plant.read(whole(0), &[strings(&[r#"{"session":"s","new":7}"#])]).await;
    assert_eq!(only(&plant, 0).await["new"], "7");
}
